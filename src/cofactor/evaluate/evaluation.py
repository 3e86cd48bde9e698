"""Evaluation of estimators on a split: fit on train, score on test, with confidence intervals over users.

All models are scored in the same way, with the functions that serve predictions and recommendations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64, plain, random_stream
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import Bias, Popularity
from cofactor.estimators.base import Estimator, require_estimator
from cofactor.evaluate.leakage import require_no_history_pairs
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.evaluate.user_values import (
    ListValues,
    list_fields,
    prediction_errors,
    rating_fields,
    rating_values,
    relevant_lists,
)
from cofactor.metrics.base import UserValues
from cofactor.metrics.intervals import Interval, bootstrap_intervals
from cofactor.metrics.list_overlap import list_overlap
from cofactor.metrics.ranking import RANKING_BOUNDS
from cofactor.metrics.rating import RatingMetric
from cofactor.metrics.registry import primary_metric
from cofactor.models.paired import PairedModel
from cofactor.recommender.recommender import Recommender, require_recommender
from cofactor.validation import validated

__all__ = [
    "Evaluation",
    "Score",
    "baseline_for",
    "estimator_list",
    "evaluate",
    "fit_and_score",
    "prepare_recommender",
    "primary_value",
    "primary_values",
    "score",
    "unique_labels",
]

BASELINES: dict[Kind, Any] = {"ratings": Bias, "events": Popularity}
MAX_REFITS = 100
"""Maximum number of additional fits of a model with other seeds."""


@dataclass(frozen=True, eq=False)
class Score:
    """Metrics of a fitted model on a split; returned by `score`.

    Attributes
    ----------
    label : str
        Name of the model in results tables.
    metrics : dict of str to Interval
        Metrics with 95% confidence intervals over users; the bounds are nan if there is no interval.
    fit_seconds, score_seconds : float
        Wall-clock times in seconds.
    users : ndarray of shape (m,), int32
        Row numbers of the evaluated users.
    per_user : dict of str to ndarray of shape (m,), float64
        Ranking metrics for each of these users; for ratings, the mean squared error and the mean absolute error.
    counts : ndarray of shape (m,), int64
        Number of test rows for each of these users for ratings; 1 for events.
    served : dict of str to Interval
        For lists, ranking metrics of the lists as served in production: positions for which the model has no evidence
        are filled with the most popular items, whereas `metrics` treats these items as tied. Empty without lists.
    seed_overlap : dict of str to Interval
        Share of common items in the served lists of fits with different seeds (see `metrics.list_overlap`), by
        `seed_overlap@k`. Empty if no model was fitted again.

    Notes
    -----
    The metrics are those of `metrics.registry.METRICS` for the kind of the table: ranking metrics at each k over users,
    and catalog metrics at each k of all lists together, which have no intervals. A recommender with a ranker and a
    rating model (`PairedModels`) has the rating metrics first, then those of its lists, whose hits are the liked test
    ratings; `users`, `per_user` and `counts` are those of the rating metrics.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> score = cofactor.evaluate.evaluate([], cofactor.split_random(ratings, test=0.4))["bias"]
    >>> sorted(score.metrics), len(score.users)
    (['mae', 'rmse'], 2)
    """

    label: str
    metrics: dict[str, Interval]
    fit_seconds: float
    score_seconds: float
    users: Int32
    per_user: dict[str, Float64]
    counts: Int64
    served: dict[str, Interval] = field(default_factory=dict)
    seed_overlap: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of several models on one split, always including a baseline; returned by `evaluate`.

    Attributes
    ----------
    description : str
        Description of the split.
    kind : {'ratings', 'events'}
        Kind of the table.
    scores : tuple of Score
        Scores in the order of the estimators; the baseline comes last unless it is among them.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> evaluation = cofactor.evaluate.evaluate(cofactor.ItemKNN(), cofactor.split_random(ratings, test=0.4))
    >>> evaluation.description, [score.label for score in evaluation.scores], evaluation["bias"].label
    ('random, 40% of the rows, seed 0', ['item-knn', 'bias'], 'bias')
    """

    description: str
    kind: Kind
    scores: tuple[Score, ...]

    def frame(self) -> pl.DataFrame:
        """Return a table with one row per model and metric.

        Returns
        -------
        polars.DataFrame
            Columns model, metric, value, low and high (the bounds of the 95% interval over users); nan if there is no
            interval. Metrics of the lists as served have the prefix `served_`, as in `served_ndcg@10`. The overlap of
            lists between seeds, if it was measured, is `seed_overlap@10`.

        Examples
        --------
        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
        >>> evaluation = cofactor.evaluate.evaluate([], cofactor.split_random(ratings, test=0.4))
        >>> evaluation.frame().select("model", "metric").rows()
        [('bias', 'rmse'), ('bias', 'mae')]
        """
        rows = [(score.label, name, *interval) for score in self.scores for name, interval in _all_metrics(score)]
        return pl.DataFrame(rows, schema=["model", "metric", "value", "low", "high"], orient="row")

    def __getitem__(self, label: str) -> Score:
        """Return the score with the given label; raise ParameterError if there is none."""
        by_label = {score.label: score for score in self.scores}
        if label not in by_label:
            raise ParameterError(f"no model {label!r} in this evaluation; it has {', '.join(by_label)}")
        return by_label[label]

    def as_dict(self) -> dict[str, Any]:
        """Return the evaluation as a JSON-serializable dict.

        Returns
        -------
        dict
            Keys split, kind and models; nan becomes None.
        """
        models = [
            {
                "model": score.label,
                "fit_seconds": round(score.fit_seconds, 4),
                "metrics": {name: plain(interval._asdict()) for name, interval in _all_metrics(score)},
            }
            for score in self.scores
        ]
        return {"split": self.description, "kind": self.kind, "models": models}


def baseline_for(kind: Kind) -> Estimator:
    """Return the baseline that models of the given kind of table should outperform.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        Kind of the table.

    Returns
    -------
    Estimator
        `Bias` for ratings or `Popularity` for events, with default hyperparameters.

    Examples
    --------
    >>> baseline_for("ratings").name, baseline_for("events").name
    ('bias', 'popularity')
    """
    estimator: Estimator = BASELINES[kind]()
    return estimator


@validated
def evaluate(
    estimators: Estimator | Sequence[Estimator],
    split: Split,
    *,
    ks: Sequence[int] = (10,),
    seed: Seed = 0,
    exclude: Exclude = "seen",
    refits: int = 0,
    on_fit: Callable[[str], None] | None = None,
) -> Evaluation:
    """Fit estimators and a baseline on the training set of a split, and score them on the test set.

    Parameters
    ----------
    estimators : Estimator or sequence of Estimator
        Estimators to evaluate. The baseline is added unless it is among them; an empty list evaluates only the
        baseline.
    split : Split
        Split to evaluate on.
    ks : sequence of int, default (10,)
        Cutoffs for the ranking metrics, for events, and lengths of the lists that `refits` compares.
    seed : int, Generator or None, default 0
        Seed for the fits and the intervals.
    exclude : {'seen', 'positives'}, default "seen"
        Items to exclude from ranked lists: all items a user has seen, as in production, or only the training events, as
        in published results (see `Exclude`).
    refits : int, default 0
        Number of additional fits of each model with other seeds, to measure the overlap of its lists between seeds.
    on_fit : callable, optional
        Called with the label of each model before it is fitted.

    Returns
    -------
    Evaluation
        Scores of all models; metrics are nan if no user has a test item.

    Raises
    ------
    KindError
        If an estimator requires the other kind of table.
    ParameterError
        If `ks` is invalid, or `estimators` contains anything other than estimators.
    DataError
        If `split` is not a Split.
    DivergedError
        If a fit diverges.

    Notes
    -----
    Rating predictions are scored by RMSE and MAE. For events, the full catalog is ranked, without sampled negatives,
    and ranking metrics are computed at each cutoff. If scores tie, they are expectations over all orders of the tied
    items. `PairedModels` is scored by both: the liked test ratings are the hits of its lists, from which all items that
    the user has rated in the training set are excluded, or only the liked ones for "positives".

    References
    ----------
    Krichene & Rendle (2020), "On sampled metrics for item recommendation", KDD.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900, item_bias_std=1.0)).interactions
    >>> split = cofactor.split_per_user(ratings.to_events(min_rating=4))
    >>> evaluation = cofactor.evaluate.evaluate(cofactor.ImplicitALS(factors=8), split, ks=[5])
    >>> [score.label for score in evaluation.scores], round(evaluation["popularity"].metrics["ndcg@5"].mean, 1)
    (['implicit-als', 'popularity'], 0.4)
    """
    ks, seed = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH), checks.seed(seed)
    require_split("split", split)
    checks.optional_callable("on_fit", on_fit)
    refits = checks.whole_number("refits", refits, low=0, high=MAX_REFITS)
    split = split.excluding(exclude)
    requested_models = estimator_list(estimators)
    for estimator in requested_models:
        estimator.check_table(split.train)
    baseline = baseline_for(split.train.kind)
    models = (
        requested_models if any(type(e) is type(baseline) for e in requested_models) else [*requested_models, baseline]
    )
    scores = []
    for estimator, label in zip(models, unique_labels(models), strict=True):
        if on_fit is not None:
            on_fit(label)
        scores.append(fit_and_score(estimator, split, label=label, ks=ks, seed=seed, exclude=exclude, refits=refits))
    return Evaluation(split.description, split.train.kind, tuple(scores))


def fit_and_score(
    estimator: Estimator,
    split: Split,
    *,
    label: str,
    ks: Sequence[int] = (10,),
    seed: Seed = 0,
    exclude: Exclude = "seen",
    refits: int = 0,
) -> Score:
    """Fit an estimator on the training set, and score it on the test set.

    Parameters
    ----------
    estimator : Estimator
        Estimator to fit.
    split : Split
        Split to evaluate on.
    label : str
        Name of the model in results tables.
    ks : sequence of int, default (10,)
        Cutoffs for the ranking metrics, for events.
    seed : int, Generator or None, default 0
        Seed for the fit and the intervals.
    exclude : {'seen', 'positives'}, default "seen"
        As in `evaluate`.
    refits : int, default 0
        As in `evaluate`.

    Returns
    -------
    Score
        Metrics and fit time, without the time of additional fits.

    Raises
    ------
    CofactorError
        If the fit or `score` fails.
    """
    seed, refits = checks.seed(seed), checks.whole_number("refits", refits, low=0, high=MAX_REFITS)
    start = time.perf_counter()
    recommender = Recommender.fit(estimator, split.train, seed=seed)
    seconds = time.perf_counter() - start
    result = score(recommender, split, label=label, ks=ks, fit_seconds=seconds, seed=seed, exclude=exclude)
    if refits == 0:
        return result
    other_seeds = random_stream(seed, "refits").integers(0, 2**31, refits).tolist()
    others = [Recommender.fit(estimator, split.train, seed=other) for other in other_seeds]
    return replace(result, seed_overlap=_seed_overlap([recommender, *others], split, result.users, ks, seed, exclude))


@validated
def score(
    recommender: Recommender,
    split: Split,
    *,
    label: str,
    ks: Sequence[int] = (10,),
    fit_seconds: float = 0.0,
    seed: Seed = 0,
    exclude: Exclude = "seen",
) -> Score:
    """Evaluate a fitted recommender on the test set of the split it was trained on.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on `split.train`. Fully held-out users are folded in from `split.fold_in`.
    split : Split
        Split to evaluate on.
    label : str
        Name of the model in results tables.
    ks : sequence of int, default (10,)
        Cutoffs for the ranking metrics, for events.
    fit_seconds : float, default 0.0
        Wall-clock time of the fit, copied to the result.
    seed : int, Generator or None, default 0
        Seed for the intervals.
    exclude : {'seen', 'positives'}, default "seen"
        As in `evaluate`.

    Returns
    -------
    Score
        Metrics of the recommender. Test rows that are dislikes (events with negative weights) do not count as hits;
        users with no other test rows are excluded.

    Raises
    ------
    KindError
        If the recommender and the split have different kinds.
    DataError
        If the recommender and the split have different IDs, or an argument has the wrong type.
    LeakageError
        If the recommender's histories contain a pair from the test set.
    ParameterError
        If `ks` or another argument is invalid.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> split = cofactor.split_random(ratings, test=0.4)
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), split.train)
    >>> score = cofactor.evaluate.score(rec, split, label="mine")
    >>> score.per_user["squared_error"].shape, round(score.metrics["rmse"].mean, 2)
    ((2,), 0.23)
    """
    ks, seed = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH), checks.seed(seed)
    checks.text("label", label)
    checks.finite_number("fit_seconds", fit_seconds, low=0)
    require_recommender("recommender", recommender)
    require_split("split", split)
    split = split.excluding(exclude)
    recommender = _prepared(recommender, split, exclude)
    start = time.perf_counter()
    if split.test.kind == "events":
        fields = _score_lists(recommender, split, ks, seed, exclude)
    else:
        fields = _score_ratings(recommender, split, seed)
        if isinstance(recommender.model, PairedModel):
            lists = _score_lists(recommender, split, ks, seed, exclude)
            fields |= {"metrics": fields["metrics"] | lists["metrics"], "served": lists["served"]}
    return Score(label, fit_seconds=fit_seconds, score_seconds=time.perf_counter() - start, **fields)


def primary_value(recommender: Recommender, split: Split, *, k: int = 10) -> float:
    """Compute the primary metric of a recommender without a confidence interval; used for each tuning trial.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on `split.train`.
    split : Split
        Split to evaluate on.
    k : int, default 10
        Cutoff for the ranking metric, for events.

    Returns
    -------
    float
        RMSE or mean NDCG@k; nan if no user can be evaluated.

    Raises
    ------
    CofactorError
        If `score` would fail.
    """
    return primary_values(recommender, split, k=k).aggregate()


def primary_values(recommender: Recommender, split: Split, *, k: int = 10) -> UserValues:
    """Compute the per-user values of the primary metric, for comparing two models.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on `split.train`.
    split : Split
        Split to evaluate on.
    k : int, default 10
        Cutoff for the ranking metric, for events.

    Returns
    -------
    UserValues
        Squared errors of each user for ratings, or NDCG@k of each user with test items.

    Raises
    ------
    CofactorError
        If `score` would fail.
    """
    k = checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH)
    recommender = prepare_recommender(recommender, split)
    metric = primary_metric(split.test.kind, k)
    if isinstance(metric, RatingMetric):
        return metric.per_user(prediction_errors(recommender, split.test, _all_rows(split)))
    return metric.per_user(relevant_lists(recommender, split.test, _all_rows(split), [k], "seen")[0].hits)


def prepare_recommender(recommender: Recommender, split: Split) -> Recommender:
    """Check that a recommender can be scored on a split, and fold in the users in `split.fold_in`.

    Parameters
    ----------
    recommender : Recommender
        Recommender trained on `split.train`.
    split : Split
        Split to score the recommender on.

    Returns
    -------
    Recommender
        Recommender with the held-out users folded in; the same object if no users are held out.

    Raises
    ------
    KindError
        If the recommender and the split have different kinds.
    DataError
        If they have different users or items, or an argument has the wrong type.
    LeakageError
        If the recommender's histories contain a pair from the test set.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> prepare_recommender(rec, cofactor.split_random(ratings, test=0.4))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 1 and item 8 are in both the test set and the model's histories (and 1 more ...
    """
    require_recommender("recommender", recommender)
    require_split("split", split)
    if recommender.kind != split.test.kind:
        raise KindError(f"the model was trained on {recommender.kind}, but the test set contains {split.test.kind}")
    if not (recommender.users.equals(split.test.users) and recommender.items.equals(split.test.items)):
        raise DataError("the model and the split have different users or items; fit on split.train")
    require_no_history_pairs(recommender.histories, split.test)
    return recommender if split.fold_in is None else recommender.updated(split.fold_in)


def _score_ratings(recommender: Recommender, split: Split, seed: int) -> dict[str, Any]:
    """Compute the `Score` fields for predicted ratings: users, metrics and per-user values."""
    errors = prediction_errors(recommender, split.test, _all_rows(split))
    users = np.flatnonzero(errors.count).astype(np.int32)
    values = {metric: by_user.take(users) for metric, by_user in rating_values(errors).items()}
    return rating_fields(values, users, seed=seed)


def _score_lists(
    recommender: Recommender, split: Split, ks: Sequence[int], seed: int, exclude: Exclude
) -> dict[str, Any]:
    """Compute the `Score` fields for ranked lists: users, metrics, per-user values, and metrics of the served lists."""
    lists, users = relevant_lists(recommender, split.test, _all_rows(split), ks, exclude)
    support = np.bincount(split.train.i, minlength=split.train.n_items)
    n_users = int(np.count_nonzero(split.train.by_user.counts))
    return list_fields(ListValues.of(lists, ks), users, ks, seed=seed, support=support, n_users=n_users)


def _all_rows(split: Split) -> Int32:
    """Return the row numbers of all users."""
    return np.arange(split.test.n_users, dtype=np.int32)


def _prepared(recommender: Recommender, split: Split, exclude: Exclude) -> Recommender:
    """Return the recommender with the held-out users folded in; without `seen` if `exclude` is "positives"."""
    return prepare_recommender(recommender if exclude == "seen" else replace(recommender, seen=None), split)


def _seed_overlap(
    recommenders: Sequence[Recommender], split: Split, users: Int32, ks: Sequence[int], seed: int, exclude: Exclude
) -> dict[str, Interval]:
    """Compute the overlap between the lists of several recommenders at each cutoff, with intervals over users."""
    ranked = [_prepared(recommender, split, exclude).for_rows(users).rank(max(ks))[0] for recommender in recommenders]
    per_user = {f"seed_overlap@{k}": list_overlap([rows[:, :k] for rows in ranked]) for k in ks}
    return bootstrap_intervals(per_user, bounds=RANKING_BOUNDS, seed=seed)


def _all_metrics(score: Score) -> list[tuple[str, Interval]]:
    """Return the names and values of all metrics, then those of the served lists and the overlap between seeds."""
    served = {f"served_{name}": interval for name, interval in score.served.items()}
    return list((score.metrics | served | score.seed_overlap).items())


def estimator_list(estimators: Any) -> list[Estimator]:
    """Return one or more estimators as a list.

    Parameters
    ----------
    estimators : Estimator or iterable of Estimator
        Estimators to check.

    Returns
    -------
    list of Estimator
        Estimators; empty for an empty iterable.

    Raises
    ------
    ParameterError
        If an element is not an estimator.

    Examples
    --------
    >>> estimator_list(Bias()), estimator_list([])
    ([Bias(damping=5.0)], [])
    """
    is_iterable = (
        isinstance(estimators, Iterable) and not isinstance(estimators, str) and getattr(estimators, "ndim", 1) > 0
    )
    try:
        return [require_estimator(estimator) for estimator in (estimators if is_iterable else [estimators])]
    except ParameterError as problem:
        raise ParameterError(f"estimators: {problem}") from None


def unique_labels(estimators: Sequence[Estimator]) -> list[str]:
    """Return a unique label for each estimator: its name, numbered if several estimators share it.

    Parameters
    ----------
    estimators : sequence of Estimator
        Estimators to label.

    Returns
    -------
    list of str
        Unique labels, in the same order.

    Examples
    --------
    >>> unique_labels([Bias(), Popularity(), Bias(damping=9.0)])
    ['bias #1', 'popularity', 'bias #2']
    """
    names = [estimator.name for estimator in estimators]
    return [
        name if names.count(name) == 1 else f"{name} #{names[: position + 1].count(name)}"
        for position, name in enumerate(names)
    ]
