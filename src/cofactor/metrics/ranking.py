"""Ranking metrics: how well each user's ranked list matches the user's test items, with one value per user.

Each metric is in [0, 1] and equals 1 for a perfect ranking (for precision, only if there are at least k relevant
items). It is nan for users without test items; exclude such users from means. If scores tie, a metric is the
expectation over all orders of the tied items, so it does not depend on the IDs or the order of the items.

To add a metric, append a `RankingMetric` to RANKING_METRICS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from cofactor import checks
from cofactor.arrays import MAX_ROWS, Bool, Float64, Int64
from cofactor.data.interactions import Kind, SparseRows
from cofactor.errors import DataError, ParameterError
from cofactor.kernels.parallel import parallel_map
from cofactor.metrics.base import Aggregation, Metric, UserValues
from cofactor.validation import validated

__all__ = [
    "CAPPED_RECALL",
    "NDCG",
    "RANKING_BOUNDS",
    "RANKING_METRICS",
    "Hits",
    "RankingMetric",
    "average_precision",
    "capped_recall",
    "expected_hits",
    "find_hits",
    "hit_rate",
    "ndcg",
    "precision",
    "recall",
    "reciprocal_rank",
]

_BLOCK_CELLS = 2**19  # number of list positions searched at once; limits memory without affecting results

RANKING_BOUNDS = (0.0, 1.0)
"""Smallest and largest possible value of every ranking metric."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Groups of tied items that contain test items, one entry per user and group, in the order of the ranked lists.

    Items with equal scores form a group, in which all orders are equally likely. In a list without ties, each group has
    one item. Metrics are expectations over the orders.

    Attributes
    ----------
    user : ndarray of shape (m,), int64
        User row number, that is, the row in the ranked lists.
    before : ndarray of shape (m,), int64
        Number of items ranked above the group; without ties, the position of the item, starting at 0.
    size : ndarray of shape (m,), int64
        Number of items in the group, including items that are not test items.
    relevant : ndarray of shape (m,), int64
        Number of test items in the group, from 1 to `size`.
    hits_before : ndarray of shape (m,), int64
        Number of the user's test items in groups above this one.
    n_relevant : ndarray of shape (n_users,), int64
        Number of test items for each user.
    depth : int
        Length of the lists, which is the maximum cutoff.

    References
    ----------
    McSherry & Najork (2008), "Computing information retrieval performance measures efficiently in the presence of tied
    scores", ECIR.

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
        """Find the test items in ranked lists without ties.

        Parameters
        ----------
        ranked : array-like of shape (n_users, depth), int32
            Item row numbers, best first, padded with -1.
        relevant : SparseRows with n_users rows
            Test items of each user, in ascending order; their values are ignored.

        Returns
        -------
        Hits
            Hits with one entry per ranked test item.

        Raises
        ------
        DataError
            If the arguments differ in their number of users, `ranked` is not a two-dimensional array of row numbers, a
            test item is ranked twice for a user, or test items are not in ascending order.

        Examples
        --------
        >>> relevant = SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1)
        >>> Hits.of(np.array([[7, 5, 3]]), relevant).before
        array([0, 2])
        """
        user, position = find_hits(ranked, relevant)
        return cls.of_positions(user, position, relevant.counts, np.shape(ranked)[1])

    @classmethod
    def of_positions(cls, user: Int64, position: Int64, n_relevant: Int64, depth: int) -> Hits:
        """Create hits from the positions of test items in lists without ties.

        Parameters
        ----------
        user, position : ndarray of shape (m,), int64
            User row and position in the list, starting at 0, ordered by (user, place).
        n_relevant : ndarray of shape (n_users,), int64
            Number of test items for each user.
        depth : int
            Length of the lists.

        Returns
        -------
        Hits
            Hits with one entry per position.

        Examples
        --------
        >>> Hits.of_positions(np.array([0, 0]), np.array([1, 4]), np.array([3]), depth=5).hits_before.tolist()
        [0, 1]
        """
        ones = np.broadcast_to(np.int64(1), len(user))
        per_user = np.bincount(user, minlength=len(n_relevant))
        before = np.arange(len(user)) - np.repeat(np.cumsum(per_user) - per_user, per_user)
        return cls(user, position, ones, ones, before, n_relevant, depth)

    @classmethod
    def of_groups(cls, user: Int64, before: Int64, size: Int64, relevant: Int64, n_relevant: Int64, depth: int) -> Hits:
        """Create hits from (group, item) entries in any order, merging entries of the same group of tied items.

        Parameters
        ----------
        user, before, size, relevant : ndarray of shape (m,), int64
            As in the class attributes; entries of the same group must have the same size.
        n_relevant : ndarray of shape (n_users,), int64
            Number of test items for each user.
        depth : int
            Length of the lists.

        Returns
        -------
        Hits
            Hits with one entry per user and group.

        Examples
        --------
        >>> hits = Hits.of_groups(*np.array([[0, 0], [2, 2], [3, 3], [1, 1]]), np.array([2]), depth=5)
        >>> hits.size.tolist(), hits.relevant.tolist()
        ([3], [2])
        """
        order = np.lexsort((before, user))
        user, before, size, relevant = user[order], before[order], size[order], relevant[order]
        first = np.ones(len(user), bool)
        first[1:] = (user[1:] != user[:-1]) | (before[1:] != before[:-1])
        starts = np.flatnonzero(first)
        n_relevant_items = np.add.reduceat(relevant, starts) if len(starts) else relevant
        user, before, size = user[starts], before[starts], size[starts]
        n_above = np.cumsum(n_relevant_items) - n_relevant_items
        per_user = np.bincount(user, minlength=len(n_relevant))
        first_of_user = np.repeat((np.cumsum(per_user) - per_user)[per_user > 0], per_user[per_user > 0])
        return cls(user, before, size, n_relevant_items, n_above - n_above[first_of_user], n_relevant, depth)

    @cached_property
    def has_no_ties(self) -> bool:
        """Whether the lists have no ties: every group of tied items consists of a single item."""
        return self.size.strides == (0,) or bool((self.size == 1).all())

    @validated
    def head(self, k: int) -> Hits:
        """Return the groups of tied items that have at least one item in the top k positions.

        Parameters
        ----------
        k : int
            Cutoff, from 1 to `depth`.

        Returns
        -------
        Hits
            Entries with `before` less than k; this object if that includes all entries.

        Raises
        ------
        ParameterError
            If `k` is out of range.
        """
        if not 1 <= k <= self.depth:
            raise ParameterError(
                f"k must be between 1 and the length of the lists, {self.depth}, not {checks.describe(k)}; "
                "rank at least k items (padded with -1 if the catalog is smaller)"
            )
        if k not in self._heads:
            is_selected = self.before < k
            if is_selected.all():
                self._heads[k] = self
            else:
                user, before, hits_before = (
                    self.user[is_selected],
                    self.before[is_selected],
                    self.hits_before[is_selected],
                )
                ones = np.broadcast_to(np.int64(1), len(user))
                size, relevant = (
                    (ones, ones) if self.has_no_ties else (self.size[is_selected], self.relevant[is_selected])
                )
                self._heads[k] = Hits(user, before, size, relevant, hits_before, self.n_relevant, self.depth)
        return self._heads[k]

    @cached_property
    def _heads(self) -> dict[int, Hits]:
        """Cached results of `head` by cutoff."""
        return {}

    @validated
    def positions_within(self, k: int) -> Int64:
        """Return the number of positions that each group of tied items has in the top k.

        Parameters
        ----------
        k : int
            Cutoff.

        Returns
        -------
        ndarray of shape (m,), int64
            Number of positions, from 0 to `size`.

        Raises
        ------
        ParameterError
            If `k` is not a nonnegative integer.
        """
        return np.clip(checks.whole_number("k", k, low=0, high=MAX_ROWS) - self.before, 0, self.size)

    @cached_property
    def is_first(self) -> Bool:
        """Mask of each user's first group of tied items with a test item: ndarray of shape (m,), bool."""
        is_first: Bool = self.hits_before == 0
        return is_first

    def sum_by_user(self, gain: Float64 | None) -> Float64:
        """Sum the gains of the groups of tied items for each user.

        Parameters
        ----------
        gain : ndarray of shape (m,), float64, or None
            Gain of each group; None for a gain of 1 each.

        Returns
        -------
        ndarray of shape (n_users,), float64
            Sums; 0 for users without hits.
        """
        if gain is not None:
            gain = checks.number_array("gain", gain, self.user.shape)
        sums = np.bincount(self.user, weights=gain, minlength=len(self.n_relevant))
        return sums.astype(np.float64)

    @validated
    def normalize(self, sums: Float64, normalizer: Any) -> Float64:
        """Divide per-user sums by a normalizer; users without test items get nan.

        Parameters
        ----------
        sums : ndarray of shape (n_users,), float64
            Numerators.
        normalizer : float or ndarray of shape (n_users,)
            Denominators, positive for users with test items.

        Returns
        -------
        ndarray of shape (n_users,), float64
            Quotients; nan for users without test items.

        Raises
        ------
        ParameterError
            If a denominator is not positive, or an array has the wrong shape.
        """
        sums = checks.number_array("sums", sums, self.n_relevant.shape)
        shape = () if checks.as_array(normalizer).ndim == 0 else self.n_relevant.shape
        normalizer = checks.number_array("normalizer", normalizer, shape)
        if (np.broadcast_to(normalizer, self.n_relevant.shape)[self.n_relevant > 0] <= 0).any():
            raise ParameterError("normalizer must be positive for each user with a test item")
        out: Float64 = np.full(len(sums), np.nan)
        np.divide(sums, normalizer, out=out, where=self.n_relevant > 0)
        return out


@dataclass(frozen=True, kw_only=True)
class RankingMetric(Metric):
    """Metric for ranked lists: one value per user, averaged over users.

    Attributes
    ----------
    function : callable
        Function of `Hits` and a cutoff that returns one value per user, (n_users,) float64; nan for users without test
        items.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3], [5, 7, 3]]), SparseRows.of([0, 1], [7, 7], [1, 1], n_rows=2))
    >>> round(NDCG.at(3).per_user(hits).aggregate(), 2)
    0.82
    """

    function: Callable[[Hits, int], Float64]
    aggregation: ClassVar[Aggregation] = "mean"
    greater_is_better: bool = True
    kind: ClassVar[Kind] = "events"

    @property
    def per_user_key(self) -> str:
        """Key of the metric in `Score.per_user`."""
        return self.key

    def per_user(self, hits: Hits) -> UserValues:
        """Compute the value of the metric for each user at cutoff `k`, as set by `at`.

        Parameters
        ----------
        hits : Hits
            Positions of the test items in the ranked lists.

        Returns
        -------
        UserValues
            Values with one term per user with test items.

        Raises
        ------
        ParameterError
            If the metric has no cutoff, or its cutoff exceeds the length of the lists.
        """
        if self.k is None:
            raise ParameterError(f"{self.name} has no cutoff; set the length of the lists with {self.name}.at(k)")
        values = self.function(hits, self.k)
        return UserValues(values, np.isfinite(values).astype(np.int64), self.aggregation, RANKING_BOUNDS)


@validated
def ndcg(hits: Hits, k: int) -> Float64:
    """Compute the normalized discounted cumulative gain (NDCG) with binary gains.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1]; nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
        DCG@k = sum over hits of rank <= k of 1 / log2(rank + 1)
        NDCG@k = DCG@k / (the DCG of min(k, n_relevant) hits at ranks 1, 2, ...)

    A group of t tied items with r test items gives each of its ranks the expected gain r / t. The discount is
    log2(rank + 1); the paper leaves the first b ranks undiscounted.

    References
    ----------
    Järvelin & Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4).

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3], [5, 7, 3]]), SparseRows.of([0, 1], [7, 7], [1, 1], n_rows=2))
    >>> ndcg(hits, 3).round(2).tolist()
    [1.0, 0.63]
    """
    head = hits.head(k)
    discount = 1 / np.log2(np.arange(1, k + 1) + 1.0)
    ideal_gains = np.cumsum(discount)
    return hits.normalize(
        head.sum_by_user(_expected_gain(head, k, discount)), ideal_gains[np.minimum(hits.n_relevant, k) - 1]
    )


@validated
def recall(hits: Hits, k: int) -> Float64:
    """Compute recall, the fraction of each user's test items that are in the top k.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1]; nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
        recall@k = hits@k / n_relevant,    even if n_relevant > k

    A tied group contributes its expected number of hits.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> recall(hits, 1).tolist(), recall(hits, 3).tolist()
    ([0.5], [1.0])
    """
    return hits.normalize(expected_hits(hits, k), hits.n_relevant)


@validated
def precision(hits: Hits, k: int) -> Float64:
    """Compute precision, the fraction of the top k items that are test items.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1]; nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
        precision@k = hits@k / k,    even if the list has fewer than k items

    A tied group contributes its expected number of hits.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3, -1]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> precision(hits, 1).tolist(), precision(hits, 4).tolist()
    ([1.0], [0.5])
    """
    return hits.normalize(expected_hits(hits, k), k)


@validated
def hit_rate(hits: Hits, k: int) -> Float64:
    """Compute the hit rate, the probability that at least one test item is in the top k.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1] (0 or 1 if there are no ties); nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
    A group of t tied items with r test items and m positions in the top k has no test item at these positions with
    probability C(t - r, m) / C(t, m).

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0], [5], [1], n_rows=1))
    >>> hit_rate(hits, 1).tolist(), hit_rate(hits, 2).tolist()
    ([0.0], [1.0])
    """
    head = hits.head(k)
    if head.has_no_ties:
        return hits.normalize(np.minimum(head.sum_by_user(None), 1), 1)
    size, relevant, n_within = head.size, head.relevant, head.positions_within(k)
    p_no_hit = np.where(n_within + relevant > size, 0.0, 1.0)
    possible_rows = np.flatnonzero(p_no_hit)
    t, r, m = size[possible_rows], relevant[possible_rows], n_within[possible_rows]
    p = np.ones(len(possible_rows))
    for j in range(int(m.max(initial=0))):
        p *= np.where(j < m, (t - r - j) / np.maximum(t - j, 1), 1.0)
    p_no_hit[possible_rows] = p
    return hits.normalize(head.sum_by_user(np.where(head.is_first, 1 - p_no_hit, 0.0)), 1)


@validated
def reciprocal_rank(hits: Hits, k: int) -> Float64:
    """Compute the reciprocal rank of the highest-ranked test item; its mean over users is the MRR.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1]; 0 if no test item is in the top k, nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
        RR@k = 1 / rank of the first test item

    In a tied group of t items with r test items, the first test item is at position j of the group with probability
    C(t - j, r - 1) / C(t, r).

    References
    ----------
    Voorhees (1999), "The TREC-8 question answering track report".

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0], [3], [1], n_rows=1))
    >>> reciprocal_rank(hits, 1).tolist(), reciprocal_rank(hits, 3).round(2).tolist()
    ([0.0], [0.33])
    """
    head = hits.head(k)
    gain = np.where(head.is_first, 1.0 / (head.before + 1), 0.0)
    if not head.has_no_ties:
        n_within = head.positions_within(k)
        tied_rows = np.flatnonzero(head.is_first & (head.size > 1))
        t, r, m, before = head.size[tied_rows], head.relevant[tied_rows], n_within[tied_rows], head.before[tied_rows]
        p, expected = r / t, np.zeros(len(tied_rows))
        for j in range(1, int(m.max(initial=0)) + 1):
            expected += np.where(j <= m, p / (before + j), 0.0)
            p = p * np.maximum(t - r - j + 1, 0) / np.maximum(t - j, 1)
        gain[tied_rows] = expected
    return hits.normalize(head.sum_by_user(gain), 1)


@validated
def average_precision(hits: Hits, k: int) -> Float64:
    """Compute the average precision over the hits; its mean over users is the MAP.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1]; nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
        AP@k = sum over hits of rank <= k of (hits up to that rank / rank) / min(k, n_relevant)

    The reference has no cutoff k and divides by n_relevant; min(k, n_relevant) lets a perfect list reach 1.

    In a tied group of t items with r test items, and with h test items and `before` items ranked above it, position j
    is a hit with probability r / t, in which case h + 1 + (j - 1) (r - 1) / (t - 1) hits are expected up to it.

    References
    ----------
    Manning, Raghavan & Schütze (2008), "Introduction to Information Retrieval", section 8.4.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> average_precision(hits, 3).round(2).tolist()
    [0.83]
    """
    head = hits.head(k)
    gain = (head.hits_before + 1) / (head.before + 1)
    if not head.has_no_ties:
        n_within, t, r = head.positions_within(k), head.size, head.relevant
        harmonic = np.concatenate([np.zeros(1), np.cumsum(1 / np.arange(1.0, k + 1))])
        inverse = harmonic[head.before + n_within] - harmonic[head.before]  # sum of 1 / rank over the group's positions
        other_rate = (r - 1) / np.maximum(t - 1, 1)
        tied = r / t * ((head.hits_before + 1) * inverse + other_rate * (n_within - (head.before + 1) * inverse))
        gain = np.where(t == 1, gain, tied)
    return hits.normalize(head.sum_by_user(gain), np.minimum(hits.n_relevant, k))


@validated
def expected_hits(hits: Hits, k: int) -> Float64:
    """Compute the expected number of test items in the top k.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values from 0 to k; 0 for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> expected_hits(hits, 2).tolist(), expected_hits(hits, 3).tolist()
    ([1.0], [2.0])
    """
    head = hits.head(k)
    return head.sum_by_user(None if head.has_no_ties else head.relevant * head.positions_within(k) / head.size)


@validated
def capped_recall(hits: Hits, k: int) -> Float64:
    """Compute capped recall, the hits in the top k as a fraction of the maximum possible; every user can reach 1.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    k : int
        Cutoff, from 1 to `hits.depth`.

    Returns
    -------
    ndarray of shape (n_users,), float64
        Values in [0, 1]; nan for users without test items.

    Raises
    ------
    ParameterError
        If `k` is out of range.

    Notes
    -----
        capped recall@k = hits@k / min(k, n_relevant)

    References
    ----------
    Liang et al. (2018), "Variational autoencoders for collaborative filtering", WWW, where it is called Recall@R.

    Examples
    --------
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> capped_recall(hits, 1).tolist(), capped_recall(hits, 2).tolist()
    ([1.0], [0.5])
    """
    return hits.normalize(expected_hits(hits, k), np.minimum(hits.n_relevant, k))


def _expected_gain(hits: Hits, k: int, discount: Float64) -> Float64:
    """Return each group's expected sum of discounts, (k,), over its test items; all groups must start before k."""
    if hits.has_no_ties:
        return discount[hits.before]
    n_within = hits.positions_within(k)
    total = np.concatenate([np.zeros(1), np.cumsum(discount)])
    tied = hits.relevant / hits.size * (total[hits.before + n_within] - total[hits.before])
    return np.where(hits.size == 1, discount[hits.before], tied)


@validated
def find_hits(ranked: Any, relevant: SparseRows) -> tuple[Int64, Int64]:
    """Find the positions of the test items in ranked lists.

    Parameters
    ----------
    ranked : array-like of shape (n_users, depth), int32
        Item row numbers, best first, padded with -1.
    relevant : SparseRows with n_users rows
        Test items of each user, in ascending order; their values are ignored.

    Returns
    -------
    user, position : ndarray of shape (m,), int64
        User row and position in the list, starting at 0, of each ranked test item, ordered by (user, place).

    Raises
    ------
    DataError
        As in `Hits.of`.

    Examples
    --------
    >>> find_hits(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 9], [1, 1], n_rows=1))
    (array([0]), array([2]))
    """
    lists = checks.as_array(ranked)
    if lists.ndim != 2 or lists.dtype.kind != "i" or lists.min(initial=0) < -1:
        raise DataError("ranked must be a two-dimensional array of integer item row numbers, padded with -1")
    if len(relevant) != len(lists):
        raise DataError(f"relevant must have {len(lists):,} rows, one per ranked list, not {len(relevant):,}")
    user, position, entry = _hit_positions(lists, relevant)
    is_repeated = np.bincount(entry)[entry] > 1
    if is_repeated.any():
        k = int(is_repeated.argmax())
        raise DataError(f"ranked list {user[k] + 1}: item row {lists[user[k], position[k]]} occurs more than once")
    return user, position


def _hit_positions(lists: Any, relevant: SparseRows) -> tuple[Int64, Int64, Int64]:
    """Return the user, list position and entry in `relevant` of each hit, ordered by (user, position)."""
    n_users, depth = lists.shape
    width = int(max(lists.max(initial=-1), relevant.columns.max(initial=-1))) + 1
    keys = relevant.owners.astype(np.int64) * width + relevant.columns
    if not (keys[1:] > keys[:-1]).all():
        raise DataError("relevant must have sorted column indices within each row, without duplicates")
    block = max(1, _BLOCK_CELLS // max(depth, 1))

    def find(first: int) -> tuple[Int64, Int64, Int64]:
        items = lists[first : first + block]
        item_keys = np.arange(first, first + len(items))[:, None] * width + items
        entry = np.minimum(np.searchsorted(keys, item_keys), len(keys) - 1)
        user, position = np.nonzero((keys[entry] == item_keys) & (items >= 0))
        return user + first, position, entry[user, position]

    empty: tuple[Int64, Int64, Int64] = (np.zeros(0, np.int64),) * 3
    blocks = parallel_map(find, range(0, n_users if len(keys) else 0, block))
    user, position, entry = (np.concatenate(part) for part in zip(empty, *blocks, strict=True))
    return user, position, entry


NDCG = RankingMetric(name="ndcg", label="NDCG", function=ndcg)
RANKING_METRICS = (
    NDCG,
    RankingMetric(name="recall", label="recall", function=recall),
    RankingMetric(name="precision", label="precision", function=precision),
    RankingMetric(name="mrr", label="MRR", function=reciprocal_rank),
    RankingMetric(name="map", label="MAP", function=average_precision),
    RankingMetric(name="hit_rate", label="hit rate", function=hit_rate),
)
"""Ranking metrics, in the order shown in tables."""
CAPPED_RECALL = RankingMetric(name="capped_recall", label="capped recall", function=capped_recall)
"""Metric used for early stopping; not reported in evaluations."""
