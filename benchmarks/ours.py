"""cofactor's side of `bench_peers.py`: one task in a process of its own, one line of JSON with its measurements.

    python -m benchmarks.ours als FOLDER/events --factors 64

Kernels are compiled before a clock runs. Seconds are on the wall, `cpu_seconds...` count all threads, `peak_mb` is the
most memory that the process held, `bytes_per_rating` the most beyond imports, compiled kernels and finished factors:
the table of rows is counted.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from benchmarks.accuracy import split_i0, split_s0
from benchmarks.runners.measuring import mark, peak_mb, per_iteration, report, save_factors, seconds
from benchmarks.tables import interactions
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import evaluate, primary_value
from cofactor.evaluate.split import Split
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.registry import ranking_metrics
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss
from cofactor.models.user_batch import UserBatch

Measurements = dict[str, Any]
TASKS: dict[str, Callable[[argparse.Namespace], Measurements]] = {}

LIKE_IRSPACK = EventsLoss(alpha0=0.1, l2=1e-3, nu=1.0, counts="raw")
"""What irspack's runner minimizes; see there."""


def like_irspack(folder: Path, **settings: Any) -> cofactor.ImplicitALS:
    """ImplicitALS that minimizes the same on the table of a folder."""
    return cofactor.ImplicitALS.from_absolute(interactions(folder, "events"), **asdict(LIKE_IRSPACK), **settings)


def task(run: Callable[[argparse.Namespace], Measurements]) -> Callable[[argparse.Namespace], Measurements]:
    TASKS[run.__name__] = run
    return run


# clocks and memory


def memory(field: str) -> int:
    """Bytes of resident memory: "VmRSS" now, "VmHWM" the most since `forget_peak`. Linux only."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def clock(measured: Measurements, what: str) -> Iterator[None]:
    start = mark()
    yield
    measured |= seconds(what, mark().since(start))


def compile_first(estimator: Estimator, *, rank: bool = True) -> None:
    """Compile every kernel that the fit needs, on a small table."""
    rng = np.random.default_rng(0)
    u, i, values = rng.integers(0, 50, 900), rng.integers(0, 40, 900), rng.integers(1, 6, 900)
    small = Interactions.from_columns(u, i, values, kind=estimator.kind if estimator.kind != "any" else "events")
    few = {name: 2 for name in ("epochs", "iterations") if hasattr(estimator, name)}
    fitted = cofactor.Recommender.fit(replace(estimator, **few), small)
    if rank:
        fitted.recommend_all(10)
        fitted.recommend(0)


def fitted(estimator: Estimator, folder: Path, kind: Kind) -> tuple[cofactor.Recommender, Measurements, Interactions]:
    """Fit a table from disk; measure total seconds, seconds per iteration, and memory per rating."""
    compile_first(estimator)
    forget_peak()
    before, measured, marks = memory("VmRSS"), Measurements(), []
    rows = interactions(folder, kind)
    with clock(measured, "fit"):
        marks.append(mark())
        rec = cofactor.Recommender.fit(estimator, rows, callback=lambda _: marks.append(mark()))
    factors = sum(array.nbytes for array in rec.model.arrays().values())
    measured["bytes_per_rating"] = (memory("VmHWM") - before - factors) / len(rows)
    each = per_iteration(marks[1:]) if len(marks) > 2 else {}
    return rec, measured | each | {"peak_mb": peak_mb()}, rows


# large tables


@task
def als(args: argparse.Namespace) -> Measurements:
    """ImplicitALS with what irspack's runner minimizes."""
    estimator = like_irspack(args.data, factors=args.factors, epochs=args.iterations)
    rec, measured, rows = fitted(estimator, args.data, "events")
    if args.save:
        save_factors(args.save, users=rec.model.user_factors, items=rec.model.item_factors)
    return measured | {"objective": rec.model.objective(rows)}


@task
def objective_of(args: argparse.Namespace) -> Measurements:
    """The objective of irspack's factors, by our function, without timing."""
    rows = interactions(args.data, "events")
    users, items = (np.load(args.factors_from / f"{side}_factors.npy") for side in ("user", "item"))
    none = (np.zeros(len(side), np.float32) for side in (users, items))
    return {"objective": FactorModel(users, items, *none, loss=LIKE_IRSPACK).objective(rows)}


@task
def als_to(args: argparse.Namespace) -> Measurements:
    """The fit with the fewest iterations that ends at or below an objective, found by halving 1..16."""
    low, high, best = 1, 16, Measurements()
    while low <= high:
        middle = (low + high) // 2
        estimator = like_irspack(args.data, factors=args.factors, epochs=middle)
        rec, measured, rows = fitted(estimator, args.data, "events")
        measured |= {"iterations": middle, "objective": rec.model.objective(rows)}
        if measured["objective"] <= args.target:
            high, best = middle - 1, measured
        else:
            low = middle + 1
    return best


@task
def sgd(args: argparse.Namespace) -> Measurements:
    """BiasedMF, its error on the rows held out."""
    rec, measured, _ = fitted(cofactor.BiasedMF(factors=args.factors), args.data, "ratings")
    u, i, values = (np.load(args.data / f"test_{name}.npy") for name in ("u", "i", "values"))
    is_known = (u < len(rec.users)) & (i < len(rec.items))
    u, i = (np.where(is_known, side, -1).astype(np.int32) for side in (u, i))
    predicted = rec.model.predict(UserBatch.trained(u, rec.histories), i).astype(np.float64)
    return measured | {"rmse": float(np.sqrt(np.mean((values - predicted) ** 2)))}


@task
def bpr(args: argparse.Namespace) -> Measurements:
    """BPR with one negative for each event, as implicit draws them; an epoch."""
    estimator = cofactor.BPR(factors=args.factors, negatives_ratio=args.negatives_ratio, epochs=args.iterations)
    return fitted(estimator, args.data, "events")[1]


# ranking


def recommender(factors: Path, data: Path, *, history: bool) -> cofactor.Recommender:
    """Saved factors as a Recommender, with the table's histories or with empty ones."""
    users, items = (np.load(factors / f"{side}_factors.npy") for side in ("user", "item"))
    none = (np.zeros(len(side), np.float32) for side in (users, items))
    ids = (IdMap(np.arange(len(side), dtype=np.int64)) for side in (users, items))
    rows = interactions(data, "events").by_user if history else SparseRows.empty(len(users))
    return cofactor.Recommender(FactorModel(users, items, *none), *ids, rows, "events")


@task
def rank(args: argparse.Namespace) -> Measurements:
    """The ten best of every user, without seen items."""
    compile_first(cofactor.ImplicitALS(factors=args.factors))
    rec, measured = recommender(args.factors_from, args.data, history=True), Measurements()
    everyone = np.arange(len(rec.users), dtype=np.int32)
    with clock(measured, "recommend"):
        rec.for_rows(everyone).rank(10)
    return measured | {"peak_mb": peak_mb()}


@task
def latency(args: argparse.Namespace) -> Measurements:
    """One user at a time, drawn as the peer's runner draws them: rows and scores, as its `recommend` gives them."""
    compile_first(cofactor.ImplicitALS(factors=args.factors))
    rec = recommender(args.factors_from, args.data, history=not args.no_history)
    users, spans = np.random.default_rng(0).integers(len(rec.users), size=2050).astype(np.int32), []
    for user in users:
        start = mark()
        rec.for_rows(np.array([user])).rank(10)
        spans.append(mark().since(start))
    wall, cpu = 1000 * np.array(spans[50:]).T
    return {
        "p50_ms": float(np.percentile(wall, 50)),
        "p99_ms": float(np.percentile(wall, 99)),
        "cpu_ms": float(cpu.mean()),
        "peak_mb": peak_mb(),
    }


# MovieLens-100k and MovieLens-1M's shape


def curve(split: Split, fits: dict[int, Estimator], repeats: int = 3) -> Measurements:
    """Return [[epochs, seconds, CPU seconds, error], ...] of one fit each, with the median time of a few."""
    points = []
    for epochs, estimator in fits.items():
        compile_first(estimator, rank=False)
        times = []
        for _ in range(repeats):
            measured = Measurements()
            with clock(measured, "fit"):
                rec = cofactor.Recommender.fit(estimator, split.train)
            times.append((measured["fit_seconds"], measured["fit_cpu_seconds"]))
        wall, cpu = np.median(times, axis=0).tolist()
        points.append([epochs, wall, cpu, primary_value(rec, split)])
    return {"curve": points, "peak_mb": peak_mb()}


@task
def mf_curve(args: argparse.Namespace) -> Measurements:
    """BiasedMF on S0 by its number of epochs; its rate falls to nothing within them, so each needs its own fit."""
    return curve(split_s0(), {n: cofactor.BiasedMF(epochs=n) for n in (2, 4, 6, 8, 10, 12, 14, 15, 16, 17, 18, 19, 20)})


@task
def bayes_curve(args: argparse.Namespace) -> Measurements:
    """BayesianMF on S0 by its number of passes."""
    estimators = {n: cofactor.BayesianMF(iterations=n, burn_in=min(n // 3, 40)) for n in (20, 30, 40, 60, 80, 120, 140)}
    return curve(split_s0(), estimators | {400: cofactor.BayesianMF()})


@task
def als_curve(args: argparse.Namespace) -> Measurements:
    """ImplicitALS on I0 by its number of iterations: NDCG@10."""
    return curve(split_i0(0), {n: cofactor.ImplicitALS(epochs=n) for n in (1, 2, 3, 5, 8, 10, 15)})


def on_events(estimator: Estimator, folder: Path) -> Measurements:
    """Fit, and measure NDCG@10 on the held-out rows."""
    compile_first(estimator)
    train, measured = interactions(folder, "events"), Measurements()
    u, i = (np.load(folder / f"test_{name}.npy") for name in ("u", "i"))
    train = replace(train, users=IdMap(np.arange(1 + max(train.n_users - 1, int(u.max())), dtype=np.int64)))
    train = replace(train, items=IdMap(np.arange(1 + max(train.n_items - 1, int(i.max())), dtype=np.int64)))
    with clock(measured, "fit"):
        rec = cofactor.Recommender.fit(estimator, train)
    held_out = SparseRows.of(u, i, np.ones(len(u)), train.n_users)
    users = np.unique(u).astype(np.int32)
    quality = ranking_metrics(rec.for_rows(users).rank(10)[0], held_out.take(users), ks=(10,))["ndcg@10"].mean()
    return measured | {"ndcg@10": float(quality), "peak_mb": peak_mb()}


@task
def ease(args: argparse.Namespace) -> Measurements:
    return on_events(cofactor.EASE(), args.data)


@task
def item_knn(args: argparse.Namespace) -> Measurements:
    return on_events(cofactor.ItemKNN(event_neighbors=20, event_shrink=0), args.data)


# reading, evaluating, starting


@task
def read(args: argparse.Namespace) -> Measurements:
    """A CSV of four columns: by polars alone, and into Interactions."""
    read_a_little()
    measured = Measurements()
    with clock(measured, "polars"):
        scanned = pl.read_csv(args.data, columns=["user", "item", "value", "time"])
    del scanned
    with clock(measured, "read"):
        rows = cofactor.read_ratings(args.data)
    return measured | {"rows": len(rows)}


@task
def read_alone(args: argparse.Namespace) -> Measurements:
    """The peak memory of reading, beyond that of the process before."""
    read_a_little()
    forget_peak()
    before = memory("VmRSS")
    cofactor.read_ratings(args.data)
    return {"peak_mb": (memory("VmHWM") - before) / 2**20}


def read_a_little() -> None:
    """Compile the kernels of reading with rows that are not in order."""
    cofactor.read_ratings(pl.DataFrame({"user": ["b", "a"], "item": ["c", "c"], "value": [1.0, 2.0]}))


@task
def evaluation(args: argparse.Namespace) -> Measurements:
    """All metrics at 10, 20 and 100 for every user given the rankings; and all of `evaluate` after the fit."""
    from cofactor.evaluate.evaluation import score

    rows = interactions(args.data, "events")
    held_out = np.random.default_rng(0).random(len(rows)) < 0.2
    split = Split(rows.select(~held_out), rows.select(held_out), "a fifth at random")
    rec, measured = cofactor.Recommender.fit(cofactor.ImplicitALS(epochs=3), split.train), Measurements()
    everyone = np.arange(len(rec.users), dtype=np.int32)
    rec.for_rows(everyone[:300]).rank(100)
    with clock(measured, "rank"):
        lists, _ = rec.for_rows(everyone).rank(100)
    with clock(measured, "metrics"):
        ranking_metrics(lists, split.test.by_user, ks=(10, 20, 100))
    with clock(measured, "score"):
        score(rec, split, label="als", ks=(10, 20, 100))
    return measured | {"users": len(everyone), "peak_mb": peak_mb()}


@task
def bits(args: argparse.Namespace) -> Measurements:
    """A fingerprint of everything that the other tasks compute, on this number of threads."""
    events, s0, i0 = interactions(args.data, "events"), split_s0(), split_i0(0)
    prints = {}

    def note(name: str, *arrays: Any) -> None:
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        prints[name] = digest.hexdigest()[:16]

    for estimator in (cofactor.ImplicitALS(epochs=2), cofactor.BPR(epochs=1)):
        rec = cofactor.Recommender.fit(estimator, events)
        note(estimator.name, *rec.model.arrays().values())
        note(f"{estimator.name}, ranked", *rec.for_rows(np.arange(0, len(rec.users), 7, dtype=np.int32)).rank(10))
    large = Interactions.from_columns(events.u, events.i, 1 + (events.i + events.u) % 5)
    note("biased-mf", *cofactor.Recommender.fit(cofactor.BiasedMF(factors=64, epochs=2), large).model.arrays().values())
    for estimator in (cofactor.BiasedMF(), cofactor.BayesianMF(), cofactor.ItemKNN(), cofactor.UserKNN()):
        note(f"{estimator.name}, S0", *cofactor.Recommender.fit(estimator, s0.train).model.arrays().values())
    for estimator in (cofactor.EASE(), cofactor.ItemKNN(), cofactor.UserKNN()):
        note(f"{estimator.name}, I0", *cofactor.Recommender.fit(estimator, i0.train).model.arrays().values())
    shuffled = np.random.default_rng(0).permutation(len(events))[: 1 << 20]
    rows = Interactions.from_columns(events.u[shuffled], events.i[shuffled], events.values[shuffled], kind="events")
    note("rows in order", rows.u, rows.i, rows.values, rows.by_item.columns)
    evaluated = evaluate(cofactor.ImplicitALS(epochs=2), i0, ks=(10, 20, 100)).as_dict()
    for model in evaluated["models"]:
        del model["fit_seconds"]
    note("evaluate", np.frombuffer(repr(evaluated).encode(), np.uint8))
    return {"bits": prints}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--negatives-ratio", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", type=float)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--factors-from", type=Path)
    parser.add_argument("--no-history", action="store_true")
    args = parser.parse_args()
    with threads(args.threads):
        report("cofactor", cofactor.__version__, args, **TASKS[args.task](args))


if __name__ == "__main__":
    main()
