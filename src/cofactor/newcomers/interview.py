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
from cofactor.errors import ParameterError
from cofactor.newcomers.population import Population
from cofactor.validation import require_valid_fields, validated

__all__ = ["Interview", "Population"]


@dataclass(frozen=True, eq=False)
class Interview:
    """What a newcomer was asked, and what to ask next; every answer makes a new interview.

    Attributes:

        population: the prior; it has w numbers x for a user, k kinds of users, n_items items.
        asked: item rows, in the order of asking.
        answers: the ratings, None for "don't know".
        stop: asking ends where the best question would lower the mean variance of predictions by less than this share.

    >>> import cofactor
    >>> from cofactor.data.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900)).interactions
    >>> rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings)
    >>> start = cofactor.newcomers.Interview(cofactor.newcomers.Population.of(rec))
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
