"""cofactor compared with other libraries, each in its own environment, alternately in one run on the same two threads.

    python -m benchmarks.bench_peers                all rows (about an hour; environments are built on first use)
    python -m benchmarks.bench_peers --rows 1 3     only these rows; the others are kept from RESULTS.json

Every side is a process of its own: `ours.py` for us, `runners/*.py` for them (`peers.py` makes the environments). A
row's sides run one after the other, `--rounds` times over; its values are medians. Writes RESULTS.json, RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from benchmarks import peers
from benchmarks.results import Line, draw, line, machine, page, version
from benchmarks.tables import FULL, table

HERE = Path(__file__).absolute().parent
JSON, PAGE = HERE / "RESULTS.json", HERE / "RESULTS.md"
THREADS = 2

Measurements = dict[str, Any]
ROWS: dict[str, Callable[[Bench], list[Line]]] = {}


@dataclass(frozen=True)
class Side:
    """A process to measure: a task of ours.py for "cofactor", a runner for a peer, on a table."""

    who: str
    runner: str
    data: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """The folder of tables and saved factors, and the number of rounds."""

    folder: Path
    rounds: int
    curves: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)

    def keep(self, quality: str, **results: Measurements) -> None:
        """Keep curves to draw: [[seconds, quality], ...] of each."""
        self.curves[quality] = {
            name: [[wall, y] for _, wall, _, y in result["curve"]] for name, result in results.items()
        }

    def alternate(self, *sides: Side, rounds: int | None = None) -> list[Measurements]:
        """Return the median values of each side over the rounds; other values are those of the last round."""
        runs: list[list[Measurements]] = [[] for _ in sides]
        for number in range(rounds or self.rounds):
            for side, results in zip(sides, runs, strict=True):
                results.append(self.run(side))
                print(f"  {number + 1} {side.who} {side.runner}: {json.dumps(results[-1])[:300]}", file=sys.stderr)
        return [{key: _median([run.get(key) for run in results]) for key in results[-1]} for results in runs]

    def run(self, side: Side) -> Measurements:
        """Run a process once."""
        data = table(self.folder, side.data)
        options = {"threads": THREADS, **side.options}
        if side.who != "cofactor":
            return peers.run(side.who, side.runner, data, **options)
        command = [sys.executable, "-m", "benchmarks.ours", side.runner, str(data), *peers.arguments(options)]
        clean = {name: value for name, value in os.environ.items() if name not in peers.FORCED_KERNELS}
        done = subprocess.run(command, env=clean, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"stopped with exit code {done.returncode}: {' '.join(command)}")
        result: Measurements = json.loads(done.stdout.splitlines()[-1])
        return result


def _median(values: list[Any]) -> Any:
    """Return the median of numbers, or the elementwise median of tables of equal size; else the last value."""
    try:
        return np.median(np.array(values, np.float64), axis=0).tolist()
    except (TypeError, ValueError):
        return values[-1]


def row(number: str) -> Callable[[Callable[[Bench], list[Line]]], Callable[[Bench], list[Line]]]:
    def register(measure: Callable[[Bench], list[Line]]) -> Callable[[Bench], list[Line]]:
        ROWS[number] = measure
        return measure

    return register


def reaching(curve: Sequence[Sequence[float]], quality: float) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and error of the first [n, seconds, CPU seconds, error] at or below an error."""
    for _, wall, cpu, error in curve:
        if error <= quality:
            return wall, cpu, error
    raise SystemExit(f"no point of {curve} reaches {quality}")


# the rows


EVENTS, RATINGS = f"{FULL}/events", f"{FULL}/ratings"


def _als(bench: Bench, factors: int, bars: dict[str, tuple[float, float]], *, implicit: bool = False) -> list[Line]:
    """Compare an iteration with each solver, and the fit to the objective that each solver has after 10 iterations."""
    saved = bench.folder / f"irspack-{factors}"
    side_options = {"factors": factors, "iterations": 10, "subspace": 16}  # 64, its default, is slower here
    theirs = {
        solver: Side("irspack", "irspack_ials", EVENTS, {**side_options, "solver": solver, "save": saved / solver})
        for solver in ("CG", "IALSPP")
    }
    if implicit:
        theirs["implicit CG"] = Side("implicit", "implicit_als", EVENTS, {"factors": factors, "no_recommend": True})
    ours, *measured = bench.alternate(Side("cofactor", "als", EVENTS, {"factors": factors}), *theirs.values())
    lines = []
    for solver, peer_result in zip(theirs, measured, strict=True):
        must, reach = bars.get(solver, (None, None))
        work = f"ImplicitALS, 20 M events, {factors} factors, an iteration; {solver}"
        lines.append(line(work, ours, peer_result, "seconds_per_iteration", must=must, reach=reach))
    for solver, peer_result in zip(("CG", "IALSPP"), measured, strict=False):
        must, reach = bars.get(solver, (None, None))
        goal = bench.run(Side("cofactor", "objective_of", EVENTS, {"factors_from": saved / solver}))["objective"]
        reached_fit = bench.run(Side("cofactor", "als_to", EVENTS, {"factors": factors, "target": goal}))
        work = f"... to the objective after 10 iterations of {solver}; {reached_fit['iterations']:.0f} of ours"
        reached = f"objective {reached_fit['objective']:,.0f} / {goal:,.0f}"
        lines.append(
            replace(line(work, reached_fit, peer_result, "fit_seconds", must=must, reach=reach), quality=reached)
        )
    return lines


@row("1")
def implicit_als(bench: Bench) -> list[Line]:
    return _als(bench, 64, {"CG": (0.60, 0.38), "implicit CG": (0.35, 0.21)}, implicit=True)


@row("2")
def wider_als(bench: Bench) -> list[Line]:
    bars = {"CG": (0.7, 0.5), "IALSPP": (0.7, 0.5)}
    return [table_line for factors in (128, 256) for table_line in _als(bench, factors, bars)]


@row("3")
def sgd(bench: Bench) -> list[Line]:
    ours, libmf = bench.alternate(
        Side("cofactor", "sgd", RATINGS), Side("libmf", "libmf_sgd", RATINGS, {"factors": 64, "iterations": 20})
    )
    at_100 = bench.run(Side("cofactor", "sgd", RATINGS, {"factors": 100}))
    key, lines = "seconds_per_iteration", []
    for shuffle, what in ((True, "rows in random order"), (False, "rows by user, which Surprise learns worse from")):
        surprise = bench.run(Side("surprise", "surprise_svd", RATINGS, {"factors": 100, "shuffle": shuffle}))
        must = 0.03 if shuffle else None
        lines.append(line(f"... 100 factors; Surprise's {what}", at_100, surprise, key, must=must, quality="rmse"))
    work = "BiasedMF with biases and sigmoid, 64 factors, 16 M ratings, an epoch"
    return [line(work, ours, libmf, key, must=0.8, reach=0.55, quality="rmse"), *lines]


@row("4")
def time_to_error(bench: Bench) -> list[Line]:
    ours, libmf, fastai = bench.alternate(
        Side("cofactor", "mf_curve", "s0"), Side("libmf", "libmf_curve", "s0"), Side("fastai", "fastai_dot", "s0")
    )
    bench.keep("rmse", BiasedMF=ours, LIBMF=libmf, fastai=fastai)
    return [
        _to("BiasedMF on S0 to RMSE .9265", ours, fastai, 0.9265, must=0.03, reach=0.015),
        _to("BiasedMF on S0 to RMSE .9195", ours, libmf, 0.9195, must=1.2, reach=0.7),
    ]


def _to(work: str, ours: Measurements, theirs: Measurements, goal: float, *, must: float, reach: float) -> Line:
    (a, a_cpu, a_error), (b, b_cpu, b_error) = reaching(ours["curve"], goal), reaching(theirs["curve"], goal)
    return Line(
        work, "s", a, f"{theirs['peer']} {theirs['version']}", b, must, reach,
        cpu=(a_cpu, b_cpu), peak_mb=(ours["peak_mb"], theirs["peak_mb"]), quality=f"rmse {a_error:.4f} / {b_error:.4f}",
    )  # fmt: skip


def _joined(runs: Sequence[Measurements], quality: str) -> Measurements:
    """Join runs of a growing number of iterations into one with a curve."""
    points = [[run["iterations"], run["fit_seconds"], run["fit_cpu_seconds"], run[quality]] for run in runs]
    return runs[-1] | {"curve": points}


@row("5")
def bayes(bench: Bench) -> list[Line]:
    tries = [Side("myfm", "myfm_svdpp", "s0", {"iterations": n}) for n in (25, 50, 75, 100, 125, 150, 200)]
    ours, *theirs = bench.alternate(Side("cofactor", "bayes_curve", "s0"), *tries)
    myfm = _joined(theirs, "rmse")
    bench.keep("rmse", BayesianMF=ours, myFM=myfm)
    return [_to("BayesianMF with implicit terms on S0 to RMSE .8895", ours, myfm, 0.8895, must=0.33, reach=0.15)]


@row("6")
def rank_all(bench: Bench) -> list[Line]:
    saved = bench.folder / "implicit-64"
    theirs = Side("implicit", "implicit_als", EVENTS, {"factors": 64, "save": saved})
    if not saved.exists():
        bench.run(theirs)
    ours, implicit = bench.alternate(Side("cofactor", "rank", EVENTS, {"factors_from": saved}), theirs)
    return [
        line(
            "the ten best of 138,493 users, exact, from implicit's factors",
            ours,
            implicit,
            "recommend_seconds",
            must=0.4,
            reach=0.125,
        )
    ]


@row("7")
def latency(bench: Bench) -> list[Line]:
    saved, lines = bench.folder / "implicit-64", []
    if not saved.exists():
        bench.run(Side("implicit", "implicit_als", EVENTS, {"factors": 64, "save": saved}))
    cases = [
        ("27 k items, fitted factors", saved, EVENTS, {}, 0.7, 0.35),
        ("1 M items, log-normal norms", table(bench.folder, "million-skewed"), EVENTS, {"no_history": True}, 0.6, 0.2),
        ("1 M items, normal factors", table(bench.folder, "million-normal"), EVENTS, {"no_history": True}, 1.0, 0.35),
    ]
    for what, factors, data, options, must, reach in cases:
        for n in (2, 1):
            side_options = {"factors_from": factors, "threads": n, **options}
            ours, theirs = bench.alternate(
                Side("cofactor", "latency", data, side_options),
                Side("implicit", "implicit_latency", data, side_options),
            )
            bars = {"must": must, "reach": reach} if n == 2 else {}
            table_line = line(
                f"one user, {what}, p50, {n} thread{'s' if n > 1 else ''}", ours, theirs, "p50_ms", **bars
            )
            lines.append(replace(table_line, quality=f"p99 {ours['p99_ms']:.2f} / {theirs['p99_ms']:.2f} ms"))
    return lines


@row("8")
def bpr(bench: Bench) -> list[Line]:
    side_options = {"factors": 64}
    ours, theirs = bench.alternate(
        Side("cofactor", "bpr", EVENTS, {**side_options, "negatives_ratio": 0}),
        Side("implicit", "implicit_bpr", EVENTS, side_options),
    )
    return [line("BPR, one negative, an epoch", ours, theirs, "seconds_per_iteration", must=0.5, reach=0.3)]


@row("9")
def closed_forms(bench: Bench) -> list[Line]:
    """The synthetic table has the size of MovieLens-1M and is dominated by popularity; I0 has real users."""
    pairs = [
        ("EASE", "ease", "irspack", "irspack_ease", 1.0, 0.7),
        ("ItemKNN, 20 neighbors", "item_knn", "implicit", "implicit_knn", 0.8, 0.5),
    ]
    lines = []
    for name, own_task, peer, runner, must, reach in pairs:
        for data, size in (("1000209/events", "MovieLens-1M's size"), ("i0", "I0")):
            ours, theirs = bench.alternate(Side("cofactor", own_task, data), Side(peer, runner, data), rounds=5)
            bars = {} if data == "i0" else {"must": must, "reach": reach}
            lines.append(line(f"{name}, {size}", ours, theirs, "fit_seconds", quality="ndcg@10", **bars))
    return lines


@row("10")
def reading(bench: Bench) -> list[Line]:
    lines = []
    for name, kind, must, reach in (("strings.csv", "string", 2.5, 1.6), ("ratings.csv", "integer", None, None)):
        (result,) = bench.alternate(Side("cofactor", "read", f"{FULL}/{name}"), rounds=5)
        alone = bench.run(Side("cofactor", "read_alone", f"{FULL}/{name}"))
        work = f"20 M ratings from a CSV with {kind} ids, against polars' scan of its columns"
        lines += [
            Line(work, "s", result["read_seconds"], f"polars {version('polars')}", result["polars_seconds"],
                 must, reach, cpu=(result["read_cpu_seconds"], result["polars_cpu_seconds"])),
            Line("... peak memory", "MB", alone["peak_mb"], most=3000),
        ]  # fmt: skip
    return lines


@row("11")
def evaluation(bench: Bench) -> list[Line]:
    (result,) = bench.alternate(Side("cofactor", "evaluation", EVENTS))
    limit = result["rank_seconds"] + max(0.3 * result["rank_seconds"], 2)
    work = f"all metrics at 10, 20, 100 of {result['users']:,.0f} users, given the rankings"
    return [
        Line(work, "s", result["metrics_seconds"], most=5, cpu=(result["metrics_cpu_seconds"], None)),
        Line("the whole score, at most its ranking + max(30 %, 2 s)", "s", result["score_seconds"], most=limit,
             cpu=(result["score_cpu_seconds"], None), quality=f"the ranking alone {result['rank_seconds']:.1f} s"),
    ]  # fmt: skip


@row("12")
def growth(bench: Bench) -> list[Line]:
    sizes, lines = (2_000_000, FULL, 60_000_000), []
    for task, name in (("als", "ImplicitALS"), ("bpr", "BPR")):
        results = bench.alternate(*(Side("cofactor", task, f"{size}/events") for size in sizes))
        each = [result["seconds_per_iteration"] / size * 1e9 for result, size in zip(results, sizes, strict=True)]
        for ns, result, size in zip(each, results, sizes, strict=True):
            work = f"{name}, {size / 1e6:.0f} M ratings, an iteration, per rating"
            lines.append(Line(work, "ns", ns, most=1.25 * min(each), peak_mb=(result["peak_mb"], None)))
            lines.append(Line("... memory per rating", "bytes", result["bytes_per_rating"], most=48))
    return lines


FIRST_FIT = """
import cofactor
rows = cofactor.datasets.load_movielens("100k")
cofactor.Recommender.fit(cofactor.BiasedMF(), rows).recommend(196)
"""


@row("13")
def start(bench: Bench) -> list[Line]:
    def seconds(command: list[str], **settings: str) -> float:
        began = time.perf_counter()
        subprocess.run(
            command, env=dict(os.environ) | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        return time.perf_counter() - began

    def median(run: Callable[[], float]) -> float:
        return float(np.median([run() for _ in range(7)]))

    python = sys.executable
    bare = median(lambda: seconds([python, "-c", ""]))
    with tempfile.TemporaryDirectory() as fresh:
        shutil.copytree(cofactor.datasets.fetch("movielens-100k"), Path(fresh) / "datasets" / "movielens-100k")
        first = seconds([python, "-c", FIRST_FIT], COFACTOR_CACHE=fresh)
        second = median(lambda: seconds([python, "-c", FIRST_FIT], COFACTOR_CACHE=fresh))
    return [
        Line("import cofactor", "s", median(lambda: seconds([python, "-c", "import cofactor"])) - bare, most=0.1),
        Line("cofactor --help", "s", median(lambda: seconds([python, "-m", "cofactor", "--help"])), most=0.3),
        Line("read, fit and recommend on MovieLens-100k, nothing compiled yet", "s", first, most=12),
        Line("... in a second process", "s", second, most=1.5),
    ]


@row("14")
def equal_bits(bench: Bench) -> list[Line]:
    prints = [bench.run(Side("cofactor", "bits", "2000000/events", {"threads": n}))["bits"] for n in (1, 2, 4)]
    unlike = [name for name in prints[0] if len({bits[name] for bits in prints}) > 1]
    work = f"{len(prints[0])} results on 1, 2 and 4 threads: how many differ"
    return [Line(work, "", len(unlike), most=0, quality=", ".join(unlike or prints[0]))]


@row("15")
def ranking_curves(bench: Bench) -> list[Line]:
    """No target: ImplicitALS with its defaults, the others with their best settings on I0."""
    counts = (2, 3, 5, 8, 10, 15)
    irspack = [
        Side("irspack", "irspack_ials", "i0", {"iterations": n, "alpha0": 0.2, "reg": 0.02, "factors": 64})
        for n in counts
    ]
    implicit = [
        Side(
            "implicit",
            "implicit_als",
            "i0",
            {"iterations": n, "alpha": 5, "reg": 40, "no_recommend": True, "factors": 64},
        )
        for n in counts
    ]
    ours, *theirs = bench.alternate(Side("cofactor", "als_curve", "i0"), *irspack, *implicit)
    peers_ = [_joined(runs, "ndcg@10") for runs in (theirs[: len(counts)], theirs[len(counts) :])]
    bench.keep("ndcg@10", ImplicitALS=ours, irspack=peers_[0], implicit=peers_[1])
    lines = []
    for peer in peers_:
        (_, a, a_cpu, a_ndcg), (_, b, b_cpu, b_ndcg) = (max(side["curve"], key=lambda p: p[3]) for side in (ours, peer))
        lines.append(
            Line("ImplicitALS on I0, each at its best NDCG@10", "s", a, f"{peer['peer']} {peer['version']}", b,
                 cpu=(a_cpu, b_cpu), quality=f"ndcg@10 {a_ndcg:.4f} / {b_ndcg:.4f}")
        )  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cofactor-bench")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    args = parser.parse_args()
    results = json.loads(JSON.read_text()) if JSON.exists() else {}
    bench = Bench(args.folder, args.rounds)
    for number in [] if args.page else args.rows:
        print(f"row {number}: {ROWS[number].__name__}", file=sys.stderr, flush=True)
        bench.curves.clear()
        lines = [asdict(table_line) for table_line in ROWS[number](bench)]
        result = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "rounds": bench.rounds, "machine": machine(), "lines": lines}
        results[number] = result
        if bench.curves:
            results[number]["curves"] = dict(bench.curves)
        JSON.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(page(results))
    draw(results, HERE / "curves.png")
    PAGE.write_text(page(results))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
