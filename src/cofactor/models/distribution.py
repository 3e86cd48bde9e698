"""A predicted rating as a distribution: a mixture of normals, and the mass it puts on the scale's levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cofactor.arrays import Float32, Float64, contiguous, read_only
from cofactor.data.scale import Scale
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.mixture import mixture_cdf, mixture_quantile

__all__ = ["FLOOR", "Distribution"]

FLOOR = 1e-6
"""No level is held to be less likely than this: one surprise must not cost an infinite log-likelihood."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """What each of n ratings may be: a mixture of S normals of equal weight, binned on the levels.

        mass_l  proportional to  max(F(edge above l) - F(edge below l), 1e-6),     rows sum to 1

    Edges lie halfway between levels; the tails belong to the first and the last level.

        levels (L,) float32, ascending, empty where the scale is a range
        mass (n, L) float64        means, sds (n, S) float64

    Means and interval ends are those of the mixture, before it is binned.

    >>> one = Distribution.of([[3.0]], [[1.0]], Scale.declared([1, 2, 3, 4, 5]))
    >>> one.mass.round(3).tolist(), one.at_least(4).round(3).tolist()
    ([[0.067, 0.242, 0.383, 0.242, 0.067]], [0.309])
    >>> [round(float(end[0]), 2) for end in one.interval()]
    [1.04, 4.96]
    """

    levels: Float32
    mass: Float64
    means: Float64
    sds: Float64

    @classmethod
    def of(cls, means: Any, sds: Any, scale: Scale | None) -> Distribution:
        """From the components' means and standard deviations (n, S), and the scale they are binned on.

        Raises DataError for shapes that differ, no component, numbers that are not finite, or an sd that is not
        positive.
        """
        m, s = contiguous(means, np.float64), contiguous(sds, np.float64)
        if m.ndim != 2 or m.shape != s.shape or m.shape[1] == 0:
            raise DataError(f"means of shape {m.shape} and sds of shape {s.shape}: both must be (n, S), with S from 1")
        if not (np.isfinite(m).all() and np.isfinite(s).all() and (s > 0).all()):
            raise DataError("a mixture's means and sds must be finite, and its sds positive")
        levels = np.asarray(() if scale is None else scale.levels, np.float32)
        return cls(read_only(levels), read_only(_binned(m, s, levels)), read_only(m), read_only(s))

    def __len__(self) -> int:
        return len(self.means)

    def __repr__(self) -> str:
        return f"Distribution({len(self):,} ratings, {len(self.levels)} levels, {self.means.shape[1]} components)"

    def mean(self) -> Float64:
        """The mixture's mean: (n,) float64."""
        return self._moments[0]

    def sd(self) -> Float64:
        """The mixture's standard deviation: within the components and between them, (n,) float64."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Float64, Float64]:
        mean: Float64 = self.means.mean(axis=1)
        variance: Float64 = (self.sds**2).mean(axis=1) + ((self.means - mean[:, None]) ** 2).mean(axis=1)
        return mean, np.sqrt(variance)

    def at_least(self, value: float) -> Float64:
        """P(rating >= value), (n,) float64: by the mass on the levels; by the mixture where there are none."""
        if not np.isfinite(value):
            raise ParameterError(f"a rating is a finite number, not {value!r}")
        if len(self.levels) == 0:
            above: Float64 = 1 - mixture_cdf(self.means, self.sds, np.array([value]))[:, 0]
            return above
        reached = self.levels >= value - 1e-6 * max(1.0, abs(value))  # levels are float32: 0.1 is not 0.1
        at_least: Float64 = np.where(reached, self.mass, 0.0).sum(axis=1)
        return np.minimum(at_least, 1.0)

    def quantile(self, share: float) -> Float64:
        """The x that the mixture exceeds with probability 1 - share, real-valued: (n,) float64."""
        return mixture_quantile(self.means, self.sds, share)

    def interval(self, level: float = 0.95) -> tuple[Float64, Float64]:
        """Both ends of the central interval that holds the rating with probability `level`: (n,) float64 each.

        Raises ParameterError unless 0 < level < 1.
        """
        if not 0 < level < 1:
            raise ParameterError(f"level must be between 0 and 1, both excluded, not {level!r}")
        tail = (1 - level) / 2
        return self.quantile(tail), self.quantile(1 - tail)


def _binned(means: Float64, sds: Float64, levels: Float32) -> Float64:
    """The mass on each level: (n, L) float64, rows sum to 1."""
    if len(levels) == 0:
        return np.zeros((len(means), 0))
    grid = levels.astype(np.float64)
    below = mixture_cdf(means, sds, (grid[1:] + grid[:-1]) / 2)
    ends = np.zeros((len(means), 1)), np.ones((len(means), 1))
    mass = np.maximum(np.diff(np.hstack([ends[0], below, ends[1]]), axis=1), FLOOR)
    normalized: Float64 = mass / mass.sum(axis=1, keepdims=True)
    return normalized
