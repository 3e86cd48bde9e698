"""Similarity measures for items and users, and item-item weights: dense, sparse, or sparse plus low rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import Bool, Float32, Float64, Int32, Int64, require_array
from cofactor.errors import ParameterError
from cofactor.kernels.neighbor_scores import (
    NeighborLists,
    add_dense,
    add_low_rank,
    average_by_items,
    average_of_pairs,
    sum_by_items,
    top_k_membership,
)
from cofactor.kernels.neighbors import COSINE, JACCARD, PEARSON, ColumnLists
from cofactor.kernels.sparse import SparseRows

__all__ = [
    "DenseSimilarity",
    "ItemSimilarity",
    "NeighborAverage",
    "NeighborSimilarity",
    "SimilarityMeasure",
    "SpectralSimilarity",
    "list_cosines",
    "similarity_from_parts",
]

MEASURES = {"pearson": PEARSON, "cosine": COSINE, "jaccard": JACCARD}

MAX_WEIGHT = 1e6
"""The maximum weight; larger weights are scaled down, so that squares stay in the range of float32."""


@dataclass(frozen=True)
class SimilarityMeasure:
    """Similarity measure for pairs of users or items; see `kernels.neighbors`.

    Parameters
    ----------
    name : {"pearson", "cosine", "jaccard"}
        The measure.
    shrink : float
        The number of common columns n at which shrinkage halves the similarity: s = measure * n / (n + shrink).
    max_support : int, optional
        The maximum number of entries used in a column; of longer columns, the rows with the most entries are used.
    """

    name: str
    shrink: float
    max_support: int = np.iinfo(np.int32).max

    def __post_init__(self) -> None:
        checks.choice("name", self.name, MEASURES)
        checks.finite_number("shrink", self.shrink, low=0)
        checks.whole_number("max_support", self.max_support, low=1, high=np.iinfo(np.int32).max)

    @property
    def code(self) -> int:
        """Integer code that identifies the similarity measure in kernels."""
        return MEASURES[self.name]

    def weighted(self, rows: SparseRows) -> SparseRows:
        """Multiply values by the square roots of their weights, so that a product of values is weighted by both.

        Parameters
        ----------
        rows : SparseRows
            Rows with or without weights.

        Returns
        -------
        SparseRows
            Rows without weights. If the largest weight exceeds 1e6, all weights are divided by it first.
        """
        if rows.weights is None:
            return rows
        largest = rows.weights.max(initial=0)
        weights = rows.weights / largest if largest > MAX_WEIGHT else rows.weights
        return SparseRows(rows.start, rows.columns, rows.values * np.sqrt(weights))

    def column_lists(self, rows: SparseRows, n_columns: int) -> ColumnLists:
        """Return, for each column, a list of the rows that have an entry in it, limited to `max_support` rows.

        Parameters
        ----------
        rows : SparseRows
            The rows.
        n_columns : int
            The number of columns.

        Returns
        -------
        ColumnLists
            The lists.
        """
        return ColumnLists.of(rows, n_columns, max_length=self.max_support)

    def settings(self) -> dict[str, Any]:
        """Return the parameters of the similarity measure by name.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return asdict(self)


@dataclass(frozen=True)
class NeighborAverage:
    """Parameters of a damped average over the k most similar neighbors that have a rating, weighted by similarity.

    Parameters
    ----------
    k : int
        The number of neighbors.
    damping : float
        A constant added to the sum of similarities.

    Notes
    -----
    With similarities s and deviations x from the baseline, the average is sum_j s_j x_j / (damping + sum_j s_j).
    """

    k: int
    damping: float

    def __post_init__(self) -> None:
        checks.whole_number("k", self.k, low=1)
        checks.finite_number("damping", self.damping, low=0)


@dataclass(frozen=True, eq=False)
class DenseSimilarity:
    """Dense weights for all item pairs, as learned by EASE.

    Parameters
    ----------
    weights : ndarray of shape (n_items, n_items), float32
        W, with a zero diagonal; W_ji is the weight of item j in the score of item i.

    Examples
    --------
    >>> similarity = DenseSimilarity(np.float32([[0, 0.5], [0.25, 0]]))
    >>> rows, weights = similarity.nearest(np.int32([0]), 2, np.zeros(0, bool))
    >>> rows.tolist(), weights.tolist()
    ([[1, -1]], [[0.5, 0.0]])
    """

    weights: Float32

    def __post_init__(self) -> None:
        require_array("weights", self.weights, np.float32, (None, None))
        require_array("weights", self.weights, np.float32, (len(self.weights), len(self.weights)))

    @property
    def n_items(self) -> int:
        """Number of items for which similarities are stored."""
        return len(self.weights)

    def __repr__(self) -> str:
        return "a weight for each pair"

    def add_scores(self, out: Float32, entries: SparseRows) -> None:
        """Add the product of each user's history and the weight matrix to an array of scores, in place.

        Parameters
        ----------
        out : ndarray of shape (n_users, n_items), float32
            Scores; updated in place.
        entries : SparseRows
            One row for each user.
        """
        add_dense(out, entries, self.weights)

    def terms(self, entries: SparseRows, item: int) -> Float64:
        """Return the contribution of each entry in a history to the score of an item: its value times its weight.

        Parameters
        ----------
        entries : SparseRows
            A user's history, as a single row.
        item : int
            The item's row number.

        Returns
        -------
        ndarray of shape (m,), float64
            One term for each entry.
        """
        terms: Float64 = entries.values.astype(np.float64) * self.weights[entries.columns, item]
        return terms

    def nearest(self, items: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
        """Return, for each item, the n items whose scores it influences most (largest nonzero weights).

        Parameters
        ----------
        items : ndarray of shape (m,), int32
            Item rows.
        n : int
            The maximum number of neighbors; the results have at most n_items columns.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to choose from; an empty array means all items.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        weights : ndarray of shape (m, n), float32
            Padded with 0.
        """
        return _largest(self.weights[items], items, n, allowed)

    def pairwise(self, items: Int32) -> Float32:
        """Compute the partial correlation of each pair of items within each list.

        The value is 1 for an item with itself, and 0 for row -1. Since W_ij = -P_ij / P_jj for a precision matrix P,
        the squared partial correlation P_ij^2 / (P_ii P_jj) equals W_ij W_ji.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            A symmetric matrix for each list.
        """
        W = self.weights[np.maximum(items, 0)[:, :, None], np.maximum(items, 0)[:, None, :]]
        transposed = W.transpose(0, 2, 1)
        return _with_unit_diagonal(np.sign(W) * np.sqrt(np.maximum(W * transposed, 0)), items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weight matrix as an array by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return {"weights": self.weights}

    def settings(self) -> dict[str, Any]:
        """Return the type of the similarity, which `similarity_from_parts` needs in addition to the arrays.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {"form": "dense"}


@dataclass(frozen=True, eq=False)
class NeighborSimilarity:
    """Sparse item similarities: each item's similarities to its nearest neighbors.

    Parameters
    ----------
    rows : SparseRows
        Row j contains the items i that have j as a neighbor (as columns), and the similarities s_ij (as values), which
        may be negative only if `average` is None.
    average : NeighborAverage, optional
        How to average over neighbors; None for a sum.

    Examples
    --------
    >>> similarity = NeighborSimilarity(SparseRows.of(rows=[1], columns=[0], values=[0.5], n_rows=2))
    >>> out = np.zeros((1, 2), np.float32)
    >>> similarity.add_scores(out, SparseRows.of(rows=[0], columns=[1], values=[1], n_rows=1))
    >>> out.tolist()                                        # item 1 is a neighbor of item 0
    [[0.5, 0.0]]
    """

    rows: SparseRows
    average: NeighborAverage | None = None

    def __post_init__(self) -> None:
        self.rows.checked("rows", len(self.rows))

    @property
    def n_items(self) -> int:
        """Number of items for which similarities are stored."""
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{len(self.rows.columns):,} neighbors"

    def add_scores(self, out: Float32, entries: SparseRows) -> None:
        """Add the weighted sum or average over an item's neighbors in each user's history to its score, in place.

        Parameters
        ----------
        out : ndarray of shape (n_users, n_items), float32
            Scores; updated in place.
        entries : SparseRows
            One row for each user.
        """
        if self.average is None:
            sum_by_items(out, entries, self.rows)
        else:
            average_by_items(out, entries, self._lists, k=self.average.k, damping=self.average.damping)

    def add_pair_scores(self, out: Float32, entries: SparseRows, pair_start: Int64, items: Int32) -> None:
        """Add the weighted average of `add_scores` to the scores of some items of each user, in place.

        Parameters
        ----------
        out : ndarray of shape (n_pairs,), float32
            Scores; updated in place.
        entries : SparseRows
            One row for each user.
        pair_start : ndarray of shape (n_users + 1,), int64
            The pairs of user a are those from pair_start[a] to pair_start[a + 1] - 1.
        items : ndarray of shape (n_pairs,), int32
            The item of each pair.

        Raises
        ------
        ParameterError
            If the similarities are summed, not averaged.
        """
        if self.average is None:
            raise ParameterError("add_pair_scores requires averaged similarities, but these are summed")
        average_of_pairs(
            out, pair_start, items, entries, self._lists, k=self.average.k, damping=self.average.damping
        )  # fmt: skip

    @cached_property
    def _lists(self) -> NeighborLists:
        """The neighbors of each item, most similar first."""
        return NeighborLists.of(self.rows)

    def terms(self, entries: SparseRows, item: int) -> Float64:
        """Return the contribution of each entry in a history to the score of an item.

        Parameters
        ----------
        entries : SparseRows
            A user's history, as a single row.
        item : int
            The item's row number.

        Returns
        -------
        ndarray of shape (m,), float64
            One term for each entry; 0 if it is not a neighbor of the item.
        """
        s = self._similarities(entries.columns.astype(np.int64) * self.n_items + item).astype(np.float64)
        if self.average is None:
            return s * entries.values
        ws = s if entries.weights is None else s * entries.weights
        ws = ws * top_k_membership(s, self.average.k)
        denominator = self.average.damping + ws.sum()
        return ws * entries.values / denominator if denominator > 0 else np.zeros(len(ws))

    def nearest(self, items: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
        """Return the n nearest neighbors of each item and their similarities.

        Parameters
        ----------
        items : ndarray of shape (m,), int32
            Item rows.
        n : int
            The number of neighbors.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to choose from; an empty array means all items.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        similarities : ndarray of shape (m, n), float32
            Padded with 0.
        """
        rows, similarities = np.full((len(items), n), -1, np.int32), np.zeros((len(items), n), np.float32)
        for position, item in enumerate(items):
            entries = np.flatnonzero(self.rows.columns == item)
            neighbors = np.searchsorted(self.rows.start, entries, side="right") - 1
            if len(allowed):
                entries, neighbors = entries[allowed[neighbors]], neighbors[allowed[neighbors]]
            order = np.argsort(-self.rows.values[entries], kind="stable")[:n]
            rows[position, : len(order)] = neighbors[order]
            similarities[position, : len(order)] = self.rows.values[entries[order]]
        return rows, similarities

    @cached_property
    def _pairs(self) -> Int64:
        """The sorted keys j * n_items + i of all similarities s_ij."""
        return np.repeat(np.arange(self.n_items) * self.n_items, self.rows.counts) + self.rows.columns

    def _similarities(self, pairs: Int64) -> Float32:
        """Return the similarity s_ij for each key j * n_items + i; 0 if j is not a neighbor of i."""
        index = np.searchsorted(self._pairs, pairs)
        is_neighbor = np.append(self._pairs, -1)[index] == pairs
        return np.where(is_neighbor, np.append(self.rows.values, np.float32(0))[index], np.float32(0))

    def pairwise(self, items: Int32) -> Float32:
        """Look up the similarity of each pair of items within each list.

        The value is 1 for an item with itself, and 0 for row -1 and for pairs in which neither item is a neighbor of
        the other. Of two different values for a pair, the one farther from 0 is returned.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            A symmetric matrix for each list.
        """
        rows = np.maximum(items, 0).astype(np.int64)
        s = self._similarities(rows[:, :, None] * self.n_items + rows[:, None, :])
        low, high = np.minimum(s, s.transpose(0, 2, 1)), np.maximum(s, s.transpose(0, 2, 1))
        return _with_unit_diagonal(np.where(low + high < 0, low, high), items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the similarities as CSR arrays by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return {"start": self.rows.start, "columns": self.rows.columns, "values": self.rows.values}

    def settings(self) -> dict[str, Any]:
        """Return the type of the similarity and the parameters of the neighbor average.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {"form": "neighbors", "average": None if self.average is None else asdict(self.average)}


@dataclass(frozen=True, eq=False)
class SpectralSimilarity:
    """Item-item weights stored as the sum of a sparse and a low-rank matrix, as learned by GraphFilter.

    Neither part alone can represent a graph filter in bounded memory: its response to single items is sparse but has
    full rank, and its response to the leading eigenvectors of the graph is dense but has low rank.

    Parameters
    ----------
    neighbors : NeighborSimilarity
        S, the sparse part, without an average.
    vectors : ndarray of shape (n_items, width), float32
        V, one vector for each item.
    response : ndarray of shape (width,), float32
        h, the weight of each dimension.
    scale : ndarray of shape (n_items,), float32
        g, the factor of each item's scores.

    Notes
    -----
    ::

        W_ji = S_ji + g_i sum_f h_f v_jf v_if

    Examples
    --------
    >>> neighbors = NeighborSimilarity(SparseRows.of(rows=[1], columns=[0], values=[0.5], n_rows=2))
    >>> ones = np.ones(2, np.float32)
    >>> similarity = SpectralSimilarity(neighbors, np.float32([[1], [2]]), np.float32([0.25]), ones)
    >>> out = np.zeros((1, 2), np.float32)
    >>> similarity.add_scores(out, SparseRows.of(rows=[0], columns=[1], values=[1], n_rows=1))
    >>> out.tolist()                                        # 0.5 + 0.25 * 2 * 1, and 0.25 * 2 * 2
    [[1.0, 1.0]]
    """

    neighbors: NeighborSimilarity
    vectors: Float32
    response: Float32
    scale: Float32

    def __post_init__(self) -> None:
        require_array("vectors", self.vectors, np.float32, (self.n_items, None))
        require_array("response", self.response, np.float32, self.vectors.shape[1:])
        require_array("scale", self.scale, np.float32, (self.n_items,))

    @property
    def n_items(self) -> int:
        """Number of items for which similarities are stored."""
        return self.neighbors.n_items

    def __repr__(self) -> str:
        return f"{self.neighbors!r}, {len(self.response)} eigenvectors"

    def add_scores(self, out: Float32, entries: SparseRows) -> None:
        """Add the product of each user's history and the weights to an array of scores, in place.

        Parameters
        ----------
        out : ndarray of shape (n_users, n_items), float32
            Scores; updated in place.
        entries : SparseRows
            One row for each user.
        """
        self.neighbors.add_scores(out, entries)
        add_low_rank(out, entries, self.vectors, self.response, self.scale)

    def terms(self, entries: SparseRows, item: int) -> Float64:
        """Return the contribution of each entry in a history to the score of an item: its value times its weight.

        Parameters
        ----------
        entries : SparseRows
            A user's history, as a single row.
        item : int
            The item's row number.

        Returns
        -------
        ndarray of shape (m,), float64
            One term for each entry.
        """
        target = self.vectors[item].astype(np.float64) * self.response * self.scale[item]
        terms: Float64 = self.neighbors.terms(entries, item) + entries.values * (self.vectors[entries.columns] @ target)
        return terms

    def nearest(self, items: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
        """Return, for each item, the n items whose scores it influences most (largest nonzero weights).

        Parameters
        ----------
        items : ndarray of shape (m,), int32
            Item rows.
        n : int
            The maximum number of neighbors; the results have at most n_items columns.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to choose from; an empty array means all items.

        Returns
        -------
        rows : ndarray of shape (m, n), int32
            Padded with -1.
        weights : ndarray of shape (m, n), float32
            Padded with 0.
        """
        weights, ones = np.zeros((len(items), self.n_items), np.float32), np.ones(len(items), np.float32)
        self.add_scores(weights, SparseRows.from_counts(ones.astype(np.int64), items, ones))
        return _largest(weights, items, n, allowed)

    def pairwise(self, items: Int32) -> Float32:
        """Compute the cosine similarity of the vectors of each pair of items within each list.

        Parameters
        ----------
        items : ndarray of shape (m, c), int32
            Lists of item row numbers, padded with -1.

        Returns
        -------
        ndarray of shape (m, c, c), float32
            A symmetric matrix for each list; 1 for an item with itself, 0 for row -1.
        """
        return _with_unit_diagonal(list_cosines(self.vectors, items), items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of both parts by name.

        Returns
        -------
        dict of {str: ndarray}
            Arrays by name.
        """
        return self.neighbors.arrays() | {"vectors": self.vectors, "response": self.response, "scale": self.scale}

    def settings(self) -> dict[str, Any]:
        """Return the type of the similarity, which `similarity_from_parts` needs in addition to the arrays.

        Returns
        -------
        dict of {str: object}
            JSON-serializable values by name.
        """
        return {"form": "spectral"}


def list_cosines(vectors: Float32, items: Int32) -> Float32:
    """Compute the cosine similarity of the vectors of each pair of items within each list.

    Parameters
    ----------
    vectors : ndarray of shape (n_items, width), float32
        The vectors.
    items : ndarray of shape (m, c), int32
        Lists of item row numbers, padded with -1.

    Returns
    -------
    ndarray of shape (m, c, c), float32
        A symmetric matrix for each list; 0 for row -1 and for a vector of zeros.

    Examples
    --------
    >>> list_cosines(np.float32([[3, 0], [1, 1]]), np.int32([[0, 1, -1]])).round(2)
    array([[[1.  , 0.71, 0.  ],
            [0.71, 1.  , 0.  ],
            [0.  , 0.  , 0.  ]]], dtype=float32)
    """
    vectors = np.where((items >= 0)[:, :, None], vectors[np.maximum(items, 0)], np.float32(0))
    length = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=2, keepdims=True))
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape), where=length > 0).astype(np.float32)
    cosine: Float32 = np.matmul(unit, unit.transpose(0, 2, 1))
    return cosine


def _largest(weights: Float32, items: Int32, n: int, allowed: Bool) -> tuple[Int32, Float32]:
    """Return the n largest nonzero weights in each row, excluding the item itself; see `DenseSimilarity.nearest`.

    Changes `weights` (m, n_items), whose row a belongs to items[a].
    """
    weights[np.arange(len(items)), items] = 0
    weights[weights == 0] = -np.inf
    if len(allowed):
        weights[:, ~allowed] = -np.inf
    order = np.argsort(-weights, axis=1, kind="stable")[:, :n].astype(np.int32)
    sorted_weights = np.take_along_axis(weights, order, axis=1)
    is_neighbor = sorted_weights > -np.inf
    return np.where(is_neighbor, order, -1).astype(np.int32), np.where(is_neighbor, sorted_weights, np.float32(0))


def _with_unit_diagonal(similarity: Float32, items: Int32) -> Float32:
    """Set self-similarities to 1, and the similarities of pairs with row -1 to 0."""
    is_same = items[:, :, None] == items[:, None, :]
    is_pair = (items[:, :, None] >= 0) & (items[:, None, :] >= 0)
    return np.where(is_pair, np.where(is_same, 1, similarity), 0).astype(np.float32)


ItemSimilarity: TypeAlias = DenseSimilarity | NeighborSimilarity | SpectralSimilarity


def similarity_from_parts(arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> ItemSimilarity:
    """Reconstruct an item similarity from the output of `arrays()` and `settings()`.

    Parameters
    ----------
    arrays : dict of {str: ndarray}
        The result of `arrays`.
    settings : dict of {str: object}
        The result of `settings`.

    Returns
    -------
    DenseSimilarity, NeighborSimilarity or SpectralSimilarity
        A bitwise identical object.

    Examples
    --------
    >>> dense = DenseSimilarity(np.zeros((3, 3), np.float32))
    >>> similarity_from_parts(dense.arrays(), dense.settings()).n_items
    3
    """
    form = checks.plain("form", settings["form"], Literal["dense", "neighbors", "spectral"])
    if form == "dense":
        return DenseSimilarity(arrays["weights"])
    rows = SparseRows(arrays["start"], arrays["columns"], arrays["values"])
    if form == "spectral":
        return SpectralSimilarity(NeighborSimilarity(rows), arrays["vectors"], arrays["response"], arrays["scale"])
    return NeighborSimilarity(rows, checks.plain("average", settings["average"], NeighborAverage | None))
