"""`cofactor compare`: compare models on one data set, and test the differences for significance."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    ExcludeName,
    HalfLife,
    Json,
    Models,
    Seed,
    Settings,
    SplitName,
    TestSize,
    check_exclude,
    check_split,
    choice,
    split_table,
    whole_number,
)
from cofactor.cli.terminal import messages, note, results, show_json, table

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.evaluate.comparison import ComparedModel, Comparison
    from cofactor.evaluate.split import Split
    from cofactor.metrics.base import Metric
    from cofactor.metrics.intervals import Interval

__all__ = ["compare", "show_comparison"]

ROLES = {"requested": "", "baseline": "\n  baseline", "tuned baseline": "\n  tuned"}
LEGEND = (
    "Below each value: its 95 % interval over users. `versus best`: the result of paired tests over users, corrected "
    "for the number of models and the choice of the best, and the difference with its uncorrected 95 % interval. Fit "
    "times exclude compilation."
)


@reads_table
def compare(
    source: Source,
    *,
    model: Models = None,
    task: Annotated[
        str | None,
        Option(
            metavar="rating|ranking",
            parser=choice("rating", "ranking"),
            help="Task to compare the models on; the default depends on the table.",
        ),
    ] = None,
    split: SplitName = "random",
    test: TestSize = None,
    exclude: ExcludeName = None,
    half_life: HalfLife = None,
    k: Annotated[
        list[int] | None,
        Option(
            "--k",
            "-k",
            metavar="K",
            parser=whole_number,
            help="List length [10]; the first one ranks the models. Repeatable.",
        ),
    ] = None,
    settings: Settings = None,
    tuned_baseline: Annotated[
        bool, Option("--tuned-baseline", help="Also compare a baseline tuned on part of the training rows.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare all models, or those given with --model, on held-out data, and test the differences for significance.

    A simple baseline is always included, and with --tuned-baseline a baseline model tuned on part of the training rows.
    Models of ratings are compared by RMSE, models of events (--events or --min-rating) by NDCG over the full catalog.
    The two are never mixed.
    """
    from cofactor.cli.estimator_options import estimators_of
    from cofactor.evaluate.comparison import check_task
    from cofactor.evaluate.comparison import compare as compare_models

    model_names = model or _models_of_kind(source.kind)
    estimators = estimators_of(model_names, source.settings(settings))
    source.check_estimators(estimators)
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    checked_task = check_task(task, source.kind)
    data_split = split_table(source.read(), split, test, seed, half_life=half_life)
    console = messages()
    with console.status("", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        comparison = compare_models(
            estimators, data_split, task=checked_task, ks=tuple(k or (10,)), seed=seed, exclude=excluded,
            tuned_baseline=tuned_baseline, on_fit=lambda name: status.update(f"fitting {name}"),
        )  # fmt: skip
    for label, reason in comparison.failed:
        note(f"{label} is omitted: {reason}")
    if as_json:
        show_json({**comparison.as_dict(), "train": len(data_split.train), "test": len(data_split.test)})
        return
    show_comparison(results(), comparison, data_split)


def _models_of_kind(kind: str) -> list[str]:
    """Return the names of the models, excluding pairs, that can be trained on the given kind of table."""
    from cofactor.estimators import REGISTRY, PairedModels

    models = {name: estimator for name, estimator in REGISTRY.items() if estimator is not PairedModels}
    return [name for name, estimator in models.items() if estimator.kind in ("any", kind)]


def show_comparison(out: Console, comparison: Comparison, split: Split) -> None:
    """Print the comparison as a table at most 80 characters wide, best model first.

    Parameters
    ----------
    out : rich.console.Console
        Console to print to.
    comparison : Comparison
        Comparison of the models.
    split : Split
        Split on which the models were evaluated.
    """
    from cofactor.metrics.intervals import NO_INTERVAL
    from cofactor.metrics.registry import metric_named

    sizes = f"{len(split.train):,} training and {len(split.test):,} test rows"
    out.print(f"Split: {comparison.description}: {sizes}", soft_wrap=True)
    metric = metric_named(comparison.metric)
    output_table = table("model", (metric.title, "right"), ("fit", "right"), "versus best")
    for model in comparison.models:
        output_table.add_row(
            f"{model.score.label.removesuffix(' (tuned)')}{ROLES[model.role]}",
            _format_metric(model, metric),
            f"{model.score.fit_seconds:.2f} s",
            f"{model.versus_best}{_format_difference(model, metric)}",
        )
    out.print(output_table)
    for model in comparison.models:
        if model.role == "tuned baseline":
            out.print(f"{model.score.label}: {_format_tuned_settings(model)}, tuned on part of the training rows.\n")
    out.print(LEGEND)
    if comparison.tuned_baseline is None:
        out.print("No tuned baseline is included: --tuned-baseline adds one, which takes five to seven more fits.")
    if any(isnan(interval.low) and not isnan(interval.mean) for interval in _intervals(comparison)):
        out.print(NO_INTERVAL)


def _intervals(comparison: Comparison) -> Iterator[Interval]:
    for model in comparison.models:
        yield model.score.metrics[comparison.metric]
        yield model.difference


def _format_metric(model: ComparedModel, metric: Metric) -> str:
    value, low, high = model.score.metrics[metric.key]
    if isnan(value):
        return "-"
    interval = "\nno interval" if isnan(low) else f"\n{low:.{metric.digits}f}-{high:.{metric.digits}f}"
    return f"{value:.{metric.digits}f}{interval}"


def _format_difference(model: ComparedModel, metric: Metric) -> str:
    difference = model.difference
    if isnan(difference.mean):
        return ""
    low, high = (f"{end:+.{metric.digits}f}" for end in (difference.low, difference.high))
    interval = " (no interval)" if isnan(difference.low) else f" ({low} to {high})"
    return f"\n{difference.mean:+.{metric.digits}f}{interval}"


def _format_tuned_settings(model: ComparedModel) -> str:
    from cofactor.cli.estimator_options import format_setting
    from cofactor.evaluate.tuned_baseline import BASELINE_GRIDS

    grids = {name: grid for models in BASELINE_GRIDS.values() for name, grid in models.items()}
    return ", ".join(f"{name}={format_setting(getattr(model.estimator, name))}" for name in grids[model.estimator.name])
