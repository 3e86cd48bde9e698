"""Questionnaire: choose which items to ask a new user about, and update the predictions with the answers.

Knowing whether the user has rated an item updates the probabilities of the user clusters by Bayes' rule (see
`bernoulli_mixture`), and hence the prior for the user's vector x: a mixture over the clusters, approximated by a normal
distribution. Ratings update the prior to a posterior by Bayesian linear regression:

    m = sum_k w_k m_k                            prior mean, given the probability w_k of each cluster
    P = S + sum_k w_k (m_k - m)(m_k - m)'        prior covariance
    C^-1 = P^-1 + sum_j f_j f_j' / v_j           C^-1 x = P^-1 m + sum_j (r_j - a_j) f_j / v_j

The next question minimizes the expected variance of the predictions, weighted by the probability that the user
knows each item: one step of Bayesian experimental design (Chaloner and Verdinelli 1995).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64
from cofactor.checks import Seed
from cofactor.cold_start.bernoulli_mixture import BernoulliMixture
from cofactor.data.scale import Scale
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.mixture import mixture_cdf
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.arguments import linalg_as_data_error, require_histories
from cofactor.models.base import Model
from cofactor.models.factor import FactorModel
from cofactor.models.posterior import BayesianModel
from cofactor.models.posterior_samples import Posterior
from cofactor.validation import require_valid_fields, validated

__all__ = ["Population", "Questionnaire"]

N_CLUSTERS = 80
"""Number of user clusters; with 40, fitting is twice as fast but slightly less accurate (benchmarks/onboarding.md)."""

MAX_DIRECTIONS = 16
"""Maximum number of principal directions that represent the samples of a posterior."""

MAX_USERS = 10_000
"""Maximum number of users to learn from, evenly spaced over all users."""

MAX_UNCERTAINTY_USERS = 500
"""Maximum number of users for averaging the uncertainty of a factor model."""

PSEUDO_COUNT = 3.0
"""Number of pseudo-users with the average vector that are added to each cluster."""

BLOCK_SIZE = 200
"""Number of ratings per update of the posterior."""

N_PLANNED_QUESTIONS, MIN_EXPECTED_ANSWERS = 10, 1.0
"""If fewer of this many questions are expected to be answered with a rating, the most popular items are asked about."""

TEST_ERROR_RATIO = 1.1
"""Ratio of the squared error of a factor model on new ratings to that on its training data."""


@dataclass(frozen=True, eq=False)
class Population:
    """Distribution of a new user's vector, and the linear model that predicts the user's ratings from the vector.

    The rating of item j by a user with vector x is r_j = a_j + f_j . x + noise.

    Parameters
    ----------
    features : ndarray of shape (n_items, width), float64
        Features f of the items.
    intercept : ndarray of shape (n_items,), float64
        Intercept a: the expected rating of each item if x is 0.
    noise : ndarray of shape (n_items,), float64
        Variance v of a rating around its expected value, for each item.
    mixture : BernoulliMixture
        User clusters based on which items users have rated.
    means : ndarray of shape (n_clusters, width), float64
        Mean of x in each cluster.
    covariance : ndarray of shape (width, width), float64
        Covariance S of x within a cluster.
    support : ndarray of shape (n_items,), int64
        Number of ratings of each item.
    scale : Scale or None, default None
        Rating scale that answers must be on.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> model = cofactor.ExplicitALS(factors=4).fit(ratings)
    >>> population = Population.of(model, ratings.by_user, n_clusters=8)
    >>> population.features.shape, population.means.shape
    ((40, 5), (8, 5))
    """

    features: Float64
    intercept: Float64
    noise: Float64
    mixture: BernoulliMixture
    means: Float64
    covariance: Float64
    support: Int64
    scale: Scale | None = None

    @classmethod
    @one_thread_blas()
    @linalg_as_data_error()
    @validated
    def of(
        cls,
        model: Model,
        histories: SparseRows,
        *,
        scale: Scale | None = None,
        n_clusters: int = N_CLUSTERS,
        seed: Seed = 0,
    ) -> Self:
        """Learn the distribution of new users from the users of a trained model.

        Parameters
        ----------
        model : Model
            Factor model of ratings.
        histories : SparseRows
            Training ratings of the model: one row of items for each user.
        scale : Scale or None, default None
            The rating scale.
        n_clusters : int, default 80
            Number of user clusters; limited to the number of users with ratings.
        seed : int, Generator or None, default 0
            Seed for the clustering.

        Returns
        -------
        Population
            The learned distribution.

        Raises
        ------
        KindError
            If the model has no rating factors, or if there are no ratings.
        """
        n_clusters, seed = checks.whole_number("n_clusters", n_clusters, low=1), checks.seed(seed)
        if isinstance(model, BayesianModel | FactorModel):
            require_histories(histories, model.n_items, n_rows=model.n_users)
        active = np.flatnonzero(histories.counts)
        if isinstance(model, BayesianModel) and len(active):
            users = _UserDistribution.of_posterior(model, histories.column_counts(model.n_items), active)
        elif (
            isinstance(model, FactorModel)
            and model.loss
            and model.loss.kind == "ratings"
            and model.factors
            and len(active)
        ):
            users = _UserDistribution.of_factors(model, histories, active)
        else:
            raise KindError("a questionnaire requires rating factors: fit bayesian-mf, biased-mf or explicit-als")
        support = histories.column_counts(model.n_items)
        histories = histories.take(_evenly_spaced(active, MAX_USERS))
        mixture = BernoulliMixture.of(histories, model.n_items, n_clusters=n_clusters, seed=seed)
        x, uncertainty = users.posterior_means(histories)
        sizes = mixture.responsibilities.sum(axis=0)[:, None]
        means = (mixture.responsibilities.T @ x + PSEUDO_COUNT * x.mean(axis=0)) / (sizes + PSEUDO_COUNT)
        residuals = x - mixture.responsibilities @ means
        covariance = residuals.T @ residuals / len(x) + uncertainty
        return cls(users.features, users.intercept, users.noise, mixture, means, covariance, support, scale)

    @cached_property
    def start(self) -> Questionnaire:
        """Questionnaire without answers."""
        return Questionnaire(self)

    @cached_property
    def asks_popular_items(self) -> bool:
        """Whether the most popular items are asked about, because informative questions would rarely be answered."""
        start = self.start
        expected = _probability_sum(start.item_probabilities, start.acquisition(), N_PLANNED_QUESTIONS)
        return expected < MIN_EXPECTED_ANSWERS


@dataclass(frozen=True, eq=False)
class _UserDistribution:
    """Normal distribution of x over all users, ignoring clusters: x ~ N(mean, covariance)."""

    features: Float64
    intercept: Float64
    noise: Float64
    mean: Float64
    covariance: Float64

    @classmethod
    def of_factors(cls, model: FactorModel, histories: SparseRows, active: Int64) -> Self:
        """Return the distribution of factors and biases over the users with ratings, including their uncertainty."""
        assert model.loss is not None
        assert model.loss.least_squares is not None
        x = np.column_stack([model.user_factors, model.user_bias]).astype(np.float64)[active]
        f = np.column_stack([model.item_factors, np.ones(model.n_items)]).astype(np.float64)
        linear = model.mean + model.item_bias.astype(np.float64)
        intercept = model.link(linear.astype(np.float32)).astype(np.float64)
        if model.rating_range is not None:
            low, high = model.rating_range
            f = f * ((intercept - low) * (high - intercept) / (high - low))[:, None]
        owner = histories.owners
        error = histories.values - model.link(model.raw_scores(owner, histories.columns))
        noise = max(float(np.mean(np.square(error, dtype=np.float64))) * TEST_ERROR_RATIO, 1e-6)
        sample = _evenly_spaced(active, MAX_UNCERTAINTY_USERS)
        uncertainty = np.zeros((x.shape[1], x.shape[1]))
        inputs, k = model.item_inputs, model.loss.n_unknowns(model.factors)
        for u in sample:
            f_rated = f[histories.row(int(u)).columns]
            ridge = np.full(x.shape[1], 1e3 * len(f_rated))  # for a bias that the model does not have
            ridge[:k] = model.loss.penalty([len(f_rated)], model.n_items)[0] * inputs.shape[:k] + inputs.precision[:k]
            uncertainty += np.asarray(np.linalg.inv(f_rated.T @ f_rated + np.diag(ridge)), np.float64) * (
                noise / len(sample)
            )
        variance_between_users = np.asarray(
            np.cov(x, rowvar=False) if len(x) > 1 else np.zeros_like(uncertainty), np.float64
        )
        return cls(f, intercept, np.full(len(f), noise), x.mean(axis=0), variance_between_users + uncertainty)

    @classmethod
    def of_posterior(cls, model: BayesianModel, support: Int64, active: Int64) -> Self:
        """Return a standard normal distribution along the principal axes of the prior predictive covariance."""
        posterior, k = model.posterior, model.factors
        n_samples = len(posterior)
        intercept, noise, parts = np.zeros(model.n_items), np.zeros(model.n_items), []
        for s in range(n_samples):
            q, unknown_user = _features(posterior, s, k), posterior.unknown_user[s, : k + 1].astype(np.float64)
            intercept += (model.center + posterior.items[s, :, k] + q @ unknown_user) / n_samples
            user_noise = np.mean(1 / posterior.user_noise[s, active].astype(np.float64))
            noise += user_noise / posterior.item_noise[s].astype(np.float64) / n_samples
            parts.append(q * np.sqrt(posterior.unknown_user_variance[s, : k + 1].astype(np.float64) / n_samples))
        stacked = np.concatenate(parts, axis=1)
        axes = np.linalg.eigh(stacked.T @ (stacked * (support + 0.1)[:, None]))[1][:, ::-1][:, :MAX_DIRECTIONS]
        f = stacked @ axes
        omitted_variance = np.square(stacked).sum(axis=1) - np.square(f).sum(axis=1)
        return cls(f, intercept, noise + np.maximum(omitted_variance, 0), np.zeros(f.shape[1]), np.eye(f.shape[1]))

    def posterior_means(self, histories: SparseRows) -> tuple[Float64, Float64]:
        """Return the posterior mean of each user vector (n_users, width), and the mean covariance (width, width)."""
        precision = np.linalg.inv(self.covariance + 1e-9 * np.eye(len(self.mean)))
        x, uncertainty = np.empty((len(histories), len(self.mean))), np.zeros_like(self.covariance)
        for u in range(len(histories)):
            row = histories.row(u)
            f = self.features[row.columns]
            weighted = f / self.noise[row.columns, None]
            covariance = np.linalg.inv(precision + f.T @ weighted)
            x[u] = covariance @ (precision @ self.mean + weighted.T @ (row.values - self.intercept[row.columns]))
            uncertainty += covariance / len(histories)
        return x, uncertainty


def _evenly_spaced(users: Int64, n: int) -> Int64:
    """Return at most n of the given users, evenly spaced."""
    return users[np.linspace(0, len(users) - 1, min(n, len(users))).astype(np.int64)]


def _probability_sum(probabilities: Float64, values: Float64, n: int) -> float:
    """Return the sum of the probabilities of the n items with the largest positive values."""
    best_items = np.argsort(-values, kind="stable")[:n]
    return float(probabilities[best_items[values[best_items] > 0]].sum())


def _features(posterior: Posterior, s: int, k: int) -> Float64:
    """Return [q, 1] for each item in sample s: ndarray of shape (n_items, k + 1), float64."""
    q = np.ones((posterior.items.shape[1], k + 1))
    q[:, :k] = posterior.items[s, :, :k]
    return q


@dataclass(frozen=True, eq=False)
class Questionnaire:
    """Answers of a new user by item row, with the resulting predictions and the next question.

    Immutable; `with_answer` returns a new questionnaire. `UserView.questions` returns one that uses item IDs.

    Parameters
    ----------
    population : Population
        Distribution of new users before the first answer.
    items : tuple of int, default ()
        Row numbers of the items that the user was asked about, in order.
    answers : tuple of float or None, default ()
        Rating of each of these items; None if the user does not know the item.
    min_reduction : float, default 0.002
        The questionnaire ends when the best question is expected to reduce the variance by less than this fraction.

    Raises
    ------
    ParameterError
        If `items` and `answers` differ in length, or if an item row is out of range.
    DataError
        If a rating is not on the scale.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> model = cofactor.ExplicitALS(factors=4).fit(ratings)
    >>> before = Questionnaire(Population.of(model, ratings.by_user))
    >>> after = before.with_answer(before.next_item(), 5.0)
    >>> after.expected_variance() < before.expected_variance(), after.next_item() != before.next_item()
    (True, True)
    >>> len(after.top_items(3))
    3
    """

    population: Population
    items: tuple[int, ...] = ()
    answers: tuple[float | None, ...] = ()
    min_reduction: float = 0.002

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.finite_number("min_reduction", self.min_reduction, low=0)
        checks.whole_array("items", self.items, low=0, high=len(self.population.intercept) - 1)
        answers = [answer for answer in self.answers if answer is not None]
        checks.number_array("answers", answers, (None,))
        if len(self.answers) != len(self.items):
            raise ParameterError(
                f"answers must have one entry per item, {len(self.items):,} in total; got {len(self.answers):,}"
            )
        if self.population.scale is not None:
            items, ratings = self.ratings
            self.population.scale.check(ratings, name=lambda position: f"the rating of item row {items[position]}")

    @validated
    def with_answer(self, item: int, rating: float | None) -> Self:
        """Return a copy of the questionnaire with one additional answer.

        Parameters
        ----------
        item : int
            Row number of an item that has not been asked about.
        rating : float or None
            Rating of the item; None if the user does not know the item.

        Returns
        -------
        Questionnaire
            The new questionnaire.

        Raises
        ------
        ParameterError
            If the item was already asked about or does not exist, or if the rating is not a finite number.
        DataError
            If the rating is not on the scale.
        """
        item = checks.whole_number("item", item)
        if item in self.items:
            raise ParameterError(f"item row {item} was already answered")
        if not 0 <= item < len(self.population.intercept):
            raise ParameterError(
                f"item must be a row number from 0 to {len(self.population.intercept) - 1}, not {item}"
            )
        rating = None if rating is None else checks.finite_number("rating", rating)
        return replace(self, items=(*self.items, item), answers=(*self.answers, rating))

    # estimates

    @property
    def ratings(self) -> tuple[Int64, Float64]:
        """Row numbers and ratings of the rated items: ndarrays of shape (n_rated,), int64 and float64."""
        pairs = [pair for pair in zip(self.items, self.answers, strict=True) if pair[1] is not None]
        return np.array([item for item, _ in pairs], np.int64), np.array([value for _, value in pairs], np.float64)

    @cached_property
    def memberships(self) -> Float64:
        """Probability of each user cluster, with a sum of 1: ndarray of shape (n_clusters,), float64."""
        return self.population.mixture.memberships(self.items, [answer is not None for answer in self.answers])

    @cached_property
    def item_probabilities(self) -> Float64:
        """Probability, between 0 and 1, that the user knows each item: ndarray of shape (n_items,), float64."""
        probabilities: Float64 = self.memberships @ self.population.mixture.item_probabilities
        return probabilities

    @cached_property
    def prior(self) -> tuple[Float64, Float64]:
        """Prior mean (width,) and covariance (width, width) of the user's vector, given which items the user knows."""
        mean = self.memberships @ self.population.means
        deviations = self.population.means - mean
        return mean, self.population.covariance + (deviations.T * self.memberships) @ deviations

    @cached_property
    def posterior(self) -> tuple[Float64, Float64]:
        """Posterior mean (width,) and covariance C (width, width) of the user's vector, given all answers."""
        population, (mean, covariance) = self.population, self.prior
        rows, values = self.ratings
        for start in range(0, len(rows), BLOCK_SIZE):
            block = rows[start : start + BLOCK_SIZE]
            f, residuals = population.features[block], values[start : start + BLOCK_SIZE] - population.intercept[block]
            gain = covariance @ f.T @ np.linalg.inv(f @ covariance @ f.T + np.diag(population.noise[block]))
            mean, covariance = mean + gain @ (residuals - f @ mean), covariance - gain @ f @ covariance
        return mean, covariance

    def predictions(self) -> Float64:
        """Return the expected rating of each item, at the posterior mean of the user's vector.

        Returns
        -------
        ndarray of shape (n_items,), float64
            Expected ratings, not clipped to the scale.
        """
        ratings: Float64 = self.population.intercept + self.population.features @ self.posterior[0]
        return ratings

    def relevance(self) -> Float64:
        """Return the ranking score of each item: popularity times the likelihood ratios of knowing and liking the item.

        Returns
        -------
        ndarray of shape (n_items,), float64
            Score of each item. Without answers, items are ranked by popularity.

        Notes
        -----
        With n_i the number of ratings of item i, c_i the probability that the user knows it, r_i the normally
        distributed rating, t the mean of the ratings that new users are expected to give, and c0_i and r0_i the same
        without answers::

            (n_i + 1/2)  c_i / c0_i  P(r_i > t) / P(r0_i > t)

        A ranking by the predicted rating alone puts items first that hardly anybody has rated.
        """
        start = self.population.start
        t = float(np.average(start.predictions(), weights=start.item_probabilities))
        known_ratio = self.item_probabilities / start.item_probabilities
        liked_ratio = self._probabilities_above(t) / np.maximum(start._probabilities_above(t), 1e-9)
        relevance: Float64 = (self.population.support + 0.5) * known_ratio * liked_ratio
        return relevance

    def _probabilities_above(self, t: float) -> Float64:
        """Return the probability that the user's rating of each item is above t: ndarray of shape (n_items,)."""
        f = self.population.features
        variance = np.sum((f @ self.posterior[1]) * f, axis=1) + self.population.noise
        below = mixture_cdf(self.predictions()[:, None], np.sqrt(variance)[:, None], np.array([t]))
        return 1 - below[:, 0]

    @validated
    def top_items(self, n: int = 10) -> Int32:
        """Return the row numbers of the n items with the highest `relevance` that the user has not rated.

        Parameters
        ----------
        n : int, default 10
            Number of items.

        Returns
        -------
        ndarray of shape (n,), int32
            Item row numbers, best first; fewer if fewer than n items are left.
        """
        n, scores = checks.whole_number("n", n, low=0), self.relevance()
        scores[self.ratings[0]] = -np.inf
        best_items = np.argsort(-scores, kind="stable")[:n]
        return best_items[np.isfinite(scores[best_items])].astype(np.int32)

    # the next question

    @cached_property
    def _mean_outer_product(self) -> Float64:
        """Mean outer product sum_i c_i f_i f_i' / sum_i c_i with item probabilities c: (width, width) array."""
        f, probabilities = self.population.features, self.item_probabilities
        product: Float64 = (f.T * (probabilities / probabilities.sum())) @ f
        return product

    def expected_variance(self) -> float:
        """Return the mean variance of the predictions, weighted by the probabilities that the user knows the items.

        Returns
        -------
        float
            Mean variance, in squared rating units.

        Notes
        -----
        ::

            sum_i c_i f_i' C f_i / sum_i c_i

        c_i is the probability that the user knows item i.
        """
        return float(np.sum(self._mean_outer_product * self.posterior[1]))

    def variance_reductions(self) -> Float64:
        """Return the expected variance reduction from knowing the rating of each item.

        Returns
        -------
        ndarray of shape (n_items,), float64
            Reduction for each item, including rated items: a second rating would reduce the variance further.

        Notes
        -----
        ::

            f_j' C (sum_i c_i f_i f_i' / sum_i c_i) C f_j / (f_j' C f_j + v_j)
        """
        population, (_, covariance) = self.population, self.posterior
        f, projections = population.features, population.features @ covariance
        numerator = np.sum(projections @ self._mean_outer_product * projections, axis=1)
        reductions: Float64 = numerator / (np.sum(projections * f, axis=1) + population.noise)
        return reductions

    def acquisition(self) -> Float64:
        """Return the acquisition value of each item: the expected variance reduction from asking about it.

        Returns
        -------
        ndarray of shape (n_items,), float64
            Probability that the user knows the item, times its variance reduction; 0 for items already asked about.
        """
        values: Float64 = self.item_probabilities * self.variance_reductions()
        values[list(self.items)] = 0
        return values

    def question_values(self) -> Float64:
        """Return the values that determine the next item: acquisition values or numbers of ratings.

        Returns
        -------
        ndarray of shape (n_items,), float64
            Value for each item; 0 for items already asked about.
        """
        if not self.population.asks_popular_items:
            return self.acquisition()
        values = self.population.support.astype(np.float64)
        values[list(self.items)] = 0
        return values

    @validated
    def expected_answers(self, n: int = 10) -> float:
        """Estimate how many of the next n questions the user can answer with a rating.

        Parameters
        ----------
        n : int, default 10
            Number of questions.

        Returns
        -------
        float
            Sum of the probabilities that the user knows the n items that are now the best questions. It assumes that
            these are asked about, whatever the answers are.

        Raises
        ------
        ParameterError
            If n is not a nonnegative integer.
        """
        n = checks.whole_number("n", n, low=0)
        return _probability_sum(self.item_probabilities, self.question_values(), n)

    def next_item(self) -> int | None:
        """Return the row number of the next item to ask about.

        Returns
        -------
        int or None
            Row number with the largest acquisition value; None if no item is left or the reduction is too small. If
            new users are expected to answer fewer than 1 of 10 such questions with a rating, the item with most ratings
            of those that have not been asked about; None if none of them has a rating.
        """
        values = self.question_values()
        best_item = int(values.argmax())
        minimum = 0.0 if self.population.asks_popular_items else self.min_reduction * self.expected_variance()
        return best_item if best_item not in self.items and values[best_item] > minimum else None
