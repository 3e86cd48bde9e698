"""Cold start on MovieLens-100k: fold-in compared with retraining, new items placed by features, and time of a fold-in.

    python -m benchmarks.cold_start             about ten minutes, writes benchmarks/cold_start.md
    python -m benchmarks.cold_start --seeds 1   one split of each instead of five

Fold-in: 200 users of at least 30 ratings are held out. The model then gets 20 of each user's ratings, drawn at random,
and is scored on the others: RMSE, or NDCG@10 of the items rated 4 or 5 for models of events. "Retrained" is the model
fitted with the same 20 ratings. "With priors" is the fold-in after `Recommender.with_priors`, for models with vectors.

New items: 20 % of the items are held out. Each is placed by the prior for its genres and year, the new items are ranked
for every user, and NDCG@10 is computed for those rated 4 or 5. The baselines are the prior without features, which is
the same for all items (ties are broken at random), and features that are shuffled among the new items. Models of
ratings do not learn popularity; for them the score is the share of pairs of a user's held-out ratings in correct order.

Time: one new user with 50 ratings and 64 factors, median of many calls, in this process.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from cofactor import Interactions, Recommender
from cofactor.estimators import REGISTRY
from cofactor.metrics.intervals import bootstrap_interval
from cofactor.models.user_batch import UserBatch

PAGE = Path(__file__).parent / "cold_start.md"
EVENT_MODELS = ("ease", *(name for name, estimator in REGISTRY.items() if estimator.kind == "events"))
"""Estimators that are fitted to the liked items."""
WITH_VECTORS = ("bias", "biased-mf", "explicit-als", "implicit-als")
COLUMNS = ["genres", "year"]
N_HELD_OUT, HISTORY_LENGTH, MIN_RATINGS = 200, 20, 30


def ndcg(lists: Any, relevant: list[set[int]]) -> Any:
    """Return NDCG@10 of each list; the ideal list has min(10, number of relevant items) hits."""
    discount = 1 / np.log2(np.arange(2, 12))
    hits = np.array([[item in own for item in row] for row, own in zip(lists, relevant, strict=True)])
    return hits @ discount[: hits.shape[1]] / np.array([discount[: min(10, len(own))].sum() for own in relevant])


# fold-in


def split(table: Interactions, seed: int) -> tuple[Interactions, Interactions, Interactions, Any]:
    """Return the training data, the histories of the held-out users, their test ratings, and their rows."""
    rng = np.random.default_rng(seed)
    held = np.sort(rng.choice(np.flatnonzero(table.by_user.counts >= MIN_RATINGS), N_HELD_OUT, replace=False))
    out = np.isin(table.u, held)
    order = np.lexsort((rng.random(len(table.u)), table.u))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - table.by_user.start[table.u[order]]
    return (
        table.select(~out),
        table.select(out & (place < HISTORY_LENGTH)),
        table.select(out & (place >= HISTORY_LENGTH)),
        held,
    )


def score(rec: Recommender, test: Interactions, held: Any) -> float:
    """Return the RMSE, or NDCG@10 for a model of events."""
    if rec.kind == "ratings":
        predictions = rec.model.predict(UserBatch.trained(test.u, rec.histories), test.i)
        return float(np.sqrt(np.mean(np.square(predictions - test.values))))
    liked = test.select(test.values >= 4).by_user
    users = held[liked.counts[held] > 0].astype(np.int32)
    lists, _ = rec.for_rows(users).rank(10)
    return float(ndcg(lists, [set(liked.row(int(u)).columns.tolist()) for u in users]).mean())


def fold_in(name: str, table: Interactions, seed: int) -> dict[str, float]:
    train, history, test, held = split(table, seed)
    both = table.select(~np.isin(table.u, held) | _is_in(table, history))
    if name in EVENT_MODELS:
        train, history, both = (t.to_events(min_rating=4) for t in (train, history, both))
    estimator = REGISTRY[name]()
    rec = Recommender.fit(estimator, train, seed=0)
    scores = {
        "retrained": score(Recommender.fit(estimator, both, seed=0), test, held),
        "folded in": score(rec.updated(history), test, held),
    }
    if name in WITH_VECTORS:
        scores["with priors"] = score(rec.with_priors().updated(history), test, held)
    return scores


def _is_in(table: Interactions, part: Interactions) -> Any:
    key, own = (t.u.astype(np.int64) * t.n_items + t.i for t in (table, part))
    return np.isin(key, own)


# new items


def new_items(name: str, table: Interactions, seed: int) -> dict[str, Any]:
    """Return the score of each user with each prior: NDCG@10, or the share of pairs in order."""
    rng = np.random.default_rng(seed)
    out = np.zeros(table.n_items, bool)
    out[rng.choice(table.n_items, table.n_items // 5, replace=False)] = True
    data = table.to_events(min_rating=4) if name in EVENT_MODELS else table
    rest = data.select(~out[data.i])
    columns = [rest.users.ids(rest.u), rest.items.ids(rest.i), rest.values]
    train = Interactions.from_columns(*columns, kind=rest.kind).with_item_table(table.item_table)
    rec = Recommender.fit(REGISTRY[name](), train, seed=0)
    new = table.item_table.filter(pl.Series(~table.item_table["item"].is_in(train.items.all.implode())))
    shuffled = new.with_columns(new.select(COLUMNS).sample(fraction=1, shuffle=True, seed=seed))
    featured, plain = rec.with_priors(item_features=COLUMNS), rec.with_priors()
    test = table.select(out[table.i])
    score_users = ndcg_of_users if name in EVENT_MODELS else pairs_in_order
    placements = {"features": (featured, new), "mean": (plain, new), "shuffled": (featured, shuffled)}
    return {
        placement: score_users(base.with_items(frame), test, new["item"], rng)
        for placement, (base, frame) in placements.items()
    }


def ndcg_of_users(rec: Recommender, test: Interactions, new: pl.Series, rng: Any) -> Any:
    liked = test.select(test.values >= 4).by_user
    ours = rec.users.rows(test.users.all)
    users = np.flatnonzero((liked.counts > 0) & (ours >= 0))
    rows = rng.permutation(rec.items.rows(new))
    scores = rec.model.scores(rec.batch(ours[users].astype(np.int32)))[:, rows]
    lists = rows[np.argsort(-scores, axis=1, kind="stable")[:, :10]]
    of = rec.items.rows(test.items.all)
    return ndcg(lists, [set(of[liked.row(int(u)).columns].tolist()) for u in users])


def pairs_in_order(rec: Recommender, test: Interactions, new: pl.Series, rng: Any) -> Any:
    """Return the share of pairs of different ratings that are predicted in their order; a tie counts half."""
    ours, of, shares = rec.users.rows(test.users.all), rec.items.rows(test.items.all), []
    for u in np.flatnonzero((test.by_user.counts > 1) & (ours >= 0)):
        own = test.by_user.row(int(u))
        predicted = rec.model.raw_scores(np.full(len(own.columns), ours[u], np.int32), of[own.columns])
        actual = np.sign(own.values[:, None] - own.values)
        right = (1 + actual * np.sign(predicted[:, None] - predicted)) / 2
        shares.append(right[actual != 0].mean() if (actual != 0).any() else np.nan)
    return np.array(shares)


# time


def fold_in_times(table: Interactions) -> dict[str, float]:
    """Return the milliseconds for one new user with 50 ratings."""
    times = {}
    for name, estimator in REGISTRY.items():
        settings = {"factors": 64} if "factors" in estimator.__dataclass_fields__ else {}
        data = table.to_events(min_rating=4) if name in EVENT_MODELS else table
        rec = Recommender.fit(estimator(**settings), data, seed=0)
        if name in WITH_VECTORS:
            rec = rec.with_priors()
        users = np.flatnonzero(data.by_user.counts >= 50)[:100]
        histories = [data.by_user.row(int(u)).slice(0, 1) for u in users]
        histories = [
            cofactor.kernels.sparse.SparseRows(np.array([0, 50]), h.columns[:50], h.values[:50]) for h in histories
        ]
        rec.folded_in(histories[0])
        seconds = []
        for history in histories:
            start = time.perf_counter()
            rec.folded_in(history)
            seconds.append(time.perf_counter() - start)
        times[name] = 1e3 * float(np.median(seconds))
    return times


def page(folded: dict[str, list[Any]], placed: dict[str, list[Any]], times: dict[str, float]) -> str:
    lines = [
        "# Cold start",
        "",
        f"MovieLens-100k, {len(folded['bias'])} splits. Made by `python -m benchmarks.cold_start`.",
    ]
    lines += ["", "## Fold-in from 20 ratings, compared with retraining", ""]
    lines += [
        "| estimator | metric | retrained | folded in | worse by | with priors | worse by | ms |",
        "|-|-|-|-|-|-|-|-|",
    ]
    for name, splits in folded.items():
        mean = {method: float(np.mean([s[method] for s in splits])) for method in splits[0]}
        sign = -1 if name in EVENT_MODELS else 1
        cells = [f"{mean['retrained']:.4f}"]
        for method in ("folded in", "with priors"):
            worse = sign * (mean.get(method, np.nan) / mean["retrained"] - 1)
            cells += [f"{mean[method]:.4f}", f"{worse:+.2%}"] if method in mean else ["", ""]
        metric = "NDCG@10" if name in EVENT_MODELS else "RMSE"
        lines.append(f"| {REGISTRY[name].__name__} | {metric} | {' | '.join(cells)} | {times[name]:.2f} |")
    lines += [
        "",
        "ms: one new user with 50 ratings; 64 factors for models with factors.",
        "",
        "## New items placed by genres and year",
        "",
    ]
    lines += ["| estimator | metric | features | mean | shuffled | features - mean | features - shuffled |"]
    lines.append("|-|-|-|-|-|-|-|")
    for name, splits in placed.items():
        scores = {name: np.concatenate([s[name] for s in splits]) for name in splits[0]}
        cells = [f"{np.nanmean(own):.4f}" for own in scores.values()]
        for other in ("mean", "shuffled"):
            gain = scores["features"] - scores[other]
            interval = bootstrap_interval(gain[np.isfinite(gain)])
            cells.append(f"{interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})")
        metric = "NDCG@10" if name in EVENT_MODELS else "pairs in order"
        lines.append(f"| {REGISTRY[name].__name__} | {metric} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Intervals: 95 %, paired, over users of all splits.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    table = cofactor.datasets.load_movielens("100k")
    folded: dict[str, list[Any]] = {name: [] for name in REGISTRY}
    placed: dict[str, list[Any]] = {name: [] for name in ("implicit-als", "bpr", "biased-mf", "explicit-als")}
    for seed in range(arguments.seeds):
        for name, splits in folded.items():
            splits.append(fold_in(name, table, seed))
            print(seed, name, splits[-1], flush=True)
        for name, splits in placed.items():
            splits.append(new_items(name, table, seed))
            print(seed, name, {method: float(np.nanmean(own)) for method, own in splits[-1].items()}, flush=True)
    PAGE.write_text(page(folded, placed, fold_in_times(table)))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
