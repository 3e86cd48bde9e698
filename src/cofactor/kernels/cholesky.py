"""Multithreaded X'X and X'MX for sparse X, and in-place inversion of symmetric positive definite matrices.

The inverse is computed by block Gauss-Jordan elimination (the sweep operator). For a block K of columns and the
remaining rows R:

    A_RR <- A_RR - A_RK A_KK^-1 A_KR        A_RK <- A_RK A_KK^-1        A_KK <- -A_KK^-1

After all blocks have been swept, A contains -A^-1. Only the lower triangle is stored. The algorithm takes n^3
operations and needs no second matrix. The tiles depend only on n, and each is one product of fixed shape on one BLAS
thread, so results are bitwise identical for any number of threads.

References: Goodnight 1979, "A tutorial on the SWEEP operator".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from cofactor.arrays import Float64
from cofactor.kernels.compile import kernel
from cofactor.kernels.neighbors import ColumnLists
from cofactor.kernels.parallel import one_thread_blas, parallel_for
from cofactor.kernels.sparse import SparseRows

__all__ = ["TILE_SIZE", "negative_inverse", "sandwich", "sparse_gram"]

TILE_SIZE = 256
"""The number of rows and columns in a block."""


@kernel(
    writes="f8[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] i4[::1] i8[::1] i4[::1] f4[::1]",
    scalars="i8 i8",
)
def _sparse_gram():
    """Add X'X to rows first..last-1 of the lower triangle of G.

    Reads the entries of each column from column lists (`list_start`, `position`, `list_value`, `row_of`; see
    `ColumnLists`), and the rows of X from `start`, `columns` and `values`.
    """

    def _sparse_gram(G, list_start, position, list_value, row_of, start, columns, values, first, last):
        for c in range(first, last):
            for t in range(list_start[c], list_start[c + 1]):
                row = row_of[position[t]]
                x = np.float64(list_value[t])
                for e in range(start[row], start[row + 1]):
                    if columns[e] > c:
                        break
                    G[c, columns[e]] += x * values[e]

    return _sparse_gram


def sparse_gram(rows: SparseRows, n_columns: int) -> Float64:
    """Compute the lower triangle of X'X for a sparse matrix X.

    Parameters
    ----------
    rows : SparseRows
        X; weights are ignored.
    n_columns : int
        The number of columns of X.

    Returns
    -------
    ndarray of shape (n_columns, n_columns), float64
        The lower triangle; 0 above the diagonal.

    Examples
    --------
    >>> sparse_gram(SparseRows.of(rows=[0, 0, 1], columns=[0, 1, 1], values=[1, 2, 3], n_rows=2), 2).tolist()
    [[1.0, 0.0], [2.0, 13.0]]
    """
    lists = ColumnLists.of(rows, n_columns, max_length=max(len(rows), 1))
    G = np.zeros((n_columns, n_columns))
    run = _sparse_gram()

    def fill(first: int) -> None:
        run(
            G, lists.start, lists.position, lists.values, lists.row_of, rows.start, rows.columns, rows.values,
            first, min(first + TILE_SIZE // 8, n_columns),
        )  # fmt: skip

    parallel_for(fill, range(0, n_columns, TILE_SIZE // 8))
    return G


@kernel(
    writes="f8[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] i8[::1] i4[::1] f4[::1] f8[:, ::1]",
    scalars="i8 i8 i8",
)
def _sandwich():
    """Write rows offset + first..offset + last-1 of X'MX to rows first..last-1 of `out`.

    Reads the rows of X' (`column_start`, `rows`, `column_values`), those of X (`start`, `columns`, `values`) and M.
    """

    def _sandwich(out, column_start, rows, column_values, start, columns, values, M, offset, first, last):
        z = np.empty(M.shape[0], np.float64)
        for c in range(first, last):
            z[:] = 0.0
            out[c] = 0.0
            for e in range(column_start[offset + c], column_start[offset + c + 1]):
                x = np.float64(column_values[e])
                row = rows[e]
                for r in range(M.shape[0]):
                    z[r] += x * M[row, r]
            for r in range(M.shape[0]):
                for e in range(start[r], start[r + 1]):
                    out[c, columns[e]] += z[r] * values[e]

    return _sandwich


def sandwich(rows: SparseRows, columns: SparseRows, M: Float64, first: int, last: int) -> Float64:
    """Compute rows first..last-1 of X'MX for a sparse matrix X.

    Parameters
    ----------
    rows, columns : SparseRows
        X and X'; weights are ignored.
    M : ndarray of shape (n_rows, n_rows), float64
        A matrix.
    first, last : int
        The range of rows of X'MX.

    Returns
    -------
    ndarray of shape (last - first, n_columns), float64
        Takes time proportional to its number of rows times the number of entries of X.

    Examples
    --------
    >>> X = SparseRows.of(rows=[0, 0, 1], columns=[0, 1, 1], values=[1, 2, 3], n_rows=2)
    >>> sandwich(X, X.transpose(2), np.eye(2), 0, 2).tolist()
    [[1.0, 2.0], [2.0, 13.0]]
    """
    out = np.empty((last - first, len(columns)))
    run, step = _sandwich(), TILE_SIZE // 16

    def fill(block: int) -> None:
        run(
            out, columns.start, columns.columns, columns.values, rows.start, rows.columns, rows.values, M, first,
            block, min(block + step, len(out)),
        )  # fmt: skip

    parallel_for(fill, range(0, len(out), step))
    return out


@one_thread_blas()
def negative_inverse(A: Float64, progress: Callable[[range], Iterable[int]] = iter) -> None:
    """Replace a symmetric positive definite matrix A with -A^-1, in place.

    Parameters
    ----------
    A : ndarray of shape (n, n), float64
        The matrix; n may be 0. Only its lower triangle is read. The lower triangle and the diagonal blocks are
        overwritten; all other elements are unchanged.
    progress : callable, default iter
        Called with the first rows of all blocks; returns an iterable over them, which may report the progress.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a block is singular.

    Notes
    -----
    See the equations in the module docstring.

    Examples
    --------
    >>> A = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> negative_inverse(A)
    >>> np.diag(A).tolist()
    [-0.5, -0.25]
    """
    tile_starts = range(0, len(A), TILE_SIZE)
    for k in progress(tile_starts):
        K = slice(k, min(k + TILE_SIZE, len(A)))
        pivot = np.tril(A[K, K]) + np.tril(A[K, K], -1).T
        inverse = np.linalg.inv(pivot)
        inverse = (inverse + inverse.T) / 2
        panel = np.concatenate([A[K, :k].T, np.zeros_like(pivot), A[K.stop :, K]])
        _sweep_rows(A, panel, panel @ inverse, K, tile_starts)
        A[K, K] = -inverse


def _sweep_rows(A: Float64, panel: Float64, scaled: Float64, K: slice, tile_starts: range) -> None:
    """Update A_RR and A_RK for one block K; `panel` is A_RK with zeros in the rows K, and `scaled` is A_RK A_KK^-1."""

    def sweep(first: int) -> None:
        if first == K.start:
            A[K, :first] = scaled[:first].T
            return
        last = min(first + TILE_SIZE, len(A))
        A[first:last, :last] -= scaled[first:last] @ panel[:last].T
        if first > K.start:
            A[first:last, K] = scaled[first:last]

    parallel_for(sweep, tile_starts)
