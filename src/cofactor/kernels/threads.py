"""Our own fan-out: kernels release the interpreter lock and run over row blocks on a few threads.

Blocks are cut by the data, never by the number of threads, so any number of threads gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

import numpy as np

from cofactor.arrays import Int64
from cofactor.errors import ParameterError

__all__ = ["for_each", "one_thread_blas", "results_of", "row_blocks", "thread_count", "threads"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_chosen: ContextVar[int | None] = ContextVar("cofactor_threads", default=None)


def thread_count() -> int:
    """How many threads kernels use: `threads(n)`, else `$COFACTOR_THREADS`, else the cores we may use.

    Raises ParameterError where the variable is no whole number from 1 on.
    """
    if (chosen := _chosen.get()) is not None:
        return chosen
    if text := os.environ.get("COFACTOR_THREADS"):
        if not text.isdigit() or int(text) < 1:
            raise ParameterError(f"COFACTOR_THREADS must be a whole number from 1 on, not {text!r}")
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use n threads inside a `with` block. Results do not depend on n, to the last bit.

    Without it, `$COFACTOR_THREADS` of them, else one for each core we may use. The innermost block counts; another
    thread of the caller's own is not in it. Raises ParameterError for n below 1.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> with cofactor.threads(1):
    ...     one = cofactor.BiasedMF(factors=2).fit(ratings)
    >>> with cofactor.threads(2):
    ...     two = cofactor.BiasedMF(factors=2).fit(ratings)
    >>> bool((one.item_factors == two.item_factors).all())
    True
    """
    if n < 1:
        raise ParameterError(f"threads must be at least 1, not {n}")
    token = _chosen.set(n)
    try:
        yield
    finally:
        _chosen.reset(token)


def for_each(task: Callable[[Task], None], arguments: Iterable[Task]) -> None:
    """Call `task` once per argument, on `thread_count()` threads; the first error is raised.

    The calling thread works too. Threads draw the next argument when they are free. No arguments: nothing happens.
    """
    waiting = list(arguments)
    workers = min(thread_count(), len(waiting))
    if workers <= 1:
        for argument in waiting:
            task(argument)
        return
    queue = iter(waiting)  # list iterators hand out each element once, also across threads

    def work() -> None:
        for argument in queue:
            task(argument)

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


@cache
def one_thread_blas() -> None:
    """Limit BLAS to one thread in this process, for good: its bits change with its threads, and ours is the fan-out."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")
