"""The database by its URL: connections that read, transactions that write."""

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

LOCK = 0x636F6661  # "cofa", the name of the advisory lock that whoever takes a sequence number holds
OLDEST_SQLITE = (3, 35)
OTHERS = "a store is sqlite:///file.db or postgresql://user@host/name"

_log = logging.getLogger("cofactor.store")


@dataclass(frozen=True, eq=False)
class Database:
    """A database by its URL: connections that only read, and connections that write.

    Attributes:

        name: the URL without its password, for messages.
        kind: "sqlite" or "postgresql".
        reads, writes: SQLAlchemy engines; what reads cannot write.
        pid: the process that opened it, the only one that may use it.
    """

    name: str
    kind: Literal["sqlite", "postgresql"]
    url: URL
    reads: Engine
    writes: Engine
    pid: int

    @classmethod
    def at(cls, url: str) -> Database:
        """The database of this URL; nothing is connected yet. Raises StoreError for another URL, and no folder."""
        address = _address(url)
        name = _without_passwords(address)
        try:
            if address.get_backend_name() == "sqlite":
                create_private(Path(str(address.database)))
                return cls(name, "sqlite", address, *sqlite_engines(address), os.getpid())
            return cls(name, "postgresql", address, *postgresql_engines(address), os.getpid())
        except OSError as error:
            raise StoreError(f"{address.database} cannot be opened: {error.strerror}") from error
        except ImportError as error:
            raise MissingExtraError(f'{name} needs {error.name!r}: pip install "cofactor[serve]"') from error

    @property
    def _driver_error(self) -> type[Exception]:
        """What the driver itself raises, where SQLAlchemy is passed by."""
        found: type[Exception] = self.writes.dialect.loaded_dbapi.Error
        return found

    @property
    def path(self) -> Path:
        """SQLite's file."""
        return Path(str(self.url.database))

    def check_process(self) -> None:
        """Raises StoreError in a forked child: connections, locks and the writer's thread stayed with the parent."""
        if os.getpid() != self.pid:
            raise StoreError(
                f"this store was opened in process {self.pid} and is used in a fork of it, {os.getpid()}: "
                "call Store.open after the fork, or start workers with spawn"
            )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads one state of the database, from the first query on. Raises StoreUnavailableError."""
        self.check_process()
        with clear_errors(self.name), self.reads.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction that writes: committed at the end, undone by an error. For the writer's thread.

        Raises StoreUnavailableError, which says whether the commit may have happened nevertheless.
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
        """On SQLite, leave nothing deleted in the write-ahead log; while somebody reads there, it stays a while.

        Never raises: what was deleted is deleted.
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
            _log.warning("the write-ahead log was not cut short: %s", error)

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        self.reads.dispose()
        self.writes.dispose()


def lock(connection: Connection) -> None:
    """Nobody else takes sequence numbers until this transaction ends; what earlier holders wrote can be seen now.

    So numbers become visible in order, and the last visible one is a watermark below which nothing is missing. On
    SQLite every transaction that writes is alone already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def now() -> int:
    """Whole seconds since 1970, by this machine's clock."""
    return int(time.time())


def create_private(file: Path) -> None:
    """An empty file that only its owner can read, where there is none: it will hold personal data. Raises OSError."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def sqlite_file(url: str) -> Path:
    """The file of a SQLite URL. Raises StoreError for another URL."""
    address = _address(url)
    if address.get_backend_name() != "sqlite":
        raise StoreError("only a store in SQLite is a file; PostgreSQL has pg_dump and pg_restore")
    return Path(str(address.database))


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError, TypeError) as error:
        raise StoreError(f"this is no database URL: {OTHERS}") from error
    backend = address.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"{OTHERS}, not {_without_passwords(address)}")
    if not address.database or address.database == ":memory:" or address.database.startswith("file:"):
        raise StoreError("a store outlives its process: name its file, as in sqlite:///cofactor.db")
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}, and the store needs 3.35 or newer")
    return address.set(drivername="sqlite+pysqlite", database=str(Path(address.database).absolute()))


def _without_passwords(address: URL) -> str:
    """The URL for messages: no password in it, nor in its query, where PostgreSQL takes one too."""
    hidden = {name: "..." for name in address.query if "password" in name.lower()}
    return address.update_query_dict(hidden).render_as_string(hide_password=True)
