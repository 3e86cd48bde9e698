"""Limits of the service: each test fails if a limit is changed by the smallest step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, nextafter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.metrics import intervals
from cofactor.recommender.recommender import Recommender
from cofactor.results import Query
from cofactor.service import registry
from cofactor.service.api.auth import KeyCache, TokenBuckets
from cofactor.service.bootstrap import import_table
from cofactor.service.change_feed import ChangeFeed
from cofactor.service.engine import Engine
from cofactor.service.lru import LRUCache
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.data import TrainingData
from cofactor.service.training.promotion_gate import AccuracyComparison, ListStatistics, PromotionGate
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import RetrainPolicy, Worker
from cofactor.store import Event, Store

LOOSE = PromotionGate(coverage=1.0, top_share=1.0, lift=100.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


# the promotion gate


def data_of(table: Interactions, held: int) -> TrainingData:
    frame = table.frame().with_columns(pl.col("user", "item").cast(pl.String)).sample(fraction=1, shuffle=True, seed=1)
    earlier, held_out = frame[:-held], frame[-held:]
    train = Interactions.from_columns(
        earlier["user"], earlier["item"], earlier["value"], times=earlier["time"], kind=table.kind
    )
    columns = ["user", "item", "value", "time"]
    return TrainingData(train, earlier.select(columns), held_out.select(columns), len(earlier), len(frame))


@pytest.fixture(scope="module")
def worse_by_rmse(small_ratings: Interactions) -> tuple[Recommender, Recommender, TrainingData]:
    data = data_of(small_ratings, 400)
    worse, better = (
        Recommender.fit(estimator, data.train) for estimator in (cofactor.Bias(), cofactor.ExplicitALS(factors=4))
    )
    return worse, better, data


@pytest.fixture(scope="module")
def worse_by_ndcg(small_events: Interactions) -> tuple[Recommender, Recommender, TrainingData]:
    data = data_of(small_events, 300)
    worse, better = (
        Recommender.fit(estimator, data.train) for estimator in (cofactor.Popularity(), cofactor.ImplicitALS(factors=4))
    )
    return worse, better, data


def accuracy_of(case: tuple[Recommender, Recommender, TrainingData]) -> AccuracyComparison:
    accuracy = replace(LOOSE, tolerance=0.0).evaluate(*case).accuracy
    assert accuracy is not None
    assert accuracy.loss > 0
    return accuracy


@pytest.mark.parametrize("case", ["worse_by_rmse", "worse_by_ndcg"])
@pytest.mark.parametrize("criterion", ["mean", "upper"])
def test_the_tolerance_is_a_share_of_the_active_models_metric(
    case: str, criterion: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metric of the candidate differs by more than the step of this test."""
    monkeypatch.setattr(intervals, "MIN_USERS", 20)
    candidate, active, data = request.getfixturevalue(case)
    accuracy = accuracy_of((candidate, active, data))
    loss = accuracy.loss if criterion == "mean" else accuracy.high
    share = loss / accuracy.active
    assert abs(accuracy.candidate / accuracy.active - 1) > 1e-4
    for step, holds in ((1 - 1e-6, True), (1 + 1e-6, False)):
        result = replace(LOOSE, criterion=criterion, tolerance=share * step).evaluate(candidate, active, data)
        assert [reason.startswith("accuracy on the newest events is worse") for reason in result.reasons] == [
            True
        ] * holds
    assert f"allowed {share * accuracy.active:.4f}" in "".join(
        replace(LOOSE, criterion=criterion, tolerance=share * (1 - 1e-6)).evaluate(candidate, active, data).reasons
    )


def test_a_loss_of_zero_is_within_a_tolerance_of_zero(
    worse_by_rmse: tuple[Recommender, Recommender, TrainingData],
) -> None:
    rec, _, data = worse_by_rmse
    result = PromotionGate(tolerance=0.0, coverage=0.0, top_share=0.0, lift=0.0).evaluate(rec, rec, data)
    assert result.accuracy is not None
    assert result.accuracy.loss == 0.0
    assert result.reasons == ()


@pytest.mark.parametrize(
    ("limits", "at", "beyond"),
    [
        ({"coverage": 0.5}, {"coverage": 0.25}, {"coverage": nextafter(0.25, -inf)}),
        ({"top_share": 0.25}, {"top_share": 0.5}, {"top_share": nextafter(0.5, inf)}),
        ({"lift": 0.25}, {"popularity_lift": 1.25}, {"popularity_lift": nextafter(1.25, inf)}),
    ],
)
def test_list_statistics_may_change_up_to_their_limits(
    limits: dict[str, Any], at: dict[str, float], beyond: dict[str, float]
) -> None:
    before = ListStatistics(coverage=0.5, gini=0.5, top_share=0.25, popularity_lift=1.0)
    gate = replace(LOOSE, **limits)
    assert gate._exposure_reasons(replace(before, **at), before) == []
    assert len(gate._exposure_reasons(replace(before, **beyond), before)) == 1


def test_accuracy_is_compared_from_the_minimum_of_events_and_users_on(
    worse_by_rmse: tuple[Recommender, Recommender, TrainingData],
) -> None:
    rec, _, data = worse_by_rmse
    users = data.held_out["user"].n_unique()
    for least_events, least_users, is_compared in ((400, users, True), (401, users, False), (400, users + 1, False)):
        gate = replace(LOOSE, min_events=least_events, min_users=least_users)
        assert (gate.evaluate(rec, rec, data).accuracy is not None) == is_compared


def test_events_are_held_out_from_the_minimum_on() -> None:
    new = pl.DataFrame({"seq": range(101, 1_101), "user": [str(n) for n in range(1_000)]})
    gate = PromotionGate(min_events=50, max_events=100, share=0.2, min_users=10)
    assert [gate.cutoff(new[:n], 100 + n) for n in (49, 50, 51)] == [149, 100, 101]
    assert [gate.cutoff(new[:n], 100 + n) for n in (499, 500, 510)] == [499, 500, 510]
    for limits in (
        {"share": 1.0},
        {"share": 0.0},
        {"min_users": 0},
        {"min_events": 0},
        {"min_events": 2, "max_events": 1},
    ):
        with pytest.raises(ParameterError):
            replace(gate, **limits)
    for limits in ({"share": 0.999}, {"min_users": 1}, {"min_events": 1}, {"min_events": 100, "max_events": 100}):
        replace(gate, **limits)


# changes since a model


def three(store: Store) -> None:
    store.events.append([Event(user, "alien", 5) for user in ("ana", "bo", "cy")])


def test_discard_until_keeps_later_events(store: Store) -> None:
    three(store)
    for seq, left in ((0, [1, 2, 3]), (1, [0, 2, 3]), (2, [0, 0, 3]), (3, [0, 0, 0])):
        changes = ChangeFeed(store, since=0)
        changes.discard_until(seq)
        assert [changes.last_change(user) for user in ("ana", "bo", "cy")] == left


def test_extend_back_to_reads_later_events(store: Store) -> None:
    three(store)
    for seq, expected in ((3, [0, 0, 0]), (2, [0, 0, 3]), (1, [0, 2, 3]), (0, [1, 2, 3])):
        changes = ChangeFeed(store, since=3)
        changes.extend_back_to(seq)
        assert [changes.last_change(user) for user in ("ana", "bo", "cy")] == expected
        changes.discard_until(seq)
        assert [changes.last_change(user) for user in ("ana", "bo", "cy")] == expected


def test_discarded_events_are_read_again_step_by_step(store: Store) -> None:
    three(store)
    changes = ChangeFeed(store, since=0)
    changes.discard_until(3)
    for seq, expected in ((3, [0, 0, 0]), (2, [0, 0, 3]), (1, [0, 2, 3]), (0, [1, 2, 3])):
        changes.extend_back_to(seq)
        assert [changes.last_change(user) for user in ("ana", "bo", "cy")] == expected


def test_a_change_feed_starts_after_its_number(store: Store) -> None:
    three(store)
    assert [ChangeFeed(store, since=2).last_change(user) for user in ("ana", "bo", "cy")] == [0, 0, 3]
    changes = ChangeFeed(store, since=3)
    store.events.append([Event("bo", "clue", 1)])
    changes.catch_up()
    assert [changes.last_change(user) for user in ("ana", "bo", "cy")] == [0, 4, 0]


def test_a_user_is_erased_after_earlier_changes(store: Store) -> None:
    three(store)
    tombstone = store.erasure.erase("bo")
    changes = ChangeFeed(store, since=0)
    assert changes.erased_after("bo", tombstone.seq - 1)
    assert not changes.erased_after("bo", tombstone.seq)
    assert not changes.erased_after("ana", 0)
    assert changes.last_change("bo") == tombstone.seq
    assert changes.last_event("bo") == 0
    store.events.append([Event("bo", "clue", 1)])
    changes.catch_up()
    assert changes.last_event("bo") == changes.last_change("bo") == tombstone.seq + 1


def test_a_model_includes_events_up_to_its_watermark(store: Store, tmp_path: Path) -> None:
    rows = [(user, item) for user in ("ana", "bo", "cy") for item in ("alien", "brazil", "clue") if user[0] != item[0]]
    table = Interactions.from_columns(*zip(*rows, strict=True), [5, 4, 3, 2, 1, 5, 4][: len(rows)])  # type: ignore[arg-type]
    artifacts = ArtifactRegistry(tmp_path / "artifacts")
    import_table(store, table)
    Trainer(store, artifacts, spec=TrainingSpec(cofactor.ExplicitALS(factors=1))).train()
    rec = artifacts.open(str(store.models.get(1).file), verify=False)
    mark = store.events.append([Event("ana", "dune", 5)])[0].seq
    for watermark, by in ((mark, "model"), (mark - 1, "fold-in")):
        added = registry.add_candidate(store, artifacts, rec, watermark=watermark)
        registry.promote(store, artifacts, added.version)
        engine = Engine(store, artifacts)
        assert engine.recommend("ana", Query()).answered_by == by
        assert engine.knows_user("ana") == (True, by == "fold-in")


# memories of a worker


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    recent: LRUCache[int] = LRUCache(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert (len(recent), recent.get("a"), recent.get("b")) == (2, 1, 2)
    recent.put("a", 3)  # used again, so that b is the oldest
    recent.put("c", 4)
    assert (len(recent), recent.get("a"), recent.get("b"), recent.get("c")) == (2, 3, None, 4)
    assert recent.get("a") == 3  # c was used too
    recent.put("d", 5)
    assert (recent.get("c"), recent.get("a"), recent.get("d")) == (None, 3, 5)
    recent.clear()
    assert (len(recent), recent.get("a")) == (0, None)
    single: LRUCache[int] = LRUCache(1)
    single.put("a", 1)
    assert single.get("a") == 1
    single.put("b", 2)
    assert (single.get("a"), single.get("b")) == (None, 2)


@pytest.mark.parametrize(("rate", "at_once"), [(2.0, 4), (1.0, 2), (0.25, 1)])
def test_a_key_is_accepted_again_once_its_bucket_holds_a_request(rate: float, at_once: int) -> None:
    buckets = TokenBuckets(rate)
    waits = [buckets.take("key", now=100.0) for _ in range(at_once + 1)]
    assert waits == [0.0] * at_once + [1 / rate]
    assert buckets.take("other", now=100.0) == 0.0
    assert buckets.take("key", now=100.0 + 1 / rate - 1 / 64) > 0
    assert buckets.take("key", now=100.0 + 1 / rate) == 0.0
    assert buckets.take("key", now=100.0 + 1 / rate) == 1 / rate
    full = [buckets.take("key", now=1_000.0) for _ in range(at_once + 1)]  # it never holds more than at first
    assert full == [0.0] * at_once + [1 / rate]


def test_a_checked_key_is_trusted_for_its_seconds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("cofactor.service.api.auth.time.monotonic", lambda: clock[0])
    ring, text = KeyCache(store, seconds=2.0), store.keys.create("read", "the site")
    ring.look_up(text)
    for now, is_known in ((100.0, True), (nextafter(102.0, -inf), True), (102.0, False)):
        clock[0] = now
        assert (ring.cached(text) is not None) == is_known
    never = KeyCache(store, seconds=0.0)
    never.look_up(text)
    assert never.cached(text) is None


# when to train


@pytest.mark.parametrize(
    ("policy", "values", "reason"),
    [
        (RetrainPolicy(10, 60.0), {"changes": 9, "seconds": 59.9}, None),
        (RetrainPolicy(10, 60.0), {"changes": 10, "seconds": 0.0}, "10 changes"),
        (RetrainPolicy(10, 60.0), {"changes": 1, "seconds": 60.0}, "60 s"),
        (RetrainPolicy(10, 60.0), {"changes": 1, "seconds": nextafter(60.0, 0)}, None),
        (RetrainPolicy(10, 60.0), {"changes": 0, "seconds": 1e9}, None),
        (RetrainPolicy(None, 60.0), {"changes": 10**9, "seconds": 59.0}, None),
        (RetrainPolicy(10, None), {"changes": 9, "seconds": 1e9}, None),
        (RetrainPolicy(None, None), {"changes": 10**9, "seconds": 1e9}, None),
        (
            RetrainPolicy(None, None),
            {"changes": 0, "seconds": 0.0, "erased": 1},
            "users erased since the last training run: 1",
        ),
        (RetrainPolicy(1, 60.0), {"changes": 1, "seconds": 0.0}, "1 changes"),
    ],
)
def test_a_training_is_due_from_the_limits_on(
    policy: RetrainPolicy, values: dict[str, Any], reason: str | None
) -> None:
    actual = policy.reason(**{"erased": 0, **values})
    assert (actual is None) if reason is None else (actual is not None and reason in actual)


def test_invalid_retrain_policies_are_rejected() -> None:
    for events, seconds in ((0, 60.0), (-1, 60.0), (10, 0.0), (10, -1.0), (10, float("nan"))):
        with pytest.raises(ParameterError):
            RetrainPolicy(events, seconds)
    assert RetrainPolicy(1, 1e-9).reason(changes=1, seconds=0.0, erased=0) is not None


@pytest.fixture
def worker_with(store: Store, tmp_path: Path) -> Callable[[RetrainPolicy], Worker]:
    trainer = Trainer(store, ArtifactRegistry(tmp_path / "artifacts"), spec=TrainingSpec(cofactor.Bias()))
    return lambda policy: Worker(trainer, policy)


def test_a_worker_counts_the_changes_since_the_last_training(
    store: Store, worker_with: Callable[[RetrainPolicy], Worker]
) -> None:
    three(store)
    assert worker_with(RetrainPolicy(4, None)).schedule() is None
    worker = worker_with(RetrainPolicy(3, None))
    assert worker.schedule() is not None
    assert worker.schedule() is None  # it waits already
    worker.run_next()
    assert store.models.get(1).status == "active"
    store.events.append([Event("ana", "dune", 5), Event("bo", "dune", 5)])
    assert worker.schedule() is None
    store.events.append([Event("cy", "dune", 5)])
    assert worker.schedule() is not None


@pytest.mark.parametrize(("seconds", "wait"), [(50.0, 50), (600.0, 600), (3_600.0, 600), (None, 600)])
@pytest.mark.parametrize("later", ["at once", "just before", "then", "with a clock set back"])
def test_a_failed_training_is_retried_after_a_delay(
    store: Store,
    worker_with: Callable[[RetrainPolicy], Worker],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float | None,
    wait: int,
    later: str,
) -> None:
    three(store)
    worker = worker_with(RetrainPolicy(1, seconds))
    store.jobs.enqueue("train", {"estimator": "no such"})
    job = worker.run_next()
    assert job is not None
    assert job.state == "failed"
    assert job.finished is not None
    now = job.finished + {"at once": 0, "just before": wait - 1, "then": wait, "with a clock set back": -1}[later]
    monkeypatch.setattr("cofactor.service.training.worker.time.time", lambda: now)
    assert (worker.schedule() is not None) == (later in ("then", "with a clock set back"))


def test_a_job_is_requeued_after_the_time_without_heartbeats(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000.0]
    monkeypatch.setattr("cofactor.store.jobs.time.monotonic", lambda: clock[0])
    store.jobs.enqueue("train")
    assert store.jobs.claim("one", stale_after=60.0) is not None
    clock[0] = 1_060.0
    assert store.jobs.claim("another", stale_after=60.0) is None
    clock[0] = 1_060.5
    taken = store.jobs.claim("another", stale_after=60.0)
    assert taken is not None
    assert (taken.owner, taken.attempts) == ("another", 2)
    clock[0] = 1_121.0
    last = store.jobs.claim("third", stale_after=60.0)
    assert last is not None
    assert last.attempts == 3
    clock[0] = 1_182.0
    assert store.jobs.claim("fourth", stale_after=60.0) is None
    assert store.jobs.get(last.id).state == "failed"
