"""Lists at the command line: excluded items, sources of items, and metrics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.evaluate import evaluate, split_random
from tests.support.command_line import json_of, rejected, run, stdout_of

FEW = "user,item,rating\n" + "".join(f"u{u},{i},5\n" for u in range(6) for i in "abcd") + "ana,a,5\nana,b,5\nana,c,1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """few.csv: ana likes a and b, dislikes c, and does not know d; many.csv: 80 users, most of whom rated few items."""
    home = tmp_path_factory.mktemp("lists")
    (home / "few.csv").write_text(FEW)
    rng = np.random.default_rng(1)
    rows = [
        f"u{u},i{i},{rng.integers(1, 6)}\n"
        for u in range(80)
        for i in rng.choice(60, rng.choice([3, 4, 15]), replace=False)
    ]
    (home / "many.csv").write_text("user,item,rating\n" + "".join(rows))
    stdout_of("fit", home / "few.csv", "-o", home / "few", "--min-rating", 4, "-m", "item-knn")
    stdout_of("fit", home / "many.csv", "-o", home / "many", "--min-rating", 4, "-m", "item-knn", "--set", "k=10")
    return home


def test_what_was_rated_low_is_not_recommended(folder: Path) -> None:
    assert [row["item"] for row in json_of("recommend", folder / "few", "--user", "ana")] == ["d"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_files_and_json_have_the_source_of_each_item(folder: Path, tmp_path: Path, ending: str) -> None:
    model = cofactor.Recommender.load(folder / "many")
    expected = model.recommend_all(12)
    assert set(expected["answered_by"]) == {"model", "popularity"}
    out = tmp_path / f"out.{ending}"
    stdout_of("recommend", folder / "many", "--all", "-n", 12, "-o", out)
    written = (
        pl.read_parquet(out) if ending == "parquet" else pl.read_csv(out, separator="\t" if ending == "tsv" else ",")
    )
    assert written["answered_by"].equals(expected["answered_by"])
    rows = json_of("recommend", folder / "many", "--all", "-n", 12)
    assert [row["answered_by"] for row in rows] == expected["answered_by"].to_list()


def test_the_table_has_the_source_of_each_item_in_80_columns(folder: Path) -> None:
    model = cofactor.Recommender.load(folder / "many")
    ranked = model.recommend_all(12)
    user = ranked.filter(pl.col("answered_by") == "popularity")["user"][0]
    lines = stdout_of("recommend", folder / "many", "--user", user, "-n", 12).splitlines()
    assert max(map(len, lines)) <= 80
    marks = [line.split()[-1] for line in lines if line.strip()[:1].isdigit()]
    assert marks == ranked.filter(pl.col("user") == user)["answered_by"].to_list()
    assert "answered" in lines[2]


@pytest.mark.parametrize("exclude", [None, "seen", "positives"])
def test_evaluate_excludes_by_the_option(folder: Path, exclude: str | None) -> None:
    options = [] if exclude is None else ["--exclude", exclude]
    document = json_of("evaluate", folder / "many.csv", "--min-rating", 4, "-m", "ease", *options)
    events = cofactor.read_ratings(folder / "many.csv").to_events(min_rating=4)
    expected = {
        name: evaluate(cofactor.EASE(), split_random(events, test=0.2), exclude=name).as_dict()["models"]
        for name in ("seen", "positives")
    }
    assert expected["seen"][0]["metrics"] != expected["positives"][0]["metrics"]
    for ours, theirs in zip(document["models"], expected[exclude or "seen"], strict=True):
        assert ours["metrics"] == theirs["metrics"]


@pytest.mark.long
def test_compare_and_tune_exclude_by_the_option(folder: Path) -> None:
    values: dict[str, list[float]] = {}
    for exclude in ("seen", "positives"):
        common = [folder / "many.csv", "--min-rating", 4, "-m", "item-knn", "--exclude", exclude]
        tuned = json_of("tune", *common, "--trials", 1)
        compared = json_of("compare", *common)
        own = next(model for model in compared["models"] if model["model"] == "item-knn")
        value = own["metrics"]["ndcg@10"]["mean"]
        values[exclude] = [tuned["validation"], tuned["test"]["mean"], value]
        assert math.isclose(tuned["test"]["mean"], value)
    assert all(seen != positives for seen, positives in zip(values["seen"], values["positives"], strict=True))


def test_served_lists_are_scored_separately_in_80_columns(folder: Path) -> None:
    common = ["evaluate", folder / "many.csv", "--min-rating", 4, "-m", "item-knn", "--set", "k=10"]
    text = stdout_of(*common, "-k", 5, "-k", 12)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("as served: popular items fill the positions without model evidence") == 2
    metrics = json_of(*common)["models"][0]["metrics"]
    assert metrics["served_ndcg@10"] != metrics["ndcg@10"]
    ratings = stdout_of("evaluate", folder / "many.csv", "-m", "bias")
    assert "as served" not in ratings


@pytest.mark.parametrize("command", ["evaluate", "compare", "tune"])
def test_exclude_applies_to_rankings(command: str) -> None:
    assert "--exclude applies only to rankings" in rejected(command, "no-such.csv", "-m", "bias", "--exclude", "seen")
    message = rejected(command, "no-such.csv", "--min-rating", 4, "-m", "ease", "--exclude", "all")
    assert message == "error: --exclude must be seen or positives, not 'all'\n"


def test_filters_of_lists(folder: Path, tmp_path: Path) -> None:
    films = "item,title,year\na,Alien,1979\nb,Brazil,1985\nc,Clue,1985\nd,Dune,\n"
    (tmp_path / "films.csv").write_text(films)
    stdout_of("fit", folder / "few.csv", "-o", tmp_path / "few", "-m", "bias", "--items", tmp_path / "films.csv")
    common = ["recommend", tmp_path / "few", "--user", "u1", "--include-seen"]
    rows = json_of(*common, "--where", "year between 1980 and 1989", "--min-support", 7)
    assert sorted((row["item"], row["support"]) for row in rows) == [("b", 7), ("c", 7)]
    rows = json_of(*common, "--where", "year is missing", "--exclude", "a", "--exclude", "jaws")
    assert [row["item"] for row in rows] == ["d"]
    unknown = run(*common, "--exclude", "a", "--exclude", "jaws")
    assert "note: 1 of the 2 items to exclude are not known to the model" in unknown.stderr
    assert "no items are left" in stdout_of(*common, "--min-support", 8)
    assert rejected(*common, "--where", "yeaar > 1985") == (
        "error: the where expression, character 1: unknown column 'yeaar' (did you mean 'year'?); the columns are "
        "title, year\n"
    )
    assert rejected(*common, "--min-support", "few") == "error: --min-support must be an integer >= 0, not 'few'\n"
    assert "the items have no metadata" in rejected("recommend", folder / "few", "--all", "--where", "year > 1985")
