"""`cofactor tune`: search the settings of a model on a validation part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.estimator_options import in_words, number_text
from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    ExcludeName,
    Json,
    Seed,
    Settings,
    SplitName,
    TestShare,
    check_exclude,
    check_split,
    parted,
    share,
    whole_number,
)
from cofactor.cli.terminal import messages, printable, results, show_json, table
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from cofactor.estimators import Estimator
    from cofactor.evaluate.tuning import Trial, TuningResult

__all__ = ["tune"]


@reads_table
def tune(
    source: Source,
    *,
    model: Annotated[
        str, Option("--model", "-m", metavar="NAME", help="Name of the model; see `cofactor models`.")
    ] = "biased-mf",
    trials: Annotated[
        int, Option(metavar="N", parser=whole_number, help="Total number of sets of settings to try.")
    ] = 50,
    storage: Annotated[
        str | None, Option(metavar="FILE", help="Store the trials in this file (SQLite), to resume later.")
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="FILE", help="Write the best settings to this file, as JSON.")
    ] = None,
    settings: Settings = None,
    validation: Annotated[
        float, Option(metavar="SHARE", parser=share, help="Share of the training rows to validate on.")
    ] = 0.2,
    split: SplitName = "random",
    test: TestShare = None,
    exclude: ExcludeName = None,
    k: Annotated[
        int, Option("--k", "-k", metavar="K", parser=whole_number, help="Length of lists (models of events).")
    ] = 10,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search for good settings of a model: try many on a part of the training rows, and test the best set once.

    Settings given with --set stay fixed. The test rows are used only at the end. With --storage, the same command
    resumes where it was interrupted. Needs optuna: pip install "cofactor[tune]".
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.cli.side_tables import check_output
    from cofactor.evaluate.tuning import tune as tune_model

    estimator = estimator_of(model, settings or ())
    fixed = [setting.partition("=")[0].rpartition(".")[2].strip() for setting in settings or ()]
    check_output(output, endings=(), inputs=source.files)
    source.suits([estimator])
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    parts = parted(source.read(), split, test, seed)
    console = messages()
    with console.status(f"trial 1 of {trials}", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        search = tune_model(
            estimator, parts, trials=trials, fixed=fixed, storage=storage, validation=validation, k=k, seed=seed,
            exclude=excluded,
            on_trial=lambda trial: status.update(_progress(trial, trials)),
        )  # fmt: skip
    if output is not None:
        _write(search.estimator, output)
    if as_json:
        show_json({**search.as_dict(), "train": len(parts.train), "test_rows": len(parts.test), "output": output})
        return
    _show(search, estimator, fixed)
    out = results()
    if output is not None:
        out.print(f"wrote the best settings to {printable(output)}", soft_wrap=True)
    out.print(f"\nNext: {_next_command(source, search.estimator, seed)}", soft_wrap=True)


def _progress(trial: Trial, trials: int) -> str:
    value = "diverged" if isnan(trial.value) else f"{trial.value:.4f}"
    return f"trial {trial.number + 1} of {trials}: {value}"


def _write(estimator: Estimator, output: str) -> None:
    from cofactor.files import write_atomically

    write_atomically(output, lambda temporary: temporary.write_text(estimator.to_json() + "\n", encoding="utf-8"))


def _show(search: TuningResult, initial: Estimator, fixed: Sequence[str]) -> None:
    """Print the search space, the best settings, and the scores of the initial and the best settings."""
    from cofactor.evaluate.search_space import search_space
    from cofactor.metrics.registry import metric_named

    out = results()
    name = metric_named(search.metric).title
    n_failed = sum(trial.error is not None for trial in search.trials)
    resumed = f", {search.resumed} of them from earlier runs" if search.resumed else ""
    out.print(f"Split: {search.description}; validation: {search.validation_description}", soft_wrap=True)
    out.print(f"{len(search.trials)} trials{resumed}{f', {n_failed} failed' if n_failed else ''}", soft_wrap=True)
    shown = table("setting", ("range", "right"), ("initial", "right"), ("best", "right"))
    for setting, bounds in search_space(initial, fixed=fixed).items():
        values = (in_words(getattr(estimator, setting)) for estimator in (initial, search.estimator))
        shown.add_row(setting, f"{bounds.low:g} to {bounds.high:g}", *values)
    out.print(shown)
    first = search.trials[0].value
    initial_score = "" if isnan(first) else f"; initial {first:.4f}"
    out.print(f"validation {name} {search.validation:.4f}{initial_score}")
    value, low, high = search.test.metrics[search.metric]
    interval = " (no interval)" if isnan(low) else f" ({low:.4f} to {high:.4f}, 95 % over users)"
    out.print(f"test {name} {value:.4f}{interval}, fitted to all training rows")


def _next_command(source: Source, best: Estimator, seed: int) -> str:
    """Return the command that fits this estimator to the whole table."""
    defaults = type(best)()
    changed = {
        spec.name: getattr(best, spec.name)
        for spec in fields(best)
        if getattr(best, spec.name) != getattr(defaults, spec.name)
    }
    settings: list[str] = []
    for name, value in changed.items():
        settings += ["--set", f"{name}={number_text(value) if isinstance(value, float) else in_words(value)}"]
    seed_option = ["--seed", seed] if seed else []
    file = as_path(source.ratings)
    return command("fit", file, "-o", "my.cofactor", "--model", best.name, *source.arguments(), *settings, *seed_option)
