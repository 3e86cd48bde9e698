"""Search space: the tunable hyperparameters of an estimator and their ranges, as declared by its fields."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import Field, dataclass, fields
from typing import Any, get_args

from cofactor import checks
from cofactor.data.interactions import Kind
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator, require_estimator

__all__ = ["Range", "search_space"]


@dataclass(frozen=True)
class Range:
    """Search range of a hyperparameter.

    Attributes
    ----------
    low, high : float
        Lower and upper bounds, both inclusive.
    log : bool
        Whether to search on a logarithmic scale.
    is_integer : bool
        Whether the hyperparameter is an integer.

    Examples
    --------
    >>> Range(8, 256, log=True, is_integer=True).rounded(61), Range(8, 256, log=True, is_integer=True).contains(500)
    (64, False)
    """

    low: float
    high: float
    log: bool
    is_integer: bool

    def rounded(self, value: float) -> float:
        """Round a hyperparameter value, so that trials differ enough to be informative.

        Parameters
        ----------
        value : float
            Value in the range.

        Returns
        -------
        float
            Integers in a logarithmic range are rounded to a power of 2 or to the midpoint between two; other values are
            unchanged. A trial with 61 factors is no more informative than one with 64, and kernels are recompiled for
            each width.
        """
        if not (self.is_integer and self.log):
            return value
        power = 1 << (int(value).bit_length() - 1)
        nearest_number = min((power, power + power // 2, 2 * power), key=lambda step: abs(step - value))
        return min(max(nearest_number, int(self.low)), int(self.high))

    def contains(self, value: Any) -> bool:
        """Return whether a value is a number in the search range.

        Parameters
        ----------
        value : object
            Any value.

        Returns
        -------
        bool
            Result; False for booleans and other types.
        """
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high


def search_space(estimator: Estimator, *, fixed: Collection[str] = (), kind: Kind | None = None) -> dict[str, Range]:
    """Return the search range of each hyperparameter to tune.

    Parameters
    ----------
    estimator : Estimator
        Estimator to tune.
    fixed : collection of str, default ()
        Hyperparameters to exclude.
    kind : {"ratings", "events"}, optional
        Kind of the table, which excludes hyperparameters that have no effect on such a table; None excludes none.

    Returns
    -------
    dict of str to Range
        Ranges by name, in field order. Includes the fields that declare `search` or, if none does, all numeric fields
        with both a lower and an upper bound. A logarithmic range starts above 0.

    Raises
    ------
    ParameterError
        If a name in `fixed` is not a hyperparameter, `kind` is invalid, or nothing is left to search.

    Examples
    --------
    >>> import cofactor
    >>> search_space(cofactor.Bias())
    {'damping': Range(low=1, high=50, log=True, is_integer=False)}
    >>> [list(search_space(cofactor.ItemKNN(), kind=kind)) for kind in ("ratings", "events")]
    [['k', 'shrink', 'damping'], ['event_neighbors', 'event_shrink']]
    """
    require_estimator(estimator)
    fixed = checks.names("fixed", fixed)
    if kind is not None:
        checks.choice("kind", kind, get_args(Kind))
    specs = fields(estimator)
    if unknown_names := set(fixed) - {spec.name for spec in specs}:
        raise ParameterError(f"{estimator.name} has no hyperparameter {min(unknown_names)!r} to keep fixed")
    declared = {spec.name: spec.metadata["search"] for spec in specs if spec.metadata.get("search") is not None}
    bounds = declared or {spec.name: pair for spec in specs if (pair := _bounds(spec)) is not None}
    names = set(bounds) - set(fixed)
    if kind is not None:
        names -= {spec.name for spec in specs if spec.metadata.get("only_for") not in (None, kind)}
    space = {spec.name: _range(spec, *bounds[spec.name]) for spec in specs if spec.name in names}
    if not space:
        suffix = f" with {', '.join(fixed)} fixed" if fixed else ""
        raise ParameterError(f"{estimator.name} has no hyperparameters to search{suffix}, so there is nothing to tune")
    return space


def _bounds(spec: Field[Any]) -> tuple[float, float] | None:
    """Return the lower and upper bounds of a numeric field, or None if one is missing or the field is not numeric."""
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    return None if low is None or high is None or type(spec.default) not in (int, float) else (low, high)


def _range(spec: Field[Any], low: float, high: float) -> Range:
    """Return the range of a field between two bounds."""
    log = bool(spec.metadata.get("log"))
    if log and low <= 0:
        low = high / 1e6
    return Range(low, high, log, type(spec.default) is int)
