"""Removal effects: the change in the score of an item when one row of the user's history is removed.

    effect_j = x(u, i) - x(u without j, i)

Both scores are those of a user who is folded in, with all rows and without row j. For users of the training of a linear
factor model, the items respond to the removal (`models.item_response`). In contrast to the terms of an
`Explanation`, effects need not add up to the score. They predict how the score changes when the rating is removed and
the model is refitted, because a rating changes the score not only through its value, but also through its weight
relative to the penalty and to the other ratings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, Int32
from cofactor.errors import KindError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import checked_one_user
from cofactor.models.base import FoldsIn, FoldsInWithout, ScoresItems, ScoresSomeItems
from cofactor.models.item_response import ItemResponse
from cofactor.models.user_batch import UserBatch

__all__ = ["RemovalEffects", "item_scores", "leave_one_out", "own_fold_in", "removal_effects"]

UserFit: TypeAlias = Callable[[SparseRows], Any]
"""Function that folds in users from their histories, and returns a model with these users."""

MAX_ENTRIES = 2**22
"""Maximum number of history entries to fold in at once."""


@dataclass(frozen=True, eq=False)
class RemovalEffects:
    """Effects of removing each row of a user's history on the scores of some items.

    Parameters
    ----------
    rows : ndarray of shape (m,), int32
        Item row numbers of the user's history.
    effects : ndarray of shape (n_items, m), float64
        The score of each item for the user folded in with all rows, minus that of the user folded in without one row.
        A positive effect means that the row raises the score.
    """

    rows: Int32
    effects: Float64


def leave_one_out(history: SparseRows, first: int = 0, last: int | None = None) -> SparseRows:
    """Return copies of a history, each without one of its rows.

    Parameters
    ----------
    history : SparseRows
        The history of one user, with m entries.
    first, last : int
        The range of the removed entries, from `first` to `last` - 1; all m by default.

    Returns
    -------
    SparseRows
        One row for each removed entry, with the m - 1 other entries and their weights and times.

    Examples
    --------
    >>> history = SparseRows.of(rows=[0, 0, 0], columns=[2, 5, 7], values=[4, 3, 5], n_rows=1)
    >>> leave_one_out(history).columns.tolist()
    [5, 7, 2, 7, 2, 5]
    """
    m = len(history.columns)
    removed = np.arange(first, m if last is None else last)
    copies = history.take(np.zeros(len(removed), np.int32))
    keep = np.ones((len(removed), m), bool)
    keep[np.arange(len(removed)), removed] = False
    return copies.filter(keep.ravel())


@one_thread_blas()
def removal_effects(
    model: object,
    users: UserBatch,
    items: Int32,
    *,
    fold_in: UserFit | None = None,
    item_response: ItemResponse | None = None,
) -> RemovalEffects:
    """Compute the effects of removing each row of a user's history on the scores of some items.

    The user is folded in m + 1 times for a history of m rows, whatever the number of items, or by the faster method of
    the model (`FoldsInWithout`). With `item_response`, the item vectors change too, as in a refit.

    Parameters
    ----------
    model : Model
        A model that ranks items and folds in users.
    users : UserBatch
        A single user of the model, with their history.
    items : ndarray of shape (n_items,), int32
        Item row numbers.
    fold_in : callable, optional
        Takes histories and returns a model with one user for each, such as one that applies priors for new users;
        `model.fold_in` by default.
    item_response : ItemResponse, optional
        Computes the effects with the changes of the item vectors in a refit. It is used if `fold_in` is None and the
        user is a training user with at least two rows.

    Returns
    -------
    RemovalEffects
        The effects.

    Raises
    ------
    KindError
        If the model cannot rank items or fold in users.
    ParameterError
        If the batch contains more than one user, or if a row number is out of range.

    References
    ----------
    I. Covert, S. Lundberg, S.-I. Lee. Explaining by removing: a unified framework for model explanation. JMLR 22, 2021.

    Examples
    --------
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], kind="events")
    >>> found = removal_effects(cofactor.ItemKNN().fit(events), UserBatch.trained([2], events.by_user), np.int32([0]))
    >>> found.rows.tolist(), found.effects.round(2).tolist()
    ([1], [[0.33]])
    """
    if not isinstance(model, FoldsIn) or not isinstance(model, ScoresItems):
        raise KindError("this model cannot fold in users, so it has no removal effects")
    history, items = checked_one_user(model, users).histories, checks.row_numbers("items", items, model.n_items)
    m = len(history.columns)
    if fold_in is None and item_response is not None and m > 1 and item_response.is_trained(int(users.rows[0])):
        return RemovalEffects(history.columns, item_response.removal_effects(int(users.rows[0]), items, history))
    if fold_in is None and isinstance(model, FoldsInWithout):
        scores = item_scores(model.fold_in_without(history), UserBatch.folded(SparseRows.empty(m + 1)), items)
        return RemovalEffects(history.columns, (scores[-1] - scores[:-1]).T)
    fold_in = model.fold_in if fold_in is None else fold_in
    full_scores = _fold_in_scores(fold_in, history, items)[0]
    effects, size = np.zeros((len(items), m)), max(MAX_ENTRIES // max(m, 1), 1)
    for first in range(0, m, size):
        block = slice(first, min(first + size, m))
        without = _fold_in_scores(fold_in, leave_one_out(history, block.start, block.stop), items)
        effects[:, block] = (full_scores - without).T
    return RemovalEffects(history.columns, effects)


def own_fold_in(model: Any, users: UserBatch, fold_in: UserFit | None) -> UserFit | None:
    """Return the fold-in function that fitted a user: with a prior for folded-in users, otherwise without one.

    A model does not store which of its users were folded in.

    Parameters
    ----------
    model : Model
        A model that ranks items and folds in users.
    users : UserBatch
        A single user of the model, with their history.
    fold_in : callable or None
        Fold-in with the priors for new users; None if there are none.

    Returns
    -------
    callable or None
        `fold_in` if the scores of the user are closer to those of a fold-in with priors than without, else None.
    """
    if fold_in is None:
        return None
    history = checked_one_user(model, users).histories
    own = model.scores(users)
    with_prior, without = (
        float(np.abs(fit(history).scores(UserBatch.folded(history)) - own).sum(dtype=np.float64))
        for fit in (fold_in, model.fold_in)
    )
    return fold_in if with_prior < without else None


def _fold_in_scores(fold_in: UserFit, histories: SparseRows, items: Int32) -> Float64:
    """Return the scores of items for users who are folded in."""
    return item_scores(fold_in(histories), UserBatch.folded(histories), items)


def item_scores(model: Any, users: UserBatch, items: Int32) -> Float64:
    """Compute the unclipped scores of some items for each user, with any model that ranks items.

    Parameters
    ----------
    model : Model
        A model that ranks items.
    users : UserBatch
        Must not contain unknown users (row -1).
    items : ndarray of shape (n,), int32
        Item row numbers.

    Returns
    -------
    ndarray of shape (n_users, n), float64

    Examples
    --------
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 1], kind="events")
    >>> users = UserBatch.trained([2, 0], events.by_user)
    >>> item_scores(cofactor.Popularity().fit(events), users, np.int32([1])).tolist()
    [[1.0], [1.0]]
    """
    scores = model.item_scores(users, items) if isinstance(model, ScoresSomeItems) else model.scores(users)[:, items]
    return np.asarray(scores, np.float64)
