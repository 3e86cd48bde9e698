"""`cofactor models`: the ways to learn, with every setting's meaning, default and range."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument

from cofactor.cli.options import Json
from cofactor.cli.screen import results, show_json, table

__all__ = ["models"]


def models(
    names: Annotated[list[str] | None, Argument(metavar="MODEL", help="Only these models.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the models that can be learnt, with all settings, what they mean and what they may be."""
    from cofactor.cli.settings import described_settings, estimator_of, in_words
    from cofactor.estimators import REGISTRY

    kinds = [type(estimator_of(name)) for name in names or REGISTRY]
    if as_json:
        show_json([_facts(kind, described_settings(kind)) for kind in kinds])
        return
    out = results()
    for kind in kinds:
        facts = _facts(kind, described_settings(kind))
        out.print(f"{facts['model']}", style="bold", end="")
        out.print(f"  learns from {facts['learns_from']}\n{facts['what']}", soft_wrap=False)
        if facts["settings"]:
            shown = table(("setting", "left"), ("default", "right"), "range", "meaning")
            for one in facts["settings"]:
                shown.add_row(one["name"], in_words(one["default"]), _range(one), one["meaning"])
            out.print(shown)
        else:
            out.print("It has no settings.\n")
    out.print("Set one by --set NAME=VALUE: cofactor fit ratings.csv -o my.cofactor --set factors=100")


def _facts(kind: Any, settings: list[dict[str, Any]]) -> dict[str, Any]:
    what = (kind.__doc__ or "").strip().split("\n\n")[0]
    return {
        "model": kind.name,
        "learns_from": "ratings or events" if kind.kind == "any" else kind.kind,
        "what": " ".join(what.split()),
        "settings": settings,
    }


def _range(setting: dict[str, Any]) -> str:
    low, high = setting["low"], setting["high"]
    if low is None and high is None:
        return "true, false" if isinstance(setting["default"], bool) else ""
    return f"{low:g} to {high:g}" if high is not None else f"from {low:g}"
