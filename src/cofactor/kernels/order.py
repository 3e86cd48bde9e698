"""Sorting by small whole numbers: counted, then put in place, in two passes."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Int32, Int64
from cofactor.kernels.compile import kernel

__all__ = ["stable_order"]


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
    order = np.empty(len(keys), np.int64)
    counts = np.bincount(keys, minlength=n_keys)
    place_in_order()(order, np.cumsum(counts) - counts, keys)
    return order
