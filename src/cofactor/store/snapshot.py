"""What all events together say of each (user, item) pair.

A pair's events are ordered by the time that was told (never later than when they came), then by number. Ratings: the
last counts, and after a removal none. Events: summed since the last removal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cofactor.data.interactions import Kind
from cofactor.data.readers.casting import as_integers
from cofactor.errors import KindError
from cofactor.store.event import EVENT, RATING, REMOVAL, StoredEvent

__all__ = ["Kept", "code_of", "other_kind", "settled", "state_of"]

PART = 1_000_000


class Kept(NamedTuple):
    """What counts of a user and an item: the value, and when it was last told (not later than when that came).

    >>> Kept("alien", 5.0, time=1_700_000_000).value
    5.0
    """

    item: str
    value: float
    time: int


def settled(history: Iterable[StoredEvent], kind: Kind) -> list[Kept]:
    """One user's state, from all events of that user in any order; by item. Raises KindError for another kind.

    >>> told = [(1, "rating", 4.0), (2, "rating", 2.0), (3, "event", 1.0)]
    >>> settled([StoredEvent(seq, kind, "ana", "alien", value, 60, 90) for seq, kind, value in told], "ratings")
    [Kept(item='alien', value=2.0, time=60)]
    """
    wanted = "rating" if code_of(kind) == RATING else "event"
    kept: dict[str, Kept] = {}
    in_order = sorted(((min(event.time, event.received), event.seq), event) for event in history)
    for (time, _), event in in_order:
        if event.kind == "removal":
            kept.pop(event.item, None)
        elif event.kind == wanted:
            before = kept[event.item].value if kind == "events" and event.item in kept else 0.0
            kept[event.item] = Kept(event.item, before + event.value, time)
    return [kept[item] for item in sorted(kept)]


def state_of(pages: Iterable[pl.DataFrame], kind: Kind) -> pl.DataFrame:
    """The state of all pairs, from all events in the order of their numbers: user, item, value, time; in no order.

    pages: as `EventLog.until` gives them, looked at one at a time; what is kept in between takes 25 bytes a row. Ids
    are integers where every one is a canonical decimal, else strings. No events give no rows. Raises KindError for
    another kind.
    """
    code = code_of(kind)
    users, items = (pl.Categorical(pl.Categories.random(physical=pl.UInt32)) for _ in range(2))
    columns: dict[str, Any] = {
        "user": users,
        "item": items,
        "kind": pl.Int8,
        "value": pl.Float64,
        "time": pl.Int64,
    }
    rows = pl.concat([pl.DataFrame(schema=columns), *_lean(pages, code, columns)])
    settle = _last if kind == "ratings" else _summed
    kept = pl.concat([settle(part.sort("time", maintain_order=True)) for part in _parts(rows)])
    return kept.select(_ids(kept["user"]), _ids(kept["item"]), "value", "time")


def code_of(kind: Kind) -> int:
    """Return the code of the events that a table of this kind is made of. Raises KindError for another kind.

    >>> code_of("ratings"), code_of("events")
    (0, 1)
    """
    if kind not in ("ratings", "events"):
        raise KindError(f"the kind is ratings or events, not {kind!r}")
    return RATING if kind == "ratings" else EVENT


def other_kind(kind: Kind) -> Kind:
    """Return "events" for "ratings", and the other way round.

    >>> other_kind("ratings")
    'events'
    """
    return "events" if kind == "ratings" else "ratings"


def _lean(pages: Iterable[pl.DataFrame], code: int, columns: dict[str, Any]) -> Iterator[pl.DataFrame]:
    for page in pages:
        wanted = page.filter(pl.col("kind").is_in([code, REMOVAL]))
        told = wanted.with_columns(time=pl.min_horizontal("time", "received"))
        yield told.select(pl.col(name).cast(dtype) for name, dtype in columns.items())


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows in parts of about `PART`, each user's in one: what a part needs in between is soon given back."""
    parts = 1 + len(rows) // PART
    place = rows["user"].to_physical() % parts
    return (rows.filter(place == part) for part in range(parts))


def _last(rows: pl.DataFrame) -> pl.DataFrame:
    last = rows.unique(["user", "item"], keep="last")
    return last.filter(pl.col("kind") != REMOVAL)


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    """Events since the last removal of their pair, added in their order, so that a sum has the same bits each time."""
    pair = [pl.col(name).to_physical() for name in ("user", "item")]
    rows = rows.sort(pair, maintain_order=True)
    removal = (pl.col("kind") == REMOVAL).cast(pl.Int64)
    if (rows["kind"] == REMOVAL).any():
        later = removal.cum_sum(reverse=True).over("user", "item")  # removals from here on
        rows = rows.filter((later == 0) & (removal == 0))
    if rows.is_empty():
        return rows
    u, i = (rows[name].to_physical().to_numpy() for name in ("user", "item"))
    first = np.concatenate([np.ones(1, bool), (u[1:] != u[:-1]) | (i[1:] != i[:-1])])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(rows)) - 1
    sums = np.add.reduceat(rows["value"].to_numpy(), starts)
    return rows[ends].with_columns(value=pl.Series(sums))


def _ids(column: pl.Series) -> pl.Series:
    """The column as integers or strings; each id is looked at once."""
    codes = column.to_physical()
    places = codes.arg_unique()
    distinct = as_integers(column.gather(places).cast(pl.String))
    place = np.zeros(int(codes.to_numpy().max(initial=0)) + 1, np.uint32)
    place[codes.gather(places).to_numpy()] = np.arange(len(places), dtype=np.uint32)
    return distinct.gather(place[codes.to_numpy()]).alias(column.name)
