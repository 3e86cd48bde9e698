"""Metrics for predicted ratings: RMSE and MAE, over all rows and per user.

To add a metric, append a `RatingMetric` to RATING_METRICS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Float64, Int64
from cofactor.data.interactions import Kind
from cofactor.errors import DataError
from cofactor.metrics.base import Aggregation, Metric, UserValues
from cofactor.validation import validated

__all__ = ["MAE", "RATING_METRICS", "RMSE", "RatingMetric", "UserErrors", "errors_by_user", "mae", "rmse"]


MAX_ERROR = 1e150
"""Maximum absolute error; larger errors cannot be squared and summed in float64."""


@validated
def rmse(y: Any, p: Any) -> float:
    """Compute the root mean squared error (RMSE) of predicted ratings, in rating units.

    Parameters
    ----------
    y, p : array-like of shape (n,)
        True and predicted ratings.

    Returns
    -------
    float
        Error; nan if there are no rows.

    Raises
    ------
    DataError
        If `y` and `p` differ in length, or a value is not finite (the message names the row).

    Notes
    -----
    ::

        RMSE = sqrt(mean((y - p)^2))

    Examples
    --------
    >>> rmse([1.0, 5.0], [2.0, 5.0])
    0.7071067811865476
    """
    return RMSE.compute(y, p)


@validated
def mae(y: Any, p: Any) -> float:
    """Compute the mean absolute error (MAE) of predicted ratings, in rating units.

    Parameters
    ----------
    y, p : array-like of shape (n,)
        True and predicted ratings.

    Returns
    -------
    float
        Error; nan if there are no rows.

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
    return MAE.compute(y, p)


@dataclass(frozen=True, eq=False)
class UserErrors:
    """Errors of predicted ratings, with the user of each row; returned by `errors_by_user`.

    Intervals over users require the users, because errors of the same user are correlated.

    Attributes
    ----------
    user : ndarray of shape (n,), int64
        User row number of each error.
    error : ndarray of shape (n,), float64
        True minus predicted rating.
    count : ndarray of shape (n_users,), int64
        Number of rows for each user; 0 for users without rows.
    """

    user: Int64
    error: Float64
    count: Int64


@dataclass(frozen=True, kw_only=True)
class RatingMetric(Metric):
    """Metric for predicted ratings: a loss per row, averaged over all rows.

    Attributes
    ----------
    loss : callable
        Function that maps the errors, (n,) float64, to the loss of each row, (n,) float64.
    loss_name : str
        Name of a user's mean loss in `Score.per_user`.
    aggregation : {'mean', 'root mean'}
        How the losses of all rows are combined into the metric.

    Examples
    --------
    >>> RMSE.title, RMSE.direction, MAE.compute([1.0, 5.0], [2.0, 5.0])
    ('RMSE', 'lower is better', 0.5)
    """

    loss: Callable[[Float64], Float64]
    loss_name: str
    aggregation: Aggregation = "mean"
    kind: ClassVar[Kind] = "ratings"

    @property
    def per_user_key(self) -> str:
        """Key of the metric in `Score.per_user`."""
        return self.loss_name

    def compute(self, y: Any, p: Any) -> float:
        """Compute the value of the metric over all rows.

        Parameters
        ----------
        y, p : array-like of shape (n,)
            True and predicted ratings.

        Returns
        -------
        float
            Metric value; nan if there are no rows.

        Raises
        ------
        DataError
            As in `rmse`.
        """
        error = _errors(y, p)
        if not len(error):
            return np.nan
        mean = np.mean(self.loss(error))
        return float(np.sqrt(mean) if self.aggregation == "root mean" else mean)

    def per_user(self, errors: UserErrors) -> UserValues:
        """Sum the losses of the rows of each user.

        Parameters
        ----------
        errors : UserErrors
            Errors of all rows.

        Returns
        -------
        UserValues
            Sums for each user; zero for users without rows.

        Examples
        --------
        >>> values = MAE.per_user(errors_by_user([0, 0, 1], [5, 3, 1], [4, 3, 3], n_users=2))
        >>> values.sums.tolist(), values.aggregate()
        ([1.0, 2.0], 1.0)
        """
        sums = np.bincount(errors.user, weights=self.loss(errors.error), minlength=len(errors.count))
        return UserValues(sums.astype(np.float64), errors.count, self.aggregation)


@validated
def errors_by_user(u: Any, y: Any, p: Any, *, n_users: int) -> UserErrors:
    """Group the errors of predicted ratings by user.

    Parameters
    ----------
    u : array-like of shape (n,), int
        User row numbers, from 0 to n_users - 1.
    y, p : array-like of shape (n,)
        True and predicted ratings.
    n_users : int
        Number of users.

    Returns
    -------
    UserErrors
        Errors with their users; empty if there are no rows.

    Raises
    ------
    DataError
        As in `rmse`, or if `u` has a different length or contains anything other than user row numbers.
    ParameterError
        If `n_users` is not a nonnegative integer.

    Examples
    --------
    >>> errors = errors_by_user([0, 0, 2], [5, 3, 1], [4, 3, 3], n_users=3)
    >>> errors.error.tolist(), errors.count.tolist()
    ([1.0, 0.0, -2.0], [2, 0, 1])
    """
    error = _errors(y, p)
    checks.whole_number("n_users", n_users, low=0, high=MAX_ROWS)
    users = checks.as_array(u)
    if users.shape != error.shape:
        raise DataError(f"u must contain {len(error):,} row numbers, one per rating, not {checks.describe(u)}")
    if users.size and (users.dtype.kind not in "iu" or users.min() < 0 or users.max() >= n_users):
        raise DataError(f"u must contain row numbers less than n_users={n_users}, not {checks.describe(u)}")
    users = users.astype(np.int64, copy=False)
    return UserErrors(users, error, np.bincount(users, minlength=n_users))


def _errors(y: Any, p: Any) -> Float64:
    """Return y - p as float64 after checking that both are finite and have the same length."""
    y_true, y_pred = _to_float64("y", y), _to_float64("p", p)
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise DataError(
            f"y and p must be one-dimensional arrays of the same length; got shapes {y_true.shape} and {y_pred.shape}"
        )
    for name, values in (("rating", y_true), ("prediction", y_pred)):
        is_invalid = ~np.isfinite(values)
        if is_invalid.any():
            row = int(is_invalid.argmax())
            raise DataError(
                f"row {row + 1}: the {name} must be finite, not {values[row]} ({int(is_invalid.sum()) - 1} more rows)"
            )
    with np.errstate(over="ignore"):
        error = y_true - y_pred
    if error.size and (largest := np.abs(error).max()) > MAX_ERROR:
        row = int(np.abs(error).argmax())
        raise DataError(f"row {row + 1}: y and p differ by {largest:.3g}, which is too large to square")
    return error


def _to_float64(name: str, values: Any) -> Float64:
    """Convert numbers, including nan and infinities, to float64; raise DataError for any other type."""
    array = checks.as_array(values)
    if array.size and array.dtype.kind not in "iuf":
        raise DataError(f"{name} must be numbers, not {checks.describe(values)}")
    return array.astype(np.float64, copy=False)


RMSE = RatingMetric(
    name="rmse",
    label="RMSE",
    greater_is_better=False,
    digits=4,
    loss=np.square,
    loss_name="squared_error",
    aggregation="root mean",
)
MAE = RatingMetric(name="mae", label="MAE", greater_is_better=False, digits=4, loss=np.abs, loss_name="absolute_error")
RATING_METRICS = (RMSE, MAE)
"""Rating metrics, in the order shown in tables."""
