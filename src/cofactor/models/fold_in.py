"""Fold-in solver: fit one user or item with the other side fixed, exactly or by Gauss-Newton through a sigmoid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from cofactor.arrays import Float32, Float64
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.ridge import Side, solve
from cofactor.kernels.sparse import SparseRows

__all__ = ["FLAT", "GaussianPrior", "pinned_down", "sigmoid", "solve_rows"]


class GaussianPrior(NamedTuple):
    """Prior of the vectors that are solved for: N(means, precision^-1); see `models.prior`.

    Attributes
    ----------
    means : ndarray of shape (n, w), float64
        A mean for each user or item; w is the number of factors, and one more where there are biases.
    precision : ndarray of shape (w, w), float64
    """

    means: Float64
    precision: Float64


GAUSS_NEWTON_STEPS = 20
"""At most, for folding into a sigmoid model: most users stand still after half a dozen."""
FLAT = 1e-2
"""A sigmoid's slope counts as at least this share of its span: no leaps where it is flat."""

STILL = 1e-5
"""A step of less than this share of a user's vector is none."""

HALVINGS = 8
"""How often a step that makes a user's loss larger is halved before that user stays where it is."""


def solve_rows(
    entries: SparseRows,
    penalty: Float32,
    side: Side,
    rating_range: tuple[float, float] | None,
    prior: GaussianPrior | None = None,
) -> Float32:
    """The x that minimizes each row's loss: (n_rows, width) float32; see `kernels.ridge` and `_descend`.

        sum_j w_j (r_j - y(x . f_j + offset_j))^2 + penalty sum_d shape_d x_d^2 + sum_d precision_d (x_d - prior_d)^2

    with y(z) = z, or low + (high - low) sigmoid(z) for a `rating_range`. penalty (n_rows,) float32: training's own.
    With a prior, the precision matrix stands in the penalty's place, and an empty row is its mean, in models of
    events too: of somebody who had no occasion yet, blanks tell nothing. Without a prior an empty row is zero.

    >>> from cofactor.models.losses import RatingsLoss
    >>> loss = RatingsLoss(l2=1.0, l2_bias=None)
    >>> side = loss.side(np.float32([[1], [2]]), np.zeros(2, np.float32), mean=3.0)
    >>> entries = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[4, 5], n_rows=2)       # and a row without any
    >>> x = solve_rows(entries, loss.penalty(entries.counts, 2), side, None)
    >>> x[:, 0].round(2)                                 # (1 * 1 + 2 * 2) / (1 + 4 + 2 * 1)
    array([0.71, 0.  ], dtype=float32)
    """
    x = np.zeros((len(entries), side.features.shape[1]), np.float32)
    turned = None
    if prior is not None:
        turned = Rotated.of(side, entries, *prior)
        entries, side = turned.entries, turned.side
        x[:] = side.prior
    if rating_range is None:
        solve(x, entries, penalty, side)
    else:
        _descend(x, entries, penalty, side, *rating_range)
    if turned is None or prior is None:
        return x
    solution = turned.back(x)
    empty = entries.counts == 0
    solution[empty, : prior.means.shape[1]] = prior.means[empty]
    return solution


@dataclass(frozen=True, eq=False)
class Rotated:
    """A half-step with a full precision matrix, in the axes where that is a diagonal: x = U y, P = U diag(d) U'.

        side: of the other side, the rows that the entries name, in these axes, its own penalty left out
        entries: with those rows' numbers
        axes (width, width) float64: U

    Where nothing of x is known before, d is at least a billionth of its largest: the system stays solvable.
    """

    side: Side
    entries: SparseRows
    axes: Float64

    @classmethod
    def of(cls, side: Side, entries: SparseRows, means: Float64, precision: Float64) -> Self:
        """means (n, w), precision (w, w); the side's width may be larger by padding."""
        w, width = len(precision), side.features.shape[1]
        named, columns = np.unique(entries.columns, return_inverse=True)
        size, axes = np.linalg.eigh(precision)
        wide = np.eye(width)
        wide[:w, :w] = axes
        d = np.ones(width)
        d[:w] = np.maximum(size, 1e-9 * max(float(size.max(initial=0)), 1e-9))
        prior = np.zeros((len(means), width), np.float32)
        prior[:, :w] = means @ axes
        gram = side.gram if side.gram.size == 0 else (wide.T @ side.gram @ wide).astype(np.float32)
        turned = replace(
            side,
            features=(side.features[named] @ wide).astype(np.float32),
            offset=side.offset[named],
            gram=gram,
            shape=np.zeros(width, np.float32),
            precision=d.astype(np.float32),
            prior=prior,
        )
        return cls(turned, replace(entries, columns=columns.astype(np.int32)), wide)

    def back(self, y: Float32) -> Float32:
        """x = U y of each row: (n_rows, width) float32."""
        x: Float32 = (y.astype(np.float64) @ self.axes.T).astype(np.float32)
        return x


def sigmoid(x: Float32) -> Float64:
    """1 / (1 + exp(-x)) in float64, of any shape, written so that nothing overflows.

    >>> sigmoid(np.float32([-1000, 0, 1000])).tolist()
    [0.0, 0.5, 1.0]
    """
    share: Float64 = 0.5 + 0.5 * np.tanh(0.5 * x.astype(np.float64))
    return share


def pinned_down(side: Side, rating_range: tuple[float, float] | None) -> Side:
    """The side with at least a trace of penalty: what a short history leaves open is 0 then, not rounding errors.

    The trace is a millionth of each dimension's largest squared feature, times the sigmoid's squared range over 25.
    """
    share = 1.0 if rating_range is None else ((rating_range[1] - rating_range[0]) / 5) ** 2
    trace = np.float32(1e-6 * share) * np.square(side.features).max(axis=0, initial=0)
    return replace(side, shape=np.maximum(side.shape, trace))


def _descend(
    x: Float32, histories: SparseRows, penalty: Float32, side: Side, low: float, high: float
) -> None:  # fmt: skip
    """Every row of x moved to a minimum of  sum_j w_j (r_j - y(x . f_j + offset_j))^2 + penalty sum_d shape_d x_d^2
    + sum_d precision_d (x_d - prior_d)^2.

    y(z) = low + (high - low) sigmoid(z). Gauss-Newton: each step solves the ridge regression whose gradient at x is
    that of the loss; a row's step is halved until its loss falls, so no row ever gets worse.
    """
    rows = histories.owners
    weights = 1.0 if histories.weights is None else histories.weights.astype(np.float64)
    ridge, drawn = penalty.astype(np.float64)[:, None] * side.shape, side.precision.astype(np.float64)
    straight = replace(side, offset=np.zeros_like(side.offset))

    def prediction(at: Float32) -> tuple[Float32, Float64]:
        dots = pair_dots(at, side.features, rows, histories.columns)
        return dots, sigmoid(dots + side.offset[histories.columns])

    def losses(at: Float32) -> Float64:
        errors = histories.values - (low + (high - low) * prediction(at)[1])
        squares = np.bincount(rows, weights=weights * errors**2, minlength=len(at))
        far = at.astype(np.float64) - side.prior
        total: Float64 = squares + (ridge * np.square(at, dtype=np.float64) + drawn * far * far).sum(axis=1)
        return total

    best, moving = losses(x), np.ones(len(x), bool)
    for _ in range(GAUSS_NEWTON_STEPS):
        dots, share = prediction(x)
        slope = (high - low) * share * (1 - share)
        curvature = np.maximum(slope, FLAT * (high - low)) ** 2
        target = dots + slope * (histories.values - (low + (high - low) * share)) / curvature
        linear = SparseRows(
            histories.start, histories.columns, target.astype(np.float32), (weights * curvature).astype(np.float32)
        )
        step = np.empty_like(x)
        solve(step, linear, penalty, straight)
        step -= x
        moving &= np.abs(step).max(axis=1) > STILL * (1 + np.abs(x).max(axis=1))
        found = losses(x + step)
        for _ in range(HALVINGS):
            worse = moving & ~(found < best)
            if not worse.any():
                break
            step[worse] *= np.float32(0.5)
            found = losses(x + step)
        moving &= found < best
        if not moving.any():
            return
        x[moving] += step[moving]
        best = np.where(moving, found, best)
