"""The graph filter and its kernels against dense linear algebra in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.arrays import Counts, transform_counts
from cofactor.data.interactions import Interactions
from cofactor.kernels import reference
from cofactor.kernels.neighbor_scores import LOW_RANK_TILE, add_low_rank
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.spectrum import OVERSAMPLING, leading_eigenvectors, sparse_dense
from cofactor.models.similarity import SpectralSimilarity, similarity_from_parts
from cofactor.models.user_batch import UserBatch


def random_rows(seed: int, n_rows: int, n_columns: int, density: float = 0.2) -> SparseRows:
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random((n_rows, n_columns)) < density)
    return SparseRows.of(rows, columns, rng.standard_normal(len(rows)), n_rows)


def dense(table: Interactions) -> np.ndarray:
    X = np.zeros((table.n_users, table.n_items))
    X[table.u, table.i] = table.values if table.weights is None else table.values * table.weights
    return X


def filter_weights(X: np.ndarray, spec: cofactor.GraphFilter) -> np.ndarray:
    """W by the equations of `GraphFilter`, with all neighbors."""
    users, items = np.abs(X).sum(axis=1), np.abs(X).sum(axis=0) + spec.smoothing
    A = X / np.maximum(users, 1e-9)[:, None] ** (spec.user_exponent / 2) / np.sqrt(np.maximum(items, 1e-9))
    values, V = np.linalg.eigh(A.T @ A)
    n, m = (X != 0).any(axis=1).sum(), (X != 0).any(axis=0).sum()
    used = (values > (A**2).sum() * (n**-0.5 + m**-0.5) ** 2) & (values >= np.sort(values)[-spec.factors :][0])
    relative = values[used] / values[-1]
    P = np.maximum(A.T @ A / values[-1], 0)
    np.fill_diagonal(P, 0)
    ideal = (V[:, used] * (spec.ideal - spec.sharpening * relative)) @ V[:, used].T
    return P + ideal * np.sqrt(items[None, :] / np.maximum(items[:, None], 1e-9))


@pytest.mark.parametrize(
    "spec",
    [
        cofactor.GraphFilter(),
        cofactor.GraphFilter(factors=100, user_exponent=1.0, smoothing=0.0, ideal=0.3, sharpening=0.0),
    ],
    ids=["defaults", "GF-CF"],
)
def test_scores_are_those_of_the_dense_filter(spec: cofactor.GraphFilter, small_events: Interactions) -> None:
    signs = np.where(np.random.default_rng(0).random(len(small_events)) < 0.1, -0.5, 1.0)
    for table in (small_events, small_events.with_weights(signs)):
        model, X = spec.fit(table), dense(table)
        assert 1 <= len(model.similarity.response) <= spec.factors
        users = np.arange(table.n_users, dtype=np.int32)
        scores = model.scores(UserBatch.of(users, table.by_user))
        np.testing.assert_allclose(scores, X @ filter_weights(X, spec), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("counts", ["log", "binary", "raw"])
def test_the_graph_ignores_counts(counts: Counts, small_events: Interactions) -> None:
    values = np.random.default_rng(0).integers(1, 500, len(small_events)).astype(np.float32)
    plays, spec = replace(small_events, values=values), cofactor.GraphFilter(counts=counts)
    users = np.arange(plays.n_users, dtype=np.int32)
    expected = dense(replace(plays, values=transform_counts(values, counts))) @ filter_weights(
        dense(small_events), spec
    )
    scores = spec.fit(plays).scores(UserBatch.of(users, plays.by_user))
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_the_scale_of_counts_does_not_matter_without_smoothing(small_events: Interactions) -> None:
    spec, users = cofactor.GraphFilter(smoothing=0.0), np.arange(small_events.n_users, dtype=np.int32)
    large = small_events.with_weights(np.full(len(small_events), 1000.0))
    expected = spec.fit(small_events).scores(UserBatch.of(users, small_events.by_user))
    scores = spec.fit(large).scores(UserBatch.of(users, large.by_user))
    np.testing.assert_allclose(scores / 1000, expected, atol=1e-4)


def test_the_similarity_of_both_parts(small_events: Interactions) -> None:
    similarity = cofactor.GraphFilter().fit(small_events).similarity
    assert isinstance(similarity, SpectralSimilarity)
    copy: Any = similarity_from_parts(similarity.arrays(), similarity.settings())
    W = np.zeros((similarity.n_items, similarity.n_items), np.float32)
    each = np.arange(similarity.n_items, dtype=np.int32)
    copy.add_scores(W, SparseRows.of(each, each, np.ones(len(each)), len(each)))
    np.testing.assert_allclose(W, filter_weights(dense(small_events), cofactor.GraphFilter()), atol=1e-5)
    rows, weights = similarity.nearest(each, 5, np.zeros(0, bool))
    np.fill_diagonal(W, -np.inf)
    np.testing.assert_array_equal(weights, -np.sort(-W, axis=1)[:, :5])
    assert not (rows == each[:, None]).any()
    history = SparseRows.of([0, 0, 0], [1, 4, 7], [1.0, 2.0, -1.0], 1)
    np.testing.assert_allclose(similarity.terms(history, 3), W[[1, 4, 7], 3] * [1, 2, -1], atol=1e-6)
    pairs = similarity.pairwise(np.int32([[3, 8, -1]]))[0]
    v = similarity.vectors[[3, 8]].astype(np.float64)
    assert pairs[0, 1] == pytest.approx(v[0] @ v[1] / np.linalg.norm(v[0]) / np.linalg.norm(v[1]), abs=1e-5)
    assert pairs.diagonal().tolist() == [1, 1, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 30), st.integers(0, 5))
def test_sparse_products_equal_the_reference(seed: int, n_rows: int, n_columns: int, width: int) -> None:
    rows = random_rows(seed, n_rows, n_columns)
    Y = np.random.default_rng(seed).standard_normal((n_columns, width))
    np.testing.assert_allclose(sparse_dense(rows, Y), reference.to_dense(rows, n_columns) @ Y, atol=1e-10)


@pytest.mark.parametrize("n_items", [1, LOW_RANK_TILE, LOW_RANK_TILE + 3])
def test_low_rank_scores(n_items: int) -> None:
    rng = np.random.default_rng(1)
    out, vectors, response, scale = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((4, n_items), (n_items, 7), (7,), (n_items,))
    )
    rows = random_rows(2, 4, n_items, 0.5)
    low_rank = (vectors.astype(np.float64) * response) @ vectors.T * scale
    expected = out + reference.to_dense(rows, n_items) @ low_rank
    add_low_rank(out, rows, vectors, response, scale)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_columns", [30, 3 * OVERSAMPLING])
def test_leading_eigenvectors_equal_the_reference_with_any_number_of_threads(n_columns: int) -> None:
    rng = np.random.default_rng(2)
    taste = rng.standard_normal((200, 4)) @ rng.standard_normal((4, n_columns))
    rows, columns = np.nonzero(taste > 1)
    X = SparseRows.of(rows, columns, taste[rows, columns], 200).filter(columns != 5)
    expected, expected_values = reference.leading_eigenvectors(X, n_columns, 3)
    results = []
    for n in (1, 3):
        with threads(n):
            results.append(leading_eigenvectors(X, n_columns, 3))
    vectors, values = results[0]
    assert vectors.tobytes() == results[1][0].tobytes()
    np.testing.assert_allclose(values, expected_values, rtol=1e-4)
    np.testing.assert_allclose(np.abs((vectors * expected).sum(axis=0)), 1, atol=1e-4)
    assert (vectors[5] == 0).all()
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(3)] > 0).all()


def test_eigenvectors_of_a_matrix_of_low_rank_are_as_many_as_its_rank() -> None:
    X = SparseRows.of([0, 1, 1], [0, 1, 2], [1.0, 1.0, 1.0], 2)
    vectors, values = leading_eigenvectors(X, 4, 3)
    assert vectors.shape == (4, 2)
    np.testing.assert_allclose(values, [2, 1], rtol=1e-5)
