"""The model that a course writes out by hand in torch, and `BiasedMF`: the same after an epoch from the same weights.

The module, with gradients by autograd, visits the blocks of `kernels.sgd` rating by rating, in plain SGD.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import cofactor
from cofactor.arrays import random_stream
from cofactor.data.interactions import Interactions
from cofactor.estimators.mf import epoch_learning_rate
from cofactor.kernels.blocks import disjoint_rounds, grid_size
from cofactor.kernels.sgd import rating_blocks
from cofactor.models.factor import FactorModel

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "cofactor[neural]"')

N = 5_000
ARRAYS = ("user_factors", "item_factors", "user_bias", "item_bias")


class ByHand(torch.nn.Module):
    """r^ = low + (high - low) sigmoid(mean + b_u + b_i + p_u . q_i), from the weights of `start`."""

    def __init__(self, start: FactorModel, mean: float, std: float):
        super().__init__()
        self.p, self.q, self.b, self.c = (torch.nn.Parameter(torch.tensor(getattr(start, name))) for name in ARRAYS)
        self.mean, self.std = mean, std

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        u, i = x[:, 0], x[:, 1]
        return self.mean + self.b[u] + self.c[i] + (self.p[u] * self.q[i]).sum(dim=1)

    def squared_error(self, line: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return (((values - (0.5 + 5 * torch.sigmoid(line))) / self.std) ** 2).sum()

    def penalty(self, x: torch.Tensor, spec: cofactor.BiasedMF) -> torch.Tensor:
        u, i = x[:, 0], x[:, 1]
        factors = (self.p[u] ** 2).sum() + (self.q[i] ** 2).sum()
        return spec.l2 * factors + spec.l2_bias * (self.b[u] ** 2 + self.c[i] ** 2).sum()


Blocks = Iterator[tuple[torch.Tensor, torch.Tensor]]


def one_by_one(module: ByHand, spec: cofactor.BiasedMF, blocks: Blocks) -> None:
    """Batch size 1, plain SGD, then one implicit step for the penalty of the pseudo-ratings."""
    rate = epoch_learning_rate(spec.learning_rate, 1, spec.epochs)
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    for pairs, values in blocks:
        for x, y in zip(pairs.split(1), values.split(1), strict=True):
            loss = module.squared_error(module.linear(x), y) + module.penalty(x, spec)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        for parameter in module.parameters():
            l2 = spec.l2 if parameter.ndim == 2 else spec.l2_bias
            parameter /= 1 + 2 * rate * l2 * spec.pseudo_ratings


def blocks_in_order(ratings: Interactions, seed: int) -> Blocks:
    """Pairs of rows and values of each block, as the first epoch visits them."""
    blocks = rating_blocks(
        ratings.u, ratings.i, ratings.values, np.zeros(0, np.float32),
        n_users=ratings.n_users, n_items=ratings.n_items, grid=grid_size(len(ratings), max_size=8), seed=seed,
    )  # fmt: skip
    users, items = np.argsort(blocks.new_user_row), np.argsort(blocks.new_item_row)
    for disjoint in disjoint_rounds(blocks.grid, random_stream(seed, "rounds", 1)):
        for block in disjoint:
            rows = slice(blocks.start[block], blocks.start[block + 1])
            pairs = np.stack([users[blocks.u[rows]], items[blocks.i[rows]]], axis=1)
            yield torch.tensor(pairs), torch.tensor(blocks.values[rows])


@pytest.fixture(autouse=True)
def torch_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.long
def test_the_module_written_by_hand_and_biased_mf_agree_after_an_epoch(movielens: Interactions) -> None:
    draw = np.random.default_rng(11)
    few = movielens.select(np.isin(np.arange(len(movielens)), draw.choice(len(movielens), N, replace=False)))
    spec = cofactor.BiasedMF(epochs=1)
    first = (draw.normal(0, 0.1, shape).astype(np.float32) for shape in shapes(few, spec.factors))
    start = FactorModel(*first, rating_range=(0.5, 5.5))
    library = spec.fit(few, seed=3, init_model=start)

    module = ByHand(start, library.mean, std=float(few.values.std()))
    one_by_one(module, spec, blocks_in_order(few, seed=3))

    for name, ours in zip(ARRAYS, (module.p, module.q, module.b, module.c), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), getattr(library, name), rtol=0, atol=1e-4, err_msg=name)
        moved = np.abs(getattr(library, name) - getattr(start, name)).max()
        assert moved > 3e-3, name  # the parameters have changed


def shapes(ratings: Interactions, factors: int) -> list[tuple[int, ...]]:
    """Of the arrays of a model, in the order of ARRAYS."""
    return [(ratings.n_users, factors), (ratings.n_items, factors), (ratings.n_users,), (ratings.n_items,)]
