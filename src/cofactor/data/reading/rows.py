"""The slow, careful pass over a text file: every row with the line it begins on, or why it is refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["NOT_UTF8", "Row", "split_quoted", "text_rows"]

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
