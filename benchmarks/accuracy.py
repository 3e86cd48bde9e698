"""Accuracy on MovieLens-100k, on the two published splits, and the effect of each component.

    python -m benchmarks.accuracy            prints the tables, writes benchmarks/accuracy.md, and puts them into
                                             docs/estimators.md

S0: RMSE over 20,000 held-out ratings, mean of seeds 0-4. For pairs of models, also NDCG@10 of the full ranking: hits
are the held-out ratings of 4 and up, and all training ratings of a user are excluded. I0: NDCG@10 of the full ranking,
ten splits, with exclude="positives" as in published tables; every model is compared with EASE (closed form) per user,
averaged over the splits, then bootstrapped over users. Where COFACTOR_DATA names a folder with the published splits
(`ml-100k/u1.base`, ...), u1 and u3 are scored too; without it both pages keep their tables and rows of u1 and u3.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

import cofactor
from cofactor.estimators.base import Estimator
from cofactor.evaluate import score
from cofactor.evaluate.movielens_splits import i0_rows, s0_rows, split_rows
from cofactor.evaluate.reliability import calibration
from cofactor.evaluate.split import Split
from cofactor.metrics.intervals import paired_difference
from cofactor.metrics.ranking import ndcg
from cofactor.metrics.rating import mae, rmse
from cofactor.metrics.registry import ranking_metrics
from tests.support.estimators import is_random

SEEDS = range(5)
SPLITS = range(10)
PUBLISHED_SPLITS = ("u1", "u3")

OWN_PAGE = Path(__file__).parent / "accuracy.md"
PAGE = Path(__file__).parent.parent / "docs" / "estimators.md"
MARKED = re.compile(r"(<!-- tables -->\n).*(<!-- end of tables -->)", re.DOTALL)

USER_COLUMNS, ITEM_COLUMNS = ("age", "gender", "occupation"), ("genres", "year")

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
    "... with features of users and films": cofactor.BayesianMF(user_features=USER_COLUMNS, item_features=ITEM_COLUMNS),
    "... and time_bin=600": cofactor.BayesianMF(user_features=USER_COLUMNS, item_features=ITEM_COLUMNS, time_bin=600),
    "Blend": cofactor.Blend(tuple(cofactor.BayesianMF(factors=factors) for factors in (4, 12, 24, 48))),
}
PAIRS: dict[str, Estimator] = {
    "PairedModels": cofactor.PairedModels(),
    "... rating_model=BayesianMF()": cofactor.PairedModels(rating_model=cofactor.BayesianMF()),
    "... ranker=EASE(), rating_model=BayesianMF()": cofactor.PairedModels(cofactor.EASE(), cofactor.BayesianMF()),
}
"""Pairs of a ranker and a rating model; the liked ratings are those of 4 and up."""
SURE: dict[str, Estimator] = {
    "BayesianMF": cofactor.BayesianMF(),
    'NeuralMF, head="classification"': cofactor.NeuralMF(head="classification"),
}
"""Estimators that predict distributions, whose calibration is reported."""

GROUPS = ("user's noise", "user's support", "predicted width")
"""Quantities by whose quartiles calibration is reported."""

RANKERS: dict[str, tuple[Estimator, float]] = {
    "Popularity": (cofactor.Popularity(), 0),
    "BPR": (cofactor.BPR(), 0),
    "ItemKNN": (cofactor.ItemKNN(), 0),
    "UserKNN": (cofactor.UserKNN(), 0),
    "RP3beta": (cofactor.RP3beta(), 0),
    "SparseEASE": (cofactor.SparseEASE(), 0),
    "SequentialItemKNN": (cofactor.SequentialItemKNN(), 0),
    "EASE": (cofactor.EASE(), 0),
    "... a 5 counting 1.5 times": (cofactor.EASE(counts="raw"), 0.5),
    "GraphFilter": (cofactor.GraphFilter(), 0),
    "ImplicitALS": (cofactor.ImplicitALS(), 0),
    "... 128 factors (tuned)": (cofactor.ImplicitALS(factors=128), 0),
    "... 128 factors, a 5 counting 1.5 times (tuned)": (cofactor.ImplicitALS(factors=128, counts="raw"), 0.5),
    "Blend": (cofactor.Blend((cofactor.ImplicitALS(), cofactor.EASE(), cofactor.GraphFilter())), 0),
}
"""Each with the `gain` of its events: tuned on parts cut out of training."""


def columns_in_file_order() -> pl.DataFrame:
    """Return MovieLens-100k in the order of its file: user, item, value, time."""
    names = ["user", "item", "value", "time"]
    path = cofactor.datasets.fetch("movielens-100k") / "ratings.tsv"
    return pl.read_csv(path, separator="\t", has_header=False, new_columns=names)


def split_s0() -> Split:
    """Return S0, with the ids of the full table."""
    table = columns_in_file_order()
    _, test = s0_rows(len(table))
    ratings = cofactor.datasets.load_movielens("100k")
    return split_rows(ratings, test, users=table["user"], items=table["item"], description="S0")


def split_i0(seed: int, gain: float = 0) -> Split:
    """Return I0 of this seed; the weight of an event is 1 + gain for each star above 4."""
    table = columns_in_file_order()
    _, test = i0_rows(table["user"], table["value"].to_numpy(), seed=seed)
    events = cofactor.datasets.load_movielens("100k").to_events(min_rating=4, gain=gain)
    return split_rows(events, test, users=table["user"], items=table["item"], description=f"I0, seed {seed}").excluding(
        "positives"
    )


def splits_of_the_maker() -> Iterator[Split]:
    """Yield u1 and u3 of the MovieLens archive, if COFACTOR_DATA has it."""
    if "COFACTOR_DATA" not in os.environ:
        return
    home = Path(os.environ["COFACTOR_DATA"]) / "ml-100k"
    table, ratings = columns_in_file_order(), cofactor.datasets.load_movielens("100k")
    for name in PUBLISHED_SPLITS:
        if not (home / f"{name}.test").exists():
            continue
        file = pl.read_csv(home / f"{name}.test", separator="\t", has_header=False, new_columns=table.columns)
        rows = table.with_row_index("row").join(file, on=["user", "item"], how="semi")["row"].to_numpy()
        if len(rows) != len(file):
            raise ValueError(f"{len(file) - len(rows)} rows of {name}.test are not in the table")
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
    """NDCG@10 of each user with a test item, from the scores of all pairs; ties by row."""
    users = np.flatnonzero(split.test.by_user.counts)
    ranked = np.argsort(-scores[users], axis=1, kind="stable")[:, :10].astype(np.int32)
    return ranking_metrics(ranked, split.test.by_user.take(users), ks=(10,))["ndcg@10"]


def ndcg_of(split: Split, recommender: cofactor.Recommender) -> np.ndarray:
    """NDCG@10 of each user with a test item; tied scores count by their expectation."""
    users = np.flatnonzero(split.test.by_user.counts).astype(np.int32)
    return ndcg(recommender.ranked_lists(users, [10], split.test.by_user.take(users)).hits, 10)


def fitted(estimator: Estimator, split: Split, seed: int) -> tuple[cofactor.Recommender, float, float]:
    """Fit on the training part; return the recommender and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    recommender = cofactor.Recommender.fit(estimator, split.train, seed=seed)
    return recommender, time.perf_counter() - wall, time.process_time() - cpu


def ratings_row(split: Split, label: str, estimator: Estimator) -> str:
    """Return RMSE and MAE, their mean over seeds if the seed matters, and the median times of a compiled fit."""
    fitted(estimator, split, 0)  # compile first
    errors, times = [], []
    for seed in SEEDS if is_random(estimator.name) else [0]:
        rec, *seconds = fitted(estimator, split, seed)
        times.append(seconds)
        ratings = rec.model.predict(rec.batch(split.test.u, split.test.times), split.test.i)
        errors.append((rmse(split.test.values, ratings), mae(split.test.values, ratings)))
    r, a = np.array(errors).T
    wall, cpu = np.median(times, axis=0)
    spread = f"{r.min():.4f}-{r.max():.4f}" if len(r) > 1 else ""
    return f"| {label} | {r.mean():.4f} | {spread} | {a.mean():.3f} | {wall:.2f} | {cpu:.2f} |"


def ratings_table(split: Split, estimators: dict[str, Estimator]) -> list[str]:
    """Return one row for each estimator of ratings."""
    head = f"| {split.description}, mean of seeds 0-4 | RMSE | (lowest-highest) | MAE | fit wall s | fit CPU s |"
    return [head, "|-|-|-|-|-|-|", *(ratings_row(split, *pair) for pair in estimators.items())]


def pairs_row(split: Split, label: str, estimator: Estimator) -> str:
    """Return the RMSE, and NDCG@10 and coverage of the lists with the liked test ratings as hits; means over seeds."""
    fitted(estimator, split, 0)  # compile first
    values, times = [], []
    for seed in SEEDS:
        rec, *seconds = fitted(estimator, split, seed)
        times.append(seconds)
        metrics = score(rec, split, label=label).metrics
        values.append([metrics[name].mean for name in ("rmse", "ndcg@10", "coverage@10")])
    r, n, coverage = np.mean(values, axis=0)
    wall, cpu = np.median(times, axis=0)
    return f"| {label} | {r:.4f} | {n:.4f} | {100 * coverage:.1f} % | {wall:.2f} | {cpu:.2f} |"


def pairs_table(split: Split) -> list[str]:
    """Return one row for each pair of a ranker and a rating model."""
    head = (
        f"| {split.description}, two models, mean of seeds 0-4 | RMSE | NDCG@10 | coverage | fit wall s | fit CPU s |"
    )
    return [head, "|-|-|-|-|-|-|", *(pairs_row(split, *pair) for pair in PAIRS.items())]


def rankings_row(splits: list[Split], truth: np.ndarray, label: str, estimator: Estimator) -> str:
    """Return NDCG@10 on every split, compared per user with `truth` (splits, users), that of the closed form."""
    fitted(estimator, splits[0], 0)  # compile first
    scores, times = [], []
    for split in splits:
        rec, *seconds = fitted(estimator, split, 0)
        times.append(seconds)
        scores.append(ndcg_of(split, rec))
    mine = np.array(scores)
    gap = paired_difference(mine.mean(axis=0), truth.mean(axis=0))
    ends = "no interval" if np.isnan(gap.low) else f"{gap.low:+.4f} to {gap.high:+.4f}"
    difference = f"{gap.mean:+.4f} ({ends})"
    wall, cpu = np.median(times, axis=0)
    return f"| {label} | {mine[0].mean():.4f} | {mine.mean():.4f} | {difference} | {wall:.2f} | {cpu:.2f} |"


def rankings_table() -> list[str]:
    """Return one row for each estimator of events, below EASE computed by its closed form."""
    gains = {gain for _, gain in RANKERS.values()}
    splits = {gain: [split_i0(seed, gain) for seed in SPLITS] for gain in gains}
    truth = np.array([ndcg_of_scores(split, ease(split)) for split in splits[0]])
    title = 'I0, exclude="positives"'
    return [
        f"| {title} | NDCG@10, seed 0 | mean of ten splits | minus EASE, per user (95 %) | fit wall s | fit CPU s |",
        "|-|-|-|-|-|-|",
        f"| EASE by its closed form, l2 300 | {truth[0].mean():.4f} | {truth.mean():.4f} | | | |",
        *(rankings_row(splits[gain], truth, label, estimator) for label, (estimator, gain) in RANKERS.items()),
    ]


def calibration_row(split: Split, label: str, estimator: Estimator) -> str:
    """Return how often the 95 % intervals of a fit contain the rating: overall, as expected, and by quartile."""
    rec, *_ = fitted(estimator, split, 0)
    result = calibration(rec, split)
    cover, group = result.coverage["covered 95 %"], result.coverage["group"]
    quartiles = " | ".join(" / ".join(f"{100 * share:.1f}" for share in cover.filter(group == name)) for name in GROUPS)
    expected = result.coverage["expected 95 %"][0]
    label = f"{split.description}: {label}"
    return f"| {label} | {100 * cover[0]:.1f} | {100 * expected:.1f} | {quartiles} | {100 * result.crps_gain:.1f} % |"


def calibration_table(splits: list[Split], estimators: dict[str, Estimator]) -> list[str]:
    """One row for each split and each estimator that predicts distributions."""
    head = "| 95 % intervals, seed 0 | cover | expected | by quartile of the user's noise | of support | of width |"
    rows = [calibration_row(split, *pair) for split in splits for pair in estimators.items()]
    return [f"{head} CRPS gain |", "|-|-|-|-|-|-|-|", *rows]


def existing_tables(names: list[str]) -> tuple[list[list[str]], list[str]]:
    """Return the tables of these splits on the page, and their rows of the table of calibration."""
    tables = [text.splitlines() for text in OWN_PAGE.read_text(encoding="utf-8").split("\n\n")]
    of_split = [lines for lines in tables if lines[0].startswith(tuple(f"| {name}, " for name in names))]
    rows = [line for lines in tables for line in lines if line.startswith(tuple(f"| {name}: " for name in names))]
    return of_split, rows


def write(text: str) -> None:
    """Write the tables into both pages. Raises ValueError if the marks are missing."""
    page = PAGE.read_text(encoding="utf-8")
    if not MARKED.search(page):
        raise ValueError(f"{PAGE.name} has lost the comments between which the tables stand")
    head = "# Accuracy on MovieLens-100k\n\nMade by `make accuracy`.\n\n"
    OWN_PAGE.write_text(f"{head}{text}\n", encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda parts: f"{parts[1]}\n{text}\n\n{parts[2]}", page), encoding="utf-8")


def main() -> None:
    """Print and write all tables."""
    s0, own = split_s0(), list(splits_of_the_maker())
    bayes: dict[str, Estimator] = {
        label: estimator for label, estimator in RATERS.items() if isinstance(estimator, cofactor.BayesianMF)
    }
    measured = {split.description for split in own}
    old_tables, old_calibration = existing_tables([name for name in PUBLISHED_SPLITS if name not in measured])
    tables = [
        ratings_table(s0, RATERS),
        pairs_table(s0),
        rankings_table(),
        *(ratings_table(split, bayes) for split in own),
        *old_tables,
    ]
    tables.append([*calibration_table([s0, *own], SURE), *old_calibration])
    text = "\n\n".join("\n".join(lines) for lines in tables)
    print(text)
    write(text)


if __name__ == "__main__":
    main()
