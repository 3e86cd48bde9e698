"""Large catalogs: a model that searches clusters of items gives the lists of the scan, whatever users or items join."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor.arrays import Float32
from cofactor.data.interactions import Interactions
from cofactor.kernels import ridge_double
from cofactor.kernels.item_clusters import ItemClusters
from cofactor.kernels.sparse import SparseRows
from cofactor.models import item_search
from cofactor.models.factor import FactorModel
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from tests.support.estimators import small


@pytest.fixture
def clustered(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Cluster catalogs of any size until the fixture is undone."""
    with monkeypatch.context() as context:
        context.setattr(item_search, "MIN_CLUSTERED_ITEMS", 1)
        yield context


def lists(rec: Recommender) -> list[pl.DataFrame]:
    """Return lists of known users, of new users, of both, and with filters."""
    items, users = rec.items.all, rec.users.all[:20]
    history = [(item, rec.scale.high if rec.scale is not None else 1.0) for item in items[:4]]
    views = [rec.for_users(users), rec.for_users(users[3]), rec.for_history(history), rec.for_history([])]
    frames = [view.recommend(n) for view in views for n in (5, 1000)]
    frames += [rec.for_users(users).recommend(5, candidates=items[10:30], exclude=items[12:14])]
    if hasattr(rec.model, "similar_items"):
        frames.append(rec.similar_items(items[0], 5))
    return [*frames, rec.for_users(users).recommend(5, exclude_seen=False, min_support=3)]


def assert_equal_lists(clustered: list[pl.DataFrame], scanned: list[pl.DataFrame]) -> None:
    for a, b in zip(clustered, scanned, strict=True):
        assert a.equals(b)


@pytest.mark.parametrize("name", ["biased-mf", "bpr", "explicit-als", "implicit-als", "bayesian-mf"])
def test_lists_are_those_of_the_scan(
    name: str, small_ratings: Interactions, small_events: Interactions, clustered: pytest.MonkeyPatch
) -> None:
    table = small_events if name in ("bpr", "implicit-als") else small_ratings
    rec = Recommender.fit(small(name), table, seed=1)
    rec = rec if name == "bayesian-mf" else rec.with_priors()
    new = pl.DataFrame({"item": ["new", "newer"]} if table.items.all.dtype == pl.String else {"item": [9001, 9002]})
    extended = rec.with_items(new) if rec.priors is not None and rec.priors.items is not None else rec
    for each in (rec, extended, extended.updated(table.select(np.arange(len(table)) < 40))):
        assert each.for_users(each.users.all[:1]).item_index == "clusters"
        assert each.for_history([]).item_index == "clusters"
        clustered_lists = lists(each)
        with pytest.MonkeyPatch.context() as context:
            context.setattr(item_search, "MIN_CLUSTERED_ITEMS", 1 << 40)
            assert each.for_history([]).item_index is None
            assert_equal_lists(clustered_lists, lists(copy.deepcopy(each)))


def model_of(rng: np.random.Generator, n_users: int, n_items: int) -> FactorModel:
    P, Q = (rng.standard_normal((n, 5)).astype(np.float32) for n in (n_users, n_items))
    return FactorModel(P, Q, np.zeros(n_users, np.float32), rng.standard_normal(n_items).astype(np.float32))


def count_clusterings(context: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of items of each further clustering is appended."""
    created: list[int] = []
    original = ItemClusters.of

    def counted(factors: Float32, bias: Float32) -> ItemClusters:
        created.append(len(bias))
        return original(factors, bias)

    context.setattr(ItemClusters, "of", counted)
    return created


def test_clusters_are_created_once_for_all_users_of_a_model(
    clustered: pytest.MonkeyPatch, small_ratings: Interactions
) -> None:
    """Each fold-in makes a model with new users: a request of the service must not cluster the items again."""
    created = count_clusterings(clustered)
    rec = Recommender.fit(small("explicit-als"), small_ratings).with_priors()
    created.clear()
    history = [(item, 4.0) for item in small_ratings.items.all[:3]]
    for n in range(3):
        rec.for_history(history[: n + 1]).recommend(5)
        rec.for_users(rec.users.all[:2]).recommend(5)
        rec.for_known_and_new(np.array([0, -1], np.int32), rec.histories.take([0])).rank(5)
    assert created == [rec.catalog.n_items]


@pytest.mark.parametrize("name", ["explicit-als", "implicit-als"])
def test_a_fold_in_takes_no_pass_over_all_items(
    name: str, small_ratings: Interactions, small_events: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec = Recommender.fit(small(name), small_ratings if name == "explicit-als" else small_events)
    history = [(item, 4.0) for item in rec.items.all[:3]]
    rec.for_history(history)
    sizes: list[int] = []
    original = ridge_double._squares

    def counted(features: Float32) -> Float32:
        sizes.append(len(features))
        return original(features)

    monkeypatch.setattr(ridge_double, "_squares", counted)
    for n in (1, 2, 3):
        rec.for_history(history[:n])
    assert max(sizes, default=0) <= len(history)


def test_new_items_are_added_to_the_clusters(clustered: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model = model_of(rng, 6, 400)
    users = UserBatch.trained(np.arange(6, dtype=np.int32), SparseRows.empty(6))
    top: dict[str, Any] = {"exclude": SparseRows.empty(6), "allowed": np.zeros(0, bool)}
    model.top(users, 5, **top)
    created = count_clusterings(clustered)
    vectors = 10 * rng.standard_normal((3, 5)).astype(np.float32)
    take = rng.permutation(np.append(np.arange(400), [-1, -2, -3])).astype(np.int32)
    larger = model.with_items(vectors, np.zeros(3, np.float32), take)
    rows, scores = larger.top(users, 5, **top)
    assert created == [3]
    assert np.isin(rows, np.flatnonzero(take < 0)).any()
    clustered.setattr(item_search, "MIN_CLUSTERED_ITEMS", 1 << 40)
    expected = larger.top(users, 5, **top)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


def test_a_model_with_clusters_can_be_pickled(clustered: pytest.MonkeyPatch) -> None:
    model = model_of(np.random.default_rng(1), 3, 50)
    users = UserBatch.trained(np.arange(3, dtype=np.int32), SparseRows.empty(3))
    top: dict[str, Any] = {"exclude": SparseRows.empty(3), "allowed": np.zeros(0, bool)}
    before = model.top(users, 5, **top)
    after = pickle.loads(pickle.dumps(model)).top(users, 5, **top)
    np.testing.assert_array_equal(before[0], after[0])
