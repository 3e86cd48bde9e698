"""Exploration: bounded, eased in, and it learns."""

from __future__ import annotations

import numpy as np
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.newcomers import Impressions, explore
from cofactor.recommend import Recommender

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


EVERYONE = np.arange(N_USERS, dtype=np.int32)


def test_a_share_of_places_and_no_more_than_the_cap_each(rec: Recommender) -> None:
    found = explore(rec, EVERYONE, 10, share=0.15, cap=40)
    assert found.explored.mean() == pytest.approx(0.15, abs=0.02)
    new = found.lists[found.explored]
    assert (new >= 50).all()
    assert np.bincount(new).max() <= 40
    tight = explore(rec, EVERYONE, 10, share=0.15, cap=3)
    assert np.bincount(tight.lists[tight.explored], minlength=60)[50:].tolist() == [3] * 10


def test_the_rest_of_the_list_is_what_it_was(rec: Recommender) -> None:
    plain, _ = rec.rank(EVERYONE, 10, allowed=np.arange(N_ITEMS) < 50)
    found = explore(rec, EVERYONE, 10, share=0.2)
    assert (found.lists == plain)[~found.explored].all()
    assert (explore(rec, EVERYONE, 10, share=0.0).lists == plain).all()
    assert not explore(rec, EVERYONE, 10, below=0).explored.any()
    assert not explore(rec, EVERYONE, 10, cap=0).explored.any()


def test_nobody_is_shown_an_item_twice_or_one_they_rated(rec: Recommender) -> None:
    found = explore(rec, EVERYONE, 10, share=0.5)
    for u in EVERYONE:
        own = found.lists[u][found.lists[u] >= 0]
        assert len(set(own.tolist())) == len(own)
        assert not np.isin(own, rec.histories.row(int(u)).columns).any()


def test_the_same_seed_gives_the_same_lists(rec: Recommender) -> None:
    one, other = explore(rec, EVERYONE, seed=1), explore(rec, EVERYONE, seed=1)
    assert (one.lists == other.lists).all()
    assert (one.lists != explore(rec, EVERYONE, seed=2).lists).any()


def test_what_is_clicked_gets_the_places(rec: Recommender) -> None:
    """Ten rounds in which item 53 is clicked half the time it is shown, the others hardly ever."""
    truth = np.where(np.arange(N_ITEMS) == 53, 0.5, 0.05)
    shown, clicked = np.zeros(N_ITEMS, np.int64), np.zeros(N_ITEMS, np.int64)
    rng, shares = np.random.default_rng(3), []
    for number in range(10):
        found = explore(rec, EVERYONE, 10, cap=1000, impressions=Impressions(shown, clicked), seed=number)
        places = np.bincount(found.lists[found.explored], minlength=N_ITEMS)
        shares.append(places[53] / places.sum())
        shown, clicked = shown + places, clicked + rng.binomial(places, truth)
    assert shares[0] < 0.25
    assert np.mean(shares[-3:]) > 0.7
    assert shown[50:].min() >= 5  # nobody was buried untried


def test_a_posterior_prefers_what_was_liked_and_still_tries_the_rest(table: Interactions) -> None:
    rec = Recommender.fit(cofactor.BayesianMF(factors=4, sweeps=30, burn_in=10, samples=16), table)
    found = explore(rec, EVERYONE, 10, share=0.2, cap=1000)
    places = np.bincount(found.lists[found.explored], minlength=N_ITEMS)[50:]
    assert places[:5].sum() > 1.5 * places[5:].sum()
    assert places[5:].sum() > 0


def test_what_cannot_be_is_refused(rec: Recommender) -> None:
    with pytest.raises(ParameterError, match="share"):
        explore(rec, EVERYONE, share=1.5)
    with pytest.raises(ParameterError, match="cap"):
        explore(rec, EVERYONE, cap=-1)
    for row in (-1, len(EVERYONE)):
        with pytest.raises(ParameterError, match=f"row numbers from 0 to .*, not {row}"):
            explore(rec, np.array([0, row]))
    with pytest.raises(ParameterError, match="of 60 items"):
        explore(rec, EVERYONE, impressions=Impressions(np.zeros(3, int), np.zeros(3, int)))
    with pytest.raises(ParameterError, match="counts"):
        Impressions(np.array([1]), np.array([2]))


def test_nobody_and_a_short_catalog(rec: Recommender) -> None:
    assert explore(rec, np.zeros(0, np.int32)).lists.shape == (0, 10)
    short = explore(rec, EVERYONE[:3], 100, share=1.0)
    assert short.lists.shape == (3, 60)
    assert (short.explored.sum(axis=1) >= 9).all()
