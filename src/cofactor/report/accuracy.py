"""How good predictions are: against others, against their own word, and for somebody new."""

from __future__ import annotations

from cofactor.audit.cold_start_curve import cold_start
from cofactor.errors import KindError
from cofactor.estimators import BayesianMF
from cofactor.estimators.base import Estimator
from cofactor.evaluate.comparison import compare
from cofactor.evaluate.reliability import calibration
from cofactor.models.base import HasUncertainty
from cofactor.plots import cold_start_plot, comparison_plot, reliability_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["calibrated", "cold", "comparison"]

COLUMNS = {"model": "model", "value": "", "low": "95 % from", "high": "to", "versus_best": "versus best"}


def comparison(study: Study) -> Section:
    """The estimator beside a baseline and tuned rivals on rows held out. Raises DataError, DivergedError."""
    asked: list[Estimator] = [study.estimator]
    if study.table.kind == "ratings" and not isinstance(study.estimator, BayesianMF):
        asked.append(BayesianMF())
    found = compare(asked, study.split, seed=study.seed)
    frame = found.frame().drop("fit_seconds", "fit_mb")  # what differs from run to run
    best = found.best
    text = [
        (
            f"{len(study.split.train):,} {study.table.kind} to learn from, {len(study.split.test):,} held out "
            f"({found.description}). Best on these: {best.score.label}."
        ),
        *filter(None, [study.sampled]),
    ]
    reading = (
        "Each dot is a model's error on what it has not seen, with its 95 % interval over users: further left is "
        "better, "
        if found.metric == "rmse"
        else "Each dot says how well a model's lists meet what it has not seen, with the 95 % interval over users: "
        "further right is better, "
    ) + "and what stands behind a name is a paired test, so intervals that overlap may still differ surely."
    return Section(
        "comparison", "Who predicts best", text, [Picture(comparison_plot(frame), reading)],
        [Table("models", "Models", frame, COLUMNS | {"value": found.metric.upper()})],
        {"split": found.description, "task": found.task, "metric": found.metric, "best": best.score.label},
        [f"{label} is left out: {reason}" for label, reason in found.failed],
    )  # fmt: skip


def calibrated(study: Study) -> Section:
    """Whether a model's distributions come true. Raises KindError for events, DataError, DivergedError."""
    if study.table.kind == "events":
        raise KindError("calibration is of predicted ratings, and these are events")
    train = study.split.train
    recommender = Recommender.fit(study.estimator, train, seed=study.seed)
    if not isinstance(recommender.model, HasUncertainty):
        recommender = Recommender.fit(BayesianMF(), train, seed=study.seed)
    name = "the model" if recommender.estimator is None else recommender.estimator.name
    found = calibration(recommender, study.split)
    everyone = found.coverage.row(0, named=True)
    text = [
        (
            f"{name}: its 80 % intervals hold {everyone['covered 80 %']:.1%} of {found.n:,} held-out ratings "
            f"({everyone['expected 80 %']:.1%} expected by its own word), its 95 % intervals "
            f"{everyone['covered 95 %']:.1%} "
            f"({everyone['expected 95 %']:.1%})."
        ),
        *filter(None, [study.sampled]),
    ]
    columns = {"group": "quartiles of", "quartile": "", "n": "ratings", "covered 80 %": "held by 80 %",
               "expected 80 %": "expected", "covered 95 %": "held by 95 %", "expected 95 %": "expected"}  # fmt: skip
    pictures, missing = [], []
    if len(found.reliability):
        reading = (
            "Each line is a level of the scale: where it lies on the diagonal, ratings reach that level as often "
            "as the "
            "model said, and a bar that crosses the diagonal is within chance."
        )
        pictures.append(Picture(reliability_plot(found.reliability), reading))
    else:
        missing.append(
            "No curve of reliability: these ratings have no levels of which to ask how often they are reached."
        )
    measures = ("n", "rmse", "log_likelihood", "crps", "constant_log_likelihood", "constant_crps")
    numbers = {"model": name} | {measure: getattr(found, measure) for measure in measures}
    tables = [Table("coverage", "Who the intervals serve", found.coverage, columns, rows=17)]
    tables.append(Table("reliability", "Reliability", found.reliability))
    return Section("calibration", "Whether probabilities come true", text, pictures, tables, numbers, missing)


def cold(study: Study) -> Section:
    """The cold-start curve. Raises KindError, DataError for too few users."""
    found = cold_start(study.estimator, study.fewer, seed=study.seed)
    users = int(found.curve["users"][0])
    start = (
        f"Of {users:,} people held out whole, {study.estimator.name} is told their first ratings, one after the other; "
        "it is asked about the same others each time. "
    )
    last = int(found.curve["given"][-1])
    verdict = (
        f"Even after {last} ratings it is not surely better than the baseline."
        if found.beats_from is None
        else f"From {found.beats_from} given on, it is surely better than the baseline."
    )
    text = [start + verdict, *filter(None, [study.sampled])]
    reading = (
        "The two lines are the personal model and the baseline, for newcomers who gave so few; bands are 95 % "
        "intervals "
        "over people, and the personal model is worth its while where it is better by more than luck (see the table)."
    )
    columns = {"given": "given", "personal": "personal", "baseline": "baseline", "difference": "difference",
               "difference_low": "95 % from", "difference_high": "to"}  # fmt: skip
    return Section(
        "cold_start", "How soon it knows somebody new", text,
        [Picture(cold_start_plot(found.curve, metric=found.metric), reading)],
        [Table("curve", f"{found.metric.upper()} by what is given", found.curve, columns)],
        {"beats_from": found.beats_from, "metric": found.metric, "users": users},
    )  # fmt: skip
