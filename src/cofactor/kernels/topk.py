"""The best n items of each user, exactly: a cheap screen of all items, the true score of the few that pass it.

The score of (u, i) is *defined* as p_u . q_i + b_i summed by `best.score` in its one fixed order. A screen only tells
which items may reach the running threshold, so one user alone, in a batch, and on any number of threads gets the same
items and bits. There are two:

- many users: tiles of scores by BLAS, which differ from the true ones by a few roundings at most;
- one user, who has to read every item from memory: items as bytes, q ~ scale z with z in -127..127, which are a quarter
  as much to read. The score is then p . (scale z) + b, off by at most |p| |q - scale z| (Cauchy-Schwarz).

Items stand by falling norm; since p . q <= |p| |q|, a user whose threshold exceeds |p| max|q| + max b of all that is
left is finished. Equal scores: the lower row number first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cofactor.arrays import Bool, Float32, Int8, Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import for_each, one_thread_blas

__all__ = ["PIECE", "ItemIndex", "first_of", "put_in_order", "top_items"]

USERS, ITEMS = 128, 2048
"""The tile: 128 x 2,048 float32 scores are one megabyte."""

PIECE = 1 << 16
"""One user's items in pieces: the first alone sets a threshold, the others run on all threads."""

NOBODY = np.iinfo(np.int32).max
"""The row of an empty place: behind every other."""

TOGETHER = 64
"""After so many items one user's bound is looked at again."""


@dataclass(frozen=True)
class ItemIndex:
    """Items arranged for ranking: by falling norm of their factors (ties by row).

        rows (n,) int32: the item at each place    place (n,) int32: the place of each item
        factors (n, width), bias (n,) float32: in the order of places
        norm_left, bias_left (n + 1,) float32: the largest norm and bias from each place to the end
        largest_bias: the largest absolute one

    At the end, where nothing is left, both are -inf.
    """

    rows: Int32
    place: Int32
    factors: Float32
    bias: Float32
    norm_left: Float32
    bias_left: Float32
    largest_bias: np.float32

    @classmethod
    def of(cls, factors: Float32, bias: Float32) -> ItemIndex:
        """From the items' factors (n, width) and biases (n,) float32, in the order of their rows; n may be 0."""
        norm = np.sqrt(np.einsum("rd,rd->r", factors, factors, dtype=np.float64))
        rows = np.argsort(-norm, kind="stable").astype(np.int32)

        def largest_left(values: Float32) -> Float32:
            running = np.maximum.accumulate(values[::-1])[::-1]
            return np.append(running, -np.inf).astype(np.float32)

        place = np.empty_like(rows)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        rounded_up = (norm[rows] * (1 + 1e-6)).astype(np.float32)
        return cls(
            rows,
            place,
            np.ascontiguousarray(factors[rows]),
            np.ascontiguousarray(bias[rows]),
            largest_left(rounded_up),
            largest_left(bias[rows]),
            np.abs(bias).max(initial=np.float32(0)),
        )

    @cached_property
    def compressed(self) -> tuple[Int8, Float32, Float32]:
        """q ~ scale z: z (n, width) int8, scale (n,), and |q - scale z|, rounded up, (n,) float32."""
        scale = (np.abs(self.factors).max(axis=1, initial=0) / 127).astype(np.float32)
        z, error = np.empty(self.factors.shape, np.int8), np.empty(len(scale), np.float32)
        for first in range(0, len(scale), PIECE):  # in pieces: float64 needs much memory
            rows = slice(first, first + PIECE)
            q, s = self.factors[rows].astype(np.float64), scale[rows, None].astype(np.float64)
            z[rows] = np.rint(np.divide(q, s, out=np.zeros_like(q), where=s > 0))
            error[rows] = np.linalg.norm(q - s * z[rows], axis=1) * (1 + 1e-6)
        return z, scale, error


@kernel(
    writes="f4[:, ::1] i4[:, ::1] f4[::1] f4[:, ::1]",
    reads="i8[::1] f4[:, ::1] f4[:, ::1] f4[::1] i4[::1] i4[::1] f4[::1] i8[::1] i4[::1] b1[::1]",
    numbers="i8",
)
def _scan():
    """One tile: screened scores into each user's heap of the best n.

    Writes `heap_score`, `heap_row` (all users, n): binary heaps with the worst at the root, `threshold` (all users,):
    that root's score, and -inf into `screen` (users, items) where a user has seen the item. Reads which of all users
    the screen's are (`users`), all users' and the items' factors, the items' `bias`, `rows` and `place`, each user's
    rounding `margin`, the rows to leave out (`seen_start`, `seen`), and `allowed` items (empty: all). The screen's
    items are places first..first+count-1.
    """
    from cofactor.kernels import topk_heap

    def _scan(
        heap_score, heap_row, threshold, screen,
        users, user_factors, item_factors, bias, rows, place, margin, seen_start, seen, allowed,
        first,
    ):  # fmt: skip
        count = screen.shape[1]
        for r in range(screen.shape[0]):
            a = users[r]
            for t in range(seen_start[a], seen_start[a + 1]):
                c = place[seen[t]] - first
                if 0 <= c < count:
                    screen[r, c] = -np.inf
            bar = threshold[a] - margin[a]
            for base in range(0, count, 16):
                end = min(base + 16, count)
                if end == base + 16:  # counted, not found: no branch and no maximum, so a processor does 16 at once
                    hits = np.int32(0)
                    for c in range(base, base + 16):
                        hits += np.int32(screen[r, c] + bias[first + c] >= bar)
                    if hits == 0:
                        continue
                for c in range(base, end):
                    if not screen[r, c] + bias[first + c] >= bar or screen[r, c] == -np.inf:
                        continue
                    row = rows[first + c]
                    if allowed.shape[0] > 0 and not allowed[row]:
                        continue
                    score = topk_heap.score(user_factors, a, item_factors, first + c, bias[first + c])
                    topk_heap.offer(heap_score, heap_row, a, score, row)
                    bar = heap_score[a, 0] - margin[a]
            threshold[a] = heap_score[a, 0]

    return _scan


@kernel(
    writes="f4[:, ::1] i4[:, ::1]",
    reads="f4[:, ::1] f4[:, ::1] i1[:, ::1] f4[::1] f4[::1] f4[::1] i4[::1] f4[::1] f4[::1] i4[::1] b1[::1]",
    numbers="i8 i8 f4 f4 f4",
)
def _scan_one(width: int):
    """One user's best among places first..last-1, into the heap `heap_score`, `heap_row` (1, n), worst at the root.

    Reads p, the item factors, `z`, `scale`, `error` (`ItemIndex.compressed`), biases, rows, `norm_left`, `bias_left`,
    `seen`, `allowed`; |p|, the rounding `margin`, and a threshold that n items elsewhere are known to reach.
    """
    from cofactor.kernels import topk_heap

    def _scan_one(
        heap_score, heap_row,
        p, item_factors, z, scale, error, bias, rows, norm_left, bias_left, seen, allowed,
        first, last, norm, margin, threshold,
    ):  # fmt: skip
        bar = max(threshold, heap_score[0, 0]) - margin
        for base in range(first, last, TOGETHER):
            if norm * norm_left[base] + bias_left[base] + margin < bar:
                break
            for place in range(base, min(base + TOGETHER, last)):
                dot = np.float32(0)
                for d in range(width):
                    dot += p[0, d] * np.float32(z[place, d])
                if not scale[place] * dot + norm * error[place] + bias[place] >= bar:
                    continue
                row = rows[place]
                if allowed.shape[0] > 0 and not allowed[row]:
                    continue
                if topk_heap.holds(seen, 0, seen.shape[0], row):
                    continue
                score = topk_heap.score(p, 0, item_factors, place, bias[place])
                if topk_heap.offer(heap_score, heap_row, 0, score, row):
                    bar = max(bar, heap_score[0, 0] - margin)

    return _scan_one


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

    >>> index = ItemIndex.of(np.float32([[1], [3], [2]]), np.zeros(3, np.float32))
    >>> start, nothing, every = np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, bool)
    >>> rows, scores = top_items(np.float32([[2]]), index, 2, seen_start=start, seen=nothing, allowed=every)
    >>> rows.tolist(), scores.tolist()
    ([[1, 2]], [[6.0, 4.0]])
    """
    n_users = len(user_factors)
    rows = np.full((n_users, n), NOBODY, np.int32)
    scores = np.full((n_users, n), -np.inf, np.float32)
    if n_users == 1 and n and len(index.rows):
        _rank_one(scores, rows, user_factors, index, seen[seen_start[0] : seen_start[1]], allowed)
    elif n_users and n and len(index.rows):

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

        with one_thread_blas():
            for_each(rank, range(0, n_users, USERS))
    rows[scores == -np.inf] = -1
    return rows, scores


def first_of(order: Int32, n: int, seen: Int32, allowed: Bool) -> Int32:
    """The first n item rows of `order` that are allowed and not in `seen`: (n,) int32, -1 where there are no more.

    >>> first_of(np.int32([2, 0, 1]), 3, np.int32([0]), np.zeros(0, bool)).tolist()
    [2, 1, -1]
    """
    usable = np.ones(len(order), bool) if len(allowed) == 0 else allowed.copy()
    usable[seen] = False
    rows = order[usable[order]][:n]
    return np.pad(rows, (0, n - len(rows)), constant_values=-1)


def _rank_block(
    scores: Float32, rows: Int32, P: Float32, index: ItemIndex, seen_start: Int64, seen: Int32, allowed: Bool
) -> None:
    scan = _scan()
    norms, margin = _margins(P, index)
    threshold = np.full(len(P), -np.inf, np.float32)
    users = np.arange(len(P))
    for first in range(0, len(index.rows), ITEMS):
        bound = norms * index.norm_left[first] + index.bias_left[first] + margin
        users = users[threshold[users] <= bound[users]]
        if len(users) == 0:
            break
        screen = np.matmul(P[users], index.factors[first : first + ITEMS].T)
        scan(
            scores, rows, threshold, screen,
            users, P, index.factors, index.bias, index.rows, index.place, margin, seen_start, seen, allowed,
            first,
        )  # fmt: skip
    put_in_order(scores, rows)


def _rank_one(scores: Float32, rows: Int32, P: Float32, index: ItemIndex, seen: Int32, allowed: Bool) -> None:
    scan, n, n_items = _scan_one(P.shape[1]), scores.shape[1], len(index.rows)
    (norm,), (margin,) = _margins(P, index)

    def look(first: int, into_scores: Float32, into_rows: Int32, threshold: np.float32) -> None:
        scan(
            into_scores, into_rows,
            P, index.factors, *index.compressed, index.bias, index.rows, index.norm_left, index.bias_left,
            seen, allowed,
            first, min(first + PIECE, n_items), norm, margin, threshold,
        )  # fmt: skip

    look(0, scores, rows, np.float32(-np.inf))
    reached = scores[0, 0]
    firsts = np.arange(PIECE, n_items, PIECE)
    firsts = firsts[norm * index.norm_left[firsts] + index.bias_left[firsts] + margin >= reached]
    if len(firsts):
        more = np.full((len(firsts), n), -np.inf, np.float32), np.full((len(firsts), n), NOBODY, np.int32)
        for_each(lambda k: look(firsts[k], more[0][k : k + 1], more[1][k : k + 1], reached), range(len(firsts)))
        all_scores, all_rows = (np.append(own, others) for own, others in zip((scores, rows), more, strict=True))
        chosen = np.lexsort((all_rows, -all_scores))[:n]
        scores[0], rows[0] = all_scores[chosen], all_rows[chosen]
    else:
        put_in_order(scores, rows)


def _margins(P: Float32, index: ItemIndex) -> tuple[Float32, Float32]:
    """|p| of each user, rounded up, and by how much a screened score and the true one may differ by roundings alone.

    Two sums of `width` products, a bias and a few factors more, each off by half-ulps of its largest part.
    """
    p = P.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", p, p)).astype(np.float32) * np.float32(1 + 1e-6)
    roundings = np.float32(2 * (P.shape[1] + 8) * 2.0**-23)
    return norms, roundings * (norms * index.norm_left[0] + index.largest_bias)


def put_in_order(scores: Float32, rows: Int32) -> None:
    """Sort lists in place, best first; of equal scores the lower row comes first.

    Parameters
    ----------
    scores : ndarray of shape (m, n), float32
        A list in each row.
    rows : ndarray of shape (m, n), int32
        What is scored.

    Examples
    --------
    >>> scores, rows = np.float32([[1, 3, 3]]), np.int32([[5, 7, 6]])
    >>> put_in_order(scores, rows)
    >>> rows.tolist()
    [[6, 7, 5]]
    """
    if len(rows) == 1:  # a single user, as a service asks
        of_one = np.lexsort((rows[0], -scores[0]))
        rows[0], scores[0] = rows[0][of_one], scores[0][of_one]
        return
    order, each = np.lexsort((rows, -scores), axis=1), np.arange(len(rows))[:, None]
    rows[:] = rows[each, order]
    scores[:] = scores[each, order]
