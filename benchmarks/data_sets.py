"""Estimators on several public data sets: the defaults, the best of some random trials, and automatic selection.

    COFACTOR_DATA=folder python -m benchmarks.data_sets trials NAME... [--estimators NAME...] [--trials 20]
    COFACTOR_DATA=folder python -m benchmarks.data_sets auto NAME...
    python -m benchmarks.data_sets page

`trials` fits each estimator with its defaults and with random hyperparameters from its search ranges, except the number
of factors, to the inner part of the training rows, and scores it on the rows that are held out from them. The defaults
and the best trial are then fitted to all training rows and scored on the test part. `auto` runs `cofactor.fit` on the
training rows with a budget of 60 s, or 600 s for Yelp2018. All results are appended to `benchmarks/data_sets.jsonl`;
`page` writes `benchmarks/data_sets.md` and the table of docs/which.md from them.

The data sets are not part of this repository. The folder that COFACTOR_DATA names contains a folder for each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from benchmarks.accuracy import split_i0, split_s0
from cofactor.arrays import random_stream
from cofactor.data.held_out import hold_out
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import CofactorError
from cofactor.estimators.base import Estimator, estimators_of_kind
from cofactor.evaluate import split_per_user
from cofactor.evaluate.evaluation import primary_values
from cofactor.evaluate.search_space import search_space
from cofactor.evaluate.split import Split
from cofactor.metrics.base import UserValues
from cofactor.metrics.registry import primary_metric

RESULTS = Path(__file__).parent / "data_sets.jsonl"
OWN_PAGE = Path(__file__).parent / "data_sets.md"
PAGE = Path(__file__).parent.parent / "docs" / "which.md"
MARKED = re.compile(r"(<!-- data sets -->\n).*(<!-- end of data sets -->)", re.DOTALL)
WIDTH = ("factors", "user_dim", "item_dim", "hidden")
"""Hyperparameters that are not changed: each value needs its own kernels."""


def rows_of(name: str, **options: Any) -> pl.DataFrame:
    """Read a file below the data folder."""
    return pl.read_csv(Path(os.environ["COFACTOR_DATA"]) / name, **options)


def split_of_files(name: str, training: list[str], test: str) -> Split:
    """Return a published split of tab-separated files of pairs of users and items."""
    train = pl.concat([rows_of(f"{name}/{part}.tsv.gz", separator="\t") for part in training])
    held_out = rows_of(f"{name}/{test}.tsv.gz", separator="\t")
    both = pl.concat([train, held_out])
    ratings = both["rating"] if "rating" in both.columns else None
    kind: Kind = "events" if ratings is None else "ratings"
    table = Interactions.from_columns(both["user"], both["item"], ratings, kind=kind)
    u, i = (
        map_.rows(held_out[column]).astype(np.int64) for map_, column in ((table.users, "user"), (table.items, "item"))
    )
    is_test = np.isin(table.u.astype(np.int64) * table.n_items + table.i, u * table.n_items + i)
    return Split(table.select(~is_test), table.select(is_test), f"{name}, published split")


def lastfm() -> Split:
    """Return play counts of artists; a fifth of each user's artists is the test part."""
    rows = rows_of("lastfm/user_artists.tsv.gz", separator="\t")
    events = Interactions.from_columns(rows["userID"], rows["artistID"], rows["weight"], kind="events")
    return split_per_user(events, seed=0)


def without_times(split: Split) -> Split:
    """Remove the times of a random split, so that its rows are held out at random for validation, too."""
    train, test = (replace(part, times=None) for part in (split.train, split.test))
    return replace(split, train=train, test=test)


def movietweetings(kind: Kind) -> Interactions:
    """Return ratings, or the pairs of users and films as events, with their times."""
    path = Path(os.environ["COFACTOR_DATA"]) / "movietweetings/ratings.dat"
    fields = [line.split("::") for line in path.read_text(encoding="utf-8").splitlines()]
    users, items, ratings, times = zip(*fields, strict=True)
    values = None if kind == "events" else [float(rating) for rating in ratings]
    return Interactions.from_columns(users, items, values, times=[int(each) for each in times], kind=kind)


def movietweetings_by_time() -> Split:
    """Return the events before a time and after it, of users with a training event."""
    split = cofactor.split_by_time(movietweetings("events"))
    is_known = split.train.by_user.counts[split.test.u] > 0
    return replace(split, test=split.test.select(is_known))


def beauty() -> Split:
    """Return sequences of products; the last event of each user is the test part."""
    path = "amazon-beauty-sequences/sequences.txt.gz"
    lines = rows_of(path, separator="\n", has_header=False, new_columns=["line"])["line"].to_list()
    rows = [(line.split()[0], item, n) for line in lines for n, item in enumerate(line.split()[1:])]
    users, items, times = zip(*rows, strict=True)
    return cofactor.split_last(Interactions.from_columns(users, items, times=times, kind="events"))


def jester() -> Split:
    """Return ratings of jokes."""
    rows = rows_of("jester5k/ratings.tsv.gz", separator="\t")
    return cofactor.split_random(Interactions.from_columns(rows["user"], rows["item"], rows["rating"]), seed=0)


def filmtrust() -> Split:
    """Return ratings of films."""
    names = ["user", "item", "rating"]
    rows = rows_of("filmtrust/ratings.txt.gz", separator=" ", has_header=False, new_columns=names)
    return cofactor.split_random(Interactions.from_columns(rows["user"], rows["item"], rows["rating"]), seed=0)


DATA_SETS: dict[str, Callable[[], Split]] = {
    "ml-100k-liked": lambda: without_times(split_i0(0)),
    "lastfm": lastfm,
    "movietweetings-events": lambda: without_times(split_per_user(movietweetings("events"), seed=0)),
    "movietweetings-by-time": movietweetings_by_time,
    "citeulike": lambda: split_of_files("citeulike", ["train", "valid"], "test"),
    "beauty": beauty,
    "yelp2018": lambda: split_of_files("yelp2018", ["train"], "test"),
    "ml-100k": lambda: without_times(split_s0()),
    "jester5k": jester,
    "flixster": lambda: split_of_files("flixster", ["train"], "test"),
    "filmtrust": filmtrust,
    "movietweetings": lambda: without_times(split_per_user(movietweetings("ratings"), seed=0)),
}
BUDGET = {"yelp2018": 600.0}
"""Budget of automatic selection in seconds, where it is not 60."""


def append(**record: Any) -> None:
    """Append a result to the file, and print it."""
    line = json.dumps(record)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def scored(estimator: Estimator, split: Split) -> tuple[UserValues | None, float, float]:
    """Return per-user values (None if the fit fails), and the wall and CPU seconds of the fit and the evaluation."""
    wall, cpu = time.perf_counter(), time.process_time()
    values: UserValues | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = primary_values(cofactor.Recommender.fit(estimator, split.train, seed=0), split)
    except CofactorError as error:
        print(f"{estimator.name}: {error}", flush=True)
    return values, time.perf_counter() - wall, time.process_time() - cpu


def settings_of(default: Estimator, kind: Kind, n_trials: int) -> Iterator[dict[str, Any]]:
    """Yield the empty settings of the defaults, then random settings from the search ranges."""
    yield {}
    try:
        space = search_space(default, kind=kind)
    except CofactorError:
        return
    for n in range(n_trials):
        stream, settings = random_stream(0, "trials", default.name, n), {}
        for name, bounds in space.items():
            low, high = (np.log(b) if bounds.log else b for b in (bounds.low, bounds.high))
            draw = stream.uniform(low, high)
            value = float(np.exp(draw)) if bounds.log else draw
            if name not in WIDTH:
                settings[name] = round(value) if bounds.is_integer else value
        if settings:
            yield settings


def run_trials(name: str, estimators: list[str], n_trials: int) -> None:
    """Run the trials of a data set; the best ones are chosen on the inner split, and scored on the test part."""
    split = DATA_SETS[name]()
    inner = Split(*hold_out(split.train, share=0.2, seed=0), "a fifth of each user's rows")
    kind, metric = split.train.kind, primary_metric(split.train.kind, 10)
    size = {"rows": len(split.train), "users": split.train.n_users, "items": split.train.n_items}
    append(part="table", data=name, kind=kind, **size)
    for type_ in estimators_of_kind(kind):
        if type_.name not in estimators:
            continue
        results: list[tuple[float, dict[str, Any]]] = []
        for settings in settings_of(type_(), kind, n_trials):
            values, wall, cpu = scored(type_(**settings), inner)
            value = None if values is None else values.aggregate()
            append(part="inner", data=name, estimator=type_.name, settings=settings, value=value, wall=wall, cpu=cpu)
            if value is not None:
                results.append((metric.sort_key(value), settings))
        best = min(results, key=lambda pair: pair[0])[1] if results else {}
        for label, settings in (("default", {}), ("best", best)):
            values, wall, cpu = scored(type_(**settings), split)
            value = None if values is None else values.aggregate()
            append(part=label, data=name, estimator=type_.name, settings=settings, value=value, wall=wall, cpu=cpu)


def run_auto(name: str) -> None:
    """Run automatic selection on the training rows of a data set, and score it on the test part."""
    split, budget = DATA_SETS[name](), BUDGET.get(name, 60.0)
    goal = "predict" if split.train.kind == "ratings" else "recommend"
    start = time.perf_counter()
    recommender = cofactor.fit(split.train, goal=goal, budget=budget, on_trial=lambda trial: print(trial, flush=True))
    wall = time.perf_counter() - start
    values = primary_values(recommender, split)
    chosen = [trial.estimator for trial in recommender.trials if trial.chosen]
    tried = sum(trial.value is not None for trial in recommender.trials)
    append(part="auto", data=name, estimator=chosen[0], value=values.aggregate(), wall=wall, budget=budget, tried=tried)
    best = best_default(name)
    if best is not None:
        default, _, _ = scored(best, split)
        assert default is not None
        gain = values.difference(default, seed=0)
        append(part="gain", data=name, estimator=best.name, mean=gain.mean, low=gain.low, high=gain.high)


def records() -> list[dict[str, Any]]:
    """Return all results; a later result replaces an earlier one of the same trial."""
    latest: dict[str, dict[str, Any]] = {}
    if RESULTS.exists():
        for line in RESULTS.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            is_single = record["part"] in ("auto", "gain", "table")
            key = [record["part"], record["data"], None if is_single else record["estimator"], record.get("settings")]
            if record["part"] == "best":
                key[3] = None
            latest[json.dumps(key)] = record
    return list(latest.values())


def table_of(kind: Kind) -> list[str]:
    """Return a table with one row per data set and one column per estimator: the defaults and the best trial."""
    results = records()
    described = {r["data"]: r for r in results if r["part"] == "table" and r["kind"] == kind}
    names = [name for name in DATA_SETS if name in described]
    cells = {(r["data"], r["estimator"], r["part"]): r["value"] for r in results if r["part"] in ("default", "best")}
    estimators = [
        type_ for type_ in estimators_of_kind(kind) if any((name, type_.name, "default") in cells for name in names)
    ]
    sign = -1 if primary_metric(kind, 10).greater_is_better else 1
    lines = [f"| data set | {' | '.join(type_.__name__ for type_ in estimators)} | `cofactor.fit` |"]
    lines.append("|-" * (len(estimators) + 2) + "|")
    for name in names:
        size = described[name]
        label = f"{name}: {size['rows']:,} {kind}, {size['users']:,} x {size['items']:,}"
        values = [[cells.get((name, type_.name, part)) for part in ("default", "best")] for type_ in estimators]
        measured = [value for pair in values for value in pair if value is not None]
        best = min(measured, key=lambda value: sign * value)
        row = [" / ".join(_cell(value, best) for value in pair) for pair in values]
        auto = next((r for r in results if r["part"] == "auto" and r["data"] == name), None)
        row.append("" if auto is None else f"{_digits(auto['value'])} ({auto['estimator']})")
        lines.append(f"| {label} | {' | '.join(row)} |")
    return lines


def _cell(value: float | None, best: float) -> str:
    """Return a value, in bold if it is the best of its row."""
    if value is None:
        return "-"
    return f"**{_digits(value)}**" if value == best else _digits(value)


def _digits(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def write_page() -> None:
    """Write the tables to the page of the benchmark and to docs/which.md."""
    text = ""
    for kind, title in (("events", "Events: NDCG@10, higher is better"), ("ratings", "Ratings: RMSE, lower is better")):
        text += "\n".join([f"{title}. Each cell: defaults / best of the trials.", "", *table_of(kind), "", ""])
    OWN_PAGE.write_text(
        "# Estimators on several data sets\n\nMade by `python -m benchmarks.data_sets`.\n\n" + text.strip() + "\n"
    )
    page = PAGE.read_text(encoding="utf-8")
    assert MARKED.search(page), f"{PAGE} has no markers"
    PAGE.write_text(MARKED.sub(lambda match: f"{match[1]}\n{text}{match[2]}", page), encoding="utf-8")


def best_default(name: str) -> Estimator | None:
    """Return the estimator whose defaults are best on the test part of a data set, if it is known."""
    defaults = [r for r in records() if r["data"] == name and r["part"] == "default" and r["value"] is not None]
    if not defaults:
        return None
    metric = primary_metric(DATA_SETS[name]().train.kind, 10)
    name_of_best = min(defaults, key=lambda r: metric.sort_key(r["value"]))["estimator"]
    return Estimator.from_dict(name_of_best)


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["trials", "auto", "page"])
    parser.add_argument("data", nargs="*", metavar="NAME", help=", ".join(DATA_SETS))
    parser.add_argument("--estimators", nargs="+", default=[])
    parser.add_argument("--trials", type=int, default=20)
    options = parser.parse_args()
    if options.command == "page":
        write_page()
    for name in options.data:
        if options.command == "trials":
            run_trials(name, options.estimators, options.trials)
        else:
            run_auto(name)


if __name__ == "__main__":
    main()
