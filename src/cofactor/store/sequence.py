"""Sequence numbers: all changes to events, items and users are numbered in a single sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from cofactor.store import schema
from cofactor.store.connect import lock

__all__ = ["Head", "add_numbered", "head", "put_numbered", "upsert"]


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replace: Sequence[str]) -> None:
    """Insert rows, or update existing rows with the same primary key.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.
    table : sqlalchemy.Table
        The table.
    rows : sequence of dict
        The rows.
    replace : sequence of str
        Columns to update in existing rows.
    """
    insertion = _insert(connection, table)
    values = {name: insertion.excluded[name] for name in replace}
    if rows:
        connection.execute(
            insertion.on_conflict_do_update(index_elements=list(table.primary_key), set_=values), list(rows)
        )


def put_numbered(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replace: Sequence[str]) -> int:
    """Insert or update rows, assigning the next sequence number to all of them.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.
    table : sqlalchemy.Table
        Table with a `seq` column.
    rows : sequence of dict
        The rows, without `seq`.
    replace : sequence of str
        Columns to update in existing rows.

    Returns
    -------
    int
        The sequence number.
    """
    lock(connection)
    seq = head(connection).seq + 1
    upsert(connection, table, [{**row, "seq": seq} for row in rows], replace)
    return seq


def add_numbered(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], placeholders: Mapping[str, Any]
) -> int:
    """Insert new rows and fill existing placeholder rows, assigning the next sequence number to all of them.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.
    table : sqlalchemy.Table
        Table with a `seq` column.
    rows : sequence of dict
        The rows, without `seq`.
    placeholders : mapping
        Columns to fill, with their placeholder values; an existing row is changed only if all of them are placeholders.

    Returns
    -------
    int
        Number of rows that were inserted or filled.
    """
    if not rows:
        return 0
    lock(connection)
    seq = head(connection).seq + 1
    insertion = _insert(connection, table)
    is_placeholder = [table.c[name].is_not_distinct_from(value) for name, value in placeholders.items()]
    has_values = [insertion.excluded[name].is_distinct_from(value) for name, value in placeholders.items()]
    statement = insertion.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: insertion.excluded[name] for name in [*placeholders, "seq"]},
        where=and_(*is_placeholder, or_(*has_values)),
    )
    connection.execute(statement, [{**row, "seq": seq} for row in rows])
    return int(connection.execute(select(func.count()).where(table.c.seq == seq)).scalar_one())


def _insert(connection: Connection, table: Table) -> Any:
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table)


_NUMBERED_TABLES = (schema.events, schema.items, schema.users, schema.tombstones)
_newest = schema.events.alias()
_HEAD_QUERY = select(
    select(_newest.c.received).order_by(_newest.c.seq.desc()).limit(1).scalar_subquery(),
    *(select(func.max(table.c.seq)).scalar_subquery() for table in _NUMBERED_TABLES),
)


class Head(NamedTuple):
    """Latest sequence number, and time of receipt of the newest event, that are visible to a transaction.

    Attributes
    ----------
    seq : int
        Last sequence number; 0 if there is none.
    received : int
        Time of receipt of the newest event, in seconds since the Unix epoch; 0 if there is none.
    """

    seq: int
    received: int


def head(connection: Connection) -> Head:
    """Return the latest sequence number, and time of receipt of the newest event, that are visible to a connection.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection; if its transaction holds `connect.lock`, it may use the following numbers.

    Returns
    -------
    Head
        Last sequence number and time of receipt.

    Notes
    -----
    Numbers are never reused, because deleting rows leaves a tombstone with a higher number.
    """
    received, *last_numbers = connection.execute(_HEAD_QUERY).one()
    return Head(max(number or 0 for number in last_numbers), received or 0)
