"""One transaction that stores the events of several requests, each key once."""

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

__all__ = ["append_requests", "told"]

_KEYS_AT_ONCE = 500  # parameters of one query; old SQLite takes 999

told = case((events.c.time < events.c.received, events.c.time), else_=events.c.received)
"""The time by which a pair's events are ordered: as told, but never later than when it came."""

_KNOWN = select(
    events.c.key, events.c.seq, events.c.kind, events.c.user, events.c.item, events.c.value, events.c.time
).where(events.c.key.in_(bindparam("keys", expanding=True)))
_NEWEST = select(func.max(told)).where(events.c.user == bindparam("who"), events.c.item == bindparam("what"))


class _First(NamedTuple):
    """The first event with a key: its number and its content."""

    seq: int
    row: Row


def append_requests(connection: Connection, requests: Sequence[Sequence[Row]]) -> list[list[Receipt] | ConflictError]:
    """Each request's receipts, in its order; or why nothing of it is stored. The others are stored all the same.

    A key that was stored before, in this batch or ever, answers the first event's number. A request where a key comes
    with other content than the first time is a conflict. An event without a time takes that of its arrival, and comes
    after all that is known of its pair, even where this machine's clock was set back.
    """
    lock(connection)
    end = head(connection)
    known = _known(connection, [row.key for rows in requests for row in rows if row.key is not None])
    accepted: list[Row] = []
    answers: list[list[Receipt] | ConflictError] = []
    for rows in requests:
        before, with_own = len(accepted), ChainMap({}, known)
        found = [_placed(row, with_own, accepted, end.seq) for row in rows]
        if conflicts := tuple(place for place, receipt in enumerate(found, start=1) if receipt is None):
            del accepted[before:]
            answers.append(_conflict(rows, conflicts))
        else:
            known |= with_own.maps[0]
            answers.append([receipt for receipt in found if receipt is not None])
    if accepted:
        _store(connection, accepted, end)
    return answers


def _placed(row: Row, known: MutableMapping[str, _First], accepted: list[Row], last: int) -> Receipt | None:
    """The row's receipt; a new row goes to the end of `accepted`, its key into `known`. None for a conflict."""
    first = None if row.key is None else known.get(row.key)
    if first is not None:
        same = row._replace(time=first.row.time) if row.time is None else row
        return Receipt(first.seq, duplicate=True) if same == first.row else None
    accepted.append(row)
    seq = last + len(accepted)
    if row.key is not None:
        known[row.key] = _First(seq, row)
    return Receipt(seq, duplicate=False)


def _conflict(rows: Sequence[Row], places: tuple[int, ...]) -> ConflictError:
    first = places[0]
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    key = rows[first - 1].key
    return ConflictError(f"event {first}{more}: the key {key!r} was used before for another event", places)


def _known(connection: Connection, keys: Sequence[str]) -> dict[str, _First]:
    found: dict[str, _First] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        for key, seq, *content in connection.execute(_KNOWN, {"keys": keys[start : start + _KEYS_AT_ONCE]}):
            found[key] = _First(seq, Row(key, *content))
    return found


def _store(connection: Connection, rows: Sequence[Row], end: Head) -> None:
    present = now()
    received = max(present, end.received)
    times = _times(connection, rows, present, received)
    numbered: list[dict[str, Any]] = [
        {**row._asdict(), "seq": seq, "time": time, "received": received}
        for seq, (row, time) in enumerate(zip(rows, times, strict=True), start=end.seq + 1)
    ]
    connection.execute(insert(events), numbered)


def _times(connection: Connection, rows: Sequence[Row], present: int, received: int) -> list[int]:
    """When each happened: as told, else now; after a clock was set back, not before what is known of the pair."""
    if present == received:
        return [present if row.time is None else row.time for row in rows]
    newest: dict[tuple[str, str], int] = {}
    times = []
    for row in rows:
        pair = row.user, row.item
        if pair not in newest:
            stored = connection.execute(_NEWEST, {"who": row.user, "what": row.item}).scalar()
            newest[pair] = max(present, stored or 0)
        times.append(newest[pair] if row.time is None else row.time)
        newest[pair] = max(newest[pair], min(times[-1], received))
    return times
