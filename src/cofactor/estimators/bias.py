"""The baselines that every model must beat: damped averages for ratings, popularity for events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cofactor.arrays import read_only
from cofactor.data.interactions import Interactions, Kind
from cofactor.estimators.base import Estimator, OnEpoch, parameter
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss

__all__ = ["Bias", "Popularity"]


@dataclass(frozen=True)
class Bias(Estimator):
    """r^ = mean + b_u + b_i: generous users and loved items, and nothing personal.

    b_i = sum over i's ratings (r - mean) / (n_i + damping), then b_u = sum over u's (r - mean - b_i) / (n_u + damping).
    Source: Koren 2008, section 2.1 (the decoupled estimates).
    """

    name: ClassVar[str] = "bias"
    kind: ClassVar[Kind] = "ratings"
    personal: ClassVar[bool] = False
    exact_fold_in: ClassVar[bool] = True

    damping: float = parameter(
        5.0, "ratings at the average that each bias starts with", low=0, high=1000, log=True, search=(1, 50)
    )

    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        start: FactorModel | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> FactorModel:
        """The damped averages. There is nothing random and nothing iterative in it."""
        del seed, validation, start, on_epoch
        self.require(interactions)
        weights = np.ones(len(interactions)) if interactions.weights is None else interactions.weights
        values = interactions.values.astype(np.float64)
        mean = float(np.average(values, weights=weights))
        item_bias = self._damped(interactions.i, values - mean, weights, interactions.n_items)
        residual = values - mean - item_bias[interactions.i]
        user_bias = self._damped(interactions.u, residual, weights, interactions.n_users)
        return FactorModel(
            read_only(np.zeros((interactions.n_users, 0), np.float32)),
            read_only(np.zeros((interactions.n_items, 0), np.float32)),
            read_only(user_bias.astype(np.float32)),
            read_only(item_bias.astype(np.float32)),
            mean=mean,
            scale=interactions.scale,
            loss=RatingsLoss(l2=0.0, l2_bias=0.0, damping=self.damping),
        )

    def _damped(self, rows: Any, values: Any, weights: Any, n: int) -> Any:
        total = np.bincount(rows, weights=values * weights, minlength=n)
        support = np.bincount(rows, weights=weights, minlength=n) + self.damping
        return np.divide(total, support, out=np.zeros(n), where=support > 0)


@dataclass(frozen=True)
class Popularity(Estimator):
    """Everyone gets what most people took: the score of an item is its share of users, 0..1."""

    name: ClassVar[str] = "popularity"
    kind: ClassVar[Kind] = "events"
    personal: ClassVar[bool] = False
    exact_fold_in: ClassVar[bool] = True

    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        start: FactorModel | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> FactorModel:
        """The share of users with each item; dislikes (negative weights) do not count."""
        del seed, validation, start, on_epoch
        self.require(interactions)
        liked = interactions.confidence > 0
        counts = np.bincount(interactions.i, weights=liked, minlength=interactions.n_items)
        return FactorModel(
            read_only(np.zeros((interactions.n_users, 0), np.float32)),
            read_only(np.zeros((interactions.n_items, 0), np.float32)),
            read_only(np.zeros(interactions.n_users, np.float32)),
            read_only((counts / interactions.n_users).astype(np.float32)),
        )
