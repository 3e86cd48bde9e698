"""Leading eigenvectors of the Gram matrix of a sparse matrix, by randomized subspace iteration."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float64, random_stream
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import one_thread_blas, parallel_for, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["OVERSAMPLING", "leading_eigenvectors", "sparse_dense"]

OVERSAMPLING = 32
"""Number of additional vectors in the iteration; they improve the last vectors that are returned."""

ITERATIONS = 4
"""Number of products with the Gram matrix before the last one."""

TOLERANCE = 1e-10
"""Relative size below which an eigenvalue, or an entry of an eigenvector, is a rounding error of 0."""


@kernel(writes="f8[:, ::1]", reads="i8[::1] i4[::1] f4[::1] f8[:, ::1]", scalars="i8 i8")
def _sparse_dense():
    """Write rows first..last-1 of the product of a sparse matrix and a dense matrix Y to `out` (n_rows, width)."""

    def _sparse_dense(out, start, columns, values, Y, first, last):
        for r in range(first, last):
            for f in range(Y.shape[1]):
                out[r, f] = 0.0
            for e in range(start[r], start[r + 1]):
                j = columns[e]
                x = np.float64(values[e])
                for f in range(Y.shape[1]):
                    out[r, f] += x * Y[j, f]

    return _sparse_dense


def sparse_dense(rows: SparseRows, Y: Float64) -> Float64:
    """Compute the product of a sparse matrix and a dense matrix.

    Parameters
    ----------
    rows : SparseRows
        The sparse matrix, with n_rows rows; weights are ignored.
    Y : ndarray of shape (n_columns, width), float64
        The dense matrix.

    Returns
    -------
    ndarray of shape (n_rows, width), float64
        The product; 0 for an empty row.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[2, 3], n_rows=2)
    >>> sparse_dense(rows, np.array([[1.0], [10.0]])).tolist()
    [[32.0], [0.0]]
    """
    out, run = np.empty((len(rows), Y.shape[1])), _sparse_dense()
    parallel_for(lambda cut: run(out, rows.start, rows.columns, rows.values, Y, *cut), row_blocks(rows.start))
    return out


@one_thread_blas()
def leading_eigenvectors(rows: SparseRows, n_columns: int, n: int) -> tuple[Float64, Float64]:
    """Compute the n leading eigenvectors of the Gram matrix X'X of a sparse matrix X.

    Parameters
    ----------
    rows : SparseRows
        X; weights are ignored.
    n_columns : int
        The number of columns of X.
    n : int
        The number of eigenvectors.

    Returns
    -------
    vectors : ndarray of shape (n_columns, r), float64
        Eigenvectors of length 1 by descending eigenvalue, where r is at most n and at most the rank of X. The entry
        with the largest absolute value is positive. Rounding errors of 0 are exactly 0, so that columns of X that are
        not connected to each other by any rows do not affect each other.
    eigenvalues : ndarray of shape (r,), float64
        Their eigenvalues.

    Notes
    -----
    The iteration starts from a fixed random matrix, or from all columns if there are few. The eigenvectors at the end
    of the list are approximate if the eigenvalues decrease slowly.

    References
    ----------
    Halko, Martinsson & Tropp 2011, "Finding structure with randomness", algorithm 4.4.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 1, 1], columns=[0, 1, 2], values=[3, 1, 1], n_rows=2)
    >>> vectors, eigenvalues = leading_eigenvectors(rows, 3, 2)
    >>> vectors.round(2), eigenvalues.round(2)
    (array([[1.  , 0.  ],
           [0.  , 0.71],
           [0.  , 0.71]]), array([9., 2.]))
    """
    by_column, width = rows.transpose(n_columns), n + OVERSAMPLING
    if width >= n_columns:
        Q = np.eye(n_columns)
    else:
        Q = random_stream(0, "leading eigenvectors").standard_normal((n_columns, width))
        for _ in range(ITERATIONS):
            Y = sparse_dense(by_column, sparse_dense(rows, Q))
            values, U = _eigenpairs(Y)
            Q = Y @ (U / np.sqrt(values))
    eigenvalues, U = _eigenpairs(sparse_dense(rows, Q))
    vectors = Q @ U[:, :n]
    sizes = np.abs(vectors)
    vectors[sizes <= TOLERANCE * sizes.max(axis=0)] = 0
    largest = vectors[sizes.argmax(axis=0), np.arange(vectors.shape[1])]
    return np.where(largest < 0, -vectors, vectors), eigenvalues[:n]


def _eigenpairs(Y: Float64) -> tuple[Float64, Float64]:
    """Return the nonzero eigenvalues of Y'Y in descending order, and the eigenvectors as columns."""
    values, U = np.linalg.eigh(Y.T @ Y)
    is_positive = values > TOLERANCE * values[-1]
    return values[is_positive][::-1], U[:, is_positive][:, ::-1]
