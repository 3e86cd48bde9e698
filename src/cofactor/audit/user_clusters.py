"""User clusters: groups of users who rated similar items, for audits without a user attribute to group by.

The clustering uses histories rather than trained factors: a group is defined by the items that its members rate,
while a factor vector mostly describes how they rate them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int64, random_stream
from cofactor.checks import Seed
from cofactor.errors import DataError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import require_histories
from cofactor.validation import validated

__all__ = ["cluster_users"]

COMPONENTS, POWER_ITERATIONS, MAX_ITERATIONS, RESTARTS = 16, 4, 100, 10


@one_thread_blas()
@validated
def cluster_users(histories: SparseRows, n_items: int, *, n_groups: int = 10, seed: Seed = 0) -> Int64:
    """Cluster users based on the items in their histories.

    Parameters
    ----------
    histories : SparseRows with n_users rows
        Items of each user. The values are ignored.
    n_items : int
        Number of items.
    n_groups : int, default 10
        Number of groups, from 1 to the number of users with a history.
    seed : int, Generator or None, default 0
        Seed for the clustering; the same seed gives the same groups.

    Returns
    -------
    ndarray of shape (n_users,), int64
        Group number for each user, from 0 (the largest group) to n_groups - 1. Users without a history are in group 0.

    Raises
    ------
    ParameterError
        `n_groups` is below 1 or above the number of users with a history.
    DataError
        No user has a history.

    Notes
    -----
    Each user's row of ones is scaled to unit length, projected onto the leading 16 directions of a randomized SVD
    and clustered with k-means and k-means++ initialization. The best of ten runs is returned.

    References
    ----------
    Halko, Martinsson & Tropp (2011), "Finding structure with randomness", SIAM Review; Arthur & Vassilvitskii (2007),
    "k-means++: The advantages of careful seeding", SODA.

    Examples
    --------
    >>> rows = SparseRows.of([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 2, 3, 2, 3], [1] * 8, n_rows=4)
    >>> a, b, c, d = cluster_users(rows, 4, n_groups=2).tolist()
    >>> a == b, c == d, a == c
    (True, True, False)
    """
    n_items = checks.whole_number("n_items", n_items, low=1, high=MAX_ROWS)
    active = np.flatnonzero(require_histories(histories, n_items).counts)
    seed = checks.seed(seed)
    if len(active) == 0:
        raise DataError("no user has a history, so users cannot be clustered")
    n_groups = checks.whole_number("n_groups", n_groups, low=1, high=len(active))
    points = _principal_components(histories.take(active), n_items, random_stream(seed, "directions"))
    runs = [_k_means(points, n_groups, random_stream(seed, "start", restart)) for restart in range(RESTARTS)]
    labels = min(runs, key=lambda run: run[0])[1]
    order = np.argsort(-np.bincount(labels, minlength=n_groups), kind="stable")
    rank = np.empty(n_groups, np.int64)
    rank[order] = np.arange(n_groups)
    groups = np.zeros(len(histories), np.int64)
    groups[active] = rank[labels]
    return groups


def _principal_components(rows: SparseRows, n_columns: int, stream: np.random.Generator) -> Float64:
    """Scale the rows to unit length and project them onto their leading singular directions: (n_rows, COMPONENTS)."""
    owner = rows.owners
    value = 1 / np.sqrt(rows.counts)[owner]
    width = min(COMPONENTS, len(rows), n_columns)

    def multiply(dense: Float64) -> Float64:
        return _sum_by_owner(owner, dense[rows.columns] * value[:, None], len(rows))

    def multiply_transposed(dense: Float64) -> Float64:
        return _sum_by_owner(rows.columns, dense[owner] * value[:, None], n_columns)

    basis = multiply(stream.standard_normal((n_columns, width)))
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr(multiply(multiply_transposed(np.linalg.qr(basis)[0])))[0]
    left_vectors, singular_values, _ = np.linalg.svd(multiply_transposed(basis).T, full_matrices=False)
    points: Float64 = basis @ left_vectors * singular_values
    return points


def _sum_by_owner(owner: Any, parts: Float64, n: int) -> Float64:
    """Sum the rows of `parts` for each owner: ndarray of shape (n, width)."""
    return np.stack([np.bincount(owner, weights=column, minlength=n) for column in parts.T], axis=1)


def _k_means(points: Float64, k: int, stream: np.random.Generator) -> tuple[float, Int64]:
    """Run k-means; return the sum of squared distances to the assigned centers, and the label of each point."""
    centers = points[stream.integers(len(points))][None]
    for _ in range(k - 1):
        squares = _squared_distances(points, centers).min(axis=1)
        total = squares.sum()
        index = stream.choice(len(points), p=squares / total) if total > 0 else stream.integers(len(points))
        centers = np.vstack([centers, points[index]])
    labels = np.full(len(points), -1)
    for _ in range(MAX_ITERATIONS):
        squares = _squared_distances(points, centers)
        nearest_centers = squares.argmin(axis=1)
        if (nearest_centers == labels).all():
            break
        labels = nearest_centers
        counts = np.bincount(labels, minlength=k)
        sums = _sum_by_owner(labels, points, k)
        centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers)
    return float(np.take_along_axis(squares, labels[:, None], axis=1).sum()), labels.astype(np.int64)


def _squared_distances(points: Float64, centers: Float64) -> Float64:
    """Return the squared distances between all points and all centers: ndarray of shape (n, k)."""
    squares = np.square(points).sum(axis=1)[:, None] - 2 * points @ centers.T + np.square(centers).sum(axis=1)
    nonnegative: Float64 = np.maximum(squares, 0)
    return nonnegative
