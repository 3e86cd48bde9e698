"""Sorting by small whole numbers: counted, then put in place; pairs of them block by block on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cofactor.arrays import Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.threads import for_each, row_blocks

__all__ = ["pairs_ascend", "sorted_pairs", "stable_order"]


@kernel(writes="i8[::1] i8[::1]", reads="i4[::1]")
def place_in_order():
    """Writes each t into `order` at the next free place of its key (`place` begins at the keys' starts)."""

    def place_in_order(order, place, keys):
        for t in range(keys.shape[0]):
            order[place[keys[t]]] = t
            place[keys[t]] += 1

    return place_in_order


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
    """Whether pairs are sorted by row, then by column, and none stands there twice.

    >>> pairs_ascend(np.array([0, 0, 1], np.int32), np.array([2, 3, 0], np.int32))
    True
    """
    found = np.zeros(1, bool)
    find_step_back()(found, rows, columns)
    return not found[0]


def stable_order(keys: Int32, n_keys: int) -> Int64:
    """The order that sorts `keys` (n,) int32, each in 0..n_keys-1, and keeps equal ones as they are: (n,) int64.

    >>> stable_order(np.array([2, 0, 2, 1], np.int32), 3).tolist()
    [1, 3, 0, 2]
    """
    return _placed(keys, _starts(keys, n_keys))


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
    start = _starts(rows, n_rows)
    order = _placed(rows, start)
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


def _starts(keys: Int32, n_keys: int) -> Int64:
    """Where each key's entries begin once they are in order, and where the last one's end: (n_keys + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(keys, minlength=n_keys))])


def _placed(keys: Int32, start: Int64) -> Int64:
    order = np.empty(len(keys), np.int64)
    place_in_order()(order, start[:-1].copy(), keys)
    return order
