"""Item search: the ranking index of a factor model's items, created on first use and shared by models with these items.

Small catalogs are scanned in descending order of norms (`kernels.topk`). For catalogs of at least MIN_CLUSTERED_ITEMS
items, similar items are clustered first (`kernels.item_clusters`), so that a search reads only a part of the catalog.
Both are exact, and their lists are bitwise identical.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from cofactor.arrays import Bool, Float32, Int32
from cofactor.kernels.item_clusters import ItemClusters
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import ItemIndex, top_items
from cofactor.kernels.topk_clusters import NO_SHIFT, ItemShift, top_items_of_clusters

__all__ = ["MIN_CLUSTERED_ITEMS", "ItemSearch"]

MIN_CLUSTERED_ITEMS = 1 << 20
"""Catalogs of at least 1,048,576 items are clustered. For smaller ones, a scan takes less time than a few
milliseconds, and clusters would cost more than they save."""


class ItemSearch:
    """Ranking index of items, created on first use.

    Parameters
    ----------
    factors : ndarray of shape (n_items, width), float32
        Item factors.
    bias : ndarray of shape (n_items,), float32
        Item biases.
    previous : ItemSearch, optional
        The search of a smaller catalog that these items extend.
    take : ndarray of shape (n_items,), int32, optional
        The row of each item in the previous catalog; negative for new items.
    """

    def __init__(
        self, factors: Float32, bias: Float32, *, previous: ItemSearch | None = None, take: Int32 | None = None
    ):
        self._factors, self._bias = factors, bias
        self._previous, self._take = previous, take
        self._lock = threading.Lock()
        self._index: ItemIndex | None = None
        self._clusters: ItemClusters | None = None
        self._shift = NO_SHIFT

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the items without the index."""
        return ItemSearch, (self._factors, self._bias)

    @property
    def uses_clusters(self) -> bool:
        """Whether the catalog is large enough to be clustered."""
        return len(self._bias) >= MIN_CLUSTERED_ITEMS

    def index(self) -> ItemIndex:
        """Return the index for scans, which is created on first use.

        Returns
        -------
        ItemIndex
        """
        with self._lock:
            if self._index is None:
                self._index = ItemIndex.of(self._factors, self._bias)
            return self._index

    def clusters(self) -> ItemClusters:
        """Return the clusters of items, which are created on first use; those of a smaller catalog are extended.

        Returns
        -------
        ItemClusters
        """
        with self._lock:
            if self._clusters is None and self._previous is not None and self._take is not None:
                if self._previous.uses_clusters:
                    self._clusters = self._previous.clusters().with_items(self._factors, self._bias, self._take)
                self._previous = self._take = None
            if self._clusters is None:
                self._clusters = ItemClusters.of(self._factors, self._bias)
            return self._clusters

    def with_items(self, factors: Float32, bias: Float32, take: Int32) -> ItemSearch:
        """Return the search for a catalog to which items are added.

        Parameters
        ----------
        factors : ndarray of shape (n, width), float32
            Factors of all items of the new catalog.
        bias : ndarray of shape (n,), float32
            Biases of all items of the new catalog.
        take : ndarray of shape (n,), int32
            The row of each item in this catalog; negative for new items.

        Returns
        -------
        ItemSearch
        """
        return ItemSearch(factors, bias, previous=self, take=take)

    def top(
        self,
        vectors: Float32,
        n: int,
        *,
        exclude: SparseRows,
        allowed: Bool,
        shift: Float32 | None = None,
        weights: Float32 | None = None,
    ) -> tuple[Int32, Float32]:
        """Return the exact top n items for each user vector.

        Parameters
        ----------
        vectors : ndarray of shape (n_users, width), float32
            User factors.
        n : int
            The length of each list.
        exclude : SparseRows
            The items to exclude, one row for each user.
        allowed : ndarray of shape (n_items,), bool
            Mask of the items to rank; an empty array means all items.
        shift : ndarray of shape (n_items,), float32, optional
            Differences that are added to the item biases, multiplied by `weights`.
        weights : ndarray of shape (n_users,), float32, optional
            The weight of `shift` for each user, at least 0; required with `shift`.

        Returns
        -------
        rows : ndarray of shape (n_users, n), int32
            Item row numbers, best first, ties by row number; padded with -1.
        scores : ndarray of shape (n_users, n), float32
            Their scores; padded with -inf.
        """
        if shift is not None and (weights is None or not weights.any()):
            shift = None
        if self.uses_clusters:
            rows, scores, _ = top_items_of_clusters(
                vectors,
                self.clusters(),
                n,
                seen_start=exclude.start,
                seen=exclude.columns,
                allowed=allowed,
                shift=NO_SHIFT if shift is None else self._cluster_shift(shift),
                weights=weights,
            )
            return rows, scores
        if shift is None or weights is None:
            return top_items(vectors, self.index(), n, seen_start=exclude.start, seen=exclude.columns, allowed=allowed)
        rows, scores = np.empty((len(vectors), n), np.int32), np.empty((len(vectors), n), np.float32)
        for weight in np.unique(weights):
            selected = weights == weight
            seen = exclude.take(np.flatnonzero(selected))
            index = ItemIndex.of(self._factors, self._bias + weight * shift) if weight else self.index()
            rows[selected], scores[selected] = top_items(
                vectors[selected], index, n, seen_start=seen.start, seen=seen.columns, allowed=allowed
            )
        return rows, scores

    def _cluster_shift(self, shift: Float32) -> ItemShift:
        """Return a shift with its largest values, which are computed once for the same array."""
        current = self._shift
        if current.values is not shift:
            self._shift = current = ItemShift.of(shift, self.clusters())
        return current
