"""Whether a newly learnt model may answer: it is measured against the active one, on the newest events."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from cofactor.arrays import plain, random_stream
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
from cofactor.recommender.recommender import Recommender
from cofactor.recommender.updating import as_of
from cofactor.service.training.data import Material

__all__ = ["Accuracy", "End", "GateResult", "Guard", "Shown", "ranking_accuracy", "rating_accuracy"]


@dataclass(frozen=True)
class Accuracy:
    """How two models told the same newest events.

    Attributes:

        metric: key of the primary metric of the task.
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
    metric, y, n = primary_metric("ratings"), held["value"].to_numpy(), len(candidate.users)
    u = candidate.users.rows(held["user"])
    ours, theirs = (
        metric.per_user(errors_by_user(u, y, _told(one, u, held), n_users=n)) for one in (candidate, active)
    )
    return _accuracy(metric, ours, theirs, len(held), seed)


def _told(one: Recommender, users: Any, held: pl.DataFrame) -> Any:
    items, times = one.items.rows(held["item"]), held["time"].to_numpy()
    assert isinstance(one.model, PredictsRatings)
    return one.model.predict(one.batch(users, times), items)


def ranking_accuracy(candidate: Recommender, active: Recommender, held: pl.DataFrame, k: int, seed: int) -> Accuracy:
    """NDCG@k of finding what users took that they had not had before: held as in `rating_accuracy`."""
    catalog = IdMap.of(pl.concat([*(one.items.all.cast(pl.String) for one in (candidate, active)), held["item"]]))
    u, i = candidate.users.rows(held["user"]), catalog.rows(held["item"])
    new = ~_had(candidate, u, candidate.items.rows(held["item"]))
    relevant = SparseRows.of(u[new], i[new], np.ones(new.sum()), len(candidate.users))
    metric = primary_metric("events", k)
    ours, theirs = (_by_user(one, catalog, relevant, metric, k) for one in (candidate, active))
    return _accuracy(metric, ours, theirs, int(new.sum()), seed)


def _accuracy(metric: Metric, candidate: UserValues, active: UserValues, events: int, seed: int) -> Accuracy:
    """Compare the values of two models; the loss is positive where the candidate is worse."""
    first, second = (active, candidate) if metric.greater_is_better else (candidate, active)
    loss, users = first.difference(second, seed=seed), int(np.count_nonzero(candidate.counts))
    return Accuracy(metric.key, candidate.aggregate(), active.aggregate(), *loss, events, users)


def _by_user(one: Recommender, catalog: IdMap, relevant: SparseRows, metric: RankingMetric, k: int) -> UserValues:
    """Items that the model does not know cannot be hits, but they count as relevant."""
    rows = one.items.rows(catalog.all)[relevant.columns]
    owner = relevant.owners[rows >= 0]
    known = SparseRows.of(owner, rows[rows >= 0], np.ones(len(owner)), len(relevant))
    lists = one.ranked_lists(np.arange(len(one.users), dtype=np.int32), [k], known)
    return metric.per_user(replace(lists.hits, n_relevant=relevant.counts))


def _had(recommender: Recommender, users: Any, items: Any) -> Any:
    """Whether lists leave out each pair, as the user has seen the item before: (n,) bool."""
    rows, width = recommender.excluded, len(recommender.items) + 1
    owner = rows.owners.astype(np.int64)
    return np.isin(users.astype(np.int64) * width + items, owner * width + rows.columns) & (items >= 0)


End = Literal["mean", "high"]


@dataclass(frozen=True)
class Shown:
    """What the same users are shown: see `audit.concentration` for the four figures, of 0..1 but for the lift."""

    coverage: float
    gini: float
    top_share: float
    popularity_lift: float

    @classmethod
    def of(cls, found: Exposure) -> Shown:
        """The figures of an audit."""
        return cls(found.coverage, found.shown.gini, found.shown.top_share, found.popularity_lift)


@dataclass(frozen=True)
class GateResult:
    """What the guard found; see `Guard.judge`. The candidate may answer where there are no reasons against it.

    Attributes:

        reasons: why it may not.
        accuracy: None where there was too little to measure on, or nothing to compare with.
        candidate, active: what users are shown; None where nothing was compared.
        notes: what was not looked at, and why.
    """

    reasons: tuple[str, ...] = ()
    accuracy: Accuracy | None = None
    candidate: Shown | None = None
    active: Shown | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, nan as None."""
        found: dict[str, Any] = plain(asdict(self))
        return found


@dataclass(frozen=True)
class Guard:
    """What a candidate may lose against the active model, and still be promoted.

    Attributes:

        tolerance: of the active model's metric (RMSE for ratings, NDCG@10 for events), a share.
        end: which end of the 95 % interval of the loss has to keep within it: the mean, or the high end, which asks for
            proof and so for many events.
        least, most: how many of the newest events are held out; with fewer than `least` accuracy is not compared.
        share: of all events since the active model that are held out, between these two.
        people: of so many users they have to be, or accuracy is not compared; up to half of what is new is held out to
            find as many.
        coverage: by how much the share of the catalog that anybody is shown may fall, as a share of the active's.
        top_share: by how much the share that goes to the 1 % shown most may rise, in points.
        lift: by how much the popularity of what is shown may rise, as a share of the active's.
        users: so many, at most, are looked at for what they are shown.

    >>> Guard(tolerance=0.02).tolerance
    0.02
    """

    tolerance: float = 0.01
    end: End = "mean"
    least: int = 50
    most: int = 20_000
    share: float = 0.2
    people: int = 10
    coverage: float = 0.2
    top_share: float = 0.1
    lift: float = 0.25
    users: int = 2_000
    k: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ParameterError(f"guard: share must be between 0 and 1, both excluded, not {self.share!r}")
        if self.people < 1:
            raise ParameterError(f"guard: people must be from 1, not {self.people}")
        if self.least < 1 or self.most < self.least:
            raise ParameterError(f"guard: least must be from 1 to most, not {self.least} and {self.most}")
        if self.end not in ("mean", "high"):
            raise ParameterError(f"guard: end must be mean or high, not {self.end!r}")

    def cut(self, new: pl.DataFrame, seen: int) -> int:
        """Up to which change a candidate may learn, so that enough newer ones are left to measure it on.

        new: seq, user: the events that the active model has not learnt from, in their order; seen: the last change. All
        of them, where there are too few to hold out.

        >>> new = pl.DataFrame({"seq": range(1001, 2001), "user": [str(n % 300) for n in range(1000)]})
        >>> Guard(least=50, share=0.2).cut(new, 2000), Guard(least=5_000).cut(new, 2000)
        (1800, 2000)
        """
        n = len(new)
        if n < self.least:
            return seen
        wanted = min(max(round(self.share * n), self.least), self.most)
        met = new["user"].reverse().is_first_distinct().cum_sum() >= self.people
        enough = int(met.arg_max() or 0) + 1 if met.any() else n
        held = max(wanted, min(enough, n // 2, self.most))
        return int(new["seq"][n - held]) - 1

    def judge(self, candidate: Recommender, active: Recommender, material: Material, *, seed: int = 0) -> GateResult:
        """Both models as they stand at the cut, asked what came after it, and looked at for what they show.

        Neither has learnt from the events held out, as long as the active model learnt from none behind the cut. Raises
        KindError for a model that cannot fold in.
        """
        held = material.held_out
        asked = IdMap.of(held["user"].unique()) if len(held) else IdMap.of(pl.Series([], dtype=pl.String))
        reasons: list[str] = []
        notes: list[str] = []
        accuracy = self._measured(candidate, active, material, asked, seed) if len(held) >= self.least else None
        if accuracy is None or accuracy.users < self.people:
            people = len(asked) if accuracy is None else accuracy.users
            needed = f"{self.least} of {self.people} are needed"
            notes.append(f"accuracy was not compared: {len(held)} new events of {people} users, and {needed}")
            accuracy = None
        else:
            reasons += self._loses(accuracy)
        sample = self._sample(material, seed)
        shown, before = (Shown.of(exposure(_at(one, sample, material), n=self.k)) for one in (candidate, active))
        return GateResult((*reasons, *self._narrows(shown, before)), accuracy, shown, before, tuple(notes))

    def _measured(
        self, candidate: Recommender, active: Recommender, material: Material, asked: IdMap, seed: int
    ) -> Accuracy:
        both = _at(candidate, asked, material), _at(active, asked, material)
        if candidate.kind == "ratings":
            return rating_accuracy(*both, material.held_out, seed)
        return ranking_accuracy(*both, material.held_out, self.k, seed)

    def _sample(self, material: Material, seed: int) -> IdMap:
        users = material.known["user"].unique().sort()
        chosen = random_stream(seed, "guard").permutation(len(users))[: self.users]
        return IdMap.of(users.gather(np.sort(chosen)))

    def _loses(self, found: Accuracy) -> list[str]:
        allowed = self.tolerance * found.active
        loss = found.loss if self.end == "mean" else found.high
        if loss <= allowed:
            return []
        figures = f"{found.metric} {found.candidate:.4f} against {found.active:.4f}"
        on = f"on {found.events:,} events of {found.users:,} users"
        if np.isnan(loss):
            return [f"end=high needs an interval of the loss, and there is none {on}: {NO_INTERVAL}"]
        ends = f"95 % interval {found.low:.4f} to {found.high:.4f}" if np.isfinite(found.low) else "no interval"
        interval = f"loss {found.loss:.4f}, {ends}"
        return [f"it loses on the newest events: {figures} ({interval}; allowed {allowed:.4f}) {on}"]

    def _narrows(self, shown: Shown, before: Shown) -> list[str]:
        found = []
        if shown.coverage < (1 - self.coverage) * before.coverage:
            found.append(f"coverage falls from {before.coverage:.1%} to {shown.coverage:.1%} of the catalog")
        if shown.top_share > before.top_share + self.top_share:
            found.append(f"the 1 % shown most get {shown.top_share:.1%} of all places, and had {before.top_share:.1%}")
        if shown.popularity_lift > (1 + self.lift) * before.popularity_lift:
            found.append(f"popularity lift rises from {before.popularity_lift:.2f} to {shown.popularity_lift:.2f}")
        return found


def _at(recommender: Recommender, users: IdMap, material: Material) -> Recommender:
    return as_of(recommender, users, material.known, material.facts, material.seen_before)
