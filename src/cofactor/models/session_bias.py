"""Session bias: a user bias for each time period in which the user rated items."""

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

NO_SESSION = np.iinfo(np.int32).max
"""The bin number of times outside all bins."""


@dataclass(frozen=True, eq=False)
class SessionBias:
    """Session biases: a bias for each user and each time bin in which the user rated items.

    Parameters
    ----------
    seconds : int
        The length of a bin in seconds.
    origin : int
        The start of bin 0, in seconds since the Unix epoch.
    rows : SparseRows
        For each user, the numbers of the bins in which the user rated items (as columns) and their biases (as values).

    Notes
    -----
    The bin of time t is floor((t - origin) / seconds). b_(u, t) is the bias of u in that bin. In bins without ratings
    from u, it is 0, its prior mean.

    References
    ----------
    Y. Koren. Collaborative filtering with temporal dynamics. KDD 2009, section 4.

    Examples
    --------
    >>> biases = SessionBias(60, 1000, SparseRows.of(rows=[0], columns=[2], values=[0.5], n_rows=1))
    >>> biases.shift(np.int32([0, 0, -1]), np.int64([1130, 1000, 1130])).tolist()
    [0.5, 0.0, 0.0]
    """

    seconds: int
    origin: int
    rows: SparseRows

    def bins(self, times: Int64) -> Int64:
        """Return the index of the time bin that contains each time.

        Parameters
        ----------
        times : ndarray of shape (n,), int64
            Seconds since the Unix epoch.

        Returns
        -------
        ndarray of shape (n,), int64
            The bin numbers; `NO_SESSION` for times before bin 0 or after the last possible bin.
        """
        bins = (times.astype(np.int64) - self.origin) // self.seconds
        return np.where((bins < 0) | (bins > NO_SESSION), NO_SESSION, bins)

    def shift(self, users: Int32, times: Int64) -> Float32:
        """Return the session bias of each pair of a user and a time.

        Parameters
        ----------
        users : ndarray of shape (n,), int32
            User row numbers; -1 is an unknown user.
        times : ndarray of shape (n,), int64
            Seconds since the Unix epoch.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        if len(self._keys) == 0:
            return np.zeros(len(users), np.float32)
        keys = users.astype(np.int64) << 32 | self.bins(times)
        index = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[index] == keys, self.rows.values[index], np.float32(0))

    @cached_property
    def _keys(self) -> Int64:
        """The user and the bin of each session, packed into one sorted integer key."""
        users = np.repeat(np.arange(len(self.rows), dtype=np.int64), self.rows.counts)
        return users << 32 | self.rows.columns

    def without_sessions(self, n_users: int) -> Self:
        """Return session biases for n users who have no sessions.

        Parameters
        ----------
        n_users : int
            The number of users.

        Returns
        -------
        SessionBias
            Session biases with the same bins.
        """
        return replace(self, rows=SparseRows.empty(n_users))

    def with_users(self, other: Self, take: Int32) -> Self:
        """Return the session biases of users selected from this object and another one.

        Parameters
        ----------
        other : SessionBias
            Session biases with the same bins.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        SessionBias
            Session biases for n users.
        """
        rows = np.where(take >= 0, take, len(self.rows) - 1 - take)
        return replace(self, rows=vstack(self.rows, other.rows).take(rows))

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the time bins and biases of each user as CSR arrays.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return {"start": self.rows.start, "bins": self.rows.columns, "bias": self.rows.values}

    def settings(self) -> dict[str, Any]:
        """Return the length of the time bins and the start of the first one, in seconds.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {"seconds": self.seconds, "begin": self.origin}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct session biases from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        SessionBias
            A bitwise identical object.
        """
        rows = SparseRows(arrays["start"], arrays["bins"], arrays["bias"])
        seconds, begin = (checks.plain(name, settings[name], int) for name in ("seconds", "begin"))
        return cls(checks.whole_number("seconds", seconds, low=1), begin, rows)

    @classmethod
    def of_ratings(cls, users: Int32, times: Int64, seconds: int, n_users: int) -> tuple[Self, Int64]:
        """Find the sessions (the time bins in which each user rated items) in a table, and create session biases of 0.

        Parameters
        ----------
        users : ndarray of shape (n,), int32
            The user of each rating, in ascending order; n must be at least 1.
        times : ndarray of shape (n,), int64
            Seconds since the Unix epoch; the earliest time is the start of bin 0.
        seconds : int
            The length of a bin in seconds.
        n_users : int
            The number of users.

        Returns
        -------
        biases : SessionBias
        sessions : ndarray of shape (n,), int64
            The position in `rows` of each rating's session.

        Examples
        --------
        >>> day = 86_400
        >>> biases, sessions = SessionBias.of_ratings(np.int32([0, 0, 1]), np.int64([0, day, 1]), day, n_users=2)
        >>> biases.rows.counts.tolist(), sessions.tolist()
        ([2, 1], [0, 1, 2])
        """
        empty = cls(seconds, int(times.min()), SparseRows.empty(n_users))
        keys, sessions = np.unique(users.astype(np.int64) << 32 | empty.bins(times), return_inverse=True)
        counts = np.bincount(keys >> 32, minlength=n_users)
        rows = SparseRows(
            read_only(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])),
            read_only((keys & 0xFFFFFFFF).astype(np.int32)),
            read_only(np.zeros(len(keys), np.float32)),
        )
        return replace(empty, rows=rows), sessions.astype(np.int64)
