"""Our own fan-out: kernels release the interpreter lock and run over row blocks on a few threads.

Blocks are cut by the data, never by the number of threads, so any number of threads gives the same bits.
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
    "for_each",
    "one_thread_blas",
    "results_of",
    "row_blocks",
    "thread_count",
    "threads",
]

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_THREADS = 1024
"""The most threads that `threads` takes."""

_chosen: ContextVar[int | None] = ContextVar("cofactor_threads", default=None)
_working = threading.local()
"""`on`: whether the thread is inside a call of `for_each`."""


def thread_count() -> int:
    """Return how many threads kernels use.

    Returns
    -------
    int
        `threads(n)`; else `$COFACTOR_THREADS`; else the number of cores that this process may use, which the CPU quota
        of a container can lower.

    Raises
    ------
    ParameterError
        Where the variable is no whole number from 1 on.

    Examples
    --------
    >>> with threads(3):
    ...     thread_count()
    3
    """
    if (chosen := _chosen.get()) is not None:
        return chosen
    if text := os.environ.get("COFACTOR_THREADS"):
        if not (text.isascii() and text.isdigit()) or int(text) < 1:
            raise ParameterError(f"COFACTOR_THREADS must be a whole number from 1 on, not {text!r}")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _own_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(root: Path) -> float | None:
    """Return the CPU quota of this process's control group, in cores.

    Parameters
    ----------
    root : Path
        The folder that holds `proc` and `sys`: `/` outside tests.

    Returns
    -------
    float or None
        The smallest quota of the group and the groups that it is part of; None without one, and on systems without
        control groups.

    Notes
    -----
    Version 2 keeps "quota period" in `cpu.max`, version 1 two files in the folder of the controller `cpu`; both in
    microseconds.

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
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = top / group.lstrip("/")
        quotas += [_quota_of(level) for level in [folder, *folder.parents] if level.is_relative_to(top)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


@cache
def _own_quota() -> float | None:
    return cpu_quota(Path("/"))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use n threads inside a `with` block. Results do not depend on n, to the last bit.

    Without it, `$COFACTOR_THREADS` of them, else one for each core we may use. The innermost block counts; another
    thread of the caller's own is not in it. Raises ParameterError unless n is a whole number from 1 to 1024.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> with cofactor.threads(1):
    ...     one = cofactor.BiasedMF(factors=2).fit(ratings)
    >>> with cofactor.threads(2):
    ...     two = cofactor.BiasedMF(factors=2).fit(ratings)
    >>> bool((one.item_factors == two.item_factors).all())
    True
    """
    token = _chosen.set(checks.whole_number("n", n, low=1, high=MOST_THREADS))
    try:
        yield
    finally:
        _chosen.reset(token)


def for_each(task: Callable[[Task], None], arguments: Iterable[Task]) -> None:
    """Call `task` once per argument, on `thread_count()` threads; the first error is raised.

    The calling thread works too. Threads draw the next argument when they are free. No arguments: nothing happens. A
    call inside a task runs on the thread of that task. Tasks that use BLAS need `one_thread_blas` around the call.
    """
    waiting = list(arguments)
    if not waiting or getattr(_working, "on", False):
        for argument in waiting:
            task(argument)
        return
    workers = min(thread_count(), len(waiting))
    queue = iter(waiting)  # list iterators hand out each element once, also across threads

    def work() -> None:
        _working.on = True
        try:
            for argument in queue:
                task(argument)
        finally:
            _working.on = False

    helpers = [_pool(workers - 1).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()


def results_of(task: Callable[[Task], Result], arguments: Iterable[Task]) -> list[Result]:
    """As `for_each`, and what each call returned, in the order of the arguments.

    >>> results_of(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    given = list(arguments)
    results: dict[int, Result] = {}

    def one(at: int) -> None:
        results[at] = task(given[at])

    for_each(one, range(len(given)))
    return [results[at] for at in range(len(given))]


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="cofactor")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def row_blocks(start: Int64, *, entries: int = 1 << 16, rows: int = 1 << 12) -> list[tuple[int, int]]:
    """Cut rows into runs of at most about `entries` entries and `rows` rows, by the data alone.

    start: (n_rows + 1,) int64, as in SparseRows. Returns (first, last) with last exclusive; [] for no rows.

    >>> row_blocks(np.array([0, 3, 4, 9, 10]), entries=5)
    [(0, 2), (2, 3), (3, 4)]
    """
    n_rows = len(start) - 1
    cuts, first = [], 0
    while first < n_rows:
        full = int(np.searchsorted(start, start[first] + entries, side="right")) - 1
        last = min(max(full, first + 1), first + rows, n_rows)
        cuts.append((first, last))
        first = last
    return cuts


class SharedLimit:
    """A limit on something that the whole process shares: set by the first that needs it, lifted by the last.

    Parameters
    ----------
    limit : callable
        Sets the limit and returns a function that restores what was before.

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
            os.register_at_fork(after_in_child=self._in_child)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Keep the limit inside a `with` block, or inside the function that this decorates."""
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

    def _in_child(self) -> None:
        """A child made by fork has none of the parent's other threads, which would lift the limit."""
        self._lock = threading.Lock()
        if self._restore is not None:
            restore, self._restore, self._users = self._restore, None, 0
            restore()


@cache
def _blas_libraries() -> list[Any]:
    """NumPy's BLAS, as threadpoolctl sees it; to find it takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


def _setter(library: Any) -> Callable[[int], None]:
    """What sets the library's threads from any thread: newer versions of threadpoolctl obey only one thread."""
    setter: Callable[[int], None] = getattr(library, "_real_set_num_threads", library.set_num_threads)
    return setter


def _limit_blas() -> Callable[[], None]:
    before = [(library, library.num_threads) for library in _blas_libraries()]
    limited = [(_setter(library), n) for library, n in before if n != 1]
    for set_threads, _ in limited:
        set_threads(1)

    def restore() -> None:
        for set_threads, n in limited:
            set_threads(n)

    return restore


one_thread_blas = SharedLimit(_limit_blas)
"""BLAS on a single thread inside a `with` block: its results depend on its threads, and kernels fan out themselves."""
