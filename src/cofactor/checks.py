"""Argument checks: each function returns the value as a plain type or raises an error that names the argument.

Invalid arguments raise ParameterError. An object of the wrong class in place of a table or a split raises DataError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import DataError, ParameterError

__all__ = [
    "MAX_SEED",
    "Seed",
    "as_array",
    "broadcast_rows",
    "choice",
    "describe",
    "finite_number",
    "flag",
    "float32_array",
    "fraction",
    "instance",
    "mask",
    "names",
    "number_array",
    "optional_callable",
    "path",
    "plain",
    "require_bounded",
    "require_seed",
    "row_numbers",
    "seconds",
    "seed",
    "text",
    "whole_array",
    "whole_number",
    "whole_numbers",
]

T = TypeVar("T")

MAX_VALUES = 2**31 - 1
"""Maximum number of values in an argument: row numbers are int32."""

MAX_LIST_LENGTH = 2**20
"""Maximum number of items in a list."""

MAX_SEED = 2**32 - 1
"""Largest seed that NumPy's legacy generator accepts."""

MAX_REPR_LENGTH = 120
"""Maximum number of characters of a value shown in a message."""


def describe(value: object) -> str:
    """Format a value for a message: its repr if that is a short single line, otherwise its type.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    str
        The formatted value, at most 120 characters unless the name of the type is longer.

    Examples
    --------
    >>> describe("abc"), describe(list(range(1000)))
    ("'abc'", 'a list of 1,000')
    """
    cls = type(value)
    module = cls.__module__.partition(".")[0]
    if module in ("polars", "pandas", "pyarrow", "torch", "scipy") or isinstance(value, np.ndarray):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        dtype = f" and dtype {value.dtype}" if hasattr(value, "dtype") else ""
        return f"a {module}.{cls.__name__}{shape}{dtype}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything; that of an int of 5,000 digits does
        return f"a {cls.__name__}"
    if len(text) <= MAX_REPR_LENGTH and "\n" not in text:
        return text
    return f"a {cls.__name__}" + (f" of {len(value):,}" if isinstance(value, list | tuple | dict | set | str) else "")


def whole_number(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """Check that a value is an integer within a range, and return it as an int.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : int
        The value. Booleans and floats are rejected, including 3.0.
    low, high : int or None, default None
        Inclusive bounds; None for the bounds of 64-bit integers.

    Returns
    -------
    int
        The value.

    Raises
    ------
    ParameterError
        If the value has the wrong type or is out of range.

    Examples
    --------
    >>> whole_number("n", 3, low=1)
    3
    >>> whole_number("n", True, low=1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: n must be an integer >= 1, not True
    """
    lowest, highest = -(2**63) if low is None else low, 2**63 - 1 if high is None else high
    if type(value) is int and lowest <= value <= highest:
        return value
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)
    if not is_whole or not _within(value, lowest, highest):
        too_large = is_whole and high is not None and value > high
        limits = _range(low, high if too_large or high != MAX_VALUES else None)
        if is_whole and _within(value, low, high):
            limits += " and fit into 64 bits"
        raise ParameterError(f"{name} must be an integer{limits}, not {describe(value)}")
    return int(value)


def finite_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Check that a value is a finite number within a range, and return it as a float.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : int, float or NumPy number
        The value. Booleans, nan and infinities are rejected.
    low, high : float or None, default None
        Inclusive bounds; None for no limit.
    above, below : float or None, default None
        Exclusive bounds; None for no limit.

    Returns
    -------
    float
        The value.

    Raises
    ------
    ParameterError
        If the value has the wrong type or is out of range.

    Examples
    --------
    >>> finite_number("power", 1, low=0)
    1.0
    >>> finite_number("cap", 0, above=0)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: cap must be a finite number above 0, not 0
    """
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool | np.timedelta64):
        try:
            number = float(value)
        except OverflowError:  # an int that is too large for a float
            number = float("inf")
        inside = (above is None or number > above) and (below is None or number < below)
        if np.isfinite(number) and inside and _within(number, low, high):
            return number
    limits = [f"{word} {end:g}" for word, end in (("above", above), ("below", below)) if end is not None]
    range_text = f" {' and '.join(limits)}" if limits else _range(low, high)
    raise ParameterError(f"{name} must be a finite number{range_text}, not {describe(value)}")


def fraction(name: str, value: Any) -> float:
    """Check that a value is a number strictly between 0 and 1, and return it as a float.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : float
        The value.

    Returns
    -------
    float
        The value.

    Raises
    ------
    ParameterError
        If the value has the wrong type or is not strictly between 0 and 1.

    Examples
    --------
    >>> fraction("test", 1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: test must be a fraction strictly between 0 and 1, not 1
    """
    try:
        return finite_number(name, value, above=0, below=1)
    except ParameterError:
        raise ParameterError(f"{name} must be a fraction strictly between 0 and 1, not {describe(value)}") from None


Seed: TypeAlias = int | np.random.Generator | None
"""Source of random numbers: a seed, a generator from which a seed is drawn, or None for fresh entropy."""


def require_seed(value: object, name: str = "seed") -> None:
    """Check that a value is a seed, a Generator or None, without drawing from the generator.

    Parameters
    ----------
    value : object
        The argument.
    name : str, default "seed"
        Name of the argument, for error messages.

    Raises
    ------
    ParameterError
        If the value has the wrong type or is out of range.

    Examples
    --------
    >>> require_seed(1.5)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: seed must be an integer from 0 to 4294967295, not 1.5
    """
    if value is not None and not isinstance(value, np.random.Generator):
        whole_number(name, value, low=0, high=MAX_SEED)


def seed(value: Seed, name: str = "seed") -> int:
    """Convert a seed argument to an integer from 0 to `MAX_SEED`.

    Parameters
    ----------
    value : int, Generator or None
        A seed, which is returned unchanged; a `numpy.random.Generator`, from which a seed is drawn; or None for a
        random seed.
    name : str, default "seed"
        Name of the argument, for error messages.

    Returns
    -------
    int
        The seed.

    Raises
    ------
    ParameterError
        If the value has the wrong type or is out of range.

    Examples
    --------
    >>> seed(7), seed(np.random.default_rng(0)) == seed(np.random.default_rng(0))
    (7, True)
    >>> seed(True)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: seed must be an integer from 0 to 4294967295, not True
    """
    require_seed(value, name)
    if value is None or isinstance(value, np.random.Generator):
        return int((value or np.random.default_rng()).integers(MAX_SEED, endpoint=True))
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Check that a value is True or False, and return it as a bool.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : bool or NumPy bool
        The value. Numbers and None are rejected.

    Returns
    -------
    bool
        The value.

    Raises
    ------
    ParameterError
        If the value has the wrong type.

    Examples
    --------
    >>> flag("exclude_seen", 1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: exclude_seen must be True or False, not 1
    """
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"{name} must be True or False, not {describe(value)}")
    return bool(value)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Check that a value is one of the allowed strings, and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : str
        The value.
    choices : iterable of str
        The allowed strings.

    Returns
    -------
    str
        The value.

    Raises
    ------
    ParameterError
        If the value is not one of the choices.

    Examples
    --------
    >>> choice("side", "users", ["item", "user"])
    Traceback (most recent call last):
    cofactor.errors.ParameterError: side must be item or user, not 'users'
    """
    allowed = list(choices)
    if not isinstance(value, str) or value not in allowed:
        raise ParameterError(f"{name} must be {' or '.join(allowed)}, not {describe(value)}")
    return value


def text(name: str, value: Any) -> str:
    """Check that a value is a string, and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : str
        The value; it may be empty.

    Returns
    -------
    str
        The value.

    Raises
    ------
    ParameterError
        If the value has the wrong type.

    Examples
    --------
    >>> text("label", 3)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: label must be a string, not 3
    """
    if not isinstance(value, str):
        raise ParameterError(f"{name} must be a string, not {describe(value)}")
    return value


def path(name: str, value: Any) -> Path:
    """Check that a value is a path, and return it as a Path.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : str or os.PathLike
        Path of a file or folder.

    Returns
    -------
    Path
        The value.

    Raises
    ------
    ParameterError
        If the value has the wrong type, is empty or contains a NUL character.

    Examples
    --------
    >>> path("folder", 3)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: folder must be a path (a string or a Path), not 3
    """
    if not isinstance(value, str | os.PathLike) or "\0" in os.fspath(value):
        raise ParameterError(f"{name} must be a path (a string or a Path), not {describe(value)}")
    if not os.fspath(value):
        raise ParameterError(f"{name} must not be an empty path")
    return Path(value)


def names(name: str, values: Any) -> tuple[str, ...]:
    """Check that a value is a collection of strings, which may be empty, and return it as a tuple.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : collection of str
        A list, tuple or set of strings; a single string is rejected.

    Returns
    -------
    tuple of str
        The values.

    Raises
    ------
    ParameterError
        If the argument is a single string or a value is not a string.

    Examples
    --------
    >>> names("fixed", "l2")
    Traceback (most recent call last):
    cofactor.errors.ParameterError: fixed must be a list of names, not 'l2'
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ParameterError(f"{name} must be a list of names, not {describe(values)}")
    strings = tuple(values)
    if not all(isinstance(value, str) for value in strings):
        raise ParameterError(f"{name} must be a list of names, not {describe(values)}")
    return strings


def whole_numbers(name: str, values: Any, *, low: int | None = None, high: int | None = None) -> tuple[int, ...]:
    """Check that a value contains one or more integers within a range, and return them as a tuple of ints.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : sequence or array of int
        A list, tuple, range, array or column of integers.
    low, high : int or None, default None
        Inclusive bounds for each value; None for no limit.

    Returns
    -------
    tuple of int
        The values in the same order.

    Raises
    ------
    ParameterError
        If the argument is a single number or empty, or `whole_number` rejects a value.

    Examples
    --------
    >>> whole_numbers("ks", [5, 10], low=1)
    (5, 10)
    >>> whole_numbers("ks", 5, low=1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: ks must be a list of integers >= 1, not 5
    """
    try:
        numbers = () if isinstance(values, bytes) else tuple(whole_number(name, v, low=low, high=high) for v in values)
    except (ParameterError, TypeError, MemoryError):  # MemoryError: a range that is too long for the memory
        numbers = ()
    if not numbers:
        limits = _range(low, None if high == MAX_LIST_LENGTH else high)
        raise ParameterError(f"{name} must be a list of integers{limits}, not {describe(values)}")
    return numbers


def row_numbers(name: str, values: Any, n: int, *, unknown: bool = False) -> NDArray[np.int32]:
    """Check that values are valid row numbers of a table, and return them as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array-like of shape (m,), int
        Row numbers; can be empty.
    n : int
        Number of rows in the table; values must be from 0 to n - 1.
    unknown : bool, default False
        Whether -1 is also allowed, for an unknown user or item.

    Returns
    -------
    ndarray of shape (m,), int32
        The values, C-contiguous; not copied if they are already in that form.

    Raises
    ------
    ParameterError
        If the argument has the wrong type or shape, or a row number is out of range.

    Examples
    --------
    >>> row_numbers("rows", [2, 0], 3)
    array([2, 0], dtype=int32)
    >>> row_numbers("rows", [3], 3)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: rows must contain row numbers from 0 to 2, not 3
    """
    low = -1 if unknown else 0
    if type(values) is np.ndarray and values.dtype == np.int32 and values.shape == (1,) and low <= values.item() < n:
        return values  # a shortcut for a single user, as in a service
    rows = as_array(values)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu") or isinstance(values, str | bytes | set | dict):
        raise ParameterError(f"{name} must be a list or array of row numbers (integers), not {describe(values)}")
    if rows.size and (int(rows.min()) < low or int(rows.max()) >= n):
        row = rows[(rows < low) | (rows >= n)][0]
        limits = (
            f"must contain row numbers from {low} to {n - 1}" if n + unknown else "must be empty: there are no rows"
        )
        raise ParameterError(f"{name} {limits}, not {row}")
    return np.ascontiguousarray(rows, np.int32)


def whole_array(
    name: str, values: Any, *, low: int | None = None, high: int | None = None, size: int | None = None
) -> NDArray[np.int64]:
    """Check that values are integers within a range, and return them as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array-like of shape (m,), int
        The values; can be empty. Booleans and floats are rejected.
    low, high : int or None, default None
        Inclusive bounds for each value; None for no limit.
    size : int or None, default None
        Required number of values; None for any number.

    Returns
    -------
    ndarray of shape (m,), int64
        The values.

    Raises
    ------
    ParameterError
        If the argument has the wrong type or shape, the number of values is wrong, or a value is out of range.

    Examples
    --------
    >>> whole_array("groups", [0, 2, 1], low=0, size=3)
    array([0, 2, 1])
    >>> whole_array("groups", [0, 2], low=0, size=3)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: groups must be 3 integers >= 0, not [0, 2]
    """
    numbers = as_array(values)
    if (
        numbers.ndim != 1
        or (numbers.size and (numbers.dtype.kind not in "iu" or not _within(numbers.max(), None, 2**63 - 1)))
        or (size is not None and len(numbers) != size)
        or (numbers.size and not (_within(numbers.min(), low, high) and _within(numbers.max(), low, high)))
    ):
        number = "a list of" if size is None else f"{size:,}"
        raise ParameterError(f"{name} must be {number} integers{_range(low, high)}, not {describe(values)}")
    return numbers.astype(np.int64, copy=False)


def mask(name: str, values: Any, n: int, *, optional: bool = False) -> NDArray[np.bool_]:
    """Check that a mask has one bool for each of `n` rows, and return it as a boolean array.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array-like of shape (n,), bool
        The values. Numbers are rejected.
    n : int
        Number of rows.
    optional : bool, default False
        Whether an empty array is also allowed, meaning all rows.

    Returns
    -------
    ndarray of shape (n,), bool
        The values, C-contiguous; of shape (0,) if the argument is an empty array and `optional`.

    Raises
    ------
    ParameterError
        If the argument has the wrong type or shape.

    Examples
    --------
    >>> mask("allowed", [True, False], 2)
    array([ True, False])
    >>> mask("allowed", [True], 2)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: allowed must be True or False for each of 2 rows, not [True]
    """
    array = as_array(values)
    if array.shape == (0,) and (optional or n == 0):
        return np.zeros(0, np.bool_)
    if array.shape != (n,) or array.dtype != np.bool_:
        raise ParameterError(f"{name} must be True or False for each of {n:,} rows, not {describe(values)}")
    return np.ascontiguousarray(array)


def number_array(
    name: str, values: Any, shape: tuple[int | None, ...], *, low: float | None = None
) -> NDArray[np.float64]:
    """Check that an array has a given shape and finite numbers, and return it as float64.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array-like, numeric
        The values. Booleans, strings, nan and infinities are rejected.
    shape : tuple of (int or None)
        Required length of each axis; None for any length.
    low : float or None, default None
        Smallest allowed value; None for no limit.

    Returns
    -------
    ndarray of the given shape, float64
        The values.

    Raises
    ------
    ParameterError
        If the argument has the wrong type or shape, or a number is not finite or below `low`.

    Examples
    --------
    >>> number_array("y", [3, 4.5], (2,))
    array([3. , 4.5])
    >>> number_array("y", [3, 4.5], (3,))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: y must be an array of finite numbers with shape (3), not [3, 4.5]
    """
    numbers = as_array(values)
    is_valid = numbers.ndim == len(shape) and all(
        expected in (None, size) for expected, size in zip(shape, numbers.shape, strict=True)
    )
    if (
        not is_valid
        or (numbers.size and (numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all()))
        or (numbers.size and not _within(numbers.min(), low, None))
    ):
        axes = ", ".join("any" if size is None else str(size) for size in shape)
        description = f"finite numbers{_range(low, None)} with shape ({axes})"
        raise ParameterError(f"{name} must be an array of {description}, not {describe(values)}")
    return numbers.astype(np.float64, copy=False)


def broadcast_rows(
    names: tuple[str, str], values: tuple[Any, Any], sizes: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Check that two arrays of row numbers, each for its own table, are valid and broadcastable, and return them.

    Parameters
    ----------
    names : tuple of str
        Names of both arguments, for error messages.
    values : tuple of array-like, int
        Row numbers, in arrays with any number of axes.
    sizes : tuple of int
        Number of rows in each table.

    Returns
    -------
    tuple of ndarray, int64
        Both arrays.

    Raises
    ------
    ParameterError
        If an argument has the wrong type, a row number is out of range, or the shapes do not broadcast.

    Examples
    --------
    >>> broadcast_rows(("u", "i"), ([[0], [1]], [3, 4]), (2, 5))[1]
    array([3, 4])
    >>> broadcast_rows(("u", "i"), ([0, 1, 2], [3, 4]), (3, 5))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: u and i must have broadcastable shapes, not (3,) and (2,)
    """
    rows = []
    for name, value, size in zip(names, values, sizes, strict=True):
        array = as_array(value)
        flat_rows = row_numbers(name, array.ravel() if array.ndim else np.atleast_1d(array), size)
        rows.append(flat_rows.astype(np.int64).reshape(array.shape))
    try:
        np.broadcast_shapes(rows[0].shape, rows[1].shape)
    except ValueError:
        shapes = " and ".join(str(part.shape) for part in rows)
        raise ParameterError(f"{' and '.join(names)} must have broadcastable shapes, not {shapes}") from None
    return rows[0], rows[1]


def as_array(values: Any) -> NDArray[Any]:
    """Convert a value to an array without checking its shape and dtype.

    Parameters
    ----------
    values : object
        Any value.

    Returns
    -------
    ndarray
        The array; of shape (1,) and dtype object for a value that is not array-like, such as a dict or a string.

    Examples
    --------
    >>> as_array([1, 2]).dtype.kind, as_array("ab").dtype.kind
    ('i', 'O')
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, str | bytes | bytearray | set | dict):
        return np.zeros(1, object)
    try:
        if len(values) > MAX_VALUES:
            return np.zeros(1, object)
    except (TypeError, OverflowError, AttributeError):
        if isinstance(values, range):
            return np.zeros(1, object)
    try:
        array = np.asarray(values)
    except Exception:  # noqa: BLE001 - ragged lists, and columns of other libraries, which may raise anything
        return np.zeros(1, object)
    return array if isinstance(array, np.ndarray) else np.zeros(1, object)


def require_bounded(name: str, values: Any) -> None:
    """Raise an error for a `range` that is longer than any table can be, before it is converted to a list.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : object
        The argument; only ranges are checked.

    Raises
    ------
    ParameterError
        If the argument is a range of 2^31 numbers or more.

    Examples
    --------
    >>> require_bounded("ids", range(2**40))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: ids must contain at most 2,147,483,647 values, not range(0, 1099511627776)
    """
    if isinstance(values, range) and (values.stop - values.start) // values.step > MAX_VALUES:
        raise ParameterError(f"{name} must contain at most {MAX_VALUES:,} values, not {describe(values)}")


def float32_array(name: str, values: Any, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Check that an array has a given shape and that its numbers fit into float32, and return it as float32.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array-like, numeric
        The values. Those that are not float32 must be finite.
    shape : tuple of (int or None)
        Required length of each axis; None for any length.

    Returns
    -------
    ndarray of the given shape, float32
        The values, C-contiguous; not copied if they are already in that form.

    Raises
    ------
    ParameterError
        If the argument has the wrong type or shape, or a number does not fit into float32.

    Examples
    --------
    >>> float32_array("factors", [[1, 2]], (None, 2))
    array([[1., 2.]], dtype=float32)
    >>> float32_array("factors", [[1e300]], (1, 1))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: factors must contain numbers that fit into float32, not [[1e+300]]
    """
    if (
        isinstance(values, np.ndarray)
        and values.dtype == np.float32
        and len(values.shape) == len(shape)
        and all(expected in (None, size) for expected, size in zip(shape, values.shape, strict=True))
    ):
        return np.ascontiguousarray(values)
    numbers = number_array(name, values, shape)
    if numbers.size and np.abs(numbers).max() > np.finfo(np.float32).max:
        raise ParameterError(f"{name} must contain numbers that fit into float32, not {describe(values)}")
    return np.ascontiguousarray(numbers, np.float32)


def seconds(name: str, values: Any, n: int) -> NDArray[np.int64]:
    """Check that values are `n` timestamps in integer seconds since the Unix epoch, and return them as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : int, or array-like of shape (n,), int
        The times, in seconds; a single value applies to all n.
    n : int
        Number of times.

    Returns
    -------
    ndarray of shape (n,), int64
        The times.

    Raises
    ------
    ParameterError
        If the argument has the wrong type or shape.

    Examples
    --------
    >>> seconds("times", 60, 2)
    array([60, 60])
    >>> seconds("times", 1.5, 2)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: times must be integer seconds since the Unix epoch (1 or 2 values), not 1.5
    """
    times = as_array(values)
    is_valid = times.dtype.kind == "i" or (times.dtype.kind == "u" and (times < 2**63).all()) or times.shape == (0,)
    if not is_valid or times.shape not in ((), (n,)):
        raise ParameterError(
            f"{name} must be integer seconds since the Unix epoch (1 or {n:,} values), not {describe(values)}"
        )
    return np.broadcast_to(times.astype(np.int64), (n,))


def instance(name: str, value: Any, cls: type[T], advice: str) -> T:
    """Check that a value is an instance of a class, and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : object
        The argument.
    cls : type
        The class.
    advice : str
        How to create such an object, for the message.

    Returns
    -------
    object
        The value.

    Raises
    ------
    DataError
        If the value is not an instance of the class.

    Examples
    --------
    >>> instance("table", [1], dict, "create one with dict()")
    Traceback (most recent call last):
    cofactor.errors.DataError: table must be of type dict, not [1]: create one with dict()
    """
    if not isinstance(value, cls):
        raise DataError(f"{name} must be of type {cls.__name__}, not {describe(value)}: {advice}")
    return value


def optional_callable(name: str, value: Any) -> Callable[..., Any] | None:
    """Check that a value is a callable or None, and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : callable or None
        The argument.

    Returns
    -------
    callable or None
        The value.

    Raises
    ------
    ParameterError
        If the value is neither callable nor None.

    Examples
    --------
    >>> optional_callable("on_fit", "print")
    Traceback (most recent call last):
    cofactor.errors.ParameterError: on_fit must be callable or None, not 'print'
    """
    if value is not None and not callable(value):
        raise ParameterError(f"{name} must be callable or None, not {describe(value)}")
    return value  # type: ignore[no-any-return]


def _within(value: Any, low: float | None, high: float | None) -> bool:
    """Return whether a value is within inclusive bounds; a bound of None means no limit."""
    return (low is None or value >= low) and (high is None or value <= high)


def _range(low: float | None, high: float | None) -> str:
    """Format a range for an error message."""
    if low is None:
        return "" if high is None else f" <= {high:.12g}"
    return f" >= {low:.12g}" if high is None else f" from {low:.12g} to {high:.12g}"


def plain(name: str, value: Any, expected_type: Any) -> Any:
    """Convert a JSON value to the declared type of a dataclass field.

    Parameters
    ----------
    name : str
        Name of the field, for error messages.
    value : object
        None, a bool, a number, a string, or a list or dict of these.
    expected_type : type
        bool, int, float, str, None, a tuple, Literal or union of these, or a dataclass with fields of these types,
        which is created from a dict. A float must be finite; a dataclass checks its own ranges.

    Returns
    -------
    object
        The value, converted to the declared type.

    Raises
    ------
    DataError
        If the value has the wrong type.

    Examples
    --------
    >>> plain("range", [1, 5], tuple[float, float] | None)
    (1.0, 5.0)
    >>> plain("mean", "three", float)
    Traceback (most recent call last):
    cofactor.errors.DataError: mean must be float, not 'three'
    """
    origin, parts = get_origin(expected_type), get_args(expected_type)
    if origin in (Union, UnionType):
        for part in parts:
            try:
                return plain(name, value, part)
            except DataError:
                continue
    elif origin is Literal:
        if value in parts:
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            types = parts[:1] * len(value) if parts[-1:] == (Ellipsis,) else parts
            if len(types) == len(value):
                return tuple(plain(f"{name}[{k}]", *pair) for k, pair in enumerate(zip(value, types, strict=True)))
    elif is_dataclass(expected_type) and isinstance(expected_type, type):
        if isinstance(value, Mapping):
            return _dataclass(name, value, expected_type)
    elif expected_type is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(name, value)
    elif expected_type in (None, NoneType) and value is None:
        return None
    elif expected_type in (bool, int, str) and type(value) is expected_type:
        return value
    raise DataError(f"{name} must be {getattr(expected_type, '__name__', expected_type)}, not {describe(value)}")


def _finite(name: str, value: float) -> float:
    """Require a finite number; raise DataError for anything else."""
    try:
        return finite_number(name, value)
    except ParameterError as problem:
        raise DataError(str(problem)) from problem


def _dataclass(name: str, values: Mapping[str, Any], expected_type: type[Any]) -> Any:
    """Create a dataclass from its field values, each converted to its declared type."""
    hints = get_type_hints(expected_type)
    names = [field.name for field in fields(expected_type) if field.init]
    if unknown := [key for key in values if key not in names]:
        raise DataError(f"{name} has no field {describe(unknown[0])}")
    if missing := [key for key in names if key not in values]:
        raise DataError(f"{name} is missing the field {missing[0]!r}")
    return expected_type(**{key: plain(f"{name}.{key}", values[key], hints[key]) for key in names})
