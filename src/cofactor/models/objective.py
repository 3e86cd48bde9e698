"""What a fit minimizes, as one number: for tests, benchmarks and parity with other trainers."""

from __future__ import annotations

import numpy as np

from cofactor.arrays import Float32, Float64, Int64
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.models.factor import FactorModel
from cofactor.models.losses import EventsLoss, PairwiseLoss, RatingsLoss
from cofactor.validation import validated

__all__ = ["objective"]


@validated
def objective(model: FactorModel, interactions: Interactions) -> float:
    """The model's loss (`models.losses`) on these interactions, summed in float64; 0 where it has none.

    Every row's penalty is that of its support in `interactions`, so give it what the model was fitted on. Raises
    ParameterError for a table of other users or items.

    >>> import cofactor
    >>> ratings = cofactor.Interactions.from_columns([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    >>> sooner, later = (cofactor.ExplicitALS(factors=2, l2=0.01, epochs=n).fit(ratings) for n in (1, 20))
    >>> objective(later, ratings) < objective(sooner, ratings)
    True
    """
    if (interactions.n_users, interactions.n_items) != (model.n_users, model.n_items):
        raise ParameterError(
            f"interactions must have the {model.n_users:,} users and {model.n_items:,} items of the model, "
            f"not {interactions.n_users:,} and {interactions.n_items:,}"
        )
    if model.loss is None:
        return 0.0
    if isinstance(model.loss, PairwiseLoss):
        return _pairs(model, model.loss, interactions)
    x = model.linear(interactions.u, interactions.i).astype(np.float64)
    counts = interactions.by_user.counts, np.bincount(interactions.i, minlength=interactions.n_items)
    if isinstance(model.loss, EventsLoss):
        return _events(model, model.loss, interactions, x, counts)
    return _ratings(model, model.loss, interactions, x, counts)


def _ratings(
    model: FactorModel, loss: RatingsLoss, interactions: Interactions, x: Float64, counts: tuple[Int64, Int64]
) -> float:
    predicted = model.link(x.astype(np.float32)).astype(np.float64)
    weights = 1.0 if interactions.weights is None else interactions.weights.astype(np.float64)
    total = float(np.sum(weights * (interactions.values - predicted) ** 2))
    sides = ((model.user_factors, model.user_bias), (model.item_factors, model.item_bias))
    for (factors, bias), support in zip(sides, counts, strict=True):
        total += loss.l2 * float(support @ _squares(factors))
        if loss.l2_bias is not None:
            total += float((loss.l2_bias * support + loss.damping) @ bias.astype(np.float64) ** 2)
    return total


def _events(
    model: FactorModel, loss: EventsLoss, interactions: Interactions, x: Float64, counts: tuple[Int64, Int64]
) -> float:
    confidence = interactions.confidence.astype(np.float64)
    total = float(np.sum(np.abs(confidence) * ((confidence > 0) - x) ** 2))
    P, Q = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
    total += loss.alpha0 * float(np.sum((P.T @ P) * (Q.T @ Q)))
    sides = ((P, model.n_items), (Q, model.n_users))
    for (factors, others), support in zip(sides, counts, strict=True):
        total += loss.l2 * float(loss.penalty(support, others).astype(np.float64) @ _squares(factors))
    return total


def _pairs(model: FactorModel, loss: PairwiseLoss, interactions: Interactions) -> float:
    """The expectation over j is exact: of N negatives by rising score, number r is the best of m draws with
    probability ((r + 1)^m - r^m) / N^m. A user who lacks nothing has no pairs and no loss.
    """
    rows, weights = loss.entries(interactions.by_user)
    P, Q, bias = (a.astype(np.float64) for a in (model.user_factors, model.item_factors, model.item_bias))
    item_penalty = loss.l2 * _squares(Q) + loss.l2_bias * bias**2
    total = 0.0
    for u in np.flatnonzero(rows.counts):
        own = slice(rows.start[u], rows.start[u + 1])
        taken = rows.columns[own]
        scores = P[u] @ Q.T + bias
        lacked = np.setdiff1d(np.arange(model.n_items), taken)
        if len(lacked) == 0:
            continue
        lacked = lacked[np.argsort(scores[lacked], kind="stable")]
        chance = np.diff((np.arange(len(lacked) + 1) / len(lacked)) ** loss.n_negatives)
        w = weights[own].astype(np.float64) if len(weights) else np.ones(len(taken))
        losses = np.logaddexp(0, scores[lacked] - scores[taken][:, None])
        total += float(w @ losses @ chance + item_penalty[taken].sum())
        total += len(taken) * float(loss.l2 * P[u] @ P[u] + item_penalty[lacked] @ chance)
    return total


def _squares(factors: Float32 | Float64) -> Float64:
    """|f|^2 of each row, (n,) float64."""
    squares: Float64 = np.einsum("rd,rd->r", factors, factors, dtype=np.float64)
    return squares
