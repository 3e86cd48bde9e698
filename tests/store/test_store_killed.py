"""Processes that write to a store are killed with SIGKILL; `benchmarks/kill9.py` runs more rounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from cofactor.store import Event, Store, bulk_import
from tests.support import kill9
from tests.support.postgresql import Server

pytestmark = pytest.mark.long

LOAD = """
import sys
import polars as pl
from cofactor.store import Store, bulk_import as loading
loading.PAGE_SIZE = 500
real = loading._insert
def insert(*args):
    real(*args)
    print("page", flush=True)
loading._insert = insert
with Store.open(sys.argv[1]) as store:
    n = 60_000
    store.events.load(pl.DataFrame({"user": range(n), "item": range(n), "value": [1.0] * n}), kind="ratings")
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_acknowledged_events_are_stored_once(
    kind: str, rounds: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        tally = kill9.rounds(f"sqlite:///{tmp_path}/store.db", rounds, seed=3)
    else:
        server: Server = request.getfixturevalue("mortal_server")
        tally = kill9.rounds(server.new(template="template"), rounds, crash=server.crash, seed=3)
    assert tally.faults == []
    assert tally.rounds == rounds
    assert tally.acknowledged > 30


def test_a_killed_import_is_resumed(url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", LOAD, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.kill()
    process.wait()
    with Store.open(url) as store:
        before = store.events.watermark()
        assert before % 500 == 0
        assert 1_500 <= before < 60_000
        store.events.append([Event("ana", "alien", 5)])
    done = subprocess.run([sys.executable, "-c", LOAD, url], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with Store.open(url) as store:
        assert store.events.watermark() == 60_001
        assert len(store.events.snapshot("ratings")) == 60_001
    assert bulk_import.PAGE_SIZE == 20_000


def test_postgresql_syncs_its_log_for_each_commit(server: Server) -> None:
    """The server counts the syncs that strace counts for SQLite."""
    with psycopg.connect(server.new(template="template"), autocommit=True) as other:
        assert other.execute("SHOW fsync").fetchone() == ("on",)

        def syncs() -> int:
            other.execute("SELECT pg_stat_force_next_flush()")
            row = other.execute("SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'").fetchone()
            assert row is not None
            return int(row[0])

        with Store.open(server.url(other.info.dbname)) as store:
            store.events.append([Event("ana", 0, 1)])
            before = syncs()
            for n in range(25):
                store.events.append([Event("ana", n, 1)])
            store._writer.run(lambda c: c.exec_driver_sql("SELECT pg_stat_force_next_flush()").close())
            store._writer.run(lambda c: c.exec_driver_sql("SELECT 1").close())
            assert syncs() - before >= 25
