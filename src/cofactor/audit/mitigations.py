"""Mitigations of the feedback loop: row weights that limit heavy raters and popular items, and re-ranked lists.

Item categories (genres, or clusters of items) are arrays of shape (n_items, n_categories) of shares, see
`item_categories`.
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
    "calibrated",
    "capped_weights",
    "categories_by_raters",
    "group_weights",
    "item_categories",
    "liked_categories",
    "propensity_weights",
    "spread",
]

CLIP = 10.0
"""Propensity weights are clipped to the range from 1 / CLIP to CLIP times their mean."""
SMOOTHING = 0.99
"""Weight of the list's categories in the smoothed distribution, see `calibrated`."""
DEPTH = 10
"""Lists of n items are re-ranked from the best DEPTH n items."""
CELLS = 1 << 22
"""Maximum number of array elements in memory during calibration; does not affect the result."""
N_GROUPS = 10
"""Number of groups of users, or of items, where no column defines them."""

Weigh: TypeAlias = Callable[[Interactions], Interactions]
Rank: TypeAlias = Callable[[Recommender, Int32, int, np.random.Generator], Int32]


@dataclass(frozen=True)
class Mitigation:
    """Mitigation of the feedback loop: a change of the training table, of the ranking, or of both.

    `all_mitigations` returns those that have been tested. `PLAIN` changes nothing; `CAUTIOUS` needs predictive
    distributions.

    Attributes
    ----------
    name : str
        Name in tables and figures.
    weigh : callable
        Function of a table that returns the same table with weights; by default, the table unchanged.
    rank : callable
        Function of a recommender, user rows of shape (m,), n and a random generator that returns lists of shape (m, n),
        int32, with -1 after the end of a shorter list; by default, the n best items.

    Examples
    --------
    >>> Mitigation("down-weighted popular items", weigh=propensity_weights).name
    'down-weighted popular items'
    """

    name: str
    weigh: Weigh = lambda table: table
    rank: Rank = lambda rec, users, n, _: rec.for_rows(users).rank(n)[0]

    def __post_init__(self) -> None:
        require_valid_fields(self)


PLAIN = Mitigation("plain")
"""No mitigation: the table and the lists stay as they are."""

CAUTIOUS = Mitigation(
    "ranking by the lower bound", rank=lambda rec, users, n, _: rec.for_rows(users).rank(n, rank_by="lower")[0]
)
"""Ranking by the lower end of the predictive distribution, e.g. of bayesian-mf; other models raise KindError."""


def all_mitigations(column: str | None = None) -> tuple[Mitigation, ...]:
    """Return the mitigations that work with every estimator of ratings.

    None of them needs to know which users are heavy raters, or of which items.

    Parameters
    ----------
    column : str, optional
        Column of the item table with the item categories. By default, the categories are clusters of items, see
        `categories_by_raters`; the mitigations that use categories are then less effective. If the item table has no
        such column, DataError is raised when lists are made.

    Returns
    -------
    tuple of Mitigation
        Measured on 20 synthetic data sets in benchmarks/heavy_raters.md, together with those that do not help.

    Examples
    --------
    >>> import cofactor
    >>> [mitigation.name for mitigation in cofactor.audit.all_mitigations()][:3]
    ['capped weight per user', 'taste groups count by people', 'popular items weigh less']
    """
    column = None if column is None else checks.text("column", column)

    def categories(rec: Recommender) -> Float64:
        return (
            categories_by_raters(rec.histories, len(rec.items))
            if column is None
            else item_categories(rec.item_table, column)
        )

    def spread_categories(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
        return spread(*rec.for_rows(users).rank(DEPTH * n), n, len(rec.items), strength=1.0, categories=categories(rec))

    def calibrate(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
        shares = categories(rec)
        return calibrated(
            *rec.for_rows(users).rank(DEPTH * n), n, shares, liked_categories(rec.histories, shares)[users]
        )

    return (
        Mitigation("capped weight per user", weigh=capped_weights),
        Mitigation("taste groups count by people", weigh=_by_members),
        Mitigation("popular items weigh less", weigh=propensity_weights),
        Mitigation("exposure spread over items", rank=_spread_items),
        Mitigation("exposure spread over categories", rank=spread_categories),
        Mitigation("lists calibrated to what one likes", rank=calibrate),
        Mitigation("two places in ten explore", rank=_explore),
    )


# Weights are scaled to keep the mean weight of the rows, because the penalties of the models count rows.


@validated
def capped_weights(interactions: Interactions, *, cap: float | None = None) -> Interactions:
    """Limit the total weight of each user.

    Parameters
    ----------
    interactions : Interactions
        Table to weight. Existing weights are multiplied by the factor below.
    cap : float, optional
        Number of rows above which a user's rows are down-weighted, above 0; by default, the median number of rows
        per user.

    Returns
    -------
    Interactions
        The same rows with new weights of the same mean; a table without rows is returned unchanged.

    Raises
    ------
    ParameterError
        `cap` is not above 0.

    Notes
    -----
    The factor of each of a user's n rows is min(1, cap / n).

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
        Group of each user row, from 0, e.g. from `cluster_users`.

    Returns
    -------
    Interactions
        The same rows with new weights of the same mean. A single group changes nothing.

    Raises
    ------
    ParameterError
        `groups` does not have one whole number from 0 for each user.

    Notes
    -----
    The factor of the rows of group g, where users without rows are not counted, is::

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
    """Down-weight the rows of popular items by inverse propensity.

    Parameters
    ----------
    interactions : Interactions
        Table to weight. Existing weights are multiplied by the factor below.
    power : float, default 0.5
        Exponent between 0 and 1; 0 changes nothing.

    Returns
    -------
    Interactions
        The same rows with new weights of the same mean; a table without rows is returned unchanged.

    Raises
    ------
    ParameterError
        `power` is outside 0..1.

    Notes
    -----
    The propensity of a rating is assumed to grow with the support of the item. The factor of a row of item i is
    support_i^-power, clipped to the range from 1/10 to 10 times the mean factor.

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
    return _multiply_weights(interactions, np.clip(weights / weights.mean(), 1 / CLIP, CLIP))


# Item categories and re-ranked lists


@validated
def item_categories(table: pl.DataFrame | None, column: str) -> Float64:
    """Read the item categories from a column of the item table.

    Parameters
    ----------
    table : pl.DataFrame
        One row per item, ids in the first column.
    column : str
        Column with the categories, see `data.features.indicators`.

    Returns
    -------
    ndarray of shape (n_items, n_categories), float64
        Category shares: each of three categories of an item counts one third. A row sums to 1, or to 0 for an item
        without categories.

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
    """Cluster items by their raters, to use the clusters as categories where no column defines them.

    Parameters
    ----------
    histories : SparseRows of n_users rows
        Items of each user.
    n_items : int
        Number of items.
    n_categories : int, default 10
        Number of clusters; fewer if fewer items were rated.
    seed : int, Generator or None, default 0
        Seed of the clustering, see `cluster_users`.

    Returns
    -------
    ndarray of shape (n_items, n_categories), float64
        One 1 in each row. Items without ratings are in the largest cluster.

    Raises
    ------
    ParameterError
        `n_categories` is below 1.
    DataError
        The histories have items beyond `n_items`, or no item was rated.

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
            "histories has no ratings, so items cannot be clustered by their raters; name a column of the item table"
        )
    categories: Float64 = np.eye(n_categories)[cluster_users(raters, len(histories), n_groups=n_categories, seed=seed)]
    return categories


@validated
def liked_categories(histories: SparseRows, categories: Float64) -> Float64:
    """Category shares of the items that each user rated at or above the mean of their ratings.

    Parameters
    ----------
    histories : SparseRows of n_users rows
        Ratings of each user.
    categories : ndarray of shape (n_items, n_categories)
        Category shares of the items, see `item_categories`.

    Returns
    -------
    ndarray of shape (n_users, n_categories), float64
        Rows sum to 1; a row is 0 for a user without ratings or whose liked items have no categories.

    Raises
    ------
    DataError
        `categories` has fewer rows than the histories have items.

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
        raise DataError(f"{problem}; categories has {len(categories):,} rows, one for each item") from None
    owner = histories.owners
    total = np.bincount(owner, weights=histories.values, minlength=len(histories))
    liked = histories.values >= (total / np.maximum(histories.counts, 1)).astype(np.float32)[owner]
    mix = np.zeros((len(histories), categories.shape[1]))
    np.add.at(mix, owner[liked], categories[histories.columns[liked]])
    size = mix.sum(axis=1, keepdims=True)
    shares: Float64 = np.divide(mix, size, out=mix, where=size > 0)
    return shares


@validated
def calibrated(
    lists: Int32, scores: Float32, n: int, categories: Float64, wanted: Float64, *, strength: float = 0.5
) -> Int32:
    """Re-rank lists so that their categories match the shares that each user wants.

    Parameters
    ----------
    lists : ndarray of shape (n_users, m), int32
        Candidate items as returned by `Recommender.rank`, -1 after the end of a shorter list.
    scores : ndarray of shape (n_users, m), float32
        Scores of the candidates, -inf after the end of a shorter list.
    n : int
        Length of the new lists, at least 1; at most m items are returned.
    categories : ndarray of shape (n_items, n_categories)
        Category shares of the items, see `item_categories`.
    wanted : ndarray of shape (n_users, n_categories)
        Category shares that each user wants, see `liked_categories`. Rows sum to 1, or to 0 for users without a
        preference.
    strength : float, default 0.5
        Weight of the calibration between 0 (order of the scores) and 1.

    Returns
    -------
    ndarray of shape (n_users, n), int32
        Items in the order of the picks, -1 after the end of a shorter list; empty without lists.

    Raises
    ------
    ParameterError
        `strength` is outside 0..1, or `lists`, `scores`, `categories` and `wanted` do not match.

    Notes
    -----
    Items are picked greedily; the first position wins ties::

        pick = argmax_i  (1 - strength) relevance_i - strength KL(wanted || mix of the picks and i)

    The relevance is the score scaled to 0..1 over the user's candidates. The mix is smoothed as 0.99 mix + 0.01 wanted,
    which keeps the divergence finite.

    References
    ----------
    Steck (2018), "Calibrated recommendations", RecSys.

    Examples
    --------
    >>> lists, scores = np.array([[0, 1, 2, 3]], np.int32), np.array([[4, 3, 2, 1]], np.float32)
    >>> categories, wanted = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float), np.array([[0.5, 0.5]])
    >>> calibrated(lists, scores, 2, categories, wanted, strength=0).tolist()
    [[0, 1]]
    >>> calibrated(lists, scores, 2, categories, wanted).tolist()
    [[0, 2]]
    """
    strength, n = checks.finite_number("strength", strength, low=0, high=1), checks.whole_number("n", n, low=1)
    categories = checks.number_array("categories", categories, (None, None))
    lists, scores = _checked_lists(lists, scores, len(categories))
    wanted = checks.number_array("wanted", wanted, (len(lists), categories.shape[1]))
    n = min(n, lists.shape[1])
    picks = np.empty((len(lists), n), np.int32)
    block = max(1, CELLS // max(lists.shape[1] * categories.shape[1], 1))
    for first in range(0, len(lists), block):
        part = slice(first, first + block)
        valid = lists[part] >= 0
        relevance = (1 - strength) * _relevance(scores[part], valid)
        candidate_kinds = categories[np.maximum(lists[part], 0)]
        positions = _greedy_picks(relevance, valid, candidate_kinds, wanted[part], n, strength)
        picks[part] = np.take_along_axis(lists[part], positions, axis=1)
    return picks


@validated
def spread(
    lists: Int32, scores: Float32, n: int, n_items: int, *, strength: float, categories: Float64 | None = None
) -> Int32:
    """Re-rank lists with a penalty on items that are shown often.

    Parameters
    ----------
    lists : ndarray of shape (n_users, m), int32
        Candidate items as returned by `Recommender.rank`, -1 after the end of a shorter list.
    scores : ndarray of shape (n_users, m), float32
        Scores of the candidates, -inf after the end of a shorter list.
    n : int
        Length of the new lists, at least 1; at most m items are returned.
    n_items : int
        Number of items.
    strength : float
        Weight of the penalty, from 0 (order of the scores).
    categories : ndarray of shape (n_items, n_categories), optional
        Category shares of the items. If given, an item is penalized by the exposure of its categories.

    Returns
    -------
    ndarray of shape (n_users, n), int32
        Items in their new order, -1 after the end of a shorter list; empty without lists.

    Raises
    ------
    ParameterError
        `strength` is below 0, or `lists`, `scores` and `categories` do not match.

    Notes
    -----
    Items are ordered by z_ui - strength ln(1 + shown_i / mean), where z_ui is the score standardized over the user's
    candidates and shown_i counts the item in the first n positions of the original lists. With `categories`, shown_i is
    the count of an average item of the same categories.

    Examples
    --------
    >>> lists = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 3]], np.int32)
    >>> scores = np.array([[4.0, 3.9, 2.0]] * 3, np.float32)
    >>> spread(lists, scores, 1, 4, strength=0).tolist(), spread(lists, scores, 1, 4, strength=1).tolist()
    ([[0], [0], [0]], [[1], [2], [1]])
    """
    strength, n = checks.finite_number("strength", strength, low=0), checks.whole_number("n", n, low=1)
    n_items = checks.whole_number("n_items", n_items, low=1, high=MAX_ROWS)
    lists, scores = _checked_lists(lists, scores, n_items)
    categories = None if categories is None else checks.number_array("categories", categories, (n_items, None))
    top = lists[:, :n]
    shown = np.bincount(top[top >= 0], minlength=n_items).astype(np.float64)
    mean = max(shown.mean(), 1e-12)
    if categories is None:
        penalty = np.log1p(shown / mean)
    else:
        penalty = categories @ np.log1p(shown @ categories / np.maximum(categories.sum(axis=0), 1e-12) / mean)
    valid = lists >= 0
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    finite = np.where(valid, scores, 0).astype(np.float64)
    centered = np.where(valid, finite - finite.sum(axis=1, keepdims=True) / counts, 0)
    z = centered / np.maximum(np.sqrt(np.square(centered).sum(axis=1, keepdims=True) / counts), 1e-12)
    values = np.where(valid, z - strength * penalty[np.maximum(lists, 0)], -np.inf)
    order = np.argsort(-values, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(lists, order, axis=1)


def _checked_lists(lists: Any, scores: Any, n_items: int) -> tuple[Int32, Float32]:
    """Validate lists and scores of shape (n_users, m), as `Recommender.rank` returns. Raises ParameterError."""
    rows, values = checks.as_array(lists), checks.as_array(scores)
    if rows.ndim != 2:
        raise ParameterError(
            f"lists must be item rows of shape (n_users, m), one list for each user; got {checks.describe(lists)}"
        )
    rows = checks.row_numbers("lists", rows.ravel(), n_items, unknown=True).reshape(rows.shape)
    if values.shape != rows.shape or values.dtype.kind not in "iuf" or np.isnan(values).any():
        raise ParameterError(
            f"scores must be numbers of the shape of lists, {rows.shape}, without nan; got {checks.describe(scores)}"
        )
    return rows, values.astype(np.float32)


def _multiply_weights(interactions: Interactions, factor: Float64) -> Interactions:
    """Multiply the weights by a factor of shape (n_rows,), scaled to preserve their sum."""
    before = np.ones(len(factor)) if interactions.weights is None else interactions.weights.astype(np.float64)
    after = before * factor
    total = after.sum()
    return interactions.with_weights((after * (before.sum() / total if total > 0 else 1.0)).astype(np.float32))


def _by_members(table: Interactions) -> Interactions:
    n_groups = min(N_GROUPS, int((table.by_user.counts > 0).sum()))
    return group_weights(table, cluster_users(table.by_user, table.n_items, n_groups=n_groups))


def _relevance(scores: Float32, valid: Bool) -> Float64:
    """Scale the scores to 0..1 over the candidates of each row; 0 where there is no candidate."""
    low = np.where(valid, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(valid, scores, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    span = np.where(high > low, high - low, 1)
    return np.where(valid, np.where(valid, scores, 0) - np.where(valid, low, 0), 0) / span.astype(np.float64)


def _greedy_picks(
    relevance: Float64, valid: Bool, candidate_kinds: Float64, wanted: Float64, n: int, strength: float
) -> Int64:
    """Positions of the picks of `calibrated`: (m, n).

    `relevance` and `valid` have shape (m, c), `candidate_kinds` (m, c, n_categories) and `wanted` (m, n_categories).
    """
    valid, rows = valid.copy(), np.arange(len(candidate_kinds))
    target, picked = wanted[:, None, :], np.zeros((len(candidate_kinds), 1, candidate_kinds.shape[2]))
    picks = np.empty((len(candidate_kinds), n), np.int64)
    for k in range(n):
        mix = SMOOTHING * (picked + candidate_kinds) / (k + 1) + (1 - SMOOTHING) * target
        closeness = np.matmul(np.log(np.maximum(mix, 1e-300)), wanted[:, :, None])[:, :, 0]  # -KL up to a constant
        pick = np.where(valid, relevance + strength * closeness, -np.inf).argmax(axis=1)
        exhausted = ~valid.any(axis=1)  # position k then holds no item
        picks[:, k] = np.where(exhausted, k, pick)
        valid[rows, pick] = False
        picked[:, 0] += candidate_kinds[rows, pick]
    return picks


def _spread_items(rec: Recommender, users: Int32, n: int, _: np.random.Generator) -> Int32:
    return spread(*rec.for_rows(users).rank(DEPTH * n), n, len(rec.items), strength=0.5)


def _explore(rec: Recommender, users: Int32, n: int, stream: np.random.Generator) -> Int32:
    """Fill the last fifth of the positions with items drawn at random from the better half of the catalog."""
    lists, _ = rec.for_rows(users).rank(max(n, len(rec.items) // 2))
    fixed = n - n // 5
    keys = stream.random(lists.shape)
    keys[:, :fixed] = -1
    keys[lists < 0] = 2
    order = np.argsort(keys, axis=1, kind="stable")[:, :n]
    order[:, :fixed] = np.arange(fixed)
    return np.take_along_axis(lists, order, axis=1)
