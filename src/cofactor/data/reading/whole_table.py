"""Tables with all their columns, for what is known about items and users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cofactor.arrays import Int64
from cofactor.data.ids import CodedIds
from cofactor.data.reading.cells import as_integers, id_cells
from cofactor.data.reading.check import Ids
from cofactor.data.reading.columns import Role, bare_name, is_number, usual_role
from cofactor.data.reading.files import unreadable
from cofactor.data.reading.frame_table import FrameTable
from cofactor.data.reading.json_table import JsonTable, whole_json
from cofactor.data.reading.open_file import Format, open_file
from cofactor.data.reading.refuse import first_refusal
from cofactor.data.reading.tables import Refusals
from cofactor.data.reading.text_table import TextTable
from cofactor.errors import DataError

__all__ = ["WholeFile", "whole_file"]

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
