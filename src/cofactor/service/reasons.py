"""A rating to expect, what a score is made of, and what to ask somebody new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor.errors import KindError, UnknownIdError
from cofactor.kernels.parallel import threads
from cofactor.models.base import Explains, HasUncertainty, PredictsRatings
from cofactor.service.answers import Answer
from cofactor.service.engine import Engine
from cofactor.service.loaded_model import LoadedModel

__all__ = ["Expected", "Reasons", "asked", "explained", "predicted", "similar"]

LEVEL = 0.9
"""Of intervals."""


@dataclass(frozen=True)
class Expected(Answer):
    """The rating to expect, and where the model has one an interval of 90 %."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Reasons(Answer):
    """A score, and the parts that add up to it: part, item, value, term, title."""

    score: float
    parts: list[dict[str, Any]]


def known_item(serving: LoadedModel, item: str) -> int:
    """The item's row. Raises UnknownIdError."""
    row = serving.item_row(item)
    if row < 0:
        raise UnknownIdError(f"item {item!r} is not known to model {serving.version}")
    return row


def predicted(engine: Engine, user: str, item: str) -> Expected:
    """What a user, known or not, would rate an item. Raises UnknownIdError, KindError for a model that cannot say."""
    serving, person, stale = engine.person(user)
    if not isinstance(person.model, PredictsRatings):
        raise KindError("this model cannot predict ratings")
    items = np.array([known_item(serving, item)], np.int32)
    with threads(1):
        value = float(person.model.predict(person.batch, items)[0])
        interval = None
        if isinstance(person.model, HasUncertainty):
            low, high = person.model.distribution(person.batch, items).interval(LEVEL)
            interval = (float(low[0]), float(high[0]))
    return Expected(serving.version, person.source, stale, value, interval)


def explained(engine: Engine, user: str, item: str) -> Reasons:
    """What a user's score of an item is made of; similar users are not named.

    Raises UnknownIdError for an item, and for a user of whom nothing is known; KindError.
    """
    serving, person, stale = engine.person(user)
    row = known_item(serving, item)
    if not isinstance(person.model, Explains):
        raise KindError("this model cannot say what its scores are made of")
    if person.source == "popularity":
        raise UnknownIdError(f"user {user!r} is not known to model {serving.version}, so there is nothing to explain")
    with threads(1):
        frame = person.explain(serving.recommender.items.ids([row])[0])
    parts = [_part(engine, serving, one) for one in frame.iter_rows(named=True)]
    return Reasons(serving.version, person.source, stale, float(frame["term"].sum()), parts)


def _part(engine: Engine, serving: LoadedModel, row: dict[str, Any]) -> dict[str, Any]:
    item = None if row.get("item") is None else str(row["item"])
    title = None if item is None else engine.title(serving, item, serving.item_row(item))
    return {"part": row["part"], "item": item, "value": row.get("value"), "term": float(row["term"]), "title": title}


def similar(engine: Engine, item: str, n: int) -> dict[str, Any]:
    """Items liked by the same people, those that can be had. Raises UnknownIdError, KindError."""
    engine.catch_up()
    serving = engine.serving
    allowed, row = engine.available(serving), known_item(serving, item)
    rec, out = serving.recommender, 0 if allowed is None else int((~allowed).sum())
    with threads(1):
        frame = rec.similar_items(rec.items.ids([row])[0], min(n + out, len(rec.items)))
    items: list[dict[str, Any]] = []
    for one, score in zip(map(str, frame["item"]), frame["score"], strict=True):
        there = serving.item_row(one)
        if len(items) < n and (allowed is None or allowed[there]):
            title = engine.title(serving, one, there)
            items.append({"item": one, "rank": len(items) + 1, "score": float(score), "title": title})
    return {"item": item, "model": serving.version, "items": items}


def asked(engine: Engine, answers: Sequence[tuple[str, float | None]]) -> dict[str, Any]:
    """Return the item to ask a new user about after these answers. Raises UnknownIdError, KindError."""
    serving = engine.serving
    questions = serving.questions
    for item, value in answers:
        row = known_item(serving, item)
        questions = questions.with_answer(serving.recommender.items.ids([row])[0], value)
    best, answer = questions.next_item(), {"model": serving.version, "expected_variance": questions.expected_variance()}
    if best is None:
        return answer | {"item": None, "title": None}
    text = str(best)
    return answer | {"item": text, "title": engine.title(serving, text, serving.item_row(text))}
