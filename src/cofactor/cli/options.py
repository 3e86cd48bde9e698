"""Options that several commands have, written once."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from typer import Argument, Option

__all__ = ["Json", "ModelFile", "Models", "N", "Output", "Seed", "Settings"]

Json: TypeAlias = Annotated[bool, Option("--json", help="Print JSON, and nothing else, on stdout.")]
ModelFile: TypeAlias = Annotated[str, Argument(metavar="MODEL", help="A model that `cofactor fit` saved.")]
Models: TypeAlias = Annotated[
    list[str] | None,
    Option("--model", "-m", metavar="NAME", help="Which model, see `cofactor models`. Repeatable."),
]
N: TypeAlias = Annotated[int, Option("-n", metavar="N", help="How many to list.")]
Output: TypeAlias = Annotated[
    str | None, Option("--output", "-o", metavar="FILE", help="Write here: .csv, .tsv or .parquet.")
]
Seed: TypeAlias = Annotated[int, Option(metavar="N", help="The same seed gives the same result.", min=0)]
Settings: TypeAlias = Annotated[
    list[str] | None,
    Option("--set", metavar="NAME=VALUE", help="A setting of the model, as in factors=50. Repeatable."),
]
