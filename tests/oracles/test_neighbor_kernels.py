"""The kernels of neighbor models and EASE against slow references, and against independent results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.kernels import reference
from cofactor.kernels.cholesky import TILE_SIZE, negative_inverse, sparse_gram
from cofactor.kernels.neighbor_scores import (
    AVERAGE,
    SUM,
    NeighborLists,
    add_by_users,
    add_dense,
    average_by_items,
    average_of_pairs,
    damped_means,
    sum_by_items,
    top_k_membership,
)
from cofactor.kernels.neighbors import COSINE, DOT, JACCARD, PEARSON, ColumnLists, nearest
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows, vstack
from cofactor.kernels.topk_dense import score_blocks, top_of_blocks

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)
measures = st.sampled_from([PEARSON, COSINE, JACCARD, DOT])
EVERYTHING = 10**6


def random_rows(rng: np.random.Generator, n_rows: int, n_columns: int, *, weighted: bool = False) -> SparseRows:
    blank = rng.random((n_rows, n_columns)) > rng.choice([0.1, 0.4, 0.9])
    rows, columns = np.nonzero(~blank)
    weights = rng.random(len(rows)) * 2 if weighted else None
    return SparseRows.of(rows, columns, rng.normal(0.3, 1, len(rows)), n_rows, weights)


def random_links(rng: np.random.Generator, n_items: int) -> SparseRows:
    links = random_rows(rng, n_items, n_items)
    return replace(links, values=np.abs(links.values) + np.float32(0.01))


# finding neighbors


@few
@given(seeds, measures, st.integers(1, 12), st.sampled_from([0.0, 3.0, 100.0]), st.booleans())
def test_the_nearest_rows_equal_the_reference(seed: int, measure: int, n: int, shrink: float, apart: bool) -> None:
    shrink = 0.0 if measure == DOT else shrink
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 15, 12)
    itself = np.arange(15, dtype=np.int32) if apart else None
    lists = ColumnLists.of(rows, 12, max_length=EVERYTHING)
    neighbors, similarity = nearest(rows, lists, rows, measure=measure, n=n, shrink=shrink, exclude=itself)
    expected = reference.row_similarities(rows, rows, 12, measure=measure, shrink=shrink, exclude=itself)
    np.testing.assert_allclose(similarity, reference.largest_similarities(expected, n), rtol=1e-4, atol=1e-5)
    listed = neighbors >= 0
    assert ((similarity > 0) == listed).all()
    own = np.take_along_axis(expected, np.maximum(neighbors, 0), axis=1)
    np.testing.assert_allclose(similarity[listed], own[listed], rtol=1e-4, atol=1e-5)
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in neighbors)


@few
@given(seeds, st.sampled_from([0.0, 3.0]), st.integers(2, 40))
def test_a_cosine_does_not_depend_on_the_size_of_values(seed: int, shrink: float, n_rows: int) -> None:
    """Rows of ones, for which a single sum is stored, against rows of twos; with many rows and with few."""
    rows = random_rows(np.random.default_rng(seed), n_rows, 12)
    ones, twos = (replace(rows, values=np.full(len(rows.values), value, np.float32)) for value in (1, 2))
    results = [
        nearest(some, ColumnLists.of(some, 12, max_length=EVERYTHING), some, measure=COSINE, n=5, shrink=shrink)
        for some in (ones, twos)
    ]
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)
    np.testing.assert_array_equal(results[0][0], results[1][0])


@pytest.mark.long
@few
@given(seeds, measures, st.integers(2, 8))
def test_sampled_columns_omit_rows_and_never_change_a_similarity(seed: int, measure: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 25, 10)
    lists = ColumnLists.of(rows, 10, max_length=longest)
    neighbors, similarity = nearest(rows, lists, rows, measure=measure, n=5, shrink=2.0)
    expected = reference.row_similarities(rows, rows, 10, measure=measure, shrink=2.0)
    listed = neighbors >= 0
    own = np.take_along_axis(expected, np.maximum(neighbors, 0), axis=1)
    np.testing.assert_allclose(similarity[listed], own[listed], rtol=1e-4, atol=1e-5)
    assert (np.diff(similarity, axis=1) <= 0).all()


def test_a_list_that_is_full_holds_the_fullest_rows() -> None:
    rows = SparseRows.of([0, 1, 1, 2, 2, 2, 3], [0, 0, 1, 0, 1, 2, 0], np.ones(7), 4)
    lists = ColumnLists.of(rows, 3, max_length=2)
    assert lists.is_truncated
    assert [lists.row_of[lists.position[a:b]].tolist() for a, b in zip(lists.start, lists.start[1:], strict=False)] == [
        [2, 1],
        [2, 1],
        [2],
    ]
    assert not ColumnLists.of(rows, 3, max_length=4).is_truncated


def test_users_without_new_items_are_no_neighbors_and_ties_go_by_row() -> None:
    rows = SparseRows.of([0, 0, 1, 1, 2, 2, 2, 3, 3, 3], [0, 1, 0, 1, 0, 1, 2, 0, 1, 3], np.ones(10), 4)
    lists = ColumnLists.of(rows, 4, max_length=EVERYTHING)
    neighbors, similarity = nearest(rows, lists, rows, measure=COSINE, n=3, shrink=0.0)
    assert neighbors.tolist() == [[2, 3, -1], [2, 3, -1], [3, -1, -1], [2, -1, -1]]
    assert similarity[0, 0] == pytest.approx(2 / 6**0.5)
    assert (similarity[:, 2] == 0).all()


def test_neighbors_that_tie_at_the_end_of_a_list_are_left_out() -> None:
    """Row 0 shares two entries with row 1, and one with each of rows 2 to 4."""
    rows = SparseRows.of([0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4], [0, 1, 0, 1, 2, 0, 2, 0, 2, 1, 2], np.ones(11), 5)
    lists = ColumnLists.of(rows, 3, max_length=EVERYTHING)
    for n, expected in ((1, [1]), (2, [1, -1]), (3, [1, -1, -1]), (4, [1, 2, 3, 4]), (5, [1, 2, 3, 4, -1])):
        neighbors, similarity = nearest(rows, lists, rows, measure=COSINE, n=n, shrink=0.0)
        assert neighbors[0].tolist() == expected
        assert (similarity[0] > 0).tolist() == [row >= 0 for row in expected]
    tied_rows = SparseRows.of([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 2, 0, 2, 0, 2], np.ones(8), 4)
    lists = ColumnLists.of(tied_rows, 3, max_length=EVERYTHING)
    assert nearest(tied_rows, lists, tied_rows, measure=COSINE, n=2, shrink=0.0)[0][0].tolist() == [1, 2]


def test_threads_and_batches_change_no_bit_of_the_neighbors() -> None:
    rng = np.random.default_rng(4)
    u, i = rng.integers(0, 6000, 90_000), np.minimum(rng.zipf(1.4, 90_000), 300) - 1
    pairs = np.unique(np.stack([u, i], axis=1), axis=0)
    rows = SparseRows.of(pairs[:, 0], pairs[:, 1], rng.standard_normal(len(pairs)), 6000)
    lists = ColumnLists.of(rows, 300, max_length=500)
    results = []
    for count in (1, 2, 4):
        with threads(count):
            results.append(nearest(rows, lists, rows, measure=PEARSON, n=20, shrink=10.0))
    assert all(
        mine.tobytes() == first.tobytes()
        for result in results[1:]
        for mine, first in zip(result, results[0], strict=True)
    )
    alone, similarity = nearest(rows.row(77), lists, rows, measure=PEARSON, n=20, shrink=10.0)
    assert (alone.tobytes(), similarity.tobytes()) == (results[0][0][77:78].tobytes(), results[0][1][77:78].tobytes())


@few
@given(seeds)
def test_transposing_turns_columns_into_rows(seed: int) -> None:
    rows = random_rows(np.random.default_rng(seed), 9, 6)
    np.testing.assert_array_equal(reference.to_dense(rows.transpose(6), 9), reference.to_dense(rows, 6).T)


# scores from neighbors

ties = st.sampled_from([None, 0.0, 3e-5, 3e-4])
"""No ties between similarities, exact ties, or similarities that differ by up to this share."""


def with_ties(rng: np.random.Generator, values: np.ndarray, n_levels: int, width: float | None) -> np.ndarray:
    if width is None:
        return values
    rounded = np.ceil(values * n_levels) / n_levels
    return (rounded * (1 - width * rng.random(values.shape))).astype(np.float32)


@few
@given(seeds, st.integers(1, 6), st.sampled_from([1e-5, 1e-4, 1e-3]))
def test_membership_changes_little_if_similarities_change_little(seed: int, k: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    similarity = 0.5 * (1 + width * rng.random(12))
    changed = similarity * (1 + 1e-7 * rng.standard_normal(12))
    before, after = top_k_membership(similarity, k), top_k_membership(changed, k)
    np.testing.assert_allclose(before, reference.top_k_membership(similarity, k), atol=1e-9)
    assert before.sum() == pytest.approx(k)
    assert np.abs(after - before).max() < 0.02


@few
@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.5]), st.booleans(), ties)
def test_averages_over_items_equal_the_reference(
    seed: int, k: int, damping: float, weighted: bool, width: float | None
) -> None:
    rng = np.random.default_rng(seed)
    rows, links = random_rows(rng, 6, 14, weighted=weighted), random_links(rng, 14)
    links = replace(links, values=with_ties(rng, links.values, 2, width))
    lists = NeighborLists.of(links)
    out = np.zeros((6, 14), np.float32)
    average_by_items(out, rows, lists, k=k, damping=damping)
    np.testing.assert_allclose(out, reference.item_item_scores(rows, links, k=k, damping=damping), rtol=1e-6, atol=1e-6)
    alone = np.zeros((6, 14), np.float32)
    for a in range(6):
        average_by_items(alone[a : a + 1], rows.row(a), lists, k=k, damping=damping)
    assert alone.tobytes() == out.tobytes()
    users, items = np.nonzero(rng.random((6, 14)) < 0.3)
    pairs = np.zeros(len(users), np.float32)
    start = np.searchsorted(users, np.arange(7)).astype(np.int64)
    average_of_pairs(pairs, start, items.astype(np.int32), rows, lists, k=k, damping=damping)
    assert pairs.tobytes() == out[users, items].tobytes()


def test_averages_with_many_and_with_few_similarities_have_the_same_bits() -> None:
    """Items without a neighbor in any history are skipped only if the histories have few similarities."""
    rng = np.random.default_rng(3)
    links = random_links(rng, 400)
    short = random_rows(rng, 8, 3)
    short = SparseRows(short.start, short.columns * 100, short.values)
    busy = SparseRows.of(np.zeros(400, int), np.arange(400), rng.standard_normal(400), 1)
    alone, together = np.zeros((8, 400), np.float32), np.zeros((9, 400), np.float32)
    average_by_items(alone, short, NeighborLists.of(links), k=2, damping=0.1)
    average_by_items(together, vstack(short, busy), NeighborLists.of(links), k=2, damping=0.1)
    assert alone.any()
    assert alone.tobytes() == together[:8].tobytes()
    expected = reference.item_item_scores(short, links, k=2, damping=0.1)
    np.testing.assert_allclose(alone, expected, rtol=1e-6, atol=1e-6)


@few
@given(seeds)
def test_sums_over_items_equal_the_reference_and_the_dense_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, links = random_rows(rng, 6, 14), random_links(rng, 14)
    out, dense = np.zeros((6, 14), np.float32), np.zeros((6, 14), np.float32)
    sum_by_items(out, rows, links)
    np.testing.assert_allclose(out, reference.item_item_scores(rows, links), atol=1e-4)
    add_dense(dense, rows, reference.to_dense(links, 14).astype(np.float32))
    np.testing.assert_allclose(dense, reference.to_dense(rows, 14) @ reference.to_dense(links, 14), atol=1e-4)


@few
@given(seeds, st.integers(1, 6), st.sampled_from([None, 0.0, 0.5]), st.booleans(), ties)
def test_scores_from_users_equal_the_reference(
    seed: int, k: int, damping: float | None, weighted: bool, width: float | None
) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 9, 14, weighted=weighted and damping is not None)
    neighbors = np.stack([rng.permutation(9)[:7] for _ in range(5)]).astype(np.int32)
    neighbors[:, 5:] = np.where(rng.random((5, 1)) < 0.5, -1, neighbors[:, 5:])
    similarity = -np.sort(-with_ties(rng, rng.random((5, 7)).astype(np.float32), 3, width), axis=1)
    out = np.zeros((5, 14), np.float32)
    rule = SUM if damping is None else AVERAGE
    add_by_users(out, neighbors, similarity, rows, rule=rule, k=k, damping=damping or 0.0)
    np.testing.assert_allclose(
        out, reference.user_user_scores(neighbors, similarity, rows, 14, k=k, damping=damping), rtol=1e-4, atol=1e-4
    )


@few
@given(seeds, st.booleans(), st.sampled_from([0.0, 5.0]))
def test_damped_means_equal_the_reference(seed: int, weighted: bool, damping: float) -> None:
    rng = np.random.default_rng(seed)
    rows, bias = random_rows(rng, 8, 9, weighted=weighted), rng.standard_normal(9).astype(np.float32)
    means = damped_means(rows, bias, mean=0.7, damping=damping)
    np.testing.assert_allclose(means, reference.damped_means(rows, bias, mean=0.7, damping=damping), atol=1e-5)


# ranking score rows


@few
@given(seeds, st.integers(1, 60), st.booleans())
def test_the_best_of_score_rows_equal_the_reference_with_ties(seed: int, n: int, filtered: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal((150, 50)), 1).astype(np.float32)
    exclude = random_rows(rng, 150, 50)
    allowed = rng.random(50) < 0.7 if filtered else np.zeros(0, bool)
    results = []
    for count in (1, 3):
        with threads(count):
            results.append(top_of_blocks(lambda a, b: scores[a:b], 50, n, exclude=exclude, allowed=allowed))
    rows, best = results[0]
    assert (rows.tobytes(), best.tobytes()) == (results[1][0].tobytes(), results[1][1].tobytes())
    expected_rows, expected_best = reference.top_of_rows(scores, n, exclude=exclude, allowed=allowed)
    np.testing.assert_array_equal(rows[:, : expected_rows.shape[1]], expected_rows)
    np.testing.assert_array_equal(best[:, : expected_rows.shape[1]], expected_best)
    assert (rows[:, expected_rows.shape[1] :] == -1).all()


def test_score_blocks_cover_every_user_once_and_stay_small() -> None:
    for n_users, n_items in ((0, 5), (1, 5), (1000, 26_744), (7, 10**7)):
        blocks = score_blocks(n_users, n_items)
        assert [u for first, last in blocks for u in range(first, last)] == list(range(n_users))
        assert all((last - first) * n_items <= max(1 << 21, n_items) for first, last in blocks)


# the closed form of EASE


@few
@given(seeds)
def test_the_sparse_gram_matrix_is_that_of_the_dense_matrix(seed: int) -> None:
    rows = random_rows(np.random.default_rng(seed), 40, 45)
    X = reference.to_dense(rows, 45)
    np.testing.assert_allclose(sparse_gram(rows, 45), np.tril(X.T @ X), atol=1e-9)


@pytest.mark.parametrize("n", [1, 5, TILE_SIZE, TILE_SIZE + 1, 2 * TILE_SIZE + 70])
def test_the_inverse_by_blocks_is_the_inverse_with_any_number_of_threads(n: int) -> None:
    rng = np.random.default_rng(n)
    F = rng.standard_normal((n, n + 5))
    A = F @ F.T + n * np.eye(n)
    results = []
    for count in (1, 2, 4):
        lower = np.tril(A)
        with threads(count):
            negative_inverse(lower)
        results.append(np.tril(lower))
    np.testing.assert_allclose(results[0], np.tril(-np.linalg.inv(A)), rtol=1e-8, atol=1e-12)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
