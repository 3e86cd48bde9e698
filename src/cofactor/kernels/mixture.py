"""Cumulative distribution and quantile functions of mixtures of normal distributions, with one mixture per row.

    F_r(x) = 1/S sum_s Phi((x - mean_rs) / sd_rs),    Phi(z) = erfc(-z / sqrt 2) / 2

Compiled loops do not need an array of shape (n, S, points), and erfc is accurate to nearly full precision.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from cofactor.arrays import Float64, contiguous
from cofactor.errors import ParameterError
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for

__all__ = ["mixture_cdf", "mixture_cdf_at", "mixture_quantile"]

ROWS_PER_TASK = 1 << 10
SQRT_HALF, INVERSE_SQRT_2PI = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


@kernel(writes="f8[:, ::1]", reads="f8[:, ::1] f8[:, ::1] f8[::1]", scalars="i8 i8")
def _mixture_cdf():
    """Write F_r(points[j]) to out[r, j] for rows first..last-1; reads `means` and `sds` (n, S)."""

    def _mixture_cdf(out, means, sds, points, first, last):
        count = means.shape[1]
        for r in range(first, last):
            for j in range(points.shape[0]):
                total = 0.0
                for s in range(count):
                    total += math.erfc((means[r, s] - points[j]) / sds[r, s] * SQRT_HALF)
                out[r, j] = 0.5 * total / count

    return _mixture_cdf


@kernel(writes="f8[::1]", reads="f8[:, ::1] f8[:, ::1]", scalars="f8 f8 i8 i8")
def _mixture_quantile():
    """Write the p-quantile of each mixture to out[r] for rows first..last-1; z is the standard normal p-quantile.

    The quantile lies between the smallest and the largest mean_rs + z sd_rs. It is found by Newton steps, with
    bisection if a step leaves the bracket.
    """

    def _mixture_quantile(out, means, sds, p, z, first, last):
        count = means.shape[1]
        for r in range(first, last):
            low = np.inf
            high = -np.inf
            for s in range(count):
                low = min(low, means[r, s] + z * sds[r, s])
                high = max(high, means[r, s] + z * sds[r, s])
            x = 0.5 * (low + high)
            tolerance = 1e-12 * (1.0 + abs(low) + abs(high))
            for _ in range(200):
                if high - low <= tolerance:
                    break
                total = 0.0
                slope = 0.0
                for s in range(count):
                    deviation = (x - means[r, s]) / sds[r, s]
                    total += 0.5 * math.erfc(-deviation * SQRT_HALF)
                    slope += INVERSE_SQRT_2PI * math.exp(-0.5 * deviation * deviation) / sds[r, s]
                excess = total / count - p
                if excess > 0:
                    high = x
                else:
                    low = x
                previous = x
                if slope > 0:
                    x -= excess * count / slope
                if not low < x < high:
                    x = 0.5 * (low + high)
                if abs(x - previous) <= tolerance:
                    break
            out[r] = x

    return _mixture_quantile


def mixture_cdf(means: Float64, sds: Float64, points: Float64) -> Float64:
    """Compute the cumulative distribution function of each mixture of normal distributions at each point.

    Parameters
    ----------
    means : ndarray of shape (n, S), float64
        The mean of each component; n may be 0.
    sds : ndarray of shape (n, S), float64
        The standard deviation of each component; positive.
    points : ndarray of shape (m,), float64
        The points, shared by all mixtures.

    Returns
    -------
    ndarray of shape (n, m), float64
        The values F_r(points[j]).

    Examples
    --------
    >>> mixture_cdf(np.array([[0.0, 2.0]]), np.ones((1, 2)), np.array([1.0])).round(2).tolist()
    [[0.5]]
    """
    m, s, x = (contiguous(array, np.float64) for array in (means, sds, points))
    out = np.empty((len(m), len(x)))
    run = _mixture_cdf()
    parallel_for(
        lambda first: run(out, m, s, x, first, min(first + ROWS_PER_TASK, len(m))), range(0, len(m), ROWS_PER_TASK)
    )
    return out


def mixture_cdf_at(means: Float64, sds: Float64, points: Float64) -> Float64:
    """Evaluate the cumulative distribution function of each mixture at its own point.

    Parameters
    ----------
    means, sds : ndarray of shape (n, S), float64
        Means and standard deviations of the components.
    points : ndarray of shape (n,), float64
        One point for each mixture.

    Returns
    -------
    ndarray of shape (n,), float64

    Examples
    --------
    >>> mixture_cdf_at(np.array([[0.0], [2.0]]), np.ones((2, 1)), np.array([0.0, 2.0])).tolist()
    [0.5, 0.5]
    """
    return mixture_cdf(contiguous(means - points[:, None], np.float64), sds, np.zeros(1))[:, 0]


def mixture_quantile(means: Float64, sds: Float64, p: float) -> Float64:
    """Compute the quantile of each mixture of normal distributions for a probability, to within 1e-10.

    Parameters
    ----------
    means : ndarray of shape (n, S), float64
        The mean of each component; n may be 0.
    sds : ndarray of shape (n, S), float64
        The standard deviation of each component; positive.
    p : float
        The probability.

    Returns
    -------
    ndarray of shape (n,), float64
        The values x with F_r(x) = p.

    Raises
    ------
    ParameterError
        If p is not strictly between 0 and 1.

    Examples
    --------
    >>> mixture_quantile(np.array([[0.0], [5.0]]), np.ones((2, 1)), 0.975).round(2).tolist()
    [1.96, 6.96]
    """
    if not 0 < p < 1:
        raise ParameterError(f"p must be a probability strictly between 0 and 1, not {p!r}")
    m, s = (contiguous(array, np.float64) for array in (means, sds))
    out, z = np.empty(len(m)), NormalDist().inv_cdf(p)
    run = _mixture_quantile()
    parallel_for(
        lambda first: run(out, m, s, p, z, first, min(first + ROWS_PER_TASK, len(m))), range(0, len(m), ROWS_PER_TASK)
    )
    return out
