"""ID columns: rules for valid IDs, and conversion from single values, sequences, arrays and columns.

An ID is a 64-bit integer or a string. Only `integer_id` and `integer_ids` decide which other values count as integers:
numbers without a fraction, and strings that are the canonical decimal form of an integer ("7", not "007").
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = [
    "MAX_ID_LENGTH",
    "SIGNIFICAND_BITS",
    "CodedIds",
    "Id",
    "canonical_ids",
    "float_ids_note",
    "id_column",
    "id_series",
    "integer_id",
    "integer_ids",
    "invalid_id_reason",
    "invalid_ids",
    "is_single",
    "is_unicode",
    "json_rows",
    "single_id",
]

Id: TypeAlias = int | str

MAX_ID_LENGTH = 256
"""Maximum number of characters in an ID: a longer user-item pair would not fit into a PostgreSQL index."""


@dataclass(frozen=True, eq=False)
class CodedIds:
    """Dictionary-encoded column of IDs: entry t is `distinct[codes[t]]`.

    Work per ID, such as validation, is done once per distinct ID. An empty column has no distinct IDs and no codes.

    Attributes
    ----------
    distinct : Series of shape (m,), String or Int64
        The distinct IDs, in no particular order. Each occurs in the column.
    codes : Series of shape (n,), UInt32
        Indices into `distinct`; null where the ID is missing.

    Examples
    --------
    >>> ids = CodedIds.of(pl.Series(["tom", "ana", "tom"]))
    >>> ids.distinct.to_list(), ids.codes.to_list()
    (['tom', 'ana'], [0, 1, 0])
    """

    distinct: pl.Series
    codes: pl.Series

    @classmethod
    def of(cls, strings: pl.Series) -> CodedIds:
        """Dictionary-encode a column of string IDs.

        Parameters
        ----------
        strings : Series of shape (n,), String
            The IDs, null where missing.

        Returns
        -------
        CodedIds
            The encoded column.
        """
        require_threads()
        coded_ids = strings.cast(pl.Categorical(pl.Categories.random(physical=pl.UInt32))).rechunk()
        codes = coded_ids.to_physical()
        distinct = coded_ids.gather(codes.arg_unique()).drop_nulls()
        return cls(distinct.gather(distinct.to_physical().arg_sort()).cast(pl.String), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def gather(self, values: pl.Series) -> pl.Series:
        """Expand an array with one value per distinct ID to a column with one value per entry of this column.

        Parameters
        ----------
        values : Series of shape (m,)
            One value for each distinct ID.

        Returns
        -------
        Series of shape (n,)
            The value for each entry; null where the ID is missing.

        Examples
        --------
        >>> CodedIds.of(pl.Series(["tom", "ana", "tom"])).gather(pl.Series([3, 7])).to_list()
        [3, 7, 3]
        """
        return values.gather(self.codes)

    def filter(self, mask: pl.Series) -> CodedIds:
        """Return the selected entries as a new dictionary-encoded column of IDs.

        Parameters
        ----------
        mask : Series of shape (n,), Boolean
            True for the entries to keep.

        Returns
        -------
        CodedIds
            The selected entries.
        """
        codes = self.codes.filter(mask)
        used = codes.unique().drop_nulls().sort()
        new_codes = np.zeros(len(self.distinct), np.uint32)
        new_codes[used.to_numpy()] = np.arange(len(used), dtype=np.uint32)
        return CodedIds(self.distinct.gather(used), pl.Series(new_codes).gather(codes))


_CANONICAL = r"^(0|-?[1-9][0-9]{0,18})$"
_INTEGER_VALUED = r"^(0|-?[1-9][0-9]{0,18})(?:\.0+)?$"
_PATTERNS = {False: re.compile(_CANONICAL), True: re.compile(_INTEGER_VALUED)}
MISSING_VALUE_TYPES = ("NAType", "NaTType")
"""Names of the types that pandas uses for missing values."""

SIGNIFICAND_BITS = {"Float16": 11, "Float32": 24, "Float64": 53}
"""Significand bits of each type; above 2**bits, the type cannot represent every integer."""


def integer_id(value: object, *, parse: bool = False) -> int | None:
    """Convert a value to an integer ID, or return None if the value is not a valid integer ID.

    Parameters
    ----------
    value : object
        Any value.
    parse : bool, default False
        Whether to parse a string as a number, as on a command line, so that "17850.0" becomes 17850.

    Returns
    -------
    int or None
        The integer for a 64-bit integer or its canonical decimal form; None for other values, including
        floating-point numbers so large that not every integer can be represented (2**53 or more).

    Examples
    --------
    >>> [integer_id(value) for value in (7, 7.0, "7", "007", "7.0", 7.5)]
    [7, 7, 7, None, None, None]
    >>> integer_id("7.0", parse=True)
    7
    """
    number: int | None = None
    if isinstance(value, str):
        match = _PATTERNS[parse].fullmatch(value)
        number = None if match is None else int(match[1])
        if number is not None and "." in value and abs(number) >= 2**53:
            number = None
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        number = int(value)
    elif isinstance(value, float | np.floating):
        bits = 53 if isinstance(value, float) else int(np.finfo(type(value)).nmant) + 1
        if float(value).is_integer() and abs(float(value)) < 2 ** min(bits, 53):
            number = int(value)
    elif isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        number = int(value)
    return number if number is not None and _fits_int64(number) else None


def integer_ids(column: pl.Series, *, parse: bool = False) -> pl.Series:
    """Convert the values in a column to integer IDs, in the same way as `integer_id` converts one value.

    Parameters
    ----------
    column : Series of shape (n,)
        Numbers or strings.
    parse : bool, default False
        Whether to parse strings as numbers, so that "17850.0" becomes 17850.

    Returns
    -------
    Series of shape (n,), Int64
        The integers; null where a value is not an integer ID.

    Examples
    --------
    >>> integer_ids(pl.Series(["7", "007", "7.0"])).to_list()
    [7, None, None]
    >>> integer_ids(pl.Series(["7", "007", "7.0"]), parse=True).to_list()
    [7, None, 7]
    >>> integer_ids(pl.Series([7.0, 7.5, None])).to_list()
    [7, None, None]
    """
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        is_integer = column.str.contains(_CANONICAL)
        if parse and not is_integer.all():
            has_point = ~is_integer
            digits = column.str.extract(_INTEGER_VALUED, 1)
            values = digits.cast(pl.Int64, strict=False)
            is_integer |= values.is_between(-(2**53), 2**53, closed="none").fill_null(value=False) & has_point
        else:
            values = column.cast(pl.Int64, strict=False)
    elif column.dtype.is_float():
        numbers = column.cast(pl.Float64)
        is_integer = (numbers.floor() == numbers) & (numbers.abs() < 2 ** SIGNIFICAND_BITS[str(column.dtype)])
        values = numbers.cast(pl.Int64, strict=False)
    else:
        values = column.cast(pl.Int64, strict=False)
        if not column.dtype.is_decimal():
            return values
        is_integer = values.cast(column.dtype, strict=False) == column
    if is_integer.all():
        return values
    return pl.select(pl.when(is_integer).then(values)).to_series().alias(column.name)


def canonical_ids(column: pl.Series, *, parse: bool = False) -> pl.Series:
    """Convert a column of strings to integer IDs if all entries are integers.

    Parameters
    ----------
    column : Series of shape (n,), String
        IDs, null where missing.
    parse : bool, default False
        Whether the column comes from a text file, so that "17850.0" becomes 17850: pandas writes integers this way if
        the column has a missing entry.

    Returns
    -------
    Series of shape (n,), Int64 or String
        Integers if all entries are integers by the rule of `integer_id`; otherwise `column` unchanged.

    Examples
    --------
    >>> canonical_ids(pl.Series(["17850", "7"])).to_list(), canonical_ids(pl.Series(["017850", "7"])).to_list()
    ([17850, 7], ['017850', '7'])
    >>> canonical_ids(pl.Series(["17850.0", "7.0"]), parse=True).to_list()
    [17850, 7]
    """
    if not column.str.contains(_INTEGER_VALUED if parse else _CANONICAL).all():
        return column
    values = integer_ids(column, parse=parse)
    return column if values.null_count() > column.null_count() else values


def float_ids_note(name: str) -> str:
    """Return the load-report note about IDs that were given as floating-point numbers.

    Parameters
    ----------
    name : str
        "user" or "item".

    Returns
    -------
    str
        The note.
    """
    return f"{name} IDs are floating-point numbers; they were read as integers"


@validated
def is_unicode(text: str) -> bool:
    """Return whether a string can be encoded as UTF-8.

    JSON strings can contain unpaired surrogates, which UTF-8 cannot represent.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    bool
        False if the string has an unpaired surrogate.
    """
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@validated
def invalid_id_reason(text: str) -> str | None:
    """Return the reason why a string is not a valid ID, or None if it is valid.

    A string ID has 1 to 256 characters, at least one of them not blank, no control characters (such as tabs and
    newlines) and no unpaired surrogate. Readers, tables, the store and the service all apply this rule.

    Parameters
    ----------
    text : str
        Any string.

    Returns
    -------
    str or None
        The reason, phrased as the rest of a sentence that starts with "the ID"; None if the string is a valid ID.

    Examples
    --------
    >>> invalid_id_reason("Blade Runner"), invalid_id_reason("Blade\\tRunner"), invalid_id_reason(" ")
    (None, 'contains a control character', 'is empty')
    """
    if not text.strip():
        return "is empty"
    if len(text) > MAX_ID_LENGTH:
        return f"is longer than {MAX_ID_LENGTH} characters"
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        return "contains a control character"
    return None if is_unicode(text) else "contains an unpaired surrogate"


def invalid_ids(strings: pl.Series) -> pl.Series:
    """Return a boolean mask of the strings that are not valid IDs according to `invalid_id_reason`.

    Parameters
    ----------
    strings : Series of shape (n,), String
        Strings without unpaired surrogates.

    Returns
    -------
    Series of shape (n,), Boolean
        True for invalid IDs; null where the string is null.

    Examples
    --------
    >>> invalid_ids(pl.Series(["ana", "a\\nb", "", "x" * 257])).to_list()
    [False, True, True, True]
    """
    is_blank, is_too_long = strings.str.strip_chars() == "", strings.str.len_chars() > MAX_ID_LENGTH
    return is_blank | is_too_long | strings.str.contains(r"[\x00-\x1f\x7f-\u{9f}]")


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dicts for JSON, with IDs as strings.

    Parameters
    ----------
    frame : DataFrame of n rows
        Any frame; its columns "user" and "item" hold IDs.

    Returns
    -------
    list of dict
        One dict per row.

    Examples
    --------
    >>> json_rows(pl.DataFrame({"item": [17850], "score": [0.5]}))
    [{'item': '17850', 'score': 0.5}]
    """
    return frame.with_columns(pl.col("^(user|item)$").cast(pl.String)).to_dicts()


def _fits_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


@validated
def id_column(ids: pl.Series | Iterable[Id]) -> pl.Series:
    """Convert IDs to a polars column.

    Parameters
    ----------
    ids : Series or iterable of int or str, of length n
        IDs, all integers or all strings.

    Returns
    -------
    Series of shape (n,), Int64 or String
        The IDs; an empty Int64 column if there are none.

    Raises
    ------
    DataError
        If an ID is missing, empty, too large or of another type, or if types are mixed; the message names the row.

    Examples
    --------
    >>> id_column([7, 3]).dtype, id_column(["ana"]).dtype
    (Int64, String)
    >>> id_column([7, None])
    Traceback (most recent call last):
    cofactor.errors.DataError: row 2: the ID is missing
    """
    if not isinstance(ids, Iterable) or isinstance(ids, str | bytes) or _is_table(ids):
        raise DataError(f"IDs must be a list or column of integers or strings, not {checks.describe(ids)}")
    checks.require_bounded("ids", ids)
    column = ids if isinstance(ids, pl.Series) else _series_of(ids)
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        if column.null_count():
            raise DataError(f"row {column.is_null().arg_true()[0] + 1}: the ID is missing")
        if (column == "").any():
            raise DataError(f"row {(column == '').arg_true()[0] + 1}: the ID is empty")
        return column
    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise DataError(f"IDs must be integers or strings, not {column.dtype}")
    integers = integer_ids(column)
    if integers.null_count():
        row = int(integers.is_null().arg_true()[0])
        raise DataError(f"row {row + 1}: {_not_an_id_reason(column[row])}")
    return integers


def _is_table(ids: Any) -> bool:
    """Return whether the value is a data frame or an array that is not one-dimensional."""
    return hasattr(ids, "columns") or len(getattr(ids, "shape", (1,))) != 1


def _series_of(ids: Iterable[Id]) -> pl.Series:
    """Convert an iterable of IDs to a polars column; raise DataError for the first invalid one."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iuf":
        return pl.Series("id", ids)
    values = [i.item() if isinstance(i, np.generic) else i for i in ids]
    n_strings = sum(isinstance(i, str) for i in values)
    if 0 < n_strings < len(values):
        first_other_type = next(i for i in values if isinstance(i, str) != isinstance(values[0], str))
        raise DataError(f"IDs must be all integers or all strings, not both: {values[0]!r} and {first_other_type!r}")
    if n_strings:
        for k, value in enumerate(values):
            if not is_unicode(str(value)):
                raise DataError(f"row {k + 1}: the ID {value!r} contains an unpaired surrogate")
        return pl.Series("id", values, dtype=pl.String)
    integers = [integer_id(value) for value in values]
    if None in integers:
        row = integers.index(None)
        raise DataError(f"row {row + 1}: {_not_an_id_reason(values[row])}")
    return pl.Series("id", integers, dtype=pl.Int64)


def _not_an_id_reason(value: object) -> str:
    """Return the reason why a value is not an ID."""
    if (
        value is None
        or (isinstance(value, float | Decimal) and value != value)
        or type(value).__name__ in MISSING_VALUE_TYPES
    ):
        return "the ID is missing"
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return f"{checks.describe(value)} is too large to be exact; pass IDs as integers or strings"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{checks.describe(value)} does not fit into 64 bits; pass IDs as strings"
    return f"{checks.describe(value)} is not an ID (an integer or a string)"


def is_single(ids: Any) -> bool:
    """Return whether a value is a single ID rather than a collection of IDs.

    Parameters
    ----------
    ids : object
        The value.

    Returns
    -------
    bool
        True for a number or a string.

    Examples
    --------
    >>> is_single(7), is_single("ana"), is_single(["ana"])
    (True, True, False)
    """
    return isinstance(ids, int | float | str | np.integer | np.floating)


def single_id(name: str, value: Any) -> Id:
    """Check that a value is a single ID and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : object
        The value to check.

    Returns
    -------
    int or str
        The ID.

    Raises
    ------
    DataError
        If the value is not a 64-bit integer or a valid string.

    Examples
    --------
    >>> single_id("user", ["ana"])
    Traceback (most recent call last):
    cofactor.errors.DataError: user must be an ID (an integer or a string), not ['ana']
    """
    if isinstance(value, str):
        if reason := invalid_id_reason(value):
            raise DataError(f"{name}: the ID {reason}: {checks.describe(value)}")
        return value
    if (number := integer_id(value)) is None:
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            raise DataError(f"{name}: {checks.describe(value)} does not fit into 64 bits; pass IDs as strings")
        raise DataError(f"{name} must be an ID (an integer or a string), not {checks.describe(value)}")
    return number


def id_series(name: str, ids: Any) -> pl.Series:
    """Convert a single ID, or a sequence, array or column of IDs, to a polars Series.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    ids : int, str, or iterable of int or str
        One ID or several; pandas and pyarrow columns are also accepted.

    Returns
    -------
    Series of shape (n,), Int64 or String
        The IDs.

    Raises
    ------
    DataError
        If the values are not IDs, or are of mixed types.

    Examples
    --------
    >>> id_series("users", "ana").to_list(), id_series("users", (7, 3)).to_list()
    (['ana'], [7, 3])
    """
    if hasattr(ids, "to_pylist"):  # pyarrow
        ids = ids.to_pylist()
    elif hasattr(ids, "to_numpy") and not isinstance(ids, pl.Series):  # columns of other libraries
        ids = ids.to_numpy()
    if is_single(ids):
        ids = [ids]
    checks.require_bounded(name, ids)
    if not isinstance(ids, Iterable) or isinstance(ids, bytes):
        raise DataError(f"{name} must be an ID or a list of IDs (integers or strings), not {checks.describe(ids)}")
    try:
        return id_column(ids if isinstance(ids, pl.Series | np.ndarray) else list(ids))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
