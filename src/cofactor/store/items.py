"""Item catalog: item titles, availability and metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import select

from cofactor.arrays import plain
from cofactor.data.id_columns import Id
from cofactor.errors import DataError
from cofactor.store.connect import Database
from cofactor.store.schema import items
from cofactor.store.sequence import add_numbered, put_numbered
from cofactor.store.validation import checked_id, checked_integer, checked_mapping, checked_text
from cofactor.store.writer import Writer

__all__ = ["Item", "Items", "StoredItem"]

MAX_TITLE_LENGTH = 1_000
BATCH_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """Item to store.

    Attributes
    ----------
    item : str or int
        ID of the item.
    title : str or None, default None
        Title.
    available : bool, default True
        Whether the item may be recommended.
    metadata : mapping of str to Any
        JSON-serializable values by name; empty by default.

    Examples
    --------
    >>> Item("alien", "Alien", metadata={"year": 1979}).available
    True
    """

    item: Id
    title: str | None = None
    available: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


class StoredItem(NamedTuple):
    """Item in the store.

    Attributes
    ----------
    seq : int
        Sequence number of the last change.
    item : str
        ID of the item.
    title : str or None
        Title.
    available : bool
        Whether the item may be recommended.
    metadata : dict of str to Any
        JSON-serializable values by name.

    Examples
    --------
    >>> StoredItem(7, "alien", "Alien", available=True, metadata={"year": 1979}).title
    'Alien'
    """

    seq: int
    item: str
    title: str | None
    available: bool
    metadata: dict[str, Any]


class Items:
    """Item catalog of the store.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.

    Examples
    --------
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

    def put(self, new_items: Iterable[Item]) -> int:
        """Store items, in batches of 10,000; each replaces the existing version of the item.

        Parameters
        ----------
        new_items : iterable of Item
            The items; if several have the same ID, the last one wins.

        Returns
        -------
        int
            Sequence number of the change; 0 for no items.

        Raises
        ------
        DataError
            If an item is invalid; the message gives its position, and nothing is stored.
        """
        rows = {row["item"]: row for row in (_item(item, f"item {n}") for n, item in enumerate(new_items, start=1))}
        return self._put(list(rows.values()), ["seq", "title", "available", "metadata"])

    def put_table(self, table: pl.DataFrame) -> int:
        """Store the items listed in a data frame; each replaces the existing version of the item.

        Parameters
        ----------
        table : polars.DataFrame
            IDs in the first column and, optionally, the columns `title` and `available`; other columns are metadata.

        Returns
        -------
        int
            Sequence number of the change; 0 for an empty frame.

        Raises
        ------
        DataError
            If a row is invalid; nothing is stored in this case.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> import polars as pl
        >>> from cofactor.store import Store
        >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
        ...     _ = store.items.put_table(pl.DataFrame({"item": [7], "title": ["Alien"], "year": [1979]}))
        ...     store.items.get(7)
        StoredItem(seq=1, item='7', title='Alien', available=True, metadata={'year': 1979})
        """
        return self.put(_from_table(table))

    def add_table(self, table: pl.DataFrame) -> int:
        """Store the items listed in a data frame, except those that already have a title or metadata in the store.

        Existing titles and metadata are not changed, so that a table can be added repeatedly. Rows that contain only an
        ID are skipped.

        Parameters
        ----------
        table : polars.DataFrame
            Data frame in the format of `put_table`.

        Returns
        -------
        int
            Number of items stored.

        Raises
        ------
        DataError
            If a row is invalid; nothing is stored in this case.
        """
        rows = [_item(item, f"item {n}") for n, item in enumerate(_from_table(table), start=1)]
        rows = [row for row in rows if row["title"] is not None or row["metadata"] != "{}" or not row["available"]]
        return sum(
            self._writer.run(
                partial(add_numbered, table=items, rows=rows[start : start + BATCH_SIZE], placeholders=_PLACEHOLDERS)
            )
            for start in range(0, len(rows), BATCH_SIZE)
        )

    def set_available(self, ids: Iterable[Id], *, available: bool) -> int:
        """Mark items as available or unavailable, without changing their titles and metadata.

        Parameters
        ----------
        ids : iterable of str or int
            IDs of the items, which need not be in the store.
        available : bool
            Whether the items are available.

        Returns
        -------
        int
            Sequence number of the change; 0 for no items.
        """
        names = dict.fromkeys(checked_id(item, f"item {n}") for n, item in enumerate(ids, start=1))
        rows = [{"item": name, "title": None, "available": available, "metadata": "{}"} for name in names]
        return self._put(rows, ["seq", "available"])

    def get(self, item: Id) -> StoredItem | None:
        """Return an item from the store.

        Parameters
        ----------
        item : str or int
            ID of the item.

        Returns
        -------
        StoredItem or None
            The item; None if it is not in the store.
        """
        query = _ITEM_QUERY.where(items.c.item == checked_id(item, "the item"))
        with self._database.read_transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _stored_item(row)

    def after(self, seq: int = 0) -> list[StoredItem]:
        """Return the items that changed after a sequence number.

        Parameters
        ----------
        seq : int, default 0
            Sequence number.

        Returns
        -------
        list of StoredItem
            The items, ordered by sequence number; items from the same change share a number. Empty if there are none.
        """
        with self._database.read_transaction() as connection:
            query = _ITEM_QUERY.where(items.c.seq > checked_integer(seq, "seq")).order_by(items.c.seq, items.c.item)
            return [_stored_item(row) for row in connection.execute(query)]

    def _put(self, rows: list[dict[str, Any]], replace: list[str]) -> int:
        last_seq = 0
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            last_seq = self._writer.run(partial(put_numbered, table=items, rows=batch, replace=replace))
        return last_seq


_PLACEHOLDERS = {"title": None, "metadata": "{}"}
_ITEM_QUERY = select(items.c.seq, items.c.item, items.c.title, items.c.available, items.c.metadata)


def _stored_item(row: Any) -> StoredItem:
    seq, item, title, available, metadata = row
    return StoredItem(seq, item, title, bool(available), json.loads(metadata))


def _from_table(table: pl.DataFrame) -> Iterator[Item]:
    """Yield the rows of a data frame as items, without null values."""
    if not table.columns:
        raise DataError("the item table has no columns; the first must contain the item IDs")
    key = table.columns[0]
    for row in table.iter_rows(named=True):
        fields = {name: value for name, value in plain(row).items() if value is not None}
        fields.pop(key, None)
        yield Item(row[key], fields.pop("title", None), fields.pop("available", True), fields)


def _item(item: Any, where: str) -> dict[str, Any]:
    """Validate an item and return its row. Raises DataError."""
    if not isinstance(item, Item):
        raise DataError(f"{where} must be an Item, not {type(item).__name__}")
    if not isinstance(item.available, bool):
        raise DataError(f"{where}: available must be true or false; got {item.available!r}")
    return {
        "item": checked_id(item.item, where),
        "title": None if item.title is None else checked_text(item.title, f"{where}: the title", MAX_TITLE_LENGTH),
        "available": item.available,
        "metadata": checked_mapping(item.metadata, f"{where}: the metadata"),
    }
