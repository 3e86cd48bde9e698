"""Alternating least squares: fix the items and each user is a ridge regression; fix the users and each item is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cofactor.arrays import Bool, Float32, random_stream, read_only
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.errors import DivergedError, ParameterError
from cofactor.estimators.base import EpochCallback, Estimator, Watch, parameter, standardized
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.ridge import improve, solve
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, Loss, RatingsLoss
from cofactor.validation import validated

__all__ = ["ExplicitALS", "ImplicitALS"]

FACTORS = "the width of the factors"
EPOCHS = "passes over users and items, at most"
STEPS = "conjugate gradient steps for each row and pass"
PATIENCE = "epochs without a better validation score before stopping"


@dataclass(frozen=True)
class ExplicitALS(Estimator):
    """Ratings as a sum of a mean, two biases and a dot product, by alternating least squares.

        r^ = mean + b_u + b_i + p_u . q_i
        minimize  sum over ratings of w (r - r^)^2 + l2 (|p_u|^2 + |q_i|^2) + l2_bias (b_u^2 + b_i^2)

    The penalties are per rating, see `models.losses`. With the items held, each user is a ridge regression, and with
    the users held each item. Where all ratings are equal, that is what is predicted.
    Sources: Zhou et al. 2008 (ALS-WR), here with biases solved together with the factors; Takacs et al. 2011 (CG).

    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> rec = cofactor.Recommender.fit(ExplicitALS(factors=2), ratings)
    >>> rec.predict(0, 0) > 4.5                                                      # which nobody told it
    True
    """

    name: ClassVar[str] = "explicit-als"
    kind: ClassVar[Kind] = "ratings"
    exact_fold_in: ClassVar[bool] = True

    factors: int = parameter(50, FACTORS, low=1, high=1024, log=True, search=(8, 256))
    epochs: int = parameter(10, EPOCHS, low=1, high=1000, search=(5, 20))
    l2: float = parameter(0.14, "penalty on factors, per rating", low=1e-6, high=100, log=True, search=(0.03, 0.6))
    l2_bias: float = parameter(0.05, "penalty on biases, per rating", low=1e-6, high=100, log=True, search=(0.005, 0.5))
    init_std: float = parameter(0.02, "standard deviation of the first factors", low=1e-6, high=10, log=True)
    cg_steps: int = parameter(3, STEPS, low=1, high=100)
    patience: int = parameter(3, PATIENCE, low=1, high=1000)

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: FactorModel | None = None,
        callback: EpochCallback | None = None,
    ) -> FactorModel:
        """A FactorModel whose users are the exact minimizers given its items.

        `init_model`: a model of the same ids and width to go on from. Raises KindError for events, DataError for no
        rows, ParameterError for another init_model, DivergedError.
        """
        self.require(interactions)
        loss = RatingsLoss(l2=self.l2, l2_bias=self.l2_bias)
        standard, unit = standardized(interactions)
        mean = float(np.average(standard.values.astype(np.float64), weights=standard.weights))
        side = _Alternation(loss, self.factors, self.cg_steps, mean, interactions.scale, unit)
        model = _random_start(interactions, self.factors, self.init_std, seed)
        if init_model is not None:
            model = init_model.rescaled(1 / unit, standard.scale)
        watch = Watch(
            interactions,
            epochs=self.epochs,
            patience=self.patience,
            validation=validation,
            callback=callback,
            advice=self.diverged_advice,
        )
        return side.run(standard, model, watch)


@dataclass(frozen=True)
class ImplicitALS(Estimator):
    """What a user would take next, from clicks, plays or purchases: every blank is a weak zero.

        x = p_u . q_i
        minimize  sum over events of w (1 - x)^2 + alpha0 sum over all pairs of x^2
                  + l2 sum_u (n_u + alpha0 n_items)^nu |p_u|^2 + l2 sum_i (n_i + alpha0 n_users)^nu |q_i|^2

    w is the event's value times its weight; a negative w is a dislike: target 0, confidence |w|. n counts the events of
    a user or item; see `models.losses`. On a handful of events the penalty wins, and all vectors are zero.
    Sources: Hu, Koren & Volinsky 2008; Rendle et al. 2021 (alpha0 and nu).

    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i and (u + i) % 2 == 0]      # two tastes
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(ImplicitALS(factors=2), events)
    >>> rec.recommend(0, n=1)["item"].to_list()                      # the one that others of the same taste had
    [0]
    """

    name: ClassVar[str] = "implicit-als"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    factors: int = parameter(64, FACTORS, low=1, high=1024, log=True, search=(8, 256))
    epochs: int = parameter(10, EPOCHS, low=1, high=1000, search=(5, 20))
    alpha0: float = parameter(
        0.2, "confidence of a blank, where an event has its value", low=1e-6, high=10, log=True, search=(0.01, 2)
    )
    l2: float = parameter(
        1.6, "penalty, times the row's support to the power nu", low=1e-9, high=1e4, log=True, search=(0.3, 10)
    )
    nu: float = parameter(
        0.25, "how the penalty grows with support: 0 not at all, 1 in proportion", low=0, high=2, search=(0, 0.6)
    )
    init_std: float = parameter(
        0.1, "standard deviation of the first factors, over sqrt(factors)", low=1e-6, high=10, log=True
    )
    cg_steps: int = parameter(3, STEPS, low=1, high=100)
    patience: int = parameter(3, PATIENCE, low=1, high=1000)

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: FactorModel | None = None,
        callback: EpochCallback | None = None,
    ) -> FactorModel:
        """A FactorModel without biases whose users are the exact minimizers given its items.

        `init_model`: a model of the same ids and width to go on from. Raises KindError for ratings, DataError for no
        rows, ParameterError for another init_model, DivergedError.
        """
        self.require(interactions)
        loss = EventsLoss(alpha0=self.alpha0, l2=self.l2, nu=self.nu)
        side = _Alternation(loss, self.factors, self.cg_steps, 0.0, None, 1.0)
        model = init_model or _random_start(interactions, self.factors, self.init_std / self.factors**0.5, seed)
        watch = Watch(
            interactions,
            epochs=self.epochs,
            patience=self.patience,
            validation=validation,
            callback=callback,
            advice=self.diverged_advice,
        )
        return side.run(interactions, model, watch)


def _random_start(interactions: Interactions, factors: int, sd: float, seed: int) -> FactorModel:
    def normal(n: int, what: str) -> Float32:
        drawn = random_stream(seed, what).standard_normal((n, factors), dtype=np.float32)
        return drawn * np.float32(sd)

    return FactorModel(
        normal(interactions.n_users, "user factors"),
        normal(interactions.n_items, "item factors"),
        np.zeros(interactions.n_users, np.float32),
        np.zeros(interactions.n_items, np.float32),
    )


@dataclass(frozen=True)
class _Alternation:
    """Half-steps to and fro. Unknowns are kept as one array per side: [factors, bias if any, padding].

    Ratings and `mean` are in the unit `unit`; `scale` and the model that it returns are not.
    """

    loss: Loss
    factors: int
    cg_steps: int
    mean: float
    scale: Scale | None
    unit: float

    def run(self, interactions: Interactions, model: FactorModel, watch: Watch) -> FactorModel:
        n_users, n_items = interactions.n_users, interactions.n_items
        if model.user_factors.shape != (n_users, self.factors) or model.n_items != n_items:
            raise ParameterError(
                f"init_model must have {n_users} users, {n_items} items and {self.factors} factors, not {model!r}"
            )
        by_user, by_item = self.loss.entries(interactions.by_user), self.loss.entries(interactions.by_item)
        users, items = (
            self._joined(model.user_factors, model.user_bias),
            self._joined(model.item_factors, model.item_bias),
        )
        user_penalty = self.loss.penalty(by_user.counts, n_items)
        item_penalty = self.loss.penalty(by_item.counts, n_users)
        without = by_item.counts == 0
        finished = lambda: self._finished(users, items, by_user, user_penalty, without)  # noqa: E731
        number, going = 0, True
        while going:
            number += 1
            self._half_step(users, by_user, user_penalty, items)
            squares = self._half_step(items, by_item, item_penalty, users)
            going = watch.goes_on(number, squares / len(interactions) * self.unit**2, finished)
        chosen = watch.chosen(finished)
        if not all(np.isfinite(array).all() for array in chosen.arrays().values()):
            raise DivergedError(number, float("nan"), watch.advice)
        return chosen

    def _joined(self, factors: Float32, bias: Float32) -> Float32:
        joined = np.zeros((len(factors), self.loss.width(self.factors)), np.float32)
        joined[:, : self.factors] = factors
        if self._has_bias:
            joined[:, self.factors] = bias
        return joined

    @property
    def _has_bias(self) -> bool:
        return isinstance(self.loss, RatingsLoss) and self.loss.l2_bias is not None

    def _bias(self, joined: Float32) -> Float32:
        return joined[:, self.factors] if self._has_bias else np.zeros(len(joined), np.float32)

    def _half_step(self, own: Float32, entries: SparseRows, penalty: Float32, other: Float32) -> float:
        side = self.loss.side(other[:, : self.factors], self._bias(other), self.mean)
        return improve(own, entries, penalty, side, steps=self.cg_steps)

    def _finished(
        self, users: Float32, items: Float32, by_user: SparseRows, penalty: Float32, without: Bool
    ) -> FactorModel:
        """The model as it stands, after one exact user half-step: so a user's own history folds in to its row.

        Items without rows (`without`) are at the minimum of their penalty, zero, which a few steps only approach.
        """
        items = np.where(without[:, None], np.float32(0), items)
        exact = np.empty_like(users)
        side = self.loss.side(items[:, : self.factors], self._bias(items), self.mean)
        solve(exact, by_user, penalty, side)
        model = FactorModel(
            read_only(exact[:, : self.factors].copy()),
            read_only(items[:, : self.factors].copy()),
            read_only(self._bias(exact).copy()),
            read_only(self._bias(items).copy()),
            mean=self.mean,
            loss=self.loss,
        )
        return model.rescaled(self.unit, self.scale)
