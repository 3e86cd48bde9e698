"""Exploration: its share is bounded, and items that are clicked are explored more often."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError, UnknownIdError
from cofactor.recommender.exploration import Impressions, draw_positions
from cofactor.recommender.recommender import Recommender

N_USERS, N_ITEMS, N_NEW = 200, 60, 10


@pytest.fixture(scope="module")
def table() -> Interactions:
    """Items 50..59 are new: two ratings each, of 5 for the first five and of 4 for the others."""
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((N_USERS, N_ITEMS - N_NEW)) < 0.3)
    u_new, i_new = np.arange(2 * N_NEW), np.repeat(np.arange(50, 60), 2)
    values = np.concatenate([np.clip(1 + i % 5 + rng.integers(-1, 2, len(u)), 1, 5), np.where(i_new < 55, 5, 4)])
    return Interactions.from_columns(np.append(u, u_new), np.append(i, i_new), values)


@pytest.fixture(scope="module")
def rec(table: Interactions) -> Recommender:
    return Recommender.fit(cofactor.BiasedMF(factors=4, epochs=3), table)


ALL_USERS = list(range(N_USERS))


def places_of(lists: pl.DataFrame) -> np.ndarray:
    """How many explored places each item has: its id is its row here."""
    return np.bincount(lists.filter("explored")["item"].to_numpy(), minlength=N_ITEMS)


def test_a_share_of_places_and_no_more_than_the_cap_each(rec: Recommender) -> None:
    lists = rec.for_users(ALL_USERS).explore(10, share=0.15, cap=40)
    assert lists["explored"].mean() == pytest.approx(0.15, abs=0.02)
    assert places_of(lists)[:50].sum() == 0
    assert places_of(lists).max() <= 40
    tight = rec.for_users(ALL_USERS).explore(10, share=0.15, cap=3)
    assert places_of(tight)[50:].tolist() == [3] * 10


def test_the_rest_of_the_list_does_not_change(rec: Recommender) -> None:
    plain = rec.recommend(ALL_USERS, 10, candidates=range(50))
    lists = rec.for_users(ALL_USERS).explore(10, share=0.2)
    assert (lists["item"] == plain["item"]).filter(~lists["explored"]).all()
    assert rec.for_users(ALL_USERS).explore(10, share=0.0).drop("explored").equals(plain.select("user", "item", "rank"))
    assert not rec.for_users(ALL_USERS).explore(10, min_ratings=0)["explored"].any()
    assert not rec.for_users(ALL_USERS).explore(10, cap=0)["explored"].any()


def test_new_items_that_a_user_rated_low_are_not_explored() -> None:
    users, items = list(range(20)) * 6, np.repeat(range(6), 20)
    ratings = Interactions.from_columns([*users, *range(20)], [*items, *[9] * 20], [5] * 120 + [1] * 19 + [5])
    rec = Recommender.fit(cofactor.ItemKNN(), ratings.to_events(min_rating=4))
    lists = rec.for_users(list(range(20))).explore(10, share=1.0, min_ratings=5)
    assert rec.support.tolist()[-1] == 1
    assert 9 not in lists["item"].to_list()


def test_no_user_gets_an_item_twice_or_a_rated_item(rec: Recommender, table: Interactions) -> None:
    lists = rec.for_users(ALL_USERS).explore(10, share=0.5)
    assert lists.select("user", "item").is_duplicated().sum() == 0
    assert lists.join(table.frame(), on=["user", "item"]).is_empty()


def test_users_and_items_are_ids() -> None:
    rows = [("ana", "a"), ("ana", "b"), ("bo", "a"), ("bo", "new"), ("cy", "a"), ("cy", "b"), ("cy", "c")]
    users, items = zip(*rows, strict=True)
    table = Interactions.from_columns(users, items, [5, 4, 4, 3, 5, 2, 1])
    table = table.with_item_table({"item": ["a", "new"], "title": ["Alien", "New"]})
    rec = Recommender.fit(cofactor.BiasedMF(factors=2, epochs=1), table)
    lists = rec.for_users(["cy", "ana"]).explore(2, share=1.0, min_ratings=2)
    assert lists.columns == ["user", "item", "rank", "explored", "title"]
    assert lists["user"].unique(maintain_order=True).to_list() == ["cy", "ana"]
    assert ("cy", "new", True) in lists.select("user", "item", "explored").rows()
    assert lists.filter(pl.col("item") == "new")["title"].unique().to_list() == ["New"]
    assert rec.for_users("bo").explore(2).equals(rec.for_users(["bo"]).explore(2))
    with pytest.raises(UnknownIdError, match="user 'dan' is not a known ID"):
        rec.for_users(["ana", "dan"]).explore()


def test_integer_ids_are_not_rows() -> None:
    table = Interactions.from_columns([10, 10, 2, 2, 3], [7, 8, 7, 9, 7], [5, 4, 4, 3, 2])
    rec = Recommender.fit(cofactor.BiasedMF(factors=2, epochs=1), table)
    lists = rec.for_users([10, 3]).explore(3, share=0.5, min_ratings=2)
    assert set(lists["user"]) == {10, 3}
    assert set(lists["item"]) <= {7, 8, 9}
    with pytest.raises(UnknownIdError, match="user 0 is not a known ID"):
        rec.for_users([0]).explore()


def test_the_same_seed_gives_the_same_lists(rec: Recommender) -> None:
    lists = rec.for_users(ALL_USERS).explore(seed=1)
    assert lists.equals(rec.for_users(ALL_USERS).explore(seed=1))
    assert not lists.equals(rec.for_users(ALL_USERS).explore(seed=2))


def test_clicked_items_get_the_places(rec: Recommender) -> None:
    """Ten rounds in which item 53 is clicked half the time it is shown, the others rarely."""
    truth = np.where(np.arange(N_ITEMS) == 53, 0.5, 0.05)
    shown_counts, clicked_counts = np.zeros(N_ITEMS, np.int64), np.zeros(N_ITEMS, np.int64)
    rng, shares = np.random.default_rng(3), []
    for number in range(10):
        lists = rec.for_users(ALL_USERS).explore(
            10, cap=1000, impressions=Impressions(shown_counts, clicked_counts), seed=number
        )
        places = places_of(lists)
        shares.append(places[53] / places.sum())
        shown_counts, clicked_counts = shown_counts + places, clicked_counts + rng.binomial(places, truth)
    assert shares[0] < 0.25
    assert np.mean(shares[-3:]) > 0.7
    assert shown_counts[50:].min() >= 5  # every new item was explored


def test_a_posterior_prefers_liked_items_and_still_explores_the_others(table: Interactions) -> None:
    rec = Recommender.fit(cofactor.BayesianMF(factors=4, iterations=30, burn_in=10, kept_samples=16), table)
    lists = rec.for_users(ALL_USERS).explore(10, share=0.2, cap=1000)
    places = places_of(lists)[50:]
    assert places[:5].sum() > 1.5 * places[5:].sum()
    assert places[5:].sum() > 0


def test_invalid_arguments_are_rejected(rec: Recommender) -> None:
    with pytest.raises(ParameterError, match="share"):
        rec.for_users(ALL_USERS).explore(share=1.5)
    with pytest.raises(ParameterError, match="cap"):
        rec.for_users(ALL_USERS).explore(cap=-1)
    for user in (-1, len(ALL_USERS)):
        with pytest.raises(UnknownIdError, match=f"user {user} is not a known ID"):
            rec.for_users(np.array([0, user])).explore()
    with pytest.raises(ParameterError, match="one entry per item, 60 in total"):
        rec.for_users(ALL_USERS).explore(impressions=Impressions(np.zeros(3, int), np.zeros(3, int)))
    with pytest.raises(ParameterError, match="n_clicked must not exceed n_shown"):
        Impressions(np.array([1]), np.array([2]))


def test_no_users_and_a_short_catalog(rec: Recommender) -> None:
    assert rec.for_users([]).explore().is_empty()
    short = rec.for_users(ALL_USERS[:3]).explore(100, share=1.0)
    assert short["rank"].max() <= 60
    assert (short.group_by("user").agg(pl.col("explored").sum())["explored"] >= 9).all()


def test_items_of_the_pool_are_drawn_once_with_equal_probability() -> None:
    rows, scores, pool = np.array([7, 2], np.int32), np.array([0.9, 0.8], np.float32), np.array([1, 2, 5, 9])
    stream, counts, n = np.random.default_rng(0), np.zeros(10), 4_000
    for _ in range(n):
        positions = draw_positions(rows, scores, pool, 6, 0.5, stream)
        listed = [position.row for position in positions]
        assert len(set(listed)) == len(listed)
        n_left = len(pool)
        for position in positions:
            expected = 0.5 / n_left if position.explored else 0.5 if n_left else 1.0
            assert position.propensity == expected
            n_left -= position.row in pool
        if positions[0].explored:
            counts[listed[0]] += 1
    assert counts[pool].sum() == pytest.approx(n / 2, abs=4 * np.sqrt(n) / 2)
    np.testing.assert_allclose(counts[pool], n / 8, atol=4 * np.sqrt(n / 8))
