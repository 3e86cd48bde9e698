"""Percentile bootstrap confidence intervals over users.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3. Rows of one user hang together,
so users are drawn with replacement and never rows.

Such an interval is too narrow for few users: a nominal 95 % interval covers about 50 % over 2 users, 80 % over 5 and
85 to 93 % over 20, and it has no width where all users have the same value. So both ends are nan over
fewer than MIN_USERS users, or where fewer than MIN_DIFFERENT of them differ from the most frequent value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, contiguous, random_stream
from cofactor.errors import DataError
from cofactor.kernels.parallel import results_of

__all__ = [
    "MIN_DIFFERENT",
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
"""Over fewer users there is no interval. From here on a nominal 95 % covers at least about 85 % (simulated, for NDCG
with many zeros, RMSE and exponential values; see the tests)."""

MIN_DIFFERENT = 5
"""Where fewer users differ from the most frequent value (most often 0: no hit) there is no interval."""


NO_INTERVAL = (
    f"No interval holds where fewer than {MIN_USERS} users are measured, or fewer than {MIN_DIFFERENT} of them differ "
    "from the most frequent value."
)


class Interval(NamedTuple):
    """A mean and the ends of its interval.

    Both ends are nan where no interval holds (see MIN_USERS and MIN_DIFFERENT), and the mean too for no users.

    >>> bootstrap_interval([0.5, 0.25])
    Interval(mean=0.375, low=nan, high=nan)
    """

    mean: float
    low: float
    high: float


def bootstrap_interval(per_user: Any, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
    """The interval of the mean of per_user (n_users,) float; nan (no test item) is left out.

        low, high = quantiles (1 - level) / 2 and (1 + level) / 2 of the means of the resamples

    No users give nan, and too few or too similar ones have no ends (nan). Deterministic in the seed. Raises
    ParameterError unless 0 < level < 1 and resamples >= 1, DataError for infinite numbers.

    >>> mean, low, high = bootstrap_interval([0.0, 1.0] * 50)
    >>> mean, round(low, 1), round(high, 1)
    (0.5, 0.4, 0.6)
    """
    return bootstrap_intervals({"": per_user}, level=level, resamples=resamples, seed=seed)[""]


def bootstrap_intervals(
    per_user: Mapping[str, Any], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """`bootstrap_interval` of several metrics of the same users, which share their resamples.

    The users who have none of the metrics are left out before the drawing; one who has only some of them is
    drawn for all and counts where there is a number. No metrics give {}. Raises as `bootstrap_interval` does, and
    DataError for different numbers of users.

    >>> found = bootstrap_intervals({"recall": [0.0, 1.0], "precision": [0.5, float("nan")]})
    >>> found["recall"].mean, found["precision"].mean
    (0.5, 0.5)
    """
    names, columns = list(per_user), [np.asarray(column, dtype=np.float64) for column in per_user.values()]
    if any(column.shape != (len(columns[0]),) for column in columns):
        raise DataError(f"metrics of different users: shapes {[column.shape for column in columns]}")
    values = np.stack(columns) if columns else np.zeros((0, 0))
    if np.isinf(values).any():
        raise DataError(f"metric {names[np.isinf(values).any(axis=1).argmax()]!r} is infinite for a user")
    known = np.isfinite(values)
    someone = known.any(axis=0)
    sums = contiguous(np.where(known, values, 0.0)[:, someone], np.float64)
    counts = contiguous(known[:, someone], np.float64)
    means, low, high = _ratio_intervals(sums, counts, level, resamples, seed)
    return {name: Interval(*map(float, row)) for name, *row in zip(names, means, low, high, strict=True)}


def bootstrap_ratio(
    numerator: Any, denominator: Any, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """The interval of a mean over rows, drawn by user: of a ratio of two sums over users.

        sum(numerator) / sum(denominator),    numerator, denominator (n_users,)

    With a user's summed squared errors over their count this is the MSE, and the square roots of the three
    numbers are the RMSE and its interval. Users whose denominator is 0 are left out; nan where nobody is left. Raises
    DataError for numbers that are not finite, negative denominators or different users, ParameterError as
    `bootstrap_interval` does.

    >>> bootstrap_ratio([2.0, 6.0], [1, 3])
    Interval(mean=2.0, low=nan, high=nan)
    """
    sums, counts = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if sums.ndim != 1 or sums.shape != counts.shape:
        raise DataError(f"sums of shape {sums.shape} but counts of shape {counts.shape}")
    if not (np.isfinite(sums).all() and np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError("sums and counts per user must be finite, and counts not negative")
    has = counts > 0
    mean, low, high = _ratio_intervals(sums[has][None], counts[has][None], level, resamples, seed)
    return Interval(float(mean[0]), float(low[0]), float(high[0]))


def paired_difference(a: Any, b: Any, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
    """The interval of mean(a - b) over the users who have both.

    a, b (n_users,): one metric of two models, the same users in the same order.
    Paired, because users differ far more than models do: their common part cancels before the drawing. nan where nobody
    has both. Raises DataError for different numbers of users, and as `bootstrap_interval` does.

    >>> a = np.arange(40) / 40
    >>> mean, low, high = paired_difference(a, a**2)
    >>> round(mean, 3), 0.12 < low < high < 0.2
    (0.167, True)
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(f"{first.size} users on one side and {second.size} on the other: give the same users")
    return bootstrap_interval(first - second, level=level, resamples=resamples, seed=seed)


def paired_rmse_difference(
    a: Any, b: Any, counts: Any, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """The interval of RMSE_a - RMSE_b over the same rows; negative where a is better.

        sqrt(sum a / sum counts) - sqrt(sum b / sum counts),    every resample draws users for both alike

    a, b (n_users,): each user's summed squared errors under two models; counts (n_users,): that user's rows. Users
    without rows are left out; nan where nobody has any. Raises DataError for sums that are negative or of different
    users, ParameterError as `bootstrap_interval` does.

    >>> paired_rmse_difference([4.0, 4.0], [1.0, 1.0], [1, 1])
    Interval(mean=1.0, low=nan, high=nan)
    """
    first, second, rows = (np.asarray(column, dtype=np.float64) for column in (a, b, counts))
    if not first.shape == second.shape == rows.shape or rows.ndim != 1:
        raise DataError(f"sums of shapes {first.shape} and {second.shape}, counts of {rows.shape}: give the same users")
    if not all(np.isfinite(column).all() and (column >= 0).all() for column in (first, second, rows)):
        raise DataError("summed squared errors and counts must be finite and not negative")
    has = rows > 0
    both, weight = contiguous(np.stack([first, second])[:, has], np.float64), rows[has][None]
    if not has.any():
        return Interval(np.nan, np.nan, np.nan)
    gap = float(np.subtract(*np.sqrt(both.sum(axis=1) / weight.sum())))
    tail = _tail(level)
    _check_draws(resamples, seed)
    if not _has_interval((both[0] - both[1]) / weight[0]):
        return Interval(gap, np.nan, np.nan)
    drawn = np.array([np.subtract(*root) for root in _drawn_roots(both, weight, resamples, seed)])
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(gap, float(low), float(high))


def _drawn_roots(sums: Float64, counts: Float64, resamples: int, seed: int) -> Iterator[Float64]:
    """sqrt(sum(sums) / sum(counts)) of each row of sums, for every resample of the users."""
    for resample in range(resamples):
        weights = _drawn_weights(sums.shape[1], seed, resample)
        yield np.sqrt(_weighted(sums, weights) / _weighted(counts, weights))


def _has_interval(values: Float64) -> bool:
    """Whether an interval holds over users of these values (n_users,).

    Where the most frequent value is that of all but a few, it is the median too.
    """
    n = len(values)
    if n < MIN_USERS:
        return False
    median = np.partition(values, n // 2)[n // 2]
    return int(np.count_nonzero(values != median)) >= MIN_DIFFERENT


def _tail(level: float) -> float:
    return (1 - checks.share("level", level)) / 2


def _check_draws(resamples: int, seed: int) -> None:
    checks.whole_number("resamples", resamples, low=1)
    checks.seed(seed)


def _ratio_intervals(
    sums: Float64, counts: Float64, level: float, resamples: int, seed: int
) -> tuple[Float64, Float64, Float64]:
    """sum(sums) / sum(counts) of each row of the two (m, n_users), and the ends of its interval; nan where none holds.

    Both C-contiguous, so that a metric has the same bits alone and among others.
    """
    tail = _tail(level)
    _check_draws(resamples, seed)
    m, n = sums.shape
    nothing = np.full(m, np.nan)
    means = np.divide(sums.sum(axis=1), counts.sum(axis=1), out=nothing.copy(), where=counts.any(axis=1))
    holds = np.array([_has_interval(a[b > 0] / b[b > 0]) for a, b in zip(sums, counts, strict=True)], bool)
    if not holds.any():
        return means, nothing, nothing
    even = bool((counts == counts[:, :1]).all())  # then every resample has the same count

    def ratios(resample: int) -> Float64:  # one at a time on each thread: memory stays that of a weight per user
        weights = _drawn_weights(n, seed, resample)
        total, count = _weighted(sums, weights), counts[:, 0] * n if even else _weighted(counts, weights)
        ratio: Float64 = np.divide(total, count, out=nothing.copy(), where=count > 0)
        return ratio

    drawn = np.array(results_of(ratios, range(resamples)))
    ends = np.full((2, m), np.nan)
    ends[:, holds] = np.nanquantile(drawn[:, holds], [tail, 1 - tail], axis=0)
    return means, ends[0], ends[1]


def _drawn_weights(n: int, seed: int, resample: int) -> Float64:
    """How often each of n users is drawn in n draws, by a stream of each resample's own."""
    drawn = random_stream(seed, "bootstrap", resample).integers(0, n, n, dtype=np.uint32)
    return np.bincount(drawn, minlength=n).astype(np.float64)


def _weighted(columns: Float64, weights: Float64) -> Float64:
    """columns (m, n) times weights (n,), summed; not by BLAS, whose bits depend on its threads."""
    sums: Float64 = np.einsum("mn,n->m", columns, weights)
    return sums
