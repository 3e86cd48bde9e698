"""Rating estimators are equivariant: a fit on a r + b predicts a times the prediction of a fit on r, plus b."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor import BiasedMF, Interactions
from cofactor.arrays import Float64
from cofactor.data.scale import Scale, centered
from cofactor.errors import DivergedError
from cofactor.estimators import REGISTRY
from cofactor.estimators.training import FitMonitor
from cofactor.estimators.training_table import Standardization
from cofactor.models.user_batch import UserBatch
from tests.support.estimators import is_random, small

RATING_ESTIMATORS = [name for name, cls in REGISTRY.items() if cls.kind in ("ratings", "any")]
SIGN_EQUIVARIANT = [name for name in RATING_ESTIMATORS if not is_random(name) or name == "explicit-als"]
SCALES = [(a, b * a) for a in (0.01, 0.2, 20, 100) for b in (0, -50, 100)]


def table(a: float, b: float, *, continuous: bool = False) -> Interactions:
    """The same 900 ratings of 40 users and 30 items, as a r + b."""
    stream = np.random.default_rng(5)
    u, i = np.divmod(stream.permutation(1200)[:900], 30)
    taste = stream.normal(size=(40, 2)) @ stream.normal(size=(2, 30))
    r = np.clip(3 + taste[u, i] + 0.5 * stream.normal(size=900), 1, 5)
    return Interactions.from_columns(u, i, a * (r if continuous else np.round(r)) + b)


@cache
def predictions(name: str, a: float, b: float) -> Float64:
    """Predictions for all pairs, converted back to the original scale."""
    ratings = table(a, b)
    model: Any = small(name).fit(ratings, seed=3)
    users, items = np.divmod(np.arange(1200, dtype=np.int32), 30)
    predicted = model.predict(UserBatch.trained(users, ratings.by_user), items.astype(np.int32))
    return (predicted.astype(np.float64) - b) / a


@pytest.mark.parametrize(("a", "b"), SCALES)
@pytest.mark.parametrize("name", RATING_ESTIMATORS)
def test_predictions_follow_a_change_of_scale(name: str, a: float, b: float) -> None:
    tolerance = 1e-3 if is_random(name) else 1e-4
    assert np.abs(predictions(name, a, b) - predictions(name, 1, 0)).max() < tolerance * table(1, 0).values.std()


@pytest.mark.parametrize("name", SIGN_EQUIVARIANT)
def test_predictions_follow_a_change_of_sign(name: str) -> None:
    assert np.abs(predictions(name, -1, 0) - predictions(name, 1, 0)).max() < 1e-4


@pytest.mark.parametrize("continuous", [False, True])
def test_standardized_values_have_mean_0_and_standard_deviation_1(continuous: bool) -> None:
    ratings = replace(table(20, 7, continuous=continuous), weights=np.random.default_rng(1).random(900, np.float32))
    values = Standardization.of(ratings).apply(ratings).values.astype(np.float64)
    mean = np.average(values, weights=ratings.weights)
    assert mean == pytest.approx(0, abs=1e-6)
    assert np.average((values - mean) ** 2, weights=ratings.weights) == pytest.approx(1, abs=1e-5)


def test_standardized_levels_are_the_same_bits_on_every_scale() -> None:
    first = Standardization.of(table(1, 0)).apply(table(1, 0)).values
    for a, b in SCALES:
        ratings = table(a, b)
        assert (Standardization.of(ratings).apply(ratings).values == first).all()


def test_equal_ratings_are_standardized_to_0() -> None:
    ratings = Interactions.from_columns([0, 1], [0, 0], [3.3, 3.3])
    assert Standardization.of(ratings).std == 1
    assert Standardization.of(ratings).apply(ratings).values.tolist() == [0, 0]


def test_centered_uses_the_levels_only_if_they_are_evenly_spaced() -> None:
    uneven = Scale.from_levels([1, 2, 4])
    assert centered(np.float32([1, 4]), 2.0, uneven).tolist() == [-1, 2]
    assert centered(np.float32([1, 4]), 2.0, None).tolist() == [-1, 2]


def test_a_model_continues_in_rating_units() -> None:
    ratings = table(20, -1000)
    assert ratings.scale is not None
    transformation = Standardization.of(ratings)
    model = BiasedMF(factors=3, epochs=3).fit(ratings)
    again = transformation.to_ratings(transformation.to_standard(model), ratings.scale)
    pairs = UserBatch.trained(ratings.u, ratings.by_user), ratings.i
    assert np.allclose(again.predict(*pairs), model.predict(*pairs), rtol=0, atol=1e-3)


def test_a_loss_that_rises_raises() -> None:
    ratings, losses = table(1, 0), [0.5, 0.4, 0.7]
    model = cofactor.Bias().fit(ratings)
    for loss_may_rise in (False, True):
        monitor = FitMonitor(ratings, None, None, epochs=3, patience=1, advice="-", loss_may_rise=loss_may_rise)
        if loss_may_rise:
            assert monitor.run(lambda number: losses[number - 1], lambda: model) is model
        else:
            with pytest.raises(DivergedError, match=r"rose from 0\.5"):
                monitor.run(lambda number: losses[number - 1], lambda: model)


def test_one_test_rating_does_not_change_the_predictions_for_others() -> None:
    ratings = table(1, 0)
    is_test = np.arange(900) % 7 == 0
    outlier = replace(ratings, values=np.where(np.arange(900) == 7, np.float32(40), ratings.values))
    predicted = []
    for whole in (ratings, outlier):
        values = Interactions.from_columns(whole.u, whole.i, whole.values)
        split = cofactor.Split(values.select(~is_test), values.select(is_test))
        assert split.train.scale is not None
        assert split.train.scale.high == 5
        model = BiasedMF(factors=3, epochs=3).fit(split.train)
        users = UserBatch.trained(split.test.u, split.train.by_user)
        predicted.append(model.predict(users, split.test.i))
        assert split.test.values.max() == (5 if whole is ratings else 40)
    assert (predicted[0] == predicted[1]).all()


def test_a_fit_that_is_not_better_than_biases_warns() -> None:
    u, i = np.divmod(np.arange(1200), 30)
    ratings = Interactions.from_columns(u, i, 1 + (u + 2 * (i % 3)) % 5)
    is_held_out = np.arange(1200) % 7 == 0
    train, validation = ratings.select(~is_held_out), ratings.select(is_held_out)
    by_item = replace(train, values=(1 + train.i % 5).astype(np.float32))
    held_out_by_item = replace(validation, values=(1 + validation.i % 5).astype(np.float32))
    with pytest.warns(UserWarning, match="not better than that of biases alone"):
        BiasedMF(factors=1, epochs=1, learning_rate=1e-6).fit(by_item, validation=held_out_by_item)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BiasedMF(factors=4, epochs=60, pseudo_ratings=0).fit(train, validation=validation)
