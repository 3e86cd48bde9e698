"""Training data: the events in a store up to a cutoff, and the held-out events after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cofactor.data.id_columns import canonical_ids
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.data.side_table import join
from cofactor.errors import DataError, KindError
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store
from cofactor.store.snapshot import kind_code, other_kind, snapshot_of

__all__ = ["TrainingData", "check_trainable", "new_events", "rating_scale", "store_scale", "training_data"]

_SCALE = "scale"


def store_scale(store: Store, table: Interactions) -> None:
    """Store the rating scale of a table, unless the store already has one or the table contains events.

    Parameters
    ----------
    store : Store
        The store.
    table : Interactions
        The first table imported into the store.
    """
    if table.scale is not None and store.settings.get(_SCALE) is None:
        store.settings.put(_SCALE, [table.scale.low, table.scale.high, list(table.scale.levels)])


def rating_scale(store: Store, values: Any) -> Scale | None:
    """Return the stored rating scale, extended to include all values.

    Parameters
    ----------
    store : Store
        The store.
    values : array_like of shape (n,)
        Ratings.

    Returns
    -------
    Scale or None
        The scale; None if the store has none.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     table = Interactions.from_columns(["ana"], ["alien"], [4], scale=Scale.from_levels([1, 2, 3, 4, 5]))
    ...     store_scale(store, table)
    ...     rating_scale(store, [4.0]).levels, rating_scale(store, [4.0, 6.0]).high
    ((1.0, 2.0, 3.0, 4.0, 5.0), 6.0)
    """
    stored = store.settings.get(_SCALE)
    if stored is None:
        return None
    scale = Scale(stored[0], stored[1], tuple(stored[2]))
    distinct_values = pl.Series(np.asarray(values, np.float32)).unique().to_numpy()
    if scale.contains(distinct_values).all():
        return scale
    return Scale.infer(np.concatenate([distinct_values, scale.levels or (scale.low, scale.high)]))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training data and held-out events, created by `training_data`.

    Attributes
    ----------
    train : Interactions
        Table to fit on, with item and user metadata and the user-item pairs to exclude from recommendations.
    snapshot : polars.DataFrame
        Rows of `train` with the columns user and item (String), value and time.
    held_out : polars.DataFrame
        Values of the user-item pairs with events after the cutoff, computed from these events only; columns as in
        `snapshot`.
    cutoff : int
        Sequence number of the last change in `train`.
    until : int
        Sequence number of the last change in `held_out`.
    user_metadata : polars.DataFrame or None
        Metadata of all users, including those without ratings, with the column user (String) and one column per name;
        None if there is none.
    excluded : polars.DataFrame or None
        User-item pairs that have only data of the other kind (ratings for a table of events and vice versa) and are
        excluded from recommendations; columns as in `snapshot`.
    """

    train: Interactions
    snapshot: pl.DataFrame
    held_out: pl.DataFrame
    cutoff: int
    until: int
    user_metadata: pl.DataFrame | None = None
    excluded: pl.DataFrame | None = None


def check_trainable(store: Store, spec: TrainingSpec) -> None:
    """Check that the store contains data of the required kind and the features that the estimator uses.

    Parameters
    ----------
    store : Store
        The store.
    spec : TrainingSpec
        Specification of the training.

    Raises
    ------
    KindError
        If data of this kind or a feature is missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     check_trainable(store, TrainingSpec())
    Traceback (most recent call last):
    cofactor.errors.KindError: the store contains no ratings to train on; send some or import a table
    """
    if not store.events.contains(spec.kind):
        raise KindError(f"the store contains no {spec.kind} to train on; send some or import a table")
    for entity, rows in (("user", store.users), ("item", store.items)):
        features = getattr(spec.estimator, f"{entity}_features", ())
        names = dict.fromkeys(name for row in rows.after() for name in row.metadata) if features else {}
        if missing_names := [name for name in features if name not in names]:
            available = ", ".join(names) or "none"
            raise KindError(
                f"{entity}_features: no {entity} has metadata named {missing_names[0]!r}; available names: {available}"
            )


def new_events(store: Store, kind: Kind, seq: int, until: int) -> pl.DataFrame:
    """Return the events of one kind in a range of sequence numbers.

    Parameters
    ----------
    store : Store
        The store.
    kind : {'ratings', 'events'}
        The kind.
    seq : int
        Sequence number after which to start.
    until : int
        Last sequence number, inclusive.

    Returns
    -------
    polars.DataFrame
        Columns seq and user (String), ordered by seq; empty if there are no events.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 5), Event("bo", "clue", 2)])
    ...     new_events(store, "ratings", 1, 2).rows()
    [(2, 'bo')]
    """
    has_kind = pl.col("kind") == kind_code(kind)
    pages = (page.filter(has_kind).select("seq", "user") for page in store.events.until(until, after=seq))
    return pl.concat([pl.DataFrame(schema={"seq": pl.Int64, "user": pl.String}), *pages])


def training_data(store: Store, kind: Kind, cutoff: int, until: int) -> TrainingData:
    """Assemble training data from a store, excluding erased users.

    Parameters
    ----------
    store : Store
        The store.
    kind : {'ratings', 'events'}
        Kind of the table.
    cutoff : int
        Last sequence number of the training data.
    until : int
        Last sequence number of the held-out events.

    Returns
    -------
    TrainingData
        The data, without users who are erased while it is read.

    Raises
    ------
    DataError
        If the store contains no data of this kind.
    StoreUnavailableError
        If the database is unavailable.
    """
    other = other_kind(kind)
    snapshot = store.events.snapshot(kind, until=cutoff)
    held_out = snapshot_of(store.events.until(until, after=cutoff), kind)
    excluded = store.events.snapshot(other, until=cutoff) if store.events.contains(other) else snapshot.clear()
    if hashes := {tombstone.hash for tombstone in store.erasure.after(until)}:
        snapshot, held_out, excluded = (_without_erased(store, rows, hashes) for rows in (snapshot, held_out, excluded))
    if snapshot.is_empty():
        raise DataError(f"there are no {kind} to train on; send some or import a table")
    excluded = excluded.join(snapshot, on=["user", "item"], how="anti")
    if kind == "ratings":  # a model trained on ratings has no rows for users and items without ratings
        excluded = excluded.join(snapshot, on="user", how="semi").join(snapshot, on="item", how="semi")
    train, user_metadata = _table(store, snapshot, excluded, kind), None
    if items := [(row.item, {"title": row.title, **row.metadata}) for row in store.items.after()]:
        train = replace(train, item_table=_metadata_table(train.items, "item", items))
    if users := [(row.user, row.metadata) for row in store.users.after()]:
        train = replace(train, user_table=_metadata_table(train.users, "user", users))
        user_metadata = _columns("user", users)
    return TrainingData(train, snapshot, held_out, cutoff, until, user_metadata, excluded)


def _table(store: Store, snapshot: pl.DataFrame, excluded: pl.DataFrame, kind: Kind) -> Interactions:
    """Return the rows as a table, with the excluded rows as its `seen` attribute.

    As in `Interactions.to_events`, the table includes the users and items of the excluded rows.
    """
    n, other = len(snapshot), other_kind(kind)
    users, items = (canonical_ids(pl.concat([snapshot[name], excluded[name]])) for name in ("user", "item"))
    scale = rating_scale(store, snapshot["value"]) if kind == "ratings" else None
    train = Interactions.from_columns(
        users[:n], items[:n], snapshot["value"], times=snapshot["time"], kind=kind, scale=scale
    )
    if excluded.is_empty():
        return train
    seen = Interactions.from_columns(users[n:], items[n:], excluded["value"], times=excluded["time"], kind=other)
    maps = train.users.union(seen.users), train.items.union(seen.items)
    return replace(train.with_ids(*maps), seen=seen.with_ids(*maps))


def _without_erased(store: Store, rows: pl.DataFrame, hashes: set[str]) -> pl.DataFrame:
    erased_users = [user for user in rows["user"].unique() if store.erasure.hash(user) in hashes]
    return rows.filter(~pl.col("user").is_in(erased_users))


def _metadata_table(ids: IdMap, entity: str, metadata: Sequence[tuple[str, dict[str, Any]]]) -> pl.DataFrame:
    """Return a table of the metadata for each ID, with null where there is none."""
    rows = ids.rows(pl.Series([name for name, _ in metadata], dtype=pl.String))
    matched_entries = [entry for entry, row in zip(metadata, rows, strict=True) if row >= 0]
    if not matched_entries:
        return pl.DataFrame([ids.all.alias(entity)])
    return join(ids, _columns(entity, matched_entries), entity, id_column=entity).frame


def _columns(entity: str, metadata: Sequence[tuple[str, dict[str, Any]]]) -> pl.DataFrame:
    """Return metadata as columns, without names whose values have mixed or nested types."""
    columns = [pl.Series(entity, [id_ for id_, _ in metadata], dtype=pl.String)]
    for name in dict.fromkeys(name for _, fields in metadata for name in fields):
        values = [fields.get(name) for _, fields in metadata]
        dtypes = {_dtype(value) for value in values if value is not None}
        if name != entity and len(dtypes) == 1 and (dtype := dtypes.pop()) is not None:
            columns.append(pl.Series(name, values, dtype=dtype, strict=False))
    return pl.DataFrame(columns)


def _dtype(value: Any) -> Any:
    """Return the column type for a JSON value; None for a nested value."""
    if isinstance(value, bool):
        return pl.Boolean
    if isinstance(value, int | float):
        return pl.Float64
    if isinstance(value, str):
        return pl.String
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return pl.List(pl.String)
    return None
