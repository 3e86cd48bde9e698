"""Evaluation of estimators on a split: fit on train, score on test, with confidence intervals over users.

All models are scored in the same way, by the functions that serve predictions and lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32, Int64, plain
from cofactor.checks import Seed
from cofactor.data.interactions import Kind, relevant_rows
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import Bias, Popularity
from cofactor.estimators.base import Estimator, require_estimator
from cofactor.evaluate.leakage import require_no_history_pairs
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.metrics.catalog import CatalogMetric, ListExposure
from cofactor.metrics.intervals import Interval, bootstrap_intervals
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.rating import RatingMetric, UserErrors, errors_by_user
from cofactor.metrics.registry import METRICS, metrics_from_hits, primary_metric
from cofactor.models.base import PredictsRatings
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
    "score",
    "unique_labels",
]

BASELINES: dict[Kind, Any] = {"ratings": Bias, "events": Popularity}


@dataclass(frozen=True, eq=False)
class Score:
    """Metrics of a fitted model on a split; made by `score`.

    Attributes
    ----------
    label : str
        Name of the model in tables.
    metrics : dict of str to Interval
        Metrics with their 95 % intervals over users; the ends are nan where there is no interval.
    fit_seconds, score_seconds : float
        Wall times in seconds.
    users : ndarray of shape (m,), int32
        Rows of the users that were measured.
    per_user : dict of str to ndarray of shape (m,), float64
        Ranking metrics of each of these users; for ratings the mean squared and the mean absolute error.
    counts : ndarray of shape (m,), int64
        Number of test rows of each of these users for ratings; 1 for events.
    served : dict of str to Interval
        For events, ranking metrics of the lists as they are served: the most popular items fill positions for which the
        model has no evidence, while `metrics` treats these items as tied. Empty for ratings.

    Notes
    -----
    The metrics are those of `metrics.registry`: for ratings rmse and mae; for events, at each k, ndcg@k, recall@k,
    precision@k, mrr@k, map@k and hit_rate@k over users, and coverage@k, novelty@k and gini@k of all lists together,
    which have no interval.

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


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of several models on one split, always including a baseline; made by `evaluate`.

    Attributes
    ----------
    description : str
        Description of the split.
    kind : {'ratings', 'events'}
        Kind of the table.
    scores : tuple of Score
        In the order of the estimators; the baseline comes last unless it is one of them.

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
            Columns model, metric, value, low and high (the 95 % interval over users); nan where there is none. Metrics
            of the served lists are named as in "served_ndcg@10".

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
        """Return the score with this label; a ParameterError lists the labels."""
        by_label = {score.label: score for score in self.scores}
        if label not in by_label:
            raise ParameterError(f"no model {label!r} in this evaluation; it has {', '.join(by_label)}")
        return by_label[label]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON.

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
    """Return the baseline that models of this kind of table should beat.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        Kind of the table.

    Returns
    -------
    Estimator
        `Bias` for ratings, `Popularity` for events, with default settings.

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
    on_fit: Callable[[str], None] | None = None,
) -> Evaluation:
    """Fit estimators on the training part of a split and score them, and a baseline, on the test part.

    Parameters
    ----------
    estimators : Estimator or sequence of Estimator
        What to evaluate. The baseline of the kind is added unless it is among them; an empty list evaluates it alone.
    split : Split
        The split.
    ks : sequence of int, default (10,)
        Cut-offs of the ranking metrics, for events.
    seed : int, Generator or None, default 0
        Seed of the fits and of the intervals.
    exclude : {'seen', 'positives'}, default "seen"
        What ranked lists leave out: all items a user has seen, as in production, or the training events only, as in
        published tables (see `Exclude`).
    on_fit : callable, optional
        Called with the label of each model before it is fitted.

    Returns
    -------
    Evaluation
        Metrics are nan if no test user has a test item.

    Raises
    ------
    KindError
        If an estimator needs the other kind of table.
    ParameterError
        If `ks` is not valid, or `estimators` holds something else than estimators.
    DataError
        If `split` is not a split.
    DivergedError
        If a fit diverges.

    Notes
    -----
    Ratings are scored by RMSE and MAE, events by ranking the whole catalog at each cut-off, without sampled negatives.
    Where scores tie, ranking metrics are expectations over the orders of the tied items.

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
    split = split.excluding(exclude)
    requested = estimator_list(estimators)
    for estimator in requested:
        estimator.check_table(split.train)
    baseline = baseline_for(split.train.kind)
    models = requested if any(type(e) is type(baseline) for e in requested) else [*requested, baseline]
    scores = []
    for estimator, label in zip(models, unique_labels(models), strict=True):
        if on_fit is not None:
            on_fit(label)
        scores.append(fit_and_score(estimator, split, label=label, ks=ks, seed=seed))
    return Evaluation(split.description, split.train.kind, tuple(scores))


def fit_and_score(
    estimator: Estimator, split: Split, *, label: str, ks: Sequence[int] = (10,), seed: Seed = 0
) -> Score:  # fmt: skip
    """Fit an estimator on the training part and score it on the test part.

    Parameters
    ----------
    estimator : Estimator
        The estimator.
    split : Split
        The split.
    label : str
        Name of the model in tables.
    ks : sequence of int, default (10,)
        Cut-offs of the ranking metrics, for events.
    seed : int, Generator or None, default 0
        Seed of the fit and of the intervals.

    Returns
    -------
    Score
        With the time of the fit.

    Raises
    ------
    CofactorError
        As the fit and `score` do.
    """
    seed = checks.seed(seed)
    start = time.perf_counter()
    recommender = Recommender.fit(estimator, split.train, seed=seed)
    seconds = time.perf_counter() - start
    return score(recommender, split, label=label, ks=ks, fit_seconds=seconds, seed=seed)


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
    """Score a fitted recommender on the test part of the split on which it was fitted.

    Parameters
    ----------
    recommender : Recommender
        A recommender fitted on `split.train`. Users that are held out completely are folded in from `split.fold_in`.
    split : Split
        The split.
    label : str
        Name of the model in tables.
    ks : sequence of int, default (10,)
        Cut-offs of the ranking metrics, for events.
    fit_seconds : float, default 0.0
        Wall time of the fit, passed on to the result.
    seed : int, Generator or None, default 0
        Seed of the intervals.
    exclude : {'seen', 'positives'}, default "seen"
        As in `evaluate`.

    Returns
    -------
    Score
        Test rows that are dislikes (events of negative weight) are not hits; users with no other test rows are left
        out.

    Raises
    ------
    KindError
        If the recommender and the split differ in kind.
    DataError
        If the recommender and the split differ in ids, and for arguments of another type.
    LeakageError
        If the recommender's histories hold a pair of the test part.
    ParameterError
        If `ks` or another argument is not valid.

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
    recommender = prepare_recommender(recommender if exclude == "seen" else replace(recommender, seen=None), split)
    start = time.perf_counter()
    fields = (
        _score_ratings(recommender, split, seed)
        if split.test.kind == "ratings"
        else _score_lists(recommender, split, ks, seed)
    )
    return Score(label, fit_seconds=fit_seconds, score_seconds=time.perf_counter() - start, **fields)


def primary_value(recommender: Recommender, split: Split, *, k: int = 10) -> float:
    """Compute the primary metric of a recommender without intervals, as tuning does for each trial.

    Parameters
    ----------
    recommender : Recommender
        A recommender fitted on `split.train`.
    split : Split
        The split.
    k : int, default 10
        Cut-off, for events.

    Returns
    -------
    float
        RMSE or mean NDCG@k; nan if no user can be measured.

    Raises
    ------
    CofactorError
        As `score` does.
    """
    k = checks.whole_number("k", k, low=1, high=checks.MAX_LIST_LENGTH)
    recommender = prepare_recommender(recommender, split)
    metric = primary_metric(split.test.kind, k)
    if isinstance(metric, RatingMetric):
        return metric.per_user(_errors(recommender, split)).aggregate()
    return metric.per_user(_lists(recommender, split, [k])[0].hits).aggregate()


def prepare_recommender(recommender: Recommender, split: Split) -> Recommender:
    """Check that a recommender may be scored on a split, and fold in the users of `split.fold_in`.

    Parameters
    ----------
    recommender : Recommender
        A recommender fitted on `split.train`.
    split : Split
        The split to score it on.

    Returns
    -------
    Recommender
        The same object if no users are held out.

    Raises
    ------
    KindError
        If the recommender and the split differ in kind.
    DataError
        If they have different users or items, and for arguments of another type.
    LeakageError
        If the recommender's histories hold a pair of the test part.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> prepare_recommender(rec, cofactor.split_random(ratings, test=0.4))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 1 and item 8 are in the test part and in the model's histories (and 1 more ...
    """
    require_recommender("recommender", recommender)
    require_split("split", split)
    if recommender.kind != split.test.kind:
        raise KindError(f"the model was fitted on {recommender.kind}, but the test part holds {split.test.kind}")
    if not (recommender.users.equals(split.test.users) and recommender.items.equals(split.test.items)):
        raise DataError("the model and the split have different users or items: fit on split.train")
    require_no_history_pairs(recommender.histories, split.test)
    return recommender if split.fold_in is None else recommender.updated(split.fold_in)


def _errors(recommender: Recommender, split: Split) -> UserErrors:
    """Return the errors of the predictions on the test part, summed by user."""
    test = split.test
    assert isinstance(recommender.model, PredictsRatings)
    ratings = recommender.model.predict(recommender.batch(test.u, test.times), test.i)
    return errors_by_user(test.u, test.values, ratings, n_users=test.n_users)


def _lists(recommender: Recommender, split: Split, ks: Sequence[int]) -> tuple[ModelLists, Int32]:
    """Return the lists of the users with test items, and the rows of these users."""
    relevant = relevant_rows(split.test).by_user
    users = np.flatnonzero(relevant.counts).astype(np.int32)
    return recommender.ranked_lists(users, ks, relevant.take(users)), users


def _score_ratings(recommender: Recommender, split: Split, seed: int) -> dict[str, Any]:
    """Return users, metrics and values by user of predicted ratings: fields of `Score`."""
    errors = _errors(recommender, split)
    users = np.flatnonzero(errors.count).astype(np.int32)
    counts = errors.count[users]
    rating_metrics = [metric for metric in METRICS.values() if isinstance(metric, RatingMetric)]
    values = {metric: metric.per_user(errors).take(users) for metric in rating_metrics}
    return {
        "metrics": {metric.key: by_user.interval(seed=seed) for metric, by_user in values.items()},
        "users": users,
        "per_user": {metric.per_user_key: by_user.sums / counts for metric, by_user in values.items()},
        "counts": counts,
    }


def _score_lists(recommender: Recommender, split: Split, ks: Sequence[int], seed: int) -> dict[str, Any]:
    """Return users, metrics and values by user of ranked lists, and metrics of served lists: fields of `Score`."""
    lists, users = _lists(recommender, split, ks)
    per_user = metrics_from_hits(lists.hits, ks)
    metrics = dict(bootstrap_intervals(per_user, seed=seed))
    served = {name: metrics[name] for name in per_user}
    if lists.served_hits is not lists.hits:
        served = dict(bootstrap_intervals(metrics_from_hits(lists.served_hits, ks), seed=seed))
    nan = float("nan")
    support = np.bincount(split.train.i, minlength=split.train.n_items)
    n_users = int(np.count_nonzero(split.train.by_user.counts))
    for k in ks:
        exposure = ListExposure(lists.list_counts[k], lists.show_probability[k], support, n_users)
        for metric in METRICS.values():
            if isinstance(metric, CatalogMetric):
                metrics[metric.at(k).key] = Interval(metric.function(exposure), nan, nan)
    return {
        "metrics": metrics,
        "users": users,
        "per_user": per_user,
        "counts": np.ones(len(users), np.int64),
        "served": served,
    }


def _all_metrics(score: Score) -> list[tuple[str, Interval]]:
    """Return the names and values of all metrics, those of the served lists last."""
    return [*score.metrics.items(), *((f"served_{name}", interval) for name, interval in score.served.items())]


def estimator_list(estimators: Any) -> list[Estimator]:
    """Return one or several estimators as a list.

    Parameters
    ----------
    estimators : Estimator or iterable of Estimator
        What to check.

    Returns
    -------
    list of Estimator
        Empty for an empty iterable.

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
    """Return a label for each estimator: its name, numbered if several have the same name.

    Parameters
    ----------
    estimators : sequence of Estimator
        The estimators.

    Returns
    -------
    list of str
        Unique labels in the same order.

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
