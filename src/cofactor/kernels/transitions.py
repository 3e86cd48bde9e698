"""Transitions between the items of a user's history: chronological order, and directed co-occurrence counts.

The count of the transition from item j to item i sums over the pairs of entries of the users who have both:

    c_ji = sum_u sqrt(x_uj x_ui) g^-gap_power * (1 if j is earlier, backward if j is later)

where g >= 1 is the number of places from one entry to the other in chronological order, and the root of a negative
product is negative. Simultaneous entries share the mean of their places, and a pair of them counts (1 + backward) / 2.
Pairs that are more than `MAX_GAP` places apart are skipped, so that the work is proportional to the number of entries.
"""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, contiguous
from cofactor.kernels.compile import kernel
from cofactor.kernels.neighbors import NO_ROW, best_candidates
from cofactor.kernels.parallel import parallel_map, row_blocks
from cofactor.kernels.sort import counting_sort
from cofactor.kernels.sparse import SparseRows

__all__ = ["time_order", "transitions"]

MAX_GAP = 50
"""Maximum distance, in positions, between the two entries of a pair."""


@kernel(
    writes="i4[:, ::1] f4[:, ::1]",
    reads="i8[::1] i8[::1] i8[::1] i4[::1] i4[::1] i8[::1] f8[::1] f8[::1] f8[::1] f8[::1] f8[::1]",
    scalars="i8 i8",
)
def _transitions():
    """Write a heap of the items with the largest weights for each of the source items first..last-1.

    Writes the item numbers `targets` and their `weights`, both (last - first, n). Reads the entries of each item
    (`item_start`, `entries`), the entries of each user in chronological order (`start`, `owner`, `columns`, twice the
    rank of each entry, and the signed root of its value), the factors of pairs by twice the difference of their ranks
    (`forward`, `reverse`), and the factors of the source and of the target item.
    """
    from cofactor.kernels import topk_heap

    def _transitions(
        targets, weights,
        item_start, entries, start, owner, columns, rank, root, forward, reverse, source_factor, target_factor,
        first, last,
    ):  # fmt: skip
        n_items = target_factor.shape[0]
        sums = np.zeros(n_items, np.float64)
        last_source = np.full(n_items, -1, np.int32)
        seen = np.empty(n_items, np.int32)
        for j in range(first, last):
            m = 0
            for t in range(item_start[j], item_start[j + 1]):
                e = entries[t]
                for step in (1, -1):
                    factors = forward if step == 1 else reverse
                    end = start[owner[e] + 1] if step == 1 else start[owner[e]] - 1
                    for f in range(e + step, end, step):
                        gap = abs(rank[f] - rank[e])
                        if gap >= factors.shape[0]:
                            break
                        i = columns[f]
                        if last_source[i] != j:
                            last_source[i] = j
                            seen[m] = i
                            m += 1
                            sums[i] = 0.0
                        sums[i] += root[e] * root[f] * factors[gap]
            for q in range(m):
                i = seen[q]
                weight = np.float32(sums[i] * source_factor[j] * target_factor[i])
                if weight > 0:
                    topk_heap.replace_worst(weights, targets, j - first, weight, i)

    return _transitions


def time_order(rows: SparseRows) -> tuple[Int64, Int64]:
    """Count, for each entry, the later and the simultaneous entries in its row.

    Parameters
    ----------
    rows : SparseRows
        Matrix with n entries; without times, all entries of a row are simultaneous.

    Returns
    -------
    n_later : ndarray of shape (n,), int64
        Number of entries in the same row with a later time.
    n_tied : ndarray of shape (n,), int64
        Number of entries in the same row with the same time, including the entry itself.

    Examples
    --------
    >>> rows = SparseRows.of([0, 0, 0], [0, 1, 2], [1, 1, 1], n_rows=1, times=[40, 60, 40])
    >>> n_later, n_tied = time_order(rows)
    >>> n_later.tolist(), n_tied.tolist()
    ([1, 0, 1], [2, 1, 2])
    """
    if rows.times is None:
        return np.zeros(len(rows.columns), np.int64), np.repeat(rows.counts, rows.counts)
    owner = rows.owners
    order = np.lexsort((rows.times, owner))
    times = rows.times[order]
    is_first = np.concatenate([np.ones(1, bool), (owner[1:] != owner[:-1]) | (times[1:] != times[:-1])])[: len(times)]
    group = np.cumsum(is_first) - 1
    size = np.bincount(group)
    n_later, n_tied = np.empty((2, len(times)), np.int64)
    n_later[order] = rows.start[owner + 1] - np.cumsum(size)[group]
    n_tied[order] = size[group]
    return n_later, n_tied


def transitions(
    rows: SparseRows,
    n_items: int,
    *,
    gap_power: float,
    backward: float,
    source_power: float,
    target_power: float,
    n: int,
) -> SparseRows:
    """Compute the weights of the transitions between items: directed counts, divided by powers of the popularity.

    Parameters
    ----------
    rows : SparseRows
        Signed confidences x of each user, with times.
    n_items : int
        The number of items.
    gap_power : float
        Power of the number of places between two entries, by which their pair is divided, at least 0.
    backward : float
        Factor for the transition to an earlier entry, from 0 to 1.
    source_power, target_power : float
        Powers of the popularity p, the sum of the magnitudes of x.
    n : int
        The maximum number of transitions from each item; see `best_candidates`.

    Returns
    -------
    SparseRows
        Row j contains the items i and the positive weights c_ji / (p_j^source_power p_i^target_power).

    Notes
    -----
    See the equation of c_ji in the module docstring.

    Examples
    --------
    >>> rows = SparseRows.of([0, 0], [0, 1], [1, 1], n_rows=1, times=[1, 2])
    >>> weights = transitions(rows, 2, gap_power=1, backward=0.25, source_power=0.5, target_power=0.5, n=2)
    >>> weights.row(0).columns.tolist(), weights.row(0).values.tolist(), weights.row(1).values.tolist()
    ([1], [1.0], [0.25])
    """
    n_later, n_tied = time_order(rows)
    owner = rows.owners
    order = np.lexsort((-n_later, owner))
    rank = (2 * (rows.start[owner + 1] - n_later) - n_tied)[order]
    columns, x = rows.columns[order], rows.values[order].astype(np.float64)
    root = np.sign(x) * np.sqrt(np.abs(x))
    item_start, entries = counting_sort(columns, n_items)
    popularity = np.bincount(columns, np.abs(x), minlength=n_items)
    popularity = np.where(popularity > 0, popularity, 1.0)
    forward = np.maximum(np.arange(2 * MAX_GAP + 1) / 2, 1) ** -gap_power
    reverse = backward * forward
    forward[0] = reverse[0] = (1 + backward) / 2
    factors = popularity**-source_power, popularity**-target_power

    def search(cut: tuple[int, int]) -> SparseRows:
        targets = np.full((cut[1] - cut[0], n + 1), NO_ROW, np.int32)
        weights = np.zeros(targets.shape, np.float32)
        _transitions()(
            targets, weights,
            item_start, entries, rows.start, owner, columns, rank, root, forward, reverse, *factors, *cut,
        )  # fmt: skip
        return _nonzero_rows(*best_candidates(targets, weights, n))

    parts = parallel_map(search, row_blocks(item_start, rows=1 << 10))
    return SparseRows.from_counts(
        np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)]),
        np.concatenate([np.zeros(0, np.int32), *(part.columns for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.values for part in parts)]),
    )


def _nonzero_rows(targets: Int32, weights: Float32) -> SparseRows:
    """Return the candidates of each row as a sparse matrix; padding is dropped."""
    row, column = np.nonzero(targets >= 0)
    return SparseRows.of(row, targets[row, column], contiguous(weights[row, column], np.float32), len(targets))
