"""Values of the metrics for each user, and their means and intervals.

`evaluation` computes the values of all users at once; `cluster` computes them for blocks of users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor.arrays import Float64, Int32, Int64
from cofactor.data.interactions import Interactions, relevant_rows
from cofactor.evaluate.split import Exclude
from cofactor.metrics.base import UserValues
from cofactor.metrics.catalog import CatalogMetric, ListExposure
from cofactor.metrics.intervals import Interval, bootstrap_intervals
from cofactor.metrics.model_lists import ModelLists
from cofactor.metrics.ranking import RANKING_BOUNDS
from cofactor.metrics.rating import RatingMetric, UserErrors, errors_by_user
from cofactor.metrics.registry import METRICS, metrics_from_hits
from cofactor.models.base import PredictsRatings
from cofactor.models.paired import PairedModel
from cofactor.recommender.recommender import Recommender

__all__ = ["ListValues", "list_fields", "prediction_errors", "rating_fields", "rating_values", "relevant_lists"]


@dataclass(frozen=True, eq=False)
class ListValues:
    """Ranking metrics of each user, and the exposure of the items in their lists.

    Attributes
    ----------
    per_user : dict of str to ndarray of shape (n_users,), float64
        Ranking metrics by key, such as "ndcg@10".
    served : dict of str to ndarray of shape (n_users,), float64
        The same for the lists as served; the same object if they do not differ.
    list_counts, show_probability : dict of int to ndarray of shape (n_items,), float64
        As in `ModelLists`, for each k.
    """

    per_user: dict[str, Float64]
    served: dict[str, Float64]
    list_counts: dict[int, Float64]
    show_probability: dict[int, Float64]

    @classmethod
    def of(cls, lists: ModelLists, ks: Sequence[int]) -> ListValues:
        """Compute the metrics of lists.

        Parameters
        ----------
        lists : ModelLists
            Ranked lists.
        ks : sequence of int
            Cutoffs.

        Returns
        -------
        ListValues
            Values for each user of the lists.
        """
        per_user = metrics_from_hits(lists.hits, ks)
        served = per_user if lists.served_hits is lists.hits else metrics_from_hits(lists.served_hits, ks)
        return cls(per_user, served, lists.list_counts, lists.show_probability)


def prediction_errors(recommender: Recommender, test: Interactions, rows: Int32) -> UserErrors:
    """Predict the ratings of a test set, and return the errors by user.

    Parameters
    ----------
    recommender : Recommender
        Recommender that predicts ratings.
    test : Interactions
        Test set with the items of the recommender.
    rows : ndarray of shape (test.n_users,), int32
        Row number of each user of `test` in the recommender.

    Returns
    -------
    UserErrors
        Errors, with the row numbers of the users in `test`.
    """
    assert isinstance(recommender.model, PredictsRatings)
    ratings = recommender.model.predict(recommender.batch(rows[test.u], test.times), test.i)
    return errors_by_user(test.u, test.values, ratings, n_users=test.n_users)


def relevant_lists(
    recommender: Recommender, test: Interactions, rows: Int32, ks: Sequence[int], exclude: Exclude
) -> tuple[ModelLists, Int32]:
    """Rank items for the users of a test set that have relevant items in it.

    Parameters
    ----------
    recommender : Recommender
        Recommender that ranks items.
    test : Interactions
        Test set with the items of the recommender.
    rows : ndarray of shape (test.n_users,), int32
        Row number of each user of `test` in the recommender.
    ks : sequence of int
        Cutoffs.
    exclude : {'seen', 'positives'}
        For "positives", the histories of a recommender without `seen` are excluded, of a paired model the liked
        ratings.

    Returns
    -------
    lists : ModelLists
        Ranked lists.
    users : ndarray of shape (n_lists,), int32
        Row numbers of their users in `test`.
    """
    relevant = relevant_rows(test).by_user
    if isinstance(recommender.model, PairedModel):
        relevant = recommender.model.liked(relevant)
    users = np.flatnonzero(relevant.counts).astype(np.int32)
    user_rows = rows[users]
    if exclude == "seen":
        excluded = recommender.excluded.take(user_rows)
    else:
        excluded = recommender.histories.take(user_rows)
        if isinstance(recommender.model, PairedModel):
            excluded = recommender.model.liked(excluded)
    return recommender.ranked_lists(user_rows, ks, relevant.take(users), exclude=excluded), users


def rating_values(errors: UserErrors) -> dict[RatingMetric, UserValues]:
    """Return the values of all rating metrics for each user.

    Parameters
    ----------
    errors : UserErrors
        Errors of all rows.

    Returns
    -------
    dict of RatingMetric to UserValues
        Sums for each user; zero for users without rows.
    """
    return {metric: metric.per_user(errors) for metric in METRICS.values() if isinstance(metric, RatingMetric)}


def rating_fields(values: Mapping[RatingMetric, UserValues], users: Int32, *, seed: int) -> dict[str, Any]:
    """Compute the fields of a `Score` for predicted ratings.

    Parameters
    ----------
    values : mapping of RatingMetric to UserValues
        Values for each of m users, each of whom has rows.
    users : ndarray of shape (m,), int32
        Row numbers of the users.
    seed : int
        Seed for the intervals.

    Returns
    -------
    dict
        Fields metrics, users, per_user and counts.
    """
    counts = next(iter(values.values())).counts
    return {
        "metrics": {metric.key: by_user.interval(seed=seed) for metric, by_user in values.items()},
        "users": users,
        "per_user": {metric.per_user_key: by_user.sums / counts for metric, by_user in values.items()},
        "counts": counts,
    }


def list_fields(
    values: ListValues, users: Int32, ks: Sequence[int], *, seed: int, support: Int64, n_users: int
) -> dict[str, Any]:
    """Compute the fields of a `Score` for ranked lists.

    Parameters
    ----------
    values : ListValues
        Values for each of m users.
    users : ndarray of shape (m,), int32
        Row numbers of the users.
    ks : sequence of int
        Cutoffs.
    seed : int
        Seed for the intervals.
    support : ndarray of shape (n_items,), int64
        Number of training users for each item.
    n_users : int
        Number of training users.

    Returns
    -------
    dict
        Fields metrics, users, per_user, counts and served.
    """
    metrics = bootstrap_intervals(values.per_user, bounds=RANKING_BOUNDS, seed=seed)
    served = {name: metrics[name] for name in values.per_user}
    if values.served is not values.per_user:
        served = bootstrap_intervals(values.served, bounds=RANKING_BOUNDS, seed=seed)
    nan = float("nan")
    for k in ks:
        exposure = ListExposure(values.list_counts[k], values.show_probability[k], support, n_users)
        for metric in METRICS.values():
            if isinstance(metric, CatalogMetric):
                metrics[metric.at(k).key] = Interval(metric.function(exposure), nan, nan)
    return {
        "metrics": metrics,
        "users": users,
        "per_user": values.per_user,
        "counts": np.ones(len(users), np.int64),
        "served": served,
    }
