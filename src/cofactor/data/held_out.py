"""Held-out rows: a fraction of each user's rows, the latest if timestamps can order them, otherwise random rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cofactor import checks
from cofactor.arrays import Bool, Int64, random_stream
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions
from cofactor.validation import validated

__all__ = ["held_out_rows", "hold_out", "is_ordered", "mark_first_rows", "shuffle_within_users"]

MAX_SIMULTANEOUS = 0.1
"""Timestamps can order each user's rows if at most this fraction of consecutive rows have the same timestamp."""


@validated
def hold_out(interactions: Interactions, *, share: float = 0.2, seed: Seed = 0) -> tuple[Interactions, Interactions]:
    """Split a table in two: training rows, and rows held out for selecting hyperparameters or weights.

    Parameters
    ----------
    interactions : Interactions
        Training table.
    share : float, default 0.2
        As in `held_out_rows`.
    seed : int, Generator or None, default 0
        As in `held_out_rows`.

    Returns
    -------
    train : Interactions
        The remaining rows. Its `seen` lacks the same share of the rows of each user.
    held_out : Interactions
        The held-out rows, without `seen`.

    Notes
    -----
    The rows in `seen` are held out too, because a user's future items include those that they will dislike. If only
    these items were excluded from the lists, a ranker could score well without telling liked from disliked items.

    Examples
    --------
    >>> ratings = Interactions.from_columns(np.zeros(10), np.arange(10), [1, 2, 3, 4, 5] * 2)
    >>> train, held_out = hold_out(ratings.to_events(min_rating=2), share=0.5)
    >>> len(train), len(train.seen), len(held_out), held_out.seen
    (4, 1, 4, None)
    """
    seed = checks.seed(seed)
    is_held_out = held_out_rows(interactions, share=share, seed=seed)
    train, held_out = interactions.select(~is_held_out), interactions.select(is_held_out)
    if interactions.seen is not None:
        train = replace(train, seen=interactions.seen.select(~held_out_rows(interactions.seen, share=share, seed=seed)))
    return train, replace(held_out, seen=None)


@validated
def held_out_rows(interactions: Interactions, *, share: float = 0.2, seed: Seed = 0) -> Bool:
    """Choose training rows to hold out for selecting hyperparameters or weights.

    Parameters
    ----------
    interactions : Interactions
        Training table.
    share : float, default 0.2
        Expected share of the rows of each user, between 0 and 1. At least one row of each user stays in the table.
    seed : int, Generator or None, default 0
        Seed for rounding the number of rows of each user, for the order of simultaneous rows, and for the choice of
        rows if times cannot order them.

    Returns
    -------
    ndarray of shape (n,), bool
        Mask of the held-out rows. If all users have a single row, they are chosen from all rows; the mask is False
        everywhere if the table has a single row.

    Notes
    -----
    Of the n rows of a user, floor(share * n + U) are held out, where U is uniform on [0, 1), so that users with few
    rows take part. If times can order each user's rows (see `is_ordered`), they are the latest rows of the user.

    Examples
    --------
    >>> table = Interactions.from_columns([1, 1, 1, 1], [6, 7, 8, 9], [5, 4, 4, 2], times=[30, 20, 90, 10])
    >>> held_out_rows(table, share=0.5).tolist()
    [True, False, True, False]
    """
    seed, share = checks.seed(seed), checks.fraction("share", share)
    stream = random_stream(seed, "held out")
    counts = interactions.by_user.counts
    n_held_out = np.floor(share * counts + stream.random(len(counts))).astype(np.int64)
    n_held_out = np.minimum(n_held_out, np.maximum(counts - 1, 0))
    order = shuffle_within_users(interactions, stream)
    if interactions.times is not None and is_ordered(interactions):
        latest_first = np.lexsort((-interactions.times[order], interactions.u[order]))
        order = order[latest_first]
    mask = mark_first_rows(interactions, order, n_held_out)
    if not mask.any():
        n = len(interactions)
        mask[stream.permutation(n)[: max(int(share * n), min(n - 1, 1))]] = True
    return mask


def is_ordered(interactions: Interactions) -> bool:
    """Return whether the timestamps are fine enough to order each user's rows.

    This is so if few consecutive rows of a user have the same timestamp.

    Parameters
    ----------
    interactions : Interactions
        Table.

    Returns
    -------
    bool
        False if the table has no times, if all rows have the same time, or if more than 10 % of the rows that follow
        another row of the same user have its time.

    Notes
    -----
    Simultaneous rows were entered together, or times are rounded. Then the order of rows says little about the order of
    the events, and the last rows of a history are not what a user did next. On MovieLens-100k, 46 % of the consecutive
    ratings of a user have the same time, in MovieTweetings none.

    Examples
    --------
    >>> one_by_one = Interactions.from_columns([1, 1, 1], [6, 7, 8], [5, 4, 4], times=[30, 20, 90])
    >>> at_once = Interactions.from_columns([1, 1, 1], [6, 7, 8], [5, 4, 4], times=[30, 30, 90])
    >>> is_ordered(one_by_one), is_ordered(at_once)
    (True, False)
    """
    times = interactions.times
    if times is None or not len(times) or times.min() == times.max():
        return False
    order = np.lexsort((times, interactions.u))
    is_same_user = interactions.u[order[1:]] == interactions.u[order[:-1]]
    is_simultaneous = times[order[1:]] == times[order[:-1]]
    return int((is_same_user & is_simultaneous).sum()) <= MAX_SIMULTANEOUS * int(is_same_user.sum())


def shuffle_within_users(interactions: Interactions, stream: np.random.Generator) -> Int64:
    """Return row numbers grouped by user, in random order within each user.

    Parameters
    ----------
    interactions : Interactions
        Table.
    stream : Generator
        Stream of random numbers.

    Returns
    -------
    ndarray of shape (n,), int64
        Row numbers.
    """
    shuffled = stream.permutation(len(interactions))
    return shuffled[np.argsort(interactions.u[shuffled], kind="stable")]


def mark_first_rows(interactions: Interactions, order: Int64, n_per_user: Int64) -> Bool:
    """Return a mask of the first rows of each user in a given order.

    Parameters
    ----------
    interactions : Interactions
        Table with n rows.
    order : ndarray of shape (n,), int64
        Row numbers, grouped by user.
    n_per_user : ndarray of shape (n_users,), int64
        Number of rows to mark for each user.

    Returns
    -------
    ndarray of shape (n,), bool
        Mask of the rows of the table.
    """
    u = interactions.u[order]
    starts = np.concatenate([np.ones(1, bool), u[1:] != u[:-1]])[: len(u)]
    position = np.arange(len(u)) - np.maximum.accumulate(np.where(starts, np.arange(len(u)), 0))
    mask = np.zeros(len(u), bool)
    mask[order[position < n_per_user[u]]] = True
    return mask
