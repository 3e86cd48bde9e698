"""What reaches the screen: results on stdout, everything else on stderr, at most 80 columns unless there is room."""

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
    """Where results go: stdout, without colors unless it is a terminal."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False)


def messages() -> Console:
    """Where everything else goes: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, markup=False)


def note(text: str) -> None:
    """Something worth knowing that is not a result, on stderr."""
    say(f"note: {text}")


def show_json(value: Any) -> None:
    """One JSON value and nothing else on stdout; nan and infinite numbers are null."""
    from cofactor.arrays import plain

    sys.stdout.write(json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def table(*columns: str | tuple[str, str], title: str | None = None) -> Table:
    """An empty table; a column is its head, or (head, "right")."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
    for column in columns:
        head, side = (column, "left") if isinstance(column, str) else column
        made.add_column(head, justify="right" if side == "right" else "left", overflow="fold")
    return made


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar of at most `width` characters.

    >>> bar(0.5, 4), bar(0.0, 4)
    ('██', '')
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return (FULL * (eighths // 8) + PARTS[eighths % 8]).rstrip()


@contextmanager
def epoch_progress(name: str) -> Iterator[Callable[[Epoch], None]]:
    """Tells of epochs while a model is learnt: a bar on a terminal's stderr, otherwise nothing."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    console = messages()
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(name, total=None, said="")

        def callback(epoch: Epoch) -> None:
            score = "" if epoch.validation is None else f", held out {epoch.validation:.4f}"
            said = f"epoch {epoch.number}/{epoch.of}, loss {epoch.loss:.4f}{score}"
            shown.update(task, completed=epoch.number, total=epoch.of, said=said)

        yield callback


@contextmanager
def fetch_progress() -> Iterator[Callable[[Progress], None]]:
    """Tells how far a fetch is: a bar on a terminal's stderr, otherwise one line for each thing it does."""
    from rich import progress

    console = messages()
    columns: Sequence[Any] = (
        progress.TextColumn("{task.description}"), progress.BarColumn(20), progress.DownloadColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        task = shown.add_task("", total=None, visible=False)
        said: set[str] = set()

        def on_progress(now: Progress) -> None:
            if not console.is_terminal and now.what not in said:
                say(now.what)
            said.add(now.what)
            what = now.what if len(now.what) <= 44 else f"{now.what[:43]}…"
            shown.update(task, description=what, completed=now.done, total=now.total, visible=True)

        yield on_progress
