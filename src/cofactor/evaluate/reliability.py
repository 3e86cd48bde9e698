"""Whether predicted distributions mean what they say: 80 % should come true 80 times in 100, for everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.evaluate.evaluation import ready_for
from cofactor.evaluate.split import Split, require_split
from cofactor.metrics.rating import rmse
from cofactor.models.base import HasUncertainty, distribution, predicted
from cofactor.models.distribution import Distribution
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = [
    "Calibration",
    "calibration",
    "constant_width",
    "interval_coverage",
    "log_likelihood",
    "ranked_probability_score",
    "reliability",
]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far a model's distributions on a test part can be trusted; see `calibration`, which makes it.

    Attributes:

        n: test ratings.
        rmse: of the distributions' means.
        reliability: see `reliability`; empty where the scale has no levels.
        coverage: see `interval_coverage`: of 80 % and 95 % intervals, overall and by quartile.
        log_likelihood, crps: nats and rating steps per rating; nan where the scale has no levels.
        constant_log_likelihood, constant_crps: the same of one normal width around the same means, see constant_width.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900, levels=(1, 2, 3, 4, 5))).interactions
    >>> split = cofactor.split_random(ratings)
    >>> rec = cofactor.Recommender.fit(cofactor.BayesianMF(factors=4), split.train)
    >>> found = cofactor.evaluate.calibration(rec, split)
    >>> found.crps < found.rmse, found.reliability.columns[:4]
    (True, ['level', 'low', 'high', 'predicted'])
    """

    n: int
    rmse: float
    reliability: pl.DataFrame
    coverage: pl.DataFrame
    log_likelihood: float
    crps: float
    constant_log_likelihood: float
    constant_crps: float

    @property
    def crps_gain(self) -> float:
        """How much lower CRPS is than that of the constant width, as a share: above 0 where widths carry news.

            1 - crps / constant_crps

        nan where the constant width is never wrong (all ratings alike), and where the scale has no levels.
        """
        return 1 - self.crps / self.constant_crps if self.constant_crps > 0 else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Plain values: every number, and both tables as lists of rows; nan stands where the scale has no levels."""
        numbers = ("n", "rmse", "log_likelihood", "crps", "constant_log_likelihood", "constant_crps", "crps_gain")
        tables = {name: getattr(self, name).to_dicts() for name in ("reliability", "coverage")}
        return {name: getattr(self, name) for name in numbers} | tables


@validated
def calibration(recommender: Recommender, split: Split, *, levels: Sequence[float] = (0.8, 0.95)) -> Calibration:
    """The calibration of a recommender fitted on `split.train`, on the test part.

    Coverage is told by quartile of: the user's noise (the standard deviation of that user's residuals on *training*
    ratings; users with fewer than two have none), the user's and the item's support, and the interval's own width.
    levels: the probabilities of the intervals, at least one. Raises KindError for models without a distribution and for
    events, DataError for other ids, LeakageError where the recommender knows a pair of the test part, ParameterError
    for no levels and for levels that do not lie between 0 and 1.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900, levels=(1, 2, 3, 4, 5))).interactions
    >>> split = cofactor.split_random(ratings)
    >>> rec = cofactor.Recommender.fit(cofactor.BayesianMF(factors=4), split.train)
    >>> found = cofactor.evaluate.calibration(rec, split)
    >>> found.n, round(found.coverage["covered 80 %"][0], 1)
    (180, 0.8)
    """
    levels = _probabilities(levels)
    require_recommender("recommender", recommender)
    require_split("split", split)
    train, test = split.train, split.test
    if recommender.kind != "ratings" or not isinstance(recommender.model, HasUncertainty):
        name = "this model" if recommender.estimator is None else recommender.estimator.name
        raise KindError(
            f"{name} predicts no distribution over ratings, so there is nothing to calibrate; fit bayesian-mf, or "
            "neural-mf with head=classification"
        )
    recommender, known = ready_for(recommender, split), split.known
    found = distribution(recommender.model, test.u, test.i, test.times, recommender.histories)
    y = test.values.astype(np.float64)
    low, high = found.interval(max(levels))
    groups = {
        "user's noise": _noise(recommender, known)[test.u],
        "user's support": known.by_user.counts[test.u].astype(np.float64),
        "item's support": np.bincount(train.i, minlength=train.n_items)[test.i].astype(np.float64),
        "predicted width": high - low,
    }
    plain = constant_width(found, y, test.scale)
    return Calibration(
        len(y),
        rmse(y, found.mean()),
        reliability(found, y),
        interval_coverage(found, y, groups=groups, levels=levels),
        log_likelihood(found, y),
        ranked_probability_score(found, y),
        log_likelihood(plain, y),
        ranked_probability_score(plain, y),
    )


def _probabilities(levels: Any) -> tuple[float, ...]:
    """The levels of intervals, at least one. Raises ParameterError."""
    wrong = ParameterError(f"levels must be probabilities between 0 and 1, both excluded, not {checks.shown(levels)}")
    try:
        chances = checks.number_array("levels", levels, (None,))
    except ParameterError:
        raise wrong from None
    if len(chances) == 0 or not ((chances > 0) & (chances < 1)).all():
        raise wrong
    return tuple(chances.tolist())


def reliability(predicted: Distribution, y: Any, *, bins: int = 10) -> pl.DataFrame:
    """Predicted P(rating >= level) against how often it came true: a diagram of reliability, as a table.

    One row per level but the lowest and per bin of equal width that holds something: level, low, high (the bin's ends),
    predicted (the mean probability in it), observed (the share of ratings at or above the level), n, and `sd`, by which
    `observed` strays from `predicted` by chance alone: sqrt(mean p (1 - p) / n). Empty without levels.
    y (n,): the true ratings; none give no rows. Raises DataError for another number of them, ParameterError for
    bins < 1.

    >>> predicted = Distribution.of_mass([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], Scale.declared([1, 2, 3]))
    >>> reliability(predicted, [3, 1], bins=2).select("level", "predicted", "observed", "n").row(-1)
    (3.0, 0.7, 1.0, 1)
    """
    true = _checked(predicted, y)
    bins = checks.whole_number("bins", bins, low=1)
    rows = []
    for level in predicted.levels[1:].tolist():
        p, reached = predicted.at_least(level), true >= level - 1e-6 * max(1.0, abs(level))
        which = np.minimum((p * bins).astype(np.int64), bins - 1)
        n = np.bincount(which, minlength=bins)
        sums = (np.bincount(which, weights=column, minlength=bins) for column in (p, reached, p * (1 - p)))
        for b, (p_sum, hits, variance) in enumerate(zip(*sums, strict=True)):
            if n[b]:
                ends = (b / bins, (b + 1) / bins)
                rows.append((level, *ends, p_sum / n[b], hits / n[b], int(n[b]), np.sqrt(variance) / n[b]))
    names = ("level", "low", "high", "predicted", "observed", "n", "sd")
    schema = {name: pl.Int64 if name == "n" else pl.Float64 for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def interval_coverage(
    predicted: Distribution,
    y: Any,
    *,
    groups: Mapping[str, Any] | None = None,
    levels: Sequence[float] = (0.8, 0.95),
) -> pl.DataFrame:
    """The share of ratings inside their interval: one row overall, and one per group and quartile.

    y (n,): the true ratings. groups: by name, one number per rating; its quartiles part the ratings (equal numbers stay
    together, nan is left out). Columns:

        group, quartile   "all" and 0 for all, else the name and 1..4
        n, low, high      how many ratings, and the ends of the group's numbers among them
        covered 95 %      the share inside, for each of the levels
        expected 95 %     the mass that the distributions put inside their own intervals
        width 95 %        the mean width, in the units of the ratings

    Ends between levels can make the mass more or less than 95 %; it is 95 % where there are no levels. Nulls stand
    where a row has no ratings. Raises DataError for columns of another length, ParameterError for levels that do not
    lie between 0 and 1.

    >>> predicted = Distribution.of([[3.0], [2.0]], [[1.0], [1.0]], None)
    >>> interval_coverage(predicted, [3.5, 4.5], levels=[0.95]).select("n", "covered 95 %", "expected 95 %").row(0)
    (2, 0.5, 0.95)
    """
    true, levels = _checked(predicted, y), _probabilities(levels)
    ends = {f"{level:.0%}".replace("%", " %"): predicted.interval(level) for level in levels}
    inside = {name: (low <= true) & (true <= high) for name, (low, high) in ends.items()}
    expected = {
        name: _mass_inside(predicted, *pair, level) for (name, pair), level in zip(ends.items(), levels, strict=True)
    }
    parts: list[tuple[str, int, Any, Any]] = [("all", 0, np.ones(len(true), bool), np.full(len(true), np.nan))]
    for name, column in (groups or {}).items():
        numbers = np.asarray(column, dtype=np.float64)
        if numbers.shape != true.shape:
            raise DataError(f"group {name!r} has {numbers.size} numbers for {true.size} ratings")
        parts += [(name, place, which, numbers) for place, which in enumerate(_quartiles(numbers), start=1)]
    rows = []
    for name, place, which, numbers in parts:
        row: dict[str, Any] = {"group": name, "quartile": place, "n": int(which.sum())}
        some = numbers[which]
        row |= {"low": _or_none(some.min(initial=np.inf)), "high": _or_none(some.max(initial=-np.inf))}
        for level, (low, high) in ends.items():
            row[f"covered {level}"] = float(inside[level][which].mean()) if which.any() else None
            row[f"expected {level}"] = float(expected[level][which].mean()) if which.any() else None
            row[f"width {level}"] = float((high - low)[which].mean()) if which.any() else None
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def log_likelihood(predicted: Distribution, y: Any) -> float:
    """The mean of log mass(y), in nats per rating: higher is better, 0 is certainty. nan without levels or ratings.

    y (n,): the true ratings. Raises DataError where one is not one of the levels, or for another number of them.

    >>> predicted = Distribution.of_mass([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], Scale.declared([1, 2, 3]))
    >>> round(log_likelihood(predicted, [3, 1]), 2)
    -0.43
    """
    true = _checked(predicted, y)
    if len(predicted.levels) == 0 or len(true) == 0:
        return float("nan")
    place = _places(predicted, true)
    return float(np.log(predicted.mass[np.arange(len(true)), place]).mean())


def ranked_probability_score(predicted: Distribution, y: Any) -> float:
    """CRPS on the mass function, the mean over ratings, in the units of the ratings: lower is better, 0 is perfect.

        CRPS = sum over levels l < L of  (level_(l+1) - level_l) (F(level_l) - 1[y <= level_l])^2

    which for steps of 1 is Epstein's ranked probability score; for a mass of 1 on one level it is the absolute error.
    nan without levels or ratings; DataError where a rating is not one of the levels.
    Sources: Epstein (1969), J. Appl. Meteor. 8; Gneiting & Raftery (2007), JASA 102, section 4.2.

    >>> predicted = Distribution.of_mass([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]], Scale.declared([1, 2, 3]))
    >>> round(ranked_probability_score(predicted, [3, 3]), 3)
    0.625
    """
    true = _checked(predicted, y)
    if len(predicted.levels) == 0 or len(true) == 0:
        return float("nan")
    place = _places(predicted, true)
    below = np.cumsum(predicted.mass, axis=1)[:, :-1]
    step = np.arange(len(predicted.levels) - 1) >= place[:, None]
    gaps = np.diff(predicted.levels.astype(np.float64))
    return float((gaps * (below - step) ** 2).sum(axis=1).mean())


def constant_width(predicted: Distribution, y: Any, scale: Scale | None) -> Distribution:
    """What calibration must beat: normals of one width around the same means, binned alike.

    Their standard deviation is the RMSE of those means on these very ratings, the best that one width can know. No
    ratings give no normals. Raises DataError for another number of ratings.

    >>> predicted = Distribution.of([[3.0], [2.0]], [[0.5], [1.5]], None)
    >>> constant_width(predicted, [4.0, 1.0], None).sd().tolist()
    [1.0, 1.0]
    """
    means = predicted.mean()[:, None]
    sd = max(rmse(_checked(predicted, y), means[:, 0]), 1e-6) if len(means) else 1.0
    return Distribution.of(means, np.full_like(means, sd), scale)


def _checked(predicted: Distribution, y: Any) -> Float64:
    true = np.asarray(y, dtype=np.float64)
    if true.shape != (len(predicted),):
        raise DataError(f"{len(predicted)} distributions but ratings of shape {true.shape}: give one of each")
    return true


def _places(predicted: Distribution, y: Float64) -> Any:
    """The place of each rating among the levels: (n,) int64."""
    levels = predicted.levels.astype(np.float64)
    place = np.abs(y[:, None] - levels).argmin(axis=1)
    off = np.abs(levels[place] - y) > 1e-5 * np.maximum(1.0, np.abs(y))
    if off.any():
        row = int(off.argmax())
        raise DataError(f"rating {row + 1} is {y[row]:g}, which is not a level of the scale ({levels.tolist()})")
    return place


def _mass_inside(predicted: Distribution, low: Float64, high: Float64, level: float) -> Float64:
    """The mass on the levels from low to high, (n,) float64; `level` itself where the scale has none."""
    if len(predicted.levels) == 0:
        return np.full(len(predicted), level)
    inside = (low[:, None] <= predicted.levels) & (predicted.levels <= high[:, None])
    mass: Float64 = np.where(inside, predicted.mass, 0.0).sum(axis=1)
    return mass


def _quartiles(numbers: Float64) -> list[Any]:
    """Four masks, by the quartiles of the finite numbers; equal numbers fall into one of them."""
    finite = np.isfinite(numbers)
    if not finite.any():
        return [finite] * 4
    edges = np.quantile(numbers[finite], [0.25, 0.5, 0.75])
    which = np.searchsorted(edges, numbers, side="left")
    return [finite & (which == quartile) for quartile in range(4)]


def _noise(recommender: Recommender, known: Any) -> Float64:
    """The standard deviation of each user's residuals on what is known of them: (n_users,) float64, nan below two."""
    ratings = predicted(recommender.model, known.u, known.i, known.times, recommender.histories)
    residual = known.values.astype(np.float64) - ratings
    count, total, squares = (
        np.bincount(known.u, weights=residual**power, minlength=known.n_users) for power in (0, 1, 2)
    )
    noise = np.full(known.n_users, np.nan)
    some = count >= 2
    variance = squares[some] / count[some] - (total[some] / count[some]) ** 2
    noise[some] = np.sqrt(np.maximum(variance, 0.0) * count[some] / (count[some] - 1))
    return noise


def _or_none(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
