"""Honest evaluation: splits that prove they do not leak, full rankings, intervals over users, a baseline always."""

from __future__ import annotations

from cofactor.evaluate.protocol import Evaluation, evaluate, score
from cofactor.evaluate.split import Split, split_by_time, split_last, split_per_user, split_random, split_users

__all__ = [
    "Evaluation",
    "Split",
    "evaluate",
    "score",
    "split_by_time",
    "split_last",
    "split_per_user",
    "split_random",
    "split_users",
]
