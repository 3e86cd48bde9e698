"""The ratings table in row numbers: who (u) met what (i), with what value, when, and with what weight."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float32, Int32, Int64, SparseRows, read_only, require_array, signed_confidence
from cofactor.data.column_arguments import (
    ids_argument,
    numbers_argument,
    require_on_scale,
    require_same_order,
    times_argument,
    zeros_note,
)
from cofactor.data.ids import IdMap
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.data.side_table import JoinedTable, join
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.kernels.order import grouped, pairs_ascend, sorted_pairs
from cofactor.kernels.threads import results_of
from cofactor.validation import validated

__all__ = ["Interactions", "Kind", "SparseRows", "require_interactions"]

Kind: TypeAlias = Literal["ratings", "events"]

_log = logging.getLogger("cofactor")

LARGEST_RATING = 1e15
"""Ratings of a larger magnitude are rejected: sums of their squares would leave the range of float32."""

SMALLEST_SPAN = 1e-15
"""Ratings that differ by less are rejected likewise."""

LARGEST_WEIGHT = 1e12
"""Weights of a larger magnitude are rejected: no fit is accurate for them."""

FROM_OTHERS = (
    "read files and data frames with cofactor.read_ratings or cofactor.read_events, and columns with "
    "cofactor.Interactions.from_columns"
)
"""How other objects become Interactions."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Distinct (user, item) pairs, sorted by (u, i), so that the order of the file changes nothing.

    Attributes:

        users, items: the id maps; they may hold ids without any row (a split keeps all ids).
        u, i: (n,) int32 row numbers into them.
        values: (n,) float32: the rating, or how often or how much for events.
        kind: "ratings" (a blank is missing) or "events" (a blank is weak evidence of no interest).
        times: (n,) int64 seconds since 1970, or None.
        weights: (n,) float32, or None where all are 1: a factor on each row's part of the loss;
            negative, for events only, makes the row a dislike.
        scale: the scale of the ratings; None for events.
        user_table, item_table: a frame with one row per id in row order, its id column first, or None.
        report: how the load went, or None.
        seen: for events made of ratings, the ratings that are no events because they are too low (an Interactions of
            ratings with the same ids), or None. Their items are not recommended to these users.

    Made by `from_columns` and the readers. A selection of no rows is a table too, with all its ids. Raises DataError
    for columns of another type or length, row numbers that no id has, rows that are not in ascending order, and numbers
    that are not finite.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns(["bo", "ana", "bo"], ["alien", "alien", "clue"], [4, 5, 2])
    >>> ratings
    Interactions(3 ratings, 2 users x 2 items)
    >>> ratings.u.tolist(), ratings.i.tolist(), ratings.values.tolist()
    ([0, 1, 1], [0, 0, 1], [5.0, 4.0, 2.0])
    """

    users: IdMap
    items: IdMap
    u: Int32
    i: Int32
    values: Float32
    kind: Kind = "ratings"
    times: Int64 | None = None
    weights: Float32 | None = None
    scale: Scale | None = None
    user_table: pl.DataFrame | None = None
    item_table: pl.DataFrame | None = None
    report: LoadReport | None = None
    seen: Interactions | None = None

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            checks.instance(name, getattr(self, name), IdMap, "make one by IdMap.of(ids)")
        checks.choice("kind", self.kind, get_args(Kind))
        require_array("u", self.u, np.int32)
        n = len(self.u)
        require_array("i", self.i, np.int32, (n,))
        require_array("values", self.values, np.float32, (n,))
        if self.times is not None:
            require_array("times", self.times, np.int64, (n,))
        if self.weights is not None:
            require_array("weights", self.weights, np.float32, (n,))
        for name, rows, ids in (("u", self.u, self.users), ("i", self.i, self.items)):
            if n and (rows.min() < 0 or rows.max() >= len(ids)):
                raise DataError(f"{name} must hold row numbers from 0 to {len(ids) - 1}, the ids of the table")
        if not pairs_ascend(self.u, self.i):
            raise DataError("rows must be distinct (u, i) pairs in ascending order: use Interactions.from_columns")
        for name in ("values", "weights"):
            if (column := getattr(self, name)) is not None and not np.isfinite(column).all():
                raise DataError(f"{name} must be finite, not {column[~np.isfinite(column)][0]}")
        if self.weights is not None:
            _check_weights(self.weights, self.kind)
        if self.kind == "events" and n and not self.values.min() > 0:
            raise DataError(f"values of events must be above 0, not {self.values.min():g}")
        if self.seen is not None:
            seen = require_interactions("seen", self.seen)
            if not (seen.users.equals(self.users) and seen.items.equals(self.items)):
                raise DataError("seen must have the ids of the table")
        if self.scale is not None:
            checks.instance("scale", self.scale, Scale, "make one by Scale.declared(levels)")
        for name, ids in (("user_table", self.users), ("item_table", self.items)):
            if (table := getattr(self, name)) is not None:
                checks.instance(name, table, pl.DataFrame, f"join one by with_{name}")
                if len(table) != len(ids):
                    raise DataError(f"{name} must have a row for each of {len(ids):,} ids, not {len(table):,}")

    def __len__(self) -> int:
        return len(self.u)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} {self.kind}, {self.n_users:,} users x {self.n_items:,} items)"

    @property
    def n_users(self) -> int:
        """How many users there are, with rows or without."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """How many items there are, with rows or without."""
        return len(self.items)

    @property
    def density(self) -> float:
        """The share of the user x item cross-tab that is known, 0..1; 0 for an empty one.

        >>> Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2]).density
        0.75
        """
        return len(self) / max(self.n_users * self.n_items, 1)

    @property
    def confidence(self) -> Float32:
        """(n,) float32, for events: value times weight, the w of the loss (negative for a dislike), at most 1e12.

        >>> plays = Interactions.from_columns([1, 1], [7, 8], [3, 1], weights=[1, -1], kind="events")
        >>> plays.confidence.tolist()
        [3.0, -1.0]
        """
        return signed_confidence(self.values, self.weights)

    @cached_property
    def by_user(self) -> SparseRows:
        """The rows of each user, (n_users) rows of items, sharing this table's memory; empty for a user without any.

        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.by_user.counts.tolist(), ratings.by_user.row(1).columns.tolist()
        ([1, 2], [0, 1])
        """
        start = np.searchsorted(self.u, np.arange(self.n_users + 1, dtype=np.int32))  # rows are sorted by u
        rows = SparseRows(read_only(start.astype(np.int64)), self.i, self.values, self.weights)
        rows.__dict__["_sound"] = self.n_items, True, True  # __post_init__ has checked what this says
        return rows

    @cached_property
    def by_item(self) -> SparseRows:
        """The rows of each item, (n_items) rows whose `columns` are user rows, ascending; a copy.

        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.by_item.row(0).columns.tolist(), ratings.by_item.row(0).values.tolist()
        ([0, 1], [5.0, 4.0])
        """
        start, order = grouped(self.i, self.n_items)
        u, values, weights = _taken((self.u, self.values, self.weights), order)
        return SparseRows(read_only(start), u, values, weights)

    @cached_property
    def excluded(self) -> SparseRows:
        """Items that lists leave out for each user: those of `by_user`, and those of `seen`; n_users rows.

        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.to_events(positive_from=4).excluded.counts.tolist()
        [1, 2]
        """
        if self.seen is None:
            return self.by_user
        own, low = self.by_user, self.seen.by_user
        owner = np.concatenate([np.repeat(np.arange(self.n_users), rows.counts) for rows in (own, low)])
        columns, values = (np.concatenate([getattr(own, x), getattr(low, x)]) for x in ("columns", "values"))
        return SparseRows.of(owner, columns, values, self.n_users)

    def select(self, keep: Any) -> Interactions:
        """The rows where `keep` (n,) bool is true; all ids and tables stay, so row numbers do too.

        Raises ParameterError for another length, and for what is not true or false.

        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.select(ratings.values >= 5)
        Interactions(1 ratings, 2 users x 2 items)
        """
        kept = checks.mask("keep", keep, len(self))
        return replace(
            self,
            u=read_only(self.u[kept]),
            i=read_only(self.i[kept]),
            values=read_only(self.values[kept]),
            times=None if self.times is None else read_only(self.times[kept]),
            weights=None if self.weights is None else read_only(self.weights[kept]),
        )

    @validated
    def to_events(self, *, positive_from: float, gain: float = 0.0) -> Interactions:
        """Ratings at or above `positive_from`, as events of value 1; the catalog does not shrink.

            value = 1 + gain (rating - positive_from)

        gain: how much more an event counts for each step of 1 that its rating lies above: at 0.5, from 4 on, a 5 counts
        1.5 times. Weights stay. Lower ratings are not events, but their items have been seen: they stay in `seen`, and
        recommenders do not list them for these users. Raises KindError when these are events already, DataError when no
        row is left or a gain is below 0.

        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> events = ratings.to_events(positive_from=4, gain=0.5)
        >>> events, events.values.tolist()
        (Interactions(2 events, 2 users x 2 items), [1.5, 1.0])
        >>> events.seen.frame().rows()
        [('bo', 'clue', 2.0)]
        """
        if self.kind == "events":
            raise KindError("these are events already; positive_from is for ratings")
        positive_from = checks.finite_number("positive_from", positive_from)
        gain = checks.finite_number("gain", gain, low=0)
        positive = self.values >= positive_from
        kept = self.select(positive)
        if len(kept) == 0:
            raise DataError(f"no rating is at or above positive_from={positive_from:g}")
        with np.errstate(over="ignore", invalid="ignore"):
            values = 1 + np.float32(gain) * (kept.values - np.float32(positive_from))
        if not np.isfinite(values).all():
            raise ParameterError(f"gain={gain:g} makes event values overflow float32; use a smaller gain")
        return replace(
            kept,
            kind="events",
            values=read_only(values.astype(np.float32)),
            scale=None,
            seen=None if positive.all() else self.select(~positive),
        )

    def with_weights(self, weights: Any) -> Interactions:
        """The same rows with these weights: (n,) finite numbers, kept as float32; negative ones are for events only.

        Raises DataError for another length, what is no number or not finite, or a negative weight of a rating.

        >>> ratings = Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
        >>> ratings.with_weights([1, 0.5]).frame()["weight"].to_list()
        [1.0, 0.5]
        """
        return replace(self, weights=read_only(_weights(weights, len(self), self.kind)))

    @validated
    def with_item_table(self, table: Any, *, id_column: str | None = None) -> Interactions:
        """The same rows with titles, genres, ... of the items, joined by the column of the ids.

        Parameters
        ----------
        table : frame or mapping of columns
            A polars, pandas or pyarrow frame, or columns of one length by name. Ids match as in `IdMap.rows`.
        id_column : str or None, default=None
            The column of the ids. None takes the column that is usually called so ("item", "item_id", "movieId", "id",
            ...), wherever it stands, else the first column, or the index of a pandas frame where no column matches.

        Returns
        -------
        Interactions
            With `item_table`: a row for each item, null where the table has none. Rows of other items are left out. A
            note in `report` says how many items matched; where some did not, a warning of the logger "cofactor", too.

        Raises
        ------
        DataError
            Where no item matches, for an item in several rows, a missing id, an `id_column` that is not there, a table
            without columns, and what is no table.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo"], [7, 9], [5, 4])
        >>> ratings.with_item_table({"title": ["Clue", "Alien", "Jaws"], "item": [9, 7, 1]}).titles.to_list()
        ['Alien', 'Clue']
        """
        joined = join(self.items, table, "item", id_column=id_column)
        return replace(self, item_table=joined.frame, report=_reported(self.report, joined))

    @validated
    def with_user_table(self, table: Any, *, id_column: str | None = None) -> Interactions:
        """The same rows with ages, occupations, ... of the users; otherwise as `with_item_table`.

        >>> ratings = Interactions.from_columns(["ana", "bo"], [7, 9], [5, 4])
        >>> ratings.with_user_table({"name": ["bo", "ana"], "age": [30, 20]}).user_table.rows()
        [('ana', 20), ('bo', 30)]
        """
        joined = join(self.users, table, "user", id_column=id_column)
        return replace(self, user_table=joined.frame, report=_reported(self.report, joined))

    @property
    def titles(self) -> pl.Series | None:
        """The `title` column of the item table, (n_items,) in row order, where there is one; else None."""
        table = self.item_table
        return table["title"] if table is not None and "title" in table.columns else None

    def frame(self) -> pl.DataFrame:
        """The rows in the caller's ids, by (user, item): user, item, value[, time][, weight]; no rows give no rows.

        >>> Interactions.from_columns(["bo", "ana"], [9, 7], [4, 5], times=[60, 0]).frame().rows()
        [('ana', 7, 5.0, 0), ('bo', 9, 4.0, 60)]
        """
        columns = {"user": self.users.ids(self.u), "item": self.items.ids(self.i)}
        frame = pl.DataFrame({**columns, "value": self.values})
        if self.times is not None:
            frame = frame.with_columns(time=pl.Series(self.times))
        return frame if self.weights is None else frame.with_columns(weight=pl.Series(self.weights))

    @classmethod
    @validated
    def from_columns(
        cls,
        users: Any,
        items: Any,
        values: Any = None,
        *,
        times: Any = None,
        weights: Any = None,
        kind: Kind = "ratings",
        scale: Scale | None = None,
        report: LoadReport | None = None,
    ) -> Interactions:
        """From columns of ids and numbers in any order; the one place where rows are sorted and merged.

        users, items: n ids each, all integers or all strings. values: n numbers, 1 for events unless given. times:
        whole seconds since 1970. weights: see the class. scale: of ratings; found by `Scale.of` unless given.

        Pairs that occur twice: ratings keep the last by time (else the last in order), events are
        summed. A note of the report says where ratings of 0 stand apart from all others. Raises DataError, naming the
        row (counted from 1), for missing or mixed ids, values that are not finite or not on the scale, events of 0 or
        less, times in milliseconds, columns of different lengths, no rows; ParameterError for another kind, for what
        has no order of rows (a set, a dict, a text, a generator), and for pandas Series with different indexes.

        >>> import cofactor
        >>> twice = (["ana", "ana"], ["alien", "alien"], [3, 5])
        >>> cofactor.Interactions.from_columns(*twice).values.tolist()
        [5.0]
        >>> cofactor.Interactions.from_columns(*twice, kind="events").values.tolist()
        [8.0]
        """
        checks.choice("kind", kind, get_args(Kind))
        if scale is not None:
            checks.instance("scale", scale, Scale, "make one by Scale.declared(levels)")
            if kind == "events":
                raise ParameterError("scale is for ratings, and these are events")
        require_same_order(users=users, items=items, values=values, times=times, weights=weights)
        user_ids, item_ids = ids_argument("users", users), ids_argument("items", items)
        n = len(user_ids)
        if n == 0:
            raise DataError("the table is empty: no rows to learn from")
        columns = _Columns(
            _values(values, n, kind, scale),
            None if times is None else times_argument("times", times, n),
            None if weights is None else _weights(weights, n, kind),
        )
        if len(item_ids) != n:
            raise DataError(f"{n} user ids but {len(item_ids)} item ids")
        (user_map, u), (item_map, i) = results_of(IdMap.of_with_rows, (user_ids, item_ids))
        u, i, columns = _sorted_and_merged(u, i, columns, len(user_map), len(item_map), kind)
        given = report or LoadReport(source="columns", rows=n)
        rule = "last kept" if kind == "ratings" else "summed"
        report = replace(given, duplicates=n - len(u), duplicate_rule=rule if n > len(u) else "")
        if kind == "ratings" and scale is None:
            scale = Scale.of(columns.values)
            if note := zeros_note(columns.values):
                report = report.with_note(note)
        return cls(
            user_map,
            item_map,
            read_only(u),
            read_only(i),
            read_only(columns.values),
            kind=kind,
            times=None if columns.times is None else read_only(columns.times),
            weights=None if columns.weights is None else read_only(columns.weights),
            scale=scale,
            report=report,
        )


def require_interactions(name: str, value: object) -> Interactions:
    """The value, a table of interactions.

    Parameters
    ----------
    name : str
        The argument's name.
    value : object
        The argument.

    Returns
    -------
    Interactions
        The value.

    Raises
    ------
    DataError
        For anything else, such as a data frame or a file's name.

    Examples
    --------
    >>> require_interactions("interactions", "ratings.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: interactions must be of type Interactions, not 'ratings.csv': read files and data ...
    """
    return checks.instance(name, value, Interactions, FROM_OTHERS)


@dataclass(frozen=True)
class _Columns:
    """The numbers that travel with each (u, i)."""

    values: Float32
    times: Int64 | None
    weights: Float32 | None

    def take(self, rows: Any) -> _Columns:
        return _Columns(*_taken((self.values, self.times, self.weights), rows))


def _taken(columns: tuple[Any, ...], rows: Any) -> list[Any]:
    """Each column's entries at `rows`, not to be written; None stays None."""
    return results_of(lambda column: None if column is None else read_only(column[rows]), columns)


def _sorted_and_merged(
    u: Int32, i: Int32, columns: _Columns, n_users: int, n_items: int, kind: Kind
) -> tuple[Int32, Int32, _Columns]:
    """Sorted by (u, i); of equal pairs the last by time, else in order, stays (events: all summed)."""
    if pairs_ascend(u, i):
        return u, i, columns
    u, i, others = sorted_pairs(u, i, (columns.values, columns.times, columns.weights), n_users, n_items)
    columns = _Columns(*others)
    if pairs_ascend(u, i):
        return u, i, columns
    first = np.concatenate([np.ones(1, bool), (u[1:] != u[:-1]) | (i[1:] != i[:-1])])
    last = np.concatenate([first[1:], np.ones(1, bool)])
    if columns.times is not None:
        order, twice = np.arange(len(u)), np.flatnonzero(~(first & last))
        order[twice] = twice[np.lexsort((columns.times[twice], i[twice], u[twice]))]  # stable: file order breaks ties
        columns = columns.take(order)
    kept = columns.take(last)
    if kind == "events":
        starts = np.flatnonzero(first)
        summed = np.add.reduceat(columns.values.astype(np.float64), starts)
        summed = np.minimum(summed, np.finfo(np.float32).max).astype(np.float32)
        kept = replace(kept, values=summed)
        if columns.weights is not None:  # the merged row's confidence is the sum of the confidences
            confidence = columns.values.astype(np.float64) * columns.weights
            total = np.add.reduceat(confidence, starts)
            ratio = np.divide(total, summed, out=np.zeros_like(total), where=summed != 0)
            kept = replace(kept, weights=ratio.astype(np.float32))
    return u[last], i[last], kept


def _values(values: Any, n: int, kind: Kind, scale: Scale | None) -> Float32:
    """The values of n ratings or events as an argument; 1 for each event without any."""
    if values is None:
        if kind == "ratings":
            raise DataError("values are needed for ratings: one number for each row")
        return np.ones(n, np.float32)
    numbers = numbers_argument("values", values, n)
    if kind == "ratings":
        _check_ratings(values.to_numpy() if isinstance(values, pl.Series) else np.asarray(values), numbers)
    if kind == "events" and (numbers <= 0).any():
        row = int((numbers <= 0).argmax())
        raise DataError(
            f"row {row + 1} of values: an event counts more than 0 times, not {numbers[row]:g}; mark a dislike by a "
            "negative weight"
        )
    if scale is not None:
        require_on_scale(numbers, scale)
    return numbers


def _weights(weights: Any, n: int, kind: Kind) -> Float32:
    numbers = numbers_argument("weights", weights, n)
    _check_weights(numbers, kind)
    return numbers


def _check_ratings(given: Any, ratings: Float32) -> None:
    """Raises DataError for ratings too large, too close to each other, or that float32 cannot tell apart."""
    largest = float(np.abs(ratings).max())
    if largest > LARGEST_RATING:
        row = int((np.abs(ratings) > LARGEST_RATING).argmax())
        raise DataError(f"row {row + 1}: value {given[row]}: ratings may be up to {LARGEST_RATING:g}; divide them")
    if 0 < largest < SMALLEST_SPAN and given.min() < given.max():
        raise DataError(f"all ratings are within {SMALLEST_SPAN:g} of 0; multiply them")
    if largest > 1e5:  # below it, levels a hundredth apart are told apart
        low, high = float(given.min()), float(given.max())
        if high > low and (high - low) < 64 * np.spacing(np.float32(largest)):
            raise DataError(
                f"ratings from {low!r} to {high!r} need more digits than are kept (about seven); "
                f"subtract a number close to {low:g} from them"
            )


def _check_weights(weights: Float32, kind: Kind) -> None:
    bad = ~(np.abs(weights) <= LARGEST_WEIGHT) | ((weights < 0) if kind == "ratings" else False)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"row {row + 1}: weight {weights[row]} is not usable for {kind}: weights are finite numbers "
            f"{'from 0 ' if kind == 'ratings' else ''}up to {LARGEST_WEIGHT:g}"
        )


def _reported(report: LoadReport | None, joined: JoinedTable) -> LoadReport | None:
    """The report with how many ids matched; a log record where some did not."""
    if len(joined.missing):
        _log.warning("%s", joined)
    return None if report is None else report.with_note(str(joined))
