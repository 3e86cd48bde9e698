"""Scores of all items for a block of users, from similar items (item-item) or similar users (user-user).

With similarities s, which may be negative only in the second line, the kernels add these terms to the scores:

    items, ratings:  sum_j w_uj s_ij x_uj / (damping + sum_j w_uj s_ij)      j: the k items of u most similar to i
    items, events:   sum_j s_ij x_uj                                         j: all items of u
    users, ratings:  sum_v w_vi s_uv x_vi / (damping + sum_v w_vi s_uv)      v: the k users with i most similar to u
    users, events:   sum_v s_uv x_vi                                         v: as for ratings

For ratings, x is the rating minus its baseline.

Neighbors whose similarities are close to the k-th largest one share the remaining positions, so that scores are a
continuous function of the similarities, and do not depend on row numbers where similarities tie. With the closeness

    h_j = max(0, 1 - |s_j / s_(k) - 1| / BOUNDARY_WIDTH)

to the k-th largest similarity s_(k), the similarity s_j is multiplied by 1 - (1 - c) h_j for the k nearest neighbors
and by c h_j for the others, where c = sum_(j among the k nearest) h_j / sum_j h_j. The sum of these factors is k.

References: Koren 2008, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, Float64, Int32, Int64, row_starts
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for, row_blocks
from cofactor.kernels.sort import counting_sort
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "AVERAGE",
    "SUM",
    "NeighborLists",
    "add_by_users",
    "add_dense",
    "add_low_rank",
    "average_by_items",
    "average_of_pairs",
    "damped_means",
    "sum_by_items",
    "top_k_membership",
]

SUM, AVERAGE = 0, 1
"""Compile-time option for combining neighbors."""

CHUNK_SIZE = 32
"""Number of neighbors to look up between checks of the number found."""

MIN_BLOCK_USERS = 4
"""Minimum number of users for which scoring a block is faster than scoring single pairs."""

BOUNDARY_WIDTH = 2.0**-13
"""Maximum relative difference from the k-th largest similarity for partial weights.

It is about a hundred times the effect of rounding ratings to float32 on similarities. With a power of two, the kernels
compute the closeness, times this width and the k-th similarity, without rounding errors.
"""

ABOVE_BOUNDARY, BELOW_BOUNDARY = 1 + BOUNDARY_WIDTH, 1 - BOUNDARY_WIDTH

LOW_RANK_TILE = 256
"""Number of items whose vectors are multiplied with those of all users of a block, so that they stay in cache."""

_ROWS = "i8[::1] i4[::1] f4[::1] f4[::1] "  # start, columns, values, weights (empty: all 1)


@kernel(
    writes="f4[:, ::1]",
    reads=_ROWS + "i8[::1] i4[::1] f4[::1] i8[::1] i4[::1]",
    scalars="i8 f8",
)
def _average_by_items():
    """Add item-item averages to the scores `out` (n_users, n_items).

    Reads the entries of each user (`start`, `columns`, `values`, `weights`), the neighbors of each item in the order of
    `NeighborLists` (`list_start`, `neighbors`, `similarity`), and the items that have each item as a neighbor
    (`reverse_start`, `reverse_neighbors`), used to skip items without a neighbor in any history if these are few. Sums
    are float64, so that each product is exact.
    """

    def _average_by_items(
        out, start, columns, values, weights, list_start, neighbors, similarity, reverse_start, reverse_neighbors, k,
        damping,
    ):  # fmt: skip
        n_users, n_items = out.shape
        # the entries by item, and the number of similarities of all entries
        column_start = np.zeros(n_items + 1, np.int32)
        for e in range(start[0], start[n_users]):
            column_start[columns[e] + 1] += 1
        n_similarities = 0
        for j in range(n_items):
            n_similarities += column_start[j + 1] * (reverse_start[j + 1] - reverse_start[j])
            column_start[j + 1] += column_start[j]
        next_free = column_start[:-1].copy()
        user = np.empty(column_start[n_items], np.int32)
        entry = np.empty((column_start[n_items], 2), np.float32)  # value, weight
        for a in range(n_users):
            for e in range(start[a], start[a + 1]):
                t = next_free[columns[e]]
                next_free[columns[e]] += 1
                user[t] = a
                entry[t, 0] = values[e]
                entry[t, 1] = weights[e] if weights.shape[0] > 0 else np.float32(1)
        skip = np.zeros(n_items, np.bool_)
        if n_similarities < neighbors.shape[0]:
            skip[:] = True
            for j in range(n_items):
                if column_start[j + 1] > column_start[j]:
                    for t in range(reverse_start[j], reverse_start[j + 1]):
                        skip[reverse_neighbors[t]] = False
        state = np.empty((n_users, 4), np.float64)  # numerator, denominator, missing neighbors, 1 if any is missing
        # users for whom the neighbor after the k-th one is close to it, the position of the k-th one (else -1), and the
        # sums of closeness, numerator and denominator of less similar neighbors and of the k nearest ones
        close_users, kth_position = np.empty(n_users, np.int32), np.full(n_users, -1, np.int64)
        sums = np.empty((n_users, 2, 3), np.float64)
        for i in range(n_items):
            if skip[i]:
                continue
            first, last = list_start[i], list_start[i + 1]
            for a in range(n_users):
                state[a, 0] = 0.0
                state[a, 1] = damping
                state[a, 2] = k
                state[a, 3] = 1.0
            n_incomplete, n_close = n_users, 0
            for t in range(first, last):
                neighbor = np.uint32(neighbors[t])  # unsigned: numba then omits the code for negative indices
                s = similarity[t]
                for e in range(column_start[neighbor], column_start[neighbor + 1]):
                    owner = np.uint32(user[e])
                    ws = np.float64(s * entry[e, 1]) * state[owner, 3]
                    state[owner, 0] += ws * np.float64(entry[e, 0])
                    state[owner, 1] += ws
                    state[owner, 2] -= 1.0
                    if state[owner, 2] == 0.0:
                        state[owner, 3] = 0.0
                        n_incomplete -= 1
                        if t + 1 < last and similarity[t + 1] > s * BELOW_BOUNDARY:
                            close_users[n_close] = owner
                            kth_position[owner] = t
                            n_close += 1
                if n_incomplete == 0:
                    break
            if n_close > 0:
                low = high = kth_position[close_users[0]]
                for p in range(n_close):
                    sums[close_users[p]] = 0.0
                    low = min(low, kth_position[close_users[p]])
                    high = max(high, kth_position[close_users[p]])
                largest, smallest = similarity[low] * ABOVE_BOUNDARY, similarity[high] * BELOW_BOUNDARY
                while low > first and similarity[low - 1] < largest:
                    low -= 1
                while high < last and similarity[high] > smallest:
                    high += 1
                for t in range(low, high):
                    for e in range(column_start[neighbors[t]], column_start[neighbors[t] + 1]):
                        a = user[e]
                        if kth_position[a] < 0:
                            continue
                        kth = np.float64(similarity[kth_position[a]])
                        closeness = BOUNDARY_WIDTH * kth - abs(np.float64(similarity[t]) - kth)
                        if closeness > 0:
                            ws = closeness * np.float64(similarity[t] * entry[e, 1])
                            group = 1 if t <= kth_position[a] else 0
                            sums[a, group, 0] += closeness
                            sums[a, group, 1] += ws * np.float64(entry[e, 0])
                            sums[a, group, 2] += ws
                for p in range(n_close):
                    a = close_users[p]
                    share = sums[a, 1, 0] / (sums[a, 0, 0] + sums[a, 1, 0])
                    unit = BOUNDARY_WIDTH * np.float64(similarity[kth_position[a]])
                    state[a, 0] += (share * sums[a, 0, 1] - (1.0 - share) * sums[a, 1, 1]) / unit
                    state[a, 1] += (share * sums[a, 0, 2] - (1.0 - share) * sums[a, 1, 2]) / unit
                    kth_position[a] = -1
            for a in range(n_users):
                if state[a, 1] > 0:
                    out[a, i] += np.float32(state[a, 0] / state[a, 1])

    return _average_by_items


@kernel(
    writes="f4[::1]",
    reads="i8[::1] i4[::1] " + _ROWS + "i8[::1] i4[::1] f4[::1]",
    scalars="i8 i8 i8 f8",
)
def _average_of_pairs():
    """Add item-item averages to the scores `out` (n_pairs,) of some items of users first..last-1.

    Reads the pairs of each user (`pair_start`, `items`), and the other arrays as in `_average_by_items`.
    """

    def _average_of_pairs(
        out, pair_start, items, start, columns, values, weights, list_start, neighbors, similarity, first, last, k,
        damping,
    ):  # fmt: skip
        n_items, weighted = list_start.shape[0] - 1, weights.shape[0] > 0
        entry_of, has_entry = np.zeros(n_items, np.int64), np.zeros(n_items, np.int8)  # the user's entry for each item
        matches = np.empty(n_items + CHUNK_SIZE, np.int64)
        sums = np.empty((2, 3), np.float64)  # of closeness, numerator and denominator: other and nearest neighbors
        for a in range(first, last):
            for e in range(start[a], start[a + 1]):
                entry_of[columns[e]] = e
                has_entry[columns[e]] = 1
            for q in range(pair_start[a], pair_start[a + 1]):
                low, high = list_start[items[q]], list_start[items[q] + 1]
                n_matches, t = 0, low
                while t < high and n_matches < k:
                    stop = min(t + CHUNK_SIZE, high)
                    for p in range(t, stop):
                        matches[n_matches] = p  # overwritten by the next one unless the user has it: avoids a branch
                        n_matches += has_entry[np.uint32(neighbors[p])]
                    t = stop
                n_matches = min(n_matches, k)
                numerator, denominator = 0.0, damping
                for p in range(n_matches):
                    s, e = similarity[matches[p]], entry_of[neighbors[matches[p]]]
                    ws = np.float64(s * weights[e] if weighted else s)
                    numerator += ws * np.float64(values[e])
                    denominator += ws
                last_match = matches[k - 1] if n_matches == k else high
                if last_match + 1 < high and similarity[last_match + 1] > similarity[last_match] * BELOW_BOUNDARY:
                    kth = np.float64(similarity[last_match])
                    sums[:] = 0.0
                    t = last_match
                    while t > low and similarity[t - 1] < kth * ABOVE_BOUNDARY:
                        t -= 1
                    while t < high and similarity[t] > kth * BELOW_BOUNDARY:
                        if has_entry[neighbors[t]]:
                            e = entry_of[neighbors[t]]
                            closeness = BOUNDARY_WIDTH * kth - abs(np.float64(similarity[t]) - kth)
                            if closeness > 0:
                                ws = closeness * np.float64(similarity[t] * weights[e] if weighted else similarity[t])
                                group = 1 if t <= last_match else 0
                                sums[group, 0] += closeness
                                sums[group, 1] += ws * np.float64(values[e])
                                sums[group, 2] += ws
                        t += 1
                    share = sums[1, 0] / (sums[0, 0] + sums[1, 0])
                    unit = BOUNDARY_WIDTH * kth
                    numerator += (share * sums[0, 1] - (1.0 - share) * sums[1, 1]) / unit
                    denominator += (share * sums[0, 2] - (1.0 - share) * sums[1, 2]) / unit
                if denominator > 0:
                    out[q] += np.float32(numerator / denominator)
            for e in range(start[a], start[a + 1]):
                has_entry[columns[e]] = 0

    return _average_of_pairs


@kernel(writes="f4[:, ::1]", reads="i8[::1] i4[::1] f4[::1] i8[::1] i4[::1] f4[::1]")
def _sum_by_items():
    """Add the sum of s_ij x_aj over the entries j of user a to out[a, i], in the order of the entries."""

    def _sum_by_items(out, start, columns, values, similarity_row_start, similarity_columns, similarity_values):
        for a in range(out.shape[0]):
            for e in range(start[a], start[a + 1]):
                x = values[e]
                for t in range(similarity_row_start[columns[e]], similarity_row_start[columns[e] + 1]):
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
        touched_items = np.empty(n_items, np.int32)
        numerator, denominator = np.empty(n_items, np.float32), np.empty(n_items, np.float32)
        kth_position = np.empty(n_items, np.int32)  # position of the k-th neighbor with the item
        # items with further neighbors close to the k-th one: sums of closeness, numerator and denominator, of the
        # less similar neighbors and of the k nearest ones
        is_close, close_items = np.zeros(n_items, np.bool_), np.empty(n_items, np.int32)
        sums = np.empty((n_items, 2, 3), np.float64)
        is_needed = np.empty(width, np.bool_)
        for a in range(out.shape[0]):
            m = n_close = 0
            for q in range(width):
                v, s = neighbors[a, q], similarity[a, q]
                if v < 0:
                    break
                for e in range(start[v], start[v + 1]):
                    i = columns[e]
                    if count[i] == k:
                        if s > similarity[a, kth_position[i]] * BELOW_BOUNDARY and not is_close[i]:
                            is_close[i] = True
                            close_items[n_close] = i
                            n_close += 1
                        continue
                    if count[i] == 0:
                        touched_items[m] = i
                        m += 1
                        numerator[i] = np.float32(0)
                        denominator[i] = damping
                    count[i] += 1
                    kth_position[i] = q
                    ws = s * weights[e] if weighted else s
                    numerator[i] += ws * values[e]
                    denominator[i] += ws
            if n_close > 0:
                is_needed[:] = False
                for p in range(n_close):
                    sums[close_items[p]] = 0.0
                    q = kth_position[close_items[p]]
                    kth = similarity[a, q]
                    while q > 0 and similarity[a, q - 1] < kth * ABOVE_BOUNDARY:
                        q -= 1
                    while q < width and similarity[a, q] > kth * BELOW_BOUNDARY:
                        is_needed[q] = True
                        q += 1
                for q in range(width):
                    if not is_needed[q]:
                        continue
                    v, s = neighbors[a, q], similarity[a, q]
                    for e in range(start[v], start[v + 1]):
                        i = columns[e]
                        if not is_close[i]:
                            continue
                        kth = np.float64(similarity[a, kth_position[i]])
                        closeness = BOUNDARY_WIDTH * kth - abs(np.float64(s) - kth)
                        if closeness > 0:
                            ws = closeness * np.float64(s * weights[e] if weighted else s)
                            group = 1 if q <= kth_position[i] else 0
                            sums[i, group, 0] += closeness
                            sums[i, group, 1] += ws * np.float64(values[e])
                            sums[i, group, 2] += ws
                for p in range(n_close):
                    i = close_items[p]
                    share = sums[i, 1, 0] / (sums[i, 0, 0] + sums[i, 1, 0])
                    unit = BOUNDARY_WIDTH * np.float64(similarity[a, kth_position[i]])
                    numerator[i] += np.float32((share * sums[i, 0, 1] - (1.0 - share) * sums[i, 1, 1]) / unit)
                    denominator[i] += np.float32((share * sums[i, 0, 2] - (1.0 - share) * sums[i, 1, 2]) / unit)
                    is_close[i] = False
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


@dataclass(frozen=True, eq=False)
class NeighborLists:
    """Neighbors of each item, most similar first, and the reverse index: the neighbor lists in which each item appears.

    Attributes
    ----------
    start : ndarray of shape (n_items + 1,), int64
        The list of item i contains the positions from start[i] to start[i + 1] - 1; it may be empty.
    neighbors : ndarray of shape (n,), int32
        The items j, most similar first; equal similarities are in the order of row numbers.
    similarity : ndarray of shape (n,), float32
        s_ij > 0.
    reverse_start : ndarray of shape (n_items + 1,), int64
        The lists that contain item j are those of reverse_neighbors[reverse_start[j]:reverse_start[j + 1]].
    reverse_neighbors : ndarray of shape (n,), int32
        Item row numbers.
    """

    start: Int64
    neighbors: Int32
    similarity: Float32
    reverse_start: Int64
    reverse_neighbors: Int32

    @classmethod
    def of(cls, similarities: SparseRows) -> NeighborLists:
        """Create the lists from a matrix of similarities.

        Parameters
        ----------
        similarities : SparseRows
            Row j contains the items i that have j as a neighbor (as columns), and s_ij > 0 (as values).

        Returns
        -------
        NeighborLists

        Examples
        --------
        >>> lists = NeighborLists.of(SparseRows.of(rows=[0, 1], columns=[2, 2], values=[0.25, 0.5], n_rows=3))
        >>> lists.start.tolist(), lists.neighbors.tolist(), lists.similarity.tolist()
        ([0, 0, 0, 2], [1, 0], [0.5, 0.25])
        """
        descending = np.argsort(-similarities.values, kind="stable")
        start, order = counting_sort(similarities.columns[descending], len(similarities))
        order = descending[order]
        return cls(
            start, similarities.owners[order], similarities.values[order], similarities.start, similarities.columns
        )


def average_by_items(out: Float32, rows: SparseRows, lists: NeighborLists, *, k: int, damping: float) -> None:
    """Add similarity-weighted averages over the k nearest items in each user's history to the scores (single-threaded).

    Parameters
    ----------
    out : ndarray of shape (n_users, n_items), float32
        The scores; updated in place.
    rows : SparseRows
        The entries of the users; the scores of a user without entries do not change.
    lists : NeighborLists
        The neighbors of each item.
    k : int
        The maximum number of neighbors.
    damping : float
        A constant added to the denominator.

    Notes
    -----
    See the first equation in the module docstring.
    """
    if len(rows) >= MIN_BLOCK_USERS:
        _average_by_items()(
            out, *_arrays(rows), lists.start, lists.neighbors, lists.similarity, lists.reverse_start,
            lists.reverse_neighbors, k,
            damping,
        )  # fmt: skip
        return
    users, items = _items_with_neighbors(rows, lists)
    scores = out[users, items]
    pair_start = row_starts(np.bincount(users, minlength=len(rows)))
    _average_of_pairs()(
        scores, pair_start, items, *_arrays(rows), lists.start, lists.neighbors, lists.similarity, 0, len(rows), k,
        damping,
    )  # fmt: skip
    out[users, items] = scores


def _items_with_neighbors(rows: SparseRows, lists: NeighborLists) -> tuple[Int64, Int32]:
    """Return user-item pairs, including every pair in which the user's history contains a neighbor of the item."""
    n_users, n_items = len(rows), len(lists.start) - 1
    has_neighbor = np.zeros((n_users, n_items), bool)
    low, high = lists.reverse_start[rows.columns], lists.reverse_start[rows.columns + 1]
    if (high - low).sum() >= len(lists.neighbors):  # more than a look at all lists
        has_neighbor[:] = True
    else:
        for a, first, last in zip(rows.owners, low, high, strict=True):
            has_neighbor[a, lists.reverse_neighbors[first:last]] = True
    users, items = np.nonzero(has_neighbor)
    return users, items.astype(np.int32)


def average_of_pairs(
    out: Float32, pair_start: Int64, items: Int32, rows: SparseRows, lists: NeighborLists, *, k: int, damping: float
) -> None:
    """Add the averages of `average_by_items` to the scores of some items of each user.

    Parameters
    ----------
    out : ndarray of shape (n_pairs,), float32
        The scores; updated in place.
    pair_start : ndarray of shape (n_users + 1,), int64
        The pairs of user a are those from pair_start[a] to pair_start[a + 1] - 1.
    items : ndarray of shape (n_pairs,), int32
        The item of each pair.
    rows : SparseRows
        The entries of the users.
    lists : NeighborLists
        The neighbors of each item.
    k : int
        The maximum number of neighbors.
    damping : float
        A constant added to the denominator.
    """
    run = _average_of_pairs()
    parallel_for(
        lambda block: run(
            out, pair_start, items, *_arrays(rows), lists.start, lists.neighbors, lists.similarity, *block, k, damping
        ),
        row_blocks(pair_start),
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
    """Return the weight of each similarity: 1 above the k-th largest, 0 below it, with a smooth transition near it.

    See the module docstring.

    Parameters
    ----------
    similarity : ndarray of shape (n,), float64
        Similarities, at least 0.
    k : int
        The number of largest similarities.

    Returns
    -------
    ndarray of shape (n,), float64
        Values from 0 to 1, whose sum is k if more than k similarities are positive; otherwise 1.

    Examples
    --------
    >>> top_k_membership(np.array([0.5, 0.9, 0.5, 0.1, 0.5]), 3).round(2).tolist()
    [0.67, 1.0, 0.67, 0.0, 0.67]
    """
    if np.count_nonzero(similarity) <= k:
        return np.ones(len(similarity))
    nearest = np.argsort(-similarity, kind="stable")[:k]
    closeness = np.maximum(1 - np.abs(similarity / similarity[nearest[-1]] - 1) / BOUNDARY_WIDTH, 0)
    share = closeness[nearest].sum() / closeness.sum()
    membership: Float64 = share * closeness
    membership[nearest] += 1 - closeness[nearest]
    return membership


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
    """Add the product of sparse histories and a low-rank weight matrix to the scores (single-threaded).

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
    """Compute the damped bias of each row: the damped mean of `value - mean - column bias` over its entries.

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
