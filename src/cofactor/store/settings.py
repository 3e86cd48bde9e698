"""Facts about the store itself, by name: JSON values that every process sees."""

from __future__ import annotations

import json
import secrets
from typing import Any

from sqlalchemy import Connection, select

from cofactor.store.connect import Database, lock
from cofactor.store.schema import settings
from cofactor.store.sequence import upsert
from cofactor.store.validation import checked_id, checked_json
from cofactor.store.writer import Writer

__all__ = ["SALT", "Settings", "put", "salted"]

SALT = "salt"


class Settings:
    """Values by name, for the service's own use.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     store.settings.put("scale", [1, 5])
    ...     store.settings.get("scale"), store.settings.get("color", default="blue")
    ([1, 5], 'blue')
    """

    def __init__(self, database: Database, writer: Writer):
        self._database = database
        self._writer = writer

    def get(self, name: str, default: Any = None) -> Any:
        """The value of this name, or `default` where there is none."""
        with self._database.reading() as connection:
            return _get(connection, name, default)

    def put(self, name: str, value: Any) -> None:
        """Keep a value of JSON's types under this name, in place of what was there. Raises DataError for others."""
        checked, written = checked_id(name, "the setting's name"), checked_json(value, f"the setting {name!r}")
        self._writer.run(lambda connection: _put(connection, checked, written))


def salted(database: Database) -> str:
    """The store's salt, drawn at random when it is first asked for."""
    with database.reading() as connection:
        found: str | None = _get(connection, SALT, None)
    if found is not None:
        return found
    with database.transaction() as connection:
        lock(connection)
        found = _get(connection, SALT, None)
        if found is None:
            found = secrets.token_hex(32)
            put(connection, SALT, found)
        return found


def put(connection: Connection, name: str, value: Any) -> None:
    """As `Settings.put`, as part of a transaction."""
    _put(connection, name, json.dumps(value))


def _put(connection: Connection, name: str, written: str) -> None:
    upsert(connection, settings, [{"name": name, "value": written}], ["value"])


def _get(connection: Connection, name: str, default: Any) -> Any:
    found = connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar()
    return default if found is None else json.loads(found)
