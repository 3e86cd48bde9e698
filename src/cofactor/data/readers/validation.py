"""Row validation: cast every column strictly, and drop bad rows with a reason for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor.data.id_columns import CodedIds, canonical_ids, float_ids_note
from cofactor.data.interactions import Kind
from cofactor.data.readers.casting import KINDS_OF, Cells, id_cells, number_cells
from cofactor.data.readers.columns import ROLES
from cofactor.data.readers.tables import Rows
from cofactor.data.readers.times import time_cells
from cofactor.data.scale import Scale
from cofactor.kernels.parallel import parallel_map

__all__ = ["Checked", "Ids", "checked"]

Ids: TypeAlias = Literal["auto", "text"]
"""How to read IDs: as integers if the source has integers (or text that is all decimals), or always as text."""


@dataclass(frozen=True)
class Checked:
    """The valid rows of a table.

    Attributes
    ----------
    columns : dict of str to Series or CodedIds
        Columns by role: IDs (Int64, String or coded), value and weight (Float32), time (Int64).
    refused : int
        Number of bad rows.
    reasons : dict of int to str
        Reason by line number, for the stored bad rows.
    notes : tuple of str
        Remarks about the columns for the load report.
    """

    columns: dict[str, pl.Series | CodedIds]
    refused: int
    reasons: dict[int, str]
    notes: tuple[str, ...]


def checked(rows: Rows, *, kind: Kind, scale: Scale | None, ids: Ids, typed: bool, most: int | None) -> Checked:
    """Cast the columns of a table and drop bad rows.

    Columns are removed from `rows` one by one, so that the memory of their text is freed.

    Parameters
    ----------
    rows : Rows
        The rows; the columns are consumed.
    kind : {"ratings", "events"}
        Kind of the table; events must be above 0, weights of ratings must not be negative.
    scale : Scale or None
        Scale that ratings must be on.
    ids : {"auto", "text"}
        Whether integer IDs become strings.
    typed : bool
        False if IDs are text that may hold integers.
    most : int or None
        Maximum number of reasons to store per column; None for all.

    Returns
    -------
    Checked
        The valid rows.

    Raises
    ------
    DataError
        If a column has a type that cannot hold its role.
    """
    n = len(rows.lines)
    roles = [role for role in ROLES if role in rows.columns]
    cast = dict(zip(roles, parallel_map(lambda role: _cast(rows, role, kind, scale, ids), roles), strict=True))
    bad = pl.repeat(False, n, dtype=pl.Boolean, eager=True)
    reasons: dict[int, str] = {}
    columns: dict[str, pl.Series | CodedIds] = {}
    notes: list[str] = []
    for role in roles:
        cells = cast.pop(role)
        columns[role] = cells.values
        notes += cells.notes
        newly_bad = (cells.bad & ~bad).arg_true()
        for row in newly_bad.head(n if most is None else most).to_list():
            reasons[int(rows.lines[row])] = cells.why(row)
        bad = bad | cells.bad
    n_bad = int(bad.sum())
    if n_bad:
        columns = {role: column.filter(~bad) for role, column in columns.items()}
    if not typed and ids != "text":
        for role in ROLES[:2]:
            columns[role], was_float = _canonical(columns[role])
            notes += [float_ids_note(role)] if was_float else []
    return Checked(columns, n_bad, reasons, tuple(notes))


def _canonical(ids: pl.Series | CodedIds) -> tuple[pl.Series | CodedIds, bool]:
    """Convert the IDs of a text file to integers if all of them are; also return whether some are written as floats."""
    assert isinstance(ids, CodedIds)
    distinct = canonical_ids(ids.distinct, parse=True)
    if distinct.dtype == pl.Int64 and bool(ids.distinct.str.contains(".", literal=True).any()):
        return ids.each(distinct), True  # "7" and "7.0" have become one ID
    return replace(ids, distinct=distinct), False


def _cast(rows: Rows, role: str, kind: Kind, scale: Scale | None, ids: Ids) -> Cells:
    """Cast the column of one role."""
    column = rows.columns.pop(role)
    if role == "time":
        return time_cells(column)
    if role == "value":
        return number_cells(column, above_zero=kind == "events", scale=scale)
    if role == "weight":
        return number_cells(column, low=0.0 if kind == "ratings" else -np.inf)
    type_codes = rows.columns.pop(KINDS_OF[role], None)
    return id_cells(column, type_codes, as_text=ids == "text")
