"""Partition of items into clusters of similar vectors, by repeated k-means; `item_clusters` stores them.

The time grows little more than linearly with the number of items. Lists do not depend on the clusters, only the time of
a search does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from cofactor.arrays import Float32, Int32, Int64, random_stream, row_starts
from cofactor.kernels.compile import kernel
from cofactor.kernels.parallel import one_thread_blas, parallel_for, parallel_map

__all__ = ["CLUSTER_SIZE", "partition"]

Vectors: TypeAlias = Callable[[Int32], Float32]
"""Function that returns the vectors of items, given their rows."""

CLUSTER_SIZE = 256
"""The average number of items per cluster, unless more items are nearly identical."""

MAX_BRANCHES = 256
"""The maximum number of parts into which a set of items is divided at a time."""

SAMPLE_PER_CENTER, ITERATIONS = 64, 5
"""The number of sampled items per center, and the number of iterations of k-means on the sample."""

NEGLIGIBLE_RADIUS = 0.003
"""Sets of items with a radius below this fraction of the largest norm are not divided."""

MIN_SEPARATED, MAX_SEPARATED, SEPARATE_CENTERS, SEPARATED_RADIUS = 32, 1 << 14, 8, 0.6
"""Clusters of at least 32 items are divided into up to 8 groups, if that reduces the average radius to 60 %."""

WEIGHT_SAMPLE = 1 << 16
"""The number of items from which the weight of the biases is computed."""

CHUNK = 1 << 14
"""The number of items that are assigned to centers at a time."""


@one_thread_blas()
def partition(factors: Float32, bias: Float32) -> tuple[Int32, Int64]:
    """Divide items into clusters of similar vectors and biases.

    Parameters
    ----------
    factors : ndarray of shape (n, width), float32
        Item factors; n may be 0.
    bias : ndarray of shape (n,), float32
        Item biases.

    Returns
    -------
    rows : ndarray of shape (n,), int32
        The item rows, ordered by cluster.
    start : ndarray of shape (n_clusters + 1,), int64
        The items of cluster c are rows[start[c]:start[c + 1]]. No cluster is empty.

    Examples
    --------
    >>> rows, start = partition(np.float32([[0], [9], [0]]), np.zeros(3, np.float32))
    >>> rows.tolist(), start.tolist()
    ([0, 1, 2], [0, 3])
    """
    return _separated(factors, _clusters(factors, bias))


@kernel(writes="i4[::1] b1[::1]", reads="f4[:, ::1] i8[::1]", scalars="i8 i8 i8")
def _separate(width: int, n_centers: int):
    """Divide the clusters first..last-1 into groups with a much smaller radius, if there are any.

    Sorts `rows` within each cluster by group, and sets `is_first` at the position of the first item of each group.
    Centers are chosen by farthest-first traversal and moved to the mean of their items. Clusters of more than `largest`
    items are not divided.
    """

    def _separate(rows, is_first, factors, start, first, last, largest):
        centers, sums = np.empty((n_centers, width), np.float32), np.zeros((n_centers, width))
        counts, radius = np.zeros(n_centers, np.int64), np.zeros(n_centers)
        distance, label = np.empty(largest, np.float32), np.empty(largest, np.int64)
        copy = np.empty(largest, np.int32)
        for c in range(first, last):
            low, end = start[c], start[c + 1]
            if end - low > largest:
                continue
            while low < end:
                high = low + 1  # the end of the next group to divide
                while high < end and not is_first[high]:
                    high += 1
                size = high - low
                if size < MIN_SEPARATED:
                    low = high
                    continue
                # the mean, the radius, and the item that is farthest from the mean
                sums[0] = 0
                for t in range(size):
                    for d in range(width):
                        sums[0, d] += factors[rows[low + t], d]
                for d in range(width):
                    centers[0, d] = sums[0, d] / size
                whole, farthest = np.float32(0), 0
                for t in range(size):
                    square = np.float32(0)
                    for d in range(width):
                        square += (factors[rows[low + t], d] - centers[0, d]) ** 2
                    distance[t] = np.inf
                    if square > whole:
                        whole, farthest = square, t
                k = 0
                while k < n_centers:
                    for d in range(width):
                        centers[k, d] = factors[rows[low + farthest], d]
                    k += 1
                    remaining, farthest = np.float32(0), 0
                    for t in range(size):
                        square = np.float32(0)
                        for d in range(width):
                            square += (factors[rows[low + t], d] - centers[k - 1, d]) ** 2
                        if square < distance[t]:
                            distance[t], label[t] = square, k - 1
                        if distance[t] > remaining:
                            remaining, farthest = distance[t], t
                    if remaining <= np.float32(0.25) * whole:
                        break
                # move the centers to the means of their items, and assign the items again
                for _ in range(2):
                    sums[:k], counts[:k], radius[:k] = 0, 0, 0
                    for t in range(size):
                        counts[label[t]] += 1
                        for d in range(width):
                            sums[label[t], d] += factors[rows[low + t], d]
                    for j in range(k):
                        if counts[j] > 0:
                            for d in range(width):
                                centers[j, d] = sums[j, d] / counts[j]
                    counts[:k] = 0
                    for t in range(size):
                        nearest = np.float32(np.inf)
                        for j in range(k):
                            square = np.float32(0)
                            for d in range(width):
                                square += (factors[rows[low + t], d] - centers[j, d]) ** 2
                            if square < nearest:
                                nearest, label[t] = square, j
                        counts[label[t]] += 1
                        radius[label[t]] = max(radius[label[t]], nearest)
                average = 0.0
                for j in range(k):
                    average += counts[j] * np.sqrt(radius[j])
                if not average < SEPARATED_RADIUS * size * np.sqrt(whole):
                    low = high
                    continue
                position = low
                for t in range(size):
                    copy[t] = rows[low + t]
                for j in range(k):
                    is_first[position] = True
                    for t in range(size):
                        if label[t] == j:
                            rows[position] = copy[t]
                            position += 1
                is_first[high] = True

    return _separate


def _clusters(factors: Float32, bias: Float32) -> list[Int32]:
    """Divide items into clusters of similar vectors and biases by repeated k-means, and return their rows."""
    weight = _bias_weight(factors, bias)

    def vectors(rows: Int32) -> Float32:
        return np.column_stack([factors[rows], bias[rows] * weight]) if weight > 0 else factors[rows]

    rows = np.arange(len(bias), dtype=np.int32)
    largest_square = max((_squares(vectors(rows[chunk])).max() for chunk in _chunks(len(rows))), default=np.float32(0))
    negligible = np.float32(NEGLIGIBLE_RADIUS**2) * largest_square
    clusters: list[Int32] = []
    pending = [rows] if len(rows) else []
    while pending:
        if len(pending) == 1:  # so that the chunks of a large set are processed in parallel
            divided = [_divide(pending[0], vectors, negligible)]
        else:
            divided = parallel_map(lambda rows: _divide(rows, vectors, negligible), pending)
        parts = [part for each in divided for part in each]
        clusters += [rows for rows, is_final in parts if is_final]
        pending = [rows for rows, is_final in parts if not is_final]
    return clusters


def _separated(factors: Float32, clusters: list[Int32]) -> tuple[Int32, Int64]:
    """Divide clusters that consist of several groups far from each other; return the rows and the start of each."""
    start = row_starts([len(rows) for rows in clusters])
    rows = np.concatenate([np.zeros(0, np.int32), *clusters])
    is_first, largest = np.zeros(len(rows) + 1, bool), int(np.diff(start).max(initial=0))
    is_first[start] = True
    separate, step = _separate(factors.shape[1], SEPARATE_CENTERS), MAX_BRANCHES
    parallel_for(
        lambda c: separate(
            rows, is_first, factors, start, c, min(c + step, len(clusters)), min(largest, MAX_SEPARATED)
        ),
        range(0, len(clusters), step),
    )
    return rows, np.flatnonzero(is_first)


def _divide(rows: Int32, vectors: Vectors, negligible: np.float32) -> list[tuple[Int32, bool]]:
    """Divide a set of items by k-means, and return its parts and whether each of them is a cluster."""
    k = min(MAX_BRANCHES, -(-len(rows) // CLUSTER_SIZE))
    if k < 2:
        return [(rows, True)]
    sample = random_stream(0, "clusters", len(rows)).choice(len(rows), min(k * SAMPLE_PER_CENTER, len(rows)))
    centers = _k_means(vectors(rows[np.sort(sample)]), k)
    label, square = np.empty(len(rows), np.uint16), np.empty(len(rows), np.float32)

    def assign(chunk: slice) -> None:
        label[chunk], square[chunk] = _nearest(vectors(rows[chunk]), centers)

    parallel_for(assign, _chunks(len(rows)))
    order = np.argsort(label, kind="stable")
    start = row_starts(np.bincount(label, minlength=k))
    parts = []
    for first, last in pairwise(start):
        size = last - first
        if size:
            part = order[first:last]
            is_final = size <= 1.5 * CLUSTER_SIZE or size == len(rows) or square[part].max() <= negligible
            parts.append((rows[part], bool(is_final)))
    return parts


def _k_means(points: Float32, k: int) -> Float32:
    """Return the centers of k groups of points, from Lloyd's algorithm; the first points are the initial centers."""
    centers = points[np.linspace(0, len(points) - 1, k).astype(np.int64)]
    for _ in range(ITERATIONS):
        label, _ = _nearest(points, centers)
        counts = np.bincount(label, minlength=k)
        order, is_used = np.argsort(label, kind="stable"), counts > 0
        sums = np.add.reduceat(points[order], row_starts(counts)[:-1][is_used], axis=0)
        centers[is_used] = sums / counts[is_used, None].astype(np.float32)
    return centers


def _nearest(points: Float32, centers: Float32) -> tuple[Int64, Float32]:
    """Return the nearest center of each point, and the square of its distance."""
    products = points @ centers.T
    products -= _squares(centers) / 2
    label = products.argmax(axis=1)
    return label, _squares(points) - 2 * np.take_along_axis(products, label[:, None], axis=1)[:, 0]


def _bias_weight(factors: Float32, bias: Float32) -> np.float32:
    """Return the weight of biases as coordinates of the clusters, so that they vary as much as a factor on average."""
    sample = slice(None, None, -(-max(len(bias), 1) // WEIGHT_SAMPLE))
    if not bias.any() or (variance := bias[sample].var(dtype=np.float64)) == 0:
        return np.float32(0)
    factor_variance = factors[sample].var(axis=0, dtype=np.float64).mean() if factors.shape[1] else 1.0
    return np.float32(np.sqrt(factor_variance / variance))


def _squares(vectors: Float32) -> Float32:
    """Return the squared norm of each vector."""
    squares: Float32 = np.einsum("rd,rd->r", vectors, vectors)
    return squares


def _chunks(n: int) -> list[slice]:
    """Return slices of at most CHUNK rows."""
    return [slice(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]
