"""User batch: the users for whom a model ranks items or predicts ratings, aligned with their histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cofactor import checks
from cofactor.arrays import Int32, Int64
from cofactor.errors import DataError
from cofactor.kernels.sparse import SparseRows

__all__ = ["UserBatch"]


@dataclass(frozen=True, eq=False)
class UserBatch:
    """Batch of users of a model, each with their current history; a user may occur more than once.

    Create a batch with `trained` from the histories of all users in the model, or with `of` from one history for each
    user in the batch.

    Parameters
    ----------
    rows : ndarray of shape (n,), int32
        Row numbers of users in the model; -1 is a user that is not in the model.
    source : SparseRows
        Histories, with item row numbers as columns.
    history_rows : ndarray of shape (n,), int32
        The row of `source` that contains each user's history; -1 is an empty history.
    times : ndarray of shape (n,), int64, or None
        A time for each user, in seconds since the Unix epoch, for models that learned time effects.

    Raises
    ------
    DataError
        If the arrays differ in length.
    ParameterError
        If a row number is out of range.

    Examples
    --------
    >>> histories = SparseRows.of([0, 1, 1], [2, 0, 2], [5, 3, 4], n_rows=2)
    >>> users = UserBatch.trained([1, 0, 1], histories)
    >>> len(users), users.histories.counts.tolist()
    (3, [2, 1, 2])
    >>> UserBatch.of([0], histories)
    Traceback (most recent call last):
    cofactor.errors.DataError: histories must have 1 rows, one for each user in the batch; got 2
    """

    rows: Int32
    source: SparseRows
    history_rows: Int32
    times: Int64 | None = None

    def __post_init__(self) -> None:
        checks.instance(
            "source", self.source, SparseRows, "create one with SparseRows.of(rows, columns, values, n_rows)"
        )
        is_shared = self.rows is self.history_rows
        rows = checks.row_numbers("rows", self.rows, checks.MAX_VALUES, unknown=True)
        history_rows = (
            rows if is_shared else checks.row_numbers("history_rows", self.history_rows, len(self.source), unknown=True)
        )
        if is_shared and len(rows) and int(rows.max()) >= len(self.source):
            raise DataError(f"`histories` has only {len(self.source):,} rows, but user row {rows.max()} was requested")
        if len(rows) != len(history_rows):
            raise DataError(
                f"history_rows must have {len(rows):,} values, one for each user; got {len(history_rows):,}"
            )
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "history_rows", history_rows)
        if self.times is not None:
            object.__setattr__(self, "times", checks.seconds("times", self.times, len(rows)))

    @classmethod
    def trained(cls, rows: ArrayLike, histories: SparseRows, times: Int64 | None = None) -> Self:
        """Create a batch of a model's users from the histories of all users in the model.

        Parameters
        ----------
        rows : sequence of int
            User row numbers; -1 is an unknown user, who has an empty history.
        histories : SparseRows
            One row for each user in the model.
        times : sequence of int, or None
            Seconds since the Unix epoch, one for each user in the batch.

        Returns
        -------
        UserBatch
            The batch, which does not copy the histories.
        """
        checks.instance(
            "histories", histories, SparseRows, "create one with SparseRows.of(rows, columns, values, n_rows)"
        )
        users = checks.row_numbers("users", rows, len(histories), unknown=True)
        return cls(users, histories, users, times)

    @classmethod
    def of(cls, rows: ArrayLike, histories: SparseRows, times: Int64 | None = None) -> Self:
        """Create a batch from the row numbers of users and one history for each of these users.

        Parameters
        ----------
        rows : sequence of int
            Row numbers of users in the model.
        histories : SparseRows
            One row for each user in the batch, in the same order.
        times : sequence of int, or None
            Seconds since the Unix epoch, one for each user in the batch.

        Returns
        -------
        UserBatch
        """
        checks.instance(
            "histories", histories, SparseRows, "create one with SparseRows.of(rows, columns, values, n_rows)"
        )
        users = checks.row_numbers("users", rows, checks.MAX_VALUES, unknown=True)
        if len(users) != len(histories):
            raise DataError(
                f"histories must have {len(users):,} rows, one for each user in the batch; got {len(histories):,}"
            )
        return cls(users, histories, np.arange(len(users), dtype=np.int32), times)

    @classmethod
    def folded(cls, histories: SparseRows, times: Int64 | None = None) -> Self:
        """Create a batch of all users of a model, given the histories from which the users were folded in.

        Parameters
        ----------
        histories : SparseRows
            One row for each user.
        times : sequence of int, or None
            Seconds since the Unix epoch, one for each user.

        Returns
        -------
        UserBatch
        """
        checks.instance(
            "histories", histories, SparseRows, "create one with SparseRows.of(rows, columns, values, n_rows)"
        )
        return cls.trained(np.arange(len(histories), dtype=np.int32), histories, times)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_trained(self) -> bool:
        """Whether `source` contains the histories of all users in the model, in row order."""
        return self.rows is self.history_rows

    @cached_property
    def histories(self) -> SparseRows:
        """Histories of the n users in the batch, one row per user."""
        return self.source.take(self.history_rows)

    def take(self, positions: NDArray[Any] | Sequence[int] | slice, times: Int64 | None = None) -> Self:
        """Return a batch of the users at given positions in this batch; a position may occur more than once.

        Parameters
        ----------
        positions : ndarray of shape (m,), int or bool, or slice
            Positions of the selected users in the batch, or a mask.
        times : sequence of int, or None
            Seconds since the Unix epoch, one for each selected user; None keeps the times of the batch.

        Returns
        -------
        UserBatch
            A batch of m users.
        """
        rows = self.rows[positions]
        history_rows = rows if self.is_trained else self.history_rows[positions]
        if times is None and self.times is not None:
            times = self.times[positions]
        return type(self)(rows, self.source, history_rows, times)

    def distinct(self) -> tuple[Self, Int64]:
        """Return a copy without duplicate users, and the index array that maps each user of this batch to the copy.

        Times are dropped.

        Returns
        -------
        users : UserBatch
            The distinct users, ordered by row number.
        positions : ndarray of shape (n,), int64
            The position in `users` of each user in this batch.
        """
        if self.is_trained:
            rows, inverse = np.unique(self.rows, return_inverse=True)
            rows = rows.astype(np.int32)
            return type(self)(rows, self.source, rows), inverse
        key = self.rows.astype(np.int64) * (len(self.source) + 1) + self.history_rows
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        return type(self)(self.rows[first], self.source, self.history_rows[first]), inverse
