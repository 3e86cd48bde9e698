"""Recommenders whose prior for new users is used for all histories, or for none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor.models.prior import Priors
from cofactor.recommender.recommender import Recommender


def without_prior(rec: Recommender) -> Recommender:
    """Return a recommender that folds in users with the penalty of training."""
    return replace(rec, priors=Priors())


def with_prior_at_all_lengths(rec: Recommender) -> Recommender:
    """Return a recommender that uses its user priors for all histories."""
    assert rec.priors is not None
    return replace(rec, priors=_at_all_lengths(rec.priors))


def _at_all_lengths(priors: Priors) -> Priors:
    users = priors.users
    if users is not None:
        used = np.ones(len(users.lengths), bool)
        users = replace(users, applies=used, shift_weights=np.zeros(len(used)))
    rating_model = None if priors.rating_model is None else _at_all_lengths(priors.rating_model)
    return replace(priors, users=users, rating_model=rating_model)
