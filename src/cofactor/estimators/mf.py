"""Biased matrix factorization by stochastic gradient descent: the model every course begins with, fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cofactor import checks
from cofactor.arrays import Float32, random_stream, read_only
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DivergedError, ParameterError
from cofactor.estimators.base import EpochCallback, Estimator, Watch, parameter, standardized
from cofactor.kernels.blocks import grid_for
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sgd import Blocks, blocks_of, sgd_epoch
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss, padded_width
from cofactor.validation import validated

__all__ = ["BiasedMF"]


@dataclass(frozen=True)
class BiasedMF(Estimator):
    """A dot product and two biases through a sigmoid, by SGD on squared error with weight decay.

        r^ = low + (high - low) sigmoid(mean + b_u + b_i + p_u . q_i)
        minimize  sum over ratings of w (r - r^)^2 + l2 (|p_u|^2 + |q_i|^2) + l2_bias (b_u^2 + b_i^2)

    Its gradient step is in `kernels.sgd`. The rate rises and falls once over the epochs (one-cycle). `biases=False`
    leaves the dot product alone; `rating_range=None` leaves out the sigmoid; `l2=0, l2_bias=0` leaves out the decay.
    Where all ratings are equal, that is what is predicted.
    Sources: Koren, Bell & Volinsky 2009; Smith & Topin 2019 (one-cycle).

    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> rec = cofactor.Recommender.fit(BiasedMF(factors=2), ratings)
    >>> rec.predict(0, 0) > 4.5                                                      # not in the data
    True
    """

    name: ClassVar[str] = "biased-mf"
    kind: ClassVar[Kind] = "ratings"

    factors: int = parameter(50, "the width of the factors", low=1, high=1024, log=True, search=(8, 128))
    epochs: int = parameter(20, "passes over the ratings, at most", low=1, high=1000, search=(10, 40))
    learning_rate: float = parameter(
        0.02,
        "the highest learning rate, reached after a fifth of the epochs",
        low=1e-6,
        high=10,
        log=True,
        search=(0.005, 0.1),
    )
    l2: float = parameter(0.055, "penalty on factors, per rating", low=0, high=100, log=True, search=(0.01, 0.3))
    l2_bias: float = parameter(0.07, "penalty on biases, per rating", low=0, high=100, log=True, search=(0.01, 0.3))
    init_std: float = parameter(0.001, "standard deviation of the first factors", low=1e-6, high=10, log=True)
    biases: bool = parameter(default=True, meaning="whether users and items have a bias")
    rating_range: tuple[float, float] | Literal["scale"] | None = parameter(
        "scale", "the sigmoid's ends: the scale widened by half a step, two numbers, or None for no sigmoid"
    )
    patience: int = parameter(3, "epochs without a better validation score before stopping", low=1, high=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        ends = self.rating_range
        if ends is None or (isinstance(ends, str) and ends == "scale"):
            return
        pair = tuple(ends) if isinstance(ends, tuple | list) else ()
        numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in pair)
        if not (len(pair) == 2 and numbers and pair[0] < pair[1]):
            raise ParameterError(
                f'biased-mf: rating_range must be "scale", None or two rising numbers, not {checks.shown(ends)}'
            )
        object.__setattr__(self, "rating_range", tuple(map(float, pair)))

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
        """A FactorModel; the same bits for the same seed at any number of threads.

        `init_model`: a model of the same ids and width to go on from. Raises KindError for events, DataError for no
        rows, ParameterError for another init_model, DivergedError.
        """
        self.require(interactions)
        watch = Watch(
            interactions,
            epochs=self.epochs,
            patience=self.patience,
            validation=validation,
            callback=callback,
            advice=self.diverged_advice,
        )
        standard, unit = standardized(interactions)
        weights = np.zeros(0, np.float32) if standard.weights is None else standard.weights
        blocks = blocks_of(
            standard.u, standard.i, standard.values, weights,
            n_users=standard.n_users, n_items=standard.n_items,
            grid=grid_for(len(standard), most=8), seed=seed,
        )  # fmt: skip
        begin = None if init_model is None else init_model.rescaled(1 / unit, standard.scale)
        descent = _Descent.begin(self, standard, unit, blocks, begin, seed)
        model_now = lambda: descent.model().rescaled(unit, interactions.scale)  # noqa: E731
        number, going = 0, True
        while going:
            number += 1
            learning_rate = one_cycle(self.learning_rate, number, self.epochs)
            loss = descent.epoch(learning_rate, random_stream(seed, "rounds", number))
            going = watch.goes_on(number, loss / len(interactions) * unit**2, model_now)
        model = watch.chosen(model_now)
        if not all(np.isfinite(array).all() for array in model.arrays().values()):
            raise DivergedError(number, float("nan"), self.diverged_advice)
        return model


def one_cycle(highest: float, number: int, epochs: int) -> float:
    """The rate of epoch `number` of `epochs`, from 1: a rise over the first fifth, then half a cosine down to near 0.

    Source: Smith & Topin 2019, here with a rise from 0.4 of the highest, and down to 0.01 of it.

    >>> [round(one_cycle(1.0, number, epochs=5), 2) for number in (1, 2, 3, 4, 5)]
    [0.7, 0.96, 0.69, 0.31, 0.04]
    """
    progress = (number - 0.5) / epochs
    if progress < 0.2:
        return highest * (0.4 + 0.6 * progress / 0.2)
    return highest * max(0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8)), 0.01)


@dataclass(frozen=True)
class _Descent:
    """The parameters while they move, padded to whole vector registers, in the order of the blocks' places."""

    spec: BiasedMF
    interactions: Interactions
    blocks: Blocks
    P: Float32
    Q: Float32
    user_bias: Float32
    item_bias: Float32
    mean: float
    low: float
    span: float

    @classmethod
    def begin(
        cls,
        spec: BiasedMF,
        interactions: Interactions,
        unit: float,
        blocks: Blocks,
        init_model: FactorModel | None,
        seed: int,
    ) -> _Descent:
        low, span = _range_of(spec, interactions, unit)
        average = float(np.average(interactions.values.astype(np.float64), weights=interactions.weights))
        mean = average
        if span > 0:  # the linear predictor whose sigmoid is the average rating
            share = min(max((average - low) / span, 1e-3), 1 - 1e-3)
            mean = math.log(share / (1 - share))
        if not spec.biases and span == 0:
            mean = 0.0  # the plain dot product
        sides = []
        for name, place, rows in (
            ("user", blocks.user_place, interactions.u),
            ("item", blocks.item_place, interactions.i),
        ):
            n = len(place)
            factors = np.zeros((n, padded_width(spec.factors)), np.float32)
            bias = np.zeros(n, np.float32)
            if init_model is None:
                drawn = random_stream(seed, f"{name} factors").standard_normal((n, spec.factors), dtype=np.float32)
                drawn[np.bincount(rows, minlength=n) == 0] = 0  # no rating would move them from a random start
                factors[place, : spec.factors] = drawn * np.float32(spec.init_std)
            else:
                given = getattr(init_model, f"{name}_factors")
                if given.shape != (n, spec.factors):
                    raise ParameterError(
                        f"init_model has {name} factors of shape {given.shape}, not {(n, spec.factors)}"
                    )
                factors[place, : spec.factors] = given
                if spec.biases:
                    bias[place] = getattr(init_model, f"{name}_bias")
            sides.append((factors, bias))
        (P, user_bias), (Q, item_bias) = sides
        return cls(spec, interactions, blocks, P, Q, user_bias, item_bias, mean, low, span)

    def epoch(self, learning_rate: float, stream: np.random.Generator) -> float:
        return sgd_epoch(
            self.P, self.Q, self.user_bias, self.item_bias, self.blocks,
            mean=self.mean, low=self.low, span=self.span,
            learning_rate=learning_rate, bias_rate=learning_rate if self.spec.biases else 0.0,
            l2=self.spec.l2, l2_bias=self.spec.l2_bias, stream=stream,
        )  # fmt: skip

    def model(self) -> FactorModel:
        k, users, items = self.spec.factors, self.blocks.user_place, self.blocks.item_place
        return FactorModel(
            read_only(self.P[users, :k]),
            read_only(self.Q[items, :k]),
            read_only(self.user_bias[users]),
            read_only(self.item_bias[items]),
            mean=self.mean,
            rating_range=(self.low, self.low + self.span) if self.span > 0 else None,
            scale=self.interactions.scale,
            loss=RatingsLoss(l2=self.spec.l2, l2_bias=self.spec.l2_bias if self.spec.biases else None),
        )


def _range_of(spec: BiasedMF, interactions: Interactions, unit: float) -> tuple[float, float]:
    """The sigmoid's low end and span in the unit of `interactions`; a span of 0 for none."""
    if spec.rating_range is None:
        return 0.0, 0.0
    if spec.rating_range == "scale":
        assert interactions.scale is not None
        low, high = interactions.scale.widened
    else:
        low, high = (end / unit for end in spec.rating_range)
    return float(low), float(high - low)
