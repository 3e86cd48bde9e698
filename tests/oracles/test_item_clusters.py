"""Clusters of items: lists of the search against the scan of all items, bit for bit, and the bounds of clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.arrays import ALL_ROWS, Bool, Float32
from cofactor.kernels import topk_clusters
from cofactor.kernels.item_clusters import ItemClusters
from cofactor.kernels.item_partition import CLUSTER_SIZE
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import ItemIndex, top_items
from cofactor.kernels.topk_clusters import ItemShift, top_items_of_clusters

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_catalog(rng: np.random.Generator, n_items: int, width: int) -> tuple[Float32, Float32]:
    """Return item vectors in groups or alone, with zeros, duplicates, very large and very small norms, and biases."""
    n_groups, noise = int(rng.integers(1, n_items + 1)), rng.choice([0, 1e-4, 0.05, 0.3])
    groups = rng.standard_normal((n_groups, width)) * np.exp(rng.normal(0, rng.choice([0, 1, 8]), (n_groups, 1)))
    Q = groups[rng.integers(n_groups, size=n_items)]
    Q *= 1 + noise * rng.standard_normal(Q.shape)
    Q[rng.random(n_items) < rng.choice([0, 0.2, 1])] = 0
    bias = np.round(rng.standard_normal(n_items), 1) * rng.choice([0, 1, 1000])
    return Q.astype(np.float32), bias.astype(np.float32)


def random_users(rng: np.random.Generator, n_users: int, Q: Float32) -> Float32:
    """Return user vectors that are random, zero, or close to those of items."""
    P = rng.standard_normal((n_users, Q.shape[1])).astype(np.float32)
    P[::3] = Q[rng.integers(len(Q), size=len(P[::3]))]
    P[1::5] = 0
    return P


def random_seen(rng: np.random.Generator, n_users: int, n_items: int) -> SparseRows:
    pairs = np.unique(rng.integers(0, n_users * n_items, int(rng.integers(0, 2 * n_users * n_items + 1)) // 4))
    return SparseRows.of(pairs // n_items, pairs % n_items, np.ones(len(pairs)), n_users)


def random_mask(rng: np.random.Generator, n_items: int) -> Bool:
    return ALL_ROWS if rng.random() < 0.3 else rng.random(n_items) < rng.choice([0, 0.001, 0.1, 0.9])


def assert_same_lists(P: Float32, clusters: ItemClusters, n: int, seen: SparseRows, allowed: Bool) -> None:
    options: dict[str, Any] = {"seen_start": seen.start, "seen": seen.columns, "allowed": allowed}
    expected_rows, expected_scores = top_items(P, ItemIndex.of(clusters.factors, clusters.bias), n, **options)
    rows, scores, _ = top_items_of_clusters(P, clusters, n, **options)
    np.testing.assert_array_equal(rows, expected_rows)
    assert scores.tobytes() == expected_scores.tobytes()


@few
@given(seeds, st.integers(1, 40), st.sampled_from([1, 30, 700, 3000]), st.sampled_from([0, 5, 16]))
def test_lists_equal_those_of_the_scan(seed: int, n: int, n_items: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    Q, bias = random_catalog(rng, n_items, width)
    P = random_users(rng, 20, Q)
    assert_same_lists(P, ItemClusters.of(Q, bias), n, random_seen(rng, 20, n_items), random_mask(rng, n_items))


@few
@given(seeds, st.integers(1, 2000))
def test_ties_are_ordered_by_row(seed: int, n_items: int) -> None:
    rng = np.random.default_rng(seed)
    Q = rng.integers(-1, 2, (n_items, 5)).astype(np.float32)
    bias = rng.integers(-1, 2, n_items).astype(np.float32)
    P = rng.integers(-1, 2, (5, 5)).astype(np.float32)
    assert_same_lists(P, ItemClusters.of(Q, bias), 25, random_seen(rng, 5, n_items), random_mask(rng, n_items))


def test_an_empty_catalog_gives_empty_lists() -> None:
    clusters = ItemClusters.of(np.zeros((0, 5), np.float32), np.zeros(0, np.float32))
    assert_same_lists(np.ones((2, 5), np.float32), clusters, 3, SparseRows.empty(2), ALL_ROWS)


@pytest.mark.parametrize("best_first", [0, 300, 1 << 40])
def test_lists_do_not_depend_on_the_order_of_the_search(best_first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk_clusters, "BEST_FIRST", best_first)
    rng = np.random.default_rng(5)
    Q, bias = rng.standard_normal((5000, 5)).astype(np.float32), rng.standard_normal(5000).astype(np.float32)
    for n in (1, 20, 6000):
        assert_same_lists(
            random_users(rng, 9, Q), ItemClusters.of(Q, bias), n, random_seen(rng, 9, 5000), rng.random(5000) < 0.5
        )


@few
@given(seeds)
def test_the_bounds_of_clusters_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    Q, bias = random_catalog(rng, 2000, 5)
    clusters = ItemClusters.of(Q, bias)
    assert sorted(clusters.rows) == list(range(2000))
    owner = np.repeat(np.arange(len(clusters.centers)), np.diff(clusters.start))
    vectors = Q[clusters.rows].astype(np.float64)
    assert (np.linalg.norm(vectors - clusters.centers[owner], axis=1) <= clusters.radius[owner]).all()
    decoded = clusters.codes * clusters.scale[:, None].astype(np.float64)
    assert (np.linalg.norm(vectors - decoded, axis=1) <= clusters.error).all()
    assert (bias[clusters.rows] <= clusters.max_bias[owner]).all()


def test_groups_of_similar_items_are_found_and_few_items_are_screened() -> None:
    rng = np.random.default_rng(1)
    groups = rng.standard_normal((300, 16)).astype(np.float32)
    Q = groups[rng.integers(300, size=60_000)]
    Q += rng.standard_normal(Q.shape, np.float32) * np.float32(0.02)
    clusters = ItemClusters.of(Q, np.zeros(len(Q), np.float32))
    assert np.median(clusters.radius) < 0.2
    P = rng.standard_normal((50, 16)).astype(np.float32)
    none = SparseRows.empty(50)
    *_, n_screened = top_items_of_clusters(P, clusters, 10, seen_start=none.start, seen=none.columns, allowed=ALL_ROWS)
    assert n_screened.mean() < 0.05 * len(Q)
    assert_same_lists(P, clusters, 10, none, ALL_ROWS)


def test_identical_items_are_one_cluster() -> None:
    Q, bias = np.ones((20_000, 5), np.float32), np.zeros(20_000, np.float32)
    clusters = ItemClusters.of(Q, bias)
    assert clusters.radius.tolist() == [0]
    assert_same_lists(np.ones((2, 5), np.float32), clusters, 7, SparseRows.empty(2), ALL_ROWS)


def test_clusters_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(2)
    Q, bias = random_catalog(rng, 30_000, 5)
    made = []
    for count in (1, 2):
        with threads(count):
            made.append(ItemClusters.of(Q, bias))
    for name in ("rows", "start", "centers", "radius", "codes", "scale", "error"):
        assert getattr(made[0], name).tobytes() == getattr(made[1], name).tobytes()


@few
@given(seeds)
def test_shifted_biases_give_the_lists_of_the_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    Q, bias = random_catalog(rng, 1500, 5)
    P, shift = random_users(rng, 12, Q), rng.standard_normal(1500).astype(np.float32)
    weights = rng.choice(np.array([0, 0.3, 1], np.float32), 12)
    clusters, seen, allowed = ItemClusters.of(Q, bias), random_seen(rng, 12, 1500), random_mask(rng, 1500)
    options: dict[str, Any] = {"seen_start": seen.start, "seen": seen.columns, "allowed": allowed}
    rows, scores, _ = top_items_of_clusters(
        P, clusters, 9, **options, shift=ItemShift.of(shift, clusters), weights=weights
    )
    for weight in np.unique(weights):
        expected = top_items(P, ItemIndex.of(Q, bias + weight * shift), 9, **options)
        np.testing.assert_array_equal(rows[weights == weight], expected[0][weights == weight])
        assert scores[weights == weight].tobytes() == expected[1][weights == weight].tobytes()


@few
@given(seeds, st.integers(0, 300))
def test_added_items_are_found(seed: int, n_new: int) -> None:
    rng = np.random.default_rng(seed)
    Q, bias = random_catalog(rng, 1000, 5)
    new_Q, new_bias = random_catalog(rng, n_new, 5) if n_new else (Q[:0], bias[:0])
    take = rng.permutation(np.append(np.arange(1000), -1 - np.arange(n_new))).astype(np.int32)
    rows = np.where(take >= 0, take, 999 - take)
    all_Q, all_bias = np.concatenate([Q, new_Q])[rows], np.concatenate([bias, new_bias])[rows]
    clusters = ItemClusters.of(Q, bias)
    extended = clusters.with_items(all_Q, all_bias, take)
    assert extended is not None
    assert len(extended.codes) == 1000 + n_new
    P = random_users(rng, 8, all_Q)
    assert_same_lists(P, extended, 12, random_seen(rng, 8, 1000 + n_new), random_mask(rng, 1000 + n_new))


def test_a_catalog_that_lacks_items_is_not_an_extension() -> None:
    Q, bias = np.ones((3, 5), np.float32), np.zeros(3, np.float32)
    clusters = ItemClusters.of(Q, bias)
    assert clusters.with_items(Q, bias, np.array([0, 1, 1], np.int32)) is None
    assert clusters.with_items(Q, bias, np.array([0, 1, -1], np.int32)) is None


def test_all_allowed_items_are_scored_if_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    Q, bias = random_catalog(rng, 4000, 5)
    allowed = np.zeros(4000, bool)
    allowed[rng.choice(4000, 15, replace=False)] = True
    P, seen = random_users(rng, 20, Q), random_seen(rng, 20, 4000)
    clusters = ItemClusters.of(Q, bias)
    options: dict[str, Any] = {"seen_start": seen.start, "seen": seen.columns, "allowed": allowed}
    direct = top_items_of_clusters(P, clusters, 10, **options)
    monkeypatch.setattr(topk_clusters, "FEW", 1000)
    searched = top_items_of_clusters(P, clusters, 10, **options)
    is_zero = ~P.any(axis=1)
    np.testing.assert_array_equal(direct[2], np.where(is_zero, 0, 15))
    assert (searched[2][~is_zero] > 15).all()
    for a, b in zip(direct[:2], searched[:2], strict=True):
        assert a.tobytes() == b.tobytes()


def test_clusters_of_different_items_are_small() -> None:
    rng = np.random.default_rng(4)
    clusters = ItemClusters.of(rng.standard_normal((50_000, 5)).astype(np.float32), np.zeros(50_000, np.float32))
    assert np.diff(clusters.start).max() <= 1.5 * CLUSTER_SIZE
