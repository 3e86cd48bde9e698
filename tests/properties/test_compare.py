"""Comparisons are paired and corrected, never mix tasks, never leak, and include tuned baselines on request."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, DivergedError, KindError, LeakageError, ParameterError
from cofactor.estimators import REGISTRY, BiasedMF, Estimator, ExplicitALS, ImplicitALS, Popularity
from cofactor.evaluate import (
    Split,
    split_by_time,
    split_last,
    split_per_user,
    split_random,
    split_users,
    tuned_baseline,
)
from cofactor.evaluate.comparison import Comparison, compare
from cofactor.evaluate.evaluation import evaluate, primary_value
from cofactor.evaluate.tuned_baseline import BASELINE_GRIDS, tune_baseline
from cofactor.evaluate.validation_split import split_for_validation
from cofactor.metrics.intervals import paired_rmse_difference
from cofactor.metrics.registry import primary_metric
from cofactor.metrics.significance import holm, model_confidence_set, sign_flip
from cofactor.recommender.recommender import Recommender

ALS = ExplicitALS(factors=4, epochs=5)
IALS = ImplicitALS(factors=4, epochs=5, l2_ratio=0.03)


@pytest.fixture(scope="module")
def rated(of_ratings: Split) -> Comparison:
    return compare(
        [ALS, BiasedMF(factors=4, epochs=2), ExplicitALS(factors=4, epochs=6)], of_ratings, tuned_baseline=True
    )


@pytest.fixture(scope="module")
def ranked(of_events: Split) -> Comparison:
    return compare(IALS, of_events, task="ranking", ks=(5, 10), tuned_baseline=True)


# paired statistics


def test_the_rmse_difference_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 30, 300)
    a = rng.gamma(2, 0.4, 300) * counts
    b = a * rng.normal(1.05, 0.1, 300)
    difference = paired_rmse_difference(a, b, counts)
    assert difference.mean == pytest.approx(sqrt(a.sum() / counts.sum()) - sqrt(b.sum() / counts.sum()))
    draw = np.random.default_rng(1)
    gaps = []
    for _ in range(4000):  # a percentile bootstrap agrees if histories do not differ much
        who = draw.integers(0, 300, 300)
        gaps.append(sqrt(a[who].sum() / counts[who].sum()) - sqrt(b[who].sum() / counts[who].sum()))
    np.testing.assert_allclose(difference[1:], np.quantile(gaps, [0.025, 0.975]), atol=2e-3)
    swapped = paired_rmse_difference(b, a, counts)
    np.testing.assert_allclose(swapped, [-difference.mean, -difference.high, -difference.low], rtol=1e-9)
    padded = paired_rmse_difference(np.append(a, 0), np.append(b, 0), np.append(counts, 0))
    assert padded == difference


def test_the_rmse_difference_of_no_user_one_user_and_invalid_input() -> None:
    assert np.isnan(paired_rmse_difference([], [], [])).all()
    alone = paired_rmse_difference([4.0], [1.0], [1])
    assert alone.mean == 1.0
    assert np.isnan(alone[1:]).all()
    with pytest.raises(DataError, match="must have the same "):
        paired_rmse_difference([1.0], [1.0, 2.0], [1, 1])
    with pytest.raises(DataError, match="nonnegative"):
        paired_rmse_difference([-1.0], [1.0], [1])
    with pytest.raises(ParameterError, match="confidence"):
        paired_rmse_difference([1.0, 2.0], [1.0, 2.0], [1, 1], confidence=2)


def test_sign_flips_agree_with_all_flips() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, 12)
    every = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=12)]
    exact = np.mean(np.array(every) >= abs(differences.sum()) - 1e-9)
    assert sign_flip(differences, flips=20_000) == pytest.approx(exact, abs=0.015)


def test_p_values_are_uniform_under_the_null_hypothesis() -> None:
    rng = np.random.default_rng(4)
    p = [sign_flip(rng.standard_t(3, 40), flips=199, seed=seed) for seed in range(600)]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.075
    assert np.mean(p) == pytest.approx(0.5, abs=0.04)


def test_a_constant_difference_is_significant_with_either_sign_and_missing_users() -> None:
    differences = np.random.default_rng(5).normal(0.3, 1, 400)
    p = sign_flip(differences)
    assert p == 1e-4
    assert sign_flip(-differences) == p
    assert sign_flip(np.append(differences, [np.nan, 0.0])) == p
    assert (sign_flip([]), sign_flip([np.nan]), sign_flip([0.0] * 9)) == (1.0, 1.0, 1.0)
    with pytest.raises(DataError, match="infinite"):
        sign_flip([np.inf])
    with pytest.raises(ParameterError, match="flips"):
        sign_flip([1.0], flips=0)


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_is_a_correction(p: list[float]) -> None:
    corrected = holm(p)
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(1, np.array(p) * max(len(p), 1)) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


def test_holm_by_hand_and_with_gaps() -> None:
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.005]), [0.03, 0.04, 0.04, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.5]), [0.02, np.nan, 0.5])
    assert holm([]).tolist() == []


# the choice of the best model


def test_two_models_have_the_p_value_of_the_sign_flip_test() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(80, 2)) + np.array([0.0, 0.25])
    p = model_confidence_set(values, seed=3)
    assert p[values.sum(axis=0).argmax()] == 1
    assert p.min() == pytest.approx(sign_flip(values[:, 0] - values[:, 1], seed=3), abs=0.01)


@pytest.mark.parametrize("n_models", [5, pytest.param(21, marks=pytest.mark.long)])
def test_none_of_several_equally_good_models_is_worse_in_95_percent_of_samples(n_models: int) -> None:
    """Tests against the apparent best with Holm's correction find a worse model in up to a quarter of samples."""
    rng, runs, alarms = np.random.default_rng(7), 400, 0
    for run in range(runs):
        spread = rng.uniform(0.05, 1, n_models) if run % 2 else 0.3
        values = rng.normal(size=(250, 1)) + spread * rng.normal(size=(250, n_models))
        alarms += bool((model_confidence_set(values, flips=199, seed=run) < 0.05).any())
    assert alarms / runs < 0.05 + 0.025  # two standard deviations


def test_worse_models_are_detected() -> None:
    rng = np.random.default_rng(8)
    quality = np.repeat([0.0, -0.1, -1.0], [2, 2, 6])
    values = rng.normal(size=(600, 1)) + quality + 0.3 * rng.normal(size=(600, 10))
    p = model_confidence_set(values, flips=999)
    assert (p[:2] > 0.05).all()
    assert (p[2:] <= 0.002).all()
    order = rng.permutation(10)
    np.testing.assert_array_equal(model_confidence_set(values[:, order], flips=999), p[order])
    np.testing.assert_array_equal(model_confidence_set(1000 * values + 5, flips=999), p)


def test_identical_models_users_without_values_and_empty_tables() -> None:
    column = np.random.default_rng(9).normal(size=50)
    assert model_confidence_set(np.column_stack([column] * 3)).tolist() == [1.0, 1.0, 1.0]
    values = np.column_stack([column, column - 1])
    with_blank = np.vstack([values, [[np.nan, 1.0]]])
    np.testing.assert_array_equal(model_confidence_set(with_blank), model_confidence_set(values))
    assert model_confidence_set(values[:, :1]).tolist() == [1.0]
    assert model_confidence_set(np.zeros((0, 2))).tolist() == [1.0, 1.0]
    assert model_confidence_set(np.zeros((5, 0))).tolist() == []
    with pytest.raises(DataError, match="one row per user and one column per model"):
        model_confidence_set(column)
    with pytest.raises(DataError, match="infinite"):
        model_confidence_set([[np.inf, 0.0]])
    with pytest.raises(ParameterError, match="flips"):
        model_confidence_set(values, flips=0)


# the validation split and the tuned baseline


def test_the_inner_split_is_made_like_the_outer_split_from_training_rows_only(
    small_ratings: Interactions, small_events: Interactions
) -> None:
    for outer, order in (
        (split_random(small_ratings), "any"),
        (split_per_user(small_events, test=0.3), "any"),
        (split_by_time(small_ratings), "by time"),
        (split_last(small_ratings, n=2), "by time per user"),
        (split_users(small_ratings, test=0.3), "any"),
    ):
        inner = split_for_validation(outer, seed=4)
        assert inner.order == order
        assert (inner.fold_in is None) == (outer.fold_in is None)
        given_back = 0 if inner.fold_in is None else len(inner.fold_in)
        assert len(inner.train) + len(inner.test) + given_back == len(outer.train)
        Split(inner.train, outer.test)  # no row of the test part is in it
        Split(inner.test, outer.test)
    per_user = split_for_validation(split_per_user(small_events, test=0.3))
    assert "per user" in per_user.description


def test_the_tuned_baseline_is_the_best_candidate_on_the_validation_part(
    of_events: Split, of_ratings: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_baseline, "_tuned", {})
    for split in (of_events, of_ratings):
        fits: list[int] = []
        tuned = tune_baseline(split, on_fit=lambda: fits.append(1))  # noqa: B023
        name, grid = next((n, g) for n, g in BASELINE_GRIDS[split.train.kind].items() if n in REGISTRY)
        assert tuned.name == name
        assert len(fits) == 1 + sum(len(values) - 1 for values in grid.values())
        inner = split_for_validation(split)
        metric = primary_metric(split.train.kind)

        def of(estimator: Estimator, inner: Split = inner) -> float:
            return primary_value(Recommender.fit(estimator, inner.train), inner)

        last = list(grid)[-1]
        default = getattr(REGISTRY[name](), last)
        values = [type(default)(default * factor) for factor in grid[last]]
        tried = [of(tuned.set_params(**{last: value})) for value in values]
        assert not any(metric.is_better(value, of(tuned)) for value in [*tried, of(REGISTRY[name]())])


def test_the_candidate_settings_include_the_defaults() -> None:
    for models in BASELINE_GRIDS.values():
        for name, grid in models.items():
            assert all(1 in factors and getattr(REGISTRY[name](), setting) > 0 for setting, factors in grid.items())


def test_a_table_too_small_to_split_gives_the_baseline_with_defaults() -> None:
    tiny = Interactions.from_columns(["a", "a", "b", "b"], ["x", "y", "x", "y"], kind="events")
    split = Split(tiny.select([True, False, True, True]), tiny.select([False, True, False, False]))
    assert tune_baseline(split) == ImplicitALS()
    comparison = compare(Popularity(), split, tuned_baseline=True)
    assert {model.role for model in comparison.models} == {"baseline", "tuned baseline"}


def test_the_population_matches_the_table(of_ratings: Split, of_events: Split, small_events: Interactions) -> None:
    held_out = split_users(small_events, test=0.3)
    for estimator, split, metric in (
        (ALS, of_ratings, "rmse"), (IALS, of_events, "ndcg@10"), (IALS, held_out, "ndcg@10"),
    ):  # fmt: skip
        table = evaluate(estimator, split)[estimator.name].metrics[metric].mean
        assert primary_value(Recommender.fit(estimator, split.train), split) == pytest.approx(table)


# the comparison


def test_a_tuned_baseline_is_computed_once_for_the_same_training_set(
    of_events: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_baseline, "_tuned", {})
    monkeypatch.setattr(tuned_baseline, "MAX_STORED", 2)
    fits: list[int] = []

    def tune(split: Split, seed: int = 0) -> Estimator:
        return tune_baseline(split, seed=seed, on_fit=lambda: fits.append(1))

    first = tune(of_events)
    one_search = len(fits)
    assert one_search == 5
    train = of_events.train.select(np.ones(len(of_events.train), bool))
    assert tune(replace(of_events, train=train, description="a copy")) == first
    assert len(fits) == one_search
    tune(of_events, seed=1)
    assert len(fits) == 2 * one_search
    rows = np.arange(len(train)) > 0
    tune(Split(train.select(rows), of_events.test))  # the third result replaces the first one
    assert len(fits) == 3 * one_search
    assert len(tuned_baseline._tuned) == 2
    assert tune(of_events) == first
    assert len(fits) == 4 * one_search


def test_the_tuned_baseline_is_left_out_unless_requested(of_events: Split, ranked: Comparison) -> None:
    labels: list[str] = []
    comparison = compare(IALS, of_events, on_fit=labels.append)
    assert labels == ["implicit-als", "popularity"]
    assert [comparison.tuned_baseline, comparison.as_dict()["tuned_baseline"]] == [None, None]
    assert ranked.tuned_baseline is not None
    assert ranked.as_dict()["tuned_baseline"] == ranked.tuned_baseline.score.label == "implicit-als (tuned)"


def test_the_baseline_is_always_included_and_the_tuned_baseline_on_request(
    rated: Comparison, ranked: Comparison
) -> None:
    for comparison, baseline, requested in ((rated, "bias", 3), (ranked, "popularity", 1)):
        roles = [model.role for model in comparison.models]
        assert roles.count("baseline") == roles.count("tuned baseline") == 1
        assert roles.count("requested") == requested
        assert comparison[baseline].role == "baseline"
    assert [m.score.label for m in ranked.models if m.role == "tuned baseline"] == ["implicit-als (tuned)"]


def test_requested_models_are_not_duplicated(of_events: Split) -> None:
    tuned = tune_baseline(of_events)
    comparison = compare([Popularity(), tuned], of_events, tuned_baseline=True)
    assert sorted(model.score.label for model in comparison.models) == ["implicit-als", "popularity"]
    assert comparison["implicit-als"].role == "tuned baseline"


def test_the_best_is_first_and_the_others_are_tested_against_it(rated: Comparison, of_ratings: Split) -> None:
    values = [model.score.metrics["rmse"].mean for model in rated.models]
    assert values == sorted(values)
    assert rated.best.versus_best == "best"
    assert isnan(rated.best.p)
    counts = np.bincount(of_ratings.test.u, minlength=of_ratings.test.n_users)[rated.best.score.users]
    for model in rated.models[1:]:
        assert model.difference.mean == pytest.approx(model.score.metrics["rmse"].mean - values[0])
    losses = np.column_stack([model.score.per_user["squared_error"] * counts for model in rated.models])
    assert [model.p for model in rated.models[1:]] == model_confidence_set(-losses)[1:].tolist()


def test_similar_models_are_within_noise_and_the_baseline_is_worse(rated: Comparison, ranked: Comparison) -> None:
    assert rated["bias"].versus_best == "worse (p<0.001)"
    assert ranked["popularity"].versus_best.startswith("worse")
    assert ranked["popularity"].difference.mean < 0
    models = [rated["explicit-als #1"], rated["explicit-als #2"]]
    assert abs(models[0].score.metrics["rmse"].mean - models[1].score.metrics["rmse"].mean) < 0.01
    for model in rated.models[1:]:
        assert (model.versus_best == "within noise") == (model.p >= 0.05)


@pytest.mark.long
def test_the_same_model_twice_has_no_difference(of_ratings: Split) -> None:
    comparison = compare([ALS, ALS], of_ratings)
    first, second = comparison["explicit-als #1"], comparison["explicit-als #2"]
    assert [value.mean for value in first.score.metrics.values()] == [
        value.mean for value in second.score.metrics.values()
    ]
    worse = max((first, second), key=comparison.models.index)
    if {first, second} & {comparison.best}:
        assert (worse.p, worse.versus_best) == (1.0, "within noise")
    else:
        assert first.p == second.p


def test_the_frame_and_json_are_complete(rated: Comparison, ranked: Comparison) -> None:
    for comparison in (rated, ranked):
        frame = comparison.frame()
        assert frame["model"].to_list() == [model.score.label for model in comparison.models]
        assert frame["versus_best"][0] == "best"
        assert (frame["metric"] == comparison.metric).all()
        assert frame["low"].is_nan().all()  # fewer than 200 users
        assert (frame["fit_seconds"] > 0).all()
        document = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
        assert (document["task"], document["metric"]) == (comparison.task, comparison.metric)
        assert document["models"][0]["p"] is None
        assert document["models"][0]["estimator"]["estimator"] == comparison.best.estimator.name
        assert set(comparison.evaluation.frame()["model"]) == set(frame["model"])
    assert ranked.metric == "ndcg@5"
    assert "recall@10" in ranked.best.score.metrics
    with pytest.raises(ParameterError, match=r"no model 'x' in this comparison; it has .*bias"):
        rated["x"]


@pytest.mark.long
def test_metrics_equal_those_of_evaluate_and_are_reproducible(ranked: Comparison, of_events: Split) -> None:
    alone = evaluate(IALS, of_events, ks=(5, 10))
    assert repr(ranked["implicit-als"].score.metrics) == repr(alone["implicit-als"].metrics)
    again = compare(IALS, of_events, ks=(5, 10), tuned_baseline=True)
    timeless = ["model", "role", "versus_best", "value", "low", "high", "difference_low", "p"]
    assert again.frame()[timeless].equals(ranked.frame()[timeless], null_equal=True)


def test_fits_are_reported_in_order(of_events: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned_baseline, "_tuned", {})
    labels: list[str] = []
    compare(Popularity(), of_events, tuned_baseline=True, on_fit=labels.append)
    assert labels == ["a tuned baseline"] * 5 + ["popularity", "implicit-als (tuned)"]


# invalid input


def test_tasks_are_never_mixed(of_ratings: Split, of_events: Split) -> None:
    with pytest.raises(KindError, match=r"the ranking task requires events.*min_rating=4"):
        compare(ALS, of_ratings, task="ranking")
    with pytest.raises(KindError, match="the rating task requires ratings, but the table contains events"):
        compare(IALS, of_events, task="rating")
    with pytest.raises(ParameterError, match="task must be rating or ranking, not 'both'"):
        compare(IALS, of_events, task="both")  # type: ignore[arg-type]
    labels: list[str] = []
    with pytest.raises(KindError, match="implicit-als learns from events"):
        compare([ALS, IALS], of_ratings, on_fit=labels.append)
    assert labels == []


def test_a_failed_fit_is_reported_and_the_others_are_compared(of_ratings: Split) -> None:
    wild = BiasedMF(factors=4, learning_rate=9.0, rating_range=None, epochs=30)
    comparison = compare([wild, ALS], of_ratings)
    assert [label for label, _ in comparison.failed] == ["biased-mf"]
    assert "the fit diverged in epoch" in comparison.failed[0][1]
    assert "biased-mf" not in {model.score.label for model in comparison.models}
    assert comparison.as_dict()["failed"] == [{"model": "biased-mf", "reason": comparison.failed[0][1]}]
    with pytest.raises(DivergedError):
        compare(wild, of_ratings)


def test_a_split_that_leaks_is_rejected(of_ratings: Split) -> None:
    leaking = replace(of_ratings)
    object.__setattr__(leaking, "test", of_ratings.train.select(np.arange(len(of_ratings.train)) < 50))
    with pytest.raises(LeakageError, match="are in both train and test"):
        compare(ALS, leaking)
    with pytest.raises(DataError, match="split must be of type Split, not"):
        compare(ALS, (of_ratings.train, of_ratings.test))  # type: ignore[arg-type]


def test_ks_are_checked_before_anything_is_fitted(of_events: Split) -> None:
    labels: list[str] = []
    with pytest.raises(ParameterError, match="ks must be a list of integers"):
        compare(IALS, of_events, ks=(), on_fit=labels.append)
    assert labels == []


def test_metrics_without_test_users_are_nan(of_events: Split) -> None:
    disliked = of_events.test.with_weights(-np.ones(len(of_events.test)))
    comparison = compare(Popularity(), Split(of_events.train, disliked))
    assert {model.versus_best for model in comparison.models} == {"not measured"}
    assert json.dumps(comparison.as_dict(), allow_nan=False)
