"""Bayesian personalized ranking: learn the order of a user's items, not their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cofactor.arrays import Float32, Int64, random_stream, read_only
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, DivergedError, ParameterError
from cofactor.estimators.base import EpochCallback, Estimator, Watch, parameter
from cofactor.kernels.blocks import grid_for, pair_blocks
from cofactor.kernels.bpr import bpr_epoch, falling
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.factor import FactorModel
from cofactor.models.losses import PairwiseLoss, padded_width
from cofactor.validation import validated

__all__ = ["BPR"]


@dataclass(frozen=True)
class BPR(Estimator):
    """What a user took ranked above what the user did not, pair by pair.

        x_ui = b_i + p_u . q_i
        minimize  sum over events of -w ln sigmoid(x_ui - x_uj)
                  + l2 (|p_u|^2 + |q_i|^2 + |q_j|^2) + l2_bias (b_i^2 + b_j^2)

    for a negative j: the best scored of `n_negatives` items drawn from those that the user lacks. Its step is in
    `kernels.bpr`. w is the event's value times its weight; a dislike (negative weight) is a blank like any other. Of a
    user who lacks nothing, nothing is learnt. The rate falls by half a cosine over the epochs.
    Sources: Rendle et al. 2009; Rendle & Freudenthaler 2014 (hard negatives, which lift the head of the list).

    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i and (u + i) % 2 == 0]      # two tastes
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(BPR(factors=2), events)
    >>> rec.recommend(0, n=1)["item"].to_list()                      # the one that others of the same taste had
    [0]
    """

    name: ClassVar[str] = "bpr"
    kind: ClassVar[Kind] = "events"

    factors: int = parameter(64, "the width of the factors", low=1, high=1024, log=True, search=(16, 256))
    epochs: int = parameter(60, "passes over the events, at most", low=1, high=1000, search=(20, 120))
    learning_rate: float = parameter(
        0.15, "the learning rate of the first epoch", low=1e-6, high=1, log=True, search=(0.02, 0.5)
    )
    l2: float = parameter(0.027, "penalty on factors, per event", low=0, high=100, log=True, search=(0.003, 0.3))
    l2_bias: float = parameter(
        0.03, "penalty on item biases, per event", low=0, high=100, log=True, search=(0.003, 0.3)
    )
    n_negatives: int = parameter(
        6, "candidates per event; the best scored is its negative", low=1, high=1000, log=True, search=(1, 20)
    )
    init_std: float = parameter(
        0.1, "standard deviation of the first factors, over sqrt(factors)", low=1e-6, high=10, log=True
    )
    patience: int = parameter(10, "epochs without a better validation score before stopping", low=1, high=1000)

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
        """A FactorModel with item biases; the same bits for the same seed at any number of threads.

        `init_model`: a model of the same ids and width to go on from. Raises KindError for ratings, DataError for no
        rows or where every event is a dislike, ParameterError for another init_model, DivergedError.
        """
        self.require(interactions)
        descent = _Descent.begin(self, interactions, init_model, seed)
        watch = Watch(
            interactions,
            epochs=self.epochs,
            patience=self.patience,
            validation=validation,
            callback=callback,
            advice=self.diverged_advice,
        )
        number, going = 0, True
        while going:
            number += 1
            learning_rate = float(falling(self.learning_rate, self.epochs)[number - 1])
            loss = descent.epoch(learning_rate, random_stream(seed, "pairs", number))
            going = watch.goes_on(number, loss / len(descent.rows.columns), descent.model)
        model = watch.chosen(descent.model)
        if not all(np.isfinite(array).all() for array in model.arrays().values()):
            raise DivergedError(number, float("nan"), self.diverged_advice)
        return model


@dataclass(frozen=True)
class _Descent:
    """The parameters while they move, padded to whole vector registers, and the events that move them."""

    spec: BPR
    loss: PairwiseLoss
    rows: SparseRows
    weights: Float32
    support: Int64
    P: Float32
    Q: Float32
    bias: Float32

    @classmethod
    def begin(cls, spec: BPR, interactions: Interactions, init_model: FactorModel | None, seed: int) -> _Descent:
        loss = PairwiseLoss(spec.l2, spec.l2_bias, spec.n_negatives, spec.learning_rate, spec.epochs)
        rows, weights = loss.entries(interactions.by_user)
        if len(rows.columns) == 0:
            raise DataError("every event is a dislike (a weight below 0): bpr learns from what users took")
        sides = []
        for name, n in (("user", interactions.n_users), ("item", interactions.n_items)):
            factors = np.zeros((n, padded_width(spec.factors)), np.float32)
            if init_model is None:
                drawn = random_stream(seed, f"{name} factors").standard_normal((n, spec.factors), dtype=np.float32)
                if name == "user":
                    drawn[rows.counts == 0] = 0  # no event would move them from a random start
                factors[:, : spec.factors] = drawn * np.float32(spec.init_std / spec.factors**0.5)
            else:
                given = getattr(init_model, f"{name}_factors")
                if given.shape != (n, spec.factors):
                    raise ParameterError(
                        f"init_model has {name} factors of shape {given.shape}, not {(n, spec.factors)}"
                    )
                factors[:, : spec.factors] = given
            sides.append(factors)
        bias = np.zeros(interactions.n_items, np.float32) if init_model is None else init_model.item_bias.copy()
        support = rows.column_counts(interactions.n_items)
        P, Q = sides
        return cls(spec, loss, rows, weights, support, P, Q, bias)

    def epoch(self, learning_rate: float, stream: np.random.Generator) -> float:
        grid = grid_for(len(self.rows.columns))
        blocks = pair_blocks(self.rows, self.weights, self.support, grid=grid, stream=stream)
        return bpr_epoch(
            self.P, self.Q, self.bias, blocks,
            candidates=self.spec.n_negatives, learning_rate=learning_rate, l2=self.spec.l2, l2_bias=self.spec.l2_bias,
            stream=stream,
        )  # fmt: skip

    def model(self) -> FactorModel:
        k = self.spec.factors
        return FactorModel(
            read_only(self.P[:, :k].copy()),
            read_only(self.Q[:, :k].copy()),
            read_only(np.zeros(len(self.P), np.float32)),
            read_only(self.bias.copy()),
            loss=self.loss,
        )
