"""Second thoughts about the best items: by how sure the model is of them, and by how alike they are."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from cofactor import checks
from cofactor.arrays import ALL_ROWS, ROW_ORDER, Bool, Float32, Int32, Int64, ItemOrder, contiguous
from cofactor.errors import KindError, ParameterError
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.topk import first_allowed
from cofactor.models.base import ComparesItems, HasFactors, HasUncertainty
from cofactor.models.user_batch import UserBatch

__all__ = ["RankBy", "mmr", "ranked", "without_evidence"]

RankBy: TypeAlias = Literal["mean", "lower", "upper"]
ORDERS = get_args(RankBy)

TAIL = 0.1
"""Cautious and optimistic ranking go by the ends of the 80 % interval."""
CANDIDATES, MOST_CANDIDATES = 10, 1000
"""The best 10 n (at most 1,000, and never fewer than n) by the mean are thought about again."""
CELLS = 1 << 24
"""Similarities held at once: bounds the memory, changes no result."""


def ranked(
    model: Any,
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
    """The n best items of each user: rows (n_users, n) int32, -1 where there is none, and scores, as in `top`.

    Items without evidence are not ranked by the model: those it knows nothing about (`evidence` is False) end the list,
    and where a model of events has nothing that links a user to an item (a score of 0), items stand in `order`, as a
    rule the most popular first. Their score is 0; `without_evidence` tells them apart.

    rank_by: "mean" is the model's own order; "lower" goes by the rating that an item beats with a probability of 90 %,
    "upper" by the one that it beats with 10 %; the scores are then these ratings. diversity: see `mmr`; the scores
    stay what they were, so they need not fall. Both choose among the best 10 n by the mean.
    exclude: a row for each user of the batch; allowed as in `top`;
    evidence (n_items,) bool, empty where the model knows all items; order: none for the row order.
    Raises ParameterError for what is no such order or share, KindError where the model has no distribution or vectors.

    >>> import numpy as np
    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 3], [5, 4, 1, 1, 2, 5])
    >>> model, user = cofactor.BiasedMF(factors=2).fit(ratings), UserBatch.trained([0], ratings.by_user)
    >>> rows, scores = ranked(model, user, 2, exclude=user.histories, allowed=np.zeros(0, bool))
    >>> rows.tolist(), scores.shape                                  # one item is left
    ([[3, -1]], (1, 2))
    """
    _check(model, rank_by, diversity)
    depth = n
    if rank_by != "mean" or diversity > 0:
        depth = min(model.n_items, max(n, min(CANDIDATES * n, MOST_CANDIDATES)))
    if len(evidence) and evidence.all():
        evidence = ALL_ROWS
    usable = allowed & evidence if len(allowed) and len(evidence) else (evidence if len(evidence) else allowed)
    rows, scores = model.top(users, depth, exclude=exclude, allowed=usable, order=order)
    if rank_by != "mean":
        rows, scores = _by_quantile(model, users, rows, TAIL if rank_by == "lower" else 1 - TAIL)
    if diversity > 0:
        rows, scores = _diverse(model, rows, scores, n, diversity)
    rows, scores = contiguous(rows[:, :n], np.int32), contiguous(scores[:, :n], np.float32)
    if len(evidence):
        rest = ~evidence & allowed if len(allowed) else ~evidence
        _fill(rows, scores, exclude, rest, order)
    return rows, scores


def without_evidence(model: Any, rows: Int32, scores: Float32, evidence: Bool = ALL_ROWS) -> Bool:
    """Which places of ranked lists were filled by popularity: bool of the shape of `rows`.

    rows, scores, evidence: as in `ranked`.

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


def _fill(rows: Int32, scores: Float32, exclude: SparseRows, rest: Bool, order: ItemOrder) -> None:
    """Put the items of `rest`, in their order, behind the end of lists that are too short; their score is 0."""
    short = np.flatnonzero((rows < 0).any(axis=1))
    if len(short) == 0 or not rest.any():
        return
    best_first = order.rows if len(order) else np.arange(len(rest), dtype=np.int32)
    for a in short:
        first = int((rows[a] >= 0).sum())
        more = first_allowed(best_first, rows.shape[1] - first, exclude.row(int(a)).columns, rest)
        rows[a, first:], scores[a, first:] = more, np.where(more >= 0, np.float32(0), np.float32(-np.inf))


def mmr(scores: Any, similarity: Any, n: int, trade_off: float) -> Int64:
    """Places of the n picks among c candidates, in the order of picking: (m, n) int64, -1 where none is left.

        next pick = argmax over the rest of  (1 - trade_off) relevance_i - trade_off max_{j picked} similarity_ij

    Maximal marginal relevance: Carbonell & Goldstein (1998), SIGIR, with lambda = 1 - trade_off. Relevance is the score
    scaled to 0..1 over a row's candidates, which makes it comparable with a cosine. Equal values: the earlier place.

    scores (m, c), -inf where there is no candidate; similarity (m, c, c), -1..1; trade_off 0..1. Without candidates,
    c = 0, every place is -1.

    >>> alike = [[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]             # the second is like the first
    >>> mmr([[3.0, 2.9, 2.0]], alike, 2, 0.0).tolist(), mmr([[3.0, 2.9, 2.0]], alike, 2, 0.5).tolist()
    ([[0, 1]], [[0, 2]])
    """
    given = np.asarray(scores, dtype=np.float64)
    alike = np.asarray(similarity)
    m, c = given.shape
    there = given > -np.inf
    low = np.where(there, given, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = given.max(axis=1, initial=-np.inf, keepdims=True)
    with np.errstate(invalid="ignore"):
        span = np.where(high > low, high - low, 1.0)
        relevance = np.where(there, (given - low) / span, -np.inf)
    picks, each = np.full((m, n), -1, np.int64), np.arange(m)
    nearest = np.zeros((m, c))
    for place in range(min(n, c)):
        value = np.where(there, (1 - trade_off) * np.where(there, relevance, 0.0) - trade_off * nearest, -np.inf)
        pick = value.argmax(axis=1)
        some = there[each, pick]
        picks[some, place] = pick[some]
        there[each, pick] = False
        nearest = alike[each, pick] if place == 0 else np.maximum(nearest, alike[each, pick])
    return picks


def _check(model: Any, rank_by: str, diversity: float) -> None:
    if not isinstance(rank_by, str) or rank_by not in ORDERS:
        raise ParameterError(f"rank_by must be one of {', '.join(ORDERS)}, not {checks.describe(rank_by)}")
    number = isinstance(diversity, int | float | np.integer | np.floating) and not isinstance(diversity, bool)
    if not (number and 0 <= diversity <= 1):
        raise ParameterError(
            f"diversity must be a number from 0 (the plain order) to 1, not {checks.describe(diversity)}"
        )
    if rank_by != "mean" and not isinstance(model, HasUncertainty):
        raise KindError(
            f"this model predicts no distribution, so nothing can be ranked by {rank_by!r}; fit one that does "
            "(bayesian-mf, or neural-mf with head=classification), or rank by 'mean'"
        )
    if diversity > 0 and not _has_vectors(model):
        raise KindError(
            "this model has no item vectors to tell what is alike, so its lists cannot be made more diverse; fit one "
            "with factors, such as biased-mf, or leave diversity at 0"
        )


def _has_vectors(model: Any) -> bool:
    return isinstance(model, ComparesItems) or (isinstance(model, HasFactors) and model.item_factors.shape[1] > 0)


def _by_quantile(model: HasUncertainty, users: UserBatch, rows: Int32, share: float) -> tuple[Int32, Float32]:
    """Each list in the order of its items' quantiles; equal ones by row."""
    there = rows >= 0
    owner = users.take(np.repeat(np.arange(len(users)), there.sum(axis=1)))
    scores = np.full(rows.shape, -np.inf, np.float32)
    scores[there] = model.distribution(owner, rows[there]).quantile(share)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _diverse(model: Any, rows: Int32, scores: Float32, n: int, diversity: float) -> tuple[Int32, Float32]:
    out, its_score = np.full((len(rows), n), -1, np.int32), np.full((len(rows), n), -np.inf, np.float32)
    block = max(1, CELLS // max(rows.shape[1] ** 2, 1))
    for first in range(0, len(rows), block):
        part = slice(first, first + block)
        picks = mmr(scores[part], _similarity(model, rows[part]), n, diversity)
        there = picks >= 0
        out[part] = np.where(there, np.take_along_axis(rows[part], picks, axis=1), -1)
        its_score[part] = np.where(there, np.take_along_axis(scores[part], picks, axis=1), -np.inf)
    return out, its_score


@one_thread_blas()
def _similarity(model: Any, rows: Int32) -> Float32:
    """The model's own similarity, else the cosine of item factors: (m, c, c) float32, 0 for row -1."""
    if isinstance(model, ComparesItems):
        return model.item_similarity(rows)
    vectors = np.where((rows >= 0)[:, :, None], model.item_factors[np.maximum(rows, 0)], np.float32(0))
    length = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=2, keepdims=True))
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape), where=length > 0).astype(np.float32)
    cosine: Float32 = np.matmul(unit, unit.transpose(0, 2, 1))
    return cosine
