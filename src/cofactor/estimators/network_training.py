"""PyTorch training loop for `NeuralMF`, which runs in memory and on one thread.

This module is imported only when a fit starts, so that the rest of the library works without PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor.arrays import Float32, random_stream, read_only
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.estimators.training import FitMonitor, one_cycle, require_init_model
from cofactor.estimators.training_table import Standardization
from cofactor.kernels.parallel import SharedLimit
from cofactor.models.base import Model
from cofactor.models.network import LevelsNetworkModel, NetworkModel
from cofactor.models.user_batch import UserBatch

__all__ = ["Network", "one_torch_thread", "train_network"]


class NetworkSpec(Protocol):
    """Hyperparameters of `NeuralMF` that the training loop uses."""

    @property
    def head(self) -> str:
        """Type of the network's output: "regression" or "classification"."""

    @property
    def user_dim(self) -> int:
        """Dimension of the user embeddings."""

    @property
    def item_dim(self) -> int:
        """Dimension of the item embeddings."""

    @property
    def hidden(self) -> int:
        """Width of the first hidden layer."""

    @property
    def layers(self) -> int:
        """Number of hidden layers."""

    @property
    def dropout(self) -> float:
        """Dropout probability after each hidden layer."""

    @property
    def epochs(self) -> int:
        """Maximum number of epochs."""

    @property
    def batch_size(self) -> int:
        """Number of ratings per minibatch."""

    @property
    def learning_rate(self) -> float:
        """Peak learning rate of the schedule."""

    @property
    def weight_decay(self) -> float:
        """Decoupled weight decay of embeddings, multiplied by the support of the row."""

    @property
    def bias_decay(self) -> float:
        """Decoupled weight decay of biases, multiplied by the support of the row."""

    @property
    def unknown_share(self) -> float:
        """Fraction of IDs replaced by the placeholder for unknown IDs during training."""

    @property
    def init_std(self) -> float:
        """Standard deviation of the initial embeddings."""


BETAS = (0.9, 0.99)
"""AdamW decay rates for the running averages of the gradient and its square."""


def _limit_torch() -> Callable[[], None]:
    """Limit PyTorch to one thread, and return a function that restores the previous limit."""
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(previous)


one_torch_thread = SharedLimit(_limit_torch)
"""Context manager that limits PyTorch to one thread, because its sums depend on the number of threads."""


class Network(nn.Module):
    """PyTorch version of the network in `cofactor.models.layers`, with an extra last embedding row for unknown IDs.

    Parameters
    ----------
    spec : NetworkSettings
        Hyperparameters.
    n_users, n_items : int
        Numbers of users and items.
    slope : Tensor of shape (n_outputs,), float32
        Fixed coefficient of the dot product in each output.
    out_bias : Tensor of shape (n_outputs,), float32
        Initial bias of each output.
    g : torch.Generator
        Random number generator for the initial weights.
    """

    def __init__(
        self, spec: NetworkSpec, n_users: int, n_items: int, slope: Tensor, out_bias: Tensor, g: torch.Generator
    ):
        super().__init__()
        n_outputs = len(slope)
        widths = [spec.hidden >> k or 1 for k in range(spec.layers)]

        def normal(rows: int, columns: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=g) * std)

        def dense(rows: int, columns: int, gain: float) -> nn.Parameter:
            return normal(rows, columns, math.sqrt(gain / rows))

        self.user_vectors = normal(n_users + 1, spec.user_dim, spec.init_std)
        self.item_vectors = normal(n_items + 1, spec.item_dim, spec.init_std)
        self.user_bias = nn.Parameter(torch.zeros(n_users + 1, n_outputs))
        self.item_bias = nn.Parameter(torch.zeros(n_items + 1, n_outputs))
        input_widths = [spec.user_dim + spec.item_dim, *widths[:-1]]
        self.weights = nn.ParameterList([dense(a, b, 2.0) for a, b in zip(input_widths, widths, strict=True)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(b)) for b in widths])
        self.out = dense(widths[-1], n_outputs, 1.0)
        self.out_bias = nn.Parameter(out_bias.clone())
        self.slope = slope
        self.dropout = spec.dropout

    def forward(self, u: Tensor, i: Tensor, g: torch.Generator) -> Tensor:
        """Compute the raw network outputs y with dropout, before they are converted to ratings.

        Parameters
        ----------
        u, i : Tensor of shape (n,), int64
            Row numbers of users and items; n_users and n_items denote unknown users and items.
        g : torch.Generator
            Random number generator for dropout.

        Returns
        -------
        Tensor of shape (n, n_outputs), float32
            Raw outputs.
        """
        p, q = functional.embedding(u, self.user_vectors), functional.embedding(i, self.item_vectors)
        common = min(p.shape[1], q.shape[1])
        z = torch.cat([p, q], dim=1)
        for weights, bias in zip(self.weights, self.biases, strict=True):
            z = torch.relu(torch.addmm(bias, z, weights))
            if self.dropout > 0:
                mask = torch.rand(z.shape, generator=g) >= self.dropout
                z = z * mask / (1 - self.dropout)
        dots = (p[:, :common] * q[:, :common]).sum(dim=1, keepdim=True)
        biases = functional.embedding(u, self.user_bias) + functional.embedding(i, self.item_bias)
        return torch.addmm(self.out_bias, z, self.out) + dots * self.slope + biases


class _Training:
    """Training state: the network, the optimizer and the running average of the weights."""

    def __init__(
        self, spec: NetworkSpec, table: Interactions, scale: Scale, init_model: Model | None, seed: int
    ):  # fmt: skip
        self.spec, self.table, self.scale = spec, table, scale
        self.g = torch.Generator().manual_seed(int(random_stream(seed, "neural-mf").integers(2**62)))
        self.transformation = Standardization.of(table)
        self.range = tuple(map(self.transformation.standardized, scale.extended_range))
        self.u, self.i = (torch.from_numpy(rows.astype(np.int64)) for rows in (table.u, table.i))
        self.values = torch.from_numpy(self.transformation.apply(table).values.copy())
        self.row_weights = None if table.weights is None else torch.from_numpy(table.weights.copy())
        slope, out_bias = self._output_coefficients()
        self.network = Network(spec, table.n_users, table.n_items, slope, out_bias, self.g)
        if init_model is not None:
            self._copy_weights(init_model)
        self.parameters = list(self.network.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.Adam(self.parameters, lr=spec.learning_rate, betas=BETAS)
        self.decays = self._row_decays()
        self.steps, self.step = spec.epochs * math.ceil(len(table) / spec.batch_size), 0

    def _output_coefficients(self) -> tuple[Tensor, Tensor]:
        """Return each output's coefficient of p . q, and initial biases that make the first prediction the mean."""
        weights = self.table.weights
        if self.spec.head == "regression":
            low, high = self.range
            share = -low / (high - low)  # the mean rating is 0
            share = min(max(share, 1e-3), 1 - 1e-3)
            return torch.ones(1), torch.tensor([math.log(share / (1 - share))])
        levels = np.asarray(self.scale.levels)
        self.targets = torch.from_numpy(np.abs(self.table.values[:, None] - levels).argmin(axis=1))
        counts = np.bincount(self.targets.numpy(), weights=weights, minlength=len(levels)) + 1.0
        slope = (levels - levels.mean()) / (levels.std() or 1.0)
        return torch.tensor(slope).float(), torch.tensor(np.log(counts / counts.sum())).float()

    def _row_decays(self) -> list[tuple[Tensor, Tensor]]:
        """Return each array of embeddings or biases with the weight decay of its rows, of shape (n_rows, 1)."""
        spec, network, n_ratings = self.spec, self.network, len(self.table)
        decays: list[tuple[Tensor, Tensor]] = []
        for vectors, bias, rows in (
            (network.user_vectors, network.user_bias, self.table.u),
            (network.item_vectors, network.item_bias, self.table.i),
        ):
            support = np.bincount(rows, minlength=len(bias)).astype(np.float64)
            support[-1] = spec.unknown_share * n_ratings
            support = np.maximum(support, 1.0)
            step_share = np.minimum(support * spec.batch_size / n_ratings, 1.0)
            unit = torch.from_numpy((np.sqrt(step_share) / support).astype(np.float32))[:, None]
            decays += [(vectors, unit * spec.weight_decay), (bias, unit * spec.bias_decay)]
        return decays

    def _decay(self, learning_rate: float) -> None:
        """Shrink embeddings and biases by an implicit step, which cannot overshoot zero."""
        with torch.no_grad():
            for parameter, decay in self.decays:
                parameter.div_(1 + learning_rate * decay)

    def _losses(self, y: Tensor, rows: Tensor) -> Tensor:
        """Compute the loss of each row in a minibatch from the raw outputs y."""
        if self.spec.head == "classification":
            return functional.cross_entropy(y, self.targets[rows], reduction="none")
        low, high = self.range
        return (self.values[rows] - (low + (high - low) * torch.sigmoid(y[:, 0]))) ** 2

    def epoch(self) -> float:
        """Run one epoch, and return the mean loss: cross-entropy, or squared error of standardized ratings."""
        total = 0.0
        for rows in torch.randperm(len(self.u), generator=self.g).split(self.spec.batch_size):  # type: ignore[no-untyped-call]
            learning_rate = one_cycle(self.spec.learning_rate, (self.step + 0.5) / self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            u = self._with_unknown_ids(self.u[rows], self.table.n_users)
            i = self._with_unknown_ids(self.i[rows], self.table.n_items)
            y = self.network(u, i, self.g)
            losses = self._losses(y, rows)
            if self.row_weights is not None:
                losses = losses * self.row_weights[rows]
            loss = losses.mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._decay(learning_rate)
            self.optimizer.step()
            self.step += 1
            self._update_average()
            total += loss.item() * len(rows)
        return total / len(self.u)

    def _with_unknown_ids(self, rows: Tensor, unknown: int) -> Tensor:
        """Replace a random fraction of the row numbers with the row number for unknown IDs."""
        if self.spec.unknown_share == 0:
            return rows
        is_replaced = torch.rand(len(rows), generator=self.g) < self.spec.unknown_share
        return torch.where(is_replaced, unknown, rows)

    def _update_average(self) -> None:
        """Update the average of the weights: a plain mean at first, then an exponential moving average."""
        weight = 1 / min(self.step, max(self.steps // 10, 1))
        with torch.no_grad():
            for average, parameter in zip(self.average, self.parameters, strict=True):
                average.lerp_(parameter, weight)

    def _copy_weights(self, init_model: Model) -> None:
        """Copy a model's arrays into the network; raise an error if an array is missing or has a different shape."""
        tensors = _named_tensors(self.network, self.spec)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        arrays = require_init_model(init_model, NetworkModel, shapes).arrays()
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(arrays[name])))

    def model(self) -> NetworkModel:
        """Return a model with the averaged weights; users and items without ratings get the vector of unknown IDs."""
        averaged_weights = dict(zip(map(id, self.parameters), self.average, strict=True))
        tensors = _named_tensors(self.network, self.spec, averaged_weights)
        arrays: dict[str, Float32] = {name: np.array(tensor.detach().numpy()) for name, tensor in tensors.items()}
        for entity, rows in (("user", self.table.u), ("item", self.table.i)):
            empty = np.bincount(rows, minlength=len(arrays[f"{entity}_bias"]))[:-1] == 0
            for name in (f"{entity}_vectors", f"{entity}_bias"):
                arrays[name][:-1][empty] = arrays[name][-1]
        arrays["slope"] = self.network.slope.numpy()
        arrays["user_penalty"] = np.ones(self.spec.user_dim + len(self.network.slope), np.float32)
        model_class = LevelsNetworkModel if self.spec.head == "classification" else NetworkModel
        read_only_arrays = {name: read_only(np.ascontiguousarray(array)) for name, array in arrays.items()}
        metadata = {"scale": asdict(self.scale), "rating_range": self.scale.extended_range, "noise": 1.0}
        return model_class.from_parts(read_only_arrays, metadata)


def _named_tensors(network: Network, spec: NetworkSpec, values: dict[int, Tensor] | None = None) -> dict[str, Tensor]:
    """Return the learned arrays by model array name; `values` overrides parameters, keyed by their `id`."""

    def value(parameter: Tensor) -> Tensor:
        return parameter if values is None else values[id(parameter)]

    first = value(network.weights[0])
    tensors = {
        name: value(getattr(network, name)) for name in ("user_vectors", "item_vectors", "user_bias", "item_bias")
    }
    tensors |= {"user_in": first[: spec.user_dim], "item_in": first[spec.user_dim :]}
    tensors |= {"in_bias": value(network.biases[0])}
    for k in range(1, spec.layers):
        tensors |= {f"layer_{k + 1}": value(network.weights[k]), f"layer_{k + 1}_bias": value(network.biases[k])}
    return tensors | {"out": value(network.out), "out_bias": value(network.out_bias)}


def train_network(
    spec: NetworkSpec,
    table: Interactions,
    scale: Scale,
    monitor: FitMonitor,
    *,
    seed: int,
    init_model: Model | None,
) -> NetworkModel:
    """Train the network of `NeuralMF` in PyTorch.

    Parameters
    ----------
    spec : NetworkSettings
        Hyperparameters.
    table : Interactions
        Table of ratings, already validated.
    scale : Scale
        Scale of the ratings.
    monitor : FitMonitor
        Epoch loop, with the validation rows.
    seed : int
        Seed for the initial weights, the minibatches and dropout.
    init_model : Model or None
        NetworkModel to continue from, with the same IDs and shapes.

    Returns
    -------
    NetworkModel
        Model with the averaged weights.

    Raises
    ------
    DataError
        If `init_model` is not a NetworkModel.
    ParameterError
        If an array in `init_model` has a different shape.
    DivergedError
        If the loss or any model array is not finite.
    """
    with one_torch_thread():
        training = _Training(spec, table, scale, init_model, seed)
        unit = training.transformation.std if spec.head == "regression" else 1.0
        model = monitor.run(lambda _: training.epoch() * unit**2, training.model)
    return replace(model, noise=_noise(model, table)).with_fold_in_penalty(table.by_user)


def _noise(model: NetworkModel, table: Interactions) -> float:
    """Return the weighted RMSE on up to a million training ratings, but at least 0.01 times the width of the range."""
    rows = np.arange(len(table)) if table.weights is None else np.flatnonzero(table.weights)
    rows = rows[:: 1 + len(rows) // 1_000_000]
    predicted = model.predict(UserBatch.trained(table.u[rows], table.by_user), table.i[rows])
    squares = (table.values[rows] - predicted.astype(np.float64)) ** 2
    error = np.sqrt(np.average(squares, weights=None if table.weights is None else table.weights[rows]))
    low, high = model.rating_range
    return float(max(error, 0.01 * (high - low)))
