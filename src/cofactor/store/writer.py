"""Writer thread: execute all writes of a process in one thread and commit concurrent requests together.

While a commit waits for the disk, new requests queue up, and the next transaction includes all of them. A request
completes only after its transaction is committed. The thread survives all errors and continues with the next request.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

from cofactor.errors import StoreError, StoreUnavailableError
from cofactor.store.connect import Database
from cofactor.store.event import Receipt, Row
from cofactor.store.transaction import append_requests

__all__ = ["PATIENCE", "Writer", "answer"]

T = TypeVar("T")

PATIENCE = 60.0  # seconds to wait for a result
MOST_WAITING = 20_000  # requests
MOST_ROWS_WAITING = 500_000
MAX_ROWS = 5_000  # in one transaction
TICK = 1.0  # seconds between two calls of `tick`

_log = logging.getLogger("cofactor.store")


@dataclass(eq=False)
class _Append:
    rows: list[Row]
    future: Future[list[Receipt]] = field(default_factory=Future)

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass(eq=False)
class _Work:
    do: Callable[[Connection], Any]
    future: Future[Any] = field(default_factory=Future)
    size = 0


_Task: TypeAlias = _Append | _Work


class Writer:
    """Queue of write requests and the thread that executes them.

    Parameters
    ----------
    database : Database
        The database.
    tick : callable
        Called in the thread about once a second, and once more before it ends.
    """

    def __init__(self, database: Database, tick: Callable[[], None]):
        self._database = database
        self._tick = tick
        self._next_tick = time.monotonic() + TICK
        self._queue: queue.Queue[_Task | None] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()  # protects _closed and _rows_waiting
        self._closed = False
        self._rows_waiting = 0
        self._thread = threading.Thread(target=self._run, name="cofactor-store-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def append(self, rows: list[Row]) -> Future[list[Receipt]]:
        """Queue rows for storage; either all or none of them are stored.

        Parameters
        ----------
        rows : list of Row
            Validated events.

        Returns
        -------
        Future of list of Receipt
            Future that completes after the commit; if there are no rows, it is already done with the result [].

        Raises
        ------
        StoreUnavailableError
            If too many requests are queued.
        """
        task = _Append(rows)
        if rows:
            self._put(task)
        else:
            task.future.set_result([])
        return task.future

    def run(self, do: Callable[[Connection], T]) -> T:
        """Call a function in a separate transaction in the writer thread and wait for the commit.

        Parameters
        ----------
        do : callable
            Function that takes a connection.

        Returns
        -------
        Any
            Return value of `do`.

        Raises
        ------
        StoreUnavailableError
            If the database is unavailable or too many requests are queued. Errors raised by `do` are propagated.
        """
        task = _Work(do)
        self._put(task)
        result: T = answer(task.future, PATIENCE, self._database.name)
        return result

    def close(self) -> None:
        """Process all queued requests and stop the thread; later requests raise StoreError.

        Does nothing in a forked child process.

        Raises
        ------
        StoreUnavailableError
            If the database does not respond within a minute.
        """
        atexit.unregister(self.close)
        try:
            self._database.check_process()
        except StoreError:
            return
        with self._lock:
            was_open, self._closed = not self._closed, True
        if was_open:
            with suppress(queue.Full):
                self._queue.put(None, timeout=PATIENCE)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise StoreUnavailableError(f"{self._database.name}: still writing after {PATIENCE:g} s", "unknown")

    def _put(self, task: _Task) -> None:
        self._database.check_process()
        with self._lock:  # so that no task is queued after the end marker
            if self._closed:
                raise StoreError("this store is closed")
            rows = self._rows_waiting + task.size
            if rows > MOST_ROWS_WAITING or self._queue.full():
                queued = f"{self._queue.qsize():,} requests with {self._rows_waiting:,} events"
                raise StoreUnavailableError(f"{self._database.name}: the queue is full ({queued})", "no")
            self._rows_waiting = rows
            self._queue.put_nowait(task)  # cannot be full: only this method adds, under the lock

    def _run(self) -> None:
        open_ = True
        while open_:
            batch = self._next_batch()
            tasks = [task for task in batch if task is not None]
            with self._lock:
                self._rows_waiting -= sum(task.size for task in tasks)
            open_ = len(tasks) == len(batch)
            self._log_errors(partial(self._work, tasks))
            if not open_ or time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + TICK
                self._log_errors(self._tick)

    def _next_batch(self) -> list[_Task | None]:
        """Return the next tasks to run: several appends, then at most one other task; None marks the end."""
        try:
            tasks: list[_Task | None] = [self._queue.get(timeout=max(self._next_tick - time.monotonic(), 0.001))]
        except queue.Empty:
            return []
        size = 0
        while isinstance(last := tasks[-1], _Append) and (size := size + last.size) < MAX_ROWS:
            try:
                tasks.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return tasks

    def _work(self, tasks: list[_Task]) -> None:
        active = [task for task in tasks if task.future.set_running_or_notify_cancel()]
        appends = [task for task in active if isinstance(task, _Append)]
        if appends:
            self._append(appends)
        for task in active:
            if isinstance(task, _Work):
                self._execute(task)

    def _append(self, tasks: list[_Append]) -> None:
        """Store all tasks in one transaction; if it fails while the database is available, store each one separately."""
        try:
            answers = self._do(lambda connection: append_requests(connection, [task.rows for task in tasks]))
        except Exception as error:  # noqa: BLE001  # the thread must survive
            for task in tasks:
                if len(tasks) == 1:
                    task.future.set_exception(error)
                elif isinstance(error, StoreUnavailableError):
                    task.future.set_exception(copy(error))  # each waiting thread attaches its own traceback
                else:
                    self._append([task])
            return
        for task, result in zip(tasks, answers, strict=True):
            if isinstance(result, StoreError):
                task.future.set_exception(result)
            else:
                task.future.set_result(result)

    def _do(self, work: Callable[[Connection], T]) -> T:
        with self._database.transaction() as connection:
            return work(connection)

    def _execute(self, task: _Work) -> None:
        try:
            result = self._do(task.do)
        except Exception as error:  # noqa: BLE001  # passed to the caller; the thread must survive
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    def _log_errors(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001  # the next tick tries again
            _log.warning("error in the writer thread of the store: %s", error)


def answer(future: Future[T], seconds: float, name: str) -> T:
    """Wait for the result of a future.

    Parameters
    ----------
    future : Future
        The future.
    seconds : float
        Maximum time to wait, in seconds.
    name : str
        Name of the database, for the message.

    Returns
    -------
    Any
        The result.

    Raises
    ------
    StoreUnavailableError
        If there is no result within the time limit.
    """
    try:
        return future.result(seconds)
    except FutureTimeoutError:
        raise StoreUnavailableError(
            f"{name}: no response after {seconds:g} s", "no" if future.cancel() else "unknown"
        ) from None
