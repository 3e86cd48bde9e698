"""`cofactor tune`: the settings of one model that do best on a part of one's own data."""

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
    from cofactor.evaluate.tuning import Trial, Tuned

__all__ = ["tune"]


@reads_table
def tune(
    source: Source,
    *,
    model: Annotated[
        str, Option("--model", "-m", metavar="NAME", help="Which model, see `cofactor models`.")
    ] = "biased-mf",
    trials: Annotated[
        int, Option(metavar="N", parser=whole_number, help="How many sets of settings to try, in all.")
    ] = 50,
    storage: Annotated[
        str | None, Option(metavar="FILE", help="Keep every trial here (SQLite), to go on later.")
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="FILE", help="Write the best settings here, as JSON.")
    ] = None,
    settings: Settings = None,
    validation: Annotated[
        float, Option(metavar="SHARE", parser=share, help="Share of the training rows to choose by.")
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
    """Find good settings for a model: many are tried on a part of the training rows, the best is tested once.

    Settings given by --set are held. The rows to test on are looked at only at the end. With --storage, the same
    command goes on where it was interrupted. Needs optuna: pip install "cofactor[tune]".
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.cli.side_tables import check_output
    from cofactor.evaluate.tuning import tune as tuned

    estimator = estimator_of(model, settings or ())
    held = [setting.partition("=")[0].rpartition(".")[2].strip() for setting in settings or ()]
    check_output(output, endings=(), inputs=source.files)
    source.suits([estimator])
    check_split(split, test)
    excluded = check_exclude(exclude, source.kind)
    parts = parted(source.read(), split, test, seed)
    console = messages()
    with console.status(f"trial 1 of {trials}", spinner="dots") as status:  # nothing where stderr is no terminal
        found = tuned(
            estimator, parts, trials=trials, fixed=held, storage=storage, validation=validation, k=k, seed=seed,
            exclude=excluded,
            on_trial=lambda trial: status.update(_progress(trial, trials)),
        )  # fmt: skip
    if output is not None:
        _write(found.estimator, output)
    if as_json:
        show_json({**found.as_dict(), "train": len(parts.train), "test_rows": len(parts.test), "output": output})
        return
    _show(found, estimator, held)
    out = results()
    if output is not None:
        out.print(f"the best settings are in {printable(output)}", soft_wrap=True)
    out.print(f"\nNext: {_next_command(source, found.estimator, seed)}", soft_wrap=True)


def _progress(trial: Trial, trials: int) -> str:
    value = "diverged" if isnan(trial.value) else f"{trial.value:.4f}"
    return f"trial {trial.number + 1} of {trials}: {value}"


def _write(estimator: Estimator, output: str) -> None:
    from cofactor.files import write_whole

    write_whole(output, lambda temporary: temporary.write_text(estimator.to_json() + "\n", encoding="utf-8"))


def _show(found: Tuned, given: Estimator, held: Sequence[str]) -> None:
    from cofactor.evaluate.search_space import search_space

    out = results()
    name = found.metric.replace("rmse", "RMSE").replace("ndcg", "NDCG")
    failed = sum(trial.error is not None for trial in found.trials)
    before = f", {found.resumed} of them from before" if found.resumed else ""
    out.print(f"Split: {found.description}; validation: {found.validation_description}", soft_wrap=True)
    out.print(f"{len(found.trials)} trials{before}{f', {failed} failed' if failed else ''}", soft_wrap=True)
    shown = table("setting", ("searched", "right"), ("given", "right"), ("best", "right"))
    for setting, one in search_space(given, fixed=held).items():
        values = (in_words(getattr(estimator, setting)) for estimator in (given, found.estimator))
        shown.add_row(setting, f"{one.low:g} to {one.high:g}", *values)
    out.print(shown)
    first = found.trials[0].value
    was = "" if isnan(first) else f"; as given {first:.4f}"
    out.print(f"validation {name} {found.validation:.4f}{was}")
    value, low, high = found.test.metrics[found.metric]
    interval = " (no interval)" if isnan(low) else f" ({low:.4f} to {high:.4f}, 95 % over users)"
    out.print(f"test {name} {value:.4f}{interval}, learnt from all training rows")


def _next_command(source: Source, best: Estimator, seed: int) -> str:
    """The command that fits this estimator on the whole table."""
    given = [(spec.name, getattr(best, spec.name)) for spec in fields(best)]
    chosen = [
        f"{name}={number_text(value) if isinstance(value, float) else in_words(value)}"
        for name, value in given
        if value != getattr(type(best)(), name)
    ]
    settings = [word for setting in chosen for word in ("--set", setting)]
    seeded = ["--seed", seed] if seed else []
    file = as_path(source.ratings)
    return command("fit", file, "-o", "my.cofactor", "--model", best.name, *source.arguments(), *settings, *seeded)
