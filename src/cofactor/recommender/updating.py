"""Updating: fold users into a model, and replace the users or items of a model.

`fold_in` adds new users, and `replace_users` combines users of the trained model with users who are folded in. They are
used by `Recommender.updated`, by the batches of the service, and by the point-in-time evaluation of the promotion gate.
The functions take and return the parts of a Recommender.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Bool, Int32, Int64, read_only
from cofactor.cold_start.item_weights import add_item_weights
from cofactor.data.features import Encoder
from cofactor.data.id_columns import id_series
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.data.side_table import SideTable
from cofactor.errors import DataError, KindError, ParameterError, UnknownIdError
from cofactor.kernels.sparse import SparseRows, merge_counts, merge_latest, vstack
from cofactor.models.arguments import linalg_as_data_error, require_histories
from cofactor.models.base import FoldsIn, Model
from cofactor.models.block_scoring import without_zero_weights
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.paired import PairedModel, ranking_part
from cofactor.models.prior import Prior, Priors, WeightPrior
from cofactor.models.user_batch import UserBatch
from cofactor.results import AnsweredBy
from cofactor.validation import validated

__all__ = [
    "MergedUsers",
    "TrainedItems",
    "add_items",
    "check_ratings",
    "differing_rows",
    "extend_table",
    "feature_table",
    "fold_in",
    "fold_in_of_user",
    "history_row",
    "initialize_cold_items",
    "initialize_cold_users",
    "merge_ratings",
    "model_histories",
    "new_item_table",
    "remap_columns",
    "replace_rows",
    "replace_users",
    "source_without_history",
    "starts_from_prior",
    "table_rows",
    "with_appended_users",
]

Merge: TypeAlias = Callable[[SparseRows, SparseRows], SparseRows]


def fold_in(model: Model, priors: Priors | None, histories: SparseRows, table: pl.DataFrame | None = None) -> Model:
    """Fold in new users from their histories, and return a model with only these users.

    Parameters
    ----------
    model : Model
        Trained model.
    priors : Priors or None
        Priors for new users, if available.
    histories : SparseRows
        One row of item row numbers for each new user; if empty, the returned model has no users.
    table : pl.DataFrame, optional
        One row for each new user, with the columns from which the prior was learned.

    Returns
    -------
    Model
        Model with the same items and parameters, and only the new users.

    Raises
    ------
    KindError
        If the model cannot fold in new users.
    DataError
        If the histories do not match the model, or the table does not match the prior.
    """
    if isinstance(model, PairedModel):
        require_histories(histories, model.n_items)
        rating_priors = None if priors is None else priors.rating_model
        ranker = fold_in(model.ranker, priors, model.liked(histories), table)
        return model.of(ranker, fold_in(model.rating_model, rating_priors, histories, table), model.min_rating)
    if not isinstance(model, FoldsIn):
        raise KindError("this model cannot fold in new users; refit it with their ratings")
    require_histories(histories, model.n_items)
    if table is not None:
        checks.instance("table", table, pl.DataFrame, "pass a polars data frame with one row per history")
    prior = None if priors is None else priors.users
    with linalg_as_data_error():
        if prior is not None and isinstance(model, FactorModel):
            return prior.fold_in(model, histories, table)
        return model.fold_in(histories)


def fold_in_of_user(
    priors: Priors | None, model: Model, users: UserBatch, table: pl.DataFrame | None = None
) -> Callable[[SparseRows], Model] | None:
    """Return the function that folds a user's histories into the ranking model, using the priors.

    Parameters
    ----------
    priors : Priors or None
        Priors for new users, if available.
    model : Model
        Model with the user.
    users : UserBatch
        The user.
    table : pl.DataFrame, optional
        One row for the user, with the columns from which the prior was learned.

    Returns
    -------
    callable or None
        Takes histories, and returns a model with one user for each. None if there is no prior for users, or if there is
        more than one user.
    """
    if priors is None or priors.users is None or len(users) != 1:
        return None
    ranker = ranking_part(model, users)[0]

    def fold_in_histories(histories: SparseRows) -> Model:
        copies = None if table is None else table[np.zeros(len(histories), np.int64)]
        return fold_in(ranker, priors, histories, copies)

    return fold_in_histories


def source_without_history(priors: Priors | None) -> AnsweredBy:
    """Return the basis of the lists for a new user without a history.

    Parameters
    ----------
    priors : Priors or None
        Priors for new users, if available.

    Returns
    -------
    {"prior", "popularity"}
        Basis of the lists.
    """
    prior = None if priors is None else priors.users
    return "popularity" if prior is None or not prior.applies_without_history else "prior"


def replace_users(
    model: Model, priors: Priors | None, rows: Int32, histories: SparseRows, table: pl.DataFrame | None = None
) -> Model:
    """Return a model with selected users of a trained model and with folded-in users.

    Parameters
    ----------
    model : Model
        Trained model.
    priors : Priors or None
        Priors for new users, if available.
    rows : ndarray of shape (n_users,), int32
        Row number of each user in `model`; -1 for users who are folded in.
    histories : SparseRows
        History of each user who is folded in, in order.
    table : pl.DataFrame, optional
        One row for each user who is folded in, with the columns from which the prior was learned.

    Returns
    -------
    Model
        Model with n_users users.
    """
    positions = np.array(rows)
    positions[rows < 0] = -1 - np.arange(len(histories), dtype=np.int32)
    folded_users: Any = fold_in(model, priors, histories, table)
    assert isinstance(model, FoldsIn)
    return model.with_users(folded_users, positions)


def starts_from_prior(model: Model, priors: Priors | None) -> bool:
    """Return whether the ratings of a new user without a history are predicted by a prior.

    Parameters
    ----------
    model : Model
        Trained model.
    priors : Priors or None
        Its priors, if available.

    Returns
    -------
    bool
        True if there is a user prior that applies without a history; for a paired model, that of the rating model.
    """
    if isinstance(model, PairedModel):
        priors = None if priors is None else priors.rating_model
    return priors is not None and priors.users is not None and priors.users.applies_without_history


def with_appended_users(model: Model, folded_users: object) -> Model:
    """Append folded-in users to the users of a model.

    Parameters
    ----------
    model : Model
        Trained model with n_users users.
    folded_users : Model
        Model with n_new users, as returned by `fold_in`.

    Returns
    -------
    Model
        Model with n_users + n_new users.
    """
    assert isinstance(model, FoldsIn)
    new_users: Any = folded_users
    positions = np.concatenate([np.arange(model.n_users), -1 - np.arange(new_users.n_users)]).astype(np.int32)
    return model.with_users(new_users, positions)


def differing_rows(first: SparseRows, second: SparseRows) -> Bool:
    """Return a mask of the rows in which two matrices differ in columns or values.

    Parameters
    ----------
    first, second : SparseRows
        Matrices with n_rows rows.

    Returns
    -------
    ndarray of shape (n_rows,), bool
        Whether each row differs; weights are not compared.
    """
    is_different: Bool = first.counts != second.counts
    equal_length = np.flatnonzero(~is_different)
    a, b = first.take(equal_length), second.take(equal_length)
    owner = np.repeat(equal_length, a.counts)
    is_different[owner[(a.columns != b.columns) | (a.values != b.values)]] = True
    return is_different


def replace_rows(matrix: SparseRows, rows: Int32, new_rows: SparseRows) -> SparseRows:
    """Build a matrix from selected rows of an existing matrix and new rows.

    Parameters
    ----------
    matrix : SparseRows
        Matrix with the existing rows.
    rows : ndarray of shape (n,), int32
        Row number in `matrix` for each row of the result; -1 for the rows of `new_rows`, in order.
    new_rows : SparseRows
        New rows: one for each -1.

    Returns
    -------
    SparseRows
        Matrix with n rows.
    """
    positions = np.array(rows, np.int64)
    positions[rows < 0] = len(matrix) + np.arange(len(new_rows))
    return vstack(matrix, new_rows).take(positions)


def remap_columns(rows: SparseRows, columns: Int32) -> SparseRows:
    """Renumber the columns of a matrix, and drop entries whose new column index is -1.

    Parameters
    ----------
    rows : SparseRows
        Matrix to convert.
    columns : ndarray of shape (n_columns,), int32
        New index of each column; -1 drops the column.

    Returns
    -------
    SparseRows
        Matrix with the same number of rows.
    """
    new = columns[rows.columns]
    is_known = new >= 0
    owner = rows.owners[is_known]
    weights = None if rows.weights is None else rows.weights[is_known]
    times = None if rows.times is None else rows.times[is_known]
    return SparseRows.of(owner, new[is_known], rows.values[is_known], len(rows), weights, times)


def model_histories(model: Model, table: Interactions) -> SparseRows:
    """Return the histories in a table, with times if the model uses the order of a history.

    Parameters
    ----------
    model : Model
        Trained model.
    table : Interactions
        Ratings or events.

    Returns
    -------
    SparseRows
        One row for each user of the table.
    """
    return table.sequences if getattr(model, "uses_order", False) else table.by_user


def check_ratings(ratings: Interactions, kind: Kind, scale: Scale | None) -> None:
    """Check that a table is of the model's kind and that its ratings are on the model's scale.

    Parameters
    ----------
    ratings : Interactions
        Table to check.
    kind : {"ratings", "events"}
        Kind of data that the model was trained on.
    scale : Scale or None
        Rating scale; None for events.

    Raises
    ------
    KindError
        If the table is of the other kind.
    DataError
        If a rating is not on the scale.
    """

    def describe_rating(row: int) -> str:
        user, item = ratings.users.ids(ratings.u[[row]])[0], ratings.items.ids(ratings.i[[row]])[0]
        return f"the rating of user {user!r} and item {item!r}"

    if ratings.kind != kind:
        raise KindError(f"this model was trained on {kind}, but the table contains {ratings.kind}")
    if scale is not None:
        scale.check(ratings.values, name=describe_rating)


class MergedUsers(NamedTuple):
    """Users, histories and seen items after merging new ratings.

    Attributes
    ----------
    users : IdMap
        IDs of known and new users.
    histories : SparseRows
        Histories of the users, including the new ratings.
    seen : SparseRows or None
        Additional items that the users have seen.
    changed : ndarray of shape (n_users,), bool
        Mask of the users with new ratings.
    """

    users: IdMap
    histories: SparseRows
    seen: SparseRows | None
    changed: Bool


def merge_ratings(
    users: IdMap, items: IdMap, kind: Kind, histories: SparseRows, seen: SparseRows | None, new: Interactions
) -> MergedUsers:
    """Merge new ratings into the histories of the users; see `Recommender.updated`.

    Parameters
    ----------
    users, items : IdMap
        IDs of n_users users and of n_items items.
    kind : {"ratings", "events"}
        A new rating replaces the earlier one for the same user-item pair; values of events are summed.
    histories : SparseRows
        History of each user: n_users rows of item row numbers.
    seen : SparseRows or None
        Additional items that each user has seen: n_users rows.
    new : Interactions
        New ratings or events. If the histories have times and the new table has none, its rows count as simultaneous
        and later than all others.

    Returns
    -------
    MergedUsers
        All users with their merged histories.

    Raises
    ------
    UnknownIdError
        If `items` does not contain an item.
    DataError
        If the user IDs have a different type.
    """
    if histories.times is not None and new.times is None:
        new = replace(new, times=np.full(len(new), histories.times.max(initial=0) + 1))
    rated_items = new.items.ids(np.unique(new.i))
    if (unknown_items := rated_items.filter(items.rows(rated_items) < 0)).len():
        suffix = f" and {len(unknown_items) - 1} more are" if len(unknown_items) > 1 else " is"
        raise UnknownIdError(f"item {unknown_items[0]!r}{suffix} new: call with_items first, or refit the model")
    changed_ids = new.users.ids(np.unique(new.u if new.seen is None else np.concatenate([new.u, new.seen.u])))
    all_users = users.union(IdMap.of(changed_ids))
    rows, changed = np.array(users.rows(all_users.all)), np.zeros(len(all_users), bool)
    changed[all_users.rows(changed_ids)] = True
    changed_ids = all_users.ids(np.flatnonzero(changed))
    changed_rows, rows[changed] = rows[changed], -1

    def merge_rows(current_rows: SparseRows | None, table: Interactions | None, merge: Merge) -> SparseRows:
        current_rows = SparseRows.empty(len(users)) if current_rows is None else current_rows
        added_rows = SparseRows.empty(len(changed_ids))
        if table is not None:
            by_user = table.by_user if histories.times is None else table.sequences
            added_rows = remap_columns(by_user.take(table.users.rows(changed_ids)), items.rows(table.items.all))
        return replace_rows(current_rows, rows, merge(current_rows.take(changed_rows), added_rows))

    return MergedUsers(
        all_users,
        merge_rows(histories, new, merge_counts if kind == "events" else merge_latest),
        None if seen is None and new.seen is None else merge_rows(seen, new.seen, merge_latest),
        changed,
    )


def new_item_table(table: Any, items: IdMap) -> pl.DataFrame:
    """Convert a table of new items to a data frame with their IDs in the column `item`.

    Parameters
    ----------
    table : data frame
        One row for each new item; see `Recommender.with_items`.
    items : IdMap
        IDs of the known items.

    Returns
    -------
    pl.DataFrame
        Table with the column `item`.

    Raises
    ------
    DataError
        If an ID is already known or occurs twice, or if the table has no IDs.
    """
    side_table = SideTable.of(table, "item")
    table_with_ids = side_table.with_ids_first(
        (side_table.id_columns or [*side_table.frame.columns, *side_table.index.columns])[0]
    )
    if table_with_ids["item"].n_unique() < len(table_with_ids) or (items.rows(table_with_ids["item"]) >= 0).any():
        raise DataError("IDs of new items must be unique and unknown to the model; some are known or occur twice")
    return table_with_ids


class TrainedItems(NamedTuple):
    """Items of a model, with the data that an item-item model needs to predict the weights of new items.

    Attributes
    ----------
    items : IdMap
        IDs of n_items items.
    table : pl.DataFrame or None
        Item table in row order.
    histories : SparseRows
        Histories of the users.
    """

    items: IdMap
    table: pl.DataFrame | None
    histories: SparseRows


def add_items(
    model: Model,
    priors: Priors | None,
    trained: TrainedItems,
    table: pl.DataFrame,
    users: IdMap,
    ratings: Interactions | None,
) -> tuple[Model, IdMap, Int32]:
    """Add new items to a model from their prior and, for a model with factors, from ratings by known users.

    Parameters
    ----------
    model : Model
        Trained model.
    priors : Priors or None
        Priors for new items.
    trained : TrainedItems
        Items in the model.
    table : pl.DataFrame
        New items; see `new_item_table`.
    users : IdMap
        IDs of the users in the model.
    ratings : Interactions or None
        Ratings of the new items; those by unknown users are ignored.

    Returns
    -------
    model : Model
        Model with the new items.
    items : IdMap
        IDs of known and new items.
    positions : ndarray of shape (n_items,), int32
        Previous row number of each item; -1 - k for the k-th new item.

    Raises
    ------
    KindError
        If there is no prior for new items, or if the model does not support adding items.
    """
    ids, ratings_by_item = table["item"], SparseRows.empty(len(table))
    if ratings is not None:
        ratings_by_item = remap_columns(ratings.by_item.take(ratings.items.rows(ids)), users.rows(ratings.users.all))
    all_items = trained.items.union(IdMap.of(ids))
    positions = np.array(trained.items.rows(all_items.all))
    positions[all_items.rows(ids)] = -1 - np.arange(len(ids), dtype=np.int32)
    return _with_items(model, priors, trained, table, ratings_by_item, positions), all_items, positions


def _with_items(
    model: Model,
    priors: Priors | None,
    trained: TrainedItems,
    table: pl.DataFrame,
    ratings_by_item: SparseRows,
    positions: Int32,
) -> Model:
    """Add new items, and return the model with its items reordered by `positions`; see `add_items`."""
    if isinstance(model, PairedModel):
        rating_priors = None if priors is None else priors.rating_model
        liked, liked_by_item = trained._replace(histories=model.liked(trained.histories)), model.liked(ratings_by_item)
        ranker = _with_items(model.ranker, priors, liked, table, liked_by_item, positions)
        rating_model = _with_items(model.rating_model, rating_priors, trained, table, ratings_by_item, positions)
        return model.of(ranker, rating_model, model.min_rating)
    prior = None if priors is None else priors.items
    with linalg_as_data_error():
        if isinstance(prior, Prior) and isinstance(model, FactorModel):
            factors, bias = model.fold_in_items(
                ratings_by_item, GaussianPrior(prior.means(table, len(table)), prior.precision)
            )
            return model.with_items(factors, bias, positions)
        if isinstance(prior, WeightPrior) and isinstance(model, ItemItemModel) and trained.table is not None:
            support = _event_counts(trained.histories, model.n_items)
            return add_item_weights(model, prior, trained.table, support, table, positions)
    raise KindError(
        "new items require an item prior; with_priors learns one for models with factors and, from item features, for "
        "item-item event models"
    )


def initialize_cold_items(
    model: Model, priors: Priors, trained: TrainedItems, evidence: Bool | None
) -> tuple[Model, Bool | None]:
    """Compute the parameters of items without training data from their features.

    Parameters
    ----------
    model : Model
        Trained model.
    priors : Priors
        Priors for new items; without features, nothing changes.
    trained : TrainedItems
        Items in the model. Those that are not in the histories and have at least one feature indicator are changed.
    evidence : ndarray of shape (n_items,), bool, or None
        Mask of the items that the model can rank; None for all.

    Returns
    -------
    model : Model
        Model in which the changed items are as if they were added by `add_items`, and all others are unchanged.
    evidence : ndarray of shape (n_items,), bool, or None
        Mask that includes the changed items; for a paired model, the mask of its ranker.
    """
    if isinstance(model, PairedModel):
        liked = trained._replace(histories=model.liked(trained.histories))
        ranker, evidence = initialize_cold_items(model.ranker, priors, liked, evidence)
        rating_model, _ = initialize_cold_items(model.rating_model, priors.rating_model or Priors(), trained, None)
        return model.of(ranker, rating_model, model.min_rating), evidence
    if priors.items is None or priors.items.encoder is None or trained.table is None:
        return model, evidence
    has_no_data = _event_counts(trained.histories, len(trained.items)) == 0
    is_cold = _with_features(has_no_data, priors.items.encoder, trained.table)
    cold_rows = np.flatnonzero(is_cold)
    if not len(cold_rows):
        return model, evidence
    positions = np.arange(len(is_cold), dtype=np.int32)
    positions[cold_rows] = -1 - np.arange(len(cold_rows), dtype=np.int32)
    no_ratings = SparseRows.empty(len(cold_rows))
    extended_model = _with_items(model, priors, trained, trained.table.filter(is_cold), no_ratings, positions)
    evidence = None if evidence is None or (evidence | is_cold).all() else read_only(evidence | is_cold)
    return extended_model, evidence


def initialize_cold_users(model: Model, priors: Priors, histories: SparseRows, table: pl.DataFrame | None) -> Model:
    """Compute the parameters of users without training data from their features.

    Parameters
    ----------
    model : Model
        Trained model.
    priors : Priors
        Priors for new users; without features, nothing changes.
    histories : SparseRows
        History of each user. Those without a history who have at least one feature indicator are changed.
    table : pl.DataFrame or None
        User table in row order.

    Returns
    -------
    Model
        Model in which the changed users are new users with these features, and all others are unchanged.
    """
    prior = priors.user_prior
    if prior is None or prior.encoder is None or table is None:
        return model
    is_cold = _with_features(without_zero_weights(histories).counts == 0, prior.encoder, table)
    if not is_cold.any():
        return model
    rows = np.where(is_cold, -1, np.arange(len(is_cold))).astype(np.int32)
    return replace_users(model, priors, rows, histories.take(np.flatnonzero(is_cold)), table.filter(is_cold))


def _with_features(selected: Bool, encoder: Encoder, table: pl.DataFrame) -> Bool:
    """Return a mask of the selected rows of a table that have at least one feature indicator."""
    result = np.array(selected)
    result[selected] = encoder.encode(table.filter(selected)).dense(int(selected.sum())).any(axis=1)
    return result


def _event_counts(histories: SparseRows, n_items: int) -> Int64:
    """Return the number of ratings or events with a nonzero weight for each item."""
    return without_zero_weights(histories).column_counts(n_items)


def history_row(history: Any, items: IdMap, kind: Kind, scale: Scale | None) -> SparseRows:
    """Convert the history of a new user to a matrix with one row.

    Parameters
    ----------
    history : mapping, iterable of (item, value) pairs, or iterable of items
        History of the user; see `Recommender.for_history`.
    items : IdMap
        IDs of the known items.
    kind : {"ratings", "events"}
        Kind of data that the model was trained on.
    scale : Scale or None
        Rating scale; None for events.

    Returns
    -------
    SparseRows
        One row with item row numbers and values (float32); the times are the positions in the history.

    Raises
    ------
    DataError
        If the history is invalid, or if a rating is not on the scale.
    UnknownIdError
        If an item is unknown.
    """
    if not isinstance(history, Iterable) or isinstance(history, str) or getattr(history, "ndim", 1) == 0:
        raise DataError(f"history must be a list of items or of (item, rating) pairs, not {checks.describe(history)}")
    entries = list(islice(history.items() if isinstance(history, Mapping) else history, len(items) + 1))
    if len(entries) > len(items):
        raise DataError(f"history must have at most {len(items):,} entries, one per item")
    pairs = [entry if isinstance(entry, tuple | list) else (entry, 1.0) for entry in entries]
    if kind == "ratings" and any(not isinstance(entry, tuple | list) for entry in entries):
        raise DataError("history must contain (item, rating) pairs: this model was trained on ratings")
    if invalid_pairs := [pair for pair in pairs if len(pair) != 2 or not _is_number(pair[1])]:
        raise DataError(
            f"history: {checks.describe(invalid_pairs[0])} is not an (item, rating) pair with a finite number"
        )
    ids = id_series("history", [item for item, _ in pairs])
    rows = items.rows(ids)
    if (rows < 0).any():
        raise UnknownIdError(f"history: item {ids[int((rows < 0).argmax())]!r} is not known to this model")
    if ids.n_unique() < len(ids):
        raise DataError(f"history: item {ids.filter(ids.is_duplicated())[0]!r} occurs twice")
    values = [value for _, value in pairs]
    if scale is not None:
        scale.check(values, name=lambda position: f"the rating of item {ids[position]!r}")
    return SparseRows.of(np.zeros(len(rows), np.int64), rows, values, 1, times=np.arange(len(rows)))


def feature_table(user_features: Any, priors: Priors | None) -> pl.DataFrame | None:
    """Convert the features of a new user to a table with one row, with the columns that the prior requires.

    Parameters
    ----------
    user_features : mapping of str to Any, or None
        Mapping from columns of the user table to values.
    priors : Priors or None
        Priors of the model, if available.

    Returns
    -------
    pl.DataFrame or None
        All columns from which the user prior was learned; null for columns without a value. None if `user_features`
        is None.

    Raises
    ------
    ParameterError
        If `user_features` is not a mapping.
    DataError
        If a column is not a feature of the prior.
    """
    if user_features is None:
        return None
    if not isinstance(user_features, Mapping):
        description = checks.describe(user_features)
        raise ParameterError(f"user_features must map columns of the user table to values; got {description}")
    columns = [] if priors is None else priors.user_columns
    if unknown_columns := [name for name in user_features if name not in columns]:
        column_list = ", ".join(columns) or "none; learn priors with user_features first"
        raise DataError(
            f"`user_features` contains {unknown_columns[0]!r}, which is not a feature of the prior; "
            f"its features are: {column_list}"
        )
    return pl.DataFrame({name: [user_features.get(name)] for name in columns})


@validated
def table_rows(table: pl.DataFrame | None, selected: Bool) -> pl.DataFrame | None:
    """Select rows of a user table.

    Parameters
    ----------
    table : pl.DataFrame or None
        Table with one row for each of n users.
    selected : ndarray of shape (n,), bool
        Mask of the rows to select.

    Returns
    -------
    pl.DataFrame or None
        Selected rows; None if there is no table.

    Raises
    ------
    DataError
        If the table is not a polars data frame with n rows.
    """
    if table is None:
        return None
    if len(table) != len(selected):
        raise DataError(f"table must have one row for each of the {len(selected):,} users; got {len(table):,} rows")
    return table.filter(selected)


def extend_table(ids: IdMap, table: pl.DataFrame | None, new_table: pl.DataFrame | None) -> pl.DataFrame | None:
    """Extend a user or item table to one row per ID, in row order.

    Parameters
    ----------
    ids : IdMap
        IDs of n users or items.
    table : pl.DataFrame or None
        Current table, with the IDs in the first column.
    new_table : pl.DataFrame or None
        Rows for IDs that are not in `table`, with the IDs in the first column.

    Returns
    -------
    pl.DataFrame or None
        Table with n rows; the columns are null for IDs that are in neither table. None if both tables are None.

    Raises
    ------
    DataError
        If the column types of the tables do not match, or if an ID is neither an integer nor a string.
    """
    if table is None:
        table, new_table = new_table, None
    if table is None:
        return None
    key = table.columns[0]
    table = _with_typed_ids(ids, table, key)
    if new_table is not None:
        new_table = _with_typed_ids(ids, new_table, key)
        added_rows = new_table.filter(~pl.col(key).is_in(table[key].implode()))
        try:
            table = pl.concat([table, added_rows], how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            raise DataError(f"the columns of the new table do not match the existing ones: {error}") from error
    return pl.DataFrame({key: ids.all}).join(table, on=key, how="left", maintain_order="left")


def _with_typed_ids(ids: IdMap, table: pl.DataFrame, key: str) -> pl.DataFrame:
    """Convert the IDs in the first column to the type of the ID map, and rename the column to `key`."""
    return pl.DataFrame([ids.as_id_type(table.to_series(0)).alias(key), *table.drop(table.columns[0])])


def _is_number(value: object) -> bool:
    """Return whether the value is a number that float32 can represent."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_number and abs(float(value)) <= float(np.finfo(np.float32).max)  # type: ignore[arg-type]
