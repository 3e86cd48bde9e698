"""Bayesian matrix factorization for ratings, fitted by Gibbs sampling.

Predictions are averages over posterior samples; the samples also provide predictive distributions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cofactor import checks
from cofactor.arrays import Float32, Float64, Int64, contiguous, random_stream, read_only
from cofactor.checks import Seed
from cofactor.data.features import indicators
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, ParameterError
from cofactor.estimators.base import Estimator, parameter
from cofactor.estimators.gibbs import Chain, Sessions, Terms
from cofactor.estimators.training import EpochCallback, FitMonitor
from cofactor.estimators.training_table import Standardization, TableLike
from cofactor.kernels.gibbs import column_squared_errors, entry_precisions, residuals, row_squared_errors
from cofactor.kernels.parallel import one_thread_blas, parallel_for
from cofactor.kernels.sort import counting_sort
from cofactor.models.base import Model
from cofactor.models.distribution import NormalMixture
from cofactor.models.factor import FactorModel
from cofactor.models.losses import padded_width
from cofactor.models.posterior import BayesianModel, Posterior
from cofactor.models.posterior_samples import FactorMean
from cofactor.models.recalibration import Recalibration
from cofactor.models.session_bias import SessionBias
from cofactor.models.user_batch import UserBatch
from cofactor.validation import validated

__all__ = ["BayesianMF"]

MIN_ITERATIONS, MAX_ITERATIONS, ITERATIONS_TIMES_RATINGS = 140, 400, 7e7
"""The default number of iterations is inversely proportional to the number of ratings, within these limits."""

MIN_RECALIBRATION_RATINGS, MAX_RECALIBRATION_RATINGS, MIN_RECALIBRATION_SAMPLES = 50, 20_000, 8
"""Minimum and maximum number of ratings for learning a recalibration, and minimum number of stored samples."""

MAX_LEVERAGE = 0.9
"""Maximum leverage of a rating on its own prediction."""


@dataclass(frozen=True)
class BayesianMF(Estimator):
    """Bayesian matrix factorization for ratings, fitted by Gibbs sampling.

    Predictions are averages over posterior samples; the model also returns predictive distributions.

    Parameters
    ----------
    factors : int, default 15
        Number of latent factors in each posterior sample.
    iterations : int or None, default None
        Number of Gibbs iterations, including burn-in; None for 140 to 400, fewer for more ratings.
    burn_in : int, default 40
        Number of initial iterations to discard.
    implicit : bool, default True
        Whether to model which items each user rated and which users rated each item (SVD++).
    user_features : tuple of str, default ()
        Columns of the user table to use as features, separated by commas.
    item_features : tuple of str, default ()
        Columns of the item table to use as features, separated by commas.
    time_bin : int, default 0
        Session length in seconds; a user's ratings in one session share a bias; 0 to disable.
    kept_samples : int, default 32
        Number of evenly spaced posterior samples to store for predictive distributions.
    recalibrate : bool, default True
        Whether to correct the shape of predictive distributions; predicted ratings do not depend on it.
    init_std : float, default 0.1
        Standard deviation of the initial factors.
    patience : int, default 1000
        Number of iterations without improvement in the validation score before stopping.

    Notes
    -----
    The likelihood and the prior for users::

        r = mean + b_u + b_i + p_u . q_i + b_(u, t) + noise,    noise ~ N(0, 1 / (w alpha a_u c_i))
        [p_u, b_u] ~ N(mu + sum over u's items y_j / sqrt(n_u) + sum over u's features z_f, diag(precision)^-1)

    The prior for items has the same form, with a term for each user who rated the item (with `implicit`, SVD++ on both
    sides). mu and precision have normal-gamma priors; a_u and c_i have gamma priors with mean 1, so that some users and
    items can be harder to predict. w is the weight of a rating. A single user, item or rating is enough to fit the
    model; the priors then dominate.

    `user_features` and `item_features` are columns of the user and item tables (see `cofactor.data.features`). Each
    indicator adds a vector to the prior mean of its rows, so that ratings of an item without training ratings can be
    predicted, for example, from its genres. `time_bin` adds a session bias b_(u, t) for each user and time bin. It can
    be estimated only if the user has other ratings in the same bin, earlier or later, so it helps to impute missing
    ratings but not to forecast.

    By default, the number of iterations is 7e7 / (number of ratings), but at least 140 and at most 400. On small
    tables, the chain has a large autocorrelation, and more iterations are cheap: on validation rows, 400 iterations
    instead of 140 change the RMSE from .8603 to .8524 (Flixster, 24,000 ratings), from .7851 to .7820 (FilmTrust,
    35,000 ratings), and from .8837 to .8824 (MovieLens-100k).

    The likelihood is normal, but ratings are not: on MovieLens-100k, 4.4% of test ratings were predicted to be 1 star,
    and 6.2% were. Predictive distributions are therefore recalibrated (`models.recalibration`) on the `validation` rows
    or, without these, on the leave-one-out distributions of at most 20,000 training ratings. With the mean m and the
    variance v of mean + b_u + b_i + p_u . q_i + b_(u, t) over the samples, and the noise variance s^2, the
    leave-one-out mean and variance of a rating r are, for a normal posterior::

        (m - h r) / (1 - h),  v / (1 - h),    h = v / s^2

    The precision matrix is diagonal, whereas Salakhutdinov & Mnih use a Wishart prior.

    References
    ----------
    Salakhutdinov & Mnih 2008, "Bayesian probabilistic matrix factorization using Markov chain Monte Carlo".
    Koren 2008, "Factorization meets the neighborhood", section 4 (implicit feedback).
    Agarwal & Chen 2009, "Regression-based latent factor models" (features).
    Koren 2009, "Collaborative filtering with temporal dynamics", section 4 (time).
    Rendle, Zhang & Koren 2019, "On the difficulty of evaluating baselines" (implicit feedback on both sides).

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> pairs = [(u, i) for u in range(20) for i in range(20) if u != i]
    >>> stars = [5 if (u + i) % 2 == 0 else 1 for u, i in pairs]                     # two tastes
    >>> ratings = cofactor.Interactions.from_columns(*zip(*pairs), stars)
    >>> model = BayesianMF(factors=2, iterations=60, burn_in=20).fit(ratings)
    >>> from cofactor.models.user_batch import UserBatch
    >>> distribution = model.distribution(UserBatch.trained([0, 0], ratings.by_user), np.int32([0, 3]))
    >>> distribution.at_least(5).round(1).tolist()       # probability of 5 stars: a held-out pair, and a rating of 1
    [1.0, 0.0]
    """

    name: ClassVar[str] = "bayesian-mf"
    kind: ClassVar[Kind] = "ratings"

    factors: int = parameter(
        15, "number of latent factors in each posterior sample", low=1, high=256, log=True, search=(5, 40)
    )
    iterations: int | None = parameter(
        None,
        "number of Gibbs iterations, including burn-in; None for 140 to 400, fewer for more ratings",
        low=2,
        high=100_000,
    )
    burn_in: int = parameter(40, "number of initial iterations to discard", low=1, high=10_000)
    implicit: bool = parameter(
        default=True, meaning="whether to model which items each user rated and which users rated each item (SVD++)"
    )
    user_features: tuple[str, ...] = parameter((), "columns of the user table to use as features, separated by commas")
    item_features: tuple[str, ...] = parameter((), "columns of the item table to use as features, separated by commas")
    time_bin: int = parameter(
        0,
        "session length in seconds; a user's ratings in one session share a bias; 0 to disable",
        low=0,
        high=86_400,
    )
    kept_samples: int = parameter(
        32, "number of evenly spaced posterior samples to store for predictive distributions", low=1, high=1000
    )
    recalibrate: bool = parameter(
        default=True,
        meaning="whether to correct the shape of predictive distributions; predicted ratings do not depend on it",
    )
    init_std: float = parameter(0.1, "standard deviation of the initial factors", low=1e-6, high=10, log=True)
    patience: int = parameter(
        1_000, "number of iterations without improvement in the validation score before stopping", low=1, high=100_000
    )

    def __post_init__(self) -> None:
        for hyperparameter in ("user_features", "item_features"):
            names = getattr(self, hyperparameter)
            if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
                raise ParameterError(
                    f"{self.name}: {hyperparameter} must be a list of column names, not {checks.describe(names)}"
                )
            if names != (distinct := tuple(dict.fromkeys(names))):  # else as passed, for `clone`
                object.__setattr__(self, hyperparameter, distinct)
        super().__post_init__()

    def _number_of_iterations(self, n_ratings: int) -> int:
        """Return the number of iterations for a table."""
        if self.iterations is not None:
            return self.iterations
        return int(np.clip(ITERATIONS_TIMES_RATINGS / n_ratings, MIN_ITERATIONS, MAX_ITERATIONS))

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> BayesianModel:
        """Draw samples from the posterior given a table of ratings, and return the model.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings; must have times if `time_bin` is not 0, and the side tables that contain the features.
        seed : int, Generator or None, default 0
            Seed for the Gibbs chain; the same seed gives identical results.
        validation : Interactions or CSR matrix, optional
            Held-out rows with the same IDs. If given, the model from the epoch with the best validation score is
            returned, and its predictive distributions are calibrated on these rows.
        init_model : BayesianModel, optional
            Ignored: after burn-in, the chain does not depend on its initial state.
        callback : callable, optional
            Called with an `Epoch` after each epoch.

        Returns
        -------
        BayesianModel
            Model with the average of the samples after burn-in and up to `kept_samples` stored samples.

        Raises
        ------
        KindError
            If the table or `validation` contains events.
        DataError
            If the table has no rows, all weights are 0, required features or times are missing, or `validation` has
            different IDs or no rows.
        DivergedError
            If the loss or any model array is not finite.
        """
        del init_model
        table = self.check_table(interactions)
        seed = checks.seed(seed)
        n_iterations = self._number_of_iterations(len(table))
        monitor = FitMonitor(
            table,
            validation,
            callback,
            epochs=n_iterations,
            patience=self.patience,
            advice=self.diverged_advice,
            loss_may_rise=True,
        )
        transformation = Standardization.of(table)
        sampler = _Sampler.initialize(self, transformation.apply(table), seed)
        burn_in = min(self.burn_in, n_iterations - 1)
        n_stored = min(self.kept_samples, n_iterations - burn_in)
        stored_iterations = set(np.linspace(burn_in, n_iterations - 1, n_stored).astype(int).tolist())

        def iterate(number: int) -> float:
            iteration = number - 1
            stream = random_stream(seed, "sweep", iteration)
            loss = sampler.iterate(stream, sample_row_noise=iteration >= min(10, burn_in))
            if np.isfinite(loss) and (iteration >= burn_in or iteration == 0):
                sampler.record(restart=iteration in (0, burn_in), store=iteration in stored_iterations)
            return loss * transformation.std**2

        model = monitor.run(iterate, lambda: transformation.to_ratings(sampler.model(), table.scale))
        if not self.recalibrate:
            return model
        if validation is not None:
            rows = self.check_table(validation)
            curve = _mixtures(model, table, rows)
            means, sds = curve.means, curve.sds
        else:
            rated = np.arange(len(table)) if table.weights is None else np.flatnonzero(table.weights > 0)
            if n_stored < MIN_RECALIBRATION_SAMPLES or len(rated) < MIN_RECALIBRATION_RATINGS:
                return model
            mask = np.zeros(len(table), bool)
            mask[random_stream(seed, "recalibration").permutation(rated)[:MAX_RECALIBRATION_RATINGS]] = True
            rows = table.select(mask)
            curve = _mixtures(model, table, rows)
            # most of the time is proportional to the number of samples
            used = slice(None, None, max(n_stored // (2 * MIN_RECALIBRATION_SAMPLES), 1))
            means = leave_one_out(curve.means, curve.sds, rows.values, rows.weights)[:, used]
            sds = curve.sds[:, used]
        levels = np.asarray(() if table.scale is None else table.scale.levels, np.float32)
        return replace(model, recalibration=Recalibration.learned(means, sds, rows.values, levels))


@dataclass
class _Sampler:
    """State of the Gibbs sampler, with the running average of the samples and the stored samples.

    `values`, of shape (n,), holds the ratings minus their mean `center`, in the order of `interactions`; `by_item` is
    the permutation that sorts them by item. `weighted_counts` are the numbers of ratings with a positive weight of each
    user and of each item.
    """

    spec: BayesianMF
    interactions: Interactions
    users: Chain
    items: Chain
    sessions: Sessions | None
    values: Float32
    by_item: Int64
    weighted_counts: tuple[Int64, Int64]
    center: float
    alpha: float
    average: FactorMean
    bias_sums: tuple[Float64, Float64]
    samples: list[dict[str, Any]]

    @classmethod
    def initialize(cls, spec: BayesianMF, interactions: Interactions, seed: int) -> _Sampler:
        """Create the initial state: random factors, zero biases, and the variance of the ratings as noise variance."""
        k, table = spec.factors, interactions
        center = float(np.average(table.values.astype(np.float64), weights=table.weights))
        values = table.values - np.float32(center)
        variance = float(np.average(values.astype(np.float64) ** 2, weights=table.weights))
        _, by_item = counting_sort(table.i, table.n_items)
        width, chains = padded_width(k + 1), []
        for name, entries in (("user", table.by_user), ("item", table.by_item)):
            noise = random_stream(seed, f"{name} factors").standard_normal((len(entries), k), dtype=np.float32)
            chains.append(Chain.initialize(entries, width, noise * np.float32(spec.init_std)))
        users, items = chains
        if spec.implicit:
            for chain, other in ((users, items), (items, users)):
                scale = (1 / np.sqrt(np.maximum(chain.entries.counts, 1))).astype(np.float32)
                chain.terms.append(Terms.initialize(other.entries, scale, k, width))
        for name, chain in (("user", users), ("item", items)):
            if columns := getattr(spec, f"{name}_features"):
                rows_by_column = indicators(getattr(table, f"{name}_table"), columns, name).rows_by_indicator
                chain.terms.append(
                    Terms.initialize(rows_by_column, np.ones(len(chain.vectors), np.float32), k + 1, width)
                )
        users.entries = replace(users.entries, values=values)
        items.entries = replace(items.entries, values=values[by_item])
        has_weight = slice(None) if table.weights is None else table.weights > 0
        counts = (
            np.bincount(table.u[has_weight], minlength=table.n_users),
            np.bincount(table.i[has_weight], minlength=table.n_items),
        )
        return cls(
            spec, table, users, items, _sessions(spec, table), values, by_item, counts, center,
            1 / max(variance, 1e-6),
            FactorMean(4 * k), (np.zeros(table.n_users), np.zeros(table.n_items)), [],
        )  # fmt: skip

    def iterate(self, stream: np.random.Generator, *, sample_row_noise: bool) -> float:
        """Sample each block of variables once, given all other blocks, and return the mean squared prediction error."""
        k = self.spec.factors
        self.users.draw_prior(k + 1, stream)
        self.items.draw_prior(k + 1, stream)
        if self.sessions is not None:
            values = self.values - self.sessions.offsets
            self.users.entries = replace(self.users.entries, values=values)
            self.items.entries = replace(self.items.entries, values=values[self.by_item])
        user_precision, item_precision = (
            (self.alpha * self.users.noise).astype(np.float32),
            self.items.noise.astype(np.float32),
        )
        self.items.draw_vectors(
            self.users, k, entry_precisions(self.items.entries, item_precision, user_precision), stream
        )
        self.users.draw_vectors(
            self.items, k, entry_precisions(self.users.entries, user_precision, item_precision), stream
        )
        draws = [
            (chain, [terms.draw_random_inputs(stream) for terms in chain.terms]) for chain in (self.users, self.items)
        ]
        parallel_for(lambda draw: draw[0].draw_terms(draw[1]), draws)  # users and items are conditionally independent
        residual = self._residuals()
        if self.sessions is not None:
            precision = entry_precisions(self.users.entries, user_precision, item_precision)
            self.sessions.draw(residual, precision, stream)
            residual -= self.sessions.offsets
        squares, total, squared_error = row_squared_errors(self.users.entries, residual, self.items.noise)
        n_user_ratings, n_item_ratings = self.weighted_counts
        self.alpha = float(
            stream.gamma((n_user_ratings.sum() + 1) / 2, 1 / (0.5 * float(self.users.noise @ squared_error) + 0.5))
        )
        if sample_row_noise:
            self.users.draw_noise(self.alpha * squared_error, n_user_ratings, stream)
            squared_error = column_squared_errors(self.items.entries, self.by_item, squares, self.users.noise)
            self.items.draw_noise(self.alpha * squared_error, n_item_ratings, stream)
        return float(total.sum() / len(self.interactions))

    def _residuals(self) -> Float32:
        """Return the residual of each rating, including its session bias: (n,) float32."""
        k = self.spec.factors
        left, right = self.users.vectors.copy(), self.items.vectors.copy()
        left[:, k + 1 :], right[:, k], right[:, k + 1 :] = 0, 1, 0
        entries = replace(self.users.entries, values=self.values)
        return residuals(entries, left, right, contiguous(self.items.vectors[:, k], np.float32))

    def record(self, *, restart: bool, store: bool) -> None:
        """Add the current sample to the average, and optionally store it or first discard all earlier samples."""
        k = self.spec.factors
        pairs: list[tuple[Float64, Any]] = [
            (self.bias_sums[0], self.users.vectors[:, k]),
            (self.bias_sums[1], self.items.vectors[:, k]),
        ]
        if self.sessions is not None:
            pairs.append((self.sessions.total, self.sessions.biases))
        if restart:
            self.average = FactorMean(4 * k)
            self.samples.clear()
        for total, sample in pairs:
            total[:] = sample if restart else total + sample
        self.average.add(self.users.vectors[:, :k], self.items.vectors[:, :k])
        if store or restart:
            self.samples.append(self._sample())

    def _sample(self) -> dict[str, Any]:
        """Return a copy of the current sample, keyed by the field names of `Posterior`."""
        users, items = self.users, self.items
        sample: dict[str, Any] = {
            "users": users.vectors.copy(),
            "items": items.vectors.copy(),
            "user_noise": self.alpha * users.noise,
            "item_noise": items.noise,
            "terms": users.terms[0].values.copy() if self.spec.implicit else np.zeros((0, users.vectors.shape[1])),
            "base_noise": self.alpha,
            "noise_shape": users.shape,
        }
        histories, features = users.terms[: self.spec.implicit], users.terms[self.spec.implicit :]
        sample["user_mean"], variance = _marginal_prior(users, features)
        sample["user_precision"] = 1 / variance
        for name, chain, terms in (("user", users, histories + features), ("item", items, items.terms)):
            sample[f"unknown_{name}"], sample[f"unknown_{name}_variance"] = _marginal_prior(chain, terms)
        return sample

    def model(self) -> BayesianModel:
        """Return a model with the stored samples, and with the average of all samples since the last restart."""
        stacked_samples = {name: np.stack([sample[name] for sample in self.samples]) for name in self.samples[0]}
        posterior = Posterior(**{name: read_only(array.astype(np.float32)) for name, array in stacked_samples.items()})
        sessions = None
        if self.sessions is not None:
            rows, biases = self.sessions.table.rows, self.sessions.total / self.average.count
            rows = replace(rows, values=read_only(biases.astype(np.float32)))
            sessions = replace(self.sessions.table, rows=rows)
        return BayesianModel(self._centered(), posterior, self.spec.factors, self.center, sessions)

    def _centered(self) -> FactorModel:
        """Return the average as a FactorModel, centered so that zeros represent an average user or item.

        L R' = (L - 1 l') (R - 1 r')' + (L r) 1' + 1 (R l - l . r)': the contributions of the mean rows l and r are
        moved into the biases, so that unknown users and items, which have no vectors, are treated as average ones.
        """
        left, right = (array.astype(np.float64) for array in self.average.result())
        user_bias, item_bias = (total / self.average.count for total in self.bias_sums)
        user_support, item_support = self.users.entries.counts, self.items.entries.counts
        left_mean, right_mean = (
            np.average(left, axis=0, weights=user_support),
            np.average(right, axis=0, weights=item_support),
        )
        user_bias, item_bias = user_bias + left @ right_mean, item_bias + right @ left_mean
        shift = np.average(user_bias, weights=user_support)
        return FactorModel(
            read_only((left - left_mean).astype(np.float32)),
            read_only((right - right_mean).astype(np.float32)),
            read_only((user_bias - shift).astype(np.float32)),
            read_only((item_bias - left_mean @ right_mean).astype(np.float32)),
            mean=self.center + float(shift),
            scale=self.interactions.scale,
        )


def _mixtures(model: BayesianModel, train: Interactions, rows: Interactions) -> NormalMixture:
    """Return the predictive distributions of some ratings: mixtures with one normal component per stored sample."""
    curve = model.distribution(UserBatch.trained(rows.u, train.by_user, rows.times), rows.i).curve
    assert isinstance(curve, NormalMixture)
    return curve


def leave_one_out(means: Float64, sds: Float64, values: Float32, weights: Float32 | None) -> Float64:
    """Approximate the leave-one-out predictive distributions of training ratings.

    Parameters
    ----------
    means, sds : ndarray of shape (n, S), float64
        Expected ratings for S posterior samples, and standard deviations of the noise.
    values : ndarray of shape (n,), float32
        The ratings.
    weights : ndarray of shape (n,), float32, or None
        Their weights; None if all are 1.

    Returns
    -------
    ndarray of shape (n, S), float64
        Expected ratings for samples of the posterior without the rating.

    Notes
    -----
    See `BayesianMF`. The deviation of each sample from the mean is divided by sqrt(1 - h).
    """
    mean, variance = means.mean(axis=1, keepdims=True), means.var(axis=1, ddof=1, keepdims=True)
    w = 1.0 if weights is None else weights[:, None]
    leverage = np.minimum(w * variance / np.square(sds).mean(axis=1, keepdims=True), MAX_LEVERAGE)
    center = (mean - leverage * values[:, None]) / (1 - leverage)
    without: Float64 = center + (means - mean) / np.sqrt(1 - leverage)
    return without


def _sessions(spec: BayesianMF, table: Interactions) -> Sessions | None:
    """Return zero session biases, or None if `time_bin` is 0."""
    if spec.time_bin == 0:
        return None
    if table.times is None:
        raise DataError(
            "time_bin requires a time for every rating, but the table has no times; load it with times, "
            "or use time_bin=0"
        )
    return Sessions.initialize(*SessionBias.of_ratings(table.u, table.times, spec.time_bin, table.n_users))


def _marginal_prior(chain: Chain, terms: list[Terms]) -> tuple[Float32, Any]:
    """Return the moment-matched prior mean and variance, each (width,), of a row whose terms are unknown."""
    if not terms:
        return chain.mean.copy(), 1 / chain.precision
    total = np.sum([term.total for term in terms], axis=0)
    return chain.mean + total.mean(axis=0), 1 / chain.precision + total.var(axis=0)
