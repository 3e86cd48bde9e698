"""Accuracy on MovieLens-100k, on the two splits that everyone means, and what each ingredient buys.

    python benchmarks/accuracy.py            prints the tables and writes benchmarks/accuracy.md

S0: RMSE over 20,000 held-out ratings, mean of seeds 0-4. I0: NDCG@10 of the full ranking, ten splits; every model is
compared with EASE (closed form) per user, averaged over the splits, then bootstrapped over users.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import polars as pl

import cofactor
from cofactor.estimators.base import Estimator
from cofactor.evaluate.intervals import paired_difference
from cofactor.evaluate.ranking_metrics import ranking_metrics
from cofactor.evaluate.rating_metrics import mae, rmse
from cofactor.evaluate.split import Split
from cofactor.evaluate.standard import i0_rows, s0_rows, split_rows

SEEDS = range(5)
SPLITS = range(10)

INGREDIENTS: dict[str, Estimator] = {
    "BiasedMF(factors=50)": cofactor.BiasedMF(),
    "... without biases": cofactor.BiasedMF(biases=False),
    "... without the sigmoid range": cofactor.BiasedMF(rating_range=None),
    "... without weight decay": cofactor.BiasedMF(l2=0.0, l2_bias=0.0),
    "... the plain dot product (none of the three)": cofactor.BiasedMF(
        biases=False, rating_range=None, l2=0.0, l2_bias=0.0
    ),
    "ExplicitALS(factors=50)": cofactor.ExplicitALS(),
    "BayesianMF()": cofactor.BayesianMF(),
    "... without implicit terms": cofactor.BayesianMF(implicit=False),
    "Bias": cofactor.Bias(),
}
RANKERS: dict[str, Estimator] = {
    "ImplicitALS()": cofactor.ImplicitALS(),
    "ImplicitALS(factors=128), tuned": cofactor.ImplicitALS(factors=128),
    "Popularity": cofactor.Popularity(),
}


def columns_in_file_order() -> pl.DataFrame:
    """MovieLens-100k as its maker wrote it: user, item, value, time."""
    names = ["user", "item", "value", "time"]
    path = cofactor.fetch("movielens-100k") / "ratings.tsv"
    return pl.read_csv(path, separator="\t", has_header=False, new_columns=names)


def split_s0() -> Split:
    table = columns_in_file_order()
    _, test = s0_rows(len(table))
    ratings = cofactor.load("movielens-100k")
    return split_rows(ratings, test, users=table["user"], items=table["item"], description="S0")


def split_i0(seed: int) -> Split:
    table = columns_in_file_order()
    _, test = i0_rows(table["user"], table["value"].to_numpy(), seed=seed)
    events = cofactor.load("movielens-100k").to_events(positive_from=4)
    return split_rows(events, test, users=table["user"], items=table["item"], description=f"I0, seed {seed}")


def ease(split: Split, l2: float = 300.0) -> np.ndarray:
    """EASE by its closed form (Steck 2019): B = I - P / diag(P), P = (X'X + l2 I)^-1. Scores of all pairs."""
    train = split.train
    X = np.zeros((train.n_users, train.n_items))
    X[train.u, train.i] = 1
    P = np.linalg.inv(X.T @ X + l2 * np.eye(train.n_items))
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    scores = X @ B
    scores[train.u, train.i] = -np.inf
    return scores


def ndcg_of_scores(split: Split, scores: np.ndarray) -> np.ndarray:
    users = np.flatnonzero(split.test.by_user.counts)
    ranked = np.argsort(-scores[users], axis=1, kind="stable")[:, :10].astype(np.int32)
    return ranking_metrics(ranked, split.test.by_user.take(users), ks=(10,))["ndcg@10"]


def ndcg_of(split: Split, estimator: Estimator) -> np.ndarray:
    users = np.flatnonzero(split.test.by_user.counts).astype(np.int32)
    ranked, _ = cofactor.Recommender.fit(estimator, split.train, seed=0).rank(users, 10)
    return ranking_metrics(ranked, split.test.by_user.take(users), ks=(10,))["ndcg@10"]


def ratings_table() -> list[str]:
    split = split_s0()
    lines = [
        "| S0, mean of seeds 0-4 | RMSE | (lowest-highest) | MAE | fit wall s | fit CPU s |",
        "|-|-|-|-|-|-|",
    ]
    for label, estimator in INGREDIENTS.items():
        cofactor.Recommender.fit(estimator, split.train)  # compile first
        errors, walls, cpus = [], [], []
        for seed in SEEDS:
            wall, cpu = time.perf_counter(), time.process_time()
            rec = cofactor.Recommender.fit(estimator, split.train, seed=seed)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            predicted = rec.model.predict(split.test.u, split.test.i, rec.histories)
            errors.append((rmse(split.test.values, predicted), mae(split.test.values, predicted)))
        r, a = np.array(errors).T
        times = f"{statistics.median(walls):.2f} | {statistics.median(cpus):.2f}"
        lines.append(f"| {label} | {r.mean():.4f} | {r.min():.4f}-{r.max():.4f} | {a.mean():.3f} | {times} |")
    return lines


def rankings_table() -> list[str]:
    splits = [split_i0(seed) for seed in SPLITS]
    truth = np.array([ndcg_of_scores(split, ease(split)) for split in splits])
    lines = [
        "| I0 | NDCG@10, seed 0 | mean of ten splits | minus EASE, per user (95 %) |",
        "|-|-|-|-|",
        f"| EASE, closed form, l2 300 | {truth[0].mean():.4f} | {truth.mean():.4f} | |",
    ]
    for label, estimator in RANKERS.items():
        mine = np.array([ndcg_of(split, estimator) for split in splits])
        gap = paired_difference(mine.mean(axis=0), truth.mean(axis=0))
        shown = f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        lines.append(f"| {label} | {mine[0].mean():.4f} | {mine.mean():.4f} | {shown} |")
    return lines


def main() -> None:
    lines = ["# Accuracy on MovieLens-100k", "", "Made by `python benchmarks/accuracy.py`.", ""]
    lines += [*ratings_table(), "", *rankings_table(), ""]
    text = "\n".join(lines)
    print(text)
    (Path(__file__).parent / "accuracy.md").write_text(text)


if __name__ == "__main__":
    main()
