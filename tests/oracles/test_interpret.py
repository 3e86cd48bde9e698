"""Levels, surprising items, the factor map and the filled cross-tab: on data whose truth is known, and on films."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cofactor import BPR, EASE, BayesianMF, Bias, BiasedMF, ExplicitALS, ImplicitALS, Interactions, Recommender
from cofactor.data.crosstab import crosstab
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.interpret import FactorMap, bias_ranking, filled_crosstab, surprising_items


def test_a_level_does_not_depend_on_the_raters() -> None:
    """Two films of equal quality: one rated by generous users, one by severe users."""
    rng = np.random.default_rng(0)
    u, i = np.repeat(np.arange(200), 12), np.concatenate([rng.choice(38, 12, replace=False) for _ in range(200)])
    generous = np.where(np.arange(200) < 100, 1.0, -1.0)
    extra_u = np.arange(200)
    extra_i = np.where(extra_u < 100, 38, 39)
    u, i = np.concatenate([u, extra_u]), np.concatenate([i, extra_i])
    values = np.clip(3 + generous[u] + rng.normal(0, 0.3, len(u)), 1, 5)
    ranking = bias_ranking(Recommender.fit(ExplicitALS(factors=2), Interactions.from_columns(u, i, values)))
    both = ranking.filter(pl.col("item") >= 38)
    assert abs(np.diff(both["average"].to_numpy())[0]) > 1.5
    assert abs(np.diff(both["level"].to_numpy())[0]) < 0.5


@pytest.mark.long
def test_levels_find_the_true_biases() -> None:
    synthetic = generate(
        SyntheticConfig(n_users=600, n_items=200, n_ratings=30_000, item_bias_std=0.6, user_bias_std=0.5)
    )
    for estimator in (Bias(), BiasedMF(factors=8), ExplicitALS(factors=8)):
        rec = Recommender.fit(estimator, synthetic.interactions)
        for side, truth in (("item", synthetic.item_bias), ("user", synthetic.user_bias)):
            ranking = bias_ranking(rec, side, min_support=20)  # type: ignore[arg-type]
            assert np.corrcoef(ranking["level"], truth[ranking[side].to_numpy()])[0, 1] > 0.8
            assert ranking["support"].min() >= 20
            assert (np.diff(ranking["level"].to_numpy()) <= 0).all()


def test_models_without_levels_are_rejected(small_events: Interactions, small_ratings: Interactions) -> None:
    with pytest.raises(KindError, match="events"):
        bias_ranking(Recommender.fit(BPR(epochs=1), small_events))
    with pytest.raises(KindError, match="no item biases"):
        bias_ranking(Recommender.fit(BiasedMF(biases=False, epochs=2), small_ratings))
    with pytest.raises(ParameterError, match="item or user"):
        bias_ranking(Recommender.fit(Bias(), small_ratings), "film")  # type: ignore[arg-type]


def test_the_first_axis_separates_the_two_groups(small_ratings: Interactions) -> None:
    rec = Recommender.fit(BiasedMF(factors=8), small_ratings)
    drawn = FactorMap.of(rec, axes=3, min_support=20)
    assert drawn.items.columns == ["item", "axis_1", "axis_2", "axis_3", "support"]
    assert (np.diff(drawn.shares) <= 0).all()
    assert 0 < drawn.shares.sum() <= 1 + 1e-9
    true_groups = np.array([int(name.removeprefix("item ")) % 2 for name in drawn.items["item"]])
    side = drawn.items["axis_1"].to_numpy() > 0
    assert max((true_groups == side).mean(), (true_groups != side).mean()) > 0.9
    low, high = drawn.ends(1, 4)
    assert len(low) == len(high) == 4
    assert low["axis_1"][0] == drawn.items["axis_1"].min()
    assert high["axis_1"][0] == drawn.items["axis_1"].max()
    assert abs(high["axis_1"][0]) >= abs(low["axis_1"][0])


def test_the_map_contains_items_with_exactly_the_requested_support(small_ratings: Interactions) -> None:
    rec = Recommender.fit(BiasedMF(factors=2, epochs=1), small_ratings)
    least = int(np.sort(rec.support)[len(rec.support) // 2])
    drawn = FactorMap.of(rec, min_support=least)
    assert drawn.items["support"].min() == least
    assert len(drawn.items) == np.count_nonzero(rec.support >= least)


def test_levels_and_map_have_titles(movielens: Interactions) -> None:
    rec = Recommender.fit(BiasedMF(), movielens)
    assert "title" in bias_ranking(rec, min_support=50).columns
    assert "title" in FactorMap.of(rec).items.columns


def test_no_map_without_factors(small_events: Interactions, small_ratings: Interactions) -> None:
    with pytest.raises(KindError, match="no item factors"):
        FactorMap.of(Recommender.fit(EASE(), small_events))
    with pytest.raises(KindError, match="no item factors"):
        FactorMap.of(Recommender.fit(Bias(), small_ratings))
    rec = Recommender.fit(BiasedMF(factors=4, epochs=1), small_ratings)
    with pytest.raises(ParameterError, match="axes"):
        FactorMap.of(rec, axes=5)
    with pytest.raises(ParameterError, match="min_support"):
        FactorMap.of(rec, min_support=10**6)
    with pytest.raises(ParameterError, match="axis"):
        FactorMap.of(rec).ends(3)


def test_surprising_items_differ_most_in_level_and_average(movielens: Interactions) -> None:
    rec = Recommender.fit(BiasedMF(factors=8), movielens)
    ranking = bias_ranking(rec, min_support=30)
    surprising = surprising_items(rec, 12, min_support=30)
    assert surprising.columns == [*ranking.columns, "surprise"]
    assert len(surprising) == 12
    usual = ranking["difference"].median()
    beyond = (ranking["difference"] - usual).abs().sort(descending=True)  # type: ignore[operator]
    assert surprising["surprise"].abs().min() == beyond[11]
    assert surprising["surprise"].is_sorted(descending=True)
    assert surprising["support"].min() >= 30  # type: ignore[operator]
    np.testing.assert_allclose(surprising["surprise"], surprising["level"] - surprising["average"] - usual, atol=1e-6)


def test_a_film_rated_by_the_severe_is_above_its_average() -> None:
    rng = np.random.default_rng(0)
    u, i = np.repeat(np.arange(300), 12), np.concatenate([rng.choice(38, 12, replace=False) for _ in range(300)])
    severe = np.where(np.arange(300) < 100, -1.0, 0.5)
    u = np.concatenate([u, np.arange(300)])
    i = np.concatenate([i, np.where(np.arange(300) < 100, 38, 39)])
    values = np.clip(3 + severe[u] + rng.normal(0, 0.3, len(u)), 1, 5)
    ratings = Interactions.from_columns(u, i, values)
    surprising = surprising_items(Recommender.fit(ExplicitALS(factors=2), ratings), 40)
    assert surprising["item"][0] == 38
    assert surprising["item"][-1] == 39
    level = dict(surprising.select("item", "level").rows())
    assert level[38] == pytest.approx(3, abs=0.2)  # not the average of severe raters, 2


@pytest.mark.parametrize("damping", [0.5, 5.0, 40.0])
def test_levels_that_are_shrunken_averages_are_refused(damping: float, movielens: Interactions) -> None:
    """level - average = damping (mean - average) / (n + damping) has no information beyond average and support."""
    rec = Recommender.fit(Bias(damping=damping), movielens)
    with pytest.raises(KindError, match="averages shrunk toward the mean, so no item is surprising"):
        surprising_items(rec)
    assert len(surprising_items(Recommender.fit(ExplicitALS(factors=2), movielens), 9)) == 9


@pytest.mark.parametrize("seed", range(3))
def test_popularity_is_no_axis_of_a_map_of_events(seed: int) -> None:
    stream = np.random.default_rng(seed)
    config = SyntheticConfig(
        n_users=int(stream.integers(200, 400)), n_items=int(stream.integers(80, 200)),
        n_ratings=int(stream.integers(6_000, 12_000)),
    )  # fmt: skip
    ratings = generate(config, seed=seed).interactions
    events = ratings.to_events(min_rating=float(ratings.values.min()))
    rec = Recommender.fit(ImplicitALS(factors=8), events)
    drawn = FactorMap.of(rec, axes=3)
    log_support = np.log1p(drawn.items["support"].to_numpy())
    for axis in ("axis_1", "axis_2", "axis_3"):
        assert abs(np.corrcoef(drawn.items[axis], log_support)[0, 1]) < 1e-6
    factors = rec.model.item_factors.astype(np.float64)  # type: ignore[attr-defined]
    U = np.linalg.svd(factors - factors.mean(axis=0), full_matrices=False)[0]
    assert abs(np.corrcoef(U[:, 0], log_support)[0, 1]) > 0.6
    assert 0 < drawn.popularity_share < 1


def test_surprising_items_of_an_empty_selection(small_events: Interactions, small_ratings: Interactions) -> None:
    rec = Recommender.fit(ExplicitALS(factors=2), small_ratings)
    assert len(surprising_items(rec, min_support=10**6)) == 0
    with pytest.raises(ParameterError, match="n must be an integer >= 1"):
        surprising_items(rec, 0)
    with pytest.raises(KindError, match="events"):
        surprising_items(Recommender.fit(BPR(epochs=1), small_events))


def test_the_first_wrong_argument_of_surprising_items_is_named(small_ratings: Interactions) -> None:
    with pytest.raises(DataError, match="recommender"):
        surprising_items("no model", 1.5)
    with pytest.raises(ParameterError, match="n must be an integer"):
        surprising_items(Recommender.fit(Bias(), small_ratings), 1.5, min_support="x")


def test_every_cell_of_the_crosstab_has_a_prediction_and_its_rating(small_ratings: Interactions) -> None:
    rec = Recommender.fit(BiasedMF(factors=4, epochs=3), small_ratings)
    frame = filled_crosstab(rec, users=5, items=7)
    assert frame.columns == ["user", "item", "observed", "prediction"]
    assert len(frame) == 35
    np.testing.assert_array_equal(frame["prediction"], rec.predict(frame["user"], frame["item"])["prediction"])
    corner = crosstab(small_ratings, users=5, items=7)
    assert frame["user"].unique(maintain_order=True).to_list() == corner.users
    np.testing.assert_array_equal(frame["observed"].to_numpy().reshape(5, 7), corner.values)
    assert 0 < frame["observed"].null_count() < 35


def test_a_model_with_uncertainty_adds_the_ends_of_intervals(small_ratings: Interactions) -> None:
    rec = Recommender.fit(BayesianMF(factors=2, iterations=30, burn_in=10), small_ratings)
    narrow, wide = (filled_crosstab(rec, users=3, items=4, confidence=confidence) for confidence in (0.5, 0.95))
    assert (narrow["low"] <= narrow["high"]).all()
    assert (wide["low"] <= narrow["low"]).all()
    assert (wide["high"] >= narrow["high"]).all()


def test_cross_tabs_of_events_and_of_one_cell(small_events: Interactions) -> None:
    frame = filled_crosstab(Recommender.fit(ImplicitALS(factors=4), small_events), users=3, items=3)
    assert frame["prediction"].is_finite().all()
    single = Interactions.from_columns(["ana"], ["alien"], [4])
    assert filled_crosstab(Recommender.fit(Bias(), single)).rows() == [("ana", "alien", 4.0, 4.0)]
