"""Train-test splits of a table, checked for leakage on creation."""

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
from cofactor.data.held_out import mark_first_rows, shuffle_within_users
from cofactor.data.interactions import Interactions, require_interactions
from cofactor.data.readers.times import time_cells
from cofactor.data.scale import Scale
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.evaluate.leakage import (
    require_no_future,
    require_no_future_per_user,
    require_no_shared_pairs,
    require_no_shared_users,
    require_same_ids,
    warn_if_time_units_differ,
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
"""A point in time: integer seconds since the Unix epoch, a date or datetime, or an ISO 8601 string."""

Order: TypeAlias = Literal["any", "by time", "by time per user"]
Exclude: TypeAlias = Literal["seen", "positives"]
"""Items excluded from ranked lists when events are scored. "seen": all items a user has seen, including low ratings, as
in production; "positives": only the training events, as in published results."""


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test sets from one table, checked for leakage on creation.

    Attributes
    ----------
    train : Interactions
        Training set.
    test : Interactions
        Test set, with the same IDs, and therefore the same row numbers, as `train`.
    description : str, default "predefined"
        How the split was made, for the heading of a results table.
    order : {'any', 'by time', 'by time per user'}, default "any"
        Temporal order, which is checked. "any": no constraint; "by time": all training rows are older than all test
        rows; "by time per user": no training row is later than a test row of the same user.
    fold_in : Interactions or None
        Rows of fully held-out users to fold into a fitted model; None if no users are held out.

    Raises
    ------
    LeakageError
        If a user-item pair is in two parts, a training row is later than `order` allows, a held-out user has training
        rows, or the parts number their IDs differently. The message gives an example.
    KindError
        If one part contains ratings and another events.
    DataError
        If train or test is empty.
    ParameterError
        If `order` is invalid.

    Examples
    --------
    >>> import cofactor
    >>> table = cofactor.Interactions.from_columns(["ana", "ana", "tom"], ["alien", "heat", "heat"], [5, 3, 4])
    >>> cofactor.Split(table.select([True, False, True]), table.select([False, True, False]), "by hand")
    Split(by hand: 2 train, 1 test)
    >>> cofactor.Split(table, table)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.LeakageError: user 'ana' and item 'alien' are in both train and test (and 2 more pairs); ...
    """

    train: Interactions
    test: Interactions
    description: str = "predefined"
    order: Order = "any"
    fold_in: Interactions | None = None

    def __post_init__(self) -> None:
        require_valid_fields(self)
        self.validate()
        if self.train.scale is not None and self.train.scale.is_inferred:
            train = replace(self.train, scale=Scale.infer(self.train.values))
            object.__setattr__(self, "train", train)

    def __repr__(self) -> str:
        fold_in = "" if self.fold_in is None else f", {len(self.fold_in):,} to fold in"
        return f"Split({self.description}: {len(self.train):,} train{fold_in}, {len(self.test):,} test)"

    def validate(self) -> None:
        """Check the split for leakage and consistency; called on creation.

        Raises
        ------
        CofactorError
            As documented for the class.
        """
        checks.text("description", self.description)
        checks.choice("order", self.order, get_args(Order))
        for part in ("train", "test", "fold_in"):
            if part != "fold_in" or self.fold_in is not None:
                require_interactions(part, getattr(self, part))
        for part, table in (("train", self.train), ("test", self.test)):
            if len(table) == 0:
                raise DataError(
                    f"the split ({self.description}) leaves {part} empty; choose another split, or use more rows"
                )
        self._check_part(self.test, "test")
        if self.order != "any":
            warn_if_time_units_differ(self.train, self.test)
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
        """Check that a part has the same kind and IDs as `train` and no pairs in common with it."""
        if self.train.kind != other.kind:
            raise KindError(
                f"`train` contains {self.train.kind}, but `{part}` contains {other.kind}; both must be of the same kind"
            )
        require_same_ids(self.train, other, part)
        require_no_shared_pairs(self.train, other, ("train", part))

    def excluding(self, exclude: Exclude) -> Split:
        """Return a copy of the split that excludes the items selected by `exclude` from ranked lists.

        Parameters
        ----------
        exclude : {'seen', 'positives'}
            See `Exclude`.

        Returns
        -------
        Split
            This object for "seen"; for "positives", a split whose parts do not record the other items that users have
            seen.

        Raises
        ------
        ParameterError
            If `exclude` is invalid.

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

    @validated
    def decayed(self, *, half_life: float) -> Split:
        """Return a copy of the split with lower weights for older training rows; see `Interactions.decayed`.

        Parameters
        ----------
        half_life : float
            Age in days, counted from the latest row of the part, at which a weight is halved; above 0.

        Returns
        -------
        Split
            The split with these weights in `train` and `fold_in`; test rows keep their weights.

        Raises
        ------
        ParameterError
            If `half_life` is not a finite number above 0.
        DataError
            If the table has no times.

        Examples
        --------
        >>> import cofactor
        >>> table = cofactor.Interactions.from_columns([1, 1, 1], [7, 8, 9], [5, 4, 3], times=[0, 86_400, 172_800])
        >>> cofactor.split_by_time(table, test=0.3).decayed(half_life=1).train.weights.tolist()
        [0.5, 1.0]
        """
        fold_in = None if self.fold_in is None else self.fold_in.decayed(half_life=half_life)
        return replace(self, train=self.train.decayed(half_life=half_life), fold_in=fold_in)

    @cached_property
    def held_out_users(self) -> Int32 | None:
        """Row numbers of fully held-out users: ndarray of shape (n,), int32, ascending; None if there are none."""
        if self.fold_in is None:
            return None
        return np.unique(np.concatenate([self.fold_in.u, self.test.u])).astype(np.int32)

    @property
    def history(self) -> Interactions:
        """Interactions available before the test: `fold_in` if users are fully held out, otherwise `train`."""
        return self.train if self.fold_in is None else self.fold_in


def require_split(name: str, value: object) -> Split:
    """Check that a value is a Split, and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : object
        Argument to check.

    Returns
    -------
    Split
        The value.

    Raises
    ------
    DataError
        If the value is not a Split, for example if it is a table.

    Examples
    --------
    >>> require_split("split", [1, 2])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: split must be of type Split, not [1, 2]: a split is checked for leakage; create ...
    """
    advice = (
        "a split is checked for leakage; create one with cofactor.split_random or a similar function, or from two "
        "tables with cofactor.evaluate.split_predefined"
    )
    return checks.instance(name, value, Split, advice)


def split_random(interactions: Interactions, *, test: float = 0.2, seed: Seed = 0) -> Split:
    """Split rows at random: floor(test * n) of n rows form the test set.

    This measures how well missing entries of the rating matrix are predicted. Both parts keep all IDs.

    Parameters
    ----------
    interactions : Interactions
        Table to split.
    test : float, default 0.2
        Share of the rows to use for testing, between 0 and 1.
    seed : int, Generator or None, default 0
        Random seed; the same seed gives the same split.

    Returns
    -------
    Split
        Training and test sets.

    Raises
    ------
    ParameterError
        If `test` is not between 0 and 1 or `seed` is invalid.
    DataError
        If the share is less than one row, for example for an empty table.

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
    test_rows = random_stream(seed, "split random").permutation(n)[: int(_floor_share(test, n))]
    if len(test_rows) == 0:
        raise DataError(f"test={test:g} of {n} rows is less than one row; increase test or use more rows")
    is_test = np.zeros(n, bool)
    is_test[test_rows] = True
    return _make_split(interactions, is_test, f"random, {test:.0%} of the rows, seed {seed}")


@validated
def split_per_user(interactions: Interactions, *, test: float = 0.2, seed: Seed = 0) -> Split:
    """Split each user's rows at random: floor(test * n) of the user's n rows go to the test set.

    For users with short histories, all rows stay in the training set.

    Parameters
    ----------
    interactions : Interactions
        Table to split.
    test : float, default 0.2
        Share of each user's rows to use for testing, between 0 and 1.
    seed : int, Generator or None, default 0
        Random seed; the same seed gives the same split.

    Returns
    -------
    Split
        Training and test sets.

    Raises
    ------
    ParameterError
        If `test` is not between 0 and 1 or `seed` is invalid.
    DataError
        If the share is less than one row for every user, for example for an empty table.

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
    order = shuffle_within_users(interactions, random_stream(seed, "split per user"))
    is_test = mark_first_rows(interactions, order, _floor_share(test, counts))
    if not is_test.any():
        raise DataError(
            f"no user has {int(np.ceil(1 / test - 1e-9))} rows, the minimum for a test row with test={test:g} "
            f"(the longest history has {counts.max(initial=0)} rows); increase test, or use split_random"
        )
    return _make_split(interactions, is_test, f"per user, {test:.0%} of each user's rows, seed {seed}")


def split_last(interactions: Interactions, *, n: int = 1, seed: Seed = 0) -> Split:
    """Split off the last n rows of each user by time; users with at most n rows stay in the training set.

    For each user, no training row is later than a test row. This does not hold across users: a model can still learn
    from other users' future interactions, which only `split_by_time` prevents. Rows with the same user and time are
    ordered at random; the description of the split reports how many users have test rows determined by such a tie.

    Parameters
    ----------
    interactions : Interactions
        Table to split, with times.
    n : int, default 1
        Number of rows per user to use for testing, at least 1.
    seed : int, Generator or None, default 0
        Seed for ordering rows with the same user and time. It has no effect without ties.

    Returns
    -------
    Split
        Split with order "by time per user".

    Raises
    ------
    ParameterError
        If `n` is less than 1 or `seed` is invalid.
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
    tie_breakers = random_stream(seed, "split last").permutation(len(interactions))
    order = np.lexsort((tie_breakers, times, interactions.u))[::-1]
    is_test = mark_first_rows(interactions, order, np.where(counts > n, n, 0))
    if not is_test.any():
        raise DataError(
            f"no user has more than n={n} rows (the longest history has {counts.max(initial=0)}); decrease n"
        )
    rows = "row" if n == 1 else f"{n} rows"
    first_test = np.full(interactions.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first_test, interactions.u[is_test], times[is_test])
    n_tied_users = np.unique(interactions.u[~is_test & (times == first_test[interactions.u])]).size
    users = "1 user" if n_tied_users == 1 else f"{n_tied_users:,} users"
    ties_text = f", ties in time of {users} broken with seed {seed}" if n_tied_users else ""
    return _make_split(
        interactions, is_test, f"last {rows} of each user{ties_text}", "by time per user", seen_until=first_test
    )


def split_by_time(interactions: Interactions, *, test: float = 0.2, at: TimeLike | None = None) -> Split:
    """Split at a point in time: rows at or after it form the test set, so the training set has no future data.

    Parameters
    ----------
    interactions : Interactions
        Table to split, with times.
    test : float, default 0.2
        If `at` is None, the cutoff is chosen so that the test set is as close as possible to this share of the rows.
        Rows with the same time stay together, so the share is rarely exact.
    at : int, datetime, date, numpy.datetime64 or str, optional
        Cutoff time: integer seconds since the Unix epoch, a date or datetime, or an ISO 8601 string. Dates and times
        without a time zone are in UTC; fractional seconds are rounded down.

    Returns
    -------
    Split
        Split with order "by time".

    Raises
    ------
    ParameterError
        If `test` is not between 0 and 1, or `at` is not a valid time.
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
            f"all {len(times)} rows have the same time ({first}), so they cannot be split by time; use split_random"
        )
    if at is not None and not first < at <= last:
        part = "train" if at <= first else "test"
        raise DataError(
            f"at={at} leaves {part} empty; the times range from {first} to {last}, so choose a time after the "
            "first and not after the last"
        )
    cutoff = _nearest_cutoff(times, test) if at is None else at
    cutoff_text = np.datetime_as_string(np.datetime64(cutoff, "s"))
    seen_until = np.full(interactions.n_users, cutoff - 1)
    return _make_split(
        interactions, _times(interactions) >= cutoff, f"from {cutoff_text} UTC on", "by time", seen_until=seen_until
    )


@validated
def split_users(interactions: Interactions, *, test: float = 0.1, fold_in_share: float = 0.8, seed: Seed = 0) -> Split:
    """Hold out floor(test * n) of n users (strong generalization): the training set contains none of their rows.

    Parameters
    ----------
    interactions : Interactions
        Table to split.
    test : float, default 0.1
        Share of the users to hold out, between 0 and 1. Only users with at least two rows are held out.
    fold_in_share : float, default 0.8
        Share of each held-out user's rows to fold in, between 0 and 1: floor(fold_in_share * m) of m rows, but at least
        1 and at most m - 1, chosen at random. The remaining rows are test rows.
    seed : int, Generator or None, default 0
        Random seed; the same seed gives the same split.

    Returns
    -------
    Split
        Split with the rows to fold in as `fold_in`.

    Raises
    ------
    ParameterError
        If `test` or `fold_in_share` is not between 0 and 1, or `seed` is invalid.
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
            f"test={test:g} selects no users: {len(eligible)} of {n_users} users have at least two rows; increase test "
            "or use split_random"
        )
    held_out = np.zeros(interactions.n_users, bool)
    held_out[random_stream(seed, "split users", "who").permutation(eligible)[:n]] = True
    order = shuffle_within_users(interactions, random_stream(seed, "split users", "given"))
    n_fold_in = np.where(held_out, np.clip(_floor_share(fold_in_share, counts), 1, np.maximum(counts - 1, 1)), 0)
    is_fold_in = mark_first_rows(interactions, order, n_fold_in)
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
    """Create the split with the given test rows; records of seen items go to the training set.

    A user's low ratings after `seen_until`, (n_users,) int64, are dropped from both parts; None for no limit.
    """
    seen = interactions.seen
    if seen is not None and seen.times is not None and seen_until is not None:
        seen = seen.select(seen.times <= seen_until[seen.u])
    train = replace(interactions.select(~is_test), seen=seen)
    return Split(train, replace(interactions.select(is_test), seen=None), description, order)


def _floor_share(share: float, n: Int64 | int) -> Int64:
    """Return floor(share * n), corrected for rounding: 0.29 of 100 is 29, although 0.29 * 100 is 28.999999999999996."""
    return np.floor(np.asarray(n) * share + 1e-9).astype(np.int64)


def _times(interactions: Interactions) -> Int64:
    """Return the times of a table; raise DataError if it has none."""
    if interactions.times is None:
        raise DataError(
            "the table has no times; specify its time column when reading it, or use split_random or split_per_user"
        )
    return interactions.times


def _to_seconds(name: str, value: Any) -> int:
    """Convert a time to integer seconds since the Unix epoch; raise ParameterError if it is invalid."""
    error = ParameterError(
        f"{name} must be integer seconds since the Unix epoch, a date or datetime, or an ISO 8601 string, not "
        f"{checks.describe(value)}"
    )
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64):
        return checks.whole_number(name, value)
    if isinstance(value, str):
        if not value.isascii():
            raise error
        cells = time_cells(pl.Series(name, [value]))
        if cells.bad.any() or not isinstance(cells.values, pl.Series):
            raise error
        return int(cells.values[0])
    try:
        if isinstance(value, datetime):
            aware_time = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return (aware_time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        if isinstance(value, date):
            return (value - date(1970, 1, 1)).days * 86_400
        if isinstance(value, np.datetime64) and not np.isnat(value):
            return int(value.astype("datetime64[s]").astype(np.int64))
    except (OverflowError, TypeError, ValueError):  # pandas' NaT is an instance of datetime
        pass
    raise error


def _nearest_cutoff(sorted_times: Int64, test: float) -> int:
    """Return the time that brings the test set closest to the share `test`; the earlier time wins ties."""
    starts = np.flatnonzero(sorted_times[1:] > sorted_times[:-1]) + 1
    n_test = len(sorted_times) - starts
    return int(sorted_times[starts[np.abs(n_test - test * len(sorted_times)).argmin()]])
