"""Ridge regression of each column of a sparse matrix on a few other columns, by one Cholesky factorization per column.

For column i with candidates K, the weights are w = (X_K' X_K + L_K)^-1 X_K' x_i, where L is a diagonal penalty. The
products of candidates are summed row by row of X: a linked list holds the entries of each row that were visited so far,
so that the time is proportional to the number of pairs of candidates in the same row.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64, Int32
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.sparse import SparseRows

__all__ = ["candidate_ridge"]

BLOCK_SIZE = 64
"""The number of columns in a block."""


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] i4[:, ::1] f8[::1]", scalars="i8 i8 i8 i8")
def _candidate_ridge():
    """Write the weights of the candidates of columns offset + first..offset + last-1 to rows first..last-1.

    Reads the columns of X (`start`, `rows`, `values`), the `candidates` of the columns from `offset` on, padded with -1
    at the end, and the `penalty` of each column.
    """

    def _candidate_ridge(weights, start, rows, values, candidates, penalty, n_rows, offset, first, last):
        width = candidates.shape[1]
        A = np.empty((width, width), np.float64)  # lower triangle; later its Cholesky factor
        b = np.empty(width, np.float64)
        target = np.zeros(n_rows, np.float64)
        last_entry = np.full(n_rows, -1, np.int64)  # the entry of each row that was visited last
        previous = np.empty(0, np.int64)  # the entry of the same row that was visited before
        position = np.empty(0, np.int32)
        visited = np.empty(0, np.float32)
        for i in range(first, last):
            m, total = 0, 0
            while m < width and candidates[i, m] >= 0:
                total += start[candidates[i, m] + 1] - start[candidates[i, m]]
                m += 1
            if total > len(visited):
                previous, position, visited = (
                    np.empty(total, np.int64),
                    np.empty(total, np.int32),
                    np.empty(total, np.float32),
                )
            for e in range(start[offset + i], start[offset + i + 1]):
                target[rows[e]] = values[e]
            n = 0
            for k in range(m):
                j = candidates[i, k]
                for c in range(k):
                    A[k, c] = 0.0
                A[k, k], b[k] = penalty[j], 0.0
                for e in range(start[j], start[j + 1]):
                    row = rows[e]
                    x = np.float64(values[e])
                    A[k, k] += x * x
                    b[k] += x * target[row]
                    t = last_entry[row]
                    previous[n], position[n], visited[n] = t, k, values[e]
                    while t >= 0:
                        A[k, position[t]] += x * visited[t]
                        t = previous[t]
                    last_entry[row] = n
                    n += 1
            for k in range(m):
                for e in range(start[candidates[i, k]], start[candidates[i, k] + 1]):
                    last_entry[rows[e]] = -1
            for e in range(start[offset + i], start[offset + i + 1]):
                target[rows[e]] = 0.0
            for r in range(m):  # A = C C'; C y = b on the way
                for c in range(r + 1):
                    s = A[r, c]
                    for d in range(c):
                        s -= A[r, d] * A[c, d]
                    A[r, c] = np.sqrt(s) if c == r else s / A[c, c]
                s = b[r]
                for d in range(r):
                    s -= A[r, d] * b[d]
                b[r] = s / A[r, r]
            for r in range(m - 1, -1, -1):  # C' w = y
                b[r] /= A[r, r]
                for d in range(r):
                    b[d] -= A[r, d] * b[r]
                weights[i, r] = b[r]

    return _candidate_ridge


def candidate_ridge(
    columns: SparseRows, n_rows: int, candidates: Int32, penalty: Float64, *, first: int = 0
) -> Float32:
    """Regress columns of a sparse matrix X on their candidates.

    Parameters
    ----------
    columns : SparseRows
        The columns of X, as rows.
    n_rows : int
        The number of rows of X.
    candidates : ndarray of shape (n, width), int32
        The candidates of columns first to first + n - 1, without duplicates; padded with -1 at the end.
    penalty : ndarray of shape (n_columns,), float64
        L, the L2 penalty on the weight of each column; positive.
    first : int, default 0
        The first column to regress.

    Returns
    -------
    ndarray of shape (n, width), float32
        The weight of each candidate; 0 where `candidates` is -1.

    Notes
    -----
    See the equation in the module docstring.

    Examples
    --------
    >>> columns = SparseRows.of(rows=[0, 0, 1, 1], columns=[0, 1, 0, 1], values=[1, 1, 1, 1], n_rows=2)
    >>> candidate_ridge(columns, 2, np.int32([[1], [0]]), np.full(2, 2.0)).tolist()                # 2 / (2 + 2)
    [[0.5], [0.5]]
    """
    weights = np.zeros(candidates.shape, np.float32)
    run = _candidate_ridge()

    def solve(block: int) -> None:
        run(
            weights, columns.start, columns.columns, columns.values, candidates, penalty, n_rows, first,
            block, min(block + BLOCK_SIZE, len(candidates)),
        )  # fmt: skip

    parallel_for(solve, range(0, len(candidates), BLOCK_SIZE))
    return weights
