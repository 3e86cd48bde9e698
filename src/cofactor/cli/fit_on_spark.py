"""`cofactor fit --engine spark`: fit a model on Apache Spark."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cofactor.cli.estimator_options import estimators_of
from cofactor.cli.input_options import Source, rating_levels_of
from cofactor.cli.options import spark_settings
from cofactor.cli.terminal import epoch_progress, messages, note, printable, results, show_json
from cofactor.errors import ParameterError
from cofactor.shell import as_path, command

__all__ = ["SparkFit", "fit_on_spark"]

UNSUPPORTED = ("gain", "quarantine", "event_type", "type_weights", "items", "users", "item_id", "user_id")
"""Fields of `Source` that a fit on Spark does not use."""


@dataclass(frozen=True)
class SparkFit:
    """Options of a fit on Spark.

    Attributes
    ----------
    source : Source
        Input options.
    output : str
        File to save the model in.
    model : str or None
        Name of the model.
    settings : list of str or None
        Hyperparameters as NAME=VALUE.
    seed : int
        Seed of the fit.
    master : str or None
        Master URL.
    spark : list of str or None
        Settings of Spark as NAME=VALUE.
    method : str or None
        How to fit.
    work : str or None
        Shared folder.
    """

    source: Source
    output: str
    model: str | None
    settings: list[str] | None
    seed: int
    master: str | None
    spark: list[str] | None
    method: str | None
    work: str | None


def fit_on_spark(options: SparkFit, unsupported: Mapping[str, Any], as_json: bool) -> None:
    """Fit a model on Spark, save it, and print what was done.

    Parameters
    ----------
    options : SparkFit
        Options of the command.
    unsupported : mapping of str to Any
        Other options of `cofactor fit` with their values; all must be empty.
    as_json : bool
        Whether to print JSON.
    """
    from cofactor.cluster import fit
    from cofactor.cluster.session import LOCAL_MASTER

    source = options.source
    fields = {f"--{name.replace('_', '-')}": getattr(source, name) for name in UNSUPPORTED}
    for name, value in {**fields, **unsupported}.items():
        if value:
            raise ParameterError(f"{name} cannot be combined with --engine spark")
    if source.on_error != "raise":
        raise ParameterError("--on-error quarantine cannot be combined with --engine spark")
    if options.model is None:
        raise ParameterError("--engine spark requires --model explicit-als or --model implicit-als")
    (estimator,) = estimators_of([options.model], source.settings(options.settings))
    source.check_estimators([estimator])
    levels = rating_levels_of(source.rating_levels)
    start = time.perf_counter()
    with epoch_progress(options.model) as progress, messages().status("reading", spinner="dots") as status:

        def callback(epoch: Any) -> None:
            status.stop()
            progress(epoch)

        fitted = fit(
            estimator, source.ratings, output=options.output, master=options.master or LOCAL_MASTER,
            settings=spark_settings(options.spark), method=options.method or "auto", work=options.work,
            min_rating=source.min_rating, rating_levels=levels, user=source.user, item=source.item, value=source.value,
            time=source.time, weight=source.weight, format=source.format, query=source.query, ids=source.ids,
            seed=options.seed, callback=callback,
        )  # fmt: skip
    seconds, recommender = time.perf_counter() - start, fitted.recommender
    if as_json:
        show_json({
            "model": options.output, "estimator": estimator.to_dict(), "method": fitted.method, "reason": fitted.reason,
            "kind": recommender.kind, "rows": fitted.rows, "duplicates": fitted.duplicates,
            "users": len(recommender.users), "items": len(recommender.items), "seconds": round(seconds, 4),
            "epochs": [asdict(epoch) for epoch in fitted.epochs],
        })  # fmt: skip
        return
    if fitted.duplicates:
        note(f"duplicate rows merged: {fitted.duplicates:,}")
    out, epochs = results(), fitted.epochs
    sizes = f"({len(recommender.users):,} users x {len(recommender.items):,} items)"
    out.print(
        f"fitted {options.model} to {fitted.rows:,} {recommender.kind} {sizes} in {seconds:.1f} s", soft_wrap=True
    )
    out.print(f"Spark method: {fitted.method} ({fitted.reason})", soft_wrap=True)
    if epochs:
        out.print(f"{len(epochs)} epochs, loss {epochs[0].loss:.4f} to {epochs[-1].loss:.4f}", soft_wrap=True)
    size = Path(options.output).stat().st_size
    out.print(f"saved in {printable(options.output)} ({size:,} bytes)", soft_wrap=True)
    user = recommender.users.id_at(0)
    out.print(f"\nNext: {command('recommend', as_path(options.output), '--user', user)}", soft_wrap=True)
