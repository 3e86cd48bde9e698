"""Explanations: the score of a user-item pair as a sum of contributions, one for each item in the user's history.

    x(u, i) = mean + b_u + b_i + sum_j term_j + rest

x is the score that items are ranked by, before the link function and clipping. How the terms are derived depends on how
the user's vector was fitted: see `ridge_terms` (least squares), `pairwise_terms` (BPR), and the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from cofactor import checks
from cofactor.arrays import Float64, Int32
from cofactor.validation import validated

__all__ = [
    "AttributionBasis",
    "Explanation",
    "negative_probabilities",
    "pairwise_terms",
    "ridge_terms",
    "unattributed_rest",
]

AttributionBasis: TypeAlias = Literal["history", "neighbors", "leave-one-out"]

MAX_DIGITS = 15
"""The number of significant decimal digits of a float."""

ROUNDING_TOLERANCE = 1e-4
"""A difference below this fraction of the sum of absolute terms is treated as rounding error."""

RELATIVE_RIDGE = 1e-2
"""The ridge penalty of `pairwise_terms`, relative to the mean squared norm of the directions d_j."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Decomposition of the score of one user-item pair into contributions that add up to it.

    Parameters
    ----------
    score : float
        x(u, i) = mean + user + item + sum_j terms_j + rest, up to 1e-4 of the sum of the absolute terms.
    mean, user, item : float
        The global mean, the user bias and the item bias.
    rows : ndarray of shape (m,), int32
        Row numbers of items in the history, or of neighbors (-1 for a user that is no longer in the model). Empty if
        the user has no history.
    terms : ndarray of shape (m,), float64
        The contribution of each entry of `rows`.
    rest : float
        The part of the score that is not attributed to a row.
    by : {"history", "neighbors", "leave-one-out"}
        The meaning of `rows`: items in the history, neighbors (users), or items that are left out one at a time. In
        the last case, a term is the decrease in x without the item; such terms need not add up to the score, and
        `rest` is the difference.

    Examples
    --------
    >>> explanation = Explanation(4.5, 3.0, 0.5, 0.25, np.int32([7, 2]), np.array([1.0, -0.5]), 0.25)
    >>> explanation.contributions.tolist(), round(explanation.unattributed_fraction, 2)
    ([3.0, 0.5, 0.25, 1.0, -0.5, 0.25], 0.14)
    """

    score: float
    mean: float
    user: float
    item: float
    rows: Int32
    terms: Float64
    rest: float
    by: AttributionBasis = "history"

    @property
    def contributions(self) -> Float64:
        """Mean, user bias, item bias, m terms and remainder of the score: ndarray of shape (m + 4,), float64."""
        return np.concatenate([[self.mean, self.user, self.item], self.terms, [self.rest]])

    @property
    def unattributed_fraction(self) -> float:
        """Unattributed fraction of the score: abs(rest) divided by the sum of abs(rest) and all abs(terms), or 0."""
        size = float(np.abs(self.terms).sum()) + abs(self.rest)
        return abs(self.rest) / size if size else 0.0

    @validated
    def rounded(self, digits: int) -> Float64:
        """Round all contributions by the largest remainder method, so that they add up to the rounded score.

        Parameters
        ----------
        digits : int
            The number of decimal places, from -15 to 15.

        Returns
        -------
        ndarray of shape (m + 4,), float64

        Examples
        --------
        >>> thirds = Explanation(1.0, 0.0, 0.0, 0.0, np.arange(3), np.array([1, 1, 1]) / 3, 0.0)
        >>> thirds.rounded(1).tolist()
        [0.0, 0.0, 0.0, 0.4, 0.3, 0.3, 0.0]
        """
        unit = 10.0 ** -checks.whole_number("digits", digits, low=-MAX_DIGITS, high=MAX_DIGITS)
        scaled_contributions = self.contributions / unit
        floor_values = np.floor(scaled_contributions)
        n_round_up = int(round(self.score / unit) - floor_values.sum())
        round_up_indices = np.argsort(floor_values - scaled_contributions, kind="stable")[: max(n_round_up, 0)]
        floor_values[round_up_indices] += 1
        rounded: Float64 = np.round(floor_values * unit, digits)
        return rounded


def unattributed_rest(attributed_sum: float, total: float, terms: Float64) -> float:
    """Return the unattributed part of a score, total - attributed_sum, or 0 if it is within rounding error.

    Parameters
    ----------
    attributed_sum, total : float
        The sum of the terms, and the value that they explain.
    terms : ndarray of shape (m,), float64
        The terms; the rounding tolerance is relative to the sum of their absolute values.

    Returns
    -------
    float
        The difference.

    Examples
    --------
    >>> unattributed_rest(0.99999, 1.0, np.array([0.5, 0.49999])), unattributed_rest(0.75, 1.0, np.array([0.75]))
    (0.0, 0.25)
    """
    rest = total - attributed_sum
    return 0.0 if abs(rest) <= ROUNDING_TOLERANCE * float(np.abs(terms).sum()) else rest


def ridge_terms(
    features: ArrayLike, targets: ArrayLike, confidence: ArrayLike, item_vector: ArrayLike,
    *, gram: ArrayLike, ridge: ArrayLike, shifts: ArrayLike = 0.0,
) -> Float64:  # fmt: skip
    """Decompose the score `item_vector @ v` into one term per history entry, where v solves a ridge regression.

    Parameters
    ----------
    features : ndarray of shape (m, width)
        f, the features of each entry.
    targets, confidence : ndarray of shape (m,)
        t and c.
    item_vector : ndarray of shape (width,)
        The vector of the item whose score is explained.
    gram : ndarray of shape (width, width), or empty
        G, the contribution of the pairs without an entry; see `kernels.ridge`.
    ridge : ndarray of shape (width,)
        The penalty, as the diagonal of a matrix.
    shifts : ndarray of shape (m, width), or 0
        s, the contribution of each entry to the prior.

    Returns
    -------
    ndarray of shape (m,), float64

    Raises
    ------
    LinAlgError
        If the matrix A is singular.

    Notes
    -----
    With A = G + sum_j c_j f_j f_j' + diag(ridge), v = A^-1 sum_j (c_j t_j f_j + s_j). Therefore, the score is the sum
    of (c_j t_j f_j + s_j) . A^-1 item_vector over the entries j.

    References
    ----------
    Y. Hu, Y. Koren, C. Volinsky. Collaborative filtering for implicit feedback datasets. ICDM 2008, section 5.

    Examples
    --------
    >>> terms = ridge_terms([[1.0], [1.0]], [4.0, 2.0], [1, 1], [1.0], gram=np.zeros(0), ridge=[1.0])
    >>> terms.round(2).tolist()               # v = (4 + 2) / (1 + 1 + 1); the share of the first entry is 4 / 3
    [1.33, 0.67]
    """
    F, c = np.asarray(features, np.float64), np.asarray(confidence, np.float64)
    A = (F * c[:, None]).T @ F + np.diag(np.asarray(ridge, np.float64))
    if np.size(gram):
        A += np.asarray(gram, np.float64)
    b = F * (c * np.asarray(targets, np.float64))[:, None] + np.asarray(shifts, np.float64)
    terms: Float64 = b @ np.linalg.solve(A, np.asarray(item_vector, np.float64))
    return terms


def negative_probabilities(n: int, n_negatives: int) -> Float64:
    """Compute, for each of n items sorted by ascending score, the probability that it is the best of several draws.

    Item r is the best with probability ((r + 1)^m - r^m) / n^m.

    Parameters
    ----------
    n : int
        The number of items, at least 1.
    n_negatives : int
        The number of draws m.

    Returns
    -------
    ndarray of shape (n,), float64
        Probabilities, which sum to 1.

    Examples
    --------
    >>> negative_probabilities(2, 2).tolist()
    [0.25, 0.75]
    """
    probabilities: Float64 = np.diff((np.arange(n + 1) / n) ** n_negatives)
    return probabilities


def pairwise_terms(
    p: ArrayLike, Q: ArrayLike, bias: ArrayLike, positives: Int32, weights: ArrayLike, item_vector: ArrayLike,
    *, n_negatives: int,
) -> Float64:  # fmt: skip
    """Decompose the score `item_vector @ p` into one term per event, for a user vector p trained on item pairs (BPR).

    Parameters
    ----------
    p : ndarray of shape (k,)
        The user's vector.
    Q : ndarray of shape (n_items, k)
        The vectors of all items.
    bias : ndarray of shape (n_items,)
        The biases of all items.
    positives : ndarray of shape (m,), int32
        Row numbers of the items in the user's events.
    weights : ndarray of shape (m,)
        The weight of each event.
    item_vector : ndarray of shape (k,)
        The vector of the item whose score is explained.
    n_negatives : int
        The number of candidates from which the hardest negative is chosen.

    Returns
    -------
    ndarray of shape (m,), float64
        One term for each event; zeros if the user has all items, because then there are no item pairs.

    Notes
    -----
    During training, event j moves p along d_j = E_n[sigmoid(x_n - x_j) (q_j - q_n)], where n is the hardest of a few
    negatives, so p is a sum of such steps. Here, p is approximated as sum_j a_j d_j in two stages: first with
    a_j = a w_j and the best common factor a, then with the smallest changes of the a_j that account for the residual (a
    ridge regression). The term of an event therefore reflects the direction of that event.

    Examples
    --------
    >>> Q = np.array([[1.0], [-1.0], [0.5]])
    >>> terms = pairwise_terms([1.0], Q, np.zeros(3), np.int32([0, 2]), [1, 1], [1.0], n_negatives=2)
    >>> round(float(terms.sum()), 2), bool((terms > 0).all())          # item_vector . p = 1, and both events raise it
    (1.0, True)
    """
    p, Q = np.asarray(p, np.float64), np.asarray(Q, np.float64)
    negatives = np.setdiff1d(np.arange(len(Q)), positives)
    if len(positives) == 0 or len(negatives) == 0:
        return np.zeros(len(positives))
    x = Q @ p + bias
    negatives = negatives[np.argsort(x[negatives], kind="stable")]
    negative_weights = negative_probabilities(len(negatives), n_negatives) / (
        1 + np.exp(np.clip(x[positives][:, None] - x[negatives], -50, 50))
    )
    D = negative_weights.sum(axis=1, keepdims=True) * Q[positives] - negative_weights @ Q[negatives]
    w = np.asarray(weights, np.float64)
    summed_direction = w @ D
    shares = w * (p @ summed_direction) / max(summed_direction @ summed_direction, 1e-300)
    ridge = RELATIVE_RIDGE * np.square(D).sum() / len(D) + 1e-12
    shares = shares + D @ np.linalg.solve(D.T @ D + ridge * np.eye(len(p)), p - shares @ D)
    terms: Float64 = shares * (D @ np.asarray(item_vector, np.float64))
    return terms
