"""Snapshots: compute the current rating or event total of each user-item pair from its stored events.

The events of a pair are ordered by time (the submitted time, but at most the time of receipt) and then by sequence
number. Ratings: the latest rating wins, and a removal deletes it. Events: the sum since the last removal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cofactor.data.interactions import Kind
from cofactor.errors import KindError
from cofactor.store.event import EVENT, RATING, REMOVAL, StoredEvent

__all__ = ["CurrentValue", "kind_code", "other_kind", "snapshot_of", "user_snapshot"]

PART_SIZE = 1_000_000


class CurrentValue(NamedTuple):
    """Current rating or event total of a user-item pair.

    Attributes
    ----------
    item : str
        ID of the item.
    value : float
        Rating, or sum of the events.
    time : int
        Time of the latest event, at most its time of receipt, in seconds since the Unix epoch.

    Examples
    --------
    >>> CurrentValue("alien", 5.0, time=1_700_000_000).value
    5.0
    """

    item: str
    value: float
    time: int


def user_snapshot(history: Iterable[StoredEvent], kind: Kind) -> list[CurrentValue]:
    """Return one user's current rating or event total for each item.

    Parameters
    ----------
    history : iterable of StoredEvent
        All events of the user, in any order.
    kind : {'ratings', 'events'}
        Kind of events to aggregate.

    Returns
    -------
    list of CurrentValue
        One entry per item, ordered by item ID; empty if there are no events.

    Raises
    ------
    KindError
        If the kind is unknown.

    Examples
    --------
    >>> rows = [(1, "rating", 4.0), (2, "rating", 2.0), (3, "event", 1.0)]
    >>> user_snapshot([StoredEvent(seq, kind, "ana", "alien", value, 60, 90) for seq, kind, value in rows], "ratings")
    [CurrentValue(item='alien', value=2.0, time=60)]
    """
    event_kind = "rating" if kind_code(kind) == RATING else "event"
    state: dict[str, CurrentValue] = {}
    sorted_events = sorted(((min(event.time, event.received), event.seq), event) for event in history)
    for (time, _), event in sorted_events:
        if event.kind == "removal":
            state.pop(event.item, None)
        elif event.kind == event_kind:
            total = state[event.item].value if kind == "events" and event.item in state else 0.0
            state[event.item] = CurrentValue(event.item, total + event.value, time)
    return [state[item] for item in sorted(state)]


def snapshot_of(pages: Iterable[pl.DataFrame], kind: Kind) -> pl.DataFrame:
    """Return the current rating or event total of each user-item pair.

    Parameters
    ----------
    pages : iterable of polars.DataFrame
        All events, ordered by sequence number, as returned by `EventLog.until`.
    kind : {'ratings', 'events'}
        Kind of events to aggregate.

    Returns
    -------
    polars.DataFrame
        Columns user and item (String), value and time, in no particular order; empty if there are no events.

    Raises
    ------
    KindError
        If the kind is unknown.

    Notes
    -----
    Pages are read one at a time and reduced to 25 bytes per row.
    """
    code = kind_code(kind)
    users, items = (pl.Categorical(pl.Categories.random(physical=pl.UInt32)) for _ in range(2))
    columns: dict[str, Any] = {
        "user": users,
        "item": items,
        "kind": pl.Int8,
        "value": pl.Float64,
        "time": pl.Int64,
    }
    rows = pl.concat([pl.DataFrame(schema=columns), *_compact(pages, code, columns)])
    aggregate = _latest_values if kind == "ratings" else _sum_since_removal
    state = pl.concat([aggregate(part.sort("time", maintain_order=True)) for part in _parts(rows)])
    return state.select(pl.col("user", "item").cast(pl.String), "value", "time")


def kind_code(kind: Kind) -> int:
    """Return the integer code for a kind in the `kind` column of the events table.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        The kind.

    Returns
    -------
    int
        0 for ratings, 1 for events.

    Raises
    ------
    KindError
        If the kind is unknown.

    Examples
    --------
    >>> kind_code("ratings"), kind_code("events")
    (0, 1)
    """
    if kind not in ("ratings", "events"):
        raise KindError(f"kind must be 'ratings' or 'events'; got {kind!r}")
    return RATING if kind == "ratings" else EVENT


def other_kind(kind: Kind) -> Kind:
    """Return "events" for "ratings" and vice versa.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        The kind.

    Returns
    -------
    {'ratings', 'events'}
        The other kind.

    Examples
    --------
    >>> other_kind("ratings")
    'events'
    """
    return "events" if kind == "ratings" else "ratings"


def _compact(pages: Iterable[pl.DataFrame], code: int, columns: dict[str, Any]) -> Iterator[pl.DataFrame]:
    """Yield the events of one kind and the removals, with the effective time and compact data types."""
    for page in pages:
        rows = page.filter(pl.col("kind").is_in([code, REMOVAL]))
        rows = rows.with_columns(time=pl.min_horizontal("time", "received"))
        yield rows.select(pl.col(name).cast(dtype) for name, dtype in columns.items())


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Split the rows by user into parts of about `PART_SIZE` rows, to limit the memory used by the aggregation."""
    n_parts = 1 + len(rows) // PART_SIZE
    part_numbers = rows["user"].to_physical() % n_parts
    return (rows.filter(part_numbers == part) for part in range(n_parts))


def _latest_values(rows: pl.DataFrame) -> pl.DataFrame:
    latest_rows = rows.unique(["user", "item"], keep="last")
    return latest_rows.filter(pl.col("kind") != REMOVAL)


def _sum_since_removal(rows: pl.DataFrame) -> pl.DataFrame:
    """Sum the events of each pair since its last removal, in order, so that the sums are bitwise reproducible."""
    pair_columns = [pl.col(name).to_physical() for name in ("user", "item")]
    rows = rows.sort(pair_columns, maintain_order=True)
    is_removal = (pl.col("kind") == REMOVAL).cast(pl.Int64)
    if (rows["kind"] == REMOVAL).any():
        n_later_removals = is_removal.cum_sum(reverse=True).over("user", "item")  # number of removals from this row on
        rows = rows.filter((n_later_removals == 0) & (is_removal == 0))
    if rows.is_empty():
        return rows
    u, i = (rows[name].to_physical().to_numpy() for name in ("user", "item"))
    is_first = np.concatenate([np.ones(1, bool), (u[1:] != u[:-1]) | (i[1:] != i[:-1])])
    first_rows = np.flatnonzero(is_first)
    last_rows = np.append(first_rows[1:], len(rows)) - 1
    sums = np.add.reduceat(rows["value"].to_numpy(), first_rows)
    return rows[last_rows].with_columns(value=pl.Series(sums))
