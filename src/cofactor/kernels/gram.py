"""Gram matrix sum_r f_r f_r' of many feature vectors, summed in fixed chunks so that its bits are reproducible."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32
from cofactor.kernels.parallel import one_thread_blas, parallel_for

__all__ = ["CHUNK", "gram"]

CHUNK = 1 << 13


@one_thread_blas()
def gram(features: Float32) -> Float32:
    """Return F' F.

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        F.

    Returns
    -------
    ndarray of shape (width, width), float32
        0 for n = 0.

    Notes
    -----
    BLAS multiplies chunks of 8,192 rows in float32; the products are added in float64, in order.

    Examples
    --------
    >>> gram(np.float32([[1, 2], [3, 4]])).tolist()
    [[10.0, 14.0], [14.0, 20.0]]
    """
    width = features.shape[1]
    firsts = range(0, len(features), CHUNK)
    parts = np.zeros((len(firsts), width, width), np.float32)

    def multiply(c: int) -> None:
        chunk = features[c * CHUNK : (c + 1) * CHUNK]
        np.matmul(chunk.T, chunk, out=parts[c])

    parallel_for(multiply, range(len(firsts)))
    total: Float32 = parts.sum(axis=0, dtype=np.float64).astype(np.float32)
    return total
