"""Items without events in models of events, placed by their features: which cold items does each user like?

    python -m benchmarks.cold_items             about ten minutes, writes benchmarks/cold_items.md
    python -m benchmarks.cold_items --seeds 1   one split of each instead of five

All events of 10 % of the items are held out. The model is fitted to the rest, the held-out items are placed by
`Recommender.with_priors(item_features=["genres", "year"])`, and ranked among themselves for each user with an event of
them. Events are ratings of 4 and up (MovieLens-100k) or 7 and up (MovieTweetings, if the folder COFACTOR_DATA has it).

Baselines: random order (its expectation); one list for all users, in the order of the popularity that the same
regression predicts from the features; and features that are shuffled among the held-out items.

The settings are compared on other items: a further 10 %, while the first 10 % are left out. "Neighbors" is the
alternative to the regression: the mean of the m items whose features have the highest cosine (weighted by inverse
document frequency), each weighted by its cosine and by its number of events as in the regression.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from cofactor import Interactions, Recommender
from cofactor.cold_start import item_weights
from cofactor.cold_start.item_weights import HALF_WEIGHT_RATINGS
from cofactor.data.features import indicators
from cofactor.metrics.intervals import bootstrap_interval
from cofactor.recommender import updating

PAGE = Path(__file__).parent / "cold_items.md"
COLUMNS = ["genres", "year"]
RANKERS: dict[str, Any] = {
    "EASE": cofactor.EASE(),
    "SparseEASE": cofactor.SparseEASE(),
    "ItemKNN": cofactor.ItemKNN(),
    "RP3beta": cofactor.RP3beta(),
    "GraphFilter": cofactor.GraphFilter(),
    "ImplicitALS": cofactor.ImplicitALS(),
    "BPR": cofactor.BPR(),
}
SKIPPED = {"MovieTweetings": {"EASE"}}
TUNED = {"MovieLens-100k": "EASE", "MovieTweetings": "SparseEASE"}
RIDGES, NEIGHBORS, WEIGHTS = (1, 3, 10, 30, 100, 300), (10, 30, 100, 300), (100, 200, 500, 1000)


def data_sets() -> dict[str, Interactions]:
    """Return the tables of events, with item tables."""
    films = cofactor.datasets.load_movielens("100k")
    tables = {"MovieLens-100k": films.to_events(min_rating=4).with_item_table(films.item_table)}
    folder = Path(os.environ.get("COFACTOR_DATA", "-")) / "movietweetings"
    if folder.is_dir():
        ratings = _lines(folder / "ratings.dat").select(
            user=pl.col("line").list[0], item=pl.col("line").list[1], value=pl.col("line").list[2].cast(pl.Float64)
        )
        movies = _lines(folder / "movies.dat").select(
            item=pl.col("line").list[0],
            year=pl.col("line").list[1].str.extract(r"\((\d{4})\)").cast(pl.Int64),
            genres=pl.col("line").list[2],
        )
        table = Interactions.from_columns(ratings["user"], ratings["item"], ratings["value"])
        tables["MovieTweetings"] = table.with_item_table(movies).to_events(min_rating=7)
    return tables


def _lines(path: Path) -> pl.DataFrame:
    text = path.read_text(encoding="utf-8").splitlines()
    return pl.DataFrame({"line": [line.split("::") for line in text if line]})


def split(events: Interactions, seed: int, *, validation: bool) -> tuple[Interactions, Interactions, Any]:
    """Return the training table, the events of the held-out items, and their rows."""
    with_events = np.flatnonzero(np.bincount(events.i, minlength=events.n_items))
    items, n = np.random.default_rng(seed).permutation(with_events), len(with_events) // 10
    cold = np.sort(items[n : 2 * n] if validation else items[:n])
    left_out = items[: 2 * n] if validation else items[:n]
    return events.select(~np.isin(events.i, left_out)), events.select(np.isin(events.i, cold)), cold


def metrics(scores: Any, relevant: Any) -> Any:
    """Return NDCG@10 and recall@20 of each user: ndarray of shape (n_users, 2). Ties are in random order."""
    order = np.random.default_rng(0).permutation(scores.shape[1])
    ranked = order[np.argsort(-scores[:, order], axis=1, kind="stable")]
    hits, n = np.take_along_axis(relevant, ranked, axis=1), relevant.sum(axis=1)
    return np.column_stack([hits[:, :10] @ DISCOUNT / IDEAL[np.minimum(n, 10)], hits[:, :20].sum(axis=1) / n])


DISCOUNT = 1 / np.log2(np.arange(2, 12))
IDEAL = np.append(1, np.cumsum(DISCOUNT))


def random_order(relevant: Any) -> Any:
    """Return the expected metrics of a random order."""
    n, n_items = relevant.sum(axis=1), relevant.shape[1]
    ndcg = n / n_items * DISCOUNT[:n_items].sum() / IDEAL[np.minimum(n, 10)]
    return np.column_stack([ndcg, np.full(len(n), min(20, n_items) / n_items)])


class Split:
    """A split with the users who have events of held-out items, and of others."""

    def __init__(self, events: Interactions, seed: int, *, validation: bool = False) -> None:
        self.train, test, self.cold = split(events, seed, validation=validation)
        is_active = [np.bincount(table.u, minlength=events.n_users) > 0 for table in (self.train, test)]
        self.users = np.flatnonzero(is_active[0] & is_active[1]).astype(np.int32)
        relevant = np.zeros((events.n_users, events.n_items), bool)
        relevant[test.u, test.i] = True
        self.relevant = relevant[self.users][:, self.cold]

    def scores(self, rec: Recommender) -> Any:
        model: Any = rec.model
        return model.scores(rec.batch(self.users))

    def measured(self, rec: Recommender) -> Any:
        return metrics(self.scores(rec)[:, self.cold], self.relevant)

    def shuffled(self, rec: Recommender, seed: int) -> Recommender:
        """Return the recommender with the features shuffled among the held-out items."""
        table, rows = rec.item_table, np.arange(len(rec.items))
        assert table is not None
        rows[self.cold] = np.random.default_rng(seed).permutation(self.cold)
        return replace(rec, item_table=table.with_columns(table[rows].select(COLUMNS)))

    def popularity(self) -> Any:
        """Return the metrics of the popularity that the regression predicts from the features."""
        table, support = self.train.item_table, np.bincount(self.train.i, minlength=self.train.n_items)
        H = indicators(table, COLUMNS, "item").dense(len(support))
        mix = item_weights._Combination.of(H, H[self.cold], support, item_weights.WEIGHT_RIDGE)
        predicted = mix.coefficients @ (mix.loadings.T @ support)
        return metrics(np.tile(predicted, (len(self.users), 1)), self.relevant)


def accuracy(name: str, events: Interactions, seeds: int) -> list[str]:
    """Return the rows of the table of estimators."""
    values: dict[str, list[Any]] = {}
    users: list[Any] = []
    for seed in range(seeds):
        part = Split(events, seed)
        users.append(part.users)
        values.setdefault("random order", []).append(random_order(part.relevant))
        values.setdefault("popularity by features", []).append(part.popularity())
        for label, estimator in RANKERS.items():
            if label not in SKIPPED.get(name, ()):
                rec = Recommender.fit(estimator, part.train, seed=0)
                placed = part.measured(rec.with_priors(item_features=COLUMNS))
                other = part.measured(part.shuffled(rec, seed).with_priors(item_features=COLUMNS))
                values.setdefault(label, []).append(placed)
                values.setdefault(f"{label} shuffled", []).append(other)
                print(name, seed, label, placed.mean(axis=0), other.mean(axis=0), flush=True)
    by_user = {label: _user_means(np.concatenate(users), np.concatenate(own)) for label, own in values.items()}
    rows = []
    for label in by_user:
        if label.endswith("shuffled"):
            continue
        ndcg, recall = by_user[label].mean(axis=0)
        cells = ["", "", ""]
        if label in RANKERS:
            cells = [f"{by_user[f'{label} shuffled'].mean(axis=0)[0]:.4f}"]
            for other in ("random order", "popularity by features"):
                interval = bootstrap_interval((by_user[label] - by_user[other])[:, 0])
                cells.append(f"{interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})")
        rows.append(f"| {name} | {label} | {ndcg:.4f} | {recall:.4f} | {' | '.join(cells)} |")
    return rows


def _user_means(users: Any, values: Any) -> Any:
    """Return the mean of each user's values over the splits."""
    _, index, counts = np.unique(users, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, index, values)
    return sums / counts[:, None]


def settings(name: str, events: Interactions, seeds: int) -> list[str]:
    """Return the rows of the table of settings, measured on other held-out items."""
    values: dict[tuple[str, int], list[Any]] = {}
    for seed in range(seeds):
        part = Split(events, seed, validation=True)
        rec = Recommender.fit(RANKERS[TUNED[name]], part.train, seed=0)
        base = rec.with_priors(item_features=COLUMNS).priors
        assert base is not None
        for ridge in RIDGES:
            values.setdefault(("ridge", ridge), []).append(part.measured(_placed(rec, base, ridge)).mean(axis=0))
        for number in () if TUNED[name] == "EASE" else WEIGHTS:
            standard, item_weights.MAX_WEIGHTS = item_weights.MAX_WEIGHTS, number
            placed = _placed(rec, base, item_weights.WEIGHT_RIDGE)
            item_weights.MAX_WEIGHTS = standard
            values.setdefault(("weights per item", number), []).append(part.measured(placed).mean(axis=0))
        scores, nearest = part.scores(rec), _cosines(part)
        for m in NEIGHBORS:
            share = np.where(nearest >= -np.partition(-nearest, m - 1, axis=1)[:, m - 1 : m], nearest, 0)
            share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
            values.setdefault(("neighbors", m), []).append(metrics(scores @ share.T, part.relevant).mean(axis=0))
        print(name, seed, "settings", flush=True)
    rows = []
    for (setting, number), own in values.items():
        ndcg, recall = np.mean(own, axis=0)
        rows.append(f"| {name} | {TUNED[name]} | {setting} | {number} | {ndcg:.4f} | {recall:.4f} |")
    return rows


def _placed(rec: Recommender, priors: Any, ridge: float) -> Recommender:
    priors = replace(priors, items=replace(priors.items, ridge=float(ridge)))
    trained = updating.TrainedItems(rec.items, rec.item_table, rec.histories)
    model, evidence = updating.initialize_cold_items(rec.model, priors, trained, rec.evidence)
    return replace(rec, model=model, priors=priors, evidence=evidence)


def _cosines(part: Split) -> Any:
    """Return the cosine of the features of held-out and of all items, times the weight of the latter."""
    support = np.bincount(part.train.i, minlength=part.train.n_items)
    H = indicators(part.train.item_table, COLUMNS, "item").dense(len(support))
    H *= np.log(len(H) / np.maximum(H.sum(axis=0), 1))
    H /= np.maximum(np.linalg.norm(H, axis=1, keepdims=True), 1e-12)
    return H[part.cold] @ H.T * (support / (support + HALF_WEIGHT_RATINGS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    tables = data_sets()
    lines = [
        "# Items without events, placed by their features",
        "",
        f"{arguments.seeds} splits. Made by `python -m benchmarks.cold_items`, whose docstring describes the protocol.",
        "",
        "| data | model | NDCG@10 | recall@20 | NDCG@10, shuffled features | minus random order | minus popularity |",
        "|-|-|-|-|-|-|-|",
    ]
    lines += [row for name, events in tables.items() for row in accuracy(name, events, arguments.seeds)]
    lines += [
        "",
        "Intervals: 95 %, of the difference in NDCG@10, over users (their mean over the splits).",
        "",
        "## Settings",
        "",
        "Measured on other held-out items; all other settings at their defaults (ridge 10, 500 weights per item).",
        "",
        "| data | model | setting | value | NDCG@10 | recall@20 |",
        "|-|-|-|-|-|-|",
    ]
    lines += [row for name, events in tables.items() for row in settings(name, events, arguments.seeds)]
    PAGE.write_text("\n".join([*lines, ""]))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
