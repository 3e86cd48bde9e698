"""Disagreements: the items whose level and whose plain average tell different stories."""

from __future__ import annotations

import polars as pl

from cofactor import checks
from cofactor.arrays import MOST_ROWS
from cofactor.fork import require_threads
from cofactor.interpret.levels import levels
from cofactor.recommend import Recommender
from cofactor.validation import validated

__all__ = ["disagreements"]


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
    >>> from cofactor.data.synthetic import World, generate
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
