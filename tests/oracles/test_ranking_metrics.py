"""Ranking metrics against plain loops and scikit-learn, at their bounds, and with nothing to rank."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from cofactor.data.interactions import SparseRows
from cofactor.errors import DataError, ParameterError
from cofactor.metrics.ranking import (
    CAPPED_RECALL,
    RANKING_METRICS,
    Hits,
    RankingMetric,
    average_precision,
    hit_rate,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)
from cofactor.metrics.registry import ranking_metrics

NAMES = [metric.name for metric in RANKING_METRICS]


def rows_of(tests: list[set[int]]) -> SparseRows:
    pairs = [(row, item) for row, items in enumerate(tests) for item in items]
    rows, items = [row for row, _ in pairs], [item for _, item in pairs]
    return SparseRows.of(np.array(rows, np.int64), np.array(items, np.int64), np.ones(len(pairs)), len(tests))


def by_loops(ranked: list[int], test: set[int], k: int) -> dict[str, float]:
    """The definitions, one user at a time."""
    if not test:
        return dict.fromkeys(NAMES, math.nan)
    dcg = hits = precisions = first = 0.0
    for place, item in enumerate(ranked[:k], start=1):
        if item in test:
            hits += 1
            dcg += 1 / math.log2(place + 1)
            precisions += hits / place
            first = first or 1 / place
    best = min(k, len(test))
    ideal = sum(1 / math.log2(place + 1) for place in range(1, best + 1))
    return {
        "ndcg": dcg / ideal,
        "recall": hits / len(test),
        "precision": hits / k,
        "mrr": first,
        "map": precisions / best,
        "hit_rate": float(hits > 0),
    }


def test_every_ranking_metric_has_a_definition_by_loops():
    missing = set(NAMES) - set(by_loops([0], {0}, 1))
    assert not missing, f"add {missing} to by_loops"


@st.composite
def lists_and_tests(draw):
    """Lists of 8 from a catalog of 1 to 12 items, shorter ones filled up with -1; tests may be empty."""
    n_items, n_users = draw(st.integers(1, 12)), draw(st.integers(0, 6))
    items = st.integers(0, n_items - 1)
    lists = [draw(st.lists(items, unique=True, max_size=8)) for _ in range(n_users)]
    padded = np.array([row + [-1] * (8 - len(row)) for row in lists], np.int32).reshape(n_users, 8)
    return padded, [draw(st.sets(items)) for _ in range(n_users)]


@given(lists_and_tests(), st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
@settings(max_examples=300, deadline=None)
def test_equal_to_plain_loops_and_bounded(case, ks):
    ranked, tests = case
    metrics = ranking_metrics(ranked, rows_of(tests), ks=ks)
    assert list(metrics) == [f"{name}@{k}" for k in ks for name in NAMES]
    for k in ks:
        expected = [by_loops(list(row), test, k) for row, test in zip(ranked, tests, strict=True)]
        for name in NAMES:
            values = metrics[f"{name}@{k}"]
            assert values.dtype == np.float64
            np.testing.assert_allclose(values, [e[name] for e in expected], rtol=1e-12, atol=0)
            assert ((values >= 0) & (values <= 1))[~np.isnan(values)].all()


@given(st.integers(0, 10_000), st.integers(1, 15))
@settings(deadline=None, max_examples=50)
def test_ndcg_against_scikit_learn(seed, k):
    draw = np.random.default_rng(seed)
    scores, relevance = draw.permuted(np.tile(np.arange(15.0), (4, 1)), axis=1), draw.random((4, 15)) < 0.3
    relevance[:, 0] = True
    ranked = np.argsort(-scores, axis=1).astype(np.int32)
    ours = ndcg(Hits.of(ranked, rows_of([set(np.flatnonzero(row)) for row in relevance])), k)
    for user in range(4):
        assert ours[user] == pytest.approx(ndcg_score(relevance[user : user + 1], scores[user : user + 1], k=k))


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_average_precision_of_a_full_ranking_against_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    scores, relevance = draw.permutation(20.0 + np.arange(20)), draw.random(20) < 0.4
    relevance[0] = True
    ranked = np.argsort(-scores)[None].astype(np.int32)
    ours = average_precision(Hits.of(ranked, rows_of([set(np.flatnonzero(relevance))])), 20)
    assert ours[0] == pytest.approx(average_precision_score(relevance, scores))


@pytest.mark.parametrize("n_relevant", [1, 2, 5, 10, 17])
def test_a_perfect_ranking_is_exactly_one(n_relevant):
    ranked = np.arange(20, dtype=np.int32)[None]
    metrics = ranking_metrics(ranked, rows_of([set(range(n_relevant))]), ks=[10, 20])
    for name in ("ndcg", "mrr", "map", "hit_rate"):
        assert metrics[f"{name}@10"][0] == 1.0
    assert metrics["recall@20"][0] == 1.0
    assert metrics["precision@10"][0] == min(n_relevant, 10) / 10


def test_one_miss_before_each_hit_by_hand():
    hits = Hits.of(np.array([[9, 0, 8, 1]], np.int32), rows_of([{0, 1, 2}]))
    assert hits.before.tolist() == [1, 3]
    assert hits.hits_before.tolist() == [0, 1]
    assert recall(hits, 4)[0] == pytest.approx(2 / 3)
    assert precision(hits, 4)[0] == 0.5
    assert reciprocal_rank(hits, 4)[0] == 0.5
    assert average_precision(hits, 4)[0] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert hit_rate(hits, 1)[0] == 0.0


def test_users_without_a_test_item_have_nan_and_lists_without_items_have_0():
    ranked = np.array([[0, 1], [-1, -1]], np.int32)
    metrics = ranking_metrics(ranked, rows_of([set(), {0}]), ks=[2])
    for values in metrics.values():
        assert np.isnan(values[0])
        assert values[1] == 0.0


def test_minus_1_never_matches_the_last_item_of_the_previous_user():
    ranked = np.array([[3, -1], [-1, -1]], np.int32)
    assert Hits.of(ranked, rows_of([{9}, {9}])).before.tolist() == []


def test_no_users_and_no_relevant_items():
    assert ranking_metrics(np.zeros((0, 5), np.int32), SparseRows.empty(0), ks=[5])["map@5"].shape == (0,)
    nothing = ranking_metrics(np.zeros((3, 1), np.int32), SparseRows.empty(3), ks=[1])
    assert all(np.isnan(values).all() for values in nothing.values())


def test_blocks_change_nothing(monkeypatch):
    draw = np.random.default_rng(0)
    ranked = draw.permuted(np.tile(np.arange(30, dtype=np.int32), (50, 1)), axis=1)[:, :12]
    relevant = rows_of([set(draw.choice(30, draw.integers(0, 9), replace=False).tolist()) for _ in range(50)])
    expected = ranking_metrics(ranked, relevant, ks=[3, 12])
    monkeypatch.setattr(sys.modules[Hits.__module__], "_BLOCK_CELLS", 40)
    blocks = ranking_metrics(ranked, relevant, ks=[3, 12])
    for name, values in expected.items():
        np.testing.assert_array_equal(values, blocks[name])


def test_one_user_alone_has_the_bits_of_the_batch():
    draw = np.random.default_rng(1)
    ranked = draw.permuted(np.tile(np.arange(200, dtype=np.int32), (20, 1)), axis=1)[:, :50]
    relevant = rows_of([set(draw.choice(200, 60, replace=False).tolist()) for _ in range(20)])
    batch = ranking_metrics(ranked, relevant, ks=[50])
    for user in range(20):
        alone = ranking_metrics(ranked[user : user + 1], relevant.row(user), ks=[50])
        assert all(alone[name][0] == batch[name][user] for name in batch)


def test_wrong_input_is_named():
    relevant = rows_of([{0, 1}])
    with pytest.raises(ParameterError, match="k must be between 1 and the length of the lists, 2, not 3"):
        ranking_metrics(np.array([[0, 1]], np.int32), relevant, ks=[3])
    with pytest.raises(ParameterError, match="length of the lists, 2, not 0"):
        ranking_metrics(np.array([[0, 1]], np.int32), relevant, ks=[0])
    with pytest.raises(DataError, match="relevant must have 2 rows, one per ranked list, not 1"):
        Hits.of(np.zeros((2, 1), np.int32), relevant)
    with pytest.raises(DataError, match="ranked list 1: item row 1 occurs more than once"):
        Hits.of(np.array([[1, 0, 1]], np.int32), relevant)
    for bad in (np.array([0, 1], np.int32), np.array([[0.5]]), np.array([[-2]], np.int32)):
        with pytest.raises(DataError, match="must be a two-dimensional array of integer item row numbers"):
            Hits.of(bad, relevant)
    backwards = SparseRows(np.array([0, 2]), np.array([1, 0], np.int32), np.ones(2, np.float32))
    with pytest.raises(DataError, match="must have sorted column indices"):
        Hits.of(np.array([[1, 0]], np.int32), backwards)


@pytest.mark.parametrize("metric", [*RANKING_METRICS, CAPPED_RECALL], ids=lambda metric: metric.name)
@pytest.mark.parametrize("wrong", [None, "x", np.zeros(3)])
def test_metrics_reject_arguments_that_are_not_hits(metric: RankingMetric, wrong: Any) -> None:
    with pytest.raises(DataError, match="hits must be of type Hits, not "):
        metric.function(wrong, 1)
