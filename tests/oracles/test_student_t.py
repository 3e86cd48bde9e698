"""Student's t distribution against closed forms and tables, and the coverage of the interval of a mean."""

from __future__ import annotations

from math import atan, pi, sqrt

import numpy as np
import pytest

from cofactor.errors import ParameterError
from cofactor.metrics.student_t import t_interval, t_quantile, upper_tail

TABLE = {1: 12.7062047, 2: 4.30265273, 3: 3.18244631, 4: 2.77644511, 9: 2.26215716, 30: 2.04227246, 120: 1.97993041}
"""Quantiles for a probability of 0.975 by degrees of freedom (Abramowitz & Stegun, table 26.10, and scipy 1.14)."""


@pytest.mark.parametrize("t", [-3.0, -0.2, 0.0, 0.7, 2.5, 40.0])
def test_tails_in_closed_form(t: float) -> None:
    assert upper_tail(t, 1) == pytest.approx(0.5 - atan(t) / pi, abs=1e-12)
    assert upper_tail(t, 2) == pytest.approx(0.5 - t / (2 * sqrt(2 + t * t)), abs=1e-12)
    third = (t / sqrt(3) / (1 + t * t / 3) + atan(t / sqrt(3))) / pi
    assert upper_tail(t, 3) == pytest.approx(0.5 - third, abs=1e-12)


@pytest.mark.parametrize(("degrees_of_freedom", "quantile"), TABLE.items())
def test_quantiles_equal_the_table(degrees_of_freedom: int, quantile: float) -> None:
    assert t_quantile(0.975, degrees_of_freedom) == pytest.approx(quantile, rel=1e-7)
    assert upper_tail(t_quantile(0.9, degrees_of_freedom), degrees_of_freedom) == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5, 16])
def test_the_interval_covers_the_mean_of_normal_values(n: int) -> None:
    draws = np.random.default_rng(n).normal(1.0, 3.0, (1000, n))
    intervals = np.array([t_interval(values) for values in draws])
    covered = (intervals[:, 1] <= 1) & (intervals[:, 2] >= 1)
    assert 0.93 <= covered.mean() <= 0.97


def test_an_interval_needs_two_finite_values() -> None:
    assert np.isnan(t_interval([])).all()
    assert t_interval([2.0])[0] == 2
    assert np.isnan(t_interval([2.0])[1:]).all()
    assert np.isnan(t_interval([2.0, np.nan])).all()
    with pytest.raises(ParameterError, match="confidence"):
        t_interval([1.0, 2.0], confidence=1.5)
    with pytest.raises(ParameterError, match="degrees_of_freedom"):
        upper_tail(1.0, 0)
