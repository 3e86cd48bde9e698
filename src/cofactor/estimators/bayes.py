"""Bayesian matrix factorization by Gibbs sampling: not one set of factors, but all that the ratings allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma
from typing import Any, ClassVar

import numpy as np

from cofactor.arrays import Float32, Float64, SparseRows, contiguous, random_stream, read_only
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DivergedError
from cofactor.estimators.base import Estimator, OnEpoch, Watch, parameter
from cofactor.kernels.dots import pair_dots
from cofactor.kernels.gibbs import draw_history_terms
from cofactor.kernels.ridge import RATINGS, Side, solve
from cofactor.kernels.threads import for_each
from cofactor.models.average import FactorAverage
from cofactor.models.factor import FactorModel
from cofactor.models.losses import padded_width
from cofactor.models.posterior import BayesianModel, Posterior

__all__ = ["BayesianMF"]

NOISE_SHAPES = np.array([1.0, 1.5, 2, 3, 4, 6, 8, 12, 16, 24])
"""Shapes of the gamma prior of the rows' noise that are tried; a large one says that all rows are alike."""

PADDING = np.float32(1e9)
"""The precision of dimensions that are not there: they stay zero."""


@dataclass(frozen=True)
class BayesianMF(Estimator):
    """r = mean + b_u + b_i + p_u . q_i + noise, with a prior on everything, averaged over draws from the posterior.

    [p_u, b_u] ~ N(mu + what having rated each item adds / sqrt(n_u), diag(precision)^-1), items alike with what having
    been rated by each user adds (`implicit`: SVD++ and its flipped side); mu and precision have normal-gamma priors.
    The noise of a rating has the precision alpha a_u c_i, a_u and c_i gamma-distributed around 1: some people and some
    items are harder to predict. Source: Salakhutdinov & Mnih 2008, here with a diagonal precision in place of their
    Wishart prior; Koren 2008; Rendle et al. 2019. Weights multiply a rating's precision.
    """

    name: ClassVar[str] = "bayesian-mf"
    kind: ClassVar[Kind] = "ratings"

    factors: int = parameter(15, "the width of the factors of one draw", low=1, high=256, log=True, search=(5, 40))
    sweeps: int = parameter(140, "draws of everything, the first ones included", low=2, high=100_000)
    burn_in: int = parameter(40, "first draws that are thrown away", low=1, high=10_000)
    implicit: bool = parameter(default=True, meaning="whether having rated at all says something, for users and items")
    samples: int = parameter(32, "draws kept for distributions, evenly spaced", low=1, high=1000)
    init_sd: float = parameter(0.1, "standard deviation of the first factors", low=1e-6, high=10, log=True)
    patience: int = parameter(1_000, "sweeps without a better validation score before stopping", low=1, high=100_000)

    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        start: BayesianModel | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> BayesianModel:
        """A BayesianModel. `start` is not used: a chain forgets where it began. Raises KindError, DivergedError."""
        del start
        self.require(interactions)
        sampler = _Sampler.begin(self, interactions, seed)
        burn_in = min(self.burn_in, self.sweeps - 1)
        keep = set(np.linspace(burn_in, self.sweeps - 1, min(self.samples, self.sweeps - burn_in)).astype(int).tolist())
        watch = Watch(
            interactions, epochs=self.sweeps, patience=self.patience, validation=validation, on_epoch=on_epoch
        )
        going, sweep = True, 0
        while going:
            loss = sampler.sweep(random_stream(seed, "sweep", sweep), noisy_rows=sweep >= min(10, burn_in))
            if sweep >= burn_in or sweep == 0:
                sampler.remember(fresh=sweep in (0, burn_in), whole=sweep in keep)
            going = watch.goes_on(sweep + 1, loss, sampler.model)
            sweep += 1
        model: BayesianModel = watch.chosen(sampler.model)
        if not all(np.isfinite(array).all() for array in model.arrays().values()):
            raise DivergedError(sweep, float("nan"), "are there ratings that are far off the others?")
        return model


@dataclass
class _Chain:
    """One side of the cross-tab while it is drawn. Vectors are [factors, bias, padding].

    entries: its rows, values relative to the average rating. noise (n,): each row's factor on the precision.
    terms (n_columns, width): what each column adds; history (n, width): the sum of what a row's columns add.
    """

    entries: SparseRows
    vectors: Float32
    terms: Float32
    history: Float32
    scale: Float32
    noise: Float64
    mean: Float32
    precision: Float32
    shape: float = 4.0

    @classmethod
    def begin(cls, entries: SparseRows, n_columns: int, width: int, factors: Float32) -> _Chain:
        vectors = np.zeros((len(entries), width), np.float32)
        vectors[:, : factors.shape[1]] = factors
        return cls(
            entries,
            vectors,
            np.zeros((n_columns, width), np.float32),
            np.zeros_like(vectors),
            (1 / np.sqrt(np.maximum(entries.counts, 1))).astype(np.float32),
            np.ones(len(entries)),
            np.zeros(width, np.float32),
            np.ones(width, np.float32),
        )

    def draw_prior(self, width: int, stream: np.random.Generator) -> None:
        """mu and precision given the vectors: normal-gamma, apart for each dimension."""
        own = self.vectors[:, :width] - self.history[:, :width]
        self.mean[:width], self.precision[:width] = _normal_gamma(own, stream)
        self.precision[width:] = PADDING

    def draw_vectors(self, other: _Chain, factors: int, weights: Float32, stream: np.random.Generator) -> None:
        """Every row's vector given the other side's: one ridge regression each, solved and drawn."""
        features = other.vectors.copy()
        features[:, factors], features[:, factors + 1 :] = 1, 0
        width = features.shape[1]
        side = Side(
            RATINGS,
            features,
            contiguous(other.vectors[:, factors], np.float32),
            np.zeros((0, 0), np.float32),
            np.zeros(width, np.float32),
            self.precision,
            self.history + self.mean,
        )
        entries = SparseRows(self.entries.start, self.entries.columns, self.entries.values, weights)
        noise = stream.standard_normal(self.vectors.shape, dtype=np.float32)
        solve(self.vectors, entries, np.zeros(len(noise), np.float32), side, noise=noise)

    def draw_noise(self, misfit: Any, counts: Any, stream: np.random.Generator) -> None:
        """Each row's factor on the precision, given its sum of squares; then the shape that fits the factors best."""
        self.noise = stream.gamma(self.shape + counts / 2, 1 / (self.shape + misfit / 2))
        peak = NOISE_SHAPES * np.log(NOISE_SHAPES) - np.array([lgamma(shape) for shape in NOISE_SHAPES])
        likelihood = (
            peak * len(self.noise) + (NOISE_SHAPES - 1) * np.log(self.noise).sum() - NOISE_SHAPES * self.noise.sum()
        )
        self.shape = float(NOISE_SHAPES[likelihood.argmax()])


@dataclass
class _Sampler:
    """The whole state of the chain, and what is remembered of its draws."""

    spec: BayesianMF
    interactions: Interactions
    users: _Chain
    items: _Chain
    by_item: Any
    center: float
    alpha: float
    average: FactorAverage
    bias_sums: tuple[Float64, Float64]
    draws: list[dict[str, Any]]

    @classmethod
    def begin(cls, spec: BayesianMF, interactions: Interactions, seed: int) -> _Sampler:
        k, n_users, n_items = spec.factors, interactions.n_users, interactions.n_items
        center = float(np.average(interactions.values, weights=interactions.weights))
        values = interactions.values - np.float32(center)
        variance = float(np.average(values.astype(np.float64) ** 2, weights=interactions.weights))
        by_item = np.argsort(interactions.i, kind="stable")
        rows, columns = interactions.by_user, interactions.by_item
        sides = []
        for name, entries, n, n_columns in (
            ("user", SparseRows(rows.start, rows.columns, values), n_users, n_items),
            ("item", SparseRows(columns.start, columns.columns, values[by_item]), n_items, n_users),
        ):
            drawn = random_stream(seed, f"{name} factors").standard_normal((n, k), dtype=np.float32)
            sides.append(_Chain.begin(entries, n_columns, padded_width(k + 1), drawn * np.float32(spec.init_sd)))
        return cls(
            spec, interactions, sides[0], sides[1], by_item, center, 1 / max(variance, 1e-6),
            FactorAverage(4 * k), (np.zeros(n_users), np.zeros(n_items)), [],
        )  # fmt: skip

    def sweep(self, stream: np.random.Generator, *, noisy_rows: bool) -> float:
        """Everything drawn once, each given all else; returns the mean squared error of this draw."""
        k, table = self.spec.factors, self.interactions
        self.users.draw_prior(k + 1, stream)
        self.items.draw_prior(k + 1, stream)
        weights = self._precisions()
        self.items.draw_vectors(self.users, k, weights[self.by_item], stream)
        self.users.draw_vectors(self.items, k, weights, stream)
        if self.spec.implicit:
            self._draw_terms(stream)
        squares = self._residuals() ** 2
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
        """r - x for every rating, (n,) float64."""
        k, table = self.spec.factors, self.interactions
        left, right = self.users.vectors.copy(), self.items.vectors.copy()
        left[:, k + 1 :], right[:, k], right[:, k + 1 :] = 0, 1, 0
        x = pair_dots(left, right, table.u, table.i) + self.items.vectors[table.i, k]
        residual: Float64 = (self.users.entries.values - x).astype(np.float64)
        return residual

    def _draw_terms(self, stream: np.random.Generator) -> None:
        """What having rated adds, for both sides at once: given the vectors they are independent."""
        k, jobs = self.spec.factors, []
        for own, other in ((self.users, self.items), (self.items, self.users)):
            precision = np.full(own.terms.shape[1], PADDING, np.float32)
            precision[:k] = _normal_gamma(own.terms[:, :k], stream)[1]  # biases have no such terms
            residual = own.vectors - own.history - own.mean
            noise = stream.standard_normal(own.terms.shape, dtype=np.float32)
            noise[:, k:] = 0
            jobs.append((own, residual, other.entries, precision, noise))

        def draw(job: tuple[_Chain, Float32, SparseRows, Float32, Float32]) -> None:
            own, residual, columns, precision, noise = job
            run = draw_history_terms(own.terms.shape[1])
            run(own.terms, residual, columns.start, columns.columns, own.scale, precision, own.precision, noise)
            own.history = own.vectors - own.mean - residual
            own.history[:, k:] = 0

        for_each(draw, jobs)

    def remember(self, *, fresh: bool, whole: bool) -> None:
        """Adds this draw to the average, and keeps all of it if it is one of the samples."""
        k = self.spec.factors
        if fresh:
            self.average = FactorAverage(4 * k)
            self.bias_sums = np.zeros(len(self.users.vectors)), np.zeros(len(self.items.vectors))
            self.draws.clear()
        self.average.add(self.users.vectors[:, :k], self.items.vectors[:, :k])
        for total, side in zip(self.bias_sums, (self.users, self.items), strict=True):
            total += side.vectors[:, k]
        if whole or fresh:
            self.draws.append(self._draw())

    def _draw(self) -> dict[str, Any]:
        users, items = self.users, self.items
        return {
            "users": users.vectors.copy(),
            "items": items.vectors.copy(),
            "user_noise": self.alpha * users.noise,
            "item_noise": items.noise,
            "user_mean": users.mean.copy(),
            "user_precision": users.precision.copy(),
            "item_mean": items.mean.copy(),
            "item_precision": items.precision.copy(),
            "terms": users.terms.copy() if self.spec.implicit else users.terms[:0],
            "base_noise": self.alpha,
            "noise_shape": users.shape,
        }

    def model(self) -> BayesianModel:
        """The average and the samples so far."""
        stacked = {name: np.stack([draw[name] for draw in self.draws]) for name in self.draws[0]}
        posterior = Posterior(**{name: read_only(array.astype(np.float32)) for name, array in stacked.items()})
        return BayesianModel(self._centered(), posterior, self.spec.factors, self.center)

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


def _normal_gamma(vectors: Float32, stream: np.random.Generator) -> tuple[Float64, Float64]:
    """Mean and precision of a normal, drawn given its draws (n, width), apart for each dimension.

    With m = sum x / (n + 1): precision ~ Gamma((n + 3) / 2, rate 1/2 + 1/2 sum (x - m)^2),
    mean ~ N(m, 1 / ((n + 1) precision)).
    """
    x = vectors.astype(np.float64)
    n = len(x)
    m = x.sum(axis=0) / (n + 1)
    precision = stream.gamma((n + 3) / 2, 1 / (0.5 * ((x - m) ** 2).sum(axis=0) + 0.5))
    return stream.normal(m, 1 / np.sqrt(precision * (n + 1))), precision
