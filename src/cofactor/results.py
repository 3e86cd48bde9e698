"""Results: the types of queries and answers, from the ranking to the HTTP body and the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "Answer",
    "AnsweredBy",
    "ExplainedScore",
    "ItemSource",
    "Prediction",
    "Query",
    "Question",
    "RankBy",
    "Recommendation",
    "RecommendedItem",
    "ScorePart",
    "SimilarItem",
    "SimilarItems",
]

AnsweredBy: TypeAlias = Literal["model", "fold-in", "prior", "popularity"]
"""What an answer is based on: a row of the trained model, a history that was folded in, a prior, or no knowledge of the
user."""
ItemSource: TypeAlias = Literal["model", "popularity", "exploration"]
"""How an item was chosen: "popularity" where the model has no evidence about the user and the item."""
RankBy: TypeAlias = Literal["mean", "lower", "upper"]
"""Rank by the expected rating, or by the lower or upper end of its 80 % interval."""


@dataclass(frozen=True)
class Query:
    """Request for a list of recommendations.

    Parameters
    ----------
    n : int, default 10
        The length of the list.
    exclude : tuple of str, default ()
        Ids of items to leave out besides those of the history.
    where : mapping, default {}
        Metadata that an item must have: names with a value, or with a list of values of which one must match.
    rank_by : {"mean", "lower", "upper"}, default "mean"
        What items are ranked by; the latter two need a model with predictive distributions.
    diversity : float, default 0.0
        From 0, the order of the scores, to 1.
    explore : float, default 0.0
        The probability of each position to go to an item with few ratings.
    """

    n: int = 10
    exclude: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    rank_by: RankBy = "mean"
    diversity: float = 0.0
    explore: float = 0.0


@dataclass(frozen=True)
class RecommendedItem:
    """One item of a list.

    Attributes
    ----------
    item : str
        Id of the item.
    rank : int
        Position in the list, from 1.
    score : float or None
        What the item is ranked by; None for an explored item.
    answered_by : {"model", "popularity", "exploration"}
        How the item was chosen.
    title : str or None
        Title of the item, where it is known.
    explored : bool
        Whether the item was drawn by exploration.
    propensity : float
        Probability with which the item was shown at this position.
    """

    item: str
    rank: int
    score: float | None
    answered_by: ItemSource
    title: str | None
    explored: bool
    propensity: float


@dataclass(frozen=True)
class Answer:
    """What all answers of a service have in common.

    Attributes
    ----------
    model : int
        Version of the model.
    answered_by : {"model", "fold-in", "prior", "popularity"}
        What the answer is based on.
    stale : bool
        Whether the store could not be read, so that the newest events may be missing.
    """

    model: int
    answered_by: AnsweredBy
    stale: bool


@dataclass(frozen=True)
class Recommendation(Answer):
    """A list of recommended items for one user.

    Attributes
    ----------
    user : str or None
        Id of the user; None for a user who is given by a history.
    items : tuple of RecommendedItem
        Best first.
    """

    user: str | None
    items: tuple[RecommendedItem, ...]


@dataclass(frozen=True)
class Prediction(Answer):
    """The rating that is expected of a user and an item.

    Attributes
    ----------
    user, item : str
        The ids.
    prediction : float
        In the units of the ratings.
    interval : tuple of float, or None
        The two ends of the 90 % interval, where the model has one.
    """

    user: str
    item: str
    prediction: float
    interval: tuple[float, ...] | None


@dataclass(frozen=True)
class ScorePart:
    """One part of a score.

    Attributes
    ----------
    part : str
        "mean", "user", "item", "history", "neighbor", "without" or "not attributed".
    item : str or None
        The item of the history that this part belongs to.
    value : float or None
        The user's rating of that item.
    term : float
        What this part adds to the score.
    title : str or None
        Title of the item.
    """

    part: str
    item: str | None
    value: float | None
    term: float
    title: str | None


@dataclass(frozen=True)
class ExplainedScore(Answer):
    """A score and the parts that add up to it.

    Attributes
    ----------
    user, item : str
        The ids.
    score : float
        What the item is ranked by.
    parts : tuple of ScorePart
        The parts of the score.
    """

    user: str
    item: str
    score: float
    parts: tuple[ScorePart, ...]


@dataclass(frozen=True)
class SimilarItem:
    """An item that is similar to another one.

    Attributes
    ----------
    item : str
        Id of the item.
    rank : int
        From 1.
    score : float
        The similarity.
    title : str or None
        Title of the item.
    """

    item: str
    rank: int
    score: float
    title: str | None


@dataclass(frozen=True)
class SimilarItems:
    """The items most similar to an item.

    Attributes
    ----------
    item : str
        Id of the item.
    model : int
        Version of the model.
    items : tuple of SimilarItem
        Most similar first.
    """

    item: str
    model: int
    items: tuple[SimilarItem, ...]


@dataclass(frozen=True)
class Question:
    """The item that a new user is asked about next.

    Attributes
    ----------
    model : int
        Version of the model.
    item : str or None
        Id of the item; None if no further answer would help.
    title : str or None
        Title of the item.
    expected_variance : float
        Mean variance of the predicted ratings after the answers so far.
    """

    model: int
    item: str | None
    title: str | None
    expected_variance: float
