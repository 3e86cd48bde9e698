"""`cofactor serve` in processes of its own, for tests and benchmarks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.service import registry
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.store import Store


def create_service(folder: Path, ratings: Interactions, db: str | None = None) -> str:
    """Create a store with two models of different widths, of which the second is active; return an admin key."""
    settings = ServiceSettings.of({"data": str(folder), "db": db})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        store.events.load(ratings)
        for factors in (4, 8):
            rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=factors), ratings)
            added = registry.add_candidate(store, artifacts, rec, watermark=store.events.watermark())
            registry.promote(store, artifacts, added.version)
        return store.keys.create("admin", "faults")


class Served:
    """`cofactor serve` on a free port, in processes of its own."""

    def __init__(self, folder: Path, key: str, *options: str, db: str | None = None, **env: str):
        self.folder, self.key = folder, key
        self.settings = ServiceSettings.of({"data": str(folder), "db": db})
        command = [sys.executable, "-m", "cofactor", "serve", "--data", str(folder)]
        command += [] if "--train" in options else ["--no-train"]
        command += [] if "--port" in options else ["--port", "0"]
        self._log = (folder / "log").open("a")
        self.process = subprocess.Popen(
            [*command, *options, *(["--db", db] if db else [])],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "COFACTOR_SERVE_RATE": "1e9", **env},
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"Authorization": f"Bearer {key}"}
        try:
            self.wait(2 if "--workers" in options else 1)
        except BaseException:
            self.process.kill()
            raise

    def wait(self, workers: int = 2, seconds: float = 300) -> None:
        """Wait until this number of workers answered: the log has process and id of each request."""
        end, requests = time.monotonic() + seconds, 0
        seen: set[int] = set()
        while len(seen) < workers:
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            with suppress(httpx.TransportError):
                requests += 1
                sent = f"wait-{os.getpid()}-{requests}"
                httpx.get(f"{self.url}/health/ready", headers={"X-Request-ID": sent}).raise_for_status()
            seen = self.answered(sent.rpartition("-")[0]) & self.workers()
            time.sleep(0.02)

    def answered(self, beginning: str) -> set[int]:
        """Return the processes that answered requests with ids of this beginning."""
        lines = (self.folder / "log").read_text().splitlines()
        records = [json.loads(line) for line in lines[-5000:] if line.startswith("{") and f'"{beginning}' in line]
        return {line["process"] for line in records if line.get("request", "").startswith(beginning)}

    def alive(self) -> set[int]:
        """Return the child processes."""
        listed = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, check=False).stdout
        return {int(pid) for pid in listed.split() if "spawn_main" in _command(int(pid))}

    def workers(self) -> set[int]:
        """Return the processes that answer: the parent itself if it has no children."""
        return self.alive() or {self.process.pid}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=30)

    def kill(self) -> None:
        """Kill the parent and wait until its workers end."""
        left = self.alive()
        self.process.kill()
        self.process.wait()
        end = time.monotonic() + 30
        while any(_lives(pid) for pid in left):
            assert time.monotonic() < end
            time.sleep(0.05)
        self._log.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._log.close()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # the process has ended
        return ""


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


class Connection:
    """One HTTP/1.1 connection of an event loop."""

    def __init__(self, served: Served):
        self.port, self.head = served.port, f"Host: x\r\nAuthorization: Bearer {served.key}\r\n"
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Send a request; return status and body of the answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}{headers}{length}\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(size)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def all_events(store: Store) -> Iterator[Any]:
    """Yield all events in the order of their numbers."""
    after = 0
    while page := store.events.after(after, 10_000):
        yield from page
        after = page[-1].seq
