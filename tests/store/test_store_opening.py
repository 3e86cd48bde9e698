"""Opening a store: schema, durability settings and access by threads and processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from cofactor.errors import MissingExtraError, StoreError, StoreUnavailableError
from cofactor.store import Event, Store
from cofactor.store.migrations import NEWEST, VERSION_TABLE
from cofactor.store.schema import metadata

TWENTY_OPENINGS = """
import sys
from cofactor.store import Event, Store
with Store.open(sys.argv[1]) as store:
    store.events.append([Event(sys.argv[2], n, 1) for n in range(50)])
"""


def test_the_migrations_end_in_the_schema_that_the_code_uses(store: Store) -> None:
    with store._database.read_transaction() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert context.get_current_revision() == NEWEST
        assert compare_metadata(context, metadata) == []


def test_threads_create_separate_stores_at_once(tmp_path: Path) -> None:
    def create(name: str) -> int:
        with Store.open(f"sqlite:///{tmp_path}/{name}.db") as store:
            return store.events.append([Event("ana", "alien", 5)])[0].seq

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(create, "abcdefgh")) == [1] * 8


def test_the_newest_revision_is_the_head_of_the_scripts() -> None:
    from importlib.resources import files

    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(files("cofactor.store.migrations")))
    assert scripts.get_heads() == [NEWEST]


def test_processes_that_open_an_empty_database_at_once_create_one_store(empty_url: str) -> None:
    command = [sys.executable, "-c", TWENTY_OPENINGS, empty_url]
    running = [subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, text=True) for n in range(4)]
    for process in running:
        assert process.wait(60) == 0, process.communicate()[1]
    with Store.open(empty_url) as store:
        assert [event.seq for event in store.events.after(0)] == list(range(1, 201))
        assert all(len(store.events.of_user(user)) == 50 for user in range(4))


def test_threads_that_open_an_empty_database_at_once_create_one_store(empty_url: str) -> None:
    opened: list[Store] = []
    threads = [threading.Thread(target=lambda: opened.append(Store.open(empty_url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store._writer and store.erasure._salt for store in opened}) == 1
    assert len(opened) == 6
    for store in opened:
        store.close()


def test_a_newer_store_is_rejected(empty_url: str) -> None:
    with Store.open(empty_url) as store:
        store._writer.run(lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'v999'")).close())
    with pytest.raises(
        StoreError, match=r"was written by a newer version of cofactor \(schema revision v999\); upgrade cofactor"
    ):
        Store.open(empty_url)


def test_a_database_with_foreign_tables_is_rejected_and_not_changed(empty_url: str) -> None:
    from cofactor.store.connect import Database

    database = Database.from_url(empty_url)
    with database.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE users (name text)")
    with pytest.raises(StoreError, match="contains a table 'users' of another application; use a separate database"):
        Store.open(empty_url)
    with database.transaction() as connection:
        connection.exec_driver_sql("DROP TABLE users")
        connection.exec_driver_sql("CREATE TABLE orders (name text)")  # it may share the database with ours
    database.close()
    Store.open(empty_url).close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/shop", "got mysql://host/shop"),
        ("mysql://ana:s3cret@host/shop", r"got mysql://ana:\*\*\*@host/shop"),
        ("shop.db", "invalid database URL"),
        ("", "invalid database URL"),
        (None, "invalid database URL"),
        ("sqlite://", "a store cannot be in memory; the URL must include a file"),
        ("sqlite:///:memory:", "a store cannot be in memory; the URL must include a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "a store cannot be in memory; the URL must include a file"),
        ("sqlite:////nowhere/at/all/shop.db", "shop.db cannot be opened: No such file or directory"),
        ("sqlite:////tmp", "/tmp cannot be opened: Is a directory"),
    ],
)
def test_invalid_urls_are_rejected(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store.open(url)


def test_a_file_that_is_not_a_database_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes and no database" * 99)
    with pytest.raises(StoreError, match="file is not a database"):
        Store.open(f"sqlite:///{tmp_path}/notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("these are notes")


def test_an_unreachable_server() -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        Store.open("postgresql://ana:s3cret@127.0.0.1:1/shop")
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith("postgresql+psycopg://ana:***@127.0.0.1:1/shop: ")
    assert caught.value.written == "no"


def test_every_sqlite_connection_has_the_durability_settings(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store, ExitStack() as open_:
        reads = [open_.enter_context(store._database.read_engine.connect()) for _ in range(64)]
        writes = [open_.enter_context(store._database.write_engine.connect()) for _ in range(2)]
        for connections, query_only in ((reads, 1), (writes, 0)):
            for connection in connections:
                raw = connection.connection.driver_connection
                assert raw is not None
                pragmas = {
                    name: raw.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in (
                        "synchronous",
                        "journal_mode",
                        "busy_timeout",
                        "foreign_keys",
                        "query_only",
                        "secure_delete",
                    )
                }
                assert pragmas == {
                    "synchronous": 2,
                    "journal_mode": "wal",
                    "busy_timeout": 10_000,
                    "foreign_keys": 1,
                    "query_only": query_only,
                    "secure_delete": 1,
                }


def test_a_sqlite_without_the_durability_settings_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            return super().execute("PRAGMA synchronous = 1" if sql == "PRAGMA synchronous = 2" else sql, *parameters)

    real = sqlite3.dbapi2.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda *a, **k: real(*a, **{**k, "factory": Forgetful}))
    with pytest.raises(StoreError, match="the store requires synchronous = 2, but SQLite keeps it at 1"):
        Store.open(f"sqlite:///{tmp_path}/store.db")


def test_every_write_on_sqlite_begins_immediate(tmp_path: Path) -> None:
    statements: list[str] = []
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        for pool in (store._database.write_engine, store._database.read_engine):
            connection = pool.raw_connection()
            connection.driver_connection.set_trace_callback(statements.append)  # type: ignore[union-attr]
            connection.close()
        store.events.append([Event("ana", "alien", 5)])
        store.jobs.enqueue("train")
        store.erasure.erase("ana")
        store.events.after(0)
    begins = [sql for sql in statements if sql.startswith("BEGIN")]
    assert begins.count("BEGIN IMMEDIATE") == 3
    assert begins.count("BEGIN") == 1
    writing = [sql for sql in statements if sql.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert len(writing) > 4


def test_postgresql_commits_to_disk_whatever_its_settings(server: object) -> None:
    url = server.new(template="template")  # type: ignore[attr-defined]
    with psycopg.connect(url, autocommit=True) as other:
        name = other.info.dbname
        other.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with Store.open(url) as store:
        setting = store._writer.run(lambda c: c.exec_driver_sql("SHOW synchronous_commit").scalar_one())
        assert setting == "on"
        with store._database.read_transaction() as connection:
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"


def test_read_connections_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match=r"read-?only"), store._database.read_transaction() as connection:
        connection.exec_driver_sql("DELETE FROM events")


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.append([Event("ana", "alien", 5)])
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_relative_path_does_not_follow_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open("sqlite:///store.db") as store:
        store.events.append([Event("ana", "alien", 5)])
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store._database.read_engine.dispose()
        assert store.events.watermark() == 1


@pytest.mark.filterwarnings("ignore:This process")  # Python warns of a fork in a process with threads
def test_a_forked_child_must_open_its_own_store(store: Store, url: str) -> None:
    store.events.append([Event("ana", "alien", 5)])
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        messages = []
        for use in (
            lambda: store.events.append([Event("bo", "alien", 5)]),
            store.events.watermark,
            lambda: store.jobs.claim("child"),
        ):
            try:
                use()
            except StoreError as error:
                messages.append(str(error))
        store.close()  # does nothing, and does not wait
        os.write(sender, "\n".join(messages).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        messages = pipe.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    assert len(messages) == 3
    assert all(
        "is used in the forked process" in line and "call Store.open after the fork" in line for line in messages
    )
    assert store.events.append([Event("bo", "alien", 5)])[0].seq == 2


def test_the_error_without_the_extra_names_what_to_install() -> None:
    program = (
        "import importlib.util as u; real = u.find_spec; u.find_spec = lambda n: None if n == 'alembic' else real(n)\n"
        "import cofactor.store"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        'MissingExtraError: the store needs alembic, which is not installed: pip install "cofactor[serve]"'
    )


def test_without_the_driver_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"requires 'psycopg': pip install \"cofactor\[serve\]\""):
        Store.open("postgresql://host/shop")


def test_exit_without_close_writes_queued_events(tmp_path: Path) -> None:
    program = (
        "import sys; from cofactor.store import *; s = Store.open(sys.argv[1])\n"
        "s.impressions.log([Impression('ana', ['alien'])])\n"
        "for n in range(99): s.events.submit([Event('ana', n, 1)])"
    )
    url = f"sqlite:///{tmp_path}/store.db"
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with Store.open(url) as store:
        assert store.events.watermark() == 99
        assert len(store.impressions.frame()) == 1


def test_each_commit_syncs_the_disk(tmp_path: Path) -> None:
    """kill -9 does not test the disk; strace counts the sync calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed, so that syncs cannot be counted: apt-get install strace")
    program = (
        "import os, sys; from cofactor.store import Event, Store; s = Store.open(sys.argv[1])\n"
        "s.events.append([Event('ana', 0, 1)]); os.write(2, b'MARK'); n = 25\n"
        "for k in range(n): s.events.append([Event('ana', k, 1)])\n"
        "os.write(2, b'MARK'); s.close()"
    )
    command = ["strace", "-f", "-e", "trace=fdatasync,fsync,write", "-o", str(tmp_path / "trace"), sys.executable, "-c"]
    done = subprocess.run(
        [*command, program, f"sqlite:///{tmp_path}/store.db"], capture_output=True, text=True, check=False, timeout=120
    )
    if "PTRACE" in done.stderr.upper() or "not permitted" in done.stderr:
        pytest.skip(f"strace may not trace here, so that syncs cannot be counted: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    between = (tmp_path / "trace").read_text().split('write(2, "MARK"')
    assert len(between) == 3
    assert between[1].count("sync(") >= 25


def test_the_clock_is_that_of_the_server(store: Store, kind: str) -> None:
    time_of_server = store.clock()
    if kind == "sqlite":
        assert time_of_server is None
    else:
        assert time_of_server is not None
        assert abs(time_of_server - time.time()) < 5  # it runs on this machine
