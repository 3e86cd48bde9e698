"""Scores of all items for a block of users, from similar items (item-item) or similar users (user-user).

With similarities s, which may be negative only in the second line, the kernels add these terms to the scores:

    items, ratings:  sum_j w_uj s_ij x_uj / (damping + sum_j w_uj s_ij)      j: the k items of u most similar to i
    items, events:   sum_j s_ij x_uj                                         j: all items of u
    users, ratings:  sum_v w_vi s_uv x_vi / (damping + sum_v w_vi s_uv)      v: the k users with i most similar to u
    users, events:   sum_v s_uv x_vi                                         v: as for ratings

For ratings, x is the rating minus its baseline. If several neighbors tie for the k-th largest similarity, they share
the remaining positions with equal weights, so that scores do not depend on row numbers.

References: Koren 2008, section 2.2.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64, Int32
from cofactor.kernels.compile import kernel
from cofactor.kernels.neighbors import TIE_TOLERANCE
from cofactor.kernels.parallel import parallel_for, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "AVERAGE",
    "SUM",
    "add_by_users",
    "add_dense",
    "add_low_rank",
    "average_by_items",
    "damped_means",
    "sum_by_items",
    "top_k_membership",
]

SUM, AVERAGE = 0, 1
"""Compile-time choice of how neighbors are combined."""

ABOVE_TIE, BELOW_TIE = np.float32(1 + TIE_TOLERANCE), np.float32(1 - TIE_TOLERANCE)

LOW_RANK_TILE = 256
"""Number of items whose vectors are multiplied with those of all users of a block, so that they stay in the cache."""

_ROWS = "i8[::1] i4[::1] f4[::1] f4[::1] "  # start, columns, values, weights (empty: all 1)


@kernel(writes="f4[:, ::1]", reads=_ROWS + "i8[::1] i4[::1] f4[::1]", scalars="i8 f4")
def _average_by_items():
    """Add item-item averages to the scores `out` (n_users, n_items).

    Reads the entries of each user (`start`, `columns`, `values`, `weights`), and the similarities, whose row j contains
    the items i (`similarity_columns`) and s_ij (`similarity_values`).
    """

    def _average_by_items(
        out, start, columns, values, weights, similarity_start, similarity_columns, similarity_values, k, damping
    ):  # fmt: skip
        n_items = out.shape[1]
        weighted = weights.shape[0] > 0
        count = np.zeros(n_items, np.int32)
        first = np.empty(n_items, np.int64)
        touched_items = np.empty(n_items, np.int32)
        numerator, denominator = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        tied_numerator, tied_denominator = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        tied = np.empty(n_items, np.int32)
        kth = np.empty(n_items, np.float32)  # the k-th largest similarity, 0 if there are fewer
        largest = np.empty(0, np.float32)  # the k largest similarities of each touched item, descending
        for a in range(out.shape[0]):
            m = 0
            for e in range(start[a], start[a + 1]):
                for t in range(similarity_start[columns[e]], similarity_start[columns[e] + 1]):
                    i = similarity_columns[t]
                    if count[i] == 0:
                        touched_items[m] = i
                        m += 1
                    count[i] += 1
            total = 0
            for q in range(m):
                i = touched_items[q]
                first[i] = total
                total += min(count[i], k)
                count[i] = 0
            if total > largest.shape[0]:
                largest = np.empty(total, np.float32)
            for e in range(start[a], start[a + 1]):
                for t in range(similarity_start[columns[e]], similarity_start[columns[e] + 1]):
                    i = similarity_columns[t]
                    s = similarity_values[t]
                    n_filled = count[i]
                    base = first[i]
                    if n_filled == k:
                        if s <= largest[base + k - 1]:
                            continue
                        n_filled -= 1
                    else:
                        count[i] += 1
                    while n_filled > 0 and largest[base + n_filled - 1] < s:
                        largest[base + n_filled] = largest[base + n_filled - 1]
                        n_filled -= 1
                    largest[base + n_filled] = s
            for q in range(m):
                i = touched_items[q]
                kth[i] = largest[first[i] + k - 1] if count[i] == k else np.float32(0)
                numerator[i] = tied_numerator[i] = tied_denominator[i] = np.float32(0)
                denominator[i] = damping
                count[i] = tied[i] = 0
            for e in range(start[a], start[a + 1]):
                w = weights[e] if weighted else np.float32(1)
                for t in range(similarity_start[columns[e]], similarity_start[columns[e] + 1]):
                    i = similarity_columns[t]
                    s = similarity_values[t]
                    ws = s * w
                    if s > kth[i] * ABOVE_TIE:
                        numerator[i] += ws * values[e]
                        denominator[i] += ws
                        count[i] += 1
                    elif s >= kth[i] * BELOW_TIE:
                        tied_numerator[i] += ws * values[e]
                        tied_denominator[i] += ws
                        tied[i] += 1
            for q in range(m):
                i = touched_items[q]
                if tied[i] > 0:
                    share = np.float32(k - count[i]) / np.float32(tied[i])
                    numerator[i] += share * tied_numerator[i]
                    denominator[i] += share * tied_denominator[i]
                if denominator[i] > 0:
                    out[a, i] += numerator[i] / denominator[i]
                count[i] = 0

    return _average_by_items


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] i8[::1] i4[::1] f4[::1]")
def _sum_by_items():
    """Add the sum of s_ij x_aj over the entries j of user a to out[a, i], in the order of the entries."""

    def _sum_by_items(out, start, columns, values, similarity_start, similarity_columns, similarity_values):
        for a in range(out.shape[0]):
            for e in range(start[a], start[a + 1]):
                x = values[e]
                for t in range(similarity_start[columns[e]], similarity_start[columns[e] + 1]):
                    out[a, similarity_columns[t]] += x * similarity_values[t]

    return _sum_by_items


@kernel(writes="f4[:, ::1]", reads="i4[:, ::1] f4[:, ::1] " + _ROWS, scalars="i8 f4")
def _add_by_users(rule: int):
    """Add user-user sums or averages to the scores `out` (n_users, n_items).

    Reads `neighbors` and their `similarity` (n_users, width), most similar first and padded with -1, and the entries of
    all neighbors (`start`, `columns`, `values`, `weights`).
    """

    def _add_by_users(out, neighbors, similarity, start, columns, values, weights, k, damping):
        n_items, width = out.shape[1], neighbors.shape[1]
        weighted = weights.shape[0] > 0
        count = np.zeros(n_items, np.int32)  # neighbors used for each item, at most k
        tied = np.zeros(n_items, np.int32)  # neighbors with the item in the current group of tied similarities
        touched_items = np.empty(n_items, np.int32)
        numerator, denominator = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        for a in range(out.shape[0]):
            m, q = 0, 0
            while q < width and neighbors[a, q] >= 0:
                lowest, end = similarity[a, q] * BELOW_TIE, q + 1
                while end < width and neighbors[a, end] >= 0 and similarity[a, end] >= lowest:
                    end += 1
                is_single = end == q + 1
                if not is_single:
                    for p in range(q, end):
                        for e in range(start[neighbors[a, p]], start[neighbors[a, p] + 1]):
                            i = columns[e]
                            if count[i] == 0 and tied[i] == 0:
                                touched_items[m] = i
                                m += 1
                                numerator[i] = np.float32(0)
                                denominator[i] = damping
                            tied[i] += 1
                for p in range(q, end):
                    v, s = neighbors[a, p], similarity[a, p]
                    for e in range(start[v], start[v + 1]):
                        i = columns[e]
                        if count[i] == k:
                            continue
                        ws = s * weights[e] if weighted else s
                        if is_single:
                            if count[i] == 0:
                                touched_items[m] = i
                                m += 1
                                numerator[i] = np.float32(0)
                                denominator[i] = damping
                            count[i] += 1
                        elif count[i] + tied[i] > k:
                            ws *= np.float32(k - count[i]) / np.float32(tied[i])
                        numerator[i] += ws * values[e]
                        denominator[i] += ws
                if not is_single:
                    for p in range(q, end):
                        for e in range(start[neighbors[a, p]], start[neighbors[a, p] + 1]):
                            i = columns[e]
                            count[i] = min(k, count[i] + tied[i])
                            tied[i] = 0
                q = end
            for q in range(m):
                i = touched_items[q]
                if rule == SUM:
                    out[a, i] += numerator[i]
                elif denominator[i] > 0:
                    out[a, i] += numerator[i] / denominator[i]
                count[i] = 0

    return _add_by_users


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] f4[:, ::1]")
def _add_dense():
    """Add the sum of x_aj W[j] over the entries j of user a to out[a], in the order of the entries."""

    def _add_dense(out, start, columns, values, W):
        for a in range(out.shape[0]):
            for e in range(start[a], start[a + 1]):
                j = columns[e]
                x = values[e]
                for i in range(W.shape[1]):
                    out[a, i] += x * W[j, i]

    return _add_dense


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] f4[:, ::1] f4[::1] f4[::1]")
def _add_low_rank():
    """Add scale[i] sum_f response[f] z[a, f] vectors[i, f] to out[a, i], where z[a] is the sum of x_aj vectors[j]."""

    def _add_low_rank(out, start, columns, values, vectors, response, scale):
        n_items, width = vectors.shape
        z = np.zeros((out.shape[0], width), np.float32)
        for a in range(out.shape[0]):
            for e in range(start[a], start[a + 1]):
                for f in range(width):
                    z[a, f] += values[e] * vectors[columns[e], f]
            for f in range(width):
                z[a, f] *= response[f]
        for first in range(0, n_items, LOW_RANK_TILE):
            for a in range(out.shape[0]):
                for i in range(first, min(first + LOW_RANK_TILE, n_items)):
                    total = np.float32(0)
                    for f in range(width):
                        total += z[a, f] * vectors[i, f]
                    out[a, i] += scale[i] * total

    return _add_low_rank


@kernel(writes="f4[::1]", reads=_ROWS + "f4[::1]", scalars="i8 i8 f8 f8")
def _damped_means():
    """Write the damped mean of each row's deviations to out[r] for rows first..last-1.

    The damped mean is sum_c w_rc (x_rc - mean - bias_c) / (damping + sum_c w_rc), or 0 if the denominator is 0.
    """

    def _damped_means(out, start, columns, values, weights, bias, first, last, mean, damping):
        weighted = weights.shape[0] > 0
        for r in range(first, last):
            numerator, denominator = np.float64(0), damping
            for e in range(start[r], start[r + 1]):
                w = np.float64(weights[e]) if weighted else 1.0
                numerator += w * (np.float64(values[e]) - mean - np.float64(bias[columns[e]]))
                denominator += w
            out[r] = np.float32(numerator / denominator) if denominator > 0 else np.float32(0)

    return _damped_means


def average_by_items(out: Float32, rows: SparseRows, similarities: SparseRows, *, k: int, damping: float) -> None:
    """Add similarity-weighted averages over the k nearest items in each user's history to the scores (single-threaded).

    Parameters
    ----------
    out : ndarray of shape (n_users, n_items), float32
        The scores; updated in place.
    rows : SparseRows
        The entries of the users; the scores of a user without entries do not change.
    similarities : SparseRows
        Similarities: row j contains the items i that have j as a neighbor (as columns), and s_ij > 0 (as values).
    k : int
        The maximum number of neighbors.
    damping : float
        A constant added to the denominator.

    Notes
    -----
    See the first equation in the module docstring.
    """
    _average_by_items()(
        out, *_arrays(rows), similarities.start, similarities.columns, similarities.values, k, np.float32(damping)
    )


def sum_by_items(out: Float32, rows: SparseRows, similarities: SparseRows) -> None:
    """Add similarity-weighted sums over the items in each user's history to the scores (single-threaded).

    Parameters
    ----------
    out : ndarray of shape (n_users, n_items), float32
        The scores; updated in place.
    rows : SparseRows
        The entries of the users; weights are ignored.
    similarities : SparseRows
        Similarities: row j contains the items i that have j as a neighbor (as columns), and s_ij (as values).

    Notes
    -----
    See the second equation in the module docstring.
    """
    _sum_by_items()(
        out, rows.start, rows.columns, rows.values, similarities.start, similarities.columns, similarities.values
    )


def add_by_users(
    out: Float32, neighbors: Int32, similarity: Float32, rows: SparseRows, *, rule: int, k: int, damping: float
) -> None:
    """Add, to each score, a weighted sum or average over the k nearest users who have the item (single-threaded).

    Parameters
    ----------
    out : ndarray of shape (n_users, n_items), float32
        The scores; updated in place.
    neighbors : ndarray of shape (n_users, width), int32
        Row numbers of the neighbors in `rows`, most similar first; padded with -1.
    similarity : ndarray of shape (n_users, width), float32
        The similarity of each neighbor.
    rows : SparseRows
        The entries of all users.
    rule : {SUM, AVERAGE}
        How neighbors are combined; SUM ignores `damping`.
    k : int
        The maximum number of neighbors for an item.
    damping : float
        A constant added to the denominator.

    Notes
    -----
    See the third and the fourth equation in the module docstring.
    """
    _add_by_users(rule)(out, neighbors, similarity, *_arrays(rows), k, np.float32(damping))


def top_k_membership(similarity: Float64, k: int) -> Float64:
    """Return 1 for each of the k largest similarities, 0 for the others, and a fraction for ties at the boundary.

    Parameters
    ----------
    similarity : ndarray of shape (n,), float64
        Positive similarities.
    k : int
        The number of largest similarities.

    Returns
    -------
    ndarray of shape (n,), float64
        1 above the k-th largest similarity and 0 below it; similarities that tie with it share the remaining positions.

    Examples
    --------
    >>> top_k_membership(np.array([0.5, 0.9, 0.5, 0.1, 0.5]), 3).round(2).tolist()
    [0.67, 1.0, 0.67, 0.0, 0.67]
    """
    if len(similarity) <= k:
        return np.ones(len(similarity))
    kth = -np.partition(-similarity, k - 1)[k - 1]
    is_above = similarity > kth * (1 + TIE_TOLERANCE)
    tied = ~is_above & (similarity >= kth * (1 - TIE_TOLERANCE))
    share: Float64 = is_above + tied * ((k - is_above.sum()) / tied.sum())
    return share


def add_dense(out: Float32, rows: SparseRows, W: Float32) -> None:
    """Add the product of sparse histories and a dense weight matrix to the scores (single-threaded).

    Parameters
    ----------
    out : ndarray of shape (n_users, n_items), float32
        The scores; updated in place.
    rows : SparseRows
        X, the entries of the users; weights are ignored.
    W : ndarray of shape (n_items, n_items), float32
        The weight of each item pair.
    """
    _add_dense()(out, rows.start, rows.columns, rows.values, W)


def add_low_rank(out: Float32, rows: SparseRows, vectors: Float32, response: Float32, scale: Float32) -> None:
    """Add the product of sparse histories and a weight matrix of low rank to the scores (single-threaded).

    Parameters
    ----------
    out : ndarray of shape (n_users, n_items), float32
        The scores; updated in place.
    rows : SparseRows
        The entries of the users; weights are ignored.
    vectors : ndarray of shape (n_items, width), float32
        V, one vector for each item.
    response : ndarray of shape (width,), float32
        h, the weight of each dimension.
    scale : ndarray of shape (n_items,), float32
        g, the factor of each item's scores.

    Notes
    -----
    The weight of item j in the score of item i is g_i sum_f h_f v_jf v_if.
    """
    _add_low_rank()(out, rows.start, rows.columns, rows.values, vectors, response, scale)


def damped_means(rows: SparseRows, bias: Float32, *, mean: float, damping: float) -> Float32:
    """Compute, for each row, the damped mean of the deviations of its values from the mean plus the column bias.

    Parameters
    ----------
    rows : SparseRows
        The entries x_rc and their weights w_rc.
    bias : ndarray of shape (n_columns,), float32
        The bias of each column.
    mean : float
        The global mean.
    damping : float
        A constant added to the denominator.

    Returns
    -------
    ndarray of shape (n_rows,), float32
        0 for an empty row.

    Notes
    -----
    ::

        sum_c w_rc (x_rc - mean - bias_c) / (damping + sum_c w_rc)

    References
    ----------
    Koren 2008, section 2.1.

    Examples
    --------
    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[5, 4], n_rows=2)
    >>> damped_means(rows, np.float32([0.5, -0.5]), mean=3.0, damping=1.0).tolist()            # (1.5 + 1.5) / (1 + 2)
    [1.0, 0.0]
    """
    out = np.empty(len(rows), np.float32)
    run = _damped_means()
    parallel_for(lambda cut: run(out, *_arrays(rows), bias, *cut, mean, damping), row_blocks(rows.start))
    return out


def _arrays(rows: SparseRows) -> tuple[object, ...]:
    weights = np.zeros(0, np.float32) if rows.weights is None else rows.weights
    return rows.start, rows.columns, rows.values, weights
