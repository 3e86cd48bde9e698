"""Ranking metrics: one number per user that says how well a ranked list meets the user's test items.

Every metric lies in [0, 1]; a perfect ranking has 1 (precision: as long as there are k relevant items).
A user without a test item has nan, and belongs in no mean. Where scores tie, a metric is its expectation over all
orders of the tied items, so that it does not depend on the names or the order of the items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cofactor import checks
from cofactor.arrays import MOST_ROWS, Bool, Float64, Int32, Int64
from cofactor.data.interactions import SparseRows
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.parallel import results_of
from cofactor.validation import validated

__all__ = [
    "Hits",
    "average_precision",
    "expected_hits",
    "hit_rate",
    "meetings",
    "metrics_of",
    "ndcg",
    "precision",
    "ranking_metrics",
    "recall",
    "reciprocal_rank",
]

_CELLS = 2**19  # of a block of ranked lists looked up at once: bounds the memory, changes no result


@dataclass(frozen=True, eq=False)
class Hits:
    """Groups of tied items that hold test items, one entry per user and group, by (user, before).

    Items of equal score form a group whose order is not defined: every order is equally likely. A list without ties has
    groups of size 1. Metrics are expectations over the orders (McSherry & Najork 2008, "Computing information retrieval
    performance measures efficiently in the presence of tied scores", ECIR).

    Attributes
    ----------
    user : ndarray of shape (m,), int64
        The row of the ranked lists.
    before : ndarray of shape (m,), int64
        How many items are ranked above the group; without ties the place of the item, counted from 0.
    size : ndarray of shape (m,), int64
        How many items the group has, test items and others.
    relevant : ndarray of shape (m,), int64
        How many of them are test items, from 1 to `size`.
    hits_before : ndarray of shape (m,), int64
        How many test items the user has in groups above this one.
    n_relevant : ndarray of shape (n_users,), int64
        How many test items each user has.
    depth : int
        The length of the lists: the largest cut-off that metrics accept.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0, 0], [3, 7, 9], [1, 1, 1], n_rows=1))
    >>> hits.before.tolist(), hits.hits_before.tolist(), hits.n_relevant.tolist()
    ([0, 2], [0, 1], [3])
    """

    user: Int64
    before: Int64
    size: Int64
    relevant: Int64
    hits_before: Int64
    n_relevant: Int64
    depth: int

    @classmethod
    @validated
    def of(cls, ranked: Any, relevant: SparseRows) -> Hits:
        """From lists without ties and the test items of the same users.

            ranked    (n_users, depth) int32    item rows, best first, -1 where a list ends early
            relevant  n_users rows              each one's test items; their values do not count

        Raises DataError where the two differ in users, `ranked` is no table of item rows, a relevant item
        is ranked twice for one user, or test items are not ascending.

        >>> relevant = SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1)
        >>> Hits.of(np.array([[7, 5, 3]]), relevant).before
        array([0, 2])
        """
        user, place = meetings(ranked, relevant)
        return cls.of_places(user, place, relevant.counts, np.shape(ranked)[1])

    @classmethod
    def of_places(cls, user: Int64, place: Int64, n_relevant: Int64, depth: int) -> Hits:
        """From places of test items in lists without ties: user and place (m,), counted from 0, by (user, place).

        >>> Hits.of_places(np.array([0, 0]), np.array([1, 4]), np.array([3]), depth=5).hits_before.tolist()
        [0, 1]
        """
        one = np.broadcast_to(np.int64(1), len(user))
        per_user = np.bincount(user, minlength=len(n_relevant))
        before = np.arange(len(user)) - np.repeat(np.cumsum(per_user) - per_user, per_user)
        return cls(user, place, one, one, before, n_relevant, depth)

    @classmethod
    def of_groups(cls, user: Int64, before: Int64, size: Int64, relevant: Int64, n_relevant: Int64, depth: int) -> Hits:
        """From groups in any order; entries of one user and one `before` are added up.

        user, before, size, relevant (m,) as in the class; entries of one group have the same size.

        >>> hits = Hits.of_groups(*np.array([[0, 0], [2, 2], [3, 3], [1, 1]]), np.array([2]), depth=5)
        >>> hits.size.tolist(), hits.relevant.tolist()
        ([3], [2])
        """
        order = np.lexsort((before, user))
        user, before, size, relevant = user[order], before[order], size[order], relevant[order]
        first = np.ones(len(user), bool)
        first[1:] = (user[1:] != user[:-1]) | (before[1:] != before[:-1])
        starts = np.flatnonzero(first)
        merged = np.add.reduceat(relevant, starts) if len(starts) else relevant
        user, before, size = user[starts], before[starts], size[starts]
        above = np.cumsum(merged) - merged
        per_user = np.bincount(user, minlength=len(n_relevant))
        first_of_user = np.repeat((np.cumsum(per_user) - per_user)[per_user > 0], per_user[per_user > 0])
        return cls(user, before, size, merged, above - above[first_of_user], n_relevant, depth)

    @cached_property
    def untied(self) -> bool:
        """Whether every group has one item."""
        return self.size.strides == (0,) or bool((self.size == 1).all())

    @validated
    def head(self, k: int) -> Hits:
        """The groups that have a place among the first k. Raises ParameterError unless 1 <= k <= depth."""
        if not 1 <= k <= self.depth:
            raise ParameterError(
                f"k={checks.shown(k)} but the lists are {self.depth} long: rank that many (-1 fills up a small catalog)"
            )
        if k not in self._heads:
            use = self.before < k
            if use.all():
                self._heads[k] = self
            else:
                user, before, above = self.user[use], self.before[use], self.hits_before[use]
                one = np.broadcast_to(np.int64(1), len(user))
                size, relevant = (one, one) if self.untied else (self.size[use], self.relevant[use])
                self._heads[k] = Hits(user, before, size, relevant, above, self.n_relevant, self.depth)
        return self._heads[k]

    @cached_property
    def _heads(self) -> dict[int, Hits]:
        return {}

    @validated
    def places(self, k: int) -> Int64:
        """How many of each group's places are among the first k: (m,) int64."""
        return np.clip(checks.whole_number("k", k, low=0, high=MOST_ROWS) - self.before, 0, self.size)

    @cached_property
    def first(self) -> Bool:
        """Which entries are the user's first group with a test item: (m,) bool."""
        first: Bool = self.hits_before == 0
        return first

    def summed(self, gain: Float64 | None) -> Float64:
        """The gains (m,) of the groups (None: 1 each), summed by user: (n_users,) float64, 0 without a hit."""
        if gain is not None:
            gain = checks.number_array("gain", gain, self.user.shape)
        sums = np.bincount(self.user, weights=gain, minlength=len(self.n_relevant))
        return sums.astype(np.float64)

    @validated
    def over(self, sums: Float64, normalizer: Any) -> Float64:
        """sums / normalizer: (n_users,) float64, nan for users without a test item."""
        sums = checks.number_array("sums", sums, self.n_relevant.shape)
        shape = () if checks.as_array(normalizer).ndim == 0 else self.n_relevant.shape
        normalizer = checks.number_array("normalizer", normalizer, shape)
        if (np.broadcast_to(normalizer, self.n_relevant.shape)[self.n_relevant > 0] <= 0).any():
            raise ParameterError("normalizer must be above 0 for each user with a test item")
        out: Float64 = np.full(len(sums), np.nan)
        np.divide(sums, normalizer, out=out, where=self.n_relevant > 0)
        return out


@validated
def ndcg(hits: Hits, k: int) -> Float64:
    """Normalized discounted cumulative gain with binary gains: (n_users,) in [0, 1], nan without a test item.

        DCG@k = sum over hits of rank <= k of 1 / log2(rank + 1)
        NDCG@k = DCG@k / (the DCG of min(k, n_relevant) hits at ranks 1, 2, ...)

    A group of t tied items with r test items gives each of its ranks the expected gain r / t.

    Järvelin & Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4); with
    the discount log2(rank + 1), where theirs leaves the first b ranks undiscounted. Raises ParameterError unless
    1 <= k <= depth.

    >>> hits = Hits.of(np.array([[7, 5, 3], [5, 7, 3]]), SparseRows.of([0, 1], [7, 7], [1, 1], n_rows=2))
    >>> ndcg(hits, 3).round(2).tolist()
    [1.0, 0.63]
    """
    head = hits.head(k)
    discount = 1 / np.log2(np.arange(1, k + 1) + 1.0)
    ideal = np.cumsum(discount)
    return hits.over(head.summed(_gained(head, k, discount)), ideal[np.minimum(hits.n_relevant, k) - 1])


@validated
def recall(hits: Hits, k: int) -> Float64:
    """The share of a user's test items that is among the first k: (n_users,) in [0, 1], nan without a test item.

        recall@k = hits@k / n_relevant,    also where n_relevant > k

    Of a tied group the expected number of hits counts. Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> recall(hits, 1).tolist(), recall(hits, 3).tolist()
    ([0.5], [1.0])
    """
    return hits.over(expected_hits(hits, k), hits.n_relevant)


@validated
def precision(hits: Hits, k: int) -> Float64:
    """The share of the first k that are test items: (n_users,) in [0, 1], nan without a test item.

        precision@k = hits@k / k,    also where the list ends before k

    Of a tied group the expected number of hits counts. Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3, -1]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> precision(hits, 1).tolist(), precision(hits, 4).tolist()
    ([1.0], [0.5])
    """
    return hits.over(expected_hits(hits, k), k)


@validated
def hit_rate(hits: Hits, k: int) -> Float64:
    """The probability that at least one test item is among the first k: (n_users,), nan without a test item.

    Without ties it is 1 or 0. A group of t items with r test items of which m places are among the first k has none
    there with probability C(t - r, m) / C(t, m). Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0], [5], [1], n_rows=1))
    >>> hit_rate(hits, 1).tolist(), hit_rate(hits, 2).tolist()
    ([0.0], [1.0])
    """
    head = hits.head(k)
    if head.untied:
        return hits.over(np.minimum(head.summed(None), 1), 1)
    size, relevant, places = head.size, head.relevant, head.places(k)
    none = np.where(places + relevant > size, 0.0, 1.0)
    open_ = np.flatnonzero(none)
    t, r, m = size[open_], relevant[open_], places[open_]
    chance = np.ones(len(open_))
    for j in range(int(m.max(initial=0))):
        chance *= np.where(j < m, (t - r - j) / np.maximum(t - j, 1), 1.0)
    none[open_] = chance
    return hits.over(head.summed(np.where(head.first, 1 - none, 0.0)), 1)


@validated
def reciprocal_rank(hits: Hits, k: int) -> Float64:
    """1 / rank of the first test item, 0 where none is among the first k; its mean is the MRR.

    Of a tied group of t items with r test items the expectation: the first test item has place j of the group with
    probability C(t - j, r - 1) / C(t, r).

    (n_users,) in [0, 1], nan without a test item. Raises as `ndcg`.
    Source: Voorhees (1999), "The TREC-8 question answering track report".

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0], [3], [1], n_rows=1))
    >>> reciprocal_rank(hits, 1).tolist(), reciprocal_rank(hits, 3).round(2).tolist()
    ([0.0], [0.33])
    """
    head = hits.head(k)
    gain = np.where(head.first, 1.0 / (head.before + 1), 0.0)
    if not head.untied:
        places = head.places(k)
        tied = np.flatnonzero(head.first & (head.size > 1))
        t, r, m, before = head.size[tied], head.relevant[tied], places[tied], head.before[tied]
        chance, expected = r / t, np.zeros(len(tied))
        for j in range(1, int(m.max(initial=0)) + 1):
            expected += np.where(j <= m, chance / (before + j), 0.0)
            chance = chance * np.maximum(t - r - j + 1, 0) / np.maximum(t - j, 1)
        gain[tied] = expected
    return hits.over(head.summed(gain), 1)


@validated
def average_precision(hits: Hits, k: int) -> Float64:
    """Precision at each hit, averaged as if the best possible number of hits were there; its mean is the MAP.

        AP@k = sum over hits of rank <= k of (hits up to that rank / rank) / min(k, n_relevant)

    In a tied group of t items with r test items, h of them above it and `before` items above it, place j is a hit with
    probability r / t, and then h + 1 + (j - 1) (r - 1) / (t - 1) hits are expected up to it.

    Manning, Raghavan & Schütze (2008), "Introduction to Information Retrieval", section 8.4, which has
    no cut-off k and so divides by n_relevant; min(k, n_relevant) lets a perfect list reach 1.
    (n_users,) in [0, 1], nan without a test item. Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> average_precision(hits, 3).round(2).tolist()
    [0.83]
    """
    head = hits.head(k)
    gain = (head.hits_before + 1) / (head.before + 1)
    if not head.untied:
        places, t, r = head.places(k), head.size, head.relevant
        harmonic = np.concatenate([np.zeros(1), np.cumsum(1 / np.arange(1.0, k + 1))])
        inverse = harmonic[head.before + places] - harmonic[head.before]  # sum of 1 / rank over the group's places
        others = (r - 1) / np.maximum(t - 1, 1)
        tied = r / t * ((head.hits_before + 1) * inverse + others * (places - (head.before + 1) * inverse))
        gain = np.where(t == 1, gain, tied)
    return hits.over(head.summed(gain), np.minimum(hits.n_relevant, k))


@validated
def expected_hits(hits: Hits, k: int) -> Float64:
    """The expected number of test items among the first k: (n_users,) float64. Raises as `ndcg`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> expected_hits(hits, 2).tolist(), expected_hits(hits, 3).tolist()
    ([1.0], [2.0])
    """
    head = hits.head(k)
    return head.summed(None if head.untied else head.relevant * head.places(k) / head.size)


_METRICS = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "hit_rate": hit_rate,
}


@validated
def ranking_metrics(ranked: Int32, relevant: SparseRows, *, ks: Sequence[int] = (10,)) -> dict[str, Float64]:
    """Every metric at every k, named as in "ndcg@10": each (n_users,) float64, nan without a test item.

    ranked, relevant as in `Hits.of`; no users give arrays of length 0, no `ks` no metrics. Raises ParameterError for a
    k below 1 or beyond the lists, DataError as `Hits.of` does.

    >>> relevant = SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=2)
    >>> metrics = ranking_metrics(np.array([[7, 5, 3], [1, 2, 3]]), relevant, ks=[2])
    >>> metrics["recall@2"]
    array([0.5, nan])
    """
    return metrics_of(Hits.of(ranked, relevant), ks)


@validated
def metrics_of(hits: Hits, ks: Sequence[int]) -> dict[str, Float64]:
    """Every metric at every k of these hits, as `ranking_metrics`.

    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> metrics_of(hits, [1])["precision@1"]
    array([1.])
    """
    return {f"{name}@{k}": metric(hits, k) for k in ks for name, metric in _METRICS.items()}


def _gained(hits: Hits, k: int, discount: Float64) -> Float64:
    """Each group's expected sum of discounts (k,) over its test items: (m,) float64; all groups begin before k."""
    if hits.untied:
        return discount[hits.before]
    places = hits.places(k)
    total = np.concatenate([np.zeros(1), np.cumsum(discount)])
    tied = hits.relevant / hits.size * (total[hits.before + places] - total[hits.before])
    return np.where(hits.size == 1, discount[hits.before], tied)


@validated
def meetings(ranked: Any, relevant: SparseRows) -> tuple[Int64, Int64]:
    """User and place in the list, counted from 0, of every test item that is ranked, by (user, place): (m,) each.

    Arguments and errors as in `Hits.of`.

    >>> meetings(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 9], [1, 1], n_rows=1))
    (array([0]), array([2]))
    """
    lists = checks.as_array(ranked)
    if lists.ndim != 2 or lists.dtype.kind != "i" or lists.min(initial=0) < -1:
        raise DataError("ranked lists must be a table of item rows (integers; -1 where a list ends)")
    if len(relevant) != len(lists):
        raise DataError(f"relevant must have {len(lists):,} rows, one for each ranked list, not {len(relevant):,}")
    user, place, entry = _meetings(lists, relevant)
    twice = np.bincount(entry)[entry] > 1
    if twice.any():
        k = int(twice.argmax())
        raise DataError(f"ranked list {user[k] + 1}: item row {lists[user[k], place[k]]} is ranked twice")
    return user, place


def _meetings(lists: Any, relevant: SparseRows) -> tuple[Int64, Int64, Int64]:
    """User, place in the list from 0, and entry of `relevant` of every hit, by (user, place)."""
    n_users, depth = lists.shape
    width = int(max(lists.max(initial=-1), relevant.columns.max(initial=-1))) + 1
    keys = np.repeat(np.arange(n_users), relevant.counts) * width + relevant.columns
    if not (keys[1:] > keys[:-1]).all():
        raise DataError("each row of relevant must have distinct columns in ascending order")
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
