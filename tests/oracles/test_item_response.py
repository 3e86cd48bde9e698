"""Removal effects with items that respond: joint minimizers in closed form, dense systems, and refits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor import Bias, ExplicitALS, ImplicitALS, Interactions, Recommender
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.estimators.base import Estimator
from cofactor.models import item_response
from cofactor.models.item_response import ItemResponse, _Regression
from cofactor.models.removal import removal_effects


def test_effects_of_biases_are_those_of_a_joint_minimizer(small_ratings: Interactions) -> None:
    """The biases of the user and of all items are minimized without each row; those of other users are fixed."""
    table, u = small_ratings, 4
    model = Bias(damping=3.0).fit(table)
    history = table.by_user.row(u)
    items = np.append(np.setdiff1d(np.arange(table.n_items), history.columns)[:3], history.columns[:1])

    def minimizer(keep: np.ndarray) -> np.ndarray:
        rows = table.select(keep)
        residual = rows.values - model.mean - np.where(rows.u == u, 0.0, model.user_bias[rows.u])
        design = np.zeros((len(rows), 1 + table.n_items))
        design[:, 0] = rows.u == u
        design[np.arange(len(rows)), 1 + rows.i] = 1
        return np.linalg.solve(design.T @ design + 3.0 * np.eye(design.shape[1]), design.T @ residual)

    x = minimizer(np.ones(len(table), bool))
    user_bias = model.user_bias.copy()
    user_bias[u] = x[0]
    response = ItemResponse.of(replace(model, user_bias=user_bias, item_bias=x[1:].astype(np.float32)), table.by_user)
    assert response is not None
    effects = response.removal_effects(u, items.astype(np.int32), history)
    for n, column in enumerate(history.columns):
        without = minimizer(~((table.u == u) & (table.i == column)))
        np.testing.assert_allclose(effects[:, n], (x - without)[0] + (x - without)[1 + items], atol=1e-5)


@pytest.mark.parametrize("estimator", [ExplicitALS(factors=3), ImplicitALS(factors=3)])
def test_effects_are_those_of_the_dense_system(
    estimator: Estimator, small_ratings: Interactions, small_events: Interactions
) -> None:
    """The user and the items of the history are unknowns of one Newton step."""
    table = small_ratings if estimator.kind == "ratings" else small_events
    model = estimator.fit(table, seed=1)
    response = ItemResponse.of(model, table.by_user)
    assert response is not None
    user = int(np.argmax(table.by_user.counts > 3))
    history = table.by_user.row(user)
    item = int(np.setdiff1d(np.arange(table.n_items), history.columns)[0])
    effects = response.removal_effects(user, np.int32([item]), history)[0]
    problem = _Regression.of(model, user, history)
    width, m = len(problem.vector), len(history.columns)
    g, f, is_factor = problem.user_features, problem.features, np.diag(problem.is_factor)
    inverse_axes = np.linalg.inv(response.axes)

    def curvature(k: int, confidence: float) -> np.ndarray:
        diagonal = (response.support[k] - response.unit * confidence) * response.eigenvalues + response.penalty[k]
        own = (confidence + problem.blank_weight) * np.outer(g, g)
        return np.asarray(inverse_axes.T @ np.diag(diagonal) @ inverse_axes + own)

    for removed in range(m):
        others = [t for t in range(m) if t != removed]
        dense = np.zeros((width * (1 + m), width * (1 + m)))
        dense[:width, :width] = problem.hessian - np.diag(problem.penalty_change)
        dense[:width, :width] -= problem.confidence[removed] * np.outer(f[removed], f[removed])
        gradient = np.zeros(len(dense))
        gradient[:width] = problem.confidence[removed] * problem.residuals[removed] * f[removed]
        gradient[:width] -= problem.penalty_change * problem.vector
        for place, t in enumerate(others):
            block = slice(width * (1 + place), width * (2 + place))
            c = float(problem.confidence[t])
            mixed = (c + problem.blank_weight) * np.outer(f[t], g) + problem.slopes[t] * is_factor
            dense[:width, block], dense[block, :width] = mixed, mixed.T
            dense[block, block] = curvature(int(history.columns[t]), c)
        size = width * m
        step = -np.linalg.solve(dense[:size, :size], gradient[:size])[:width]
        z = model.item_inputs.features[item, :width].astype(float)
        blank = problem.blank_weight
        mixed = blank * np.outer(z, g) + blank * (z @ problem.vector) * is_factor
        item_step = -np.linalg.solve(curvature(item, 0.0), mixed.T @ step) if blank else np.zeros(width)
        assert effects[removed] == pytest.approx(-(z @ step) - g @ item_step, abs=1e-6 + 1e-6 * abs(effects[removed]))


def test_blocks_of_entries_have_the_same_effects(small_ratings: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = Recommender.fit(ExplicitALS(factors=3), small_ratings)
    view, items = rec.for_rows(np.int32([2])), np.int32([1, 6])
    whole = view.removal_effects(items).effects
    monkeypatch.setattr(item_response, "MAX_VALUES", 2 * 4 * 4)
    np.testing.assert_allclose(view.removal_effects(items).effects, whole, atol=1e-9)


@pytest.mark.parametrize(("estimator", "least"), [(ExplicitALS(), 0.95), (ImplicitALS(), 0.9)])
def test_effects_agree_better_with_refits_than_those_with_fixed_items(estimator: Estimator, least: float) -> None:
    config = SyntheticConfig(n_users=250, n_items=350, n_ratings=17_000, factors=4, factor_std=0.8)
    table = generate(config, seed=3).interactions
    if estimator.kind == "events":
        table = table.to_events(min_rating=4)
    rec, rng = Recommender.fit(estimator, table), np.random.default_rng(0)
    rows = []
    for _ in range(60):
        user = rng.integers(table.n_users, size=1).astype(np.int32)
        view, history = rec.for_rows(user), table.by_user.row(int(user[0]))
        listed, removed = view.rank(10)[0][0], int(rng.integers(len(history.columns)))
        if len(history.columns) < 2 or not (listed >= 0).any():
            continue
        item = rng.choice(listed[listed >= 0], 1)
        keep = (table.u != user) | (table.i != history.columns[removed])
        refit = Recommender.fit(estimator, table.select(keep))
        change = view.score(rec.items.id_at(int(item[0]))) - refit.for_rows(user).score(rec.items.id_at(int(item[0])))
        fixed = removal_effects(rec.model, rec.batch(user), item).effects[0, removed]
        rows.append((change, view.removal_effects(item).effects[0, removed], fixed))
    frame = pl.DataFrame(rows, schema=["change", "effect", "fixed"], orient="row")
    effect, fixed = (frame.select(pl.corr("change", c, method="spearman")).item() for c in ("effect", "fixed"))
    assert effect > fixed
    assert effect > least


def test_models_without_a_response(small_ratings: Interactions) -> None:
    for estimator in (cofactor.BiasedMF(factors=2), cofactor.ItemKNN(), cofactor.UserKNN()):
        rec = Recommender.fit(estimator, small_ratings)
        assert rec.catalog.item_response is None
