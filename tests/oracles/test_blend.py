"""Blends: scores and explanations against their definition, and learned weights against a search over a grid."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor import Blend, Interactions, Recommender
from cofactor.data.held_out import held_out_rows
from cofactor.errors import DataError, ParameterError
from cofactor.estimators import Estimator
from cofactor.estimators.blend import blend_weights, simplex_least_squares
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.registry import primary_metric
from cofactor.models import MODEL_TYPES
from cofactor.models.blend import BlendModel
from cofactor.models.user_batch import UserBatch


def parts_of(kind: str) -> tuple[Estimator, ...]:
    if kind == "ratings":  # the second one has a sigmoid
        return cofactor.ItemKNN(), cofactor.BiasedMF(factors=3, epochs=5), cofactor.Bias()
    return cofactor.UserKNN(), cofactor.ImplicitALS(factors=3, epochs=3), cofactor.Popularity()


@pytest.fixture(params=["ratings", "events"])
def table(request: pytest.FixtureRequest, small_ratings: Interactions, small_events: Interactions) -> Interactions:
    return small_ratings if request.param == "ratings" else small_events


@pytest.fixture
def fitted(table: Interactions) -> tuple[list[Any], Any]:
    """The parts, fitted alone, and their blend."""
    weights = (0.5, 0.2, 0.3)
    models: list[Any] = [part.fit(table, seed=1) for part in parts_of(table.kind)]
    return models, Blend(parts_of(table.kind), weights).fit(table, seed=1)


def test_a_score_is_the_weighted_sum_of_ratings_or_of_scores_in_standard_deviations(
    table: Interactions, fitted: tuple[list[Any], Any]
) -> None:
    models, blend = fitted
    users = UserBatch.trained(np.arange(table.n_users), table.by_user)
    expected = np.zeros((table.n_users, table.n_items))
    for model, weight in zip(models, (0.5, 0.2, 0.3), strict=True):
        scores = model.scores(users).astype(np.float64)
        if table.kind == "ratings":
            expected += weight * (model.link(scores.astype(np.float32)) if hasattr(model, "link") else scores)
        else:
            expected += weight * scores / scores.std(axis=1, keepdims=True)
    np.testing.assert_allclose(blend.scores(users), expected, rtol=1e-5, atol=1e-5)
    pairs = UserBatch.trained(table.u, table.by_user)
    predicted = blend.predict(pairs, table.i)
    if table.kind == "ratings":
        sums = sum(w * m.predict(pairs, table.i) for m, w in zip(models, (0.5, 0.2, 0.3), strict=True))
        np.testing.assert_allclose(predicted, sums, rtol=1e-6)
    else:
        assert (predicted == blend.scores(users)[table.u, table.i]).all()


def test_the_order_of_z_scores_is_the_order_of_the_scores(small_events: Interactions) -> None:
    """Subtracting the mean of each part's scores shifts all scores of a user by a constant."""
    models: list[Any] = [part.fit(small_events, seed=1) for part in parts_of("events")]
    users = UserBatch.trained(np.arange(small_events.n_users), small_events.by_user)
    z = 0
    for model in models:
        scores = model.scores(users).astype(np.float64)
        z = z + (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    scores = BlendModel(tuple(models), (1.0, 1.0, 1.0)).scores(users)
    shift = scores - z
    np.testing.assert_allclose(shift, np.broadcast_to(shift.mean(axis=1, keepdims=True), shift.shape), atol=1e-4)


def test_blocks_do_not_change_lists(
    table: Interactions, fitted: tuple[list[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, blend = fitted
    users = UserBatch.trained(np.arange(table.n_users), table.by_user)
    options: dict[str, Any] = {"exclude": users.histories, "allowed": np.zeros(0, bool)}
    rows, scores = blend.top(users, 7, **options)
    monkeypatch.setattr("cofactor.models.blend.MAX_SCORES", 3 * table.n_items)
    other_rows, other_scores = blend.top(users, 7, **options)
    assert (rows == other_rows).all()
    assert (scores == other_scores).all()
    masked = blend.scores(users)
    masked[users.histories.owners, users.histories.columns] = -np.inf
    best = np.argsort(-masked, axis=1, kind="stable")[:, :7]
    assert (np.take_along_axis(masked, best, axis=1) == scores).all()


def test_a_pair_without_evidence_keeps_a_score_of_0() -> None:
    events = Interactions.from_columns([0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 2, 3], kind="events")
    model = Blend((cofactor.ItemKNN(), cofactor.UserKNN()), (1, 1)).fit(events)
    assert model.zero_is_unknown
    scores = model.scores(UserBatch.trained([2], events.by_user))[0]
    assert scores[[0, 1]].tolist() == [0, 0]
    assert not Blend((cofactor.ItemKNN(), cofactor.BPR(factors=2, epochs=1)), (1, 1)).fit(events).zero_is_unknown


def test_the_parts_of_an_explanation(table: Interactions, fitted: tuple[list[Any], Any]) -> None:
    """Terms are those of the parts that are explained by the history; others are in the rest."""
    models, blend = fitted
    users = UserBatch.trained([3], table.by_user)
    why = blend.explain(users, 5)
    assert why.by == "history"
    assert why.contributions.sum() == pytest.approx(blend.scores(users)[0, 5], rel=1e-4)
    assert set(why.rows.tolist()) <= set(table.by_user.row(3).columns.tolist())
    assert len(np.unique(why.rows)) == len(why.rows)
    if table.kind == "events":  # the neighbors of user-knn are users
        factor = 0.5 / models[0].scores(users).std(dtype=np.float64)
        assert why.rest == pytest.approx(factor * models[0].explain(users, 5).score, rel=1e-3)
    alone = BlendModel((models[0],), (1.0,), table.scale).explain(users, 5)
    assert alone.by == models[0].explain(users, 5).by


def test_the_weights_of_ratings_are_the_best_of_a_grid() -> None:
    rng = np.random.default_rng(0)
    target, row_weights = rng.normal(size=300), rng.random(300)
    predictions = np.stack([target + scale * rng.normal(size=300) for scale in (0.5, 0.7, 2.0)])
    predictions[1] += 0.2
    weights = np.array(simplex_least_squares(predictions, target, row_weights))
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0

    def loss(w: Any) -> float:
        return float((row_weights * (np.asarray(w) @ predictions - target) ** 2).sum())

    steps = np.linspace(0, 1, 101)
    grid = [(a, b, 1 - a - b) for a, b in itertools.product(steps, steps) if a + b <= 1]
    assert loss(weights) <= min(map(loss, grid)) + 1e-9
    worse = np.stack([predictions[0], 2 * predictions[0] - target])
    assert simplex_least_squares(worse, target, row_weights) == (1.0, 0.0)
    same = np.stack([predictions[0], predictions[0]])
    assert loss(np.array([*simplex_least_squares(same, target, row_weights), 0])) == pytest.approx(loss((1, 0, 0)))


def test_the_weights_of_events_give_better_lists_than_equal_weights() -> None:
    """Half of the users follow their neighbors, the other half the crowd: neither part suits all."""
    rng = np.random.default_rng(1)
    rows = []
    for user in range(120):
        own = np.arange(12) + 12 * (user % 4) if user % 2 else np.arange(48, 60)
        rows += [(user, item) for item in rng.choice(own, 8, replace=False)]
        rows += [(user, item) for item in rng.choice(60, 2, replace=False)]
    events = Interactions.from_columns(*np.unique(rows, axis=0).T, kind="events")
    is_held_out = held_out_rows(events, share=0.3, seed=0)
    train, held_out = events.select(~is_held_out), events.select(is_held_out)
    models: list[Any] = [
        cofactor.ItemKNN().fit(train),
        cofactor.Popularity().fit(train),
        cofactor.BPR(factors=2).fit(train),
    ]
    weights = blend_weights(models, train, held_out)
    users = np.flatnonzero(held_out.by_user.counts).astype(np.int32)

    def ndcg(w: tuple[float, ...]) -> float:
        blend = BlendModel(tuple(models), w)
        lists = ModelLists.of(
            blend, UserBatch.trained(users, train.by_user), [10], exclude=train.excluded.take(users),
            relevant=held_out.by_user.take(users),
        )  # fmt: skip
        return primary_metric("events", 10).per_user(lists.hits).aggregate()

    single = [ndcg(tuple(map(float, row))) for row in np.eye(3)]
    equal = (1 / 3, 1 / 3, 1 / 3)
    assert ndcg(weights) >= ndcg(equal)
    assert weights[int(np.argmax(single))] > 1 / 3 > weights[int(np.argmin(single))]
    assert sum(weights) == pytest.approx(1)


def test_learned_weights_do_not_use_the_held_out_rows_twice(small_ratings: Interactions) -> None:
    """A part that remembers the training ratings is useless on held-out rows, so its weight is small."""
    parts = (cofactor.ExplicitALS(factors=50, l2=1e-6, l2_bias=1e-6, epochs=30), cofactor.Bias())
    in_sample = blend_weights([part.fit(small_ratings) for part in parts], small_ratings, small_ratings)
    assert in_sample[1] < 0.05
    assert Blend(parts).fit(small_ratings).weights[1] > 0.3


def test_validation_rows_take_the_place_of_held_out_rows(small_ratings: Interactions) -> None:
    split = cofactor.split_random(small_ratings, seed=3)
    parts = (cofactor.Bias(), cofactor.ItemKNN())
    model = Blend(parts).fit(split.train, validation=split.test)
    expected = blend_weights([part.fit(split.train) for part in parts], split.train, split.test)
    assert model.weights == tuple(weight for weight in expected if weight > 0)


def test_a_table_without_rows_to_hold_out_gets_equal_weights() -> None:
    assert Blend().fit(Interactions.from_columns([1], [2], [3.0])).weights == (0.5, 0.5)


def test_every_fit_is_reported(small_ratings: Interactions) -> None:
    seen: list[tuple[int, int]] = []
    Blend((cofactor.Bias(), cofactor.ItemKNN())).fit(small_ratings, callback=lambda e: seen.append((e.number, e.of)))
    assert seen[:2] == [(1, 2), (2, 2)]
    assert seen[2:] in ([(1, 2), (2, 2)], [(1, 1)])


def test_a_blend_with_a_sequential_part_uses_the_order(tmp_path: Path) -> None:
    users, items = np.repeat(np.arange(30), 6), np.tile(np.arange(6), 30)
    events = Interactions.from_columns(users, items, times=np.tile(np.arange(6) * 10, 30), kind="events")
    events = events.select((users + items) % 5 != 0)
    rec = Recommender.fit(Blend((cofactor.SequentialItemKNN(), cofactor.ItemKNN()), (1, 1)), events)
    assert rec.model.uses_order
    assert rec.histories.times is not None
    rec.save(tmp_path / "m")
    again = Recommender.load(tmp_path / "m")
    assert again.estimator == rec.estimator
    frames = [r.recommend(3, n=2).rows() for r in (rec, again)]
    assert frames[0] == frames[1]


def test_a_model_is_restored_from_its_arrays_and_settings(fitted: tuple[list[Any], Any]) -> None:
    _, blend = fitted
    settings = json.loads(json.dumps(blend.settings()))
    again: Any = MODEL_TYPES["blend"].from_parts(blend.arrays(), settings)
    assert again.weights == blend.weights
    assert again.scale == blend.scale
    assert {name: array.tobytes() for name, array in again.arrays().items()} == {
        name: array.tobytes() for name, array in blend.arrays().items()
    }
    with pytest.raises(KeyError):
        MODEL_TYPES["blend"].from_parts(blend.arrays(), {**settings, "parts": [settings | {"model_type": "blend"}]})


def test_parts_must_fit_together(small_ratings: Interactions) -> None:
    for parts, message in (
        ((), "must be a tuple of 1 to 8 estimators"),
        ((cofactor.Bias(),) * 9, "must be a tuple of 1 to 8 estimators"),
        ((cofactor.Bias(), 3), "must be estimators that do not contain other estimators"),
        ((Blend(),), "must be estimators that do not contain other estimators"),
        ((cofactor.PairedModels(),), "must be estimators that do not contain other estimators"),
        ((cofactor.Bias(), cofactor.EASE()), "same kind of table; got bias from ratings, ease from events"),
    ):
        with pytest.raises(ParameterError, match=message):
            Blend(parts)  # type: ignore[arg-type]
    for weights in ((1,), (1, -1), (0, 0), ("a", "b"), (np.nan, 1)):
        with pytest.raises(ParameterError, match="blend: weights must"):
            Blend(weights=weights)  # type: ignore[arg-type]
    model = cofactor.Bias().fit(small_ratings)
    for wrong in ((), (object(),), (model, cofactor.ItemKNN().fit(Interactions.from_columns([1], [2], [3.0])))):
        with pytest.raises(DataError):
            BlendModel(wrong, (1.0,) * len(wrong))
    assert Blend((cofactor.EASE(), cofactor.ItemKNN())).kind == "events"
    assert Blend().kind == "any"
    assert Estimator.from_dict({"estimator": "blend", "parts": ["bias", {"estimator": "item-knn", "k": 5}]}) == Blend(
        (cofactor.Bias(), cofactor.ItemKNN(k=5))
    )
