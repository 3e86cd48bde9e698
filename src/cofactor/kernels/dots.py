"""Dot products of user and item factors for user-item pairs, as needed for predictions."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Int32
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for

__all__ = ["pair_dots"]

CHUNK_SIZE = 1 << 16


@kernel(writes="f4[::1]", reads="f4[:, ::1] f4[:, ::1] i4[::1] i4[::1]", scalars="i8 i8")
def _pair_dots(width: int):
    """Write the dot product P[u[t]] . Q[i[t]] to out[t] for t in first..last-1."""

    def _pair_dots(out, P, Q, u, i, first, last):
        for t in range(first, last):
            dot = np.float32(0)
            for d in range(width):
                dot += P[u[t], d] * Q[i[t], d]
            out[t] = dot

    return _pair_dots


def pair_dots(P: Float32, Q: Float32, u: Int32, i: Int32) -> Float32:
    """Compute the dot product of the user's and the item's factors for each user-item pair.

    Parameters
    ----------
    P : ndarray of shape (n_users, width), float32
        User factors.
    Q : ndarray of shape (n_items, width), float32
        Item factors.
    u, i : ndarray of shape (n,), int32
        Row numbers of P and Q, which are not checked; n may be 0.

    Returns
    -------
    ndarray of shape (n,), float32

    Examples
    --------
    >>> pair_dots(np.float32([[1, 2]]), np.float32([[3, 4], [0, 1]]), np.int32([0, 0]), np.int32([0, 1])).tolist()
    [11.0, 2.0]
    """
    out = np.empty(len(u), np.float32)
    run = _pair_dots(P.shape[1])
    parallel_for(
        lambda first: run(out, P, Q, u, i, first, min(first + CHUNK_SIZE, len(u))), range(0, len(u), CHUNK_SIZE)
    )
    return out
