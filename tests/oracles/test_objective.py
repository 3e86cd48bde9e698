"""The reported loss against one written out pair by pair, and against what the estimators do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.interactions import Interactions
from cofactor.errors import KindError, ParameterError
from cofactor.estimators import Bias, BiasedMF, ExplicitALS, ImplicitALS, Popularity
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, RatingsLoss

NAMES = ("user_factors", "item_factors", "user_bias", "item_bias")


def table(seed: int, *, kind: Any, n_users: int = 5, n_items: int = 6, n: int = 18, weights: bool) -> Interactions:
    """Distinct random pairs, ids that do not all occur, and (for events) dislikes among the weights."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(n_users * n_items, n, replace=False)
    values = rng.integers(1, 6, n) if kind == "ratings" else rng.integers(1, 4, n)
    row_weights = rng.uniform(0.1, 2, n) * (rng.choice([-1, 1], n) if kind == "events" else 1)
    interactions = Interactions.from_columns(
        pairs // n_items, pairs % n_items, values, kind=kind, weights=row_weights if weights else None
    )
    return interactions.select(interactions.u > 0)


def random_model(data: Interactions, seed: int, factors: int, **rest: Any) -> FactorModel:
    rng = np.random.default_rng(seed)
    shapes = ((data.n_users, factors), (data.n_items, factors), data.n_users, data.n_items)
    return FactorModel(*(rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes), **rest)


def ratings_by_hand(data: Interactions, loss: RatingsLoss, p: dict[str, Any], mean: float, ends: Any = None) -> float:
    """sum over ratings of  w (r - r^)^2 + l2 (|p|^2 + |q|^2) + l2_bias (b_u^2 + b_i^2), and the rest once per row."""
    total = 0.0
    for t in range(len(data)):
        u, i = data.u[t], data.i[t]
        x = mean + p["user_bias"][u] + p["item_bias"][i] + p["user_factors"][u] @ p["item_factors"][i]
        y = x if ends is None else ends[0] + (ends[1] - ends[0]) / (1 + np.exp(-x))
        w = 1.0 if data.weights is None else float(data.weights[t])
        total += w * (float(data.values[t]) - y) ** 2
        total += loss.l2 * (np.sum(p["user_factors"][u] ** 2) + np.sum(p["item_factors"][i] ** 2))
        if loss.l2_bias is not None:
            total += loss.l2_bias * (p["user_bias"][u] ** 2 + p["item_bias"][i] ** 2)
    if loss.l2_bias is not None:
        penalty = loss.damping + loss.pseudo_ratings * loss.l2_bias
        total += penalty * (np.sum(p["user_bias"] ** 2) + np.sum(p["item_bias"] ** 2))
    factors = np.sum(p["user_factors"] ** 2) + np.sum(p["item_factors"] ** 2)
    return float(total + loss.pseudo_ratings * loss.l2 * factors)


def events_by_hand(data: Interactions, loss: EventsLoss, p: dict[str, Any]) -> float:
    """sum over events of w (1 - x)^2 + alpha0 sum over all pairs of x^2 + sum l2 (n + alpha0 others)^nu |.|^2."""
    total = 0.0
    for u in range(data.n_users):
        for i in range(data.n_items):
            total += loss.alpha0 * float(p["user_factors"][u] @ p["item_factors"][i]) ** 2
    for t in range(len(data)):
        x = float(p["user_factors"][data.u[t]] @ p["item_factors"][data.i[t]])
        v = float(data.values[t])
        confidence = {"raw": v, "binary": 1.0, "log": 1 + np.log(v) if v > 1 else v}[loss.counts]
        w = confidence * (1.0 if data.weights is None else float(data.weights[t]))
        total += w * (1 - x) ** 2 if w > 0 else -w * x**2  # a dislike: target 0
    for name, rows, others in (("user_factors", data.u, data.n_items), ("item_factors", data.i, data.n_users)):
        for row, f in enumerate(p[name]):
            support = float(np.sum(rows == row)) + loss.alpha0 * others
            total += loss.l2 * support**loss.nu * float(f @ f)
    return total


def parameters(model: FactorModel) -> dict[str, Any]:
    return {name: getattr(model, name).astype(np.float64) for name in NAMES}


def steepest(by_hand: Callable[[dict[str, Any]], float], p: dict[str, Any], names: tuple[str, ...]) -> float:
    """The largest partial derivative at p, by central differences."""
    h, largest = 1e-5, 0.0
    for name in names:
        for at in np.ndindex(p[name].shape):
            up, down = ({**p, name: p[name].copy()} for _ in range(2))
            up[name][at] += h
            down[name][at] -= h
            largest = max(largest, abs(by_hand(up) - by_hand(down)) / (2 * h))
    return largest


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    factors=st.integers(0, 5),
    l2=st.floats(0, 2),
    l2_bias=st.none() | st.floats(0, 2),
    damping=st.sampled_from([0.0, 5.0]),
    ends=st.sampled_from([None, (0.5, 5.5), (0.0, 5.5)]),
    weights=st.booleans(),
)
def test_ratings_pair_by_pair(
    seed: int, factors: int, l2: float, l2_bias: float | None, damping: float, ends: Any, weights: bool
) -> None:
    data, loss = table(seed, kind="ratings", weights=weights), RatingsLoss(l2, l2_bias, damping, pseudo_ratings=3.0)
    model = random_model(data, seed, factors, mean=1.5, loss=loss, rating_range=ends)
    expected = ratings_by_hand(data, loss, parameters(model), 1.5, ends)
    assert model.objective(data) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    factors=st.integers(1, 5),
    alpha0=st.floats(0.001, 2),
    l2=st.floats(0, 2),
    nu=st.floats(0, 2),
    weights=st.booleans(),
    counts=st.sampled_from(["log", "binary", "raw"]),
)
def test_events_pair_by_pair_dislikes_and_blanks_included(
    seed: int, factors: int, alpha0: float, l2: float, nu: float, weights: bool, counts: Any
) -> None:
    data, loss = table(seed, kind="events", weights=weights), EventsLoss(alpha0, l2, nu, counts)
    model = random_model(data, seed, factors, loss=loss)
    model = replace(model, user_bias=np.zeros(data.n_users, np.float32), item_bias=np.zeros(data.n_items, np.float32))
    expected = events_by_hand(data, loss, parameters(model))
    assert model.objective(data) == pytest.approx(expected, rel=1e-5)


def test_a_model_without_a_loss_has_none() -> None:
    data = table(1, kind="events", weights=False)
    assert Popularity().fit(data).objective(data) == 0


def test_the_scale_does_not_clip_the_loss() -> None:
    """A prediction above the scale is clipped when it is shown, and paid for in full when it is learned."""
    data = table(1, kind="ratings", weights=False)
    model = Bias(damping=1e-3).fit(data)
    far = replace(model, mean=model.mean + 100)
    assert far.objective(data) > len(data) * 90**2


@pytest.mark.parametrize("weights", [False, True])
def test_the_gradient_is_zero_at_the_fixed_point_of_explicit_als(weights: bool) -> None:
    data = table(3, kind="ratings", n_users=8, n_items=9, n=50, weights=weights)
    estimator = ExplicitALS(factors=2, epochs=400, l2=0.05, l2_bias=0.1, cg_steps=20)
    model = estimator.fit(data, seed=2)
    assert isinstance(model.loss, RatingsLoss)
    loss, p = model.loss, parameters(model)
    assert np.abs(p["user_factors"]).max() > 0.1  # not the trivial fixed point
    slope = steepest(lambda at: ratings_by_hand(data, loss, at, model.mean), p, NAMES)
    assert slope < 5e-5
    untrained = parameters(ExplicitALS(factors=2, epochs=1, l2=0.05, l2_bias=0.1, cg_steps=1).fit(data, seed=2))
    assert steepest(lambda at: ratings_by_hand(data, loss, at, model.mean), untrained, NAMES) > 0.1


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("nu", [0.0, 1.0])
def test_the_gradient_is_zero_at_the_fixed_point_of_implicit_als(weights: bool, nu: float) -> None:
    data = table(3, kind="events", n_users=8, n_items=9, n=40, weights=weights)
    settings: Any = {"factors": 2, "epochs": 1000, "cg_steps": 20}
    estimator = ImplicitALS.from_absolute(data, l2=0.02, alpha0=0.2, nu=nu, **settings)
    model = estimator.fit(data, seed=2)
    assert isinstance(model.loss, EventsLoss)
    loss, p = model.loss, parameters(model)
    assert np.abs(p["user_factors"]).max() > 0.1
    assert steepest(lambda at: events_by_hand(data, loss, at), p, NAMES[:2]) < 5e-5


@pytest.mark.parametrize("steps", [1, 3, 50])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", ["explicit", "implicit"])
def test_no_half_step_of_als_makes_the_loss_larger(
    name: str, weights: bool, steps: int, small_ratings: Interactions, small_events: Interactions
) -> None:
    estimator: Any = {
        "explicit": ExplicitALS(factors=6, epochs=1, cg_steps=steps),
        "implicit": ImplicitALS(factors=6, epochs=1, cg_steps=steps),
    }[name]
    data = small_ratings if name == "explicit" else small_events
    if weights:
        row_weights = np.random.default_rng(4).uniform(0.1, 3, len(data))
        row_weights *= np.where(np.arange(len(data)) % 5 == 0, -1, 1) if name == "implicit" else 1
        data = data.with_weights(row_weights)
    model, losses = None, []
    for _ in range(12):  # each fit: users from where they are, then items, then users exactly
        model = estimator.fit(data, seed=1, init_model=model)
        losses.append(model.objective(data))
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(losses))
    assert losses[-1] < 0.95 * losses[0]


def test_a_fold_in_of_all_users_never_makes_the_loss_larger(small_ratings: Interactions) -> None:
    for estimator in (BiasedMF(factors=4), BiasedMF(factors=4, biases=False), BiasedMF(factors=4, rating_range=None)):
        model = estimator.fit(small_ratings, seed=1)
        assert isinstance(model.loss, RatingsLoss)
        model = replace(model, loss=replace(model.loss, fold_in_l2=0.0))
        assert model.fold_in(small_ratings.by_user).objective(small_ratings) <= model.objective(small_ratings)


def test_sgd_makes_the_loss_small(small_ratings: Interactions) -> None:
    """Its own objective, which als minimizes exactly: close to it after some epochs, and better than the start."""
    sgd = BiasedMF(factors=4, epochs=60, l2=0.05, l2_bias=0.05, rating_range=None, init_std=0.1).fit(small_ratings)
    als = ExplicitALS(factors=4, epochs=40, l2=0.05, l2_bias=0.05, pseudo_ratings=30).fit(small_ratings)
    single_epoch = BiasedMF(factors=4, epochs=1, l2=0.05, l2_bias=0.05, rating_range=None, init_std=0.1).fit(
        small_ratings
    )
    best = als.objective(small_ratings)
    assert sgd.objective(small_ratings) < 1.1 * best
    assert single_epoch.objective(small_ratings) > 1.2 * best


# Absolute values of the settings in units of the table


@pytest.mark.parametrize("counts", ["log", "binary", "raw"])
@pytest.mark.parametrize("nu", [0.0, 0.5, 1.0])
def test_alpha0_and_l2_follow_from_the_table(counts: Any, nu: float) -> None:
    data = table(5, kind="events", n_users=9, n_items=12, n=40, weights=True)
    loss = EventsLoss.for_table(data, blank_ratio=3.0, l2_ratio=0.2, nu=nu, counts=counts)
    total, by_user, by_item = 0.0, dict[int, int](), dict[int, int]()
    for u, i, v, w in zip(data.u, data.i, data.values, data.weights, strict=True):  # type: ignore[arg-type]
        if w == 0:
            continue
        total += abs(w) * {"raw": v, "binary": 1.0, "log": 1 + np.log(v) if v > 1 else v}[counts]
        by_user[u], by_item[i] = by_user.get(u, 0) + 1, by_item.get(i, 0) + 1
    n_users, n_items, n = len(by_user), len(by_item), sum(by_user.values())
    assert loss.alpha0 * n_users * n_items == pytest.approx(3 * total, rel=1e-6)
    skew = sum(k * k for k in by_item.values()) / n / (n / n_items)
    support = [n / n_users + loss.alpha0 * n_items, n / n_items + loss.alpha0 * n_users]
    assert loss.l2 == pytest.approx(0.2 * skew**0.5 * np.sqrt(support[0] * support[1]) ** (1 - nu), rel=1e-6)


def test_equally_popular_items_have_no_skew_and_empty_rows_do_not_count() -> None:
    u, i = np.nonzero(np.ones((4, 3)))
    full = Interactions.from_columns(u, i, kind="events")
    settings: Any = {"blank_ratio": 6.0, "l2_ratio": 0.5, "nu": 0.3, "counts": "log"}
    loss = EventsLoss.for_table(full, **settings)
    assert loss.alpha0 == 6
    assert EventsLoss.for_table(full, **settings | {"nu": 1.0}).l2 == 0.5
    larger = Interactions.from_columns(np.append(u, 4), np.append(i, 3), kind="events").select(np.arange(13) < 12)
    assert (larger.n_users, larger.n_items) == (5, 4)
    assert EventsLoss.for_table(larger, **settings) == loss
    half = full.with_weights(np.where(np.arange(12) % 5 == 0, -0.5, 0.5))
    assert EventsLoss.for_table(half, **settings).alpha0 == 3


@pytest.mark.parametrize("nu", [0.0, 0.7, 1.0])
def test_absolute_values_are_those_of_the_fitted_model(nu: float) -> None:
    data = table(6, kind="events", n_users=8, n_items=9, n=40, weights=True)
    estimator = ImplicitALS.from_absolute(data, alpha0=0.3, l2=0.04, nu=nu, factors=3, epochs=1, counts="raw")
    assert (estimator.factors, estimator.counts) == (3, "raw")
    loss = estimator.fit(data).loss
    assert isinstance(loss, EventsLoss)
    assert (loss.alpha0, loss.l2, loss.nu) == (pytest.approx(0.3), pytest.approx(0.04), nu)
    for wrong in ({"alpha0": 0}, {"alpha0": -1}, {"l2": float("nan")}, {"nu": 3}):
        with pytest.raises(ParameterError):
            ImplicitALS.from_absolute(data, **{"alpha0": 0.3, "l2": 0.04} | wrong)
    with pytest.raises(KindError):
        ImplicitALS.from_absolute(table(6, kind="ratings", weights=False), alpha0=0.3, l2=0.04)


def test_the_solution_depends_on_the_product_of_both_penalties_only() -> None:
    """The reason for a single mean support M: P / c and c Q with penalties c^2 l2 and l2 / c^2 have the same loss."""
    data = table(3, kind="events", n_users=8, n_items=9, n=40, weights=False)
    model = ImplicitALS(factors=2, epochs=400, cg_steps=20, l2_ratio=0.05).fit(data)
    loss, p = model.loss, parameters(model)
    assert isinstance(loss, EventsLoss)
    ridge = [
        loss.l2 * loss.penalty(np.bincount(rows, minlength=n), other).astype(np.float64) @ (factors**2).sum(axis=1)
        for rows, n, other, factors in (
            (data.u, data.n_users, data.n_items, p["user_factors"]),
            (data.i, data.n_items, data.n_users, p["item_factors"]),
        )
    ]
    assert ridge[0] == pytest.approx(ridge[1], rel=1e-3)  # balanced at the optimum, whatever the shape of the table
