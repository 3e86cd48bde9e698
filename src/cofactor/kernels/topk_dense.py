"""The best n items of each user where every score is worked out: a scan of score rows, a block of users at a time.

A block's scores are made, scanned and forgotten, so memory stays small however many users there are. A score must
depend on its user alone, never on the block. Equal scores: the lower row number first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cofactor.arrays import Bool, Float32, Int32
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import put_in_order

__all__ = ["score_blocks", "top_of_blocks"]

SCORES = 1 << 21
"""About so many scores are in memory at once for each thread: 8 MB."""
NO_ROWS: Int32 = np.zeros(0, np.int32)
USERS = 64
"""At most so many users in a block."""


@kernel(writes="i4[:, ::1] f4[:, ::1]", reads="f4[:, ::1] i8[::1] i4[::1] b1[::1] i4[::1]")
def _top_of_rows():
    """Heaps of each row's best n scores, the worst at the root: `rows`, `best` (n_users, n), starting at -inf.

    Left out: `seen`, ascending within a user (seen_start), and what is not `allowed` (empty: all is). Where more items
    have a score of exactly 0 than the heap has places for, the first of `order` get them (empty: the lowest rows), and
    their rows are n_items + the place in `order`.
    """
    from cofactor.kernels import topk_heap as heap

    def _top_of_rows(rows, best, scores, seen_start, seen, allowed, order):
        n_items = scores.shape[1]
        for a in range(scores.shape[0]):
            next_seen = seen_start[a]
            bar = best[a, 0]
            for base in range(0, n_items, 16):
                end = min(base + 16, n_items)
                most = np.float32(-np.inf)
                if end == base + 16:
                    for c in range(16):
                        most = max(most, scores[a, base + c])
                else:
                    for i in range(base, end):
                        most = max(most, scores[a, i])
                if not most > bar:
                    continue
                for i in range(base, end):
                    score = scores[a, i]
                    if not score > bar or (allowed.shape[0] > 0 and not allowed[i]):
                        continue
                    while next_seen < seen_start[a + 1] and seen[next_seen] < i:
                        next_seen += 1
                    if next_seen < seen_start[a + 1] and seen[next_seen] == i:
                        continue
                    heap.offer(best, rows, a, score, i)
                    bar = best[a, 0]
            if order.shape[0] > 0 and best[a, 0] == 0:
                at = 0
                for slot in range(best.shape[1]):
                    if best[a, slot] != 0:
                        continue
                    while at < order.shape[0] and (
                        scores[a, order[at]] != 0
                        or (allowed.shape[0] > 0 and not allowed[order[at]])
                        or heap.holds(seen, seen_start[a], seen_start[a + 1], order[at])
                    ):
                        at += 1
                    if at == order.shape[0]:  # an order that lacks an item
                        break
                    rows[a, slot] = n_items + at
                    at += 1

    return _top_of_rows


def score_blocks(n_users: int, n_items: int) -> list[tuple[int, int]]:
    """Runs of users, (first, last) with last exclusive, small enough to hold all their scores; [] for no users.

    >>> score_blocks(100, 1_000)
    [(0, 64), (64, 100)]
    """
    step = min(max(SCORES // max(n_items, 1), 1), USERS)
    return [(first, min(first + step, n_users)) for first in range(0, n_users, step)]


def top_of_blocks(
    scores: Callable[[int, int], Float32],
    n_items: int,
    n: int,
    *,
    exclude: SparseRows,
    allowed: Bool,
    order: Int32 = NO_ROWS,
) -> tuple[Int32, Float32]:
    """The n best items of each row of `exclude` (what to leave out), best first: rows and scores (n_users, n).

    `scores(first, last)` makes the scores of users first..last-1, (last - first, n_items) float32; it is called on
    several threads. Places that cannot be filled hold row -1 and score -inf. allowed: (n_items,) bool, empty for all.
    order: (n_items,) int32, every item row once: items with a score of exactly 0 are listed in this order; empty: by
    row, as all other equal scores.

    >>> given, nothing, every = np.float32([[0.1, 0.9, 0.5]]), SparseRows.empty(1), np.zeros(0, bool)
    >>> rows, _ = top_of_blocks(lambda first, last: given[first:last], 3, 2, exclude=nothing, allowed=every)
    >>> rows.tolist()
    [[1, 2]]
    """
    rows = np.full((len(exclude), n), np.iinfo(np.int32).max, np.int32)
    best = np.full(rows.shape, -np.inf, np.float32)

    def rank(cut: tuple[int, int]) -> None:
        users = slice(*cut)
        seen = exclude.slice(*cut)
        _top_of_rows()(rows[users], best[users], scores(*cut), seen.start, seen.columns, allowed, order)
        put_in_order(best[users], rows[users])
        if len(order):
            _name_zeros(rows[users], best[users], order)

    if n and n_items:
        for_each(rank, score_blocks(len(exclude), n_items))
    rows[best == -np.inf] = -1
    return rows, best


def _name_zeros(rows: Int32, best: Float32, order: Int32) -> None:
    """Give items with a score of 0 their rows and the order of `order`; lists that they end have both already."""
    n_items = len(order)
    zero = best == 0
    if not zero.any():
        return
    ends = zero & (rows >= n_items)
    rows[ends] = order[rows[ends] - n_items]
    inside = np.flatnonzero((zero & ~ends).sum(axis=1) > 1)
    if len(inside):
        place = np.empty_like(order)
        place[order] = np.arange(n_items, dtype=np.int32)
        for a in inside:
            rows[a, zero[a]] = order[np.sort(place[rows[a, zero[a]]])]
