"""Learning-rate schedules."""

from __future__ import annotations

import math

__all__ = ["one_cycle"]


def one_cycle(highest: float, progress: float, *, first: float = 0.04, rise: float = 0.25) -> float:
    """Learning rate of a one-cycle schedule with cosine annealing.

    Parameters
    ----------
    highest : float
        Learning rate at the peak.
    progress : float
        Fraction of the fit that is done, from 0 to 1.
    first : float, default 0.04
        Learning rate at the start, as a fraction of `highest`.
    rise : float, default 0.25
        Fraction of the fit during which the rate rises; afterwards it falls to 0.

    Returns
    -------
    float
        Learning rate at `progress`.

    References
    ----------
    Smith & Topin 2019, "Super-convergence"; with cosine annealing as in fastai.

    Examples
    --------
    >>> [round(one_cycle(1.0, progress), 2) for progress in (0.0, 0.25, 0.625, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if progress < rise:
        return highest * (first + (1 - first) * (1 - math.cos(math.pi * progress / rise)) / 2)
    return highest * (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2
