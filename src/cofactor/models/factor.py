"""The factor model: a vector and a bias for every user and item. SGD, ALS and plain averages all end here."""

from __future__ import annotations

from collections.abc import Mapping
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
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.ridge import Side
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import ItemIndex, first_allowed, top_items
from cofactor.models.arguments import (
    checked_batch,
    checked_batch_pairs,
    checked_known_pair,
    checked_lists,
    checked_nearest,
    checked_pairs,
    checked_prior,
    checked_take,
    require_histories,
)
from cofactor.models.explanation import Explanation, pairwise_terms, ridge_terms, split_off
from cofactor.models.fold_in import FLAT, GaussianPrior, pinned_down, sigmoid, solve_rows
from cofactor.models.losses import EventsLoss, Loss, PairwiseLoss, RatingsLoss
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["FactorModel"]


LEAST_UNIT = 1e-12
"""The least factor by which `FactorModel.rescaled` changes the unit of ratings; the largest is its inverse."""


@dataclass(frozen=True, eq=False)
class FactorModel:
    """x(u, i) = mean + user_bias[u] + item_bias[i] + user_factors[u] . item_factors[i]; ranked by x.

    A predicted rating is x itself, or low + (high - low) sigmoid(x) with `rating_range` (low, high), clipped to
    `scale`; a model of events has no scale. `loss` is what folding in minimizes (None: users differ in nothing).

        user_factors (n_users, factors) float32    user_bias (n_users,) float32
        item_factors (n_items, factors) float32    item_bias (n_items,) float32

    With factors = 0 it is biases alone. Arrays are read-only where a fit made them. Raises DataError for arrays of
    other shapes or types. Methods raise ParameterError for row numbers that do not exist, and DataError for histories
    of other items.

    >>> import numpy as np
    >>> none = np.zeros(2, np.float32)
    >>> model = FactorModel(np.float32([[2], [-1]]), np.float32([[1], [0.5]]), none, none, mean=3.0)
    >>> model.linear(np.int32([0, 0, 1]), np.int32([0, 1, 1]))
    array([5. , 4. , 2.5], dtype=float32)
    """

    kind: ClassVar[str] = "factor"

    user_factors: Float32
    item_factors: Float32
    user_bias: Float32
    item_bias: Float32
    mean: float = 0.0
    rating_range: tuple[float, float] | None = None
    scale: Scale | None = None
    loss: Loss | PairwiseLoss | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        require_array("item_factors", self.item_factors, np.float32, (None, None))
        require_array("user_factors", self.user_factors, np.float32, (None, self.item_factors.shape[1]))
        require_array("user_bias", self.user_bias, np.float32, (len(self.user_factors),))
        require_array("item_bias", self.item_bias, np.float32, (len(self.item_factors),))

    @property
    def n_users(self) -> int:
        """The rows of `user_bias`, known or folded in."""
        return len(self.user_bias)

    @property
    def n_items(self) -> int:
        """The rows of `item_bias`: the catalog."""
        return len(self.item_bias)

    @property
    def factors(self) -> int:
        """The width of a vector; 0 where there are biases alone."""
        return int(self.item_factors.shape[1])

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 says that nothing links the user to the item: True after ImplicitALS."""
        return isinstance(self.loss, EventsLoss)

    def __repr__(self) -> str:
        return f"FactorModel({self.n_users:,} users, {self.n_items:,} items, {self.factors} factors)"

    # predicting

    @validated
    def linear(self, users: Int32, items: Int32) -> Float32:
        """x for each pair, (n,) float32; what is unknown (row -1) has no vector and a bias of 0.

        users, items (n,) int32. Raises ParameterError for a row that is not there.
        """
        users, items = checked_pairs(self, users, items)
        known_user, known_item = users >= 0, items >= 0
        u, i = np.maximum(users, 0), np.maximum(items, 0)
        x = np.full(len(users), np.float32(self.mean))
        if self.n_users:
            x += np.where(known_user, self.user_bias[u], np.float32(0))
        x += np.where(known_item, self.item_bias[i], np.float32(0))
        both = known_user & known_item
        if self.factors and both.all():
            x += pair_dots(self.user_factors, self.item_factors, u, i)
        elif self.factors and both.any():
            x[both] += pair_dots(self.user_factors, self.item_factors, u[both], i[both])
        return x

    def link(self, x: Float32) -> Float32:
        """The rating before clipping, (n,) float32: low + (high - low) sigmoid(x), or x itself without a range."""
        x = checks.as_array(x)
        if x.dtype.kind not in "iuf":
            raise ParameterError(f"x must be numbers, not {checks.shown(x)}")
        if self.rating_range is None:
            return x
        low, high = self.rating_range
        return (low + (high - low) * sigmoid(x)).astype(np.float32)

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict a rating for each user and item, the link of x clipped to the scale: (n,) float32.

        Histories are not used: users are their vectors.
        """
        users, items = checked_batch_pairs(self, users, items)
        predicted = self.link(self.linear(users.rows, items))
        return predicted if self.scale is None else np.clip(predicted, self.scale.low, self.scale.high)

    @validated
    def rescaled(self, unit: float, scale: Scale | None) -> Self:
        """The same model for ratings in a unit `unit` times smaller: it predicts `unit` times as much.

        Parameters
        ----------
        unit : float
            How many of the new units are in one of the old, from 1e-12 to 1e12.
        scale : Scale or None
            The scale in the new unit.

        Returns
        -------
        FactorModel
            A model whose users fold in to their own rows as before; itself where `unit` is 1.

        Examples
        --------
        >>> none = np.zeros(1, np.float32)
        >>> model = FactorModel(np.float32([[2]]), np.float32([[1]]), none, none, mean=3.0)
        >>> model.rescaled(4.0, None).predict(UserBatch.folded(SparseRows.empty(1)), np.int32([0])).tolist()
        [20.0]
        """
        checks.finite_number("unit", unit, low=LEAST_UNIT, high=1 / LEAST_UNIT)
        if unit == 1:
            return replace(self, scale=scale)
        linear = self.rating_range is None
        loss = self.loss.rescaled(unit, linear=linear) if isinstance(self.loss, RatingsLoss) else self.loss
        if self.rating_range is not None:
            low, high = self.rating_range
            return replace(self, rating_range=(low * unit, high * unit), scale=scale, loss=loss)
        root, times = np.float32(np.sqrt(unit)), np.float32(unit)
        return replace(
            self,
            user_factors=read_only(self.user_factors * root),
            item_factors=read_only(self.item_factors * root),
            user_bias=read_only(self.user_bias * times),
            item_bias=read_only(self.item_bias * times),
            mean=self.mean * unit,
            scale=scale,
            loss=loss,
        )

    # ranking

    @cached_property
    def _index(self) -> ItemIndex:
        return ItemIndex.of(self.item_factors, self.item_bias)

    @cached_property
    def _directions(self) -> tuple[Float32, ItemIndex]:
        """Item factors of length 1, as vectors and arranged for ranking: cosine is their dot product."""
        unit = _unit_rows(self.item_factors)
        return unit, ItemIndex.of(unit, np.zeros(self.n_items, np.float32))

    def scores(self, users: UserBatch) -> Float32:
        """Compute x for every item: ndarray of shape (n_users, n_items), float32; `top` does not need this matrix.

        Histories are not used: users are their vectors.
        """
        users, each = checked_batch(self, users), np.arange(self.n_items, dtype=np.int32)
        pairs = np.repeat(users.rows, self.n_items), np.tile(each, len(users))
        return self.linear(*pairs).reshape(len(users), self.n_items)

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """The n best items of each user by x, exactly, as `ScoresItems.top` says; see `kernels.topk`.

        Histories are not used: users are their vectors.
        """
        users, n, exclude, allowed, order = checked_lists(self, users, n, exclude, allowed, order)
        vectors = contiguous(self.user_factors[users.rows], np.float32)
        rows, scores = top_items(
            vectors, self._index, n, seen_start=exclude.start, seen=exclude.columns, allowed=allowed
        )
        if len(order) and self.zero_is_unknown and not (self.factors and vectors[:, 0].all()):
            for a in np.flatnonzero(~vectors.any(axis=1)):  # every score of such a user is 0
                rows[a] = first_allowed(order.rows, n, exclude.row(int(a)).columns, allowed)
        return rows, scores + (np.float32(self.mean) + self.user_bias[users.rows])[:, None]

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """The n items of most similar direction (cosine of factors, biases apart), the item itself left out.

        Rows and cosines (n_asked, n), best first; -1 and -inf where there are no more. Without a direction, a vector of
        zeros, the cosine is 0. allowed: as in `top`.
        """
        items, n, allowed = checked_nearest("items", items, self.n_items, n, allowed)
        unit, index = self._directions
        return _nearest(unit, index, items, n, allowed)

    def similar_users(self, users: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """The n users of most similar direction (cosine of factors), the user left out; see `similar_items`.

        allowed: (n_users,) bool, empty for all.
        """
        users, n, allowed = checked_nearest("users", users, self.n_users, n, allowed)
        unit = _unit_rows(self.user_factors)
        return _nearest(unit, ItemIndex.of(unit, np.zeros(self.n_users, np.float32)), users, n, allowed)

    # reasons

    @one_thread_blas()
    def explain(self, users: UserBatch, item: int) -> Explanation:
        """What each item of the history adds, by the equations that the user's vector solves; see `explanation`.

        Nothing is left over where they were solved exactly (ALS, a newcomer). A sigmoid's are those of the Gauss-Newton
        step that leaves the vector where it is; pairs' are told in `pairwise_terms`. There are no terms without factors
        or without a history.
        """
        user, item, history = checked_known_pair(self, users, item)
        score = float(self.linear(users.rows, np.array([item], np.int32))[0])
        taste = self.user_factors[user].astype(np.float64)
        dot = float(taste @ self.item_factors[item])
        rows, terms = self._terms(user, item, history)
        return Explanation(
            score,
            self.mean,
            float(self.user_bias[user]),
            float(self.item_bias[item]),
            rows,
            terms,
            split_off(float(terms.sum()), dot, terms),
        )

    def _terms(self, user: int, item: int, history: SparseRows) -> tuple[Int32, Float64]:
        """Items of the history and what each adds to p_u . q_i."""
        if self.loss is None or self.factors == 0 or len(history.columns) == 0:
            return np.zeros(0, np.int32), np.zeros(0)
        if isinstance(self.loss, PairwiseLoss):
            events, weights = self.loss.entries(history)
            weights = weights if len(weights) else np.ones(len(events.columns), np.float32)
            p, Q, goal = self.user_factors[user], self.item_factors, self.item_factors[item]
            n_negatives = self.loss.n_negatives
            return events.columns, pairwise_terms(
                p, Q, self.item_bias, events.columns, weights, goal, n_negatives=n_negatives
            )
        entries, side, k = self.loss.entries(history), self._side, self.factors
        features = side.features[entries.columns].astype(np.float64)
        confidence, targets = side.targets(entries)
        if self.rating_range is not None:
            own = np.zeros(features.shape[1])
            own[:k], own[k : k + 1] = self.user_factors[user], self.user_bias[user]
            low, high = self.rating_range
            z = features @ own
            share = sigmoid((z + side.offset[entries.columns]).astype(np.float32))
            slope = np.maximum((high - low) * share * (1 - share), FLAT * (high - low))
            pull = (entries.values - (low + (high - low) * share)) / slope
            targets, confidence = (z + pull).astype(np.float32), (confidence * slope**2).astype(np.float32)
        goal = np.zeros(features.shape[1])
        goal[:k] = self.item_factors[item]
        ridge = float(self.loss.penalty(entries.counts, self.n_items)[0]) * side.shape + side.precision
        return entries.columns, ridge_terms(features, targets, confidence, goal, gram=side.gram, ridge=ridge)

    @cached_property
    def _side(self) -> Side:
        """The items as a user's equations see them."""
        assert self.loss is not None
        assert not isinstance(self.loss, PairwiseLoss)
        return pinned_down(self.loss.side(self.item_factors, self.item_bias, self.mean), self.rating_range)

    # newcomers

    @one_thread_blas()
    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Fold in new users with the items fixed: the problem that training solved.

        Linear models take one exact half-step; sigmoid models take Gauss-Newton steps from zero, each a weighted
        half-step; pairwise models take the steps of training from zero on fixed samples of negatives.

        Parameters
        ----------
        histories : SparseRows
            A row for each new user.
        prior : GaussianPrior, optional
            Replaces the penalty of training. A user without a history gets its mean; without a prior, zero.

        Returns
        -------
        FactorModel
            The same model with these users.

        Raises
        ------
        KindError
            For a prior of a pairwise model or of a model without user vectors.
        """
        n, k = len(require_histories(histories, self.n_items)), self.factors
        if prior is not None:
            loss = self._least_squares
            return self._with_solved(self._solved(loss.entries(histories), checked_prior(*prior, n, self._width)))
        if self.loss is None:
            return self.with_user_arrays(np.zeros((n, k), np.float32), np.zeros(n, np.float32))
        if isinstance(self.loss, PairwiseLoss):
            users = self.loss.users(histories, self.item_factors, self.item_bias)
            return self.with_user_arrays(users, np.zeros(n, np.float32))
        return self._with_solved(self._solved(self.loss.entries(histories), None))

    @one_thread_blas()
    def fold_in_items(self, raters: SparseRows, prior: GaussianPrior) -> tuple[Float32, Float32]:
        """Vectors and biases of new items, from who rated them how, the users held: (n, factors), (n,) float32.

        raters: a row for each new item, its columns are users. Otherwise as `fold_in`; a model of pairs, which
        has no least squares, takes new items as the prior alone has them.
        """
        require_histories(raters, self.n_users, name="raters")
        if isinstance(self.loss, PairwiseLoss):
            x = checked_prior(*prior, len(raters), self.factors + 1).means.astype(np.float32)
            return x[:, : self.factors], x[:, self.factors]
        loss, prior = self._least_squares, checked_prior(*prior, len(raters), self._width)
        side = pinned_down(loss.side(self.user_factors, self.user_bias, self.mean), self.rating_range)
        nothing = np.zeros(len(raters), np.float32)
        x = solve_rows(loss.entries(raters), nothing, side, self.rating_range, prior)
        return x[:, : self.factors], x[:, self.factors] if self._has_bias else nothing

    def _solved(self, entries: SparseRows, prior: GaussianPrior | None) -> Float32:
        penalty = self._least_squares.penalty(entries.counts, self.n_items)
        return solve_rows(entries, penalty, self._side, self.rating_range, prior)

    @property
    def _least_squares(self) -> RatingsLoss | EventsLoss:
        if self.loss is None or isinstance(self.loss, PairwiseLoss):
            raise KindError("a prior needs vectors learnt from least squares: biased-mf, explicit-als or implicit-als")
        return self.loss

    @property
    def _has_bias(self) -> bool:
        return isinstance(self.loss, RatingsLoss) and self.loss.l2_bias is not None

    @property
    def _width(self) -> int:
        """The width of what least squares learn of a user or item."""
        return self.factors + self._has_bias

    def _with_solved(self, x: Float32) -> Self:
        bias = x[:, self.factors] if self._has_bias else np.zeros(len(x), np.float32)
        return self.with_user_arrays(x[:, : self.factors], bias)

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Users picked from this model (take >= 0) and from `other` (row -1 - take)."""
        if other.factors != self.factors:
            raise ParameterError(f"other must have {self.factors} factors, not {other.factors}")
        take = checked_take(take, self.n_users, other.n_users)
        mine, theirs = np.maximum(take, 0), np.maximum(-1 - take, 0)
        own = take >= 0

        def picked(a: Float32, b: Float32) -> Float32:
            out = np.empty((len(take), *a.shape[1:]), np.float32)
            out[own], out[~own] = a[mine[own]], b[theirs[~own]]
            return out

        return self.with_user_arrays(
            picked(self.user_factors, other.user_factors), picked(self.user_bias, other.user_bias)
        )

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> Self:
        """Items picked from this model (take >= 0) and from new ones (row -1 - take); the users stay."""
        factors = checks.float32_array("factors", factors, (None, self.factors))
        bias = checks.float32_array("bias", bias, (len(factors),))
        take = checked_take(take, self.n_items, len(factors))
        rows = np.where(take >= 0, take, self.n_items - 1 - take)
        return replace(
            self,
            item_factors=read_only(contiguous(np.concatenate([self.item_factors, factors])[rows], np.float32)),
            item_bias=read_only(contiguous(np.concatenate([self.item_bias, bias])[rows], np.float32)),
        )

    @validated
    def with_user_arrays(self, factors: Float32, bias: Float32) -> Self:
        """The same items with these users: factors (n, k) float32, bias (n,) float32."""
        factors = checks.float32_array("factors", factors, (None, self.factors))
        bias = checks.float32_array("bias", bias, (len(factors),))
        other = replace(self, user_factors=read_only(factors), user_bias=read_only(bias))
        for made in ("_index", "_side"):  # the items are the same, and so is what was made of them
            if made in self.__dict__:
                other.__dict__[made] = self.__dict__[made]
        return other

    # files

    def arrays(self) -> dict[str, NDArray[Any]]:
        """p, q, b_u and b_i, as user_factors, item_factors, user_bias and item_bias."""
        names = ("user_factors", "item_factors", "user_bias", "item_bias")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> dict[str, Any]:
        """mean, the sigmoid's ends, the scale, and the loss by its name and parameters."""
        loss = None if self.loss is None else {"kind": type(self.loss).__name__, **asdict(self.loss)}
        return {
            "mean": self.mean,
            "rating_range": self.rating_range,
            "scale": None if self.scale is None else asdict(self.scale),
            "loss": loss,
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The model of a file, with the loss it was trained with, so that it folds in as before."""
        loss = settings["loss"]
        losses: dict[str, Any] = {kind.__name__: kind for kind in (RatingsLoss, EventsLoss, PairwiseLoss)}
        own = None if loss is None else {name: value for name, value in loss.items() if name != "kind"}
        return cls(
            user_factors=arrays["user_factors"],
            item_factors=arrays["item_factors"],
            user_bias=arrays["user_bias"],
            item_bias=arrays["item_bias"],
            mean=checks.plain("mean", settings["mean"], float),
            rating_range=checks.plain("rating_range", settings["rating_range"], tuple[float, float] | None),
            scale=checks.plain("scale", settings["scale"], Scale | None),
            loss=None if loss is None else checks.plain("loss", own, losses[loss["kind"]]),
        )


def _unit_rows(factors: Float32) -> Float32:
    """Rows scaled to length 1; a zero row stays zero (and is similar to nothing)."""
    length = np.linalg.norm(factors.astype(np.float64), axis=1, keepdims=True)
    return contiguous(np.divide(factors, length, out=np.zeros(factors.shape), where=length > 0), np.float32)


def _nearest(unit: Float32, index: ItemIndex, rows: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
    start = np.arange(len(rows) + 1, dtype=np.int64)
    asked = contiguous(rows, np.int32)
    return top_items(unit[asked], index, n, seen_start=start, seen=asked, allowed=allowed)
