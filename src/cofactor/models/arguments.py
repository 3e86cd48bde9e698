"""Argument validation for models: check row numbers, user-item pairs, histories and item lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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
    "checked_one_user",
    "checked_pairs",
    "checked_prior",
    "checked_take",
    "linalg_as_data_error",
    "require_histories",
    "require_no_prior",
]


class _HasShape(Protocol):
    """Protocol for the attributes of a model that the checks use."""

    @property
    def n_users(self) -> int: ...
    @property
    def n_items(self) -> int: ...


def require_histories(
    histories: object, n_columns: int, *, n_rows: int | None = None, name: str = "histories"
) -> SparseRows:
    """Check that histories contain only valid catalog row numbers.

    Parameters
    ----------
    histories : SparseRows
        The history of each user, with item row numbers as columns; or the raters of each item.
    n_columns : int
        The number of rows in the catalog that the columns refer to.
    n_rows : int, optional
        The required number of histories; None for any number.
    name : str, default "histories"
        The argument name to use in error messages.

    Returns
    -------
    SparseRows
        The histories.

    Raises
    ------
    DataError
        If the type is wrong, column indices are not sorted within a row, or a column index is outside the catalog.

    Examples
    --------
    >>> require_histories(SparseRows.of([0], [2], [5.0], n_rows=1), 2)
    Traceback (most recent call last):
    cofactor.errors.DataError: histories must have column indices between 0 and 1; got 2
    """
    rows = checks.instance(name, histories, SparseRows, "create one with SparseRows.of(rows, columns, values, n_rows)")
    return rows.checked(name, n_columns, n_rows=n_rows)


def checked_batch(model: _HasShape, users: object, *, unknown: bool = False) -> UserBatch:
    """Check that the row numbers and histories in a batch of users are valid for a model.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        The batch.
    unknown : bool, default False
        Whether unknown users (row -1) are allowed.

    Returns
    -------
    UserBatch
        The batch.

    Raises
    ------
    DataError
        If `users` is not a batch, or the histories do not match the items of the model.
    ParameterError
        If a row number is out of range.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> checked_batch(cofactor.Bias().fit(table), [1, 0])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: users must be of type UserBatch, not [1, 0]: create one with ...
    """
    batch = checks.instance("users", users, UserBatch, "create one with UserBatch.trained or UserBatch.of")
    checks.row_numbers("users", batch.rows, model.n_users, unknown=unknown)
    require_histories(batch.source, model.n_items, n_rows=model.n_users if batch.is_trained else None)
    return batch


def checked_pairs(model: _HasShape, users: object, items: object) -> tuple[Int32, Int32]:
    """Check that the row numbers of user-item pairs are valid for a model.

    Parameters
    ----------
    model : Model
        The model.
    users : array-like of shape (n,), int
        User row numbers; -1 is an unknown user.
    items : array-like of shape (n,), int
        Item row numbers; -1 is an unknown item.

    Returns
    -------
    users : ndarray of shape (n,), int32
        User row numbers.
    items : ndarray of shape (n,), int32
        Item row numbers.

    Raises
    ------
    ParameterError
        If a row number is out of range, or `users` and `items` differ in length.

    Examples
    --------
    >>> import cofactor
    >>> model = cofactor.Bias().fit(cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3]))
    >>> checked_pairs(model, [1, -1], [0, 2])
    Traceback (most recent call last):
    cofactor.errors.ParameterError: items must contain row numbers from -1 to 1, not 2
    """
    u = checks.row_numbers("users", users, model.n_users, unknown=True)
    i = checks.row_numbers("items", items, model.n_items, unknown=True)
    if len(u) != len(i):
        raise ParameterError(f"users and items must have the same length; got {len(u):,} and {len(i):,}")
    return u, i


def checked_item_lists(model: _HasShape, items: object) -> Int32:
    """Check that lists of item row numbers, padded to the same length, are valid for a model.

    Parameters
    ----------
    model : Model
        The model.
    items : array-like of shape (m, c), int
        Item row numbers, padded with -1.

    Returns
    -------
    ndarray of shape (m, c), int32
        The lists.

    Raises
    ------
    ParameterError
        If the lists have different lengths, or a row number is out of range.

    Examples
    --------
    >>> import cofactor
    >>> model = cofactor.Bias().fit(cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3]))
    >>> checked_item_lists(model, [[0, 1], [1, -1]]).shape
    (2, 2)
    """
    lists = checks.as_array(items)
    if lists.ndim != 2:
        raise ParameterError(f"items must be a two-dimensional array of item row numbers, not {checks.describe(items)}")
    return checks.row_numbers("items", lists.ravel(), model.n_items, unknown=True).reshape(lists.shape)


def checked_batch_pairs(model: _HasShape, users: object, items: object) -> tuple[UserBatch, Int32]:
    """Check that a batch of users, and an array with one item row number for each user, are valid for a model.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        n users; row -1 is an unknown user.
    items : array-like of shape (n,), int
        Item row numbers; -1 is an unknown item.

    Returns
    -------
    users : UserBatch
        The batch.
    items : ndarray of shape (n,), int32
        Item row numbers.

    Raises
    ------
    DataError
        If `users` is not a batch, or the histories do not match the items of the model.
    ParameterError
        If a row number is out of range, or `users` and `items` differ in length.
    """
    batch = checked_batch(model, users, unknown=True)
    rows = checks.row_numbers("items", items, model.n_items, unknown=True)
    if len(rows) != len(batch):
        raise ParameterError(f"users and items must have the same length; got {len(batch):,} and {len(rows):,}")
    return batch, rows


def checked_one_user(model: _HasShape, users: object) -> UserBatch:
    """Check that a batch contains exactly one user, and that this user belongs to the model.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        A single user of the model.

    Returns
    -------
    UserBatch
        The batch.

    Raises
    ------
    DataError
        If `users` is not a batch, or the histories do not match the items of the model.
    ParameterError
        If the batch does not contain exactly one user, or a row number is out of range.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> checked_one_user(cofactor.Bias().fit(table), UserBatch.trained([0, 1], table.by_user))
    Traceback (most recent call last):
    cofactor.errors.ParameterError: users must contain exactly one user; got 2
    """
    batch = checked_batch(model, users)
    if len(batch) != 1:
        raise ParameterError(f"users must contain exactly one user; got {len(batch):,}")
    return batch


def checked_known_pair(model: _HasShape, users: object, item: object) -> tuple[int, int, SparseRows]:
    """Check that a batch contains exactly one user; return the rows of the user and an item, and the user's history.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        A single user of the model.
    item : int
        An item row.

    Returns
    -------
    user : int
        The user's row number.
    item : int
        The item's row number.
    history : SparseRows
        The user's history, as a single row.

    Raises
    ------
    DataError
        If `users` is not a batch, or the histories do not match the items of the model.
    ParameterError
        If the batch does not contain exactly one user, or a row number is out of range.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> checked_known_pair(cofactor.Bias().fit(table), UserBatch.trained([0, 1], table.by_user), 0)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: users must contain exactly one user; got 2
    """
    batch = checked_one_user(model, users)
    i = checks.whole_number("item", item, low=0, high=model.n_items - 1)
    return int(batch.rows[0]), i, batch.histories


def checked_lists(
    model: _HasShape, users: object, n: object, exclude: object, allowed: object, order: object
) -> tuple[UserBatch, int, SparseRows, Bool, ItemOrder]:
    """Check that the arguments of `ScoresItems.top` are valid for a model, and return them.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        n users of the model.
    n : int
        The length of each list.
    exclude : SparseRows
        The items to exclude, one row for each user.
    allowed : array-like of shape (n_items,), bool
        The items to choose from; empty for all.
    order : ItemOrder
        The order of items for which an event model has no evidence.

    Returns
    -------
    users : UserBatch
        The batch.
    n : int
        The length of each list.
    exclude : SparseRows
        The excluded items.
    allowed : ndarray of shape (n_items,) or (0,), bool
        The mask.
    order : ItemOrder
        The order.

    Raises
    ------
    DataError
        If an argument has the wrong type, or `exclude` does not match the items of the model.
    ParameterError
        If `n`, the mask or the order is not valid for the model.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.arrays import ROW_ORDER
    >>> table = cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3])
    >>> model, users = cofactor.Bias().fit(table), UserBatch.trained([0, 1], table.by_user)
    >>> checked_lists(model, users, 1, users.histories, [True], ROW_ORDER)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: allowed must be True or False for each of 2 rows, not [True]
    """
    batch = checked_batch(model, users)
    length = checks.whole_number("n", n, low=0, high=checks.MAX_LIST_LENGTH)
    rows = require_histories(exclude, model.n_items, n_rows=len(batch), name="exclude")
    mask = checks.mask("allowed", allowed, model.n_items, optional=True)
    item_order = checks.instance("order", order, ItemOrder, "create one with arrays.ItemOrder(rows)")
    if len(item_order) not in (0, model.n_items):
        raise ParameterError(
            f"order must contain each of the {model.n_items:,} items exactly once; got {len(item_order):,} items"
        )
    return batch, length, rows, mask, item_order


def checked_nearest(name: str, rows: object, n_rows: int, n: object, allowed: object) -> tuple[Int32, int, Bool]:
    """Check that the arguments of a nearest-neighbor search are valid for a model, and return them.

    Parameters
    ----------
    name : str
        The argument name of `rows`, for error messages.
    rows : array-like of shape (m,), int
        Row numbers.
    n_rows : int
        The number of rows in the model.
    n : int
        The number of neighbors for each row.
    allowed : array-like of shape (n_rows,), bool
        Mask of the rows to choose from; an empty array means all rows.

    Returns
    -------
    rows : ndarray of shape (m,), int32
        Row numbers.
    n : int
        The number of neighbors.
    allowed : ndarray of shape (n_rows,) or (0,), bool
        The mask.

    Raises
    ------
    ParameterError
        If `n` or a row number is out of range, or the mask has the wrong length.

    Examples
    --------
    >>> checked_nearest("items", [0, 4], 4, 10, [])
    Traceback (most recent call last):
    cofactor.errors.ParameterError: items must contain row numbers from 0 to 3, not 4
    """
    length = checks.whole_number("n", n, low=0, high=checks.MAX_LIST_LENGTH)
    return checks.row_numbers(name, rows, n_rows), length, checks.mask("allowed", allowed, n_rows, optional=True)


def checked_take(take: object, n_own: int, n_other: int) -> Int32:
    """Check the indices that select users or items from two models, and return them.

    Parameters
    ----------
    take : array-like of shape (n,), int
        Row r of the first model is given as r, and row r of the second model as -1 - r.
    n_own : int
        The number of rows in the first model.
    n_other : int
        The number of rows in the second model.

    Returns
    -------
    ndarray of shape (n,), int32
        The selection.

    Raises
    ------
    ParameterError
        If a row number is out of range.

    Examples
    --------
    >>> checked_take([0, -1, -2], n_own=1, n_other=1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: take must be a list of integers from -1 to 0, not [0, -1, -2]
    """
    return checks.whole_array("take", take, low=-n_other, high=n_own - 1).astype(np.int32)


def checked_prior(prior: GaussianPrior, n: int, width: int) -> GaussianPrior:
    """Check the means and the precision matrix of a normal prior, and convert them to float64.

    Parameters
    ----------
    prior : GaussianPrior
        Means of shape (n, width) and a precision matrix of shape (width, width).
    n : int
        The number of rows.
    width : int
        The number of unknowns in each row.

    Returns
    -------
    GaussianPrior
        The prior.

    Raises
    ------
    DataError
        If the prior is not a GaussianPrior.
    ParameterError
        If a shape does not match, or a value is not finite.

    Examples
    --------
    >>> checked_prior(GaussianPrior([[0.0]], [[1, 0]]), 1, 1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: prior.precision must be an array of finite numbers with shape (1, 1), not [[1, 0]]
    """
    checks.instance("prior", prior, GaussianPrior, "create it with GaussianPrior(means, precision)")
    return GaussianPrior(
        checks.number_array("prior.means", prior.means, (n, width)),
        checks.number_array("prior.precision", prior.precision, (width, width)),
        prior.item_shift,
    )


@contextmanager
def linalg_as_data_error() -> Iterator[None]:
    """Context manager that converts linear algebra errors to DataError.

    Raises
    ------
    DataError
        If LAPACK reports a singular matrix or a failure to converge.

    Examples
    --------
    >>> import numpy as np
    >>> with linalg_as_data_error():  # doctest: +ELLIPSIS
    ...     np.linalg.inv(np.zeros((2, 2)))
    Traceback (most recent call last):
    cofactor.errors.DataError: the model's equations cannot be solved (Singular matrix); if the model was loaded ...
    """
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"the model's equations cannot be solved ({error}); if the model was loaded from a file, load it with "
            "verify=True"
        ) from error


def require_no_prior(prior: object) -> None:
    """Raise an error if a prior is passed to a model whose users are not fitted by least squares.

    Parameters
    ----------
    prior : GaussianPrior or None
        The prior.

    Raises
    ------
    KindError
        If `prior` is not None.
    """
    if prior is not None:
        raise KindError("a prior requires a model fitted by least squares: biased-mf, explicit-als or implicit-als")
