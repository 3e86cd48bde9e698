"""Registry of metrics: evaluations, comparisons, tuning, the command line and plots read it.

A metric is defined in `rating`, `ranking` or `catalog`, next to the function that computes it. Nothing else lists
metrics by name.
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
"""All metrics that evaluations report, by name."""
KINDS = get_args(Kind)
VALIDATION_K = 20
"""Length of the lists in early stopping."""


def metric_named(key: str) -> Metric:
    """Return the metric with a key.

    Parameters
    ----------
    key : str
        Key as in results: "rmse", or "ndcg@10" with the length of the lists.

    Returns
    -------
    Metric
        The metric at that length.

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
        metrics = f"{', '.join(METRICS)}, with @k for lists of k"
        raise ParameterError(f"key must be the name of a metric ({metrics}), not {checks.describe(key)}")
    return METRICS[name].at(int(k)) if at else METRICS[name]


@overload
def primary_metric(kind: Literal["ratings"], k: int = 10) -> RatingMetric: ...
@overload
def primary_metric(kind: Literal["events"], k: int = 10) -> RankingMetric: ...
def primary_metric(kind: Kind, k: int = 10) -> RatingMetric | RankingMetric:
    """Return the metric by which models are ordered, tuned and promoted.

    Parameters
    ----------
    kind : {'ratings', 'events'}
        Kind of the table.
    k : int, default 10
        Length of the lists, for events.

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
    """Return the metric by which fits stop early.

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
    """Compute all ranking metrics at each cut-off from ranked lists.

    Parameters
    ----------
    ranked : array-like of shape (n_users, depth), int32
        Item rows, best first, -1 where a list ends early.
    relevant : SparseRows of n_users rows
        The test items of each user, ascending; their values do not count.
    ks : sequence of int, default (10,)
        Cut-offs, from 1 to `depth`.

    Returns
    -------
    dict of str to ndarray of shape (n_users,), float64
        Metrics by name, as in "ndcg@10"; nan for users without a test item. Arrays of length 0 if there are no users,
        an empty dict if `ks` is empty.

    Raises
    ------
    ParameterError
        If a cut-off is below 1 or beyond the lists.
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
    """Compute all ranking metrics at each cut-off from hits.

    Parameters
    ----------
    hits : Hits
        Test items in ranked lists.
    ks : sequence of int
        Cut-offs, from 1 to `hits.depth`.

    Returns
    -------
    dict of str to ndarray of shape (n_users,), float64
        As in `ranking_metrics`.

    Raises
    ------
    ParameterError
        If a cut-off is outside its range.

    Examples
    --------
    >>> import numpy as np
    >>> hits = Hits.of(np.array([[7, 5, 3]]), SparseRows.of([0, 0], [3, 7], [1, 1], n_rows=1))
    >>> metrics_from_hits(hits, [1])["precision@1"]
    array([1.])
    """
    metrics = [metric for metric in METRICS.values() if isinstance(metric, RankingMetric)]
    return {f"{metric.name}@{k}": metric.function(hits, k) for k in ks for metric in metrics}
