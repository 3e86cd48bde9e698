"""Result types: queries and answers, shared by the ranking code, the HTTP API and the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "Answer",
    "AnsweredBy",
    "ExplainedScore",
    "ExplanationMethod",
    "ItemIndexName",
    "ItemSource",
    "Prediction",
    "Query",
    "Question",
    "RankBy",
    "Recommendation",
    "RecommendedItem",
    "RemovalEffect",
    "ScorePart",
    "SelectionTrial",
    "SimilarItem",
    "SimilarItems",
]

AnsweredBy: TypeAlias = Literal["model", "fold-in", "prior", "popularity"]
"""Basis of an answer: a row of the trained model, a folded-in history, a prior, or no information about the user."""
ExplanationMethod: TypeAlias = Literal["removal", "contribution"]
"""Method of an explanation: effects of removing rows of the history, or contributions that add up to the score."""
ItemSource: TypeAlias = Literal["model", "popularity", "exploration"]
"""How an item was chosen; "popularity" if the model has no evidence about the user and the item."""
ItemIndexName: TypeAlias = Literal["clusters"]
"""Index of the items that a model searches instead of scanning all of them; the lists are the same."""
RankBy: TypeAlias = Literal["mean", "lower", "upper"]
"""Ranking criterion: the expected rating, or the lower or upper end of its 80 % interval."""


@dataclass(frozen=True)
class Query:
    """Request for a list of recommendations.

    Parameters
    ----------
    n : int, default 10
        Length of the list.
    exclude : tuple of str, default ()
        IDs of items to exclude, in addition to those in the history.
    min_support : int, default 0
        Minimum number of ratings or events of a listed item.
    where : str or None, default None
        Filter expression over the metadata of the items; see `cofactor.data.where`.
    rank_by : {"mean", "lower", "upper"}, default "mean"
        Ranking criterion; the last two require a model that predicts distributions.
    diversity : float, default 0.0
        Strength of diversification, from 0 (rank by score alone) to 1.
    explore : float, default 0.0
        Probability that a position goes to an item with few ratings.
    """

    n: int = 10
    exclude: tuple[str, ...] = ()
    min_support: int = 0
    where: str | None = None
    rank_by: RankBy = "mean"
    diversity: float = 0.0
    explore: float = 0.0


@dataclass(frozen=True)
class RecommendedItem:
    """One item in a list of recommendations.

    Attributes
    ----------
    item : str
        ID of the item.
    rank : int
        Position in the list, from 1.
    score : float or None
        Score by which the item is ranked; None for an explored item.
    prediction : float or None
        Predicted rating, in rating units; None for a model of events.
    support : int
        Number of ratings or events of the item that the model was trained on.
    answered_by : {"model", "popularity", "exploration"}
        How the item was chosen.
    title : str or None
        Title of the item, if known.
    explored : bool
        Whether the item was drawn by exploration.
    propensity : float
        Probability that the item was shown at this position.
    """

    item: str
    rank: int
    score: float | None
    prediction: float | None
    support: int
    answered_by: ItemSource
    title: str | None
    explored: bool
    propensity: float


@dataclass(frozen=True)
class Answer:
    """Fields that all answers from the service have in common.

    Attributes
    ----------
    model : int
        Version of the model.
    answered_by : {"model", "fold-in", "prior", "popularity"}
        Basis of the answer.
    stale : bool
        Whether the store could not be read, so the newest events may be missing.
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
        ID of the user; None if the request contained a history instead.
    items : tuple of RecommendedItem
        The recommended items, best first.
    item_index : {"clusters"} or None
        "clusters" if clusters of similar items were searched, as in catalogs of at least 1,048,576 items; None if the
        model scans all items. The lists are the same.
    """

    user: str | None
    items: tuple[RecommendedItem, ...]
    item_index: ItemIndexName | None


@dataclass(frozen=True)
class Prediction(Answer):
    """Predicted rating for a user-item pair.

    Attributes
    ----------
    user, item : str
        IDs of the user and the item.
    prediction : float
        Predicted rating, in rating units.
    interval : tuple of float, or None
        Lower and upper end of the 90 % interval, if the model provides one.
    """

    user: str
    item: str
    prediction: float
    interval: tuple[float, ...] | None


@dataclass(frozen=True)
class ScorePart:
    """One of the contributions that add up to a score.

    Attributes
    ----------
    part : str
        "mean", "user", "item", "history", "neighbor", "without" or "not attributed".
    item : str or None
        Item in the history that makes this contribution.
    value : float or None
        The user's rating for that item.
    term : float
        Amount that is added to the score.
    title : str or None
        Title of the item.
    """

    part: str
    item: str | None
    value: float | None
    term: float
    title: str | None


@dataclass(frozen=True)
class RemovalEffect:
    """Effect of removing an item from the user's history on the score of another item.

    Attributes
    ----------
    item : str
        Item in the history.
    value : float
        The user's rating for that item, or the number of events.
    effect : float
        Score with the item in the history, minus the score without it.
    title : str or None
        Title of the item.
    """

    item: str
    value: float
    effect: float
    title: str | None


@dataclass(frozen=True)
class ExplainedScore(Answer):
    """A score, and the effects or the contributions of the items in the user's history.

    Attributes
    ----------
    user, item : str
        IDs of the user and the item.
    score : float
        Score by which the item is ranked.
    method : {"removal", "contribution"}
        Method of the explanation.
    effects : tuple of RemovalEffect
        Effects of removing each item in the history, largest first; empty for contributions.
    parts : tuple of ScorePart
        Contributions that add up to the score; empty for removal effects.
    """

    user: str
    item: str
    score: float
    method: ExplanationMethod
    effects: tuple[RemovalEffect, ...]
    parts: tuple[ScorePart, ...]


@dataclass(frozen=True)
class SimilarItem:
    """An item that is similar to another item.

    Attributes
    ----------
    item : str
        ID of the item.
    rank : int
        Position in the list, from 1.
    score : float
        Similarity.
    title : str or None
        Title of the item.
    """

    item: str
    rank: int
    score: float
    title: str | None


@dataclass(frozen=True)
class SimilarItems:
    """The items that are most similar to a given item.

    Attributes
    ----------
    item : str
        ID of the item.
    model : int
        Version of the model.
    items : tuple of SimilarItem
        The similar items, most similar first.
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
        ID of the item; None if no further answer would help.
    title : str or None
        Title of the item.
    expected_variance : float
        Mean variance of the predicted ratings, given the answers so far.
    expected_answers : float
        Expected number of the next ten questions that the user can answer with a rating.
    """

    model: int
    item: str | None
    title: str | None
    expected_variance: float
    expected_answers: float


@dataclass(frozen=True)
class SelectionTrial:
    """Estimator tried by automatic selection, and its result on the validation rows.

    Attributes
    ----------
    estimator : str
        Name of the estimator.
    settings : dict of str to object
        Hyperparameters that differ from the defaults, as JSON values.
    metric : str
        Name of the metric, such as "rmse" or "ndcg@10".
    value : float or None
        Value of the metric on the validation rows; None if the estimator was not scored.
    seconds : float
        Wall-clock time for fitting and scoring.
    chosen : bool
        Whether the saved model is this estimator, fitted to all rows.
    note : str or None
        Reason why the estimator was not scored, or why it was chosen or not chosen.

    Examples
    --------
    >>> SelectionTrial("bias", {}, "rmse", 0.94, 0.1).chosen
    False
    """

    estimator: str
    settings: Mapping[str, Any] = field(hash=False)
    metric: str
    value: float | None
    seconds: float
    chosen: bool = False
    note: str | None = None
