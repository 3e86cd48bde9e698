"""Calibration of predicted distributions: events predicted with probability 80% should occur in 80% of cases.

Calibration is measured over all ratings and for groups of users and items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, random_stream
from cofactor.checks import Seed
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.evaluate.evaluation import prepare_recommender
from cofactor.evaluate.split import Split, require_split
from cofactor.metrics.rating import rmse
from cofactor.models.base import HasUncertainty, PredictsRatings
from cofactor.models.distribution import Distribution, NormalMixture
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = [
    "Calibration",
    "calibration",
    "constant_width",
    "interval_coverage",
    "log_likelihood",
    "probability_integral_transform",
    "ranked_probability_score",
    "reliability",
]


TAIL = 0.025
"""Probability in each tail of a 95% interval."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration of a model's predicted distributions on a test set; returned by `calibration`.

    Attributes
    ----------
    n : int
        Number of test ratings.
    rmse : float
        RMSE of the distribution means.
    reliability : polars.DataFrame
        Result of `reliability`; empty if the scale has no levels.
    coverage : polars.DataFrame
        Result of `interval_coverage` for each probability, overall and by quartile of each grouping value.
    log_likelihood, crps : float
        Mean log-likelihood (in nats) and mean CRPS (in rating units) per rating; nan if the scale has no levels.
    share_below, share_above : float
        Shares of ratings whose probability integral transform is below 0.025 and above 0.975: 0.025 each if extreme
        ratings are as frequent as predicted. nan without ratings.
    constant_log_likelihood, constant_crps : float
        The same metrics for normal distributions with a constant width around the same means (see `constant_width`).

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> config = SyntheticConfig(n_users=60, n_items=40, n_ratings=900, rating_levels=(1, 2, 3, 4, 5))
    >>> ratings = generate(config).interactions
    >>> split = cofactor.split_random(ratings)
    >>> rec = cofactor.Recommender.fit(cofactor.BayesianMF(factors=4), split.train)
    >>> calibration = cofactor.evaluate.calibration(rec, split)
    >>> calibration.crps < calibration.rmse, calibration.reliability.columns[:4]
    (True, ['level', 'low', 'high', 'predicted'])
    """

    n: int
    rmse: float
    reliability: pl.DataFrame
    coverage: pl.DataFrame
    log_likelihood: float
    crps: float
    share_below: float
    share_above: float
    constant_log_likelihood: float
    constant_crps: float

    @property
    def crps_gain(self) -> float:
        """Relative reduction in CRPS compared with a constant width; positive if the predicted widths are informative.

        Notes
        -----
            gain = 1 - crps / constant_crps

        nan if the constant-width baseline is perfect (all ratings are equal) or the scale has no levels.
        """
        return 1 - self.crps / self.constant_crps if self.constant_crps > 0 else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Return the calibration as a dict of numbers, strings and lists.

        Returns
        -------
        dict
            All metrics, and both tables as lists of rows; metrics are nan if the scale has no levels.
        """
        numbers = (
            "n", "rmse", "log_likelihood", "crps", "share_below", "share_above", "constant_log_likelihood",
            "constant_crps", "crps_gain",
        )  # fmt: skip
        tables = {name: getattr(self, name).to_dicts() for name in ("reliability", "coverage")}
        return {name: getattr(self, name) for name in numbers} | tables


@validated
def calibration(recommender: Recommender, split: Split, *, probabilities: Sequence[float] = (0.8, 0.95)) -> Calibration:
    """Measure the calibration of a recommender on the test set of the split it was trained on.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on `split.train`, whose model predicts distributions over ratings.
    split : Split
        Split to evaluate on.
    probabilities : sequence of float, default (0.8, 0.95)
        Interval probabilities, at least one, each between 0 and 1.

    Returns
    -------
    Calibration
        Calibration, with coverage broken down by quartiles of user noise (the standard deviation of the user's
        residuals on training ratings, for users with at least two), user support, item support and interval width.

    Raises
    ------
    KindError
        If the model does not predict distributions, or was trained on events.
    DataError
        If the recommender and the split have different IDs.
    LeakageError
        If the recommender's histories contain a pair from the test set.
    ParameterError
        If `probabilities` is empty, or a probability is not between 0 and 1.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> config = SyntheticConfig(n_users=60, n_items=40, n_ratings=900, rating_levels=(1, 2, 3, 4, 5))
    >>> ratings = generate(config).interactions
    >>> split = cofactor.split_random(ratings)
    >>> rec = cofactor.Recommender.fit(cofactor.BayesianMF(factors=4), split.train)
    >>> result = cofactor.evaluate.calibration(rec, split)
    >>> result.n, round(result.coverage["covered 80 %"][0], 1)
    (180, 0.8)
    """
    probabilities = _probabilities(probabilities)
    require_recommender("recommender", recommender)
    require_split("split", split)
    train, test = split.train, split.test
    if recommender.kind != "ratings" or not isinstance(recommender.model, HasUncertainty):
        name = "this model" if recommender.estimator is None else recommender.estimator.name
        raise KindError(
            f"{name} does not predict distributions over ratings, so its calibration cannot be measured; "
            "fit bayesian-mf, or neural-mf with head=classification"
        )
    recommender, history = prepare_recommender(recommender, split), split.history
    assert isinstance(recommender.model, HasUncertainty)
    distributions = recommender.model.distribution(recommender.batch(test.u, test.times), test.i)
    y = test.values.astype(np.float64)
    low, high = distributions.interval(max(probabilities))
    groups = {
        "user's noise": _noise(recommender, history)[test.u],
        "user's support": history.by_user.counts[test.u].astype(np.float64),
        "item's support": np.bincount(train.i, minlength=train.n_items)[test.i].astype(np.float64),
        "predicted width": high - low,
    }
    constant = constant_width(distributions, y, test.scale)
    transform = probability_integral_transform(distributions, y)
    return Calibration(
        len(y),
        rmse(y, distributions.mean()),
        reliability(distributions, y),
        interval_coverage(distributions, y, groups=groups, probabilities=probabilities),
        log_likelihood(distributions, y),
        ranked_probability_score(distributions, y),
        _mean_or_nan(transform < TAIL),
        _mean_or_nan(transform > 1 - TAIL),
        log_likelihood(constant, y),
        ranked_probability_score(constant, y),
    )


def _probabilities(probabilities: Any) -> tuple[float, ...]:
    """Validate the interval probabilities, and return them as a tuple; raise ParameterError if they are invalid."""
    error = ParameterError(
        f"probabilities must be one or more numbers strictly between 0 and 1, not {checks.describe(probabilities)}"
    )
    try:
        values = checks.number_array("probabilities", probabilities, (None,))
    except ParameterError:
        raise error from None
    if len(values) == 0 or not ((values > 0) & (values < 1)).all():
        raise error
    return tuple(values.tolist())


def reliability(predicted: Distribution, y: Any, *, bins: int = 10) -> pl.DataFrame:
    """Compute a reliability table: predicted P(rating >= level) versus the observed frequency.

    Parameters
    ----------
    predicted : Distribution
        Predicted distributions of n ratings.
    y : array-like of shape (n,)
        Observed ratings.
    bins : int, default 10
        Number of equal-width bins of the predicted probability, at least 1.

    Returns
    -------
    polars.DataFrame
        One row for each level above the lowest and each nonempty bin; no rows if there are no levels or ratings.
        Columns:

        - level: the rating level
        - low, high: edges of the bin
        - predicted: mean predicted probability in the bin
        - observed: fraction of ratings at or above the level
        - n: number of ratings
        - sd: standard deviation of `observed` due to chance alone, sqrt(mean of p (1 - p) / n)

    Raises
    ------
    DataError
        If `y` has a different length.
    ParameterError
        If `bins` is less than 1.

    Examples
    --------
    >>> predicted = Distribution.of_mass([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], Scale.from_levels([1, 2, 3]))
    >>> reliability(predicted, [3, 1], bins=2).select("level", "predicted", "observed", "n").row(-1)
    (3.0, 0.7, 1.0, 1)
    """
    true_ratings = _ratings(predicted, y)
    bins = checks.whole_number("bins", bins, low=1)
    rows = []
    for level in predicted.levels[1:].tolist():
        p, is_at_least = predicted.at_least(level), true_ratings >= level - 1e-6 * max(1.0, abs(level))
        bin_index = np.minimum((p * bins).astype(np.int64), bins - 1)
        n = np.bincount(bin_index, minlength=bins)
        sums = (np.bincount(bin_index, weights=column, minlength=bins) for column in (p, is_at_least, p * (1 - p)))
        for b, (p_sum, hits, variance) in enumerate(zip(*sums, strict=True)):
            if n[b]:
                bounds = (b / bins, (b + 1) / bins)
                rows.append((level, *bounds, p_sum / n[b], hits / n[b], int(n[b]), np.sqrt(variance) / n[b]))
    names = ("level", "low", "high", "predicted", "observed", "n", "sd")
    schema = {name: pl.Int64 if name == "n" else pl.Float64 for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def interval_coverage(
    predicted: Distribution,
    y: Any,
    *,
    groups: Mapping[str, Any] | None = None,
    probabilities: Sequence[float] = (0.8, 0.95),
) -> pl.DataFrame:
    """Compute the fraction of ratings inside their predicted intervals, overall and by quartile of each grouping value.

    Parameters
    ----------
    predicted : Distribution
        Predicted distributions of n ratings.
    y : array-like of shape (n,)
        Observed ratings.
    groups : mapping of str to array-like of shape (n,), optional
        For each group name, one value per rating; the ratings are grouped by the quartiles of these values. Equal
        values stay together; ratings with nan are excluded.
    probabilities : sequence of float, default (0.8, 0.95)
        Interval probabilities, each between 0 and 1.

    Returns
    -------
    polars.DataFrame
        One overall row, and one row per group and quartile; values are null for rows without ratings. Columns:

        - group, quartile: "all" and 0 for the overall row, otherwise the group name and 1-4
        - n: number of ratings
        - low, high: smallest and largest group value in the row
        - covered 95 %: fraction of ratings inside the interval, for each probability
        - expected 95 %: mean probability that the distributions assign to their own intervals
        - width 95 %: mean interval width, in rating units

    Raises
    ------
    DataError
        If a group or `y` has a different length.
    ParameterError
        If `probabilities` is empty, or a probability is not between 0 and 1.

    Notes
    -----
    If interval bounds fall between rating levels, the expected share can differ from 95%; it is exactly 95% if the
    scale has no levels.

    Examples
    --------
    >>> predicted = Distribution.of([[3.0], [2.0]], [[1.0], [1.0]], None)
    >>> coverage = interval_coverage(predicted, [3.5, 4.5], probabilities=[0.95])
    >>> coverage.select("n", "covered 95 %", "expected 95 %").row(0)
    (2, 0.5, 0.95)
    """
    true_ratings, probabilities = _ratings(predicted, y), _probabilities(probabilities)
    bounds = {f"{p:.0%}".replace("%", " %"): predicted.interval(p) for p in probabilities}
    is_inside = {name: (low <= true_ratings) & (true_ratings <= high) for name, (low, high) in bounds.items()}
    expected = {
        name: _mass_inside(predicted, *pair, p) for (name, pair), p in zip(bounds.items(), probabilities, strict=True)
    }
    parts: list[tuple[str, int, Any, Any]] = [
        ("all", 0, np.ones(len(true_ratings), bool), np.full(len(true_ratings), np.nan))
    ]
    for name, column in (groups or {}).items():
        numbers = np.asarray(column, dtype=np.float64)
        if numbers.shape != true_ratings.shape:
            raise DataError(
                f"group {name!r} must have one value per rating; "
                f"got {numbers.size} values for {true_ratings.size} ratings"
            )
        parts += [(name, quartile, mask, numbers) for quartile, mask in enumerate(_quartiles(numbers), start=1)]
    rows = []
    for name, quartile, mask, numbers in parts:
        row: dict[str, Any] = {"group": name, "quartile": quartile, "n": int(mask.sum())}
        values = numbers[mask]
        row |= {
            "low": _finite_or_none(values.min(initial=np.inf)),
            "high": _finite_or_none(values.max(initial=-np.inf)),
        }
        for interval, (low, high) in bounds.items():
            columns = {"covered": is_inside[interval], "expected": expected[interval], "width": high - low}
            row |= {f"{part} {interval}": _mean_or_none(column[mask]) for part, column in columns.items()}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def log_likelihood(predicted: Distribution, y: Any) -> float:
    """Compute the mean log-likelihood of the ratings, in nats per rating; higher is better, and 0 is the maximum.

    Parameters
    ----------
    predicted : Distribution
        Predicted distributions of n ratings.
    y : array-like of shape (n,)
        Observed ratings.

    Returns
    -------
    float
        Mean of log mass(y); nan if there are no levels or ratings.

    Raises
    ------
    DataError
        If a rating is not one of the levels, or `y` has a different length.

    Examples
    --------
    >>> predicted = Distribution.of_mass([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], Scale.from_levels([1, 2, 3]))
    >>> round(log_likelihood(predicted, [3, 1]), 2)
    -0.43
    """
    true_ratings = _ratings(predicted, y)
    if len(predicted.levels) == 0 or len(true_ratings) == 0:
        return float("nan")
    index = _level_indices(predicted, true_ratings)
    return float(np.log(predicted.mass[np.arange(len(true_ratings)), index]).mean())


def probability_integral_transform(predicted: Distribution, y: Any, *, seed: Seed = 0) -> Float64:
    """Compute the probability integral transform of each rating, uniform on [0, 1] for calibrated predictions.

    Parameters
    ----------
    predicted : Distribution
        Predicted distributions of n ratings.
    y : array-like of shape (n,)
        Observed ratings.
    seed : int, Generator or None, default 0
        Seed for the position within the probability of a level.

    Returns
    -------
    ndarray of shape (n,), float64
        F(y) without levels; with levels, a random number between P(rating < y) and P(rating <= y).

    Raises
    ------
    DataError
        If a rating is not one of the levels, or `y` has a different length.

    References
    ----------
    Czado, Gneiting & Held (2009), "Predictive model assessment for count data", Biometrics 65.

    Examples
    --------
    >>> predicted = Distribution.of_mass([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], Scale.from_levels([1, 2, 3]))
    >>> low, high = probability_integral_transform(predicted, [1, 3])
    >>> bool(0 <= low <= 0.1), bool(0.9 <= high <= 1)
    (True, True)
    """
    true_ratings, seed = _ratings(predicted, y), checks.seed(seed)
    if len(predicted.levels) == 0:
        assert isinstance(predicted.curve, NormalMixture)
        return predicted.curve.cdf_at(true_ratings)
    index = _level_indices(predicted, true_ratings)[:, None]
    high, mass = (
        np.take_along_axis(array, index, axis=1)[:, 0] for array in (predicted.mass.cumsum(1), predicted.mass)
    )
    transform: Float64 = high - random_stream(seed, "probability integral transform").random(len(high)) * mass
    return np.clip(transform, 0.0, 1.0)


def ranked_probability_score(predicted: Distribution, y: Any) -> float:
    """Compute the mean continuous ranked probability score (CRPS), in rating units; lower is better, and 0 is perfect.

    Parameters
    ----------
    predicted : Distribution
        Predicted distributions of n ratings.
    y : array-like of shape (n,)
        Observed ratings.

    Returns
    -------
    float
        Mean CRPS; nan if there are no levels or ratings.

    Raises
    ------
    DataError
        If a rating is not one of the levels, or `y` has a different length.

    Notes
    -----
        CRPS = sum over levels l < L of  (level_(l+1) - level_l) (F(level_l) - 1[y <= level_l])^2

    For levels with a step of 1, this is Epstein's ranked probability score; for a distribution with all its mass on one
    level, it is the absolute error.

    References
    ----------
    Epstein (1969), "A scoring system for probability forecasts of ranked categories", J. Appl. Meteor. 8; Gneiting &
    Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", JASA 102, section 4.2.

    Examples
    --------
    >>> predicted = Distribution.of_mass([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]], Scale.from_levels([1, 2, 3]))
    >>> round(ranked_probability_score(predicted, [3, 3]), 3)
    0.625
    """
    true_ratings = _ratings(predicted, y)
    if len(predicted.levels) == 0 or len(true_ratings) == 0:
        return float("nan")
    index = _level_indices(predicted, true_ratings)
    cumulative = np.cumsum(predicted.mass, axis=1)[:, :-1]
    step = np.arange(len(predicted.levels) - 1) >= index[:, None]
    level_gaps = np.diff(predicted.levels.astype(np.float64))
    return float((level_gaps * (cumulative - step) ** 2).sum(axis=1).mean())


def constant_width(predicted: Distribution, y: Any, scale: Scale | None) -> Distribution:
    """Create a baseline for calibration: normal distributions with the same means and levels, but a constant width.

    Parameters
    ----------
    predicted : Distribution
        Predicted distributions of n ratings.
    y : array-like of shape (n,)
        Observed ratings.
    scale : Scale or None
        Rating scale; None for a scale without levels.

    Returns
    -------
    Distribution
        n distributions. Their standard deviation is the RMSE of the means on these ratings, which is the optimal
        constant.

    Raises
    ------
    DataError
        If `y` has a different length.

    Examples
    --------
    >>> predicted = Distribution.of([[3.0], [2.0]], [[0.5], [1.5]], None)
    >>> constant_width(predicted, [4.0, 1.0], None).sd().tolist()
    [1.0, 1.0]
    """
    means = predicted.mean()[:, None]
    sd = max(rmse(_ratings(predicted, y), means[:, 0]), 1e-6) if len(means) else 1.0
    return Distribution.of(means, np.full_like(means, sd), scale)


def _ratings(predicted: Distribution, y: Any) -> Float64:
    """Return the ratings as float64; raise DataError unless there is one per distribution."""
    true_ratings = np.asarray(y, dtype=np.float64)
    if true_ratings.shape != (len(predicted),):
        raise DataError(
            "y must have one rating per distribution; "
            f"got shape {true_ratings.shape} for {len(predicted)} distributions"
        )
    return true_ratings


def _level_indices(predicted: Distribution, y: Float64) -> Any:
    """Return the index of each rating in the levels: (n,) int64."""
    levels = predicted.levels.astype(np.float64)
    index = np.abs(y[:, None] - levels).argmin(axis=1)
    is_off_scale = np.abs(levels[index] - y) > 1e-5 * np.maximum(1.0, np.abs(y))
    if is_off_scale.any():
        row = int(is_off_scale.argmax())
        raise DataError(f"rating {row + 1} is {y[row]:g}, which is not a level of the scale ({levels.tolist()})")
    return index


def _mass_inside(predicted: Distribution, low: Float64, high: Float64, probability: float) -> Float64:
    """Return the mass on levels between low and high, (n,) float64; `probability` if the scale has no levels."""
    if len(predicted.levels) == 0:
        return np.full(len(predicted), probability)
    is_inside = (low[:, None] <= predicted.levels) & (predicted.levels <= high[:, None])
    mass: Float64 = np.where(is_inside, predicted.mass, 0.0).sum(axis=1)
    return mass


def _quartiles(numbers: Float64) -> list[Any]:
    """Return four masks, one per quartile of the finite values; equal values are in the same mask."""
    finite = np.isfinite(numbers)
    if not finite.any():
        return [finite] * 4
    edges = np.quantile(numbers[finite], [0.25, 0.5, 0.75])
    bin_index = np.searchsorted(edges, numbers, side="left")
    return [finite & (bin_index == quartile) for quartile in range(4)]


def _noise(recommender: Recommender, history: Any) -> Float64:
    """Return the standard deviation of each user's residuals, (n_users,) float64; nan for users with fewer than two."""
    assert isinstance(recommender.model, PredictsRatings)
    ratings = recommender.model.predict(recommender.batch(history.u, history.times), history.i)
    residual = history.values.astype(np.float64) - ratings
    count, total, squares = (
        np.bincount(history.u, weights=residual**power, minlength=history.n_users) for power in (0, 1, 2)
    )
    noise = np.full(history.n_users, np.nan)
    has_variance = count >= 2
    variance = squares[has_variance] / count[has_variance] - (total[has_variance] / count[has_variance]) ** 2
    noise[has_variance] = np.sqrt(np.maximum(variance, 0.0) * count[has_variance] / (count[has_variance] - 1))
    return noise


def _mean_or_nan(column: Any) -> float:
    """Return the mean, or nan if there are no values."""
    return float(column.mean()) if len(column) else float("nan")


def _mean_or_none(column: Any) -> float | None:
    """Return the mean, or None if there are no values."""
    return float(column.mean()) if len(column) else None


def _finite_or_none(x: float) -> float | None:
    """Return the value as a float, or None if it is not finite."""
    return float(x) if np.isfinite(x) else None
