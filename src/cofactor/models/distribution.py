"""Distribution of predicted ratings: a probability for each level of the scale, and a continuous curve."""

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
from cofactor.kernels.mixture import mixture_cdf, mixture_quantile
from cofactor.validation import validated

__all__ = ["MIN_PROBABILITY", "Distribution", "Histogram", "NormalMixture"]

MIN_PROBABILITY = 1e-6
"""The smallest probability of a level: a single surprise must not cause an infinite log-likelihood."""


@dataclass(frozen=True, eq=False)
class NormalMixture:
    """Mixture of S normal distributions of equal weight for each rating.

    Parameters
    ----------
    means : ndarray of shape (n, S), float64
        The mean of each component.
    sds : ndarray of shape (n, S), float64
        The standard deviation of each component, above 0.

    Notes
    -----
    F(x) = 1/S sum_s Phi((x - mean_s) / sd_s)

    Examples
    --------
    >>> mixture = NormalMixture(np.array([[2.0, 4.0]]), np.array([[1.0, 1.0]]))
    >>> [round(float(x[0]), 2) for x in (*mixture.moments(), mixture.quantile(0.5))]
    [3.0, 1.41, 3.0]
    """

    means: Float64
    sds: Float64

    def moments(self) -> tuple[Float64, Float64]:
        """Compute the mean and the standard deviation: (n,) float64 each.

        The variance is the mean of sd_s^2 plus the mean of (mean_s - mean)^2.

        Returns
        -------
        mean : ndarray of shape (n,), float64
            Means.
        sd : ndarray of shape (n,), float64
            Standard deviations.
        """
        mean: Float64 = self.means.mean(axis=1)
        variance: Float64 = (self.sds**2).mean(axis=1) + ((self.means - mean[:, None]) ** 2).mean(axis=1)
        return mean, np.sqrt(variance)

    @validated
    def below(self, points: Float64) -> Float64:
        """Compute F at each point.

        Parameters
        ----------
        points : ndarray of shape (m,), float64
            Finite numbers.

        Returns
        -------
        ndarray of shape (n, m), float64
        """
        return mixture_cdf(self.means, self.sds, checks.number_array("points", points, (None,)))

    @validated
    def quantile(self, share: float) -> Float64:
        """Compute the x with F(x) = share, to 1e-10; see `Distribution.quantile`.

        Parameters
        ----------
        share : float
            Between 0 and 1, both exclusive; raises ParameterError otherwise.

        Returns
        -------
        ndarray of shape (n,), float64
            A number for each rating.
        """
        return mixture_quantile(self.means, self.sds, checks.fraction("share", share))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Piecewise uniform distribution: the probability of each level is spread evenly over the cell of the level.

    Parameters
    ----------
    levels : ndarray of shape (L,), float32
        The levels.
    mass : ndarray of shape (n, L), float64
        The probability of each level, above 0.
    edges : ndarray of shape (L + 1,), float64
        The edges of the cells, ascending; see `edges_of`.

    Notes
    -----
    F(edge_l) = mass_1 + ... + mass_l, linear in between.

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
        """Compute the mean and the standard deviation of the mass on the levels: (n,) float64 each.

        Returns
        -------
        mean : ndarray of shape (n,), float64
            Means.
        sd : ndarray of shape (n,), float64
            Standard deviations.
        """
        grid = self.levels.astype(np.float64)
        mean: Float64 = (self.mass * grid).sum(axis=1)
        return mean, np.sqrt((self.mass * (grid - mean[:, None]) ** 2).sum(axis=1))

    @validated
    def quantile(self, share: float) -> Float64:
        """Compute the x with F(x) = share; see `Distribution.quantile`.

        Parameters
        ----------
        share : float
            Between 0 and 1, both exclusive; raises ParameterError otherwise.

        Returns
        -------
        ndarray of shape (n,), float64
            A number for each rating.
        """
        checks.fraction("share", share)
        cumulative = np.cumsum(self.mass, axis=1)
        cell = (cumulative[:, :-1] < share).sum(axis=1)
        cell_mass, cell_end = (np.take_along_axis(a, cell[:, None], axis=1)[:, 0] for a in (self.mass, cumulative))
        part = np.clip(1 - (cell_end - share) / cell_mass, 0.0, 1.0)
        low, high = self.edges[cell], self.edges[cell + 1]
        quantile: Float64 = low + (high - low) * part
        return quantile


@dataclass(frozen=True, eq=False)
class Distribution:
    """Distributions of n ratings: a probability mass on the levels of the scale, and a continuous curve.

    Created by `of` from a mixture of normal distributions, whose mass is binned to the nearest level, with the tails at
    both ends; or by `of_mass` from a mass, which the curve spreads evenly over the cells. Cells meet halfway between
    levels.

    Parameters
    ----------
    levels : ndarray of shape (L,), float32
        The levels, ascending; empty if the scale is a range.
    mass : ndarray of shape (n, L), float64
        The probability of each level, at least 1e-6; rows sum to 1.
    curve : NormalMixture or Histogram
        The curve.

    Notes
    -----
    The mean is that of the mixture, before it is binned, or of the mass. Ends of intervals are on the curve. Where an
    end is within a cell, the level of the cell is inside or outside as a whole, so that an 80 % interval need not
    contain 80 % of the mass.

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
    def of(cls, means: ArrayLike, sds: ArrayLike, scale: Scale | None) -> Self:
        """Create the distributions of mixtures of normal distributions.

        Parameters
        ----------
        means, sds : ndarray of shape (n, S)
            The means and standard deviations of the components.
        scale : Scale or None
            The scale to bin to; without levels there is no mass, only means and intervals.

        Returns
        -------
        Distribution

        Raises
        ------
        DataError
            If shapes differ, there is no component, a number is not finite, or a standard deviation is not positive.

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
            raise DataError(f"means of shape {m.shape} and sds of shape {s.shape}: both must be (n, S), with S from 1")
        if not (s > 0).all():
            raise DataError("sds must be above 0")
        m, s = contiguous(m, np.float64), contiguous(s, np.float64)
        levels, curve = _levels(scale), NormalMixture(read_only(m), read_only(s))
        return cls(levels, read_only(_binned(curve, levels)), curve)

    @classmethod
    @validated
    def of_mass(cls, mass: ArrayLike, scale: Scale) -> Self:
        """Create the distributions of probabilities of the levels of a scale.

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
            If the shape differs from that of the scale, the scale has no levels, or a row is not a mass.

        Notes
        -----
        mass_l is proportional to max(mass_l, 1e-6).
        """
        levels = _levels(scale)
        if len(levels) == 0:
            raise DataError("scale must have levels, to which the mass belongs")
        shares = contiguous(checks.number_array("mass", mass, (None, len(levels))), np.float64)
        is_wrong = ~((shares >= 0).all(axis=1) & (np.abs(shares.sum(axis=1) - 1) <= 1e-3))
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise DataError(f"row {row + 1} of mass must be shares that sum to 1, not {shares[row].tolist()}")
        floored = read_only(_floored(shares))
        return cls(levels, floored, Histogram(levels, floored, edges_of(levels)))

    def __len__(self) -> int:
        return len(self.mass)

    def __repr__(self) -> str:
        shape = f"{self.curve.means.shape[1]} components" if isinstance(self.curve, NormalMixture) else "cells"
        return f"Distribution({len(self):,} ratings, {len(self.levels)} levels, {shape})"

    def mean(self) -> Float64:
        """Return the expected ratings: ndarray of shape (n,), float64.

        Returns
        -------
        ndarray of shape (n,), float64
            A number for each rating.
        """
        return self._moments[0]

    def sd(self) -> Float64:
        """Return the standard deviations: ndarray of shape (n,), float64.

        Returns
        -------
        ndarray of shape (n,), float64
            A number for each rating.
        """
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Float64, Float64]:
        return self.curve.moments()

    @validated
    def at_least(self, value: float) -> Float64:
        """Compute P(rating >= value) by the mass on the levels, or by the mixture if there are none.

        Parameters
        ----------
        value : float
            A finite number.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        if len(self.levels) == 0 and isinstance(self.curve, NormalMixture):
            above: Float64 = 1 - self.curve.below(np.array([value]))[:, 0]
            return above
        threshold = value - 1e-6 * max(1.0, abs(value))  # levels are float32: 0.1 differs from the float64 0.1
        is_reached = self.levels.astype(np.float64) >= threshold
        at_least: Float64 = np.where(is_reached, self.mass, 0.0).sum(axis=1)
        return np.minimum(at_least, 1.0)

    @validated
    def quantile(self, share: float) -> Float64:
        """Compute the x that the rating exceeds with the probability 1 - share, by the curve.

        Parameters
        ----------
        share : float
            Between 0 and 1, both exclusive; raises ParameterError otherwise.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self.curve.quantile(share)

    @validated
    def interval(self, confidence: float = 0.95) -> tuple[Float64, Float64]:
        """Compute the central intervals that contain the rating with a probability.

        Parameters
        ----------
        confidence : float, default 0.95
            The probability, between 0 and 1, both exclusive; raises ParameterError otherwise.

        Returns
        -------
        low, high : ndarray of shape (n,), float64
        """
        checks.fraction("confidence", confidence)
        tail = (1 - confidence) / 2
        return self.quantile(tail), self.quantile(1 - tail)


def edges_of(levels: Float32) -> Float64:
    """Return the edges of the cells of levels.

    Edges are halfway between neighbors; the first and the last level are in the middle of their cells. The cell of a
    single level has the width 1.

    Parameters
    ----------
    levels : ndarray of shape (L,), float32
        Ascending levels, at least one.

    Returns
    -------
    ndarray of shape (L + 1,), float64
        The edges, ascending.

    Examples
    --------
    >>> edges_of(np.array([1, 2, 4], np.float32)).tolist()
    [0.5, 1.5, 3.0, 5.0]
    """
    grid = levels.astype(np.float64)
    halves = np.diff(grid) / 2 if len(grid) > 1 else np.array([0.5])
    return np.concatenate([grid[:1] - halves[0], (grid[1:] + grid[:-1]) / 2, grid[-1:] + halves[-1]])


def _levels(scale: Scale | None) -> Float32:
    return read_only(np.asarray(() if scale is None else scale.levels, np.float32))


def _binned(curve: NormalMixture, levels: Float32) -> Float64:
    """Return the mass on each level: (n, L) float64, rows sum to 1."""
    n = len(curve.means)
    if len(levels) == 0:
        return np.zeros((n, 0))
    below = curve.below(edges_of(levels)[1:-1])
    return _floored(np.diff(np.hstack([np.zeros((n, 1)), below, np.ones((n, 1))]), axis=1))


def _floored(mass: Float64) -> Float64:
    """Raise each probability to the minimum and normalize the rows."""
    raised = np.maximum(mass, MIN_PROBABILITY)
    floored: Float64 = raised / raised.sum(axis=1, keepdims=True)
    return floored
