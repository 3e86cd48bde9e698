"""Splits of a table into train and test; each split checks itself for leakage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Bool, Int32, Int64, random_stream
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.data.readers.times import time_cells
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.evaluate.leakage import (
    require_no_future,
    require_no_future_per_user,
    require_no_shared_pairs,
    require_no_shared_users,
    require_same_ids,
    warn_about_time_units,
)
from cofactor.validation import require_valid_fields, validated

__all__ = [
    "Exclude",
    "Order",
    "Split",
    "TimeLike",
    "split_by_time",
    "split_last",
    "split_per_user",
    "split_random",
    "split_users",
]

TimeLike: TypeAlias = int | datetime | date | np.datetime64 | str
"""A point in time: whole seconds since 1970, a date and time, or its ISO text."""

Order: TypeAlias = Literal["any", "by time", "by time per user"]
Exclude: TypeAlias = Literal["seen", "positives"]
"""What lists leave out when events are scored. "seen": all items a user has seen, including low ratings, as in
production; "positives": the training events only, as in published tables."""


@dataclass(frozen=True, eq=False)
class Split:
    """Train and test parts of a table, checked for leakage when created.

    Attributes
    ----------
    train : Interactions
        What a model may learn from.
    test : Interactions
        What a model is scored on; with the same ids, and so the same row numbers, as train.
    description : str, default "predefined"
        How the split was made, for the head of a table of results.
    order : {'any', 'by time', 'by time per user'}, default "any"
        What is claimed about time, and checked. "any": nothing; "by time": all training rows are older than all test
        rows; "by time per user": the same within each user, equal times allowed.
    fold_in : Interactions or None
        For users that are held out completely, the rows to fold into a fitted model; else None.

    Raises
    ------
    LeakageError
        If a (user, item) pair is in two parts, a training row is later than `order` allows, a held-out user has
        training rows, or the parts number their ids differently. The message has an example.
    KindError
        If one part holds ratings and another events.
    DataError
        If train or test is empty.
    ParameterError
        If `order` is not valid.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns(["ana", "ana", "tom"], ["alien", "heat", "heat"], [5, 3, 4])
    >>> cofactor.Split(table.select([True, False, True]), table.select([False, True, False]), "by hand")
    Split(by hand: 2 train, 1 test)
    >>> cofactor.Split(table, table)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'ana' and item 'alien' are in train and in test (and 2 more pairs): ...
    """

    train: Interactions
    test: Interactions
    description: str = "predefined"
    order: Order = "any"
    fold_in: Interactions | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        self.validate()

    def __repr__(self) -> str:
        fold_in = "" if self.fold_in is None else f", {len(self.fold_in):,} to fold in"
        return f"Split({self.description}: {len(self.train):,} train{fold_in}, {len(self.test):,} test)"

    def validate(self) -> None:
        """Check everything that this split claims; called when it is created.

        Raises
        ------
        CofactorError
            As the class does.
        """
        checks.text("description", self.description)
        checks.choice("order", self.order, get_args(Order))
        for part in ("train", "test", "fold_in"):
            if part != "fold_in" or self.fold_in is not None:
                require_interactions(part, getattr(self, part))
        for part, table in (("train", self.train), ("test", self.test)):
            if len(table) == 0:
                raise DataError(
                    f"the split ({self.description}) leaves nothing in {part}: choose another share, or use more rows"
                )
        self._check_part(self.test, "test")
        if self.order != "any":
            warn_about_time_units(self.train, self.test)
        if self.order == "by time":
            require_no_future(self.train, self.test)
        elif self.order == "by time per user":
            require_no_future_per_user(self.train, self.test)
        if self.fold_in is not None:
            self._check_part(self.fold_in, "fold_in")
            require_no_shared_users(self.train, self.fold_in, "fold_in")
            require_no_shared_users(self.train, self.test, "test")
            require_no_shared_pairs(self.fold_in, self.test, ("fold_in", "test"))

    def _check_part(self, other: Interactions, part: str) -> None:
        """Check that a part has the kind and the ids of train and shares no pair with it."""
        if self.train.kind != other.kind:
            raise KindError(
                f"train holds {self.train.kind} and {part} holds {other.kind}: both must be of the same kind"
            )
        require_same_ids(self.train, other, part)
        require_no_shared_pairs(self.train, other, ("train", part))

    def excluding(self, exclude: Exclude) -> Split:
        """Return the split for lists that leave out what `exclude` says.

        Parameters
        ----------
        exclude : {'seen', 'positives'}
            See `Exclude`.

        Returns
        -------
        Split
            This object for "seen"; for "positives" a split whose parts have no record of other items that users
            have seen.

        Raises
        ------
        ParameterError
            For another choice.

        Examples
        --------
        >>> import cofactor
        >>> users, items = [1, 1, 1, 2, 2], [7, 8, 9, 7, 8]
        >>> events = cofactor.Interactions.from_columns(users, items, [5, 5, 1, 4, 5]).to_events(min_rating=4)
        >>> split = cofactor.split_random(events, test=0.25)
        >>> len(split.train.seen), split.excluding("positives").train.seen is None
        (1, True)
        """
        checks.choice("exclude", exclude, get_args(Exclude))
        if exclude == "seen":
            return self
        fold_in = None if self.fold_in is None else replace(self.fold_in, seen=None)
        return replace(self, train=replace(self.train, seen=None), fold_in=fold_in)

    @cached_property
    def held_out_users(self) -> Int32 | None:
        """Rows of the users held out completely: ndarray of shape (n,), int32, ascending; None if there are none."""
        if self.fold_in is None:
            return None
        return np.unique(np.concatenate([self.fold_in.u, self.test.u])).astype(np.int32)

    @property
    def history(self) -> Interactions:
        """Rows of the users before the test: `fold_in` if users are held out completely, else train."""
        return self.train if self.fold_in is None else self.fold_in


def require_split(name: str, value: object) -> Split:
    """Return the value if it is a split.

    Parameters
    ----------
    name : str
        The argument's name.
    value : object
        The argument.

    Returns
    -------
    Split
        The value.

    Raises
    ------
    DataError
        For anything else, such as a table.

    Examples
    --------
    >>> require_split("split", [1, 2])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: split must be of type Split, not [1, 2]: a split is checked for leakage; make one ...
    """
    advice = (
        "a split is checked for leakage; make one by cofactor.split_random or a similar function, or from two tables "
        "by cofactor.evaluate.split_predefined"
    )
    return checks.instance(name, value, Split, advice)


def split_random(interactions: Interactions, *, test: float = 0.2, seed: Seed = 0) -> Split:
    """Split rows at random: floor(test * n) of n rows are the test part.

    This measures how well blanks of the rating matrix are filled in. All ids stay in both parts.

    Parameters
    ----------
    interactions : Interactions
        The table.
    test : float, default 0.2
        Share of the rows for testing, between 0 and 1.
    seed : int, Generator or None, default 0
        Seed of the draw; the same seed gives the same split.

    Returns
    -------
    Split
        The split.

    Raises
    ------
    ParameterError
        If `test` is not between 0 and 1 or `seed` is not valid.
    DataError
        If the share is less than one row, as for an empty table.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> cofactor.split_random(ratings, test=0.4)
    Split(random, 40% of the rows, seed 0: 3 train, 2 test)
    """
    seed = checks.seed(seed)
    test = checks.fraction("test", test)
    interactions = require_interactions("interactions", interactions)
    n = len(interactions)
    drawn = random_stream(seed, "split random").permutation(n)[: int(_floor_share(test, n))]
    if len(drawn) == 0:
        raise DataError(f"test={test:g} of {n} rows is less than one row: raise test or use more rows")
    is_test = np.zeros(n, bool)
    is_test[drawn] = True
    return _make_split(interactions, is_test, f"random, {test:.0%} of the rows, seed {seed}")


@validated
def split_per_user(interactions: Interactions, *, test: float = 0.2, seed: Seed = 0) -> Split:
    """Split the rows of each user at random: floor(test * n) of the user's n rows are in the test part.

    Users with short histories keep all rows in train.

    Parameters
    ----------
    interactions : Interactions
        The table.
    test : float, default 0.2
        Share of each user's rows for testing, between 0 and 1.
    seed : int, Generator or None, default 0
        Seed of the draw; the same seed gives the same split.

    Returns
    -------
    Split
        The split.

    Raises
    ------
    ParameterError
        If `test` is not between 0 and 1 or `seed` is not valid.
    DataError
        If the share is less than one row for all users, as for an empty table.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> cofactor.split_per_user(ratings, test=0.5).test.by_user.counts.tolist()
    [1, 1, 0]
    """
    seed = checks.seed(seed)
    test = checks.fraction("test", test)
    interactions = require_interactions("interactions", interactions)
    counts = interactions.by_user.counts
    order = _shuffle_within_users(interactions, random_stream(seed, "split per user"))
    is_test = _mark_first_rows(interactions, order, _floor_share(test, counts))
    if not is_test.any():
        raise DataError(
            f"no user has {int(np.ceil(1 / test - 1e-9))} rows, the fewest of which test={test:g} is a whole row "
            f"(the longest history has {counts.max(initial=0)}): raise test, or use split_random"
        )
    return _make_split(interactions, is_test, f"per user, {test:.0%} of each user's rows, seed {seed}")


def split_last(interactions: Interactions, *, n: int = 1, seed: Seed = 0) -> Split:
    """Split off the last n rows of each user by time; users with n rows or fewer keep all in train.

    Within a user no training row is later than a test row. Across users it may be: a model can still learn from the
    future of other users, which only `split_by_time` prevents. Rows of the same user and time have no order, so it is
    drawn at random; the description says for how many users such a tie decides which rows are test rows.

    Parameters
    ----------
    interactions : Interactions
        The table, with times.
    n : int, default 1
        Number of rows of each user for testing, at least 1.
    seed : int, Generator or None, default 0
        Seed of the order among rows of the same user and time. It has no effect without ties.

    Returns
    -------
    Split
        Of order "by time per user".

    Raises
    ------
    ParameterError
        If `n` is below 1 or `seed` is not valid.
    DataError
        If the table has no times, or no user has more than n rows.

    Examples
    --------
    >>> import cofactor
    >>> users, items, times = [1, 1, 2, 2], [7, 8, 7, 8], [30, 20, 90, 90]
    >>> ratings = cofactor.Interactions.from_columns(users, items, [5, 4, 4, 3], times=times)
    >>> split = cofactor.split_last(ratings)
    >>> split
    Split(last row of each user, ties in time of 1 user broken with seed 0: 2 train, 2 test)
    >>> split.test.frame().rows()[0]
    (1, 7, 5.0, 30)
    """
    seed = checks.seed(seed)
    interactions = require_interactions("interactions", interactions)
    n = checks.whole_number("n", n, low=1, high=MAX_ROWS)
    times, counts = _times(interactions), interactions.by_user.counts
    drawn = random_stream(seed, "split last").permutation(len(interactions))
    order = np.lexsort((drawn, times, interactions.u))[::-1]
    is_test = _mark_first_rows(interactions, order, np.where(counts > n, n, 0))
    if not is_test.any():
        raise DataError(f"no user has more than n={n} rows (the longest history has {counts.max(initial=0)}): lower n")
    rows = "row" if n == 1 else f"{n} rows"
    first_test = np.full(interactions.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first_test, interactions.u[is_test], times[is_test])
    n_tied_users = np.unique(interactions.u[~is_test & (times == first_test[interactions.u])]).size
    users = "1 user" if n_tied_users == 1 else f"{n_tied_users:,} users"
    ties = f", ties in time of {users} broken with seed {seed}" if n_tied_users else ""
    return _make_split(
        interactions, is_test, f"last {rows} of each user{ties}", "by time per user", seen_until=first_test
    )


def split_by_time(interactions: Interactions, *, test: float = 0.2, at: TimeLike | None = None) -> Split:
    """Split at one moment: rows at or after it are the test part, so train holds nothing of the future.

    Parameters
    ----------
    interactions : Interactions
        The table, with times.
    test : float, default 0.2
        Without `at`, the split is where the test part is closest to this share of the rows. Rows of the same time stay
        together, so the share is rarely exact.
    at : int, datetime, date, numpy.datetime64 or str, optional
        The moment of the split: whole seconds since 1970, or a date and time. A text is ISO, as in files. Dates and
        times without a zone are UTC; fractions of a second are rounded down.

    Returns
    -------
    Split
        Of order "by time".

    Raises
    ------
    ParameterError
        If `test` is not between 0 and 1, or `at` is not a moment.
    DataError
        If the table has no times, all times are equal, or `at` leaves a part empty.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2], [7, 8, 7], [5, 4, 4], times=[30, 20, 90])
    >>> cofactor.split_by_time(ratings)
    Split(from 1970-01-01T00:01:30 UTC on: 2 train, 1 test)
    >>> cofactor.split_by_time(ratings, at="1970-01-01 00:00:25")
    Split(from 1970-01-01T00:00:25 UTC on: 1 train, 2 test)
    """
    at = None if at is None else _to_seconds("at", at)
    test = checks.fraction("test", test)
    interactions = require_interactions("interactions", interactions)
    times = np.sort(_times(interactions))
    first, last = (int(times[0]), int(times[-1])) if len(times) else (0, 0)
    if at is None and first == last:
        raise DataError(
            f"all {len(times)} rows have the same time ({first}), so they cannot be split by time: use split_random"
        )
    if at is not None and not first < at <= last:
        part = "train" if at <= first else "test"
        raise DataError(
            f"at={at} leaves nothing in {part}: times go from {first} to {last}; "
            "choose a moment after the first and not after the last one"
        )
    cutoff = _nearest_cutoff(times, test) if at is None else at
    moment = np.datetime_as_string(np.datetime64(cutoff, "s"))
    before = np.full(interactions.n_users, cutoff - 1)
    return _make_split(
        interactions, _times(interactions) >= cutoff, f"from {moment} UTC on", "by time", seen_until=before
    )


@validated
def split_users(interactions: Interactions, *, test: float = 0.1, fold_in_share: float = 0.8, seed: Seed = 0) -> Split:
    """Hold out floor(test * n) of n users completely (strong generalization): train has none of their rows.

    Parameters
    ----------
    interactions : Interactions
        The table.
    test : float, default 0.1
        Share of the users to hold out, between 0 and 1. Only users with at least two rows are held out.
    fold_in_share : float, default 0.8
        Share of the rows of a held-out user to fold in, between 0 and 1: floor(fold_in_share * m) of m rows, at least 1
        and at most m - 1, drawn at random. The others are test rows.
    seed : int, Generator or None, default 0
        Seed of the draws; the same seed gives the same split.

    Returns
    -------
    Split
        With the rows to fold in as `fold_in`.

    Raises
    ------
    ParameterError
        If `test` or `fold_in_share` is not between 0 and 1, or `seed` is not valid.
    DataError
        If the share is less than one user.

    References
    ----------
    Marlin (2004), "Collaborative filtering: a machine learning perspective"; Liang et al. (2018), "Variational
    autoencoders for collaborative filtering", section 4.

    Examples
    --------
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 9, 8], [5, 4, 4, 2, 5])
    >>> split = cofactor.split_users(ratings, test=0.4)
    >>> split, len(split.held_out_users)
    (Split(1 users held out, 80% of their rows to fold in, seed 0: 3 train, 1 to fold in, 1 test), 1)
    """
    seed = checks.seed(seed)
    test = checks.fraction("test", test)
    interactions = require_interactions("interactions", interactions)
    fold_in_share = checks.fraction("fold_in_share", fold_in_share)
    counts = interactions.by_user.counts
    eligible, n_users = np.flatnonzero(counts >= 2), int((counts > 0).sum())
    n = min(int(_floor_share(test, n_users)), len(eligible))
    if n == 0:
        raise DataError(
            f"test={test:g} of {n_users} users, {len(eligible)} of them with two rows or more, is less than one user: "
            "raise test, or use split_random"
        )
    held_out = np.zeros(interactions.n_users, bool)
    held_out[random_stream(seed, "split users", "who").permutation(eligible)[:n]] = True
    order = _shuffle_within_users(interactions, random_stream(seed, "split users", "given"))
    n_fold_in = np.where(held_out, np.clip(_floor_share(fold_in_share, counts), 1, np.maximum(counts - 1, 1)), 0)
    is_fold_in = _mark_first_rows(interactions, order, n_fold_in)
    is_held_out = held_out[interactions.u]
    train_seen, held_out_seen = interactions.seen, interactions.seen
    if interactions.seen is not None:
        seen_by_held_out = held_out[interactions.seen.u]
        train_seen, held_out_seen = (
            interactions.seen.select(~seen_by_held_out),
            interactions.seen.select(seen_by_held_out),
        )
    return Split(
        replace(interactions.select(~is_held_out), seen=train_seen),
        replace(interactions.select(is_held_out & ~is_fold_in), seen=None),
        f"{n:,} users held out, {fold_in_share:.0%} of their rows to fold in, seed {seed}",
        fold_in=replace(interactions.select(is_fold_in), seen=held_out_seen),
    )


def _make_split(
    interactions: Interactions,
    is_test: Bool,
    description: str,
    order: Order = "any",
    *,
    seen_until: Int64 | None = None,
) -> Split:
    """Return the split with these test rows; what users have seen goes to the training part.

    seen_until (n_users,) int64: low ratings of a user after this time are in neither part; None for no limit.
    """
    seen = interactions.seen
    if seen is not None and seen.times is not None and seen_until is not None:
        seen = seen.select(seen.times <= seen_until[seen.u])
    train = replace(interactions.select(~is_test), seen=seen)
    return Split(train, replace(interactions.select(is_test), seen=None), description, order)


def _floor_share(share: float, n: Int64 | int) -> Int64:
    """Return floor(share * n); 0.29 of 100 is 29 although 0.29 * 100 is 28.999999999999996."""
    return np.floor(np.asarray(n) * share + 1e-9).astype(np.int64)


def _times(interactions: Interactions) -> Int64:
    """Return the times of a table. Raises DataError if it has none."""
    if interactions.times is None:
        raise DataError(
            "this table has no times: name its time column when reading it, or use split_random or split_per_user"
        )
    return interactions.times


def _to_seconds(name: str, moment: Any) -> int:
    """Return a moment in whole seconds since 1970. Raises ParameterError."""
    error = ParameterError(
        f"{name} must be whole seconds since 1970, a date and time, or its ISO text, not {checks.describe(moment)}"
    )
    if isinstance(moment, int | np.integer) and not isinstance(moment, bool | np.timedelta64):
        return checks.whole_number(name, moment)
    if isinstance(moment, str):
        if not moment.isascii():
            raise error
        cells = time_cells(pl.Series(name, [moment]))
        if cells.bad.any() or not isinstance(cells.values, pl.Series):
            raise error
        return int(cells.values[0])
    try:
        if isinstance(moment, datetime):
            zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        if isinstance(moment, date):
            return (moment - date(1970, 1, 1)).days * 86_400
        if isinstance(moment, np.datetime64) and not np.isnat(moment):
            return int(moment.astype("datetime64[s]").astype(np.int64))
    except (OverflowError, TypeError, ValueError):  # pandas' NaT is an instance of datetime
        pass
    raise error


def _nearest_cutoff(sorted_times: Int64, test: float) -> int:
    """Return the time whose rows at or after it are closest to the share `test`, the earlier one of equals."""
    starts = np.flatnonzero(sorted_times[1:] > sorted_times[:-1]) + 1
    n_test = len(sorted_times) - starts
    return int(sorted_times[starts[np.abs(n_test - test * len(sorted_times)).argmin()]])


def _shuffle_within_users(interactions: Interactions, stream: np.random.Generator) -> Int64:
    """Return row numbers grouped by user, in random order within each user."""
    shuffled = stream.permutation(len(interactions))
    return shuffled[np.argsort(interactions.u[shuffled], kind="stable")]


def _mark_first_rows(interactions: Interactions, order: Int64, n_per_user: Int64) -> Bool:
    """Mark the first how_many[u] rows of each user in `order`, which is grouped by user."""
    u = interactions.u[order]
    starts = np.concatenate([np.ones(1, bool), u[1:] != u[:-1]])[: len(u)]
    position = np.arange(len(u)) - np.maximum.accumulate(np.where(starts, np.arange(len(u)), 0))
    marked = np.zeros(len(u), bool)
    marked[order[position < n_per_user[u]]] = True
    return marked
