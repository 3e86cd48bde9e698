"""Row validation: cast every column strictly, drop bad rows, and record a reason for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor.data.id_columns import CodedIds, canonical_ids, float_ids_note
from cofactor.data.interactions import Kind
from cofactor.data.readers.casting import TYPE_CODE_COLUMNS, Cells, id_cells, number_cells, text_cells
from cofactor.data.readers.columns import ROLES
from cofactor.data.readers.tables import Rows
from cofactor.data.readers.times import time_cells
from cofactor.data.scale import Scale
from cofactor.kernels.parallel import parallel_map

__all__ = ["Ids", "ValidRows", "validate_rows"]

Ids: TypeAlias = Literal["auto", "text"]
"""How to read IDs: as integers if the source has integers (or text that is all decimals), or always as strings."""


@dataclass(frozen=True)
class ValidRows:
    """Columns of the valid rows of a table, with the reasons why the other rows were dropped.

    Attributes
    ----------
    columns : dict of str to Series or CodedIds
        Columns by role: IDs (Int64, String or dictionary-encoded), value and weight (Float32), time (Int64),
        type (String).
    n_rejected : int
        Number of bad rows.
    reasons : dict of int to str
        Reasons by line number, for the stored bad rows.
    notes : tuple of str
        Remarks about the columns for the load report.
    """

    columns: dict[str, pl.Series | CodedIds]
    n_rejected: int
    reasons: dict[int, str]
    notes: tuple[str, ...]


def validate_rows(
    rows: Rows, *, kind: Kind, scale: Scale | None, ids: Ids, is_typed: bool, max_rejected: int | None
) -> ValidRows:
    """Cast the columns of a table and drop bad rows.

    Columns are removed from `rows` one by one to free their memory.

    Parameters
    ----------
    rows : Rows
        The rows; the columns are consumed.
    kind : {"ratings", "events"}
        Kind of the table: events must be above 0, and weights of ratings must not be negative.
    scale : Scale or None
        Scale that ratings must be on.
    ids : {"auto", "text"}
        Whether integer IDs become strings.
    is_typed : bool
        False if IDs are text that can represent integers.
    max_rejected : int or None
        Maximum number of reasons to store per column; None for all.

    Returns
    -------
    Checked
        The valid rows.

    Raises
    ------
    DataError
        If a column has a type that does not suit its role.
    """
    n = len(rows.lines)
    roles = [role for role in ROLES if role in rows.columns]
    cells_by_role = dict(zip(roles, parallel_map(lambda role: _cast(rows, role, kind, scale, ids), roles), strict=True))
    bad = pl.repeat(False, n, dtype=pl.Boolean, eager=True)
    reasons: dict[int, str] = {}
    columns: dict[str, pl.Series | CodedIds] = {}
    notes: list[str] = []
    for role in roles:
        cells = cells_by_role.pop(role)
        columns[role] = cells.values
        notes += cells.notes
        new_bad_rows = (cells.bad & ~bad).arg_true()
        for row in new_bad_rows.head(n if max_rejected is None else max_rejected).to_list():
            reasons[int(rows.lines[row])] = cells.reason(row)
        bad = bad | cells.bad
    n_bad = int(bad.sum())
    if n_bad:
        columns = {role: column.filter(~bad) for role, column in columns.items()}
    if not is_typed and ids != "text":
        for role in ROLES[:2]:
            columns[role], has_floats = _canonical_column(columns[role])
            notes += [float_ids_note(role)] if has_floats else []
    return ValidRows(columns, n_bad, reasons, tuple(notes))


def _canonical_column(ids: pl.Series | CodedIds) -> tuple[pl.Series | CodedIds, bool]:
    """Convert the IDs in a text file to integers if all are integers; also return whether some look like floats."""
    assert isinstance(ids, CodedIds)
    distinct = canonical_ids(ids.distinct, parse=True)
    if distinct.dtype == pl.Int64 and bool(ids.distinct.str.contains(".", literal=True).any()):
        return ids.gather(distinct), True  # "7" and "7.0" have become one ID
    return replace(ids, distinct=distinct), False


def _cast(rows: Rows, role: str, kind: Kind, scale: Scale | None, ids: Ids) -> Cells:
    """Cast the column for one role."""
    column = rows.columns.pop(role)
    if role == "time":
        return time_cells(column)
    if role == "value":
        return number_cells(column, require_positive=kind == "events", scale=scale)
    if role == "type":
        return text_cells(column)
    if role == "weight":
        return number_cells(column, low=0.0 if kind == "ratings" else -np.inf)
    type_codes = rows.columns.pop(TYPE_CODE_COLUMNS[role], None)
    return id_cells(column, type_codes, as_text=ids == "text")
