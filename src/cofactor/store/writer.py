"""One thread per process through which everything is written, so that what comes at once is committed at once.

While a commit waits for the disk, new requests queue up; the next transaction takes all of them. An answer is given
only after its transaction was committed. The thread survives whatever fails and tries anew with the next request.
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

PATIENCE = 60.0  # seconds to wait for an answer
MOST_WAITING = 20_000  # requests
MOST_ROWS_WAITING = 500_000
MOST_ROWS = 5_000  # in one transaction
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
    """The thread and its queue. `tick` is called about once a second, in the thread, and once more at the end."""

    def __init__(self, database: Database, tick: Callable[[], None]):
        self._database = database
        self._tick = tick
        self._next_tick = time.monotonic() + TICK
        self._queue: queue.Queue[_Task | None] = queue.Queue(MOST_WAITING)
        self._guard = threading.Lock()
        self._closed = False
        self._rows_waiting = 0
        self._thread = threading.Thread(target=self._run, name="cofactor-store-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def append(self, rows: list[Row]) -> Future[list[Receipt]]:
        """Store these rows, all of them or none; the future answers after the commit. No rows are answered at once."""
        task = _Append(rows)
        if rows:
            self._put(task)
        else:
            task.future.set_result([])
        return task.future

    def run(self, do: Callable[[Connection], T]) -> T:
        """What `do` returns, called in a transaction of its own in the writer's thread, after the commit."""
        task = _Work(do)
        self._put(task)
        result: T = answer(task.future, PATIENCE, self._database.name)
        return result

    def close(self) -> None:
        """Write what is queued and end; later requests raise StoreError. In a forked child it does nothing.

        Raises StoreUnavailableError where the database does not answer for a minute.
        """
        atexit.unregister(self.close)
        try:
            self._database.check_process()
        except StoreError:
            return
        with self._guard:
            first, self._closed = not self._closed, True
        if first:
            with suppress(queue.Full):
                self._queue.put(None, timeout=PATIENCE)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise StoreUnavailableError(f"{self._database.name}: it still writes after {PATIENCE:g} s", "unknown")

    def _put(self, task: _Task) -> None:
        self._database.check_process()
        with self._guard:  # nothing is queued behind the end
            if self._closed:
                raise StoreError("this store is closed")
            rows = self._rows_waiting + task.size
            if rows > MOST_ROWS_WAITING or self._queue.full():
                waiting = f"{self._queue.qsize():,} requests with {self._rows_waiting:,} events"
                raise StoreUnavailableError(f"{self._database.name}: {waiting} wait to be written already", "no")
            self._rows_waiting = rows
            self._queue.put_nowait(task)  # others only take away

    def _run(self) -> None:
        open_ = True
        while open_:
            found = self._gather()
            tasks = [task for task in found if task is not None]
            with self._guard:
                self._rows_waiting -= sum(task.size for task in tasks)
            open_ = len(tasks) == len(found)
            self._safely(partial(self._work, tasks))
            if not open_ or time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + TICK
                self._safely(self._tick)

    def _gather(self) -> list[_Task | None]:
        """What waits, as far as it goes into one transaction: appends together, other work alone."""
        try:
            tasks: list[_Task | None] = [self._queue.get(timeout=max(self._next_tick - time.monotonic(), 0.001))]
        except queue.Empty:
            return []
        size = 0
        while isinstance(last := tasks[-1], _Append) and (size := size + last.size) < MOST_ROWS:
            try:
                tasks.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return tasks

    def _work(self, tasks: list[_Task]) -> None:
        wanted = [task for task in tasks if task.future.set_running_or_notify_cancel()]
        appends = [task for task in wanted if isinstance(task, _Append)]
        if appends:
            self._append(appends)
        for task in wanted:
            if isinstance(task, _Work):
                self._settle(task)

    def _append(self, tasks: list[_Append]) -> None:
        """All of them in one transaction; where that fails for another reason than the database, each in its own."""
        try:
            answers = self._do(lambda connection: append_requests(connection, [task.rows for task in tasks]))
        except Exception as error:  # noqa: BLE001  # the thread must live on
            for task in tasks:
                if len(tasks) == 1:
                    task.future.set_exception(error)
                elif isinstance(error, StoreUnavailableError):
                    task.future.set_exception(copy(error))  # each thread hangs its own traceback on it
                else:
                    self._append([task])
            return
        for task, given in zip(tasks, answers, strict=True):
            if isinstance(given, StoreError):
                task.future.set_exception(given)
            else:
                task.future.set_result(given)

    def _do(self, work: Callable[[Connection], T]) -> T:
        with self._database.transaction() as connection:
            return work(connection)

    def _settle(self, task: _Work) -> None:
        try:
            result = self._do(task.do)
        except Exception as error:  # noqa: BLE001  # it is the caller's, and the thread must live on
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    def _safely(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001  # tried again at the next tick
            _log.warning("the store's writer: %s", error)


def answer(future: Future[T], seconds: float, name: str) -> T:
    """The future's result. Raises StoreUnavailableError where there is none after so many seconds."""
    try:
        return future.result(seconds)
    except FutureTimeoutError:
        raise StoreUnavailableError(
            f"{name}: no answer after {seconds:g} s", "no" if future.cancel() else "unknown"
        ) from None
