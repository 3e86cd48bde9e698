"""The scale ratings live on: its ends, and its levels where it has few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float32
from cofactor.errors import DataError

__all__ = ["MOST_LEVELS", "Scale"]

MOST_LEVELS = 21
"""A scale with more distinct values than this is a range, not a set of levels."""


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`; `levels` are all values a rating can take, ascending, or () for any value.

    All in the units of the ratings, such as stars.

    >>> Scale.of([1.0, 2.0, 4.0]).levels
    (1.0, 2.0, 3.0, 4.0)
    """

    low: float
    high: float
    levels: tuple[float, ...] = ()

    @classmethod
    def declared(cls, levels: Sequence[float]) -> Scale:
        """The scale a caller names. Raises DataError unless there are levels, all finite and distinct.

        >>> Scale.declared([5, 1, 3])
        Scale(low=1.0, high=5.0, levels=(1.0, 3.0, 5.0))
        """
        try:
            given = sorted(float(level) for level in levels)
        except (TypeError, ValueError):  # what is no number
            given = []
        if not given or not np.isfinite(given).all() or len(set(given)) < len(given):
            raise DataError(f"levels must be distinct finite numbers, not {levels!r}")
        return cls(given[0], given[-1], tuple(given))

    @classmethod
    def of(cls, values: Any) -> Scale:
        """The evenly spaced grid that the distinct values span, if it has at most 21 levels; else the range alone.

        values: (n,) finite numbers. Equal ones make one level. Raises DataError for none.

        >>> Scale.of([0.5, 5.0, 1.0]).levels[:3], Scale.of([1.0, 1.7, 9.0]).levels
        ((0.5, 1.0, 1.5), ())
        """
        distinct = pl.Series(np.asarray(values)).unique().sort().cast(pl.Float64).to_numpy() + 0.0  # no -0.0
        if len(distinct) == 0:
            raise DataError("there are no ratings, so there is no scale; declare it with levels=[...]")
        low, high = float(distinct[0]), float(distinct[-1])
        if len(distinct) > MOST_LEVELS:
            return cls(low, high)
        if low == high:
            return cls(low, high, (low,))
        places = (distinct - low) / np.diff(distinct).min()
        if places[-1] >= MOST_LEVELS or not np.allclose(places, np.round(places), atol=1e-4):
            return cls(low, high)
        return cls(low, high, tuple(np.linspace(low, high, round(float(places[-1])) + 1).tolist()))

    @property
    def step(self) -> float:
        """The least distance between neighboring levels; else a twentieth of the range, and 1 for a single value.

        >>> Scale.declared([1, 2, 3]).step, Scale(0.0, 10.0).step
        (1.0, 0.5)
        """
        if len(self.levels) > 1:
            return float(np.diff(self.levels).min())
        return (self.high - self.low) / 20 or 1.0

    @property
    def widened(self) -> tuple[float, float]:
        """Half a step beyond both ends: a sigmoid over it can reach the ends themselves.

        >>> Scale.declared([1, 2, 3, 4, 5]).widened
        (0.5, 5.5)
        """
        return self.low - self.step / 2, self.high + self.step / 2

    def holds(self, values: Float32) -> Any:
        """Which of these values (n,) lie on a level, or within the range where there are none: (n,) bool.

        >>> Scale.declared([1, 2, 3]).holds(np.float32([2, 2.5, 4])).tolist()
        [True, False, False]
        """
        if not self.levels:
            return (values >= self.low) & (values <= self.high)
        grid = np.asarray(self.levels)
        nearest = grid[np.abs(values[:, None] - grid[None, :]).argmin(axis=1)]
        return np.isclose(values, nearest, rtol=1e-6, atol=1e-6)
