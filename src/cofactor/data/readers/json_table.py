"""JSON Lines files: one object per line; strings and numbers keep their types."""

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
from cofactor.data.id_columns import is_unicode
from cofactor.data.readers.casting import object_columns
from cofactor.data.readers.columns import Role
from cofactor.data.readers.files import TextFile, read_errors
from cofactor.data.readers.tables import Batches, RejectedRows, Rows
from cofactor.data.readers.text_table import text_rows
from cofactor.errors import DataError

__all__ = ["JsonTable", "open_json_table", "read_all_columns"]

_SAMPLE_LINES = 1000  # the keys of the first lines are the columns


@dataclass(frozen=True)
class JsonTable:
    """JSON Lines file; implements `tables.Table`.

    Attributes
    ----------
    file : TextFile
        The file.
    columns, positional_roles, row_unit, is_typed : see `tables.Table`
        The attributes of every table.
    """

    file: TextFile
    columns: list[str]
    positional_roles: list[Role] = field(default_factory=list)
    row_unit: Literal["line", "row"] = "line"
    is_typed: bool = True

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.file.path)

    def read(self, roles: Mapping[str, int], max_rejected: int | None) -> Rows:
        """Read the chosen keys of each object.

        Cells are collected as Python objects, because the IDs 1 and "1" must remain distinct.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store; None for all.

        Returns
        -------
        Rows
            The columns; lines that are not JSON objects are rejected.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        rejected = RejectedRows(max_rejected)
        batches = Batches.of_objects(list(roles))
        keys = [self.columns[position] for position in roles.values()]
        with read_errors(self.name):
            for line, text, record in _objects(self.file):
                if isinstance(record, str):
                    rejected.add(line, record, text)
                else:
                    batches.add(line, [record.get(key) for key in keys])
            columns, lines = batches.finish()
            return Rows(columns, lines, rejected, self.file.notes(), self.file.row_texts)

    def chunks(self, roles: Mapping[str, int], max_rejected: int | None) -> Iterator[Rows]:
        """Read all rows as one chunk.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store; None for all.

        Yields
        ------
        Rows
            The columns.
        """
        yield self.read(roles, max_rejected)


def open_json_table(file: TextFile) -> JsonTable:
    """Open a JSON Lines file, using the keys in its first thousand lines as columns.

    Parameters
    ----------
    file : TextFile
        The file.

    Returns
    -------
    JsonTable
        The table.

    Raises
    ------
    DataError
        If these lines contain no JSON object with a key.
    """
    keys: dict[str, None] = {}
    reason = "it has no lines"
    with read_errors(str(file.path)):
        for line, _, record in islice(_objects(file), _SAMPLE_LINES):
            if isinstance(record, dict):
                keys.update(dict.fromkeys(record))
            else:
                reason = f"line {line} is {record}"
    if not keys:
        raise DataError(f"{file.path} contains no JSON objects: {reason}")
    return JsonTable(file, list(keys))


def read_all_columns(table: JsonTable, max_rejected: int | None) -> tuple[pl.DataFrame, Int64, RejectedRows]:
    """Read all columns of a JSON Lines file.

    Columns of integers, floats, booleans, strings or lists keep their type; columns of mixed types become strings.

    Parameters
    ----------
    table : JsonTable
        The file.
    max_rejected : int or None
        Maximum number of rejected lines to store; None for all.

    Returns
    -------
    frame : DataFrame of n rows
        All columns.
    lines : ndarray of shape (n,), int64
        Line number of each row, from 1.
    rejected : RejectedRows
        Lines that are not JSON objects.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    lines, rejected = [], RejectedRows(max_rejected)
    with read_errors(table.name):
        for line, text, record in _objects(table.file):
            if isinstance(record, str):
                rejected.add(line, record, text)
            else:
                rows.append(record)
                lines.append(line)
    keys = dict.fromkeys(key for row in rows for key in row)
    frame = pl.DataFrame([_json_column(key, [row.get(key) for row in rows]) for key in keys])
    return frame, np.array(lines, np.int64), rejected


def _json_column(key: str, values: list[Any]) -> pl.Series:
    """Convert the values of one key to a column; mixed types become strings."""
    dtype = _common_type(value for value in values if value is not None)
    if dtype is None and {type(value) for value in values} <= {list, type(None)}:
        inner = _common_type(part for value in values for part in value or ())
        dtype = None if inner is None else pl.List(inner)
    if dtype is not None:
        with suppress(OverflowError, pl.exceptions.PolarsError):  # integers beyond 64 bits
            return pl.Series(key, values, dtype=dtype)
    row_texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return object_columns({key: row_texts})[key]


def _common_type(values: Iterable[Any]) -> pl.DataType | None:
    """Return the common polars type of values: String if there are none, None for other or mixed types."""
    types = {str if isinstance(value, str) and is_unicode(value) else type(value) for value in values}
    if types <= {str}:
        return pl.String()
    if types == {bool}:
        return pl.Boolean()
    if types <= {int, float}:
        return pl.Float64() if float in types else pl.Int64()
    return None


def _objects(file: TextFile) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """Iterate over (line, text, object), with an error reason instead of the object for invalid lines."""
    for row in text_rows(file.lines(), "::"):
        if row.fields is None:
            yield row.line, row.text, row.reason
            continue
        try:
            value = json.loads(row.text)
        except (ValueError, RecursionError):
            yield row.line, row.text, "not valid JSON"
            continue
        yield row.line, row.text, value if isinstance(value, dict) else "not a JSON object"
