"""Fold-in compared with training: the same user, fitted with the model or folded into it from the same rows.

    COFACTOR_DATA=folder python -m benchmarks.fold_in                      all data sets and estimators
    COFACTOR_DATA=folder python -m benchmarks.fold_in flixster citeulike --estimators biased-mf bpr
    python -m benchmarks.fold_in --page                                    writes benchmarks/fold_in.md

At most 500 users with at least 21 rows are drawn. The model is fitted with 20 rows of each of them, drawn at random,
and all rows of the other users; the remaining rows are the test part. The test part is scored with the trained users,
and with the same users folded into the same model from their 20 rows: RMSE for ratings, NDCG@10 for events. Tables of
ratings are also used as events, each rating one event. The difference has a paired 95 % interval over users. A result
holds if fold-in is worse by at most 1 % of the metric of the trained users, or if the interval includes 0.

All estimators have their default settings. Times are removed, because a history that is folded in has none. Results are
appended to benchmarks/fold_in.jsonl; the latest result of a data set, an estimator and a seed counts.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_sets import DATA_SETS
from cofactor import Interactions, Recommender, Split
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import Estimator, estimators_of_kind
from cofactor.evaluate.evaluation import primary_values
from cofactor.metrics.registry import primary_metric

RESULTS, PAGE = (Path(__file__).parent / f"fold_in.{suffix}" for suffix in ("jsonl", "md"))
RATING_SETS, EVENT_SETS = ("ml-100k", "flixster", "filmtrust", "movietweetings"), ("citeulike", "lastfm")
MAX_USERS, HISTORY_LENGTH, TOLERANCE = 500, 20, 0.01


def whole_table(name: str) -> Interactions:
    """Return all rows of a data set, without times."""
    split = DATA_SETS[name]()
    train, test = split.train, split.test
    columns = [np.concatenate([getattr(train, part), getattr(test, part)]) for part in ("u", "i", "values")]
    u, i, values = columns
    amounts = None if train.kind == "events" and (values == 1).all() else values
    return Interactions.from_columns(train.users.ids(u), train.items.ids(i), amounts, kind=train.kind)


def tables(name: str) -> list[Interactions]:
    """Return the tables of a data set: its ratings and the same rows as events, or its events."""
    table = whole_table(name)
    return [table] if table.kind == "events" else [table, as_events(table)]


def as_events(table: Interactions) -> Interactions:
    """Return a table of ratings as events: one for each rating, whatever its value."""
    return Interactions.from_columns(table.users.ids(table.u), table.items.ids(table.i), kind="events")


def split_of(table: Interactions, seed: int) -> Split:
    """Keep 20 rows of each of the drawn users for training; the remaining rows of these users are the test part."""
    rng = np.random.default_rng(seed)
    eligible = np.flatnonzero(table.by_user.counts > HISTORY_LENGTH)
    drawn = rng.choice(eligible, min(MAX_USERS, len(eligible)), replace=False)
    order = np.lexsort((rng.random(len(table)), table.u))
    place = np.empty(len(table), np.int64)
    place[order] = np.arange(len(table)) - table.by_user.start[table.u[order]]
    is_test = np.isin(table.u, drawn) & (place >= HISTORY_LENGTH)
    return Split(table.select(~is_test), table.select(is_test), f"20 rows of {len(drawn)} users")


def compare(estimator: Estimator, split: Split) -> dict[str, Any]:
    """Return the metric of the trained users and of the same users folded in, with the paired difference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = Recommender.fit(estimator, split.train, seed=0)
    is_drawn = split.test.by_user.counts > 0
    folded = trained.with_users(trained.users, trained.histories, is_drawn)
    values = [primary_values(recommender, split) for recommender in (trained, folded)]
    difference = values[1].difference(values[0])
    metric = primary_metric(split.train.kind, 10)
    trained_value, folded_value = (each.aggregate() for each in values)
    sign = -1 if metric.greater_is_better else 1
    worse_by = sign * difference.mean / trained_value
    excludes_zero = difference.low * difference.high > 0
    return {
        "kind": split.train.kind,
        "users": int(is_drawn.sum()),
        "trained": trained_value,
        "folded": folded_value,
        "worse_by": worse_by,
        "low": difference.low,
        "high": difference.high,
        "holds": bool(worse_by <= TOLERANCE or not excludes_zero),
    }


def records() -> list[dict[str, Any]]:
    """Return the latest result of each data set, estimator and seed."""
    latest = {}
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        latest[record["data"], record["kind"], record["estimator"], record["seed"]] = record
    return list(latest.values())


def page() -> str:
    """Return a table for each kind: one row per estimator, one column per data set."""
    lines = [
        "# Fold-in compared with training",
        "",
        "Made by `python -m benchmarks.fold_in`; the script describes the method. By how many percent the metric of",
        "users with 20 rows is worse if they are folded into the model instead of trained, one value per split.",
        "Where it is worse by more than 1 % and the paired 95 % interval excludes 0, the value is bold.",
    ]
    for kind, metric in (("ratings", "RMSE"), ("events", "NDCG@10")):
        rows = sorted((r for r in records() if r["kind"] == kind), key=lambda r: r["seed"])
        names = list(dict.fromkeys(name for name in (*RATING_SETS, *EVENT_SETS) if name in {r["data"] for r in rows}))
        lines += ["", f"## {metric}, {kind}", "", f"| estimator | {' | '.join(names)} |", "|-" * (len(names) + 1) + "|"]
        for estimator in sorted({r["estimator"] for r in rows}):
            cells = []
            for name in names:
                own = [r for r in rows if (r["estimator"], r["data"]) == (estimator, name)]
                values = [f"{100 * r['worse_by'] + 0.0:+.2f}" for r in own]
                cells.append(", ".join(v if r["holds"] else f"**{v}**" for v, r in zip(values, own, strict=True)))
            lines.append(f"| {REGISTRY[estimator].__name__} | {' | '.join(cells)} |")
    n_failed = sum(not r["holds"] for r in records())
    lines += [
        "",
        f"{n_failed} of {len(records())} results are worse by more than 1 % with an interval that excludes 0.",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*RATING_SETS, *EVENT_SETS])
    parser.add_argument("--estimators", nargs="*", default=list(REGISTRY))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    if arguments.page:
        PAGE.write_text(page(), encoding="utf-8")
        return
    for seed in arguments.seeds:
        for name in arguments.names:
            for table in tables(name):
                split = split_of(table, seed)
                for type_ in estimators_of_kind(table.kind):
                    if type_.name not in arguments.estimators:
                        continue
                    record = {"data": name, "estimator": type_.name, "seed": seed, **compare(type_(), split)}
                    print(json.dumps(record), flush=True)
                    with RESULTS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
