"""Checks of what models are called with: rows, pairs, histories and lists, before any kernel reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, Int32, ItemOrder
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.user_batch import UserBatch

__all__ = [
    "checked_batch",
    "checked_batch_pairs",
    "checked_item_lists",
    "checked_known_pair",
    "checked_lists",
    "checked_nearest",
    "checked_pairs",
    "checked_prior",
    "checked_take",
    "require_histories",
    "require_no_prior",
    "solvable",
]


def require_histories(
    histories: Any, n_columns: int, *, n_rows: int | None = None, name: str = "histories"
) -> SparseRows:
    """The histories, rows of a catalog.

    Parameters
    ----------
    histories : SparseRows
        Rows of items, or of users where `name` says so.
    n_columns : int
        How many items (users) there are.
    n_rows : int or None, default None
        How many rows there must be; None for any number.
    name : str, default "histories"
        The argument's name.

    Returns
    -------
    SparseRows
        The histories.

    Raises
    ------
    DataError
        For another type, for rows that do not ascend, and for columns outside the catalog.

    Examples
    --------
    >>> require_histories(SparseRows.of([0], [2], [5.0], n_rows=1), 2)
    Traceback (most recent call last):
    cofactor.errors.DataError: histories must have columns from 0 to 1, not 2
    """
    rows = checks.instance(name, histories, SparseRows, "make one by SparseRows.of(rows, columns, values, n_rows)")
    return rows.checked(name, n_columns, n_rows=n_rows)


def checked_batch(model: Any, users: Any, *, unknown: bool = False) -> UserBatch:
    """Return the batch after checking that its rows and histories fit a model.

    Raises DataError, ParameterError. `unknown`: whether rows of -1 are allowed.

    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> checked_batch(cofactor.Bias().fit(table), [1, 0])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: users must be of type UserBatch, not [1, 0]: make one by ...
    """
    batch = checks.instance("users", users, UserBatch, "make one by UserBatch.trained or UserBatch.of")
    checks.row_numbers("users", batch.rows, model.n_users, unknown=unknown)
    require_histories(batch.source, model.n_items, n_rows=model.n_users if batch.is_trained else None)
    return batch


def checked_pairs(model: Any, users: Any, items: Any) -> tuple[Int32, Int32]:
    """Row numbers of a model's users and items, as many of each, -1 for unknown: (n,) int32 each.

    Raises ParameterError.

    >>> import cofactor
    >>> model = cofactor.Bias().fit(cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3]))
    >>> checked_pairs(model, [1, -1], [0, 2])
    Traceback (most recent call last):
    cofactor.errors.ParameterError: items must hold row numbers from -1 to 1, not 2
    """
    u = checks.row_numbers("users", users, model.n_users, unknown=True)
    i = checks.row_numbers("items", items, model.n_items, unknown=True)
    if len(u) != len(i):
        raise ParameterError(f"users and items must be pairs, not {len(u):,} users and {len(i):,} items")
    return u, i


def checked_item_lists(model: Any, items: Any) -> Int32:
    """Lists of a model's items, (m, c) int32 row numbers, -1 where a list ends. Raises ParameterError.

    >>> import cofactor
    >>> model = cofactor.Bias().fit(cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3]))
    >>> checked_item_lists(model, [[0, 1], [1, -1]]).shape
    (2, 2)
    """
    lists = checks.as_array(items)
    if lists.ndim != 2:
        raise ParameterError(f"items must be lists of row numbers of one length, not {checks.describe(items)}")
    return checks.row_numbers("items", lists.ravel(), model.n_items, unknown=True).reshape(lists.shape)


def checked_batch_pairs(model: Any, users: Any, items: Any) -> tuple[UserBatch, Int32]:
    """Return the batch, whose rows may be -1, and an item row for each of its users, -1 for unknown.

    Raises DataError, ParameterError.
    """
    batch = checked_batch(model, users, unknown=True)
    rows = checks.row_numbers("items", items, model.n_items, unknown=True)
    if len(rows) != len(batch):
        raise ParameterError(f"users and items must be pairs, not {len(batch):,} users and {len(rows):,} items")
    return batch, rows


def checked_known_pair(model: Any, users: Any, item: Any) -> tuple[int, int, SparseRows]:
    """Return the row of the only user of a batch, the row of an item, and the user's history.

    Raises ParameterError, DataError.

    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> checked_known_pair(cofactor.Bias().fit(table), UserBatch.trained([0, 1], table.by_user), 0)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: users must be one user, not 2
    """
    batch = checked_batch(model, users)
    if len(batch) != 1:
        raise ParameterError(f"users must be one user, not {len(batch):,}")
    i = checks.whole_number("item", item, low=0, high=model.n_items - 1)
    return int(batch.rows[0]), i, batch.histories


def checked_lists(
    model: Any, users: Any, n: Any, exclude: Any, allowed: Any, order: Any
) -> tuple[UserBatch, int, SparseRows, Bool, ItemOrder]:
    """Return the arguments of `ScoresItems.top` after checking them. Raises ParameterError, DataError.

    >>> import cofactor
    >>> from cofactor.arrays import ROW_ORDER
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> model, users = cofactor.Bias().fit(table), UserBatch.trained([0, 1], table.by_user)
    >>> checked_lists(model, users, 1, users.histories, [True], ROW_ORDER)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: allowed must be True or False for each of 2 rows, not [True]
    """
    batch = checked_batch(model, users)
    n = checks.whole_number("n", n, low=0, high=checks.MAX_LIST_LENGTH)
    exclude = require_histories(exclude, model.n_items, n_rows=len(batch), name="exclude")
    allowed = checks.mask("allowed", allowed, model.n_items, optional=True)
    order = checks.instance("order", order, ItemOrder, "make it of item rows: arrays.ItemOrder(rows)")
    if len(order) not in (0, model.n_items):
        raise ParameterError(f"order must hold each of {model.n_items:,} item rows once, not {len(order):,} rows")
    return batch, n, exclude, allowed, order


def checked_nearest(name: str, rows: Any, n_rows: int, n: Any, allowed: Any) -> tuple[Int32, int, Bool]:
    """Row numbers (n_asked,) int32, the number of neighbors of each, and the mask of rows. Raises ParameterError.

    >>> checked_nearest("items", [0, 4], 4, 10, [])
    Traceback (most recent call last):
    cofactor.errors.ParameterError: items must hold row numbers from 0 to 3, not 4
    """
    n = checks.whole_number("n", n, low=0, high=checks.MAX_LIST_LENGTH)
    return checks.row_numbers(name, rows, n_rows), n, checks.mask("allowed", allowed, n_rows, optional=True)


def checked_take(take: Any, n_own: int, n_other: int) -> Int32:
    """Which rows a model is put together from: (n,) int32, its own from 0 on, row r of the other model as -1 - r.

    Raises ParameterError.

    >>> checked_take([0, -1, -2], n_own=1, n_other=1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: take must be a list of whole numbers from -1 to 0, not [0, -1, -2]
    """
    return checks.whole_array("take", take, low=-n_other, high=n_own - 1).astype(np.int32)


def checked_prior(means: Any, precision: Any, n: int, width: int) -> GaussianPrior:
    """A prior's means (n, width) and precision (width, width) in float64. Raises ParameterError.

    >>> checked_prior([[0.0]], [[1.0, 0.0]], 1, 1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: precision must be finite numbers of shape (1, 1), not [[1.0, 0.0]]
    """
    return GaussianPrior(
        checks.number_array("means", means, (n, width)), checks.number_array("precision", precision, (width, width))
    )


@contextmanager
def solvable() -> Iterator[None]:
    """Turn a failure of linear algebra into DataError: a trained model has none unless its numbers were changed.

    Raises
    ------
    DataError
        Where LAPACK reports a singular matrix or no convergence.

    Examples
    --------
    >>> import numpy as np
    >>> with solvable():  # doctest: +ELLIPSIS
    ...     np.linalg.inv(np.zeros((2, 2)))
    Traceback (most recent call last):
    cofactor.errors.DataError: the model's numbers cannot be solved for (Singular matrix): if it is of a file, ...
    """
    try:
        yield
    except np.linalg.LinAlgError as problem:
        raise DataError(
            f"the model's numbers cannot be solved for ({problem}): if it is of a file, load it with verify=True"
        ) from problem


def require_no_prior(prior: Any) -> None:
    """Raise KindError for a prior of a model whose users do not solve a least-squares problem."""
    if prior is not None:
        raise KindError("a prior needs vectors learned from least squares: biased-mf, explicit-als or implicit-als")
