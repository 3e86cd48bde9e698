"""Metric registry, used in evaluation, comparison, tuning, plots and on the command line.

Each metric is defined in `rating`, `ranking` or `catalog`, next to the function that computes it. Metrics are not
listed by name anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, overload

from cofactor import checks
from cofactor.arrays import Float64
from cofactor.data.interactions import Kind
from cofactor.errors import ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.base import Metric
from cofactor.metrics.catalog import CATALOG_METRICS
from cofactor.metrics.ranking import CAPPED_RECALL, NDCG, RANKING_METRICS, Hits, RankingMetric
from cofactor.metrics.rating import RATING_METRICS, RMSE, RatingMetric
from cofactor.validation import validated

__all__ = ["METRICS", "metric_named", "metrics_from_hits", "primary_metric", "ranking_metrics", "validation_metric"]

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*RATING_METRICS, *RANKING_METRICS, *CATALOG_METRICS)
}  # fmt: skip
"""Mapping from names to all metrics that are reported in evaluations."""
KINDS = get_args(Kind)
VALIDATION_K = 20
"""Length of the ranked lists used for early stopping."""


def metric_named(key: str) -> Metric:
    """Return the metric with a given key.

    Parameters
    ----------
    key : str
        Key used in results: "rmse", or "ndcg@10" with a cutoff.

    Returns
    -------
    Metric
        Metric at that cutoff.

    Raises
    ------
    ParameterError
        If there is no such metric.

    Examples
    --------
    >>> metric_named("mrr@5").title, metric_named("rmse").direction
    ('MRR@5', 'lower is better')
    """
    name, at, k = checks.text("key", key).partition("@")
    if name not in METRICS or (at and not (k.isascii() and k.isdigit())):
        metrics = f"{', '.join(METRICS)}, optionally with a cutoff such as @10"
        raise ParameterError(f"key must be the name of a metric ({metrics}), not {checks.describe(key)}")
    return METRICS[name].at(int(k)) if at else METRICS[name]


@overload
def primary_metric(kind: Literal["ratings"], k: int = 10) -> RatingMetric: ...
@overload
def primary_metric(kind: Literal["events"], k: int = 10) -> RankingMetric: ...
def primary_metric(kind: Kind, k: int = 10) -> RatingMetric | RankingMetric:
    """Return the primary metric, which is used to rank, tune and promote models.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        Kind of the table.
    k : int, default 10
        Length of the ranked lists, for events.

    Returns
    -------
    RatingMetric or RankingMetric
        RMSE or NDCG@k.

    Examples
    --------
    >>> primary_metric("ratings").key, primary_metric("events", 20).key
    ('rmse', 'ndcg@20')
    """
    return RMSE if checks.choice("kind", kind, KINDS) == "ratings" else NDCG.at(k)


def validation_metric(kind: Kind) -> RatingMetric | RankingMetric:
    """Return the metric used for early stopping.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        Kind of the table.

    Returns
    -------
    RatingMetric or RankingMetric
        RMSE or capped recall@20.

    Examples
    --------
    >>> validation_metric("events").title
    'capped recall@20'
    """
    return RMSE if checks.choice("kind", kind, KINDS) == "ratings" else CAPPED_RECALL.at(VALIDATION_K)


@validated
def ranking_metrics(ranked: Any, relevant: SparseRows, *, ks: Sequence[int] = (10,)) -> dict[str, Float64]:
    """Compute all ranking metrics at each cutoff from ranked lists.

    Parameters
    ----------
    ranked : array-like of shape (n_users, depth), int32
        Item row numbers, best first, padded with -1.
    relevant : SparseRows with n_users rows
        Test items of each user, in ascending order; their values are ignored.
    ks : sequence of int, default (10,)
        Cutoffs, from 1 to `depth`.

    Returns
    -------
    dict of str to ndarray of shape (n_users,), float64
        Metric values by key, such as "ndcg@10"; nan for users without test items. The arrays have length 0 if there are
        no users; the dict is empty if `ks` is empty.

    Raises
    ------
    ParameterError
        If a cutoff is less than 1 or exceeds the length of the lists.
    DataError
        As in `Hits.of`.

    Examples
    --------
    >>> import numpy as np
    >>> relevant = SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=2)
    >>> metrics = ranking_metrics(np.array([[7, 5, 3], [1, 2, 3]]), relevant, ks=[2])
    >>> metrics["recall@2"]
    array([0.5, nan])
    """
    return metrics_from_hits(Hits.of(ranked, relevant), ks)


@validated
def metrics_from_hits(hits: Hits, ks: Sequence[int]) -> dict[str, Float64]:
    """Compute all ranking metrics at each cutoff from the positions of the test items in ranked lists.

    Parameters
    ----------
    hits : Hits
        Positions of the test items in the ranked lists.
    ks : sequence of int
        Cutoffs, from 1 to `hits.depth`.

    Returns
    -------
    dict of str to ndarray of shape (n_users,), float64
        Metric values by key, as in `ranking_metrics`.

    Raises
    ------
    ParameterError
        If a cutoff is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> metrics_from_hits(hits, [1])["precision@1"]
    array([1.])
    """
    metrics = [metric for metric in METRICS.values() if isinstance(metric, RankingMetric)]
    return {f"{metric.name}@{k}": metric.function(hits, k) for k in ks for metric in metrics}
