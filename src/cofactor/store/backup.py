"""Copies of a SQLite store, made while it is used, and a store made from one. PostgreSQL has its own: pg_dump.

    pg_dump --format=custom --file=cofactor.dump postgresql://user@host/name   # of one moment, while in use
    pg_restore --dbname=postgresql://user@host/new cofactor.dump               # into an empty database

After a restore, `store.forgotten.reapply_file` forgets again who was forgotten since the backup.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from cofactor.errors import StoreError
from cofactor.files import write_whole
from cofactor.store.connect import Database, create_private, sqlite_file

__all__ = ["back_up", "put_back", "remove"]


def back_up(database: Database, path: str | Path) -> None:
    """One state of the whole store in a new file; see `Store.back_up`."""
    if database.kind != "sqlite":
        raise StoreError(
            'a store in PostgreSQL is backed up by: pg_dump --format=custom --file=cofactor.dump "<its URL>"'
        )
    database.check_process()

    def copy(temporary: Path) -> None:
        create_private(temporary)
        source, target = sqlite3.connect(database.path), sqlite3.connect(temporary)
        try:
            source.backup(target)  # in one step, so of one state, whatever is written meanwhile
        finally:
            source.close()
            target.close()

    try:
        write_whole(path, copy)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: no backup was written: {getattr(error, 'strerror', None) or error}") from error


def put_back(backup: str | Path, url: str) -> None:
    """The backup's content as the file of this URL, where no file may be yet; see `Store.restore`."""
    target = sqlite_file(url)

    def copy(temporary: Path) -> None:
        create_private(temporary)
        shutil.copyfile(backup, temporary)

    if target.exists():
        raise StoreError(f"{target} is there already: move it away first, with its -wal and -shm files")
    if (left := target.with_name(f"{target.name}-wal")).exists():
        raise StoreError(f"{left} is left of another store: move it away first")
    try:
        source = sqlite3.connect(f"{Path(backup).resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            found = source.execute("PRAGMA integrity_check").fetchone()[0]
        finally:
            source.close()
        if found != "ok":
            raise StoreError(f"{backup} is damaged: {found}")
        write_whole(target, copy)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{backup} cannot be restored: {error}") from error


def remove(url: str) -> None:
    """Take a store away that was made by `put_back` and could not be finished."""
    file = sqlite_file(url)
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
