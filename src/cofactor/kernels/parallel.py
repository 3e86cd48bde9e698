"""Thread pool that runs kernels on blocks of rows; kernels release the global interpreter lock.

The blocks depend only on the data, not on the number of threads, so results are bitwise identical for any number of
threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cofactor import checks
from cofactor.arrays import Int64
from cofactor.errors import ParameterError

__all__ = [
    "SharedLimit",
    "cpu_quota",
    "one_thread_blas",
    "parallel_for",
    "parallel_map",
    "row_blocks",
    "thread_count",
    "threads",
]

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_THREADS = 1024
"""The maximum number of threads."""

_thread_limit: ContextVar[int | None] = ContextVar("cofactor_threads", default=None)
_thread_state = threading.local()
"""Thread-local state: `in_task` is true while the thread runs tasks of `parallel_for`."""


def thread_count() -> int:
    """Return the number of threads that kernels use.

    Returns
    -------
    int
        The value set by `threads`, or else `$COFACTOR_THREADS`, or else the number of cores available to the process,
        limited by the CPU quota of the container.

    Raises
    ------
    ParameterError
        If `$COFACTOR_THREADS` is not a positive whole number.

    Examples
    --------
    >>> with threads(3):
    ...     thread_count()
    3
    """
    if (limit := _thread_limit.get()) is not None:
        return limit
    if text := os.environ.get("COFACTOR_THREADS"):
        if not (text.isascii() and text.isdigit()) or int(text) < 1:
            raise ParameterError(f"COFACTOR_THREADS must be an integer >= 1, not {text!r}")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _process_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(root: Path) -> float | None:
    """Return the CPU quota of this process's Linux control group, in cores.

    Parameters
    ----------
    root : Path
        The directory that contains `proc` and `sys`; always `/`, except in tests.

    Returns
    -------
    float or None
        The smallest quota among the group and its parent groups; None if there is no quota, or if the system has no
        control groups.

    Notes ----- Version 2 of control groups stores quota and period in `cpu.max`. Version 1 stores them in two files in
    the directory of the `cpu` controller. Both values are in microseconds.

    Examples
    --------
    >>> cpu_quota(Path("/nowhere")) is None
    True
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas: list[float | None] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root_group = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = root_group / group.lstrip("/")
        quotas += [_group_quota(level) for level in [folder, *folder.parents] if level.is_relative_to(root_group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _group_quota(folder: Path) -> float | None:
    """Return the CPU quota of a control group in cores, or None if it has no quota."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


@cache
def _process_quota() -> float | None:
    return cpu_quota(Path("/"))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Context manager that sets the number of threads; results are bitwise identical for any number.

    Parameters
    ----------
    n : int
        The number of threads, from 1 to 1024.

    Raises
    ------
    ParameterError
        If n is not a whole number from 1 to 1024.

    Notes
    -----
    Outside such a block, the number of threads is `$COFACTOR_THREADS`, or else the number of cores available to the
    process. In nested blocks, the innermost one applies. The limit applies to the thread that enters the block, not to
    other threads of the caller.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> with cofactor.threads(1):
    ...     sequential = cofactor.BiasedMF(factors=2).fit(ratings)
    >>> with cofactor.threads(2):
    ...     parallel = cofactor.BiasedMF(factors=2).fit(ratings)
    >>> bool((sequential.item_factors == parallel.item_factors).all())
    True
    """
    token = _thread_limit.set(checks.whole_number("n", n, low=1, high=MAX_THREADS))
    try:
        yield
    finally:
        _thread_limit.reset(token)


def parallel_for(task: Callable[[Task], None], arguments: Iterable[Task]) -> None:
    """Call a function once for each argument, in parallel on `thread_count()` threads.

    Parameters
    ----------
    task : callable
        The function; its return value is ignored.
    arguments : iterable
        The arguments; there may be none.

    Raises
    ------
    Exception
        If a call raises an exception, it is raised again.

    Notes ----- The calling thread is one of the threads. Each idle thread takes the next argument. Nested calls inside
    a task run on the thread of that task. If tasks use BLAS, the call must be inside a `one_thread_blas` block.
    """
    pending = list(arguments)
    if not pending or getattr(_thread_state, "in_task", False):
        for argument in pending:
            task(argument)
        return
    workers = min(thread_count(), len(pending))
    queue = iter(pending)  # an iterator of a list returns each element once, across threads too

    def work() -> None:
        _thread_state.in_task = True
        try:
            for argument in queue:
                task(argument)
        finally:
            _thread_state.in_task = False

    helpers = [_pool(workers - 1).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()


def parallel_map(task: Callable[[Task], Result], arguments: Iterable[Task]) -> list[Result]:
    """Call a function once for each argument, like `parallel_for`, and return the results in order.

    Parameters
    ----------
    task : callable
        The function.
    arguments : iterable
        The arguments; there may be none.

    Returns
    -------
    list
        The results, in the order of the arguments.

    Examples
    --------
    >>> parallel_map(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    inputs = list(arguments)
    results: dict[int, Result] = {}

    def run(index: int) -> None:
        results[index] = task(inputs[index])

    parallel_for(run, range(len(inputs)))
    return [results[index] for index in range(len(inputs))]


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="cofactor")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def row_blocks(start: Int64, *, entries: int = 1 << 16, rows: int = 1 << 12) -> list[tuple[int, int]]:
    """Partition rows into consecutive blocks that require about the same amount of work.

    Parameters
    ----------
    start : ndarray of shape (n_rows + 1,), int64
        The first entry of each row, as in `SparseRows`.
    entries : int, default 65536
        The maximum number of entries in a block; a block may exceed it if it has only one row.
    rows : int, default 4096
        The maximum number of rows in a block.

    Returns
    -------
    list of tuple of int
        The range (first, last) of each block, where last is exclusive; empty if there are no rows.

    Examples
    --------
    >>> row_blocks(np.array([0, 3, 4, 9, 10]), entries=5)
    [(0, 2), (2, 3), (3, 4)]
    """
    n_rows = len(start) - 1
    cuts, first = [], 0
    while first < n_rows:
        end = int(np.searchsorted(start, start[first] + entries, side="right")) - 1
        last = min(max(end, first + 1), first + rows, n_rows)
        cuts.append((first, last))
        first = last
    return cuts


class SharedLimit:
    """Context manager for a process-wide limit: the first thread to enter sets it, and the last to exit restores it.

    Parameters
    ----------
    limit : callable
        Sets the limit and returns a function that restores the previous state.

    Examples
    --------
    >>> log = []
    >>> limit = SharedLimit(lambda: log.append("set") or (lambda: log.append("restored")))
    >>> with limit():
    ...     with limit():
    ...         pass
    >>> log
    ['set', 'restored']
    """

    def __init__(self, limit: Callable[[], Callable[[], None]]):
        self._limit = limit
        self._restore: Callable[[], None] | None = None
        self._users = 0
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._restore_in_child)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Apply the limit inside a `with` block, or to a function as a decorator."""
        with self._lock:
            if self._restore is None:
                self._restore = self._limit()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users <= 0 and self._restore is not None:
                    restore, self._restore, self._users = self._restore, None, 0
                    restore()

    def _restore_in_child(self) -> None:
        """Restore the previous state in a forked child process, where the parent's other threads do not exist."""
        self._lock = threading.Lock()
        if self._restore is not None:
            restore, self._restore, self._users = self._restore, None, 0
            restore()


@cache
def _blas_libraries() -> list[Any]:
    """Return the BLAS libraries of the process; cached, because threadpoolctl takes milliseconds to find them."""
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


def _setter(library: Any) -> Callable[[int], None]:
    """Return the function that sets a library's thread count for the process, not only for the current thread."""
    setter: Callable[[int], None] = getattr(library, "_real_set_num_threads", library.set_num_threads)
    return setter


def _limit_blas() -> Callable[[], None]:
    """Set BLAS to a single thread, and return a function that restores the previous thread counts."""
    previous = [(library, library.num_threads) for library in _blas_libraries()]
    setters = [(_setter(library), n) for library, n in previous if n != 1]
    for set_threads, _ in setters:
        set_threads(1)

    def restore() -> None:
        for set_threads, n in setters:
            set_threads(n)

    return restore


one_thread_blas = SharedLimit(_limit_blas)
"""Run BLAS on a single thread inside a `with` block, for reproducible results and because kernels are multithreaded."""
