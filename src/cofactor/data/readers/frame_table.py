"""Tables in memory: polars, pandas, pyarrow, duckdb, anything that speaks Arrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from cofactor.data.readers.casting import object_columns
from cofactor.data.readers.columns import Role
from cofactor.data.readers.files import unreadable
from cofactor.data.readers.tables import Refusals, Rows
from cofactor.errors import DataError

__all__ = ["FrameTable", "as_frame", "open_frame"]


@dataclass(frozen=True)
class FrameTable:
    """A table of typed columns (see `tables.Table` for the attributes).

    Attributes:

        take: gives the chosen columns.
        advice: what to do where a column is missing.
    """

    name: str
    columns: list[str]
    take: Callable[[Mapping[str, int]], Mapping[str, pl.Series]]
    by_place: list[Role] = field(default_factory=list)
    counts: Literal["line", "row"] = "row"
    typed: bool = True
    advice: str = ""

    def read(self, roles: Mapping[str, int], most: int | None) -> Rows:
        """The chosen columns as they are: there is nothing to split."""
        with unreadable(self.name):
            taken = dict(self.take(roles))
        shown = [taken[role] for role in roles]

        def texts(lines: Sequence[int]) -> dict[int, str]:
            return {line: ", ".join(str(column[line - 1]) for column in shown) for line in lines}

        n = len(shown[0])
        return Rows(taken, range(1, n + 1), Refusals(most), (), texts)


def open_frame(source: Any) -> FrameTable:
    """A frame in memory. Raises DataError for anything that is not one."""
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return _open_pandas(source)
    frame = as_frame(source)
    name = f"the {type(source).__module__.partition('.')[0]} table"

    def take(roles: Mapping[str, int]) -> dict[str, pl.Series]:
        columns = {role: frame.to_series(at).alias(role) for role, at in roles.items()}
        objects = {role: column.to_list() for role, column in columns.items() if column.dtype == pl.Object}
        return {**columns, **object_columns(objects)}

    return FrameTable(name, frame.columns, take)


def as_frame(source: Any) -> pl.DataFrame:
    """Any frame as a polars one, without copying where Arrow allows it."""
    if isinstance(source, pl.DataFrame):
        return source
    if hasattr(source, "to_frame") and not hasattr(source, "columns"):
        more = "; series.reset_index() makes one of its index and its values" if hasattr(source, "index") else ""
        raise DataError(f"source: cannot read a table from a Series; give a frame{more}")
    with unreadable("the table"):
        if isinstance(source, pl.LazyFrame):
            return source.collect()
        if hasattr(source, "__arrow_c_stream__") or hasattr(source, "iloc"):
            try:
                return _from_arrow(source)
            except (TypeError, ValueError, NotImplementedError, ImportError) as error:
                raise DataError(f"the table cannot be read as Arrow: {error}") from error
    raise DataError(
        f"source: cannot read a table from {type(source).__name__}; give a path, a database URL with query=, "
        "or a frame (polars, pandas, pyarrow, duckdb)"
    )


def _from_arrow(source: Any) -> pl.DataFrame:
    """The frame; times of zones that polars does not take, such as +05:30, are the same moments in UTC."""
    try:
        return pl.DataFrame(source)
    except pl.exceptions.ComputeError:
        if hasattr(source, "iloc"):
            return pl.DataFrame(source.assign(**{name: _in_utc(source[name]) for name in source.columns}))
        import pyarrow as pa

        table = pa.table(source)
        fields = [
            at.with_type(pa.timestamp(at.type.unit, "UTC")) if pa.types.is_timestamp(at.type) and at.type.tz else at
            for at in table.schema
        ]
        return pl.DataFrame(table.cast(pa.schema(fields)))


def _in_utc(column: Any) -> Any:
    """A pandas column with its times in UTC where they have a zone."""
    arrow = getattr(column.dtype, "pyarrow_dtype", None)
    zone = getattr(column.dtype, "tz", None) or getattr(arrow, "tz", None)
    return column if zone is None else column.dt.tz_convert("UTC")


def _open_pandas(source: Any) -> FrameTable:
    columns = [str(name) for name in source.columns]
    index = [str(name) for name in source.index.names if name is not None]

    def take(roles: Mapping[str, int]) -> dict[str, pl.Series]:
        taken: dict[str, pl.Series] = {}
        for role, at in roles.items():
            column = source.iloc[:, at]
            if column.dtype == object:
                taken.update(object_columns({role: column.tolist()}))
                continue
            try:
                one = _in_utc(column).to_frame(role).reset_index(drop=True)
                taken[role] = pl.DataFrame(one).to_series(0)
            except (TypeError, ValueError, NotImplementedError, ImportError):  # no Arrow for these
                taken.update(object_columns({role: column.tolist()}))
        return taken

    advice = (
        f"; its index holds {', '.join(map(repr, index))}: frame.reset_index() makes columns of it" if index else ""
    )
    return FrameTable("the pandas table", columns, take, advice=advice)
