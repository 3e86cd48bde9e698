"""Reranking of the top items by uncertainty and diversity."""

from __future__ import annotations

from typing import TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from cofactor import checks
from cofactor.arrays import ALL_ROWS, ROW_ORDER, Bool, Float32, Int32, Int64, ItemOrder, contiguous
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import first_allowed
from cofactor.models.base import HasUncertainty, ScoresItems
from cofactor.models.factor import FactorModel
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.network import NetworkModel
from cofactor.models.posterior import BayesianModel
from cofactor.models.user_batch import UserBatch
from cofactor.results import RankBy

__all__ = ["mmr", "rank_items", "without_evidence"]

RANK_BY_CHOICES = get_args(RankBy)

ComparesItems: TypeAlias = FactorModel | BayesianModel | ItemItemModel | NetworkModel
"""Models that have a method `item_similarity`."""

TAIL_PROBABILITY = 0.1
"""The probability in each tail of the 80% interval whose endpoints "lower" and "upper" refer to."""

CANDIDATES_PER_ITEM, MAX_CANDIDATES = 10, 1000
"""The top 10 n items by mean are reranked, but at most 1,000 and at least n."""

MAX_SIMILARITIES = 1 << 24
"""The maximum number of similarities in memory at a time; it does not change results."""


def rank_items(
    model: ScoresItems,
    users: UserBatch,
    n: int,
    *,
    exclude: SparseRows,
    allowed: Bool,
    rank_by: RankBy = "mean",
    diversity: float = 0.0,
    evidence: Bool = ALL_ROWS,
    order: ItemOrder = ROW_ORDER,
) -> tuple[Int32, Float32]:
    """Return the top n items for each user, optionally reranked to account for uncertainty or diversity.

    Items without evidence are not ranked by the model. Items for which `evidence` is False are placed at the end of the
    list. Items that an event model cannot relate to the user (score 0) are placed in `order`, usually the most popular
    first. Both have a score of 0; `without_evidence` returns their positions.

    Parameters
    ----------
    model : ScoresItems
        A model that ranks items.
    users : UserBatch
        Must not contain unknown users (row -1).
    n : int
        The length of each list.
    exclude : SparseRows
        The items to exclude, one row for each user in the batch.
    allowed : ndarray of shape (n_items,), bool
        Mask of the items to rank; an empty array means all items.
    rank_by : {"mean", "lower", "upper"}, default "mean"
        "mean" keeps the order of the model. "lower" ranks by the rating that an item exceeds with a probability of 90%,
        and "upper" by the rating that it exceeds with a probability of 10%; these ratings are then returned as scores.
    diversity : float, default 0
        The trade-off of `mmr`, from 0 to 1. Scores do not change, so they need not be in descending order.
    evidence : ndarray of shape (n_items,), bool
        Mask of the items that the model was trained on; an empty array means all items.
    order : ItemOrder
        The order of items without evidence; by default, the order of row numbers.

    Returns
    -------
    rows : ndarray of shape (n_users, n), int32
        Item row numbers; padded with -1 if fewer than n items remain.
    scores : ndarray of shape (n_users, n), float32
        -inf where the row is -1.

    Raises
    ------
    ParameterError
        If `rank_by` or `diversity` is invalid.
    KindError
        If the model does not predict a distribution to rank by, or has no item vectors to compare.

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 3], [5, 4, 1, 1, 2, 5])
    >>> model, user = cofactor.BiasedMF(factors=2).fit(ratings), UserBatch.trained([0], ratings.by_user)
    >>> rows, scores = rank_items(model, user, 2, exclude=user.histories, allowed=np.zeros(0, bool))
    >>> rows.tolist(), scores.shape                                  # one item is left
    ([[3, -1]], (1, 2))
    """
    _check(model, rank_by, diversity)
    n_candidates = n
    if rank_by != "mean" or diversity > 0:
        n_candidates = min(model.n_items, max(n, min(CANDIDATES_PER_ITEM * n, MAX_CANDIDATES)))
    if len(evidence) and evidence.all():
        evidence = ALL_ROWS
    candidate_mask = allowed & evidence if len(allowed) and len(evidence) else (evidence if len(evidence) else allowed)
    rows, scores = model.top(users, n_candidates, exclude=exclude, allowed=candidate_mask, order=order)
    if rank_by != "mean" and isinstance(model, HasUncertainty):
        rows, scores = _sort_by_quantile(
            model, users, rows, TAIL_PROBABILITY if rank_by == "lower" else 1 - TAIL_PROBABILITY
        )
    if diversity > 0 and isinstance(model, ComparesItems):
        rows, scores = _diversify(model, rows, scores, n, diversity)
    rows, scores = contiguous(rows[:, :n], np.int32), contiguous(scores[:, :n], np.float32)
    if len(evidence):
        remaining = ~evidence & allowed if len(allowed) else ~evidence
        _fill(rows, scores, exclude, remaining, order)
    return rows, scores


def without_evidence(model: ScoresItems, rows: Int32, scores: Float32, evidence: Bool = ALL_ROWS) -> Bool:
    """Return a mask of the ranked items for which the model has no evidence.

    Parameters
    ----------
    model : ScoresItems
        The model that ranked the lists.
    rows, scores : ndarray of shape (n_users, n)
        The result of `rank_items`.
    evidence : ndarray of shape (n_items,), bool
        As in `rank_items`.

    Returns
    -------
    ndarray of shape (n_users, n), bool

    Examples
    --------
    >>> import numpy as np
    >>> import cofactor
    >>> events = cofactor.Interactions.from_columns([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], kind="events")
    >>> model, lists = cofactor.ItemKNN().fit(events), np.int32([[1, 2, -1]])
    >>> without_evidence(model, lists, np.float32([[0.7, 0, -np.inf]])).tolist()
    [[False, True, False]]
    """
    unknown = scores == 0 if model.zero_is_unknown else np.zeros(rows.shape, bool)
    if len(evidence):
        unknown = unknown | ~evidence[rows]
    return unknown & (rows >= 0)


def _fill(rows: Int32, scores: Float32, exclude: SparseRows, remaining: Bool, order: ItemOrder) -> None:
    """Fill up lists that are too short with `remaining` items, in order and with a score of 0, in place."""
    short_lists = np.flatnonzero((rows < 0).any(axis=1))
    if len(short_lists) == 0 or not remaining.any():
        return
    item_order = order.rows if len(order) else np.arange(len(remaining), dtype=np.int32)
    for user in short_lists:
        first = int((rows[user] >= 0).sum())
        extra_rows = first_allowed(item_order, rows.shape[1] - first, exclude.row(int(user)).columns, remaining)
        rows[user, first:], scores[user, first:] = (
            extra_rows,
            np.where(extra_rows >= 0, np.float32(0), np.float32(-np.inf)),
        )


def mmr(scores: ArrayLike, similarity: ArrayLike, n: int, trade_off: float) -> Int64:
    """Select n candidates from each list by maximal marginal relevance (MMR), which trades off score and diversity.

    Parameters
    ----------
    scores : ndarray of shape (m, c)
        Scores of the candidates in each list; padded with -inf.
    similarity : ndarray of shape (m, c, c)
        Similarities of the candidates in each list, from -1 to 1.
    n : int
        The number of items to select.
    trade_off : float
        The weight of diversity, from 0 (only relevance) to 1 (only diversity).

    Returns
    -------
    ndarray of shape (m, n), int64
        Positions of the selected candidates, in the order of selection; padded with -1. Ties are broken in favor of
        the earlier position.

    Notes
    -----
    ::

        next = argmax over remaining i of  (1 - trade_off) relevance_i - trade_off max_{j selected} similarity_ij

    The relevance is the score scaled to 0..1 within each list, so that it is comparable to a cosine similarity.

    References
    ----------
    J. Carbonell, J. Goldstein. The use of MMR, diversity-based reranking for reordering documents and producing
    summaries. SIGIR 1998, with lambda = 1 - trade_off.

    Examples
    --------
    >>> similarity = [[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]             # the first two are duplicates
    >>> mmr([[3.0, 2.9, 2.0]], similarity, 2, 0.0).tolist(), mmr([[3.0, 2.9, 2.0]], similarity, 2, 0.5).tolist()
    ([[0, 1]], [[0, 2]])
    """
    values, similarities = np.asarray(scores, dtype=np.float64), np.asarray(similarity)
    m, c = values.shape
    is_available = values > -np.inf
    low = np.where(is_available, values, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = values.max(axis=1, initial=-np.inf, keepdims=True)
    with np.errstate(invalid="ignore"):
        span = np.where(high > low, high - low, 1.0)
        relevance = np.where(is_available, (values - low) / span, -np.inf)
    selected_positions, users = np.full((m, n), -1, np.int64), np.arange(m)
    nearest = np.zeros((m, c))
    for rank in range(min(n, c)):
        marginal_relevance = (1 - trade_off) * np.where(is_available, relevance, 0.0) - trade_off * nearest
        best = np.where(is_available, marginal_relevance, -np.inf).argmax(axis=1)
        has_candidate = is_available[users, best]
        selected_positions[has_candidate, rank] = best[has_candidate]
        is_available[users, best] = False
        nearest = similarities[users, best] if rank == 0 else np.maximum(nearest, similarities[users, best])
    return selected_positions


def _check(model: ScoresItems, rank_by: str, diversity: float) -> None:
    if not isinstance(rank_by, str) or rank_by not in RANK_BY_CHOICES:
        raise ParameterError(f"rank_by must be one of {', '.join(RANK_BY_CHOICES)}, not {checks.describe(rank_by)}")
    is_number = isinstance(diversity, int | float | np.integer | np.floating) and not isinstance(diversity, bool)
    if not (is_number and 0 <= diversity <= 1):
        raise ParameterError(
            f"diversity must be a number between 0 (no diversification) and 1, not {checks.describe(diversity)}"
        )
    if rank_by != "mean" and not isinstance(model, HasUncertainty):
        raise KindError(
            f"this model does not predict a distribution, so items cannot be ranked by {rank_by!r}; fit a model that "
            "does (bayesian-mf, or neural-mf with head=classification), or rank by 'mean'"
        )
    if diversity > 0 and (not isinstance(model, ComparesItems) or getattr(model, "factors", 1) == 0):
        raise KindError(
            "this model has no item vectors to compare, so its lists cannot be diversified; fit a model with factors, "
            "such as biased-mf, or set diversity to 0"
        )


def _sort_by_quantile(
    model: HasUncertainty, users: UserBatch, rows: Int32, probability: float
) -> tuple[Int32, Float32]:
    """Sort each list by a quantile of the predicted ratings, with ties by row number."""
    is_item = rows >= 0
    owners = users.take(np.repeat(np.arange(len(users)), is_item.sum(axis=1)))
    scores = np.full(rows.shape, -np.inf, np.float32)
    scores[is_item] = model.distribution(owners, rows[is_item]).quantile(probability)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _diversify(
    model: ComparesItems, rows: Int32, scores: Float32, n: int, diversity: float
) -> tuple[Int32, Float32]:  # fmt: skip
    """Select n items from each list by `mmr`, with the item similarities of the model."""
    new_rows, new_scores = np.full((len(rows), n), -1, np.int32), np.full((len(rows), n), -np.inf, np.float32)
    block = max(1, MAX_SIMILARITIES // max(rows.shape[1] ** 2, 1))
    for first in range(0, len(rows), block):
        part = slice(first, first + block)
        positions = mmr(scores[part], model.item_similarity(rows[part]), n, diversity)
        selected = positions >= 0
        new_rows[part] = np.where(selected, np.take_along_axis(rows[part], positions, axis=1), -1)
        new_scores[part] = np.where(selected, np.take_along_axis(scores[part], positions, axis=1), -np.inf)
    return new_rows, new_scores
