"""A split that someone else made: a train table and a test table, read apart."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from cofactor.arrays import read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.evaluate.split import Split

__all__ = ["split_given"]


def split_given(train: Interactions, test: Interactions, *, description: str = "given") -> Split:
    """Two tables read apart (a train file and a test file), renumbered to the ids of both, and proved.

    Item and user tables are joined again, the rows of train's first. Raises as `Split` does (DataError for an empty
    part), and DataError where one has integer ids and the other strings.

    >>> import cofactor
    >>> train = cofactor.Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> test = cofactor.Interactions.from_columns(["tom"], ["alien"], [5])
    >>> split = cofactor.evaluate.split_given(train, test)
    >>> split, split.train.n_items
    (Split(given: 2 train, 1 test), 2)
    """
    users, items = train.users.union(test.users), train.items.union(test.items)
    item_table = _stacked(train.item_table, test.item_table)
    user_table = _stacked(train.user_table, test.user_table)
    return Split(
        _renumbered(train, users, items, user_table, item_table),
        _renumbered(test, users, items, user_table, item_table),
        description,
    )


def _stacked(first: pl.DataFrame | None, second: pl.DataFrame | None) -> pl.DataFrame | None:
    tables = [table for table in (first, second) if table is not None]
    if not tables:
        return None
    key = tables[0].columns[0]
    return pl.concat(tables, how="diagonal_relaxed").unique(key, keep="first", maintain_order=True)


def _renumbered(
    table: Interactions,
    users: IdMap,
    items: IdMap,
    user_table: pl.DataFrame | None,
    item_table: pl.DataFrame | None,
) -> Interactions:
    """The same rows by the row numbers of larger maps: both are sorted, so rows stay sorted by (u, i)."""
    user_rows, item_rows = users.rows(table.users.all), items.rows(table.items.all)
    moved = replace(
        table,
        users=users,
        items=items,
        u=read_only(user_rows[table.u]),
        i=read_only(item_rows[table.i]),
        user_table=None,
        item_table=None,
        seen=None if table.seen is None else _renumbered(table.seen, users, items, None, None),
    )
    if user_table is not None:
        moved = moved.with_user_table(user_table)
    return moved if item_table is None else moved.with_item_table(item_table)
