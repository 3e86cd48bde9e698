"""Tables in JSON lines: one object a line; strings stay strings, numbers stay numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
import polars as pl

from cofactor.arrays import Int64
from cofactor.data.ids import is_unicode
from cofactor.data.readers.casting import object_columns
from cofactor.data.readers.columns import Role
from cofactor.data.readers.files import TextFile, unreadable
from cofactor.data.readers.tables import Batches, Refusals, Rows
from cofactor.data.readers.text_table import text_rows
from cofactor.errors import DataError

__all__ = ["JsonTable", "open_json_table", "whole_json"]

_LOOKED_AT = 1000  # lines whose keys are the columns


@dataclass(frozen=True)
class JsonTable:
    """A file of JSON lines (see `tables.Table` for the attributes)."""

    file: TextFile
    columns: list[str]
    by_place: list[Role] = field(default_factory=list)
    counts: Literal["line", "row"] = "line"
    typed: bool = True

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self.file.path)

    def read(self, roles: Mapping[str, int], most: int | None) -> Rows:
        """Value by value, or 1 and "1" would become one id."""
        refused = Refusals(most)
        batches = Batches.of_objects(list(roles))
        keys = [self.columns[at] for at in roles.values()]
        with unreadable(self.name):
            for line, text, found in _objects(self.file):
                if isinstance(found, str):
                    refused.add(line, found, text)
                else:
                    batches.add(line, [found.get(key) for key in keys])
            columns, lines = batches.finish()
            return Rows(columns, lines, refused, self.file.notes(), self.file.texts)


def open_json_table(file: TextFile) -> JsonTable:
    """The columns are the keys of the first thousand lines, in order. Raises DataError when there are none."""
    keys: dict[str, None] = {}
    reason = "it holds no lines"
    with unreadable(str(file.path)):
        for line, _, found in islice(_objects(file), _LOOKED_AT):
            if isinstance(found, dict):
                keys.update(dict.fromkeys(found))
            else:
                reason = f"line {line} is {found}"
    if not keys:
        raise DataError(f"{file.path} holds no JSON objects: {reason}")
    return JsonTable(file, list(keys))


def whole_json(table: JsonTable, most: int | None) -> tuple[pl.DataFrame, Int64, Refusals]:
    """All columns, the line of each row, and the lines that are no JSON objects, of which `most` are remembered.

    Whole numbers, numbers, true or false, strings and lists are read as such; what is mixed is text.
    """
    rows: list[dict[str, Any]] = []
    lines, refused = [], Refusals(most)
    with unreadable(table.name):
        for line, text, found in _objects(table.file):
            if isinstance(found, str):
                refused.add(line, found, text)
            else:
                rows.append(found)
                lines.append(line)
    keys = dict.fromkeys(key for row in rows for key in row)
    frame = pl.DataFrame([_json_column(key, [row.get(key) for row in rows]) for key in keys])
    return frame, np.array(lines, np.int64), refused


def _json_column(key: str, values: list[Any]) -> pl.Series:
    dtype = _common_type(value for value in values if value is not None)
    if dtype is None and {type(value) for value in values} <= {list, type(None)}:
        inner = _common_type(part for value in values for part in value or ())
        dtype = None if inner is None else pl.List(inner)
    if dtype is not None:
        with suppress(OverflowError, pl.exceptions.PolarsError):  # whole numbers beyond 64 bits
            return pl.Series(key, values, dtype=dtype)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return object_columns({key: texts})[key]


def _common_type(values: Iterable[Any]) -> pl.DataType | None:
    """The type that holds these strings or numbers, String where there is none; None for others and mixed ones."""
    types = {str if isinstance(value, str) and is_unicode(value) else type(value) for value in values}
    if types <= {str}:
        return pl.String()
    if types == {bool}:
        return pl.Boolean()
    if types <= {int, float}:
        return pl.Float64() if float in types else pl.Int64()
    return None


def _objects(file: TextFile) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """Line, text, and the object in it or the reason why there is none."""
    for row in text_rows(file.lines(), "::"):
        if row.fields is None:
            yield row.line, row.text, row.reason
            continue
        try:
            found = json.loads(row.text)
        except (ValueError, RecursionError):
            yield row.line, row.text, "not valid JSON"
            continue
        yield row.line, row.text, found if isinstance(found, dict) else "not a JSON object"
