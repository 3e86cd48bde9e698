"""A neural network on embeddings: what a dot product cannot say, learnt by torch (extra `neural`)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal, TypeAlias, get_args

from cofactor import checks
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.errors import DataError, MissingExtraError, ParameterError
from cofactor.estimators.base import EpochCallback, Estimator, parameter
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.network import NetworkModel
from cofactor.validation import validated

__all__ = ["Head", "NeuralMF"]

Head: TypeAlias = Literal["regression", "classification"]


@dataclass(frozen=True)
class NeuralMF(Estimator):
    """User and item embeddings, of different widths, through layers: a rating, or a probability for each of its levels.

        y = c + b_u + b_i + slope (p_u . q_i) + W_o' h,    h = dropout(relu(W' [p_u, q_i] + c_1)), layer upon layer

        head "regression":      r^ = low + (high - low) sigmoid(y), squared error
        head "classification":  r^ = sum_l level_l softmax(y)_l over the scale's levels, cross-entropy

    The dot product runs over the common width; low and high are the scale's ends, widened by half a step.

    Minibatches drawn anew each epoch; AdamW, whose weight decay is decoupled (x shrinks by rate * decay at each step,
    however few ratings it has): not the same as l2. The rate rises and falls once; what is kept is a running average of
    the weights over about the last tenth of all steps. A small share of ids is replaced by "unknown" while training, so
    that the unknown user and item are learnt too. Without a validation part all epochs are run: none is cut off in
    secret; with one, the best epoch is kept and `patience` applies.
    Sources: He et al. 2017 (dot product and layers side by side); Covington et al. 2016 (embeddings into layers);
    Loshchilov & Hutter 2019 (AdamW). Departing from the first: both parts share one embedding.

    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> rec = cofactor.Recommender.fit(NeuralMF(epochs=30, batch_size=32), ratings)
    >>> rec.predict(0, 0) > 4.5, rec.predict(0, 3) < 1.5                             # the first nobody told it
    (True, True)
    """

    name: ClassVar[str] = "neural-mf"
    kind: ClassVar[Kind] = "ratings"

    head: Literal["regression", "classification"] = parameter(
        "regression", "how it ends: one number, or a probability for each level"
    )
    user_dim: int = parameter(16, "the width of the users' embedding", low=1, high=1024, log=True, search=(8, 64))
    item_dim: int = parameter(24, "the width of the items' embedding", low=1, high=1024, log=True, search=(8, 64))
    hidden: int = parameter(128, "the width of the first layer", low=1, high=4096, log=True, search=(32, 256))
    layers: int = parameter(1, "how many layers, each half as wide as the one before", low=1, high=6, search=(1, 3))
    dropout: float = parameter(
        0.3, "the share of each layer that is left out at random while training", low=0, high=0.9, search=(0, 0.6)
    )
    epochs: int = parameter(20, "passes over the ratings, at most", low=1, high=1000)
    batch_size: int = parameter(512, "ratings in a step", low=1, high=100_000, log=True)
    learning_rate: float = parameter(
        0.007,
        "the highest learning rate, reached after a quarter of the steps",
        low=1e-6,
        high=1,
        log=True,
        search=(0.001, 0.03),
    )
    weight_decay: float = parameter(
        3.0, "decoupled decay of embeddings, times the rate a step", low=0, high=100, log=True, search=(0.3, 30)
    )
    bias_decay: float = parameter(0.5, "decoupled decay of biases, times the rate a step", low=0, high=100, log=True)
    unknown_share: float = parameter(0.02, "the share of ids replaced by the unknown one in training", low=0, high=0.5)
    init_std: float = parameter(0.1, "standard deviation of the first embeddings", low=1e-6, high=10, log=True)
    patience: int = parameter(3, "epochs without a better validation score before stopping", low=1, high=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.head, str) or self.head not in get_args(Head):
            raise ParameterError(
                f"neural-mf: head must be {' or '.join(get_args(Head))}, not {checks.shown(self.head)}"
            )

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: NetworkModel | None = None,
        callback: EpochCallback | None = None,
    ) -> NetworkModel:
        """A NetworkModel (a LevelsNetworkModel for classification): the same bits for the same seed.

        torch runs on one thread meanwhile, and its own random state is not touched. `init_model`: a model of the same
        ids and shape to go on from. Raises KindError for events, DataError for no rows or a scale without levels where
        they are needed, MissingExtraError without torch, ParameterError for another init_model, DivergedError.
        """
        self.require(interactions)
        scale = interactions.scale
        assert scale is not None
        self._require_levels(scale)
        if find_spec("torch") is None:
            raise MissingExtraError('neural-mf needs torch, which is not installed: pip install "cofactor[neural]"')
        from cofactor.estimators.network_training import trained

        return trained(
            self, interactions, scale, seed=seed, validation=validation, init_model=init_model, callback=callback
        )

    def _require_levels(self, scale: Scale) -> None:
        if self.head == "classification" and not scale.levels:
            raise DataError(
                f"neural-mf with head=classification needs a scale of levels, and these ratings are a range from "
                f"{scale.low:g} to {scale.high:g}; declare levels, or use head=regression"
            )
