"""Factor model: a vector and a bias for each user and item, as fitted by SGD, ALS, BPR and the bias estimators."""

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
    Int32,
    ItemOrder,
    contiguous,
    read_only,
    require_array,
)
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.ridge import RidgeInputs
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import first_allowed
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
from cofactor.models.explanation import Explanation, unattributed_rest
from cofactor.models.fold_in import GaussianPrior, shift_with_new_items, sigmoid, with_minimal_penalty
from cofactor.models.item_search import ItemSearch
from cofactor.models.losses import EventsLoss, LeastSquaresLoss, Loss, PairwiseLoss, RatingsLoss
from cofactor.models.similarity import list_cosines
from cofactor.models.user_batch import UserBatch
from cofactor.results import ItemIndexName
from cofactor.validation import require_valid_fields, validated

__all__ = ["FactorModel"]

MIN_UNIT = 1e-15
"""The smallest `unit` that `FactorModel.rescaled` accepts; the largest is its inverse."""

UNIT_ROWS = 1 << 16
"""The number of vectors that are scaled to unit length at a time."""

LOSSES: dict[str, type[Loss]] = {loss.__name__: loss for loss in (RatingsLoss, EventsLoss, PairwiseLoss)}
"""Loss classes by their names in model files."""


@dataclass(frozen=True, eq=False)
class FactorModel:
    """Factor model: a user-item pair's score is the mean plus both biases plus the dot product of both vectors.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, factors), float32
        A vector for each user; if factors = 0, the model has only biases.
    item_factors : ndarray of shape (n_items, factors), float32
        A vector for each item.
    user_bias : ndarray of shape (n_users,), float32
        A bias for each user.
    item_bias : ndarray of shape (n_items,), float32
        A bias for each item.
    mean : float, default 0
        The global mean.
    rating_range : tuple of (float, float), optional
        The range (low, high) of the sigmoid; None for a linear model.
    scale : Scale, optional
        The scale that predictions are clipped to; None for an event model.
    loss : RatingsLoss, EventsLoss or PairwiseLoss, optional
        The loss that fold-in minimizes; None if all users are identical.
    untrained : ndarray of shape (n_items,), bool, optional
        Mask of the items that were added by `with_items`. When users of an event model are folded in, as in training,
        they do not count as items without an event.
    item_shift : ndarray of shape (n_items,), float32, optional
        Differences between the item biases of a baseline and those of the model, for users who were folded in with few
        ratings or events; see `models.prior`. None if there are no such users.
    user_shift : ndarray of shape (n_users,), float32, optional
        The weight of `item_shift` for each user, 0 for users of the training.
    untrained_users : ndarray of shape (n_users,), bool, optional
        Mask of the users who were folded in and added by `with_users`, among trained users. None if there are none.

    Raises
    ------
    DataError
        If an array has the wrong shape or dtype. Methods raise ParameterError if a row number is out of range, and
        DataError if histories do not match the items of the model.

    Notes
    -----
    ::

        x(u, i) = mean + user_bias[u] + item_bias[i] + user_shift[u] item_shift[i] + user_factors[u] . item_factors[i]

    The predicted rating is x, or low + (high - low) sigmoid(x), clipped to the scale. Estimators return models with
    read-only arrays.

    Examples
    --------
    >>> import numpy as np
    >>> zeros = np.zeros(2, np.float32)
    >>> model = FactorModel(np.float32([[2], [-1]]), np.float32([[1], [0.5]]), zeros, zeros, mean=3.0)
    >>> model.raw_scores(np.int32([0, 0, 1]), np.int32([0, 1, 1]))
    array([5. , 4. , 2.5], dtype=float32)
    """

    model_type: ClassVar[str] = "factor"

    user_factors: Float32
    item_factors: Float32
    user_bias: Float32
    item_bias: Float32
    mean: float = 0.0
    rating_range: tuple[float, float] | None = None
    scale: Scale | None = None
    loss: Loss | None = None
    untrained: Bool | None = None
    item_shift: Float32 | None = None
    user_shift: Float32 | None = None
    untrained_users: Bool | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        require_array("item_factors", self.item_factors, np.float32, (None, None))
        require_array("user_factors", self.user_factors, np.float32, (None, self.item_factors.shape[1]))
        require_array("user_bias", self.user_bias, np.float32, (len(self.user_factors),))
        require_array("item_bias", self.item_bias, np.float32, (len(self.item_factors),))
        if self.untrained is not None:
            checks.mask("untrained", self.untrained, len(self.item_bias))
        if self.untrained_users is not None:
            checks.mask("untrained_users", self.untrained_users, len(self.user_bias))
        if self.item_shift is not None:
            require_array("item_shift", self.item_shift, np.float32, (len(self.item_bias),))
            require_array("user_shift", self.user_shift, np.float32, (len(self.user_bias),))

    @property
    def n_users(self) -> int:
        """Number of users in the model, trained or folded in."""
        return len(self.user_bias)

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return len(self.item_bias)

    @property
    def factors(self) -> int:
        """Number of factors, the length of each vector; 0 if the model has only biases."""
        return int(self.item_factors.shape[1])

    @property
    def _shift_weights(self) -> Float32:
        """The weight of `item_shift` for each user."""
        return np.zeros(self.n_users, np.float32) if self.user_shift is None else self.user_shift

    @property
    def zero_is_unknown(self) -> bool:
        """Whether a score of exactly 0 means no evidence about the user-item pair, as in ImplicitALS models."""
        return self.loss is not None and self.loss.zero_is_unknown

    @property
    def least_squares(self) -> LeastSquaresLoss:
        """Training loss of the model; raises KindError if the model was not fitted by least squares."""
        loss = None if self.loss is None else self.loss.least_squares
        if loss is None:
            raise KindError(
                "this model has no factors fitted by least squares; use biased-mf, explicit-als or implicit-als"
            )
        return loss

    def __repr__(self) -> str:
        return f"FactorModel({self.n_users:,} users, {self.n_items:,} items, {self.factors} factors)"

    # Prediction

    @validated
    def raw_scores(self, users: Int32, items: Int32) -> Float32:
        """Compute the raw score of each user-item pair, before the sigmoid and clipping.

        Parameters
        ----------
        users, items : ndarray of shape (n,), int32
            Row numbers; -1 is an unknown user or item, with bias 0 and no vector.

        Returns
        -------
        ndarray of shape (n,), float32

        Raises
        ------
        ParameterError
            If a row number is out of range.
        """
        users, items = checked_pairs(self, users, items)
        is_known_user, is_known_item = users >= 0, items >= 0
        u, i = np.maximum(users, 0), np.maximum(items, 0)
        x = np.full(len(users), np.float32(self.mean))
        if self.n_users:
            x += np.where(is_known_user, self.user_bias[u], np.float32(0))
        x += np.where(is_known_item, self.item_bias[i], np.float32(0))
        both_known = is_known_user & is_known_item
        if self.item_shift is not None and self.user_shift is not None and both_known.any():
            x += np.where(both_known, self.user_shift[u] * self.item_shift[i], np.float32(0))
        if self.factors and both_known.all():
            x += pair_dots(self.user_factors, self.item_factors, u, i)
        elif self.factors and both_known.any():
            x[both_known] += pair_dots(self.user_factors, self.item_factors, u[both_known], i[both_known])
        return x

    def link(self, x: Float32) -> Float32:
        """Convert raw scores to unclipped ratings by a scaled sigmoid; linear models return the scores themselves.

        Parameters
        ----------
        x : ndarray of shape (n,), float32
            Raw scores.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        x = checks.as_array(x)
        if x.dtype.kind not in "iuf":
            raise ParameterError(f"x must be numeric, not {checks.describe(x)}")
        if self.rating_range is None:
            return x
        low, high = self.rating_range
        return (low + (high - low) * sigmoid(x)).astype(np.float32)

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
        predictions = self.link(self.raw_scores(users.rows, items))
        return predictions if self.scale is None else np.clip(predictions, self.scale.low, self.scale.high)

    @validated
    def rescaled(self, unit: float, scale: Scale | None, *, shift: float = 0.0) -> Self:
        """Return an equivalent model for ratings that are multiplied by `unit` and then shifted.

        Parameters
        ----------
        unit : float
            The multiplier, from 1e-15 to 1e15.
        scale : Scale or None
            The scale of the new ratings.
        shift : float, default 0
            The value added to the ratings after the multiplication.

        Returns
        -------
        FactorModel
            A model that predicts `unit` times the rating plus `shift`. Folding in a user's rescaled history gives the
            vector of that user in this model.

        Examples
        --------
        >>> import numpy as np
        >>> zeros = np.zeros(1, np.float32)
        >>> model = FactorModel(np.float32([[2]]), np.float32([[1]]), zeros, zeros, mean=3.0)
        >>> model.rescaled(4.0, None, shift=-2.0).raw_scores(np.int32([0]), np.int32([0])).tolist()
        [18.0]
        """
        checks.finite_number("unit", unit, low=MIN_UNIT, high=1 / MIN_UNIT)
        checks.finite_number("shift", shift)
        linear = self.rating_range is None
        loss = None if self.loss is None else self.loss.rescaled(unit, linear=linear)
        if self.rating_range is not None:
            low, high = self.rating_range
            return replace(self, rating_range=(low * unit + shift, high * unit + shift), scale=scale, loss=loss)
        root, multiplier = np.float32(np.sqrt(unit)), np.float32(unit)
        return replace(
            self,
            user_factors=read_only(self.user_factors * root),
            item_factors=read_only(self.item_factors * root),
            user_bias=read_only(self.user_bias * multiplier),
            item_bias=read_only(self.item_bias * multiplier),
            item_shift=None if self.item_shift is None else read_only(self.item_shift * multiplier),
            mean=self.mean * unit + shift,
            scale=scale,
            loss=loss,
        )

    @validated
    def objective(self, interactions: Interactions) -> float:
        """Evaluate the training loss of the model on a table.

        Parameters
        ----------
        interactions : Interactions
            The table that the model was fitted to; the penalty of each row depends on its support in this table.

        Returns
        -------
        float
            The loss, summed in float64; 0 for a model without a loss.

        Raises
        ------
        ParameterError
            If the table differs from the model in the number of users or items.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
        >>> short, long = (cofactor.ExplicitALS(factors=2, l2=0.01, epochs=n).fit(ratings) for n in (1, 20))
        >>> long.objective(ratings) < short.objective(ratings)
        True
        """
        if (interactions.n_users, interactions.n_items) != (self.n_users, self.n_items):
            raise ParameterError(
                f"interactions must have as many users and items as the model, {self.n_users:,} and {self.n_items:,}; "
                f"got {interactions.n_users:,} and {interactions.n_items:,}"
            )
        return 0.0 if self.loss is None else self.loss.objective(self, interactions)

    # Ranking

    @cached_property
    def _search(self) -> ItemSearch:
        return ItemSearch(self.item_factors, self.item_bias)

    @property
    def item_index(self) -> ItemIndexName | None:
        """Index that `top` uses: "clusters" for large catalogs, see `item_search`; None if it scans the items."""
        return "clusters" if self._search.uses_clusters else None

    @cached_property
    def _directions(self) -> tuple[Float32, ItemSearch]:
        """Item factors scaled to unit length, as vectors and for searches; their dot products are cosines."""
        unit = _unit_rows(self.item_factors)
        return unit, ItemSearch(unit, np.zeros(self.n_items, np.float32))

    def scores(self, users: UserBatch) -> Float32:
        """Compute the raw scores of all items for each user; `top` ranks items without computing this matrix.

        Parameters
        ----------
        users : UserBatch
            The users; their histories are not used.

        Returns
        -------
        ndarray of shape (n_users, n_items), float32
        """
        return self.item_scores(users, np.arange(self.n_items, dtype=np.int32))

    def item_scores(self, users: UserBatch, items: Int32) -> Float32:
        """Compute the raw scores of some items for each user.

        Parameters
        ----------
        users : UserBatch
            The users; their histories are not used.
        items : ndarray of shape (n,), int32
            Item row numbers.

        Returns
        -------
        ndarray of shape (n_users, n), float32
        """
        users, items = checked_batch(self, users), checks.row_numbers("items", items, self.n_items)
        pairs = np.repeat(users.rows, len(items)), np.tile(items, len(users))
        return self.raw_scores(*pairs).reshape(len(users), len(items))

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """Return the exact top n items for each user by raw score; see `ScoresItems.top` and `kernels.topk`.

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
        users, n, exclude, allowed, order = checked_lists(self, users, n, exclude, allowed, order)
        vectors = contiguous(self.user_factors[users.rows], np.float32)
        weights = self._shift_weights[users.rows]
        rows, scores = self._search.top(
            vectors, n, exclude=exclude, allowed=allowed, shift=self.item_shift, weights=weights
        )
        if len(order) and self.zero_is_unknown and not (self.factors and vectors[:, 0].all()):
            for user in np.flatnonzero(~vectors.any(axis=1) & (weights == 0)):  # all scores of such a user are 0
                rows[user] = first_allowed(order.rows, n, exclude.row(int(user)).columns, allowed)
        return rows, scores + (np.float32(self.mean) + self.user_bias[users.rows])[:, None]

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar items for each item, by the cosine similarity of their factors, excluding biases.

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
            Item row numbers, best first; padded with -1.
        cosines : ndarray of shape (m, n), float32
            0 for a zero vector; -inf where the row is -1.
        """
        items, n, allowed = checked_nearest("items", items, self.n_items, n, allowed)
        return _nearest(*self._directions, items, n, allowed)

    def similar_users(self, users: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar users for each user, by the cosine similarity of factors; see `similar_items`.

        Parameters
        ----------
        users : ndarray of shape (m,), int32
            User row numbers.
        n : int
            The length of each list.
        allowed : ndarray of shape (n_users,), bool
            Mask of the users to choose from; an empty array means all users.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        cosines : ndarray of shape (m, n), float32
            Padded with -inf.
        """
        users, n, allowed = checked_nearest("users", users, self.n_users, n, allowed)
        unit = _unit_rows(self.user_factors)
        return _nearest(unit, ItemSearch(unit, np.zeros(self.n_users, np.float32)), users, n, allowed)

    @one_thread_blas()
    def item_similarity(self, items: Int32) -> Float32:
        """Compute the cosine similarity of the factors of each pair of items within each list.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            A symmetric matrix for each list; 0 for row -1.

        Raises
        ------
        KindError
            If the model has no factors.
        """
        if self.factors == 0:
            raise KindError("this model has no item vectors to compare; fit a model with factors, such as biased-mf")
        return list_cosines(self.item_factors, checked_item_lists(self, items))

    @one_thread_blas()
    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain a score by decomposing the equations that determine the user's vector; see `models.explanation`.

        Parameters
        ----------
        users : UserBatch
            A single user.
        item : int
            The item's row number.

        Returns
        -------
        Explanation
            The explanation. Its rest is 0 if the equations were solved exactly (ALS and folded-in users). It has no
            terms if the model has no factors or the user has no history.
        """
        user, item, history = checked_known_pair(self, users, item)
        score = float(self.raw_scores(users.rows, np.array([item], np.int32))[0])
        dot = float(self.user_factors[user].astype(np.float64) @ self.item_factors[item])
        rows, terms = np.zeros(0, np.int32), np.zeros(0)
        if self.loss is not None and self.factors and len(history.columns):
            rows, terms = self.loss.terms(self, user, item, history)
        rest = unattributed_rest(float(terms.sum()), dot, terms)
        user_bias, item_bias = float(self.user_bias[user]), float(self.item_bias[item])
        if self.item_shift is not None and self.user_shift is not None:
            item_bias += float(self.user_shift[user] * self.item_shift[item])
        return Explanation(score, self.mean, user_bias, item_bias, rows, terms, rest)

    # Fold-in

    @cached_property
    def item_inputs(self) -> RidgeInputs:
        """Inputs of the ridge regressions that fit users; raises KindError if the loss is not a least-squares loss."""
        loss = self.least_squares
        inputs = loss.ridge_inputs(self.item_factors, self.item_bias, self.mean)
        if self.untrained is not None and inputs.gram.size:
            trained_features = np.where(self.untrained[:, None], np.float32(0), inputs.features)
            inputs = replace(inputs, gram=loss.unobserved_gram(trained_features))
        return with_minimal_penalty(replace(inputs, features=read_only(inputs.features)), self.rating_range)

    @one_thread_blas()
    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return a model with new users, fitted by minimizing the training loss with the item vectors held fixed.

        Linear models solve ridge regressions exactly. Sigmoid models take Gauss-Newton steps from zero. Pairwise models
        take SGD steps from zero, as in training, on fixed samples of negatives.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user.
        prior : GaussianPrior, optional
            Replaces the training penalty. A user without a history gets the prior mean, or zeros without a prior. With
            `GaussianPrior.item_shift`, the item biases of the new users are shifted.

        Returns
        -------
        FactorModel
            The same model with the new users.

        Raises
        ------
        KindError
            If a prior is passed to a pairwise model or to a model without user vectors, or one with a shift to a model
            of events.
        """
        n = len(require_histories(histories, self.n_items))
        if prior is not None:
            checks.instance("prior", prior, GaussianPrior, "create it with GaussianPrior(means, precision)")
        if self.loss is None:
            require_no_prior(prior)
            return self.with_user_arrays(np.zeros((n, self.factors), np.float32), np.zeros(n, np.float32))
        folded_in = self.with_user_arrays(*self.loss.fold_in_users(self, histories, prior))
        if prior is None or prior.item_shift is None:
            return folded_in
        if self.zero_is_unknown:
            raise KindError("a prior with item_shift requires a rating model")
        return folded_in.with_shift(prior.item_shift, 1.0)

    @validated
    def with_shift(self, item_shift: Float32, weight: float) -> Self:
        """Return this model with shifted item biases for all of its users.

        Parameters
        ----------
        item_shift : ndarray of shape (n_items,), float32
            The shift of each item.
        weight : float
            The weight of the shift.

        Returns
        -------
        FactorModel
            A model with the same vectors and biases.
        """
        item_shift = checks.float32_array("item_shift", item_shift, (self.n_items,))
        weight = checks.finite_number("weight", weight, low=0)
        return self._with_same_items(item_shift=item_shift, user_shift=np.full(self.n_users, weight, np.float32))

    @one_thread_blas()
    def with_fold_in_penalty(self, histories: SparseRows) -> Self:
        """Return this model with the fold-in penalty that training by stochastic gradient descent implies.

        Parameters
        ----------
        histories : SparseRows
            The table that the model was fitted to, one row for each user.

        Returns
        -------
        FactorModel
            The model with the penalty in `loss`; see the method of the loss. A model without a loss is unchanged.
        """
        require_histories(histories, self.n_items, n_rows=self.n_users)
        return self if self.loss is None else replace(self, loss=self.loss.with_fold_in_penalty(self, histories))

    @one_thread_blas()
    def fold_in_items(self, raters: SparseRows, prior: GaussianPrior) -> tuple[Float32, Float32]:
        """Fit new items with the user vectors held fixed, and return their factors and biases.

        Parameters
        ----------
        raters : SparseRows
            One row for each new item; the columns are users.
        prior : GaussianPrior
            Replaces the training penalty. Items without raters, and all items in a pairwise model, get the prior mean.

        Returns
        -------
        factors : ndarray of shape (n, factors), float32
        bias : ndarray of shape (n,), float32

        Raises
        ------
        KindError
            If the model has no item factors.
        """
        require_histories(raters, self.n_users, name="raters")
        loss = self.least_squares if self.loss is None else self.loss
        return loss.fold_in_items(self, raters, prior)

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model with the same items, and with users selected from this model and another one.

        Parameters
        ----------
        other : FactorModel
            A model with the same items and number of factors.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        FactorModel
            A model with n users.
        """
        if other.factors != self.factors:
            raise ParameterError(f"`other` must have {self.factors} factors; got {other.factors}")
        take = checked_take(take, self.n_users, other.n_users)
        is_own = take >= 0

        def select(a: Float32, b: Float32) -> Float32:
            out = np.empty((len(take), *a.shape[1:]), np.float32)
            out[is_own], out[~is_own] = a[take[is_own]], b[-1 - take[~is_own]]
            return out

        selected = self.with_user_arrays(
            select(self.user_factors, other.user_factors), select(self.user_bias, other.user_bias)
        )
        untrained = ~is_own
        if self.untrained_users is not None:
            untrained[is_own] = self.untrained_users[take[is_own]]
        item_shift = self.item_shift if other.item_shift is None else other.item_shift
        user_shift = None
        if item_shift is not None:
            own, others = (m._shift_weights for m in (self, other))
            user_shift = read_only(select(own, others))
        return selected._with_same_items(
            untrained_users=read_only(untrained), item_shift=item_shift, user_shift=user_shift
        )

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> Self:
        """Return a model with the same users, and with items selected from this model and from new items.

        Parameters
        ----------
        factors : ndarray of shape (m, factors), float32
            Vectors of the new items.
        bias : ndarray of shape (m,), float32
            Biases of the new items.
        take : ndarray of shape (n,), int32
            Selected items: an entry t >= 0 is row t of this model, and t < 0 is new item -1 - t.

        Returns
        -------
        FactorModel
            A model with n items.
        """
        factors = checks.float32_array("factors", factors, (None, self.factors))
        bias = checks.float32_array("bias", bias, (len(factors),))
        take = checked_take(take, self.n_items, len(factors))
        is_new = take < 0
        item_factors = np.empty((len(take), self.factors), np.float32)
        if self.n_items:
            np.take(self.item_factors, np.maximum(take, 0), axis=0, out=item_factors, mode="clip")
        item_factors[is_new] = factors[-1 - take[is_new]]
        item_bias = np.empty(len(take), np.float32)
        item_bias[~is_new], item_bias[is_new] = self.item_bias[take[~is_new]], bias[-1 - take[is_new]]
        untrained = is_new.copy()
        if self.untrained is not None:
            untrained[~is_new] = self.untrained[take[~is_new]]
        other = replace(
            self,
            item_factors=read_only(item_factors),
            item_bias=read_only(item_bias),
            untrained=read_only(untrained),
            item_shift=None if self.item_shift is None else shift_with_new_items(self.item_shift, take),
        )
        other.__dict__["_search"] = self._search.with_items(other.item_factors, other.item_bias, take)
        return other

    @validated
    def with_user_arrays(self, factors: Float32, bias: Float32) -> Self:
        """Return a copy of this model with its users replaced and its items unchanged.

        Parameters
        ----------
        factors : ndarray of shape (n, factors), float32
            Factors of the new users.
        bias : ndarray of shape (n,), float32
            Biases of the new users.

        Returns
        -------
        FactorModel
            A model with n users.
        """
        factors = checks.float32_array("factors", factors, (None, self.factors))
        bias = checks.float32_array("bias", bias, (len(factors),))
        return self._with_same_items(
            user_factors=read_only(factors),
            user_bias=read_only(bias),
            item_shift=None,
            user_shift=None,
            untrained_users=None,
        )

    def _with_same_items(self, **changes: Any) -> Self:
        """Return a copy of this model with other users, which shares the values that depend on the items only."""
        other = replace(self, **changes)
        other.__dict__["_search"] = self._search
        if "item_inputs" in self.__dict__:
            other.__dict__["item_inputs"] = self.item_inputs
        return other

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the model by attribute name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        names = ("user_factors", "item_factors", "user_bias", "item_bias")
        optional = ("untrained", "item_shift", "user_shift", "untrained_users")
        present = [name for name in optional if getattr(self, name) is not None]
        return {name: getattr(self, name) for name in (*names, *present)}

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, including the loss, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        loss = None if self.loss is None else {"type": type(self.loss).__name__, **asdict(self.loss)}
        return {
            "mean": self.mean,
            "rating_range": self.rating_range,
            "scale": None if self.scale is None else asdict(self.scale),
            "loss": loss,
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Reconstruct a model from the output of `arrays()` and `settings()`.

        Parameters
        ----------
        arrays : dict of {str: ndarray}
            The result of `arrays`.
        settings : dict of {str: object}
            The result of `settings`.

        Returns
        -------
        FactorModel
            A bitwise identical object.
        """
        loss = settings["loss"]
        parameters = None if loss is None else {name: value for name, value in loss.items() if name != "type"}
        return cls(
            user_factors=arrays["user_factors"],
            item_factors=arrays["item_factors"],
            user_bias=arrays["user_bias"],
            item_bias=arrays["item_bias"],
            mean=checks.plain("mean", settings["mean"], float),
            rating_range=checks.plain("rating_range", settings["rating_range"], tuple[float, float] | None),
            scale=checks.plain("scale", settings["scale"], Scale | None),
            loss=None if loss is None else checks.plain("loss", parameters, LOSSES[loss["type"]]),
            **{name: arrays.get(name) for name in ("untrained", "item_shift", "user_shift", "untrained_users")},
        )


def _unit_rows(factors: Float32) -> Float32:
    """Scale each row to unit length; zero rows are unchanged."""
    unit = np.zeros(factors.shape, np.float32)
    for first in range(0, len(factors), UNIT_ROWS):  # in blocks, to limit the memory for float64
        block = factors[first : first + UNIT_ROWS].astype(np.float64)
        length = np.linalg.norm(block, axis=1, keepdims=True)
        unit[first : first + UNIT_ROWS] = np.divide(block, length, out=np.zeros(block.shape), where=length > 0)
    return unit


def _nearest(unit: Float32, search: ItemSearch, rows: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
    """Return the n rows with the largest cosine similarity to each row, excluding the row itself."""
    start = np.arange(len(rows) + 1, dtype=np.int64)
    own = SparseRows(start, contiguous(rows, np.int32), np.ones(len(rows), np.float32))
    return search.top(unit[rows], n, exclude=own, allowed=allowed)
