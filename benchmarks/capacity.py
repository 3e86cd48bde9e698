"""Plans of `cofactor.plan` against measured fits: memory, seconds of a pass, and bytes of the files.

    python -m benchmarks.capacity                 all points, about ten minutes and 3 GB of disk; writes the page
    python -m benchmarks.capacity 0 3             two points, printed only
    python -m benchmarks.capacity --folder /data  where the files are written

Each point is a synthetic table (`cofactor.datasets.synthetic`) in a table file; the plan only knows the numbers
of users, items and rows. Each step runs in a process of its own, one after the other. Memory is the highest anonymous
memory of the process that fits and saves the model, sampled every 4 ms. The seconds of a pass are the median of the
times between callbacks. The planned seconds are CPU seconds divided by the number of cores, so that the ratio of CPU
seconds is less noisy on a machine that is not idle. Results are written to benchmarks/capacity.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.results import machine
from cofactor.datasets.synthetic import MOVIELENS_1M_SHAPE, MOVIELENS_20M_SHAPE, SyntheticConfig, generate

PAGE = Path(__file__).parent / "capacity.md"
EPOCHS = 5


@dataclass(frozen=True)
class Point:
    """A table and a model."""

    name: str
    config: SyntheticConfig
    model: str
    factors: int


NETFLIX_PART = replace(MOVIELENS_20M_SHAPE, n_users=48_000, n_items=17_770, n_ratings=10_000_000)
SPARSE = SyntheticConfig(n_users=1_000_000, n_items=200_000, n_ratings=5_000_000)
POINTS = (
    Point("MovieLens-1M", MOVIELENS_1M_SHAPE, "implicit-als", 64),
    Point("MovieLens-1M", MOVIELENS_1M_SHAPE, "bpr", 32),
    Point("sparse", SPARSE, "implicit-als", 32),
    Point("a tenth of Netflix", NETFLIX_PART, "explicit-als", 50),
    Point("MovieLens-20M", MOVIELENS_20M_SHAPE, "implicit-als", 128),
    Point("MovieLens-20M", MOVIELENS_20M_SHAPE, "biased-mf", 64),
    Point("MovieLens-20M", MOVIELENS_20M_SHAPE, "bpr", 64),
)


def estimator_of(point: Point) -> Any:
    from cofactor.estimators import REGISTRY

    return REGISTRY[point.model](factors=point.factors, epochs=EPOCHS)  # type: ignore[call-arg]


def write_table(point: Point, path: Path) -> None:
    """Write the table of a point: ratings, or events of value 1 to 5."""
    ratings = generate(point.config).interactions
    if estimator_of(point).kind == "events":
        ratings = replace(ratings, kind="events", values=np.ceil(ratings.values), scale=None)
    replace(ratings, times=None, user_table=None, item_table=None).save(path)


def make_plan(point: Point, path: Path) -> dict[str, Any]:
    """Return the plan for a table of this size."""
    import cofactor

    table = cofactor.Interactions.load(path, verify=False)
    size = {"users": table.n_users, "items": table.n_items, "events": len(table)}
    del table
    start = time.perf_counter()
    planned = cofactor.plan(estimator_of(point), **size)
    return {**planned.as_dict(), "plan_seconds": time.perf_counter() - start}


def fit(point: Point, path: Path) -> dict[str, Any]:
    """Fit and save the model, and return memory, seconds of a pass, and the sizes of the files."""
    import cofactor

    highest = 0.0

    def watch() -> None:
        nonlocal highest
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            highest = max(highest, *(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
            time.sleep(0.004)

    threading.Thread(target=watch, daemon=True).start()
    table = cofactor.Interactions.load(path, verify=False)
    times: list[tuple[float, float]] = []
    recommender = cofactor.Recommender.fit(
        estimator_of(point), table, callback=lambda _: times.append((time.perf_counter(), time.process_time()))
    )
    file = path.with_name("model.cofactor")
    recommender.save(file)
    wall, cpu = (median(np.diff([each[k] for each in times])) for k in (0, 1))
    return {
        "wall": wall, "cpu": cpu, "memory": highest,
        "model_bytes": file.stat().st_size, "table_bytes": path.stat().st_size,
    }  # fmt: skip


STEPS = {"table": write_table, "plan": make_plan, "fit": fit}


def run_step(step: str, index: int, path: Path) -> Any:
    """Run a step in a process of its own, and return its result."""
    command = [sys.executable, "-m", "benchmarks.capacity", "--step", step, str(index), str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compared(planned: float, measured: float, unit: float, digits: int) -> str:
    """Return a cell: planned / measured (ratio)."""
    return f"{planned / unit:,.{digits}f} / {measured / unit:,.{digits}f} ({planned / measured:.2f})"


def row_of(point: Point, planned: dict[str, Any], measured: dict[str, Any]) -> str:
    """Return a row of the table."""
    size = f"{planned['users']:,} x {planned['items']:,}, {planned['events']:,}"
    cells = [
        point.name, size, f"{point.model}, {point.factors}",
        compared(planned["fit_memory"], measured["memory"], 1e6, 0),
        compared(planned["seconds_per_pass"], measured["wall"], 1, 3),
        compared(planned["seconds_per_pass"] * planned["cores"], measured["cpu"], 1, 3),
        compared(planned["model_bytes"], measured["model_bytes"], 1e6, 1),
        compared(planned["table_bytes"], measured["table_bytes"], 1e6, 1),
        f"{planned['plan_seconds']:.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def measure(points: list[int], folder: str | None) -> list[str]:
    """Return the lines of the table."""
    heads = (
        "table", "users x items, rows", "model, factors", "memory of a fit, MB", "seconds of a pass",
        "CPU seconds of a pass", "model file, MB", "table file, MB", "seconds of the plan",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{'-|' * len(heads)}"]
    print(*lines, sep="\n", flush=True)
    for index in points:
        with TemporaryDirectory(dir=folder) as temporary:
            path = Path(temporary, "table.cofactor")
            run_step("table", index, path)
            lines.append(row_of(POINTS[index], *(run_step(step, index, path) for step in ("plan", "fit"))))
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=int, nargs="*", help="numbers of points, from 0")
    parser.add_argument("--folder", help="folder for temporary files")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        step, index, path = args.step
        print(json.dumps(STEPS[step](POINTS[int(index)], Path(path))))
        return
    lines = measure(args.points or list(range(len(POINTS))), args.folder)
    if not args.points:
        text = (
            "Each cell is planned / measured (ratio). The memory of a fit is anonymous memory; the pages of the table "
            "file are not included."
        )
        head = ["# Capacity plans", "", f"Made by `python -m benchmarks.capacity` on {machine()}.", "", text, ""]
        PAGE.write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
