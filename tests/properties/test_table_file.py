"""Table files: import in chunks equals reading at once, and damaged or foreign files raise errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor import BPR, BiasedMF, ImplicitALS, Interactions, Recommender
from cofactor.data.readers import frame_table, importing, sql, text_table
from cofactor.errors import ArtifactError, CofactorError, DataError, KindError, ParameterError
from cofactor.estimators.base import Estimator


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "CHUNK_SIZE", 700)
    monkeypatch.setattr(frame_table, "CHUNK_ROWS", 37)
    monkeypatch.setattr(sql, "_CHUNK", 41)
    monkeypatch.setattr(importing, "BUCKET_ROWS", 53)
    monkeypatch.setattr(importing, "SLICE_ROWS", 29)


@pytest.fixture
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(19)
    n = 600  # with repeated pairs and equal times
    return pl.DataFrame(
        {
            "user": rng.integers(0, 30, n),
            "item": rng.integers(0, 25, n),
            "rating": rng.integers(1, 11, n) / 2,
            "time": rng.integers(1_000_000_000, 1_000_000_050, n),
            "weight": rng.uniform(0.5, 2, n).astype(np.float32),
        }
    )


def write_csv(frame: pl.DataFrame, path: Path) -> str:
    frame.write_csv(path / "r.csv")
    return str(path / "r.csv")


def write_text_ids(frame: pl.DataFrame, path: Path) -> str:
    users = pl.concat_str(pl.lit('u",'), pl.col("user"))
    comments = pl.lit('a "quoted"\ncomment, with\n\nlines')
    frame.with_columns(users.alias("user"), comments.alias("comment")).write_csv(path / "r.csv")
    return str(path / "r.csv")


def write_late_text(frame: pl.DataFrame, path: Path) -> str:
    users = pl.col("user").cast(pl.String)
    frame.with_columns(
        pl.when(pl.int_range(pl.len()) > 500).then("x" + users).otherwise(users).alias("user")
    ).write_csv(path / "r.csv")
    return str(path / "r.csv")


def write_floats(frame: pl.DataFrame, path: Path) -> str:
    users = pl.col("user").cast(pl.String)
    frame.with_columns(
        pl.when(pl.int_range(pl.len()) > 500).then(users + ".0").otherwise(users).alias("user")
    ).write_csv(path / "r.csv")
    return str(path / "r.csv")


def write_double_colons(frame: pl.DataFrame, path: Path) -> str:
    lines = ["::".join(map(str, row)) for row in frame.drop("weight").rows()]
    (path / "r.dat").write_text("\n".join(lines))  # the last line has no newline
    return str(path / "r.dat")


def write_parquet(frame: pl.DataFrame, path: Path) -> str:
    frame.write_parquet(path / "r.parquet", row_group_size=50)
    return str(path / "r.parquet")


def write_jsonl(frame: pl.DataFrame, path: Path) -> str:
    frame.write_ndjson(path / "r.jsonl")
    return str(path / "r.jsonl")


def write_sqlite(frame: pl.DataFrame, path: Path) -> str:
    with sqlite3.connect(path / "r.db") as connection:
        connection.execute("create table r (user integer, item integer, rating real, time integer, weight real)")
        connection.executemany("insert into r values (?, ?, ?, ?, ?)", frame.rows())
    return f"sqlite:///{path / 'r.db'}"


WRITERS: list[Callable[[pl.DataFrame, Path], str]] = [
    write_csv, write_text_ids, write_late_text, write_floats, write_double_colons, write_parquet, write_jsonl,
    write_sqlite,
]  # fmt: skip


def require_equal(mapped: Interactions, read: Interactions) -> None:
    for name in ("u", "i", "values", "times", "weights"):
        a, b = getattr(mapped, name), getattr(read, name)
        assert (a is None) == (b is None), name
        assert a is None or np.array_equal(a, b), name
    for name in ("start", "columns", "values"):
        assert np.array_equal(getattr(mapped.by_item, name), getattr(read.by_item, name)), name
    assert mapped.users.equals(read.users)
    assert mapped.items.equals(read.items)
    assert (mapped.kind, mapped.scale) == (read.kind, read.scale)


@pytest.mark.parametrize("kind", ["ratings", "events"])
@pytest.mark.parametrize("write", WRITERS)
def test_an_imported_table_equals_one_that_is_read_at_once(
    write: Callable[[pl.DataFrame, Path], str], kind: str, frame: pl.DataFrame, tmp_path: Path
) -> None:
    source, path = write(frame, tmp_path), tmp_path / "r.cofactor"
    read: Any = cofactor.read_ratings if kind == "ratings" else cofactor.read_events
    options = {"query": "select * from r order by rowid"} if source.startswith("sqlite") else {}
    expected, imported = read(source, **options), read(source, into=path, **options)
    require_equal(imported, expected)
    assert imported.report.as_dict() == expected.report.as_dict()
    require_equal(read(path), expected)
    assert not list(tmp_path.glob(".cofactor*"))


def test_a_column_of_positive_weights_is_the_count_of_events(tmp_path: Path) -> None:
    table = pl.DataFrame({"user": [1, 1, 2] * 40, "item": [1, 2, 1] * 40, "weight": [3.0, 2.0, 5.0] * 40})
    source = write_csv(table, tmp_path)
    require_equal(cofactor.read_events(source, into=tmp_path / "t"), cofactor.read_events(source))
    is_last = pl.int_range(pl.len()) == 119
    negative = write_csv(table.with_columns(pl.when(is_last).then(-1.0).otherwise("weight").alias("weight")), tmp_path)
    require_equal(cofactor.read_events(negative, into=tmp_path / "t"), cofactor.read_events(negative))


def test_bad_rows_of_any_chunk_are_set_aside_or_raise(frame: pl.DataFrame, tmp_path: Path) -> None:
    lines = Path(write_csv(frame, tmp_path)).read_text().splitlines()
    for place, line in ((30, "7,x"), (200, ""), (201, ""), (400, "7,8,nan,1000000000,1"), (590, '9,"open')):
        lines.insert(place, line)
    source = tmp_path / "bad.csv"
    source.write_text("\n".join(lines) + "\n\n\n")
    expected = cofactor.read_ratings(source, on_error="quarantine", quarantine=tmp_path / "a.csv")
    imported = cofactor.read_ratings(source, on_error="quarantine", quarantine=tmp_path / "b.csv", into=tmp_path / "t")
    require_equal(imported, expected)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    with pytest.raises(DataError, match="line 31: 2 fields instead of 5"):
        cofactor.read_ratings(source, into=tmp_path / "u")
    assert not (tmp_path / "u").exists()
    assert not list(tmp_path.glob(".cofactor*"))


@pytest.mark.parametrize("estimator", [ImplicitALS(factors=4), BPR(factors=4), BiasedMF(factors=4)])
def test_a_fit_to_a_mapped_table_is_bitwise_equal(
    estimator: Estimator, small_ratings: Interactions, small_events: Interactions, tmp_path: Path
) -> None:
    table = small_events if estimator.kind == "events" else small_ratings
    replace(table, seen=None).save(tmp_path / "t.cofactor")
    mapped = Interactions.load(tmp_path / "t.cofactor")
    assert isinstance(mapped.values.base, np.ndarray)
    assert not mapped.values.flags.writeable
    expected, fitted = estimator.fit(replace(table, seen=None)).arrays(), estimator.fit(mapped).arrays()
    assert all(np.array_equal(fitted[name], array) for name, array in expected.items())


def test_side_tables_and_text_ids_are_kept(tmp_path: Path) -> None:
    ratings = Interactions.from_columns(["ana", "bo"], ["alien", "clue"], [5, 4])
    titles = pl.DataFrame({"item": ["alien", "clue"], "title": ["Alien", "Clue"]})
    ratings = ratings.with_item_table(titles)
    ratings.save(tmp_path / "t.cofactor")
    loaded = Interactions.load(tmp_path / "t.cofactor")
    require_equal(loaded, ratings)
    assert loaded.titles is not None
    assert loaded.titles.to_list() == ["Alien", "Clue"]


def test_other_files_and_contents_are_refused(small_ratings: Interactions, tmp_path: Path) -> None:
    table, model, text = tmp_path / "t.cofactor", tmp_path / "m.cofactor", tmp_path / "r.csv"
    small_ratings.save(table)
    Recommender.fit(cofactor.Bias(), small_ratings).save(model)
    text.write_text("user,item,rating\n1,2,3\n")
    with pytest.raises(ArtifactError, match="contains a table, not a model"):
        Recommender.load(table)
    with pytest.raises(ArtifactError, match="is a model, not an interaction table"):
        Interactions.load(model)
    with pytest.raises(ArtifactError, match="contains a table and will not be overwritten by a model"):
        Recommender.load(model).save(table)
    with pytest.raises(ArtifactError, match="contains a model and will not be overwritten by a table"):
        small_ratings.save(model)
    with pytest.raises(ArtifactError, match="not a cofactor file"):
        cofactor.read_ratings(text, into=text)
    with pytest.raises(KindError, match="contains ratings; read it with read_ratings"):
        cofactor.read_events(table)
    with pytest.raises(ParameterError, match="user does not apply to"):
        cofactor.read_ratings(table, user="u")
    with pytest.raises(ParameterError, match="is a table file already"):
        cofactor.read_ratings(table, into=tmp_path / "other")
    with pytest.raises(ArtifactError, match="cannot be written: No such file or directory"):
        cofactor.read_ratings(text, into=tmp_path / "missing" / "t")
    with pytest.raises(DataError, match="excluded items"):
        small_ratings.to_events(min_rating=4).save(tmp_path / "e")


def test_a_damaged_table_raises_an_error(small_ratings: Interactions, tmp_path: Path) -> None:
    path = tmp_path / "t.cofactor"
    small_ratings.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3).tolist():
            damaged[place] = int(rng.integers(256))
        path.write_bytes(bytes(damaged) if rng.random() < 0.8 else whole[: int(rng.integers(len(whole)))])
        for verify in (True, False):
            try:
                table = Interactions.load(path, verify=verify)
            except CofactorError:
                continue
            assert not verify or path.read_bytes() == whole
            ImplicitALS(factors=2, epochs=1).fit(
                replace(table, kind="events", scale=None, values=abs(table.values) + 1)
            )
