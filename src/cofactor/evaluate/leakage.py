"""Leakage checks: raise LeakageError, with an example, if the training set contains information from the test set."""

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
    "warn_if_ids_disjoint",
    "warn_if_time_units_differ",
]

MAX_EXAMPLES = 3
"""Maximum number of example IDs per part in a warning."""

UNIT_RATIO = 100
"""Ratio of times above which the time units must differ: milliseconds are 1,000 times seconds, whereas times in seconds
since the Unix epoch never differ by this much between two tables."""

_log = logging.getLogger("cofactor")


def pair_keys(table: Interactions) -> Int64:
    """Return a key for each row that uniquely identifies its user-item pair.

    Parameters
    ----------
    table : Interactions
        Table whose rows are sorted by (u, i).

    Returns
    -------
    ndarray of shape (n,), int64
        u * n_items + i for each row, in ascending order.
    """
    return table.u.astype(np.int64) * table.n_items + table.i


def require_same_ids(train: Interactions, other: Interactions, part: str) -> None:
    """Check that row numbers refer to the same IDs in two tables of a split, as all other checks assume.

    Parameters
    ----------
    train, other : Interactions
        Two parts of a split.
    part : str
        Name of the second part, for error messages.

    Raises
    ------
    LeakageError
        If the users or the items differ.
    """
    for noun, train_ids, other_ids in (("users", train.users, other.users), ("items", train.items, other.items)):
        if not train_ids.equals(other_ids):
            raise LeakageError(
                f"train and {part} number their {noun} differently ({len(train_ids)} and {len(other_ids)} IDs), "
                "so leakage cannot be checked; combine them with cofactor.evaluate.split_predefined(train, test)"
            )


def require_no_shared_pairs(
    first: Interactions, other: Interactions, parts: tuple[str, str] = ("train", "test")
) -> None:
    """Check that no user-item pair is in both tables.

    Parameters
    ----------
    first, other : Interactions
        Two parts of a split, with the same IDs.
    parts : (str, str), default ("train", "test")
        Names of the parts, for error messages.

    Raises
    ------
    LeakageError
        If a pair is in both tables.

    Examples
    --------
    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> require_no_shared_pairs(table, table.select(table.values > 3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'tom' and item 'heat' are in both train and test; ...
    """
    shared = _is_in(pair_keys(other), pair_keys(first))
    if shared.any():
        row = int(shared.argmax())
        raise LeakageError(
            f"user {_user_id(other, row)!r} and item {_item_id(other, row)!r} are in both {parts[0]} and {parts[1]}"
            f"{_remaining_count(shared, 'pair')}; a user-item pair must be in only one of them"
        )


def require_no_history_pairs(histories: SparseRows, test: Interactions) -> None:
    """Check that a model's histories contain no user-item pair from the test set.

    Parameters
    ----------
    histories : SparseRows of shape (n_users, n_items)
        Interactions that the model was trained on or updated with, using the row numbers of `test`.
    test : Interactions
        Test set.

    Raises
    ------
    LeakageError
        If the histories contain such a pair; the message names a user and an item.

    Examples
    --------
    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> require_no_history_pairs(table.by_user, table.select([False, True]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'tom' and item 'heat' are in both the test set and the model's histories; ...
    """
    n, user, item = common_entries(histories, test.by_user)
    if n:
        remaining_text = f" (and {n - 1:,} more pair{'s' if n > 2 else ''})" if n > 1 else ""
        raise LeakageError(
            f"user {test.users.id_at(user)!r} and item {test.items.id_at(item)!r} are in both the test set and "
            f"the model's histories{remaining_text}; fit on split.train, and do not update the model with the test set"
        )


def require_no_shared_users(train: Interactions, other: Interactions, part: str) -> None:
    """Check that no user has rows in both tables.

    Parameters
    ----------
    train, other : Interactions
        Two parts of a split, with the same IDs.
    part : str
        Name of the second part, for error messages.

    Raises
    ------
    LeakageError
        If a user has rows in both tables; the message names the first such user.
    """
    in_train = np.bincount(train.u, minlength=train.n_users) > 0
    shared = in_train & (np.bincount(other.u, minlength=train.n_users) > 0)
    if shared.any():
        user = train.users.id_at(int(shared.argmax()))
        raise LeakageError(
            f"user {user!r} is held out in {part} but also has rows in the training set"
            f"{_remaining_count(shared, 'user')}; held-out users must not have training rows"
        )


def require_no_future(train: Interactions, test: Interactions) -> None:
    """Check that all training rows are older than all test rows: max(train time) < min(test time).

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split.

    Raises
    ------
    LeakageError
        If a training row is not older than all test rows (the message names the row), or a part has no times.
    """
    cutoff = int(_times(test, "test").min(initial=np.iinfo(np.int64).max))
    is_late = _times(train, "train") >= cutoff
    if is_late.any():
        row = int(is_late.argmax())
        raise LeakageError(
            f"the training set contains user {_user_id(train, row)!r} and item {_item_id(train, row)!r} at time "
            f"{_times(train, 'train')[row]}, but the test set starts at {cutoff}{_remaining_count(is_late, 'row')}"
        )


def require_no_future_per_user(train: Interactions, test: Interactions) -> None:
    """Check that no training row is later than a test row of the same user; equal times are allowed.

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split, with the same IDs.

    Raises
    ------
    LeakageError
        If a training row is later than a test row of the same user (the message names the row), or a part has no
        times.
    """
    first_test = np.full(train.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first_test, test.u, _times(test, "test"))
    is_late = _times(train, "train") > first_test[train.u]
    if is_late.any():
        row = int(is_late.argmax())
        raise LeakageError(
            f"the training set contains user {_user_id(train, row)!r} and item {_item_id(train, row)!r} at time "
            f"{_times(train, 'train')[row]}, after a test row of this user at time {first_test[train.u[row]]}"
            f"{_remaining_count(is_late, 'row')}"
        )


def warn_if_ids_disjoint(train: Interactions, test: Interactions) -> None:
    """Log a warning if train and test have no users or no items in common, which suggests different ID formats.

    Parameters
    ----------
    train, test : Interactions
        The two parts of a split, with the same IDs.
    """
    for noun, column in (("user", "u"), ("item", "i")):
        ids = train.users if noun == "user" else train.items
        train_rows, test_rows = np.unique(getattr(train, column)), np.unique(getattr(test, column))
        if len(train_rows) and len(test_rows) and not len(np.intersect1d(train_rows, test_rows)):
            _log.warning(
                "train and test have no %ss in common: train has %s, test has %s; check that the ID formats match",
                noun, _format_ids(ids.ids(train_rows[:MAX_EXAMPLES])), _format_ids(ids.ids(test_rows[:MAX_EXAMPLES])),
            )  # fmt: skip


def warn_if_time_units_differ(train: Interactions, test: Interactions) -> None:
    """Log a warning if the times in train and test differ so much that their units must differ.

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
            "the times in %s seem to use a different unit: around %d in train and %d in test; convert both to seconds "
            "since the Unix epoch", part, *medians,
        )  # fmt: skip


def _format_ids(ids: Any) -> str:
    """Format IDs for a message."""
    return ", ".join(map(repr, ids.to_list()))


def _is_in(values: Int64, keys: Int64) -> Bool:
    """Return a mask of the values that occur in `keys`, which must be in ascending order."""
    if len(keys) == 0:
        return np.zeros(len(values), bool)
    is_in: Bool = keys[np.minimum(np.searchsorted(keys, values), len(keys) - 1)] == values
    return is_in


def _times(table: Interactions, part: str) -> Int64:
    """Return the times of a table; raise LeakageError if it has none."""
    if table.times is None:
        raise LeakageError(
            f"{part} has no times, so train cannot be checked for future data; read both tables with times"
        )
    return table.times


def _user_id(table: Interactions, row: int) -> Any:
    """Return the user ID in a row."""
    return table.users.ids(table.u[row : row + 1])[0]


def _item_id(table: Interactions, row: int) -> Any:
    """Return the item ID in a row."""
    return table.items.ids(table.i[row : row + 1])[0]


def _remaining_count(mask: Bool, noun: str) -> str:
    """Return text such as " (and 2 more rows)" for the rows that a message does not name, or ""."""
    n_remaining = int(mask.sum()) - 1
    return f" (and {n_remaining:,} more {noun}{'s' if n_remaining > 1 else ''})" if n_remaining else ""
