"""Normal equations of many least-squares problems, built and solved in two steps, so that entries can be subtracted.

    A_r = sum_j c_j f_j f_j'        b_r = sum_j c_j t_j f_j        (see `kernels.ridge`)

If some entries are removed from row r, the equations become A_r - A'_r and b_r - b'_r, where A' and b' are the sums
over the removed entries.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import one_thread_blas, parallel_for, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["build_equations", "solve_each"]

ROWS_PER_TASK = 64
"""The number of rows in each task."""


@kernel(
    writes="f8[:, :, ::1] f8[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] f4[:, ::1]",  # start, columns, targets, confidence, features
    scalars="i8 i8",
)
def add_equations(width: int):
    """Add the entries of rows first..last-1 to the matrices `A` and the right-hand sides `b` of the normal equations.

    Reads the entries (`start`, `columns`, `targets` t, `confidence` c) and `features` f (n_columns, width).
    """

    def add_equations(A, b, start, columns, targets, confidence, features, first, last):
        for row in range(first, last):
            for e in range(start[row], start[row + 1]):
                j = columns[e]
                for d in range(width):
                    cf = np.float64(confidence[e]) * features[j, d]
                    b[row, d] += cf * targets[e]
                    for k in range(width):
                        A[row, d, k] += cf * features[j, k]

    return add_equations


def build_equations(
    rows: SparseRows, targets: Float32, confidence: Float32, features: Float32
) -> tuple[Float64, Float64]:
    """Build the normal equations of the least-squares problem of each row.

    Parameters
    ----------
    rows : SparseRows
        The entries; values and weights are ignored.
    targets, confidence : ndarray of shape (n,), float32
        The target t and the confidence c of each entry.
    features : ndarray of shape (n_columns, width), float32
        The feature vector f of each column.

    Returns
    -------
    A : ndarray of shape (n_rows, width, width), float64
        Zeros for an empty row.
    b : ndarray of shape (n_rows, width), float64
        Zeros for an empty row.

    Notes
    -----
    See the equations in the module docstring.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[4, 5], n_rows=1)
    >>> A, b = build_equations(rows, rows.values, np.ones(2, np.float32), np.float32([[1], [2]]))
    >>> A.tolist(), b.tolist()                                               # 1 + 4, and 4 * 1 + 5 * 2
    ([[[5.0]]], [[14.0]])
    """
    n, width = len(rows), features.shape[1]
    A, b = np.zeros((n, width, width)), np.zeros((n, width))
    run = add_equations(width)
    parallel_for(
        lambda cut: run(A, b, rows.start, rows.columns, targets, confidence, features, *cut), row_blocks(rows.start)
    )
    return A, b


@one_thread_blas()
def solve_each(A: Float64, b: Float64) -> Float64:
    """Solve the normal equations of each row.

    Parameters
    ----------
    A : ndarray of shape (n_rows, width, width), float64
        The matrices; n_rows may be 0.
    b : ndarray of shape (n_rows, width), float64
        The right-hand sides.

    Returns
    -------
    ndarray of shape (n_rows, width), float64
        The solutions x.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix A_r is singular.

    Examples
    --------
    >>> solve_each(np.array([[[5.0]]]), np.array([[14.0]])).tolist()
    [[2.8]]
    """
    x = np.empty_like(b)

    def solve(first: int) -> None:
        part = slice(first, first + ROWS_PER_TASK)
        x[part] = np.linalg.solve(A[part], b[part, :, None])[..., 0]

    parallel_for(solve, range(0, len(b), ROWS_PER_TASK))
    return x
