"""Detection of processes forked after polars started its threads, which do not exist in the child.

Work submitted to those threads would block forever. Functions that need them call `require_threads` first, which raises
an error in such a process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cofactor.errors import ForkError

__all__ = ["require_threads", "threads_lost"]

_TASKS = Path("/proc/self/task")
_threads_were_running = False  # whether polars' threads were running just before the fork
_threads_lost = False  # whether this process is a child that lacks them


def threads_lost() -> bool:
    """Return whether this process was forked from one that had started polars' threads.

    Returns
    -------
    bool
        True in such a child process.

    Examples
    --------
    >>> threads_lost()
    False
    """
    return _threads_lost


def require_threads() -> None:
    """Raise ForkError if polars would block forever on threads that exist only in the parent process.

    Raises
    ------
    ForkError
        In a process that was forked from one that had started polars' threads.
    """
    if _threads_lost:
        raise ForkError(
            "this process was forked from one that had used polars, whose threads do not survive a fork: start such "
            'processes with multiprocessing.get_context("spawn"), or fork before reading or loading data'
        )


def _before_fork() -> None:
    global _threads_were_running  # noqa: PLW0603 - shared by the fork hooks
    _threads_were_running = "polars" in sys.modules and _has_threads()


def _in_child() -> None:
    global _threads_lost  # noqa: PLW0603
    _threads_lost = _threads_lost or _threads_were_running


def _has_threads() -> bool:
    """Return whether polars' threads are running; True if this cannot be detected (on systems other than Linux)."""
    try:
        names = [(task / "comm").read_text() for task in _TASKS.iterdir()]
    except OSError:
        return True
    return any(name.startswith(("polars-0", "async-executor", "tokio-rt")) for name in names)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
