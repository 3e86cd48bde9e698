"""The scale ratings live on: its ends, and its levels where it has few."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float64
from cofactor.errors import DataError, ParameterError
from cofactor.fork import require_threads
from cofactor.validation import validated

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

    def __post_init__(self) -> None:
        low, high = checks.finite_number("low", self.low), checks.finite_number("high", self.high)
        if low > high:
            raise ParameterError(f"low must not be above high, {self.high!r}, not {self.low!r}")
        levels = checks.number_array("levels", self.levels, (None,))
        if len(levels) and ((np.diff(levels) <= 0).any() or levels[0] != low or levels[-1] != high):
            raise ParameterError(f"levels must ascend from low, {low:g}, to high, {high:g}, not {self.levels!r}")

    @classmethod
    def declared(cls, levels: Sequence[float]) -> Scale:
        """The scale a caller names. Raises DataError unless there are levels, all finite and distinct.

        >>> Scale.declared([5, 1, 3])
        Scale(low=1.0, high=5.0, levels=(1.0, 3.0, 5.0))
        """
        try:
            numbers = checks.number_array("levels", list(levels) if isinstance(levels, Set) else levels, (None,))
        except ParameterError:
            numbers = np.zeros(0)
        given = sorted(numbers.tolist())
        if not given or len(set(given)) < len(given):
            raise DataError(f"levels must be distinct finite numbers, not {checks.shown(levels)}")
        return cls(given[0], given[-1], tuple(given))

    @classmethod
    @validated
    def of(cls, values: Any) -> Scale:
        """The evenly spaced grid that the distinct values span, if it has at most 21 levels; else the range alone.

        values: (n,) finite numbers. Equal ones make one level. Raises DataError for none.

        >>> Scale.of([0.5, 5.0, 1.0]).levels[:3], Scale.of([1.0, 1.7, 9.0]).levels
        ((0.5, 1.0, 1.5), ())
        """
        require_threads()
        plain = type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind in "iuf"
        if not plain or values.dtype.itemsize > 8 or not np.isfinite(values).all():
            values = checks.number_array("values", values, (None,))
        distinct = pl.Series(values).unique().sort().cast(pl.Float64).to_numpy() + 0.0  # no -0.0
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

    @property
    def unit(self) -> float:
        """The unit in which estimators learn: a fifth of the widened scale, so 1 for ratings from 1 to 5.

        Returns
        -------
        float
            Above 0, in the units of the ratings.

        Examples
        --------
        >>> Scale.declared([1, 2, 3, 4, 5]).unit, Scale(0.0, 100.0).unit
        (1.0, 21.0)
        """
        low, high = self.widened
        return (high - low) / 5

    @validated
    def holds(self, values: Any) -> Bool:
        """Which of these values (n,) lie on a level, or within the range where there are none: (n,) bool.

        Ends and levels are compared within float32's precision: a rating of 0.7 read as float32 is on a level of 0.7.

        >>> Scale.declared([1, 2, 3]).holds(np.float32([2, 2.5, 4])).tolist()
        [True, False, False]
        >>> Scale(0.7, 0.9).holds([0.7, 0.8, 0.95, float("nan")]).tolist()
        [True, True, False, False]
        """
        given = _numbers(values)
        grid = np.asarray(self.levels or (self.low, self.high))
        nearest = grid[np.searchsorted((grid[1:] + grid[:-1]) / 2, given)]
        on_grid: Bool = np.isclose(given, nearest, rtol=1e-6, atol=1e-6)
        return on_grid if self.levels else on_grid | ((given >= self.low) & (given <= self.high))

    @validated
    def check(self, values: Any, *, name: str | Callable[[int], str] = "the rating") -> None:
        """Raise DataError for the first of these values that the scale does not hold.

        Every interface that takes ratings of a fitted model checks them by this function.

        Parameters
        ----------
        values : float or array-like of shape (n,)
            Ratings. No values pass.
        name : str or callable, default="the rating"
            What the message calls the value: a text, or a function of its place in `values` that returns one.

        Raises
        ------
        DataError
            Where a value lies outside of `low` to `high`, is not one of the levels where there are any, or is NaN.

        Examples
        --------
        >>> Scale.declared([1, 2, 3, 4, 5]).check([5, 3.0])
        >>> scale = Scale.declared([1, 2, 3, 4, 5])
        >>> scale.check([5, 4.5], name=lambda place: f"rating {place + 1}")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cofactor.errors.DataError: rating 2 is 4.5, which is not on the scale of 1 to 5 with levels 1, 2, 3, 4, 5; ...
        """
        given = np.atleast_1d(_numbers(values))
        off = ~self.holds(given)
        if off.any():
            place = int(off.argmax())
            what = name if isinstance(name, str) else name(place)
            raise DataError(
                f"{what} is {given[place]:.7g}, which is not on the scale of {self.description}; for other ratings, "
                "declare the levels of the training table and fit again"
            )

    @property
    def description(self) -> str:
        """The ends and the levels, for messages; of more than 21 levels the first three and the last.

        >>> Scale.of([1.0, 2.0, 3.0]).description, Scale(0.0, 10.0).description
        ('1 to 3 with levels 1, 2, 3', '0 to 10')
        """
        ends = f"{self.low:.7g} to {self.high:.7g}"
        shown = [f"{level:.7g}" for level in self.levels]
        if len(shown) > MOST_LEVELS:
            shown = [*shown[:3], "...", shown[-1]]
        return f"{ends} with levels {', '.join(shown)}" if shown else ends


def _numbers(values: Any) -> Float64:
    """A number or a list of numbers, nan among them, in float64. Raises ParameterError for anything else."""
    numbers = checks.as_array(values)
    if numbers.ndim > 1 or (numbers.size and numbers.dtype.kind not in "iuf"):
        raise ParameterError(f"values must be a number or a list of numbers, not {checks.shown(values)}")
    return numbers.astype(np.float64, copy=False)
