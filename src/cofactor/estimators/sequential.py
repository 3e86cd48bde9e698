"""Sequential item-based estimator for timestamped events, which weights item pairs by order, distance and recency."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import ClassVar

from cofactor.arrays import Counts, read_only
from cofactor.checks import Seed
from cofactor.estimators.base import COUNTS, Estimator, parameter
from cofactor.estimators.training import EpochCallback
from cofactor.estimators.training_table import AcceptedKind, TableLike
from cofactor.kernels.parallel import one_thread_blas
from cofactor.kernels.sparse import SparseRows
from cofactor.kernels.transitions import transitions
from cofactor.models.base import Model
from cofactor.models.block_scoring import confidences, without_zero_weights
from cofactor.models.neighborhood import ItemItemModel
from cofactor.models.similarity import NeighborSimilarity
from cofactor.validation import validated

__all__ = ["SequentialItemKNN"]

_log = logging.getLogger("cofactor")

NEIGHBORS = "maximum number of stored successors per item"
GAP_POWER = "distance exponent: a transition weight is divided by this power of the distance between the two events"
BACKWARD = "factor for a transition from a later to an earlier event"
SOURCE_POWER = "source exponent: counts are divided by this power of the popularity of the item in the history"
TARGET_POWER = "target exponent: counts are divided by this power of the popularity of the scored item"
RECENCY = "decay factor per later event in the history when items are scored"


@dataclass(frozen=True)
class SequentialItemKNN(Estimator):
    """Sequential item-based k nearest neighbors: transitions between items in chronological order.

    Parameters
    ----------
    neighbors : int, default 500
        Maximum number of stored successors per item.
    gap_power : float, default 0.5
        Distance exponent: a transition weight is divided by this power of the distance between the two events.
    backward : float, default 0.1
        Factor for a transition from a later to an earlier event.
    source_power : float, default 0.35
        Source exponent: counts are divided by this power of the popularity of the item in the history.
    target_power : float, default 0.1
        Target exponent: counts are divided by this power of the popularity of the scored item.
    recency : float, default 0.6
        Decay factor per later event in the history when items are scored.
    counts : {"log", "binary", "raw"}, default "log"
        Confidence of an event with value v: log (1 + ln v, or v below 1), binary (1) or raw (v).

    Notes
    -----
    The score, with the number m_uj of events of u that are later than the event of j::

        score(u, i) = sum_j recency^m_uj x_uj c_ji / (p_j^source_power p_i^target_power)
        c_ji = sum_u sqrt(x_uj x_ui) g^-gap_power (1 if j is earlier than i, backward if it is later)

    x is the confidence (`counts`) of an event times its weight, p_i the sum of the magnitudes of x of an item, and g
    the number of positions from the event of j to that of i in chronological order (1 to 50; other pairs are ignored).
    The root of a negative product is negative. Simultaneous events share the mean of their ranks and of their recency
    factors, and count (1 + backward) / 2 in both directions. Without times, all events of a user are simultaneous, and
    a warning is logged. Only positive sums c_ji are used.

    The score depends on the current history, so that a new event changes the next list without a fit.

    References
    ----------
    Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms", section 2.2 (sequential rules).
    Deshpande and Karypis 2004, "Item-based top-N recommendation algorithms", section 4.1 (powers of the popularity).

    Examples
    --------
    >>> import cofactor
    >>> users, items = ["ana", "ana", "bo", "bo", "cy"], ["alien", "aliens", "alien", "aliens", "aliens"]
    >>> events = cofactor.Interactions.from_columns(users, items, times=[1, 2, 1, 2, 1], kind="events")
    >>> rec = cofactor.Recommender.fit(SequentialItemKNN(source_power=0, target_power=0), events)
    >>> rec.for_history(["alien"]).recommend()["score"].to_list()       # ana and bo watched aliens later
    [2.0]
    >>> [round(score, 2) for score in rec.for_history(["aliens"]).recommend()["score"]]
    [0.2]
    """

    name: ClassVar[str] = "sequential-item-knn"
    kind: ClassVar[AcceptedKind] = "events"
    exact_fold_in: ClassVar[bool] = True

    neighbors: int = parameter(500, NEIGHBORS, low=1, high=10_000, log=True)
    gap_power: float = parameter(0.5, GAP_POWER, low=0, high=10, search=(0, 1.5))
    backward: float = parameter(0.1, BACKWARD, low=0, high=1, search=(0, 1))
    source_power: float = parameter(0.35, SOURCE_POWER, low=0, high=1, search=(0, 1))
    target_power: float = parameter(0.1, TARGET_POWER, low=0, high=1, search=(0, 0.6))
    recency: float = parameter(0.6, RECENCY, low=0, high=1, search=(0.2, 1))
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
        """Count the transitions between items in a table of events.

        Parameters
        ----------
        interactions : Interactions or CSR matrix of shape (n_users, n_items)
            Table of events with times.
        seed : int, Generator or None, default 0
            Ignored: the fit is deterministic.
        validation, init_model, callback : object, optional
            Ignored: the fit is not iterative.

        Returns
        -------
        ItemItemModel
            Model based on the weights of transitions.

        Raises
        ------
        KindError
            If the table contains ratings.
        DataError
            If the table has no rows or all weights are 0.
        """
        del seed, validation, init_model, callback
        table = self.check_table(interactions)
        if table.times is None:
            _log.warning("%s: the table has no times; all events of a user are treated as simultaneous", self.name)
        histories = without_zero_weights(table.sequences)
        weights = transitions(
            replace(confidences(histories, self.counts), times=histories.times), table.n_items,
            gap_power=self.gap_power, backward=self.backward, source_power=self.source_power,
            target_power=self.target_power, n=min(self.neighbors, table.n_items),
        )  # fmt: skip
        weights = SparseRows(read_only(weights.start), read_only(weights.columns), read_only(weights.values))
        return ItemItemModel(table.n_users, NeighborSimilarity(weights), recency=self.recency, counts=self.counts)
