"""Backup and restore of SQLite stores. For PostgreSQL, use pg_dump and pg_restore.

    pg_dump --format=custom --file=cofactor.dump postgresql://user@host/name   # consistent, while in use
    pg_restore --dbname=postgresql://user@host/new cofactor.dump               # into an empty database

After a restore, call `store.erasure.reapply_file` to repeat the erasure of users who were erased after the backup.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from cofactor.errors import StoreError
from cofactor.files import write_atomically
from cofactor.store.connect import Database, create_private_file, sqlite_file

__all__ = ["back_up", "remove", "restore_file"]


def back_up(database: Database, path: str | Path) -> None:
    """Write a consistent snapshot of a SQLite store to a file.

    Parameters
    ----------
    database : Database
        A SQLite database.
    path : str or Path
        Path of the backup file.

    Raises
    ------
    StoreError
        If the database is PostgreSQL or the file cannot be written.

    See Also
    --------
    Store.back_up : The public method.
    """
    if database.kind != "sqlite":
        raise StoreError(
            'a PostgreSQL store must be backed up with pg_dump --format=custom --file=cofactor.dump "<URL>"'
        )
    database.check_process()

    def copy(temporary: Path) -> None:
        create_private_file(temporary)
        source, target = sqlite3.connect(database.path), sqlite3.connect(temporary)
        try:
            source.backup(target)  # in one step, so that concurrent writes do not mix two states
        finally:
            source.close()
            target.close()

    try:
        write_atomically(path, copy)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: no backup was written: {getattr(error, 'strerror', None) or error}") from error


def restore_file(backup: str | Path, url: str) -> None:
    """Verify a backup and copy it to the database file of a SQLite URL.

    Parameters
    ----------
    backup : str or Path
        Path of the backup file.
    url : str
        URL of the new store; its file must not exist.

    Raises
    ------
    StoreError
        If the backup is damaged, or if the new file exists or cannot be written.

    See Also
    --------
    Store.restore : The public method.
    """
    target = sqlite_file(url)

    def copy(temporary: Path) -> None:
        create_private_file(temporary)
        shutil.copyfile(backup, temporary)

    if target.exists():
        raise StoreError(f"{target} already exists; move it elsewhere first, with its -wal and -shm files")
    if (wal := target.with_name(f"{target.name}-wal")).exists():
        raise StoreError(f"{wal} belongs to another store; move it elsewhere first")
    try:
        source = sqlite3.connect(f"{Path(backup).resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            result = source.execute("PRAGMA integrity_check").fetchone()[0]
        finally:
            source.close()
        if result != "ok":
            raise StoreError(f"{backup} is damaged: {result}")
        write_atomically(target, copy)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{backup} cannot be restored: {error}") from error


def remove(url: str) -> None:
    """Delete the files of a store whose restore failed after `restore_file`.

    Parameters
    ----------
    url : str
        SQLite URL of the store.
    """
    file = sqlite_file(url)
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
