"""User and item tables: attributes of users or items, joined to the IDs in an `IdMap` by their ID column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor.data.ids import IdMap
from cofactor.data.readers.casting import id_cells
from cofactor.data.readers.columns import role_by_name
from cofactor.data.readers.frame_table import as_frame
from cofactor.errors import DataError
from cofactor.fork import require_threads

__all__ = ["JoinedTable", "SideTable", "join"]

MAX_EXAMPLES = 3
"""Maximum number of example IDs in a message."""


@dataclass(frozen=True, eq=False)
class SideTable:
    """User or item table, as passed by the caller.

    Attributes
    ----------
    entity : str
        "item" or "user".
    frame : DataFrame
        Columns of the table, without the index of a pandas frame.
    index : DataFrame
        Index of a pandas frame, unless it only numbers the rows; otherwise a frame without columns.

    Examples
    --------
    >>> SideTable.of({"title": ["Alien"], "movieId": [7]}, "item").id_columns
    ['movieId']
    """

    entity: str
    frame: pl.DataFrame
    index: pl.DataFrame

    @classmethod
    def of(cls, table: Any, entity: str) -> SideTable:
        """Create a user or item table from a data frame or a mapping of columns.

        Parameters
        ----------
        table : frame or mapping of columns
            A polars, pandas, pyarrow or similar frame, or columns of equal length by name; at least one column.
        entity : {"item", "user"}
            What the rows describe.

        Returns
        -------
        SideTable
            The table.

        Raises
        ------
        DataError
            If `table` is of another type or has no columns.
        """
        index = pl.DataFrame()
        try:
            if isinstance(table, str | range):  # polars would accept these as a column
                raise TypeError("not a table")
            if hasattr(table, "iloc") and hasattr(table, "columns"):
                index, table = _index_of(table), table.rename(columns=str).reset_index(drop=True)
            is_arrow = hasattr(table, "__arrow_c_stream__") or isinstance(table, pl.LazyFrame)
            frame = as_frame(table) if is_arrow else pl.DataFrame(table)
        except (TypeError, ValueError, pl.exceptions.PolarsError) as problem:
            raise DataError(
                f"the {entity} table must be a frame (polars, pandas, pyarrow) or a dict of columns of equal length, "
                f"not {type(table).__name__}; cofactor.read_table reads one from a file"
            ) from problem
        if not frame.columns and not index.columns:
            raise DataError(f"the {entity} table has no columns; one must contain the {entity} IDs")
        return cls(entity, frame, index.select(name for name in index.columns if name not in frame.columns))

    @property
    def id_columns(self) -> list[str]:
        """Names of the columns that probably contain the IDs.

        Returns
        -------
        list of str
            Columns with a common name such as "movieId"; otherwise those named "id"; otherwise none.
        """
        columns = [*self.index.columns, *self.frame.columns]
        common_names = [name for name in columns if role_by_name(name) == self.entity]
        return common_names or [name for name in columns if name.strip().lower() == "id"]

    def id_column(self, ids: IdMap) -> str:
        """Return the name of the column that contains the user or item IDs.

        Parameters
        ----------
        ids : IdMap
            The IDs to join. Of several candidate columns, the first that contains one of them is used; see `join`.

        Returns
        -------
        str
            Name of a column of the frame or of the index.
        """
        columns, index = self.frame.columns, self.index.columns
        candidates = self.id_columns or columns[:1] or index[:1]
        if any(self.count_matches(name, ids) for name in candidates):
            return next(name for name in candidates if self.count_matches(name, ids))
        if not self.id_columns and not any(self.count_matches(name, ids) for name in columns):
            return next((name for name in index if self.count_matches(name, ids)), candidates[0])
        return candidates[0]

    def column(self, name: str) -> pl.Series:
        """Return the column with a given name from the data frame or, for a pandas frame, from its index.

        Parameters
        ----------
        name : str
            Name of the column.

        Returns
        -------
        Series of shape (n,)
            The column.
        """
        return self.index[name] if name in self.index.columns else self.frame[name]

    def count_matches(self, name: str, ids: IdMap) -> int:
        """Return the number of rows in a column that contain one of the given IDs.

        Parameters
        ----------
        name : str
            Name of the column.
        ids : IdMap
            The IDs.

        Returns
        -------
        int
            Number of rows; 0 for a column that cannot contain IDs.
        """
        try:
            cells = id_cells(self.column(name).alias(self.entity))
        except DataError:  # dates, lists, ...
            return 0
        return int((ids.rows(cells.column.filter(~cells.bad)) >= 0).sum())

    def with_ids_first(self, name: str) -> pl.DataFrame:
        """Return the table as a data frame with the IDs as its first column.

        Parameters
        ----------
        name : str
            Name of the ID column.

        Returns
        -------
        DataFrame
            The IDs, named by `entity`, then the other columns of the frame. A column with the same name is renamed.

        Raises
        ------
        DataError
            If a row has no valid ID, or the column cannot contain IDs.
        """
        cells = id_cells(self.column(name).alias(self.entity))
        if cells.bad.any():
            row = int(cells.bad.arg_true()[0])
            raise DataError(f"the {self.entity} table, row {row + 1} of column {name!r}: {cells.reason(row)}")
        others = self.frame.select(other for other in self.frame.columns if other != name)
        if self.entity in others.columns:
            new_names = (f"{self.entity}_{n}" for n in range(2, len(others.columns) + 3))
            others = others.rename({self.entity: next(other for other in new_names if other not in others.columns)})
        return pl.DataFrame([cells.column.alias(self.entity), *others])


@dataclass(frozen=True, eq=False)
class JoinedTable:
    """User or item table with one row for each ID in an `IdMap`, created by `join`.

    Attributes
    ----------
    frame : DataFrame of n_ids rows
        Rows in the order of the map, with the IDs in the first column; null where the table has no row.
    column : str
        Name of the column that contained the IDs.
    missing : Series
        IDs without a row.
    """

    frame: pl.DataFrame
    column: str
    missing: pl.Series

    def __str__(self) -> str:
        entity, n = self.frame.columns[0], len(self.frame)
        text = f"{n - len(self.missing):,} of {n:,} {entity}s matched the {entity} table on its column {self.column!r}"
        return f"{text}; no row for {_examples(self.missing)}" if len(self.missing) else text


def join(ids: IdMap, table: Any, entity: str, *, id_column: str | None = None) -> JoinedTable:
    """Join a user or item table to the IDs in a map.

    Parameters
    ----------
    ids : IdMap
        IDs, each of which gets one row.
    table : frame or mapping of columns
        A polars, pandas or pyarrow frame, or columns of equal length by name.
    entity : {"item", "user"}
        What the rows describe.
    id_column : str or None, default None
        Name of the ID column. None selects a column with a common name, such as "item", "movieId" or "id", at any
        position; if there are several, the first that contains one of `ids`. If there is none, it selects the first
        column, or the index of a pandas frame if no column contains one of `ids`.

    Returns
    -------
    JoinedTable
        A table with one row per ID. Rows with other IDs are dropped.

    Raises
    ------
    DataError
        If `table` is not a table, the column is missing, a row has no ID, an ID has several rows, or no ID matches.

    Examples
    --------
    >>> joined = join(IdMap.of([7, 9]), {"title": ["Clue"], "movieId": ["9"]}, "item")
    >>> joined.frame.rows()
    [(7, None), (9, 'Clue')]
    >>> print(joined)
    1 of 2 items matched the item table on its column 'movieId'; no row for 7
    """
    require_threads()
    side_table = SideTable.of(table, entity)
    name = side_table.id_column(ids) if id_column is None else id_column
    if name not in side_table.frame.columns and name not in side_table.index.columns:
        raise DataError(f"the {entity} table has no column {name!r}; it has {', '.join(side_table.frame.columns)}")
    table_with_ids = side_table.with_ids_first(name)
    rows = ids.rows(table_with_ids[entity])
    matched_rows = rows[rows >= 0]
    if len(ids) and not len(matched_rows):
        raise DataError(_no_match(ids, side_table, name, table_with_ids[entity]))
    duplicates = np.flatnonzero(np.bincount(matched_rows, minlength=len(ids)) > 1)
    if len(duplicates):
        raise DataError(f"the {entity} table has {entity} {ids.ids(duplicates[:1])[0]!r} more than once")
    positions = np.full(len(ids), -1, np.int64)
    positions[matched_rows] = np.flatnonzero(rows >= 0)
    source_rows = pl.Series(positions).replace(-1, None)
    frame = pl.DataFrame(
        [ids.all.alias(entity), *(column.gather(source_rows) for column in table_with_ids.drop(entity))]
    )
    return JoinedTable(frame, name, ids.all.filter(source_rows.is_null()))


def _no_match(ids: IdMap, side_table: SideTable, name: str, values: pl.Series) -> str:
    """Return the message for a table without matching IDs, with examples and, if any, a column that matches."""
    entity, n = side_table.entity, len(ids)
    if not len(values):
        return f"0 of {n:,} {entity}s matched: the {entity} table has no rows"
    text = (
        f"0 of {n:,} {entity}s matched: column {name!r} of the {entity} table contains {_examples(values)}, and the "
        f"{entity}s are {_examples(ids.all)}"
    )
    names = [*side_table.frame.columns, *side_table.index.columns]
    matches = [other for other in names if side_table.count_matches(other, ids)]
    if matches:
        return f"{text}; column {matches[0]!r} matches: id_column={matches[0]!r} (on the command line --{entity}-id)"
    return f"{text}; use the same IDs in both, or name the ID column: id_column= (on the command line --{entity}-id)"


def _index_of(table: Any) -> pl.DataFrame:
    """Return the index of a pandas frame as columns; without columns if it only numbers the rows from 0."""
    index = table.index
    if type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1:
        return pl.DataFrame()
    names = [f"index_{k}" if name is None else str(name) for k, name in enumerate(index.names)]
    names = ["index" if name == "index_0" and len(names) == 1 else name for name in names]
    frame = index.to_frame(index=False)
    frame.columns = names
    return as_frame(frame)


def _examples(ids: pl.Series) -> str:
    """Format the first IDs for a message."""
    examples = ", ".join(map(repr, ids.head(MAX_EXAMPLES).to_list()))
    return f"{examples}, ..." if len(ids) > MAX_EXAMPLES else examples
