"""Ranking, predicting and scoring for models that score every item: a block of users at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cofactor.arrays import Bool, Float32, Int32, signed_confidence
from cofactor.kernels.parallel import parallel_for
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk_dense import score_blocks, top_of_blocks
from cofactor.models.baseline import Baseline
from cofactor.models.user_batch import UserBatch

__all__ = ["Scoring", "confidences", "predicted_pairs", "present", "score_matrix", "top_items"]


def _nothing(first: int, last: int) -> Float32:
    return np.zeros((last - first, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores of a batch of users, computed block by block.

        entries: what each has, above the baseline where there is one
        level (n_users,) float32: mean + b_u, 0 for events
        item_bias (n_items,) float32: b_i, None for events
        block(first, last): all scores of users first..last-1, (last - first, n_items) float32

    `block` is called on several threads.
    """

    entries: SparseRows
    level: Float32
    n_items: int
    item_bias: Float32 | None = None
    block: Callable[[int, int], Float32] = field(default=_nothing)

    @classmethod
    def of(cls, histories: SparseRows, baseline: Baseline | None, n_items: int) -> Scoring:
        """Before the model says how it scores: one user for each history."""
        histories = present(histories)
        if baseline is None:
            return cls(confidences(histories), np.zeros(len(histories), np.float32), n_items)
        level = np.float32(baseline.mean) + baseline.user_bias(histories)
        return cls(baseline.deviations(histories), level, n_items, baseline.item_bias)

    def levels(self, first: int, last: int) -> Float32:
        """What scores start from: the baseline of users first..last-1 and all items, 0 for events; float32."""
        if self.item_bias is None:
            return np.zeros((last - first, self.n_items), np.float32)
        levels: Float32 = self.level[first:last, None] + self.item_bias
        return levels


def present(histories: SparseRows) -> SparseRows:
    """The same rows without entries of weight 0: these say nothing, not even that they are there.

    >>> present(SparseRows.of([0, 0], [0, 1], [5, 3], 1, weights=[1, 0])).columns.tolist()
    [0]
    """
    if histories.weights is None or histories.weights.all():
        return histories
    return histories.filter(histories.weights != 0)


def confidences(histories: SparseRows) -> SparseRows:
    """Events as their confidence: value times weight, negative for a dislike.

    >>> confidences(SparseRows.of([0, 0], [0, 1], [1, 2], 1, weights=[1, -1])).values.tolist()
    [1.0, -2.0]
    """
    return histories.with_values(signed_confidence(histories.values, histories.weights))


def score_matrix(scoring: Scoring) -> Float32:
    """All scores of all asked users: (n_users, n_items) float32; (0, n_items) for none."""
    n_users = len(scoring.entries)
    out = np.empty((n_users, scoring.n_items), np.float32)

    def fill(cut: tuple[int, int]) -> None:
        out[slice(*cut)] = scoring.block(*cut)

    parallel_for(fill, score_blocks(n_users, scoring.n_items))
    return out


def top_items(scoring: Scoring, n: int, exclude: SparseRows, allowed: Bool, order: Int32) -> tuple[Int32, Float32]:
    """The n best items of each asked user, rows and scores (n_users, n); see `kernels.topk_dense`."""
    return top_of_blocks(scoring.block, scoring.n_items, n, exclude=exclude, allowed=allowed, order=order)


def predicted_pairs(
    score: Callable[[UserBatch], Scoring], users: UserBatch, items: Int32, baseline: Baseline | None
) -> Float32:
    """Score the pair of each user of a batch and an item, clipped to the baseline's scale.

    Parameters
    ----------
    score : callable
        Prepares the scores of a batch.
    users : UserBatch
        n users; rows of -1 are unknown.
    items : ndarray of shape (n,), int32
        Item rows, -1 for unknown.
    baseline : Baseline or None
        What unknown users and items get; None for events, where they get 0.

    Returns
    -------
    ndarray of shape (n,), float32
    """
    known = (users.rows >= 0) & (items >= 0)
    out = np.zeros(len(users), np.float32)
    if baseline is not None and not known.all():
        distinct, where = users.take(~known).distinct()
        level = np.float32(baseline.mean) + baseline.user_bias(distinct.histories)
        bias = np.where(items[~known] >= 0, baseline.item_bias[np.maximum(items[~known], 0)], np.float32(0))
        out[~known] = level[where] + bias
    distinct, where = users.take(known).distinct()
    scoring = score(distinct)
    order = np.argsort(where, kind="stable")
    pairs, owner = np.flatnonzero(known)[order], where[order]

    def fill(block: tuple[int, int]) -> None:
        part = slice(*np.searchsorted(owner, block))
        out[pairs[part]] = scoring.block(*block)[owner[part] - block[0], items[pairs[part]]]

    parallel_for(fill, score_blocks(len(distinct), scoring.n_items))
    scale = None if baseline is None else baseline.scale
    return out if scale is None else np.clip(out, np.float32(scale.low), np.float32(scale.high))
