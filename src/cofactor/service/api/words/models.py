"""Models, jobs and audits over the wire."""

from __future__ import annotations

from dataclasses import fields
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field

from cofactor.checks import MAX_SEED
from cofactor.data.interactions import Kind
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import Estimator
from cofactor.service.api.words.basics import WHOLE, JsonMap, Wire, either

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


def estimator_schema(kind: type[Estimator]) -> dict[str, Any]:
    """Return the JSON schema of an estimator's name and settings, from its fields.

    >>> from cofactor import Bias
    >>> schema = estimator_schema(Bias)["properties"]["damping"]
    >>> schema["type"], schema["minimum"], schema["maximum"], schema["default"]
    ('number', 0, 1000, 5.0)
    """
    hints = get_type_hints(kind)
    properties: dict[str, Any] = {"estimator": {"const": kind.name}}
    for spec in fields(kind):
        limits = {"minimum": spec.metadata["low"], "maximum": spec.metadata["high"]}
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        described = {**limits, "default": default, "description": spec.metadata["meaning"]}
        found = _schema_of(hints[spec.name]) | {name: x for name, x in described.items() if x is not None}
        properties[spec.name] = found
    return {
        "type": "object",
        "title": kind.name,
        "properties": properties,
        "required": ["estimator"],
        "additionalProperties": False,
    }


def _schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a setting's type: a number, a choice, a tuple, or one of several."""
    if hint in (int, float, bool, NoneType, str):
        names = {int: "integer", float: "number", bool: "boolean", NoneType: "null", str: "string"}
        return {"type": names[hint]} | ({"minLength": 1} if hint is str else {})
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is tuple:
        one, *more = get_args(hint)
        size = {} if more == [...] else {"minItems": 1 + len(more), "maxItems": 1 + len(more)}
        return {"type": "array", "items": _schema_of(one), **size}
    return {"anyOf": [_schema_of(one) for one in get_args(hint)]}


def _learning_from(*kinds: str) -> dict[str, Any]:
    """Return how the member `estimator` looks for a training from these kinds."""
    schemas = [estimator_schema(one) for one in REGISTRY.values() if one.kind in (*kinds, "any")]
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
