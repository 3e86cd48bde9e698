"""Array types by name, the mostly blank matrix, and independent random streams from one seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import checks

__all__ = [
    "EVERY",
    "NO_ORDER",
    "Bool",
    "Bytes",
    "Float32",
    "Float64",
    "Int8",
    "Int32",
    "Int64",
    "SparseRows",
    "contiguous",
    "plain",
    "random_stream",
    "read_only",
]

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Int8: TypeAlias = NDArray[np.int8]
Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
Bytes: TypeAlias = NDArray[np.uint8]

EVERY: Bool = np.zeros(0, np.bool_)
"""The mask that allows every row."""
NO_ORDER: Int32 = np.zeros(0, np.int32)
"""No order of rows but their numbers."""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory, seen through a view that cannot be written; of any shape and dtype.

    >>> read_only(np.zeros(2)).flags.writeable
    False
    """
    view = array.view()
    view.flags.writeable = False
    return view


def contiguous(array: Any, dtype: Any) -> NDArray[Any]:
    """`array` as a C-contiguous array of `dtype`, of the same shape; copied only when it is not one already.

    >>> contiguous([[1, 2]], np.float32).tolist()
    [[1.0, 2.0]]
    """
    return np.ascontiguousarray(array, dtype=dtype)


def random_stream(seed: int, *path: str | int) -> np.random.Generator:
    """A random generator of its own for every (seed, path): streams never depend on each other's use.

    seed: a whole number from 0 to `checks.MAX_SEED`; path: what the stream is for. Raises ParameterError for another
    seed.

    >>> a = random_stream(0, "user factors").standard_normal(2)
    >>> b = random_stream(0, "user factors").standard_normal(2)
    >>> bool((a == b).all())
    True
    >>> random_stream(-1)
    Traceback (most recent call last):
    cofactor.errors.ParameterError: seed must be a whole number from 0 to 4294967295, not -1
    """
    seed = checks.seed(seed)
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A mostly blank matrix by rows (CSR): row r holds `columns[start[r]:start[r + 1]]`, ascending.

        start (n_rows + 1,) int64    columns (n,) int32
        values (n,) float32          weights (n,) float32, or None where every weight is 1

    A row without entries has start[r] = start[r + 1]; a matrix without rows has start = [0].

    >>> rows = SparseRows.of(rows=[1, 0, 1], columns=[2, 0, 1], values=[5, 3, 4], n_rows=3)
    >>> rows.counts.tolist(), rows.row(1).columns.tolist(), rows.row(1).values.tolist()
    ([1, 2, 0], [1, 2], [4.0, 5.0])
    """

    start: Int64
    columns: Int32
    values: Float32
    weights: Float32 | None = None

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def counts(self) -> Int64:
        """How many entries each row has: (n_rows,) int64."""
        return np.diff(self.start)

    def row(self, r: int) -> SparseRows:
        """Row r alone, as a matrix of one row, without copying its entries."""
        return self.slice(r, r + 1)

    def slice(self, first: int, last: int) -> SparseRows:
        """Rows first..last-1, without copying their entries."""
        part = slice(int(self.start[first]), int(self.start[last]))
        weights = None if self.weights is None else self.weights[part]
        start = self.start[first : last + 1] - self.start[first]
        return SparseRows(start, self.columns[part], self.values[part], weights)

    def take(self, rows: Any) -> SparseRows:
        """These rows, in this order; a row number of -1 gives an empty row. One row, or all as they are: no copy."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) == 1 and rows[0] >= 0:
            return self.row(int(rows[0]))
        if len(rows) == len(self) and bool((rows == np.arange(len(self))).all()):
            return self
        counts = np.where(rows < 0, 0, self.start[rows + 1] - self.start[rows])
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        entries = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], counts)
        weights = None if self.weights is None else self.weights[entries]
        return SparseRows(start, self.columns[entries], self.values[entries], weights)

    @classmethod
    def of(cls, rows: Any, columns: Any, values: Any, n_rows: int, weights: Any = None) -> SparseRows:
        """From entries in any order, (n,) each; within a row they are sorted by column. No entries: `n_rows` blanks."""
        order = np.lexsort((columns, rows))
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=n_rows))])
        sorted_weights = None if weights is None else contiguous(np.asarray(weights)[order], np.float32)
        return cls(
            start,
            contiguous(np.asarray(columns)[order], np.int32),
            contiguous(np.asarray(values)[order], np.float32),
            sorted_weights,
        )

    @classmethod
    def empty(cls, n_rows: int) -> SparseRows:
        """`n_rows` rows without entries."""
        return cls(np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def plain(value: Any) -> Any:
    """The same value of JSON's types only.

    Tuples become lists, what is NumPy's becomes Python's, a number that is not finite becomes None, and whatever is of
    another type its text.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):  # a number or an array of NumPy's
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
