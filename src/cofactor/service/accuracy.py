"""How two models tell the same events: the difference of their figures, user by user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cofactor.arrays import Float64, SparseRows
from cofactor.data.ids import IdMap
from cofactor.evaluate.intervals import Interval, paired_difference, paired_rmse_difference
from cofactor.evaluate.protocol import main_metric
from cofactor.metrics.ranking import ndcg
from cofactor.metrics.rating import errors_by_user
from cofactor.models.base import predicted
from cofactor.recommend import Recommender
from cofactor.service.asof import rows_of, texts

__all__ = ["Accuracy", "ranking_accuracy", "rating_accuracy"]


@dataclass(frozen=True)
class Accuracy:
    """How two models told the same newest events.

    Attributes:

        metric: "rmse" (less is better) or "ndcg@10" (more is).
        candidate, active: of each model.
        loss, low, high: how much worse the candidate is, in units of the metric, with the ends of its 95 % interval
            over users; negative where it is better.
        events, users: how many were asked about, of how many users.
    """

    metric: str
    candidate: float
    active: float
    loss: float
    low: float
    high: float
    events: int
    users: int


def rating_accuracy(candidate: Recommender, active: Recommender, held: pl.DataFrame, seed: int) -> Accuracy:
    """RMSE over the rows held out: user, item (String), value, time; both models have these users, and no others.

    An item that a model does not know gets what it takes such items to be.
    """
    goal, n = held["value"].to_numpy(), len(candidate.users)
    u = rows_of(candidate.users, held["user"])
    errors = [errors_by_user(u, goal, _told(one, u, held), n_users=n) for one in (candidate, active)]
    count = errors[0].count
    loss: Interval = paired_rmse_difference(errors[0].squared, errors[1].squared, count, seed=seed)
    rmse = [float(np.sqrt(one.squared.sum() / count.sum())) for one in errors]
    return Accuracy(main_metric("ratings"), rmse[0], rmse[1], *loss, len(held), int((count > 0).sum()))


def _told(one: Recommender, users: Any, held: pl.DataFrame) -> Any:
    items, times = rows_of(one.items, held["item"]), held["time"].to_numpy()
    return predicted(one.model, users, items, times, one.histories)


def ranking_accuracy(candidate: Recommender, active: Recommender, held: pl.DataFrame, k: int, seed: int) -> Accuracy:
    """NDCG@k of finding what users took that they had not had before: held as in `rating_accuracy`."""
    catalog = IdMap.of(pl.concat([texts(candidate.items), texts(active.items), held["item"]]))
    u, i = rows_of(candidate.users, held["user"]), rows_of(catalog, held["item"])
    new = ~_had(candidate, u, rows_of(candidate.items, held["item"]))
    relevant = SparseRows.of(u[new], i[new], np.ones(new.sum()), len(candidate.users))
    ours, theirs = (_ndcg(one, catalog, relevant, k) for one in (candidate, active))
    loss = paired_difference(theirs, ours, seed=seed)
    mean = [float(np.nanmean(x)) if np.isfinite(x).any() else float("nan") for x in (ours, theirs)]
    users = int(np.isfinite(ours).sum())
    return Accuracy(main_metric("events", k), mean[0], mean[1], *loss, int(new.sum()), users)


def _ndcg(one: Recommender, catalog: IdMap, relevant: SparseRows, k: int) -> Float64:
    """Items that the model does not know cannot be hits, but they count as relevant."""
    rows = rows_of(one.items, texts(catalog))[relevant.columns]
    owner = np.repeat(np.arange(len(relevant)), relevant.counts)[rows >= 0]
    known = SparseRows.of(owner, rows[rows >= 0], np.ones(len(owner)), len(relevant))
    lists = one.ranked_lists(np.arange(len(one.users), dtype=np.int32), [k], known)
    return ndcg(replace(lists.hits, n_relevant=relevant.counts), k)


def _had(recommender: Recommender, users: Any, items: Any) -> Any:
    """Whether lists leave out each pair, as the user has seen the item before: (n,) bool."""
    rows, width = recommender.excluded, len(recommender.items) + 1
    owner = np.repeat(np.arange(len(rows), dtype=np.int64), rows.counts)
    return np.isin(users.astype(np.int64) * width + items, owner * width + rows.columns) & (items >= 0)
