"""Tables in text files (CSV, TSV, `user::item::value::time`): a quick pass by polars, a careful one by us."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import polars as pl

from cofactor.data.readers.columns import Role
from cofactor.data.readers.files import Survey, TextFile, unreadable
from cofactor.data.readers.tables import Batches, Refusals, Rows
from cofactor.errors import DataError

__all__ = ["NOT_UTF8", "Row", "TextTable", "open_text_table", "split_quoted", "text_rows"]


NOT_UTF8 = "not UTF-8 text"


_MOST_LINES_IN_QUOTES = 1000  # a quote still open after so many lines was no quote


class Row(NamedTuple):
    """One row: its first line (from 1), its text, its fields; or no fields and the reason."""

    line: int
    text: str
    fields: list[str] | None
    reason: str = ""


def text_rows(lines: Iterable[bytes], separator: str) -> Iterator[Row]:
    """The rows in these lines; blank lines are refused unless only blank lines follow.

    A field in double quotes may hold separators, line ends and doubled quotes; `::` files have no
    quotes. When a quote never closes, the line that opened it is refused and reading goes on in the
    next line.

    >>> [row.fields for row in text_rows([b'1,"a,b",3', b"2,c,4"], ",")]
    [['1', 'a,b', '3'], ['2', 'c', '4']]
    """
    blank: list[Row] = []
    for row in _all_rows(enumerate(lines, start=1), separator):
        if row.fields is None and not row.text.strip(" \r"):
            blank.append(row)
            continue
        yield from blank
        blank.clear()
        yield row


def split_quoted(text: str, separator: str) -> list[str] | str | None:
    """The fields of a row; a reason when its quotes are wrong; None when a quote is still open.

    >>> split_quoted('1,"a,b",3', ","), split_quoted('1,"a', ",")
    (['1', 'a,b', '3'], None)
    """
    fields, at = [], 0
    while True:
        if text.startswith('"', at):
            end = _closing_quote(text, at + 1)
            if end < 0:
                return None
            fields.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
            if at < len(text) and not text.startswith(separator, at):
                return "text after a closing quote"
        else:
            end = text.find(separator, at)
            fields.append(text[at:] if end < 0 else text[at:end])
            at = len(text) if end < 0 else end
        if at >= len(text):
            return fields
        at += len(separator)


def _all_rows(numbered: Iterator[tuple[int, bytes]], separator: str) -> Iterator[Row]:
    again: deque[tuple[int, bytes]] = deque()
    quotes = separator != "::"
    while True:
        if again:
            number, raw = again.popleft()
        elif (following := next(numbered, None)) is not None:
            number, raw = following
        else:
            return
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            reason = f"{NOT_UTF8} (byte 0x{raw[error.start]:02x})"
            yield Row(number, raw.decode("utf-8", "backslashreplace"), None, reason)
            continue
        if "\0" in text:
            yield Row(number, text, None, "it has a NUL byte")
        elif not text.strip(" \r"):
            yield Row(number, text, None, "a blank line")
        elif not quotes or '"' not in text:
            yield Row(number, text, text.split(separator))
        else:
            yield _quoted_row(number, text, separator, again, numbered)


def _quoted_row(
    number: int,
    text: str,
    separator: str,
    again: deque[tuple[int, bytes]],
    numbered: Iterator[tuple[int, bytes]],
) -> Row:
    """The row that begins here, over as many lines as its quotes span; unused lines go to `again`."""
    parts, ahead = [text], []
    found = split_quoted(text, separator)
    while found is None and len(parts) < _MOST_LINES_IN_QUOTES:
        following = again.popleft() if again else next(numbered, None)
        if following is None:
            break
        ahead.append(following)
        try:
            parts.append(following[1].decode())
        except UnicodeDecodeError:
            break
        if '"' in parts[-1]:
            found = split_quoted("\n".join(parts), separator)
    if isinstance(found, list):
        return Row(number, "\n".join(parts), found)
    again.extendleft(reversed(ahead))
    return Row(number, text, None, found or "a quote that does not close")


def _closing_quote(text: str, at: int) -> int:
    while (at := text.find('"', at)) >= 0:
        if not text.startswith('"', at + 1):
            return at
        at += 2
    return -1


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
