"""Validation of values before they are stored; each message names the value, its position and the fix."""

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
    "LARGEST_VALUE",
    "LAST_TIME",
    "checked_id",
    "checked_json",
    "checked_mapping",
    "checked_number",
    "checked_text",
    "checked_time",
    "checked_whole",
]

LONGEST_JSON = 65_536  # bytes
LARGEST_VALUE = 1e15  # sums of twenty million such values are far below the float32 maximum
LAST_TIME = 10**11  # larger numbers are milliseconds
AHEAD = 86_400  # seconds by which the clock of a caller may be ahead


def checked_id(value: Any, what: str) -> str:
    """Return an ID as text.

    Parameters
    ----------
    value : Any
        The ID: a string that `data.id_columns.invalid_id_reason` accepts, or an integer of 64 bits.
    what : str
        Name of the value for the message.

    Returns
    -------
    str
        The string, or the canonical decimal of the integer.

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
            raise DataError(f"{what} does not fit into 64 bits; pass ids as strings")
        raise DataError(f"{what} is neither a string nor an integer: {_shown(value)}")
    if (fault := invalid_id_reason(value)) is not None:
        raise DataError(f"{what} {fault}: {_shown(value)}" if value else f"{what} {fault}")
    return value


def checked_text(value: Any, what: str, longest: int) -> str:
    """Return a text that is short enough and has no control characters.

    Parameters
    ----------
    value : Any
        The text.
    what : str
        Name of the value for the message.
    longest : int
        Maximum number of characters.

    Returns
    -------
    str
        The text.

    Raises
    ------
    DataError
        If the text is invalid.

    Examples
    --------
    >>> checked_text("a" * 300, "the label", 256)
    Traceback (most recent call last):
    cofactor.errors.DataError: the label has 300 characters; at most 256 are allowed
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is not a string: {_shown(value)}")
    if len(value) > longest:
        raise DataError(f"{what} has {len(value):,} characters; at most {longest:,} are allowed")
    if not value.isprintable() and (bad := [c for c in value if unicodedata.category(c) == "Cc"]):
        raise DataError(f"{what} contains the control character U+{ord(bad[0]):04X}: {_shown(value)}")
    if not is_unicode(value):
        raise DataError(f"{what} contains half a surrogate pair: {_shown(value)}")
    return value


def checked_number(value: Any, what: str, low: float, high: float) -> float:
    """Return a finite number in a range.

    Parameters
    ----------
    value : Any
        The number.
    what : str
        Name of the value for the message.
    low, high : float
        Bounds, inclusive.

    Returns
    -------
    float
        The number.

    Raises
    ------
    DataError
        If the value is not such a number.

    Examples
    --------
    >>> checked_number(float("nan"), "event 1: the value", -5, 5)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 1: the value is not finite: nan
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise DataError(f"{what} is not a number: {_shown(value)}")
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        raise DataError(f"{what} is not finite: {value}")
    if not low <= value <= high:
        raise DataError(f"{what} must be from {low:g} to {high:g}, not {_shown(value)}")
    return float(value)


def checked_whole(value: Any, what: str) -> int:
    """Return a nonnegative whole number of 63 bits, the range of the database.

    Parameters
    ----------
    value : Any
        The number.
    what : str
        Name of the value for the message.

    Returns
    -------
    int
        The number.

    Raises
    ------
    DataError
        If the value is not such a number.

    Examples
    --------
    >>> checked_whole(10**30, "after")
    Traceback (most recent call last):
    cofactor.errors.DataError: after is not a whole number from 0 to 2^63 - 1: 1000000000000000000000000000000
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise DataError(f"{what} is not a whole number from 0 to 2^63 - 1: {_shown(value)}")
    return int(value)


def checked_time(value: Any, what: str, present: int) -> int:
    """Return a time in whole seconds since 1970.

    Parameters
    ----------
    value : Any
        The time.
    what : str
        Name of the value for the message.
    present : int
        Current time, in whole seconds since 1970.

    Returns
    -------
    int
        The time.

    Raises
    ------
    DataError
        If the time is not a whole number of seconds, is before 1970, or is more than a day after `present`.

    Examples
    --------
    >>> checked_time(1_700_000_000_000, "event 1: the time", present=1_700_000_100)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 1: the time 1700000000000 is not in seconds; times are whole seconds since 1970
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DataError(f"{what} is not a whole number of seconds since 1970: {_shown(value)}")
    if value >= LAST_TIME:
        raise DataError(f"{what} {_shown(value)} is not in seconds; times are whole seconds since 1970")
    if value < 0:
        raise DataError(f"{what} is before 1970: {_shown(value)}")
    if value > present + AHEAD:
        raise DataError(f"{what} {value} is more than a day ahead of this machine's clock, {present}")
    return int(value)


def checked_json(value: Any, what: str) -> str:
    """Return a value as JSON text; keys keep their order.

    Parameters
    ----------
    value : Any
        Value of JSON types.
    what : str
        Name of the value for the message.

    Returns
    -------
    str
        JSON text of at most 65,536 bytes.

    Raises
    ------
    DataError
        If the value has another type, is not finite or is too long.

    Examples
    --------
    >>> checked_json({"genre": ["war", "drama"], "year": 1986}, "the metadata")
    '{"genre": ["war", "drama"], "year": 1986}'
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{what} cannot be stored as JSON: {error}") from error
    if not is_unicode(text):
        raise DataError(f"{what} contains half a surrogate pair")
    if len(text.encode()) > LONGEST_JSON:
        raise DataError(f"{what} is longer than {LONGEST_JSON:,} bytes")
    return text


def checked_mapping(value: Any, what: str) -> str:
    """Return a mapping of names to values of JSON types as JSON text.

    Parameters
    ----------
    value : Any
        The mapping.
    what : str
        Name of the value for the message.

    Returns
    -------
    str
        JSON text of at most 65,536 bytes.

    Raises
    ------
    DataError
        If the value is not such a mapping.

    Examples
    --------
    >>> checked_mapping({"age": 31}, "the user's metadata")
    '{"age": 31}'
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{what} must map names to values")
    return checked_json(dict(value), what)


def _shown(value: Any) -> str:
    """Return at most 60 characters of the repr of a value."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # the repr of a foreign class may fail in any way
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
