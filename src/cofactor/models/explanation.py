"""Why a score is what it is: a sum of parts, one for each item of the user's history.

    x(u, i) = mean + b_u + b_i + sum_j term_j + not attributed

x is what items are ranked by, before link and clip. What stands behind the terms depends on how the user's vector came
about, see `ridge_terms` (least squares), `pairwise_terms` (BPR), and the models themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, Int32
from cofactor.validation import validated

__all__ = ["By", "Explanation", "pairwise_terms", "ridge_terms", "split_off"]

By: TypeAlias = Literal["history", "neighbors", "leave-one-out"]

MOST_DIGITS = 15
"""Decimal places that a float has."""
ROUNDING = 1e-4
"""What is missing from a sum, over the sum of its parts' sizes, and may be rounding alone."""

LOOSE = 1e-2
"""How far events' shares may part from one another, see `pairwise_terms`."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """The parts of one score; they add up to it within 1e-4 of the sum of their sizes.

        score = mean + user + item + sum_j terms_j + rest

    Without a history, rows and terms are empty.

    Attributes:

        score: x(u, i).
        mean, user, item: the average, and what is added for the user and for the item whatever the history.
        rows: (m,) int32: the items of the history, or the neighbors' rows (-1: a user who is not there any more).
        terms: (m,) float64: what each of them adds.
        rest: what is not attributed.
        by: what `rows` are: items of the "history", "neighbors" (users), or items left out one at a time
            ("leave-one-out": a term is how much x falls without the item, so terms need not be parts of a sum; what
            they leave is in `rest`).

    >>> why = Explanation(4.5, 3.0, 0.5, 0.25, np.int32([7, 2]), np.array([1.0, -0.5]), 0.25)
    >>> why.parts.tolist(), round(why.share_not_attributed, 2)
    ([3.0, 0.5, 0.25, 1.0, -0.5, 0.25], 0.14)
    """

    score: float
    mean: float
    user: float
    item: float
    rows: Int32
    terms: Float64
    rest: float
    by: By = "history"

    @property
    def parts(self) -> Float64:
        """mean, user, item, all terms, rest: (m + 4,) float64."""
        return np.concatenate([[self.mean, self.user, self.item], self.terms, [self.rest]])

    @property
    def share_not_attributed(self) -> float:
        """|rest| over the sum of the sizes of terms and rest; 0 where there are none."""
        size = float(np.abs(self.terms).sum()) + abs(self.rest)
        return abs(self.rest) / size if size else 0.0

    @validated
    def rounded(self, digits: int) -> Float64:
        """`parts` to so many digits, so that they still add up to the rounded score.

        Each part is rounded down or up: up where most is lost by rounding down (largest remainders).

        >>> thirds = Explanation(1.0, 0.0, 0.0, 0.0, np.arange(3), np.array([1, 1, 1]) / 3, 0.0)
        >>> thirds.rounded(1).tolist()
        [0.0, 0.0, 0.0, 0.4, 0.3, 0.3, 0.0]
        """
        unit = 10.0 ** -checks.whole_number("digits", digits, low=-MOST_DIGITS, high=MOST_DIGITS)
        cells = self.parts / unit
        down = np.floor(cells)
        missing = int(round(self.score / unit) - down.sum())
        up = np.argsort(down - cells, kind="stable")[: max(missing, 0)]
        down[up] += 1
        rounded: Float64 = np.round(down * unit, digits)
        return rounded


def split_off(attributed: float, total: float, terms: Float64) -> float:
    """What `attributed` leaves of `total`: exactly 0 where rounding may be all of it.

    >>> split_off(0.99999, 1.0, np.array([0.5, 0.49999])), split_off(0.75, 1.0, np.array([0.75]))
    (0.0, 0.25)
    """
    rest = total - attributed
    return 0.0 if abs(rest) <= ROUNDING * float(np.abs(terms).sum()) else rest


def ridge_terms(
    features: Any, targets: Any, confidence: Any, goal: Any, *, gram: Any, ridge: Any, shifts: Any = 0.0
) -> Float64:  # fmt: skip
    """What each entry adds to goal . v, where v minimizes the ridge regression of `kernels.ridge`: (m,) float64.

    v = A^-1 sum_j (c_j t_j f_j + s_j) with A = G + sum_j c_j f_j f_j' + diag(ridge), so goal . v is the sum over j of
    (c_j t_j f_j + s_j) . A^-1 goal. features (m, width), targets t and confidence c (m,), goal, ridge (width,), gram
    (width, width) or of size 0; shifts s (m, width): what an entry adds besides its target. No entries: (0,).
    Raises LinAlgError where A is singular. Source: Hu, Koren & Volinsky 2008, section 5 (explaining recommendations).

    >>> terms = ridge_terms([[1.0], [1.0]], [4.0, 2.0], [1, 1], [1.0], gram=np.zeros(0), ridge=[1.0])
    >>> terms.round(2).tolist()               # v = (4 + 2) / (1 + 1 + 1), of which the first is 4 / 3
    [1.33, 0.67]
    """
    F, c = np.asarray(features, np.float64), np.asarray(confidence, np.float64)
    A = (F * c[:, None]).T @ F + np.diag(np.asarray(ridge, np.float64))
    if np.size(gram):
        A += gram
    pulls = F * (c * np.asarray(targets, np.float64))[:, None] + shifts
    terms: Float64 = pulls @ np.linalg.solve(A, np.asarray(goal, np.float64))
    return terms


def pairwise_terms(p: Any, Q: Any, bias: Any, taken: Int32, weights: Any, goal: Any, *, n_negatives: int) -> Float64:
    """What each event adds to goal . p for a vector learnt by pairs (BPR): (m,) float64.

    An event j pulls p along d_j = E_n[sigmoid(x_n - x_j) (q_j - q_n)], n the hardest of a few negatives; p is a sum of
    such pulls along the way. It is written as sum_j a_j d_j here: all a_j = a w_j first, with the a that comes closest,
    then each a_j as little apart from that as closes the gap (a ridge regression), so that what an event is said to add
    is of its own direction. p (k,), Q (n_items, k), bias (n_items,), taken (m,) item rows, weights (m,), goal (k,).
    Zeros where nothing is lacked: then there are no pairs.

    >>> Q = np.array([[1.0], [-1.0], [0.5]])
    >>> terms = pairwise_terms([1.0], Q, np.zeros(3), np.int32([0, 2]), [1, 1], [1.0], n_negatives=2)
    >>> round(float(terms.sum()), 2), bool((terms > 0).all())          # goal . p = 1, and both events pull that way
    (1.0, True)
    """
    p, Q = np.asarray(p, np.float64), np.asarray(Q, np.float64)
    lacked = np.setdiff1d(np.arange(len(Q)), taken)
    if len(taken) == 0 or len(lacked) == 0:
        return np.zeros(len(taken))
    x = Q @ p + bias
    lacked = lacked[np.argsort(x[lacked], kind="stable")]
    chance = np.diff((np.arange(len(lacked) + 1) / len(lacked)) ** n_negatives)
    pull = chance / (1 + np.exp(np.clip(x[taken][:, None] - x[lacked], -50, 50)))
    D = pull.sum(axis=1, keepdims=True) * Q[taken] - pull @ Q[lacked]
    w = np.asarray(weights, np.float64)
    common = w @ D
    shares = w * (p @ common) / max(common @ common, 1e-300)
    slack = LOOSE * np.square(D).sum() / len(D) + 1e-12
    shares = shares + D @ np.linalg.solve(D.T @ D + slack * np.eye(len(p)), p - shares @ D)
    terms: Float64 = shares * (D @ np.asarray(goal, np.float64))
    return terms
