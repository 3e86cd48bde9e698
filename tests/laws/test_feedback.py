"""The feedback loop: laws, and small simulations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from cofactor import BayesianMF, Bias, BiasedMF, ImplicitALS, Interactions, Recommender
from cofactor.audit import CAUTIOUS, PLAIN, Mitigation, Simulation, Tastes, all_mitigations, item_categories, simulate
from cofactor.datasets.synthetic import Synthetic, generate
from cofactor.datasets.synthetic_config import SyntheticConfig
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.models.user_batch import UserBatch

SMALL = SyntheticConfig(n_users=60, n_items=80, n_ratings=900, genres=4, taste_std=0.6)
QUICK = BiasedMF(factors=4, epochs=4)
BAYES = BayesianMF(factors=3, iterations=8, burn_in=3, kept_samples=4)
COLUMNS = ["mitigation", "round", "accuracy", "coverage", "gini", "diversity", "most_shown", "favorite", "drift"]


@pytest.fixture(scope="module")
def synthetic() -> Synthetic:
    return generate(SMALL)


@pytest.fixture(scope="module")
def categories(synthetic: Synthetic) -> Any:
    return item_categories(synthetic.interactions.item_table, "genres")


@pytest.fixture(scope="module")
def plain(synthetic: Synthetic) -> Simulation:
    return simulate(QUICK, synthetic.interactions, tastes_of(synthetic), rounds=3, n=6, seed=1)


def tastes_of(synthetic: Synthetic) -> Tastes:
    expected = synthetic.expected(*np.indices((SMALL.n_users, SMALL.n_items)))
    return Tastes(expected, SMALL.noise_std, SMALL.rating_levels)


def named(mitigation: Mitigation) -> str:
    return mitigation.name


@pytest.mark.parametrize(
    "mitigation", [PLAIN, *all_mitigations("genres"), *all_mitigations()[-3:-1], CAUTIOUS], ids=named
)
def test_a_simulation_keeps_its_laws(mitigation: Mitigation, synthetic: Synthetic) -> None:
    views = np.where(np.arange(SMALL.n_users) < 5, 4, 1)
    estimator = BAYES if mitigation is CAUTIOUS else QUICK
    arguments: Any = {"mitigation": mitigation, "rounds": 3, "n": 6, "views": views, "seed": 1}
    runs = [simulate(estimator, synthetic.interactions, tastes_of(synthetic), **arguments) for _ in range(2)]
    run = runs[0]
    assert run.lists.tobytes() == runs[1].lists.tobytes()
    assert run.table.values.tobytes() == runs[1].table.values.tobytes()
    assert run.lists.shape == (3, SMALL.n_users, 6)
    assert run.mitigation == mitigation.name
    assert ((run.accuracy >= 0) & (run.accuracy <= 1 + 1e-9)).all()
    rated = set(zip(synthetic.interactions.u.tolist(), synthetic.interactions.i.tolist(), strict=True))
    for u, row in enumerate(run.lists[0].tolist()):
        assert len(set(row)) == 6
        assert not any((u, i) in rated for i in row)
    gained = np.bincount(run.table.u, minlength=SMALL.n_users) - synthetic.interactions.by_user.counts
    assert (gained >= 0).all()
    assert (gained <= 3 * views).all()
    assert gained.sum() > 0
    all_users, all_items = np.ones(SMALL.n_users, bool), np.ones(SMALL.n_items, bool)
    np.testing.assert_allclose(run.share(all_items, all_users), 1)


def test_mitigations_have_distinct_names() -> None:
    names = [mitigation.name for mitigation in (PLAIN, CAUTIOUS, *all_mitigations())]
    assert len(set(names)) == len(names)
    assert [mitigation.name for mitigation in all_mitigations("genres")] == [
        mitigation.name for mitigation in all_mitigations()
    ]


def test_only_a_distribution_can_be_cautious(synthetic: Synthetic) -> None:
    with pytest.raises(KindError, match="distribution"):
        simulate(QUICK, synthetic.interactions, tastes_of(synthetic), mitigation=CAUTIOUS, rounds=1)


def test_a_summary_has_a_row_for_each_round(plain: Simulation, categories: Any) -> None:
    frame = plain.summary(categories)
    assert frame.columns == COLUMNS
    assert frame["round"].to_list() == [1, 2, 3]
    assert set(frame["mitigation"]) == {"plain"}
    numbers = frame.select(COLUMNS[2:-1]).to_numpy()
    assert ((numbers >= 0) & (numbers <= 1)).all()
    np.testing.assert_allclose(frame["accuracy"], plain.accuracy.mean(axis=1))
    vstack = pl.concat([frame, replace(plain, mitigation="other").summary(categories)])
    assert vstack.group_by("mitigation").len()["len"].to_list() == [3, 3]


def test_a_summary_describes_the_lists(plain: Simulation, categories: Any) -> None:
    """Lists set by hand: round 1 has the favorite category of each user only, round 2 two categories in equal parts."""
    favorite = plain.tastes.favorites(categories)
    of_kind = [np.flatnonzero(categories[:, kind]) for kind in range(SMALL.genres)]
    first = np.stack([of_kind[kind][:6] for kind in favorite])
    second = np.stack([np.append(of_kind[kind][:3], of_kind[(kind + 1) % 4][:3]) for kind in favorite])
    fixed = replace(plain, lists=np.stack([first, second]).astype(np.int32), accuracy=plain.accuracy[:2])
    frame = fixed.summary(categories)
    assert frame["favorite"].to_list() == [1.0, 0.5]
    assert frame["drift"].to_list() == [0.0, 0.5]
    np.testing.assert_allclose(frame["diversity"], [0, 9 / 15], atol=1e-12)  # of 15 pairs 9 are of two categories
    assert frame["most_shown"][0] == pytest.approx(np.bincount(favorite).max() / SMALL.n_users)
    few = fixed.summary(categories, users=np.arange(SMALL.n_users) == 0)
    assert few["coverage"].to_list() == [6 / SMALL.n_items] * 2
    assert few["most_shown"].to_list() == [1.0, 0.5]
    assert few["accuracy"].to_list() == plain.accuracy[:2, 0].tolist()


def test_a_summary_of_no_users_and_of_empty_lists(plain: Simulation, categories: Any) -> None:
    no_users = plain.summary(categories, users=np.zeros(SMALL.n_users, bool))
    assert np.isnan(no_users["accuracy"].to_numpy()).all()
    blank = replace(plain, lists=np.full_like(plain.lists, -1)).summary(categories)
    assert np.isnan(blank["diversity"].to_numpy()).all()
    assert blank["coverage"].to_list() == blank["most_shown"].to_list() == [0.0] * 3


def test_a_favorite_is_liked_most_on_average() -> None:
    tastes = Tastes(np.array([[5.0, 1.0, 4.0], [1.0, 5.0, 1.0]]), 1.0, (1.0, 5.0))
    categories = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])  # nothing is of the third kind
    assert tastes.favorites(categories).tolist() == [1, 0]


def test_tastes_of_a_model_are_its_predictions(synthetic: Synthetic) -> None:
    rec = Recommender.fit(Bias(), synthetic.interactions)
    tastes = Tastes.of(rec)
    u, i = (part.ravel().astype(np.int32) for part in np.indices((SMALL.n_users, SMALL.n_items)))
    np.testing.assert_array_equal(tastes.expected.ravel(), rec.model.predict(UserBatch.trained(u, rec.histories), i))
    table = synthetic.interactions
    errors = table.values - tastes.expected[table.u, table.i]
    assert tastes.noise_std == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert tastes.levels == SMALL.rating_levels
    assert Tastes.of(rec, noise_std=0.0).noise_std == 0
    with pytest.raises(ParameterError, match="noise_std"):
        Tastes.of(rec, noise_std=-1)


def test_the_loop_runs_on_tastes_from_the_other_half(synthetic: Synthetic, categories: Any) -> None:
    half = np.random.default_rng(0).random(len(synthetic.interactions)) < 0.5
    tastes = Tastes.of(Recommender.fit(BiasedMF(factors=4), synthetic.interactions.select(half)))
    run = simulate(QUICK, synthetic.interactions.select(~half), tastes, rounds=2, n=5)
    assert len(run.table) > (~half).sum()
    assert set(run.table.values.tolist()) <= set(SMALL.rating_levels)
    assert run.summary(categories)["accuracy"].min() > 0.3


def test_tastes_of_ratings_without_levels_are_on_a_grid() -> None:
    values = np.random.default_rng(0).uniform(1, 5, 60)
    ratings = Interactions.from_columns(np.repeat(np.arange(6), 10), np.tile(np.arange(10), 6), values)
    levels = Tastes.of(Recommender.fit(Bias(), ratings)).levels
    assert len(levels) == 21
    assert (levels[0], levels[-1]) == pytest.approx((values.min(), values.max()))


def test_wrong_input_is_named(synthetic: Synthetic, small_events: Interactions) -> None:
    tastes = tastes_of(synthetic)
    with pytest.raises(KindError, match="ratings"):
        simulate(BiasedMF(), small_events, tastes)
    with pytest.raises(KindError, match="predicts ratings"):
        Tastes.of(Recommender.fit(ImplicitALS(factors=2), small_events))
    with pytest.raises(ParameterError, match="60 users and 80 items"):
        simulate(BiasedMF(), synthetic.interactions, Tastes(np.zeros((2, 2)), 1.0, (1.0, 2.0)))
    with pytest.raises(ParameterError, match="rounds"):
        simulate(BiasedMF(), synthetic.interactions, tastes, rounds=0)
    for views in ([1, 2], -1, 0.5, np.full(60, -1), "a"):
        with pytest.raises(ParameterError, match=r"views must be (an integer|60 integers) >= 0"):
            simulate(BiasedMF(), synthetic.interactions, tastes, views=views)  # type: ignore[arg-type]
    rec = Recommender.fit(Bias(), synthetic.interactions)
    no_rows = replace(rec, histories=SparseRows.empty(60))
    for noise_std in (None, 0.5):
        with pytest.raises(DataError, match="true preferences require a recommender with training rows"):
            Tastes.of(no_rows, noise_std=noise_std)


def test_acceptance_does_not_depend_on_the_scale(small_ratings: Interactions) -> None:
    """Stars from 0 to 100 are the stars from 1 to 5, stretched."""
    values = 25 * (small_ratings.values - 1)
    stretched = Interactions.from_columns(small_ratings.u, small_ratings.i, values)
    small_ratings = Interactions.from_columns(small_ratings.u, small_ratings.i, small_ratings.values)
    plain, other = (Tastes.of(Recommender.fit(Bias(), table)) for table in (small_ratings, stretched))
    pairs = np.arange(20), np.arange(20)
    assert plain.acceptance_probability(*pairs) == pytest.approx(other.acceptance_probability(*pairs), abs=0.02)
