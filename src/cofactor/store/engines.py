"""SQLAlchemy engines of the store; new connections are checked for the settings required for durability."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from cofactor.errors import StoreError

__all__ = ["BUSY_TIMEOUT", "postgresql_engines", "sqlite_engines"]

BUSY_TIMEOUT = 10
"""Maximum time to wait for a transaction of another process, in seconds."""


def sqlite_engines(address: URL) -> tuple[Engine, Engine]:
    """Create a read engine and a write engine for SQLite.

    Parameters
    ----------
    address : sqlalchemy.engine.URL
        URL of the database.

    Returns
    -------
    read_engine, write_engine : sqlalchemy.Engine
        Engines in WAL mode with synchronous=FULL; write transactions start with BEGIN IMMEDIATE.
    """
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT}, "pool_timeout": BUSY_TIMEOUT}
    read_engine = create_engine(address, pool_size=16, max_overflow=48, **options)
    write_engine = create_engine(address, pool_size=1, max_overflow=1, **options)
    for engine, begin_statement, query_only in ((read_engine, "BEGIN", "ON"), (write_engine, "BEGIN IMMEDIATE", "OFF")):
        event.listen(engine, "connect", _on_sqlite_connect(query_only))
        event.listen(engine, "begin", lambda connection, begin=begin_statement: connection.exec_driver_sql(begin))
    return read_engine, write_engine


def _on_sqlite_connect(query_only: str) -> Any:
    """Return a listener that sets and verifies the pragmas of a new connection."""

    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are started by the "begin" listener
        _enable_wal(connection)
        pragmas = {
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": BUSY_TIMEOUT * 1000,
            "secure_delete": 1,
            "journal_size_limit": 2**26,
        }
        for pragma, value in pragmas.items():
            connection.execute(f"PRAGMA {pragma} = {value}").close()
            actual_value = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
            if actual_value != value:
                raise StoreError(f"the store requires {pragma} = {value}, but SQLite keeps it at {actual_value}")
        connection.execute(f"PRAGMA query_only = {query_only}").close()

    return on_connect


def _enable_wal(connection: Any) -> None:
    """Enable WAL mode, with retries, because SQLite fails immediately if another process does so at the same time."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(
            f"the store requires journal_mode = wal, which requires a local disk, but SQLite keeps it at {mode!r}"
        )


def postgresql_engines(address: URL) -> tuple[Engine, Engine]:
    """Create a read engine and a write engine for PostgreSQL.

    Parameters
    ----------
    address : sqlalchemy.engine.URL
        URL of the database.

    Returns
    -------
    read_engine, write_engine : sqlalchemy.Engine
        Engines that test each connection before use and replace dead ones.
    """
    network_options = {
        "connect_timeout": "5",
        "keepalives_idle": "10",
        "tcp_user_timeout": "10000",
        "application_name": "cofactor",
    }
    connect_args = {name: value for name, value in network_options.items() if name not in address.query}
    options: dict[str, Any] = {"connect_args": connect_args, "pool_pre_ping": True, "pool_timeout": BUSY_TIMEOUT}
    read_engine = create_engine(address, pool_size=16, max_overflow=48, isolation_level="REPEATABLE READ", **options)
    write_engine = create_engine(address, pool_size=1, max_overflow=1, isolation_level="READ COMMITTED", **options)
    event.listen(read_engine, "connect", _configure_postgresql_reads)
    event.listen(write_engine, "connect", _configure_postgresql_writes)
    return read_engine, write_engine


def _configure_postgresql_reads(connection: Any, _record: Any) -> None:
    connection.execute("SET default_transaction_read_only = on")
    connection.commit()


def _configure_postgresql_writes(connection: Any, _record: Any) -> None:
    """Ensure that acknowledged commits are on disk, and limit the time to wait for stalled transactions."""
    for setting, value in (("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "30s")):
        connection.execute(f"SET {setting} = '{value}'")
    if connection.execute("SHOW synchronous_commit").fetchone()[0] == "off":
        connection.execute("SET synchronous_commit = on")
    if connection.execute("SHOW fsync").fetchone()[0] != "on":
        raise StoreError("PostgreSQL must run with fsync = on; with fsync = off, acknowledged commits can be lost")
    connection.commit()
