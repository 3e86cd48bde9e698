"""Exact top n items for each user, computed from factors; approximate scores select the candidates.

The score of a user-item pair (u, i) is *defined* as p_u . q_i + b_i, summed by `topk_heap.score` in a fixed order.
Approximate scores only select the items that may reach the current threshold. The result for a user is therefore
bitwise identical, alone or in a batch, and for any number of threads. There are two approximations:

- Several users: tiles of scores are computed by BLAS. They differ from the exact scores by at most a few rounding
  errors.
- A single user: most of the time is spent on reading item factors from memory, so they are compressed to bytes, a
  quarter of the size: q ~ scale z with z in -127..127. The score is then p . (scale z) + b, with an error of at most
  |p| |q - scale z| (Cauchy-Schwarz).

Items are sorted by descending norm. Since p . q <= |p| |q|, the search for a user stops when the threshold exceeds
|p| max|q| + max b over the remaining items. Ties are ordered by row number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cofactor.arrays import Bool, Float32, Int8, Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import one_thread_blas, parallel_for

__all__ = ["NO_ROW", "PIECE_SIZE", "ItemIndex", "first_allowed", "rounding_margins", "sort_lists", "top_items"]

TILE_USERS, TILE_ITEMS = 128, 2048
"""The shape of a tile of scores: 128 x 2,048 float32 values take one megabyte."""

PIECE_SIZE = 1 << 16
"""The number of items per piece for a single user: the first piece sets a threshold, the others run in parallel."""

NO_ROW = np.iinfo(np.int32).max
"""The row number of an empty heap position, which sorts after all others."""

BOUND_INTERVAL = 64
"""The number of items between checks of the upper bound for a single user."""


@dataclass(frozen=True)
class ItemIndex:
    """Index of items for ranking, sorted by descending norm of their factors (ties by row number).

    Attributes
    ----------
    rows : ndarray of shape (n,), int32
        The item row number at each position.
    position_of : ndarray of shape (n,), int32
        The position of each item.
    factors : ndarray of shape (n, width), float32
        Item factors, by position.
    bias : ndarray of shape (n,), float32
        Item biases, by position.
    suffix_max_norm, suffix_max_bias : ndarray of shape (n + 1,), float32
        The largest norm and the largest bias from each position to the end; the last element is -inf.
    largest_bias : float32
        The largest absolute bias.
    """

    rows: Int32
    position_of: Int32
    factors: Float32
    bias: Float32
    suffix_max_norm: Float32
    suffix_max_bias: Float32
    largest_bias: np.float32

    @classmethod
    def of(cls, factors: Float32, bias: Float32) -> ItemIndex:
        """Create an index of items from their factors and biases.

        Parameters
        ----------
        factors : ndarray of shape (n, width), float32
            Item factors, by row number; n may be 0.
        bias : ndarray of shape (n,), float32
            Item biases, by row number.

        Returns
        -------
        ItemIndex
        """
        norm = np.sqrt(np.einsum("rd,rd->r", factors, factors, dtype=np.float64))
        rows = np.argsort(-norm, kind="stable").astype(np.int32)

        def suffix_max(values: Float32) -> Float32:
            running = np.maximum.accumulate(values[::-1])[::-1]
            return np.append(running, -np.inf).astype(np.float32)

        position = np.empty_like(rows)
        position[rows] = np.arange(len(rows), dtype=np.int32)
        rounded_up = (norm[rows] * (1 + 1e-6)).astype(np.float32)
        return cls(
            rows,
            position,
            np.ascontiguousarray(factors[rows]),
            np.ascontiguousarray(bias[rows]),
            suffix_max(rounded_up),
            suffix_max(bias[rows]),
            np.abs(bias).max(initial=np.float32(0)),
        )

    @cached_property
    def compressed_factors(self) -> tuple[Int8, Float32, Float32]:
        """Item factors q compressed to int8: z (n, width), scale (n,), and the errors |q - scale * z| (n,)."""
        scale = (np.abs(self.factors).max(axis=1, initial=0) / 127).astype(np.float32)
        z, error = np.empty(self.factors.shape, np.int8), np.empty(len(scale), np.float32)
        for first in range(0, len(scale), PIECE_SIZE):  # in pieces, to limit the memory for float64
            rows = slice(first, first + PIECE_SIZE)
            q, s = self.factors[rows].astype(np.float64), scale[rows, None].astype(np.float64)
            z[rows] = np.rint(np.divide(q, s, out=np.zeros_like(q), where=s > 0))
            error[rows] = np.linalg.norm(q - s * z[rows], axis=1) * (1 + 1e-6)
        return z, scale, error


@kernel(
    writes="f4[:, ::1] i4[:, ::1] f4[::1] f4[:, ::1]",
    reads="i8[::1] f4[:, ::1] f4[:, ::1] f4[::1] i4[::1] i4[::1] f4[::1] i8[::1] i4[::1] b1[::1]",
    scalars="i8",
)
def _scan():
    """Merge a tile of approximate scores into each user's heap of the top n items.

    Writes `heap_score` and `heap_row` (n_users, n), binary heaps with the worst item at the root; `threshold`
    (n_users,), the score of the root; and -inf to `approximate` (len(users), count) for seen items. Reads the `users`
    in the tile, the factors of all users and items, the items' `bias`, `rows` and `position_of`, the rounding `margin`
    of each user, the items to exclude (`seen_start`, `seen`), and the mask `allowed` (empty if all items are allowed).
    The tile covers the item positions first..first+count-1.
    """
    from cofactor.kernels import topk_heap

    def _scan(
        heap_score, heap_row, threshold, approximate,
        users, user_factors, item_factors, bias, rows, position_of, margin, seen_start, seen, allowed,
        first,
    ):  # fmt: skip
        count = approximate.shape[1]
        for r in range(approximate.shape[0]):
            a = users[r]
            for t in range(seen_start[a], seen_start[a + 1]):
                c = position_of[seen[t]] - first
                if 0 <= c < count:
                    approximate[r, c] = -np.inf
            cutoff = threshold[a] - margin[a]
            for base in range(0, count, 16):
                end = min(base + 16, count)
                if end == base + 16:  # counting needs neither a branch nor a maximum, so that it is vectorized
                    hits = np.int32(0)
                    for c in range(base, base + 16):
                        hits += np.int32(approximate[r, c] + bias[first + c] >= cutoff)
                    if hits == 0:
                        continue
                for c in range(base, end):
                    if not approximate[r, c] + bias[first + c] >= cutoff or approximate[r, c] == -np.inf:
                        continue
                    row = rows[first + c]
                    if allowed.shape[0] > 0 and not allowed[row]:
                        continue
                    score = topk_heap.score(user_factors, a, item_factors, first + c, bias[first + c])
                    topk_heap.replace_worst(heap_score, heap_row, a, score, row)
                    cutoff = heap_score[a, 0] - margin[a]
            threshold[a] = heap_score[a, 0]

    return _scan


@kernel(
    writes="f4[:, ::1] i4[:, ::1]",
    reads="f4[:, ::1] f4[:, ::1] i1[:, ::1] f4[::1] f4[::1] f4[::1] i4[::1] f4[::1] f4[::1] i4[::1] b1[::1]",
    scalars="i8 i8 f4 f4 f4",
)
def _scan_single_user(width: int):
    """Merge the items at positions first..last-1 into a single user's heap of the top n items.

    Writes `heap_score` and `heap_row` (1, n), with the worst item at the root. Reads p, the item factors, `z`, `scale`
    and `error` (see `ItemIndex.compressed_factors`), biases, rows, `suffix_max_norm`, `suffix_max_bias`, `seen` and
    `allowed`, the norm |p|, the rounding `margin`, and a `threshold` that n other items reach.
    """
    from cofactor.kernels import topk_heap

    def _scan_single_user(
        heap_score, heap_row,
        p, item_factors, z, scale, error, bias, rows, suffix_max_norm, suffix_max_bias, seen, allowed,
        first, last, norm, margin, threshold,
    ):  # fmt: skip
        cutoff = max(threshold, heap_score[0, 0]) - margin
        for base in range(first, last, BOUND_INTERVAL):
            if norm * suffix_max_norm[base] + suffix_max_bias[base] + margin < cutoff:
                break
            for position in range(base, min(base + BOUND_INTERVAL, last)):
                dot = np.float32(0)
                for d in range(width):
                    dot += p[0, d] * np.float32(z[position, d])
                if not scale[position] * dot + norm * error[position] + bias[position] >= cutoff:
                    continue
                row = rows[position]
                if allowed.shape[0] > 0 and not allowed[row]:
                    continue
                if topk_heap.contains(seen, 0, seen.shape[0], row):
                    continue
                score = topk_heap.score(p, 0, item_factors, position, bias[position])
                if topk_heap.replace_worst(heap_score, heap_row, 0, score, row):
                    cutoff = max(cutoff, heap_score[0, 0] - margin)

    return _scan_single_user


def top_items(
    user_factors: Float32,
    index: ItemIndex,
    n: int,
    *,
    seen_start: Int64,
    seen: Int32,
    allowed: Bool,
) -> tuple[Int32, Float32]:
    """Return the exact top n items for each user, computed from factors and item biases.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, width), float32
        User factors.
    index : ItemIndex
        The index of items.
    n : int
        The length of each list.
    seen_start : ndarray of shape (n_users + 1,), int64
        The items to exclude for user u are seen[seen_start[u]:seen_start[u + 1]].
    seen : ndarray of shape (n_seen,), int32
        Item row numbers, sorted for each user.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items that may be listed; an empty array means all items.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int32
        Item row numbers, best first; padded with -1.
    scores : ndarray of shape (n_users, n), float32
        Their scores; padded with -inf.

    Examples
    --------
    >>> index = ItemIndex.of(np.float32([[1], [3], [2]]), np.zeros(3, np.float32))
    >>> start, seen, all_items = np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, bool)
    >>> rows, scores = top_items(np.float32([[2]]), index, 2, seen_start=start, seen=seen, allowed=all_items)
    >>> rows.tolist(), scores.tolist()
    ([[1, 2]], [[6.0, 4.0]])
    """
    n_users = len(user_factors)
    rows = np.full((n_users, n), NO_ROW, np.int32)
    scores = np.full((n_users, n), -np.inf, np.float32)
    if n_users == 1 and n and len(index.rows):
        _rank_single_user(scores, rows, user_factors, index, seen[seen_start[0] : seen_start[1]], allowed)
    elif n_users and n and len(index.rows):

        def rank(first: int) -> None:
            block = slice(first, first + TILE_USERS)
            _rank_block(
                scores[block],
                rows[block],
                user_factors[block],
                index,
                seen_start[first : first + TILE_USERS + 1],
                seen,
                allowed,
            )

        with one_thread_blas():
            parallel_for(rank, range(0, n_users, TILE_USERS))
    rows[scores == -np.inf] = -1
    return rows, scores


def first_allowed(order: Int32, n: int, seen: Int32, allowed: Bool) -> Int32:
    """Return the first n items of an ordering that are allowed and that the user has not seen.

    Parameters
    ----------
    order : ndarray of shape (n_items,), int32
        All item row numbers.
    n : int
        The length of the list.
    seen : ndarray of shape (n_seen,), int32
        The items to exclude.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items that may be listed; an empty array means all items.

    Returns
    -------
    ndarray of shape (n,), int32
        Item row numbers; padded with -1.

    Examples
    --------
    >>> first_allowed(np.int32([2, 0, 1]), 3, np.int32([0]), np.zeros(0, bool)).tolist()
    [2, 1, -1]
    """
    rows = np.full(n, -1, np.int32)
    size, first, step = 0, 0, n + len(seen)
    while size < n and first < len(order):  # usually, one step is sufficient
        candidates = order[first : first + step]
        is_usable = np.isin(candidates, seen, invert=True)
        if len(allowed):
            is_usable &= allowed[candidates]
        usable = candidates[is_usable][: n - size]
        rows[size : size + len(usable)] = usable
        size, first, step = size + len(usable), first + step, 4 * step
    return rows


def _rank_block(
    scores: Float32, rows: Int32, P: Float32, index: ItemIndex, seen_start: Int64, seen: Int32, allowed: Bool
) -> None:
    """Rank the items for a block of users, in place."""
    scan = _scan()
    norms, margin = rounding_margins(P, index.suffix_max_norm[0], index.largest_bias)
    threshold = np.full(len(P), -np.inf, np.float32)
    users = np.arange(len(P))
    for first in range(0, len(index.rows), TILE_ITEMS):
        bound = norms * index.suffix_max_norm[first] + index.suffix_max_bias[first] + margin
        users = users[threshold[users] <= bound[users]]
        if len(users) == 0:
            break
        approximate = np.matmul(P[users], index.factors[first : first + TILE_ITEMS].T)
        scan(
            scores, rows, threshold, approximate,
            users, P, index.factors, index.bias, index.rows, index.position_of, margin, seen_start, seen, allowed,
            first,
        )  # fmt: skip
    sort_lists(scores, rows)


def _rank_single_user(scores: Float32, rows: Int32, P: Float32, index: ItemIndex, seen: Int32, allowed: Bool) -> None:
    """Rank the items for a single user, in place."""
    scan, n, n_items = _scan_single_user(P.shape[1]), scores.shape[1], len(index.rows)
    (norm,), (margin,) = rounding_margins(P, index.suffix_max_norm[0], index.largest_bias)

    def scan_piece(first: int, heap_scores: Float32, heap_rows: Int32, threshold: np.float32) -> None:
        scan(
            heap_scores, heap_rows,
            P, index.factors, *index.compressed_factors, index.bias, index.rows,
            index.suffix_max_norm, index.suffix_max_bias, seen, allowed,
            first, min(first + PIECE_SIZE, n_items), norm, margin, threshold,
        )  # fmt: skip

    scan_piece(0, scores, rows, np.float32(-np.inf))
    threshold = scores[0, 0]
    piece_starts = np.arange(PIECE_SIZE, n_items, PIECE_SIZE)
    piece_starts = piece_starts[
        norm * index.suffix_max_norm[piece_starts] + index.suffix_max_bias[piece_starts] + margin >= threshold
    ]
    if len(piece_starts):
        pieces = np.full((len(piece_starts), n), -np.inf, np.float32), np.full((len(piece_starts), n), NO_ROW, np.int32)
        parallel_for(
            lambda k: scan_piece(piece_starts[k], pieces[0][k : k + 1], pieces[1][k : k + 1], threshold),
            range(len(piece_starts)),
        )
        all_scores, all_rows = (np.append(own, others) for own, others in zip((scores, rows), pieces, strict=True))
        selected = np.lexsort((all_rows, -all_scores))[:n]
        scores[0], rows[0] = all_scores[selected], all_rows[selected]
    else:
        sort_lists(scores, rows)


def rounding_margins(P: Float32, max_norm: np.float32, largest_bias: np.float32) -> tuple[Float32, Float32]:
    """Return the norm |p| of each user, rounded up, and a bound on the rounding error of approximate scores.

    The bound covers two sums of `width` products, a bias and a few more operations, each with an error of half an ulp
    of its largest operand.

    Parameters
    ----------
    P : ndarray of shape (n_users, width), float32
        User factors.
    max_norm : float32
        The largest norm of an item vector.
    largest_bias : float32
        The largest absolute bias.

    Returns
    -------
    norms, margins : ndarray of shape (n_users,), float32

    Examples
    --------
    >>> norms, margins = rounding_margins(np.float32([[3, 4]]), np.float32(2), np.float32(0))
    >>> norms.round(3).tolist(), bool(margins[0] < 3e-5)
    ([5.0], True)
    """
    p = P.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", p, p)).astype(np.float32) * np.float32(1 + 1e-6)
    rounding_errors = np.float32(2 * (P.shape[1] + 8) * 2.0**-23)
    return norms, rounding_errors * (norms * max_norm + largest_bias)


def sort_lists(scores: Float32, rows: Int32) -> None:
    """Sort each ranked list in place, best score first, with ties broken by row number.

    Parameters
    ----------
    scores : ndarray of shape (m, n), float32
        The scores, one list per row.
    rows : ndarray of shape (m, n), int32
        The item row number of each score.

    Examples
    --------
    >>> scores, rows = np.float32([[1, 3, 3]]), np.int32([[5, 7, 6]])
    >>> sort_lists(scores, rows)
    >>> rows.tolist()
    [[6, 7, 5]]
    """
    if len(rows) == 1:  # a shortcut for a single user, as in a service
        single_order = np.lexsort((rows[0], -scores[0]))
        rows[0], scores[0] = rows[0][single_order], scores[0][single_order]
        return
    order, list_index = np.lexsort((rows, -scores), axis=1), np.arange(len(rows))[:, None]
    rows[:] = rows[list_index, order]
    scores[:] = scores[list_index, order]
