"""Models and jobs: what was learnt, what answers, and what is to be learnt."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cofactor.audit import exposure
from cofactor.audit.concentration import Concentration
from cofactor.checks import MAX_SEED
from cofactor.data.interactions import Kind
from cofactor.errors import CofactorError, StoreError, StoreUnavailableError
from cofactor.estimators import REGISTRY
from cofactor.service import registry
from cofactor.service.api.declared import StrictRoute
from cofactor.service.api.dependencies import Asked, Service
from cofactor.service.api.errors import Problem, leads_to, responses
from cofactor.service.api.fields import DECIMAL, WHOLE, JsonMap, Wire, either, reply
from cofactor.service.training.data import check_trainable
from cofactor.service.training.spec import TrainingSpec, spec_of
from cofactor.store import Job, JobState, StoredModel

__all__ = ["Audited", "JobOut", "JobPage", "ModelOut", "ModelPage", "TrainBody", "router"]


class ModelOut(BaseModel):
    """A model."""

    version: int
    status: Literal["candidate", "active", "previous", "held", "retired"]
    estimator: Any
    metrics: Any
    reasons: list[str]
    watermark: int
    has_file: bool
    created: int
    changed: int


class ModelPage(BaseModel):
    """Every model, by version; which one answers on this worker now."""

    answering: int | None
    models: list[ModelOut]


def _learning_from(*kinds: str) -> dict[str, Any]:
    """Return how the member `estimator` looks for a training from these kinds."""
    schemas = [one.json_schema() for one in REGISTRY.values() if one.kind in (*kinds, "any")]
    return {"anyOf": [*schemas, {"type": "null"}], "default": None}


class TrainBody(Wire):
    """What to learn, and how; what is left out is as it was."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=either(
            {"kind": {"const": "ratings"}, "estimator": _learning_from("ratings")},
            {"kind": {"const": "events"}, "estimator": _learning_from("events")},
            {"kind": {"type": "null"}, "estimator": _learning_from("ratings", "events")},
            examples=[{"estimator": {"estimator": "biased-mf", "factors": 50}}],
        ),
    )

    kind: Kind | None = None
    estimator: JsonMap | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE] | None = None


class JobOut(BaseModel):
    """A job."""

    id: int
    kind: str
    state: Literal["queued", "running", "done", "failed"]
    attempts: int
    progress: float
    message: str
    created: int
    started: int | None
    finished: int | None


class JobPage(BaseModel):
    """The newest jobs first."""

    jobs: list[JobOut]


class Spread(BaseModel):
    """How evenly something falls on its members. gini: none where there is nothing."""

    total: float
    members: int
    gini: float | None


class Audited(BaseModel):
    """Who decides and what is shown, of the active model's ten best for every user."""

    model: int
    raters: Spread
    rated: Spread
    shown: Spread
    coverage: float
    popularity_lift: float | None


JOB = leads_to("job_v1_jobs__job__get", job="id")
"""Where the answer to a training leads."""


router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["models"], responses=responses(404, 409))


Numbered = Annotated[int, Path(ge=1, lt=2**53), DECIMAL]


@router.get("/models", response_model=ModelPage)
async def every(service: Asked) -> Response:
    """Every model, and which one answers here."""
    found = await service.run(service.store.models.all)
    return reply({"answering": service.engine.version, "models": [_model(one) for one in found]})


@router.post("/models/train", response_model=JobOut, status_code=202, responses={202: JOB})
async def train(service: Asked, body: TrainBody | None = None) -> Response:
    """Learn a new model: the job that waits already for the same, or a new one.

    What no training can be made of is refused at once, and so is a kind of which the store holds nothing.
    """
    spec = None if body is None else body.model_dump(exclude_none=True) or None
    return reply(_job(await service.run_slowly(_asked, service, spec)), 202)


def _asked(service: Service, values: dict[str, Any] | None) -> Job:
    """Check the specification and enqueue a training. Raises a Problem, 422, for an invalid one, and KindError."""
    try:
        spec = TrainingSpec.of(values, _spec(service))
    except CofactorError as error:
        raise Problem(422, f"body: {error}") from None
    check_trainable(service.store, spec)
    return service.store.jobs.enqueue_once("train", values)


def _spec(service: Service) -> TrainingSpec:
    """Return the specification of the model that answers, with the values that a request leaves out."""
    if service.engine.version is None:
        return TrainingSpec()
    serving = service.engine.serving
    return spec_of(service.store.models.get(serving.version), serving.recommender.kind)


@router.post("/models/roll-back", response_model=ModelOut)
async def roll_back(service: Asked) -> Response:
    """Let the previous model answer again, once its file is checked."""
    return reply(_model(await service.run_slowly(_changed, service, None)))


@router.post("/models/{version}/promote", response_model=ModelOut)
async def promote(service: Asked, version: Numbered) -> Response:
    """Let this model answer, once its file is checked: other workers take it up within a second or so."""
    return reply(_model(await service.run_slowly(_changed, service, version)))


def _changed(service: Service, version: int | None) -> StoredModel:
    if version is None:
        found = registry.roll_back(service.store, service.artifacts)
    else:
        _there(service.store.models.get, version)
        found = registry.promote(service.store, service.artifacts, version)
    service.engine.refresh()
    return found


@router.get("/models/audit", response_model=Audited)
async def audit(service: Asked) -> Response:
    """Who decides and what is shown, of the model that answers: its ten best for every user. Kept by version."""
    serving = service.engine.serving
    known = service.audits.get(serving.version)
    found = known if known is not None else await service.run_slowly(exposure, serving.recommender)
    service.audits.put(serving.version, found)
    spreads = {name: _spread(getattr(found, name)) for name in ("raters", "rated", "shown")}
    lift = _number(found.popularity_lift)
    return reply({"model": serving.version, **spreads, "coverage": float(found.coverage), "popularity_lift": lift})


@router.get("/jobs", response_model=JobPage)
async def jobs(
    service: Asked, state: JobState | None = None, limit: Annotated[int, Query(ge=1, le=1_000), DECIMAL] = 100
) -> Response:
    """The newest jobs first."""
    found = await service.run(service.store.jobs.newest, min(limit, service.settings.max_n), state)
    return reply({"jobs": [_job(one) for one in found]})


@router.get("/jobs/{job}", response_model=JobOut)
async def job(service: Asked, job: Numbered) -> Response:
    """One job, and how far it is."""
    return reply(_job(await service.run(_there, service.store.jobs.get, job)))


def _there(get: Any, number: int) -> Any:
    """What the store has of this number. Raises a Problem, 404, where it has nothing."""
    try:
        return get(number)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise Problem(404, str(error)) from None


def _model(model: StoredModel) -> dict[str, Any]:
    names = ("version", "status", "estimator", "metrics", "reasons", "watermark", "created", "changed")
    return {name: getattr(model, name) for name in names} | {"has_file": model.file is not None}


def _job(job: Job) -> dict[str, Any]:
    names = ("id", "kind", "state", "attempts", "progress", "message", "created", "started", "finished")
    return {name: getattr(job, name) for name in names}


def _spread(found: Concentration) -> dict[str, Any]:
    return {"total": float(found.total), "members": int(found.members), "gini": _number(found.gini)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
