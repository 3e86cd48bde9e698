"""One protocol for every model: fit on train, ask about test with the function that serves, intervals over users."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float64, Int32
from cofactor.data.interactions import Kind
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.estimators import Bias, Popularity
from cofactor.estimators.base import Estimator, liked
from cofactor.evaluate.leakage import no_known_pairs
from cofactor.evaluate.memory import peak_memory
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.metrics.catalog import gini, novelty
from cofactor.metrics.intervals import Interval, bootstrap_intervals, bootstrap_ratio
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.ranking import metrics_of, ndcg
from cofactor.metrics.rating import UserErrors, errors_by_user
from cofactor.recommender.recommender import Recommender, checked_estimator, require_recommender
from cofactor.validation import validated

__all__ = [
    "Evaluation",
    "Score",
    "baseline_for",
    "estimators_asked",
    "evaluate",
    "figure",
    "fit_and_score",
    "is_better",
    "labels_of",
    "main_metric",
    "ready_for",
    "score",
]

BASELINES: dict[Kind, Any] = {"ratings": Bias, "events": Popularity}


@dataclass(frozen=True, eq=False)
class Score:
    """How one fitted model did on one split; see `score`, which makes it.

    Attributes:

        label: what the table calls it.
        metrics: by name, each with its 95 % interval over users (nan ends where it has none).
        fit_seconds, score_seconds: wall seconds.
        users: the user rows that `per_user` is about, (m,) int32.
        per_user: ranking metrics (ratings: mean squared error) of each of them, (m,) float64.
        fit_bytes: the peak memory of the fit beyond what was held before (`evaluate.memory`), or None.
        served: of events, the ranking metrics of the lists as users get them: where the model has no evidence the most
            popular items stand, while `metrics` treat these items as tied. Empty for ratings.

    Metrics of ratings: rmse, mae. Of events, at each k: ndcg@k, recall@k, precision@k, mrr@k, map@k, hit_rate@k over
    users, and coverage@k, novelty@k, gini@k of all lists together, which have no interval.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> found = cofactor.evaluate.evaluate([], cofactor.split_random(ratings, test=0.4))
    >>> sorted(found["bias"].metrics), len(found["bias"].users)
    (['mae', 'rmse'], 2)
    """

    label: str
    metrics: dict[str, Interval]
    fit_seconds: float
    score_seconds: float
    users: Int32
    per_user: dict[str, Float64]
    fit_bytes: int | None = None
    served: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of several models on one split; a baseline is always among them. See `evaluate`, which makes it.

    Attributes:

        description: of the split.
        kind: "ratings" or "events".
        scores: in the order asked for, the baseline last unless it was asked for.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> found = cofactor.evaluate.evaluate(cofactor.ItemKNN(), cofactor.split_random(ratings, test=0.4))
    >>> found.description, [score.label for score in found.scores], found["bias"].label
    ('random, 40% of the rows, seed 0', ['item-knn', 'bias'], 'bias')
    """

    description: str
    kind: Kind
    scores: tuple[Score, ...]

    def frame(self) -> pl.DataFrame:
        """One row per model and metric: model, metric, value, low, high (95 % over users); nan where there is none.

        Metrics of the served lists are named as in "served_ndcg@10".

        >>> import cofactor
        >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
        >>> found = cofactor.evaluate.evaluate([], cofactor.split_random(ratings, test=0.4))
        >>> found.frame().select("model", "metric").rows()
        [('bias', 'rmse'), ('bias', 'mae')]
        """
        rows = [(score.label, name, *interval) for score in self.scores for name, interval in _all_metrics(score)]
        return pl.DataFrame(rows, schema=["model", "metric", "value", "low", "high"], orient="row")

    def __getitem__(self, label: str) -> Score:
        """The score of this label. Raises ParameterError, listing the labels there are."""
        by_label = {score.label: score for score in self.scores}
        if label not in by_label:
            raise ParameterError(f"there is no model {label!r} in this evaluation; there are {', '.join(by_label)}")
        return by_label[label]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: split, kind, models; nan becomes None."""
        return {
            "split": self.description,
            "kind": self.kind,
            "models": [
                {
                    "model": score.label,
                    "fit_seconds": round(score.fit_seconds, 4),
                    "metrics": {
                        name: {part: _plain(x) for part, x in interval._asdict().items()}
                        for name, interval in _all_metrics(score)
                    },
                }
                for score in self.scores
            ],
        }


def baseline_for(kind: Kind) -> Estimator:
    """What every model of this kind must beat.

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
    seed: int = 0,
    exclude: Exclude = "seen",
    on_fit: Callable[[str], None] | None = None,
) -> Evaluation:
    """Fit each estimator on the training part and score it on the test part, beside the baseline.

    Ratings are scored by RMSE and MAE, events by full ranking at each k of `ks` (never sampled negatives: Krichene &
    Rendle 2020, "On sampled metrics for item recommendation", KDD). Where scores tie, metrics are expectations over the
    orders of the ties. `exclude`: lists leave out all that a user has seen ("seen", as the product does), or the
    training events alone ("positives", as published tables do); see `Exclude`. `on_fit` is called with each model's
    name before it is fitted. No estimators: the baseline alone. Metrics are nan where no test user has anything
    to find. Raises KindError where an estimator learns from the other kind, ParameterError for wrong ks and for what is
    no estimator, DivergedError.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900, item_bias_sd=1.0)).interactions
    >>> split = cofactor.split_per_user(ratings.to_events(min_rating=4))
    >>> found = cofactor.evaluate.evaluate(cofactor.ImplicitALS(factors=8), split, ks=[5])
    >>> [score.label for score in found.scores], round(found["popularity"].metrics["ndcg@5"].mean, 1)
    (['implicit-als', 'popularity'], 0.4)
    """
    ks, seed = checks.whole_numbers("ks", ks, low=1, high=checks.LONGEST_LIST), checks.seed(seed)
    require_split("split", split)
    checks.optional_callable("on_fit", on_fit)
    split = split.excluding(exclude)
    asked = estimators_asked(estimators)
    for estimator in asked:
        estimator.require(split.train)
    baseline = baseline_for(split.train.kind)
    everyone = asked if any(type(e) is type(baseline) for e in asked) else [*asked, baseline]
    scores = []
    for estimator, label in zip(everyone, labels_of(everyone), strict=True):
        if on_fit is not None:
            on_fit(label)
        scores.append(fit_and_score(estimator, split, label=label, ks=ks, seed=seed))
    return Evaluation(split.description, split.train.kind, tuple(scores))


def fit_and_score(
    estimator: Estimator, split: Split, *, label: str, ks: Sequence[int] = (10,), seed: int = 0
) -> Score:  # fmt: skip
    """One estimator fitted on the training part and scored on the test part. Raises as its fit and `score` do."""
    with peak_memory() as memory:
        began = time.perf_counter()
        recommender = Recommender.fit(estimator, split.train, seed=seed)
        seconds = time.perf_counter() - began
    found = score(recommender, split, label=label, ks=ks, fit_seconds=seconds, seed=seed)
    return replace(found, fit_bytes=memory.bytes)


@validated
def score(
    recommender: Recommender,
    split: Split,
    *,
    label: str,
    ks: Sequence[int] = (10,),
    fit_seconds: float = 0.0,
    seed: int = 0,
    exclude: Exclude = "seen",
) -> Score:
    """Score a fitted recommender on the test part of the split it was fitted on.

    Users held out whole are folded in from `split.fold_in` first. Test rows that are dislikes (events of negative
    weight) are no hits; users with nothing else count in no mean. `fit_seconds` is only passed on; `exclude`: see
    `evaluate`. Raises KindError where the two differ in kind, DataError where they differ in ids, LeakageError where
    the recommender knows a pair of the test part, ParameterError for wrong ks.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> split = cofactor.split_random(ratings, test=0.4)
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), split.train)
    >>> found = cofactor.evaluate.score(rec, split, label="mine")
    >>> found.per_user["squared_error"].shape, round(found.metrics["rmse"].mean, 2)
    ((2,), 0.23)
    """
    ks, seed = checks.whole_numbers("ks", ks, low=1, high=checks.LONGEST_LIST), checks.seed(seed)
    checks.text("label", label)
    checks.finite_number("fit_seconds", fit_seconds, low=0)
    require_recommender("recommender", recommender)
    require_split("split", split)
    split = split.excluding(exclude)
    recommender = ready_for(recommender if exclude == "seen" else replace(recommender, seen=None), split)
    began = time.perf_counter()
    if split.test.kind == "ratings":
        users, per_user, metrics = _rating_scores(recommender, split, seed)
        return Score(label, metrics, fit_seconds, time.perf_counter() - began, users, per_user)
    users, per_user, metrics, served = _ranking_scores(recommender, split, ks, seed)
    return Score(label, metrics, fit_seconds, time.perf_counter() - began, users, per_user, served=served)


def main_metric(kind: Kind, k: int = 10) -> str:
    """What models of this kind are ordered and tuned by: "rmse" (less is better) or "ndcg@k" (more is).

    >>> main_metric("ratings"), main_metric("events", 20)
    ('rmse', 'ndcg@20')
    """
    return "rmse" if kind == "ratings" else f"ndcg@{k}"


def is_better(metric: str, value: float, than: float) -> bool:
    """Whether one figure of the main metric beats another; any number beats nan, and nan beats nothing.

    >>> is_better("rmse", 0.8, 0.9), is_better("ndcg@10", 0.3, 0.2), is_better("rmse", float("nan"), 0.9)
    (True, True, False)
    """
    if value != value or than != than:
        return value == value
    return value < than if metric == "rmse" else value > than


def figure(recommender: Recommender, split: Split, *, k: int = 10) -> float:
    """The main metric alone, without intervals: what tuning asks for many times. nan without a user to measure on.

    Raises as `score` does.
    """
    k = checks.whole_number("k", k, low=1, high=checks.LONGEST_LIST)
    recommender = ready_for(recommender, split)
    if split.test.kind == "ratings":
        errors = _errors(recommender, split)
        return sqrt(errors.squared.sum() / errors.count.sum())
    lists, users = _lists(recommender, split, [k])
    return float(ndcg(lists.hits, k).mean()) if len(users) else float("nan")


def ready_for(recommender: Recommender, split: Split) -> Recommender:
    """Return the recommender with the users of `split.fold_in` folded in, once it may be scored on the test part.

    Parameters
    ----------
    recommender : Recommender
        A recommender fitted on `split.train`.
    split : Split
        The split to score it on.

    Returns
    -------
    Recommender
        The same one where no users are held out.

    Raises
    ------
    KindError
        Where the recommender and the split differ in kind.
    DataError
        Where they have different users or items, and for arguments of another type.
    LeakageError
        Where the recommender's histories hold a pair of the test part.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> everything = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> ready_for(everything, cofactor.split_random(ratings, test=0.4))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 1 and item 8 are in the test part and in the model's histories (and 1 more ...
    """
    require_recommender("recommender", recommender)
    require_split("split", split)
    if recommender.kind != split.test.kind:
        raise KindError(f"the model learnt from {recommender.kind}, and the test part holds {split.test.kind}")
    if not (recommender.users.equals(split.test.users) and recommender.items.equals(split.test.items)):
        raise DataError("the model and the split have different users or items: fit on split.train")
    no_known_pairs(recommender.histories, split.test)
    return recommender if split.fold_in is None else recommender.updated(split.fold_in)


def _errors(recommender: Recommender, split: Split) -> UserErrors:
    test = split.test
    ratings = recommender.model.predict(recommender.batch(test.u, test.times), test.i)
    return errors_by_user(test.u, test.values, ratings, n_users=test.n_users)


def _lists(recommender: Recommender, split: Split, ks: Sequence[int]) -> tuple[ModelLists, Int32]:
    """Lists of the users with something to find, and who they are."""
    relevant = liked(split.test).by_user
    users = np.flatnonzero(relevant.counts).astype(np.int32)
    return recommender.ranked_lists(users, ks, relevant.take(users)), users


def _rating_scores(
    recommender: Recommender, split: Split, seed: int
) -> tuple[Int32, dict[str, Float64], dict[str, Interval]]:
    errors = _errors(recommender, split)
    users = np.flatnonzero(errors.count).astype(np.int32)
    squared, absolute, count = errors.squared[users], errors.absolute[users], errors.count[users]
    mse = bootstrap_ratio(squared, count, seed=seed)
    metrics = {
        "rmse": Interval(*(sqrt(x) if x == x else x for x in mse)),
        "mae": bootstrap_ratio(absolute, count, seed=seed),
    }
    return users, {"squared_error": squared / count}, metrics


def _ranking_scores(
    recommender: Recommender, split: Split, ks: Sequence[int], seed: int
) -> tuple[Int32, dict[str, Float64], dict[str, Interval], dict[str, Interval]]:
    lists, users = _lists(recommender, split, ks)
    per_user = metrics_of(lists.hits, ks)
    metrics = dict(bootstrap_intervals(per_user, seed=seed))
    nan = float("nan")
    support = np.bincount(split.train.i, minlength=split.train.n_items)
    trained = int(np.count_nonzero(split.train.by_user.counts))
    for k in ks:
        shown = lists.shown[k]
        metrics[f"coverage@{k}"] = Interval(float(np.mean(lists.reached[k])), nan, nan)
        metrics[f"novelty@{k}"] = Interval(novelty(shown, support, trained), nan, nan)
        metrics[f"gini@{k}"] = Interval(gini(shown), nan, nan)
    served = {name: metrics[name] for name in per_user}
    if lists.served is not lists.hits:
        served = dict(bootstrap_intervals(metrics_of(lists.served, ks), seed=seed))
    return users, per_user, metrics, served


def _all_metrics(score: Score) -> list[tuple[str, Interval]]:
    return [*score.metrics.items(), *((f"served_{name}", interval) for name, interval in score.served.items())]


def estimators_asked(estimators: Any) -> list[Estimator]:
    """One estimator, or several, as a list. Raises ParameterError for what is none.

    >>> estimators_asked(Bias()), estimators_asked([])
    ([Bias(damping=5.0)], [])
    """
    several = (
        isinstance(estimators, Iterable) and not isinstance(estimators, str) and getattr(estimators, "ndim", 1) > 0
    )
    try:
        return [checked_estimator(one) for one in (estimators if several else [estimators])]
    except ParameterError as problem:
        raise ParameterError(f"estimators: {problem}") from None


def labels_of(estimators: Sequence[Estimator]) -> list[str]:
    """Each estimator's name; a number behind it where the same one stands there twice.

    >>> labels_of([Bias(), Popularity(), Bias(damping=9.0)])
    ['bias #1', 'popularity', 'bias #2']
    """
    names = [estimator.name for estimator in estimators]
    return [
        name if names.count(name) == 1 else f"{name} #{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _plain(x: float) -> float | None:
    return None if x != x else float(x)
