"""Files of items and users at the command line: --items, --users, and their errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cofactor import Recommender, read_table
from tests.support.command_line import ok, run

RATINGS = "user,item,rating\n" + "".join(f"{u},{i},{(u * i) % 5 + 1}\n" for u in range(1, 13) for i in range(1, 9))
TITLES = [f"Film {i}" for i in range(1, 9)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "r.csv").write_text(RATINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fitted(home: Path, *options: object) -> Recommender:
    ok("fit", "r.csv", "-o", "m", "--model", "bias", *options)
    return Recommender.load(home / "m")


FILES: dict[str, str] = {
    "items.csv": "item,title\n" + "".join(f"{i},Film {i}\n" for i in range(1, 9)),
    "not_first.csv": "title,movieId\n" + "".join(f"Film {i},{i}\n" for i in range(1, 9)),
    "named.csv": "year,name,sku\n" + "".join(f"{i},Film {i},{i}\n" for i in range(1, 9)),
    "items.jsonl": "".join(json.dumps({"title": f"Film {i}", "item": i}) + "\n" for i in range(1, 9)),
    "texts.jsonl": "".join(json.dumps({"title": f"Film {i}", "item": str(i)}) + "\n" for i in range(1, 9)),
}


@pytest.mark.parametrize("name", FILES)
def test_items_are_joined_by_an_id_column_at_any_position(home: Path, name: str) -> None:
    (home / name).write_text(FILES[name])
    rec = fitted(home, "--items", name)
    assert rec.titles is not None
    assert rec.titles.to_list() == TITLES


@pytest.mark.parametrize("as_text", [False, True])
def test_items_in_parquet_are_joined_too(home: Path, as_text: bool) -> None:
    ids = pl.Series("item", range(1, 9)).cast(pl.String if as_text else pl.Float64)
    pl.DataFrame({"title": TITLES, "item": ids}).write_parquet("items.parquet")
    rec = fitted(home, "--items", "items.parquet")
    assert rec.titles is not None
    assert rec.titles.to_list() == TITLES


BAD_LINES: dict[str, tuple[str, str]] = {
    "too long": ("3,Film 3,more\n", "line 4: 3 fields instead of 2: '3,Film 3,more'"),
    "without an id": (",Film 3\n", "line 4: the item is missing: ',Film 3'"),
    "twice": ("2,Film 2 again\n", "line 4: the item 2 is already in line 3: '2,Film 2 again'"),
    "an open quote": ('3,"Film 3\n', "line 4: an unclosed quote"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_of_an_item_file_is_rejected_or_set_aside(home: Path, name: str) -> None:
    line, message = BAD_LINES[name]
    good = "".join(f"{i},Film {i}\n" for i in range(4, 9))
    (home / "i.csv").write_text(f"item,title\n1,Film 1\n2,Film 2\n{line}{good}")
    result = run("fit", "r.csv", "-o", "m", "--items", "i.csv", "--model", "bias")
    assert result.exit_code == 2
    assert f"i.csv, {message}" in result.stderr
    assert "--on-error quarantine" in result.stderr
    rec = fitted(home, "--items", "i.csv", "--on-error", "quarantine")
    assert rec.titles is not None
    assert rec.titles.to_list() == [title if title != "Film 3" else None for title in TITLES]
    rejected = pl.read_csv(home / "i.csv.rejected.csv")
    assert len(rejected) == 1
    assert message.startswith(f"line {rejected['line'][0]}: {rejected['reason'][0]}")
    stderr = ok("describe", "r.csv", "--items", "i.csv", "--on-error", "quarantine").stderr
    assert "1 rejected rows of i.csv were written to i.csv.rejected.csv" in stderr


def test_a_bad_line_of_json_and_of_a_user_file_are_set_aside(home: Path) -> None:
    (home / "u.jsonl").write_text('{"age": 20, "user": 1}\n{"age": 30, "user": \n{"age": 40}\n{"age": 50, "user": 2}\n')
    result = run("fit", "r.csv", "-o", "m", "--model", "bias", "--users", "u.jsonl")
    assert result.exit_code == 2
    assert "u.jsonl, line 2: not valid JSON" in result.stderr
    rec = fitted(home, "--users", "u.jsonl", "--on-error", "quarantine")
    assert rec.user_table is not None
    assert rec.user_table.drop_nulls().rows() == [(1, 20), (2, 50)]
    rejected = pl.read_csv(home / "u.jsonl.rejected.csv")
    assert rejected.select("line", "reason").rows() == [(2, "not valid JSON"), (3, "the user is missing")]


def test_bad_rows_of_all_files_are_set_aside_separately(home: Path) -> None:
    (home / "r.csv").write_text(RATINGS + "1,2\n")
    (home / "i.csv").write_text("item,title\n1,One,1\n2,Two\n")
    fitted(home, "--items", "i.csv", "--on-error", "quarantine", "--quarantine", "mine.csv")
    assert pl.read_csv(home / "mine.csv")["text"].to_list() == ["1,2"]
    assert pl.read_csv(home / "i.csv.rejected.csv")["text"].to_list() == ["1,One,1"]
    (home / "i.csv").write_text("item,title\n1,One,1\n")
    result = run("fit", "r.csv", "-o", "m", "-m", "biased-mf", "--items", "i.csv", "--on-error", "quarantine")
    assert result.exit_code == 2
    assert "i.csv: all 1 rows were rejected" in result.stderr


NO_MATCH: dict[str, tuple[str, str]] = {
    "no id in common": (
        "item,title\n100,A\n101,B\n",
        "0 of 8 items matched: column 'item' of the item table contains",
    ),
    "another spelling": ("item,title\n001,A\n002,B\n", "contains '001', '002', and the items are 1, 2, 3, ..."),
    "the column is another": (
        "title,key\nA,1\nB,2\n",
        "column 'key' matches: id_column='key' (on the command line --item-id",
    ),
    "no rows": ("item,title\n", "0 of 8 items matched: the item table has no rows"),
}


@pytest.mark.parametrize("name", NO_MATCH)
def test_items_of_which_none_matches_are_an_error(home: Path, name: str) -> None:
    text, message = NO_MATCH[name]
    (home / "i.csv").write_text(text)
    result = run("fit", "r.csv", "-o", "m", "-m", "biased-mf", "--items", "i.csv")
    assert result.exit_code == 2
    assert "\nerror: i.csv: " in result.stderr
    assert message in " ".join(result.stderr.split())
    assert not (home / "m").exists()


def test_users_of_which_none_matches_are_an_error(home: Path) -> None:
    (home / "u.csv").write_text("user,age\nana,20\nbo,30\n")
    result = run("fit", "r.csv", "-o", "m", "-m", "biased-mf", "--users", "u.csv")
    assert result.exit_code == 2
    assert "u.csv: 0 of 12 users matched: column 'user' of the user table contains 'ana', 'bo'" in result.stderr


def test_how_many_matched_is_printed(home: Path) -> None:
    (home / "i.csv").write_text(FILES["items.csv"])
    assert (
        "8 of 8 items matched the item table on its column 'item'" in ok("describe", "r.csv", "--items", "i.csv").stderr
    )
    (home / "i.csv").write_text("title,item\nA,1\nB,2\nC,99\n")
    command: list[Any] = [sys.executable, "-m", "cofactor", "describe", "r.csv", "--items", "i.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    message = "2 of 8 items matched the item table on its column 'item'; no row for 3, 4, 5, ..."
    assert done.stderr.count(message) == 1


def test_read_table_still_names_the_first_bad_line(home: Path) -> None:
    (home / "i.csv").write_text("item,title\n1,One\n2,Two,2\n3\n")
    with pytest.raises(ValueError, match=r"i.csv, line 3: 3 fields instead of 2: '2,Two,2' .1 more bad row."):
        read_table(home / "i.csv")
