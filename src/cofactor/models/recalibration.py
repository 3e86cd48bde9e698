"""Recalibration of predictive distributions of ratings, learned from held-out or leave-one-out predictions.

A mixture of normal distributions has the wrong shape for most ratings: people give the lowest rating more freely, and
the highest one less or more freely, than a bell curve around the expectation says.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cofactor import checks
from cofactor.arrays import Float32, Float64, contiguous, read_only
from cofactor.errors import DataError
from cofactor.kernels.mixture import mixture_cdf, mixture_cdf_at

__all__ = ["PROBABILITIES", "Recalibration"]

_TAIL = (0, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.035, 0.05, 0.07, 0.09, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4)
PROBABILITIES = read_only(np.array([*_TAIL, 0.5, *(1 - p for p in reversed(_TAIL))]))
"""Predicted probabilities at which the recalibrated probability is estimated; linear in between."""

PRIOR_ROWS = 100.0
"""Number of pseudo-ratings that agree with the predictions, which limit corrections from few ratings."""

GRID_SIZE, BATCH_SIZE, ROUNDS, EM_ITERATIONS = 101, 4096, 3, 50


@dataclass(frozen=True, eq=False)
class Recalibration:
    """Monotone maps of ratings and of probabilities that correct predictive distributions.

    Parameters
    ----------
    ratings : ndarray of shape (m,), float64
        The lowest level, the boundaries halfway between the levels, and the highest level; empty without levels.
    points : ndarray of shape (m,), float64
        Points of the mixture that stand for these ratings, in ascending order.
    probabilities : ndarray of shape (len(PROBABILITIES),), float64
        Corrected value of each of `PROBABILITIES`, in ascending order from 0 to 1.

    Notes
    -----
    If F is the distribution function of a mixture, the recalibrated one is::

        F'(x) = G(F(t(x)))

    t is linear between the ratings, with t(ratings) = points, and a shift outside them. G is linear between
    `PROBABILITIES`, with G(PROBABILITIES) = probabilities. t makes the average predicted frequency of each level equal
    to the observed one, as the thresholds of an ordinal regression do; G makes the probability integral transforms of
    held-out ratings uniform. The points of the lowest and the highest level have no effect on the probabilities of
    levels, but on whether an interval ends before them: they lie halfway between the level and the point at the
    distance of the level from its threshold.

    References
    ----------
    Kuleshov, Fenner & Ermon (2018), "Accurate uncertainties for deep learning using calibrated regression", ICML (G);
    Turnbull (1976), "The empirical distribution function with arbitrarily grouped, censored and truncated data",
    Journal of the Royal Statistical Society B 38 (the estimate of G); McCullagh (1980), "Regression models for ordinal
    data", Journal of the Royal Statistical Society B 42 (thresholds).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> means = np.zeros((5000, 1))
    >>> recalibration = Recalibration.learned(means, means + 1, 2 * rng.standard_normal(5000), np.float32([]))
    >>> recalibration.probability(np.array([0.025, 0.5, 0.975])).round(1).tolist()  # wider than predicted
    [0.2, 0.5, 0.8]
    """

    ratings: Float64
    points: Float64
    probabilities: Float64

    def __post_init__(self) -> None:
        for name, shape in (("ratings", (None,)), ("points", (None,)), ("probabilities", PROBABILITIES.shape)):
            values = checks.number_array(name, getattr(self, name), shape)
            if not (np.diff(values) > 0).all():
                raise DataError(f"{name} of a recalibration must be in ascending order; got {values.tolist()}")
        if len(self.ratings) != len(self.points):
            raise DataError(
                f"points and ratings must have the same length; got {len(self.points)} and {len(self.ratings)}"
            )
        if self.probabilities[0] != 0 or self.probabilities[-1] != 1:
            raise DataError(f"probabilities must start at 0 and end at 1; got {self.probabilities.tolist()}")

    @classmethod
    def learned(cls, means: ArrayLike, sds: ArrayLike, y: ArrayLike, levels: Float32) -> Self:
        """Learn a recalibration from held-out ratings.

        Parameters
        ----------
        means, sds : ndarray of shape (n, S)
            Means and standard deviations of the components of the mixtures predicted for n held-out ratings.
        y : ndarray of shape (n,)
            Held-out ratings.
        levels : ndarray of shape (L,), float32
            Levels of the rating scale; empty if it is a range.

        Returns
        -------
        Recalibration
            The identity if n is 0.
        """
        m, s = (contiguous(np.asarray(array), np.float64) for array in (means, sds))
        true_ratings, grid = np.asarray(y, np.float64), levels.astype(np.float64)
        mass = np.diff(PROBABILITIES)
        if len(grid) < 2:
            ratings = points = np.zeros(0)
            transform = mixture_cdf_at(m, s, true_ratings)
            mass = _bin_masses(transform, transform, mass)
        else:
            level = np.abs(true_ratings[:, None] - grid).argmin(axis=1)
            edges = (grid[1:] + grid[:-1]) / 2
            for _ in range(ROUNDS):  # each of the two maps, given the other
                thresholds = _thresholds(m, s, mass, level, grid)
                cumulative = np.hstack([np.zeros((len(m), 1)), mixture_cdf(m, s, thresholds), np.ones((len(m), 1))])
                low, high = (np.take_along_axis(cumulative, level[:, None] + end, axis=1)[:, 0] for end in (0, 1))
                mass = _bin_masses(low, high, mass)
            ratings = np.concatenate([grid[:1], edges, grid[-1:]])
            first, last = thresholds[:1] - (edges[0] - grid[0]), thresholds[-1:] + (grid[-1] - edges[-1])
            first, last = np.minimum(first, (first + grid[0]) / 2), np.maximum(last, (last + grid[-1]) / 2)
            points = np.concatenate([first, thresholds, last])
        probabilities = _cumulative(mass)
        return cls(read_only(ratings), read_only(points), read_only(probabilities))

    def latent(self, x: Float64) -> Float64:
        """Return t(x), the points of the mixture that correspond to ratings.

        Parameters
        ----------
        x : ndarray of shape (n,), float64
            Ratings.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return _piecewise_linear(x, self.ratings, self.points)

    def rating(self, z: Float64) -> Float64:
        """Return the ratings that correspond to points of the mixture; the inverse of `latent`.

        Parameters
        ----------
        z : ndarray of shape (n,), float64
            Points.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return _piecewise_linear(z, self.points, self.ratings)

    def probability(self, p: Float64) -> Float64:
        """Return G(p), the corrected probabilities.

        Parameters
        ----------
        p : ndarray, float64
            Predicted probabilities.

        Returns
        -------
        ndarray, float64
            Array of the same shape.
        """
        return np.interp(p, PROBABILITIES, self.probabilities)

    def predicted_probability(self, p: float) -> float:
        """Return the predicted probability whose corrected probability is p; the inverse of `probability`.

        Parameters
        ----------
        p : float
            Corrected probability.

        Returns
        -------
        float
        """
        return float(np.interp(p, self.probabilities, PROBABILITIES))

    def rescaled(self, unit: float, shift: float) -> Self:
        """Return the recalibration for ratings that are multiplied by `unit` and shifted by `shift`.

        Parameters
        ----------
        unit : float
            Multiplier; positive.
        shift : float
            Value added after the multiplication.

        Returns
        -------
        Recalibration
        """
        ratings, points = (read_only(values * unit + shift) for values in (self.ratings, self.points))
        return type(self)(ratings, points, self.probabilities)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name.

        Returns
        -------
        dict of {str: ndarray}
            Arguments of the constructor.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _thresholds(means: Float64, sds: Float64, mass: Float64, level: Any, grid: Float64) -> Float64:
    """Return the points c_l at which the mean of G(F(c_l)) equals the observed share of ratings up to level l."""
    n, width, edges = len(means), grid[-1] - grid[0], (grid[1:] + grid[:-1]) / 2
    points, probabilities = np.linspace(grid[0] - width, grid[-1] + width, GRID_SIZE), _cumulative(mass)
    predicted = np.zeros(GRID_SIZE)
    for start in range(0, n, BATCH_SIZE):  # bounds the memory
        rows = slice(start, start + BATCH_SIZE)
        predicted += np.interp(mixture_cdf(means[rows], sds[rows], points), PROBABILITIES, probabilities).sum(axis=0)
    predicted = predicted / n if n else (points - points[0]) / (3 * width)
    cumulative_counts = np.cumsum(np.bincount(level, minlength=len(grid)))[:-1]
    share = (cumulative_counts + PRIOR_ROWS * np.interp(edges, points, predicted)) / (n + PRIOR_ROWS)
    strictly_ascending = np.maximum.accumulate(predicted) + 1e-12 * np.arange(GRID_SIZE)
    thresholds = np.interp(share, strictly_ascending, points)
    smallest_gap = 1e-6 * width * np.arange(len(edges))
    separated: Float64 = np.maximum.accumulate(thresholds - smallest_gap) + smallest_gap
    return separated


def _bin_masses(low: Float64, high: Float64, mass: Float64) -> Float64:
    """Estimate the distribution of probability integral transforms known to lie between low and high, each (n,).

    The density is constant between two PROBABILITIES. Its maximum likelihood estimate is found by EM, which starts from
    `mass`, the probabilities between them.
    """
    left, width = PROBABILITIES[:-1], np.diff(PROBABILITIES)
    if (low == high).all():
        bins = np.searchsorted(PROBABILITIES[1:-1], low, side="right")
        total: Float64 = np.bincount(bins, minlength=len(width)) + PRIOR_ROWS * width
        normalized: Float64 = total / total.sum()
        return normalized
    share = np.maximum(np.minimum(high[:, None], left + width) - np.maximum(low[:, None], left), 0.0) / width
    for _ in range(EM_ITERATIONS):
        likelihood = np.einsum("nk,k->n", share, mass)
        weights = np.divide(1.0, likelihood, out=np.zeros_like(likelihood), where=likelihood > 0)
        total = np.einsum("nk,n->k", share, weights) * mass + PRIOR_ROWS * width
        mass = total / total.sum()
    return mass


def _cumulative(mass: Float64) -> Float64:
    """Return G at PROBABILITIES, given the probability mass between consecutive values."""
    cumulative: Float64 = np.concatenate([[0.0], np.cumsum(mass)[:-1], [1.0]])
    return cumulative


def _piecewise_linear(x: Float64, sources: Float64, targets: Float64) -> Float64:
    """Interpolate linearly from sources to targets; shift values outside of the sources; do nothing without sources."""
    if len(sources) == 0:
        return x
    below, above = np.minimum(x - sources[0], 0.0), np.maximum(x - sources[-1], 0.0)
    mapped: Float64 = np.interp(x, sources, targets) + below + above
    return mapped
