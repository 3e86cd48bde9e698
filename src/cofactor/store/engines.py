"""SQLAlchemy engines; each connection is checked for what the store promises before it is used."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from cofactor.errors import StoreError

__all__ = ["BUSY", "postgresql_engines", "sqlite_engines"]

BUSY = 10
"""Seconds to wait for another process's transaction."""


def sqlite_engines(address: URL) -> tuple[Engine, Engine]:
    """One engine that reads and one that writes: WAL, synchronous=FULL, every transaction that writes begins as one."""
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY}, "pool_timeout": BUSY}
    reads = create_engine(address, pool_size=16, max_overflow=48, **options)
    writes = create_engine(address, pool_size=1, max_overflow=1, **options)
    for engine, begin, last in ((reads, "BEGIN", "ON"), (writes, "BEGIN IMMEDIATE", "OFF")):
        event.listen(engine, "connect", _sqlite_connected(last))
        event.listen(engine, "begin", lambda connection, begin=begin: connection.exec_driver_sql(begin))
    return reads, writes


def _sqlite_connected(query_only: str) -> Any:
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours
        _write_ahead(connection)
        wanted = {
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": BUSY * 1000,
            "secure_delete": 1,
            "journal_size_limit": 2**26,
        }
        for pragma, value in wanted.items():
            connection.execute(f"PRAGMA {pragma} = {value}").close()
            found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
            if found != value:
                raise StoreError(f"SQLite keeps {pragma} at {found} where the store needs {value}")
        connection.execute(f"PRAGMA query_only = {query_only}").close()

    return connected


def _write_ahead(connection: Any) -> None:
    """WAL, which two processes that create a store may ask for at once; SQLite then says "locked" without waiting."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(f"SQLite keeps journal_mode at {mode!r} here: the store needs WAL, so a local disk")


def postgresql_engines(address: URL) -> tuple[Engine, Engine]:
    """One engine that reads and one that writes; connections that died are found out before they are used."""
    network = {
        "connect_timeout": "5",
        "keepalives_idle": "10",
        "tcp_user_timeout": "10000",
        "application_name": "cofactor",
    }
    given = {name: value for name, value in network.items() if name not in address.query}
    options: dict[str, Any] = {"connect_args": given, "pool_pre_ping": True, "pool_timeout": BUSY}
    reads = create_engine(address, pool_size=16, max_overflow=48, isolation_level="REPEATABLE READ", **options)
    writes = create_engine(address, pool_size=1, max_overflow=1, isolation_level="READ COMMITTED", **options)
    event.listen(reads, "connect", _postgresql_reads)
    event.listen(writes, "connect", _postgresql_writes)
    return reads, writes


def _postgresql_reads(connection: Any, _record: Any) -> None:
    connection.execute("SET default_transaction_read_only = on")
    connection.commit()


def _postgresql_writes(connection: Any, _record: Any) -> None:
    """A commit is on disk when it is acknowledged; nobody waits for ever for one who stalls inside a transaction."""
    for setting, value in (("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "30s")):
        connection.execute(f"SET {setting} = '{value}'")
    if connection.execute("SHOW synchronous_commit").fetchone()[0] == "off":
        connection.execute("SET synchronous_commit = on")
    if connection.execute("SHOW fsync").fetchone()[0] != "on":
        raise StoreError(
            "this PostgreSQL runs with fsync = off: what it acknowledges can be lost, so the store refuses it"
        )
    connection.commit()
