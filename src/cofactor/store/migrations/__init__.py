"""The schema's history, one revision a file, and the way to the newest: Alembic, without a configuration file."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from sqlalchemy import Connection, inspect, text

from cofactor.errors import StoreError
from cofactor.store.connect import Database, lock
from cofactor.store.schema import metadata

__all__ = ["NEWEST", "VERSION_TABLE", "upgrade"]

NEWEST = "v001"
VERSION_TABLE = "cofactor_revision"


def upgrade(database: Database) -> None:
    """Bring the tables to the newest revision, whoever else tries at the same time.

    Raises StoreError for a store of a newer version of cofactor, and for a database with others' tables.
    """
    with database.reading() as connection:
        if _revision(connection) == NEWEST:
            return
    with database.transaction() as connection:
        lock(connection)
        _upgrade(connection, database.name)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return found


def _upgrade(connection: Connection, name: str) -> None:
    from alembic.config import Config  # a third of a second, and needed only once a store
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    found = _revision(connection)
    if found is None and (others := sorted(set(metadata.tables) & set(inspect(connection).get_table_names()))):
        raise StoreError(
            f"{name} has a table {others[0]!r} that is not cofactor's: give the store a database of its own"
        )
    with as_file(files(__name__)) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        scripts = ScriptDirectory.from_config(config)
        try:
            if found is not None:
                scripts.get_revision(found)
        except CommandError as error:
            raise StoreError(f"{name} is of a newer version of cofactor (revision {found}): update cofactor") from error

        def steps(revision: Any, _context: Any) -> Any:
            return scripts._upgrade_revs("head", revision)

        with EnvironmentContext(config, scripts, fn=steps) as environment:
            environment.configure(connection=connection, version_table=VERSION_TABLE)
            environment.run_migrations()
