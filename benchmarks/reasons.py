"""The unexplained part of scores, and the time of explanations, of every estimator on MovieLens-100k.

    python -m benchmarks.reasons      a minute or two, writes benchmarks/reasons.md

For 200 users and the best item each is recommended: |not attributed| over the sum of all parts' sizes, the median and
the 90 % quantile; how far the parts are from adding up to the score, at worst; and milliseconds for one explanation.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import cofactor
from cofactor import Recommender
from cofactor.estimators import REGISTRY

PAGE = Path(__file__).parent / "reasons.md"
OF_EVENTS = ("popularity", "implicit-als", "bpr", "ease")
TOLD_BY = {"history": "the user's history", "neighbors": "similar users", "leave-one-out": "leaving out one at a time"}


def row(name: str) -> str:
    table = cofactor.datasets.load_movielens("100k")
    learned = table.to_events(min_rating=4) if name in OF_EVENTS else table
    rec = Recommender.fit(REGISTRY[name](), learned, seed=0)
    has = np.flatnonzero(learned.by_user.counts)
    users = has[np.linspace(0, len(has) - 1, 30 if name == "neural-mf" else 200).astype(int)].astype(np.int32)
    best = rec.for_rows(users).rank(1)[0][:, 0]
    shares, off, spent, by = [], 0.0, [], "history"
    for u, i in zip(users.tolist(), best.tolist(), strict=True):
        begin = time.perf_counter()
        why = rec.for_rows(np.array([u], np.int32)).explanation(i)
        spent.append(time.perf_counter() - begin)
        size, by = float(np.abs(why.contributions).sum()), why.by
        shares.append(abs(why.rest) / max(size, 1e-12))
        off = max(off, abs(float(why.contributions.sum()) - why.score) / max(size, 1e-12))
    middle, high = np.quantile(shares, [0.5, 0.9])
    milliseconds = f"{1e3 * np.median(spent):.2f}"
    return f"| {REGISTRY[name].__name__} | {TOLD_BY[by]} | {middle:.3f} | {high:.3f} | {off:.0e} | {milliseconds} |"


def main() -> None:
    lines = ["# Reasons", "", "Made by `python -m benchmarks.reasons` on MovieLens-100k.", ""]
    lines += ["| estimator | told by | not attributed, median | 90 % | off the score, at worst | ms |", "|-|-|-|-|-|-|"]
    for name in REGISTRY:
        lines.append(row(name))
        print(lines[-1], flush=True)
    PAGE.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
