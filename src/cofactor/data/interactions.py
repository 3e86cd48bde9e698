"""Interaction table: ratings or events as sorted arrays of row numbers, values, times and weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.arrays import Float32, Int32, Int64, read_only, require_array
from cofactor.data import table_file
from cofactor.data.column_arguments import (
    float_ids_notes,
    ids_argument,
    numeric_column,
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
from cofactor.kernels.parallel import parallel_map
from cofactor.kernels.sort import counting_sort, pairs_are_sorted, sorted_pairs
from cofactor.kernels.sparse import SparseRows
from cofactor.validation import validated

__all__ = ["Interactions", "Kind", "SparseRows", "relevant_rows", "require_interactions"]

Kind: TypeAlias = Literal["ratings", "events"]

_log = logging.getLogger("cofactor")

MAX_RATING = 1e15
"""Maximum magnitude of a rating: sums of squares of larger ratings would overflow float32."""

MIN_RATING_MAGNITUDE = 1e-15
"""Ratings that are all closer to 0 than this are rejected, because their squares would underflow float32."""

MAX_WEIGHT = 1e12
"""Maximum magnitude of a weight: no fit is accurate for larger weights."""

SECONDS_PER_DAY = 86_400

CREATION_ADVICE = (
    "read files and data frames with cofactor.read_ratings or cofactor.read_events, and columns with "
    "cofactor.Interactions.from_columns"
)
"""How to create Interactions from other objects, to be appended to a message."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Table of ratings or events with one row per user-item pair, sorted by user and item row number.

    Create it with `from_columns` or the readers. Because rows are sorted, the order of the source does not matter. A
    selection without rows is a valid table that keeps all IDs.

    Attributes
    ----------
    users, items : IdMap
        ID maps; they may contain IDs without rows, since a split keeps all IDs.
    u, i : ndarray of shape (n,), int32
        Row numbers of the user and item in these maps.
    values : ndarray of shape (n,), float32
        Ratings; for events, counts or amounts above 0.
    kind : {"ratings", "events"}, default "ratings"
        For "ratings", an absent pair is a missing value; for "events", it is weak evidence of no interest.
    times : ndarray of shape (n,), int64, or None
        Seconds since the Unix epoch.
    weights : ndarray of shape (n,), float32, or None
        Weight of each row in the loss; None if all are 1. A negative weight marks an event as a dislike.
    scale : Scale or None
        Rating scale; None for events.
    user_table, item_table : DataFrame or None
        Side tables with one row per ID in row order, the ID column first.
    report : LoadReport or None
        Report of the reader.
    seen : Interactions or None
        For events created from ratings, the ratings that were too low to become events; their items are not
        recommended to these users.

    Raises
    ------
    DataError
        If an array has the wrong type or length, a row number is out of range, rows are not sorted, or values are not
        finite.

    Examples
    --------
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
            checks.instance(name, getattr(self, name), IdMap, "create one with IdMap.of(ids)")
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
                raise DataError(f"{name} must contain row numbers from 0 to {len(ids) - 1}, one per ID of the table")
        if not pairs_are_sorted(self.u, self.i):
            raise DataError("rows must be distinct user-item pairs in ascending order; use Interactions.from_columns")
        for name in ("values", "weights"):
            if (column := getattr(self, name)) is not None and not np.isfinite(column).all():
                raise DataError(f"{name} must be finite, not {column[~np.isfinite(column)][0]}")
        if self.weights is not None:
            _check_weights(self.weights, self.kind)
        if self.kind == "events" and n and not self.values.min() > 0:
            raise DataError(f"event values must be above 0, not {self.values.min():g}")
        if self.seen is not None:
            seen = require_interactions("seen", self.seen)
            if not (seen.users.equals(self.users) and seen.items.equals(self.items)):
                raise DataError("seen must have the same IDs as the table")
        if self.scale is not None:
            checks.instance("scale", self.scale, Scale, "create one with Scale.from_levels(levels)")
        for name, ids in (("user_table", self.users), ("item_table", self.items)):
            if (table := getattr(self, name)) is not None:
                checks.instance(name, table, pl.DataFrame, f"add one with with_{name}")
                if len(table) != len(ids):
                    raise DataError(
                        f"{name} must have one row for each of the {len(ids):,} IDs, not {len(table):,} rows"
                    )

    def __len__(self) -> int:
        return len(self.u)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} {self.kind}, {self.n_users:,} users x {self.n_items:,} items)"

    @property
    def n_users(self) -> int:
        """Number of users in the table, including users without ratings or events."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the table, including items without ratings or events."""
        return len(self.items)

    @property
    def density(self) -> float:
        """Fraction of all user-item pairs that have a rating or an event; 0 for an empty table.

        Returns
        -------
        float
            Number of rows divided by `n_users * n_items`.

        Examples
        --------
        >>> Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2]).density
        0.75
        """
        return len(self) / max(self.n_users * self.n_items, 1)

    @cached_property
    def by_user(self) -> SparseRows:
        """Sparse matrix with one row per user and one column per item; shares the memory of this table.

        Returns
        -------
        SparseRows of n_users rows
            The `columns` are item row numbers; a user without rows has an empty row.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.by_user.counts.tolist(), ratings.by_user.row(1).columns.tolist()
        ([1, 2], [0, 1])
        """
        start = np.searchsorted(self.u, np.arange(self.n_users + 1, dtype=np.int32))  # rows are sorted by u
        rows = SparseRows(read_only(start.astype(np.int64)), self.i, self.values, self.weights)
        rows.__dict__["_sound"] = self.n_items, True, True  # __post_init__ has validated these facts
        return rows

    @cached_property
    def sequences(self) -> SparseRows:
        """The matrix `by_user` with the time of each entry, for models that use the order of a history.

        Returns
        -------
        SparseRows of n_users rows
            The `times` are None if the table has no times.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], [3, 3, 8], [5, 4, 2], times=[9, 7, 8])
        >>> ratings.sequences.row(1).times.tolist()
        [7, 8]
        """
        return replace(self.by_user, times=self.times)

    @cached_property
    def by_item(self) -> SparseRows:
        """Sparse matrix with one row per item and one column per user; a copy of this table's data.

        Returns
        -------
        SparseRows of n_items rows
            The `columns` are sorted user row numbers; an item without rows has an empty row.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.by_item.row(0).columns.tolist(), ratings.by_item.row(0).values.tolist()
        ([0, 1], [5.0, 4.0])
        """
        start, order = counting_sort(self.i, self.n_items)
        u, values, weights = _take((self.u, self.values, self.weights), order)
        return SparseRows(read_only(start), u, values, weights)

    def save(self, path: str | Path) -> None:
        """Write the table to a file, from which `load` maps it into memory.

        Parameters
        ----------
        path : str or Path
            Path of the file, such as `ratings.cofactor`; an existing table file is replaced.

        Raises
        ------
        ArtifactError
            If the file cannot be written, or if it exists and is not a table file.
        DataError
            If the table has `seen`.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> with TemporaryDirectory() as folder:
        ...     ratings.save(f"{folder}/ratings.cofactor")
        ...     Interactions.load(f"{folder}/ratings.cofactor")
        Interactions(3 ratings, 2 users x 2 items)
        """
        table_file.save(checks.path("path", path), vars(self), self.by_item)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = True) -> Interactions:
        """Open a table file; its arrays are memory-mapped, so that tables can be larger than the memory.

        Parameters
        ----------
        path : str or Path
            Path of a file that was written by `save` or by `read_ratings(..., into=path)`.
        verify : bool, default True
            Whether to verify the checksums, which reads the file completely.

        Returns
        -------
        Interactions
            The table.

        Raises
        ------
        ArtifactError
            If the file is missing, damaged, or not a table file.
        """
        return table_file.load(checks.path("path", path), cls, verify=checks.flag("verify", verify))

    @cached_property
    def excluded(self) -> SparseRows:
        """Items to exclude from each user's recommendations: the user's items in this table and in `seen`.

        Returns
        -------
        SparseRows of n_users rows
            The `columns` are item row numbers.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.to_events(min_rating=4).excluded.counts.tolist()
        [1, 2]
        """
        if self.seen is None:
            return self.by_user
        matrices = self.by_user, self.seen.by_user
        user = np.concatenate([self.u, self.seen.u])
        columns = np.concatenate([rows.columns for rows in matrices])
        values = np.concatenate([rows.values for rows in matrices])
        return SparseRows.of(user, columns, values, self.n_users)

    def select(self, keep: Any) -> Interactions:
        """Return a table of the rows where a mask is True.

        IDs and side tables are kept, so row numbers stay the same.

        Parameters
        ----------
        keep : array-like of shape (n,), bool
            True for the rows to keep.

        Returns
        -------
        Interactions
            The selected rows.

        Raises
        ------
        ParameterError
            If the mask has another length or is not boolean.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> ratings.select(ratings.values >= 5)
        Interactions(1 ratings, 2 users x 2 items)
        """
        mask = checks.mask("keep", keep, len(self))
        return replace(
            self,
            u=read_only(self.u[mask]),
            i=read_only(self.i[mask]),
            values=read_only(self.values[mask]),
            times=None if self.times is None else read_only(self.times[mask]),
            weights=None if self.weights is None else read_only(self.weights[mask]),
        )

    @validated
    def to_events(self, *, min_rating: float, gain: float = 0.0) -> Interactions:
        """Convert ratings of at least `min_rating` to events.

        Users and items without events are kept. Lower ratings do not become events, but they are kept in `seen`, so
        that their items are not recommended to these users.

        Parameters
        ----------
        min_rating : float
            Lowest rating that becomes an event, in rating units.
        gain : float, default 0.0
            Increase in the event's value per rating unit above `min_rating`, at least 0. With ``gain=0.5`` and
            ``min_rating=4``, a rating of 5 has the value 1.5.

        Returns
        -------
        Interactions
            The events; weights are unchanged.

        Raises
        ------
        KindError
            If the table already contains events.
        DataError
            If no rating is at or above `min_rating`.
        ParameterError
            If `min_rating` is not finite, or `gain` is below 0 or so large that values overflow float32.

        Notes
        -----
        value = 1 + gain (rating - min_rating)

        Estimators take 1 + ln of a value above 1 by default; with ``counts="raw"`` they take the value itself.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
        >>> events = ratings.to_events(min_rating=4, gain=0.5)
        >>> events, events.values.tolist()
        (Interactions(2 events, 2 users x 2 items), [1.5, 1.0])
        >>> events.seen.frame().rows()
        [('bo', 'clue', 2.0)]
        """
        if self.kind == "events":
            raise KindError("the table already contains events; to_events and min_rating apply only to ratings")
        min_rating = checks.finite_number("min_rating", min_rating)
        gain = checks.finite_number("gain", gain, low=0)
        is_event = self.values >= min_rating
        event_rows = self.select(is_event)
        if len(event_rows) == 0:
            raise DataError(f"no rating is at or above min_rating={min_rating:g}")
        with np.errstate(over="ignore", invalid="ignore"):
            values = 1 + np.float32(gain) * (event_rows.values - np.float32(min_rating))
        if not np.isfinite(values).all():
            raise ParameterError(f"gain={gain:g} leads to values that overflow float32; use a smaller gain")
        return replace(
            event_rows,
            kind="events",
            values=read_only(values.astype(np.float32)),
            scale=None,
            seen=None if is_event.all() else self.select(~is_event),
        )

    def with_weights(self, weights: Any) -> Interactions:
        """Return a table with the same rows and new weights.

        Parameters
        ----------
        weights : array-like of shape (n,)
            Finite numbers, stored as float32. Negative weights are allowed for events only.

        Returns
        -------
        Interactions
            The table with these weights.

        Raises
        ------
        DataError
            If the length is wrong, a weight is not finite or is too large, or the weight of a rating is negative.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo"], ["alien", "alien"], [5, 4])
        >>> ratings.with_weights([1, 0.5]).frame()["weight"].to_list()
        [1.0, 0.5]
        """
        return replace(self, weights=read_only(_weights(weights, len(self), self.kind)))

    @validated
    def with_ids(self, users: IdMap, items: IdMap) -> Interactions:
        """Return a table with the same rows but larger ID maps, and without side tables or `seen`.

        Parameters
        ----------
        users, items : IdMap
            ID maps that contain the IDs of the table, as returned by `IdMap.union`.

        Returns
        -------
        Interactions
            The table with the row numbers of these maps.

        Raises
        ------
        DataError
            If an ID of the table is not in the maps.

        Examples
        --------
        >>> clicks = Interactions.from_columns(["bo"], ["alien"], kind="events")
        >>> buys = Interactions.from_columns(["ana"], ["clue"], kind="events")
        >>> clicks.with_ids(clicks.users.union(buys.users), clicks.items.union(buys.items))
        Interactions(1 events, 2 users x 2 items)
        """
        columns = []
        for ids, maps, rows in ((self.users, users, self.u), (self.items, items, self.i)):
            new_rows = maps.rows(ids.all)
            if len(new_rows) and new_rows.min() < 0:
                raise DataError(f"ID {ids.id_at(int(new_rows.argmin()))!r} of the table is not in the ID maps")
            columns.append(read_only(new_rows[rows]))  # both maps are sorted, so rows stay sorted
        u, i = columns
        return replace(self, users=users, items=items, u=u, i=i, user_table=None, item_table=None, seen=None)

    @validated
    def decayed(self, *, half_life: float) -> Interactions:
        """Return a table whose weights decrease exponentially with the age of a rating or an event.

        Parameters
        ----------
        half_life : float
            Age in days at which a weight is halved, above 0. The age is counted from the latest row.

        Returns
        -------
        Interactions
            The table with these weights, for any estimator.

        Raises
        ------
        ParameterError
            If `half_life` is not a finite number above 0.
        DataError
            If the table has no times.

        Notes
        -----
        weight <- weight 2^(-age / half_life)

        Examples
        --------
        >>> events = Interactions.from_columns([1, 1], [7, 8], times=[0, 86_400], kind="events")
        >>> events.decayed(half_life=1).weights.tolist()
        [0.5, 1.0]
        """
        half_life = checks.finite_number("half_life", half_life, above=0)
        if self.times is None:
            raise DataError("half_life requires a time for every row, but the table has no times; load it with times")
        ages = (self.times.max(initial=np.iinfo(np.int64).min) - self.times) / SECONDS_PER_DAY
        with np.errstate(over="ignore"):
            weights = np.exp2(-ages / half_life) * (1 if self.weights is None else self.weights)
        return self.with_weights(weights.astype(np.float32))

    @validated
    def with_item_table(self, table: Any, *, id_column: str | None = None) -> Interactions:
        """Return a table with the same rows and a joined table of item attributes, such as titles and genres.

        Parameters
        ----------
        table : frame or mapping of columns
            A polars, pandas or pyarrow frame, or columns of equal length by name. IDs are matched as in `IdMap.rows`.
        id_column : str or None, default None
            Name of the ID column. None selects a column with a common name ("item", "item_id", "movieId", "id", ...),
            otherwise the first column, or the index of a pandas frame if no column matches.

        Returns
        -------
        Interactions
            The table with `item_table`: one row per item, null where `table` has none. Rows of other items are dropped.
            A note in `report` says how many items matched; if some did not, the logger "cofactor" also logs a warning.

        Raises
        ------
        DataError
            If `table` is not a table or has no columns, `id_column` is missing, an ID is missing, an item has several
            rows, or no item matches.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo"], [7, 9], [5, 4])
        >>> ratings.with_item_table({"title": ["Clue", "Alien", "Jaws"], "item": [9, 7, 1]}).titles.to_list()
        ['Alien', 'Clue']
        """
        joined = join(self.items, table, "item", id_column=id_column)
        return replace(self, item_table=joined.frame, report=_with_join_note(self.report, joined))

    @validated
    def with_user_table(self, table: Any, *, id_column: str | None = None) -> Interactions:
        """Return a table with the same rows and a joined table of user attributes, such as age and occupation.

        Parameters
        ----------
        table : frame or mapping of columns
            As in `with_item_table`.
        id_column : str or None, default None
            Name of the ID column; None selects it as in `with_item_table`.

        Returns
        -------
        Interactions
            The table with `user_table`: one row per user, null where `table` has none.

        Raises
        ------
        DataError
            As in `with_item_table`.

        Examples
        --------
        >>> ratings = Interactions.from_columns(["ana", "bo"], [7, 9], [5, 4])
        >>> ratings.with_user_table({"name": ["bo", "ana"], "age": [30, 20]}).user_table.rows()
        [('ana', 20), ('bo', 30)]
        """
        joined = join(self.users, table, "user", id_column=id_column)
        return replace(self, user_table=joined.frame, report=_with_join_note(self.report, joined))

    @property
    def titles(self) -> pl.Series | None:
        """Titles of the items in row order, as a Series of shape (n_items,); None if there is no `title` column."""
        table = self.item_table
        return table["title"] if table is not None and "title" in table.columns else None

    def frame(self) -> pl.DataFrame:
        """Return the rows as a data frame with the caller's IDs.

        Returns
        -------
        DataFrame of n rows
            The columns user, item, value and, if present, time and weight, sorted by row numbers.

        Examples
        --------
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
        """Create a table from columns of IDs and numbers, with rows in any order.

        Rows are sorted by (u, i), and duplicate pairs are merged: for ratings, the latest by time is kept, or without
        times, the last in row order; events are summed.

        Parameters
        ----------
        users, items : list, array or Series of shape (n,)
            IDs, all integers or all strings; floating-point numbers without a fraction count as integers.
        values : list, array or Series of shape (n,), or None
            Ratings, or counts or amounts of events. Required for ratings; for events, None means 1.
        times : list, array or Series of shape (n,), or None
            Whole seconds since the Unix epoch.
        weights : list, array or Series of shape (n,), or None
            Weight of each row in the loss; None means 1. Negative weights are allowed for events only.
        kind : {"ratings", "events"}, default "ratings"
            Kind of the values.
        scale : Scale or None, default None
            Rating scale; None infers it with `Scale.infer`.
        report : LoadReport or None, default None
            Report of the reader; None creates one.

        Returns
        -------
        Interactions
            The table. Notes in its report say whether IDs were floating-point numbers and whether ratings of 0 probably
            mean "not rated".

        Raises
        ------
        DataError
            If IDs are missing or of mixed types, values are not finite or not on the scale, an event is not above 0,
            times are in milliseconds, lengths differ, or there are no rows; the message names the row, counted from 1.
        ParameterError
            If `kind` is invalid, `scale` is given for events, a column has no row order (such as a set, dict, string or
            generator), or pandas Series have different indexes.

        Examples
        --------
        >>> import cofactor
        >>> repeated = (["ana", "ana"], ["alien", "alien"], [3, 5])
        >>> cofactor.Interactions.from_columns(*repeated).values.tolist()
        [5.0]
        >>> cofactor.Interactions.from_columns(*repeated, kind="events").values.tolist()
        [8.0]
        """
        checks.choice("kind", kind, get_args(Kind))
        if scale is not None:
            checks.instance("scale", scale, Scale, "create one with Scale.from_levels(levels)")
            if kind == "events":
                raise ParameterError("scale applies only to ratings, but kind is events; omit scale")
        require_same_order(users=users, items=items, values=values, times=times, weights=weights)
        user_ids, item_ids = ids_argument("users", users), ids_argument("items", items)
        n = len(user_ids)
        if n == 0:
            raise DataError("the table is empty: it has no rows")
        columns = _Columns(
            _values(values, n, kind, scale),
            None if times is None else times_argument("times", times, n),
            None if weights is None else _weights(weights, n, kind),
        )
        if len(item_ids) != n:
            raise DataError(f"users and items must have the same length, not {n:,} and {len(item_ids):,}")
        (user_map, u), (item_map, i) = parallel_map(IdMap.of_with_rows, (user_ids, item_ids))
        u, i, columns = _sort_and_merge(u, i, columns, len(user_map), len(item_map), kind)
        load_report = report or LoadReport(
            source="columns", rows=n, notes=tuple(float_ids_notes(user=users, item=items))
        )
        rule = "last kept" if kind == "ratings" else "summed"
        report = replace(load_report, duplicates=n - len(u), duplicate_rule=rule if n > len(u) else "")
        if kind == "ratings" and scale is None:
            scale = Scale.infer(columns.values)
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
    """Check that an argument is an `Interactions` table and return it.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    value : object
        The argument.

    Returns
    -------
    Interactions
        The argument.

    Raises
    ------
    DataError
        If the argument is of another type, such as a data frame or a file name.

    Examples
    --------
    >>> require_interactions("interactions", "ratings.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.DataError: interactions must be of type Interactions, not 'ratings.csv': read files and data ...
    """
    return checks.instance(name, value, Interactions, CREATION_ADVICE)


@validated
def relevant_rows(interactions: Interactions) -> Interactions:
    """Select the table rows that count as relevant in ranking metrics: events with a positive weight, or all ratings.

    Parameters
    ----------
    interactions : Interactions
        Table of ratings or events.

    Returns
    -------
    Interactions
        The rows that are not dislikes; can be empty.

    Examples
    --------
    >>> events = Interactions.from_columns([0, 0], ["liked", "disliked"], weights=[1, -1], kind="events")
    >>> relevant_rows(events).frame()["item"].to_list()
    ['liked']
    """
    if interactions.kind == "ratings" or interactions.weights is None:
        return interactions
    return interactions.select(interactions.weights > 0)


@dataclass(frozen=True)
class _Columns:
    """Columns of values, times and weights, with one entry per row."""

    values: Float32
    times: Int64 | None
    weights: Float32 | None

    def take(self, rows: Any) -> _Columns:
        """Return the values, times and weights at the given rows."""
        return _Columns(*_take((self.values, self.times, self.weights), rows))


def _take(columns: tuple[Any, ...], rows: Any) -> list[Any]:
    """Return the entries of each column at `rows`, read-only; None stays None."""
    return parallel_map(lambda column: None if column is None else read_only(column[rows]), columns)


def _sort_and_merge(
    u: Int32, i: Int32, columns: _Columns, n_users: int, n_items: int, kind: Kind
) -> tuple[Int32, Int32, _Columns]:
    """Sort rows by (u, i) and merge duplicates: keep the latest rating (ties: the last row), and sum events."""
    if pairs_are_sorted(u, i):
        return u, i, columns
    u, i, sorted_columns = sorted_pairs(u, i, (columns.values, columns.times, columns.weights), n_users, n_items)
    columns = _Columns(*sorted_columns)
    if pairs_are_sorted(u, i):
        return u, i, columns
    is_first = np.concatenate([np.ones(1, bool), (u[1:] != u[:-1]) | (i[1:] != i[:-1])])
    is_last = np.concatenate([is_first[1:], np.ones(1, bool)])
    if columns.times is not None:
        order, rows = np.arange(len(u)), np.flatnonzero(~(is_first & is_last))
        order[rows] = rows[np.lexsort((columns.times[rows], i[rows], u[rows]))]  # stable: row order breaks ties
        columns = columns.take(order)
    merged_columns = columns.take(is_last)
    if kind == "events":
        starts = np.flatnonzero(is_first)
        sums = np.add.reduceat(columns.values.astype(np.float64), starts)
        sums = np.minimum(sums, np.finfo(np.float32).max).astype(np.float32)
        merged_columns = replace(merged_columns, values=sums)
        if columns.weights is not None:  # keep the sum of the confidences
            confidence = columns.values.astype(np.float64) * columns.weights
            total_confidence = np.add.reduceat(confidence, starts)
            mean_confidence = np.divide(total_confidence, sums, out=np.zeros_like(total_confidence), where=sums != 0)
            merged_columns = replace(merged_columns, weights=mean_confidence.astype(np.float32))
    return u[is_last], i[is_last], merged_columns


def sorted_and_merged(columns: Mapping[str, Any], n_users: int, n_items: int, kind: Kind) -> dict[str, Any]:
    """Sort rows by (u, i) and merge duplicates, as `Interactions.from_columns` does.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n,)
        Columns u, i and values, and times and weights if the table has them.
    n_users, n_items : int
        Number of users and items in the table.
    kind : {"ratings", "events"}
        Kind of the table.

    Returns
    -------
    dict of str to ndarray
        The same columns with one row for each user-item pair.
    """
    if kind == "ratings":
        _check_ratings(columns["values"], columns["values"])
    others = _Columns(columns["values"], columns.get("times"), columns.get("weights"))
    u, i, merged = _sort_and_merge(columns["u"], columns["i"], others, n_users, n_items, kind)
    result = {"u": u, "i": i, "values": merged.values, "times": merged.times, "weights": merged.weights}
    return {name: column for name, column in result.items() if column is not None}


def _values(values: Any, n: int, kind: Kind, scale: Scale | None) -> Float32:
    """Return the validated values of n ratings or events; if none are given, return 1 for each event."""
    if values is None:
        if kind == "ratings":
            raise DataError("`values` is required for ratings: pass one number per row")
        return np.ones(n, np.float32)
    numbers = numeric_column("values", values, n)
    if kind == "ratings":
        _check_ratings(values.to_numpy() if isinstance(values, pl.Series) else np.asarray(values), numbers)
    if kind == "events" and (numbers <= 0).any():
        row = int((numbers <= 0).argmax())
        raise DataError(
            f"row {row + 1} of values: the value of an event must be above 0, not {numbers[row]:g}; mark a "
            "dislike with a negative weight"
        )
    if scale is not None:
        require_on_scale(numbers, scale)
    return numbers


def _weights(weights: Any, n: int, kind: Kind) -> Float32:
    """Return n validated weights."""
    numbers = numeric_column("weights", weights, n)
    _check_weights(numbers, kind)
    return numbers


def _check_ratings(raw: Any, ratings: Float32) -> None:
    """Raise DataError for ratings that are too large, too small, or equal after rounding to float32."""
    max_magnitude = float(np.abs(ratings).max())
    if max_magnitude > MAX_RATING:
        row = int((np.abs(ratings) > MAX_RATING).argmax())
        raise DataError(
            f"row {row + 1}: value {raw[row]}: ratings must be at most {MAX_RATING:g} in magnitude; rescale them"
        )
    if 0 < max_magnitude < MIN_RATING_MAGNITUDE and raw.min() < raw.max():
        raise DataError(f"all ratings are within {MIN_RATING_MAGNITUDE:g} of 0; rescale them")
    if max_magnitude > 1e5:  # below 1e5 float32 distinguishes steps of 0.01
        low, high = float(raw.min()), float(raw.max())
        if high > low and (high - low) < 64 * np.spacing(np.float32(max_magnitude)):
            raise DataError(
                f"ratings from {low!r} to {high!r} need more digits than the seven or so that float32 provides; "
                f"subtract a number close to {low:g} from them"
            )


def _check_weights(weights: Float32, kind: Kind) -> None:
    """Raise DataError for weights that are not finite, too large, or negative for ratings."""
    bad = ~(np.abs(weights) <= MAX_WEIGHT) | ((weights < 0) if kind == "ratings" else False)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"row {row + 1}: weight {weights[row]} is not valid for {kind}: weights must be finite numbers "
            f"{'from 0 ' if kind == 'ratings' else ''}up to {MAX_WEIGHT:g}"
        )


def _with_join_note(report: LoadReport | None, joined: JoinedTable) -> LoadReport | None:
    """Add the result of a join to the report, and log a warning if some IDs have no row."""
    if len(joined.missing):
        _log.warning("%s", joined)
    return None if report is None else report.with_note(str(joined))
