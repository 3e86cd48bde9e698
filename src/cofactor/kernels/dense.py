"""Products with a small matrix, row by row in one fixed order: a row's bits depend on that row alone.

BLAS cannot promise that, not even on one thread and one tile shape: its inner loops take a dozen rows at once, and what
is left over in another way, so the same row gets other last bits at another place.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32
from cofactor.kernels.compile import kernel

__all__ = ["dense", "row_dots"]


@kernel(writes="f4[:, ::1]", reads="f4[:, ::1] f4[:, ::1] f4[::1]")
def _dense():
    """out = x W + b."""

    def _dense(out, x, weights, bias):
        for r in range(x.shape[0]):
            for c in range(weights.shape[1]):
                out[r, c] = bias[c]
            for d in range(weights.shape[0]):
                value = x[r, d]
                for c in range(weights.shape[1]):
                    out[r, c] += value * weights[d, c]

    return _dense


@kernel(writes="f4[::1]", reads="f4[:, ::1] f4[:, ::1]", numbers="i8")
def _row_dots():
    """out_r = sum over d < width of p_rd q_rd."""

    def _row_dots(out, p, q, width):
        for r in range(out.shape[0]):
            total = np.float32(0)
            for d in range(width):
                total += p[r, d] * q[r, d]
            out[r] = total

    return _row_dots


def dense(x: Float32, weights: Float32, bias: Float32) -> Float32:
    """x W + b: (n, columns) float32, for x (n, rows), weights (rows, columns), bias (columns,); (0, columns) for none.

    >>> dense(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32), np.float32([0, 3])).tolist()
    [[1.0, 4.0]]
    """
    out = np.empty((len(x), weights.shape[1]), np.float32)
    _dense()(out, np.ascontiguousarray(x), weights, bias)
    return out


def row_dots(p: Float32, q: Float32) -> Float32:
    """p_r . q_r over the width that both have: (n,) float32, for p (n, a), q (n, b) float32.

    >>> row_dots(np.float32([[1, 2]]), np.float32([[3, 4, 5]])).tolist()
    [11.0]
    """
    out = np.empty(len(p), np.float32)
    _row_dots()(out, np.ascontiguousarray(p), np.ascontiguousarray(q), min(p.shape[1], q.shape[1]))
    return out
