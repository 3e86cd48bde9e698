"""`cofactor models`: list the models with the meaning, default and range of each hyperparameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from cofactor.cli.options import Json
from cofactor.cli.terminal import results, show_json, table
from cofactor.shell import command

if TYPE_CHECKING:
    from cofactor.estimators import Estimator

__all__ = ["models"]


def models(
    names: Annotated[
        list[str] | None, Argument(metavar="MODEL", help="Names of the models to list; all by default.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the models with the meaning, default and range of each hyperparameter."""
    from cofactor.cli.estimator_options import describe_settings, format_setting
    from cofactor.estimators import REGISTRY
    from cofactor.estimators.base import estimator_class

    estimators = [estimator_class(name) for name in names or REGISTRY]
    if as_json:
        show_json([_describe_estimator(estimator, describe_settings(estimator)) for estimator in estimators])
        return
    out = results()
    for estimator in estimators:
        facts = _describe_estimator(estimator, describe_settings(estimator))
        out.print(f"{facts['model']}", style="bold", end="")
        out.print(f"  learns from {facts['learns_from']}\n{facts['what']}", soft_wrap=False)
        if facts["settings"]:
            output_table = table(("hyperparameter", "left"), ("default", "right"), "range", "meaning")
            for setting in facts["settings"]:
                output_table.add_row(
                    setting["name"], format_setting(setting["default"]), _format_range(setting), setting["meaning"]
                )
            out.print(output_table)
        else:
            out.print("It has no hyperparameters.\n")
    example = next((estimator for estimator in estimators if describe_settings(estimator)), None)
    if example is not None:
        out.print(f"To set a hyperparameter: {_example(example)}", soft_wrap=True)


def _example(estimator: type[Estimator]) -> str:
    """Return an example command that sets the first hyperparameter of the estimator class to its default."""
    from cofactor.cli.estimator_options import describe_settings, format_setting

    setting = describe_settings(estimator)[0]
    events = ["--events"] if estimator.kind == "events" else []
    return command(
        "fit", "clicks.csv" if events else "ratings.csv", "-o", "my.cofactor", "--model", estimator.name, *events,
        "--set", f"{setting['name']}={format_setting(setting['default'])}",
    )  # fmt: skip


def _describe_estimator(estimator: type[Estimator], settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe an estimator class, with the first paragraph of its docstring as the summary."""
    summary = (estimator.__doc__ or "").strip().split("\n\n")[0]
    return {
        "model": estimator.name,
        "learns_from": "ratings or events" if estimator.kind == "any" else estimator.kind,
        "what": " ".join(summary.split()),
        "settings": settings,
    }


def _format_range(setting: dict[str, Any]) -> str:
    low, high = setting["low"], setting["high"]
    if low is None and high is None:
        return "true, false" if isinstance(setting["default"], bool) else ""
    return f"{low:g} to {high:g}" if high is not None else f"from {low:g}"
