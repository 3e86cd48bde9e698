"""Store settings: JSON values by name, shared by all processes."""

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

__all__ = ["SALT_NAME", "Settings", "load_or_create_salt", "put"]

SALT_NAME = "salt"


class Settings:
    """Named JSON values for internal use by the service.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.

    Examples
    --------
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
        """Return the value of a store setting.

        Parameters
        ----------
        name : str
            Name of the setting.
        default : Any, default None
            Value to return if the setting does not exist.

        Returns
        -------
        Any
            The value.
        """
        with self._database.read_transaction() as connection:
            return _get(connection, name, default)

    def put(self, name: str, value: Any) -> None:
        """Set the value of a store setting.

        Parameters
        ----------
        name : str
            Name of the setting.
        value : Any
            JSON-serializable value; it replaces any existing value.

        Raises
        ------
        DataError
            If the value cannot be stored as JSON.
        """
        checked_name, text = checked_id(name, "the setting's name"), checked_json(value, f"the setting {name!r}")
        self._writer.run(lambda connection: _put(connection, checked_name, text))


def load_or_create_salt(database: Database) -> str:
    """Return the salt of the store; the first call generates it.

    Parameters
    ----------
    database : Database
        The database.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with database.read_transaction() as connection:
        salt: str | None = _get(connection, SALT_NAME, None)
    if salt is not None:
        return salt
    with database.transaction() as connection:
        lock(connection)
        salt = _get(connection, SALT_NAME, None)
        if salt is None:
            salt = secrets.token_hex(32)
            put(connection, SALT_NAME, salt)
        return salt


def put(connection: Connection, name: str, value: Any) -> None:
    """Set the value of a store setting as part of a transaction.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.
    name : str
        Name of the setting.
    value : Any
        JSON-serializable value.
    """
    _put(connection, name, json.dumps(value))


def _put(connection: Connection, name: str, text: str) -> None:
    upsert(connection, settings, [{"name": name, "value": text}], ["value"])


def _get(connection: Connection, name: str, default: Any) -> Any:
    text = connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar()
    return default if text is None else json.loads(text)
