"""Concentration and exposure: distribution of ratings and recommendations over users, items and genres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite, sqrt
from typing import Any, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64, random_stream
from cofactor.data.features import indicators
from cofactor.errors import DataError
from cofactor.evaluate.evaluation import Score
from cofactor.fork import require_threads
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.catalog import coverage, gini
from cofactor.metrics.catalog import exposure as item_exposure
from cofactor.metrics.intervals import Interval, bootstrap_interval
from cofactor.metrics.ranking import RANKING_BOUNDS
from cofactor.metrics.rating import RATING_METRICS
from cofactor.metrics.student_t import t_quantile
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Concentration", "Exposure", "Genres", "accuracy_by_group", "exposure", "exposure_of_lists"]

MAX_POINTS = 101
"""Maximum number of points on a Lorenz curve."""

MIN_USERS = 20
"""Minimum number of users for a jackknife interval. From this number on, its coverage is at least 93 %."""
UNBOUNDED = ("popularity_lift", "miscalibration")
"""Measures that can exceed 1."""
N_USER_GROUPS = 100
"""Maximum number of user groups for the jackknife."""

SMOOTHING = 0.99
"""Weight of the recommended genres in the smoothed distribution; see `Genres`."""


@dataclass(frozen=True, eq=False)
class Concentration:
    """Concentration of a quantity over users or items, such as ratings per item; computed by `Concentration.of`.

    Attributes
    ----------
    members : int
        Number of members.
    total : float
        Sum of the quantity over all members.
    gini : float
        Gini coefficient: 0 if all members have the same amount, close to 1 if one member has everything; nan if the
        total is 0.
    top_share : float
        Share of the total, between 0 and 1, held by the top 1% of members (at least one member); nan if the total
        is 0.
    lorenz : pl.DataFrame
        Lorenz curve with columns share_of_members and share_held, smallest members first, from (0, 0) to (1, 1).

    Examples
    --------
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
        """Compute the concentration of a quantity, given its amount for each user or item.

        Parameters
        ----------
        counts : array_like of shape (n_members,)
            Nonnegative amount of each member.

        Returns
        -------
        Concentration
            The Lorenz curve has at most 101 points. If there are no members, or the total is 0, the curve is the
            diagonal and `gini` and `top_share` are nan.

        Raises
        ------
        DataError
            An amount is negative or not finite.

        See Also
        --------
        cofactor.metrics.catalog.gini : The Gini coefficient and its equation.

        Examples
        --------
        >>> even, uneven = Concentration.of([1, 1, 1, 1]), Concentration.of([0, 0, 0, 4])
        >>> even.gini, uneven.gini, even.top_share, uneven.top_share
        (0.0, 0.75, 0.25, 1.0)
        """
        amounts = np.sort(checks.number_array("counts", counts, (None,)))
        n, total = len(amounts), float(amounts.sum())
        if n == 0 or total == 0:
            diagonal = pl.DataFrame({"share_of_members": [0.0, 1.0], "share_held": [0.0, 1.0]})
            return cls(n, total, np.nan, np.nan, diagonal)
        sums = np.concatenate([[0.0], np.cumsum(amounts)]) / total
        indices = np.unique(np.linspace(0, n, min(MAX_POINTS, n + 1)).astype(np.int64))
        lorenz = pl.DataFrame({"share_of_members": indices / n, "share_held": sums[indices]})
        return cls(n, total, gini(amounts), float(1 - sums[n - max(1, n // 100)]), lorenz)


@dataclass(frozen=True, eq=False)
class Genres:
    """Genre shares in users' histories and in their recommendations.

    Any column of the item table with lists or delimited text can provide the genres.

    Attributes
    ----------
    table : pl.DataFrame
        Columns genre, had (mean share in users' histories) and shown (mean share in their recommendations). An item
        with three genres counts as one third for each.
    miscalibration : float
        Mean over users of KL(had || 0.99 shown + 0.01 had); 0 if each user is shown genres in the same proportions
        as in their history.
    floor : float
        The same mean for as many random items of each user's own history as the list has. A list of few items cannot
        have the exact genre shares of a long history, so a miscalibration near this value is due to the length of the
        list alone.

    Notes
    -----
    Users with no item that has a genre, in their history or in their list, are left out. The values are nan if no
    users remain.

    References
    ----------
    Steck (2018), "Calibrated recommendations", RecSys.
    """

    table: pl.DataFrame
    miscalibration: float
    floor: float


@dataclass(frozen=True, eq=False)
class Exposure:
    """Shares of the ratings and recommendations that the most popular items receive; returned by `exposure`.

    Attributes
    ----------
    rows_per_user : Concentration
        Concentration of the ratings or events on users.
    rows_per_item : Concentration
        Concentration of the ratings or events on items.
    positions_per_item : Concentration
        Concentration of the list positions on items.
    coverage : float
        Share of the catalog, between 0 and 1, that is recommended to at least one user.
    popularity_lift : float
        Ratio of the mean support of the recommended items to that of the items in the histories, with equal weight for
        each user. Above 1, the recommended items are more popular than those in the histories.
    genres : Genres or None
        Genre shares if a genre column was given, else None.
    intervals : pl.DataFrame
        Columns measure, value, low and high, with 95% confidence intervals for other samples of as many users:
        rows_per_user.gini, rows_per_item.gini, positions_per_item.gini, coverage, popularity_lift and, with genres,
        miscalibration. The bounds are nan for fewer than 20 users.

    Notes
    -----
    Resamples of a bootstrap repeat users, so they show fewer different items than as many users do. The intervals are
    therefore from the jackknife. With v the value for all users, v_g the value without the users of group g, and G
    random groups of equal size (at most 100)::

        v +- t_quantile(0.975, G - 1) sqrt((G - 1) / G sum_g (v_g - mean of v_g)^2)

    The variance of the jackknife is not below that of the value on average (Efron & Stein 1981), and exceeds it for
    coverage. The bounds of a value that no group changes are nan, such as those of coverage if each item is in many
    lists.

    References
    ----------
    Efron & Stein (1981), "The jackknife estimate of variance", Annals of Statistics 9(3).

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> result = cofactor.audit.exposure(cofactor.Recommender.fit(cofactor.Bias(), ratings))
    >>> result.rows_per_item.total, result.positions_per_item.members, result.genres is None
    (900.0, 40, True)
    """

    rows_per_user: Concentration
    rows_per_item: Concentration
    positions_per_item: Concentration
    coverage: float
    popularity_lift: float
    genres: Genres | None
    intervals: pl.DataFrame


@validated
def exposure(recommender: Recommender, *, n: int = 10, column: str | None = None) -> Exposure:
    """Audit how the top n unseen items for each user distribute exposure over the catalog.

    Parameters
    ----------
    recommender : Recommender
        Fitted recommender with the histories of its users.
    n : int, default 10
        Length of each user's list.
    column : str, optional
        Column of the item table with genres; see `Genres`.

    Returns
    -------
    Exposure
        If there is nothing left to recommend, `coverage` is 0, and the Gini coefficient of `positions_per_item` and
        `popularity_lift` are nan.

    Raises
    ------
    DataError
        The item table has no such column.
    ParameterError
        `n` is below 1.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900, genres=4)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> result = cofactor.audit.exposure(rec, n=5, column="genres")
    >>> result.rows_per_user.members, 0 < result.coverage <= 1, result.genres.table.columns
    (60, True, ['genre', 'had', 'shown'])
    """
    require_recommender("recommender", recommender)
    column = None if column is None else checks.text("column", column)
    lists, _ = recommender.for_rows(np.arange(len(recommender.users), dtype=np.int32)).rank(n)
    return exposure_of_lists(recommender, lists, column=column)


def exposure_of_lists(recommender: Recommender, lists: Int32, *, column: str | None = None) -> Exposure:
    """Audit how lists that were ranked for all users distribute exposure over the catalog.

    Parameters
    ----------
    recommender : Recommender
        Fitted recommender with the histories of its users.
    lists : ndarray of shape (n_users, n), int32
        Item row numbers of each user's list, padded with -1.
    column : str, optional
        Column of the item table with genres; see `Genres`.

    Returns
    -------
    Exposure
        As from `exposure`.

    Raises
    ------
    DataError
        The item table has no such column.

    Examples
    --------
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns(["ana", "bo"], ["alien", "clue"], kind="events")
    >>> rec = cofactor.Recommender.fit(cofactor.Popularity(), events)
    >>> exposure_of_lists(rec, np.array([[1], [-1]], np.int32)).coverage
    0.5
    """
    histories = recommender.histories
    positions, support = item_exposure(lists, len(recommender.items)), recommender.support
    popularity = support.astype(np.float64)
    popularity_by_user = [_mean_by_user(popularity, rows) for rows in (_as_rows(lists), histories)]
    listed, history = np.where(np.isfinite(popularity_by_user).all(axis=0), popularity_by_user, np.nan)
    genres, divergence = (None, None) if column is None else _genres(recommender, lists, column)
    result = Exposure(
        Concentration.of(histories.counts), Concentration.of(support), Concentration.of(positions),
        coverage(positions), _ratio(listed, history), genres, pl.DataFrame(),
    )  # fmt: skip
    return replace(result, intervals=_intervals(result, histories, _as_rows(lists), listed, history, divergence))


@validated
def accuracy_by_group(score: Score, groups: pl.Series, metric: str) -> pl.DataFrame:
    """Compute the mean of a metric for each group of users, with a 95% interval.

    Parameters
    ----------
    score : Score
        Evaluation of a model, as returned by `cofactor.evaluate`.
    groups : pl.Series of shape (n_users,)
        Label for each user row; null for users without a group.
    metric : str
        Key in `score.per_user`, such as "ndcg@10" or "squared_error".

    Returns
    -------
    pl.DataFrame
        Columns group, users, mean, low and high, sorted by group. `users` is the number of evaluated users in the
        group. The bounds of a group with fewer than `metrics.intervals.MIN_USERS` users are nan; a group without
        evaluated users has no row.

    Raises
    ------
    DataError
        `groups` is not a Series or is too short.
    ParameterError
        `score` does not contain the metric.

    Examples
    --------
    >>> import cofactor, polars as pl
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> score = cofactor.evaluate.evaluate(cofactor.Bias(), cofactor.split_per_user(ratings))["bias"]
    >>> activity = pl.Series(ratings.by_user.counts > 15).replace_strict({True: "high", False: "low"})
    >>> cofactor.audit.accuracy_by_group(score, activity, "squared_error").select("group").rows()
    [('high',), ('low',)]
    """
    require_threads()
    checks.instance("score", score, Score, "create one with cofactor.evaluate.score")
    checks.choice("metric", metric, score.per_user)
    if not isinstance(groups, pl.Series):
        raise DataError(
            f"groups must be a polars Series with one label for each user, in row order; got {checks.describe(groups)}"
        )
    if len(score.users) and len(groups) <= int(score.users.max()):
        last_user = int(score.users.max())
        raise DataError(f"groups must have one label for each user, up to row {last_user}; got {len(groups):,} labels")
    labels, values = groups.gather(score.users), score.per_user[metric]
    is_loss = metric in {loss.per_user_key for loss in RATING_METRICS}
    bounds = None if is_loss else RANKING_BOUNDS
    rows = []
    for label in labels.drop_nulls().unique().sort():
        members = values[(labels == label).fill_null(value=False).to_numpy()]
        rows.append((label, len(members), *bootstrap_interval(members, bounds=bounds)))
    return pl.DataFrame(rows, schema=["group", "users", "mean", "low", "high"], orient="row")


def _intervals(
    result: Exposure, histories: SparseRows, lists: SparseRows, listed: Float64, history: Float64,
    divergence: Float64 | None,
) -> pl.DataFrame:  # fmt: skip
    """Compute the intervals of an exposure; its field `intervals` is ignored.

    The arrays of shape (n_users,) are the mean popularity of the items in lists and histories, and the divergence of
    their genres; nan for users who do not count.
    """
    n_items, groups = result.rows_per_item.members, _user_groups(len(histories))
    others = [groups != group for group in range(groups.max(initial=-1) + 1)]
    item_counts, shown_counts = (list(_item_counts_without(rows, groups, n_items)) for rows in (histories, lists))
    values = {
        "rows_per_user.gini": (result.rows_per_user.gini, [gini(histories.counts[users]) for users in others]),
        "rows_per_item.gini": (result.rows_per_item.gini, [gini(counts) for counts in item_counts]),
        "positions_per_item.gini": (result.positions_per_item.gini, [gini(counts) for counts in shown_counts]),
        "coverage": (result.coverage, [coverage(counts) for counts in shown_counts]),
        "popularity_lift": (result.popularity_lift, [_ratio(listed[users], history[users]) for users in others]),
    }
    if result.genres is not None and divergence is not None:
        parts = [_mean(divergence[users]) for users in others]
        values["miscalibration"] = (result.genres.miscalibration, parts)
    rows = []
    for name, (value, parts) in values.items():
        _, low, high = _jackknife_interval(value, parts, len(histories))
        rows.append((name, value, low, high if name in UNBOUNDED else np.minimum(high, 1.0)))
    return pl.DataFrame(rows, schema=["measure", "value", "low", "high"], orient="row")


def _user_groups(n_users: int) -> Int64:
    """Assign each user to a random group; group sizes differ by at most one. Return the group numbers."""
    return random_stream(0, "jackknife").permutation(n_users) % max(1, min(N_USER_GROUPS, n_users))


def _item_counts_without(rows: SparseRows, groups: Int64, n_items: int) -> Iterator[Int64]:
    """Yield, for each group, the number of rows of all other groups that contain each item."""
    total, group_of_entry = np.bincount(rows.columns, minlength=n_items), groups[rows.owners].astype(np.uint8)
    columns = rows.columns[np.argsort(group_of_entry, kind="stable")]
    sizes = np.bincount(group_of_entry, minlength=groups.max(initial=-1) + 1)
    for part in np.split(columns, np.cumsum(sizes)[:-1]):
        yield total - np.bincount(part, minlength=n_items)


def _jackknife_interval(value: float, values_without: list[float], n_users: int) -> Interval:
    """Return the jackknife interval of a nonnegative value; see `Exposure`."""
    parts, n = np.asarray(values_without), len(values_without)
    if n_users < MIN_USERS or not isfinite(value) or not np.isfinite(parts).all() or np.ptp(parts) == 0:
        return Interval(value, np.nan, np.nan)
    half_width = t_quantile(0.975, n - 1) * sqrt((n - 1) * float(parts.var()))
    return Interval(value, max(0.0, value - half_width), value + half_width)


def _mean(values: Float64) -> float:
    """Return the mean of the non-nan values; nan if there are none."""
    return float(np.nansum(values) / n) if (n := int(np.isfinite(values).sum())) else np.nan


def _ratio(numerator: Float64, denominator: Float64) -> float:
    """Return the ratio of the means of two arrays that are nan at the same positions, ignoring nan."""
    return _mean(numerator) / _mean(denominator) if np.isfinite(numerator).any() else np.nan


def _genres(recommender: Recommender, lists: Int32, column: str) -> tuple[Genres, Float64]:
    """Return the genre shares and each user's divergence; nan unless both history and list contain genres."""
    genres = indicators(recommender.item_table, [column], "item")
    share = genres.shares(len(recommender.items))
    history_shares = np.stack([_mean_by_user(genre, recommender.histories) for genre in share.T], axis=1)
    list_shares = np.stack([_mean_by_user(genre, _as_rows(lists)) for genre in share.T], axis=1)
    random_rows = _random_history_items(recommender.histories, (lists >= 0).sum(axis=1))
    random_shares = np.stack([_mean_by_user(genre, random_rows) for genre in share.T], axis=1)
    has_genres = (np.nansum(history_shares, axis=1) > 0) & (np.nansum(list_shares, axis=1) > 0)
    history_shares, list_shares, random_shares = (
        shares[has_genres] / np.maximum(shares[has_genres].sum(axis=1, keepdims=True), 1e-300)
        for shares in (history_shares, list_shares, random_shares)
    )
    names = [name.partition("=")[2] or name for name in genres.names]
    table = pl.DataFrame({"genre": names, "had": history_shares.mean(axis=0), "shown": list_shares.mean(axis=0)})
    by_user = np.full(len(has_genres), np.nan)
    by_user[has_genres] = _divergence(history_shares, list_shares)
    floor = _mean(_divergence(history_shares, random_shares))
    return Genres(table.sort("had", descending=True), _mean(by_user), floor), by_user


def _divergence(history: Float64, listed: Float64) -> Float64:
    """Return KL(history || 0.99 listed + 0.01 history) for the genre shares in each row, (n_users, n_genres)."""
    smoothed = SMOOTHING * listed + (1 - SMOOTHING) * history
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence: Float64 = np.where(history > 0, history * np.log(history / smoothed), 0.0).sum(axis=1)
    return divergence


def _random_history_items(histories: SparseRows, lengths: Int64) -> SparseRows:
    """Draw lengths[u] items from the history of each user u without replacement; all if the history is shorter."""
    keys = random_stream(0, "miscalibration floor").random(len(histories.columns))
    order = np.lexsort((keys, histories.owners))
    position = np.arange(len(order)) - np.repeat(np.cumsum(histories.counts) - histories.counts, histories.counts)
    chosen = order[position < np.repeat(lengths, histories.counts)]
    counts = np.minimum(lengths, histories.counts)
    return SparseRows.from_counts(counts, histories.columns[chosen], np.ones(len(chosen), np.float32))


def _mean_by_user(values: Float64, rows: SparseRows) -> Float64:
    """Return the mean of the item values over each row: ndarray of shape (n_rows,), nan for an empty row."""
    owner = rows.owners
    total = np.bincount(owner, weights=values[rows.columns], minlength=len(rows))
    mean: Float64 = np.divide(total, rows.counts, out=np.full(len(rows), np.nan), where=rows.counts > 0)
    return mean


def _as_rows(lists: Int32) -> SparseRows:
    """Convert padded lists to sparse rows of items in the same order."""
    is_filled = lists >= 0
    return SparseRows.from_counts(is_filled.sum(axis=1), lists[is_filled], np.ones(int(is_filled.sum()), np.float32))
