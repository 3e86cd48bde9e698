"""Standard streams and log lines: a failed write to stdout is an error, one to stderr is ignored."""

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
    r"""Replace line breaks and terminal codes by "?"; IDs, titles and file names are untrusted input.

    Parameters
    ----------
    text : object
        Anything; it is converted to a string.

    Returns
    -------
    str
        Text of printable characters.

    Examples
    --------
    >>> printable("Alien\n(1979)")
    'Alien?(1979)'
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))


def say(line: str) -> None:
    """Print one line on stderr; ignore errors of stderr.

    Parameters
    ----------
    line : str
        The line.
    """
    with suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Open the standard streams that are closed, so that no other file gets their descriptors.

    Notes
    -----
    A closed stdin is empty. Writing to a closed stdout raises OSError. Output to a stderr that is closed or cannot be
    written is dropped: messages must not stop a command. Characters that a stream cannot encode become "?".
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
    """Text stream that drops output that cannot be written."""

    def write(self, text: str, /) -> int:
        """Write the text, or drop it."""
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop the buffered text."""
        with suppress(OSError):
            super().flush()


@contextmanager
def log_lines() -> Iterator[None]:
    """Show log records and Python warnings as lines on stderr while the context is active.

    Warnings become "warning: ..."; records of level INFO become "note: ..." and are shown for cofactor's logger only.

    Yields
    ------
    None
    """
    root, logger = logging.getLogger(), logging.getLogger("cofactor")
    handler, level = _LineHandler(), logger.level
    hooks = warnings.showwarning, threading.excepthook, sys.unraisablehook
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    warnings.showwarning = _warn
    threading.excepthook, sys.unraisablehook = _thread_failed, _unraisable
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = hooks
        logger.setLevel(level)
        root.removeHandler(handler)


class _LineHandler(logging.Handler):
    """Log handler that prints each record as one line, and each text only once."""

    def __init__(self) -> None:
        super().__init__()
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        text = f"{'warning' if record.levelno >= logging.WARNING else 'note'}: {' '.join(record.getMessage().split())}"
        if text not in self._printed:
            self._printed.add(text)
            say(text)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    logging.getLogger("cofactor").warning("%s", message)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    logging.getLogger("cofactor").warning("a thread failed: %s: %s", failure.exc_type.__name__, failure.exc_value)


def _unraisable(failure: Any) -> None:
    logging.getLogger("cofactor").warning("%s: %s", failure.exc_type.__name__, failure.exc_value)
