"""Stores on SQLite and on PostgreSQL: most tests run on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from cofactor.store import Store
from cofactor.store.schema import metadata
from tests.support.postgresql import Server

KINDS = ("sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    database_url: str = request.getfixturevalue("server").new()
    return database_url


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Empty store, reused by later tests, which must not change its schema."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    database_url: str = request.getfixturevalue("emptied_url")
    return database_url


@pytest.fixture
def emptied_url(server: Server) -> str:
    """URL of a database that is emptied for each test, which is ten times faster than creating it."""
    names = [name for name in metadata.tables if name != "settings"]
    with psycopg.connect(server.url("model"), autocommit=True) as connection:
        for name in names:
            connection.execute(f"DELETE FROM {name}")
        connection.execute("DELETE FROM settings WHERE name <> 'salt'")
        for sequence in ("impressions_id_seq", "models_version_seq", "jobs_id_seq"):
            connection.execute(f"ALTER SEQUENCE {sequence} RESTART")
    return server.url("model")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


@pytest.fixture(scope="session", params=KINDS)
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Store shared by all examples of a property."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('shared')}/store.db"
    else:
        url = request.getfixturevalue("server").new(template="template")
    with Store.open(url) as opened:
        yield opened


@pytest.fixture(scope="session")
def stall() -> Callable[[Store], Event]:
    """Stall a store: requests until the event is set are queued and then written together."""

    def begin(store: Store) -> Event:
        gate, inside = Event(), Event()

        def hold(_connection: object) -> None:
            inside.set()
            gate.wait(10)

        Thread(target=lambda: store._writer.run(hold)).start()
        assert inside.wait(10)
        return gate

    return begin
