"""Tables with all their columns, for what is known about items and users."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cofactor.data.reading.cells import as_integers
from cofactor.data.reading.columns import Role, bare_name, is_number, usual_role
from cofactor.data.reading.files import unreadable
from cofactor.data.reading.frame_table import FrameTable
from cofactor.data.reading.json_table import JsonTable, whole_json
from cofactor.data.reading.open_file import Format, open_file
from cofactor.data.reading.refuse import first_refusal
from cofactor.data.reading.text_table import TextTable
from cofactor.errors import DataError

__all__ = ["whole_file"]

_USUAL = ("id", "name", "title", "genres", "genre", "age", "gender", "year", "category", "tags")


def whole_file(path: Path, format: Format | None) -> pl.DataFrame:  # noqa: A002
    """All columns of a file. Raises DataError for bad rows and for columns of equal names."""
    table = open_file(path, format, _by_place)
    with unreadable(table.name):
        if isinstance(table, FrameTable):
            return pl.DataFrame(dict(table.take({name: at for at, name in enumerate(table.columns)})))
        if isinstance(table, JsonTable):
            return whole_json(table)
        return _whole_text(table)


def _by_place(first: list[str]) -> list[Role] | None:
    """A first line is a header if a field is a usual name, or if no field is a number."""
    if any(usual_role(field) or bare_name(field).lower() in _USUAL for field in first):
        return None
    return [] if any(is_number(field) for field in first) else None


def _whole_text(table: TextTable) -> pl.DataFrame:
    names = [bare_name(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{table.name}: column {twice!r} is there more than once; rename all but one")
    rows = table.read({str(at): at for at in range(len(names))}, 1)
    if rows.refused.count:
        raise first_refusal(table.name, table.counts, rows.refused.kept[0], rows.refused.count)
    ids = [name for name in names if usual_role(name) in ("user", "item")] or names[:1]
    columns = [rows.columns[str(at)].alias(name) for at, name in enumerate(names)]
    return pl.DataFrame([as_integers(column) if column.name in ids else column.replace("", None) for column in columns])
