"""Paired significance tests over users, and corrections for multiple comparisons and for the choice of the best."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, random_stream
from cofactor.checks import Seed
from cofactor.errors import DataError
from cofactor.kernels.parallel import one_thread_blas

__all__ = ["holm", "model_confidence_set", "sign_flip"]

_FLIP_CELLS = 2**22  # number of signs drawn at once; limits memory


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


@one_thread_blas()
def model_confidence_set(values: Any, *, flips: int = 9999, seed: Seed = 0) -> Float64:
    """Compute p-values of the hypotheses that each model is among the best, corrected for multiple comparisons.

    The best model is chosen on the same users that test the others against it, so uncorrected p-values are too small:
    with 21 equally good models, a Holm-corrected test against the apparent best calls one of them worse in a quarter of
    cases. Here, the probability that any of the truly best models has p < 0.05 is at most about 5%.

    Parameters
    ----------
    values : array-like of shape (n_users, n_models)
        Metric of each model for each user; higher is better. Users with nan for any model are ignored.
    flips : int, default 9999
        Number of random sign flips, at least 1.
    seed : int, Generator or None, default 0
        Seed for the sign flips; the same seed gives the same p-values.

    Returns
    -------
    ndarray of shape (n_models,), float64
        p-values; 1 for the model with the highest mean, and for all models if there are no users. For two models, the
        smaller one is the p-value of `sign_flip`.

    Raises
    ------
    ParameterError
        If `flips` is less than 1.
    DataError
        If `values` is not a matrix, or a value is infinite.

    Notes
    -----
    For the models in a set M, initially all, and with d_u(i, j) the difference between models i and j for user u::

        T(M) = max over i, j in M of |sum_u d_u(i, j)| / sqrt(sum_u d_u(i, j)^2)
        p(M) = (1 + #{flips with T*(M) >= T(M)}) / (1 + flips)

    T* has random signs s_u in front of d_u, the same for all pairs. The worse model of the pair with the largest
    statistic is removed, and its p-value is the largest p(M) so far. This is repeated until one model is left.

    References
    ----------
    Hansen, Lunde & Nason (2011), "The model confidence set", Econometrica 79, with the range statistic; sign flips take
    the place of their block bootstrap, because users are independent.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> level = rng.normal(size=(300, 1))
    >>> good, good_too, worse = 0.1 * rng.normal(size=(3, 300))
    >>> p = model_confidence_set(level + np.column_stack([good, good_too, worse - 0.1]), flips=999)
    >>> bool(min(p[:2]) > 0.05), float(p[2])
    (True, 0.001)
    """
    flips, seed = checks.whole_number("flips", flips, low=1), checks.seed(seed)
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2:
        raise DataError(f"values must have one row per user and one column per model; got shape {x.shape}")
    if np.isinf(x).any():
        raise DataError("values must be finite or nan; got an infinite value")
    x = x[np.isfinite(x).all(axis=1)]
    n, m = x.shape
    x = x - x.mean(axis=1, keepdims=True) if n and m else np.zeros((0, m))
    norm = np.sqrt([[np.square(x[:, i] - x[:, j]).sum() for j in range(m)] for i in range(m)]).reshape(m, m)
    norm[norm <= 1e-12 * max(float(norm.max(initial=0)), 1e-300)] = np.inf  # identical models
    flipped = _flipped_sums(x, flips, seed)
    statistics = (x.sum(axis=0)[:, None] - x.sum(axis=0)) / norm
    p, current, remaining = np.ones(m), 0.0, list(range(m))
    while len(remaining) > 1:
        observed = statistics[np.ix_(remaining, remaining)]
        extremes = np.zeros(flips)
        for i in remaining:
            distances = np.abs(flipped[:, [i]] - flipped[:, remaining]) / norm[i, remaining]
            np.maximum(extremes, distances.max(axis=1), out=extremes)
        current = max(current, float((1 + np.count_nonzero(extremes >= observed.max() - 1e-9)) / (1 + flips)))
        worst = remaining.pop(int(observed.min(axis=1).argmin()))
        p[worst] = current
    return p


def _flipped_sums(x: Float64, flips: int, seed: int) -> Float64:
    """Return the sums over users of x, (n_users, m), with random signs: (flips, m) float64."""
    stream, step = random_stream(seed, "sign flips"), max(1, _FLIP_CELLS // max(len(x), 1))
    sums = np.empty((flips, x.shape[1]))
    for start in range(0, flips, step):
        part = sums[start : start + step]
        signs = 2.0 * stream.integers(0, 2, (len(part), len(x)), np.uint8) - 1.0
        part[:] = signs @ x
    return sums
