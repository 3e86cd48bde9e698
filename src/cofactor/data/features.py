"""Columns of an item or user table as indicators: is it a comedy, is she a student, was it made before 1990?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cofactor.arrays import SparseRows
from cofactor.errors import DataError

__all__ = ["Features", "indicators"]

FEW = 12
"""A column of at most this many different numbers has an indicator for each of them."""
BINS = 10
"""All other columns of numbers are cut into this many bins of about as many rows each."""


@dataclass(frozen=True, eq=False)
class Features:
    """Indicators, each true for some rows of a table.

    names (m): "genres=Comedy", "age=24", "year>=1990" (the bin that begins there)
    holders: for each of the m indicators the rows that have it, ascending; every value is 1
    """

    names: tuple[str, ...]
    holders: SparseRows

    def __len__(self) -> int:
        return len(self.names)


def indicators(table: pl.DataFrame | None, columns: Sequence[str], what: str) -> Features:
    """The named columns of a table of `what` ("user" or "item") in row order, as indicators.

    Texts: one for each part between "|"; lists: one for each member; numbers and dates: one for each of a few values,
    else for each of ten bins of about as many rows. A missing value has none. Raises DataError where there is no
    table, no such column, or one of another type.

    >>> films = pl.DataFrame({"item": [1, 2, 3], "genres": ["Comedy|War", "War", None]})
    >>> found = indicators(films, ["genres"], "item")
    >>> found.names, found.holders.columns.tolist(), found.holders.counts.tolist()
    (('genres=Comedy', 'genres=War'), [0, 0, 1], [1, 2])
    """
    if table is None:
        raise DataError(f"{what}_features names {', '.join(columns)}, but there is no {what} table to take them from")
    if missing := [name for name in columns if name not in table.columns[1:]]:
        known = ", ".join(table.columns[1:]) or "none"
        raise DataError(f"the {what} table has no column {missing[0]!r} to learn from; it has {known}")
    names: list[str] = []
    which, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for column in columns:
        for name, holders in _members(table[column], what):
            which.append(np.full(len(holders), len(names)))
            rows.append(holders)
            names.append(name)
    members = np.concatenate(rows)
    return Features(
        tuple(names),
        SparseRows.of(np.concatenate(which), members, np.ones(len(members), np.float32), len(names)),
    )


def _members(column: pl.Series, what: str) -> Iterator[tuple[str, np.ndarray]]:
    """The name of each indicator of a column, and the rows that have it."""
    kind = column.dtype
    if kind.is_numeric() or kind.is_temporal():
        yield from _number_members(column)
        return
    if kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum):
        lists = column.cast(pl.String).str.split("|")
    elif isinstance(kind, pl.List | pl.Array):
        lists = column.cast(pl.List(pl.String))
    elif kind == pl.Boolean:
        lists = column.cast(pl.String).to_frame().select(pl.concat_list(pl.all()))[column.name]
    else:
        raise DataError(f"column {column.name!r} of the {what} table holds {kind}, not texts, numbers or lists")
    each = pl.DataFrame({"part": lists}).with_row_index("row").explode("part")
    each = each.with_columns(pl.col("part").str.strip_chars()).filter(pl.col("part") != "").unique()
    for (part,), rows in sorted(each.partition_by("part", as_dict=True).items()):
        yield f"{column.name}={part}", rows["row"].to_numpy().astype(np.int64)


def _number_members(column: pl.Series) -> Iterator[tuple[str, np.ndarray]]:
    numbers = column.to_physical().cast(pl.Float64).to_numpy()
    known = np.flatnonzero(np.isfinite(numbers))
    values = np.unique(numbers[known])
    few = len(values) <= FEW
    begins = values if few else np.unique(np.quantile(numbers[known], np.arange(BINS) / BINS, method="lower"))
    which = np.searchsorted(begins, numbers[known], side="right") - 1
    shown = pl.Series(begins).cast(pl.Int64).cast(column.dtype) if column.dtype.is_temporal() else begins
    for place, begin in enumerate(shown):
        label = f"{begin:g}" if isinstance(begin, float) else str(begin)
        yield f"{column.name}{'=' if few else '>='}{label}", known[which == place]
