"""Exploration: bounded, eased in, and it learns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError, UnknownIdError
from cofactor.recommender.exploration import Impressions
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


EVERYONE = list(range(N_USERS))


def places_of(found: pl.DataFrame) -> np.ndarray:
    """How many explored places each item has: its id is its row here."""
    return np.bincount(found.filter("explored")["item"].to_numpy(), minlength=N_ITEMS)


def test_a_share_of_places_and_no_more_than_the_cap_each(rec: Recommender) -> None:
    found = rec.for_users(EVERYONE).explore(10, share=0.15, cap=40)
    assert found["explored"].mean() == pytest.approx(0.15, abs=0.02)
    assert places_of(found)[:50].sum() == 0
    assert places_of(found).max() <= 40
    tight = rec.for_users(EVERYONE).explore(10, share=0.15, cap=3)
    assert places_of(tight)[50:].tolist() == [3] * 10


def test_the_rest_of_the_list_is_what_it_was(rec: Recommender) -> None:
    plain = rec.recommend(EVERYONE, 10, candidates=range(50))
    found = rec.for_users(EVERYONE).explore(10, share=0.2)
    assert (found["item"] == plain["item"]).filter(~found["explored"]).all()
    assert rec.for_users(EVERYONE).explore(10, share=0.0).drop("explored").equals(plain.select("user", "item", "rank"))
    assert not rec.for_users(EVERYONE).explore(10, min_ratings=0)["explored"].any()
    assert not rec.for_users(EVERYONE).explore(10, cap=0)["explored"].any()


def test_no_user_is_shown_a_new_item_that_they_rated_low() -> None:
    users, items = list(range(20)) * 6, np.repeat(range(6), 20)
    ratings = Interactions.from_columns([*users, *range(20)], [*items, *[9] * 20], [5] * 120 + [1] * 19 + [5])
    rec = Recommender.fit(cofactor.ItemKNN(), ratings.to_events(min_rating=4))
    found = rec.for_users(list(range(20))).explore(10, share=1.0, min_ratings=5)
    assert rec.support.tolist()[-1] == 1
    assert 9 not in found["item"].to_list()


def test_nobody_is_shown_an_item_twice_or_one_they_rated(rec: Recommender, table: Interactions) -> None:
    found = rec.for_users(EVERYONE).explore(10, share=0.5)
    assert found.select("user", "item").is_duplicated().sum() == 0
    assert found.join(table.frame(), on=["user", "item"]).is_empty()


def test_users_and_items_are_ids() -> None:
    rows = [("ana", "a"), ("ana", "b"), ("bo", "a"), ("bo", "new"), ("cy", "a"), ("cy", "b"), ("cy", "c")]
    users, items = zip(*rows, strict=True)
    table = Interactions.from_columns(users, items, [5, 4, 4, 3, 5, 2, 1])
    table = table.with_item_table({"item": ["a", "new"], "title": ["Alien", "New"]})
    rec = Recommender.fit(cofactor.BiasedMF(factors=2, epochs=1), table)
    found = rec.for_users(["cy", "ana"]).explore(2, share=1.0, min_ratings=2)
    assert found.columns == ["user", "item", "rank", "explored", "title"]
    assert found["user"].unique(maintain_order=True).to_list() == ["cy", "ana"]
    assert ("cy", "new", True) in found.select("user", "item", "explored").rows()
    assert found.filter(pl.col("item") == "new")["title"].unique().to_list() == ["New"]
    assert rec.for_users("bo").explore(2).equals(rec.for_users(["bo"]).explore(2))
    with pytest.raises(UnknownIdError, match="user 'dan' is not a known ID"):
        rec.for_users(["ana", "dan"]).explore()


def test_integer_ids_are_not_rows() -> None:
    table = Interactions.from_columns([10, 10, 2, 2, 3], [7, 8, 7, 9, 7], [5, 4, 4, 3, 2])
    rec = Recommender.fit(cofactor.BiasedMF(factors=2, epochs=1), table)
    found = rec.for_users([10, 3]).explore(3, share=0.5, min_ratings=2)
    assert set(found["user"]) == {10, 3}
    assert set(found["item"]) <= {7, 8, 9}
    with pytest.raises(UnknownIdError, match="user 0 is not a known ID"):
        rec.for_users([0]).explore()


def test_the_same_seed_gives_the_same_lists(rec: Recommender) -> None:
    one = rec.for_users(EVERYONE).explore(seed=1)
    assert one.equals(rec.for_users(EVERYONE).explore(seed=1))
    assert not one.equals(rec.for_users(EVERYONE).explore(seed=2))


def test_what_is_clicked_gets_the_places(rec: Recommender) -> None:
    """Ten rounds in which item 53 is clicked half the time it is shown, the others hardly ever."""
    truth = np.where(np.arange(N_ITEMS) == 53, 0.5, 0.05)
    shown, clicked = np.zeros(N_ITEMS, np.int64), np.zeros(N_ITEMS, np.int64)
    rng, shares = np.random.default_rng(3), []
    for number in range(10):
        found = rec.for_users(EVERYONE).explore(10, cap=1000, impressions=Impressions(shown, clicked), seed=number)
        places = places_of(found)
        shares.append(places[53] / places.sum())
        shown, clicked = shown + places, clicked + rng.binomial(places, truth)
    assert shares[0] < 0.25
    assert np.mean(shares[-3:]) > 0.7
    assert shown[50:].min() >= 5  # nobody was buried untried


def test_a_posterior_prefers_what_was_liked_and_still_tries_the_rest(table: Interactions) -> None:
    rec = Recommender.fit(cofactor.BayesianMF(factors=4, iterations=30, burn_in=10, kept_samples=16), table)
    found = rec.for_users(EVERYONE).explore(10, share=0.2, cap=1000)
    places = places_of(found)[50:]
    assert places[:5].sum() > 1.5 * places[5:].sum()
    assert places[5:].sum() > 0


def test_what_cannot_be_is_refused(rec: Recommender) -> None:
    with pytest.raises(ParameterError, match="share"):
        rec.for_users(EVERYONE).explore(share=1.5)
    with pytest.raises(ParameterError, match="cap"):
        rec.for_users(EVERYONE).explore(cap=-1)
    for user in (-1, len(EVERYONE)):
        with pytest.raises(UnknownIdError, match=f"user {user} is not a known ID"):
            rec.for_users(np.array([0, user])).explore()
    with pytest.raises(ParameterError, match="cover 60 items"):
        rec.for_users(EVERYONE).explore(impressions=Impressions(np.zeros(3, int), np.zeros(3, int)))
    with pytest.raises(ParameterError, match="clicked must not exceed shown"):
        Impressions(np.array([1]), np.array([2]))


def test_nobody_and_a_short_catalog(rec: Recommender) -> None:
    assert rec.for_users([]).explore().is_empty()
    short = rec.for_users(EVERYONE[:3]).explore(100, share=1.0)
    assert short["rank"].max() <= 60
    assert (short.group_by("user").agg(pl.col("explored").sum())["explored"] >= 9).all()
