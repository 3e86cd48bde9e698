"""The door: what may be stored. Everything else is refused with a message that names its place and what to do."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from cofactor.data.ids import id_fault, is_unicode
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
LARGEST_VALUE = 1e15  # sums of twenty million of them are still far from float32's end
LAST_TIME = 10**11  # larger numbers are milliseconds
AHEAD = 86_400  # seconds that a caller's clock may be ahead of ours


def checked_id(given: Any, what: str) -> str:
    """An id as text: a string as it is, an integer of 64 bits as its canonical decimal. Raises DataError.

    What text can be an id: see `data.ids.id_fault`.

    >>> checked_id("ana", "the user"), checked_id(-7, "the user")
    ('ana', '-7')
    >>> checked_id("", "event 3: the user")
    Traceback (most recent call last):
    cofactor.errors.DataError: event 3: the user is empty
    """
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        if not -(2**63) <= given < 2**63:
            raise DataError(f"{what} does not fit into 64 bits; pass ids as strings")
        return str(int(given))
    if not isinstance(given, str):
        raise DataError(f"{what} is neither a string nor an integer: {_shown(given)}")
    if (fault := id_fault(given)) is not None:
        raise DataError(f"{what} {fault}: {_shown(given)}" if given else f"{what} {fault}")
    return given


def checked_text(given: Any, what: str, longest: int) -> str:
    """Text without control characters and of at most so many characters. Raises DataError.

    >>> checked_text("a" * 300, "the label", 256)
    Traceback (most recent call last):
    cofactor.errors.DataError: the label has 300 characters, and at most 256 are kept
    """
    if not isinstance(given, str):
        raise DataError(f"{what} is not a string: {_shown(given)}")
    if len(given) > longest:
        raise DataError(f"{what} has {len(given):,} characters, and at most {longest:,} are kept")
    if not given.isprintable() and (bad := [c for c in given if unicodedata.category(c) == "Cc"]):
        raise DataError(f"{what} has the control character U+{ord(bad[0]):04X} in it: {_shown(given)}")
    if not is_unicode(given):
        raise DataError(f"{what} has half a surrogate pair in it: {_shown(given)}")
    return given


def checked_number(given: Any, what: str, low: float, high: float) -> float:
    """A finite number from `low` to `high`. Raises DataError.

    >>> checked_number(float("nan"), "event 1: the value", -5, 5)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 1: the value is not finite: nan
    """
    if isinstance(given, bool) or not isinstance(given, int | float | np.integer | np.floating):
        raise DataError(f"{what} is not a number: {_shown(given)}")
    if isinstance(given, float | np.floating) and not math.isfinite(given):
        raise DataError(f"{what} is not finite: {given}")
    if not low <= given <= high:
        raise DataError(f"{what} must be from {low:g} to {high:g}, and is {_shown(given)}")
    return float(given)


def checked_whole(given: Any, what: str) -> int:
    """A whole number from 0 on, of 63 bits: what a database takes. Raises DataError.

    >>> checked_whole(10**30, "after")
    Traceback (most recent call last):
    cofactor.errors.DataError: after is not a whole number from 0 to 2^63 - 1: 1000000000000000000000000000000
    """
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 0 <= given < 2**63:
        raise DataError(f"{what} is not a whole number from 0 to 2^63 - 1: {_shown(given)}")
    return int(given)


def checked_time(given: Any, what: str, present: int) -> int:
    """Whole seconds since 1970, at most a day after `present`. Raises DataError, also for milliseconds.

    >>> checked_time(1_700_000_000_000, "event 1: the time", present=1_700_000_100)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 1: the time 1700000000000 is not in seconds; times are whole seconds since 1970
    """
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise DataError(f"{what} is not a whole number of seconds since 1970: {_shown(given)}")
    if given >= LAST_TIME:
        raise DataError(f"{what} {_shown(given)} is not in seconds; times are whole seconds since 1970")
    if given < 0:
        raise DataError(f"{what} is before 1970: {_shown(given)}")
    if given > present + AHEAD:
        raise DataError(f"{what} {given} is more than a day ahead of this machine's clock, {present}")
    return int(given)


def checked_json(given: Any, what: str) -> str:
    """Any value of JSON's types as text, keys in their order. Raises DataError for others, and where it is too long.

    >>> checked_json({"genre": ["war", "drama"], "year": 1986}, "the metadata")
    '{"genre": ["war", "drama"], "year": 1986}'
    """
    try:
        written = json.dumps(given, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{what} cannot be kept as JSON: {error}") from error
    if not is_unicode(written):
        raise DataError(f"{what} has half a surrogate pair in it")
    if len(written.encode()) > LONGEST_JSON:
        raise DataError(f"{what} is longer than {LONGEST_JSON:,} bytes")
    return written


def checked_mapping(given: Any, what: str) -> str:
    """Names with values of JSON's types, as text. Raises DataError.

    >>> checked_mapping({"age": 31}, "the user's metadata")
    '{"age": 31}'
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise DataError(f"{what} must map names to values")
    return checked_json(dict(given), what)


def _shown(given: Any) -> str:
    """At most 60 characters of it, as Python writes it."""
    try:
        text = repr(given)
    except Exception:  # noqa: BLE001  # whatever the caller's class does: it is refused anyway
        text = f"a {type(given).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
