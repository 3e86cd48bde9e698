"""How a learning rate moves over a fit."""

from __future__ import annotations

import math

__all__ = ["one_cycle"]


def one_cycle(highest: float, progress: float, *, first: float = 0.04, rise: float = 0.25) -> float:
    """The rate at `progress` (0..1): half a cosine up from `first` of the highest, then half a cosine down to 0.

    `rise` is the share of the way that goes up. Source: Smith & Topin 2019; with cosines as fastai has it.

    >>> [round(one_cycle(1.0, progress), 2) for progress in (0.0, 0.25, 0.625, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if progress < rise:
        return highest * (first + (1 - first) * (1 - math.cos(math.pi * progress / rise)) / 2)
    return highest * (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2
