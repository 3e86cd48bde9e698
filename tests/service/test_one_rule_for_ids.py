"""Valid IDs are the same for files, frames, tables, the store, HTTP and the commands fit and serve."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.id_columns import invalid_id_reason
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import prepare
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Event, Store

IDS = {
    "Blade Runner": None,
    "  padded ": None,
    "x" * 256: None,
    "\U0001f600" * 256: None,
    "a\u200bb": None,
    "a\u2028b": None,
    'say "x", then y': None,
    "\ufffd": None,
    "x" * 257: "is longer than 256 characters",
    "x" * 300: "is longer than 256 characters",
    "a\nb": "contains a control character",
    "a\tb": "contains a control character",
    "a\x01b": "contains a control character",
    "a\x7f": "contains a control character",
    "a\x85b": "contains a control character",
    "\u00a0\u3000": "is empty",
}
NAMES = [name.encode("unicode_escape").decode()[:20] for name in IDS]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = ServiceSettings.of({"data": str(tmp_path_factory.mktemp("ids"))})
    table = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
    key = prepare(settings, table, TrainingSpec(cofactor.ExplicitALS(factors=1))).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def columns(text: str) -> dict[str, list[Any]]:
    """Three rows, the second of which has this user."""
    return {"user": ["ana", text, "bo"], "item": ["alien", "alien", "clue"], "rating": [5, 4, 2]}


def as_csv(path: Path, text: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating"])
        writer.writerows(zip(*columns(text).values(), strict=True))
    return path


def as_json(path: Path, text: str) -> Path:
    rows = zip(*columns(text).values(), strict=True)
    lines = [json.dumps(dict(zip(("user", "item", "rating"), row, strict=True))) for row in rows]
    path.with_suffix(".jsonl").write_text("\n".join(lines))
    return path.with_suffix(".jsonl")


def as_parquet(path: Path, text: str) -> Path:
    pl.DataFrame(columns(text)).write_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


SOURCES: dict[str, Callable[[Path, str], Any]] = {
    "csv": as_csv,
    "jsonl": as_json,
    "parquet": as_parquet,
    "polars": lambda _, text: pl.DataFrame(columns(text)),
    "categories": lambda _, text: pl.DataFrame(columns(text), schema_overrides={"user": pl.Categorical}),
    "pandas": lambda _, text: pd.DataFrame(columns(text)),
    "pyarrow": lambda _, text: pl.DataFrame(columns(text)).to_arrow(),
}


@pytest.mark.parametrize("text", IDS, ids=NAMES)
@pytest.mark.parametrize("source", SOURCES)
def test_readers(source: str, text: str, tmp_path: Path) -> None:
    table = SOURCES[source](tmp_path / "r.csv", text)
    if (fault := IDS[text]) is None:
        assert text in cofactor.read_ratings(table).users
        return
    fault = "is missing" if fault == "is empty" else fault
    with pytest.raises(DataError, match=rf"(line|row) [23]: the user {fault}"):
        cofactor.read_ratings(table)
    loaded = cofactor.read_ratings(table, on_error="quarantine", quarantine=tmp_path / "bad.csv")
    assert loaded.users.all.to_list() == ["ana", "bo"]
    assert loaded.report is not None
    assert loaded.report.rejection_counts == {f"the user {fault}": 1}


@pytest.mark.parametrize("text", IDS, ids=NAMES)
def test_tables_the_store_and_http(text: str, api: TestClient) -> None:
    store: Store = api.app.state.service.store  # type: ignore[attr-defined]
    fault = IDS[text]
    assert invalid_id_reason(text) == fault
    calls: list[Callable[[], Any]] = [
        lambda: Interactions.from_columns(["ana", text], ["alien", "alien"], [5, 4]),
        lambda: Interactions.from_columns(["ana", "bo"], [text, "alien"], [5, 4]),
        lambda: store.events.append([Event("ana", text, 5)]),
        lambda: store.events.load(
            pl.DataFrame({"user": [text], "item": ["alien"], "value": [5.0]}), kind="ratings", name=text
        ),
        lambda: store.users.put(text, {}),
    ]
    for call in calls:
        if fault is None:
            call()
        else:
            with pytest.raises(DataError, match=fault):
                call()
    sent = [
        api.post("/v1/events", json={"user": "ana", "item": text, "value": 5}),
        api.put("/v1/items", json={"items": [{"item": text}]}),
        api.put("/v1/users", json={"user": text, "metadata": {}}),
        api.get("/v1/recommendations", params={"user": text}),
        api.post("/v1/recommendations", json={"user": "ana", "exclude": [text]}),
        api.post("/v1/recommendations/batch", json={"users": ["ana", text]}),
        api.post("/v1/items/availability", json={"items": [text], "available": True}),
    ]
    assert [response.is_success for response in sent] == [fault is None] * len(sent)
    assert {response.status_code for response in sent if not response.is_success} <= {422}
    line = api.post("/v1/events/bulk", content=json.dumps({"user": text, "item": "alien", "value": 5}))
    assert line.json()["rejected"] == (fault is not None)


def test_a_row_of_the_table_is_named() -> None:
    with pytest.raises(DataError, match=r"row 3: the ID contains a control character: 'b.+tc'"):
        Interactions.from_columns(["ana", "bo", "b\tc", "a\tb"], ["x"] * 4, [1, 2, 3, 4])


def run(command: str, *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = (
        "import cofactor.service.supervisor as run\n"
        "run.serve = lambda settings, bound: bound.close()\n"
        "from cofactor.__main__ import main\n"
        "main()\n"
    )
    line = [sys.executable, "-c", script, command, "r.csv", *options]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.long
def test_fit_and_serve_accept_the_same_files(tmp_path: Path) -> None:
    fit = ["--model", "bias", "--output", "m.cofactor"]
    serve = ["--model", "bias", "--data", "data", "--port", "0"]
    wrong = ["a\tb", "a\nb", "x" * 300]
    with (tmp_path / "r.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["user", "item", "rating"], ["ana", "alien", 5], ["bo", "clue", 4]])
        csv.writer(file).writerows([text, "alien", 3] for text in wrong)
    stopped = [run("fit", *fit, folder=tmp_path), run("serve", *serve, folder=tmp_path)]
    for done in stopped:
        assert done.returncode == 2, done.stderr
        assert "r.csv, line 4: the user contains a control character" in " ".join(done.stderr.split())
    served = run("serve", *serve, "--on-error", "quarantine", folder=tmp_path)
    aside = (tmp_path / "r.csv.rejected.csv").read_text()
    fitted = run("fit", *fit, "--on-error", "quarantine", folder=tmp_path)
    assert (served.returncode, fitted.returncode) == (0, 0), (served.stderr, fitted.stderr)
    assert (tmp_path / "r.csv.rejected.csv").read_text() == aside
    assert [row[0] for row in csv.reader(aside.splitlines())][-3:] == ["4", "5", "7"]
    with Store.open(f"sqlite:///{tmp_path}/data/store.db") as store:
        assert sorted(event.user for event in store.events.after(0)) == ["ana", "bo"]


@pytest.mark.parametrize("time", ["-86400", "1969-12-31", "2611-01-01", "99999999999"])
def test_times_that_a_file_may_hold_can_be_served(time: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"user,item,rating,time\nana,alien,5,{time}\nbo,alien,4,{time}\n")
    table = cofactor.read_ratings(tmp_path / "r.csv")
    assert table.times is not None
    settings = ServiceSettings.of({"data": str(tmp_path / "data")})
    assert prepare(settings, table, TrainingSpec(cofactor.Bias())).is_first_model
    with Store.open(settings.url) as store:
        assert [event.time for event in store.events.after(0)] == table.times.tolist()
        store.events.append([Event("ana", "alien", 1)])
        assert store.events.user_snapshot("ana", "ratings")[0].value == 1.0
