"""Local fits against fits on Apache Spark with both methods, on the same cores.

    python -m benchmarks.spark                             1, 5 and 20 million events; needs Java, and 8 GB of memory
    python -m benchmarks.spark --events 1000000
    python -m benchmarks.spark cluster                     20 million events, on a master and two workers
    python -m benchmarks.spark page

Synthetic events with the popularities of `benchmarks.out_of_core` and 140 events for each user, in a Parquet file.
ImplicitALS has 64 factors and settings that MLlib can express. Each fit runs in a process of its own. *Total* is the
time from the start of the process to the model file, *read* the time to the first epoch, *pass* the median time of an
epoch, which MLlib does not report. Memory is the largest sum over the process, the Java virtual machine and its Python
workers. The objective is that of `FactorModel.objective` on the table. Results are appended to benchmarks/spark.jsonl;
`page` writes benchmarks/spark.md. `cluster` fits on a standalone cluster, a master and two workers of one core on this
machine, and measures the memory of the process that starts the fit, with its Java process and without the workers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from benchmarks.results import machine
from tests.support.spark_cluster import standalone_cluster

RESULTS, PAGE = (Path(__file__).parent / f"spark.{suffix}" for suffix in ("jsonl", "md"))
EVENTS = (1_000_000, 5_000_000, 20_000_000)
EVENTS_PER_USER = 140
N_ITEMS = 27_000
EPOCHS = 5
ENGINES = {
    "local": "this process",
    "half-steps": "Spark, half-steps",
    "mllib": "Spark, MLlib",
    "cluster": "Spark, standalone cluster",
}
SETTINGS = {"spark.driver.memory": "6g"}
CLUSTER_SETTINGS = {"spark.driver.memory": "480m", "spark.executor.memory": "4g", "spark.executor.cores": "1"}


def write_events(path: Path, n_events: int) -> None:
    """Write distinct synthetic events to a Parquet file."""
    rng = np.random.default_rng(0)
    n_users = n_events // EVENTS_PER_USER
    popularity = np.cumsum(np.arange(1, N_ITEMS + 1) ** -0.7)
    activity = np.cumsum(rng.lognormal(0, 1, n_users))
    users = np.searchsorted(activity, rng.random(n_events) * activity[-1])
    items = np.searchsorted(popularity, rng.random(n_events) * popularity[-1])
    pl.DataFrame({"user": users, "item": items}).unique().sort("user", "item").write_parquet(path)


def tree_memory(root: int) -> float:
    """Return the resident memory of a process and its descendants in GB."""
    parents, sizes = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                lines = (folder / "status").read_text().splitlines()
            except OSError:
                continue
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            parents[int(folder.name)] = int(fields["PPid"])
            sizes[int(folder.name)] = int(fields.get("RssAnon", "0 kB").split()[0]) / 1e6
    total, members = 0.0, {root}
    for process in sorted(sizes):
        if process in members or parents[process] in members:
            members.add(process)
            total += sizes[process]
    return total


def step(engine: str, path: str, output: str, master: str) -> dict[str, Any]:
    """Fit in this process, and return seconds and the objective."""
    start = time.perf_counter()
    import cofactor

    estimator = cofactor.ImplicitALS(factors=64, epochs=EPOCHS, blank_ratio=0.02, l2_ratio=0.05)
    times: list[float] = []
    if engine == "local":
        table = cofactor.read_events(path)
        recommender = cofactor.Recommender.fit(estimator, table, callback=lambda _: times.append(time.perf_counter()))
        recommender.save(output)
    else:
        from cofactor.cluster import fit

        recommender = fit(
            estimator, path, output=output, master=master, method="half-steps" if engine == "cluster" else engine,
            settings=CLUSTER_SETTINGS if engine == "cluster" else SETTINGS, work=f"{output}.work",
            callback=lambda _: times.append(time.perf_counter()),
        ).recommender  # fmt: skip
    total = time.perf_counter() - start
    print(total, flush=True)  # the end of what the memory is measured for
    passes = float(median(np.diff(times))) if len(times) > 1 else None
    read = None if passes is None else times[0] - start - passes
    model: Any = recommender.model
    objective = model.objective(cofactor.read_events(path))
    return {"total": total, "read": read, "pass": passes, "objective": objective}


def measure(events: list[int], engines: list[str]) -> None:
    for n_events in events:
        with TemporaryDirectory() as folder:
            path = Path(folder, "events.parquet")
            write_events(path, n_events)
            rows = pl.scan_parquet(path).select(pl.len()).collect().item()
            for engine in engines:
                with cluster_or_local(engine, Path(folder)) as master:
                    result = {"engine": engine, "events": n_events, "rows": rows}
                    result |= run_step([engine, str(path), f"{folder}/m.cofactor", master])
                print(result, flush=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(result) + "\n")


@contextmanager
def cluster_or_local(engine: str, folder: Path) -> Iterator[str]:
    """Return the master for an engine; the cluster runs until the end."""
    if engine != "cluster":
        yield f"local[{os.cpu_count()}]"
        return
    with standalone_cluster(folder / "cluster", memory="5g") as cluster:
        yield cluster.master


def run_step(arguments: list[str]) -> dict[str, Any]:
    """Run a step in a process of its own, and return its result with the largest memory until the model is saved."""
    command = [sys.executable, "-m", "benchmarks.spark", "--step", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], tree_memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.stdout is not None
    process.stdout.readline()  # written when the model is saved
    done.set()
    watcher.join()
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{arguments[0]} failed")
    return {"memory": peak[0], **json.loads(text)}


def write_page() -> None:
    results = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    latest = {(result["events"], result["engine"]): result for result in results}
    lines = [
        "# Local fits and Apache Spark", "",
        f"Made by `python -m benchmarks.spark` on {machine()}: ImplicitALS with 64 factors and {EPOCHS} epochs on",
        "synthetic events. *Total*: from the start of the process to the model file. *Read*: until the first epoch.",
        "*Pass*: one epoch. Memory: anonymous, of all processes; of the standalone cluster that of the process which",
        "starts the fit, with its Java process. The objective is that of the local estimator.", "",
        "| rows | engine | total s | read s | pass s | memory GB | objective |", "|-|-|-|-|-|-|-|",
    ]  # fmt: skip
    for n_events, engine in sorted(latest, key=lambda key: (key[0], list(ENGINES).index(key[1]))):
        result = latest[n_events, engine]
        cells = ["-" if result[key] is None else f"{result[key]:.1f}" for key in ("total", "read", "pass", "memory")]
        lines.append(f"| {result['rows']:,} | {ENGINES[engine]} | {' | '.join(cells)} | {result['objective']:,.0f} |")
    PAGE.write_text("\n".join([*lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["cluster", "page"])
    parser.add_argument("--events", type=int, nargs="+", default=EVENTS)
    parser.add_argument("--engines", nargs="+", default=["local", "half-steps", "mllib"])
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(step(*args.step)))
        return
    if args.command == "cluster":
        measure([EVENTS[-1]], ["cluster"])
    elif args.command is None:
        measure(list(args.events), args.engines)
    write_page()


if __name__ == "__main__":
    main()
