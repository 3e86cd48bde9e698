"""Exactly the named file is read: brackets, stars, question marks and tildes in a path are characters like others."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import cofactor
from cofactor.data.readers.read import read_events, read_ratings, read_table
from cofactor.errors import DataError
from tests.support.command_line import run, stdout_of

TABLE = pl.DataFrame({"user": ["ana", "bo"], "item": ["x", "y"], "rating": [5.0, 2.0]})
DECOY = pl.DataFrame({"user": ["decoy", "bo"], "item": ["x", "y"], "rating": [1.0, 1.0], "note": [9, 9]})
FORMATS = ("parquet", "csv", "tsv", "jsonl", "csv.gz", "csv.zst", "jsonl.gz", "jsonl.zst")
NAMES = {
    "r[1]": ["r1"],
    "r[!x]": ["ry"],
    "r*": ["r", "rr"],
    "r?": ["rx"],
    "r{a,b}": ["ra", "rb"],
    "~root": [],
    "~": [],
    "a b%20#c": ["a b c"],
    "né [日]": ["né 日"],
    "$HOME": [],
    "**": ["r"],
    "user=7": [],
}


def write(frame: pl.DataFrame, path: Path) -> Path:
    ending = path.name.partition(".")[2]
    if ending == "parquet":
        content = frame.write_parquet
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            content(file)
        return path
    text = {"j": frame.write_ndjson, "t": lambda: frame.write_csv(separator="\t")}.get(ending[0], frame.write_csv)()
    packed = text.encode()
    if ending.endswith("gz"):
        packed = gzip.compress(packed)
    if ending.endswith("zst"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(packed)
        packed = sink.getvalue().to_pybytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed)
    return path


def is_the_named_file(path: Path | str) -> None:
    ratings = read_ratings(path)
    assert ratings.frame().rows() == TABLE.rows()
    assert ratings.report is not None
    assert ratings.report.rows == 2
    assert read_events(path).frame().rows() == TABLE.rows()
    table = read_table(path)
    assert table.columns == TABLE.columns
    assert table["user"].to_list() == ["ana", "bo"]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_path_with_special_characters_names_a_single_file(tmp_path: Path, ending: str) -> None:
    for name, others in list(NAMES.items())[: None if ending == "csv" else 4]:
        folder = tmp_path / f"folder {name}"
        path = write(TABLE, folder / f"{name}.{ending}")
        for other in others:
            write(DECOY, folder / f"{other}.{ending}")
            write(DECOY, tmp_path / f"folder {other}" / f"{name}.{ending}")
        if ending == "parquet":  # each read starts a process
            assert read_ratings(str(path)).frame().rows() == TABLE.rows()
        else:
            is_the_named_file(path)
    if ending == "parquet":
        assert read_table(tmp_path / "folder r[1]" / "r[1].parquet").rows() == TABLE.rows()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_name_in_this_folder_may_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    home = tmp_path / "home"
    write(DECOY, home / f"r.{ending}")
    write(TABLE, tmp_path / "~" / f"r.{ending}")
    write(TABLE, tmp_path / f"~x.{ending}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    is_the_named_file(f"./~/r.{ending}")
    is_the_named_file(f"~x.{ending}")
    assert read_ratings(f"~/r.{ending}").users.all.to_list() == ["bo", "decoy"]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_pattern_that_matches_only_other_files_is_not_a_file(tmp_path: Path, ending: str) -> None:
    write(TABLE, tmp_path / f"r1.{ending}")
    for name in (f"r[1].{ending}", f"*.{ending}", f"r?.{ending}"):
        for read in (read_ratings, read_events, read_table):
            with pytest.raises(DataError, match="there is no such file"):
                read(tmp_path / name)
    for read in (read_ratings, read_table):
        with pytest.raises(DataError, match="is a folder; pass the path of a file"):
            read(tmp_path)


def test_the_command_line_reads_the_named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(TABLE, tmp_path / "r[1].parquet")
    write(DECOY, tmp_path / "r1.parquet")
    items = pl.DataFrame({"item": ["x", "y"], "title": ["Alien", "Clue"]})
    write(items, tmp_path / "i[1].jsonl")
    write(items.with_columns(title=pl.lit("decoy")), tmp_path / "i1.jsonl")
    write(TABLE.select("user", "item"), tmp_path / "p*.csv")
    write(DECOY.select("user", "item"), tmp_path / "pp.csv")

    run("fit", "r[1].parquet", "-o", "m[1].cofactor", "--model", "bias", "--items", "i[1].jsonl")
    assert "Alien" in stdout_of("recommend", "m[1].cofactor", "--user", "bo")
    run("predict", "m[1].cofactor", "--pairs", "p*.csv", "-o", "o[1].csv")
    assert read_table(tmp_path / "o[1].csv")["user"].to_list() == ["ana", "bo"]


def test_data_sets_are_read_from_a_folder_with_brackets(tmp_path: Path) -> None:
    fetched = cofactor.datasets.fetch("movielens-100k")
    shutil.copytree(fetched, tmp_path / "sets [1]" / fetched.name)
    ratings = cofactor.datasets.load_movielens("100k", folder=tmp_path / "sets [1]")
    assert len(ratings) == 100_000
    assert ratings.titles is not None
