"""Detect processes made by `fork` whose parent had started polars' threads: they do not exist in the child.

Work for those threads would wait forever. What needs them calls `require_threads` first and ends in an error instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cofactor.errors import ForkError

__all__ = ["require_threads", "threads_lost"]

_TASKS = Path("/proc/self/task")
_running = False  # of the process that forks, just before it does
_lost = False


def threads_lost() -> bool:
    """Whether this process was forked from one that had started polars' threads.

    >>> threads_lost()
    False
    """
    return _lost


def require_threads() -> None:
    """Raise ForkError where polars would wait forever for threads that only the parent process has."""
    if _lost:
        raise ForkError(
            "this process was forked from one that had used polars, whose threads do not survive a fork: start such "
            'processes with multiprocessing.get_context("spawn"), or fork before anything is read or loaded'
        )


def _before_fork() -> None:
    global _running  # noqa: PLW0603 - the hooks of fork share it
    _running = "polars" in sys.modules and _has_threads()


def _in_child() -> None:
    global _lost  # noqa: PLW0603
    _lost = _lost or _running


def _has_threads() -> bool:
    """Whether threads of polars run; where that cannot be seen (anywhere but on Linux), they may."""
    try:
        names = [(task / "comm").read_text() for task in _TASKS.iterdir()]
    except OSError:
        return True
    return any(name.startswith(("polars-0", "async-executor", "tokio-rt")) for name in names)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
