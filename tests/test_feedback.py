"""The feedback loop and its remedies: laws, and small worlds."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor import Bias, BiasedMF, Interactions, Recommender
from cofactor.audit import PLAIN, Tastes, capped_weights, propensity_weights, remedies, simulate, spread
from cofactor.data.synthetic import Synthetic, generate
from cofactor.data.world import World
from cofactor.errors import KindError, ParameterError

SMALL = World(n_users=60, n_items=80, n_ratings=900, genres=4, taste_sd=0.6)


@pytest.fixture(scope="module")
def made() -> Synthetic:
    return generate(SMALL)


def tastes_of(made: Synthetic) -> Tastes:
    expected = made.expected(*np.indices((SMALL.n_users, SMALL.n_items)))
    return Tastes(expected, SMALL.noise_sd, SMALL.levels)


def test_no_user_weighs_more_than_the_cap(made: Synthetic) -> None:
    table = capped_weights(made.interactions, cap=7)
    totals = np.bincount(table.u, weights=table.weights, minlength=table.n_users)
    counts = table.by_user.counts
    np.testing.assert_allclose(totals, np.minimum(counts, 7), rtol=1e-5)
    twice = capped_weights(made.interactions.with_weights(np.full(len(table), 2)), cap=7)
    np.testing.assert_allclose(twice.weights, 2 * table.weights)
    with pytest.raises(ParameterError, match="cap"):
        capped_weights(made.interactions, cap=0)


def test_rows_of_popular_items_weigh_less(made: Synthetic) -> None:
    table = propensity_weights(made.interactions)
    support = np.bincount(table.i, minlength=table.n_items)[table.i]
    assert table.weights.mean() == pytest.approx(1, rel=1e-5)
    order = np.argsort(support)
    assert (np.diff(table.weights[order]) <= 1e-6).all()
    assert (propensity_weights(made.interactions, power=0).weights == 1).all()
    with pytest.raises(ParameterError, match="power"):
        propensity_weights(made.interactions, power=2)


def test_spreading_trades_the_order_for_exposure(made: Synthetic) -> None:
    rec = Recommender.fit(Bias(), made.interactions)
    users = np.arange(SMALL.n_users, dtype=np.int32)
    lists, scores = rec.rank(users, 50)
    plain = spread(lists, scores, 5, SMALL.n_items, strength=0)
    np.testing.assert_array_equal(plain, lists[:, :5])
    shown = [len(np.unique(spread(lists, scores, 5, SMALL.n_items, strength=s))) for s in (0, 0.5, 2)]
    assert shown[0] < shown[1] <= shown[2]
    with pytest.raises(ParameterError, match="strength"):
        spread(lists, scores, 5, SMALL.n_items, strength=-1)


@pytest.mark.parametrize("remedy", [PLAIN, *remedies()], ids=lambda remedy: remedy.name)
def test_a_simulation_keeps_its_laws(remedy: object, made: Synthetic) -> None:
    looks = np.where(np.arange(SMALL.n_users) < 5, 4, 1)
    runs = [
        simulate(
            BiasedMF(factors=4, epochs=4),
            made.interactions,
            tastes_of(made),
            remedy=remedy,
            rounds=3,
            n=6,
            looks=looks,
            seed=1,
        )
        for _ in range(2)
    ]
    one = runs[0]
    assert one.lists.tobytes() == runs[1].lists.tobytes()
    assert one.table.values.tobytes() == runs[1].table.values.tobytes()
    assert one.lists.shape == (3, SMALL.n_users, 6)
    assert ((one.accuracy >= 0) & (one.accuracy <= 1 + 1e-9)).all()
    rated = set(zip(made.interactions.u.tolist(), made.interactions.i.tolist(), strict=True))
    for u, row in enumerate(one.lists[0].tolist()):
        assert len(set(row)) == 6
        assert not any((u, i) in rated for i in row)
    gained = np.bincount(one.table.u, minlength=SMALL.n_users) - made.interactions.by_user.counts
    assert (gained >= 0).all()
    assert (gained <= 3 * looks).all()
    assert gained.sum() > 0
    everyone, anything = np.ones(SMALL.n_users, bool), np.ones(SMALL.n_items, bool)
    np.testing.assert_allclose(one.share(anything, everyone), 1)


def test_wrong_input_is_named(made: Synthetic, small_events: Interactions) -> None:
    tastes = tastes_of(made)
    with pytest.raises(KindError, match="ratings"):
        simulate(BiasedMF(), small_events, tastes)
    with pytest.raises(ParameterError, match="60 users and 80 items"):
        simulate(BiasedMF(), made.interactions, Tastes(np.zeros((2, 2)), 1.0, (1.0, 2.0)))
    with pytest.raises(ParameterError, match="rounds"):
        simulate(BiasedMF(), made.interactions, tastes, rounds=0)
