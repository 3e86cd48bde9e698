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

from cofactor.kernels.compile import kernel

__all__ = ["draw_history_terms"]


@kernel(
    writes="f4[:, ::1] f4[:, ::1]",
    reads="i8[::1] i4[::1] f4[::1] f4[::1] f4[::1] f4[:, ::1]",
)
def draw_history_terms(width: int):
    """Sample the implicit-feedback factors of each item in turn, and update the residuals of the user vectors.

    Writes the history terms `Y`, one row per item, and the residuals `E`. Reads `start` and `rows`, the rows that have
    each column; `scale` (n_rows,), the factors h; `k` and `m` (width,), the precisions in the module docstring; and
    `noise` (n_columns, width), standard normal draws.
    """

    def draw_history_terms(Y, E, start, rows, scale, k, m, noise):
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
                precision = k[d] + m[d] * squares
                sample = m[d] * (total[d] + squares * Y[j, d]) / precision + noise[j, d] / np.sqrt(precision)
                total[d] = sample - Y[j, d]
                Y[j, d] = sample
            for t in range(start[j], start[j + 1]):
                h = scale[rows[t]]
                for d in range(width):
                    E[rows[t], d] -= h * total[d]

    return draw_history_terms
