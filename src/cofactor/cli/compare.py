"""`cofactor compare`: all ways to learn side by side on one's own data, and whether the differences are luck."""

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

    from cofactor.evaluate.comparison import Compared, Comparison
    from cofactor.evaluate.split import Split
    from cofactor.metrics.intervals import Interval

__all__ = ["compare", "show_comparison"]

HEADS = {"rmse": "RMSE", "ndcg": "NDCG"}
ROLES = {"asked": "", "baseline": "\n  baseline", "tuned rival": "\n  tuned"}
LEGEND = (
    "Below a number stands its 95 % interval over users. `versus best`: a paired test over users, Holm-corrected for "
    "all models, and the difference with its 95 % interval. Memory: the peak of the fit beyond what was there before. "
    "Fits are timed after a first one that compiles."
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
            help="What is compared; it follows from the table.",
        ),
    ] = None,
    split: SplitName = "random",
    test: TestShare = None,
    exclude: ExcludeName = None,
    k: Annotated[
        list[int] | None,
        Option("--k", "-k", metavar="K", parser=whole_number, help="Length of lists [10]; the first decides."),
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare all models, or some (--model), on rows they have not seen, and say which differences are noise.

    The baseline and a strong model, tuned on a part of the training rows, are always there. Ratings are compared by
    RMSE; events (--events or --min-rating) by NDCG of full rankings; the two are never mixed.
    """
    from cofactor.cli.estimator_options import estimators_of
    from cofactor.evaluate.comparison import compare as compared
    from cofactor.evaluate.comparison import known_task

    names = model or _all_of(source.kind)
    estimators = estimators_of(names, settings or ())
    source.suits(estimators)
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    meant = known_task(task, source.kind)
    parts = parted(source.read(), split, test, seed)
    console = messages()
    with console.status("", spinner="dots") as status:  # nothing where stderr is no terminal
        found = compared(
            estimators, parts, task=meant, ks=tuple(k or (10,)), seed=seed, exclude=excluded,
            on_fit=lambda name: status.update(f"learning {name}"),
        )  # fmt: skip
    for label, reason in found.failed:
        note(f"{label} is left out: {reason}")
    if as_json:
        show_json({**found.as_dict(), "train": len(parts.train), "test": len(parts.test)})
        return
    show_comparison(results(), found, parts)


def _all_of(kind: str) -> list[str]:
    from cofactor.estimators import REGISTRY

    return [name for name, estimator in REGISTRY.items() if estimator.kind in ("any", kind)]


def show_comparison(out: Console, found: Comparison, split: Split) -> None:
    """One table of at most 80 columns, best model first."""
    out.print(
        f"Split: {found.description}: {len(split.train):,} to learn from, {len(split.test):,} to test", soft_wrap=True
    )
    name, at, k = found.metric.partition("@")
    head, digits = f"{HEADS[name]}{at}{k}", 4 if name == "rmse" else 3
    shown = table("model", (head, "right"), ("fit", "right"), ("memory", "right"), "versus best")
    for one in found.models:
        shown.add_row(
            f"{one.score.label.removesuffix(' (tuned)')}{ROLES[one.role]}",
            _number(one, found.metric, digits),
            f"{one.score.fit_seconds:.2f} s",
            "-" if one.score.fit_bytes is None else f"{one.score.fit_bytes / 1e6:,.0f} MB",
            f"{one.versus_best}{_difference(one, digits)}",
        )
    out.print(shown)
    for one in found.models:
        if one.role == "tuned rival":
            out.print(f"{one.score.label}: {_tuned_settings(one)}, tuned on a part of the training rows.\n")
    out.print(LEGEND)
    if any(isnan(ends.low) and not isnan(ends.mean) for ends in _intervals(found)):
        from cofactor.metrics.intervals import NO_INTERVAL

        out.print(NO_INTERVAL)


def _intervals(found: Comparison) -> Iterator[Interval]:
    for one in found.models:
        yield one.score.metrics[found.metric]
        yield one.difference


def _number(one: Compared, metric: str, digits: int) -> str:
    value, low, high = one.score.metrics[metric]
    if isnan(value):
        return "-"
    interval = "\nno interval" if isnan(low) else f"\n{low:.{digits}f}-{high:.{digits}f}"
    return f"{value:.{digits}f}{interval}"


def _difference(one: Compared, digits: int) -> str:
    gap = one.difference
    if isnan(gap.mean):
        return ""
    ends = " (no interval)" if isnan(gap.low) else f" ({gap.low:+.{digits}f} to {gap.high:+.{digits}f})"
    return f"\n{gap.mean:+.{digits}f}{ends}"


def _tuned_settings(one: Compared) -> str:
    from cofactor.cli.estimator_options import in_words
    from cofactor.evaluate.tuned_baseline import RIVALS

    grids = {name: grid for models in RIVALS.values() for name, grid in models.items()}
    return ", ".join(f"{name}={in_words(getattr(one.estimator, name))}" for name in grids[one.estimator.name])
