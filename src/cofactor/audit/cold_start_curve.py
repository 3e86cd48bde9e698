"""Cold-start curve: accuracy for new users after 0, 1, 2, ... of their ratings.

Some users are held out of training entirely and then treated as new users: each is folded in with the first g ratings
of a random order of their history and scored on a fixed set of later ratings, the same for every g. The baseline is
folded in the same way. The number of ratings from which the two curves differ is the history that a user needs before
personalization pays off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, sqrt
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float64, Int32, Int64, random_stream
from cofactor.cold_start.priors import eased_in
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.base import Estimator, liked
from cofactor.evaluate.evaluation import baseline_for, main_metric
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_ratio,
    paired_difference,
    paired_rmse_difference,
)
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.ranking import ndcg
from cofactor.metrics.rating import errors_by_user
from cofactor.models.base import FoldsIn
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender, checked_estimator
from cofactor.validation import validated

__all__ = ["HISTORY_LENGTHS", "ColdStartCurve", "cold_start"]

HISTORY_LENGTHS = (0, 1, 2, 3, 5, 8, 12, 20)
"""Default history lengths of the curve."""
K = 10
MIN_USERS, MAX_HELD_OUT = 20, 1000
"""Minimum number of users with enough ratings for a history length; maximum number of users held out."""


@dataclass(frozen=True, eq=False)
class ColdStartCurve:
    """Accuracy for new users as a function of the number of their ratings; returned by `cold_start`.

    Attributes
    ----------
    curve : pl.DataFrame
        One row per history length: history_length, personal, personal_low, personal_high, baseline, baseline_low,
        baseline_high, difference, difference_low, difference_high, users. `difference` is personal - baseline, paired
        by user. All intervals are 95 % bootstrap intervals over users; nan where there are too few users.
    beats_from : int or None
        Smallest history length from which the personal model is better than the baseline at this and every larger
        length, each time with an interval that excludes 0. None if there is no such length.
    metric : {'rmse', 'ndcg@10'}
        Metric of the curve: "rmse" (lower is better) for ratings, "ndcg@10" (higher is better) for events.

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
    beats_from: int | None
    metric: str


@validated
def cold_start(
    estimator: Estimator,
    interactions: Interactions,
    *,
    history_lengths: Sequence[int] = HISTORY_LENGTHS,
    users: float = 0.2,
    seed: int = 0,
) -> ColdStartCurve:
    """Compute the cold-start curve of an estimator on users held out of training.

    Parameters
    ----------
    estimator : Estimator
        Estimator whose model can fold in users.
    interactions : Interactions
        Ratings or events. A user is eligible with at least twice as many rows as the largest history length.
    history_lengths : sequence of int, optional
        History lengths, from 0. The largest ones are dropped if fewer than 20 users are eligible for them.
    users : float, default 0.2
        Share of the eligible users to hold out, between 0 and 1. At most 1,000 users are held out.
    seed : int, default 0
        Seed of the sample, the order of each history, the fits and the bootstrap. The result is deterministic.

    Returns
    -------
    ColdStartCurve
        The curve and the history length from which the personal model is better.

    Raises
    ------
    KindError
        The model cannot fold in users, or the estimator does not fit the kind of the interactions.
    ParameterError
        `history_lengths` has no number above 0, `users` is not a share, or `estimator` is not an estimator.
    DataError
        Fewer than 20 users are eligible.

    Notes
    -----
    The test rows are those after the largest history length, the same for every length. For events, the rows up to the
    largest history length are excluded from the ranking at every length.

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
        raise ParameterError(f"history_lengths must contain a number of ratings above 0; got {history_lengths!r}")
    users, seed = checks.share("users", users), checks.seed(seed)
    checked_estimator(estimator).require(interactions)
    held_out = _HeldOutUsers.sample(interactions, lengths, users, seed)
    lengths = [g for g in lengths if g <= held_out.max_length]
    personal = held_out.fit_others(estimator, seed)
    baseline = held_out.fit_others(baseline_for(interactions.kind), seed)
    rows = [(g, *held_out.compare(personal, baseline, g, seed)) for g in lengths]
    names = [f"{model}{end}" for model in ("personal", "baseline", "difference") for end in ("", "_low", "_high")]
    schema = {"history_length": pl.Int64, **dict.fromkeys(names, pl.Float64)}
    curve = pl.DataFrame(rows, schema=schema, orient="row").with_columns(users=pl.lit(len(held_out.users)))
    metric = main_metric(interactions.kind, K)
    return ColdStartCurve(curve, _beats_from(curve, metric), metric)


@dataclass(frozen=True, eq=False)
class _HeldOutUsers:
    """Users held out of training, with a random order of each user's rows.

    Attributes
    ----------
    table : Interactions
        The rows of all users.
    users : ndarray of shape (n,), int32
        Row numbers of the held-out users.
    max_length : int
        Largest history length of the curve.
    position : ndarray of shape (n_rows,), int64
        Position of each row of the table in the random order of its user.
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
                f"a cold-start curve needs at least {MIN_USERS} users with {min_rows} or more rows each; there are "
                f"{(counts >= min_rows).sum()}"
            )
        max_length, stream = max(feasible), random_stream(seed, "cold start")
        eligible = np.flatnonzero(counts >= 2 * max_length)
        n = min(max(int(share * len(eligible)), MIN_USERS // 4), MAX_HELD_OUT)
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
        """The first g rows of each held-out user, as a matrix of n rows."""
        return self.table.select(self.row_mask & (self.position < g)).by_user.take(self.users)

    def fit_others(self, estimator: Estimator, seed: int) -> Recommender:
        """Fit on all other users, with learned priors if the model uses them. Raises KindError if it cannot fold in."""
        recommender = Recommender.fit(estimator, self.table.select(~self.row_mask), seed=seed)
        if not isinstance(recommender.model, FoldsIn):
            raise KindError(f"{estimator.name} cannot fold in new users, so it has no cold-start curve")
        return eased_in(recommender, seed=seed)

    def compare(self, personal: Recommender, baseline: Recommender, g: int, seed: int) -> tuple[float, ...]:
        """Mean and interval of both models and of their difference with g rows of each held-out user."""
        history = self.history(g)
        models = [recommender.folded_in(history) for recommender in (personal, baseline)]
        if self.table.kind == "events":
            x, y = (self._ndcg(model, history) for model in models)
            intervals = [bootstrap_interval(values, seed=seed) for values in (x, y)]
            return (*intervals[0], *intervals[1], *paired_difference(x, y, seed=seed))
        counts = np.bincount(self._row(self.test.u), minlength=len(self.users))
        x, y = (self._squared_errors(model, history) for model in models)
        intervals = [_square_root(bootstrap_ratio(sums, counts, seed=seed)) for sums in (x, y)]
        return (*intervals[0], *intervals[1], *paired_rmse_difference(x, y, counts, seed=seed))

    def _squared_errors(self, model: Any, history: SparseRows) -> Float64:
        """Sum of squared errors on the test rows by held-out user: (n,)."""
        u = self._row(self.test.u)
        predictions = model.predict(UserBatch.trained(u, history), self.test.i)
        return errors_by_user(u, self.test.values, predictions, n_users=len(self.users)).squared

    def _ndcg(self, model: Any, history: SparseRows) -> Float64:
        """NDCG by held-out user: (n,), nan without relevant items.

        The rows up to the largest history length are excluded from the ranking.
        """
        lists = ModelLists.of(
            model,
            UserBatch.folded(history),
            [K],
            exclude=self.history(self.max_length),
            relevant=liked(self.test).by_user.take(self.users),
        )
        return ndcg(lists.hits, K)

    def _row(self, u: Int32) -> Int32:
        return np.searchsorted(self.users, u).astype(np.int32)


def _square_root(interval: Interval) -> Interval:
    return Interval(*(x if isnan(x) else sqrt(x) for x in interval))


def _beats_from(curve: pl.DataFrame, metric: str) -> int | None:
    """The smallest history length from which the interval of the difference is on the better side of 0."""
    ends = curve.select(pl.col("difference_low", "difference_high").fill_nan(None))  # polars treats nan as the largest
    better = (ends["difference_high"] < 0 if metric == "rmse" else ends["difference_low"] > 0).fill_null(value=False)
    first = None
    for g, is_better in zip(curve["history_length"].to_list(), better.to_list(), strict=True):
        first = (g if first is None else first) if is_better else None
    return first
