"""Columns of an item or user table as indicators: is it a comedy, is she a student, was it made before 1990?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Float64, Int64
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.kernels.sparse import SparseRows
from cofactor.validation import validated

__all__ = ["Encoder", "Features", "indicators"]

FEW = 12
"""A column of at most this many different numbers has an indicator for each of them."""
BINS = 10
"""All other columns of numbers are cut into this many bins of about as many rows each."""

PARTS, VALUES, CUTS = "parts", "values", "cuts"


@dataclass(frozen=True, eq=False)
class Features:
    """Indicators, each true for some rows of a table; see `indicators`, which makes them.

        names (m)   "genres=Comedy", "age=24", "year>=1990" (the bin that begins there)
        holders     for each of the m indicators the rows that have it, ascending; every value is 1

    >>> films = pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", "War"]})
    >>> features = indicators(films, ["genres"], "item")
    >>> len(features), features.names
    (2, ('genres=Comedy', 'genres=War'))
    """

    names: tuple[str, ...]
    holders: SparseRows

    def __len__(self) -> int:
        return len(self.names)

    @validated
    def dense(self, n_rows: int) -> Float64:
        """1 where a row has an indicator, else 0: (n_rows, m) float64; n_rows are those of the table.

        >>> films = pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", "War"]})
        >>> indicators(films, ["genres"], "item").dense(2).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
        """
        least = int(self.holders.columns.max(initial=-1)) + 1
        dense = np.zeros((checks.whole_number("n_rows", n_rows, low=least, high=MOST_ROWS), len(self)))
        dense[self.holders.columns, np.repeat(np.arange(len(self)), self.holders.counts)] = 1
        return dense

    @validated
    def shares(self, n_rows: int) -> Float64:
        """Each row's indicators sharing 1 alike: (n_rows, m) float64; a row without any is all 0.

        >>> films = pl.DataFrame({"item": [1, 2], "genres": ["Comedy|War", None]})
        >>> indicators(films, ["genres"], "item").shares(2).tolist()
        [[0.5, 0.5], [0.0, 0.0]]
        """
        dense = self.dense(n_rows)
        shares: Float64 = dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)
        return shares


@dataclass(frozen=True)
class Column:
    """How one column becomes indicators.

    Attributes:

        form: "parts", an indicator for each text; "values", for each number; "cuts", for each bin.
        marks: those texts, or numbers, ascending; a bin begins at its mark.
        labels: what each indicator is called, the column's name apart.
    """

    name: str
    form: str
    marks: tuple[Any, ...]
    labels: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """What each indicator is called, the column's name first: "year=1990", "year>=1990" for a bin."""
        sign = ">=" if self.form == CUTS else "="
        return [f"{self.name}{sign}{label}" for label in self.labels]

    def members(self, column: pl.Series, what: str) -> tuple[Int64, Int64]:
        """Which indicators the rows of a column have: their numbers (k,) int64, and the rows (k,) int64.

        What was never met, and what is missing, has none. Raises DataError for a column of another type.
        """
        if self.form == PARTS:
            parts = _parts(column, what)
            if not self.marks:
                return np.zeros(0, np.int64), np.zeros(0, np.int64)
            place = pl.DataFrame(
                {"part": self.marks, "at": range(len(self.marks))}, schema_overrides={"part": pl.String}
            )
            found = parts.join(place, on="part").sort("at", "row")
            return found["at"].to_numpy().astype(np.int64), found["row"].to_numpy().astype(np.int64)
        numbers = _numbers(column, what)
        rows = np.flatnonzero(np.isfinite(numbers))
        marks = np.array(self.marks, np.float64)
        if not len(marks):
            rows = rows[:0]
        at = np.searchsorted(marks, numbers[rows], side="right") - 1
        if self.form == VALUES:
            rows, at = rows[marks[at] == numbers[rows]], at[marks[at] == numbers[rows]]
        return np.maximum(at, 0).astype(np.int64), rows.astype(np.int64)


@dataclass(frozen=True)
class Encoder:
    """How a table of `what` ("user" or "item") becomes indicators: learnt from one, used on others too.

    >>> films = pl.DataFrame({"item": [1, 2, 3], "genres": ["Comedy|War", "War", None], "year": [1990, 2001, 2001]})
    >>> encoder = Encoder.of(films, ["genres", "year"], "item")
    >>> encoder.names
    ('genres=Comedy', 'genres=War', 'year=1990', 'year=2001')
    >>> encoder.encode(pl.DataFrame({"genres": ["War|Horror"], "year": [1990]})).dense(1).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """

    what: str
    columns: tuple[Column, ...]

    @classmethod
    @validated
    def of(cls, table: pl.DataFrame | None, columns: Sequence[str], what: str) -> Self:
        """For the named columns of a table.

        Texts: one for each part between "|"; lists: one for each member; numbers and dates: one for each of a few
        values (at most 12), else for each of ten bins of about as many rows. A missing value has none; a table without
        rows gives no indicators. Raises DataError where there is no table, no such column (the first one, of ids, is
        none), or one of another type.
        """
        if table is None:
            wanted = ", ".join(columns)
            raise DataError(f"{what}_features names {wanted}, but there is no {what} table to take them from")
        if missing := [name for name in columns if name not in table.columns[1:]]:
            known = ", ".join(table.columns[1:]) or "none"
            raise DataError(f"the {what} table has no column {missing[0]!r} to learn from; it has {known}")
        return cls(what, tuple(_column(table[name], what) for name in columns))

    @property
    def names(self) -> tuple[str, ...]:
        """What every indicator is called, column by column: (m)."""
        return tuple(name for column in self.columns for name in column.names)

    @validated
    def encode(self, table: pl.DataFrame) -> Features:
        """The indicators of a table's rows; what was not met when it was learnt has none.

        Raises DataError where a column is missing or of another type.
        """
        which, rows, first = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
        for column in self.columns:
            if column.name not in table.columns:
                raise DataError(f"the {self.what} table lacks the column {column.name!r}, which was learnt from")
            at, holders = column.members(table[column.name], self.what)
            which.append(at + first)
            rows.append(holders)
            first += len(column.marks)
        members = np.concatenate(rows)
        ones = np.ones(len(members), np.float32)
        return Features(self.names, SparseRows.of(np.concatenate(which), members, ones, first))

    def settings(self) -> dict[str, Any]:
        """As plain JSON values, from which `from_settings` makes the same encoder."""
        each = [{"name": c.name, "form": c.form, "marks": c.marks, "labels": c.labels} for c in self.columns]
        return {"what": self.what, "columns": each}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The encoder whose `settings` these are. Raises KeyError where one is missing.

        >>> encoder = Encoder.of(pl.DataFrame({"item": [1], "genres": ["War"]}), ["genres"], "item")
        >>> Encoder.from_settings(encoder.settings()) == encoder
        True
        """
        each = [_stored_column(column) for column in settings["columns"]]
        return cls(settings["what"], tuple(each))


@validated
def indicators(table: pl.DataFrame | None, columns: Sequence[str], what: str) -> Features:
    """The named columns of a table of `what` ("user" or "item") in row order, as indicators; see `Encoder.of`.

    >>> films = pl.DataFrame({"item": [1, 2, 3], "genres": ["Comedy|War", "War", None]})
    >>> found = indicators(films, ["genres"], "item")
    >>> found.names, found.holders.columns.tolist(), found.holders.counts.tolist()
    (('genres=Comedy', 'genres=War'), [0, 0, 1], [1, 2])
    """
    encoder = Encoder.of(table, columns, what)
    assert table is not None
    return encoder.encode(table)


def _column(column: pl.Series, what: str) -> Column:
    """The marks of a column."""
    if not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        parts = tuple(_parts(column, what)["part"].unique().sort().to_list())
        return Column(column.name, PARTS, parts, parts)
    numbers = _numbers(column, what)
    known = numbers[np.isfinite(numbers)]
    values = np.unique(known)
    few = len(values) <= FEW
    marks = values if few else np.unique(np.quantile(known, np.arange(BINS) / BINS, method="lower"))
    shown = pl.Series(marks).cast(pl.Int64).cast(column.dtype) if column.dtype.is_temporal() else marks
    labels = tuple(f"{mark:g}" if isinstance(mark, float) else str(mark) for mark in shown)
    return Column(column.name, VALUES if few else CUTS, tuple(marks.tolist()), labels)


def _stored_column(settings: Mapping[str, Any]) -> Column:
    """The column that these settings describe. Raises KeyError and DataError."""
    form = checks.plain("form", settings["form"], Literal["parts", "values", "cuts"])
    kind: Any = tuple[str, ...] if form == PARTS else tuple[float, ...]
    marks = checks.plain("marks", settings["marks"], kind)
    labels = checks.plain("labels", settings["labels"], tuple[str, ...])
    if len(marks) != len(labels) or list(marks) != sorted(set(marks)):
        raise DataError("marks must ascend and have a label each")
    return Column(checks.plain("name", settings["name"], str), form, marks, labels)


def _parts(column: pl.Series, what: str) -> pl.DataFrame:
    """The texts of each row: row, part, each pair once."""
    require_threads()
    kind = column.dtype
    if kind == pl.String or kind == pl.Null or isinstance(kind, pl.Categorical | pl.Enum):
        lists = column.cast(pl.String).str.split("|")
    elif isinstance(kind, pl.List | pl.Array):
        lists = column.cast(pl.List(pl.String))
    elif kind == pl.Boolean:
        lists = column.cast(pl.String).to_frame().select(pl.concat_list(pl.all()))[column.name]
    else:
        raise DataError(f"column {column.name!r} of the {what} table holds {kind}, not texts, numbers or lists")
    each = pl.DataFrame({"part": lists}).with_row_index("row").explode("part")
    return each.with_columns(pl.col("part").str.strip_chars()).filter(pl.col("part") != "").unique()


def _numbers(column: pl.Series, what: str) -> Float64:
    """The numbers of a column, dates as theirs; nan where there is none."""
    if not (column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Null):
        raise DataError(f"column {column.name!r} of the {what} table holds {column.dtype}; it held numbers or dates")
    numbers: Float64 = column.to_physical().cast(pl.Float64).to_numpy()
    return numbers
