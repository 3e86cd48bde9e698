"""EASE estimator: linear item-item weights computed in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cofactor.arrays import Counts, Float32, Float64, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.errors import ParameterError
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.cholesky import TILE_SIZE, negative_inverse, sparse_gram
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.base import Model
from cofactor.models.block_scoring import confidences
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import DenseSimilarity
from cofactor.validation import validated

__all__ = ["EASE"]

BYTES_PER_PAIR = 24
"""Peak memory required by a fit, in bytes per item pair."""


@dataclass(frozen=True)
class EASE(Estimator):
    """EASE: predict each item's events from those of all other items by ridge regression, solved in closed form.

    Parameters
    ----------
    l2 : float, default 300.0
        L2 penalty on weights, in units of the mean square of the confidences.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).
    max_memory : float, default 8.0
        Memory limit for a fit in gigabytes; a fit needs 24 bytes per item pair.

    Notes
    -----
    The scores for a user with history x_u are x_u W, where::

        minimize |X - X W|^2 + l2 m |W|^2 with W_ii = 0
        P = (X'X + l2 m I)^-1,    W_ij = -P_ij / P_jj

    Each entry of X is the confidence (`counts`) of an event times its weight: 1 for a plain event, negative for a
    dislike, and 0 for an unobserved pair. m is the mean square of its nonzero entries, 1 for plain events: with it, the
    weights do not depend on the unit of the values. A fit takes O(n_items^3) time and O(n_items^2) memory, regardless
    of the number of users. With a single item, W is 0.

    References
    ----------
    Steck 2019, "Embarrassingly shallow autoencoders for sparse data".

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("cy", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> model = EASE(l2=1).fit(events)
    >>> model.similarity.weights.round(2)                                 # rows and columns: alien, aliens, up
    array([[ 0.  ,  0.57,  0.38],
           [ 0.67,  0.  , -0.25],
           [ 0.5 , -0.29,  0.  ]], dtype=float32)
    """

    name: ClassVar[str] = "ease"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    l2: float = parameter(
        300.0,
        "L2 penalty on weights, in units of the mean square of the confidences",
        low=1e-3,
        high=100_000,
        log=True,
        search=(10, 5000),
    )
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
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

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
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        n = table.n_items
        gigabytes = BYTES_PER_PAIR * n**2 / 1e9
        if gigabytes > self.max_memory:
            raise ParameterError(
                f"ease needs {gigabytes:,.1f} GB for {n:,} items (24 bytes per item pair), but max_memory is "
                f"{self.max_memory:g} GB; increase max_memory, or use item-knn or implicit-als"
            )
        X = confidences(table.by_user, self.counts)
        A = sparse_gram(X, n)
        A[np.diag_indices(n)] += self.l2 * float(np.square(X.values[X.values != 0], dtype=np.float64).mean())
        negative_inverse(A)
        return ItemItemModel(table.n_users, DenseSimilarity(read_only(_weights(A))), counts=self.counts)


def _weights(A: Float64) -> Float32:
    """Compute W_ij = -P_ij / P_jj, with W_jj = 0, from the lower triangle of A = -P: (n, n) float32."""
    n = len(A)
    W = np.zeros((n, n), np.float32)
    diagonal = -np.diag(A)
    for first in range(0, n, TILE_SIZE):
        rows = slice(first, min(first + TILE_SIZE, n))
        part = np.tril(A[rows], first - 1)[:, : rows.stop]
        corner = np.tril(A[rows, rows], -1)
        W[rows, : rows.stop] = part / diagonal[: rows.stop]
        W[:first, rows] = part[:, :first].T / diagonal[rows]
        W[rows, rows] = (corner + corner.T) / diagonal[rows]
    return W
