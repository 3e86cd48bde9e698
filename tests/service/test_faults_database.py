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
    users = [user for user, items in lists.items() if len(items) == 10]  # some have rated nearly all items
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
    """Over new connections, so that both workers get requests."""
    for user in users:
        answer = _listed(served, user, f"down-{user}")
        assert answer["stale"]
        assert answer["items"]
        event = {"user": user, "item": "1", "value": 3, "key": f"down-{user}"}
        rejected = httpx.post(f"{served.url}/v1/events", json=event, headers=served.headers, timeout=30)
        assert (rejected.status_code, rejected.headers["retry-after"]) == (503, "1")
        assert rejected.json()["written"] in ("no", "unknown")
        assert rejected.headers["content-type"] == "application/problem+json"
    assert _get(served, "/health/ready", "ready")["store"] == "unavailable"


def _listed(served: Served, user: int, name: str) -> dict[str, Any]:
    return _get(served, f"/v1/recommendations?user={user}", name)


def _get(served: Served, path: str, name: str) -> dict[str, Any]:
    response = httpx.get(served.url + path, headers={**served.headers, "X-Request-ID": name}, timeout=30)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document
