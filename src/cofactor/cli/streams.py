"""Standard streams and log lines: what cannot be written is an error or is dropped, never a traceback."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

__all__ = ["log_lines", "open_streams", "printable", "say"]


def printable(text: object) -> str:
    """Replace line breaks and terminal codes: ids, titles and file names are other people's.

    >>> printable("Alien\\n(1979)")
    'Alien?(1979)'
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))


def say(line: str) -> None:
    """Print one line on stderr. Nothing is raised where stderr cannot be written."""
    with suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Open the standard streams that are closed, so that no file takes their numbers.

    A closed stdin is empty. Writing to a closed stdout raises OSError. What goes to a stderr that is closed or cannot
    be written is dropped: messages must not stop the work. Characters that a stream cannot encode become "?".
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    sys.stderr = _Messages(sys.stderr.buffer, sys.stderr.encoding, errors="replace", line_buffering=True)


class _Messages(TextIOWrapper):
    """A stream of messages: what cannot be written is dropped."""

    def write(self, text: str, /) -> int:
        """Write the text, or drop it."""
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what waits."""
        with suppress(OSError):
            super().flush()


@contextmanager
def log_lines() -> Iterator[None]:
    """Show log records and Python's warnings as lines on stderr: "warning: ..." and, of cofactor only, "note: ..."."""
    root, ours = logging.getLogger(), logging.getLogger("cofactor")
    handler, level = _Lines(), ours.level
    before = warnings.showwarning, threading.excepthook, sys.unraisablehook
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    warnings.showwarning = _warn
    threading.excepthook, sys.unraisablehook = _thread_failed, _unraisable
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = before
        ours.setLevel(level)
        root.removeHandler(handler)


class _Lines(logging.Handler):
    """A record as one line; each text once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        text = f"{'warning' if record.levelno >= logging.WARNING else 'note'}: {' '.join(record.getMessage().split())}"
        if text not in self._said:
            self._said.add(text)
            say(text)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    logging.getLogger("cofactor").warning("%s", message)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    logging.getLogger("cofactor").warning("a thread ended: %s: %s", failure.exc_type.__name__, failure.exc_value)


def _unraisable(failure: Any) -> None:
    logging.getLogger("cofactor").warning("%s: %s", failure.exc_type.__name__, failure.exc_value)
