"""Newcomers on MovieLens-100k: folded in instead of retrained, new items by their features, and what an answer costs.

    python benchmarks/cold_start.py             about ten minutes, writes benchmarks/cold_start.md
    python benchmarks/cold_start.py --seeds 1   one split of each instead of five

Fold-in: 200 users of at least 30 ratings are held out whole, then given 20 of theirs, drawn at random; judged on the
rest: RMSE, or NDCG@10 of what they rated 4 or 5 for models of events. "Retrained" had the same 20 from the start.
"With priors": the same after `learn_priors`, where the model has vectors to learn them of.

New items: 20 % of the items are held out whole. Each is placed by the prior that its genres and year give it, the held
out ones are ranked for every user, and NDCG@10 looks for those rated 4 or 5. Against it the prior without features,
which takes all to be alike (ties fall at random), and the same features dealt out to the wrong items. For models of
ratings, which do not mean to know what is popular: the share of pairs of a user's held out ratings told in their order.

Cost: one newcomer of 50 ratings and 64 factors, median of many calls, in this process.
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
from cofactor.cold_start import learn_priors
from cofactor.estimators import REGISTRY
from cofactor.metrics.intervals import bootstrap_interval
from cofactor.models.user_batch import UserBatch

PAGE = Path(__file__).parent / "cold-start.md"
OF_EVENTS = ("popularity", "implicit-als", "bpr", "ease")
WITH_VECTORS = ("bias", "biased-mf", "explicit-als", "implicit-als")
COLUMNS = ["genres", "year"]
HELD, GIVEN, ENOUGH = 200, 20, 30


def ndcg(lists: Any, wanted: list[set[int]]) -> Any:
    """NDCG@10 of each list, ideal min(10, how many are wanted)."""
    discount = 1 / np.log2(np.arange(2, 12))
    hits = np.array([[item in own for item in row] for row, own in zip(lists, wanted, strict=True)])
    return hits @ discount[: hits.shape[1]] / np.array([discount[: min(10, len(own))].sum() for own in wanted])


# fold-in


def parted(table: Interactions, seed: int) -> tuple[Interactions, Interactions, Interactions, Any]:
    """Without the held out users, what they are given, what is kept back, and who they are."""
    rng = np.random.default_rng(seed)
    held = np.sort(rng.choice(np.flatnonzero(table.by_user.counts >= ENOUGH), HELD, replace=False))
    out = np.isin(table.u, held)
    order = np.lexsort((rng.random(len(table.u)), table.u))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - table.by_user.start[table.u[order]]
    return table.select(~out), table.select(out & (place < GIVEN)), table.select(out & (place >= GIVEN)), held


def judged(rec: Recommender, rest: Interactions, held: Any) -> float:
    """RMSE, or NDCG@10 for a model of events."""
    if rec.kind == "ratings":
        told = rec.model.predict(UserBatch.trained(rest.u, rec.histories), rest.i)
        return float(np.sqrt(np.mean(np.square(told - rest.values))))
    liked = rest.select(rest.values >= 4).by_user
    users = held[liked.counts[held] > 0].astype(np.int32)
    lists, _ = rec.for_rows(users).rank(10)
    return float(ndcg(lists, [set(liked.row(int(u)).columns.tolist()) for u in users]).mean())


def fold_in(name: str, table: Interactions, seed: int) -> dict[str, float]:
    without, given, rest, held = parted(table, seed)
    together = table.select(~np.isin(table.u, held) | _among(table, given))
    if name in OF_EVENTS:
        without, given, together = (t.to_events(min_rating=4) for t in (without, given, together))
    estimator = REGISTRY[name]()
    rec = Recommender.fit(estimator, without, seed=0)
    found = {
        "retrained": judged(Recommender.fit(estimator, together, seed=0), rest, held),
        "folded in": judged(rec.updated(given), rest, held),
    }
    if name in WITH_VECTORS:
        found["with priors"] = judged(learn_priors(rec).updated(given), rest, held)
    return found


def _among(table: Interactions, part: Interactions) -> Any:
    key, own = (t.u.astype(np.int64) * t.n_items + t.i for t in (table, part))
    return np.isin(key, own)


# new items


def new_items(name: str, table: Interactions, seed: int) -> dict[str, Any]:
    """Each way's judgment of every user: NDCG@10, or the share of pairs in order."""
    rng = np.random.default_rng(seed)
    out = np.zeros(table.n_items, bool)
    out[rng.choice(table.n_items, table.n_items // 5, replace=False)] = True
    learned = table.to_events(min_rating=4) if name in OF_EVENTS else table
    kept = learned.select(~out[learned.i])
    columns = [kept.users.ids(kept.u), kept.items.ids(kept.i), kept.values]
    known = Interactions.from_columns(*columns, kind=kept.kind).with_item_table(table.item_table)
    rec = Recommender.fit(REGISTRY[name](), known, seed=0)
    new = table.item_table.filter(pl.Series(~table.item_table["item"].is_in(known.items.all.implode())))
    dealt = new.with_columns(new.select(COLUMNS).sample(fraction=1, shuffle=True, seed=seed))
    featured, plain = learn_priors(rec, item_features=COLUMNS), learn_priors(rec)
    left = table.select(out[table.i])
    one = judged_events if name in OF_EVENTS else judged_order
    ways = {"features": (featured, new), "mean": (plain, new), "dealt out": (featured, dealt)}
    return {
        way: one(with_priors.with_items(frame), left, new["item"], rng) for way, (with_priors, frame) in ways.items()
    }


def judged_events(rec: Recommender, left: Interactions, new: pl.Series, rng: Any) -> Any:
    liked = left.select(left.values >= 4).by_user
    ours = rec.users.rows(left.users.all)
    users = np.flatnonzero((liked.counts > 0) & (ours >= 0))
    rows = rng.permutation(rec.items.rows(new))
    scores = rec.model.scores(UserBatch.of(ours[users], rec.histories))[:, rows]
    lists = rows[np.argsort(-scores, axis=1, kind="stable")[:, :10]]
    of = rec.items.rows(left.items.all)
    return ndcg(lists, [set(of[liked.row(int(u)).columns].tolist()) for u in users])


def judged_order(rec: Recommender, left: Interactions, new: pl.Series, rng: Any) -> Any:
    """The share of pairs of different ratings that are told in their order; a tie counts half."""
    ours, of, shares = rec.users.rows(left.users.all), rec.items.rows(left.items.all), []
    for u in np.flatnonzero((left.by_user.counts > 1) & (ours >= 0)):
        own = left.by_user.row(int(u))
        told = rec.model.linear(np.full(len(own.columns), ours[u], np.int32), of[own.columns])
        truly = np.sign(own.values[:, None] - own.values)
        right = (1 + truly * np.sign(told[:, None] - told)) / 2
        shares.append(right[truly != 0].mean() if (truly != 0).any() else np.nan)
    return np.array(shares)


# cost


def costs(table: Interactions) -> dict[str, float]:
    """Milliseconds for one newcomer of 50 ratings."""
    found = {}
    for name, kind in REGISTRY.items():
        settings = {"factors": 64} if "factors" in kind.__dataclass_fields__ else {}
        learned = table.to_events(min_rating=4) if name in OF_EVENTS else table
        rec = Recommender.fit(kind(**settings), learned, seed=0)
        if name in WITH_VECTORS:
            rec = learn_priors(rec)
        users = np.flatnonzero(learned.by_user.counts >= 50)[:100]
        histories = [learned.by_user.row(int(u)).slice(0, 1) for u in users]
        histories = [
            cofactor.kernels.sparse.SparseRows(np.array([0, 50]), h.columns[:50], h.values[:50]) for h in histories
        ]
        rec.folded_in(histories[0])
        spent = []
        for history in histories:
            begin = time.perf_counter()
            rec.folded_in(history)
            spent.append(time.perf_counter() - begin)
        found[name] = 1e3 * float(np.median(spent))
    return found


def page(folded: dict[str, list[Any]], placed: dict[str, list[Any]], cost: dict[str, float]) -> str:
    lines = [
        "# Newcomers",
        "",
        f"MovieLens-100k, {len(folded['bias'])} splits. Made by `python benchmarks/cold_start.py`.",
    ]
    lines += ["", "## Folded in on 20 ratings instead of retrained with them", ""]
    lines += [
        "| estimator | measured | retrained | folded in | worse by | with priors | worse by | ms |",
        "|-|-|-|-|-|-|-|-|",
    ]
    for name, splits in folded.items():
        mean = {way: float(np.mean([s[way] for s in splits])) for way in splits[0]}
        sign = -1 if name in OF_EVENTS else 1
        cells = [f"{mean['retrained']:.4f}"]
        for way in ("folded in", "with priors"):
            worse = sign * (mean.get(way, np.nan) / mean["retrained"] - 1)
            cells += [f"{mean[way]:.4f}", f"{worse:+.2%}"] if way in mean else ["", ""]
        measured = "NDCG@10" if name in OF_EVENTS else "RMSE"
        lines.append(f"| {REGISTRY[name].__name__} | {measured} | {' | '.join(cells)} | {cost[name]:.2f} |")
    lines += [
        "",
        "ms: one newcomer of 50 ratings, 64 factors where there are any.",
        "",
        "## New items by genres and year",
        "",
    ]
    lines += ["| estimator | measured | features | mean of all | dealt out | features - mean | features - dealt out |"]
    lines.append("|-|-|-|-|-|-|-|")
    for name, splits in placed.items():
        ways = {way: np.concatenate([s[way] for s in splits]) for way in splits[0]}
        cells = [f"{np.nanmean(own):.4f}" for own in ways.values()]
        for other in ("mean", "dealt out"):
            gain = ways["features"] - ways[other]
            of = bootstrap_interval(gain[np.isfinite(gain)])
            cells.append(f"{of.mean:+.4f} ({of.low:+.4f} to {of.high:+.4f})")
        measured = "NDCG@10" if name in OF_EVENTS else "pairs in order"
        lines.append(f"| {REGISTRY[name].__name__} | {measured} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Intervals: 95 %, paired, over users of all splits.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    table = cofactor.load("movielens-100k")
    folded: dict[str, list[Any]] = {name: [] for name in REGISTRY}
    placed: dict[str, list[Any]] = {name: [] for name in ("implicit-als", "bpr", "biased-mf", "explicit-als")}
    for seed in range(given.seeds):
        for name, splits in folded.items():
            splits.append(fold_in(name, table, seed))
            print(seed, name, splits[-1], flush=True)
        for name, splits in placed.items():
            splits.append(new_items(name, table, seed))
            print(seed, name, {way: float(np.nanmean(own)) for way, own in splits[-1].items()}, flush=True)
    PAGE.write_text(page(folded, placed, costs(table)))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
