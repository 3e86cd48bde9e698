"""`cofactor fit`: fit a model to a table and save it to a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.estimator_options import format_number
from cofactor.cli.fit_on_spark import SparkFit, fit_on_spark
from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import (
    Engine,
    HalfLife,
    Json,
    Master,
    RatingModel,
    Seed,
    Settings,
    SparkSettings,
    check_spark_options,
    choice,
    fraction,
    number,
    whole_number,
)
from cofactor.cli.show import best_trials, describe_estimator, show_trials
from cofactor.cli.terminal import epoch_progress, messages, note, printable, results, show_json
from cofactor.errors import ParameterError
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions, Kind
    from cofactor.estimators import Epoch, Estimator
    from cofactor.estimators.training import EpochCallback
    from cofactor.recommender.recommender import Recommender

__all__ = ["fit"]

DEFAULT_BUDGET = 60.0
"""Time budget in seconds for the choice of a model."""


@reads_table
def fit(
    source: Source,
    *,
    output: Annotated[str, Option("--output", "-o", metavar="MODEL", help="File to save the model in.")],
    model: Annotated[
        str | None,
        Option("--model", "-m", metavar="NAME", help="Name of the model; see `cofactor models`. Automatic if omitted."),
    ] = None,
    rating_model: RatingModel = None,
    goal: Annotated[
        str | None,
        Option(metavar="GOAL", help="Without --model: choose a model for recommend (the default) or predict."),
    ] = None,
    budget: Annotated[
        float | None,
        Option(metavar="SECONDS", parser=number(low=0), help="Without --model: time budget, 60 by default."),
    ] = None,
    trials: Annotated[
        int | None,
        Option(metavar="N", parser=whole_number, help="Without --model: number of trials instead of a time budget."),
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    validation: Annotated[
        float | None,
        Option(metavar="FRACTION", parser=fraction, help="Fraction of rows to hold out for early stopping."),
    ] = None,
    item_features: Annotated[
        str | None,
        Option(metavar="COLUMNS", help="Columns of the item table that describe new items, such as genres,year."),
    ] = None,
    user_features: Annotated[
        str | None,
        Option(metavar="COLUMNS", help="Columns of the user table that describe new users."),
    ] = None,
    priors: Annotated[bool, Option(help="Learn priors for new users and items, if the model supports them.")] = True,
    half_life: HalfLife = None,
    target_type: Annotated[
        str | None,
        Option(
            metavar="TYPE",
            help="With --event-type: learn the weights of the types that predict held-out events of this type best.",
        ),
    ] = None,
    engine: Engine = "local",
    master: Master = None,
    spark: SparkSettings = None,
    method: Annotated[
        str | None,
        Option(
            metavar="half-steps|mllib",
            parser=choice("half-steps", "mllib"),
            help="With --engine spark: how to fit; chosen by the size of the model if omitted.",
            rich_help_panel="Apache Spark",
        ),
    ] = None,
    work: Annotated[
        str | None,
        Option(
            metavar="FOLDER",
            help="With --engine spark: folder that all machines share; needed unless the master is local.",
            rich_help_panel="Apache Spark",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a model to a table of ratings or events and save it.

    Without --model, several models are tried on held-out rows within a time budget, and the best one is fitted to all
    rows; `cofactor show` lists what was tried.

    By default, the table contains ratings. Models of events (implicit-als, popularity) require one of two options:
    --events for clicks, plays and purchases, or --min-rating 4 to treat ratings of 4 and up as likes.

    With --rating-model, two models are fitted to a table of ratings: --model, a model of events, ranks the items, and
    --rating-model predicts the ratings.

    With --engine spark, explicit-als and implicit-als are fitted on Apache Spark, which reads RATINGS (Parquet, text
    files, or a database as jdbc:...) in place.
    """
    from cofactor.cli.side_tables import check_model_output

    spark_options = {"--master": master, "--spark": spark, "--method": method, "--work": work}
    check_spark_options(engine, spark_options)
    if engine == "spark":
        unsupported = {
            "--rating-model": rating_model, "--goal": goal, "--budget": budget, "--trials": trials,
            "--validation": validation, "--item-features": item_features, "--user-features": user_features,
            "--half-life": half_life, "--target-type": target_type,
        }  # fmt: skip
        fit_on_spark(SparkFit(source, output, model, settings, seed, master, spark, method, work), unsupported, as_json)
        return

    start = time.perf_counter()
    model = "implicit-als" if model is None and rating_model is not None else model
    _check_combination(
        model, goal, budget, trials, {"--set": settings, "--counts": source.counts, "--validation": validation}
    )
    source, estimator, min_rating = _estimator_of(source, model, rating_model, settings, goal)
    check_model_output(output, inputs=source.files)
    table = _training_table(source, target_type, estimator, seed, half_life)
    if estimator is not None:
        start = time.perf_counter()
    name = f"{model} and {rating_model}" if rating_model else model
    with _recorded_epochs(name or "selection") as (epochs, callback):
        if estimator is None:
            recommender = _select(table, goal or "recommend", budget, trials, min_rating, seed, callback)
        else:
            recommender = _fit(estimator, table, seed=seed, validation=validation, callback=callback)
    features = [_split_names(option) for option in (user_features, item_features)]
    recommender = _with_priors(recommender, *features, default=priors, seed=seed)
    seconds = time.perf_counter() - start
    recommender.save(output)
    if as_json:
        show_json(_facts(output, recommender, table, epochs, seconds))
        return
    _show_fit(recommender, table, name, seconds)
    _show_epochs(epochs, None if rating_model else table.kind)
    _show_model_file(output, recommender, table, [*features[0], *features[1]])


def _estimator_of(
    source: Source, model: str | None, rating_model: str | None, settings: list[str] | None, goal: str | None
) -> tuple[Source, Estimator | None, float | None]:
    """Return the source, the estimator, and the lowest liked rating if a ranker is to be chosen for ratings.

    The estimator is None if it is to be chosen automatically.
    """
    if model is not None:
        source, (estimator,) = source.estimators([model], source.settings(settings), rating_model)
        return source, estimator, None
    if goal != "predict" and not source.gain:  # the table contains ratings, of which the liked ones are ranked
        return replace(source, min_rating=None), None, source.min_rating
    return source, None, None


def _training_table(
    source: Source, target_type: str | None, estimator: Estimator | None, seed: int, half_life: float | None
) -> Interactions:
    """Read the table; if requested, learn event-type weights and decay the weights of old rows."""
    if target_type is not None and (source.event_type is None or source.type_weights is not None):
        raise ParameterError("--target-type requires --event-type, and cannot be combined with --type-weights")
    table = source.read(
        None if target_type is None else lambda tables: _learned_weights(tables, target_type, estimator, seed)
    )
    return table if half_life is None else table.decayed(half_life=half_life)


@contextmanager
def _recorded_epochs(name: str) -> Iterator[tuple[list[Epoch], EpochCallback]]:
    """Return an empty list of epochs, and a callback that appends each epoch and shows the progress."""
    epochs: list[Epoch] = []
    with epoch_progress(name) as show_progress:

        def callback(epoch: Epoch) -> None:
            if not isnan(epoch.loss):  # not a part of a closed form
                epochs.append(epoch)
            show_progress(epoch)

        yield epochs, callback


def _with_priors(
    recommender: Recommender, user_features: list[str], item_features: list[str], *, default: bool, seed: int
) -> Recommender:
    """Return the recommender with priors from the features, with the default priors, or without priors."""
    from cofactor.models.prior import Priors

    if user_features or item_features:
        return recommender.with_priors(user_features=user_features, item_features=item_features, seed=seed)
    return recommender.ensure_priors(seed=seed) if default else replace(recommender, priors=Priors())


def _show_fit(recommender: Recommender, table: Interactions, name: str | None, seconds: float) -> None:
    """Print what was fitted, and the trials if the model was chosen (`name` is None)."""
    out = results()
    sizes = f"{len(table):,} {table.kind} ({table.n_users:,} users x {table.n_items:,} items)"
    if name is None:
        assert recommender.estimator is not None
        show_trials(out, best_trials(recommender.trials))
        name = describe_estimator(recommender.estimator)
    out.print(f"fitted {name} to {sizes} in {seconds:.1f} s", soft_wrap=True)


def _show_epochs(epochs: list[Epoch], kind: Kind | None) -> None:
    """Print the losses of each run, and its validation score unless `kind` is None."""
    for run in _epochs_by_fit(epochs):
        losses = f"loss {run[0].loss:.4f} to {run[-1].loss:.4f}"
        summary = "" if kind is None else _validation_summary(run, kind)
        results().print(f"{len(run)} epochs, {losses}{summary}", soft_wrap=True)


def _show_model_file(output: str, recommender: Recommender, table: Interactions, features: list[str]) -> None:
    """Print the priors, the model file and its size, and the next command."""
    out = results()
    if recommender.priors is not None and not recommender.priors.is_empty:
        new_entities = "users and items" if recommender.priors.user_prior is not None else "items"
        out.print(f"new {new_entities} start from {', '.join(features) or 'the average taste'}", soft_wrap=True)
    out.print(f"saved in {printable(output)} ({Path(output).stat().st_size:,} bytes)", soft_wrap=True)
    first_user = table.users.id_at(0)
    out.print(f"\nNext: {command('recommend', as_path(output), '--user', first_user)}", soft_wrap=True)


def _learned_weights(
    tables: dict[str, Interactions], target_type: str, estimator: Estimator | None, seed: int
) -> dict[str, float]:
    """Learn, print and return the event-type weights that best predict held-out events of the target type."""
    from cofactor.evaluate import learn_type_weights

    with messages().status("", spinner="dots") as status:
        learned = learn_type_weights(
            tables, target=target_type, estimator=estimator, seed=seed,
            on_trial=lambda weights, value: status.update(f"{_joined(weights)}: {value:.4f}"),
        )  # fmt: skip
    note(
        f"weights of the event types: {_joined(learned.weights)}; NDCG@10 of held-out {target_type} events "
        f"{learned.value:.4f}, {learned.target_only:.4f} without the other types"
    )
    return learned.weights


def _joined(weights: Mapping[str, float]) -> str:
    return ",".join(f"{name}={format_number(weight)}" for name, weight in weights.items())


def _fit(
    estimator: Estimator, table: Interactions, *, seed: int, validation: float | None, callback: EpochCallback
) -> Recommender:
    """Fit the estimator without the validation rows, if there are any; the histories always contain all rows."""
    from cofactor.evaluate import split_per_user, split_random
    from cofactor.recommender.recommender import Recommender
    from cofactor.recommender.updating import model_histories

    if validation is None:
        return Recommender.fit(estimator, table, seed=seed, callback=callback)
    estimator.check_table(table)
    split_rows = split_random if table.kind == "ratings" else split_per_user
    split = split_rows(table, test=validation, seed=seed)
    recommender = Recommender.fit(estimator, split.train, seed=seed, validation=split.test, callback=callback)
    return replace(recommender, histories=model_histories(recommender.model, table))


def _epochs_by_fit(epochs: list[Epoch]) -> list[list[Epoch]]:
    """Split the epochs by fit; a ranker and a rating model are fitted separately."""
    runs: list[list[Epoch]] = []
    for epoch in epochs:
        if not runs or epoch.number <= runs[-1][-1].number:
            runs.append([])
        runs[-1].append(epoch)
    return runs


def _check_combination(
    model: str | None,
    goal: str | None,
    budget: float | None,
    trials: int | None,
    model_options: Mapping[str, Any],
) -> None:
    """Raise ParameterError if options for a given model are combined with options for choosing a model."""
    if model is None:
        for option, value in model_options.items():
            if value:
                raise ParameterError(
                    f"{option} requires --model NAME; without it, the model and its settings are chosen automatically"
                )
        if budget is not None and trials is not None:
            raise ParameterError("--budget cannot be combined with --trials")
        if goal not in (None, "recommend", "predict"):
            raise ParameterError(f"--goal must be recommend or predict, not {goal!r}")
        return
    for option, value in (("--goal", goal), ("--budget", budget), ("--trials", trials)):
        if value is not None:
            raise ParameterError(f"{option} cannot be combined with --model: it applies only to automatic selection")


def _select(
    table: Interactions,
    goal: Any,
    budget: float | None,
    trials: int | None,
    min_rating: float | None,
    seed: int,
    callback: EpochCallback,
) -> Recommender:
    """Choose and fit a model, showing the latest trial in a status line."""
    from cofactor.evaluate.selection import fit as select_and_fit

    with messages().status("trial 1", spinner="dots") as status:  # shows nothing if stderr is not a terminal
        return select_and_fit(
            table, goal=goal, budget=DEFAULT_BUDGET if budget is None else budget, trials=trials, min_rating=min_rating,
            seed=seed, callback=callback,
            on_trial=lambda trial: status.update(
                f"{trial.estimator}: {'not scored' if trial.value is None else f'{trial.metric} {trial.value:.4f}'}"
            ),
        )  # fmt: skip


def _split_names(columns: str | None) -> list[str]:
    return [name.strip() for name in (columns or "").split(",") if name.strip()]


def _validation_summary(epochs: list[Epoch], kind: Kind) -> str:
    scores = [epoch.validation for epoch in epochs if epoch.validation is not None]
    if not scores:
        return ""
    from cofactor.metrics.registry import validation_metric

    metric = validation_metric(kind)
    best_score = min(scores, key=metric.sort_key)
    return f", best validation {metric.title} {best_score:.4f} (epoch {scores.index(best_score) + 1})"


def _facts(
    output: str, recommender: Recommender, table: Interactions, epochs: list[Epoch], seconds: float
) -> dict[str, Any]:
    assert recommender.estimator is not None
    settings = recommender.estimator.to_dict()
    return {
        "model": output,
        "estimator": {"model": settings.pop("estimator"), **settings},
        "trials": [asdict(trial) for trial in recommender.trials],
        "kind": table.kind,
        "rows": len(table),
        "users": table.n_users,
        "items": table.n_items,
        "priors": recommender.priors is not None and not recommender.priors.is_empty,
        "seconds": round(seconds, 4),
        "epochs": [asdict(epoch) for epoch in epochs],
        "load": None if table.report is None else table.report.as_dict(),
    }
