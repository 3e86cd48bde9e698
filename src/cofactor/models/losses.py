"""The losses of factor models, each with its one penalty: for training, folding in and reporting alike.

    Ratings:  sum over ratings of  w (r - r^)^2 + l2 (|p|^2 + |q|^2) + l2_bias (b_u^2 + b_i^2)
    Events:   sum over events of w (1 - x)^2  +  alpha0 * sum over all pairs of x^2
              + sum_u l2 (n_u + alpha0 n_items)^nu |p_u|^2  +  sum_i l2 (n_i + alpha0 n_users)^nu |q_i|^2
    Pairs:    sum over events of w E_j[-ln sigmoid(x_ui - x_uj)]
              + l2 (|p_u|^2 + |q_i|^2 + E_j |q_j|^2) + l2_bias (b_i^2 + E_j b_j^2)

j is the best scored of a few negatives drawn uniformly from the items that the user lacks (`kernels.bpr`).
Per rating, so a row's penalty grows with its support (ALS-WR: Zhou et al. 2008). Events: Rendle et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from cofactor.arrays import Float32, signed_confidence
from cofactor.kernels.bpr import bpr_fold_in, falling
from cofactor.kernels.gram import gram
from cofactor.kernels.ridge import EVENTS, RATINGS, Side
from cofactor.kernels.sparse import SparseRows

__all__ = ["EventsLoss", "Loss", "PairwiseLoss", "RatingsLoss", "padded_width"]


def padded_width(width: int) -> int:
    """The next multiple of 8: kernels work on whole vector registers, on zeros where there is nothing.

    >>> padded_width(0), padded_width(8), padded_width(9)
    (0, 8, 16)
    """
    return -(-width // 8) * 8


@dataclass(frozen=True)
class RatingsLoss:
    """Squared error on the known ratings.

        sum over ratings of w (r - r^)^2 + l2 (|p_u|^2 + |q_i|^2) + l2_bias (b_u^2 + b_i^2)
        + damping (sum_u b_u^2 + sum_i b_i^2)

    Attributes:

        l2: penalty on factors, per rating.
        l2_bias: penalty on biases, per rating; None where the model has no biases.
        damping: a further penalty on each bias, once per row: as if that many ratings stood at the average.

    Source: Zhou et al. 2008 (ALS-WR): the penalty of a row grows with its ratings.

    >>> loss = RatingsLoss(l2=0.1, l2_bias=0.05)
    >>> loss.penalty([0, 3], n_other=9).tolist(), loss.width(factors=10)
    ([0.0, 3.0], 16)
    """

    l2: float
    l2_bias: float | None
    damping: float = 0.0

    def rescaled(self, unit: float, *, linear: bool) -> RatingsLoss:
        """The loss that ratings in a unit `unit` times smaller have at the same minimum.

        Parameters
        ----------
        unit : float
            How many of the new units are in one of the old, above 0.
        linear : bool
            Whether a prediction is the sum itself, so that factors grow with the square root of `unit` and biases with
            `unit`. Behind a sigmoid they stay as they are, and all penalties grow with the square of `unit`.

        Returns
        -------
        RatingsLoss

        Examples
        --------
        >>> RatingsLoss(l2=0.1, l2_bias=0.05).rescaled(10.0, linear=True)
        RatingsLoss(l2=1.0, l2_bias=0.05, damping=0.0)
        """
        factors, biases = (unit, 1.0) if linear else (unit**2, unit**2)
        l2_bias = None if self.l2_bias is None else self.l2_bias * biases
        return replace(self, l2=self.l2 * factors, l2_bias=l2_bias, damping=self.damping * biases)

    def penalty(self, counts: Any, n_other: int) -> Float32:
        """What multiplies `Side.shape`: the number of ratings of each row, (n_rows,) float32."""
        return np.asarray(counts, np.float32)

    def entries(self, rows: SparseRows) -> SparseRows:
        """Rows as the half-step reads them: values, and weights apart."""
        return rows

    def width(self, factors: int) -> int:
        """The width of a row's unknowns: its factors, then its bias, padded."""
        return padded_width(factors + (self.l2_bias is not None))

    def side(self, factors: Float32, bias: Float32, mean: float) -> Side:
        """The other side as seen by a row that looks for [factors, bias]: features [q, 1], offset mean + b.

        factors (n, k), bias (n,) float32: of the other side.
        """
        n, k = factors.shape
        width = self.width(k)
        features, shape, precision = np.zeros((n, width), np.float32), np.zeros(width), np.zeros(width)
        features[:, :k] = factors
        shape[:k] = self.l2
        shape[k:] = 1.0  # padding: nothing pulls there, and this keeps the system positive definite
        if self.l2_bias is not None:
            features[:, k] = 1
            shape[k], precision[k] = self.l2_bias, self.damping
        return Side(
            RATINGS,
            features,
            np.asarray(bias + np.float32(mean), np.float32),
            np.zeros((0, 0), np.float32),
            shape.astype(np.float32),
            precision.astype(np.float32),
            np.zeros((1, width), np.float32),
        )


@dataclass(frozen=True)
class EventsLoss:
    """Squared error on every pair of the cross-tab: 1 where an event is, weakly 0 where it is blank.

        sum over events of w (1 - x)^2 + alpha0 sum over all pairs of x^2
        + sum_u l2 (n_u + alpha0 n_items)^nu |p_u|^2 + sum_i l2 (n_i + alpha0 n_users)^nu |q_i|^2

    Where w, an event's value times its weight, is below 0, the event is a dislike: |w| (0 - x)^2.

    Attributes:

        alpha0: the confidence of a blank.
        l2: the penalty.
        nu: how the penalty grows with a row's support: 0 not at all, 1 in proportion.

    Source: Rendle et al. 2021, after Hu, Koren & Volinsky 2008.

    >>> EventsLoss(alpha0=0.5, l2=1.0, nu=0.5).penalty([0, 5], n_other=8).tolist()            # (n + 4)^(1/2)
    [2.0, 3.0]
    """

    alpha0: float
    l2: float
    nu: float

    def penalty(self, counts: Any, n_other: int) -> Float32:
        """(n + alpha0 n_other)^nu for each row of n events: (n_rows,) float32, to be multiplied by l2."""
        support = np.asarray(counts, np.float64) + self.alpha0 * n_other
        return (support**self.nu).astype(np.float32)

    def entries(self, rows: SparseRows) -> SparseRows:
        """Rows as the half-step reads them: the signed confidence, value times weight, as the value."""
        return rows.with_values(signed_confidence(rows.values, rows.weights))

    def width(self, factors: int) -> int:
        """The width of a row's unknowns: its factors, padded."""
        return padded_width(factors)

    def side(self, factors: Float32, bias: Float32, mean: float) -> Side:
        """The other side: its factors (n, k) float32, and every blank at once through alpha0 times their Gram matrix.

        Events have no bias and no mean: both are not looked at.
        """
        n, k = factors.shape
        width = self.width(k)
        features = factors
        if width != k:
            features = np.zeros((n, width), np.float32)
            features[:, :k] = factors
        blanks = (np.float32(self.alpha0) * gram(features)).astype(np.float32)
        nothing = np.zeros(width, np.float32)
        shape = np.full(width, self.l2, np.float32)
        return Side(EVENTS, features, np.zeros(n, np.float32), blanks, shape, nothing, nothing[None])


@dataclass(frozen=True)
class PairwiseLoss:
    """What a user took should score above what the user lacks.

        sum over events of w E_j[-ln sigmoid(x_ui - x_uj)]
        + l2 (|p_u|^2 + |q_i|^2 + E_j |q_j|^2) + l2_bias (b_i^2 + E_j b_j^2)

    j: the best scored of some items drawn from those that u lacks.

    Attributes:

        l2: penalty on factors, per event.
        l2_bias: penalty on item biases, per event.
        negatives: of how many candidates the negative is the best scored.
        rate, epochs: the steps that training took, and that folding in takes.

    Source: Rendle et al. 2009; see `kernels.bpr`.

    >>> loss = PairwiseLoss(l2=0.01, l2_bias=0.01, n_negatives=2, learning_rate=0.1, epochs=20)
    >>> factors, bias = np.float32([[1], [-1], [0]]), np.zeros(3, np.float32)
    >>> took_the_first, nothing = loss.users(SparseRows.of([0], [0], [1], n_rows=2), factors, bias)
    >>> bool(took_the_first[0] > 0), nothing.tolist()
    (True, [0.0])
    """

    l2: float
    l2_bias: float
    n_negatives: int
    learning_rate: float
    epochs: int

    def entries(self, rows: SparseRows) -> tuple[SparseRows, Float32]:
        """What is learnt from: the rows' events that are not dislikes, and their weights (empty where all are 1).

        A weight is value times weight; what is not above 0 counts as a blank, which any negative is drawn from.
        """
        confidence = signed_confidence(rows.values, rows.weights)
        kept = confidence > 0
        if not kept.all():
            rows = rows.with_values(rows.values).filter(kept)
            confidence = confidence[kept]
        return rows, np.zeros(0, np.float32) if (confidence == 1).all() else confidence

    def users(self, rows: SparseRows, factors: Float32, bias: Float32) -> Float32:
        """Factors of the users with these rows, the items held: (n_rows, k) float32; 0 for an empty row."""
        n, k = factors.shape
        x, items = np.zeros((len(rows), padded_width(k)), np.float32), np.zeros((n, padded_width(k)), np.float32)
        items[:, :k] = factors
        events, weights = self.entries(rows)
        rates = falling(self.learning_rate, self.epochs)
        bpr_fold_in(x, events, weights, items, bias, candidates=self.n_negatives, rates=rates, l2=self.l2)
        return x[:, :k]


Loss: TypeAlias = RatingsLoss | EventsLoss
