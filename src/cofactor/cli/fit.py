"""`cofactor fit`: from a table to a model in a file."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Json, Seed, Settings, share
from cofactor.cli.terminal import epoch_progress, printable, results, show_json
from cofactor.shell import as_path, command

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions
    from cofactor.estimators import Epoch, Estimator
    from cofactor.estimators.base import EpochCallback
    from cofactor.recommender.recommender import Recommender

__all__ = ["fit"]


@reads_table
def fit(
    source: Source,
    *,
    output: Annotated[str, Option("--output", "-o", metavar="MODEL", help="The file to save the model in.")],
    model: Annotated[
        str, Option("--model", "-m", metavar="NAME", help="Which model, see `cofactor models`.")
    ] = "biased-mf",
    settings: Settings = None,
    seed: Seed = 0,
    validation: Annotated[
        float | None,
        Option(metavar="SHARE", parser=share, help="A share of rows to hold out, to stop when they gain no more."),
    ] = None,
    item_features: Annotated[
        str | None,
        Option(metavar="COLUMNS", help="Columns of the item table, as genres,year, that say what a new item is like."),
    ] = None,
    user_features: Annotated[
        str | None,
        Option(metavar="COLUMNS", help="Columns of the user table that say what a new user is like."),
    ] = None,
    priors: Annotated[bool, Option(help="Learn what newcomers are like, where the model can.")] = True,
    as_json: Json = False,
) -> None:
    """Learn a model from a table of ratings or events and save it.

    A table is taken to hold ratings. Models of events (implicit-als, popularity) need to be told what it holds:
    --events for clicks, plays and purchases, or --min-rating 4 to count ratings from 4 on as events.
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.cli.side_tables import check_model_output

    estimator = estimator_of(model, settings or ())
    check_model_output(output, inputs=source.files)
    source.suits([estimator])
    table = source.read()
    epochs: list[Epoch] = []
    began = time.perf_counter()
    with epoch_progress(model) as tell:

        def callback(epoch: Epoch) -> None:
            epochs.append(epoch)
            tell(epoch)

        recommender = _learnt(estimator, table, seed=seed, validation=validation, callback=callback)
    columns = [_names(given) for given in (user_features, item_features)]
    if priors or any(columns):
        recommender = _with_priors(recommender, *columns, seed=seed)
    seconds = time.perf_counter() - began
    recommender.save(output)
    if as_json:
        show_json(_facts(output, recommender, table, epochs, seconds))
        return
    out = results()
    sizes = f"{len(table):,} {table.kind} ({table.n_users:,} users x {table.n_items:,} items)"
    out.print(f"{model} learnt from {sizes} in {seconds:.1f} s", soft_wrap=True)
    if epochs:
        losses = f"loss {epochs[0].loss:.4f} to {epochs[-1].loss:.4f}"
        out.print(f"{len(epochs)} epochs, {losses}{_held_out(epochs, table.kind)}", soft_wrap=True)
    if recommender.priors is not None:
        known = ", ".join(name for names in columns for name in names)
        out.print(f"newcomers start {f'from {known}' if known else 'as people are on average'}", soft_wrap=True)
    out.print(f"saved in {printable(output)} ({Path(output).stat().st_size:,} bytes)", soft_wrap=True)
    someone = table.users.ids([0])[0]
    out.print(f"\nNext: {command('recommend', as_path(output), '--user', someone)}", soft_wrap=True)


def _learnt(
    estimator: Estimator, table: Interactions, *, seed: int, validation: float | None, callback: EpochCallback
) -> Recommender:
    """With a validation part: learnt from the rest, but what its users have seen is all of their rows."""
    from cofactor.evaluate import split_per_user, split_random
    from cofactor.recommender.recommender import Recommender

    if validation is None:
        return Recommender.fit(estimator, table, seed=seed, callback=callback)
    estimator.require(table)
    cut = split_random if table.kind == "ratings" else split_per_user
    split = cut(table, test=validation, seed=seed)
    learnt = Recommender.fit(estimator, split.train, seed=seed, validation=split.test, callback=callback)
    return replace(learnt, histories=table.by_user)


def _with_priors(recommender: Recommender, users: list[str], items: list[str], *, seed: int) -> Recommender:
    """With priors, where the model has vectors to learn them of; where columns are named it must."""
    from cofactor.cold_start import eased_in, learn_priors

    if not users and not items:
        return eased_in(recommender, seed=seed)
    return learn_priors(recommender, user_features=users, item_features=items, seed=seed)


def _names(columns: str | None) -> list[str]:
    return [name.strip() for name in (columns or "").split(",") if name.strip()]


def _held_out(epochs: list[Epoch], kind: str) -> str:
    scores = [epoch.validation for epoch in epochs if epoch.validation is not None]
    if not scores:
        return ""
    name, best = ("RMSE", min(scores)) if kind == "ratings" else ("recall@20", max(scores))
    return f", held-out {name} at best {best:.4f} (epoch {scores.index(best) + 1})"


def _facts(
    output: str, recommender: Recommender, table: Interactions, epochs: list[Epoch], seconds: float
) -> dict[str, Any]:
    assert recommender.estimator is not None
    return {
        "model": output,
        "estimator": {"model": recommender.estimator.name, **asdict(recommender.estimator)},
        "kind": table.kind,
        "rows": len(table),
        "users": table.n_users,
        "items": table.n_items,
        "priors": recommender.priors is not None,
        "seconds": round(seconds, 4),
        "epochs": [asdict(epoch) for epoch in epochs],
        "load": None if table.report is None else table.report.as_dict(),
    }
