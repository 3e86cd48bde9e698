"""Columns that a caller passes: ids and numbers in the order of the rows, checked and in plain types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float32, Int64, contiguous
from cofactor.checks import not_endless, shown
from cofactor.data.ids import CodedIds, id_column
from cofactor.data.scale import MOST_LEVELS, Scale
from cofactor.errors import DataError, ParameterError
from cofactor.fork import require_threads

__all__ = ["ids_argument", "numbers_argument", "require_on_scale", "require_same_order", "times_argument", "zeros_note"]

_UNITS = {10**17: "nanoseconds", 10**14: "microseconds", 10**11: "milliseconds"}
_FEWEST_LEVELS = 3  # besides 0; 0 and 1, or 0, 1 and 2, are scales that begin at 0


def ids_argument(name: str, ids: Any) -> pl.Series | CodedIds:
    """A column of ids, integers or strings.

    Parameters
    ----------
    name : str
        The argument's name.
    ids : list, array or Series of shape (n,), or CodedIds
        The ids.

    Returns
    -------
    Series of shape (n,), Int64 or String, or CodedIds
        The ids as they are.

    Raises
    ------
    ParameterError
        For what has no order of rows, such as a set, a dict, a text or a generator.
    DataError
        For missing and mixed ids, naming the row.

    Examples
    --------
    >>> ids_argument("users", {"ana", "bo"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: users must be a list, an array or a Series of ids, one for each row, not ...
    """
    if isinstance(ids, CodedIds):
        return ids
    _require_column(name, ids, "ids")
    try:
        return id_column(ids.to_pylist() if hasattr(ids, "to_pylist") else ids)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def numbers_argument(name: str, values: Any, n: int) -> Float32:
    """A column of n finite numbers.

    Parameters
    ----------
    name : str
        The argument's name.
    values : list, array or Series of shape (n,)
        Integers or floats.
    n : int
        The number of rows.

    Returns
    -------
    ndarray of shape (n,), float32
        The numbers.

    Raises
    ------
    ParameterError
        For what has no order of rows.
    DataError
        For another length, for text, booleans and dates, and, naming the row, for a number that is not finite in
        float32.

    Examples
    --------
    >>> numbers_argument("weights", [1, 0.5], 2)
    array([1. , 0.5], dtype=float32)
    """
    given = _array(name, values, n, "numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = contiguous(given, np.float32)
    _require(np.isfinite(numbers), given, name)
    return numbers


def times_argument(name: str, values: Any, n: int) -> Int64:
    """A column of n times in whole seconds since 1970: (n,) int64. Arguments and errors as in `numbers_argument`.

    >>> times_argument("times", [1_676_043_693_000], 1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: times must be seconds since 1970, and row 1 is in milliseconds (1676043693000): ...
    """
    given = _array(name, values, n, "whole seconds since 1970")
    with np.errstate(over="ignore", invalid="ignore"):
        times = contiguous(given, np.int64)
        _require(np.isfinite(given) & (times == given), given, name)
    for bound, unit in _UNITS.items():
        large = (times >= bound) | (times <= -bound)
        if large.any():
            row = int(large.argmax())
            divisor = bound // 10**8
            raise DataError(
                f"{name} must be seconds since 1970, and row {row + 1} is in {unit} ({given[row]}): divide by "
                f"{divisor:,} and round down, as in np.asarray({name}) // {divisor}"
            )
    return times


def require_same_order(**columns: Any) -> None:
    """Raise ParameterError where two pandas Series have different indexes: it is not clear which rows belong together.

    >>> import pandas as pd
    >>> require_same_order(users=pd.Series([1, 2]), values=pd.Series([5, 4]))
    """
    series = {name: column for name, column in columns.items() if hasattr(column, "iloc") and hasattr(column, "index")}
    names = list(series)
    for name in names[1:]:
        if not series[name].index.equals(series[names[0]].index):
            raise ParameterError(
                f"{names[0]} and {name} are Series with different indexes: take both from the same frame, or pass "
                f"{names[0]}.to_numpy() and {name}.to_numpy() to join them by their position"
            )


def require_on_scale(values: Float32, scale: Scale) -> None:
    """Raise DataError, naming the first row, where a value is not on the scale."""
    require_threads()
    distinct = pl.Series(values).unique()
    off = distinct.filter(~pl.Series(scale.holds(distinct.to_numpy())))
    if len(off):
        row = int(np.isin(values, off.to_numpy()).argmax())
        raise DataError(f"row {row + 1} of values: {values[row]:g} is not on the scale {scale}")


def zeros_note(values: Float32) -> str | None:
    """A note where ratings of 0 stand apart from all others, as where 0 means "not rated"; else None.

    >>> zeros_note(np.float32([5, 0, 8, 10]))  # doctest: +ELLIPSIS
    '1 of 4 ratings is 0 while the others lie between 5 and 10. Where 0 means "not rated", ...'
    """
    zeros = int(np.count_nonzero(values == 0))
    if not zeros or zeros == len(values):
        return None
    others = pl.Series(values[values != 0]).unique().to_numpy()
    low, high = float(others.min()), float(others.max())
    step = 1.0 if (others == np.round(others)).all() else 0.5
    n_levels = (high - low) / step + 1
    if (
        low < 0.5
        or len(others) < _FEWEST_LEVELS
        or n_levels > MOST_LEVELS
        or (others / step != np.round(others / step)).any()
    ):
        return None
    one = zeros == 1
    listed = [f"{low + step * at:g}" for at in range(int(n_levels))]
    return (
        f"{zeros:,} of {len(values):,} ratings {'is' if one else 'are'} 0 while the others lie between {low:g} and "
        f'{high:g}. Where 0 means "not rated", set those rows aside with levels=[{", ".join(listed)}], '
        'on_error="quarantine", quarantine="refused.csv" (on the command line --levels '
        f"{','.join(listed)} --on-error quarantine --quarantine refused.csv), or count every row as an event with "
        'read_events(..., value="") (on the command line --events --value "")'
    )


def _require_column(name: str, values: Any, what: str) -> None:
    unordered = isinstance(values, str | bytes | bytearray | memoryview | Mapping | Set)
    arrow = any(hasattr(values, part) for part in ("__array__", "to_pylist", "to_numpy"))
    ordered = hasattr(values, "__len__") and (isinstance(values, Sequence) or arrow or hasattr(values, "popleft"))
    shape = getattr(values, "shape", (1,))
    one_axis = isinstance(shape, tuple) and len(shape) == 1
    if isinstance(values, type) or unordered or not one_axis or not (ordered or type(values).__module__ == "array"):
        raise ParameterError(
            f"{name} must be a list, an array or a Series of {what}, one for each row, not {shown(values)}"
        )


def _array(name: str, values: Any, n: int, what: str) -> Any:
    """The values as an array (n,) of integers or floats."""
    _require_column(name, values, what)
    not_endless(name, values)
    try:
        given = values.to_numpy() if isinstance(values, pl.Series) else np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} must be {what}, not {shown(values)}") from error
    if given.shape != (n,):
        raise DataError(f"{name} must have {n:,} entries, one for each row, not {len(values):,}")
    if given.dtype.kind not in "iuf":
        raise DataError(f"{name} must be {what}, not {_called(given)}{_advice(given, name)}")
    return given


def _called(given: Any) -> str:
    kinds = {"b": "booleans", "M": "dates", "m": "durations", "c": "complex numbers"}
    text = given.dtype.kind in "UST" or (given.dtype.kind == "O" and any(isinstance(cell, str) for cell in given))
    return "text" if text else kinds.get(given.dtype.kind, str(given.dtype))


def _advice(given: Any, name: str) -> str:
    called = _called(given)
    if called == "booleans":
        return f"; pass np.asarray({name}, int) for 1 and 0"
    if called in ("text", "dates"):
        return "; cofactor.read_ratings and cofactor.read_events read such columns from a frame"
    return ""


def _require(good: Any, given: Any, name: str) -> None:
    if not good.all():
        row = int((~good).argmax())
        raise DataError(f"row {row + 1} of {name}: {given[row]} is not a usable number")
