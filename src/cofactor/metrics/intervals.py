"""Confidence intervals over users, for means of per-user values and for ratios of sums, such as the RMSE.

Errors and hits of the same user are correlated, so users, not individual rows, are the independent units. Means use a
Bayesian bootstrap, ratios a cluster-robust t-interval. In simulations (`benchmarks/coverage.py`), nominal 95% intervals
cover the true value in about 93 to 97% of samples from MIN_USERS users on, for NDCG, hit rates from 2% and RMSE with
log-normal history lengths. With fewer users, the coverage depends too much on the distribution of the values, so both
bounds are nan.

References
----------
Rubin (1981), "The Bayesian bootstrap", Annals of Statistics 9; Brown, Cai & DasGupta (2001), "Interval estimation for a
binomial proportion", Statistical Science 16; Imbens & Kolesar (2016), "Robust standard errors in small samples: some
practical advice", Review of Economics and Statistics 98.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, isfinite, sqrt
from typing import Any, NamedTuple

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, contiguous, random_stream
from cofactor.checks import Seed
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.parallel import parallel_map
from cofactor.metrics.student_t import t_quantile
from cofactor.validation import validated

__all__ = [
    "MIN_USERS",
    "NO_INTERVAL",
    "Interval",
    "bootstrap_interval",
    "bootstrap_intervals",
    "paired_difference",
    "paired_rmse_difference",
    "ratio_interval",
    "rmse_difference_terms",
    "standard_error",
    "t_interval",
]


MIN_USERS = 200
"""Minimum number of users for an interval. With fewer users, a nominal 95% interval for a rare hit or for an RMSE with
unequal histories covers the true value in less than 93% or more than 97% of samples."""

NO_INTERVAL = f"An interval needs at least {MIN_USERS} users."

PSEUDO_WEIGHT = 0.5
"""Expected weight of the pseudo-user at each end of the range; for a hit rate, this is the Jeffreys prior."""


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval.

    Attributes
    ----------
    mean : float
        Mean; nan if there are no users.
    low, high : float
        Bounds; nan if there are fewer than MIN_USERS users.

    Examples
    --------
    >>> bootstrap_interval([0.5, 0.25])
    Interval(mean=0.375, low=nan, high=nan)
    """

    mean: float
    low: float
    high: float


UNDEFINED_INTERVAL = Interval(np.nan, np.nan, np.nan)


def bootstrap_interval(
    per_user: Any,
    *,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: Seed = 0,
) -> Interval:
    """Compute a Bayesian bootstrap interval for the mean of one value per user.

    Parameters
    ----------
    per_user : array-like of shape (n_users,)
        Value for each user; nan (for users without test items) is ignored.
    bounds : tuple of (float, float), optional
        Smallest and largest possible value, such as (0, 1) for a ranking metric; by default, the smallest and the
        largest of the values.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.
    resamples : int, default 1000
        Number of resamples, at least 1.
    seed : int, Generator or None, default 0
        Seed for the bootstrap resamples; the same seed gives the same interval.

    Returns
    -------
    Interval
        Mean and interval; all nan if there are no users, and both bounds nan if there are fewer than MIN_USERS.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1, `resamples` is less than 1, or `bounds` are not in ascending order.
    DataError
        If a value is infinite or outside `bounds`.

    Notes
    -----
    In each resample, users have exponential weights, and a pseudo-user at each of the two `bounds` has a weight from a
    gamma distribution with shape 1/2::

        low, high = quantiles (1 - confidence) / 2 and (1 + confidence) / 2 of sum(w x) / sum(w)

    The pseudo-users represent values that the sample does not contain. For values of 0 and 1 with bounds (0, 1), this
    is the Jeffreys interval. If all values equal one of the bounds, there is no variation to resample; that bound is an
    end of the interval, and the other end is the exact binomial limit, which is (1 - confidence)^(1/n) of the range
    away from the other bound. Without `bounds`, equal values give an interval of zero width.

    Examples
    --------
    >>> mean, low, high = bootstrap_interval([0.0, 1.0] * 100)
    >>> mean, round(low, 2), round(high, 2)
    (0.5, 0.43, 0.57)
    >>> bootstrap_interval([0.0] * 200, bounds=(0, 1)).high.__round__(3)
    0.015
    """
    options = {"bounds": bounds, "confidence": confidence, "resamples": resamples, "seed": seed}
    return bootstrap_intervals({"": per_user}, **options)[""]  # type: ignore[arg-type]


def bootstrap_intervals(
    per_user: Mapping[str, Any],
    *,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: Seed = 0,
) -> dict[str, Interval]:
    """Compute Bayesian bootstrap intervals for the means of several metrics on the same users.

    All metrics share the same resamples.

    Parameters
    ----------
    per_user : mapping of str to array-like of shape (n_users,)
        Per-user values of each metric. Users without a value for any metric are excluded before resampling; users with
        values for only some metrics are resampled for all, but count only where they have a value.
    bounds : tuple of (float, float), optional
        As in `bootstrap_interval`, for all metrics.
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
        If a value is infinite or outside `bounds`, or the metrics differ in their number of users.

    Examples
    --------
    >>> intervals = bootstrap_intervals({"recall": [0.0, 1.0], "precision": [0.5, float("nan")]})
    >>> intervals["recall"].mean, intervals["precision"].mean
    (0.5, 0.5)
    """
    names, columns = list(per_user), [np.asarray(column, dtype=np.float64) for column in per_user.values()]
    if any(column.shape != (len(columns[0]),) for column in columns):
        raise DataError(
            f"per_user must have one value per user for each metric; got shapes {[column.shape for column in columns]}"
        )
    values = np.stack(columns) if columns else np.zeros((0, 0))
    if np.isinf(values).any():
        raise DataError(
            f"per_user must be finite or nan; got infinity in {names[np.isinf(values).any(axis=1).argmax()]!r}"
        )
    tail = _tail_probability(confidence)
    checks.whole_number("resamples", resamples, low=1)
    root_seed = checks.seed(seed)
    ends = _pseudo_user_values(values, bounds)
    has_value = np.isfinite(values)
    has_values = has_value.any(axis=0)
    values, has_value = (
        contiguous(np.where(has_value, values, 0.0)[:, has_values], np.float64),
        has_value[:, has_values],
    )
    n = has_value.sum(axis=1)
    means = np.divide(values.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
    low, high = np.full((2, len(n)), np.nan)
    if (rows := n >= MIN_USERS).any():
        sums = contiguous(np.hstack([values, ends])[rows], np.float64)
        counts = contiguous(np.hstack([has_value, np.ones_like(ends)])[rows], np.float64)
        low[rows], high[rows] = np.quantile(_resampled_means(sums, counts, resamples, root_seed), [tail, 1 - tail], 0)
        limit = (1 - (2 * tail) ** (1 / np.maximum(n, 1))) * (ends[:, 1] - ends[:, 0])
        high = np.where(rows & (means == ends[:, 0]), means + limit, high)
        low = np.where(rows & (means == ends[:, 1]), means - limit, low)
        low, high = np.minimum(low, means), np.maximum(high, means)
    return {name: Interval(*map(float, row)) for name, *row in zip(names, means, low, high, strict=True)}


def ratio_interval(numerator: Any, denominator: Any, *, confidence: float = 0.95) -> Interval:
    """Compute a cluster-robust t-interval for a ratio of two sums over users.

    This is the interval for a mean over rows whose errors are correlated within each user. If the numerator is each
    user's sum of squared errors and the denominator is their number of rows, the ratio is the MSE, and the square roots
    of the three values are the RMSE and its interval.

    Parameters
    ----------
    numerator, denominator : array-like of shape (n_users,)
        Sums for each user. Users with a denominator of 0 are excluded.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.

    Returns
    -------
    Interval
        Ratio and interval; all nan if no users are left, and both bounds nan if there are fewer than MIN_USERS.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1.
    DataError
        If a value is not finite, a denominator is negative, or the two arrays differ in shape.

    Notes
    -----
    With S_u the numerator and c_u the denominator of user u, N the sum of all c_u, and h_u = c_u / N::

        R = sum(S_u) / N
        se^2 = 1/N^2 sum (S_u - R c_u)^2 / (1 - h_u)
        low, high = R exp(-t se / R), R exp(t se / R),    t = Student's t quantile with d degrees of freedom

    If a numerator is negative, the interval is R - t se, R + t se. d is the number for which a chi-squared distribution
    has the mean and the variance of se^2, given that user sums have the variance s c_u + t c_u^2, with s and t
    estimated by least squares. It is far smaller than the number of users if a few users have most of the rows. A
    percentile bootstrap would be too narrow there: 80 to 92% coverage with log-normal histories.

    References
    ----------
    Bell & McCaffrey (2002), "Bias reduction in standard errors for linear regression with multi-stage samples", Survey
    Methodology 28; Imbens & Kolesar (2016).

    Examples
    --------
    >>> ratio_interval([2.0, 6.0], [1, 3])
    Interval(mean=2.0, low=nan, high=nan)
    >>> [round(x, 2) for x in ratio_interval([1.0, 3.0] * 100, [1, 1] * 100)]
    [2.0, 1.86, 2.14]
    """
    sums, counts = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if sums.ndim != 1 or sums.shape != counts.shape:
        raise DataError(
            f"numerator and denominator must have one value per user; got shapes {sums.shape} and {counts.shape}"
        )
    if not (np.isfinite(sums).all() and np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError("numerator and denominator must be finite, and denominator must be nonnegative")
    tail = _tail_probability(confidence)
    sums, counts = sums[counts > 0], counts[counts > 0]
    if len(counts) == 0:
        return UNDEFINED_INTERVAL
    ratio = float(sums.sum() / counts.sum())
    if len(counts) < MIN_USERS:
        return Interval(ratio, np.nan, np.nan)
    half_width = _half_width(sums, counts, tail)
    if ratio > 0 and (sums >= 0).all():
        factor = exp(min(half_width / ratio, 700))
        return Interval(ratio, ratio / factor, ratio * factor)
    return Interval(ratio, ratio - half_width, ratio + half_width)


def paired_difference(
    a: Any, b: Any, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0
) -> Interval:  # fmt: skip
    """Compute a Bayesian bootstrap interval for the mean of a - b, over the users who have both values.

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
    >>> a = np.arange(400) / 400
    >>> mean, low, high = paired_difference(a, a**2)
    >>> round(mean, 3), 0.15 < low < high < 0.18
    (0.167, True)
    """
    first_values, second_values = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first_values.shape != second_values.shape:
        raise DataError(f"a and b must have the same users; got {first_values.size} and {second_values.size} users")
    return bootstrap_interval(first_values - second_values, confidence=confidence, resamples=resamples, seed=seed)


def paired_rmse_difference(a: Any, b: Any, counts: Any, *, confidence: float = 0.95) -> Interval:
    """Compute a cluster-robust t-interval for the difference between the RMSEs of two models on the same rows.

    Parameters
    ----------
    a, b : array-like of shape (n_users,)
        Sum of squared errors for each user under each of the two models.
    counts : array-like of shape (n_users,)
        Number of rows for each user. Users without rows are excluded.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1.

    Returns
    -------
    Interval
        Difference and interval, negative if `a` is better; all nan if no user has rows.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1.
    DataError
        If a value is negative or not finite, or the three arrays differ in shape.

    Notes
    -----
    The interval is that of `ratio_interval` for the linearized difference, with RMSE_a = sqrt(sum a / sum counts)::

        S_u = a_u / (2 RMSE_a) - b_u / (2 RMSE_b)

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
    tail, has_rows = _tail_probability(confidence), rows > 0
    rows = rows[has_rows]
    if len(rows) == 0:
        return UNDEFINED_INTERVAL
    terms, difference = rmse_difference_terms(first_sums[has_rows], second_sums[has_rows], rows)
    if len(rows) < MIN_USERS:
        return Interval(difference, np.nan, np.nan)
    half_width = _half_width(terms, rows, tail)
    return Interval(difference, difference - half_width, difference + half_width)


def rmse_difference_terms(a: Float64, b: Float64, counts: Float64) -> tuple[Float64, float]:
    """Return the linearized difference between two RMSEs for each user, and the difference.

    Parameters
    ----------
    a, b, counts : ndarray of shape (n_users,), float64
        Sums of squared errors, and numbers of rows.

    Returns
    -------
    terms : ndarray of shape (n_users,), float64
        S_u of `paired_rmse_difference`; a model without any errors has terms of 0.
    difference : float
        RMSE of `a` minus that of `b`.

    Examples
    --------
    >>> rmse_difference_terms(np.array([4.0, 4.0]), np.array([1.0, 1.0]), np.ones(2))
    (array([0.5, 0.5]), 1.0)
    """
    roots = [sqrt(sums.sum() / counts.sum()) for sums in (a, b)]
    terms = [sums / (2 * root) if root > 0 else np.zeros_like(sums) for sums, root in zip((a, b), roots, strict=True)]
    return terms[0] - terms[1], roots[0] - roots[1]


@validated
def t_interval(values: Any, *, confidence: float = 0.95) -> Interval:
    """Compute a confidence interval for the mean of a few independent runs.

    The bootstrap needs more values than a simulation has runs; see `MIN_USERS` in `cofactor.metrics.intervals`.

    Parameters
    ----------
    values : array-like of shape (n,)
        One value for each run, such as each seed.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1; it is exact for normally distributed values.

    Returns
    -------
    Interval
        Mean and interval; the bounds are nan for fewer than two values, and all are nan if there are no values or a
        value is not finite.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1.

    Notes
    -----
        mean +- t_quantile((1 + confidence) / 2, n - 1) s / sqrt(n)

    Examples
    --------
    >>> mean, low, high = t_interval([1.0, 2.0, 3.0])
    >>> mean, round(low, 2), round(high, 2)
    (2.0, -0.48, 4.48)
    """
    confidence = checks.fraction("confidence", confidence)
    x = np.asarray(values, dtype=np.float64)
    n, mean = x.size, float(x.mean()) if x.size else np.nan
    if n < 2 or not isfinite(mean):
        return Interval(mean, np.nan, np.nan)
    half_width = t_quantile((1 + confidence) / 2, n - 1) * float(x.std(ddof=1)) / sqrt(n)
    return Interval(mean, mean - half_width, mean + half_width)


def standard_error(numerator: Float64, denominator: Float64) -> tuple[float, float]:
    """Compute the cluster-robust standard error of a ratio of sums over users, and its degrees of freedom.

    Parameters
    ----------
    numerator, denominator : ndarray of shape (n_users,), float64
        Sums for each user; denominators are positive.

    Returns
    -------
    error : float
        Standard error of the ratio, as in `ratio_interval`; nan for fewer than two users.
    degrees : float
        Degrees of freedom, at least 1; nan for fewer than two users.

    Examples
    --------
    >>> error, degrees = standard_error(np.array([1.0, 3.0] * 50), np.ones(100))
    >>> round(error, 3), round(degrees, 1)                          # sd / sqrt(100), and n - 1
    (0.101, 99.0)
    """
    if len(denominator) < 2:
        return np.nan, np.nan
    total, h = denominator.sum(), denominator / denominator.sum()
    residual = numerator - numerator.sum() / total * denominator
    inflation = 1 / np.maximum(1 - h, 1e-12)
    error = sqrt(float((inflation * residual**2).sum())) / float(total)
    omega = _working_variance(residual, denominator)
    # residuals of users u and v have the covariance omega_u [u = v] - h_u omega_v - h_v omega_u + h_u h_v sum(omega)
    omega_sum = omega.sum()
    variance = omega - 2 * h * omega + h**2 * omega_sum
    shared = 2 * h * omega - h**2 * omega_sum
    sum_hh, sum_ho, sum_oo = ((inflation * x * y).sum() for x, y in ((h, h), (h, omega), (omega, omega)))
    all_pairs = 2 * sum_hh * sum_oo + 2 * sum_ho**2 + (omega_sum * sum_hh) ** 2 - 4 * omega_sum * sum_hh * sum_ho
    squares = all_pairs + (inflation**2 * (variance**2 - shared**2)).sum()
    mean = (inflation * variance).sum()
    return error, max(float(mean**2 / squares), 1.0) if squares > 0 else float(len(h) - 1)


def _working_variance(residual: Float64, counts: Float64) -> Float64:
    """Return the variances s c + t c^2 of the sums of users with c rows; s and t are least-squares estimates >= 0."""
    y = residual**2 / counts
    x = counts - counts.mean()
    slope = max(float((x * y).sum() / max((x**2).sum(), 1e-300)), 0.0)
    level = max(float(y.mean()) - slope * float(counts.mean()), 0.02 * float(y.mean()))
    return level * counts + slope * counts**2


def _half_width(numerator: Float64, denominator: Float64, tail: float) -> float:
    """Return Student's t quantile times the standard error of the ratio of sums."""
    error, degrees = standard_error(numerator, denominator)
    return t_quantile(1 - tail, degrees) * error


def _pseudo_user_values(values: Float64, bounds: tuple[float, float] | None) -> Float64:
    """Return the values of the two pseudo-users for each row of values, (m, n_users): (m, 2) float64."""
    smallest = np.min(values, axis=1, where=np.isfinite(values), initial=np.inf)
    largest = np.max(values, axis=1, where=np.isfinite(values), initial=-np.inf)
    if bounds is None:
        return np.column_stack([smallest, largest])
    low, high = (checks.finite_number("bounds", bound) for bound in bounds)
    if low >= high:
        raise ParameterError(f"bounds must be in ascending order; got {low:g} and {high:g}")
    rounding = 1e-9 * (high - low)
    if (smallest < low - rounding).any() or (largest > high + rounding).any():
        raise DataError(f"per_user must lie within the bounds {low:g} and {high:g}")
    return np.tile([low, high], (len(values), 1)).astype(np.float64)


def _tail_probability(confidence: float) -> float:
    """Return the probability in each tail of an interval with the given nominal coverage."""
    return (1 - checks.fraction("confidence", confidence)) / 2


def _resampled_means(sums: Float64, counts: Float64, resamples: int, seed: int) -> Float64:
    """Return the weighted means of each row of sums, (m, n + 2), in each resample: (resamples, m) float64.

    The last two columns are the pseudo-users. Both arrays must be C-contiguous, so that a metric is bit-identical
    whether computed alone or with others.
    """
    n = sums.shape[1] - 2

    def means(resample: int) -> Float64:  # one resample per thread at a time bounds the memory
        stream = random_stream(seed, "bootstrap", resample)  # each resample has its own random stream
        weights = np.empty(n + 2)
        stream.standard_exponential(out=weights[:n])
        weights[n:] = stream.standard_gamma(PSEUDO_WEIGHT, 2)
        ratio: Float64 = _weighted_sums(sums, weights) / _weighted_sums(counts, weights)
        return ratio

    return np.array(parallel_map(means, range(resamples)))


def _weighted_sums(columns: Float64, weights: Float64) -> Float64:
    """Return the sums of columns, (m, n), with weights, (n,); avoids BLAS, whose results depend on the thread count."""
    sums: Float64 = np.einsum("mn,n->m", columns, weights)
    return sums
