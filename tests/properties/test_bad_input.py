"""Dirty tables in every reader: messages name the place and the reason, and no row is dropped silently."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.data.readers.files import TextFile
from cofactor.data.readers.read import read_events, read_ratings, read_table
from cofactor.data.readers.text_table import open_text_table, split_quoted, text_rows
from cofactor.errors import CofactorError, DataError, ParameterError

HEADER = "user,item,rating,timestamp\n"
GOOD = "1,10,4.5,880000000\n2,10,3,880000001\n"


def write(folder: Path, text: str | bytes, name: str = "r.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("3,10,nan,880000002", "the value is not finite"),
        ("3,10,NaN,880000002", "the value is not finite"),
        ("3,10,-inf,880000002", "the value is not finite"),
        ("3,10,1e39,880000002", "the value is too large"),
        ("3,10,1e999,880000002", "the value is too large"),
        ("3,10,,880000002", "the value is missing"),
        ("3,10,good,880000002", "the value is not a number"),
        ("3,10,1_0,880000002", "the value is not a number"),
        ('3,10,"3,5",880000002', "the value is written with a comma; decimals need a point"),
        (",10,3,880000002", "the user is missing"),
        ("3,   ,3,880000002", "the item is missing"),
        ('3,"",3,880000002', "the item is missing"),
        ("3,10,3", "3 fields instead of 4"),
        ("3,10,3,880000002,x", "5 fields instead of 4"),
        ("3,10,3,880000002,", "5 fields instead of 4"),
        ("3,10,3,yesterday", "the time is neither a number of seconds nor an ISO date"),
        ("3,10,3,", "the time is missing"),
        ("3,10,3,880000002000", "the time is in milliseconds while most are in seconds"),
        ("3,10,3,2020-01-01", "the time is in dates while most are in seconds"),
        ("3,1\0,3,880000002", "it contains a NUL byte"),
        ("", "a blank line"),
        ('3,"10,3,880000002', "an unclosed quote"),
        ('3,"10"x,3,880000002', "text after a closing quote"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_bad_row_is_named_with_its_line_and_reason(tmp_path: Path, row: str, reason: str, end: str) -> None:
    text = (HEADER + GOOD + row + "\n" + GOOD).replace("\n", end)
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_ratings(path)
    assert f"{path}, line 4: {reason}" in str(caught.value)
    assert "on_error" in str(caught.value)

    loaded = read_ratings(path, on_error="quarantine")
    assert loaded.report is not None
    assert [(r.line, r.reason, r.text) for r in loaded.report.rejected_rows] == [(4, reason, row)]
    assert (loaded.report.rows, loaded.report.duplicates, len(loaded)) == (5, 2, 2)
    with (tmp_path / "r.csv.rejected.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["line", "reason", "text"], ["4", reason, row]]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.csv", "r.csv.rejected.csv"]


def test_the_first_bad_row_is_named_and_the_others_are_counted(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, HEADER + "1,10,4,x\n1,10\n,10,3,5\n" + GOOD)
    with pytest.raises(DataError, match=r"line 2: the time is neither.*\(2 more bad rows\)"):
        read_ratings(path)


def test_values_off_the_declared_scale_are_rejected_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + GOOD)
    with pytest.raises(DataError, match="line 2: the value is not one of the declared levels"):
        read_ratings(path, rating_levels=[1, 2, 3, 4, 5])
    with pytest.raises(ParameterError, match="each value in rating_levels must be a finite number, not 'a'"):
        read_ratings(path, rating_levels=["a"])
    loaded = read_ratings(path, rating_levels=[1, 2, 3, 4, 5], on_error="quarantine")
    assert loaded.values.tolist() == [3.0]
    assert loaded.scale is not None
    assert loaded.scale.levels == (1, 2, 3, 4, 5)


def test_event_values_are_positive_and_rating_weights_are_not_negative(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,plays,weight\n1,1,2,-1\n1,2,0,1\n")
    with pytest.raises(DataError, match="line 3: the value of an event is not above 0"):
        read_events(path)
    with pytest.raises(DataError, match="line 2: the weight is below 0"):
        read_ratings(path)
    with pytest.raises(DataError, match="line 3: the weight is not finite"):
        read_ratings(write(tmp_path, "user,item,rating,weight\n1,1,2,1\n1,2,0,nan\n"))


def test_trailing_blank_lines_are_not_rows(tmp_path: Path) -> None:
    for tail in ("\n", "\n\n\n", "\r\n\r\n", "  \n\n"):
        loaded = read_ratings(write(tmp_path, HEADER + GOOD + tail))
        assert loaded.report is not None
        assert loaded.report.rows == 2
        assert not loaded.report.rejected_rows


def test_a_last_line_without_newline_is_read_and_reported(tmp_path: Path) -> None:
    loaded = read_ratings(write(tmp_path, (HEADER + GOOD).rstrip("\n")))
    assert len(loaded) == 2
    assert loaded.report is not None
    assert any("does not end in a newline" in note for note in loaded.report.notes)
    cut = write(tmp_path, HEADER + GOOD + "3,10,4")
    with pytest.raises(DataError, match="line 4: 3 fields instead of 4"):
        read_ratings(cut)


def test_line_numbers_are_correct_after_quoted_newlines_and_stray_quotes(tmp_path: Path) -> None:
    text = 'user,item,rating,note\n1,1,3,"two\nlines, ""quoted"""\n2,1,x,fine\n3,"1,4,open\n4,1,5,"end"\n'
    loaded = read_ratings(write(tmp_path, text), on_error="quarantine")
    assert loaded.report is not None
    assert [(r.line, r.reason) for r in loaded.report.rejected_rows] == [
        (4, "the value is not a number"),
        (5, "text after a closing quote"),
    ]
    assert loaded.users.all.to_list() == [1, 4]


def test_two_stray_quotes_do_not_merge_rows(tmp_path: Path) -> None:
    text = 'user,item,rating,note\n1,1,3,5" disk\n2,1,4,7" disk\n3,1,5,plain\n'
    assert len(read_ratings(write(tmp_path, text))) == 3


def test_a_short_row_and_a_long_row_are_both_rejected(tmp_path: Path) -> None:
    text = "user,item,rating,a,b\n1,1,3,x,y\n2,1,4,x\n3,1,5,x,y,z\n"
    loaded = read_ratings(write(tmp_path, text), on_error="quarantine")
    assert loaded.report is not None
    assert [r.line for r in loaded.report.rejected_rows] == [3, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (HEADER.encode(), "is empty: it has no data rows"),
        (HEADER.strip().encode(), "is empty: it has no data rows"),
        (HEADER.encode() + b"\n\n", "is empty: it has no data rows"),
        (b"\n" + (HEADER + GOOD).encode(), "line 1: a blank line"),
        ((HEADER + GOOD).encode("utf-16"), r"is UTF-16, not UTF-8 \(byte 0\).*iconv -f utf-16"),
        ((HEADER + GOOD).encode("utf-16-le"), r"is UTF-16, not UTF-8 \(byte 1\)"),
        ((HEADER + GOOD).encode("utf-16-be"), r"is UTF-16, not UTF-8 \(byte 0\)"),
        (np.random.default_rng(0).bytes(5000), "binary data"),
        (b"PK\x03\x04rest of a workbook", "zip archive or a spreadsheet"),
        ((HEADER + GOOD).replace("\n", "\r").encode(), "its lines end in CR without LF"),
        (b"user,item,r\xe9sum\xe9\n1,2,3\n", r"line 1: not UTF-8 text \(byte 0xe9\)"),
        (b"user,item,value\nJos\xe9,2,3\n", r"line 2: not UTF-8 text \(byte 0xe9\).*iconv -f latin1 -t utf-8"),
        (b"a,b,c\n1,2,3\n", "no column for the user was recognized among 'a', 'b', 'c'.*--user"),
        (b"user,uid,item,rating\n1,2,3,4\n", "the user column could be 'user' or 'uid'.*--user"),
        (b"user,item,item,rating\n1,2,3,4\n", "the item column could be 'item' or 'item'"),
        (b"user,item\n1,2\n", "no column for the value was recognized"),
        (b"\x1f\x8bjunk", "gzip file is damaged or truncated"),
        (b"\x28\xb5\x2f\xfdjunk", "zstd file is damaged or truncated"),
        (b"PAR1 and nothing else", "cannot be read"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "quarantine"])
def test_files_that_are_not_tables(tmp_path: Path, content: bytes, message: str, on_error: str) -> None:
    path = write(tmp_path, content)
    if on_error == "quarantine" and "line 2" in message:
        message = "all 1 rows were rejected"
    with pytest.raises(DataError, match=message):
        read_ratings(path, on_error=on_error)


def test_missing_files_folders_and_invalid_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_ratings(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_ratings(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a regular file"):
        read_ratings(tmp_path / "pipe")
    with pytest.raises(DataError, match="~no such person"):
        read_ratings("~no such person/r.csv")
    path = write(tmp_path, HEADER + GOOD + "x\n")
    with pytest.raises(DataError, match="cannot be written"):
        read_ratings(path, on_error="quarantine", quarantine=tmp_path / "none" / "q.csv")
    with pytest.raises(ParameterError, match="it is the source itself"):
        read_ratings(path, on_error="quarantine", quarantine=path)
    with pytest.raises(ParameterError, match="on_error must be"):
        read_ratings(path, on_error="ignore")
    with pytest.raises(ParameterError, match="requires on_error"):
        read_ratings(path, quarantine=tmp_path / "q.csv")
    with pytest.raises(ParameterError, match="format must be csv or tsv or"):
        read_ratings(path, format="excel")
    with pytest.raises(DataError, match=r"https://example\.org/r\.csv is not a database URL; to read a remote file"):
        read_ratings("https://example.org/r.csv")


@pytest.mark.parametrize("file_format", ["gz", "parquet"])
def test_truncated_files(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / f"r.{file_format}"
    if file_format == "gz":
        path.write_bytes(gzip.compress((HEADER + GOOD * 500).encode())[:-10])
    else:
        pl.DataFrame({"user": [1], "item": [2], "rating": [3.0]}).write_parquet(path)
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"damaged or truncated|cannot be read"):
        read_ratings(path, on_error="quarantine")


def test_utf8_with_a_byte_order_mark_blanks_in_the_header_and_crlf(tmp_path: Path) -> None:
    text = "\ufeff User ID , Movie-Id ,Rating\r\n1,a,3\r\n2,b,4\r\n"
    loaded = read_ratings(write(tmp_path, text))
    assert loaded.frame().rows() == [(1, "a", 3.0), (2, "b", 4.0)]
    headerless = read_ratings(write(tmp_path, b"\xef\xbb\xbf1,a,3\n2,b,4\n"))
    assert headerless.users.all.to_list() == [1, 2]


def test_a_line_of_a_megabyte(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    text = f'user,item,rating,note\n1,1,3,{long}\n2,1,4,"{long}\n{long}"\n3,1,bad,{long}\n'
    path = write(tmp_path, text)
    with pytest.raises(DataError, match="line 5: the value is not a number") as caught:
        read_ratings(path)
    assert len(str(caught.value)) < 600
    assert len(read_ratings(path, on_error="quarantine")) == 2


def test_ids_are_integers_only_if_all_are_canonical_decimals(tmp_path: Path) -> None:
    for odd in ("007", "+7", "-0", "9223372036854775808", " 7", "7.5", "x"):
        loaded = read_ratings(write(tmp_path, f"user,item,rating\n7,1,3\n{odd},1,4\n"))
        assert sorted(loaded.users.all.to_list()) == sorted(["7", odd])
        assert loaded.items.all.to_list() == [1]
    loaded = read_ratings(write(tmp_path, "user,item,rating\n7,1,3\n-7,1,4\n0,1,4\n9223372036854775807,1,1\n"))
    assert loaded.users.all.to_list() == [-7, 0, 7, 2**63 - 1]


def test_ids_that_differ_only_by_type(tmp_path: Path) -> None:
    rows = '{"user": 1, "item": "a", "rating": 3}\n{"user": "1", "item": "a", "rating": 4}\n'
    path = write(tmp_path, rows + rows.partition("\n")[0] + "\n", "r.jsonl")
    with pytest.raises(DataError, match="line 2: the user is a string while most are integers"):
        read_ratings(path)
    frame = pd.DataFrame({"user": pd.Series(["1", 1, "1"], dtype=object), "item": 1, "rating": 2.0})
    with pytest.raises(DataError, match="row 2: the user is an integer while most are strings"):
        read_ratings(frame)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not valid JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"user": 1, "item": 2}', "the value is missing"),
        ('{"user": 1, "item": 2, "rating": NaN}', "the value is missing"),
        ('{"user": 1, "item": 2, "rating": true}', "the value is not a number"),
        ('{"user": 1, "item": 2, "rating": [4]}', "the value is not a number"),
        ('{"user": null, "item": 2, "rating": 3}', "the user is missing"),
        ('{"user": 1.5, "item": 2, "rating": 3}', "the user is neither an integer nor a string"),
        ('{"user": {}, "item": 2, "rating": 3}', "the user is neither an integer nor a string"),
        ('{"user": "\\ud800", "item": 2, "rating": 3}', "the user is neither an integer nor a string"),
        ('{"user": 99999999999999999999, "item": 2, "rating": 3}', "the user does not fit into 64 bits"),
        ("[" * 100_000, "not valid JSON"),
        ("", "a blank line"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str, reason: str) -> None:
    good = '{"user": 1, "item": 2, "rating": 3}\n{"user": 3, "item": 2, "rating": 3}\n'
    path = write(tmp_path, good + line + "\n" + good, "r.jsonl")
    with pytest.raises(DataError, match=f"line 3: {reason}"):
        read_ratings(path)
    assert len(read_ratings(path, on_error="quarantine")) == 2
    with pytest.raises(DataError, match="is a JSON array"):
        read_ratings(write(tmp_path, "[" + good, "array.json"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [1, None], "item": [1, 1], "rating": [1.0, 2.0]}, "row 2: the user is missing"),
        ({"user": ["a", ""], "item": [1, 1], "rating": [1.0, 2.0]}, "row 2: the user is missing"),
        ({"user": [1, 2], "item": [1, 1], "rating": [1.0, float("nan")]}, "row 2: the value is"),
        ({"user": [1, 2], "item": [1, 1], "rating": ["1", "x"]}, "row 2: the value is not a number"),
        ({"user": [1.0, 2.5], "item": [1, 1], "rating": [1, 2]}, "row 2: the user is not an integer"),
        ({"user": [1, 2], "item": [True, False], "rating": [1, 2]}, "the item column contains Bool"),
        ({"user": [1, 2], "item": [1, 2], "rating": [True, False]}, "the value column contains Bool"),
        ({"user": [1, 2], "item": [1, 2], "rating": [1, 2], "time": [True, False]}, "time column contains Bool"),
        ({"user": [], "item": [], "rating": []}, "is empty"),
    ],
)
@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame])
def test_bad_frames(columns: dict[str, list[object]], message: str, make: type) -> None:
    with pytest.raises(DataError, match=message):
        read_ratings(make(columns))


def test_objects_that_are_not_tables() -> None:
    for source in (None, 3, [1, 2], {"user": [1]}, np.zeros(3)):
        with pytest.raises(DataError, match="cannot read a table from"):
            read_ratings(source)
    with pytest.raises(ParameterError, match="requires a file for rejected rows"):
        read_ratings(pl.DataFrame({"user": [1]}), on_error="quarantine")


def test_a_rejected_row_of_a_frame_is_written_to_the_named_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a", None], "item": [1, 2], "rating": [3.0, 4.0]})
    read_ratings(frame, on_error="quarantine", quarantine=tmp_path / "q.csv")
    assert (tmp_path / "q.csv").read_text().splitlines()[1] == '2,the user is missing,"None, 2, 4.0"'


def test_one_user_one_item_and_equal_ratings(tmp_path: Path) -> None:
    loaded = read_ratings(write(tmp_path, "user,item,rating\nana,alien,4\n"))
    assert (loaded.n_users, loaded.n_items, len(loaded)) == (1, 1, 1)
    assert loaded.scale is not None
    assert loaded.scale.levels == (4.0,)


def test_bad_rows_of_item_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: 3 fields instead of 2"):
        read_table(write(tmp_path, "item,title\n1,Alien\n2,Crouching Tiger, Hidden Dragon\n"))
    with pytest.raises(DataError, match="'title' occurs more than once"):
        read_table(write(tmp_path, "item,title,title\n1,Alien,Alien\n"))


CELL = st.sampled_from(
    ["1", "2", "007", "+1", "ana", "", " ", "x y", "3.5", "nan", "inf", "1e5", '"', '""', 'a"b', '"q"', '"a', "é",
     "880000000", "880000000000", "2020-01-01", "3,5", "\0", "\r", "::", ":", "-0", "1e40"]
)  # fmt: skip
DIRTY = st.lists(st.lists(CELL, min_size=0, max_size=5).map(",".join), max_size=12)
PLAIN = DIRTY.map(lambda lines: [line.replace('"', "'") for line in lines])


def data_lines(text: str) -> int:
    """An independent count: every line after the header, except trailing blank lines."""
    lines = text.split("\n")[1:]
    while lines and not lines[-1].strip(" \r"):
        lines.pop()
    return len(lines)


def outcome(path: Path, **options: Any) -> tuple[Interactions | None, str]:
    """Return what was read, or the message of the error; other errors are raised."""
    try:
        return read_ratings(path, **options), ""
    except CofactorError as error:
        return None, str(error)


@given(PLAIN, st.booleans())
def test_no_row_is_dropped_silently(tmp_path_factory: pytest.TempPathFactory, lines: list[str], ended: bool) -> None:
    text = HEADER + "\n".join(lines) + ("\n" if ended else "")
    path = write(tmp_path_factory.mktemp("dirty"), text)
    rejected_path = path.with_name("r.csv.rejected.csv")
    loaded, error = outcome(path, on_error="quarantine")
    if loaded is not None:
        assert loaded.report is not None
        assert loaded.report.rows == data_lines(text)
        assert len(loaded) + loaded.report.duplicates + len(loaded.report.rejected_rows) == data_lines(text)
    elif "binary data" not in error:
        assert f"all {data_lines(text)} rows were rejected" in error or data_lines(text) == 0
        assert rejected_path.exists() == (data_lines(text) > 0)
    if rejected_path.exists():
        with rejected_path.open(newline="") as file:
            count = data_lines(text) if loaded is None else len(loaded.report.rejected_rows)
            assert len(list(csv.reader(file))) - 1 == count


MILD = st.sampled_from(["1", "22", "x y", '"q"', '"x,y"', '"a""b"', "é", "-1.5", " z ", '"\'"'])
MILD_ROW = st.lists(MILD, min_size=4, max_size=4).map(",".join)
ODD_ROW = st.sampled_from(['1,a"b,2,3', '1,2,3,5"', '1,"a\nb",2,3', "1,2,3,", '1,2, "z",4', "1,2,3", '"1,2,3,4'])


@given(st.lists(MILD_ROW, min_size=1), st.lists(ODD_ROW, max_size=2), st.sampled_from(["\n", "\r\n"]))
def test_the_fast_pass_agrees_with_the_careful_pass(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], odd: list[str], end: str
) -> None:
    path = write(tmp_path_factory.mktemp("passes"), end.join([HEADER.strip(), *rows, *odd, *rows]))
    table = open_text_table(TextFile(path), ",", lambda _first: None)
    read = table.read({"user": 0, "item": 2}, None)
    good = [row for row in table.rows() if row.fields is not None]
    assert list(read.lines) == [row.line for row in good]
    assert read.columns["user"].fill_null("").to_list() == [row.fields[0] for row in good if row.fields]
    assert read.columns["item"].fill_null("").to_list() == [row.fields[2] for row in good if row.fields]
    assert read.rejected.count == sum(row.fields is None for row in table.rows())
    assert dict(read.row_texts(list(read.lines))) == {row.line: row.text for row in good}


NUMBER = st.sampled_from(
    ["1", "2.5", "-3", "+5", "007", "-0", "-0.0", " 5", "5 ", "\t5", "5\u00a0", ".5", "5.", "1e5", "1E2", "1e", "0x10",
     "1_0", "nan", "NaN", "-nan", "inf", "-Infinity", "+inf", "1e39", "1e999", "1e-400", "0.1", "16777217", "1e-45",
     "123456789.123456789", "0.30000000000000004", "9223372036854775807", "9223372036854775808", "1 2", "--1", "3;5",
     "-9223372036854775808", "880000000", "880000000000", "880000000.5", "2020-01-01", "", " ", '"4"', '""', '" 4"',
     "true", "\u0663", "x", "\r"]
)  # fmt: skip
NUMBERS = st.tuples(NUMBER, NUMBER, NUMBER)
PLAIN_NUMBERS = st.tuples(st.sampled_from(["4", "0.5"]), st.sampled_from(["880000000", "5"]), st.just("1"))


@given(st.lists(PLAIN_NUMBERS | NUMBERS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_numeric_columns_equal_parsed_text_columns(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]], end: str, ended: bool
) -> None:
    lines = ["user,item,rating,weight,time"]
    lines += [f"u{at},i,{value},{weight},{time}" for at, (value, time, weight) in enumerate(cells)]
    path = write(tmp_path_factory.mktemp("numbers"), end.join(lines) + ended * end)
    for on_error in ("raise", "quarantine"):
        table, error = outcome(path, on_error=on_error)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cofactor.data.readers.text_table._NUMBER_TYPES", {})
            text, text_error = outcome(path, on_error=on_error)
        assert error == text_error
        assert (table is None) == (text is None)
        if table is not None and text is not None:
            assert table.report == text.report
            assert table.frame().equals(text.frame())
            assert table.values.tobytes() == text.values.tobytes()


def test_columns_are_numeric_unless_a_cell_is_not_a_number(tmp_path: Path) -> None:
    for odd, dtype in (("5", pl.Float64), ("1e999", pl.String), ("nan", pl.String), ("", pl.String), ("x", pl.String)):
        table = open_text_table(TextFile(write(tmp_path, f"{HEADER}{GOOD}1,2,{odd},3\n\n")), ",", lambda _first: None)
        assert table.read({"user": 0, "value": 2}, None).columns["value"].dtype == dtype


@given(DIRTY)
def test_every_line_belongs_to_exactly_one_row(lines: list[str]) -> None:
    raw = [line.replace("\r", "").encode() for line in lines]
    rows = list(text_rows(raw, ","))
    content = [line for row in rows for line in row.text.split("\n")]
    trailing = raw[len(content) :]
    assert content == [line.decode() for line in raw[: len(content)]]
    assert all(not line.strip() for line in trailing)
    starts = np.cumsum([1] + [row.text.count("\n") + 1 for row in rows])[:-1]
    assert [row.line for row in rows] == starts.tolist()


@given(st.lists(st.text(alphabet='ab,"\n é'), min_size=1, max_size=5))
def test_quoted_fields_of_the_csv_module_round_trip(fields: list[str]) -> None:
    text = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert split_quoted(text, ",") == fields == next(csv.reader([text], strict=True))


@settings(max_examples=10)  # each Parquet file is read in a child process
@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_cause_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write(tmp_path_factory.mktemp("junk"), content, "junk.bin")
    for name in (None, "csv", "tsv", "::", "jsonl", "parquet"):
        loaded, error = outcome(path, format=name)
        assert loaded is not None or str(path) in error
