"""Lists, predictions, reasons and questions over the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cofactor.models.rerank import By
from cofactor.service.api.words.basics import WHOLE, Id, Ids, JsonMap, Rating, Wire, either
from cofactor.service.serving import AnsweredBy, ItemAnsweredBy

__all__ = [
    "Batch",
    "BatchBody",
    "Explained",
    "InterviewBody",
    "Predicted",
    "Question",
    "Rated",
    "RecommendBody",
    "Recommended",
    "WishBody",
]

IN_HISTORY = {"type": "array", "items": {"$ref": "#/components/schemas/Rated"}, "maxItems": 10_000}
ONCE = "An item stands there once"


class Rated(Wire):
    """An item and its rating; for a model of events how often it was taken, once unless given."""

    item: Id = Field(examples=["alien"])
    value: Rating = Field(1.0, examples=[5])


class WishBody(Wire):
    """What a list should be like."""

    n: Annotated[int, Field(ge=1, le=1_000), WHOLE] = Field(10, description="How many items at most")
    exclude: Ids = Field([], description="Items to leave out, beside what is in the history")
    where: JsonMap = Field({}, description="Metadata that items must have", examples=[{"genre": ["war", "drama"]}])
    by: By = Field("mean", description="cautious and optimistic need a model that predicts distributions")
    diversity: float = Field(0.0, ge=0, le=1, strict=True, description="From the plain order to as unlike as can be")
    explore: float = Field(
        0.0, ge=0, le=1, strict=True, description="The chance of each place to go to an item that few rated"
    )


class RecommendBody(WishBody):
    """For one user, or for somebody who is known by a history alone."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=either(
            {"user": {"$ref": "#/components/schemas/Id"}, "history": {"type": "null"}},
            {"user": {"type": "null"}, "history": {**IN_HISTORY, "description": ONCE}},
            examples=[
                {"user": "ana", "n": 5, "where": {"genre": ["war", "drama"]}},
                {"history": [{"item": "alien", "value": 5}], "n": 5},
            ],
        ),
    )

    user: Id | None = None
    history: list[Rated] | None = Field(None, max_length=10_000, description=ONCE)
    log: bool = Field(True, strict=True, description="Keep what is shown to a user, for later evaluation")


class BatchBody(WishBody):
    """For many users."""

    users: Ids = Field(min_length=1, examples=[["ana", "bo"]])
    log: bool = Field(False, strict=True)


class Shown(BaseModel):
    """One place of a list. score: none where the place was explored."""

    item: str
    rank: int
    score: float | None
    answered_by: ItemAnsweredBy = Field(description="popularity: the model has no evidence about the user and the item")
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
    interval: list[float] | None = Field(min_length=2, max_length=2)


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


class Told(Wire):
    """What somebody new answered: a rating, or null for "don't know"."""

    item: Id
    value: Rating | None


class InterviewBody(Wire):
    """What was answered so far, in order."""

    answers: list[Told] = Field([], max_length=200, description=ONCE)


class Question(BaseModel):
    """What to ask next; none where nothing is worth asking. doubt: the mean variance of what is predicted."""

    model: int
    item: str | None
    title: str | None
    doubt: float
