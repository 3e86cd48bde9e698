"""Audits of a recommender: concentration and exposure, group influence, cold start, and the feedback loop.

Accuracy alone does not show whose ratings determine the lists, which items are never recommended, or what happens when
the model is trained on the responses to its own lists. The mitigations here (row weights and re-ranking) can be
compared in simulation.

Examples
--------
>>> import cofactor
>>> from cofactor.datasets.synthetic import SyntheticConfig, generate
>>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
>>> result = cofactor.audit.exposure(cofactor.Recommender.fit(cofactor.Bias(), ratings), n=5)
>>> result.positions_per_item.gini > result.rows_per_item.gini  # recommendations are more concentrated than ratings
True
"""

from cofactor.audit.cold_start_curve import ColdStartCurve, cold_start
from cofactor.audit.concentration import Concentration, Exposure, accuracy_by_group, exposure
from cofactor.audit.feedback_loop import Simulation, Tastes, simulate
from cofactor.audit.group_influence import Influence, influence
from cofactor.audit.loop_effects import average_summaries, growth_parts
from cofactor.audit.mitigations import (
    CAUTIOUS,
    PLAIN,
    Mitigation,
    all_mitigations,
    calibrate_lists,
    capped_weights,
    categories_by_raters,
    group_weights,
    item_categories,
    liked_categories,
    propensity_weights,
    spread_exposure,
)
from cofactor.audit.user_behavior import UserBehavior
from cofactor.audit.user_clusters import cluster_users

__all__ = [
    "CAUTIOUS",
    "PLAIN",
    "ColdStartCurve",
    "Concentration",
    "Exposure",
    "Influence",
    "Mitigation",
    "Simulation",
    "Tastes",
    "UserBehavior",
    "accuracy_by_group",
    "all_mitigations",
    "average_summaries",
    "calibrate_lists",
    "capped_weights",
    "categories_by_raters",
    "cluster_users",
    "cold_start",
    "exposure",
    "group_weights",
    "growth_parts",
    "influence",
    "item_categories",
    "liked_categories",
    "propensity_weights",
    "simulate",
    "spread_exposure",
]
