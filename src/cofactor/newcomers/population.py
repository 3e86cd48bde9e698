"""What a newcomer is taken to be before the first question: one of many kinds, each with a taste of its own.

A user is x ~ N(m_k, S), k the kind (see `crowd`), and a rating of item j is

    level_j + f_j . x + noise of variance v_j

Of a factor model x = [p, b] and f_j = [q_j, 1], times the slope at the item's own level where there is a sigmoid.
Of a posterior, whose draws s have factors q_js and users of variance V_s, x ~ N(0, I) and f_j . f_i is, but for what
WIDTH directions cannot hold,

    K_ji = mean_s [q_js, 1] V_s [q_is, 1]'

What the draws do not agree on averages out of K_ji and remains in K_jj, where it is noise: an item of few ratings tells
little. What f_j leaves of K_jj is added to v_j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, SparseRows
from cofactor.data.scale import Scale
from cofactor.errors import KindError
from cofactor.kernels.threads import one_thread_blas
from cofactor.models.arguments import solvable
from cofactor.models.draws import Posterior
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss
from cofactor.models.posterior import BayesianModel
from cofactor.newcomers.crowd import Crowd
from cofactor.recommend import Recommender, require_recommender
from cofactor.validation import validated

__all__ = ["Population"]

KINDS = 80
"""Of users; 40 are a little worse on MovieLens-100k (benchmarks/onboarding.py), and need half the time."""

WIDTH = 16
"""Directions kept of a posterior."""

MOST = 10_000
"""Users looked at, evenly spaced among all."""

SAMPLE = 500
"""Users of a factor model whose own uncertainty is looked at."""

PSEUDO = 3.0
"""As many imagined users of average taste belong to every kind."""

OPTIMISM = 1.1
"""How much larger a factor model's errors are than those it was fitted to."""


@dataclass(frozen=True, eq=False)
class Population:
    """The prior of a newcomer, and the items as a newcomer's ratings see them; all float64.

        features (n_items, w)    f
        level (n_items,)         the rating where x is 0
        noise (n_items,)         v, the variance of a rating about what is expected
        crowd                    the k kinds of users, by what they know
        means (k, w)             of x, for each kind
        covariance (w, w)        S, within one
        scale                    the scale of the ratings, on which answers must lie, or None

    See `Interview`, which begins with one.

    >>> import cofactor
    >>> from cofactor.data.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> known = cofactor.newcomers.Population.of(rec, kinds=8)
    >>> known.features.shape, known.means.shape
    ((40, 5), (8, 5))
    """

    features: Float64
    level: Float64
    noise: Float64
    crowd: Crowd
    means: Float64
    covariance: Float64
    scale: Scale | None = None

    @classmethod
    @one_thread_blas()
    @solvable()
    @validated
    def of(cls, recommender: Recommender, *, kinds: int = KINDS, seed: int = 0) -> Self:
        """Learnt from the users of a fitted recommender; the same seed gives the same kinds.

        kinds: of users, at most as many as there are users with ratings, and at least one. Raises KindError where there
        are no factors of ratings, or no ratings.
        """
        kinds, seed = checks.whole_number("kinds", kinds, low=1), checks.seed(seed)
        known = np.flatnonzero(require_recommender("recommender", recommender).histories.counts)
        model = recommender.model
        if isinstance(model, BayesianModel) and len(known):
            alike = _Alike.of_posterior(model, recommender.support, known)
        elif isinstance(model, FactorModel) and isinstance(model.loss, RatingsLoss) and model.factors and len(known):
            alike = _Alike.of_factors(model, recommender.histories, known)
        else:
            raise KindError("an interview needs factors of ratings: fit bayesian-mf, biased-mf or explicit-als")
        users = known[np.linspace(0, len(known) - 1, min(MOST, len(known))).astype(np.int64)]
        histories = recommender.histories.take(users)
        crowd = Crowd.of(histories, model.n_items, kinds=kinds, seed=seed)
        x, doubt = alike.users(histories)
        total = crowd.belonging.sum(axis=0)[:, None]
        means = (crowd.belonging.T @ x + PSEUDO * x.mean(axis=0)) / (total + PSEUDO)
        apart = x - crowd.belonging @ means
        within = apart.T @ apart / len(x) + doubt
        return cls(alike.features, alike.level, alike.noise, crowd, means, within, recommender.scale)


@dataclass(frozen=True, eq=False)
class _Alike:
    """Users all of one kind: x ~ N(mean, covariance)."""

    features: Float64
    level: Float64
    noise: Float64
    mean: Float64
    covariance: Float64

    @classmethod
    def of_factors(cls, model: FactorModel, histories: SparseRows, known: np.ndarray) -> Self:
        """Mean and covariance of the trained users' [p, b], their own uncertainty included."""
        assert isinstance(model.loss, RatingsLoss)
        x = np.column_stack([model.user_factors, model.user_bias]).astype(np.float64)[known]
        f = np.column_stack([model.item_factors, np.ones(model.n_items)]).astype(np.float64)
        start = model.mean + model.item_bias.astype(np.float64)
        level = model.link(start.astype(np.float32)).astype(np.float64)
        if model.rating_range is not None:
            low, high = model.rating_range
            f = f * ((level - low) * (high - level) / (high - low))[:, None]
        owner = np.repeat(np.arange(len(histories), dtype=np.int32), histories.counts)
        error = histories.values - model.link(model.linear(owner, histories.columns))
        noise = max(float(np.mean(np.square(error, dtype=np.float64))) * OPTIMISM, 1e-6)
        sample = known[np.linspace(0, len(known) - 1, min(SAMPLE, len(known))).astype(np.int64)]
        doubt = np.zeros((x.shape[1], x.shape[1]))
        for u in sample:
            own = f[histories.row(int(u)).columns]
            ridge = np.full(x.shape[1], max(model.loss.l2, 1e-9) * len(own))
            ridge[-1] = max(model.loss.l2_bias or 1e3, 1e-9) * len(own)
            doubt += np.asarray(np.linalg.inv(own.T @ own + np.diag(ridge)), np.float64) * (noise / len(sample))
        between = np.asarray(np.cov(x, rowvar=False) if len(x) > 1 else np.zeros_like(doubt), np.float64)
        return cls(f, level, np.full(len(f), noise), x.mean(axis=0), between + doubt)

    @classmethod
    def of_posterior(cls, model: BayesianModel, support: np.ndarray, known: np.ndarray) -> Self:
        """The WIDTH directions of K that matter most where ratings are, turned so that x ~ N(0, I)."""
        post, k = model.posterior, model.factors
        n_draws = len(post)
        level, noise, parts = np.zeros(model.n_items), np.zeros(model.n_items), []
        for s in range(n_draws):
            q, unknown = _features(post, s, k), post.unknown_user[s, : k + 1].astype(np.float64)
            level += (model.center + post.items[s, :, k] + q @ unknown) / n_draws
            user_noise = np.mean(1 / post.user_noise[s, known].astype(np.float64))
            noise += user_noise / post.item_noise[s].astype(np.float64) / n_draws
            parts.append(q * np.sqrt(post.unknown_user_variance[s, : k + 1].astype(np.float64) / n_draws))
        wide = np.concatenate(parts, axis=1)
        directions = np.linalg.eigh(wide.T @ (wide * (support + 0.1)[:, None]))[1][:, ::-1][:, :WIDTH]
        f = wide @ directions
        left = np.square(wide).sum(axis=1) - np.square(f).sum(axis=1)
        return cls(f, level, noise + np.maximum(left, 0), np.zeros(f.shape[1]), np.eye(f.shape[1]))

    def users(self, histories: SparseRows) -> tuple[Float64, Float64]:
        """x of each of these users, (n_users, w), and the mean covariance of what is not known of it, (w, w)."""
        precision = np.linalg.inv(self.covariance + 1e-9 * np.eye(len(self.mean)))
        x, doubt = np.empty((len(histories), len(self.mean))), np.zeros_like(self.covariance)
        for u in range(len(histories)):
            row = histories.row(u)
            f = self.features[row.columns]
            weighted = f / self.noise[row.columns, None]
            covariance = np.linalg.inv(precision + f.T @ weighted)
            x[u] = covariance @ (precision @ self.mean + weighted.T @ (row.values - self.level[row.columns]))
            doubt += covariance / len(histories)
        return x, doubt


def _features(post: Posterior, s: int, k: int) -> Float64:
    """[q, 1] of every item in draw s."""
    q = np.ones((post.items.shape[1], k + 1))
    q[:, :k] = post.items[s, :, :k]
    return q
