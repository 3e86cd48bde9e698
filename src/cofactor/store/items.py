"""What is known of items beside what was done with them: titles, availability, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Select, select

from cofactor.arrays import plain
from cofactor.data.ids import Id
from cofactor.errors import DataError
from cofactor.store.connect import Database
from cofactor.store.schema import items
from cofactor.store.sequence import add_numbered, put_numbered
from cofactor.store.validation import checked_id, checked_mapping, checked_text, checked_whole
from cofactor.store.writer import Writer

__all__ = ["Item", "Items", "StoredItem"]

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
        return self.put(_of_table(table))

    def add_table(self, table: pl.DataFrame) -> int:
        """Keep those items of such a frame of which neither title nor metadata is known yet; how many those are.

        What was said of an item before stays as it is, so that a table may be added again. Of items on whose row there
        is nothing but an id, nothing is kept. Raises what `put` raises.
        """
        rows = [_item(one, f"item {n}") for n, one in enumerate(_of_table(table), start=1)]
        told = [row for row in rows if row["title"] is not None or row["metadata"] != "{}" or not row["available"]]
        return sum(
            self._writer.run(partial(add_numbered, table=items, rows=told[start : start + AT_ONCE], blank=_BLANK))
            for start in range(0, len(told), AT_ONCE)
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

    def after(self, seq: int = 0) -> list[StoredItem]:
        """The items that changed behind this number, in that order. Items that changed at once have one number."""
        with self._database.reading() as connection:
            query = _ITEMS.where(items.c.seq > checked_whole(seq, "the number")).order_by(items.c.seq, items.c.item)
            return [_stored_item(row) for row in connection.execute(query)]

    def _put(self, rows: list[dict[str, Any]], replace: list[str]) -> int:
        last = 0
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            last = self._writer.run(partial(put_numbered, table=items, rows=some, replace=replace))
        return last


_BLANK = {"title": None, "metadata": "{}"}
_ITEMS = select(items.c.seq, items.c.item, items.c.title, items.c.available, items.c.metadata)


def _one(database: Database, query: Select[Any]) -> Any:
    with database.reading() as connection:
        return connection.execute(query).one_or_none()


def _stored_item(row: Any) -> StoredItem:
    seq, item, title, available, metadata = row
    return StoredItem(seq, item, title, bool(available), json.loads(metadata))


def _of_table(table: pl.DataFrame) -> Iterator[Item]:
    """The rows of a frame; cells without a value are left out."""
    if not table.columns:
        raise DataError("the item table has no columns; the first must hold the item ids")
    key = table.columns[0]
    for row in table.iter_rows(named=True):
        told = {name: value for name, value in plain(row).items() if value is not None}
        told.pop(key, None)
        yield Item(row[key], told.pop("title", None), told.pop("available", True), told)


def _item(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Item):
        raise DataError(f"{where} is no Item but a {type(given).__name__}")
    if not isinstance(given.available, bool):
        raise DataError(f"{where}: available is true or false, not {given.available!r}")
    return {
        "item": checked_id(given.item, where),
        "title": None if given.title is None else checked_text(given.title, f"{where}: the title", LONGEST_TITLE),
        "available": given.available,
        "metadata": checked_mapping(given.metadata, f"{where}: the metadata"),
    }
