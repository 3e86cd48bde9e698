"""The average of many factorizations as one factorization, kept narrow on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cofactor.arrays import Float32
from cofactor.kernels.parallel import one_thread_blas

__all__ = ["FactorAverage"]

BATCH = 8


@dataclass
class FactorAverage:
    """1/S sum_s U_s V_s', as L R' with at most `width` columns.

    Samples are gathered side by side, [U_1 .. U_s] [V_1 .. V_s]'; every few, QR of both sides and an SVD of the small
    middle keep the best `width` directions (Eckart & Young 1936).

    >>> average = FactorAverage(width=2)
    >>> for s in (1, 3):
    ...     average.add(np.float32([[s], [0]]), np.float32([[1], [1]]))
    >>> left, right = average.result()
    >>> (left @ right.T + 0).round(3).tolist()
    [[2.0, 2.0], [0.0, 0.0]]
    """

    width: int
    count: int = 0
    _left: list[Float32] = field(default_factory=list)
    _right: list[Float32] = field(default_factory=list)

    def add(self, left: Float32, right: Float32) -> None:
        """One more sample: left (n_users, k), right (n_items, k) float32."""
        self._left.append(left.copy())
        self._right.append(right.copy())
        self.count += 1
        if len(self._left) > BATCH:
            self._narrow()

    def result(self) -> tuple[Float32, Float32]:
        """L (n_users, r), R (n_items, r) float32, r at most `width`. Needs at least one sample."""
        self._narrow()
        share = np.float32(1 / np.sqrt(self.count))
        return self._left[0] * share, self._right[0] * share

    @one_thread_blas()
    def _narrow(self) -> None:
        left, left_r = np.linalg.qr(np.hstack(self._left))
        right, right_r = np.linalg.qr(np.hstack(self._right))
        u, s, vt = np.linalg.svd(left_r @ right_r.T)
        keep = min(self.width, len(s))
        root = np.sqrt(s[:keep])
        self._left = [np.ascontiguousarray(left @ (u[:, :keep] * root), np.float32)]
        self._right = [np.ascontiguousarray(right @ (vt[:keep].T * root), np.float32)]
