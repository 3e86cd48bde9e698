"""Store: entry point to all persistent data of a service."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from sqlalchemy import func, select, text

from cofactor.store.backup import back_up, remove, restore_file
from cofactor.store.connect import Database
from cofactor.store.erasure import Erasure
from cofactor.store.event_log import EventLog
from cofactor.store.impressions import Impressions
from cofactor.store.items import Items
from cofactor.store.jobs import Jobs
from cofactor.store.keys import Keys
from cofactor.store.migrations import upgrade
from cofactor.store.models import Models
from cofactor.store.settings import Settings, load_or_create_salt
from cofactor.store.users import Users
from cofactor.store.writer import Writer

__all__ = ["Store"]


class Store:
    """Persistent data of a service, in one SQLite file or in PostgreSQL.

    Open a store with `Store.open`. A store can be used as a context manager.

    Parameters
    ----------
    database : Database
        Database with the newest schema.

    Attributes
    ----------
    events : EventLog
        Ratings, events and removals.
    impressions : Impressions
        Lists shown to users.
    items : Items
        Item catalog.
    users : Users
        User metadata.
    erasure : Erasure
        Erasure of users.
    models : Models
        Model registry.
    jobs : Jobs
        Job queue.
    keys : Keys
        API keys.
    settings : Settings
        Settings of the store.

    Notes
    -----
    All writes of a process are executed by one thread, which combines many requests into one transaction and
    acknowledges them once they are on disk. Many threads and processes may use the same database; each process must
    open its own store. If the database is unavailable, calls raise StoreUnavailableError instead of waiting.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 3), Event("bo", "clue", 2), Event("ana", "alien", 5)])
    ...     store.events.snapshot("ratings").select("user", "item", "value").sort("user").rows()
    [('ana', 'alien', 5.0), ('bo', 'clue', 2.0)]
    """

    def __init__(self, database: Database):
        salt = load_or_create_salt(database)
        self._database = database
        self.impressions = Impressions(database, salt)
        self._writer = Writer(database, self.impressions.flush)
        self.events = EventLog(database, self._writer, salt)
        self.erasure = Erasure(database, self._writer, salt)
        self.items = Items(database, self._writer)
        self.users = Users(database, self._writer, salt)
        self.models = Models(database, self._writer)
        self.jobs = Jobs(database, self._writer)
        self.keys = Keys(database, self._writer)
        self.settings = Settings(database, self._writer)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a store, creating it or upgrading its schema if necessary.

        Parameters
        ----------
        url : str
            URL such as `sqlite:///file.db` or `postgresql://user@host/name`.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        StoreError
            If the URL is not supported, the store was written by a newer version of cofactor, the database contains
            tables of another application, or its configuration does not guarantee durable commits.
        StoreUnavailableError
            If the database is unavailable.
        """
        database = Database.from_url(url)
        try:
            upgrade(database)
            return cls(database)
        except BaseException:
            database.close()
            raise

    @classmethod
    def restore(cls, backup: str | Path, url: str, tombstones: str | Path | None = None) -> Store:
        """Restore a SQLite store from a backup, and reapply the user erasures made after the backup.

        Parameters
        ----------
        backup : str or Path
            Path of the file written by `back_up`.
        url : str
            SQLite URL of the new store; its file must not exist.
        tombstones : str or Path or None, default None
            Path of the newest file written by `erasure.export`.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        StoreError
            If the backup is damaged or the file exists; no store is left behind.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from cofactor.store import Event, Store
        >>> with TemporaryDirectory() as folder:
        ...     with Store.open(f"sqlite:///{folder}/shop.db") as store:
        ...         _ = store.events.append([Event("ana", "alien", 5), Event("bo", "clue", 2)])
        ...         store.back_up(f"{folder}/backup.db")
        ...         _ = store.erasure.erase("ana")
        ...         store.erasure.export(f"{folder}/tombstones.json")
        ...     new = Store.restore(f"{folder}/backup.db", f"sqlite:///{folder}/new.db", f"{folder}/tombstones.json")
        ...     [event.user for event in new.events.after(0)]
        ...     new.close()
        ['bo']
        """
        restore_file(backup, url)
        store = cls.open(url)
        try:
            if tombstones is not None:
                store.erasure.reapply_file(tombstones)
        except BaseException:  # a store with data of erased users must not remain
            store.close()
            remove(url)
            raise
        return store

    @property
    def url(self) -> str:
        """URL of the store without passwords."""
        return self._database.name

    def ping(self) -> None:
        """Check that the database is available.

        Raises
        ------
        StoreUnavailableError
            If it is not available.
        """
        with self._database.read_transaction() as connection:
            connection.execute(text("SELECT 1")).close()

    def clock(self) -> float | None:
        """Return the current time of the database server.

        Returns
        -------
        float or None
            Seconds since the Unix epoch; None for SQLite, which has no clock of its own.
        """
        if self._database.kind == "sqlite":
            return None
        with self._database.read_transaction() as connection:
            return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def back_up(self, path: str | Path) -> None:
        """Write a consistent snapshot of a SQLite store to a file while the store is in use.

        Parameters
        ----------
        path : str or Path
            Path of the file.

        Raises
        ------
        StoreError
            If the file cannot be written or the store uses PostgreSQL (use pg_dump).
        """
        back_up(self._database, path)

    def close(self) -> None:
        """Write all pending data and close the store.

        Raises
        ------
        StoreUnavailableError
            If pending data cannot be written.
        """
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
