"""Sorting by small whole numbers: counted, then put in place; pairs of them block by block on all threads."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.threads import for_each, row_blocks

__all__ = ["pair_order", "stable_order"]


@kernel(writes="i8[::1] i8[::1]", reads="i4[::1]")
def place_in_order():
    """Writes each t into `order` at the next free place of its key (`place` begins at the keys' starts)."""

    def place_in_order(order, place, keys):
        for t in range(keys.shape[0]):
            order[place[keys[t]]] = t
            place[keys[t]] += 1

    return place_in_order


def stable_order(keys: Int32, n_keys: int) -> Int64:
    """The order that sorts `keys` (n,) int32, each in 0..n_keys-1, and keeps equal ones as they are: (n,) int64.

    >>> stable_order(np.array([2, 0, 2, 1], np.int32), 3).tolist()
    [1, 3, 0, 2]
    """
    return _placed(keys, _starts(keys, n_keys))


def pair_order(rows: Int32, columns: Int32, n_rows: int, n_columns: int) -> Int64:
    """The order that sorts pairs by row, then by column, and keeps equal ones as they are: (n,) int64.

    rows, columns: (n,) int32, each in 0..n_rows-1, 0..n_columns-1. Rows are put in order first; then, in blocks of
    rows that stay in the cache, `(row, column, place)` is sorted as one whole number of less than 63 bits.

    >>> pair_order(np.array([1, 0, 1], np.int32), np.array([2, 3, 0], np.int32), 2, 4).tolist()
    [1, 2, 0]
    """
    start = _starts(rows, n_rows)
    order = _placed(rows, start)

    def sort_block(block: tuple[int, int]) -> None:
        first, last = block
        part = order[start[first] : start[last]]
        bits = len(part).bit_length()
        row = np.repeat(np.arange(last - first), np.diff(start[first : last + 1]))
        key = ((row * n_columns + columns[part]) << bits) + np.arange(len(part))
        key.sort()
        part[:] = part[key & ((1 << bits) - 1)]

    for_each(sort_block, row_blocks(start))
    return order


def _starts(keys: Int32, n_keys: int) -> Int64:
    """Where each key's entries begin once they are in order, and where the last one's end: (n_keys + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(keys, minlength=n_keys))])


def _placed(keys: Int32, start: Int64) -> Int64:
    order = np.empty(len(keys), np.int64)
    place_in_order()(order, start[:-1].copy(), keys)
    return order
