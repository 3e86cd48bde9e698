"""Terminal output: results on stdout and all other output on stderr, formatted for the terminal width."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING, Any

from cofactor.cli.streams import print_message, printable

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

FULL_BLOCK, PARTIAL_BLOCKS = "█", " ▏▎▍▌▋▊▉"


def results() -> Console:
    """Return a console for stdout, with colors only on a terminal.

    Returns
    -------
    rich.console.Console
        Console for printing results.
    """
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False)


def messages() -> Console:
    """Return a console for stderr.

    Returns
    -------
    rich.console.Console
        Console for all output other than results.
    """
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, markup=False)


def note(text: str) -> None:
    """Print a note on stderr.

    Parameters
    ----------
    text : str
        Text of the note, without the prefix "note: ".
    """
    print_message(f"note: {text}")


def show_json(value: Any) -> None:
    """Print a value as JSON on stdout, with NaN and infinite numbers as null.

    Parameters
    ----------
    value : Any
        JSON-serializable value; NumPy numbers and arrays are allowed.
    """
    from cofactor.arrays import plain

    sys.stdout.write(json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def table(*columns: str | tuple[str, str], title: str | None = None) -> Table:
    """Create an empty table for terminal output.

    Parameters
    ----------
    *columns : str or tuple of str
        Header of each column, or (header, "right") for a right-aligned column.
    title : str or None, default None
        Title of the table.

    Returns
    -------
    rich.table.Table
        Empty table with these columns.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
    for column in columns:
        header, alignment = (column, "left") if isinstance(column, str) else column
        result.add_column(header, justify="right" if alignment == "right" else "left", overflow="fold")
    return result


def bar(fraction: float, width: int) -> str:
    """Return a horizontal bar of block characters for a text bar chart.

    Parameters
    ----------
    fraction : float
        Length of the bar as a fraction of `width`, clipped to 0..1.
    width : int
        Maximum width in characters.

    Returns
    -------
    str
        Bar; empty for a fraction of 0.

    Examples
    --------
    >>> bar(0.5, 4), bar(0.0, 4)
    ('██', '')
    """
    n_eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    return (FULL_BLOCK * (n_eighths // 8) + PARTIAL_BLOCKS[n_eighths % 8]).rstrip()


@contextmanager
def epoch_progress(name: str) -> Iterator[Callable[[Epoch], None]]:
    """Show the training epochs as a progress bar on stderr, if stderr is a terminal.

    Parameters
    ----------
    name : str
        Name of the model.

    Yields
    ------
    callable
        Callback to call after each epoch.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
    console = messages()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress_bar:
        task = progress_bar.add_task(name, total=None, text="")

        def callback(epoch: Epoch) -> None:
            score = "" if epoch.validation is None else f", validation {epoch.validation:.4f}"
            text = f"epoch {epoch.number}/{epoch.of}, loss {epoch.loss:.4f}{score}"
            if isnan(epoch.loss):
                text = f"part {epoch.number}/{epoch.of}"
            progress_bar.update(task, completed=epoch.number, total=epoch.of, text=text)

        yield callback


@contextmanager
def fetch_progress() -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a download on stderr: a progress bar on a terminal, else one line per step.

    Yields
    ------
    callable
        Callback to call with the progress of the download.
    """
    from rich import progress

    console = messages()
    columns: Sequence[Any] = (
        progress.TextColumn("{task.description}"), progress.BarColumn(20), progress.DownloadColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress_bar:
        task = progress_bar.add_task("", total=None, visible=False)
        printed_steps: set[str] = set()

        def on_progress(progress_state: Progress) -> None:
            if not console.is_terminal and progress_state.step not in printed_steps:
                print_message(progress_state.step)
            printed_steps.add(progress_state.step)
            description = progress_state.step if len(progress_state.step) <= 44 else f"{progress_state.step[:43]}…"
            progress_bar.update(
                task, description=description, completed=progress_state.done, total=progress_state.total, visible=True
            )

        yield on_progress
