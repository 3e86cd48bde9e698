"""Updating: fold users into a model, and replace the users and items of a model.

There is one path: `fold_in` for new users, and `replace_users` where a table of users consists of rows of the trained
model and of folded-in users. `Recommender.updated`, the batches of the service and the point-in-time evaluation of the
promotion gate use it. The functions take and return the parts of a Recommender.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Int32
from cofactor.data.id_columns import id_series
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.data.side_table import SideTable
from cofactor.errors import DataError, KindError, ParameterError, UnknownIdError
from cofactor.kernels.sparse import SparseRows, merge_counts, merge_latest, vstack
from cofactor.models.arguments import linalg_as_data_error, require_histories
from cofactor.models.base import FoldsIn, Model
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.prior import Prior, Priors

__all__ = [
    "MergedUsers",
    "add_items",
    "check_ratings",
    "differing_rows",
    "extend_table",
    "feature_table",
    "fold_in",
    "history_row",
    "merge_ratings",
    "new_item_table",
    "replace_users",
    "replaced_rows",
    "table_rows",
    "translated",
    "with_appended_users",
]

Merge: TypeAlias = Callable[[SparseRows, SparseRows], SparseRows]


def fold_in(model: Model, priors: Priors | None, histories: SparseRows, table: pl.DataFrame | None = None) -> Model:
    """Return the model with new users of these histories as its users.

    Parameters
    ----------
    model : Model
        The trained model.
    priors : Priors or None
        The priors of new users, if there are any.
    histories : SparseRows
        One row of item rows for each new user; without rows the model has no users.
    table : pl.DataFrame, optional
        One row for each new user, with the columns that the prior was learned from.

    Returns
    -------
    Model
        The same items and parameters, with the new users only.

    Raises
    ------
    KindError
        If the model cannot fold in new users.
    DataError
        If the histories do not fit the model, or the prior cannot read the table.
    """
    if not isinstance(model, FoldsIn):
        raise KindError("this model cannot fold in new users; fit it again with their ratings")
    require_histories(histories, model.n_items)
    if table is not None:
        checks.instance("table", table, pl.DataFrame, "give a polars frame with a row for each history")
    prior = None if priors is None else priors.users
    gaussian = None if prior is None else GaussianPrior(prior.means(table, len(histories)), prior.precision)
    with linalg_as_data_error():
        return model.fold_in(histories, prior=gaussian)


def replace_users(
    model: Model, priors: Priors | None, rows: Int32, histories: SparseRows, table: pl.DataFrame | None = None
) -> Model:
    """Return the model with other users: rows of the trained model, and users who are folded in.

    Parameters
    ----------
    model : Model
        The trained model.
    priors : Priors or None
        The priors of new users, if there are any.
    rows : ndarray of shape (n_users,), int32
        The row of each user in `model`; -1 for the users who are folded in.
    histories : SparseRows
        The history of each user who is folded in, in order.
    table : pl.DataFrame, optional
        One row for each user who is folded in, with the columns that the prior was learned from.

    Returns
    -------
    Model
        Of n_users users.
    """
    take = np.array(rows)
    take[rows < 0] = -1 - np.arange(len(histories), dtype=np.int32)
    folded: Any = fold_in(model, priors, histories, table)
    assert isinstance(model, FoldsIn)
    return model.with_users(folded, take)


def with_appended_users(model: Model, folded: object) -> Model:
    """Return the model with additional users after its own.

    Parameters
    ----------
    model : Model
        The trained model, of n_users users.
    folded : Model
        The model that `fold_in` returned, of n_new users.

    Returns
    -------
    Model
        Of n_users + n_new users.
    """
    assert isinstance(model, FoldsIn)
    others: Any = folded
    take = np.concatenate([np.arange(model.n_users), -1 - np.arange(others.n_users)]).astype(np.int32)
    return model.with_users(others, take)


def differing_rows(first: SparseRows, second: SparseRows) -> Bool:
    """Return which rows of two matrices differ in columns or values.

    Parameters
    ----------
    first, second : SparseRows
        Matrices of n_rows rows.

    Returns
    -------
    ndarray of shape (n_rows,), bool
        Whether the row differs; weights are not compared.
    """
    differs: Bool = first.counts != second.counts
    equal_length = np.flatnonzero(~differs)
    a, b = first.take(equal_length), second.take(equal_length)
    owner = np.repeat(equal_length, a.counts)
    differs[owner[(a.columns != b.columns) | (a.values != b.values)]] = True
    return differs


def replaced_rows(matrix: SparseRows, rows: Int32, new: SparseRows) -> SparseRows:
    """Return a matrix of rows of another matrix and of new rows.

    Parameters
    ----------
    matrix : SparseRows
        The other matrix.
    rows : ndarray of shape (n,), int32
        The row of `matrix` for each row of the result; -1 for the rows of `new`, in order.
    new : SparseRows
        The new rows: one for each -1.

    Returns
    -------
    SparseRows
        Of n rows.
    """
    take = np.array(rows, np.int64)
    take[rows < 0] = len(matrix) + np.arange(len(new))
    return vstack(matrix, new).take(take)


def translated(rows: SparseRows, columns: Int32) -> SparseRows:
    """Return a matrix with other column numbers; entries whose new column is -1 are left out.

    Parameters
    ----------
    rows : SparseRows
        The matrix.
    columns : ndarray of shape (n_columns,), int32
        The new number of each column; -1 leaves it out.

    Returns
    -------
    SparseRows
        The matrix with the same number of rows.
    """
    new = columns[rows.columns]
    is_known = new >= 0
    owner = rows.owners[is_known]
    weights = None if rows.weights is None else rows.weights[is_known]
    return SparseRows.of(owner, new[is_known], rows.values[is_known], len(rows), weights)


def check_ratings(ratings: Interactions, kind: Kind, scale: Scale | None) -> None:
    """Check that a table has the kind of the model and ratings on its scale.

    Parameters
    ----------
    ratings : Interactions
        The table.
    kind : {"ratings", "events"}
        What the model was trained on.
    scale : Scale or None
        The rating scale; None for events.

    Raises
    ------
    KindError
        For a table of the other kind.
    DataError
        For a rating that is not on the scale.
    """

    def name(row: int) -> str:
        user, item = ratings.users.ids(ratings.u[[row]])[0], ratings.items.ids(ratings.i[[row]])[0]
        return f"the rating of user {user!r} and item {item!r}"

    if ratings.kind != kind:
        raise KindError(f"this model learned from {kind}, and the table holds {ratings.kind}")
    if scale is not None:
        scale.check(ratings.values, name=name)


class MergedUsers(NamedTuple):
    """Users after new ratings.

    Attributes
    ----------
    users : IdMap
        Known and new users.
    histories : SparseRows
        Their histories with the new ratings.
    seen : SparseRows or None
        Further items that they have seen.
    changed : ndarray of shape (n_users,), bool
        The users of the new ratings.
    """

    users: IdMap
    histories: SparseRows
    seen: SparseRows | None
    changed: Bool


def merge_ratings(
    users: IdMap, items: IdMap, kind: Kind, histories: SparseRows, seen: SparseRows | None, new: Interactions
) -> MergedUsers:
    """Merge new ratings into the histories of users; see `Recommender.updated`.

    Parameters
    ----------
    users, items : IdMap
        Ids of n_users users and of n_items items.
    kind : {"ratings", "events"}
        Ratings replace the earlier rating of the same user and item; the values of events are added.
    histories : SparseRows
        The history of each user by item rows: n_users rows.
    seen : SparseRows or None
        Further items that each user has seen: n_users rows.
    new : Interactions
        The new ratings or events.

    Returns
    -------
    MergedUsers
        All users with their merged histories.

    Raises
    ------
    UnknownIdError
        For an item that `items` does not contain.
    DataError
        For user ids of another type.
    """
    rated = new.items.ids(np.unique(new.i))
    if (unknown := rated.filter(items.rows(rated) < 0)).len():
        more = f" and {len(unknown) - 1} more are" if len(unknown) > 1 else " is"
        raise UnknownIdError(f"item {unknown[0]!r}{more} new: call with_items first, or fit again")
    changed_ids = new.users.ids(np.unique(new.u if new.seen is None else np.concatenate([new.u, new.seen.u])))
    all_users = users.union(IdMap.of(changed_ids))
    rows, changed = np.array(users.rows(all_users.all)), np.zeros(len(all_users), bool)
    changed[all_users.rows(changed_ids)] = True
    changed_ids = all_users.ids(np.flatnonzero(changed))
    changed_rows, rows[changed] = rows[changed], -1

    def merged(current: SparseRows | None, table: Interactions | None, merge: Merge) -> SparseRows:
        current = SparseRows.empty(len(users)) if current is None else current
        added = SparseRows.empty(len(changed_ids))
        if table is not None:
            added = translated(table.by_user.take(table.users.rows(changed_ids)), items.rows(table.items.all))
        return replaced_rows(current, rows, merge(current.take(changed_rows), added))

    return MergedUsers(
        all_users,
        merged(histories, new, merge_counts if kind == "events" else merge_latest),
        None if seen is None and new.seen is None else merged(seen, new.seen, merge_latest),
        changed,
    )


def new_item_table(table: Any, items: IdMap) -> pl.DataFrame:
    """Return the table of new items with their ids in the column item.

    Parameters
    ----------
    table : data frame
        One row for each new item; see `Recommender.with_items`.
    items : IdMap
        The known items.

    Returns
    -------
    pl.DataFrame
        The table, with the column item.

    Raises
    ------
    DataError
        For known or duplicate ids, and for a table without ids.
    """
    side = SideTable.of(table, "item")
    keyed = side.with_ids_first((side.id_columns or [*side.frame.columns, *side.index.columns])[0])
    if keyed["item"].n_unique() < len(keyed) or (items.rows(keyed["item"]) >= 0).any():
        raise DataError("new items must be new: some ids of the table are known or occur twice")
    return keyed


def add_items(
    model: FactorModel, prior: Prior, items: IdMap, table: pl.DataFrame, users: IdMap, ratings: Interactions | None
) -> tuple[FactorModel, IdMap, Int32]:
    """Add new items to a model: each is folded in from its prior and from the ratings of known users.

    Parameters
    ----------
    model : FactorModel
        The trained model.
    prior : Prior
        The prior of items.
    items : IdMap
        Ids of the items of the model.
    table : pl.DataFrame
        The new items; see `new_item_table`.
    users : IdMap
        Ids of the users of the model.
    ratings : Interactions or None
        Ratings of the new items; those of unknown users are left out.

    Returns
    -------
    model : FactorModel
        The model with the new items.
    items : IdMap
        Known and new items.
    take : ndarray of shape (n_items,), int32
        The former row of each item; -1 - k for the k-th new item.
    """
    ids, raters = table["item"], SparseRows.empty(len(table))
    if ratings is not None:
        raters = translated(ratings.by_item.take(ratings.items.rows(ids)), users.rows(ratings.users.all))
    with linalg_as_data_error():
        factors, bias = model.fold_in_items(raters, GaussianPrior(prior.means(table, len(ids)), prior.precision))
    all_items = items.union(IdMap.of(ids))
    take = np.array(items.rows(all_items.all))
    take[all_items.rows(ids)] = -1 - np.arange(len(ids), dtype=np.int32)
    return model.with_items(factors, bias, take), all_items, take


def history_row(history: Any, items: IdMap, kind: Kind, scale: Scale | None) -> SparseRows:
    """Return the history of one new user as a matrix of one row.

    Parameters
    ----------
    history : mapping, iterable of (item, value) pairs, or iterable of items
        See `Recommender.for_history`.
    items : IdMap
        The known items.
    kind : {"ratings", "events"}
        What the model was trained on.
    scale : Scale or None
        The rating scale; None for events.

    Returns
    -------
    SparseRows
        One row: item rows and values (float32).

    Raises
    ------
    DataError
        For an invalid history and for a rating that is not on the scale.
    UnknownIdError
        For an unknown item.
    """
    if not isinstance(history, Iterable) or isinstance(history, str) or getattr(history, "ndim", 1) == 0:
        raise DataError(f"history must be a list of items or of (item, rating) pairs, not {checks.describe(history)}")
    entries = list(islice(history.items() if isinstance(history, Mapping) else history, len(items) + 1))
    if len(entries) > len(items):
        raise DataError(f"history must have at most {len(items):,} entries, one for each item")
    pairs = [entry if isinstance(entry, tuple | list) else (entry, 1.0) for entry in entries]
    if kind == "ratings" and any(not isinstance(entry, tuple | list) for entry in entries):
        raise DataError("history must hold (item, rating) pairs: this model learned from ratings")
    if bad := [pair for pair in pairs if len(pair) != 2 or not _is_number(pair[1])]:
        raise DataError(f"history: {checks.describe(bad[0])} is not an (item, rating) pair with a finite number")
    ids = id_series("history", [item for item, _ in pairs])
    rows = items.rows(ids)
    if (rows < 0).any():
        raise UnknownIdError(f"history: item {ids[int((rows < 0).argmax())]!r} is not known to this model")
    if ids.n_unique() < len(ids):
        raise DataError(f"history: item {ids.filter(ids.is_duplicated())[0]!r} occurs twice")
    values = [value for _, value in pairs]
    if scale is not None:
        scale.check(values, name=lambda position: f"the rating of item {ids[position]!r}")
    return SparseRows.of(np.zeros(len(rows), np.int64), rows, values, 1)


def feature_table(user_features: Any, priors: Priors | None) -> pl.DataFrame | None:
    """Return the features of one new user as a table of one row, as the prior takes it.

    Parameters
    ----------
    user_features : mapping of str to Any, or None
        Values by column of the user table.
    priors : Priors or None
        Priors of the model, if there are any.

    Returns
    -------
    pl.DataFrame or None
        All columns that the prior of users was learned from; null where `user_features` has no value. None if
        `user_features` is None.

    Raises
    ------
    ParameterError
        If `user_features` is not a mapping.
    DataError
        For a column that the prior was not learned from.
    """
    if user_features is None:
        return None
    if not isinstance(user_features, Mapping):
        wrong = checks.describe(user_features)
        raise ParameterError(f"user_features must map columns of the user table to values, not {wrong}")
    columns = learned_columns(priors)
    if unknown := [name for name in user_features if name not in columns]:
        listed = ", ".join(columns) or "none; learn priors with user_features first"
        raise DataError(f"user_features: the prior was not learned from {unknown[0]!r}; its columns: {listed}")
    return pl.DataFrame({name: [user_features.get(name)] for name in columns})


def learned_columns(priors: Priors | None) -> list[str]:
    """Return the columns of the user table that the prior of users was learned from.

    Parameters
    ----------
    priors : Priors or None
        Priors of the model, if there are any.

    Returns
    -------
    list of str
        Names of the columns; empty without a prior of users and for a prior that depends on no columns.
    """
    prior = None if priors is None else priors.users
    return [] if prior is None or prior.encoder is None else [column.name for column in prior.encoder.columns]


def table_rows(table: pl.DataFrame | None, selected: Bool) -> pl.DataFrame | None:
    """Return the selected rows of a user table.

    Parameters
    ----------
    table : pl.DataFrame or None
        A row for each of n users.
    selected : ndarray of shape (n,), bool
        The rows to keep.

    Returns
    -------
    pl.DataFrame or None
        None if there is no table.

    Raises
    ------
    DataError
        If the table is not a polars data frame of n rows.
    """
    if table is None:
        return None
    checks.instance("table", table, pl.DataFrame, "convert other tables with polars.DataFrame(table)")
    if len(table) != len(selected):
        raise DataError(f"table must have a row for each of the {len(selected):,} users, not {len(table):,} rows")
    return table.filter(selected)


def extend_table(ids: IdMap, table: pl.DataFrame | None, new: pl.DataFrame | None) -> pl.DataFrame | None:
    """Return a user or item table with one row for each id, in row order.

    Parameters
    ----------
    ids : IdMap
        Ids of n users or items.
    table : pl.DataFrame or None
        The present table; the first column has the ids.
    new : pl.DataFrame or None
        Rows for ids that `table` lacks, with the ids in the first column.

    Returns
    -------
    pl.DataFrame or None
        Of n rows; the columns of an id that neither table has are null. None if both tables are None.

    Raises
    ------
    DataError
        If the columns of the tables have types that do not match, or an id is neither an integer nor a string.
    """
    if table is None:
        table, new = new, None
    if table is None:
        return None
    key = table.columns[0]
    table = _with_typed_ids(ids, table, key)
    if new is not None:
        new = _with_typed_ids(ids, new, key)
        added = new.filter(~pl.col(key).is_in(table[key].implode()))
        try:
            table = pl.concat([table, added], how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            raise DataError(f"the columns of the new table do not match the known ones: {error}") from error
    return pl.DataFrame({key: ids.all}).join(table, on=key, how="left", maintain_order="left")


def _with_typed_ids(ids: IdMap, table: pl.DataFrame, key: str) -> pl.DataFrame:
    """Return the table with its ids, the first column, in the type of the map and under this name."""
    return pl.DataFrame([ids.as_id_type(table.to_series(0)).alias(key), *table.drop(table.columns[0])])


def _is_number(value: object) -> bool:
    """Return whether the value is a number that float32 can hold."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_number and abs(float(value)) <= float(np.finfo(np.float32).max)  # type: ignore[arg-type]
