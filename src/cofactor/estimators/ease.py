"""EASE: the best linear item-item weights, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cofactor.arrays import Float32, Float64, read_only
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, ParameterError
from cofactor.estimators.base import EpochCallback, Estimator, parameter
from cofactor.kernels.cholesky import TILE, negative_inverse, sparse_gram
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.block_scoring import confidences
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import DenseLinks
from cofactor.validation import validated

__all__ = ["EASE"]

BYTES_PER_PAIR = 24

LARGEST_INFLATION = 1e12
"""Above it, weights would be off by more than about 1e-4."""


@dataclass(frozen=True)
class EASE(Estimator):
    """Each item's events as a ridge regression on all other items; scores are x_u W.

        minimize |X - X W|^2 + l2 |W|^2 with W_ii = 0
        P = (X'X + l2 I)^-1,    W_ij = -P_ij / P_jj

    X holds an event's value times its weight: 1 for a plain event, its negative for a dislike, 0 for a blank. Cost:
    n_items^3 operations and n_items^2 numbers, whatever the number of users. Of one item alone, W is 0.
    Source: Steck 2019.

    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("cy", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> model = EASE(l2=1).fit(events)
    >>> model.links.weights.round(2)                                 # alien, aliens, up: who speaks for whom
    array([[ 0.  ,  0.57,  0.38],
           [ 0.67,  0.  , -0.25],
           [ 0.5 , -0.29,  0.  ]], dtype=float32)
    """

    name: ClassVar[str] = "ease"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    l2: float = parameter(
        300.0, "what is added to the diagonal of X'X", low=1e-3, high=100_000, log=True, search=(10, 5000)
    )
    max_memory: float = parameter(
        8.0, "gigabytes that a fit may take: 24 bytes for each pair of items", low=0, high=100_000
    )

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: ItemItemModel | None = None,
        callback: EpochCallback | None = None,
    ) -> ItemItemModel:
        """An ItemItemModel with dense weights (n_items, n_items). There is nothing random and nothing iterative in it.

        Raises KindError for ratings, DataError for no rows; ParameterError, before anything large is made, where it
        would take more than `max_memory`.
        """
        del seed, validation, init_model, callback
        self.require(interactions)
        n = interactions.n_items
        needed = BYTES_PER_PAIR * n**2 / 1e9
        if needed > self.max_memory:
            raise ParameterError(
                f"ease would take {needed:,.1f} GB for {n:,} items (24 bytes for each pair), and max_memory is "
                f"{self.max_memory:g} GB; raise it, or take item-knn or implicit-als, which need no such matrix"
            )
        A = sparse_gram(confidences(interactions.by_user), n)
        A[np.diag_indices(n)] += self.l2
        before = np.diag(A).copy()
        try:
            negative_inverse(A)
        except np.linalg.LinAlgError:
            A[:] = np.nan
        self._require_accuracy(before * -np.diag(A))
        return ItemItemModel(interactions.n_users, DenseLinks(read_only(_weights(A))))

    def _require_accuracy(self, inflation: Float64) -> None:
        """Raises DataError where float64 cannot solve the system.

        inflation (n_items,): A_jj P_jj, from 1 on: how far an item is a sum of others, whatever the units of each. The
        relative error of W is about 1e-16 times it.
        """
        bad = ~((inflation > 0.5) & (inflation < LARGEST_INFLATION))
        if bad.any():
            raise DataError(
                f"ease cannot solve for {int(bad.sum()):,} of {len(bad):,} items: some users have counts so large that "
                f"l2={self.l2:g} is lost beside their squares; raise l2, or take the logarithm of the counts"
            )


def _weights(A: Float64) -> Float32:
    """W_ij = -P_ij / P_jj and W_jj = 0 of A = -P, of which the lower triangle is given: (n, n) float32."""
    n = len(A)
    W = np.zeros((n, n), np.float32)
    diagonal = -np.diag(A)
    for first in range(0, n, TILE):
        rows = slice(first, min(first + TILE, n))
        part = np.tril(A[rows], first - 1)[:, : rows.stop]
        corner = np.tril(A[rows, rows], -1)
        W[rows, : rows.stop] = part / diagonal[: rows.stop]
        W[:first, rows] = part[:, :first].T / diagonal[rows]
        W[rows, rows] = (corner + corner.T) / diagonal[rows]
    return W
