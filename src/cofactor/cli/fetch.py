"""`cofactor fetch`: a data set from its maker into the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from cofactor.cli.options import Json
from cofactor.cli.terminal import fetch_progress, results, show_json, table
from cofactor.errors import ParameterError
from cofactor.shell import command

__all__ = ["fetch"]


def fetch(
    name: Annotated[str | None, Argument(metavar="NAME", help="Which data set; --list shows them.")] = None,
    *,
    show_list: Annotated[bool, Option("--list", help="Show the data sets there are.")] = False,
    as_json: Json = False,
) -> None:
    """Get a data set from its maker and keep it in the cache.

    It is checked, and its terms of use are shown. Its name can then stand wherever a table is asked for, as in
    `cofactor describe movielens-100k`.
    """
    if show_list:
        _show_all(show_json if as_json else None)
        return
    if name is None:
        raise ParameterError("name a data set, as in `cofactor fetch movielens-100k`; --list shows them")
    from cofactor.datasets import loading

    with fetch_progress() as on_progress:
        folder = loading.fetch(name, on_progress=on_progress)
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    if as_json:
        show_json({"folder": str(folder), **source})
    else:
        _show_one(folder, source)


def _show_one(folder: Path, source: dict[str, Any]) -> None:
    out = results()
    counts = ", ".join(f"{source[what]:,} {what}" for what in ("ratings", "users", "items") if what in source)
    out.print(f"{source['name']}: {counts}", style="bold")
    out.print(f"in     {folder}", soft_wrap=True)
    out.print(f"from   {source['source']}", soft_wrap=True)
    out.print(f"\nTerms. {source['terms']}")
    out.print(f"\nCite. {source['citation']}")
    out.print(f"\nNext: {command('describe', source['name'])}", soft_wrap=True)


def _show_all(as_json: Any) -> None:
    from cofactor.datasets import loading
    from cofactor.files import cache_folder

    sets: list[dict[str, Any]] = [
        {
            "name": name,
            **{what: getattr(one, what) for what in ("ratings", "users", "items", "url")},
            "scale": [min(one.levels), max(one.levels)],
            "fetched": (cache_folder() / "datasets" / name).exists(),
        }
        for name, one in loading.DATASETS.items()
    ]
    if as_json is not None:
        as_json(sets)
        return
    shown = table("data set", ("ratings", "right"), ("users", "right"), ("items", "right"), ("scale", "right"), "here")
    for one in sets:
        numbers = (f"{one[what]:,}" for what in ("ratings", "users", "items"))
        low, high = one["scale"]
        shown.add_row(one["name"], *numbers, f"{low:g}-{high:g}", "yes" if one["fetched"] else "")
    results().print(shown)
