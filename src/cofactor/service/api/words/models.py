"""Models, jobs and audits over the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cofactor.data.interactions import Kind
from cofactor.service.api.words.basics import WHOLE, JsonMap, Wire

__all__ = ["Audited", "JobOut", "JobPage", "ModelOut", "ModelPage", "TrainBody"]


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


class TrainBody(Wire):
    """What to learn, and how; what is left out is as it was."""

    kind: Kind | None = None
    estimator: JsonMap | None = Field(None, examples=[{"estimator": "biased-mf", "factors": 50}])
    seed: Annotated[int, Field(ge=0, lt=2**53), WHOLE] | None = None


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
