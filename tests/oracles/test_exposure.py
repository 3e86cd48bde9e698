"""Exposure: closed forms, and synthetic data whose bias is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cofactor import Interactions, Popularity, Recommender, split_random
from cofactor.audit import Concentration, accuracy_by_group, exposure
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import HEAVY_SHAPE
from cofactor.errors import DataError, ParameterError
from cofactor.estimators import Bias, BiasedMF
from cofactor.evaluate.evaluation import fit_and_score


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


def test_genres_in_closed_form() -> None:
    """Ana has two films of genre a, bo two of b; everything else that is left is b."""
    table = Interactions.from_columns(["ana", "ana", "bo", "bo"], ["a1", "a2", "b1", "b2"], [5, 4, 4, 5])
    films = pl.DataFrame({"item": ["a1", "a2", "b1", "b2"], "genres": ["a", "a", "b", "b"]})
    rec = Recommender.fit(Bias(), table.with_item_table(films))
    genres = exposure(rec, n=2, column="genres").genres
    assert genres is not None
    assert dict(genres.table.select("genre", "shown").iter_rows()) == {"a": 0.5, "b": 0.5}
    assert genres.miscalibration == pytest.approx(np.log(100))
    with pytest.raises(DataError, match="no feature column 'kind'"):
        exposure(rec, column="kind")


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
