"""Frames: convert ranked lists, neighbors and explanations to data frames with IDs and titles."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float32, Int32
from cofactor.data.ids import IdMap
from cofactor.kernels.sparse import SparseRows
from cofactor.models.explanation import Explanation
from cofactor.models.removal import RemovalEffects
from cofactor.recommender.catalog import Catalog

__all__ = ["explanation", "neighbors", "ranking", "removal_effects"]

PART_NAMES = {"history": "history", "neighbors": "neighbor", "leave-one-out": "without"}


def ranking(catalog: Catalog, users: pl.Series | None, rows: Int32, **columns: Any) -> pl.DataFrame:
    """Return ranked lists as a data frame.

    Parameters
    ----------
    catalog : Catalog
        IDs and titles of the items.
    users : pl.Series of shape (n_listed,), or None
        User ID for each listed item; None omits the column.
    rows : ndarray of shape (n_users, n), int32
        Item row numbers, best first; padded with -1.
    **columns : ndarray of the shape of `rows`, or pl.Series of shape (n_listed,)
        Additional columns.

    Returns
    -------
    pl.DataFrame
        Columns user, item, rank (from 1), the additional columns, and title if titles are available.
    """
    is_valid = rows >= 0
    listed_items = rows[is_valid]
    ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1, dtype=np.int32), rows.shape)
    data: dict[str, Any] = {} if users is None else {"user": users}
    data |= {"item": catalog.items.ids(listed_items), "rank": ranks[is_valid]}
    data |= {name: values if isinstance(values, pl.Series) else values[is_valid] for name, values in columns.items()}
    return catalog.with_titles(pl.DataFrame(data), listed_items)


def neighbors(id_column: str, ids: IdMap, rows: Int32, scores: Float32) -> pl.DataFrame:
    """Return the neighbors of a user or an item as a data frame.

    Parameters
    ----------
    id_column : {"user", "item"}
        Name of the ID column.
    ids : IdMap
        IDs of the users or items.
    rows : ndarray of shape (n,), int32
        Row numbers of the neighbors, most similar first.
    scores : ndarray of shape (n,), float32
        Similarities of the neighbors.

    Returns
    -------
    pl.DataFrame
        ID column (user or item), rank (from 1) and score.
    """
    return pl.DataFrame(
        {id_column: ids.ids(rows), "rank": np.arange(1, len(rows) + 1, dtype=np.int32), "score": scores}
    )


def explanation(score_explanation: Explanation, users: IdMap, catalog: Catalog, history: SparseRows) -> pl.DataFrame:
    """Return the contributions to a score as a data frame; contributions of history items are sorted by magnitude.

    Parameters
    ----------
    score_explanation : Explanation
        Explanation with the terms of the score.
    users : IdMap
        IDs of the users, for models whose explanations refer to similar users.
    catalog : Catalog
        IDs and titles of the items.
    history : SparseRows
        History of the user: one row.

    Returns
    -------
    pl.DataFrame
        Columns part, item (or user), value (items only), term, and title if titles are available. The parts mean, user
        and item come first, then those of the history, and "not attributed" last.
    """
    order = np.argsort(-np.abs(score_explanation.terms), kind="stable")
    rows, terms = score_explanation.rows[order], score_explanation.terms[order]
    column, ids = ("user", users) if score_explanation.by == "neighbors" else ("item", catalog.items)
    is_known = rows >= 0
    id_column = pl.Series(column, [None] * len(rows), dtype=ids.all.dtype)
    id_column = id_column.scatter(np.flatnonzero(is_known), ids.ids(rows[is_known]))
    table = pl.DataFrame(
        {
            "part": ["mean", "user", "item", *[PART_NAMES[score_explanation.by]] * len(rows), "not attributed"],
            column: _pad_parts(id_column),
            "term": np.concatenate(
                [
                    [score_explanation.mean, score_explanation.user, score_explanation.item],
                    terms,
                    [score_explanation.rest],
                ]
            ),
        }
    )
    if score_explanation.by == "neighbors":
        return table
    values = pl.Series("value", history.values[np.searchsorted(history.columns, rows)])
    table = table.insert_column(2, _pad_parts(values))
    return table if catalog.titles is None else table.with_columns(title=_pad_parts(catalog.titles.gather(rows)))


def removal_effects(effects: RemovalEffects, catalog: Catalog, history: SparseRows) -> list[pl.DataFrame]:
    """Return the removal effects of each explained item as a data frame, sorted by magnitude.

    Parameters
    ----------
    effects : RemovalEffects
        Effects on the scores of n items.
    catalog : Catalog
        IDs and titles of the items.
    history : SparseRows
        History of the user: one row.

    Returns
    -------
    list of pl.DataFrame
        For each of the n items, columns item, value, effect, and title if titles are available.
    """
    values = history.values[np.searchsorted(history.columns, effects.rows)]
    tables = []
    for effect in effects.effects:
        order = np.argsort(-np.abs(effect), kind="stable")
        rows = effects.rows[order]
        table = pl.DataFrame({"item": catalog.items.ids(rows), "value": values[order], "effect": effect[order]})
        tables.append(catalog.with_titles(table, rows))
    return tables


def _pad_parts(column: pl.Series) -> pl.Series:
    """Pad a column with nulls for the three parts before the history and for the part after it."""
    null_value = pl.Series(column.name, [None], dtype=column.dtype)
    return pl.concat([null_value, null_value, null_value, column, null_value])
