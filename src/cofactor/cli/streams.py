"""Standard streams and logging: a failed write to stdout is an error; a failed write to stderr is ignored."""

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

__all__ = ["log_to_stderr", "open_streams", "print_message", "printable"]


def printable(text: object) -> str:
    r"""Replace line breaks and terminal control codes in untrusted text with "?".

    Parameters
    ----------
    text : object
        Untrusted text, such as an ID, a title or a file name; other objects are converted to a string.

    Returns
    -------
    str
        Text with only printable characters.

    Examples
    --------
    >>> printable("Alien\n(1979)")
    'Alien?(1979)'
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))


def print_message(line: str) -> None:
    """Print one line on stderr, and ignore write errors.

    Parameters
    ----------
    line : str
        Line to print.
    """
    with suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Reopen closed standard streams, so that files opened later do not receive their descriptors.

    Notes
    -----
    A closed stdin is treated as empty. Writing to a closed stdout raises OSError. Output to a stderr that is closed or
    not writable is discarded, so that messages cannot stop a command. Characters that a stream cannot encode are
    replaced with "?".
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    sys.stderr = _MessageStream(sys.stderr.buffer, sys.stderr.encoding, errors="replace", line_buffering=True)


class _MessageStream(TextIOWrapper):
    """Text stream that discards output that cannot be written."""

    def write(self, text: str, /) -> int:
        """Write the text, or discard it if it cannot be written."""
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or discard the buffered text if it cannot be written."""
        with suppress(OSError):
            super().flush()


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print log records and Python warnings as lines on stderr while the context is active.

    Warnings are printed as "warning: ..."; INFO records are printed as "note: ...", for cofactor's logger only.

    Yields
    ------
    None
    """
    root, logger = logging.getLogger(), logging.getLogger("cofactor")
    handler, level = _LineHandler(), logger.level
    hooks = warnings.showwarning, threading.excepthook, sys.unraisablehook
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    warnings.showwarning = _log_warning
    threading.excepthook, sys.unraisablehook = _log_thread_error, _log_unraisable_error
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = hooks
        logger.setLevel(level)
        root.removeHandler(handler)


class _LineHandler(logging.Handler):
    """Log handler that prints each record as one line and skips repeated lines."""

    def __init__(self) -> None:
        super().__init__()
        self._printed_lines: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record as one line, unless the same line was printed before."""
        text = f"{'warning' if record.levelno >= logging.WARNING else 'note'}: {' '.join(record.getMessage().split())}"
        if text not in self._printed_lines:
            self._printed_lines.add(text)
            print_message(text)


def _log_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    logging.getLogger("cofactor").warning("%s", message)


def _log_thread_error(failure: threading.ExceptHookArgs) -> None:
    logging.getLogger("cofactor").warning("a thread failed: %s: %s", failure.exc_type.__name__, failure.exc_value)


def _log_unraisable_error(failure: Any) -> None:
    logging.getLogger("cofactor").warning("%s: %s", failure.exc_type.__name__, failure.exc_value)
