"""Neighborhood models: items liked by the same people, and people who liked the same items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cofactor.arrays import Float32, read_only
from cofactor.data.interactions import Interactions
from cofactor.estimators.base import EpochCallback, Estimator, Learns, parameter
from cofactor.kernels.neighbor_scores import damped_means
from cofactor.kernels.neighbors import nearest, transposed
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.models.baseline import Baseline
from cofactor.models.block_scoring import confidences, present
from cofactor.models.neighborhood import ItemItemModel, UserUserModel
from cofactor.models.similarity import Average, Likeness, NeighborLinks
from cofactor.validation import validated

__all__ = ["ItemKNN", "UserKNN"]

ROUNDS = 10
"""Alternations of user and item biases; they stand still long before."""

K = "the most similar users used for a score, among those who have the item"
K_RATINGS = "of ratings: the most similar items used for a prediction, among those that the user rated"
NEIGHBORS = "how many are stored for each, at most"
SHRINK = "of ratings: common ratings at which a similarity is half believed"
EVENT_SHRINK = "of events: common events at which a similarity is half believed"
DAMPING = "of ratings: added to the sum of similarities that a predicted rating's average is divided by"
BIAS_DAMPING = "of ratings: how many at the average that each bias starts with"
SIMILARITY = "of events; ratings are compared by their correlation around the baseline"


@dataclass(frozen=True)
class ItemKNN(Estimator):
    """Items that the same people had, or rated alike; ratings and events each in their own way.

        ratings:  r^ = b_ui + sum_j w_uj s_ij (r_uj - b_uj) / (damping + sum_j w_uj s_ij)
                  b_ui = mean + b_u + b_i
                  s_ij: correlation of r - b over the n users of both, times n / (n + shrink)
        events:   x = sum_j s_ij w_uj x_uj
                  s_ij: cosine or Jaccard, times n / (n + event_shrink)

    w: weights; x_uj: an event's value. j: the k items most similar to i in the user's history (ratings), or all of them
    (events), as far as they are among i's stored neighbors. Those that tie at the k-th similarity share the places that
    are left. Similarities at or below 0 are not used. A dislike (negative weight) counts against what is similar to it.
    What has no such neighbor is predicted b_ui, of events scored 0.
    Sources: Koren 2008, section 2.2; Sarwar et al. 2001.

    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(ItemKNN(), events)
    >>> best = rec.recommend("cy", n=2).select("item", "score")
    >>> [(item, round(score, 2)) for item, score in best.rows()]                              # 2 / sqrt(3 * 2)
    [('aliens', 0.82), ('up', 0.0)]
    """

    name: ClassVar[str] = "item-knn"
    kind: ClassVar[Learns] = "any"
    exact_fold_in: ClassVar[bool] = True

    k: int = parameter(30, K_RATINGS, low=1, high=10_000, log=True, search=(10, 200))
    neighbors: int = parameter(500, NEIGHBORS, low=1, high=10_000, log=True)
    shrink: float = parameter(200.0, SHRINK, low=0, high=1e5, search=(1, 500))
    damping: float = parameter(0.2, DAMPING, low=0, high=1e3, search=(0, 2))
    bias_damping: float = parameter(5.0, BIAS_DAMPING, low=0, high=1000)
    event_shrink: float = parameter(0.0, EVENT_SHRINK, low=0, high=1e5)
    similarity: Literal["cosine", "jaccard"] = parameter("cosine", SIMILARITY, choices=("cosine", "jaccard"))

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: ItemItemModel | None = None,
        callback: EpochCallback | None = None,
    ) -> ItemItemModel:
        """An ItemItemModel of each item's nearest items. There is nothing random and nothing iterative in it.

        Raises DataError for no rows.
        """
        del seed, validation, init_model, callback
        self.require(interactions)
        baseline = _baseline(interactions, self.bias_damping)
        likeness = Likeness("pearson", self.shrink) if baseline else Likeness(self.similarity, self.event_shrink)
        by_user = likeness.weighed(_entries(interactions, baseline))
        n_items = interactions.n_items
        by_item = transposed(by_user, n_items)
        near, how = nearest(
            by_item, likeness.listed(by_item, interactions.n_users), by_item,
            measure=likeness.measure, n=min(self.neighbors, n_items), shrink=likeness.shrink,
            itself=np.arange(n_items, dtype=np.int32),
        )  # fmt: skip
        average = Average(self.k, self.damping) if baseline else None
        there = near >= 0
        start_ = np.concatenate([np.zeros(1, np.int64), np.cumsum(there.sum(axis=1), dtype=np.int64)])
        links = _read_only(transposed(SparseRows(start_, near[there], how[there]), n_items))
        return ItemItemModel(interactions.n_users, NeighborLinks(links, average), baseline)


@dataclass(frozen=True)
class UserKNN(Estimator):
    """People who had the same items, or rated them alike; ratings and events each in their own way.

        ratings:  r^ = b_ui + sum_v w_vi s_uv (r_vi - b_vi) / (damping + sum_v w_vi s_uv)
                  b_ui = mean + b_u + b_i
                  s_uv: correlation of r - b over the n items of both, times n / (n + shrink)
        events:   x = sum_v s_uv w_vi x_vi
                  s_uv: cosine or Jaccard, times n / (n + event_shrink)

    w: weights; x_vi: an event's value. v: the k most similar to u, of the stored neighbors, who have i; those that tie
    at the k-th similarity share the places that are left. Similarities at or below 0 are not used, nor is anybody who
    has nothing that u lacks. Who has no neighbors is predicted b_ui, of events all scores are 0. There is no users x
    users matrix: users meet in the lists of their items.
    Source: Herlocker et al. 1999, around the baseline of Koren 2008.

    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(UserKNN(), events)
    >>> why = rec.explain("cy", "aliens").filter(part="neighbor").select("user", "term")
    >>> [(user, round(term, 2)) for user, term in why.rows()]                                 # 1 / sqrt(2 * 1) each
    [('ana', 0.71), ('bo', 0.71)]
    """

    name: ClassVar[str] = "user-knn"
    kind: ClassVar[Learns] = "any"
    exact_fold_in: ClassVar[bool] = True

    k: int = parameter(40, K, low=1, high=10_000, log=True, search=(10, 200))
    neighbors: int = parameter(500, NEIGHBORS, low=1, high=10_000, log=True)
    shrink: float = parameter(200.0, SHRINK, low=0, high=1e5, search=(1, 500))
    damping: float = parameter(0.2, DAMPING, low=0, high=1e3, search=(0, 2))
    bias_damping: float = parameter(5.0, BIAS_DAMPING, low=0, high=1000)
    event_shrink: float = parameter(0.0, EVENT_SHRINK, low=0, high=1e5)
    max_item_support: int = parameter(
        6000, "an item of more users lists only this many, those with the most items", low=1, high=100_000, log=True
    )
    similarity: Literal["cosine", "jaccard"] = parameter("cosine", SIMILARITY, choices=("cosine", "jaccard"))

    @one_thread_blas()
    @validated
    def fit(
        self,
        interactions: Interactions,
        *,
        seed: int = 0,
        validation: Interactions | None = None,
        init_model: UserUserModel | None = None,
        callback: EpochCallback | None = None,
    ) -> UserUserModel:
        """A UserUserModel of each user's nearest users. There is nothing random and nothing iterative in it.

        Raises DataError for no rows.
        """
        del seed, validation, init_model, callback
        self.require(interactions)
        baseline = _baseline(interactions, self.bias_damping)
        name, shrink = ("pearson", self.shrink) if baseline else (self.similarity, self.event_shrink)
        likeness = Likeness(name, shrink, self.max_item_support)
        entries = _entries(interactions, baseline)
        weighed = likeness.weighed(entries)
        near, how = nearest(
            weighed, likeness.listed(weighed, interactions.n_items), weighed,
            measure=likeness.measure, n=min(self.neighbors, interactions.n_users), shrink=likeness.shrink,
        )  # fmt: skip
        return UserUserModel(
            read_only(near),
            read_only(how),
            _read_only(entries),
            read_only(np.arange(interactions.n_users, dtype=np.int32)),
            interactions.n_items,
            likeness,
            self.k,
            self.damping,
            baseline,
        )


def _baseline(interactions: Interactions, damping: float) -> Baseline | None:
    """The mean and the item biases of ratings, at the minimum of sum w (r - mean - b_u - b_i)^2 + damping |b|^2."""
    if interactions.kind == "events":
        return None
    by_user, by_item = interactions.by_user, interactions.by_item
    mean = float(np.average(interactions.values.astype(np.float64), weights=interactions.weights))
    user_bias: Float32 = np.zeros(interactions.n_users, np.float32)
    item_bias: Float32 = np.zeros(interactions.n_items, np.float32)
    for _ in range(ROUNDS):
        item_bias = damped_means(by_item, user_bias, mean=mean, damping=damping)
        user_bias = damped_means(by_user, item_bias, mean=mean, damping=damping)
    return Baseline(read_only(item_bias), mean, damping, interactions.scale)


def _entries(interactions: Interactions, baseline: Baseline | None) -> SparseRows:
    by_user = present(interactions.by_user)
    return confidences(by_user) if baseline is None else baseline.deviations(by_user)


def _read_only(rows: SparseRows) -> SparseRows:
    weights = None if rows.weights is None else read_only(rows.weights)
    return replace(
        rows,
        start=read_only(rows.start),
        columns=read_only(rows.columns),
        values=read_only(rows.values),
        weights=weights,
    )
