"""Clusters of item vectors for the ranking of large catalogs; `topk_clusters` searches them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cofactor.arrays import Float32, Int8, Int32, Int64
from cofactor.kernels.compile import kernel
from cofactor.kernels.item_partition import partition
from cofactor.kernels.parallel import parallel_for

__all__ = ["ItemClusters"]

CLUSTERS_PER_TASK = 256
"""The number of clusters that are encoded by a task."""

CHUNK = 1 << 14
"""The number of vectors in memory in float64."""


@dataclass(frozen=True, eq=False)
class ItemClusters:
    """Item vectors in clusters, with their codes; positions are ordered by cluster.

    Attributes
    ----------
    factors : ndarray of shape (n, width), float32
        Item factors, by row number.
    bias : ndarray of shape (n,), float32
        Item biases, by row number.
    rows : ndarray of shape (n,), int32
        The item row number at each position.
    start : ndarray of shape (n_clusters + 1,), int64
        The items of cluster c are at the positions start[c] to start[c + 1] - 1. No cluster is empty.
    centers : ndarray of shape (n_clusters, width), float32
        The center of each cluster.
    radius : ndarray of shape (n_clusters,), float32
        The largest distance of an item from the center of its cluster, rounded up.
    codes : ndarray of shape (n, width), int8
        Item factors divided by `scale` and rounded, by position.
    scale, error : ndarray of shape (n,), float32
        The unit of the codes, and the distance between the coded and the exact vector, rounded up, by position.
    """

    factors: Float32
    bias: Float32
    rows: Int32
    start: Int64
    centers: Float32
    radius: Float32
    codes: Int8
    scale: Float32
    error: Float32

    @classmethod
    def of(cls, factors: Float32, bias: Float32) -> ItemClusters:
        """Cluster items by their factors and biases.

        Parameters
        ----------
        factors : ndarray of shape (n, width), float32
            Item factors, by row number; n may be 0.
        bias : ndarray of shape (n,), float32
            Item biases, by row number.

        Returns
        -------
        ItemClusters
        """
        return cls._encoded(factors, bias, *partition(factors, bias))

    @classmethod
    def _encoded(cls, factors: Float32, bias: Float32, rows: Int32, start: Int64) -> ItemClusters:
        """Compute centers, radii and codes of clusters, which are given by their item rows."""
        width, n_clusters = factors.shape[1], len(start) - 1
        centers, radius = np.empty((n_clusters, width), np.float32), np.empty(n_clusters, np.float32)
        codes = np.empty((len(rows), width), np.int8)
        scale, error = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
        encode, step = _encode(width), CLUSTERS_PER_TASK
        parallel_for(
            lambda c: encode(centers, radius, codes, scale, error, factors, rows, start, c, min(c + step, n_clusters)),
            range(0, n_clusters, step),
        )
        return cls(factors, bias, rows, start, centers, radius, codes, scale, error)

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> ItemClusters | None:
        """Return clusters for a catalog to which items are added; the existing clusters and codes are kept.

        Parameters
        ----------
        factors : ndarray of shape (n, width), float32
            Factors of all items of the new catalog, by row number.
        bias : ndarray of shape (n,), float32
            Biases of all items of the new catalog.
        take : ndarray of shape (n,), int32
            The items of the new catalog: an entry t >= 0 is row t of this catalog, and t < 0 is a new item.

        Returns
        -------
        ItemClusters or None
            None unless the new catalog contains each item of this one exactly once.
        """
        is_old = take >= 0
        new_rows = np.flatnonzero(~is_old).astype(np.int32)
        row_of = np.full(len(self.rows), -1, np.int32)
        row_of[take[is_old]] = np.flatnonzero(is_old)
        if len(take) - len(new_rows) != len(self.rows) or (row_of < 0).any():
            return None
        added = ItemClusters.of(np.ascontiguousarray(factors[new_rows]), bias[new_rows])
        parts = [
            (getattr(self, name), getattr(added, name)) for name in ("centers", "radius", "codes", "scale", "error")
        ]
        return ItemClusters(
            factors,
            bias,
            np.concatenate([row_of[self.rows], new_rows[added.rows]]),
            np.concatenate([self.start, self.start[-1] + added.start[1:]]),
            *(np.concatenate(pair) for pair in parts),
        )

    @cached_property
    def max_norm(self) -> np.float32:
        """The largest norm of an item vector, rounded up."""
        starts = range(0, len(self.factors), CHUNK)
        chunks = (self.factors[first : first + CHUNK].astype(np.float64) for first in starts)
        square = max((np.einsum("rd,rd->r", chunk, chunk).max() for chunk in chunks), default=0.0)
        return np.float32(np.sqrt(square) * (1 + 1e-6))

    @cached_property
    def largest_bias(self) -> np.float32:
        """The largest absolute bias."""
        return np.float32(np.abs(self.bias).max(initial=0))

    @cached_property
    def bias_order(self) -> Int32:
        """Item rows in descending order of biases, then by row: the ranking for a user vector of zeros."""
        if not self.bias.any():
            return np.arange(len(self.bias), dtype=np.int32)
        return np.argsort(-self.bias, kind="stable").astype(np.int32)

    @cached_property
    def max_bias(self) -> Float32:
        """The largest bias in each cluster."""
        return self.largest(self.bias)

    def largest(self, values: Float32) -> Float32:
        """Return the largest value in each cluster.

        Parameters
        ----------
        values : ndarray of shape (n,), float32
            A value for each item row.

        Returns
        -------
        ndarray of shape (n_clusters,), float32
        """
        return np.maximum.reduceat(values[self.rows], self.start[:-1]) if len(self.rows) else values[:0]


@kernel(
    writes="f4[:, ::1] f4[::1] i1[:, ::1] f4[::1] f4[::1]",
    reads="f4[:, ::1] i4[::1] i8[::1]",
    scalars="i8 i8",
)
def _encode(width: int):
    """Write the centers and radii of the clusters first..last-1, and the codes, scales and errors of their items."""

    def _encode(centers, radius, codes, scale, error, factors, rows, start, first, last):
        mean = np.zeros(width)
        for c in range(first, last):
            mean[:] = 0
            for position in range(start[c], start[c + 1]):
                for d in range(width):
                    mean[d] += factors[rows[position], d]
            for d in range(width):
                centers[c, d] = mean[d] / (start[c + 1] - start[c])
            largest = 0.0
            for position in range(start[c], start[c + 1]):
                row, square, magnitude = rows[position], 0.0, np.float32(0)
                for d in range(width):
                    magnitude = max(magnitude, abs(factors[row, d]))
                    square += (np.float64(factors[row, d]) - np.float64(centers[c, d])) ** 2
                largest = max(largest, square)
                unit = magnitude / np.float32(127)
                inverse = 1 / np.float64(unit) if unit > 0 else 0.0
                square = 0.0
                for d in range(width):
                    code = np.rint(np.float64(factors[row, d]) * inverse)
                    codes[position, d] = np.int8(code)
                    square += (np.float64(factors[row, d]) - np.float64(unit) * code) ** 2
                scale[position] = unit
                error[position] = np.sqrt(square) * (1 + 1e-6)
            radius[c] = np.sqrt(largest) * (1 + 1e-6)

    return _encode
