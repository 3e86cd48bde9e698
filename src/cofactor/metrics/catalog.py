"""Catalog metrics for ranked lists: exposure, coverage, novelty and inequality.

Catalog metrics describe all lists together rather than individual users: how much of the catalog is shown, how popular
the shown items are, and how evenly exposure is distributed among them.

To add a metric, append a `CatalogMetric` to CATALOG_METRICS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int32, Int64
from cofactor.data.interactions import Kind
from cofactor.errors import DataError, ParameterError
from cofactor.metrics.base import Metric
from cofactor.validation import validated

__all__ = [
    "CATALOG_METRICS",
    "CatalogMetric",
    "ListExposure",
    "coverage",
    "exposure",
    "gini",
    "novelty",
    "require_counts",
]


@dataclass(frozen=True, eq=False)
class ListExposure:
    """Exposure of the catalog items in ranked lists, the input to catalog metrics.

    Attributes
    ----------
    list_counts : ndarray of shape (n_items,), float64
        Expected number of lists that contain each item.
    show_probability : ndarray of shape (n_items,), float64
        Probability that at least one list contains each item.
    support : ndarray of shape (n_items,), int64
        Number of training users for each item.
    n_users : int
        Number of training users.
    """

    list_counts: Float64
    show_probability: Float64
    support: Int64
    n_users: int


@dataclass(frozen=True, kw_only=True)
class CatalogMetric(Metric):
    """Metric of all ranked lists together; it has no per-user values and therefore no confidence interval.

    Attributes
    ----------
    function : callable
        Function that maps a `ListExposure` to a float.
    """

    function: Callable[[ListExposure], float]
    kind: ClassVar[Kind] = "events"
    has_interval: ClassVar[bool] = False


@validated
def exposure(ranked: Int32, n_items: int) -> Int64:
    """Count the ranked lists that contain each item.

    Parameters
    ----------
    ranked : ndarray of shape (n_users, n), int32
        Item row numbers, padded with -1.
    n_items : int
        Number of items in the catalog.

    Returns
    -------
    ndarray of shape (n_items,), int64
        Number of lists that contain each item; zeros if there are no lists.

    Raises
    ------
    DataError
        If `ranked` is not a two-dimensional array of row numbers, or contains a row number outside the catalog.
    ParameterError
        If `n_items` is not a nonnegative integer.

    Examples
    --------
    >>> exposure(np.array([[0, 1], [1, -1]]), 3)
    array([1, 2, 0])
    """
    checks.whole_number("n_items", n_items, low=0, high=MAX_ROWS)
    lists = checks.as_array(ranked)
    if lists.ndim != 2 or (lists.size and lists.dtype.kind not in "iu"):
        raise DataError(
            f"ranked must be a two-dimensional array of item row numbers, padded with -1; got {checks.describe(ranked)}"
        )
    rows = lists.ravel().astype(np.int64)
    is_invalid = (rows < -1) | (rows >= n_items)
    if is_invalid.any():
        raise DataError(
            f"`ranked` contains item row number {rows[is_invalid][0]}, "
            f"but row numbers must be less than n_items={n_items}"
        )
    return np.bincount(rows[rows >= 0], minlength=n_items)


@validated
def coverage(list_counts: Any) -> float:
    """Compute the fraction of the catalog items that are in at least one ranked list.

    Parameters
    ----------
    list_counts : array-like of shape (n_items,)
        Number of lists that contain each item (see `exposure`).

    Returns
    -------
    float
        Coverage between 0 and 1; 0 if there are no lists, nan if there are no items.

    Raises
    ------
    DataError
        If a count is negative or not finite.

    Examples
    --------
    >>> coverage(exposure(np.array([[0, 1], [1, -1]]), 4))
    0.5
    """
    counts = require_counts("list_counts", list_counts)
    return float(np.mean(counts > 0)) if len(counts) else np.nan


@validated
def novelty(list_counts: Any, support: Any, n_users: int) -> float:
    """Compute the mean self-information of the items in ranked lists, in bits.

    Parameters
    ----------
    list_counts : array-like of shape (n_items,)
        Number of lists that contain each item (see `exposure`).
    support : array-like of shape (n_items,)
        Number of training users for each item.
    n_users : int
        Number of training users.

    Returns
    -------
    float
        Novelty; high if the lists contain items with few users, nan if the lists are empty.

    Raises
    ------
    DataError
        If an item has more support than there are users, a count is negative or not finite, or `list_counts` and
        `support` differ in length.
    ParameterError
        If `n_users` is not a nonnegative integer.

    Notes
    -----
    The mean is taken over all positions in all lists:

        novelty = mean of -log2(support_i / n_users)

    An item without support would be infinitely novel; it is treated as if it had one user.

    References
    ----------
    Zhou et al. (2010), "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 107(10).

    Examples
    --------
    >>> novelty([1, 1], [8, 2], 8)
    1.0
    """
    checks.whole_number("n_users", n_users, low=0, high=MAX_ROWS)
    supports, list_counts = require_counts("support", support), require_counts("list_counts", list_counts)
    if len(list_counts) != len(supports):
        raise DataError(
            f"list_counts and support must have the same length; got {len(list_counts):,} and {len(supports):,}"
        )
    if (supports > n_users).any():
        raise DataError(f"support must be between 0 and n_users={n_users} for each item; got {supports.max():g}")
    if not np.any(list_counts):
        return np.nan
    self_information = np.log2(n_users) - np.log2(np.maximum(supports, 1))
    return float(np.average(self_information, weights=list_counts))


@validated
def gini(counts: Any) -> float:
    """Compute the Gini coefficient of item exposure.

    Parameters
    ----------
    counts : array-like of shape (n_items,)
        How often each item is shown, including items that are never shown (see `exposure`).

    Returns
    -------
    float
        Gini coefficient: 0 if all n items are shown equally often, (n - 1) / n if only one item is shown, and nan if
        there are no items or nothing is shown.

    Raises
    ------
    DataError
        If a count is negative or not finite.

    Notes
    -----
    With the counts in ascending order, x_(1) <= ... <= x_(n):

        G = sum_j (2 j - n - 1) x_(j) / (n sum_j x_(j)),    j = 1..n

    References
    ----------
    Gini (1912), "Variabilità e mutabilità"; in this form Sen (1973), "On Economic Inequality".

    Examples
    --------
    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    x = np.sort(require_counts("counts", counts))
    n = len(x)
    if n == 0 or x[-1] == 0:
        return np.nan
    shares = x / x.sum()
    return max(0.0, float(np.dot(2.0 * np.arange(1, n + 1) - n - 1, shares) / n))


@validated
def require_counts(name: str, values: Any) -> Float64:
    """Check that values are counts, and return them as float64.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array-like of shape (n,)
        Counts.

    Returns
    -------
    ndarray of shape (n,), float64
        Counts as float64.

    Raises
    ------
    DataError
        If the values are not a one-dimensional array of numbers, or a value is negative or not finite.

    Examples
    --------
    >>> require_counts("support", [3, 0])
    array([3., 0.])
    """
    try:
        return checks.number_array(name, values, (None,), low=0)
    except ParameterError as problem:
        raise DataError(str(problem)) from None


CATALOG_METRICS = (
    CatalogMetric(
        name="coverage", label="coverage", greater_is_better=True,
        function=lambda lists: float(np.mean(lists.show_probability)),
    ),
    CatalogMetric(
        name="novelty", label="novelty", greater_is_better=True, digits=2,
        function=lambda lists: novelty(lists.list_counts, lists.support, lists.n_users),
    ),
    CatalogMetric(name="gini", label="Gini", greater_is_better=False, function=lambda lists: gini(lists.list_counts)),
)  # fmt: skip
"""Catalog metrics, in the order shown in tables."""
