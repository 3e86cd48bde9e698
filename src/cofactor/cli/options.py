"""Options that several commands have, and parsers of values. Each message names the option.

Parsers raise BadParameter, and `cofactor.cli.application` puts the option's name before its message. They also accept
the value of a default: typer converts it, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from typer import Argument, BadParameter, Option

from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions, Kind
    from cofactor.evaluate.split import Exclude, Split

__all__ = [
    "SPLITS",
    "ExcludeName",
    "Json",
    "Lengths",
    "ModelFile",
    "Models",
    "N",
    "Output",
    "Seed",
    "Settings",
    "SplitName",
    "TestShare",
    "check_exclude",
    "check_split",
    "choice",
    "number",
    "parted",
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


EXCLUDE = ("seen", "positives")


SPLITS = ("random", "per-user", "last", "by-time", "users")


SplitName: TypeAlias = Annotated[
    str,
    Option(
        metavar="|".join(SPLITS),
        parser=choice(*SPLITS),
        help="Test on random rows, a share of each user's rows, each user's last rows, the latest rows of all, or "
        "users held out whole.",
    ),
]


TestShare: TypeAlias = Annotated[
    float | None,
    Option(metavar="SHARE|N", parser=number(), help="Share of rows (of users) to test on [0.2]; for last, N rows [1]."),
]


ExcludeName: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="|".join(EXCLUDE),
        parser=choice(*EXCLUDE),
        help="Of rankings: leave out all that a user has seen [seen], or the positives of the training part alone.",
    ),
]


def check_exclude(exclude: str | None, kind: Kind) -> Exclude:
    """What lists leave out; only rankings have lists. Raises ParameterError."""
    if exclude is not None and kind == "ratings":
        raise ParameterError("--exclude is of rankings, and these are ratings: give --min-rating too, or leave it out")
    return "positives" if exclude == "positives" else "seen"


def check_split(split: str, test: float | None) -> None:
    """Check `--test` before anything is read: it depends on the split. Raises ParameterError."""
    if test is None:
        return
    if split == "last":
        if not test.is_integer() or test < 1:
            raise ParameterError(f"--test must be a whole number of rows from 1 on with --split last, not {test:g}")
    elif not 0 < test < 1:
        raise ParameterError(f"--test must be a share between 0 and 1 with --split {split}, not {test:g}")


def parted(ratings: Interactions, split: str, test: float | None, seed: int) -> Split:
    """The table as a proved split, cut as the options say. Raises ParameterError, DataError.

    `test`: a share, 0.2 unless given; of "last" a number of rows, 1 unless given.
    """
    from cofactor.evaluate import split_by_time, split_last, split_per_user, split_random, split_users

    check_split(split, test)
    if split == "last":
        return split_last(ratings, n=1 if test is None else int(test), seed=seed)
    share = 0.2 if test is None else test
    if split == "by-time":
        return split_by_time(ratings, test=share)
    cut = {"random": split_random, "per-user": split_per_user, "users": split_users}[split]
    return cut(ratings, test=share, seed=seed)
