"""`cofactor serve`: import a table, fit a model and serve recommendations over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cofactor.cli.input_options import Source, reads_table
from cofactor.cli.options import RatingModel, Seed, Settings, number, whole_number
from cofactor.cli.options import port as port_number
from cofactor.cli.terminal import note, results
from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Kind
    from cofactor.estimators import Estimator
    from cofactor.service.training.spec import TrainingSpec

__all__ = ["serve"]

Table = Annotated[
    str,
    Argument(metavar="RATINGS", help="Path of a file, name of a data set, or database URL.", show_default=False),
]


def make_table_optional(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator for a command created by `reads_table` that makes its table argument optional, with the default "".

    Parameters
    ----------
    command : callable
        Function decorated with `reads_table`.

    Returns
    -------
    callable
        The same function, with a changed signature.
    """
    original_signature = signature(command)
    table_parameter = Parameter("ratings", Parameter.POSITIONAL_OR_KEYWORD, annotation=Table, default="")
    other_parameters = [parameter for name, parameter in original_signature.parameters.items() if name != "ratings"]
    command.__signature__ = original_signature.replace(parameters=[table_parameter, *other_parameters])  # type: ignore[attr-defined]
    command.__annotations__["ratings"] = Table
    return command


@make_table_optional
@reads_table
def serve(
    source: Source,
    *,
    data: Annotated[str | None, Option(metavar="FOLDER", help="Data folder of the service (./cofactor-data).")] = None,
    db: Annotated[
        str | None, Option(metavar="URL", help="Database URL of the store: postgresql://user@host/name.")
    ] = None,
    host: Annotated[str | None, Option(metavar="ADDRESS", help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[
        int | None, Option(metavar="N", parser=port_number, help="Port to listen on; 0 for any free port (8000).")
    ] = None,
    workers: Annotated[
        int | None, Option(metavar="N", parser=whole_number, help="Number of server processes (1).")
    ] = None,
    config: Annotated[str | None, Option(metavar="FILE", help="TOML file with the settings of the service.")] = None,
    train: Annotated[bool | None, Option("--train/--no-train", help="Train new models in a separate process.")] = None,
    model: Annotated[
        str | None, Option("--model", "-m", metavar="NAME", help="Initial model to fit (biased-mf).")
    ] = None,
    rating_model: RatingModel = None,
    budget: Annotated[
        float | None,
        Option(
            metavar="SECONDS",
            parser=number(low=0),
            help="Choose the initial model automatically within this time; not with --model.",
        ),
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    item_features: Annotated[
        str | None, Option(metavar="COLUMNS", help="Columns of the item table that describe new items.")
    ] = None,
    user_features: Annotated[
        str | None, Option(metavar="COLUMNS", help="Columns of the user table that describe new users.")
    ] = None,
) -> None:
    """Import a table, fit a model, and serve recommendations over HTTP.

    Prints the address and, on first use only, an admin key. A restart does not need a table, and a table that was
    already imported is not imported again. All settings can also be specified as environment variables, such as
    COFACTOR_SERVE_PORT=8000, or in a TOML file.
    """
    from cofactor.service.bootstrap import prepare
    from cofactor.service.settings import ServiceSettings
    from cofactor.service.supervisor import bind_socket
    from cofactor.service.supervisor import serve as run

    service_settings = ServiceSettings.of(
        {"data": data, "db": db, "host": host, "port": port, "workers": workers, "train": train}, config
    )
    if budget is not None and (model or rating_model or settings):
        raise ParameterError("--budget chooses the model; omit --model, --rating-model and --set")
    default = "implicit-als" if source.kind == "events" or rating_model else "biased-mf"
    source, (estimator,) = source.estimators([model or default], source.settings(settings), rating_model)
    spec = _training_spec(estimator, source.kind, seed, user_features, item_features)
    table = source.read() if source.ratings else None
    listener = bind_socket(service_settings)  # first, so that a port in use fails before the model is fitted
    try:
        prepared_service = prepare(service_settings, table, spec, note, budget=budget)
    except BaseException:
        listener.close()
        raise
    bound_host, bound_port = listener.getsockname()[:2]
    url = f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
    out = results()
    out.print(f"model {prepared_service.version} is served at {url}")
    if prepared_service.key is not None:
        out.print(f"admin key (shown only once): {prepared_service.key}", soft_wrap=True)
    out.file.flush()
    run(service_settings, listener)


def _training_spec(
    estimator: Estimator, kind: Kind, seed: int, user_features: str | None, item_features: str | None
) -> TrainingSpec:
    from cofactor.service.training.spec import TrainingSpec

    return TrainingSpec(estimator, kind, seed, _split_names(user_features), _split_names(item_features))


def _split_names(columns: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (columns or "").split(",") if name.strip())
