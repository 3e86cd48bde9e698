"""Validation split: a validation set held out from the training set, used to choose hyperparameters."""

from __future__ import annotations

from cofactor import checks
from cofactor.checks import Seed
from cofactor.evaluate.split import (
    Split,
    require_split,
    split_by_time,
    split_last,
    split_per_user,
    split_random,
    split_users,
)

__all__ = ["split_for_validation"]


def split_for_validation(split: Split, *, share: float = 0.2, seed: Seed = 0) -> Split:
    """Split a validation set off the training set, in the same way as the test set was split off.

    The same kind of split is used so that the hyperparameters are chosen for the same task: held-out users, a split by
    time, the last row of each user, or a random split (for events, a share of each user's rows).

    Parameters
    ----------
    split : Split
        Outer split; its test set is not used.
    share : float, default 0.2
        Share of the rows (or users) to use for validation, between 0 and 1.
    seed : int, Generator or None, default 0
        Seed for the split.

    Returns
    -------
    Split
        Split whose test set is the validation set.

    Raises
    ------
    ParameterError
        If `share` is not between 0 and 1 or `seed` is invalid.
    DataError
        If the training set is too small to be split.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> split_for_validation(cofactor.split_random(ratings, test=0.2), share=0.5)
    Split(random, 50% of the rows, seed 0: 2 train, 2 test)
    """
    require_split("split", split)
    checks.fraction("share", share)
    seed = checks.seed(seed)
    if split.fold_in is not None:
        return split_users(split.train, test=share, seed=seed)
    if split.order == "by time":
        return split_by_time(split.train, test=share)
    if split.order == "by time per user":
        return split_last(split.train, n=1, seed=seed)
    make_split = split_random if split.train.kind == "ratings" else split_per_user
    return make_split(split.train, test=share, seed=seed)
