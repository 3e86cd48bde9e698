"""Public reader functions: load interactions and tables from files, data frames and databases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import polars as pl

from cofactor import checks
from cofactor.arrays import Int64
from cofactor.data.id_columns import canonical_ids
from cofactor.data.interactions import Interactions
from cofactor.data.readers.casting import id_cells
from cofactor.data.readers.columns import ROLES, Role, bare_name, is_number, role_by_name
from cofactor.data.readers.files import read_errors
from cofactor.data.readers.frame_table import FrameTable, as_frame
from cofactor.data.readers.json_table import JsonTable, read_all_columns
from cofactor.data.readers.loading import Format, Request, load_event_types, load_interactions, open_file, source_path
from cofactor.data.readers.rejects import OnError, rejection_error
from cofactor.data.readers.tables import RejectedRows
from cofactor.data.readers.text_table import TextTable
from cofactor.data.readers.validation import Ids
from cofactor.data.scale import Scale
from cofactor.errors import DataError, ParameterError
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["read_event_types", "read_events", "read_ratings", "read_table"]


_COMMON_NAMES = ("id", "name", "title", "genres", "genre", "age", "gender", "year", "category", "tags")


@dataclass(frozen=True, eq=False)
class WholeFile:
    """All columns of a file and its rejected rows.

    Attributes
    ----------
    name : str
        Path of the file.
    row_unit : {"line", "row"}
        Unit of the row numbers.
    frame : DataFrame of n rows
        All columns.
    lines : ndarray or range of length n
        Line (or row) number of each row, from 1.
    rejected : RejectedRows
        Rows that could not be read.
    row_texts : callable
        Function that maps line numbers to the text of the rows that begin there.
    """

    name: str
    row_unit: str
    frame: pl.DataFrame
    lines: Int64 | range
    rejected: RejectedRows
    row_texts: Callable[[Sequence[int]], Mapping[int, str]]

    @property
    def complete(self) -> pl.DataFrame:
        """All rows of the file as a data frame; raises DataError if any row was rejected.

        Raises
        ------
        DataError
            If a row was rejected.
        """
        if self.rejected.count:
            raise rejection_error(self.name, self.row_unit, self.rejected.stored[0], self.rejected.count)
        return self.frame


def read_whole_file(path: Path, format: Format | None, *, max_rejected: int | None = 1, ids: Ids = "auto") -> WholeFile:  # noqa: A002
    """Read all columns of a file.

    Parameters
    ----------
    path : Path
        Path of the file.
    format : str or None
        File format; None detects it.
    max_rejected : int or None, default 1
        Maximum number of rejected rows to store; None for all.
    ids : {"auto", "text"}, default "auto"
        Whether IDs in a text file become integers if all are canonical decimals, or remain strings.

    Returns
    -------
    WholeFile
        The columns and the rejected rows.

    Raises
    ------
    DataError
        If the file cannot be read, or two columns have the same name.
    """
    table = open_file(path, format, _first_row_roles)
    with read_errors(table.name):
        if isinstance(table, FrameTable):
            rows = table.read({name: k for k, name in enumerate(table.columns)}, max_rejected)
            frame = pl.DataFrame(rows.columns)
            return WholeFile(table.name, table.row_unit, frame, rows.lines, rows.rejected, rows.row_texts)
        if isinstance(table, JsonTable):
            frame, lines, rejected = read_all_columns(table, max_rejected)
            return WholeFile(table.name, table.row_unit, frame, lines, rejected, table.file.row_texts)
        return _read_whole_text(table, max_rejected, ids)


def with_text_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert the ID columns of a frame to strings.

    ID columns are those with a common name, or else the first column; they are converted by `id_cells`.

    Parameters
    ----------
    frame : DataFrame
        Any frame.

    Returns
    -------
    DataFrame
        The frame with string IDs.

    Raises
    ------
    DataError
        If an ID is not an integer or a string (the message names the row), or a column cannot contain IDs.
    """
    for name in _id_columns(frame.columns):
        cells = id_cells(frame[name], as_text=True)
        if (is_invalid := cells.bad & frame[name].is_not_null()).any():
            row = int(is_invalid.arg_true()[0])
            raise DataError(f"row {row + 1} of the table: {cells.reason(row)}: {frame[name][row]!r}")
        frame = frame.with_columns(cells.column.alias(name))
    return frame


def _id_columns(names: Sequence[str]) -> list[str]:
    """Return the names of the ID columns, or the first name if no column has a common name."""
    return [name for name in names if role_by_name(name) in ("user", "item")] or list(names[:1])


def _first_row_roles(first: list[str]) -> list[Role] | None:
    """Return None for a header (a line with a common name or without any number), otherwise an empty list."""
    if any(role_by_name(field) or bare_name(field).lower() in _COMMON_NAMES for field in first):
        return None
    return [] if any(is_number(field) for field in first) else None


def _read_whole_text(table: TextTable, max_rejected: int | None, id_mode: Ids) -> WholeFile:
    """Read all columns of a text file."""
    names = [bare_name(name) for name in table.columns]
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{table.name}: column {duplicate!r} occurs more than once; rename all but one")
    rows = table.read({str(k): k for k in range(len(names))}, max_rejected)
    id_names = _id_columns(names)
    columns = [rows.columns[str(k)].alias(name).replace("", None) for k, name in enumerate(names)]
    typed_columns = [
        canonical_ids(column, parse=True) if column.name in id_names and id_mode == "auto" else column
        for column in columns
    ]
    return WholeFile(table.name, table.row_unit, pl.DataFrame(typed_columns), rows.lines, rows.rejected, rows.row_texts)


@validated
def read_ratings(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    format: Format | None = None,  # noqa: A002
    query: str | None = None,
    ids: Ids = "auto",
    rating_levels: Sequence[float] | None = None,
    on_error: OnError = "raise",
    quarantine: str | Path | None = None,
    into: str | Path | None = None,
) -> Interactions:
    """Read ratings from a file, a data frame or a database.

    If a user rated an item more than once, the latest rating is kept.

    Parameters
    ----------
    source : path, data frame or URL
        A file (CSV, TSV, `user::item::rating::time`, Parquet or JSON lines; text files also as gzip or zstd; or a table
        file), a frame (polars, pandas, pyarrow, duckdb), or a database URL together with `query`.
    user, item, value, time, weight : str or None, default None
        Column names; None selects columns with common names, and `time=""` ignores times. A file without a header has
        the columns user, item, value[, time] in this order; their names are "1", "2", ...
    format : {"csv", "tsv", "::", "parquet", "jsonl"} or None, default None
        File format; None detects it from the content and the file name.
    query : str or None, default None
        SQL query for a database.
    ids : {"auto", "text"}, default "auto"
        "auto" reads the IDs of a text file as integers if all are canonical decimals (`7`, not `007`) or integer-valued
        with a point (`7.0`, as pandas writes them), else as strings, and keeps the types of other sources, where the
        number 7.0 is the integer 7. "text" reads all IDs as strings, so that 7 and "7" are the same ID.
    rating_levels : sequence of float or None, default None
        All values that a rating can take; rows with other values are rejected. None infers the scale from the data.
    on_error : {"raise", "quarantine"}, default "raise"
        "raise" raises an error for the first bad row; "quarantine" writes all bad rows to a file and continues without
        them.
    quarantine : str, Path or None, default None
        File for rejected rows; None means `<source>.rejected.csv`. Required for frames and databases.
    into : str, Path or None, default None
        Table file to write, such as `ratings.cofactor`. The source is read in chunks, so that it can be larger than the
        memory (JSON Lines, compressed files and frames are read at once), and the arrays of the table are mapped from
        the file. Later, pass this file as the source.

    Returns
    -------
    Interactions
        The ratings. Their `report` lists row counts, inferred columns and rejected rows.

    Raises
    ------
    DataError
        If the source cannot be read, has no rows, or has bad rows with `on_error="raise"`; the message names the row.
    ParameterError
        If an argument is invalid.
    MissingExtraError
        If the required database library is not installed.

    Notes
    -----
    Times are converted to integer seconds since the Unix epoch. They can be numbers (seconds, milli-, micro- or
    nanoseconds, depending on their magnitude), ISO dates and times (`2023-02-10 15:41:33+00`; UTC without a zone), or
    dates written as `20230210`.

    Examples
    --------
    >>> import cofactor, polars as pl
    >>> table = pl.DataFrame({"user": ["ana", "tom"], "item": [7, 7], "rating": [4.5, 2.0]})
    >>> cofactor.read_ratings(table)
    Interactions(2 ratings, 2 users x 1 items)
    >>> cofactor.read_ratings(table, rating_levels=[1, 2, 3, 4, 5])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: the polars table, row 1: the value is not one of the declared levels: 'ana, 7, 4.5'; ...
    """
    scale = None if rating_levels is None else Scale.from_levels(rating_levels)
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight, ""), strict=True))
    request = Request("ratings", names, format, query, scale, on_error, quarantine, ids, into)
    return load_interactions(source, request)


@validated
def read_events(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    format: Format | None = None,  # noqa: A002
    query: str | None = None,
    ids: Ids = "auto",
    on_error: OnError = "raise",
    quarantine: str | Path | None = None,
    into: str | Path | None = None,
) -> Interactions:
    """Read events (clicks, plays, purchases) from a file, a data frame or a database.

    Events for the same user-item pair are summed. Estimators transform the sums; see their setting `counts`.

    Parameters
    ----------
    source : path, data frame or URL
        As in `read_ratings`.
    user, item, value, time, weight : str or None, default None
        Column names, as in `read_ratings`. If there is no value (a count or an amount above 0), it is 1; None also
        accepts a column named weight as the value if all its numbers are above 0, because play counts are often named
        so. A negative weight marks a dislike. A file without a header has the columns user, item[, value][, time] in
        this order.
    format : {"csv", "tsv", "::", "parquet", "jsonl"} or None, default None
        File format; None detects it from the content and the file name.
    query : str or None, default None
        SQL query for a database.
    ids : {"auto", "text"}, default "auto"
        How to read IDs, as in `read_ratings`.
    on_error : {"raise", "quarantine"}, default "raise"
        What to do with bad rows, as in `read_ratings`.
    quarantine : str, Path or None, default None
        File for rejected rows, as in `read_ratings`.
    into : str, Path or None, default None
        Table file to write, as in `read_ratings`.

    Returns
    -------
    Interactions
        The events. Their `report` lists row counts, inferred columns and rejected rows.

    Raises
    ------
    DataError, ParameterError, MissingExtraError
        As in `read_ratings`.

    Examples
    --------
    >>> import cofactor, polars as pl
    >>> events = cofactor.read_events(pl.DataFrame({"user": ["ana", "ana"], "item": [7, 7]}))
    >>> events, events.values.tolist()
    (Interactions(1 events, 1 users x 1 items), [2.0])
    """
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight, ""), strict=True))
    request = Request("events", names, format, query, None, on_error, quarantine, ids, into)
    return load_interactions(source, request)


@validated
def read_event_types(
    source: Any,
    *,
    event_type: str,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    format: Format | None = None,  # noqa: A002
    query: str | None = None,
    ids: Ids = "auto",
    on_error: OnError = "raise",
    quarantine: str | Path | None = None,
) -> dict[str, Interactions]:
    """Read events of several types, such as views and purchases, as one table for each type.

    Parameters
    ----------
    source : path, data frame or URL
        As in `read_ratings`.
    event_type : str
        Name of the column with the type of each event; types are compared as strings.
    user, item, value, time, weight : str or None, default None
        Column names, as in `read_events`.
    format : {"csv", "tsv", "::", "parquet", "jsonl"} or None, default None
        File format; None detects it from the content and the file name.
    query : str or None, default None
        SQL query for a database.
    ids : {"auto", "text"}, default "auto"
        How to read IDs, as in `read_ratings`.
    on_error : {"raise", "quarantine"}, default "raise"
        What to do with bad rows, as in `read_ratings`.
    quarantine : str, Path or None, default None
        File for rejected rows, as in `read_ratings`.

    Returns
    -------
    dict of str to Interactions
        Events by type, the most frequent type first. Combine them with `combine_events`.

    Raises
    ------
    DataError, ParameterError, MissingExtraError
        As in `read_ratings`.

    Examples
    --------
    >>> import cofactor, polars as pl
    >>> log = pl.DataFrame({"user": ["ana", "ana", "bo"], "item": [7, 7, 8], "event": ["view", "purchase", "view"]})
    >>> cofactor.read_event_types(log, event_type="event")
    {'view': Interactions(2 events, 2 users x 2 items), 'purchase': Interactions(1 events, 1 users x 1 items)}
    """
    event_type = checks.text("event_type", event_type)
    if not event_type:
        raise ParameterError("event_type must name the column with the types of the events")
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight, event_type), strict=True))
    return load_event_types(source, Request("events", names, format, query, None, on_error, quarantine, ids))


def read_table(source: Any, *, format: Format | None = None, ids: Ids = "auto") -> pl.DataFrame:  # noqa: A002
    """Read an item or user table with all of its columns, such as titles, genres or ages.

    Cells of text files are strings; empty cells are null. Files without a header have the columns "1", "2", ...

    Parameters
    ----------
    source : path or data frame
        A file or frame as in `read_ratings`.
    format : {"csv", "tsv", "::", "parquet", "jsonl"} or None, default None
        File format; None detects it from the content and the file name.
    ids : {"auto", "text"}, default "auto"
        How to read ID columns (those with a common name, or else the first column). "auto" reads the IDs in a text file
        as integers if all are canonical decimals; "text" reads all IDs as strings.

    Returns
    -------
    DataFrame
        The table; it has no rows if the file has only a header.

    Raises
    ------
    DataError
        If the source cannot be read, is an empty file, or has bad rows; the message names the line.

    Examples
    --------
    >>> import cofactor, polars as pl
    >>> cofactor.read_table(pl.DataFrame({"item": [7], "title": ["Alien"]})).columns
    ['item', 'title']
    """
    require_threads()
    checks.choice("ids", ids, get_args(Ids))
    path = source_path(source)
    frame = as_frame(source) if path is None else read_whole_file(path, format, ids=ids).complete
    return frame if ids == "auto" else with_text_ids(frame)
