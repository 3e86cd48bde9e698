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

__all__ = ["TIMEOUT", "Writer", "wait_for_result"]

T = TypeVar("T")

TIMEOUT = 60.0  # seconds to wait for a result
MAX_QUEUED_REQUESTS = 20_000
MAX_QUEUED_ROWS = 500_000
MAX_ROWS_PER_TRANSACTION = 5_000
TICK_INTERVAL = 1.0  # seconds between calls of `tick`

_log = logging.getLogger("cofactor.store")


@dataclass(eq=False)
class _AppendTask:
    rows: list[Row]
    future: Future[list[Receipt]] = field(default_factory=Future)

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass(eq=False)
class _CallTask:
    function: Callable[[Connection], Any]
    future: Future[Any] = field(default_factory=Future)
    size = 0


_Task: TypeAlias = _AppendTask | _CallTask


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
        self._next_tick = time.monotonic() + TICK_INTERVAL
        self._queue: queue.Queue[_Task | None] = queue.Queue(MAX_QUEUED_REQUESTS)
        self._lock = threading.Lock()  # protects _closed and _queued_rows
        self._closed = False
        self._queued_rows = 0
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
        task = _AppendTask(rows)
        if rows:
            self._put(task)
        else:
            task.future.set_result([])
        return task.future

    def run(self, function: Callable[[Connection], T]) -> T:
        """Call a function in a separate transaction in the writer thread and wait for the commit.

        Parameters
        ----------
        function : callable
            Function that takes a connection.

        Returns
        -------
        Any
            Return value of `function`.

        Raises
        ------
        StoreUnavailableError
            If the database is unavailable or too many requests are queued. Errors raised by `function` are propagated.
        """
        task = _CallTask(function)
        self._put(task)
        result: T = wait_for_result(task.future, TIMEOUT, self._database.name)
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
                self._queue.put(None, timeout=TIMEOUT)
        self._thread.join(TIMEOUT)
        if self._thread.is_alive():
            raise StoreUnavailableError(f"{self._database.name}: still writing after {TIMEOUT:g} s", "unknown")

    def _put(self, task: _Task) -> None:
        self._database.check_process()
        with self._lock:  # so that no task is queued after the end marker
            if self._closed:
                raise StoreError("this store is closed")
            rows = self._queued_rows + task.size
            if rows > MAX_QUEUED_ROWS or self._queue.full():
                queue_text = f"{self._queue.qsize():,} requests with {self._queued_rows:,} events"
                raise StoreUnavailableError(f"{self._database.name}: the queue is full ({queue_text})", "no")
            self._queued_rows = rows
            self._queue.put_nowait(task)  # cannot be full: only this method adds, under the lock

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = self._next_batch()
            tasks = [task for task in batch if task is not None]
            with self._lock:
                self._queued_rows -= sum(task.size for task in tasks)
            is_open = len(tasks) == len(batch)
            self._log_errors(partial(self._process_tasks, tasks))
            if not is_open or time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + TICK_INTERVAL
                self._log_errors(self._tick)

    def _next_batch(self) -> list[_Task | None]:
        """Return the next tasks to run: several appends, then at most one other task; None marks the end."""
        try:
            tasks: list[_Task | None] = [self._queue.get(timeout=max(self._next_tick - time.monotonic(), 0.001))]
        except queue.Empty:
            return []
        size = 0
        while (
            isinstance(last_task := tasks[-1], _AppendTask)
            and (size := size + last_task.size) < MAX_ROWS_PER_TRANSACTION
        ):
            try:
                tasks.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return tasks

    def _process_tasks(self, tasks: list[_Task]) -> None:
        active_tasks = [task for task in tasks if task.future.set_running_or_notify_cancel()]
        append_tasks = [task for task in active_tasks if isinstance(task, _AppendTask)]
        if append_tasks:
            self._append_tasks(append_tasks)
        for task in active_tasks:
            if isinstance(task, _CallTask):
                self._execute_call(task)

    def _append_tasks(self, tasks: list[_AppendTask]) -> None:
        """Store all tasks in one transaction; if it fails although the database is available, store each separately."""
        try:
            answers = self._run_in_transaction(
                lambda connection: append_requests(connection, [task.rows for task in tasks])
            )
        except Exception as error:  # noqa: BLE001  # the thread must survive
            for task in tasks:
                if len(tasks) == 1:
                    task.future.set_exception(error)
                elif isinstance(error, StoreUnavailableError):
                    task.future.set_exception(copy(error))  # each waiting thread attaches its own traceback
                else:
                    self._append_tasks([task])
            return
        for task, result in zip(tasks, answers, strict=True):
            if isinstance(result, StoreError):
                task.future.set_exception(result)
            else:
                task.future.set_result(result)

    def _run_in_transaction(self, work: Callable[[Connection], T]) -> T:
        with self._database.transaction() as connection:
            return work(connection)

    def _execute_call(self, task: _CallTask) -> None:
        try:
            result = self._run_in_transaction(task.function)
        except Exception as error:  # noqa: BLE001  # passed to the caller; the thread must survive
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    def _log_errors(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001  # the next tick tries again
            _log.warning("error in the writer thread of the store: %s", error)


def wait_for_result(future: Future[T], seconds: float, name: str) -> T:
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
