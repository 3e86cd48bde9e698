"""Products with a small matrix; the result for each row is bitwise independent of the other rows.

BLAS does not guarantee this, even on a single thread and with a fixed tile shape. Its inner loops process about a dozen
rows at once and the remaining rows differently, so the last bits of a row depend on its position.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32
from cofactor.kernels.compile import kernel

__all__ = ["dense", "row_dots"]


@kernel(writes="f4[:, ::1]", reads="f4[:, ::1] f4[:, ::1] f4[::1]")
def _dense():
    """Write x W + b to `out` (n, columns); reads `x` (n, rows), `weights` W (rows, columns) and `bias` b (columns,)."""

    def _dense(out, x, weights, bias):
        for r in range(x.shape[0]):
            for c in range(weights.shape[1]):
                out[r, c] = bias[c]
            for d in range(weights.shape[0]):
                value = x[r, d]
                for c in range(weights.shape[1]):
                    out[r, c] += value * weights[d, c]

    return _dense


@kernel(writes="f4[::1]", reads="f4[:, ::1] f4[:, ::1]", scalars="i8")
def _row_dots():
    """Write the dot product of the first `width` columns of each row of `p` and `q` to `out` (n,)."""

    def _row_dots(out, p, q, width):
        for r in range(out.shape[0]):
            total = np.float32(0)
            for d in range(width):
                total += p[r, d] * q[r, d]
            out[r] = total

    return _row_dots


def dense(x: Float32, weights: Float32, bias: Float32) -> Float32:
    """Compute the output of a dense layer, `x @ weights + bias`.

    Parameters
    ----------
    x : ndarray of shape (n, rows), float32
        The inputs; n may be 0.
    weights : ndarray of shape (rows, columns), float32
        W.
    bias : ndarray of shape (columns,), float32
        b.

    Returns
    -------
    ndarray of shape (n, columns), float32

    Examples
    --------
    >>> dense(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32), np.float32([0, 3])).tolist()
    [[1.0, 4.0]]
    """
    out = np.empty((len(x), weights.shape[1]), np.float32)
    _dense()(out, np.ascontiguousarray(x), weights, bias)
    return out


def row_dots(p: Float32, q: Float32) -> Float32:
    """Compute the dot product of each row of `p` with the same row of `q`, over the leading columns that both have.

    Parameters
    ----------
    p : ndarray of shape (n, a), float32
        The first factors; n may be 0.
    q : ndarray of shape (n, b), float32
        The second factors. Only the first min(a, b) columns of both arrays are used.

    Returns
    -------
    ndarray of shape (n,), float32
        The dot product p_r . q_r for each row r.

    Examples
    --------
    >>> row_dots(np.float32([[1, 2]]), np.float32([[3, 4, 5]])).tolist()
    [11.0]
    """
    out = np.empty(len(p), np.float32)
    _row_dots()(out, np.ascontiguousarray(p), np.ascontiguousarray(q), min(p.shape[1], q.shape[1]))
    return out
