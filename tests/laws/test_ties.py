"""Tied scores: metrics are expectations over the orders of the ties, and do not depend on the names of the items."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.arrays import ALL_ROWS
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.estimators import REGISTRY
from cofactor.evaluate import evaluate
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.ranking import Hits
from cofactor.metrics.registry import metrics_from_hits, ranking_metrics
from cofactor.models.factor import FactorModel
from cofactor.models.user_batch import UserBatch
from tests.support.estimators import is_random

DETERMINISTIC = [cls() for name, cls in REGISTRY.items() if cls.kind != "ratings" and not is_random(name)]


class Table:
    """A model whose scores are a table; only what `ModelLists` needs."""

    def __init__(self, scores, *, zero_is_unknown=False):
        self.table = np.asarray(scores, np.float32)
        self.n_users, self.n_items = self.table.shape
        self.zero_is_unknown = zero_is_unknown

    def scores(self, users):
        return self.table[users.rows].copy()

    def top(self, users, n, *, exclude, allowed=ALL_ROWS, order=None):
        scores = self.scores(users)
        for a in range(len(users)):
            scores[a, exclude.row(a).columns] = -np.inf
        if len(allowed):
            scores[:, ~allowed] = -np.inf
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :n].astype(np.int32)
        best = np.take_along_axis(scores, rows, axis=1)
        return np.where(best > -np.inf, rows, -1).astype(np.int32), best


def rows_of(sets):
    pairs = [(row, item) for row, items in enumerate(sets) for item in items]
    return SparseRows.of([r for r, _ in pairs], [i for _, i in pairs], np.ones(len(pairs)), len(sets))


def mean_over_orders(groups, test, ks):
    """Each metric averaged over all orders of the tied groups (lists of items, best first), by enumeration."""
    totals, n = {}, 0
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        ranked = [item for part in parts for item in part]
        ranked = (ranked + [-1] * max(ks))[: max(ks)]
        metrics = ranking_metrics(np.array([ranked], np.int32), rows_of([test]), ks=ks)
        totals = {name: totals.get(name, 0.0) + values[0] for name, values in metrics.items()}
        n += 1
    return {name: total / n for name, total in totals.items()}


@st.composite
def scored_catalogs(draw):
    """Up to 6 items with tied scores, some excluded, some without evidence; one user."""
    n = draw(st.integers(1, 6))
    scores = [draw(st.sampled_from([2.0, 1.0, 0.0, -1.0])) for _ in range(n)]
    evidence = [draw(st.booleans()) for _ in range(n)]
    seen = draw(st.sets(st.integers(0, n - 1)))
    test = draw(st.sets(st.integers(0, n - 1), min_size=1))
    support = [draw(st.integers(0, 2)) for _ in range(n)]
    return scores, evidence, seen, test, support, draw(st.booleans())


@given(scored_catalogs(), st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
@settings(max_examples=200, deadline=None)
def test_metrics_are_means_over_all_orders_of_the_ties(case, ks):
    scores, evidence, seen, test, support, zero = case
    has_evidence = evidence if any(evidence) else [True] * len(scores)
    scores = [s if e or not zero else 0.0 for s, e in zip(scores, has_evidence, strict=True)]
    model, users, exclude = Table([scores], zero_is_unknown=zero), np.zeros(1, np.int32), rows_of([seen])
    lists = ModelLists.of(
        model,
        UserBatch.trained(users, exclude),
        ks,
        exclude=exclude,
        relevant=rows_of([test]),
        evidence=np.array(has_evidence),
        support=np.array(support),
    )

    def counting_sort(key):
        items = sorted((i for i in range(len(scores)) if i not in seen), key=key, reverse=True)
        return [list(group) for _, group in itertools.groupby(items, key)]

    estimator = counting_sort(lambda i: (has_evidence[i] or zero, scores[i] if has_evidence[i] or zero else 0.0))

    def served(i):
        if not has_evidence[i]:
            return (0, 0.0, support[i])
        return (1, scores[i], support[i] if zero and scores[i] == 0 else 0)

    for hits, groups in ((lists.hits, estimator), (lists.served_hits, counting_sort(served))):
        expected = mean_over_orders(groups, test, ks)
        for name, values in metrics_from_hits(hits, ks).items():
            assert values[0] == pytest.approx(expected[name], abs=1e-9), name
    for k in ks:
        places = min(k, sum(map(len, estimator)))
        assert lists.list_counts[k].sum() == pytest.approx(places)
        assert lists.show_probability[k].sum() == pytest.approx(places)  # one user: the probability is the expectation


def test_one_tied_group_of_a_large_catalog():
    users = np.zeros(1, np.int32)
    for n, r, k in ((400, 1, 10), (400, 7, 10), (30_000, 2, 20), (12, 12, 10)):
        lists = ModelLists.of(
            Table(np.zeros((1, n))),
            UserBatch.trained(users, SparseRows.empty(1)),
            [k],
            exclude=SparseRows.empty(1),
            relevant=rows_of([set(range(r))]),
        )
        metrics = {name: values[0] for name, values in metrics_from_hits(lists.hits, [k]).items()}
        discounts = sum(1 / math.log2(rank + 1) for rank in range(1, k + 1))
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, r) + 1))
        assert metrics[f"ndcg@{k}"] == pytest.approx(r / n * discounts / ideal)
        assert metrics[f"recall@{k}"] == pytest.approx(k / n)
        assert metrics[f"hit_rate@{k}"] == pytest.approx(1 - math.comb(n - r, k) / math.comb(n, k))
        assert lists.list_counts[k] == pytest.approx(np.full(n, k / n))


@pytest.mark.parametrize("estimator", [cofactor.ItemKNN(), cofactor.UserKNN(), cofactor.EASE()], ids=lambda e: e.name)
@pytest.mark.parametrize("name", ["a", "z"])
def test_the_name_of_an_item_changes_no_metric(estimator, name):
    """Ten users with one item each take the same item next: for each of them ten items tie."""
    users = [f"u{u}" for u in range(10)]
    table = cofactor.Interactions.from_columns(
        users * 2, [f"m{u}" for u in range(10)] + [name] * 10, kind="events"
    )  # fmt: skip
    is_test = table.items.ids(table.i).to_numpy() == name
    split = cofactor.Split(table.select(~is_test), table.select(is_test))
    score = evaluate(estimator, split, ks=[5])[estimator.name]
    assert score.metrics["ndcg@5"].mean == pytest.approx((1 + 0.6309 + 0.5 + 0.4307 + 0.3869) / 10, abs=1e-4)
    assert score.metrics["recall@5"].mean == pytest.approx(0.5)
    assert score.metrics["coverage@5"].mean > 0.9


def events_of(seed=0, **spec):
    return generate(
        SyntheticConfig(**{"n_users": 120, "n_items": 80, "n_ratings": 1500, **spec}), seed=seed
    ).interactions


def relabeled(table, seed):
    """The same table with other ids in another order, and its rows in another order."""
    draw = np.random.default_rng(seed)
    users, items = draw.permutation(table.n_users), draw.permutation(table.n_items)
    rows = draw.permutation(len(table))
    relabeled_table = cofactor.Interactions.from_columns(
        users[table.u[rows]], items[table.i[rows]], table.values[rows], kind=table.kind
    )  # fmt: skip
    return relabeled_table, users, items


def relabeled_split(split, seed):
    """A fixed split under other ids: train and test rows are the same pairs."""
    both = cofactor.Interactions.from_columns(
        np.concatenate([split.train.u, split.test.u]),
        np.concatenate([split.train.i, split.test.i]),
        np.concatenate([split.train.values, split.test.values]),
        kind=split.train.kind,
    )
    assert (both.n_users, both.n_items) == (split.train.n_users, split.train.n_items)
    table, users, items = relabeled(both, seed)
    width = table.n_items
    test = np.isin(
        table.users.ids(table.u).to_numpy() * width + table.items.ids(table.i).to_numpy(),
        users[split.test.u] * width + items[split.test.i],
    )
    return cofactor.Split(table.select(~test), table.select(test)), users, items


@pytest.mark.parametrize("estimator", DETERMINISTIC, ids=lambda e: e.name)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("seeds", [1, pytest.param(5, marks=pytest.mark.long)])
def test_relabeling_changes_no_metric(estimator, sparse, seeds):
    spec = {"n_users": 600, "n_items": 400, "n_ratings": 1300} if sparse else {}
    table = events_of(1, **spec).to_events(min_rating=3)
    table = cofactor.Interactions.from_columns(table.u, table.i, kind="events")
    split = cofactor.split_random(table, test=0.25, seed=0)
    first = evaluate(estimator, split, ks=[5, 10])[estimator.name].metrics
    for seed in range(seeds):
        other, _, _ = relabeled_split(split, seed)
        second = evaluate(estimator, other, ks=[5, 10])[estimator.name].metrics
        for name, interval in first.items():
            assert interval.mean == pytest.approx(second[name].mean, abs=1e-9, nan_ok=True), name


SHORT_LISTS = [cofactor.ItemKNN(k=5, neighbors=20, event_neighbors=20), cofactor.UserKNN(k=5, neighbors=20)]
"""Similarities tie at the end of their lists, and at the k-th."""


@pytest.mark.parametrize("estimator", SHORT_LISTS, ids=lambda e: e.name)
def test_relabeling_changes_no_metric_where_similarities_tie_at_the_end_of_a_list(estimator):
    table = events_of(5).to_events(min_rating=3)
    table = cofactor.Interactions.from_columns(table.u, table.i, kind="events")
    split = cofactor.split_random(table, test=0.25, seed=0)
    first = evaluate(estimator, split, ks=[5, 10])[estimator.name].metrics
    for seed in range(3):
        second = evaluate(estimator, relabeled_split(split, seed)[0], ks=[5, 10])[estimator.name].metrics
        for name, interval in first.items():
            assert interval.mean == pytest.approx(second[name].mean, abs=1e-9, nan_ok=True), name


PREDICTING = [cofactor.Bias(), cofactor.ItemKNN(), cofactor.UserKNN(), *SHORT_LISTS]


@pytest.mark.long
@pytest.mark.parametrize("estimator", [cofactor.ItemKNN(), cofactor.UserKNN()], ids=lambda e: e.name)
def test_relabeling_movielens_changes_no_prediction(estimator, movielens):
    split = cofactor.split_random(movielens, test=0.2, seed=0)
    draw = np.random.default_rng(0)
    users, items = draw.permutation(movielens.n_users), draw.permutation(movielens.n_items)
    train = split.train
    rows = draw.permutation(len(train))
    u, i = users[train.u[rows]].astype(np.int32), items[train.i[rows]].astype(np.int32)
    sorted_ = np.lexsort((i, u))
    values, times = train.values[rows][sorted_], train.times[rows][sorted_]
    other = replace(
        train, u=u[sorted_], i=i[sorted_], values=values, times=times, user_table=None, item_table=None
    )  # fmt: skip
    first, second = (cofactor.Recommender.fit(estimator, part) for part in (train, other))
    u, i = split.test.u, split.test.i
    before = first.model.predict(UserBatch.trained(u, first.histories), i)
    after = second.model.predict(
        UserBatch.trained(users[u].astype(np.int32), second.histories), items[i].astype(np.int32)
    )
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("estimator", PREDICTING, ids=repr)
def test_relabeling_changes_no_prediction(estimator):
    split = cofactor.split_random(events_of(2), test=0.25, seed=0)
    other, users, items = relabeled_split(split, 5)
    first, second = (cofactor.Recommender.fit(estimator, part.train) for part in (split, other))
    ids = split.train.users.ids(split.test.u), split.train.items.ids(split.test.i)
    before = first.predict(*ids)["prediction"].to_numpy()
    after = second.predict(users[split.test.u], items[split.test.i])["prediction"].to_numpy()
    np.testing.assert_allclose(before, after, atol=1e-5)


def started(estimator, train, user_factors, item_factors):
    """A fit from these initial vectors."""
    none = np.zeros(train.n_users, np.float32), np.zeros(train.n_items, np.float32)
    start = FactorModel(user_factors, item_factors, *none)
    first = cofactor.Recommender(start, train.users, train.items, train.by_user, train.kind)
    return cofactor.Recommender.fit(estimator, train, init_model=first)


def test_relabeling_with_carried_initial_values_changes_no_metric_of_implicit_als():
    table = events_of(3).to_events(min_rating=3)
    table = cofactor.Interactions.from_columns(table.u, table.i, kind="events")
    split = cofactor.split_random(table, test=0.25, seed=0)
    draw = np.random.default_rng(0)
    P, Q = (draw.normal(0, 0.05, (n, 4)).astype(np.float32) for n in (table.n_users, table.n_items))
    estimator = cofactor.ImplicitALS(factors=4, epochs=4, cg_steps=8)
    first = cofactor.evaluate.score(started(estimator, split.train, P, Q), split, label="one", ks=[5, 10]).metrics
    for seed in range(2):
        other, users, items = relabeled_split(split, seed)
        moved = np.empty_like(P), np.empty_like(Q)
        moved[0][users], moved[1][items] = P, Q
        rec = started(estimator, other.train, *moved)
        second = cofactor.evaluate.score(rec, other, label="two", ks=[5, 10]).metrics
        for name, interval in first.items():
            assert interval.mean == pytest.approx(second[name].mean, abs=2e-3, nan_ok=True), name


RANDOM = [cofactor.ImplicitALS(factors=8, epochs=5), cofactor.BPR(factors=8, epochs=10)]


@pytest.mark.long
@pytest.mark.parametrize("estimator", RANDOM, ids=lambda e: e.name)
def test_relabeling_shifts_no_metric_of_estimators_with_random_numbers(estimator):
    """Over ten seeds the mean of the paired differences is within three standard errors of 0."""
    table = events_of(4).to_events(min_rating=3)
    split = cofactor.split_random(
        cofactor.Interactions.from_columns(table.u, table.i, kind="events"), test=0.25, seed=0
    )
    differences = []
    for seed in range(10):
        other, _, _ = relabeled_split(split, seed)
        first, second = (
            evaluate(estimator, part, ks=[10], seed=seed)[estimator.name].metrics["ndcg@10"].mean
            for part in (split, other)
        )
        differences.append(first - second)
    error = np.std(differences, ddof=1) / math.sqrt(10)
    assert abs(np.mean(differences)) <= 3 * error + 1e-9


def test_a_permutation_of_hits_of_groups_changes_nothing():
    entries = np.array([[0, 0, 1, 1], [3, 0, 2, 2], [4, 1, 5, 5], [1, 1, 1, 1]])
    first = Hits.of_groups(*entries, np.array([2, 2]), depth=10)
    second = Hits.of_groups(*entries[:, ::-1], np.array([2, 2]), depth=10)
    for name, values in metrics_from_hits(first, [5]).items():
        np.testing.assert_array_equal(values, metrics_from_hits(second, [5])[name])


def test_scores_that_differ_by_rounding_are_tied():
    scores = np.array([[1.0, 1.0 + 2**-23, 0.5, 0.25]], np.float32)
    users, empty = np.zeros(1, np.int32), SparseRows.empty(1)
    lists = ModelLists.of(Table(scores), UserBatch.trained(users, empty), [1], exclude=empty, relevant=rows_of([{0}]))
    assert metrics_from_hits(lists.hits, [1])["hit_rate@1"][0] == 0.5
    assert lists.hits.size.tolist() == [2]
