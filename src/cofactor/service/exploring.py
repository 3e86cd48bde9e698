"""Places of a list for items that few have rated, with the chance that each item had to stand where it does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cofactor.arrays import Bool, Int64
from cofactor.recommender.users import UserView
from cofactor.service.loaded_model import LoadedModel

__all__ = ["FEW", "Place", "mixed", "rarely_rated"]

FEW = 5
"""Items with fewer ratings (events) are worth exploring."""


class Place(NamedTuple):
    """An item row in its place. score: nan where it was explored."""

    row: int
    score: float
    explored: bool
    propensity: float


def mixed(best: list[tuple[int, float]], pool: Int64, n: int, share: float, stream: np.random.Generator) -> list[Place]:
    """n places of which each is explored with the chance `share`; fewer where items run out.

    best: rows and scores, in their order. pool: rows to draw from. An explored place takes any item of the pool that is
    not in the list yet, all with the same chance, the others the next of `best`. A place's propensity is

        share / (items to draw from)   where it is explored        1 - share   elsewhere

    and 1 where nothing is left to draw.

    >>> stream = np.random.default_rng(0)
    >>> mixed([(7, 0.9), (8, 0.8)], np.array([3]), 3, 1.0, stream)[0]
    Place(row=3, score=nan, explored=True, propensity=1.0)
    >>> [place.row for place in mixed([(7, 0.9), (8, 0.8)], np.array([3]), 3, 0.0, stream)]
    [7, 8]
    """
    left, queue, taken = [int(row) for row in stream.permutation(pool)], list(best), set[int]()
    places: list[Place] = []
    while len(places) < n:
        left = [row for row in left if row not in taken]
        chance = share if left else 0.0
        if left and stream.random() < chance:
            place = Place(left[-1], float("nan"), True, share / len(left))
        else:
            while queue and queue[0][0] in taken:
                queue.pop(0)
            if not queue:
                return places
            row, score = queue.pop(0)
            place = Place(row, score, False, 1 - chance)
        taken.add(place.row)
        places.append(place)
    return places


def rarely_rated(serving: LoadedModel, person: UserView, allowed: Bool | None) -> Int64:
    """The rows of items of fewer than FEW ratings that may be shown to this person."""
    few: Bool = serving.recommender.support < FEW
    if allowed is not None:
        few = few & allowed
    few[person.exclude.columns] = False
    return np.flatnonzero(few)
