"""Terminal output: results on stdout, everything else on stderr, formatted for 80 columns or the terminal's width."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cofactor.cli.streams import printable, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cofactor.datasets.download import Progress
    from cofactor.estimators import Epoch

__all__ = [
    "bar",
    "epoch_progress",
    "fetch_progress",
    "messages",
    "note",
    "printable",
    "results",
    "show_json",
    "table",
]

FULL, PARTS = "█", " ▏▎▍▌▋▊▉"


def results() -> Console:
    """Return a console on stdout, with colors only on a terminal.

    Returns
    -------
    rich.console.Console
        Console for results.
    """
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False)


def messages() -> Console:
    """Return a console on stderr.

    Returns
    -------
    rich.console.Console
        Console for everything that is not a result.
    """
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, markup=False)


def note(text: str) -> None:
    """Print a note on stderr.

    Parameters
    ----------
    text : str
        The note, without "note: ".
    """
    say(f"note: {text}")


def show_json(value: Any) -> None:
    """Print a value as JSON on stdout; NaN and infinite numbers become null.

    Parameters
    ----------
    value : Any
        Value of JSON types, with NumPy numbers and arrays allowed.
    """
    from cofactor.arrays import plain

    sys.stdout.write(json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def table(*columns: str | tuple[str, str], title: str | None = None) -> Table:
    """Return an empty table.

    Parameters
    ----------
    *columns : str or tuple of str
        Header of each column, or (header, "right") for a right-aligned column.
    title : str or None, default None
        Title of the table.

    Returns
    -------
    rich.table.Table
        The table.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
    for column in columns:
        header, side = (column, "left") if isinstance(column, str) else column
        result.add_column(header, justify="right" if side == "right" else "left", overflow="fold")
    return result


def bar(share: float, width: int) -> str:
    """Return a horizontal bar of block characters.

    Parameters
    ----------
    share : float
        Length of the bar as a share of `width`, clipped to 0..1.
    width : int
        Maximum width in characters.

    Returns
    -------
    str
        The bar; "" for a share of 0.

    Examples
    --------
    >>> bar(0.5, 4), bar(0.0, 4)
    ('██', '')
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return (FULL * (eighths // 8) + PARTS[eighths % 8]).rstrip()


@contextmanager
def epoch_progress(name: str) -> Iterator[Callable[[Epoch], None]]:
    """Show the epochs of a fit as a progress bar on stderr; show nothing if stderr is not a terminal.

    Parameters
    ----------
    name : str
        Name of the model.

    Yields
    ------
    callable
        Callback for the epochs.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
    console = messages()
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(name, total=None, text="")

        def callback(epoch: Epoch) -> None:
            score = "" if epoch.validation is None else f", validation {epoch.validation:.4f}"
            text = f"epoch {epoch.number}/{epoch.of}, loss {epoch.loss:.4f}{score}"
            shown.update(task, completed=epoch.number, total=epoch.of, text=text)

        yield callback


@contextmanager
def fetch_progress() -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a download on stderr: a progress bar on a terminal, else one line per step.

    Yields
    ------
    callable
        Callback for the progress.
    """
    from rich import progress

    console = messages()
    columns: Sequence[Any] = (
        progress.TextColumn("{task.description}"), progress.BarColumn(20), progress.DownloadColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        task = shown.add_task("", total=None, visible=False)
        printed: set[str] = set()

        def on_progress(now: Progress) -> None:
            if not console.is_terminal and now.step not in printed:
                say(now.step)
            printed.add(now.step)
            description = now.step if len(now.step) <= 44 else f"{now.step[:43]}…"
            shown.update(task, description=description, completed=now.done, total=now.total, visible=True)

        yield on_progress
