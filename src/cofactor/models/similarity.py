"""What links rows: the weights between items, dense or between neighbors only, and how similarity is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, require_array
from cofactor.kernels.neighbor_scores import add_dense, average_by_items, places_of, sum_by_items
from cofactor.kernels.neighbors import COSINE, JACCARD, PEARSON, ColumnLists
from cofactor.kernels.sparse import SparseRows

__all__ = ["Average", "DenseLinks", "Likeness", "Links", "NeighborLinks", "links_from_parts"]

MEASURES = {"pearson": PEARSON, "cosine": COSINE, "jaccard": JACCARD}


@dataclass(frozen=True)
class Likeness:
    """How similar two rows are; see `kernels.neighbors`.

        s = measure n / (n + shrink),    n: how many columns both have

    Attributes:

        name: "pearson", "cosine" or "jaccard".
        shrink: how many common entries it takes to be half believed.
        longest: columns of more entries than this list only their fullest rows.

    Raises KeyError, at `measure`, for another name.
    """

    name: str
    shrink: float
    longest: int = np.iinfo(np.int32).max

    @property
    def measure(self) -> int:
        """The kernels' number for the name."""
        return MEASURES[self.name]

    def weighed(self, rows: SparseRows) -> SparseRows:
        """Rows as they are compared: weights go half into each of the two, as their square root."""
        if rows.weights is None:
            return rows
        largest = rows.weights.max(initial=0)
        weights = rows.weights / largest if largest > 1e6 else rows.weights  # squares stay in the range of float32
        return SparseRows(rows.start, rows.columns, rows.values * np.sqrt(weights))

    def listed(self, rows: SparseRows, n_columns: int) -> ColumnLists:
        """The rows of each column, at most `longest` of them."""
        return ColumnLists.of(rows, n_columns, longest=self.longest)

    def settings(self) -> dict[str, Any]:
        """All of it: there are no arrays in it."""
        return asdict(self)


@dataclass(frozen=True)
class Average:
    """Over the `k` most similar that have something to say; `damping` is added to the sum of similarities.

        sum_j s_j x_j / (damping + sum_j s_j)

    s: similarities, x: ratings above the baseline.
    """

    k: int
    damping: float

    def __post_init__(self) -> None:
        checks.whole_number("k", self.k, low=1)
        checks.finite_number("damping", self.damping, low=0)


@dataclass(frozen=True, eq=False)
class DenseLinks:
    """W (n_items, n_items) float32, zero on the diagonal: item j speaks for item i by W_ji.

    >>> links = DenseLinks(np.float32([[0, 0.5], [0.25, 0]]))
    >>> rows, weights = links.strongest(np.int32([0]), 2, np.zeros(0, bool))
    >>> rows.tolist(), weights.tolist()
    ([[1, -1]], [[0.5, 0.0]])
    """

    weights: Float32

    def __post_init__(self) -> None:
        require_array("weights", self.weights, np.float32, (None, None))
        require_array("weights", self.weights, np.float32, (len(self.weights), len(self.weights)))

    @property
    def n_items(self) -> int:
        """The size of W."""
        return len(self.weights)

    def __repr__(self) -> str:
        return "a weight for every pair"

    def add(self, out: Float32, entries: SparseRows) -> None:
        """out += entries W: (n_users, n_items) float32, entries one row per user."""
        add_dense(out, entries, self.weights)

    def terms(self, entries: SparseRows, item: int) -> Float64:
        """What each entry j of one history adds to item i: x_j W_ji, (m,) float64."""
        terms: Float64 = entries.values.astype(np.float64) * self.weights[entries.columns, item]
        return terms

    def strongest(self, items: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
        """The n largest weights W_ij of each item i, itself left out: rows and weights (n_asked, n), -1 and 0 beyond.

        A weight of 0 is no link. There are n_items columns where n is larger. allowed: (n_items,) bool, empty for all.
        """
        weights = self.weights[items]
        weights[np.arange(len(items)), items] = 0
        weights[weights == 0] = -np.inf
        if len(allowed):
            weights[:, ~allowed] = -np.inf
        order = np.argsort(-weights, axis=1, kind="stable")[:, :n].astype(np.int32)
        how = np.take_along_axis(weights, order, axis=1)
        return np.where(how > -np.inf, order, -1).astype(np.int32), np.where(how > -np.inf, how, np.float32(0))

    def between(self, items: Int32) -> Float32:
        """Partial correlations of all pairs in each row, +-sqrt(W_ij W_ji): (m, c, c), 1 for itself, 0 for -1.

        With W_ij = -P_ij / P_jj of a precision matrix P, W_ij W_ji = P_ij^2 / (P_ii P_jj).
        """
        W = self.weights[np.maximum(items, 0)[:, :, None], np.maximum(items, 0)[:, None, :]]
        other = W.transpose(0, 2, 1)
        return _with_itself(np.sign(W) * np.sqrt(np.maximum(W * other, 0)), items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """W."""
        return {"weights": self.weights}

    def settings(self) -> dict[str, Any]:
        """The form alone, by which `links_from_parts` knows it."""
        return {"form": "dense"}


@dataclass(frozen=True, eq=False)
class NeighborLinks:
    """Similarities s_ij > 0 of each item i to its nearest items j only.

        rows: row j holds the items i that have j as a neighbor, and s_ij
        average: of ratings; None: all is summed

    >>> links = NeighborLinks(SparseRows.of(rows=[1], columns=[0], values=[0.5], n_rows=2))       # item 0 has item 1
    >>> out = np.zeros((1, 2), np.float32)
    >>> links.add(out, SparseRows.of(rows=[0], columns=[1], values=[1], n_rows=1))
    >>> out.tolist()
    [[0.5, 0.0]]
    """

    rows: SparseRows
    average: Average | None = None

    def __post_init__(self) -> None:
        self.rows.checked("rows", len(self.rows))

    @property
    def n_items(self) -> int:
        """One row for each item."""
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{len(self.rows.columns):,} neighbors"

    def add(self, out: Float32, entries: SparseRows) -> None:
        """out += what the neighbors in each user's entries say, as an average or a sum: (n_users, n_items) float32."""
        if self.average is None:
            sum_by_items(out, entries, self.rows)
        else:
            average_by_items(out, entries, self.rows, k=self.average.k, damping=self.average.damping)

    def terms(self, entries: SparseRows, item: int) -> Float64:
        """What each entry of one history adds to an item: (m,) float64; 0 where the item does not list it."""
        place = np.searchsorted(self._pairs, entries.columns.astype(np.int64) * self.n_items + item)
        found = np.append(self._pairs, -1)[place] == entries.columns.astype(np.int64) * self.n_items + item
        s = np.where(found, np.append(self.rows.values, np.float32(0))[place], 0).astype(np.float64)
        if self.average is None:
            return s * entries.values
        ws = s if entries.weights is None else s * entries.weights
        ws = ws * places_of(s, self.average.k)
        below = self.average.damping + ws.sum()
        return ws * entries.values / below if below > 0 else np.zeros(len(ws))

    def strongest(self, items: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
        """The n nearest of each item i's neighbors, by s_ij: rows and similarities (n_asked, n), -1 and 0 beyond.

        allowed: (n_items,) bool, empty for all.
        """
        rows, how = np.full((len(items), n), -1, np.int32), np.zeros((len(items), n), np.float32)
        for a, item in enumerate(items):
            at = np.flatnonzero(self.rows.columns == item)
            neighbors = np.searchsorted(self.rows.start, at, side="right") - 1
            if len(allowed):
                at, neighbors = at[allowed[neighbors]], neighbors[allowed[neighbors]]
            order = np.argsort(-self.rows.values[at], kind="stable")[:n]
            rows[a, : len(order)] = neighbors[order]
            how[a, : len(order)] = self.rows.values[at[order]]
        return rows, how

    @cached_property
    def _pairs(self) -> Int64:
        """j * n_items + i of every similarity, ascending."""
        return self.rows.owners.astype(np.int64) * self.n_items + self.rows.columns

    def between(self, items: Int32) -> Float32:
        """Similarities of all pairs in each row: (m, c, c), 1 for itself, 0 for -1 or where neither lists the other."""
        at = np.maximum(items, 0).astype(np.int64)
        wanted = at[:, :, None] * self.n_items + at[:, None, :]
        place = np.searchsorted(self._pairs, wanted)
        pairs, values = np.append(self._pairs, -1), np.append(self.rows.values, np.float32(0))
        s = np.where(pairs[place] == wanted, values[place], np.float32(0))
        return _with_itself(np.maximum(s, s.transpose(0, 2, 1)), items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The similarities, row by row."""
        return {"start": self.rows.start, "columns": self.rows.columns, "values": self.rows.values}

    def settings(self) -> dict[str, Any]:
        """The form, and how ratings are averaged."""
        return {"form": "neighbors", "average": None if self.average is None else asdict(self.average)}


def _with_itself(similarity: Float32, items: Int32) -> Float32:
    """1 where a pair is one item twice, 0 where either is -1."""
    same = items[:, :, None] == items[:, None, :]
    there = (items[:, :, None] >= 0) & (items[:, None, :] >= 0)
    return np.where(there, np.where(same, 1, similarity), 0).astype(np.float32)


Links: TypeAlias = DenseLinks | NeighborLinks


def links_from_parts(arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Links:
    """The links that their `arrays` and `settings` describe.

    >>> dense = DenseLinks(np.zeros((3, 3), np.float32))
    >>> links_from_parts(dense.arrays(), dense.settings()).n_items
    3
    """
    if checks.plain("form", settings["form"], Literal["dense", "neighbors"]) == "dense":
        return DenseLinks(arrays["weights"])
    rows = SparseRows(arrays["start"], arrays["columns"], arrays["values"])
    return NeighborLinks(rows, checks.plain("average", settings["average"], Average | None))
