"""Student's t distribution for whole degrees of freedom, and the confidence interval of a mean of a few runs."""

from __future__ import annotations

from math import atan, cos, isfinite, pi, sin, sqrt
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.metrics.intervals import Interval
from cofactor.validation import validated

__all__ = ["t_interval", "t_quantile", "upper_tail"]

MAX_T = 1e9
"""Upper limit of the search for a quantile; with one degree of freedom, the tail beyond it has probability 3e-10."""
MAX_STEPS = 100
"""Number of bisections, which reach the precision of float64."""


@validated
def upper_tail(t: float, degrees_of_freedom: int) -> float:
    """Compute P(T > t) of Student's t distribution.

    Parameters
    ----------
    t : float
        Value of the statistic.
    degrees_of_freedom : int
        Degrees of freedom, at least 1.

    Returns
    -------
    float
        Probability between 0 and 1.

    Raises
    ------
    ParameterError
        If `degrees_of_freedom` is less than 1.

    Notes
    -----
    The distribution function is a finite sum for whole degrees of freedom.

    References
    ----------
    Abramowitz & Stegun (1964), "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.

    Examples
    --------
    >>> upper_tail(0.0, 3), round(upper_tail(12.706, 1), 4)
    (0.5, 0.025)
    """
    degrees_of_freedom = checks.whole_number("degrees_of_freedom", degrees_of_freedom, low=1)
    theta = atan(t / sqrt(degrees_of_freedom))
    first = degrees_of_freedom % 2
    k = np.arange(2 + first, degrees_of_freedom, 2)
    terms = np.cumprod(np.concatenate([[cos(theta) ** first], (k - 1) / k * cos(theta) ** 2]))
    total = sin(theta) * float(terms.sum()) if degrees_of_freedom > 1 else 0.0
    central = (2 / pi) * (theta + total) if first else total
    return min(max((1 - central) / 2, 0.0), 1.0)


@validated
def t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Compute the value that Student's t distribution stays below with the given probability.

    Parameters
    ----------
    probability : float
        Probability, above 0.5 and below 1 - 1e-9.
    degrees_of_freedom : int
        Degrees of freedom, at least 1.

    Returns
    -------
    float
        Quantile, found by bisection.

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    >>> round(t_quantile(0.975, 1), 3), round(t_quantile(0.975, 30), 3)
    (12.706, 2.042)
    """
    probability = checks.finite_number("probability", probability, above=0.5, high=1 - 1e-9)
    low, high = 0.0, MAX_T
    for _ in range(MAX_STEPS):
        middle = (low + high) / 2
        if upper_tail(middle, degrees_of_freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@validated
def t_interval(values: Any, *, confidence: float = 0.95) -> Interval:
    """Compute a confidence interval for the mean of a few independent runs.

    The bootstrap needs more values than a simulation has runs; see `MIN_USERS` in `cofactor.metrics.intervals`.

    Parameters
    ----------
    values : array-like of shape (n,)
        One value for each run, such as each seed.
    confidence : float, default 0.95
        Nominal coverage, between 0 and 1; it is exact for normally distributed values.

    Returns
    -------
    Interval
        Mean and interval; the bounds are nan for fewer than two values, and all are nan if there are no values or a
        value is not finite.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1.

    Notes
    -----
        mean +- t_quantile((1 + confidence) / 2, n - 1) s / sqrt(n)

    Examples
    --------
    >>> mean, low, high = t_interval([1.0, 2.0, 3.0])
    >>> mean, round(low, 2), round(high, 2)
    (2.0, -0.48, 4.48)
    """
    confidence = checks.fraction("confidence", confidence)
    x = np.asarray(values, dtype=np.float64)
    n, mean = x.size, float(x.mean()) if x.size else np.nan
    if n < 2 or not isfinite(mean):
        return Interval(mean, np.nan, np.nan)
    half_width = t_quantile((1 + confidence) / 2, n - 1) * float(x.std(ddof=1)) / sqrt(n)
    return Interval(mean, mean - half_width, mean + half_width)
