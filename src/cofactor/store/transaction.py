"""Transactions that write events: several requests share one, and each idempotency key is stored at most once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, func, insert, select

from cofactor.errors import ConflictError
from cofactor.store.connect import lock, now
from cofactor.store.event import Receipt, Row
from cofactor.store.schema import events
from cofactor.store.sequence import Head, head

__all__ = ["append_requests", "event_time"]

_KEYS_PER_QUERY = 500  # parameters per query; old versions of SQLite allow at most 999

event_time = case((events.c.time < events.c.received, events.c.time), else_=events.c.received)
"""Effective time used to order the events of a pair: the submitted time, but at most the time of receipt."""

_KEY_QUERY = select(
    events.c.key, events.c.seq, events.c.kind, events.c.user, events.c.item, events.c.value, events.c.time
).where(events.c.key.in_(bindparam("keys", expanding=True)))
_NEWEST_QUERY = select(func.max(event_time)).where(
    events.c.user == bindparam("who"), events.c.item == bindparam("what")
)


class _FirstEvent(NamedTuple):
    """Sequence number and contents of the first event with a key."""

    seq: int
    row: Row


def append_requests(connection: Connection, requests: Sequence[Sequence[Row]]) -> list[list[Receipt] | ConflictError]:
    """Store the events of several requests; each request is stored either completely or not at all.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.
    requests : sequence of sequence of Row
        Validated events for each request.

    Returns
    -------
    list of list of Receipt or ConflictError
        For each request, the receipts in order, or the conflict that prevented it from being stored.

    Notes
    -----
    An event whose key is already stored, or occurs earlier in this batch, gets the receipt of the first event. Reusing
    a key with different contents is a conflict. An event without a time gets the time of receipt and is ordered after
    all earlier events of its pair, even if the clock of this machine was set back.
    """
    lock(connection)
    end = head(connection)
    by_key = _stored_by_key(connection, [row.key for rows in requests for row in rows if row.key is not None])
    accepted_rows: list[Row] = []
    results: list[list[Receipt] | ConflictError] = []
    for rows in requests:
        n_before, request_by_key = len(accepted_rows), ChainMap({}, by_key)
        receipts = [_accept(row, request_by_key, accepted_rows, end.seq) for row in rows]
        if conflicts := tuple(n for n, receipt in enumerate(receipts, start=1) if receipt is None):
            del accepted_rows[n_before:]
            results.append(_conflict(rows, conflicts))
        else:
            by_key |= request_by_key.maps[0]
            results.append([receipt for receipt in receipts if receipt is not None])
    if accepted_rows:
        _store(connection, accepted_rows, end)
    return results


def _accept(
    row: Row, by_key: MutableMapping[str, _FirstEvent], accepted_rows: list[Row], last_seq: int
) -> Receipt | None:
    """Return the receipt for a row or None for a conflict; add new rows to `accepted_rows` and new keys to `by_key`."""
    first_event = None if row.key is None else by_key.get(row.key)
    if first_event is not None:
        comparable_row = row._replace(time=first_event.row.time) if row.time is None else row
        return Receipt(first_event.seq, duplicate=True) if comparable_row == first_event.row else None
    accepted_rows.append(row)
    seq = last_seq + len(accepted_rows)
    if row.key is not None:
        by_key[row.key] = _FirstEvent(seq, row)
    return Receipt(seq, duplicate=False)


def _conflict(rows: Sequence[Row], positions: tuple[int, ...]) -> ConflictError:
    """Return the error for conflicting events at the given positions, starting at 1."""
    first_position = positions[0]
    others_text = f" (and {len(positions) - 1} more)" if len(positions) > 1 else ""
    key = rows[first_position - 1].key
    return ConflictError(
        f"event {first_position}{others_text}: the key {key!r} was already used for a different event", positions
    )


def _stored_by_key(connection: Connection, keys: Sequence[str]) -> dict[str, _FirstEvent]:
    """Return the stored events with the given keys, by key."""
    stored_events: dict[str, _FirstEvent] = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        for key, seq, *content in connection.execute(_KEY_QUERY, {"keys": keys[start : start + _KEYS_PER_QUERY]}):
            stored_events[key] = _FirstEvent(seq, Row(key, *content))
    return stored_events


def _store(connection: Connection, rows: Sequence[Row], end: Head) -> None:
    current_time = now()
    received = max(current_time, end.received)
    times = _times(connection, rows, current_time, received)
    numbered_rows: list[dict[str, Any]] = [
        {**row._asdict(), "seq": seq, "time": time, "received": received}
        for seq, (row, time) in enumerate(zip(rows, times, strict=True), start=end.seq + 1)
    ]
    connection.execute(insert(events), numbered_rows)


def _times(connection: Connection, rows: Sequence[Row], current_time: int, received: int) -> list[int]:
    """Return each event's submitted time; if omitted, the current time or, if later, the latest time of its pair."""
    if current_time == received:
        return [current_time if row.time is None else row.time for row in rows]
    newest_times: dict[tuple[str, str], int] = {}
    times = []
    for row in rows:
        pair = row.user, row.item
        if pair not in newest_times:
            stored_events = connection.execute(_NEWEST_QUERY, {"who": row.user, "what": row.item}).scalar()
            newest_times[pair] = max(current_time, stored_events or 0)
        times.append(newest_times[pair] if row.time is None else row.time)
        newest_times[pair] = max(newest_times[pair], min(times[-1], received))
    return times
