"""Gibbs sampler for history terms: the vector that each item contributes to the prior mean of the users who rated it.

The vector of row r has the prior mean mu + h_r sum_j Y_j over the columns j of the row, with h_r = 1 / sqrt(number of
columns). Given all vectors X, the residual E = X - mu - h sum_j Y_j is normally distributed, with the precision of the
vectors. Each Y_j is then also normal, independently in each dimension:

    precision_j = k + m sum_r h_r^2        mean_j = m (sum_r h_r E_r + Y_j sum_r h_r^2) / precision_j

where k is the precision of the prior of Y (whose mean is 0), m is the precision of the vectors, and the sums are over
the rows r that have column j. The columns are sampled one after the other, and E is updated after each of them.

References: Koren 2008, section 4 (SVD++); Rendle et al. 2019, section 4 (both sides); Salakhutdinov & Mnih 2008 (Gibbs
sampling).
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = ["column_squared_errors", "draw_history_terms", "entry_precisions", "residuals", "row_squared_errors"]


@kernel(
    writes="f4[:, ::1] f4[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] f4[::1] f4[:, ::1]",
)
def draw_history_terms(width: int):
    """Sample the implicit-feedback factors of each item in turn, and update the residuals of the user vectors.

    Writes the history terms `Y`, one row per item, and the residuals `E`. Reads `start` and `rows`, the rows that have
    each column; `scale` (n_rows,), the factors h; `k` and `m` (width,), the precisions in the module docstring; and
    `noise` (n_columns, width), standard normal draws. Eight rows are added at a time, to share the reads and writes of
    the sums.
    """

    def draw_history_terms(Y, E, start, rows, scale, k, m, noise):
        total = np.empty(width, np.float32)
        for j in range(Y.shape[0]):
            squares = np.float32(0)
            for d in range(width):
                total[d] = 0
            first, last = start[j], start[j + 1]
            last_full_group = last - (last - first) % 8
            for t in range(first, last_full_group, 8):
                r0, r1, r2, r3 = rows[t], rows[t + 1], rows[t + 2], rows[t + 3]
                r4, r5, r6, r7 = rows[t + 4], rows[t + 5], rows[t + 6], rows[t + 7]
                h0, h1, h2, h3 = scale[r0], scale[r1], scale[r2], scale[r3]
                h4, h5, h6, h7 = scale[r4], scale[r5], scale[r6], scale[r7]
                squares += (h0 * h0 + h1 * h1 + h2 * h2 + h3 * h3) + (h4 * h4 + h5 * h5 + h6 * h6 + h7 * h7)
                for d in range(width):
                    total[d] += (h0 * E[r0, d] + h1 * E[r1, d] + h2 * E[r2, d] + h3 * E[r3, d]) + (
                        h4 * E[r4, d] + h5 * E[r5, d] + h6 * E[r6, d] + h7 * E[r7, d]
                    )
            for t in range(last_full_group, last):
                h = scale[rows[t]]
                squares += h * h
                for d in range(width):
                    total[d] += h * E[rows[t], d]
            for d in range(width):
                precision = k[d] + m[d] * squares
                sample = m[d] * (total[d] + squares * Y[j, d]) / precision + noise[j, d] / np.sqrt(precision)
                total[d] = sample - Y[j, d]
                Y[j, d] = sample
            for t in range(first, last):
                row = np.uint32(rows[t])  # unsigned: numba then omits the code for negative indices
                h = scale[row]
                for d in range(width):
                    E[row, d] -= h * total[d]

    return draw_history_terms


@kernel(writes="f4[::1]", reads="i8[::1] i4[::1] f4[::1] f4[::1] f4[::1]", scalars="i8 i8")
def _entry_precisions():
    """Write the precision of each entry of rows first..last-1 to `out`: row times column precision times weight."""

    def _entry_precisions(out, start, columns, weights, row_precision, column_precision, first, last):
        weighted = weights.shape[0] > 0
        for r in range(first, last):
            for e in range(start[r], start[r + 1]):
                precision = row_precision[r] * column_precision[columns[e]]
                out[e] = precision * weights[e] if weighted else precision

    return _entry_precisions


@kernel(writes="f4[::1]", reads="i8[::1] i4[::1] f4[::1] f4[:, ::1] f4[:, ::1] f4[::1]", scalars="i8 i8")
def _residuals(width: int):
    """Write x_rc - P_r . Q_c - bias_c to `out` for each entry of rows first..last-1."""

    def _residuals(out, start, columns, values, P, Q, bias, first, last):
        for r in range(first, last):
            for e in range(start[r], start[r + 1]):
                c = np.uint32(columns[e])
                dot = np.float32(0)
                for d in range(width):
                    dot += P[r, d] * Q[c, d]
                out[e] = values[e] - bias[c] - dot

    return _residuals


@kernel(writes="f8[:, ::1] f4[::1]", reads="i8[::1] i4[::1] f4[::1] f4[::1] f8[::1]", scalars="i8 i8")
def _squared_errors():
    """Write the weighted square of each residual of rows first..last-1 to `squares`, and two sums for each row.

    `sums` (n_rows, 2) receives the sums of the squares, without and with the factors `column_noise`.
    """

    def _squared_errors(sums, squares, start, columns, weights, residual, column_noise, first, last):
        weighted = weights.shape[0] > 0
        for r in range(first, last):
            total, squared_error = 0.0, 0.0
            for e in range(start[r], start[r + 1]):
                square = residual[e] * residual[e]
                if weighted:
                    square *= weights[e]
                squares[e] = square
                total += np.float64(square)
                squared_error += column_noise[columns[e]] * np.float64(square)
            sums[r, 0] = total
            sums[r, 1] = squared_error

    return _squared_errors


@kernel(writes="f8[::1]", reads="i8[::1] i4[::1] i8[::1] f4[::1] f8[::1]", scalars="i8 i8")
def _column_squared_errors():
    """Write the sum of the squares of rows first..last-1 of the transposed entries, weighted by `row_noise`."""

    def _column_squared_errors(squared_error, start, rows, order, squares, row_noise, first, last):
        for c in range(first, last):
            total = 0.0
            for t in range(start[c], start[c + 1]):
                total += row_noise[rows[t]] * np.float64(squares[order[t]])
            squared_error[c] = total

    return _column_squared_errors


def entry_precisions(rows: SparseRows, row_precision: Float32, column_precision: Float32) -> Float32:
    """Compute the precision of each entry: the product of its row precision, column precision and weight.

    Parameters
    ----------
    rows : SparseRows
        The entries; values are ignored.
    row_precision : ndarray of shape (n_rows,), float32
        The precision of each row.
    column_precision : ndarray of shape (n_columns,), float32
        The precision of each column.

    Returns
    -------
    ndarray of shape (n,), float32

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[1, 1], n_rows=1)
    >>> entry_precisions(rows, np.float32([2]), np.float32([1, 3])).tolist()
    [2.0, 6.0]
    """
    out, run = np.empty(len(rows.columns), np.float32), _entry_precisions()
    parallel_for(
        lambda block: run(out, rows.start, rows.columns, _weights(rows), row_precision, column_precision, *block),
        row_blocks(rows.start),
    )
    return out


def residuals(rows: SparseRows, P: Float32, Q: Float32, bias: Float32) -> Float32:
    """Compute the residual of each entry: its value minus its column bias and the dot product of its two vectors.

    Parameters
    ----------
    rows : SparseRows
        The entries x_rc; weights are ignored.
    P : ndarray of shape (n_rows, width), float32
        The vector of each row.
    Q : ndarray of shape (n_columns, width), float32
        The vector of each column.
    bias : ndarray of shape (n_columns,), float32
        The bias of each column.

    Returns
    -------
    ndarray of shape (n,), float32

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[5, 3], n_rows=1)
    >>> residuals(rows, np.float32([[1, 2]]), np.float32([[1, 1], [0, 1]]), np.float32([0.5, 0])).tolist()
    [1.5, 1.0]
    """
    out, run = np.empty(len(rows.columns), np.float32), _residuals(P.shape[1])
    parallel_for(
        lambda block: run(out, rows.start, rows.columns, rows.values, P, Q, bias, *block), row_blocks(rows.start)
    )
    return out


def row_squared_errors(rows: SparseRows, residual: Float32, column_noise: Float64) -> tuple[Float32, Float64, Float64]:
    """Compute the weighted squares of the residuals of all entries, and their sums for each row.

    Parameters
    ----------
    rows : SparseRows
        The entries; values are ignored.
    residual : ndarray of shape (n,), float32
        The residual of each entry.
    column_noise : ndarray of shape (n_columns,), float64
        A factor for each column.

    Returns
    -------
    squares : ndarray of shape (n,), float32
        Weight times squared residual.
    total : ndarray of shape (n_rows,), float64
        The sum of the squares of each row.
    squared_error : ndarray of shape (n_rows,), float64
        The sum of the squares times the factors of their columns.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[5, 3], n_rows=1)
    >>> squares, total, squared_error = row_squared_errors(rows, np.float32([1, 2]), np.array([1.0, 0.5]))
    >>> squares.tolist(), total.tolist(), squared_error.tolist()
    ([1.0, 4.0], [5.0], [3.0])
    """
    squares, sums, run = np.empty(len(residual), np.float32), np.empty((len(rows), 2)), _squared_errors()
    parallel_for(
        lambda block: run(sums, squares, rows.start, rows.columns, _weights(rows), residual, column_noise, *block),
        row_blocks(rows.start),
    )
    return squares, sums[:, 0].copy(), sums[:, 1].copy()


def column_squared_errors(columns: SparseRows, order: Int64, squares: Float32, row_noise: Float64) -> Float64:
    """Compute the sum of the squared residuals of each column.

    Parameters
    ----------
    columns : SparseRows
        The transposed matrix: the rows of each column; values are ignored.
    order : ndarray of shape (n,), int64
        The position in `squares` of each entry of `columns`.
    squares : ndarray of shape (n,), float32
        The result of `row_squared_errors`.
    row_noise : ndarray of shape (n_rows,), float64
        A factor for each row.

    Returns
    -------
    ndarray of shape (n_columns,), float64

    Examples
    --------
    >>> columns = SparseRows.of(rows=[0, 1], columns=[0, 0], values=[5, 3], n_rows=2)
    >>> column_squared_errors(columns, np.array([0, 1]), np.float32([1, 4]), np.array([2.0])).tolist()
    [2.0, 8.0]
    """
    squared_error, run = np.empty(len(columns)), _column_squared_errors()
    parallel_for(
        lambda block: run(squared_error, columns.start, columns.columns, order, squares, row_noise, *block),
        row_blocks(columns.start),
    )
    return squared_error


def _weights(rows: SparseRows) -> Float32:
    return np.zeros(0, np.float32) if rows.weights is None else rows.weights
