"""Tuning stays within the ranges, uses only training rows, is reproducible, and resumes after an interruption."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import CofactorError, DataError, DivergedError, KindError, ParameterError
from cofactor.estimators import REGISTRY, Bias, ExplicitALS, ImplicitALS, ItemKNN, Popularity, UserKNN
from cofactor.estimators.base import parameter
from cofactor.evaluate.evaluation import fit_and_score, primary_value
from cofactor.evaluate.search_space import Range, search_space
from cofactor.evaluate.split import Split
from cofactor.evaluate.tuning import Trial, TuningResult, fingerprint, tune
from cofactor.evaluate.validation_split import split_for_validation
from cofactor.recommender.recommender import Recommender

SMALL = ExplicitALS(factors=8, epochs=3, l2=0.5)
FIXED = ("factors", "epochs")


@pytest.fixture(scope="module")
def result(of_ratings: Split) -> TuningResult:
    return tune(SMALL, of_ratings, trials=13, fixed=FIXED)


def timeless(tuned: TuningResult) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in tuned.trials]


# search space


@pytest.mark.parametrize("name", list(REGISTRY))
def test_every_estimator_has_sensible_ranges_that_hold_its_defaults(name: str) -> None:
    estimator = REGISTRY[name]()
    if not fields(estimator) or name in ("paired-models", "blend"):  # their parts are tuned
        with pytest.raises(ParameterError, match="no hyperparameters to search"):
            search_space(estimator)
        return
    space = search_space(estimator)
    for setting, search_range in space.items():
        assert search_range.contains(getattr(estimator, setting)), setting
        assert not search_range.log or search_range.low > 0
        for end in (search_range.low, search_range.high):
            estimator.set_params(**{setting: int(end) if search_range.is_integer else float(end)})
    assert not {"patience", "init_std"} & set(space)


def test_fixed_and_non_numeric_settings_are_not_searched() -> None:
    assert set(search_space(ExplicitALS())) == {"factors", "epochs", "l2", "l2_bias", "pseudo_ratings"}
    assert set(search_space(ExplicitALS(), fixed=["l2", "patience"])) == {
        "factors",
        "epochs",
        "l2_bias",
        "pseudo_ratings",
    }
    assert search_space(ExplicitALS())["factors"].is_integer
    assert not search_space(ExplicitALS())["epochs"].log
    with pytest.raises(ParameterError, match="explicit-als has no hyperparameter 'size' to keep fixed"):
        search_space(ExplicitALS(), fixed=["size"])
    with pytest.raises(ParameterError, match="bias has no hyperparameters to search with damping fixed"):
        search_space(Bias(), fixed=["damping"])


def test_settings_without_an_effect_on_the_kind_of_table_are_not_searched() -> None:
    for_ratings, for_events = (
        {estimator.name: set(search_space(estimator, kind=kind)) for estimator in (ItemKNN(), UserKNN())}
        for kind in ("ratings", "events")
    )
    assert for_ratings == {"item-knn": {"k", "shrink", "damping"}, "user-knn": {"k", "shrink", "damping"}}
    assert for_events == {"item-knn": {"event_neighbors", "event_shrink"}, "user-knn": {"k", "event_shrink"}}
    with pytest.raises(ParameterError, match="kind must be"):
        search_space(ItemKNN(), kind="stars")  # type: ignore[arg-type]
    for estimator in REGISTRY.values():
        for spec in fields(estimator):
            only_for = spec.metadata["only_for"]
            assert spec.metadata["meaning"].startswith(f"{only_for} only: ") == (only_for is not None)


@dataclass(frozen=True)
class Undeclared(Bias):
    """An estimator whose fields declare no search range."""

    name: ClassVar[str] = "undeclared"
    damping: float = parameter(5.0, "damping", low=0, high=100, log=True)
    rounds: int = parameter(3, "rounds", low=1, high=9)
    most: int = parameter(3, "no upper end", low=1)
    style: Literal["plain", "other"] = parameter("plain", "a text")


def test_without_declared_ranges_numbers_with_both_ends_are_searched() -> None:
    space = search_space(Undeclared())
    assert space == {
        "damping": Range(1e-4, 100, log=True, is_integer=False),
        "rounds": Range(1, 9, log=False, is_integer=True),
    }


def test_whole_numbers_on_a_logarithmic_range_are_round() -> None:
    widths = Range(8, 100, log=True, is_integer=True)
    assert [widths.rounded(value) for value in (8, 9, 11, 15, 23, 61, 90, 100)] == [8, 8, 12, 16, 24, 64, 96, 96]
    assert Range(8, 120, log=True, is_integer=True).rounded(119) == 120
    assert Range(1, 9, log=False, is_integer=True).rounded(7) == 7
    assert Range(0.1, 9, log=True, is_integer=False).rounded(0.777) == 0.777


# search


def test_the_best_trial_is_selected_and_scored_on_the_test_part(result: TuningResult, of_ratings: Split) -> None:
    values = [trial.value for trial in result.trials]
    assert (len(values), result.resumed, result.metric) == (13, 0, "rmse")
    assert result.validation == min(values) < values[0]
    best = result.trials[int(np.argmin(values))]
    assert result.estimator == SMALL.set_params(**best.settings)
    inner = split_for_validation(of_ratings)
    assert primary_value(Recommender.fit(result.estimator, inner.train), inner) == result.validation
    again = fit_and_score(result.estimator, of_ratings, label="explicit-als")
    assert str(result.test.metrics) == str(again.metrics)  # the bounds are nan for few users
    assert (result.description, result.validation_description) == (of_ratings.description, inner.description)


def test_the_first_trial_has_the_given_settings_and_all_are_within_the_ranges(result: TuningResult) -> None:
    assert result.trials[0].settings == {"l2": 0.5, "l2_bias": 0.05, "pseudo_ratings": 20.0}
    space = search_space(SMALL, fixed=FIXED)
    for trial in result.trials:
        assert all(space[name].contains(value) for name, value in trial.settings.items())
    assert len({str(trial.settings) for trial in result.trials}) == 13
    assert (result.estimator.factors, result.estimator.epochs) == (8, 3)  # type: ignore[attr-defined]


def test_results_are_reproducible_by_seed(result: TuningResult, of_ratings: Split) -> None:
    again = tune(SMALL, of_ratings, trials=13, fixed=FIXED)
    assert timeless(again) == timeless(result)
    other = tune(SMALL, of_ratings, trials=2, fixed=FIXED, seed=1)
    assert other.trials[1].settings != result.trials[1].settings


def test_the_test_part_does_not_affect_the_search(result: TuningResult, of_ratings: Split) -> None:
    upside_down = replace(of_ratings.test, values=6 - of_ratings.test.values)
    again = tune(SMALL, Split(of_ratings.train, upside_down), trials=13, fixed=FIXED)
    assert timeless(again) == timeless(result)
    assert again.estimator == result.estimator
    assert again.test.metrics != result.test.metrics


def test_ranking_metrics_are_maximized(of_events: Split) -> None:
    poor = ImplicitALS(factors=8, epochs=5, l2_ratio=0.3, nu=0.6)
    trials: list[Trial] = []
    tuned = tune(poor, of_events, trials=8, fixed=FIXED, k=5, on_trial=trials.append)
    assert (tuned.metric, tuned.validation) == ("ndcg@5", max(trial.value for trial in tuned.trials))
    assert tuned.validation > tuned.trials[0].value
    assert tuple(trials) == tuned.trials


def test_history_and_json(result: TuningResult) -> None:
    history = result.history
    assert history.columns == ["trial", "value", "best", "seconds", "error", "l2", "l2_bias", "pseudo_ratings"]
    assert history["best"].to_list() == np.minimum.accumulate(history["value"].to_numpy()).tolist()
    assert history["error"].null_count() == 13
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert document["estimator"]["estimator"] == "explicit-als"
    assert document["validation"] == result.validation
    assert document["test"]["mean"] == result.test.metrics["rmse"].mean
    assert len(document["trials"]) == 13


# interrupted, resumed, shared


def test_a_resumed_search_equals_an_uninterrupted_search(
    result: TuningResult, of_ratings: Split, tmp_path: Path
) -> None:
    storage = tmp_path / "trials.db"

    def stop(trial: Trial) -> None:
        if trial.number == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(SMALL, of_ratings, trials=13, fixed=FIXED, storage=storage, on_trial=stop)
    numbers: list[int] = []
    resumed = tune(
        SMALL, of_ratings, trials=13, fixed=FIXED, storage=storage, on_trial=lambda trial: numbers.append(trial.number)
    )
    assert numbers == list(range(7, 13))
    assert (resumed.resumed, timeless(resumed)) == (7, timeless(result))
    more = tune(SMALL, of_ratings, trials=14, fixed=FIXED, storage=storage)
    assert (more.resumed, timeless(more)[:13]) == (13, timeless(result))
    unchanged = tune(SMALL, of_ratings, trials=2, fixed=FIXED, storage=str(storage))
    assert len(unchanged.trials) == 14


@pytest.mark.long
def test_a_process_killed_during_a_trial_loses_only_that_trial(tmp_path: Path) -> None:
    code = (
        "import os, sys\nimport numpy as np\nfrom cofactor.data.interactions import Interactions\n"
        "from cofactor.estimators import Bias\nfrom cofactor.evaluate import split_random\n"
        "from cofactor.evaluate import tune\n"
        "rng = np.random.default_rng(0)\nu, i = np.divmod(rng.permutation(900)[:500], 30)\n"
        "table = Interactions.from_columns(u, i, rng.integers(1, 6, 500))\n"
        "def last(trial):\n    print(trial.number, sorted(trial.settings.items()), trial.value, flush=True)\n"
        "    if trial.number == int(sys.argv[2]):\n        os._exit(9)\n"
        "tune(Bias(), split_random(table), trials=5, storage=sys.argv[1] or None, on_trial=last)\n"
    )

    def run(storage: str, kill_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, storage, str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    storage = str(tmp_path / "trials.db")
    straight = run("", 99)
    assert straight.returncode == 0, straight.stderr
    killed, resumed = run(storage, 2), run(storage, 99)
    assert (killed.returncode, resumed.returncode) == (9, 0)
    assert killed.stdout + resumed.stdout == straight.stdout


@pytest.mark.long
def test_other_searches_share_a_file_without_mixing(of_ratings: Split, tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"

    def resumed(estimator: Any = Bias(), split: Split = of_ratings, **options: Any) -> int:  # noqa: B008
        return tune(estimator, split, trials=2, storage=storage, **options).resumed

    assert resumed() == 0
    assert resumed() == 2
    train = of_ratings.train
    assert resumed(split=Split(train.select(np.arange(len(train)) > 0), of_ratings.test)) == 0
    assert resumed(estimator=Bias(damping=2.0)) == 0
    assert resumed(seed=1) == 0
    assert resumed(validation=0.3) == 0
    assert resumed(estimator=SMALL, fixed=FIXED) == 0
    assert resumed() == 2


def test_the_fingerprint_depends_on_the_rows(small_ratings: Interactions) -> None:
    tables = {
        fingerprint(small_ratings),
        fingerprint(small_ratings.select(np.arange(len(small_ratings)) != 7)),
        fingerprint(small_ratings.with_weights(np.full(len(small_ratings), 2))),
        fingerprint(replace(small_ratings, values=small_ratings.values[::-1].copy())),
        fingerprint(replace(small_ratings, times=None)),
        fingerprint(small_ratings.to_events(min_rating=1)),
    }
    assert len(tables) == 6
    assert fingerprint(small_ratings) == fingerprint(small_ratings.select(np.ones(len(small_ratings), bool)))


@pytest.mark.parametrize(("make", "message"), [
    (lambda folder: folder, "is a folder; choose a file in it"),
    (lambda folder: folder / "no" / "trials.db", r"the folder .* does not exist"),
    (lambda folder: folder / "notes.txt", "is not a SQLite file"),
])  # fmt: skip
def test_an_invalid_storage_is_rejected(of_ratings: Split, tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "notes.txt").write_text("not a database at all")
    with pytest.raises(ParameterError, match=message):
        tune(Bias(), of_ratings, trials=1, storage=make(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "not a database at all"


def test_a_storage_is_a_plain_sqlite_file(of_ratings: Split, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    tune(Bias(), of_ratings, trials=2, storage=tmp_path / "empty.db")
    with sqlite3.connect(tmp_path / "empty.db") as database:
        names = [name for (name,) in database.execute("SELECT study_name FROM studies")]
    assert len(names) == 1
    assert names[0].startswith("bias-")


# trials that fail


@dataclass(frozen=True)
class Shaky(Bias):
    """Estimator that diverges if damping is large."""

    name: ClassVar[str] = "shaky"
    kind: ClassVar[Kind] = "ratings"
    limit: float = parameter(10.0, "the largest damping that does not diverge", low=0, high=1000)

    def fit(self, interactions: Interactions, **options: Any) -> Any:
        if self.damping > self.limit:
            raise DivergedError(1, float("inf"), "lower learning_rate")
        return super().fit(interactions, **options)


def test_a_diverged_trial_is_recorded_and_the_search_continues(of_ratings: Split, tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    tuned = tune(Shaky(), of_ratings, trials=12, storage=storage)
    failed = [trial for trial in tuned.trials if trial.error]
    assert 0 < len(failed) < 12
    assert all(isnan(trial.value) and trial.settings["damping"] > 10 for trial in failed)
    assert "the fit diverged in epoch 1" in str(failed[0].error)
    assert tuned.estimator.damping <= 10  # type: ignore[attr-defined]
    assert json.dumps(tuned.as_dict(), allow_nan=False)
    assert tuned.history["error"].null_count() == 12 - len(failed)
    assert [t.error for t in tune(Shaky(), of_ratings, trials=12, storage=storage).trials] == [
        t.error for t in tuned.trials
    ]


def test_without_a_successful_trial_there_is_no_result(of_ratings: Split) -> None:
    with pytest.raises(CofactorError, match=r"all 3 trials failed; the first error was: the fit diverged"):
        tune(Shaky(limit=0.0), of_ratings, trials=3)


# invalid input


def test_wrong_arguments_are_named_before_anything_is_fitted(of_ratings: Split, of_events: Split) -> None:
    with pytest.raises(ParameterError, match=r"estimator must be an estimator instance, .*, not 'bias'"):
        tune("bias", of_ratings)  # type: ignore[arg-type]
    trials_run: list[Trial] = []
    options: Any = {"on_trial": trials_run.append}
    for trials in (0, -1, 2.5, True, "3"):
        with pytest.raises(ParameterError, match="trials must be an integer >= 1"):
            tune(Bias(), of_ratings, trials=trials, **options)
    with pytest.raises(ParameterError, match="validation must be a fraction strictly"):
        tune(Bias(), of_ratings, validation=1.0, **options)
    with pytest.raises(KindError, match="implicit-als learns from events"):
        tune(ImplicitALS(), of_ratings, **options)
    with pytest.raises(ParameterError, match="popularity has no hyperparameters to search"):
        tune(Popularity(), of_events, **options)
    with pytest.raises(ParameterError, match="k must be an integer"):
        tune(ImplicitALS(), of_events, k=0, trials=1, **options)
    disliked = of_events.train.with_weights(np.where(np.arange(len(of_events.train)) % 2 == 0, -1.0, 0.5))
    with pytest.raises(DataError, match="no user has"):
        tune(ImplicitALS(), Split(disliked, of_events.test), validation=0.001, **options)
    assert trials_run == []


def test_without_optuna_the_message_names_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['optuna'] = None\n"
        "from cofactor.data.interactions import Interactions\nfrom cofactor.estimators import Bias\n"
        "from cofactor.evaluate import split_random, tune\n"
        "table = Interactions.from_columns([1, 1, 2, 2] * 5, list(range(10)) * 2, [1, 2, 3, 4] * 5)\n"
        "try:\n    tune(Bias(), split_random(table))\n"
        "except Exception as problem:\n    print(type(problem).__name__, problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == (
        'MissingExtraError tuning needs optuna, which is not installed: pip install "cofactor[tune]"\n'
    )
