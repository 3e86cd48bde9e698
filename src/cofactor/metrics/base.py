"""Base class for metrics, and per-user metric values with aggregation, intervals and differences."""

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
from cofactor.metrics.intervals import (
    Interval,
    bootstrap_interval,
    paired_rmse_difference,
    ratio_interval,
    rmse_difference_terms,
    standard_error,
)

__all__ = ["Aggregation", "Metric", "UserValues"]

Aggregation: TypeAlias = Literal["mean", "root mean"]
"""Aggregation of the terms of all users: the mean, or the square root of the mean."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Base class for metrics: name, display format and direction.

    Subclasses add the function that computes the metric. All metrics are in `metrics.registry`.

    Attributes
    ----------
    name : str
        Name used in results and JSON, such as "ndcg".
    label : str
        Name used in tables and plots, such as "NDCG".
    greater_is_better : bool
        Whether higher values are better.
    digits : int, default 3
        Number of decimal places in tables.
    k : int or None
        Length of the ranked lists; None for rating metrics, or until it is set with `at`.
    kind : {'ratings', 'events'}
        Kind of table that the metric applies to.
    has_interval : bool
        Whether the metric has per-user values and therefore a confidence interval.

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
        """Return this metric with a given cutoff (the length of the ranked lists).

        Parameters
        ----------
        k : int
            Length of the lists, at least 1.

        Returns
        -------
        Metric
            Metric at cutoff `k`; this object for rating metrics, which do not use lists.

        Raises
        ------
        ParameterError
            If `k` is less than 1 or too large.
        """
        k = checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH)
        return self if self.kind == "ratings" else replace(self, k=k)

    @property
    def key(self) -> str:
        """Key of the metric in results, such as "ndcg@10"."""
        return self.name if self.k is None else f"{self.name}@{self.k}"

    @property
    def title(self) -> str:
        """Display name of the metric with its cutoff, such as "NDCG@10"."""
        return self.label if self.k is None else f"{self.label}@{self.k}"

    @property
    def direction(self) -> str:
        """Direction of the metric in words, such as "higher is better"."""
        return "higher is better" if self.greater_is_better else "lower is better"

    def sort_key(self, value: float) -> tuple[bool, float]:
        """Return a sort key that orders values of the metric from best to worst, with nan last.

        Parameters
        ----------
        value : float
            Value of the metric.

        Returns
        -------
        tuple of bool and float
            Sort key.
        """
        return isnan(value), -value if self.greater_is_better else value

    def is_better(self, value: float, other: float) -> bool:
        """Return whether one value of the metric is better than another.

        Parameters
        ----------
        value, other : float
            Values to compare. A number is better than nan; nan is never better.

        Returns
        -------
        bool
            Whether `value` is better; False for equal values.
        """
        return self.sort_key(value) < self.sort_key(other)


@dataclass(frozen=True, eq=False)
class UserValues:
    """Per-user values of a metric, such as the sum of squared errors or the NDCG.

    Attributes
    ----------
    sums : ndarray of shape (n_users,), float64
        Sum of the terms for each user.
    counts : ndarray of shape (n_users,), int64
        Number of terms for each user; users with 0 terms are ignored.
    aggregation : {'mean', 'root mean'}
        How the terms of all users are combined.
    bounds : tuple of (float, float), optional
        Smallest and largest possible term, if both are known.

    Examples
    --------
    >>> values = UserValues(np.array([2.0, 6.0, np.nan]), np.array([1, 1, 0]), "root mean")
    >>> values.aggregate(), values.difference(values).mean
    (2.0, 0.0)
    """

    sums: Float64
    counts: Int64
    aggregation: Aggregation
    bounds: tuple[float, float] | None = None

    def aggregate(self) -> float:
        """Return the value of the metric over all users.

        Returns
        -------
        float
            Mean of all terms or its square root; nan if no user has terms.
        """
        n = self.counts.sum()
        return self._from_mean(np.where(self.counts > 0, self.sums, 0.0).sum() / n) if n else nan

    def interval(self, *, seed: Seed = 0) -> Interval:
        """Return the value of the metric over all users, with a 95% interval over users.

        Parameters
        ----------
        seed : int, Generator or None, default 0
            Seed for the bootstrap resamples.

        Returns
        -------
        Interval
            Metric and interval: that of `bootstrap_interval` for means with one term per user, or of `ratio_interval`.
        """
        sums, counts = self.sums[self.counts > 0], self.counts[self.counts > 0]
        if self.aggregation == "mean" and (counts == 1).all():
            return bootstrap_interval(sums, bounds=self.bounds, seed=seed)
        return Interval(*map(self._from_mean, ratio_interval(sums, counts)))

    def difference(self, other: UserValues, *, seed: Seed = 0) -> Interval:
        """Return the difference from the metric of another model on the same users, with a paired 95% interval.

        Parameters
        ----------
        other : UserValues
            The same terms for the other model.
        seed : int, Generator or None, default 0
            Seed for the bootstrap resamples.

        Returns
        -------
        Interval
            Difference and interval over the users for whom both models have terms.

        Raises
        ------
        DataError
            If the two differ in their users or in the number of terms for a user.
        """
        a, b, counts = self._pairs(other)
        if self.aggregation == "root mean":
            return paired_rmse_difference(a, b, counts)
        return bootstrap_interval(a - b, seed=seed) if (counts == 1).all() else ratio_interval(a - b, counts)

    def standard_error(self, other: UserValues) -> float:
        """Return the standard error of the difference from the metric of another model on the same users.

        Parameters
        ----------
        other : UserValues
            The same terms for the other model.

        Returns
        -------
        float
            Standard error, as in `standard_error`, for any number of users; nan for fewer than two.

        Raises
        ------
        DataError
            As in `difference`.
        """
        a, b, counts = self._pairs(other)
        if len(counts) < 2:
            return nan
        terms = a - b if self.aggregation == "mean" else rmse_difference_terms(a, b, counts)[0]
        return standard_error(terms, counts)[0]

    def _pairs(self, other: UserValues) -> tuple[Float64, Float64, Float64]:
        """Return both models' sums and the counts of users present in both; raise DataError if the counts differ."""
        if self.counts.shape != other.counts.shape:
            raise DataError(f"`other` must have the same users; got {len(self.counts):,} and {len(other.counts):,}")
        in_both = (self.counts > 0) & (other.counts > 0)
        counts = self.counts[in_both]
        if not np.array_equal(counts, other.counts[in_both]):
            raise DataError("`other` must have the same number of rows per user; evaluate both models on the same rows")
        return self.sums[in_both], other.sums[in_both], counts.astype(np.float64)

    def take(self, users: Int32) -> UserValues:
        """Return the per-user values of the metric for a subset of users.

        Parameters
        ----------
        users : ndarray of shape (m,), int32
            Row numbers of the users.

        Returns
        -------
        UserValues
            Values with one entry for each of `users`.
        """
        return replace(self, sums=self.sums[users], counts=self.counts[users])

    def _from_mean(self, mean: float) -> float:
        """Convert a mean of terms to the metric value."""
        return sqrt(mean) if self.aggregation == "root mean" else float(mean)
