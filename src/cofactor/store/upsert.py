"""Insert, or replace the row that is there: the same statement on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["upsert"]


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replace: Sequence[str]) -> None:
    """Insert these rows; where one with the same primary key is there, its columns `replace` take the new values."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(table)
    values = {name: new.excluded[name] for name in replace}
    if rows:
        connection.execute(new.on_conflict_do_update(index_elements=list(table.primary_key), set_=values), list(rows))
