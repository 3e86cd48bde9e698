"""Levels: what a model expects of an item from anybody, or of a user for anything, beside the plain average.

A plain average mixes an item's quality with who rated it. A level is what the model predicts where it knows only the
item (its bias): a film that even those like who dislike its kind has a high level and an ordinary average.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Float64, Int64
from cofactor.errors import KindError
from cofactor.fork import require_threads
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Side", "disagreements", "levels"]


Side: TypeAlias = Literal["item", "user"]


@validated
def levels(recommender: Recommender, side: Side = "item", *, min_support: int = 1) -> pl.DataFrame:
    """Items (users) by falling level: id, level, average, difference, support[, title].

        level        the rating expected of an unknown user for the item (of the user for an unknown item)
        average      of its ratings, plain; nan without any
        difference   level - average
        support      how many ratings

    All in the units of the ratings. Only those with at least `min_support`; no rows where nothing has so many. Raises
    KindError for a model that has no levels (of events, or without biases), ParameterError for another side.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "brazil"], [5, 4, 2])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> cofactor.interpret.levels(rec).select("item", "average", "support").rows()
    [('alien', 4.5, 2), ('brazil', 2.0, 1)]
    """
    require_threads()
    require_recommender("recommender", recommender)
    checks.choice("side", side, get_args(Side))
    min_support = checks.whole_number("min_support", min_support, low=0)
    if recommender.kind != "ratings":
        raise KindError("levels are of ratings: this model learnt from events, which have none")
    ids = recommender.items if side == "item" else recommender.users
    rows, unknown = np.arange(len(ids), dtype=np.int32), np.full(len(ids), -1, np.int32)
    pair = (unknown, rows) if side == "item" else (rows, unknown)
    level = recommender.model.predict(*pair, recommender.histories)
    support, average = _averages(recommender, side)
    if len(ids) > 1 and np.ptp(level) == 0:
        raise KindError(f"this model has no levels of {side}s; fit one with biases, such as biased-mf")
    frame = pl.DataFrame(
        {side: ids.all, "level": level, "average": average, "difference": level - average, "support": support}
    )
    if side == "item" and recommender.titles is not None:
        frame = frame.with_columns(title=recommender.titles)
    return frame.filter(pl.col("support") >= min_support).sort("level", descending=True, maintain_order=True)


def _averages(recommender: Recommender, side: Side) -> tuple[Int64, Float64]:
    """How many ratings each has, and their plain average; nan where there are none."""
    histories = recommender.histories
    owner = histories.columns if side == "item" else np.repeat(np.arange(len(histories)), histories.counts)
    n = len(recommender.items) if side == "item" else len(recommender.users)
    support = np.bincount(owner, minlength=n).astype(np.int64)
    total = np.bincount(owner, weights=histories.values, minlength=n)
    return support, np.divide(total, support, out=np.full(n, np.nan), where=support > 0)


@validated
def disagreements(recommender: Recommender, n: int = 20, *, min_support: int = 20) -> pl.DataFrame:
    """The n items whose level and average differ most beside the usual, from far above the average to far below.

        surprise = level - average - median of (level - average) over the items

    since people rate what they expect to like, levels usually lie below averages. Columns as of `levels`, and surprise:
    item, level, average, difference, support[, title], surprise. Above 0: liked even by people who are severe, or who
    dislike its kind. Below: rated mostly by those who like such things. Few ratings pull a level towards the mean of
    all, which is no disagreement: hence `min_support`; no rows where nothing has so many. Raises KindError as `levels`
    does, ParameterError for n below 1.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> found = cofactor.interpret.disagreements(rec, 4, min_support=10)
    >>> len(found), bool(found["surprise"][0] > 0 > found["surprise"][3])
    (4, True)
    """
    require_threads()
    n = checks.whole_number("n", n, low=1, high=MOST_ROWS)
    found = levels(recommender, min_support=min_support)
    found = found.with_columns(surprise=pl.col("difference") - pl.col("difference").median())
    most = found.sort(pl.col("surprise").abs(), descending=True, maintain_order=True).head(n)
    return most.sort("surprise", descending=True, maintain_order=True)
