"""Mitigations of the feedback loop: row weights that limit heavy raters and popular items, and re-ranking of lists.

Item categories (genres, or clusters of items) are represented by shares in an array of shape (n_items, n_categories);
see `item_categories`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Bool, Float32, Float64, Int32, Int64
from cofactor.audit.user_clusters import cluster_users
from cofactor.checks import Seed
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import require_histories
from cofactor.recommender.recommender import Recommender
from cofactor.validation import require_valid_fields, validated

__all__ = [
    "CAUTIOUS",
    "PLAIN",
    "Mitigation",
    "all_mitigations",
    "calibrate_lists",
    "capped_weights",
    "categories_by_raters",
    "group_weights",
    "item_categories",
    "liked_categories",
    "propensity_weights",
    "spread_exposure",
]

MAX_WEIGHT_RATIO = 10.0
"""Propensity weights are clipped to between 1 / MAX_WEIGHT_RATIO and MAX_WEIGHT_RATIO times their mean."""
SMOOTHING = 0.99
"""Weight of the list's categories in the smoothed distribution; see `calibrate_lists`."""
RERANK_DEPTH = 10
"""Lists of n items are re-ranked from the top RERANK_DEPTH * n items."""
MAX_BLOCK_ELEMENTS = 1 << 22
"""Maximum number of array elements in a block during calibration; it does not affect the result."""
N_GROUPS = 10
"""Number of user groups or item categories if no column defines them."""

WeightFunction: TypeAlias = Callable[[Interactions], Interactions]
RankFunction: TypeAlias = Callable[[Recommender, Int32, int, np.random.Generator], Int32]


@dataclass(frozen=True)
class Mitigation:
    """Mitigation of the feedback loop: a change to the row weights of the training table, to the ranking, or to both.

    `all_mitigations` returns the measured ones. `PLAIN` changes nothing; `CAUTIOUS` requires a model with predictive
    distributions.

    Attributes
    ----------
    name : str
        Name that is shown in tables and figures.
    weigh : callable
        Function that takes a table and returns it with new weights; by default, the table is unchanged.
    rank : callable
        Function that takes a recommender, user row numbers of shape (m,), n and a random generator, and returns lists
        of shape (m, n), int32, padded with -1; by default, the top n items.

    Examples
    --------
    >>> Mitigation("down-weighted popular items", weigh=propensity_weights).name
    'down-weighted popular items'
    """

    name: str
    weigh: WeightFunction = lambda table: table
    rank: RankFunction = lambda rec, users, n, _: rec.for_rows(users).rank(n)[0]

    def __post_init__(self) -> None:
        require_valid_fields(self)


PLAIN = Mitigation("plain")
"""No mitigation: the table and the lists are unchanged."""

CAUTIOUS = Mitigation(
    "ranking by the lower bound", rank=lambda rec, users, n, _: rec.for_rows(users).rank(n, rank_by="lower")[0]
)
"""Rank by a lower quantile of the predictive distribution (bayesian-mf, for example); other models raise KindError."""


def all_mitigations(column: str | None = None) -> tuple[Mitigation, ...]:
    """Return the mitigations that work with every estimator for ratings.

    None of them requires labels of heavy raters or of the items that they rate.

    Parameters
    ----------
    column : str, optional
        Column of the item table with the item categories. By default, the categories are clusters of items (see
        `categories_by_raters`), which makes the mitigations that use categories less effective. If the item table has
        no such column, ranking raises DataError.

    Returns
    -------
    tuple of Mitigation
        The mitigations; benchmarks/heavy_raters.md measures the effect and the price of each on 12 synthetic data sets.
        Not all of them reduce the excess exposure.

    Examples
    --------
    >>> import cofactor
    >>> [mitigation.name for mitigation in cofactor.audit.all_mitigations()][:3]
    ['capped weight per user', 'user groups weighted by size', 'down-weighted popular items']
    """
    column = None if column is None else checks.text("column", column)

    def categories(rec: Recommender) -> Float64:
        return (
            categories_by_raters(rec.histories, len(rec.items))
            if column is None
            else item_categories(rec.item_table, column)
        )

    def spread_over_categories(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
        return spread_exposure(
            *rec.for_rows(users).rank(RERANK_DEPTH * n), n, len(rec.items), strength=1.0, categories=categories(rec)
        )

    def calibrate_to_history(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
        shares = categories(rec)
        return calibrate_lists(
            *rec.for_rows(users).rank(RERANK_DEPTH * n), n, shares, liked_categories(rec.histories, shares)[users]
        )

    return (
        Mitigation("capped weight per user", weigh=capped_weights),
        Mitigation("user groups weighted by size", weigh=_weight_clusters_by_size),
        Mitigation("down-weighted popular items", weigh=propensity_weights),
        Mitigation("exposure spread over items", rank=_spread_over_items),
        Mitigation("exposure spread over categories", rank=spread_over_categories),
        Mitigation("calibrated lists", rank=calibrate_to_history),
        Mitigation("random exploration of 20 %", rank=_explore),
    )


# Weights are rescaled to preserve the mean weight of the rows, because the models scale their penalties by row counts.


@validated
def capped_weights(interactions: Interactions, *, cap: float | None = None) -> Interactions:
    """Limit the total weight of each user's rows.

    Parameters
    ----------
    interactions : Interactions
        Table to weight. Existing weights are multiplied by the factor below.
    cap : float, optional
        Number of rows above which a user's rows are down-weighted; must be above 0. By default, the median number of
        rows per user.

    Returns
    -------
    Interactions
        The same rows with new weights that have the same mean; a table without rows is returned unchanged.

    Raises
    ------
    ParameterError
        `cap` is not above 0.

    Notes
    -----
    The factor for each of a user's n rows is min(1, cap / n).

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana"] * 4 + ["bo"], [1, 2, 3, 4, 1], [5, 4, 4, 2, 5])
    >>> weights = cofactor.audit.capped_weights(ratings, cap=2).weights
    >>> (weights / weights.max()).tolist(), round(float(weights.sum()), 4)
    ([0.5, 0.5, 0.5, 0.5, 1.0], 5.0)
    """
    counts = require_interactions("interactions", interactions).by_user.counts
    cap = None if cap is None else checks.finite_number("cap", cap, above=0)
    if len(interactions) == 0:
        return interactions
    cap = float(np.median(counts[counts > 0])) if cap is None else cap
    return _multiply_weights(interactions, np.minimum(1.0, cap / np.maximum(counts, 1))[interactions.u])


@validated
def group_weights(interactions: Interactions, groups: Any) -> Interactions:
    """Weight each group of users by its number of members instead of its number of ratings (post-stratification).

    Parameters
    ----------
    interactions : Interactions
        Table to weight. Existing weights are multiplied by the factor below.
    groups : array_like of shape (n_users,), int
        Group number for each user row, from 0; `cluster_users` can compute it.

    Returns
    -------
    Interactions
        The same rows with new weights that have the same mean. A single group changes nothing.

    Raises
    ------
    ParameterError
        `groups` does not contain one nonnegative integer for each user.

    Notes
    -----
    Users without rows are not counted. The factor for the rows of group g is::

        (users in g / all users) / (weight of the rows of g / weight of all rows)

    References
    ----------
    Holt & Smith (1979), "Post stratification", Journal of the Royal Statistical Society A.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["ana"] * 4 + ["bo"], [1, 2, 3, 4, 1], [5, 4, 4, 2, 5])
    >>> weights = cofactor.audit.group_weights(ratings, [0, 1]).weights
    >>> float(weights[:4].sum()), float(weights[4:].sum())
    (2.5, 2.5)
    """
    n_users = require_interactions("interactions", interactions).n_users
    labels = checks.whole_array("groups", groups, low=0, high=max(n_users - 1, 0), size=n_users)
    users = np.bincount(labels[interactions.by_user.counts > 0]).astype(np.float64)
    weight = np.bincount(labels[interactions.u], weights=interactions.weights, minlength=len(users)).astype(np.float64)
    factor = (users / users.sum()) / np.maximum(weight / max(weight.sum(), 1e-12), 1e-12)
    return _multiply_weights(interactions, factor[labels[interactions.u]])


@validated
def propensity_weights(interactions: Interactions, *, power: float = 0.5) -> Interactions:
    """Down-weight the rows of popular items by their inverse propensity.

    Parameters
    ----------
    interactions : Interactions
        Table to weight. Existing weights are multiplied by the factor below.
    power : float, default 0.5
        Exponent between 0 and 1; 0 changes nothing.

    Returns
    -------
    Interactions
        The same rows with new weights that have the same mean; a table without rows is returned unchanged.

    Raises
    ------
    ParameterError
        `power` is outside 0..1.

    Notes
    -----
    The propensity of a rating is assumed to grow with the support of the item. The factor for a row of item i is
    support_i^-power, clipped to between 1/10 and 10 times the mean factor.

    References
    ----------
    Schnabel et al. (2016), "Recommendations as treatments: debiasing learning and evaluation", ICML.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 2, 3, 4, 1], [7, 7, 7, 7, 8], [5, 4, 4, 2, 5])
    >>> weights = cofactor.audit.propensity_weights(ratings).weights
    >>> ratings.frame()["item"].to_list(), (weights / weights.max()).tolist()
    ([7, 8, 7, 7, 7], [0.5, 1.0, 0.5, 0.5, 0.5])
    """
    require_interactions("interactions", interactions)
    power = checks.finite_number("power", power, low=0, high=1)
    if len(interactions) == 0:
        return interactions
    support = np.bincount(interactions.i, minlength=interactions.n_items)[interactions.i].astype(np.float64)
    weights = support**-power
    return _multiply_weights(interactions, np.clip(weights / weights.mean(), 1 / MAX_WEIGHT_RATIO, MAX_WEIGHT_RATIO))


# Item categories and re-ranking


@validated
def item_categories(table: pl.DataFrame | None, column: str) -> Float64:
    """Compute category shares from a column of the item table.

    Parameters
    ----------
    table : pl.DataFrame
        Item table: one row per item, with the IDs in the first column.
    column : str
        Column with the categories; see `data.features.indicators`.

    Returns
    -------
    ndarray of shape (n_items, n_categories), float64
        Category shares; if an item has three categories, each counts as one third. A row sums to 1, or to 0 for an
        item without categories.

    Raises
    ------
    DataError
        There is no table, or it has no such column.

    Examples
    --------
    >>> item_categories(pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", "War"]}), "genres").tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    if table is not None:
        checks.instance("table", table, pl.DataFrame, "pass the item_table of the interactions")
    categories = indicators(table, [checks.text("column", column)], "item")
    assert table is not None
    return categories.shares(len(table))


@validated
def categories_by_raters(
    histories: SparseRows, n_items: int, *, n_categories: int = N_GROUPS, seed: Seed = 0
) -> Float64:
    """Cluster items based on their raters, for use as categories if no column defines them.

    Parameters
    ----------
    histories : SparseRows with n_users rows
        Items of each user.
    n_items : int
        Number of items.
    n_categories : int, default 10
        Number of clusters; fewer if not enough items have ratings.
    seed : int, Generator or None, default 0
        Seed for the clustering; see `cluster_users`.

    Returns
    -------
    ndarray of shape (n_items, n_categories), float64
        One-hot cluster of each item. Items without ratings are in the largest cluster.

    Raises
    ------
    ParameterError
        `n_categories` is below 1.
    DataError
        The histories contain item rows beyond `n_items`, or no ratings.

    Examples
    --------
    >>> rows = SparseRows.of([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 2, 3, 2, 3], [1] * 8, n_rows=4)
    >>> categories = categories_by_raters(rows, 4, n_categories=2)
    >>> categories.shape, bool((categories[0] == categories[1]).all()), bool((categories[0] == categories[2]).all())
    ((4, 2), True, False)
    """
    n_categories = checks.whole_number("n_categories", n_categories, low=1)
    n_items = checks.whole_number("n_items", n_items, low=1, high=MAX_ROWS)
    require_histories(histories, n_items)
    seed = checks.seed(seed)
    raters = histories.transpose(n_items)
    n_categories = min(n_categories, int((raters.counts > 0).sum()))
    if n_categories == 0:
        raise DataError(
            "`histories` contains no ratings, so items cannot be clustered; use item_categories with a column of the "
            "item table"
        )
    categories: Float64 = np.eye(n_categories)[cluster_users(raters, len(histories), n_groups=n_categories, seed=seed)]
    return categories


@validated
def liked_categories(histories: SparseRows, categories: Float64) -> Float64:
    """Compute category shares of the items that each user rated at or above their mean rating.

    Parameters
    ----------
    histories : SparseRows with n_users rows
        Ratings of each user.
    categories : ndarray of shape (n_items, n_categories)
        Category shares of the items; see `item_categories`.

    Returns
    -------
    ndarray of shape (n_users, n_categories), float64
        Rows sum to 1; a row is all zeros if the user has no ratings or the liked items have no categories.

    Raises
    ------
    DataError
        The histories contain item rows beyond the rows of `categories`.

    Examples
    --------
    >>> rows = SparseRows.of([0, 0, 0], [0, 1, 2], [5, 5, 1], n_rows=2)
    >>> liked_categories(rows, np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    categories = checks.number_array("categories", categories, (None, None))
    try:
        require_histories(histories, len(categories))
    except DataError as problem:
        raise DataError(f"{problem}; categories has {len(categories):,} rows, one per item") from None
    owner = histories.owners
    total = np.bincount(owner, weights=histories.values, minlength=len(histories))
    is_liked = histories.values >= (total / np.maximum(histories.counts, 1)).astype(np.float32)[owner]
    mix = np.zeros((len(histories), categories.shape[1]))
    np.add.at(mix, owner[is_liked], categories[histories.columns[is_liked]])
    size = mix.sum(axis=1, keepdims=True)
    shares: Float64 = np.divide(mix, size, out=mix, where=size > 0)
    return shares


@validated
def calibrate_lists(
    lists: Int32, scores: Float32, n: int, categories: Float64, target_shares: Float64, *, strength: float = 0.5
) -> Int32:
    """Re-rank lists so that their category shares match the target shares for each user.

    Parameters
    ----------
    lists : ndarray of shape (n_users, m), int32
        Candidate items as returned by `Recommender.rank`, padded with -1.
    scores : ndarray of shape (n_users, m), float32
        Scores of the candidates, padded with -inf.
    n : int
        Length of the new lists, at least 1; at most m items are returned.
    categories : ndarray of shape (n_items, n_categories)
        Category shares of the items; see `item_categories`.
    target_shares : ndarray of shape (n_users, n_categories)
        Target category shares for each user; see `liked_categories`. Rows sum to 1, or to 0 for users without a
        preference.
    strength : float, default 0.5
        Weight of the calibration, from 0 (order by score) to 1.

    Returns
    -------
    ndarray of shape (n_users, n), int32
        Items in the order in which they were picked, padded with -1; empty if there are no lists.

    Raises
    ------
    ParameterError
        `strength` is outside 0..1, or `lists`, `scores`, `categories` and `target_shares` do not match.

    Notes
    -----
    Items are picked greedily; ties go to the first position::

        pick = argmax_i  (1 - strength) relevance_i - strength KL(target || mix of the picks and i)

    The relevance is the score scaled to 0..1 over the user's candidates. The mix is smoothed as 0.99 mix + 0.01 target,
    which keeps the divergence finite.

    References
    ----------
    Steck (2018), "Calibrated recommendations", RecSys.

    Examples
    --------
    >>> lists, scores = np.array([[0, 1, 2, 3]], np.int32), np.array([[4, 3, 2, 1]], np.float32)
    >>> categories, target = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float), np.array([[0.5, 0.5]])
    >>> calibrate_lists(lists, scores, 2, categories, target, strength=0).tolist()
    [[0, 1]]
    >>> calibrate_lists(lists, scores, 2, categories, target).tolist()
    [[0, 2]]
    """
    strength, n = checks.finite_number("strength", strength, low=0, high=1), checks.whole_number("n", n, low=1)
    categories = checks.number_array("categories", categories, (None, None))
    lists, scores = _checked_lists(lists, scores, len(categories))
    target_shares = checks.number_array("target_shares", target_shares, (len(lists), categories.shape[1]))
    n = min(n, lists.shape[1])
    picks = np.empty((len(lists), n), np.int32)
    block_size = max(1, MAX_BLOCK_ELEMENTS // max(lists.shape[1] * categories.shape[1], 1))
    for start in range(0, len(lists), block_size):
        rows = slice(start, start + block_size)
        valid = lists[rows] >= 0
        relevance = (1 - strength) * _relevance(scores[rows], valid)
        candidate_categories = categories[np.maximum(lists[rows], 0)]
        positions = _greedy_picks(relevance, valid, candidate_categories, target_shares[rows], n, strength)
        picks[rows] = np.take_along_axis(lists[rows], positions, axis=1)
    return picks


@validated
def spread_exposure(
    lists: Int32, scores: Float32, n: int, n_items: int, *, strength: float, categories: Float64 | None = None
) -> Int32:
    """Re-rank lists with a penalty on items that are recommended often.

    Parameters
    ----------
    lists : ndarray of shape (n_users, m), int32
        Candidate items as returned by `Recommender.rank`, padded with -1.
    scores : ndarray of shape (n_users, m), float32
        Scores of the candidates, padded with -inf.
    n : int
        Length of the new lists, at least 1; at most m items are returned.
    n_items : int
        Number of items.
    strength : float
        Weight of the penalty, at least 0 (order by score).
    categories : ndarray of shape (n_items, n_categories), optional
        Category shares of the items. If given, items are penalized for the exposure of their categories.

    Returns
    -------
    ndarray of shape (n_users, n), int32
        Items in the new order, padded with -1; empty if there are no lists.

    Raises
    ------
    ParameterError
        `strength` is below 0, or `lists`, `scores` and `categories` do not match.

    Notes
    -----
    Items are ordered by z_ui - strength ln(1 + shown_i / mean), where z_ui is the score standardized over the user's
    candidates and shown_i is the number of times that the item is in the first n positions of the original lists. With
    `categories`, shown_i is the count for an average item in the same categories.

    Examples
    --------
    >>> lists = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 3]], np.int32)
    >>> scores = np.array([[4.0, 3.9, 2.0]] * 3, np.float32)
    >>> spread_exposure(lists, scores, 1, 4, strength=0).tolist()
    [[0], [0], [0]]
    >>> spread_exposure(lists, scores, 1, 4, strength=1).tolist()
    [[1], [2], [1]]
    """
    strength, n = checks.finite_number("strength", strength, low=0), checks.whole_number("n", n, low=1)
    n_items = checks.whole_number("n_items", n_items, low=1, high=MAX_ROWS)
    lists, scores = _checked_lists(lists, scores, n_items)
    categories = None if categories is None else checks.number_array("categories", categories, (n_items, None))
    top_lists = lists[:, :n]
    shown = np.bincount(top_lists[top_lists >= 0], minlength=n_items).astype(np.float64)
    mean = max(shown.mean(), 1e-12)
    if categories is None:
        penalty = np.log1p(shown / mean)
    else:
        penalty = categories @ np.log1p(shown @ categories / np.maximum(categories.sum(axis=0), 1e-12) / mean)
    valid = lists >= 0
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    finite_scores = np.where(valid, scores, 0).astype(np.float64)
    centered_scores = np.where(valid, finite_scores - finite_scores.sum(axis=1, keepdims=True) / counts, 0)
    z = centered_scores / np.maximum(np.sqrt(np.square(centered_scores).sum(axis=1, keepdims=True) / counts), 1e-12)
    values = np.where(valid, z - strength * penalty[np.maximum(lists, 0)], -np.inf)
    order = np.argsort(-values, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(lists, order, axis=1)


def _checked_lists(lists: Any, scores: Any, n_items: int) -> tuple[Int32, Float32]:
    """Validate lists and scores of shape (n_users, m), as returned by `Recommender.rank`; raise ParameterError."""
    rows, values = checks.as_array(lists), checks.as_array(scores)
    if rows.ndim != 2:
        raise ParameterError(
            "lists must be an array of item row numbers of shape (n_users, m), one row per user; got "
            f"{checks.describe(lists)}"
        )
    rows = checks.row_numbers("lists", rows.ravel(), n_items, unknown=True).reshape(rows.shape)
    if values.shape != rows.shape or values.dtype.kind not in "iuf" or np.isnan(values).any():
        raise ParameterError(
            f"scores must not contain nan and must have the same shape as lists, {rows.shape}; got "
            f"{checks.describe(scores)}"
        )
    return rows, values.astype(np.float32)


def _multiply_weights(interactions: Interactions, factor: Float64) -> Interactions:
    """Multiply the weights by a factor of shape (n_rows,), and rescale them to preserve their sum."""
    old_weights = np.ones(len(factor)) if interactions.weights is None else interactions.weights.astype(np.float64)
    new_weights = old_weights * factor
    total = new_weights.sum()
    return interactions.with_weights(
        (new_weights * (old_weights.sum() / total if total > 0 else 1.0)).astype(np.float32)
    )


def _weight_clusters_by_size(table: Interactions) -> Interactions:
    n_groups = min(N_GROUPS, int((table.by_user.counts > 0).sum()))
    return group_weights(table, cluster_users(table.by_user, table.n_items, n_groups=n_groups))


def _relevance(scores: Float32, valid: Bool) -> Float64:
    """Scale the scores to 0..1 over the candidates in each row; 0 where there is no candidate."""
    low = np.where(valid, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(valid, scores, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    score_range = np.where(high > low, high - low, 1)
    return np.where(valid, np.where(valid, scores, 0) - np.where(valid, low, 0), 0) / score_range.astype(np.float64)


def _greedy_picks(
    relevance: Float64, is_valid: Bool, candidate_categories: Float64, target_shares: Float64, n: int, strength: float
) -> Int64:
    """Return the positions that `calibrate_lists` picks: ndarray of shape (m, n).

    `relevance` and `is_valid` have shape (m, c), `candidate_categories` has shape (m, c, n_categories), and
    `target_shares` has shape (m, n_categories).
    """
    is_valid, rows = is_valid.copy(), np.arange(len(candidate_categories))
    target, picked_sums = (
        target_shares[:, None, :],
        np.zeros((len(candidate_categories), 1, candidate_categories.shape[2])),
    )
    picks = np.empty((len(candidate_categories), n), np.int64)
    for k in range(n):
        mix = SMOOTHING * (picked_sums + candidate_categories) / (k + 1) + (1 - SMOOTHING) * target
        closeness = np.matmul(np.log(np.maximum(mix, 1e-300)), target_shares[:, :, None])[
            :, :, 0
        ]  # -KL up to a constant
        best_column = np.where(is_valid, relevance + strength * closeness, -np.inf).argmax(axis=1)
        is_exhausted = ~is_valid.any(axis=1)  # position k then holds no item
        picks[:, k] = np.where(is_exhausted, k, best_column)
        is_valid[rows, best_column] = False
        picked_sums[:, 0] += candidate_categories[rows, best_column]
    return picks


def _spread_over_items(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
    return spread_exposure(*rec.for_rows(users).rank(RERANK_DEPTH * n), n, len(rec.items), strength=0.5)


def _explore(rec: Recommender, users: Int32, n: int, stream: np.random.Generator) -> Int32:
    """Fill the last fifth of the positions with random items from the top half of the ranked catalog."""
    lists, _ = rec.for_rows(users).rank(max(n, len(rec.items) // 2))
    n_fixed = n - n // 5
    keys = stream.random(lists.shape)
    keys[:, :n_fixed] = -1
    keys[lists < 0] = 2
    order = np.argsort(keys, axis=1, kind="stable")[:, :n]
    order[:, :n_fixed] = np.arange(n_fixed)
    return np.take_along_axis(lists, order, axis=1)
