"""Text tables (CSV, TSV, `user::item::value::time`): a verified fast pass with polars, or else a row-by-row pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import polars as pl

from cofactor.data.readers.columns import Role
from cofactor.data.readers.files import TextFile, TextStatistics, read_errors
from cofactor.data.readers.tables import Batches, RejectedRows, Rows
from cofactor.errors import DataError

__all__ = ["NOT_UTF8", "Row", "TextTable", "open_text_table", "split_quoted", "text_rows"]

NOT_UTF8 = "not UTF-8 text"
"""Beginning of the reason for a line that cannot be decoded."""

CHUNK_SIZE = 1 << 26
"""Approximate number of bytes of a chunk."""

_MAX_QUOTED_LINES = 1000  # a quote still open after this many lines is rejected


class Row(NamedTuple):
    """Row of a text file, with its fields, or with the reason why it is rejected.

    Attributes
    ----------
    line : int
        Line on which the row begins, from 1.
    text : str
        Text of the row.
    fields : list of str or None
        Its fields; None if the row is rejected.
    reason : str, default ""
        Why the row is rejected.
    """

    line: int
    text: str
    fields: list[str] | None
    reason: str = ""


def text_rows(lines: Iterable[bytes], separator: str) -> Iterator[Row]:
    """Iterate over the rows of a text file.

    A field in double quotes may contain separators, line ends and doubled quotes; files with the separator `::` have no
    quotes. If a quote is never closed, the line that opened it is rejected and reading continues on the next line.
    Blank lines are rejected unless only blank lines follow.

    Parameters
    ----------
    lines : iterable of bytes
        Lines without line ends.
    separator : str
        The field separator.

    Yields
    ------
    Row
        One row.

    Examples
    --------
    >>> [row.fields for row in text_rows([b'1,"a,b",3', b"2,c,4"], ",")]
    [['1', 'a,b', '3'], ['2', 'c', '4']]
    """
    blank_rows: list[Row] = []
    for row in _all_rows(enumerate(lines, start=1), separator):
        if row.fields is None and not row.text.strip(" \r"):
            blank_rows.append(row)
            continue
        yield from blank_rows
        blank_rows.clear()
        yield row


def split_quoted(text: str, separator: str) -> list[str] | str | None:
    """Split a row that contains quotes into fields.

    Parameters
    ----------
    text : str
        Text of the row, possibly over several lines.
    separator : str
        The field separator.

    Returns
    -------
    list of str, str or None
        The fields; a reason if the quotes are invalid; None if a quote is still open.

    Examples
    --------
    >>> split_quoted('1,"a,b",3', ","), split_quoted('1,"a', ",")
    (['1', 'a,b', '3'], None)
    """
    fields, start = [], 0
    while True:
        if text.startswith('"', start):
            end = _closing_quote(text, start + 1)
            if end < 0:
                return None
            fields.append(text[start + 1 : end].replace('""', '"'))
            start = end + 1
            if start < len(text) and not text.startswith(separator, start):
                return "text after a closing quote"
        else:
            end = text.find(separator, start)
            fields.append(text[start:] if end < 0 else text[start:end])
            start = len(text) if end < 0 else end
        if start >= len(text):
            return fields
        start += len(separator)


def _all_rows(numbered_lines: Iterator[tuple[int, bytes]], separator: str) -> Iterator[Row]:
    """Iterate over all rows, including blank lines as rejected rows."""
    pending_lines: deque[tuple[int, bytes]] = deque()
    has_quotes = separator != "::"
    while True:
        if pending_lines:
            number, raw = pending_lines.popleft()
        elif (next_line := next(numbered_lines, None)) is not None:
            number, raw = next_line
        else:
            return
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            reason = f"{NOT_UTF8} (byte 0x{raw[error.start]:02x})"
            yield Row(number, raw.decode("utf-8", "backslashreplace"), None, reason)
            continue
        if "\0" in text:
            yield Row(number, text, None, "it contains a NUL byte")
        elif not text.strip(" \r"):
            yield Row(number, text, None, "a blank line")
        elif not has_quotes or '"' not in text:
            yield Row(number, text, text.split(separator))
        else:
            yield _quoted_row(number, text, separator, pending_lines, numbered_lines)


def _quoted_row(
    number: int,
    text: str,
    separator: str,
    pending_lines: deque[tuple[int, bytes]],
    numbered_lines: Iterator[tuple[int, bytes]],
) -> Row:
    """Return the row that starts here, including all lines that its quotes span; return unused lines to `pending`."""
    parts, extra_lines = [text], []
    result = split_quoted(text, separator)
    while result is None and len(parts) < _MAX_QUOTED_LINES:
        next_line = pending_lines.popleft() if pending_lines else next(numbered_lines, None)
        if next_line is None:
            break
        extra_lines.append(next_line)
        try:
            parts.append(next_line[1].decode())
        except UnicodeDecodeError:
            break
        if '"' in parts[-1]:
            result = split_quoted("\n".join(parts), separator)
    if isinstance(result, list):
        return Row(number, "\n".join(parts), result)
    pending_lines.extendleft(reversed(extra_lines))
    return Row(number, text, None, result or "an unclosed quote")


def _closing_quote(text: str, position: int) -> int:
    """Return the position of the closing quote at or after `position`, or -1 if there is none."""
    while (position := text.find('"', position)) >= 0:
        if not text.startswith('"', position + 1):
            return position
        position += 2
    return -1


_NUMBER_TYPES: Mapping[str, pl.DataType] = {"value": pl.Float64(), "weight": pl.Float64(), "time": pl.Int64()}


@dataclass(frozen=True)
class TextTable:
    """Text file whose columns have been determined; implements `tables.Table`.

    Attributes
    ----------
    file : TextFile
        The file.
    separator : str
        The field separator.
    header_lines : int
        Number of lines in the header; 0 if there is none.
    columns, positional_roles, row_unit, is_typed : see `tables.Table`
        The attributes of every table.
    """

    file: TextFile
    separator: str
    columns: list[str]
    header_lines: int
    positional_roles: list[Role] = field(default_factory=list)
    row_unit: Literal["line", "row"] = "line"
    is_typed: bool = False

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.file.path)

    def read(self, roles: Mapping[str, int], max_rejected: int | None) -> Rows:
        """Read the rows with the fast pass if its result can be verified, otherwise row by row.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store; None for all.

        Returns
        -------
        Rows
            The columns.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        with read_errors(self.name):
            return self._read_fast(roles) or self._read_by_row(roles, max_rejected)

    def chunks(self, roles: Mapping[str, int], max_rejected: int | None) -> Iterator[Rows]:
        """Read the rows in chunks of about 64 MB of text.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store for each chunk; None for all.

        Yields
        ------
        Rows
            The rows of one chunk, with their line numbers in the file.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        first = self.header_lines
        with read_errors(self.name):
            for data in self.file.blocks(CHUNK_SIZE, skip_lines=first, has_quotes=self.separator != "::"):
                part = replace(self, file=replace(self.file, data=data), header_lines=0)
                yield _shifted(part.read(roles, max_rejected), first)
                first += data.count(b"\n")

    def rows(self) -> Iterator[Row]:
        """Iterate over all data rows, valid or rejected, in file order.

        Yields
        ------
        Row
            One row; it is rejected if its number of fields differs from that of the header or first row.
        """
        rows = text_rows(self.file.lines(), self.separator)
        if self.header_lines:
            next(rows)
        width = len(self.columns)
        for row in rows:
            if row.fields is not None and len(row.fields) != width:
                yield row._replace(fields=None, reason=_field_count_reason(len(row.fields), width))
            else:
                yield row

    def _texts(self, lines: Sequence[int]) -> dict[int, str]:
        """Return the text of the rows that begin on these lines."""
        requested = set(lines)
        return {row.line: row.text for row in self.rows() if row.line in requested}

    def _read_fast(self, roles: Mapping[str, int]) -> Rows | None:
        """Read with polars; return None unless the counts of lines and separators prove that every line became one row.

        polars silently fills short rows with nulls and merges rows at stray quotes, and it detects rows that are too
        long only if every column is used; so every column is used. Numbers are parsed as such if every cell is a
        number; otherwise columns are read as text, so that the bad cells can be reported.
        """
        if self.header_lines > 1:
            return None
        with ThreadPoolExecutor(1) as executor:
            statistics_task = executor.submit(self.file.statistics, self.separator[0])
            numeric_frame = self._scan(roles, _NUMBER_TYPES)
        statistics = statistics_task.result()
        return self._verify(numeric_frame, statistics, roles) or self._verify(self._scan(roles, {}), statistics, roles)

    def _scan(self, roles: Mapping[str, int], types: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
        """Parse the file with polars and these column types; return None if parsing fails."""
        step = len(self.separator)  # polars has one-byte separators: "::" is ":" and an empty column
        fields = [str(k) for k in range(step * len(self.columns) - step + 1)]
        gap_fields = [name for k, name in enumerate(fields) if k % step]
        unused_fields = [str(step * k) for k in range(len(self.columns)) if k not in roles.values()]
        schema: dict[str, pl.DataType] = dict.fromkeys(fields, pl.String())
        schema |= {str(step * k): types[role] for role, k in roles.items() if role in types}
        scan = pl.scan_csv(
            self.file.polars_source,
            has_header=False,
            skip_rows=self.header_lines,
            separator=self.separator[0],
            quote_char='"' if step == 1 else None,
            schema=schema,
            glob=False,
        )
        selection = scan.select(
            *(pl.col(str(step * k)).alias(role) for role, k in roles.items()),
            pl.col(fields[-1]).is_null().alias("last is missing"),
            pl.all_horizontal(pl.lit(value=True), pl.col(gap_fields).is_null()).alias("gaps are empty"),
            pl.any_horizontal(pl.lit(value=False), pl.col(unused_fields).is_null()).alias("an unused one is missing"),
        )
        try:
            return selection.collect(engine="streaming")
        except pl.exceptions.PolarsError:
            return None

    def _verify(self, frame: pl.DataFrame | None, statistics: TextStatistics, roles: Mapping[str, int]) -> Rows | None:
        """Return the rows of a frame if it matches the statistics and no number is missing, otherwise None."""
        if frame is None or not self._matches_statistics(frame, statistics):
            return None
        n_rows = frame.height - statistics.n_trailing_blank
        columns = {role: frame[role].head(n_rows) for role in roles}
        if any(column.dtype != pl.String and not _all_finite(column) for column in columns.values()):
            return None
        line_numbers = range(1 + self.header_lines, 1 + self.header_lines + n_rows)
        return Rows(columns, line_numbers, RejectedRows(), self.file.notes(), self.file.row_texts)

    def _matches_statistics(self, frame: pl.DataFrame, statistics: TextStatistics) -> bool:
        """Return whether the frame has one row per line and the right number of fields per row."""
        n_rows = frame.height - statistics.n_trailing_blank
        if statistics.has_nuls or statistics.has_lone_cr or n_rows < 0:
            return False
        if frame.height + self.header_lines != statistics.n_lines:
            return False
        if not frame["gaps are empty"].all():
            return False
        if statistics.has_quotes and self.separator != "::":
            return statistics.has_valid_quotes and not frame["last is missing"].head(n_rows).any()
        n_per_row = len(self.separator) * (len(self.columns) - 1)
        return statistics.n_separators == n_per_row * (n_rows + self.header_lines)

    def _read_by_row(self, roles: Mapping[str, int], max_rejected: int | None) -> Rows:
        """Read row by row in Python; invalid rows are rejected with a reason."""
        rejected = RejectedRows(max_rejected)
        batches = Batches(list(roles))
        positions = list(roles.values())
        for row in self.rows():
            if row.fields is None:
                rejected.add(row.line, row.reason, row.text)
            else:
                batches.add(row.line, [row.fields[k] for k in positions])
        columns, lines = batches.finish()
        return Rows(columns, lines, rejected, self.file.notes(), self._texts)


def open_text_table(file: TextFile, separator: str, find_roles: Callable[[list[str]], list[Role] | None]) -> TextTable:
    """Open a text table and determine its columns from the first row.

    Parameters
    ----------
    file : TextFile
        The file.
    separator : str
        The field separator.
    find_roles : callable
        Function that maps the fields in the first row to their roles, or to None if the row is a header.

    Returns
    -------
    TextTable
        The table.

    Raises
    ------
    DataError
        If the file has no rows, or the first row is invalid.
    """
    with read_errors(str(file.path)):
        first = next(text_rows(file.lines(), separator), None)
    if first is None:
        raise DataError(f"{file.path} is empty: it has only blank lines")
    if first.fields is None:
        raise DataError(f"{file.path}, line 1: {first.reason}; the first line must be a header or a data row")
    roles = find_roles(first.fields)
    if roles is None:
        return TextTable(file, separator, first.fields, first.text.count("\n") + 1)
    return TextTable(file, separator, [str(k + 1) for k in range(len(first.fields))], 0, roles)


def _shifted(rows: Rows, first: int) -> Rows:
    """Return the rows of a part of a file with line numbers of the whole file, before which there are `first` lines."""
    lines = rows.lines
    shifted = range(lines.start + first, lines.stop + first) if isinstance(lines, range) else lines + first
    rejected = RejectedRows(rows.rejected.max_rejected, rows.rejected.count)
    rejected.stored = [replace(row, line=row.line + first) for row in rows.rejected.stored]
    texts = rows.row_texts

    def row_texts(numbers: Sequence[int]) -> dict[int, str]:
        return {line + first: text for line, text in texts([number - first for number in numbers]).items()}

    return Rows(rows.columns, shifted, rejected, rows.notes, row_texts)


def _all_finite(numbers: pl.Series) -> bool:
    """Return whether all numbers are present and finite."""
    return not numbers.null_count() and bool(numbers.is_finite().all())


def _field_count_reason(n: int, expected: int) -> str:
    """Return the reason for rejecting a row with a wrong number of fields."""
    return f"{n} field{'s' if n != 1 else ''} instead of {expected}"
