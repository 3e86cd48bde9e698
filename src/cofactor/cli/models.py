"""`cofactor models`: list the models and the meaning, default and range of their settings."""

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
    names: Annotated[list[str] | None, Argument(metavar="MODEL", help="Only these models.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the models with all settings, their meaning, default and range."""
    from cofactor.cli.estimator_options import described_settings, in_words
    from cofactor.estimators import REGISTRY
    from cofactor.estimators.base import estimator_class

    estimators = [estimator_class(name) for name in names or REGISTRY]
    if as_json:
        show_json([_facts(estimator, described_settings(estimator)) for estimator in estimators])
        return
    out = results()
    for estimator in estimators:
        facts = _facts(estimator, described_settings(estimator))
        out.print(f"{facts['model']}", style="bold", end="")
        out.print(f"  learns from {facts['learns_from']}\n{facts['what']}", soft_wrap=False)
        if facts["settings"]:
            shown = table(("setting", "left"), ("default", "right"), "range", "meaning")
            for setting in facts["settings"]:
                shown.add_row(setting["name"], in_words(setting["default"]), _range(setting), setting["meaning"])
            out.print(shown)
        else:
            out.print("It has no settings.\n")
    example = next((estimator for estimator in estimators if described_settings(estimator)), None)
    if example is not None:
        out.print(f"To change a setting: {_example(example)}", soft_wrap=True)


def _example(estimator: type[Estimator]) -> str:
    """Return a command that sets the first setting of this estimator class to its default."""
    from cofactor.cli.estimator_options import described_settings, in_words

    setting = described_settings(estimator)[0]
    events = ["--events"] if estimator.kind == "events" else []
    return command(
        "fit", "clicks.csv" if events else "ratings.csv", "-o", "my.cofactor", "--model", estimator.name, *events,
        "--set", f"{setting['name']}={in_words(setting['default'])}",
    )  # fmt: skip


def _facts(estimator: type[Estimator], settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe an estimator class; the summary is the first paragraph of its docstring."""
    summary = (estimator.__doc__ or "").strip().split("\n\n")[0]
    return {
        "model": estimator.name,
        "learns_from": "ratings or events" if estimator.kind == "any" else estimator.kind,
        "what": " ".join(summary.split()),
        "settings": settings,
    }


def _range(setting: dict[str, Any]) -> str:
    low, high = setting["low"], setting["high"]
    if low is None and high is None:
        return "true, false" if isinstance(setting["default"], bool) else ""
    return f"{low:g} to {high:g}" if high is not None else f"from {low:g}"
