"""One type of IDs in every interface: 17850 and 17850.0 are one integer, "17850" matches it, "017850" does not."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.id_columns import canonical_ids, integer_id, integer_ids
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.data.readers.read import read_ratings, read_table
from cofactor.errors import DataError, UnknownIdError
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import prepare
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from tests.support.command_line import json_of, run

NOTE = "user IDs are floating-point numbers; they were read as integers"
CAREFUL = '"rat\ning"'  # a header of two lines is read row by row


def csv_file(path: Path, users: list[Any], head: str = "rating", ending: str = ".csv", mark: str = ",") -> Path:
    lines = [mark.join(("user", "item", head)), *(f"{user}{mark}i{k}{mark}{k + 1}" for k, user in enumerate(users))]
    path = path.with_suffix(ending)
    path.write_text("\n".join(lines) + "\n")
    return path


def json_file(path: Path, users: list[Any]) -> Path:
    rows = [json.dumps({"user": user, "item": f"i{k}", "rating": k + 1}) for k, user in enumerate(users)]
    path.with_suffix(".jsonl").write_text("\n".join(rows))
    return path.with_suffix(".jsonl")


def frame(users: list[Any]) -> pl.DataFrame:
    n = len(users)
    return pl.DataFrame({"user": users, "item": [f"i{k}" for k in range(n)], "rating": [k + 1.0 for k in range(n)]})


def parquet_file(path: Path, users: list[Any]) -> Path:
    frame(users).write_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def database(path: Path, users: list[Any]) -> str:
    with sqlite3.connect(path.with_suffix(".db")) as connection:
        connection.execute("create table r (user, item, rating)")
        connection.executemany(
            "insert into r values (?, ?, ?)", frame(users).with_columns(user=pl.Series(users)).rows()
        )
    connection.close()
    return f"sqlite:///{path.with_suffix('.db')}"


SOURCES: dict[str, Callable[[Path, list[Any]], Any]] = {
    "csv": csv_file,
    "careful csv": lambda path, users: csv_file(path, users, CAREFUL),
    "tsv": lambda path, users: csv_file(path, users, ending=".tsv", mark="\t"),
    "colons": lambda path, users: csv_file(path, users, ending=".dat", mark="::"),
    "jsonl": json_file,
    "parquet": parquet_file,
    "polars": lambda _, users: frame(users),
    "pandas": lambda _, users: frame(users).to_pandas(),
    "pandas objects": lambda _, users: frame(users).to_pandas().astype({"user": object}),
    "pyarrow": lambda _, users: frame(users).to_arrow(),
    "sql": database,
}


def read(source: Any, **more: Any) -> Interactions:
    return read_ratings(source, query="select * from r" if "://" in str(source)[:20] else None, **more)


@pytest.mark.parametrize("name", SOURCES)
def test_integral_floats_are_integers_in_every_source_and_the_report_notes_it(name: str, tmp_path: Path) -> None:
    floats = read(SOURCES[name](tmp_path / "floats", [17850.0, 12.0, 17850.0]))
    integers = read(SOURCES[name](tmp_path / "integers", [17850, 12, 17850]))
    assert floats.report is not None
    assert integers.report is not None
    assert floats.users.all.to_list() == integers.users.all.to_list() == [12, 17850]
    assert NOTE in floats.report.notes
    assert NOTE not in integers.report.notes
    assert floats.users.rows(["17850", "017850", "17850.0"]).tolist() == [1, -1, -1]


@pytest.mark.parametrize("name", SOURCES)
def test_leading_zeros_make_a_text_of_its_own_in_every_source(name: str, tmp_path: Path) -> None:
    users = read(SOURCES[name](tmp_path / "r", ["017850", "17850"])).users
    assert users.all.to_list() == ["017850", "17850"]
    for integer in (17850, 17850.0, np.int32(17850), np.float32(17850), "17850"):
        assert users.row(integer) == 1  # type: ignore[arg-type]
        assert integer in users
    assert users.row("017850") == 0


@pytest.mark.parametrize("head", ["rating", CAREFUL])
def test_a_column_that_pandas_wrote_with_a_missing_id(head: str, tmp_path: Path) -> None:
    path = csv_file(tmp_path / "r", [17850.0, "", 12.0], head)
    with pytest.raises(DataError, match="the user is missing"):
        read_ratings(path)
    table = read_ratings(path, on_error="quarantine")
    assert table.users.all.to_list() == [12, 17850]
    assert table.report is not None
    assert NOTE in table.report.notes


def test_a_side_table_with_a_missing_id(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("item,title\n50.0,Alien\n,Clue\n")
    assert read_table(tmp_path / "films.csv")["item"].to_list() == [50, None]


def test_a_number_and_a_float_of_one_column_are_one_id(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "r", ["17850.0", "17850", "7"])
    assert read_ratings(path).users.all.to_list() == [7, 17850]
    assert read_ratings(json_file(tmp_path / "r", [17850.0, 17850, 7])).users.all.to_list() == [7, 17850]
    assert read_ratings(path, ids="text").users.all.to_list() == ["17850", "17850.0", "7"]


CELLS = ["17850", "17850.0", "12.00", "0", "0.0", "-7", "-7.0", "017850", "017850.0", "1.5", "1.", ".0", "+7", "-0",
         "-0.0", "1e3", "ana", " 7", "9223372036854775807", "9223372036854775808",
         "9007199254740993.0", "\u0663"]  # fmt: skip


@pytest.mark.parametrize("n_files", [40, pytest.param(150, marks=pytest.mark.long)])
def test_both_readers_of_text_agree(tmp_path: Path, n_files: int) -> None:
    integer_columns = 0
    for seed in range(n_files):
        draw = random.Random(seed)
        cells = draw.sample(CELLS[:7] if draw.random() < 0.6 else CELLS, draw.randint(1, 4))
        quick = read_ratings(csv_file(tmp_path / "quick", cells))
        careful = read_ratings(csv_file(tmp_path / "careful", cells, CAREFUL))
        assert quick.users.all.to_list() == careful.users.all.to_list()
        assert quick.report is not None
        assert careful.report is not None
        assert (NOTE in quick.report.notes) == (NOTE in careful.report.notes)
        numbers = [integer_id(cell, parse=True) for cell in cells]
        expected = set(numbers) if None not in numbers else set(cells)
        assert set(quick.users.all) == expected
        integer_columns += None not in numbers
    assert n_files / 3 < integer_columns < 0.94 * n_files


def test_one_by_one_and_column_by_column_are_one_rule() -> None:
    for parse in (False, True):
        one_by_one = [integer_id(cell, parse=parse) for cell in CELLS]
        assert integer_ids(pl.Series(CELLS), parse=parse).to_list() == one_by_one
        assert all(len(canonical_ids(pl.Series([cell]), parse=parse).to_list()) == 1 for cell in CELLS)
        integers = IdMap.of([number for number in one_by_one if number is not None])
        assert (integers.rows(CELLS, parse=parse) >= 0).tolist() == [number is not None for number in one_by_one]
        assert integers.rows(CELLS * 9, parse=parse).tolist() == integers.rows(CELLS, parse=parse).tolist() * 9
    numbers = [7.0, -7.0, 7.5, float("nan"), float("inf"), 2.0**53, 2.0**53 - 1, -0.0]
    assert integer_ids(pl.Series(numbers)).to_list() == [integer_id(number) for number in numbers]
    assert integer_ids(pl.Series(numbers, dtype=pl.Float32)).to_list() == [
        integer_id(number) for number in np.float32(numbers)
    ]


@pytest.mark.parametrize("column", [list, np.array, pl.Series, pd.Series, lambda x: pl.Series(x).to_arrow()])
def test_columns_of_floats(column: Callable[[list[float]], Any]) -> None:
    table = Interactions.from_columns(column([17850.0, 12.0]), ["a", "b"], [5, 4])
    assert table.users.all.to_list() == [12, 17850]
    assert table.report is not None
    assert table.report.notes == (NOTE,)
    for faulty, message in ((12.5, "row 2: 12.5 is not an ID"), (float("nan"), "row 2: the ID is missing")):
        with pytest.raises(DataError, match=f"users: {message}"):
            Interactions.from_columns(column([17850.0, faulty]), ["a", "b"], [5, 4])


def ratings() -> Interactions:
    rng = np.random.default_rng(0)
    users, items = rng.integers(17_840, 17_860, 300), rng.integers(100, 130, 300)
    return Interactions.from_columns([*users, 17_850], [*items, 100], [*(users + items) % 5 + 1, 5])


def test_the_recommender_takes_floats() -> None:
    rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings())
    expected = rec.recommend(17850, n=3)
    for user in (17850.0, np.float32(17850), "17850", pd.Series([17850.0]), [17850.0]):
        assert rec.recommend(user, n=3)["item"].to_list() == expected["item"].to_list()
    assert rec.predict(17850.0, 100.0) == rec.predict("17850", "100") == rec.predict(17850, 100)
    assert rec.explain(17850.0, 100.0).equals(rec.explain(17850, 100))
    for user in ("017850", "17850.0"):
        with pytest.raises(UnknownIdError):
            rec.recommend(user)
    with pytest.raises(DataError):
        rec.recommend(17850.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("model") / "m.cofactor")
    cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), ratings()).save(path)
    return path


def test_the_command_line(model: str, tmp_path: Path) -> None:
    expected = json_of("recommend", model, "--user", "17850", "-n", "3")
    assert expected == json_of("recommend", model, "--user", "17850.0", "-n", "3")
    assert all(isinstance(row["item"], str) for row in expected)
    (pair,) = json_of("predict", model, "--user", "17850.0", "--item", "100.0")
    assert (pair["user"], pair["item"]) == ("17850", "100")
    csv_file(tmp_path / "pairs", [17850.0, 17851.0])
    lines = [f"{user},{item}" for user, item in (("17850.0", "100.0"), ("17851.0", "101.0"))]
    (tmp_path / "pairs.csv").write_text("user,item\n" + "\n".join(lines) + "\n")
    pairs = json_of("predict", model, "--pairs", str(tmp_path / "pairs.csv"))
    assert pairs[0] == pair
    assert [row["user"] for row in pairs] == ["17850", "17851"]
    assert isinstance(json_of("similar", model, "--item", "100.0")[0]["item"], str)
    explained = json_of("explain", model, "17850.0", "101.0")
    assert (explained["user"], explained["item"]) == ("17850", "101")
    assert explained["effects"]
    assert all(isinstance(effect["item"], str) for effect in explained["effects"])
    rated = json_of("recommend", model, "--rated", "100.0=5", "-n", "3")
    assert rated == json_of("recommend", model, "--rated", "100=5", "-n", "3")
    assert run("recommend", model, "--user", "017850").exit_code != 0
    csv = csv_file(tmp_path / "r", [17850.0, 12.0])
    assert json_of("describe", str(csv))["crosstab"]["users"] == ["12", "17850"]


def test_http(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    key = prepare(settings, ratings(), TrainingSpec(cofactor.ExplicitALS(factors=2))).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"

        def recommended(user: str) -> tuple[str, list[Any]]:
            answer = client.get("/v1/recommendations", params={"user": user, "n": 5}).json()
            return answer["answered_by"], [row["item"] for row in answer["items"]]

        by, items = recommended("17850")
        assert by == "model"
        assert all(isinstance(item, str) for item in items)
        assert recommended("17850.0") == (by, items)
        assert recommended("017850")[0] != "model"
        for user in (17850, 17850.0, "17850"):
            for item in (items[0], float(items[0]), int(items[0])):
                sent = client.post("/v1/events", json={"user": user, "item": item, "value": 5})
                assert sent.is_success, sent.text
        by, later = recommended("17850")
        assert items[0] not in later
        assert recommended("17850.0") == (by, later)
        client.post("/v1/events", json={"user": "017850", "item": items[1], "value": 5})
        assert items[1] in recommended("17850")[1] + [items[1]]
        assert recommended("17850") == (by, later)
        history = [{"item": float(items[0]), "value": 5}]
        answers = [
            client.post("/v1/recommendations", json={"history": [{**history[0], "item": item}], "n": 3}).json()["items"]
            for item in (items[0], float(items[0]), int(items[0]))
        ]
        assert answers[0] == answers[1] == answers[2]
