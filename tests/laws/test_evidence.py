"""Items of which a model has no evidence: lists are filled by popularity, and such items are similar to nothing."""

from __future__ import annotations

import numpy as np
import pytest

import cofactor
from cofactor.datasets.synthetic import SyntheticConfig, generate

EVENTS = [
    cofactor.ImplicitALS(factors=4),
    cofactor.EASE(l2_ratio=0.5),
    cofactor.GraphFilter(),
    cofactor.ItemKNN(),
    cofactor.UserKNN(),
]


def popular() -> cofactor.Interactions:
    """p0 to p3 have 9, 8, 7 and 6 users; aaa-unpopular has one user; cat and dog have the same two users."""
    pairs = [(f"u{u}", f"p{p}") for p in range(4) for u in range(9 - p)]
    pairs += [("lone", "aaa-unpopular"), ("x", "cat"), ("x", "dog"), ("y", "cat")]
    return cofactor.Interactions.from_columns(*zip(*pairs, strict=True), kind="events")


@pytest.mark.parametrize("estimator", EVENTS, ids=lambda e: e.name)
def test_an_empty_history_gets_the_most_popular_items(estimator):
    top = cofactor.Recommender.fit(estimator, popular()).for_history([]).recommend(n=3)
    assert top["item"].to_list() == ["p0", "p1", "p2"]
    assert top["answered_by"].to_list() == ["popularity"] * 3
    assert top["score"].to_list() == [0.0] * 3


@pytest.mark.parametrize("estimator", [cofactor.ItemKNN(), cofactor.UserKNN()], ids=lambda e: e.name)
def test_a_list_that_runs_out_of_neighbors_is_filled_by_popularity(estimator):
    top = cofactor.Recommender.fit(estimator, popular()).recommend("y", n=6)
    assert top["item"].to_list() == ["dog", "p0", "p1", "p2", "p3", "aaa-unpopular"]
    assert top["answered_by"].to_list() == ["model"] + ["popularity"] * 5
    assert top["score"][0] > 0
    assert top["score"].to_list()[1:] == [0.0] * 5


def test_filters_and_exclusions_hold_for_filled_places():
    rec = cofactor.Recommender.fit(cofactor.ItemKNN(), popular())
    top = rec.recommend("u8", n=9, candidates=["p0", "p2", "cat", "aaa-unpopular"])
    assert top["item"].to_list() == ["p2", "cat", "aaa-unpopular"]  # u8 has p0
    assert rec.recommend("lone", n=2, candidates=["dog", "aaa-unpopular"])["item"].to_list() == ["dog"]


def test_one_user_alone_and_a_batch_get_the_same_lists():
    rec = cofactor.Recommender.fit(cofactor.ItemKNN(), popular())
    every = rec.recommend_all(n=5)
    for user in rec.users.all:
        assert rec.recommend(user, n=5).equals(every.filter(user=user))


def sparse_split(kind: str) -> tuple[cofactor.Interactions, np.ndarray]:
    """A table in which every seventh item has no row."""
    ratings = generate(SyntheticConfig(n_users=80, n_items=70, n_ratings=1500)).interactions
    table = ratings if kind == "ratings" else cofactor.Interactions.from_columns(ratings.u, ratings.i, kind="events")
    without = np.arange(table.n_items) % 7 == 3
    return table.select(~without[table.i]), without


ALL = [
    *EVENTS,
    cofactor.BPR(factors=4, epochs=3),
    cofactor.ExplicitALS(factors=4, epochs=3),
    cofactor.BiasedMF(factors=4, epochs=3),
    cofactor.BayesianMF(factors=4, iterations=12, burn_in=4),
    cofactor.NeuralMF(user_dim=4, item_dim=4, hidden=4, epochs=1),
    cofactor.ItemKNN(shrink=1),
]


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.name)
def test_items_without_events_end_every_list_and_have_no_neighbors(estimator):
    kind = "events" if estimator.kind == "events" else "ratings"
    table, without = sparse_split(kind if estimator.kind != "any" else "ratings")
    rec = cofactor.Recommender.fit(estimator, table)
    lists, scores = rec.for_rows(np.arange(80, dtype=np.int32)).rank(rec.model.n_items)
    for row, score in zip(lists, scores, strict=True):
        row, score = row[row >= 0], score[row >= 0]
        assert (np.diff(without[row].astype(int)) >= 0).all()  # behind all others
        marks = np.array(rec.catalog.answered_by(rec.model, row, score).to_list())
        assert (marks[without[row]] == "popularity").all()
    assert without[lists[lists >= 0]].any()
    if not hasattr(rec.model, "similar_items"):
        return
    ids = rec.items.all.to_list()
    lonely = {ids[i] for i in np.flatnonzero(without)}
    for item in ids:
        near = rec.similar_items(item, n=20)["item"].to_list()
        assert not lonely & set(near)
        assert item not in lonely or near == []


@pytest.mark.parametrize("estimator", [cofactor.BiasedMF(factors=4, epochs=3), cofactor.ExplicitALS(factors=4)])
def test_users_without_rows_have_no_similar_users(estimator):
    ratings = generate(SyntheticConfig(n_users=40, n_items=30, n_ratings=500)).interactions
    table = ratings.select(ratings.u % 5 != 2)
    rec = cofactor.Recommender.fit(estimator, table)
    ids = rec.users.all.to_list()
    assert rec.similar_users(ids[2])["user"].to_list() == []
    lonely = {ids[u] for u in range(2, 40, 5)}
    assert not any(lonely & set(rec.similar_users(ids[u], n=39)["user"]) for u in range(40))


def test_served_lists_are_scored_apart_from_the_estimator():
    """The estimator ties all items that it does not know; the served list has the popular ones first."""
    train = popular()
    more = cofactor.Interactions.from_columns(
        [*train.frame()["user"], "y", "z", "z"], [*train.frame()["item"], "p0", "aaa-unpopular", "p1"], kind="events"
    )
    is_test = np.array(
        [(u, i) in {("y", "p0"), ("z", "p1")} for u, i in zip(more.frame()["user"], more.frame()["item"], strict=True)]
    )
    split = cofactor.Split(more.select(~is_test), more.select(is_test))
    score = cofactor.evaluate.evaluate(cofactor.ItemKNN(), split, ks=[2])["item-knn"]
    assert score.served["ndcg@2"].mean > score.metrics["ndcg@2"].mean
    assert score.served["hit_rate@2"].mean == 1.0
