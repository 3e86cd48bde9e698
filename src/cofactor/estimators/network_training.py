"""How NeuralMF is trained: torch, in memory, on one thread. Imported when a fit begins, never earlier."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor.arrays import Float32, random_stream, read_only
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DivergedError, ParameterError
from cofactor.estimators.base import EpochCallback, Watch
from cofactor.estimators.schedules import one_cycle
from cofactor.kernels.parallel import SharedLimit, one_thread_blas
from cofactor.models.network import LevelsNetworkModel, NetworkModel
from cofactor.models.user_batch import UserBatch

if TYPE_CHECKING:
    from cofactor.estimators.neural import NeuralMF

__all__ = ["Network", "one_torch_thread", "trained"]

BETAS = (0.9, 0.99)


def _limit_torch() -> Callable[[], None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


one_torch_thread = SharedLimit(_limit_torch)
"""torch on a single thread inside a `with` block: its sums change with its threads."""


class Network(nn.Module):
    """The parameters of `models.layers` as tensors, with one more row for the unknown user and item.

    slope, out_bias (ends,): s, which is not learnt, and c_o to begin with; `g` draws the rest.
    """

    def __init__(self, spec: NeuralMF, n_users: int, n_items: int, slope: Tensor, out_bias: Tensor, g: torch.Generator):
        super().__init__()
        ends = len(slope)
        widths = [spec.hidden >> k or 1 for k in range(spec.layers)]

        def drawn(rows: int, columns: int, sd: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=g) * sd)

        def dense(rows: int, columns: int, gain: float) -> nn.Parameter:
            return drawn(rows, columns, math.sqrt(gain / rows))

        self.user_vectors = drawn(n_users + 1, spec.user_dim, spec.init_std)
        self.item_vectors = drawn(n_items + 1, spec.item_dim, spec.init_std)
        self.user_bias = nn.Parameter(torch.zeros(n_users + 1, ends))
        self.item_bias = nn.Parameter(torch.zeros(n_items + 1, ends))
        into = [spec.user_dim + spec.item_dim, *widths[:-1]]
        self.weights = nn.ParameterList([dense(a, b, 2.0) for a, b in zip(into, widths, strict=True)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(b)) for b in widths])
        self.out = dense(widths[-1], ends, 1.0)
        self.out_bias = nn.Parameter(out_bias.clone())
        self.slope = slope
        self.dropout = spec.dropout

    def forward(self, u: Tensor, i: Tensor, g: torch.Generator) -> Tensor:
        """The ends y for each pair, (n, ends), with parts left out at random, drawn from g."""
        p, q = functional.embedding(u, self.user_vectors), functional.embedding(i, self.item_vectors)
        common = min(p.shape[1], q.shape[1])
        z = torch.cat([p, q], dim=1)
        for weights, bias in zip(self.weights, self.biases, strict=True):
            z = torch.relu(torch.addmm(bias, z, weights))
            if self.dropout > 0:
                kept = torch.rand(z.shape, generator=g) >= self.dropout
                z = z * kept / (1 - self.dropout)
        dots = (p[:, :common] * q[:, :common]).sum(dim=1, keepdim=True)
        biases = functional.embedding(u, self.user_bias) + functional.embedding(i, self.item_bias)
        return torch.addmm(self.out_bias, z, self.out) + dots * self.slope + biases

    def groups(self, spec: NeuralMF) -> list[dict[str, Any]]:
        """The parameters by how they decay: embeddings, biases, and the layers, which do not."""
        return [
            {"params": [self.user_vectors, self.item_vectors], "weight_decay": spec.weight_decay},
            {"params": [self.user_bias, self.item_bias], "weight_decay": spec.bias_decay},
            {"params": [*self.weights, *self.biases, self.out, self.out_bias], "weight_decay": 0.0},
        ]


class _Training:
    """The network, its optimizer and its running average, over one table of ratings."""

    def __init__(
        self, spec: NeuralMF, table: Interactions, scale: Scale, init_model: NetworkModel | None, seed: int
    ):  # fmt: skip
        self.spec, self.table, self.scale = spec, table, scale
        self.g = torch.Generator().manual_seed(int(random_stream(seed, "neural-mf").integers(2**62)))
        self.range, self.unit = scale.widened, scale.unit
        self.u, self.i = (torch.from_numpy(rows.astype(np.int64)) for rows in (table.u, table.i))
        self.values = torch.from_numpy(table.values.copy())
        self.row_weights = None if table.weights is None else torch.from_numpy(table.weights.copy())
        slope, out_bias = self._ends()
        self.network = Network(spec, table.n_users, table.n_items, slope, out_bias, self.g)
        if init_model is not None:
            self._copy(init_model)
        self.parameters = list(self.network.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.network.groups(spec), lr=spec.learning_rate, betas=BETAS)
        self.steps, self.step = spec.epochs * math.ceil(len(table) / spec.batch_size), 0

    def _ends(self) -> tuple[Tensor, Tensor]:
        """The slope of each end along p . q, and the bias that makes the first prediction the average."""
        weights = self.table.weights
        if self.spec.head == "regression":
            low, high = self.range
            share = (float(np.average(self.table.values, weights=weights)) - low) / (high - low)
            share = min(max(share, 1e-3), 1 - 1e-3)
            return torch.ones(1), torch.tensor([math.log(share / (1 - share))])
        levels = np.asarray(self.scale.levels)
        self.targets = torch.from_numpy(np.abs(self.table.values[:, None] - levels).argmin(axis=1))
        counts = np.bincount(self.targets.numpy(), weights=weights, minlength=len(levels)) + 1.0
        slope = (levels - levels.mean()) / (levels.std() or 1.0)
        return torch.tensor(slope).float(), torch.tensor(np.log(counts / counts.sum())).float()

    def _losses(self, y: Tensor, rows: Tensor) -> Tensor:
        if self.spec.head == "classification":
            return functional.cross_entropy(y, self.targets[rows], reduction="none")
        low, high = self.range
        error = self.values[rows] - (low + (high - low) * torch.sigmoid(y[:, 0]))
        return (error / self.unit) ** 2

    def epoch(self) -> float:
        """One pass in minibatches; returns the mean loss met on the way, in the unit `Scale.unit` (classification:
        cross-entropy).
        """
        total = 0.0
        for rows in torch.randperm(len(self.u), generator=self.g).split(self.spec.batch_size):  # type: ignore[no-untyped-call]
            learning_rate = one_cycle(self.spec.learning_rate, (self.step + 0.5) / self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            y = self.network(self._some_unknown(self.u[rows], self.table.n_users),
                             self._some_unknown(self.i[rows], self.table.n_items), self.g)  # fmt: skip
            losses = self._losses(y, rows)
            if self.row_weights is not None:
                losses = losses * self.row_weights[rows]
            loss = losses.mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.step += 1
            self._follow()
            total += loss.item() * len(rows)
        return total / len(self.u)

    def _some_unknown(self, rows: Tensor, unknown: int) -> Tensor:
        if self.spec.unknown_share == 0:
            return rows
        hidden = torch.rand(len(rows), generator=self.g) < self.spec.unknown_share
        return torch.where(hidden, unknown, rows)

    def _follow(self) -> None:
        """The average moves towards the weights: at first it is their mean so far, later it forgets."""
        share = 1 / min(self.step, max(self.steps // 10, 1))
        with torch.no_grad():
            for average, parameter in zip(self.average, self.parameters, strict=True):
                average.lerp_(parameter, share)

    def _copy(self, init_model: NetworkModel) -> None:
        """Go on from a model's arrays. Raises ParameterError where a shape differs."""
        given = init_model.arrays()
        with torch.no_grad():
            for name, tensor in _named(self.network, self.spec).items():
                array = given.get(name)
                if array is None or array.shape != tuple(tensor.shape):
                    shape = None if array is None else array.shape
                    raise ParameterError(f"init_model has {name} of shape {shape}, not {tuple(tensor.shape)}")
                tensor.copy_(torch.from_numpy(np.array(array)))

    def model(self) -> NetworkModel:
        """The averaged weights as a model; who has no ratings gets the unknown row."""
        averaged = dict(zip(map(id, self.parameters), self.average, strict=True))
        arrays = _named(self.network, self.spec, averaged)
        plain: dict[str, Float32] = {name: np.array(tensor.detach().numpy()) for name, tensor in arrays.items()}
        for side, rows in (("user", self.table.u), ("item", self.table.i)):
            without = np.bincount(rows, minlength=len(plain[f"{side}_bias"]))[:-1] == 0
            for name in (f"{side}_vectors", f"{side}_bias"):
                plain[name][:-1][without] = plain[name][-1]
        plain["slope"] = self.network.slope.numpy()
        plain["user_spread"] = _spread(plain, np.unique(self.table.u))
        kind = LevelsNetworkModel if self.spec.head == "classification" else NetworkModel
        frozen = {name: read_only(np.ascontiguousarray(array)) for name, array in plain.items()}
        settings = {"scale": asdict(self.scale), "rating_range": self.range, "noise": 1.0}
        return kind.from_parts(frozen, settings)


def _named(network: Network, spec: NeuralMF, values: dict[int, Tensor] | None = None) -> dict[str, Tensor]:
    """Each of the model's learnt arrays by its name: the parameters, or what stands for them in `values`."""

    def value(parameter: Tensor) -> Tensor:
        return parameter if values is None else values[id(parameter)]

    first = value(network.weights[0])
    named = {name: value(getattr(network, name)) for name in ("user_vectors", "item_vectors", "user_bias", "item_bias")}
    named |= {"user_in": first[: spec.user_dim], "item_in": first[spec.user_dim :]}
    named |= {"in_bias": value(network.biases[0])}
    for k in range(1, spec.layers):
        named |= {f"layer_{k + 1}": value(network.weights[k]), f"layer_{k + 1}_bias": value(network.biases[k])}
    return named | {"out": value(network.out), "out_bias": value(network.out_bias)}


@one_thread_blas()
def _spread(plain: dict[str, Float32], trained_users: Any) -> Float32:
    """How trained users lie about the unknown one: S with S S' their mean squares and products; at least 0.001 wide."""
    x = np.hstack([plain["user_vectors"], plain["user_bias"]])
    away = (x[trained_users] - x[-1]).astype(np.float64)
    squares, axes = np.linalg.eigh(away.T @ away / max(len(away), 1))
    spread: Float32 = (axes * np.maximum(np.sqrt(np.maximum(squares, 0)), 1e-3)).astype(np.float32)
    return spread


def trained(
    spec: NeuralMF,
    table: Interactions,
    scale: Scale,
    *,
    seed: int,
    validation: Interactions | None,
    init_model: NetworkModel | None,
    callback: EpochCallback | None,
) -> NetworkModel:
    """`NeuralMF.fit`, once it is known that it can be done. Raises DataError, ParameterError, DivergedError."""
    watch = Watch(
        table,
        epochs=spec.epochs,
        patience=spec.patience,
        validation=validation,
        callback=callback,
        advice=spec.diverged_advice,
    )
    with one_torch_thread():
        training = _Training(spec, table, scale, init_model, seed)
        number, loss, going = 0, math.nan, True
        while going:
            number += 1
            loss = training.epoch()
            squared = spec.head == "regression"
            going = watch.goes_on(number, loss * scale.unit**2 if squared else loss, training.model)
        model = watch.chosen(training.model)
    if not all(np.isfinite(array).all() for array in model.arrays().values()):
        raise DivergedError(number, loss, spec.diverged_advice)
    return replace(model, noise=_noise(model, table))


def _noise(model: NetworkModel, table: Interactions) -> float:
    """The root mean square error on (at most a million) training ratings; at least a hundredth of the range."""
    some = slice(None, None, 1 + len(table) // 1_000_000)
    predicted = model.predict(UserBatch.trained(table.u[some], table.by_user), table.i[some])
    error = np.sqrt(np.mean((table.values[some] - predicted.astype(np.float64)) ** 2))
    low, high = model.rating_range
    return float(max(error, 0.01 * (high - low)))
