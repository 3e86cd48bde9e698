"""The command `cofactor serve` in processes of its own; settings; the client."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import cofactor
from cofactor.cli.side_tables import write_frame
from cofactor.client import Client, ServiceError
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.service.bootstrap import prepare
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store


class Running:
    """`cofactor serve` on a free port."""

    def __init__(self, folder: Path, *options: str):
        self.log = (folder / "log").open("w")
        command = [sys.executable, "-m", "cofactor", "serve", *options, "--port", "0", "--data", str(folder / "data")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=folder)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def key(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()[-1]

    def wait(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(Path(self.log.name).read_text())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.log.close()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, ratings: Interactions) -> Path:
    path = tmp_path_factory.mktemp("table") / "ratings.csv"
    write_frame(ratings.frame().select("user", "item", "value"), str(path))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Iterator[tuple[Running, str]]:
    served = Running(tmp_path_factory.mktemp("served"), str(table), "--workers", "2", "--no-train")
    key = served.key()
    served.wait()
    yield served, key
    served.stop()


@pytest.mark.long
def test_a_rating_counts_at_once_on_every_worker(running: tuple[Running, str]) -> None:
    served, key = running
    stream = random.Random(0)
    for _ in range(150):
        user = str(stream.randrange(260))
        with Client(served.url, key) as telling, Client(served.url, key) as asking:  # connections of their own
            best = asking.recommend(user, n=5).items
            if not best:
                continue
            item = stream.choice(best).item
            telling.rate(user, item, stream.randrange(1, 6))
            after = asking.recommend(user, n=5)
        assert item not in [entry.item for entry in after.items]
        assert after.answered_by == "fold-in"
    numbers = httpx.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {key}"}).text
    counted = re.search(r'cofactor_requests_total\{[^}]*route="/v1/events",status="201"\} (\d+)', numbers)
    assert counted is not None
    assert int(float(counted[1])) >= 100  # of both workers
    by = [_answerers(served, route) for route in ("/v1/events", "/v1/recommendations")]
    assert by[0] == by[1]
    assert len(by[0]) == 2


def _answerers(served: Running, route: str) -> set[int]:
    """Return the processes that answered requests to this route, by the log."""
    lines = Path(served.log.name).read_text().splitlines()
    return {json.loads(line)["process"] for line in lines if f'"route": "{route}"' in line}


@pytest.mark.long
def test_the_log_is_json_without_the_key(running: tuple[Running, str]) -> None:
    served, key = running
    assert httpx.get(f"{served.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    lines = Path(served.log.name).read_text().splitlines()
    answer = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"request", "route", "status", "ms", "key"} <= answer[-1].keys()
    assert key.partition(".")[2] not in "".join(lines)


@pytest.mark.long
def test_a_restart_needs_no_table_and_shows_no_key(tmp_path: Path, table: Path) -> None:
    first = Running(tmp_path, str(table), "--no-train", "--model", "bias")
    key = first.key()
    first.wait()
    with Client(first.url, key) as client:
        client.rate("ana", "1", 5, key="once")
    assert first.stop() == 0
    again = Running(tmp_path, "--no-train")
    again.wait()
    with Client(again.url, key) as client:
        assert "1" not in [entry.item for entry in client.recommend("ana", n=100).items]
    assert again.stop() == 0
    assert again.process.stdout is not None
    assert again.process.stdout.read() == ""
    with Store.open(f"sqlite:///{tmp_path}/data/store.db") as store:
        assert store.events.watermark() == 4_001


def test_a_table_is_imported_once(tmp_path: Path, ratings: Interactions) -> None:
    settings, spec = ServiceSettings.of({"data": str(tmp_path)}), TrainingSpec(cofactor.Bias())
    assert prepare(settings, ratings, spec).is_first_model
    again = prepare(settings, ratings, spec)
    assert again.import_result is not None
    assert (again.import_result.stored, again.version, again.key) == (0, 1, None)


def test_a_public_address_requires_a_key(tmp_path: Path, ratings: Interactions) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path), "host": "0.0.0.0"})
    first = prepare(settings, ratings, TrainingSpec(cofactor.Bias()))
    assert first.key is not None
    with Store.open(settings.url) as store:
        store.keys.revoke(first.key.partition(".")[0])
    with pytest.raises(ParameterError, match="all keys are revoked"):
        prepare(settings, None, TrainingSpec(cofactor.Bias()))


def test_serving_without_data_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cofactor", "serve", "--data", str(tmp_path), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no model yet")


def test_settings_come_from_flags_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("port = 1\nthreads = 2\nworkers = 3\n")
    monkeypatch.setenv("COFACTOR_SERVE_PORT", "2")
    monkeypatch.setenv("COFACTOR_SERVE_THREADS", "5")
    response = ServiceSettings.of({"port": 3, "host": None}, file)
    assert (response.port, response.threads, response.workers) == (3, 5, 3)
    monkeypatch.delenv("COFACTOR_SERVE_PORT")
    for wrong in ("prot = 1", "port = 'x'", "port = 99999", "port ="):
        file.write_text(wrong)
        with pytest.raises(ParameterError):
            ServiceSettings.of({}, file)
    monkeypatch.setenv("COFACTOR_SERVE_PROT", "2")
    with pytest.raises(ParameterError, match="PROT"):
        ServiceSettings.of({})


def test_the_client_retries_what_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        if len(seen) == 1:
            raise httpx.ReadTimeout("the answer was lost")
        if len(seen) == 2:
            return httpx.Response(503, json={"detail": "later"}, headers={"Retry-After": "2"})
        return httpx.Response(201, json={"seq": 1, "duplicate": True})

    with Client("http://x", "id.secret", transport=httpx.MockTransport(service)) as client:
        assert client.rate("ana", "alien", 5) == 1
    assert len({event["key"] for event in seen}) == 1
    assert waits[1] >= 2


def test_client_errors_name_the_problem() -> None:
    def service(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"detail": "there is no item"}, headers={"X-Request-ID": "a1"})

    with Client("http://x", "id.secret", transport=httpx.MockTransport(service)) as client:
        with pytest.raises(ServiceError, match="there is no item") as caught:
            client.predict("ana", "jaws")
        assert (caught.value.status, caught.value.request_id) == (404, "a1")


@pytest.mark.long
def test_a_killed_server_leaves_no_processes(tmp_path: Path, table: Path) -> None:
    served = Running(tmp_path, str(table), "--workers", "2", "--model", "bias")
    served.key()
    served.wait()
    listed = ["ps", "-o", "pid=", "--ppid", str(served.process.pid)]
    pids = [int(pid) for pid in subprocess.check_output(listed, text=True).split()]
    assert len(pids) >= 3
    served.process.kill()
    served.process.wait()
    end = time.monotonic() + 30
    while (left := [pid for pid in pids if _lives(pid)]) and time.monotonic() < end:
        time.sleep(0.2)
    served.log.close()
    assert not left


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
