"""Tables of items and users: what is known of each id besides its ratings, joined by the column of the ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor.data.ids import CodedIds, IdMap
from cofactor.data.readers.casting import id_cells
from cofactor.data.readers.columns import usual_role
from cofactor.data.readers.frame_table import as_frame
from cofactor.errors import DataError
from cofactor.fork import require_threads

__all__ = ["JoinedTable", "SideTable", "join"]

SHOWN = 3
"""Ids of each side that a message shows."""


@dataclass(frozen=True, eq=False)
class SideTable:
    """A table of items or users as the caller passed it.

    Attributes:

        what: "item" or "user".
        frame: its columns; of a pandas frame without the index.
        index: the index of a pandas frame, unless it only counts the rows; else a frame without columns.

    >>> SideTable.of({"title": ["Alien"], "movieId": [7]}, "item").id_columns
    ['movieId']
    """

    what: str
    frame: pl.DataFrame
    index: pl.DataFrame

    @classmethod
    def of(cls, table: Any, what: str) -> SideTable:
        """From a frame (polars, pandas, pyarrow, ...) or columns by name, at least one. Raises DataError."""
        index = pl.DataFrame()
        try:
            if isinstance(table, str | range):  # polars would make a column of the letters or numbers
                raise TypeError("no table")
            if hasattr(table, "iloc") and hasattr(table, "columns"):
                index, table = _index_of(table), table.rename(columns=str).reset_index(drop=True)
            arrow = hasattr(table, "__arrow_c_stream__") or isinstance(table, pl.LazyFrame)
            frame = as_frame(table) if arrow else pl.DataFrame(table)
        except (TypeError, ValueError, pl.exceptions.PolarsError) as problem:
            raise DataError(
                f"the {what} table must be a frame (polars, pandas, pyarrow) or columns of one length by name, and "
                f"this is {type(table).__name__}; cofactor.read_table reads one from a file"
            ) from problem
        if not frame.columns and not index.columns:
            raise DataError(f"the {what} table has no columns; one must hold the {what} ids")
        return cls(what, frame, index.select(name for name in index.columns if name not in frame.columns))

    @property
    def id_columns(self) -> list[str]:
        """The columns that usually hold these ids, wherever they stand; else those called "id"; else none."""
        columns = [*self.index.columns, *self.frame.columns]
        usual = [name for name in columns if usual_role(name) == self.what]
        return usual or [name for name in columns if name.strip().lower() == "id"]

    def id_column(self, ids: IdMap) -> str:
        """The column of the ids: of several that may be, the first that holds one of these; see `join`."""
        columns, index = self.frame.columns, self.index.columns
        likely = self.id_columns or columns[:1] or index[:1]
        if any(self.known(name, ids) for name in likely):
            return next(name for name in likely if self.known(name, ids))
        if not self.id_columns and not any(self.known(name, ids) for name in columns):
            return next((name for name in index if self.known(name, ids)), likely[0])
        return likely[0]

    def column(self, name: str) -> pl.Series:
        """A column of the frame or of the index."""
        return self.index[name] if name in self.index.columns else self.frame[name]

    def known(self, name: str, ids: IdMap) -> int:
        """How many rows of a column hold one of these ids."""
        try:
            cells = id_cells(self.column(name).alias(self.what))
        except DataError:  # dates, lists, ...
            return 0
        values = cells.values.each(cells.values.distinct) if isinstance(cells.values, CodedIds) else cells.values
        return int((ids.rows(values.filter(~cells.bad)) >= 0).sum())

    def keyed(self, name: str) -> pl.DataFrame:
        """The ids of a column, under the name of `what`, then the other columns of the frame.

        A column of that name that holds no ids gets a number behind it. Raises DataError, naming the first row without
        an id.
        """
        cells = id_cells(self.column(name).alias(self.what))
        if cells.bad.any():
            row = int(cells.bad.arg_true()[0])
            raise DataError(f"the {self.what} table, row {row + 1} of column {name!r}: {cells.why(row)}")
        values = cells.values.each(cells.values.distinct) if isinstance(cells.values, CodedIds) else cells.values
        others = self.frame.select(other for other in self.frame.columns if other != name)
        if self.what in others.columns:
            numbered = (f"{self.what}_{n}" for n in range(2, len(others.columns) + 3))
            others = others.rename({self.what: next(other for other in numbered if other not in others.columns)})
        return pl.DataFrame([values.alias(self.what), *others])


@dataclass(frozen=True, eq=False)
class JoinedTable:
    """A side table with a row for each id of a map; see `join`, which makes it.

    Attributes:

        frame: (n_ids) rows in the order of the map, the ids first; null where the table has no row.
        column: the column of the table that held the ids.
        missing: the ids that have no row.
    """

    frame: pl.DataFrame
    column: str
    missing: pl.Series

    def __str__(self) -> str:
        what, n = self.frame.columns[0], len(self.frame)
        text = f"{n - len(self.missing):,} of {n:,} {what}s matched the {what} table by its column {self.column!r}"
        return f"{text}; without a row: {_examples(self.missing)}" if len(self.missing) else text


def join(ids: IdMap, table: Any, what: str, *, id_column: str | None = None) -> JoinedTable:
    """A table of items or users, joined by its column of ids.

    Parameters
    ----------
    ids : IdMap
        The ids that get a row each.
    table : frame or mapping of columns
        A polars, pandas or pyarrow frame, or columns of one length by name.
    what : {"item", "user"}
        What the ids are of.
    id_column : str or None, default=None
        The column of the ids. None takes the column that is usually called so, such as "item", "movieId" or "id",
        wherever it stands; of several, the first that has a known id. Without such a name it takes the first column,
        or the index of a pandas frame where no column has a known id.

    Returns
    -------
    JoinedTable
        A row for each id. Rows of other ids are left out.

    Raises
    ------
    DataError
        For no table, a column that is not there, a row without an id, an id in several rows, and where no id matches.

    Examples
    --------
    >>> joined = join(IdMap.of([7, 9]), {"title": ["Clue"], "movieId": ["9"]}, "item")
    >>> joined.frame.rows()
    [(7, None), (9, 'Clue')]
    >>> print(joined)
    1 of 2 items matched the item table by its column 'movieId'; without a row: 7
    """
    require_threads()
    side = SideTable.of(table, what)
    name = side.id_column(ids) if id_column is None else id_column
    if name not in side.frame.columns and name not in side.index.columns:
        raise DataError(f"the {what} table has no column {name!r}; it has {', '.join(side.frame.columns)}")
    keyed = side.keyed(name)
    rows = ids.rows(keyed[what])
    known = rows[rows >= 0]
    if len(ids) and not len(known):
        raise DataError(_no_match(ids, side, name, keyed[what]))
    twice = np.flatnonzero(np.bincount(known, minlength=len(ids)) > 1)
    if len(twice):
        raise DataError(f"the {what} table has {what} {ids.ids(twice[:1])[0]!r} more than once")
    place = np.full(len(ids), -1, np.int64)
    place[known] = np.flatnonzero(rows >= 0)
    at = pl.Series(place).replace(-1, None)
    frame = pl.DataFrame([ids.all.alias(what), *(column.gather(at) for column in keyed.drop(what))])
    return JoinedTable(frame, name, ids.all.filter(at.is_null()))


def _no_match(ids: IdMap, side: SideTable, name: str, values: pl.Series) -> str:
    """What both sides look like, and a column that does match."""
    what, n = side.what, len(ids)
    if not len(values):
        return f"0 of {n:,} {what}s matched: the {what} table has no rows"
    text = (
        f"0 of {n:,} {what}s matched: column {name!r} of the {what} table holds {_examples(values)}, and the {what}s "
        f"are {_examples(ids.all)}"
    )
    others = [other for other in [*side.frame.columns, *side.index.columns] if side.known(other, ids)]
    if others:
        return f"{text}; column {others[0]!r} matches: id_column={others[0]!r} (on the command line --{what}-id)"
    return f"{text}; write them alike, or name the column of the ids: id_column= (on the command line --{what}-id)"


def _index_of(table: Any) -> pl.DataFrame:
    """The index of a pandas frame as columns; none where it only counts the rows from 0."""
    index = table.index
    if type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1:
        return pl.DataFrame()
    names = [f"index_{at}" if name is None else str(name) for at, name in enumerate(index.names)]
    names = ["index" if name == "index_0" and len(names) == 1 else name for name in names]
    frame = index.to_frame(index=False)
    frame.columns = names
    return as_frame(frame)


def _examples(ids: pl.Series) -> str:
    shown = ", ".join(map(repr, ids.head(SHOWN).to_list()))
    return f"{shown}, ..." if len(ids) > SHOWN else shown
