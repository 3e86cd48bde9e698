"""Influence and taste groups: laws, and the heavy raters of one genre, who must be flagged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cofactor import (
    BPR,
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
from cofactor.audit.group_influence import _upper_tail
from cofactor.datasets.synthetic import generate
from cofactor.datasets.synthetic_config import HEAVY_SHAPE
from cofactor.errors import KindError, ParameterError
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


@pytest.mark.long
@pytest.mark.parametrize("estimator", [BiasedMF(factors=8), ExplicitALS(factors=8), ImplicitALS(factors=8)])
def test_influence_keeps_its_laws(estimator: object, small_ratings: Interactions, small_events: Interactions) -> None:
    table = small_ratings if estimator.kind == "ratings" else small_events  # type: ignore[attr-defined]
    rec = Recommender.fit(estimator, table)
    groups = np.arange(len(rec.users)) % 4
    results = []
    for count in (1, 2):
        with threads(count):
            results.append(influence(rec, groups, permutations=4).groups)
    assert results[0].equals(results[1])
    assert results[0]["users"].to_list() == [50] * 4
    assert results[0]["share_of_users"].sum() == pytest.approx(1)
    assert results[0]["share_of_influence"].sum() == pytest.approx(1)
    assert results[0]["influence"].is_between(0, 1).all()
    assert not results[0]["flagged"].any()
    empty_group = influence(rec, np.where(groups == 3, 4, groups), permutations=2).groups
    assert empty_group["influence"][3] == 0


@pytest.mark.long
def test_the_group_of_heavy_raters_is_the_only_one_flagged() -> None:
    synthetic = generate(HEAVY_SHAPE)
    rec = Recommender.fit(BiasedMF(factors=16), synthetic.interactions)
    groups = cluster_users(synthetic.interactions.by_user, synthetic.interactions.n_items)
    table = influence(rec, groups, permutations=20).groups
    flagged = table.filter(table["flagged"])["group"].to_list()
    assert len(flagged) == 1
    assert synthetic.heavy[groups == flagged[0]].mean() >= 0.8
    calm = generate(replace(HEAVY_SHAPE, heavy_share=0.0))
    rec = Recommender.fit(BiasedMF(factors=16), calm.interactions)
    groups = cluster_users(calm.interactions.by_user, calm.interactions.n_items)
    assert not influence(rec, groups, permutations=20).groups["flagged"].any()


def test_the_influence_of_a_pair_is_that_of_its_rating_model(small_ratings: Interactions) -> None:
    rating_model = ExplicitALS(factors=4, epochs=3)
    groups = np.arange(small_ratings.n_users) % 2
    alone, both = (
        influence(Recommender.fit(estimator, small_ratings), groups, permutations=2).groups
        for estimator in (rating_model, PairedModels(ItemKNN(), rating_model))
    )
    assert both.equals(alone)
    with pytest.raises(KindError, match="least squares"):
        influence(Recommender.fit(PairedModels(ItemKNN(), Bias()), small_ratings), groups)


def test_the_upper_tail_is_that_of_tables_of_students_t() -> None:
    table = {(6.314, 1): 0.05, (31.821, 1): 0.01, (2.920, 2): 0.05, (5.841, 3): 0.005, (3.747, 4): 0.01,
             (2.015, 5): 0.05, (1.833, 9): 0.05, (2.764, 10): 0.01, (2.756, 29): 0.005, (1.671, 60): 0.05}  # fmt: skip
    for (t, freedom), p in table.items():
        assert _upper_tail(t, freedom) == pytest.approx(p, rel=2e-3), (t, freedom)
        assert _upper_tail(t, freedom) + _upper_tail(-t, freedom) == pytest.approx(1)
    assert _upper_tail(1.6449, 99_999) == pytest.approx(0.05, rel=1e-3)  # close to a normal distribution


def test_wrong_input_is_named(small_ratings: Interactions, small_events: Interactions) -> None:
    rec = Recommender.fit(BiasedMF(factors=4, epochs=1), small_ratings)
    with pytest.raises(ParameterError, match="groups must be"):
        influence(rec, [0, 1])
    with pytest.raises(ParameterError, match="permutations"):
        influence(rec, np.zeros(len(rec.users), int), permutations=1)
    with pytest.raises(KindError, match="least squares"):
        influence(Recommender.fit(BPR(epochs=1), small_events), np.zeros(small_events.n_users, int))
