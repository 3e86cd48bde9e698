"""`cofactor compare`, `cofactor tune` and the order of `cofactor recommend`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cofactor.estimators import REGISTRY, ImplicitALS
from tests.support.command_line import json_of, ok, rejected

QUICK = ("--set", "factors=4", "--set", "epochs=5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ratings.csv (two groups: even users like even films) and clicks.csv (the liked films)."""
    home = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    ratings, clicks = ["userId,movieId,rating,timestamp"], ["visitor,sku"]
    for user in range(240):
        for film in rng.choice(np.arange(1, 40), 20, replace=False):
            same = (user + film) % 2 == 0
            star = int(np.clip(round(rng.normal(4.2 if same else 2.0, 0.6)), 1, 5))
            ratings.append(f"{user},f{film:02},{star},{1_000_000 + 60 * len(ratings)}")
            clicks += [f"u{user},f{film:02}"] if same else []
    (home / "ratings.csv").write_text("\n".join(ratings) + "\n")
    (home / "clicks.csv").write_text("\n".join(clicks) + "\n")
    return home


# compare


def test_ratings_are_compared_in_80_columns(folder: Path) -> None:
    arguments = ("compare", folder / "ratings.csv", "-m", "biased-mf", "-m", "explicit-als", *QUICK)
    assert "No tuned baseline is included: --tuned-baseline adds one" in ok(*arguments).stdout
    output = ok(*arguments, "--tuned-baseline").stdout
    assert "--tuned-baseline" not in output
    assert max(map(len, output.splitlines())) <= 80
    assert "RMSE" in output
    assert "NDCG" not in output
    assert re.search(r"best\s*$", output, re.MULTILINE)
    assert re.search(r"^ ?bias .*(worse \(p|within noise)", output, re.MULTILINE)
    assert "tuned on part of the training rows" in " ".join(output.split())
    assert "corrected for the number of models and the choice of the best" in " ".join(output.split())


def test_json_is_the_comparison(folder: Path) -> None:
    document = json_of(
        "compare", folder / "ratings.csv", "-m", "explicit-als", *QUICK, "--task", "rating", "--tuned-baseline"
    )
    assert (document["task"], document["metric"], document["failed"]) == ("rating", "rmse", [])
    assert document["train"] + document["test"] == 4800
    models = document["models"]
    assert [entry["metrics"]["rmse"]["mean"] for entry in models] == sorted(
        m["metrics"]["rmse"]["mean"] for m in models
    )
    assert models[0]["versus_best"] == "best"
    assert {"requested", "baseline", "tuned baseline"} == {entry["role"] for entry in models}
    mine = next(entry for entry in models if entry["model"] == "explicit-als")
    assert mine["estimator"]["factors"] == 4


@pytest.mark.long
def test_without_models_all_of_the_kind_are_compared(folder: Path) -> None:
    document = json_of(
        "compare", folder / "clicks.csv", "--events", "--split", "per-user", "--k", 5, "--set", "bpr.epochs=2",
        "--set", "implicit-als.epochs=2",
    )  # fmt: skip
    expected = {name for name, estimator in REGISTRY.items() if estimator.kind in ("any", "events")}
    labels = {entry["model"] for entry in document["models"]} | {entry["model"] for entry in document["failed"]}
    assert expected <= labels
    assert document["metric"] == "ndcg@5"
    assert labels - expected <= {"implicit-als (tuned)"}


def test_rankings_are_shown_by_ndcg(folder: Path) -> None:
    output = ok(
        "compare", folder / "ratings.csv", "--min-rating", 4, "-m", "popularity", "--split", "per-user",
        "--tuned-baseline",
    ).stdout  # fmt: skip
    assert "NDCG@10" in output
    assert "implicit-als (tuned)" in output
    assert max(map(len, output.splitlines()[1:])) <= 80  # the description of the split is not wrapped


def test_a_failed_fit_is_reported_on_stderr(folder: Path) -> None:
    result = ok(
        "compare", folder / "ratings.csv", "-m", "biased-mf", "-m", "explicit-als",
        "--set", "biased-mf.learning_rate=9", "--set", "biased-mf.rating_range=none", "--set", "explicit-als.factors=4",
    )  # fmt: skip
    assert "note: biased-mf is omitted: the fit diverged" in result.stderr
    assert "biased-mf" not in result.stdout


def test_incompatible_tasks_splits_and_models_are_rejected_before_reading() -> None:
    assert "the ranking task requires events" in rejected("compare", "no-such.csv", "-m", "bias", "--task", "ranking")
    assert "--task must be rating or ranking" in rejected("compare", "no-such.csv", "-m", "bias", "--task", "both")
    assert "the table contains events" in rejected(
        "compare", "no.csv", "-m", "popularity", "--events", "--task", "rating"
    )
    assert "--split must be random or per-user or" in rejected("compare", "no-such.csv", "-m", "bias", "--split", "odd")
    assert "implicit-als needs events" in rejected("compare", "no-such.csv", "-m", "implicit-als")
    assert "unknown model 'als'" in rejected("compare", "no-such.csv", "-m", "als")


# tune


def test_tuning_prints_the_search_space_and_the_next_command(folder: Path, tmp_path: Path) -> None:
    best = tmp_path / "best.json"
    table = ("tune", folder / "clicks.csv", "--events", "-m", "implicit-als", "--split", "per-user", *QUICK)
    output = ok(*table, "--trials", 5, "-o", best).stdout
    assert re.search(r"^5 trials$", output, re.MULTILINE)
    assert re.search(r"blank_ratio +0.5 to 50 +6 ", output)
    assert not re.search(r"^ ?factors ", output, re.MULTILINE)  # it was set, so it was held
    assert re.search(r"validation NDCG@10 0\.\d+; initial 0\.\d+", output)
    assert re.search(r"test NDCG@10 0\.\d+ \(0\.\d+ to", output)
    tuned = json.loads(best.read_text())
    assert tuned.pop("estimator") == "implicit-als"
    estimator = ImplicitALS(**tuned)
    assert (estimator.factors, estimator.epochs) == (4, 5)
    command = next(line for line in output.splitlines() if line.startswith("Next: "))
    assert "--events" in command
    typed = command.removeprefix("Next: cofactor ").replace("my.cofactor", str(tmp_path / "my.cofactor")).split()
    fitted = json_of(*typed)
    assert fitted["estimator"]["factors"] == 4
    assert fitted["estimator"]["l2_ratio"] == pytest.approx(estimator.l2_ratio, rel=1e-4)


@pytest.mark.long
def test_tuning_resumes_from_its_file(folder: Path, tmp_path: Path) -> None:
    table = ("tune", folder / "ratings.csv", "-m", "bias", "--storage", tmp_path / "trials.db")
    first = json_of(*table, "--trials", 3)
    again = json_of(*table, "--trials", 5)
    straight = json_of("tune", folder / "ratings.csv", "-m", "bias", "--trials", 5)
    assert (first["resumed"], again["resumed"], straight["resumed"]) == (0, 3, 0)
    for result in (again, straight):
        for trial in result["trials"]:
            trial.pop("seconds")
        result.pop("resumed")
    assert again == straight
    assert again["train"] + again["test_rows"] == 4800
    assert "5 trials, 5 of them from earlier runs" in ok(*table, "--trials", 2).stdout


def test_models_that_cannot_be_tuned_are_reported_in_one_line(folder: Path, tmp_path: Path) -> None:
    assert "popularity has no hyperparameters to search" in rejected(
        "tune", folder / "clicks.csv", "--events", "-m", "popularity"
    )
    assert "bias has no hyperparameters to search with damping" in rejected(
        "tune", folder / "ratings.csv", "-m", "bias", "--set", "damping=3"
    )
    assert "needs events" in rejected("tune", "no-such.csv", "-m", "implicit-als")
    assert "does not exist; create it first" in rejected(
        "tune", folder / "ratings.csv", "-m", "bias", "--storage", tmp_path / "no" / "trials.db"
    )
    assert "does not exist;" in rejected("tune", "no.csv", "-m", "bias", "-o", tmp_path / "no" / "b.json")
    assert "--validation must be a fraction strictly" in rejected(
        "tune", folder / "ratings.csv", "-m", "bias", "--validation", 2
    )


def test_without_optuna_tune_names_what_to_install(folder: Path) -> None:
    code = (
        "import sys\nsys.modules['optuna'] = None\n"
        f"sys.argv = ['cofactor', 'tune', {str(folder / 'ratings.csv')!r}, '-m', 'bias']\n"
        "from cofactor.cli import run\nrun()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        'error: tuning needs optuna, which is not installed: pip install "cofactor[tune]"'
    )


# the order of recommendations


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    path = folder / "films.cofactor"
    ok("fit", folder / "ratings.csv", "-o", path, "-m", "biased-mf", "--set", "factors=4")
    return path


def test_diverse_lists_begin_with_the_best_and_differ_from_the_plain_order(model: Path, tmp_path: Path) -> None:
    plain = json_of("recommend", model, "--user", 3, "-n", 6)
    diverse = json_of("recommend", model, "--user", 3, "-n", 6, "--diversity", 0.8)
    assert plain[0] == diverse[0]
    assert [row["item"] for row in plain] != [row["item"] for row in diverse]
    everyone = tmp_path / "all.csv"
    ok("recommend", model, "--all", "-n", 6, "--diversity", 0.8, "-o", everyone)
    own = pl.read_csv(everyone).filter(pl.col("user") == 3)
    assert own["item"].to_list() == [row["item"] for row in diverse]
    assert len(json_of("recommend", model, "--rated", "f01=5", "-n", 6, "--diversity", 0.8)) == 6


def test_invalid_orders_are_rejected(model: Path) -> None:
    assert "--diversity must be a finite number from 0 to 1, not 2" in rejected(
        "recommend", model, "--user", 3, "--diversity", 2
    )
    assert "does not predict a distribution" in rejected("recommend", model, "--user", 3, "--rank-by", "lower")
    assert "--rank-by must be mean or lower or upper, not 'bold'" in rejected(
        "recommend", model, "--user", 3, "--rank-by", "bold"
    )


def test_a_model_with_a_distribution_ranks_cautiously(folder: Path) -> None:
    path = folder / "bayes.cofactor"
    ok("fit", folder / "ratings.csv", "-o", path, "-m", "bayesian-mf", "--set", "factors=3", "--set", "iterations=60")
    lists = {by: json_of("recommend", path, "--user", 3, "-n", 5, "--rank-by", by) for by in ("lower", "upper")}
    assert all(row["score"] < 5 for row in lists["lower"])
    assert lists["lower"][0]["score"] < lists["upper"][0]["score"]
    output = ok("recommend", path, "--rated", "f01=5", "-n", 3, "--rank-by", "lower").stdout
    assert "lower" in output
