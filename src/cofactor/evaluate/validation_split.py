"""A validation part, cut out of a split's training part in the way the test part was cut: settings are chosen on it."""

from __future__ import annotations

from cofactor import checks
from cofactor.evaluate.split import (
    Split,
    require_split,
    split_by_time,
    split_last,
    split_per_user,
    split_random,
    split_users,
)

__all__ = ["inner_split"]


def inner_split(split: Split, *, share: float = 0.2, seed: int = 0) -> Split:
    """The training part alone, parted again; the test part of the result is for validation.

    The cut is of the outer one's kind, so that what is best there is best for the same question: users held out whole,
    by time, each user's last row, else at random (events: a share of each user's rows). `share` is that of the rows, or
    of the users. Raises ParameterError, and DataError where the training part is too small to be parted.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> inner_split(cofactor.split_random(ratings, test=0.2), share=0.5)
    Split(random, 50% of the rows, seed 0: 2 train, 2 test)
    """
    require_split("split", split)
    checks.share("share", share)
    checks.seed(seed)
    if split.fold_in is not None:
        return split_users(split.train, test=share, seed=seed)
    if split.order == "by time":
        return split_by_time(split.train, test=share)
    if split.order == "by time per user":
        return split_last(split.train, n=1, seed=seed)
    cut = split_random if split.train.kind == "ratings" else split_per_user
    return cut(split.train, test=share, seed=seed)
