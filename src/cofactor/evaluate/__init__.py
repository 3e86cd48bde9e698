"""Model evaluation: leakage-checked splits, full-ranking metrics, comparisons, tuning and calibration.

Every evaluation includes confidence intervals over users and a baseline.

Examples
--------
>>> import cofactor
>>> from cofactor.datasets.synthetic import SyntheticConfig, generate
>>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
>>> evaluation = cofactor.evaluate.evaluate(cofactor.BiasedMF(), cofactor.split_random(ratings))
>>> [score.label for score in evaluation.scores]
['biased-mf', 'bias']
"""

from __future__ import annotations

from cofactor.evaluate.comparison import Comparison, compare
from cofactor.evaluate.evaluation import Evaluation, evaluate, score
from cofactor.evaluate.predefined_split import split_predefined
from cofactor.evaluate.reliability import Calibration, calibration
from cofactor.evaluate.selection import fit
from cofactor.evaluate.split import Split, split_by_time, split_last, split_per_user, split_random, split_users
from cofactor.evaluate.tuning import TuningResult, tune
from cofactor.evaluate.type_weights import TypeWeights, learn_type_weights

__all__ = [
    "Calibration",
    "Comparison",
    "Evaluation",
    "Split",
    "TuningResult",
    "TypeWeights",
    "calibration",
    "compare",
    "evaluate",
    "fit",
    "learn_type_weights",
    "score",
    "split_by_time",
    "split_last",
    "split_per_user",
    "split_predefined",
    "split_random",
    "split_users",
    "tune",
]
