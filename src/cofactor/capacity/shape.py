"""Shape of a table that does not exist yet: its size, its typical skew, and synthetic rows of the same shape.

The popularity of items and the activity of users are log-normal. Their skew, the mean number of events of the row of a
random event divided by that of a random row, follows from the density of the table::

    item skew = density^(-1/2)        user skew = min(density^(-1/2), e)

The item skew of MovieLens-100k, 1M and 20M, Netflix, Jester, Last.fm and MovieTweetings is between .6 and 1.3 times
this value. The user skew is that of a log-normal distribution with sigma 1 unless the table is dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cofactor.arrays import Float64, Int64, random_stream
from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.scale import Scale
from cofactor.kernels.sparse import SparseRows

__all__ = ["TableShape", "sample_rows", "sample_table"]

QUANTILES = 4096
"""Number of quantiles of the log-normal distribution; in larger samples, each of them occurs several times."""

MAX_SIGMA = 6.0
"""Largest standard deviation of the logarithms of a sample."""

LEVELS = 5
"""Number of rating levels of a sample."""


@dataclass(frozen=True)
class TableShape:
    """Number of users, items and rows of a table.

    Attributes
    ----------
    users, items : int
        Number of users and of items.
    events : int
        Number of events or ratings, at most one per user-item pair.
    known_skew : float or None, default None
        Skew of the items; None for the typical skew of a table of this density.

    Examples
    --------
    >>> shape = TableShape(users=1_000, items=500, events=5_000)
    >>> shape.density, shape.item_skew, round(shape.user_skew, 2)
    (0.01, 10.0, 2.72)
    """

    users: int
    items: int
    events: int
    known_skew: float | None = None

    @property
    def density(self) -> float:
        """Fraction of all user-item pairs that have a row."""
        return self.events / (self.users * self.items)

    @property
    def item_skew(self) -> float:
        """Mean number of rows of the item of a random row, divided by that of a random item."""
        return 1 / math.sqrt(self.density) if self.known_skew is None else self.known_skew

    @property
    def user_skew(self) -> float:
        """Mean number of rows of the user of a random row, divided by that of a random user."""
        return min(1 / math.sqrt(self.density), math.e)

    @property
    def longest_item(self) -> int:
        """Expected number of rows of the most popular item."""
        sigma = math.log(self.item_skew) ** 0.5
        top = NormalDist().inv_cdf(1 - 0.5 / (self.items + 1))
        mean = self.events / self.items
        return round(min(mean * math.exp(sigma * top - sigma**2 / 2), self.users))


def sample_rows(n_rows: int, row_skew: float, n_columns: int, column_skew: float, n_entries: float) -> SparseRows:
    """Draw sparse rows with log-normal lengths, whose columns are drawn by log-normal popularity.

    A column can occur more than once in a row, because kernels do not depend on it.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    row_skew : float
        Skew of the lengths of rows.
    n_columns : int
        Number of columns.
    column_skew : float
        Skew of the popularity of columns.
    n_entries : float
        Number of entries.

    Returns
    -------
    SparseRows
        The rows, with values from 1 to 5.

    Examples
    --------
    >>> rows = sample_rows(100, 2.0, 50, 3.0, 1_000)
    >>> len(rows), len(rows.columns), bool((rows.columns < 50).all())
    (100, 1000, True)
    """
    counts = _lengths(n_rows, row_skew, n_entries, n_columns)
    stream = random_stream(0, "capacity", "columns")
    cumulative = np.cumsum(stream.permutation(_quantiles(n_columns, column_skew)))
    columns = np.searchsorted(cumulative, stream.random(int(counts.sum())) * cumulative[-1])
    columns = np.minimum(columns, n_columns - 1)
    owners = np.repeat(np.arange(n_rows), counts)
    columns = np.sort(owners * n_columns + columns) - owners * n_columns
    return _sparse_rows(counts, columns)


def sample_table(shape: TableShape, n_events: int, kind: Kind) -> tuple[Interactions, float]:
    """Create a table of the same shape with fewer rows, and return it with its scale.

    Parameters
    ----------
    shape : TableShape
        Shape of the large table.
    n_events : int
        Approximate number of rows, or of users or items if there are more of them. There are more items if a history
        would be longer than the table has items.
    kind : {"ratings", "events"}
        Kind of the table.

    Returns
    -------
    table : Interactions
        Table with distinct pairs.
    scale : float
        Its users, items and rows as a fraction of those of the large table.

    Examples
    --------
    >>> table, scale = sample_table(TableShape(100_000, 50_000, 5_000_000), 10_000, "events")
    >>> table, scale
    (Interactions(10,000 events, 200 users x 100 items), 0.002)
    """
    scale = min(n_events / max(shape.events, shape.users, shape.items), 1.0)
    users, items = (max(round(n * scale), 1) for n in (shape.users, shape.items))
    items = max(items, min(math.ceil(2 * shape.events / shape.users), shape.items))
    counts = _lengths(users, shape.user_skew, shape.events * scale, items)
    stream = random_stream(0, "capacity", "table")
    owners, position = np.repeat(np.arange(users), counts), np.arange(counts.sum())
    position -= np.repeat(np.cumsum(counts) - counts, counts)
    columns = (stream.integers(0, items, users)[owners] + position) % items
    rows = _sparse_rows(counts, np.sort(owners * items + columns) - owners * items)
    user_ids, item_ids = (IdMap(np.arange(n, dtype=np.int64)) for n in (users, items))
    levels = Scale.from_levels(list(range(1, LEVELS + 1))) if kind == "ratings" else None
    table = Interactions(user_ids, item_ids, rows.owners, rows.columns, rows.values, kind=kind, scale=levels)
    return table, (users + items + len(table)) / (shape.users + shape.items + shape.events)


def _quantiles(n: int, skew: float) -> Float64:
    """Return n values of a log-normal distribution with this skew, in ascending order."""
    m = min(n, QUANTILES)
    normal = NormalDist()
    z = np.array([normal.inv_cdf((k + 0.5) / m) for k in range(m)])
    low, high = 0.0, MAX_SIGMA
    for _ in range(30):  # bisection: the skew of a finite sample is lower than exp(sigma^2)
        sigma = (low + high) / 2
        values: Float64 = np.exp(sigma * z)
        low, high = (sigma, high) if np.square(values).mean() < skew * values.mean() ** 2 else (low, sigma)
    return np.asarray(values[np.arange(n) * m // n])


def _lengths(n_rows: int, skew: float, n_entries: float, limit: int) -> Int64:
    """Return log-normal row lengths in random order, at most `limit`, with a sum of about `n_entries`."""
    weights = random_stream(0, "capacity", "lengths").permutation(_quantiles(n_rows, skew))
    n_entries = max(n_entries, 1.0)
    low, high = 0.0, limit / float(weights.min())
    for _ in range(60):  # bisection, because clipping changes the sum
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(weights * middle, limit).sum() < n_entries else (low, middle)
    bounds = np.rint(np.cumsum(np.minimum(weights * high, limit))).astype(np.int64)
    counts: Int64 = np.minimum(np.diff(bounds, prepend=0), limit)
    return counts


def _sparse_rows(counts: Int64, columns: Int64) -> SparseRows:
    values = random_stream(0, "capacity", "values").integers(1, LEVELS + 1, len(columns)).astype(np.float32)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return SparseRows(start, columns.astype(np.int32), values)
