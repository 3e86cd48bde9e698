"""Block scoring: ranking and prediction with models that score all items for one block of users at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cofactor.arrays import Bool, Counts, Float32, Int32, Int64, contiguous, row_starts, signed_confidence
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk_dense import BLOCK_USERS, score_blocks, top_of_blocks
from cofactor.kernels.transitions import time_order
from cofactor.models.baseline import Baseline
from cofactor.models.user_batch import UserBatch

__all__ = [
    "Scoring",
    "confidences",
    "predict_pairs",
    "recency_weights",
    "score_matrix",
    "top_items",
    "without_zero_weights",
]


def _no_scores(first: int, last: int) -> Float32:
    """Return an empty array of scores; the default block function of `Scoring`.

    Parameters
    ----------
    first : int
        The first user of the block.
    last : int
        The end of the block, exclusive.

    Returns
    -------
    ndarray of shape (last - first, 0), float32
        An empty array.
    """
    return np.zeros((last - first, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Scoring:
    """Item scores for a batch of users, computed block by block.

    Parameters
    ----------
    entries : SparseRows
        The history of each user, as confidences (events) or as deviations from the baseline (ratings).
    user_level : ndarray of shape (n_users,), float32
        The user's part of the baseline, mean + b_u; 0 for events.
    n_items : int
        The number of items.
    item_bias : ndarray of shape (n_items,), float32, or None
        The item's part of the baseline, b_i; None for events.
    block : callable
        block(first, last) returns the scores of all items for users first..last-1, an ndarray of shape
        (last - first, n_items), float32. It must be thread-safe.
    pairs : callable, optional
        pairs(start, items) returns the scores of some items of each user, an ndarray of shape (n_pairs,), float32; the
        pairs of user a are those from start[a] to start[a + 1] - 1. None if single pairs are not faster than blocks.
    block_users : int, default 64
        The maximum number of users in a block.
    """

    entries: SparseRows
    user_level: Float32
    n_items: int
    item_bias: Float32 | None = None
    block: Callable[[int, int], Float32] = field(default=_no_scores)
    pairs: Callable[[Int64, Int32], Float32] | None = None
    block_users: int = BLOCK_USERS

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Half-open range (start, stop) of the users of each block."""
        return score_blocks(len(self.entries), self.n_items, block_users=self.block_users)

    @classmethod
    def of(cls, histories: SparseRows, baseline: Baseline | None, n_items: int, counts: Counts) -> Scoring:
        """Create a `Scoring` object for one user per history; the function that scores a block is not set yet.

        Parameters
        ----------
        histories : SparseRows
            One row for each user.
        baseline : Baseline or None
            The baseline of ratings; None for events.
        n_items : int
            The number of items.
        counts : {"log", "binary", "raw"}
            The transformation of the values of events.

        Returns
        -------
        Scoring
            The entries are confidences for events, and deviations from the baseline for ratings.
        """
        histories = without_zero_weights(histories)
        if baseline is None:
            return cls(confidences(histories, counts), np.zeros(len(histories), np.float32), n_items)
        user_level = np.float32(baseline.mean) + baseline.user_bias(histories)
        return cls(baseline.deviations(histories), user_level, n_items, baseline.item_bias)

    def baselines(self, first: int, last: int) -> Float32:
        """Return the rating baseline of each user in a block for each item.

        Parameters
        ----------
        first : int
            The first user of the block.
        last : int
            The end of the block, exclusive.

        Returns
        -------
        ndarray of shape (last - first, n_items), float32
            The baseline b_ui; 0 for events.
        """
        if self.item_bias is None:
            return np.zeros((last - first, self.n_items), np.float32)
        baselines: Float32 = self.user_level[first:last, None] + self.item_bias
        return baselines

    def pair_baselines(self, start: Int64, items: Int32) -> Float32:
        """Return the rating baseline of each user for some items.

        Parameters
        ----------
        start : ndarray of shape (n_users + 1,), int64
            The pairs of user a are those from start[a] to start[a + 1] - 1.
        items : ndarray of shape (n_pairs,), int32
            The item of each pair.

        Returns
        -------
        ndarray of shape (n_pairs,), float32
            The baseline b_ui; 0 for events.
        """
        if self.item_bias is None:
            return np.zeros(len(items), np.float32)
        baselines: Float32 = np.repeat(self.user_level, np.diff(start)) + self.item_bias[items]
        return baselines


def without_zero_weights(histories: SparseRows) -> SparseRows:
    """Remove entries with a weight of 0 from histories, because they carry no evidence.

    Parameters
    ----------
    histories : SparseRows
        Rows with or without weights.

    Returns
    -------
    SparseRows
        `histories` itself if no weight is 0.

    Examples
    --------
    >>> without_zero_weights(SparseRows.of([0, 0], [0, 1], [5, 3], 1, weights=[1, 0])).columns.tolist()
    [0]
    """
    if histories.weights is None or histories.weights.all():
        return histories
    return histories.filter(histories.weights != 0)


def confidences(histories: SparseRows, counts: Counts) -> SparseRows:
    """Convert events to signed confidences: transformed value times weight, negative for a dislike.

    Parameters
    ----------
    histories : SparseRows
        Events, one row for each user.
    counts : {"log", "binary", "raw"}
        Transformation of the values; see `arrays.transform_counts`.

    Returns
    -------
    SparseRows
        The same entries without weights; the values are the confidences.

    Examples
    --------
    >>> confidences(SparseRows.of([0, 0], [0, 1], [1, 2], 1, weights=[1, -1]), "raw").values.tolist()
    [1.0, -2.0]
    """
    return histories.with_values(signed_confidence(histories.values, histories.weights, counts))


def recency_weights(histories: SparseRows, recency: float) -> Float32:
    """Compute a weight for each entry that decreases with the number of later entries of the user.

    Parameters
    ----------
    histories : SparseRows
        Events, one row for each user.
    recency : float
        Factor for each later event of the user, from 0 to below 1.

    Returns
    -------
    ndarray of shape (n_entries,), float32
        recency^m for each entry, where m is the number of the user's later events. Simultaneous events, and all events
        if there are no times, share the mean of their weights.

    Examples
    --------
    >>> history = SparseRows.of([0, 0, 0], [0, 1, 2], [1, 1, 1], 1, times=[60, 20, 40])
    >>> recency_weights(history, 0.5).tolist()
    [1.0, 0.25, 0.5]
    """
    n_later, n_tied = time_order(histories)
    weights: Float32 = (recency**n_later * (1 - recency**n_tied) / ((1 - recency) * n_tied)).astype(np.float32)
    return weights


def score_matrix(scoring: Scoring) -> Float32:
    """Compute the scores of all items for each user in a batch.

    Parameters
    ----------
    scoring : Scoring
        The scoring of a batch.

    Returns
    -------
    ndarray of shape (n_users, n_items), float32
        The scores.
    """
    out = np.empty((len(scoring.entries), scoring.n_items), np.float32)

    def fill(block: tuple[int, int]) -> None:
        out[slice(*block)] = scoring.block(*block)

    parallel_for(fill, scoring.blocks)
    return out


def top_items(scoring: Scoring, n: int, exclude: SparseRows, allowed: Bool, order: Int32) -> tuple[Int32, Float32]:
    """Return the top n items for each user; see `kernels.topk_dense`.

    Parameters
    ----------
    scoring : Scoring
        The scoring of a batch.
    n : int
        The number of items of each list.
    exclude : SparseRows
        A row for each user: items that the lists must not contain.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items to choose from; an empty array means all items.
    order : ndarray of shape (n_items,), int32
        All item row numbers, in the order for ties at a score of exactly 0; an empty array orders these by row number.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int32
        Item row numbers, best first; padded with -1.
    scores : ndarray of shape (n_users, n), float32
        Their scores.
    """
    return top_of_blocks(
        scoring.block,
        scoring.n_items,
        n,
        exclude=exclude,
        allowed=allowed,
        order=order,
        block_users=scoring.block_users,
    )


def predict_pairs(
    score: Callable[[UserBatch], Scoring], users: UserBatch, items: Int32, baseline: Baseline | None
) -> Float32:
    """Compute the score of each user-item pair, clipped to the rating scale of the baseline.

    Parameters
    ----------
    score : callable
        Returns the `Scoring` of a batch.
    users : UserBatch
        n users; rows of -1 are unknown.
    items : ndarray of shape (n,), int32
        Item row numbers; -1 is an unknown item.
    baseline : Baseline or None
        Predicts pairs with an unknown user or item; None for events, where their score is 0.

    Returns
    -------
    ndarray of shape (n,), float32
    """
    is_known_pair = (users.rows >= 0) & (items >= 0)
    out_scores = np.zeros(len(users), np.float32)
    if baseline is not None and not is_known_pair.all():
        distinct_users, inverse = users.take(~is_known_pair).distinct()
        user_level = np.float32(baseline.mean) + baseline.user_bias(distinct_users.histories)
        rows = items[~is_known_pair]
        out_scores[~is_known_pair] = user_level[inverse] + np.where(
            rows >= 0, baseline.item_bias[np.maximum(rows, 0)], np.float32(0)
        )
    distinct_users, inverse = users.take(is_known_pair).distinct()
    scoring = score(distinct_users)
    order = np.argsort(inverse, kind="stable")
    pairs, owner = np.flatnonzero(is_known_pair)[order], inverse[order]
    start = row_starts(np.bincount(owner, minlength=len(distinct_users)))

    def fill(block: tuple[int, int]) -> None:
        part = slice(*start[list(block)])
        out_scores[pairs[part]] = scoring.block(*block)[owner[part] - block[0], items[pairs[part]]]

    if scoring.pairs is not None:
        out_scores[pairs] = scoring.pairs(start, contiguous(items[pairs], np.int32))
    else:
        parallel_for(fill, scoring.blocks)
    scale = None if baseline is None else baseline.scale
    return out_scores if scale is None else np.clip(out_scores, np.float32(scale.low), np.float32(scale.high))
