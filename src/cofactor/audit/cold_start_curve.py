"""The cold start: how good predictions for a newcomer are after none, one, two, ... of their ratings.

Some users are held out whole, and met again as newcomers: each is folded in on the first g ratings of a random order of
their own, and asked about ratings that are the same for every g. Beside the personal model stands the baseline, folded
in alike: up to the number where the two part, being personal is not worth the trouble.
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

__all__ = ["GIVEN", "ColdStart", "cold_start"]

GIVEN = (0, 1, 2, 3, 5, 8, 12, 20)
K = 10
FEWEST, MOST = 20, 1000
"""So many users must have enough ratings for a number to be asked about, and so many are held out at most."""


@dataclass(frozen=True, eq=False)
class ColdStart:
    """How accuracy grows with what a newcomer has given; see `cold_start`, which makes it.

    Attributes:

        curve: one row for each number of ratings: given, personal, personal_low, personal_high, baseline,
            baseline_low, baseline_high, difference, difference_low, difference_high (personal - baseline, paired by
            user), users; all intervals 95 % over users.
        beats_from: the smallest number from which on the personal model is better at every number asked about, each
            time with an interval that leaves out 0; None where there is none.
        metric: "rmse" (less is better) or "ndcg@10" (more is).

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> found = cofactor.audit.cold_start(cofactor.ItemKNN(), ratings, given=(0, 2, 5))
    >>> found.curve.columns[:4]
    ['given', 'personal', 'personal_low', 'personal_high']
    """

    curve: pl.DataFrame
    beats_from: int | None
    metric: str


@validated
def cold_start(
    estimator: Estimator,
    interactions: Interactions,
    *,
    given: Sequence[int] = GIVEN,
    users: float = 0.2,
    seed: int = 0,
) -> ColdStart:
    """Hold out a share `users` of those with enough rows, fit on the others, fold each in on the first g of their rows.

    Enough: twice the largest number of `given`; where fewer than 20 users have that, the largest numbers are left out.
    What is scored are the rows behind the largest number, the same for every g; in rankings of events the rows before
    them are left out for every g. At most 1,000 users are held out. Deterministic in the seed. Raises KindError for a
    model that cannot fold in, ParameterError for no numbers, another share or what is no estimator, DataError where
    there are too few users.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> found = cofactor.audit.cold_start(cofactor.ExplicitALS(factors=4), ratings, given=(0, 2, 5))
    >>> found.metric, found.curve["given"].to_list(), found.curve["users"][0]
    ('rmse', [0, 2, 5], 7)
    """
    numbers = sorted(set(checks.whole_numbers("given", given, low=0)))
    if numbers[-1] == 0:
        raise ParameterError(f"given must be numbers of ratings from 0 on, and not 0 alone, not {given!r}")
    users, seed = checks.share("users", users), checks.seed(seed)
    checked_estimator(estimator).require(interactions)
    newcomers = _Newcomers.of(interactions, numbers, users, seed)
    numbers = [g for g in numbers if g <= newcomers.most]
    personal, baseline = (newcomers.met(one, seed) for one in (estimator, baseline_for(interactions.kind)))
    rows = [(g, *newcomers.figures(personal, baseline, g, seed)) for g in numbers]
    names = [f"{who}{end}" for who in ("personal", "baseline", "difference") for end in ("", "_low", "_high")]
    schema = {"given": pl.Int64, **dict.fromkeys(names, pl.Float64)}
    curve = pl.DataFrame(rows, schema=schema, orient="row").with_columns(users=pl.lit(len(newcomers.users)))
    metric = main_metric(interactions.kind, K)
    return ColdStart(curve, _beats_from(curve, metric), metric)


@dataclass(frozen=True, eq=False)
class _Newcomers:
    """Users held out whole.

    Attributes:
        table: everybody's rows.
        users: (n,) row numbers of those held out.
        most: how many rows of each may be given.
        place: (rows of the table,) where each row stands in the random order of its user.
    """

    table: Interactions
    users: Int32
    most: int
    place: Int64

    @classmethod
    def of(cls, table: Interactions, numbers: Sequence[int], share: float, seed: int) -> Self:
        counts = table.by_user.counts
        able = [g for g in numbers if g > 0 and (counts >= 2 * g).sum() >= FEWEST]
        if not able:
            least = 2 * min(g for g in numbers if g > 0)
            raise DataError(
                f"a cold-start curve needs {FEWEST} users with {least} rows or more, and there are "
                f"{(counts >= least).sum()}"
            )
        most, stream = max(able), random_stream(seed, "cold start")
        enough = np.flatnonzero(counts >= 2 * most)
        n = min(max(int(share * len(enough)), FEWEST // 4), MOST)
        users = np.sort(stream.permutation(enough)[:n]).astype(np.int32)
        order = np.lexsort((stream.random(len(table)), table.u))
        place = np.empty(len(table), np.int64)
        place[order] = np.arange(len(table)) - table.by_user.start[table.u[order]]
        return cls(table, users, most, place)

    @cached_property
    def held_out(self) -> Bool:
        return np.isin(self.table.u, self.users)

    @cached_property
    def test(self) -> Interactions:
        return self.table.select(self.held_out & (self.place >= self.most))

    def first(self, g: int) -> SparseRows:
        """The first g rows of each newcomer: a matrix of n rows."""
        return self.table.select(self.held_out & (self.place < g)).by_user.take(self.users)

    def met(self, estimator: Estimator, seed: int) -> Recommender:
        """Learnt from all others, with priors where it takes any. Raises KindError where it cannot fold in."""
        recommender = Recommender.fit(estimator, self.table.select(~self.held_out), seed=seed)
        if not isinstance(recommender.model, FoldsIn):
            raise KindError(f"{estimator.name} cannot fold in newcomers, so it has no cold-start curve")
        return eased_in(recommender, seed=seed)

    def figures(self, personal: Recommender, baseline: Recommender, g: int, seed: int) -> tuple[float, ...]:
        """Mean and ends of both models and of their difference, once g rows of each newcomer are known."""
        known = self.first(g)
        if self.table.kind == "events":
            mine, theirs = (self._ndcg(rec.folded_in(known), known) for rec in (personal, baseline))
            own = [bootstrap_interval(values, seed=seed) for values in (mine, theirs)]
            return (*own[0], *own[1], *paired_difference(mine, theirs, seed=seed))
        count = np.bincount(self._row(self.test.u), minlength=len(self.users))
        mine, theirs = (self._squares(rec.folded_in(known), known) for rec in (personal, baseline))
        own = [_rooted(bootstrap_ratio(sums, count, seed=seed)) for sums in (mine, theirs)]
        return (*own[0], *own[1], *paired_rmse_difference(mine, theirs, count, seed=seed))

    def _squares(self, model: Any, known: SparseRows) -> Float64:
        """Each newcomer's summed squared errors on the test rows: (n,)."""
        u = self._row(self.test.u)
        ratings = model.predict(UserBatch.trained(u, known), self.test.i)
        return errors_by_user(u, self.test.values, ratings, n_users=len(self.users)).squared

    def _ndcg(self, model: Any, known: SparseRows) -> Float64:
        """Each newcomer's NDCG of the catalog without what may be given: (n,), nan without anything to find."""
        lists = ModelLists.of(
            model,
            UserBatch.folded(known),
            [K],
            exclude=self.first(self.most),
            relevant=liked(self.test).by_user.take(self.users),
        )
        return ndcg(lists.hits, K)

    def _row(self, u: Int32) -> Int32:
        return np.searchsorted(self.users, u).astype(np.int32)


def _rooted(squares: Interval) -> Interval:
    return Interval(*(x if isnan(x) else sqrt(x) for x in squares))


def _beats_from(curve: pl.DataFrame, metric: str) -> int | None:
    """The smallest number from which on the interval of the difference lies on the better side of 0."""
    ends = curve.select(pl.col("difference_low", "difference_high").fill_nan(None))  # polars takes nan for the largest
    better = (ends["difference_high"] < 0 if metric == "rmse" else ends["difference_low"] > 0).fill_null(value=False)
    first = None
    for g, yes in zip(curve["given"].to_list(), better.to_list(), strict=True):
        first = (g if first is None else first) if yes else None
    return first
