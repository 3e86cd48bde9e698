"""Options shared by several commands, and parsers for their values.

Parsers raise BadParameter; `cofactor.cli.application` prepends the name of the option to the message. They also accept
values of the target type, because typer passes defaults through them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from typer import Argument, BadParameter, Option

from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions, Kind
    from cofactor.evaluate.split import Exclude, Split

__all__ = [
    "SPLITS",
    "Engine",
    "ExcludeName",
    "HalfLife",
    "Json",
    "Lengths",
    "Master",
    "ModelFile",
    "Models",
    "N",
    "Output",
    "RatingModel",
    "Refits",
    "Seed",
    "Settings",
    "SparkSettings",
    "SplitName",
    "TestSize",
    "check_exclude",
    "check_spark_options",
    "check_split",
    "choice",
    "count",
    "fraction",
    "number",
    "port",
    "seed",
    "spark_settings",
    "split_table",
    "whole_number",
]


MAX_COUNT = 2**31 - 1


def whole_number(text: str | int) -> int:
    """Parse an integer of at least 1.

    Parameters
    ----------
    text : str or int
        Value of the option.

    Returns
    -------
    int
        Parsed number.

    Raises
    ------
    BadParameter
        If the text is not an integer from 1 to 2^31 - 1.

    Examples
    --------
    >>> whole_number("10")
    10
    """
    from cofactor import checks

    return int(_validate(checks.whole_number, _int(text), low=1, high=MAX_COUNT))


def count(text: str | int) -> int:
    """Parse an integer of at least 0.

    Parameters
    ----------
    text : str or int
        Value of the option.

    Returns
    -------
    int
        Parsed number.

    Raises
    ------
    BadParameter
        If the text is not an integer from 0 to 2^31 - 1.

    Examples
    --------
    >>> count("0")
    0
    """
    from cofactor import checks

    return int(_validate(checks.whole_number, _int(text), low=0, high=MAX_COUNT))


def port(text: str | int) -> int:
    """Parse a port number; 0 means any free port.

    Parameters
    ----------
    text : str or int
        Value of the option.

    Returns
    -------
    int
        Parsed port number.

    Raises
    ------
    BadParameter
        If the text is not an integer from 0 to 65535.

    Examples
    --------
    >>> port("8000")
    8000
    """
    from cofactor import checks

    return int(_validate(checks.whole_number, _int(text), low=0, high=65535))


def seed(text: str | int) -> int:
    """Parse a random seed.

    Parameters
    ----------
    text : str or int
        Value of the option.

    Returns
    -------
    int
        Parsed seed.

    Raises
    ------
    BadParameter
        If the text is not an integer from 0 to 2^32 - 1.

    Examples
    --------
    >>> seed("7")
    7
    """
    from cofactor import checks

    return int(_validate(checks.whole_number, _int(text), low=0, high=checks.MAX_SEED))


def number(low: float | None = None, high: float | None = None) -> Callable[[str | float], float]:
    """Return a parser for finite numbers within bounds.

    Parameters
    ----------
    low, high : float or None, default None
        Inclusive bounds; None for no bound.

    Returns
    -------
    callable
        Parser that returns a float or raises BadParameter.

    Examples
    --------
    >>> number(low=0)("2.5")
    2.5
    """

    def parse(text: str | float) -> float:
        from cofactor import checks

        return float(_validate(checks.finite_number, _float(text), low=low, high=high))

    return parse


def fraction(text: str | float) -> float:
    """Parse a fraction between 0 and 1.

    Parameters
    ----------
    text : str or float
        Value of the option.

    Returns
    -------
    float
        Parsed fraction.

    Raises
    ------
    BadParameter
        If the text is not a number between 0 and 1.

    Examples
    --------
    >>> fraction("0.2")
    0.2
    """
    from cofactor import checks

    return float(_validate(checks.fraction, _float(text)))


def choice(*names: str) -> Callable[[str], str]:
    """Return a parser that accepts only the given names.

    Parameters
    ----------
    *names : str
        Accepted names.

    Returns
    -------
    callable
        Parser that returns the name or raises BadParameter.

    Examples
    --------
    >>> choice("rating", "ranking")("rating")
    'rating'
    """

    def parse(text: str) -> str:
        from cofactor import checks

        return str(_validate(checks.choice, text, choices=names))

    return parse


def _validate(check: Callable[..., Any], value: Any, **limits: Any) -> Any:
    try:
        return check("", value, **limits)
    except ParameterError as error:
        raise BadParameter(str(error).strip()) from error


def _int(text: str | int) -> str | int:
    """Parse an integer, or return any other text unchanged so that the error message shows it."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,30}", str(text).strip()) else text


def _float(text: str | float) -> str | float:
    """Parse a number, or return any other text unchanged so that the error message shows it."""
    with suppress(ValueError):
        return float(text)
    return text


Json: TypeAlias = Annotated[bool, Option("--json", help="Print only JSON on stdout, with IDs as strings.")]


Engine: TypeAlias = Annotated[
    str,
    Option(
        metavar="local|spark",
        parser=choice("local", "spark"),
        help="Where to run: in this process, or on Apache Spark.",
        rich_help_panel="Apache Spark",
    ),
]


Master: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="URL",
        help="With --engine spark: local[N], spark://HOST:PORT, yarn or k8s://... [local[*]].",
        rich_help_panel="Apache Spark",
    ),
]


SparkSettings: TypeAlias = Annotated[
    list[str] | None,
    Option(
        "--spark",
        metavar="NAME=VALUE",
        help="With --engine spark: a setting such as spark.executor.memory=8g. Repeatable.",
        rich_help_panel="Apache Spark",
    ),
]


HalfLife: TypeAlias = Annotated[
    float | None,
    Option(metavar="DAYS", parser=number(low=0), help="Age in days at which the weight of a training row is halved."),
]


Lengths: TypeAlias = Annotated[
    list[int] | None,
    Option("--k", "-k", metavar="K", parser=whole_number, help="List length [10]. Repeatable."),
]


ModelFile: TypeAlias = Annotated[str, Argument(metavar="MODEL", help="Model file saved by `cofactor fit`.")]


Models: TypeAlias = Annotated[
    list[str] | None,
    Option("--model", "-m", metavar="NAME", help="Name of a model; see `cofactor models`. Repeatable."),
]


N: TypeAlias = Annotated[int, Option("-n", "--n", metavar="N", parser=whole_number, help="Number of results.")]


Output: TypeAlias = Annotated[
    str | None, Option("--output", "-o", metavar="FILE", help="Write to this file: .csv, .tsv or .parquet.")
]


RatingModel: TypeAlias = Annotated[
    str | None,
    Option(
        "--rating-model",
        metavar="NAME",
        help="Second model, which predicts the ratings, while --model ranks the items and learns from ratings of "
        "--min-rating and up as likes.",
    ),
]


Seed: TypeAlias = Annotated[
    int, Option(metavar="N", parser=seed, help="Random seed; the same seed gives the same result.")
]


Refits: TypeAlias = Annotated[
    int,
    Option(metavar="N", parser=count, help="Number of additional fits with other seeds, to compare their lists."),
]


Settings: TypeAlias = Annotated[
    list[str] | None,
    Option("--set", metavar="NAME=VALUE", help="Hyperparameter of the model, such as factors=50. Repeatable."),
]


EXCLUDE = ("seen", "positives")


SPLITS = ("random", "per-user", "last", "by-time", "users")


SplitName: TypeAlias = Annotated[
    str,
    Option(
        metavar="|".join(SPLITS),
        parser=choice(*SPLITS),
        help="Test on random rows, a fraction of each user's rows, each user's last rows, the latest rows overall, or "
        "all rows of some users.",
    ),
]


TestSize: TypeAlias = Annotated[
    float | None,
    Option(
        metavar="FRACTION|N",
        parser=number(),
        help="Fraction of rows or users to test on [0.2]; for last: N rows [1].",
    ),
]


ExcludeName: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="|".join(EXCLUDE),
        parser=choice(*EXCLUDE),
        help="Exclude from rankings all items that the user has seen (default), or only the positives in the training "
        "set.",
    ),
]


def check_exclude(exclude: str | None, kind: Kind) -> Exclude:
    """Validate --exclude, which applies only to rankings, and return its value.

    Parameters
    ----------
    exclude : {'seen', 'positives'} or None
        Value of the option.
    kind : {'ratings', 'events'}
        Kind of the table that items are ranked by.

    Returns
    -------
    {'seen', 'positives'}
        Items that rankings exclude; "seen" by default.

    Raises
    ------
    ParameterError
        If the option is given for ratings.
    """
    if exclude is not None and kind == "ratings":
        raise ParameterError(
            "--exclude applies only to rankings, but the table contains ratings: add --min-rating or --rating-model, "
            "or omit --exclude"
        )
    return "positives" if exclude == "positives" else "seen"


def check_split(split: str, test: float | None) -> None:
    """Validate --test, whose meaning depends on the split, before any data is read.

    Parameters
    ----------
    split : str
        Name of the split.
    test : float or None
        Value of --test; None for the default.

    Raises
    ------
    ParameterError
        If the value is not valid for the split.
    """
    if test is None:
        return
    if split == "last":
        if not test.is_integer() or test < 1:
            raise ParameterError(f"--test must be an integer of at least 1 with --split last, not {test:g}")
    elif not 0 < test < 1:
        raise ParameterError(f"--test must be a fraction between 0 and 1 with --split {split}, not {test:g}")


def split_table(
    ratings: Interactions, split: str, test: float | None, seed: int, *, half_life: float | None = None
) -> Split:
    """Split a table into a training and a test set as specified by the options.

    Parameters
    ----------
    ratings : Interactions
        Table to split.
    split : {'random', 'per-user', 'last', 'by-time', 'users'}
        Name of the split.
    test : float or None
        Fraction of rows or users to test on, by default 0.2; for "last", number of test rows per user, by default 1.
    seed : int
        Seed for the split.
    half_life : float or None, default None
        Age in days at which the weight of a training row is halved; None for equal weights.

    Returns
    -------
    Split
        Training set and test set.

    Raises
    ------
    ParameterError
        If the value of `test` is not valid for the split.
    DataError
        If the table does not support this kind of split.
    """
    from cofactor.evaluate import split_by_time, split_last, split_per_user, split_random, split_users

    check_split(split, test)
    test_fraction = 0.2 if test is None else test
    if split == "last":
        data_split = split_last(ratings, n=1 if test is None else int(test), seed=seed)
    elif split == "by-time":
        data_split = split_by_time(ratings, test=test_fraction)
    else:
        split_rows = {"random": split_random, "per-user": split_per_user, "users": split_users}[split]
        data_split = split_rows(ratings, test=test_fraction, seed=seed)
    return data_split if half_life is None else data_split.decayed(half_life=half_life)


def check_spark_options(engine: str, options: Mapping[str, Any]) -> None:
    """Raise ParameterError if options of Spark are used without --engine spark.

    Parameters
    ----------
    engine : {"local", "spark"}
        Value of --engine.
    options : mapping of str to Any
        Options that require --engine spark, with their values.
    """
    for option, value in options.items():
        if value and engine != "spark":
            raise ParameterError(f"{option} requires --engine spark")


def spark_settings(pairs: Sequence[str] | None) -> dict[str, str]:
    """Return the settings of Spark by name.

    Parameters
    ----------
    pairs : sequence of str or None
        Settings as NAME=VALUE.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ParameterError
        If a setting does not have this form.
    """
    settings = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator or not name.startswith("spark."):
            raise ParameterError(f"--spark must have the form spark.NAME=VALUE, not {pair!r}")
        settings[name] = value
    return settings
