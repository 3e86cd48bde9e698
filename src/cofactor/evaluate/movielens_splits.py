"""The two splits of MovieLens-100k that everyone means, S0 and I0, by row numbers in file order."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor.arrays import Int64
from cofactor.data.ids import id_column
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.evaluate.leakage import pair_keys
from cofactor.evaluate.split import Split

__all__ = ["i0_rows", "s0_rows", "split_rows"]


def s0_rows(n: int = 100_000) -> tuple[Int64, Int64]:
    """S0, for ratings: p = RandomState(0).permutation(n); train is the first 80 % of p, test the rest.

    On u.data in file order (n = 100,000) that is p[:80000] and p[80000:]; 36 test rows have a user or
    an item that training does not know, and they count. Score RMSE over rows, clipped to 1..5. Both are int64 row
    numbers from 0; n = 0 gives two empty arrays.

    >>> train, test = s0_rows()
    >>> len(train), len(test)
    (80000, 20000)
    """
    order = _legacy_permutation(n, 0)
    cut = n * 4 // 5
    return order[:cut], order[cut:]


def i0_rows(users: Any, values: Any, *, seed: int = 0, min_rating: float = 4) -> tuple[Int64, Int64]:
    """I0, for events: positives permuted and sorted by user; floor(n / 5) of each user's n are the test.

    The recipe, on the columns of u.data in file order: keep the rows with value >= 4; permute them by
    RandomState(seed).permutation(their number); sort them by user, stably; of each user's n the first
    floor(0.2 n) are test, the others train. The catalog is all items of the file; only training
    positives are excluded from a ranking. Score NDCG@10 with ideal min(10, n_test), mean over users with
    a test item. I0 is seed 0; report the mean over seeds 0..9 beside it.

    users (n,) ids, values (n,) numbers. Both results, train and test, are int64 and count rows of the whole file, from
    0; users of fewer than five positives have no test row. No positives give two empty arrays. Raises DataError where
    the columns differ in length, or ids are missing or mixed.

    >>> train, test = i0_rows(["ana"] * 6 + ["tom"], [5, 4, 4, 4, 5, 1, 5])
    >>> sorted(train.tolist()), test.tolist()
    ([0, 1, 3, 4, 6], [2])
    """
    ids, numbers = id_column(users), np.asarray(values)
    if numbers.shape != (len(ids),):
        raise DataError(f"{len(ids)} users but values of shape {numbers.shape}")
    positives = np.flatnonzero(numbers >= min_rating)
    shuffled = positives[_legacy_permutation(len(positives), seed)]
    u = np.unique(ids.to_numpy()[shuffled], return_inverse=True)[1]
    order = np.argsort(u, kind="stable")
    rows, u = shuffled[order], u[order]
    counts = np.bincount(u)
    place = np.arange(len(u)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_test = place < counts[u] // 5
    return rows[~is_test], rows[is_test]


def split_rows(
    interactions: Interactions, test_rows: Any, *, users: Any, items: Any, description: str = "given rows"
) -> Split:
    """The split whose test is these rows of the file; train is every other row of `interactions`.

    users, items (n_file,) are the id columns in file order, from which `interactions` was made (perhaps
    of fewer rows, such as the positives of I0); test_rows count them from 0. The whole table's ids stay.
    Where a file has a pair twice, the table holds it once, and so does one part of the split.

    Raises ParameterError for row numbers outside the file, DataError for a test row that
    `interactions` does not have.

    >>> users, items = ["ana", "tom", "ana"], ["heat", "heat", "alien"]
    >>> table = Interactions.from_columns(users, items, [3, 4, 5])
    >>> split_rows(table, [0], users=users, items=items).test.frame()["item"].to_list()
    ['heat']
    """
    user_ids, item_ids = id_column(users), id_column(items)
    if len(user_ids) != len(item_ids):
        raise DataError(f"{len(user_ids)} user ids but {len(item_ids)} item ids")
    at = np.asarray(test_rows, dtype=np.int64)
    outside = (at < 0) | (at >= len(user_ids))
    if outside.any():
        raise ParameterError(f"test row {at[outside][0]} is not one of the file's {len(user_ids)}, counted from 0")
    wanted_users, wanted_items = user_ids.gather(at), item_ids.gather(at)
    if len(interactions) == 0:
        raise DataError("the table has no rows to choose a test from")
    u, i = interactions.users.rows(wanted_users), interactions.items.rows(wanted_items)
    keys, wanted = pair_keys(interactions), u.astype(np.int64) * interactions.n_items + i
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    missing = (u < 0) | (i < 0) | (keys[place] != wanted)
    if missing.any():
        k = int(missing.argmax())
        raise DataError(
            f"row {at[k] + 1} of the file, user {wanted_users[k]!r} and item {wanted_items[k]!r}, "
            "is in the test but not in the table: make both from the same rows"
        )
    is_test = np.zeros(len(keys), bool)
    is_test[place] = True
    return Split(interactions.select(~is_test), interactions.select(is_test), description)


def _legacy_permutation(n: int, seed: int) -> Int64:
    """The permutation of numpy's frozen RandomState, the one other people's code draws."""
    return np.random.RandomState(seed).permutation(n).astype(np.int64)
