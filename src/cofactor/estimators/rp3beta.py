"""RP3beta estimator: item-item weights from three-step random walks on the user-item graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cofactor.arrays import Counts, Float32
from cofactor.checks import Seed
from cofactor.data.interactions import Kind
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import TableLike
from cofactor.kernels.neighbors import DOT, ColumnLists, nearest
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows, read_only_rows
from cofactor.models.base import Model
from cofactor.models.block_scoring import confidences
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import NeighborSimilarity
from cofactor.validation import validated

__all__ = ["RP3beta"]


@dataclass(frozen=True)
class RP3beta(Estimator):
    """RP3beta: rank items by random walks from user to item to user to item, with less weight on popular items.

    Parameters
    ----------
    alpha : float, default 0.6
        Exponent of the transition probabilities.
    beta : float, default 0.8
        Popularity exponent: weights are divided by this power of the popularity.
    damping : float, default 1.0
        Constant added to the popularity, as a multiple of the mean popularity of the items of all events.
    neighbors : int, default 500
        Maximum number of stored weights per item in the user's history: the largest ones.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).

    Notes
    -----
    The scores for a user with history x_u are x_u W, where::

        W_ji = 1 / (d_i + damping d)^beta sum_v (x_vj / d_j)^alpha (x_vi / d_v)^alpha        i not equal to j

    x_vi is the confidence (`counts`) of an event times its weight, d_v the sum over the items of user v, d_i the sum
    over the users of item i, and d = sum_i d_i^2 / sum_i d_i the mean popularity of the item of a random event. Without
    damping (as in the paper), a beta that demotes popular items enough on a dense table promotes items with one or two
    events on a sparse one; with it, the same beta suits both. All weights are divided by the largest one. A dislike
    (negative weight) is not a transition, so it does not enter W; in a history, it lowers the scores of related items.
    If weights tie at the end of the stored list of an item, all of them are left out. Weights are computed item by
    item, so memory is bounded by n_items * neighbors; the time is proportional to the sum over users of the squared
    number of items.

    References
    ----------
    Paudel et al. 2017, "Updatable, accurate, diverse, and scalable recommendations for interactive applications".
    Cooper et al. 2014, "Random walks in recommender systems: exact computation and simulations" (alpha).

    Examples
    --------
    >>> import cofactor
    >>> pairs = [("ana", "alien"), ("ana", "aliens"), ("bo", "alien"), ("bo", "aliens"), ("cy", "alien"), ("di", "up")]
    >>> events = cofactor.Interactions.from_columns(*zip(*pairs), kind="events")
    >>> rec = cofactor.Recommender.fit(RP3beta(), events)
    >>> rec.recommend("cy", n=1)["item"].to_list()
    ['aliens']
    """

    name: ClassVar[str] = "rp3beta"
    kind: ClassVar[Kind] = "events"
    exact_fold_in: ClassVar[bool] = True

    alpha: float = parameter(0.6, "exponent of the transition probabilities", low=0, high=5, search=(0.4, 1.4))
    beta: float = parameter(
        0.8, "popularity exponent: weights are divided by this power of the popularity", low=0, high=5, search=(0, 1.2)
    )
    damping: float = parameter(
        1.0,
        "constant added to the popularity, as a multiple of the mean popularity of the items of all events",
        low=0,
        high=1e4,
        search=(0, 2),
    )
    neighbors: int = parameter(
        500,
        "maximum number of stored weights per item in the user's history: the largest ones",
        low=1,
        high=10_000,
        log=True,
        search=(50, 1000),
    )
    counts: Counts = parameter("log", COUNTS)

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
        """Compute the item-item weights from a table of events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        ItemItemModel
            Model with at most `neighbors` weights per item.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        likes = confidences(table.by_user, self.counts)
        likes = likes.filter(likes.values > 0).transpose(table.n_items)
        to_user, to_item = self._transitions(likes, table.n_users)
        items, weights = nearest(
            to_user, ColumnLists.of(to_item, table.n_users, max_length=table.n_items), to_item,
            measure=DOT, n=min(self.neighbors, table.n_items), shrink=0,
            exclude=np.arange(table.n_items, dtype=np.int32),
        )  # fmt: skip
        weights /= max(weights.max(), np.finfo(np.float32).tiny)
        similarity = NeighborSimilarity(read_only_rows(SparseRows.of_lists(items, weights)))
        return ItemItemModel(table.n_users, similarity, counts=self.counts)

    def _transitions(self, likes: SparseRows, n_users: int) -> tuple[SparseRows, SparseRows]:
        """Return (x_vj / d_j)^alpha and (x_vi / d_v)^alpha / (d_i + damping d)^beta for the events of each item.

        In the latter, the popularity is relative to the smallest one, so that the values are at most 1.
        """
        values, item = likes.values.astype(np.float64), likes.owners
        item_sums = np.bincount(item, values, len(likes))[item]
        user_sums = np.bincount(likes.columns, values, n_users)[likes.columns]
        popularity = item_sums + self.damping * np.average(item_sums, weights=values) if len(values) else item_sums
        popularity /= popularity.min(initial=np.inf)
        to_user: Float32 = ((values / item_sums) ** self.alpha).astype(np.float32)
        to_item: Float32 = ((values / user_sums) ** self.alpha / popularity**self.beta).astype(np.float32)
        return likes.with_values(to_user), likes.with_values(to_item)
