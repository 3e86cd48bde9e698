"""Forgetting a user: the rows go, a salted hash stays, so that a restored backup can be made to forget again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, union

from cofactor.data.ids import Id
from cofactor.errors import StoreError
from cofactor.files import write_whole
from cofactor.store.connect import Database, lock, now
from cofactor.store.schema import events, impressions, tombstones, users
from cofactor.store.sequence import head, upsert
from cofactor.store.settings import SALT, put
from cofactor.store.validation import checked_id, checked_whole
from cofactor.store.writer import Writer

__all__ = ["Forgetting", "Tombstone", "hashed"]


class Tombstone(NamedTuple):
    """What is left of a forgotten user.

    hash: salted SHA-256 of the id. seq: the forgetting's number; what the id did behind it is a new life. time: when.

    >>> Tombstone(hashed("salt", "ana"), seq=9, time=1_700_000_000).seq
    9
    """

    hash: str
    seq: int
    time: int


class Forgetting:
    """Who was forgotten, and when.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.events.append([Event("ana", "alien", 5), Event("bo", "clue", 2)])
    ...     stone = store.forgotten.forget("ana")
    ...     stone.seq, store.forgotten.is_forgotten("ana"), store.events.of_user("ana")
    (3, True, [])
    """

    def __init__(self, database: Database, writer: Writer, salt: str):
        self._database = database
        self._writer = writer
        self._salt = salt

    def forget(self, user: Id) -> Tombstone:
        """Delete all events, impressions and facts of a user, known or not, and leave a tombstone: all at once.

        Who is forgotten already, with nothing known since, keeps the tombstone that is there. On SQLite the deleted
        bytes are overwritten.
        """
        name = checked_id(user, "the user")
        stone = self._writer.run(lambda connection: _forget(connection, name, hashed(self._salt, name)))
        self._database.scrub()
        return stone

    def forgotten_at(self, user: Id) -> int | None:
        """The number of the user's last forgetting, or None: what a model learnt up to it must not be used any more."""
        name = checked_id(user, "the user")
        with self._database.reading() as connection:
            stone = _stone(connection, hashed(self._salt, name))
        return None if stone is None else stone.seq

    def is_forgotten(self, user: Id) -> bool:
        """Whether the user was forgotten and did nothing since."""
        name = checked_id(user, "the user")
        with self._database.reading() as connection:
            return _stone(connection, hashed(self._salt, name)) is not None and not _lives(connection, name)

    def hash(self, user: Id) -> str:
        """What a tombstone of this user holds: to look many users up among `after`."""
        return hashed(self._salt, checked_id(user, "the user"))

    def after(self, seq: int = 0) -> list[Tombstone]:
        """The tombstones behind this number, in order."""
        query = select(tombstones.c.hash, tombstones.c.seq, tombstones.c.time)
        query = query.where(tombstones.c.seq > checked_whole(seq, "the number"))
        with self._database.reading() as connection:
            return [Tombstone(*row) for row in connection.execute(query.order_by(tombstones.c.seq))]

    def reapply(self, stones: Iterable[Tombstone]) -> int:
        """Forget again, after a restore, who was forgotten since the backup; returns how many tombstones were new.

        Takes away what is numbered up to each tombstone. One that is known already does nothing, so that it may be
        applied twice, and a new life goes on.
        """
        given = [Tombstone(*stone) for stone in stones]
        new: int = self._writer.run(lambda connection: _reapply(connection, self._salt, given))
        self._database.scrub()
        return new

    def export(self, path: str | Path) -> None:
        """Write all tombstones to a file, to be kept beside backups: each forgetting is newer than some backup.

        It holds the salt, too: keep it as you keep the database. Raises StoreError where it cannot be written.
        """
        written = json.dumps({"salt": self._salt, "tombstones": self.after()})
        try:
            write_whole(path, lambda temporary: temporary.write_text(written, encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error

    def reapply_file(self, path: str | Path) -> int:
        """`reapply` what `export` wrote. A store without tombstones takes the file's salt as its own.

        Raises StoreError for what is no such file, and for one of another store.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            salt, stones = str(found["salt"]), [Tombstone(str(h), int(s), int(t)) for h, s, t in found["tombstones"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} holds no tombstones that can be read: {error}") from error
        if salt != self._salt:
            self._writer.run(lambda connection: _take_salt(connection, salt, path))
            self._salt = salt
        return self.reapply(stones)


def hashed(salt: str, user: str) -> str:
    """SHA-256 of salt and id, as hexadecimal digits.

    >>> hashed("salt", "ana")[:8]
    '5097c119'
    """
    return hashlib.sha256(f"{salt}:{user}".encode()).hexdigest()


def _stone(connection: Connection, hash_: str) -> Tombstone | None:
    query = select(tombstones.c.hash, tombstones.c.seq, tombstones.c.time).where(tombstones.c.hash == hash_)
    found = connection.execute(query).one_or_none()
    return None if found is None else Tombstone(*found)


def _lives(connection: Connection, user: str) -> bool:
    """Whether anything is known of the user."""
    known = [select(table.c.user).where(table.c.user == user).exists() for table in (events, impressions, users)]
    return any(connection.execute(select(*known)).one())


def _forget(connection: Connection, user: str, hash_: str) -> Tombstone:
    lock(connection)
    known = _stone(connection, hash_)
    if known is not None and not _lives(connection, user):
        return known
    stone = Tombstone(hash_, head(connection).seq + 1, now())
    for table in (events, impressions, users):
        connection.execute(delete(table).where(table.c.user == user))
    _keep(connection, [stone])
    return stone


def _keep(connection: Connection, stones: Sequence[Tombstone]) -> None:
    upsert(connection, tombstones, [stone._asdict() for stone in stones], ["seq", "time"])


def _reapply(connection: Connection, salt: str, stones: Sequence[Tombstone]) -> int:
    lock(connection)
    known: dict[str, Any] = dict(connection.execute(select(tombstones.c.hash, tombstones.c.seq)).all())
    new = {stone.hash: stone for stone in stones if known.get(stone.hash, 0) < stone.seq}
    if not new:
        return 0
    everybody = union(*(select(table.c.user) for table in (events, impressions, users)))
    for user in connection.execute(everybody).scalars().all():
        if stone := new.get(hashed(salt, user)):
            connection.execute(delete(events).where(events.c.user == user, events.c.seq <= stone.seq))
            connection.execute(delete(impressions).where(impressions.c.user == user, impressions.c.time <= stone.time))
            connection.execute(delete(users).where(users.c.user == user, users.c.seq <= stone.seq))
    _keep(connection, list(new.values()))
    return len(new)


def _take_salt(connection: Connection, salt: str, path: str | Path) -> None:
    lock(connection)
    if connection.execute(select(func.count()).select_from(tombstones)).scalar_one():
        raise StoreError(f"{path} is of another store: its tombstones have another salt")
    put(connection, SALT, salt)
