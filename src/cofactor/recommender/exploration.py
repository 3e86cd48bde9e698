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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64, random_stream
from cofactor.data.id_columns import Id
from cofactor.errors import ParameterError
from cofactor.models.posterior import BayesianModel
from cofactor.recommender.recommender import Recommender, require_recommender

__all__ = ["Impressions", "explore"]


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
        shown = checks.whole_array("shown", self.shown, low=0)
        clicked = checks.whole_array("clicked", self.clicked, low=0)
        if len(clicked) != len(shown):
            raise ParameterError(
                f"shown and clicked must have the same length, not {len(shown):,} and {len(clicked):,}"
            )
        if (clicked < 0).any() or (clicked > shown).any():
            raise ParameterError("clicked must be at most shown for each item")


def explore(
    recommender: Recommender,
    users: Id | Iterable[Id] | pl.Series,
    n: int = 10,
    *,
    share: float = 0.1,
    cap: int = 100,
    below: int = 5,
    impressions: Impressions | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """The n best items of each user, and on a share of all places items of fewer than `below` ratings.

    Parameters
    ----------
    recommender : Recommender
        A fitted recommender.
    users : id, or iterable of ids
        Whose lists; no users give no rows.
    n : int, default 10
        The length of a list.
    share : float, default 0.1
        0..1: the expected share of explored places, wherever in a list the draw puts them.
    cap : int, default 100
        The most places that a new item gets in this call.
    below : int, default 5
        Items with fewer ratings are new; they get no other places.
    impressions : Impressions or None, default None
        What was shown and clicked before.
    seed : int, default 0
        The same seed draws the same lists.

    Returns
    -------
    DataFrame
        user, item, rank (from 1), explored (bool)[, title]. Nobody is shown what they rated. Places that no new item
        may take hold the best of the others, as all other places do.

    Raises
    ------
    UnknownIdError
        For a user who is not known.
    ParameterError
        For arguments outside their range.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=200, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> found = cofactor.cold_start.explore(rec, rec.users.all, n=10, share=0.2)
    >>> found.columns, len(found), round(found["explored"].mean(), 2)
    (['user', 'item', 'rank', 'explored'], 600, 0.2)
    """
    require_recommender("recommender", recommender)
    share = checks.finite_number("share", share, low=0, high=1)
    cap, below = checks.whole_number("cap", cap, low=0), checks.whole_number("below", below, low=0)
    if impressions is not None:
        checks.instance("impressions", impressions, Impressions, "make them by Impressions(shown, clicked)")
    if impressions is not None and len(impressions.shown) != len(recommender.items):
        raise ParameterError(f"impressions must be of {len(recommender.items):,} items, not {len(impressions.shown):,}")
    stream = random_stream(seed, "explore")
    known = recommender.support >= below
    rows = recommender.user_rows(users)
    lists, new = recommender.for_rows(rows).rank(n, allowed=known)[0].copy(), np.flatnonzero(~known).astype(np.int32)
    explored = np.zeros(lists.shape, bool)
    left = np.full(len(new), cap)
    width = lists.shape[1]
    wanted = np.floor(width * share + stream.random(len(rows))).astype(np.int64)
    for at in stream.permutation(len(rows)):
        row, seen = int(rows[at]), recommender.excluded.row(int(rows[at])).columns
        if wanted[at] == 0 or not len(new):
            continue
        may = (left > 0) & ~np.isin(new, seen)
        opinions = np.where(may, _opinions(recommender, row, new, impressions, stream), -np.inf)
        best = np.argsort(-opinions, kind="stable")[: min(int(wanted[at]), int(may.sum()))]
        places = stream.permutation(width)[: len(best)]
        lists[at, places], explored[at, places] = new[best], True
        left[best] -= 1
    there = lists >= 0
    places = np.broadcast_to(np.arange(1, width + 1, dtype=np.int32), lists.shape)
    frame = pl.DataFrame(
        {
            "user": recommender.users.ids(np.repeat(rows, there.sum(axis=1))),
            "item": recommender.items.ids(lists[there]),
            "rank": places[there],
            "explored": explored[there],
        }
    )
    titles = recommender.titles
    return frame if titles is None else frame.with_columns(title=titles.gather(lists[there]))


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
