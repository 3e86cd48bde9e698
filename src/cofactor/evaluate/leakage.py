"""Leakage checks: each raises LeakageError, with an example, if train holds information of the test part."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from cofactor.arrays import Bool, Int64
from cofactor.data.interactions import Interactions
from cofactor.errors import LeakageError
from cofactor.kernels.sparse import SparseRows, common_entries

__all__ = [
    "pair_keys",
    "require_no_future",
    "require_no_future_per_user",
    "require_no_shared_pairs",
    "require_no_shared_users",
    "require_same_ids",
    "warn_about_disjoint_ids",
    "warn_about_time_units",
]

MAX_EXAMPLES = 3
"""Number of ids of each part in a warning."""

UNIT_RATIO = 100
"""Ratio of times above which the units differ: milliseconds are 1,000 times seconds, while times of two tables in
seconds since 1970 never differ by this much."""

_log = logging.getLogger("cofactor")


def pair_keys(table: Interactions) -> Int64:
    """Return a key for each row that identifies its (user, item) pair.

    Parameters
    ----------
    table : Interactions
        A table; its rows are sorted by (u, i).

    Returns
    -------
    ndarray of shape (n,), int64
        u * n_items + i of each row, ascending.
    """
    return table.u.astype(np.int64) * table.n_items + table.i


def require_same_ids(train: Interactions, other: Interactions, part: str) -> None:
    """Require that row numbers mean the same ids in both parts; no other check works without that.

    Parameters
    ----------
    train, other : Interactions
        Two parts of a split.
    part : str
        Name of the second part, for messages.

    Raises
    ------
    LeakageError
        If the users or the items differ.
    """
    for side, train_ids, other_ids in (("users", train.users, other.users), ("items", train.items, other.items)):
        if not train_ids.equals(other_ids):
            raise LeakageError(
                f"train and {part} number their {side} differently ({len(train_ids)} and {len(other_ids)} ids), "
                "so leakage cannot be checked: join two tables by cofactor.evaluate.split_predefined(train, test)"
            )


def require_no_shared_pairs(
    first: Interactions, other: Interactions, parts: tuple[str, str] = ("train", "test")
) -> None:
    """Require that no (user, item) pair is in both tables.

    Parameters
    ----------
    first, other : Interactions
        Two parts of a split, with the same ids.
    parts : (str, str), default ("train", "test")
        Names of the parts, for messages.

    Raises
    ------
    LeakageError
        If a pair is in both; never for an empty table.

    Examples
    --------
    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> require_no_shared_pairs(table, table.select(table.values > 3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'tom' and item 'heat' are in train and in test: ...
    """
    shared = _is_in(pair_keys(other), pair_keys(first))
    if shared.any():
        row = int(shared.argmax())
        raise LeakageError(
            f"user {_user_id(other, row)!r} and item {_item_id(other, row)!r} are in {parts[0]} and in {parts[1]}"
            f"{_remaining_count(shared, 'pair')}: a pair must be in one part only"
        )


def require_no_history_pairs(histories: SparseRows, test: Interactions) -> None:
    """Require that a model's histories hold no pair of the test part.

    Parameters
    ----------
    histories : SparseRows of shape (n_users, n_items)
        What the model was fitted on or updated with, by the row numbers of `test`.
    test : Interactions
        The test part.

    Raises
    ------
    LeakageError
        If they hold such a pair; the message names a user and an item.

    Examples
    --------
    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> require_no_history_pairs(table.by_user, table.select([False, True]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'tom' and item 'heat' are in the test part and in the model's histories: ...
    """
    n, user, item = common_entries(histories, test.by_user)
    if n:
        more = f" (and {n - 1:,} more pair{'s' if n > 2 else ''})" if n > 1 else ""
        raise LeakageError(
            f"user {test.users.ids([user])[0]!r} and item {test.items.ids([item])[0]!r} are in the test part and in "
            f"the model's histories{more}: fit on split.train, and do not update with the test part"
        )


def require_no_shared_users(train: Interactions, other: Interactions, part: str) -> None:
    """Require that no user has rows in both tables.

    Parameters
    ----------
    train, other : Interactions
        Two parts of a split, with the same ids.
    part : str
        Name of the second part, for messages.

    Raises
    ------
    LeakageError
        If a user has rows in both; the message names the first.
    """
    in_train = np.bincount(train.u, minlength=train.n_users) > 0
    shared = in_train & (np.bincount(other.u, minlength=train.n_users) > 0)
    if shared.any():
        user = train.users.ids([int(shared.argmax())])[0]
        raise LeakageError(
            f"user {user!r} is held out in {part} but also has rows in train"
            f"{_remaining_count(shared, 'user')}: users held out must not have training rows"
        )


def require_no_future(train: Interactions, test: Interactions) -> None:
    """Require that all training rows are older than all test rows: max(train time) < min(test time).

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split.

    Raises
    ------
    LeakageError
        If a training row is not older (the message names it), or a part has no times. An empty part has no such row.
    """
    cutoff = int(_times(test, "test").min(initial=np.iinfo(np.int64).max))
    late = _times(train, "train") >= cutoff
    if late.any():
        row = int(late.argmax())
        raise LeakageError(
            f"user {_user_id(train, row)!r} and item {_item_id(train, row)!r} are in train with time "
            f"{_times(train, 'train')[row]}, but the test part starts at {cutoff}{_remaining_count(late, 'row')}"
        )


def require_no_future_per_user(train: Interactions, test: Interactions) -> None:
    """Require that no training row is later than a test row of the same user; equal times are allowed.

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split, with the same ids.

    Raises
    ------
    LeakageError
        If a training row is later (the message names it), or a part has no times.
    """
    first_test = np.full(train.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first_test, test.u, _times(test, "test"))
    late = _times(train, "train") > first_test[train.u]
    if late.any():
        row = int(late.argmax())
        raise LeakageError(
            f"user {_user_id(train, row)!r} has item {_item_id(train, row)!r} in train with time "
            f"{_times(train, 'train')[row]}, after a test row of time {first_test[train.u[row]]}"
            f"{_remaining_count(late, 'row')}"
        )


def warn_about_disjoint_ids(train: Interactions, test: Interactions) -> None:
    """Log a warning if train and test share no user or no item: their ids may be written differently.

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split, with the same ids.
    """
    for side, column in (("user", "u"), ("item", "i")):
        ids = train.users if side == "user" else train.items
        train_rows, test_rows = np.unique(getattr(train, column)), np.unique(getattr(test, column))
        if len(train_rows) and len(test_rows) and not len(np.intersect1d(train_rows, test_rows)):
            _log.warning(
                "train and test share no %s: train has %s, test has %s; check that both write ids in the same way",
                side, _format_ids(ids.ids(train_rows[:MAX_EXAMPLES])), _format_ids(ids.ids(test_rows[:MAX_EXAMPLES])),
            )  # fmt: skip


def warn_about_time_units(train: Interactions, test: Interactions) -> None:
    """Log a warning if the times of train and test differ so much that their units must differ.

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split.
    """
    if train.times is None or test.times is None or not len(train) or not len(test):
        return
    medians = [int(np.median(times.astype(np.float64))) for times in (train.times, test.times)]
    if min(medians) > 0 and max(medians) / min(medians) > UNIT_RATIO:
        part = "train" if medians[0] > medians[1] else "test"
        _log.warning(
            "the times of %s seem to have another unit: around %d in train and %d in test; give both in seconds since "
            "1970", part, *medians,
        )  # fmt: skip


def _format_ids(ids: Any) -> str:
    """Return ids as a message shows them."""
    return ", ".join(map(repr, ids.to_list()))


def _is_in(values: Int64, keys: Int64) -> Bool:
    """Return which of the first keys are among the second keys, which are ascending."""
    if len(keys) == 0:
        return np.zeros(len(values), bool)
    is_in: Bool = keys[np.minimum(np.searchsorted(keys, values), len(keys) - 1)] == values
    return is_in


def _times(table: Interactions, part: str) -> Int64:
    """Return the times of a table. Raises LeakageError if it has none."""
    if table.times is None:
        raise LeakageError(
            f"{part} has no times, so it cannot be checked that train holds no future of test: read both with times"
        )
    return table.times


def _user_id(table: Interactions, row: int) -> Any:
    """Return the user id of a row."""
    return table.users.ids(table.u[row : row + 1])[0]


def _item_id(table: Interactions, row: int) -> Any:
    """Return the item id of a row."""
    return table.items.ids(table.i[row : row + 1])[0]


def _remaining_count(mask: Bool, noun: str) -> str:
    """Return how many more rows a message could name, in words."""
    more = int(mask.sum()) - 1
    return f" (and {more:,} more {noun}{'s' if more > 1 else ''})" if more else ""
