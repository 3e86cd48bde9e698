"""Exact top n items for each user in large catalogs, from clusters of item vectors.

A cluster has a center m and a radius, the largest distance |q - m| of its items. By the Cauchy-Schwarz inequality, the
score of each of its items is at most

    p . m + |p| radius + max b

Clusters are searched in descending order of this bound, until it is below the score of the worst item in the list.
The items of a cluster are screened by codes of one byte per factor, as in `topk`, and the scores of the remaining
items are computed by `topk_heap.score`. Lists are therefore bitwise identical to those of `topk.top_items`.

If many items are similar, as in most large catalogs, only a small part of them is screened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Bool, Float32, Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.item_clusters import ItemClusters
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.topk import NO_ROW, first_allowed, rounding_margins, sort_lists

__all__ = ["ItemShift", "top_items_of_clusters"]

USERS_PER_TASK = 16
"""The number of users that are ranked with the same buffers."""

BEST_FIRST = 1 << 14
"""The number of items that are screened by descending bound of their clusters, to find a threshold. The others are
screened in the order of positions, which takes less time per item."""

FEW = 256
"""All allowed items are scored, without a search, if they are less than a 256th of the catalog."""

PREFETCH_ROWS = 16
"""The number of items between the one that is scored and the one whose factors are loaded."""


@dataclass(frozen=True, eq=False)
class ItemShift:
    """Differences of item biases for some users, with their largest values.

    Attributes
    ----------
    values : ndarray of shape (n_items,), float32
        The difference for each item row; an empty array means none.
    max_of_clusters : ndarray of shape (n_clusters,), float32
        The largest difference in each cluster.
    largest : float32
        The largest absolute difference.
    """

    values: Float32
    max_of_clusters: Float32
    largest: np.float32

    @classmethod
    def of(cls, values: Float32, clusters: ItemClusters) -> ItemShift:
        """Create the shift from the difference for each item row.

        Parameters
        ----------
        values : ndarray of shape (n_items,), float32
            The differences.
        clusters : ItemClusters
            The items.

        Returns
        -------
        ItemShift
        """
        return cls(values, clusters.largest(values), np.abs(values).max(initial=np.float32(0)))


NO_SHIFT = ItemShift(np.zeros(0, np.float32), np.zeros(0, np.float32), np.float32(0))
"""The shift of models without shifted biases."""


@kernel(
    writes="f4[:, ::1] i4[:, ::1] f4[::1] i4[::1] i8[::1]",
    reads="f4[:, ::1] f4[:, ::1] f4[::1] f4[::1] i4[::1] i8[::1] f4[:, ::1] f4[::1] f4[::1] f4[::1] i1[:, ::1] f4[::1]"
    " f4[::1] i4[::1] b1[::1]",
    scalars="i8 i8 f4 f4 f4",
)
def _search(width: int):
    """Merge the items of the clusters that may contain one of the top n items of user a into the heap of the user.

    Writes `heap_score` and `heap_row` (n_users, n), with the worst item at the root; `bound` and `queue` (n_clusters,),
    a heap of clusters with the highest bound at the root; and the number of screened items to `n_screened[a]`. Reads
    the user factors P, the arrays of `ItemClusters`, `shift` (by item row, or empty) and the largest bias and shift of
    each cluster, the sorted `seen` items and the mask `allowed`, the number of items to screen by descending bound, the
    `weight` of the shift, the norm |p|, and the rounding `margin`.
    """
    from cofactor.kernels import topk_heap

    def _search(
        heap_score, heap_row, bound, queue, n_screened,
        P, factors, bias, shift, rows, start, centers, radius, max_bias, max_shift, codes, scale, error, seen, allowed,
        a, best_first, weight, norm, margin,
    ):  # fmt: skip
        n_clusters = start.shape[0] - 1
        best = 0
        for c in range(n_clusters):
            dot = np.float32(0)
            for d in range(width):
                dot += P[a, d] * centers[c, d]
            highest_bias = max_bias[c]
            if shift.shape[0] > 0:
                highest_bias += weight * max_shift[c]
            bound[c] = dot + norm * radius[c] + highest_bias
            if bound[c] > bound[best]:
                best = c
        cutoff = heap_score[a, 0] - margin
        n_left, next_cluster, is_first = 0, 0, True
        while next_cluster < n_clusters:
            if is_first:  # the best cluster usually sets a threshold that few other clusters reach
                c = best
            elif n_left > 0 and n_screened[a] < best_first:
                c = queue[0]
                if not bound[c] >= cutoff:
                    break
                n_left -= 1
                queue[0] = queue[n_left]
                topk_heap.sift_down(queue, bound, 0, n_left)
            else:
                n_left, c = 0, next_cluster
                next_cluster += 1
            if not bound[c] >= cutoff and not is_first:
                continue
            highest_bias = max_bias[c]
            if shift.shape[0] > 0:
                highest_bias += weight * max_shift[c]
            bound[c] = np.nan  # below any cutoff, so that no cluster is searched twice
            n_screened[a] += start[c + 1] - start[c]
            for position in range(start[c], start[c + 1]):
                dot = np.float32(0)
                for d in range(width):
                    dot += P[a, d] * np.float32(codes[position, d])
                approximate = scale[position] * dot + norm * error[position]
                if not approximate + highest_bias >= cutoff:
                    continue
                row = rows[position]
                if allowed.shape[0] > 0 and not allowed[row]:
                    continue
                item_bias = topk_heap.shifted(bias, shift, row, weight)
                if not approximate + item_bias >= cutoff or topk_heap.contains(seen, 0, seen.shape[0], row):
                    continue
                score = topk_heap.score(P, a, factors, row, item_bias)
                if topk_heap.replace_worst(heap_score, heap_row, a, score, row):
                    cutoff = heap_score[a, 0] - margin
            if is_first:
                is_first = False
                for other in range(n_clusters):
                    if bound[other] >= cutoff:
                        queue[n_left] = other
                        n_left += 1
                for root in range(n_left // 2 - 1, -1, -1):
                    topk_heap.sift_down(queue, bound, root, n_left)

    return _search


@kernel(
    writes="f4[:, ::1] i4[:, ::1]",
    reads="f4[:, ::1] f4[:, ::1] f4[::1] f4[::1] i4[::1] i4[::1]",
    scalars="i8 f4",
)
def _score_rows():
    """Merge the items in `rows` that are not in the sorted `seen` into the heap of the top n items of user a."""
    from cofactor.kernels import prefetch, topk_heap

    def _score_rows(heap_score, heap_row, P, factors, bias, shift, rows, seen, a, weight):
        for t in range(rows.shape[0]):
            if t + PREFETCH_ROWS < rows.shape[0]:
                prefetch.row(factors, rows[t + PREFETCH_ROWS])
            if not topk_heap.contains(seen, 0, seen.shape[0], rows[t]):
                item_bias = topk_heap.shifted(bias, shift, rows[t], weight)
                score = topk_heap.score(P, a, factors, rows[t], item_bias)
                topk_heap.replace_worst(heap_score, heap_row, a, score, rows[t])

    return _score_rows


def top_items_of_clusters(
    user_factors: Float32,
    clusters: ItemClusters,
    n: int,
    *,
    seen_start: Int64,
    seen: Int32,
    allowed: Bool,
    shift: ItemShift = NO_SHIFT,
    weights: Float32 | None = None,
) -> tuple[Int32, Float32, Int64]:
    """Return the exact top n items for each user, and the number of items that were screened to find them.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, width), float32
        User factors.
    clusters : ItemClusters
        The items.
    n : int
        The length of each list.
    seen_start : ndarray of shape (n_users + 1,), int64
        The items to exclude for user u are seen[seen_start[u]:seen_start[u + 1]].
    seen : ndarray of shape (n_seen,), int32
        Item row numbers, sorted for each user.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items that may be listed; an empty array means all items.
    shift : ItemShift, optional
        Differences that are added to the item biases, multiplied by `weights`; none by default.
    weights : ndarray of shape (n_users,), float32, optional
        The weight of `shift` for each user, at least 0; required with `shift`.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int32
        Item row numbers, best first, ties by row number; padded with -1.
    scores : ndarray of shape (n_users, n), float32
        Their scores; padded with -inf.
    n_screened : ndarray of shape (n_users,), int64
        The number of items in the clusters that were searched; all allowed items if these are few, and 0 for a user
        vector of zeros.

    Examples
    --------
    >>> clusters = ItemClusters.of(np.float32([[1], [3], [2]]), np.zeros(3, np.float32))
    >>> start, seen, all_items = np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, bool)
    >>> lists = top_items_of_clusters(
    ...     np.float32([[2]]), clusters, 2, seen_start=start, seen=seen, allowed=all_items
    ... )
    >>> [each.tolist() for each in lists]
    [[[1, 2]], [[6.0, 4.0]], [3]]
    """
    n_users, n_items, n_clusters = len(user_factors), len(clusters.rows), len(clusters.centers)
    rows = np.full((n_users, n), NO_ROW, np.int32)
    scores = np.full((n_users, n), -np.inf, np.float32)
    n_screened = np.zeros(n_users, np.int64)
    weights = np.zeros(n_users, np.float32) if weights is None else weights
    largest_bias = clusters.largest_bias + weights.max(initial=0) * shift.largest
    norms, margins = rounding_margins(user_factors, clusters.max_norm, largest_bias)
    few_rows = np.zeros(0, np.int32)
    if is_few := bool(len(allowed)) and np.count_nonzero(allowed) <= n_items // FEW:
        few_rows = np.flatnonzero(allowed).astype(np.int32)

    def rank(first: int) -> None:
        search, score_rows = _search(user_factors.shape[1]), _score_rows()
        bound, queue = np.empty(n_clusters, np.float32), np.empty(n_clusters, np.int32)
        users = slice(first, first + USERS_PER_TASK)
        for a in range(n_users)[users]:
            own_seen = seen[seen_start[a] : seen_start[a + 1]]
            if norms[a] == 0 and weights[a] == 0:
                rows[a] = first_allowed(clusters.bias_order, n, own_seen, allowed)
                scores[a] = np.where(rows[a] >= 0, clusters.bias[rows[a]] + np.float32(0), -np.inf)
            elif is_few:
                score_rows(
                    scores, rows, user_factors, clusters.factors, clusters.bias, shift.values, few_rows, own_seen,
                    a, weights[a],
                )  # fmt: skip
                n_screened[a] = len(few_rows)
            else:
                search(
                    scores, rows, bound, queue, n_screened,
                    user_factors, clusters.factors, clusters.bias, shift.values, clusters.rows, clusters.start,
                    clusters.centers, clusters.radius, clusters.max_bias, shift.max_of_clusters, clusters.codes,
                    clusters.scale, clusters.error, own_seen, allowed,
                    a, BEST_FIRST, weights[a], norms[a], margins[a],
                )  # fmt: skip
        sort_lists(scores[users], rows[users])

    if n and n_items:
        parallel_for(rank, range(0, n_users, USERS_PER_TASK))
    rows[scores == -np.inf] = -1
    return rows, scores, n_screened
