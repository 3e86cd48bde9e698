"""A predicted rating as a distribution: the mass it puts on the scale's levels, and a curve between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from cofactor import checks
from cofactor.arrays import Float32, Float64, contiguous, read_only
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.kernels.mixture import mixture_cdf, mixture_quantile
from cofactor.validation import validated

__all__ = ["FLOOR", "Cells", "Distribution", "Normals"]

FLOOR = 1e-6
"""No level is held to be less likely than this: one surprise must not cost an infinite log-likelihood."""


@dataclass(frozen=True, eq=False)
class Normals:
    """The curve of a mixture: S normals of equal weight for each rating.

        F(x) = 1/S sum_s Phi((x - mean_s) / sd_s)

    means, sds (n, S) float64, sds above 0.

    >>> wide = Normals(np.array([[2.0, 4.0]]), np.array([[1.0, 1.0]]))
    >>> [round(float(x[0]), 2) for x in (*wide.moments(), wide.quantile(0.5))]
    [3.0, 1.41, 3.0]
    """

    means: Float64
    sds: Float64

    def moments(self) -> tuple[Float64, Float64]:
        """Mean and standard deviation, (n,) float64 each: var = mean of sd_s^2 + mean of (mean_s - mean)^2."""
        mean: Float64 = self.means.mean(axis=1)
        variance: Float64 = (self.sds**2).mean(axis=1) + ((self.means - mean[:, None]) ** 2).mean(axis=1)
        return mean, np.sqrt(variance)

    @validated
    def below(self, points: Float64) -> Float64:
        """F at each point: (n, len(points)) float64."""
        return mixture_cdf(self.means, self.sds, checks.number_array("points", points, (None,)))

    @validated
    def quantile(self, share: float) -> Float64:
        """The x with F(x) = share, to 1e-10: (n,) float64. Raises ParameterError unless 0 < share < 1."""
        return mixture_quantile(self.means, self.sds, checks.fraction("share", share))


@dataclass(frozen=True, eq=False)
class Cells:
    """The curve of a bare mass: each level's mass lies evenly over the level's own cell, between two of the edges.

        F(edge_l) = mass_1 + ... + mass_l,    linear in between

    levels (L,) float32, mass (n, L) float64, all above 0, edges (L + 1,) float64, ascending: see `edges_of`.

    >>> coin = Cells(np.float32([0, 1]), np.array([[0.5, 0.5]]), edges_of(np.float32([0, 1])))
    >>> [round(float(x[0]), 2) for x in (*coin.moments(), coin.quantile(0.25))]
    [0.5, 0.5, 0.0]
    """

    levels: Float32
    mass: Float64
    edges: Float64

    def moments(self) -> tuple[Float64, Float64]:
        """Mean and standard deviation of the mass on the levels themselves, (n,) float64 each: what is predicted."""
        grid = self.levels.astype(np.float64)
        mean: Float64 = (self.mass * grid).sum(axis=1)
        return mean, np.sqrt((self.mass * (grid - mean[:, None]) ** 2).sum(axis=1))

    @validated
    def quantile(self, share: float) -> Float64:
        """The x with F(x) = share: (n,) float64. Raises ParameterError unless 0 < share < 1."""
        checks.fraction("share", share)
        reached = np.cumsum(self.mass, axis=1)
        cell = (reached[:, :-1] < share).sum(axis=1)
        its_mass, its_end = (np.take_along_axis(a, cell[:, None], axis=1)[:, 0] for a in (self.mass, reached))
        part = np.clip(1 - (its_end - share) / its_mass, 0.0, 1.0)
        low, high = self.edges[cell], self.edges[cell + 1]
        quantile: Float64 = low + (high - low) * part
        return quantile


@dataclass(frozen=True, eq=False)
class Distribution:
    """What each of n ratings may be: a mass on each level, whose rows sum to 1, and a curve that real numbers lie on.

    `of` a mixture of normals, which is then the curve, a level's mass is what lies nearest to it, the tails at both
    ends; `of_mass`, the curve spreads each level's mass evenly over its cell. Cells meet halfway between levels.

        levels (L,) float32, ascending, empty where the scale is a range
        mass (n, L) float64, each at least 1e-6

    Means are those of the mixture, before it is binned, or of the bare mass. Interval ends lie on the curve; where one
    cuts a cell, its level is inside or not, as a whole: an 80 % interval need not hold 80 % of the mass. Of no ratings
    (n = 0) every array is empty.

    >>> from cofactor.data.scale import Scale
    >>> one = Distribution.of([[3.0]], [[1.0]], Scale.from_levels([1, 2, 3, 4, 5]))
    >>> one.mass.round(3).tolist(), one.at_least(4).round(3).tolist()
    ([[0.067, 0.242, 0.383, 0.242, 0.067]], [0.309])
    >>> [round(float(end[0]), 2) for end in one.interval()]
    [1.04, 4.96]
    >>> bare = Distribution.of_mass([[0.0, 0.1, 0.2, 0.3, 0.4]], Scale.from_levels([1, 2, 3, 4, 5]))
    >>> [round(float(x[0]), 2) for x in (bare.mean(), bare.at_least(4), bare.quantile(0.1), bare.quantile(0.8))]
    [4.0, 0.7, 2.5, 5.0]
    """

    levels: Float32
    mass: Float64
    curve: Normals | Cells

    @classmethod
    @validated
    def of(cls, means: Any, sds: Any, scale: Scale | None) -> Self:
        """From the components' means and standard deviations (n, S), and the scale they are binned on.

            mass_l  proportional to  max(F(edge above l) - F(edge below l), 1e-6)

        `scale` None: no levels, so no mass, but means and intervals. Raises DataError for shapes that differ, no
        component, numbers that are not finite, or an sd that is not positive.

        >>> Distribution.of([[3.0, 4.0]], [[1.0, 0.5]], None)
        Distribution(1 ratings, 0 levels, 2 components)
        """
        m, s = (checks.number_array(name, x, (None, None)) for name, x in (("means", means), ("sds", sds)))
        if m.shape != s.shape or m.shape[1] == 0:
            raise DataError(f"means of shape {m.shape} and sds of shape {s.shape}: both must be (n, S), with S from 1")
        if not (s > 0).all():
            raise DataError("sds must be above 0")
        m, s = contiguous(m, np.float64), contiguous(s, np.float64)
        levels, curve = _levels(scale), Normals(read_only(m), read_only(s))
        return cls(levels, read_only(_binned(curve, levels)), curve)

    @classmethod
    @validated
    def of_mass(cls, mass: Any, scale: Scale) -> Self:
        """From the mass on each level of the scale, (n, L), rows that sum to 1 but for rounding (1e-3).

            mass_l  proportional to  max(mass_l as given, 1e-6)

        Raises DataError where the shape is not the scale's, the scale has no levels, or a row is no mass.
        """
        levels = _levels(scale)
        if len(levels) == 0:
            raise DataError("scale must have levels: a mass lies on them")
        given = contiguous(checks.number_array("mass", mass, (None, len(levels))), np.float64)
        wrong = ~((given >= 0).all(axis=1) & (np.abs(given.sum(axis=1) - 1) <= 1e-3))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"row {row + 1} of mass must be shares that sum to 1, not {given[row].tolist()}")
        floored = read_only(_floored(given))
        return cls(levels, floored, Cells(levels, floored, edges_of(levels)))

    def __len__(self) -> int:
        return len(self.mass)

    def __repr__(self) -> str:
        shape = f"{self.curve.means.shape[1]} components" if isinstance(self.curve, Normals) else "cells"
        return f"Distribution({len(self):,} ratings, {len(self.levels)} levels, {shape})"

    def mean(self) -> Float64:
        """The expected rating: (n,) float64."""
        return self._moments[0]

    def sd(self) -> Float64:
        """The standard deviation: (n,) float64."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Float64, Float64]:
        return self.curve.moments()

    @validated
    def at_least(self, value: float) -> Float64:
        """P(rating >= value), (n,) float64: by the mass on the levels; by the mixture where there are none.

        Raises ParameterError where the value is not finite.
        """
        if len(self.levels) == 0 and isinstance(self.curve, Normals):
            above: Float64 = 1 - self.curve.below(np.array([value]))[:, 0]
            return above
        least = value - 1e-6 * max(1.0, abs(value))  # levels are float32: 0.1 is not 0.1
        reached = self.levels.astype(np.float64) >= least
        at_least: Float64 = np.where(reached, self.mass, 0.0).sum(axis=1)
        return np.minimum(at_least, 1.0)

    @validated
    def quantile(self, share: float) -> Float64:
        """The x that the rating exceeds with probability 1 - share, by the curve: (n,) float64.

        Raises ParameterError unless 0 < share < 1.
        """
        return self.curve.quantile(share)

    @validated
    def interval(self, level: float = 0.95) -> tuple[Float64, Float64]:
        """Both ends of the central interval that holds the rating with probability `level`: (n,) float64 each.

        Raises ParameterError unless 0 < level < 1.
        """
        checks.fraction("level", level)
        tail = (1 - level) / 2
        return self.quantile(tail), self.quantile(1 - tail)


def edges_of(levels: Float32) -> Float64:
    """Where the levels' cells begin and end: (L + 1,) float64, for L from 1.

    Halfway between neighbors; the first and the last level lie in the middle of their cells. One level alone: 1 wide.

    >>> edges_of(np.array([1, 2, 4], np.float32)).tolist()
    [0.5, 1.5, 3.0, 5.0]
    """
    grid = levels.astype(np.float64)
    halves = np.diff(grid) / 2 if len(grid) > 1 else np.array([0.5])
    return np.concatenate([grid[:1] - halves[0], (grid[1:] + grid[:-1]) / 2, grid[-1:] + halves[-1]])


def _levels(scale: Scale | None) -> Float32:
    return read_only(np.asarray(() if scale is None else scale.levels, np.float32))


def _binned(curve: Normals, levels: Float32) -> Float64:
    """The mass on each level: (n, L) float64, rows sum to 1."""
    n = len(curve.means)
    if len(levels) == 0:
        return np.zeros((n, 0))
    below = curve.below(edges_of(levels)[1:-1])
    return _floored(np.diff(np.hstack([np.zeros((n, 1)), below, np.ones((n, 1))]), axis=1))


def _floored(mass: Float64) -> Float64:
    raised = np.maximum(mass, FLOOR)
    floored: Float64 = raised / raised.sum(axis=1, keepdims=True)
    return floored
