"""Database connections: read-only connections and write transactions on the database of a URL."""

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
from cofactor.store.engines import BUSY, postgresql_engines, sqlite_engines
from cofactor.store.errors import clear_errors, store_error

__all__ = ["Database", "create_private", "lock", "now", "sqlite_file"]

LOCK = 0x636F6661  # "cofa": key of the advisory lock that protects the sequence numbers
OLDEST_SQLITE = (3, 35)
URL_FORMATS = "the URL of a store is sqlite:///file.db or postgresql://user@host/name"

_log = logging.getLogger("cofactor.store")


@dataclass(frozen=True, eq=False)
class Database:
    """Database of a store, with separate engines for reading and for writing.

    Attributes
    ----------
    name : str
        URL without passwords, for messages.
    kind : {'sqlite', 'postgresql'}
        Database system.
    url : sqlalchemy.engine.URL
        URL with the driver.
    reads, writes : sqlalchemy.Engine
        Engines; connections of `reads` cannot write.
    pid : int
        ID of the process that opened the database; only this process may use it.
    """

    name: str
    kind: Literal["sqlite", "postgresql"]
    url: URL
    reads: Engine
    writes: Engine
    pid: int

    @classmethod
    def at(cls, url: str) -> Database:
        """Create the engines for a URL without connecting.

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
        parsed = _parse(url)
        name = _without_passwords(parsed)
        try:
            if parsed.get_backend_name() == "sqlite":
                create_private(Path(str(parsed.database)))
                return cls(name, "sqlite", parsed, *sqlite_engines(parsed), os.getpid())
            return cls(name, "postgresql", parsed, *postgresql_engines(parsed), os.getpid())
        except OSError as error:
            raise StoreError(f"{parsed.database} cannot be opened: {error.strerror}") from error
        except ImportError as error:
            raise MissingExtraError(f'{name} needs {error.name!r}: pip install "cofactor[serve]"') from error

    @property
    def _driver_error(self) -> type[Exception]:
        """Base class of the driver's own errors, for code that bypasses SQLAlchemy."""
        error: type[Exception] = self.writes.dialect.loaded_dbapi.Error
        return error

    @property
    def path(self) -> Path:
        """File of a SQLite database."""
        return Path(str(self.url.database))

    def check_process(self) -> None:
        """Check that this process opened the database: connections and the writer thread do not survive a fork.

        Raises
        ------
        StoreError
            If the current process is a fork of the process that opened the database.
        """
        if os.getpid() != self.pid:
            raise StoreError(
                f"this store was opened in process {self.pid} and is used in a fork of it, {os.getpid()}: "
                "call Store.open after the fork, or start workers with spawn"
            )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection that reads one consistent state of the database, as of its first query.

        Yields
        ------
        sqlalchemy.Connection
            The connection.

        Raises
        ------
        StoreUnavailableError
            If the database does not answer.
        """
        self.check_process()
        with clear_errors(self.name), self.reads.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a write transaction, which is committed at the end or rolled back by an error. For the writer thread.

        Yields
        ------
        sqlalchemy.Connection
            The connection.

        Raises
        ------
        StoreUnavailableError
            If the database does not answer; the error states whether the commit may have succeeded.
        """
        self.check_process()
        written: Literal["no", "unknown"] = "no"
        try:
            with self.writes.connect() as connection, connection.begin():
                yield connection
                written = "unknown"
        except (SQLAlchemyError, self._driver_error) as error:
            raise store_error(error, self.name, written) from error

    def scrub(self) -> None:
        """Truncate SQLite's write-ahead log, so that it contains no deleted data.

        If readers prevent it, the log stays until a later checkpoint. Errors are logged and not raised: the deletion
        itself is committed.
        """
        if self.kind == "postgresql":
            return
        try:
            connection = self.writes.raw_connection()
            try:
                for pragma in ("busy_timeout = 500", "wal_checkpoint(TRUNCATE)", f"busy_timeout = {BUSY * 1000}"):
                    connection.cursor().execute(f"PRAGMA {pragma}").close()
            except self._driver_error:
                connection.invalidate()
                raise
            finally:
                connection.close()
        except (SQLAlchemyError, self._driver_error) as error:
            _log.warning("could not truncate the write-ahead log: %s", error)

    def close(self) -> None:
        """Close the idle connections."""
        self.reads.dispose()
        self.writes.dispose()


def lock(connection: Connection) -> None:
    """Lock the sequence numbers until the end of the transaction.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Connection with an open write transaction.

    Notes
    -----
    With this lock, sequence numbers become visible in order, so that no change below the last visible number can
    appear later (the watermark). On SQLite, write transactions are serialized anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def now() -> int:
    """Return the time in whole seconds since 1970, by the clock of this machine.

    Returns
    -------
    int
        The time.
    """
    return int(time.time())


def create_private(file: Path) -> None:
    """Create an empty file that only its owner can read, because it will contain personal data.

    Parameters
    ----------
    file : Path
        The file; an existing file is not changed.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def sqlite_file(url: str) -> Path:
    """Return the file of a SQLite URL.

    Parameters
    ----------
    url : str
        URL of the store.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the URL is not a SQLite URL.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        raise StoreError("only a store in SQLite is a file; for PostgreSQL use pg_dump and pg_restore")
    return Path(str(parsed.database))


def _parse(url: str) -> URL:
    """Parse and check a URL and set its driver. Raises StoreError; the message never contains a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError, TypeError) as error:
        raise StoreError(f"invalid database URL: {URL_FORMATS}") from error
    backend = parsed.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"{URL_FORMATS}, not {_without_passwords(parsed)}")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise StoreError("a store cannot be in memory: name a file, as in sqlite:///cofactor.db")
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"the store needs SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}")
    return parsed.set(drivername="sqlite+pysqlite", database=str(Path(parsed.database).absolute()))


def _without_passwords(url: URL) -> str:
    """Return the URL for messages, without passwords; PostgreSQL also accepts one in the query."""
    hidden = {name: "..." for name in url.query if "password" in name.lower()}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)
