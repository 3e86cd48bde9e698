"""Bias rankings: bias-adjusted ratings of items or users, compared with plain averages.

A plain average mixes an item's quality with who rated it. The bias-adjusted rating of an item is the model's prediction
for an unknown user. A film that is liked even by people who dislike its genre has a high bias-adjusted rating and an
ordinary average.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int64
from cofactor.errors import KindError
from cofactor.fork import require_threads
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.base import PredictsRatings
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Entity", "bias_ranking", "surprising_items"]


Entity: TypeAlias = Literal["item", "user"]

MIN_ITEMS_FOR_FIT = 4
"""Minimum number of items for detecting a two-coefficient relation between levels and averages."""


@validated
def bias_ranking(recommender: Recommender, entity: Entity = "item", *, min_support: int = 1) -> pl.DataFrame:
    """Rank items by the rating predicted for an unknown user, or users by the rating predicted for an unknown item.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on ratings, with a model that has biases.
    entity : {'item', 'user'}, default "item"
        Whether to rank items or users.
    min_support : int, default 1
        Minimum number of ratings of an item or user to include.

    Returns
    -------
    polars.DataFrame
        Highest bias-adjusted rating first; no rows if nothing has enough ratings. All columns except the ID, support
        and title are in rating units. Columns:

        - item or user: ID
        - level: bias-adjusted rating, that is, the predicted rating by an unknown user, or for an unknown item
        - average: plain average of the ratings; nan if there are none
        - difference: level - average
        - support: number of ratings
        - title: item title, for items if the recommender has titles

    Raises
    ------
    KindError
        If the model was trained on events or has no biases.
    ParameterError
        If `entity` or `min_support` is invalid.

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
    checks.choice("entity", entity, get_args(Entity))
    min_support = checks.whole_number("min_support", min_support, low=0)
    if recommender.kind != "ratings":
        raise KindError("bias rankings require a model trained on ratings; this model was trained on events")
    ids = recommender.items if entity == "item" else recommender.users
    rows, unknown_rows = np.arange(len(ids), dtype=np.int32), np.full(len(ids), -1, np.int32)
    users, items = (unknown_rows, rows) if entity == "item" else (rows, unknown_rows)
    assert isinstance(recommender.model, PredictsRatings)
    expected = recommender.model.predict(recommender.batch(users), items)
    support, average = _support_and_average(recommender, entity)
    if len(ids) > 1 and np.ptp(expected) == 0:
        raise KindError(f"this model has no {entity} biases; fit a model with biases, such as biased-mf")
    frame = pl.DataFrame(
        {entity: ids.all, "level": expected, "average": average, "difference": expected - average, "support": support}
    )
    if entity == "item" and recommender.titles is not None:
        frame = frame.with_columns(title=recommender.titles)
    return frame.filter(pl.col("support") >= min_support).sort("level", descending=True, maintain_order=True)


def _support_and_average(recommender: Recommender, entity: Entity) -> tuple[Int64, Float64]:
    """Return the number of ratings and the plain average rating (nan if there are none) for each item or user."""
    histories = recommender.histories
    owner = histories.columns if entity == "item" else histories.owners
    n = len(recommender.items) if entity == "item" else len(recommender.users)
    support = np.bincount(owner, minlength=n).astype(np.int64)
    total = np.bincount(owner, weights=histories.values, minlength=n)
    return support, np.divide(total, support, out=np.full(n, np.nan), where=support > 0)


@one_thread_blas()
@validated
def surprising_items(recommender: Recommender, n: int = 20, *, min_support: int = 20) -> pl.DataFrame:
    """Find the n items whose bias-adjusted ratings differ most from what their plain averages suggest.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on ratings, with a model that learns the biases of items together with those of users or
        with factors, such as `ExplicitALS` or `BiasedMF`.
    n : int, default 20
        Number of items, at least 1.
    min_support : int, default 20
        Minimum number of ratings of an item to include. With few ratings, the bias-adjusted rating is shrunk toward the
        overall mean and is not informative.

    Returns
    -------
    polars.DataFrame
        Columns of `bias_ranking` and surprise, sorted from the largest positive to the largest negative surprise; no
        rows if nothing has enough ratings.

    Raises
    ------
    KindError
        As in `bias_ranking`, and if the model's bias-adjusted ratings follow from the averages: those of `Bias` and of
        models based on it are averages shrunk toward the mean rating, so their differences say nothing about the users
        who rated an item.
    ParameterError
        If `n` is less than 1 or `min_support` is invalid.

    Notes
    -----
        surprise = level - average - median of (level - average) over the items

    The median is subtracted because people tend to rate items that they expect to like, so bias-adjusted ratings are
    usually lower than averages. A positive surprise means that the item is liked even by harsh raters or by people who
    dislike its genre; a negative surprise means that it is rated mostly by people who like such items.

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
    min_support = checks.whole_number("min_support", min_support, low=0)
    ranked = bias_ranking(recommender)
    if _is_shrunken_average(ranked):
        raise KindError(
            "the bias-adjusted ratings of this model are averages shrunk toward the mean, so no item is surprising; "
            "fit a model that separates items from the users who rated them, such as explicit-als or biased-mf"
        )
    frame = ranked.filter(pl.col("support") >= min_support)
    frame = frame.with_columns(surprise=pl.col("difference") - pl.col("difference").median())
    selected_rows = frame.sort(pl.col("surprise").abs(), descending=True, maintain_order=True).head(n)
    return selected_rows.sort("surprise", descending=True, maintain_order=True)


def _is_shrunken_average(ranked: pl.DataFrame) -> bool:
    """Return whether level = mean + n / (n + damping) (average - mean) for all items with n > 0 ratings.

    If so, n (level - average) = damping mean - damping level, which is linear in the level.
    """
    rated = ranked.filter(pl.col("support") > 0)
    if len(rated) < MIN_ITEMS_FOR_FIT:
        return False
    level, average, n = (rated[name].to_numpy().astype(np.float64) for name in ("level", "average", "support"))
    design = np.column_stack([1 / n, level / n])
    coefficients = np.linalg.lstsq(design, level - average, rcond=None)[0]
    residual = level - average - design @ coefficients
    return bool(np.abs(residual).max() <= 1e-5 * max(np.ptp(level), np.ptp(average)))
