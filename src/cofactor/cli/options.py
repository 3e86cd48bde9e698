"""Options that several commands have, and parsers of values. Each message names the option.

Parsers raise BadParameter, and `cofactor.cli.application` puts the option's name before its message. They also accept
the value of a default: typer converts it, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeAlias

from typer import Argument, BadParameter, Option

from cofactor.errors import ParameterError

__all__ = [
    "Json",
    "Lengths",
    "ModelFile",
    "Models",
    "N",
    "Output",
    "Seed",
    "Settings",
    "choice",
    "number",
    "port",
    "seed",
    "share",
    "whole_number",
]

MAX_COUNT = 2**31 - 1


def whole_number(text: str | int) -> int:
    """Return the count of this text, from 1 on. Raises BadParameter.

    >>> whole_number("10")
    10
    """
    from cofactor import checks

    return int(_checked(checks.whole_number, _int(text), low=1, high=MAX_COUNT))


def port(text: str | int) -> int:
    """Return the port of this text; 0 stands for any that is free. Raises BadParameter.

    >>> port("8000")
    8000
    """
    from cofactor import checks

    return int(_checked(checks.whole_number, _int(text), low=0, high=65535))


def seed(text: str | int) -> int:
    """Return the seed of this text. Raises BadParameter.

    >>> seed("7")
    7
    """
    from cofactor import checks

    return int(_checked(checks.whole_number, _int(text), low=0, high=checks.MAX_SEED))


def number(low: float | None = None, high: float | None = None) -> Callable[[str | float], float]:
    """Return a parser of finite numbers from `low` to `high`. It raises BadParameter.

    >>> number(low=0)("2.5")
    2.5
    """

    def parse(text: str | float) -> float:
        from cofactor import checks

        return float(_checked(checks.finite_number, _float(text), low=low, high=high))

    return parse


def share(text: str | float) -> float:
    """Return the number of this text, which lies between 0 and 1. Raises BadParameter.

    >>> share("0.2")
    0.2
    """
    from cofactor import checks

    return float(_checked(checks.share, _float(text)))


def choice(*names: str) -> Callable[[str], str]:
    """Return a parser that accepts these names only. It raises BadParameter.

    >>> choice("rating", "ranking")("rating")
    'rating'
    """

    def parse(text: str) -> str:
        from cofactor import checks

        return str(_checked(checks.choice, text, choices=names))

    return parse


def _checked(check: Callable[..., Any], value: Any, **limits: Any) -> Any:
    try:
        return check("", value, **limits)
    except ParameterError as problem:
        raise BadParameter(str(problem).strip()) from problem


def _int(text: str | int) -> str | int:
    """The number; a text that is no whole number stays, so that the check shows it."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,30}", str(text).strip()) else text


def _float(text: str | float) -> str | float:
    """The number; a text that is no number stays, so that the check shows it."""
    with suppress(ValueError):
        return float(text)
    return text


Json: TypeAlias = Annotated[bool, Option("--json", help="Print JSON, and nothing else, on stdout.")]
Lengths: TypeAlias = Annotated[
    list[int] | None,
    Option("--k", "-k", metavar="K", parser=whole_number, help="Length of lists [10]. Repeatable."),
]
ModelFile: TypeAlias = Annotated[str, Argument(metavar="MODEL", help="A model that `cofactor fit` saved.")]
Models: TypeAlias = Annotated[
    list[str] | None,
    Option("--model", "-m", metavar="NAME", help="Which model, see `cofactor models`. Repeatable."),
]
N: TypeAlias = Annotated[int, Option("-n", "--n", metavar="N", parser=whole_number, help="How many to list.")]
Output: TypeAlias = Annotated[
    str | None, Option("--output", "-o", metavar="FILE", help="Write here: .csv, .tsv or .parquet.")
]
Seed: TypeAlias = Annotated[int, Option(metavar="N", parser=seed, help="The same seed gives the same result.")]
Settings: TypeAlias = Annotated[
    list[str] | None,
    Option("--set", metavar="NAME=VALUE", help="A setting of the model, as in factors=50. Repeatable."),
]
