"""`cofactor serve`: from a table to a service that answers over HTTP and learns as people rate."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import Seed, Settings, whole_number
from cofactor.cli.options import port as port_number
from cofactor.cli.terminal import note, results

if TYPE_CHECKING:
    from cofactor.data.interactions import Kind
    from cofactor.estimators import Estimator
    from cofactor.service.training.spec import Recipe

__all__ = ["serve"]

Table = Annotated[
    str,
    Argument(metavar="RATINGS", help="A file, the name of a data set, or a database URL.", show_default=False),
]


def table_or_none(command: Callable[..., None]) -> Callable[..., None]:
    """The command of `reads_table`, which may also be called without a table: it is "" then."""
    old = signature(command)
    first = Parameter("ratings", Parameter.POSITIONAL_OR_KEYWORD, annotation=Table, default="")
    rest = [one for name, one in old.parameters.items() if name != "ratings"]
    command.__signature__ = old.replace(parameters=[first, *rest])  # type: ignore[attr-defined]
    command.__annotations__["ratings"] = Table
    return command


@table_or_none
@reads_table
def serve(
    source: Source,
    *,
    data: Annotated[str | None, Option(metavar="FOLDER", help="Where all of it lives (./cofactor-data).")] = None,
    db: Annotated[str | None, Option(metavar="URL", help="The store: postgresql://user@host/name.")] = None,
    host: Annotated[str | None, Option(metavar="ADDRESS", help="Where to listen (127.0.0.1).")] = None,
    port: Annotated[
        int | None, Option(metavar="N", parser=port_number, help="0 takes any that is free (8000).")
    ] = None,
    workers: Annotated[int | None, Option(metavar="N", parser=whole_number, help="Processes that answer (1).")] = None,
    config: Annotated[str | None, Option(metavar="FILE", help="A TOML file of settings.")] = None,
    train: Annotated[bool | None, Option("--train/--no-train", help="Learn new models in a process beside.")] = None,
    model: Annotated[
        str | None, Option("--model", "-m", metavar="NAME", help="How to learn the first model (biased-mf).")
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    item_features: Annotated[
        str | None, Option(metavar="COLUMNS", help="Columns of the item table that say what a new item is like.")
    ] = None,
    user_features: Annotated[
        str | None, Option(metavar="COLUMNS", help="Columns of the user table that say what a new user is like.")
    ] = None,
) -> None:
    """Serve recommendations over HTTP: import a table, learn, print the address and, once, an admin key; then answer.

    Started again it needs no table, and a table that was imported already is not imported twice. Whatever is not
    given here may be set as COFACTOR_SERVE_PORT=8000 and the like, or in a TOML file.
    """
    from cofactor.cli.estimator_options import estimator_of
    from cofactor.service.bootstrap import prepared
    from cofactor.service.settings import ServiceSettings
    from cofactor.service.supervisor import listening
    from cofactor.service.supervisor import serve as run

    chosen = ServiceSettings.of(
        {"data": data, "db": db, "host": host, "port": port, "workers": workers, "train": train}, config
    )
    estimator = estimator_of(model or ("implicit-als" if source.kind == "events" else "biased-mf"), settings or ())
    source.suits([estimator])
    recipe = _recipe(estimator, source.kind, seed, user_features, item_features)
    table = source.read() if source.ratings else None
    bound = listening(chosen)
    try:
        ready = prepared(chosen, table, recipe, note)
    except BaseException:
        bound.close()
        raise
    address, at = bound.getsockname()[:2]
    out = results()
    out.print(f"model {ready.version} answers at http://{f'[{address}]' if ':' in address else address}:{at}")
    if ready.key is not None:
        out.print(f"admin key, shown this once: {ready.key}", soft_wrap=True)
    out.file.flush()
    run(chosen, bound)


def _recipe(
    estimator: Estimator, kind: Kind, seed: int, user_features: str | None, item_features: str | None
) -> Recipe:
    from cofactor.service.training.spec import Recipe

    return Recipe(estimator, kind, seed, _names(user_features), _names(item_features))


def _names(columns: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (columns or "").split(",") if name.strip())
