"""Route dependencies: the service state of a process, with its settings, store, engine and thread pools."""

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
from cofactor.service.api.auth import KeyCache, TokenBuckets
from cofactor.service.api.errors import Problem
from cofactor.service.api.metrics import set_model_metrics
from cofactor.service.engine import Engine
from cofactor.service.lru import LRUCache
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings, parent_has_exited
from cofactor.store import Store

__all__ = ["CurrentService", "Service", "require_list_length"]

T = TypeVar("T")

WRITE_TIMEOUT = 30.0
"""Number of seconds to wait for a write before it fails."""

_log = logging.getLogger("cofactor.service")


class Service:
    """State of a worker process, created on startup and closed on shutdown.

    The event loop never blocks on the store or the engine: both are called in a thread pool, for which at most
    `settings.max_queue` requests may wait.

    Parameters
    ----------
    settings : ServiceSettings
        Settings of the service.
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
        self.keys = KeyCache(self.store, settings.key_cache_seconds)
        self.buckets = TokenBuckets(settings.rate)
        self.audits: LRUCache[Exposure] = LRUCache(2)
        self.n_waiting = 0
        self._threads = ThreadPoolExecutor(settings.threads, "cofactor-answer")
        self._slow_threads = ThreadPoolExecutor(2, "cofactor-slow")
        self._poll_thread = ThreadPoolExecutor(1, "cofactor-poll")
        self.update_metrics()

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work` in the thread pool and return its result.

        Raises
        ------
        Problem
            503 if too many requests are waiting for a thread.
        """
        if self.n_waiting >= self.settings.max_queue:
            raise Problem(503, "too many requests are waiting", {"Retry-After": "1"})
        self.n_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self.n_waiting -= 1

    async def run_slow(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work` in a separate pool of two threads, so that long calls do not delay other requests."""
        return await asyncio.get_running_loop().run_in_executor(self._slow_threads, work, *arguments)

    async def wait_for_write(self, future: Future[T]) -> T:
        """Wait for a write to the store to complete and return its result.

        Raises
        ------
        StoreUnavailableError
            If it takes more than 30 seconds.
        """
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), WRITE_TIMEOUT)
        except TimeoutError:
            raise StoreUnavailableError(f"the store did not respond within {WRITE_TIMEOUT:g} s", "unknown") from None

    async def watch(self) -> None:
        """Poll for newly promoted models and for changes until canceled; stop this worker if its parent has exited."""
        while True:
            if parent_has_exited():
                signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(self.settings.poll)
            try:
                await asyncio.get_running_loop().run_in_executor(self._poll_thread, self.poll)
            except StoreUnavailableError as error:
                _log.warning("the store is unavailable: %s", error)
            except Exception:  # noqa: BLE001  # polling continues after any error
                _log.exception("polling for a new model failed")

    def poll(self) -> None:
        """Load a newly promoted model, read new changes from the store, and add new items to the model's catalog.

        Raises
        ------
        StoreUnavailableError
            If the store is unavailable.
        """
        try:
            self.engine.refresh()
            self.engine.changes.catch_up()
            self.engine.extend_catalog()
        finally:
            self.update_metrics()

    def update_metrics(self) -> None:
        """Update the model metrics, so that they are current no matter which worker serves the metrics."""
        engine = self.engine
        set_model_metrics(engine.version or 0, engine.swaps, engine.failures, self.store.impressions.lost)

    def warn(self, message: str) -> None:
        """Log a warning."""
        _log.warning("%s", message)

    def close(self) -> None:
        """Wait for running requests and pending writes, and close the store."""
        for threads in (self._threads, self._slow_threads, self._poll_thread):
            threads.shutdown(cancel_futures=True)
        try:
            self.store.close()
        except StoreError as error:
            _log.warning("impressions from the last second were lost: %s", error)


async def _service(request: Request) -> Service:
    # async, because FastAPI calls other dependencies in a thread
    service: Service = request.app.state.service
    return service


CurrentService: TypeAlias = Annotated[Service, Depends(_service)]


def require_list_length(service: Service, n: int) -> None:
    """Check that a list is not longer than the setting `max_n` allows.

    Raises
    ------
    Problem
        422 if it is longer.
    """
    if n > service.settings.max_n:
        raise Problem(422, f"n: must be at most {service.settings.max_n:,}; got {n:,}")
