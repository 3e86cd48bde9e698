"""Times in any usual spelling, as whole seconds since 1970; a column speaks one unit or is refused."""

from __future__ import annotations

import polars as pl

from cofactor.data.reading.cells import Cells, none_of
from cofactor.errors import DataError

__all__ = ["time_cells"]

_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds", "dates")
_DATES = len(_UNITS) - 1
_LARGEST = (10**11, 10**14, 10**17)  # the largest time in seconds, ms, us: the years 5138, 5138, 5138
_MISSING = 255


def time_cells(column: pl.Series) -> Cells:
    """Int64 seconds since 1970, rounded down; from numbers (s, ms, us or ns by their size) or ISO dates.

    Rows whose unit is not that of most rows are bad. Dates without a zone are UTC. Raises DataError
    for a column that cannot hold times at all.
    """
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
    if dates is None and (unit := _only_unit(numbers)) is not None:
        return Cells(_seconds(numbers, unit), none_of(column), lambda _row: "", _notes(unit, fractions))
    units = _units(numbers, dates)
    found = units.filter(units != _MISSING).value_counts().sort(["count", name], descending=[True, False])
    main = int(found[name][0]) if len(found) else 0
    seconds = dates if main == _DATES and dates is not None else _seconds(numbers, main)

    def why(row: int) -> str:
        if units[row] != _MISSING:
            return f"the {name} is in {_UNITS[units[row]]} while most are in {_UNITS[main]}"
        cell = column[row]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return f"the {name} is missing"
        return f"the {name} is neither a number of seconds nor an ISO date"

    return Cells(seconds, units != main, why, _notes(main, fractions))


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


def _parsed_dates(column: pl.Series) -> pl.Series:
    """Seconds of ISO dates and times (blank or T between them, fractions and zones allowed), else null."""
    text = (
        column.str.strip_chars(" \t")
        .str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "${1} ")
        .str.replace(r"(Z|z| UTC)$", "+00:00")
    )
    time = pl.Datetime("us")
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(time)
    minute = text.str.to_datetime("%Y-%m-%d %H:%M", time_unit="us", strict=False)
    second = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    zoned = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False)
    parsed = (day, minute, second, zoned.cast(time))
    return pl.select(pl.coalesce([pl.lit(part) for part in parsed])).to_series().dt.epoch("s")
