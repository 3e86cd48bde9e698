"""Bayesian matrix factorization by Gibbs sampling: not one set of factors, but all that the ratings allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cofactor import checks
from cofactor.arrays import Float32, Float64, random_stream, read_only
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, DivergedError, ParameterError
from cofactor.estimators.base import EpochCallback, Estimator, Watch, parameter, standardized
from cofactor.estimators.gibbs import Chain, Sessions, Terms
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.parallel import for_each, one_thread_blas
from cofactor.kernels.sort import grouped
from cofactor.models.factor import FactorModel
from cofactor.models.losses import padded_width
from cofactor.models.low_rank_mean import FactorAverage
from cofactor.models.posterior import BayesianModel, Posterior
from cofactor.models.session_bias import SessionBias
from cofactor.validation import validated

__all__ = ["BayesianMF"]


@dataclass(frozen=True)
class BayesianMF(Estimator):
    """All the factorizations that the ratings allow, averaged: a prior on everything, and draws from the posterior.

        r = mean + b_u + b_i + p_u . q_i + mood_(u, t) + noise,    noise ~ N(0, 1 / (w alpha a_u c_i))
        [p_u, b_u] ~ N(mu + sum over u's items y_j / sqrt(n_u) + sum over u's features z_f, diag(precision)^-1)

    Items alike, with what having been rated by each user adds (`implicit`: SVD++ and its flipped side); mu and
    precision have normal-gamma priors, a_u and c_i are gamma-distributed around 1: some people and some items are
    harder to predict. w is a rating's weight. One user, one item or one rating is enough: then the priors speak.

    `user_features` and `item_features` are columns of the user and item tables (see `data.features.indicators`); each
    indicator adds a vector of its own to the prior mean of whoever has it, so that a film that nobody rated yet is
    expected to be like its genres. `time_bin` adds a bias b_(u, t) for every sitting of a user: known where that user
    rated something else in the same bin, before or after, so it helps to fill gaps, not to foretell.

    Sources: Salakhutdinov & Mnih 2008, here with a diagonal precision in place of their Wishart prior; Koren 2008
    (implicit); Agarwal & Chen 2009 (features as a regression prior); Koren 2009, section 4 (time); Rendle et al. 2019.

    >>> import numpy as np
    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> model = BayesianMF(factors=2, iterations=60, burn_in=20).fit(ratings)
    >>> from cofactor.models.user_batch import UserBatch
    >>> whole = model.distribution(UserBatch.trained([0, 0], ratings.by_user), np.int32([0, 3]))
    >>> whole.at_least(5).round(1).tolist()       # the chance of 5 stars: of a rating withheld, and of a known 1
    [1.0, 0.0]
    """

    name: ClassVar[str] = "bayesian-mf"
    kind: ClassVar[Kind] = "ratings"

    factors: int = parameter(15, "the width of the factors of one draw", low=1, high=256, log=True, search=(5, 40))
    iterations: int = parameter(140, "draws of everything, the first ones included", low=2, high=100_000)
    burn_in: int = parameter(40, "first draws that are thrown away", low=1, high=10_000)
    implicit: bool = parameter(default=True, meaning="whether having rated at all says something, for users and items")
    user_features: tuple[str, ...] = parameter((), "columns of the user table to learn from, with commas")
    item_features: tuple[str, ...] = parameter((), "columns of the item table to learn from, with commas")
    time_bin: int = parameter(
        0, "seconds; what a user rates within one bin shares a mood, 0 for none", low=0, high=86_400
    )
    kept_samples: int = parameter(32, "draws kept for distributions, evenly spaced", low=1, high=1000)
    init_std: float = parameter(0.1, "standard deviation of the first factors", low=1e-6, high=10, log=True)
    patience: int = parameter(
        1_000, "iterations without a better validation score before stopping", low=1, high=100_000
    )

    def __post_init__(self) -> None:
        for side in ("user_features", "item_features"):
            names = getattr(self, side)
            if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
                raise ParameterError(
                    f"{self.name}: {side} must be a list of names of columns, not {checks.shown(names)}"
                )
            object.__setattr__(self, side, tuple(dict.fromkeys(names)))
        super().__post_init__()

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: BayesianModel | None = None,
        callback: EpochCallback | None = None,
    ) -> BayesianModel:
        """A BayesianModel. `init_model` is not used: a chain forgets where it began.

        Raises KindError for events, DivergedError; DataError for no rows, or where features or times are asked for and
        are not there.
        """
        del init_model
        self.require(interactions)
        standard, unit = standardized(interactions)
        sampler = _Sampler.begin(self, standard, seed)
        model_now = lambda: sampler.model().rescaled(unit, interactions.scale)  # noqa: E731
        burn_in = min(self.burn_in, self.iterations - 1)
        keep = set(
            np.linspace(burn_in, self.iterations - 1, min(self.kept_samples, self.iterations - burn_in))
            .astype(int)
            .tolist()
        )
        watch = Watch(
            interactions,
            epochs=self.iterations,
            patience=self.patience,
            validation=validation,
            callback=callback,
            advice=self.diverged_advice,
        )
        going, sweep = True, 0
        while going:
            loss = sampler.sweep(random_stream(seed, "sweep", sweep), noisy_rows=sweep >= min(10, burn_in))
            if not np.isfinite(loss):
                raise DivergedError(sweep + 1, loss, self.diverged_advice)
            if sweep >= burn_in or sweep == 0:
                sampler.remember(fresh=sweep in (0, burn_in), whole=sweep in keep)
            going = watch.goes_on(sweep + 1, loss * unit**2, model_now)
            sweep += 1
        model: BayesianModel = watch.chosen(model_now)
        if not all(np.isfinite(array).all() for array in model.arrays().values()):
            raise DivergedError(sweep, float("nan"), self.diverged_advice)
        return model


@dataclass
class _Sampler:
    """The whole state of the chain, and what is remembered of its draws.

    values (n,): the ratings less their average `center`, in the order of `interactions`; by_item: the order by items.
    """

    spec: BayesianMF
    interactions: Interactions
    users: Chain
    items: Chain
    sessions: Sessions | None
    values: Float32
    by_item: Any
    center: float
    alpha: float
    average: FactorAverage
    bias_sums: tuple[Float64, Float64]
    draws: list[dict[str, Any]]

    @classmethod
    def begin(cls, spec: BayesianMF, interactions: Interactions, seed: int) -> _Sampler:
        k, table = spec.factors, interactions
        center = float(np.average(table.values.astype(np.float64), weights=table.weights))
        values = table.values - np.float32(center)
        variance = float(np.average(values.astype(np.float64) ** 2, weights=table.weights))
        _, by_item = grouped(table.i, table.n_items)
        width, sides = padded_width(k + 1), []
        for name, entries in (("user", table.by_user), ("item", table.by_item)):
            drawn = random_stream(seed, f"{name} factors").standard_normal((len(entries), k), dtype=np.float32)
            sides.append(Chain.begin(entries, width, drawn * np.float32(spec.init_std)))
        users, items = sides
        if spec.implicit:
            for own, other in ((users, items), (items, users)):
                scale = (1 / np.sqrt(np.maximum(own.entries.counts, 1))).astype(np.float32)
                own.terms.append(Terms.begin(other.entries, scale, k, width))
        for name, own in (("user", users), ("item", items)):
            if columns := getattr(spec, f"{name}_features"):
                holders = indicators(getattr(table, f"{name}_table"), columns, name).holders
                own.terms.append(Terms.begin(holders, np.ones(len(own.vectors), np.float32), k + 1, width))
        return cls(
            spec, table, users, items, _sessions(spec, table), values, by_item, center, 1 / max(variance, 1e-6),
            FactorAverage(4 * k), (np.zeros(table.n_users), np.zeros(table.n_items)), [],
        )  # fmt: skip

    def sweep(self, stream: np.random.Generator, *, noisy_rows: bool) -> float:
        """Everything drawn once, each given all else; returns the mean squared error of this draw."""
        k, table = self.spec.factors, self.interactions
        self.users.draw_prior(k + 1, stream)
        self.items.draw_prior(k + 1, stream)
        weights = self._precisions()
        values = self.values if self.sessions is None else self.values - self.sessions.offsets
        self.users.entries = replace(self.users.entries, values=values)
        self.items.entries = replace(self.items.entries, values=values[self.by_item])
        self.items.draw_vectors(self.users, k, weights[self.by_item], stream)
        self.users.draw_vectors(self.items, k, weights, stream)
        sides = [(own, [terms.randomness(stream) for terms in own.terms]) for own in (self.users, self.items)]
        for_each(lambda side: side[0].draw_terms(side[1]), sides)  # given the vectors they are independent
        residual = self._residuals()
        if self.sessions is not None:
            self.sessions.draw(residual, weights, stream)
            residual -= self.sessions.offsets
        squares = residual**2
        counted = np.ones(len(table)) if table.weights is None else table.weights > 0
        if table.weights is not None:
            squares *= table.weights
        loss = float(squares.mean())
        a, c = self.users.noise[table.u], self.items.noise[table.i]
        self.alpha = float(stream.gamma((counted.sum() + 1) / 2, 1 / (0.5 * float(a @ (c * squares)) + 0.5)))
        if noisy_rows:
            misfit = np.bincount(table.u, self.alpha * c * squares, minlength=table.n_users)
            self.users.draw_noise(misfit, np.bincount(table.u, counted, table.n_users), stream)
            a = self.users.noise[table.u]
            misfit = np.bincount(table.i, self.alpha * a * squares, minlength=table.n_items)
            self.items.draw_noise(misfit, np.bincount(table.i, counted, table.n_items), stream)
        return loss

    def _precisions(self) -> Float32:
        table = self.interactions
        precision = (self.alpha * self.users.noise).astype(np.float32)[table.u]
        precision *= self.items.noise.astype(np.float32)[table.i]
        return precision if table.weights is None else precision * table.weights

    def _residuals(self) -> Float64:
        """r - x for every rating, moods left in: (n,) float64."""
        k, table = self.spec.factors, self.interactions
        left, right = self.users.vectors.copy(), self.items.vectors.copy()
        left[:, k + 1 :], right[:, k], right[:, k + 1 :] = 0, 1, 0
        x = pair_dots(left, right, table.u, table.i) + self.items.vectors[table.i, k]
        residual: Float64 = (self.values - x).astype(np.float64)
        return residual

    def remember(self, *, fresh: bool, whole: bool) -> None:
        """Adds this draw to the average, and keeps all of it if it is one of the samples."""
        k = self.spec.factors
        pairs: list[tuple[Float64, Any]] = [
            (self.bias_sums[0], self.users.vectors[:, k]),
            (self.bias_sums[1], self.items.vectors[:, k]),
        ]
        if self.sessions is not None:
            pairs.append((self.sessions.total, self.sessions.drawn))
        if fresh:
            self.average = FactorAverage(4 * k)
            self.draws.clear()
        for total, drawn in pairs:
            total[:] = drawn if fresh else total + drawn
        self.average.add(self.users.vectors[:, :k], self.items.vectors[:, :k])
        if whole or fresh:
            self.draws.append(self._draw())

    def _draw(self) -> dict[str, Any]:
        users, items = self.users, self.items
        drawn: dict[str, Any] = {
            "users": users.vectors.copy(),
            "items": items.vectors.copy(),
            "user_noise": self.alpha * users.noise,
            "item_noise": items.noise,
            "terms": users.terms[0].values.copy() if self.spec.implicit else np.zeros((0, users.vectors.shape[1])),
            "base_noise": self.alpha,
            "noise_shape": users.shape,
        }
        histories, features = users.terms[: self.spec.implicit], users.terms[self.spec.implicit :]
        drawn["user_mean"], variance = _population(users, features)
        drawn["user_precision"] = 1 / variance
        for name, side, terms in (("user", users, histories + features), ("item", items, items.terms)):
            drawn[f"unknown_{name}"], drawn[f"unknown_{name}_variance"] = _population(side, terms)
        return drawn

    def model(self) -> BayesianModel:
        """The average and the samples so far."""
        stacked = {name: np.stack([draw[name] for draw in self.draws]) for name in self.draws[0]}
        posterior = Posterior(**{name: read_only(array.astype(np.float32)) for name, array in stacked.items()})
        sessions = None
        if self.sessions is not None:
            rows, moods = self.sessions.table.rows, self.sessions.total / self.average.count
            rows = replace(rows, values=read_only(moods.astype(np.float32)))
            sessions = replace(self.sessions.table, rows=rows)
        return BayesianModel(self._centered(), posterior, self.spec.factors, self.center, sessions)

    def _centered(self) -> FactorModel:
        """The average as a FactorModel in which zero is the average user and the average item.

        L R' = (L - 1 l') (R - 1 r')' + (L r) 1' + 1 (R l - l . r)': what the mean rows l and r contribute moves into
        the biases, so that whoever is unknown, and has no vector, is predicted as an average one.
        """
        left, right = (array.astype(np.float64) for array in self.average.result())
        user_bias, item_bias = (total / self.average.count for total in self.bias_sums)
        user_support, item_support = self.users.entries.counts, self.items.entries.counts
        l_mean, r_mean = np.average(left, axis=0, weights=user_support), np.average(right, axis=0, weights=item_support)
        user_bias, item_bias = user_bias + left @ r_mean, item_bias + right @ l_mean
        shift = np.average(user_bias, weights=user_support)
        return FactorModel(
            read_only((left - l_mean).astype(np.float32)),
            read_only((right - r_mean).astype(np.float32)),
            read_only((user_bias - shift).astype(np.float32)),
            read_only((item_bias - l_mean @ r_mean).astype(np.float32)),
            mean=self.center + float(shift),
            scale=self.interactions.scale,
        )


def _sessions(spec: BayesianMF, table: Interactions) -> Sessions | None:
    if spec.time_bin == 0:
        return None
    if table.times is None:
        raise DataError("time_bin needs a time for every rating, and this table has none")
    return Sessions.begin(*SessionBias.unknown(table.u, table.times, spec.time_bin, table.n_users))


def _population(side: Chain, terms: list[Terms]) -> tuple[Float32, Any]:
    """Mean and variance (width,) of the vectors of those of whom these terms are not known: over everybody's."""
    if not terms:
        return side.mean.copy(), 1 / side.precision
    total = np.sum([one.total for one in terms], axis=0)
    return side.mean + total.mean(axis=0), 1 / side.precision + total.var(axis=0)
