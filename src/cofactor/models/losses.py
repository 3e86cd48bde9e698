"""Training losses of factor models, each with its penalty, fold-in, explanation and objective.

    Ratings:  sum over ratings of  w (r - r^)^2 + l2 (|p|^2 + |q|^2) + l2_bias (b_u^2 + b_i^2)
    Events:   sum over events of w (1 - x)^2  +  alpha0 * sum over all pairs of x^2
              + sum_u l2 (n_u + alpha0 n_items)^nu |p_u|^2  +  sum_i l2 (n_i + alpha0 n_users)^nu |q_i|^2
    Pairs:    sum over events of w E_j[-ln sigmoid(x_ui - x_uj)]
              + l2 (|p_u|^2 + |q_i|^2 + E_j |q_j|^2) + l2_bias (b_i^2 + E_j b_j^2)

j is the highest-scoring of a few negatives, drawn uniformly from the items that the user does not have (`kernels.bpr`).
Penalties are per rating, so that the penalty for a row grows with its support (ALS-WR: Zhou et al. 2008). The penalty
for events follows Rendle et al. 2021.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np

from cofactor import checks
from cofactor.arrays import Counts, Float32, Float64, Int32, Int64, signed_confidence
from cofactor.data.interactions import Interactions
from cofactor.kernels.bpr import bpr_fold_in, cosine_schedule
from cofactor.kernels.gram import gram
from cofactor.kernels.parallel import row_blocks
from cofactor.kernels.ridge import EVENTS, RATINGS, RidgeInputs
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import checked_prior, require_no_prior
from cofactor.models.explanation import negative_probabilities, pairwise_terms, ridge_terms
from cofactor.models.fold_in import MIN_SLOPE, GaussianPrior, sigmoid, solve_rows, with_minimal_penalty

__all__ = ["EventsLoss", "LeastSquaresLoss", "Loss", "PairwiseLoss", "RatingsLoss", "padded_width"]


MIN_PENALTY_USERS, MAX_PENALTY_USERS = 20, 200
"""Minimum and maximum number of trained users for computing the fold-in penalty of a pairwise loss."""

PENALTY_PAIRS = 1 << 30
"""Approximate number of pairs of an event and an item from which this penalty is computed, unless users are too few."""

PENALTY_ENTRIES = 1 << 16
"""Maximum number of ratings from which this penalty is computed at once."""

MAX_PENALTY_PAIRS = 1 << 16
"""Maximum number of pairs of an event and a negative that are computed at once for this penalty."""

MAX_NEGATIVES, MAX_EPOCHS = 1000, 10_000
"""Maximum numbers of negatives and epochs of a pairwise loss, which limit the time and memory of fold-in."""


def padded_width(width: int) -> int:
    """Round the width of vectors up to a multiple of 8, so that kernels fill whole SIMD registers.

    Parameters
    ----------
    width : int
        A number of columns.

    Returns
    -------
    int
        The padded width; `width` itself if it is a multiple of 8.

    Examples
    --------
    >>> padded_width(0), padded_width(8), padded_width(9)
    (0, 8, 16)
    """
    return -(-width // 8) * 8


class _Factors(Protocol):
    """Protocol for the attributes of a `FactorModel` that losses use."""

    @property
    def factors(self) -> int: ...
    @property
    def user_factors(self) -> Float32: ...
    @property
    def item_factors(self) -> Float32: ...
    @property
    def user_bias(self) -> Float32: ...
    @property
    def item_bias(self) -> Float32: ...
    @property
    def mean(self) -> float: ...
    @property
    def rating_range(self) -> tuple[float, float] | None: ...
    @property
    def item_shift(self) -> Float32 | None: ...
    @property
    def user_shift(self) -> Float32 | None: ...
    @property
    def item_inputs(self) -> RidgeInputs: ...
    def raw_scores(self, users: Int32, items: Int32) -> Float32: ...
    def link(self, x: Float32) -> Float32: ...


class LeastSquaresLoss(ABC):
    """Base class of losses that fit user vectors by ridge regression with the item vectors held fixed, and vice versa.

    Attributes
    ----------
    kind : {"ratings", "events"}
        The kind of table that the loss applies to.
    zero_is_unknown : bool
        Whether a score of exactly 0 means that the model has no evidence about the user-item pair.
    """

    kind: ClassVar[Literal["ratings", "events"]]
    zero_is_unknown: ClassVar[bool]

    @property
    def least_squares(self) -> Self:
        """This loss, if it is a least-squares loss; otherwise None."""
        return self

    @property
    @abstractmethod
    def has_bias(self) -> bool:
        """Whether the models with this loss have user and item biases."""

    @property
    def blank_weight(self) -> float:
        """Weight of all user-item pairs, with or without an event; 0 if pairs without a rating have no loss."""
        return 0.0

    @abstractmethod
    def penalty(self, counts: Sequence[int] | Int64, n_other: int) -> Float32:
        """Return the multiplier of the penalties in `RidgeInputs.shape` for each user or item.

        Parameters
        ----------
        counts : sequence of int
            The number of ratings or events in each row.
        n_other : int
            The number of items if the rows are users, or of users if they are items.

        Returns
        -------
        ndarray of shape (n_rows,), float32
            One factor for each row.
        """

    @abstractmethod
    def entries(self, rows: SparseRows) -> SparseRows:
        """Convert ratings or events to the format that `kernels.ridge` expects.

        Parameters
        ----------
        rows : SparseRows
            Ratings or events.

        Returns
        -------
        SparseRows
            The entries.
        """

    @abstractmethod
    def targets(self, rows: SparseRows) -> Float32:
        """Return the target of each rating or event: the value that the model should predict.

        Parameters
        ----------
        rows : SparseRows
            Ratings or events, as returned by `entries`.

        Returns
        -------
        ndarray of shape (n,), float32
            One target for each entry.
        """

    @abstractmethod
    def unobserved_gram(self, features: Float32) -> Float32:
        """Return the contribution of unobserved user-item pairs to the normal equations of each user or item.

        Parameters
        ----------
        features : ndarray of shape (n, width), float32
            The features of the items or users whose vectors are held fixed.

        Returns
        -------
        ndarray of shape (width, width) or (0, 0), float32
            The matrix G of `kernels.ridge`; empty if such pairs do not contribute.
        """

    @abstractmethod
    def ridge_inputs(self, factors: Float32, bias: Float32, mean: float) -> RidgeInputs:
        """Return the inputs of ridge regressions that fit users with the item vectors held fixed, or vice versa.

        Parameters
        ----------
        factors : ndarray of shape (n, k), float32
            Factors of the items or users, which are held fixed.
        bias : ndarray of shape (n,), float32
            Biases of the items or users, which are held fixed.
        mean : float
            The global mean of the model.

        Returns
        -------
        RidgeInputs
            The features, padded to `width(k)` columns, and their penalty.
        """

    @abstractmethod
    def objective(self, model: _Factors, interactions: Interactions) -> float:
        """Evaluate the loss of a model on its training table; see `FactorModel.objective`.

        Parameters
        ----------
        model : FactorModel
            The model.
        interactions : Interactions
            The table that the model was fitted to.

        Returns
        -------
        float
            The loss, summed in float64.
        """

    def with_fold_in_penalty(self, model: _Factors, histories: SparseRows) -> Self:
        """Return the loss that fold-in minimizes: this loss, unless training ends before the users have converged.

        Parameters
        ----------
        model : FactorModel
            The trained model, with this loss.
        histories : SparseRows
            The table that the model was fitted to, one row for each user.

        Returns
        -------
        LeastSquaresLoss
            This loss.
        """
        return self

    def n_unknowns(self, factors: int) -> int:
        """Return the number of unknowns per user or item: the number of factors, plus one if the model has biases.

        Parameters
        ----------
        factors : int
            The number of factors.

        Returns
        -------
        int
            The number of unknowns.
        """
        return factors + self.has_bias

    def width(self, factors: int) -> int:
        """Return the number of unknowns for each user or item, padded to a multiple of 8.

        Parameters
        ----------
        factors : int
            The number of factors.

        Returns
        -------
        int
            The padded number of unknowns.
        """
        return padded_width(self.n_unknowns(factors))

    def fold_in_users(
        self, model: _Factors, histories: SparseRows, prior: GaussianPrior | None
    ) -> tuple[Float32, Float32]:
        """Fit new users with the item vectors held fixed; see `FactorModel.fold_in`.

        Parameters
        ----------
        model : FactorModel
            The model.
        histories : SparseRows
            One row for each new user.
        prior : GaussianPrior or None
            Replaces the training penalty; None keeps it.

        Returns
        -------
        factors : ndarray of shape (n, k), float32
        bias : ndarray of shape (n,), float32
        """
        inputs = model.item_inputs
        if prior is not None and prior.item_shift is not None:
            shift = checks.float32_array("prior.item_shift", prior.item_shift, (len(model.item_bias),))
            inputs = replace(inputs, offset=inputs.offset + shift)
        return self._solve(histories, model, inputs, len(model.item_bias), prior)

    def fold_in_items(self, model: _Factors, raters: SparseRows, prior: GaussianPrior) -> tuple[Float32, Float32]:
        """Fit new items with the user vectors held fixed; see `FactorModel.fold_in_items`.

        Parameters
        ----------
        model : FactorModel
            The model.
        raters : SparseRows
            One row for each new item; the columns are users.
        prior : GaussianPrior
            Replaces the training penalty.

        Returns
        -------
        factors : ndarray of shape (n, k), float32
            Factors of the new items.
        bias : ndarray of shape (n,), float32
            Biases of the new items.
        """
        inputs = self.ridge_inputs(model.user_factors, model.user_bias, model.mean)
        inputs = with_minimal_penalty(inputs, model.rating_range)
        return self._solve(raters, model, inputs, len(model.user_bias), prior)

    def _solve(
        self, rows: SparseRows, model: _Factors, inputs: RidgeInputs, n_other: int, prior: GaussianPrior | None
    ) -> tuple[Float32, Float32]:
        k = model.factors
        if prior is not None:
            prior = checked_prior(prior, len(rows), self.n_unknowns(k))
        entries = self.entries(rows)
        x = solve_rows(entries, self.penalty(entries.counts, n_other), inputs, model.rating_range, prior)
        return x[:, :k], x[:, k] if self.has_bias else np.zeros(len(x), np.float32)

    def terms(self, model: _Factors, user: int, item: int, history: SparseRows) -> tuple[Int32, Float64]:
        """Decompose the dot product of a user's and an item's vectors into one term per item in the user's history.

        The terms follow from the normal equations of the user's vector. For a sigmoid model, these are the equations
        of a Gauss-Newton step that leaves the vector unchanged.

        Parameters
        ----------
        model : FactorModel
            The model.
        user : int
            The user's row number.
        item : int
            The item's row number.
        history : SparseRows
            The user's history, as a single row.

        Returns
        -------
        rows : ndarray of shape (m,), int32
            Row numbers of the items in the history.
        terms : ndarray of shape (m,), float64
            The term of each item.
        """
        entries, inputs, k = self.entries(history), model.item_inputs, model.factors
        if model.item_shift is not None and model.user_shift is not None:
            inputs = replace(inputs, offset=inputs.offset + model.user_shift[user] * model.item_shift)
        features = inputs.features[entries.columns].astype(np.float64)
        confidence, targets = inputs.targets(entries)
        if model.rating_range is not None:
            user_vector = np.zeros(features.shape[1])
            user_vector[:k], user_vector[k : k + 1] = model.user_factors[user], model.user_bias[user]
            low, high = model.rating_range
            z = features @ user_vector
            sigmoid_value = sigmoid((z + inputs.offset[entries.columns]).astype(np.float32))
            slope = np.maximum((high - low) * sigmoid_value * (1 - sigmoid_value), MIN_SLOPE * (high - low))
            residual = (entries.values - (low + (high - low) * sigmoid_value)) / slope
            targets, confidence = (z + residual).astype(np.float32), (confidence * slope**2).astype(np.float32)
        item_vector = np.zeros(features.shape[1])
        item_vector[:k] = model.item_factors[item]
        penalty = float(self.penalty(entries.counts, len(model.item_bias))[0])
        ridge = penalty * inputs.shape + inputs.precision
        return entries.columns, ridge_terms(features, targets, confidence, item_vector, gram=inputs.gram, ridge=ridge)


@dataclass(frozen=True)
class RatingsLoss(LeastSquaresLoss):
    """Loss for ratings: squared error of the predicted ratings, plus penalties on factors and biases.

    Parameters
    ----------
    l2 : float
        Penalty on factors, per rating.
    l2_bias : float or None
        Penalty on biases, per rating; None for a model without biases.
    damping : float, default 0
        Additional penalty on each bias, once per row; it acts like this number of ratings equal to the mean.
    pseudo_ratings : float, default 0
        Constant c: the penalties of a user or item with n ratings are multiplied by n + c.
    fold_in_l2 : float, default 0
        Additional penalty on the factors of a row that is folded in, once per row; it is not part of the objective. It
        represents training that ends before the factors have converged (see `with_fold_in_penalty`).

    Notes
    -----
    The penalty of a row grows with its number of ratings n; with m `pseudo_ratings`::

        sum over ratings of w (r - r^)^2
        + sum over users and items of (n + m) (l2 |p|^2 + l2_bias b^2) + damping b^2

    References
    ----------
    Y. Zhou, D. Wilkinson, R. Schreiber, R. Pan. Large-scale parallel collaborative filtering for the Netflix prize.
    AAIM 2008 (ALS-WR).

    Examples
    --------
    >>> loss = RatingsLoss(l2=0.1, l2_bias=0.05)
    >>> loss.penalty([0, 3], n_other=9).tolist(), loss.width(factors=10)
    ([0.0, 3.0], 16)
    """

    kind: ClassVar[Literal["ratings", "events"]] = "ratings"
    zero_is_unknown: ClassVar[bool] = False

    l2: float
    l2_bias: float | None
    damping: float = 0.0
    pseudo_ratings: float = 0.0
    fold_in_l2: float = 0.0

    @property
    def has_bias(self) -> bool:
        """Whether the models with this loss have user and item biases."""
        return self.l2_bias is not None

    def rescaled(self, unit: float, *, linear: bool) -> RatingsLoss:
        """Return the equivalent loss for ratings multiplied by `unit`, whose minimizer is the same up to the unit.

        Parameters
        ----------
        unit : float
            The multiplier; positive.
        linear : bool
            Whether predictions are linear; then factors scale with the square root of `unit`, and biases with `unit`.
            In sigmoid models they do not change, and all penalties scale with the square of `unit`.

        Returns
        -------
        RatingsLoss
        """
        factors, biases = (unit, 1.0) if linear else (unit**2, unit**2)
        l2_bias = None if self.l2_bias is None else self.l2_bias * biases
        fold_in_l2 = self.fold_in_l2 * factors
        return replace(
            self, l2=self.l2 * factors, l2_bias=l2_bias, damping=self.damping * biases, fold_in_l2=fold_in_l2
        )

    def with_fold_in_penalty(self, model: _Factors, histories: SparseRows) -> Self:
        """Return the loss with the `fold_in_l2` for which the trained user vectors are closest to the fold-in solution.

        Gradient descent that is stopped early leaves the factors of a user closer to 0 than the minimizer of the loss.
        With a sum of squares over n ratings, a limited number of passes acts like a penalty that does not grow with n.

        Parameters
        ----------
        model : FactorModel
            The trained model, with this loss.
        histories : SparseRows
            The ratings that the model was fitted to, one row for each user.

        Returns
        -------
        RatingsLoss
            The loss with the new `fold_in_l2`; 0 if the training has converged, or if all user factors are 0.

        Notes
        -----
        With g_u = -1/2 times the gradient of the loss with respect to the factors p_u, the minimizer of
        `sum_u |g_u - fold_in_l2 p_u|^2`, or 0 if it is negative::

            fold_in_l2 = sum_u g_u . p_u / sum_u |p_u|^2

        References
        ----------
        Bishop 1995, "Regularization and complexity control in feed-forward networks" (early stopping and weight decay).

        Examples
        --------
        >>> from cofactor.models.factor import FactorModel
        >>> zeros, one_rating = np.zeros(1, np.float32), SparseRows.of([0], [0], [2.0], n_rows=1)
        >>> model = FactorModel(np.float32([[0.5]]), np.float32([[1.0]]), zeros, zeros)      # the minimizer is 2
        >>> loss = RatingsLoss(l2=0.0, l2_bias=None).with_fold_in_penalty(model, one_rating)
        >>> loss.fold_in_l2                                                                  # 2 / (1 + 3) = 0.5
        3.0
        """
        products = squares = 0.0
        for first, last in row_blocks(histories.start, entries=PENALTY_ENTRIES, rows=PENALTY_ENTRIES):
            part = self._penalty_sums(model, histories.slice(first, last), first)
            products, squares = products + part[0], squares + part[1]
        return replace(self, fold_in_l2=_penalty(products, squares))

    def _penalty_sums(self, model: _Factors, histories: SparseRows, first: int) -> tuple[float, float]:
        """Return the sums of g_u . p_u and |p_u|^2 over the users from row `first` on."""
        owners = histories.owners + np.int32(first)
        x = model.raw_scores(owners, histories.columns)
        errors, slope = histories.values - model.link(x).astype(np.float64), np.ones(len(x))
        if model.rating_range is not None:
            low, high = model.rating_range
            y = sigmoid(x)
            slope = (high - low) * y * (1 - y)
        if histories.weights is not None:
            errors *= histories.weights
        dots = (x - np.float32(model.mean) - model.user_bias[owners] - model.item_bias[histories.columns]).astype(
            np.float64
        )
        squares = _squared_norms(model.user_factors[first : first + len(histories)].astype(np.float64))
        penalties = self.l2 * self.penalty(histories.counts, len(model.item_bias)).astype(np.float64)
        return float(slope * errors @ dots - penalties @ squares), float(squares.sum())

    def penalty(self, counts: Sequence[int] | Int64, n_other: int) -> Float32:
        """Return the multiplier of the penalties for each user or item: n + `pseudo_ratings`.

        Parameters
        ----------
        counts : sequence of int
            The number of ratings in each row.
        n_other : int
            The number of items if the rows are users, or of users if they are items.

        Returns
        -------
        ndarray of shape (n_rows,), float32
            One factor for each row.
        """
        return np.asarray(counts, np.float32) + np.float32(self.pseudo_ratings)

    def entries(self, rows: SparseRows) -> SparseRows:
        """Return the ratings unchanged, because `kernels.ridge` takes them as they are.

        Parameters
        ----------
        rows : SparseRows
            Ratings.

        Returns
        -------
        SparseRows
            `rows` itself.
        """
        return rows

    def targets(self, rows: SparseRows) -> Float32:
        """Return the ratings, which are the values that the model should predict.

        Parameters
        ----------
        rows : SparseRows
            Ratings.

        Returns
        -------
        ndarray of shape (n,), float32
            The values.
        """
        return rows.values

    def unobserved_gram(self, features: Float32) -> Float32:
        """Return an empty array, because user-item pairs without a rating do not contribute to the loss.

        Parameters
        ----------
        features : ndarray of shape (n, width), float32
            The features of the items or users whose vectors are held fixed.

        Returns
        -------
        ndarray of shape (0, 0), float32
            An empty array.
        """
        return np.zeros((0, 0), np.float32)

    def ridge_inputs(self, factors: Float32, bias: Float32, mean: float) -> RidgeInputs:
        """Return the inputs of the ridge regressions that fit factors and biases; mean and fixed biases are offsets.

        Parameters
        ----------
        factors : ndarray of shape (n, k), float32
            Factors of the items or users, which are held fixed.
        bias : ndarray of shape (n,), float32
            Biases of the items or users, which are held fixed.
        mean : float
            The global mean of the model.

        Returns
        -------
        RidgeInputs
            The features, padded to `width(k)` columns, and their penalty.
        """
        n, k = factors.shape
        width = self.width(k)
        features, shape, precision = np.zeros((n, width), np.float32), np.zeros(width), np.zeros(width)
        features[:, :k] = factors
        shape[:k], precision[:k] = self.l2, self.fold_in_l2
        shape[k:] = 1.0  # a penalty on the padding, whose features are 0, keeps the system positive definite
        if self.l2_bias is not None:
            features[:, k] = 1
            shape[k], precision[k] = self.l2_bias, self.damping
        return RidgeInputs(
            RATINGS,
            features,
            np.asarray(bias + np.float32(mean), np.float32),
            self.unobserved_gram(features),
            shape.astype(np.float32),
            precision.astype(np.float32),
            np.zeros((1, width), np.float32),
        )

    def objective(self, model: _Factors, interactions: Interactions) -> float:
        """Evaluate the loss of a model on its training table; see `FactorModel.objective`.

        Parameters
        ----------
        model : FactorModel
            The model.
        interactions : Interactions
            The table that the model was fitted to.

        Returns
        -------
        float
            The loss, summed in float64.
        """
        predictions = model.link(model.raw_scores(interactions.u, interactions.i)).astype(np.float64)
        weights = 1.0 if interactions.weights is None else interactions.weights.astype(np.float64)
        total = float(np.sum(weights * (interactions.values - predictions) ** 2))
        parameters = ((model.user_factors, model.user_bias), (model.item_factors, model.item_bias))
        for (factors, bias), support in zip(parameters, _supports(interactions), strict=True):
            penalty = support + self.pseudo_ratings
            total += self.l2 * float(penalty @ _squared_norms(factors))
            if self.l2_bias is not None:
                total += float((self.l2_bias * penalty + self.damping) @ bias.astype(np.float64) ** 2)
        return total


@dataclass(frozen=True)
class EventsLoss(LeastSquaresLoss):
    """Loss for events: squared error on all user-item pairs, with target 1 for events, otherwise 0 and a low weight.

    Parameters
    ----------
    alpha0 : float
        The confidence of pairs without an event.
    l2 : float
        The penalty on factors.
    nu : float
        The exponent with which the penalty grows with the support of a row: 0 for constant, 1 for proportional.
    counts : {"log", "binary", "raw"}, default "log"
        The transformation of the values of events; see `arrays.transform_counts`.

    Notes
    -----
    ::

        sum over events of w (1 - x)^2 + alpha0 sum over all pairs of x^2
        + sum_u l2 (n_u + alpha0 n_items)^nu |p_u|^2 + sum_i l2 (n_i + alpha0 n_users)^nu |q_i|^2

    w is the transformed value of an event times its weight. If w is negative, the event is a dislike and contributes
    |w| (0 - x)^2.

    References
    ----------
    S. Rendle, W. Krichene, L. Zhang, Y. Koren. Revisiting the performance of iALS on item recommendation benchmarks.
    2021; after Y. Hu, Y. Koren, C. Volinsky. Collaborative filtering for implicit feedback datasets. ICDM 2008.

    Examples
    --------
    >>> EventsLoss(alpha0=0.5, l2=1.0, nu=0.5).penalty([0, 5], n_other=8).tolist()            # (n + 4)^(1/2)
    [2.0, 3.0]
    """

    kind: ClassVar[Literal["ratings", "events"]] = "events"
    zero_is_unknown: ClassVar[bool] = True

    alpha0: float
    l2: float
    nu: float
    counts: Counts = "log"

    @classmethod
    def for_table(
        cls, interactions: Interactions, *, blank_ratio: float, l2_ratio: float, nu: float, counts: Counts
    ) -> Self:  # fmt: skip
        """Create a loss from hyperparameters in units of a training table.

        Parameters
        ----------
        interactions : Interactions
            Training table of events with at least one weight that is not 0.
        blank_ratio : float
            The confidence of all pairs together, as a multiple of that of all events.
        l2_ratio : float
            The penalty on factors, relative to the support of a row and to the skew of the table; see Notes.
        nu : float
            The exponent of the support in the penalty.
        counts : {"log", "binary", "raw"}
            The transformation of the values of events.

        Returns
        -------
        EventsLoss
            The loss with absolute values.

        Notes
        -----
        With U users and I items that have events, n events, and the sum W of the magnitudes of their confidences::

            alpha0 = blank_ratio W / (U I)
            l2 = l2_ratio sqrt(s) M^(1 - nu)
            s = I sum_i n_i^2 / n^2                                        M = sqrt((n/U + alpha0 I) (n/I + alpha0 U))

        s is the skew of the table: the mean number of events n_i of the item of a random event, divided by that of a
        random item. M is the mean support of a row: the geometric mean over both sides, on whose product alone the
        solution depends. With it, l2_ratio keeps its meaning when nu changes.

        Examples
        --------
        >>> events = Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 2], kind="events")
        >>> loss = EventsLoss.for_table(events, blank_ratio=3, l2_ratio=0.1, nu=1, counts="log")
        >>> loss.alpha0, round(loss.l2, 4)                                 # 3 * 4 / (2 * 3), and the skew s is 9/8
        (2.0, 0.1061)
        """
        confidence = signed_confidence(interactions.values, interactions.weights, counts)
        has_weight = confidence != 0
        by_user, by_item = (np.bincount(rows[has_weight]) for rows in (interactions.u, interactions.i))
        return cls.for_totals(
            n=int(has_weight.sum()),
            n_users=int(np.count_nonzero(by_user)),
            n_items=int(np.count_nonzero(by_item)),
            confidence=float(np.abs(confidence).sum(dtype=np.float64)),
            item_squares=float(np.square(by_item, dtype=np.float64).sum()),
            blank_ratio=blank_ratio, l2_ratio=l2_ratio, nu=nu, counts=counts,
        )  # fmt: skip

    @classmethod
    def for_totals(
        cls,
        *,
        n: int,
        n_users: int,
        n_items: int,
        confidence: float,
        item_squares: float,
        blank_ratio: float,
        l2_ratio: float,
        nu: float,
        counts: Counts,
    ) -> Self:
        """Create a loss from hyperparameters in units of a table of which only totals are known; see `for_table`.

        Parameters
        ----------
        n : int
            Number of events whose confidence is not 0.
        n_users, n_items : int
            Number of users and items with such an event.
        confidence : float
            Sum of the magnitudes of the confidences.
        item_squares : float
            Sum over the items of the square of their number of such events.
        blank_ratio, l2_ratio, nu, counts : float, float, float, str
            Hyperparameters, as in `for_table`.

        Returns
        -------
        EventsLoss
            The loss with absolute values.
        """
        alpha0 = blank_ratio * confidence / (n_users * n_items)
        skew = n_items * item_squares / n**2
        support = ((n / n_users + alpha0 * n_items) * (n / n_items + alpha0 * n_users)) ** 0.5
        return cls(alpha0, l2_ratio * skew**0.5 * support ** (1 - nu), nu, counts)

    @property
    def blank_weight(self) -> float:
        """`alpha0`, the confidence of pairs without an event, which also applies to pairs with an event."""
        return self.alpha0

    @property
    def l2_bias(self) -> None:
        """None, because event models have no biases to penalize."""
        return None

    @property
    def has_bias(self) -> bool:
        """False, because event models have no biases and no mean."""
        return False

    def rescaled(self, unit: float, *, linear: bool) -> EventsLoss:
        """Return this loss unchanged, because events have no unit.

        Parameters
        ----------
        unit : float
            Not used.
        linear : bool
            Not used.

        Returns
        -------
        EventsLoss
            This loss.
        """
        return self

    def penalty(self, counts: Sequence[int] | Int64, n_other: int) -> Float32:
        """Return the multiplier of `l2` for each user or item with n events: (n + alpha0 n_other)^nu.

        Parameters
        ----------
        counts : sequence of int
            The number of events in each row.
        n_other : int
            The number of items if the rows are users, or of users if they are items.

        Returns
        -------
        ndarray of shape (n_rows,), float32
            One factor for each row.
        """
        support = np.asarray(counts, np.float64) + self.alpha0 * n_other
        return (support**self.nu).astype(np.float32)

    def entries(self, rows: SparseRows) -> SparseRows:
        """Replace the values of events with signed confidences, transformed value times weight.

        Parameters
        ----------
        rows : SparseRows
            Events.

        Returns
        -------
        SparseRows
            The entries, without weights.
        """
        return rows.with_values(signed_confidence(rows.values, rows.weights, self.counts))

    def targets(self, rows: SparseRows) -> Float32:
        """Return the target of each event: 1, or 0 for a dislike.

        Parameters
        ----------
        rows : SparseRows
            Events, as returned by `entries`.

        Returns
        -------
        ndarray of shape (n,), float32
            One target for each entry.
        """
        return (rows.values > 0).astype(np.float32)

    def unobserved_gram(self, features: Float32) -> Float32:
        """Return `alpha0 * features.T @ features`, the contribution of pairs without an event to the normal equations.

        Parameters
        ----------
        features : ndarray of shape (n, width), float32
            The features of the items or users whose vectors are held fixed.

        Returns
        -------
        ndarray of shape (width, width), float32
            The contribution to each row's equations.
        """
        return (np.float32(self.alpha0) * gram(features)).astype(np.float32)

    def ridge_inputs(self, factors: Float32, bias: Float32, mean: float) -> RidgeInputs:
        """Return the ridge regression inputs: padded factors and the contribution of user-item pairs without an event.

        Parameters
        ----------
        factors : ndarray of shape (n, k), float32
            Factors of the items or users, which are held fixed.
        bias : ndarray of shape (n,), float32
            Not used.
        mean : float
            Not used.

        Returns
        -------
        RidgeInputs
            The features, padded to `width(k)` columns, and their penalty.
        """
        n, k = factors.shape
        width = self.width(k)
        features = factors
        if width != k:
            features = np.zeros((n, width), np.float32)
            features[:, :k] = factors
        zeros, shape = np.zeros(width, np.float32), np.full(width, self.l2, np.float32)
        offset = np.zeros(n, np.float32)
        return RidgeInputs(EVENTS, features, offset, self.unobserved_gram(features), shape, zeros, zeros[None])

    def objective(self, model: _Factors, interactions: Interactions) -> float:
        """Evaluate the loss of a model on its training table; see `FactorModel.objective`.

        Parameters
        ----------
        model : FactorModel
            The model.
        interactions : Interactions
            The table that the model was fitted to.

        Returns
        -------
        float
            The loss, summed in float64.
        """
        x = model.raw_scores(interactions.u, interactions.i).astype(np.float64)
        confidence = self.entries(interactions.by_user).values.astype(np.float64)
        total = float(np.sum(np.abs(confidence) * ((confidence > 0) - x) ** 2))
        P, Q = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
        total += self.alpha0 * float(np.sum((P.T @ P) * (Q.T @ Q)))
        for factors, n_other, support in zip((P, Q), (len(Q), len(P)), _supports(interactions), strict=True):
            total += self.l2 * float(self.penalty(support, n_other).astype(np.float64) @ _squared_norms(factors))
        return total


@dataclass(frozen=True)
class PairwiseLoss:
    """Loss on item pairs (BPR): logistic loss that is small if a user's items score above other items.

    Parameters
    ----------
    l2 : float
        The penalty on factors, per event.
    l2_bias : float
        The penalty on item biases, per event.
    n_negatives : int
        The number of candidates from which the highest-scoring negative is chosen.
    learning_rate, epochs : float, int
        The initial learning rate and the number of epochs, in training and in fold-in.
    counts : {"log", "binary", "raw"}, default "log"
        The transformation of the values of events; see `arrays.transform_counts`.
    fold_in_l2 : float, default 0
        Additional penalty on the factors of a user who is folded in, once per user; it is not part of the objective. It
        represents training in which the items change while users are fitted (see `with_fold_in_penalty`).

    Notes
    -----
    j is the highest-scoring of `n_negatives` items drawn from those that u does not have::

        sum over events of w E_j[-ln sigmoid(x_ui - x_uj)]
        + l2 (|p_u|^2 + |q_i|^2 + E_j |q_j|^2) + l2_bias (b_i^2 + E_j b_j^2)

    References
    ----------
    S. Rendle, C. Freudenthaler, Z. Gantner, L. Schmidt-Thieme. BPR: Bayesian personalized ranking from implicit
    feedback. UAI 2009; see `kernels.bpr`.

    Examples
    --------
    >>> from cofactor.models.factor import FactorModel
    >>> loss = PairwiseLoss(l2=0.01, l2_bias=0.01, n_negatives=2, learning_rate=0.1, epochs=20)
    >>> factors, zeros = np.float32([[1], [-1], [0]]), np.zeros(3, np.float32)
    >>> model = FactorModel(factors, factors, zeros, zeros, loss=loss)
    >>> first_item_or_none = SparseRows.of([0], [0], [1], n_rows=2)
    >>> with_event, without = loss.fold_in_users(model, first_item_or_none, None)[0]
    >>> bool(with_event[0] > 0), without.tolist()
    (True, [0.0])
    """

    kind: ClassVar[Literal["ratings", "events"]] = "events"
    zero_is_unknown: ClassVar[bool] = False

    l2: float
    l2_bias: float
    n_negatives: int
    learning_rate: float
    epochs: int
    counts: Counts = "log"
    fold_in_l2: float = 0.0

    def __post_init__(self) -> None:
        checks.whole_number("n_negatives", self.n_negatives, low=1, high=MAX_NEGATIVES)
        checks.whole_number("epochs", self.epochs, low=1, high=MAX_EPOCHS)

    @property
    def least_squares(self) -> None:
        """None, because users and items are not fitted by ridge regression."""
        return None

    @property
    def has_bias(self) -> bool:
        """Whether the model has item biases: always True."""
        return True

    def rescaled(self, unit: float, *, linear: bool) -> PairwiseLoss:
        """Return this loss unchanged, because events have no unit.

        Parameters
        ----------
        unit : float
            Not used.
        linear : bool
            Not used.

        Returns
        -------
        PairwiseLoss
            This loss.
        """
        return self

    def with_fold_in_penalty(self, model: _Factors, histories: SparseRows) -> Self:
        """Return the loss with the `fold_in_l2` for which the trained user vectors are closest to the fold-in solution.

        The expectation over j is exact. Up to 200 users, evenly spaced, are used; 20 if they have events times items in
        very large numbers.

        Parameters
        ----------
        model : FactorModel
            The trained model, with this loss.
        histories : SparseRows
            The events that the model was fitted to, one row for each user.

        Returns
        -------
        PairwiseLoss
            The loss with the new `fold_in_l2`.

        Notes
        -----
        With g_u = -1/2 times the gradient of the loss with respect to the factors p_u, or 0 if it is negative::

            fold_in_l2 = sum_u g_u . p_u / sum_u |p_u|^2
        """
        rows, weights = self.positives(histories)
        Q = model.item_factors.astype(np.float64)
        users = np.flatnonzero((rows.counts > 0) & (rows.counts < len(Q)))
        pairs_per_user = len(rows.columns) / max(len(users), 1) * len(Q)
        n_users = int(np.clip(PENALTY_PAIRS / max(pairs_per_user, 1), MIN_PENALTY_USERS, MAX_PENALTY_USERS))
        products = squares = 0.0
        for u in users[np.linspace(0, len(users) - 1, min(len(users), n_users)).astype(np.int64)]:
            entries = slice(rows.start[u], rows.start[u + 1])
            p = model.user_factors[u].astype(np.float64)
            items, dots = rows.columns[entries], Q @ p
            scores = dots + model.item_bias
            negatives = np.setdiff1d(np.arange(len(Q)), items)
            negatives = negatives[np.argsort(scores[negatives], kind="stable")]
            probabilities = negative_probabilities(len(negatives), self.n_negatives)
            w = weights[entries].astype(np.float64) if len(weights) else np.ones(len(items))
            size = max(MAX_PENALTY_PAIRS // len(items), 1)
            for first in range(0, len(negatives), size):
                part = negatives[first : first + size]
                differences = np.clip(scores[items][:, None] - scores[part], -50, 50)
                pull = probabilities[first : first + size] / (1 + np.exp(differences))
                products += float(w @ (pull.sum(axis=1) * dots[items] - pull @ dots[part])) / 2
            square = float(p @ p)
            products -= self.l2 * len(items) * square
            squares += square
        return replace(self, fold_in_l2=_penalty(products, squares))

    def positives(self, rows: SparseRows) -> tuple[SparseRows, Float32]:
        """Return the events with a positive confidence, and these confidences: transformed values times weights.

        Other events (dislikes) are treated as missing, so their items may be drawn as negatives.

        Parameters
        ----------
        rows : SparseRows
            Events.

        Returns
        -------
        events : SparseRows
            The events with a positive confidence.
        weights : ndarray of shape (n,) or (0,), float32
            Confidence of each event; an empty array if all are 1.
        """
        confidence = signed_confidence(rows.values, rows.weights, self.counts)
        is_positive = confidence > 0
        if not is_positive.all():
            owners = rows.owners[is_positive]
            start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owners, minlength=len(rows)))])
            rows = SparseRows(start, rows.columns[is_positive], rows.values[is_positive])
            confidence = confidence[is_positive]
        return rows, np.zeros(0, np.float32) if (confidence == 1).all() else confidence

    def fold_in_users(
        self, model: _Factors, histories: SparseRows, prior: GaussianPrior | None
    ) -> tuple[Float32, Float32]:
        """Fit new users by SGD with the item vectors held fixed; the vector of a user without events is zero.

        Parameters
        ----------
        model : FactorModel
            The model.
        histories : SparseRows
            One row for each new user.
        prior : None
            Must be None: pairwise models do not support priors.

        Returns
        -------
        factors : ndarray of shape (n, k), float32
        bias : ndarray of shape (n,), float32

        Raises
        ------
        KindError
            If a prior is passed.
        """
        require_no_prior(prior)
        n, k = model.item_factors.shape
        x, items = np.zeros((len(histories), padded_width(k)), np.float32), np.zeros((n, padded_width(k)), np.float32)
        items[:, :k] = model.item_factors
        events, weights = self.positives(histories)
        rates = cosine_schedule(self.learning_rate, self.epochs)
        bpr_fold_in(
            x, events, weights, items, model.item_bias,
            candidates=self.n_negatives, rates=rates, l2=self.l2, row_l2=self.fold_in_l2,
        )  # fmt: skip
        return x[:, :k], np.zeros(len(histories), np.float32)

    def fold_in_items(self, model: _Factors, raters: SparseRows, prior: GaussianPrior) -> tuple[Float32, Float32]:
        """Return the prior means as the vectors and biases of new items, because pairwise models do not fit new items.

        Parameters
        ----------
        model : FactorModel
            The model.
        raters : SparseRows
            One row for each new item; the columns are users.
        prior : GaussianPrior
            Its means are returned.

        Returns
        -------
        factors : ndarray of shape (n, k), float32
            Factors of the new items.
        bias : ndarray of shape (n,), float32
            Biases of the new items.
        """
        x = checked_prior(prior, len(raters), model.factors + 1).means.astype(np.float32)
        return x[:, : model.factors], x[:, model.factors]

    def terms(self, model: _Factors, user: int, item: int, history: SparseRows) -> tuple[Int32, Float64]:
        """Decompose the dot product of a user's and an item's vectors into one term per event; see `pairwise_terms`.

        Parameters
        ----------
        model : FactorModel
            The model.
        user : int
            The user's row number.
        item : int
            The item's row number.
        history : SparseRows
            The user's history, as a single row.

        Returns
        -------
        rows : ndarray of shape (m,), int32
            Row numbers of the items in the history.
        terms : ndarray of shape (m,), float64
            The term of each item.
        """
        events, weights = self.positives(history)
        weights = weights if len(weights) else np.ones(len(events.columns), np.float32)
        p, Q = model.user_factors[user], model.item_factors
        return events.columns, pairwise_terms(
            p, Q, model.item_bias, events.columns, weights, Q[item], n_negatives=self.n_negatives
        )

    def objective(self, model: _Factors, interactions: Interactions) -> float:
        """Evaluate the loss of a model on its training table; see `FactorModel.objective`.

        The expectation over j is exact. A user who has all items has no item pairs and contributes no loss.

        Parameters
        ----------
        model : FactorModel
            The model.
        interactions : Interactions
            The table that the model was fitted to.

        Returns
        -------
        float
            The loss, summed in float64.
        """
        rows, weights = self.positives(interactions.by_user)
        P, Q, bias = (a.astype(np.float64) for a in (model.user_factors, model.item_factors, model.item_bias))
        item_penalty = self.l2 * _squared_norms(Q) + self.l2_bias * bias**2
        total = 0.0
        for u in np.flatnonzero(rows.counts):
            user_slice = slice(rows.start[u], rows.start[u + 1])
            items = rows.columns[user_slice]
            scores = P[u] @ Q.T + bias
            negatives = np.setdiff1d(np.arange(len(Q)), items)
            if len(negatives) == 0:
                continue
            negatives = negatives[np.argsort(scores[negatives], kind="stable")]
            probabilities = negative_probabilities(len(negatives), self.n_negatives)
            w = weights[user_slice].astype(np.float64) if len(weights) else np.ones(len(items))
            losses = np.logaddexp(0, scores[negatives] - scores[items][:, None])
            total += float(w @ losses @ probabilities + item_penalty[items].sum())
            total += len(items) * float(self.l2 * P[u] @ P[u] + item_penalty[negatives] @ probabilities)
        return total


Loss: TypeAlias = RatingsLoss | EventsLoss | PairwiseLoss


def _supports(interactions: Interactions) -> tuple[Int64, Int64]:
    """Return the number of interactions of each user and of each item."""
    return interactions.by_user.counts, np.bincount(interactions.i, minlength=interactions.n_items)


def _penalty(products: float, squares: float) -> float:
    """Return the fold-in penalty, the ratio of two sums; 0 if it is negative or the second sum is 0."""
    return max(products / squares, 0.0) if squares > 0 else 0.0


def _squared_norms(factors: Float32 | Float64) -> Float64:
    """Return the squared norm of each row."""
    squares: Float64 = np.einsum("rd,rd->r", factors, factors, dtype=np.float64)
    return squares
