"""Interviews: the questions to ask somebody new, one by one, and what each answer tells.

That an item is known or not tells the newcomer's kind (Bayes' rule, see `crowd`), and with it the prior of x: that of
the kinds, mixed, taken to be normal. Ratings make it a posterior (Bayesian linear regression):

    m = sum_k w_k m_k                            prior mean, w_k how likely each kind is
    P = S + sum_k w_k (m_k - m)(m_k - m)'        prior covariance
    C^-1 = P^-1 + sum_j f_j f_j' / v_j           C^-1 x = P^-1 m + sum_j (r_j - level_j) f_j / v_j

The next question is the one after which the ratings that this newcomer is likely to give are, on average, best known:
Bayesian experimental design for the mean variance (Chaloner & Verdinelli 1995), one step ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64
from cofactor.cold_start.bernoulli_mixture import BernoulliMixture
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import solvable
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss
from cofactor.models.posterior import BayesianModel
from cofactor.models.posterior_samples import Posterior
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import require_valid_fields, validated

__all__ = ["Population", "Questionnaire"]


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

    See `Questionnaire`, which begins with one.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> known = cofactor.cold_start.Population.of(rec, kinds=8)
    >>> known.features.shape, known.means.shape
    ((40, 5), (8, 5))
    """

    features: Float64
    level: Float64
    noise: Float64
    crowd: BernoulliMixture
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
        crowd = BernoulliMixture.of(histories, model.n_items, kinds=kinds, seed=seed)
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
        owner = histories.owners
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


@dataclass(frozen=True, eq=False)
class Questionnaire:
    """What a newcomer was asked, and what to ask next; every answer makes a new interview.

    Attributes:

        population: the prior; it has w numbers x for a user, k kinds of users, n_items items.
        asked: item rows, in the order of asking.
        answers: the ratings, None for "don't know".
        stop: asking ends where the best question would lower the mean variance of predictions by less than this share.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> start = cofactor.cold_start.Questionnaire(cofactor.cold_start.Population.of(rec))
    >>> after = start.answered(start.next(), 5.0)
    >>> after.doubt() < start.doubt(), after.next() != start.next(), len(after.best(3))
    (True, True, 3)
    """

    population: Population
    asked: tuple[int, ...] = ()
    answers: tuple[float | None, ...] = ()
    stop: float = 0.002

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.finite_number("stop", self.stop, low=0)
        checks.whole_array("asked", self.asked, low=0, high=len(self.population.level) - 1)
        answers = [answer for answer in self.answers if answer is not None]
        checks.number_array("answers", answers, (None,))
        if len(self.answers) != len(self.asked):
            raise ParameterError(f"answers must be as many as asked, {len(self.asked):,}, not {len(self.answers):,}")
        if self.population.scale is not None:
            items, ratings = self.known
            self.population.scale.check(ratings, name=lambda place: f"the rating of item row {items[place]}")

    @validated
    def answered(self, item: int, rating: float | None) -> Self:
        """After one more answer, a finite rating or None for "don't know".

        Raises ParameterError for an item that was asked already or is not there, and for what is no answer, DataError
        for a rating off the scale.
        """
        item = checks.whole_number("item", item)
        if item in self.asked:
            raise ParameterError(f"item row {item} was asked already")
        if not 0 <= item < len(self.population.level):
            raise ParameterError(f"there is no item row {item}: they go from 0 to {len(self.population.level) - 1}")
        rating = None if rating is None else checks.finite_number("rating", rating)
        return replace(self, asked=(*self.asked, item), answers=(*self.answers, rating))

    # what is known

    @property
    def known(self) -> tuple[Int64, Float64]:
        """The item rows that were rated, (m,) int64, and how, (m,) float64; empty before the first rating."""
        pairs = [pair for pair in zip(self.asked, self.answers, strict=True) if pair[1] is not None]
        return np.array([item for item, _ in pairs], np.int64), np.array([value for _, value in pairs], np.float64)

    @cached_property
    def kinds(self) -> Float64:
        """How likely each kind of user is, given what was known and what was not: (k,) float64, sums to 1."""
        return self.population.crowd.like(self.asked, [answer is not None for answer in self.answers])

    @cached_property
    def chances(self) -> Float64:
        """The chance that the newcomer knows each item: (n_items,) float64, above 0 and below 1."""
        chance: Float64 = self.kinds @ self.population.crowd.knows
        return chance

    @cached_property
    def prior(self) -> tuple[Float64, Float64]:
        """Mean m (w,) and covariance P (w, w) of the newcomer's x, from what was known and not how it was rated."""
        mean = self.kinds @ self.population.means
        apart = self.population.means - mean
        return mean, self.population.covariance + (apart.T * self.kinds) @ apart

    @cached_property
    def posterior(self) -> tuple[Float64, Float64]:
        """Mean (w,) and covariance C (w, w) of the newcomer's x, once the ratings are known; the prior before."""
        pop, (mean, covariance) = self.population, self.prior
        rated, values = self.known
        f = pop.features[rated]
        gain = covariance @ f.T @ np.linalg.inv(f @ covariance @ f.T + np.diag(pop.noise[rated]))
        return mean + gain @ (values - pop.level[rated] - f @ mean), covariance - gain @ f @ covariance

    def predictions(self) -> Float64:
        """The rating to expect of every item, not clipped to a scale: (n_items,) float64.

            level_j + f_j . x

        at the posterior mean of x.
        """
        rating: Float64 = self.population.level + self.population.features @ self.posterior[0]
        return rating

    @validated
    def best(self, n: int = 10) -> Int32:
        """The n items to recommend now, what was rated left out: (n,) int32 rows, fewer where there are no more."""
        n, scores = checks.whole_number("n", n, low=0), self.predictions()
        scores[self.known[0]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:n]
        return best[np.isfinite(scores[best])].astype(np.int32)

    # what to ask

    @cached_property
    def _spread(self) -> Float64:
        """sum_i c_i f_i f_i' over the chances c, scaled to sum to 1: what a covariance of x means for ratings."""
        f, chances = self.population.features, self.chances
        spread: Float64 = (f.T * (chances / chances.sum())) @ f
        return spread

    def doubt(self) -> float:
        """The mean variance of what is predicted, each item counting by the chance that it is known.

            sum_i c_i f_i' C f_i / sum_i c_i

        in squared units of the ratings.
        """
        return float(np.sum(self._spread * self.posterior[1]))

    def gains(self) -> Float64:
        """By how much a rating of each item lowers the doubt: (n_items,) float64.

            f_j' C (sum_i c_i f_i f_i' / sum_i c_i) C f_j / (f_j' C f_j + v_j)

        What was rated already may gain again.
        """
        pop, (_, covariance) = self.population, self.posterior
        f, reach = pop.features, pop.features @ covariance
        lowered: Float64 = np.sum(reach @ self._spread * reach, axis=1) / (np.sum(reach * f, axis=1) + pop.noise)
        return lowered

    def worth(self) -> Float64:
        """By how much asking each item is expected to lower the doubt: chance times gain, 0 for what was asked.

        (n_items,) float64, in the units of `doubt`.
        """
        worth: Float64 = self.chances * self.gains()
        worth[list(self.asked)] = 0
        return worth

    def next(self) -> int | None:
        """The item row to ask: that of the largest worth; None where little is to gain, or all was asked."""
        worth = self.worth()
        best = int(worth.argmax())
        return best if best not in self.asked and worth[best] > self.stop * self.doubt() else None
