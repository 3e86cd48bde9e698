"""Strict casts of one column each: ids, numbers and times; every cell is cast or marked as bad."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl

from cofactor.data.ids import CodedIds, faulty_ids, id_fault, is_unicode
from cofactor.data.scale import Scale
from cofactor.errors import DataError

__all__ = [
    "INTEGER",
    "KINDS_OF",
    "OTHER",
    "STRING",
    "Cells",
    "as_integers",
    "id_cells",
    "none_of",
    "number_cells",
    "object_columns",
]


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


_EXACT_BITS = {"Float16": 11, "Float32": 24, "Float64": 53}  # from 2**bits on, whole numbers are skipped


@dataclass(frozen=True)
class Cells:
    """A column after its cast.

    Attributes:

        values: (n,) the cast column; what stands in bad places means nothing.
        bad: (n,) Boolean: which cells were refused.
        why: the reason for one row that is bad.
        notes: what else happened to the column.
    """

    values: pl.Series | CodedIds
    bad: pl.Series
    why: Callable[[int], str]
    notes: tuple[str, ...] = ()


def id_cells(column: pl.Series, kinds: pl.Series | None = None, *, as_text: bool = False) -> Cells:
    """Ids as Int64 or coded text. Raises DataError for a column that cannot hold ids at all (dates, ...).

    `kinds` says of text what it was before (see `objects`): of mixed ids, the rarer kind is bad. as_text: integers
    become their decimal form, so that 7 and "7" are one id.
    """
    name = column.name
    if kinds is not None:
        return _any_ids_as_text(column, kinds) if as_text else _mixed_ids(column, kinds)
    dtype = column.dtype
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return _text_ids(column)
    if as_text and dtype.is_integer():
        return _text_ids(column.cast(pl.String))
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        cells = _float_ids(column) if dtype.is_float() else _decimal_ids(column)
        return _as_text(cells) if as_text else cells
    if not (dtype.is_integer() or dtype == pl.Null):
        raise DataError(f"the {name} column holds {dtype}; ids are integers or strings")
    values = column.cast(pl.Int64, strict=False)

    def why(row: int) -> str:
        return f"the {name} is missing" if column[row] is None else _too_wide(name)

    return Cells(values, values.is_null(), why)


def none_of(column: pl.Series) -> pl.Series:
    """False for each cell."""
    return pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)


def number_cells(
    column: pl.Series, *, above_zero: bool = False, low: float = -math.inf, scale: Scale | None = None
) -> Cells:
    """Finite numbers as Float32, at least `low`, on the scale where there is one."""
    name = column.name
    numbers = _floats(column)
    values = numbers.cast(pl.Float32, strict=False)
    finite = (values.is_finite() & numbers.is_finite()).fill_null(value=False)
    in_range = (values > 0) if above_zero else (values >= low)
    good = finite & in_range.fill_null(value=False)
    if scale is not None:
        distinct = values.filter(good).unique()
        good &= values.is_in(distinct.filter(pl.Series(scale.holds(distinct.to_numpy()))).implode())

    def why(row: int) -> str:
        if not finite[row]:
            return _why_not_finite(column[row], name)
        if not in_range[row]:
            return f"the {name} of an event is not above 0" if above_zero else f"the {name} is below {low:g}"
        return f"the {name} is not one of the declared levels"

    return Cells(values, ~good, why)


def as_integers(ids: pl.Series) -> pl.Series:
    """Text ids as Int64 if every one is a canonical decimal that fits, else as they are."""
    odd = ids.str.starts_with("+") | ids.str.starts_with("-0")
    odd |= ids.str.starts_with("0") & (ids.str.len_bytes() > 1)
    integers = ids.cast(pl.Int64, strict=False)
    return ids if odd.any() or integers.null_count() else integers


def _floats(column: pl.Series) -> pl.Series:
    """Float64 with null where a cell is no number; blanks around a number do not matter."""
    dtype = column.dtype
    if dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        numbers = column.cast(pl.Float64, strict=False)
        if numbers.null_count():
            numbers = numbers.fill_null(column.str.strip_chars(" \t").cast(pl.Float64, strict=False))
        return numbers
    if not (dtype.is_numeric() or dtype == pl.Null):
        advice = "; write 1 and 0 for true and false" if dtype == pl.Boolean else ""
        raise DataError(f"the {column.name} column holds {dtype}, not numbers{advice}")
    return column.cast(pl.Float64, strict=False)


def _why_not_finite(cell: Any, name: str) -> str:
    text = "" if cell is None else str(cell).strip()
    if not text:
        return f"the {name} is missing"
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text):
        return (
            f"the {name} is written with a comma; write 1234 where it separates thousands, and 1.234 where it is a "
            "decimal comma"
        )
    if re.fullmatch(r"[+-]?(\d*|\d{1,3}([. '\u00a0\u202f]\d{3})+),\d+", text):
        return f"the {name} is written with a comma; decimals need a point"
    if re.fullmatch(r"[+-]?\d{1,3}([ '\u00a0\u202f]\d{3})+(\.\d*)?", text):
        return f"the {name} has marks between thousands; write 1234567.5"
    if text.lower() in ("true", "false", "yes", "no"):
        return f"the {name} is not a number; write 1 and 0 for true and false"
    try:
        number = float(text)
    except ValueError:
        if re.fullmatch(r"[^\d_]*[+-]?(\d+\.?\d*|\.\d+)([^\d_]*| *(/|of|out of) *\d+)", text):
            return f"the {name} is not a number; write it without its unit or sign, as in 4.5"
        return f"the {name} is not a number"
    if "_" in text:
        return f"the {name} is not a number"
    if math.isfinite(number) or text.lower().strip("+-") not in ("inf", "infinity", "nan"):
        return f"the {name} is too large"
    return f"the {name} is not finite"


def _padded(name: str, count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{count:,} {name} ids have blanks around them; they are kept as they are",)


def _text_ids(column: pl.Series) -> Cells:
    name, ids = column.name, CodedIds.of(column.cast(pl.String))
    faulty, padded = faulty_ids(ids.distinct), ids.distinct.str.strip_chars() != ids.distinct
    if not (ids.codes.null_count() or faulty.any() or padded.any()):
        return Cells(ids, none_of(column), lambda _row: "")
    bad = ids.each(faulty).fill_null(value=True)
    around = int((ids.each(padded) & ~bad).sum())
    return Cells(ids, bad, lambda row: _why_no_id(column[row], name), _padded(name, around))


def _why_no_id(cell: Any, name: str) -> str:
    text = "" if cell is None else str(cell)
    return f"the {name} {id_fault(text)}" if text.strip() else f"the {name} is missing"


def _too_wide(name: str) -> str:
    return f'the {name} does not fit into 64 bits; read ids as text with ids="text" (on the command line --ids text)'


def _float_ids(column: pl.Series) -> Cells:
    """Whole numbers below the size from which floating point numbers of this precision skip some."""
    name, bits = column.name, _EXACT_BITS[str(column.dtype)]
    column = column.cast(pl.Float64)
    whole = (column.floor() == column) & (column.abs() < 2**bits)

    def why(row: int) -> str:
        cell = column[row]
        if cell is None or math.isnan(cell):
            return f"the {name} is missing"
        if math.isfinite(cell) and cell == math.floor(cell):
            return (
                f"the {name} is a floating point number of 2**{bits} or more, where neighboring whole numbers are "
                "equal; store the ids as integers or text"
            )
        return f"the {name} is not a whole number"

    note = f"{name} ids came as floating point numbers and are read as integers"
    return Cells(column.cast(pl.Int64, strict=False), ~whole.fill_null(value=False), why, (note,))


def _decimal_ids(column: pl.Series) -> Cells:
    name = column.name
    values = column.cast(pl.Int64, strict=False)
    whole = (values.cast(column.dtype, strict=False) == column).fill_null(value=False)

    def why(row: int) -> str:
        if column[row] is None:
            return f"the {name} is missing"
        return f"the {name} is not a whole number" if column[row] % 1 else _too_wide(name)

    return Cells(values, ~whole, why)


def _as_text(cells: Cells) -> Cells:
    assert isinstance(cells.values, pl.Series)
    return replace(cells, values=cells.values.cast(pl.String))


def _any_ids_as_text(column: pl.Series, kinds: pl.Series) -> Cells:
    name, cells = column.name, _text_ids(column)
    other = (kinds == OTHER) & column.is_not_null()

    def why(row: int) -> str:
        return f"the {name} is neither an integer nor a string" if other[row] else cells.why(row)

    return Cells(cells.values, cells.bad | other, why, cells.notes)


def _mixed_ids(column: pl.Series, kinds: pl.Series) -> Cells:
    name = column.name
    missing = (column.is_null() | (column.str.strip_chars() == "")).fill_null(value=True)
    faulty = faulty_ids(column).fill_null(value=False)
    present = kinds.filter(~missing)
    integers, strings = int((present == INTEGER).sum()), int((present == STRING).sum())
    first = present.filter(present != OTHER).head(1).to_list()
    rare = STRING if integers > strings or (integers == strings and first == [INTEGER]) else INTEGER
    values = column
    wide = pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    if rare == STRING:
        values = column.cast(pl.Int64, strict=False)
        wide = (kinds == INTEGER) & values.is_null()

    def why(row: int) -> str:
        if missing[row]:
            return f"the {name} is missing"
        if kinds[row] == OTHER:
            return f"the {name} is neither an integer nor a string"
        if wide[row]:
            return _too_wide(name)
        if faulty[row]:
            return _why_no_id(column[row], name)
        this, most = ("a string", "integers") if rare == STRING else ("an integer", "strings")
        return f"the {name} is {this} while most are {most}"

    return Cells(values, missing | (kinds == OTHER) | (kinds == rare) | wide | faulty, why)
