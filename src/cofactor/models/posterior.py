"""A Bayesian factor model: the average of all draws to rank by, and a few draws to know how sure it is."""

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
from cofactor.models.posterior_samples import Newcomers, Posterior, as_item, as_user, features
from cofactor.models.session_bias import SessionBias
from cofactor.models.user_batch import UserBatch
from cofactor.validation import require_valid_fields, validated

__all__ = ["BayesianModel", "Posterior"]


@dataclass(frozen=True, eq=False)
class BayesianModel:
    """`average` ranks and predicts: the posterior mean over every draw. `posterior` gives each rating a distribution.

        r_ui of draw s ~ N(center + b_u + b_i + p_u . q_i + moods, 1 / (user_noise[s, u] item_noise[s, i]))

    `factors` is the width of a draw; `center` is the average rating that draws are relative to. `sessions` holds the
    average moods, where they were learnt; they are added where a time is given, and are 0 without one. The average may
    be wider than a draw. Sources: see `BayesianMF`.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
    >>> model = cofactor.BayesianMF(factors=2, iterations=50, burn_in=10).fit(ratings)
    >>> model
    BayesianModel(3 users, 2 items, 2 factors, 32 draws)
    >>> spread = model.distribution(UserBatch.trained([0, -1], ratings.by_user), np.int32([1, -1])).sd()
    >>> spread.shape, bool(spread[0] < spread[1])                            # nobody knows the unknown
    ((2,), True)
    """

    kind: ClassVar[str] = "bayesian"

    average: FactorModel
    posterior: Posterior
    factors: int
    center: float
    sessions: SessionBias | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        post, (n_users, n_items) = self.posterior, (self.average.n_users, self.average.n_items)
        require_array("posterior.users", post.users, np.float32, (None, n_users, None))
        draws, _, width = post.users.shape
        shapes = {
            "items": (n_items, width), "user_noise": (n_users,), "item_noise": (n_items,), "user_mean": (width,),
            "user_precision": (width,), "terms": (None, width), "unknown_user": (width,),
            "unknown_user_variance": (width,), "unknown_item": (width,), "unknown_item_variance": (width,),
            "base_noise": (), "noise_shape": (),
        }  # fmt: skip
        for name, shape in shapes.items():
            require_array(f"posterior.{name}", getattr(post, name), np.float32, (draws, *shape))
        if post.terms.shape[1] not in (0, n_items):
            raise DataError(f"posterior.terms must have 0 or {n_items:,} items, not {post.terms.shape[1]:,}")
        if self.sessions is not None and len(self.sessions.rows) != n_users:
            raise DataError(f"sessions must have {n_users:,} users, not {len(self.sessions.rows):,}")
        checks.whole_number("factors", self.factors, low=0, high=width - 1)

    @property
    def n_users(self) -> int:
        """The average's users; each draw has as many."""
        return self.average.n_users

    @property
    def n_items(self) -> int:
        """The average's items; each draw has as many."""
        return self.average.n_items

    @property
    def knows_time(self) -> bool:
        """Whether moods were learnt, with a `time_bin` above 0."""
        return self.sessions is not None

    @property
    def user_factors(self) -> Float32:
        """The average's: (n_users, width) float32; zero is the average user."""
        return self.average.user_factors

    @property
    def item_factors(self) -> Float32:
        """The average's: (n_items, width) float32; zero is the average item."""
        return self.average.item_factors

    @property
    def zero_is_unknown(self) -> bool:
        """False: a predicted rating of 0 is a prediction as any other."""
        return False

    def __repr__(self) -> str:
        size = f"{self.n_users:,} users, {self.n_items:,} items"
        return f"BayesianModel({size}, {self.factors} factors, {len(self.posterior)} draws)"

    def predict(self, users: UserBatch, items: Int32) -> Float32:
        """Predict posterior mean ratings, clipped to the scale: ndarray of shape (n,), float32.

        Times of the batch count where the model learned from time. Histories are not used.
        """
        users, items = checked_batch_pairs(self, users, items)
        if self.sessions is None or users.times is None:
            return self.average.predict(users, items)
        x, scale = self.average.linear(users.rows, items) + self._session_bias(users), self.average.scale
        return x if scale is None else np.clip(x, scale.low, scale.high)

    def _session_bias(self, users: UserBatch) -> Float32:
        if self.sessions is None or users.times is None:
            return np.zeros(len(users), np.float32)
        return self.sessions.shift(users.rows, users.times)

    def scores(self, users: UserBatch) -> Float32:
        """Compute the posterior mean of every item, not clipped: ndarray of shape (n_users, n_items), float32."""
        return self.average.scores(users)

    def top(
        self,
        users: UserBatch,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        order: ItemOrder = ROW_ORDER,
    ) -> tuple[Int32, Float32]:
        """Rank by posterior mean: `FactorModel.top` of the average."""
        return self.average.top(users, n, exclude=exclude, allowed=allowed, order=order)

    def similar_items(self, items: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """As `FactorModel.similar_items`, by the average's factors."""
        return self.average.similar_items(items, n, allowed)

    def similar_users(self, users: Int32, n: int, allowed: Bool = ALL_ROWS) -> tuple[Int32, Float32]:
        """As `FactorModel.similar_users`, by the average's factors."""
        return self.average.similar_users(users, n, allowed)

    def distribution(self, users: UserBatch, items: Int32) -> Distribution:
        """Return each rating as a mixture of one normal distribution per sample.

        An unknown user or item (-1) adds the variance of its prior. With times the mixture is moved by the session
        bias, whose own variance is not counted. Histories are not used.
        """
        users, items = checked_batch_pairs(self, users, items)
        return self._distribution(users.rows, items, self._session_bias(users))

    def _distribution(self, users: Int32, items: Int32, shift: Float32) -> Distribution:
        means, variances = np.empty((len(users), len(self.posterior))), np.empty((len(users), len(self.posterior)))
        for s in range(len(self.posterior)):
            means[:, s], variances[:, s] = self._drawn(s, users, items)
        return Distribution.of(means + shift[:, None], np.sqrt(variances), self.average.scale)

    def _drawn(self, s: int, users: Int32, items: Int32) -> tuple[Float64, Float64]:
        """Mean and variance of each pair's rating in draw s: (n,) float64 each."""
        post, k = self.posterior, self.factors
        U, user_spread, user_noise = _with_unknown(
            post.users[s], post.unknown_user[s], post.unknown_user_variance[s], post.user_noise[s], post.base_noise[s]
        )
        V, item_spread, item_noise = _with_unknown(
            post.items[s], post.unknown_item[s], post.unknown_item_variance[s], post.item_noise[s], 1.0
        )
        left, right = as_user(U, k), as_item(V, k)
        mean = self.center + pair_dots(left, right, users, items).astype(np.float64)
        variance = 1.0 / (user_noise[users].astype(np.float64) * item_noise[items])
        for spread, other, rows, others in ((user_spread, V, users, items), (item_spread, U, items, users)):
            if (unknown := rows < 0).any():
                seen = features(other, k)[others[unknown]].astype(np.float64)
                variance[unknown] += (seen**2) @ spread
        return mean, variance

    @validated
    def rescaled(self, unit: float, scale: Scale | None) -> Self:
        """The same model for ratings in a unit `unit` times smaller; see `FactorModel.rescaled`.

        Parameters
        ----------
        unit : float
            How many of the new units are in one of the old, from 1e-12 to 1e12.
        scale : Scale or None
            The scale in the new unit.

        Returns
        -------
        BayesianModel
            Means are `unit` times as large and precisions are divided by the square of `unit`.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [5, 4, 2, 1, 3])
        >>> model = cofactor.BayesianMF(factors=2, iterations=20, burn_in=10).fit(ratings)
        >>> larger = model.rescaled(10.0, Scale(10.0, 50.0))
        >>> round(larger.center / model.center)
        10
        """
        average = self.average.rescaled(unit, scale)
        if unit == 1:
            return replace(self, average=average)
        post, k = self.posterior, self.factors
        times = np.ones(post.users.shape[2])
        times[:k], times[k] = np.sqrt(unit), unit
        powers = {
            "users": times, "items": times, "terms": times, "user_mean": times, "unknown_user": times,
            "unknown_item": times, "user_precision": times**-2, "unknown_user_variance": times**2,
            "unknown_item_variance": times**2, "user_noise": unit**-2, "base_noise": unit**-2,
        }  # fmt: skip
        scaled = {name: read_only((getattr(post, name) * by).astype(np.float32)) for name, by in powers.items()}
        sessions = self.sessions
        if sessions is not None:
            values = read_only(sessions.rows.values * np.float32(unit))
            sessions = replace(sessions, rows=replace(sessions.rows, values=values))
        return replace(
            self,
            average=average,
            posterior=replace(post, **scaled),
            center=self.center * unit,
            sessions=sessions,
        )

    # reasons

    @one_thread_blas()
    def explain(self, users: UserBatch, item: int) -> Explanation:
        """What each item of the history adds to the posterior mean, averaged over the draws.

        In a draw a user's vector is normal, and its mean solves a ridge regression. Seen from the vector of somebody of
        whom nothing is known, an item adds what its rating adds, and what having rated it at all adds to the prior
        beyond what the average history does. What the draws differ by from the average model is not attributed.
        """
        user, item, history = checked_known_pair(self, users, item)
        average = self.average
        terms = np.mean([self._terms(s, user, item, history) for s in range(len(self.posterior))], axis=0)
        mean, own, its = average.mean, float(average.user_bias[user]), float(average.item_bias[item])
        score = float(average.linear(users.rows, np.array([item], np.int32))[0])
        rest = score - mean - own - its - float(terms.sum())
        return Explanation(score, mean, own, its, history.columns, terms, rest)

    def _terms(self, s: int, user: int, item: int, history: SparseRows) -> Float64:
        post, k, columns = self.posterior, self.factors, history.columns
        precision = post.user_precision[s].astype(np.float64)
        seen = features(post.items[s][columns], k).astype(np.float64)
        confidence = post.user_noise[s, user] * post.item_noise[s][columns].astype(np.float64)
        if history.weights is not None:
            confidence = confidence * history.weights
        start, m = post.unknown_user[s].astype(np.float64), max(len(columns), 1)
        targets = history.values - self.center - post.items[s, columns, k] - seen @ start
        goal = np.zeros(seen.shape[1])
        goal[:k] = post.items[s, item, :k]
        shifts = np.tile((post.user_mean[s] - start) / m, (len(columns), 1))
        if post.terms.shape[1]:
            shifts += post.terms[s][columns].astype(np.float64) / np.sqrt(m)
        return ridge_terms(
            seen, targets, confidence, goal, gram=np.zeros(0), ridge=precision, shifts=precision * shifts
        )  # fmt: skip

    # newcomers

    @one_thread_blas()
    def fold_in(self, histories: SparseRows, *, prior: GaussianPrior | None = None) -> Self:
        """Users worked out from their histories in every draw, the items held as they are.

        In each draw a ridge regression with the prior mean that the history itself gives, and the user's own noise; an
        empty history gives somebody of whom nothing is known. The average user vector is the one whose predictions come
        closest to the mean of the draws', over the catalog. What is drawn is drawn alike for everybody: the same bits
        each time, alone or in a batch.
        """
        require_no_prior(prior)
        post, n = self.posterior, len(require_histories(histories, self.n_items))
        drawn = np.zeros((len(post), n, post.users.shape[2]), np.float32)
        noise = np.zeros((len(post), n), np.float32)
        to_average, solution = self._to_average, np.tile(self._at_zero, (n, 1))
        for s in range(len(post)):
            one = Newcomers.of(post, s, histories, self.factors, self.center)
            mean, noise[s] = one.mean_and_noise()
            z = random_stream(0, "fold in", s).standard_normal(drawn.shape[2], dtype=np.float32)
            drawn[s] = one.solved(noise[s], z=z)
            for row in range(n):
                solution[row] += to_average[s] @ mean[row].astype(np.float64) / len(post)
        average = self.average.with_user_arrays(solution[:, :-1].astype(np.float32), solution[:, -1].astype(np.float32))
        sessions = None if self.sessions is None else self.sessions.without_sessions(n)
        folded = replace(post, users=read_only(drawn), user_noise=read_only(noise))
        return replace(self, average=average, posterior=folded, sessions=sessions)

    @cached_property
    def _basis(self) -> Float64:
        """From a row of ratings to the average model's [factors, bias]: the pseudo-inverse of [item factors, 1].

        Factors are divided by a power of two first, so that small singular values are judged alike in every unit.
        """
        factors = self.average.item_factors.astype(np.float64)
        size = float(np.exp2(np.round(np.log2(max(float(np.abs(factors).max(initial=0)), 1e-30)))))
        wide = np.column_stack([factors / size, np.ones(self.n_items)])
        inverse: Float64 = np.linalg.pinv(wide, rcond=1e-6).astype(np.float64)
        inverse[:-1] /= size
        return inverse

    @cached_property
    def _to_average(self) -> Float64:
        """From a draw's vector to what it adds to the average's [factors, bias]: (S, average factors + 1, width)."""
        return np.stack([self._basis @ features(items, self.factors) for items in self.posterior.items])

    @cached_property
    def _at_zero(self) -> Float64:
        """The average's [factors, bias] where every draw's vector is zero."""
        level = self.posterior.items[:, :, self.factors].mean(axis=0, dtype=np.float64)
        at_zero: Float64 = self._basis @ (self.center + level - self.average.mean - self.average.item_bias)
        return at_zero

    @validated
    def with_users(self, other: Self, take: Int32) -> Self:
        """Users picked from this model (take >= 0) and from `other` (row -1 - take)."""
        take = checked_take(take, self.n_users, other.n_users)
        both = {
            name: np.concatenate([getattr(self.posterior, name), getattr(other.posterior, name)], axis=1)
            for name in ("users", "user_noise")
        }
        rows = np.where(take >= 0, take, self.n_users - 1 - take)
        picked = {name: read_only(np.ascontiguousarray(array[:, rows])) for name, array in both.items()}
        sessions = None
        if self.sessions is not None and other.sessions is not None:
            sessions = self.sessions.with_users(other.sessions, take)
        average = self.average.with_users(other.average, take)
        return replace(self, average=average, posterior=replace(self.posterior, **picked), sessions=sessions)

    # files

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of `average`, `posterior` and `sessions`, each behind its name and a dot."""
        draws = {f"posterior.{f.name}": getattr(self.posterior, f.name) for f in fields(self.posterior)}
        moods = {} if self.sessions is None else self.sessions.arrays()
        return (
            {f"average.{name}": array for name, array in self.average.arrays().items()}
            | draws
            | {f"sessions.{name}": array for name, array in moods.items()}
        )

    def settings(self) -> dict[str, Any]:
        """factors, center, and the settings of the average and the sessions."""
        moods = None if self.sessions is None else self.sessions.settings()
        average = self.average.settings()
        return {"factors": self.factors, "center": self.center, "average": average, "sessions": moods}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """The model of a file, draws and all; without sessions where it learnt no moods."""
        average, moods = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in ("average.", "sessions.")
        )
        draws = {f.name: arrays[f"posterior.{f.name}"] for f in fields(Posterior)}
        return cls(
            FactorModel.from_parts(average, settings["average"]),
            Posterior(**draws),
            checks.plain("factors", settings["factors"], int),
            checks.plain("center", settings["center"], float),
            SessionBias.from_parts(moods, settings["sessions"]) if moods else None,
        )


def _with_unknown(
    vectors: Float32, mean: Float32, variance: Float32, noise: Float32, usual: Any
) -> tuple[Float32, Float64, Float32]:
    """Vectors and noise with one more row for whoever is unknown (index -1), and the variance of that row's prior."""
    return np.vstack([vectors, mean[None]]), variance.astype(np.float64), np.append(noise, np.float32(usual))
