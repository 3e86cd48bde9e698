"""Every kernel against its slow reference, and against independent results."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.estimators import ExplicitALS, ImplicitALS
from cofactor.kernels import reference, ridge
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.gram import CHUNK_SIZE, gram
from cofactor.kernels.normal_equations import build_equations, solve_each
from cofactor.kernels.parallel import parallel_for, parallel_map, row_blocks, thread_count, threads
from cofactor.kernels.ridge import EVENTS, RATINGS, RidgeInputs, improve, solve
from cofactor.kernels.sgd import group_ratings, rating_blocks, sgd_epoch, sgd_ratings
from cofactor.kernels.sort import counting_sort, pairs_are_sorted, sorted_pairs
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import PIECE_SIZE, ItemIndex, first_allowed, top_items

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)
WIDTH = 8


def random_rows(rng: np.random.Generator, n_rows: int, n_columns: int, weighted: bool) -> SparseRows:
    blank = rng.random((n_rows, n_columns)) > rng.choice([0.05, 0.4, 0.9])
    rows, columns = np.nonzero(~blank)
    weights = rng.random(len(rows)) * 2 if weighted else None
    return SparseRows.of(rows, columns, rng.normal(0, 2, len(rows)), n_rows, weights)


def random_side(rng: np.random.Generator, kind: int, n: int, n_priors: int = 1) -> RidgeInputs:
    features = rng.standard_normal((n, WIDTH)).astype(np.float32)
    return RidgeInputs(
        kind,
        features,
        rng.standard_normal(n).astype(np.float32),
        (0.3 * gram(features)).astype(np.float32) if kind == EVENTS else np.zeros((0, 0), np.float32),
        rng.uniform(0.2, 1, WIDTH).astype(np.float32),
        rng.uniform(0.05, 1, WIDTH).astype(np.float32),
        rng.standard_normal((n_priors, WIDTH)).astype(np.float32),
    )


@few
@given(seeds, st.sampled_from([RATINGS, EVENTS]), st.booleans())
def test_exact_rows_equal_the_reference(seed: int, kind: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 7, 30, weighted and kind == RATINGS)
    side, penalty = random_side(rng, kind, 30, n_priors=seed % 2 * 6 + 1), rng.uniform(0, 5, 7).astype(np.float32)
    x = np.full((7, WIDTH), np.nan, np.float32)
    solve(x, rows, penalty, side)
    for r in range(7):
        np.testing.assert_allclose(x[r], reference.solve_row(rows, r, penalty[r], side), rtol=2e-3, atol=2e-4)


@few
@given(seeds, st.sampled_from([RATINGS, EVENTS]), st.booleans())
def test_equations_equal_the_reference_and_entries_can_be_subtracted(seed: int, kind: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 7, 30, weighted and kind == RATINGS)
    side, penalty = random_side(rng, kind, 30), rng.uniform(0.1, 5, 7).astype(np.float32)
    mask = rng.random(len(rows.columns)) < 0.7
    owner = np.repeat(np.arange(7), rows.counts)

    def part(which: Any) -> SparseRows:
        weights = None if rows.weights is None else rows.weights[which]
        return SparseRows.of(owner[which], rows.columns[which], rows.values[which], 7, weights)

    def summed(entries: SparseRows) -> tuple[Any, Any]:
        confidence, targets = side.targets(entries)
        return build_equations(entries, targets, confidence, side.features)

    (A, b), (A_removed, b_removed) = summed(rows), summed(part(~mask))
    A, b = A - A_removed, b - b_removed
    for r in range(7):
        own = penalty[r] * side.shape + side.precision
        A[r] += np.diag(own) + (side.gram if kind == EVENTS else 0)
        b[r] += side.precision * side.prior[0]
        np.testing.assert_allclose(A[r], reference.row_system(part(mask), r, penalty[r], side)[0], rtol=1e-5, atol=1e-5)
    x = solve_each(A, b)
    for r in range(7):
        np.testing.assert_allclose(x[r], reference.solve_row(part(mask), r, penalty[r], side), rtol=1e-3, atol=1e-4)


@few
@given(seeds, st.sampled_from([RATINGS, EVENTS]), st.booleans(), st.integers(1, 3))
def test_conjugate_gradient_equals_the_reference(seed: int, kind: int, weighted: bool, steps: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 7, 30, weighted and kind == RATINGS)
    side, penalty = random_side(rng, kind, 30), rng.uniform(0, 5, 7).astype(np.float32)
    before = rng.standard_normal((7, WIDTH)).astype(np.float32)
    x = before.copy()
    loss = improve(x, rows, penalty, side, steps=steps)
    expected = 0.0
    for r in range(7):
        expected_row = reference.improve_row(before[r], rows, r, penalty[r], side, steps=steps)
        np.testing.assert_allclose(x[r], expected_row, rtol=5e-3, atol=5e-4)
        A, b, squares = reference.row_system(rows, r, penalty[r], side)
        diagonal = penalty[r] * side.shape + side.precision
        own = A - np.diag(diagonal) - (side.gram if kind == EVENTS else 0)
        at = before[r].astype(np.float64)
        expected += squares - 2 * at @ (b - side.precision * side.prior[0]) + at @ own @ at
    assert loss == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_drawn_rows_have_the_mean_and_the_covariance_of_the_posterior() -> None:
    """x = A^-1 b + L'^-1 z: the same row drawn many times, against the truth in float64."""
    rng, n = np.random.default_rng(10), 20_000
    row = random_rows(rng, 1, 30, True)
    side, penalty = random_side(rng, RATINGS, 30), np.full(n, 0.7, np.float32)
    many = row.take(np.zeros(n, np.int64))
    x = np.zeros((n, WIDTH), np.float32)
    solve(x, many, penalty, side, noise=rng.standard_normal((n, WIDTH)).astype(np.float32))
    A, b, _ = reference.row_system(row, 0, 0.7, side)
    covariance = np.linalg.inv(A)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(x.mean(axis=0), np.linalg.solve(A, b), atol=5 * sd.max() / np.sqrt(n))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05 * sd.max() ** 2)


def test_conjugate_gradient_ends_at_the_exact_solution() -> None:
    rng = np.random.default_rng(0)
    rows, side, penalty = random_rows(rng, 5, 40, False), random_side(rng, EVENTS, 40), np.ones(5, np.float32)
    exact, x = np.zeros((5, WIDTH), np.float32), np.zeros((5, WIDTH), np.float32)
    solve(exact, rows, penalty, side)
    improve(x, rows, penalty, side, steps=3 * WIDTH)
    np.testing.assert_allclose(x, exact, atol=2e-4)


def test_rows_too_long_to_gather_are_solved_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    n = 1003
    monkeypatch.setattr(ridge, "MAX_GATHERED", 100 * WIDTH)
    rows = SparseRows.of(np.zeros(n, np.int64), np.arange(n), rng.normal(0, 1, n), 1)
    side, penalty = random_side(rng, RATINGS, n), np.ones(1, np.float32)
    x = np.zeros((1, WIDTH), np.float32)
    improve(x, rows, penalty, side, steps=2 * WIDTH)
    np.testing.assert_allclose(x[0], reference.solve_row(rows, 0, 1.0, side), atol=1e-3)


@pytest.mark.parametrize("n", [0, 1, CHUNK_SIZE, CHUNK_SIZE + 5])
def test_gram(n: int) -> None:
    features = np.random.default_rng(2).standard_normal((n, 5)).astype(np.float32)
    np.testing.assert_allclose(gram(features), reference.gram(features), rtol=1e-4, atol=1e-3)


def test_pair_dots() -> None:
    rng = np.random.default_rng(3)
    P, Q = (rng.standard_normal((n, 11)).astype(np.float32) for n in (20, 30))
    u, i = rng.integers(0, 20, 1000).astype(np.int32), rng.integers(0, 30, 1000).astype(np.int32)
    np.testing.assert_allclose(pair_dots(P, Q, u, i), reference.pair_dots(P, Q, u, i), atol=1e-5)


@few
@given(seeds, st.booleans(), st.sampled_from([0.0, 4.6]), st.sampled_from([0.0, 0.02]))
def test_sgd_updates_equal_the_reference(seed: int, weighted: bool, span: float, bias_rate: float) -> None:
    """Groups of eight do not change the algorithm: the reference processes one rating after the other."""
    rng = np.random.default_rng(seed)
    n = 60
    u, i = rng.integers(0, 6, n).astype(np.int32), rng.integers(0, 9, n).astype(np.int32)
    values = rng.integers(1, 6, n).astype(np.float32)
    weights = (rng.random(n) if weighted else np.zeros(0)).astype(np.float32)
    state = [rng.standard_normal(shape).astype(np.float32) * 0.3 for shape in ((6, WIDTH), (9, WIDTH), 6, 9)]
    expected = [array.astype(np.float64) for array in state]
    begins = np.zeros(n, bool)
    group_ratings()(u, i, values, weights, begins, 0, n)
    group = np.append(np.flatnonzero(begins), n)
    loss, last = np.zeros(1), len(group) - 1
    numbers = (0.1, 0.7, span, 0.03, bias_rate, 0.05, 0.02)
    sgd_ratings(WIDTH)(*state, loss, u, i, values, weights, group, 0, 0, last, *numbers)
    total = reference.sgd_updates(
        *expected,
        u,
        i,
        values,
        weights,
        mean=0.1,
        low=0.7,
        span=span,
        learning_rate=0.03,
        bias_rate=bias_rate,
        l2=0.05,
        l2_bias=0.02,
    )
    for mine, theirs in zip(state, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    assert loss[0] == pytest.approx(total, rel=1e-4)


PAST_THE_END = """
import numpy as np
from cofactor.kernels.sgd import sgd_ratings

P, Q = np.full((3, 16), 0.1, np.float32), np.full((3, 16), 0.1, np.float32)
u, i = np.array([0, 1, 2, 2**31 - 1], np.int32), np.array([2, 1, 0, 2**31 - 1], np.int32)
biases, loss, ones = [np.zeros(3, np.float32) for _ in range(2)], np.zeros(1), np.ones(3, np.float32)
numbers = (0.1, 0.7, 0.0, 0.03, 0.03, 0.05, 0.02)
sgd_ratings(16)(P, Q, *biases, loss, u[:3], i[:3], ones, ones[:0], np.array([0, 3]), 0, 0, 1, *numbers)
assert np.isfinite(loss).all()
"""


def test_sgd_reads_no_row_number_after_the_last_rating() -> None:
    """In a child: it ends at once where it looks up the row number past the end, which is far out of range."""
    ended = subprocess.run([sys.executable, "-c", PAST_THE_END], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_an_sgd_update_is_the_gradient_of_the_loss() -> None:
    """The step of one rating against central differences of w (r - y)^2 + l2 ... in float64."""
    rng = np.random.default_rng(4)
    p, q = rng.standard_normal(WIDTH), rng.standard_normal(WIDTH)
    start = np.concatenate([p, q, [0.2, -0.1]])
    w, r, mean, low, span, l2, l2_bias = 1.7, 4.0, 0.3, 0.5, 5.0, 0.05, 0.02

    def loss(z: np.ndarray) -> float:
        p, q, b_u, b_i = z[:WIDTH], z[WIDTH : 2 * WIDTH], z[-2], z[-1]
        y = low + span / (1 + np.exp(-(mean + b_u + b_i + p @ q)))
        return float(w * (r - y) ** 2 + l2 * (p @ p + q @ q) + l2_bias * (b_u**2 + b_i**2))

    eps = 1e-6 * np.eye(len(start))
    gradient = np.array([(loss(start + e) - loss(start - e)) / 2e-6 for e in eps])
    P, Q, b_u, b_i = p[None].copy(), q[None].copy(), np.array([0.2]), np.array([-0.1])
    reference.sgd_updates(
        P, Q, b_u, b_i,
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.array([r], np.float32), np.array([w], np.float32),
        mean=mean, low=low, span=span, learning_rate=1e-3, bias_rate=1e-3, l2=l2, l2_bias=l2_bias,
    )  # fmt: skip
    moved = np.concatenate([P[0], Q[0], b_u, b_i])
    np.testing.assert_allclose(start - 1e-3 * gradient, moved, atol=1e-7)


def test_blocks_hold_every_rating_once_and_disjoint_blocks_share_no_rows() -> None:
    rng = np.random.default_rng(5)
    n = 5000
    u, i = rng.integers(0, 300, n).astype(np.int32), rng.integers(0, 200, n).astype(np.int32)
    values, weights = rng.random(n).astype(np.float32), rng.random(n).astype(np.float32)
    blocks = rating_blocks(u, i, values, weights, n_users=300, n_items=200, grid=4, seed=0)
    before = sorted(zip(blocks.new_user_row[u], blocks.new_item_row[i], values, weights, strict=True))
    assert sorted(zip(blocks.u, blocks.i, blocks.values, blocks.weights, strict=True)) == before
    assert sorted(blocks.new_user_row) == list(range(300))
    assert blocks.start[-1] == n
    users = [set(blocks.u[blocks.start[b] : blocks.start[b + 1]]) for b in range(16)]
    items = [set(blocks.i[blocks.start[b] : blocks.start[b + 1]]) for b in range(16)]
    assert not users[0 * 4 + 1] & users[1 * 4 + 2]
    assert not items[0 * 4 + 1] & items[1 * 4 + 2]
    assert np.diff(blocks.start).min() > n / 16 / 3  # dealt about evenly


@few
@given(seeds, st.integers(1, 300), st.integers(1, 12))
def test_no_two_ratings_of_a_group_share_a_row(seed: int, n: int, n_users: int) -> None:
    rng = np.random.default_rng(seed)
    u, i = rng.integers(0, n_users, n).astype(np.int32), rng.integers(0, 20, n).astype(np.int32)
    values, weights = rng.random(n).astype(np.float32), rng.random(n).astype(np.float32)
    blocks = rating_blocks(u, i, values, weights, n_users=n_users, n_items=20, grid=2, seed=seed)
    assert blocks.group[0] == 0
    assert blocks.group[-1] == n
    np.testing.assert_array_equal(blocks.group[blocks.first_group], blocks.start)  # no group spans two blocks
    for begin, end in itertools.pairwise(blocks.group):
        assert 1 <= end - begin <= 8
        assert len(set(blocks.u[begin:end])) == len(set(blocks.i[begin:end])) == end - begin


def test_an_epoch_visits_every_rating_once() -> None:
    """At a tiny rate the loss seen on the way is the loss of the start."""
    rng = np.random.default_rng(6)
    n = 2000
    u, i = rng.integers(0, 50, n).astype(np.int32), rng.integers(0, 40, n).astype(np.int32)
    values = rng.random(n).astype(np.float32)
    blocks = rating_blocks(u, i, values, np.zeros(0, np.float32), n_users=50, n_items=40, grid=4, seed=0)
    arrays = (
        np.zeros((50, 8), np.float32),
        np.zeros((40, 8), np.float32),
        np.zeros(50, np.float32),
        np.zeros(40, np.float32),
    )
    seen = sgd_epoch(
        *arrays,
        blocks,
        mean=0.5,
        low=0,
        span=0,
        learning_rate=1e-12,
        bias_rate=0,
        l2=0,
        l2_bias=0,
        rng=np.random.default_rng(0),
    )
    assert seen == pytest.approx(float(np.sum((values - 0.5) ** 2)), rel=1e-5)


@few
@given(seeds, st.integers(1, 12), st.sampled_from([1, 3, 130]), st.booleans())
def test_top_items_equal_the_sorted_matrix(seed: int, n: int, n_users: int, filtered: bool) -> None:
    rng = np.random.default_rng(seed)
    n_items, width = int(rng.integers(1, 60)), int(rng.choice([0, 1, 5, 16]))
    # small whole numbers: sums are exact, so ties are real ties and must fall by row
    P = rng.integers(-2, 3, (n_users, width)).astype(np.float32)
    Q = rng.integers(-2, 3, (n_items, width)).astype(np.float32)
    bias = rng.integers(-2, 3, n_items).astype(np.float32)
    seen = random_rows(rng, n_users, n_items, False)
    allowed = rng.random(n_items) > 0.3 if filtered else np.zeros(0, bool)
    rows, scores = top_items(P, ItemIndex.of(Q, bias), n, seen_start=seen.start, seen=seen.columns, allowed=allowed)
    expected_rows, expected_scores = reference.top_items(
        P, Q, bias, n, seen_start=seen.start, seen=seen.columns, allowed=allowed
    )
    k = expected_rows.shape[1]
    np.testing.assert_array_equal(rows[:, :k], expected_rows)
    np.testing.assert_array_equal(scores[:, :k], expected_scores)
    assert (rows[:, k:] == -1).all()


def test_top_items_across_many_tiles_with_skewed_norms() -> None:
    rng = np.random.default_rng(8)
    P = rng.standard_normal((300, 24)).astype(np.float32)
    Q = (rng.standard_normal((9001, 24)) * np.exp(rng.normal(0, 1.5, (9001, 1)))).astype(np.float32)
    bias = rng.standard_normal(9001).astype(np.float32)
    none = SparseRows.empty(300)
    rows, scores = top_items(
        P, ItemIndex.of(Q, bias), 20, seen_start=none.start, seen=none.columns, allowed=np.zeros(0, bool)
    )
    expected_rows, expected_scores = reference.top_items(
        P, Q, bias, 20, seen_start=none.start, seen=none.columns, allowed=np.zeros(0, bool)
    )
    assert (rows == expected_rows).mean() > 0.999  # float32 may order near-equal scores differently
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-3)


@few
@given(seeds, st.integers(0, 30), st.integers(0, 200))
def test_the_first_allowed_items_of_an_order(seed: int, n: int, n_items: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_items).astype(np.int32)
    seen = np.flatnonzero(rng.random(n_items) < rng.choice([0, 0.1, 0.9])).astype(np.int32)
    allowed = np.zeros(0, bool) if seed % 3 == 0 else rng.random(n_items) < rng.choice([0, 0.02, 0.9])
    usable = [i for i in order.tolist() if i not in set(seen.tolist()) and (len(allowed) == 0 or allowed[i])]
    rows = first_allowed(order, n, seen, allowed)
    assert rows.dtype == np.int32
    assert rows.tolist() == [*usable, *[-1] * n][:n]


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("n_items", [PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE + 5])
def test_one_user_with_many_items_gets_the_bits_of_a_batch(n_items: int, spread: float) -> None:
    rng = np.random.default_rng(n_items)
    P = rng.standard_normal((3, 12)).astype(np.float32)
    Q = (rng.standard_normal((n_items, 12)) * np.exp(rng.normal(0, spread, (n_items, 1)))).astype(np.float32)
    Q[:7] = 0
    Q[100:4000] = Q[100]  # equal scores, in more than one piece
    Q[-50:] = Q[100]
    bias = np.round(rng.standard_normal(n_items)).astype(np.float32)
    bias[100:4000] = bias[-50:] = 3
    best = np.argsort(-(P @ Q.T + bias), axis=1)[:, :5].astype(np.int32)
    seen = SparseRows.of(np.repeat(np.arange(3), 5), best.ravel(), np.ones(15), 3)
    index = ItemIndex.of(Q, bias)
    for allowed in (np.zeros(0, bool), rng.random(n_items) < 0.5):
        rows, scores = top_items(P, index, 30, seen_start=seen.start, seen=seen.columns, allowed=allowed)
        for u in range(3):
            own = seen.row(u)
            for count in (1, 2, 4):
                with threads(count):
                    alone = top_items(P[u : u + 1], index, 30, seen_start=own.start, seen=own.columns, allowed=allowed)
                np.testing.assert_array_equal(alone[0][0], rows[u])
                assert alone[1][0].tobytes() == scores[u].tobytes()


def test_compressed_items_are_within_their_error_bound() -> None:
    rng = np.random.default_rng(3)
    Q = (rng.standard_normal((500, 20)) * np.exp(rng.normal(0, 3, (500, 1)))).astype(np.float32)
    Q[0] = 0
    index = ItemIndex.of(Q, np.zeros(500, np.float32))
    z, scale, error = index.compressed_factors
    off = np.linalg.norm(index.factors.astype(np.float64) - scale[:, None].astype(np.float64) * z, axis=1)
    assert (off <= error).all()
    assert (error <= 0.5 * np.sqrt(20) * scale * 1.001).all()


def test_row_blocks_cover_every_row_once_and_are_cut_by_the_data_alone() -> None:
    counts = np.random.default_rng(9).integers(0, 400, 1000)
    start = np.concatenate([[0], np.cumsum(counts)])
    with threads(1):
        cuts = row_blocks(start, entries=1000, rows=64)
    with threads(4):
        assert row_blocks(start, entries=1000, rows=64) == cuts
    assert [r for first, last in cuts for r in range(first, last)] == list(range(1000))
    assert row_blocks(np.zeros(1, np.int64)) == []


def test_for_each_calls_every_argument_once_and_raises_its_error() -> None:
    with threads(4):
        done: list[int] = []
        parallel_for(done.append, range(100))
        assert parallel_map(lambda x: x * x, range(100)) == [x * x for x in range(100)]
        assert sorted(done) == list(range(100))
        with pytest.raises(ZeroDivisionError):
            parallel_for(lambda x: 1 // x, [3, 0, 2])


def test_threads_are_chosen_by_block_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COFACTOR_THREADS", "3")
    assert thread_count() == 3
    with threads(2):
        assert thread_count() == 2
    with pytest.raises(ParameterError, match="n must be an integer from 1 to 1024, not 0"), threads(0):
        pass
    monkeypatch.setenv("COFACTOR_THREADS", "many")
    with pytest.raises(ParameterError, match="COFACTOR_THREADS"):
        thread_count()


FIT = (
    "import logging, numpy as np, cofactor;"
    "logging.basicConfig(level=logging.INFO, format='%(name)s: %(levelname)s: %(message)s');"
    "t = cofactor.Interactions.from_columns(np.arange(99) % 9, np.arange(99) // 9, np.arange(99) % 5);"
    "rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), t);"
    "print(rec.recommend(0, exclude_seen=False)['item'].to_list())"
)


def run_fit(cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COFACTOR_CACHE": str(cache), **environment}
    return subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, env=env, check=True)


@pytest.mark.long
def test_first_use_compiles_with_a_message_and_a_second_process_starts_from_the_cache(tmp_path: Path) -> None:
    first = run_fit(tmp_path)
    assert first.stderr.count("cofactor: INFO: compiling kernels") == 1
    cached_files = sorted(path.name for path in tmp_path.rglob("*.nbc"))
    assert cached_files
    second = run_fit(tmp_path)
    assert second.stderr == ""
    assert second.stdout == first.stdout
    assert sorted(path.name for path in tmp_path.rglob("*.nbc")) == cached_files  # nothing was compiled again


@pytest.mark.long
def test_an_unwritable_cache_is_reported_and_does_no_harm(tmp_path: Path) -> None:
    occupied = tmp_path / "a file, not a folder"
    occupied.write_text("")
    done = run_fit(occupied)
    assert "cofactor: WARNING: " in done.stderr
    assert "cannot be written" in done.stderr
    assert "COFACTOR_CACHE" in done.stderr
    assert done.stdout == run_fit(tmp_path / "cache").stdout


@few
@given(seeds, st.integers(1, 9), st.integers(0, 60))
def test_grouping_is_that_of_numpy(seed: int, n_keys: int, n: int) -> None:
    keys = np.random.default_rng(seed).integers(0, n_keys, n).astype(np.int32)
    start, order = counting_sort(keys, n_keys)
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(start, np.searchsorted(keys[order], np.arange(n_keys + 1)))


@few
@given(seeds, st.integers(1, 9), st.integers(1, 9), st.integers(0, 60), st.sampled_from([1, 2, 5]))
def test_sorted_pairs_are_those_of_numpy_on_any_number_of_threads(
    seed: int, rows: int, columns: int, n: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    u, i = rng.integers(0, rows, n).astype(np.int32), rng.integers(0, columns, n).astype(np.int32)
    with threads(k):
        assert_sorted(u, i, rows, columns)


@pytest.mark.parametrize("rows", [1, 3, 20_000])
def test_sorted_pairs_over_many_blocks_and_over_rows_longer_than_one(rows: int) -> None:
    rng = np.random.default_rng(rows)
    u, i = rng.integers(0, rows, 300_000).astype(np.int32), rng.integers(0, 500, 300_000).astype(np.int32)
    i[:3] = 2**31 - 1
    assert_sorted(u, i, rows, 2**31)


def assert_sorted(u: Any, i: Any, n_rows: int, n_columns: int) -> None:
    order = np.lexsort((i, u))
    out_u, out_i, (places, nothing) = sorted_pairs(u, i, (np.arange(len(u)), None), n_rows, n_columns)
    np.testing.assert_array_equal(out_u, u[order])
    np.testing.assert_array_equal(out_i, i[order])
    np.testing.assert_array_equal(places, order)
    assert nothing is None
    pairs = list(zip(out_u.tolist(), out_i.tolist(), strict=True))
    assert pairs_are_sorted(out_u, out_i) == (len(set(pairs)) == len(pairs))
    assert pairs_are_sorted(u, i) == (len(set(pairs)) == len(pairs) and bool((order == np.arange(len(u))).all()))


@pytest.mark.parametrize("kind", ["events", "ratings"])
def test_a_block_of_rows_without_entries_does_not_change_the_others(kind: Any) -> None:
    """A block has up to 4,096 rows."""
    u, i = np.repeat(np.arange(30), 3), np.tile(np.arange(3), 30) + np.repeat(np.arange(30) % 4, 3)
    values = np.arange(90) % 5 + 1
    estimator: Any = ImplicitALS(factors=4) if kind == "events" else ExplicitALS(factors=4)
    table = Interactions.from_columns(u, i, values, kind=kind)
    longer = table.with_ids(IdMap.of(range(10_000)), table.items)
    model, longer_model = estimator.fit(table), estimator.fit(longer)
    assert not longer_model.user_factors[30:].any()
    if kind == "ratings":
        np.testing.assert_array_equal(longer_model.user_factors[:30], model.user_factors)
