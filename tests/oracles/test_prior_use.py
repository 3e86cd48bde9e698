"""Where a prior of new users is used: the choice on held-out users, the shift to a baseline, and the default."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cofactor
from cofactor.cold_start import held_out
from cofactor.cold_start.held_out import LENGTHS, HeldOutUsers, baseline_shift
from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, KindError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.losses import EventsLoss
from cofactor.models.prior import Prior, Priors
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender
from tests.support.priors import without_prior

NO_ITEMS = np.zeros(0, bool)
ESTIMATORS = (cofactor.BiasedMF(factors=4, epochs=8), cofactor.ExplicitALS(factors=4))


@pytest.fixture(scope="module")
def table() -> Interactions:
    """Ratings with user biases and two factors, by 400 users with 2 to some dozens of ratings."""
    config = SyntheticConfig(n_users=400, n_items=80, n_ratings=6_000, factors=2, factor_std=0.7, user_bias_std=0.7)
    return generate(config, seed=5).interactions


def sparse_ratings(seed: int) -> Interactions:
    """Draw ratings with few rows for each item, whose settings vary widely."""
    stream = np.random.default_rng(seed)
    config = SyntheticConfig(
        n_users=int(stream.integers(200, 500)),
        n_items=int(stream.integers(60, 400)),
        n_ratings=int(stream.integers(2_000, 6_000)),
        factors=int(stream.integers(0, 5)),
        factor_std=float(stream.uniform(0, 0.8)),
        user_bias_std=float(stream.uniform(0, 0.8)),
        item_bias_std=float(stream.uniform(0, 0.8)),
        noise_std=float(stream.uniform(0.3, 1.2)),
    )
    return generate(config, seed=seed).interactions


def first_and_other(table: Interactions, length: int) -> tuple[Any, Any]:
    """Return masks of the first rows of each user in random order, and of the rows after the first half."""
    order = np.lexsort((np.random.default_rng(0).random(len(table)), table.u))
    position = np.empty(len(table), np.int64)
    position[order] = np.arange(len(table)) - table.by_user.start[table.u[order]]
    half = np.maximum(table.by_user.counts // 2, 1)[table.u]
    return position < np.minimum(length, half), position >= half


def squared_errors(rec: Recommender, history: SparseRows, test: Interactions) -> Any:
    predictions = rec.folded_in(history).predict(UserBatch.trained(test.u, history), test.i)  # type: ignore[attr-defined]
    return np.square(predictions.astype(np.float64) - test.values)


def is_not_reliably_worse(gain: Any, users: Any) -> bool:
    """Return whether the gain, summed over users, is above -3.5 standard errors; true for a gain of 0."""
    by_user = np.bincount(users, gain)
    return bool(by_user.sum() >= -3.5 * np.sqrt(np.square(by_user).sum()))


# lengths


def test_each_user_is_folded_in_with_the_prior_of_their_length() -> None:
    ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900), seed=1).interactions
    rec = Recommender.fit(cofactor.ExplicitALS(factors=3), ratings, seed=0)
    rng = np.random.default_rng(0)
    shift = rng.normal(size=ratings.n_items).astype(np.float32)
    prior = Prior(
        rng.normal(size=4), np.eye(4), np.zeros((0, 4)), None, np.array([0, 2, 4]), np.array([True, False, True]),
        np.array([0.0, 0.0, 1.0]), shift,
    )  # fmt: skip
    histories = SparseRows.from_counts(
        np.array([5, 0, 2, 1, 3, 4]), np.int32([*range(5), *range(2), 7, *range(3), *range(4)]), np.float32([4.0] * 15)
    )
    together: Any = replace(rec, priors=Priors(prior)).folded_in(histories)
    around_mean = GaussianPrior(np.tile(prior.mean, (1, 1)), prior.precision)
    around_shift = GaussianPrior(np.zeros((1, 4)), prior.precision, shift)
    model: Any = rec.model
    for row, expected in enumerate([around_shift, around_mean, None, around_mean, None, around_shift]):
        alone = model.fold_in(histories.take([row]), prior=expected)
        items = np.arange(ratings.n_items, dtype=np.int32)
        scores = alone.raw_scores(np.zeros(len(items), np.int32), items)
        np.testing.assert_allclose(together.raw_scores(np.full(len(items), row, np.int32), items), scores, atol=1e-5)


def test_lengths_start_at_zero_and_ascend() -> None:
    parts = np.zeros(1), np.eye(1), np.zeros((0, 1)), None
    for lengths in ([], [1], [0, 0], [0, 2, 1]):
        with pytest.raises(DataError, match="lengths must be ascending"):
            Prior(*parts, np.array(lengths, np.int64), np.ones(len(lengths), bool), np.ones(len(lengths)))


# the shift


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
def test_with_the_shift_a_user_without_ratings_gets_the_predictions_of_bias(
    estimator: Any, table: Interactions
) -> None:
    model = estimator.fit(table, seed=0)
    prior = GaussianPrior(np.zeros((1, 5)), np.eye(5), baseline_shift(model, table.by_user))
    folded_in = model.fold_in(SparseRows.empty(1), prior=prior)
    items, unknown = np.arange(table.n_items, dtype=np.int32), np.full(table.n_items, -1, np.int32)
    predictions = folded_in.predict(UserBatch.trained(np.zeros(len(items), np.int32), SparseRows.empty(1)), items)
    expected = cofactor.Bias().fit(table).predict(UserBatch.trained(unknown, table.by_user), items)
    np.testing.assert_allclose(predictions, expected, atol=1e-4)


def test_a_fold_in_with_a_shift_solves_the_equations_of_the_shifted_model(table: Interactions) -> None:
    model = cofactor.ExplicitALS(factors=4).fit(table, seed=0)
    shift = np.random.default_rng(1).normal(size=table.n_items).astype(np.float32)
    histories, (means, precision) = table.by_user.take([0, 1, 2]), (np.ones((3, 5)), 2 * np.eye(5))
    folded_in = model.fold_in(histories, prior=GaussianPrior(means, precision, shift))
    other = replace(model, item_bias=model.item_bias + shift).fold_in(histories, prior=GaussianPrior(means, precision))
    users, items = np.repeat(np.int32([0, 1, 2]), 80), np.tile(np.arange(80, dtype=np.int32), 3)
    np.testing.assert_allclose(folded_in.raw_scores(users, items), other.raw_scores(users, items), atol=1e-4)


def test_trained_users_keep_their_scores_next_to_users_with_a_shift(table: Interactions, tmp_path: Path) -> None:
    plain = Recommender.fit(cofactor.ExplicitALS(factors=4), table, seed=0)
    model: Any = plain.model
    shift = np.random.default_rng(1).normal(size=table.n_items).astype(np.float32)
    used = np.ones(1, bool)
    prior = Prior(
        np.zeros(5), np.eye(5), np.zeros((0, 5)), applies=used, shift_weights=used.astype(float), item_shift=shift
    )
    new = Interactions.from_columns([9001, 9001], [table.items.id_at(0), table.items.id_at(1)], [5.0, 1.0])
    rec = replace(plain, priors=Priors(prior)).updated(new)
    rec.save(tmp_path / "m.cofactor")
    for updated in (rec, Recommender.load(tmp_path / "m.cofactor")):
        everyone = UserBatch.trained(np.arange(len(updated.users), dtype=np.int32), updated.histories)
        scores = updated.model.scores(everyone)  # type: ignore[attr-defined]
        trained = UserBatch.trained(np.arange(table.n_users, dtype=np.int32), plain.histories)
        assert np.array_equal(scores[:-1], model.scores(trained))
        excluded = SparseRows.empty(len(everyone))
        lists = updated.model.top(everyone, 7, exclude=excluded, allowed=NO_ITEMS)  # type: ignore[attr-defined]
        np.testing.assert_allclose(lists[1], -np.sort(-scores, axis=1)[:, :7], atol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(scores, lists[0], axis=1), lists[1], atol=1e-5)
    unshifted: Any = replace(rec.model, item_shift=None, user_shift=None)  # type: ignore[type-var]
    difference = scores[-1] - unshifted.scores(everyone)[-1]
    np.testing.assert_allclose(difference, shift, atol=1e-5)
    terms = rec.explain(9001, table.items.id_at(5), method="contribution")
    assert terms["term"].sum() == pytest.approx(float(scores[-1, 5]), abs=1e-4)


def test_new_items_are_not_shifted(table: Interactions) -> None:
    rec = Recommender.fit(cofactor.ExplicitALS(factors=4), table, seed=0).with_priors()
    assert rec.priors is not None
    assert rec.priors.users is not None
    shift = np.arange(1, table.n_items + 1, dtype=np.float32)
    used = np.ones(len(LENGTHS), bool)
    users = replace(rec.priors.users, applies=used, shift_weights=used.astype(float), item_shift=shift)
    first = table.items.id_at(0)
    wider = replace(rec, priors=replace(rec.priors, users=users)).with_items({"item": [first - 1]})
    assert wider.priors is not None
    assert wider.priors.users is not None
    assert wider.priors.users.item_shift.tolist() == [0.0, *shift.tolist()]
    assert np.isfinite(wider.for_history([(first, 4.0)]).recommend(n=5)["score"].to_numpy()).all()


def test_a_shift_requires_a_model_of_ratings(small_events: Interactions) -> None:
    model = cofactor.ImplicitALS(factors=2).fit(small_events)
    shift = np.zeros(small_events.n_items, np.float32)
    with pytest.raises(KindError, match="requires a rating model"):
        model.fold_in(SparseRows.empty(1), prior=GaussianPrior(np.zeros((1, 2)), np.eye(2), shift))


# the choice


def test_the_model_of_the_choice_has_not_seen_the_held_out_users(table: Interactions) -> None:
    estimator = cofactor.ExplicitALS(factors=2)
    users = HeldOutUsers.of(estimator, estimator.fit(table, seed=0), table.by_user, 0)
    assert users is not None
    assert len(users.users) == int(0.25 * (table.by_user.counts >= 2).sum())
    assert users.train.counts[users.users].max() == 0
    assert users.train.counts.sum() + users.rows.counts.sum() == len(table)
    others = np.setdiff1d(np.arange(table.n_users), users.users)
    assert np.array_equal(users.train.counts[others], table.by_user.counts[others])
    assert (users.n_first <= users.rows.counts / 2).all()


def test_with_too_few_users_no_prior_is_used(table: Interactions) -> None:
    few = table.select(table.u < 30)
    prior = Recommender.fit(cofactor.ExplicitALS(factors=2), few, seed=0).with_priors().priors
    assert prior is not None
    assert prior.users is not None
    assert not prior.users.applies.any()


def test_a_strength_at_the_edge_is_reported(
    table: Interactions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rec = Recommender.fit(cofactor.ExplicitALS(factors=2), table, seed=0)
    with caplog.at_level(logging.WARNING, logger="cofactor"):
        rec.with_priors()
        assert "edge" not in caplog.text
        monkeypatch.setattr(held_out, "STRENGTHS", (2.0, 50.0, 100.0))
        rec.with_priors()
    assert "the best strength of the prior for new users is 2, at the edge of the candidates (2 to 100)" in caplog.text


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.name)
def test_by_default_a_rating_is_better_than_none_and_no_prior(estimator: Any, table: Interactions) -> None:
    """Without a prior, one rating moves all predictions by much of its error, most of which is the item's."""
    train, held = table.select(table.u >= 120), table.select(table.u < 120)
    rec = Recommender.fit(estimator, train, seed=0)
    others = without_prior(rec), Recommender.fit(cofactor.Bias(), train)
    errors = {}
    for length in (0, 1, 3):
        is_first, is_other = first_and_other(held, length)
        history, test = held.select(is_first).by_user.take(np.arange(120)), held.select(is_other)
        own = squared_errors(rec, history, test)
        errors[length] = own.mean()
        for other in others:
            assert is_not_reliably_worse(squared_errors(other, history, test) - own, test.u)
    assert errors[3] < errors[1] < errors[0]


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 20))])
def test_new_users_are_not_worse_than_without_a_prior(seed: int) -> None:
    table = sparse_ratings(seed)
    is_held = table.u % 2 == 0
    rec = Recommender.fit(cofactor.ExplicitALS(factors=8), table.select(~is_held), seed=0)
    for length in (0, 1, 3, 10):
        is_first, is_other = first_and_other(table, length)
        history, test = table.select(is_held & is_first).by_user, table.select(is_held & is_other)
        gain = squared_errors(without_prior(rec), history, test) - squared_errors(rec, history, test)
        assert is_not_reliably_worse(gain, test.u)


def test_the_default_is_learned_once_and_kept_by_updates(table: Interactions) -> None:
    rec = Recommender.fit(cofactor.ExplicitALS(factors=2), table, seed=0)
    assert rec.priors is None
    learned = rec.with_priors().priors
    history = [(table.items.id_at(0), 5.0)]
    expected = replace(rec, priors=learned).for_history(history).recommend(n=5)
    assert rec.for_history(history).recommend(n=5).equals(expected)
    assert rec.new_user_priors is rec.new_user_priors
    updated = rec.updated(Interactions.from_columns([9001], [table.items.id_at(0)], [5.0]))
    assert updated.priors is rec.new_user_priors


def test_models_of_events_and_other_models_have_no_default(small_events: Interactions, table: Interactions) -> None:
    assert Recommender.fit(cofactor.ImplicitALS(factors=2), small_events).new_user_priors is None
    assert Recommender.fit(cofactor.ItemKNN(), table).new_user_priors is None


# lists of new users with few events


@pytest.fixture(scope="module")
def popular_events() -> Interactions:
    """Events of 400 users of two tastes, most of them of a few popular items."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, 101)
    u = np.repeat(np.arange(400), 20)
    taste = np.where((np.arange(100) + np.arange(400)[:, None]) % 2 == 0, 1.0, 0.3) * popularity
    i = np.concatenate([rng.choice(100, 20, replace=False, p=row / row.sum()) for row in taste])
    return Interactions.from_columns(u, i, kind="events")


def test_popularity_has_a_share_in_the_lists_of_users_with_few_events(popular_events: Interactions) -> None:
    held = popular_events.select(popular_events.u < 100)
    train = popular_events.select(popular_events.u >= 100)
    plain = Recommender.fit(cofactor.ImplicitALS(factors=8), train, seed=0)
    rec = plain.with_priors()
    assert rec.priors is not None
    prior = rec.priors.users
    assert prior is not None
    assert prior.shift_weights[1] > 0
    is_first, _ = first_and_other(held, 1)
    _, is_other = first_and_other(held, 10)
    history, test = (held.select(rows).by_user.take(np.arange(100)) for rows in (is_first, is_other))
    scores = {}
    popular = Recommender.fit(cofactor.Popularity(), train)
    for name, recommender in {"plain": plain, "blend": rec, "popularity": popular}.items():
        lists, _ = recommender.for_histories(history).rank(10)
        hits = np.array([np.isin(row, test.row(user).columns) for user, row in enumerate(lists)])
        scores[name] = hits.mean(axis=1)
    users = np.arange(100)
    assert is_not_reliably_worse(scores["blend"] - scores["popularity"], users)
    gain = scores["blend"] - scores["plain"]
    assert gain.sum() > np.sqrt(np.square(gain).sum())


def test_the_share_of_popularity_is_added_to_the_scores_of_the_fold_in(popular_events: Interactions) -> None:
    model = cofactor.ImplicitALS(factors=4).fit(popular_events, seed=0)
    shift = baseline_shift(model, popular_events.by_user)
    counts = np.bincount(popular_events.i, minlength=100)
    assert isinstance(model.loss, EventsLoss)
    np.testing.assert_allclose(shift, counts / (counts + model.loss.alpha0 * 400), rtol=1e-6)
    lengths, weights = np.array([0, 1, 3]), np.array([0.0, 0.5, 0.0])
    prior = Prior(np.zeros(4), np.eye(4), np.zeros((0, 4)), None, lengths, np.zeros(3, bool), weights, shift)
    histories = SparseRows.of([0, 1, 1, 1], [5, 5, 6, 7], [1.0] * 4, 3)
    items = np.arange(100, dtype=np.int32)
    folded_in, plain = prior.fold_in(model, histories), model.fold_in(histories)
    for user, weight in enumerate((0.5, 0.0, 0.0)):
        users = np.full(100, user, np.int32)
        expected = plain.raw_scores(users, items) + np.float32(weight) * shift
        np.testing.assert_allclose(folded_in.raw_scores(users, items), expected, atol=1e-6)


def test_new_users_without_events_get_the_popular_list(popular_events: Interactions) -> None:
    rec = Recommender.fit(cofactor.ImplicitALS(factors=4), popular_events, seed=0).with_priors()
    assert rec.for_history([]).source == "prior"
    top = rec.items.rows(rec.for_history([]).recommend(n=10)["item"])
    assert rec.support[top].tolist() == np.sort(rec.support)[::-1][:10].tolist()
