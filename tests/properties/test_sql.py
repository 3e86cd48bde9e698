"""Ratings from SQL databases, on a real SQLite file and a real PostgreSQL server."""

from __future__ import annotations

import builtins
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cofactor.data.readers.read import read_events, read_ratings
from cofactor.data.readers.sql import is_url
from cofactor.errors import DataError, MissingExtraError, ParameterError
from tests.support.postgresql import Server

QUERY = "select user_id, item_id, rating, at as time from ratings"
ROWS = [(2, "tt7", 4.0, "1997-12-04 15:55:49"), (1, "tt1", 3.5, "1997-12-04 15:55:50")]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("create table ratings (user_id, item_id text, rating real, at text)")
        db.executemany("insert into ratings values (?, ?, ?, ?)", ROWS)
    db.close()
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def postgres_url(server: Server) -> str:
    url = server.new()
    with psycopg.connect(url) as db:
        db.execute("create table ratings (user_id numeric, item_id uuid, rating numeric(3,1), at timestamptz)")
        db.execute(
            "insert into ratings select n, ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, "
            "n % 5 + 0.5, timestamptz '1997-12-04 15:55:49Z' + n * interval '1 second' "
            "from generate_series(0, 24999) n"
        )
    return url


def test_a_query_of_sqlite(sqlite_url: str) -> None:
    loaded = read_ratings(sqlite_url, query=QUERY)
    assert loaded.frame().rows() == [(1, "tt1", 3.5, 881250950), (2, "tt7", 4.0, 881250949)]
    assert loaded.report is not None
    assert loaded.report.source == sqlite_url
    assert loaded.report.rows == 2
    events = read_events(sqlite_url, query="select user_id, item_id from ratings")
    assert events.values.tolist() == [1.0, 1.0]


def test_a_query_of_postgresql_streams_decimals_uuids_and_times(postgres_url: str) -> None:
    loaded = read_ratings(postgres_url, query=QUERY)
    assert len(loaded) == 25_000
    assert loaded.users.all[:3].to_list() == [0, 1, 2]
    assert loaded.items.all[1] == "00000000-0000-0000-0000-000000000001"
    assert loaded.values[:6].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 0.5]
    assert loaded.times is not None
    assert loaded.times[:2].tolist() == [881250949, 881250950]


def test_colons_and_percent_signs_in_a_query_are_not_parameters(sqlite_url: str, postgres_url: str) -> None:
    for url in (sqlite_url, postgres_url):
        query = QUERY + " where ' :x%s' like '% :x\\%s' or rating = 3.5 or '%(a)s' <> ':a'"
        assert len(read_ratings(url, query=query)) > 0


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_query_cannot_change_the_database(sqlite_url: str, postgres_url: str, database: str) -> None:
    url = sqlite_url if database == "sqlite" else postgres_url
    before = len(read_ratings(url, query=QUERY))
    with pytest.raises(DataError):
        read_ratings(url, query="delete from ratings")
    assert len(read_ratings(url, query=QUERY)) == before


def test_bad_rows_are_named_by_their_place_in_the_result(sqlite_url: str, tmp_path: Path) -> None:
    query = QUERY + " union all select 3, 'tt1', null, '1997-12-04' union all select 'x', 'tt1', 1, '1997-12-04'"
    with pytest.raises(DataError, match="row 3: the value is missing: '3, tt1, None, 1997-12-04'"):
        read_ratings(sqlite_url, query=query)
    with pytest.raises(ParameterError, match="requires a file for rejected rows"):
        read_ratings(sqlite_url, query=query, on_error="quarantine")
    loaded = read_ratings(sqlite_url, query=query, on_error="quarantine", quarantine=tmp_path / "q.csv")
    assert loaded.report is not None
    assert [(r.line, r.reason) for r in loaded.report.rejected_rows] == [
        (3, "the value is missing"),
        (4, "the user is a string while most are integers"),
    ]


def test_invalid_urls_and_queries(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a database requires a query"):
        read_ratings(sqlite_url)
    with pytest.raises(ParameterError, match="query applies only to databases"):
        read_ratings(tmp_path / "r.csv", query=QUERY)
    with pytest.raises(DataError, match=r"none\.db: there is no such database file"):
        read_ratings(f"sqlite:///{tmp_path}/none.db", query=QUERY)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DataError, match="no such table: shelves"):
        read_ratings(sqlite_url, query="select * from shelves")
    with pytest.raises(DataError, match="is empty"):
        read_ratings(sqlite_url, query=QUERY + " where rating > 9")
    with pytest.raises(DataError, match="no column for the value was recognized among 'user_id', 'item_id'"):
        read_ratings(sqlite_url, query="select user_id, item_id from ratings")
    with pytest.raises(DataError, match="not a valid database URL"):
        read_ratings("sqlite://:99999999x:/", query=QUERY)
    with pytest.raises(DataError, match="nosuchdb"):
        read_ratings("nosuchdb://host/name", query=QUERY)
    (tmp_path / "text.db").write_text("this is no database, but long enough to look at" * 99)
    with pytest.raises(DataError, match="file is not a database"):
        read_ratings(f"sqlite:///{tmp_path}/text.db", query=QUERY)


def test_messages_never_contain_passwords() -> None:
    with pytest.raises(DataError) as caught:
        read_ratings("postgresql://ana:s3cret@127.0.0.1:1/shop", query=QUERY)
    assert "s3cret" not in str(caught.value)
    assert "postgresql+psycopg://ana:***@127.0.0.1:1/shop" in str(caught.value)


def test_without_the_extra_the_message_names_what_to_install(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "sqlalchemy":
            raise ImportError("No module named 'sqlalchemy'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "cofactor\[sql\]"'):
        read_ratings(sqlite_url, query=QUERY)


def test_without_the_driver_the_message_names_it() -> None:
    with pytest.raises(MissingExtraError, match=r"mysql://host/shop needs the driver 'MySQLdb'"):
        read_ratings("mysql://host/shop", query=QUERY)


def test_urls_are_distinguished_from_paths() -> None:
    assert is_url("sqlite:///a.db")
    assert is_url("postgresql+psycopg://host/name")
    assert not is_url("C:\\data\\r.csv")
    assert not is_url("folder/r.csv")
    assert not is_url(Path("sqlite:///a.db"))
