"""Low ratings that become no events stay in the exclusion list."""

from __future__ import annotations

import numpy as np
import pytest

import cofactor
from cofactor.datasets.synthetic import SyntheticConfig, generate

USERS = ["ana"] * 3 + [u for u in ("bo", "cy", "di", "ed", "flo", "gus") for _ in range(4)]
ITEMS = ["a", "b", "c"] + ["a", "b", "c", "d"] * 6
VALUES = [5, 5, 1] + [5] * 24


@pytest.fixture
def events() -> cofactor.Interactions:
    """Six users rate a, b, c, d with 5; ana rates a and b 5, and c 1."""
    return cofactor.Interactions.from_columns(USERS, ITEMS, VALUES).to_events(min_rating=4)


@pytest.mark.parametrize("estimator", [cofactor.ItemKNN(), cofactor.UserKNN(), cofactor.EASE(), cofactor.Popularity()])
def test_a_low_rated_item_is_not_recommended(events, estimator):
    rec = cofactor.Recommender.fit(estimator, events)
    assert rec.recommend("ana")["item"].to_list() == ["d"]
    assert rec.recommend_all().filter(user="ana")["item"].to_list() == ["d"]
    assert set(rec.recommend("ana", exclude_seen=False)["item"]) == {"a", "b", "c", "d"}


def test_nothing_is_learned_from_a_low_rating(events):
    without = cofactor.Interactions.from_columns(
        [u for u, v in zip(USERS, VALUES, strict=True) if v > 1],
        [i for i, v in zip(ITEMS, VALUES, strict=True) if v > 1],
        kind="events",
    )
    rec, expected = (cofactor.Recommender.fit(cofactor.ItemKNN(), table) for table in (events, without))
    assert len(events) == len(without)
    assert rec.similar_items("a").equals(expected.similar_items("a"))
    assert rec.support.tolist() == expected.support.tolist()


def test_the_exclusion_survives_a_file_and_an_update(events, tmp_path):
    rec = cofactor.Recommender.fit(cofactor.ItemKNN(), events)
    rec.save(tmp_path / "rec.cofactor")
    again = cofactor.Recommender.load(tmp_path / "rec.cofactor")
    assert again.recommend("ana").equals(rec.recommend("ana"))
    more = cofactor.Interactions.from_columns(["zoe", "zoe", "ana"], ["a", "b", "d"], [5, 2, 3])
    after = again.updated(more.to_events(min_rating=4))
    assert set(after.recommend("zoe")["item"]) == {"c", "d"}
    assert after.recommend("ana")["item"].to_list() == []
    assert after.recommend("bo")["item"].to_list() == []


def test_no_list_contains_an_item_that_its_user_rated_low():
    ratings = generate(SyntheticConfig(n_users=150, n_items=60, n_ratings=3000)).interactions
    rec = cofactor.Recommender.fit(cofactor.ItemKNN(), ratings.to_events(min_rating=4))
    lists, _ = rec.for_rows(np.arange(150, dtype=np.int32)).rank(10)
    rated = set(zip(ratings.u.tolist(), ratings.i.tolist(), strict=True))
    places = [(u, int(i)) for u, row in enumerate(lists) for i in row if i >= 0]
    assert len(places) > 1000
    assert not rated & set(places)


@pytest.mark.parametrize(
    "cut",
    [
        lambda table: cofactor.split_random(table, test=0.2),
        lambda table: cofactor.split_per_user(table, test=0.3),
        lambda table: cofactor.split_users(table, test=0.3),
        cofactor.split_last,
        cofactor.split_by_time,
    ],
)
def test_splits_keep_seen_pairs_and_nothing_of_the_future(cut):
    random = np.random.default_rng(3)
    synthetic = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    times = random.integers(0, 10_000, len(synthetic))
    ratings = cofactor.Interactions.from_columns(synthetic.u, synthetic.i, synthetic.values, times=times)
    table = ratings.to_events(min_rating=4)
    split = cut(table)
    assert split.train.seen is not None
    parts = [split.train.seen] if split.fold_in is None else [split.train.seen, split.fold_in.seen]
    pairs = {(int(u), int(i)) for part in parts for u, i in zip(part.u, part.i, strict=True)}
    all_pairs = set(zip(table.seen.u.tolist(), table.seen.i.tolist(), strict=True))
    assert pairs <= all_pairs
    if split.order == "any":
        assert pairs == all_pairs
    elif split.order == "by time":
        assert split.train.seen.times.max() < split.test.times.min()
    else:
        first = dict(zip(split.test.u.tolist(), split.test.times.tolist(), strict=True))
        seen = zip(split.train.seen.u.tolist(), split.train.seen.times.tolist(), strict=True)
        assert all(t <= first.get(u, t) for u, t in seen)
        assert len(pairs) < len(all_pairs)
