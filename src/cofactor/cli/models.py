"""`cofactor models`: the ways to learn, with every setting's meaning, default and range."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument

from cofactor.cli.options import Json
from cofactor.cli.terminal import results, show_json, table
from cofactor.shell import command

__all__ = ["models"]


def models(
    names: Annotated[list[str] | None, Argument(metavar="MODEL", help="Only these models.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the models that can be learnt, with all settings, what they mean and what they may be."""
    from cofactor.cli.estimator_options import described_settings, estimator_of, in_words
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
    example = next((kind for kind in kinds if described_settings(kind)), None)
    if example is not None:
        out.print(f"To change a setting: {_example(example)}", soft_wrap=True)


def _example(kind: Any) -> str:
    """A command that sets the first setting of this estimator to its default."""
    from cofactor.cli.estimator_options import described_settings, in_words

    setting = described_settings(kind)[0]
    events = ["--events"] if kind.kind == "events" else []
    return command(
        "fit", "clicks.csv" if events else "ratings.csv", "-o", "my.cofactor", "--model", kind.name, *events,
        "--set", f"{setting['name']}={in_words(setting['default'])}",
    )  # fmt: skip


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
