"""Sparse matrices in CSR format, with validation, stacking, merging, transposing and counting of common entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Bool, Float32, Int32, Int64, contiguous, read_only, require_array, row_starts
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.compile import kernel
from cofactor.kernels.sort import counting_sort

__all__ = ["SparseRows", "common_entries", "merge_counts", "merge_latest", "vstack"]


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Sparse matrix in compressed sparse row (CSR) format: the columns of row r are columns[start[r]:start[r + 1]].

    Parameters
    ----------
    start : ndarray of shape (n_rows + 1,), int64
        The position of the first entry of each row, from 0 to n in non-decreasing order. start[r] equals start[r + 1]
        if row r has no entries; start is [0] for a matrix without rows.
    columns : ndarray of shape (n,), int32
        The column index of each entry, sorted within each row.
    values : ndarray of shape (n,), float32
        The value of each entry.
    weights : ndarray of shape (n,), float32, or None, default None
        The weight of each entry; None if all are 1.
    times : ndarray of shape (n,), int64, or None, default None
        The time of each entry, for models that use the order of a history; None if all entries are simultaneous.

    Raises
    ------
    DataError
        If an array has the wrong dtype or length, `start` is not non-decreasing from 0 to n, or a column index is
        negative.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[1, 0, 1], columns=[2, 0, 1], values=[5, 3, 4], n_rows=3)
    >>> rows.counts.tolist(), rows.row(1).columns.tolist(), rows.row(1).values.tolist()
    ([1, 2, 0], [1, 2], [4.0, 5.0])
    """

    start: Int64
    columns: Int32
    values: Float32
    weights: Float32 | None = None
    times: Int64 | None = None

    def __post_init__(self) -> None:
        require_array("SparseRows.start", self.start, np.int64)
        require_array("SparseRows.columns", self.columns, np.int32)
        require_array("SparseRows.values", self.values, np.float32)
        if self.weights is not None:
            require_array("SparseRows.weights", self.weights, np.float32)
        if self.times is not None:
            require_array("SparseRows.times", self.times, np.int64, (len(self.columns),))
        start, n = self.start, len(self.columns)
        if len(start) == 0 or start[0] != 0 or start[-1] != n or (start[1:] < start[:-1]).any():
            raise DataError(f"SparseRows.start must be non-decreasing, from 0 to the number of entries ({n:,})")
        if len(self.values) != n or (self.weights is not None and len(self.weights) != n):
            raise DataError(f"SparseRows.values and SparseRows.weights must have the same length as columns ({n:,})")
        if n and self.columns.min() < 0:
            raise DataError(f"SparseRows.columns must not contain negative indices; got {self.columns.min()}")

    @classmethod
    def _part(cls, rows: SparseRows, start: Int64, entries: Any) -> Self:
        """Create a matrix from some rows of another one, without checking the arrays again."""
        part = object.__new__(cls)
        weights = None if rows.weights is None else rows.weights[entries]
        times = None if rows.times is None else rows.times[entries]
        part.__dict__.update(
            start=start, columns=rows.columns[entries], values=rows.values[entries], weights=weights, times=times
        )
        if (properties := rows.__dict__.get("_properties")) is not None:
            part.__dict__["_properties"] = properties
        return part

    @cached_property
    def _properties(self) -> tuple[int, bool, bool]:
        """An upper bound on the column indices, whether they are sorted in each row, and whether values are finite."""
        n = len(self.columns)
        is_sorted = self.columns[1:] > self.columns[:-1]
        is_sorted[self.start[(self.start > 0) & (self.start < n)] - 1] = True  # the first entry of a row may be lower
        is_finite = np.isfinite(self.values).all() and (self.weights is None or np.isfinite(self.weights).all())
        return int(self.columns.max(initial=-1)) + 1, bool(is_sorted.all()), bool(is_finite)

    def checked(self, name: str, n_columns: int, *, n_rows: int | None = None) -> Self:
        """Check that this matrix is valid and fits a given number of columns and rows, and return it.

        Parameters
        ----------
        name : str
            The argument name to use in error messages.
        n_columns : int
            The number of columns. Column indices must be below it, and sorted within each row, without duplicates.
        n_rows : int or None, default None
            The required number of rows; None for any number.

        Returns
        -------
        SparseRows
            The matrix itself.

        Raises
        ------
        DataError
            If a column index is out of range, column indices are not sorted, a value or weight is not finite, or the
            number of rows differs.

        Examples
        --------
        >>> SparseRows.of([0], [7], [5.0], n_rows=1).checked("histories", 7)
        Traceback (most recent call last):
        cofactor.errors.DataError: histories must have column indices between 0 and 6; got 7
        """
        if n_rows is not None and len(self) != checks.whole_number("n_rows", n_rows):
            raise DataError(f"{name} must have {n_rows:,} rows; got {len(self):,}")
        checks.whole_number("n_columns", n_columns)
        bound, is_sorted, is_finite = self._properties
        if bound > n_columns and (largest := int(self.columns.max(initial=-1))) >= n_columns:
            raise DataError(f"{name} must have column indices between 0 and {n_columns - 1}; got {largest}")
        if not is_sorted:
            raise DataError(f"{name} must have sorted column indices within each row, without duplicates")
        if not is_finite:
            raise DataError(f"{name} must have finite values and weights")
        return self

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def counts(self) -> Int64:
        """Number of entries in each row, ndarray of shape (n_rows,), int64."""
        return np.diff(self.start)

    @property
    def owners(self) -> Int32:
        """Row number of each entry, ndarray of shape (n,), int32, in ascending order."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.counts)

    def column_counts(self, n_columns: int) -> Int64:
        """Count the entries in each column.

        Parameters
        ----------
        n_columns : int
            The number of columns; must be greater than the largest column index.

        Returns
        -------
        ndarray of shape (n_columns,), int64

        Raises
        ------
        ParameterError
            If `n_columns` is not a whole number.
        DataError
            If `n_columns` is not greater than the largest column index.

        Examples
        --------
        >>> SparseRows.of([0, 1, 1], [2, 0, 2], [1, 1, 1], n_rows=2).column_counts(4).tolist()
        [1, 0, 2, 0]
        """
        n_columns = checks.whole_number("n_columns", n_columns, low=0, high=MAX_ROWS)
        counts, chunk_size = np.zeros(n_columns, np.int64), max(2**17, n_columns)
        for first in range(0, len(self.columns), chunk_size):  # bincount copies to int64; small copies are fast
            part = np.bincount(self.columns[first : first + chunk_size], minlength=n_columns)
            if len(part) > n_columns:
                raise DataError(
                    f"n_columns must be greater than the largest column index ({len(part) - 1}); got {n_columns}"
                )
            counts += part
        return counts

    def with_values(self, values: Float32) -> Self:
        """Return a copy with the values replaced and the weights and times removed.

        Parameters
        ----------
        values : ndarray of shape (n_entries,), float32
            One value for each entry.

        Returns
        -------
        SparseRows
            A matrix that shares `start` and `columns` with this one.

        Raises
        ------
        DataError
            If the array has the wrong dtype or shape.

        Examples
        --------
        >>> rows = SparseRows.of([0, 0], [1, 2], [5.0, 3.0], n_rows=1)
        >>> rows.with_values(np.float32([1, 0])).values.tolist()
        [1.0, 0.0]
        """
        require_array("values", values, np.float32, self.columns.shape)
        part = object.__new__(type(self))
        part.__dict__.update(start=self.start, columns=self.columns, values=values, weights=None, times=None)
        return part

    def row(self, r: int) -> SparseRows:
        """Return row r as a matrix with one row, without copying its entries.

        Parameters
        ----------
        r : int
            The row number.

        Returns
        -------
        SparseRows

        Raises
        ------
        ParameterError
            If a row number is out of range.
        """
        r = checks.whole_number("r", r, low=0, high=len(self) - 1)
        return self._slice(r, r + 1)

    def slice(self, first: int, last: int) -> SparseRows:
        """Return rows first to last - 1 as a matrix, without copying their entries.

        Parameters
        ----------
        first, last : int
            Row numbers; rows beyond the end are ignored.

        Returns
        -------
        SparseRows

        Raises
        ------
        ParameterError
            If a row number is negative.
        """
        return self._slice(checks.whole_number("first", first, low=0), checks.whole_number("last", last, low=0))

    def _slice(self, first: int, last: int) -> SparseRows:
        start = self.start[first : last + 1]
        if len(start) == 0:
            return SparseRows.empty(0)
        return self._part(self, start - start[0], slice(int(start[0]), int(start[-1])))

    def take(self, rows: Any) -> SparseRows:
        """Return a matrix of the selected rows, in the given order.

        Parameters
        ----------
        rows : array-like of shape (m,), int
            Row numbers; -1 selects an empty row.

        Returns
        -------
        SparseRows
            A matrix with m rows. Entries are not copied if one row is selected, or all rows in order.

        Raises
        ------
        ParameterError
            If a row number is out of range.
        """
        rows = checks.row_numbers("rows", rows, len(self), unknown=True)
        if len(rows) == 1 and (r := rows.item()) >= 0:
            return self._slice(r, r + 1)
        if len(rows) == len(self) and bool((rows == np.arange(len(self))).all()):
            return self
        counts = np.where(rows < 0, 0, self.start[rows + 1] - self.start[rows])
        start = row_starts(counts)
        entries = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], counts)
        return self._part(self, start, entries)

    def filter(self, keep: Any) -> SparseRows:
        """Return a matrix with only the entries selected by a mask.

        Parameters
        ----------
        keep : array-like of shape (n,), bool
            True for the entries to keep.

        Returns
        -------
        SparseRows
            A matrix with the same number of rows.

        Raises
        ------
        ParameterError
            If the mask has the wrong length or is not boolean.

        Examples
        --------
        >>> rows = SparseRows.of([0, 0, 1], [1, 2, 0], [5, 3, 4], n_rows=2)
        >>> rows.filter(rows.values > 3).counts.tolist()
        [1, 1]
        """
        keep = checks.mask("keep", keep, len(self.columns))
        return self._part(self, row_starts(keep)[self.start], keep)

    def transpose(self, n_columns: int) -> SparseRows:
        """Return the transposed matrix; for example, convert the items of each user to the users of each item.

        Parameters
        ----------
        n_columns : int
            The number of columns.

        Returns
        -------
        SparseRows
            A copy with `n_columns` rows, without times; a column without entries becomes an empty row.

        Raises
        ------
        ParameterError
            If `n_columns` is not greater than the largest column index.

        Examples
        --------
        >>> users = SparseRows.of([0, 1, 1], [2, 0, 2], [5, 3, 4], n_rows=2)
        >>> items = users.transpose(3)
        >>> items.counts.tolist(), items.row(2).columns.tolist(), items.row(2).values.tolist()
        ([1, 0, 2], [0, 1], [5.0, 4.0])
        """
        n_columns = checks.whole_number("n_columns", n_columns, low=0, high=MAX_ROWS)
        if (largest := self.columns.max(initial=-1)) >= n_columns:
            raise ParameterError(
                f"n_columns must be greater than the largest column index ({largest}); got {n_columns}"
            )
        start, order = counting_sort(self.columns, n_columns)
        weights = None if self.weights is None else self.weights[order]
        return SparseRows(start, self.owners[order], self.values[order], weights)

    @classmethod
    def from_counts(cls, counts: Any, columns: Int32, values: Float32, weights: Float32 | None = None) -> SparseRows:
        """Create a matrix from entries that are sorted by row.

        Parameters
        ----------
        counts : array-like of shape (n_rows,), int
            The number of entries in each row.
        columns, values, weights : ndarray of shape (n,)
            The attributes of the matrix.

        Returns
        -------
        SparseRows
            A matrix that shares the arrays passed.

        Raises
        ------
        DataError
            If the counts do not add up to the number of entries, or an array has the wrong dtype or length.

        Examples
        --------
        >>> SparseRows.from_counts([1, 2], np.int32([7, 0, 7]), np.float32([5, 3, 4])).owners.tolist()
        [0, 1, 1]
        """
        start = row_starts(checks.whole_array("counts", counts, low=0, high=MAX_ROWS))
        columns = checks.as_array(columns)
        if columns.ndim != 1:
            raise DataError(f"columns must be a one-dimensional array, not {checks.describe(columns)}")
        if start[-1] != len(columns):
            raise DataError(f"counts must sum to the length of columns ({len(columns):,}); got {start[-1]:,}")
        return cls(start, columns, values, weights)

    @classmethod
    def of(
        cls, rows: Any, columns: Any, values: Any, n_rows: int, weights: Any = None, times: Any = None
    ) -> SparseRows:
        """Create a matrix from entries in any order.

        Parameters
        ----------
        rows, columns : array-like of shape (n,), int
            The row number and the column index of each entry; n may be 0.
        values : array-like of shape (n,), numeric
            The value of each entry.
        n_rows : int
            The number of rows.
        weights : array-like of shape (n,), numeric, or None, default None
            The weight of each entry; None if all are 1.
        times : array-like of shape (n,), int, or None, default None
            The time of each entry; None if all entries are simultaneous.

        Returns
        -------
        SparseRows
            A matrix whose entries are sorted by column within each row.

        Raises
        ------
        ParameterError
            If `rows` or `columns` are not valid indices, the lengths differ, or a row number is not below `n_rows`.
        """
        n_rows = checks.whole_number("n_rows", n_rows, low=0, high=MAX_ROWS)
        rows = checks.row_numbers("rows", rows, n_rows)
        columns = checks.row_numbers("columns", columns, MAX_ROWS)
        if checks.as_array(values).shape != rows.shape:
            raise ParameterError(
                f"values must have the same length as rows ({len(rows):,}); got {checks.describe(values)}"
            )
        checked_values = checks.number_array("values", values, rows.shape)
        if len(columns) != len(rows):
            raise ParameterError(f"columns must have the same length as rows ({len(rows):,}); got {len(columns):,}")
        order = np.lexsort((columns, rows))
        start = row_starts(np.bincount(rows, minlength=n_rows))
        sorted_weights = None
        if weights is not None:
            sorted_weights = contiguous(checks.number_array("weights", weights, rows.shape)[order], np.float32)
        sorted_times = None if times is None else checks.seconds("times", times, len(rows))[order]
        return cls(start, columns[order], contiguous(checked_values[order], np.float32), sorted_weights, sorted_times)

    @classmethod
    def of_lists(cls, columns: Int32, values: Float32) -> SparseRows:
        """Create a matrix from lists of equal length, one for each row.

        Parameters
        ----------
        columns : ndarray of shape (n_rows, width), int32
            The column indices of each row in any order; padded with -1.
        values : ndarray of shape (n_rows, width), float32
            The value of each entry.

        Returns
        -------
        SparseRows
            A matrix whose entries are sorted by column within each row.

        Examples
        --------
        >>> SparseRows.of_lists(np.int32([[7, 2], [3, -1]]), np.float32([[1, 2], [3, 0]])).columns
        array([2, 7, 3], dtype=int32)
        """
        order = np.argsort(columns, axis=1)
        columns = np.take_along_axis(columns, order, axis=1)
        valid = columns >= 0
        return cls(row_starts(valid.sum(axis=1)), columns[valid], np.take_along_axis(values, order, axis=1)[valid])

    @classmethod
    def empty(cls, n_rows: int) -> SparseRows:
        """Create a matrix without entries.

        Parameters
        ----------
        n_rows : int
            The number of rows.

        Returns
        -------
        SparseRows

        Raises
        ------
        ParameterError
            If `n_rows` is not a nonnegative whole number.
        """
        n_rows = checks.whole_number("n_rows", n_rows, low=0, high=MAX_ROWS)
        return cls(np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def vstack(top: SparseRows, bottom: SparseRows) -> SparseRows:
    """Stack two sparse matrices vertically.

    Parameters
    ----------
    top, bottom : SparseRows
        Matrices with n and m rows; both may be 0.

    Returns
    -------
    SparseRows
        A matrix with n + m rows. It has weights (times) if either matrix has them; missing weights are 1, and missing
        times are 0.

    Examples
    --------
    >>> above, below = SparseRows.of([0], [3], [5], 1), SparseRows.of([1], [4], [2], 2)
    >>> vstack(above, below).counts
    array([1, 0, 1])
    """
    weights, times = None, None
    if top.weights is not None or bottom.weights is not None:
        weights = np.concatenate([_weights(top), _weights(bottom)])
    if top.times is not None or bottom.times is not None:
        times = np.concatenate(
            [np.zeros(len(rows.columns), np.int64) if rows.times is None else rows.times for rows in (top, bottom)]
        )
    return SparseRows(
        np.concatenate([top.start, top.start[-1] - bottom.start[0] + bottom.start[1:]]),
        np.concatenate([top.columns, bottom.columns]),
        np.concatenate([top.values, bottom.values]),
        weights,
        times,
    )


def read_only_rows(rows: SparseRows) -> SparseRows:
    """Return a view of a sparse matrix with read-only arrays.

    Parameters
    ----------
    rows : SparseRows
        The matrix.

    Returns
    -------
    SparseRows
        A matrix that shares the memory of `rows`.

    Examples
    --------
    >>> read_only_rows(SparseRows.empty(1)).values.flags.writeable
    False
    """
    weights = None if rows.weights is None else read_only(rows.weights)
    return SparseRows(read_only(rows.start), read_only(rows.columns), read_only(rows.values), weights)


def merge_latest(old: SparseRows, new: SparseRows) -> SparseRows:
    """Merge two sparse matrices row by row; entries in `new` replace entries in `old` at the same position.

    Parameters
    ----------
    old, new : SparseRows
        Matrices with the same number of rows.

    Returns
    -------
    SparseRows
        The merged matrix.

    Examples
    --------
    >>> before, new = SparseRows.of([0, 0], [3, 4], [5, 1], 1), SparseRows.of([0], [3], [2], 1)
    >>> merge_latest(before, new).values
    array([2., 1.], dtype=float32)
    """
    combined, _, keep = _combine(old, new)
    return combined.filter(keep)


def merge_counts(old: SparseRows, new: SparseRows) -> SparseRows:
    """Merge two sparse matrices row by row; values and confidences (value times weight) of common entries are added.

    The time of a common entry is the later one.

    Parameters
    ----------
    old, new : SparseRows
        Matrices with the same number of rows.

    Returns
    -------
    SparseRows
        The merged matrix.

    Examples
    --------
    >>> before, new = SparseRows.of([0, 0], [3, 4], [5, 1], 1), SparseRows.of([0], [3], [2], 1)
    >>> merge_counts(before, new).values
    array([7., 1.], dtype=float32)
    """
    combined, duplicates, keep = _combine(old, new)
    values, weights = combined.values, combined.weights
    confidence = values if weights is None else values * weights
    confidence[duplicates] += confidence[duplicates - 1]
    if weights is not None:
        values[duplicates] += values[duplicates - 1]
        weights[duplicates] = confidence[duplicates] / values[duplicates]
    if (times := combined.times) is not None:
        times[duplicates] = np.maximum(times[duplicates], times[duplicates - 1])
    return combined.filter(keep)


def _combine(old: SparseRows, new: SparseRows) -> tuple[SparseRows, Int64, Bool]:
    """Return the entries of both matrices, the positions of duplicates, and a mask of the last entry of each pair."""
    assert len(old) == len(new)
    combined_rows, owners = vstack(old, new), np.concatenate([old.owners, new.owners])
    # the sort is stable: the entry of `old` precedes an equal one of `new`
    combined_rows = SparseRows.of(
        owners, combined_rows.columns, combined_rows.values, len(old), combined_rows.weights, combined_rows.times
    )
    owners = combined_rows.owners
    duplicates = (
        np.flatnonzero((owners[1:] == owners[:-1]) & (combined_rows.columns[1:] == combined_rows.columns[:-1])) + 1
    )
    keep = np.ones(len(owners), bool)
    keep[duplicates - 1] = False
    return combined_rows, duplicates, keep


def _weights(rows: SparseRows) -> Float32:
    """Return the weight of each entry; ones if the matrix has no weights."""
    return np.ones(len(rows.values), np.float32) if rows.weights is None else rows.weights


@kernel(writes="i8[::1]", reads="i8[::1] i4[::1] i8[::1] i4[::1]")
def find_common():
    """Count the (row, column) positions at which two sparse matrices both have an entry.

    Writes the count to common[0], and the row and column of the first common entry to common[1] and common[2]. Column
    indices must be sorted within each row, and both matrices must have the same number of rows.
    """

    def find_common(common, start, columns, other_start, other_columns):
        for row in range(start.shape[0] - 1):
            entry, end = start[row], start[row + 1]
            for t in range(other_start[row], other_start[row + 1]):
                while entry < end and columns[entry] < other_columns[t]:
                    entry += 1
                if entry == end:
                    break
                if columns[entry] == other_columns[t]:
                    if common[0] == 0:
                        common[1] = row
                        common[2] = columns[entry]
                    common[0] += 1

    return find_common


def common_entries(rows: SparseRows, others: SparseRows) -> tuple[int, int, int]:
    """Count the (row, column) positions at which two sparse matrices both have an entry.

    Parameters
    ----------
    rows, others : SparseRows
        Matrices with the same number of rows, and with sorted column indices within each row.

    Returns
    -------
    n : int
        The number of common entries.
    row, column : int
        The position of the first common entry; -1 if there are none.

    Examples
    --------
    >>> rows, others = SparseRows.of([0, 1], [3, 4], [1, 1], 2), SparseRows.of([1, 1], [4, 5], [1, 1], 2)
    >>> common_entries(rows, others), common_entries(rows, SparseRows.empty(2))
    ((1, 1, 4), (0, -1, -1))
    """
    common = np.array([0, -1, -1], np.int64)
    find_common()(common, rows.start, rows.columns, others.start, others.columns)
    return int(common[0]), int(common[1]), int(common[2])
