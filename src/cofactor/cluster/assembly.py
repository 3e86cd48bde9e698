"""Assembly: make a recommender from the blocks of a fit, one block at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.arrays import Bool, row_starts
from cofactor.cluster.blocks import SIDES, Layout, block_rows, read_rows
from cofactor.cluster.half_steps import FINAL, HalfSteps
from cofactor.cluster.storage import WorkFolder
from cofactor.data.ids import IdMap
from cofactor.estimators.base import Estimator
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.recommender.recommender import Recommender

__all__ = ["assemble"]


class _Arrays:
    """Arrays in files of a folder, so that they do not have to fit into memory.

    Parameters
    ----------
    folder : Path
        Folder for the files.
    """

    def __init__(self, folder: Path):
        self.folder, self.n = folder, 0

    def new(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return a new array of zeros that is mapped from a file; an array in memory if it is empty."""
        if 0 in shape:
            return np.zeros(shape, dtype)
        self.n += 1
        return np.memmap(self.folder / f"array-{self.n}", dtype, "w+", shape=shape)


def assemble(problem: HalfSteps, estimator: Estimator, folder: Path, *, seed: int, weighted: bool) -> Recommender:
    """Read the final vectors, the histories and the IDs of a fit.

    Parameters
    ----------
    problem : HalfSteps
        The finished fit.
    estimator : Estimator
        Estimator of the fit.
    folder : Path
        Local folder for the arrays of the recommender, which are mapped from files.
    seed : int
        Seed of the fit.
    weighted : bool
        Whether the table has weights.

    Returns
    -------
    Recommender
        Recommender whose arrays are mapped from the files.
    """
    arrays, layout, work = _Arrays(folder), problem.layout, problem.folder
    evidence = _evidence(problem)
    return Recommender(
        _model(problem, arrays),
        _ids(work, "user", layout.n_users, arrays),
        _ids(work, "item", layout.n_items, arrays),
        _histories(work, "user-rows", layout, arrays, weighted=weighted),
        layout.kind,
        estimator,
        seen=None if layout.min_rating is None else _histories(work, "seen", layout, arrays, weighted=weighted),
        scale=problem.scale,
        evidence=None if evidence.all() else evidence,
        seed=seed,
    )


def _model(problem: HalfSteps, arrays: _Arrays) -> FactorModel:
    """Return the model in units of the ratings."""
    layout, k, standardization = problem.layout, problem.factors, problem.standardization
    parts: dict[str, Any] = {}
    for side in SIDES:
        n = layout.n(side)
        factors, bias = arrays.new((n, k), np.float32), arrays.new((n,), np.float32)
        unit = np.float32(1.0 if standardization is None else standardization.std)
        for block in range(layout.n_blocks):
            vectors = problem.read_vectors(side, FINAL, block)
            if vectors is None:
                continue
            rows = block_rows(block, n, layout.n_blocks)
            factors[rows] = vectors[:, :k] * np.sqrt(unit)
            if problem.loss.has_bias:
                bias[rows] = vectors[:, k] * unit
        parts |= {f"{side}_factors": factors, f"{side}_bias": bias}
    if standardization is None:
        return FactorModel(**parts, loss=problem.loss)
    loss = problem.loss.rescaled(standardization.std, linear=True)
    return FactorModel(**parts, mean=standardization.mean, scale=problem.scale, loss=loss)


def _histories(work: WorkFolder, name: str, layout: Layout, arrays: _Arrays, *, weighted: bool) -> SparseRows:
    """Return the rows of all users."""
    counts = np.zeros(layout.n_users, np.int64)
    for block in range(layout.n_blocks):
        counts[block_rows(block, layout.n_users, layout.n_blocks)] = read_rows(work, name, block, layout, "user").counts
    start = row_starts(counts)
    n = int(start[-1])
    columns, values = arrays.new((n,), np.int32), arrays.new((n,), np.float32)
    weights = arrays.new((n,), np.float32) if weighted else None
    for block in range(layout.n_blocks):
        rows = read_rows(work, name, block, layout, "user")
        owners = block_rows(block, layout.n_users, layout.n_blocks)
        places = np.repeat(start[owners] - rows.start[:-1], rows.counts) + np.arange(len(rows.columns))
        columns[places], values[places] = rows.columns, rows.values
        if weights is not None:
            weights[places] = 1 if rows.weights is None else rows.weights
    return SparseRows(start, columns, values, weights)


def _evidence(problem: HalfSteps) -> Bool:
    """Return a mask of the items with a row of nonzero weight."""
    layout = problem.layout
    evidence = np.zeros(layout.n_items, bool)
    for block in range(layout.n_blocks):
        rows = read_rows(problem.folder, "item-rows", block, layout, "item")
        weights = np.ones(len(rows.columns)) if rows.weights is None else rows.weights
        evidence[block_rows(block, layout.n_items, layout.n_blocks)] = (
            np.bincount(rows.owners, weights=weights != 0, minlength=len(rows)) > 0
        )
    return evidence


def _ids(work: WorkFolder, side: str, n: int, arrays: _Arrays) -> IdMap:
    """Return the map of the IDs, which are in ascending order."""
    names = [f"ids-{side}/{name}" for name in work.names(f"ids-{side}")]
    columns = (work.read(name)[side].combine_chunks() for name in names)
    first = 0
    integers = arrays.new((n,), np.int64)
    lengths = np.zeros(n, np.int64)
    texts: list[bytes] = []
    for column in columns:
        part = slice(first, first + len(column))
        first += len(column)
        if str(column.type) == "int64":
            integers[part] = column.to_numpy()
            continue
        offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
        lengths[part] = np.diff(offsets)
        texts.append(bytes(column.buffers()[2])[offsets[0] : offsets[-1]])
    if not texts:
        return IdMap(integers)
    text = arrays.new((int(lengths.sum()),), np.uint8)
    text[:] = np.frombuffer(b"".join(texts), np.uint8)
    return IdMap(None, row_starts(lengths), text)
