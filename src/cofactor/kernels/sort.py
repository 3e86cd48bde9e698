"""Counting sort for small integer keys, and multithreaded sorting of (row, column) pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor.arrays import Int32, Int64, row_starts
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for, row_blocks

__all__ = ["counting_sort", "pairs_are_sorted", "sorted_pairs"]


@kernel(writes="i8[::1] i8[::1]", reads="i4[::1]")
def order_by_key():
    """Write each index t to `order`, at the next free position for its key; `next_free` is updated in place."""

    def order_by_key(order, next_free, keys):
        for t in range(keys.shape[0]):
            order[next_free[keys[t]]] = t
            next_free[keys[t]] += 1

    return order_by_key


@kernel(writes="i8[::1]", reads="i4[::1]")
def count_keys():
    """Add 1 to counts[k] for each key k in `keys`."""

    def count_keys(counts, keys):
        for t in range(keys.shape[0]):
            counts[keys[t]] += 1

    return count_keys


@kernel(writes="b1[::1]", reads="i4[::1] i4[::1]")
def find_unsorted_pair():
    """Set is_unsorted[0] to True if any (row, column) pair is not greater than the preceding pair."""

    def find_unsorted_pair(is_unsorted, rows, columns):
        for t in range(1, rows.shape[0]):
            if rows[t] < rows[t - 1] or (rows[t] == rows[t - 1] and columns[t] <= columns[t - 1]):
                is_unsorted[0] = True
                break

    return find_unsorted_pair


def pairs_are_sorted(rows: Int32, columns: Int32) -> bool:
    """Return whether (row, column) pairs are sorted by row, then by column, and contain no duplicates.

    Parameters
    ----------
    rows, columns : ndarray of shape (n,), int32
        The pairs.

    Returns
    -------
    bool
        True if there are no pairs.

    Examples
    --------
    >>> pairs_are_sorted(np.array([0, 0, 1], np.int32), np.array([2, 3, 0], np.int32))
    True
    """
    is_unsorted = np.zeros(1, bool)
    find_unsorted_pair()(is_unsorted, rows, columns)
    return not is_unsorted[0]


def counting_sort(keys: Int32, n_keys: int) -> tuple[Int64, Int64]:
    """Compute a stable argsort of small integer keys with a counting sort.

    Parameters
    ----------
    keys : ndarray of shape (n,), int32
        Keys from 0 to n_keys - 1; not checked.
    n_keys : int
        The number of possible keys.

    Returns
    -------
    start : ndarray of shape (n_keys + 1,), int64
        The indices of the entries with key k are order[start[k]:start[k + 1]].
    order : ndarray of shape (n,), int64
        The indices that sort `keys`.

    Examples
    --------
    >>> start, order = counting_sort(np.array([2, 0, 2, 1], np.int32), 3)
    >>> start.tolist(), order.tolist()
    ([0, 1, 2, 4], [1, 3, 0, 2])
    """
    counts, order = np.zeros(n_keys, np.int64), np.empty(len(keys), np.int64)
    count_keys()(counts, keys)
    start = row_starts(counts)
    order_by_key()(order, start[:-1].copy(), keys)
    return start, order


def sorted_pairs(
    rows: Int32, columns: Int32, others: Sequence[Any], n_rows: int, n_columns: int
) -> tuple[Int32, Int32, list[Any]]:
    """Sort (row, column) pairs by row, then by column, with a stable sort, and reorder other arrays in the same way.

    Parameters
    ----------
    rows, columns : ndarray of shape (n,), int32
        The pairs, with rows below n_rows and columns below n_columns.
    others : sequence of (ndarray of shape (n,) or None)
        Arrays to reorder; None stays None.
    n_rows, n_columns : int
        The number of possible rows and columns.

    Returns
    -------
    rows, columns : ndarray of shape (n,), int32
        The sorted pairs.
    others : list of (ndarray of shape (n,) or None)
        The reordered arrays.

    Notes ----- Entries are first sorted by row. Then, in blocks of rows that fit into the cache, each (row, column,
    index) triple is sorted as one integer of fewer than 63 bits.

    Examples
    --------
    >>> u, i, (x,) = sorted_pairs(np.array([1, 0, 1], np.int32), np.array([2, 3, 0], np.int32), [np.arange(3)], 2, 4)
    >>> u.tolist(), i.tolist(), x.tolist()
    ([0, 1, 1], [3, 0, 2], [1, 2, 0])
    """
    start, order = counting_sort(rows, n_rows)
    inputs = [columns, *others]
    out_rows = np.empty_like(rows)
    outputs: list[Any] = [None if column is None else np.empty_like(column) for column in inputs]

    def sort_block(block: tuple[int, int]) -> None:
        first, last = block
        target = slice(start[first], start[last])
        part, row = order[target], np.repeat(np.arange(first, last), np.diff(start[first : last + 1]))
        out_rows[target] = row
        bits = len(part).bit_length()
        key = (((row - first) * n_columns + columns[part]) << bits) + np.arange(len(part))
        key.sort()
        indices = part[key & ((1 << bits) - 1)]
        for output, column in zip(outputs, inputs, strict=True):
            if output is not None:
                output[target] = column[indices]

    parallel_for(sort_block, row_blocks(start))
    return out_rows, outputs[0], outputs[1:]
