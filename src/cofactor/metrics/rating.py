"""How far predicted ratings lie from the true ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Float64, Int64
from cofactor.errors import DataError
from cofactor.validation import validated

__all__ = ["UserErrors", "errors_by_user", "mae", "rmse"]


LARGEST_ERROR = 1e150
"""Larger errors cannot be squared and summed in float64."""


@validated
def rmse(y: Any, p: Any) -> float:
    """Root mean squared error, in the units of the ratings.

        RMSE = sqrt(mean((y - p)^2))

    y, p (n,) numbers: the true ratings and the predictions. nan for no rows.
    Raises DataError for different lengths, or a number that is not finite (with its row).

    >>> rmse([1.0, 5.0], [2.0, 5.0])
    0.7071067811865476
    """
    error = _errors(y, p)
    return float(np.sqrt(np.mean(error**2))) if len(error) else np.nan


@validated
def mae(y: Any, p: Any) -> float:
    """Mean absolute error, in the units of the ratings.

        MAE = mean(|y - p|)

    y, p, no rows and what it raises: as `rmse`.

    >>> mae([1.0, 5.0], [2.0, 5.0])
    0.5
    """
    error = _errors(y, p)
    return float(np.mean(np.abs(error))) if len(error) else np.nan


@dataclass(frozen=True, eq=False)
class UserErrors:
    """Sums of each user's errors: what an interval over users needs, since rows of one user hang together.

        squared, absolute (n_users,) float64    count (n_users,) int64, 0 for users without rows

        RMSE = sqrt(sum(squared) / sum(count))        MAE = sum(absolute) / sum(count)

    See `errors_by_user`, which makes it.

    >>> errors = errors_by_user([0, 0, 1], [5, 3, 1], [4, 3, 3], n_users=2)
    >>> float(errors.absolute.sum() / errors.count.sum())
    1.0
    """

    squared: Float64
    absolute: Float64
    count: Int64


@validated
def errors_by_user(u: Any, y: Any, p: Any, *, n_users: int) -> UserErrors:
    """The errors of `rmse` and `mae` summed by user.

    u (n,) int: row numbers of the users, from 0 to n_users - 1; y, p as in `rmse`. No rows give zeros. Raises as `rmse`
    does, and DataError for another number of users or what is no row number of one.

    >>> errors = errors_by_user([0, 0, 2], [5, 3, 1], [4, 3, 3], n_users=3)
    >>> errors.squared.tolist(), errors.absolute.tolist(), errors.count.tolist()
    ([1.0, 0.0, 4.0], [1.0, 0.0, 2.0], [2, 0, 1])
    """
    error = _errors(y, p)
    checks.whole_number("n_users", n_users, low=0, high=MOST_ROWS)
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
    true, predicted = _numbers("y", y), _numbers("p", p)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise DataError(
            "y and p must be ratings and predictions, one of each per row, "
            f"not of shapes {true.shape} and {predicted.shape}"
        )
    for what, numbers in (("rating", true), ("prediction", predicted)):
        bad = ~np.isfinite(numbers)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"row {row + 1}: the {what} is {numbers[row]} (and {int(bad.sum()) - 1} more are not finite)"
            )
    with np.errstate(over="ignore"):
        error = true - predicted
    if error.size and (largest := np.abs(error).max()) > LARGEST_ERROR:
        row = int(np.abs(error).argmax())
        raise DataError(f"row {row + 1}: y and p differ by {largest:.3g}, which is too large to be squared")
    return error


def _numbers(name: str, values: Any) -> Float64:
    """Numbers, nan and infinities among them, in float64. Raises DataError for anything else."""
    numbers = checks.as_array(values)
    if numbers.size and numbers.dtype.kind not in "iuf":
        raise DataError(f"{name} must be numbers, not {checks.shown(values)}")
    return numbers.astype(np.float64, copy=False)
