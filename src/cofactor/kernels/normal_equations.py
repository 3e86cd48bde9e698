"""The equations of many half-steps, apart from solving them: what is summed can be taken away again.

    A_r = sum_j c_j f_j f_j'        b_r = sum_j c_j t_j f_j        (see `kernels.ridge`)

Without some of a row's entries they are A_r - A'_r and b_r - b'_r, with A', b' of those entries alone.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each, one_thread_blas, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["equations", "solved_each"]

RUN = 64
"""Rows that one thread solves at a time."""


@kernel(
    writes="f8[:, :, ::1] f8[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] f4[:, ::1]",  # start, columns, targets, confidence, features
    numbers="i8 i8",
)
def add_equations(width: int):
    """Rows first..last-1: A (n_rows, width, width) += sum_j c f f', b (n_rows, width) += sum_j c t f."""

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


def equations(rows: SparseRows, targets: Float32, confidence: Float32, features: Float32) -> tuple[Float64, Float64]:
    """A (n_rows, width, width) and b (n_rows, width) float64 of the rows' entries; zeros for an empty row.

    targets, confidence (n,) float32: of each entry; features (n_columns, width) float32.

    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[4, 5], n_rows=1)
    >>> A, b = equations(rows, rows.values, np.ones(2, np.float32), np.float32([[1], [2]]))
    >>> A.tolist(), b.tolist()                                               # 1 + 4, and 4 * 1 + 5 * 2
    ([[[5.0]]], [[14.0]])
    """
    n, width = len(rows), features.shape[1]
    A, b = np.zeros((n, width, width)), np.zeros((n, width))
    run = add_equations(width)
    for_each(
        lambda cut: run(A, b, rows.start, rows.columns, targets, confidence, features, *cut), row_blocks(rows.start)
    )
    return A, b


@one_thread_blas()
def solved_each(A: Float64, b: Float64) -> Float64:
    """x_r with A_r x_r = b_r of every row: (n_rows, width) float64. Raises LinAlgError where an A_r is singular.

    >>> solved_each(np.array([[[5.0]]]), np.array([[14.0]])).tolist()
    [[2.8]]
    """
    x = np.empty_like(b)

    def run(first: int) -> None:
        part = slice(first, first + RUN)
        x[part] = np.linalg.solve(A[part], b[part, :, None])[..., 0]

    for_each(run, range(0, len(b), RUN))
    return x
