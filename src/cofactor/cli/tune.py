"""`cofactor tune`: search for the best hyperparameters of a model on a validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import Option

from cofactor.cli.estimator_options import format_number, format_setting
from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    ExcludeName,
    HalfLife,
    Json,
    Seed,
    Settings,
    SplitName,
    TestSize,
    check_exclude,
    check_split,
    fraction,
    split_table,
    whole_number,
)
from cofactor.cli.terminal import messages, printable, results, show_json, table
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from cofactor.data.interactions import Kind
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
    trials: Annotated[int, Option(metavar="N", parser=whole_number, help="Total number of trials.")] = 50,
    storage: Annotated[
        str | None, Option(metavar="FILE", help="SQLite file to store the trials in, to resume later.")
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="FILE", help="JSON file to write the best hyperparameters to.")
    ] = None,
    settings: Settings = None,
    validation: Annotated[
        float,
        Option(metavar="FRACTION", parser=fraction, help="Fraction of training rows to use for validation."),
    ] = 0.2,
    split: SplitName = "random",
    test: TestSize = None,
    exclude: ExcludeName = None,
    half_life: HalfLife = None,
    k: Annotated[int, Option("--k", "-k", metavar="K", parser=whole_number, help="List length (event models).")] = 10,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search for the best hyperparameters of a model on a validation set, and evaluate them once on the test set.

    Hyperparameters specified with --set are held fixed. The test set is used only at the end. With --storage, the same
    command resumes an interrupted search. Requires optuna: pip install "cofactor[tune]".
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.cli.side_tables import check_output
    from cofactor.evaluate.tuning import tune as tune_model

    estimator = estimator_of(model, source.settings(settings))
    fixed = [setting.partition("=")[0].rpartition(".")[2].strip() for setting in settings or ()]
    check_output(output, suffixes=(), inputs=source.files)
    source.check_estimators([estimator])
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    data_split = split_table(source.read(), split, test, seed, half_life=half_life)
    console = messages()
    with console.status(f"trial 1 of {trials}", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        result = tune_model(
            estimator, data_split, trials=trials, fixed=fixed, storage=storage, validation=validation, k=k, seed=seed,
            exclude=excluded,
            on_trial=lambda trial: status.update(_format_progress(trial, trials)),
        )  # fmt: skip
    if output is not None:
        _write_estimator(result.estimator, output)
    if as_json:
        show_json(
            {**result.as_dict(), "train": len(data_split.train), "test_rows": len(data_split.test), "output": output}
        )
        return
    _show(result, estimator, fixed, data_split.train.kind)
    out = results()
    if output is not None:
        out.print(f"wrote the best hyperparameters to {printable(output)}", soft_wrap=True)
    out.print(f"\nNext: {_next_command(source, result.estimator, seed, half_life)}", soft_wrap=True)


def _format_progress(trial: Trial, trials: int) -> str:
    value = "diverged" if isnan(trial.value) else f"{trial.value:.4f}"
    return f"trial {trial.number + 1} of {trials}: {value}"


def _write_estimator(estimator: Estimator, output: str) -> None:
    from cofactor.files import write_atomically

    write_atomically(output, lambda path: path.write_text(estimator.to_json() + "\n", encoding="utf-8"))


def _show(result: TuningResult, initial_estimator: Estimator, fixed_names: Sequence[str], kind: Kind) -> None:
    """Print the search space, and the initial and best hyperparameters with their scores."""
    from cofactor.evaluate.search_space import search_space
    from cofactor.metrics.registry import metric_named

    out = results()
    name = metric_named(result.metric).title
    n_failed = sum(trial.error is not None for trial in result.trials)
    resumed_note = f", {result.resumed} of them from earlier runs" if result.resumed else ""
    out.print(f"Split: {result.description}; validation: {result.validation_description}", soft_wrap=True)
    out.print(f"{len(result.trials)} trials{resumed_note}{f', {n_failed} failed' if n_failed else ''}", soft_wrap=True)
    output_table = table("hyperparameter", ("range", "right"), ("initial", "right"), ("best", "right"))
    for setting, bounds in search_space(initial_estimator, fixed=fixed_names, kind=kind).items():
        values = (format_setting(getattr(estimator, setting)) for estimator in (initial_estimator, result.estimator))
        output_table.add_row(setting, f"{bounds.low:g} to {bounds.high:g}", *values)
    out.print(output_table)
    initial_value = result.trials[0].value
    initial_score = "" if isnan(initial_value) else f"; initial {initial_value:.4f}"
    out.print(f"validation {name} {result.validation:.4f}{initial_score}")
    value, low, high = result.test.metrics[result.metric]
    interval = " (no interval)" if isnan(low) else f" ({low:.4f} to {high:.4f}, 95 % over users)"
    out.print(f"test {name} {value:.4f}{interval}, trained on all training rows")


def _next_command(source: Source, estimator: Estimator, seed: int, half_life: float | None) -> str:
    """Return the command that fits the best estimator to the whole table."""
    defaults = type(estimator)()
    changed_settings = {
        spec.name: getattr(estimator, spec.name)
        for spec in fields(estimator)
        if getattr(estimator, spec.name) != getattr(defaults, spec.name)
    }
    settings: list[str] = []
    for name, value in changed_settings.items():
        settings += ["--set", f"{name}={format_number(value) if isinstance(value, float) else format_setting(value)}"]
    seed_option = ["--seed", seed] if seed else []
    half_life_option = [] if half_life is None else ["--half-life", format_number(half_life)]
    table_path = as_path(source.ratings)
    return command(
        "fit",
        table_path,
        "-o",
        "my.cofactor",
        "--model",
        estimator.name,
        *source.arguments(),
        *settings,
        *seed_option,
        *half_life_option,
    )
