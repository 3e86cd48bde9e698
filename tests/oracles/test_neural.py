"""NeuralMF and its model: accuracy, NumPy against torch, the head, new users, bits, and use without torch."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError, DivergedError, KindError, ParameterError
from cofactor.estimators.neural import NeuralMF
from cofactor.estimators.training import Epoch
from cofactor.evaluate.movielens_splits import s0_rows, split_rows
from cofactor.evaluate.reliability import calibration
from cofactor.evaluate.split import Split, split_random
from cofactor.kernels.parallel import threads
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.rating import rmse
from cofactor.models.base import FoldsIn, HasUncertainty, Model, PredictsRatings, ScoresItems
from cofactor.models.network import PAIR_BLOCK, LevelsNetworkModel, NetworkModel
from cofactor.models.user_batch import UserBatch
from cofactor.recommender.recommender import Recommender

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "cofactor[neural]"')

from cofactor.estimators.network_training import Network, one_torch_thread  # noqa: E402

HEADS = ["regression", "classification"]
DEEP: dict[str, Any] = {"layers": 3, "hidden": 24, "user_dim": 7, "item_dim": 5, "epochs": 30, "batch_size": 128}
DEEP |= {"weight_decay": 36.0, "bias_decay": 60.0, "dropout": 0.1}
NO_HISTORIES = SparseRows.empty(0)


@pytest.fixture(scope="module")
def s0(movielens: Interactions) -> Split:
    names = ["user", "item", "value", "time"]
    path = cofactor.datasets.fetch("movielens-100k") / "ratings.tsv"
    table = pl.read_csv(path, separator="\t", has_header=False, new_columns=names)
    return split_rows(movielens, s0_rows(len(table))[1], users=table["user"], items=table["item"], description="S0")


@pytest.fixture(scope="module", params=HEADS)
def model(request: pytest.FixtureRequest, small_ratings: Interactions) -> NetworkModel:
    """A deep, small one of each head."""
    return NeuralMF(head=request.param, **DEEP).fit(small_ratings, seed=2)


def same_bits(a: NetworkModel, b: NetworkModel) -> bool:
    mine, theirs = a.arrays(), b.arrays()
    return all(mine[name].tobytes() == theirs[name].tobytes() for name in mine)


# how good


@pytest.mark.long
@pytest.mark.parametrize("head", HEADS)
def test_accuracy_on_s0_at_the_defaults(head: Any, s0: Split) -> None:
    began = time.process_time()
    model = NeuralMF(head=head).fit(s0.train)
    seconds = time.process_time() - began
    predicted = model.predict(UserBatch.trained(s0.test.u, s0.train.by_user), s0.test.i)
    assert 0.90 < rmse(s0.test.values, predicted) <= 0.93
    assert seconds <= 20
    folded = model.fold_in(s0.train.by_user)  # all users folded in: slightly worse than trained
    again = folded.predict(UserBatch.trained(s0.test.u, s0.train.by_user), s0.test.i)
    assert rmse(s0.test.values, again) < rmse(s0.test.values, predicted) + 0.015
    if isinstance(model, LevelsNetworkModel):
        surprise = -np.log(model.mass(s0.test.u, s0.test.i)[np.arange(20_000), s0.test.values.astype(int) - 1])
        shares = np.bincount(s0.train.values.astype(int))[1:] / len(s0.train)
        base = -np.log(shares)[s0.test.values.astype(int) - 1]
        assert surprise.mean() < base.mean() - 0.15


@pytest.mark.long
def test_masses_on_s0_are_calibrated(s0: Split) -> None:
    result = calibration(Recommender.fit(NeuralMF(head="classification"), s0.train), s0)
    assert result.n == 20_000
    assert result.crps_gain > 0.02  # 0.026
    assert result.log_likelihood > result.constant_log_likelihood + 0.05  # -1.218 against -1.281
    some = result.reliability.filter(pl.col("n") >= 50)
    assert (abs(some["observed"] - some["predicted"]) / some["sd"]).mean() < 1.3  # 0.9: by chance alone it is 0.8
    for level in ("80 %", "95 %"):
        gap = result.coverage[f"covered {level}"] - result.coverage[f"expected {level}"]
        assert gap.abs().max() < 0.03


# NumPy against torch


@pytest.mark.parametrize("ends", [1, 4])
@pytest.mark.parametrize("widths", [(7, 5), (3, 9)])
def test_the_layers_in_numpy_are_those_in_torch_in_value_and_in_gradient(ends: int, widths: tuple[int, int]) -> None:
    spec = NeuralMF(user_dim=widths[0], item_dim=widths[1], hidden=12, layers=3, dropout=0.0, init_std=1.0)
    g = torch.Generator().manual_seed(1)
    slope, bias = torch.linspace(-1, 1, ends) + 0.5, torch.randn(ends, generator=g)
    network = Network(spec, 6, 300, slope, bias, g)
    model = _as_model(network, spec)
    u, i = np.full(300, 2, np.int32), np.arange(300, dtype=np.int32)
    y = network(torch.from_numpy(u).long(), torch.from_numpy(i).long(), g)
    np.testing.assert_allclose(model.outputs(u, i), y.detach().numpy(), rtol=1e-4, atol=1e-4)
    pull = torch.randn(300, ends, generator=g)
    (y * pull).sum().backward()
    p, part = model.user_vectors[2], model._item_contribution[:300]
    forward = model.layers.forward(p, part, model.item_vectors[:300])
    biases = model.user_bias[2] + model.item_bias[:300]
    np.testing.assert_allclose(forward.outputs + biases, y.detach().numpy(), rtol=1e-4, atol=1e-4)
    gradient = network.user_vectors.grad[2].numpy()
    np.testing.assert_allclose(forward.backward(pull.numpy()), gradient, rtol=1e-3, atol=1e-3)


def _as_model(network: Network, spec: NeuralMF) -> NetworkModel:
    from cofactor.estimators.network_training import _named_tensors

    arrays = {name: np.array(tensor.detach().numpy()) for name, tensor in _named_tensors(network, spec).items()}
    width = arrays["user_vectors"].shape[1] + arrays["user_bias"].shape[1]
    arrays |= {"slope": network.slope.numpy(), "user_penalty": np.ones(width, np.float32)}
    scale = asdict(Scale.from_levels([1, 2, 3, 4, 5]))
    return NetworkModel.from_parts(arrays, {"scale": scale, "rating_range": (0.5, 5.5), "noise": 1.0})


def test_the_loss_and_its_gradient_are_torchs(model: NetworkModel) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, 50).astype(np.float32)
    start = rng.standard_normal((50, model.user_bias.shape[1])).astype(np.float32)
    y = torch.tensor(start, requires_grad=True)
    if isinstance(model, LevelsNetworkModel):
        loss = torch.nn.functional.cross_entropy(y, torch.from_numpy(values).long() - 1, reduction="sum")
    else:
        low, high = model.rating_range
        rating = low + (high - low) * torch.sigmoid(y[:, 0])
        loss = ((torch.from_numpy(values) - rating) ** 2).sum() / (2 * model.noise**2)
    loss.backward()
    losses, slope = model.loss(start, values)
    assert losses.sum() == pytest.approx(loss.item(), rel=1e-4)
    np.testing.assert_allclose(slope, y.grad.numpy(), rtol=1e-4, atol=1e-5)


# what it is


def test_capabilities_of_a_network(model: NetworkModel) -> None:
    for protocol in (Model, PredictsRatings, ScoresItems, FoldsIn):
        assert isinstance(model, protocol)
    assert isinstance(model, LevelsNetworkModel) == hasattr(model, "mass")
    assert (model.n_users, model.n_items) == (len(model.user_bias) - 1, len(model.item_bias) - 1)
    assert model.user_vectors.shape[1] == 7
    assert model.item_vectors.shape[1] == 5
    assert not any(array.flags.writeable for array in model.arrays().values())


def test_the_summary_counts_every_parameter(small_ratings: Interactions) -> None:
    model = NeuralMF(user_dim=3, item_dim=2, hidden=8, layers=2, epochs=1).fit(small_ratings)
    lines = [line.split() for line in model.summary().splitlines()]
    users, items = small_ratings.n_users + 1, small_ratings.n_items + 1
    assert lines[1] == ["user_vectors", str(users), "x", "3", f"{users * 3:,}"]
    assert ["layer_2", "8", "x", "4", "32"] in lines
    total = users * 4 + items * 3 + (5 * 8 + 8) + (8 * 4 + 4) + (4 + 1)
    assert lines[-1] == ["all", f"{total:,}"]


def test_the_mass_is_a_distribution_whose_mean_is_predicted(small_ratings: Interactions) -> None:
    model = NeuralMF(head="classification").fit(small_ratings)
    assert isinstance(model, LevelsNetworkModel)
    mass = model.mass(small_ratings.u, small_ratings.i)
    assert mass.shape == (len(small_ratings), 5)
    assert (mass >= 0).all()
    np.testing.assert_allclose(mass.sum(axis=1), 1, rtol=1e-5)
    predicted = model.predict(UserBatch.trained(small_ratings.u, small_ratings.by_user), small_ratings.i)
    np.testing.assert_allclose(mass @ np.arange(1, 6), predicted, rtol=1e-5)
    expected, seen = mass.mean(axis=0), np.bincount(small_ratings.values.astype(int), minlength=6)[1:]
    np.testing.assert_allclose(expected, seen / seen.sum(), atol=0.04)


def test_a_mass_is_a_distribution_and_one_number_is_not(model: NetworkModel, small_ratings: Interactions) -> None:
    rec = Recommender(model, small_ratings.users, small_ratings.items, small_ratings.by_user, "ratings")
    assert isinstance(model, HasUncertainty) == isinstance(model, LevelsNetworkModel)
    if not isinstance(model, LevelsNetworkModel):
        with pytest.raises(KindError, match="head=classification"):
            rec.recommend("user 3", rank_by="lower")
        return
    u, i = np.append(small_ratings.u[:99], -1), np.append(small_ratings.i[:99], -1)
    distribution = model.distribution(UserBatch.trained(u, rec.histories), i)
    np.testing.assert_allclose(distribution.mass, model.mass(u, i), atol=1e-5)
    np.testing.assert_allclose(distribution.mean(), model.rating(model.outputs(u, i)), atol=1e-4)
    low, high = distribution.interval(0.8)
    assert ((low > 0.5) & (low < high) & (high < 5.5)).all()
    cautious = rec.recommend("user 3", n=5, rank_by="lower")
    row, items = rec.users.row("user 3"), rec.items.rows(cautious["item"])
    assert cautious["score"].is_sorted(descending=True)
    ends = model.distribution(UserBatch.trained(np.full(5, row, np.int32), rec.histories), items).quantile(0.1)
    np.testing.assert_allclose(cautious["score"], ends, atol=1e-5)


def test_levels_in_halves_have_an_end_each() -> None:
    rng = np.random.default_rng(1)
    scale = Scale.from_levels([x / 2 for x in range(1, 11)])
    table = Interactions.from_columns(
        rng.integers(0, 9, 80), rng.integers(0, 9, 80), rng.integers(1, 11, 80) / 2, scale=scale
    )
    model = NeuralMF(head="classification", epochs=3).fit(table)
    assert isinstance(model, LevelsNetworkModel)
    assert model.levels.tolist() == list(scale.levels)
    assert model.mass(table.u[:3], table.i[:3]).shape == (3, 10)


def test_a_scale_without_levels_has_no_classes() -> None:
    rng = np.random.default_rng(1)
    table = Interactions.from_columns(rng.integers(0, 9, 60), rng.integers(0, 9, 60), rng.random(60))
    with pytest.raises(DataError, match="declare the rating levels"):
        NeuralMF(head="classification").fit(table)
    predicted = NeuralMF(epochs=2).fit(table).predict(UserBatch.trained(table.u, table.by_user), table.i)
    assert ((predicted >= 0) & (predicted <= 1)).all()


def test_an_unknown_head_is_rejected() -> None:
    with pytest.raises(ParameterError, match="regression or classification, not 'softmax'"):
        NeuralMF(head="softmax")  # type: ignore[arg-type]


# training


def test_early_stopping_keeps_the_best_epoch(small_ratings: Interactions) -> None:
    split = split_random(small_ratings, test=0.3, seed=1)
    epochs: list[Epoch] = []
    spec = NeuralMF(epochs=200, weight_decay=0.0, bias_decay=0.0, learning_rate=0.02, patience=4)
    model = spec.fit(split.train, validation=split.test, callback=epochs.append)
    scores = [epoch.validation for epoch in epochs]
    assert 5 < len(epochs) < 200
    best = int(np.argmin(scores))
    assert best == len(epochs) - 1 - 4
    predicted = model.predict(UserBatch.trained(split.test.u, split.train.by_user), split.test.i)
    assert rmse(split.test.values, predicted) == pytest.approx(scores[best], abs=1e-6)


def test_without_a_validation_part_all_epochs_are_run_and_the_loss_falls(small_ratings: Interactions) -> None:
    epochs: list[Epoch] = []
    NeuralMF(epochs=12).fit(small_ratings, callback=epochs.append)
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert all(epoch.validation is None for epoch in epochs)
    assert epochs[-1].loss < 0.9 * epochs[0].loss


def test_a_fit_restores_the_state_of_torch(small_ratings: Interactions) -> None:
    threads_before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        state = torch.random.get_rng_state()
        during: list[int] = []
        NeuralMF(epochs=2).fit(small_ratings, callback=lambda epoch: during.append(torch.get_num_threads()))
        assert during == [1, 1]
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.random.get_rng_state(), state)
        with pytest.raises(ZeroDivisionError), one_torch_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads_before)


def test_neither_torchs_state_nor_its_threads_change_a_bit(small_ratings: Interactions) -> None:
    before = torch.get_num_threads()
    fits = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            torch.manual_seed(n)
            fits.append(NeuralMF(epochs=2).fit(small_ratings, seed=5))
    finally:
        torch.set_num_threads(before)
    assert same_bits(*fits)
    assert not same_bits(fits[0], NeuralMF(epochs=2).fit(small_ratings, seed=6))


def test_a_fit_continues_from_a_model(model: NetworkModel, small_ratings: Interactions) -> None:
    head = "classification" if isinstance(model, LevelsNetworkModel) else "regression"
    spec = NeuralMF(head=head, **{**DEEP, "epochs": 1}, learning_rate=1e-6)
    near = spec.fit(small_ratings, init_model=model)
    for name, array in model.arrays().items():
        if name != "user_penalty":
            np.testing.assert_allclose(near.arrays()[name], array, atol=1e-3)
    with pytest.raises(ParameterError, match=r"init_model must have user_in of shape \(7, 10\); got \(7, 24\)"):
        replace(spec, hidden=10).fit(small_ratings, init_model=model)


def test_a_diverging_fit_raises_an_error(small_ratings: Interactions) -> None:
    with pytest.raises(DivergedError, match="lower learning_rate, raise weight_decay, or look"):
        NeuralMF(learning_rate=1.0, weight_decay=0.0).fit(small_ratings)


def test_weights_count_as_repetitions(small_ratings: Interactions) -> None:
    """A user whose ratings weigh nothing is not followed; one whose ratings weigh much is."""
    u = int(np.argmax(np.bincount(small_ratings.u)))
    own = small_ratings.u == u
    upside_down = replace(small_ratings, values=np.where(own, 6 - small_ratings.values, small_ratings.values))
    errors = []
    for weight in (0.0, 1.0, 20.0):
        table = upside_down.with_weights(np.where(own, weight, 1.0))
        predicted = (
            NeuralMF(epochs=30, weight_decay=60.0)
            .fit(table)
            .predict(UserBatch.trained(table.u[own], table.by_user), table.i[own])
        )
        errors.append(rmse(table.values[own], predicted))
    assert errors[0] > errors[1] > errors[2]


# unknown and new users


def test_unknown_ids_get_the_unknown_row(model: NetworkModel, small_ratings: Interactions) -> None:
    part = small_ratings.select((small_ratings.u != 5) & (small_ratings.i != 3))
    head = "classification" if isinstance(model, LevelsNetworkModel) else "regression"
    lacking = NeuralMF(head=head, **DEEP).fit(part)
    items = np.arange(part.n_items, dtype=np.int32)
    never, unknown_users = (np.full(len(items), u, np.int32) for u in (5, -1))
    known_users = np.zeros(len(items), np.int32)
    assert (lacking.outputs(never, items) == lacking.outputs(unknown_users, items)).all()
    assert (lacking.outputs(known_users[:1], np.array([3])) == lacking.outputs(known_users[:1], np.array([-1]))).all()
    predicted = lacking.predict(UserBatch.of(unknown_users, SparseRows.empty(len(items))), items)
    assert predicted.mean() == pytest.approx(part.values.mean(), abs=0.3)
    assert predicted.std() > 0.01  # items still differ


def test_a_history_gives_a_user_and_an_empty_one_the_unknown_user(
    model: NetworkModel, small_ratings: Interactions
) -> None:
    histories = small_ratings.by_user
    folded = model.fold_in(histories)
    folded_predictions = folded.predict(UserBatch.trained(small_ratings.u, histories), small_ratings.i)
    unknown_predictions = model.predict(
        UserBatch.trained(np.full(len(small_ratings), -1, np.int32), histories), small_ratings.i
    )
    assert rmse(small_ratings.values, folded_predictions) < rmse(small_ratings.values, unknown_predictions) - 0.05
    empty = model.fold_in(SparseRows.empty(2))
    items = np.arange(model.n_items, dtype=np.int32)
    for u in (0, 1):
        scores = empty.outputs(np.full(len(items), u, np.int32), items)
        assert (scores == model.outputs(np.full(len(items), -1, np.int32), items)).all()


def test_a_new_user_alone_equals_the_user_in_a_batch(model: NetworkModel, small_ratings: Interactions) -> None:
    histories = small_ratings.by_user
    with threads(2):
        together = model.fold_in(histories)
    for u in range(0, model.n_users, 9):
        alone = model.fold_in(histories.row(u))
        assert alone.user_vectors[0].tobytes() == together.user_vectors[u].tobytes()
        assert alone.user_bias[0].tobytes() == together.user_bias[u].tobytes()


def test_ratings_of_weight_0_are_ignored(model: NetworkModel) -> None:
    items, values = np.array([3, 8, 9], np.int32), np.array([5, 1, 4], np.float32)
    weighted = SparseRows(np.array([0, 3]), items, values, np.array([1, 0, 1], np.float32))
    fewer = SparseRows(np.array([0, 2]), items[[0, 2]], values[[0, 2]])
    first, second = model.fold_in(weighted), model.fold_in(fewer)
    np.testing.assert_allclose(first.user_vectors, second.user_vectors, atol=1e-5)
    np.testing.assert_allclose(first.user_bias, second.user_bias, atol=1e-5)


def test_a_folded_in_user_is_at_a_minimum(model: NetworkModel, small_ratings: Interactions) -> None:
    """Of loss plus penalty. relu has kinks, so not where the gradient is 0, but where no step nearby is better."""
    rng, histories = np.random.default_rng(0), small_ratings.by_user
    folded = model.fold_in(histories)
    gains, left = [], []
    for u in range(0, model.n_users, 20):
        own = histories.row(u)

        def objective(x: np.ndarray, own: SparseRows = own) -> float:
            return model._history_loss(own, x)[0] + float(model.user_penalty @ x**2) / 2

        x = np.concatenate([folded.user_vectors[u], folded.user_bias[u]])
        steps = (size * rng.standard_normal(len(x)).astype(np.float32) for size in (0.01, 0.1, 0.3) * 60)
        end, start = objective(x), objective(np.zeros_like(x))
        gains.append(start - end)
        left.append(end - min(objective(x + step / np.sqrt(model.user_penalty)) for step in steps))
    assert min(gains) > 0
    assert sum(np.maximum(left, 0)) < 0.02 * sum(gains)


def test_the_penalty_of_fold_in_is_the_ratio_of_gradient_and_vector(
    model: NetworkModel, small_ratings: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users at the minimum of the loss with a penalty get this penalty back; without layers, which have kinks."""
    monkeypatch.setattr("cofactor.models.network.MAX_FOLD_IN_STEPS", 500)
    monkeypatch.setattr("cofactor.models.network.FOLD_IN_TOLERANCE", 1e-4)
    width, histories = model.user_vectors.shape[1], small_ratings.by_user
    penalty = np.repeat(np.float32([30, 8]), [width, model.user_bias.shape[1]])
    layers = replace(model.layers, out=np.zeros_like(model.layers.out))
    folded = replace(model, user_penalty=penalty, layers=layers).fold_in(histories)
    computed = folded.with_fold_in_penalty(histories).user_penalty
    np.testing.assert_allclose(computed, penalty, rtol=0.01)


def test_users_are_picked_from_two_models(model: NetworkModel) -> None:
    other = model.fold_in(SparseRows.of([0, 1], [3, 4], [5.0, 1.0], 2))
    picked = model.with_users(other, np.array([4, -1, 0, -2], np.int32))
    assert picked.n_users == 4
    expected = [model.user_vectors[4], other.user_vectors[0], model.user_vectors[0], other.user_vectors[1]]
    assert (picked.user_vectors == np.array([*expected, model.user_vectors[-1]])).all()
    assert (picked.user_bias[-1] == model.user_bias[-1]).all()
    assert type(picked) is type(model)


# bits and orders


def test_a_pair_alone_is_the_pair_anywhere_in_a_batch(model: NetworkModel, small_ratings: Interactions) -> None:
    assert len(small_ratings) > 3 * PAIR_BLOCK
    u, i = small_ratings.u, small_ratings.i
    together = model.outputs(u, i)
    shuffled = np.random.default_rng(0).permutation(len(u))
    assert model.outputs(u[shuffled], i[shuffled]).tobytes() == together[shuffled].tobytes()
    for t in range(0, len(u), 397):
        assert model.outputs(u[t : t + 1], i[t : t + 1]).tobytes() == together[t].tobytes()
    everything = model.scores(UserBatch.of(u[:1], SparseRows.empty(1)))[0]
    assert model.score(model.outputs(u[:1], i[:1]))[0] == everything[i[0]]


def test_items_like_an_item(model: NetworkModel) -> None:
    rows, scores = model.similar_items(np.array([4, 7], np.int32), 200)
    q = model.item_vectors[:-1].astype(np.float64)
    unit = q / np.linalg.norm(q, axis=1, keepdims=True)
    for k, item in enumerate((4, 7)):
        assert item not in rows[k]
        assert (np.diff(scores[k][: model.n_items - 1]) <= 0).all()
        assert (rows[k] >= 0).sum() == model.n_items - 1
        first = rows[k, : model.n_items - 1]
        np.testing.assert_allclose(scores[k][: model.n_items - 1], unit[first] @ unit[item], atol=1e-5)
    similarity = model.item_similarity(np.array([[4, 7, -1]], np.int32))[0]
    assert similarity[0, 1] == pytest.approx(unit[4] @ unit[7], abs=1e-5)
    assert (similarity[2] == 0).all()
    assert np.diag(similarity)[:2] == pytest.approx([1, 1], abs=1e-5)


def test_only_allowed_items_that_are_not_excluded_are_ranked(model: NetworkModel) -> None:
    allowed = np.zeros(model.n_items, bool)
    allowed[[3, 8, 20]] = True
    exclude = SparseRows.of([0], [8], [1.0], 1)
    rows, scores = model.top(UserBatch.of(np.zeros(1, np.int32), exclude), 5, exclude=exclude, allowed=allowed)
    every = model.scores(UserBatch.of(np.zeros(1, np.int32), exclude))[0]
    assert rows[0].tolist() == [*sorted([3, 20], key=lambda i: -every[i]), -1, -1, -1]
    assert scores[0, :2].tolist() == every[rows[0, :2]].tolist()


def test_a_saved_classifier_is_restored(model: NetworkModel, small_ratings: Interactions, tmp_path: Path) -> None:
    rec = Recommender(model, small_ratings.users, small_ratings.items, small_ratings.by_user, "ratings")
    rec.save(tmp_path / "m.cofactor")
    loaded = Recommender.load(tmp_path / "m.cofactor")
    assert type(loaded.model) is type(model)
    assert same_bits(loaded.model, model)
    assert loaded.model.settings() == {**model.settings(), "rating_range": loaded.model.rating_range}
    assert loaded.recommend_all(3).equals(rec.recommend_all(3))


# without torch

WITHOUT = "import sys; sys.modules['torch'] = None\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_nothing_imports_torch_before_a_fit_begins() -> None:
    code = (
        "import sys, cofactor, cofactor.cli.application, cofactor.models, cofactor.recommender.recommender\n"
        "cofactor.NeuralMF(hidden=8); print('torch' in sys.modules)"
    )
    assert run(code).stdout == "False\n"


def test_the_error_of_a_fit_without_torch_names_what_to_install() -> None:
    code = WITHOUT + (
        "import cofactor\n"
        "table = cofactor.Interactions.from_columns([1, 2], [1, 2], [3, 4])\n"
        "try: cofactor.NeuralMF().fit(table)\n"
        "except cofactor.CofactorError as problem: print(type(problem).__name__, problem)"
    )
    done = run(code)
    assert done.stdout.startswith("MissingExtraError"), done.stderr
    assert 'pip install "cofactor[neural]"' in done.stdout


def test_a_model_is_served_without_torch(model: NetworkModel, small_ratings: Interactions, tmp_path: Path) -> None:
    rec = Recommender(model, small_ratings.users, small_ratings.items, small_ratings.by_user, "ratings")
    rec.save(tmp_path / "m.cofactor")
    code = WITHOUT + (
        "import cofactor, sys\n"
        f"rec = cofactor.Recommender.load({str(tmp_path / 'm.cofactor')!r})\n"
        "print(rec.recommend('user 3', n=4)['item'].to_list())\n"
        "print(len(rec.for_history([('item 1', 5), ('item 2', 1)]).recommend(n=4)))"
    )
    done = run(code)
    assert done.stdout.splitlines() == [str(rec.recommend("user 3", n=4)["item"].to_list()), "4"], done.stderr
