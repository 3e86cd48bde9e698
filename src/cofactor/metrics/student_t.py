"""Quantiles of Student's t-distribution."""

from __future__ import annotations

from math import cos, expm1, pi, sin, sqrt
from statistics import NormalDist

__all__ = ["t_quantile"]


def t_quantile(probability: float, degrees: float) -> float:
    """Compute a quantile above the median of Student's t-distribution.

    Parameters
    ----------
    probability : float
        Probability, above 0.5 and below 1.
    degrees : float
        Degrees of freedom, at least 1.

    Returns
    -------
    float
        Quantile; the relative error is below 1e-5 for 3 or more degrees of freedom, and below 6% between 1 and 2.

    References
    ----------
    Hill (1970), "Algorithm 396: Student's t-quantiles", Communications of the ACM 13.

    Examples
    --------
    >>> round(t_quantile(0.975, 10), 4), round(t_quantile(0.975, 1e6), 4)
    (2.2281, 1.96)
    """
    tail_sum, n = 2 * (1 - probability), degrees
    if n <= 1:
        return cos(tail_sum * pi / 2) / sin(tail_sum * pi / 2)
    if n == 2:
        return sqrt(2 / (tail_sum * (2 - tail_sum)) - 2)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * sqrt(a * pi / 2) * n
    x = d * tail_sum
    y = x ** (2 / n)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tail_sum / 2)
        y = x * x
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = expm1(a * y * y)
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (
            n + 2
        ) + 1 / y
    return sqrt(n * y)
