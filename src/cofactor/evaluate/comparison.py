"""Comparison of models on one split: the best model, and whether the other models differ significantly from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import plain
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import CofactorError, KindError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import (
    MAX_REFITS,
    Evaluation,
    Score,
    baseline_for,
    estimator_list,
    fit_and_score,
    unique_labels,
)
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.evaluate.tuned_baseline import tune_baseline
from cofactor.metrics.base import UserValues
from cofactor.metrics.intervals import Interval
from cofactor.metrics.ranking import RankingMetric
from cofactor.metrics.rating import RatingMetric
from cofactor.metrics.registry import primary_metric
from cofactor.metrics.significance import model_confidence_set
from cofactor.recommender.recommender import Recommender
from cofactor.validation import validated

__all__ = ["ComparedModel", "Comparison", "Role", "Task", "check_task", "compare"]

Task: TypeAlias = Literal["rating", "ranking"]
Role: TypeAlias = Literal["requested", "baseline", "tuned baseline"]

TASKS: dict[Kind, Task] = {"ratings": "rating", "events": "ranking"}
SIGNIFICANCE_LEVEL = 0.05
"""Significance level: differences with a corrected p-value of at least this are reported as within noise."""
WARM_UP_ROWS = 300
"""Maximum number of rows in a warm-up fit, which only compiles kernels."""


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """One model in a `Comparison`.

    Attributes
    ----------
    estimator : Estimator
        Estimator that was fitted.
    score : Score
        Metrics and fit time.
    role : {'requested', 'baseline', 'tuned baseline'}
        "requested" for an estimator passed by the caller; otherwise, the reason why the model was added.
    difference : Interval
        Primary metric minus that of the best model, with a paired 95% interval; nan for the best model. The interval
        is for this pair alone, without a correction for the choice of the best model.
    p : float
        p-value of the hypothesis that the model is one of the best, corrected for the number of models and for the
        choice of the best on the same users (see `metrics.significance.model_confidence_set`); nan for the best model.
    versus_best : str
        "best", "within noise", "worse (p=...)", or "not measured" if there are no test users.
    """

    estimator: Estimator
    score: Score
    role: Role
    difference: Interval
    p: float
    versus_best: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """Compared models, best first, each tested against the best with paired tests over users; returned by `compare`.

    Attributes
    ----------
    description : str
        Description of the split.
    task : {'rating', 'ranking'}
        Task that the metric measures.
    metric : str
        Metric used for sorting and testing: "rmse" or "ndcg@k".
    models : tuple of ComparedModel
        Models, best first; models without a metric value come last.
    failed : tuple of (str, str)
        Label and reason of each model that could not be fitted.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> ratings = generate(SyntheticConfig(n_users=30, n_items=20, n_ratings=200)).interactions
    >>> comparison = cofactor.evaluate.compare([], cofactor.split_random(ratings))
    >>> comparison.metric, comparison.best.versus_best, sorted(model.role for model in comparison.models)
    ('rmse', 'best', ['baseline'])
    """

    description: str
    task: Task
    metric: str
    models: tuple[ComparedModel, ...]
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def best(self) -> ComparedModel:
        """Best model in the comparison, `models[0]`."""
        return self.models[0]

    @property
    def tuned_baseline(self) -> ComparedModel | None:
        """The tuned baseline; None if `compare` was called without `tuned_baseline=True`."""
        return next((model for model in self.models if model.role == "tuned baseline"), None)

    @property
    def evaluation(self) -> Evaluation:
        """Scores of the compared models with all metrics as an `Evaluation`, best model first."""
        kind: Kind = "ratings" if self.task == "rating" else "events"
        return Evaluation(self.description, kind, tuple(model.score for model in self.models))

    def __getitem__(self, label: str) -> ComparedModel:
        """Return the model with the given label; raise ParameterError if there is none."""
        by_label = {model.score.label: model for model in self.models}
        if label not in by_label:
            raise ParameterError(f"no model {label!r} in this comparison; it has {', '.join(by_label)}")
        return by_label[label]

    def frame(self) -> pl.DataFrame:
        """Return a table with one row per model, best first.

        Returns
        -------
        polars.DataFrame
            Missing values, such as the difference for the best model, are nan. Other metrics are in
            `evaluation.frame()`. Columns:

            - model, role, versus_best, metric: as in `ComparedModel`
            - value, low, high: the metric and its 95% interval over users
            - difference, difference_low, difference_high: difference from the best model, paired by user
            - p: p-value, corrected for the number of models and for the choice of the best
            - fit_seconds: wall-clock time of the fit

        Examples
        --------
        >>> import cofactor
        >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
        >>> ratings = generate(SyntheticConfig(n_users=30, n_items=20, n_ratings=200)).interactions
        >>> comparison = cofactor.evaluate.compare([], cofactor.split_random(ratings))
        >>> comparison.frame().select("versus_best", "metric").row(0)
        ('best', 'rmse')
        """
        rows = []
        for model in self.models:
            score, difference = model.score, model.difference
            head = (score.label, model.role, model.versus_best, self.metric)
            rows.append((*head, *score.metrics[self.metric], *difference, model.p, score.fit_seconds))
        text = ["model", "role", "versus_best", "metric"]
        numbers = ["value", "low", "high", "difference", "difference_low", "difference_high", "p", "fit_seconds"]
        columns = {**dict.fromkeys(text, pl.String), **dict.fromkeys(numbers, pl.Float64)}
        return pl.DataFrame(rows, schema=columns, orient="row")

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON-serializable dict.

        Returns
        -------
        dict
            Keys split, task, metric, models, failed and tuned_baseline, which is the label of the tuned baseline or
            None; nan becomes None.
        """
        scores = self.evaluation.as_dict()["models"]
        models = [
            {
                **score,
                "role": model.role,
                "estimator": model.estimator.to_dict(),
                "versus_best": model.versus_best,
                "difference": plain(model.difference._asdict()),
                "p": plain(model.p),
            }
            for score, model in zip(scores, self.models, strict=True)
        ]
        failed = [{"model": label, "reason": reason} for label, reason in self.failed]
        head = {"split": self.description, "task": self.task, "metric": self.metric}
        tuned = None if self.tuned_baseline is None else self.tuned_baseline.score.label
        return {**head, "models": models, "failed": failed, "tuned_baseline": tuned}


@validated
def compare(
    estimators: Estimator | Sequence[Estimator],
    split: Split,
    *,
    task: Task | None = None,
    ks: Sequence[int] = (10,),
    seed: Seed = 0,
    exclude: Exclude = "seen",
    tuned_baseline: bool = False,
    refits: int = 0,
    on_fit: Callable[[str], None] | None = None,
) -> Comparison:
    """Fit models on the training set, score them on the test set, and test each against the best.

    A baseline is always included, and on request a strong tuned model (see `evaluate.tuned_baseline`).

    Parameters
    ----------
    estimators : Estimator or sequence of Estimator
        Estimators to compare; an empty list compares only the baseline and, if requested, the tuned model.
    split : Split
        Split to evaluate on.
    task : {'rating', 'ranking'}, optional
        Expected task, used only as a check. The table determines the task: "rating" (RMSE) for ratings, or "ranking"
        (NDCG at the first of `ks`) for events.
    ks : sequence of int, default (10,)
        Cutoffs for the ranking metrics, for events.
    seed : int, Generator or None, default 0
        Seed for the fits, the intervals and the tests.
    exclude : {'seen', 'positives'}, default "seen"
        As in `evaluate`.
    tuned_baseline : bool, default False
        Whether to include a baseline tuned on a part of the training set, which takes five to seven more fits. It is
        tuned once for all comparisons in this process with the same training set and seed.
    refits : int, default 0
        As in `evaluate`; the overlap of the lists between seeds is in the `Score` of each model.
    on_fit : callable, optional
        Called with the label of each model before it is fitted.

    Returns
    -------
    Comparison
        Compared models. If several estimators are passed and one cannot be fitted (for example, because it diverges),
        the reason is in `failed`.

    Raises
    ------
    LeakageError
        If the training set contains information from the test set.
    KindError
        If the task or an estimator does not match the data.
    ParameterError
        If `task`, `ks` or an estimator is invalid.
    DataError
        If `split` is not a Split.

    Notes
    -----
    Models are compared per user, because users differ far more than models do: with an interval for the difference from
    the best model, and with a sign-flip test. The p-values are corrected for the number of models and for the choice of
    the best model on the same users (`metrics.significance.model_confidence_set`): the probability that any of the
    truly best models is reported as worse is at most about 5%. The intervals are not corrected, so an interval may
    exclude 0 although the difference is within noise.

    Each model is first trained on a few rows, so that fit times exclude compilation.

    Examples
    --------
    >>> import cofactor
    >>> from cofactor.datasets.synthetic import SyntheticConfig, generate
    >>> config = SyntheticConfig(n_users=60, n_items=40, n_ratings=900, rating_levels=(1, 2, 3, 4, 5))
    >>> ratings = generate(config).interactions
    >>> split = cofactor.split_random(ratings)
    >>> comparison = cofactor.evaluate.compare(cofactor.ExplicitALS(factors=8), split, tuned_baseline=True)
    >>> sorted((model.score.label, model.role) for model in comparison.models)
    [('bias', 'baseline'), ('explicit-als', 'requested'), ('item-knn (tuned)', 'tuned baseline')]
    >>> comparison.models[1].versus_best
    'within noise'
    """
    require_split("split", split)
    ks, seed = checks.whole_numbers("ks", ks, low=1, high=checks.MAX_LIST_LENGTH), checks.seed(seed)
    checks.optional_callable("on_fit", on_fit)
    refits = checks.whole_number("refits", refits, low=0, high=MAX_REFITS)
    split.validate()
    split = split.excluding(exclude)
    kind = split.train.kind
    check_task(task, kind)
    requested_models = estimator_list(estimators)
    for estimator in requested_models:
        estimator.check_table(split.train)
    notify = on_fit or (lambda label: None)
    tuned = None
    if tuned_baseline:
        tuned = tune_baseline(split, k=ks[0], seed=seed, on_fit=lambda: notify("a tuned baseline"))
    scored, failed = [], []
    for model in _all_models(requested_models, tuned, baseline_for(kind)):
        estimator, label, role = model
        notify(label)
        _warm_up(estimator, split.train, seed)
        try:
            options: dict[str, Any] = {"label": label, "ks": ks, "seed": seed, "exclude": exclude, "refits": refits}
            scored.append((model, fit_and_score(estimator, split, **options)))
        except CofactorError as problem:
            if role == "baseline" or len(requested_models) == 1:
                raise
            failed.append((label, str(problem)))
    metric = primary_metric(kind, ks[0])
    models = _compare_with_best([m for m, _ in scored], [s for _, s in scored], metric, seed)
    return Comparison(split.description, TASKS[kind], metric.key, tuple(models), tuple(failed))


def check_task(task: str | None, kind: Kind) -> Task:
    """Return the evaluation task, rating or ranking, for a kind of table; raise KindError if another task is expected.

    Parameters
    ----------
    task : {'rating', 'ranking'} or None
        Expected task; None to accept either task.
    kind : {'ratings', 'events'}
        Kind of the table.

    Returns
    -------
    {'rating', 'ranking'}
        Task for this kind of table.

    Raises
    ------
    ParameterError
        If `task` is invalid.
    KindError
        If `task` does not match `kind`.

    Examples
    --------
    >>> check_task(None, "ratings"), check_task("ranking", "events")
    ('rating', 'ranking')
    """
    if task is not None:
        checks.choice("task", task, TASKS.values())
    if task == "ranking" and kind == "ratings":
        raise KindError(
            "the ranking task requires events, but the table contains ratings; to treat ratings of 4 and up as likes, "
            "use ratings.to_events(min_rating=4), or --min-rating 4 on the command line"
        )
    if task == "rating" and kind == "events":
        raise KindError("the rating task requires ratings, but the table contains events; use the ranking task")
    return TASKS[kind]


def _all_models(
    requested_models: Sequence[Estimator], tuned_baseline: Estimator | None, baseline: Estimator
) -> list[tuple[Estimator, str, Role]]:  # fmt: skip
    """Return all models with their labels and roles, adding the baseline and any tuned baseline if missing."""

    def role(estimator: Estimator) -> Role:
        if estimator == tuned_baseline:
            return "tuned baseline"
        return "baseline" if type(estimator) is type(baseline) else "requested"

    models = [
        (estimator, label, role(estimator))
        for estimator, label in zip(requested_models, unique_labels(requested_models), strict=True)
    ]
    if tuned_baseline is not None and tuned_baseline not in requested_models:
        models.append((tuned_baseline, f"{tuned_baseline.name} (tuned)", "tuned baseline"))
    if all(role != "baseline" for _, _, role in models):
        models.append((baseline, baseline.name, "baseline"))
    return models


def _warm_up(estimator: Estimator, train: Interactions, seed: int) -> None:
    """Compile the kernels by fitting on a few rows; errors are ignored, because the actual fit raises them again."""
    rows = np.unique(np.linspace(0, len(train) - 1, WARM_UP_ROWS).astype(np.int64))
    sample = Interactions.from_columns(
        train.users.ids(train.u[rows]),
        train.items.ids(train.i[rows]),
        train.values[rows],
        times=None if train.times is None else train.times[rows],
        weights=None if train.weights is None else train.weights[rows],
        kind=train.kind,
        scale=train.scale,
    )
    with suppress(CofactorError):
        Recommender.fit(estimator, sample, seed=seed)


def _compare_with_best(
    specs: Sequence[tuple[Estimator, str, Role]],
    scores: Sequence[Score],
    metric: RatingMetric | RankingMetric,
    seed: int,
) -> list[ComparedModel]:
    """Test each model against the best, and return the models sorted from best to worst."""
    order = sorted(range(len(scores)), key=lambda row: metric.sort_key(scores[row].metrics[metric.key].mean))
    best, other_scores = scores[order[0]], [scores[row] for row in order[1:]]
    has_users = len(best.users) > 0
    key, best_values = metric.per_user_key, _user_values(best, metric)
    columns = [score.per_user[key] * best.counts for score in (best, *other_scores)]
    sign = 1 if metric.greater_is_better else -1
    p = (
        model_confidence_set(sign * np.column_stack(columns), seed=seed)[1:]
        if has_users
        else np.full(len(order) - 1, nan)
    )
    differences = [
        Interval(nan, nan, nan),
        *(_user_values(score, metric).difference(best_values, seed=seed) for score in other_scores),
    ]
    models = []
    for row, difference, p_value in zip(order, differences, [nan, *p.tolist()], strict=True):
        estimator, _, role = specs[row]
        versus_best = (
            "not measured" if not has_users else "best" if row == order[0] else _describe_significance(p_value)
        )
        models.append(ComparedModel(estimator, scores[row], role, difference, p_value, versus_best))
    return models


def _user_values(score: Score, metric: RatingMetric | RankingMetric) -> UserValues:
    """Return the per-user values of a metric, used to test the difference between two models."""
    return UserValues(score.per_user[metric.per_user_key] * score.counts, score.counts, metric.aggregation)


def _describe_significance(p: float) -> str:
    """Describe a corrected p-value in words."""
    if p >= SIGNIFICANCE_LEVEL:
        return "within noise"
    return "worse (p<0.001)" if p < 0.001 else f"worse (p={p:.3f})"
