"""A PostgreSQL server that dies under two workers and under load, and is started again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from cofactor.data.interactions import Interactions
from tests.support import faults
from tests.support.postgresql import Server
from tests.support.served import Served, create_service


@pytest.mark.long
def test_a_database_that_dies_under_load(mortal_server: Server, tmp_path: Path, ratings: Interactions) -> None:
    url = mortal_server.new(template="template")
    key = create_service(tmp_path, ratings, url)
    served = Served(tmp_path, key, "--workers", "2", db=url, COFACTOR_SERVE_POLL="0.1")
    try:
        _dies_and_comes_back(served, mortal_server)
    finally:
        served.stop()


def _dies_and_comes_back(served: Served, server: Server) -> None:
    lists = {user: _listed(served, user, "before")["items"] for user in range(60)}
    users = [user for user, items in lists.items() if len(items) == 10]  # some have rated all but a few
    assert len(users) > 30
    processes, load, killed = served.workers(), faults.Load(served, "load"), faults.Kills()
    try:
        time.sleep(0.5)
        before = len(load.acknowledged)
        assert before
        with server.stopped():
            _reads_go_on_and_writes_wait(served, users)
        end = time.monotonic() + 120
        while len(load.acknowledged) < before + 50 or any(_listed(served, 7, "back")["stale"] for _ in range(10)):
            assert time.monotonic() < end
    finally:
        load.end()
    assert served.workers() == processes
    assert served.answered("down-") == processes
    faults.check_events(served, load.acknowledged, killed)
    assert killed.faults == []


def _reads_go_on_and_writes_wait(served: Served, users: list[int]) -> None:
    """Over new connections, so that both workers are asked."""
    for user in users:
        told = _listed(served, user, f"down-{user}")
        assert told["stale"]
        assert told["items"]
        event = {"user": user, "item": "1", "value": 3, "key": f"down-{user}"}
        refused = httpx.post(f"{served.url}/v1/events", json=event, headers=served.headers, timeout=30)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["written"] in ("no", "unknown")
        assert refused.headers["content-type"] == "application/problem+json"
    assert _asked(served, "/health/ready", "ready")["store"] == "unavailable"


def _listed(served: Served, user: int, name: str) -> dict[str, Any]:
    return _asked(served, f"/v1/recommendations?user={user}", name)


def _asked(served: Served, path: str, name: str) -> dict[str, Any]:
    answer = httpx.get(served.url + path, headers={**served.headers, "X-Request-ID": name}, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
