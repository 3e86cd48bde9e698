"""The course's own models, to be read in a minute, and the short loop that trains them. Needs torch (extra `neural`).

    train, valid = pairs(split.train), pairs(split.test)
    model = DotProductBias(ratings.n_users, ratings.n_items, 50)
    fit_one_cycle(model, train, valid, epochs=3, learning_rate=1e-3, wd=0.1)      # prints a row per epoch
    fit_one_cycle(model, train, valid, epochs=5, learning_rate=5e-3, wd=0.1)

`BiasedMF` is the fast way to the same model, and `NeuralMF` the network made ready for use. Nothing imports this file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from cofactor.data.interactions import Interactions
from cofactor.estimators.schedules import one_cycle

__all__ = ["DotProduct", "DotProductBias", "EmbeddingNet", "EpochRow", "fit_one_cycle", "pairs"]

Pairs: TypeAlias = tuple[Tensor, Tensor]


def embedding(rows: int, width: int) -> nn.Embedding:
    """A table of `rows` vectors, small and random at first; a lookup in it is a product with a one-hot vector.

    >>> embedding(3, 2)(torch.tensor([0, 2])).shape
    torch.Size([2, 2])
    """
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.01)
    return table


def on_scale(x: Tensor, y_range: tuple[float, float]) -> Tensor:
    """low + (high - low) sigmoid(x): a prediction that stays between both ends; of any shape.

    >>> on_scale(torch.tensor([-100.0, 0.0, 100.0]), (0, 5.5)).tolist()
    [0.0, 2.75, 5.5]
    """
    low, high = y_range
    return low + (high - low) * torch.sigmoid(x)


class DotProduct(nn.Module):
    """r^ = low + (high - low) sigmoid(p_u . q_m).

    >>> model = DotProduct(n_users=4, n_movies=6, n_factors=2)
    >>> model(torch.tensor([[0, 5], [3, 1]])).shape
    torch.Size([2])
    """

    def __init__(self, n_users: int, n_movies: int, n_factors: int, y_range: tuple[float, float] = (0, 5.5)):
        super().__init__()
        self.user_factors = embedding(n_users, n_factors)
        self.movie_factors = embedding(n_movies, n_factors)
        self.y_range = y_range

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 2): rows of users and movies; gives n ratings."""
        users, movies = self.user_factors(x[:, 0]), self.movie_factors(x[:, 1])
        return on_scale((users * movies).sum(dim=1), self.y_range)


class DotProductBias(nn.Module):
    """r^ = low + (high - low) sigmoid(p_u . q_m + b_u + b_m): some users are generous, some movies are loved.

    >>> model = DotProductBias(n_users=4, n_movies=6, n_factors=2)
    >>> sum(p.numel() for p in model.parameters())                      # (4 + 6) * (2 + 1)
    30
    """

    def __init__(self, n_users: int, n_movies: int, n_factors: int, y_range: tuple[float, float] = (0, 5.5)):
        super().__init__()
        self.user_factors, self.user_bias = embedding(n_users, n_factors), embedding(n_users, 1)
        self.movie_factors, self.movie_bias = embedding(n_movies, n_factors), embedding(n_movies, 1)
        self.y_range = y_range

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 2): rows of users and movies; gives n ratings."""
        users, movies = self.user_factors(x[:, 0]), self.movie_factors(x[:, 1])
        biases = self.user_bias(x[:, 0]) + self.movie_bias(x[:, 1])
        return on_scale((users * movies).sum(dim=1) + biases[:, 0], self.y_range)


class EmbeddingNet(nn.Module):
    """r^ = low + (high - low) sigmoid(W_2' relu(W_1' [p_u, q_m] + c_1) + c_2); the two widths may differ.

    >>> model = EmbeddingNet(n_users=4, n_movies=6, n_factors=(2, 3), n_hidden=8)
    >>> model.layers[0]
    Linear(in_features=5, out_features=8, bias=True)
    """

    def __init__(
        self, n_users: int, n_movies: int, n_factors: tuple[int, int], y_range: tuple[float, float] = (0, 5.5),
        n_hidden: int = 100,
    ):  # fmt: skip
        super().__init__()
        self.user_factors = embedding(n_users, n_factors[0])
        self.movie_factors = embedding(n_movies, n_factors[1])
        self.layers = nn.Sequential(nn.Linear(sum(n_factors), n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1))
        self.y_range = y_range

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 2): rows of users and movies; gives n ratings."""
        both = torch.cat([self.user_factors(x[:, 0]), self.movie_factors(x[:, 1])], dim=1)
        return on_scale(self.layers(both)[:, 0], self.y_range)


def pairs(ratings: Interactions) -> Pairs:
    """A table of ratings as tensors: rows (n, 2) int64 of users and items, and values (n,) float32.

    >>> x, y = pairs(Interactions.from_columns(["ana", "bo"], ["alien", "brazil"], [5, 3]))
    >>> x.tolist(), y.tolist()
    ([[0, 0], [1, 1]], [5.0, 3.0])
    """
    x = np.stack([ratings.u, ratings.i], axis=1).astype(np.int64)
    return torch.from_numpy(x), torch.from_numpy(ratings.values.copy())


class EpochRow(NamedTuple):
    """One row of the table: mean squared errors on both parts, and the epoch's seconds."""

    epoch: int
    train_loss: float
    valid_loss: float
    time: float


def fit_one_cycle(
    model: nn.Module,
    train: Pairs,
    valid: Pairs,
    *,
    epochs: int,
    learning_rate: float,
    wd: float = 0.0,
    batch_size: int = 64,
    seed: int = 0,
    show: Callable[[str], None] = print,
) -> list[EpochRow]:
    """Train by minibatches on squared error; the rate rises to `learning_rate` and falls again over all steps.

    Weight decay means wd * sum(p^2) in the loss, so 2 wd p in the gradient. But Adam divides each gradient by its usual
    size, and with the sum inside would shrink every factor to nothing: so decay is taken outside of it, straight off
    each parameter, p -= rate * wd * p (AdamW; the course's library does the same).

    Returns the table that it shows, a row per epoch. `show` is told each line of it. `valid` without rows: its loss is
    nan. Sources: Smith & Topin 2019 (one-cycle); Loshchilov & Hutter 2019 (AdamW).

    >>> ratings = Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> _ = torch.manual_seed(0)
    >>> first, *_, last = fit_one_cycle(
    ...     DotProductBias(2, 2, 4),
    ...     pairs(ratings),
    ...     pairs(ratings),
    ...     epochs=60,
    ...     learning_rate=0.1,
    ...     show=lambda line: None,
    ... )
    >>> last.train_loss < 1 < first.train_loss
    True
    """
    x, y = train
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), eps=1e-5, weight_decay=wd)
    steps, step, rows = epochs * math.ceil(len(y) / batch_size), 0, []
    show("epoch  train_loss  valid_loss   time")
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        model.train()
        for some in torch.randperm(len(y), generator=generator).split(batch_size):  # type: ignore[no-untyped-call]
            optimizer.param_groups[0]["lr"] = one_cycle(learning_rate, step / steps)
            loss = ((model(x[some]) - y[some]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step, total = step + 1, total + loss.item() * len(some)
        row = EpochRow(epoch, total / len(y), squared_error(model, valid), time.perf_counter() - began)
        rows.append(row)
        show(f"{row.epoch:5}  {row.train_loss:10.4f}  {row.valid_loss:10.4f}  {row.time:4.1f}s")
    return rows


@torch.no_grad()
def squared_error(model: nn.Module, part: Pairs) -> float:
    """The mean squared error on a part; nan for one without rows."""
    model.eval()
    x, y = part
    return float(((model(x) - y) ** 2).mean())
