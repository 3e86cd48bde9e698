"""Tables larger than the memory: import and fits that map a table file, with seconds and memory against events.

    python -m benchmarks.out_of_core                       three sizes, about half an hour and 10 GB of disk
    python -m benchmarks.out_of_core --events 2000000 20000000
    python -m benchmarks.out_of_core --folder /data        where the files are written

Synthetic events with 480,000 users and 17,770 items: log-normal activity, and popularities that fall with the power 0.7
of the rank. Each step runs in a process of its own: the import of a Parquet file (`read_events(into=...)`), and fits
with 64 factors. Anonymous memory is what the process allocates; mapped files can be evicted at any time. Seconds for
each iteration are the median of the wall and CPU seconds between callbacks. Results are written to
benchmarks/out_of_core.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from benchmarks.results import machine

PAGE = Path(__file__).parent / "out_of_core.md"
N_USERS, N_ITEMS = 480_000, 17_770
EVENTS = (2_000_000, 20_000_000, 100_000_000)
PART = 5_000_000
FITS = ("implicit-als", "bpr", "biased-mf")
EPOCHS = 4
IMPORT_RATINGS = "import sys, cofactor; cofactor.read_ratings(sys.argv[1], into=sys.argv[2])"


def write_parts(folder: Path, n_events: int) -> Path:
    """Write synthetic events to a Parquet file in parts, so that they need not fit into memory."""
    rng = np.random.default_rng(0)
    popularity = np.cumsum(np.arange(1, N_ITEMS + 1) ** -0.7)
    activity = np.cumsum(rng.lognormal(0, 1, N_USERS))
    parts = []
    for first in range(0, n_events, PART):
        n = min(PART, n_events - first)
        columns = {
            "user": np.searchsorted(activity, rng.random(n) * activity[-1]),
            "item": np.searchsorted(popularity, rng.random(n) * popularity[-1]),
            "count": rng.integers(1, 6, n).astype(np.int32),
        }
        parts.append(folder / f"part {first}.parquet")
        pl.DataFrame(columns).write_parquet(parts[-1])
    path = folder / "events.parquet"
    pl.scan_parquet(parts, glob=False).sink_parquet(path)
    for part in parts:
        part.unlink()
    return path


class Memory:
    """Highest anonymous and mapped memory of this process, in GB, sampled twenty times a second."""

    def __init__(self) -> None:
        self.anonymous = self.mapped = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            sizes = {line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines if line.startswith("Rss")}
            self.anonymous = max(self.anonymous, sizes["RssAnon"])
            self.mapped = max(self.mapped, sizes["RssFile"])
            time.sleep(0.05)


def step(name: str, source: str, table_file: str) -> dict[str, Any]:
    """Run one step in this process, and return its seconds and memory."""
    import cofactor
    from cofactor.estimators import REGISTRY

    memory, wall, cpu = Memory(), time.perf_counter(), time.process_time()
    if name == "import":
        table = cofactor.read_events(source, into=table_file)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        return {"rows": len(table), **seconds, "anonymous": memory.anonymous, "mapped": memory.mapped}
    estimator: Any = REGISTRY[name](factors=64, epochs=EPOCHS)
    table = cofactor.read_events(table_file) if estimator.kind == "events" else cofactor.read_ratings(table_file)
    times: list[tuple[float, float]] = []
    estimator.fit(table, callback=lambda _: times.append((time.perf_counter(), time.process_time())))
    walls, cpus = (median(np.diff([each[k] for each in times])) for k in (0, 1))
    return {"rows": len(table), "wall": walls, "cpu": cpus, "anonymous": memory.anonymous, "mapped": memory.mapped}


def measure(events: list[int], folder: str | None) -> list[str]:
    """Return the lines of the table."""
    lines = ["| step | rows | wall s | CPU s | anonymous GB | mapped GB |", "|-|-|-|-|-|-|"]
    for n_events in events:
        with TemporaryDirectory(dir=folder) as temporary:
            source, ratings = write_parts(Path(temporary), n_events), f"{temporary}/ratings.cofactor"
            for name in ("import", *FITS):
                kind = "ratings" if name == "biased-mf" else "events"
                if name == "biased-mf":
                    subprocess.run([sys.executable, "-c", IMPORT_RATINGS, source, ratings], check=True)
                arguments = [name, str(source), f"{temporary}/{kind}.cofactor"]
                command = [sys.executable, "-m", "benchmarks.out_of_core", "--step", *arguments]
                result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                label = "import" if name == "import" else f"{name}, one iteration"
                cells = (f"{result[key]:.2f}" for key in ("wall", "cpu", "anonymous", "mapped"))
                lines.append(f"| {label} | {result['rows']:,} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=EVENTS)
    parser.add_argument("--folder", help="folder for temporary files")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(step(*args.step)))
        return
    lines = measure(list(args.events), args.folder)
    head = ["# Tables larger than the memory", "", f"Made by `python -m benchmarks.out_of_core` on {machine()}.", ""]
    PAGE.write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
