"""The numbers of changes: one sequence for all that a reader may have to hear of."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from cofactor.store import schema

__all__ = ["Head", "head"]

_NUMBERED = (schema.events, schema.items, schema.users, schema.tombstones)
_newest = schema.events.alias()
_HEAD = select(
    select(_newest.c.received).order_by(_newest.c.seq.desc()).limit(1).scalar_subquery(),
    *(select(func.max(table.c.seq)).scalar_subquery() for table in _NUMBERED),
)


class Head(NamedTuple):
    """The end of what can be seen: the last number given, and when the newest event came; 0 where there is none."""

    seq: int
    received: int


def head(connection: Connection) -> Head:
    """The end as this connection sees it. Whoever holds `connect.lock` may give the numbers behind it.

    A number is never given twice: whatever removes rows leaves a tombstone, which has a higher one.
    """
    received, *last = connection.execute(_HEAD).one()
    return Head(max(number or 0 for number in last), received or 0)
