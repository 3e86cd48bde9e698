"""BPR: the step is the gradient, the draws are what they should be, folding in is training, and the ranking is good."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import DataError, ParameterError
from cofactor.estimators.bpr import BPR
from cofactor.estimators.training import Epoch
from cofactor.evaluate.evaluation import evaluate
from cofactor.evaluate.movielens_splits import i0_rows, split_rows
from cofactor.kernels import reference
from cofactor.kernels.blocks import disjoint_rounds, pair_blocks, random_groups
from cofactor.kernels.bpr import bpr_epoch, bpr_pairs, bpr_users, cosine_schedule
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.models.losses import PairwiseLoss

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)
WIDTH = 8
ALL_ONE = np.zeros(0, np.float32)


def random_events(rng: np.random.Generator, n_users: int, n_items: int) -> SparseRows:
    rows, columns = np.nonzero(rng.random((n_users, n_items)) < rng.choice([0.1, 0.4, 0.95]))
    return SparseRows.of(rows, columns, np.ones(len(rows)), n_users)


def random_state(rng: np.random.Generator, n_users: int, n_items: int) -> list[np.ndarray]:
    return [
        0.3 * rng.standard_normal(shape).astype(np.float32) for shape in ((n_users, WIDTH), (n_items, WIDTH), n_items)
    ]


# the step


@few
@given(seeds, st.booleans(), st.booleans(), st.integers(1, 5))
def test_updates_equal_the_reference(seed: int, weighted: bool, items_move: bool, candidates: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_events(rng, 6, 11)
    n = len(rows.columns)
    u, items = np.repeat(np.arange(6, dtype=np.int32), rows.counts), rng.permutation(11).astype(np.int32)
    weights = (10 ** rng.uniform(-2, 2, n)).astype(np.float32) if weighted else ALL_ONE
    P, Q, bias = random_state(rng, 6, 11)
    expected = [array.astype(np.float64) for array in (P, Q, bias)]
    loss, stamp = np.zeros(1), np.full(11, -1, np.int32)
    run = (bpr_pairs if items_move else bpr_users)(WIDTH, int(items_move))
    run(P, loss, stamp, Q, bias, u, rows.columns, weights, items, 0, 0, n, 0, 11, candidates, seed, 0.05, 0.03, 0.02)
    total = reference.bpr_updates(
        *expected, u, rows.columns, weights, items,
        candidates=candidates, seed=seed, learning_rate=0.05, l2=0.03, l2_bias=0.02, update_items=items_move,
    )  # fmt: skip
    for mine, theirs in zip((P, Q, bias), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    assert loss[0] == pytest.approx(total, rel=1e-4, abs=1e-6)


def pair_margin(z: np.ndarray) -> float:
    """x_ui - x_uj of z = [p, q_i, q_j, b_i, b_j]."""
    p, q_i, q_j = z[:WIDTH], z[WIDTH : 2 * WIDTH], z[2 * WIDTH : 3 * WIDTH]
    return float(p @ (q_i - q_j) + z[-2] - z[-1])


def moved(z: np.ndarray, w: float, rate: float, l2: float, l2_bias: float) -> np.ndarray:
    """z after one update for the event (0, 0), whose only negative is item 1."""
    P, Q, bias = z[None, :WIDTH].copy(), z[WIDTH : 3 * WIDTH].reshape(2, WIDTH).copy(), z[-2:].copy()
    zeros, weights = np.zeros(1, np.int32), np.array([w], np.float32)
    reference.bpr_updates(
        P, Q, bias, zeros, zeros, weights, np.array([1], np.int32),
        candidates=1, seed=0, learning_rate=rate, l2=l2, l2_bias=l2_bias, update_items=True,
    )  # fmt: skip
    return np.concatenate([P[0], Q[0], Q[1], bias])


@given(seeds)
@few
def test_a_small_step_is_the_gradient_of_the_loss(seed: int) -> None:
    """Against central differences of -w ln sigmoid(x_ui - x_uj) + penalties, in float64."""
    z, w, l2, l2_bias = np.random.default_rng(seed).standard_normal(3 * WIDTH + 2), 1.7, 0.05, 0.02

    def loss(z: np.ndarray) -> float:
        penalty = l2 * z[: 3 * WIDTH] @ z[: 3 * WIDTH] + l2_bias * z[-2:] @ z[-2:]
        return float(np.float32(w)) * float(np.log1p(np.exp(-pair_margin(z)))) + penalty

    eps = 1e-6 * np.eye(len(z))
    gradient = np.array([(loss(z + e) - loss(z - e)) / 2e-6 for e in eps])
    rate = 1e-8
    np.testing.assert_allclose((z - moved(z, w, rate, l2, l2_bias)) / rate, gradient, atol=1e-5)


@few
@given(seeds, st.floats(-3, 12), st.floats(0.01, 4))
def test_no_weight_is_so_large_that_a_step_makes_its_own_pair_worse(seed: int, power: float, sd: float) -> None:
    z = sd * np.random.default_rng(seed).standard_normal(3 * WIDTH + 2)
    before, after = pair_margin(z), pair_margin(moved(z, 10**power, 1.0, 0.0, 0.0))
    assert before <= after <= max(before, 0) + 12


def test_counts_of_thousands_do_not_diverge(small_events: Interactions) -> None:
    counts = np.floor(np.minimum(np.random.default_rng(0).pareto(0.7, len(small_events)) + 1, 10_000))
    assert counts.max() > 1000
    model = BPR(epochs=20).fit(small_events.with_weights(counts))
    assert np.abs(model.item_factors).max() < 100


def test_the_rate_falls_to_a_hundredth() -> None:
    rates = cosine_schedule(0.5, 200)
    assert (np.diff(rates) <= 0).all()
    assert rates[0] == pytest.approx(0.5, rel=1e-3)
    assert rates[-1] == pytest.approx(0.005)


# draws and blocks


def test_split_mix_is_the_published_generator() -> None:
    """The first numbers of SplitMix64 from the state 1234567, as its users publish them."""
    state, drawn = 1234567, []
    for _ in range(3):
        state, number = reference.split_mix(state)
        drawn.append(number)
    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@few
@given(seeds, st.integers(1, 9))
def test_dealt_groups_partition_the_rows(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, rng.integers(0, 60))
    order, cuts = random_groups(counts, groups, rng)
    assert sorted(order) == list(range(len(counts)))
    assert cuts[0] == 0
    assert cuts[-1] == len(counts)
    totals = [counts[order[a:b]].sum() for a, b in pairwise(cuts)]
    assert max(totals) <= counts.sum() / groups + max(counts, default=0) + 1


@few
@given(seeds, st.integers(1, 9))
def test_rounds_hold_every_block_once_and_no_two_of_a_round_share_a_group(seed: int, grid: int) -> None:
    rounds = list(disjoint_rounds(grid, np.random.default_rng(seed)))
    assert sorted(block for blocks in rounds for block in blocks) == list(range(grid**2))
    for blocks in rounds:
        assert len({block // grid for block in blocks}) == len({block % grid for block in blocks}) == grid


@few
@given(seeds, st.integers(1, 5))
def test_pair_blocks_hold_every_event_once_where_it_belongs(seed: int, grid: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_events(rng, 30, 20)
    n = len(rows.columns)
    weights, owners = np.arange(1, n + 1, dtype=np.float32), np.repeat(np.arange(30), rows.counts)
    blocks = pair_blocks(rows, weights, np.bincount(rows.columns, minlength=20), grid=grid, rng=rng)
    dealt_events = sorted(zip(blocks.u, blocks.i, blocks.weights, strict=True))
    assert dealt_events == sorted(zip(owners, rows.columns, weights, strict=True))
    assert sorted(blocks.items) == list(range(20))
    group = np.empty(20, np.int64)
    group[blocks.items] = np.repeat(np.arange(grid), np.diff(blocks.item_start))
    homes: dict[int, set[int]] = {}
    for block in range(grid**2):
        part = slice(blocks.start[block], blocks.start[block + 1])
        assert (group[blocks.i[part]] == block % grid).all()
        changes = np.flatnonzero(np.diff(blocks.u[part]))
        assert len(changes) + 1 == max(len(set(blocks.u[part])), 1)  # the events of a user are adjacent
        for u in set(blocks.u[part]):
            homes.setdefault(u, set()).add(block // grid)
    assert all(len(home) == 1 for home in homes.values())


def test_negatives_are_never_items_of_the_user() -> None:
    rows = SparseRows.of(np.zeros(9, np.int64), [0, 1, 2, 3, 5, 6, 7, 8, 9], np.ones(9), 1)
    P, Q, bias = random_state(np.random.default_rng(0), 1, 10)
    bias[:] = 0
    stream = np.random.default_rng(0)
    blocks = pair_blocks(rows, ALL_ONE, np.bincount(rows.columns, minlength=10), grid=1, rng=stream)
    bpr_epoch(P, Q, bias, blocks, candidates=9, learning_rate=0.1, l2=0, l2_bias=0, rng=stream)
    assert bias[4] < 0
    assert (np.delete(bias, 4) > 0).all()


def test_a_user_with_all_items_changes_nothing() -> None:
    rows = SparseRows.of(np.zeros(5, np.int64), np.arange(5), np.ones(5), 1)
    state = random_state(np.random.default_rng(0), 1, 5)
    before = [array.copy() for array in state]
    stream = np.random.default_rng(0)
    blocks = pair_blocks(rows, ALL_ONE, np.ones(5, np.int64), grid=1, rng=stream)
    seen = bpr_epoch(*state, blocks, candidates=3, learning_rate=0.1, l2=0.1, l2_bias=0.1, rng=stream)
    assert seen == 0
    for mine, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(mine, old)


def test_the_number_of_negatives_follows_from_the_spread_of_the_events(small_events: Interactions) -> None:
    """The probability that a random user has the item of a random event, by a plain loop."""
    users_of_item = [set(small_events.u[small_events.i == item].tolist()) for item in range(small_events.n_items)]
    n_users = len(set(small_events.u.tolist()))
    probability = np.mean([len(users_of_item[item]) / n_users for item in small_events.i.tolist()])
    for ratio, expected in ((0.0, 1), (10.0, round(10 * probability**-0.75)), (1000.0, 64)):
        loss = BPR(negatives_ratio=ratio, epochs=1).fit(small_events).loss
        assert isinstance(loss, PairwiseLoss)
        assert loss.n_negatives == expected


@pytest.mark.parametrize("negatives", [1, 4])
def test_the_mean_training_loss_is_the_objective(negatives: int) -> None:
    """At a rate near 0 and with one block, the mean over many epochs is the expectation over all negatives."""
    rng = np.random.default_rng(1)
    u, i = np.nonzero(rng.random((20, 30)) < 0.4)
    table = Interactions.from_columns(u, i, rng.integers(1, 4, len(u)), kind="events")
    P, Q, bias = random_state(rng, table.n_users, table.n_items)
    loss = PairwiseLoss(l2=0.0, l2_bias=0.0, n_negatives=negatives, learning_rate=0.1, epochs=1, counts="raw")
    expected = FactorModel(P, Q, np.zeros(len(P), np.float32), bias, loss=loss).objective(table)
    support, seen = np.bincount(table.i), []
    for _ in range(300):
        blocks = pair_blocks(table.by_user, table.values, support, grid=1, rng=rng)
        seen.append(bpr_epoch(P, Q, bias, blocks, candidates=negatives, learning_rate=1e-12, l2=0, l2_bias=0, rng=rng))
    assert np.mean(seen) == pytest.approx(expected, rel=0.01)


def test_training_lowers_the_objective(small_events: Interactions) -> None:
    short, long = (BPR(epochs=epochs).fit(small_events) for epochs in (1, 60))
    assert long.objective(small_events) < 0.9 * short.objective(small_events)


# the estimator


@pytest.fixture(scope="module")
def fitted(small_events: Interactions) -> FactorModel:
    return BPR(factors=8).fit(small_events, seed=3)


def test_the_model_has_item_biases_only(fitted: FactorModel) -> None:
    assert fitted.factors == 8
    assert not fitted.user_bias.any()
    assert fitted.item_bias.any()
    assert fitted.mean == 0


def test_dislikes_are_blanks(small_events: Interactions) -> None:
    likes = small_events.u % 5 > 0
    signed = small_events.with_weights(np.where(likes, 1.0, -2.0))
    with_dislikes, without = BPR(epochs=3).fit(signed), BPR(epochs=3).fit(small_events.select(likes))
    for name, array in without.arrays().items():
        assert with_dislikes.arrays()[name].tobytes() == array.tobytes()
    with pytest.raises(DataError, match="every event is a dislike"):
        BPR().fit(small_events.with_weights(-np.ones(len(small_events))))


def test_a_fit_continues_from_the_model_of_another(small_events: Interactions, fitted: FactorModel) -> None:
    again = BPR(factors=8, epochs=1, learning_rate=1e-6).fit(small_events, init_model=fitted)
    np.testing.assert_allclose(again.item_factors, fitted.item_factors, atol=1e-4)
    with pytest.raises(ParameterError, match="init_model must have user_factors of shape"):
        BPR(factors=9).fit(small_events, init_model=fitted)


def test_a_fit_stops_when_the_validation_part_gets_no_better(small_events: Interactions) -> None:
    held_out = np.random.default_rng(0).random(len(small_events)) < 0.2
    train, validation = small_events.select(~held_out), small_events.select(held_out)
    epochs: list[Epoch] = []
    model = BPR(patience=1, learning_rate=1.0, epochs=100).fit(train, validation=validation, callback=epochs.append)
    scores = [epoch.validation or 0.0 for epoch in epochs]
    assert len(epochs) < 100
    assert max(scores) > scores[-1]
    assert np.isfinite(model.item_factors).all()


# new users


def test_folding_in_reaches_a_loss_no_worse_than_training(small_events: Interactions, fitted: FactorModel) -> None:
    folded = fitted.fold_in(small_events.by_user)
    assert folded.objective(small_events) < 1.01 * fitted.objective(small_events)


def test_a_new_user_alone_is_folded_in_as_in_a_batch(small_events: Interactions, fitted: FactorModel) -> None:
    rows = small_events.by_user
    batches = []
    for n in (1, 2, 4):
        with threads(n):
            batches.append(fitted.fold_in(rows).user_factors.tobytes())
    assert batches[0] == batches[1] == batches[2]
    together = fitted.fold_in(rows)
    for u in (0, 7, 100):
        assert fitted.fold_in(rows.row(u)).user_factors.tobytes() == together.user_factors[u : u + 1].tobytes()
    assert not fitted.fold_in(SparseRows.empty(2)).user_factors.any()


def test_folding_in_leaves_read_only_items_alone_and_accepts_any_weight(fitted: FactorModel) -> None:
    before = fitted.item_factors.tobytes()
    huge = SparseRows.of([0, 0, 0], [1, 5, 9], [3e38, 1e-38, 1.0], 1, [1.0, 1.0, -1.0])
    assert np.isfinite(fitted.fold_in(huge).user_factors).all()
    assert fitted.item_factors.tobytes() == before


def test_folding_in_ends_near_the_minimum_of_its_objective() -> None:
    """The gradient of the expected loss, small after many small steps, compared with the start."""
    _, Q, bias = random_state(np.random.default_rng(2), 1, 12)
    # the second user has everything, and so adds nothing to the objective
    table = Interactions.from_columns([0, 0, 0, *[1] * 12], [2, 3, 7, *range(12)], kind="events")
    loss = PairwiseLoss(l2=0.05, l2_bias=0.0, n_negatives=1, learning_rate=0.1, epochs=3000)
    model = FactorModel(np.zeros((2, WIDTH), np.float32), Q, np.zeros(2, np.float32), bias, loss=loss)

    def gradient(p: np.ndarray) -> np.ndarray:
        def at(p: np.ndarray) -> float:
            return model.with_user_arrays(np.stack([p, 0 * p]), model.user_bias).objective(table)

        return np.array([(at(p + e) - at(p - e)) / 2e-3 for e in 1e-3 * np.eye(WIDTH)])

    end = model.fold_in(table.by_user).user_factors[0].astype(np.float64)
    assert np.linalg.norm(gradient(end)) < 0.05 * np.linalg.norm(gradient(0 * end))


@pytest.mark.parametrize("n_negatives", [1, 3])
@pytest.mark.parametrize("fold_in_l2", [0.0, 0.3])
def test_the_penalty_of_fold_in_is_that_at_which_users_are_stationary(n_negatives: int, fold_in_l2: float) -> None:
    """Users who are folded in by many small steps with a penalty give this penalty back."""
    rng = np.random.default_rng(3)
    _, Q, bias = random_state(rng, 1, 30)
    rows, columns = np.repeat(np.arange(20), 6), np.concatenate([rng.choice(30, 6, replace=False) for _ in range(20)])
    histories = SparseRows.of(rows, columns, np.ones(len(rows)), 20)
    loss = PairwiseLoss(
        l2=0.02, l2_bias=0.0, n_negatives=n_negatives, learning_rate=0.05, epochs=3000, fold_in_l2=fold_in_l2
    )
    model = FactorModel(np.zeros((20, WIDTH), np.float32), Q, np.zeros(20, np.float32), bias, loss=loss)
    computed = model.fold_in(histories).with_fold_in_penalty(histories).loss
    assert isinstance(computed, PairwiseLoss)
    assert computed.fold_in_l2 == pytest.approx(fold_in_l2, abs=0.03)


# accuracy


@pytest.mark.long
def test_the_defaults_rank_movielens_well(movielens: Interactions) -> None:
    """I0: NDCG@10 at least 0.28 (there: implicit's BPR 0.197, Cornac's 0.241, LightFM's WARP, tuned, 0.299)."""
    path = cofactor.datasets.fetch("movielens-100k") / "ratings.tsv"
    names = ["user", "item", "value", "time"]
    table = pl.read_csv(path, separator="\t", has_header=False, new_columns=names)
    _, test = i0_rows(table["user"], table["value"].to_numpy())
    events = movielens.to_events(min_rating=4)
    split = split_rows(events, test, users=table["user"], items=table["item"], description="I0").excluding("positives")
    ndcg = evaluate(BPR(), split)["bpr"].metrics["ndcg@10"]
    assert 0.28 <= ndcg.mean <= 0.34
