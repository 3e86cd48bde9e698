"""What one process serves with: settings, store, engine, and the threads in which both are asked."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import Depends, Request

from cofactor.audit.concentration import Exposure
from cofactor.errors import StoreError, StoreUnavailableError
from cofactor.service.api.auth import Buckets, KeyRing
from cofactor.service.api.errors import Problem
from cofactor.service.api.metrics import tell_model
from cofactor.service.engine import Engine
from cofactor.service.lru import LRUCache
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings, is_orphan
from cofactor.store import Store

__all__ = ["Asked", "Service"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for which a write may wait for the disk."""

_log = logging.getLogger("cofactor.service")


class Service:
    """Opened when a worker starts, closed when it ends.

    The event loop never waits for the store or the engine: both are asked in threads, of which there are few, and for
    which at most `settings.waiting` requests wait.
    """

    def __init__(self, settings: ServiceSettings):
        self.settings = settings
        self.store = Store.open(settings.url)
        try:
            self.artifacts = ArtifactRegistry(settings.artifacts)
            self.engine = Engine(self.store, self.artifacts, cache=settings.cache)
        except BaseException:
            self.store.close()
            raise
        self.keys = KeyRing(self.store, settings.key_memory)
        self.buckets = Buckets(settings.rate)
        self.audits: LRUCache[Exposure] = LRUCache(2)
        self.waiting = 0
        self._threads = ThreadPoolExecutor(settings.threads, "cofactor-answer")
        self._slow = ThreadPoolExecutor(2, "cofactor-slow")
        self._looks = ThreadPoolExecutor(1, "cofactor-look")
        self._tell()

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """What `work` returns, in one of the threads. Raises a Problem, 503, where too many wait."""
        if self.waiting >= self.settings.waiting:
            raise Problem(503, "too many requests wait already", {"Retry-After": "1"})
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
        finally:
            self.waiting -= 1

    async def run_slowly(self, work: Callable[..., T], *given: Any) -> T:
        """The same for what takes seconds, two at a time, so that nobody else waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, work, *given)

    async def settled(self, future: Future[T]) -> T:
        """What the store's writer answers. Raises StoreUnavailableError after 30 seconds."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE)
        except TimeoutError:
            raise StoreUnavailableError(f"no answer after {PATIENCE:g} s", "unknown") from None

    async def watch(self) -> None:
        """For ever: put a newly promoted model in place, and learn of changes even where nobody asks.

        A worker whose parent was killed ends in good order.
        """
        while True:
            if is_orphan():
                signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(self.settings.poll)
            try:
                await asyncio.get_running_loop().run_in_executor(self._looks, self.look)
            except StoreUnavailableError as problem:
                _log.warning("the store does not answer: %s", problem)
            except Exception:  # noqa: BLE001  # the watch goes on whatever it met
                _log.exception("looking for a new model failed")

    def look(self) -> None:
        """Once: is there a new model, or anything new? Raises StoreUnavailableError."""
        try:
            self.engine.refresh()
            self.engine.changes.catch_up()
            self.engine.widen()
        finally:
            self._tell()

    def _tell(self) -> None:
        """For metrics of all workers: which model answers here, whichever of them is asked for metrics."""
        engine = self.engine
        tell_model(engine.version or 0, engine.swaps, engine.failures, self.store.impressions.lost)

    def note(self, message: str) -> None:
        """A warning in the log."""
        _log.warning("%s", message)

    def close(self) -> None:
        """Answer what was begun, write what waits, end."""
        for threads in (self._threads, self._slow, self._looks):
            threads.shutdown(cancel_futures=True)
        try:
            self.store.close()
        except StoreError as problem:
            _log.warning("impressions of the last second were lost: %s", problem)


async def _service(request: Request) -> Service:
    # async: what is not, FastAPI calls in a thread
    service: Service = request.app.state.service
    return service


Asked: TypeAlias = Annotated[Service, Depends(_service)]
