"""FastAPI application: routers, middleware and the lifespan that opens and closes the service."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from cofactor import __version__
from cofactor.service.api import events, health, items, keys, models, recommendations, users
from cofactor.service.api.auth import RouteRole
from cofactor.service.api.dependencies import Service
from cofactor.service.api.errors import install_error_handlers
from cofactor.service.api.middleware import RequestMiddleware
from cofactor.service.api.openapi import install_openapi
from cofactor.service.api.routing import StrictRoute
from cofactor.service.settings import ServiceSettings

__all__ = ["create_app", "roles", "worker_app"]

DESCRIPTION = "Recommendations that reflect every new rating. Every response names the model and how it was computed."

ROUTERS = tuple(
    module.router for module in (recommendations, events, items, users, models, keys, health)
)  # in the order of the documentation


def roles() -> dict[tuple[str, str], RouteRole]:
    """Return the role required by each route, keyed by method and path.

    Examples
    --------
    >>> roles()["GET", "/v1/recommendations"], roles()["GET", "/health/live"]
    ('read', 'public')
    """
    return {
        (method, route.path): route.role
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, StrictRoute)
        for method in route.methods or ()
    }


def create_app(settings: ServiceSettings, on_startup: Callable[[], object] = lambda: None) -> FastAPI:
    """Create the application of a worker process; it opens the store on startup and closes it on shutdown.

    Parameters
    ----------
    settings : ServiceSettings
        Settings of the service.
    on_startup : callable, optional
        Called without arguments after the service is opened and before the first request.

    Returns
    -------
    FastAPI
        The application.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = await asyncio.to_thread(Service, settings)
        on_startup()
        watch = asyncio.create_task(service.watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="cofactor",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router)
    install_error_handlers(app, roles())
    public_paths = {path for (_, path), role in roles().items() if role == "public"}
    app.add_middleware(RequestMiddleware, public_paths=public_paths)
    install_openapi(app, settings)
    return app


def worker_app() -> FastAPI:
    """Create the application for a worker started by uvicorn, with the settings of the parent process."""
    configure_logging()
    return create_app(ServiceSettings.from_parent_process(), _freeze)


def _freeze() -> None:
    """Exempt all existing objects from garbage collection, because a full collection blocks responses for 0.1 s."""
    gc.collect()
    gc.freeze()


def configure_logging() -> None:
    """Configure logging to stderr with one JSON object per line."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    root = logging.getLogger("cofactor")
    root.handlers, root.propagate = [handler], False
    root.setLevel(logging.INFO)


class _JsonFormatter(logging.Formatter):
    """Format log records as JSON; messages from `cofactor.requests` are already JSON."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "from": record.name,
        }
        line |= json.loads(message) if record.name == "cofactor.requests" else {"message": message}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)
