"""Frames: ranked lists, neighbors and explanations as tables with ids and titles."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float32, Int32
from cofactor.data.ids import IdMap
from cofactor.kernels.sparse import SparseRows
from cofactor.models.explanation import Explanation
from cofactor.recommender.catalog import Catalog

__all__ = ["explanation", "neighbors", "ranking"]

PARTS = {"history": "history", "neighbors": "neighbor", "leave-one-out": "without"}


def ranking(catalog: Catalog, users: pl.Series | None, rows: Int32, **columns: Any) -> pl.DataFrame:
    """Return ranked lists as a table.

    Parameters
    ----------
    catalog : Catalog
        Ids and titles of the items.
    users : pl.Series of shape (n_listed,), or None
        The user of each listed item; None leaves out the column.
    rows : ndarray of shape (n_users, n), int32
        Item rows, best first; -1 where a list ends.
    **columns : ndarray of the shape of `rows`, or pl.Series of shape (n_listed,)
        Further columns.

    Returns
    -------
    pl.DataFrame
        Columns user, item, rank (from 1), `columns`, and title where titles are known.
    """
    valid = rows >= 0
    listed = rows[valid]
    ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1, dtype=np.int32), rows.shape)
    data: dict[str, Any] = {} if users is None else {"user": users}
    data |= {"item": catalog.items.ids(listed), "rank": ranks[valid]}
    data |= {name: values if isinstance(values, pl.Series) else values[valid] for name, values in columns.items()}
    return catalog.with_titles(pl.DataFrame(data), listed)


def neighbors(side: str, ids: IdMap, rows: Int32, scores: Float32) -> pl.DataFrame:
    """Return the neighbors of a user or an item as a table.

    Parameters
    ----------
    side : {"user", "item"}
        Name of the column of ids.
    ids : IdMap
        Ids of the rows.
    rows : ndarray of shape (n,), int32
        Rows of the neighbors, most similar first.
    scores : ndarray of shape (n,), float32
        Their similarities.

    Returns
    -------
    pl.DataFrame
        Columns `side`, rank (from 1) and score.
    """
    return pl.DataFrame({side: ids.ids(rows), "rank": np.arange(1, len(rows) + 1, dtype=np.int32), "score": scores})


def explanation(explained: Explanation, users: IdMap, catalog: Catalog, history: SparseRows) -> pl.DataFrame:
    """Return the parts of a score as a table; those of the history are ordered by their size.

    Parameters
    ----------
    explained : Explanation
        The terms of the score.
    users : IdMap
        Ids of the users, for models that explain by similar users.
    catalog : Catalog
        Ids and titles of the items.
    history : SparseRows
        The history of the user: one row.

    Returns
    -------
    pl.DataFrame
        Columns part, item (or user), value (not with users), term, and title where titles are known: mean, user and
        item first, then the parts of the history, and "not attributed" last.
    """
    order = np.argsort(-np.abs(explained.terms), kind="stable")
    rows, terms = explained.rows[order], explained.terms[order]
    column, ids = ("user", users) if explained.by == "neighbors" else ("item", catalog.items)
    is_known = rows >= 0
    names = pl.Series(column, [None] * len(rows), dtype=ids.all.dtype)
    names = names.scatter(np.flatnonzero(is_known), ids.ids(rows[is_known]))
    table = pl.DataFrame(
        {
            "part": ["mean", "user", "item", *[PARTS[explained.by]] * len(rows), "not attributed"],
            column: _padded(names),
            "term": np.concatenate([[explained.mean, explained.user, explained.item], terms, [explained.rest]]),
        }
    )
    if explained.by == "neighbors":
        return table
    values = pl.Series("value", history.values[np.searchsorted(history.columns, rows)])
    table = table.insert_column(2, _padded(values))
    return table if catalog.titles is None else table.with_columns(title=_padded(catalog.titles.gather(rows)))


def _padded(column: pl.Series) -> pl.Series:
    """Return the column with nulls for the three parts before the history and for the one after it."""
    null = pl.Series(column.name, [None], dtype=column.dtype)
    return pl.concat([null, null, null, column, null])
