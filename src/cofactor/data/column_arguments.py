"""Validation of columns of IDs, numbers and times that are passed as array arguments.

Every column has one entry per row. Callers can pass lists, arrays, or polars, pandas and pyarrow columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float32, Int64, contiguous
from cofactor.checks import describe, require_bounded
from cofactor.data.id_columns import CodedIds, float_ids_note, id_column
from cofactor.data.scale import MAX_LEVELS, Scale
from cofactor.errors import DataError, ParameterError
from cofactor.fork import require_threads

__all__ = [
    "float_ids_notes",
    "ids_argument",
    "numeric_column",
    "require_on_scale",
    "require_same_order",
    "times_argument",
    "zeros_note",
]

_UNITS = {10**17: "nanoseconds", 10**14: "microseconds", 10**11: "milliseconds"}
_MIN_LEVELS = 3  # without the 0: {0, 1} and {0, 1, 2} are ordinary scales that start at 0


def ids_argument(name: str, ids: Any) -> pl.Series | CodedIds:
    """Check that an argument is a valid column of IDs, and return it as a Series or as `CodedIds`.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    ids : list, array or Series of shape (n,), or CodedIds
        Integers or strings.

    Returns
    -------
    Series of shape (n,), Int64 or String, or CodedIds
        The IDs; `CodedIds` are returned unchanged.

    Raises
    ------
    ParameterError
        If `ids` has no row order, such as a set, a dict, a string or a generator.
    DataError
        If IDs are missing or of mixed types; the message names the row.

    Examples
    --------
    >>> ids_argument("users", {"ana", "bo"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: users must be a list, an array or a Series of IDs, one for each row, not ...
    """
    if isinstance(ids, CodedIds):
        return ids
    _require_column(name, ids, "IDs")
    try:
        return id_column(ids.to_pylist() if hasattr(ids, "to_pylist") else ids)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def float_ids_notes(**ids: Any) -> list[str]:
    """Return a load-report note for each ID column that contains floating-point numbers.

    Parameters
    ----------
    **ids : list, array or Series
        Columns by role, "user" and "item".

    Returns
    -------
    list of str
        The notes.

    Examples
    --------
    >>> float_ids_notes(user=[17850.0, 7], item=["alien", "clue"])
    ['user IDs are floating-point numbers; they were read as integers']
    """
    return [float_ids_note(role) for role, column in ids.items() if _has_floats(column)]


def _has_floats(column: Any) -> bool:
    """Return whether a column contains floating-point numbers."""
    if isinstance(column, pl.Series | CodedIds):
        return isinstance(column, pl.Series) and column.dtype.is_float()
    column = column.to_pylist() if hasattr(column, "to_pylist") else column  # pyarrow
    kind = getattr(getattr(column, "dtype", None), "kind", "O")  # pandas and NumPy
    return kind == "f" or (kind == "O" and any(isinstance(cell, float) for cell in column))


def numeric_column(name: str, values: Any, n: int) -> Float32:
    """Check that an argument is a column of `n` finite numbers, and return it as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : list, array or Series of shape (n,)
        Integers or floats.
    n : int
        Number of rows.

    Returns
    -------
    ndarray of shape (n,), float32
        The numbers.

    Raises
    ------
    ParameterError
        If `values` has no row order, such as a set or a generator.
    DataError
        If the length is not n, if the values are strings, booleans or dates, or if a number is not finite in float32;
        in the last case the message names the row.

    Examples
    --------
    >>> numeric_column("weights", [1, 0.5], 2)
    array([1. , 0.5], dtype=float32)
    """
    array = _array(name, values, n, "numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = contiguous(array, np.float32)
    _require_usable(np.isfinite(numbers), array, name)
    return numbers


def times_argument(name: str, values: Any, n: int) -> Int64:
    """Check that an argument is a column of `n` timestamps in seconds since the Unix epoch, and return it as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : list, array or Series of shape (n,)
        Integers, or floats without a fraction, in seconds.
    n : int
        Number of rows.

    Returns
    -------
    ndarray of shape (n,), int64
        The times, in seconds since the Unix epoch.

    Raises
    ------
    ParameterError
        If `values` has no row order, such as a set or a generator.
    DataError
        If the length is not n, if the values are not integers, or if they are so large that they must be
        milliseconds, microseconds or nanoseconds; the message names the row.

    Examples
    --------
    >>> times_argument("times", [1_676_043_693_000], 1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: times must be in seconds since the Unix epoch, but row 1 is in milliseconds (1676043...
    """
    array = _array(name, values, n, "integer seconds since the Unix epoch")
    with np.errstate(over="ignore", invalid="ignore"):
        times = contiguous(array, np.int64)
        _require_usable(np.isfinite(array) & (times == array), array, name)
    for bound, unit in _UNITS.items():
        is_too_large = (times >= bound) | (times <= -bound)
        if is_too_large.any():
            row = int(is_too_large.argmax())
            divisor = bound // 10**8
            raise DataError(
                f"{name} must be in seconds since the Unix epoch, but row {row + 1} is in {unit} ({array[row]}): "
                f"divide by {divisor:,} and round down, as in np.asarray({name}) // {divisor}"
            )
    return times


def require_same_order(**columns: Any) -> None:
    """Raise an error if two pandas Series have different indexes.

    Such columns cannot be combined by position, because it is unclear which rows belong together.

    Parameters
    ----------
    **columns : object
        Columns by argument name. Objects that are not pandas Series are ignored.

    Raises
    ------
    ParameterError
        If the indexes of two Series differ.

    Examples
    --------
    >>> import pandas as pd
    >>> require_same_order(users=pd.Series([1, 2]), values=pd.Series([5, 4]))
    """
    series = {name: column for name, column in columns.items() if hasattr(column, "iloc") and hasattr(column, "index")}
    names = list(series)
    for name in names[1:]:
        if not series[name].index.equals(series[names[0]].index):
            raise ParameterError(
                f"{names[0]} and {name} are Series with different indexes: take both from the same frame, or pass "
                f"{names[0]}.to_numpy() and {name}.to_numpy() to combine them by position"
            )


def require_on_scale(values: Float32, scale: Scale) -> None:
    """Raise an error if a rating is not on the rating scale.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        Ratings.
    scale : Scale
        The rating scale.

    Raises
    ------
    DataError
        If a value is not on the scale; the message names the first such row.
    """
    require_threads()
    distinct_values = pl.Series(values).unique()
    invalid_values = distinct_values.filter(~pl.Series(scale.contains(distinct_values.to_numpy())))
    if len(invalid_values):
        row = int(np.isin(values, invalid_values.to_numpy()).argmax())
        raise DataError(f"row {row + 1} of values: {values[row]:g} is not on the rating scale of {scale.description}")


def zeros_note(values: Float32) -> str | None:
    """Return a load-report note if ratings of 0 probably mean "not rated".

    This is the case if the other ratings have at least three distinct values on an evenly spaced grid from 0.5 or more.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        Ratings.

    Returns
    -------
    str or None
        A note for the load report; None if there is nothing to note.

    Examples
    --------
    >>> zeros_note(np.float32([5, 0, 8, 10]))  # doctest: +ELLIPSIS
    '1 of 4 ratings is 0 while the others are between 5 and 10. If 0 means "not rated", ...'
    """
    n_zeros = int(np.count_nonzero(values == 0))
    if not n_zeros or n_zeros == len(values):
        return None
    nonzero_values = pl.Series(values[values != 0]).unique().to_numpy()
    low, high = float(nonzero_values.min()), float(nonzero_values.max())
    step = 1.0 if (nonzero_values == np.round(nonzero_values)).all() else 0.5
    n_levels = (high - low) / step + 1
    if (
        low < 0.5
        or len(nonzero_values) < _MIN_LEVELS
        or n_levels > MAX_LEVELS
        or (nonzero_values / step != np.round(nonzero_values / step)).any()
    ):
        return None
    levels = [f"{low + step * k:g}" for k in range(int(n_levels))]
    return (
        f"{n_zeros:,} of {len(values):,} ratings {'is' if n_zeros == 1 else 'are'} 0 while the others are between "
        f'{low:g} and {high:g}. If 0 means "not rated", set those rows aside with rating_levels=[{", ".join(levels)}], '
        'on_error="quarantine", quarantine="rejected.csv" (on the command line --rating-levels '
        f"{','.join(levels)} --on-error quarantine --quarantine rejected.csv), or read every row as an event with "
        'read_events(..., value="") (on the command line --events --value "")'
    )


def _require_column(name: str, values: Any, expected: str) -> None:
    """Raise ParameterError unless the value is a one-dimensional, ordered collection."""
    is_unordered = isinstance(values, str | bytes | bytearray | memoryview | Mapping | Set)
    is_array = any(hasattr(values, part) for part in ("__array__", "to_pylist", "to_numpy"))
    is_ordered = hasattr(values, "__len__") and (isinstance(values, Sequence) or is_array or hasattr(values, "popleft"))
    shape = getattr(values, "shape", (1,))
    is_1d = isinstance(shape, tuple) and len(shape) == 1
    if isinstance(values, type) or is_unordered or not is_1d or not (is_ordered or type(values).__module__ == "array"):
        raise ParameterError(
            f"{name} must be a list, an array or a Series of {expected}, one for each row, not {describe(values)}"
        )


def _array(name: str, values: Any, n: int, expected: str) -> Any:
    """Return the values as an array of shape (n,) of integers or floats."""
    _require_column(name, values, expected)
    require_bounded(name, values)
    try:
        array = values.to_numpy() if isinstance(values, pl.Series) else np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} must be {expected}, not {describe(values)}") from error
    if array.shape != (n,):
        raise DataError(f"{name} must have {n:,} entries, one for each row, not {len(values):,}")
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} must be {expected}, not {_type_name(array)}{_conversion_hint(array, name)}")
    return array


def _type_name(array: Any) -> str:
    """Return the name of an array's type for messages, such as "text" or "dates"."""
    names = {"b": "booleans", "M": "dates", "m": "durations", "c": "complex numbers"}
    is_text = array.dtype.kind in "UST" or (array.dtype.kind == "O" and any(isinstance(cell, str) for cell in array))
    return "text" if is_text else names.get(array.dtype.kind, str(array.dtype))


def _conversion_hint(array: Any, name: str) -> str:
    """Return a conversion hint for an array of this type, to be appended to a message."""
    type_name = _type_name(array)
    if type_name == "booleans":
        return f"; pass np.asarray({name}, int) for 1 and 0"
    if type_name in ("text", "dates"):
        return "; cofactor.read_ratings and cofactor.read_events read such columns from a frame"
    return ""


def _require_usable(is_usable: Any, array: Any, name: str) -> None:
    """Raise DataError for the first row whose value is not valid."""
    if not is_usable.all():
        row = int((~is_usable).argmax())
        raise DataError(f"row {row + 1} of {name}: {array[row]} is not a valid number")
