"""Side information: columns of the item and user tables, and the times of ratings."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.evaluate import evaluate
from cofactor.evaluate.split import split_random
from cofactor.metrics.rating import rmse
from cofactor.models.session_bias import SessionBias
from cofactor.models.user_batch import UserBatch

FAST = {"factors": 4, "iterations": 60, "burn_in": 20}


# indicators


def holders(table: pl.DataFrame, *columns: str) -> dict[str, list[int]]:
    encoded = indicators(table, columns, "item")
    return {name: encoded.rows_by_indicator.row(place).columns.tolist() for place, name in enumerate(encoded.names)}


def test_every_type_of_column_becomes_indicators() -> None:
    table = pl.DataFrame(
        {
            "item": range(3),
            "genres": ["Comedy| War", "War", None],
            "tags": [["a", "b"], [], ["a"]],
            "adult": [True, None, False],
            "stars": [1.5, float("nan"), None],
            "kind": pl.Series(["film", "series", "film"], dtype=pl.Categorical),
            "made": [dt.date(1990, 5, 1), None, dt.date(2000, 1, 1)],
        }
    )
    assert holders(table, "genres", "tags") == {
        "genres=Comedy": [0],
        "genres=War": [0, 1],
        "tags=a": [0, 2],
        "tags=b": [0],
    }
    assert holders(table, "adult", "stars") == {"adult=false": [2], "adult=true": [0], "stars=1.5": [0]}
    assert holders(table, "kind") == {"kind=film": [0, 2], "kind=series": [1]}
    assert holders(table, "made") == {"made=1990-05-01": [0], "made=2000-01-01": [2]}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-50, 50), st.floats(-9, 9)), min_size=1, max_size=80))
def test_a_number_falls_into_one_bin_and_a_missing_one_into_none(numbers: list[Any]) -> None:
    column = pl.Series("x", [None if x is None else float(x) for x in numbers], dtype=pl.Float64)
    encoded = indicators(pl.DataFrame({"item": range(len(column)), "x": column}), ["x"], "item")
    rows = encoded.rows_by_indicator.columns.tolist()
    assert sorted(rows) == [row for row, x in enumerate(column) if x is not None]
    assert len(encoded) <= 12
    assert (encoded.rows_by_indicator.counts > 0).all()


def test_invalid_feature_columns_are_rejected() -> None:
    table = pl.DataFrame({"item": [1], "title": ["x"], "raw": [{"a": 1}]})
    with pytest.raises(DataError, match=r"no feature column 'genre'; it has title, raw"):
        indicators(table, ["genre"], "item")
    with pytest.raises(DataError, match=r"no feature column 'item'"):
        indicators(table, ["item"], "item")
    with pytest.raises(DataError, match=r"'raw' of the item table contains Struct"):
        indicators(table, ["raw"], "item")
    with pytest.raises(DataError, match=r"item_features selects genres, but there is no item table"):
        indicators(None, ["genres"], "item")


# features in BayesianMF


@pytest.fixture(scope="module")
def genres() -> Interactions:
    """60 users of two tastes, 40 films of two genres; films 38 and 39 and users 58 and 59 have no ratings."""
    rng = np.random.default_rng(0)
    u, i = (column.ravel() for column in np.meshgrid(np.arange(60), np.arange(40), indexing="ij"))
    values = np.where(u % 2 == i % 2, 4.0, 2.0) + 0.5 * (i % 2) + rng.normal(0, 0.3, len(u))
    table = Interactions.from_columns(u, i, values)
    item_table = pl.DataFrame({"item": np.arange(40), "genre": ["drama", "war"] * 20})
    user_table = pl.DataFrame({"user": np.arange(60), "taste": ["drama", "war"] * 30})
    observed = (table.u < 58) & (table.i < 38) & (rng.random(len(u)) < 0.5)
    return table.with_item_table(item_table).with_user_table(user_table).select(observed)


def test_films_without_ratings_are_predicted_from_their_genre(genres: Interactions) -> None:
    model = cofactor.BayesianMF(item_features=("genre",), user_features=("taste",), **FAST).fit(genres, seed=0)
    scores = model.scores(UserBatch.of(np.arange(60, dtype=np.int32), genres.by_user))
    truth = np.where(np.arange(60)[:, None] % 2 == np.arange(40) % 2, 4.0, 2.0) + 0.5 * (np.arange(40) % 2)
    assert np.abs(scores[:58, 38:] - truth[:58, 38:]).mean() < 0.3  # new films
    assert np.abs(scores[58:, :38] - truth[58:, :38]).mean() < 0.3  # new users
    scores_without_features = (
        cofactor.BayesianMF(**FAST)
        .fit(genres, seed=0)
        .scores(UserBatch.of(np.arange(60, dtype=np.int32), genres.by_user))
    )
    assert np.abs(scores_without_features[:58, 38:] - truth[:58, 38:]).mean() > 0.7


def test_an_unknown_item_is_as_uncertain_as_the_genres_differ(genres: Interactions) -> None:
    model = cofactor.BayesianMF(item_features=("genre",), **FAST).fit(genres, seed=0)
    users = np.arange(58, dtype=np.int32)
    unknown = model.distribution(UserBatch.trained(users, genres.by_user), np.full(58, -1, np.int32))
    unrated = model.distribution(UserBatch.trained(users, genres.by_user), np.full(58, 38, np.int32))
    assert unknown.sd().mean() > 1.5 * unrated.sd().mean()


@pytest.mark.long
def test_uninformative_features_do_little_harm(movielens: Interactions) -> None:
    rng = np.random.default_rng(0)
    noise = pl.DataFrame({"item": movielens.items.all, "letter": rng.choice(list("abcdefgh"), movielens.n_items)})
    split = split_random(movielens.with_item_table(noise), test=0.2, seed=0)
    test, histories = split.test, split.train.by_user
    errors = [
        rmse(
            test.values,
            cofactor.BayesianMF(item_features=f)
            .fit(split.train, seed=0)
            .predict(UserBatch.trained(test.u, histories), test.i),
        )
        for f in ((), ("letter",), ())
    ]
    assert errors[0] == errors[2]
    assert errors[1] < errors[0] + 0.002


@pytest.mark.long
def test_genres_and_times_help_on_movielens(movielens: Interactions) -> None:
    split = split_random(movielens, test=0.2, seed=0)
    test, histories = split.test, split.train.by_user
    settings_of: list[dict[str, Any]] = [
        {},
        {"item_features": ("genres", "year"), "user_features": ("age", "gender", "occupation")},
        {"time_bin": 600},
    ]
    errors = []
    for settings_ in settings_of:
        model = cofactor.BayesianMF(**settings_).fit(split.train, seed=0)
        errors.append(rmse(test.values, model.predict(UserBatch.trained(test.u, histories, test.times), test.i)))
    assert errors[1] < errors[0] - 0.0005
    assert errors[2] < errors[0] - 0.004


def test_column_names_become_a_tuple() -> None:
    wanted = cofactor.BayesianMF(item_features=("genres", "year"))
    for given_names in (["genres", "year"], ("genres", "year", "genres")):
        assert cofactor.BayesianMF(item_features=given_names) == wanted  # type: ignore[arg-type]
    for wrong in (5, "genres", ["genres", 3], ("",)):
        with pytest.raises(ParameterError, match="item_features must be a list of column names"):
            cofactor.BayesianMF(item_features=wrong)  # type: ignore[arg-type]


# session biases


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 60, 86_400]))
def test_the_shift_is_that_of_the_user_and_bin_and_0_elsewhere(seed: int, seconds: int) -> None:
    rng = np.random.default_rng(seed)
    u = np.sort(rng.integers(0, 5, 40)).astype(np.int32)
    times = rng.integers(10**9, 10**9 + 20 * seconds, 40)
    blank, which = SessionBias.of_ratings(u, times, seconds, 6)
    bias = rng.standard_normal(len(blank.rows.values)).astype(np.float32)
    sessions = replace(blank, rows=replace(blank.rows, values=bias))
    np.testing.assert_array_equal(sessions.shift(u, times), bias[which])
    bias_by_bin = dict(
        zip(zip(u.tolist(), ((times - times.min()) // seconds).tolist(), strict=True), bias[which], strict=True)
    )
    users, query_times = rng.integers(-1, 6, 60).astype(np.int32), rng.integers(10**9 - 99, 10**9 + 40 * seconds, 60)
    bins = (query_times - times.min()) // seconds
    expected = [bias_by_bin.get(key, 0) for key in zip(users.tolist(), bins.tolist(), strict=True)]
    np.testing.assert_array_equal(sessions.shift(users, query_times), np.array(expected, np.float32))


@pytest.fixture(scope="module")
def session_ratings() -> Interactions:
    """80 users who rate in sessions of five, each session with its own bias."""
    rng = np.random.default_rng(3)
    u = np.repeat(np.arange(80), 40)
    i = np.concatenate([rng.choice(200, 40, replace=False) for _ in range(80)])
    session = np.tile(np.repeat(np.arange(8), 5), 80)
    session_bias = rng.normal(0, 0.8, (80, 8))[u, session]
    values = np.clip(np.round(3 + session_bias + rng.normal(0, 0.5, 200)[i] + rng.normal(0, 0.4, len(u))), 1, 5)
    return Interactions.from_columns(u, i, values, times=10**9 + 86_400 * session + rng.integers(0, 3_000, len(u)))


def test_session_biases_are_learned_evaluated_saved_and_kept_by_updates(
    session_ratings: Interactions, tmp_path: Path
) -> None:
    split = split_random(session_ratings, test=0.2, seed=0)
    timed = cofactor.BayesianMF(time_bin=7_200, **FAST)
    scores = evaluate([timed, cofactor.BayesianMF(**FAST)], split)
    error, plain_error = (scores[f"bayesian-mf #{n}"].metrics["rmse"].mean for n in (1, 2))
    assert error < 0.85 * plain_error
    rec = cofactor.Recommender.fit(timed, split.train)
    test = split.test.frame()
    at = rec.predict(test["user"], test["item"], times=test["time"])["prediction"]
    assert rmse(split.test.values, at.to_numpy()) == pytest.approx(error, abs=1e-6)
    never = rec.predict(test["user"], test["item"], times=5)["prediction"]
    assert never.equals(rec.predict(test["user"], test["item"])["prediction"])

    rec.save(tmp_path / "m.cofactor")
    loaded = cofactor.Recommender.load(tmp_path / "m.cofactor", verify=True)
    assert loaded.predict(test["user"], test["item"], times=test["time"])["prediction"].equals(at)

    rows_of_user = split.test.select(split.test.u == 7)
    updated = rec.updated(rows_of_user)
    after = updated.predict(test["user"], test["item"], times=test["time"])["prediction"]
    others = (test["user"] != 7).to_numpy()
    assert after.filter(others).equals(at.filter(others))


def test_a_distribution_is_shifted_by_the_session_bias(session_ratings: Interactions) -> None:
    model = cofactor.BayesianMF(time_bin=7_200, **FAST).fit(session_ratings, seed=0)
    assert session_ratings.times is not None
    u, i, histories = session_ratings.u[:500], session_ratings.i[:500], session_ratings.by_user
    plain, at = (
        model.distribution(UserBatch.trained(u, histories), i),
        model.distribution(UserBatch.trained(u, histories, session_ratings.times[:500]), i),
    )
    assert model.session_bias is not None
    np.testing.assert_allclose(
        at.mean() - plain.mean(), model.session_bias.shift(u, session_ratings.times[:500]), atol=1e-6
    )
    np.testing.assert_allclose(at.sd(), plain.sd())


def test_time_needs_times(session_ratings: Interactions) -> None:
    with pytest.raises(DataError, match="time_bin requires a time for every rating"):
        cofactor.BayesianMF(time_bin=60, **FAST).fit(replace(session_ratings, times=None))
    rec = cofactor.Recommender.fit(cofactor.BayesianMF(time_bin=7_200, **FAST), session_ratings)
    for wrong in ("now", [1.5], [1, 2, 3]):
        with pytest.raises(
            ParameterError, match=r"times must be integer seconds since the Unix epoch \(1 or 2 values\)"
        ):
            rec.predict([0, 1], [5, 6], times=wrong)


# stars that count


def test_gain_lets_higher_ratings_count_more(small_ratings: Interactions) -> None:
    plain, graded = (small_ratings.to_events(min_rating=4, gain=gain) for gain in (0.0, 0.5))
    stars = small_ratings.values[small_ratings.values >= 4]
    np.testing.assert_array_equal(plain.values, 1)
    np.testing.assert_array_equal(graded.values, np.where(stars == 5, 1.5, 1))
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ParameterError, match=r"gain must be a finite number( >= 0)?, not"):
            small_ratings.to_events(min_rating=4, gain=wrong)
