"""Operational routes: liveness, readiness, metrics and the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from cofactor.errors import StoreUnavailableError
from cofactor.service.api.auth import PUBLIC, READ
from cofactor.service.api.dependencies import CurrentService
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import json_response
from cofactor.service.api.metrics import metrics_text
from cofactor.service.api.routing import StrictRoute

__all__ = ["router"]


@dataclass(frozen=True)
class Liveness:
    """Liveness of the process."""

    status: Literal["ok"] = "ok"


@dataclass(frozen=True)
class Readiness:
    """Readiness of the process: the version of the loaded model and the state of the store."""

    model: int
    store: Literal["ok", "unavailable"]
    status: Literal["ok"] = "ok"


router = APIRouter(route_class=StrictRoute, tags=["health"])


@router.get("/health/live", dependencies=[PUBLIC])
async def live() -> Liveness:
    """Return 200 while the process is responsive. No key is required."""
    return Liveness()


@router.get("/health/ready", responses=responses(), dependencies=[PUBLIC])
async def ready(service: CurrentService) -> Readiness:
    """Return 200 once a model is loaded, even while the store is unavailable. No key is required."""
    version = service.engine.version
    if version is None:
        raise Problem(503, "no model has been promoted yet", {"Retry-After": "1"})
    try:
        await service.run(service.store.ping)
    except StoreUnavailableError:
        return Readiness(version, "unavailable")
    return Readiness(version, "ok")


METRICS = {**responses(), 200: {"content": {"text/plain": {}}}}


@router.get("/metrics", response_class=Response, responses=METRICS, dependencies=[READ])
async def metrics(service: CurrentService) -> Response:
    """Return the metrics of all workers in Prometheus format."""
    service.update_metrics()
    return Response(await service.run(metrics_text), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False, dependencies=[PUBLIC])
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return json_response(request.app.openapi())
