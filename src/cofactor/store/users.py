"""What is known of users beside what they did: facts that priors for newcomers are learnt from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, select

from cofactor.arrays import plain
from cofactor.data.ids import Id
from cofactor.errors import DataError
from cofactor.store.connect import Database, lock
from cofactor.store.erasure import hashed
from cofactor.store.schema import tombstones, users
from cofactor.store.sequence import add_numbered, put_numbered
from cofactor.store.validation import checked_id, checked_mapping, checked_whole
from cofactor.store.writer import Writer

__all__ = ["StoredUser", "Users"]

AT_ONCE = 10_000


class StoredUser(NamedTuple):
    """A user's facts as they are kept. seq: the number of their last change.

    >>> StoredUser(7, "ana", {"age": 31}).metadata
    {'age': 31}
    """

    seq: int
    user: str
    metadata: dict[str, Any]


class Users:
    """Facts about users that priors for newcomers are learnt from.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.users.put("ana", {"age": 31})
    ...     store.users.get("ana").metadata, store.users.get("bo")
    ({'age': 31}, None)
    """

    def __init__(self, database: Database, writer: Writer, salt: str):
        self._database = database
        self._writer = writer
        self._salt = salt

    def put(self, user: Id, metadata: Mapping[str, Any]) -> int:
        """Keep a user's facts, in place of what was known; the number of the change. Raises DataError."""
        row = {"user": checked_id(user, "the user"), "metadata": checked_mapping(metadata, "the user's metadata")}
        return self._writer.run(lambda connection: put_numbered(connection, users, [row], ["seq", "metadata"]))

    def add_table(self, table: pl.DataFrame) -> int:
        """Keep the facts of those users of a frame of whom none is known yet; how many those are.

        table: ids in its first column; the rest is metadata, cells without a value left out. What was said of a user
        before stays as it is, so that a table may be added again; forgotten users stay forgotten. Raises DataError,
        naming the row, before any is written.

        >>> from tempfile import TemporaryDirectory
        >>> import polars as pl
        >>> from cofactor.store import Store
        >>> table = pl.DataFrame({"user": ["ana", "bo"], "age": [31, 40]})
        >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
        ...     _ = store.users.put("ana", {"age": 32})
        ...     store.users.add_table(table), store.users.get("ana").metadata, store.users.add_table(table)
        (1, {'age': 32}, 0)
        """
        if not table.columns:
            raise DataError("the user table has no columns; the first must hold the user ids")
        rows = [_row(row, table.columns[0], n) for n, row in enumerate(table.iter_rows(named=True), start=1)]
        told = [row for row in rows if row["metadata"] != "{}"]
        return sum(
            self._writer.run(partial(_add, salt=self._salt, rows=told[start : start + AT_ONCE]))
            for start in range(0, len(told), AT_ONCE)
        )

    def get(self, user: Id) -> StoredUser | None:
        """One user's facts, or None where nothing is known."""
        query = _USERS.where(users.c.user == checked_id(user, "the user"))
        with self._database.reading() as connection:
            found = connection.execute(query).one_or_none()
        return None if found is None else StoredUser(found[0], found[1], json.loads(found[2]))

    def after(self, seq: int = 0) -> list[StoredUser]:
        """The users whose facts changed behind this number, in that order."""
        with self._database.reading() as connection:
            query = _USERS.where(users.c.seq > checked_whole(seq, "the number")).order_by(users.c.seq)
            return [StoredUser(row[0], row[1], json.loads(row[2])) for row in connection.execute(query)]

    def numbers_after(self, seq: int = 0) -> dict[str, int]:
        """The numbers of the last changes behind this one, by user; the facts themselves are not read."""
        query = select(users.c.user, users.c.seq).where(users.c.seq > checked_whole(seq, "the number"))
        with self._database.reading() as connection:
            return dict(connection.execute(query).all())


_USERS = select(users.c.seq, users.c.user, users.c.metadata)


def _row(told: dict[str, Any], key: str, n: int) -> dict[str, Any]:
    facts = {name: value for name, value in plain(told).items() if value is not None and name != key}
    return {"user": checked_id(told[key], f"user {n}"), "metadata": checked_mapping(facts, f"user {n}: the metadata")}


def _add(connection: Connection, salt: str, rows: list[dict[str, Any]]) -> int:
    lock(connection)  # nobody is forgotten between the question and the answer
    gone = set(connection.execute(select(tombstones.c.hash)).scalars())
    kept = [row for row in rows if not gone or hashed(salt, row["user"]) not in gone]
    return add_numbered(connection, users, kept, {"metadata": "{}"})
