"""Checks of the arguments of models: rows, pairs, histories and lists, before any kernel reads them."""

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
    "checked_pairs",
    "checked_prior",
    "checked_take",
    "require_histories",
    "require_no_prior",
    "solvable",
]


class _HasShape(Protocol):
    """The part of a model that checks read."""

    @property
    def n_users(self) -> int: ...
    @property
    def n_items(self) -> int: ...


def require_histories(
    histories: object, n_columns: int, *, n_rows: int | None = None, name: str = "histories"
) -> SparseRows:
    """Check that histories are rows of a catalog.

    Parameters
    ----------
    histories : SparseRows
        Rows of items, or of users for another `name`.
    n_columns : int
        The number of items (or users).
    n_rows : int, optional
        The required number of rows; None for any number.
    name : str, default "histories"
        The name of the argument, for the message.

    Returns
    -------
    SparseRows
        The histories.

    Raises
    ------
    DataError
        For another type, for rows that are not ascending, and for columns outside the catalog.

    Examples
    --------
    >>> require_histories(SparseRows.of([0], [2], [5.0], n_rows=1), 2)
    Traceback (most recent call last):
    cofactor.errors.DataError: histories must have columns from 0 to 1, not 2
    """
    rows = checks.instance(name, histories, SparseRows, "make one by SparseRows.of(rows, columns, values, n_rows)")
    return rows.checked(name, n_columns, n_rows=n_rows)


def checked_batch(model: _HasShape, users: object, *, unknown: bool = False) -> UserBatch:
    """Check that the rows and histories of a batch fit a model.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        The batch.
    unknown : bool, default False
        Whether rows of -1 are allowed.

    Returns
    -------
    UserBatch
        The batch.

    Raises
    ------
    DataError
        If users is not a batch or the histories are of other items.
    ParameterError
        If a row is out of range.

    Examples
    --------
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


def checked_pairs(model: _HasShape, users: object, items: object) -> tuple[Int32, Int32]:
    """Check row numbers of pairs of users and items.

    Parameters
    ----------
    model : Model
        The model.
    users : array-like of shape (n,), int
        User rows, -1 for unknown.
    items : array-like of shape (n,), int
        Item rows, -1 for unknown.

    Returns
    -------
    users : ndarray of shape (n,), int32
        User rows.
    items : ndarray of shape (n,), int32
        Item rows.

    Raises
    ------
    ParameterError
        If a row is out of range, or the numbers of users and items differ.

    Examples
    --------
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


def checked_item_lists(model: _HasShape, items: object) -> Int32:
    """Check lists of item rows.

    Parameters
    ----------
    model : Model
        The model.
    items : array-like of shape (m, c), int
        Item rows, -1 where a list ends.

    Returns
    -------
    ndarray of shape (m, c), int32
        The lists.

    Raises
    ------
    ParameterError
        If the lists have different lengths, or a row is out of range.

    Examples
    --------
    >>> import cofactor
    >>> model = cofactor.Bias().fit(cofactor.Interactions.from_columns([1, 2], [7, 8], [5, 3]))
    >>> checked_item_lists(model, [[0, 1], [1, -1]]).shape
    (2, 2)
    """
    lists = checks.as_array(items)
    if lists.ndim != 2:
        raise ParameterError(f"items must be lists of row numbers of one length, not {checks.describe(items)}")
    return checks.row_numbers("items", lists.ravel(), model.n_items, unknown=True).reshape(lists.shape)


def checked_batch_pairs(model: _HasShape, users: object, items: object) -> tuple[UserBatch, Int32]:
    """Check a batch and an item for each of its users.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        n users; rows of -1 are unknown.
    items : array-like of shape (n,), int
        Item rows, -1 for unknown.

    Returns
    -------
    users : UserBatch
        The batch.
    items : ndarray of shape (n,), int32
        Item rows.

    Raises
    ------
    DataError
        If users is not a batch or the histories are of other items.
    ParameterError
        If a row is out of range, or the numbers of users and items differ.
    """
    batch = checked_batch(model, users, unknown=True)
    rows = checks.row_numbers("items", items, model.n_items, unknown=True)
    if len(rows) != len(batch):
        raise ParameterError(f"users and items must be pairs, not {len(batch):,} users and {len(rows):,} items")
    return batch, rows


def checked_known_pair(model: _HasShape, users: object, item: object) -> tuple[int, int, SparseRows]:
    """Return the row of the only user of a batch, the row of an item, and the history of the user.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        One user of the model.
    item : int
        An item row.

    Returns
    -------
    user : int
        The row of the user.
    item : int
        The row of the item.
    history : SparseRows
        One row, the history of the user.

    Raises
    ------
    DataError
        If users is not a batch or the histories are of other items.
    ParameterError
        If the batch is not one user, or a row is out of range.

    Examples
    --------
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
    model: _HasShape, users: object, n: object, exclude: object, allowed: object, order: object
) -> tuple[UserBatch, int, SparseRows, Bool, ItemOrder]:
    """Check the arguments of `ScoresItems.top`.

    Parameters
    ----------
    model : Model
        The model.
    users : UserBatch
        n users of the model.
    n : int
        The number of items of each list.
    exclude : SparseRows
        A row for each user: items that the lists must not contain.
    allowed : array-like of shape (n_items,), bool
        The items to choose from; empty for all.
    order : ItemOrder
        The order of items without evidence in a model of events.

    Returns
    -------
    users : UserBatch
        The batch.
    n : int
        The number of items of each list.
    exclude : SparseRows
        The excluded items.
    allowed : ndarray of shape (n_items,) or (0,), bool
        The mask.
    order : ItemOrder
        The order.

    Raises
    ------
    DataError
        If an object has another type or the rows are of other items.
    ParameterError
        If a number, the mask or the order does not fit the model.

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
    item_order = checks.instance("order", order, ItemOrder, "make it of item rows: arrays.ItemOrder(rows)")
    if len(item_order) not in (0, model.n_items):
        raise ParameterError(f"order must hold each of {model.n_items:,} item rows once, not {len(item_order):,} rows")
    return batch, length, rows, mask, item_order


def checked_nearest(name: str, rows: object, n_rows: int, n: object, allowed: object) -> tuple[Int32, int, Bool]:
    """Check the arguments of a search for nearest neighbors.

    Parameters
    ----------
    name : str
        The name of the rows, for messages.
    rows : array-like of shape (m,), int
        Row numbers.
    n_rows : int
        The number of rows of the model.
    n : int
        The number of neighbors of each row.
    allowed : array-like of shape (n_rows,), bool
        The rows to choose from; empty for all.

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
        If a number or the mask is out of range.

    Examples
    --------
    >>> checked_nearest("items", [0, 4], 4, 10, [])
    Traceback (most recent call last):
    cofactor.errors.ParameterError: items must hold row numbers from 0 to 3, not 4
    """
    length = checks.whole_number("n", n, low=0, high=checks.MAX_LIST_LENGTH)
    return checks.row_numbers(name, rows, n_rows), length, checks.mask("allowed", allowed, n_rows, optional=True)


def checked_take(take: object, n_own: int, n_other: int) -> Int32:
    """Check a selection of rows of two models.

    Parameters
    ----------
    take : array-like of shape (n,), int
        Row r of the first model as r, of the second model as -1 - r.
    n_own : int
        The number of rows of the first model.
    n_other : int
        The number of rows of the second model.

    Returns
    -------
    ndarray of shape (n,), int32
        The selection.

    Raises
    ------
    ParameterError
        If a row is out of range.

    Examples
    --------
    >>> checked_take([0, -1, -2], n_own=1, n_other=1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: take must be a list of whole numbers from -1 to 0, not [0, -1, -2]
    """
    return checks.whole_array("take", take, low=-n_other, high=n_own - 1).astype(np.int32)


def checked_prior(prior: GaussianPrior, n: int, width: int) -> GaussianPrior:
    """Check the means and the precision of a prior, and convert them to float64.

    Parameters
    ----------
    prior : GaussianPrior
        Means of shape (n, width) and a precision matrix of shape (width, width).
    n : int
        The number of rows.
    width : int
        The number of unknowns of a row.

    Returns
    -------
    GaussianPrior
        The prior.

    Raises
    ------
    DataError
        If the prior is of another class.
    ParameterError
        If a shape differs or a number is not finite.

    Examples
    --------
    >>> checked_prior(GaussianPrior([[0.0]], [[1.0, 0.0]]), 1, 1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: prior.precision must be finite numbers of shape (1, 1), not [[1.0, 0.0]]
    """
    checks.instance("prior", prior, GaussianPrior, "create it with GaussianPrior(means, precision)")
    return GaussianPrior(
        checks.number_array("prior.means", prior.means, (n, width)),
        checks.number_array("prior.precision", prior.precision, (width, width)),
    )


@contextmanager
def solvable() -> Iterator[None]:
    """Convert failures of linear algebra to DataError; a model as trained has none.

    Raises
    ------
    DataError
        If LAPACK reports a singular matrix or no convergence.

    Examples
    --------
    >>> import numpy as np
    >>> with solvable():  # doctest: +ELLIPSIS
    ...     np.linalg.inv(np.zeros((2, 2)))
    Traceback (most recent call last):
    cofactor.errors.DataError: the equations of the model cannot be solved (Singular matrix); if it was loaded ...
    """
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"the equations of the model cannot be solved ({error}); if it was loaded from a file, load it with "
            "verify=True"
        ) from error


def require_no_prior(prior: object) -> None:
    """Require that there is no prior, for models whose users do not solve least-squares problems.

    Parameters
    ----------
    prior : GaussianPrior or None
        The prior.

    Raises
    ------
    KindError
        If there is a prior.
    """
    if prior is not None:
        raise KindError("a prior needs vectors learned by least squares: biased-mf, explicit-als or implicit-als")
