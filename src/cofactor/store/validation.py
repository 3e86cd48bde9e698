"""Validation of values before they are stored."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from cofactor.data.id_columns import integer_id, invalid_id_reason, is_unicode
from cofactor.errors import DataError

__all__ = [
    "MAX_TIME",
    "MAX_VALUE",
    "checked_id",
    "checked_integer",
    "checked_json",
    "checked_mapping",
    "checked_number",
    "checked_text",
    "checked_time",
]

MAX_JSON_BYTES = 65_536
MAX_VALUE = 1e15  # sums of twenty million such values are far below the float32 maximum
MAX_TIME = 10**11  # larger values are in milliseconds
MAX_CLOCK_AHEAD = 86_400  # seconds by which a caller's clock may be ahead


def checked_id(value: Any, label: str) -> str:
    """Validate an ID and return it as a string.

    Parameters
    ----------
    value : Any
        The ID: a string that `data.id_columns.invalid_id_reason` accepts, or a 64-bit integer.
    label : str
        Name of the value, for the message.

    Returns
    -------
    str
        The string, or the canonical decimal representation of the integer.

    Raises
    ------
    DataError
        If the ID is invalid.

    Examples
    --------
    >>> checked_id("ana", "the user"), checked_id(-7, "the user")
    ('ana', '-7')
    >>> checked_id("", "event 3: the user")
    Traceback (most recent call last):
    cofactor.errors.DataError: event 3: the user is empty
    """
    if not isinstance(value, str):
        if (number := integer_id(value)) is not None:
            return str(number)
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            raise DataError(f"{label} must fit into 64 bits; pass larger IDs as strings")
        raise DataError(f"{label} must be a string or an integer; got {_short_repr(value)}")
    if (fault := invalid_id_reason(value)) is not None:
        raise DataError(f"{label} {fault}: {_short_repr(value)}" if value else f"{label} {fault}")
    return value


def checked_text(value: Any, label: str, max_length: int) -> str:
    """Validate a string, which must not be too long or contain control characters, and return it.

    Parameters
    ----------
    value : Any
        The string.
    label : str
        Name of the value, for the message.
    max_length : int
        Maximum number of characters.

    Returns
    -------
    str
        The string.

    Raises
    ------
    DataError
        If the string is invalid.

    Examples
    --------
    >>> checked_text("a" * 300, "the label", 256)
    Traceback (most recent call last):
    cofactor.errors.DataError: the label must have at most 256 characters; got 300
    """
    if not isinstance(value, str):
        raise DataError(f"{label} must be a string; got {_short_repr(value)}")
    if len(value) > max_length:
        raise DataError(f"{label} must have at most {max_length:,} characters; got {len(value):,}")
    if not value.isprintable() and (control_characters := [c for c in value if unicodedata.category(c) == "Cc"]):
        raise DataError(
            f"{label} contains the control character U+{ord(control_characters[0]):04X}: {_short_repr(value)}"
        )
    if not is_unicode(value):
        raise DataError(f"{label} contains an unpaired surrogate: {_short_repr(value)}")
    return value


def checked_number(value: Any, label: str, low: float, high: float) -> float:
    """Validate a finite number in a range and return it as a float.

    Parameters
    ----------
    value : Any
        The number.
    label : str
        Name of the value, for the message.
    low, high : float
        Bounds, inclusive.

    Returns
    -------
    float
        The number.

    Raises
    ------
    DataError
        If the value is not a finite number or is out of range.

    Examples
    --------
    >>> checked_number(float("nan"), "event 1: the value", -5, 5)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 1: the value must be finite; got nan
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise DataError(f"{label} must be a number; got {_short_repr(value)}")
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        raise DataError(f"{label} must be finite; got {value}")
    if not low <= value <= high:
        raise DataError(f"{label} must be between {low:g} and {high:g}; got {_short_repr(value)}")
    return float(value)


def checked_integer(value: Any, label: str) -> int:
    """Validate a nonnegative integer within the range of the database (63 bits) and return it.

    Parameters
    ----------
    value : Any
        The number.
    label : str
        Name of the value, for the message.

    Returns
    -------
    int
        The number.

    Raises
    ------
    DataError
        If the value is not an integer or is out of range.

    Examples
    --------
    >>> checked_integer(10**30, "after")
    Traceback (most recent call last):
    cofactor.errors.DataError: after must be an integer between 0 and 2^63 - 1; got 1000000000000000000000000000000
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise DataError(f"{label} must be an integer between 0 and 2^63 - 1; got {_short_repr(value)}")
    return int(value)


def checked_time(value: Any, label: str, current_time: int) -> int:
    """Validate a Unix time in integer seconds and return it.

    Parameters
    ----------
    value : Any
        The time.
    label : str
        Name of the value, for the message.
    current_time : int
        Current time, in seconds since the Unix epoch.

    Returns
    -------
    int
        The time.

    Raises
    ------
    DataError
        If the time is not an integer, is negative, is not in seconds, or is more than a day after `current_time`.

    Examples
    --------
    >>> checked_time(1_700_000_000_000, "event 1: the time", current_time=1_700_000_100)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 1: the time 1700000000000 is not in seconds since the Unix epoch
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DataError(f"{label} must be an integer number of seconds since 1970; got {_short_repr(value)}")
    if value >= MAX_TIME:
        raise DataError(f"{label} {_short_repr(value)} is not in seconds since the Unix epoch")
    if value < 0:
        raise DataError(f"{label} must not be before 1970; got {_short_repr(value)}")
    if value > current_time + MAX_CLOCK_AHEAD:
        raise DataError(f"{label} must be at most one day ahead of this machine's clock, {current_time}; got {value}")
    return int(value)


def checked_json(value: Any, label: str) -> str:
    """Serialize a value to JSON, preserving the order of keys.

    Parameters
    ----------
    value : Any
        JSON-serializable value.
    label : str
        Name of the value, for the message.

    Returns
    -------
    str
        JSON text of at most 65,536 bytes.

    Raises
    ------
    DataError
        If the value is not JSON-serializable, contains NaN or infinity, or is too long.

    Examples
    --------
    >>> checked_json({"genre": ["war", "drama"], "year": 1986}, "the metadata")
    '{"genre": ["war", "drama"], "year": 1986}'
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{label} cannot be stored as JSON: {error}") from error
    if not is_unicode(text):
        raise DataError(f"{label} contains an unpaired surrogate")
    if len(text.encode()) > MAX_JSON_BYTES:
        raise DataError(f"{label} must be at most {MAX_JSON_BYTES:,} bytes as JSON; got {len(text.encode()):,}")
    return text


def checked_mapping(value: Any, label: str) -> str:
    """Validate a mapping from names to JSON-serializable values and serialize it to JSON.

    Parameters
    ----------
    value : Any
        The mapping.
    label : str
        Name of the value, for the message.

    Returns
    -------
    str
        JSON text of at most 65,536 bytes.

    Raises
    ------
    DataError
        If the value is not such a mapping or is too long.

    Examples
    --------
    >>> checked_mapping({"age": 31}, "the user's metadata")
    '{"age": 31}'
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{label} must be a mapping from strings to values; got {_short_repr(value)}")
    return checked_json(dict(value), label)


def _short_repr(value: Any) -> str:
    """Return the repr of a value, truncated to 60 characters."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # the repr of a foreign class may fail in any way
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
