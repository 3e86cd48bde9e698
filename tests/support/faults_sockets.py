"""Faults over sockets: bodies that are too large, and connections that are slow."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.support.served import Connection, Served

KINDS = ("silent", "half a head", "dribbled head", "dribbled body")
CUT = "dribbled body"
"""The kind that the service ends, after `body_seconds`; a proxy ends the others."""

PATIENCE = 120.0
"""Seconds within which the service must end connections of that kind."""


# bodies that are too large


@dataclass
class Sent:
    """Status of the answer to a large body, bytes sent until then, seconds to the answer and to the end.

    `is_closed` is whether the service ended the connection.
    """

    status: int
    sent: int
    answered: float
    closed: float
    is_closed: bool


def send_large(
    served: Served, path: str, size: int, *, is_chunked: bool, has_key: bool, reads_at_once: bool = True
) -> Sent:
    """Send a body of `size` bytes until there is an answer or the connection ends; then read to the end."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {served.key}\r\n" if has_key else ""
    head += "Transfer-Encoding: chunked\r\n\r\n" if is_chunked else f"Content-Length: {size}\r\n\r\n"
    block = b" " * 65_536
    part = b"10000\r\n" + block + b"\r\n" if is_chunked else block
    began, sent, answered, answer = time.perf_counter(), 0, 0.0, b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(head.encode())
        with suppress(OSError):
            while sent < size and not (reads_at_once and select.select([connection], [], [], 0)[0]):
                connection.sendall(part)
                sent += len(block)
        is_closed = True
        try:
            while got := connection.recv(65_536):
                answered = answered or time.perf_counter() - began
                answer += got
        except TimeoutError:
            is_closed = False
        except OSError:  # the connection was reset
            pass
    return Sent(int(answer[9:12] or 0), sent, answered, time.perf_counter() - began, is_closed)


@contextmanager
def peak_memory(served: Served) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the largest growth of the peak memory of a worker, in megabytes."""
    before = {}
    for pid in served.workers():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak
        before[pid] = _memory(pid, "VmRSS")
    yield lambda: max(_memory(pid, "VmHWM") - was for pid, was in before.items())


def _memory(pid: int, which: str) -> float:
    """Megabytes."""
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{which}:")[2].split()[0]) / 1024


# slow connections


@dataclass
class Slow:
    """Seconds of other requests without and with slow connections, and until each slow body was cut."""

    without: list[float] = field(default_factory=list)
    with_slow: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    held: int = 0
    lasted: list[float] = field(default_factory=list)

    @staticmethod
    def p(q: float, took: list[float]) -> float:
        """Milliseconds."""
        return float(np.percentile(took, q)) * 1e3


def slow_connections(served: Served, n: int, seconds: float) -> Slow:
    """Time other requests for `seconds` without, and then with, n slow connections of four kinds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n + 500
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        return asyncio.run(_slow(served, n, seconds))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _slow(served: Served, n: int, seconds: float) -> Slow:
    seen, opened = Slow(), 0
    await _others(served, seconds, seen.without, seen.statuses)

    async def held(kind: str) -> None:
        nonlocal opened
        start = time.perf_counter()
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            opened += 1
            try:
                await _dribble(kind, served, reader, writer)
            finally:
                writer.transport.abort()
        if kind == CUT:
            seen.lasted.append(time.perf_counter() - start)

    slow = {asyncio.create_task(held(KINDS[number % len(KINDS)])): KINDS[number % len(KINDS)] for number in range(n)}
    while opened < n:
        await asyncio.sleep(0.01)
    seen.held = sum(not task.done() for task in slow)
    await _others(served, seconds, seen.with_slow, seen.statuses)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(task for task, kind in slow.items() if kind == CUT))
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    return seen


async def _dribble(kind: str, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one byte per second until the service ends the connection."""
    start = "POST /v1/events HTTP/1.1\r\nHost: x\r\n"
    if kind != "silent":
        writer.write(start.encode())
    if kind == "dribbled body":
        writer.write(f"Authorization: Bearer {served.key}\r\nContent-Length: 5000\r\n\r\n".encode())
    while True:
        if kind.startswith("dribbled"):
            writer.write(b"x")
        try:
            async with asyncio.timeout(1.0):
                if not await reader.read(65_536):
                    return
        except TimeoutError:
            continue


async def _others(served: Served, seconds: float, took: list[float], statuses: Counter[int]) -> None:
    """Run four clients, two of them with a new connection for each request, each at most fifty times per second."""
    end = time.perf_counter() + seconds

    async def asks(number: int) -> None:
        connection, stream = Connection(served), random.Random(number)
        while (began := time.perf_counter()) < end:
            user = stream.randrange(200)
            if stream.random() < 0.2:
                body = json.dumps({"user": user, "item": stream.randrange(60), "value": 3}).encode()
                status, _ = await connection.ask("POST", "/v1/events", body)
            else:
                status, _ = await connection.ask("GET", f"/v1/recommendations?user={user}&log=false")
            took.append(time.perf_counter() - began)
            statuses[status] += 1
            if number % 2:
                connection.close()
            await asyncio.sleep(0.02)
        connection.close()

    await asyncio.gather(*(asks(number) for number in range(4)))
