"""Whether one model is better than another or only luckier: paired tests over users, corrected for their number."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, random_stream
from cofactor.errors import DataError

__all__ = ["holm", "sign_flip"]


def sign_flip(differences: Any, *, flips: int = 9999, seed: int = 0) -> float:
    """The two-sided p-value of sum(differences) = 0, by flipping users' signs at random.

        p = (1 + #{flips with |sum_u s_u d_u| >= |sum_u d_u|}) / (1 + flips),    s_u = -1 or 1

    Where two models are alike, either could have had either of a user's two results, so every flip is as likely.
    differences (n_users,): a metric of one model minus that of the other, per user; nan (no test item) is left out. For
    RMSE give differences of summed squared errors: over the same rows RMSEs differ just where these sums do.
    Sources: Fisher (1935), "The Design of Experiments", section 21; Smucker, Allan & Carterette (2007), CIKM.

    1 for nobody, and where all differences are 0. Deterministic in the seed. Raises ParameterError for flips < 1,
    DataError for infinite differences.

    >>> sign_flip([0.0, 0.0]), sign_flip([1.0] * 30) < 0.001
    (1.0, True)
    """
    flips = checks.whole_number("flips", flips, low=1)
    given = np.asarray(differences, dtype=np.float64)
    if np.isinf(given).any():
        raise DataError("a difference is infinite: give a metric that is finite for every user")
    d = given[np.isfinite(given) & (given != 0)]
    total = abs(float(d.sum()))
    reached = total - 1e-9 * float(np.abs(d).sum())  # sums in another order differ in their last bits
    stream, extreme = random_stream(seed, "sign flips"), 0
    for _ in range(flips):
        positive = stream.integers(0, 2, len(d), np.uint8).astype(bool)
        extreme += abs(2.0 * float(d[positive].sum()) - float(d.sum())) >= reached
    return (1 + extreme) / (1 + flips)


def holm(p: Any) -> Float64:
    """p-values corrected for being one of many: the chance of even one false alarm among them stays below the level.

        p'_(j) = max over i <= j of min(1, (m - i + 1) p_(i)),    p_(1) <= ... <= p_(m)

    p (m,), nan where no test was made: it stays nan and does not count. (m,) float64; none give none.
    Source: Holm (1979), Scand. J. Statist. 6.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p, dtype=np.float64)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    corrected = np.full(len(given), np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return corrected
