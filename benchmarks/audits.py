"""Cost of an audit at the size of MovieLens-1M, and comparison of influence with full refits.

    python -m benchmarks.audits              about half an hour, writes benchmarks/audits.md
    python -m benchmarks.audits --quick      without the 1,000 permutations

Cost: a synthetic table of the size of MovieLens-1M, BiasedMF of 32 factors: seconds and peak memory of each audit in
this process. Influence: ten taste groups, the lists of 500 users, 50 permutations; once more with 1,000, to see whether
the normal fitted to 50 gives the same result.

Truth: MovieLens-100k and the synthetic table `HEAVY_SHAPE`, ten taste groups each. Each group's ratings are taken away
and the model is fitted again from the start, same seed: how many places of the others' lists change, set against
`influence` by Spearman's rank correlation; means of five seeds, since SGD that lacks a group takes another path.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from cofactor import Interactions, Recommender
from cofactor.audit import cluster_users, cold_start, exposure, influence
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import HEAVY_SHAPE, MOVIELENS_1M_SHAPE

PAGE = Path(__file__).parent / "audits.md"
BIG = cofactor.BiasedMF(factors=32)
SEEDS = 5
LEARNERS = (cofactor.ExplicitALS(factors=16), cofactor.BiasedMF(factors=16), cofactor.ImplicitALS(factors=16))


def timed(what: str, task: Any) -> tuple[str, float, float, Any]:
    begin = time.perf_counter()
    result = task()
    seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(what, f"{seconds:.1f} s, {peak:.2f} GB", flush=True)
    return what, seconds, peak, result


def cost(quick: bool) -> list[str]:
    table = generate(MOVIELENS_1M_SHAPE, seed=0).interactions
    rec = Recommender.fit(BIG, table, seed=0)
    rows = [timed("exposure, with genres", lambda: exposure(rec, column="genres"))]
    rows.append(timed("taste groups", lambda: cluster_users(table.by_user, table.n_items)))
    groups = rows[-1][3]
    rows.append(timed("cold-start curve", lambda: cold_start(BIG, table, seed=0)))
    rows.append(timed("influence, 50 permutations", lambda: influence(rec, groups, permutations=50)))
    few = rows[-1][3].groups
    lines = ["| audit | seconds | peak GB |", "|-|-|-|"]
    if not quick:
        rows.append(timed("influence, 1,000 permutations", lambda: influence(rec, groups, permutations=1000)))
    lines += [f"| {what} | {seconds:.1f} | {peak:.2f} |" for what, seconds, peak, _ in rows]
    if not quick:
        many = rows[-1][3].groups
        lines += ["", "| group | ratio, 50 | 1,000 | adjusted p, 50 | 1,000 | flagged, 50 | 1,000 |", "|-|-|-|-|-|-|-|"]
        for a, b in zip(few.iter_rows(named=True), many.iter_rows(named=True), strict=True):
            cells = (a["ratio"], b["ratio"], a["p_adjusted"], b["p_adjusted"])
            values = " | ".join(f"{cell:.3g}" for cell in cells)
            lines.append(f"| {a['group']} | {values} | {_yes(a['flagged'])} | {_yes(b['flagged'])} |")
    return lines


def _yes(flagged: bool) -> str:
    return "yes" if flagged else "no"


def refitted(estimator: Any, table: Interactions, rec: Recommender, groups: Any, seed: int) -> Any:
    """Return the share of the others' list positions that change without each group: (n_groups,)."""
    everyone = np.arange(table.n_users, dtype=np.int32)
    before, changed = rec.for_rows(everyone).rank(10)[0], []
    for group in range(int(groups.max()) + 1):
        away = groups == group
        after = Recommender.fit(estimator, table.select(~away[table.u]), seed=seed).for_rows(everyone).rank(10)[0]
        overlap = (after[~away][:, :, None] == before[~away][:, None, :]).any(axis=2)
        changed.append(float(1 - overlap.mean()))
    return np.array(changed)


def spearman(a: Any, b: Any) -> float:
    ranks = [np.argsort(np.argsort(x, kind="stable")) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def truth() -> list[str]:
    lines = ["| table | estimator | Spearman | influence | refits |", "|-|-|-|-|-|"]
    films = cofactor.datasets.load_movielens("100k")
    for name, table in (("MovieLens-100k", films), ("eager fans", generate(HEAVY_SHAPE, seed=0).interactions)):
        for estimator in LEARNERS:
            learned = table.to_events(min_rating=4) if estimator.kind == "events" else table
            groups = cluster_users(learned.by_user, learned.n_items)
            estimated, full = np.zeros(10), np.zeros(10)
            for seed in range(SEEDS):
                rec = Recommender.fit(estimator, learned, seed=seed)
                groups_frame = influence(rec, groups, permutations=2, max_users=learned.n_users).groups
                estimated += groups_frame["influence"].to_numpy() / SEEDS
                full += refitted(estimator, learned, rec, groups, seed) / SEEDS
            low, high = ((min(x), max(x)) for x in (estimated, full))
            span = [f"{a:.3f} to {b:.3f}" for a, b in (low, high)]
            lines.append(
                f"| {name} | {type(estimator).__name__} | {spearman(estimated, full):.2f} | {' | '.join(span)} |"
            )
            print(lines[-1], estimated.round(3), full.round(3), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    truth_lines = truth()
    spent = cost(args.quick)
    lines = ["# Audits", "", "Made by `python -m benchmarks.audits`.", "", "## What they take", ""]
    lines += [
        f"A made-up table of the size of MovieLens-1M, {BIG!r}.",
        "",
        *spent,
        "",
        "## Influence and full refits",
        "",
    ]
    PAGE.write_text("\n".join([*lines, *truth_lines, ""]))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
