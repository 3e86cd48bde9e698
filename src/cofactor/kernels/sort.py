"""Sorting by small whole numbers: counted, then put in place; pairs of them block by block on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor.arrays import Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each, row_blocks

__all__ = ["grouped", "pairs_ascend", "sorted_pairs"]


@kernel(writes="i8[::1] i8[::1]", reads="i4[::1]")
def place_in_order():
    """Writes each t into `order` at the next free place of its key (`place` begins at the keys' starts)."""

    def place_in_order(order, place, keys):
        for t in range(keys.shape[0]):
            order[place[keys[t]]] = t
            place[keys[t]] += 1

    return place_in_order


@kernel(writes="i8[::1]", reads="i4[::1]")
def count_keys():
    """Adds 1 to counts[k] for every key k."""

    def count_keys(counts, keys):
        for t in range(keys.shape[0]):
            counts[keys[t]] += 1

    return count_keys


@kernel(writes="b1[::1]", reads="i4[::1] i4[::1]")
def find_step_back():
    """Sets found[0] at the first pair that is not after the one before it."""

    def find_step_back(found, rows, columns):
        for t in range(1, rows.shape[0]):
            if rows[t] < rows[t - 1] or (rows[t] == rows[t - 1] and columns[t] <= columns[t - 1]):
                found[0] = True
                break

    return find_step_back


def pairs_ascend(rows: Int32, columns: Int32) -> bool:
    """Whether pairs are sorted by row, then by column, and none stands there twice; true of no pairs.

    rows, columns (n,) int32.

    >>> pairs_ascend(np.array([0, 0, 1], np.int32), np.array([2, 3, 0], np.int32))
    True
    """
    found = np.zeros(1, bool)
    find_step_back()(found, rows, columns)
    return not found[0]


def grouped(keys: Int32, n_keys: int) -> tuple[Int64, Int64]:
    """Where each key's entries begin, (n_keys + 1,) int64, in the order that sorts `keys` stably, (n,) int64.

    keys: (n,) int32, each in 0..n_keys-1.

    >>> start, order = grouped(np.array([2, 0, 2, 1], np.int32), 3)
    >>> start.tolist(), order.tolist()
    ([0, 1, 2, 4], [1, 3, 0, 2])
    """
    counts, order = np.zeros(n_keys, np.int64), np.empty(len(keys), np.int64)
    count_keys()(counts, keys)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    place_in_order()(order, start[:-1].copy(), keys)
    return start, order


def sorted_pairs(
    rows: Int32, columns: Int32, others: Sequence[Any], n_rows: int, n_columns: int
) -> tuple[Int32, Int32, list[Any]]:
    """Pairs by row, then by column, equal ones as they stood; `others` (n,) go with them, None stays None.

    rows, columns: (n,) int32, each in 0..n_rows-1, 0..n_columns-1. Rows are put in order first; then, in blocks of
    rows that stay in the cache, `(row, column, place)` is sorted as one whole number of less than 63 bits.

    >>> u, i, (x,) = sorted_pairs(np.array([1, 0, 1], np.int32), np.array([2, 3, 0], np.int32), [np.arange(3)], 2, 4)
    >>> u.tolist(), i.tolist(), x.tolist()
    ([0, 1, 1], [3, 0, 2], [1, 2, 0])
    """
    start, order = grouped(rows, n_rows)
    given = [columns, *others]
    out_rows = np.empty_like(rows)
    out: list[Any] = [None if column is None else np.empty_like(column) for column in given]

    def sort_block(block: tuple[int, int]) -> None:
        first, last = block
        there = slice(start[first], start[last])
        part, row = order[there], np.repeat(np.arange(first, last), np.diff(start[first : last + 1]))
        out_rows[there] = row
        bits = len(part).bit_length()
        key = (((row - first) * n_columns + columns[part]) << bits) + np.arange(len(part))
        key.sort()
        chosen = part[key & ((1 << bits) - 1)]
        for into, column in zip(out, given, strict=True):
            if into is not None:
                into[there] = column[chosen]

    for_each(sort_block, row_blocks(start))
    return out_rows, out[0], out[1:]
