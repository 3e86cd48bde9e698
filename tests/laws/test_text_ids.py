"""Ids as text, on request, in every reader; ids in floating point numbers only where no two can have become one."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import cofactor
from cofactor.data.readers.read import read_events, read_ratings, read_table
from cofactor.errors import DataError, ParameterError
from tests.support.command_line import ok, run

TABLE = pl.DataFrame({"user": [7, 12, 7], "item": [1234567890, 5, 5], "rating": [1.0, 2.0, 3.0]})
AS_TEXT = [("12", "5", 2.0), ("7", "1234567890", 1.0), ("7", "5", 3.0)]


def sources(folder: Path) -> list[Any]:
    TABLE.write_csv(folder / "r.csv")
    TABLE.write_csv(folder / "r.tsv", separator="\t")
    (folder / "careful.csv").write_text(TABLE.write_csv().replace("rating", '"rat\ning"'))
    TABLE.write_ndjson(folder / "r.jsonl")
    TABLE.write_parquet(folder / "r.parquet")
    files = [folder / name for name in ("r.csv", "r.tsv", "careful.csv", "r.jsonl", "r.parquet")]
    pandas = TABLE.to_pandas()
    return [*files, TABLE, TABLE.lazy(), TABLE.to_arrow(), pandas, pandas.astype(object), pandas.astype(float)]


def test_every_reader_reads_ids_as_text_on_request(tmp_path: Path) -> None:
    for source in sources(tmp_path):
        assert read_ratings(source, ids="text").frame().rows() == AS_TEXT
        assert read_ratings(source).users.all.to_list() == [7, 12]
    assert read_events(tmp_path / "r.csv", ids="text").items.all.to_list() == ["1234567890", "5"]
    with sqlite3.connect(tmp_path / "r.db") as database:
        database.execute("create table r (user, item, rating)")
        database.executemany("insert into r values (?, ?, ?)", TABLE.rows())
    database.close()
    url = f"sqlite:///{tmp_path / 'r.db'}"
    assert read_ratings(url, query="select * from r", ids="text").frame().rows() == AS_TEXT


def test_tables_of_items_have_text_ids_on_request(tmp_path: Path) -> None:
    for source in sources(tmp_path):
        table = read_table(source, ids="text")
        assert table["user"].to_list() == ["7", "12", "7"]
        assert table["item"].to_list() == ["1234567890", "5", "5"]
        assert table.columns == read_table(source).columns
    by_place = tmp_path / "items.dat"
    by_place.write_text("1::Alien\n2::Clue\n")
    assert read_table(by_place, ids="text").rows() == [("1", "Alien"), ("2", "Clue")]
    assert read_table(by_place).rows() == [(1, "Alien"), (2, "Clue")]
    with pytest.raises(DataError, match=r"row 2 of the table: the item is not an integer: 1\.5"):
        read_table(pl.DataFrame({"item": [1.0, 1.5], "title": ["a", "b"]}), ids="text")


def test_as_text_an_integer_and_its_text_are_one_id(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"user": 1, "item": "a", "rating": 3}\n{"user": "1", "item": "a", "rating": 4}\n')
    with pytest.raises(DataError, match="line 2: the user is a string while most are integers"):
        read_ratings(path)
    assert read_ratings(path, ids="text").frame().rows() == [("1", "a", 4.0)]
    path.write_text('{"user": 1.5, "item": "a", "rating": 3}\n')
    with pytest.raises(DataError, match="the user is neither an integer nor a string"):
        read_ratings(path, ids="text")
    padded = tmp_path / "r.csv"
    padded.write_text("user,item,rating\n007,1,3\n7,1,4\n")
    assert read_ratings(padded, ids="text").users.all.to_list() == ["007", "7"]


def test_ids_beyond_64_bits_are_read_as_text() -> None:
    wide = pl.DataFrame({"user": pl.Series([2**63, 2**63 + 1], dtype=pl.UInt64), "item": [1, 2], "rating": [1.0, 2.0]})
    with pytest.raises(DataError, match='row 1: the user does not fit into 64 bits; read IDs as text with ids="text"'):
        read_ratings(wide)
    assert read_ratings(wide, ids="text").users.all.to_list() == ["9223372036854775808", "9223372036854775809"]
    objects = wide.to_pandas().astype(object)
    with pytest.raises(DataError, match='does not fit into 64 bits; read IDs as text with ids="text"'):
        read_ratings(objects)
    assert read_ratings(objects, ids="text").users.all.to_list() == ["9223372036854775808", "9223372036854775809"]


def test_a_wrong_choice_names_the_argument() -> None:
    for read in (read_ratings, read_events, read_table):
        with pytest.raises(ParameterError, match="ids must be"):
            read(TABLE, ids="strings")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("dtype", "value", "bits"),
    [(np.float32, 16_777_217, 24), (np.float32, 20_000_000, 24), (np.float64, 2**53 + 1, 53), (np.float64, 1e300, 53)],
)
def test_ids_in_floating_point_numbers_that_may_have_merged_are_rejected(dtype: Any, value: float, bits: int) -> None:
    ids = np.array([1, value, value + 1], dtype)
    for frame in (
        pl.DataFrame({"user": [1, 2, 3], "item": ids, "rating": [1.0, 2.0, 3.0]}),
        pd.DataFrame({"user": [1, 2, 3], "item": ids, "rating": [1.0, 2.0, 3.0]}),
    ):
        for id_type in ("auto", "text"):
            with pytest.raises(DataError, match=rf"row 2: the item is a floating-point number of 2\*\*{bits} or more"):
                read_ratings(frame, ids=id_type)


def test_smaller_whole_floating_point_ids_are_read() -> None:
    for dtype, most in ((np.float32, 2**24 - 1), (np.float64, 2**53 - 1)):
        frame = pl.DataFrame({"user": np.array([1, most], dtype), "item": [1, 2], "rating": [1.0, 2.0]})
        assert read_ratings(frame).users.all.to_list() == [1, most]
        assert read_ratings(frame, ids="text").users.all.to_list() == sorted(["1", str(most)])


def test_decimal_ids_are_exact() -> None:
    ids = pl.Series([Decimal("9007199254740993.00"), Decimal("1.00")])
    frame = pl.DataFrame({"user": ids, "item": [1, 2], "rating": [1.0, 2.0]})
    assert read_ratings(frame).users.all.to_list() == [1, 9007199254740993]
    with pytest.raises(DataError, match="row 1: the user is not an integer"):
        read_ratings(frame.with_columns(user=pl.Series([Decimal("1.50"), Decimal("1.00")])))


def test_the_command_line_reads_ids_as_text(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "r.csv")
    pl.DataFrame({"item": [5, 1234567890], "title": ["Alien", "Clue"]}).write_csv(tmp_path / "i.csv")
    options = ["--ids", "text", "--items", str(tmp_path / "i.csv"), "--model", "bias", "-o", str(tmp_path / "m")]
    ok("fit", tmp_path / "r.csv", *options)
    recommender = cofactor.Recommender.load(tmp_path / "m")
    assert recommender.items.all.to_list() == ["1234567890", "5"]
    assert recommender.titles is not None
    assert recommender.titles.to_list() == ["Clue", "Alien"]
    done = run("describe", tmp_path / "r.csv", "--ids", "strings")
    assert done.exit_code == 2
    assert "--ids" in done.output
