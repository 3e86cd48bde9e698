"""Column casting: strict casts of IDs and numbers, where every cell is either cast or marked as bad."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl

from cofactor.data.id_columns import (
    SIGNIFICAND_BITS,
    CodedIds,
    float_ids_note,
    integer_id,
    integer_ids,
    invalid_id_reason,
    invalid_ids,
    is_unicode,
)
from cofactor.data.scale import Scale
from cofactor.errors import DataError

__all__ = [
    "FLOAT",
    "INTEGER",
    "OTHER",
    "STRING",
    "TYPE_CODE_COLUMNS",
    "Cells",
    "all_false",
    "id_cells",
    "number_cells",
    "object_columns",
    "text_cells",
]

STRING, INTEGER, FLOAT, OTHER = 0, 1, 2, 3
"""Codes for the original type of an ID; FLOAT is a floating-point number without a fraction, read as an integer."""

TYPE_CODE_COLUMNS: Mapping[str, str] = {"user": "user type", "item": "item type"}
"""Name of the UInt8 column that holds the original type of each ID, one of these codes."""


def object_columns(cells: Mapping[str, Sequence[Any]]) -> dict[str, pl.Series]:
    """Convert Python objects to string columns, recording the original types of IDs.

    Parameters
    ----------
    cells : mapping of str to sequence of length n
        Python objects by role.

    Returns
    -------
    dict of str to Series of shape (n,)
        One String column per role, null where a cell is missing; for the roles "user" and "item", also a UInt8 column
        of type codes, named as in `TYPE_CODE_COLUMNS`.

    Examples
    --------
    >>> columns = object_columns({"user": [1, "1", None]})
    >>> columns["user"].to_list(), columns["user type"].to_list()
    (['1', '1', None], [1, 0, 3])
    """
    columns: dict[str, pl.Series] = {}
    for role, values in cells.items():
        if role in TYPE_CODE_COLUMNS:
            type_codes = [_type_code(value) for value in values]
            values = [
                int(value) if code in (INTEGER, FLOAT) else value
                for value, code in zip(values, type_codes, strict=True)
            ]
            columns[TYPE_CODE_COLUMNS[role]] = pl.Series(TYPE_CODE_COLUMNS[role], type_codes, dtype=pl.UInt8)
        columns[role] = pl.Series(role, [_text(value) for value in values], dtype=pl.String)
    return columns


def _text(value: Any) -> str | None:
    """Return a cell as a string, or None if it is missing."""
    if isinstance(value, str):
        return str(value) if is_unicode(value) else value.encode("utf-8", "backslashreplace").decode()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float | np.floating) and np.isnan(value):  # pandas marks missing values by NaN
        return None
    return str(value)


def _type_code(value: Any) -> int:
    """Return the type code of an ID."""
    if isinstance(value, str):
        return STRING if is_unicode(value) else OTHER
    if isinstance(value, UUID):
        return STRING
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return INTEGER  # also beyond 64 bits
    if integer_id(value) is None:
        return OTHER
    return FLOAT if isinstance(value, float | np.floating) else INTEGER


@dataclass(frozen=True)
class Cells:
    """Result of casting a column: the column, a mask of the cells that could not be cast, and the reasons for them.

    Attributes
    ----------
    values : Series or CodedIds of shape (n,)
        The cast column; entries of bad cells are undefined.
    bad : Series of shape (n,), Boolean
        True for cells that could not be cast.
    reason : callable
        Function that maps the row of a bad cell to the reason.
    notes : tuple of str, default ()
        Remarks about the column for the load report.
    """

    values: pl.Series | CodedIds
    bad: pl.Series
    reason: Callable[[int], str]
    notes: tuple[str, ...] = ()

    @property
    def column(self) -> pl.Series:
        """The cast column as a Series of shape (n,)."""
        return self.values.gather(self.values.distinct) if isinstance(self.values, CodedIds) else self.values


def id_cells(column: pl.Series, type_codes: pl.Series | None = None, *, as_text: bool = False) -> Cells:
    """Cast a column of IDs to Int64 or dictionary-encoded strings.

    Parameters
    ----------
    column : Series of shape (n,)
        The column; its name appears in messages.
    type_codes : Series of shape (n,), UInt8, or None, default None
        Original types of the IDs in a String column created by `object_columns`. If integers and strings are mixed,
        IDs of the less frequent type are bad.
    as_text : bool, default False
        Whether to convert integers to their decimal form, so that 7 and "7" are the same ID.

    Returns
    -------
    Cells
        The IDs.

    Raises
    ------
    DataError
        If the column has a type that cannot contain IDs, such as dates.
    """
    name = column.name
    if type_codes is not None:
        return _ids_as_text(column, type_codes) if as_text else _mixed_ids(column, type_codes)
    dtype = column.dtype
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return _text_ids(column)
    if as_text and dtype.is_integer():
        return _text_ids(column.cast(pl.String))
    if not (dtype.is_numeric() or dtype == pl.Null):
        raise DataError(f"the {name} column contains {dtype}; IDs are integers or strings")
    values = integer_ids(column)
    notes = (float_ids_note(name),) if dtype.is_float() else ()
    values, bad = values.cast(pl.String) if as_text else values, values.is_null()
    return Cells(values, bad, lambda row: _non_integer_reason(column[row], name, dtype), notes)


def all_false(column: pl.Series) -> pl.Series:
    """Return a boolean mask with one entry, False, for each cell of a column.

    Parameters
    ----------
    column : Series of shape (n,)
        A column.

    Returns
    -------
    Series of shape (n,), Boolean
        The mask.
    """
    return pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)


def number_cells(
    column: pl.Series, *, require_positive: bool = False, low: float = -math.inf, scale: Scale | None = None
) -> Cells:
    """Cast a column of numbers to Float32.

    Parameters
    ----------
    column : Series of shape (n,)
        Numbers or strings; its name appears in messages.
    require_positive : bool, default False
        Whether values must be above 0; `low` is then ignored.
    low : float, default -inf
        Lowest valid value.
    scale : Scale or None, default None
        Scale that the values must be on.

    Returns
    -------
    Cells
        The numbers. Cells that are not finite, out of range or not on the rating scale are bad.

    Raises
    ------
    DataError
        If the column has a type that cannot contain numbers.
    """
    name = column.name
    numbers = _floats(column)
    values = numbers.cast(pl.Float32, strict=False)
    finite = (values.is_finite() & numbers.is_finite()).fill_null(value=False)
    in_range = (values > 0) if require_positive else (values >= low)
    is_valid = finite & in_range.fill_null(value=False)
    if scale is not None:
        distinct = values.filter(is_valid).unique()
        is_valid &= values.is_in(distinct.filter(pl.Series(scale.contains(distinct.to_numpy()))).implode())

    def reason(row: int) -> str:
        if not finite[row]:
            return _not_finite_reason(column[row], name)
        if not in_range[row]:
            return f"the {name} of an event is not above 0" if require_positive else f"the {name} is below {low:g}"
        return f"the {name} is not one of the declared levels"

    return Cells(values, ~is_valid, reason)


def text_cells(column: pl.Series) -> Cells:
    """Cast a column of names to String and strip surrounding whitespace.

    Parameters
    ----------
    column : Series of shape (n,)
        Strings or numbers; its name appears in messages.

    Returns
    -------
    Cells
        The names. Missing and empty cells are bad.
    """
    texts = column.cast(pl.String, strict=False).str.strip_chars()
    return Cells(texts, (texts == "").fill_null(value=True), lambda _: f"the {column.name} is missing")


def _floats(column: pl.Series) -> pl.Series:
    """Convert a column to Float64, with null where a cell is not a number; ignore whitespace around numbers."""
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
        raise DataError(f"the {column.name} column contains {dtype}, not numbers{advice}")
    return column.cast(pl.Float64, strict=False)


def _not_finite_reason(cell: Any, name: str) -> str:
    """Return the reason why a cell is not a finite number, with a hint for common notations."""
    text = "" if cell is None else str(cell).strip()
    if not text:
        return f"the {name} is missing"
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text):
        return (
            f"the {name} is written with a comma; write 1234 if it separates thousands, or 1.234 if it is a decimal "
            "comma"
        )
    if re.fullmatch(r"[+-]?(\d*|\d{1,3}([. '\u00a0\u202f]\d{3})+),\d+", text):
        return f"the {name} is written with a comma; decimals need a point"
    if re.fullmatch(r"[+-]?\d{1,3}([ '\u00a0\u202f]\d{3})+(\.\d*)?", text):
        return f"the {name} has thousands separators; write 1234567.5"
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


def _whitespace_notes(name: str, count: int) -> tuple[str, ...]:
    """Return a note that `count` IDs have leading or trailing whitespace; no note if `count` is 0."""
    if not count:
        return ()
    return (f"{count:,} {name} IDs have leading or trailing whitespace; they are used unchanged",)


def _text_ids(column: pl.Series) -> Cells:
    """Encode a column of string IDs; missing and invalid IDs are bad."""
    name, ids = column.name, CodedIds.of(column.cast(pl.String))
    invalid, is_padded = invalid_ids(ids.distinct), ids.distinct.str.strip_chars() != ids.distinct
    if not (ids.codes.null_count() or invalid.any() or is_padded.any()):
        return Cells(ids, all_false(column), lambda _row: "")
    bad = ids.gather(invalid).fill_null(value=True)
    n_padded = int((ids.gather(is_padded) & ~bad).sum())
    return Cells(ids, bad, lambda row: _not_an_id_reason(column[row], name), _whitespace_notes(name, n_padded))


def _not_an_id_reason(cell: Any, name: str) -> str:
    """Return the reason why a cell is not a valid string ID."""
    text = "" if cell is None else str(cell)
    return f"the {name} {invalid_id_reason(text)}" if text.strip() else f"the {name} is missing"


def _too_large_reason(name: str) -> str:
    """Return the reason for rejecting an integer ID that does not fit into 64 bits."""
    return f'the {name} does not fit into 64 bits; read IDs as text with ids="text" (on the command line --ids text)'


def _non_integer_reason(cell: Any, name: str, dtype: pl.DataType) -> str:
    """Return the reason why a number is not an integer ID."""
    if cell is None or cell != cell:
        return f"the {name} is missing"
    if not math.isfinite(cell) or cell != int(cell):
        return f"the {name} is not an integer"
    if dtype.is_float():
        return (
            f"the {name} is a floating-point number of 2**{SIGNIFICAND_BITS[str(dtype)]} or more, where not every "
            "integer can be represented; store the IDs as integers or text"
        )
    return _too_large_reason(name)


def _ids_as_text(column: pl.Series, type_codes: pl.Series) -> Cells:
    """Encode IDs of mixed types as strings; only integers and strings are valid."""
    name, cells = column.name, _text_ids(column)
    notes = (*cells.notes, *_float_notes(name, type_codes))
    is_other = (type_codes == OTHER) & column.is_not_null()

    def reason(row: int) -> str:
        return f"the {name} is neither an integer nor a string" if is_other[row] else cells.reason(row)

    return Cells(cells.values, cells.bad | is_other, reason, notes)


def _mixed_ids(column: pl.Series, type_codes: pl.Series) -> Cells:
    """Cast IDs to the more frequent type, integer or string; IDs of the other type are bad."""
    name, notes = column.name, _float_notes(column.name, type_codes)
    type_codes = type_codes.replace(FLOAT, INTEGER)
    is_missing = (column.is_null() | (column.str.strip_chars() == "")).fill_null(value=True)
    is_invalid = invalid_ids(column).fill_null(value=False)
    present_codes = type_codes.filter(~is_missing)
    n_integers, n_strings = int((present_codes == INTEGER).sum()), int((present_codes == STRING).sum())
    first_code = present_codes.filter(present_codes != OTHER).head(1).to_list()
    minority_type = (
        STRING if n_integers > n_strings or (n_integers == n_strings and first_code == [INTEGER]) else INTEGER
    )
    values = column
    is_too_large = pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    if minority_type == STRING:
        values = column.cast(pl.Int64, strict=False)
        is_too_large = (type_codes == INTEGER) & values.is_null()

    def reason(row: int) -> str:
        if is_missing[row]:
            return f"the {name} is missing"
        if type_codes[row] == OTHER:
            return f"the {name} is neither an integer nor a string"
        if is_too_large[row]:
            return _too_large_reason(name)
        if is_invalid[row]:
            return _not_an_id_reason(column[row], name)
        actual_type, common_type = ("a string", "integers") if minority_type == STRING else ("an integer", "strings")
        return f"the {name} is {actual_type} while most are {common_type}"

    bad = is_missing | (type_codes == OTHER) | (type_codes == minority_type) | is_too_large | is_invalid
    return Cells(values, bad, reason, notes)


def _float_notes(name: str, type_codes: pl.Series) -> tuple[str, ...]:
    """Return a note if some IDs are floating-point numbers."""
    return (float_ids_note(name),) if (type_codes == FLOAT).any() else ()
