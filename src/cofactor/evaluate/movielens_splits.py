"""Two common MovieLens-100k splits, S0 for ratings and I0 for events, as row numbers in file order."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Int64
from cofactor.checks import Seed
from cofactor.data.id_columns import id_column
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.evaluate.leakage import pair_keys
from cofactor.evaluate.split import Split

__all__ = ["i0_rows", "s0_rows", "split_rows"]


def s0_rows(n: int = 100_000) -> tuple[Int64, Int64]:
    """Return the row numbers of split S0, for ratings: a random 80% for training and 20% for testing.

    Parameters
    ----------
    n : int, default 100000
        Number of rows in the file.

    Returns
    -------
    train, test : ndarray of shape (n_part,), int64
        Row numbers, starting at 0; both arrays are empty if n is 0.

    Notes
    -----
    With p = RandomState(0).permutation(n), train is the first 80% of p and test is the rest. For u.data, these are
    p[:80000] and p[80000:]. 36 test rows have a user or an item without training rows; they are included. Report RMSE
    over rows, with predictions clipped to 1-5.

    Examples
    --------
    >>> train, test = s0_rows()
    >>> len(train), len(test)
    (80000, 20000)
    """
    order = _legacy_permutation(n, 0)
    n_train = n * 4 // 5
    return order[:n_train], order[n_train:]


def i0_rows(users: Any, values: Any, *, seed: Seed = 0, min_rating: float = 4) -> tuple[Int64, Int64]:
    """Return the row numbers of split I0, for events: floor(n / 5) of each user's n likes are used for testing.

    Parameters
    ----------
    users : array-like of shape (n,)
        User IDs in file order.
    values : array-like of shape (n,)
        Ratings in file order.
    seed : int, Generator or None, default 0
        Seed for the permutation. I0 is seed 0; also report the mean over seeds 0-9.
    min_rating : float, default 4
        Minimum rating of a positive.

    Returns
    -------
    train, test : ndarray of shape (n_part,), int64
        Row numbers in the full file, starting at 0. Users with fewer than five positives have no test rows. Both arrays
        are empty if there are no positives.

    Raises
    ------
    DataError
        If the columns differ in length, or IDs are missing or have mixed types.

    Notes
    -----
    Keep the m rows with value >= min_rating, permute them with RandomState(seed).permutation(m), and sort them by user
    with a stable sort. The first floor(0.2 n) of each user's n rows are test rows; the others are training rows. The
    catalog consists of all items in the file; only training positives are excluded from rankings. Report NDCG@10 with
    an ideal list of min(10, n_test) hits, as the mean over users with a test item.

    Examples
    --------
    >>> train, test = i0_rows(["ana"] * 6 + ["tom"], [5, 4, 4, 4, 5, 1, 5])
    >>> sorted(train.tolist()), test.tolist()
    ([0, 1, 3, 4, 6], [2])
    """
    ids, ratings = id_column(users), np.asarray(values)
    if ratings.shape != (len(ids),):
        raise DataError(f"values must have one rating per user ID; got shape {ratings.shape} for {len(ids)} user IDs")
    positives = np.flatnonzero(ratings >= min_rating)
    shuffled = positives[_legacy_permutation(len(positives), checks.seed(seed))]
    u = np.unique(ids.to_numpy()[shuffled], return_inverse=True)[1]
    order = np.argsort(u, kind="stable")
    rows, u = shuffled[order], u[order]
    counts = np.bincount(u)
    position = np.arange(len(u)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_test = position < counts[u] // 5
    return rows[~is_test], rows[is_test]


def split_rows(
    interactions: Interactions, test_rows: Any, *, users: Any, items: Any, description: str = "predefined rows"
) -> Split:
    """Create a split whose test set consists of given rows of a file.

    Parameters
    ----------
    interactions : Interactions
        Table created from all or some rows of the file (such as the positives in I0).
    test_rows : array-like of shape (n_test,), int
        Row numbers in the file, starting at 0.
    users, items : array-like of shape (n_file,)
        ID columns in file order.
    description : str, default "predefined rows"
        Description of the split.

    Returns
    -------
    Split
        Split whose training set contains all other rows of `interactions`; both parts keep the IDs of the full table.
        If the file contains a pair more than once, it is in the table, and in one part of the split, only once.

    Raises
    ------
    ParameterError
        If a row number is outside the file.
    DataError
        If `interactions` is empty or does not contain a test row, or the ID columns differ in length.

    Examples
    --------
    >>> users, items = ["ana", "tom", "ana"], ["heat", "heat", "alien"]
    >>> table = Interactions.from_columns(users, items, [3, 4, 5])
    >>> split_rows(table, [0], users=users, items=items).test.frame()["item"].to_list()
    ['heat']
    """
    user_ids, item_ids = id_column(users), id_column(items)
    if len(user_ids) != len(item_ids):
        raise DataError(f"users and items must have the same length; got {len(user_ids)} and {len(item_ids)} IDs")
    rows = np.asarray(test_rows, dtype=np.int64)
    is_invalid = (rows < 0) | (rows >= len(user_ids))
    if is_invalid.any():
        raise ParameterError(
            f"test_rows must be row numbers in the file, which has {len(user_ids)} rows; got {rows[is_invalid][0]}"
        )
    test_users, test_items = user_ids.gather(rows), item_ids.gather(rows)
    if len(interactions) == 0:
        raise DataError("interactions must have at least one row; got an empty table")
    u, i = interactions.users.rows(test_users), interactions.items.rows(test_items)
    keys, test_keys = pair_keys(interactions), u.astype(np.int64) * interactions.n_items + i
    position = np.minimum(np.searchsorted(keys, test_keys), max(len(keys) - 1, 0))
    is_missing = (u < 0) | (i < 0) | (keys[position] != test_keys)
    if is_missing.any():
        k = int(is_missing.argmax())
        raise DataError(
            f"row {rows[k] + 1} of the file, user {test_users[k]!r} and item {test_items[k]!r}, "
            "is in the test set but not in interactions; create both from the same rows"
        )
    is_test = np.zeros(len(keys), bool)
    is_test[position] = True
    return Split(interactions.select(~is_test), interactions.select(is_test), description)


def _legacy_permutation(n: int, seed: int) -> Int64:
    """Return a permutation from NumPy's legacy RandomState, which published splits use."""
    return np.random.RandomState(seed).permutation(n).astype(np.int64)
