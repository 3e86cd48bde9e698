"""The reading doors: files, frames and databases become Interactions, or say which row is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import polars as pl

from cofactor import checks
from cofactor.arrays import Int64
from cofactor.data.ids import CodedIds
from cofactor.data.interactions import Interactions
from cofactor.data.readers.casting import as_integers, id_cells
from cofactor.data.readers.columns import ROLES, Role, bare_name, is_number, usual_role
from cofactor.data.readers.files import unreadable
from cofactor.data.readers.frame_table import FrameTable, as_frame
from cofactor.data.readers.json_table import JsonTable, whole_json
from cofactor.data.readers.loading import Format, Request, load_interactions, open_file, source_path
from cofactor.data.readers.rejects import OnError, first_refusal
from cofactor.data.readers.tables import Refusals
from cofactor.data.readers.text_table import TextTable
from cofactor.data.readers.validation import Ids
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["read_events", "read_ratings", "read_table"]


_USUAL = ("id", "name", "title", "genres", "genre", "age", "gender", "year", "category", "tags")


@dataclass(frozen=True, eq=False)
class WholeFile:
    """All columns of a file, and the rows of it that could not be read.

    Attributes:

        name, counts: the path, and what its row numbers count.
        frame: (n) rows with all columns.
        lines: (n,) the line (or row) of each, from 1.
        refused: the rows that could not be read.
        texts: the text of the rows that begin on these lines.
    """

    name: str
    counts: str
    frame: pl.DataFrame
    lines: Int64 | range
    refused: Refusals
    texts: Callable[[Sequence[int]], Mapping[int, str]]

    @property
    def complete(self) -> pl.DataFrame:
        """The frame. Raises DataError where a row could not be read."""
        if self.refused.count:
            raise first_refusal(self.name, self.counts, self.refused.kept[0], self.refused.count)
        return self.frame


def whole_file(path: Path, format: Format | None, *, most: int | None = 1, ids: Ids = "auto") -> WholeFile:  # noqa: A002
    """All columns of a file; of the rows that cannot be read, `most` are remembered, None for all.

    ids: "text" leaves the ids of a text file as they are. Raises DataError for columns of equal names.
    """
    table = open_file(path, format, _by_place)
    with unreadable(table.name):
        if isinstance(table, FrameTable):
            rows = table.read({name: at for at, name in enumerate(table.columns)}, most)
            frame = pl.DataFrame(rows.columns)
            return WholeFile(table.name, table.counts, frame, rows.lines, rows.refused, rows.texts)
        if isinstance(table, JsonTable):
            frame, lines, refused = whole_json(table, most)
            return WholeFile(table.name, table.counts, frame, lines, refused, table.file.texts)
        return _whole_text(table, most, ids)


def with_text_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its columns of ids (by their names, else the first) as text; see `id_cells` for the rules.

    Raises DataError, naming the row, for ids that are not whole numbers and for a column that cannot hold ids.
    """
    for name in _id_columns(frame.columns):
        cells = id_cells(frame[name], as_text=True)
        if (wrong := cells.bad & frame[name].is_not_null()).any():
            row = int(wrong.arg_true()[0])
            raise DataError(f"row {row + 1} of the table: {cells.why(row)}: {frame[name][row]!r}")
        values = cells.values.each(cells.values.distinct) if isinstance(cells.values, CodedIds) else cells.values
        frame = frame.with_columns(values.alias(name))
    return frame


def _id_columns(names: Sequence[str]) -> list[str]:
    return [name for name in names if usual_role(name) in ("user", "item")] or list(names[:1])


def _by_place(first: list[str]) -> list[Role] | None:
    """A first line is a header if a field is a usual name, or if no field is a number."""
    if any(usual_role(field) or bare_name(field).lower() in _USUAL for field in first):
        return None
    return [] if any(is_number(field) for field in first) else None


def _whole_text(table: TextTable, most: int | None, how: Ids) -> WholeFile:
    names = [bare_name(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{table.name}: column {twice!r} is there more than once; rename all but one")
    rows = table.read({str(at): at for at in range(len(names))}, most)
    ids = _id_columns(names)
    columns = [rows.columns[str(at)].alias(name) for at, name in enumerate(names)]
    typed = [
        column.replace("", None) if column.name not in ids else column if how == "text" else as_integers(column)
        for column in columns
    ]
    return WholeFile(table.name, table.counts, pl.DataFrame(typed), rows.lines, rows.refused, rows.texts)


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
    levels: Sequence[float] | None = None,
    on_error: OnError = "raise",
    quarantine: str | Path | None = None,
) -> Interactions:
    """Ratings from a file, a frame or a database; of a pair that occurs twice, the last counts.

        source      a path (CSV, TSV, user::item::rating::time, Parquet, JSON lines; text also as gzip
                    or zstd), a frame (polars, pandas, pyarrow, duckdb), or a database URL with a query
        user, item, value, time, weight
                    column names, where the usual ones are not meant; time="" reads no times. A file
                    without a header has user, item, value[, time] in this order; its columns are
                    called "1", "2", ...
        format      "csv", "tsv", "::", "parquet" or "jsonl", where ending and content do not tell
        query       what to select from the database
        ids         "auto" reads ids as below; "text" reads all of them as text, so that 7 and "7" are one id
        levels      all values a rating can have; others are refused
        on_error      "raise" stops at bad rows with the line and the reason of the first; "quarantine"
                    writes all of them to a file and goes on without them
        quarantine  that file, unless <source>.refused.csv

    Ids of a text file are integers if every one is a canonical decimal (`7`, not `007`), else
    strings; other sources keep their types. Times become whole seconds since 1970: from numbers of
    seconds (or milli-, micro- or nanoseconds, by their size), ISO dates and times (`2023-02-10
    15:41:33+00`; UTC without a zone), and dates written as `20230210`. `.report` of the result says
    what was read, guessed and refused. Raises DataError for what cannot be read, for bad rows, and for
    a table without rows; ParameterError for arguments; MissingExtraError where the library of a
    database is not installed.

    >>> import cofactor, polars as pl
    >>> table = pl.DataFrame({"user": ["ana", "tom"], "item": [7, 7], "rating": [4.5, 2.0]})
    >>> cofactor.read_ratings(table)
    Interactions(2 ratings, 2 users x 1 items)
    >>> cofactor.read_ratings(table, levels=[1, 2, 3, 4, 5])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: the polars table, row 1: the value is not one of the declared levels: 'ana, 7, 4.5'; ...
    """
    scale = None if levels is None else Scale.declared(levels)
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight), strict=True))
    return load_interactions(source, Request("ratings", names, format, query, scale, on_error, quarantine, ids))


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
) -> Interactions:
    """Events (clicks, plays, purchases) from a file, a frame or a database; equal pairs are summed.

    As `read_ratings`, but the value (how often, how much) may be missing and is 1 then. It must be
    above 0; a weight may be negative and marks a dislike. Events without a header are
    user, item[, value][, time]. Raises as `read_ratings`.

    >>> import cofactor, polars as pl
    >>> events = cofactor.read_events(pl.DataFrame({"user": ["ana", "ana"], "item": [7, 7]}))
    >>> events, events.values.tolist()
    (Interactions(1 events, 1 users x 1 items), [2.0])
    """
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight), strict=True))
    return load_interactions(source, Request("events", names, format, query, None, on_error, quarantine, ids))


def read_table(source: Any, *, format: Format | None = None, ids: Ids = "auto") -> pl.DataFrame:  # noqa: A002
    """All columns of an item or user table (titles, genres, ages, ...), from the same files and frames.

    Text files: cells are strings, empty ones null; a column of ids (by its name, else the first one)
    becomes integers if every id is a canonical decimal, as in `read_ratings`; with ids="text" it is text.
    Without a header the columns are "1", "2", ... A header alone gives a frame without rows. Raises DataError for what
    cannot be read, for an empty file, and, naming the line, for bad rows.

    >>> import cofactor, polars as pl
    >>> cofactor.read_table(pl.DataFrame({"item": [7], "title": ["Alien"]})).columns
    ['item', 'title']
    """
    require_threads()
    checks.choice("ids", ids, get_args(Ids))
    path = source_path(source)
    frame = as_frame(source) if path is None else whole_file(path, format, ids=ids).complete
    return frame if ids == "auto" else with_text_ids(frame)
