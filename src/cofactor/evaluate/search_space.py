"""Search space: the settings of an estimator to tune and their ranges, read from its fields."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import Field, dataclass, fields
from typing import Any

from cofactor import checks
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator, require_estimator

__all__ = ["Range", "search_space"]


@dataclass(frozen=True)
class Range:
    """Range of a setting.

    Attributes
    ----------
    low, high : float
        The ends, both included.
    log : bool
        Whether to search on a logarithmic scale.
    is_integer : bool
        Whether the setting is a whole number.

    Examples
    --------
    >>> Range(8, 256, log=True, is_integer=True).round(61), Range(8, 256, log=True, is_integer=True).contains(500)
    (64, False)
    """

    low: float
    high: float
    log: bool
    is_integer: bool

    def round(self, value: float) -> float:
        """Round a value to a value that differs enough for a trial.

        Parameters
        ----------
        value : float
            A value in the range.

        Returns
        -------
        float
            Whole numbers on a logarithmic range become a power of 2 or the middle between two; others stay. 61 factors
            give no more information than 64, and kernels are compiled again for each width.
        """
        if not (self.is_integer and self.log):
            return value
        power = 1 << (int(value).bit_length() - 1)
        nearest = min((power, power + power // 2, 2 * power), key=lambda step: abs(step - value))
        return min(max(nearest, int(self.low)), int(self.high))

    def contains(self, value: Any) -> bool:
        """Return whether a value is a number in the range.

        Parameters
        ----------
        value : object
            Any value.

        Returns
        -------
        bool
            False for booleans and other types.
        """
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high


def search_space(estimator: Estimator, *, fixed: Collection[str] = ()) -> dict[str, Range]:
    """Return the range of each setting to search.

    Parameters
    ----------
    estimator : Estimator
        The estimator to tune.
    fixed : collection of str, default ()
        Settings to leave out.

    Returns
    -------
    dict of str to Range
        Ranges by name, in the order of the fields: of the fields that declare `search`; if none does, of all numbers
        with both a low and a high end. A logarithmic range starts above 0.

    Raises
    ------
    ParameterError
        If a name in `fixed` is not a setting, or nothing is left to search.

    Examples
    --------
    >>> import cofactor
    >>> search_space(cofactor.Bias())
    {'damping': Range(low=1, high=50, log=True, whole=False)}
    """
    require_estimator(estimator)
    fixed = checks.names("fixed", fixed)
    specs = fields(estimator)
    if unknown := set(fixed) - {spec.name for spec in specs}:
        raise ParameterError(f"{estimator.name} has no setting {min(unknown)!r} to keep fixed")
    declared = {spec.name: spec.metadata["search"] for spec in specs if spec.metadata.get("search") is not None}
    bounds = declared or {spec.name: pair for spec in specs if (pair := _bounds(spec)) is not None}
    space = {spec.name: _range(spec, *bounds[spec.name]) for spec in specs if spec.name in set(bounds) - set(fixed)}
    if not space:
        suffix = f" with {', '.join(fixed)} fixed" if fixed else ""
        raise ParameterError(f"{estimator.name} has no setting to search{suffix}: there is nothing to tune")
    return space


def _bounds(spec: Field[Any]) -> tuple[float, float] | None:
    """Return the low and the high end of a number, or None if one is missing."""
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    return None if low is None or high is None or type(spec.default) not in (int, float) else (low, high)


def _range(spec: Field[Any], low: float, high: float) -> Range:
    """Return the range of a field between two ends."""
    log = bool(spec.metadata.get("log"))
    if log and low <= 0:
        low = high / 1e6
    return Range(low, high, log, type(spec.default) is int)
