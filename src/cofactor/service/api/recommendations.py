"""What to show somebody, what they would rate it, and why."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, Discriminator, Field, Tag

from cofactor.models.rerank import RankBy
from cofactor.service import answers
from cofactor.service.api.auth import READ
from cofactor.service.api.dependencies import CurrentService, Service
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import DECIMAL, WHOLE, AsQuery, Id, Ids, JsonMap, Rating, RequestBody, reply
from cofactor.service.api.metrics import count_answer
from cofactor.service.api.routing import StrictRoute
from cofactor.service.loaded_model import AnsweredBy, ItemAnsweredBy
from cofactor.service.reasons import asked, explained, predicted
from cofactor.store import Impression

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
    "router",
]


LOGGED = Field(True, strict=True, description="Store what is shown to a user, for later evaluation")


class Rated(RequestBody):
    """An item and its rating; for a model of events how often it was taken, once unless given."""

    item: Id = Field(examples=["alien"])
    value: Rating = Field(1.0, examples=[5])


class WishBody(RequestBody):
    """What a list should be like."""

    n: Annotated[int, Field(ge=1, le=1_000), WHOLE] = Field(10, description="How many items at most")
    exclude: Ids = Field([], description="Items to leave out, beside what is in the history")
    where: JsonMap = Field({}, description="Metadata that items must have", examples=[{"genre": ["war", "drama"]}])
    rank_by: RankBy = Field("mean", description="lower and upper need a model that predicts distributions")
    diversity: float = Field(0.0, ge=0, le=1, strict=True, description="From the plain order to as unlike as can be")
    explore: float = Field(
        0.0, ge=0, le=1, strict=True, description="The chance of each place to go to an item that few rated"
    )


class UserQueryBody(WishBody):
    """A list for a user."""

    user: Id
    history: None = None
    log: bool = LOGGED


class HistoryQueryBody(WishBody):
    """A list for a new user with a history."""

    user: None = None
    history: list[Rated] = Field(max_length=10_000, description="Each item occurs once")
    log: bool = LOGGED


def _variant(body: Any) -> str | None:
    names = ("user", "history")
    members = [body.get(name) if isinstance(body, dict) else getattr(body, name, None) for name in names]
    present = [name for name, member in zip(names, members, strict=True) if member is not None]
    return f"variant:{present[0]}" if len(present) == 1 else None


RecommendBody = Annotated[
    Annotated[UserQueryBody, Tag("variant:user")] | Annotated[HistoryQueryBody, Tag("variant:history")],
    Discriminator(
        _variant,
        custom_error_type="user_or_history",
        custom_error_message="name a user or give a history, and not both",
    ),
]
"""A list for a user, or for a new user with a history."""

EXAMPLES = [
    {"user": "ana", "n": 5, "where": {"genre": ["war", "drama"]}},
    {"history": [{"item": "alien", "value": 5}], "n": 5},
]


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


class Told(RequestBody):
    """What somebody new answered: a rating, or null for "don't know"."""

    item: Id
    value: Rating | None


class InterviewBody(RequestBody):
    """What was answered so far, in order."""

    answers: list[Told] = Field([], max_length=200, description="Each item occurs once")


class Question(BaseModel):
    """The item to ask about next, null if no answer is expected to help; the variance of the predictions so far."""

    model: int
    item: str | None
    title: str | None
    expected_variance: float


router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["recommendations"], responses=responses(404, 409))


@router.get("/recommendations", response_model=Recommended, dependencies=[READ])
async def of_user(
    service: CurrentService,
    user: Annotated[AsQuery, Query(examples=["ana"])],
    n: Annotated[int, Query(ge=1, le=1_000), DECIMAL] = 10,
    log: bool = True,
) -> Response:
    """The best items for a user, known or not."""
    _check_n(service, n)
    found = await service.run(service.engine.recommend, user, answers.Query(n=n))
    return _shown(service, found, user, log)


@router.post("/recommendations", response_model=Recommended, dependencies=[READ])
async def as_wished(service: CurrentService, body: Annotated[RecommendBody, Body(examples=EXAMPLES)]) -> Response:
    """The best items for a user, or for somebody who is known by a history alone, as they are wished for."""
    wish = _wish(service, body)
    if isinstance(body, UserQueryBody):
        user = str(body.user)
        return _shown(service, await service.run(service.engine.recommend, user, wish), user, body.log)
    pairs = [(str(one.item), one.value) for one in body.history]
    if len({item for item, _ in pairs}) < len(pairs):
        raise Problem(422, "history: an item stands there twice")
    _require_ratings(service, body.history)
    service.engine.serving.check_values([value for _, value in pairs], lambda at: f"body.history.{at}.value")
    return _shown(service, await service.run(service.engine.recommend_for, pairs, wish), None, log=False)


@router.post("/recommendations/batch", response_model=Batch, dependencies=[READ])
async def of_many(service: CurrentService, body: BatchBody) -> Response:
    """The best items for each of many users."""
    if len(body.users) > service.settings.max_batch:
        raise Problem(422, f"users: at most {service.settings.max_batch:,} at once")
    wish, lists = _wish(service, body), []
    for user in map(str, body.users):
        found = await service.run(service.engine.recommend, user, wish)
        lists.append(_told(service, found, user, body.log))
    return reply({"lists": lists})


@router.get("/predictions", response_model=Predicted, dependencies=[READ])
async def of_pair(service: CurrentService, user: AsQuery, item: AsQuery) -> Response:
    """The rating that a user would give an item, with an interval where the model predicts distributions."""
    found = await service.run(predicted, service.engine, user, item)
    count_answer(found)
    interval = None if found.interval is None else list(found.interval)
    return reply({"user": user, "item": item, **_from(found), "prediction": found.value, "interval": interval})


@router.get("/explanations", response_model=Explained, dependencies=[READ])
async def why(service: CurrentService, user: AsQuery, item: AsQuery) -> Response:
    """What a user's score of an item is made of. Similar users are never named."""
    found = await service.run(explained, service.engine, user, item)
    count_answer(found)
    return reply({"user": user, "item": item, **_from(found), "score": found.score, "parts": found.parts})


@router.post("/onboarding", response_model=Question, tags=["newcomers"], dependencies=[READ])
async def question(service: CurrentService, body: InterviewBody) -> Response:
    """What to ask somebody new next, given what they answered so far. Nothing is kept."""
    answers = [(str(one.item), one.value) for one in body.answers]
    if len({item for item, _ in answers}) < len(answers):
        raise Problem(422, "answers: an item stands there twice")
    places = [place for place, (_, value) in enumerate(answers) if value is not None]
    values = [value for _, value in answers if value is not None]
    service.engine.serving.check_values(values, lambda at: f"body.answers.{places[at]}.value")
    return reply(await service.run_slowly(asked, service.engine, answers))


def _wish(service: Service, body: WishBody) -> answers.Query:
    _check_n(service, body.n)
    exclude = tuple(map(str, body.exclude))
    return answers.Query(body.n, exclude, body.where, body.rank_by, body.diversity, body.explore)


def _check_n(service: Service, n: int) -> None:
    if n > service.settings.max_n:
        raise Problem(422, f"n: at most {service.settings.max_n:,}")


def _require_ratings(service: Service, history: list[Rated]) -> None:
    """Raise a Problem, 422, where the model learned from ratings and an item of a history has none."""
    if service.engine.serving.recommender.kind == "ratings":
        for place, one in enumerate(history):
            if "value" not in one.model_fields_set:
                raise Problem(422, f"body.history.{place}.value: the rating is missing; the model learned from ratings")


def _shown(service: Service, found: answers.Recommendation, user: str | None, log: bool) -> Response:
    return reply(_told(service, found, user, log))


def _told(service: Service, found: answers.Recommendation, user: str | None, log: bool) -> dict[str, Any]:
    count_answer(found)
    if log and user is not None and found.items:
        shown, chances = [one.item for one in found.items], [one.propensity for one in found.items]
        service.store.impressions.log([Impression(user, shown, chances, found.version)])
    items = [
        {
            "item": one.item,
            "rank": one.rank,
            "score": None if math.isnan(one.score) else one.score,
            "answered_by": one.answered_by,
            "title": one.title,
            "explored": one.explored,
            "propensity": one.propensity,
        }
        for one in found.items
    ]
    return {"user": user, **_from(found), "items": items}


def _from(found: Any) -> dict[str, Any]:
    return {"model": found.version, "answered_by": found.by, "stale": found.stale}
