"""Neural matrix factorization: embeddings, a dot product and hidden layers, trained with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal

from cofactor import checks
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.data.scale import Scale
from cofactor.errors import DataError, MissingExtraError
from cofactor.estimators.base import Estimator, parameter
from cofactor.estimators.training import EpochCallback, FitMonitor
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.parallel import one_thread_blas
from cofactor.models.base import Model
from cofactor.models.network import NetworkModel
from cofactor.validation import validated

__all__ = ["NeuralMF"]


@dataclass(frozen=True)
class NeuralMF(Estimator):
    """Neural matrix factorization for ratings: a dot product and hidden layers on the same embeddings.

    The network outputs a rating, or a probability for each level of the rating scale.

    Parameters
    ----------
    head : {"regression", "classification"}, default "regression"
        Output of the network: a single rating, or a probability for each rating level.
    user_dim : int, default 16
        Dimension of the user embeddings.
    item_dim : int, default 24
        Dimension of the item embeddings.
    hidden : int, default 128
        Width of the first hidden layer.
    layers : int, default 1
        Number of hidden layers, each half as wide as the previous one.
    dropout : float, default 0.3
        Dropout probability after each hidden layer.
    epochs : int, default 20
        Maximum number of epochs, each a pass over all ratings.
    batch_size : int, default 512
        Number of ratings per minibatch.
    learning_rate : float, default 0.007
        Peak learning rate of the one-cycle schedule, reached after a quarter of the steps.
    weight_decay : float, default 360.0
        Decoupled weight decay of embeddings, divided by the support of a row.
    bias_decay : float, default 60.0
        Decoupled weight decay of biases, divided by the support of a row.
    unknown_share : float, default 0.02
        Fraction of IDs replaced by the placeholder for unknown IDs during training.
    init_std : float, default 0.1
        Standard deviation of the initial embeddings.
    patience : int, default 3
        Number of epochs without improvement in the validation score before stopping.

    Notes
    -----
    The network and its heads::

        y = c + b_u + b_i + slope (p_u . q_i) + W_o' h,    h = dropout(relu(W' [p_u, q_i] + c_1)), one or more layers

        head "regression":      r^ = low + (high - low) sigmoid(y), squared error
        head "classification":  r^ = sum_l level_l softmax(y)_l over the scale's levels, cross-entropy

    The user and item embeddings may differ in dimension; the dot product uses the leading dimensions that both have.
    low and high are the bounds of the rating scale, widened by half a step.

    Training uses shuffled minibatches and Adam with decoupled weight decay. At each step, the embedding of a user or
    item with n of the N ratings is divided by 1 + learning_rate * decay, with::

        decay = weight_decay sqrt(f) / n,    f = min(1, n batch_size / N)

    and its bias likewise with `bias_decay`. f is the share of steps in which the row has a gradient. Adam divides a
    gradient by its root mean square, so that the row moves by about learning_rate * sqrt(f) per step toward its
    ratings. The ratio of this movement to the decay is n / weight_decay: the row is shrunk as by a constant number of
    pseudo-ratings. With the same decay for all rows, as in AdamW, no value suits both dense and sparse tables. RMSE on
    inner splits of training parts with a decay of 3 for all rows, with this rule, and of `Bias` in parentheses:
    MovieLens-100k .914, .914 (.944), Jester5k 4.18, 4.11 (4.33), Flixster .979, .870 (.878), FilmTrust .817, .793
    (.802), MovieTweetings 1.586, 1.538 (1.547).

    The learning rate follows a one-cycle schedule. The model stores a running average of the weights over roughly the
    last tenth of the steps. A small fraction of IDs is replaced by a placeholder during training, so that embeddings
    for unknown users and items are learned as well. Without validation rows, all epochs are run; with them, the model
    from the best epoch is returned and `patience` applies.

    Unlike in He et al., the dot product and the layers share embeddings.

    References
    ----------
    He et al. 2017, "Neural collaborative filtering" (dot product and layers in parallel).
    Covington, Adams & Sargin 2016, "Deep neural networks for YouTube recommendations" (embeddings into layers).
    Loshchilov & Hutter 2019, "Decoupled weight decay regularization" (AdamW).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> rec = cofactor.Recommender.fit(NeuralMF(epochs=30, batch_size=32), ratings)
    >>> rec.predict(0, 0) > 4.5, rec.predict(0, 3) < 1.5                             # the first is a held-out pair
    (True, True)
    """

    name: ClassVar[str] = "neural-mf"
    kind: ClassVar[Kind] = "ratings"

    head: Literal["regression", "classification"] = parameter(
        "regression", "output of the network: a single rating, or a probability for each rating level"
    )
    user_dim: int = parameter(16, "dimension of the user embeddings", low=1, high=1024, log=True, search=(8, 64))
    item_dim: int = parameter(24, "dimension of the item embeddings", low=1, high=1024, log=True, search=(8, 64))
    hidden: int = parameter(128, "width of the first hidden layer", low=1, high=4096, log=True, search=(32, 256))
    layers: int = parameter(
        1, "number of hidden layers, each half as wide as the previous one", low=1, high=6, search=(1, 3)
    )
    dropout: float = parameter(0.3, "dropout probability after each hidden layer", low=0, high=0.9, search=(0, 0.6))
    epochs: int = parameter(20, "maximum number of epochs, each a pass over all ratings", low=1, high=1000)
    batch_size: int = parameter(512, "number of ratings per minibatch", low=1, high=100_000, log=True)
    learning_rate: float = parameter(
        0.007,
        "peak learning rate of the one-cycle schedule, reached after a quarter of the steps",
        low=1e-6,
        high=1,
        log=True,
        search=(0.001, 0.03),
    )
    weight_decay: float = parameter(
        360.0,
        "decoupled weight decay of embeddings, divided by the support of a row",
        low=0,
        high=100_000,
        log=True,
        search=(36, 3600),
    )
    bias_decay: float = parameter(
        60.0, "decoupled weight decay of biases, divided by the support of a row", low=0, high=100_000, log=True
    )
    unknown_share: float = parameter(
        0.02, "fraction of IDs replaced by the placeholder for unknown IDs during training", low=0, high=0.5
    )
    init_std: float = parameter(0.1, "standard deviation of the initial embeddings", low=1e-6, high=10, log=True)
    patience: int = parameter(
        3, "number of epochs without improvement in the validation score before stopping", low=1, high=1000
    )

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
    ) -> NetworkModel:
        """Train the network on a table of ratings.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings.
        seed : int, Generator or None, default 0
            Seed for the initial weights, the minibatches and dropout; the same seed gives identical results.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs. If given, the model from the epoch with the best validation score is
            returned.
        init_model : NetworkModel, optional
            Model to continue from, with the same IDs and shapes.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        NetworkModel
            Model with the averaged weights; a LevelsNetworkModel for head="classification".

        Raises
        ------
        KindError
            If the table or `validation` contains events.
        DataError
            If the table has no rows, all weights are 0, the head needs rating levels that the scale does not have, or
            `validation` has different IDs or no rows.
        ParameterError
            If an array in `init_model` has a different shape.
        MissingExtraError
            If PyTorch is not installed.
        DivergedError
            If the loss or any model array is not finite.

        Notes
        -----
        PyTorch runs on one thread during the fit, and its global random state is unchanged.
        """
        table = self.check_table(interactions)
        assert table.scale is not None
        self._require_levels(table.scale)
        if find_spec("torch") is None:
            raise MissingExtraError('neural-mf needs torch, which is not installed: pip install "cofactor[neural]"')
        from cofactor.estimators.network_training import train_network

        monitor = FitMonitor(
            table, validation, callback, epochs=self.epochs, patience=self.patience, advice=self.diverged_advice
        )
        return train_network(self, table, table.scale, monitor, seed=checks.seed(seed), init_model=init_model)

    def _require_levels(self, scale: Scale) -> None:
        """Raise DataError if the head needs rating levels and the scale has none."""
        if self.head == "classification" and not scale.levels:
            raise DataError(
                f"neural-mf with head=classification requires a scale with rating levels, but the scale is the range "
                f"{scale.low:g} to {scale.high:g}; declare the rating levels, or use head=regression"
            )
