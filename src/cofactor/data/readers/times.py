"""Time casting: convert numbers and dates to seconds since the Unix epoch, with one unit per column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from cofactor.data.readers.casting import Cells, all_false
from cofactor.errors import DataError

__all__ = ["time_cells"]

_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds", "dates")
_DATES = len(_UNITS) - 1
_UNIT_BOUNDS = (10**11, 10**14, 10**17)  # upper bounds in seconds, ms and us: the year 5138
_MISSING = 255
_YEAR_1900, _YEAR_1980, _YEAR_2100 = -2_208_988_800, 315_532_800, 4_102_444_800
_DATE_FORMATS = (
    (1900_01_01, 2100_12_31, "%Y%m%d"),
    (1900_01_01_0000, 2100_12_31_2359, "%Y%m%d%H%M"),
    (1900_01_01_000000, 2100_12_31_235959, "%Y%m%d%H%M%S"),
)
_ISO_BASIC = r"^([0-9]{4})([0-9]{2})([0-9]{2})[Tt ]([0-9]{2}):?([0-9]{2})"  # 20230210T1541
_ISO = (
    r"^(?<year>[0-9]{4})-(?<month>[0-9]{1,2})-(?<day>[0-9]{1,2})"
    r"(?:[Tt ] *(?<h>[0-9]{1,2}):(?<m>[0-9]{2})(?::?(?<s>[0-9]{2})(?:[.,][0-9]+)?)?"
    r" *(?:[Zz]|UTC|GMT|(?<sign>[+-])(?<zone_h>[01][0-9]|2[0-3])(?::?(?<zone_m>[0-5][0-9]))?)?)?$"
)


def time_cells(column: pl.Series) -> Cells:
    """Cast a column of times to integer seconds since the Unix epoch.

    Parameters
    ----------
    column : Series of shape (n,)
        Datetimes, dates, numbers, or strings with numbers or ISO dates; its name appears in messages.

    Returns
    -------
    Cells
        Int64 seconds since the Unix epoch, rounded down. Cells whose unit differs from that of most cells are bad.
        Notes report conversions and implausible times: all before 1980, or some before 1900 or after 2100.

    Raises
    ------
    DataError
        If the column has a type that cannot contain times.

    Notes
    -----
    The unit of a number (seconds, milli-, micro- or nanoseconds) is inferred from its magnitude. If most numbers have
    the form YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, the column contains calendar dates. Dates without a time zone are
    in UTC.
    """
    cells = _time_cells(column)
    assert isinstance(cells.values, pl.Series)
    return replace(cells, notes=cells.notes + _plausibility_notes(cells.values.filter(~cells.bad), cells.notes))


def _time_cells(column: pl.Series) -> Cells:
    """Cast a column of times without checking whether they are plausible."""
    name, dtype = column.name, column.dtype
    if dtype == pl.Datetime or dtype == pl.Date:
        seconds = column.cast(pl.Datetime("us")).dt.epoch("s")
        return Cells(seconds, seconds.is_null(), lambda _row: f"the {name} is missing")
    if dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        numbers, has_fractions = _parse_numbers(column)
        datetimes = _parse_dates(column) if numbers.null_count() else None
    elif dtype.is_numeric() or dtype == pl.Null:
        numbers, has_fractions = _round_down(column)
        datetimes = None
    else:
        raise DataError(f"the {name} column contains {dtype}, not times")
    calendar_times = _calendar_seconds(numbers)
    if calendar_times is not None:
        datetimes = calendar_times if datetimes is None else datetimes.fill_null(calendar_times)
        numbers = pl.select(pl.when(calendar_times.is_null()).then(numbers)).to_series().alias(name)
    if datetimes is None and (unit := _common_unit(numbers)) is not None:
        notes = _conversion_notes(unit, has_fractions)
        return Cells(_to_seconds(numbers, unit), all_false(column), lambda _row: "", notes)
    units = _units(numbers, datetimes)
    unit_counts = units.filter(units != _MISSING).value_counts().sort(["count", name], descending=[True, False])
    main_unit = int(unit_counts[name][0]) if len(unit_counts) else 0
    seconds = datetimes if main_unit == _DATES and datetimes is not None else _to_seconds(numbers, main_unit)

    def reason(row: int) -> str:
        if main_unit == _DATES and calendar_times is not None and numbers[row] is not None:
            return f"the {name} is not a calendar date, while most are"
        if units[row] != _MISSING:
            return f"the {name} is in {_UNITS[units[row]]} while most are in {_UNITS[main_unit]}"
        cell = column[row]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return f"the {name} is missing"
        return f"the {name} is neither a number of seconds nor an ISO date"

    notes = _conversion_notes(main_unit, has_fractions and main_unit != _DATES)
    if calendar_times is not None and main_unit == _DATES:
        notes = ("times are calendar dates written as numbers, such as 20230210; taken as UTC",)
    return Cells(seconds, units != main_unit, reason, notes)


def _to_seconds(numbers: pl.Series, unit: int) -> pl.Series:
    """Convert numbers in a given unit to seconds, rounded down."""
    return numbers // 1000**unit if unit else numbers


def _common_unit(numbers: pl.Series) -> int | None:
    """Return the unit that all numbers share; None if units differ or a number is missing or negative."""
    ends = pl.Series([numbers.min(), numbers.max()], dtype=pl.Int64)
    low_unit, high_unit = _units(ends, None)
    is_uniform = low_unit == high_unit and not numbers.null_count() and ends[0] is not None and ends[0] >= 0
    return int(low_unit) if is_uniform else None


def _conversion_notes(main_unit: int, has_fractions: bool) -> tuple[str, ...]:
    """Return notes on the conversion of times."""
    notes = []
    if main_unit == _DATES:
        notes.append("times are ISO dates; those without a time zone are taken as UTC")
    elif main_unit:
        notes.append(f"times are in {_UNITS[main_unit]}; converted to seconds")
    if has_fractions:
        notes.append("times have fractions of a second; rounded down")
    return tuple(notes)


def _units(numbers: pl.Series, datetimes: pl.Series | None) -> pl.Series:
    """Return the unit of each row as an index into _UNITS; _MISSING where there is no time."""
    size = numbers.abs()
    unit = sum(((size >= bound).cast(pl.UInt8) for bound in _UNIT_BOUNDS), start=pl.Series([0], dtype=pl.UInt8))
    if datetimes is not None:
        unit = unit.fill_null(datetimes.is_not_null().cast(pl.UInt8).replace({1: _DATES, 0: _MISSING}))
    return unit.fill_null(_MISSING).alias(numbers.name)


def _round_down(column: pl.Series) -> tuple[pl.Series, bool]:
    """Round numbers down to Int64, null where they do not fit; also return whether anything was rounded."""
    if column.dtype.is_integer() or column.dtype == pl.Null:
        return column.cast(pl.Int64, strict=False), False
    floats = column.cast(pl.Float64)
    rounded_numbers = floats.floor()
    finite = floats.is_finite()
    return rounded_numbers.cast(pl.Int64, strict=False), bool(((rounded_numbers != floats) & finite).any())


def _parse_numbers(column: pl.Series) -> tuple[pl.Series, bool]:
    """Parse strings as numbers, rounded down, null for others; also return whether anything was rounded."""
    integers = column.cast(pl.Int64, strict=False)
    if not integers.null_count():
        return integers, False
    stripped_column = column.str.strip_chars(" \t")
    integers = integers.fill_null(stripped_column.cast(pl.Int64, strict=False))
    rounded_numbers, has_fractions = _round_down(stripped_column.cast(pl.Float64, strict=False))
    return integers.fill_null(rounded_numbers), has_fractions


def _calendar_seconds(numbers: pl.Series) -> pl.Series | None:
    """Convert numbers such as 20230210 or 20230210154133 to seconds, else null; None unless most are such dates."""
    lowest, highest = numbers.min(), numbers.max()
    if not isinstance(lowest, int) or not isinstance(highest, int):
        return None
    if not any(lowest <= high and low <= highest for low, high, _ in _DATE_FORMATS):
        return None
    seconds = pl.repeat(None, len(numbers), dtype=pl.Int64, eager=True)
    for low, high, format_ in _DATE_FORMATS:
        in_range = numbers.is_between(low, high).fill_null(value=False)
        if in_range.any():
            text = numbers.filter(in_range).cast(pl.String)
            parsed_dates = text.str.to_datetime(format_, time_unit="us", strict=False).dt.epoch("s")
            seconds = seconds.scatter(in_range.arg_true(), parsed_dates)
    return seconds if 2 * int(seconds.is_not_null().sum()) > len(numbers) - numbers.null_count() else None


def _plausibility_notes(seconds: pl.Series, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note if the range of the times is implausible; no note if there are no times."""
    first, last = seconds.min(), seconds.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return ()
    if first >= _YEAR_1900 and _YEAR_1980 <= last < _YEAR_2100:
        return ()
    low, high = (np.datetime64(time, "s").astype("datetime64[D]") for time in (first, last))
    detail = "" if any(note.startswith("times are") for note in notes) else ", read as seconds since the Unix epoch"
    if first >= 1900 and last <= 2100:
        detail += "; they look like years"
    elif first >= 20_000 and last <= 80_000:
        detail += "; they look like the day numbers of a spreadsheet"
    note = (
        f"times are between {low} and {high}{detail}; if this is wrong, write them as dates such as "
        '2023-02-10, or leave the column out with time="" (on the command line --time "")'
    )
    return (note,)


def _parse_dates(column: pl.Series) -> pl.Series:
    """Parse ISO dates and times (separated by a space or T, with fractions and zones) as seconds, else null."""
    text = column.str.strip_chars(" \t").str.replace(_ISO_BASIC, "${1}-${2}-${3} ${4}:${5}")
    parts = text.str.extract_groups(_ISO).struct.unnest()
    padded_parts = [pl.col(part).fill_null("0").str.zfill(2) for part in ("month", "day", "h", "m", "s")]
    timestamp = pl.concat_str("year", *padded_parts).str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False)
    offset = 3600 * pl.col("zone_h").cast(pl.Int64) + 60 * pl.col("zone_m").fill_null("0").cast(pl.Int64)
    signed_offset = pl.when(pl.col("sign") == "-").then(-offset).otherwise(offset).fill_null(0)
    return parts.select(timestamp.dt.epoch("s") - signed_offset).to_series().alias(column.name)
