"""Paired significance tests over users, and correction for multiple comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, random_stream
from cofactor.checks import Seed
from cofactor.errors import DataError

__all__ = ["holm", "sign_flip"]


def sign_flip(differences: Any, *, flips: int = 9999, seed: Seed = 0) -> float:
    """Compute the two-sided p-value of a paired randomization test of the hypothesis sum(differences) = 0.

    Parameters
    ----------
    differences : array-like of shape (n_users,)
        Metric of one model minus that of the other, for each user; nan (for users without test items) is ignored. For
        RMSE, pass differences between summed squared errors: on the same rows, the RMSEs differ if and only if these
        sums differ.
    flips : int, default 9999
        Number of random sign flips, at least 1.
    seed : int, Generator or None, default 0
        Seed for the sign flips; the same seed gives the same p-value.

    Returns
    -------
    float
        p-value between 1 / (1 + flips) and 1; 1 if there are no users or all differences are 0.

    Raises
    ------
    ParameterError
        If `flips` is less than 1.
    DataError
        If a difference is infinite.

    Notes
    -----
    If two models are equally good, each user's two results are exchangeable, so all sign flips are equally likely:

        p = (1 + #{flips with |sum_u s_u d_u| >= |sum_u d_u|}) / (1 + flips),    s_u = -1 or 1

    References
    ----------
    Fisher (1935), "The Design of Experiments", section 21; Smucker, Allan & Carterette (2007), "A comparison of
    statistical significance tests for information retrieval evaluation", CIKM.

    Examples
    --------
    >>> sign_flip([0.0, 0.0]), sign_flip([1.0] * 30) < 0.001
    (1.0, True)
    """
    flips = checks.whole_number("flips", flips, low=1)
    values = np.asarray(differences, dtype=np.float64)
    if np.isinf(values).any():
        raise DataError("differences must be finite or nan; got an infinite value")
    d = values[np.isfinite(values) & (values != 0)]
    total = abs(float(d.sum()))
    threshold = total - 1e-9 * float(np.abs(d).sum())  # tolerance for floating-point rounding in the sums
    stream, n_extreme = random_stream(seed, "sign flips"), 0
    for _ in range(flips):
        is_positive = stream.integers(0, 2, len(d), np.uint8).astype(bool)
        n_extreme += abs(2.0 * float(d[is_positive].sum()) - float(d.sum())) >= threshold
    return (1 + n_extreme) / (1 + flips)


def holm(p: Any) -> Float64:
    """Correct p-values for multiple comparisons with Holm's step-down procedure.

    The procedure controls the family-wise error rate: the probability of one or more false positives is at most the
    significance level.

    Parameters
    ----------
    p : array-like of shape (m,)
        p-values; nan for tests that were not performed, which are ignored.

    Returns
    -------
    ndarray of shape (m,), float64
        Corrected p-values, nan where `p` is nan; empty if `p` is empty.

    Notes
    -----
        p'_(j) = max over i <= j of min(1, (m - i + 1) p_(i)),    p_(1) <= ... <= p_(m)

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    tested_rows = np.flatnonzero(np.isfinite(values))
    order = tested_rows[np.argsort(values[tested_rows], kind="stable")]
    corrected_values = np.full(len(values), np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected_values[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return corrected_values
