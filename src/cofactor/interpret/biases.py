"""Bias rankings: the rating a model expects of an item or a user from the biases alone, next to the plain average.

A plain average mixes an item's quality with who rated it. The level of an item is what the model predicts for a user
about whom it knows nothing. A film that is liked even by people who dislike its genre has a high level and an ordinary
average.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int64
from cofactor.errors import KindError
from cofactor.fork import require_threads
from cofactor.models.base import PredictsRatings
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Side", "bias_ranking", "surprising_items"]


Side: TypeAlias = Literal["item", "user"]


@validated
def bias_ranking(recommender: Recommender, side: Side = "item", *, min_support: int = 1) -> pl.DataFrame:
    """Rank items or users by their level: the expected rating without knowledge of the other side.

    Parameters
    ----------
    recommender : Recommender
        A recommender of ratings whose model has biases.
    side : {'item', 'user'}, default "item"
        What to rank.
    min_support : int, default 1
        Leave out items or users with fewer ratings.

    Returns
    -------
    polars.DataFrame
        Highest level first; no rows if nothing has enough ratings. All columns are in the units of the ratings except
        support. Columns:

        - item or user: the id
        - level: the rating expected from an unknown user for the item (from the user for an unknown item)
        - average: the plain average of its ratings; nan without any
        - difference: level - average
        - support: number of ratings
        - title: of items, if the recommender has titles

    Raises
    ------
    KindError
        If the model has no levels: it is fitted on events, or has no biases.
    ParameterError
        If `side` or `min_support` is not valid.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "brazil"], [5, 4, 2])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> cofactor.interpret.bias_ranking(rec).select("item", "average", "support").rows()
    [('alien', 4.5, 2), ('brazil', 2.0, 1)]
    """
    require_threads()
    require_recommender("recommender", recommender)
    checks.choice("side", side, get_args(Side))
    min_support = checks.whole_number("min_support", min_support, low=0)
    if recommender.kind != "ratings":
        raise KindError("levels need a model fitted on ratings; this one is fitted on events, which have no levels")
    ids = recommender.items if side == "item" else recommender.users
    rows, unknown_rows = np.arange(len(ids), dtype=np.int32), np.full(len(ids), -1, np.int32)
    users, items = (unknown_rows, rows) if side == "item" else (rows, unknown_rows)
    assert isinstance(recommender.model, PredictsRatings)
    expected = recommender.model.predict(recommender.batch(users), items)
    support, average = _support_and_average(recommender, side)
    if len(ids) > 1 and np.ptp(expected) == 0:
        raise KindError(f"this model has no levels of {side}s; fit one with biases, such as biased-mf")
    frame = pl.DataFrame(
        {side: ids.all, "level": expected, "average": average, "difference": expected - average, "support": support}
    )
    if side == "item" and recommender.titles is not None:
        frame = frame.with_columns(title=recommender.titles)
    return frame.filter(pl.col("support") >= min_support).sort("level", descending=True, maintain_order=True)


def _support_and_average(recommender: Recommender, side: Side) -> tuple[Int64, Float64]:
    """Return the number of ratings of each item or user, and their plain average (nan without ratings)."""
    histories = recommender.histories
    owner = histories.columns if side == "item" else histories.owners
    n = len(recommender.items) if side == "item" else len(recommender.users)
    support = np.bincount(owner, minlength=n).astype(np.int64)
    total = np.bincount(owner, weights=histories.values, minlength=n)
    return support, np.divide(total, support, out=np.full(n, np.nan), where=support > 0)


@validated
def surprising_items(recommender: Recommender, n: int = 20, *, min_support: int = 20) -> pl.DataFrame:
    """Find the n items whose level and average differ most from the usual difference.

    Parameters
    ----------
    recommender : Recommender
        A recommender of ratings whose model has biases.
    n : int, default 20
        Number of items, at least 1.
    min_support : int, default 20
        Leave out items with fewer ratings. Few ratings pull a level toward the overall mean, which says nothing about
        the item.

    Returns
    -------
    polars.DataFrame
        The columns of `bias_ranking`, and surprise; from far above the usual difference to far below. No rows if
        nothing has enough ratings.

    Raises
    ------
    KindError
        As in `bias_ranking`.
    ParameterError
        If `n` is below 1 or `min_support` is not valid.

    Notes
    -----
        surprise = level - average - median of (level - average) over the items

    The median is subtracted because people rate what they expect to like, so levels are usually below averages. A
    positive surprise means that the item is liked even by severe raters or by people who dislike its genre; a negative
    one that it is rated mostly by those who like such items.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> frame = cofactor.interpret.surprising_items(rec, 4, min_support=10)
    >>> len(frame), bool(frame["surprise"][0] > 0 > frame["surprise"][3])
    (4, True)
    """
    require_threads()
    n = checks.whole_number("n", n, low=1, high=MAX_ROWS)
    frame = bias_ranking(recommender, min_support=min_support)
    frame = frame.with_columns(surprise=pl.col("difference") - pl.col("difference").median())
    selected = frame.sort(pl.col("surprise").abs(), descending=True, maintain_order=True).head(n)
    return selected.sort("surprise", descending=True, maintain_order=True)
