"""The network model: embeddings of users and items through a few layers. Learnt with torch, served without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    Float64,
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
from cofactor.models.barzilai_borwein import descended
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.layers import Layers
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["LevelsNetworkModel", "NetworkModel"]

FOLD_IN_STEPS = 30
"""At most, for a newcomer: most stand still after a dozen."""
FOLD_IN_NEAR = 0.02
"""How near the minimum is near enough: at most so many standard deviations of the trained users away from it."""
PAIRS = 1024
"""So many pairs are worked out at a time: bounds the memory, changes no result."""


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """x(u, i) = user_bias[u] + item_bias[i] + layers(user_vectors[u], item_vectors[i]); ranked by x.

    The predicted rating is low + (high - low) sigmoid(x), clipped to `scale`. The last row of every table stands for
    whoever is not known; so row -1, as everywhere, is an unknown user or item. See `models.layers` for the layers.

        user_vectors (n_users + 1, a)    user_bias (n_users + 1, ends)
        item_vectors (n_items + 1, b)    item_bias (n_items + 1, ends)    ends: 1 here
        user_spread (a + ends, a + ends): S, with S S' the mean of d d' over the trained users, d from the unknown one
        noise: root mean square error on the training ratings

    It has no distribution: `noise` is one width for every pair, which could order nothing cautiously, and is too narrow
    for ratings not trained on. It only weighs a newcomer's ratings against the prior. Sources: see `NeuralMF`.

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

    kind: ClassVar[str] = "network"

    user_vectors: Float32
    item_vectors: Float32
    user_bias: Float32
    item_bias: Float32
    user_spread: Float32
    layers: Layers
    scale: Scale
    rating_range: tuple[float, float]
    noise: float

    def __post_init__(self) -> None:
        require_valid_fields(self)
        layers = self.layers
        ends = len(layers.out_bias)
        require_array("user_bias", self.user_bias, np.float32, (None, ends))
        require_array("item_bias", self.item_bias, np.float32, (None, ends))
        if not (len(self.user_bias) and len(self.item_bias)):
            raise DataError("user_bias and item_bias must have a last row, for those who are unknown")
        a, b = len(layers.user_in), len(layers.item_in)
        require_array("user_vectors", self.user_vectors, np.float32, (len(self.user_bias), a))
        require_array("item_vectors", self.item_vectors, np.float32, (len(self.item_bias), b))
        require_array("user_spread", self.user_spread, np.float32, (a + ends, a + ends))

    @property
    def n_users(self) -> int:
        """The rows of `user_bias`, the unknown user's left out."""
        return len(self.user_bias) - 1

    @property
    def n_items(self) -> int:
        """The rows of `item_bias`, the unknown item's left out: the catalog."""
        return len(self.item_bias) - 1

    @property
    def zero_is_unknown(self) -> bool:
        """False: an output of 0 is an output as any other."""
        return False

    def __repr__(self) -> str:
        widths = f"{self.user_vectors.shape[1]} + {self.item_vectors.shape[1]}"
        return f"{type(self).__name__}({self.n_users:,} users, {self.n_items:,} items, {widths} factors)"

    def summary(self) -> str:
        """A table of what was learnt: the name, shape and number of parameters of every array, and their sum."""
        learnt = {name: array for name, array in self.arrays().items() if name not in ("user_spread", "slope")}
        rows = [(name, " x ".join(map(str, array.shape)), f"{array.size:,}") for name, array in learnt.items()]
        rows = [("array", "shape", "parameters"), *rows]
        rows.append(("all", "", f"{sum(array.size for array in learnt.values()):,}"))
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows)

    # the head: from the network's end to a rating, a score and a loss

    @validated
    def rating(self, y: Float32) -> Float32:
        """The expected rating, before clipping: low + (high - low) sigmoid(y), (n, ends) to (n,)."""
        low, high = self.rating_range
        rating: Float32 = (low + (high - low) * _sigmoid(self._ends(y)[:, 0])).astype(np.float32)
        return rating

    @validated
    def ranked_by(self, y: Float32) -> Float32:
        """The score: x itself, (n, ends) to (n,)."""
        score: Float32 = self._ends(y)[:, 0]
        return score

    @validated
    def loss(self, y: Float32, values: Float32) -> tuple[Float32, Float32]:
        """(r - r^)^2 / (2 noise^2) of each rating, (n,), and its gradient by y, (n, ends): float32."""
        low, high = self.rating_range
        y = self._ends(y)
        values = _ratings(values, y)
        s = _sigmoid(y[:, 0])
        error = (low + (high - low) * s - values) / np.float32(self.noise)
        slope = error * s * (1 - s) * np.float32((high - low) / self.noise)
        return (error**2 / 2).astype(np.float32), slope[:, None].astype(np.float32)

    def _ends(self, y: Any) -> Float32:
        """Outputs of the network, (n, ends) float32. Raises ParameterError for anything else."""
        ends = self.user_bias.shape[1]
        return checks.float32_array("y", y, (None, ends))

    # predicting

    def outputs(self, users: Int32, items: Int32) -> Float32:
        """The network's end for each pair of rows, biases added: (n, ends) float32; (0, ends) for no pairs."""
        users, items = checked_pairs(self, users, items)
        y = np.empty((len(users), self.user_bias.shape[1]), np.float32)
        for first in range(0, len(users), PAIRS):
            u, i = users[first : first + PAIRS], items[first : first + PAIRS]
            part = self.layers.outputs(self.user_vectors[u], self.item_vectors[i], self._item_part[i])
            y[first : first + PAIRS] = part + self.user_bias[u] + self.item_bias[i]
        return y

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating for each user and item, clipped to the scale: (n,) float32. Histories are not used."""
        users, items = checked_batch_pairs(self, users, items)
        ratings: Float32 = np.clip(self.rating(self.outputs(users.rows, items)), self.scale.low, self.scale.high)
        return ratings

    @cached_property
    def _item_part(self) -> Float32:
        """What an item adds to the first layer: (n_items + 1, width)."""
        return self.layers.item_part(self.item_vectors)

    # ranking

    def scores(self, users: UserBatch) -> Float32:
        """Score every item, a pass through the layers for each: ndarray of shape (n_users, n_items), float32.

        Histories are not used: users are their vectors.
        """
        return self._scores(checked_batch(self, users).rows)

    def _scores(self, rows: Int32) -> Float32:
        scores = np.empty((len(rows), self.n_items), np.float32)
        items = np.arange(self.n_items, dtype=np.int32)
        for k, u in enumerate(rows):
            scores[k] = self.ranked_by(self.outputs(np.full(self.n_items, u, np.int32), items))
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
        """The n best items of each user, exactly, as `ScoresItems.top` says; see `kernels.topk_dense`."""
        users, n, exclude, allowed, _ = checked_lists(self, users, n, exclude, allowed, order)

        def scores(first: int, last: int) -> Float32:
            return self._scores(users.rows[first:last])

        return top_of_blocks(scores, self.n_items, n, exclude=exclude, allowed=allowed)

    @cached_property
    def _directions(self) -> Float32:
        """Item vectors of length 1 (a zero row stays zero): (n_items + 1, b)."""
        length = np.linalg.norm(self.item_vectors, axis=1, keepdims=True)
        unit: Float32 = np.divide(self.item_vectors, length, out=np.zeros_like(self.item_vectors), where=length > 0)
        return unit

    def item_similarity(self, items: Int32) -> Float32:
        """The cosine of the items' vectors within each row: (m, c) gives (m, c, c) float32; 0 for row -1."""
        items = checked_item_lists(self, items)
        vectors = np.where((items >= 0)[:, :, None], self._directions[items], np.float32(0))
        cosines: Float32 = np.einsum("mcd,med->mce", vectors, vectors)
        return cosines

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """The n items of most similar direction (cosine of vectors, biases apart), the item itself left out.

        Rows and cosines (n_asked, n), best first; -1 and -inf where there are no more. allowed: as in `top`.
        """
        items, n, allowed = checked_nearest("items", items, self.n_items, n, allowed)
        every = np.ascontiguousarray(self._directions[:-1].T)

        def cosines(first: int, last: int) -> Float32:
            asked = self._directions[items[first:last]]
            return dense(asked, every, np.zeros(self.n_items, np.float32))

        itself = SparseRows(np.arange(len(items) + 1), contiguous(items, np.int32), np.ones(len(items), np.float32))
        return top_of_blocks(cosines, self.n_items, n, exclude=itself, allowed=allowed)

    # reasons

    @one_thread_blas()
    def explain(self, users: UserBatch, item: int) -> Explanation:
        """How much the score falls without each item of the history, the user worked out anew each time.

        The unknown user and the unknown item are what `mean` and `item` start from; layers have no parts of a sum, so
        what the falls do not add up to is in `rest`. A history of m items takes m + 1 foldings in; an empty one has no
        terms.
        """
        user, item, history = checked_known_pair(self, users, item)
        m = len(history.columns)
        kept = np.concatenate([np.zeros(0, np.int64), *(np.delete(np.arange(m), j) for j in range(m))])
        weights = None if history.weights is None else history.weights[kept]
        start = np.arange(m + 1, dtype=np.int64) * max(m - 1, 0)
        others = SparseRows(start, history.columns[kept], history.values[kept], weights)
        without = self.fold_in(others)._score(np.arange(m), item)
        whole = self.fold_in(history)._score(np.zeros(1), item)[0]
        score, mean = self._score(np.array([user]), item)[0], self._score(np.array([-1]), -1)[0]
        its, terms = self._score(np.array([-1]), item)[0] - mean, whole - without
        rest = float(score - mean - its - terms.sum())
        return Explanation(float(score), float(mean), 0.0, float(its), history.columns, terms, rest, "leave-one-out")

    def _score(self, users: Any, item: int) -> Float64:
        """What these users' rows (-1: unknown) have for one item: (n,) float64."""
        rows = np.asarray(users, np.int32)
        return self.ranked_by(self.outputs(rows, np.full(len(rows), item, np.int32))).astype(np.float64)

    # newcomers

    @one_thread_blas()
    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Users worked out from their histories, everything else held, by a few gradient steps.

        See `models.barzilai_borwein`.

            minimize over z:  sum over ratings w loss(y(x)) + 1/2 |z|^2,    x = unknown + S z

        with x the user's vector and bias: who has no history is the unknown user. Each user is worked out alone.
        """
        require_histories(histories, self.n_items)
        require_no_prior(prior)
        width, unknown = self.user_vectors.shape[1], np.concatenate([self.user_vectors[-1], self.user_bias[-1]])
        x = np.tile(unknown, (len(histories) + 1, 1))

        def work_out(row: int) -> None:
            slope = self._slope(histories.row(row), unknown)
            x[row] += self.user_spread @ descended(slope, len(unknown), steps=FOLD_IN_STEPS, near=FOLD_IN_NEAR)

        parallel_for(work_out, [int(row) for row in np.flatnonzero(histories.counts)])
        return self._with_user_arrays(x[:, :width], x[:, width:])

    def _slope(self, history: SparseRows, unknown: Float32) -> Callable[[Float32], tuple[float, Float32]]:
        """What `fold_in` minimizes for one user, and its gradient, by z."""
        width, items = self.user_vectors.shape[1], history.columns
        q, part, bias = self.item_vectors[items], self._item_part[items], self.item_bias[items]
        weights = np.ones(len(items), np.float32) if history.weights is None else history.weights

        def slope(z: Float32) -> tuple[float, Float32]:
            x = unknown + self.user_spread @ z
            end = self.layers.linearized(x[:width], part, q)
            losses, pull = self.loss(end.outputs + x[width:] + bias, history.values)
            pull = weights[:, None] * pull
            gradient = np.concatenate([end.pulled_back(pull), pull.sum(axis=0)])
            value = (weights * losses).sum(dtype=np.float64) + 0.5 * np.square(z, dtype=np.float64).sum()
            return float(value), self.user_spread.T @ gradient + z

        return slope

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Users picked from this model (take >= 0) and from `other` (row -1 - take); the unknown one stays."""
        take = checked_take(take, self.n_users, other.n_users)
        shapes = [(m.user_vectors.shape[1], m.user_bias.shape[1:]) for m in (self, other)]
        if shapes[0] != shapes[1]:
            raise DataError("other must be a model with embeddings of the same width")
        rows = np.where(take >= 0, take, len(self.user_bias) - 1 - take)

        def picked(a: Float32, b: Float32) -> Float32:
            return np.concatenate([np.concatenate([a, b])[rows], a[-1:]])

        return self._with_user_arrays(
            picked(self.user_vectors, other.user_vectors), picked(self.user_bias, other.user_bias)
        )

    def _with_user_arrays(self, vectors: Float32, bias: Float32) -> Self:
        other = replace(
            self,
            user_vectors=read_only(contiguous(vectors, np.float32)),
            user_bias=read_only(contiguous(bias, np.float32)),
        )
        other.__dict__["_item_part"] = self._item_part  # the items are the same
        return other

    # files

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Vectors and biases, the spread of users, and the layers by the names of `Layers.parts`."""
        names = ("user_vectors", "item_vectors", "user_bias", "item_bias", "user_spread")
        return {name: getattr(self, name) for name in names} | dict(self.layers.parts())

    def settings(self) -> dict[str, Any]:
        """The scale, the sigmoid's ends and the noise."""
        return {"scale": asdict(self.scale), "rating_range": self.rating_range, "noise": self.noise}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The model of a file; how many layers there are is told by the arrays' names."""
        n_deeper = sum(name.startswith("layer_") for name in arrays) // 2
        deeper = tuple((arrays[f"layer_{k}"], arrays[f"layer_{k}_bias"]) for k in range(2, 2 + n_deeper))
        ends = ("user_in", "item_in", "in_bias", "out", "out_bias", "slope")
        tables = ("user_vectors", "item_vectors", "user_bias", "item_bias", "user_spread")
        return cls(
            **{name: arrays[name] for name in tables},
            layers=Layers(**{name: arrays[name] for name in ends}, deeper=deeper),
            scale=checks.plain("scale", settings["scale"], Scale),
            rating_range=checks.plain("rating_range", settings["rating_range"], tuple[float, float]),
            noise=checks.plain("noise", settings["noise"], float),
        )


class LevelsNetworkModel(NetworkModel):
    """The network that ends in one number for each level of the scale: a softmax makes them a mass function.

        y(u, i) = user_bias[u] + item_bias[i] + layers(user_vectors[u], item_vectors[i]),    (levels,)
        mass_l = exp(y_l) / sum_k exp(y_k),    r^ = sum_l level_l mass_l

    Items are ranked by r^. Arrays as `NetworkModel` has them, with ends = levels.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 3, 5])
    >>> model = cofactor.NeuralMF(head="classification", epochs=1).fit(ratings)
    >>> mass = model.mass(np.int32([0, -1]), np.int32([1, 1]))
    >>> model.levels.tolist(), mass.shape, mass.sum(axis=1).round(3).tolist()
    ([1.0, 3.0, 5.0], (2, 3), [1.0, 1.0])
    """

    kind: ClassVar[str] = "network-levels"

    @cached_property
    def levels(self) -> Float32:
        """The levels of the scale, ascending: (levels,) float32."""
        return np.asarray(self.scale.levels, np.float32)

    def mass(self, users: Int32, items: Int32) -> Float32:
        """The probability of each level for each pair of rows: (n, levels) float32, rows sum to 1."""
        return _softmax(self.outputs(users, items))

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return the mass function of each user and item; see `Distribution.of_mass`. Histories are not used."""
        users, items = checked_batch_pairs(self, users, items)
        return Distribution.of_mass(self.mass(users.rows, items), self.scale)

    @validated
    def rating(self, y: Float32) -> Float32:
        """sum_l level_l softmax(y)_l: (n, levels) to (n,)."""
        mean: Float32 = (_softmax(self._ends(y)) * self.levels).sum(axis=1)
        return mean

    @validated
    def ranked_by(self, y: Float32) -> Float32:
        """The expected rating, which is not clipped: it lies on the scale anyway."""
        return self.rating(y)

    @validated
    def loss(self, y: Float32, values: Float32) -> tuple[Float32, Float32]:
        """The cross-entropy, -log mass of the level nearest to each rating, (n,); its gradient by y, (n, levels)."""
        y = self._ends(y)
        values = _ratings(values, y)
        mass, nearest = _softmax(y), np.abs(values[:, None] - self.levels).argmin(axis=1)
        hit = np.eye(len(self.levels), dtype=np.float32)[nearest]
        tiny = np.finfo(np.float32).tiny
        return -np.log(np.maximum((mass * hit).sum(axis=1), tiny)), mass - hit


def _ratings(values: Any, y: Float32) -> Float32:
    """A rating for each row of outputs. Raises ParameterError for anything else."""
    ratings = checks.float32_array("values", values, (None,))
    if len(ratings) != len(y):
        raise ParameterError(f"y and values must have the same number of rows, not {len(y):,} and {len(ratings):,}")
    return ratings


def _sigmoid(x: Float32) -> Float32:
    """1 / (1 + exp(-x)), written so that nothing overflows."""
    sigmoid: Float32 = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)
    return sigmoid


def _softmax(y: Float32) -> Float32:
    powers = np.exp(y - y.max(axis=1, keepdims=True))
    shares: Float32 = powers / powers.sum(axis=1, keepdims=True)
    return shares
