"""Database access: read-only connections and write transactions for a database URL."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cofactor.errors import MissingExtraError, StoreError
from cofactor.store.engines import BUSY_TIMEOUT, postgresql_engines, sqlite_engines
from cofactor.store.errors import convert_errors, store_error

__all__ = ["Database", "create_private_file", "lock", "now", "sqlite_file"]

LOCK_KEY = 0x636F6661  # "cofa": key of the advisory lock that protects the sequence numbers
MIN_SQLITE_VERSION = (3, 35)
URL_FORMATS = "the URL must have the form sqlite:///file.db or postgresql://user@host/name"

_log = logging.getLogger("cofactor.store")


@dataclass(frozen=True, eq=False)
class Database:
    """Database of a store, with separate engines for reading and writing.

    Attributes
    ----------
    name : str
        URL without passwords, for error messages.
    kind : {'sqlite', 'postgresql'}
        Database system.
    url : sqlalchemy.engine.URL
        URL with the driver.
    read_engine, write_engine : sqlalchemy.Engine
        Engines; connections of `read_engine` are read-only.
    pid : int
        ID of the process that opened the database; only this process may use it.
    """

    name: str
    kind: Literal["sqlite", "postgresql"]
    url: URL
    read_engine: Engine
    write_engine: Engine
    pid: int

    @classmethod
    def from_url(cls, url: str) -> Database:
        """Create a `Database` object and its engines from a URL, without connecting.

        Parameters
        ----------
        url : str
            URL of the database.

        Returns
        -------
        Database
            The database.

        Raises
        ------
        StoreError
            If the URL is not supported or the SQLite file cannot be created.
        MissingExtraError
            If the driver is not installed.
        """
        parsed_url = _parse(url)
        name = _without_passwords(parsed_url)
        try:
            if parsed_url.get_backend_name() == "sqlite":
                create_private_file(Path(str(parsed_url.database)))
                return cls(name, "sqlite", parsed_url, *sqlite_engines(parsed_url), os.getpid())
            return cls(name, "postgresql", parsed_url, *postgresql_engines(parsed_url), os.getpid())
        except OSError as error:
            raise StoreError(f"{parsed_url.database} cannot be opened: {error.strerror}") from error
        except ImportError as error:
            raise MissingExtraError(f'{name} requires {error.name!r}: pip install "cofactor[serve]"') from error

    @property
    def _driver_error(self) -> type[Exception]:
        """Base class of the driver's errors, for code that bypasses SQLAlchemy."""
        error: type[Exception] = self.write_engine.dialect.loaded_dbapi.Error
        return error

    @property
    def path(self) -> Path:
        """Path of the SQLite database file."""
        return Path(str(self.url.database))

    def check_process(self) -> None:
        """Check that this process opened the database, because connections and threads do not survive a fork.

        Raises
        ------
        StoreError
            If the current process is a fork of the process that opened the database.
        """
        if os.getpid() != self.pid:
            raise StoreError(
                f"this store was opened in process {self.pid} but is used in the forked process {os.getpid()}; "
                "call Store.open after the fork, or start workers with spawn"
            )

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Open a read-only connection that sees a consistent snapshot of the database as of its first query.

        Yields
        ------
        sqlalchemy.Connection
            The connection.

        Raises
        ------
        StoreUnavailableError
            If the database is unavailable.
        """
        self.check_process()
        with convert_errors(self.name), self.read_engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a write transaction that is committed on success and rolled back on error; for the writer thread.

        Yields
        ------
        sqlalchemy.Connection
            The connection.

        Raises
        ------
        StoreUnavailableError
            If the database is unavailable; the error states whether the commit may have succeeded.
        """
        self.check_process()
        written: Literal["no", "unknown"] = "no"
        try:
            with self.write_engine.connect() as connection, connection.begin():
                yield connection
                written = "unknown"
        except (SQLAlchemyError, self._driver_error) as error:
            raise store_error(error, self.name, written) from error

    def truncate_wal(self) -> None:
        """Truncate the write-ahead log of SQLite, so that it contains no deleted data.

        If concurrent readers prevent this, the log remains until a later checkpoint. Errors are logged, not raised,
        because the deletion itself is already committed.
        """
        if self.kind == "postgresql":
            return
        try:
            connection = self.write_engine.raw_connection()
            try:
                for pragma in (
                    "busy_timeout = 500",
                    "wal_checkpoint(TRUNCATE)",
                    f"busy_timeout = {BUSY_TIMEOUT * 1000}",
                ):
                    connection.cursor().execute(f"PRAGMA {pragma}").close()
            except self._driver_error:
                connection.invalidate()
                raise
            finally:
                connection.close()
        except (SQLAlchemyError, self._driver_error) as error:
            _log.warning("could not truncate the write-ahead log: %s", error)

    def close(self) -> None:
        """Close all idle connections."""
        self.read_engine.dispose()
        self.write_engine.dispose()


def lock(connection: Connection) -> None:
    """Lock the sequence numbers until the end of the transaction.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.

    Notes
    -----
    With this lock, sequence numbers become visible in order, so that no change at or below the last visible number (the
    watermark) can appear later. On SQLite, write transactions are always serialized.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK_KEY})


def now() -> int:
    """Return the current Unix time in integer seconds, from the clock of this machine.

    Returns
    -------
    int
        Seconds since the Unix epoch.
    """
    return int(time.time())


def create_private_file(file: Path) -> None:
    """Create an empty file that only its owner can access, because it will contain personal data.

    Parameters
    ----------
    file : Path
        Path of the file; an existing file is not changed.

    Raises
    ------
    OSError
        If the file cannot be created.
    """
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def sqlite_file(url: str) -> Path:
    """Return the path of the database file for a SQLite URL.

    Parameters
    ----------
    url : str
        URL of the store.

    Returns
    -------
    Path
        Path of the file.

    Raises
    ------
    StoreError
        If the URL is not a SQLite URL.
    """
    parsed_url = _parse(url)
    if parsed_url.get_backend_name() != "sqlite":
        raise StoreError("the URL must be a SQLite URL; for PostgreSQL, use pg_dump and pg_restore")
    return Path(str(parsed_url.database))


def _parse(url: str) -> URL:
    """Parse and validate a URL and set its driver. Raises StoreError, whose message never contains a password."""
    try:
        parsed_url = make_url(url)
    except (ArgumentError, ValueError, TypeError) as error:
        raise StoreError(f"invalid database URL: {URL_FORMATS}") from error
    backend = parsed_url.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return parsed_url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"{URL_FORMATS}; got {_without_passwords(parsed_url)}")
    if not parsed_url.database or parsed_url.database == ":memory:" or parsed_url.database.startswith("file:"):
        raise StoreError("a store cannot be in memory; the URL must include a file, such as sqlite:///cofactor.db")
    if sqlite3.sqlite_version_info < MIN_SQLITE_VERSION:
        raise StoreError(f"the store requires SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}")
    return parsed_url.set(drivername="sqlite+pysqlite", database=str(Path(parsed_url.database).absolute()))


def _without_passwords(url: URL) -> str:
    """Return the URL without passwords, including those in the query string, which PostgreSQL accepts."""
    masked_values = {name: "..." for name in url.query if "password" in name.lower()}
    return url.update_query_dict(masked_values).render_as_string(hide_password=True)
