"""Influence and taste groups: laws, and the heavy raters of one genre, who must be flagged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cofactor import (
    Bias,
    BiasedMF,
    ExplicitALS,
    ImplicitALS,
    Interactions,
    ItemKNN,
    PairedModels,
    Recommender,
)
from cofactor.audit import cluster_users, influence
from cofactor.audit.group_influence import _permutation_p_values
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.datasets.synthetic_config import HEAVY_SHAPE
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator
from cofactor.kernels.parallel import threads


def test_taste_groups_separate_two_groups(small_events: Interactions) -> None:
    groups = cluster_users(small_events.by_user, small_events.n_items, n_groups=2)
    true_groups = np.array([int(name.removeprefix("user ")) % 2 for name in small_events.users.all])
    assert max((groups == true_groups).mean(), (groups != true_groups).mean()) > 0.9
    again = cluster_users(small_events.by_user, small_events.n_items, n_groups=2)
    assert (groups == again).all()
    counts = np.bincount(cluster_users(small_events.by_user, small_events.n_items, n_groups=5), minlength=5)
    assert (np.diff(counts) <= 0).all()
    with pytest.raises(ParameterError, match="n_groups"):
        cluster_users(small_events.by_user, small_events.n_items, n_groups=10**6)


def lists_of(estimator: Estimator, table: Interactions, seed: int) -> np.ndarray:
    return Recommender.fit(estimator, table, seed=seed).for_rows(np.arange(table.n_users, dtype=np.int32)).rank(10)[0]


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
@pytest.mark.parametrize("estimator", [ExplicitALS(factors=4), BiasedMF(factors=4), ItemKNN(), PairedModels()])
def test_influence_is_the_share_of_positions_that_change_in_a_refit(
    estimator: Estimator, seeds: tuple[int, ...], small_ratings: Interactions, small_events: Interactions
) -> None:
    table = small_events if estimator.kind == "events" else small_ratings
    groups = np.arange(table.n_users) % 3
    expected = np.zeros(3)
    for seed in seeds:
        reference = lists_of(estimator, table, seed)
        for g in range(3):
            others = groups != g
            lists = lists_of(estimator, table.select(others[table.u]), seed)
            same = [len(set(a) & set(b)) for a, b in zip(reference[others], lists[others], strict=True)]
            expected[g] += (1 - np.mean(same) / 10) / len(seeds)
    result = influence(Recommender.fit(estimator, table, seed=3), groups, permutations=2, repeats=len(seeds))
    assert result.groups["influence"].to_numpy() == pytest.approx(expected)
    assert result.agreement == 1


@pytest.mark.parametrize("estimator", [BiasedMF(factors=4), ExplicitALS(factors=4), ImplicitALS(factors=4)])
def test_influence_keeps_its_laws(
    estimator: Estimator, small_ratings: Interactions, small_events: Interactions
) -> None:
    table = small_ratings if estimator.kind == "ratings" else small_events
    rec = Recommender.fit(estimator, table)
    groups = np.arange(len(rec.users)) % 4
    results = []
    for count in (1, 2):
        with threads(count):
            results.append(influence(rec, groups, permutations=4))
    assert results[0].groups.equals(results[1].groups)
    assert results[0].repeats == 10  # the lists depend on the seed
    assert influence(Recommender.fit(Bias(), small_ratings), groups, permutations=2).repeats == 1
    frame = results[0].groups
    assert frame["users"].to_list() == [50] * 4
    assert frame["share_of_users"].sum() == pytest.approx(1)
    assert frame["share_of_influence"].sum() == pytest.approx(1)
    assert frame["influence"].is_between(0, 1).all()
    assert frame["p"].is_between(0.2, 1).all()
    assert (frame["p_adjusted"] >= frame["p"]).all()
    empty_group = influence(rec, np.where(groups == 3, 4, groups), permutations=2).groups
    assert empty_group.row(3, named=True)["influence"] == 0
    everyone = influence(rec, np.zeros(len(groups), int), permutations=2).groups
    assert everyone.row(0, named=True)["influence"] == 0


def test_a_reloaded_recommender_has_the_same_influence(small_ratings: Interactions, tmp_path: Path) -> None:
    rec = Recommender.fit(ExplicitALS(factors=4), small_ratings, seed=7)
    rec.save(tmp_path / "model.cofactor")
    loaded = Recommender.load(tmp_path / "model.cofactor")
    groups = np.arange(small_ratings.n_users) % 2
    first, second = (influence(each, groups, permutations=2) for each in (rec, loaded))
    assert first.agreement == second.agreement == 1
    assert first.groups.equals(second.groups)


def test_other_lists_than_those_of_the_refits_cause_a_warning(small_ratings: Interactions) -> None:
    groups = np.arange(small_ratings.n_users) % 2
    estimator = ExplicitALS(factors=20, l2=0.001, pseudo_ratings=0)  # its lists depend on the seed
    first, second = (lists_of(estimator, small_ratings, seed) for seed in (1, 2))
    same = [len(set(a) & set(b)) for a, b in zip(first, second, strict=True)]
    rec = replace(Recommender.fit(estimator, small_ratings, seed=1), seed=None)
    with pytest.warns(UserWarning, match="a refit with all users reproduces only"):
        result = influence(rec, groups, permutations=2, seed=2)
    assert result.agreement == pytest.approx(np.mean(same) / 10)
    result = influence(rec, groups, permutations=2, seed=1, repeats=2)
    assert result.agreement == 1
    assert result.noise_floor == pytest.approx(1 - np.mean(same) / 10)  # the lists of seed 2


def test_p_values_are_exact_and_control_the_family_wise_error() -> None:
    stream = np.random.default_rng(0)
    scales, sets, permutations = np.array([0.1, 1.0, 1.0, 10.0]), 4000, 19
    rejected, single = 0, 0
    for _ in range(sets):
        values = scales[:, None] * stream.lognormal(size=(1 + permutations, 4, 2))
        p, adjusted = _permutation_p_values(values[0], values[1:])
        rejected += adjusted.min() <= 0.05
        single += p[0] <= 0.05
    for count in (rejected, single):  # binomial, standard deviation .0034
        assert abs(count / sets - 0.05) < 0.012
    permuted = np.array([[[1.0], [1.0]], [[2.0], [1.0]], [[3.0], [1.0]]])
    p, adjusted = _permutation_p_values(np.array([[3.0], [1.0]]), permuted)
    assert p.tolist() == [0.5, 1]
    assert adjusted.tolist() == [0.5, 1]


def test_heavy_raters_decide_more_than_random_users_and_not_more_than_as_many_ratings() -> None:
    """Heavy raters without other tastes than all users have influence because they rate more."""
    shape = SyntheticConfig(n_users=300, n_items=150, n_ratings=6_000, activity_std=0, heavy_share=0.15)
    synthetic = generate(shape)
    rec = Recommender.fit(ExplicitALS(factors=4), synthetic.interactions)
    table = influence(rec, synthetic.heavy.astype(int)).groups
    assert table["flagged"].to_list() == [False, True]
    heavy = table.row(1, named=True)
    assert heavy["ratio"] > 1.5
    assert 0.8 < heavy["ratio_rows"] < 1.2


@pytest.mark.long
def test_the_group_of_heavy_raters_is_the_only_one_flagged() -> None:
    shape = replace(HEAVY_SHAPE, n_users=500, n_items=500, n_ratings=20_000)
    synthetic = generate(shape)
    rec = Recommender.fit(BiasedMF(factors=8), synthetic.interactions)
    groups = cluster_users(synthetic.interactions.by_user, synthetic.interactions.n_items)
    table = influence(rec, groups).groups
    flagged = table.filter(table["flagged"])["group"].to_list()
    assert len(flagged) == 1
    assert synthetic.heavy[groups == flagged[0]].mean() >= 0.8
    calm = generate(replace(shape, heavy_share=0.0))
    rec = Recommender.fit(BiasedMF(factors=8), calm.interactions)
    groups = cluster_users(calm.interactions.by_user, calm.interactions.n_items)
    assert not influence(rec, groups).groups["flagged"].any()


def test_the_influence_of_a_pair_is_that_of_its_ranker(small_ratings: Interactions) -> None:
    pair = PairedModels(ItemKNN(), Bias(), min_rating=4)
    groups = np.arange(small_ratings.n_users) % 2
    alone, both = (
        influence(Recommender.fit(estimator, table), groups, permutations=2)
        for estimator, table in ((ItemKNN(), small_ratings.to_events(min_rating=4)), (pair, small_ratings))
    )
    assert both.groups["influence"].to_list() == alone.groups["influence"].to_list()
    assert both.agreement == 1


def test_wrong_input_is_named(small_ratings: Interactions) -> None:
    rec = Recommender.fit(Bias(), small_ratings)
    with pytest.raises(ParameterError, match="groups must be"):
        influence(rec, [0, 1])
    groups = np.zeros(len(rec.users), int)
    for name in ("permutations", "repeats"):
        with pytest.raises(ParameterError, match=name):
            influence(rec, groups, **{name: 0})
    with pytest.raises(ParameterError, match="requires a recommender with its estimator"):
        influence(replace(rec, estimator=None), groups)
