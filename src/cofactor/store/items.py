"""What is known of items and users beside what was done: titles, availability, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, Select, Table, select

from cofactor.arrays import plain
from cofactor.data.ids import Id
from cofactor.errors import DataError
from cofactor.store.connect import Database, lock
from cofactor.store.door import checked_id, checked_json, checked_text, checked_whole
from cofactor.store.numbers import head
from cofactor.store.schema import items, users
from cofactor.store.upsert import upsert
from cofactor.store.writer import Writer

__all__ = ["Item", "Items", "StoredItem", "StoredUser", "Users"]

LONGEST_TITLE = 1_000
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it is put: metadata is a mapping of names to JSON's values; what is not available is never shown.

    >>> Item("alien", "Alien", metadata={"year": 1979}).available
    True
    """

    item: Id
    title: str | None = None
    available: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


class StoredItem(NamedTuple):
    """An item as it is kept. seq: the number of its last change.

    >>> StoredItem(7, "alien", "Alien", available=True, metadata={"year": 1979}).title
    'Alien'
    """

    seq: int
    item: str
    title: str | None
    available: bool
    metadata: dict[str, Any]


class StoredUser(NamedTuple):
    """A user's facts as they are kept. seq: the number of their last change.

    >>> StoredUser(7, "ana", {"age": 31}).metadata
    {'age': 31}
    """

    seq: int
    user: str
    metadata: dict[str, Any]


class Items:
    """The catalog.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Item, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.items.put([Item("alien", "Alien", metadata={"year": 1979}), Item("clue")])
    ...     _ = store.items.set_available(["clue"], available=False)
    ...     store.items.get("alien").metadata, [item.item for item in store.items.after() if not item.available]
    ({'year': 1979}, ['clue'])
    """

    def __init__(self, database: Database, writer: Writer):
        self._database = database
        self._writer = writer

    def put(self, given: Iterable[Item]) -> int:
        """Keep these items, each in place of what was known of it; the number of the change, 0 where none was given.

        Of an item that comes twice the last counts. Many are written ten thousand at a time. Raises DataError, naming
        the item's place, before any is written.
        """
        rows = {row["item"]: row for row in (_item(one, f"item {n}") for n, one in enumerate(given, start=1))}
        return self._put(list(rows.values()), ["seq", "title", "available", "metadata"])

    def put_table(self, table: pl.DataFrame) -> int:
        """Keep a frame of items: ids in its first column, perhaps `title` and `available`; the rest is metadata.

        >>> from tempfile import TemporaryDirectory
        >>> import polars as pl
        >>> from cofactor.store import Store
        >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
        ...     _ = store.items.put_table(pl.DataFrame({"item": [7], "title": ["Alien"], "year": [1979]}))
        ...     store.items.get(7)
        StoredItem(seq=1, item='7', title='Alien', available=True, metadata={'year': 1979})
        """
        if not table.columns:
            raise DataError("the item table has no columns; the first must hold the item ids")
        key = table.columns[0]
        return self.put(
            Item(row.pop(key), row.pop("title", None), row.pop("available", True), plain(row))
            for row in table.iter_rows(named=True)
        )

    def set_available(self, given: Iterable[Id], *, available: bool) -> int:
        """Say of these items, known or not, whether they can be had; the rest of what is known of them stays."""
        names = dict.fromkeys(checked_id(one, f"item {n}") for n, one in enumerate(given, start=1))
        rows = [{"item": name, "title": None, "available": available, "metadata": "{}"} for name in names]
        return self._put(rows, ["seq", "available"])

    def get(self, item: Id) -> StoredItem | None:
        """One item, or None where nothing is known of it."""
        found = _one(self._database, _ITEMS.where(items.c.item == checked_id(item, "the item")))
        return None if found is None else _stored_item(found)

    def after(self, seq: int = 0, limit: int = 1_000_000) -> list[StoredItem]:
        """The items that changed behind this number, in that order. Items that changed at once have one number."""
        with self._database.reading() as connection:
            query = _ITEMS.where(items.c.seq > checked_whole(seq, "the number"))
            query = query.order_by(items.c.seq, items.c.item).limit(checked_whole(limit, "the limit"))
            return [_stored_item(row) for row in connection.execute(query)]

    def _put(self, rows: list[dict[str, Any]], replace: list[str]) -> int:
        last = 0
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            last = self._writer.run(partial(_numbered, table=items, rows=some, replace=replace))
        return last


class Users:
    """Facts about users that priors for newcomers are learnt from.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.users.put("ana", {"age": 31})
    ...     store.users.get("ana").metadata, store.users.get("bo")
    ({'age': 31}, None)
    """

    def __init__(self, database: Database, writer: Writer):
        self._database = database
        self._writer = writer

    def put(self, user: Id, metadata: Mapping[str, Any]) -> int:
        """Keep a user's facts, in place of what was known; the number of the change. Raises DataError."""
        row = {"user": checked_id(user, "the user"), "metadata": _mapping(metadata, "the user's metadata")}
        return self._writer.run(lambda connection: _numbered(connection, users, [row], ["seq", "metadata"]))

    def get(self, user: Id) -> StoredUser | None:
        """One user's facts, or None where nothing is known."""
        found = _one(self._database, _USERS.where(users.c.user == checked_id(user, "the user")))
        return None if found is None else StoredUser(found[0], found[1], json.loads(found[2]))

    def after(self, seq: int = 0, limit: int = 1_000_000) -> list[StoredUser]:
        """The users whose facts changed behind this number, in that order."""
        with self._database.reading() as connection:
            query = _USERS.where(users.c.seq > checked_whole(seq, "the number"))
            query = query.order_by(users.c.seq).limit(checked_whole(limit, "the limit"))
            return [StoredUser(row[0], row[1], json.loads(row[2])) for row in connection.execute(query)]


_ITEMS = select(items.c.seq, items.c.item, items.c.title, items.c.available, items.c.metadata)
_USERS = select(users.c.seq, users.c.user, users.c.metadata)


def _one(database: Database, query: Select[Any]) -> Any:
    with database.reading() as connection:
        return connection.execute(query).one_or_none()


def _stored_item(row: Any) -> StoredItem:
    seq, item, title, available, metadata = row
    return StoredItem(seq, item, title, bool(available), json.loads(metadata))


def _item(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Item):
        raise DataError(f"{where} is no Item but a {type(given).__name__}")
    if not isinstance(given.available, bool):
        raise DataError(f"{where}: available is true or false, not {given.available!r}")
    return {
        "item": checked_id(given.item, where),
        "title": None if given.title is None else checked_text(given.title, f"{where}: the title", LONGEST_TITLE),
        "available": given.available,
        "metadata": _mapping(given.metadata, f"{where}: the metadata"),
    }


def _mapping(given: Any, what: str) -> str:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise DataError(f"{what} must map names to values")
    return checked_json(dict(given), what)


def _numbered(connection: Connection, table: Table, rows: list[dict[str, Any]], replace: list[str]) -> int:
    """Put these rows under the next number."""
    lock(connection)
    seq = head(connection).seq + 1
    upsert(connection, table, [{**row, "seq": seq} for row in rows], replace)
    return seq
