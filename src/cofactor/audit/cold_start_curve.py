"""Cold-start curve: accuracy for new users as a function of the number of ratings they have given.

Some users are held out of training entirely and then treated as new users: each is folded in from the first g ratings
of their randomly ordered history and evaluated on a fixed set of later ratings, which is the same for every g. The
baseline is folded in the same way. The number of ratings at which the two curves separate is the length of the history
that a user needs before personalization pays off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Int32, Int64, random_stream
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, relevant_rows
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.base import Estimator, require_estimator
from cofactor.evaluate.evaluation import baseline_for
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics import intervals
from cofactor.metrics.base import Metric, UserValues
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.rating import RatingMetric, errors_by_user
from cofactor.metrics.registry import primary_metric
from cofactor.models.base import FoldsIn
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from cofactor.validation import validated

__all__ = ["HISTORY_LENGTHS", "ColdStartCurve", "cold_start"]

HISTORY_LENGTHS = (0, 1, 2, 3, 5, 8, 12, 20)
"""Default history lengths for the curve."""
K = 10
MIN_USERS, MAX_HELD_OUT = 20, 1000
"""Minimum number of eligible users for a history length, and maximum number of held-out users."""


@dataclass(frozen=True, eq=False)
class ColdStartCurve:
    """Accuracy for new users as a function of the number of ratings they have given; returned by `cold_start`.

    Attributes
    ----------
    curve : pl.DataFrame
        One row per history length: history_length, personal, personal_low, personal_high, baseline, baseline_low,
        baseline_high, difference, difference_low, difference_high, users. `difference` is the mean paired difference
        personal - baseline. All intervals are 95% intervals over users; nan if there are too few users for intervals
        (`metrics.intervals.MIN_USERS`).
    break_even_length : int or None
        Smallest history length such that, at this and every larger length, the personal model is better than the
        baseline and the interval of the difference excludes 0. None if there is no such length or no interval.
    metric : {'rmse', 'ndcg@10'}
        Key of the metric on the curve (see `metrics.registry.primary_metric`).

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> result = cofactor.audit.cold_start(cofactor.ItemKNN(), ratings, history_lengths=(0, 2, 5))
    >>> result.curve.columns[:4]
    ['history_length', 'personal', 'personal_low', 'personal_high']
    """

    curve: pl.DataFrame
    break_even_length: int | None
    metric: str


@validated
def cold_start(
    estimator: Estimator,
    interactions: Interactions,
    *,
    history_lengths: Sequence[int] = HISTORY_LENGTHS,
    users: float = 0.2,
    seed: Seed = 0,
) -> ColdStartCurve:
    """Compute the cold-start curve of an estimator for users held out of training.

    Parameters
    ----------
    estimator : Estimator
        Estimator whose model can fold in users.
    interactions : Interactions
        Ratings or events. Users with at least twice as many rows as the largest history length are eligible.
    history_lengths : sequence of int, optional
        History lengths, each at least 0. The largest ones are dropped if fewer than 20 users are eligible for them.
    users : float, default 0.2
        Share of the eligible users to hold out, between 0 and 1. At most 1,000 users are held out, and at least the 200
        that intervals need, if these are at most half of the eligible users.
    seed : int, Generator or None, default 0
        Seed for the sample, the order of each history, the fits and the bootstrap. The result is deterministic.

    Returns
    -------
    ColdStartCurve
        The curve, and the smallest history length at which the personal model is better.

    Raises
    ------
    KindError
        The model cannot fold in users, or the estimator does not support this kind of interactions.
    ParameterError
        `history_lengths` has no value above 0, `users` is not between 0 and 1, or `estimator` is not an estimator.
    DataError
        Fewer than 20 users are eligible.

    Notes
    -----
    The test rows are those after the largest history length; they are the same for every length. For events, the rows
    up to the largest history length are excluded from the rankings at every length, and lists are as they are served.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> result = cofactor.audit.cold_start(cofactor.ExplicitALS(factors=4), ratings, history_lengths=(0, 2, 5))
    >>> result.metric, result.curve["history_length"].to_list(), result.curve["users"][0]
    ('rmse', [0, 2, 5], 7)
    """
    lengths = sorted(set(checks.whole_numbers("history_lengths", history_lengths, low=0)))
    if lengths[-1] == 0:
        raise ParameterError(f"history_lengths must contain at least one value above 0; got {history_lengths!r}")
    users, seed = checks.fraction("users", users), checks.seed(seed)
    require_estimator(estimator).check_table(interactions)
    held_out = _HeldOutUsers.sample(interactions, lengths, users, seed)
    lengths = [g for g in lengths if g <= held_out.max_length]
    personal = held_out.fit_on_training_users(estimator, seed)
    baseline = held_out.fit_on_training_users(baseline_for(interactions.kind), seed)
    rows = [(g, *held_out.compare(personal, baseline, g, seed)) for g in lengths]
    names = [f"{model}{suffix}" for model in ("personal", "baseline", "difference") for suffix in ("", "_low", "_high")]
    schema = {"history_length": pl.Int64, **dict.fromkeys(names, pl.Float64)}
    curve = pl.DataFrame(rows, schema=schema, orient="row").with_columns(users=pl.lit(len(held_out.users)))
    metric = primary_metric(interactions.kind, K)
    return ColdStartCurve(curve, _break_even_length(curve, metric), metric.key)


@dataclass(frozen=True, eq=False)
class _HeldOutUsers:
    """Users held out of training, each with their rows in random order.

    Attributes
    ----------
    table : Interactions
        Rows of all users.
    users : ndarray of shape (n,), int32
        Row numbers of the held-out users.
    max_length : int
        Largest history length of the curve.
    position : ndarray of shape (n_rows,), int64
        Position of each row of the table in the random order for its user.
    """

    table: Interactions
    users: Int32
    max_length: int
    position: Int64

    @classmethod
    def sample(cls, table: Interactions, lengths: Sequence[int], share: float, seed: int) -> Self:
        counts = table.by_user.counts
        feasible = [g for g in lengths if g > 0 and (counts >= 2 * g).sum() >= MIN_USERS]
        if not feasible:
            min_rows = 2 * min(g for g in lengths if g > 0)
            raise DataError(
                f"a cold-start curve needs at least {MIN_USERS} users with {min_rows} or more rows each; got "
                f"{(counts >= min_rows).sum()}"
            )
        max_length, stream = max(feasible), random_stream(seed, "cold start")
        eligible = np.flatnonzero(counts >= 2 * max_length)
        min_held_out = intervals.MIN_USERS if len(eligible) >= 2 * intervals.MIN_USERS else MIN_USERS // 4
        n = min(max(int(share * len(eligible)), min_held_out), MAX_HELD_OUT)
        users = np.sort(stream.permutation(eligible)[:n]).astype(np.int32)
        order = np.lexsort((stream.random(len(table)), table.u))
        position = np.empty(len(table), np.int64)
        position[order] = np.arange(len(table)) - table.by_user.start[table.u[order]]
        return cls(table, users, max_length, position)

    @cached_property
    def row_mask(self) -> Bool:
        return np.isin(self.table.u, self.users)

    @cached_property
    def test(self) -> Interactions:
        return self.table.select(self.row_mask & (self.position >= self.max_length))

    def history(self, g: int) -> SparseRows:
        """Return the first g interactions of each held-out user as a sparse matrix with one row per held-out user."""
        return self.table.select(self.row_mask & (self.position < g)).by_user.take(self.users)

    def fit_on_training_users(self, estimator: Estimator, seed: int) -> Recommender:
        """Fit an estimator on the users that are not held out, with priors if the model supports them."""
        recommender = Recommender.fit(estimator, self.table.select(~self.row_mask), seed=seed)
        if not isinstance(recommender.model, FoldsIn):
            raise KindError(f"{estimator.name} cannot fold in new users, so a cold-start curve cannot be computed")
        return recommender.ensure_priors(seed=seed)

    def compare(self, personal: Recommender, baseline: Recommender, g: int, seed: int) -> tuple[float, ...]:
        """Return metric means and intervals of two models and of their difference, given g interactions per user."""
        history = self.history(g)
        personal_values, baseline_values = (
            self._user_values(recommender, history) for recommender in (personal, baseline)
        )
        return (
            *personal_values.interval(seed=seed),
            *baseline_values.interval(seed=seed),
            *personal_values.difference(baseline_values, seed=seed),
        )

    def _user_values(self, recommender: Recommender, history: SparseRows) -> UserValues:
        """Return the primary metric for each held-out user.

        The rows up to the largest history length are excluded from rankings. Lists are scored as they are served, with
        popular items where the model has no evidence about the user.
        """
        metric, model = primary_metric(self.table.kind, K), cast("Any", recommender.folded_in(history))
        if isinstance(metric, RatingMetric):
            u = self._row(self.test.u)
            predictions = model.predict(UserBatch.trained(u, history), self.test.i)
            return metric.per_user(errors_by_user(u, self.test.values, predictions, n_users=len(self.users)))
        lists = ModelLists.of(
            model,
            UserBatch.folded(history),
            [K],
            exclude=self.history(self.max_length),
            relevant=relevant_rows(self.test).by_user.take(self.users),
            support=recommender.catalog.popularity,
        )
        return metric.per_user(lists.served_hits)

    def _row(self, u: Int32) -> Int32:
        return np.searchsorted(self.users, u).astype(np.int32)


def _break_even_length(curve: pl.DataFrame, metric: Metric) -> int | None:
    """Return the smallest history length from which the improvement is significant, or None if there is none."""
    bounds = curve.select(
        pl.col("difference_low", "difference_high").fill_nan(None)
    )  # polars treats nan as the largest
    is_better_column = bounds["difference_low"] > 0 if metric.greater_is_better else bounds["difference_high"] < 0
    smallest_length = None
    for g, is_better in zip(
        curve["history_length"].to_list(), is_better_column.fill_null(value=False).to_list(), strict=True
    ):
        smallest_length = (g if smallest_length is None else smallest_length) if is_better else None
    return smallest_length
