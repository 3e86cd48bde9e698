"""The numbers of changes: one sequence for all that a reader may have to hear of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from cofactor.store import schema
from cofactor.store.connect import lock

__all__ = ["Head", "add_numbered", "head", "put_numbered", "upsert"]


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replace: Sequence[str]) -> None:
    """Insert these rows; where one with the same primary key is there, its columns `replace` take the new values."""
    new = _insert(connection, table)
    values = {name: new.excluded[name] for name in replace}
    if rows:
        connection.execute(new.on_conflict_do_update(index_elements=list(table.primary_key), set_=values), list(rows))


def put_numbered(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replace: Sequence[str]) -> int:
    """`upsert` these rows under the next number of a change, which is returned."""
    lock(connection)
    seq = head(connection).seq + 1
    upsert(connection, table, [{**row, "seq": seq} for row in rows], replace)
    return seq


def add_numbered(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], blank: Mapping[str, Any]) -> int:
    """Insert those rows of which nothing is known yet under the next number of a change; how many those were.

    blank: the values of columns that know nothing. A row that is there keeps all that it has; where it is blank, these
    columns are filled in.
    """
    if not rows:
        return 0
    lock(connection)
    seq = head(connection).seq + 1
    new = _insert(connection, table)
    is_blank = [table.c[name].is_not_distinct_from(value) for name, value in blank.items()]
    says_more = [new.excluded[name].is_distinct_from(value) for name, value in blank.items()]
    statement = new.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: new.excluded[name] for name in [*blank, "seq"]},
        where=and_(*is_blank, or_(*says_more)),
    )
    connection.execute(statement, [{**row, "seq": seq} for row in rows])
    return int(connection.execute(select(func.count()).where(table.c.seq == seq)).scalar_one())


def _insert(connection: Connection, table: Table) -> Any:
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table)


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
