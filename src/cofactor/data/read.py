"""The reading doors: files, frames and databases become Interactions, or say which row is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import polars as pl

from cofactor import checks
from cofactor.data.interactions import Interactions
from cofactor.data.reading.check import Ids
from cofactor.data.reading.columns import ROLES
from cofactor.data.reading.frame_table import as_frame
from cofactor.data.reading.intake import Request, load_interactions, source_path
from cofactor.data.reading.open_file import Format
from cofactor.data.reading.refuse import OnBad
from cofactor.data.reading.whole_table import whole_file, with_text_ids
from cofactor.data.scale import Scale
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["read_events", "read_ratings", "read_table"]


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
    on_bad: OnBad = "raise",
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
        on_bad      "raise" stops at bad rows with the line and the reason of the first; "quarantine"
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
    return load_interactions(source, Request("ratings", names, format, query, scale, on_bad, quarantine, ids))


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
    on_bad: OnBad = "raise",
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
    return load_interactions(source, Request("events", names, format, query, None, on_bad, quarantine, ids))


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
