"""Property of the text readers: a file gives exactly the cells of its rows, whichever pass reads it.

The files are generated: quotes, separators, line ends, byte order marks, blanks, blank lines, ragged rows. The expected
rows come from regular expressions in this file, which share no code with the package.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cofactor.data.readers.read import read_ratings, read_table
from cofactor.errors import DataError

BOM = b"\xef\xbb\xbf"
BLANKS = "\t\n\v\f\r \x85\u00a0\u2028"  # Unicode white space, as far as it is generated here


def expected_rows(content: bytes, separator: str) -> Iterator[tuple[int, list[str] | None]]:
    """Yield the line and the fields of every row; None for the fields of a row that must be rejected."""
    lines = content.removeprefix(BOM).split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines]
    while lines and not lines[-1].strip(b" \r"):
        lines.pop()
    sep = re.escape(separator)
    quoted, bare = '"(?:[^"]|"")*"', f'(?!")(?:(?!{sep}).)*'
    field = f"(?:{quoted}|{bare})"
    complete = re.compile(rf"{field}(?:{sep}{field})*", re.DOTALL)
    still_open = re.compile(rf'(?:{field}{sep})*"(?:[^"]|"")*', re.DOTALL)
    cut = re.compile(rf"({field})(?:{sep}|\Z)", re.DOTALL)
    at = 0
    while at < len(lines):
        last = at
        text = lines[at].decode()
        if not text.strip(" \r") or "\0" in text:
            yield at + 1, None
        elif separator == "::" or '"' not in text:
            yield at + 1, text.split(separator)
        else:
            while not complete.fullmatch(text) and still_open.fullmatch(text) and last + 1 < len(lines):
                last += 1
                text += "\n" + lines[last].decode()
            if complete.fullmatch(text):
                yield at + 1, [unquoted(part) for part in fields_of(cut, text)]
                at = last
            else:
                yield at + 1, None
        at += 1


def fields_of(cut: re.Pattern[str], text: str) -> list[str]:
    parts, at = [], 0
    while (match := cut.match(text, at)) is not None:
        parts.append(match[1])
        at = match.end()
        if match.end(1) == len(text):
            break
    return parts


def unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


USERS = ["1", "22", "007", "ana", "bo b", " zoe", "é", "日本", "x-y", "0", "-7", "1.5", "'q'", "a\tb", "N/A", "null"]
VALUES = ["1", "2.5", "5", " 4", "3 ", "5e0", "-1", "x", "", "nan", "4 5", "1e400", "2,5"]
WILD = ['"', '""', '"x"y"z"', 'a"b', '5" disk', '"a"b', '"open', 'end"', '" padded "', '""""', '"a""b"', '"""', ' "a"',
        '"a" ', "::", ":", ",", ";", "|", "\t", "\r", "a\rb", "", " ", "\u2028", "\x0b", "\x01", "\u00a0", "#",
        "\\", '\\"', "\ufeff", '"a\nb"', '"\n"', '"a\r\nb"', "'", "`", "=1+1", "\x85", "\x1c"]  # fmt: skip


@dataclass(frozen=True)
class Generated:
    """A file of text, and how to read it."""

    content: bytes
    separator: str
    format: Any


def generated(seed: int) -> Generated:
    """Draw a file: most are nearly clean, so that the fast pass is used; some are arbitrary."""
    draw = random.Random(seed)
    separator = draw.choice([",", ",", ",", "\t", ";", "|", "::"])
    width = draw.choice([2, 3, 3, 3, 4, 4, 5])
    wildness = draw.choice([0.0, 0.0, 0.02, 0.1, 0.5])
    end = draw.choice(["\n", "\n", "\r\n", "mixed"])
    quoting = draw.choice([0.0, 0.2, 1.0]) if separator != "::" else 0.0

    def quote(text: str, always: bool) -> str:
        needed = separator in text or '"' in text
        if separator != "::" and (needed or always or draw.random() < quoting):
            return '"' + text.replace('"', '""') + '"'
        return text

    def cell(place: int) -> str:
        if draw.random() < wildness:
            wild = draw.choice(WILD)
            return wild if draw.random() < 0.7 else quote(wild, always=True)
        if place == 2:
            return quote(draw.choice(VALUES[:3] if draw.random() < 0.9 else VALUES), always=False)
        if place == 3 and draw.random() < 0.05:
            return quote("long " * draw.choice([20, 2000, 30_000]), always=False)
        if separator != "::" and draw.random() < 0.1:
            return quote(draw.choice(['The "best", ever', f"a{separator}b", 'say ""', "it's"]), always=True)
        return quote(draw.choice(USERS), always=False)

    def row() -> str:
        cells = [cell(place) for place in range(width)]
        if draw.random() < wildness / 4:
            cells = cells[:-1] if draw.random() < 0.5 else [*cells, cell(4)]
        return separator.join(cells)

    names = ["user", "item", "rating", "note", "more"][:width]
    rows = [separator.join(quote(name, always=False) for name in names)]
    for _ in range(draw.choice([1, 2, 5, 20])):
        rows.append(row())
        if draw.random() < wildness / 4:
            rows.append(draw.choice(["", " ", "\r", "  "]))
    rows += draw.choice([[], [], [], [""], ["", ""], [" "]])
    ends = [draw.choice(["\n", "\r\n"]) if end == "mixed" else end for _ in rows]
    if draw.random() < 0.2:
        ends[-1] = ""
    text = "".join(line + after for line, after in zip(rows, ends, strict=True))
    start = BOM if draw.random() < 0.2 else b""
    format_ = {"\t": "tsv", "::": "::"}.get(separator, "csv")
    return Generated(start + text.encode(), separator, format_)


def check(file: Generated, path: Path) -> bool:
    """Read the file as a table and as ratings and compare both; True if it was read as a table."""
    path.write_bytes(file.content)
    (_, header), *rows = expected_rows(file.content, file.separator)
    assert header is not None
    good = {line: row for line, row in rows if row is not None and len(row) == len(header)}
    bad = [line for line, _ in rows if line not in good]
    _check_ratings(file, path, header, good, bad)
    if bad:
        with pytest.raises(DataError, match=f"line {bad[0]}:"):
            read_table(path, format=file.format)
        return False
    table = read_table(path, format=file.format)
    cells = [["" if cell is None else str(cell) for cell in row] for row in table.rows()]
    assert cells == list(good.values())
    return True


def is_id(text: str) -> bool:
    return bool(text.strip(BLANKS)) and len(text) <= 256 and not re.search("[\x00-\x1f\x7f-\x9f]", text)


def _check_ratings(file: Generated, path: Path, header: list[str], good: dict[int, list[str]], bad: list[int]) -> None:
    if "rating" not in header:
        return
    expected: dict[tuple[str, str], float] = {}
    rejected = set(bad)
    for line, (user, item, value, *_) in good.items():
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not (is_id(user) and is_id(item) and abs(number) < 1e38):
            rejected.add(line)
        else:
            expected[user, item] = number
    if not expected:
        return
    loaded = read_ratings(path, format=file.format, on_error="quarantine")
    assert loaded.report is not None
    assert {row.line for row in loaded.report.rejected_rows} == rejected
    assert {(str(user), str(item)): value for user, item, value in loaded.frame().rows()} == expected


def test_text_after_a_closing_quote_is_rejected_by_the_fast_pass_too(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('user,item,rating\n"x"y"z",1,5\n"x""y",1,4\nb,2,3\n')
    with pytest.raises(DataError, match="line 2: text after a closing quote"):
        read_ratings(path)
    assert read_ratings(path, on_error="quarantine").frame().rows() == [("b", 2, 3.0), ('x"y', 1, 4.0)]


@pytest.mark.parametrize("size", [(1 << 18) - 50, (1 << 18) - 38, (1 << 18) - 26])
def test_quotes_at_the_end_of_a_block_are_detected(tmp_path: Path, size: int) -> None:
    path = tmp_path / "r.csv"
    for shift in range(12):
        start = "note,user,item,rating\n" + "a" * (size + shift) + ',u,1,5\nn,"b",'
        path.write_text(start + '"x""y",4\n')
        assert read_ratings(path).items.all.to_list() == ["1", 'x"y']
        path.write_text(start + '"x"y"z",4\n')
        with pytest.raises(DataError, match="line 3: text after a closing quote"):
            read_ratings(path)


@pytest.mark.parametrize(("first", "count"), [(0, 100), pytest.param(100, 19_900, marks=pytest.mark.long)])
def test_generated_files_are_read_correctly(tmp_path: Path, first: int, count: int) -> None:
    read = 0
    for seed in range(first, first + count):
        try:
            read += check(generated(seed), tmp_path / f"r{seed % 7}.txt")
        except BaseException as error:
            error.add_note(f"generated({seed})")
            raise
    assert 0.3 * count < read < 0.9 * count  # both outcomes are tested
