"""`cofactor fetch`: download a data set from its publisher into the cache."""

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
    name: Annotated[str | None, Argument(metavar="NAME", help="Name of the data set; see --list.")] = None,
    *,
    show_list: Annotated[bool, Option("--list", help="List the available data sets.")] = False,
    as_json: Json = False,
) -> None:
    """Download a data set from its publisher into the cache.

    The download is verified, and its terms of use are shown. Afterwards, its name can be used instead of a file, as in
    `cofactor describe movielens-100k`.
    """
    if show_list:
        _show_all(show_json if as_json else None)
        return
    if name is None:
        raise ParameterError(
            "pass the name of a data set, as in `cofactor fetch movielens-100k`; --list shows the names"
        )
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
    counts = ", ".join(f"{source[noun]:,} {noun}" for noun in ("ratings", "users", "items") if noun in source)
    out.print(f"{source['name']}: {counts}", style="bold")
    out.print(f"folder {folder}", soft_wrap=True)
    out.print(f"from   {source['source']}", soft_wrap=True)
    out.print(f"\nTerms. {source['terms']}")
    out.print(f"\nCite. {source['citation']}")
    out.print(f"\nNext: {command('describe', source['name'])}", soft_wrap=True)


def _show_all(as_json: Any) -> None:
    from cofactor.datasets.registry import DATASETS
    from cofactor.files import cache_directory

    datasets: list[dict[str, Any]] = [
        {
            "name": name,
            **{field: getattr(dataset, field) for field in ("ratings", "users", "items", "url")},
            "scale": [min(dataset.rating_levels), max(dataset.rating_levels)],
            "fetched": (cache_directory() / "datasets" / name).exists(),
        }
        for name, dataset in DATASETS.items()
    ]
    if as_json is not None:
        as_json(datasets)
        return
    columns = [(name, "right") for name in ("ratings", "users", "items", "scale")]
    output_table = table("data set", *columns, "cached")
    for dataset in datasets:
        counts = (f"{dataset[field]:,}" for field in ("ratings", "users", "items"))
        low, high = dataset["scale"]
        output_table.add_row(dataset["name"], *counts, f"{low:g}-{high:g}", "yes" if dataset["fetched"] else "")
    results().print(output_table)
