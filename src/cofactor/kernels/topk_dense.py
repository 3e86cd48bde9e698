"""Top n items for each user from dense rows of scores, for one block of users at a time.

The scores of a block are computed, scanned and discarded, so that memory use does not grow with the number of users.
Scores must not depend on how users are divided into blocks. Ties are ordered by row number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cofactor.arrays import Bool, Float32, Int32
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import sort_lists

__all__ = ["BLOCK_USERS", "score_blocks", "top_of_blocks"]

MAX_SCORES = 1 << 21
"""The approximate number of scores in memory per thread (8 MB)."""
NO_ROWS: Int32 = np.zeros(0, np.int32)
BLOCK_USERS = 64
"""The maximum number of users in a block, unless the scores of larger blocks are computed faster."""


@kernel(writes="i4[:, ::1] f4[:, ::1]", reads="f4[:, ::1] i8[::1] i4[::1] b1[::1] i4[::1]")
def _top_of_rows():
    """Write a heap of the n best scores of each row, with the worst one at the root.

    Writes `rows` and `best` (n_users, n), whose scores are initialized with -inf. Reads `scores` (n_users, n_items),
    and excludes `seen` items, which are sorted for each user (`seen_start`), and items that are not `allowed` (empty if
    all are). If more items have a score of exactly 0 than fit into the heap, the first ones in `order` are used (the
    lowest row numbers if `order` is empty); their rows are written as n_items plus the position in `order`.
    """
    from cofactor.kernels import topk_heap as heap

    def _top_of_rows(rows, best, scores, seen_start, seen, allowed, order):
        n_items = scores.shape[1]
        for a in range(scores.shape[0]):
            next_seen = seen_start[a]
            cutoff = best[a, 0]
            for base in range(0, n_items, 16):
                end = min(base + 16, n_items)
                largest = np.float32(-np.inf)
                if end == base + 16:
                    for c in range(16):
                        largest = max(largest, scores[a, base + c])
                else:
                    for i in range(base, end):
                        largest = max(largest, scores[a, i])
                if not largest > cutoff:
                    continue
                for i in range(base, end):
                    score = scores[a, i]
                    if not score > cutoff or (allowed.shape[0] > 0 and not allowed[i]):
                        continue
                    while next_seen < seen_start[a + 1] and seen[next_seen] < i:
                        next_seen += 1
                    if next_seen < seen_start[a + 1] and seen[next_seen] == i:
                        continue
                    heap.replace_worst(best, rows, a, score, i)
                    cutoff = best[a, 0]
            if order.shape[0] > 0 and best[a, 0] == 0:
                position = 0
                for slot in range(best.shape[1]):
                    if best[a, slot] != 0:
                        continue
                    while position < order.shape[0] and (
                        scores[a, order[position]] != 0
                        or (allowed.shape[0] > 0 and not allowed[order[position]])
                        or heap.contains(seen, seen_start[a], seen_start[a + 1], order[position])
                    ):
                        position += 1
                    if position == order.shape[0]:  # `order` lacks an item
                        break
                    rows[a, slot] = n_items + position
                    position += 1

    return _top_of_rows


def score_blocks(n_users: int, n_items: int, *, block_users: int = BLOCK_USERS) -> list[tuple[int, int]]:
    """Partition users into blocks whose scores fit into memory.

    Parameters
    ----------
    n_users, n_items : int
        The number of users and the number of items.
    block_users : int, default 64
        The maximum number of users in a block.

    Returns
    -------
    list of tuple of int
        The range (first, last) of each block, where last is exclusive; empty if there are no users.

    Examples
    --------
    >>> score_blocks(100, 1_000)
    [(0, 64), (64, 100)]
    """
    step = min(max(MAX_SCORES // max(n_items, 1), 1), block_users)
    return [(first, min(first + step, n_users)) for first in range(0, n_users, step)]


def top_of_blocks(
    scores: Callable[[int, int], Float32],
    n_items: int,
    n: int,
    *,
    exclude: SparseRows,
    allowed: Bool,
    order: Int32 = NO_ROWS,
    block_users: int = BLOCK_USERS,
) -> tuple[Int32, Float32]:
    """Return the top n items for each user, from scores that are computed in blocks.

    Parameters
    ----------
    scores : callable
        scores(first, last) returns the scores of all items for users first..last-1, an ndarray of shape
        (last - first, n_items), float32. It must be thread-safe.
    n_items : int
        The number of items.
    n : int
        The length of each list.
    exclude : SparseRows
        The items to exclude, one row for each user.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items that may be listed; an empty array means all items.
    order : ndarray of shape (n_items,), int32, default empty
        All item row numbers, in the order for ties at a score of exactly 0; an empty array orders these by row number.
    block_users : int, default 64
        The maximum number of users in a block.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int32
        Item row numbers, best first, ties by row number; padded with -1.
    scores : ndarray of shape (n_users, n), float32
        Their scores; padded with -inf.

    Examples
    --------
    >>> scores, no_rows, all_items = np.float32([[0.1, 0.9, 0.5]]), SparseRows.empty(1), np.zeros(0, bool)
    >>> rows, _ = top_of_blocks(lambda first, last: scores[first:last], 3, 2, exclude=no_rows, allowed=all_items)
    >>> rows.tolist()
    [[1, 2]]
    """
    rows = np.full((len(exclude), n), np.iinfo(np.int32).max, np.int32)
    best = np.full(rows.shape, -np.inf, np.float32)

    def rank(cut: tuple[int, int]) -> None:
        users = slice(*cut)
        seen = exclude.slice(*cut)
        _top_of_rows()(rows[users], best[users], scores(*cut), seen.start, seen.columns, allowed, order)
        sort_lists(best[users], rows[users])
        if len(order):
            _order_zero_scores(rows[users], best[users], order)

    if n and n_items:
        parallel_for(rank, score_blocks(len(exclude), n_items, block_users=block_users))
    rows[best == -np.inf] = -1
    return rows, best


def _order_zero_scores(rows: Int32, best: Float32, order: Int32) -> None:
    """Decode the row numbers of items with a score of 0 and sort these items by `order`, in place."""
    n_items = len(order)
    is_zero = best == 0
    if not is_zero.any():
        return
    is_encoded = is_zero & (rows >= n_items)
    rows[is_encoded] = order[rows[is_encoded] - n_items]
    unsorted_lists = np.flatnonzero((is_zero & ~is_encoded).sum(axis=1) > 1)
    if len(unsorted_lists):
        position = np.empty_like(order)
        position[order] = np.arange(n_items, dtype=np.int32)
        for a in unsorted_lists:
            rows[a, is_zero[a]] = order[np.sort(position[rows[a, is_zero[a]]])]
