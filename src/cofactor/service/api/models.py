"""Model and job routes: list, train, promote, roll back and audit models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Body, Path, Query
from pydantic import Field, Tag, WithJsonSchema

from cofactor.audit import exposure
from cofactor.audit.concentration import Concentration
from cofactor.checks import MAX_SEED
from cofactor.errors import CofactorError, StoreError, StoreUnavailableError
from cofactor.estimators import REGISTRY
from cofactor.service import registry
from cofactor.service.api.auth import ADMIN, READ
from cofactor.service.api.dependencies import CurrentService, Service
from cofactor.service.api.errors import Problem, link_to, responses
from cofactor.service.api.fields import DECIMAL_NUMBER, WHOLE_NUMBER, JsonMap, RequestBody, copy_fields, variant_by_kind
from cofactor.service.api.routing import StrictRoute
from cofactor.service.training.data import check_trainable
from cofactor.service.training.spec import TrainingSpec, spec_of
from cofactor.store import Job, JobState, StoredModel

__all__ = ["TrainBody", "router"]

T = TypeVar("T")


@dataclass(frozen=True)
class ModelOut:
    """Metadata and status of a model."""

    version: int
    status: Literal["candidate", "active", "previous", "held", "retired"]
    estimator: Any
    metrics: Any
    reasons: list[str]
    watermark: int
    has_file: bool
    created: int
    changed: int


@dataclass(frozen=True)
class ModelPage:
    """All models, ordered by version, and the version in use on this worker."""

    answering: int | None
    models: list[ModelOut]


def _estimator_schemas(*kinds: str) -> WithJsonSchema:
    """Return the schema of the member `estimator` for training on these kinds of data."""
    schemas = [estimator.json_schema() for estimator in REGISTRY.values() if estimator.kind in (*kinds, "any")]
    return WithJsonSchema({"anyOf": [*schemas, {"type": "null"}]})


class TrainFields(RequestBody):
    """Fields common to all training requests; a missing field defaults to the setting of the current model."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE_NUMBER] | None = None


class TrainOnRatings(TrainFields):
    """Request to train on ratings."""

    kind: Literal["ratings"]
    estimator: Annotated[JsonMap | None, _estimator_schemas("ratings")] = None


class TrainOnEvents(TrainFields):
    """Request to train on events."""

    kind: Literal["events"]
    estimator: Annotated[JsonMap | None, _estimator_schemas("events")] = None


class TrainOnAny(TrainFields):
    """Request to train on the kind of data required by the given estimator or, without one, by the current model."""

    kind: None = None
    estimator: Annotated[JsonMap | None, _estimator_schemas("ratings", "events")] = None


TrainBody = Annotated[
    Annotated[TrainOnRatings, Tag("variant:ratings")]
    | Annotated[TrainOnEvents, Tag("variant:events")]
    | Annotated[TrainOnAny, Tag("variant:None")],
    variant_by_kind(None, "kind: must be ratings, events or null"),
]
"""Request to train a model."""

EXAMPLES = [{"estimator": {"estimator": "biased-mf", "factors": 50}}]


@dataclass(frozen=True)
class JobOut:
    """State of a job."""

    id: int
    kind: str
    state: JobState
    attempts: int
    progress: float
    message: str
    created: int
    started: int | None
    finished: int | None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    jobs: list[JobOut]


@dataclass(frozen=True)
class ConcentrationOut:
    """Concentration of a quantity over users or items; `gini` is null if it is undefined."""

    total: float
    members: int
    gini: float | None


@dataclass(frozen=True)
class AuditOut:
    """Concentration of ratings and of the top 10 recommendations for each user from the current model."""

    model: int
    raters: ConcentrationOut
    rated: ConcentrationOut
    shown: ConcentrationOut
    coverage: float
    popularity_lift: float | None


router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["models"], responses=responses(404, 409))

PathId = Annotated[int, Path(ge=1, lt=2**53), DECIMAL_NUMBER]


@router.get("/models", dependencies=[READ])
async def list_models(service: CurrentService) -> ModelPage:
    """Return all models and the version in use on this worker."""
    models = await service.run(service.store.models.all)
    return ModelPage(service.engine.version, [_model(model) for model in models])


@router.post("/models/train", status_code=202, responses={202: link_to("get_job", job="id")}, dependencies=[ADMIN])
async def train(service: CurrentService, body: Annotated[TrainBody | None, Body(examples=EXAMPLES)] = None) -> JobOut:
    """Queue a training job, or return the queued job with the same parameters.

    Invalid parameters, and kinds for which the store has no data, are rejected immediately.
    """
    spec = None if body is None else body.model_dump(exclude_none=True) or None
    return copy_fields(JobOut, await service.run_slow(_enqueue, service, spec))


def _enqueue(service: Service, spec: dict[str, Any] | None) -> Job:
    """Enqueue a training job. Raises Problem (422) for an invalid spec, and KindError."""
    try:
        training_spec = TrainingSpec.of(spec, _current_spec(service))
    except CofactorError as error:
        raise Problem(422, f"body: {error}") from None
    check_trainable(service.store, training_spec)
    return service.store.jobs.enqueue_once("train", spec)


def _current_spec(service: Service) -> TrainingSpec:
    """Return the specification of the current model, which provides the defaults for a new one."""
    if service.engine.version is None:
        return TrainingSpec()
    model = service.engine.model
    return spec_of(service.store.models.get(model.version), model.recommender.kind)


@router.post("/models/roll-back", dependencies=[ADMIN])
async def roll_back(service: CurrentService) -> ModelOut:
    """Roll back to the previous model after verifying its artifact."""
    return _model(await service.run_slow(_roll_back, service))


def _roll_back(service: Service) -> StoredModel:
    model = registry.roll_back(service.store, service.artifacts)
    service.engine.refresh()
    return model


@router.post("/models/{version}/promote", dependencies=[ADMIN])
async def promote(service: CurrentService, version: PathId) -> ModelOut:
    """Promote a model after verifying its artifact; other workers load it within about a second."""
    return _model(await service.run_slow(_promote, service, version))


def _promote(service: Service, version: int) -> StoredModel:
    _get(service.store.models.get, version)
    model = registry.promote(service.store, service.artifacts, version)
    service.engine.refresh()
    return model


@router.get("/models/audit", dependencies=[READ])
async def audit(service: CurrentService) -> AuditOut:
    """Return the concentration of ratings and of each user's top 10 recommendations; cached by model version."""
    model = service.engine.model
    cached = service.audits.get(model.version)
    result = cached if cached is not None else await service.run_slow(exposure, model.recommender)
    service.audits.put(model.version, result)
    return AuditOut(
        model.version,
        _concentration(result.rows_per_user),
        _concentration(result.rows_per_item),
        _concentration(result.positions_per_item),
        float(result.coverage),
        _finite(result.popularity_lift),
    )


@router.get("/jobs", dependencies=[READ])
async def list_jobs(
    service: CurrentService,
    state: JobState | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000), DECIMAL_NUMBER] = 100,
) -> JobPage:
    """Return the most recent jobs, newest first."""
    jobs = await service.run(service.store.jobs.newest, min(limit, service.settings.max_n), state)
    return JobPage([copy_fields(JobOut, job) for job in jobs])


@router.get("/jobs/{job}", dependencies=[READ])
async def get_job(service: CurrentService, job: PathId) -> JobOut:
    """Return a job with its progress."""
    return copy_fields(JobOut, await service.run(_get, service.store.jobs.get, job))


def _get(get: Callable[[int], T], number: int) -> T:
    """Return the stored object with an ID. Raises Problem (404) if there is none."""
    try:
        return get(number)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise Problem(404, str(error)) from None


def _model(model: StoredModel) -> ModelOut:
    return copy_fields(ModelOut, model, has_file=model.file is not None)


def _concentration(of: Concentration) -> ConcentrationOut:
    return ConcentrationOut(float(of.total), int(of.members), _finite(of.gini))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
