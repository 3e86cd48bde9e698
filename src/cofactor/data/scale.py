"""Rating scale: the range of ratings and, if there are few distinct values, the levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64
from cofactor.errors import DataError, ParameterError
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["MAX_LEVELS", "Scale", "centered"]

MAX_LEVELS = 21
"""Maximum number of levels inferred from data; with more distinct values, the scale is a range without levels."""


@dataclass(frozen=True)
class Scale:
    """Rating scale: the range of ratings and, optionally, the levels, which are the only values that a rating can take.

    Attributes
    ----------
    low, high : float
        Inclusive range of the ratings, in rating units such as stars.
    levels : tuple of float, default ()
        All values that a rating can take, sorted from `low` to `high`; () if any value in the range is valid.
    is_inferred : bool, default False
        Whether the scale was inferred from ratings instead of declared; ignored in comparisons. A split infers such a
        scale again from its training part, so that test ratings do not influence the model.

    Raises
    ------
    ParameterError
        If `low` is above `high`, `levels` is not sorted from `low` to `high`, or `is_inferred` is not a bool.

    Examples
    --------
    >>> Scale.infer([1.0, 2.0, 4.0]).levels
    (1.0, 2.0, 3.0, 4.0)
    """

    low: float
    high: float
    levels: tuple[float, ...] = ()
    is_inferred: bool = field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        checks.flag("is_inferred", self.is_inferred)
        low, high = checks.finite_number("low", self.low), checks.finite_number("high", self.high)
        if low > high:
            raise ParameterError(f"low must be at most high ({self.high!r}), not {self.low!r}")
        levels = checks.number_array("levels", self.levels, (None,))
        if len(levels) and ((np.diff(levels) <= 0).any() or levels[0] != low or levels[-1] != high):
            raise ParameterError(f"levels must ascend from low ({low:g}) to high ({high:g}), not {self.levels!r}")

    @classmethod
    def from_levels(cls, levels: Sequence[float]) -> Scale:
        """Create a rating scale with the given levels.

        Parameters
        ----------
        levels : sequence of float
            All values that a rating can take, in any order, in rating units.

        Returns
        -------
        Scale
            The scale from the lowest to the highest level.

        Raises
        ------
        DataError
            If `levels` is empty or its values are not finite and distinct.

        Examples
        --------
        >>> Scale.from_levels([5, 1, 3])
        Scale(low=1.0, high=5.0, levels=(1.0, 3.0, 5.0))
        """
        try:
            numbers = checks.number_array("levels", list(levels) if isinstance(levels, Set) else levels, (None,))
        except ParameterError:
            numbers = np.zeros(0)
        sorted_levels = sorted(numbers.tolist())
        if not sorted_levels or len(set(sorted_levels)) < len(sorted_levels):
            raise DataError(f"rating levels must be distinct finite numbers, not {checks.describe(levels)}")
        return cls(sorted_levels[0], sorted_levels[-1], tuple(sorted_levels))

    @classmethod
    @validated
    def infer(cls, values: Any) -> Scale:
        """Infer a rating scale from observed ratings.

        The levels are the evenly spaced grid that the distinct values span, if it has at most 21 points. Otherwise the
        scale is a range without levels.

        Parameters
        ----------
        values : array-like of shape (n,)
            Finite ratings. If all are equal, the scale has one level.

        Returns
        -------
        Scale
            The scale.

        Raises
        ------
        DataError
            If there are no values.
        ParameterError
            If a value is not a finite number.

        Examples
        --------
        >>> Scale.infer([0.5, 5.0, 1.0]).levels[:3], Scale.infer([1.0, 1.7, 9.0]).levels
        ((0.5, 1.0, 1.5), ())
        """
        require_threads()
        is_numeric_array = type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind in "iuf"
        if not is_numeric_array or values.dtype.itemsize > 8 or not np.isfinite(values).all():
            values = checks.number_array("values", values, (None,))
        distinct = pl.Series(values).unique().sort().cast(pl.Float64).to_numpy() + 0.0  # no -0.0
        if len(distinct) == 0:
            raise DataError("the rating scale cannot be inferred without ratings; declare it with rating_levels=[...]")
        low, high = float(distinct[0]), float(distinct[-1])
        if len(distinct) > MAX_LEVELS:
            return cls(low, high, is_inferred=True)
        if low == high:
            return cls(low, high, (low,), is_inferred=True)
        positions = (distinct - low) / np.diff(distinct).min()
        if positions[-1] >= MAX_LEVELS or not np.allclose(positions, np.round(positions), atol=1e-4):
            return cls(low, high, is_inferred=True)
        levels = tuple(np.linspace(low, high, round(float(positions[-1])) + 1).tolist())
        return cls(low, high, levels, is_inferred=True)

    @property
    def step(self) -> float:
        """Smallest distance between neighboring rating levels.

        Without levels it is a twentieth of the range; for a single value it is 1.

        Returns
        -------
        float
            The step, above 0.

        Examples
        --------
        >>> Scale.from_levels([1, 2, 3]).step, Scale(0.0, 10.0).step
        (1.0, 0.5)
        """
        if len(self.levels) > 1:
            return float(np.diff(self.levels).min())
        return (self.high - self.low) / 20 or 1.0

    @property
    def extended_range(self) -> tuple[float, float]:
        """Range of the rating scale, extended by half a step at both ends.

        A sigmoid over this range can reach `low` and `high`.

        Returns
        -------
        tuple of (float, float)
            Lower and upper end, in rating units.

        Examples
        --------
        >>> Scale.from_levels([1, 2, 3, 4, 5]).extended_range
        (0.5, 5.5)
        """
        return self.low - self.step / 2, self.high + self.step / 2

    @validated
    def contains(self, values: Any) -> Bool:
        """Return a boolean mask of the values that are on the rating scale.

        Levels and bounds are compared with the precision of float32: 0.7 read as float32 matches a level of 0.7.

        Parameters
        ----------
        values : float or array-like of shape (n,)
            Ratings; NaN is not on the rating scale.

        Returns
        -------
        ndarray of shape (n,), bool
            True if the value equals a level or, on a scale without levels, is in the range. Empty for no values.

        Raises
        ------
        ParameterError
            If `values` is not a number or a list of numbers.

        Examples
        --------
        >>> Scale.from_levels([1, 2, 3]).contains(np.float32([2, 2.5, 4])).tolist()
        [True, False, False]
        >>> Scale(0.7, 0.9).contains([0.7, 0.8, 0.95, float("nan")]).tolist()
        [True, True, False, False]
        """
        numbers = _numbers(values)
        level_array = np.asarray(self.levels or (self.low, self.high))
        nearest_levels = level_array[np.searchsorted((level_array[1:] + level_array[:-1]) / 2, numbers)]
        is_level: Bool = np.isclose(numbers, nearest_levels, rtol=1e-6, atol=1e-6)
        return is_level if self.levels else is_level | ((numbers >= self.low) & (numbers <= self.high))

    @validated
    def check(self, values: Any, *, name: str | Callable[[int], str] = "the rating") -> None:
        """Raise an error for the first value that is not on the rating scale.

        Every function that accepts ratings for a fitted model calls this method.

        Parameters
        ----------
        values : float or array-like of shape (n,)
            Ratings. An empty array passes.
        name : str or callable, default "the rating"
            Name of the value in the message: a string, or a function that maps a position in `values` to a string.

        Raises
        ------
        DataError
            If a value is outside the range, is not one of the levels (if the scale has any), or is NaN.

        Examples
        --------
        >>> Scale.from_levels([1, 2, 3, 4, 5]).check([5, 3.0])
        >>> scale = Scale.from_levels([1, 2, 3, 4, 5])
        >>> scale.check([5, 4.5], name=lambda k: f"rating {k + 1}")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cofactor.errors.DataError: rating 2 is 4.5, which is not on the rating scale of 1 to 5 with levels ...
        """
        numbers = np.atleast_1d(_numbers(values))
        invalid = ~self.contains(numbers)
        if invalid.any():
            first = int(invalid.argmax())
            label = name if isinstance(name, str) else name(first)
            raise DataError(
                f"{label} is {numbers[first]:.7g}, which is not on the rating scale of {self.description}; to allow "
                "other ratings, declare the rating levels when creating the training table, and refit"
            )

    @property
    def description(self) -> str:
        """Range and levels of the rating scale as text for messages; more than 21 levels are abbreviated.

        Returns
        -------
        str
            Text such as "1 to 3 with levels 1, 2, 3".

        Examples
        --------
        >>> Scale.infer([1.0, 2.0, 3.0]).description, Scale(0.0, 10.0).description
        ('1 to 3 with levels 1, 2, 3', '0 to 10')
        """
        limits = f"{self.low:.7g} to {self.high:.7g}"
        names = [f"{level:.7g}" for level in self.levels]
        if len(names) > MAX_LEVELS:
            names = [*names[:3], "...", names[-1]]
        return f"{limits} with levels {', '.join(names)}" if names else limits


def centered(values: Float32, mean: float, scale: Scale | None) -> Float64:
    """Subtract a mean from ratings without the rounding errors of float32 levels; the result is scale-equivariant.

    On a scale with evenly spaced levels, the exact level is used instead of its float32 value, which may be rounded.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        Ratings.
    mean : float
        The mean, in rating units.
    scale : Scale or None
        The scale of the ratings.

    Returns
    -------
    ndarray of shape (n,), float64
        Deviations from the mean.

    Examples
    --------
    >>> centered(np.float32([0.1, 0.3]), 0.2, Scale(0.1, 0.3, (0.1, 0.2, 0.3))).round(9).tolist()
    [-0.1, 0.1]
    """
    levels = np.asarray(() if scale is None else scale.levels)
    if len(levels) < 2 or not np.allclose(np.diff(levels), levels[1] - levels[0], rtol=1e-4, atol=0):
        return values.astype(np.float64) - mean
    step = (levels[-1] - levels[0]) / (len(levels) - 1)
    deviations: Float64 = (np.rint((values - levels[0]) / step) - (mean - levels[0]) / step) * step
    return deviations


def _numbers(values: Any) -> Float64:
    """Convert a number or a list of numbers, possibly NaN, to float64; raise ParameterError for anything else."""
    numbers = checks.as_array(values)
    if numbers.ndim > 1 or (numbers.size and numbers.dtype.kind not in "iuf"):
        raise ParameterError(f"values must be a number or a list of numbers, not {checks.describe(values)}")
    return numbers.astype(np.float64, copy=False)
