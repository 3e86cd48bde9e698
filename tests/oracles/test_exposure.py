"""Exposure: closed forms, and synthetic data whose bias is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor import Interactions, Popularity, Recommender, read_ratings, split_random
from cofactor.audit import Concentration, accuracy_by_group, exposure
from cofactor.audit.concentration import _as_rows, _item_counts_without, _jackknife_interval, _user_groups
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import HEAVY_SHAPE
from cofactor.errors import DataError, ParameterError
from cofactor.estimators import Bias, BiasedMF, ExplicitALS
from cofactor.evaluate.evaluation import fit_and_score
from cofactor.metrics.catalog import coverage, gini
from cofactor.metrics.student_t import t_quantile


def test_concentration_in_closed_form() -> None:
    even, single = Concentration.of(np.full(200, 3)), Concentration.of([0] * 99 + [7])
    assert (even.gini, even.top_share) == (pytest.approx(0), pytest.approx(0.01))
    np.testing.assert_allclose(even.lorenz["share_of_members"], even.lorenz["share_held"])
    assert (single.gini, single.top_share) == (pytest.approx(0.99), 1)
    assert single.lorenz["share_held"].to_list()[-2:] == [0, 1]
    area = np.trapezoid(single.lorenz["share_held"], single.lorenz["share_of_members"])
    assert 1 - 2 * area == pytest.approx(single.gini, abs=0.011)
    assert np.isnan(Concentration.of([]).gini)
    assert np.isnan(Concentration.of([0, 0]).top_share)


def test_popularity_shows_few_items_and_lifts(small_events: Interactions) -> None:
    result = exposure(Recommender.fit(Popularity(), small_events), n=5)
    assert result.rows_per_user.total == result.rows_per_item.total == len(small_events)
    assert result.positions_per_item.total == 5 * small_events.n_users
    assert result.positions_per_item.gini > result.rows_per_item.gini
    assert result.popularity_lift > 1
    assert 0 < result.coverage < 0.5


def test_the_floor_of_miscalibration_is_that_of_short_lists_of_own_items() -> None:
    """With half of the history in each of two genres, k random items differ from it by a hypergeometric number."""
    n_users, size, k = 400, 40, 4
    u, i = np.repeat(np.arange(n_users), size), np.tile(np.arange(size), n_users)
    films = pl.DataFrame(
        {"item": np.arange(size + k), "genres": ["a" if item % 2 else "b" for item in range(size + k)]}
    )
    u, i = np.append(u, np.full(k, n_users)), np.append(i, np.arange(size, size + k))  # the items that are left
    table = Interactions.from_columns(u, i, np.ones(len(u))).with_item_table(films)
    genres = exposure(Recommender.fit(Bias(), table), n=k, column="genres").genres
    assert genres is not None
    stream, half = np.random.default_rng(0), size // 2
    shown = stream.hypergeometric(half, half, k, 100_000) / k
    expected = sum(0.5 * np.log(0.5 / (0.99 * share + 0.005)) for share in (shown, 1 - shown)).mean()
    assert genres.floor == pytest.approx(expected, rel=0.1)


def test_genres_in_closed_form() -> None:
    """Ana has two films of genre a, bo two of b; everything else that is left is b."""
    table = Interactions.from_columns(["ana", "ana", "bo", "bo"], ["a1", "a2", "b1", "b2"], [5, 4, 4, 5])
    films = pl.DataFrame({"item": ["a1", "a2", "b1", "b2"], "genres": ["a", "a", "b", "b"]})
    rec = Recommender.fit(Bias(), table.with_item_table(films))
    genres = exposure(rec, n=2, column="genres").genres
    assert genres is not None
    assert dict(genres.table.select("genre", "shown").iter_rows()) == {"a": 0.5, "b": 0.5}
    assert genres.miscalibration == pytest.approx(np.log(100))
    assert genres.floor == 0  # each history has one genre
    with pytest.raises(DataError, match="no feature column 'kind'"):
        exposure(rec, column="kind")


def test_intervals_are_those_of_the_jackknife_over_users(small_ratings: Interactions) -> None:
    """With at most 100 users each group is one user, so that the jackknife is a plain loop over the users."""
    table = read_ratings(small_ratings.select(small_ratings.u < 60).frame())
    genres = pl.DataFrame({"item": table.items.all, "genres": [("a", "b")[k % 2] for k in range(table.n_items)]})
    result = exposure(Recommender.fit(ExplicitALS(factors=4), table.with_item_table(genres)), n=5, column="genres")
    intervals = {name: bounds for name, *bounds in result.intervals.rows()}
    assert list(intervals) == [
        "rows_per_user.gini", "rows_per_item.gini", "positions_per_item.gini", "coverage", "popularity_lift",
        "miscalibration",
    ]  # fmt: skip
    n = table.n_users
    counts = [np.bincount(table.i[table.u != user], minlength=table.n_items) for user in range(n)]
    parts = np.array([gini(count) for count in counts])
    half_width = t_quantile(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(parts - parts.mean()).sum())
    value = result.rows_per_item.gini
    np.testing.assert_allclose(intervals["rows_per_item.gini"], [value, value - half_width, value + half_width])
    assert result.genres is not None
    expected = {
        "rows_per_user.gini": result.rows_per_user.gini, "coverage": result.coverage,
        "positions_per_item.gini": result.positions_per_item.gini, "popularity_lift": result.popularity_lift,
        "miscalibration": result.genres.miscalibration,
    }  # fmt: skip
    for name, value in expected.items():
        middle, low, high = intervals[name]
        assert middle == pytest.approx(value, rel=1e-12)
        assert low < middle < high


def test_few_users_have_no_intervals(small_ratings: Interactions) -> None:
    few = read_ratings(small_ratings.select(small_ratings.u < 19).frame())
    result = exposure(Recommender.fit(Bias(), few), n=5)
    assert np.isnan(result.intervals.select("low", "high").to_numpy()).all()


def random_lists(n_users: int, exponent: float, generator: np.random.Generator) -> Any:
    """Lists of ten of 400 items, drawn without replacement with the weights (rank + 5)^-exponent."""
    keys = -exponent * np.log(np.arange(1, 401) + 5.0) + generator.gumbel(size=(n_users, 400))
    return np.argpartition(-keys, 10, axis=1)[:, :10].astype(np.int32)


@pytest.mark.parametrize("n_users", [30, 300])
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_jackknife_intervals_cover(n_users: int, exponent: float) -> None:
    """Coverage and the Gini coefficient of positions, over 200 samples of users; their means are the true values."""
    generator = np.random.default_rng(0)
    samples = [random_lists(n_users, exponent, generator) for _ in range(600)]
    counts = [np.bincount(lists.ravel(), minlength=400) for lists in samples]
    truth = np.mean([(gini(count), coverage(count)) for count in counts], axis=0)
    covered = np.zeros(2)
    for lists in samples[:200]:
        rows = _as_rows(lists)
        without = list(_item_counts_without(rows, _user_groups(n_users), 400))
        count = np.bincount(lists.ravel(), minlength=400)
        for k, metric in enumerate((gini, coverage)):
            _, low, high = _jackknife_interval(metric(count), [metric(part) for part in without], n_users)
            covered[k] += low <= truth[k] <= high
    assert (covered / 200 >= 0.91).all()
    assert covered[0] / 200 <= 0.985


def test_heavy_raters_concentrate_the_ratings() -> None:
    synthetic = generate(HEAVY_SHAPE)
    result = exposure(Recommender.fit(BiasedMF(factors=8, epochs=5), synthetic.interactions))
    assert result.rows_per_user.gini > 0.2
    assert result.rows_per_user.top_share > 0.02


def test_accuracy_by_group(movielens: Interactions) -> None:
    score = fit_and_score(BiasedMF(), split_random(movielens), label="mf")
    length = pl.Series(movielens.by_user.counts)
    groups = pl.select(pl.when(length < 50).then(pl.lit("few")).otherwise(pl.lit("many"))).to_series()
    accuracy = accuracy_by_group(score, groups, "squared_error")
    assert accuracy["group"].to_list() == ["few", "many"]
    assert accuracy["users"].sum() == len(score.users)
    assert (accuracy["low"] <= accuracy["mean"]).all()
    assert (accuracy["mean"] <= accuracy["high"]).all()
    with pytest.raises(ParameterError, match="metric must be squared_error or absolute_error, not 'ndcg@10'"):
        accuracy_by_group(score, groups, "ndcg@10")
    with pytest.raises(DataError, match="one label for each user"):
        accuracy_by_group(score, groups.head(3), "squared_error")
    for labels in (groups.to_list(), groups.to_numpy(), 3):
        with pytest.raises(DataError, match="groups must be of type Series, not "):
            accuracy_by_group(score, labels, "squared_error")  # type: ignore[arg-type]
