"""Loaded model: a model version in memory, and the current states of its users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float32, Int32, Int64
from cofactor.errors import DataError
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows, merge_latest
from cofactor.recommender.questions import Questions
from cofactor.recommender.recommender import Recommender
from cofactor.recommender.updating import source_without_history
from cofactor.recommender.users import UserView
from cofactor.results import AnsweredBy

__all__ = ["LoadedModel", "UserState"]

NO_ITEMS = np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class UserState:
    """Current state of a user, with items as row numbers of a loaded model.

    Attributes
    ----------
    row : int
        Row of a user whose history has not changed since the training; -1 for a user who is folded in.
    items : ndarray of shape (m,), int32
        Item rows in the history of a user who is folded in.
    values : ndarray of shape (m,), float32
        Ratings or event counts of `items`.
    times : ndarray of shape (m,), int64
        Times of `items`, which determine the order of the history.
    seen : ndarray of shape (s,), int32
        Rows of additional items to exclude from lists.
    metadata : mapping
        User metadata, which the priors may depend on.
    """

    row: int = -1
    items: Int32 = field(default_factory=lambda: NO_ITEMS)
    values: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    times: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    seen: Int32 = field(default_factory=lambda: NO_ITEMS)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """Model version that is loaded into memory.

    Parameters
    ----------
    version : int
        Version in the store.
    watermark : int
        Sequence number of the last change that the model was trained on.
    recommender : Recommender
        The model with its IDs and histories.
    catalog_revision : int, default 0
        Number of times new items were added; row numbers are valid only for one version and catalog revision.

    Examples
    --------
    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "brazil", "alien", "clue", "brazil"]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 2, 5])
    >>> model = LoadedModel(1, 0, cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings))
    >>> cy, dora = UserState(model.user_row("cy")), model.state([("alien", 5.0)])
    >>> model.source(cy), model.source(dora), len(model.view([cy, dora]))
    ('model', 'fold-in', 2)
    """

    version: int
    watermark: int
    recommender: Recommender
    catalog_revision: int = 0

    def item_row(self, item: str) -> int:
        """Return the row number of an item in the model.

        Parameters
        ----------
        item : str
            ID of the item.

        Returns
        -------
        int
            Item row; -1 for an unknown item.
        """
        return int(self.item_rows([item])[0])

    def item_rows(self, items: Sequence[str]) -> Int32:
        """Return the row numbers of items in the model.

        Parameters
        ----------
        items : sequence of str
            IDs of n items.

        Returns
        -------
        ndarray of shape (n,), int32
            Item rows; -1 for unknown items.
        """
        return self.recommender.items.rows(items, parse=True)

    def user_row(self, user: str) -> int:
        """Return the row number of a user in the model.

        Parameters
        ----------
        user : str
            ID of the user.

        Returns
        -------
        int
            User row; -1 for an unknown user.
        """
        return int(self.recommender.users.rows([user], parse=True)[0])

    def state(
        self,
        history: Iterable[tuple[str, float]],
        seen: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        *,
        times: Sequence[int] | None = None,
    ) -> UserState:
        """Return the state of a user who is to be folded into the model; unknown items in the history are ignored.

        Parameters
        ----------
        history : iterable of (str, float)
            (item ID, value) pairs, where the value is a rating or an event count.
        seen : iterable of str, default ()
            IDs of additional items to exclude from lists.
        metadata : mapping, optional
            User metadata by name.
        times : sequence of int, optional
            Time of each pair, in seconds since the Unix epoch; by default, the pairs are in chronological order.

        Returns
        -------
        UserState
            The state, with items as row numbers.
        """
        entries = list(history)
        order = np.arange(len(entries)) if times is None else np.array(times, np.int64)
        rows, values = self.item_rows([item for item, _ in entries]), np.array([v for _, v in entries], np.float32)
        seen_rows = self.item_rows(list(seen))
        is_known = rows >= 0
        return UserState(
            -1, rows[is_known], values[is_known], order[is_known], seen_rows[seen_rows >= 0], metadata or {}
        )

    def source(self, state: UserState) -> AnsweredBy:
        """Return the basis of the recommendations for a user, such as the model or popularity.

        Parameters
        ----------
        state : UserState
            State of the user.

        Returns
        -------
        {"model", "fold-in", "prior", "popularity"}
            See `AnsweredBy`.
        """
        if state.row >= 0:
            return "model"
        return "fold-in" if len(state.items) else source_without_history(self.recommender.new_user_priors)

    def view(self, states: Sequence[UserState]) -> UserView:
        """Return a view of users; users who are not in the model are folded in together.

        Parameters
        ----------
        states : sequence of UserState
            States of the users.

        Returns
        -------
        UserView
            The view, in the order of `states`.

        Raises
        ------
        KindError
            If a user must be folded in but the model does not support it.
        """
        rec = self.recommender
        rows = np.array([state.row for state in states], np.int32)
        new_states = [state for state in states if state.row < 0]
        if not new_states:
            return rec.for_rows(rows)
        times = [state.times for state in new_states] if getattr(rec.model, "uses_order", False) else None
        histories = _matrix([(state.items, state.values) for state in new_states], times)
        with threads(1):
            table = self._features(new_states)
            has_known_users = len(new_states) < len(states)
            view = (
                rec.for_known_and_new(rows, histories, table)
                if has_known_users
                else rec.for_histories(histories, table)
            )
        if any(len(state.seen) for state in states):
            seen = _matrix([(state.seen, np.ones(len(state.seen), np.float32)) for state in states])
            view = replace(view, exclude=merge_latest(view.exclude, seen))
        return view

    def _features(self, states: Sequence[UserState]) -> pl.DataFrame | None:
        """Return the metadata used by the user prior as a table, with null where it is missing or invalid."""
        priors = self.recommender.priors
        prior, columns = (None, []) if priors is None else (priors.user_prior, priors.user_columns)
        if prior is None or not columns or not any(state.metadata for state in states):
            return None
        tables = []
        for state in states:
            for metadata in (state.metadata, {}):
                table = pl.DataFrame({name: [metadata.get(name)] for name in columns}, strict=False)
                try:
                    prior.means(table, 1)
                except DataError:
                    continue
                tables.append(table)
                break
        return pl.concat(tables, how="vertical_relaxed") if len(tables) == len(states) else None

    @cached_property
    def questions(self) -> Questions:
        """Questionnaire for a new user, without answers; raises KindError if the model has no factors from ratings."""
        with threads(1):
            return self.recommender.for_history([]).questions()


def _matrix(rows: Sequence[tuple[Int32, Float32]], times: Sequence[Int64] | None = None) -> SparseRows:
    """Return a sparse matrix with the given (columns, values) rows, and with the times of each row if there are any."""
    owner = np.repeat(np.arange(len(rows)), [len(columns) for columns, _ in rows])
    columns = np.concatenate([NO_ITEMS, *(columns for columns, _ in rows)])
    values = np.concatenate([np.zeros(0), *(values for _, values in rows)])
    return SparseRows.of(owner, columns, values, len(rows), times=None if times is None else np.concatenate(times))
