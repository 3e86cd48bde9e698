"""The unattributed fraction of explanations, and the time of explanations, of every estimator on MovieLens-100k.

    python -m benchmarks.reasons      a few minutes, writes benchmarks/reasons.md

For 200 users and the best item that is recommended to each: `Explanation.unattributed_fraction` of the contributions,
its median and 90 % quantile; the largest difference between the sum of the contributions and the score, relative to the
sum of absolute contributions; and CPU milliseconds for the contributions to one score, and for the removal effects of
one item.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import cofactor
from cofactor import Recommender
from cofactor.arrays import Float64
from cofactor.estimators import REGISTRY

PAGE = Path(__file__).parent / "reasons.md"
SLOW = ("neural-mf",)
"""Estimators that are measured on 30 users."""


def fractions(name: str) -> tuple[Float64, list[str]]:
    """Return the unattributed fraction for each user, and the cells of the other columns."""
    estimator = REGISTRY[name]()
    ratings = cofactor.datasets.load_movielens("100k")
    learned = ratings.to_events(min_rating=4) if estimator.kind == "events" else ratings
    rec = Recommender.fit(estimator, learned, seed=0)
    with_history = np.flatnonzero(learned.by_user.counts)
    n_users = 30 if name in SLOW else 200
    users = with_history[np.linspace(0, len(with_history) - 1, n_users).astype(int)].astype(np.int32)
    best = rec.for_rows(users).rank(1)[0][:, 0]
    unattributed, spent, off = np.zeros(n_users), np.zeros((n_users, 2)), 0.0
    for n, (u, i) in enumerate(zip(users.tolist(), best.tolist(), strict=True)):
        view, item = rec.for_rows(np.array([u], np.int32)), np.array([i], np.int32)
        begin = time.process_time()
        explanation = view.explanation(i)
        middle = time.process_time()
        view.removal_effects(item)
        spent[n] = middle - begin, time.process_time() - middle
        unattributed[n] = explanation.unattributed_fraction
        size = float(np.abs(explanation.contributions).sum())
        off = max(off, abs(float(explanation.contributions.sum()) - explanation.score) / max(size, 1e-12))
    contribution, removal = 1e3 * np.median(spent, axis=0)
    return unattributed, [f"{off:.0e}", f"{contribution:.2f}", f"{removal:.1f}"]


def main() -> None:
    lines = [
        "# Explanations", "",
        "Made by `python -m benchmarks.reasons` on MovieLens-100k. *Unattributed* is the fraction of a score's terms",
        "that no row of the history accounts for (`Explanation.unattributed_fraction`); *off* is the largest relative",
        "difference between the sum of the contributions and the score. Times are CPU milliseconds for one score.", "",
        "| estimator | unattributed, median | 90 % | off | contributions, ms | removal effects, ms |",
        "|-|-|-|-|-|-|",
    ]  # fmt: skip
    for name in REGISTRY:
        unattributed, cells = fractions(name)
        median, high = np.quantile(unattributed, [0.5, 0.9])
        lines.append(f"| {REGISTRY[name].__name__} | {median:.3f} | {high:.3f} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    PAGE.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
