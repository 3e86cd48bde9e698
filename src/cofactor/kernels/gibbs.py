"""Implicit feedback as a prior: what each item adds to the vectors of those who rated it, drawn by Gibbs sampling.

The vector of row r has the prior mean  mu + h_r sum over its columns j of Y_j,  h_r = 1 / sqrt(number of columns).
Given all vectors X, the residual  E = X - mu - h sum Y  is normal with the vectors' own precision, so each Y_j is too:

    precision_j = l + m sum_r h_r^2        mean_j = m (sum_r h_r E_r + Y_j sum_r h_r^2) / precision_j

with l the precision of Y's own prior (mean 0), m that of the vectors, and sums over the rows that have column j; all of
it apart for each dimension. Drawn one column after the other, E following each change.
Sources: Koren 2008, section 4 (SVD++); Rendle et al. 2019, section 4 (both sides); Salakhutdinov & Mnih 2008 (Gibbs).
"""

from __future__ import annotations

import numpy as np

from cofactor.kernels.compile import kernel

__all__ = ["draw_history_terms"]


@kernel(
    writes="f4[:, ::1] f4[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] f4[::1] f4[:, ::1]",
)
def draw_history_terms(width: int):
    """Every row of Y (n_columns, width) drawn in turn; E (n_rows, width) follows.

    start, rows: for each column the rows that have it. scale (n_rows,): h. own, vectors (width,): the precisions l and
    m. noise (n_columns, width): standard normal draws.
    """

    def draw_history_terms(Y, E, start, rows, scale, own, vectors, noise):
        total = np.empty(width, np.float32)
        for j in range(Y.shape[0]):
            squares = np.float32(0)
            for d in range(width):
                total[d] = 0
            for t in range(start[j], start[j + 1]):
                h = scale[rows[t]]
                squares += h * h
                for d in range(width):
                    total[d] += h * E[rows[t], d]
            for d in range(width):
                precision = own[d] + vectors[d] * squares
                drawn = vectors[d] * (total[d] + squares * Y[j, d]) / precision + noise[j, d] / np.sqrt(precision)
                total[d] = drawn - Y[j, d]
                Y[j, d] = drawn
            for t in range(start[j], start[j + 1]):
                h = scale[rows[t]]
                for d in range(width):
                    E[rows[t], d] -= h * total[d]

    return draw_history_terms
