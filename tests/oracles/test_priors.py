"""Priors: fold-in of new users with a prior, and new items from their features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.data.features import Encoder
from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, KindError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.losses import EventsLoss, RatingsLoss
from cofactor.models.prior import Prior, Priors
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from tests.support.priors import with_prior_at_all_lengths, without_prior

ALS = cofactor.ExplicitALS(factors=4, epochs=5)


def model_of(loss: Any, seed: int = 0, rating_range: tuple[float, float] | None = None) -> FactorModel:
    rng = np.random.default_rng(seed)
    users, items = (rng.normal(size=(n, 3)).astype(np.float32) for n in (6, 9))
    bias = np.zeros(9, np.float32) if isinstance(loss, EventsLoss) else rng.normal(size=9).astype(np.float32)
    mean = 0.0 if isinstance(loss, EventsLoss) or rating_range else 3.0
    return FactorModel(users, items, np.zeros(6, np.float32), bias, mean, rating_range, None, loss)


def some_prior(w: int, n: int, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(w, w))
    return rng.normal(size=(n, w)), root @ root.T + 0.5 * np.eye(w)


HISTORY = SparseRows.of([0, 0, 0, 1], [1, 4, 7, 2], [4.0, 2.0, 5.0, 1.0], 3, [1.0, 2.0, 0.5, 1.0])


def test_fold_in_of_ratings_minimizes_the_loss_with_the_prior() -> None:
    model, (means, P) = model_of(RatingsLoss(0.1, 0.2)), some_prior(4, 3)
    folded = model.fold_in(HISTORY, prior=GaussianPrior(means, P))
    for u in range(3):
        row = HISTORY.row(u)
        f = np.column_stack([model.item_factors, np.ones(9)])[row.columns]
        c = np.asarray(row.weights)
        t = row.values - 3.0 - model.item_bias[row.columns]
        x = np.linalg.solve(P + (f * c[:, None]).T @ f, P @ means[u] + f.T @ (c * t))
        assert np.allclose(folded.user_factors[u], x[:3], atol=1e-4)
        assert np.isclose(folded.user_bias[u], x[3], atol=1e-4)


def test_fold_in_of_events_includes_items_without_events() -> None:
    loss = EventsLoss(0.3, 0.1, 0.5, counts="raw")
    model, (means, P) = model_of(loss), some_prior(3, 3)
    folded = model.fold_in(HISTORY, prior=GaussianPrior(means, P))
    F = model.item_factors.astype(np.float64)
    assert np.allclose(folded.user_factors[2], means[2], atol=1e-6)  # no history: the prior mean
    for u in range(2):
        row = HISTORY.row(u)
        f, c = F[row.columns], row.values * np.asarray(row.weights)
        x = np.linalg.solve(P + 0.3 * F.T @ F + (f * c[:, None]).T @ f, P @ means[u] + f.T @ c)
        assert np.allclose(folded.user_factors[u], x, atol=1e-4)


@given(st.integers(0, 10_000))
@example(135)  # needs more than 20 steps
@settings(max_examples=25, deadline=None)
def test_through_a_sigmoid_nothing_near_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, (means, P) = model_of(RatingsLoss(0.1, 0.2), seed, (0.5, 5.5)), some_prior(4, 3, seed)
    folded = model.fold_in(HISTORY, prior=GaussianPrior(means, P))
    x = np.column_stack([folded.user_factors, folded.user_bias]).astype(np.float64)

    def loss(u: int, at: Any) -> float:
        row = HISTORY.row(u)
        f = np.column_stack([model.item_factors, np.ones(9)])[row.columns]
        z = f @ at + model.item_bias[row.columns]
        errors = row.values - (0.5 + 5.0 / (1 + np.exp(-z)))
        return float(np.asarray(row.weights) @ errors**2 + (at - means[u]) @ P @ (at - means[u]))

    for u in range(3):
        here = loss(u, x[u])
        assert here <= loss(u, means[u]) + 1e-6
        assert all(here <= 1.002 * loss(u, x[u] + 0.02 * step) + 1e-4 for step in rng.normal(size=(20, 4)))


def test_an_empty_history_is_the_mean_and_a_strong_prior_stays_there() -> None:
    model, (means, P) = model_of(RatingsLoss(0.1, 0.2)), some_prior(4, 3)
    assert np.allclose(model.fold_in(HISTORY, prior=GaussianPrior(means, P)).user_factors[2], means[2, :3], atol=1e-5)
    held = model.fold_in(HISTORY, prior=GaussianPrior(means, 1e6 * P))
    assert np.allclose(held.user_factors, means[:, :3], atol=1e-3)


def test_a_new_user_alone_equals_the_same_user_in_a_batch() -> None:
    model, (means, P) = model_of(RatingsLoss(0.1, 0.2), rating_range=(0.5, 5.5)), some_prior(4, 3)
    together = model.fold_in(HISTORY, prior=GaussianPrior(means, P))
    for u in range(3):
        alone = model.fold_in(HISTORY.row(u), prior=GaussianPrior(means[u : u + 1], P))
        assert np.allclose(alone.user_factors[0], together.user_factors[u], atol=1e-6)


def test_a_new_item_is_a_user_seen_from_the_other_side() -> None:
    model, (means, P) = model_of(RatingsLoss(0.1, 0.2)), some_prior(4, 3)
    mirror = FactorModel(
        model.item_factors, model.user_factors, model.item_bias, model.user_bias, 3.0, None, None, model.loss
    )
    raters = SparseRows.of([0, 0, 1], [1, 4, 2], [4.0, 2.0, 1.0], 3)
    factors, bias = model.fold_in_items(raters, GaussianPrior(means, P))
    folded = mirror.fold_in(raters, prior=GaussianPrior(means, P))
    assert (factors == folded.user_factors).all()
    assert (bias == folded.user_bias).all()


# features of tables that were not learned from


def test_an_encoder_recognizes_the_values_it_learned() -> None:
    table = pl.DataFrame({"item": [1, 2, 3], "genres": ["War|Comedy", "Comedy", None], "year": [1990, 1991, 1992]})
    encoder = Encoder.of(table, ["genres", "year"], "item")
    other = pl.DataFrame({"item": [9, 8], "genres": ["Western|Comedy", "War"], "year": [1991, 2050]})
    indicators = encoder.encode(other)
    assert indicators.names == ("genres=Comedy", "genres=War", "year=1990", "year=1991", "year=1992")
    assert [indicators.rows_by_indicator.row(r).columns.tolist() for r in range(5)] == [[0], [1], [], [0], []]
    assert Encoder.from_settings(encoder.settings()) == encoder


def test_numbers_beyond_the_bins_fall_into_the_last_ones() -> None:
    table = pl.DataFrame({"item": range(100), "year": range(1900, 2000)})
    encoder = Encoder.of(table, ["year"], "item")
    indicators = encoder.encode(pl.DataFrame({"item": [0, 1, 2], "year": [1000, 3000, None]}))
    assert [r for r in range(len(indicators)) if len(indicators.rows_by_indicator.row(r).columns)] == [0, 9]


def test_the_error_names_a_missing_column() -> None:
    encoder = Encoder.of(pl.DataFrame({"item": [1], "year": [1990]}), ["year"], "item")
    with pytest.raises(DataError, match="is missing column 'year'"):
        encoder.encode(pl.DataFrame({"item": [1]}))
    with pytest.raises(DataError, match="numbers or dates"):
        encoder.encode(pl.DataFrame({"item": [1], "year": ["old"]}))


# learning


@pytest.fixture(scope="module")
def table() -> Interactions:
    """Users' tastes depend on genres only, so that genres determine the vectors of items."""
    config = SyntheticConfig(
        n_users=300, n_items=120, n_ratings=9_000, genres=4, taste_std=1.0, factors=0, factor_std=0.0, noise_std=0.3,
        item_bias_std=0.1,
    )  # fmt: skip
    return generate(config, seed=3).interactions


@pytest.fixture(scope="module")
def rec(table: Interactions) -> Recommender:
    rated = table.select(table.i % 5 != 0)
    fitted = Recommender.fit(cofactor.BiasedMF(factors=4), rated, seed=0)
    return fitted.with_priors(item_features=["genres"])


def new_items(table: Interactions) -> pl.DataFrame:
    assert table.item_table is not None
    rows = table.item_table.filter(pl.col("item") % 5 == 0)
    return rows.with_columns(pl.format("new {}", "item").alias("item"))


def with_text_ids(table: Interactions) -> Interactions:
    named = Interactions.from_columns(
        [f"u{u}" for u in table.u], [f"i{i}" for i in table.i], table.values, kind=table.kind
    )
    return (
        named
        if table.item_table is None
        else named.with_item_table(table.item_table.with_columns(pl.format("i{}", "item").alias("item")))
    )


def test_effects_of_genres_distinguish_new_items(table: Interactions) -> None:
    named = with_text_ids(table.select(table.i % 5 != 0))
    fitted = Recommender.fit(cofactor.BiasedMF(factors=4), named, seed=0).with_priors(item_features=["genres"])
    wider = fitted.with_items(new_items(table))
    left = table.select(table.i % 5 == 0)
    users, items = [f"u{u}" for u in left.u], [f"new {i}" for i in left.i]
    predictions = wider.predict(users, items)["prediction"].to_numpy()
    plain = fitted.with_priors().with_items(new_items(table)).predict(users, items)["prediction"].to_numpy()
    assert np.std(predictions - left.values) < 0.85 * np.std(plain - left.values)
    # ratings of a new item, by users who are known, count too
    half = np.arange(len(left.u)) % 2 == 0
    first = Interactions.from_columns(np.array(users)[half], np.array(items)[half], left.values[half])
    learned = fitted.with_items(new_items(table), first)
    after = learned.predict(list(np.array(users)[~half]), list(np.array(items)[~half]))["prediction"].to_numpy()
    assert np.std(after - left.values[~half]) < np.std(predictions[~half] - left.values[~half])
    assert learned.histories.counts.sum() == fitted.histories.counts.sum() + half.sum()


def test_old_items_do_not_change(rec: Recommender, table: Interactions) -> None:
    assert rec.item_table is not None
    new = pl.DataFrame({"item": [-5, 10_000], "genres": ["genre 1", "genre 2"]})
    wider = rec.with_items(new)
    assert len(wider.items) == len(rec.items) + 2
    old = rec.items.all
    for user in (0, 17):
        assert wider.predict(user, old)["prediction"].equals(rec.predict(user, old)["prediction"])
        mine = rec.recommend(user, n=200)["item"].to_list()
        theirs = [item for item in wider.recommend(user, n=200)["item"] if item in set(mine)]
        assert theirs == mine
    assert wider.item_table is not None
    assert wider.item_table.filter(pl.col("item") == -5)["genres"].to_list() == ["genre 1"]


def test_items_that_are_not_new_are_rejected(rec: Recommender) -> None:
    with pytest.raises(DataError, match="must be unique"):
        rec.with_items(pl.DataFrame({"item": [0], "genres": ["genre 1"]}))
    with pytest.raises(DataError, match="must be unique"):
        rec.with_items(pl.DataFrame({"item": [999, 999], "genres": ["genre 1", "genre 1"]}))
    with pytest.raises(DataError, match="is missing column 'genres'"):
        rec.with_items(pl.DataFrame({"item": [999]}))
    with pytest.raises(DataError, match="the item table has no columns; one must contain the item IDs"):
        rec.with_items(pl.DataFrame())
    with pytest.raises(DataError, match="the item table must be a frame"):
        rec.with_items(3)


def test_without_priors_there_are_no_new_items(table: Interactions) -> None:
    with pytest.raises(KindError, match="with_priors"):
        Recommender.fit(ALS, table).with_items(pl.DataFrame({"item": [999]}))
    with pytest.raises(KindError, match="learned priors require a model"):
        Recommender.fit(cofactor.UserKNN(), table).with_priors()


def test_a_file_holds_the_priors(rec: Recommender, tmp_path: Path) -> None:
    rec.save(tmp_path / "m.cofactor")
    again = Recommender.load(tmp_path / "m.cofactor")
    history, new = [(3, 5.0), (8, 1.0)], pl.DataFrame({"item": [999], "genres": ["genre 2"]})
    assert again.for_history(history).recommend().equals(rec.for_history(history).recommend())
    prediction = again.with_items(new).predict(0, 999)
    assert prediction == rec.with_items(new).predict(0, 999)


def test_priors_change_only_new_users(rec: Recommender) -> None:
    plain, rec = without_prior(rec), with_prior_at_all_lengths(rec)
    assert plain.recommend_all(5).equals(rec.recommend_all(5))
    history = [(3, 1.0)]
    assert not plain.for_history(history).recommend()["score"].equals(rec.for_history(history).recommend()["score"])


@pytest.mark.parametrize("estimator", [ALS, cofactor.BiasedMF(factors=4, epochs=5), cofactor.ImplicitALS(factors=4)])
def test_an_unknown_user_is_predicted_by_the_prior(estimator: Any, table: Interactions) -> None:
    """As a new user without a history is ranked; known users are predicted as before."""
    interactions = table if estimator.kind == "ratings" else table.to_events(min_rating=4)
    plain = Recommender.fit(estimator, interactions)
    plain, rec = without_prior(plain), with_prior_at_all_lengths(plain.with_priors())
    items = plain.items.all.to_list()
    new_user = rec.folded_in(SparseRows.empty(1))
    rows = np.arange(len(items), dtype=np.int32)
    expected = new_user.predict(UserBatch.trained(np.zeros(len(items), np.int32), SparseRows.empty(1)), rows)
    predictions = rec.predict(["nobody"] * len(items), items)["prediction"].to_numpy()
    np.testing.assert_allclose(predictions, expected, atol=1e-6)
    assert not np.allclose(predictions, plain.predict("nobody", items)["prediction"].to_numpy(), atol=1e-3)
    assert rec.predict("nobody", items[3]) == pytest.approx(float(expected[3]), abs=1e-6)
    user = rec.users.all[0]
    mixed = rec.predict([user, "nobody" if isinstance(user, str) else 10**9], [items[3]] * 2, times=5)["prediction"]
    assert mixed.to_list() == pytest.approx([plain.predict(user, items[3]), float(expected[3])], abs=1e-6)
    assert np.isfinite(rec.predict("nobody", "no such item"))


def test_user_features_change_the_recommendations_of_a_new_user() -> None:
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((200, 60)) < 0.4)
    likes_low = u % 2 == 0
    values = np.where(likes_low == (i < 30), 5.0, 1.0)
    ages = pl.DataFrame({"user": np.arange(200), "group": np.where(np.arange(200) % 2 == 0, "low", "high")})
    table = Interactions.from_columns(u, i, values).with_user_table(ages)
    rec = Recommender.fit(ALS, table, seed=0).with_priors(user_features=["group"])
    low, high = (
        rec.for_history([], user_features={"group": g}).recommend(n=10)["item"].to_numpy() for g in ("low", "high")
    )
    assert (low < 30).mean() == 1
    assert (high >= 30).mean() == 1
    arrived = Interactions.from_columns([900], [59], [5.0])
    after = rec.updated(arrived.with_user_table(pl.DataFrame({"user": [900], "group": ["low"]})))
    assert after.user_table is not None
    assert after.user_table.filter(pl.col("user") == 900)["group"].to_list() == ["low"]
    with pytest.raises(DataError, match="'city', which is not a feature of the prior"):
        rec.for_history([], user_features={"city": "Rome"}).recommend()


def test_a_new_user_of_events_without_history_gets_popular_items(small_events: Interactions) -> None:
    rec = Recommender.fit(cofactor.ImplicitALS(factors=4, epochs=5), small_events, seed=0).with_priors()
    best = rec.items.rows(rec.for_history([]).recommend(n=5)["item"])
    assert rec.support[best].mean() > 1.5 * rec.support.mean()


def test_priors_as_parts_come_back() -> None:
    prior = Prior(np.zeros(2), np.eye(2), np.zeros((0, 2)))
    for priors in (Priors(), Priors(prior), Priors(prior, prior)):
        again = Priors.from_parts(priors.arrays(), priors.settings())
        assert (again.users is None) == (priors.users is None)
        assert (again.items is None) == (priors.items is None)


def test_consecutive_updates_equal_one_update(rec: Recommender) -> None:
    first = Interactions.from_columns([900, 900, 901], [1, 2, 3], [5.0, 1.0, 4.0])
    second = Interactions.from_columns([900, 901], [6, 7], [2.0, 3.0])
    both = Interactions.from_columns([900, 900, 901, 900, 901], [1, 2, 3, 6, 7], [5.0, 1.0, 4.0, 2.0, 3.0])
    after, once = rec.updated(first).updated(second), rec.updated(both)
    for user in (900, 901):
        assert after.recommend(user)["item"].to_list() == once.recommend(user)["item"].to_list()
        assert after.predict(user, 11) == pytest.approx(once.predict(user, 11), abs=1e-5)


def test_one_rating_has_a_limited_effect(table: Interactions) -> None:
    """Training's penalty fits one rating nearly exactly, in the direction of its item; a prior does not."""
    train, held = table.select(table.u >= 60), table.select(table.u < 60)
    plain = Recommender.fit(cofactor.ExplicitALS(factors=4, pseudo_ratings=0), train, seed=0)
    first = np.r_[True, held.u[1:] != held.u[:-1]]
    misses = []
    for rec in (without_prior(plain), plain.with_priors()):
        predictions = rec.updated(held.select(first)).model.predict(
            UserBatch.trained(held.u[~first], held.by_user), held.i[~first]
        )
        misses.append(float(np.sqrt(np.mean(np.square(predictions - held.values[~first])))))
    assert misses[1] < 0.95 * misses[0]
