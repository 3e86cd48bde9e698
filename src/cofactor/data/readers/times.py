"""Times in any usual spelling, as whole seconds since 1970; a column speaks one unit or is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from cofactor.data.readers.casting import Cells, none_of
from cofactor.errors import DataError

__all__ = ["time_cells"]

_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds", "dates")
_DATES = len(_UNITS) - 1
_LARGEST = (10**11, 10**14, 10**17)  # the largest time in seconds, ms, us: the years 5138, 5138, 5138
_MISSING = 255
_YEAR_1900, _YEAR_1980, _YEAR_2100 = -2_208_988_800, 315_532_800, 4_102_444_800
_WRITTEN_DATES = (
    (1900_01_01, 2100_12_31, "%Y%m%d"),
    (1900_01_01_0000, 2100_12_31_2359, "%Y%m%d%H%M"),
    (1900_01_01_000000, 2100_12_31_235959, "%Y%m%d%H%M%S"),
)
_BASIC = r"^([0-9]{4})([0-9]{2})([0-9]{2})[Tt ]([0-9]{2}):?([0-9]{2})"  # 20230210T1541
_ISO = (
    r"^(?<year>[0-9]{4})-(?<month>[0-9]{1,2})-(?<day>[0-9]{1,2})"
    r"(?:[Tt ] *(?<h>[0-9]{1,2}):(?<m>[0-9]{2})(?::?(?<s>[0-9]{2})(?:[.,][0-9]+)?)?"
    r" *(?:[Zz]|UTC|GMT|(?<sign>[+-])(?<zone_h>[01][0-9]|2[0-3])(?::?(?<zone_m>[0-5][0-9]))?)?)?$"
)


def time_cells(column: pl.Series) -> Cells:
    """Int64 seconds since 1970, rounded down; from numbers (s, ms, us or ns by their size) or ISO dates.

    Numbers of which most are calendar dates written as YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS are dates. Rows whose
    unit is not that of most rows are bad. Dates without a zone are UTC. A note says so where all times lie before
    1980, or some before 1900 or after 2100: they may be years, day numbers of a spreadsheet, or positions. Raises
    DataError for a column that cannot hold times at all.
    """
    cells = _time_cells(column)
    assert isinstance(cells.values, pl.Series)
    return replace(cells, notes=cells.notes + _implausible(cells.values.filter(~cells.bad), cells.notes))


def _time_cells(column: pl.Series) -> Cells:
    name, dtype = column.name, column.dtype
    if dtype == pl.Datetime or dtype == pl.Date:
        seconds = column.cast(pl.Datetime("us")).dt.epoch("s")
        return Cells(seconds, seconds.is_null(), lambda _row: f"the {name} is missing")
    if dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        numbers, fractions = _parsed_numbers(column)
        dates = _parsed_dates(column) if numbers.null_count() else None
    elif dtype.is_numeric() or dtype == pl.Null:
        numbers, fractions = _whole(column)
        dates = None
    else:
        raise DataError(f"the {name} column holds {dtype}, not times")
    calendar = _calendar(numbers)
    if calendar is not None:
        dates = calendar if dates is None else dates.fill_null(calendar)
        numbers = pl.select(pl.when(calendar.is_null()).then(numbers)).to_series().alias(name)
    if dates is None and (unit := _only_unit(numbers)) is not None:
        return Cells(_seconds(numbers, unit), none_of(column), lambda _row: "", _notes(unit, fractions))
    units = _units(numbers, dates)
    found = units.filter(units != _MISSING).value_counts().sort(["count", name], descending=[True, False])
    main = int(found[name][0]) if len(found) else 0
    seconds = dates if main == _DATES and dates is not None else _seconds(numbers, main)

    def why(row: int) -> str:
        if main == _DATES and calendar is not None and numbers[row] is not None:
            return f"the {name} is not a calendar date, while most are"
        if units[row] != _MISSING:
            return f"the {name} is in {_UNITS[units[row]]} while most are in {_UNITS[main]}"
        cell = column[row]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return f"the {name} is missing"
        return f"the {name} is neither a number of seconds nor an ISO date"

    notes = _notes(main, fractions and main != _DATES)
    if calendar is not None and main == _DATES:
        notes = ("times are calendar dates written as numbers, such as 20230210; taken as UTC",)
    return Cells(seconds, units != main, why, notes)


def _seconds(numbers: pl.Series, unit: int) -> pl.Series:
    return numbers // 1000**unit if unit else numbers


def _only_unit(numbers: pl.Series) -> int | None:
    """The unit of all numbers where the ends tell it: none is missing or below 0, and both ends have the same."""
    ends = pl.Series([numbers.min(), numbers.max()], dtype=pl.Int64)
    least, most = _units(ends, None)
    same = least == most and not numbers.null_count() and ends[0] is not None and ends[0] >= 0
    return int(least) if same else None


def _notes(main: int, fractions: bool) -> tuple[str, ...]:
    notes = []
    if main == _DATES:
        notes.append("times are ISO dates; those without a zone are taken as UTC")
    elif main:
        notes.append(f"times are in {_UNITS[main]}; converted to seconds")
    if fractions:
        notes.append("times have fractions of a second; rounded down")
    return tuple(notes)


def _units(numbers: pl.Series, dates: pl.Series | None) -> pl.Series:
    """The unit of every row as a place in _UNITS; _MISSING where there is no time."""
    size = numbers.abs()
    unit = sum(((size >= bound).cast(pl.UInt8) for bound in _LARGEST), start=pl.Series([0], dtype=pl.UInt8))
    if dates is not None:
        unit = unit.fill_null(dates.is_not_null().cast(pl.UInt8).replace({1: _DATES, 0: _MISSING}))
    return unit.fill_null(_MISSING).alias(numbers.name)


def _whole(column: pl.Series) -> tuple[pl.Series, bool]:
    """Int64, rounded down, null where it does not fit; and whether anything was rounded."""
    if column.dtype.is_integer() or column.dtype == pl.Null:
        return column.cast(pl.Int64, strict=False), False
    floats = column.cast(pl.Float64)
    down = floats.floor()
    finite = floats.is_finite()
    return down.cast(pl.Int64, strict=False), bool(((down != floats) & finite).any())


def _parsed_numbers(column: pl.Series) -> tuple[pl.Series, bool]:
    whole = column.cast(pl.Int64, strict=False)
    if not whole.null_count():
        return whole, False
    bare = column.str.strip_chars(" \t")
    whole = whole.fill_null(bare.cast(pl.Int64, strict=False))
    rounded, fractions = _whole(bare.cast(pl.Float64, strict=False))
    return whole.fill_null(rounded), fractions


def _calendar(numbers: pl.Series) -> pl.Series | None:
    """Seconds of the numbers that are dates such as 20230210 or 20230210154133, else null; None unless most are."""
    least, most = numbers.min(), numbers.max()
    if not isinstance(least, int) or not isinstance(most, int):
        return None
    if not any(least <= high and low <= most for low, high, _ in _WRITTEN_DATES):
        return None
    seconds = pl.repeat(None, len(numbers), dtype=pl.Int64, eager=True)
    for low, high, form in _WRITTEN_DATES:
        inside = numbers.is_between(low, high).fill_null(value=False)
        if inside.any():
            text = numbers.filter(inside).cast(pl.String)
            parsed = text.str.to_datetime(form, time_unit="us", strict=False).dt.epoch("s")
            seconds = seconds.scatter(inside.arg_true(), parsed)
    return seconds if 2 * int(seconds.is_not_null().sum()) > len(numbers) - numbers.null_count() else None


def _implausible(seconds: pl.Series, notes: tuple[str, ...]) -> tuple[str, ...]:
    """A note where times cannot be what they were taken for; nothing for no times."""
    first, last = seconds.min(), seconds.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return ()
    if first >= _YEAR_1900 and _YEAR_1980 <= last < _YEAR_2100:
        return ()
    low, high = (np.datetime64(end, "s").astype("datetime64[D]") for end in (first, last))
    taken = "" if any(note.startswith("times are") for note in notes) else ", taken as seconds since 1970"
    if first >= 1900 and last <= 2100:
        taken += "; they look like years"
    elif first >= 20_000 and last <= 80_000:
        taken += "; they look like the day numbers of a spreadsheet"
    note = (
        f"times lie between {low} and {high}{taken}; if they mean something else, write them as dates such as "
        '2023-02-10, or leave the column out with time="" (on the command line --time "")'
    )
    return (note,)


def _parsed_dates(column: pl.Series) -> pl.Series:
    """Seconds of ISO dates and times (blank or T between them, fractions and zones allowed), else null."""
    text = column.str.strip_chars(" \t").str.replace(_BASIC, "${1}-${2}-${3} ${4}:${5}")
    parts = text.str.extract_groups(_ISO).struct.unnest()
    two = [pl.col(at).fill_null("0").str.zfill(2) for at in ("month", "day", "h", "m", "s")]
    moment = pl.concat_str("year", *two).str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False)
    shift = 3600 * pl.col("zone_h").cast(pl.Int64) + 60 * pl.col("zone_m").fill_null("0").cast(pl.Int64)
    signed = pl.when(pl.col("sign") == "-").then(-shift).otherwise(shift).fill_null(0)
    return parts.select(moment.dt.epoch("s") - signed).to_series().alias(column.name)
