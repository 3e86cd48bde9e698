"""Cost of an audit at the size of MovieLens-1M; `benchmarks.influence` has that of the audit of influence.

    python -m benchmarks.audits              about ten seconds, writes benchmarks/audits.md

A synthetic table of the size of MovieLens-1M, BiasedMF of 32 factors: seconds and peak memory of each audit in this
process.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cofactor
from cofactor import Recommender
from cofactor.audit import cluster_users, cold_start, exposure
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import MOVIELENS_1M_SHAPE

PAGE = Path(__file__).parent / "audits.md"
BIG = cofactor.BiasedMF(factors=32)


def timed(what: str, task: Callable[[], object]) -> tuple[str, float, float]:
    begin = time.perf_counter()
    task()
    seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(what, f"{seconds:.1f} s, {peak:.2f} GB", flush=True)
    return what, seconds, peak


def cost() -> list[str]:
    table = generate(MOVIELENS_1M_SHAPE, seed=0).interactions
    rec = Recommender.fit(BIG, table, seed=0)
    rows = [timed("exposure, with genres", lambda: exposure(rec, column="genres"))]
    rows.append(timed("taste groups", lambda: cluster_users(table.by_user, table.n_items)))
    rows.append(timed("cold-start curve", lambda: cold_start(BIG, table, seed=0)))
    return ["| audit | seconds | peak GB |", "|-|-|-|"] + [
        f"| {what} | {s:.1f} | {peak:.2f} |" for what, s, peak in rows
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = ["# Audits", "", "Made by `python -m benchmarks.audits`.", "", "## What they take", ""]
    lines += [f"A synthetic table of the size of MovieLens-1M, {BIG!r}.", "", *cost(), ""]
    PAGE.write_text("\n".join(lines))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
