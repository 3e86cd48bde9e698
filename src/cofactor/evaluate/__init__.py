"""Honest evaluation: splits that prove they do not leak, full rankings, intervals over users, a baseline always.

>>> import cofactor
>>> from cofactor.datasets.synthetic import World, generate
>>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
>>> found = cofactor.evaluate.evaluate(cofactor.BiasedMF(), cofactor.split_random(ratings))
>>> [score.label for score in found.scores]
['biased-mf', 'bias']
"""

from __future__ import annotations

from cofactor.evaluate.comparison import Comparison, compare
from cofactor.evaluate.evaluation import Evaluation, evaluate, score
from cofactor.evaluate.predefined_split import split_given
from cofactor.evaluate.reliability import Calibration, calibration
from cofactor.evaluate.split import Split, split_by_time, split_last, split_per_user, split_random, split_users
from cofactor.evaluate.tuning import Tuned, tune

__all__ = [
    "Calibration",
    "Comparison",
    "Evaluation",
    "Split",
    "Tuned",
    "calibration",
    "compare",
    "evaluate",
    "score",
    "split_by_time",
    "split_given",
    "split_last",
    "split_per_user",
    "split_random",
    "split_users",
    "tune",
]
