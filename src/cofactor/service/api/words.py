"""What goes over the wire, as types: FastAPI checks requests by them, and writes the OpenAPI document."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, WithJsonSchema

from cofactor.data.interactions import Kind
from cofactor.errors import DataError
from cofactor.models.rerank import By
from cofactor.service.serving import AnsweredBy
from cofactor.store import EventKind
from cofactor.store.door import checked_id, checked_json

__all__ = ["Ids", "JsonMap", "Name", "Number", "Wire", "reply"]


def _id(given: str | int) -> str:
    try:
        return checked_id(given, "the id")
    except DataError as error:
        raise ValueError(str(error)) from None


def _map(given: dict[str, Any]) -> dict[str, Any]:
    try:
        checked_json(given, "it")
    except DataError as error:
        raise ValueError(str(error)) from None
    return given


def _finite(given: float) -> float:
    if not math.isfinite(given):
        raise ValueError("the number is not finite")
    return given


NAMED = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 256}, {"type": "integer"}]}
Name: TypeAlias = Annotated[StrictStr | StrictInt, AfterValidator(_id), WithJsonSchema(NAMED)]
"""An id, a string or an integer; as text once it is in."""

AsQuery: TypeAlias = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_id)]
"""An id in a query."""

Ids: TypeAlias = Annotated[list[Name], Field(max_length=10_000)]
JsonMap: TypeAlias = Annotated[dict[str, Any], AfterValidator(_map)]
Number: TypeAlias = Annotated[float, Field(strict=True), AfterValidator(_finite)]


class Wire(BaseModel):
    """What goes over the wire: unknown names are refused."""

    model_config = ConfigDict(extra="forbid")


class ProblemAnswer(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no item 'jaws'"])


class Rated(Wire):
    """An item and how it was rated, or how often it was taken."""

    item: Name = Field(examples=["alien"])
    value: Number = Field(1.0, examples=[5])


class WishBody(Wire):
    """What a list should be like."""

    n: int = Field(10, ge=1, le=1_000, description="How many items at most")
    exclude: Ids = Field([], description="Items to leave out, beside what is in the history")
    where: JsonMap = Field({}, description="Metadata that items must have", examples=[{"genre": ["war", "drama"]}])
    by: By = Field("mean", description="cautious and optimistic need a model that predicts distributions")
    diversity: float = Field(0.0, ge=0, le=1, description="From the plain order to as unlike as can be")
    explore: float = Field(0.0, ge=0, le=1, description="The chance of each place to go to an item that few rated")


class RecommendBody(WishBody):
    """For one user, or for somebody who is known by a history alone."""

    user: Name | None = Field(None, examples=["ana"])
    history: list[Rated] | None = Field(None, max_length=10_000)
    log: bool = Field(True, description="Keep what is shown to a user, for later evaluation")


class BatchBody(WishBody):
    """For many users."""

    users: Ids = Field(min_length=1, examples=[["ana", "bo"]])
    log: bool = False


class Shown(BaseModel):
    """One place of a list. score: none where the place was explored."""

    item: str
    rank: int
    score: float | None
    title: str | None = None
    explored: bool
    propensity: float


class Recommended(BaseModel):
    """A list, best first; which model it is from, and what answered."""

    user: str | None = None
    model: int
    answered_by: AnsweredBy
    stale: bool = Field(description="The store did not answer: the newest events may be missing")
    items: list[Shown]


class Batch(BaseModel):
    """Lists in the order in which users were named."""

    lists: list[Recommended]


class Predicted(BaseModel):
    """The rating to expect, and with a distribution the interval that holds it with 90 %."""

    user: str
    item: str
    model: int
    answered_by: AnsweredBy
    stale: bool
    prediction: float
    interval: tuple[float, float] | None


class Part(BaseModel):
    """A part of a score."""

    part: str
    item: str | None
    value: float | None
    term: float
    title: str | None = None


class Explained(BaseModel):
    """What a score is made of: the terms add up to it."""

    user: str
    item: str
    model: int
    answered_by: AnsweredBy
    stale: bool
    score: float
    parts: list[Part]


class Like(BaseModel):
    """An item and how alike it is."""

    item: str
    rank: int
    score: float
    title: str | None = None


class Alike(BaseModel):
    """Items liked by the same people."""

    item: str
    model: int
    items: list[Like]


class Told(Wire):
    """What somebody new answered: a rating, or null for "don't know"."""

    item: Name
    value: Number | None


class InterviewBody(Wire):
    """What was answered so far, in order."""

    answers: list[Told] = Field([], max_length=200)


class Question(BaseModel):
    """What to ask next; none where nothing is worth asking. doubt: the mean variance of what is predicted."""

    model: int
    item: str | None
    title: str | None
    doubt: float


class EventBody(Wire):
    """Something a user did; `key` makes sending it again safe."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"user": "ana", "item": "alien", "value": 5, "key": "ana-alien-1"}]},
    )

    user: Name
    item: Name
    value: Number | None = Field(None, description="The rating, or how often; none for a removal")
    kind: EventKind = "rating"
    time: int | None = Field(None, strict=True, ge=0, lt=10**11, description="Seconds since 1970; now unless given")
    key: str | None = Field(None, min_length=1, max_length=128, description="Idempotency key")


class Stored(BaseModel):
    """The event's number, or that of the first with its key."""

    seq: int
    duplicate: bool


class Line(BaseModel):
    """How one line fared: its number, or why it was refused."""

    line: int
    seq: int | None = None
    duplicate: bool | None = None
    error: str | None = None


class Bulk(BaseModel):
    """How all lines fared."""

    stored: int
    duplicates: int
    refused: int
    results: list[Line]


class EventOut(BaseModel):
    """An event as it is kept."""

    seq: int
    kind: EventKind
    user: str
    item: str
    value: float
    time: int
    received: int


class EventPage(BaseModel):
    """A page of events; `next` is what to ask for after it."""

    events: list[EventOut]
    next: int


class ItemBody(Wire):
    """An item, in place of what was known of it."""

    item: Name
    title: str | None = Field(None, max_length=1_000)
    available: bool = Field(True, strict=True)
    metadata: JsonMap = Field({}, examples=[{"genre": ["horror"], "year": 1979}])


class ItemsBody(Wire):
    """Items to keep."""

    items: list[ItemBody] = Field(min_length=1, max_length=10_000)


class AvailabilityBody(Wire):
    """Items that can be had, or cannot."""

    items: Ids = Field(min_length=1)
    available: bool = Field(strict=True)


class ItemOut(BaseModel):
    """What is known of an item."""

    item: str
    title: str | None
    available: bool
    metadata: dict[str, Any]
    known_to_model: bool


class Changed(BaseModel):
    """The number of the change."""

    seq: int


class UserBody(Wire):
    """A user's facts, in place of what was known."""

    user: Name
    metadata: JsonMap


class UserOut(BaseModel):
    """What is known of a user."""

    user: str
    metadata: dict[str, Any]
    known_to_model: bool
    events_since: bool = Field(description="Whether something happened since the model learnt")


class Forgotten(BaseModel):
    """The number of the forgetting, and the job that learns without the user."""

    seq: int
    job: int


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
    seed: int | None = Field(None, ge=0, lt=2**63)


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


class KeyBody(Wire):
    """A key to make."""

    role: Literal["read", "write", "admin"]
    label: str = Field(min_length=1, max_length=200)


class KeyMade(BaseModel):
    """The key itself: shown now and never again."""

    key: str


class KeyOut(BaseModel):
    """A key without its secret."""

    id: str
    role: Literal["read", "write", "admin"]
    label: str
    created: int
    revoked: int | None


class KeyPage(BaseModel):
    """Every key, oldest first."""

    keys: list[KeyOut]


class Alive(BaseModel):
    """That the process answers, and with which model."""

    status: Literal["ok"]
    model: int | None = None
    store: Literal["ok", "unavailable"] | None = None


def reply(content: Any, status: int = 200, **headers: str) -> Response:
    """JSON, of values that were checked when they came in: not checked again."""
    body = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, headers or None, "application/json")
