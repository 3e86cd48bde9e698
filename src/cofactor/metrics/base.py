"""Base class of metrics, and the values of a metric by user with their aggregate, interval and difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, nan, sqrt
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.errors import DataError
from cofactor.metrics.intervals import Interval, bootstrap_ratio, paired_rmse_difference

__all__ = ["Aggregation", "Metric", "UserValues"]

Aggregation: TypeAlias = Literal["mean", "root mean"]
"""How the terms of all users are combined: by their mean, or the square root of it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric: its name, how it is shown, and which of two values is better.

    Subclasses add the function that computes it. All metrics are in `metrics.registry`.

    Attributes
    ----------
    name : str
        Name in results and JSON, such as "ndcg".
    label : str
        Name in tables and figures, such as "NDCG".
    greater_is_better : bool
        Direction.
    digits : int, default 3
        Number of decimals in tables.
    k : int or None
        Length of the ranked lists; None for metrics of ratings, and until `at` sets it.
    kind : {'ratings', 'events'}
        Kind of the tables that it measures.
    has_interval : bool
        Whether it has values by user, and so a confidence interval.

    Examples
    --------
    >>> from cofactor.metrics.registry import METRICS
    >>> ndcg = METRICS["ndcg"].at(10)
    >>> ndcg.key, ndcg.title, ndcg.direction, ndcg.is_better(0.3, 0.2)
    ('ndcg@10', 'NDCG@10', 'higher is better', True)
    """

    name: str
    label: str
    greater_is_better: bool
    digits: int = 3
    k: int | None = None
    kind: ClassVar[Kind]
    has_interval: ClassVar[bool] = True

    def at(self, k: int) -> Self:
        """Return the metric of lists of this length.

        Parameters
        ----------
        k : int
            Length of the lists, from 1.

        Returns
        -------
        Metric
            This object for metrics of ratings, which have no lists.

        Raises
        ------
        ParameterError
            If `k` is below 1 or too large.
        """
        k = checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH)
        return self if self.kind == "ratings" else replace(self, k=k)

    @property
    def key(self) -> str:
        """Key in results, such as "ndcg@10"."""
        return self.name if self.k is None else f"{self.name}@{self.k}"

    @property
    def title(self) -> str:
        """Name with the length of the lists, such as "NDCG@10"."""
        return self.label if self.k is None else f"{self.label}@{self.k}"

    @property
    def direction(self) -> str:
        """Direction in words."""
        return "higher is better" if self.greater_is_better else "lower is better"

    def sort_key(self, value: float) -> tuple[bool, float]:
        """Return a key that sorts values, best first and nan last.

        Parameters
        ----------
        value : float
            Value of the metric.

        Returns
        -------
        tuple of bool and float
            The key.
        """
        return isnan(value), -value if self.greater_is_better else value

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another.

        Parameters
        ----------
        value, other : float
            The two values. A number is better than nan; nan is never better.

        Returns
        -------
        bool
            False for equal values.
        """
        return self.sort_key(value) < self.sort_key(other)


@dataclass(frozen=True, eq=False)
class UserValues:
    """Terms of a metric summed by user, such as squared errors or one NDCG per user.

    Attributes
    ----------
    sums : ndarray of shape (n_users,), float64
        Sums of the terms.
    counts : ndarray of shape (n_users,), int64
        Number of terms; users with 0 terms are not measured.
    aggregation : {'mean', 'root mean'}
        How the terms of all users are combined.

    Examples
    --------
    >>> values = UserValues(np.array([2.0, 6.0, np.nan]), np.array([1, 1, 0]), "root mean")
    >>> values.aggregate(), values.difference(values).mean
    (2.0, 0.0)
    """

    sums: Float64
    counts: Int64
    aggregation: Aggregation

    def aggregate(self) -> float:
        """Return the metric over all users.

        Returns
        -------
        float
            The mean of all terms or its root; nan if no user is measured.
        """
        n = self.counts.sum()
        return self._from_mean(np.where(self.counts > 0, self.sums, 0.0).sum() / n) if n else nan

    def interval(self, *, seed: Seed = 0) -> Interval:
        """Return the metric with its 95 % bootstrap interval over users.

        Parameters
        ----------
        seed : int, Generator or None, default 0
            Seed of the resamples.

        Returns
        -------
        Interval
            As in `bootstrap_ratio`.
        """
        measured = self.counts > 0
        return Interval(*map(self._from_mean, bootstrap_ratio(self.sums[measured], self.counts[measured], seed=seed)))

    def difference(self, other: UserValues, *, seed: Seed = 0) -> Interval:
        """Return this metric minus that of another model for the same users, with a paired 95 % interval.

        Parameters
        ----------
        other : UserValues
            The same terms under the other model.
        seed : int, Generator or None, default 0
            Seed of the resamples.

        Returns
        -------
        Interval
            Over the users whom both measure.

        Raises
        ------
        DataError
            If the two differ in users or in the number of terms of a user.
        """
        if self.counts.shape != other.counts.shape:
            raise DataError(f"{len(self.counts):,} and {len(other.counts):,} users: pass the same users")
        in_both = (self.counts > 0) & (other.counts > 0)
        a, b, counts = self.sums[in_both], other.sums[in_both], self.counts[in_both]
        if not np.array_equal(counts, other.counts[in_both]):
            raise DataError("the number of terms of a user differs: pass the same test rows")
        if self.aggregation == "mean":
            return bootstrap_ratio(a - b, counts, seed=seed)
        return paired_rmse_difference(a, b, counts, seed=seed)

    def take(self, users: Int32) -> UserValues:
        """Return the values of some users.

        Parameters
        ----------
        users : ndarray of shape (m,), int32
            Rows of the users.

        Returns
        -------
        UserValues
            One entry for each of `users`.
        """
        return UserValues(self.sums[users], self.counts[users], self.aggregation)

    def _from_mean(self, mean: float) -> float:
        """Return the metric for a mean of terms."""
        return sqrt(mean) if self.aggregation == "root mean" else float(mean)
