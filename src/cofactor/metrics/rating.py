"""Metrics of predicted ratings: RMSE and MAE, over all rows and summed by user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int64
from cofactor.errors import DataError
from cofactor.validation import validated

__all__ = ["UserErrors", "errors_by_user", "mae", "rmse"]


LARGEST_ERROR = 1e150
"""The largest error that is accepted: larger ones cannot be squared and summed in float64."""


@validated
def rmse(y: Any, p: Any) -> float:
    """Root mean squared error, in the units of the ratings.

    Parameters
    ----------
    y, p : array-like of shape (n,)
        True and predicted ratings.

    Returns
    -------
    float
        The error; nan if there are no rows.

    Raises
    ------
    DataError
        If the two differ in length, or if a number is not finite (the message names its row).

    Notes
    -----
    ::

        RMSE = sqrt(mean((y - p)^2))

    Examples
    --------
    >>> rmse([1.0, 5.0], [2.0, 5.0])
    0.7071067811865476
    """
    error = _errors(y, p)
    return float(np.sqrt(np.mean(error**2))) if len(error) else np.nan


@validated
def mae(y: Any, p: Any) -> float:
    """Mean absolute error, in the units of the ratings.

    Parameters
    ----------
    y, p : array-like of shape (n,)
        True and predicted ratings.

    Returns
    -------
    float
        The error; nan if there are no rows.

    Raises
    ------
    DataError
        As in `rmse`.

    Notes
    -----
    ::

        MAE = mean(|y - p|)

    Examples
    --------
    >>> mae([1.0, 5.0], [2.0, 5.0])
    0.5
    """
    error = _errors(y, p)
    return float(np.mean(np.abs(error))) if len(error) else np.nan


@dataclass(frozen=True, eq=False)
class UserErrors:
    """Sums of the errors of each user, as made by `errors_by_user`.

    Intervals over users need them, because errors of the same user are correlated.

    Attributes
    ----------
    squared, absolute : ndarray of shape (n_users,), float64
        Sums of the squared and the absolute errors.
    count : ndarray of shape (n_users,), int64
        Number of rows; 0 for users without rows.

    Notes
    -----
        RMSE = sqrt(sum(squared) / sum(count))        MAE = sum(absolute) / sum(count)

    Examples
    --------
    >>> errors = errors_by_user([0, 0, 1], [5, 3, 1], [4, 3, 3], n_users=2)
    >>> float(errors.absolute.sum() / errors.count.sum())
    1.0
    """

    squared: Float64
    absolute: Float64
    count: Int64


@validated
def errors_by_user(u: Any, y: Any, p: Any, *, n_users: int) -> UserErrors:
    """Sum the errors of `rmse` and `mae` by user.

    Parameters
    ----------
    u : array-like of shape (n,), int
        Row numbers of the users, from 0 to n_users - 1.
    y, p : array-like of shape (n,)
        True and predicted ratings.
    n_users : int
        Number of users.

    Returns
    -------
    UserErrors
        The sums; zeros if there are no rows.

    Raises
    ------
    DataError
        As in `rmse`, and if `u` has another length or holds anything but row numbers of users.
    ParameterError
        If `n_users` is not a whole number from 0 on.

    Examples
    --------
    >>> errors = errors_by_user([0, 0, 2], [5, 3, 1], [4, 3, 3], n_users=3)
    >>> errors.squared.tolist(), errors.absolute.tolist(), errors.count.tolist()
    ([1.0, 0.0, 4.0], [1.0, 0.0, 2.0], [2, 0, 1])
    """
    error = _errors(y, p)
    checks.whole_number("n_users", n_users, low=0, high=MAX_ROWS)
    users = checks.as_array(u)
    if users.shape != error.shape:
        raise DataError(f"u must be {len(error):,} row numbers, one for each rating, not {checks.shown(u)}")
    if users.size and (users.dtype.kind not in "iu" or users.min() < 0 or users.max() >= n_users):
        raise DataError(f"u must be row numbers below n_users, {n_users}, not {checks.shown(u)}")
    users = users.astype(np.int64, copy=False)
    return UserErrors(
        np.bincount(users, weights=error**2, minlength=n_users).astype(np.float64),
        np.bincount(users, weights=np.abs(error), minlength=n_users).astype(np.float64),
        np.bincount(users, minlength=n_users),
    )


def _errors(y: Any, p: Any) -> Float64:
    """Return y - p in float64 once both are finite and of the same length."""
    true, predicted = _numbers("y", y), _numbers("p", p)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise DataError(
            f"y and p must be columns of equal length, a rating and a prediction per row; got shapes {true.shape} "
            f"and {predicted.shape}"
        )
    for what, values in (("rating", true), ("prediction", predicted)):
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"row {row + 1}: the {what} is {values[row]} (and {int(bad.sum()) - 1} more are not finite)"
            )
    with np.errstate(over="ignore"):
        error = true - predicted
    if error.size and (largest := np.abs(error).max()) > LARGEST_ERROR:
        row = int(np.abs(error).argmax())
        raise DataError(f"row {row + 1}: y and p differ by {largest:.3g}, which is too large to be squared")
    return error


def _numbers(name: str, values: Any) -> Float64:
    """Convert numbers, nan and infinities included, to float64. Raises DataError for anything else."""
    numbers = checks.as_array(values)
    if numbers.size and numbers.dtype.kind not in "iuf":
        raise DataError(f"{name} must be numbers, not {checks.shown(values)}")
    return numbers.astype(np.float64, copy=False)
