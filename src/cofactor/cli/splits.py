"""How a command parts its table into train and test: its options, written once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from typer import Option

from cofactor.cli.options import choice, number
from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions, Kind
    from cofactor.evaluate.split import Exclude, Split

__all__ = ["SPLITS", "ExcludeName", "SplitName", "TestShare", "check_exclude", "check_split", "parted"]

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
        raise ParameterError(
            "--exclude is of rankings, and these are ratings: give --positive-from too, or leave it out"
        )
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
