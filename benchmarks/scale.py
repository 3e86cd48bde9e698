"""Twenty million ratings on this machine: read, fit, rank, and the peers beside it in the same call.

    python benchmarks/scale.py                     everything (the peers' environments are built on first use)
    python benchmarks/scale.py --no-peers          ours alone
    python benchmarks/scale.py --ratings 2000000   a tenth of it

Data: `data/synthetic.py` in MovieLens-20M's shape (138,493 users x 26,744 items), made once below `--folder`. Each step
runs in a process of its own, one after the other. Memory is the peak of the step beyond the process with its imports,
compiled kernels and the factors themselves, in bytes per rating; the table of rows is counted.
Writes benchmarks/scale.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

FACTORS, EPOCHS = 64, 5


def make_data(folder: Path, n_ratings: int) -> None:
    """ratings.csv; events/ (all rows, value 1) and ratings/ (80 % to learn from, 20 % to test) as arrays."""
    if (folder / "done").exists():
        return
    from cofactor.arrays import random_stream
    from cofactor.data.synthetic import MOVIELENS_20M_SHAPE, generate, write_csv

    share = n_ratings / MOVIELENS_20M_SHAPE.n_ratings
    world = MOVIELENS_20M_SHAPE
    if n_ratings != world.n_ratings:
        world = replace(world, n_users=round(world.n_users * share), n_ratings=n_ratings)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "ratings.csv", world)
    rows = generate(world).interactions
    held_out = random_stream(0, "held out").random(len(rows)) < 0.2
    for name, keep in (("events", np.ones(len(rows), bool)), ("ratings", ~held_out)):
        (folder / name).mkdir(exist_ok=True)
        values = np.ones(len(rows), np.float32) if name == "events" else rows.values
        for column, array in (("u", rows.u), ("i", rows.i), ("values", values)):
            np.save(folder / name / f"{column}.npy", array[keep])
    for column, array in (("u", rows.u), ("i", rows.i), ("values", rows.values)):
        np.save(folder / "ratings" / f"test_{column}.npy", array[held_out])
    (folder / "done").touch()


# what each child process does


def resident(field: str = "VmRSS") -> int:
    """Bytes of resident memory now, or its peak ("VmHWM") since the last `forget_peak`. Linux only."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def table(folder: Path, kind: Any) -> Any:
    """Interactions from saved arrays; ids are the row numbers."""
    from cofactor.data.ids import IdMap
    from cofactor.data.interactions import Interactions
    from cofactor.data.scale import Scale

    u, i, values = (np.load(folder / f"{name}.npy") for name in ("u", "i", "values"))
    users, items = (IdMap(np.arange(int(rows.max()) + 1, dtype=np.int64)) for rows in (u, i))
    scale = Scale.declared(np.arange(0.5, 5.1, 0.5).tolist()) if kind == "ratings" else None
    return Interactions(users, items, u, i, values, kind=kind, scale=scale)


def timed_fit(estimator: Any, folder: Path, kind: Any) -> tuple[dict[str, Any], Any]:
    import cofactor
    from cofactor.data.interactions import Interactions

    rng = np.random.default_rng(0)
    small = Interactions.from_columns(
        rng.integers(0, 50, 500), rng.integers(0, 40, 500), rng.integers(1, 6, 500), kind=kind
    )
    cofactor.Recommender.fit(replace(estimator, epochs=1), small).recommend_all(10)  # compile
    forget_peak()
    before = resident()
    rows = table(folder, kind)
    marks = [(time.perf_counter(), time.process_time())]
    rec = cofactor.Recommender.fit(
        estimator, rows, on_epoch=lambda _: marks.append((time.perf_counter(), time.process_time()))
    )
    total = time.perf_counter() - marks[0][0]
    steps = np.median(np.diff(np.array(marks[1:]), axis=0), axis=0)
    factors = 4 * (len(rec.users) + len(rec.items)) * FACTORS
    found = {
        "fit_seconds": total,
        "seconds_per_iteration": float(steps[0]),
        "cpu_seconds_per_iteration": float(steps[1]),
        "bytes_per_rating": (resident("VmHWM") - before - factors) / len(rows),
        "peak_mb": resident("VmHWM") / 2**20,
    }
    return found, rec


def stage_read(folder: Path) -> dict[str, Any]:
    import polars as pl

    import cofactor

    path = folder / "ratings.csv"
    began = time.perf_counter()
    scanned = pl.read_csv(path, columns=["user", "item", "value", "time"])
    scan = time.perf_counter() - began
    del scanned
    forget_peak()
    before = resident()
    began = time.perf_counter()
    rows = cofactor.read_ratings(path)
    seconds = time.perf_counter() - began
    return {
        "rows": len(rows),
        "read_seconds": seconds,
        "polars_scan_seconds": scan,
        "peak_mb": (resident("VmHWM") - before) / 2**20,
    }


def stage_implicit(folder: Path) -> dict[str, Any]:
    import cofactor

    found, rec = timed_fit(cofactor.ImplicitALS(factors=FACTORS, epochs=EPOCHS), folder / "events", "events")
    began = time.perf_counter()
    rec.rank(np.arange(len(rec.users), dtype=np.int32), 10)
    return {**found, "recommend_seconds_all_users": time.perf_counter() - began}


def stage_sgd(folder: Path) -> dict[str, Any]:
    import cofactor

    found, rec = timed_fit(cofactor.BiasedMF(factors=FACTORS), folder / "ratings", "ratings")
    u, i, values = (np.load(folder / "ratings" / f"test_{name}.npy") for name in ("u", "i", "values"))
    known = (u < len(rec.users)) & (i < len(rec.items))
    u, i = np.where(known, u, -1).astype(np.int32), np.where(known, i, -1).astype(np.int32)
    predicted = rec.model.predict(u, i, rec.histories)
    began = time.perf_counter()
    rec.rank(np.arange(len(rec.users), dtype=np.int32), 10)
    seconds = time.perf_counter() - began
    error = float(np.sqrt(np.mean((values - predicted.astype(np.float64)) ** 2)))
    return {**found, "rmse": error, "recommend_seconds_all_users": seconds}


STAGES = {"read": stage_read, "implicit": stage_implicit, "sgd": stage_sgd}


# the parent


def run_stage(name: str, folder: Path) -> dict[str, Any]:
    print(f"{name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(label: str, found: dict[str, Any]) -> str:
    cells = [
        f"{found.get('seconds_per_iteration', float('nan')):.2f}",
        f"{found.get('cpu_seconds_per_iteration', float('nan')):.2f}",
        f"{found['fit_seconds']:.1f}" if "fit_seconds" in found else "",
        f"{found['recommend_seconds_all_users']:.1f}" if "recommend_seconds_all_users" in found else "",
        f"{found['bytes_per_rating']:.0f}" if "bytes_per_rating" in found else "",
        f"{found['peak_mb']:.0f}",
        f"{found['rmse']:.4f}" if "rmse" in found else "",
    ]
    return f"| {label} | {' | '.join(cells)} |"


def report(folder: Path, *, peers: bool) -> str:
    read = run_stage("read", folder)
    ours = {
        f"cofactor ImplicitALS, {EPOCHS} iterations": run_stage("implicit", folder),
        "cofactor BiasedMF (biases and range), 80 %": run_stage("sgd", folder),
    }
    theirs = {}
    if peers:
        import peers as them

        for peer, part in (("implicit", "events"), ("irspack", "events"), ("libmf", "ratings")):
            print(f"{peer} ...", file=sys.stderr, flush=True)
            result = them.run(peer, folder / part, factors=FACTORS, iterations=EPOCHS, threads=2, n=10)
            theirs[f"{peer} {result['version']}"] = result
    lines = [
        f"# {read['rows']:,} synthetic ratings, {FACTORS} factors, 2 threads",
        "",
        "Made by `python benchmarks/scale.py`. Wall seconds unless said otherwise.",
        "",
        f"Reading the CSV: {read['read_seconds']:.1f} s, peak {read['peak_mb']:.0f} MB.",
        f"Polars alone, without ids or checks: {read['polars_scan_seconds']:.1f} s.",
        "",
        "| | s per iteration | CPU s | whole fit s | top 10 for all, s | bytes per rating | peak MB | test RMSE |",
        "|-|-|-|-|-|-|-|-|",
        *(row(label, found) for label, found in (ours | theirs).items()),
    ]
    if peers:
        implicit, sgd = ours.values()
        seconds = {label.split()[0]: found["seconds_per_iteration"] for label, found in theirs.items()}
        lines += ["", "Ratios ours / theirs, seconds per iteration (below 1: ours is faster): "]
        lines += [
            f"- {name}: {(sgd if name == 'libmf' else implicit)['seconds_per_iteration'] / s:.2f}"
            for name, s in seconds.items()
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cofactor-scale")
    parser.add_argument("--ratings", type=int, default=20_000_263)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(STAGES[given.stage](given.folder)))
        return
    folder = given.folder / str(given.ratings)
    make_data(folder, given.ratings)
    text = report(folder, peers=not given.no_peers)
    print(text)
    (Path(__file__).parent / "scale.md").write_text(text)


if __name__ == "__main__":
    main()
