"""The store: everything the service keeps, behind one URL."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from sqlalchemy import func, select, text

from cofactor.store.backup import back_up, put_back, remove
from cofactor.store.connect import Database
from cofactor.store.erasure import Forgetting
from cofactor.store.event_log import EventLog
from cofactor.store.impressions import Impressions
from cofactor.store.items import Items
from cofactor.store.jobs import Jobs
from cofactor.store.keys import Keys
from cofactor.store.migrations import upgrade
from cofactor.store.models import Models
from cofactor.store.settings import Settings, salted
from cofactor.store.users import Users
from cofactor.store.writer import Writer

__all__ = ["Store"]


class Store:
    """What a service keeps: in one SQLite file, or in PostgreSQL when that must grow; the same code for both.

    Attributes:

        events: the log of what people did.
        impressions: the log of what was shown.
        items, users: what is known of them.
        forgotten: who was forgotten.
        models, jobs: what was learnt, and what is to be done.
        keys, settings: who may do what, and facts about the store.

    Everything is written by one thread, many requests in one transaction, and acknowledged once it is on disk. Many
    threads and processes may use one database; each process opens a store of its own. A database that stops is waited
    for by nobody: StoreUnavailableError is raised until it is back.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 3), Event("bo", "clue", 2), Event("ana", "alien", 5)])
    ...     store.events.state("ratings").select("user", "item", "value").sort("user").rows()
    [('ana', 'alien', 5.0), ('bo', 'clue', 2.0)]
    """

    def __init__(self, database: Database):
        salt = salted(database)
        self._database = database
        self.impressions = Impressions(database, salt)
        self._writer = Writer(database, self.impressions.flush)
        self.events = EventLog(database, self._writer, salt)
        self.forgotten = Forgetting(database, self._writer, salt)
        self.items = Items(database, self._writer)
        self.users = Users(database, self._writer, salt)
        self.models = Models(database, self._writer)
        self.jobs = Jobs(database, self._writer)
        self.keys = Keys(database, self._writer)
        self.settings = Settings(database, self._writer)

    @classmethod
    def open(cls, url: str) -> Store:
        """The store at `sqlite:///file.db` or `postgresql://user@host/name`: made where there is none, and up to date.

        Raises StoreError for another kind of URL, for a store of a newer version of cofactor, for a database with
        others' tables, and where the database cannot promise that what it acknowledges is on disk;
        StoreUnavailableError where it does not answer.
        """
        database = Database.at(url)
        try:
            upgrade(database)
            return cls(database)
        except BaseException:
            database.close()
            raise

    @classmethod
    def restore(cls, backup: str | Path, url: str, tombstones: str | Path | None = None) -> Store:
        """A SQLite store made from a backup, where there is none yet; who was forgotten since is forgotten again.

        tombstones: what `forgotten.export` wrote last. Raises StoreError for a damaged backup, and where a file is
        there already.

        >>> from tempfile import TemporaryDirectory
        >>> from cofactor.store import Event, Store
        >>> with TemporaryDirectory() as folder:
        ...     with Store.open(f"sqlite:///{folder}/shop.db") as store:
        ...         _ = store.events.append([Event("ana", "alien", 5), Event("bo", "clue", 2)])
        ...         store.back_up(f"{folder}/backup.db")
        ...         _ = store.forgotten.forget("ana")
        ...         store.forgotten.export(f"{folder}/tombstones.json")
        ...     new = Store.restore(f"{folder}/backup.db", f"sqlite:///{folder}/new.db", f"{folder}/tombstones.json")
        ...     [event.user for event in new.events.after(0)]
        ...     new.close()
        ['bo']
        """
        put_back(backup, url)
        store = cls.open(url)
        try:
            if tombstones is not None:
                store.forgotten.reapply_file(tombstones)
        except BaseException:  # nobody may find a store that has not forgotten
            store.close()
            remove(url)
            raise
        return store

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        return self._database.name

    def ping(self) -> None:
        """Nothing where the database answers. Raises StoreUnavailableError where it does not."""
        with self._database.reading() as connection:
            connection.execute(text("SELECT 1")).close()

    def clock(self) -> float | None:
        """Seconds since 1970 by the database server's clock; None for SQLite, which has none of its own."""
        if self._database.kind == "sqlite":
            return None
        with self._database.reading() as connection:
            return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def back_up(self, path: str | Path) -> None:
        """Write one state of a SQLite store to a file, while it is used. Raises StoreError; PostgreSQL has pg_dump."""
        back_up(self._database, path)

    def close(self) -> None:
        """Write what waits, and end. Raises StoreUnavailableError where impressions that wait cannot be written."""
        self._writer.close()
        try:
            self.impressions.close()
        finally:
            self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
