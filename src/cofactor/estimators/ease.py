"""EASE estimators: linear item-item weights in closed form, for all item pairs or for the most similar items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import ClassVar, TypeAlias

import numpy as np

from cofactor.arrays import Counts, Float32, Float64, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.errors import ParameterError
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback, report_parts
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.candidate_ridge import candidate_ridge
from cofactor.kernels.cholesky import TILE_SIZE, negative_inverse, sandwich, sparse_gram
from cofactor.kernels.neighbors import COSINE, ColumnLists, nearest
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows, read_only_rows
from cofactor.models.base import Model
from cofactor.models.block_scoring import confidences, without_zero_weights
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import DenseSimilarity, NeighborSimilarity
from cofactor.validation import validated

__all__ = ["EASE", "SparseEASE"]

BYTES_PER_PAIR = 24
"""Peak memory of a fit, in bytes per item pair, or per user pair if there are less than half as many users as items."""

DUAL_BYTES_PER_PAIR = 8
"""Peak memory, in bytes per item pair, if there are less than half as many users as items."""

ITEMS_PER_PART = 1024
"""The number of items of SparseEASE between two progress reports."""

L2_RATIO = "L2 penalty on weights, as a multiple of the mean of the diagonal of X'X"
DROPOUT = "share of each user's events that are hidden at random during training, in expectation"


Progress: TypeAlias = Callable[[Sequence[int]], Iterable[int]]
"""Function that iterates over the parts of a fit and reports the progress."""


@dataclass(frozen=True)
class EASE(Estimator):
    """EASE: predict each item's events from those of all other items by ridge regression, solved in closed form.

    Parameters
    ----------
    l2_ratio : float, default 4.0
        L2 penalty on weights, as a multiple of the mean of the diagonal of X'X.
    dropout : float, default 0.5
        Share of each user's events that are hidden at random during training, in expectation.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).
    max_memory : float, default 8.0
        Memory limit for a fit in gigabytes; a fit needs 24 bytes per item pair.

    Notes
    -----
    The scores for a user with history x_u are x_u W, where::

        minimize |X - X W|^2 + sum_j L_jj |W_j|^2 with W_ii = 0
        P = (X'X + L)^-1,    W_ij = -P_ij / P_jj
        L_jj = l2_ratio * mean + dropout / (1 - dropout) * (X'X)_jj

    The mean is that of (X'X)_jj over the items with events. For plain events, (X'X)_jj is the number of users of item
    j. Since the penalty is relative to it, the same hyperparameters suit tables of any size, W does not change if all
    values are multiplied by a constant, and the condition number of X'X + L is at most n_items / l2_ratio. Without
    dropout, l2_ratio = l2 / mean corresponds to a penalty l2 of another library. The second term of L is the
    expectation over random dropout of the inputs, in closed form (EDLAE).

    Each entry of X is the confidence (`counts`) of an event times its weight: 1 for a plain event, negative for a
    dislike, and 0 for an unobserved pair. A fit takes O(n_items^3) time and O(n_items^2) memory. If there are less than
    half as many users as items, a matrix of users is inverted instead, in O(n_users^3 + n_items * n_events) time. With
    a single item, W is 0.

    References
    ----------
    Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
    Steck 2020, "Autoencoders that don't overfit towards the identity" (EDLAE).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("cy", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> model = EASE(l2_ratio=0.5, dropout=0).fit(events)
    >>> model.similarity.weights.round(2)                                 # rows and columns: alien, aliens, up
    array([[ 0.  ,  0.57,  0.38],
           [ 0.67,  0.  , -0.25],
           [ 0.5 , -0.29,  0.  ]], dtype=float32)
    """

    name: ClassVar[str] = "ease"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    l2_ratio: float = parameter(4.0, L2_RATIO, low=1e-4, high=1e4, log=True, search=(0.1, 100))
    dropout: float = parameter(0.5, DROPOUT, low=0, high=0.99, search=(0, 0.8))
    counts: Counts = parameter("log", COUNTS)
    max_memory: float = parameter(
        8.0, "memory limit for a fit in gigabytes; a fit needs 24 bytes per item pair", low=0, high=100_000
    )

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> ItemItemModel:
        """Compute the item-item weights from a table of events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model : object, optional
            Ignored: the fit is not iterative.
        callback : callable, optional
            Called with an `Epoch` after each block of items.

        Returns
        -------
        ItemItemModel
            Model with dense weights of shape (n_items, n_items), float32.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        ParameterError
            If the fit would need more than `max_memory`; checked before any large array is allocated.
        """
        del seed, validation, init_model
        table = self.check_table(interactions)
        is_dual = 2 * table.n_users < table.n_items
        self._require_memory(table.n_items, table.n_users if is_dual else 0)
        solve = _dual_weights if is_dual else _primal_weights
        rows = confidences(table.by_user, self.counts)
        penalty = _penalty(rows, table.n_items, self.l2_ratio, self.dropout)
        W = solve(rows, penalty, partial(report_parts, callback=callback))
        return ItemItemModel(table.n_users, DenseSimilarity(read_only(W)), counts=self.counts)

    def _require_memory(self, n_items: int, n_users: int) -> None:
        """Raise ParameterError if the fit needs more than `max_memory`; `n_users` is 0 unless users are inverted."""
        item_bytes = DUAL_BYTES_PER_PAIR if n_users else BYTES_PER_PAIR
        gigabytes = (item_bytes * n_items**2 + BYTES_PER_PAIR * n_users**2) / 1e9
        if gigabytes > self.max_memory:
            raise ParameterError(
                f"ease needs {gigabytes:,.1f} GB for {n_items:,} items ({item_bytes} bytes per item pair), but "
                f"max_memory is {self.max_memory:g} GB; increase max_memory, or use sparse-ease or implicit-als"
            )


@dataclass(frozen=True)
class SparseEASE(Estimator):
    """EASE for large catalogs: predict each item's events from those of its most similar items only.

    Parameters
    ----------
    neighbors : int, default 200
        Number of predictors per item: the items with the highest cosine similarity.
    l2_ratio : float, default 4.0
        L2 penalty on weights, as a multiple of the mean of the diagonal of X'X.
    dropout : float, default 0.5
        Share of each user's events that are hidden at random during training, in expectation.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).

    Notes
    -----
    The scores for a user with history x_u are x_u W. For item i with neighbors K::

        minimize |x_i - X_K W_Ki|^2 + sum over j in K of L_jj W_ji^2
        W_Ki = (X_K'X_K + L_KK)^-1 X_K'x_i

    X and L are those of `EASE`, and so is W if K contains all other items. All other weights are 0. Items tied at the
    last similarity are left out of K. Unlike SLIM with feature selection, weights may be negative and have no L1
    penalty, so that each item needs a single Cholesky factorization. Memory is bounded by n_items * neighbors, and
    time by n_items * neighbors^3 plus the pairs of neighbors in the histories of the users.

    References
    ----------
    Ning & Karypis 2011, "SLIM: sparse linear methods for top-n recommender systems" (feature selection).
    Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
    Spisak et al. 2023, "Scalable approximate nonsymmetric autoencoder for collaborative filtering" (another sparse
    approximation of EASE).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(SparseEASE(), events)
    >>> rec.recommend("cy", n=1)["item"].to_list()
    ['aliens']
    """

    name: ClassVar[str] = "sparse-ease"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    neighbors: int = parameter(
        200,
        "number of predictors per item: the items with the highest cosine similarity",
        low=1,
        high=2000,
        log=True,
        search=(50, 500),
    )
    l2_ratio: float = parameter(4.0, L2_RATIO, low=1e-4, high=1e4, log=True, search=(0.1, 100))
    dropout: float = parameter(0.5, DROPOUT, low=0, high=0.99, search=(0, 0.8))
    counts: Counts = parameter("log", COUNTS)

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> ItemItemModel:
        """Compute the item-item weights from a table of events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model : object, optional
            Ignored: the fit is not iterative.
        callback : callable, optional
            Called with an `Epoch` after each block of items.

        Returns
        -------
        ItemItemModel
            Model with at most `neighbors` weights for the score of each item.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model
        table = self.check_table(interactions)
        n_users, n_items = table.n_users, table.n_items
        rows = confidences(without_zero_weights(table.by_user), self.counts)
        by_item = rows.transpose(n_items)
        penalty = _penalty(rows, n_items, self.l2_ratio, self.dropout)
        lists = ColumnLists.of(by_item, n_users, max_length=n_items)
        width = min(self.neighbors, n_items)
        neighbors, weights = np.empty((n_items, width), np.int32), np.empty((n_items, width), np.float32)
        for first in report_parts(range(0, n_items, ITEMS_PER_PART), callback):
            part = slice(first, min(first + ITEMS_PER_PART, n_items))
            neighbors[part], _ = nearest(
                by_item.slice(part.start, part.stop), lists, by_item,
                measure=COSINE, n=width, shrink=0, exclude=np.arange(part.start, part.stop, dtype=np.int32),
            )  # fmt: skip
            weights[part] = candidate_ridge(by_item, n_users, neighbors[part], penalty, first=first)
        weights_by_source = SparseRows.of_lists(neighbors, weights).transpose(n_items)
        return ItemItemModel(n_users, NeighborSimilarity(read_only_rows(weights_by_source)), counts=self.counts)


def _penalty(rows: SparseRows, n_items: int, l2_ratio: float, dropout: float) -> Float64:
    """Return the diagonal of L, of shape (n_items,)."""
    squares = np.bincount(rows.columns, np.square(rows.values, dtype=np.float64), n_items)
    penalty: Float64 = l2_ratio * squares[squares > 0].mean() + dropout / (1 - dropout) * squares
    return penalty


def _primal_weights(rows: SparseRows, penalty: Float64, progress: Progress) -> Float32:
    """Compute W from the inverse of X'X + L, an (n_items, n_items) matrix."""
    n = len(penalty)
    A = sparse_gram(rows, n)
    A[np.diag_indices(n)] += penalty
    negative_inverse(A, progress)  # A = -P, lower triangle
    W = np.zeros((n, n), np.float32)
    diagonal = -np.diag(A)
    for first in range(0, n, TILE_SIZE):
        rows_part = slice(first, min(first + TILE_SIZE, n))
        part = np.tril(A[rows_part], first - 1)[:, : rows_part.stop]
        corner = np.tril(A[rows_part, rows_part], -1)
        W[rows_part, : rows_part.stop] = part / diagonal[: rows_part.stop]
        W[:first, rows_part] = part[:, :first].T / diagonal[rows_part]
        W[rows_part, rows_part] = (corner + corner.T) / diagonal[rows_part]
    return W


def _dual_weights(rows: SparseRows, penalty: Float64, progress: Progress) -> Float32:
    """Compute W from the inverse of I + X L^-1 X', an (n_users, n_users) matrix.

    By Woodbury's identity, P = L^-1 - L^-1 Q L^-1 with Q = X'(I + X L^-1 X')^-1 X, so that
    W_ij = Q_ij / L_ii / (1 - Q_jj / L_jj).
    """
    n_users, n_items = len(rows), len(penalty)
    columns = rows.transpose(n_items)
    scaled = columns.with_values((columns.values / np.sqrt(penalty)[columns.owners]).astype(np.float32))
    M = sparse_gram(scaled, n_users)
    M[np.diag_indices(n_users)] += 1
    parts = iter(progress([*range(0, n_users, TILE_SIZE), *range(0, n_items, TILE_SIZE)]))
    negative_inverse(M, lambda user_parts: islice(parts, len(user_parts)))
    M = -(np.tril(M) + np.tril(M, -1).T)
    W = np.empty((n_items, n_items), np.float32)
    denominator = np.empty(n_items)
    for first in parts:
        part = slice(first, min(first + TILE_SIZE, n_items))
        Q = sandwich(rows, columns, M, part.start, part.stop) / penalty[part, None]
        denominator[part] = 1 - np.diagonal(Q, first)
        W[part] = Q
    W /= denominator
    np.fill_diagonal(W, 0)
    return W
