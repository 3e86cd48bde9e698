"""Operations for ranking kernels: membership test, heaps and exact scores.

Only kernel factories import this module, because it requires numba. They close over the module, not over its functions,
so that numba finds the kernel in its cache.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["contains", "replace_worst", "score", "shifted", "sift_down"]


def _contains(values: Any, low: Any, high: Any, value: Any) -> Any:
    """Return whether the sorted range values[low:high] contains `value`, by binary search."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < end and values[low] == value


def _replace_worst(scores: Any, rows: Any, a: Any, score: Any, row: Any) -> Any:
    """Replace the worst candidate in heap a with a new one if that is better, and return whether it was inserted.

    The heap is scores[a] and rows[a], with the worst candidate at the root. A higher score is better; ties are broken
    in favor of the lower row number.
    """
    n = scores.shape[1]
    if not (score > scores[a, 0] or (score == scores[a, 0] and row < rows[a, 0])):
        return False
    hole = 0  # sift down from the root, below all worse candidates
    while 2 * hole + 1 < n:
        child = 2 * hole + 1
        if child + 1 < n and (
            scores[a, child + 1] < scores[a, child]
            or (scores[a, child + 1] == scores[a, child] and rows[a, child + 1] > rows[a, child])
        ):
            child += 1
        if scores[a, child] > score or (scores[a, child] == score and rows[a, child] < row):
            break
        scores[a, hole] = scores[a, child]
        rows[a, hole] = rows[a, child]
        hole = child
    scores[a, hole] = score
    rows[a, hole] = row
    return True


def _sift_down(queue: Any, keys: Any, root: Any, size: Any) -> None:
    """Move the entry at `root` of a binary heap down, below all entries with a higher key.

    The heap is queue[:size], with the entry of the highest key at position 0; the key of entry e is keys[e].
    """
    entry, hole = queue[root], root
    while 2 * hole + 1 < size:
        child = 2 * hole + 1
        if child + 1 < size and keys[queue[child + 1]] > keys[queue[child]]:
            child += 1
        if keys[queue[child]] <= keys[entry]:
            break
        queue[hole] = queue[child]
        hole = child
    queue[hole] = entry


def _shifted(bias: Any, shift: Any, row: Any, weight: Any) -> Any:
    """Compute bias[row] + weight * shift[row] in float32 as NumPy does; `shift` may be empty.

    It is compiled without the fast-math flags of kernels, as `score`.
    """
    if shift.shape[0] == 0:
        return bias[row]
    return bias[row] + weight * shift[row]


def _score(P: Any, a: Any, Q: Any, b: Any, bias: Any) -> Any:
    """Compute P[a] . Q[b] + bias in float32 by eight partial sums in a fixed order, for bitwise reproducible scores.

    It is compiled without the fast-math flags of kernels, which allow reordering and fusing of operations.
    """
    width = P.shape[1]
    unrolled = width - width % 8
    s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    s4, s5, s6, s7 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for d in range(0, unrolled, 8):
        s0 += P[a, d] * Q[b, d]
        s1 += P[a, d + 1] * Q[b, d + 1]
        s2 += P[a, d + 2] * Q[b, d + 2]
        s3 += P[a, d + 3] * Q[b, d + 3]
        s4 += P[a, d + 4] * Q[b, d + 4]
        s5 += P[a, d + 5] * Q[b, d + 5]
        s6 += P[a, d + 6] * Q[b, d + 6]
        s7 += P[a, d + 7] * Q[b, d + 7]
    for d in range(unrolled, width):
        s0 += P[a, d] * Q[b, d]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) + bias


contains: Any = numba.njit(nogil=True)(_contains)
replace_worst: Any = numba.njit(nogil=True)(_replace_worst)
score: Any = numba.njit(nogil=True, fastmath=False)(_score)
shifted: Any = numba.njit(nogil=True, fastmath=False)(_shifted)
sift_down: Any = numba.njit(nogil=True)(_sift_down)
