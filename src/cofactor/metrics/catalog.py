"""Catalog metrics of ranked lists: exposure, coverage, novelty and inequality.

They describe all lists together, not one user: how much of the catalog is shown, how popular the shown items are, and
how evenly the lists show them.

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
    """What ranked lists show of the catalog: the input of catalog metrics.

    Attributes
    ----------
    list_counts : ndarray of shape (n_items,), float64
        Expected number of lists that show each item.
    show_probability : ndarray of shape (n_items,), float64
        Probability that at least one list shows the item.
    support : ndarray of shape (n_items,), int64
        Number of users who have each item in training.
    n_users : int
        Number of users in training.
    """

    list_counts: Float64
    show_probability: Float64
    support: Int64
    n_users: int


@dataclass(frozen=True, kw_only=True)
class CatalogMetric(Metric):
    """A metric of all ranked lists together; it has no values per user, and so no interval.

    Attributes
    ----------
    function : callable
        Function of a `ListExposure` that returns a float.
    """

    function: Callable[[ListExposure], float]
    kind: ClassVar[Kind] = "events"
    has_interval: ClassVar[bool] = False


@validated
def exposure(ranked: Int32, n_items: int) -> Int64:
    """Count the lists that show each item.

    Parameters
    ----------
    ranked : ndarray of shape (n_users, n), int32
        Item rows, -1 where a list ends early.
    n_items : int
        Number of items in the catalog.

    Returns
    -------
    ndarray of shape (n_items,), int64
        Number of lists per item; zeros if there are no lists.

    Raises
    ------
    DataError
        If `ranked` is not a table of item rows or holds a row outside the catalog.
    ParameterError
        If `n_items` is not a whole number from 0 on.

    Examples
    --------
    >>> exposure(np.array([[0, 1], [1, -1]]), 3)
    array([1, 2, 0])
    """
    checks.whole_number("n_items", n_items, low=0, high=MAX_ROWS)
    lists = checks.as_array(ranked)
    if lists.ndim != 2 or (lists.size and lists.dtype.kind not in "iu"):
        raise DataError(
            f"ranked must be a two-dimensional array of item rows, -1 where a list ends, not {checks.describe(ranked)}"
        )
    rows = lists.ravel().astype(np.int64)
    outside = (rows < -1) | (rows >= n_items)
    if outside.any():
        raise DataError(
            f"ranked holds item row {rows[outside][0]}, but n_items is {n_items}: item rows must be below n_items"
        )
    return np.bincount(rows[rows >= 0], minlength=n_items)


@validated
def coverage(list_counts: Any) -> float:
    """Share of the catalog that at least one list shows.

    Parameters
    ----------
    list_counts : array-like of shape (n_items,)
        Number of lists that show each item (see `exposure`).

    Returns
    -------
    float
        Between 0 and 1; 0 if there are no lists, nan if there are no items.

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
    """Mean self-information of the shown items, in bits.

    Parameters
    ----------
    list_counts : array-like of shape (n_items,)
        Number of lists that show each item (see `exposure`).
    support : array-like of shape (n_items,)
        Number of users who have each item in training.
    n_users : int
        Number of users in training.

    Returns
    -------
    float
        High where the lists show items that few users have; nan if nothing is shown.

    Raises
    ------
    DataError
        If an item has more support than there are users, if a count is negative or not finite, or if `list_counts` and
        `support` differ in length.
    ParameterError
        If `n_users` is not a whole number from 0 on.

    Notes
    -----
    The mean is over all positions of all lists:

        novelty = mean of -log2(support_i / n_users)

    An item without support would be infinitely novel; it counts as if one user had it.

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
            f"list_counts and support must have the same number of items, not {len(list_counts):,} and {len(supports):,}"
        )
    if (supports > n_users).any():
        raise DataError(f"support must be between 0 and n_users={n_users} for each item")
    if not np.any(list_counts):
        return np.nan
    self_information = np.log2(n_users) - np.log2(np.maximum(supports, 1))
    return float(np.average(self_information, weights=list_counts))


@validated
def gini(counts: Any) -> float:
    """Gini coefficient of the exposure of items.

    Parameters
    ----------
    counts : array-like of shape (n_items,)
        How often each item is shown, including items that are never shown (see `exposure`).

    Returns
    -------
    float
        0 if all n items are shown equally often, (n - 1) / n if a single one is shown; nan if there are no items or
        nothing is shown.

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
    """Convert counts to float64 and check them.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    values : array-like of shape (n,)
        Counts.

    Returns
    -------
    ndarray of shape (n,), float64
        The counts.

    Raises
    ------
    DataError
        If the values are not a column of numbers, or one is negative or not finite.

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
        name="coverage", label="coverage", greater_is_better=True, function=lambda lists: float(np.mean(lists.show_probability))
    ),
    CatalogMetric(
        name="novelty", label="novelty", greater_is_better=True, digits=2,
        function=lambda lists: novelty(lists.list_counts, lists.support, lists.n_users),
    ),
    CatalogMetric(name="gini", label="Gini", greater_is_better=False, function=lambda lists: gini(lists.list_counts)),
)  # fmt: skip
"""Metrics of all lists together, in the order of tables."""
