"""Schema migrations with Alembic, one module per revision."""

from __future__ import annotations

import threading
from importlib.resources import as_file, files

from sqlalchemy import Connection, inspect, text

from cofactor.errors import StoreError
from cofactor.store.connect import Database, lock
from cofactor.store.schema import metadata

__all__ = ["NEWEST", "VERSION_TABLE", "upgrade"]

NEWEST = "v001"
VERSION_TABLE = "cofactor_revision"

_lock = threading.Lock()  # Alembic keeps the context of a running migration in module globals


def upgrade(database: Database) -> None:
    """Create the tables or upgrade them to the newest revision; safe to call from several processes and threads.

    Parameters
    ----------
    database : Database
        The database.

    Raises
    ------
    StoreError
        If the store was written by a newer version of cofactor, or the database contains tables of another application.
    """
    with database.read_transaction() as connection:
        if _revision(connection) == NEWEST:
            return
    with _lock, database.transaction() as connection:
        lock(connection)
        _upgrade(connection, database.name)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return revision


def _upgrade(connection: Connection, name: str) -> None:
    from alembic import command  # takes 0.3 s to import, and most databases are already up to date
    from alembic.config import Config
    from alembic.util import CommandError

    current_revision = _revision(connection)
    if current_revision is None and (
        foreign_tables := sorted(set(metadata.tables) & set(inspect(connection).get_table_names()))
    ):
        raise StoreError(
            f"{name} contains a table {foreign_tables[0]!r} of another application; use a separate database"
        )
    with as_file(files(__name__)) as folder:
        config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                f"{name} was written by a newer version of cofactor (schema revision {current_revision}); "
                "upgrade cofactor"
            ) from error
