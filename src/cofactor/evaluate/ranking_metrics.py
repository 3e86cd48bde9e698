"""How well ranked lists meet the items users really had in the test: one number per user, all users at once.

Every metric lies in [0, 1]; a perfect ranking has 1 (precision: as long as there are k relevant items).
A user without a test item has nan, and belongs in no mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor.arrays import Bool, Float64, Int32, Int64
from cofactor.data.interactions import SparseRows
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.threads import results_of

__all__ = [
    "Hits",
    "average_precision",
    "hit_rate",
    "ndcg",
    "precision",
    "ranking_metrics",
    "recall",
    "reciprocal_rank",
]

_CELLS = 2**19  # of a block of ranked lists looked up at once: bounds the memory, changes no result


@dataclass(frozen=True, eq=False)
class Hits:
    """Where ranked lists meet the test, one entry per relevant item that was ranked, by (user, rank).

        user        (m,) int64          the row of the ranked lists
        rank        (m,) int64          its place there, 1 for the best
        nth         (m,) int64          1 for the user's first hit, 2 for the second, ...
        n_relevant  (n_users,) int64    how many test items each user has
        depth       int                 the lists' length

    No lists, or no test items, give no hits (m = 0). Every metric is worked out from one of these.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0, 0], [3, 7, 9], [1, 1, 1], n_rows=1))
    >>> hits.rank.tolist(), hits.nth.tolist(), hits.n_relevant.tolist()
    ([1, 3], [1, 2], [3])
    """

    user: Int64
    rank: Int64
    nth: Int64
    n_relevant: Int64
    depth: int

    @classmethod
    def of(cls, ranked: Any, relevant: SparseRows) -> Hits:
        """From lists and the test items of the same users.

            ranked    (n_users, depth) int32    item rows, best first, -1 where a list ends early
            relevant  n_users rows              each one's test items; their values do not count

        Raises DataError where the two differ in users, `ranked` is no table of item rows, a relevant item
        is ranked twice for one user, or test items are not ascending.

        >>> relevant = SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1)
        >>> Hits.of(np.array([[7, 5, 3]]), relevant).rank
        array([1, 3])
        """
        lists = np.asarray(ranked)
        if lists.ndim != 2 or lists.dtype.kind != "i" or lists.min(initial=0) < -1:
            raise DataError("ranked lists must be a table of item rows (integers; -1 where a list ends)")
        n_users, depth = lists.shape
        if len(relevant) != n_users:
            raise DataError(f"{n_users} ranked lists but the test items of {len(relevant)} users")
        user, rank, entry = _meetings(lists, relevant)
        twice = np.bincount(entry)[entry] > 1
        if twice.any():
            k = int(twice.argmax())
            raise DataError(f"ranked list {user[k] + 1}: item row {lists[user[k], rank[k]]} is ranked twice")
        per_user = np.bincount(user, minlength=n_users)
        nth = np.arange(len(user)) - np.repeat(np.cumsum(per_user) - per_user, per_user) + 1
        return cls(user, rank + 1, nth, relevant.counts, depth)

    def within(self, k: int) -> Bool:
        """Which hits are among the first k of their list: (m,) bool. Raises ParameterError unless 1 <= k <= depth."""
        if not 1 <= k <= self.depth:
            raise ParameterError(
                f"k={k} but the lists are {self.depth} long: rank that many (-1 fills up a small catalog)"
            )
        return self.rank <= k

    def summed(self, gain: Float64, which: Bool) -> Float64:
        """The gains (m,) of `which` (m,) hits, summed by user: (n_users,) float64, 0 without a hit."""
        sums = np.bincount(self.user[which], weights=gain[which], minlength=len(self.n_relevant))
        return sums.astype(np.float64)

    def over(self, sums: Float64, normalizer: Any) -> Float64:
        """sums / normalizer: (n_users,) float64, nan for users without a test item."""
        out: Float64 = np.full(len(sums), np.nan)
        np.divide(sums, normalizer, out=out, where=self.n_relevant > 0)
        return out


def ndcg(hits: Hits, k: int) -> Float64:
    """Normalized discounted cumulative gain with binary gains: (n_users,) in [0, 1], nan without a test item.

        DCG@k = sum over hits of rank <= k of 1 / log2(rank + 1)
        NDCG@k = DCG@k / (the DCG of min(k, n_relevant) hits at ranks 1, 2, ...)

    Järvelin & Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4); with
    the discount log2(rank + 1), where theirs leaves the first b ranks undiscounted. Raises ParameterError unless
    1 <= k <= depth.

    >>> hits = Hits.of(np.array([[7, 5, 3], [5, 7, 3]]), SparseRows.of([0, 1], [7, 7], [1, 1], n_rows=2))
    >>> ndcg(hits, 3).round(2).tolist()
    [1.0, 0.63]
    """
    dcg = hits.summed(1 / np.log2(hits.rank + 1.0), hits.within(k))
    ideal = np.cumsum(1 / np.log2(np.arange(1, k + 1) + 1.0))
    return hits.over(dcg, ideal[np.minimum(hits.n_relevant, k) - 1])


def recall(hits: Hits, k: int) -> Float64:
    """The share of a user's test items that is among the first k: (n_users,) in [0, 1], nan without a test item.

        recall@k = hits@k / n_relevant,    also where n_relevant > k

    Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> recall(hits, 1).tolist(), recall(hits, 3).tolist()
    ([0.5], [1.0])
    """
    return hits.over(_counted(hits, k), hits.n_relevant)


def precision(hits: Hits, k: int) -> Float64:
    """The share of the first k that are test items: (n_users,) in [0, 1], nan without a test item.

        precision@k = hits@k / k,    also where the list ends before k

    Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3, -1]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> precision(hits, 1).tolist(), precision(hits, 4).tolist()
    ([1.0], [0.5])
    """
    return hits.over(_counted(hits, k), k)


def hit_rate(hits: Hits, k: int) -> Float64:
    """1 where at least one test item is among the first k, else 0: (n_users,), nan without a test item.

    Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0], [5], [1], n_rows=1))
    >>> hit_rate(hits, 1).tolist(), hit_rate(hits, 2).tolist()
    ([0.0], [1.0])
    """
    return hits.over(np.minimum(_counted(hits, k), 1), 1)


def reciprocal_rank(hits: Hits, k: int) -> Float64:
    """1 / rank of the first test item, 0 where none is among the first k; its mean is the MRR.

    (n_users,) in [0, 1], nan without a test item. Raises as `ndcg`.
    Source: Voorhees (1999), "The TREC-8 question answering track report".

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0], [5], [1], n_rows=1))
    >>> reciprocal_rank(hits, 1).tolist(), reciprocal_rank(hits, 3).tolist()
    ([0.0], [0.5])
    """
    return hits.over(hits.summed(1.0 / hits.rank, hits.within(k) & (hits.nth == 1)), 1)


def average_precision(hits: Hits, k: int) -> Float64:
    """Precision at each hit, averaged as if the best possible number of hits were there; its mean is the MAP.

        AP@k = sum over hits of rank <= k of (hits up to that rank / rank) / min(k, n_relevant)

    Manning, Raghavan & Schütze (2008), "Introduction to Information Retrieval", section 8.4, which has
    no cut-off k and so divides by n_relevant; min(k, n_relevant) lets a perfect list reach 1.
    (n_users,) in [0, 1], nan without a test item. Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> average_precision(hits, 3).round(2).tolist()
    [0.83]
    """
    sums = hits.summed(hits.nth / hits.rank, hits.within(k))
    return hits.over(sums, np.minimum(hits.n_relevant, k))


_METRICS = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "hit_rate": hit_rate,
}


def ranking_metrics(ranked: Int32, relevant: SparseRows, *, ks: Sequence[int] = (10,)) -> dict[str, Float64]:
    """Every metric at every k, named as in "ndcg@10": each (n_users,) float64, nan without a test item.

    ranked, relevant as in `Hits.of`; no users give arrays of length 0, no `ks` no metrics. Raises ParameterError for a
    k below 1 or beyond the lists, DataError as `Hits.of` does.

    >>> relevant = SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=2)
    >>> metrics = ranking_metrics(np.array([[7, 5, 3], [1, 2, 3]]), relevant, ks=[2])
    >>> metrics["recall@2"]
    array([0.5, nan])
    """
    hits = Hits.of(ranked, relevant)
    return {f"{name}@{k}": metric(hits, k) for k in ks for name, metric in _METRICS.items()}


def _counted(hits: Hits, k: int) -> Float64:
    return hits.summed(np.ones(len(hits.rank)), hits.within(k))


def _meetings(lists: Any, relevant: SparseRows) -> tuple[Int64, Int64, Int64]:
    """User, place in the list from 0, and entry of `relevant` of every hit, by (user, place)."""
    n_users, depth = lists.shape
    width = int(max(lists.max(initial=-1), relevant.columns.max(initial=-1))) + 1
    keys = np.repeat(np.arange(n_users), relevant.counts) * width + relevant.columns
    if not (keys[1:] > keys[:-1]).all():
        raise DataError("the test items of a user must be distinct and ascending")
    block = max(1, _CELLS // max(depth, 1))

    def meet(first: int) -> tuple[Int64, Int64, Int64]:
        items = lists[first : first + block]
        wanted = np.arange(first, first + len(items))[:, None] * width + items
        entry = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        user, place = np.nonzero((keys[entry] == wanted) & (items >= 0))
        return user + first, place, entry[user, place]

    nothing: tuple[Int64, Int64, Int64] = (np.zeros(0, np.int64),) * 3
    found = results_of(meet, range(0, n_users if len(keys) else 0, block))
    user, place, entry = (np.concatenate(part) for part in zip(nothing, *found, strict=True))
    return user, place, entry
