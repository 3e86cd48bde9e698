"""The factor model against NumPy, and folding in against the loss it is to minimize."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import KindError
from cofactor.estimators import BiasedMF, ExplicitALS, ImplicitALS
from cofactor.kernels.sparse import SparseRows
from cofactor.models import MODEL_TYPES
from cofactor.models.base import FoldsIn, Model, PredictsRatings, ScoresItems
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, Loss, PairwiseLoss, RatingsLoss, padded_width
from cofactor.models.user_batch import UserBatch

NOTHING = SparseRows.empty(0)


def random_model(
    seed: int, *, n_users: int = 6, n_items: int = 9, factors: int = 3, sd: float = 0.7, **rest: Any
) -> FactorModel:
    rng = np.random.default_rng(seed)
    P, Q, bu, bi = (
        rng.normal(0, sd, shape).astype(np.float32)
        for shape in ((n_users, factors), (n_items, factors), n_users, n_items)
    )
    return FactorModel(P, Q, bu, bi, **rest)


def history(seed: int, n_rows: int, n_items: int, *, values: Any, most: int = 8, weights: bool = False) -> SparseRows:
    """Random rows of 0..most entries whose values are drawn from `values`."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, min(most, n_items) + 1, n_rows)
    rows = np.repeat(np.arange(n_rows), counts)
    columns = np.concatenate([rng.choice(n_items, n, replace=False) for n in counts]).astype(np.int32)
    entry_weights = rng.uniform(0.1, 3, len(rows)) if weights else None
    return SparseRows.of(rows, columns, rng.choice(values, len(rows)), n_rows, entry_weights)


def row_loss(model: FactorModel, row: SparseRows, p: Any, b: float) -> float:
    """The part of the loss that a user of this history decides about, written out from `models.losses`."""
    loss, Q = model.loss, model.item_factors.astype(np.float64)
    n, w = len(row.values), np.ones(len(row.values)) if row.weights is None else row.weights.astype(np.float64)
    total = 0.0
    for k, j in enumerate(row.columns):
        x = model.mean + b + float(model.item_bias[j]) + float(Q[j] @ p)
        if isinstance(loss, EventsLoss):
            c = float(row.values[k]) * w[k]
            total += abs(c) * ((1.0 if c > 0 else 0.0) - x) ** 2
            continue
        if model.rating_range is not None:
            low, high = model.rating_range
            x = low + (high - low) / (1 + np.exp(-x))
        total += w[k] * (float(row.values[k]) - x) ** 2
    if isinstance(loss, EventsLoss):
        total += loss.alpha0 * float(np.sum((Q @ p) ** 2))
        return total + loss.l2 * (n + loss.alpha0 * model.n_items) ** loss.nu * float(p @ p)
    assert isinstance(loss, RatingsLoss)
    n += loss.pseudo_ratings
    total += n * loss.l2 * float(p @ p)
    return total if loss.l2_bias is None else total + (n * loss.l2_bias + loss.damping) * b * b


def slope_at(model: FactorModel, row: SparseRows, p: Any, b: float) -> float:
    """The steepest partial derivative of `row_loss` at a folded-in user, by central differences."""
    has_bias = isinstance(model.loss, RatingsLoss) and model.loss.l2_bias is not None
    x, h = np.append(p, b).astype(np.float64), 1e-5
    steps = h * np.eye(len(x))[: None if has_bias else -1]
    sides = [
        [row_loss(model, row, (x + s)[:-1], (x + s)[-1]), row_loss(model, row, (x - s)[:-1], (x - s)[-1])]
        for s in steps
    ]
    return float(np.abs([(up - down) / (2 * h) for up, down in sides]).max())


# predicting


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), factors=st.integers(0, 9), n=st.integers(0, 20))
def test_linear_is_the_sum_of_its_terms_without_those_of_unknown_ids(seed: int, factors: int, n: int) -> None:
    model, rng = random_model(seed, factors=factors, mean=1.25), np.random.default_rng(seed)
    u, i = (rng.integers(-1, most, n).astype(np.int32) for most in (model.n_users, model.n_items))
    expected = np.full(n, 1.25)
    for t in range(n):
        expected[t] += float(model.user_bias[u[t]]) * (u[t] >= 0) + float(model.item_bias[i[t]]) * (i[t] >= 0)
        if u[t] >= 0 and i[t] >= 0:
            expected[t] += model.user_factors[u[t]].astype(np.float64) @ model.item_factors[i[t]]
    x = model.raw_scores(u, i)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_a_model_without_users_predicts_the_items_level() -> None:
    model = random_model(0, n_users=0, mean=3.0)
    unknown = np.full(9, -1, np.int32)
    predicted = model.predict(UserBatch.trained(unknown, SparseRows.empty(model.n_users)), np.arange(9, dtype=np.int32))
    np.testing.assert_allclose(predicted, 3 + model.item_bias, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(x=st.lists(st.floats(-(2.0**100), 2.0**100, width=32)), low=st.floats(-5, 5), span=st.floats(0.5, 10))
@example(x=[-3.4e38, 3.4e38, 0.0, -800.0, 800.0], low=0.5, span=5.0)
def test_the_link_stays_in_its_range_and_never_overflows(x: list[float], low: float, span: float) -> None:
    model = random_model(0, rating_range=(low, low + span))
    with np.errstate(all="raise", under="ignore"):
        y = model.link(np.array(x, np.float32))
    assert ((y >= np.float32(low)) & (y <= np.float32(low + span))).all()
    inside = np.abs(x) < 20
    expected = low + span / (1 + np.exp(-np.array(x, np.float32)[inside].astype(np.float64)))
    np.testing.assert_allclose(y[inside], expected, atol=1e-5)


def test_predictions_are_clipped_to_the_scale_and_scores_are_not() -> None:
    model = random_model(1, sd=5.0, scale=Scale(1.0, 5.0))
    u, i = (a.ravel().astype(np.int32) for a in np.mgrid[:6, :9])
    x = model.scores(UserBatch.of(np.arange(6, dtype=np.int32), SparseRows.empty(6))).ravel()
    assert x.min() < 1
    assert x.max() > 5
    np.testing.assert_array_equal(model.predict(UserBatch.trained(u, SparseRows.empty(6)), i), np.clip(x, 1, 5))


def test_predictions_that_are_not_finite_are_not_clipped() -> None:
    model = random_model(0, scale=Scale(1.0, 5.0))
    model = replace(model, user_bias=np.full_like(model.user_bias, np.nan))
    assert np.isnan(model.predict(UserBatch.of([0], SparseRows.empty(1)), np.zeros(1, np.int32))).all()


# ranking


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), factors=st.integers(0, 5), n=st.integers(1, 12))
def test_top_is_the_order_of_the_scores(seed: int, factors: int, n: int) -> None:
    model, rng = random_model(seed, factors=factors), np.random.default_rng(seed)
    users, allowed = np.array([4, 0, 4], np.int32), rng.random(9) < 0.7
    exclude = history(seed, 3, 9, values=[1.0])
    rows, scores = model.top(UserBatch.of(users, exclude), n, exclude=exclude, allowed=allowed)
    wanted = model.scores(UserBatch.of(users, exclude)).astype(np.float64)
    wanted[:, ~allowed] = -np.inf
    for k in range(3):
        wanted[k, exclude.row(k).columns] = -np.inf
    best = np.sort(-wanted, axis=1)[:, :n]
    left = np.isfinite(best)
    np.testing.assert_allclose(scores[:, : best.shape[1]][left], -best[left], atol=1e-5)
    assert (rows[:, : best.shape[1]][~left] == -1).all()
    assert (rows[:, best.shape[1] :] == -1).all()
    for k in range(3):
        listed = rows[k][rows[k] >= 0]
        np.testing.assert_allclose(wanted[k, listed], scores[k][rows[k] >= 0], atol=1e-5)


def test_similar_is_the_cosine_and_leaves_itself_out() -> None:
    model = random_model(3, n_items=12, factors=4)
    for rows, factors, similar in (
        (np.array([2, 7], np.int32), model.item_factors, model.similar_items),
        (np.array([5], np.int32), model.user_factors, model.similar_users),
    ):
        unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
        neighbors, scores = similar(rows, 4)
        for k, row in enumerate(rows):
            cosine = unit @ unit[row]
            cosine[row] = -np.inf
            np.testing.assert_array_equal(neighbors[k], np.argsort(-cosine, kind="stable")[:4])
            np.testing.assert_allclose(scores[k], np.sort(-cosine)[:4] * -1, atol=1e-6)


def test_a_row_of_zeros_is_similar_to_nothing() -> None:
    model = random_model(3)
    zero = model.item_factors.copy()
    zero[4] = 0
    rows, scores = replace(model, item_factors=zero).similar_items(np.array([4], np.int32), 8)
    assert sorted(rows[0]) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert (scores == 0).all()


# folding in: linear models


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    factors=st.integers(0, 9),
    l2_bias=st.none() | st.floats(0.001, 1),
    damping=st.sampled_from([0.0, 4.0]),
    fold_in_l2=st.sampled_from([0.0, 3.0]),
    weights=st.booleans(),
)
def test_a_linear_rating_model_folds_in_exactly(
    seed: int, factors: int, l2_bias: float | None, damping: float, fold_in_l2: float, weights: bool
) -> None:
    loss = RatingsLoss(l2=0.05, l2_bias=l2_bias, damping=damping, fold_in_l2=fold_in_l2)
    model = random_model(seed, factors=factors, mean=3.0, loss=loss)
    rows = history(seed, 5, 9, values=[1.0, 2.5, 5.0], weights=weights)
    folded = model.fold_in(rows)
    for k in range(5):
        row = rows.row(k)
        n, w = len(row.values), np.ones(len(row.values)) if row.weights is None else row.weights.astype(np.float64)
        F = np.column_stack([model.item_factors[row.columns], np.ones(n)]).astype(np.float64)
        ridge = np.append(np.full(factors, n * 0.05 + fold_in_l2), 0 if l2_bias is None else n * l2_bias + damping)
        if l2_bias is None:
            F[:, -1] = 0
        residual = row.values - 3.0 - model.item_bias[row.columns].astype(np.float64)
        A = F.T @ (w[:, None] * F) + np.diag(ridge)
        exact = np.linalg.pinv(A, rcond=1e-12) @ F.T @ (w * residual)
        np.testing.assert_allclose(folded.user_factors[k], exact[:-1], atol=2e-4)
        np.testing.assert_allclose(folded.user_bias[k], exact[-1], atol=2e-4)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), factors=st.integers(1, 9), nu=st.floats(0, 2), weights=st.booleans())
def test_an_event_model_folds_in_exactly_dislikes_and_blanks_included(
    seed: int, factors: int, nu: float, weights: bool
) -> None:
    model = random_model(seed, factors=factors, loss=EventsLoss(alpha0=0.3, l2=0.1, nu=nu, counts="raw"))
    model = replace(model, user_bias=np.zeros(6, np.float32), item_bias=np.zeros(9, np.float32))
    rows = history(seed, 5, 9, values=[1.0, 3.0, -2.0], weights=weights)
    folded, Q = model.fold_in(rows), model.item_factors.astype(np.float64)
    for k in range(5):
        row = rows.row(k)
        c = row.values * (1 if row.weights is None else row.weights.astype(np.float64))
        F, n = Q[row.columns], len(row.values)
        A = F.T @ (np.abs(c)[:, None] * F) + 0.3 * Q.T @ Q + 0.1 * (n + 0.3 * 9) ** nu * np.eye(factors)
        np.testing.assert_allclose(folded.user_factors[k], np.linalg.solve(A, F.T @ np.maximum(c, 0)), atol=1e-4)
        assert folded.user_bias[k] == 0


@pytest.mark.parametrize("estimator", [ExplicitALS(factors=7, epochs=4), ImplicitALS(factors=7, epochs=4)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_training_users_own_history_gives_the_stored_row(
    estimator: Any, weighted: bool, small_ratings: Interactions, small_events: Interactions
) -> None:
    table = small_ratings if estimator.kind == "ratings" else small_events
    if weighted:
        weights = np.random.default_rng(0).uniform(0.2, 2, len(table))
        weights *= np.where(np.arange(len(table)) % 7 == 0, -1, 1) if table.kind == "events" else 1
        table = table.with_weights(weights)
    model = estimator.fit(table, seed=1)
    folded = model.fold_in(table.by_user)
    np.testing.assert_allclose(folded.user_factors, model.user_factors, atol=1e-5)
    np.testing.assert_allclose(folded.user_bias, model.user_bias, atol=1e-5)
    assert np.abs(model.user_factors).max() > 0.05


@pytest.mark.parametrize("rating_range", [None, (0.5, 5.5)])
@pytest.mark.parametrize("fold_in_l2", [0.0, 7.0])
def test_the_penalty_of_fold_in_is_that_at_which_users_are_stationary(
    rating_range: tuple[float, float] | None, fold_in_l2: float, small_ratings: Interactions
) -> None:
    """Users who are folded in with a penalty give this penalty back, with and without weights."""
    model = BiasedMF(factors=5, l2=0.1, init_std=0.3, rating_range=rating_range).fit(small_ratings, seed=1)
    assert isinstance(model.loss, RatingsLoss)
    weights = np.random.default_rng(0).uniform(0.2, 2, len(small_ratings))
    for table in (small_ratings, small_ratings.with_weights(weights)):
        loss = replace(model.loss, fold_in_l2=fold_in_l2)
        folded = replace(model, loss=loss).fold_in(table.by_user)
        assert loss.with_fold_in_penalty(folded, table.by_user).fold_in_l2 == pytest.approx(fold_in_l2, abs=0.05)


def test_users_without_factors_have_no_penalty_of_fold_in(small_ratings: Interactions) -> None:
    columns = small_ratings.users.ids(small_ratings.u), small_ratings.items.ids(small_ratings.i)
    equal = Interactions.from_columns(*columns, np.full(len(small_ratings), 3.0), scale=small_ratings.scale)
    model = BiasedMF(factors=2).fit(equal)
    assert isinstance(model.loss, RatingsLoss)
    assert model.loss.fold_in_l2 == 0


# folding in: sigmoid models

HARD = {
    "all at the top": [5.0],
    "all at the bottom": [1.0],
    "both ends": [1.0, 5.0],
    "anything": [1.0, 2.0, 3.0, 4.0, 5.0],
}


@pytest.mark.parametrize("values", HARD.values(), ids=HARD)
@pytest.mark.parametrize("rating_range", [(0.5, 5.5), (0.0, 5.5), (1.0, 5.0)])
@pytest.mark.parametrize("weights", [False, True], ids=["plain", "weighted"])
def test_a_sigmoid_model_folds_in_to_a_minimum(
    values: list[float], rating_range: tuple[float, float], weights: bool
) -> None:
    model = random_model(2, n_items=30, factors=4, mean=0.3, loss=RatingsLoss(0.05, 0.05), rating_range=rating_range)
    rows = history(7, 12, 30, values=values, most=20, weights=weights)
    folded = model.fold_in(rows)
    for k in range(12):
        row, n = rows.row(k), max(len(rows.row(k).values), 1)
        p, b = folded.user_factors[k].astype(np.float64), float(folded.user_bias[k])
        reached = row_loss(model, row, p, b)
        assert slope_at(model, row, p, b) <= 2e-3 * n
        assert reached <= row_loss(model, row, np.zeros(4), 0.0) + 1e-9
        for seed in range(20):  # no point nearby is better
            nudge = np.random.default_rng(seed).normal(0, 0.03, 5)
            assert reached <= row_loss(model, row, p + nudge[:-1], b + nudge[-1]) + 2e-5 * n


@pytest.mark.parametrize("values", [[-50.0, 900.0], [1e30], [0.0]])
def test_ratings_far_off_the_range_do_no_harm(values: list[float]) -> None:
    model = random_model(2, n_items=30, factors=4, loss=RatingsLoss(0.05, 0.05), rating_range=(0.5, 5.5))
    rows = history(7, 12, 30, values=values, most=20)
    folded = model.fold_in(rows)
    for k in range(12):
        reached = row_loss(model, rows.row(k), folded.user_factors[k].astype(np.float64), float(folded.user_bias[k]))
        assert reached <= row_loss(model, rows.row(k), np.zeros(4), 0.0) * (1 + 1e-12)
    x = folded.scores(UserBatch.of(np.arange(12, dtype=np.int32), rows))
    assert np.isfinite(x).all()
    assert np.isfinite(folded.link(x)).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    ratings=st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]), min_size=1, max_size=6),
    l2=st.floats(0.3, 1),
)
def test_one_factor_against_trying_every_value(seed: int, ratings: list[float], l2: float) -> None:
    rng = np.random.default_rng(seed)
    model = replace(
        random_model(seed, factors=1, loss=RatingsLoss(l2, None), rating_range=(0.5, 5.5)),
        item_factors=rng.uniform(-0.35, 0.35, (9, 1)).astype(np.float32),  # so short that the loss is convex
        item_bias=rng.uniform(-0.5, 0.5, 9).astype(np.float32),
    )
    row = SparseRows.of(np.zeros(len(ratings), int), rng.permutation(9)[: len(ratings)], ratings, 1)
    grid = np.linspace(-8, 8, 1601)
    losses = [row_loss(model, row, np.array([p]), 0.0) for p in grid]
    factor = float(model.fold_in(row).user_factors[0, 0])
    assert row_loss(model, row, np.array([factor]), 0.0) <= min(losses) + 1e-6
    assert abs(factor - grid[int(np.argmin(losses))]) < 0.02


@pytest.mark.parametrize("l2", [0.0, 1e-9])
@pytest.mark.parametrize("rating_range", [None, (0.5, 5.5), (1.0, 5.0)])
def test_without_a_penalty_a_short_history_still_gives_a_sane_user(
    l2: float, rating_range: tuple[float, float] | None
) -> None:
    model = random_model(4, n_items=40, factors=12, mean=0.5, loss=RatingsLoss(l2, l2), rating_range=rating_range)
    for values in HARD.values():
        rows = history(5, 20, 40, values=np.clip(values, 1, 5), most=20)
        folded = model.fold_in(rows)
        assert np.isfinite(folded.user_factors).all()
        assert np.isfinite(folded.user_bias).all()
        for k in range(20):
            reached = row_loss(
                model, rows.row(k), folded.user_factors[k].astype(np.float64), float(folded.user_bias[k])
            )
            assert reached <= row_loss(model, rows.row(k), np.zeros(12), 0.0) + 1e-4


def test_folding_in_the_users_of_a_sigmoid_model_keeps_its_error(small_ratings: Interactions) -> None:
    model = BiasedMF(factors=4, epochs=40).fit(small_ratings, seed=1)
    folded = model.fold_in(small_ratings.by_user)
    u, i, r = small_ratings.u, small_ratings.i, small_ratings.values
    stored, again = (
        np.mean((m.predict(UserBatch.trained(u, SparseRows.empty(m.n_users)), i) - r) ** 2) for m in (model, folded)
    )
    assert again <= stored * 1.02


@pytest.mark.parametrize("rating_range", [None, (0.5, 5.5)])
@pytest.mark.parametrize("loss", [RatingsLoss(0.05, 0.05), RatingsLoss(0.05, None), EventsLoss(0.3, 0.1, 1.0)])
def test_one_user_alone_folds_in_to_the_same_bits_as_in_a_batch(rating_range: Any, loss: Loss) -> None:
    if isinstance(loss, EventsLoss):
        rating_range = None
    model = random_model(6, n_items=30, factors=5, loss=loss, rating_range=rating_range)
    rows = history(9, 40, 30, values=[1.0, 3.0, 5.0], most=25)
    batch = model.fold_in(rows)
    for k in range(40):
        alone = model.fold_in(rows.row(k))
        assert alone.user_factors.tobytes() == batch.user_factors[k].tobytes()
        assert alone.user_bias.tobytes() == batch.user_bias[k].tobytes()


@pytest.mark.parametrize("loss", [None, RatingsLoss(0.1, 0.1), RatingsLoss(0.0, 0.0), EventsLoss(0.2, 0.1, 1.0)])
@pytest.mark.parametrize("rating_range", [None, (0.5, 5.5)])
def test_an_empty_history_gives_zero_and_no_history_no_user(loss: Loss | None, rating_range: Any) -> None:
    if isinstance(loss, EventsLoss):
        rating_range = None
    model = random_model(1, loss=loss, rating_range=rating_range)
    folded = model.fold_in(SparseRows.empty(3))
    assert folded.n_users == 3
    assert not folded.user_factors.any()
    assert not folded.user_bias.any()
    assert folded.fold_in(SparseRows.empty(0)).n_users == 0


def test_users_without_a_loss_differ_in_nothing() -> None:
    folded = random_model(1, loss=None).fold_in(history(1, 4, 9, values=[1.0]))
    assert not folded.user_factors.any()
    assert not folded.user_bias.any()


# putting together, files


def test_with_users_picks_from_both() -> None:
    mine, theirs = random_model(1), random_model(2, n_users=3)
    both = mine.with_users(theirs, np.array([5, -1, 0, -3], np.int32))
    np.testing.assert_array_equal(
        both.user_factors,
        [mine.user_factors[5], theirs.user_factors[0], mine.user_factors[0], theirs.user_factors[2]],
    )
    np.testing.assert_array_equal(
        both.user_bias, [mine.user_bias[5], theirs.user_bias[0], mine.user_bias[0], theirs.user_bias[2]]
    )
    assert both.item_factors is mine.item_factors
    assert not both.user_factors.flags.writeable


@pytest.mark.parametrize("loss", [None, RatingsLoss(0.1, None, 2.0), RatingsLoss(0.1, 0.2), EventsLoss(0.2, 0.1, 0.5)])
@pytest.mark.parametrize("scale", [None, Scale(1.0, 5.0), Scale.from_levels([0.5, 1, 2])])
def test_a_model_is_restored_from_its_arrays_and_settings(loss: Loss | None, scale: Scale | None) -> None:
    model = random_model(1, loss=loss, scale=scale, mean=0.1 + 0.2, rating_range=None if scale is None else (0.5, 5.5))
    settings = json.loads(json.dumps(model.settings()))
    again = MODEL_TYPES[model.model_type].from_parts(model.arrays(), settings)
    for name in ("user_factors", "item_factors", "user_bias", "item_bias", "mean", "rating_range", "scale", "loss"):
        assert np.array_equal(getattr(again, name), getattr(model, name)), name
    assert isinstance(again, Model)


def test_a_factor_model_implements_its_protocols() -> None:
    for protocol in (Model, PredictsRatings, ScoresItems, FoldsIn):
        assert isinstance(random_model(0), protocol)
        assert not isinstance(object(), protocol)


def test_each_model_type_names_its_class() -> None:
    assert {name: cls.model_type for name, cls in MODEL_TYPES.items()} == {name: name for name in MODEL_TYPES}


PAIRWISE = PairwiseLoss(l2=0.01, l2_bias=0.01, n_negatives=2, learning_rate=0.1, epochs=5)


@pytest.mark.parametrize(
    "loss", [RatingsLoss(0.1, None, 2.0), RatingsLoss(0.1, 0.2), EventsLoss(0.2, 0.1, 0.5), PAIRWISE]
)
def test_a_model_takes_its_properties_from_its_loss(loss: Loss) -> None:
    model = random_model(3, loss=loss)
    assert model.zero_is_unknown == isinstance(loss, EventsLoss)
    assert loss.has_bias == (getattr(loss, "l2_bias", None) is not None)
    assert loss.kind == ("ratings" if isinstance(loss, RatingsLoss) else "events")
    again = FactorModel.from_parts(model.arrays(), json.loads(json.dumps(model.settings())))
    assert again.loss == loss
    if isinstance(loss, PairwiseLoss):
        with pytest.raises(KindError, match="no factors fitted by least squares"):
            _ = model.least_squares
    else:
        assert model.least_squares is loss
        assert loss.width(9) == padded_width(loss.n_unknowns(9)) == 16
        assert loss.n_unknowns(9) == 9 + loss.has_bias


def test_item_similarity_is_the_cosine_of_factors() -> None:
    model = random_model(5, n_items=7, factors=3)
    Q = model.item_factors.astype(np.float64)
    cosine = (Q @ Q.T) / np.outer(np.linalg.norm(Q, axis=1), np.linalg.norm(Q, axis=1))
    similarity = model.item_similarity(np.int32([[0, 6, -1], [3, 3, 1]]))
    np.testing.assert_allclose(similarity[0, :2, :2], cosine[np.ix_([0, 6], [0, 6])], atol=1e-6)
    np.testing.assert_allclose(similarity[1], cosine[np.ix_([3, 3, 1], [3, 3, 1])], atol=1e-6)
    assert not similarity[0, 2].any()
    assert not similarity[0, :, 2].any()
    with pytest.raises(KindError, match="no item vectors to compare"):
        random_model(5, factors=0).item_similarity(np.int32([[0, 1]]))


def test_no_module_tests_for_the_class_of_a_loss() -> None:
    """A loss has methods for whatever differs between losses."""
    names, root = (
        {"RatingsLoss", "EventsLoss", "PairwiseLoss", "LeastSquaresLoss", "Loss"},
        Path(cofactor.__file__).parent,
    )
    calls = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        if names & {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    ]
    assert calls == []
