"""Erasure of users: delete their rows but keep salted hashes, so that erasures can be reapplied after a restore."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, union

from cofactor.data.id_columns import Id
from cofactor.errors import StoreError
from cofactor.files import write_atomically
from cofactor.store.connect import Database, lock, now
from cofactor.store.schema import events, impressions, tombstones, users
from cofactor.store.sequence import head, upsert
from cofactor.store.settings import SALT_NAME, put
from cofactor.store.validation import checked_id, checked_integer
from cofactor.store.writer import Writer

__all__ = ["Erasure", "Tombstone", "salted_hash"]


class Tombstone(NamedTuple):
    """Record of an erased user.

    Attributes
    ----------
    hash : str
        Salted SHA-256 of the user ID.
    seq : int
        Sequence number of the erasure; later events with the same ID belong to a new user.
    time : int
        Time of the erasure, in seconds since the Unix epoch.

    Examples
    --------
    >>> Tombstone(salted_hash("salt", "ana"), seq=9, time=1_700_000_000).seq
    9
    """

    hash: str
    seq: int
    time: int


class Erasure:
    """Erasure of users and the log of erased users.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.
    salt : str
        Salt for the hashes of erased users.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 5), Event("bo", "clue", 2)])
    ...     tombstone = store.erasure.erase("ana")
    ...     tombstone.seq, store.erasure.is_erased("ana"), store.events.of_user("ana")
    (3, True, [])
    """

    def __init__(self, database: Database, writer: Writer, salt: str):
        self._database = database
        self._writer = writer
        self._salt = salt

    def erase(self, user: Id) -> Tombstone:
        """Delete all events, impressions and metadata of a user and add a tombstone, in one transaction.

        Parameters
        ----------
        user : str or int
            ID of the user, who need not be in the store.

        Returns
        -------
        Tombstone
            The new tombstone, or the existing one if the user was already erased and has no newer data.

        Notes
        -----
        On SQLite, the deleted data is overwritten with zeros.
        """
        name = checked_id(user, "the user")
        tombstone = self._writer.run(lambda connection: _erase(connection, name, salted_hash(self._salt, name)))
        self._database.truncate_wal()
        return tombstone

    def erasure_seq(self, user: Id) -> int | None:
        """Return the sequence number of the user's last erasure.

        Parameters
        ----------
        user : str or int
            ID of the user.

        Returns
        -------
        int or None
            The sequence number, up to which the user's data must no longer be used; None if the user was never erased.
        """
        name = checked_id(user, "the user")
        with self._database.read_transaction() as connection:
            tombstone = _find_tombstone(connection, salted_hash(self._salt, name))
        return None if tombstone is None else tombstone.seq

    def is_erased(self, user: Id) -> bool:
        """Return whether the user was erased and has no newer data.

        Parameters
        ----------
        user : str or int
            ID of the user.

        Returns
        -------
        bool
            Whether the user is erased.
        """
        name = checked_id(user, "the user")
        with self._database.read_transaction() as connection:
            return _find_tombstone(connection, salted_hash(self._salt, name)) is not None and not _has_data(
                connection, name
            )

    def hash(self, user: Id) -> str:
        """Return the hash of a user ID, as used in tombstones.

        Parameters
        ----------
        user : str or int
            ID of the user.

        Returns
        -------
        str
            Salted SHA-256 of the ID.
        """
        return salted_hash(self._salt, checked_id(user, "the user"))

    def after(self, seq: int = 0) -> list[Tombstone]:
        """Return the tombstones of users erased after a sequence number.

        Parameters
        ----------
        seq : int, default 0
            Sequence number.

        Returns
        -------
        list of Tombstone
            The tombstones, ordered by sequence number; empty if there are none.
        """
        query = select(tombstones.c.hash, tombstones.c.seq, tombstones.c.time)
        query = query.where(tombstones.c.seq > checked_integer(seq, "seq"))
        with self._database.read_transaction() as connection:
            return [Tombstone(*row) for row in connection.execute(query.order_by(tombstones.c.seq))]

    def reapply(self, tombstones: Iterable[Tombstone]) -> int:
        """Reapply the user erasures made after the restored backup was created.

        Data is deleted up to the sequence number of each tombstone. Tombstones that the store already has are ignored,
        so that the call is safe to repeat and keeps the data of a new user with the same ID.

        Parameters
        ----------
        tombstones : iterable of Tombstone
            Tombstones from the lost store.

        Returns
        -------
        int
            Number of new tombstones.
        """
        candidates = [Tombstone(*tombstone) for tombstone in tombstones]
        n_new: int = self._writer.run(lambda connection: _reapply(connection, self._salt, candidates))
        self._database.truncate_wal()
        return n_new

    def export(self, path: str | Path) -> None:
        """Write the tombstones of all erased users to a file, to be kept with the backups.

        The file contains the salt, so protect it like the database.

        Parameters
        ----------
        path : str or Path
            Path of the file.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        text = json.dumps({"salt": self._salt, "tombstones": self.after()})
        try:
            write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error

    def reapply_file(self, path: str | Path) -> int:
        """Reapply the user erasures recorded in a file written by `export`.

        A store without tombstones adopts the salt from the file.

        Parameters
        ----------
        path : str or Path
            Path of the file.

        Returns
        -------
        int
            Number of new tombstones.

        Raises
        ------
        StoreError
            If the file cannot be read or belongs to another store.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            salt = str(content["salt"])
            candidates = [Tombstone(str(h), int(s), int(t)) for h, s, t in content["tombstones"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is not a valid tombstone file: {error}") from error
        if salt != self._salt:
            self._writer.run(lambda connection: _adopt_salt(connection, salt, path))
            self._salt = salt
        return self.reapply(candidates)


def salted_hash(salt: str, user: str) -> str:
    """Return the SHA-256 of a salt and a user ID as hexadecimal digits.

    Parameters
    ----------
    salt : str
        Salt of the store.
    user : str
        ID of the user.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> salted_hash("salt", "ana")[:8]
    '5097c119'
    """
    return hashlib.sha256(f"{salt}:{user}".encode()).hexdigest()


def _find_tombstone(connection: Connection, hash_: str) -> Tombstone | None:
    query = select(tombstones.c.hash, tombstones.c.seq, tombstones.c.time).where(tombstones.c.hash == hash_)
    row = connection.execute(query).one_or_none()
    return None if row is None else Tombstone(*row)


def _has_data(connection: Connection, user: str) -> bool:
    """Return whether the store has any rows for the user."""
    exists = [select(table.c.user).where(table.c.user == user).exists() for table in (events, impressions, users)]
    return any(connection.execute(select(*exists)).one())


def _erase(connection: Connection, user: str, hash_: str) -> Tombstone:
    lock(connection)
    existing_tombstone = _find_tombstone(connection, hash_)
    if existing_tombstone is not None and not _has_data(connection, user):
        return existing_tombstone
    tombstone = Tombstone(hash_, head(connection).seq + 1, now())
    for table in (events, impressions, users):
        connection.execute(delete(table).where(table.c.user == user))
    _write_tombstones(connection, [tombstone])
    return tombstone


def _write_tombstones(connection: Connection, rows: Sequence[Tombstone]) -> None:
    upsert(connection, tombstones, [row._asdict() for row in rows], ["seq", "time"])


def _reapply(connection: Connection, salt: str, candidates: Sequence[Tombstone]) -> int:
    """Erase the users of new or newer tombstones, and return the number of these tombstones."""
    lock(connection)
    seqs: dict[str, Any] = dict(connection.execute(select(tombstones.c.hash, tombstones.c.seq)).all())
    new_tombstones = {
        tombstone.hash: tombstone for tombstone in candidates if seqs.get(tombstone.hash, 0) < tombstone.seq
    }
    if not new_tombstones:
        return 0
    all_users = union(*(select(table.c.user) for table in (events, impressions, users)))
    for user in connection.execute(all_users).scalars().all():
        if t := new_tombstones.get(salted_hash(salt, user)):
            connection.execute(delete(events).where(events.c.user == user, events.c.seq <= t.seq))
            connection.execute(delete(impressions).where(impressions.c.user == user, impressions.c.time <= t.time))
            connection.execute(delete(users).where(users.c.user == user, users.c.seq <= t.seq))
    _write_tombstones(connection, list(new_tombstones.values()))
    return len(new_tombstones)


def _adopt_salt(connection: Connection, salt: str, path: str | Path) -> None:
    """Adopt the salt of a tombstone file; raise StoreError if the store already has tombstones."""
    lock(connection)
    if connection.execute(select(func.count()).select_from(tombstones)).scalar_one():
        raise StoreError(f"{path} belongs to another store: its salt differs")
    put(connection, SALT_NAME, salt)
