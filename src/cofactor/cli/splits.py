"""How a command parts its table into train and test: its options, written once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from typer import Option

from cofactor.errors import ParameterError

if TYPE_CHECKING:
    from cofactor.data.interactions import Interactions
    from cofactor.evaluate.split import Split

__all__ = ["SPLITS", "SplitName", "TestShare", "check_split", "parted"]

SPLITS = ("random", "per-user", "last", "by-time", "users")

SplitName: TypeAlias = Annotated[
    str,
    Option(
        metavar="|".join(SPLITS),
        help="Test on random rows, a share of each user's rows, each user's last rows, the latest rows of all, or "
        "users held out whole.",
    ),
]
TestShare: TypeAlias = Annotated[
    float | None, Option(metavar="SHARE|N", help="Share of rows (of users) to test on [0.2]; for last, N rows [1].")
]


def check_split(split: str) -> None:
    """Raises ParameterError, before anything is read, for a split that there is not."""
    if split not in SPLITS:
        raise ParameterError(f"--split is one of {', '.join(SPLITS)}, not {split!r}")


def parted(ratings: Interactions, split: str, test: float | None, seed: int) -> Split:
    """The table as a proved split, cut as the options say. Raises ParameterError, DataError.

    `test`: a share, 0.2 unless given; of "last" a number of rows, 1 unless given.
    """
    from cofactor.evaluate import split_by_time, split_last, split_per_user, split_random, split_users

    check_split(split)
    if split == "last":
        rows = 1.0 if test is None else test
        if not rows.is_integer():
            raise ParameterError(f"--split last takes a whole number of rows of each user as --test, not {test:g}")
        return split_last(ratings, n=int(rows))
    share = 0.2 if test is None else test
    if split == "by-time":
        return split_by_time(ratings, test=share)
    cut = {"random": split_random, "per-user": split_per_user, "users": split_users}[split]
    return cut(ratings, test=share, seed=seed)
