"""A recommender that knows a pair of the test set is not scored on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import LeakageError
from cofactor.estimators import REGISTRY
from cofactor.evaluate import calibration, score
from cofactor.evaluate.evaluation import primary_value
from cofactor.evaluate.leakage import require_no_history_pairs
from cofactor.evaluate.split import Split, split_by_time, split_last, split_random, split_users
from tests.support.estimators import small


@pytest.mark.parametrize("name", REGISTRY)
def test_a_model_that_was_fitted_on_the_test_part_is_not_scored(
    name: str, small_ratings: Interactions, small_events: Interactions
) -> None:
    estimator = small(name)
    table = small_events if estimator.kind == "events" else small_ratings
    split = split_random(table)
    knows, honest = (cofactor.Recommender.fit(estimator, rows) for rows in (table, split.train))
    user, item = split.test.users.ids(split.test.u[:1])[0], split.test.items.ids(split.test.i[:1])[0]
    message = (
        f"user '{user}' and item '{item}' are in both the test set and the model's histories "
        rf"\(and {len(split.test) - 1:,} more pairs\); fit on split\.train"
    )
    with pytest.raises(LeakageError, match=message):
        score(knows, split, label="x")
    with pytest.raises(LeakageError, match=message):
        primary_value(knows, split)
    assert score(honest, split, label="x").metrics


@pytest.mark.parametrize("make_split", [split_random, split_last, split_by_time, split_users])
def test_an_update_with_the_test_part_is_detected_in_every_kind_of_split(
    make_split: Any, small_ratings: Interactions
) -> None:
    split = make_split(small_ratings)
    honest = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=2), split.train)
    assert score(honest, split, label="x").metrics["rmse"].mean > 0
    with pytest.raises(LeakageError, match="are in both the test set and the model's histories"):
        score(honest.updated(split.test), split, label="x")


def test_a_single_common_pair_is_detected_and_named(small_ratings: Interactions) -> None:
    split = split_random(small_ratings)
    mask = np.zeros(len(split.test), bool)
    mask[371] = True
    leaked = split.test.select(mask)
    rec = cofactor.Recommender.fit(cofactor.Bias(), split.train).updated(leaked)
    user, item, *_ = leaked.frame().row(0)
    with pytest.raises(LeakageError, match=f"user '{user}' and item '{item}' are in .* histories; fit on"):
        score(rec, split, label="x")


def test_calibration_of_a_model_that_knows_the_test_part(small_ratings: Interactions) -> None:
    split = split_random(small_ratings)
    estimator = small("bayesian-mf")
    with pytest.raises(LeakageError, match="are in both the test set and the model's histories"):
        calibration(cofactor.Recommender.fit(estimator, small_ratings), split)
    honest = cofactor.Recommender.fit(estimator, split.train)
    with pytest.raises(LeakageError, match="are in both the test set and the model's histories"):
        calibration(honest.updated(split.test), split)
    assert calibration(honest, split).n == len(split.test)


def test_held_out_users_whose_rows_were_trained_on(small_ratings: Interactions) -> None:
    split = split_users(small_ratings)
    with pytest.raises(LeakageError, match="are in both the test set and the model's histories"):
        score(cofactor.Recommender.fit(cofactor.Bias(), small_ratings), split, label="x")


def test_dislikes_in_the_test_part_are_leaks_too() -> None:
    table = Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], weights=[1, 1, 1, -1], kind="events")
    split = Split(table.select([True, True, True, False]), table.select([False, False, False, True]))
    with pytest.raises(LeakageError, match="user 1 and item 1 are in both the test set"):
        score(cofactor.Recommender.fit(cofactor.ItemKNN(), table), split, label="x")


def test_every_common_pair_is_counted() -> None:
    table = Interactions.from_columns(np.repeat(np.arange(7), 9), np.tile(np.arange(9), 7), [3] * 63)
    draw = np.random.default_rng(8)
    for share in np.linspace(0, 0.3, 40):
        in_history, in_test = draw.random((2, 63)) < share
        both = np.flatnonzero(in_history & in_test)
        if len(both) == 0:
            require_no_history_pairs(table.select(in_history).by_user, table.select(in_test))
            continue
        user, item = divmod(int(both[0]), 9)
        more = f" \\(and {len(both) - 1} more pairs?\\)" if len(both) > 1 else ""
        with pytest.raises(LeakageError, match=f"user {user} and item {item} are in .* histories{more}; fit on"):
            require_no_history_pairs(table.select(in_history).by_user, table.select(in_test))


@pytest.mark.long
def test_the_score_of_movielens_is_that_of_the_training_part(movielens: Interactions) -> None:
    split = split_random(movielens)
    with pytest.raises(LeakageError, match=r"\(and 19,999 more pairs\)"):
        score(cofactor.Recommender.fit(cofactor.BiasedMF(), movielens), split, label="x")
    honest = cofactor.Recommender.fit(cofactor.BiasedMF(), split.train)
    assert 0.88 < score(honest, split, label="x").metrics["rmse"].mean < 0.93
