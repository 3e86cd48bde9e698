"""User metadata, from which the priors for new users are learned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, select

from cofactor.arrays import plain
from cofactor.data.id_columns import Id
from cofactor.errors import DataError
from cofactor.store.connect import Database, lock
from cofactor.store.erasure import salted_hash
from cofactor.store.schema import tombstones, users
from cofactor.store.sequence import add_numbered, put_numbered
from cofactor.store.validation import checked_id, checked_integer, checked_mapping
from cofactor.store.writer import Writer

__all__ = ["StoredUser", "Users"]

BATCH_SIZE = 10_000


class StoredUser(NamedTuple):
    """User metadata in the store.

    Attributes
    ----------
    seq : int
        Sequence number of the last change.
    user : str
        ID of the user.
    metadata : dict of str to Any
        JSON-serializable values by name.

    Examples
    --------
    >>> StoredUser(7, "ana", {"age": 31}).metadata
    {'age': 31}
    """

    seq: int
    user: str
    metadata: dict[str, Any]


class Users:
    """User metadata of the store, from which the priors for new users are learned.

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
        """Store the metadata of a user, replacing any existing metadata.

        Parameters
        ----------
        user : str or int
            ID of the user.
        metadata : mapping of str to Any
            JSON-serializable values by name.

        Returns
        -------
        int
            Sequence number of the change.

        Raises
        ------
        DataError
            If the ID or the metadata is invalid.
        """
        row = {"user": checked_id(user, "the user"), "metadata": checked_mapping(metadata, "the user's metadata")}
        return self._writer.run(lambda connection: put_numbered(connection, users, [row], ["seq", "metadata"]))

    def add_table(self, table: pl.DataFrame) -> int:
        """Store the metadata of the users listed in a data frame, except users who already have metadata in the store.

        Existing metadata is not changed, so that a table can be added repeatedly. Erased users are skipped.

        Parameters
        ----------
        table : polars.DataFrame
            IDs in the first column; all other columns are metadata. Null values are omitted.

        Returns
        -------
        int
            Number of users whose metadata was stored.

        Raises
        ------
        DataError
            If a row is invalid; the message gives its position, and nothing is stored.

        Examples
        --------
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
            raise DataError("the user table has no columns; the first must contain the user IDs")
        rows = [_row(row, table.columns[0], n) for n, row in enumerate(table.iter_rows(named=True), start=1)]
        rows = [row for row in rows if row["metadata"] != "{}"]
        return sum(
            self._writer.run(partial(_add_rows, salt=self._salt, rows=rows[start : start + BATCH_SIZE]))
            for start in range(0, len(rows), BATCH_SIZE)
        )

    def get(self, user: Id) -> StoredUser | None:
        """Return the metadata of a user.

        Parameters
        ----------
        user : str or int
            ID of the user.

        Returns
        -------
        StoredUser or None
            The metadata; None if there is none.
        """
        query = _USER_QUERY.where(users.c.user == checked_id(user, "the user"))
        with self._database.read_transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else StoredUser(row[0], row[1], json.loads(row[2]))

    def get_many(self, names: Sequence[Id]) -> dict[str, StoredUser]:
        """Return the metadata of several users.

        Parameters
        ----------
        names : sequence of str or int
            IDs of the users.

        Returns
        -------
        dict of str to StoredUser
            Metadata by user ID; users without metadata are omitted.
        """
        ids, stored_users = [checked_id(name, "the user") for name in names], dict[str, StoredUser]()
        with self._database.read_transaction() as connection:
            for start in range(0, len(ids), USERS_PER_QUERY):
                query = _USER_QUERY.where(users.c.user.in_(ids[start : start + USERS_PER_QUERY]))
                for seq, user, metadata in connection.execute(query):
                    stored_users[user] = StoredUser(seq, user, json.loads(metadata))
        return stored_users

    def after(self, seq: int = 0) -> list[StoredUser]:
        """Return the users whose metadata changed after a sequence number.

        Parameters
        ----------
        seq : int, default 0
            Sequence number.

        Returns
        -------
        list of StoredUser
            The users, ordered by sequence number; empty if there are none.
        """
        with self._database.read_transaction() as connection:
            query = _USER_QUERY.where(users.c.seq > checked_integer(seq, "seq")).order_by(users.c.seq)
            return [StoredUser(row[0], row[1], json.loads(row[2])) for row in connection.execute(query)]

    def seqs_after(self, seq: int = 0) -> dict[str, int]:
        """Return the sequence numbers of the metadata changes after a sequence number, without the metadata.

        Parameters
        ----------
        seq : int, default 0
            Sequence number.

        Returns
        -------
        dict of str to int
            Sequence number by user ID.
        """
        query = select(users.c.user, users.c.seq).where(users.c.seq > checked_integer(seq, "seq"))
        with self._database.read_transaction() as connection:
            return dict(connection.execute(query).all())


USERS_PER_QUERY = 500
_USER_QUERY = select(users.c.seq, users.c.user, users.c.metadata)


def _row(values: dict[str, Any], key: str, n: int) -> dict[str, Any]:
    metadata = {name: value for name, value in plain(values).items() if value is not None and name != key}
    user = checked_id(values[key], f"user {n}")
    return {"user": user, "metadata": checked_mapping(metadata, f"user {n}: the metadata")}


def _add_rows(connection: Connection, salt: str, rows: list[dict[str, Any]]) -> int:
    lock(connection)  # so that no user is erased between the check and the insert
    erased_hashes = set(connection.execute(select(tombstones.c.hash)).scalars())
    rows = [row for row in rows if not erased_hashes or salted_hash(salt, row["user"]) not in erased_hashes]
    return add_numbered(connection, users, rows, {"metadata": "{}"})
