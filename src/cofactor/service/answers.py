"""What is asked of the engine, and what it answers: plain values, no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cofactor.models.rerank import RankBy
from cofactor.service.loaded_model import AnsweredBy, ItemAnsweredBy

__all__ = ["Answer", "Query", "Recommendation", "RecommendedItem"]


@dataclass(frozen=True)
class Query:
    """What a list should be like.

    Attributes:

        n: how many items at most.
        exclude: items to leave out, beside what is in the history.
        where: metadata that items must have: a name and its value, or a list of values of which one must be there.
        rank_by, diversity: see `models.rerank`.
        explore: 0..1, the chance with which each place goes to an item that few have rated.
    """

    n: int = 10
    exclude: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    rank_by: RankBy = "mean"
    diversity: float = 0.0
    explore: float = 0.0


@dataclass(frozen=True)
class RecommendedItem:
    """One place of a list.

    answered_by: what put the item there. propensity: the chance with which this item came to stand in this place.
    """

    item: str
    rank: int
    score: float
    answered_by: ItemAnsweredBy
    title: str | None
    explored: bool
    propensity: float


@dataclass(frozen=True)
class Answer:
    """Where an answer comes from.

    version: of the model. by: what answered. stale: whether the store could not be asked, so that the newest events
    may be missing.
    """

    version: int
    by: AnsweredBy
    stale: bool


@dataclass(frozen=True)
class Recommendation(Answer):
    """A list, best first."""

    items: list[RecommendedItem]
