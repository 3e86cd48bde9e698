"""Predictive distributions of ratings: a probability for each level of the rating scale, and a continuous density."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from cofactor import checks
from cofactor.arrays import Float32, Float64, contiguous, read_only
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.kernels.mixture import mixture_cdf, mixture_cdf_at, mixture_quantile
from cofactor.models.recalibration import Recalibration
from cofactor.validation import validated

__all__ = ["MIN_PROBABILITY", "Distribution", "Histogram", "NormalMixture"]

MIN_PROBABILITY = 1e-6
"""The minimum probability of a level, so that a single unlikely rating does not give an infinite log-likelihood."""


@dataclass(frozen=True, eq=False)
class NormalMixture:
    """Predictive distributions of ratings: for each rating, an equally weighted mixture of S normal distributions.

    Parameters
    ----------
    means : ndarray of shape (n, S), float64
        The mean of each component.
    sds : ndarray of shape (n, S), float64
        The standard deviation of each component; positive.
    recalibration : Recalibration, optional
        Correction of the distribution function and its quantiles; see `models.recalibration`.

    Notes
    -----
    F(x) = 1/S sum_s Phi((x - mean_s) / sd_s), or G(F(t(x))) with the maps G and t of a `recalibration`.

    Examples
    --------
    >>> mixture = NormalMixture(np.array([[2.0, 4.0]]), np.array([[1.0, 1.0]]))
    >>> [round(float(x[0]), 2) for x in (*mixture.moments(), mixture.quantile(0.5))]
    [3.0, 1.41, 3.0]
    """

    means: Float64
    sds: Float64
    recalibration: Recalibration | None = None

    def moments(self) -> tuple[Float64, Float64]:
        """Compute the mean and the standard deviation of each mixture of normal distributions.

        The variance is the mean of sd_s^2 plus the mean of (mean_s - mean)^2. A recalibration does not change the
        moments, so that the mean is the predicted rating.

        Returns
        -------
        mean : ndarray of shape (n,), float64
            The mean of each rating.
        sd : ndarray of shape (n,), float64
            The standard deviation of each rating.
        """
        mean: Float64 = self.means.mean(axis=1)
        variance: Float64 = (self.sds**2).mean(axis=1) + ((self.means - mean[:, None]) ** 2).mean(axis=1)
        return mean, np.sqrt(variance)

    @validated
    def cdf(self, points: Float64) -> Float64:
        """Compute the cumulative distribution function of each mixture of normal distributions at each point.

        Parameters
        ----------
        points : ndarray of shape (m,), float64
            The points; must be finite.

        Returns
        -------
        ndarray of shape (n, m), float64
        """
        x = checks.number_array("points", points, (None,))
        if self.recalibration is None:
            return mixture_cdf(self.means, self.sds, x)
        z = contiguous(self.recalibration.latent(x), np.float64)
        return self.recalibration.probability(mixture_cdf(self.means, self.sds, z))

    @validated
    def cdf_at(self, points: Float64) -> Float64:
        """Evaluate the cumulative distribution function of each mixture at its own point.

        Parameters
        ----------
        points : ndarray of shape (n,), float64
            One point for each rating; must be finite.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        x = checks.number_array("points", points, (len(self.means),))
        if self.recalibration is None:
            return mixture_cdf_at(self.means, self.sds, x)
        return self.recalibration.probability(mixture_cdf_at(self.means, self.sds, self.recalibration.latent(x)))

    @validated
    def quantile(self, probability: float) -> Float64:
        """Compute a quantile of each mixture of normal distributions, to within 1e-10; see `Distribution.quantile`.

        Parameters
        ----------
        probability : float
            The probability, strictly between 0 and 1; raises ParameterError otherwise.

        Returns
        -------
        ndarray of shape (n,), float64
            One value for each rating.
        """
        p = checks.fraction("probability", probability)
        if self.recalibration is None:
            return mixture_quantile(self.means, self.sds, p)
        z = mixture_quantile(self.means, self.sds, self.recalibration.predicted_probability(p))
        return self.recalibration.rating(z)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Piecewise uniform distribution: the probability of each rating level is spread uniformly around the level.

    Parameters
    ----------
    levels : ndarray of shape (L,), float32
        The levels.
    mass : ndarray of shape (n, L), float64
        The probability of each level; positive.
    edges : ndarray of shape (L + 1,), float64
        The cell edges in ascending order; see `edges_of`.

    Notes
    -----
    F(edge_l) = mass_1 + ... + mass_l, with linear interpolation between edges.

    Examples
    --------
    >>> coin = Histogram(np.float32([0, 1]), np.array([[0.5, 0.5]]), edges_of(np.float32([0, 1])))
    >>> [round(float(x[0]), 2) for x in (*coin.moments(), coin.quantile(0.25))]
    [0.5, 0.5, 0.0]
    """

    levels: Float32
    mass: Float64
    edges: Float64

    def moments(self) -> tuple[Float64, Float64]:
        """Compute the mean and the standard deviation of each rating from the probabilities of its levels.

        Returns
        -------
        mean : ndarray of shape (n,), float64
            The mean of each rating.
        sd : ndarray of shape (n,), float64
            The standard deviation of each rating.
        """
        grid = self.levels.astype(np.float64)
        mean: Float64 = (self.mass * grid).sum(axis=1)
        return mean, np.sqrt((self.mass * (grid - mean[:, None]) ** 2).sum(axis=1))

    @validated
    def quantile(self, probability: float) -> Float64:
        """Compute a quantile of each piecewise uniform distribution; see `Distribution.quantile`.

        Parameters
        ----------
        probability : float
            The probability, strictly between 0 and 1; raises ParameterError otherwise.

        Returns
        -------
        ndarray of shape (n,), float64
            One value for each rating.
        """
        checks.fraction("probability", probability)
        cumulative_mass = np.cumsum(self.mass, axis=1)
        cell = (cumulative_mass[:, :-1] < probability).sum(axis=1)
        cell_mass, cell_end = (np.take_along_axis(a, cell[:, None], axis=1)[:, 0] for a in (self.mass, cumulative_mass))
        fraction = np.clip(1 - (cell_end - probability) / cell_mass, 0.0, 1.0)
        low, high = self.edges[cell], self.edges[cell + 1]
        quantile: Float64 = low + (high - low) * fraction
        return quantile


@dataclass(frozen=True, eq=False)
class Distribution:
    """Predictive distributions of n ratings: probabilities of the levels of the rating scale, and a continuous density.

    Create it with `of` from mixtures of normal distributions, whose mass is binned to the nearest level (the tails go
    to the first and the last level), or with `of_mass` from probability masses, which the curve spreads uniformly over
    the cells. Cell edges lie halfway between levels.

    Parameters
    ----------
    levels : ndarray of shape (L,), float32
        The levels in ascending order; empty if the scale is a range.
    mass : ndarray of shape (n, L), float64
        The probability of each level, at least about 1e-6; rows sum to 1.
    curve : NormalMixture or Histogram
        The continuous distribution.

    Notes
    -----
    The mean is the mean of the mixture before binning and recalibration, or the mean of the mass if there is no
    mixture. Interval endpoints are quantiles of the curve. An endpoint may fall inside a cell, but the level of that
    cell is either inside or outside the interval, so an 80% interval does not necessarily contain 80% of the mass.

    Examples
    --------
    >>> from cofactor.data.scale import Scale
    >>> mixture = Distribution.of([[3.0]], [[1.0]], Scale.from_levels([1, 2, 3, 4, 5]))
    >>> mixture.mass.round(3).tolist(), mixture.at_least(4).round(3).tolist()
    ([[0.067, 0.242, 0.383, 0.242, 0.067]], [0.309])
    >>> [round(float(end[0]), 2) for end in mixture.interval()]
    [1.04, 4.96]
    >>> mass = Distribution.of_mass([[0.0, 0.1, 0.2, 0.3, 0.4]], Scale.from_levels([1, 2, 3, 4, 5]))
    >>> [round(float(x[0]), 2) for x in (mass.mean(), mass.at_least(4), mass.quantile(0.1), mass.quantile(0.8))]
    [4.0, 0.7, 2.5, 5.0]
    """

    levels: Float32
    mass: Float64
    curve: NormalMixture | Histogram

    @classmethod
    @validated
    def of(
        cls, means: ArrayLike, sds: ArrayLike, scale: Scale | None, recalibration: Recalibration | None = None
    ) -> Self:
        """Create distributions from mixtures of normal distributions.

        Parameters
        ----------
        means, sds : ndarray of shape (n, S)
            The means and standard deviations of the components.
        scale : Scale or None
            The scale with the levels to bin to; without levels there is no mass, only means and intervals.
        recalibration : Recalibration, optional
            Correction learned from held-out ratings on this scale.

        Returns
        -------
        Distribution

        Raises
        ------
        DataError
            If the shapes differ, there is no component, a value is not finite, or a standard deviation is not positive.

        Notes
        -----
        mass_l is proportional to max(F(edge above l) - F(edge below l), 1e-6).

        Examples
        --------
        >>> Distribution.of([[3.0, 4.0]], [[1.0, 0.5]], None)
        Distribution(1 ratings, 0 levels, 2 components)
        """
        m, s = (checks.number_array(name, x, (None, None)) for name, x in (("means", means), ("sds", sds)))
        if m.shape != s.shape or m.shape[1] == 0:
            raise DataError(f"means and sds must have the same shape (n, S), with S >= 1; got {m.shape} and {s.shape}")
        if not (s > 0).all():
            raise DataError("sds must be positive")
        m, s = contiguous(m, np.float64), contiguous(s, np.float64)
        levels, curve = _levels(scale), NormalMixture(read_only(m), read_only(s), recalibration)
        return cls(levels, read_only(_level_probabilities(curve, levels)), curve)

    @classmethod
    @validated
    def of_mass(cls, mass: ArrayLike, scale: Scale) -> Self:
        """Create distributions from probabilities of rating levels.

        Parameters
        ----------
        mass : ndarray of shape (n, L)
            Rows that sum to 1, within 1e-3.
        scale : Scale
            A scale with L levels.

        Returns
        -------
        Distribution

        Raises
        ------
        DataError
            If the scale has no levels, there is not one column for each level, or a row does not sum to 1.

        Notes
        -----
        Each mass_l is raised to at least 1e-6, and the rows are normalized again.
        """
        levels = _levels(scale)
        if len(levels) == 0:
            raise DataError("scale must have levels, one for each column of mass")
        raw_mass = contiguous(checks.number_array("mass", mass, (None, len(levels))), np.float64)
        is_invalid = ~((raw_mass >= 0).all(axis=1) & (np.abs(raw_mass.sum(axis=1) - 1) <= 1e-3))
        if is_invalid.any():
            row = int(is_invalid.argmax())
            raise DataError(
                f"row {row + 1} of mass must contain probabilities that sum to 1; got {raw_mass[row].tolist()}"
            )
        probabilities = read_only(_with_min_probability(raw_mass))
        return cls(levels, probabilities, Histogram(levels, probabilities, edges_of(levels)))

    def __len__(self) -> int:
        return len(self.mass)

    def __repr__(self) -> str:
        shape = f"{self.curve.means.shape[1]} components" if isinstance(self.curve, NormalMixture) else "cells"
        return f"Distribution({len(self):,} ratings, {len(self.levels)} levels, {shape})"

    def mean(self) -> Float64:
        """Return the expected value of each rating.

        Returns
        -------
        ndarray of shape (n,), float64
            One value for each rating.
        """
        return self._moments[0]

    def sd(self) -> Float64:
        """Return the standard deviation of each rating.

        Returns
        -------
        ndarray of shape (n,), float64
            One value for each rating.
        """
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Float64, Float64]:
        return self.curve.moments()

    @validated
    def at_least(self, value: float) -> Float64:
        """Compute P(rating >= value) for each rating, from its level probabilities or, without levels, its mixture.

        Parameters
        ----------
        value : float
            The threshold; must be finite.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        if len(self.levels) == 0 and isinstance(self.curve, NormalMixture):
            complement: Float64 = 1 - self.curve.cdf(np.array([value]))[:, 0]
            return complement
        threshold = value - 1e-6 * max(1.0, abs(value))  # levels are float32: 0.1 differs from the float64 0.1
        is_reached = self.levels.astype(np.float64) >= threshold
        at_least: Float64 = np.where(is_reached, self.mass, 0.0).sum(axis=1)
        return np.minimum(at_least, 1.0)

    @validated
    def quantile(self, probability: float) -> Float64:
        """Compute a quantile of each rating's continuous distribution: the x for which P(rating <= x) is `probability`.

        Parameters
        ----------
        probability : float
            The probability, strictly between 0 and 1; raises ParameterError otherwise.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self.curve.quantile(probability)

    @validated
    def interval(self, confidence: float = 0.95) -> tuple[Float64, Float64]:
        """Compute, for each rating, a central interval that contains it with the given probability.

        Parameters
        ----------
        confidence : float, default 0.95
            The probability, strictly between 0 and 1; raises ParameterError otherwise.

        Returns
        -------
        low, high : ndarray of shape (n,), float64
        """
        checks.fraction("confidence", confidence)
        tail = (1 - confidence) / 2
        return self.quantile(tail), self.quantile(1 - tail)


def edges_of(levels: Float32) -> Float64:
    """Return the boundaries of the intervals around the levels of a rating scale.

    Edges lie halfway between adjacent levels; the first and the last level are at the centers of their cells. The cell
    of a single level has width 1.

    Parameters
    ----------
    levels : ndarray of shape (L,), float32
        At least one level, in ascending order.

    Returns
    -------
    ndarray of shape (L + 1,), float64
        The edges in ascending order.

    Examples
    --------
    >>> edges_of(np.array([1, 2, 4], np.float32)).tolist()
    [0.5, 1.5, 3.0, 5.0]
    """
    grid = levels.astype(np.float64)
    half_widths = np.diff(grid) / 2 if len(grid) > 1 else np.array([0.5])
    return np.concatenate([grid[:1] - half_widths[0], (grid[1:] + grid[:-1]) / 2, grid[-1:] + half_widths[-1]])


def _levels(scale: Scale | None) -> Float32:
    return read_only(np.asarray(() if scale is None else scale.levels, np.float32))


def _level_probabilities(curve: NormalMixture, levels: Float32) -> Float64:
    """Return the mass of each mixture on each level, as an array of shape (n, L) whose rows sum to 1."""
    n = len(curve.means)
    if len(levels) == 0:
        return np.zeros((n, 0))
    cumulative = curve.cdf(edges_of(levels)[1:-1])
    return _with_min_probability(np.diff(np.hstack([np.zeros((n, 1)), cumulative, np.ones((n, 1))]), axis=1))


def _with_min_probability(mass: Float64) -> Float64:
    """Raise each probability to at least the minimum and normalize the rows."""
    bounded_mass = np.maximum(mass, MIN_PROBABILITY)
    probabilities: Float64 = bounded_mass / bounded_mass.sum(axis=1, keepdims=True)
    return probabilities
