"""`cofactor compare`: all models side by side on one data set, with tests of the differences."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    ExcludeName,
    Json,
    Models,
    Seed,
    Settings,
    SplitName,
    TestShare,
    check_exclude,
    check_split,
    choice,
    parted,
    whole_number,
)
from cofactor.cli.terminal import messages, note, results, show_json, table

if TYPE_CHECKING:
    from rich.console import Console

    from cofactor.evaluate.comparison import ComparedModel, Comparison
    from cofactor.evaluate.split import Split
    from cofactor.metrics.intervals import Interval

__all__ = ["compare", "show_comparison"]

HEADS = {"rmse": "RMSE", "ndcg": "NDCG"}
ROLES = {"asked": "", "baseline": "\n  baseline", "tuned rival": "\n  tuned"}
LEGEND = (
    "Below each number: its 95 % interval over users. `versus best`: a paired test over users, Holm-corrected for "
    "all models, and the difference with its 95 % interval. Memory: peak of the fit above the memory used before it. "
    "Fit times do not include compilation."
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
            help="What to compare; the default depends on the table.",
        ),
    ] = None,
    split: SplitName = "random",
    test: TestShare = None,
    exclude: ExcludeName = None,
    k: Annotated[
        list[int] | None,
        Option("--k", "-k", metavar="K", parser=whole_number, help="Length of lists [10]; the first ranks the models."),
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare all models, or those of --model, on held-out rows, and test whether the differences are significant.

    The baseline and a strong model, tuned on a part of the training rows, are always included. Ratings are compared by
    RMSE, events (--events or --min-rating) by NDCG of full rankings; the two are never mixed.
    """
    from cofactor.cli.estimator_options import estimators_of
    from cofactor.evaluate.comparison import compare as compared
    from cofactor.evaluate.comparison import known_task

    names = model or _models_of(source.kind)
    estimators = estimators_of(names, settings or ())
    source.suits(estimators)
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    checked_task = known_task(task, source.kind)
    parts = parted(source.read(), split, test, seed)
    console = messages()
    with console.status("", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        comparison = compared(
            estimators, parts, task=checked_task, ks=tuple(k or (10,)), seed=seed, exclude=excluded,
            on_fit=lambda name: status.update(f"fitting {name}"),
        )  # fmt: skip
    for label, reason in comparison.failed:
        note(f"{label} is left out: {reason}")
    if as_json:
        show_json({**comparison.as_dict(), "train": len(parts.train), "test": len(parts.test)})
        return
    show_comparison(results(), comparison, parts)


def _models_of(kind: str) -> list[str]:
    """Return the names of the models that learn from this kind."""
    from cofactor.estimators import REGISTRY

    return [name for name, estimator in REGISTRY.items() if estimator.kind in ("any", kind)]


def show_comparison(out: Console, comparison: Comparison, split: Split) -> None:
    """Print the comparison as one table of at most 80 columns, best model first.

    Parameters
    ----------
    out : rich.console.Console
        Where to print.
    comparison : Comparison
        Scores of the models.
    split : Split
        The split that they were scored on.
    """
    out.print(
        f"Split: {comparison.description}: {len(split.train):,} training and {len(split.test):,} test rows",
        soft_wrap=True,
    )
    name, at, k = comparison.metric.partition("@")
    head, digits = f"{HEADS[name]}{at}{k}", 4 if name == "rmse" else 3
    shown = table("model", (head, "right"), ("fit", "right"), ("memory", "right"), "versus best")
    for model in comparison.models:
        shown.add_row(
            f"{model.score.label.removesuffix(' (tuned)')}{ROLES[model.role]}",
            _number(model, comparison.metric, digits),
            f"{model.score.fit_seconds:.2f} s",
            "-" if model.score.fit_bytes is None else f"{model.score.fit_bytes / 1e6:,.0f} MB",
            f"{model.versus_best}{_difference(model, digits)}",
        )
    out.print(shown)
    for model in comparison.models:
        if model.role == "tuned rival":
            out.print(f"{model.score.label}: {_tuned_settings(model)}, tuned on a part of the training rows.\n")
    out.print(LEGEND)
    if any(isnan(interval.low) and not isnan(interval.mean) for interval in _intervals(comparison)):
        from cofactor.metrics.intervals import NO_INTERVAL

        out.print(NO_INTERVAL)


def _intervals(comparison: Comparison) -> Iterator[Interval]:
    for model in comparison.models:
        yield model.score.metrics[comparison.metric]
        yield model.difference


def _number(model: ComparedModel, metric: str, digits: int) -> str:
    value, low, high = model.score.metrics[metric]
    if isnan(value):
        return "-"
    interval = "\nno interval" if isnan(low) else f"\n{low:.{digits}f}-{high:.{digits}f}"
    return f"{value:.{digits}f}{interval}"


def _difference(model: ComparedModel, digits: int) -> str:
    difference = model.difference
    if isnan(difference.mean):
        return ""
    low, high = (f"{end:+.{digits}f}" for end in (difference.low, difference.high))
    interval = " (no interval)" if isnan(difference.low) else f" ({low} to {high})"
    return f"\n{difference.mean:+.{digits}f}{interval}"


def _tuned_settings(model: ComparedModel) -> str:
    from cofactor.cli.estimator_options import in_words
    from cofactor.evaluate.tuned_baseline import BASELINE_GRIDS

    grids = {name: grid for models in BASELINE_GRIDS.values() for name, grid in models.items()}
    return ", ".join(f"{name}={in_words(getattr(model.estimator, name))}" for name in grids[model.estimator.name])
