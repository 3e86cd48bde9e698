"""Faults over real sockets: kills during swaps, a full disk, clock jumps, huge bodies, slow clients.

The faults are functions of tests.support; `benchmarks/faults.py` calls them with larger numbers.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cofactor.data.interactions import Interactions
from cofactor.service import supervisor
from cofactor.store import Store
from tests.support.faults import kill_services, kill_workers, swap_under_load, write_to_full_disk
from tests.support.faults_sockets import peak_memory, send_large, slow_connections
from tests.support.served import Served, all_events, create_service

pytestmark = pytest.mark.long

MB = 1_000_000

CLOCK = """
import os, time
real, path = time.time, os.environ["CLOCK_OFF_BY"]
def shifted():
    with open(path) as file:
        return real() + float(file.read() or 0)
time.time = shifted
"""


@pytest.fixture(scope="module")
def off_by(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file with the clock error of all processes in seconds; sitecustomize.py applies it."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "sitecustomize.py").write_text(CLOCK)
    (folder / "seconds").write_text("0")
    return folder / "seconds"


@pytest.fixture(scope="module")
def served(off_by: Path, tmp_path_factory: pytest.TempPathFactory, ratings: Interactions) -> Iterator[Served]:
    """Two workers with short timeouts."""
    folder = tmp_path_factory.mktemp("served")
    env = {"POLL": "0.1", "BODY_SECONDS": "5", "KEY_CACHE_SECONDS": "2"}
    settings = {f"COFACTOR_SERVE_{name}": value for name, value in env.items()}
    path = os.pathsep.join([str(off_by.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    clock = {"PYTHONPATH": path, "CLOCK_OFF_BY": str(off_by)}
    running = Served(folder, create_service(folder, ratings), "--workers", "2", **settings, **clock)
    yield running
    assert running.stop() == 0


def test_a_hot_swap_drops_no_request(served: Served) -> None:
    seen = swap_under_load(served, 200)
    assert seen.swaps == 200
    assert set(seen.statuses) == {200, 201}
    assert set(seen.models) == {1, 2}
    assert min(seen.models.values()) > 100
    assert sum(seen.statuses.values()) > 1_000


def test_a_worker_killed_during_swaps_loses_no_event(served: Served) -> None:
    killed = kill_workers(served, 2, random.Random(time.time_ns()))
    assert killed.faults == []
    assert killed.acknowledged > 20


def test_a_dead_worker_does_not_count_in_metrics(served: Served) -> None:
    """Every worker reports the model of all live workers and none of dead workers."""

    def until(version: int) -> None:
        end = time.monotonic() + 15
        while f"cofactor_model_version {version}.0" not in http.get("/metrics").text:
            assert time.monotonic() < end
            time.sleep(0.05)

    with served.client() as http:
        http.post("/v1/models/1/promote")
        until(1)
        os.kill(min(served.workers()), signal.SIGKILL)
        served.wait()
        http.close()
    with served.client() as http:
        http.post("/v1/models/2/promote")
        until(2)


def test_a_service_killed_during_swaps_loses_no_event(tmp_path: Path, ratings: Interactions) -> None:
    key = create_service(tmp_path, ratings)
    killed = kill_services(
        lambda: Served(tmp_path, key, "--workers", "2", COFACTOR_SERVE_POLL="0.1"),
        1,
        random.Random(time.time_ns()),
    )
    assert killed.faults == []
    assert killed.acknowledged > 20


def test_a_full_disk_rejects_writes_and_answers_reads(served: Served) -> None:
    processes = served.workers()
    full = write_to_full_disk(served, 30)
    assert {(status, retry) for status, retry, _, _ in full.rejected} == {(503, "1")}
    assert {written for _, _, written, _ in full.rejected} <= {"no", "unknown"}
    assert full.read == {(200, False): len(full.rejected)}
    assert full.rejected_with_space < 100
    assert full.lost == 0
    assert served.workers() == processes
    with served.client() as http:
        for event in full.events:
            answer = http.post("/v1/events", json=event).json()  # sent again: acknowledged events are stored
            assert full.acknowledged.setdefault(event["key"], answer["seq"]) == answer["seq"]
    with Store.open(served.settings.url) as store:
        response = {event.seq: event.user for event in all_events(store)}
    assert {response[full.acknowledged[event["key"]]] == event["user"] for event in full.events} == {True}
    assert sorted(response.values()).count(full.events[-1]["user"]) == 1


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/bulk"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_200_megabytes_is_rejected_without_memory(served: Served, path: str, is_chunked: bool) -> None:
    answered: list[int] = []
    over = threading.Event()

    def ask() -> None:
        with served.client() as http:
            while not over.is_set():
                answered.append(http.get("/v1/recommendations", params={"user": 7}).status_code)

    other = threading.Thread(target=ask)
    with peak_memory(served) as grown:
        other.start()
        response: list[Any] = []
        while len(response) < 5 or len(answered) < 6:
            response.append(send_large(served, path, 200 * MB, is_chunked=is_chunked, has_key=True))
        stranger = send_large(served, path, 200 * MB, is_chunked=is_chunked, has_key=False)
        over.set()
        other.join()
        assert grown() < 40
    assert {entry.status for entry in response} == {413}
    assert max(entry.sent for entry in response) < 20 * MB  # 8 million bytes and the buffers of the kernel
    assert all(entry.is_closed for entry in response)
    assert stranger.status == 401
    assert stranger.sent < 8 * MB
    assert set(answered) == {200}


def test_a_rejected_body_is_not_read_after_the_answer(served: Served) -> None:
    """Clients that keep sending without reading the answer are disconnected as well."""
    for has_key in (True, False):
        response = send_large(served, "/v1/events", 200 * MB, is_chunked=False, has_key=has_key, reads_at_once=False)
        assert response.sent < 20 * MB
        assert response.is_closed


def test_a_small_rejected_body_keeps_the_connection_open(served: Served) -> None:
    with httpx.Client(base_url=served.url) as http:
        answers = [http.post("/v1/events", content=b"x" * 1_000) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {401}
    assert not any("connection" in answer.headers for answer in answers)


def test_a_thousand_slow_connections_do_not_delay_others(served: Served) -> None:
    seen = slow_connections(served, 1_000, 2.5)
    assert seen.held == 1_000
    assert set(seen.statuses) == {200, 201}
    assert len(seen.with_slow) > 0.1 * len(seen.without)  # in equal times; waiting for slow clients takes seconds
    assert len(seen.lasted) == 250
    assert min(seen.lasted) > 3.5  # dribbled bodies end after body_seconds


def test_requests_beyond_the_limit_of_connections_are_rejected(tmp_path: Path, ratings: Interactions) -> None:
    running = Served(tmp_path, create_service(tmp_path, ratings), COFACTOR_SERVE_CONNECTIONS="50")
    try:
        with running.client() as http:

            def status_with(idle: int) -> int:
                """Status of a request while so many other connections are open."""
                others = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(idle)]
                try:
                    time.sleep(0.3)  # until the service accepted them
                    answer = http.get("/v1/recommendations", params={"user": 7})
                    assert ("close" in answer.headers.get("connection", "")) == (answer.status_code == 503)
                    return int(answer.status_code)
                finally:
                    for entry in others:
                        entry.close()

            assert status_with(49) == 200
            assert status_with(50) == 503
            end = time.monotonic() + 10
            while status_with(0) != 200:
                assert time.monotonic() < end
    finally:
        assert running.stop() == 0


def _clock_of(http: httpx.Client) -> float:
    """Return the date of the service, which it updates about once a second."""
    return parsedate_to_datetime(http.get("/health/live").headers["date"]).timestamp()


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_jump_changes_no_result(served: Served, off_by: Path, hours: int) -> None:
    user = f"time {hours}"
    with served.client() as http, Store.open(served.settings.url) as store:

        def rate(item: str, value: int) -> dict[str, Any]:
            answer = http.post("/v1/events", json={"user": user, "item": item, "value": value})
            assert answer.status_code == 201
            response: dict[str, Any] = http.get("/v1/recommendations", params={"user": user, "n": 60}).json()
            assert item not in [entry["item"] for entry in response["items"]]
            assert response["answered_by"] == "fold-in"
            return response

        items = [entry["item"] for entry in http.get("/v1/recommendations", params={"user": user}).json()["items"]]
        rate(items[0], 1)
        first, before = rate(items[1], 1), store.events.watermark()
        try:
            off_by.write_text(str(3_600.0 * hours))
            again = rate(items[1], 5)
            assert [entry["score"] for entry in again["items"]] != [entry["score"] for entry in first["items"]]
            assert {
                stored_value.item: stored_value.value for stored_value in store.events.user_snapshot(user, "ratings")
            }[items[1]] == 5
            new_key = http.post("/v1/keys", json={"role": "read", "label": "made at another time"}).json()["key"]
            codes = {
                httpx.get(f"{served.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code
                for key in (new_key, served.key)
                for _ in range(20)
            }
            assert codes == {200}
            page = http.get("/v1/events", params={"after": before}).json()
            assert [(entry["user"], entry["item"]) for entry in page["events"]] == [(user, items[1])]
            assert before < page["next"] == store.events.watermark()
            end = time.monotonic() + 10
            while abs(_clock_of(http) - time.time() - 3_600 * hours) > 60:  # until the clock of the service has jumped
                assert time.monotonic() < end
            assert http.get("/health/ready").json()["store"] == "ok"
        finally:
            off_by.write_text("0")
        rate(items[1], 2)
        assert {stored_value.item: stored_value.value for stored_value in store.events.user_snapshot(user, "ratings")}[
            items[1]
        ] == 2
        events = list(all_events(store))
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        assert [event.received for event in events] == sorted(event.received for event in events)


def test_the_limit_of_open_files_is_raised_as_far_as_the_system_permits() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = supervisor.RESERVED_FILES
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (others + 100, hard))
        assert supervisor.raise_file_limit(50) == 50
        assert supervisor.raise_file_limit(200) == 200
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (others + 200, hard)
        if hard != resource.RLIM_INFINITY:
            assert supervisor.raise_file_limit(hard) == hard - others
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
