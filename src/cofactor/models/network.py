"""Neural network model: user and item embeddings passed through a few dense layers, served without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import (
    ALL_ROWS,
    ROW_ORDER,
    Bool,
    Float32,
    Int32,
    ItemOrder,
    contiguous,
    read_only,
    require_array,
)
from cofactor.data.scale import Scale
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.dense import dense
from cofactor.kernels.parallel import one_thread_blas, parallel_for
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk_dense import top_of_blocks
from cofactor.models.arguments import (
    checked_batch,
    checked_batch_pairs,
    checked_item_lists,
    checked_known_pair,
    checked_lists,
    checked_nearest,
    checked_pairs,
    checked_take,
    require_histories,
    require_no_prior,
)
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation
from cofactor.models.fold_in import GaussianPrior, barzilai_borwein
from cofactor.models.layers import Layers
from cofactor.models.removal import removal_effects
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["LevelsNetworkModel", "NetworkModel"]

MAX_FOLD_IN_STEPS = 30
"""The maximum number of steps for folding in a user; most users converge after about twelve."""

FOLD_IN_TOLERANCE = 0.02
"""Gradient norm at which fold-in stops, in units of 1 / sqrt(penalty) per entry."""

MAX_PENALTY_USERS = 500
"""Maximum number of trained users, evenly spaced, for computing the fold-in penalties."""

MIN_PENALTY = 0.01
"""Minimum fold-in penalty, as a fraction of the inverse mean square of the trained users' entries."""

PAIR_BLOCK = 1024
"""The number of pairs computed at a time; it limits memory use and does not change results."""


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """Neural network model with a single output: the score is the sum of biases and the output of the layers.

    The last row of each array of embeddings and biases stands for unknown users or items, so that row -1 is valid.

    Parameters
    ----------
    user_vectors : ndarray of shape (n_users + 1, a), float32
        User embeddings.
    item_vectors : ndarray of shape (n_items + 1, b), float32
        Item embeddings.
    user_bias : ndarray of shape (n_users + 1, n_outputs), float32
        User biases; n_outputs is 1 in this class.
    item_bias : ndarray of shape (n_items + 1, n_outputs), float32
        Item biases.
    user_penalty : ndarray of shape (a + n_outputs,), float32
        The L2 penalty on each entry of a user's embedding and bias in fold-in, in units of the loss; positive.
    layers : Layers
        The layers; see `models.layers`.
    scale : Scale
        The scale that predictions are clipped to.
    rating_range : tuple of (float, float)
        The range (low, high) of the sigmoid.
    noise : float
        Root mean squared error on the training ratings, the unit of the loss.

    Notes
    -----
    Items are ranked by x; the predicted rating is low + (high - low) sigmoid(x), clipped to the scale::

        x(u, i) = user_bias[u] + item_bias[i] + layers(user_vectors[u], item_vectors[i])

    The model does not predict a distribution: `noise` is the same for all pairs, so it cannot rank them by uncertainty,
    and it underestimates the error on ratings outside the training data.

    References
    ----------
    See `NeuralMF`.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> small = cofactor.NeuralMF(user_dim=2, item_dim=3, hidden=4, epochs=1)
    >>> print(small.fit(ratings).summary())
    array         shape  parameters
    user_vectors  3 x 2           6
    item_vectors  3 x 3           9
    user_bias     3 x 1           3
    item_bias     3 x 1           3
    user_in       2 x 4           8
    item_in       3 x 4          12
    in_bias           4           4
    out           4 x 1           4
    out_bias          1           1
    all                          50
    """

    model_type: ClassVar[str] = "network"

    user_vectors: Float32
    item_vectors: Float32
    user_bias: Float32
    item_bias: Float32
    user_penalty: Float32
    layers: Layers
    scale: Scale
    rating_range: tuple[float, float]
    noise: float

    def __post_init__(self) -> None:
        require_valid_fields(self)
        layers = self.layers
        n_outputs = len(layers.out_bias)
        require_array("user_bias", self.user_bias, np.float32, (None, n_outputs))
        require_array("item_bias", self.item_bias, np.float32, (None, n_outputs))
        if not (len(self.user_bias) and len(self.item_bias)):
            raise DataError("user_bias and item_bias must end with a row for unknown users and items")
        a, b = len(layers.user_in), len(layers.item_in)
        require_array("user_vectors", self.user_vectors, np.float32, (len(self.user_bias), a))
        require_array("item_vectors", self.item_vectors, np.float32, (len(self.item_bias), b))
        require_array("user_penalty", self.user_penalty, np.float32, (a + n_outputs,))
        if not (self.user_penalty > 0).all():
            raise DataError("user_penalty must be positive")

    @property
    def n_users(self) -> int:
        """Number of users in the model, excluding the placeholder for unknown users."""
        return len(self.user_bias) - 1

    @property
    def n_items(self) -> int:
        """Number of items in the catalog, excluding the placeholder for unknown items."""
        return len(self.item_bias) - 1

    @property
    def zero_is_unknown(self) -> bool:
        """False, because a score of 0 is a valid prediction."""
        return False

    def __repr__(self) -> str:
        widths = f"{self.user_vectors.shape[1]} + {self.item_vectors.shape[1]}"
        return f"{type(self).__name__}({self.n_users:,} users, {self.n_items:,} items, {widths} factors)"

    def summary(self) -> str:
        """Return a text table of the learned arrays with their shapes and parameter counts, and the total count.

        Returns
        -------
        str
            The table, with lines of equal length.
        """
        learned_arrays = {name: array for name, array in self.arrays().items() if name not in ("user_penalty", "slope")}
        rows = [(name, " x ".join(map(str, array.shape)), f"{array.size:,}") for name, array in learned_arrays.items()]
        rows = [("array", "shape", "parameters"), *rows]
        rows.append(("all", "", f"{sum(array.size for array in learned_arrays.values()):,}"))
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows)

    # Head: from the outputs of the network to a rating, a score and a loss

    @validated
    def rating(self, y: Float32) -> Float32:
        """Convert network outputs to expected ratings before clipping, by a sigmoid scaled to the rating range.

        Parameters
        ----------
        y : ndarray of shape (n, n_outputs), float32
            Outputs of the network, including biases.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        return self.link(self._checked_outputs(y)[:, 0])

    def link(self, x: Float32) -> Float32:
        """Convert ranking scores to expected ratings before clipping, by a sigmoid scaled to the rating range.

        Parameters
        ----------
        x : ndarray of any shape, float32
            Scores, as `scores` returns them.

        Returns
        -------
        ndarray of the same shape, float32
        """
        low, high = self.rating_range
        rating: Float32 = (low + (high - low) * _sigmoid(_checked_scores(x))).astype(np.float32)
        return rating

    @validated
    def score(self, y: Float32) -> Float32:
        """Return the ranking scores of items: the network outputs.

        Parameters
        ----------
        y : ndarray of shape (n, n_outputs), float32
            Outputs of the network, including biases.

        Returns
        -------
        ndarray of shape (n,), float32
            One value for each pair.
        """
        score: Float32 = self._checked_outputs(y)[:, 0]
        return score

    @validated
    def loss(self, y: Float32, values: Float32) -> tuple[Float32, Float32]:
        """Compute the loss of each rating, squared error / (2 noise^2), and its gradient with respect to the output.

        Parameters
        ----------
        y : ndarray of shape (n, n_outputs), float32
            Outputs of the network, including biases.
        values : ndarray of shape (n,), float32
            The ratings r.

        Returns
        -------
        loss : ndarray of shape (n,), float32
        gradient : ndarray of shape (n, n_outputs), float32
            The gradient with respect to y.
        """
        low, high = self.rating_range
        y = self._checked_outputs(y)
        values = _checked_ratings(values, y)
        s = _sigmoid(y[:, 0])
        error = (low + (high - low) * s - values) / np.float32(self.noise)
        slope = error * s * (1 - s) * np.float32((high - low) / self.noise)
        return (error**2 / 2).astype(np.float32), slope[:, None].astype(np.float32)

    def _checked_outputs(self, y: object) -> Float32:
        """Check that y is a float32 array of shape (n, n_outputs); raises ParameterError if not."""
        return checks.float32_array("y", y, (None, self.user_bias.shape[1]))

    # Prediction

    def outputs(self, users: Int32, items: Int32) -> Float32:
        """Compute the network outputs, including biases, for each user-item pair.

        Parameters
        ----------
        users, items : ndarray of shape (n,), int32
            Row numbers; -1 is an unknown user or item.

        Returns
        -------
        ndarray of shape (n, n_outputs), float32
        """
        users, items = checked_pairs(self, users, items)
        y = np.empty((len(users), self.user_bias.shape[1]), np.float32)
        for first in range(0, len(users), PAIR_BLOCK):
            u, i = users[first : first + PAIR_BLOCK], items[first : first + PAIR_BLOCK]
            part = self.layers.outputs(self.user_vectors[u], self.item_vectors[i], self._item_contribution[i])
            y[first : first + PAIR_BLOCK] = part + self.user_bias[u] + self.item_bias[i]
        return y

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating for each user-item pair, clipped to the rating scale.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user. Their histories are not used.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        users, items = checked_batch_pairs(self, users, items)
        ratings: Float32 = np.clip(self.rating(self.outputs(users.rows, items)), self.scale.low, self.scale.high)
        return ratings

    @cached_property
    def _item_contribution(self) -> Float32:
        """The contribution of each item to the first layer, of shape (n_items + 1, width)."""
        return self.layers.item_contribution(self.item_vectors)

    # Ranking

    def scores(self, users: UserBatch) -> Float32:
        """Compute the scores of all items for each user by a forward pass.

        The histories of the users are not used.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).

        Returns
        -------
        ndarray of shape (n_users, n_items), float32
            Unclipped scores; higher is better.
        """
        return self._scores(checked_batch(self, users).rows)

    def item_scores(self, users: UserBatch, items: Int32) -> Float32:
        """Compute the scores of some items for each user.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).
        items : ndarray of shape (n,), int32
            Item row numbers.

        Returns
        -------
        ndarray of shape (n_users, n), float32
        """
        users, items = checked_batch(self, users), checks.row_numbers("items", items, self.n_items)
        pairs = np.repeat(users.rows, len(items)), np.tile(items, len(users))
        return self._pair_scores(*pairs).reshape(len(users), len(items))

    def _pair_scores(self, users: Int32 | Sequence[int], items: Int32 | Sequence[int]) -> Float32:
        """Return the score of each user-item pair; row -1 is an unknown user or item."""
        return self.score(self.outputs(np.asarray(users, np.int32), np.asarray(items, np.int32)))

    def _scores(self, rows: Int32) -> Float32:
        scores = np.empty((len(rows), self.n_items), np.float32)
        items = np.arange(self.n_items, dtype=np.int32)
        for k, u in enumerate(rows):
            scores[k] = self.score(self.outputs(np.full(self.n_items, u, np.int32), items))
        return scores

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """Return the exact top n items for each user; see `ScoresItems.top` and `kernels.topk_dense`.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).
        n : int
            The length of each list.
        exclude : SparseRows
            The items to exclude, one row for each user in the batch.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank; an empty array means all items.
        order : ItemOrder
            The order of items for which an event model has no evidence.

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers; padded with -1 if fewer than n items remain.
        scores : ndarray of shape (n_users, n), float32
            -inf where the row is -1.
        """
        users, n, exclude, allowed, _ = checked_lists(self, users, n, exclude, allowed, order)

        def scores(first: int, last: int) -> Float32:
            return self._scores(users.rows[first:last])

        return top_of_blocks(scores, self.n_items, n, exclude=exclude, allowed=allowed)

    @cached_property
    def _directions(self) -> Float32:
        """Item vectors scaled to unit length, of shape (n_items + 1, b); zero rows are unchanged."""
        length = np.linalg.norm(self.item_vectors, axis=1, keepdims=True)
        unit: Float32 = np.divide(self.item_vectors, length, out=np.zeros_like(self.item_vectors), where=length > 0)
        return unit

    def item_similarity(self, items: Int32) -> Float32:
        """Compute the cosine similarity of the vectors of each pair of items within each list.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            A symmetric matrix for each list; 0 for row -1.
        """
        items = checked_item_lists(self, items)
        vectors = np.where((items >= 0)[:, :, None], self._directions[items], np.float32(0))
        cosines: Float32 = np.einsum("mcd,med->mce", vectors, vectors)
        return cosines

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar items for each item, by the cosine similarity of their vectors, excluding biases.

        Parameters
        ----------
        items : ndarray of shape (m,), int32
            Item row numbers; an item is excluded from its own list.
        n : int
            The length of each list.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to choose from; an empty array means all items.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        cosines : ndarray of shape (m, n), float32
            Padded with -inf.
        """
        items, n, allowed = checked_nearest("items", items, self.n_items, n, allowed)
        transposed = np.ascontiguousarray(self._directions[:-1].T)

        def cosines(first: int, last: int) -> Float32:
            return dense(self._directions[items[first:last]], transposed, np.zeros(self.n_items, np.float32))

        own = SparseRows(np.arange(len(items) + 1), contiguous(items, np.int32), np.ones(len(items), np.float32))
        return top_of_blocks(cosines, self.n_items, n, exclude=own, allowed=allowed)

    @one_thread_blas()
    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain a score by removing each item in the user's history in turn and folding the user in again.

        `mean` is the score of an unknown user and an unknown item; `item` is the change in this score for the known
        item. The layers are not additive, so the terms need not add up to the score; the difference is `rest`. A
        history of m items is folded in m + 1 times.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
        """
        user, item, history = checked_known_pair(self, users, item)
        score, base_score, mean = self._pair_scores([user, -1, -1], [item, item, -1]).astype(np.float64)
        terms = removal_effects(self, users, np.array([item], np.int32)).effects[0]
        rest = float(score - base_score - terms.sum())
        return Explanation(
            float(score), float(mean), 0.0, float(base_score - mean), history.columns, terms, rest, "leave-one-out"
        )

    # Fold-in

    @one_thread_blas()
    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return a model with new users, each fitted by gradient steps while all other parameters are fixed.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user; a user with an empty history is treated as unknown.
        prior : None
            Must be None; raises KindError otherwise.

        Returns
        -------
        NetworkModel
            The same model with the new users.

        Notes
        -----
        Let x be the vector and bias of a user. `models.fold_in.barzilai_borwein` minimizes over x::

            sum over ratings w loss(y(x)) + 1/2 sum_d user_penalty_d x_d^2
        """
        require_histories(histories, self.n_items)
        require_no_prior(prior)
        width = self.user_vectors.shape[1]
        unit: Float32 = (1 / np.sqrt(self.user_penalty)).astype(np.float32)
        x = np.tile(np.concatenate([self.user_vectors[-1], self.user_bias[-1]]), (len(histories) + 1, 1))

        def fold_in_row(row: int) -> None:
            history = histories.row(row)

            def objective(z: Float32) -> tuple[float, Float32]:
                value, gradient = self._history_loss(history, unit * z)
                return value + 0.5 * float(np.square(z, dtype=np.float64).sum()), unit * gradient + z

            x[row] = unit * barzilai_borwein(objective, len(unit), steps=MAX_FOLD_IN_STEPS, tolerance=FOLD_IN_TOLERANCE)

        parallel_for(fold_in_row, [int(row) for row in np.flatnonzero(histories.counts)])
        return self._with_user_arrays(x[:, :width], x[:, width:])

    def _history_loss(self, history: SparseRows, x: Float32) -> tuple[float, Float32]:
        """Return the loss summed over a user's ratings, and its gradient with respect to the user's parameters x."""
        width, items = self.user_vectors.shape[1], history.columns
        result = self.layers.forward(x[:width], self._item_contribution[items], self.item_vectors[items])
        losses, gradients = self.loss(result.outputs + x[width:] + self.item_bias[items], history.values)
        weights = np.ones(len(items), np.float32) if history.weights is None else history.weights
        gradients = weights[:, None] * gradients
        gradient = np.concatenate([result.backward(gradients), gradients.sum(axis=0)])
        return float((weights * losses).sum(dtype=np.float64)), gradient

    @one_thread_blas()
    def with_fold_in_penalty(self, histories: SparseRows) -> Self:
        """Return the model with the `user_penalty` for which trained user vectors are closest to the fold-in solution.

        The optimizer has no explicit objective for a user: Adam normalizes gradients, weight decay is decoupled, and
        the number of epochs is limited. Fold-in minimizes a loss with an L2 penalty that represents them.

        Parameters
        ----------
        histories : SparseRows
            The ratings that the model was fitted to, one row for each user.

        Returns
        -------
        NetworkModel
            The model with one penalty for the embedding and one for the bias.

        Notes
        -----
        With g_u the negative gradient of the loss with respect to the embedding (or bias) x_u of a user, the minimizer
        of `sum_u |g_u - penalty x_u|^2`, or a small positive number if it is not positive::

            penalty = sum_u g_u . x_u / sum_u |x_u|^2
        """
        require_histories(histories, self.n_items, n_rows=self.n_users)
        users, width = np.flatnonzero(histories.counts), self.user_vectors.shape[1]
        users = users[np.linspace(0, len(users) - 1, min(len(users), MAX_PENALTY_USERS)).astype(np.int64)]
        x = np.hstack([self.user_vectors, self.user_bias])[users]
        products, squares = np.zeros(x.shape[1]), np.square(x, dtype=np.float64).sum(axis=0)
        for user, vector in zip(users, x, strict=True):
            products -= vector * self._history_loss(histories.row(int(user)), vector)[1].astype(np.float64)
        penalty = np.ones(x.shape[1], np.float32)
        for part in (slice(0, width), slice(width, None)):
            total = float(squares[part].sum())
            if total > 0:
                minimum = MIN_PENALTY * len(users) * len(squares[part]) / total
                penalty[part] = max(float(products[part].sum()) / total, minimum)
        return replace(self, user_penalty=read_only(penalty))

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model with users selected from this model and another one; see `FoldsIn.with_users`.

        Parameters
        ----------
        other : NetworkModel
            A model with the same items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        NetworkModel
            A model with n users.
        """
        take = checked_take(take, self.n_users, other.n_users)
        shapes = [(m.user_vectors.shape[1], m.user_bias.shape[1:]) for m in (self, other)]
        if shapes[0] != shapes[1]:
            raise DataError("`other` must have the same embedding size and the same number of outputs as this model")
        rows = np.where(take >= 0, take, len(self.user_bias) - 1 - take)

        def select(a: Float32, b: Float32) -> Float32:
            return np.concatenate([np.concatenate([a, b])[rows], a[-1:]])

        return self._with_user_arrays(
            select(self.user_vectors, other.user_vectors), select(self.user_bias, other.user_bias)
        )

    def _with_user_arrays(self, vectors: Float32, bias: Float32) -> Self:
        other = replace(
            self,
            user_vectors=read_only(contiguous(vectors, np.float32)),
            user_bias=read_only(contiguous(bias, np.float32)),
        )
        other.__dict__["_item_contribution"] = self._item_contribution  # a cached value that depends on the items only
        return other

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the embeddings, the biases, `user_penalty` and the arrays of the layers, by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        names = ("user_vectors", "item_vectors", "user_bias", "item_bias", "user_penalty")
        return {name: getattr(self, name) for name in names} | dict(self.layers.named_arrays())

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {"scale": asdict(self.scale), "rating_range": self.rating_range, "noise": self.noise}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct a model from the output of `arrays()` and `settings()`.

        The array names determine the number of layers.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        NetworkModel
            A bitwise identical object.
        """
        n_deeper = sum(name.startswith("layer_") for name in arrays) // 2
        deeper_layers = tuple((arrays[f"layer_{k}"], arrays[f"layer_{k}_bias"]) for k in range(2, 2 + n_deeper))
        layer_names = ("user_in", "item_in", "in_bias", "out", "out_bias", "slope")
        table_names = ("user_vectors", "item_vectors", "user_bias", "item_bias", "user_penalty")
        return cls(
            **{name: arrays[name] for name in table_names},
            layers=Layers(**{name: arrays[name] for name in layer_names}, deeper_layers=deeper_layers),
            scale=checks.plain("scale", settings["scale"], Scale),
            rating_range=checks.plain("rating_range", settings["rating_range"], tuple[float, float]),
            noise=checks.plain("noise", settings["noise"], float),
        )


class LevelsNetworkModel(NetworkModel):
    """Neural network model with one output for each rating level, converted to probabilities by a softmax.

    Parameters
    ----------
    user_vectors : ndarray of shape (n_users + 1, a), float32
        User embeddings.
    item_vectors : ndarray of shape (n_items + 1, b), float32
        Item embeddings.
    user_bias : ndarray of shape (n_users + 1, levels), float32
        User biases.
    item_bias : ndarray of shape (n_items + 1, levels), float32
        Item biases.
    user_penalty : ndarray of shape (a + levels,), float32
        The L2 penalty on each entry of a user's embedding and bias in fold-in; see `NetworkModel`.
    layers : Layers
        The layers, with one output for each level.
    scale : Scale
        The scale of the ratings.
    rating_range : tuple of (float, float)
        The range of the sigmoid in `NetworkModel`; not used for predictions.
    noise : float
        Root mean squared error on the training ratings; not used in the loss.

    Notes
    -----
    Items are ranked by the expected rating r^::

        y(u, i) = user_bias[u] + item_bias[i] + layers(user_vectors[u], item_vectors[i]),    (levels,)
        mass_l = exp(y_l) / sum_k exp(y_k),    r^ = sum_l level_l mass_l

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 3, 5])
    >>> model = cofactor.NeuralMF(head="classification", epochs=1).fit(ratings)
    >>> mass = model.mass(np.int32([0, -1]), np.int32([1, 1]))
    >>> model.levels.tolist(), mass.shape, mass.sum(axis=1).round(3).tolist()
    ([1.0, 3.0, 5.0], (2, 3), [1.0, 1.0])
    """

    model_type: ClassVar[str] = "network-levels"

    @cached_property
    def levels(self) -> Float32:
        """Rating levels in ascending order, ndarray of shape (levels,), float32."""
        return np.asarray(self.scale.levels, np.float32)

    def mass(self, users: Int32, items: Int32) -> Float32:
        """Compute the probability of each rating level for each user-item pair.

        Parameters
        ----------
        users, items : ndarray of shape (n,), int32
            Row numbers; -1 is an unknown user or item.

        Returns
        -------
        ndarray of shape (n, levels), float32
            Probabilities; rows sum to 1.
        """
        return _softmax(self.outputs(users, items))

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return the predictive distribution of the rating for each user-item pair.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user. Their histories are not used.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        Distribution
        """
        users, items = checked_batch_pairs(self, users, items)
        return Distribution.of_mass(self.mass(users.rows, items), self.scale)

    @validated
    def rating(self, y: Float32) -> Float32:
        """Convert network outputs to expected ratings: the mean of the levels, weighted by the softmax of the outputs.

        Parameters
        ----------
        y : ndarray of shape (n, n_outputs), float32
            Outputs of the network, including biases.

        Returns
        -------
        ndarray of shape (n,), float32
            One value for each pair.
        """
        mean: Float32 = (_softmax(self._checked_outputs(y)) * self.levels).sum(axis=1)
        return mean

    def link(self, x: Float32) -> Float32:
        """Return ranking scores unchanged, because they are expected ratings.

        Parameters
        ----------
        x : ndarray of any shape, float32
            Scores, as `scores` returns them.

        Returns
        -------
        ndarray of the same shape, float32
        """
        return _checked_scores(x)

    @validated
    def score(self, y: Float32) -> Float32:
        """Compute the ranking scores of items: the expected ratings.

        Parameters
        ----------
        y : ndarray of shape (n, n_outputs), float32
            Outputs of the network, including biases.

        Returns
        -------
        ndarray of shape (n,), float32
            One value for each pair.
        """
        return self.rating(y)

    @validated
    def loss(self, y: Float32, values: Float32) -> tuple[Float32, Float32]:
        """Compute the cross-entropy of each rating, -log P(nearest level), and its gradient with respect to outputs.

        Parameters
        ----------
        y : ndarray of shape (n, n_outputs), float32
            Outputs of the network, including biases.
        values : ndarray of shape (n,), float32
            The ratings.

        Returns
        -------
        loss : ndarray of shape (n,), float32
            The loss of each rating.
        gradient : ndarray of shape (n, n_outputs), float32
            The gradient with respect to y.
        """
        y = self._checked_outputs(y)
        values = _checked_ratings(values, y)
        mass, nearest = _softmax(y), np.abs(values[:, None] - self.levels).argmin(axis=1)
        target = np.eye(len(self.levels), dtype=np.float32)[nearest]
        tiny_value = np.finfo(np.float32).tiny
        return -np.log(np.maximum((mass * target).sum(axis=1), tiny_value)), mass - target


def _checked_scores(x: object) -> Float32:
    """Check that scores are numbers; raises ParameterError if not."""
    scores = checks.as_array(x)
    if scores.dtype.kind not in "iuf":
        raise ParameterError(f"x must be numeric, not {checks.describe(x)}")
    with np.errstate(over="ignore"):  # a score beyond float32 is infinite
        return scores.astype(np.float32, copy=False)


def _checked_ratings(values: object, y: Float32) -> Float32:
    """Check that there is one rating for each row of outputs; raises ParameterError if not."""
    ratings = checks.float32_array("values", values, (None,))
    if len(ratings) != len(y):
        raise ParameterError(f"y and values must have the same number of rows; got {len(y):,} and {len(ratings):,}")
    return ratings


def _sigmoid(x: Float32) -> Float32:
    """Compute 1 / (1 + exp(-x)) in float32 without overflow."""
    sigmoid: Float32 = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)
    return sigmoid


def _softmax(y: Float32) -> Float32:
    exponentials = np.exp(y - y.max(axis=1, keepdims=True))
    probabilities: Float32 = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
