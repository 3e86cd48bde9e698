"""Graph filter estimator: item-item weights from the user-item graph, computed in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cofactor.arrays import Counts, Float64, contiguous, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.neighbors import COSINE, ColumnLists, nearest
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.spectrum import leading_eigenvectors
from cofactor.models.base import Model
from cofactor.models.block_scoring import confidences, without_zero_weights
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import NeighborSimilarity, SpectralSimilarity
from cofactor.validation import validated

__all__ = ["GraphFilter"]


@dataclass(frozen=True)
class GraphFilter(Estimator):
    """Graph filter: smooth each user's history over the user-item graph, in closed form.

    Parameters
    ----------
    factors : int, default 256
        Maximum number of eigenvectors; those below the noise level of the table are not used.
    neighbors : int, default 1000
        Maximum number of stored neighbors per row.
    user_exponent : float, default 0.6
        Normalization exponent of user degrees: 0 weights events equally, 1 users equally.
    smoothing : float, default 10.0
        Number of pseudo-events added to the degree of each item.
    ideal : float, default 0.1
        Weight of the ideal low-pass filter, the sum over all eigenvectors used.
    sharpening : float, default 0.3
        Weight of the sharpening filter, which is subtracted and affects the most common tastes most.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).

    Notes
    -----
    The scores for a user with history x_u are x_u W, where::

        P = D^-1/2 X' U^-user_exponent X D^-1/2 / s_1
        W = P + D^-1/2 V (ideal - sharpening S) V' D^1/2

    An entry of X is the weight of an event: 1 for a plain event, negative for a dislike, and 0 for an unobserved pair.
    The entries of x_u are multiplied by the confidences of the events (`counts`). The values of events are not part of
    X, because a large count would then reduce the normalized weights of all other events of the user and of the item.
    The degree of a user or an item is the sum of the absolute values of its entries. U is the diagonal matrix of the
    degrees of users, and D that of items, plus `smoothing`. S and V contain the eigenvalues and eigenvectors of P; s_1
    scales the largest eigenvalue to 1. Only the `neighbors` largest cosines of each item are kept in P, and its
    diagonal is 0.

    The eigenvectors used are those whose eigenvalues exceed the Marchenko-Pastur edge: the largest eigenvalue of P if
    the entries of its factors were independent with the same mean square. The eigenvectors below it are noise.

    GF-CF is the filter with user_exponent=1, smoothing=0, ideal=0.3 and sharpening=0. A smaller exponent gives more
    weight to users with many events. Smoothing takes weight from items with few events. Sharpening is the step of BSPM.

    References
    ----------
    Shen et al. 2021, "How powerful is graph convolution for recommendation?", section 4 (GF-CF).
    Choi et al. 2023, "Blurring-sharpening process models for collaborative filtering", section 3 (sharpening).
    Park et al. 2024, "Turbo-CF: matrix decomposition-free graph filtering for fast recommendation", section 3.
    Gavish & Donoho 2014, "The optimal hard threshold for singular values is 4/sqrt(3)", section 1 (edge).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(GraphFilter(), events)
    >>> rec.recommend("cy", n=1)["item"].to_list()
    ['aliens']
    """

    name: ClassVar[str] = "graph-filter"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    factors: int = parameter(
        256,
        "maximum number of eigenvectors; those below the noise level of the table are not used",
        low=1,
        high=4096,
        log=True,
    )
    neighbors: int = parameter(1000, "maximum number of stored neighbors per row", low=1, high=10_000, log=True)
    user_exponent: float = parameter(
        0.6,
        "normalization exponent of user degrees: 0 weights events equally, 1 users equally",
        low=0,
        high=2,
        search=(0.3, 1),
    )
    smoothing: float = parameter(
        10.0, "number of pseudo-events added to the degree of each item", low=0, high=1e4, search=(0, 30)
    )
    ideal: float = parameter(
        0.1,
        "weight of the ideal low-pass filter, the sum over all eigenvectors used",
        low=0,
        high=10,
        search=(0, 0.5),
    )
    sharpening: float = parameter(
        0.3,
        "weight of the sharpening filter, which is subtracted and affects the most common tastes most",
        low=0,
        high=10,
        search=(0, 0.8),
    )
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
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        ItemItemModel
            Model with sparse weights plus weights of low rank.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        n_items = table.n_items
        entries = confidences(without_zero_weights(table.by_user), "binary")
        degree = _column_sums(entries.with_values(np.abs(entries.values)), n_items) + self.smoothing
        root = np.sqrt(np.maximum(degree, 1e-30))
        normalized = _normalized(entries, root, self.user_exponent)
        vectors, eigenvalues = leading_eigenvectors(normalized, n_items, self.factors)
        vectors = vectors[:, eigenvalues > _noise_edge(normalized, n_items)]
        relative = eigenvalues[: vectors.shape[1]] / eigenvalues[0]
        return ItemItemModel(
            table.n_users,
            SpectralSimilarity(
                self._neighbors(normalized, n_items, float(eigenvalues[0])),
                read_only(contiguous(vectors / root[:, None], np.float32)),
                read_only(contiguous(self.ideal - self.sharpening * relative, np.float32)),
                read_only(contiguous(degree, np.float32)),
            ),
            counts=self.counts,
        )

    def _neighbors(self, normalized: SparseRows, n_items: int, largest: float) -> NeighborSimilarity:
        """Return the sparse part of W: P for the neighbors of each item with the largest cosines."""
        by_item = normalized.transpose(n_items)
        neighbors, cosines = nearest(
            by_item, ColumnLists.of(by_item, len(normalized), max_length=np.iinfo(np.int32).max), by_item,
            measure=COSINE, n=min(self.neighbors, n_items), shrink=0, exclude=np.arange(n_items, dtype=np.int32),
        )  # fmt: skip
        norm = np.sqrt(_column_sums(normalized.with_values(np.square(normalized.values)), n_items) / largest)
        is_neighbor = neighbors >= 0
        weights = (cosines * norm[:, None] * norm[np.maximum(neighbors, 0)])[is_neighbor].astype(np.float32)
        rows = SparseRows.from_counts(is_neighbor.sum(axis=1), neighbors[is_neighbor], weights).transpose(n_items)
        return NeighborSimilarity(
            replace(rows, start=read_only(rows.start), columns=read_only(rows.columns), values=read_only(rows.values))
        )


def _column_sums(rows: SparseRows, n_columns: int) -> Float64:
    """Return the sum of the values in each column: (n_columns,) float64."""
    return np.bincount(rows.columns, weights=rows.values, minlength=n_columns).astype(np.float64)


def _normalized(entries: SparseRows, root: Float64, user_exponent: float) -> SparseRows:
    """Return U^(-user_exponent / 2) X D^-1/2, divided by its largest entry; `root` is the diagonal of D^1/2."""
    owners = entries.owners
    degree = np.bincount(owners, weights=np.abs(entries.values), minlength=len(entries))
    values = entries.values / (degree[owners] ** (user_exponent / 2) * root[entries.columns])
    return entries.with_values(contiguous(values / np.abs(values).max(), np.float32))


def _noise_edge(rows: SparseRows, n_columns: int) -> float:
    """Return the Marchenko-Pastur edge of X'X: s^2 (sqrt(n) + sqrt(m))^2 for n x m entries with mean square s^2."""
    n, m = np.count_nonzero(rows.counts), np.count_nonzero(rows.column_counts(n_columns))
    return float(np.square(rows.values, dtype=np.float64).sum() * (n**-0.5 + m**-0.5) ** 2)
