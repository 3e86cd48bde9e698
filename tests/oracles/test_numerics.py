"""Large, small and shifted numbers: counts, weights and ratings on any scale give the right scores or a clear error."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError, DivergedError
from cofactor.estimators import REGISTRY
from cofactor.estimators.base import Estimator
from cofactor.kernels.normal_equations import build_equations, solve_each
from cofactor.kernels.sparse import SparseRows
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from tests.support.estimators import small

N_USERS, N_ITEMS, ROWS = 60, 40, 700


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def quick(name: str) -> Estimator:
    return small(name, factors=4, epochs=8, iterations=30, burn_in=10, batch_size=64, counts="raw")


def learns(kind: str) -> list[str]:
    return [name for name, estimator in REGISTRY.items() if estimator.kind in (kind, "any")]


def pairs() -> tuple[Any, Any, Any]:
    """Rows, columns and stars of two tastes."""
    rng = np.random.default_rng(3)
    place = rng.choice(N_USERS * N_ITEMS, ROWS, replace=False)
    u, i = place // N_ITEMS, place % N_ITEMS
    stars = np.clip(np.round(3 + np.where((u + i) % 2, 1, -1) + rng.normal(0, 0.6, ROWS)), 1, 5)
    return u, i, stars


def events(counts: Any, weights: Any = None) -> Interactions:
    u, i, _ = pairs()
    return Interactions.from_columns(u, i, counts, weights=weights, kind="events")


def heavy(where: str, count: float) -> Any:
    """Counts of 1, but for some."""
    u, i, _ = pairs()
    counts = np.ones(ROWS)
    selected_rows = {
        "one": np.arange(ROWS) == 5,
        "user": u == u[5],
        "item": i == i[5],
        "some": np.arange(ROWS) % 17 == 0,
    }
    counts[selected_rows.get(where, np.ones(ROWS, bool))] = count
    return counts


def dense(table: Interactions) -> Any:
    X = np.zeros((table.n_users, table.n_items))
    X[table.u, table.i] = table.values if table.weights is None else table.values.astype(float) * table.weights
    return X


def solved(X: Any, F: Any, *, alpha0: float, ridge: Any) -> Any:
    """Each row's minimum of sum |w| ((w > 0) - x)^2 + alpha0 sum_all x^2 + ridge |p|^2 in float64, and its scores."""
    blanks = alpha0 * F.T @ F
    rows = [
        np.linalg.solve(blanks + (F.T * np.abs(w)) @ F + c * np.eye(F.shape[1]), F.T @ np.maximum(w, 0))
        for w, c in zip(X, ridge, strict=True)
    ]
    return np.stack(rows) @ F.T


def reference(model: Any, X: Any) -> Any:
    loss = model.loss
    ridge = loss.l2 * ((X != 0).sum(axis=1) + loss.alpha0 * X.shape[1]) ** loss.nu
    return solved(X, model.item_factors.astype(np.float64), alpha0=loss.alpha0, ridge=ridge)


def key(ids: Any, row: Any) -> Any:
    return ids.ids(np.int32([row]))[0]


def scores(rec: Recommender) -> Any:
    users = np.arange(len(rec.users), dtype=np.int32)
    return rec.model.scores(UserBatch.of(users, rec.histories)).astype(np.float64)


# counts of events


@pytest.mark.parametrize("where", ["one", "user", "item", "some", "all"])
@pytest.mark.parametrize("count", [1e0, 1e3, 1e5, 1e6, 1e7, 1e8, 1e9, 1e12])
def test_implicit_als_scores_as_a_float64_solve_of_its_objective(where: str, count: float) -> None:
    table, spec = events(heavy(where, count)), quick("implicit-als")
    assert isinstance(spec, cofactor.ImplicitALS)
    rec = Recommender.fit(spec, table)
    np.testing.assert_allclose(scores(rec), reference(rec.model, dense(table)), atol=1e-3)


@pytest.mark.parametrize("count", [1e0, 1e7, 1e9])
def test_implicit_als_reaches_the_loss_of_alternating_float64_solves(count: float) -> None:
    """The items' half-steps are accurate too."""
    table = events(heavy("item", count))
    spec = cofactor.ImplicitALS(factors=8, epochs=100, cg_steps=8, counts="raw")
    model = Recommender.fit(spec, table).model
    X = dense(table)
    weights = model.loss
    side = (weights.l2 * ((X != 0).sum(axis=axis) + weights.alpha0 * X.shape[axis]) ** weights.nu for axis in (1, 0))
    ridge_u, ridge_i = side

    def loss(P: Any, Q: Any) -> float:
        x = P @ Q.T
        fit = (np.abs(X) * ((X > 0) - x) ** 2).sum() + weights.alpha0 * (x**2).sum()
        return float(fit + ridge_u @ (P**2).sum(axis=1) + ridge_i @ (Q**2).sum(axis=1))

    def half_step(X: Any, F: Any, ridge: Any) -> Any:
        blanks = weights.alpha0 * F.T @ F
        return np.stack(
            [np.linalg.solve(blanks + (F.T * w) @ F + c * np.eye(8), F.T @ w) for w, c in zip(X, ridge, strict=True)]
        )

    P, Q = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
    reached = loss(P, Q)
    for _ in range(5):
        Q = half_step(X.T, P, ridge_i)
        P = half_step(X, Q, ridge_u)
    assert loss(P, Q) > 0.995 * reached


@pytest.mark.parametrize(("count", "weight"), [(1, -1e7), (1e9, 1e-3), (1e-3, 1e12), (1e9, 1e9), (1e30, 1)])
def test_weights_and_dislikes_are_as_accurate_as_counts(count: float, weight: float) -> None:
    weights = np.where(np.arange(ROWS) == 5, weight, 1.0)
    table, spec = events(heavy("one", count), weights), quick("implicit-als")
    assert isinstance(spec, cofactor.ImplicitALS)
    rec = Recommender.fit(spec, table)
    X = np.clip(dense(table), -1e12, 1e12)  # what is larger counts as 1e12
    np.testing.assert_allclose(scores(rec), reference(rec.model, X), atol=1e-3)


@pytest.mark.parametrize("count", [1e0, 1e7, 1e9])
def test_a_new_user_of_a_large_count_is_folded_in_as_a_training_user(count: float) -> None:
    table, spec = events(heavy("user", count)), quick("implicit-als")
    rec = Recommender.fit(spec, table)
    user = int(pairs()[0][5])
    history = rec.histories.row(user)
    folded = rec.model.fold_in(rec.histories.take(np.int32([user])))
    np.testing.assert_array_equal(folded.user_factors[0], rec.model.user_factors[user])
    explanation = rec.model.explain(UserBatch.trained([user], rec.histories), int(history.columns[0]))
    assert explanation.terms.sum() + explanation.rest == pytest.approx(explanation.score, abs=1e-5)
    assert abs(explanation.rest) < 1e-3
    new = rec.for_history([(key(rec.items, j), count) for j in history.columns]).recommend(n=5)
    assert new["score"].to_list() == pytest.approx(
        rec.recommend(key(rec.users, user), n=5)["score"].to_list(), abs=1e-4
    )


def test_rows_of_ordinary_counts_are_not_touched_by_a_heavy_row() -> None:
    """Which rows are solved in float64 is a matter of the row: the others keep their bits."""
    from cofactor.kernels.ridge import EVENTS, RidgeInputs, solve

    rng = np.random.default_rng(0)
    F, nothing = rng.normal(0, 0.3, (N_ITEMS, 8)).astype(np.float32), np.zeros(8, np.float32)
    side = RidgeInputs(
        EVENTS,
        F,
        np.zeros(N_ITEMS, np.float32),
        (0.2 * F.T @ F).astype(np.float32),
        nothing + 1,
        nothing,
        nothing[None],
    )

    def solution(counts: Any) -> Any:
        u, i, _ = pairs()
        x = np.zeros((N_USERS, 8), np.float32)
        solve(x, SparseRows.of(u, i, counts, N_USERS), np.ones(N_USERS, np.float32), side)
        return x

    plain, changed = solution(heavy("user", 1)), solution(heavy("user", 1e9))
    other = np.arange(N_USERS) != pairs()[0][5]
    np.testing.assert_array_equal(plain[other], changed[other])
    assert (plain[~other] != changed[~other]).any()


def test_the_equations_of_an_audit_are_accurate_for_large_counts() -> None:
    F = np.random.default_rng(1).normal(0, 1, (5, 3)).astype(np.float32)
    rows = SparseRows.of([0] * 5, range(5), [1] * 5, n_rows=1)
    c = np.float32([1, 1e9, 1, 1, 1])
    A, b = build_equations(rows, np.ones(5, np.float32), c, F)
    exact = (F.astype(float).T * c) @ F + np.eye(3)
    solution = solve_each(A + np.eye(3), b)[0]
    np.testing.assert_allclose(solution, np.linalg.solve(exact, F.astype(float).T @ c), rtol=1e-6)


@pytest.mark.parametrize("name", ["item-knn", "user-knn"])
@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("count", [1e-12, 1e7, 1e11])
def test_neighbors_are_the_same_in_every_unit_of_the_counts(name: str, similarity: str, count: float) -> None:
    spec = REGISTRY[name](similarity=similarity, counts="raw")
    base = scores(Recommender.fit(spec, events(heavy("all", 1) + np.arange(ROWS) % 3)))
    assert base.any()
    scaled = scores(Recommender.fit(spec, events((heavy("all", 1) + np.arange(ROWS) % 3) * count)))
    np.testing.assert_allclose(scaled / count, base, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("count", [1, 10**5, 10**10])
def test_ease_scores_as_exact_arithmetic(count: int) -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((12, 6)) < 0.5).astype(int)
    X[:, 0] = 1
    u, i = np.nonzero(X)
    X[3] *= count
    table = Interactions.from_columns(u, i, X[u, i], kind="events")
    exact = X @ exact_ease(X, 1)
    computed = scores(Recommender.fit(cofactor.EASE(l2_ratio=1, dropout=0, counts="raw"), table))
    np.testing.assert_allclose(computed, exact, atol=1e-5 * np.abs(exact).max())


def exact_ease(X: Any, l2_ratio: int) -> Any:
    """W_ij = -P_ij / P_jj of P = (X'X + l2 I)^-1, in fractions."""
    n = X.shape[1]
    G = X.astype(object).T @ X.astype(object)
    l2 = Fraction(l2_ratio * int(np.trace(G)), n)
    A = [
        [Fraction(int(G[i, j]) + l2 * (i == j)) for j in range(n)] + [Fraction(i == j) for j in range(n)]
        for i in range(n)
    ]
    for k in range(n):
        A[k] = [a / A[k][k] for a in A[k]]
        for i in range(n):
            if i != k:
                A[i] = [a - A[i][k] * b for a, b in zip(A[i], A[k], strict=True)]
    P = [row[n:] for row in A]
    return np.array([[0.0 if i == j else float(-P[i][j] / P[j][j]) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("name", learns("events"))
@pytest.mark.parametrize(("where", "count"), [("one", 1e9), ("all", 1e9), ("one", 1e-12), ("all", 1e30), ("one", 1e30)])
def test_every_estimator_of_events_gives_finite_scores(name: str, where: str, count: float) -> None:
    rec = Recommender.fit(quick(name), events(heavy(where, count)))
    assert np.isfinite(scores(rec)).all()
    user = key(rec.users, pairs()[0][5])
    assert np.isfinite(rec.recommend(user, n=5)["score"].to_numpy()).all()
    new = rec.for_history([(key(rec.items, 0), count), (key(rec.items, 1), 1)]).recommend(n=5)
    assert np.isfinite(new["score"].to_numpy()).all()


# scales of ratings


def ratings(times: float = 1.0, shift: float = 0.0, weights: Any = None) -> Interactions:
    u, i, stars = pairs()
    scale = Scale.from_levels(np.arange(1, 6) * times + shift)
    return Interactions.from_columns(u, i, stars * times + shift, scale=scale, weights=weights)


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """What each estimator predicts of every pair on a scale of 1 to 5."""
    return {name: predictions(Recommender.fit(quick(name), ratings()), 1, 0) for name in learns("ratings")}


def predictions(rec: Recommender, times: float, shift: float) -> Any:
    u, i = (part.ravel().astype(np.int32) for part in np.indices((N_USERS, N_ITEMS)))
    predicted = rec.model.predict(UserBatch.trained(u, rec.histories), i)
    assert np.isfinite(predicted).all()
    assert np.isfinite(scores(rec)).all()
    return (predicted.astype(np.float64) - shift) / times


@pytest.mark.parametrize("name", learns("ratings"))
@pytest.mark.parametrize("times", [1e-12, 1e-6, 0.25, 20.0, 1e6, 1e12])
def test_predictions_are_the_same_in_every_unit_of_the_ratings(plain: dict[str, Any], name: str, times: float) -> None:
    rec = Recommender.fit(quick(name), ratings(times))
    predicted = predictions(rec, times, 0)
    assert np.sqrt(np.mean((predicted - plain[name]) ** 2)) < 0.02
    item = key(rec.items, 0)
    low, high = (rec.for_history([(item, star * times)]).recommend(n=N_ITEMS)["score"].to_numpy() for star in (1, 5))
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()


@pytest.mark.parametrize("name", learns("ratings"))
@pytest.mark.parametrize(("times", "shift"), [(1, 1e6), (1, -1e6), (1, 0.5), (100, 1e7)])
def test_predictions_move_with_the_ratings(plain: dict[str, Any], name: str, times: float, shift: float) -> None:
    predicted = predictions(Recommender.fit(quick(name), ratings(times, shift)), times, shift)
    assert np.sqrt(np.mean((predicted - plain[name]) ** 2)) < 0.05


@pytest.mark.parametrize("name", ["biased-mf", "explicit-als", "bayesian-mf"])
@pytest.mark.parametrize("times", [1e-6, 20.0, 1e6])
def test_predictions_of_a_new_user_are_the_same_in_every_unit_of_the_ratings(name: str, times: float) -> None:
    def folded(times: float) -> Any:
        rec = Recommender.fit(quick(name), ratings(times))
        history = SparseRows.of([0] * 4, [0, 1, 2, 3], np.array([5, 1, 5, 1]) * times, n_rows=1)
        users, items = np.zeros(N_ITEMS, np.int32), np.arange(N_ITEMS, dtype=np.int32)
        return rec.model.fold_in(history).predict(UserBatch.trained(users, history), items).astype(np.float64) / times

    np.testing.assert_allclose(folded(times), folded(1), atol=0.02)


def test_an_estimator_without_sigmoid_learns_the_same_in_every_unit() -> None:
    spec = cofactor.BiasedMF(factors=4, epochs=8, rating_range=None)
    ones, thousands = (predictions(Recommender.fit(spec, ratings(times)), times, 0) for times in (1, 1000))
    assert np.sqrt(np.mean((ones - thousands) ** 2)) < 0.02


def test_continuing_from_a_model_is_the_same_in_every_unit() -> None:
    for spec in (cofactor.ExplicitALS(factors=4, epochs=3), cofactor.BiasedMF(factors=4, epochs=3, rating_range=None)):
        results = []
        for times in (1.0, 1e4):
            table = ratings(times)
            model = spec.fit(table, init_model=spec.fit(table))
            results.append(model.predict(UserBatch.trained(table.u, table.by_user), table.i).astype(np.float64) / times)
        np.testing.assert_allclose(*results, atol=0.01)


@pytest.mark.parametrize("name", learns("ratings"))
def test_an_outlier_of_1e12_gives_predictions_on_the_scale(name: str) -> None:
    u, i, stars = pairs()
    stars[7] = 1e12
    rec = Recommender.fit(quick(name), Interactions.from_columns(u, i, stars))
    predicted = predictions(rec, 1, 0)
    assert predicted.min() >= 1
    assert predicted.max() <= 1.0001e12
    assert np.abs(scores(rec)).max() < 2e12


@pytest.mark.parametrize("name", learns("ratings"))
@pytest.mark.parametrize(
    ("where", "weight"), [("one", 1e12), ("all", 1e12), ("one", 1e-12), ("all", 1e-12), ("user", 100)]
)
def test_weights_give_predictions_on_the_scale(name: str, where: str, weight: float) -> None:
    rec = Recommender.fit(quick(name), ratings(weights=heavy(where, weight)))
    predictions(rec, 1, 0)
    if name != "paired-models":  # the weights are confidences of the events that it ranks by
        assert np.abs(scores(rec)).max() < 100


def test_a_heavy_rating_is_learned_and_the_others_are_not_forgotten() -> None:
    """SGD on a weight of 1e12 used to end in linear predictors of -1e13."""
    u, i, stars = pairs()
    for spec in (cofactor.BiasedMF(epochs=40), cofactor.ExplicitALS()):
        rec = Recommender.fit(spec, ratings(weights=heavy("one", 1e12)))
        assert (
            abs(rec.model.predict(UserBatch.trained(np.int32([u[5]]), rec.histories), np.int32([i[5]]))[0] - stars[5])
            < 0.5
        )
        all_alike = Recommender.fit(spec, ratings(weights=heavy("all", 1e12)))
        table = ratings()
        error = all_alike.model.predict(UserBatch.trained(table.u, all_alike.histories), table.i) - table.values
        assert np.sqrt(np.mean(error**2)) < 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, 1e16], r"row 3: value 1e\+16: ratings must be at most 1e\+15 in magnitude; rescale them"),
        ([1, -1e30, 2], r"row 2: value -1e\+30: ratings must be at most 1e\+15 in magnitude; rescale them"),
        ([1e9 + 1, 1e9 + 2, 1e9 + 5], r"need more digits than .* subtract a number close to 1e\+09"),
        ([1e-20, 2e-20, 5e-20], r"within 1e-15 of 0; rescale them"),
    ],
)
def test_ratings_beyond_float32_are_rejected(values: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Interactions.from_columns(["a", "b", "c"], ["x", "y", "z"], values)


def test_weights_beyond_the_limit_are_rejected_with_their_row() -> None:
    u, i, stars = pairs()
    for kind in ("ratings", "events"):
        with pytest.raises(DataError, match=r"row 6: weight .* up to 1e\+12"):
            Interactions.from_columns(u, i, stars, weights=heavy("one", 1e13), kind=kind)
    with pytest.raises(DataError, match=r"row 6: weight -1.0 .* from 0 up to 1e\+12"):
        Interactions.from_columns(u, i, stars, weights=heavy("one", -1))


@pytest.mark.long
def test_the_command_line_shows_no_warning_for_large_ratings(tmp_path: Path) -> None:
    """In a process of its own, where warnings are shown as a user sees them."""
    u, i, stars = pairs()
    rows = "".join(f"u{a},i{b},{c * 1e12:.0f}\n" for a, b, c in zip(u, i, stars, strict=True))
    (tmp_path / "large.csv").write_text("user,item,rating\n" + rows, encoding="utf-8")
    for arguments in (
        ["fit", "large.csv", "-m", "biased-mf", "-o", "m"],
        ["recommend", "m", "--user", "u1"],
        ["predict", "m", "--user", "u1", "--item", "i1"],
    ):
        command = [sys.executable, "-m", "cofactor", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stdout + done.stderr
        assert "nan" not in done.stdout


# advice


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_advice_after_a_divergence_names_parameters_that_exist(name: str) -> None:
    estimator = REGISTRY[name]()
    named = re.findall(r"(?:lower|raise) (\w+)", estimator.diverged_advice)
    declared = {spec.name for spec in fields(estimator)}
    assert set(named) <= declared
    for parameter in named:
        assert estimator.set_params(**{parameter: getattr(estimator, parameter)}) == estimator
    assert bool(named) == bool(declared & {"learning_rate", "l2", "weight_decay"})


@pytest.mark.parametrize(
    "estimator",
    [
        cofactor.BiasedMF(factors=4, rating_range=None),
        cofactor.ExplicitALS(factors=4),
        cofactor.ImplicitALS(factors=4),
        cofactor.BPR(factors=4),
    ],
    ids=lambda estimator: estimator.name,
)
def test_a_divergence_gives_this_advice(estimator: Any) -> None:
    """Factors of 1e30 to begin with make any fit diverge."""
    table = ratings() if estimator.kind == "ratings" else events(heavy("all", 1))
    model = estimator.fit(table)
    huge = np.full_like(model.user_factors, 1e30), np.full_like(model.item_factors, 1e30)
    start = replace(model, user_factors=huge[0], item_factors=huge[1])
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        estimator.fit(table, init_model=start)
    assert str(caught.value).endswith(estimator.diverged_advice)
