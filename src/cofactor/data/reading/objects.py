"""Columns of Python objects (JSON lines, SQL rows, object columns of pandas): text, and what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl

from cofactor.data.ids import is_unicode

__all__ = ["INTEGER", "KINDS_OF", "OTHER", "STRING", "object_columns"]

STRING, INTEGER, OTHER = 0, 1, 2

KINDS_OF: Mapping[str, str] = {"user": "user kind", "item": "item kind"}
"""The column beside an id column that says which ids were strings, integers, or neither (UInt8)."""


def object_columns(cells: Mapping[str, Sequence[Any]]) -> dict[str, pl.Series]:
    """Every cell as text (null where it is missing); beside ids, what each one was.

    >>> columns = object_columns({"user": [1, "1", None]})
    >>> columns["user"].to_list(), columns["user kind"].to_list()
    (['1', '1', None], [1, 0, 2])
    """
    columns: dict[str, pl.Series] = {}
    for role, values in cells.items():
        columns[role] = pl.Series(role, [_text(value) for value in values], dtype=pl.String)
        if role in KINDS_OF:
            kinds = [_kind(value) for value in values]
            columns[KINDS_OF[role]] = pl.Series(KINDS_OF[role], kinds, dtype=pl.UInt8)
    return columns


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value) if is_unicode(value) else value.encode("utf-8", "backslashreplace").decode()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float | np.floating) and np.isnan(value):  # how pandas says missing
        return None
    if isinstance(value, Decimal) and _is_whole(value):
        return str(int(value))
    return str(value)


def _kind(value: Any) -> int:
    if isinstance(value, str):
        return STRING if is_unicode(value) else OTHER
    if isinstance(value, UUID):
        return STRING
    if isinstance(value, bool):
        return OTHER
    return INTEGER if isinstance(value, int | np.integer) or _is_whole(value) else OTHER


def _is_whole(value: Any) -> bool:
    return isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value()
