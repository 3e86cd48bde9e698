"""Array types, array conversions and checks, item orders, and independent random streams derived from one seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeAlias

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
    "Counts",
    "Float32",
    "Float64",
    "Int8",
    "Int32",
    "Int64",
    "ItemOrder",
    "contiguous",
    "max_magnitude",
    "plain",
    "random_stream",
    "read_only",
    "require_array",
    "signed_confidence",
    "transform_counts",
]


MAX_CONFIDENCE = np.float32(1e12)
"""Maximum magnitude of a confidence; with larger values, the equations could not be solved in float64."""

BLOCK = 1 << 16
"""Number of values that are transformed at once."""

Float32: TypeAlias = NDArray[np.float32]


Float64: TypeAlias = NDArray[np.float64]


Int8: TypeAlias = NDArray[np.int8]


Int32: TypeAlias = NDArray[np.int32]


Int64: TypeAlias = NDArray[np.int64]


Bool: TypeAlias = NDArray[np.bool_]


Bytes: TypeAlias = NDArray[np.uint8]


Counts: TypeAlias = Literal["log", "binary", "raw"]
"""Transformation of event values to confidences; see `transform_counts`."""

ALL_ROWS: Bool = np.zeros(0, np.bool_)
"""Empty mask, which allows all rows."""


MAX_ROWS = 2**31 - 1
"""Maximum number of rows: row numbers are int32."""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view of an array.

    Parameters
    ----------
    array : ndarray
        An array of any shape and dtype.

    Returns
    -------
    ndarray
        A view that shares the memory of `array`.

    Examples
    --------
    >>> read_only(np.zeros(2)).flags.writeable
    False
    """
    view = array.view()
    view.flags.writeable = False
    return view


def require_array(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...] = (None,)) -> None:
    """Check that an array is C-contiguous and has the dtype and shape that a kernel expects.

    Parameters
    ----------
    name : str
        Name of the array, for error messages.
    value : object
        Value to check.
    dtype : dtype
        Required NumPy dtype.
    shape : tuple of (int or None), default (None,)
        Required length of each axis; None for any length.

    Raises
    ------
    DataError
        If the value is not such an array.

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
    """Convert values to a C-contiguous array of a given dtype.

    Parameters
    ----------
    array : array-like
        The values.
    dtype : dtype
        NumPy dtype of the result.

    Returns
    -------
    ndarray
        An array of the same shape; `array` itself if it is already contiguous and has this dtype.

    Examples
    --------
    >>> contiguous([[1, 2]], np.float32).tolist()
    [[1.0, 2.0]]
    """
    return np.ascontiguousarray(array, dtype=dtype)


def transform_counts(values: Float32, counts: Counts) -> Float32:
    """Transform the values of events, so that a few large counts do not dominate a model; see Notes.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        Count or amount of each event; negative for a dislike.
    counts : {"log", "binary", "raw"}
        Transformation.

    Returns
    -------
    ndarray of shape (n,), float32
        Transformed values; `values` itself if nothing changes.

    Notes
    -----
    All transformations keep 0, 1 and the sign::

        log:     f(v) = 1 + ln v for v >= 1, and v for v < 1
        binary:  f(v) = 1
        raw:     f(v) = v

    References
    ----------
    Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets", equation 6 (confidences that
    grow with the logarithm of the count).

    Examples
    --------
    >>> plays = np.float32([0.5, 1, 100, -3])
    >>> [transform_counts(plays, counts).astype(float).round(1).tolist() for counts in ("log", "binary", "raw")]
    [[0.5, 1.0, 5.6, -2.1], [1.0, 1.0, 1.0, -1.0], [0.5, 1.0, 100.0, -3.0]]
    """
    if counts == "raw":
        return values
    if counts == "binary":
        return np.sign(values)
    if max_magnitude(values) <= 1:
        return values
    transformed = np.empty_like(values)
    for first in range(0, len(values), BLOCK):  # temporary arrays stay in the cache
        block = values[first : first + BLOCK]
        logarithms = 1 + np.log(np.maximum(np.abs(block), 1), dtype=np.float64)
        signed = np.copysign(logarithms, block).astype(np.float32)
        transformed[first : first + BLOCK] = np.where(np.abs(block) > 1, signed, block)
    return transformed


def max_magnitude(values: Float32) -> float:
    """Return the largest absolute value of an array without a copy; 0 if it is empty.

    Parameters
    ----------
    values : ndarray, float32
        Any values.

    Returns
    -------
    float
        nan if a value is nan.

    Examples
    --------
    >>> max_magnitude(np.float32([2, -3]))
    3.0
    """
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def signed_confidence(values: Float32, weights: Float32 | None, counts: Counts) -> Float32:
    """Return the confidence of each event: its transformed value times its weight, negative for a dislike.

    Confidences are clipped to 1e12 in magnitude: larger ones change no score, and float64 could no longer solve the
    equations.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        Value of each event, such as a count.
    weights : ndarray of shape (n,), float32, or None
        Weight of each event; None if all are 1.
    counts : {"log", "binary", "raw"}
        Transformation of the values; see `transform_counts`.

    Returns
    -------
    ndarray of shape (n,), float32
        The confidences; `values` itself if nothing changes.

    Examples
    --------
    >>> signed_confidence(np.float32([2, 3]), np.float32([1, -1]), "raw").tolist()
    [2.0, -3.0]
    >>> bool(signed_confidence(np.float32([1e30]), None, "raw")[0] == np.float32(1e12))
    True
    """
    confidence = transform_counts(values, counts)
    if weights is not None:
        with np.errstate(over="ignore"):
            confidence = confidence * weights
    if max_magnitude(confidence) <= MAX_CONFIDENCE:
        return confidence
    return np.clip(confidence, -MAX_CONFIDENCE, MAX_CONFIDENCE)


def random_stream(seed: Seed, *path: str | int) -> np.random.Generator:
    """Return a random generator for a seed and a sequence of names; different sequences give independent generators.

    Parameters
    ----------
    seed : int, Generator or None
        An integer from 0 to `checks.MAX_SEED`; or a Generator or None, from which `checks.seed` draws a seed at
        each call.
    *path : str or int
        Names that identify the purpose of the stream.

    Returns
    -------
    numpy.random.Generator
        The generator.

    Raises
    ------
    ParameterError
        If `seed` has the wrong type or is out of range.

    Examples
    --------
    >>> a = random_stream(0, "user factors").standard_normal(2)
    >>> b = random_stream(0, "user factors").standard_normal(2)
    >>> bool((a == b).all())
    True
    >>> random_stream(-1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: seed must be an integer from 0 to 4294967295, not -1
    """
    entropy = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([checks.seed(seed), *entropy])))


class ItemOrder:
    """Order of the items in a catalog; validated on creation.

    Parameters
    ----------
    rows : ndarray of shape (n_items,), int32
        Row numbers of all items, each exactly once; an empty array stands for the order of the row numbers.

    Attributes
    ----------
    rows : ndarray of shape (n_items,), int32
        Item row numbers in this order.

    Raises
    ------
    ParameterError
        If a row number is missing or occurs more than once.

    Examples
    --------
    >>> len(ItemOrder(np.int32([1, 0])))
    2
    >>> ItemOrder(np.int32([1, 1]))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: rows of an ItemOrder must contain each row from 0 to 1 exactly once
    """

    _compute: Callable[[], Int32] | None

    def __init__(self, rows: Int32) -> None:
        rows = checks.row_numbers("rows", rows, len(rows))
        if (np.bincount(rows, minlength=len(rows)) != 1).any():
            raise ParameterError(f"rows of an ItemOrder must contain each row from 0 to {len(rows) - 1} exactly once")
        self._n_items, self._compute = len(rows), None
        self.__dict__["rows"] = rows

    @classmethod
    def deferred(cls, n_items: int, compute: Callable[[], Int32]) -> ItemOrder:
        """Create an item order that is computed on first access.

        Most rankings do not need the order, and counting the events in a large table takes time.

        Parameters
        ----------
        n_items : int
            Number of items in the catalog.
        compute : callable
            Function that returns the row numbers of all items, each exactly once: ndarray of shape (n_items,), int32.

        Returns
        -------
        ItemOrder
            The order.

        Raises
        ------
        ParameterError
            If `n_items` is not an integer, or `compute` is not callable.

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
        """Item row numbers in this order: ndarray of shape (n_items,), int32."""
        assert self._compute is not None  # set by `deferred`
        return self._compute()

    def __len__(self) -> int:
        return self._n_items


ROW_ORDER = ItemOrder(np.zeros(0, np.int32))
"""Items in the order of their row numbers."""


def row_starts(counts: Any) -> Int64:
    """Return the start offset of each of several consecutive groups, followed by the end offset of the last group.

    Parameters
    ----------
    counts : array-like of shape (n,), int
        Number of entries in each group.

    Returns
    -------
    ndarray of shape (n + 1,), int64
        0, followed by the cumulative sums of `counts`.

    Examples
    --------
    >>> row_starts([2, 0, 1]).tolist()
    [0, 2, 2, 3]
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def plain(value: Any) -> Any:
    """Convert a value to JSON-serializable types.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Tuples and NumPy arrays become lists, NumPy numbers and decimals become Python numbers, numbers that are not
        finite become None, and values of other types become strings.

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
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
