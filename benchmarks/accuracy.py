"""Accuracy on MovieLens-100k, on the two splits that everyone means, and what each ingredient buys.

    python benchmarks/accuracy.py            prints the tables, writes benchmarks/accuracy.md, and puts them into
                                             docs/estimators.md

S0: RMSE over 20,000 held-out ratings, mean of seeds 0-4. I0: NDCG@10 of the full ranking, ten splits; every model is
compared with EASE (closed form) per user, averaged over the splits, then bootstrapped over users. Where COFACTOR_DATA
names a folder with the maker's own splits (`ml-100k/u1.base`, ...), u1 and u3 are scored too.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

import cofactor
from cofactor.estimators.base import Estimator
from cofactor.evaluate.calibration import calibration
from cofactor.evaluate.intervals import paired_difference
from cofactor.evaluate.ranking_metrics import ranking_metrics
from cofactor.evaluate.rating_metrics import mae, rmse
from cofactor.evaluate.split import Split
from cofactor.evaluate.standard import i0_rows, s0_rows, split_rows
from cofactor.models.base import HasUncertainty, predicted

SEEDS = range(5)
SPLITS = range(10)

PAGE = Path(__file__).parent.parent / "docs" / "estimators.md"

PEOPLE, FILMS = ("age", "gender", "occupation"), ("genres", "year")

RATERS: dict[str, Estimator] = {
    "Bias": cofactor.Bias(),
    "BiasedMF": cofactor.BiasedMF(),
    "... without biases": cofactor.BiasedMF(biases=False),
    "... without the sigmoid range": cofactor.BiasedMF(rating_range=None),
    "... without weight decay": cofactor.BiasedMF(l2=0.0, l2_bias=0.0),
    "... the plain dot product (none of the three)": cofactor.BiasedMF(
        biases=False, rating_range=None, l2=0.0, l2_bias=0.0
    ),
    "ExplicitALS": cofactor.ExplicitALS(),
    "ItemKNN": cofactor.ItemKNN(),
    "UserKNN": cofactor.UserKNN(),
    "NeuralMF": cofactor.NeuralMF(),
    '... head="classification"': cofactor.NeuralMF(head="classification"),
    "BayesianMF": cofactor.BayesianMF(),
    "... without implicit terms": cofactor.BayesianMF(implicit=False),
    "... with features of users and films": cofactor.BayesianMF(user_features=PEOPLE, item_features=FILMS),
    "... and time_bin=600": cofactor.BayesianMF(user_features=PEOPLE, item_features=FILMS, time_bin=600),
}
RANDOM = {"BiasedMF", "ExplicitALS", "NeuralMF", "BayesianMF"}
"""Estimators that a seed matters to."""

RANKERS: dict[str, tuple[Estimator, float]] = {
    "Popularity": (cofactor.Popularity(), 0),
    "BPR": (cofactor.BPR(), 0),
    "ItemKNN": (cofactor.ItemKNN(), 0),
    "UserKNN": (cofactor.UserKNN(), 0),
    "EASE": (cofactor.EASE(), 0),
    "... a 5 counting 1.5 times": (cofactor.EASE(), 0.5),
    "ImplicitALS": (cofactor.ImplicitALS(), 0),
    "... 128 factors (tuned)": (cofactor.ImplicitALS(factors=128), 0),
    "... 128 factors, a 5 counting 1.5 times (tuned)": (cofactor.ImplicitALS(factors=128), 0.5),
}
"""Each with the `gain` of its events: tuned on parts cut out of training."""


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


def split_i0(seed: int, gain: float = 0) -> Split:
    table = columns_in_file_order()
    _, test = i0_rows(table["user"], table["value"].to_numpy(), seed=seed)
    events = cofactor.load("movielens-100k").to_events(positive_from=4, gain=gain)
    return split_rows(events, test, users=table["user"], items=table["item"], description=f"I0, seed {seed}")


def splits_of_the_maker() -> Iterator[Split]:
    """u1 and u3, which MovieLens' own archive brings, where COFACTOR_DATA has it."""
    home = Path(os.environ.get("COFACTOR_DATA", "")) / "ml-100k"
    table, ratings = columns_in_file_order(), cofactor.load("movielens-100k")
    for name in ("u1", "u3"):
        if "COFACTOR_DATA" not in os.environ or not (home / f"{name}.test").exists():
            continue
        file = pl.read_csv(home / f"{name}.test", separator="\t", has_header=False, new_columns=table.columns)
        rows = table.with_row_index("row").join(file, on=["user", "item"], how="semi")["row"].to_numpy()
        yield split_rows(ratings, rows, users=table["user"], items=table["item"], description=name)


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


def ndcg_of(split: Split, recommender: cofactor.Recommender) -> np.ndarray:
    users = np.flatnonzero(split.test.by_user.counts).astype(np.int32)
    ranked, _ = recommender.rank(users, 10)
    return ranking_metrics(ranked, split.test.by_user.take(users), ks=(10,))["ndcg@10"]


def ratings_table(split: Split, estimators: dict[str, Estimator]) -> list[str]:
    lines = [
        f"| {split.description}, mean of seeds 0-4 | RMSE | (lowest-highest) | MAE | fit wall s | fit CPU s |",
        "|-|-|-|-|-|-|",
    ]
    for label, estimator in estimators.items():
        cofactor.Recommender.fit(estimator, split.train)  # compile first
        errors, walls, cpus = [], [], []
        for seed in SEEDS if type(estimator).__name__ in RANDOM else [0]:
            wall, cpu = time.perf_counter(), time.process_time()
            rec = cofactor.Recommender.fit(estimator, split.train, seed=seed)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            ratings = predicted(rec.model, split.test.u, split.test.i, split.test.times, rec.histories)
            errors.append((rmse(split.test.values, ratings), mae(split.test.values, ratings)))
        r, a = np.array(errors).T
        spread = f"{r.min():.4f}-{r.max():.4f}" if len(r) > 1 else ""
        times = f"{statistics.median(walls):.2f} | {statistics.median(cpus):.2f}"
        lines.append(f"| {label} | {r.mean():.4f} | {spread} | {a.mean():.3f} | {times} |")
    return lines


def rankings_table() -> list[str]:
    gains = {gain for _, gain in RANKERS.values()}
    splits = {gain: [split_i0(seed, gain) for seed in SPLITS] for gain in gains}
    truth = np.array([ndcg_of_scores(split, ease(split)) for split in splits[0]])
    lines = [
        "| I0 | NDCG@10, seed 0 | mean of ten splits | minus EASE, per user (95 %) | fit wall s |",
        "|-|-|-|-|-|",
        f"| EASE by its closed form, l2 300 | {truth[0].mean():.4f} | {truth.mean():.4f} | | |",
    ]
    for label, (estimator, gain) in RANKERS.items():
        found, walls = [], []
        for split in splits[gain]:
            wall = time.perf_counter()
            rec = cofactor.Recommender.fit(estimator, split.train, seed=0)
            walls.append(time.perf_counter() - wall)
            found.append(ndcg_of(split, rec))
        mine = np.array(found)
        gap = paired_difference(mine.mean(axis=0), truth.mean(axis=0))
        shown = f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        wall = statistics.median(walls)
        lines.append(f"| {label} | {mine[0].mean():.4f} | {mine.mean():.4f} | {shown} | {wall:.2f} |")
    return lines


def calibration_table(splits: list[Split], estimators: dict[str, Estimator]) -> list[str]:
    lines = [
        "| 95 % intervals, seed 0 | cover | by quartile of the user's noise | of support | of width | CRPS gain |",
        "|-|-|-|-|-|-|",
    ]
    for split in splits:
        for label, estimator in estimators.items():
            rec = cofactor.Recommender.fit(estimator, split.train, seed=0)
            assert isinstance(rec.model, HasUncertainty)
            found = calibration(rec, split)
            cover = found.coverage["covered 95 %"]
            groups = {
                name: " / ".join(f"{100 * share:.1f}" for share in cover.filter(found.coverage["group"] == name))
                for name in ("user's noise", "user's support", "predicted width")
            }
            lines.append(
                f"| {split.description}: {label} | {100 * cover[0]:.1f} | {' | '.join(groups.values())} "
                f"| {100 * found.crps_gain:.1f} % |"
            )
    return lines


def main() -> None:
    s0, own = split_s0(), list(splits_of_the_maker())
    bayes = {label: one for label, one in RATERS.items() if isinstance(one, cofactor.BayesianMF)}
    sure = {"BayesianMF": bayes["BayesianMF"], 'NeuralMF, head="classification"': RATERS['... head="classification"']}
    tables = [ratings_table(s0, RATERS), rankings_table(), *(ratings_table(split, bayes) for split in own)]
    tables.append(calibration_table([s0, *own], sure))
    text = "\n\n".join("\n".join(lines) for lines in tables)
    print(text)
    head = "# Accuracy on MovieLens-100k\n\nMade by `python benchmarks/accuracy.py`.\n\n"
    (Path(__file__).parent / "accuracy.md").write_text(f"{head}{text}\n")
    marked = re.compile(r"(<!-- tables -->\n).*(<!-- end of tables -->)", re.DOTALL)
    page = PAGE.read_text()
    PAGE.write_text(marked.sub(lambda parts: f"{parts[1]}\n{text}\n\n{parts[2]}", page))


if __name__ == "__main__":
    main()
