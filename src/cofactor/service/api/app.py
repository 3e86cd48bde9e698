"""The application: all routes, what surrounds them, and what it opens and closes."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI

from cofactor import __version__
from cofactor.service.api import events, health, items, keys, models, recommendations, users
from cofactor.service.api.auth import ROLES, require_role
from cofactor.service.api.declared import declarations, require_declared
from cofactor.service.api.dependencies import Service
from cofactor.service.api.errors import install
from cofactor.service.api.middleware import Outer
from cofactor.service.api.openapi import document
from cofactor.service.settings import ServiceSettings

__all__ = ["create_app", "worker_app"]

ABOUT = "Recommendations that learn as people rate. Every answer names the model and what answered."


def create_app(settings: ServiceSettings, when_open: Callable[[], object] = lambda: None) -> FastAPI:
    """The application of one process; it opens the store when it starts, and closes it when it ends.

    when_open: called once all is open, before the first request.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        app.state.declared = declarations(app)
        app.state.service = service = await asyncio.to_thread(Service, settings)
        when_open()
        watching = asyncio.create_task(service.watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="cofactor",
        version=__version__,
        description=ABOUT,
        lifespan=life,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(require_role), Depends(require_declared)],
    )
    for room in (recommendations, events, items, users, models, keys, health):
        app.include_router(room.router)
    install(app, ROLES)
    app.add_middleware(Outer)
    document(app, settings)
    return app


def worker_app() -> FastAPI:
    """What uvicorn calls in each worker: the application with the settings that the parent handed over."""
    log_lines()
    return create_app(ServiceSettings.handed_over(), _keep)


def _keep() -> None:
    """What is in memory now stays: to search all of it for garbage stops every answer for a tenth of a second."""
    gc.collect()
    gc.freeze()


def log_lines() -> None:
    """Structured logs on stderr: one JSON object a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    root = logging.getLogger("cofactor")
    root.handlers, root.propagate = [handler], False
    root.setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """A record as JSON; lines of `cofactor.requests` are JSON already."""

    def format(self, record: logging.LogRecord) -> str:
        import json

        message = record.getMessage()
        about: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "from": record.name,
        }
        about |= json.loads(message) if record.name == "cofactor.requests" else {"message": message}
        if record.exc_info:
            about["trace"] = self.formatException(record.exc_info)
        return json.dumps(about)
