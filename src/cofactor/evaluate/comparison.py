"""Many ways to learn, one protocol, one table: who is best on this data, and whether that is more than luck."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import CofactorError, KindError, ParameterError
from cofactor.estimators.base import Estimator
from cofactor.evaluate.evaluation import (
    Evaluation,
    Score,
    baseline_for,
    estimators_asked,
    fit_and_score,
    labels_of,
    main_metric,
)
from cofactor.evaluate.split import Exclude, Split, require_split
from cofactor.evaluate.tuned_baseline import tuned_rival
from cofactor.metrics.intervals import Interval, paired_difference, paired_rmse_difference
from cofactor.metrics.significance import holm, sign_flip
from cofactor.recommender.recommender import Recommender
from cofactor.validation import validated

__all__ = ["Compared", "Comparison", "Role", "Task", "compare", "known_task"]

Task: TypeAlias = Literal["rating", "ranking"]
Role: TypeAlias = Literal["asked", "baseline", "tuned rival"]

TASKS: dict[Kind, Task] = {"ratings": "rating", "events": "ranking"}
LEVEL = 0.05
"""A difference whose corrected p-value is at least this is within noise."""
WARM_UP_ROWS = 300


@dataclass(frozen=True, eq=False)
class Compared:
    """One model of a comparison.

    Attributes:

        estimator: how it was learnt.
        score: its metrics, fit time and memory.
        role: "asked", or why it is there in any case.
        difference: its main metric minus the best one's, with a paired 95 % interval; nan for the best.
        p: the p-value of that difference, Holm-corrected for all models; nan for the best.
        versus_best: "best", "within noise", "worse (p=...)", or "not measured" where no test user was left.

    See `compare`, which makes them.
    """

    estimator: Estimator
    score: Score
    role: Role
    difference: Interval
    p: float
    versus_best: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """The models, best first; each compared with the first, user by user. See `compare`, which makes it.

    Attributes:

        description: of the split.
        task: "rating" or "ranking".
        metric: what they are ordered and tested by: "rmse" or "ndcg@k".
        models: best first; those without a number last.
        failed: label and reason of models that could not be fitted.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=30, n_items=20, n_ratings=200)).interactions
    >>> found = cofactor.evaluate.compare([], cofactor.split_random(ratings))
    >>> found.metric, found.best.versus_best, sorted(model.role for model in found.models)
    ('rmse', 'best', ['baseline', 'tuned rival'])
    """

    description: str
    task: Task
    metric: str
    models: tuple[Compared, ...]
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def best(self) -> Compared:
        """The first model, with the best mean of the metric."""
        return self.models[0]

    @property
    def evaluation(self) -> Evaluation:
        """The same scores with all their metrics, best model first."""
        kind: Kind = "ratings" if self.task == "rating" else "events"
        return Evaluation(self.description, kind, tuple(model.score for model in self.models))

    def __getitem__(self, label: str) -> Compared:
        """The model of this label. Raises ParameterError, listing the labels there are."""
        by_label = {model.score.label: model for model in self.models}
        if label not in by_label:
            raise ParameterError(f"there is no model {label!r} in this comparison; there are {', '.join(by_label)}")
        return by_label[label]

    def frame(self) -> pl.DataFrame:
        """One row per model, best first.

            model, role, versus_best, metric             text, see `Compared`
            value, low, high                             of the metric, 95 % over users
            difference, difference_low, difference_high  from the best, paired by user
            p, fit_seconds, fit_mb                       Holm-corrected; wall seconds; peak of the fit, 10^6 bytes

        nan where there is none, as of the best one's difference; other metrics are in `evaluation.frame()`.

        >>> import cofactor
        >>> from cofactor.datasets.synthetic import World, generate
        >>> ratings = generate(World(n_users=30, n_items=20, n_ratings=200)).interactions
        >>> found = cofactor.evaluate.compare([], cofactor.split_random(ratings))
        >>> found.frame().select("versus_best", "metric").row(0)
        ('best', 'rmse')
        """
        rows = []
        for model in self.models:
            score, gap = model.score, model.difference
            cost = (score.fit_seconds, None if score.fit_bytes is None else score.fit_bytes / 1e6)
            head = (score.label, model.role, model.versus_best, self.metric)
            rows.append((*head, *score.metrics[self.metric], *gap, model.p, *cost))
        text = ["model", "role", "versus_best", "metric"]
        numbers = ["value", "low", "high", "difference", "difference_low", "difference_high", "p"]
        columns = {**dict.fromkeys(text, pl.String), **dict.fromkeys([*numbers, "fit_seconds", "fit_mb"], pl.Float64)}
        return pl.DataFrame(rows, schema=columns, orient="row")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: split, task, metric, models, failed; nan becomes None."""
        scores = self.evaluation.as_dict()["models"]
        models = [
            {
                **scored,
                "role": model.role,
                "estimator": json.loads(model.estimator.to_json()),
                "versus_best": model.versus_best,
                "difference": {part: _plain(x) for part, x in model.difference._asdict().items()},
                "p": _plain(model.p),
                "fit_bytes": model.score.fit_bytes,
            }
            for scored, model in zip(scores, self.models, strict=True)
        ]
        failed = [{"model": label, "reason": reason} for label, reason in self.failed]
        named = {"split": self.description, "task": self.task, "metric": self.metric}
        return {**named, "models": models, "failed": failed}


@validated
def compare(
    estimators: Estimator | Sequence[Estimator],
    split: Split,
    *,
    task: Task | None = None,
    ks: Sequence[int] = (10,),
    seed: int = 0,
    exclude: Exclude = "seen",
    on_fit: Callable[[str], None] | None = None,
) -> Comparison:
    """Fit all on the training part, score all on the test part, and test each against the best.

    Besides what is asked for, the baseline and a tuned strong model (`evaluate.tuned_baseline`) are always there.
    Ratings make the task "rating" (RMSE), events "ranking" (NDCG at the first k); `task` only says which one is meant.
    `exclude`: see `evaluate`. Each model is fitted on a few rows first, so that compiling counts neither as its time
    nor as its memory (`evaluate.memory`).

    Paired, since users differ far more than models: a bootstrap interval of the difference, and a sign-flip test,
    corrected by Holm. The best is chosen by the same data, so among near equals p-values are slightly too small.
    One of several that cannot be fitted (it diverged, it would not fit into memory) is told in `failed`. No estimators:
    baseline and tuned model alone.

    Raises LeakageError where the split leaks, KindError for a task or an estimator that does not fit the data,
    ParameterError for another task, wrong ks or what is no estimator, DataError for what is no Split.

    >>> import cofactor
    >>> from cofactor.datasets.synthetic import World, generate
    >>> ratings = generate(World(n_users=60, n_items=40, n_ratings=900, levels=(1, 2, 3, 4, 5))).interactions
    >>> found = cofactor.evaluate.compare(cofactor.ExplicitALS(factors=8), cofactor.split_random(ratings))
    >>> sorted((model.score.label, model.role) for model in found.models)
    [('bias', 'baseline'), ('explicit-als', 'asked'), ('item-knn (tuned)', 'tuned rival')]
    >>> found.models[1].versus_best
    'within noise'
    """
    require_split("split", split)
    ks, seed = checks.whole_numbers("ks", ks, low=1, high=checks.LONGEST_LIST), checks.seed(seed)
    checks.optional_callable("on_fit", on_fit)
    split.prove()
    split = split.excluding(exclude)
    kind = split.train.kind
    known_task(task, kind)
    asked = estimators_asked(estimators)
    for estimator in asked:
        estimator.require(split.train)
    tell = on_fit or (lambda label: None)
    rival = tuned_rival(split, k=ks[0], seed=seed, on_fit=lambda: tell("a tuned rival"))
    scored, failed = [], []
    for member in _with_company(asked, rival, baseline_for(kind)):
        estimator, label, role = member
        tell(label)
        _warm_up(estimator, split.train, seed)
        try:
            scored.append((member, fit_and_score(estimator, split, label=label, ks=ks, seed=seed)))
        except CofactorError as problem:
            if role == "baseline" or len(asked) == 1:
                raise
            failed.append((label, str(problem)))
    metric = main_metric(kind, ks[0])
    counts = np.bincount(split.test.u, minlength=split.test.n_users)
    models = _judged([m for m, _ in scored], [s for _, s in scored], metric, counts, seed)
    return Comparison(split.description, TASKS[kind], metric, tuple(models), tuple(failed))


def known_task(task: str | None, kind: Kind) -> Task:
    """The task that this kind of table makes, `task` being None or the same.

    Raises ParameterError for what is no task, KindError for the other one.

    >>> known_task(None, "ratings"), known_task("ranking", "events")
    ('rating', 'ranking')
    """
    if task is not None:
        checks.choice("task", task, TASKS.values())
    if task == "ranking" and kind == "ratings":
        raise KindError(
            "rankings are scored on events, and these are ratings; say which count as liked: "
            "ratings.to_events(min_rating=4), on the command line --min-rating 4"
        )
    if task == "rating" and kind == "events":
        raise KindError("ratings are predicted from ratings, and these are events: ask for task ranking, or for none")
    return TASKS[kind]


def _with_company(
    asked: Sequence[Estimator], rival: Estimator, baseline: Estimator
) -> list[tuple[Estimator, str, Role]]:  # fmt: skip
    """Everyone with label and role; what was asked for is not there twice."""

    def role(estimator: Estimator) -> Role:
        if estimator == rival:
            return "tuned rival"
        return "baseline" if type(estimator) is type(baseline) else "asked"

    here = [(estimator, label, role(estimator)) for estimator, label in zip(asked, labels_of(asked), strict=True)]
    if rival not in asked:
        here.append((rival, f"{rival.name} (tuned)", "tuned rival"))
    if all(role != "baseline" for _, _, role in here):
        here.append((baseline, baseline.name, "baseline"))
    return here


def _warm_up(estimator: Estimator, train: Interactions, seed: int) -> None:
    """A fit on a few rows, thrown away: it compiles what the real one runs. What fails here fails there, aloud."""
    rows = np.unique(np.linspace(0, len(train) - 1, WARM_UP_ROWS).astype(np.int64))
    few = Interactions.from_columns(
        train.users.ids(train.u[rows]),
        train.items.ids(train.i[rows]),
        train.values[rows],
        times=None if train.times is None else train.times[rows],
        weights=None if train.weights is None else train.weights[rows],
        kind=train.kind,
        scale=train.scale,
    )
    with suppress(CofactorError):
        Recommender.fit(estimator, few, seed=seed)


def _judged(
    everyone: Sequence[tuple[Estimator, str, Role]], scores: Sequence[Score], metric: str, counts: Any, seed: int
) -> list[Compared]:
    """Each model against the best, best first."""
    sign = 1 if metric == "rmse" else -1
    value = [score.metrics[metric].mean for score in scores]
    order = sorted(range(len(scores)), key=lambda at: (isnan(value[at]), sign * value[at]))
    best, others = scores[order[0]], [scores[at] for at in order[1:]]
    measured = len(best.users) > 0 and not isnan(best.metrics[metric].mean)
    p = holm([sign_flip(_differences(one, best, metric, counts), seed=seed) if measured else nan for one in others])
    judged = [Interval(nan, nan, nan), *(_gap(one, best, metric, counts, seed) for one in others)]
    models = []
    for at, gap, chance in zip(order, judged, [nan, *p.tolist()], strict=True):
        estimator, _, role = everyone[at]
        verdict = "best" if at == order[0] else _verdict(chance)
        models.append(Compared(estimator, scores[at], role, gap, chance, verdict if measured else "not measured"))
    return models


def _differences(one: Score, best: Score, metric: str, counts: Any) -> Any:
    """What is flipped: per-user differences of the metric (RMSE: of the summed squared errors)."""
    if metric != "rmse":
        return one.per_user[metric] - best.per_user[metric]
    return (one.per_user["squared_error"] - best.per_user["squared_error"]) * counts[one.users]


def _gap(one: Score, best: Score, metric: str, counts: Any, seed: int) -> Interval:
    if metric != "rmse":
        return paired_difference(one.per_user[metric], best.per_user[metric], seed=seed)
    rows = counts[one.users]
    mine, theirs = (score.per_user["squared_error"] * rows for score in (one, best))
    return paired_rmse_difference(mine, theirs, rows, seed=seed)


def _verdict(p: float) -> str:
    if p >= LEVEL:
        return "within noise"
    return "worse (p<0.001)" if p < 0.001 else f"worse (p={p:.3f})"


def _plain(x: float) -> float | None:
    return None if isnan(x) else float(x)
