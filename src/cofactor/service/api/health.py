"""Whether the process lives, whether it can answer, and its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from cofactor.errors import StoreUnavailableError
from cofactor.service.api.declared import StrictRoute
from cofactor.service.api.dependencies import Asked
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import reply
from cofactor.service.api.keys import Alive
from cofactor.service.api.metrics import tell_model, written

__all__ = ["router"]

router = APIRouter(route_class=StrictRoute, tags=["health"])


@router.get("/health/live", response_model=Alive)
async def live() -> Response:
    """The process answers. No key is needed."""
    return reply({"status": "ok"})


@router.get("/health/ready", response_model=Alive, responses=responses())
async def ready(service: Asked) -> Response:
    """There is a model to answer with, even where the store does not answer. No key is needed."""
    version = service.engine.version
    if version is None:
        raise Problem(503, "no model was promoted yet", {"Retry-After": "1"})
    try:
        await service.run(service.store.ping)
    except StoreUnavailableError:
        return reply({"status": "ok", "model": version, "store": "unavailable"})
    return reply({"status": "ok", "model": version, "store": "ok"})


@router.get("/metrics", response_class=Response, responses={**responses(), 200: {"content": {"text/plain": {}}}})
async def metrics(service: Asked) -> Response:
    """Numbers for Prometheus, of all workers."""
    engine = service.engine
    tell_model(engine.version or 0, engine.swaps, engine.failures, service.store.impressions.lost)
    return Response(await service.run(written), media_type=CONTENT_TYPE_LATEST)
