"""Who sets the recommendations, what they do to people and catalog, and what helps."""

from cofactor.audit.exposure import Concentration, Exposure, accuracy_by_group, exposure
from cofactor.audit.feedback import PLAIN, Remedy, Simulation, Tastes, remedies, simulate
from cofactor.audit.groups import taste_groups
from cofactor.audit.influence import Influence, influence
from cofactor.audit.remedies import capped_weights, propensity_weights, spread

__all__ = [
    "PLAIN",
    "Concentration",
    "Exposure",
    "Influence",
    "Remedy",
    "Simulation",
    "Tastes",
    "accuracy_by_group",
    "capped_weights",
    "exposure",
    "influence",
    "propensity_weights",
    "remedies",
    "simulate",
    "spread",
    "taste_groups",
]
