"""Fold-in solvers: fit the vector of a new user with the item vectors held fixed, or vice versa.

Linear least-squares problems are solved exactly, and those with a sigmoid by Gauss-Newton steps. A smooth function of a
few dozen unknowns, such as the loss of a neural network, is minimized by Barzilai-Borwein steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from cofactor.arrays import Float32, Float64, Int32, read_only
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.ridge import RidgeInputs, solve
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "MIN_SLOPE",
    "GaussianPrior",
    "barzilai_borwein",
    "shift_with_new_items",
    "sigmoid",
    "solve_rows",
    "with_minimal_penalty",
]

MAX_GAUSS_NEWTON_STEPS = 40
"""The maximum number of Gauss-Newton steps; most users converge after about six, a few after more than 20."""

MIN_SLOPE = 1e-2
"""The minimum slope of the sigmoid, as a fraction of its range; it bounds the steps where the curve is flat."""

STEP_TOLERANCE = 1e-5
"""A user has converged when the largest change is below this fraction of 1 plus the largest entry of the vector."""

MAX_HALVINGS = 8
"""The maximum number of halvings of a step that does not decrease a user's loss, before it is abandoned."""

LOSS_ROUNDING = 1e-7
"""Relative increases of the loss up to this value count as rounding errors: the row has converged."""

MAX_LINE_SEARCH_HALVINGS = 12
"""The maximum number of halvings of a Barzilai-Borwein step that does not decrease the objective."""


class GaussianPrior(NamedTuple):
    """Normal prior for the vectors of folded-in users or items, N(means, precision^-1); see `models.prior`.

    Attributes
    ----------
    means : ndarray of shape (n, w), float64
        A mean for each user or item; w is the number of factors, plus one if the model has biases.
    precision : ndarray of shape (w, w), float64
        The shared precision matrix, in units of the loss.
    item_shift : ndarray of shape (n_items,), float32, optional
        Added to the item biases when users are folded in; see `FactorModel`. Not used for items.
    """

    means: Float64
    precision: Float64
    item_shift: Float32 | None = None


def shift_with_new_items(item_shift: Float32, take: Int32) -> Float32:
    """Reorder an item-bias shift for a model with new items, whose shift is 0.

    Parameters
    ----------
    item_shift : ndarray of shape (m,), float32
        Shift of each item.
    take : ndarray of shape (n,), int32
        Row number in `item_shift` for each item; negative for new items.

    Returns
    -------
    ndarray of shape (n,), float32
    """
    return read_only(np.append(item_shift, np.float32(0))[np.where(take >= 0, take, len(item_shift))])


def solve_rows(
    entries: SparseRows,
    penalty: Float32,
    inputs: RidgeInputs,
    rating_range: tuple[float, float] | None,
    prior: GaussianPrior | None = None,
) -> Float32:
    """Fit each user vector with the item vectors held fixed, or vice versa, by minimizing the loss.

    Parameters
    ----------
    entries : SparseRows
        The ratings or events of each user or item to fit, one row each.
    penalty : ndarray of shape (n_rows,), float32
        The penalty for each row, as in training.
    inputs : RidgeInputs
        Inputs of the ridge regressions, from the vectors that are held fixed.
    rating_range : tuple of (float, float), or None
        The range of the sigmoid; None for a linear model.
    prior : GaussianPrior, optional
        Replaces the penalty.

    Returns
    -------
    ndarray of shape (n_rows, width), float32
        The minimizers x. An empty row gets zeros, or its prior mean. The latter also holds for event models: if a user
        has no events at all, the missing events are not treated as evidence.

    Notes
    -----
    With y(z) = z or low + (high - low) sigmoid(z), the loss of a row is::

        sum_j w_j (r_j - y(x . f_j + offset_j))^2 + penalty sum_d shape_d x_d^2 + sum_d precision_d (x_d - prior_d)^2

    Examples
    --------
    >>> from cofactor.models.losses import RatingsLoss
    >>> loss = RatingsLoss(l2=1.0, l2_bias=None)
    >>> inputs = loss.ridge_inputs(np.float32([[1], [2]]), np.zeros(2, np.float32), mean=3.0)
    >>> entries = SparseRows.of(rows=[0, 0], columns=[0, 1], values=[4, 5], n_rows=2)       # row 1 is empty
    >>> x = solve_rows(entries, loss.penalty(entries.counts, 2), inputs, None)
    >>> x[:, 0].round(2)                                 # (1 * 1 + 2 * 2) / (1 + 4 + 2 * 1)
    array([0.71, 0.  ], dtype=float32)
    """
    x = np.zeros((len(entries), inputs.features.shape[1]), np.float32)
    rotated_regression = None
    if prior is not None:
        rotated_regression = RotatedRegression.of(inputs, entries, prior.means, prior.precision)
        entries, inputs = rotated_regression.entries, rotated_regression.inputs
        x[:] = inputs.prior
    if rating_range is None:
        solve(x, entries, penalty, inputs)
    else:
        _gauss_newton(x, entries, penalty, inputs, *rating_range)
    if rotated_regression is None or prior is None:
        return x
    solution = rotated_regression.rotate_back(x)
    is_empty = entries.counts == 0
    solution[is_empty, : prior.means.shape[1]] = prior.means[is_empty]
    return solution


@dataclass(frozen=True, eq=False)
class RotatedRegression:
    """Ridge regressions in rotated coordinates, in which the full precision matrix of the prior is diagonal.

    Attributes
    ----------
    inputs : RidgeInputs
        The rotated inputs, with the rows that occur in the entries and without the training penalty.
    entries : SparseRows
        The entries, with columns renumbered to match the rows of `inputs`.
    axes : ndarray of shape (width, width), float64
        The eigenvectors U of the precision matrix P = U diag(d) U'; the rotated coordinates are y = U' x.
    """

    inputs: RidgeInputs
    entries: SparseRows
    axes: Float64

    @classmethod
    def of(cls, inputs: RidgeInputs, entries: SparseRows, means: Float64, precision: Float64) -> Self:
        """Rotate ridge regressions to coordinates along the eigenvectors of the prior's precision matrix.

        Parameters
        ----------
        inputs : RidgeInputs
            Inputs of the regressions; their width may exceed w because of padding.
        entries : SparseRows
            The entries of n rows.
        means : ndarray of shape (n, w), float64
            The prior mean of each row.
        precision : ndarray of shape (w, w), float64
            The precision matrix. Its eigenvalues are raised to at least 1e-9 times the largest one, so that the system
            can be solved.

        Returns
        -------
        RotatedRegression
        """
        w, width = len(precision), inputs.features.shape[1]
        used_columns, columns = np.unique(entries.columns, return_inverse=True)
        eigenvalues, axes = np.linalg.eigh(precision)
        padded_axes = np.eye(width)
        padded_axes[:w, :w] = axes
        d = np.ones(width)
        d[:w] = np.maximum(eigenvalues, 1e-9 * max(float(eigenvalues.max(initial=0)), 1e-9))
        prior = np.zeros((len(means), width), np.float32)
        prior[:, :w] = means @ axes
        gram = inputs.gram if inputs.gram.size == 0 else (padded_axes.T @ inputs.gram @ padded_axes).astype(np.float32)
        rotated_inputs = replace(
            inputs,
            features=(inputs.features[used_columns] @ padded_axes).astype(np.float32),
            offset=inputs.offset[used_columns],
            gram=gram,
            shape=np.zeros(width, np.float32),
            precision=d.astype(np.float32),
            prior=prior,
        )
        return cls(rotated_inputs, replace(entries, columns=columns.astype(np.int32)), padded_axes)

    def rotate_back(self, y: Float32) -> Float32:
        """Rotate the solutions of the regressions back to the original coordinates.

        Parameters
        ----------
        y : ndarray of shape (n_rows, width), float32
            Rotated vectors.

        Returns
        -------
        ndarray of shape (n_rows, width), float32
            The vectors x.
        """
        x: Float32 = (y.astype(np.float64) @ self.axes.T).astype(np.float32)
        return x


def sigmoid(x: Float32) -> Float64:
    """Compute the sigmoid 1 / (1 + exp(-x)) in float64 without overflow.

    Parameters
    ----------
    x : ndarray of any shape, float32
        The input.

    Returns
    -------
    ndarray of the same shape, float64
        Values between 0 and 1.

    Examples
    --------
    >>> sigmoid(np.float32([-1000, 0, 1000])).tolist()
    [0.0, 0.5, 1.0]
    """
    value: Float64 = 0.5 + 0.5 * np.tanh(0.5 * x.astype(np.float64))
    return value


def with_minimal_penalty(inputs: RidgeInputs, rating_range: tuple[float, float] | None) -> RidgeInputs:
    """Raise the ridge penalty of each dimension to at least a minimum, so that short histories have a unique solution.

    The minimum is 1e-6 times the largest squared feature in the dimension, times the squared range of the sigmoid over
    25. Without it, the directions that a short history does not determine would contain only rounding errors.

    Parameters
    ----------
    inputs : RidgeInputs
        Inputs of the ridge regressions, from the vectors that are held fixed.
    rating_range : tuple of (float, float), or None
        The range of the sigmoid; None for a linear model.

    Returns
    -------
    RidgeInputs
        The same inputs with the raised penalties in `shape`.
    """
    squared_range = 1.0 if rating_range is None else ((rating_range[1] - rating_range[0]) / 5) ** 2
    largest = np.maximum(inputs.features.max(axis=0, initial=0), -inputs.features.min(axis=0, initial=0))
    minimum = np.float32(1e-6 * squared_range) * np.square(largest)
    return replace(inputs, shape=np.maximum(inputs.shape, minimum))


def _gauss_newton(
    x: Float32, histories: SparseRows, penalty: Float32, inputs: RidgeInputs, low: float, high: float
) -> None:  # fmt: skip
    """Minimize the sigmoid loss of `solve_rows` for each row of x by Gauss-Newton steps, in place.

    Each step solves a ridge regression that has the same gradient at x as the loss. A row's step is halved until its
    loss decreases, so the loss of a row never increases.
    """
    rows = histories.owners
    weights = 1.0 if histories.weights is None else histories.weights.astype(np.float64)
    ridge, precision = penalty.astype(np.float64)[:, None] * inputs.shape, inputs.precision.astype(np.float64)
    without_offset = replace(inputs, offset=np.zeros_like(inputs.offset))

    def prediction(at: Float32) -> tuple[Float32, Float64]:
        dots = pair_dots(at, inputs.features, rows, histories.columns)
        return dots, sigmoid(dots + inputs.offset[histories.columns])

    def losses(at: Float32) -> Float64:
        errors = histories.values - (low + (high - low) * prediction(at)[1])
        squares = np.bincount(rows, weights=weights * errors**2, minlength=len(at))
        distance = at.astype(np.float64) - inputs.prior
        penalties = ridge * np.square(at, dtype=np.float64) + precision * distance * distance
        total: Float64 = squares + penalties.sum(axis=1)
        return total

    best_loss, is_active = losses(x), np.ones(len(x), bool)
    for _ in range(MAX_GAUSS_NEWTON_STEPS):
        dots, sigmoid_value = prediction(x)
        slope = (high - low) * sigmoid_value * (1 - sigmoid_value)
        curvature = np.maximum(slope, MIN_SLOPE * (high - low)) ** 2
        target = dots + slope * (histories.values - (low + (high - low) * sigmoid_value)) / curvature
        linearized_rows = SparseRows(
            histories.start, histories.columns, target.astype(np.float32), (weights * curvature).astype(np.float32)
        )
        step = np.empty_like(x)
        solve(step, linearized_rows, penalty, without_offset)
        step -= x
        is_active &= np.abs(step).max(axis=1) > STEP_TOLERANCE * (1 + np.abs(x).max(axis=1))
        new_loss = losses(x + step)
        for _ in range(MAX_HALVINGS):
            is_worse = is_active & ~(new_loss <= (1 + LOSS_ROUNDING) * best_loss)
            if not is_worse.any():
                break
            step[is_worse] *= np.float32(0.5)
            new_loss = losses(x + step)
        is_active &= new_loss < best_loss
        if not is_active.any():
            return
        x[is_active] += step[is_active]
        best_loss = np.where(is_active, new_loss, best_loss)


def barzilai_borwein(
    objective: Callable[[Float32], tuple[float, Float32]], width: int, *, steps: int, tolerance: float
) -> Float32:
    """Minimize a smooth function by gradient descent from zero, with Barzilai-Borwein step lengths.

    Parameters
    ----------
    objective : callable
        Takes z, an ndarray of shape (width,), float32, and returns the function value and the gradient.
    width : int
        The number of unknowns.
    steps : int
        The maximum number of steps; with 0 steps the result is zero.
    tolerance : float
        The gradient norm at which to stop.

    Returns
    -------
    ndarray of shape (width,), float32

    Notes
    -----
    With dz and dg, the most recent changes in z and in the gradient g::

        z <- z - a g,    a = |dz|^2 / (dz . dg)

    The step length a is halved until the function value decreases; the search stops if no step decreases it.

    References
    ----------
    J. Barzilai, J. Borwein. Two-point step size gradient methods. IMA Journal of Numerical Analysis 8 (1988).

    Examples
    --------
    >>> quadratic = lambda z: (float((z - 2) @ (z - 2)), 2 * (z - 2))
    >>> barzilai_borwein(quadratic, 1, steps=9, tolerance=1e-3).round(2).tolist()
    [2.0]
    """
    z = np.zeros(width, np.float32)
    value, gradient = objective(z)
    length = 1 / (1 + float(np.linalg.norm(gradient)))
    for _ in range(steps):
        if float(np.linalg.norm(gradient)) <= tolerance:
            break
        for _ in range(MAX_LINE_SEARCH_HALVINGS):
            new_z = z - np.float32(length) * gradient
            new_value, new_gradient = objective(new_z)
            if new_value < value:
                break
            length /= 2
        else:
            break
        dz, dg = (new_z - z).astype(np.float64), (new_gradient - gradient).astype(np.float64)
        curvature = dz @ dg
        length = float(dz @ dz / curvature) if curvature > 0 else 2 * length
        z, value, gradient = new_z, new_value, new_gradient
    return z
