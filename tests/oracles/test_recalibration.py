"""Recalibration: uniform probability integral transforms and level frequencies on other ratings of the same kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.estimators import BayesianMF
from cofactor.estimators.bayes import leave_one_out
from cofactor.evaluate.reliability import calibration, log_likelihood, probability_integral_transform
from cofactor.evaluate.split import split_random
from cofactor.models import BayesianModel
from cofactor.models.distribution import Distribution, NormalMixture
from cofactor.models.recalibration import PROBABILITIES, Recalibration
from cofactor.recommender.recommender import Recommender

N = 40_000
NOTHING = np.zeros(0, np.float32)


def skewed_noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise with mean 0 and sd 1, whose lower tail is longer; the shape is drawn from a wide range."""
    shape = rng.uniform(1.5, 8)
    return (shape - rng.gamma(shape, 1, n)) / np.sqrt(shape)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [(1, 2, 3, 4, 5), tuple(range(11)), ()])
def test_other_ratings_of_the_same_kind_become_calibrated(seed: int, levels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    center, width = (5.0, 10.0) if not levels else (np.mean(levels), max(levels) - min(levels))
    means = rng.normal(center + 0.1 * width, 0.15 * width, 2 * N)
    sds = 0.2 * width * rng.gamma(10, 0.1, 2 * N)
    y = means + sds * rng.uniform(0.8, 1.2) * skewed_noise(rng, 2 * N)
    scale = Scale.from_levels(levels) if levels else None
    if scale is not None:
        y = np.clip(np.round(y), levels[0], levels[-1])
    m, s, grid = means[:, None], sds[:, None], np.asarray(levels, np.float32)
    learned = Recalibration.learned(m[:N], s[:N], y[:N], grid)
    before, after = (Distribution.of(m[N:], s[N:], scale, correction) for correction in (None, learned))
    tails = []
    for predicted in (before, after):
        transform = probability_integral_transform(predicted, y[N:])
        tails.append(((transform < 0.025).mean(), (transform > 0.975).mean()))
    assert tails[1] == pytest.approx((0.025, 0.025), abs=0.004)
    assert np.abs(np.subtract(tails[0], 0.025)).max() > 0.006
    np.testing.assert_array_equal(before.mean(), after.mean())
    if scale is not None:
        observed = (y[N:, None] == grid).mean(axis=0)
        assert np.abs(after.mass.mean(axis=0) - observed).max() < 0.012
        assert log_likelihood(after, y[N:]) > log_likelihood(before, y[N:])


@pytest.mark.parametrize("levels", [(1, 2, 3, 4, 5), ()])
def test_right_predictions_are_hardly_changed(levels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    means, sds = rng.normal(3.2, 0.6, (N, 1)), rng.uniform(0.5, 1.2, (N, 1))
    y = rng.normal(means, sds)[:, 0]
    y = np.clip(np.round(y), 1, 5) if levels else y
    learned = Recalibration.learned(means, sds, y, np.asarray(levels, np.float32))
    np.testing.assert_allclose(learned.probabilities, PROBABILITIES, atol=0.015)
    np.testing.assert_allclose(learned.points, learned.ratings, atol=0.05)
    few = Recalibration.learned(means[:3], sds[:3], y[:3] * 0 + 1, np.asarray(levels, np.float32))
    np.testing.assert_allclose(few.probabilities, PROBABILITIES, atol=0.03)  # three ratings count little
    nothing = Recalibration.learned(means[:0], sds[:0], y[:0], NOTHING)
    np.testing.assert_allclose(nothing.probabilities, PROBABILITIES, atol=1e-12)


@pytest.mark.parametrize("levels", [(1, 2, 3, 4, 5), (0, 0.5, 4), ()])
def test_quantiles_invert_the_distribution_function(levels: tuple[float, ...]) -> None:
    rng = np.random.default_rng(6)
    means, sds = rng.normal(3, 1, (400, 3)), rng.uniform(0.3, 1, (400, 3))
    y = means[:, 0] + rng.standard_exponential(400)
    if levels:
        y = np.asarray(levels)[np.abs(y[:, None] - np.asarray(levels)).argmin(axis=1)]
    curve = NormalMixture(means, sds, Recalibration.learned(means, sds, y, np.asarray(levels, np.float32)))
    for p in (0.001, 0.025, 0.5, 0.9, 0.999):
        np.testing.assert_allclose(curve.cdf_at(curve.quantile(p)), p, atol=1e-8)
    points = np.array([-2.0, 0.3, 1.7, 4.9, 8.0])
    np.testing.assert_allclose(curve.cdf(points)[:, 2], curve.cdf_at(np.full(400, points[2])))
    assert (np.diff(curve.cdf(points), axis=1) > 0).all()


def test_rescaling_moves_ratings_and_points() -> None:
    rng = np.random.default_rng(7)
    means, sds = rng.normal(3, 1, (500, 1)), np.ones((500, 1))
    y = np.clip(np.round(rng.normal(3.5, 1.5, 500)), 1, 5)
    learned = Recalibration.learned(means, sds, y, np.float32([1, 2, 3, 4, 5]))
    larger = Recalibration.learned(10 * means + 7, 10 * sds, 10 * y + 7, np.float32([17, 27, 37, 47, 57]))
    moved = learned.rescaled(10, 7)
    np.testing.assert_allclose(moved.points, larger.points, rtol=1e-9)
    np.testing.assert_allclose(moved.ratings, larger.ratings, rtol=1e-9)
    np.testing.assert_allclose(moved.probabilities, larger.probabilities, rtol=1e-9)


def test_invalid_recalibrations_are_rejected() -> None:
    identity = Recalibration(np.zeros(0), np.zeros(0), PROBABILITIES)
    with pytest.raises(DataError, match="points and ratings must have the same length; got 1 and 2"):
        replace(identity, ratings=np.array([1.0, 2.0]), points=np.array([1.0]))
    with pytest.raises(DataError, match="points of a recalibration must be in ascending order"):
        replace(identity, ratings=np.array([1.0, 2.0]), points=np.array([2.0, 1.0]))
    with pytest.raises(DataError, match="must start at 0 and end at 1"):
        replace(identity, probabilities=PROBABILITIES / 2)


def test_bayesian_mf_is_calibrated_and_predicts_the_same(movielens: Interactions) -> None:
    """Without it, about 3% of the ratings are below the 2.5% quantile, and 1 star is predicted too rarely."""
    split, short = split_random(movielens, seed=1), {"iterations": 120, "burn_in": 30}
    plain, learned = (
        Recommender.fit(BayesianMF(recalibrate=recalibrate, **short), split.train, seed=1)
        for recalibrate in (False, True)
    )
    before, after = (calibration(recommender, split) for recommender in (plain, learned))
    assert after.rmse == before.rmse
    assert 0.02 < after.share_below < 0.03
    assert 0.02 < after.share_above < 0.03
    assert after.share_below < before.share_below
    assert after.log_likelihood > before.log_likelihood + 0.005
    assert after.crps < before.crps
    covered = after.coverage["covered 95 %"]
    assert 0.93 < covered.min() <= covered.max() < 0.975  # type: ignore[operator]
    model = learned.model
    assert isinstance(model, BayesianModel)
    test = split.test
    mass = model.distribution(learned.batch(test.u), test.i).mass[:, 0].mean()
    assert mass == pytest.approx((test.values == 1).mean(), abs=0.006)


def test_validation_rows_calibrate_and_few_ratings_do_not(small_ratings: Interactions) -> None:
    split = split_random(small_ratings, seed=0)
    estimator = BayesianMF(factors=2, iterations=20, burn_in=10)
    by_validation = estimator.fit(split.train, validation=split.test)
    assert by_validation.recalibration is not None
    assert estimator.fit(split.train).recalibration is not None
    assert replace(estimator, recalibrate=False).fit(split.train).recalibration is None
    assert replace(estimator, kept_samples=7).fit(split.train).recalibration is None
    tiny = split.train.select(np.arange(len(split.train)) < 49)
    assert estimator.fit(tiny).recalibration is None


@pytest.mark.parametrize("weight", [None, 2.0])
def test_leave_one_out_recovers_the_distribution_without_the_rating(weight: float | None) -> None:
    """For f ~ N(1, t^2) and one rating y ~ N(f, s^2 / w), the distribution without the rating is N(1, t^2)."""
    rng, w = np.random.default_rng(0), weight or 1.0
    t, s, y = 0.5, 0.9, np.array([0.2, 1.0, 3.0])
    variance = 1 / (1 / t**2 + w / s**2)
    posterior = variance * (1 / t**2 + w * y / s**2)
    samples = posterior[:, None] + np.sqrt(variance) * rng.standard_normal((3, 40_000))
    weights = None if weight is None else np.full(3, weight, np.float32)
    means = leave_one_out(samples, np.full(samples.shape, s), y.astype(np.float32), weights)
    np.testing.assert_allclose(means.mean(axis=1), 1, atol=0.02)
    np.testing.assert_allclose(means.std(axis=1), t, rtol=0.02)
