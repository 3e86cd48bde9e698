"""Bayesian matrix factorization: its kernel against the reference, its draws and its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.estimators.gibbs import normal_gamma
from cofactor.evaluate.split import Split, split_by_time, split_random
from cofactor.kernels import reference
from cofactor.kernels.gibbs import (
    column_squared_errors,
    draw_history_terms,
    entry_precisions,
    residuals,
    row_squared_errors,
)
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.rating import rmse
from cofactor.models.posterior import BayesianModel
from cofactor.models.posterior_samples import FactorMean
from cofactor.models.user_batch import UserBatch


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_history_terms_equal_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_columns, width = 9, 6, 8
    has = rng.random((n_columns, n_rows)) < rng.choice([0.0, 0.3, 0.9])
    start = np.concatenate([[0], np.cumsum(has.sum(axis=1))])
    rows = np.nonzero(has)[1].astype(np.int32)
    scale = rng.random(n_rows).astype(np.float32)
    own, vectors = (rng.uniform(0.5, 3, width).astype(np.float32) for _ in range(2))
    noise = rng.standard_normal((n_columns, width)).astype(np.float32)
    Y, E = (rng.standard_normal((n, width)).astype(np.float32) for n in (n_columns, n_rows))
    expected_Y, expected_E = Y.astype(np.float64), E.astype(np.float64)
    draw_history_terms(width)(Y, E, start, rows, scale, own, vectors, noise)
    reference.history_terms(expected_Y, expected_E, start, rows, scale, own, vectors, noise)
    np.testing.assert_allclose(Y, expected_Y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(E, expected_E, rtol=1e-4, atol=1e-4)


def test_history_terms_are_drawn_from_their_ridge_regression() -> None:
    """One column in every row, many draws: mean and variance of the ridge regression of E on it."""
    rng = np.random.default_rng(0)
    n, draws = 50, 4000
    scale, own, vectors = np.full(n, 0.5, np.float32), np.full(8, 2, np.float32), np.full(8, 3, np.float32)
    truth = rng.standard_normal((n, 8)).astype(np.float32)
    drawn = np.empty((draws, 8))
    for t in range(draws):
        Y, E = np.zeros((1, 8), np.float32), truth.copy()
        noise = rng.standard_normal((1, 8)).astype(np.float32)
        draw_history_terms(8)(
            Y, E, np.array([0, n]), np.arange(n, dtype=np.int32), scale, own, vectors, noise
        )  # fmt: skip
        drawn[t] = Y[0]
    precision = 2 + 3 * n * 0.25
    np.testing.assert_allclose(drawn.mean(axis=0), 3 * 0.5 * truth.sum(axis=0) / precision, atol=0.02)
    np.testing.assert_allclose(drawn.var(axis=0), 1 / precision, rtol=0.1)


@pytest.mark.parametrize("weighted", [False, True])
def test_precisions_residuals_and_squared_errors_equal_the_dense_expressions(*, weighted: bool) -> None:
    rng = np.random.default_rng(5)
    has = rng.random((7, 11)) < 0.4
    has[3], has[:, 4] = False, False
    rows, columns = np.nonzero(has)
    X, W = rng.normal(size=has.shape), rng.integers(0, 3, has.shape) / 2 if weighted else np.ones(has.shape)
    by_row = SparseRows.of(rows, columns, X[has], 7, W[has] if weighted else None)
    by_column = by_row.transpose(11)
    order = np.lexsort((rows, columns))
    P, Q, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((7, 8), (11, 8), (11,)))
    a, c = rng.gamma(4, 0.25, 7), rng.gamma(4, 0.25, 11)
    precision = entry_precisions(by_row, a.astype(np.float32), c.astype(np.float32))
    np.testing.assert_allclose(precision, (a[:, None] * c * W)[has], rtol=1e-6)
    residual = residuals(by_row, P, Q, bias)
    R = X - P.astype(np.float64) @ Q.T - bias
    np.testing.assert_allclose(residual, R[has], atol=1e-5)
    squares, total, squared_error = row_squared_errors(by_row, residual, c)
    S = W * R**2 * has
    np.testing.assert_allclose(squares, S[has], atol=1e-4)
    np.testing.assert_allclose(total, S.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(squared_error, S @ c, rtol=1e-5)
    np.testing.assert_allclose(column_squared_errors(by_column, order, squares, a), a @ S, rtol=1e-5)


def test_normal_gamma_centers_on_its_data() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal([2.0, -1.0], [0.5, 3.0], (5000, 2)).astype(np.float32)
    drawn = [normal_gamma(x, rng) for _ in range(200)]
    np.testing.assert_allclose(np.mean([mean for mean, _ in drawn], axis=0), [2, -1], atol=0.1)
    np.testing.assert_allclose(np.mean([precision for _, precision in drawn], axis=0), [4, 1 / 9], rtol=0.06)


def test_the_average_of_factorizations_is_the_average_of_their_products() -> None:
    rng = np.random.default_rng(2)
    left, right = rng.standard_normal((40, 3)), rng.standard_normal((30, 3))
    average, products = FactorMean(width=30), []
    for _ in range(50):
        U, V = ((x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32) for x in (left, right))
        average.add(U, V)
        products.append(U.astype(np.float64) @ V.T)
    L, R = average.result()
    np.testing.assert_allclose(L @ R.T, np.mean(products, axis=0), atol=2e-4)


@pytest.fixture(scope="module")
def split(movielens: Interactions) -> Split:
    return split_random(movielens, test=0.2, seed=0)


@pytest.fixture(scope="module")
def model(split: Split) -> BayesianModel:
    return cofactor.BayesianMF().fit(split.train, seed=0)


@pytest.mark.long
def test_it_is_more_accurate_than_any_single_factorization(split: Split, model: BayesianModel) -> None:
    error = rmse(split.test.values, model.predict(UserBatch.trained(split.test.u, split.train.by_user), split.test.i))
    assert 0.865 < error < 0.885
    alone = cofactor.Recommender.fit(cofactor.BiasedMF(), split.train).model
    assert (
        error
        < rmse(split.test.values, alone.predict(UserBatch.trained(split.test.u, split.train.by_user), split.test.i))
        - 0.02
    )


@pytest.mark.long
def test_history_terms_reduce_the_error(split: Split, model: BayesianModel) -> None:
    plain = cofactor.BayesianMF(implicit=False).fit(split.train, seed=0)
    histories = split.train.by_user
    with_terms = rmse(split.test.values, model.predict(UserBatch.trained(split.test.u, histories), split.test.i))
    without = rmse(split.test.values, plain.predict(UserBatch.trained(split.test.u, histories), split.test.i))
    assert 0.885 < without < 0.905
    assert with_terms < without - 0.008


def test_intervals_have_their_coverage_for_quiet_and_noisy_users(split: Split, model: BayesianModel) -> None:
    test, train = split.test, split.train
    low, high = model.distribution(UserBatch.trained(test.u, train.by_user), test.i).interval(0.95)
    inside = (test.values >= low) & (test.values <= high)
    assert 0.94 <= inside.mean() <= 0.96
    residual = train.values - model.predict(UserBatch.trained(train.u, train.by_user), train.i)
    noise = np.sqrt(np.bincount(train.u, residual**2, train.n_users) / np.maximum(train.by_user.counts, 1))[test.u]
    for quarter in np.array_split(np.argsort(noise, kind="stable"), 4):
        assert 0.91 <= inside[quarter].mean() <= 0.98


def test_the_mean_of_the_draws_is_close_to_the_average(split: Split, model: BayesianModel) -> None:
    u, i = split.test.u[:3000], split.test.i[:3000]
    drawn = model.distribution(UserBatch.trained(u, split.train.by_user), i).mean()
    average = model.average.raw_scores(u, i)
    assert np.abs(drawn - average).mean() < 0.06
    assert abs(float(np.mean(drawn - average))) < 0.01


def test_folding_in_is_nearly_as_accurate_as_training(split: Split, model: BayesianModel) -> None:
    users = np.arange(0, split.train.n_users, 9, dtype=np.int32)
    folded = model.fold_in(split.train.by_user.take(users))
    mine = np.isin(split.test.u, users)
    rows = np.searchsorted(users, split.test.u[mine]).astype(np.int32)
    trained = rmse(
        split.test.values[mine],
        model.predict(UserBatch.trained(split.test.u[mine], split.train.by_user), split.test.i[mine]),
    )
    batch = UserBatch.folded(split.train.by_user.take(users)).take(rows)
    new = rmse(split.test.values[mine], folded.predict(batch, split.test.i[mine]))
    assert new < trained * 1.015
    low, high = folded.distribution(batch, split.test.i[mine]).interval(0.95)
    assert 0.92 < ((split.test.values[mine] >= low) & (split.test.values[mine] <= high)).mean() < 0.975


def test_predictions_for_unknown_users_are_less_certain(model: BayesianModel, split: Split) -> None:
    items = np.arange(50, dtype=np.int32)
    unknown_users, known_users = np.full(50, -1, np.int32), np.zeros(50, np.int32)
    unknown = model.distribution(UserBatch.trained(unknown_users, split.train.by_user), items)
    assert (
        unknown.sd().mean() > model.distribution(UserBatch.trained(known_users, split.train.by_user), items).sd().mean()
    )
    assert np.abs(unknown.mean() - model.average.raw_scores(unknown_users, items)).mean() < 0.25


@pytest.mark.long
def test_users_without_ratings_are_predicted_like_unknown_users(
    movielens: Interactions,
) -> None:
    """Nine in ten test rows belong to users without training rows; their error is close to that of averages."""
    split = split_by_time(movielens, test=0.2)
    test, histories = split.test, split.train.by_user
    new = split.train.by_user.counts[test.u] == 0
    assert new.mean() > 0.8
    model, plain = (estimator.fit(split.train, seed=0) for estimator in (cofactor.BayesianMF(), cofactor.Bias()))
    error, error_plain = (
        rmse(test.values[new], fitted.predict(UserBatch.trained(test.u[new], histories), test.i[new]))
        for fitted in (model, plain)
    )
    assert error < error_plain * 1.015
    unknown_users = np.full(len(test.u), -1, np.int32)
    as_unknown = rmse(test.values[new], model.predict(UserBatch.trained(unknown_users[new], histories), test.i[new]))
    assert abs(error - as_unknown) < 0.01
    drawn = model.distribution(UserBatch.trained(test.u[new], histories), test.i[new])
    low, high = drawn.interval(0.95)
    assert ((low <= test.values[new]) & (test.values[new] <= high)).mean() > 0.93
