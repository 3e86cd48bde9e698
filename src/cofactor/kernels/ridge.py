"""Ridge regressions for half an ALS iteration: fit all user vectors with the item vectors held fixed, or vice versa.

For a row with entries j (feature vector f_j, target t_j, confidence c_j), the kernels minimize over x

    sum_j c_j (t_j - x . f_j)^2  +  x' G x  +  sum_d penalty * shape_d * x_d^2  +  sum_d precision_d (x_d - prior_d)^2

The minimizer solves  A x = b  with

    A = G + sum_j c_j f_j f_j' + diag(penalty * shape + precision)
    b = sum_j c_j t_j f_j + precision * prior

Ratings:  t = value - offset of the column, c = weight or 1, G = 0.
Events:   t = 1 (or 0 for a dislike, which has a negative value), c = |value|, G = alpha0 sum_all f f'.

Training of users, training of items and fold-in all use these two kernels. Rows that are too ill-conditioned for
float32 are solved in float64; see `kernels.ridge_double`.

References: Hu, Koren & Volinsky 2008, eq. 4; Zhou et al. 2008 (ALS-WR), section 3; Takacs, Pilaszy & Tikk 2011
(conjugate gradient).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cofactor.arrays import Float32, row_starts
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for, row_blocks
from cofactor.kernels.ridge_double import FeatureExtent, ill_conditioned_rows, ridge_double
from cofactor.kernels.sparse import SparseRows

__all__ = ["EVENTS", "RATINGS", "RidgeInputs", "improve", "solve"]

RATINGS, EVENTS = 0, 1
"""Compile-time option for computing targets and confidences."""

MAX_GATHERED = 1 << 24
"""The maximum size of a block of gathered features, in values (64 MB); longer rows are gathered in each CG step."""

UNROLL = 8
"""The number of entries processed at a time (loop unrolling factor)."""

PREFETCH_DISTANCE = 8
"""Prefetch distance: the number of entries by which loading features precedes their use."""

FULL_ROW_WIDTH = 32
"""The maximum width at which loops run over whole rows of A, whose fixed length allows vectorization."""

_READS = (
    "i8[::1] i4[::1] f4[::1] f4[::1]"  # start, columns, values, weights (empty: all 1)
    " f4[:, ::1] f4[::1] f4[:, ::1]"  # features, offset, gram
    " f4[::1] f4[::1] f4[::1] f4[:, ::1]"  # penalty (rows), shape, precision (width), prior (1 or rows, width)
)


@kernel(writes="f4[:, ::1] f8[::1] f4[:, ::1] f4[::1]", reads=_READS, scalars="i8 i8 i8")
def ridge_conjugate_gradient(width: int, kind: int):
    """Improve the solutions in rows first..last-1 of `x` by conjugate gradient (CG) steps from their current values.

    Writes `x` (n_rows, width) and `loss` (n_rows,), the sum_j c (t - x . f)^2 of each row *before* the update. The
    scratch arrays `g` (n, width) and `h` (n,) contain sqrt(c) f and sqrt(c) t for the entries of a row, so that A is a
    sum of g g'. Eight entries are processed at a time, to share the reads and writes of p and A p.
    """
    from cofactor.kernels import prefetch

    def ridge_conjugate_gradient(
        x, loss, g, h,
        start, columns, values, weights, features, offset, gram, penalty, shape, precision, prior,
        first, last, steps,
    ):  # fmt: skip
        x_row = np.empty(width, np.float32)
        r = np.empty(width, np.float32)
        p = np.empty(width, np.float32)
        Ap = np.empty(width, np.float32)
        diagonal = np.empty(width, np.float32)
        chunk_size = g.shape[0] - UNROLL
        weighted = weights.shape[0] > 0
        for row in range(first, last):
            begin = start[row]
            m = start[row + 1] - begin
            prior_row = row if prior.shape[0] > 1 else 0
            for d in range(width):
                x_row[d] = x[row, d]
                p[d] = x_row[d]
                diagonal[d] = penalty[row] * shape[d] + precision[d]
                r[d] = precision[d] * prior[prior_row, d]
            squares = np.float64(0)
            rr = np.float64(0)  # squares of residuals may overflow float32
            for step in range(steps + 1):  # step 0, with p = x, computes the residual r = b - A x
                for d in range(width):
                    Ap[d] = diagonal[d] * p[d]
                if kind == EVENTS:
                    for e in range(0, width, 8):
                        s0, s1, s2, s3 = p[e], p[e + 1], p[e + 2], p[e + 3]
                        s4, s5, s6, s7 = p[e + 4], p[e + 5], p[e + 6], p[e + 7]
                        for d in range(width):
                            Ap[d] += (
                                s0 * gram[e, d] + s1 * gram[e + 1, d] + s2 * gram[e + 2, d] + s3 * gram[e + 3, d]
                            ) + (s4 * gram[e + 4, d] + s5 * gram[e + 5, d] + s6 * gram[e + 6, d] + s7 * gram[e + 7, d])
                for chunk in range(0, m, chunk_size):
                    n = min(chunk_size, m - chunk)
                    if step == 0 or m > chunk_size:  # a row that fits into one chunk is gathered once
                        for t in range(n):
                            entry = begin + chunk + t
                            prefetch.row(features, columns[min(entry + PREFETCH_DISTANCE, begin + m - 1)])
                            j = columns[entry]
                            if kind == EVENTS:
                                c = abs(values[entry])
                                target = np.float32(1) if values[entry] > 0 else np.float32(0)
                            else:
                                c = weights[entry] if weighted else np.float32(1)
                                target = values[entry] - offset[j]
                            c = np.sqrt(c)
                            h[t] = c * target
                            for d in range(width):
                                g[t, d] = c * features[j, d]
                        for t in range(n, n + -n % UNROLL):
                            h[t] = 0
                            for d in range(width):
                                g[t, d] = 0
                    for t in range(0, n, UNROLL):
                        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                        s4, s5, s6, s7 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                        for d in range(width):
                            s0 += g[t, d] * p[d]
                            s1 += g[t + 1, d] * p[d]
                            s2 += g[t + 2, d] * p[d]
                            s3 += g[t + 3, d] * p[d]
                            s4 += g[t + 4, d] * p[d]
                            s5 += g[t + 5, d] * p[d]
                            s6 += g[t + 6, d] * p[d]
                            s7 += g[t + 7, d] * p[d]
                        if step == 0:
                            s0, s1, s2, s3 = s0 - h[t], s1 - h[t + 1], s2 - h[t + 2], s3 - h[t + 3]
                            s4, s5, s6, s7 = s4 - h[t + 4], s5 - h[t + 5], s6 - h[t + 6], s7 - h[t + 7]
                            squares += (s0 * s0 + s1 * s1 + s2 * s2 + s3 * s3) + (s4 * s4 + s5 * s5 + s6 * s6 + s7 * s7)
                        for d in range(width):
                            Ap[d] += (s0 * g[t, d] + s1 * g[t + 1, d] + s2 * g[t + 2, d] + s3 * g[t + 3, d]) + (
                                s4 * g[t + 4, d] + s5 * g[t + 5, d] + s6 * g[t + 6, d] + s7 * g[t + 7, d]
                            )
                if step == 0:
                    for d in range(width):
                        r[d] -= Ap[d]
                        p[d] = r[d]
                        rr += np.float64(r[d]) * r[d]
                else:
                    pAp = np.float64(0)
                    for d in range(width):
                        pAp += np.float64(p[d]) * Ap[d]
                    alpha = np.float32(rr / pAp)
                    new_rr = np.float64(0)
                    for d in range(width):
                        x_row[d] += alpha * p[d]
                        r[d] -= alpha * Ap[d]
                        new_rr += np.float64(r[d]) * r[d]
                    beta = np.float32(new_rr / rr)
                    rr = new_rr
                    for d in range(width):
                        p[d] = r[d] + beta * p[d]
                if rr < 1e-20:
                    break
            loss[row] = squares
            for d in range(width):
                x[row, d] = x_row[d]

    return ridge_conjugate_gradient


@kernel(writes="f4[:, ::1]", reads=f"{_READS} f4[:, ::1]", scalars="i8 i8")
def ridge_exact(width: int, kind: int):
    """Compute the exact ridge regression solutions for rows first..last-1 of `x` by a Cholesky factorization.

    Writes `x` (n_rows, width). A row without entries is set to its prior mean, or to 0 without a prior. With standard
    normal `noise` z (n_rows, width), x is a draw A^-1 b + U^-1 z from N(A^-1 b, A^-1), where A = U' U. Pass `noise` of
    shape (0, width) for the minimizer itself.
    """

    def ridge_exact(
        x,
        start, columns, values, weights, features, offset, gram, penalty, shape, precision, prior, noise,
        first, last,
    ):  # fmt: skip
        A = np.empty((width, width), np.float32)  # upper triangle; later its Cholesky factor
        b = np.empty(width, np.float32)
        y = np.empty(width, np.float32)
        f = np.empty((8, width), np.float32)
        cf = np.empty((8, width), np.float32)
        targets = np.empty(8, np.float32)
        weighted = weights.shape[0] > 0
        for row in range(first, last):
            prior_row = row if prior.shape[0] > 1 else 0
            for d in range(width):
                b[d] = precision[d] * prior[prior_row, d]
                for e in range(width):
                    A[d, e] = gram[d, e] if kind == EVENTS else np.float32(0)
                A[d, d] += penalty[row] * shape[d] + precision[d]
            for group in range(start[row], start[row + 1], 8):
                for g in range(8):
                    c = np.float32(0)  # padding after the end of the row
                    targets[g] = 0
                    j = 0
                    if group + g < start[row + 1]:
                        j = columns[group + g]
                        value = values[group + g]
                        if kind == EVENTS:
                            c = abs(value)
                            targets[g] = np.float32(1) if value > 0 else np.float32(0)
                        else:
                            c = weights[group + g] if weighted else np.float32(1)
                            targets[g] = value - offset[j]
                    for d in range(width):
                        f[g, d] = features[j, d]
                        cf[g, d] = c * features[j, d]
                s0, s1, s2, s3 = targets[0], targets[1], targets[2], targets[3]
                s4, s5, s6, s7 = targets[4], targets[5], targets[6], targets[7]
                for d in range(width):
                    b[d] += (s0 * cf[0, d] + s1 * cf[1, d] + s2 * cf[2, d] + s3 * cf[3, d]) + (
                        s4 * cf[4, d] + s5 * cf[5, d] + s6 * cf[6, d] + s7 * cf[7, d]
                    )
                for d in range(width):  # A is read and written once per eight entries
                    s0, s1, s2, s3 = cf[0, d], cf[1, d], cf[2, d], cf[3, d]
                    s4, s5, s6, s7 = cf[4, d], cf[5, d], cf[6, d], cf[7, d]
                    for e in range(0 if width <= FULL_ROW_WIDTH else d, width):
                        A[d, e] += (s0 * f[0, e] + s1 * f[1, e] + s2 * f[2, e] + s3 * f[3, e]) + (
                            s4 * f[4, e] + s5 * f[5, e] + s6 * f[6, e] + s7 * f[7, e]
                        )
            for d in range(width):  # A = U' U, row by row; U' y = b on the way
                # an undetermined direction is set to 0, so that it does not overflow
                inverse = np.float32(1) / np.sqrt(A[d, d]) if A[d, d] > 0 else np.float32(0)
                for e in range(0 if width <= FULL_ROW_WIDTH else d, width):
                    A[d, e] *= inverse
                y[d] = b[d] * inverse
                for i in range(d + 1, width):
                    u = A[d, i]
                    b[i] -= u * y[d]
                    for e in range(0 if width <= FULL_ROW_WIDTH else i, width):
                        A[i, e] -= u * A[d, e]
                b[d] = inverse
            if noise.shape[0] > 0:
                for d in range(width):
                    y[d] += noise[row, d]
            for d in range(width - 1, -1, -1):  # U x = y
                s = y[d]
                for e in range(d + 1, width):
                    s -= A[d, e] * x[row, e]
                x[row, d] = s * b[d]

    return ridge_exact


@dataclass(frozen=True)
class RidgeInputs:
    """Inputs shared by the ridge regressions of all rows; see the equations in the module docstring.

    Attributes
    ----------
    kind : {RATINGS, EVENTS}
        How targets and confidences are computed.
    features : ndarray of shape (n, width), float32
        The feature vectors f; width is a multiple of 8.
    offset : ndarray of shape (n,), float32
        The offset of each feature vector, which is subtracted from ratings.
    gram : ndarray of shape (width, width), float32
        The matrix G; of shape (0, 0) for ratings.
    shape : ndarray of shape (width,), float32
        The relative penalty of each dimension.
    precision : ndarray of shape (width,), float32
        The precision of the prior.
    prior : ndarray of shape (1, width) or (n_rows, width), float32
        The prior mean, either shared by all rows or one for each row.
    extent : FeatureExtent
        The extent of the features, computed when it is needed.
    """

    kind: int
    features: Float32
    offset: Float32
    gram: Float32
    shape: Float32
    precision: Float32
    prior: Float32
    extent: FeatureExtent = field(default_factory=FeatureExtent, repr=False, compare=False)

    def targets(self, entries: SparseRows) -> tuple[Float32, Float32]:
        """Return the confidence and the target of each entry.

        Parameters
        ----------
        entries : SparseRows
            The entries.

        Returns
        -------
        c : ndarray of shape (n,), float32
            Confidences.
        t : ndarray of shape (n,), float32
            Targets.
        """
        if self.kind == EVENTS:
            return np.abs(entries.values), (entries.values > 0).astype(np.float32)
        ones = np.ones(len(entries.values), np.float32)
        return ones if entries.weights is None else entries.weights, entries.values - self.offset[entries.columns]

    def arrays(self, entries: SparseRows, penalty: Float32) -> tuple[Any, ...]:
        """Return the read-only arrays that are passed to the ridge regression kernels.

        Parameters
        ----------
        entries : SparseRows
            The entries of the rows to solve.
        penalty : ndarray of shape (n_rows,), float32
            The penalty for each row.

        Returns
        -------
        tuple
            The arguments, in the order of the kernels' parameters.
        """
        weights = np.zeros(0, np.float32) if entries.weights is None else entries.weights
        return (
            entries.start, entries.columns, entries.values, weights,
            self.features, self.offset, self.gram, penalty, self.shape, self.precision, self.prior,
        )  # fmt: skip


def improve(x: Float32, entries: SparseRows, penalty: Float32, inputs: RidgeInputs, *, steps: int) -> float:
    """Improve the ridge regression solution for each row by conjugate gradient steps, in place.

    Parameters
    ----------
    x : ndarray of shape (n_rows, width), float32
        The vectors; updated in place. Rows that are too ill-conditioned for float32 are set to the exact minimizer
        instead (see `kernels.ridge_double`).
    entries : SparseRows
        The entries of the rows.
    penalty : ndarray of shape (n_rows,), float32
        The penalty for each row.
    inputs : RidgeInputs
        Inputs of the ridge regressions.
    steps : int
        The number of steps.

    Returns
    -------
    float
        The sum of c_j (t_j - x . f_j)^2 over all rows, before the update; 0.0 if there are no rows.
    """
    run = ridge_conjugate_gradient(x.shape[1], inputs.kind)
    arguments = inputs.arrays(entries, penalty)
    loss = np.zeros(len(x))
    lengths = np.diff(entries.start)

    def run_block(cut: tuple[int, int]) -> None:
        longest = max(int(lengths[cut[0] : cut[1]].max()), 1)  # all rows of a block can be empty
        n = min(longest, MAX_GATHERED // x.shape[1]) + UNROLL
        run(x, loss, np.empty((n, x.shape[1]), np.float32), np.empty(n, np.float32), *arguments, *cut, steps)

    parallel_for(run_block, row_blocks(entries.start))
    _solve_in_double(x, entries, penalty, inputs, np.zeros((0, x.shape[1]), np.float32))
    return float(loss.sum())


def solve(
    x: Float32, entries: SparseRows, penalty: Float32, inputs: RidgeInputs, *, noise: Float32 | None = None
) -> None:
    """Solve the ridge regression for each row exactly, or draw a sample from its posterior distribution.

    Parameters
    ----------
    x : ndarray of shape (n_rows, width), float32
        The vectors; overwritten. An empty row is set to its prior mean, or to 0 without a prior.
    entries : SparseRows
        The entries of the rows.
    penalty : ndarray of shape (n_rows,), float32
        The penalty for each row.
    inputs : RidgeInputs
        Inputs of the ridge regressions.
    noise : ndarray of shape (n_rows, width), float32, or None, default None
        Standard normal draws. If passed, each row is a draw from the normal distribution with a density proportional to
        exp(-loss / 2), where loss is the objective of the ridge regression.

    Examples
    --------
    >>> features, zeros = np.zeros((2, 8), np.float32), np.zeros(8, np.float32)
    >>> features[:, 0] = 1, 2
    >>> no_gram = np.zeros((0, 0), np.float32)
    >>> inputs = RidgeInputs(RATINGS, features, np.zeros(2, np.float32), no_gram, zeros + 1, zeros, zeros[None])
    >>> x, entries = np.empty((1, 8), np.float32), SparseRows.of([0, 0], [0, 1], [4, 5], n_rows=1)
    >>> solve(x, entries, np.float32([2]), inputs)
    >>> round(float(x[0, 0]), 3)                                  # (4 * 1 + 5 * 2) / (1 + 4 + 2)
    2.0
    """
    run = ridge_exact(x.shape[1], inputs.kind)
    arguments = inputs.arrays(entries, penalty)
    noise_rows = np.zeros((0, x.shape[1]), np.float32) if noise is None else noise
    parallel_for(lambda cut: run(x, *arguments, noise_rows, *cut), row_blocks(entries.start, entries=1 << 14))
    _solve_in_double(x, entries, penalty, inputs, noise_rows)


def _solve_in_double(x: Float32, entries: SparseRows, penalty: Float32, inputs: RidgeInputs, noise: Float32) -> None:
    """Solve the rows of x that are too ill-conditioned for float32 in float64."""
    confidence = entries.values if inputs.kind == EVENTS else entries.weights
    rows = ill_conditioned_rows(
        entries, confidence, penalty, inputs.features, inputs.gram, inputs.shape, inputs.precision, inputs.extent
    )  # fmt: skip
    if len(rows) == 0:
        return
    run = ridge_double(x.shape[1], inputs.kind)
    arguments = inputs.arrays(entries, penalty)
    cuts = row_blocks(row_starts(entries.counts[rows]), entries=1 << 12)
    parallel_for(lambda cut: run(x, rows, *arguments, noise, *cut), cuts)
