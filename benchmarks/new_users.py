"""New users on six public data sets: fold-in with priors, without priors, and the baseline, by the number of rows.

    COFACTOR_DATA=folder python -m benchmarks.new_users main        the 36 cells of the main table
    COFACTOR_DATA=folder python -m benchmarks.new_users other       the second table
    COFACTOR_DATA=folder python -m benchmarks.new_users main --data Last.fm citeulike
    python -m benchmarks.new_users page

Results are appended to benchmarks/new_users.jsonl; `page` writes benchmarks/new_users.md from the latest of each cell.

The users are divided into five parts. Each part is held out in turn, the estimator is fitted with its defaults to the
other users, and the held-out users are folded in from their first 0, 1, 2, 3, 5 or 10 rows in random order. They are
scored on the rows after the first min(10, half of the rows), which are the same for all lengths: RMSE for ratings, and
NDCG@10 of lists without these first rows for events. A user counts for a length if they have that many first rows.

"none" is the fold-in with the penalty of training, "prior" is `Recommender.with_priors` (for ratings also the default),
and the baseline is `Bias` or `Popularity`, folded in from the same rows. Differences are tested by a paired sign-flip
test over users; the p-values of each comparison are corrected by Holm's procedure over the cells of the main table.

The main table has one model for each data set: `BiasedMF` for ratings and `ImplicitALS` for events. The second table
has other models and the liked ratings of the same data sets as events, corrected over its own cells.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import cofactor
from benchmarks.data_sets import movietweetings, rows_of
from cofactor import Interactions, Recommender
from cofactor.data.interactions import relevant_rows
from cofactor.estimators import REGISTRY
from cofactor.metrics.base import UserValues
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.rating import RatingMetric, errors_by_user
from cofactor.metrics.registry import primary_metric
from cofactor.metrics.significance import holm, sign_flip
from cofactor.models.prior import Priors
from cofactor.models.user_batch import UserBatch

PAGE = Path(__file__).parent / "new_users.md"
RESULTS = PAGE.with_suffix(".jsonl")
LENGTHS = (0, 1, 2, 3, 5, 10)
N_PARTS = 5
METHODS = ("baseline", "none", "prior")
LEVEL = 0.05


def ml_100k() -> Interactions:
    """Return the ratings of MovieLens-100k without times."""
    return replace(cofactor.datasets.load_movielens("100k"), times=None)


def movie_tweetings() -> Interactions:
    """Return the ratings of MovieTweetings without times."""
    return replace(movietweetings("ratings"), times=None)


def flixster() -> Interactions:
    """Return the ratings of both parts of the published split."""
    rows = pl.concat([rows_of(f"flixster/{part}.tsv.gz", separator="\t") for part in ("train", "test")])
    return Interactions.from_columns(rows["user"], rows["item"], rows["rating"])


def filmtrust() -> Interactions:
    """Return the ratings of FilmTrust."""
    names = ["user", "item", "rating"]
    rows = rows_of("filmtrust/ratings.txt.gz", separator=" ", has_header=False, new_columns=names)
    return Interactions.from_columns(rows["user"], rows["item"], rows["rating"])


def citeulike() -> Interactions:
    """Return the events of all parts of the published split."""
    rows = pl.concat([rows_of(f"citeulike/{part}.tsv.gz", separator="\t") for part in ("train", "valid", "test")])
    return Interactions.from_columns(rows["user"], rows["item"], kind="events")


def lastfm() -> Interactions:
    """Return the play counts of artists."""
    rows = rows_of("lastfm/user_artists.tsv.gz", separator="\t")
    return Interactions.from_columns(rows["userID"], rows["artistID"], rows["weight"], kind="events")


@dataclass(frozen=True)
class Case:
    """A data set and the estimator that it is used with; ratings become events if `min_rating` is given."""

    data: str
    load: Callable[[], Interactions]
    estimator: str
    min_rating: float | None = None

    def table(self) -> Interactions:
        """Return the ratings or events."""
        table = self.load()
        return table if self.min_rating is None else table.to_events(min_rating=self.min_rating)


CASES = {
    "main": [
        Case("MovieLens-100k", ml_100k, "biased-mf"),
        Case("Flixster", flixster, "biased-mf"),
        Case("FilmTrust", filmtrust, "biased-mf"),
        Case("MovieTweetings", movie_tweetings, "biased-mf"),
        Case("citeulike", citeulike, "implicit-als"),
        Case("Last.fm", lastfm, "implicit-als"),
    ],
    "other": [
        Case("MovieLens-100k", ml_100k, "explicit-als"),
        Case("Flixster", flixster, "explicit-als"),
        Case("FilmTrust", filmtrust, "explicit-als"),
        Case("MovieTweetings", movie_tweetings, "explicit-als"),
        Case("MovieLens-100k, ratings of at least 4", ml_100k, "implicit-als", 4),
        Case("Flixster, ratings of at least 4", flixster, "implicit-als", 4),
        Case("FilmTrust, ratings of at least 3", filmtrust, "implicit-als", 3),
        Case("MovieTweetings, ratings of at least 8", movie_tweetings, "implicit-als", 8),
    ],
}


class Part:
    """A part of the users, who are held out: their first rows, and the rows on which they are scored."""

    def __init__(self, table: Interactions, part: int) -> None:
        stream = np.random.default_rng(0)
        part_of_user = stream.integers(N_PARTS, size=table.n_users)
        order = np.lexsort((stream.random(len(table)), table.u))
        self.position = np.empty(len(table), np.int64)
        self.position[order] = np.arange(len(table)) - table.by_user.start[table.u[order]]
        counts = table.by_user.counts
        self.users = np.flatnonzero((part_of_user == part) & (counts >= 2)).astype(np.int32)
        first = np.minimum(counts // 2, LENGTHS[-1])
        self.n_first, self.table = first[self.users], table
        is_own = np.isin(table.u, self.users)
        self.is_first = is_own & (self.position < first[table.u])
        self.test = table.select(is_own & ~self.is_first)
        self.train = table.select(part_of_user[table.u] != part)

    def history(self, length: int) -> Any:
        """Return the first rows of each user."""
        return self.table.select(self.is_first & (self.position < length)).by_user.take(self.users)

    def values(self, recommender: Recommender, length: int) -> UserValues:
        """Return the metric of each user who counts for this length."""
        history, metric = self.history(length), primary_metric(self.table.kind, 10)
        model: Any = recommender.folded_in(history)
        if isinstance(metric, RatingMetric):
            u = np.searchsorted(self.users, self.test.u).astype(np.int32)
            predictions = model.predict(UserBatch.trained(u, history), self.test.i)
            values = metric.per_user(errors_by_user(u, self.test.values, predictions, n_users=len(self.users)))
        else:
            lists = ModelLists.of(
                model,
                UserBatch.folded(history),
                [10],
                exclude=self.history(LENGTHS[-1]),
                relevant=relevant_rows(self.test).by_user.take(self.users),
                support=recommender.support,
            )
            values = metric.per_user(lists.served_hits)
        return values.take(np.flatnonzero(self.n_first >= length).astype(np.int32))


def run(case: Case) -> None:
    """Measure a case, and append one cell for each length to the results."""
    table = case.table()
    results: dict[tuple[int, str], list[UserValues]] = {}
    for number in range(N_PARTS):
        part = Part(table, number)
        plain = Recommender.fit(REGISTRY[case.estimator](), part.train, seed=0)
        baseline = REGISTRY["bias" if table.kind == "ratings" else "popularity"]()
        recommenders = {
            "baseline": Recommender.fit(baseline, part.train),
            "none": plain,
            "prior": plain.with_priors(),
        }
        for name, recommender in recommenders.items():
            used = recommender if name == "prior" else replace(recommender, priors=Priors())
            for length in LENGTHS:
                results.setdefault((length, name), []).append(part.values(used, length))
    for length in LENGTHS:
        values = {name: _joined(results[length, name]) for name in METHODS}
        sign = 1 if table.kind == "events" else -1
        cell: dict[str, Any] = {
            "data": case.data,
            "estimator": case.estimator,
            "length": length,
            "users": int((values["prior"].counts > 0).sum()),
        }
        cell |= {name: values[name].aggregate() for name in METHODS}
        for other in ("none", "baseline"):
            gain = sign * np.where(values["prior"].counts > 0, values["prior"].sums - values[other].sums, np.nan)
            cell[f"gain over {other}"] = float(np.nansum(gain))
            cell[f"p {other}"] = sign_flip(gain, seed=0)
        line = json.dumps(cell)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def _joined(parts: list[UserValues]) -> UserValues:
    """Return the values of the users of all parts."""
    sums, counts = (np.concatenate([getattr(part, name) for part in parts]) for name in ("sums", "counts"))
    return UserValues(sums, counts, parts[0].aggregation)


def section(title: str, cells: list[dict[str, Any]]) -> list[str]:
    """Return a table with a line for each cell, and the counts of reliable differences."""
    for other in ("none", "baseline"):
        for cell, p in zip(cells, holm([cell[f"p {other}"] for cell in cells]), strict=True):
            cell[f"versus {other}"] = "" if p > LEVEL else "better" if cell[f"gain over {other}"] > 0 else "worse"
            cell[f"holm {other}"] = p
    counts = {
        (other, result): sum(cell[f"versus {other}"] == result for cell in cells)
        for other in ("none", "baseline")
        for result in ("better", "worse")
    }
    lines = [f"## {title}", ""]
    better, worse = ([counts[other, result] for other in ("none", "baseline")] for result in ("better", "worse"))
    lines += [
        f"Cells: {len(cells)}. With the prior reliably better than without: {better[0]}; reliably worse: {worse[0]}.",
        f"With the prior reliably better than the baseline: {better[1]}; reliably worse: {worse[1]}.",
    ]
    lines += [
        "",
        "| data | estimator | metric | rows | users | baseline | none | prior | versus none | versus baseline |",
    ]
    lines.append("|-" * 10 + "|")
    for cell in cells:
        metric = "NDCG@10" if cell["estimator"] == "implicit-als" else "RMSE"
        numbers = " | ".join(f"{cell[name]:.4f}" for name in METHODS)
        results = " | ".join(
            f"{cell[f'versus {other}']} (p = {cell[f'holm {other}']:.3f})".strip() for other in ("none", "baseline")
        )
        name = REGISTRY[cell["estimator"]].__name__
        lines.append(
            f"| {cell['data']} | {name} | {metric} | {cell['length']} | {cell['users']:,} | {numbers} | {results} |"
        )
    return [*lines, ""]


def cells_of(cases: list[Case]) -> list[dict[str, Any]]:
    """Return the latest result of each cell of a table; cells that were not measured are left out."""
    records = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    latest = {(cell["data"], cell["estimator"], cell["length"]): cell for cell in records}
    keys = [(case.data, case.estimator, length) for case in cases for length in LENGTHS]
    return [latest[key] for key in keys if key in latest]


def write_page() -> None:
    """Write the tables from the results."""
    lines = [
        "# New users",
        "",
        "Made by `python -m benchmarks.new_users`. RMSE: lower is better; NDCG@10: higher is better.",
        "p-values are corrected by Holm's procedure over the cells of each table and comparison.",
        "",
    ]
    titles = {"main": "One model for each data set", "other": "Other models, and liked ratings as events"}
    for name, title in titles.items():
        if cells := cells_of(CASES[name]):
            lines += section(title, cells)
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*CASES, "page"])
    parser.add_argument("--data", nargs="+", metavar="NAME", help="data sets whose name starts with this")
    options = parser.parse_args()
    if options.command == "page":
        write_page()
        return
    for case in CASES[options.command]:
        if options.data is None or case.data.startswith(tuple(options.data)):
            run(case)


if __name__ == "__main__":
    main()
