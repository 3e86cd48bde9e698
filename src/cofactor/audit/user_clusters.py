"""Groups of users by what they rated: clusters of histories, for audits where no column tells who belongs together.

Histories, not factors: what a group rates is what sets it apart; a trained vector says how it rates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Float64, Int64, random_stream
from cofactor.errors import DataError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import require_histories
from cofactor.validation import validated

__all__ = ["taste_groups"]

DIRECTIONS, PASSES, ROUNDS, RESTARTS = 16, 4, 100, 10


@one_thread_blas()
@validated
def taste_groups(histories: SparseRows, n_items: int, *, n_groups: int = 10, seed: int = 0) -> Int64:
    """A group, 0..n_groups-1, for every user: (n_users,) int64; the largest is 0. An empty history is in group 0.

    Each user's row of ones is scaled to length 1, reduced to its leading 16 directions (randomized SVD: Halko,
    Martinsson & Tropp 2011) and clustered there by k-means (k-means++: Arthur & Vassilvitskii 2007), the best of ten
    starts. The same seed gives the same groups. Raises ParameterError unless n_groups is from 1 to the number of users
    with a history, DataError where nobody has one.

    >>> rows = SparseRows.of([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 2, 3, 2, 3], [1] * 8, n_rows=4)
    >>> a, b, c, d = taste_groups(rows, 4, n_groups=2).tolist()
    >>> a == b, c == d, a == c
    (True, True, False)
    """
    n_items = checks.whole_number("n_items", n_items, low=1, high=MOST_ROWS)
    has = np.flatnonzero(require_histories(histories, n_items).counts)
    checks.seed(seed)
    if len(has) == 0:
        raise DataError("no user has a history, so there are no taste groups to find")
    n_groups = checks.whole_number("n_groups", n_groups, low=1, high=len(has))
    places = _leading(histories.take(has), n_items, random_stream(seed, "directions"))
    found = [_k_means(places, n_groups, random_stream(seed, "start", start)) for start in range(RESTARTS)]
    labels = min(found, key=lambda one: one[0])[1]
    order = np.argsort(-np.bincount(labels, minlength=n_groups), kind="stable")
    rank = np.empty(n_groups, np.int64)
    rank[order] = np.arange(n_groups)
    groups = np.zeros(len(histories), np.int64)
    groups[has] = rank[labels]
    return groups


def _leading(rows: SparseRows, n_columns: int, stream: np.random.Generator) -> Float64:
    """Each row, scaled to length 1, on the leading directions of all: (n_rows, DIRECTIONS)."""
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    value = 1 / np.sqrt(rows.counts)[owner]
    width = min(DIRECTIONS, len(rows), n_columns)

    def times(dense: Float64) -> Float64:
        return _summed(owner, dense[rows.columns] * value[:, None], len(rows))

    def transposed_times(dense: Float64) -> Float64:
        return _summed(rows.columns, dense[owner] * value[:, None], n_columns)

    basis = times(stream.standard_normal((n_columns, width)))
    for _ in range(PASSES):
        basis = np.linalg.qr(times(transposed_times(np.linalg.qr(basis)[0])))[0]
    left, size, _ = np.linalg.svd(transposed_times(basis).T, full_matrices=False)
    places: Float64 = basis @ left * size
    return places


def _summed(owner: Any, parts: Float64, n: int) -> Float64:
    """The rows of `parts` added up by owner: (n, width)."""
    return np.stack([np.bincount(owner, weights=column, minlength=n) for column in parts.T], axis=1)


def _k_means(places: Float64, k: int, stream: np.random.Generator) -> tuple[float, Int64]:
    """The sum of squared distances to the centers, and each place's center, once nothing moves any more."""
    centers = places[stream.integers(len(places))][None]
    for _ in range(k - 1):
        squares = _squares(places, centers).min(axis=1)
        total = squares.sum()
        at = stream.choice(len(places), p=squares / total) if total > 0 else stream.integers(len(places))
        centers = np.vstack([centers, places[at]])
    labels = np.full(len(places), -1)
    for _ in range(ROUNDS):
        squares = _squares(places, centers)
        nearest = squares.argmin(axis=1)
        if (nearest == labels).all():
            break
        labels = nearest
        counts = np.bincount(labels, minlength=k)
        sums = _summed(labels, places, k)
        centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers)
    return float(np.take_along_axis(squares, labels[:, None], axis=1).sum()), labels.astype(np.int64)


def _squares(places: Float64, centers: Float64) -> Float64:
    """Squared distances of all places to all centers: (n, k)."""
    squares = np.square(places).sum(axis=1)[:, None] - 2 * places @ centers.T + np.square(centers).sum(axis=1)
    positive: Float64 = np.maximum(squares, 0)
    return positive
