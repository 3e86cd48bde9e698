"""`cofactor fit` without --model chooses a model, and `cofactor show` lists what was tried."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cofactor import PairedModels, Recommender
from cofactor.cli.show import show_trials
from cofactor.estimators.base import Estimator
from cofactor.evaluate.candidates import CANDIDATES
from cofactor.results import SelectionTrial
from tests.support.command_line import json_of, ok, run


@pytest.fixture(autouse=True)
def fast_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only candidates whose fits take milliseconds."""
    fast = ("popularity", "user-knn", "item-knn", "bias")
    for kind, candidates in list(CANDIDATES.items()):
        monkeypatch.setitem(CANDIDATES, kind, tuple(c for c in candidates if c.name in fast))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ratings.csv and clicks.csv, in which users like items of their own group."""
    home = tmp_path_factory.mktemp("selection")
    rng = np.random.default_rng(0)
    ratings, clicks = ["user,item,rating"], ["user,item"]
    for user in range(60):
        for item in rng.choice(30, 12, replace=False):
            liked = (user + item) % 2 == 0
            ratings.append(f"{user},i{item},{int(np.clip((4.5 if liked else 2) + rng.normal(), 1, 5))}")
            clicks += [f"{user},i{item}"] if liked or rng.random() < 0.1 else []
    (home / "ratings.csv").write_text("\n".join(ratings) + "\n")
    (home / "clicks.csv").write_text("\n".join(clicks) + "\n")
    return home


@pytest.mark.parametrize(
    ("table", "options", "metric"),
    [("ratings.csv", ["--goal", "predict"], "rmse"), ("clicks.csv", ["--events"], "ndcg@10")],
)
def test_fit_chooses_a_model_and_show_lists_the_trials(
    folder: Path, tmp_path: Path, table: str, options: list[str], metric: str
) -> None:
    path = tmp_path / "m.cofactor"
    printed = ok("fit", folder / table, "-o", path, "--trials", 6, *options).stdout
    rec = Recommender.load(path)
    assert rec.estimator is not None
    chosen = [trial for trial in rec.trials if trial.chosen]
    assert [trial.estimator for trial in chosen] == [rec.estimator.name]
    assert f"fitted {rec.estimator.name}" in printed
    for name in {trial.estimator for trial in rec.trials}:
        assert sum(line.split()[:1] in ([name], ["*"]) and name in line for line in printed.splitlines()) >= 1
    shown = ok("show", path).stdout
    assert f"model: {rec.estimator.name}" in shown
    assert metric in shown
    for trial in rec.trials:
        assert trial.estimator in shown
        assert trial.value is None or f"{trial.value:.4f}" in shown
    facts = json_of("show", path, "--json")
    assert [trial["estimator"] for trial in facts["trials"]] == [trial.estimator for trial in rec.trials]
    assert Estimator.from_dict(facts["estimator"]) == rec.estimator
    assert facts["rows"] == sum(1 for _ in (folder / table).open()) - 1


def test_a_candidate_that_was_not_tried_has_no_time() -> None:
    out = Console(file=io.StringIO(), width=80)
    tried = SelectionTrial("bias", {}, "rmse", 0.94, 0.04)
    diverged = SelectionTrial("biased-mf", {}, "rmse", None, 0.3, note="diverged")
    show_trials(out, [tried, diverged, SelectionTrial("bayesian-mf", {}, "rmse", None, 0.0, note="not tried")])
    lines = [line.split() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert ["bias", "0.9400", "0.0"] in lines
    assert ["biased-mf", "0.3"] in lines
    assert ["bayesian-mf", "-"] in lines


def test_lists_from_ratings_are_made_by_a_ranker_and_ratings_by_a_rating_model(folder: Path, tmp_path: Path) -> None:
    ok("fit", folder / "ratings.csv", "-o", tmp_path / "m", "--trials", 4, "--min-rating", 5)
    rec = Recommender.load(tmp_path / "m")
    assert isinstance(rec.estimator, PairedModels)
    assert rec.estimator.min_rating == 5
    chosen = {trial.metric: trial.estimator for trial in rec.trials if trial.chosen}
    assert chosen == {"ndcg@10": rec.estimator.ranker.name, "rmse": rec.estimator.rating_model.name}
    assert rec.recommend(3, n=2)["prediction"].is_between(1, 5).all()
    shown = ok("show", tmp_path / "m").stdout
    assert "ndcg@10" in shown
    assert "rmse" in shown


def test_the_json_of_fit_contains_the_trials_and_a_blend(folder: Path, tmp_path: Path) -> None:
    facts = json_of(
        "fit", folder / "ratings.csv", "-o", tmp_path / "m", "-m", "blend", "--set", "parts=bias,item-knn", "--json"
    )
    assert [part["estimator"] for part in facts["estimator"]["parts"]] == ["bias", "item-knn"]
    assert facts["trials"] == []
    assert "seconds" not in ok("show", tmp_path / "m").stdout
    assert "model: blend (parts=[bias, item-knn])" in ok("show", tmp_path / "m").stdout


def test_a_budget_of_seconds(folder: Path, tmp_path: Path) -> None:
    facts = json_of("fit", folder / "clicks.csv", "--events", "-o", tmp_path / "m", "--budget", 1, "--json")
    assert sum(trial["chosen"] for trial in facts["trials"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--goal", "rank"], "--goal must be recommend or predict, not 'rank'"),
        (["--goal", "predict", "-m", "bias"], "--goal cannot be combined with --model"),
        (["--budget", "5", "-m", "bias"], "--budget cannot be combined with --model"),
        (["--trials", "5", "-m", "bias"], "--trials cannot be combined with --model"),
        (["--budget", "5", "--trials", "5"], "--budget cannot be combined with --trials"),
        (["--set", "factors=2"], "--set requires --model NAME"),
        (["--validation", "0.1"], "--validation requires --model NAME"),
        (["--budget", "-1"], "--budget"),
        (["--goal", "predict", "--min-rating", "4"], "goal 'predict' requires ratings"),
    ],
)
def test_options_that_do_not_go_together(folder: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = run("fit", folder / "ratings.csv", "-o", tmp_path / "m", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "m").exists()


def test_an_interrupt_leaves_no_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cofactor.evaluate.selection._Selector._search", interrupt)
    result = run("fit", folder / "ratings.csv", "-o", tmp_path / "m", "--goal", "predict", "--trials", 5)
    assert result.exit_code != 0
    assert not list(tmp_path.iterdir())
