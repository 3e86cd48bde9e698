"""Mitigations: laws of the weights, and of the lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor import Bias, Interactions, Recommender
from cofactor.arrays import Float32, Int32
from cofactor.audit import (
    all_mitigations,
    calibrate_lists,
    capped_weights,
    categories_by_raters,
    cluster_users,
    group_weights,
    item_categories,
    liked_categories,
    propensity_weights,
    spread_exposure,
)
from cofactor.datasets.synthetic import Synthetic, generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, ParameterError

SMALL = SyntheticConfig(n_users=60, n_items=80, n_ratings=900, genres=4, taste_std=0.6)
USERS = np.arange(SMALL.n_users, dtype=np.int32)


@pytest.fixture(scope="module")
def synthetic() -> Synthetic:
    return generate(SMALL)


@pytest.fixture(scope="module")
def rec(synthetic: Synthetic) -> Recommender:
    return Recommender.fit(Bias(), synthetic.interactions)


@pytest.fixture(scope="module")
def categories(synthetic: Synthetic) -> Any:
    return item_categories(synthetic.interactions.item_table, "genres")


def miscalibration(lists: Int32, categories: Any, wanted: Any) -> float:
    mix = categories[lists].mean(axis=1)
    nearly = 0.99 * mix + 0.01 * wanted
    ratio = np.where(wanted > 0, wanted / np.where(wanted > 0, nearly, 1), 1)
    return float((wanted * np.log(ratio)).sum(axis=1).mean())


def test_no_user_weighs_more_than_the_cap(synthetic: Synthetic) -> None:
    table = capped_weights(synthetic.interactions, cap=7)
    totals = np.bincount(table.u, weights=table.weights, minlength=table.n_users)
    counts = table.by_user.counts
    np.testing.assert_allclose(totals / totals.max(), np.minimum(counts, 7) / 7, rtol=1e-5)
    twice = capped_weights(synthetic.interactions.with_weights(np.full(len(table), 2)), cap=7)
    np.testing.assert_allclose(twice.weights, 2 * table.weights, rtol=1e-6)
    with pytest.raises(ParameterError, match="cap"):
        capped_weights(synthetic.interactions, cap=0)


def test_each_group_weighs_its_share_of_users(synthetic: Synthetic) -> None:
    groups = np.arange(SMALL.n_users) % 3
    weights = np.random.default_rng(0).uniform(0.5, 2, len(synthetic.interactions))
    table = group_weights(synthetic.interactions.with_weights(weights), groups)
    totals = np.bincount(groups[table.u], weights=table.weights)
    np.testing.assert_allclose(totals / totals.sum(), np.bincount(groups) / SMALL.n_users, rtol=1e-5)


def test_users_without_ratings_are_not_counted() -> None:
    ratings = Interactions.from_columns(["a", "b", "b", "c"], ["x", "x", "y", "x"], [1.0, 2.0, 3.0, 4.0])
    ratings = ratings.select(ratings.u != 2)
    table = group_weights(ratings, [0, 1, 1])
    np.testing.assert_allclose(table.weights, [1.5, 0.75, 0.75])


@pytest.mark.parametrize("groups", [[0, 1], np.full(SMALL.n_users, -1), np.zeros(SMALL.n_users)])
def test_groups_are_integers_for_all_users(groups: Any, synthetic: Synthetic) -> None:
    with pytest.raises(ParameterError, match="groups must be"):
        group_weights(synthetic.interactions, groups)


def test_rows_of_popular_items_weigh_less(synthetic: Synthetic) -> None:
    table = propensity_weights(synthetic.interactions)
    support = np.bincount(table.i, minlength=table.n_items)[table.i]
    assert (np.diff(table.weights[np.argsort(support)]) <= 1e-6).all()
    with pytest.raises(ParameterError, match="power"):
        propensity_weights(synthetic.interactions, power=2)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 50), st.integers(1, 6), st.floats(0, 1))
def test_the_mean_weight_stays(synthetic: Synthetic, cap: float, n_groups: int, power: float) -> None:
    weights = np.random.default_rng(0).uniform(0.5, 2, len(synthetic.interactions)).astype(np.float32)
    table = synthetic.interactions.with_weights(weights)
    groups = np.arange(SMALL.n_users) % n_groups
    for after in (
        capped_weights(table, cap=cap),
        group_weights(table, groups),
        propensity_weights(table, power=power),
    ):
        assert after.weights.mean() == pytest.approx(weights.mean(), rel=1e-5)


def test_no_strength_changes_nothing(synthetic: Synthetic, rec: Recommender, categories: Any) -> None:
    table = synthetic.interactions
    for after in (
        capped_weights(table, cap=1e9),
        group_weights(table, np.zeros(SMALL.n_users, int)),
        propensity_weights(table, power=0),
    ):
        np.testing.assert_allclose(after.weights, 1, rtol=1e-6)
    lists, scores = rec.for_rows(USERS).rank(50)
    wanted = liked_categories(rec.histories, categories)
    for plain in (
        spread_exposure(lists, scores, 5, SMALL.n_items, strength=0),
        spread_exposure(lists, scores, 5, SMALL.n_items, strength=0, categories=categories),
        calibrate_lists(lists, scores, 5, categories, wanted, strength=0),
        calibrate_lists(lists, scores, 5, categories, np.zeros_like(wanted), strength=0.5),
    ):
        np.testing.assert_array_equal(plain, lists[:, :5])


def test_spreading_trades_the_order_for_exposure(rec: Recommender, categories: Any) -> None:
    lists, scores = rec.for_rows(USERS).rank(50)
    n_shown = [len(np.unique(spread_exposure(lists, scores, 5, SMALL.n_items, strength=s))) for s in (0, 0.5, 2)]
    assert n_shown[0] < n_shown[1] <= n_shown[2]
    own_categories = np.eye(SMALL.n_items)  # every item a kind of its own
    np.testing.assert_array_equal(
        spread_exposure(lists, scores, 5, SMALL.n_items, strength=0.5, categories=own_categories),
        spread_exposure(lists, scores, 5, SMALL.n_items, strength=0.5),
    )
    mixes = [
        categories[spread_exposure(lists, scores, 5, SMALL.n_items, strength=s, categories=categories)].mean((0, 1))
        for s in (0, 0.5)
    ]
    assert mixes[1].max() < mixes[0].max()
    with pytest.raises(ParameterError, match="strength"):
        spread_exposure(lists, scores, 5, SMALL.n_items, strength=-1)


def test_calibrated_lists_approach_the_wanted_categories(rec: Recommender, categories: Any) -> None:
    lists, scores = rec.for_rows(USERS).rank(50)
    wanted = liked_categories(rec.histories, categories)
    results = [calibrate_lists(lists, scores, 8, categories, wanted, strength=s) for s in (0, 0.3, 0.6, 0.9, 1)]
    distances = [miscalibration(result, categories, wanted) for result in results]
    assert (np.diff(distances) <= 1e-9).all()
    assert distances[-1] < distances[0] / 2
    for result in results:
        assert all(
            len(set(row)) == 8 and set(row) <= set(full)
            for row, full in zip(result.tolist(), lists.tolist(), strict=True)
        )
    with pytest.raises(ParameterError, match="strength"):
        calibrate_lists(lists, scores, 8, categories, wanted, strength=1.5)


def test_a_calibrated_list_is_the_one_worked_out_by_hand() -> None:
    lists, scores = np.array([[0, 1, 2, 3]], np.int32), np.array([[4.0, 3.0, 2.0, 1.0]], np.float32)
    categories = np.eye(2)[[0, 0, 0, 1]]
    half = np.array([[0.5, 0.5]])
    assert calibrate_lists(lists, scores, 2, categories, half, strength=0.9).tolist() == [[0, 3]]
    assert calibrate_lists(lists, scores, 2, categories, np.array([[1.0, 0.0]]), strength=0.9).tolist() == [[0, 1]]


def test_calibrated_lists_may_end_early() -> None:
    lists = np.array([[1, 0, -1, -1], [-1, -1, -1, -1], [0, 1, 2, -1]], np.int32)
    scores: Float32 = np.where(lists >= 0, -lists, -np.inf).astype(np.float32)
    again = calibrate_lists(lists, scores, 3, np.eye(3), np.full((3, 3), 1 / 3))
    np.testing.assert_array_equal(np.sort(again, axis=1), [[-1, 0, 1], [-1, -1, -1], [0, 1, 2]])
    assert calibrate_lists(lists, scores, 9, np.eye(3), np.full((3, 3), 1 / 3)).shape == (3, 4)
    assert calibrate_lists(lists[:0], scores[:0], 3, np.eye(3), np.zeros((0, 3))).shape == (0, 3)


def test_categories_are_shares(synthetic: Synthetic, categories: Any) -> None:
    assert categories.shape == (SMALL.n_items, SMALL.genres)
    np.testing.assert_array_equal(categories.argmax(axis=1), synthetic.genre)
    mixed = item_categories(pl.DataFrame({"item": [1, 2, 3], "genre": ["a|b", None, "b"]}), "genre")
    np.testing.assert_allclose(mixed, [[0.5, 0.5], [0, 0], [0, 1]])
    with pytest.raises(DataError, match="mood"):
        item_categories(synthetic.interactions.item_table, "mood")


def test_categories_follow_from_the_raters() -> None:
    u, i = (part.ravel() for part in np.indices((20, 12)))
    same = (u % 2) == (i % 2)  # two clubs, each with films of its own
    ratings = Interactions.from_columns(u[same], i[same], np.full(int(same.sum()), 3.0))
    categories = categories_by_raters(ratings.by_user, ratings.n_items, n_categories=2)
    assert categories.sum(axis=1).tolist() == [1.0] * 12
    assert (
        len({tuple(row) for row in categories[::2].tolist()})
        == len({tuple(row) for row in categories[1::2].tolist()})
        == 1
    )
    assert (categories[0] != categories[1]).all()
    assert categories_by_raters(ratings.by_user, ratings.n_items, n_categories=50).shape == (12, 12)


def test_a_table_without_rows_does_not_change_and_has_no_categories(synthetic: Synthetic) -> None:
    nothing = synthetic.interactions.select(np.zeros(len(synthetic.interactions), bool))
    for table in (
        capped_weights(nothing),
        capped_weights(nothing, cap=2),
        propensity_weights(nothing),
        group_weights(nothing, np.zeros(nothing.n_users, int)),
    ):
        assert len(table) == 0
        assert table.users is nothing.users
    with pytest.raises(ParameterError, match="cap must be a finite number above 0, not 0"):
        capped_weights(nothing, cap=0)
    with pytest.raises(DataError, match="`histories` contains no ratings, so items cannot be clustered"):
        categories_by_raters(nothing.by_user, nothing.n_items)
    with pytest.raises(DataError, match="no user has a history"):
        cluster_users(nothing.by_user, nothing.n_items)


def test_n_categories_is_positive_and_n_items_covers_the_histories(synthetic: Synthetic) -> None:
    histories = synthetic.interactions.by_user
    with pytest.raises(ParameterError, match="n_categories must be an integer >= 1, not 0"):
        categories_by_raters(histories, SMALL.n_items, n_categories=0)
    with pytest.raises(DataError, match="histories must have column indices between 0 and 2; got"):
        categories_by_raters(histories, 3)


def test_liked_items_are_at_or_above_the_mean_of_the_user() -> None:
    ratings = Interactions.from_columns(["a", "a", "a", "b"], ["x", "y", "z", "z"], [5.0, 1.0, 4.0, 2.0])
    categories = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(liked_categories(ratings.by_user, categories), [[0.75, 0.25], [0.5, 0.5]])
    no_one = liked_categories(ratings.select(ratings.u == 0).by_user, categories)
    assert no_one[1].tolist() == [0, 0]


def test_a_named_column_must_exist(rec: Recommender) -> None:
    by_kind = next(mitigation for mitigation in all_mitigations("mood") if "calibrated" in mitigation.name)
    with pytest.raises(DataError, match="mood"):
        by_kind.rank(rec, USERS, 5, np.random.default_rng(0))
