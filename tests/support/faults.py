"""Faults of a served process: killed while it swaps models, and a full disk."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from cofactor.service.registry import ArtifactRegistry
from cofactor.store import Store
from tests.support.served import Connection, Served, all_events

# swaps of models under load


@dataclass
class Swaps:
    """Number of swaps, statuses of the requests meanwhile (0: no answer), and requests by the model that answered."""

    swaps: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    models: Counter[int] = field(default_factory=Counter)


def swap_under_load(served: Served, swaps: int, connections: int = 8) -> Swaps:
    """Promote two models in turn while `connections` connections send ratings and ask for lists."""
    return asyncio.run(_swapped(served, swaps, connections))


async def _swapped(served: Served, swaps: int, connections: int) -> Swaps:
    seen, done = Swaps(), asyncio.Event()

    async def asks(number: int) -> None:
        stream, connection = random.Random(number), Connection(served)
        while not done.is_set():
            user = stream.randrange(200)
            rating = {"user": user, "item": stream.randrange(60), "value": 3}
            try:
                if stream.random() < 0.2:
                    status, _ = await connection.ask("POST", "/v1/events", json.dumps(rating).encode())
                else:
                    status, body = await connection.ask("GET", f"/v1/recommendations?user={user}&log=false")
                    seen.models[json.loads(body).get("model", 0)] += 1
            except (OSError, asyncio.IncompleteReadError):
                status = 0
                connection.close()
            seen.statuses[status] += 1
        connection.close()

    asking = [asyncio.create_task(asks(number)) for number in range(connections)]
    swapper = Connection(served)
    for number in range(swaps):
        path = f"/v1/models/{1 + number % 2}/promote" if number % 4 < 2 else "/v1/models/roll-back"
        status, body = await swapper.ask("POST", path)
        assert status == 200, body
        seen.swaps += 1
    done.set()
    await asyncio.gather(*asking)
    swapper.close()
    return seen


# processes killed while models are swapped


@dataclass
class Kills:
    """Number of rounds and of acknowledged events, and messages about lost or duplicate events."""

    rounds: int = 0
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


class Load:
    """Threads that send events, each until it is acknowledged, and one thread that swaps models without a pause."""

    def __init__(self, served: Served, name: str, writers: int = 3):
        self.acknowledged: dict[str, int] = {}
        self._stop, self._name = threading.Event(), name
        targets: list[Callable[[], None]] = [lambda n=n: self._rate(served, n) for n in range(writers)]  # type: ignore[misc]
        self._threads = [threading.Thread(target=target) for target in [*targets, lambda: self._swap(served)]]
        for thread in self._threads:
            thread.start()

    def _rate(self, served: Served, writer: int) -> None:
        n = 0
        with served.client() as http:
            while not self._stop.is_set():
                event = {"user": n % 200, "item": n % 60, "value": 1 + n % 5, "key": f"{self._name}-{writer}-{n}"}
                with suppress(httpx.TransportError):
                    answer = http.post("/v1/events", json=event)
                    if answer.status_code == 201:
                        self.acknowledged[event["key"]] = answer.json()["seq"]
                        n += 1

    def _swap(self, served: Served) -> None:
        n = 0
        with served.client() as http:
            while not self._stop.is_set():
                n += 1
                path = "/v1/models/roll-back" if n % 3 == 0 else f"/v1/models/{1 + n % 2}/promote"
                with suppress(httpx.TransportError):
                    http.post(path)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def check_events(served: Served, acknowledged: dict[str, int], killed: Kills) -> None:
    """Check that the active model answers with an undamaged file, and that each acknowledged event is stored once."""
    with Store.open(served.settings.url) as store, served.client() as http:
        active = store.models.active()
        assert active is not None
        ArtifactRegistry(served.settings.artifacts).check(str(active.file), active.sha256)
        end = time.monotonic() + 10
        while (answer := http.get("/v1/recommendations", params={"user": 7}).json()).get("model") != active.version:
            if time.monotonic() > end:
                killed.faults.append(f"{answer} answers where model {active.version} is active")
                break
            time.sleep(0.05)
        events = list(all_events(store))
        numbers = [event.seq for event in events]
        keys = Counter(acknowledged.values())
        missing = keys.keys() - set(numbers)
        if missing or max(keys.values(), default=1) > 1 or numbers != sorted(set(numbers)):
            killed.faults.append(f"{len(missing)} acknowledged events are missing, or numbers are not in order")
    killed.acknowledged += len(acknowledged)
    killed.rounds += 1


def kill_workers(served: Served, rounds: int, stream: random.Random) -> Kills:
    """Kill one of two workers at a random time during swaps, in each round; the parent starts another."""
    killed = Kills()
    for number in range(rounds):
        load = Load(served, f"worker-{number}")
        time.sleep(stream.uniform(0.2, 0.8))
        victim = stream.choice(sorted(served.workers()))
        os.kill(victim, signal.SIGKILL)
        served.wait()
        load.end()
        assert victim not in served.workers()
        check_events(served, load.acknowledged, killed)
    return killed


def kill_services(start: Callable[[], Served], rounds: int, stream: random.Random) -> Kills:
    """Kill all processes of the service at a random time during swaps and start it again, in each round."""
    killed, served = Kills(), start()
    for number in range(rounds):
        load = Load(served, f"service-{number}")
        time.sleep(stream.uniform(0.3, 1.0))
        served.kill()
        load.end()
        served = start()
        check_events(served, load.acknowledged, killed)
    served.stop()
    return killed


# a full disk


@dataclass
class Full:
    """Events that were sent, acknowledged and rejected while the disk was full, and reads meanwhile."""

    events: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    rejected: list[tuple[int, str | None, str, str]] = field(default_factory=list)  # status, Retry-After, written, key
    read: Counter[tuple[int, bool]] = field(default_factory=Counter)  # status, stale
    seconds_until_written_again: float = 0.0
    rejected_with_space: int = 0  # writes rejected after there was space again
    lost: int = 0


@contextmanager
def limit_file_size(served: Served, free_bytes: int = 20_000) -> Iterator[None]:
    """Limit the files of the workers to the size of the store and `free_bytes`: the kernel rejects further writes."""
    size = (served.folder / "store.db").stat().st_size
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in served.workers()}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + free_bytes, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def fill_disk(served: Served) -> Iterator[None]:
    """Fill the file system of the service's folder, which should be small."""
    filler = served.folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4_096)
    try:
        yield
    finally:
        filler.unlink()


def write_to_full_disk(served: Served, rejections: int = 30, disk: Callable[[Served], Any] = limit_file_size) -> Full:
    """Write until writes are rejected, read meanwhile, free space, and write until a write is accepted."""
    full, n = Full(), 0
    with served.client() as http:

        def send() -> int:
            nonlocal n
            n += 1
            event = {"user": "u" * 200 + str(n), "item": "i" * 200, "value": 3, "key": f"full-{n}"}
            full.events.append(event)
            answer = http.post("/v1/events", json=event)
            if answer.status_code == 201:
                full.acknowledged[event["key"]] = answer.json()["seq"]
            else:
                document = answer.json()
                entry = (
                    answer.status_code,
                    answer.headers.get("Retry-After"),
                    document.get("written", "?"),
                    event["key"],
                )
                full.rejected.append(entry)
                read = http.get("/v1/recommendations", params={"user": n % 200, "log": False})
                full.read[read.status_code, read.json().get("stale", True)] += 1
            return answer.status_code

        while len(full.acknowledged) < 200:
            send()
        with disk(served):
            while len(full.rejected) < rejections:
                assert n < 20_000
                send()
        began = time.monotonic()
        while send() != 201:
            full.rejected_with_space += 1
            assert full.rejected_with_space < 500
            time.sleep(0.05)
        full.seconds_until_written_again = time.monotonic() - began
    with Store.open(served.settings.url) as store:
        stored = {event.seq: event.user for event in all_events(store)}
    users = {event["key"]: event["user"] for event in full.events}
    full.lost = sum(stored.get(seq) != users[key] for key, seq in full.acknowledged.items())
    return full
