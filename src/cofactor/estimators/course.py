"""Minimal PyTorch versions of the fastai collaborative filtering models, with a short training loop.

Requires PyTorch (extra `neural`)::

    train, valid = pairs(split.train), pairs(split.test)
    model = DotProductBias(ratings.n_users, ratings.n_items, 50)
    fit_one_cycle(model, train, valid, epochs=3, learning_rate=1e-3, wd=0.1)      # prints a line per epoch
    fit_one_cycle(model, train, valid, epochs=5, learning_rate=5e-3, wd=0.1)

This module is intended for teaching and is not imported by the rest of the library. Use `BiasedMF` for a fast version
of the factor models and `NeuralMF` for a production version of the network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from cofactor import checks
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions
from cofactor.estimators.training import one_cycle

__all__ = ["DotProduct", "DotProductBias", "EmbeddingNet", "EpochRow", "fit_one_cycle", "pairs"]

Pairs: TypeAlias = tuple[Tensor, Tensor]


def embedding(rows: int, width: int) -> nn.Embedding:
    """Create an embedding with normally distributed weights (standard deviation 0.01).

    A lookup is equivalent to multiplication by a one-hot vector.

    Parameters
    ----------
    rows : int
        Number of vectors.
    width : int
        Dimension of each vector.

    Returns
    -------
    torch.nn.Embedding
        Embedding of shape (rows, width).

    Examples
    --------
    >>> embedding(3, 2)(torch.tensor([0, 2])).shape
    torch.Size([2, 2])
    """
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.01)
    return table


def on_scale(x: Tensor, y_range: tuple[float, float]) -> Tensor:
    """Map real numbers to a rating range with low + (high - low) sigmoid(x).

    Parameters
    ----------
    x : Tensor
        Real numbers, of any shape.
    y_range : tuple of (float, float)
        Lower and upper bounds.

    Returns
    -------
    Tensor
        Values between low and high, with the same shape as `x`.

    Examples
    --------
    >>> on_scale(torch.tensor([-100.0, 0.0, 100.0]), (0, 5.5)).tolist()
    [0.0, 2.75, 5.5]
    """
    low, high = y_range
    return low + (high - low) * torch.sigmoid(x)


class DotProduct(nn.Module):
    """Model that predicts a rating as a scaled sigmoid of the dot product of user and movie factors.

    Parameters
    ----------
    n_users, n_movies : int
        Number of users and number of movies.
    n_factors : int
        Number of latent factors.
    y_range : tuple of (float, float), default (0, 5.5)
        Lower and upper bounds of the predictions.

    Notes
    -----
    The prediction::

        r^ = low + (high - low) sigmoid(p_u . q_m)

    Examples
    --------
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
        """Predict ratings for user-movie pairs.

        Parameters
        ----------
        x : Tensor of shape (n, 2), int64
            User and movie row numbers.

        Returns
        -------
        Tensor of shape (n,), float32
            Predicted ratings.
        """
        users, movies = self.user_factors(x[:, 0]), self.movie_factors(x[:, 1])
        return on_scale((users * movies).sum(dim=1), self.y_range)


class DotProductBias(nn.Module):
    """Model that predicts a rating as a scaled sigmoid of the user and movie biases plus the dot product of factors.

    Parameters
    ----------
    n_users, n_movies : int
        Number of users and number of movies.
    n_factors : int
        Number of latent factors.
    y_range : tuple of (float, float), default (0, 5.5)
        Lower and upper bounds of the predictions.

    Notes
    -----
    The prediction::

        r^ = low + (high - low) sigmoid(p_u . q_m + b_u + b_m)

    Examples
    --------
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
        """Predict ratings for user-movie pairs.

        Parameters
        ----------
        x : Tensor of shape (n, 2), int64
            User and movie row numbers.

        Returns
        -------
        Tensor of shape (n,), float32
            Predicted ratings.
        """
        users, movies = self.user_factors(x[:, 0]), self.movie_factors(x[:, 1])
        biases = self.user_bias(x[:, 0]) + self.movie_bias(x[:, 1])
        return on_scale((users * movies).sum(dim=1) + biases[:, 0], self.y_range)


class EmbeddingNet(nn.Module):
    """Neural network with one hidden layer on concatenated user and movie embeddings and a scaled sigmoid output.

    Parameters
    ----------
    n_users, n_movies : int
        Number of users and number of movies.
    n_factors : tuple of (int, int)
        Dimensions of the user and movie embeddings.
    y_range : tuple of (float, float), default (0, 5.5)
        Lower and upper bounds of the predictions.
    n_hidden : int, default 100
        Width of the hidden layer.

    Notes
    -----
    The prediction::

        r^ = low + (high - low) sigmoid(W_2' relu(W_1' [p_u, q_m] + c_1) + c_2)

    Examples
    --------
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
        """Predict ratings for user-movie pairs.

        Parameters
        ----------
        x : Tensor of shape (n, 2), int64
            User and movie row numbers.

        Returns
        -------
        Tensor of shape (n,), float32
            Predicted ratings.
        """
        embeddings = torch.cat([self.user_factors(x[:, 0]), self.movie_factors(x[:, 1])], dim=1)
        return on_scale(self.layers(embeddings)[:, 0], self.y_range)


def pairs(ratings: Interactions) -> Pairs:
    """Convert a table of ratings to tensors.

    Parameters
    ----------
    ratings : Interactions
        Table of ratings.

    Returns
    -------
    x : Tensor of shape (n, 2), int64
        User and item row numbers.
    y : Tensor of shape (n,), float32
        Ratings.

    Examples
    --------
    >>> x, y = pairs(Interactions.from_columns(["ana", "bo"], ["alien", "brazil"], [5, 3]))
    >>> x.tolist(), y.tolist()
    ([[0, 0], [1, 1]], [5.0, 3.0])
    """
    x = np.stack([ratings.u, ratings.i], axis=1).astype(np.int64)
    return torch.from_numpy(x), torch.from_numpy(ratings.values.copy())


class EpochRow(NamedTuple):
    """Training loss, validation loss and time of one epoch.

    Attributes
    ----------
    epoch : int
        Epoch number, starting at 0.
    train_loss, valid_loss : float
        Mean squared errors on the training and validation sets.
    time : float
        Duration in seconds.
    """

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
    seed: Seed = 0,
    show: Callable[[str], None] = print,
) -> list[EpochRow]:
    """Train a model with squared error loss, AdamW and a one-cycle learning rate schedule.

    Parameters
    ----------
    model : torch.nn.Module
        Model that maps row numbers (n, 2) to ratings (n,); it is trained in place.
    train, valid : tuple of (Tensor, Tensor)
        Training and validation sets, as returned by `pairs`. The loss on an empty validation set is nan.
    epochs : int
        Number of epochs.
    learning_rate : float
        Peak learning rate of the schedule.
    wd : float, default 0.0
        Decoupled weight decay.
    batch_size : int, default 64
        Number of ratings per minibatch.
    seed : int, Generator or None, default 0
        Seed for shuffling the ratings.
    show : callable, optional
        Called with each line of the results table; `print` by default.

    Returns
    -------
    list of EpochRow
        One row per epoch.

    Notes
    -----
    An L2 penalty wd * sum(p^2) in the loss adds 2 wd p to the gradient. Adam divides each gradient by a running
    estimate of its magnitude, which would make this penalty dominate small gradients. AdamW (as used by fastai)
    therefore applies the decay to the parameters directly, p -= learning_rate * wd * p.

    References
    ----------
    Smith & Topin 2019, "Super-convergence" (one-cycle schedule).
    Loshchilov & Hutter 2019, "Decoupled weight decay regularization" (AdamW).

    Examples
    --------
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
    generator = torch.Generator().manual_seed(checks.seed(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), eps=1e-5, weight_decay=wd)
    steps, step, rows = epochs * math.ceil(len(y) / batch_size), 0, []
    show("epoch  train_loss  valid_loss   time")
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        model.train()
        for batch in torch.randperm(len(y), generator=generator).split(batch_size):  # type: ignore[no-untyped-call]
            optimizer.param_groups[0]["lr"] = one_cycle(learning_rate, step / steps)
            loss = ((model(x[batch]) - y[batch]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step, total = step + 1, total + loss.item() * len(batch)
        row = EpochRow(epoch, total / len(y), squared_error(model, valid), time.perf_counter() - start)
        rows.append(row)
        show(f"{row.epoch:5}  {row.train_loss:10.4f}  {row.valid_loss:10.4f}  {row.time:4.1f}s")
    return rows


@torch.no_grad()
def squared_error(model: nn.Module, data: Pairs) -> float:
    """Compute the mean squared error of the ratings that a model predicts for user-movie pairs.

    Parameters
    ----------
    model : torch.nn.Module
        Model that maps row numbers (n, 2) to ratings (n,).
    data : tuple of (Tensor, Tensor)
        Row numbers and ratings, as returned by `pairs`.

    Returns
    -------
    float
        Mean squared error; nan if there are no ratings.
    """
    model.eval()
    x, y = data
    return float(((model(x) - y) ** 2).mean())
