"""Gram matrix of feature vectors, summed in fixed chunks so that the result is bitwise reproducible."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32
from cofactor.kernels.parallel import one_thread_blas, parallel_for

__all__ = ["CHUNK_SIZE", "gram"]

CHUNK_SIZE = 1 << 13


@one_thread_blas()
def gram(features: Float32) -> Float32:
    """Compute the Gram matrix of feature vectors, `features.T @ features`.

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        F.

    Returns
    -------
    ndarray of shape (width, width), float32
        The Gram matrix; zeros if n = 0.

    Notes
    -----
    Chunks of 8,192 rows are multiplied by BLAS in float32; their products are added in float64, in a fixed order.

    Examples
    --------
    >>> gram(np.float32([[1, 2], [3, 4]])).tolist()
    [[10.0, 14.0], [14.0, 20.0]]
    """
    width = features.shape[1]
    chunk_starts = range(0, len(features), CHUNK_SIZE)
    parts = np.zeros((len(chunk_starts), width, width), np.float32)

    def multiply(c: int) -> None:
        chunk = features[c * CHUNK_SIZE : (c + 1) * CHUNK_SIZE]
        np.matmul(chunk.T, chunk, out=parts[c])

    parallel_for(multiply, range(len(chunk_starts)))
    total: Float32 = parts.sum(axis=0, dtype=np.float64).astype(np.float32)
    return total
