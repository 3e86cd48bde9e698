"""A service under load: 80 % recommend, 15 % rate, 5 % others, from one separate process; a table for docs.

    python -m benchmarks.serve_load --seconds 60 --workers 2 --items 27000 --users 138000

Requests are begun at a fixed pace, whatever the answers do (open loop), and each is timed from when it was due, so that
a service that falls behind cannot hide it. `--pace 0`: as fast as the connections can, which is the capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import numpy as np

FACTORS, RATINGS_OF_EACH = 64, 20


def create_service(folder: Path, users: int, items: int) -> str:
    """Create a store and a first model of this size with random vectors; return an admin key."""
    from dataclasses import replace

    import cofactor
    from cofactor.models.factor import FactorModel
    from cofactor.service import registry
    from cofactor.service.registry import ArtifactRegistry
    from cofactor.service.settings import ServiceSettings
    from cofactor.store import Store

    stream = np.random.default_rng(0)
    n = users * RATINGS_OF_EACH
    u, i = np.repeat(np.arange(users), RATINGS_OF_EACH), (items * stream.random(n) ** 2).astype(np.int64)
    table = cofactor.Interactions.from_columns(u, i, stream.integers(1, 6, n))
    rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=FACTORS, epochs=1), table)
    assert isinstance(rec.model, FactorModel)
    rec = replace(rec).ensure_priors()
    settings = ServiceSettings.of({"data": str(folder)})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        store.events.load(table)
        added = registry.add_candidate(store, artifacts, rec, watermark=store.events.watermark())
        registry.promote(store, artifacts, added.version)
        return store.keys.create("admin", "the load")


@dataclass
class Seen:
    """Measurements: latency by request, in seconds from when due; statuses; megabytes by second; CPU seconds."""

    took: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    cpu: float = 0.0


class Connection:
    """One HTTP/1.1 connection without a client library, whose time would be measured too."""

    def __init__(self, port: int, key: str):
        self.port = port
        self.head = f"Host: x\r\nAuthorization: Bearer {key}\r\n"
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """Send a request and return the status of the answer once it is complete."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        kind = "Content-Type: application/json\r\n" if body else ""
        length = f"Content-Length: {len(body)}\r\n"
        writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}{kind}{length}\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        return int(head[9:12])


def drawn(stream: random.Random, users: int, items: int) -> tuple[str, str, str, bytes]:
    """One request of the mix: its name, method, path, body."""
    user, item, chance = stream.randrange(users), stream.randrange(items), stream.random()
    if chance < 0.80:
        return "recommend", "GET", f"/v1/recommendations?user={user}&n=10", b""
    if chance < 0.95:
        body = {"user": user, "item": item, "value": stream.randrange(1, 6), "key": f"{stream.getrandbits(64):x}"}
        return "rate", "POST", "/v1/events", json.dumps(body).encode()
    if chance < 0.97:
        return "predict", "GET", f"/v1/predictions?user={user}&item={item}", b""
    if chance < 0.98:
        return "similar", "GET", f"/v1/items/similar?item={item}&n=10", b""
    if chance < 0.99:
        return "explain", "GET", f"/v1/explanations?user={user}&item={item}", b""
    history = [{"item": stream.randrange(items // 100) * 100 + at, "value": 4} for at in range(3)]
    return "newcomer", "POST", "/v1/recommendations", json.dumps({"history": history}).encode()


async def load(options: argparse.Namespace, port: int, key: str, parent: int) -> Seen:
    """Run the load."""
    seen, stream, due = Seen(), random.Random(options.seed), asyncio.Queue[float]()
    start = time.perf_counter() + options.warm
    end, cpu = start + options.seconds, cpu_of(parent)

    async def worker(connection: Connection) -> None:
        while (now := time.perf_counter()) < end:
            began = await due.get() if options.pace else now
            name, method, path, body = drawn(stream, options.users, options.items)
            try:
                status = await connection.ask(method, path, body)
            except (OSError, asyncio.IncompleteReadError):
                status, connection.streams = 0, None
            seen.statuses[status] += 1
            if began < start:
                continue
            seen.took.setdefault(name, []).append(time.perf_counter() - began)

    async def pace() -> None:
        at = time.perf_counter()
        while at < end:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            due.put_nowait(at)
            at += 1 / options.pace

    async def weigh() -> None:
        while time.perf_counter() < end:
            seen.memory.append(memory_of(parent))
            await asyncio.sleep(1)

    asking = [asyncio.create_task(worker(Connection(port, key))) for _ in range(options.connections)]
    background = [asyncio.create_task(weigh())] + ([asyncio.create_task(pace())] if options.pace else [])
    await asyncio.wait(asking, timeout=options.warm + options.seconds + 5)
    for task in [*asking, *background]:
        task.cancel()
    seen.cpu = cpu_of(parent) - cpu
    return seen


def wait_for(port: int) -> None:
    """Wait until the first worker answers, and a while for the others."""
    for _ in range(600):
        try:
            with urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
                assert answer.status == 200
            time.sleep(3)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service does not answer")


def processes(parent: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, check=False).stdout
    return [parent, *map(int, listed.split())]


def cpu_of(parent: int) -> float:
    """Return the CPU seconds of the service's processes."""
    parts = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes(parent)]
    return sum(int(fields[11]) + int(fields[12]) for fields in parts) / os.sysconf("SC_CLK_TCK")


def memory_of(parent: int) -> float:
    """Return the private memory of the service's processes plus their share of shared memory, in megabytes."""
    total = 0
    for pid in processes(parent):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(rollup.partition("Pss:")[2].split()[0])
    return total / 1024


def summary(options: argparse.Namespace, seen: Seen) -> dict[str, Any]:
    """Return the results."""
    every = np.array([took for times in seen.took.values() for took in times]) * 1e3
    results: dict[str, Any] = {
        "workers": options.workers,
        "items": options.items,
        "users": options.users,
        "pace": options.pace,
        "seconds": options.seconds,
        "per_second": round(len(every) / options.seconds, 1),
        "p50_ms": round(float(np.percentile(every, 50)), 2),
        "p99_ms": round(float(np.percentile(every, 99)), 2),
        "worst_ms": round(float(every.max()), 1),
        "cpu_ms_each": round(seen.cpu / sum(seen.statuses.values()) * 1e3, 3),
        "errors": sum(count for status, count in seen.statuses.items() if not 200 <= status < 300),
        "statuses": dict(seen.statuses),
    }
    for name, took in sorted(seen.took.items()):
        results[f"{name}_p50_p99_ms"] = [round(float(np.percentile(took, q)) * 1e3, 2) for q in (50, 99)]
    minutes = [seen.memory[at : at + 60] for at in range(0, len(seen.memory), 60)]
    results["memory_mb_by_minute"] = [round(float(np.mean(megabytes)), 1) for megabytes in minutes]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm", type=float, default=10, help="seconds before, which count for errors alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--items", type=int, default=27_000)
    parser.add_argument("--users", type=int, default=138_000)
    parser.add_argument("--pace", type=float, default=600, help="requests a second; 0 for all that it can")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="a folder made before, with a file `key` in it; made there otherwise")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        written = folder / "key"
        if not written.exists():
            folder.mkdir(exist_ok=True)
            written.write_text(create_service(folder, options.users, options.items))
        command = [sys.executable, "-m", "cofactor", "serve", "--data", str(folder), "--port", "0", "--no-train"]
        command += ["--workers", str(options.workers)]
        with (folder / "log").open("w") as log:
            service = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "COFACTOR_SERVE_RATE": "1e9"}
            )
            try:
                assert service.stdout is not None
                port = int(service.stdout.readline().rpartition(":")[2])
                wait_for(port)
                print(json.dumps(summary(options, asyncio.run(load(options, port, written.read_text(), service.pid)))))
            finally:
                service.send_signal(signal.SIGTERM)
                service.wait(30)


if __name__ == "__main__":
    main()
