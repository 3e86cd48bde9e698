"""Percentile bootstrap confidence intervals over users.

Errors and hits of the same user are correlated, so whole users, not individual rows, are resampled with replacement.

These intervals are too narrow for small numbers of users: the actual coverage of a nominal 95% interval is about 50%
for 2 users, 80% for 5 and 85 to 93% for 20, and the interval has zero width if all users have the same value. Both
bounds are therefore nan if there are fewer than MIN_USERS users, or if fewer than MIN_DIFFERENT_USERS of them differ
from the most frequent value.

References
----------
Efron & Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, contiguous, random_stream
from cofactor.checks import Seed
from cofactor.errors import DataError
from cofactor.kernels.parallel import parallel_map

__all__ = [
    "MIN_DIFFERENT_USERS",
    "MIN_USERS",
    "NO_INTERVAL",
    "Interval",
    "bootstrap_interval",
    "bootstrap_intervals",
    "bootstrap_ratio",
    "paired_difference",
    "paired_rmse_difference",
]


MIN_USERS = 20
"""Minimum number of users for an interval. With this many users, the actual coverage of a nominal 95% interval is at
least about 85% (simulated for NDCG with many zeros, RMSE and exponential values; see the tests)."""

MIN_DIFFERENT_USERS = 5
"""Minimum number of users whose value differs from the most frequent one (usually 0, for no hit)."""


NO_INTERVAL = (
    f"An interval needs at least {MIN_USERS} users, and at least {MIN_DIFFERENT_USERS} of them must differ from the "
    "most frequent value."
)


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval.

    Attributes
    ----------
    mean : float
        Mean; nan if there are no users.
    low, high : float
        Bounds; nan if the users are too few or too similar (see MIN_USERS and MIN_DIFFERENT_USERS).

    Examples
    --------
    >>> bootstrap_interval([0.5, 0.25])
    Interval(mean=0.375, low=nan, high=nan)
    """

    mean: float
    low: float
    high: float


def bootstrap_interval(per_user: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0) -> Interval:
    """Compute a bootstrap confidence interval for the mean of one value per user.

    Parameters
    ----------
    per_user : array-like of shape (n_users,)
        Value for each user; nan (for users without test items) is ignored.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed for the bootstrap resamples; the same seed gives the same interval.

    Returns
    -------
    Interval
        Mean and interval; all nan if there are no users, and both bounds nan if the users are too few or too similar.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1, or `resamples` is less than 1.
    DataError
        If a value is infinite.

    Notes
    -----
        low, high = quantiles (1 - confidence) / 2 and (1 + confidence) / 2 of the resample means

    Examples
    --------
    >>> mean, low, high = bootstrap_interval([0.0, 1.0] * 50)
    >>> mean, round(low, 1), round(high, 1)
    (0.5, 0.4, 0.6)
    """
    return bootstrap_intervals({"": per_user}, confidence=confidence, resamples=resamples, seed=seed)[""]


def bootstrap_intervals(
    per_user: Mapping[str, Any], *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0
) -> dict[str, Interval]:
    """Compute bootstrap confidence intervals for several metrics on the same users.

    All metrics share the same resamples.

    Parameters
    ----------
    per_user : mapping of str to array-like of shape (n_users,)
        Per-user values of each metric. Users without a value for any metric are excluded before resampling; users with
        values for only some metrics are resampled for all, but count only where they have a value.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed for the bootstrap resamples.

    Returns
    -------
    dict of str to Interval
        Interval for each metric; empty if there are no metrics.

    Raises
    ------
    ParameterError
        As in `bootstrap_interval`.
    DataError
        If a value is infinite, or the metrics differ in their number of users.

    Examples
    --------
    >>> intervals = bootstrap_intervals({"recall": [0.0, 1.0], "precision": [0.5, float("nan")]})
    >>> intervals["recall"].mean, intervals["precision"].mean
    (0.5, 0.5)
    """
    names, columns = list(per_user), [np.asarray(column, dtype=np.float64) for column in per_user.values()]
    if any(column.shape != (len(columns[0]),) for column in columns):
        raise DataError(
            f"per_user must have one value per user in each metric; got shapes {[column.shape for column in columns]}"
        )
    values = np.stack(columns) if columns else np.zeros((0, 0))
    if np.isinf(values).any():
        raise DataError(
            f"per_user must be finite or nan; got infinity in {names[np.isinf(values).any(axis=1).argmax()]!r}"
        )
    has_value = np.isfinite(values)
    has_any = has_value.any(axis=0)
    sums = contiguous(np.where(has_value, values, 0.0)[:, has_any], np.float64)
    counts = contiguous(has_value[:, has_any], np.float64)
    means, low, high = _ratio_intervals(sums, counts, confidence, resamples, seed)
    return {name: Interval(*map(float, row)) for name, *row in zip(names, means, low, high, strict=True)}


def bootstrap_ratio(
    numerator: Any, denominator: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0
) -> Interval:
    """Compute a bootstrap confidence interval for a ratio of two sums over users.

    This is the interval for a mean over rows that are resampled by user. If the numerator is each user's sum of squared
    errors and the denominator is their number of rows, the ratio is the MSE, and the square roots of the three values
    are the RMSE and its interval.

    Parameters
    ----------
    numerator, denominator : array-like of shape (n_users,)
        Sums for each user. Users with a denominator of 0 are excluded.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed for the bootstrap resamples.

    Returns
    -------
    Interval
        Ratio and interval; all nan if no users are left, and both bounds nan if the users are too few or too similar.

    Raises
    ------
    ParameterError
        As in `bootstrap_interval`.
    DataError
        If a value is not finite, a denominator is negative, or the two arrays differ in shape.

    Notes
    -----
        ratio = sum(numerator) / sum(denominator)

    Examples
    --------
    >>> bootstrap_ratio([2.0, 6.0], [1, 3])
    Interval(mean=2.0, low=nan, high=nan)
    """
    sums, counts = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if sums.ndim != 1 or sums.shape != counts.shape:
        raise DataError(
            f"numerator and denominator must have one value per user; got shapes {sums.shape} and {counts.shape}"
        )
    if not (np.isfinite(sums).all() and np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError("numerator and denominator must be finite, and denominator must be nonnegative")
    has_rows = counts > 0
    mean, low, high = _ratio_intervals(sums[has_rows][None], counts[has_rows][None], confidence, resamples, seed)
    return Interval(float(mean[0]), float(low[0]), float(high[0]))


def paired_difference(a: Any, b: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0) -> Interval:
    """Compute a bootstrap confidence interval for the mean of a - b, over the users who have both values.

    The interval is paired because users differ far more than models do: the effects that both models share cancel
    before resampling.

    Parameters
    ----------
    a, b : array-like of shape (n_users,)
        The same metric for two models, with the same users in the same order.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed for the bootstrap resamples.

    Returns
    -------
    Interval
        Difference and interval, positive if `a` is larger; all nan if no user has both values.

    Raises
    ------
    ParameterError
        As in `bootstrap_interval`.
    DataError
        If `a` and `b` differ in shape, or a difference is infinite.

    Examples
    --------
    >>> a = np.arange(40) / 40
    >>> mean, low, high = paired_difference(a, a**2)
    >>> round(mean, 3), 0.12 < low < high < 0.2
    (0.167, True)
    """
    first_values, second_values = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first_values.shape != second_values.shape:
        raise DataError(f"a and b must have the same users; got {first_values.size} and {second_values.size} users")
    return bootstrap_interval(first_values - second_values, confidence=confidence, resamples=resamples, seed=seed)


def paired_rmse_difference(
    a: Any, b: Any, counts: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0
) -> Interval:
    """Compute a bootstrap confidence interval for the difference between the RMSEs of two models on the same rows.

    Parameters
    ----------
    a, b : array-like of shape (n_users,)
        Sum of squared errors for each user under each of the two models.
    counts : array-like of shape (n_users,)
        Number of rows for each user. Users without rows are excluded.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed for the bootstrap resamples.

    Returns
    -------
    Interval
        Difference and interval, negative if `a` is better; all nan if no user has rows.

    Raises
    ------
    ParameterError
        As in `bootstrap_interval`.
    DataError
        If a value is negative or not finite, or the three arrays differ in shape.

    Notes
    -----
    Each resample draws the same users for both models:

        sqrt(sum a / sum counts) - sqrt(sum b / sum counts)

    Examples
    --------
    >>> paired_rmse_difference([4.0, 4.0], [1.0, 1.0], [1, 1])
    Interval(mean=1.0, low=nan, high=nan)
    """
    first_sums, second_sums, rows = (np.asarray(column, dtype=np.float64) for column in (a, b, counts))
    if not first_sums.shape == second_sums.shape == rows.shape or rows.ndim != 1:
        raise DataError(
            "a, b and counts must have the same shape (n_users,); "
            f"got {first_sums.shape}, {second_sums.shape} and {rows.shape}"
        )
    if not all(np.isfinite(column).all() and (column >= 0).all() for column in (first_sums, second_sums, rows)):
        raise DataError("a, b and counts must be finite and nonnegative")
    has_rows = rows > 0
    errors, weight = contiguous(np.stack([first_sums, second_sums])[:, has_rows], np.float64), rows[has_rows][None]
    if not has_rows.any():
        return Interval(np.nan, np.nan, np.nan)
    difference = float(np.subtract(*np.sqrt(errors.sum(axis=1) / weight.sum())))
    tail = _tail_probability(confidence)
    seed = _resampling_seed(resamples, seed)
    if not _has_interval((errors[0] - errors[1]) / weight[0]):
        return Interval(difference, np.nan, np.nan)
    estimates = np.array([np.subtract(*root) for root in _resampled_roots(errors, weight, resamples, seed)])
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(difference, float(low), float(high))


def _resampled_roots(sums: Float64, counts: Float64, resamples: int, seed: int) -> Iterator[Float64]:
    """Yield sqrt(sum(sums) / sum(counts)) for each row of `sums`, for each resample of the users."""
    for resample in range(resamples):
        weights = _resample_weights(sums.shape[1], seed, resample)
        yield np.sqrt(_weighted_sums(sums, weights) / _weighted_sums(counts, weights))


def _has_interval(values: Float64) -> bool:
    """Return whether the values, (n_users,), are numerous and diverse enough for an interval.

    If all but a few users share the most frequent value, that value is also the median.
    """
    n = len(values)
    if n < MIN_USERS:
        return False
    median = np.partition(values, n // 2)[n // 2]
    return int(np.count_nonzero(values != median)) >= MIN_DIFFERENT_USERS


def _tail_probability(confidence: float) -> float:
    """Return the probability in each tail of an interval with the given nominal coverage."""
    return (1 - checks.fraction("confidence", confidence)) / 2


def _resampling_seed(resamples: int, seed: Seed) -> int:
    """Return the seed for all resamples; raise ParameterError if `resamples` is less than 1 or `seed` is invalid."""
    checks.whole_number("resamples", resamples, low=1)
    return checks.seed(seed)


def _ratio_intervals(
    sums: Float64, counts: Float64, confidence: float, resamples: int, seed: Seed
) -> tuple[Float64, Float64, Float64]:
    """Return sum(sums) / sum(counts) for each row of the arrays, (m, n_users), and the bounds of its interval, or nan.

    Both arrays must be C-contiguous, so that a metric is bit-identical whether computed alone or with others.
    """
    tail, root_seed = _tail_probability(confidence), _resampling_seed(resamples, seed)
    m, n = sums.shape
    nans = np.full(m, np.nan)
    means = np.divide(sums.sum(axis=1), counts.sum(axis=1), out=nans.copy(), where=counts.any(axis=1))
    has_interval = np.array([_has_interval(a[b > 0] / b[b > 0]) for a, b in zip(sums, counts, strict=True)], bool)
    if not has_interval.any():
        return means, nans, nans
    equal_counts = bool((counts == counts[:, :1]).all())  # so all resamples have the same count

    def ratios(resample: int) -> Float64:  # one resample per thread at a time bounds the memory
        weights = _resample_weights(n, root_seed, resample)
        total = _weighted_sums(sums, weights)
        count = counts[:, 0] * n if equal_counts else _weighted_sums(counts, weights)
        ratio: Float64 = np.divide(total, count, out=nans.copy(), where=count > 0)
        return ratio

    estimates = np.array(parallel_map(ratios, range(resamples)))
    bounds = np.full((2, m), np.nan)
    bounds[:, has_interval] = np.nanquantile(estimates[:, has_interval], [tail, 1 - tail], axis=0)
    return means, bounds[0], bounds[1]


def _resample_weights(n: int, seed: int, resample: int) -> Float64:
    """Return how often each of n users is drawn in a resample; each resample has its own random stream."""
    indices = random_stream(seed, "bootstrap", resample).integers(0, n, n, dtype=np.uint32)
    return np.bincount(indices, minlength=n).astype(np.float64)


def _weighted_sums(columns: Float64, weights: Float64) -> Float64:
    """Return the sums of columns, (m, n), with weights, (n,); avoids BLAS, whose results depend on the thread count."""
    sums: Float64 = np.einsum("mn,n->m", columns, weights)
    return sums
