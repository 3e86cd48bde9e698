"""Interviews: the questions to ask somebody new, one by one, and what each answer tells.

A user of a factor model of ratings is x = [p, b], and a rating of item j is  mean + b_j + f_j . x + noise  with
f_j = [q_j, 1]. Everybody there is makes a normal prior for x; ratings make it a posterior (Bayesian linear regression):

    precision A = S^-1 + sum_j c_j f_j f_j' / s^2        A x = S^-1 m + sum_j c_j t_j f_j / s^2

Of a model with a sigmoid, f and t are those of its tangent at the item's own level: c is its slope, squared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from cofactor.arrays import Float64, Int32, SparseRows
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.order import grouped
from cofactor.models.factor import FactorModel
from cofactor.models.losses import RatingsLoss
from cofactor.recommend import Recommender

__all__ = ["Interview", "Population"]

SAMPLE = 500
"""Trained users whose own uncertainty is looked at."""

TEMPER = 0.5
"""How far an answer moves the chance that an item is known: answers overlap, and 1 would take them for independent."""

PSEUDO = 5.0
"""As many imagined users stand behind every share of who knows what."""


@dataclass(frozen=True, eq=False)
class Population:
    """The prior of a newcomer, and the items as a newcomer's ratings see them.

    Attributes:
        mean (w,), covariance (w, w): of x over the trained users, their own uncertainty included.
        features (n_items, w): f of each item, times the slope of a sigmoid.
        level (n_items,): the rating where x is 0.
        noise: the variance of a rating about its prediction.
        raters: for each item its raters' rows.
        n_users: how many there are.
    """

    mean: Float64
    covariance: Float64
    features: Float64
    level: Float64
    noise: float
    raters: SparseRows
    n_users: int

    @classmethod
    def of(cls, recommender: Recommender) -> Self:
        """Learnt from the users of a fitted recommender. Raises KindError where there are no factors of ratings."""
        model, histories = recommender.model, recommender.histories
        if not isinstance(model, FactorModel) or not isinstance(model.loss, RatingsLoss) or not model.factors:
            raise KindError("an interview needs factors of ratings: fit biased-mf or explicit-als")
        known = np.flatnonzero(histories.counts)
        x = np.column_stack([model.user_factors, model.user_bias]).astype(np.float64)[known]
        f = np.column_stack([model.item_factors, np.ones(model.n_items)]).astype(np.float64)
        start = model.mean + model.item_bias.astype(np.float64)
        level = model.link(start.astype(np.float32)).astype(np.float64)
        if model.rating_range is not None:
            low, high = model.rating_range
            f = f * ((level - low) * (high - level) / (high - low))[:, None]
        owner = np.repeat(np.arange(len(histories), dtype=np.int32), histories.counts)
        error = histories.values - model.link(model.linear(owner, histories.columns))
        noise = float(np.mean(np.square(error, dtype=np.float64))) * 1.1
        sample = known[np.linspace(0, len(known) - 1, min(SAMPLE, len(known))).astype(np.int64)]
        doubt = np.zeros((x.shape[1], x.shape[1]))
        for u in sample:
            own = f[histories.row(int(u)).columns]
            ridge = np.full(x.shape[1], max(model.loss.l2, 1e-9) * len(own))
            ridge[-1] = max(model.loss.l2_bias or 1e3, 1e-9) * len(own)
            doubt += np.asarray(np.linalg.inv(own.T @ own + np.diag(ridge)), np.float64) * (noise / len(sample))
        between = np.asarray(np.cov(x, rowvar=False) if len(x) > 1 else np.zeros_like(doubt), np.float64)
        begin, order = grouped(histories.columns, model.n_items)
        raters = SparseRows(begin, owner[order], histories.values[order])
        return cls(x.mean(axis=0), between + doubt, f, level, noise, raters, len(histories))

    @property
    def known(self) -> Float64:
        """The share of users who have rated each item, as if a few more were spread over all: (n_items,)."""
        share: Float64 = (self.raters.counts.astype(np.float64) + PSEUDO / len(self.raters)) / (self.n_users + PSEUDO)
        return share


@dataclass(frozen=True, eq=False)
class Interview:
    """What a newcomer was asked, and what to ask next; every answer makes a new interview.

    Attributes:
        population: the prior.
        asked: item rows, in the order of asking. answers: the ratings, None for "don't know".
        stop: asking ends where the best question would lower the mean variance of predictions by less than this share.
    """

    population: Population
    asked: tuple[int, ...] = ()
    answers: tuple[float | None, ...] = ()
    stop: float = 0.002

    def answered(self, item: int, rating: float | None) -> Self:
        """After one more answer. Raises ParameterError for an item that was asked already."""
        if item in self.asked:
            raise ParameterError(f"item row {item} was asked already")
        return replace(self, asked=(*self.asked, item), answers=(*self.answers, rating))

    @cached_property
    def posterior(self) -> tuple[Float64, Float64]:
        """Mean (w,) and covariance (w, w) of the newcomer's x."""
        pop = self.population
        rated = np.array(
            [item for item, answer in zip(self.asked, self.answers, strict=True) if answer is not None], int
        )
        values = np.array([answer for answer in self.answers if answer is not None], np.float64)
        f = pop.features[rated]
        gain = pop.covariance @ f.T @ np.linalg.inv(f @ pop.covariance @ f.T + pop.noise * np.eye(len(rated)))
        mean = pop.mean + gain @ (values - pop.level[rated] - f @ pop.mean)
        return mean, pop.covariance - gain @ f @ pop.covariance

    def predictions(self) -> Float64:
        """The rating to expect of every item: (n_items,)."""
        rating: Float64 = self.population.level + self.population.features @ self.posterior[0]
        return rating

    @cached_property
    def chances(self) -> Float64:
        """The chance that the newcomer knows each item, given what was known and what was not: (n_items,).

        Odds move with every answer by P(answer | knows j) / P(answer | does not), from how many users have both items.
        """
        pop = self.population
        n, support = pop.n_users, pop.raters.counts.astype(np.float64)
        share = pop.known
        odds = np.log(share) - np.log1p(-share)
        has = np.zeros(n, bool)
        owner = np.repeat(np.arange(len(pop.raters)), pop.raters.counts)
        for item, answer in zip(self.asked, self.answers, strict=True):
            has[:] = False
            has[pop.raters.row(item).columns] = True
            both = np.bincount(owner, weights=has[pop.raters.columns], minlength=len(support))
            given = (both + PSEUDO * share[item]) / (support + PSEUDO)
            without = (support[item] - both + PSEUDO * share[item]) / (n - support + PSEUDO)
            step = np.log(given / without) if answer is not None else np.log((1 - given) / (1 - without))
            odds = odds + TEMPER * step
        chance: Float64 = 1 / (1 + np.exp(-odds))
        return chance

    def gains(self) -> Float64:
        """By how much asking each item lowers the mean variance of what is predicted, if it is known: (n_items,).

        The mean is over all items, each counting by how many have rated it. An item asked already gains nothing.
        """
        pop, (_, covariance) = self.population, self.posterior
        weight = pop.known / pop.known.sum()
        f = pop.features
        spread = (f * weight[:, None]).T @ f
        reach = f @ covariance
        lowered: Float64 = np.einsum("ij,jk,ik->i", reach, spread, reach) / (
            pop.noise + np.einsum("ij,ij->i", reach, f)
        )
        lowered[list(self.asked)] = 0
        return lowered

    def next(self) -> int | None:
        """The item row to ask: the largest gain times the chance that it is known; None where little is to gain."""
        pop, (_, covariance) = self.population, self.posterior
        worth = self.gains() * self.chances
        best = int(worth.argmax())
        weight = pop.known / pop.known.sum()
        left = float(np.einsum("i,ij,jk,ik->", weight, pop.features, covariance, pop.features))
        return best if worth[best] > self.stop * left else None

    def best(self, n: int = 10) -> Int32:
        """The n items to recommend now, what was asked and known left out."""
        scores = self.predictions()
        scores[[item for item, answer in zip(self.asked, self.answers, strict=True) if answer is not None]] = -np.inf
        return np.argsort(-scores, kind="stable")[:n].astype(np.int32)
