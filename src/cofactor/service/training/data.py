"""What a training takes out of the store: a table up to a moment, and the newest events after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import read_only
from cofactor.data.id_columns import canonical_ids
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.data.side_table import join
from cofactor.errors import DataError, KindError
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store
from cofactor.store.event import EVENT, RATING
from cofactor.store.snapshot import other_kind, state_of

__all__ = ["Material", "gathered", "keep_scale", "require_trainable", "scale_for", "since"]


_NAME = "scale"


def keep_scale(store: Store, table: Interactions) -> None:
    """Keep the scale of the first table, as it was declared or found there; events have none."""
    if table.scale is not None and store.settings.get(_NAME) is None:
        store.settings.put(_NAME, [table.scale.low, table.scale.high, list(table.scale.levels)])


def scale_for(store: Store, values: Any) -> Scale | None:
    """What is kept where it holds these ratings (n,), else the scale of both together; None where none is kept.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     table = Interactions.from_columns(["ana"], ["alien"], [4], scale=Scale.from_levels([1, 2, 3, 4, 5]))
    ...     keep_scale(store, table)
    ...     scale_for(store, [4.0]).levels, scale_for(store, [4.0, 6.0]).high
    ((1.0, 2.0, 3.0, 4.0, 5.0), 6.0)
    """
    found = store.settings.get(_NAME)
    if found is None:
        return None
    kept = Scale(found[0], found[1], tuple(found[2]))
    given = pl.Series(np.asarray(values, np.float32)).unique().to_numpy()
    if kept.holds(given).all():
        return kept
    return Scale.infer(np.concatenate([given, kept.levels or (kept.low, kept.high)]))


@dataclass(frozen=True, eq=False)
class Material:
    """One table parted by when its rows were stored; see `gathered`, which makes it.

    Attributes:

        train: what counts of each pair at `cut`, with what is known of items and users, and with what users had seen.
        known: the same rows: user, item (String), value, time.
        seen_before: pairs of the other kind alone, which lists leave out: of events the pairs that were only rated, of
            ratings those that were only taken. Columns as in `known`.
        held_out: what was told behind `cut`, up to `seen`, in the same columns; the last word on each pair.
        cut, seen: numbers of changes in the store.
        facts: what is known of users, with ratings or without: user (String) and the rest; None where nothing is.
    """

    train: Interactions
    known: pl.DataFrame
    held_out: pl.DataFrame
    cut: int
    seen: int
    facts: pl.DataFrame | None = None
    seen_before: pl.DataFrame | None = None


def require_trainable(store: Store, recipe: TrainingSpec) -> None:
    """Raise KindError where the store holds nothing of the kind that this training needs, or none of its features.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     require_trainable(store, TrainingSpec())
    Traceback (most recent call last):
    cofactor.errors.KindError: the store holds no ratings to learn from: send some, or import a table
    """
    if not store.events.holds(recipe.kind):
        raise KindError(f"the store holds no {recipe.kind} to learn from: send some, or import a table")
    for side, facts in (("user", store.users), ("item", store.items)):
        wanted = getattr(recipe.estimator, f"{side}_features", ())
        known = dict.fromkeys(name for one in facts.after() for name in one.metadata) if wanted else {}
        if missing := [name for name in wanted if name not in known]:
            listed = ", ".join(known) or "nothing"
            raise KindError(f"{side}_features: the store knows no {missing[0]!r} of any {side}; it knows {listed}")


def since(store: Store, kind: Kind, seq: int, seen: int) -> pl.DataFrame:
    """The events of this kind behind `seq`, up to `seen`, in their order: seq, user; perhaps none.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/store.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 5), Event("bo", "clue", 2)])
    ...     since(store, "ratings", 1, 2).rows()
    [(2, 'bo')]
    """
    code = RATING if kind == "ratings" else EVENT
    pages = (page.filter(pl.col("kind") == code).select("seq", "user") for page in store.events.until(seen, after=seq))
    return pl.concat([pl.DataFrame(schema={"seq": pl.Int64, "user": pl.String}), *pages])


def gathered(store: Store, kind: Kind, cut: int, seen: int) -> Material:
    """The table of this kind at `cut`, and what came between `cut` and `seen`; nothing of forgotten users.

    Who is forgotten while it is read is left out too. Raises DataError where there is nothing to learn from,
    StoreUnavailableError.
    """
    other = other_kind(kind)
    known = _as_text(store.events.state(kind, until=cut))
    held_out = _as_text(state_of(store.events.until(seen, after=cut), kind))
    also = _as_text(store.events.state(other, until=cut)) if store.events.holds(other) else known.clear()
    if stones := {stone.hash for stone in store.forgotten.after(seen)}:
        known, held_out, also = (_without(store, table, stones) for table in (known, held_out, also))
    if known.is_empty():
        raise DataError(f"there are no {kind} to learn from: send some, or import a table")
    also = also.join(known, on=["user", "item"], how="anti")
    if kind == "ratings":  # a model of ratings says nothing about users and items without any
        also = also.join(known, on="user", how="semi").join(known, on="item", how="semi")
    train = _table_of(store, known, also, kind)
    if about := [(one.item, {"title": one.title, **one.metadata}) for one in store.items.after()]:
        train = replace(train, item_table=_side_table(train.items, "item", about))
    told = None
    if facts := [(one.user, one.metadata) for one in store.users.after()]:
        train = replace(train, user_table=_side_table(train.users, "user", facts))
        told = _table(pl.Series("user", [name for name, _ in facts], dtype=pl.String), [about for _, about in facts])
    return Material(train, known, held_out, cut, seen, told, also)


def _table_of(store: Store, known: pl.DataFrame, also: pl.DataFrame, kind: Kind) -> Interactions:
    """Return the rows as a table of this kind, and those of the other kind as what its users have seen.

    The items and users of low ratings belong to the catalog of events, as in `Interactions.to_events`.
    """
    n, other = len(known), other_kind(kind)
    users, items = (canonical_ids(pl.concat([known[name], also[name]])) for name in ("user", "item"))
    scale = scale_for(store, known["value"]) if kind == "ratings" else None
    train = Interactions.from_columns(users[:n], items[:n], known["value"], times=known["time"], kind=kind, scale=scale)
    if also.is_empty():
        return train
    seen = Interactions.from_columns(users[n:], items[n:], also["value"], times=also["time"], kind=other)
    maps = train.users.union(seen.users), train.items.union(seen.items)
    return replace(_renumbered(train, *maps), seen=_renumbered(seen, *maps))


def _renumbered(table: Interactions, users: IdMap, items: IdMap) -> Interactions:
    """Return the same rows by the row numbers of larger maps: both are sorted, so rows stay sorted."""
    u, i = users.rows(table.users.all)[table.u], items.rows(table.items.all)[table.i]
    return replace(table, users=users, items=items, u=read_only(u), i=read_only(i))


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("user", "item").cast(pl.String))


def _without(store: Store, table: pl.DataFrame, stones: set[str]) -> pl.DataFrame:
    gone = [user for user in table["user"].unique() if store.forgotten.hash(user) in stones]
    return table.filter(~pl.col("user").is_in(gone))


def _side_table(ids: IdMap, what: str, rows: Iterable[tuple[str, dict[str, Any]]]) -> pl.DataFrame:
    """What is known of each of these ids; a row for each, perhaps of nulls."""
    mine = [(name, facts) for name, facts in rows if name in ids]
    names = ids.typed(pl.Series(what, [name for name, _ in mine], dtype=pl.String))
    table = _table(names, [facts for _, facts in mine])
    return join(ids, table, what, id_column=what).frame if mine else pl.DataFrame([ids.all.alias(what)])


def _table(ids: pl.Series, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Metadata as columns: those whose values are all texts, all numbers, all lists of texts, or true or false."""
    columns = [ids]
    for name in dict.fromkeys(name for facts in rows for name in facts):
        values = [facts.get(name) for facts in rows]
        dtype = _dtype(values)
        if name != ids.name and dtype is not None:
            columns.append(pl.Series(name, values, dtype=dtype, strict=False))
    return pl.DataFrame(columns)


def _dtype(values: list[Any]) -> Any:
    """The one type of these values, or None where they are of several, or nested."""
    found = {_kind_of(value) for value in values if value is not None}
    return found.pop() if len(found) == 1 else None


def _kind_of(value: Any) -> Any:
    if isinstance(value, bool):
        return pl.Boolean
    if isinstance(value, int | float):
        return pl.Float64
    if isinstance(value, str):
        return pl.String
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return pl.List(pl.String)
    return None
