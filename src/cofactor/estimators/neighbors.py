"""Item-based and user-based k-nearest-neighbor estimators for ratings and events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cofactor.arrays import Counts, Float32, read_only
from cofactor.checks import Seed
from cofactor.data.interactions import Interactions
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import AcceptedKind, Standardization, TableLike
from cofactor.kernels.neighbor_scores import damped_means
from cofactor.kernels.neighbors import nearest
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows, read_only_rows
from cofactor.models.base import Model
from cofactor.models.baseline import Baseline
from cofactor.models.block_scoring import confidences, without_zero_weights
from cofactor.models.neighborhood import ItemItemModel, UserUserModel
from cofactor.models.similarity import NeighborAverage, NeighborSimilarity, SimilarityMeasure
from cofactor.validation import validated

__all__ = ["ItemKNN", "UserKNN"]

BIAS_ITERATIONS = 10
"""Number of alternating updates of user and item biases; they converge well before that."""

K = "number of neighbors used for a score: the most similar users who have the item"
K_RATINGS = "ratings only: number of neighbors used for a prediction: the most similar items that the user has rated"
NEIGHBORS = "maximum number of stored neighbors per row"
RATING_NEIGHBORS = "ratings only: maximum number of stored neighbors per item"
EVENT_NEIGHBORS = "events only: maximum number of stored neighbors per item"
SHRINK = "ratings only: a similarity based on n common ratings is multiplied by n / (n + shrink)"
EVENT_SHRINK = "events only: a similarity based on n common events is multiplied by n / (n + event_shrink)"
DAMPING = "ratings only: constant added to the sum of similarities in the denominator of a prediction"
BIAS_DAMPING = "ratings only: number of pseudo-ratings equal to the mean used to shrink each bias"
SIMILARITY = "events only: similarity measure; ratings use the correlation of residuals from the baseline"
EVENT_COUNTS = f"events only: {COUNTS}"


@dataclass(frozen=True)
class ItemKNN(Estimator):
    """Item-based k nearest neighbors for ratings and events.

    Parameters
    ----------
    k : int, default 30
        Ratings only: number of neighbors used for a prediction: the most similar items that the user has rated.
    neighbors : int, default 500
        Ratings only: maximum number of stored neighbors per item.
    shrink : float, default 200.0
        Ratings only: a similarity based on n common ratings is multiplied by n / (n + shrink).
    damping : float, default 0.2
        Ratings only: constant added to the sum of similarities in the denominator of a prediction.
    bias_damping : float, default 5.0
        Ratings only: number of pseudo-ratings equal to the mean used to shrink each bias.
    event_neighbors : int, default 200
        Events only: maximum number of stored neighbors per item.
    event_shrink : float, default 3.0
        Events only: a similarity based on n common events is multiplied by n / (n + event_shrink).
    similarity : {"cosine", "jaccard"}, default "cosine"
        Events only: similarity measure; ratings use the correlation of residuals from the baseline.
    counts : {"log", "binary", "raw"}, default "log"
        Events only: confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).

    Notes
    -----
    The prediction for ratings and the score for events::

        ratings:  r^ = b_ui + sum_j w_uj s_ij (r_uj - b_uj) / (damping + sum_j w_uj s_ij)
                  b_ui = mean + b_u + b_i
                  s_ij: correlation of r - b over the n users who rated both, times n / (n + shrink)
        events:   x = sum_j s_ij w_uj x_uj
                  s_ij: cosine or Jaccard, times n / (n + event_shrink)

    w is the weight of a row and x_uj the confidence (`counts`) of an event. The sum runs over the stored neighbors j of
    i in the user's history: the k most similar ones for ratings, all of them for events. Items with a similarity
    close to the k-th one share the remaining weight. Only positive similarities are used. A dislike (negative weight)
    lowers the scores of similar items. Without neighbors, the prediction is b_ui for ratings and the score is 0 for
    events.

    References
    ----------
    Koren 2008, "Factorization meets the neighborhood", section 2.2.
    Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms".

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(ItemKNN(event_shrink=0), events)
    >>> best = rec.recommend("cy", n=2).select("item", "score")
    >>> [(item, round(score, 2)) for item, score in best.rows()]                              # 2 / sqrt(3 * 2)
    [('aliens', 0.82), ('up', 0.0)]
    """

    name: ClassVar[str] = "item-knn"
    kind: ClassVar[AcceptedKind] = "any"
    exact_fold_in: ClassVar[bool] = True

    k: int = parameter(30, K_RATINGS, low=1, high=10_000, log=True, search=(10, 200), only_for="ratings")
    neighbors: int = parameter(500, RATING_NEIGHBORS, low=1, high=10_000, log=True, only_for="ratings")
    shrink: float = parameter(200.0, SHRINK, low=0, high=1e5, search=(1, 500), only_for="ratings")
    damping: float = parameter(0.2, DAMPING, low=0, high=1e3, search=(0, 2), only_for="ratings")
    bias_damping: float = parameter(5.0, BIAS_DAMPING, low=0, high=1000, only_for="ratings")
    event_neighbors: int = parameter(
        200, EVENT_NEIGHBORS, low=1, high=10_000, log=True, search=(50, 1000), only_for="events"
    )
    event_shrink: float = parameter(3.0, EVENT_SHRINK, low=0, high=1e5, search=(0, 50), only_for="events")
    similarity: Literal["cosine", "jaccard"] = parameter("cosine", SIMILARITY, only_for="events")
    counts: Counts = parameter("log", EVENT_COUNTS, only_for="events")

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> ItemItemModel:
        """Find the nearest neighbors of each item in a table of ratings or events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings or events.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        ItemItemModel
            Model based on item similarities.

        Raises
        ------
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        baseline = _baseline(table, self.bias_damping)
        name, shrink = ("pearson", self.shrink) if baseline else (self.similarity, self.event_shrink)
        measure = SimilarityMeasure(name, shrink)
        by_user = measure.weighted(_entries(table, baseline, self.counts))
        n_items = table.n_items
        by_item = by_user.transpose(n_items)
        neighbors, similarities = nearest(
            by_item, measure.column_lists(by_item, table.n_users), by_item,
            measure=measure.code, n=min(self.neighbors if baseline else self.event_neighbors, n_items), shrink=shrink,
            exclude=np.arange(n_items, dtype=np.int32),
        )  # fmt: skip
        average = NeighborAverage(self.k, self.damping) if baseline else None
        rows = read_only_rows(SparseRows.of_lists(neighbors, similarities).transpose(n_items))
        return ItemItemModel(table.n_users, NeighborSimilarity(rows, average), baseline, counts=self.counts)


@dataclass(frozen=True)
class UserKNN(Estimator):
    """User-based k nearest neighbors for ratings and events.

    Parameters
    ----------
    k : int, default 40
        Number of neighbors used for a score: the most similar users who have the item.
    neighbors : int, default 500
        Maximum number of stored neighbors per row.
    shrink : float, default 200.0
        Ratings only: a similarity based on n common ratings is multiplied by n / (n + shrink).
    damping : float, default 0.2
        Ratings only: constant added to the sum of similarities in the denominator of a prediction.
    bias_damping : float, default 5.0
        Ratings only: number of pseudo-ratings equal to the mean used to shrink each bias.
    event_shrink : float, default 5.0
        Events only: a similarity based on n common events is multiplied by n / (n + event_shrink).
    max_item_support : int, default 6000
        Maximum number of users per item used to compute similarities: those with the most items.
    similarity : {"cosine", "jaccard"}, default "cosine"
        Events only: similarity measure; ratings use the correlation of residuals from the baseline.
    counts : {"log", "binary", "raw"}, default "log"
        Events only: confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).

    Notes
    -----
    The prediction for ratings and the score for events::

        ratings:  r^ = b_ui + sum_v w_vi s_uv (r_vi - b_vi) / (damping + sum_v w_vi s_uv)
                  b_ui = mean + b_u + b_i
                  s_uv: correlation of r - b over the n items that both rated, times n / (n + shrink)
        events:   x = sum_v s_uv w_vi x_vi
                  s_uv: cosine or Jaccard, times n / (n + event_shrink)

    w is the weight of a row and x_vi the confidence (`counts`) of an event. The sum runs over the k most similar stored
    neighbors v of u who have i. Users with a similarity close to the k-th one share the remaining weight. Only positive
    similarities are used, and users without any item that u lacks are skipped. Without neighbors, the prediction is
    b_ui for ratings and the score is 0 for events. Similarities are accumulated over the users of each item, without a
    users x users matrix.

    References
    ----------
    Herlocker et al. 1999, "An algorithmic framework for performing collaborative filtering".
    Koren 2008, "Factorization meets the neighborhood" (the baseline b_ui).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(UserKNN(event_shrink=0), events)
    >>> terms = rec.explain("cy", "aliens", method="contribution").filter(part="neighbor").select("user", "term")
    >>> [(user, round(term, 2)) for user, term in terms.rows()]                                # 1 / sqrt(2 * 1) each
    [('ana', 0.71), ('bo', 0.71)]
    """

    name: ClassVar[str] = "user-knn"
    kind: ClassVar[AcceptedKind] = "any"
    exact_fold_in: ClassVar[bool] = True

    k: int = parameter(40, K, low=1, high=10_000, log=True, search=(10, 200))
    neighbors: int = parameter(500, NEIGHBORS, low=1, high=10_000, log=True)
    shrink: float = parameter(200.0, SHRINK, low=0, high=1e5, search=(1, 500), only_for="ratings")
    damping: float = parameter(0.2, DAMPING, low=0, high=1e3, search=(0, 2), only_for="ratings")
    bias_damping: float = parameter(5.0, BIAS_DAMPING, low=0, high=1000, only_for="ratings")
    event_shrink: float = parameter(5.0, EVENT_SHRINK, low=0, high=1e5, search=(0, 50), only_for="events")
    max_item_support: int = parameter(
        6000,
        "maximum number of users per item used to compute similarities: those with the most items",
        low=1,
        high=100_000,
        log=True,
    )
    similarity: Literal["cosine", "jaccard"] = parameter("cosine", SIMILARITY, only_for="events")
    counts: Counts = parameter("log", EVENT_COUNTS, only_for="events")

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: TableLike,
        *,
        seed: Seed = 0,
        validation: TableLike | None = None,
        init_model: Model | None = None,
        callback: EpochCallback | None = None,
    ) -> UserUserModel:
        """Find the nearest neighbors of each user in a table of ratings or events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of ratings or events.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        UserUserModel
            Model based on user similarities; it also stores the training rows.

        Raises
        ------
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        baseline = _baseline(table, self.bias_damping)
        name, shrink = ("pearson", self.shrink) if baseline else (self.similarity, self.event_shrink)
        measure = SimilarityMeasure(name, shrink, self.max_item_support)
        entries = _entries(table, baseline, self.counts)
        weighted = measure.weighted(entries)
        neighbors, similarities = nearest(
            weighted, measure.column_lists(weighted, table.n_items), weighted,
            measure=measure.code, n=min(self.neighbors, table.n_users), shrink=shrink,
        )  # fmt: skip
        return UserUserModel(
            read_only(neighbors),
            read_only(similarities),
            read_only_rows(entries),
            read_only(np.arange(table.n_users, dtype=np.int32)),
            table.n_items,
            measure,
            self.k,
            self.damping,
            baseline,
            self.counts,
        )


def _baseline(interactions: Interactions, damping: float) -> Baseline | None:
    """Fit the mean and item biases by minimizing sum w (r - mean - b_u - b_i)^2 + damping |b|^2; None for events."""
    if interactions.kind == "events":
        return None
    mean = Standardization.of(interactions).mean
    baseline = Baseline(np.zeros(interactions.n_items, np.float32), mean, damping, interactions.scale)
    by_user, by_item = baseline.centered(interactions.by_user), baseline.centered(interactions.by_item)
    user_bias: Float32 = np.zeros(interactions.n_users, np.float32)
    item_bias = baseline.item_bias
    for _ in range(BIAS_ITERATIONS):
        item_bias = damped_means(by_item, user_bias, mean=0.0, damping=damping)
        user_bias = damped_means(by_user, item_bias, mean=0.0, damping=damping)
    return replace(baseline, item_bias=read_only(item_bias))


def _entries(interactions: Interactions, baseline: Baseline | None, counts: Counts) -> SparseRows:
    """Return the rows grouped by user: signed confidences for events, or residuals from the baseline for ratings."""
    by_user = without_zero_weights(interactions.by_user)
    return confidences(by_user, counts) if baseline is None else baseline.deviations(by_user)
