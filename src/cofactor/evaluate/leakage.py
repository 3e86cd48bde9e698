"""Proofs that the training part of a split knows nothing of its test part; each raises with an example."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from cofactor.arrays import Bool, Int64
from cofactor.data.interactions import Interactions
from cofactor.errors import LeakageError
from cofactor.kernels.sparse import SparseRows, common_entries

__all__ = [
    "no_future",
    "no_future_per_user",
    "no_shared_pairs",
    "no_shared_users",
    "pair_keys",
    "same_ids",
    "warn_of_strangers",
    "warn_of_units",
]

SHOWN = 3
"""Ids of each part that a warning shows."""

OTHER_UNIT = 100
"""Times in milliseconds are 1,000 times those in seconds; no two tables in seconds since 1970 differ by this much."""

_log = logging.getLogger("cofactor")


def pair_keys(table: Interactions) -> Int64:
    """u * n_items + i of each row: (n,) int64, ascending because rows are sorted by (u, i)."""
    return table.u.astype(np.int64) * table.n_items + table.i


def same_ids(train: Interactions, other: Interactions, part: str) -> None:
    """Row numbers mean the same ids in both; without that, nothing else could be proved. Raises LeakageError."""
    for what, here, there in (("users", train.users, other.users), ("items", train.items, other.items)):
        if not here.equals(there):
            raise LeakageError(
                f"train and {part} number their {what} differently ({len(here)} and {len(there)} ids), "
                "so nothing can be proved about them: join two tables by cofactor.evaluate.split_given(train, test)"
            )


def no_shared_pairs(first: Interactions, other: Interactions, parts: tuple[str, str] = ("train", "test")) -> None:
    """No (user, item) stands in both; true of an empty table. Raises LeakageError, naming one.

    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> no_shared_pairs(table, table.select(table.values > 3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'tom' and item 'heat' stand in train and in test: ...
    """
    shared = _found(pair_keys(other), pair_keys(first))
    if shared.any():
        row = int(shared.argmax())
        raise LeakageError(
            f"user {_user(other, row)!r} and item {_item(other, row)!r} stand in {parts[0]} and in {parts[1]}"
            f"{_and_more(shared, 'pair')}: a pair may be in one of them only"
        )


def no_known_pairs(histories: SparseRows, test: Interactions) -> None:
    """Raise LeakageError where a model's histories hold a pair of the test part.

    Parameters
    ----------
    histories : SparseRows of shape (n_users, n_items)
        What the model was fitted on or updated with, by the row numbers of `test`.
    test : Interactions
        The test part.

    Raises
    ------
    LeakageError
        It names a user and an item.

    Examples
    --------
    >>> table = Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> no_known_pairs(table.by_user, table.select([False, True]))  # doctest: +ELLIPSIS
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


def no_shared_users(train: Interactions, other: Interactions, part: str) -> None:
    """No user has rows in both. Raises LeakageError, naming one."""
    in_train = np.bincount(train.u, minlength=train.n_users) > 0
    shared = in_train & (np.bincount(other.u, minlength=train.n_users) > 0)
    if shared.any():
        user = train.users.ids([int(shared.argmax())])[0]
        raise LeakageError(
            f"user {user!r} is held out and has rows in {part}, and has rows in train as well"
            f"{_and_more(shared, 'user')}: a user held out is held out whole"
        )


def no_future(train: Interactions, test: Interactions) -> None:
    """Every training row is older than every test row: max(train time) < min(test time).

    True where one of the two is empty. Raises LeakageError, naming a row, or where one of the two has no times.
    """
    cut = int(_times(test, "test").min(initial=np.iinfo(np.int64).max))
    late = _times(train, "train") >= cut
    if late.any():
        row = int(late.argmax())
        raise LeakageError(
            f"user {_user(train, row)!r} and item {_item(train, row)!r} are in train with time "
            f"{_times(train, 'train')[row]}, but the test begins at {cut}{_and_more(late, 'row')}"
        )


def no_future_per_user(train: Interactions, test: Interactions) -> None:
    """No training row of a user is younger than a test row of the same user (equal times are allowed).

    Raises LeakageError, naming a row, or where one of the two has no times.
    """
    first_test = np.full(train.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first_test, test.u, _times(test, "test"))
    late = _times(train, "train") > first_test[train.u]
    if late.any():
        row = int(late.argmax())
        raise LeakageError(
            f"user {_user(train, row)!r} has item {_item(train, row)!r} in train with time "
            f"{_times(train, 'train')[row]}, after a test row of time {first_test[train.u[row]]}"
            f"{_and_more(late, 'row')}"
        )


def warn_of_strangers(train: Interactions, test: Interactions) -> None:
    """Log a warning where train and test share no user or no item: their ids may be written differently."""
    for what, column in (("user", "u"), ("item", "i")):
        ids = train.users if what == "user" else train.items
        here, there = np.unique(getattr(train, column)), np.unique(getattr(test, column))
        if len(here) and len(there) and not len(np.intersect1d(here, there)):
            _log.warning(
                "train and test share no %s: train has %s, test has %s; check that both write ids alike",
                what, _examples(ids.ids(here[:SHOWN])), _examples(ids.ids(there[:SHOWN])),
            )  # fmt: skip


def warn_of_units(train: Interactions, test: Interactions) -> None:
    """Log a warning where the times of train and test differ so much that their units must differ."""
    if train.times is None or test.times is None or not len(train) or not len(test):
        return
    middle = [int(np.median(times.astype(np.float64))) for times in (train.times, test.times)]
    if min(middle) > 0 and max(middle) / min(middle) > OTHER_UNIT:
        part = "train" if middle[0] > middle[1] else "test"
        _log.warning(
            "the times of %s are not in the unit of the others: around %d in train and %d in test; give both in "
            "seconds since 1970", part, *middle,
        )  # fmt: skip


def _examples(ids: Any) -> str:
    return ", ".join(map(repr, ids.to_list()))


def _found(wanted: Int64, keys: Int64) -> Bool:
    """Which of `wanted` are in `keys`, which are ascending."""
    if len(keys) == 0:
        return np.zeros(len(wanted), bool)
    found: Bool = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return found


def _times(table: Interactions, part: str) -> Int64:
    if table.times is None:
        raise LeakageError(f"{part} has no times, so nothing proves that train holds no future of the test")
    return table.times


def _user(table: Interactions, row: int) -> Any:
    return table.users.ids(table.u[row : row + 1])[0]


def _item(table: Interactions, row: int) -> Any:
    return table.items.ids(table.i[row : row + 1])[0]


def _and_more(found: Bool, what: str) -> str:
    more = int(found.sum()) - 1
    return f" (and {more:,} more {what}{'s' if more > 1 else ''})" if more else ""
