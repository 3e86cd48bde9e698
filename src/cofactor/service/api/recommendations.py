"""Routes for recommendations, predictions, explanations and questions for new users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import Discriminator, Field, Tag, TypeAdapter

from cofactor import results
from cofactor.data.where import MAX_LENGTH
from cofactor.results import ExplainedScore, ExplanationMethod, Prediction, Question, RankBy, Recommendation
from cofactor.service.api.auth import READ
from cofactor.service.api.dependencies import CurrentService, Service, require_list_length
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import (
    DECIMAL_NUMBER,
    WHOLE_NUMBER,
    Id,
    Ids,
    ListLength,
    QueryId,
    Rating,
    RequestBody,
    limited_by,
)
from cofactor.service.api.metrics import count_answer
from cofactor.service.api.routing import StrictRoute
from cofactor.store import Impression

__all__ = ["router"]

LOG_FIELD = Field(True, strict=True, description="Log the recommended items as an impression, for later evaluation")


class RatedItem(RequestBody):
    """An item and its rating, or its number of events if the model was trained on events (default 1)."""

    item: Id = Field(examples=["alien"])
    value: Rating = Field(1.0, examples=[5])


class QueryBody(RequestBody):
    """Options for a list of recommendations."""

    n: Annotated[ListLength, WHOLE_NUMBER] = Field(10, description="Maximum number of items")
    exclude: Ids = Field([], description="Items to exclude in addition to the history")
    min_support: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE_NUMBER] = Field(
        0, description="Minimum number of ratings or events of an item"
    )
    where: str | None = Field(
        None,
        max_length=MAX_LENGTH,
        description="Filter expression over the metadata of the items",
        examples=['year >= 1990 and genre contains "war"'],
    )
    rank_by: RankBy = Field("mean", description="lower and upper require a model that predicts distributions")
    diversity: float = Field(
        0.0, ge=0, le=1, strict=True, description="Weight of diversity, from 0 (ranking by score only) to 1"
    )
    explore: float = Field(
        0.0, ge=0, le=1, strict=True, description="Probability that a position is filled by an item with few ratings"
    )


class UserQueryBody(QueryBody):
    """Request for a list of recommendations for a user."""

    user: Id
    history: None = None
    log: bool = LOG_FIELD


class HistoryQueryBody(QueryBody):
    """Request for a list of recommendations for a new user with a history."""

    user: None = None
    history: list[RatedItem] = Field(max_length=10_000, description="Unique items in chronological order")
    log: bool = LOG_FIELD


def _variant(body: Any) -> str | None:
    names = ("user", "history")
    members = [body.get(name) if isinstance(body, dict) else getattr(body, name, None) for name in names]
    non_null = [name for name, member in zip(names, members, strict=True) if member is not None]
    return f"variant:{non_null[0]}" if len(non_null) == 1 else None


RecommendBody = Annotated[
    Annotated[UserQueryBody, Tag("variant:user")] | Annotated[HistoryQueryBody, Tag("variant:history")],
    Discriminator(
        _variant,
        custom_error_type="user_or_history",
        custom_error_message="specify either a user or a history, but not both",
    ),
]
"""Request for a list for a user, or for a new user with a history."""

EXAMPLES = [
    {"user": "ana", "n": 5, "where": 'year >= 1990 and genre contains "war"'},
    {"history": [{"item": "alien", "value": 5}], "n": 5},
]


class BatchBody(QueryBody):
    """Request for lists of recommendations for many users."""

    users: Ids = Field(min_length=1, examples=[["ana", "bo"]], json_schema_extra=limited_by("max_batch"))
    log: bool = Field(False, strict=True)


@dataclass(frozen=True)
class RecommendationBatch:
    """Lists of recommendations in the order of the users in the request."""

    lists: list[Recommendation]


class AnswerBody(RequestBody):
    """Answer from a new user: a rating, or null if they do not know the item."""

    item: Id
    value: Rating | None


class QuestionBody(RequestBody):
    """Previous answers of a new user, in order."""

    answers: list[AnswerBody] = Field([], max_length=200, description="Items must be unique")


router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["recommendations"], responses=responses(404, 409))

_recommendation = TypeAdapter(Recommendation)
_batch = TypeAdapter(RecommendationBatch)
_prediction = TypeAdapter(Prediction)
_explained_score = TypeAdapter(ExplainedScore)


@router.get("/recommendations", response_model=Recommendation, dependencies=[READ])
async def recommend(
    service: CurrentService,
    user: Annotated[QueryId, Query(examples=["ana"])],
    n: Annotated[ListLength, DECIMAL_NUMBER] = 10,
    log: bool = True,
) -> Response:
    """Return the top n items for a user, who may be unknown."""
    require_list_length(service, n)
    answer = await service.run(service.engine.recommend, user, results.Query(n=n))
    _record_answers(service, [answer], log=log)
    return _json(_recommendation, answer)


@router.post("/recommendations", response_model=Recommendation, dependencies=[READ])
async def query(service: CurrentService, body: Annotated[RecommendBody, Body(examples=EXAMPLES)]) -> Response:
    """Return the top n items for a user, or for a new user with a history, with filters and other options."""
    options = _query(service, body)
    if isinstance(body, UserQueryBody):
        answer = await service.run(service.engine.recommend, str(body.user), options)
        _record_answers(service, [answer], log=body.log)
        return _json(_recommendation, answer)
    pairs = [(str(entry.item), entry.value) for entry in body.history]
    if len({item for item, _ in pairs}) < len(pairs):
        raise Problem(422, "history: items must be unique")
    _require_ratings(service, body.history)
    _check_values(service, [value for _, value in pairs], [f"body.history.{n}.value" for n in range(len(pairs))])
    answer = await service.run(service.engine.recommend_for, pairs, options)
    _record_answers(service, [answer], log=False)
    return _json(_recommendation, answer)


@router.post("/recommendations/batch", response_model=RecommendationBatch, dependencies=[READ])
async def query_batch(service: CurrentService, body: BatchBody) -> Response:
    """Return the top n items for each of several users."""
    if len(body.users) > service.settings.max_batch:
        raise Problem(422, f"users: must contain at most {service.settings.max_batch:,} IDs")
    options, users = _query(service, body), list(map(str, body.users))
    lists = await service.run(service.engine.recommend_batch, users, options)
    _record_answers(service, lists, log=body.log)
    return _json(_batch, RecommendationBatch(lists))


@router.get("/predictions", response_model=Prediction, dependencies=[READ])
async def predict(service: CurrentService, user: QueryId, item: QueryId) -> Response:
    """Return the expected rating for a user-item pair, with a 90% interval if the model predicts distributions."""
    answer = await service.run(service.engine.predict, user, item)
    count_answer(answer)
    return _json(_prediction, answer)


@router.get("/explanations", response_model=ExplainedScore, dependencies=[READ])
async def explain(
    service: CurrentService, user: QueryId, item: QueryId, method: ExplanationMethod = "removal"
) -> Response:
    """Return the effects of removing each item in the user's history, or contributions that add up to the score.

    Similar users are never identified.
    """
    answer = await service.run(service.engine.explain, user, item, method)
    count_answer(answer)
    return _json(_explained_score, answer)


@router.post("/onboarding", response_model=Question, tags=["new users"], dependencies=[READ])
async def ask(service: CurrentService, body: QuestionBody) -> Question:
    """Return the next item to ask a new user about, given the previous answers; nothing is stored."""
    answers = [(str(entry.item), entry.value) for entry in body.answers]
    if len({item for item, _ in answers}) < len(answers):
        raise Problem(422, "answers: items must be unique")
    rated = [(n, value) for n, (_, value) in enumerate(answers) if value is not None]
    _check_values(service, [value for _, value in rated], [f"body.answers.{n}.value" for n, _ in rated])
    return await service.run_slow(service.engine.question, answers)


def _query(service: Service, body: QueryBody) -> results.Query:
    require_list_length(service, body.n)
    exclude = tuple(map(str, body.exclude))
    return results.Query(body.n, exclude, body.min_support, body.where, body.rank_by, body.diversity, body.explore)


def _check_values(service: Service, values: list[float], names: list[str]) -> None:
    """Raise DataError for a rating that is not on the model's scale."""
    scale = service.engine.model.recommender.scale
    if scale is not None:
        scale.check(values, name=names.__getitem__)


def _require_ratings(service: Service, history: list[RatedItem]) -> None:
    """Raise Problem (422) if the model was trained on ratings and an item in a history has no rating."""
    if service.engine.model.recommender.kind == "ratings":
        for position, entry in enumerate(history):
            if "value" not in entry.model_fields_set:
                name = f"body.history.{position}.value"
                raise Problem(422, f"{name}: the rating is missing; the model was trained on ratings")


def _record_answers(service: Service, answers: list[Recommendation], *, log: bool) -> None:
    """Count the answers and, if `log` is set, log the lists of identified users as impressions."""
    for answer in answers:
        count_answer(answer)
    if log:
        service.store.impressions.log(
            Impression(
                answer.user,
                [item.item for item in answer.items],
                [item.propensity for item in answer.items],
                answer.model,
            )
            for answer in answers
            if answer.user is not None and answer.items
        )


def _json(adapter: TypeAdapter[Any], answer: object) -> Response:
    return Response(adapter.dump_json(answer), media_type="application/json")
