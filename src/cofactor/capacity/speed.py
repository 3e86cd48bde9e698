"""Speed of fits and of lists: CPU seconds of the kernels on samples of the table's shape, scaled to all rows.

A sample has rows of the same lengths as the large table, and vectors in tables of the same size, up to `MAX_VECTORS`:
the time of a row depends on its length and on whether the vectors of the other side fit into the caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from cofactor.arrays import Float32, random_stream, row_starts
from cofactor.capacity.shape import TableShape, sample_rows
from cofactor.data.ids import IdMap
from cofactor.errors import ParameterError
from cofactor.estimators import BPR, BiasedMF, ExplicitALS, ImplicitALS
from cofactor.estimators.base import Estimator, require_estimator
from cofactor.estimators.bpr import n_negatives
from cofactor.kernels.blocks import grid_size, pair_blocks
from cofactor.kernels.bpr import bpr_epoch
from cofactor.kernels.parallel import MAX_THREADS, one_thread_blas, thread_count, threads
from cofactor.kernels.ridge import improve, solve
from cofactor.kernels.sgd import rating_blocks, sgd_epoch
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, RatingsLoss, padded_width
from cofactor.recommender.recommender import Recommender

__all__ = ["FIT_COSTS", "FitCost", "fit_cost", "list_seconds", "require_planned"]

SAMPLE_ENTRIES = 1_000_000
"""Number of entries of a sample."""

EXACT_ENTRIES = 200_000
"""Number of entries of a sample for exact solutions, which take longer."""

MAX_VECTORS = 256_000_000
"""Largest table of vectors in a sample, in bytes; it is much larger than the caches."""

REPETITIONS = 3
"""Number of measurements, of which the shortest counts."""


@dataclass(frozen=True)
class FitCost:
    """CPU seconds of a fit.

    Attributes
    ----------
    epoch : float
        CPU seconds of one pass over all users and items or over all rows.
    last : float, default 0.0
        CPU seconds of the exact solution after the last pass.
    max_threads : int, default 1024
        Largest number of threads that a pass uses.
    """

    epoch: float
    last: float = 0.0
    max_threads: int = MAX_THREADS


def fit_cost(estimator: Estimator, shape: TableShape) -> FitCost:
    """Measure the CPU seconds of a pass.

    Parameters
    ----------
    estimator : Estimator
        An estimator in `FIT_COSTS`.
    shape : TableShape
        Shape of the table.

    Returns
    -------
    FitCost

    Raises
    ------
    ParameterError
        If plans do not support the estimator.
    """
    require_planned(estimator)
    with one_thread_blas():
        return FIT_COSTS[type(estimator)](estimator, shape)


def require_planned(estimator: Estimator) -> None:
    """Raise an error unless plans support an estimator.

    Parameters
    ----------
    estimator : Estimator
        Any estimator.

    Raises
    ------
    ParameterError
        If it is not an estimator, or not in `FIT_COSTS`.
    """
    if type(require_estimator(estimator)) not in FIT_COSTS:
        names = ", ".join(cls.name for cls in FIT_COSTS)
        raise ParameterError(f"estimator must be {names}; got {estimator.name}")


def list_seconds(items: int, factors: int, n: int = 10) -> float:
    """Measure the CPU seconds of one list from items whose vectors are normally distributed.

    This is the slowest case: if the lengths of the vectors differ, most items are skipped.

    Parameters
    ----------
    items : int
        Number of items.
    factors : int
        Number of factors.
    n : int, default 10
        Length of the list.

    Returns
    -------
    float
    """
    n_users, n_sample = 8, _sample_size(items, factors)
    stream = random_stream(0, "capacity", "lists")
    user_factors, item_factors = (_vectors(rows, factors, factors, stream) for rows in (n_users, n_sample))
    zeros = np.zeros(max(n_users, n_sample), np.float32)
    model = FactorModel(user_factors, item_factors, zeros[:n_users], zeros[:n_sample])
    users, catalog = (IdMap(np.arange(rows, dtype=np.int64)) for rows in (n_users, n_sample))
    recommender = Recommender(model, users, catalog, SparseRows.empty(n_users), "events")
    with threads(1):
        recommender.recommend(0, n)
        seconds = [_cpu_seconds(partial(recommender.recommend, user, n), times=1) for user in range(n_users)]
    return float(np.median(seconds)) * items / n_sample


def _als(estimator: Any, shape: TableShape) -> FitCost:
    """Measure both half-steps of ALS, and the exact solution of the users after the last pass."""
    loss: Any
    if isinstance(estimator, ImplicitALS):
        alpha0 = estimator.blank_ratio * shape.density
        loss = EventsLoss(alpha0, l2=estimator.l2_ratio * shape.item_skew**0.5, nu=1.0, counts="binary")
    else:
        loss = RatingsLoss(estimator.l2, estimator.l2_bias, estimator.pseudo_ratings)
    sides = (
        (shape.users, shape.user_skew, shape.items, shape.item_skew),
        (shape.items, shape.item_skew, shape.users, shape.user_skew),
    )
    epoch = 0.0
    for n, skew, n_other, other_skew in sides:
        half = _HalfStep.of(loss, estimator, shape, (n, skew, n_other, other_skew), SAMPLE_ENTRIES)
        epoch += half.seconds(lambda *arguments: improve(*arguments, steps=estimator.cg_steps))
    exact = _HalfStep.of(loss, estimator, shape, sides[0], EXACT_ENTRIES)
    return FitCost(epoch, exact.seconds(solve))


@dataclass(frozen=True)
class _HalfStep:
    """Sample of the rows of a half-step, with the vectors of the other side."""

    loss: Any
    factors: Float32
    bias: Float32
    rows: SparseRows
    n_rows: int
    n_other: int

    @classmethod
    def of(
        cls, loss: Any, estimator: Any, shape: TableShape, side: tuple[int, float, int, float], n_entries: int
    ) -> _HalfStep:
        n, skew, n_other, other_skew = side
        n_sample = min(round(n_entries * n / shape.events), SAMPLE_ENTRIES, _sample_size(n, estimator.factors))
        n_sample = max(n_sample, min(n, 8))
        n_vectors = _sample_size(n_other, estimator.factors)
        rows = loss.entries(sample_rows(n_sample, skew, n_vectors, other_skew, shape.events * n_sample / n))
        stream = random_stream(0, "capacity", "vectors")
        factors = _vectors(n_vectors, estimator.factors, estimator.factors, stream)
        return cls(loss, factors, np.zeros(n_vectors, np.float32), rows, n, n_other)

    def seconds(self, run: Callable[..., object]) -> float:
        """Return the CPU seconds for all rows; the part that depends on the vectors only is scaled by their number."""
        inputs = self.loss.ridge_inputs(self.factors, self.bias, 0.0)
        setup = _cpu_seconds(lambda: self.loss.ridge_inputs(self.factors, self.bias, 0.0))
        penalty = self.loss.penalty(self.rows.counts, self.n_other)
        x = np.full((len(self.rows), inputs.features.shape[1]), np.float32(0.01))
        first = self.rows.row(int(np.argmax(self.rows.counts > 0)))
        fixed = _cpu_seconds(lambda: run(x[:1], first, penalty[:1], inputs))
        total = _cpu_seconds(lambda: run(x, self.rows, penalty, inputs))
        per_row = max(total - fixed, 0.0) / len(self.rows)
        return per_row * self.n_rows + (setup + fixed) * self.n_other / len(self.factors)


def _biased_mf(estimator: Any, shape: TableShape) -> FitCost:
    """Measure an SGD epoch over blocks of the same shape as those of the table."""
    sample = _BlockSample.of(shape, estimator.factors, grid_size(shape.events, max_size=8))
    rows, stream = sample.rows, random_stream(0, "capacity", "epoch")
    blocks = rating_blocks(
        rows.owners, rows.columns, rows.values - np.float32(3), np.zeros(0, np.float32),
        n_users=len(rows), n_items=sample.n_items, grid=sample.grid, seed=0,
    )  # fmt: skip
    width = padded_width(estimator.factors)
    P, Q = (_vectors(n, estimator.factors, width, stream) for n in (len(rows), sample.n_items))
    user_bias, item_bias = np.zeros(len(rows), np.float32), np.zeros(sample.n_items, np.float32)
    span = 0.0 if estimator.rating_range is None else 5.0
    seconds = _cpu_seconds(
        lambda: sgd_epoch(
            P, Q, user_bias, item_bias, blocks,
            mean=0.0, low=-span / 2, span=span, learning_rate=1e-3, bias_rate=1e-3 if estimator.biases else 0.0,
            l2=estimator.l2, l2_bias=estimator.l2_bias, rng=stream,
        )
    )  # fmt: skip
    return FitCost(seconds * shape.events / len(rows.columns), max_threads=sample.full_grid)


def _bpr(estimator: Any, shape: TableShape) -> FitCost:
    """Measure a BPR epoch over blocks of the same shape as those of the table, with the partition into blocks.

    As in the table, the users and items of a block are scattered over the vectors of all users and items.
    """
    sample = _BlockSample.of(shape, estimator.factors, grid_size(shape.events))
    stream = random_stream(0, "capacity", "epoch")
    n_users, n_items = (
        max(_sample_size(n, estimator.factors), n_sample)
        for n, n_sample in ((shape.users, len(sample.rows)), (shape.items, sample.n_items))
    )
    users, in_blocks = (
        np.sort(stream.choice(n, n_sample, replace=False)).astype(np.int32)
        for n, n_sample in ((n_users, len(sample.rows)), (n_items, sample.n_items))
    )
    counts = np.zeros(n_users, np.int64)
    counts[users] = sample.rows.counts
    rows = SparseRows(row_starts(counts), in_blocks[sample.rows.columns], sample.rows.values)
    width = padded_width(estimator.factors)
    P, Q = (_vectors(n, estimator.factors, width, stream) for n in (n_users, n_items))
    bias, support = np.zeros(n_items, np.float32), rows.column_counts(n_items)
    candidates = n_negatives(estimator.negatives_ratio, max(1 / (shape.density * shape.item_skew), 1.0))
    is_used = np.zeros(n_items, bool)
    is_used[in_blocks] = True

    weights = rows.values if estimator.counts != "binary" else np.zeros(0, np.float32)

    def epoch() -> None:
        blocks = pair_blocks(rows, weights, support, grid=sample.grid, rng=stream)
        used = is_used[blocks.items]
        item_start = np.concatenate([np.zeros(1, np.int64), np.cumsum(used)])[blocks.item_start]
        bpr_epoch(
            P, Q, bias, replace(blocks, items=blocks.items[used], item_start=item_start),
            candidates=candidates, learning_rate=1e-3, l2=estimator.l2, l2_bias=estimator.l2_bias, rng=stream,
        )  # fmt: skip

    return FitCost(_cpu_seconds(epoch) * shape.events / len(rows.columns), max_threads=sample.full_grid)


@dataclass(frozen=True)
class _BlockSample:
    """Rows in as many blocks as threads can update at once, each with the shape of a block of the table."""

    rows: SparseRows
    n_items: int
    grid: int
    full_grid: int

    @classmethod
    def of(cls, shape: TableShape, factors: int, full_grid: int) -> _BlockSample:
        grid = min(thread_count(), full_grid)
        share = grid / full_grid
        n_items = min(max(round(shape.items * share), 1), _sample_size(shape.items, factors))
        per_user = shape.events / shape.users * share
        n_users = max(min(round(SAMPLE_ENTRIES / per_user), _sample_size(shape.users, factors)), 1)
        rows = sample_rows(n_users, shape.user_skew, n_items, shape.item_skew, per_user * n_users)
        return cls(rows, n_items, grid, full_grid)


FIT_COSTS: dict[type[Estimator], Callable[[Any, TableShape], FitCost]] = {
    ImplicitALS: _als,
    ExplicitALS: _als,
    BiasedMF: _biased_mf,
    BPR: _bpr,
}
"""Measurements of a pass by estimator; plans support these estimators."""


def _sample_size(n: int, factors: int) -> int:
    """Return the number of vectors in a sample."""
    return max(min(n, MAX_VECTORS // (4 * padded_width(factors))), 1)


def _vectors(n: int, factors: int, width: int, stream: np.random.Generator) -> Float32:
    """Return n random vectors, padded with zeros to a width; blocks of them are equal, because drawing takes long."""
    vectors = np.zeros((min(n, 1 << 14), width), np.float32)
    vectors[:, :factors] = stream.standard_normal((len(vectors), factors), dtype=np.float32) / np.float32(factors**0.5)
    return np.resize(vectors, (n, width))


def _cpu_seconds(run: Callable[[], object], times: int = REPETITIONS) -> float:
    """Return the CPU seconds of a call by all threads, the least of several."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)
