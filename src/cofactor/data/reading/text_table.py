"""Tables in text files (CSV, TSV, `user::item::value::time`): a quick pass by polars, a careful one by us."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from cofactor.data.reading.columns import Role
from cofactor.data.reading.files import Survey, TextFile, unreadable
from cofactor.data.reading.rows import Row, text_rows
from cofactor.data.reading.tables import Batches, Refusals, Rows
from cofactor.errors import DataError

__all__ = ["TextTable", "open_text_table"]

_NUMBERS: Mapping[str, pl.DataType] = {"value": pl.Float64(), "weight": pl.Float64(), "time": pl.Int64()}


@dataclass(frozen=True)
class TextTable:
    """A text file whose first row has been looked at (see `tables.Table` for the attributes)."""

    file: TextFile
    separator: str
    columns: list[str]
    header_lines: int
    by_place: list[Role] = field(default_factory=list)
    counts: Literal["line", "row"] = "line"
    typed: bool = False

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self.file.path)

    def read(self, roles: Mapping[str, int], most: int | None) -> Rows:
        """By the quick pass where its counts prove that every line is one whole row, else by the careful one."""
        with unreadable(self.name):
            return self._quick(roles) or self._careful(roles, most)

    def rows(self) -> Iterator[Row]:
        """Every data row, good or refused, in file order."""
        rows = text_rows(self.file.lines(), self.separator)
        if self.header_lines:
            next(rows)
        width = len(self.columns)
        for row in rows:
            if row.fields is not None and len(row.fields) != width:
                yield row._replace(fields=None, reason=_wrong_width(len(row.fields), width))
            else:
                yield row

    def _texts(self, lines: Sequence[int]) -> dict[int, str]:
        wanted = set(lines)
        return {row.line: row.text for row in self.rows() if row.line in wanted}

    def _quick(self, roles: Mapping[str, int]) -> Rows | None:
        """By polars; None unless the counts of lines and separators prove that every line became one row.

        polars fills short rows with nulls and merges rows at stray quotes, both in silence; and it
        looks for rows that are too long only when every column is used. So every column is used.
        Numbers are read as such where every cell is one; else as text, which can say what is wrong.
        """
        if self.header_lines > 1:
            return None
        with ThreadPoolExecutor(1) as beside:
            counting = beside.submit(self.file.survey, self.separator[0])
            typed = self._scan(roles, _NUMBERS)
        survey = counting.result()
        return self._proved(typed, survey, roles) or self._proved(self._scan(roles, {}), survey, roles)

    def _scan(self, roles: Mapping[str, int], types: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
        step = len(self.separator)  # polars has one-byte separators: "::" is ":" and an empty column
        fields = [str(at) for at in range(step * len(self.columns) - step + 1)]
        gaps = [name for at, name in enumerate(fields) if at % step]
        spare = [str(step * at) for at in range(len(self.columns)) if at not in roles.values()]
        schema: dict[str, pl.DataType] = dict.fromkeys(fields, pl.String())
        schema |= {str(step * at): types[role] for role, at in roles.items() if role in types}
        scan = pl.scan_csv(
            self.file.for_polars,
            has_header=False,
            skip_rows=self.header_lines,
            separator=self.separator[0],
            quote_char='"' if step == 1 else None,
            schema=schema,
            glob=False,
        )
        chosen = scan.select(
            *(pl.col(str(step * at)).alias(role) for role, at in roles.items()),
            pl.col(fields[-1]).is_null().alias("last is missing"),
            pl.all_horizontal(pl.lit(value=True), pl.col(gaps).is_null()).alias("gaps are empty"),
            pl.any_horizontal(pl.lit(value=False), pl.col(spare).is_null()).alias("a spare one is missing"),
        )
        try:
            return chosen.collect(engine="streaming")
        except pl.exceptions.PolarsError:
            return None

    def _proved(self, frame: pl.DataFrame | None, survey: Survey, roles: Mapping[str, int]) -> Rows | None:
        """The rows of a frame whose counts add up and whose numbers are all there."""
        if frame is None or not self._adds_up(frame, survey):
            return None
        rows = frame.height - survey.trailing_blank
        columns = {role: frame[role].head(rows) for role in roles}
        if any(column.dtype != pl.String and not _is_whole(column) for column in columns.values()):
            return None
        lines = range(1 + self.header_lines, 1 + self.header_lines + rows)
        return Rows(columns, lines, Refusals(), self.file.notes(), self.file.texts)

    def _adds_up(self, frame: pl.DataFrame, survey: Survey) -> bool:
        rows = frame.height - survey.trailing_blank
        if survey.nuls or survey.lone_returns or rows < 0:
            return False
        if frame.height + self.header_lines != survey.lines:
            return False
        if not frame["gaps are empty"].all():
            return False
        if survey.quotes and self.separator != "::":
            return survey.quotes_fit and not frame["last is missing"].head(rows).any()
        each = len(self.separator) * (len(self.columns) - 1)
        return survey.separators == each * (rows + self.header_lines)

    def _careful(self, roles: Mapping[str, int], most: int | None) -> Rows:
        refused = Refusals(most)
        batches = Batches(list(roles))
        places = list(roles.values())
        for row in self.rows():
            if row.fields is None:
                refused.add(row.line, row.reason, row.text)
            else:
                batches.add(row.line, [row.fields[at] for at in places])
        columns, lines = batches.finish()
        return Rows(columns, lines, refused, self.file.notes(), self._texts)


def open_text_table(file: TextFile, separator: str, by_place: Callable[[list[str]], list[Role] | None]) -> TextTable:
    """Looks at the first row: `by_place` says what its fields hold, or None when it is a header."""
    with unreadable(str(file.path)):
        first = next(text_rows(file.lines(), separator), None)
    if first is None:
        raise DataError(f"{file.path} is empty: nothing but blank lines")
    if first.fields is None:
        raise DataError(f"{file.path}, line 1: {first.reason}; the first line must be a header or a row")
    roles = by_place(first.fields)
    if roles is None:
        return TextTable(file, separator, first.fields, first.text.count("\n") + 1)
    return TextTable(file, separator, [str(place + 1) for place in range(len(first.fields))], 0, roles)


def _is_whole(numbers: pl.Series) -> bool:
    return not numbers.null_count() and bool(numbers.is_finite().all())


def _wrong_width(found: int, wanted: int) -> str:
    return f"{found} field{'s' if found != 1 else ''} instead of {wanted}"
