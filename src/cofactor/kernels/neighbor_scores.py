"""Scores of all items for a few users at a time, from similar items or from similar users.

Added to what the scores are, with s > 0 the similarities:

    items, ratings:  sum_j w_uj s_ij x_uj / (damping + sum_j w_uj s_ij)      j: the k most similar among the items u has
    items, events:   sum_j s_ij x_uj                                         j: all of them
    users, ratings:  sum_v w_vi s_uv x_vi / (damping + sum_v w_vi s_uv)      v: the k most similar who have i
    users, events:   sum_v s_uv x_vi                                         v: the same

For ratings, x is what a rating has above its baseline. Where the k-th similarity ties with others, those that tie share
the places that are left, so that no score depends on row numbers. Source: Koren 2008, section 2.2.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64, Int32
from cofactor.kernels.compile import kernel
from cofactor.kernels.neighbors import TIED
from cofactor.kernels.parallel import for_each, row_blocks
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "AVERAGE",
    "SUM",
    "add_by_users",
    "add_dense",
    "average_by_items",
    "damped_means",
    "places_of",
    "sum_by_items",
]

SUM, AVERAGE = 0, 1
"""The compile-time choice of how users are put together."""

ABOVE, WITHIN = np.float32(1 + TIED), np.float32(1 - TIED)

_ROWS = "i8[::1] i4[::1] f4[::1] f4[::1] "  # start, columns, values, weights (empty: all 1)


@kernel(writes="f4[:, ::1]", reads=_ROWS + "i8[::1] i4[::1] f4[::1]", numbers="i8 f4")
def _average_by_items():
    """Adds averages to out (n_users, n_items); row a holds a user's entries, row j of the links all i and s_ij."""

    def _average_by_items(
        out, start, columns, values, weights, link_start, link_columns, link_values, k, damping
    ):  # fmt: skip
        n_items = out.shape[1]
        weighted = weights.shape[0] > 0
        count = np.zeros(n_items, np.int32)
        first = np.empty(n_items, np.int64)
        met = np.empty(n_items, np.int32)
        above, below = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        tied_above, tied_below = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        tied = np.empty(n_items, np.int32)
        least = np.empty(n_items, np.float32)  # the k-th similarity, 0 where there are fewer
        slots = np.empty(0, np.float32)  # the k largest similarities of every item met, the largest first
        for a in range(out.shape[0]):
            m = 0
            for e in range(start[a], start[a + 1]):
                for t in range(link_start[columns[e]], link_start[columns[e] + 1]):
                    i = link_columns[t]
                    if count[i] == 0:
                        met[m] = i
                        m += 1
                    count[i] += 1
            total = 0
            for q in range(m):
                i = met[q]
                first[i] = total
                total += min(count[i], k)
                count[i] = 0
            if total > slots.shape[0]:
                slots = np.empty(total, np.float32)
            for e in range(start[a], start[a + 1]):
                for t in range(link_start[columns[e]], link_start[columns[e] + 1]):
                    i = link_columns[t]
                    s = link_values[t]
                    filled = count[i]
                    base = first[i]
                    if filled == k:
                        if s <= slots[base + k - 1]:
                            continue
                        filled -= 1
                    else:
                        count[i] += 1
                    while filled > 0 and slots[base + filled - 1] < s:
                        slots[base + filled] = slots[base + filled - 1]
                        filled -= 1
                    slots[base + filled] = s
            for q in range(m):
                i = met[q]
                least[i] = slots[first[i] + k - 1] if count[i] == k else np.float32(0)
                above[i] = tied_above[i] = tied_below[i] = np.float32(0)
                below[i] = damping
                count[i] = tied[i] = 0
            for e in range(start[a], start[a + 1]):
                w = weights[e] if weighted else np.float32(1)
                for t in range(link_start[columns[e]], link_start[columns[e] + 1]):
                    i = link_columns[t]
                    s = link_values[t]
                    ws = s * w
                    if s > least[i] * ABOVE:
                        above[i] += ws * values[e]
                        below[i] += ws
                        count[i] += 1
                    elif s >= least[i] * WITHIN:
                        tied_above[i] += ws * values[e]
                        tied_below[i] += ws
                        tied[i] += 1
            for q in range(m):
                i = met[q]
                if tied[i] > 0:
                    share = np.float32(k - count[i]) / np.float32(tied[i])
                    above[i] += share * tied_above[i]
                    below[i] += share * tied_below[i]
                if below[i] > 0:
                    out[a, i] += above[i] / below[i]
                count[i] = 0

    return _average_by_items


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] i8[::1] i4[::1] f4[::1]")
def _sum_by_items():
    """out[a, i] += sum over a's entries j of s_ij x_aj, in the order of the entries."""

    def _sum_by_items(out, start, columns, values, link_start, link_columns, link_values):
        for a in range(out.shape[0]):
            for e in range(start[a], start[a + 1]):
                x = values[e]
                for t in range(link_start[columns[e]], link_start[columns[e] + 1]):
                    out[a, link_columns[t]] += x * link_values[t]

    return _sum_by_items


@kernel(writes="f4[:, ::1]", reads="i4[:, ::1] f4[:, ::1] " + _ROWS, numbers="i8 f4")
def _add_by_users(rule: int):
    """Adds to out (n_users, n_items); row a's neighbors (-1: no more) stand best first, and the rows are theirs."""

    def _add_by_users(out, neighbors, likeness, start, columns, values, weights, k, damping):
        n_items, width = out.shape[1], neighbors.shape[1]
        weighted = weights.shape[0] > 0
        count = np.zeros(n_items, np.int32)  # neighbors that count: k where no more do
        tied = np.zeros(n_items, np.int32)  # neighbors in a group of equal similarity
        met = np.empty(n_items, np.int32)
        above, below = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        for a in range(out.shape[0]):
            m, q = 0, 0
            while q < width and neighbors[a, q] >= 0:
                least, end = likeness[a, q] * WITHIN, q + 1
                while end < width and neighbors[a, end] >= 0 and likeness[a, end] >= least:
                    end += 1
                alone = end == q + 1
                if not alone:
                    for p in range(q, end):
                        for e in range(start[neighbors[a, p]], start[neighbors[a, p] + 1]):
                            i = columns[e]
                            if count[i] == 0 and tied[i] == 0:
                                met[m] = i
                                m += 1
                                above[i] = np.float32(0)
                                below[i] = damping
                            tied[i] += 1
                for p in range(q, end):
                    v, s = neighbors[a, p], likeness[a, p]
                    for e in range(start[v], start[v + 1]):
                        i = columns[e]
                        if count[i] == k:
                            continue
                        ws = s * weights[e] if weighted else s
                        if alone:
                            if count[i] == 0:
                                met[m] = i
                                m += 1
                                above[i] = np.float32(0)
                                below[i] = damping
                            count[i] += 1
                        elif count[i] + tied[i] > k:
                            ws *= np.float32(k - count[i]) / np.float32(tied[i])
                        above[i] += ws * values[e]
                        below[i] += ws
                if not alone:
                    for p in range(q, end):
                        for e in range(start[neighbors[a, p]], start[neighbors[a, p] + 1]):
                            i = columns[e]
                            count[i] = min(k, count[i] + tied[i])
                            tied[i] = 0
                q = end
            for q in range(m):
                i = met[q]
                if rule == SUM:
                    out[a, i] += above[i]
                elif below[i] > 0:
                    out[a, i] += above[i] / below[i]
                count[i] = 0

    return _add_by_users


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] f4[:, ::1]")
def _add_dense():
    """out[a] += sum over a's entries j of x_aj W[j], in the order of the entries."""

    def _add_dense(out, start, columns, values, W):
        for a in range(out.shape[0]):
            for e in range(start[a], start[a + 1]):
                j = columns[e]
                x = values[e]
                for i in range(W.shape[1]):
                    out[a, i] += x * W[j, i]

    return _add_dense


@kernel(writes="f4[::1]", reads=_ROWS + "f4[::1]", numbers="i8 i8 f8 f8")
def _damped_means():
    """out[r] = sum_c w_rc (x_rc - mean - bias_c) / (damping + sum_c w_rc) for rows first..last-1; 0 without weight."""

    def _damped_means(out, start, columns, values, weights, bias, first, last, mean, damping):
        weighted = weights.shape[0] > 0
        for r in range(first, last):
            above, below = np.float64(0), damping
            for e in range(start[r], start[r + 1]):
                w = np.float64(weights[e]) if weighted else 1.0
                above += w * (np.float64(values[e]) - mean - np.float64(bias[columns[e]]))
                below += w
            out[r] = np.float32(above / below) if below > 0 else np.float32(0)

    return _damped_means


def average_by_items(out: Float32, rows: SparseRows, links: SparseRows, *, k: int, damping: float) -> None:
    """Adds the averages over each user's k most similar items to out (n_users, n_items), on the calling thread.

    rows: the users' entries; links: row j holds the items i that have j as a neighbor, with s_ij > 0.
    """
    _average_by_items()(out, *_arrays(rows), links.start, links.columns, links.values, k, np.float32(damping))


def sum_by_items(out: Float32, rows: SparseRows, links: SparseRows) -> None:
    """Adds the sums over each user's items to out (n_users, n_items) float32, on the calling thread.

    rows, links: as in `average_by_items`; the rows' weights are not looked at.
    """
    _sum_by_items()(out, rows.start, rows.columns, rows.values, links.start, links.columns, links.values)


def add_by_users(
    out: Float32, neighbors: Int32, likeness: Float32, rows: SparseRows, *, rule: int, k: int, damping: float
) -> None:
    """Adds each user's neighbor scores to out (n_users, n_items) float32, on the calling thread.

    neighbors (n_users, width) int32: rows of `rows`, best first, -1 from where there are no more; likeness float32, the
    same shape. rule: SUM (damping is not looked at) or AVERAGE.
    """
    _add_by_users(rule)(out, neighbors, likeness, *_arrays(rows), k, np.float32(damping))


def places_of(similarity: Float64, k: int) -> Float64:
    """How much each counts among the k largest: (n,) float64.

    1 above the k-th largest, 0 below it; those that tie with it share the places that are left.

    >>> places_of(np.array([0.5, 0.9, 0.5, 0.1, 0.5]), 3).round(2).tolist()
    [0.67, 1.0, 0.67, 0.0, 0.67]
    """
    if len(similarity) <= k:
        return np.ones(len(similarity))
    least = -np.partition(-similarity, k - 1)[k - 1]
    above = similarity > least * (1 + TIED)
    tied = ~above & (similarity >= least * (1 - TIED))
    share: Float64 = above + tied * ((k - above.sum()) / tied.sum())
    return share


def add_dense(out: Float32, rows: SparseRows, W: Float32) -> None:
    """out (n_users, n_items) += X W, X the users' entries and W (n_items, n_items), on the calling thread."""
    _add_dense()(out, rows.start, rows.columns, rows.values, W)


def damped_means(rows: SparseRows, bias: Float32, *, mean: float, damping: float) -> Float32:
    """Each row's damped mean of what its entries have above mean + bias: (n_rows,) float32, 0 for an empty row.

        sum_c w_rc (x_rc - mean - bias_c) / (damping + sum_c w_rc)

    bias (n_columns,) float32. Source: Koren 2008, section 2.1.

    >>> rows = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[5, 4], n_rows=2)
    >>> damped_means(rows, np.float32([0.5, -0.5]), mean=3.0, damping=1.0).tolist()            # (1.5 + 1.5) / (1 + 2)
    [1.0, 0.0]
    """
    out = np.empty(len(rows), np.float32)
    run = _damped_means()
    for_each(lambda cut: run(out, *_arrays(rows), bias, *cut, mean, damping), row_blocks(rows.start))
    return out


def _arrays(rows: SparseRows) -> tuple[object, ...]:
    weights = np.zeros(0, np.float32) if rows.weights is None else rows.weights
    return rows.start, rows.columns, rows.values, weights
