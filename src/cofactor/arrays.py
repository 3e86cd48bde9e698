"""Array types, conversions and checks of arrays, item orders, and independent random streams from one seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.checks import Seed
from cofactor.errors import DataError, ParameterError

__all__ = [
    "ALL_ROWS",
    "MAX_ROWS",
    "ROW_ORDER",
    "Bool",
    "Bytes",
    "Float32",
    "Float64",
    "Int8",
    "Int32",
    "Int64",
    "ItemOrder",
    "contiguous",
    "plain",
    "random_stream",
    "read_only",
    "require_array",
    "signed_confidence",
]


LARGEST_CONFIDENCE = np.float32(1e12)
"""Larger confidences change no score, and float64 could no longer solve the equations."""

Float32: TypeAlias = NDArray[np.float32]


Float64: TypeAlias = NDArray[np.float64]


Int8: TypeAlias = NDArray[np.int8]


Int32: TypeAlias = NDArray[np.int32]


Int64: TypeAlias = NDArray[np.int64]


Bool: TypeAlias = NDArray[np.bool_]


Bytes: TypeAlias = NDArray[np.uint8]


ALL_ROWS: Bool = np.zeros(0, np.bool_)
"""The empty mask, which allows all rows."""


MAX_ROWS = 2**31 - 1
"""The largest number of rows: row numbers are int32."""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array that cannot be written.

    Parameters
    ----------
    array : ndarray
        An array of any shape and dtype.

    Returns
    -------
    ndarray
        It shares the memory of `array`.

    Examples
    --------
    >>> read_only(np.zeros(2)).flags.writeable
    False
    """
    view = array.view()
    view.flags.writeable = False
    return view


def require_array(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...] = (None,)) -> None:
    """Require a C-contiguous array of a given dtype and shape, as kernels read it.

    Parameters
    ----------
    name : str
        The name of the array, for the message.
    value : object
        The value to check.
    dtype : dtype
        The NumPy dtype.
    shape : tuple of (int or None), default (None,)
        The length of each axis, None for any.

    Raises
    ------
    DataError
        If the value is anything else.

    Examples
    --------
    >>> require_array("start", np.zeros(3), np.int64)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: start must be a contiguous int64 array of shape (any), not a numpy.ndarray ...
    """
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != dtype
        or value.ndim != len(shape)
        or not value.flags.c_contiguous
        or any(expected is not None and expected != size for expected, size in zip(shape, value.shape, strict=True))
    ):
        axes = ", ".join("any" if size is None else str(size) for size in shape)
        description = f"a contiguous {np.dtype(dtype)} array of shape ({axes})"
        raise DataError(f"{name} must be {description}, not {checks.describe(value)}")


def contiguous(array: Any, dtype: Any) -> NDArray[Any]:
    """Convert to a C-contiguous array.

    Parameters
    ----------
    array : array-like
        The values.
    dtype : dtype
        The NumPy dtype of the result.

    Returns
    -------
    ndarray
        An array of the same shape; `array` itself if it has that form.

    Examples
    --------
    >>> contiguous([[1, 2]], np.float32).tolist()
    [[1.0, 2.0]]
    """
    return np.ascontiguousarray(array, dtype=dtype)


def signed_confidence(values: Float32, weights: Float32 | None) -> Float32:
    """Return the weight of each event in a loss: its value times its weight, negative for a dislike.

    Values are clipped to 1e12 in magnitude: larger ones change no score, and float64 could no longer solve the
    equations.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        The value of each event, such as a count.
    weights : ndarray of shape (n,), float32, or None
        The weight of each event; None if all are 1.

    Returns
    -------
    ndarray of shape (n,), float32
        `values` itself if nothing changes.

    Examples
    --------
    >>> signed_confidence(np.float32([2, 3]), np.float32([1, -1])).tolist()
    [2.0, -3.0]
    >>> bool(signed_confidence(np.float32([1e30]), None)[0] == np.float32(1e12))
    True
    """
    if weights is None:
        confidence = values
    else:
        with np.errstate(over="ignore"):
            confidence = values * weights
    if np.abs(confidence).max(initial=0) <= LARGEST_CONFIDENCE:
        return confidence
    return np.clip(confidence, -LARGEST_CONFIDENCE, LARGEST_CONFIDENCE)


def random_stream(seed: Seed, *path: str | int) -> np.random.Generator:
    """Return an independent random generator for a seed and a path of names.

    Parameters
    ----------
    seed : int, Generator or None
        A whole number from 0 to `checks.MAX_SEED`; or what `checks.seed` draws one from at each call.
    *path : str or int
        The purpose of the stream. Streams with different paths are independent.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    ParameterError
        If `seed` has another type or is outside the range.

    Examples
    --------
    >>> a = random_stream(0, "user factors").standard_normal(2)
    >>> b = random_stream(0, "user factors").standard_normal(2)
    >>> bool((a == b).all())
    True
    >>> random_stream(-1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: seed must be a whole number from 0 to 4294967295, not -1
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([checks.seed(seed), *words])))


class ItemOrder:
    """An order of the items of a catalog, validated once.

    Parameters
    ----------
    rows : ndarray of shape (n_items,), int32
        All item rows, each once, or an empty array for the order of the rows.

    Attributes
    ----------
    rows : ndarray of shape (n_items,), int32
        Item rows in this order.

    Raises
    ------
    ParameterError
        If an item row is missing or occurs twice.

    Examples
    --------
    >>> len(ItemOrder(np.int32([1, 0])))
    2
    >>> ItemOrder(np.int32([1, 1]))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: rows of an ItemOrder must hold each row from 0 to 1 once
    """

    _compute: Callable[[], Int32] | None

    def __init__(self, rows: Int32) -> None:
        rows = checks.row_numbers("rows", rows, len(rows))
        if (np.bincount(rows, minlength=len(rows)) != 1).any():
            raise ParameterError(f"rows of an ItemOrder must hold each row from 0 to {len(rows) - 1} once")
        self._n_items, self._compute = len(rows), None
        self.__dict__["rows"] = rows

    @classmethod
    def deferred(cls, n_items: int, compute: Callable[[], Int32]) -> ItemOrder:
        """Create an order that is computed when it is first read.

        Most lists do not need it, and counting the events of a large table takes time.

        Parameters
        ----------
        n_items : int
            The number of items of the catalog.
        compute : callable
            Returns all item rows, each once: ndarray of shape (n_items,), int32.

        Returns
        -------
        ItemOrder

        Raises
        ------
        ParameterError
            If `n_items` is not a whole number, or `compute` cannot be called.

        Examples
        --------
        >>> ItemOrder.deferred(2, lambda: np.int32([1, 0])).rows.tolist()
        [1, 0]
        """
        if not callable(compute):
            raise ParameterError(f"compute must be a function, not {checks.describe(compute)}")
        order = cls.__new__(cls)
        order._n_items = checks.whole_number("n_items", n_items, low=0, high=MAX_ROWS)
        order._compute = compute
        return order

    @cached_property
    def rows(self) -> Int32:
        """Item rows in this order: ndarray of shape (n_items,), int32."""
        assert self._compute is not None  # set by `deferred`
        return self._compute()

    def __len__(self) -> int:
        return self._n_items


ROW_ORDER = ItemOrder(np.zeros(0, np.int32))
"""The order of the row numbers."""


def row_starts(counts: Any) -> Int64:
    """Return where each of consecutive groups begins, and where the last one ends.

    Parameters
    ----------
    counts : array-like of shape (n,), int
        The number of entries of each group.

    Returns
    -------
    ndarray of shape (n + 1,), int64
        0 and the cumulative sums.

    Examples
    --------
    >>> row_starts([2, 0, 1]).tolist()
    [0, 2, 2, 3]
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def plain(value: Any) -> Any:
    """Convert a value to JSON types.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Tuples become lists, NumPy arrays and numbers become lists and Python numbers, numbers that are not finite
        become None, and values of other types become strings.

    Examples
    --------
    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):  # a NumPy number or array
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
