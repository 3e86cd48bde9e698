"""Alternating least squares on blocks: a half-step fits the vectors of one side with those of the other side fixed.

A task fits the rows of one block with the kernels of the local estimators, so that objective and updates are the same.
It reads all vectors of the other side, which must fit into the memory of a Spark worker; they are kept for its
next tasks. Vectors are files in the work folder, one for each block and half-step: a lost task is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cofactor.arrays import Float32, Float64, Int32
from cofactor.cluster.blocks import SIDES, Layout, block_rows, read_rows, run_on_blocks
from cofactor.cluster.storage import WorkFolder
from cofactor.data.scale import Scale, centered
from cofactor.estimators.training_table import Standardization
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.ridge import RidgeInputs, improve, solve
from cofactor.kernels.sparse import SparseRows
from cofactor.models.losses import EventsLoss, RatingsLoss

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["FINAL", "HalfSteps"]

FINAL = "final"
"""Version of the vectors of the finished model."""


@dataclass(frozen=True)
class HalfSteps:
    """Problem of an alternating least squares fit, which is sent to the tasks.

    Parameters
    ----------
    folder : WorkFolder
        Folder with the blocks and the vectors.
    layout : Layout
        Sizes of the table.
    loss : RatingsLoss or EventsLoss
        Objective, for standardized ratings or for events.
    factors : int
        Number of latent factors.
    cg_steps : int
        Number of conjugate gradient steps per row.
    standardization : Standardization or None
        Transformation of ratings; None for events.
    scale : Scale or None
        Rating scale.
    """

    folder: WorkFolder
    layout: Layout
    loss: RatingsLoss | EventsLoss
    factors: int
    cg_steps: int
    standardization: Standardization | None
    scale: Scale | None

    def write_items(self, spark: SparkSession, draw: Callable[[], Float32], version: str) -> None:
        """Write initial item vectors.

        Parameters
        ----------
        spark : SparkSession
            The session.
        draw : callable
            Function that draws the factors of all items, (n_items, factors), in every task.
        version : str
            Version of the vectors.
        """
        run_on_blocks(spark, self.layout.n_blocks, lambda block: self._write_initial(draw, version, block))

    def update(self, spark: SparkSession, side: str, number: int) -> float:
        """Improve the vectors of one side, given those of the other side.

        Parameters
        ----------
        spark : SparkSession
            The session.
        side : {"user", "item"}
            Side to fit. Users of epoch n are fitted to the items of epoch n - 1, and items to the users of epoch n.
        number : int
            Number of the epoch, from 1.

        Returns
        -------
        float
            Sum of squared errors before the update.
        """
        fixed = str(number - 1) if side == "user" else str(number)
        squares = run_on_blocks(
            spark, self.layout.n_blocks, lambda block: self._update(side, str(number), str(number - 1), fixed, block)
        )
        return float(np.sum(squares))

    def finish(self, spark: SparkSession, number: int) -> None:
        """Solve for the users exactly, which makes fold-in of user histories exact, and store the final vectors.

        Parameters
        ----------
        spark : SparkSession
            The session.
        number : int
            Number of the last epoch.
        """
        run_on_blocks(spark, self.layout.n_blocks, lambda block: self._finish_items(str(number), block))
        self.finish_users(spark)

    def finish_users(self, spark: SparkSession) -> None:
        """Solve for the users exactly, given the final items; a task holds only the vectors of the items of its users.

        Parameters
        ----------
        spark : SparkSession
            The session.
        """
        run_on_blocks(spark, self.layout.n_blocks, self._finish_users)

    def write_final_items(self, block: int, rows: Int32, factors: Float32, bias: Float64) -> None:
        """Write the final vectors of a block of items; items without a vector have the vector 0.

        Parameters
        ----------
        block : int
            Number of the block.
        rows : ndarray of shape (m,), int32
            Row numbers of the items.
        factors : ndarray of shape (m, k), float32
            Their factors.
        bias : ndarray of shape (m,), float64
            Their biases; not used for events.
        """
        n = len(block_rows(block, self.layout.n_items, self.layout.n_blocks))
        vectors = np.zeros((n, self.loss.width(self.factors)), np.float32)
        vectors[rows // self.layout.n_blocks, : self.factors] = factors
        if self.loss.has_bias:
            vectors[rows // self.layout.n_blocks, self.factors] = bias
        self._write("item", FINAL, block, vectors)

    def remove(self, number: int) -> None:
        """Delete the vectors of an epoch.

        Parameters
        ----------
        number : int
            Number of the epoch.
        """
        for side in SIDES:
            self.folder.remove(f"{side}-vectors/{number}")

    def read_vectors(self, side: str, version: str, block: int) -> Float32 | None:
        """Read the vectors of one block.

        Parameters
        ----------
        side : {"user", "item"}
            Which vectors.
        version : str
            Number of the epoch, or `FINAL`.
        block : int
            Number of the block.

        Returns
        -------
        ndarray of shape (m, width), float32, or None
            Vectors with the columns [factors, bias if any, padding]; None if they were not written.
        """
        try:
            table = self.folder.read(f"{side}-vectors/{version}/{block:06}.arrow")
        except FileNotFoundError:
            return None
        flat = table["vector"].combine_chunks().values.to_numpy(zero_copy_only=True)
        vectors: Float32 = flat.reshape(-1, self.loss.width(self.factors))
        return vectors

    def _write(self, side: str, version: str, block: int, vectors: Float32) -> None:
        import pyarrow as pa

        array = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        self.folder.write(f"{side}-vectors/{version}/{block:06}.arrow", pa.table({"vector": array}))

    def _write_initial(self, draw: Callable[[], Float32], version: str, block: int) -> float:
        drawn = _drawn(draw)[block :: self.layout.n_blocks]
        vectors = np.zeros((len(drawn), self.loss.width(self.factors)), np.float32)
        vectors[:, : self.factors] = drawn
        self._write("item", version, block, vectors)
        return 0.0

    @one_thread_blas()
    def _update(self, side: str, version: str, previous: str, fixed: str, block: int) -> float:
        entries = self._entries(side, block)
        before = self.read_vectors(side, previous, block)
        shape = (len(entries), self.loss.width(self.factors))
        vectors = np.zeros(shape, np.float32) if before is None else before.copy()
        penalty = self.loss.penalty(entries.counts, self.layout.n(SIDES[side]))
        squares = improve(vectors, entries, penalty, _fixed_inputs(self, SIDES[side], fixed), steps=self.cg_steps)
        self._write(side, version, block, vectors)
        return squares

    def _finish_items(self, version: str, block: int) -> float:
        vectors = self.read_vectors("item", version, block)
        if vectors is not None:
            is_empty = self._entries("item", block).counts == 0
            self._write("item", FINAL, block, np.where(is_empty[:, None], np.float32(0), vectors))
        return 0.0

    @one_thread_blas()
    def _finish_users(self, block: int) -> float:
        entries = self._entries("user", block)
        vectors = np.empty((len(entries), self.loss.width(self.factors)), np.float32)
        penalty = self.loss.penalty(entries.counts, self.layout.n_items)
        items, columns = np.unique(entries.columns, return_inverse=True)
        entries = replace(entries, columns=columns.astype(np.int32))
        solve(vectors, entries, penalty, self._inputs_of(items))
        self._write("user", FINAL, block, vectors)
        return 0.0

    def _inputs_of(self, items: Int32) -> RidgeInputs:
        """Return the inputs of the ridge regressions for some items, read block by block."""
        n_blocks, width = self.layout.n_blocks, self.loss.width(self.factors)
        vectors, gram = np.zeros((len(items), width), np.float32), None
        for block in range(n_blocks):
            part = self.read_vectors("item", FINAL, block)
            if part is None:
                continue
            chosen = np.flatnonzero(items % n_blocks == block)
            vectors[chosen] = part[items[chosen] // n_blocks]
            block_gram = self.loss.unobserved_gram(part)
            gram = block_gram if gram is None else gram + block_gram
        inputs = self.loss.ridge_inputs(vectors[:, : self.factors].copy(), self._bias(vectors), 0.0)
        return inputs if gram is None else replace(inputs, gram=gram)

    def _bias(self, vectors: Float32) -> Float32:
        return vectors[:, self.factors].copy() if self.loss.has_bias else np.zeros(len(vectors), np.float32)

    def _entries(self, side: str, block: int) -> SparseRows:
        """Return the entries of a block as the loss takes them, with standardized ratings."""
        rows = read_rows(self.folder, f"{side}-rows", block, self.layout, side)
        if self.standardization is not None:
            values = centered(rows.values, self.standardization.mean, self.scale) / self.standardization.std
            rows = replace(rows, values=values.astype(np.float32))
        return self.loss.entries(rows)


@lru_cache(maxsize=1)
def _fixed_inputs(problem: HalfSteps, side: str, version: str) -> RidgeInputs:
    """Return the inputs of the ridge regressions for the fixed side; a worker keeps them for all of its tasks."""
    loss, n_blocks = problem.loss, problem.layout.n_blocks
    vectors = np.zeros((problem.layout.n(side), loss.width(problem.factors)), np.float32)
    for block in range(n_blocks):
        part = problem.read_vectors(side, version, block)
        if part is not None:
            vectors[block_rows(block, len(vectors), n_blocks)] = part
    return loss.ridge_inputs(vectors[:, : problem.factors].copy(), problem._bias(vectors), 0.0)


@lru_cache(maxsize=1)
def _drawn(draw: Callable[[], Any]) -> Float32:
    """Return the initial factors, which a worker draws once."""
    factors: Float32 = draw()
    return factors
