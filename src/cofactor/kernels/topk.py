"""The best n items of each user, exactly: tiles of scores by BLAS, a scan against the running threshold.

The score of (u, i) is *defined* as p_u . q_i + b_i summed by `_scan` in its one fixed order. BLAS only screens:
its sums differ by at most a few roundings, so whatever comes within that margin of the threshold is scored again in
the fixed order. One user alone, in a batch, and on any number of threads therefore gets the same items and bits.
Items stand by falling norm; since p . q <= |p| |q|, a user whose threshold exceeds |p| max|q| + max b of all that is
left is finished. Equal scores: the lower row number first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Bool, Float32, Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.threads import for_each, one_thread_blas

__all__ = ["ItemIndex", "top_items"]

USERS, ITEMS = 128, 2048
"""The tile: 128 x 2,048 float32 scores are one megabyte. One user alone gets longer ones, each twice the last."""

MOST_ITEMS = 1 << 15
"""The longest tile of one user."""


@dataclass(frozen=True)
class ItemIndex:
    """Items arranged for ranking: by falling norm of their factors (ties by row).

    rows (n,) int32: the item at each place    factors (n, width)    bias (n,)
    norm_left, bias_left (n + 1,): the largest norm and bias from each place to the end (-inf at the end)
    largest_bias: the largest absolute one
    """

    rows: Int32
    factors: Float32
    bias: Float32
    norm_left: Float32
    bias_left: Float32
    largest_bias: np.float32

    @classmethod
    def of(cls, factors: Float32, bias: Float32) -> ItemIndex:
        norm = np.linalg.norm(factors.astype(np.float64), axis=1)
        rows = np.argsort(-norm, kind="stable").astype(np.int32)

        def largest_left(values: Float32) -> Float32:
            running = np.maximum.accumulate(values[::-1])[::-1]
            return np.append(running, -np.inf).astype(np.float32)

        rounded_up = (norm[rows] * (1 + 1e-6)).astype(np.float32)
        return cls(
            rows,
            np.ascontiguousarray(factors[rows]),
            np.ascontiguousarray(bias[rows]),
            largest_left(rounded_up),
            largest_left(bias[rows]),
            np.abs(bias).max(initial=np.float32(0)),
        )


@kernel(
    writes="f4[:, ::1] i4[:, ::1] f4[::1]",
    reads="f4[:, ::1] f4[:, ::1] f4[:, ::1] f4[::1] i4[::1] f4[::1] i8[::1] i4[::1] b1[::1]",
    numbers="i8 i8",
)
def _scan(width: int):
    """One tile: screened scores into each user's heap of the best n.

    Writes `heap_score`, `heap_row` (users, n): a binary heap with the worst at its root, and `threshold` (users,):
    that root's score. Reads the tile's `screen` (users, items), the users' and the items' `factors`, the items' `bias`
    and `rows`, each user's rounding `margin`, the sorted rows to leave out (`seen_start`, `seen`), and `allowed` items
    (empty: all). The tile's items are places first..first+count-1.
    """

    def _scan(
        heap_score, heap_row, threshold,
        screen, user_factors, item_factors, bias, rows, margin, seen_start, seen, allowed,
        first, count,
    ):  # fmt: skip
        n = heap_score.shape[1]
        for a in range(screen.shape[0]):
            bar = threshold[a] - margin[a]
            for base in range(0, count, 16):
                width_here = min(16, count - base)
                best = np.float32(-np.inf)
                if width_here == 16:
                    for c in range(16):
                        best = max(best, screen[a, base + c] + bias[first + base + c])
                else:
                    for c in range(width_here):
                        best = max(best, screen[a, base + c] + bias[first + base + c])
                if not best >= bar:
                    continue
                for c in range(width_here):
                    place = first + base + c
                    if not screen[a, base + c] + bias[place] >= bar:
                        continue
                    row = rows[place]
                    if allowed.shape[0] > 0 and not allowed[row]:
                        continue
                    low = seen_start[a]
                    high = seen_start[a + 1]
                    while low < high:
                        middle = (low + high) >> 1
                        if seen[middle] < row:
                            low = middle + 1
                        else:
                            high = middle
                    if low < seen_start[a + 1] and seen[low] == row:
                        continue
                    score = np.float32(0)
                    for d in range(width):
                        score += user_factors[a, d] * item_factors[place, d]
                    score += bias[place]
                    root_score = heap_score[a, 0]
                    if not (score > root_score or (score == root_score and row < heap_row[a, 0])):
                        continue
                    hole = 0  # replace the root, then let the newcomer sink below everything worse
                    while 2 * hole + 1 < n:
                        child = 2 * hole + 1
                        if child + 1 < n and (
                            heap_score[a, child + 1] < heap_score[a, child]
                            or (
                                heap_score[a, child + 1] == heap_score[a, child]
                                and heap_row[a, child + 1] > heap_row[a, child]
                            )
                        ):
                            child += 1
                        if heap_score[a, child] > score or (heap_score[a, child] == score and heap_row[a, child] < row):
                            break
                        heap_score[a, hole] = heap_score[a, child]
                        heap_row[a, hole] = heap_row[a, child]
                        hole = child
                    heap_score[a, hole] = score
                    heap_row[a, hole] = row
                    bar = heap_score[a, 0] - margin[a]
            threshold[a] = heap_score[a, 0]

    return _scan


def top_items(
    user_factors: Float32,
    index: ItemIndex,
    n: int,
    *,
    seen_start: Int64,
    seen: Int32,
    allowed: Bool,
) -> tuple[Int32, Float32]:
    """The n best items of each user, best first: rows (n_users, n) int32 and scores (n_users, n) float32.

    Places that cannot be filled (n larger than what is left of the catalog) hold row -1 and score -inf.
    seen_start (n_users + 1,), seen: each user's rows to leave out, ascending. allowed: (n_items,) bool, empty for all.
    """
    one_thread_blas()
    n_users = len(user_factors)
    rows = np.full((n_users, n), np.iinfo(np.int32).max, np.int32)
    scores = np.full((n_users, n), -np.inf, np.float32)
    if n_users and n and len(index.rows):

        def rank(first: int) -> None:
            block = slice(first, first + USERS)
            _rank_block(
                scores[block],
                rows[block],
                user_factors[block],
                index,
                seen_start[first : first + USERS + 1],
                seen,
                allowed,
            )

        for_each(rank, range(0, n_users, USERS))
    rows[scores == -np.inf] = -1
    return rows, scores


def _rank_block(
    scores: Float32, rows: Int32, P: Float32, index: ItemIndex, seen_start: Int64, seen: Int32, allowed: Bool
) -> None:
    scan = _scan(P.shape[1])
    norms = np.linalg.norm(P.astype(np.float64), axis=1).astype(np.float32) * np.float32(1 + 1e-6)
    # two sums of `width` products and a bias, each off by at most (width + 2) half-ulps of its largest part
    roundings = np.float32(2 * (P.shape[1] + 2) * 2.0**-23)
    margin = roundings * (norms * index.norm_left[0] + index.largest_bias)
    threshold = np.full(len(P), -np.inf, np.float32)
    first, tile = 0, ITEMS
    while first < len(index.rows):
        bound = norms * index.norm_left[first] + index.bias_left[first] + margin
        if (threshold > bound).all():
            break
        part = index.factors[first : first + tile]
        screen = np.matmul(P, part.T)
        scan(
            scores, rows, threshold,
            screen, P, index.factors, index.bias, index.rows, margin, seen_start, seen, allowed,
            first, len(part),
        )  # fmt: skip
        first += len(part)
        tile = min(2 * tile, MOST_ITEMS) if len(P) == 1 else ITEMS
    order, each = np.lexsort((rows, -scores), axis=1), np.arange(len(P))[:, None]
    rows[:] = rows[each, order]
    scores[:] = scores[each, order]
