"""A Bayesian factor model: the average of all draws to rank by, and a few draws to know how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, SparseRows, contiguous, random_stream, read_only
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.ridge import RATINGS, Side, solve
from cofactor.models.distribution import Distribution
from cofactor.models.explanation import Explanation, ridge_terms
from cofactor.models.factor import FactorModel
from cofactor.models.sessions import SessionBias

__all__ = ["BayesianModel", "Posterior"]

NOISE_STEPS = 2
"""How often a newcomer's vector and noise are worked out from each other."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """S draws from the posterior. A vector is [factors, bias, padding], width a multiple of 8.

    users (S, n_users, width)    items (S, n_items, width)    float32
    user_noise (S, n_users)      item_noise (S, n_items)      float32: rating (u, i) of draw s has the precision
                                                              user_noise[s, u] * item_noise[s, i]
    user_mean, user_precision (S, width): the normal prior of a user's vector, without what the history adds
    terms (S, n_items, width): what having rated an item adds to a user's prior mean; (S, 0, width) without
    unknown_user, unknown_user_variance, unknown_item, unknown_item_variance (S, width): the same for those of whom
                                                              nothing is known, averaged over everybody's terms
    base_noise, noise_shape (S,): precision common to all, and the shape of the gamma prior of a user's own factor
    """

    users: Float32
    items: Float32
    user_noise: Float32
    item_noise: Float32
    user_mean: Float32
    user_precision: Float32
    terms: Float32
    unknown_user: Float32
    unknown_user_variance: Float32
    unknown_item: Float32
    unknown_item_variance: Float32
    base_noise: Float32
    noise_shape: Float32

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class BayesianModel:
    """`average` ranks and predicts: the posterior mean over every draw. `posterior` gives each rating a distribution.

    `factors` is the width of a draw; `center` is the average rating that draws are relative to. `sessions` holds the
    average moods, where they were learnt; they are added where a time is given, and are 0 without one.
    """

    kind: ClassVar[str] = "bayesian"

    average: FactorModel
    posterior: Posterior
    factors: int
    center: float
    sessions: SessionBias | None = None

    @property
    def n_users(self) -> int:
        return self.average.n_users

    @property
    def n_items(self) -> int:
        return self.average.n_items

    @property
    def knows_time(self) -> bool:
        return self.sessions is not None

    @property
    def user_factors(self) -> Float32:
        return self.average.user_factors

    @property
    def item_factors(self) -> Float32:
        return self.average.item_factors

    def predict(self, users: Int32, items: Int32, histories: SparseRows) -> Float32:
        """Posterior mean ratings, clipped to the scale: (n,) float32."""
        return self.average.predict(users, items, histories)

    def predict_at(self, users: Int32, items: Int32, times: Int64, histories: SparseRows) -> Float32:
        """Posterior mean ratings at these times (seconds since 1970), clipped to the scale: (n,) float32."""
        if self.sessions is None:
            return self.predict(users, items, histories)
        x, scale = self.average.linear(users, items) + self.sessions.shift(users, times), self.average.scale
        return x if scale is None else np.clip(x, scale.low, scale.high)

    def scores(self, users: Int32, histories: SparseRows) -> Float32:
        """The posterior mean of every item, not clipped."""
        return self.average.scores(users, histories)

    def top(
        self, users: Int32, n: int, *, histories: SparseRows, exclude: SparseRows, allowed: Bool
    ) -> tuple[Int32, Float32]:
        """The n best items by posterior mean."""
        return self.average.top(users, n, histories=histories, exclude=exclude, allowed=allowed)

    def similar_items(self, items: Int32, n: int) -> tuple[Int32, Float32]:
        """As `FactorModel.similar_items`, by the average's factors."""
        return self.average.similar_items(items, n)

    def similar_users(self, users: Int32, n: int) -> tuple[Int32, Float32]:
        """As `FactorModel.similar_users`, by the average's factors."""
        return self.average.similar_users(users, n)

    def distribution(self, users: Int32, items: Int32, histories: SparseRows) -> Distribution:
        """Each pair's rating as a mixture of one normal per draw; an unknown row (-1) adds the spread of its prior."""
        return self._distribution(users, items, np.zeros(len(users), np.float32))

    def distribution_at(self, users: Int32, items: Int32, times: Int64, histories: SparseRows) -> Distribution:
        """As `distribution`, at these times: moved by the mood of the time, whose own doubt is not counted."""
        moods = np.zeros(len(users), np.float32) if self.sessions is None else self.sessions.shift(users, times)
        return self._distribution(users, items, moods)

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
        left, right = _as_user(U, k), _as_item(V, k)
        mean = self.center + pair_dots(left, right, users, items).astype(np.float64)
        variance = 1.0 / (user_noise[users].astype(np.float64) * item_noise[items])
        for spread, other, rows, others in ((user_spread, V, users, items), (item_spread, U, items, users)):
            if (unknown := rows < 0).any():
                features = _features(other, k)[others[unknown]].astype(np.float64)
                variance[unknown] += (features**2) @ spread
        return mean, variance

    # reasons

    def explain(self, user: int, item: int, histories: SparseRows) -> Explanation:
        """What each item of the history adds to the posterior mean, averaged over the draws.

        In a draw a user's vector is normal, and its mean solves a ridge regression. Seen from the vector of somebody of
        whom nothing is known, an item adds what its rating adds, and what having rated it at all adds to the prior
        beyond what the average history does. What the draws differ by from the average model is not attributed.
        """
        users, items = np.array([user], np.int32), np.array([item], np.int32)
        history, average = histories.row(user), self.average
        terms = np.mean([self._terms(s, user, item, history) for s in range(len(self.posterior))], axis=0)
        mean, own, its = average.mean, float(average.user_bias[user]), float(average.item_bias[item])
        score = float(average.linear(users, items)[0])
        rest = score - mean - own - its - float(terms.sum())
        return Explanation(score, mean, own, its, history.columns, terms, rest)

    def _terms(self, s: int, user: int, item: int, history: SparseRows) -> Float64:
        post, k, columns = self.posterior, self.factors, history.columns
        precision = post.user_precision[s].astype(np.float64)
        features = _features(post.items[s][columns], k).astype(np.float64)
        confidence = post.user_noise[s, user] * post.item_noise[s][columns].astype(np.float64)
        if history.weights is not None:
            confidence = confidence * history.weights
        start, m = post.unknown_user[s].astype(np.float64), max(len(columns), 1)
        targets = history.values - self.center - post.items[s, columns, k] - features @ start
        goal = np.zeros(features.shape[1])
        goal[:k] = post.items[s, item, :k]
        seen = np.tile((post.user_mean[s] - start) / m, (len(columns), 1))
        if post.terms.shape[1]:
            seen += post.terms[s][columns].astype(np.float64) / np.sqrt(m)
        return ridge_terms(
            features, targets, confidence, goal, gram=np.zeros(0), ridge=precision, shifts=precision * seen
        )  # fmt: skip

    # newcomers

    def fold_in(self, histories: SparseRows) -> Self:
        """Users worked out from their histories in every draw, the items held as they are.

        In each draw a ridge regression with the prior mean that the history itself gives, and the user's own noise. The
        average user vector is the one whose predictions come closest to the mean of the draws', over the catalog.
        """
        post, n = self.posterior, len(histories)
        width, k = post.users.shape[2], self.factors
        drawn = np.zeros((len(post), n, width), np.float32)
        noise = np.zeros((len(post), n), np.float32)
        predicted = np.zeros((n, self.n_items))
        for s in range(len(post)):
            mean, noise[s] = self._folded(s, histories)
            predicted += mean.astype(np.float64) @ _features(post.items[s], k).astype(np.float64).T
            predicted += post.items[s, :, k]
            z = random_stream(0, "fold in", s).standard_normal(width, dtype=np.float32)
            drawn[s] = self._solved(s, histories, noise[s], np.broadcast_to(z, (n, width)).copy())
        goal = self.center + predicted / len(post) - self.average.mean - self.average.item_bias
        solution = np.stack([self._basis @ row for row in goal]) if n else np.zeros((0, len(self._basis)))
        average = self.average.with_user_arrays(solution[:, :-1].astype(np.float32), solution[:, -1].astype(np.float32))
        sessions = None if self.sessions is None else self.sessions.without_sessions(n)
        folded = replace(post, users=read_only(drawn), user_noise=read_only(noise))
        return replace(self, average=average, posterior=folded, sessions=sessions)

    @cached_property
    def _basis(self) -> Float64:
        """From a row of ratings to the average model's [factors, bias]: the pseudo-inverse of [item factors, 1]."""
        wide = np.column_stack([self.average.item_factors, np.ones(self.n_items)]).astype(np.float64)
        inverse: Float64 = np.linalg.pinv(wide, rcond=1e-6).astype(np.float64)
        return inverse

    def _folded(self, s: int, histories: SparseRows) -> tuple[Float32, Float32]:
        """The conditional mean vector of each history in draw s, and its noise precision."""
        post, k = self.posterior, self.factors
        owner = np.repeat(np.arange(len(histories), dtype=np.int32), histories.counts)
        noise = np.full(len(histories), post.base_noise[s], np.float32)
        mean = self._solved(s, histories, noise, None)
        for _ in range(NOISE_STEPS):
            x = pair_dots(_as_user(mean, k), _as_item(post.items[s], k), owner, histories.columns)
            squares = (histories.values - np.float32(self.center) - x) ** 2 * post.item_noise[s][histories.columns]
            misfit = np.bincount(owner, weights=squares, minlength=len(histories)) * post.base_noise[s]
            shape = float(post.noise_shape[s])
            factor = (shape + histories.counts / 2) / (shape + misfit / 2)
            noise = (post.base_noise[s] * factor).astype(np.float32)
            mean = self._solved(s, histories, noise, None)
        return mean, noise

    def _solved(self, s: int, histories: SparseRows, noise: Float32, z: Float32 | None) -> Float32:
        post, k = self.posterior, self.factors
        width = post.users.shape[2]
        prior = np.broadcast_to(post.user_mean[s], (len(histories), width)).copy()
        owner = np.repeat(np.arange(len(histories)), histories.counts)
        prior[histories.counts == 0] = post.unknown_user[s]
        if post.terms.shape[1]:
            scale = (1 / np.sqrt(np.maximum(histories.counts, 1))).astype(np.float32)
            np.add.at(prior, owner, post.terms[s][histories.columns] * scale[owner, None])
        weights = noise[owner] * post.item_noise[s][histories.columns]
        if histories.weights is not None:
            weights = weights * histories.weights
        values = histories.values - np.float32(self.center)
        side = Side(
            RATINGS,
            _features(post.items[s], k),
            contiguous(post.items[s, :, k], np.float32),
            np.zeros((0, 0), np.float32),
            np.zeros(width, np.float32),
            contiguous(post.user_precision[s], np.float32),
            prior,
        )
        x = np.zeros((len(histories), width), np.float32)
        entries = SparseRows(histories.start, histories.columns, values, weights)
        solve(x, entries, np.zeros(len(histories), np.float32), side, noise=z)
        return x

    def with_users(self, other: Self, take: Int32) -> Self:
        """Users picked from this model (take >= 0) and from `other` (row -1 - take)."""
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
        draws = {f"posterior.{f.name}": getattr(self.posterior, f.name) for f in fields(self.posterior)}
        moods = {} if self.sessions is None else self.sessions.arrays()
        return (
            {f"average.{name}": array for name, array in self.average.arrays().items()}
            | draws
            | {f"sessions.{name}": array for name, array in moods.items()}
        )

    def settings(self) -> dict[str, Any]:
        moods = None if self.sessions is None else self.sessions.settings()
        average = self.average.settings()
        return {"factors": self.factors, "center": self.center, "average": average, "sessions": moods}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        average, moods = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in ("average.", "sessions.")
        )
        draws = {f.name: arrays[f"posterior.{f.name}"] for f in fields(Posterior)}
        return cls(
            FactorModel.from_parts(average, settings["average"]),
            Posterior(**draws),
            settings["factors"],
            settings["center"],
            SessionBias.from_parts(moods, settings["sessions"]) if moods else None,
        )


def _features(vectors: Float32, k: int) -> Float32:
    """[factors, 1, padding]: what the other side's [factors, bias] are multiplied by."""
    features = contiguous(vectors, np.float32).copy()
    features[:, k] = 1
    features[:, k + 1 :] = 0
    return features


def _as_user(vectors: Float32, k: int) -> Float32:
    """[factors, bias, 1, ...] one column wider, so that a dot product with `_as_item` adds both biases."""
    wide = np.zeros((len(vectors), k + 2), np.float32)
    wide[:, : k + 1], wide[:, k + 1] = vectors[:, : k + 1], 1
    return wide


def _as_item(vectors: Float32, k: int) -> Float32:
    wide = np.zeros((len(vectors), k + 2), np.float32)
    wide[:, :k], wide[:, k], wide[:, k + 1] = vectors[:, :k], 1, vectors[:, k]
    return wide


def _with_unknown(
    vectors: Float32, mean: Float32, variance: Float32, noise: Float32, usual: Any
) -> tuple[Float32, Float64, Float32]:
    """Vectors and noise with one more row for whoever is unknown (index -1), and the variance of that row's prior."""
    return np.vstack([vectors, mean[None]]), variance.astype(np.float64), np.append(noise, np.float32(usual))
