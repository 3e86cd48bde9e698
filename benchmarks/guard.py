"""Did a kernel get slower? CPU seconds of each relative to a calibration loop, compared with the recorded ratios.

    python -m benchmarks.guard             prints the table (under two minutes)
    python -m benchmarks.guard --record    writes these ratios to benchmarks/baseline.json

The calibration loop is compiled like the kernels and runs before each of them, so that a busy machine slows both. A
value is the median of five. Machines differ in more than speed, and ratios within a quarter of the record are not
significant: the benchmark only informs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import numpy as np

import cofactor
from benchmarks.results import machine
from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import MOVIELENS_1M_SHAPE, generate
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.registry import ranking_metrics

BASELINE = Path(__file__).parent / "baseline.json"
REPEATS = 5
NOTABLE = 1.25


@numba.njit(fastmath=True)
def _calibration(x, y, rounds):
    """Compute sums and products of two vectors of 64 repeatedly, which resembles the work of kernels."""
    total = np.float32(0)
    for _ in range(rounds):
        dot = np.float32(0)
        for d in range(64):
            dot += x[d] * y[d]
        for d in range(64):
            y[d] += np.float32(1e-9) * dot * x[d]
        total += dot
    return total


def works() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each workload by name; its input is prepared first."""
    ratings = generate(MOVIELENS_1M_SHAPE).interactions
    events = ratings.to_events(min_rating=3)
    columns = ratings.frame()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        columns.write_csv(path)
        yield "read a CSV, 1 M rows", lambda: cofactor.read_ratings(path)
    yield "sort 1 M rows", lambda: Interactions.from_columns(columns["item"], columns["user"], columns["value"])
    yield "BiasedMF, 5 epochs", lambda: cofactor.BiasedMF(factors=64, epochs=5).fit(ratings)
    yield "ExplicitALS, 2 iterations", lambda: cofactor.ExplicitALS(factors=64, epochs=2).fit(ratings)
    yield "BayesianMF, 3 sweeps", lambda: cofactor.BayesianMF(iterations=3, burn_in=1).fit(ratings)
    yield "ImplicitALS, 3 iterations", lambda: cofactor.ImplicitALS(epochs=3).fit(events)
    yield "BPR, 3 epochs", lambda: cofactor.BPR(epochs=3).fit(events)
    yield "EASE", lambda: cofactor.EASE().fit(events)
    yield "ItemKNN", lambda: cofactor.ItemKNN().fit(events)
    rec = cofactor.Recommender.fit(cofactor.ImplicitALS(epochs=3), events)
    everyone = np.arange(len(rec.users), dtype=np.int32)
    yield "top 10 of 6,040 users", lambda: rec.for_rows(everyone).rank(10)
    yield "one user, 300 times", lambda: [rec.for_rows(everyone[u : u + 1]).rank(10) for u in range(300)]
    lists, relevant = rec.for_rows(everyone).rank(100)[0], events.by_user
    yield "ranking metrics", lambda: ranking_metrics(lists, relevant, ks=(10, 20, 100))
    few = relevant.take(everyone[:500])
    yield "fold in 500 users", lambda: rec.model.fold_in(SparseRows(few.start, few.columns, few.values))


def cpu_seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def measured() -> dict[str, float]:
    """Return the CPU seconds of each workload relative to the calibration loop."""
    x, y = np.ones(64, np.float32), np.ones(64, np.float32)
    calibrate = lambda: _calibration(x, y, 10_000_000)  # noqa: E731
    calibrate()
    ratios_by_name = {}
    for name, run in works():
        run()  # compile
        ratios = []
        for _ in range(REPEATS):
            unit = cpu_seconds(calibrate)
            ratios.append(cpu_seconds(run) / unit)
        ratios_by_name[name] = statistics.median(ratios)
    return ratios_by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    with threads(1):
        ratios = measured()
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"on": "", "ratios": {}}
    print(f"CPU time over the calibration loop's; on record from {baseline['on']}\n")
    print(f"{'':28}{'now':>8}{'record':>8}{'now/record':>12}")
    for name, ratio in ratios.items():
        record = baseline["ratios"].get(name)
        change = "" if record is None else f"{ratio / record:12.2f}{'  slower?' if ratio / record > NOTABLE else ''}"
        print(f"{name:28}{ratio:8.2f}{record or float('nan'):8.2f}{change}")
    if args.record:
        BASELINE.write_text(
            json.dumps({"on": machine(), "ratios": {k: round(v, 4) for k, v in ratios.items()}}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
