"""Array types by name, the mostly blank matrix, and independent random streams from one seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.errors import DataError, ParameterError

__all__ = [
    "EVERY",
    "MOST_ROWS",
    "NO_ORDER",
    "Bool",
    "Bytes",
    "Float32",
    "Float64",
    "Int8",
    "Int32",
    "Int64",
    "ItemOrder",
    "SparseRows",
    "contiguous",
    "plain",
    "random_stream",
    "read_only",
    "require_array",
    "signed_confidence",
]

LARGEST_CONFIDENCE = np.float32(1e12)

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Int8: TypeAlias = NDArray[np.int8]
Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
Bytes: TypeAlias = NDArray[np.uint8]

EVERY: Bool = np.zeros(0, np.bool_)
"""The mask that allows every row."""
MOST_ROWS = 2**31 - 1
"""Row numbers are int32."""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory, seen through a view that cannot be written; of any shape and dtype.

    >>> read_only(np.zeros(2)).flags.writeable
    False
    """
    view = array.view()
    view.flags.writeable = False
    return view


def require_array(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...] = (None,)) -> None:
    """Raise DataError unless this is a C-contiguous array of this dtype and shape, as kernels read it.

    Parameters
    ----------
    name : str
        What it is, for the message.
    value : object
        Any value.
    dtype : dtype
        NumPy's type.
    shape : tuple of (int or None), default (None,)
        The length of each axis, None for any.

    Raises
    ------
    DataError
        For anything else.

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
        or any(wanted is not None and wanted != size for wanted, size in zip(shape, value.shape, strict=True))
    ):
        axes = ", ".join("any" if size is None else str(size) for size in shape)
        what = f"a contiguous {np.dtype(dtype)} array of shape ({axes})"
        raise DataError(f"{name} must be {what}, not {checks.shown(value)}")


def contiguous(array: Any, dtype: Any) -> NDArray[Any]:
    """`array` as a C-contiguous array of `dtype`, of the same shape; copied only when it is not one already.

    >>> contiguous([[1, 2]], np.float32).tolist()
    [[1.0, 2.0]]
    """
    return np.ascontiguousarray(array, dtype=dtype)


def signed_confidence(values: Float32, weights: Float32 | None) -> Float32:
    """The weight of each event in a loss: its value times its weight, negative for a dislike.

    Magnitudes above 1e12 count as 1e12: beyond that no score changes, and float64 could no longer solve for it.

    Parameters
    ----------
    values : ndarray of shape (n,), float32
        How often each event happened.
    weights : ndarray of shape (n,), float32, or None
        None where all are 1.

    Returns
    -------
    ndarray of shape (n,), float32
        `values` itself where there is nothing to change.

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


def random_stream(seed: int, *path: str | int) -> np.random.Generator:
    """A random generator of its own for every (seed, path): streams never depend on each other's use.

    seed: a whole number from 0 to `checks.MAX_SEED`; path: what the stream is for. Raises ParameterError for another
    seed.

    >>> a = random_stream(0, "user factors").standard_normal(2)
    >>> b = random_stream(0, "user factors").standard_normal(2)
    >>> bool((a == b).all())
    True
    >>> random_stream(-1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: seed must be a whole number from 0 to 4294967295, not -1
    """
    seed = checks.seed(seed)
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A mostly blank matrix by rows (CSR): row r holds `columns[start[r]:start[r + 1]]`, ascending.

        start (n_rows + 1,) int64    columns (n,) int32
        values (n,) float32          weights (n,) float32, or None where every weight is 1

    A row without entries has start[r] = start[r + 1]; a matrix without rows has start = [0]. Raises DataError for
    arrays of another type or length, a `start` that does not rise from 0 to n, and columns below 0.

    >>> rows = SparseRows.of(rows=[1, 0, 1], columns=[2, 0, 1], values=[5, 3, 4], n_rows=3)
    >>> rows.counts.tolist(), rows.row(1).columns.tolist(), rows.row(1).values.tolist()
    ([1, 2, 0], [1, 2], [4.0, 5.0])
    """

    start: Int64
    columns: Int32
    values: Float32
    weights: Float32 | None = None

    def __post_init__(self) -> None:
        require_array("start of SparseRows", self.start, np.int64)
        require_array("columns of SparseRows", self.columns, np.int32)
        require_array("values of SparseRows", self.values, np.float32)
        if self.weights is not None:
            require_array("weights of SparseRows", self.weights, np.float32)
        start, n = self.start, len(self.columns)
        if len(start) == 0 or start[0] != 0 or start[-1] != n or (start[1:] < start[:-1]).any():
            raise DataError(f"start of SparseRows must rise from 0 to {n:,}, the number of its columns")
        if len(self.values) != n or (self.weights is not None and len(self.weights) != n):
            raise DataError(f"SparseRows must have as many values and weights as columns, {n:,}")
        if n and self.columns.min() < 0:
            raise DataError(f"columns of SparseRows must be numbers from 0 on, not {self.columns.min()}")

    @classmethod
    def _part(cls, of: SparseRows, start: Int64, entries: Any) -> Self:
        """Some rows of a matrix whose arrays were checked: they are not checked again."""
        part = object.__new__(cls)
        weights = None if of.weights is None else of.weights[entries]
        part.__dict__.update(start=start, columns=of.columns[entries], values=of.values[entries], weights=weights)
        if (sound := of.__dict__.get("_sound")) is not None:
            part.__dict__["_sound"] = sound
        return part

    @cached_property
    def _sound(self) -> tuple[int, bool, bool]:
        """A bound that all columns are below, whether they ascend in each row, and whether all numbers are finite."""
        n = len(self.columns)
        ascends = self.columns[1:] > self.columns[:-1]
        ascends[self.start[(self.start > 0) & (self.start < n)] - 1] = True  # where another row begins
        finite = np.isfinite(self.values).all() and (self.weights is None or np.isfinite(self.weights).all())
        return int(self.columns.max(initial=-1)) + 1, bool(ascends.all()), bool(finite)

    def checked(self, name: str, n_columns: int, *, n_rows: int | None = None) -> Self:
        """The same matrix, if it fits a catalog.

        Parameters
        ----------
        name : str
            The argument's name, for the message.
        n_columns : int
            Columns must be below this number, ascending within each row and without duplicates. Values and weights must
            be finite.
        n_rows : int or None, default None
            How many rows there must be; None for any number.

        Returns
        -------
        SparseRows
            The matrix itself.

        Raises
        ------
        DataError
            Where it does not fit.

        Examples
        --------
        >>> SparseRows.of([0], [7], [5.0], n_rows=1).checked("histories", 7)
        Traceback (most recent call last):
        cofactor.errors.DataError: histories must have columns from 0 to 6, not 7
        """
        if n_rows is not None and len(self) != checks.whole_number("n_rows", n_rows):
            raise DataError(f"{name} must have {n_rows:,} rows, not {len(self):,}")
        checks.whole_number("n_columns", n_columns)
        bound, ascends, finite = self._sound
        if bound > n_columns and (largest := int(self.columns.max(initial=-1))) >= n_columns:
            raise DataError(f"{name} must have columns from 0 to {n_columns - 1}, not {largest}")
        if not ascends:
            raise DataError(f"{name} must have columns that ascend within each row, without duplicates")
        if not finite:
            raise DataError(f"{name} must have finite values and weights")
        return self

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def counts(self) -> Int64:
        """How many entries each row has: (n_rows,) int64."""
        return np.diff(self.start)

    def column_counts(self, n_columns: int) -> Int64:
        """Count the entries of each column.

        Parameters
        ----------
        n_columns : int
            At least the largest column number plus one.

        Returns
        -------
        ndarray of shape (n_columns,), int64

        Raises
        ------
        ParameterError
            If `n_columns` is not a whole number.
        DataError
            If a column number is larger.

        Examples
        --------
        >>> SparseRows.of([0, 1, 1], [2, 0, 2], [1, 1, 1], n_rows=2).column_counts(4).tolist()
        [1, 0, 2, 0]
        """
        n_columns = checks.whole_number("n_columns", n_columns, low=0, high=MOST_ROWS)
        counts, piece = np.zeros(n_columns, np.int64), max(2**17, n_columns)
        for first in range(0, len(self.columns), piece):  # bincount copies to int64: a small copy is quick
            part = np.bincount(self.columns[first : first + piece], minlength=n_columns)
            if len(part) > n_columns:
                raise DataError(
                    f"n_columns must be greater than the largest column number, {len(part) - 1}; got {n_columns}"
                )
            counts += part
        return counts

    def with_values(self, values: Float32) -> Self:
        """The same matrix with other values, without weights.

        Parameters
        ----------
        values : ndarray of shape (n_entries,), float32
            A value for each entry.

        Returns
        -------
        SparseRows
            It shares the columns.

        Raises
        ------
        DataError
            For an array of another dtype or shape.

        Examples
        --------
        >>> rows = SparseRows.of([0, 0], [1, 2], [5.0, 3.0], n_rows=1)
        >>> rows.with_values(np.float32([1, 0])).values.tolist()
        [1.0, 0.0]
        """
        require_array("values", values, np.float32, self.columns.shape)
        part = object.__new__(type(self))
        part.__dict__.update(start=self.start, columns=self.columns, values=values, weights=None)
        return part

    def row(self, r: int) -> SparseRows:
        """Row r alone, as a matrix of one row, without copying its entries. Raises ParameterError for another row."""
        r = checks.whole_number("r", r, low=0, high=len(self) - 1)
        return self._slice(r, r + 1)

    def slice(self, first: int, last: int) -> SparseRows:
        """Rows first to last - 1, without copying their entries. Rows beyond the end are ignored.

        Raises ParameterError for a row below 0.
        """
        return self._slice(checks.whole_number("first", first, low=0), checks.whole_number("last", last, low=0))

    def _slice(self, first: int, last: int) -> SparseRows:
        start = self.start[first : last + 1]
        if len(start) == 0:
            return SparseRows.empty(0)
        return self._part(self, start - start[0], slice(int(start[0]), int(start[-1])))

    def take(self, rows: Any) -> SparseRows:
        """These rows, in this order; a row number of -1 gives an empty row. One row, or all as they are: no copy.

        Raises ParameterError for a row that is not there.
        """
        rows = checks.row_numbers("rows", rows, len(self), unknown=True)
        if len(rows) == 1 and (r := rows.item()) >= 0:
            return self._slice(r, r + 1)
        if len(rows) == len(self) and bool((rows == np.arange(len(self))).all()):
            return self
        counts = np.where(rows < 0, 0, self.start[rows + 1] - self.start[rows])
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        entries = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], counts)
        return self._part(self, start, entries)

    @classmethod
    def of(cls, rows: Any, columns: Any, values: Any, n_rows: int, weights: Any = None) -> SparseRows:
        """From entries in any order, (n,) each; within a row they are sorted by column. No entries: `n_rows` blanks.

        Raises ParameterError for rows and columns that are no row numbers or of another length, and for rows that are
        not below `n_rows`.
        """
        n_rows = checks.whole_number("n_rows", n_rows, low=0, high=MOST_ROWS)
        rows = checks.row_numbers("rows", rows, n_rows)
        columns = checks.row_numbers("columns", columns, MOST_ROWS)
        if checks.as_array(values).shape != rows.shape:
            raise ParameterError(f"values must be as many as rows, {len(rows):,}, not {checks.shown(values)}")
        numbers = checks.number_array("values", values, rows.shape)
        if len(columns) != len(rows):
            raise ParameterError(f"columns must be as many as rows, {len(rows):,}, not {len(columns):,}")
        order = np.lexsort((columns, rows))
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=n_rows))])
        sorted_weights = None
        if weights is not None:
            sorted_weights = contiguous(checks.number_array("weights", weights, rows.shape)[order], np.float32)
        return cls(start, columns[order], contiguous(numbers[order], np.float32), sorted_weights)

    @classmethod
    def empty(cls, n_rows: int) -> SparseRows:
        """`n_rows` rows without entries."""
        n_rows = checks.whole_number("n_rows", n_rows, low=0, high=MOST_ROWS)
        return cls(np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


class ItemOrder:
    """An order of the items of a catalog, validated once.

    Parameters
    ----------
    rows : ndarray of shape (n_items,), int32
        Every item row once, or an empty array for the order of the rows.

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
    cofactor.errors.ParameterError: rows of an ItemOrder must be each row from 0 to 1 once
    """

    _compute: Callable[[], Int32] | None

    def __init__(self, rows: Int32) -> None:
        rows = checks.row_numbers("rows", rows, len(rows))
        if (np.bincount(rows, minlength=len(rows)) != 1).any():
            raise ParameterError(f"rows of an ItemOrder must be each row from 0 to {len(rows) - 1} once")
        self._n_items, self._compute = len(rows), None
        self.__dict__["rows"] = rows

    @classmethod
    def deferred(cls, n_items: int, compute: Callable[[], Int32]) -> ItemOrder:
        """Create an order that is computed when it is first read.

        Most lists do not use the order, and computing it takes time for a large table.

        Parameters
        ----------
        n_items : int
            The size of the catalog.
        compute : callable
            Returns every item row once: ndarray of shape (n_items,), int32.

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
            raise ParameterError(f"compute must be a function, not {checks.shown(compute)}")
        order = cls.__new__(cls)
        order._n_items = checks.whole_number("n_items", n_items, low=0, high=MOST_ROWS)
        order._compute = compute
        return order

    @cached_property
    def rows(self) -> Int32:
        """Item rows, the first one first: ndarray of shape (n_items,), int32."""
        assert self._compute is not None  # set by `deferred`
        return self._compute()

    def __len__(self) -> int:
        return self._n_items


NO_ORDER = ItemOrder(np.zeros(0, np.int32))
"""No order of items but their row numbers."""


def plain(value: Any) -> Any:
    """The same value of JSON's types only.

    Tuples become lists, what is NumPy's becomes Python's, a number that is not finite becomes None, and whatever is of
    another type its text.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):  # a number or an array of NumPy's
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
