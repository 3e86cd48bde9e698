"""Bayesian factor model: the posterior mean, and posterior samples for the uncertainty of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
    random_stream,
    read_only,
    require_array,
)
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import (
    checked_batch_pairs,
    checked_known_pair,
    checked_take,
    require_histories,
    require_no_prior,
)
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation, ridge_terms
from cofactor.models.factor import FactorModel
from cofactor.models.fold_in import GaussianPrior
from cofactor.models.posterior_samples import (
    Posterior,
    SampleFoldIn,
    as_item,
    as_user,
    features,
    leave_one_out_means,
)
from cofactor.models.recalibration import Recalibration
from cofactor.models.session_bias import SessionBias
from cofactor.models.user_batch import UserBatch
from cofactor.results import ItemIndexName
from cofactor.validation import require_valid_fields, validated

__all__ = ["BayesianModel", "Posterior"]


@dataclass(frozen=True, eq=False)
class BayesianModel:
    """Bayesian factor model: a posterior mean for ranking and prediction, and samples for predictive distributions.

    Parameters
    ----------
    average : FactorModel
        The mean over all samples in the chain; its vectors may be longer than those of a sample.
    posterior : Posterior
        A subset of the samples.
    factors : int
        The number of factors in each sample.
    center : float
        The mean training rating, which is subtracted from ratings in the samples.
    session_bias : SessionBias, optional
        The mean session biases, if they were learned. They are added to predictions that have a time.
    recalibration : Recalibration, optional
        Correction of the predictive distributions, if it was learned.

    Notes
    -----
    In sample s, a rating has the distribution::

        r_ui ~ N(center + b_u + b_i + p_u . q_i + session bias, 1 / (user_noise[s, u] item_noise[s, i]))

    References
    ----------
    See `BayesianMF`.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
    >>> model = cofactor.BayesianMF(factors=2, iterations=50, burn_in=10).fit(ratings)
    >>> model
    BayesianModel(3 users, 2 items, 2 factors, 32 samples)
    >>> sd = model.distribution(UserBatch.trained([0, -1], ratings.by_user), np.int32([1, -1])).sd()
    >>> sd.shape, bool(sd[0] < sd[1])                                        # an unknown user is less certain
    ((2,), True)
    """

    model_type: ClassVar[str] = "bayesian"

    average: FactorModel
    posterior: Posterior
    factors: int
    center: float
    session_bias: SessionBias | None = None
    recalibration: Recalibration | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        post, (n_users, n_items) = self.posterior, (self.average.n_users, self.average.n_items)
        require_array("posterior.users", post.users, np.float32, (None, n_users, None))
        n_samples, _, width = post.users.shape
        shapes = {
            "items": (n_items, width), "user_noise": (n_users,), "item_noise": (n_items,), "user_mean": (width,),
            "user_precision": (width,), "terms": (None, width), "unknown_user": (width,),
            "unknown_user_variance": (width,), "unknown_item": (width,), "unknown_item_variance": (width,),
            "base_noise": (), "noise_shape": (),
        }  # fmt: skip
        for name, shape in shapes.items():
            require_array(f"posterior.{name}", getattr(post, name), np.float32, (n_samples, *shape))
        if post.terms.shape[1] not in (0, n_items):
            raise DataError(f"posterior.terms must have 0 or {n_items:,} items; got {post.terms.shape[1]:,}")
        if self.session_bias is not None and len(self.session_bias.rows) != n_users:
            raise DataError(f"session_bias must have {n_users:,} users; got {len(self.session_bias.rows):,}")
        checks.whole_number("factors", self.factors, low=0, high=width - 1)

    @property
    def n_users(self) -> int:
        """Number of users in the model, trained or folded in."""
        return self.average.n_users

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return self.average.n_items

    @property
    def uses_times(self) -> bool:
        """Whether predictions depend on the time of the rating, because session biases were learned."""
        return self.session_bias is not None

    @property
    def user_factors(self) -> Float32:
        """Posterior mean user vectors: ndarray of shape (n_users, width), float32; zeros represent the average user."""
        return self.average.user_factors

    @property
    def item_factors(self) -> Float32:
        """Posterior mean item vectors: ndarray of shape (n_items, width), float32; zeros represent the average item."""
        return self.average.item_factors

    @property
    def zero_is_unknown(self) -> bool:
        """False, because a predicted rating of 0 is a valid prediction."""
        return False

    def __repr__(self) -> str:
        size = f"{self.n_users:,} users, {self.n_items:,} items"
        return f"BayesianModel({size}, {self.factors} factors, {len(self.posterior)} samples)"

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict the posterior mean rating for each user-item pair, clipped to the rating scale.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user. Times are used if the model has session biases; histories are not used.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        users, items = checked_batch_pairs(self, users, items)
        if self.session_bias is None or users.times is None:
            return self.average.predict(users, items)
        x, scale = self.average.raw_scores(users.rows, items) + self._session_shift(users), self.average.scale
        return x if scale is None else np.clip(x, scale.low, scale.high)

    def _session_shift(self, users: UserBatch) -> Float32:
        if self.session_bias is None or users.times is None:
            return np.zeros(len(users), np.float32)
        return self.session_bias.shift(users.rows, users.times)

    def scores(self, users: UserBatch) -> Float32:
        """Compute the unclipped posterior mean scores of all items for each user.

        Parameters
        ----------
        users : UserBatch
            Must not contain unknown users (row -1).

        Returns
        -------
        ndarray of shape (n_users, n_items), float32
            Higher is better.
        """
        return self.average.scores(users)

    def item_scores(self, users: UserBatch, items: Int32) -> Float32:
        """Compute the unclipped posterior mean scores of some items for each user.

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
        return self.average.item_scores(users, items)

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """Return the top n items for each user by posterior mean; see `FactorModel.top`.

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
        return self.average.top(users, n, exclude=exclude, allowed=allowed, order=order)

    @property
    def item_index(self) -> ItemIndexName | None:
        """Index that `top` uses; see `FactorModel.item_index`."""
        return self.average.item_index

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar items for each item, by posterior mean factors; see `FactorModel.similar_items`.

        Parameters
        ----------
        items : ndarray of shape (m,), int32
            Item row numbers.
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
        return self.average.similar_items(items, n, allowed)

    def similar_users(self, users: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """Return the n most similar users for each user, by posterior mean factors; see `FactorModel.similar_users`.

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
        return self.average.similar_users(users, n, allowed)

    def item_similarity(self, items: Int32) -> Float32:
        """Compute cosine similarities of items from their posterior mean factors; see `FactorModel.item_similarity`.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            A symmetric matrix for each list; 0 for row -1.
        """
        return self.average.item_similarity(items)

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return the predictive distribution of each rating: a mixture with one normal component per posterior sample.

        The mixture is corrected by the `recalibration`, if it was learned.

        Parameters
        ----------
        users : UserBatch
            n users; row -1 is an unknown user. Histories are not used. With times, the mixture is shifted by the
            session bias; the variance of the session bias is not included.
        items : ndarray of shape (n,), int32
            Item row numbers; -1 is an unknown item. An unknown user or item adds the variance of its prior.

        Returns
        -------
        Distribution
        """
        users, items = checked_batch_pairs(self, users, items)
        means, variances = (np.empty((len(users), len(self.posterior))) for _ in range(2))
        for s in range(len(self.posterior)):
            means[:, s], variances[:, s] = self._moments(s, users.rows, items)
        shift = self._session_shift(users)
        return Distribution.of(means + shift[:, None], np.sqrt(variances), self.average.scale, self.recalibration)

    def _moments(self, s: int, users: Int32, items: Int32) -> tuple[Float64, Float64]:
        """Return the mean and the variance of the rating of each user-item pair in sample s, as float64."""
        post, k = self.posterior, self.factors
        U, user_variance, user_noise = _append_unknown(
            post.users[s], post.unknown_user[s], post.unknown_user_variance[s], post.user_noise[s], post.base_noise[s]
        )
        V, item_variance, item_noise = _append_unknown(
            post.items[s], post.unknown_item[s], post.unknown_item_variance[s], post.item_noise[s], 1.0
        )
        left, right = as_user(U, k), as_item(V, k)
        mean = self.center + pair_dots(left, right, users, items).astype(np.float64)
        variance = 1.0 / (user_noise[users].astype(np.float64) * item_noise[items])
        for own_variance, other, rows, other_rows in (
            (user_variance, V, users, items),
            (item_variance, U, items, users),
        ):
            if (is_unknown := rows < 0).any():
                vectors = features(other, k)[other_rows[is_unknown]].astype(np.float64)
                variance[is_unknown] += (vectors**2) @ own_variance
        return mean, variance

    @validated
    def rescaled(self, unit: float, scale: Scale | None, *, shift: float = 0.0) -> Self:
        """Return an equivalent model for multiplied and shifted ratings; see `FactorModel.rescaled`.

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
        BayesianModel
            A model that predicts `unit` times the rating plus `shift`; noise precisions are divided by `unit` squared.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
        >>> model = cofactor.BayesianMF(factors=2, iterations=20, burn_in=10).fit(ratings)
        >>> larger = model.rescaled(10.0, Scale(10.0, 50.0))
        >>> round(larger.center / model.center)
        10
        """
        average = self.average.rescaled(unit, scale, shift=shift)
        post, k = self.posterior, self.factors
        vector_unit = np.ones(post.users.shape[2])
        vector_unit[:k], vector_unit[k] = np.sqrt(unit), unit
        multipliers = {
            "users": vector_unit, "items": vector_unit, "terms": vector_unit, "user_mean": vector_unit,
            "unknown_user": vector_unit, "unknown_item": vector_unit, "user_precision": vector_unit**-2,
            "unknown_user_variance": vector_unit**2, "unknown_item_variance": vector_unit**2,
            "user_noise": unit**-2, "base_noise": unit**-2,
        }  # fmt: skip
        scaled_arrays = {
            name: read_only((getattr(post, name) * multiplier).astype(np.float32))
            for name, multiplier in multipliers.items()
        }
        biases = self.session_bias
        if biases is not None:
            values = read_only(biases.rows.values * np.float32(unit))
            biases = replace(biases, rows=replace(biases.rows, values=values))
        return replace(
            self,
            average=average,
            posterior=replace(post, **scaled_arrays),
            center=self.center * unit + shift,
            session_bias=biases,
            recalibration=None if self.recalibration is None else self.recalibration.rescaled(unit, shift),
        )

    @one_thread_blas()
    def explain(self, users: UserBatch, item: int) -> Explanation:
        """Explain a score by the contribution of each item in the user's history to the posterior mean score.

        In each sample, a user's vector is normally distributed and its mean solves a ridge regression. Relative to the
        vector of an unknown user, an item contributes through its rating and, because it was rated at all, through the
        prior mean. Terms are averaged over the samples; the difference between their sum and the score of the average
        model is the rest.

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
        average = self.average
        terms = np.mean([self._terms(s, user, item, history) for s in range(len(self.posterior))], axis=0)
        mean, user_bias, item_bias = average.mean, float(average.user_bias[user]), float(average.item_bias[item])
        score = float(average.raw_scores(users.rows, np.array([item], np.int32))[0])
        rest = score - mean - user_bias - item_bias - float(terms.sum())
        return Explanation(score, mean, user_bias, item_bias, history.columns, terms, rest)

    def _terms(self, s: int, user: int, item: int, history: SparseRows) -> Float64:
        post, k, columns = self.posterior, self.factors, history.columns
        precision = post.user_precision[s].astype(np.float64)
        vectors = features(post.items[s][columns], k).astype(np.float64)
        confidence = post.user_noise[s, user] * post.item_noise[s][columns].astype(np.float64)
        if history.weights is not None:
            confidence = confidence * history.weights
        start, m = post.unknown_user[s].astype(np.float64), max(len(columns), 1)
        targets = history.values - self.center - post.items[s, columns, k] - vectors @ start
        item_vector = np.zeros(vectors.shape[1])
        item_vector[:k] = post.items[s, item, :k]
        shifts = np.tile((post.user_mean[s] - start) / m, (len(columns), 1))
        if post.terms.shape[1]:
            shifts += post.terms[s][columns].astype(np.float64) / np.sqrt(m)
        return ridge_terms(
            vectors, targets, confidence, item_vector, gram=np.zeros(0), ridge=precision, shifts=precision * shifts
        )  # fmt: skip

    # Fold-in

    @one_thread_blas()
    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Return a model with new users, fitted in each posterior sample with the item factors held fixed.

        In each sample, a user's vector solves a ridge regression whose prior mean and noise depend on the history. The
        mean vector is the one whose predictions over the catalog are closest to the mean predictions of the samples.
        All users share the same random numbers, so that a user's result does not depend on the batch.

        Parameters
        ----------
        histories : SparseRows
            One row for each new user; a user with an empty history is treated as unknown.
        prior : None
            Must be None; raises KindError otherwise.

        Returns
        -------
        BayesianModel
            The same model with the new users.
        """
        require_no_prior(prior)
        post, n = self.posterior, len(require_histories(histories, self.n_items))
        users = np.zeros((len(post), n, post.users.shape[2]), np.float32)
        noise = np.zeros((len(post), n), np.float32)
        to_average, solution = self._to_average, np.tile(self._zero_user, (n, 1))
        for s in range(len(post)):
            sample = SampleFoldIn.of(post, s, histories, self.factors, self.center)
            mean, noise[s] = sample.mean_and_noise()
            z = random_stream(0, "fold in", s).standard_normal(users.shape[2], dtype=np.float32)
            users[s] = sample.solve(noise[s], z=z)
            for row in range(n):
                solution[row] += to_average[s] @ mean[row].astype(np.float64) / len(post)
        average = self.average.with_user_arrays(solution[:, :-1].astype(np.float32), solution[:, -1].astype(np.float32))
        biases = None if self.session_bias is None else self.session_bias.without_sessions(n)
        posterior = replace(post, users=read_only(users), user_noise=read_only(noise))
        return replace(self, average=average, posterior=posterior, session_bias=biases)

    @one_thread_blas()
    def fold_in_without(self, histories: SparseRows) -> FactorModel:
        """Fold in a history with each of its rows left out in turn, and the whole history; return the mean model.

        The users are those of `fold_in`, computed by updates of rank one.

        Parameters
        ----------
        histories : SparseRows
            The history of one user, a single row with m entries.

        Returns
        -------
        FactorModel
            The mean model with m + 1 users; the last one has the whole history.
        """
        require_histories(histories, self.n_items, n_rows=1)
        means = leave_one_out_means(self.posterior, histories, self.factors, self.center)
        solution = self._zero_user + np.einsum("skw,smw->mk", self._to_average, means) / len(self.posterior)
        return self.average.with_user_arrays(solution[:, :-1].astype(np.float32), solution[:, -1].astype(np.float32))

    @cached_property
    def _basis(self) -> Float64:
        """Pseudo-inverse of [item factors, 1], which maps a row of ratings to [factors, bias] of the mean model.

        Factors are first divided by a power of two, so that the cutoff for singular values does not depend on the unit.
        """
        factors = self.average.item_factors.astype(np.float64)
        size = float(np.exp2(np.round(np.log2(max(float(np.abs(factors).max(initial=0)), 1e-30)))))
        extended_factors = np.column_stack([factors / size, np.ones(self.n_items)])
        inverse: Float64 = np.linalg.pinv(extended_factors, rcond=1e-6).astype(np.float64)
        inverse[:-1] /= size
        return inverse

    @cached_property
    def _to_average(self) -> Float64:
        """Matrices that map a user vector in each sample to [factors, bias] of the mean model."""
        return np.stack([self._basis @ features(items, self.factors) for items in self.posterior.items])

    @cached_property
    def _zero_user(self) -> Float64:
        """The [factors, bias] in the mean model of a user whose vector is zero in every sample."""
        item_level = self.posterior.items[:, :, self.factors].mean(axis=0, dtype=np.float64)
        zero_user: Float64 = self._basis @ (self.center + item_level - self.average.mean - self.average.item_bias)
        return zero_user

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Return a model with users selected from this model and another one; see `FoldsIn.with_users`.

        Parameters
        ----------
        other : BayesianModel
            A model with the same items.
        take : ndarray of shape (n,), int32
            Selected rows: an entry t >= 0 is row t of this model, and t < 0 is row -1 - t of `other`.

        Returns
        -------
        BayesianModel
            A model with n users.
        """
        take = checked_take(take, self.n_users, other.n_users)
        rows = np.where(take >= 0, take, self.n_users - 1 - take)
        selected_arrays = {}
        for name in ("users", "user_noise"):
            stacked_arrays = np.concatenate([getattr(self.posterior, name), getattr(other.posterior, name)], axis=1)
            selected_arrays[name] = read_only(np.ascontiguousarray(stacked_arrays[:, rows]))
        biases = None
        if self.session_bias is not None and other.session_bias is not None:
            biases = self.session_bias.with_users(other.session_bias, take)
        average = self.average.with_users(other.average, take)
        return replace(self, average=average, posterior=replace(self.posterior, **selected_arrays), session_bias=biases)

    # Serialization

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the attributes `average`, `posterior`, `session_bias` and `recalibration`.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name, prefixed with the name of the attribute.
        """
        samples = {f.name: getattr(self.posterior, f.name) for f in fields(self.posterior)}
        biases = {} if self.session_bias is None else self.session_bias.arrays()
        recalibration = {} if self.recalibration is None else self.recalibration.arrays()
        parts = {
            "average": self.average.arrays(),
            "posterior": samples,
            "session_bias": biases,
            "recalibration": recalibration,
        }
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def settings(self) -> dict[str, Any]:
        """Return the model state that is not included in `arrays`, as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {
            "factors": self.factors,
            "center": self.center,
            "average": self.average.settings(),
            "session_bias": None if self.session_bias is None else self.session_bias.settings(),
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
        BayesianModel
            A bitwise identical object.
        """
        average, biases, recalibration = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in ("average.", "session_bias.", "recalibration.")
        )
        return cls(
            FactorModel.from_parts(average, settings["average"]),
            Posterior(**{f.name: arrays[f"posterior.{f.name}"] for f in fields(Posterior)}),
            checks.plain("factors", settings["factors"], int),
            checks.plain("center", settings["center"], float),
            SessionBias.from_parts(biases, settings["session_bias"]) if biases else None,
            Recalibration(**recalibration) if recalibration else None,
        )


def _append_unknown(
    vectors: Float32, mean: Float32, variance: Float32, noise: Float32, mean_noise: np.float32 | float
) -> tuple[Float32, Float64, Float32]:
    """Append a row for unknown users or items to the vectors and the noise; also return the prior variance."""
    return np.vstack([vectors, mean[None]]), variance.astype(np.float64), np.append(noise, np.float32(mean_noise))
