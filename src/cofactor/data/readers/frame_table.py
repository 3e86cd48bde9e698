"""Data frames: in-memory tables from polars, pandas, pyarrow, duckdb and other libraries with Arrow export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import polars as pl

from cofactor.data.readers.casting import object_columns
from cofactor.data.readers.columns import Role
from cofactor.data.readers.files import read_errors
from cofactor.data.readers.tables import RejectedRows, Rows
from cofactor.errors import DataError

__all__ = ["ArrowFrame", "FrameTable", "as_frame", "open_frame", "typed_rows"]

CHUNK_ROWS = 1 << 22
"""Number of rows of a chunk."""


@runtime_checkable
class ArrowFrame(Protocol):
    """Protocol of data frames with Arrow export, such as those of polars, pandas, pyarrow and duckdb."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the frame as an Arrow stream in a PyCapsule."""


@dataclass(frozen=True)
class FrameTable:
    """Table of typed columns; implements `tables.Table`.

    Attributes
    ----------
    take : callable
        Function that maps column positions by role to columns by role.
    advice : str, default ""
        Advice in case a column is missing, to be appended to a message.
    take_rows : callable or None, default None
        Function that maps column positions by role, the first row and a number of rows to these rows of the columns;
        None for a frame in memory.
    name, columns, positional_roles, row_unit, is_typed : see `tables.Table`
        The attributes of every table.
    """

    name: str
    columns: list[str]
    take: Callable[[Mapping[str, int]], Mapping[str, pl.Series]]
    positional_roles: list[Role] = field(default_factory=list)
    row_unit: Literal["line", "row"] = "row"
    is_typed: bool = True
    advice: str = ""
    take_rows: Callable[[Mapping[str, int], int, int], Mapping[str, pl.Series]] | None = None

    def read(self, roles: Mapping[str, int], max_rejected: int | None) -> Rows:
        """Return the chosen columns without conversion.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role; at least one.
        max_rejected : int or None
            Maximum number of rejected rows to store; no row is rejected here.

        Returns
        -------
        Rows
            The columns.

        Raises
        ------
        DataError
            If the columns cannot be read.
        """
        with read_errors(self.name):
            columns = dict(self.take(roles))
        return typed_rows(columns, list(roles), 0, max_rejected)

    def chunks(self, roles: Mapping[str, int], max_rejected: int | None) -> Iterator[Rows]:
        """Read the chosen columns in chunks of about four million rows; a frame in memory is one chunk.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role; at least one.
        max_rejected : int or None
            Maximum number of rejected rows to store; no row is rejected here.

        Yields
        ------
        Rows
            The columns of one chunk.

        Raises
        ------
        DataError
            If the columns cannot be read.
        """
        if self.take_rows is None:
            yield self.read(roles, max_rejected)
            return
        first, n = 0, CHUNK_ROWS
        while n == CHUNK_ROWS:
            with read_errors(self.name):
                columns = dict(self.take_rows(roles, first, CHUNK_ROWS))
            n = len(next(iter(columns.values())))
            if n or not first:
                yield typed_rows(columns, list(roles), first, max_rejected)
            first += n


def typed_rows(columns: dict[str, pl.Series], roles: Sequence[str], first: int, max_rejected: int | None) -> Rows:
    """Return typed columns as rows of which none is rejected.

    Parameters
    ----------
    columns : dict of str to Series of shape (n,)
        Columns by role.
    roles : sequence of str
        Roles in the order of the text of a row.
    first : int
        Number of rows before these.
    max_rejected : int or None
        Maximum number of rejected rows to store.

    Returns
    -------
    Rows
        The rows, numbered from `first` + 1.
    """
    selected_columns = [columns[role] for role in roles]

    def row_texts(lines: Sequence[int]) -> dict[int, str]:
        return {line: ", ".join(str(column[line - first - 1]) for column in selected_columns) for line in lines}

    n = len(selected_columns[0])
    return Rows(columns, range(first + 1, first + n + 1), RejectedRows(max_rejected), (), row_texts)


def open_frame(source: Any) -> FrameTable:
    """Open an in-memory data frame.

    Parameters
    ----------
    source : object
        A polars, pandas, pyarrow or duckdb frame, or any other object with Arrow export.

    Returns
    -------
    FrameTable
        The table.

    Raises
    ------
    DataError
        If the object is not a frame.
    """
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return _open_pandas(source)
    frame = as_frame(source)
    name = f"the {type(source).__module__.partition('.')[0]} table"

    def take(roles: Mapping[str, int]) -> dict[str, pl.Series]:
        columns = {role: frame.to_series(position).alias(role) for role, position in roles.items()}
        objects = {role: column.to_list() for role, column in columns.items() if column.dtype == pl.Object}
        return {**columns, **object_columns(objects)}

    return FrameTable(name, frame.columns, take)


def as_frame(source: Any) -> pl.DataFrame:
    """Convert a data frame to polars, without copying if Arrow allows it.

    Parameters
    ----------
    source : object
        A polars, pandas, pyarrow or duckdb frame, or any other object with Arrow export.

    Returns
    -------
    DataFrame
        The frame; a polars DataFrame is returned unchanged.

    Raises
    ------
    DataError
        If the object is not a frame, or cannot be converted.
    """
    if isinstance(source, pl.DataFrame):
        return source
    if hasattr(source, "to_frame") and not hasattr(source, "columns"):
        hint = "; series.reset_index() creates one from its index and values" if hasattr(source, "index") else ""
        raise DataError(f"source: cannot read a table from a Series; pass a frame{hint}")
    with read_errors("the table"):
        if isinstance(source, pl.LazyFrame):
            return source.collect()
        if isinstance(source, ArrowFrame) or hasattr(source, "iloc"):
            try:
                return _from_arrow(source)
            except (TypeError, ValueError, NotImplementedError, ImportError) as error:
                raise DataError(f"the data frame cannot be converted to Arrow: {error}") from error
    raise DataError(
        f"source: cannot read a table from {type(source).__name__}; pass a path, a database URL with query=, "
        "or a frame (polars, pandas, pyarrow, duckdb)"
    )


def _from_arrow(source: Any) -> pl.DataFrame:
    """Convert a frame through Arrow; times in zones that polars does not support, such as +05:30, become UTC."""
    try:
        return pl.DataFrame(source)
    except pl.exceptions.ComputeError:
        if hasattr(source, "iloc"):
            return pl.DataFrame(source.assign(**{name: _in_utc(source[name]) for name in source.columns}))
        import pyarrow as pa

        table = pa.table(source)
        fields = [
            column.with_type(pa.timestamp(column.type.unit, "UTC"))
            if pa.types.is_timestamp(column.type) and column.type.tz
            else column
            for column in table.schema
        ]
        return pl.DataFrame(table.cast(pa.schema(fields)))


def _in_utc(column: Any) -> Any:
    """Convert the times of a pandas column to UTC if they have a time zone."""
    arrow = getattr(column.dtype, "pyarrow_dtype", None)
    zone = getattr(column.dtype, "tz", None) or getattr(arrow, "tz", None)
    return column if zone is None else column.dt.tz_convert("UTC")


def _open_pandas(source: Any) -> FrameTable:
    """Open a pandas frame; object columns are converted cell by cell."""
    columns = [str(name) for name in source.columns]
    index = [str(name) for name in source.index.names if name is not None]

    def take(roles: Mapping[str, int]) -> dict[str, pl.Series]:
        columns_by_role: dict[str, pl.Series] = {}
        for role, position in roles.items():
            column = source.iloc[:, position]
            if column.dtype == object:
                columns_by_role.update(object_columns({role: column.tolist()}))
                continue
            try:
                frame = _in_utc(column).to_frame(role).reset_index(drop=True)
                columns_by_role[role] = pl.DataFrame(frame).to_series(0)
            except (TypeError, ValueError, NotImplementedError, ImportError):  # types without Arrow conversion
                columns_by_role.update(object_columns({role: column.tolist()}))
        return columns_by_role

    advice = (
        f"; its index contains {', '.join(map(repr, index))}: frame.reset_index() converts it to columns"
        if index
        else ""
    )
    return FrameTable("the pandas table", columns, take, advice=advice)
