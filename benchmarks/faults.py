"""A service that is ill-treated: killed while it swaps models, drowned in bodies, held up by slow connections.

    python benchmarks/faults.py          about four minutes, writes benchmarks/faults.md

Every part runs against a real `cofactor serve` of two workers, over real sockets, and is a function here or in
`faults_sockets.py`, which `tests/service/test_faults_http.py` calls with smaller numbers.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.service.registry import ArtifactRegistry
from cofactor.store import Store
from faults_sockets import Slow, peak_memory, send_large, slow_connections
from served import Connection, Served, made, pages

PAGE = Path(__file__).with_suffix(".md")
MB = 1_000_000


# a hot swap under load


@dataclass
class Swaps:
    """What was seen: swaps, statuses of what was asked meanwhile (0: no answer), which models answered."""

    swaps: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    models: Counter[int] = field(default_factory=Counter)


def swapped_under_load(served: Served, swaps: int, connections: int = 8) -> Swaps:
    """Promote one model and the other in turn while so many connections ask and rate."""
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


# killed in the middle of a swap


@dataclass
class Killed:
    """rounds; events acknowledged; what was lost, doubled or does not fit."""

    rounds: int = 0
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


class Load:
    """Threads that rate, each event until it is acknowledged, and one that swaps models without a pause."""

    def __init__(self, served: Served, name: str, writers: int = 3):
        self.acknowledged: dict[str, int] = {}
        self._stop, self._name = threading.Event(), name
        targets: list[Callable[[], None]] = [lambda n=n: self._rate(served, n) for n in range(writers)]  # type: ignore[misc]
        self._threads = [threading.Thread(target=one) for one in [*targets, lambda: self._swap(served)]]
        for one in self._threads:
            one.start()

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
        for one in self._threads:
            one.join()


def checked(served: Served, acknowledged: dict[str, int], killed: Killed) -> None:
    """The store's active model answers, and its file is whole; every acknowledged event is there once."""
    with Store.open(served.settings.url) as store, served.client() as http:
        active = store.models.active()
        assert active is not None
        ArtifactRegistry(served.settings.artifacts).check(str(active.file), active.sha256)
        end = time.monotonic() + 10
        while (told := http.get("/v1/recommendations", params={"user": 7}).json()).get("model") != active.version:
            if time.monotonic() > end:
                killed.faults.append(f"{told} answers where model {active.version} is active")
                break
            time.sleep(0.05)
        events = list(pages(store))
        numbers = [event.seq for event in events]
        keys = Counter(acknowledged.values())
        missing = keys.keys() - set(numbers)
        if missing or max(keys.values(), default=1) > 1 or numbers != sorted(set(numbers)):
            killed.faults.append(f"{len(missing)} acknowledged events are missing, or numbers are not in order")
    killed.acknowledged += len(acknowledged)
    killed.rounds += 1


def workers_killed(served: Served, rounds: int, stream: random.Random) -> Killed:
    """Kill one of two workers at a random moment of swapping, again and again; the parent starts another."""
    killed = Killed()
    for number in range(rounds):
        load = Load(served, f"worker-{number}")
        time.sleep(stream.uniform(0.2, 0.8))
        victim = stream.choice(sorted(served.workers()))
        os.kill(victim, signal.SIGKILL)
        served.wait()
        load.end()
        assert victim not in served.workers()
        checked(served, load.acknowledged, killed)
    return killed


def services_killed(start: Callable[[], Served], rounds: int, stream: random.Random) -> Killed:
    """Kill the whole service at a random moment of swapping, and start it again."""
    killed, served = Killed(), start()
    for number in range(rounds):
        load = Load(served, f"service-{number}")
        time.sleep(stream.uniform(0.3, 1.0))
        served.kill()
        load.end()
        served = start()
        checked(served, load.acknowledged, killed)
    served.stop()
    return killed


# a disk without room


@dataclass
class Full:
    """How a service fared whose disk was full."""

    events: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[int, str | None, str, str]] = field(default_factory=list)  # status, Retry-After, written, key
    read: Counter[tuple[int, bool]] = field(default_factory=Counter)  # status, stale
    seconds_until_written_again: float = 0.0
    lost: int = 0


@contextmanager
def no_room(served: Served, room: int = 20_000) -> Iterator[None]:
    """No file of the workers may grow beyond the store's by more than so many bytes: the kernel refuses the write."""
    size = (served.folder / "store.db").stat().st_size
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in served.workers()}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def filled(served: Served) -> Iterator[None]:
    """The file system of the service's folder, which should be a small one, is full."""
    filler = served.folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4_096)
    try:
        yield
    finally:
        filler.unlink()


def disk_full(served: Served, refusals: int = 30, disk: Callable[[Served], Any] = no_room) -> Full:
    """Write until nothing can be written any more, read meanwhile, make room, and write again."""
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
                told = answer.json()
                about = (answer.status_code, answer.headers.get("Retry-After"), told.get("written", "?"), event["key"])
                full.refused.append(about)
                read = http.get("/v1/recommendations", params={"user": n % 200, "log": False})
                full.read[read.status_code, read.json().get("stale", True)] += 1
            return answer.status_code

        while len(full.acknowledged) < 200:
            send()
        with disk(served):
            while len(full.refused) < refusals:
                assert n < 20_000
                send()
        began = time.monotonic()
        while send() != 201:
            assert time.monotonic() - began < 30
            time.sleep(0.05)
        full.seconds_until_written_again = time.monotonic() - began
    with Store.open(served.settings.url) as store:
        stored = {event.seq: event.user for event in pages(store)}
    told = {event["key"]: event["user"] for event in full.events}
    full.lost = sum(stored.get(seq) != told[key] for key, seq in full.acknowledged.items())
    return full


# all of it


def main() -> None:
    """Run everything and write the page."""
    ratings = generate(SyntheticConfig(n_users=200, n_items=60, n_ratings=4_000)).interactions
    stream, rows = random.Random(0), []
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        key = made(data, ratings)

        def start() -> Served:
            return Served(data, key, "--workers", "2", COFACTOR_SERVE_POLL="0.1")

        served = start()
        began = time.monotonic()
        swaps = swapped_under_load(served, 1_000)
        asked = sum(swaps.statuses.values())
        errors = sum(count for status, count in swaps.statuses.items() if status not in (200, 201))
        rows.append(
            f"| {swaps.swaps:,} swaps of models in {time.monotonic() - began:.0f} s, eight connections beside | "
            f"{asked:,} requests, {errors} dropped or failed |"
        )
        print(rows[-1], flush=True)
        workers = workers_killed(served, 20, stream)
        rows.append(_killed("a worker", workers))
        full = disk_full(served, 200)
        rows.append(_full("no room for larger files (RLIMIT_FSIZE)", full))
        rows += _really_full(ratings, Path(folder, "small"))
        rows += _large(served)
        rows.append(_held(slow_connections(served, 1_000, 15), 1_000))
        print(rows[-1], flush=True)
        served.stop()
        services = services_killed(start, 20, stream)
        rows.append(_killed("the whole service", services))
    intro = (
        "Two workers on SQLite, 200 users, 60 items; all settings as they are by default but for the pace at which\n"
        "workers look for a new model (0.1 s) and the limit of requests per key. The load shared two cores with the\n"
        "service. Made by `python benchmarks/faults.py`.\n\n"
    )
    PAGE.write_text(
        intro + "\n".join(["| what was done | what was seen |", "|---|---|", *rows]) + "\n", encoding="utf-8"
    )
    assert not [errors] * bool(errors) + workers.faults + services.faults


def _killed(what: str, killed: Killed) -> str:
    row = (
        f"| {what} killed {killed.rounds} times in the midst of swaps | {killed.acknowledged:,} events acknowledged; "
        f"{len(killed.faults)} times one was lost, or the answering model was not the active one, whole |"
    )
    print(row, *killed.faults, sep="\n", flush=True)
    return row


def _really_full(ratings: Interactions, folder: Path) -> list[str]:
    """On a file system of 8 MB in memory; no row where the system does not let us have one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        return []
    try:
        served = Served(folder, made(folder, ratings), "--workers", "2")
        try:
            return [_full("a file system of 8 MB that is full", disk_full(served, 200, filled))]
        finally:
            served.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _full(what: str, full: Full) -> str:
    told = Counter((status, retry, written) for status, retry, written, _ in full.refused)
    row = (
        f"| {what}: {len(full.refused)} writes refused | {_refusals(told)}; {full.read[200, False]} of "
        f"{sum(full.read.values())} reads answered meanwhile; written again after "
        f"{full.seconds_until_written_again:.1f} s without a restart; of "
        f"{len(full.acknowledged):,} acknowledged {full.lost} lost |"
    )
    print(row, flush=True)
    return row


def _refusals(told: Counter[Any]) -> str:
    return ", ".join(
        f"{count} with {status}, Retry-After {retry}, written: {written}"
        for (status, retry, written), count in told.items()
    )


def _large(served: Served) -> list[str]:
    rows = []
    for has_key in (True, False):
        for is_chunked in (False, True):
            paths = ("/v1/events", "/v1/events/bulk")
            with peak_memory(served) as grown:
                found = [send_large(served, path, 200 * MB, is_chunked=is_chunked, has_key=has_key) for path in paths]
            how = ("chunked" if is_chunked else "announced") + (", with a key" if has_key else ", without")
            statuses = "/".join(sorted({str(one.status) for one in found}))
            rows.append(
                f"| a body of 200 MB, {how}, to both routes | {statuses} after {max(o.answered for o in found):.2f} s, "
                f"{max(o.sent for o in found) / MB:.1f} MB sent by then; memory at its peak +{grown():.0f} MB |"
            )
            print(rows[-1], flush=True)
    return rows


def _held(seen: Slow, n: int) -> str:
    return (
        f"| {n:,} slow connections | others' p50 {seen.p(50, seen.beside):.1f} ms and p99 "
        f"{seen.p(99, seen.beside):.1f} ms (without: {seen.p(50, seen.without):.1f} and "
        f"{seen.p(99, seen.without):.1f}); dribbled bodies ended after {max(seen.lasted):.0f} s at most |"
    )


if __name__ == "__main__":
    main()
