"""Calibration where the truth is known: a calibrated model passes, and a miscalibrated one is detected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
import pytest

from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import Bias, ImplicitALS
from cofactor.evaluate.reliability import (
    calibration,
    constant_width,
    interval_coverage,
    log_likelihood,
    ranked_probability_score,
    reliability,
)
from cofactor.evaluate.split import Split, split_random, split_users
from cofactor.models.distribution import Distribution
from cofactor.models.factor import FactorModel
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender

STARS = Scale.from_levels([1, 2, 3, 4, 5])
FINE = Scale.from_levels([half / 2 for half in range(-4, 17)])
N = 20_000


@pytest.fixture(scope="module")
def normals() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, sds (quiet and noisy ratings), and real-valued ratings drawn from just these normals."""
    rng = np.random.default_rng(0)
    means, sds = rng.normal(3.3, 0.7, N), rng.choice([0.4, 0.8, 1.3], N)
    return means, sds, rng.normal(means, sds)


def predicted(means: np.ndarray, sds: np.ndarray) -> Distribution:
    return Distribution.of(means[:, None], sds[:, None], STARS)


def starred(y: np.ndarray) -> np.ndarray:
    return np.clip(np.round(y), 1, 5)


def off(table: Any) -> float:
    """How many standard deviations reliability strays, in the mean over bins that hold enough."""
    some = table.filter(table["n"] >= 50)
    return float((abs(some["observed"] - some["predicted"]) / some["sd"]).mean())


# reliability


def test_a_calibrated_model_deviates_by_chance_alone(normals: Any) -> None:
    means, sds, y = normals
    table = reliability(predicted(means, sds), starred(y))
    assert set(table["level"]) == {2.0, 3.0, 4.0, 5.0}
    assert table.group_by("level").agg(table["n"].sum()).height == 4
    assert off(table) < 1.2
    assert (table["predicted"].is_between(table["low"], table["high"])).all()
    for level in (2.0, 4.0):
        assert table.filter(table["level"] == level)["n"].sum() == N


@pytest.mark.parametrize(("shift", "stretch"), [(0.3, 1.0), (0.0, 0.6), (0.0, 1.8)])
def test_miscalibration_is_detected(normals: Any, shift: float, stretch: float) -> None:
    means, sds, y = normals
    assert off(reliability(predicted(means + shift, sds * stretch), starred(y))) > 2


def test_reliability_by_hand() -> None:
    two = Distribution.of([[1.5], [1.5], [30.0]], [[1.0], [1.0], [1.0]], Scale.from_levels([1, 2]))
    table = reliability(two, [1.0, 2.0, 2.0], bins=4)
    assert table["n"].to_list() == [2, 1]
    assert table["observed"].to_list() == [0.5, 1.0]
    np.testing.assert_allclose(table["predicted"], [0.5, 1 - 1e-6], atol=1e-9)
    np.testing.assert_allclose(table["sd"][0], 0.5 / sqrt(2))
    assert reliability(two, [1.0, 2.0, 2.0], bins=1).height == 1


# coverage


def test_calibrated_intervals_have_their_coverage_in_every_quartile(normals: Any) -> None:
    means, sds, y = normals
    table = interval_coverage(predicted(means, sds), y, groups={"sd": sds, "mean": means})
    assert table["group"].to_list() == ["all"] + ["sd"] * 4 + ["mean"] * 4
    for level, expected in (("80 %", 0.8), ("95 %", 0.95)):
        rows = table.filter(table["n"] > 0)
        wander = 4 * np.sqrt(expected * (1 - expected) / rows["n"].to_numpy())
        assert (np.abs(rows[f"covered {level}"].to_numpy() - expected) < wander).all()
    assert table["n"][0] == table.filter(table["group"] == "mean")["n"].sum() == N


def test_a_constant_width_covers_overall_but_fails_by_quartile(normals: Any) -> None:
    means, sds, y = normals
    plain = constant_width(predicted(means, sds), y, STARS)
    assert plain.sd()[0] == pytest.approx(sqrt(np.mean((y - means) ** 2)))
    table = interval_coverage(plain, y, groups={"sd": sds})
    assert table["covered 95 %"][0] == pytest.approx(0.95, abs=0.02)
    by_quartile = table.filter((table["group"] == "sd") & (table["n"] > 0))["covered 95 %"].to_list()
    assert by_quartile[0] > 0.99
    assert by_quartile[-1] < 0.90


def test_quartiles_keep_equal_numbers_together_and_omit_nan() -> None:
    distribution = predicted(np.full(8, 3.0), np.ones(8))
    table = interval_coverage(
        distribution,
        np.full(8, 3.0),
        groups={"g": [1, 1, 1, 1, 1, 1, 2, np.nan], "none": [np.nan] * 8},
        probabilities=(0.5,),
    )
    g = table.filter(table["group"] == "g")
    assert g["n"].sum() == 7
    assert g["n"].to_list() == [6, 0, 0, 1]
    assert g["low"].to_list() == [1.0, None, None, 2.0]
    assert g["covered 50 %"].to_list() == [1.0, None, None, 1.0]
    assert table.filter(table["group"] == "none")["n"].to_list() == [0] * 4
    assert table["width 50 %"][0] == pytest.approx(2 * 0.6744897, abs=1e-6)


def test_expected_is_the_probability_of_the_interval_by_its_own_mass() -> None:
    mass = np.tile([0.06, 0.1, 0.2, 0.4, 0.24], (N, 1))
    distribution = Distribution.of_mass(mass, STARS)
    (low, high), held = (end[0] for end in distribution.interval(0.8)), 0.1 + 0.2 + 0.4 + 0.24
    assert 1.0 < low < 2.0
    assert high > 5.0
    y = np.random.default_rng(3).choice(5, N, p=mass[0]) + 1.0
    table = interval_coverage(distribution, y, groups={"y": y})
    assert table["expected 80 %"].to_list()[0] == pytest.approx(held)
    assert table["covered 80 %"][0] == pytest.approx(held, abs=4 * sqrt(held * (1 - held) / N))
    assert set(table.filter(table["n"] > 0)["expected 95 %"].round(9)) == {1.0}
    bare = Distribution.of([[3.0]], [[1.0]], Scale(1.0, 5.0))
    assert interval_coverage(bare, [3.3])["expected 95 %"].to_list() == [0.95]


@pytest.mark.parametrize("scale", [None, STARS, Scale(1.0, 5.0)], ids=["none", "levels", "range"])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_a_rating_at_an_end_of_its_interval_is_inside(scale: Scale | None, level: float) -> None:
    distribution = Distribution.of([[2.5], [3.0], [4.0]], [[0.4], [1.0], [0.7]], scale)
    low, high = distribution.interval(level)
    name = f"covered {level:.0%}".replace("%", " %")
    for end, outwards in ((low, -np.inf), (high, np.inf)):
        assert interval_coverage(distribution, end, probabilities=[level])[name].to_list() == [1.0]
        assert interval_coverage(distribution, np.nextafter(end, outwards), probabilities=[level])[name].to_list() == [
            0.0
        ]
        assert interval_coverage(distribution, np.nextafter(end, -outwards), probabilities=[level])[name].to_list() == [
            1.0
        ]


# scores


def test_log_likelihood_and_crps_by_hand() -> None:
    distribution = Distribution.of([[3.0]], [[1.0]], STARS)
    mass = distribution.mass[0]
    for place in range(5):
        assert log_likelihood(distribution, [place + 1.0]) == pytest.approx(log(mass[place]))
        step = np.arange(5) >= place
        assert ranked_probability_score(distribution, [place + 1.0]) == pytest.approx(
            np.sum((np.cumsum(mass) - step) ** 2)
        )
    sure = Distribution.of([[2.0]], [[1e-3]], STARS)
    for value in (1.0, 2.0, 5.0):  # a mass on one level: the absolute error
        assert ranked_probability_score(sure, [value]) == pytest.approx(abs(value - 2), abs=1e-4)
    assert log_likelihood(sure, [5.0]) == pytest.approx(log(1e-6), abs=1e-3)


def test_crps_is_in_units_of_the_ratings_and_is_that_of_two_draws() -> None:
    halves = Scale.from_levels([half / 2 for half in range(1, 11)])
    distribution = Distribution.of([[3.1]], [[0.9]], halves)
    rng = np.random.default_rng(1)
    x, z = (rng.choice(distribution.levels, 400_000, p=distribution.mass[0]) for _ in range(2))
    expected = np.abs(x - 4.5).mean() - np.abs(x - z).mean() / 2  # Gneiting & Raftery 2007, eq. 21
    assert ranked_probability_score(distribution, [4.5]) == pytest.approx(expected, abs=3e-3)


def test_the_true_distribution_scores_best(normals: Any) -> None:
    means, sds, y = normals
    stars = starred(y)
    truth = predicted(means, sds)
    others = [predicted(means + 0.3, sds), predicted(means, sds * 0.6), predicted(means, sds * 1.8)]
    others.append(constant_width(truth, stars, STARS))
    for other in others:
        assert log_likelihood(truth, stars) > log_likelihood(other, stars) + 0.005
        assert ranked_probability_score(truth, stars) < ranked_probability_score(other, stars) - 0.002


def test_nothing_and_a_scale_without_levels() -> None:
    empty = Distribution.of(np.zeros((0, 2)), np.ones((0, 2)), STARS)
    bare = Distribution.of([[3.0]], [[1.0]], Scale(1.0, 5.0))
    for distribution, y in ((empty, []), (bare, [3.3])):
        assert np.isnan(log_likelihood(distribution, y))
        assert np.isnan(ranked_probability_score(distribution, y))
        assert len(reliability(distribution, y)) == 0
    assert interval_coverage(empty, [], groups={"g": []})["n"].to_list() == [0] * 5
    assert interval_coverage(bare, [3.3])["covered 95 %"].to_list() == [1.0]
    assert len(constant_width(empty, [], STARS)) == 0


def test_wrong_input_is_named() -> None:
    distribution = Distribution.of([[3.0]], [[1.0]], STARS)
    with pytest.raises(DataError, match=r"rating 1 is 3.5, which is not a level"):
        log_likelihood(distribution, [3.5])
    for function in (log_likelihood, ranked_probability_score, reliability, interval_coverage):
        with pytest.raises(DataError, match="y must have one rating per distribution; got shape"):
            function(distribution, [3.0, 4.0])  # type: ignore[operator]
    with pytest.raises(ParameterError, match="bins must be an integer >= 1"):
        reliability(distribution, [3.0], bins=0)
    with pytest.raises(DataError, match="group 'g' must have one value per rating; got 2 values for 1 ratings"):
        interval_coverage(distribution, [3.0], groups={"g": [1.0, 2.0]})


def test_a_mass_is_scored_and_compared_with_a_constant_width() -> None:
    rng = np.random.default_rng(4)
    mass = rng.dirichlet([1, 2, 3, 4, 2], N)
    y = (rng.random(N)[:, None] > np.cumsum(mass, axis=1)[:, :-1]).sum(axis=1) + 1.0
    truth = Distribution.of_mass(mass, STARS)
    assert off(reliability(truth, y)) < 1.2
    assert off(reliability(Distribution.of_mass(mass[:, ::-1], STARS), y)) > 2
    plain = constant_width(truth, y, STARS)
    np.testing.assert_allclose(plain.mean(), truth.mean())
    assert plain.sd()[0] == pytest.approx(sqrt(np.mean((y - truth.mean()) ** 2)))
    assert log_likelihood(truth, y) > log_likelihood(plain, y) + 0.1
    assert ranked_probability_score(truth, y) < ranked_probability_score(plain, y) - 0.02


# a fitted model


@dataclass(frozen=True, eq=False)
class Gaussian(FactorModel):
    """Averages with a width: users in even rows are quiet, the others noisy; both known to the model."""

    def distribution(self, users: UserBatch, items: Any) -> Distribution:
        means = self.raw_scores(users.rows, items)[:, None]
        return Distribution.of(means, np.where(users.rows % 2 == 0, 0.5, 1.2)[:, None], self.scale)


@pytest.fixture(scope="module")
def calibrated() -> tuple[Recommender, Split]:
    rng = np.random.default_rng(2)
    u, i = np.repeat(np.arange(120), 80), np.tile(np.arange(80), 120)
    level, liked = rng.normal(0, 0.4, 120), rng.normal(0, 0.4, 80)
    y = rng.normal(3 + level[u] + liked[i], np.where(u % 2 == 0, 0.5, 1.2))
    table = Interactions.from_columns(u, i, np.clip(np.round(2 * y) / 2, -2, 8), scale=FINE)  # hardly any tails
    split = split_random(table, test=0.3)
    fitted = Recommender.fit(Bias(), split.train).model
    parts = {name: getattr(fitted, name) for name in ("mean", "scale", "loss")}
    model = Gaussian(**fitted.arrays(), **parts)
    train = split.train
    return Recommender(model, train.users, train.items, train.by_user, "ratings"), split


def test_a_model_is_calibrated_on_the_test_part(calibrated: Any) -> None:
    rec, split = calibrated
    result = calibration(rec, split)
    assert result.n == len(split.test)
    error = rec.model.raw_scores(split.test.u, split.test.i).astype(np.float64) - split.test.values
    assert result.rmse == pytest.approx(sqrt(np.mean(error**2)))
    assert result.coverage["group"].unique(maintain_order=True).to_list() == [
        "all", "user's noise", "user's support", "item's support", "predicted width",
    ]  # fmt: skip
    some = result.coverage.filter(result.coverage["n"] > 0)
    slack = 0.02 + 3 * np.sqrt(0.95 * 0.05 / some["n"].to_numpy())  # the averages are not known exactly
    assert (np.abs(some["covered 95 %"].to_numpy() - 0.95) < slack).all()
    noise = result.coverage.filter(result.coverage["group"] == "user's noise")
    assert noise["high"][0] < 0.8 < noise["low"][3]  # noise is measured on training ratings, and parts the two kinds
    assert result.crps_gain == pytest.approx(1 - result.crps / result.constant_crps)
    assert result.crps_gain > 0.02
    assert result.log_likelihood > result.constant_log_likelihood + 0.05
    record = json.loads(json.dumps(result.as_dict()))
    assert record["crps_gain"] == result.crps_gain
    assert len(record["coverage"]) == 17


def test_training_ratings_alone_decide_the_quartiles_of_noise(calibrated: Any) -> None:
    rec, split = calibrated
    train = split.train
    residual = train.values - rec.model.predict(UserBatch.trained(train.u, rec.histories), train.i).astype(np.float64)
    noise = np.array([residual[train.u == u].std(ddof=1) for u in range(120)])[split.test.u]
    expected = np.quantile(noise, 0.25)
    table = calibration(rec, split).coverage
    first = table.filter((table["group"] == "user's noise") & (table["quartile"] == 1))
    assert first["high"][0] == pytest.approx(noise[noise <= expected].max(), rel=1e-4)


def test_held_out_users_are_folded_in_first(calibrated: Any) -> None:
    rec, split = calibrated
    held_out = split_users(split.train, test=0.2)
    fitted = Recommender.fit(Bias(), held_out.train)
    parts = {name: getattr(fitted.model, name) for name in ("mean", "scale", "loss")}
    model = Gaussian(**fitted.model.arrays(), **parts)
    recommender = Recommender(model, rec.users, rec.items, held_out.train.by_user, "ratings")
    result = calibration(recommender, held_out)
    assert result.n == len(held_out.test)
    assert result.rmse < 1.1
    assert held_out.fold_in is not None
    support = result.coverage.filter(result.coverage["group"] == "user's support")
    assert support["high"].max() == held_out.fold_in.by_user.counts.max()


@pytest.mark.parametrize("probabilities", [(), [0.8, 1], [0.8, 2.0], ["a"], 0.8])
def test_probabilities_lie_between_0_and_1_and_at_least_one_is_needed(calibrated: Any, probabilities: Any) -> None:
    with pytest.raises(
        ParameterError,
        match=r"probabilities must be (one or more|a list|a finite number)",
    ):
        calibration(*calibrated, probabilities=probabilities)


def test_models_without_a_distribution_and_events_are_rejected(calibrated: Any, small_events: Interactions) -> None:
    rec, split = calibrated
    with pytest.raises(
        KindError, match=r"bias does not predict distributions over ratings.*fit bayesian-mf, or neural-mf"
    ):
        calibration(Recommender.fit(Bias(), split.train), split)
    events = split_random(small_events)
    with pytest.raises(KindError, match="does not predict distributions over ratings"):
        calibration(Recommender.fit(ImplicitALS(factors=2, epochs=1), events.train), events)
    other = Interactions.from_columns(["a", "b", "c"], ["x", "y", "z"], [1, 5, 2], scale=STARS)
    with pytest.raises(DataError, match="different users or items"):
        calibration(rec, split_random(other, test=0.5))
