"""The cold-start curve: on data whose truth is known, against the protocol, and with too few users or rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cofactor import (
    BPR,
    EASE,
    Bias,
    BiasedMF,
    ExplicitALS,
    ImplicitALS,
    Interactions,
    ItemKNN,
    Popularity,
    Recommender,
    RP3beta,
)
from cofactor.audit import ColdStartCurve, cold_start
from cofactor.audit.cold_start_curve import _break_even_length, _HeldOutUsers
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.metrics.intervals import bootstrap_interval
from cofactor.metrics.rating import rmse
from cofactor.metrics.registry import primary_metric
from cofactor.models.user_batch import UserBatch

COLUMNS = [
    "history_length", "personal", "personal_low", "personal_high", "baseline", "baseline_low", "baseline_high",
    "difference", "difference_low", "difference_high", "users",
]  # fmt: skip


def two_groups(n_users: int = 200, n_items: int = 60, each: int = 40, seed: int = 0) -> Interactions:
    """Two groups of opposite tastes: one rating identifies the group of a new user, but a baseline never learns it."""
    rng = np.random.default_rng(seed)
    u = np.repeat(np.arange(n_users), each)
    i = np.concatenate([rng.choice(n_items, each, replace=False) for _ in range(n_users)])
    values = np.where((u + i) % 2 == 0, 4.5, 1.5) + rng.normal(0, 0.3, len(u))
    return Interactions.from_columns(u, i, np.clip(np.round(values), 1, 5))


@pytest.fixture(scope="module")
def result() -> ColdStartCurve:
    return cold_start(ExplicitALS(factors=2, l2=0.02), two_groups(400))


def test_a_personal_model_needs_few_ratings_to_separate_the_groups(result: ColdStartCurve) -> None:
    curve = result.curve
    assert curve.columns == COLUMNS
    assert curve["history_length"].to_list() == [0, 1, 2, 3, 5, 8, 12, 20]
    assert (result.metric, curve["users"].to_list()) == ("rmse", [200] * 8)
    assert result.break_even_length is not None
    assert 1 <= result.break_even_length <= 3
    assert curve["personal"][-1] < 0.6
    assert curve["baseline"][-1] > 1.2
    assert abs(curve["difference"][0]) < 0.05  # no user has a history


def test_ends_hold_the_means_and_differences_are_differences(result: ColdStartCurve) -> None:
    curve = result.curve
    for who in ("personal", "baseline", "difference"):
        assert (curve[f"{who}_low"] <= curve[who]).all()
        assert (curve[who] <= curve[f"{who}_high"]).all()
    np.testing.assert_allclose(curve["difference"], curve["personal"] - curve["baseline"], atol=1e-12)


def test_the_same_seed_gives_the_same_curve_and_another_one_another() -> None:
    table, estimator = two_groups(80), BiasedMF(factors=2, epochs=3)
    first, again, other = (cold_start(estimator, table, history_lengths=(0, 3), seed=seed).curve for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_held_out_users_are_tested_on_the_same_rows() -> None:
    table = two_groups(100)
    held_out = _HeldOutUsers.sample(table, [0, 2, 5], 0.2, 0)
    train = table.select(~held_out.row_mask)
    assert len(held_out.users) == 20
    assert not np.isin(train.u, held_out.users).any()
    assert held_out.history(0).counts.tolist() == [0] * 20
    two, five = held_out.history(2), held_out.history(5)
    assert two.counts.tolist() == [2] * 20
    for row in range(20):
        tested = held_out.test.i[held_out.test.u == held_out.users[row]]
        assert set(two.row(row).columns) <= set(five.row(row).columns)
        assert not set(five.row(row).columns) & set(tested)
        assert len(tested) == 35


def test_a_number_of_the_curve_by_hand() -> None:
    table, estimator = two_groups(100), ExplicitALS(factors=2)
    curve = cold_start(estimator, table, history_lengths=(0, 4)).curve
    held_out = _HeldOutUsers.sample(table, [0, 4], 0.2, 0)
    train, known_rows = table.select(~held_out.row_mask), held_out.row_mask & (held_out.position < 4)
    for label, candidate in (("personal", estimator), ("baseline", Bias())):
        rec = Recommender.fit(candidate, train).ensure_priors().updated(table.select(known_rows))
        test = held_out.test
        ratings = rec.model.predict(UserBatch.trained(rec.users.rows(test.users.ids(test.u)), rec.histories), test.i)
        assert curve[label][1] == pytest.approx(rmse(test.values, ratings), rel=1e-5)


def test_events_are_ranked() -> None:
    table = two_groups(500).to_events(min_rating=4)
    result = cold_start(ImplicitALS(factors=2), table, history_lengths=(0, 1, 3, 8))
    assert result.metric == "ndcg@10"
    assert result.break_even_length is not None
    curve = result.curve
    assert curve.filter(pl.col("history_length") == 8)["difference_low"].item() > 0
    assert curve["baseline"].n_unique() == 1  # popularity is the same for all users
    assert curve["personal"].is_between(0, 1).all()
    assert cold_start(BPR(factors=2, epochs=2), table, history_lengths=(2,)).curve["history_length"].to_list() == [2]


def test_the_baseline_never_beats_itself() -> None:
    for estimator, table in ((Bias(), two_groups(60)), (Popularity(), two_groups(60).to_events(min_rating=4))):
        result = cold_start(estimator, table, history_lengths=(0, 2, 4))
        assert result.break_even_length is None
        assert result.curve["difference"].to_list() == [0.0] * 3


def test_a_dozen_users_give_no_intervals_and_no_break_even_length() -> None:
    curve = cold_start(ExplicitALS(factors=2, l2=0.02), two_groups(60), history_lengths=(0, 5, 10), users=0.2)
    assert curve.curve["users"][0] == 12
    assert curve.curve["difference"][-1] < 0
    ends = [f"{who}_{end}" for who in ("personal", "baseline", "difference") for end in ("low", "high")]
    assert curve.curve.select(pl.col(ends).is_nan().all()).row(0) == (True,) * 6
    assert curve.break_even_length is None


def test_the_break_even_length_is_the_start_of_a_lasting_difference() -> None:
    frame = pl.DataFrame(
        {"history_length": [0, 1, 2, 3], "difference_low": [-1.0] * 4, "difference_high": [-0.1, 0.2, -0.1, -0.3]}
    )
    rmse, ndcg = primary_metric("ratings"), primary_metric("events")
    assert _break_even_length(frame, rmse) == 2
    assert _break_even_length(frame.head(2), rmse) is None
    swapped = frame.select("history_length", "difference_high", difference_low=-pl.col("difference_high"))
    assert _break_even_length(swapped, ndcg) == 2


def test_history_lengths_of_too_few_users_are_left_out() -> None:
    assert cold_start(Bias(), two_groups(50, each=17)).curve["history_length"].to_list() == [0, 1, 2, 3, 5, 8]
    with pytest.raises(DataError, match="needs at least 20 users with 2 or more rows each; got 10"):
        cold_start(Bias(), two_groups(10))
    with pytest.raises(DataError, match="got 0"):
        cold_start(Bias(), Interactions.from_columns(["ana"], ["alien"], [4]))


def test_invalid_arguments_are_rejected(small_ratings: Interactions) -> None:
    with pytest.raises(ParameterError, match=r"estimator must be an estimator instance, .*, not 'bias'"):
        cold_start("bias", small_ratings)  # type: ignore[arg-type]
    for wrong in ((), (0,), (-1, 3)):
        with pytest.raises(ParameterError, match="history_length"):
            cold_start(Bias(), small_ratings, history_lengths=wrong)
    with pytest.raises(ParameterError, match="fraction"):
        cold_start(Bias(), small_ratings, users=1.0)
    with pytest.raises(KindError):
        cold_start(ImplicitALS(), small_ratings)


def test_equal_ratings_and_one_item() -> None:
    table = two_groups(60)
    same = Interactions.from_columns(table.u, table.i, np.full(len(table), 3.0))
    assert cold_start(BiasedMF(factors=2), same, history_lengths=(1,)).curve["personal"][0] == pytest.approx(
        0, abs=0.05
    )
    with pytest.raises(DataError, match="got 0"):
        cold_start(Bias(), Interactions.from_columns(range(30), [0] * 30, [3] * 30))


@pytest.mark.parametrize(
    "estimator", [EASE(), ItemKNN(), RP3beta(), ImplicitALS(factors=16), BPR(factors=16)], ids=repr
)
def test_films_without_events_are_ranked_by_genre_and_year(estimator: Estimator, movielens: Interactions) -> None:
    """Among the films of every tenth row, the first 20 have at least twice the hits of a random order."""
    likes = movielens.to_events(min_rating=4)
    is_cold = likes.i % 10 == 0
    rec = Recommender.fit(estimator, likes.select(~is_cold), seed=0).with_priors(item_features=["genres", "year"])
    test = likes.select(is_cold)
    cold = np.unique(test.i)
    users = np.flatnonzero((rec.histories.counts > 0) & (test.by_user.counts > 0)).astype(np.int32)
    rows, _ = rec.for_rows(users).rank(20, allowed=np.isin(np.arange(likes.n_items), cold), exclude_seen=False)
    liked = np.zeros((likes.n_users, likes.n_items), bool)
    liked[test.u, test.i] = True
    hits = liked[users[:, None], rows].sum(axis=1) / liked[users].sum(axis=1)
    difference = bootstrap_interval(hits - 2 * 20 / len(cold))
    assert difference.low > 0
