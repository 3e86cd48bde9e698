"""Exploration: new items get some places, not many, and more of them the more they are liked.

A stated share of all places is set aside for items with few ratings, which get no others; each gets at most `cap` in a
round. Whose turn it is is drawn by Thompson sampling (Thompson 1933; Chapelle & Li 2011): for every user an opinion of
each new item is drawn from what is known of it, and the best opinion is shown. What little is known of swings far and
is tried; what proved bad hardly ever wins.

    clicks were counted:     theta_i ~ Beta(1 + clicked_i, 1 + shown_i - clicked_i), drawn anew for each user
    a posterior is there:    x_ui of one of its draws, drawn anew for each user
    neither:                 all alike
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor.arrays import Bool, Float64, Int32, Int64, random_stream, read_only
from cofactor.errors import ParameterError
from cofactor.models.posterior import BayesianModel
from cofactor.recommend import Recommender

__all__ = ["Explored", "Impressions", "explore"]


@dataclass(frozen=True, eq=False)
class Impressions:
    """How often each item was shown and how often it was clicked then: (n_items,) whole numbers, clicked <= shown.

    Raises ParameterError for clicks below 0 or above what was shown, or another number of them.

    >>> seen = Impressions(shown=np.array([100, 3]), clicked=np.array([7, 0]))
    >>> int(seen.shown.sum())
    103
    """

    shown: Int64
    clicked: Int64

    def __post_init__(self) -> None:
        shown, clicked = np.asarray(self.shown), np.asarray(self.clicked)
        if shown.shape != clicked.shape or (clicked < 0).any() or (clicked > shown).any():
            raise ParameterError("impressions are counts for each item: from 0 to shown clicks")


@dataclass(frozen=True, eq=False)
class Explored:
    """Lists with new items among them; see `explore`, which makes it.

    Attributes:

        lists: (n_users, n) int32: item rows, -1 where a list ends.
        explored: (n_users, n) bool: which places are there to learn from.

    >>> found = Explored(np.array([[3, 7, -1]], np.int32), np.array([[False, True, False]]))
    >>> found.lists[found.explored].tolist()
    [7]
    """

    lists: Int32
    explored: Bool


def explore(
    recommender: Recommender,
    users: Int32,
    n: int = 10,
    *,
    share: float = 0.1,
    cap: int = 100,
    below: int = 5,
    impressions: Impressions | None = None,
    seed: int = 0,
) -> Explored:
    """The n best of each user (rows), and among them, on a share of all places, items of fewer than `below` ratings.

    share: 0..1, the expected share of explored places, wherever in a list the draw puts them. cap: places of any one
    new item in this call. Nobody is shown what they rated. Places that no new item may take hold the best of the
    others, as all other places do. users: (n_users,) int32 rows; none give no lists. The same seed draws the same.
    Raises ParameterError for a user row that is not there, and for arguments out of their range.

    >>> import cofactor, numpy as np
    >>> from cofactor.data.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=200, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> found = cofactor.newcomers.explore(rec, np.arange(60, dtype=np.int32), n=10, share=0.2)
    >>> found.lists.shape, round(float(found.explored.mean()), 2), int(rec.support[found.lists[found.explored]].max())
    ((60, 10), 0.2, 4)
    """
    if not 0 <= share <= 1:
        raise ParameterError(f"share must be from 0 to 1, not {share!r}")
    if cap < 0 or below < 0:
        raise ParameterError("cap and below must be numbers from 0 on")
    if impressions is not None and len(impressions.shown) != len(recommender.items):
        raise ParameterError(f"impressions must be of {len(recommender.items):,} items, not {len(impressions.shown):,}")
    stream = random_stream(seed, "explore")
    known = recommender.support >= below
    lists, new = recommender.rank(users, n, allowed=known)[0].copy(), np.flatnonzero(~known).astype(np.int32)
    explored = np.zeros(lists.shape, bool)
    left = np.full(len(new), cap)
    width = lists.shape[1]
    wanted = np.floor(width * share + stream.random(len(users))).astype(np.int64)
    for at in stream.permutation(len(users)):
        row, seen = int(users[at]), recommender.histories.row(int(users[at])).columns
        if wanted[at] == 0 or not len(new):
            continue
        may = (left > 0) & ~np.isin(new, seen)
        opinions = np.where(may, _opinions(recommender, row, new, impressions, stream), -np.inf)
        best = np.argsort(-opinions, kind="stable")[: min(int(wanted[at]), int(may.sum()))]
        places = stream.permutation(width)[: len(best)]
        lists[at, places], explored[at, places] = new[best], True
        left[best] -= 1
    return Explored(read_only(lists), read_only(explored))


def _opinions(
    recommender: Recommender, user: int, new: Int32, impressions: Impressions | None, stream: np.random.Generator
) -> Float64:
    """One draw of what is thought of each new item: (n_new,)."""
    chance: Any = stream.random(len(new))
    if impressions is not None:
        shown, clicked = impressions.shown[new], impressions.clicked[new]
        chance = stream.beta(1.0 + clicked, 1.0 + shown - clicked)
    elif isinstance(recommender.model, BayesianModel):
        post, k = recommender.model.posterior, recommender.model.factors
        s = int(stream.integers(len(post)))
        items = post.items[s, new].astype(np.float64)
        noise = stream.standard_normal(len(new)) * 1e-9  # ties, where nothing at all is known, fall by chance
        chance = items[:, :k] @ post.users[s, user, :k].astype(np.float64) + items[:, k] + noise
    opinions: Float64 = np.asarray(chance, np.float64)
    return opinions
