"""Exposure: who rates, what is rated, what is recommended, and whether people are shown the genres they watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32
from cofactor.data.features import indicators
from cofactor.errors import DataError
from cofactor.evaluate.evaluation import Score
from cofactor.fork import require_threads
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.catalog import coverage, gini
from cofactor.metrics.catalog import exposure as times_shown
from cofactor.metrics.intervals import bootstrap_interval
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Concentration", "Exposure", "Genres", "accuracy_by_group", "exposure"]

POINTS = 101
"""Of a Lorenz curve, at most."""

TRUST = 0.99
"""How much of a list's genres is taken at its word, see `Genres`."""


@dataclass(frozen=True, eq=False)
class Concentration:
    """How unevenly something is held; see `Concentration.of`, which makes it.

    Attributes:

        members, total: how many hold how much in all.
        gini: 0 where all hold the same, towards 1 where one holds all; nan where there is nothing to hold.
        top_share: what the 1 % who hold most (at least one) hold of it, 0..1; nan as gini.
        lorenz: share_of_members, share_held: the poorest first, from (0, 0) to (1, 1).

    >>> Concentration.of([1, 3]).lorenz.rows()
    [(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)]
    """

    members: int
    total: float
    gini: float
    top_share: float
    lorenz: pl.DataFrame

    @classmethod
    @validated
    def of(cls, counts: Any) -> Self:
        """From what each member holds, (n,) numbers from 0 on.

        The Lorenz curve has at most 101 points; of nobody, or of nothing, it is the diagonal. Raises DataError for
        negative or infinite numbers. See `metrics.catalog.gini`.

        >>> even, uneven = Concentration.of([1, 1, 1, 1]), Concentration.of([0, 0, 0, 4])
        >>> even.gini, uneven.gini, even.top_share, uneven.top_share
        (0.0, 0.75, 0.25, 1.0)
        """
        held = np.sort(checks.number_array("counts", counts, (None,)))
        n, total = len(held), float(held.sum())
        if n == 0 or total == 0:
            return cls(
                n, total, np.nan, np.nan, pl.DataFrame({"share_of_members": [0.0, 1.0], "share_held": [0.0, 1.0]})
            )
        sums = np.concatenate([[0.0], np.cumsum(held)]) / total
        at = np.unique(np.linspace(0, n, min(POINTS, n + 1)).astype(np.int64))
        lorenz = pl.DataFrame({"share_of_members": at / n, "share_held": sums[at]})
        return cls(n, total, gini(held), float(1 - sums[n - max(1, n // 100)]), lorenz)


@dataclass(frozen=True, eq=False)
class Genres:
    """What people have beside what they are shown, by genre (or any other column of lists or texts).

    Attributes:

        table: genre, had, shown: mean shares over users; an item of three genres counts a third for each.
        miscalibration: mean over users of KL(had || .99 shown + .01 had): 0 where each is shown just what they have.
            Steck (2018), "Calibrated recommendations", RecSys.

    Users without anything of a known genre, had or shown, do not count; nan where nobody does.
    """

    table: pl.DataFrame
    miscalibration: float


@dataclass(frozen=True, eq=False)
class Exposure:
    """What stands behind a model and what comes out of it; see `exposure`, which makes it.

    Attributes:

        raters: how rows fall on users.
        rated: how rows fall on items.
        shown: how places in the users' lists fall on items.
        coverage: the share of the catalog that is shown to anybody.
        popularity_lift: mean support of what is shown over that of what people have, each user counting the same: above
            1, lists are more popular than tastes.
        genres: where a column was named, else None.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> found = cofactor.audit.exposure(cofactor.Recommender.fit(cofactor.Bias(), ratings))
    >>> found.rated.total, found.shown.members, found.genres is None
    (900.0, 40, True)
    """

    raters: Concentration
    rated: Concentration
    shown: Concentration
    coverage: float
    popularity_lift: float
    genres: Genres | None = None


@validated
def exposure(recommender: Recommender, *, n: int = 10, column: str | None = None) -> Exposure:
    """Audit the n best items of every user, what they have left out. `column` of the item table names genres.

    Where nothing is left to show, coverage is 0, the Gini coefficient and the lift nan. Raises DataError for a column
    that is not there, ParameterError for n below 1.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900, genres=4)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> found = cofactor.audit.exposure(rec, n=5, column="genres")
    >>> found.raters.members, 0 < found.coverage <= 1, found.genres.table.columns
    (60, True, ['genre', 'had', 'shown'])
    """
    histories = require_recommender("recommender", recommender).histories
    column = None if column is None else checks.text("column", column)
    lists, _ = recommender.rank(np.arange(len(recommender.users), dtype=np.int32), n)
    shown, support = times_shown(lists, len(recommender.items)), recommender.support
    has = histories.counts > 0
    had = _mean_by_user(support.astype(np.float64), histories)[has].mean() if has.any() else np.nan
    seen = _mean_by_user(support.astype(np.float64), _as_rows(lists))[has]
    lift = float(np.nanmean(seen) / had) if np.isfinite(seen).any() else np.nan
    return Exposure(
        Concentration.of(histories.counts),
        Concentration.of(support),
        Concentration.of(shown),
        coverage(shown),
        lift,
        None if column is None else _genres(recommender, lists, column),
    )


@validated
def accuracy_by_group(score: Score, groups: pl.Series, metric: str) -> pl.DataFrame:
    """A metric's mean in each group of users, with its 95 % interval: group, users, mean, low, high.

    groups: (n_users,) one label per user row, null for none. `metric`: of `score.per_user`, such as "ndcg@10" or
    "squared_error". users counts those of the group who were scored; a group of one has no interval, a group without
    any has no row. Raises DataError for a metric or a length that does not fit, and for labels in another form.

    >>> import cofactor, polars as pl
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> found = cofactor.evaluate.evaluate(cofactor.Bias(), cofactor.split_per_user(ratings))["bias"]
    >>> busy = pl.Series(ratings.by_user.counts > 15).replace_strict({True: "busy", False: "quiet"})
    >>> cofactor.audit.accuracy_by_group(found, busy, "squared_error").select("group").rows()
    [('busy',), ('quiet',)]
    """
    require_threads()
    checks.instance("score", score, Score, "make one by cofactor.evaluate.score")
    checks.choice("metric", metric, score.per_user)
    if not isinstance(groups, pl.Series):
        raise DataError(f"groups must be a polars Series, one label for each user row, not {checks.shown(groups)}")
    if len(score.users) and len(groups) <= int(score.users.max()):
        last = int(score.users.max())
        raise DataError(f"groups must have labels, one for each user up to row {last}, not {len(groups):,}")
    labels, values = groups.gather(score.users), score.per_user[metric]
    rows = []
    for label in labels.drop_nulls().unique().sort():
        own = values[(labels == label).fill_null(value=False).to_numpy()]
        rows.append((label, len(own), *bootstrap_interval(own)))
    return pl.DataFrame(rows, schema=["group", "users", "mean", "low", "high"], orient="row")


def _genres(recommender: Recommender, lists: Int32, column: str) -> Genres:
    found = indicators(recommender.item_table, [column], "item")
    share = found.shares(len(recommender.items))
    had = np.stack([_mean_by_user(one, recommender.histories) for one in share.T], axis=1)
    shown = np.stack([_mean_by_user(one, _as_rows(lists)) for one in share.T], axis=1)
    both = (np.nansum(had, axis=1) > 0) & (np.nansum(shown, axis=1) > 0)
    had, shown = (part[both] / part[both].sum(axis=1, keepdims=True) for part in (had, shown))
    nearly = TRUST * shown + (1 - TRUST) * had
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(had > 0, had * np.log(had / nearly), 0.0).sum(axis=1)
    names = [name.partition("=")[2] or name for name in found.names]
    table = pl.DataFrame({"genre": names, "had": had.mean(axis=0), "shown": shown.mean(axis=0)})
    return Genres(table.sort("had", descending=True), float(divergence.mean()))


def _mean_by_user(values: Float64, rows: SparseRows) -> Float64:
    """The mean of an item's value over each row's items: (n_rows,) float64, nan for an empty row."""
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    total = np.bincount(owner, weights=values[rows.columns], minlength=len(rows))
    mean: Float64 = np.divide(total, rows.counts, out=np.full(len(rows), np.nan), where=rows.counts > 0)
    return mean


def _as_rows(lists: Int32) -> SparseRows:
    """Lists as rows of items, in their order; -1 is left out."""
    there = lists >= 0
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(there.sum(axis=1))])
    return SparseRows(start, lists[there], np.ones(int(there.sum()), np.float32))
