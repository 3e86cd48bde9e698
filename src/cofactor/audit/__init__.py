"""Who sets the recommendations, what they do to people and catalog, and what helps.

>>> import cofactor
>>> from cofactor.datasets.synthetic import World, generate
>>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
>>> found = cofactor.audit.exposure(cofactor.Recommender.fit(cofactor.Bias(), ratings), n=5)
>>> found.shown.gini > found.rated.gini  # lists are less even than what people rated
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
