"""Predefined split: a training table and a test table that were read separately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from cofactor.arrays import read_only
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.data.side_table import join
from cofactor.errors import DataError
from cofactor.evaluate.leakage import warn_if_ids_disjoint, warn_if_time_units_differ
from cofactor.evaluate.split import Split
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["split_predefined"]


@validated
def split_predefined(train: Interactions, test: Interactions, *, description: str = "predefined") -> Split:
    """Create a split from a training table and a test table that were read separately.

    The tables are renumbered to a common set of IDs and checked for leakage.

    Parameters
    ----------
    train, test : Interactions
        Training and test tables. IDs are matched as in `IdMap.rows`; the result uses the ID type of `train`.
    description : str, default "predefined"
        Description of the split.

    Returns
    -------
    Split
        Split with merged item and user tables; if both tables have a row for an ID, the row from `train` is used.

    Raises
    ------
    LeakageError
        If a user-item pair is in both tables.
    KindError
        If one table contains ratings and the other events.
    DataError
        If a table is empty, `train` has integer IDs and `test` has strings that are not integers, or columns of the
        item or user tables have different types.

    Notes
    -----
    The logger "cofactor" emits a warning with examples if the tables have no users or no items in common (for example,
    '00007' versus '7'), and if their times have different units (for example, seconds versus milliseconds).

    Examples
    --------
    >>> import cofactor
    >>> train = cofactor.Interactions.from_columns(["ana", "tom"], ["heat", "heat"], [3, 4])
    >>> test = cofactor.Interactions.from_columns(["tom"], ["alien"], [5])
    >>> split = cofactor.evaluate.split_predefined(train, test)
    >>> split, split.train.n_items
    (Split(predefined: 2 train, 1 test), 2)
    """
    require_threads()
    train, test = require_interactions("train", train), require_interactions("test", test)
    try:
        users, items = train.users.union(test.users), train.items.union(test.items)
    except DataError as problem:
        raise DataError(f"the IDs in train and test do not match: {problem}") from problem
    tables = {
        "user_table": _merge(users, train.user_table, test.user_table, "user"),
        "item_table": _merge(items, train.item_table, test.item_table, "item"),
    }
    split = Split(_renumber(train, users, items, tables), _renumber(test, users, items, tables), description)
    warn_if_ids_disjoint(split.train, split.test)
    warn_if_time_units_differ(split.train, split.test)
    return split


def _merge(
    ids: IdMap, train_table: pl.DataFrame | None, test_table: pl.DataFrame | None, id_column: str
) -> pl.DataFrame | None:
    """Return one row per ID, taken from the first table that contains the ID."""
    tables = [table for table in (train_table, test_table) if table is not None]
    if not tables:
        return None
    typed_tables = [
        pl.DataFrame([ids.as_id_type(table.to_series(0)).alias(id_column), *table.drop(table.columns[0])])
        for table in tables
    ]
    try:
        combined_table = pl.concat(typed_tables, how="diagonal_relaxed").unique(
            id_column, keep="first", maintain_order=True
        )
    except pl.exceptions.PolarsError as problem:
        raise DataError(
            f"the {id_column} tables of train and test have columns of different types: {problem}"
        ) from problem
    return join(ids, combined_table, id_column, id_column=id_column).frame


def _renumber(
    table: Interactions, users: IdMap, items: IdMap, tables: Mapping[str, pl.DataFrame | None]
) -> Interactions:
    """Return the table renumbered to larger ID maps and sorted by the new row numbers.

    Sorting is needed because integers and strings sort differently.
    """
    u, i = users.rows(table.users.all)[table.u], items.rows(table.items.all)[table.i]
    order = np.lexsort((i, u))
    return replace(
        table,
        users=users,
        items=items,
        u=read_only(u[order]),
        i=read_only(i[order]),
        values=read_only(table.values[order]),
        times=None if table.times is None else read_only(table.times[order]),
        weights=None if table.weights is None else read_only(table.weights[order]),
        seen=None if table.seen is None else _renumber(table.seen, users, items, {}),
        user_table=tables.get("user_table"),
        item_table=tables.get("item_table"),
    )
