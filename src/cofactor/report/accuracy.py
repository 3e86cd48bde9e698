"""Report sections on accuracy: model comparison, calibration, and cold start."""

from __future__ import annotations

import polars as pl

from cofactor.audit.cold_start_curve import cold_start
from cofactor.errors import KindError
from cofactor.estimators import BayesianMF
from cofactor.estimators.base import Estimator
from cofactor.evaluate.comparison import compare
from cofactor.evaluate.reliability import calibration
from cofactor.metrics.intervals import NO_INTERVAL
from cofactor.metrics.registry import metric_named
from cofactor.models.base import HasUncertainty
from cofactor.plots import cold_start_plot, comparison_plot, reliability_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["calibration_section", "cold_start_section", "comparison_section"]

COLUMNS = {"model": "model", "value": "", "low": "95 % from", "high": "to", "versus_best": "compared with best"}


def comparison_section(study: Study) -> Section:
    """Create the report section that compares the estimator with baselines on held-out data.

    Parameters
    ----------
    study : Study
        Subject and options of the report.

    Returns
    -------
    Section
        Section with figures and tables.

    Raises
    ------
    DataError
        The table cannot be split.
    DivergedError
        A fit diverged.
    """
    estimators: list[Estimator] = [study.estimator]
    if study.table.kind == "ratings" and not isinstance(study.estimator, BayesianMF):
        estimators.append(BayesianMF())
    result = compare(estimators, study.split, seed=study.seed, refits=study.refits)
    frame = result.frame().drop("fit_seconds")  # it differs from run to run
    best, metric = result.best, metric_named(result.metric)
    text = [
        (
            f"{len(study.split.train):,} {study.table.kind} for training, {len(study.split.test):,} held out "
            f"({result.description}). Best on the held-out {study.table.kind}: {best.score.label}."
        ),
        *study.sample_notes,
    ]
    caption = (
        f"Each dot is the {metric.title} of a model on held-out {study.table.kind}, with its 95 % interval over users; "
        f"{metric.direction}, and the text next to a name is the result of a paired test, corrected for the number of "
        "models and the choice of the best, which can be significant even if the intervals overlap."
    )
    tables = [Table("models", "Models", frame, COLUMNS | {"value": metric.title})]
    if study.refits:
        rows = [
            (model.score.label, *overlap) for model in result.models for overlap in model.score.seed_overlap.values()
        ]
        overlaps = pl.DataFrame(rows, schema=["model", "overlap", "low", "high"], orient="row")
        columns = {"model": "model", "overlap": "common items", "low": "95 % from", "high": "to"}
        tables.append(
            Table("seed_overlap", "Share of common items in lists of ten from different seeds", overlaps, columns)
        )
    return Section(
        "comparison", "Model comparison", text, [Picture(comparison_plot(frame), caption)], tables,
        {"split": result.description, "task": result.task, "metric": result.metric, "best": best.score.label},
        [f"{label} is omitted: {reason}" for label, reason in result.failed],
    )  # fmt: skip


def calibration_section(study: Study) -> Section:
    """Create the report section on the calibration of the predictive distributions.

    Parameters
    ----------
    study : Study
        Subject and options of the report.

    Returns
    -------
    Section
        Section with figures and tables.

    Raises
    ------
    KindError
        The table contains events.
    DataError
        The table cannot be split.
    DivergedError
        The fit diverged.

    Notes
    -----
    If the estimator's model has no predictive distributions, `BayesianMF` is used instead.
    """
    if study.table.kind == "events":
        raise KindError("calibration requires ratings, but the table contains events")
    train = study.split.train
    recommender = Recommender.fit(study.estimator, train, seed=study.seed)
    if not isinstance(recommender.model, HasUncertainty):
        recommender = Recommender.fit(BayesianMF(), train, seed=study.seed)
    name = "the model" if recommender.estimator is None else recommender.estimator.name
    result = calibration(recommender, study.split)
    overall = result.coverage.row(0, named=True)
    text = [
        (
            f"The 80 % intervals of {name} contain {overall['covered 80 %']:.1%} of {result.n:,} held-out ratings "
            f"({overall['expected 80 %']:.1%} expected from its distributions), the 95 % intervals "
            f"{overall['covered 95 %']:.1%} ({overall['expected 95 %']:.1%} expected)."
        ),
        *study.sample_notes,
    ]
    columns = {"group": "quartiles of", "quartile": "", "n": "ratings", "covered 80 %": "in 80 % interval",
               "expected 80 %": "expected", "covered 95 %": "in 95 % interval",
               "expected 95 %": "expected"}  # fmt: skip
    pictures, missing = [], []
    if len(result.reliability):
        caption = (
            "Each line is a rating level: on the diagonal, ratings reach the level as often as predicted, and error "
            "bars that cross the diagonal are consistent with perfect calibration."
        )
        pictures.append(Picture(reliability_plot(result.reliability), caption))
    else:
        missing.append("The reliability diagram is omitted: these ratings have no levels.")
    measures = ("n", "rmse", "log_likelihood", "crps", "constant_log_likelihood", "constant_crps")
    numbers = {"model": name} | {measure: getattr(result, measure) for measure in measures}
    tables = [Table("coverage", "Interval coverage by group", result.coverage, columns, rows=17)]
    tables.append(Table("reliability", "Reliability", result.reliability))
    return Section("calibration", "Calibration", text, pictures, tables, numbers, missing)


def cold_start_section(study: Study) -> Section:
    """Create the report section with the cold-start curve.

    Parameters
    ----------
    study : Study
        Subject and options of the report.

    Returns
    -------
    Section
        Section with figures and tables.

    Raises
    ------
    KindError
        The model cannot fold in users.
    DataError
        Too few users have enough rows.
    """
    result = cold_start(study.estimator, study.sampled_table, seed=study.seed)
    users, metric = int(result.curve["users"][0]), metric_named(result.metric).title
    setup = (
        f"{users:,} users are held out of training and then treated as new users: {study.estimator.name} and the "
        f"baseline are given more and more of their {study.table.kind} and evaluated on the same later ones each time. "
    )
    last = int(result.curve["history_length"][-1])
    if result.curve["difference_low"].is_nan().all():
        conclusion = f"{NO_INTERVAL} There are fewer, so no difference is called significant."
    elif result.break_even_length is None:
        conclusion = (
            f"Even with {last} {study.table.kind}, the personal model is not significantly better than the baseline."
        )
    else:
        conclusion = (
            f"With {result.break_even_length} or more {study.table.kind}, the personal model is significantly better "
            "than the baseline."
        )
    text = [setup + conclusion, *study.sample_notes]
    caption = (
        f"The lines show the {metric} of the personal model and of the baseline for new users, by their number of "
        f"{study.table.kind}, with 95 % bands over users; the table contains the intervals of the difference."
    )
    columns = {"history_length": study.table.kind, "personal": "personal", "baseline": "baseline",
               "difference": "difference", "difference_low": "95 % from", "difference_high": "to"}  # fmt: skip
    return Section(
        "cold_start", "Cold start", text,
        [Picture(cold_start_plot(result.curve, metric=result.metric), caption)],
        [Table("curve", f"{metric} by number of {study.table.kind}", result.curve, columns)],
        {"break_even_length": result.break_even_length, "metric": result.metric, "users": users},
    )  # fmt: skip
