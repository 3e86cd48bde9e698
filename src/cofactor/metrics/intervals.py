"""Percentile bootstrap confidence intervals over users.

Errors and hits of the same user are correlated, so whole users are resampled with replacement, never single rows.

Such an interval is too narrow for few users: a nominal 95 % interval covers about 50 % over 2 users, 80 % over 5 and
85 to 93 % over 20, and it has no width if all users have the same value. Both ends are therefore nan for fewer than
MIN_USERS users, and if fewer than MIN_DIFFERENT of them differ from the most frequent value.

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
from cofactor.kernels.parallel import results_of

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
"""The fewest users of an interval. From here on a nominal 95 % interval covers at least about 85 % (simulated for NDCG
with many zeros, RMSE and exponential values; see the tests)."""

MIN_DIFFERENT_USERS = 5
"""The fewest users of an interval whose value is not the most frequent one (usually 0: no hit)."""


NO_INTERVAL = (
    f"An interval needs at least {MIN_USERS} users, and at least {MIN_DIFFERENT_USERS} of them must differ from the most "
    "frequent value."
)


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval.

    Attributes
    ----------
    mean : float
        The mean; nan if there are no users.
    low, high : float
        The ends; nan if the users are too few or too similar (see MIN_USERS and MIN_DIFFERENT).

    Examples
    --------
    >>> bootstrap_interval([0.5, 0.25])
    Interval(mean=0.375, low=nan, high=nan)
    """

    mean: float
    low: float
    high: float


def bootstrap_interval(per_user: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0) -> Interval:
    """Bootstrap confidence interval of the mean of one value per user.

    Parameters
    ----------
    per_user : array-like of shape (n_users,)
        The value of each user; nan (a user without a test item) is left out.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed of the resamples; the same seed gives the same interval.

    Returns
    -------
    Interval
        All nan if there are no users; both ends nan if the users are too few or too similar.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1, or `resamples` is below 1.
    DataError
        If a value is infinite.

    Notes
    -----
        low, high = quantiles (1 - confidence) / 2 and (1 + confidence) / 2 of the means of the resamples

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
    """Bootstrap confidence intervals of several metrics of the same users.

    All metrics share their resamples.

    Parameters
    ----------
    per_user : mapping of str to array-like of shape (n_users,)
        The values of each metric. Users without a value in any metric are left out before resampling; a user with a
        value in some metrics is resampled for all and counts where there is a value.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed of the resamples.

    Returns
    -------
    dict of str to Interval
        An interval per metric; empty if there are no metrics.

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
            f"metric {names[np.isinf(values).any(axis=1).argmax()]!r} is infinite for a user: pass finite values or nan"
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
    """Bootstrap confidence interval of a ratio of two sums over users.

    This is the interval of a mean over rows that are resampled by user. With the summed squared errors of each user
    over their number of rows it is the MSE, and the square roots of the three numbers are the RMSE and its interval.

    Parameters
    ----------
    numerator, denominator : array-like of shape (n_users,)
        The sums of each user. Users whose denominator is 0 are left out.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed of the resamples.

    Returns
    -------
    Interval
        All nan if no user is left; both ends nan if the users are too few or too similar.

    Raises
    ------
    ParameterError
        As in `bootstrap_interval`.
    DataError
        If a number is not finite, a denominator is negative, or the two differ in shape.

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
        raise DataError("numerator and denominator must be finite, and denominator must not be negative")
    has_rows = counts > 0
    mean, low, high = _ratio_intervals(sums[has_rows][None], counts[has_rows][None], confidence, resamples, seed)
    return Interval(float(mean[0]), float(low[0]), float(high[0]))


def paired_difference(a: Any, b: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0) -> Interval:
    """Bootstrap confidence interval of mean(a - b) over the users who have both values.

    It is paired because users differ far more than models do: what both models have in common cancels before
    resampling.

    Parameters
    ----------
    a, b : array-like of shape (n_users,)
        One metric of two models, for the same users in the same order.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed of the resamples.

    Returns
    -------
    Interval
        Positive where `a` is larger; all nan if no user has both values.

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
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(f"a has {first.size} users and b has {second.size}: pass the same users")
    return bootstrap_interval(first - second, confidence=confidence, resamples=resamples, seed=seed)


def paired_rmse_difference(
    a: Any, b: Any, counts: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0
) -> Interval:
    """Bootstrap confidence interval of RMSE_a - RMSE_b over the same rows.

    Parameters
    ----------
    a, b : array-like of shape (n_users,)
        Summed squared errors of each user under two models.
    counts : array-like of shape (n_users,)
        Number of rows of each user. Users without rows are left out.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed of the resamples.

    Returns
    -------
    Interval
        Negative where `a` is better; all nan if no user has rows.

    Raises
    ------
    ParameterError
        As in `bootstrap_interval`.
    DataError
        If a number is negative or not finite, or the three differ in shape.

    Notes
    -----
    Each resample draws the same users for both models:

        sqrt(sum a / sum counts) - sqrt(sum b / sum counts)

    Examples
    --------
    >>> paired_rmse_difference([4.0, 4.0], [1.0, 1.0], [1, 1])
    Interval(mean=1.0, low=nan, high=nan)
    """
    first, second, rows = (np.asarray(column, dtype=np.float64) for column in (a, b, counts))
    if not first.shape == second.shape == rows.shape or rows.ndim != 1:
        raise DataError(
            f"a, b and counts have shapes {first.shape}, {second.shape} and {rows.shape}: pass the same users"
        )
    if not all(np.isfinite(column).all() and (column >= 0).all() for column in (first, second, rows)):
        raise DataError("a, b and counts must be finite and not negative")
    has_rows = rows > 0
    errors, weight = contiguous(np.stack([first, second])[:, has_rows], np.float64), rows[has_rows][None]
    if not has_rows.any():
        return Interval(np.nan, np.nan, np.nan)
    difference = float(np.subtract(*np.sqrt(errors.sum(axis=1) / weight.sum())))
    tail = _tail_probability(confidence)
    seed = _resampling_seed(resamples, seed)
    if not _has_interval((errors[0] - errors[1]) / weight[0]):
        return Interval(difference, np.nan, np.nan)
    drawn = np.array([np.subtract(*root) for root in _resampled_roots(errors, weight, resamples, seed)])
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(difference, float(low), float(high))


def _resampled_roots(sums: Float64, counts: Float64, resamples: int, seed: int) -> Iterator[Float64]:
    """Yield sqrt(sum(sums) / sum(counts)) of each row of sums, for each resample of the users."""
    for resample in range(resamples):
        weights = _resample_weights(sums.shape[1], seed, resample)
        yield np.sqrt(_weighted_sums(sums, weights) / _weighted_sums(counts, weights))


def _has_interval(values: Float64) -> bool:
    """Return whether users with these values (n_users,) are enough and different enough for an interval.

    If all but a few users share the most frequent value, it is the median as well.
    """
    n = len(values)
    if n < MIN_USERS:
        return False
    median = np.partition(values, n // 2)[n // 2]
    return int(np.count_nonzero(values != median)) >= MIN_DIFFERENT_USERS


def _tail_probability(confidence: float) -> float:
    """Return the probability beyond each end of an interval of this nominal coverage."""
    return (1 - checks.fraction("confidence", confidence)) / 2


def _resampling_seed(resamples: int, seed: Seed) -> int:
    """Return the seed of all resamples; raise ParameterError unless resamples is at least 1 and the seed is valid."""
    checks.whole_number("resamples", resamples, low=1)
    return checks.seed(seed)


def _ratio_intervals(
    sums: Float64, counts: Float64, confidence: float, resamples: int, seed: Seed
) -> tuple[Float64, Float64, Float64]:
    """Return sum(sums) / sum(counts) of each row of the two (m, n_users), and the ends of its interval, or nan.

    Both arrays must be C-contiguous, so that a metric has the same bits alone and among others.
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

    drawn = np.array(results_of(ratios, range(resamples)))
    ends = np.full((2, m), np.nan)
    ends[:, has_interval] = np.nanquantile(drawn[:, has_interval], [tail, 1 - tail], axis=0)
    return means, ends[0], ends[1]


def _resample_weights(n: int, seed: int, resample: int) -> Float64:
    """Return how often each of n users is drawn in n draws; each resample has its own random stream."""
    drawn = random_stream(seed, "bootstrap", resample).integers(0, n, n, dtype=np.uint32)
    return np.bincount(drawn, minlength=n).astype(np.float64)


def _weighted_sums(columns: Float64, weights: Float64) -> Float64:
    """Return the sums of columns (m, n) weighted by (n,); without BLAS, whose bits depend on its threads."""
    sums: Float64 = np.einsum("mn,n->m", columns, weights)
    return sums
