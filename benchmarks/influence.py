"""Influence of user groups: agreement with refits, family-wise error, and detection of groups that decide much.

    python -m benchmarks.influence                            about two hours, writes benchmarks/influence.md
    python -m benchmarks.influence --sets 10 --null-sets 100  fewer synthetic sets
    python -m benchmarks.influence --only detection           run one part again, and keep the others on the page

All synthetic sets are drawn by seed from wide ranges (`draw`): 200 to 600 users, 150 to 500 items, 15 to 40 ratings per
user, 3 to 20 % heavy raters who rate 2 to 7 times as much, half to four fifths of it in one genre and 0 to 1.5 stars
higher, equal or log-normal activity. Groups are those of `cluster_users`.

Agreement: Spearman's rank correlation of `influence` with the share of the others' list positions that change in refits
without each group. The refits use the ten seeds of the audit, and for comparison five others. The last column is the
correlation between the means of these five and of five more: what the noise of training allows at best. On
MovieLens-100k, the groups are clusters of histories, occupations, and age groups.

Family-wise error: sets without heavy raters, users in random groups; the share of sets in which any adjusted p-value is
at most 0.01.

Detection: the ratio by refits is the mean over 20 seeds that the audit does not use, divided by that of random groups
of the same sizes, one partition for each seed. Groups whose ratio is at least 1.5 should be flagged, and groups below
1.1 should not. Spearman's correlation is that of the ratios of audit and refits. The last column is the share of
partitions into random groups in which some group reaches a ratio of 1.5. If it is large, as for models whose lists
depend on few users, such a ratio is not significant, and is not flagged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import cofactor
from cofactor import Interactions, Recommender
from cofactor.arrays import Bool, Float64, Int32, Int64
from cofactor.audit import cluster_users, influence
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.estimators.base import Estimator

PAGE = Path(__file__).parent / "influence.md"
ESTIMATORS = (cofactor.ExplicitALS(factors=8), cofactor.BiasedMF(factors=8), cofactor.ImplicitALS(factors=8))
NULL_ESTIMATOR = cofactor.Bias()
NULL_SHAPE = SyntheticConfig(n_users=40, n_items=60, n_ratings=500, activity_std=0.5)
NULL_GROUPS = 3
AGREEMENT_SETS, N_GROUPS, N_LISTED, SEEDS = 10, 10, 10, 5
DETECTION_SEEDS = 20
OTHER_SEED = 100
"""First of the seeds that no audit uses."""
HIGH_RATIO, LOW_RATIO = 1.5, 1.1


def draw(seed: int) -> SyntheticConfig:
    """Draw the configuration of a synthetic set with heavy raters from wide ranges."""
    stream = np.random.default_rng([18, seed])
    n_users, n_items = int(stream.integers(200, 600)), int(stream.integers(150, 500))
    return SyntheticConfig(
        n_users=n_users,
        n_items=n_items,
        n_ratings=int(n_users * stream.uniform(15, 40)),
        activity_std=float(stream.uniform(0, 1)) if stream.random() < 0.5 else 0.0,
        popularity=float(stream.uniform(0.3, 1.2)),
        genres=int(stream.integers(5, 16)),
        taste_std=float(stream.uniform(0.3, 0.8)),
        factor_std=float(stream.uniform(0.2, 0.5)),
        noise_std=float(stream.uniform(0.5, 1.0)),
        heavy_share=float(stream.uniform(0.03, 0.2)),
        heavy_multiplier=float(stream.uniform(2, 7)),
        heavy_focus=float(stream.uniform(0.5, 0.8)),
        heavy_bonus=float(stream.uniform(0, 1.5)),
    )


def table_for(estimator: Estimator, table: Interactions) -> Interactions:
    return table.to_events(min_rating=4) if estimator.kind == "events" else table


def lists(estimator: Estimator, table: Interactions, is_removed: Bool, seed: int) -> Int32:
    """Return the lists of all users after a refit without the rows of the removed users."""
    rec = Recommender.fit(estimator, table.select(~is_removed[table.u]), seed=seed)
    return rec.for_rows(np.arange(table.n_users, dtype=np.int32)).rank(N_LISTED)[0]


def refitted(estimator: Estimator, table: Interactions, groups: Int64, seed: int) -> Float64:
    """Return the share of the others' list positions that change without each group: (n_groups,)."""
    before = lists(estimator, table, np.zeros(table.n_users, bool), seed)
    has_rows = table.by_user.counts > 0
    changed = []
    for group in range(int(groups.max()) + 1):
        others = (groups != group) & has_rows
        after = lists(estimator, table, groups == group, seed)[others]
        is_unchanged = (after[:, :, None] == before[others][:, None, :]).any(axis=1) & (before[others] >= 0)
        changed.append(1 - is_unchanged.sum() / max((before[others] >= 0).sum(), 1))
    return np.array(changed)


def mean_refitted(estimator: Estimator, table: Interactions, groups: Int64, seeds: Any) -> Float64:
    return np.mean([refitted(estimator, table, groups, seed) for seed in seeds], axis=0)


def spearman(a: Float64, b: Float64) -> float:
    ranks = [np.argsort(np.argsort(x, kind="stable")) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def agreement_row(name: str, estimator: Estimator, table: Interactions, groups: Int64) -> str:
    """Return one line of the table of rank correlations."""
    rec = Recommender.fit(estimator, table, seed=0)
    result = influence(rec, groups, permutations=2, max_users=table.n_users)
    estimated = result.groups["influence"].to_numpy()
    same, other, more = (
        mean_refitted(estimator, table, groups, range(first, first + count))
        for first, count in ((0, result.repeats), (OTHER_SEED, SEEDS), (OTHER_SEED + SEEDS, SEEDS))
    )
    values = [f"{spearman(*pair):.2f}" for pair in ((estimated, same), (estimated, other), (other, more))]
    span = f"{same.min():.3f} to {same.max():.3f}"
    line = f"| {name} | {estimator.name} | {' | '.join(values)} | {span} | {result.noise_floor:.2f} |"
    print(line, flush=True)
    return line


def agreement() -> list[str]:
    """Return the table of rank correlations with refits."""
    lines = [
        "| table | model | refits, same seeds | refits, other seeds | refits with refits | refits | noise floor |",
        "|-|-|-|-|-|-|-|",
    ]
    for number in range(AGREEMENT_SETS):
        synthetic = generate(draw(number), seed=number).interactions
        for estimator in ESTIMATORS:
            table = table_for(estimator, synthetic)
            groups = cluster_users(table.by_user, table.n_items, n_groups=N_GROUPS)
            lines.append(agreement_row(f"set {number}", estimator, table, groups))
    films = cofactor.datasets.load_movielens("100k")
    users = films.user_table
    assert users is not None
    labelings = {
        "occupation": users["occupation"].rank("dense").to_numpy().astype(np.int64) - 1,
        "age": np.clip(users["age"].to_numpy() // 10 - 1, 0, 5).astype(np.int64),
    }
    for estimator in ESTIMATORS:
        table = table_for(estimator, films)
        taste = cluster_users(table.by_user, table.n_items, n_groups=N_GROUPS)
        for by, groups in {"taste": taste, **labelings}.items():
            lines.append(agreement_row(f"MovieLens-100k by {by}", estimator, table, groups))
    return lines


def family_wise_error(n_sets: int) -> list[str]:
    """Return the share of null sets in which any adjusted p-value is at most 0.01."""
    rejected = flagged = 0
    for number in range(n_sets):
        rec = Recommender.fit(NULL_ESTIMATOR, generate(NULL_SHAPE, seed=number).interactions)
        groups = np.random.default_rng([18, number]).permutation(np.arange(NULL_SHAPE.n_users) % NULL_GROUPS)
        frame = influence(rec, groups, seed=number).groups
        rejected += int(frame["p_adjusted"].min() <= 0.01)
        flagged += int(frame["flagged"].any())
    line = f"{n_sets:,} sets, {NULL_GROUPS} random groups, {NULL_ESTIMATOR!r}: any adjusted p-value at most 0.01 in "
    line += f"{rejected} sets ({rejected / n_sets:.4f}), any group flagged in {flagged} ({flagged / n_sets:.4f})."
    print(line, flush=True)
    return [line]


def detection(n_sets: int) -> list[str]:
    """Return the share of groups flagged, by their ratio in refits; the sets take turns with the models."""
    measured: list[tuple[str, float, float, bool]] = []
    spread: list[tuple[str, float]] = []
    for number in range(n_sets):
        estimator = ESTIMATORS[number % len(ESTIMATORS)]
        table = table_for(estimator, generate(draw(number), seed=number).interactions)
        groups = cluster_users(table.by_user, table.n_items, n_groups=N_GROUPS)
        frame = influence(Recommender.fit(estimator, table, seed=0), groups).groups
        seeds = range(OTHER_SEED, OTHER_SEED + DETECTION_SEEDS)
        random = np.array(
            [
                refitted(estimator, table, np.random.default_rng([18, number, seed]).permutation(groups), seed)
                for seed in seeds
            ]
        )
        spread.append((estimator.name, float((random >= HIGH_RATIO * random.mean(axis=0)).any(axis=1).mean())))
        ratios = mean_refitted(estimator, table, groups, seeds) / random.mean(axis=0)
        flagged = frame["flagged"].to_list()
        measured += zip([estimator.name] * N_GROUPS, ratios.tolist(), frame["ratio"].to_list(), flagged, strict=True)
        p = frame["p_adjusted"].to_list()
        print(estimator.name, number, ratios.round(2), frame["ratio"].round(2).to_list(), p, flush=True)
    names, truth, estimated, flags = (np.array(column) for column in zip(*measured, strict=True))
    lines = [
        "| model | groups | flagged, ratio at least 1.5 | flagged, below 1.1 | Spearman | random partitions, 1.5 |",
        "|-|-|-|-|-|-|",
    ]
    for name in (*(each.name for each in ESTIMATORS), "all"):
        chosen = np.ones(len(names), bool) if name == "all" else names == name
        high, low = chosen & (truth >= HIGH_RATIO), chosen & (truth < LOW_RATIO)
        cells = (
            name, chosen.sum(), f"{flags[high].sum()} of {high.sum()}", f"{flags[low].sum()} of {low.sum()}",
            f"{spearman(truth[chosen], estimated[chosen]):.2f}",
            f"{np.mean([share for fitted, share in spread if name in ('all', fitted)]):.0%}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [f"{n_sets} synthetic sets.", "", *lines]


def cost() -> list[str]:
    """Return the CPU seconds of an audit of MovieLens-100k with the default settings."""
    films = cofactor.datasets.load_movielens("100k")
    lines = ["| model | CPU seconds |", "|-|-|"]
    for estimator in (cofactor.ExplicitALS(), cofactor.BiasedMF(), cofactor.ImplicitALS()):
        table = table_for(estimator, films)
        rec = Recommender.fit(estimator, table, seed=0)
        groups = cluster_users(table.by_user, table.n_items, n_groups=N_GROUPS)
        begin = time.process_time()
        influence(rec, groups)
        lines.append(f"| {estimator!r} | {time.process_time() - begin:.0f} |")
        print(lines[-1], flush=True)
    return lines


def sections_of(page: str) -> dict[str, str]:
    """Return the text of each section of a page by its title."""
    parts = page.split("\n## ")[1:]
    return {title: text.strip() for title, text in (part.split("\n", 1) for part in parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=100, help="synthetic sets for detection")
    parser.add_argument("--null-sets", type=int, default=1_000, help="synthetic sets without heavy raters")
    parser.add_argument("--only", help="part to run again: agreement, error, detection or cost")
    args = parser.parse_args()
    parts: dict[str, tuple[str, Callable[[], list[str]]]] = {
        "agreement": ("Agreement with refits", agreement),
        "error": ("Family-wise error at 0.01", lambda: family_wise_error(args.null_sets)),
        "detection": ("Detection", lambda: detection(args.sets)),
        "cost": ("Cost on MovieLens-100k", cost),
    }
    if args.only not in (None, *parts):
        parser.error(f"--only must be one of {', '.join(parts)}")
    made = {title: "\n".join(run()) for name, (title, run) in parts.items() if args.only in (None, name)}
    texts = (sections_of(PAGE.read_text()) if PAGE.exists() else {}) | made
    lines = [
        "# Influence of user groups",
        "",
        "Made by `python -m benchmarks.influence`, whose docstring defines the terms.",
    ]
    for title, _ in parts.values():
        if title in texts:
            lines += ["", f"## {title}", "", texts[title]]
    PAGE.write_text("\n".join([*lines, ""]))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
