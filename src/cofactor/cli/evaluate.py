"""`cofactor evaluate`: evaluate models and a baseline on one split, with 95% intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    ExcludeName,
    HalfLife,
    Json,
    Lengths,
    Models,
    RatingModel,
    Refits,
    Seed,
    Settings,
    SplitName,
    TestSize,
    check_exclude,
    check_split,
    split_table,
)
from cofactor.cli.side_tables import check_output
from cofactor.cli.terminal import messages, printable, results, show_json, table
from cofactor.errors import DataError, ParameterError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from cofactor.estimators import Estimator
    from cofactor.evaluate.evaluation import Evaluation, Score
    from cofactor.evaluate.reliability import Calibration
    from cofactor.evaluate.split import Split
    from cofactor.metrics.base import Metric
    from cofactor.metrics.intervals import Interval

__all__ = ["check_calibration", "evaluate", "report_calibration", "show_calibration", "show_evaluation"]


BASELINES = ("bias", "popularity")
MAX_COLUMNS = 4
"""Maximum number of metrics in a table with fit times, for a width of 80 characters."""
LEGEND = (
    "* best in its column. Below each value: its 95 % interval over users. Users differ more than models do, so the "
    "intervals of two models may overlap even if one is significantly better: `cofactor compare` tests the differences "
    "user by user."
)


@reads_table
def evaluate(
    source: Source,
    *,
    model: Models = None,
    rating_model: RatingModel = None,
    split: SplitName = "random",
    test: TestSize = None,
    exclude: ExcludeName = None,
    half_life: HalfLife = None,
    k: Lengths = None,
    refits: Refits = 0,
    calibration: Annotated[
        bool, Option("--calibration", help="Evaluate the calibration of predicted rating distributions instead.")
    ] = False,
    plot: Annotated[
        str | None, Option(metavar="FILE", help="With --calibration: write a plot to this .html file (one model only).")
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Evaluate models on held-out rows, together with a baseline that every model should beat.

    Models of ratings are evaluated by RMSE and MAE, models of events (--events or --min-rating) by ranking metrics at k
    over the full catalog. The default model is biased-mf for ratings and implicit-als for events.

    Test sets: random rows (random); a fraction of each user's rows (per-user); the last rows of each user (last); all
    rows after a point in time (by-time); all rows of some users (users).

    With --rating-model, each --model is a model of events that ranks the items, and both kinds of metrics are shown:
    the hits of the lists are the test ratings of --min-rating and up.

    --set NAME=VALUE applies to all models that have the hyperparameter, --set MODEL.NAME=VALUE to one model.

    --refits N fits each model N more times with other seeds and shows how many items of the lists are the same.

    --calibration checks predictive distributions (bayesian-mf; neural-mf with head=classification): whether 80 %
    intervals contain 80 % of the ratings, overall and for groups of users and items.
    """
    from cofactor.evaluate import evaluate as evaluate_models

    default = (
        "implicit-als" if source.kind == "events" or rating_model else "bayesian-mf" if calibration else "biased-mf"
    )
    source, estimators = source.estimators(model or [default], source.settings(settings), rating_model)
    check_calibration(source, model or (), is_requested=calibration, plot=plot)
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind if rating_model is None else "events")
    data_split = split_table(source.read(), split, test, seed, half_life=half_life)
    if calibration:
        report_calibration(estimators, data_split, plot=plot, seed=seed, as_json=as_json)
        return
    console = messages()
    with console.status("", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        evaluation = evaluate_models(
            estimators, data_split, ks=tuple(k or (10,)), seed=seed, exclude=excluded,
            refits=refits, on_fit=lambda name: status.update(f"fitting {name}"),
        )  # fmt: skip
    if as_json:
        show_json({**evaluation.as_dict(), "train": len(data_split.train), "test": len(data_split.test)})
        return
    show_evaluation(results(), evaluation, data_split)


def show_evaluation(out: Console, evaluation: Evaluation, split: Split) -> None:
    """Print the scores as tables at most 80 characters wide, best model first, with a star next to the best values.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    evaluation : Evaluation
        Evaluation of the models.
    split : Split
        Split on which the models were evaluated.
    """
    from cofactor.metrics.intervals import NO_INTERVAL
    from cofactor.metrics.registry import metric_named, primary_metric

    sizes = f"{len(split.train):,} training and {len(split.test):,} test rows"
    out.print(f"Split: {evaluation.description}: {sizes}", soft_wrap=True)
    metrics = [metric_named(key) for key in dict.fromkeys(key for score in evaluation.scores for key in score.metrics)]
    for k in sorted({metric.k for metric in metrics}, key=lambda k: k or 0):
        if k is not None:
            out.print(f"\nLists of {k}", style="bold")
        sort_metric: Metric = primary_metric("ratings") if k is None else primary_metric("events", k)
        scores = [score for score in evaluation.scores if sort_metric.key in score.metrics]
        scores.sort(key=lambda score: sort_metric.sort_key(score.metrics[sort_metric.key].mean))
        output_table = [metric for metric in metrics if metric.k == k]
        _show_table(out, scores, output_table[:MAX_COLUMNS], with_time=True)
        for first in range(MAX_COLUMNS, len(output_table), MAX_COLUMNS + 1):
            _show_table(out, scores, output_table[first : first + MAX_COLUMNS + 1], with_time=False)
        _show_served_lists(out, scores, output_table)
    _show_seed_overlap(out, evaluation.scores)
    out.print(LEGEND)
    intervals = [
        score.metrics[m.key]
        for score in evaluation.scores
        for m in metrics
        if m.has_interval and m.key in score.metrics
    ]
    if any(isnan(interval.low) and not isnan(interval.mean) for interval in intervals):
        out.print(NO_INTERVAL)


def _show_table(out: Console, scores: Sequence[Score], metrics: Sequence[Metric], *, with_time: bool) -> None:
    columns = [(metric.label, "right") for metric in metrics]
    output_table = table("model", *columns, *([("fit", "right")] if with_time else []))
    for score in scores:
        role = "\n  baseline" if score.label in BASELINES else ""
        cells = [_format_cell(score, metric, scores) for metric in metrics]
        output_table.add_row(score.label + role, *cells, *([f"{score.fit_seconds:.1f} s"] if with_time else []))
    out.print(output_table)


def _show_served_lists(out: Console, scores: Sequence[Score], metrics: Sequence[Metric]) -> None:
    """Print the metrics of the lists as served, for models whose lists are completed with popular items."""
    keys = [metric.key for metric in metrics if metric.key in scores[0].served]
    served_scores = [
        replace(score, metrics=score.served) for score in scores if any(_differs(score, key) for key in keys)
    ]
    if served_scores:
        out.print(
            f"Lists of {metrics[0].k} as served: popular items fill the positions without model evidence", style="bold"
        )
        _show_table(out, served_scores, metrics[:MAX_COLUMNS], with_time=False)


def _show_seed_overlap(out: Console, scores: Sequence[Score]) -> None:
    """Print the share of common items in the lists of fits with different seeds, if it was measured."""
    keys = list(scores[0].seed_overlap)
    if not keys:
        return
    out.print("\nShare of items in common between lists of fits with different seeds", style="bold")
    output_table = table("model", *((f"lists of {key.partition('@')[2]}", "right") for key in keys))
    for score in scores:
        output_table.add_row(score.label, *(_format_overlap(score.seed_overlap[key]) for key in keys))
    out.print(output_table)


def _format_overlap(overlap: Interval) -> str:
    if isnan(overlap.mean):
        return "-"
    return f"{overlap.mean:.3f}" + ("" if isnan(overlap.low) else f"\n{overlap.low:.3f}-{overlap.high:.3f}")


def _differs(score: Score, key: str) -> bool:
    """Return whether a metric differs between the served lists and the model's own lists."""
    model_value = score.metrics[key].mean
    return not isnan(model_value) and model_value != score.served[key].mean


def _format_cell(score: Score, metric: Metric, scores: Sequence[Score]) -> str:
    """Format a value, with a star if it is the best, and its interval on the next line."""
    value, low, high = score.metrics[metric.key]
    if isnan(value):
        return "-"
    is_best = not any(metric.is_better(other.metrics[metric.key].mean, value) for other in scores)
    interval = f"\n{low:.{metric.digits}f}-{high:.{metric.digits}f}"
    if isnan(low):
        interval = "\nno interval" if metric.has_interval else ""
    return f"{value:.{metric.digits}f}{'*' if is_best and len(scores) > 1 else ' '}{interval}"


QUARTILES = ("1st", "2nd", "3rd", "4th")
CALIBRATION_LEGEND = (
    "Log-likelihood, in nats per rating: higher is better. CRPS, in rating units: lower is better. One width: the same "
    "means with one width for all ratings, which a model with useful uncertainty must beat. Expected: the probability "
    "that the model assigns to its intervals. User's noise: the spread of the user's training residuals."
)


def check_calibration(source: Source, models: Sequence[str], *, is_requested: bool, plot: str | None) -> None:
    """Validate the calibration options before any data is read.

    Parameters
    ----------
    source : Source
        Input table options.
    models : sequence of str
        Names of the models; empty for the default.
    is_requested : bool
        Whether --calibration was given.
    plot : str or None
        Path of the plot, if any.

    Raises
    ------
    ParameterError
        If the options cannot be combined.
    MissingExtraError
        If a plot is requested but plotly is not installed.
    """
    if is_requested and source.kind == "events":
        raise ParameterError("--calibration requires ratings; omit --events and --min-rating")
    if plot is None:
        return
    from cofactor.plots import require_plotly

    if not is_requested:
        raise ParameterError("--plot requires --calibration")
    if len(models) > 1:
        raise ParameterError(f"--plot takes one model, not {len(models)}: pass --model only once")
    check_output(plot, suffixes=(".html", ".htm"))
    require_plotly()


def report_calibration(
    estimators: Sequence[Estimator], split: Split, *, plot: str | None, seed: int, as_json: bool
) -> None:
    """Fit each estimator on the training set, measure its calibration on the test set, and print the results.

    Parameters
    ----------
    estimators : sequence of Estimator
        Estimators whose models have predictive distributions.
    split : Split
        Training set and test set.
    plot : str or None
        Path of an .html file for the plot, or None.
    seed : int
        Seed for the fits.
    as_json : bool
        Whether to print JSON instead of tables.

    Raises
    ------
    KindError
        If a model has no predictive distributions.
    DataError
        If a plot is requested and the rating scale has no levels.
    """
    from cofactor.evaluate.evaluation import unique_labels
    from cofactor.evaluate.reliability import calibration
    from cofactor.recommender.recommender import Recommender

    scale = split.test.scale
    if plot is not None and (scale is None or len(scale.levels) < 2):
        raise DataError("--plot requires a rating scale with levels, but these ratings have none; see --rating-levels")
    calibrations = {}
    with messages().status("", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        for estimator, label in zip(estimators, unique_labels(estimators), strict=True):
            status.update(f"fitting {label}")
            calibrations[label] = calibration(Recommender.fit(estimator, split.train, seed=seed), split)
    if plot is not None:
        [(label, result)] = calibrations.items()
        _write_plot(label, result, split, plot)
    if as_json:
        models = [{"model": label, **result.as_dict()} for label, result in calibrations.items()]
        sizes = {"train": len(split.train), "test": len(split.test)}
        show_json({"split": split.description, "models": models, **sizes, "plot": plot})
        return
    out = results()
    show_calibration(out, calibrations, split)
    if plot is not None:
        out.print(f"\nwrote the plot to {printable(plot)}", soft_wrap=True)


def show_calibration(out: Console, calibrations: Mapping[str, Calibration], split: Split) -> None:
    """Print calibrations as tables at most 80 characters wide: scores, and interval coverage by group.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    calibrations : mapping of str to Calibration
        Calibration of each model.
    split : Split
        Split on which the calibrations were measured.
    """
    sizes = f"{len(split.train):,} training and {len(split.test):,} test rows"
    out.print(f"Split: {split.description}: {sizes}", soft_wrap=True)
    columns = ("RMSE", "log-likelihood", "one width", "CRPS", "one width")
    output_table = table("model", *((column, "right") for column in columns))
    for label, c in calibrations.items():
        numbers = (c.rmse, c.log_likelihood, c.constant_log_likelihood, c.crps, c.constant_crps)
        output_table.add_row(label, *("-" if isnan(number) else f"{number:.4f}" for number in numbers))
    out.print(output_table)
    for label, result in calibrations.items():
        out.print(
            f"{label}: {_format_percent(result.share_below)} % of the ratings are below the 2.5 % quantile of their "
            f"distribution, {_format_percent(result.share_above)} % above the 97.5 % quantile"
        )
        interval_names = [
            name.removeprefix("covered ") for name in result.coverage.columns if name.startswith("covered ")
        ]
        for interval in interval_names:
            _show_coverage(out, label, result.coverage, interval)
    out.print(CALIBRATION_LEGEND)


def _show_coverage(out: Console, label: str, coverage: pl.DataFrame, interval: str) -> None:
    """Print the coverage of one interval, for all ratings and by quartile of each group."""
    import polars as pl

    cells = coverage.select("group", covered=f"covered {interval}", expected=f"expected {interval}")
    overall = cells.row(0, named=True)
    out.print(
        f"{label}: {interval} intervals contain {_format_percent(overall['covered'])} % of the ratings,", style="bold"
    )
    out.print(f"{_format_percent(overall['expected'])} % expected; by quartile, actual / expected, in %", style="bold")
    output_table = table("quartiles of", *((quartile, "right") for quartile in QUARTILES))
    for group in cells["group"].unique(maintain_order=True)[1:]:
        rows = cells.filter(pl.col("group") == group).select("covered", "expected").rows()
        output_table.add_row(group, *(" / ".join(map(_format_percent, row)) for row in rows))
    out.print(output_table)


def _format_percent(fraction: float | None) -> str:
    return "-" if fraction is None or isnan(fraction) else f"{100 * fraction:.1f}"


def _write_plot(label: str, result: Calibration, split: Split, path: str) -> None:
    """Write the reliability plot as a self-contained page; raise DataError if there are no levels, or OSError."""
    from cofactor.files import write_atomically
    from cofactor.plots import reliability_plot, self_contained_html

    title = f"{label} on {split.description}"
    page = self_contained_html(reliability_plot(result.reliability, title=title), title=title)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
