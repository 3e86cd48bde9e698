"""TODO."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Float32, Int32, Int64, contiguous, require_array
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.compile import kernel
from cofactor.kernels.sort import grouped

__all__ = ["SparseRows", "common_entries", "merge_counts", "merge_latest", "stacked", "transposed"]


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
                    f"n_columns must be above every column number, not {n_columns}: there is {len(part) - 1}"
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


def stacked(above: SparseRows, below: SparseRows) -> SparseRows:
    """The rows of `above` (n), then those of `below` (m): n + m rows; either may have none.

    Weights of 1 are written out where only one side has weights.

    >>> one, two = SparseRows.of([0], [3], [5], 1), SparseRows.of([1], [4], [2], 2)
    >>> stacked(one, two).counts
    array([1, 0, 1])
    """
    weights = None
    if above.weights is not None or below.weights is not None:
        weights = np.concatenate([_weights(above), _weights(below)])
    return SparseRows(
        np.concatenate([above.start, above.start[-1] - below.start[0] + below.start[1:]]),
        np.concatenate([above.columns, below.columns]),
        np.concatenate([above.values, below.values]),
        weights,
    )


def merge_latest(before: SparseRows, new: SparseRows) -> SparseRows:
    """Merge two matrices row by row; where both have an entry, the new one counts.

    Parameters
    ----------
    before, new : SparseRows
        The same number of rows.

    Returns
    -------
    SparseRows
        As many rows.

    Examples
    --------
    >>> one, two = SparseRows.of([0, 0], [3, 4], [5, 1], 1), SparseRows.of([0], [3], [2], 1)
    >>> merge_latest(one, two).values
    array([2., 1.], dtype=float32)
    """
    both, owner, second = _combined(before, new)
    return _without(both, owner, second - 1)


def merge_counts(before: SparseRows, new: SparseRows) -> SparseRows:
    """Merge two matrices row by row; where both have an entry, values and confidences (value times weight) add up.

    Parameters
    ----------
    before, new : SparseRows
        The same number of rows.

    Returns
    -------
    SparseRows
        As many rows.

    Examples
    --------
    >>> one, two = SparseRows.of([0, 0], [3, 4], [5, 1], 1), SparseRows.of([0], [3], [2], 1)
    >>> merge_counts(one, two).values
    array([7., 1.], dtype=float32)
    """
    both, owner, second = _combined(before, new)
    values, weights = both.values, both.weights
    confidence = values if weights is None else values * weights
    confidence[second] += confidence[second - 1]
    if weights is not None:
        values[second] += values[second - 1]
        weights[second] = confidence[second] / values[second]
    return _without(both, owner, second - 1)


def _combined(before: SparseRows, new: SparseRows) -> tuple[SparseRows, Int64, Int64]:
    """Combine the entries of both, the row of each entry, and the positions whose column equals the one before."""
    assert len(before) == len(new)
    both = stacked(before, new)
    owner = np.concatenate([np.repeat(np.arange(len(rows)), rows.counts) for rows in (before, new)])
    both = SparseRows.of(owner, both.columns, both.values, len(before), both.weights)  # stable: before, then new
    owner = np.sort(owner)
    repeated = (owner[1:] == owner[:-1]) & (both.columns[1:] == both.columns[:-1])
    return both, owner, np.flatnonzero(repeated) + 1


def _without(rows: SparseRows, owner: Int64, entries: Int64) -> SparseRows:
    keep = np.ones(len(owner), bool)
    keep[entries] = False
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owner[keep], minlength=len(rows)))])
    weights = None if rows.weights is None else rows.weights[keep]
    return SparseRows(start, rows.columns[keep], rows.values[keep], weights)


def transposed(rows: SparseRows, n_columns: int) -> SparseRows:
    """The same matrix by columns: of users' rows of items, a row for each item that holds who had it.

    n_columns rows, a copy; empty for a column without entries. Raises ParameterError for entries beyond n_columns.

    >>> users = SparseRows.of([0, 1, 1], [2, 0, 2], [5, 3, 4], n_rows=2)
    >>> items = transposed(users, 3)
    >>> items.counts.tolist(), items.row(2).columns.tolist(), items.row(2).values.tolist()
    ([1, 0, 2], [0, 1], [5.0, 4.0])
    """
    if rows.columns.max(initial=-1) >= n_columns:
        raise ParameterError(f"there are entries of column {rows.columns.max()}, and only {n_columns:,} columns")
    start, order = grouped(rows.columns, n_columns)
    owner = np.repeat(np.arange(len(rows), dtype=np.int32), rows.counts)
    weights = None if rows.weights is None else rows.weights[order]
    return SparseRows(start, owner[order], rows.values[order], weights)


def _weights(rows: SparseRows) -> Float32:
    return np.ones(len(rows.values), np.float32) if rows.weights is None else rows.weights


@kernel(writes="i8[::1]", reads="i8[::1] i4[::1] i8[::1] i4[::1]")
def find_common():
    """Counts the (row, column) entries of two matrices in found[0]; the first one is found[1], found[2].

    Columns ascend within each row, and both matrices have the same number of rows.
    """

    def find_common(found, start, columns, other_start, other_columns):
        for row in range(start.shape[0] - 1):
            at, end = start[row], start[row + 1]
            for t in range(other_start[row], other_start[row + 1]):
                while at < end and columns[at] < other_columns[t]:
                    at += 1
                if at == end:
                    break
                if columns[at] == other_columns[t]:
                    if found[0] == 0:
                        found[1] = row
                        found[2] = columns[at]
                    found[0] += 1

    return find_common


def common_entries(rows: SparseRows, others: SparseRows) -> tuple[int, int, int]:
    """How many (row, column) entries two matrices share, and the row and column of the first; -1 without any.

    Both have the same number of rows, and columns that ascend within each.

    >>> one, two = SparseRows.of([0, 1], [3, 4], [1, 1], 2), SparseRows.of([1, 1], [4, 5], [1, 1], 2)
    >>> common_entries(one, two), common_entries(one, SparseRows.empty(2))
    ((1, 1, 4), (0, -1, -1))
    """
    found = np.array([0, -1, -1], np.int64)
    find_common()(found, rows.start, rows.columns, others.start, others.columns)
    return int(found[0]), int(found[1]), int(found[2])
