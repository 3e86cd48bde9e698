"""Automatic selection: held-out rows, budgets, reproducibility, and the record in the model file."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor import Interactions, Recommender
from cofactor.data.held_out import held_out_rows, hold_out, is_ordered
from cofactor.data.ids import IdMap
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import REGISTRY
from cofactor.evaluate import selection
from cofactor.evaluate.candidates import CANDIDATES, candidates_for
from cofactor.evaluate.evaluation import primary_value
from cofactor.evaluate.selection import SHARE, select, validation_split
from cofactor.results import SelectionTrial

FAST = {
    "events": ("popularity", "item-knn", "user-knn"),
    "ratings": ("bias", "item-knn", "explicit-als"),
}


@pytest.fixture
def fast_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only candidates whose fits take milliseconds."""
    for kind, names in FAST.items():
        chosen = tuple(candidate for candidate in CANDIDATES[kind] if candidate.name in names)  # type: ignore[index]
        monkeypatch.setitem(CANDIDATES, kind, chosen)  # type: ignore[arg-type]


# held-out rows


@pytest.mark.parametrize("times", [True, False])
def test_held_out_rows_are_a_share_of_each_user(times: bool) -> None:
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((400, 60)) < 0.15)
    seconds = rng.permutation(len(u))
    table = Interactions.from_columns(u, i, np.ones(len(u)), times=seconds if times else None)
    mask = held_out_rows(table, share=0.2, seed=1)
    counts, held = table.by_user.counts, np.bincount(table.u[mask], minlength=table.n_users)
    assert (np.abs(held - 0.2 * counts) < 1).all()
    assert mask.mean() == pytest.approx(0.2, abs=0.01)
    if times:
        assert table.times is not None
        latest = np.full(table.n_users, -1)
        np.maximum.at(latest, table.u[~mask], table.times[~mask])
        assert (table.times[mask] > latest[table.u[mask]]).all()
    assert (held_out_rows(table, share=0.2, seed=1) == mask).all()
    assert times or (held_out_rows(table, share=0.2, seed=2) != mask).any()


def test_a_user_keeps_a_row_and_single_rows_are_held_out_only_if_there_are_no_others() -> None:
    table = Interactions.from_columns([1, 1, 2, 3], [1, 2, 1, 1], [1, 2, 3, 4])
    for seed in range(20):
        mask = held_out_rows(table, share=0.9, seed=seed)
        assert not mask[table.by_user.counts[table.u] == 1].any()
        assert mask.sum() == 1
    lonely = Interactions.from_columns([1, 2, 3, 4], [1, 2, 1, 1], [1, 2, 3, 4])
    assert held_out_rows(lonely, share=0.5).sum() == 2
    assert not held_out_rows(Interactions.from_columns([1], [1], [1])).any()


def test_disliked_items_are_held_out_with_the_liked_ones(small_ratings: Interactions) -> None:
    events = small_ratings.to_events(min_rating=4)
    assert events.seen is not None
    train, held_out = hold_out(events, share=0.2, seed=3)
    assert train.seen is not None
    assert held_out.seen is None
    assert len(train) + len(held_out) == len(events)
    assert len(train.seen) == pytest.approx(0.8 * len(events.seen), rel=0.05)
    split = validation_split(events, seed=3)
    assert split is not None
    assert split.train.excluded.counts.sum() == pytest.approx((1 - SHARE) * len(small_ratings), rel=0.05)


# candidates


def test_every_candidate_is_an_estimator_of_its_kind_of_table(
    small_ratings: Interactions, small_events: Interactions
) -> None:
    for table in (small_ratings, small_events):
        for candidate, estimator in candidates_for(table):
            assert estimator == REGISTRY[candidate.name]()
            assert estimator.check_table(table) is table
            assert candidate.cost(table) > 0
    for times in (None, np.zeros(len(small_events)), np.arange(len(small_events))):
        table = Interactions.from_columns(small_events.u, small_events.i, times=times, kind="events")
        names = [candidate.name for candidate, _ in candidates_for(table)]
        assert ("sequential-item-knn" in names) == (times is not None and times.max() > 0)
    large = replace(small_events, items=IdMap(np.arange(20_000)), item_table=None, seen=None)
    assert {"ease", "sparse-ease"} - {candidate.name for candidate, _ in candidates_for(large)} == {"ease"}


# the choice


@pytest.mark.usefixtures("fast_candidates")
@pytest.mark.parametrize("kind", ["ratings", "events"])
def test_the_choice_is_at_least_as_good_as_every_default_and_is_fitted_to_all_rows(
    kind: str, small_ratings: Interactions, small_events: Interactions
) -> None:
    table = small_ratings if kind == "ratings" else small_events
    rec = cofactor.fit(table, goal="predict" if kind == "ratings" else "recommend", trials=8, seed=2)
    chosen = [trial for trial in rec.trials if trial.chosen]
    assert len(chosen) == 1
    assert rec.estimator is not None
    assert rec.estimator.name == chosen[0].estimator
    split = validation_split(table, seed=2)
    assert split is not None
    better = min if kind == "ratings" else max
    values = [trial.value for trial in rec.trials if trial.value is not None and trial.estimator != "blend"]
    assert chosen[0].value == better(values) or chosen[0].estimator == "blend"
    first = {trial.estimator: trial for trial in reversed(rec.trials) if not trial.settings}
    for name in FAST[kind]:
        value = primary_value(Recommender.fit(REGISTRY[name](), split.train, seed=2), split)
        assert first[name].value == pytest.approx(value)
        assert chosen[0].value is not None
        assert better(chosen[0].value, value) == chosen[0].value
    alone = Recommender.fit(rec.estimator, table, seed=2)
    assert all((array == alone.model.arrays()[name]).all() for name, array in rec.model.arrays().items())


@pytest.mark.usefixtures("fast_candidates")
def test_a_blend_is_chosen_only_if_its_gain_exceeds_a_standard_error(small_events: Interactions) -> None:
    for seed in range(4):
        trials = select(small_events, trials=6, seed=seed).trials
        for trial in trials:
            if trial.estimator == "blend":
                assert trial.note is not None
                assert trial.chosen == ("does not clearly" not in trial.note)
                gain, error = (float(number) for number in re.findall(r"-?\d\.\d+", trial.note))
                assert trial.chosen == (gain > error)
    assert any(trial.estimator == "blend" for trial in trials)


@pytest.mark.usefixtures("fast_candidates")
def test_a_budget_of_trials_is_reproducible(small_ratings: Interactions) -> None:
    def run(seed: int) -> list[tuple[Any, ...]]:
        trials = select(small_ratings, trials=9, seed=seed).trials
        return [(t.estimator, tuple(t.settings.items()), t.value, t.chosen) for t in trials if t.estimator != "blend"]

    first = run(4)
    assert run(4) == first
    assert run(5) != first
    assert len(first) == 9


@pytest.mark.usefixtures("fast_candidates")
@pytest.mark.parametrize("budget", [0.0, 2.0])
def test_a_budget_of_seconds_is_kept(budget: float, small_ratings: Interactions) -> None:
    cofactor.fit(small_ratings, goal="predict", trials=3)  # compiles the kernels
    start, seen = time.perf_counter(), list[SelectionTrial]()
    rec = cofactor.fit(small_ratings, goal="predict", budget=budget, on_trial=seen.append)
    assert time.perf_counter() - start < 1.2 * budget + 1
    assert len([trial for trial in rec.trials if trial.chosen]) == 1
    assert [(t.estimator, t.value) for t in seen] == [(t.estimator, t.value) for t in rec.trials]


def test_no_trial_starts_that_would_not_end_in_time(
    monkeypatch: pytest.MonkeyPatch, small_ratings: Interactions
) -> None:
    """The clock is advanced by the fits: item-knn takes 5 s per 1,000 rows, bias 1 ms."""
    now = [0.0]
    fits: list[tuple[str, int]] = []
    candidates = tuple(candidate for candidate in CANDIDATES["ratings"] if candidate.name in ("bias", "item-knn"))
    monkeypatch.setitem(CANDIDATES, "ratings", tuple(selection.Candidate(c.name) for c in candidates))
    monkeypatch.setattr("cofactor.evaluate.selection.time.perf_counter", lambda: now[0])
    for cls, seconds in ((cofactor.ItemKNN, 5e-3), (cofactor.Bias, 1e-6)):
        original = cls.fit

        def fit(self: Any, table: Any, original: Any = original, seconds: float = seconds, **more: Any) -> Any:
            now[0] += seconds * len(table)
            fits.append((self.name, len(table)))
            return original(self, table, **more)

        monkeypatch.setattr(cls, "fit", fit)
    n_inner = len(validation_split(small_ratings, seed=0).train)  # type: ignore[union-attr]
    for budget in (20.0, 30.0, 80.0):
        now[0], fits[:] = 0.0, []
        chosen = select(small_ratings, budget=budget)
        assert now[0] + chosen.fit_seconds <= budget
        tried = [trial for trial in chosen.trials if trial.estimator == "item-knn" and trial.value is not None]
        assert bool(tried) == (("item-knn", n_inner) in fits) == (budget == 80)
        notes = [trial.note for trial in chosen.trials if trial.estimator == "item-knn" and trial.note is not None]
        assert bool(notes) == (budget < 80)


def test_a_fit_that_fails_is_noted(monkeypatch: pytest.MonkeyPatch, small_ratings: Interactions) -> None:
    def diverged(*_: Any, **__: Any) -> Any:
        raise cofactor.errors.DivergedError(1, float("nan"), "lower learning_rate")

    monkeypatch.setattr(cofactor.ExplicitALS, "fit", diverged)
    monkeypatch.setitem(CANDIDATES, "ratings", (selection.Candidate("explicit-als"), selection.Candidate("bias")))
    trials = select(small_ratings, trials=2).trials
    assert trials[0].value is None
    assert "lower learning_rate" in str(trials[0].note)
    assert [trial.estimator for trial in trials if trial.chosen] == ["bias"]


@pytest.mark.usefixtures("fast_candidates")
def test_an_interrupt_ends_the_selection(small_ratings: Interactions) -> None:
    def interrupt(_: SelectionTrial) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cofactor.fit(small_ratings, goal="predict", trials=3, on_trial=interrupt)


@pytest.mark.usefixtures("fast_candidates")
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_smallest_tables(rows: int) -> None:
    ids = np.arange(rows)
    for table in (Interactions.from_columns(ids, ids, ids + 1.0), Interactions.from_columns(ids, ids, kind="events")):
        rec = cofactor.fit(table, goal="predict" if table.kind == "ratings" else "recommend", trials=3)
        assert len(rec.users) == rows
        assert sum(trial.chosen for trial in rec.trials) == 1
        assert cofactor.fit(table, goal="predict" if table.kind == "ratings" else "recommend", budget=1).trials


@pytest.mark.usefixtures("fast_candidates")
def test_trials_are_saved_with_the_model(small_events: Interactions, tmp_path: Path) -> None:
    rec = cofactor.fit(small_events, trials=6)
    rec.save(tmp_path / "m")
    again = Recommender.load(tmp_path / "m")
    assert again.trials == rec.trials
    assert again.estimator == rec.estimator
    assert (
        rec.updated(Interactions.from_columns(["new"], small_events.items.ids([0]), kind="events")).trials == rec.trials
    )


@pytest.mark.usefixtures("fast_candidates")
def test_recommending_from_ratings_chooses_a_ranker_and_a_rating_model(small_ratings: Interactions) -> None:
    rec = cofactor.fit(small_ratings, trials=3, min_rating=4, seed=1)
    assert isinstance(rec.estimator, cofactor.PairedModels)
    assert rec.estimator.min_rating == 4
    parts = (rec.estimator.ranker, rec.estimator.rating_model)
    events, ratings = (
        select(small_ratings.to_events(min_rating=4), trials=3, seed=1),
        select(small_ratings, trials=3, seed=1),
    )
    assert parts == (events.estimator, ratings.estimator)
    assert [(t.estimator, t.value) for t in rec.trials] == [
        (t.estimator, t.value) for t in (*events.trials, *ratings.trials)
    ]
    with pytest.raises(DataError, match="no rating"):
        cofactor.fit(small_ratings, trials=1, min_rating=6)


def test_invalid_arguments(small_ratings: Interactions, small_events: Interactions) -> None:
    for arguments, message in (
        ({"goal": "rank"}, "goal must be"),
        ({"trials": 0}, "trials must be"),
        ({"budget": -1}, "budget must be"),
        ({"budget": float("nan")}, "budget must be"),
        ({"k": 0}, "k must be"),
        ({"on_trial": 3}, "on_trial must be"),
    ):
        with pytest.raises(ParameterError, match=message):
            cofactor.fit(small_ratings, **arguments)  # type: ignore[arg-type]
    with pytest.raises(KindError, match="goal 'predict' requires ratings"):
        cofactor.fit(small_events, goal="predict")
    with pytest.raises(DataError, match="the table is empty"):
        cofactor.fit(small_ratings.select(np.zeros(len(small_ratings), bool)), goal="predict", trials=1)


def test_rows_are_held_out_at_random_if_many_of_them_are_simultaneous() -> None:
    u, i = np.nonzero(np.ones((50, 20)))
    for step, ordered in ((1, True), (5, False)):
        table = Interactions.from_columns(u, i, np.ones(len(u)), times=np.arange(len(u)) // step)
        assert is_ordered(table) == ordered
        mask = held_out_rows(table, share=0.2)
        is_last = np.arange(len(u)) % 20 >= 16
        assert (mask == is_last).all() == ordered
    assert not is_ordered(Interactions.from_columns(u, i, np.ones(len(u))))
    assert not is_ordered(Interactions.from_columns(u, i, np.ones(len(u)), times=np.full(len(u), 7)))
