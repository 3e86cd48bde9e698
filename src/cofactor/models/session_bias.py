"""A user's mood: what the sitting in which a rating was given adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import Float32, Int32, Int64, read_only
from cofactor.kernels.sparse import SparseRows, vstack

__all__ = ["SessionBias"]

NEVER = np.iinfo(np.int32).max
"""The number of a time bin in which nobody rated anything."""


@dataclass(frozen=True, eq=False)
class SessionBias:
    """A bias for every user and every bin of time in which that user rated: b_(u, t) of Koren 2009, section 4.

        bin of time t = floor((t - begin) / seconds),    b_(u, t) = the bias of u in that bin, else 0

    A bin is `seconds` long; bin 0 begins at `begin` (seconds since 1970). rows: for each user the numbers of those
    bins, ascending, and the bias of each. At any other time the bias is 0, what it is on average.

    >>> moods = SessionBias(60, 1000, SparseRows.of(rows=[0], columns=[2], values=[0.5], n_rows=1))
    >>> moods.shift(np.int32([0, 0, -1]), np.int64([1130, 1000, 1130])).tolist()
    [0.5, 0.0, 0.0]
    """

    seconds: int
    begin: int
    rows: SparseRows

    def bins(self, times: Int64) -> Int64:
        """The number of the bin that each time falls into: (n,) int64, `NEVER` before the first and far after it."""
        bins = (times.astype(np.int64) - self.begin) // self.seconds
        return np.where((bins < 0) | (bins > NEVER), NEVER, bins)

    def shift(self, users: Int32, times: Int64) -> Float32:
        """b_(u, t) of each user (row, -1 for unknown) at each time (n,) int64, seconds since 1970: (n,) float32."""
        if len(self._keys) == 0:
            return np.zeros(len(users), np.float32)
        keys = users.astype(np.int64) << 32 | self.bins(times)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self.rows.values[place], np.float32(0))

    @cached_property
    def _keys(self) -> Int64:
        """(user, bin) of every session as one number, ascending."""
        return self.rows.owners.astype(np.int64) << 32 | self.rows.columns

    def without_sessions(self, n_users: int) -> Self:
        """For this many users of whom no session is known."""
        return replace(self, rows=SparseRows.empty(n_users))

    def with_users(self, other: Self, take: Int32) -> Self:
        """Users picked from this one (take >= 0) and from `other` (row -1 - take)."""
        rows = np.where(take >= 0, take, len(self.rows) - 1 - take)
        return replace(self, rows=vstack(self.rows, other.rows).take(rows))

    # files

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The bins of each user and their biases, row by row."""
        return {"start": self.rows.start, "bins": self.rows.columns, "bias": self.rows.values}

    def settings(self) -> dict[str, Any]:
        """How long a bin is and where the first one begins."""
        return {"seconds": self.seconds, "begin": self.begin}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The moods of a model's file."""
        rows = SparseRows(arrays["start"], arrays["bins"], arrays["bias"])
        seconds, begin = (checks.plain(name, settings[name], int) for name in ("seconds", "begin"))
        return cls(checks.whole_number("seconds", seconds, low=1), begin, rows)

    @classmethod
    def unknown(cls, users: Int32, times: Int64, seconds: int, n_users: int) -> tuple[Self, Int64]:
        """The sessions that these ratings were given in, all biases 0, and the place of each rating's session in them.

        users (n,) int32, times (n,) int64, sorted by user, n from 1; the places are (n,) int64. `begin` is the earliest
        of the times.

        >>> day = 86_400
        >>> moods, place = SessionBias.unknown(np.int32([0, 0, 1]), np.int64([0, day, 1]), day, n_users=2)
        >>> moods.rows.counts.tolist(), place.tolist()
        ([2, 1], [0, 1, 2])
        """
        blank = cls(seconds, int(times.min()), SparseRows.empty(n_users))
        keys, place = np.unique(users.astype(np.int64) << 32 | blank.bins(times), return_inverse=True)
        counts = np.bincount(keys >> 32, minlength=n_users)
        bins, bias = read_only((keys & 0xFFFFFFFF).astype(np.int32)), read_only(np.zeros(len(keys), np.float32))
        rows = SparseRows.from_counts(counts, bins, bias)
        return replace(blank, rows=rows), place.astype(np.int64)
