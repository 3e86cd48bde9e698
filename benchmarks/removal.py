"""Removal effects against refits without the rating, and their time at MovieLens-1M's size.

    python -m benchmarks.removal agreement [NAME...] [--removals 200] [--sets 10]    minutes; bayesian-mf takes hours
    python -m benchmarks.removal time
    python -m benchmarks.removal page

`agreement` draws removals: a user, a row of their history, and one of their ten best items. It compares the removal
effect and the contribution of the row with the change in the item's score when the model is refitted without the row,
by Spearman's correlation. Fits of BiasedMF and BayesianMF differ between seeds by more than a row changes, so that both
sides are averaged over ten seeds, and the correlation between the changes of the first and the last five seeds is
reported, too. The data sets are MovieLens-100k and synthetic ratings whose configuration is drawn by seed.

`time` measures CPU milliseconds for explaining a list of ten items of a user with a history of median length.
Results are appended to `benchmarks/removal.jsonl`; `page` writes `benchmarks/removal.md`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from cofactor import Interactions, Recommender
from cofactor.arrays import Float64, Int32, random_stream
from cofactor.datasets.synthetic import MOVIELENS_1M_SHAPE, SyntheticConfig, generate
from cofactor.estimators import REGISTRY, Estimator

RESULTS, PAGE = (Path(__file__).parent / f"removal.{suffix}" for suffix in ("jsonl", "md"))
EXACT = ("explicit-als", "implicit-als", "ease", "item-knn")
"""Estimators whose fits hardly depend on the seed; they are refitted with one seed."""
AVERAGED = ("biased-mf", "bayesian-mf")
"""Estimators that are refitted with ten seeds."""
N_SEEDS = 10


def drawn_ratings(seed: int) -> Interactions:
    """Synthetic ratings with a configuration that is drawn from wide ranges."""
    stream = random_stream(seed, "removal")
    n_users, n_items = int(stream.integers(150, 800)), int(stream.integers(80, 500))
    n_ratings = max(int(n_users * n_items * stream.uniform(0.04, 0.25)), 8 * n_users)
    config = SyntheticConfig(
        n_users=n_users,
        n_items=n_items,
        n_ratings=n_ratings,
        rating_levels=(1.0, 2.0, 3.0, 4.0, 5.0),
        factors=int(stream.integers(1, 12)),
        factor_std=float(stream.uniform(0.2, 0.9)),
        user_bias_std=float(stream.uniform(0.1, 0.6)),
        item_bias_std=float(stream.uniform(0.1, 0.6)),
        noise_std=float(stream.uniform(0.4, 1.2)),
        popularity=float(stream.uniform(0, 1.5)),
        activity_std=float(stream.uniform(0, 1.2)),
        min_ratings_per_user=3,
    )
    return generate(config, seed=seed).interactions


def data_sets(n_sets: int) -> Iterator[tuple[str, Interactions]]:
    """MovieLens-100k and drawn data sets."""
    yield "movielens-100k", cofactor.datasets.load_movielens("100k")
    for seed in range(n_sets):
        yield f"synthetic {seed}", drawn_ratings(seed)


def removals(estimator: Estimator, table: Interactions, n: int, n_seeds: int) -> tuple[Float64, Float64, Float64]:
    """Draw removals, and return the effects, the contributions and the changes after refits, each (n, n_seeds)."""
    recommenders = [Recommender.fit(estimator, table, seed=s) for s in range(n_seeds)]
    stream, histories = random_stream(0, "removals"), table.by_user
    users = np.flatnonzero(histories.counts >= 2)
    effects, terms, changes = (np.zeros((n, len(recommenders))) for _ in range(3))
    drawn = 0
    while drawn < n:
        user = np.array([stream.choice(users)], np.int32)
        row = int(stream.integers(histories.counts[user[0]]))
        listed = recommenders[0].for_rows(user).rank(10)[0][0]
        if not (listed >= 0).any():
            continue
        item = int(stream.choice(listed[listed >= 0]))
        keep = np.ones(len(table.u), bool)
        keep[(table.u == user[0]) & (table.i == histories.row(int(user[0])).columns[row])] = False
        shortened = table.select(keep)
        for s, rec in enumerate(recommenders):
            view = rec.for_rows(user)
            effects[drawn, s] = view.removal_effects(np.array([item], np.int32)).effects[0, row]
            explanation = view.explanation(item)
            terms[drawn, s] = explanation.terms[explanation.rows == histories.row(int(user[0])).columns[row]].sum()
            refit = Recommender.fit(estimator, shortened, seed=s)
            changes[drawn, s] = score(rec, user, item) - score(refit, user, item)
        drawn += 1
    return effects, terms, changes


def score(rec: Recommender, user: Int32, item: int) -> float:
    return rec.for_rows(user).score(rec.items.id_at(item))


def agreement(names: list[str], n_removals: int, n_sets: int) -> None:
    for name in names:
        for data_set, ratings in data_sets(n_sets):
            table = ratings.to_events(min_rating=4) if REGISTRY[name].kind == "events" else ratings
            n_seeds = 1 if name in EXACT else N_SEEDS
            effects, terms, changes = removals(REGISTRY[name](), table, n_removals, n_seeds)
            half = n_seeds // 2
            record({
                "estimator": name,
                "data": data_set,
                "size": repr(table),
                "removals": n_removals,
                "seeds": n_seeds,
                "effect": correlation(effects, changes),
                "contribution": correlation(terms, changes),
                "halves": None if n_seeds == 1 else correlation(changes[:, :half], changes[:, half:]),
            })  # fmt: skip


def correlation(first: Float64, second: Float64) -> float:
    """Spearman's correlation of the means over the seeds."""
    means = (pl.lit(pl.Series(values.mean(axis=1))) for values in (first, second))
    return round(float(pl.select(pl.corr(*means, method="spearman")).item()), 3)


def times() -> None:
    ratings = generate(MOVIELENS_1M_SHAPE, seed=0).interactions
    for name in (*EXACT, *AVERAGED):
        table = ratings.to_events(min_rating=4) if REGISTRY[name].kind == "events" else ratings
        rec = Recommender.fit(REGISTRY[name](), table, seed=0)
        counts = table.by_user.counts
        view = rec.for_rows(np.flatnonzero(counts == np.median(counts).astype(int))[:1].astype(np.int32))
        items = view.recommend(10)["item"]
        cpu = []
        for _ in range(20):
            begin = time.process_time()
            view.explain(items)
            cpu.append(1e3 * (time.process_time() - begin))
        history = int(view.batch.histories.counts[0])
        record({"estimator": name, "history": history, "milliseconds": round(float(np.median(cpu)), 1)})


def record(result: dict[str, Any]) -> None:
    print(result, flush=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")


def page() -> None:
    results = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    lines = [
        "# Removal effects", "",
        "Made by `python -m benchmarks.removal`. Spearman's correlation of removal effects, and of contributions, with",
        "the change in the score of an item when one row of the user's history is removed and the model is refitted.",
        "Refits of BiasedMF and BayesianMF are averaged over ten seeds; *halves* is the correlation between the",
        "changes of two halves of the seeds.", "",
        "| estimator | data | size | removals | effect | contribution | halves |", "|-|-|-|-|-|-|-|",
    ]  # fmt: skip
    order = [*EXACT, *AVERAGED]
    agreements = {(r["estimator"], r["data"]): r for r in results if "effect" in r}
    for result in sorted(agreements.values(), key=lambda r: order.index(r["estimator"])):
        name, halves = REGISTRY[result["estimator"]].__name__, result["halves"]
        size = result["size"].removeprefix("Interactions(").removesuffix(")")
        numbers = f"{result['effect']:.3f} | {result['contribution']:.3f} | {'' if halves is None else f'{halves:.3f}'}"
        lines.append(f"| {name} | {result['data']} | {size} | {result['removals']} | {numbers} |")
    lines += [
        "",
        "CPU milliseconds for the removal effects of ten items, with the shape of MovieLens-1M and a user with a",
    ]
    lines += ["history of median length.", "", "| estimator | rows of the history | ms |", "|-|-|-|"]
    measured = {r["estimator"]: r for r in results if "milliseconds" in r}
    for result in measured.values():
        lines.append(f"| {REGISTRY[result['estimator']].__name__} | {result['history']} | {result['milliseconds']} |")
    PAGE.write_text("\n".join([*lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["agreement", "time", "page"])
    parser.add_argument("names", nargs="*", default=[*EXACT, *AVERAGED])
    parser.add_argument("--removals", type=int, default=200)
    parser.add_argument("--sets", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.command == "agreement":
        agreement(arguments.names, arguments.removals, arguments.sets)
    else:
        {"time": times, "page": page}[arguments.command]()


if __name__ == "__main__":
    main()
