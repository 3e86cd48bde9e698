"""Audits of a recommender: concentration and exposure, group influence, cold start and the feedback loop.

Accuracy alone does not show whose ratings determine the lists, which items are never recommended, or what happens when
the model is trained on the responses to its own lists. The mitigations here (row weights and re-ranked lists) can be
compared by simulation.

Examples
--------
>>> import cofactor
>>> from cofactor.datasets.synthetic import World, generate
>>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
>>> result = cofactor.audit.exposure(cofactor.Recommender.fit(cofactor.Bias(), ratings), n=5)
>>> result.shown.gini > result.rated.gini  # recommendations are more concentrated than ratings
True
"""

from cofactor.audit.cold_start_curve import ColdStart, cold_start
from cofactor.audit.concentration import Concentration, Exposure, accuracy_by_group, exposure
from cofactor.audit.feedback_loop import Simulation, Tastes, simulate
from cofactor.audit.group_influence import Influence, influence
from cofactor.audit.mitigations import (
    CAUTIOUS,
    PLAIN,
    Remedy,
    calibrated,
    capped_weights,
    group_weights,
    item_kinds,
    kinds_by_raters,
    liked_kinds,
    propensity_weights,
    remedies,
    spread,
)
from cofactor.audit.user_clusters import taste_groups

__all__ = [
    "CAUTIOUS",
    "PLAIN",
    "ColdStart",
    "Concentration",
    "Exposure",
    "Influence",
    "Remedy",
    "Simulation",
    "Tastes",
    "accuracy_by_group",
    "calibrated",
    "capped_weights",
    "cold_start",
    "exposure",
    "group_weights",
    "influence",
    "item_kinds",
    "kinds_by_raters",
    "liked_kinds",
    "propensity_weights",
    "remedies",
    "simulate",
    "spread",
    "taste_groups",
]
