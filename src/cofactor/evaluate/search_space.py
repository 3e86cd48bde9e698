"""Which settings of an estimator are worth searching, and where: read off its fields."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import Field, dataclass, fields
from typing import Any

from cofactor import checks
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator
from cofactor.recommender.recommender import checked_estimator

__all__ = ["Range", "search_space"]


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included; `log`: ratios count, not differences; `whole`: whole numbers only.

    >>> Range(8, 256, log=True, whole=True).rounded(61), Range(8, 256, log=True, whole=True).holds(500)
    (64, False)
    """

    low: float
    high: float
    log: bool
    whole: bool

    def rounded(self, value: float) -> float:
        """The value as it is tried: whole numbers on a logarithmic range are powers of 2, or halfway between two.

        A width of 61 tells nothing that one of 64 does not, and kernels are compiled anew for every width.
        """
        if not (self.whole and self.log):
            return value
        power = 1 << (int(value).bit_length() - 1)
        nearest = min((power, power + power // 2, 2 * power), key=lambda step: abs(step - value))
        return min(max(nearest, int(self.low)), int(self.high))

    def holds(self, value: Any) -> bool:
        """Whether this is a number in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high


def search_space(estimator: Estimator, *, fixed: Collection[str] = ()) -> dict[str, Range]:
    """The range of every setting to be searched, by name, in the order of the fields.

    They are the fields that declare `search`; where none does, all numbers with both a low and a high end. Settings
    named in `fixed` are left out. A logarithmic range begins above 0. Raises ParameterError for a name in `fixed` that
    is no setting, and where nothing is left to search.

    >>> import cofactor
    >>> search_space(cofactor.Bias())
    {'damping': Range(low=1, high=50, log=True, whole=False)}
    """
    checked_estimator(estimator)
    fixed = checks.names("fixed", fixed)
    specs = fields(estimator)
    if unknown := set(fixed) - {spec.name for spec in specs}:
        raise ParameterError(f"{estimator.name} has no setting {min(unknown)!r} to hold fixed")
    declared = {spec.name: spec.metadata["search"] for spec in specs if spec.metadata.get("search") is not None}
    ends = declared or {spec.name: both for spec in specs if (both := _both_ends(spec)) is not None}
    space = {spec.name: _range(spec, *ends[spec.name]) for spec in specs if spec.name in set(ends) - set(fixed)}
    if not space:
        held = f" when {', '.join(fixed)} stay as they are" if fixed else ""
        raise ParameterError(f"{estimator.name} has no setting to search{held}: there is nothing to tune")
    return space


def _both_ends(spec: Field[Any]) -> tuple[float, float] | None:
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    return None if low is None or high is None or type(spec.default) not in (int, float) else (low, high)


def _range(spec: Field[Any], low: float, high: float) -> Range:
    log = bool(spec.metadata.get("log"))
    if log and low <= 0:
        low = high / 1e6
    return Range(low, high, log, type(spec.default) is int)
