"""Remedies: weights that keep eager users and popular items from deciding all, and lists that spread exposure."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Int32
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError

__all__ = ["capped_weights", "propensity_weights", "spread"]

CLIP = 10.0
"""A propensity weight is at most so many times the mean, and at least one of so many parts of it."""


def capped_weights(interactions: Interactions, *, cap: float | None = None) -> Interactions:
    """The same rows, no user's of more weight than `cap` in all: a user of n rows gets cap / n each where n > cap.

    cap: the median number of rows by default. Weights that are there are multiplied. Raises ParameterError.
    """
    counts = interactions.by_user.counts
    most = float(np.median(counts[counts > 0])) if cap is None else cap
    if not most > 0:
        raise ParameterError(f"cap must be above 0, not {cap!r}")
    own = np.minimum(1.0, most / np.maximum(counts, 1))
    return _weighed(interactions, own[interactions.u].astype(np.float32))


def propensity_weights(interactions: Interactions, *, power: float = 0.5) -> Interactions:
    """The same rows, those of popular items weighing less: (support_i / mean)^-power, of mean 1 over the rows.

    The chance that an item is rated is taken to grow with its support (inverse propensity: Schnabel et al. 2016);
    weights are clipped to a tenth and to ten times the mean. Raises ParameterError.
    """
    if not 0 <= power <= 1:
        raise ParameterError(f"power must be from 0 (all alike) to 1 (one over the support), not {power!r}")
    support = np.bincount(interactions.i, minlength=interactions.n_items)[interactions.i].astype(np.float64)
    weights = support**-power
    weights = np.clip(weights / weights.mean(), 1 / CLIP, CLIP)
    return _weighed(interactions, (weights / weights.mean()).astype(np.float32))


def spread(lists: Int32, scores: Float32, n: int, n_items: int, *, strength: float) -> Int32:
    """The n best of longer lists once items that are shown much cost something: (n_users, n) int32.

        score (in standard deviations of the user's list) - strength ln(1 + times shown / mean)

    lists, scores (n_users, m): as `Recommender.rank` gives them, -1 and -inf where a list ends. Times shown are those
    within the first n places of the lists as they are. strength: 0 is the plain order. Raises ParameterError.
    """
    if not strength >= 0:
        raise ParameterError(f"strength must be a number from 0 on, not {strength!r}")
    first = lists[:, :n]
    shown = np.bincount(first[first >= 0], minlength=n_items).astype(np.float64)
    cost = strength * np.log1p(shown / max(shown.mean(), 1e-12))
    there = lists >= 0
    known = np.where(there, scores, np.nan).astype(np.float64)
    with np.errstate(invalid="ignore"):
        scaled = (known - np.nanmean(known, axis=1, keepdims=True)) / np.maximum(
            np.nanstd(known, axis=1, keepdims=True), 1e-12
        )
    worth = np.where(there, scaled - cost[np.maximum(lists, 0)], -np.inf)
    order = np.argsort(-worth, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(lists, order, axis=1)


def _weighed(interactions: Interactions, weights: Float32) -> Interactions:
    return interactions.with_weights(weights if interactions.weights is None else weights * interactions.weights)
