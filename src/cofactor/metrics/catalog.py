"""What ranked lists do to the catalog: how much of it they show, how unknown, and how unevenly."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Float64, Int32, Int64
from cofactor.errors import DataError, ParameterError
from cofactor.validation import validated

__all__ = ["counted", "coverage", "exposure", "gini", "novelty"]


@validated
def exposure(ranked: Int32, n_items: int) -> Int64:
    """How many lists show each item: (n_items,) int64.

    ranked (n_users, n) int32 item rows, -1 where a list ends early; no lists give zeros. Raises DataError for a row
    number outside the catalog.

    >>> exposure(np.array([[0, 1], [1, -1]]), 3)
    array([1, 2, 0])
    """
    checks.whole_number("n_items", n_items, low=0, high=MOST_ROWS)
    lists = checks.as_array(ranked)
    if lists.ndim != 2 or (lists.size and lists.dtype.kind not in "iu"):
        raise DataError(f"ranked must be a table of item rows, -1 where a list ends, not {checks.shown(ranked)}")
    shown = lists.ravel().astype(np.int64)
    foreign = (shown < -1) | (shown >= n_items)
    if foreign.any():
        raise DataError(f"a list in ranked shows item row {shown[foreign][0]}, but n_items is {n_items}")
    return np.bincount(shown[shown >= 0], minlength=n_items)


@validated
def coverage(shown: Any) -> float:
    """The share of the catalog that at least one list shows, 0..1; 0 for no lists, nan for no items.

    shown (n_items,): how many lists show each item (see `exposure`).

    >>> coverage(exposure(np.array([[0, 1], [1, -1]]), 4))
    0.5
    """
    counts = counted("shown", shown)
    return float(np.mean(counts > 0)) if len(counts) else np.nan


@validated
def novelty(shown: Any, support: Any, n_users: int) -> float:
    """The mean self-information, in bits, of the items shown: how surprising it is that someone has one.

        novelty = mean over all places of -log2(support_i / n_users)

    shown (n_items,): how many lists show each item (see `exposure`). support (n_items,): how many of the n_users have
    it in training. An item that nobody has would be infinitely novel; it counts as if one user had it. nan where
    nothing is shown. Raises DataError where an item has more support than there are users.

    Source: Zhou et al. (2010), "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 107(10).

    >>> novelty([1, 1], [8, 2], 8)
    1.0
    """
    checks.whole_number("n_users", n_users, low=0, high=MOST_ROWS)
    have, shown = counted("support", support), counted("shown", shown)
    if len(shown) != len(have):
        raise DataError(f"shown and support must be of as many items, not of {len(shown):,} and {len(have):,}")
    if (have > n_users).any():
        raise DataError(f"support must be between 0 and the {n_users} users for every item")
    if not np.any(shown):
        return np.nan
    information = np.log2(n_users) - np.log2(np.maximum(have, 1))
    return float(np.average(information, weights=shown))


@validated
def gini(counts: Any) -> float:
    """The Gini coefficient of exposure: 0 when all n items are shown equally, (n - 1) / n when only one is.

        G = sum_j (2 j - n - 1) x_(j) / (n sum_j x_(j)),    x_(1) <= ... <= x_(n),  j = 1..n

    counts (n_items,): how often each item is shown, items never shown included (see `exposure`). nan for no
    items or no exposure at all. Raises DataError for negative or infinite counts.

    Gini (1912); in this form Sen (1973), "On Economic Inequality".

    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    x = np.sort(counted("counts", counts))
    n = len(x)
    if n == 0 or x[-1] == 0:
        return np.nan
    shares = x / x.sum()
    return max(0.0, float(np.dot(2.0 * np.arange(1, n + 1) - n - 1, shares) / n))


@validated
def counted(name: str, values: Any) -> Float64:
    """Counts in float64, (n,). Raises DataError for anything else, and for counts below 0 or not finite.

    >>> counted("support", [3, 0])
    array([3., 0.])
    """
    try:
        return checks.number_array(name, values, (None,), low=0)
    except ParameterError as problem:
        raise DataError(str(problem)) from None
