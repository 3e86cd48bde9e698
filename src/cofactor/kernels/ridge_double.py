"""Float64 version of `kernels.ridge`, for rows that are too ill-conditioned for float32.

The matrix of a row is A = D + sum_j c_j f_j f_j' with D = G + diag(penalty * shape + precision). If an entry's
c_j |f_j|^2 is many times the smallest eigenvalue of D (for example, with a count of a million), its float32 rounding
error exceeds the contributions of D and of the other entries. Such rows are built and factored in float64. The choice
depends only on the row and the fixed features, so the result for a row does not depend on the batch.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Int64, max_magnitude
from cofactor.kernels.compile import kernel
from cofactor.kernels.sparse import SparseRows

__all__ = ["MAX_RATIO", "FeatureExtent", "ill_conditioned_rows", "ridge_double"]

EVENTS = 1
"""Same value as in `kernels.ridge`."""

MAX_RATIO = 1e3
"""The ratio of c |f|^2 to the smallest eigenvalue of D above which float32 errors would be 1e-4 or more."""


@kernel(
    writes="f4[:, ::1]",
    reads="i8[::1] i8[::1] i4[::1] f4[::1] f4[::1] f4[:, ::1] f4[::1] f4[:, ::1] f4[::1] f4[::1] f4[::1] f4[:, ::1]"
    " f4[:, ::1]",
    scalars="i8 i8",
)
def ridge_double(width: int, kind: int):
    """Compute the exact solutions for rows selected_rows[first:last] of `x` in float64; `ridge_exact` uses float32.

    Writes `x` (n_rows, width) float32. Undetermined directions are set to 0.
    """

    def ridge_double(
        x,
        selected_rows, start, columns, values, weights, features, offset, gram, penalty, shape, precision, prior, noise,
        first, last,
    ):  # fmt: skip
        A = np.empty((width, width), np.float64)  # upper triangle; later its Cholesky factor
        b = np.empty(width, np.float64)
        y = np.empty(width, np.float64)
        f = np.empty(width, np.float64)
        weighted = weights.shape[0] > 0
        for index in range(first, last):
            row = selected_rows[index]
            prior_row = row if prior.shape[0] > 1 else 0
            for d in range(width):
                b[d] = np.float64(precision[d]) * prior[prior_row, d]
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


class FeatureExtent:
    """Largest squared norm and nonzero dimensions of feature vectors; kept as long as the same read-only array is used.

    A fold-in of one user then does not take the time of a pass over all items.
    """

    def __init__(self) -> None:
        self._latest: tuple[Float32, tuple[float, Int64]] | None = None

    def of(self, features: Float32) -> tuple[float, Int64]:
        """Return the extent of feature vectors.

        Parameters
        ----------
        features : ndarray of shape (n, width), float32
            The feature vectors; n > 0.

        Returns
        -------
        largest_square : float
            The largest squared norm.
        dimensions : ndarray of shape (m,), int64
            The dimensions in which some feature is nonzero.
        """
        latest = self._latest
        if latest is not None and latest[0] is features:
            return latest[1]
        extent = float(_squares(features).max()), np.flatnonzero(features.any(axis=0))
        if not features.flags.writeable:
            self._latest = features, extent
        return extent


def _squares(features: Float32) -> Float32:
    squares: Float32 = np.einsum("nd,nd->n", features, features)
    return squares


def ill_conditioned_rows(
    entries: SparseRows,
    confidence: Float32 | None,
    penalty: Float32,
    features: Float32,
    gram: Float32,
    shape: Float32,
    precision: Float32,
    extent: FeatureExtent,
) -> Int64:
    """Find the rows that require float64, because their equations are too ill-conditioned for float32.

    Parameters
    ----------
    entries : SparseRows
        The entries of the rows.
    confidence : ndarray of shape (n,), float32, or None
        The confidence c of each entry, whose sign is ignored; None if all are 1.
    penalty : ndarray of shape (n_rows,), float32
        The penalty for each row.
    features, gram, shape, precision : ndarray, float32
        As in `kernels.ridge.RidgeInputs`.
    extent : FeatureExtent
        The extent of the features.

    Returns
    -------
    ndarray of shape (m,), int64
        Sorted row numbers; empty for most data, in which case the function takes at most one pass over the entries.

    Notes
    -----
    A row requires float64 if c |f|^2 of one of its entries exceeds `MAX_RATIO` times a bound on the smallest eigenvalue
    of D.

    The smallest eigenvalue of D is bounded from below by the smallest eigenvalue of G plus the smallest diagonal entry,
    over the dimensions in which some feature is nonzero.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 1], columns=[0, 0], values=[1, 1], n_rows=2)
    >>> ones, no_gram = np.ones(1, np.float32), np.zeros((0, 0), np.float32)
    >>> equations = np.float32([1, 1e6]), np.float32([1, 1]), ones[None], no_gram, ones, ones
    >>> ill_conditioned_rows(rows, *equations, FeatureExtent()).tolist()
    [1]
    """
    nonempty_rows = np.flatnonzero(entries.counts)
    if len(nonempty_rows) == 0 or features.size == 0:
        return nonempty_rows[:0]
    largest_square, used_dimensions = extent.of(features)
    largest_confidence = 1.0 if confidence is None else max_magnitude(confidence)
    largest = largest_confidence * largest_square
    if not np.isfinite(largest):
        return nonempty_rows[:0]  # the caller reports values that are not finite
    if len(used_dimensions) == 0:
        return nonempty_rows[:0]
    min_eigenvalues = np.full(len(nonempty_rows), np.inf)
    for unit, constant in set(zip(shape[used_dimensions].tolist(), precision[used_dimensions].tolist(), strict=True)):
        np.minimum(min_eigenvalues, penalty[nonempty_rows] * unit + constant, out=min_eigenvalues)
    is_candidate = largest > MAX_RATIO * min_eigenvalues
    if gram.size and is_candidate.any():
        matrix = gram[np.ix_(used_dimensions, used_dimensions)].astype(np.float64)
        min_eigenvalues += max(float(np.linalg.eigvalsh(matrix)[0]), 0.0)
        is_candidate = largest > MAX_RATIO * min_eigenvalues
    candidates = nonempty_rows[is_candidate]
    if len(candidates) == 0:
        return candidates
    weighted = entries if confidence is None else entries.with_values(confidence)
    part = weighted if len(candidates) == len(entries) else weighted.take(candidates.astype(np.int32))
    if len(part.columns) < len(features):
        weights = _squares(features[part.columns]).astype(np.float64)
    else:
        weights = _squares(features)[part.columns].astype(np.float64)
    if confidence is not None:
        weights *= np.abs(part.values)
    rows: Int64 = candidates[np.maximum.reduceat(weights, part.start[:-1]) > MAX_RATIO * min_eigenvalues[is_candidate]]
    return rows
