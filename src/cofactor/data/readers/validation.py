"""Which rows can be used: every column cast strictly, every bad row with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor.data.ids import CodedIds
from cofactor.data.interactions import Kind
from cofactor.data.readers.casting import KINDS_OF, Cells, as_integers, id_cells, number_cells
from cofactor.data.readers.columns import ROLES
from cofactor.data.readers.tables import Rows
from cofactor.data.readers.times import time_cells
from cofactor.data.scale import Scale
from cofactor.kernels.parallel import results_of

__all__ = ["Checked", "Ids", "checked"]

Ids: TypeAlias = Literal["auto", "text"]
"""How ids are read: as integers where the source has integers (or only decimals as text), or always as text."""


@dataclass(frozen=True)
class Checked:
    """The good rows of a table.

    Attributes:

        columns: by role: ids (Int64, String or coded), value and weight (Float32), time (Int64).
        refused: how many rows were bad.
        reasons: by line, the first `most` of them.
        notes: what else there is to know.
    """

    columns: dict[str, pl.Series | CodedIds]
    refused: int
    reasons: dict[int, str]
    notes: tuple[str, ...]


def checked(rows: Rows, *, kind: Kind, scale: Scale | None, ids: Ids, typed: bool, most: int | None) -> Checked:
    """Casts the columns of `rows`, and takes them out of it one by one so that their text can go.

    ids: whether integers become text. typed: False where ids are text that may be integers. most: how many reasons to
    remember, None for all. Raises DataError for a column that cannot hold its role at all.
    """
    n = len(rows.lines)
    roles = [role for role in ROLES if role in rows.columns]
    cast = dict(zip(roles, results_of(lambda role: _cast(rows, role, kind, scale, ids), roles), strict=True))
    bad = pl.repeat(False, n, dtype=pl.Boolean, eager=True)
    reasons: dict[int, str] = {}
    columns: dict[str, pl.Series | CodedIds] = {}
    notes: list[str] = []
    for role in roles:
        cells = cast.pop(role)
        columns[role] = cells.values
        notes += cells.notes
        fresh = (cells.bad & ~bad).arg_true()
        for row in fresh.head(n if most is None else most).to_list():
            reasons[int(rows.lines[row])] = cells.why(row)
        bad = bad | cells.bad
    count = int(bad.sum())
    if count:
        columns = {role: column.filter(~bad) for role, column in columns.items()}
    if not typed and ids != "text":
        columns |= {role: _as_integers(columns[role]) for role in ROLES[:2]}
    return Checked(columns, count, reasons, tuple(notes))


def _as_integers(ids: pl.Series | CodedIds) -> pl.Series | CodedIds:
    return replace(ids, distinct=as_integers(ids.distinct)) if isinstance(ids, CodedIds) else ids


def _cast(rows: Rows, role: str, kind: Kind, scale: Scale | None, ids: Ids) -> Cells:
    column = rows.columns.pop(role)
    if role == "time":
        return time_cells(column)
    if role == "value":
        return number_cells(column, above_zero=kind == "events", scale=scale)
    if role == "weight":
        return number_cells(column, low=0.0 if kind == "ratings" else -np.inf)
    kinds = rows.columns.pop(KINDS_OF[role], None)
    return id_cells(column, kinds, as_text=ids == "text")
