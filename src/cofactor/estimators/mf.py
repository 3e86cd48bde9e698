"""Biased matrix factorization for ratings, fitted by stochastic gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cofactor import checks
from cofactor.arrays import Float32, random_stream, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.errors import ParameterError
from cofactor.estimators.base import Estimator, parameter
from cofactor.estimators.training import EpochCallback, FitMonitor, one_cycle, require_init_model
from cofactor.estimators.training_table import Standardization, TableLike
from cofactor.kernels.blocks import grid_size
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sgd import Blocks, rating_blocks, sgd_epoch
from cofactor.models.base import Model
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss, padded_width
from cofactor.validation import validated

__all__ = ["BiasedMF"]


@dataclass(frozen=True)
class BiasedMF(Estimator):
    """Biased matrix factorization for ratings with a sigmoid output, fitted by stochastic gradient descent (SGD).

    Parameters
    ----------
    factors : int, default 50
        Number of latent factors.
    epochs : int, default 20
        Maximum number of epochs, each a pass over all ratings.
    learning_rate : float, default 0.025
        Peak learning rate of the one-cycle schedule, reached after a fifth of the epochs.
    l2 : float, default 0.03
        L2 penalty on factors, per rating.
    l2_bias : float, default 0.055
        L2 penalty on biases, per rating.
    pseudo_ratings : float, default 30.0
        Constant c: the penalties of a user or item with n ratings are multiplied by n + c.
    init_std : float, default 0.001
        Standard deviation of the initial factors.
    biases : bool, default True
        Whether to fit a bias for each user and item.
    rating_range : tuple of (float, float), "scale" or None, default "scale"
        Range of the sigmoid: 'scale' for the scale widened by half a step, two numbers, or None for no sigmoid.
    patience : int, default 3
        Number of epochs without improvement in the validation score before stopping.

    Notes
    -----
    The model and its objective::

        r^ = low + (high - low) sigmoid(mean + b_u + b_i + p_u . q_i)
        minimize  sum over ratings of w (r - r^)^2
                  + sum over users and items of (n + pseudo_ratings) (l2 |p|^2 + l2_bias b^2)

    r is a standardized rating (mean 0, standard deviation 1), w its weight, and n the number of ratings of the user or
    item. The gradient step for n is taken with each rating (see `cofactor.kernels.sgd`), that for `pseudo_ratings` once
    per epoch. The learning rate follows a one-cycle schedule over the epochs. `biases=False` reduces the model to the
    mean plus a dot product, `rating_range=None` omits the sigmoid, and `l2=0, l2_bias=0` omits the penalties. If all
    ratings are equal, the model predicts that rating.

    References
    ----------
    Koren, Bell & Volinsky 2009, "Matrix factorization techniques for recommender systems".
    Smith & Topin 2019, "Super-convergence" (one-cycle schedule).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> rec = cofactor.Recommender.fit(BiasedMF(factors=2), ratings)
    >>> rec.predict(0, 0) > 4.5                                                      # a held-out pair
    True
    """

    name: ClassVar[str] = "biased-mf"
    kind: ClassVar[Kind] = "ratings"

    factors: int = parameter(50, "number of latent factors", low=1, high=1024, log=True, search=(8, 128))
    epochs: int = parameter(
        20, "maximum number of epochs, each a pass over all ratings", low=1, high=1000, search=(10, 40)
    )
    learning_rate: float = parameter(
        0.025,
        "peak learning rate of the one-cycle schedule, reached after a fifth of the epochs",
        low=1e-6,
        high=10,
        log=True,
        search=(0.005, 0.1),
    )
    l2: float = parameter(0.03, "L2 penalty on factors, per rating", low=0, high=100, log=True, search=(0.01, 0.3))
    l2_bias: float = parameter(0.055, "L2 penalty on biases, per rating", low=0, high=100, log=True, search=(0.01, 0.3))
    pseudo_ratings: float = parameter(
        30.0,
        "constant c: the penalties of a user or item with n ratings are multiplied by n + c",
        low=0,
        high=10_000,
        search=(0, 60),
    )
    init_std: float = parameter(0.001, "standard deviation of the initial factors", low=1e-6, high=10, log=True)
    biases: bool = parameter(default=True, meaning="whether to fit a bias for each user and item")
    rating_range: tuple[float, float] | Literal["scale"] | None = parameter(
        "scale",
        "range of the sigmoid: 'scale' for the scale widened by half a step, two numbers, or None for no sigmoid",
    )
    patience: int = parameter(
        3, "number of epochs without improvement in the validation score before stopping", low=1, high=1000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = self.rating_range
        if bounds is None or (isinstance(bounds, str) and bounds == "scale"):
            return
        pair = tuple(bounds) if isinstance(bounds, tuple | list) else ()
        is_finite = all(isinstance(end, int | float) and math.isfinite(end) for end in pair)
        if not (len(pair) == 2 and is_finite and pair[0] < pair[1]):
            raise ParameterError(
                'biased-mf: rating_range must be "scale", None or two increasing numbers; '
                f"got {checks.describe(bounds)}"
            )
        if not (isinstance(bounds, tuple) and all(type(end) is float for end in bounds)):  # else as passed, for `clone`
            object.__setattr__(self, "rating_range", tuple(map(float, pair)))

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> FactorModel:
        """Fit the model to a table of ratings.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings.
        seed : int, Generator or None, default 0
            Seed for the initial factors and the rating order; the same seed gives identical results for any number of
            threads.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs. If given, the model from the epoch with the best validation score is
            returned.
        init_model : FactorModel, optional
            Model to continue from, with the same IDs and number of factors.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        FactorModel
            Model with biases, or without them if `biases` is False.

        Raises
        ------
        KindError
            If the table or `validation` contains events.
        DataError
            If the table has no rows or all weights are 0, or if `validation` has different IDs or no rows.
        ParameterError
            If `init_model` has a different shape.
        DivergedError
            If the loss or any model array is not finite.
        """
        table = self.check_table(interactions)
        seed = checks.seed(seed)
        monitor = FitMonitor(
            table, validation, callback, epochs=self.epochs, patience=self.patience, advice=self.diverged_advice
        )
        transformation = Standardization.of(table)
        standardized = transformation.apply(table)
        weights = np.zeros(0, np.float32) if standardized.weights is None else standardized.weights
        blocks = rating_blocks(
            standardized.u, standardized.i, standardized.values, weights,
            n_users=standardized.n_users, n_items=standardized.n_items,
            grid=grid_size(len(standardized), max_size=8), seed=seed,
        )  # fmt: skip
        initial = None
        if init_model is not None:
            shapes = {"user_factors": (table.n_users, self.factors), "item_factors": (table.n_items, self.factors)}
            initial = transformation.to_standard(require_init_model(init_model, FactorModel, shapes))
        rating_range = _rating_range(self, table.scale)
        low, high = map(transformation.standardized, rating_range or (0.0, 0.0))
        state = _State.initialize(self, standardized, (low, high), blocks, initial, seed)

        def epoch(number: int) -> float:
            learning_rate = epoch_learning_rate(self.learning_rate, number, self.epochs)
            squares = state.epoch(learning_rate, random_stream(seed, "rounds", number))
            return squares / len(table) * transformation.std**2

        def model() -> FactorModel:
            return replace(transformation.to_ratings(state.model(), table.scale), rating_range=rating_range)

        return monitor.run(epoch, model).with_fold_in_penalty(table.by_user)


def epoch_learning_rate(peak_rate: float, number: int, epochs: int) -> float:
    """Compute the learning rate of an epoch of `BiasedMF`: the one-cycle schedule at the middle of the epoch.

    The learning rate rises linearly from 0.4 `peak_rate` over the first fifth of the epochs, then decays along a half
    cosine to no less than 0.01 `peak_rate`.

    Parameters
    ----------
    peak_rate : float
        Peak learning rate.
    number : int
        Epoch number, starting at 1.
    epochs : int
        Number of epochs.

    Returns
    -------
    float
        Learning rate.

    Examples
    --------
    >>> [round(epoch_learning_rate(1.0, number, epochs=5), 2) for number in (1, 2, 3, 4, 5)]
    [0.7, 0.96, 0.69, 0.31, 0.04]
    """
    return one_cycle(peak_rate, (number - 0.5) / epochs, first=0.4, rise=0.2, last=0.01, warm_up="linear")


@dataclass(frozen=True)
class _State:
    """Training state: model parameters in block row order, padded to a multiple of the SIMD vector width."""

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
    def initialize(
        cls,
        spec: BiasedMF,
        interactions: Interactions,
        output_range: tuple[float, float],
        blocks: Blocks,
        init_model: FactorModel | None,
        seed: int,
    ) -> _State:
        """Create a training state with random parameters, or with the parameters of `init_model`.

        `output_range` is the range of the sigmoid in standardized units; (0, 0) for no sigmoid.
        """
        low, span = output_range[0], output_range[1] - output_range[0]
        mean_rating = float(np.average(interactions.values.astype(np.float64), weights=interactions.weights))
        mean = mean_rating
        if span > 0:  # the logit of the mean rating, so that the initial prediction is the mean
            mean_fraction = min(max((mean_rating - low) / span, 1e-3), 1 - 1e-3)
            mean = math.log(mean_fraction / (1 - mean_fraction))
        parameters = []
        for name, new_rows, rows in (
            ("user", blocks.new_user_row, interactions.u),
            ("item", blocks.new_item_row, interactions.i),
        ):
            n = len(new_rows)
            factors = np.zeros((n, padded_width(spec.factors)), np.float32)
            bias = np.zeros(n, np.float32)
            if init_model is None:
                noise = random_stream(seed, f"{name} factors").standard_normal((n, spec.factors), dtype=np.float32)
                noise[np.bincount(rows, minlength=n) == 0] = 0  # without ratings they would keep their random values
                factors[new_rows, : spec.factors] = noise * np.float32(spec.init_std)
            else:
                factors[new_rows, : spec.factors] = getattr(init_model, f"{name}_factors")
                if spec.biases:
                    bias[new_rows] = getattr(init_model, f"{name}_bias")
            parameters.append((factors, bias))
        (P, user_bias), (Q, item_bias) = parameters
        return cls(spec, interactions, blocks, P, Q, user_bias, item_bias, mean, low, span)

    def epoch(self, learning_rate: float, stream: np.random.Generator) -> float:
        """Run one epoch of SGD, update the parameters in place, and return the sum of squared errors."""
        spec = self.spec
        squares = sgd_epoch(
            self.P, self.Q, self.user_bias, self.item_bias, self.blocks,
            mean=self.mean, low=self.low, span=self.span,
            learning_rate=learning_rate, bias_rate=learning_rate if spec.biases else 0.0,
            l2=spec.l2, l2_bias=spec.l2_bias, rng=stream,
        )  # fmt: skip
        for parameters, l2 in (
            (self.P, spec.l2),
            (self.Q, spec.l2),
            (self.user_bias, spec.l2_bias),
            (self.item_bias, spec.l2_bias),
        ):
            parameters /= np.float32(1 + 2 * learning_rate * l2 * spec.pseudo_ratings)  # an implicit gradient step
        return squares

    def model(self) -> FactorModel:
        """Return a model with a copy of the current parameters."""
        k, users, items = self.spec.factors, self.blocks.new_user_row, self.blocks.new_item_row
        return FactorModel(
            read_only(self.P[users, :k]),
            read_only(self.Q[items, :k]),
            read_only(self.user_bias[users]),
            read_only(self.item_bias[items]),
            mean=self.mean,
            rating_range=(self.low, self.low + self.span) if self.span > 0 else None,
            scale=self.interactions.scale,
            loss=RatingsLoss(
                l2=self.spec.l2,
                l2_bias=self.spec.l2_bias if self.spec.biases else None,
                pseudo_ratings=self.spec.pseudo_ratings,
            ),
        )


def _rating_range(spec: BiasedMF, scale: Scale | None) -> tuple[float, float] | None:
    """Return the range of the sigmoid in rating units; None for no sigmoid."""
    if spec.rating_range == "scale":
        assert scale is not None
        return scale.extended_range
    return spec.rating_range
