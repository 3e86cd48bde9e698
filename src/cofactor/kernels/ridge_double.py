"""The ridge regressions of `kernels.ridge` in float64, for the rows where float32 would lose the answer.

A row's matrix is A = D + sum_j c_j f_j f_j' with D = G + diag(penalty * shape + precision). Where c_j |f_j|^2 of one
entry is many times the smallest eigenvalue of D (a count of a million), rounding that entry in float32 hides what D and
the other entries say. Such rows are built and factored in float64. Which rows these are follows from the row and the
other side alone, so a row has the same bits alone and among others.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.sparse import SparseRows

__all__ = ["RATIO", "ill_conditioned_rows", "ridge_double"]

EVENTS = 1
"""As in `kernels.ridge`."""

RATIO = 1e3
"""Rows with an entry of c |f|^2 above this times the smallest eigenvalue of D: float32 would be off by 1e-4 or more."""


@kernel(
    writes="f4[:, ::1]",
    reads="i8[::1] i8[::1] i4[::1] f4[::1] f4[::1] f4[:, ::1] f4[::1] f4[:, ::1] f4[::1] f4[::1] f4[::1] f4[:, ::1]"
    " f4[:, ::1]",
    numbers="i8 i8",
)
def ridge_double(width: int, kind: int):
    """Rows chosen[first..last-1] of x solved exactly, as `ridge_exact` does, in float64 until they are written.

    Writes `x` (n_rows, width) float32. A direction that nothing determines is 0.
    """

    def ridge_double(
        x,
        chosen, start, columns, values, weights, features, offset, gram, penalty, shape, precision, prior, noise,
        first, last,
    ):  # fmt: skip
        A = np.empty((width, width), np.float64)  # from the diagonal on; later its Cholesky factor
        b = np.empty(width, np.float64)
        y = np.empty(width, np.float64)
        f = np.empty(width, np.float64)
        weighted = weights.shape[0] > 0
        for at in range(first, last):
            row = chosen[at]
            own_prior = row if prior.shape[0] > 1 else 0
            for d in range(width):
                b[d] = np.float64(precision[d]) * prior[own_prior, d]
                for e in range(d, width):
                    A[d, e] = gram[d, e] if kind == EVENTS else 0.0
                A[d, d] += np.float64(penalty[row]) * shape[d] + precision[d]
            for entry in range(start[row], start[row + 1]):
                j = columns[entry]
                if kind == EVENTS:
                    c = np.float64(abs(values[entry]))
                    target = 1.0 if values[entry] > 0 else 0.0
                else:
                    c = np.float64(weights[entry]) if weighted else np.float64(1)
                    target = np.float64(values[entry]) - offset[j]
                for d in range(width):
                    f[d] = features[j, d]
                for d in range(width):
                    cf = c * f[d]
                    b[d] += cf * target
                    for e in range(d, width):
                        A[d, e] += cf * f[e]
            for d in range(width):
                y[d] = A[d, d]
            for d in range(width):  # A = U' U, row by row; U' y = b on the way
                inverse = 1.0 / np.sqrt(A[d, d]) if A[d, d] > 1e-15 * y[d] else 0.0
                for e in range(d, width):
                    A[d, e] *= inverse
                y[d] = b[d] * inverse
                for i in range(d + 1, width):
                    u = A[d, i]
                    b[i] -= u * y[d]
                    for e in range(i, width):
                        A[i, e] -= u * A[d, e]
                b[d] = inverse
            if noise.shape[0] > 0:
                for d in range(width):
                    y[d] += noise[row, d]
            for d in range(width - 1, -1, -1):  # U x = y
                s = y[d]
                for e in range(d + 1, width):
                    s -= A[d, e] * f[e]
                f[d] = s * b[d]
            for d in range(width):
                x[row, d] = f[d]

    return ridge_double


def ill_conditioned_rows(
    entries: SparseRows,
    confidence: Float32 | None,
    penalty: Float32,
    features: Float32,
    gram: Float32,
    shape: Float32,
    precision: Float32,
) -> Int64:
    """The rows that `RATIO` sends to float64, (m,) int64 ascending; mostly none, which takes one pass over the entries.

    confidence (n,) float32: c of each entry, None where all are 1; its sign does not matter. The rest as in
    `kernels.ridge`. The smallest eigenvalue of D is bounded from below by that of G plus the smallest entry of the
    diagonal, over the dimensions in which the features are not 0.

    >>> rows = SparseRows.of(rows=[0, 1], columns=[0, 0], values=[1, 1], n_rows=2)
    >>> one, nothing = np.ones(1, np.float32), np.zeros((0, 0), np.float32)
    >>> ill_conditioned_rows(rows, np.float32([1, 1e6]), np.float32([1, 1]), one[None], nothing, one, one).tolist()
    [1]
    """
    has = np.flatnonzero(entries.counts)
    if len(has) == 0 or features.size == 0:
        return has[:0]
    squares = np.einsum("nd,nd->n", features, features)
    c = np.ones(1) if confidence is None else np.abs(confidence)
    largest = float(c.max()) * float(squares.max())
    floor = float((penalty[has].min() * shape.astype(np.float64) + precision).min())
    if largest <= RATIO * floor or not np.isfinite(largest):  # what is not finite is the caller's to report
        return has[:0]
    used = np.flatnonzero(features.any(axis=0))
    if len(used) == 0:
        return has[:0]
    blanks = 0.0
    if gram.size:
        blanks = max(float(np.linalg.eigvalsh(gram[np.ix_(used, used)].astype(np.float64))[0]), 0.0)
    floors = (penalty[has, None] * shape[used].astype(np.float64) + precision[used]).min(axis=1) + blanks
    weights = c * squares[entries.columns].astype(np.float64)
    rows: Int64 = has[np.maximum.reduceat(weights, entries.start[has]) > RATIO * floors]
    return rows
