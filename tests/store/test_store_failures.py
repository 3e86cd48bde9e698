"""Databases that stop, stall, fill up or lose an answer give clear errors, and the store recovers without a restart."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cofactor.errors import CofactorError, StoreError, StoreUnavailableError
from cofactor.store import Event, Impression, Store
from tests.support.postgresql import Server

pytestmark = pytest.mark.long

FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from cofactor.errors import StoreUnavailableError
from cofactor.store import Event, Store

path = Path(sys.argv[1])
with Store.open(f"sqlite:///{path}") as store:
    store.events.append([Event("ana", 0, 1, key="0")])
    limit = max(file.stat().st_size for file in path.parent.iterdir()) + 60_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    acknowledged, rejected, n = {"0"}, 0, 0
    while rejected < 3:
        n += 1
        try:
            store.events.append([Event("ana" * 50, n, 1, key=str(n)), Event("bo", n, 1, key=f"{n}b")])
            acknowledged |= {str(n), f"{n}b"}
        except StoreUnavailableError as error:
            rejected += 1
            if rejected == 1:
                print(error)
    assert store.events.watermark() >= len(acknowledged)  # reads go on
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.events.append([Event("cy", 1, 1, key="after")])
    rows = store.events.after(0, 100_000)
    assert len(rows) == store.events.watermark()
    stored = [k for k in range(1, n + 1) if str(k) in acknowledged]
    again = store.events.append([Event("ana" * 50, k, 1, key=str(k)) for k in stored])
    assert all(receipt.duplicate for receipt in again), again
    print(len(acknowledged))
"""


def writer_is_alive(store: Store) -> bool:
    return (
        any(thread.name == "cofactor-store-writer" for thread in threading.enumerate())
        and store._writer._thread.is_alive()
    )


def test_a_server_that_is_restarted(mortal_server: Server) -> None:
    url = mortal_server.new(template="template")
    with Store.open(url) as store:
        store.events.append([Event("ana", "alien", 5, key="a")])
        job = store.jobs.enqueue("train")
        store.impressions.log([Impression("ana", ["alien"])])
        with mortal_server.stopped():
            for use in (
                lambda: store.events.append([Event("ana", "clue", 5, key="b")]),
                store.events.watermark,
                lambda: store.jobs.claim("t1"),
                lambda: store.keys.check("a.b"),
                lambda: store.erasure.erase("ana"),
                store.ping,
                store.impressions.flush,
                lambda: Store.open(url),
            ):
                with pytest.raises(StoreUnavailableError) as caught:
                    use()
                assert caught.value.written == "no"
                assert "no answer after" not in str(caught.value)  # it did not wait until its timeout
                assert isinstance(caught.value, CofactorError)
            time.sleep(1.2)  # the periodic write of the writer fails, too
            assert writer_is_alive(store)
        store.ping()
        assert [receipt.seq for receipt in store.events.append([Event("ana", "clue", 5, key="b")])] == [2]
        assert store.events.append([Event("ana", "alien", 5, key="a")])[0].duplicate
        assert store.jobs.claim("t1").id == job.id  # type: ignore[union-attr]
        store.impressions.flush()
        assert len(store.impressions.frame()) == 1


def test_a_server_that_closes_a_connection_during_a_transaction(server: Server) -> None:
    url = server.new(template="template")
    with Store.open(url) as store, psycopg.connect(url, autocommit=True) as other:

        def killed(connection: object) -> None:
            from cofactor.store.event import checked_rows
            from cofactor.store.transaction import append_requests

            append_requests(connection, [checked_rows([Event("ana", 1, 1)], 0)])  # type: ignore[arg-type]
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in%%' AND datname = %s",
                [other.info.dbname],
            )
            append_requests(connection, [checked_rows([Event("ana", 2, 1)], 0)])  # type: ignore[arg-type]

        with pytest.raises(StoreUnavailableError) as caught:
            store._writer.run(killed)
        assert caught.value.written == "no"
        assert store.events.append([Event("ana", 3, 1)])[0].seq == 1


def test_a_lost_answer_to_a_commit(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = store._database.write_engine.dialect
    real = dialect.do_commit
    driver = sqlite3 if kind == "sqlite" else psycopg

    def lost(connection: object) -> None:
        real(connection)  # type: ignore[arg-type]
        raise driver.OperationalError("the connection was lost")

    monkeypatch.setattr(dialect, "do_commit", lost)
    with pytest.raises(StoreUnavailableError, match="the connection was lost") as caught:
        store.events.append([Event("ana", "alien", 5, key="a")])
    assert caught.value.written == "unknown"
    monkeypatch.undo()
    assert store.events.append([Event("ana", "alien", 5, key="a")]) == [(1, True)]  # it was written


def test_each_queued_request_gets_its_own_error(
    store: Store, stall: Callable[[Store], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = stall(store)
    from cofactor.store import writer

    def unavailable(*_: object) -> None:
        raise StoreUnavailableError("gone", "no")

    monkeypatch.setattr(writer, "append_requests", unavailable)
    futures = [store.events.submit([Event("ana", n, 1)]) for n in range(3)]
    gate.set()
    errors = [future.exception(10) for future in futures]
    assert all(isinstance(error, StoreUnavailableError) and error.written == "no" for error in errors)
    assert len({id(error) for error in errors}) == 3
    monkeypatch.undo()
    assert store.events.append([Event("ana", 3, 1)])[0].seq == 1


def test_a_file_locked_by_another_process(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.append([Event("ana", "alien", 5)])
        store._writer.run(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout = 100").close())
        with sqlite3.connect(tmp_path / "store.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="database is locked") as caught:
                store.events.append([Event("ana", "clue", 5)])
            assert caught.value.written == "no"
            assert store.events.watermark() == 1  # reads go on
            other.execute("ROLLBACK")
        other.close()
        assert store.events.append([Event("ana", "clue", 5)])[0].seq == 2


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "data" / "store.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    message, acknowledged = done.stdout.splitlines()
    assert "disk" in message
    assert int(acknowledged) > 5
    with Store.open(f"sqlite:///{tmp_path}/data/store.db") as store:
        assert store.events.watermark() >= int(acknowledged) + 1


def test_a_server_with_a_full_disk(server: Server) -> None:
    url = server.new(template="template")
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION full_() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no space left on device' "
            "USING ERRCODE = 'disk_full'; END $$ LANGUAGE plpgsql"
        )
        with Store.open(url) as store:
            other.execute("CREATE TRIGGER full_ BEFORE INSERT ON events EXECUTE FUNCTION full_()")
            with pytest.raises(StoreUnavailableError, match="no space left on device") as caught:
                store.events.append([Event("ana", "alien", 5)])
            assert caught.value.written == "no"
            other.execute("DROP TRIGGER full_ ON events")
            assert store.events.append([Event("ana", "alien", 5)])[0].seq == 1


def test_a_programming_error_is_not_an_outage(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store._writer.run(lambda connection: connection.exec_driver_sql("INSERT INTO events (seq) VALUES (1)").close())
    assert not isinstance(caught.value, StoreUnavailableError)
    assert "\n" not in str(caught.value)


def test_the_writer_thread_survives_all_errors(store: Store) -> None:
    def wrong(_connection: object) -> None:
        raise ZeroDivisionError("not a database's error")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            store._writer.run(wrong)
    assert writer_is_alive(store)
    assert store.events.append([Event("ana", "alien", 5)])[0].seq == 1


def test_canceled_requests_are_not_written(store: Store, stall: Callable[[Store], threading.Event]) -> None:
    gate = stall(store)
    futures = [store.events.submit([Event("ana", n, 1)]) for n in range(4)]
    assert futures[1].cancel()
    gate.set()
    assert futures[3].result(5)[0].seq == 3
    assert [event.item for event in store.events.after(0)] == ["0", "2", "3"]


def test_errors_keep_their_attributes_when_pickled() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(StoreUnavailableError("gone", "unknown")))
    assert (str(error), error.written) == ("gone", "unknown")
