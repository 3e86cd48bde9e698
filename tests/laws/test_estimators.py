"""Estimators as values, and how a fit is watched: reported, stopped early, continued, or found to diverge."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, DivergedError, KindError, ParameterError
from cofactor.estimators import REGISTRY, Bias, BiasedMF, Epoch, Estimator, ExplicitALS, ImplicitALS, Popularity
from cofactor.estimators.mf import epoch_learning_rate, grid_size
from cofactor.evaluate import Split, split_random
from cofactor.kernels.parallel import threads
from cofactor.models.user_batch import UserBatch

RANGED = [(name, spec.name) for name, kind in REGISTRY.items() for spec in fields(kind) if "low" in spec.metadata]
NUMERIC = [(name, spec) for name, spec in RANGED if isinstance(getattr(REGISTRY[name](), spec), int | float)]
NUMERIC = [(name, spec) for name, spec in NUMERIC if not isinstance(getattr(REGISTRY[name](), spec), bool)]
ITERATIVE: dict[str, Any] = {
    "biased-mf": BiasedMF(factors=4, epochs=6),
    "explicit-als": ExplicitALS(factors=4, epochs=6),
    "implicit-als": ImplicitALS(factors=4, epochs=6),
}
OVERFIT: dict[str, Any] = {
    "biased-mf": BiasedMF(factors=50, epochs=200, l2=0, l2_bias=0, learning_rate=0.05, init_std=0.1),
    "explicit-als": ExplicitALS(factors=50, epochs=50, l2=0.03, l2_bias=0.01),
    "implicit-als": ImplicitALS(factors=60, epochs=50, l2_ratio=1e-6, blank_ratio=15.0, nu=0.25),
}


@pytest.fixture(scope="module")
def splits(small_ratings: Interactions, small_events: Interactions) -> dict[str, Split]:
    return {
        "ratings": split_random(small_ratings, test=0.3),
        "events": split_random(small_events, test=0.3),
    }


def learns_from(estimator: Any) -> str:
    """The kind of table it is tried on: ratings where it takes both."""
    return "ratings" if estimator.kind == "any" else estimator.kind


def spec_of(name: str, parameter: str) -> Any:
    return next(spec for spec in fields(REGISTRY[name]) if spec.name == parameter)


# hyper-parameters


@pytest.mark.parametrize("name", REGISTRY)
def test_every_hyper_parameter_declares_its_meaning_and_range(name: str) -> None:
    estimator = REGISTRY[name]()
    assert estimator.name == name
    for spec in fields(estimator):
        assert len(spec.metadata["meaning"]) > 10
        if (name, spec.name) in NUMERIC:
            assert spec.metadata["low"] <= spec.default <= spec.metadata["high"]


@pytest.mark.parametrize("name", REGISTRY)
def test_the_docstring_of_an_estimator_has_the_meaning_of_each_hyper_parameter(name: str) -> None:
    text = " ".join((REGISTRY[name].__doc__ or "").split())
    for spec in fields(REGISTRY[name]):
        meaning = spec.metadata["meaning"]
        default = repr(spec.default).replace("'", '"')
        if isinstance(spec.default, Estimator):
            default = f"{type(spec.default).__name__}()"
        if spec.type == "tuple[Estimator, ...]":
            default = f"({', '.join(type(part).__name__ + '()' for part in spec.default)})"
        assert f"default {default} {meaning[0].upper()}{meaning[1:]}." in text, spec.name


@pytest.mark.parametrize(("name", "parameter"), NUMERIC)
def test_the_ends_of_a_range_are_accepted_and_values_beyond_are_rejected(name: str, parameter: str) -> None:
    spec = spec_of(name, parameter)
    low, high, kind = spec.metadata["low"], spec.metadata["high"], type(spec.default)
    for end in (low, high):
        assert getattr(REGISTRY[name](**{parameter: kind(end)}), parameter) == end
    step = 1 if kind is int else 1e-9
    for beyond in (kind(low) - step, kind(high) + (1 if kind is int else high)):
        message = re.escape(f"{name}: {parameter} must be from {low:g} to {high:g}, not")
        with pytest.raises(ParameterError, match=message):
            REGISTRY[name](**{parameter: beyond})


@pytest.mark.parametrize(("name", "parameter"), RANGED)
@pytest.mark.parametrize("value", ["ten", b"1", [1], {}, object(), 1j])
def test_a_hyper_parameter_of_another_type_is_rejected(name: str, parameter: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"{name}: {parameter} must be"):
        REGISTRY[name](**{parameter: value})


@pytest.mark.parametrize(("name", "parameter"), NUMERIC)
def test_values_that_are_not_numbers_or_not_integers_are_rejected(name: str, parameter: str) -> None:
    is_integer = type(spec_of(name, parameter).default) is int
    for value in (None, True, float("nan"), float("inf"), *([2.5, 2.0, np.float32(2)] if is_integer else [])):
        kind = "an integer" if is_integer else "a finite number"
        with pytest.raises(ParameterError, match=f"{name}: {parameter} must be {kind}, not"):
            REGISTRY[name](**{parameter: value})


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(REGISTRY)))
def test_any_estimator_round_trips_through_json(data: st.DataObject, name: str) -> None:
    chosen: dict[str, Any] = {}
    for spec in fields(REGISTRY[name]):
        low, high = spec.metadata["low"], spec.metadata["high"]
        if (name, spec.name) in NUMERIC and data.draw(st.booleans()):
            numbers = st.integers(low, high) if type(spec.default) is int else st.floats(low, high)
            chosen[spec.name] = data.draw(numbers)
    estimator = REGISTRY[name](**chosen)
    plain = json.loads(estimator.to_json())
    assert plain.pop("estimator") == name
    assert plain.keys() == {spec.name for spec in fields(estimator)}
    assert REGISTRY[name](**plain) == estimator
    assert hash(REGISTRY[name](**plain)) == hash(estimator)
    assert eval(repr(estimator), {cls.__name__: cls for cls in REGISTRY.values()}) == estimator


def test_numbers_of_numpy_become_plain_ones() -> None:
    estimator = BiasedMF(
        factors=np.int64(8), learning_rate=np.float32(0.5), l2=np.float64(0.25), biases=np.bool_(False)
    )
    assert estimator == BiasedMF(factors=8, learning_rate=0.5, l2=0.25, biases=False)
    assert "np." not in repr(estimator)
    assert json.loads(estimator.to_json())["factors"] == 8


def test_set_params_changes_these_alone_and_checks_them() -> None:
    estimator = BiasedMF(factors=8, l2=0.5)
    other = estimator.set_params(factors=9, rating_range=(0, 5.5))
    assert other == BiasedMF(factors=9, l2=0.5, rating_range=(0, 5.5))
    assert estimator == BiasedMF(factors=8, l2=0.5)
    assert estimator.set_params() == estimator
    with pytest.raises(
        ParameterError, match="biased-mf has no hyperparameter 'dropout'; it has biases, epochs, factors, init_std"
    ):
        estimator.set_params(dropout=0.5)
    with pytest.raises(ParameterError, match="factors must be from 1 to 1024, not 0"):
        estimator.set_params(factors=0)


def test_an_estimator_is_a_value() -> None:
    estimator = ImplicitALS(factors=3)
    with pytest.raises(FrozenInstanceError):
        estimator.factors = 4  # type: ignore[misc]
    assert {estimator: 1}[ImplicitALS(factors=3)] == 1
    assert estimator != ImplicitALS(factors=4)
    assert ExplicitALS() != ImplicitALS()
    assert pickle.loads(pickle.dumps(estimator)) == estimator
    assert "factors=3" in repr(estimator)


@pytest.mark.parametrize(
    "ends", ["wide", (5, 1), (1, 1), (1, 2, 3), (1,), (), ("1", "5"), (1, float("inf")), 5, {1, 5}]
)
def test_a_rating_range_is_two_rising_numbers(ends: Any) -> None:
    with pytest.raises(
        ParameterError, match='biased-mf: rating_range must be "scale", None or two increasing numbers; got'
    ):
        BiasedMF(rating_range=ends)
    assert BiasedMF(rating_range=[0, 5.5]) == BiasedMF(rating_range=(0.0, 5.5))  # type: ignore[arg-type]


# what may be learned from


@pytest.mark.parametrize("name", [name for name in REGISTRY if REGISTRY[name].kind != "any"])
def test_the_error_for_a_table_of_the_wrong_kind_names_the_conversion(name: str, splits: dict[str, Split]) -> None:
    estimator = REGISTRY[name]()
    if estimator.kind == "events":
        with pytest.raises(KindError, match=f"{name} learns from events .*to_events.min_rating=4."):
            estimator.fit(splits["ratings"].train)
    else:
        with pytest.raises(
            KindError, match=f"{name} learns from ratings, but the table contains events; try implicit-als"
        ):
            estimator.fit(splits["events"].train)


@pytest.mark.parametrize("name", REGISTRY)
def test_nothing_to_learn_from(name: str, splits: dict[str, Split]) -> None:
    estimator = REGISTRY[name]()
    train = splits[learns_from(estimator)].train
    with pytest.raises(DataError, match="the table is empty"):
        estimator.fit(train.select(np.zeros(len(train), bool)))
    with pytest.raises(DataError, match="the weight of every row is 0"):
        estimator.fit(train.with_weights(np.zeros(len(train))))


@pytest.mark.parametrize("name", REGISTRY)
def test_values_of_rows_with_weight_0_are_ignored(name: str, splits: dict[str, Split]) -> None:
    estimator = ITERATIVE.get(name, REGISTRY[name]())
    train = splits[learns_from(estimator)].train
    ignored = np.arange(len(train)) % 4 == 0
    weights = np.where(ignored, 0.0, 1.0)
    other = replace(train, values=np.where(ignored, 6 - train.values, train.values).astype(np.float32))
    first, second = (estimator.fit(table.with_weights(weights)).arrays() for table in (train, other))
    for array in first:
        np.testing.assert_array_equal(first[array], second[array])
    assert any(not np.array_equal(first[array], estimator.fit(train).arrays()[array]) for array in first)


# baselines against their formulas


@pytest.mark.parametrize("weighted", [False, True])
def test_bias_is_the_damped_means(small_ratings: Interactions, weighted: bool) -> None:
    table = small_ratings
    w = np.random.default_rng(0).uniform(0, 2, len(table)) if weighted else np.ones(len(table))
    if weighted:
        table = table.with_weights(w)
        w = table.weights.astype(np.float64) if table.weights is not None else w
    model, r = Bias(damping=3.0).fit(table), table.values.astype(np.float64)
    mean = np.sum(w * r) / np.sum(w)
    assert model.mean == pytest.approx(mean)
    item_bias = np.zeros(table.n_items)
    for i in range(table.n_items):
        of = table.i == i
        item_bias[i] = np.sum(w[of] * (r[of] - mean)) / (np.sum(w[of]) + 3)
    np.testing.assert_allclose(model.item_bias, item_bias, atol=1e-6)
    for u in range(0, table.n_users, 17):
        of = table.u == u
        expected = np.sum(w[of] * (r[of] - mean - item_bias[table.i[of]])) / (np.sum(w[of]) + 3)
        assert model.user_bias[u] == pytest.approx(expected, abs=1e-6)


def test_popularity_is_the_share_of_users_and_a_dislike_is_no_vote(small_events: Interactions) -> None:
    signs = np.where(np.arange(len(small_events)) % 3 == 0, -1.0, 1.0)
    for table, liked in ((small_events, np.ones(len(signs), bool)), (small_events.with_weights(signs), signs > 0)):
        model = Popularity().fit(table)
        shares = [np.sum(liked & (table.i == i)) / table.n_users for i in range(table.n_items)]
        np.testing.assert_allclose(model.item_bias, shares, rtol=1e-6)
        assert not model.user_bias.any()


# watching a fit


@pytest.mark.parametrize("name", ITERATIVE)
def test_every_epoch_is_reported(name: str, splits: dict[str, Split]) -> None:
    estimator, seen = ITERATIVE[name], list[Epoch]()
    estimator.fit(splits[learns_from(estimator)].train, callback=seen.append)
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4, 5, 6]
    assert {epoch.of for epoch in seen} == {6}
    assert {epoch.validation for epoch in seen} == {None}
    assert all(np.isfinite(epoch.loss) and epoch.loss > 0 for epoch in seen)
    assert seen[-1].loss < seen[0].loss
    assert all(a.seconds <= b.seconds for a, b in pairwise(seen))


@pytest.mark.parametrize("name", ITERATIVE)
def test_early_stopping_keeps_the_best_model_and_stops_after_patience(name: str, splits: dict[str, Split]) -> None:
    estimator = OVERFIT[name].set_params(patience=2)
    split, seen = splits[learns_from(estimator)], list[Epoch]()
    model = estimator.fit(split.train, validation=split.test, callback=seen.append)
    scores = np.array([epoch.validation for epoch in seen], np.float64)
    best = int(scores.argmin() if estimator.kind == "ratings" else scores.argmax())
    assert len(seen) < estimator.epochs  # it did stop early,
    assert len(seen) == best + 1 + 2  # two epochs after the best
    again = estimator.set_params(epochs=best + 1) if name != "biased-mf" else None
    if again is not None:  # no schedule: fewer epochs are the same epochs
        shorter = again.fit(split.train)
        assert shorter.user_factors.tobytes() == model.user_factors.tobytes()
    assert score_of(model, split) == pytest.approx(scores[best], rel=1e-6)


def score_of(model: Any, split: Split) -> float:
    """RMSE, or recall@20 over min(20, held out), written out once more."""
    test, train = split.test, split.train
    if test.kind == "ratings":
        return float(
            np.sqrt(np.mean((test.values - model.predict(UserBatch.trained(test.u, train.by_user), test.i)) ** 2.0))
        )
    recalls = []
    for u in np.unique(test.u):
        scores = model.scores(UserBatch.trained(np.array([u], np.int32), train.by_user))[0].astype(np.float64)
        scores[train.excluded.row(int(u)).columns] = -np.inf
        held_out = test.i[test.u == u]
        top = np.argsort(-scores, kind="stable")[:20]
        recalls.append(np.isin(top, held_out).sum() / min(len(held_out), 20))
    return float(np.mean(recalls))


def test_validation_ignores_dislikes(splits: dict[str, Split]) -> None:
    split, seen = splits["events"], [list[Epoch](), list[Epoch]()]
    disliked = np.arange(len(split.test)) % 2 == 0
    signed = split.test.with_weights(np.where(disliked, -1.0, 1.0))
    for validation, epochs in zip((signed, split.test.select(~disliked)), seen, strict=True):
        ITERATIVE["implicit-als"].fit(split.train, validation=validation, callback=epochs.append)
    assert [e.validation for e in seen[0]] == [e.validation for e in seen[1]]
    with pytest.raises(DataError, match="`validation` has no rows"):
        ITERATIVE["implicit-als"].fit(split.train, validation=split.test.with_weights(-np.ones(len(split.test))))


@pytest.mark.parametrize("name", ITERATIVE)
def test_a_validation_part_must_match_the_training_part(
    name: str, splits: dict[str, Split], small_ratings: Interactions
) -> None:
    estimator = ITERATIVE[name]
    split = splits[learns_from(estimator)]
    with pytest.raises(DataError, match="`validation` has no rows"):
        estimator.fit(split.train, validation=split.test.select(np.zeros(len(split.test), bool)))
    other_kind = splits["events" if estimator.kind == "ratings" else "ratings"].test
    with pytest.raises(
        KindError, match=f"validation contains {other_kind.kind}, but the training table contains {estimator.kind}"
    ):
        estimator.fit(split.train, validation=other_kind)
    unrelated = Interactions.from_columns(["amy"], ["item 1"], [5], kind=estimator.kind)
    with pytest.raises(DataError, match="the same IDs as the training table; create both with the same split"):
        estimator.fit(split.train, validation=unrelated)


# going on from a start


@pytest.mark.parametrize("name", ITERATIVE)
def test_a_fit_continues_from_a_model_and_does_not_change_it(name: str, splits: dict[str, Split]) -> None:
    estimator = ITERATIVE[name]
    train, cold, warm = splits[learns_from(estimator)].train, list[Epoch](), list[Epoch]()
    first = estimator.fit(train, callback=cold.append)
    before = {key: array.tobytes() for key, array in first.arrays().items()}
    second = estimator.fit(train, init_model=first, callback=warm.append)
    assert {key: array.tobytes() for key, array in first.arrays().items()} == before
    assert warm[0].loss < 0.95 * cold[0].loss
    assert warm[-1].loss < 1.01 * cold[-1].loss  # the squared errors, without the penalty, rise at last
    assert second.user_factors.tobytes() != first.user_factors.tobytes()


@pytest.mark.parametrize("name", ["explicit-als", "implicit-als"])
def test_als_in_two_fits_equals_als_in_one(name: str, splits: dict[str, Split]) -> None:
    estimator = ITERATIVE[name].set_params(cg_steps=60, epochs=8)
    train = splits[learns_from(estimator)].train
    half = estimator.set_params(epochs=4)
    twice, once = half.fit(train, init_model=half.fit(train)), estimator.fit(train)
    np.testing.assert_allclose(twice.item_factors, once.item_factors, atol=2e-3)


@pytest.mark.parametrize("name", ITERATIVE)
def test_an_initial_model_of_another_size_is_rejected(
    name: str, splits: dict[str, Split], small_ratings: Interactions
) -> None:
    estimator = ITERATIVE[name]
    train = splits[learns_from(estimator)].train
    wider = estimator.set_params(factors=5).fit(train)
    fewer = Interactions.from_columns(["a", "a", "b"], ["x", "y", "x"], [1, 2, 3], kind=estimator.kind)
    flat = (Bias() if estimator.kind == "ratings" else Popularity()).fit(train)
    for start in (wider, estimator.fit(fewer), flat):
        with pytest.raises(ParameterError, match="init_model"):
            estimator.fit(train, init_model=start)


def test_biases_of_an_initial_model_are_not_passed_to_a_model_without(splits: dict[str, Split]) -> None:
    train = splits["ratings"].train
    with_biases = BiasedMF(factors=4, epochs=3).fit(train)
    assert with_biases.user_bias.any()
    without = BiasedMF(factors=4, epochs=3, biases=False).fit(train, init_model=with_biases)
    assert not without.user_bias.any()
    assert not without.item_bias.any()


# divergence


@pytest.mark.parametrize(
    "estimator",
    [
        BiasedMF(rating_range=None, learning_rate=10.0),
        BiasedMF(rating_range=None, learning_rate=10.0, epochs=1),
        BiasedMF(rating_range=None, biases=False, learning_rate=5.0),
        BiasedMF(learning_rate=10.0, l2=100.0, l2_bias=100.0),
    ],
)
@pytest.mark.parametrize("validated", [False, True])
def test_an_excessive_learning_rate_raises_a_diverged_error(
    estimator: BiasedMF, validated: bool, splits: dict[str, Split]
) -> None:
    split = splits["ratings"]
    with pytest.raises(
        DivergedError, match=r"diverged in epoch \d+ .loss .*.: lower learning_rate, raise l2, or look"
    ) as caught:
        estimator.fit(split.train, validation=split.test if validated else None)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.epoch, str(again)) == (caught.value.epoch, str(caught.value))
    assert 1 <= caught.value.epoch <= estimator.epochs


@pytest.mark.parametrize(
    "estimator",
    [
        BiasedMF(learning_rate=10.0, l2=0.0, l2_bias=0.0),
        BiasedMF(learning_rate=1e-6, init_std=10.0),
        ExplicitALS(l2=1e-6, l2_bias=1e-6),
        ExplicitALS(l2=100.0, l2_bias=100.0),
        ImplicitALS(l2_ratio=1e-9, nu=0.0, blank_ratio=1e-6),
        ImplicitALS(l2_ratio=1e4, nu=2.0, blank_ratio=1e9),
    ],
    ids=lambda estimator: estimator.name,
)
def test_extreme_settings_end_in_finite_predictions(estimator: Any, splits: dict[str, Split]) -> None:
    train = splits[learns_from(estimator)].train
    try:
        model = estimator.set_params(epochs=4).fit(train)
    except DivergedError as error:
        assert "the loss rose" in str(error)  # noqa: PT017
        return
    assert all(np.isfinite(array).all() for array in model.arrays().values())
    assert np.isfinite(model.predict(UserBatch.trained(train.u, train.by_user), train.i)).all()


# biased-mf's own


def test_each_ingredient_of_biased_mf_can_be_left_out(splits: dict[str, Split]) -> None:
    train = splits["ratings"].train
    plain = BiasedMF(factors=4, biases=False, rating_range=None).fit(train)
    assert plain.rating_range is None
    assert plain.mean == pytest.approx(train.values.mean(), rel=1e-6)
    assert not plain.user_bias.any()
    assert not plain.item_bias.any()
    ranged = BiasedMF(factors=4, rating_range=(0, 5.5)).fit(train)
    assert ranged.rating_range == (0.0, 5.5)
    assert BiasedMF(factors=4).fit(train).rating_range == (0.5, 5.5)  # the scale 1..5, half a step wider


def test_the_rate_rises_over_a_fifth_of_the_epochs_and_falls_to_almost_nothing() -> None:
    rates = np.array([epoch_learning_rate(0.1, number, 100) for number in range(1, 101)])
    top = int(rates.argmax())
    assert 18 <= top <= 21
    assert (np.diff(rates[:top]) > 0).all()
    assert (np.diff(rates[top:]) <= 0).all()
    assert 0.098 < rates.max() <= 0.1
    assert 0 < rates.min() == rates[-1] < 0.002
    assert 0 < epoch_learning_rate(0.1, 1, 1) <= 0.1


def test_the_grid_depends_on_the_ratings_alone() -> None:
    sizes = [grid_size(n) for n in (0, 1, 1000, 100_000, 1_000_000, 20_000_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 4
    assert sizes[-1] == 16
    with threads(3):
        assert grid_size(100_000) == sizes[3]
