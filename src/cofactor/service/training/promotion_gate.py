"""Promotion gate: compare a candidate with the active model on the newest events before promoting it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
import polars as pl

from cofactor.arrays import Bool, Float32, Int32, plain, random_stream
from cofactor.audit import Exposure, exposure
from cofactor.data.ids import IdMap
from cofactor.errors import ParameterError
from cofactor.kernels.sparse import SparseRows
from cofactor.metrics.base import Metric, UserValues
from cofactor.metrics.intervals import NO_INTERVAL
from cofactor.metrics.ranking import RankingMetric
from cofactor.metrics.rating import errors_by_user
from cofactor.metrics.registry import primary_metric
from cofactor.models.base import PredictsRatings
from cofactor.models.paired import PairedModel
from cofactor.recommender.recommender import Recommender
from cofactor.service.settings import GateCriterion, ServiceSettings
from cofactor.service.training.data import TrainingData
from cofactor.service.training.point_in_time import as_of

__all__ = [
    "AccuracyComparison",
    "GateResult",
    "ListStatistics",
    "PromotionGate",
    "ranking_accuracy",
    "rating_accuracy",
]


@dataclass(frozen=True)
class AccuracyComparison:
    """Comparison of the accuracy of two models on the same held-out events.

    Attributes
    ----------
    metric : str
        "rmse" (lower is better) or "ndcg@10" (higher is better).
    candidate, active : float
        Metric of each model.
    loss : float
        Accuracy lost by the candidate, in units of the metric; negative if it is better.
    low, high : float
        95% confidence interval of the loss over users; nan if there are too few users.
    events, users : int
        Number of events and of users in the comparison.
    """

    metric: str
    candidate: float
    active: float
    loss: float
    low: float
    high: float
    events: int
    users: int


def rating_accuracy(
    candidate: Recommender, active: Recommender, held_out: pl.DataFrame, seed: int
) -> AccuracyComparison:
    """Compare the RMSE of two models on held-out ratings.

    Parameters
    ----------
    candidate, active : Recommender
        The models, with the same users.
    held_out : polars.DataFrame
        Held-out ratings with the columns user and item (String), value and time. For items unknown to a model, its
        prediction for unknown items is used.
    seed : int
        Seed for the confidence interval.

    Returns
    -------
    AccuracyComparison
        The comparison.
    """
    metric, ratings = primary_metric("ratings"), held_out["value"].to_numpy()
    users, n_users = candidate.users.rows(held_out["user"]), len(candidate.users)
    candidate_values, active_values = (
        metric.per_user(errors_by_user(users, ratings, _predict(model, users, held_out), n_users=n_users))
        for model in (candidate, active)
    )
    return _comparison(metric, candidate_values, active_values, len(held_out), seed)


def _predict(recommender: Recommender, users: Int32, held_out: pl.DataFrame) -> Float32:
    items, times = recommender.items.rows(held_out["item"]), held_out["time"].to_numpy()
    assert isinstance(recommender.model, PredictsRatings)
    return recommender.model.predict(recommender.batch(users, times), items)


def ranking_accuracy(
    candidate: Recommender, active: Recommender, held_out: pl.DataFrame, k: int, seed: int
) -> AccuracyComparison:
    """Compare the NDCG@k of two models on held-out events.

    Parameters
    ----------
    candidate, active : Recommender
        The models, with the same users.
    held_out : polars.DataFrame
        Held-out events with the columns user and item (String), value and time. Items that are excluded from the user's
        recommendations, such as repeated events, are ignored.
    k : int
        Length of the lists.
    seed : int
        Seed for the confidence interval.

    Returns
    -------
    AccuracyComparison
        The comparison; its metrics are nan if no events are left.
    """
    items = [recommender.items.all.cast(pl.String) for recommender in (candidate, active)]
    catalog = IdMap.of(pl.concat([*items, held_out["item"]]))
    u, i = candidate.users.rows(held_out["user"]), catalog.rows(held_out["item"])
    is_new = ~_is_excluded(candidate, u, candidate.items.rows(held_out["item"]))
    relevant = SparseRows.of(u[is_new], i[is_new], np.ones(is_new.sum()), len(candidate.users))
    metric = primary_metric("events", k)
    candidate_values, active_values = (
        _per_user(recommender, catalog, relevant, metric, k) for recommender in (candidate, active)
    )
    return _comparison(metric, candidate_values, active_values, int(is_new.sum()), seed)


def _comparison(
    metric: Metric, candidate: UserValues, active: UserValues, n_events: int, seed: int
) -> AccuracyComparison:
    """Compare the metric values of two models; the loss is positive if the candidate is worse."""
    better_if_positive, reference = (active, candidate) if metric.greater_is_better else (candidate, active)
    loss, n_users = better_if_positive.difference(reference, seed=seed), int(np.count_nonzero(candidate.counts))
    return AccuracyComparison(metric.key, candidate.aggregate(), active.aggregate(), *loss, n_events, n_users)


def _per_user(
    recommender: Recommender, catalog: IdMap, relevant: SparseRows, metric: RankingMetric, k: int
) -> UserValues:
    """Compute the metric for each user; relevant items that the model does not know count as misses."""
    rows = recommender.items.rows(catalog.all)[relevant.columns]
    owner = relevant.owners[rows >= 0]
    targets = SparseRows.of(owner, rows[rows >= 0], np.ones(len(owner)), len(relevant))
    lists = recommender.ranked_lists(np.arange(len(recommender.users), dtype=np.int32), [k], targets)
    return metric.per_user(replace(lists.hits, n_relevant=relevant.counts))


def _is_excluded(recommender: Recommender, users: Int32, items: Int32) -> Bool:
    """Return whether each user-item pair is excluded from recommendations."""
    rows, n_columns = recommender.excluded, len(recommender.items) + 1
    owner = rows.owners.astype(np.int64)
    return np.isin(users.astype(np.int64) * n_columns + items, owner * n_columns + rows.columns) & (items >= 0)


@dataclass(frozen=True)
class ListStatistics:
    """Coverage, concentration and popularity of the recommendation lists of a model; see `audit.exposure`.

    Attributes
    ----------
    coverage : float
        Fraction of the catalog that is recommended to at least one user.
    gini : float
        Gini coefficient of the recommendations over items.
    top_share : float
        Fraction of the recommendations that go to the 1% most-recommended items.
    popularity_lift : float
        Popularity of the recommended items relative to the items in the histories.
    """

    coverage: float
    gini: float
    top_share: float
    popularity_lift: float

    @classmethod
    def of(cls, audit: Exposure) -> ListStatistics:
        """Create the statistics from an audit of the exposure of items in recommendation lists.

        Parameters
        ----------
        audit : Exposure
            Result of `audit.exposure`.

        Returns
        -------
        ListStatistics
            The statistics.
        """
        return cls(
            audit.coverage, audit.positions_per_item.gini, audit.positions_per_item.top_share, audit.popularity_lift
        )


@dataclass(frozen=True)
class GateResult:
    """Comparison of a candidate with the active model, with the reasons not to promote it, if any.

    Attributes
    ----------
    reasons : tuple of str
        Reasons not to promote the candidate; empty if it may be promoted.
    accuracy : AccuracyComparison or None
        Comparison of accuracy; None if there were too few events or there was no model to compare with.
    ranking : AccuracyComparison or None
        If one of the models has a ranker and a rating model, the comparison of their lists, with the liked held-out
        ratings as hits, in addition to that of the predicted ratings; None if there were too few users.
    candidate, active : ListStatistics or None
        Statistics of the lists of each model; None if there was no model to compare with.
    notes : tuple of str
        Comparisons that were skipped, with the reasons.
    """

    reasons: tuple[str, ...] = ()
    accuracy: AccuracyComparison | None = None
    ranking: AccuracyComparison | None = None
    candidate: ListStatistics | None = None
    active: ListStatistics | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-serializable values.

        Returns
        -------
        dict of str to Any
            The fields, with None in place of nan.
        """
        values: dict[str, Any] = plain(asdict(self))
        return values


@dataclass(frozen=True)
class PromotionGate:
    """Limits on how much worse than the active model a candidate may be and still be promoted.

    Attributes
    ----------
    tolerance : float
        Maximum loss of accuracy, as a fraction of the metric of the active model (RMSE for ratings, NDCG@10 for
        events, and both for a ranker with a rating model).
    criterion : {'mean', 'upper'}
        Loss that must not exceed the tolerance: the mean, or the upper end of its 95% confidence interval, which
        requires more events.
    min_events, max_events : int
        Minimum and maximum number of held-out events. With fewer than `min_events`, accuracy is not compared.
    share : float
        Fraction of the events since the active model was trained that is held out, within these limits.
    min_users : int
        Minimum number of users with held-out events; otherwise, accuracy is not compared. Up to half of the new events
        are held out to reach it.
    coverage : float
        Maximum relative decrease in catalog coverage.
    top_share : float
        Maximum absolute increase in the fraction of positions with the 1% most-recommended items.
    lift : float
        Maximum relative increase in popularity lift.
    sample_users : int
        Maximum number of users whose lists are compared.
    k : int
        Length of the lists.

    Examples
    --------
    >>> PromotionGate(tolerance=0.02).tolerance
    0.02
    """

    tolerance: float = 0.01
    criterion: GateCriterion = "mean"
    min_events: int = 50
    max_events: int = 20_000
    share: float = 0.2
    min_users: int = 10
    coverage: float = 0.2
    top_share: float = 0.1
    lift: float = 0.25
    sample_users: int = 2_000
    k: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ParameterError(f"share must be strictly between 0 and 1; got {self.share!r}")
        if self.min_users < 1:
            raise ParameterError(f"min_users must be at least 1; got {self.min_users}")
        if self.min_events < 1 or self.max_events < self.min_events:
            raise ParameterError(
                f"min_events must be between 1 and max_events={self.max_events}; got {self.min_events}"
            )
        if self.criterion not in get_args(GateCriterion):
            raise ParameterError(f"criterion must be mean or upper; got {self.criterion!r}")

    @classmethod
    def of(cls, settings: ServiceSettings) -> PromotionGate:
        """Create a promotion gate, the limits that a new model must meet, from the settings of a service.

        Parameters
        ----------
        settings : ServiceSettings
            The settings.

        Returns
        -------
        PromotionGate
            The gate.
        """
        names = ("tolerance", "criterion", "coverage", "top_share", "lift")
        return cls(**{name: getattr(settings, f"gate_{name}") for name in names})

    def cutoff(self, new_events: pl.DataFrame, until: int) -> int:
        """Return the sequence number up to which to train a candidate, so that enough newer events are held out.

        Parameters
        ----------
        new_events : polars.DataFrame
            Events that the active model was not trained on, with the columns seq and user, ordered by seq.
        until : int
            Sequence number of the last change.

        Returns
        -------
        int
            Sequence number of the change; `until` if there are too few events to hold out.

        Examples
        --------
        >>> new = pl.DataFrame({"seq": range(1001, 2001), "user": [str(n % 300) for n in range(1000)]})
        >>> PromotionGate(min_events=50, share=0.2).cutoff(new, 2000), PromotionGate(min_events=5_000).cutoff(new, 2000)
        (1800, 2000)
        """
        n = len(new_events)
        if n < self.min_events:
            return until
        by_share = min(max(round(self.share * n), self.min_events), self.max_events)
        has_users = new_events["user"].reverse().is_first_distinct().cum_sum() >= self.min_users
        by_users = int(has_users.arg_max() or 0) + 1 if has_users.any() else n
        n_held_out = max(by_share, min(by_users, n // 2, self.max_events))
        return int(new_events["seq"][n - n_held_out]) - 1

    def evaluate(self, candidate: Recommender, active: Recommender, data: TrainingData, *, seed: int = 0) -> GateResult:
        """Compare the accuracy of two models on held-out events, and their recommendation lists as of the cutoff.

        Parameters
        ----------
        candidate, active : Recommender
            The models; neither may have been trained on events after the cutoff.
        data : TrainingData
            Training data of the candidate and held-out events.
        seed : int, default 0
            Seed for the intervals and for sampling users.

        Returns
        -------
        GateResult
            The result.

        Raises
        ------
        KindError
            If a model cannot fold in users.
        """
        held_out = data.held_out
        users = IdMap.of(held_out["user"].unique()) if len(held_out) else IdMap.of(pl.Series([], dtype=pl.String))
        reasons: list[str] = []
        notes: list[str] = []
        accuracy = self._accuracy(candidate, active, data, users, seed) if len(held_out) >= self.min_events else None
        if accuracy is None or accuracy.users < self.min_users:
            n_users = len(users) if accuracy is None else accuracy.users
            requirement = f"at least {self.min_events} events from {self.min_users} users are required"
            notes.append(f"accuracy was not compared: {len(held_out)} new events from {n_users} users; {requirement}")
            accuracy = None
        else:
            reasons += self._accuracy_reasons(accuracy)
        ranking = self._ranking(candidate, active, data, seed) if accuracy is not None else None
        if ranking is not None and ranking.users < self.min_users:
            counts = f"{ranking.events} new liked ratings from {ranking.users} users"
            notes.append(f"rankings were not compared: {counts}; at least {self.min_users} users are required")
            ranking = None
        elif ranking is not None:
            reasons += self._accuracy_reasons(ranking)
        sample = self._sample(data, seed)
        candidate_lists, active_lists = (
            ListStatistics.of(exposure(_at_cutoff(recommender, sample, data), n=self.k))
            for recommender in (candidate, active)
        )
        return GateResult(
            (*reasons, *self._exposure_reasons(candidate_lists, active_lists)),
            accuracy,
            ranking,
            candidate_lists,
            active_lists,
            tuple(notes),
        )

    def _accuracy(
        self, candidate: Recommender, active: Recommender, data: TrainingData, users: IdMap, seed: int
    ) -> AccuracyComparison:
        models = _at_cutoff(candidate, users, data), _at_cutoff(active, users, data)
        if candidate.kind == "ratings":
            return rating_accuracy(*models, data.held_out, seed)
        return ranking_accuracy(*models, data.held_out, self.k, seed)

    def _ranking(
        self, candidate: Recommender, active: Recommender, data: TrainingData, seed: int
    ) -> AccuracyComparison | None:
        """Compare the lists on the liked held-out ratings; None unless a model has a ranker and a rating model."""
        pair = next((model for model in (candidate.model, active.model) if isinstance(model, PairedModel)), None)
        if pair is None:
            return None
        liked = data.held_out.filter(pl.col("value") >= pair.min_rating)
        users = IdMap.of(liked["user"].unique()) if len(liked) else IdMap.of(pl.Series([], dtype=pl.String))
        return ranking_accuracy(
            _at_cutoff(candidate, users, data), _at_cutoff(active, users, data), liked, self.k, seed
        )

    def _sample(self, data: TrainingData, seed: int) -> IdMap:
        users = data.snapshot["user"].unique().sort()
        sampled_rows = random_stream(seed, "guard").permutation(len(users))[: self.sample_users]
        return IdMap.of(users.gather(np.sort(sampled_rows)))

    def _accuracy_reasons(self, accuracy: AccuracyComparison) -> list[str]:
        max_loss = self.tolerance * accuracy.active
        loss = accuracy.loss if self.criterion == "mean" else accuracy.high
        if loss <= max_loss:
            return []
        sample_text = f"{accuracy.events:,} events from {accuracy.users:,} users"
        if np.isnan(loss):
            return [f"criterion 'upper' requires an interval for the loss, but {sample_text} give none: {NO_INTERVAL}"]
        has_interval = np.isfinite(accuracy.low)
        interval = f"95% interval {accuracy.low:.4f} to {accuracy.high:.4f}" if has_interval else "no interval"
        metrics = f"{accuracy.metric} {accuracy.candidate:.4f}, active model {accuracy.active:.4f}"
        loss_text = f"loss {accuracy.loss:.4f}, {interval}; allowed {max_loss:.4f}"
        return [f"accuracy on the newest events is worse: {metrics} ({loss_text}; {sample_text})"]

    def _exposure_reasons(self, candidate: ListStatistics, active: ListStatistics) -> list[str]:
        reasons = []
        if candidate.coverage < (1 - self.coverage) * active.coverage:
            reasons.append(f"coverage falls from {active.coverage:.1%} to {candidate.coverage:.1%} of the catalog")
        if candidate.top_share > active.top_share + self.top_share:
            change_text = f"from {active.top_share:.1%} to {candidate.top_share:.1%}"
            reasons.append(f"the share of the 1% most-recommended items rises {change_text}")
        if candidate.popularity_lift > (1 + self.lift) * active.popularity_lift:
            change_text = f"from {active.popularity_lift:.2f} to {candidate.popularity_lift:.2f}"
            reasons.append(f"popularity lift rises {change_text}")
        return reasons


def _at_cutoff(recommender: Recommender, users: IdMap, data: TrainingData) -> Recommender:
    return as_of(recommender, users, data.snapshot, data.user_metadata, data.excluded)
