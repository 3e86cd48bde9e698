"""Putting histories together: one below the other, or new rows into old ones; and turning them round, by item."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, SparseRows
from cofactor.data.interactions import Kind
from cofactor.errors import ParameterError
from cofactor.kernels.order import grouped

__all__ = ["merged", "stacked", "transposed"]


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


def merged(before: SparseRows, new: SparseRows, kind: Kind) -> SparseRows:
    """The entries of both, row by row; both have the same number of rows.

    Where both have a column, ratings take the new entry, and events add up, values as well as confidences (value times
    weight), just as in a table that holds both. Empty rows of one side leave those of the other as they are.

    >>> one, two = SparseRows.of([0, 0], [3, 4], [5, 1], 1), SparseRows.of([0], [3], [2], 1)
    >>> merged(one, two, "ratings").values, merged(one, two, "events").values
    (array([2., 1.], dtype=float32), array([7., 1.], dtype=float32))
    """
    assert len(before) == len(new)
    n, both = len(before), stacked(before, new)
    owner = np.concatenate([np.repeat(np.arange(n), rows.counts) for rows in (before, new)])
    both = SparseRows.of(owner, both.columns, both.values, n, both.weights)  # stable: before, then new
    owner, values, weights = np.sort(owner), both.values, both.weights
    again = np.zeros(len(owner), bool)
    again[1:] = (owner[1:] == owner[:-1]) & (both.columns[1:] == both.columns[:-1])
    second = np.flatnonzero(again)
    if kind == "events":
        confidence = values if weights is None else values * weights
        confidence[second] += confidence[second - 1]
        if weights is not None:
            values[second] += values[second - 1]
            weights[second] = confidence[second] / values[second]
    keep = np.ones(len(owner), bool)
    keep[second - 1] = False
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owner[keep], minlength=n))])
    return SparseRows(start, both.columns[keep], values[keep], None if weights is None else weights[keep])


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
