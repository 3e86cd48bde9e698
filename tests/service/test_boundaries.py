"""Where limits of the service begin to hold: each test fails if a limit is moved by the least step."""

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
from cofactor.recommender.recommender import Recommender
from cofactor.service import registry
from cofactor.service.answers import Query
from cofactor.service.api.auth import Buckets, KeyRing
from cofactor.service.change_feed import ChangeFeed
from cofactor.service.engine import Engine
from cofactor.service.lru import Recent
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.data import Material
from cofactor.service.training.promotion_gate import Accuracy, Guard, Shown
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import Due, Retraining
from cofactor.store import Event, Store

LOOSE = Guard(coverage=1.0, top_share=1.0, lift=100.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


# the promotion gate


def material_of(table: Interactions, held: int) -> Material:
    frame = table.frame().with_columns(pl.col("user", "item").cast(pl.String)).sample(fraction=1, shuffle=True, seed=1)
    known, held_out = frame[:-held], frame[-held:]
    train = Interactions.from_columns(
        known["user"], known["item"], known["value"], times=known["time"], kind=table.kind
    )
    columns = ["user", "item", "value", "time"]
    return Material(train, known.select(columns), held_out.select(columns), len(known), len(frame))


@pytest.fixture(scope="module")
def worse_by_rmse(small_ratings: Interactions) -> tuple[Recommender, Recommender, Material]:
    material = material_of(small_ratings, 400)
    worse, better = (Recommender.fit(one, material.train) for one in (cofactor.Bias(), cofactor.ExplicitALS(factors=4)))
    return worse, better, material


@pytest.fixture(scope="module")
def worse_by_ndcg(small_events: Interactions) -> tuple[Recommender, Recommender, Material]:
    material = material_of(small_events, 300)
    worse, better = (
        Recommender.fit(one, material.train) for one in (cofactor.Popularity(), cofactor.ImplicitALS(factors=4))
    )
    return worse, better, material


def accuracy_of(case: tuple[Recommender, Recommender, Material]) -> Accuracy:
    found = replace(LOOSE, tolerance=0.0).judge(*case).accuracy
    assert found is not None
    assert found.loss > 0
    return found


@pytest.mark.parametrize("case", ["worse_by_rmse", "worse_by_ndcg"])
@pytest.mark.parametrize("end", ["mean", "high"])
def test_the_tolerance_is_a_share_of_the_active_models_metric(
    case: str, end: Any, request: pytest.FixtureRequest
) -> None:
    """The candidate's metric is another by more than the step that is tried here."""
    candidate, active, material = request.getfixturevalue(case)
    found = accuracy_of((candidate, active, material))
    loss = found.loss if end == "mean" else found.high
    share = loss / found.active
    assert abs(found.candidate / found.active - 1) > 1e-4
    for step, holds in ((1 - 1e-6, True), (1 + 1e-6, False)):
        verdict = replace(LOOSE, end=end, tolerance=share * step).judge(candidate, active, material)
        assert [reason.startswith("it loses on the newest events") for reason in verdict.reasons] == [True] * holds
    assert f"allowed {share * found.active:.4f}" in "".join(
        replace(LOOSE, end=end, tolerance=share * (1 - 1e-6)).judge(candidate, active, material).reasons
    )


def test_a_loss_of_nothing_is_within_a_tolerance_of_nothing(
    worse_by_rmse: tuple[Recommender, Recommender, Material],
) -> None:
    one, _, material = worse_by_rmse
    verdict = Guard(tolerance=0.0, coverage=0.0, top_share=0.0, lift=0.0).judge(one, one, material)
    assert verdict.accuracy is not None
    assert verdict.accuracy.loss == 0.0
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("limits", "at", "beyond"),
    [
        ({"coverage": 0.5}, {"coverage": 0.25}, {"coverage": nextafter(0.25, -inf)}),
        ({"top_share": 0.25}, {"top_share": 0.5}, {"top_share": nextafter(0.5, inf)}),
        ({"lift": 0.25}, {"popularity_lift": 1.25}, {"popularity_lift": nextafter(1.25, inf)}),
    ],
)
def test_what_is_shown_may_move_up_to_its_limit(
    limits: dict[str, Any], at: dict[str, float], beyond: dict[str, float]
) -> None:
    before = Shown(coverage=0.5, gini=0.5, top_share=0.25, popularity_lift=1.0)
    guard = replace(LOOSE, **limits)
    assert guard._narrows(replace(before, **at), before) == []
    assert len(guard._narrows(replace(before, **beyond), before)) == 1


def test_accuracy_is_compared_from_the_least_events_and_users_on(
    worse_by_rmse: tuple[Recommender, Recommender, Material],
) -> None:
    one, _, material = worse_by_rmse
    users = material.held_out["user"].n_unique()
    for least, people, is_compared in ((400, users, True), (401, users, False), (400, users + 1, False)):
        guard = replace(LOOSE, least=least, people=people)
        assert (guard.judge(one, one, material).accuracy is not None) == is_compared


def test_events_are_held_out_from_the_least_number_on() -> None:
    new = pl.DataFrame({"seq": range(101, 1_101), "user": [str(n) for n in range(1_000)]})
    guard = Guard(least=50, most=100, share=0.2, people=10)
    assert [guard.cut(new[:n], 100 + n) for n in (49, 50, 51)] == [149, 100, 101]
    assert [guard.cut(new[:n], 100 + n) for n in (499, 500, 510)] == [499, 500, 510]
    for limits in ({"share": 1.0}, {"share": 0.0}, {"people": 0}, {"least": 0}, {"least": 2, "most": 1}):
        with pytest.raises(ParameterError):
            replace(guard, **limits)
    for limits in ({"share": 0.999}, {"people": 1}, {"least": 1}, {"least": 100, "most": 100}):
        replace(guard, **limits)


# changes since a model


def three(store: Store) -> None:
    store.events.append([Event(user, "alien", 5) for user in ("ana", "bo", "cy")])


def test_changes_drop_what_came_up_to_a_number_and_nothing_after(store: Store) -> None:
    three(store)
    for seq, left in ((0, [1, 2, 3]), (1, [0, 2, 3]), (2, [0, 0, 3]), (3, [0, 0, 0])):
        changes = ChangeFeed(store, since=0)
        changes.drop(seq)
        assert [changes.of(user) for user in ("ana", "bo", "cy")] == left


def test_changes_cover_what_came_after_a_number(store: Store) -> None:
    three(store)
    for seq, known in ((3, [0, 0, 0]), (2, [0, 0, 3]), (1, [0, 2, 3]), (0, [1, 2, 3])):
        changes = ChangeFeed(store, since=3)
        changes.cover(seq)
        assert [changes.of(user) for user in ("ana", "bo", "cy")] == known
        changes.drop(seq)
        assert [changes.of(user) for user in ("ana", "bo", "cy")] == known


def test_changes_that_were_dropped_are_covered_again_step_by_step(store: Store) -> None:
    three(store)
    changes = ChangeFeed(store, since=0)
    changes.drop(3)
    for seq, known in ((3, [0, 0, 0]), (2, [0, 0, 3]), (1, [0, 2, 3]), (0, [1, 2, 3])):
        changes.cover(seq)
        assert [changes.of(user) for user in ("ana", "bo", "cy")] == known


def test_changes_begin_after_their_number(store: Store) -> None:
    three(store)
    assert [ChangeFeed(store, since=2).of(user) for user in ("ana", "bo", "cy")] == [0, 0, 3]
    changes = ChangeFeed(store, since=3)
    store.events.append([Event("bo", "clue", 1)])
    changes.catch_up()
    assert [changes.of(user) for user in ("ana", "bo", "cy")] == [0, 4, 0]


def test_a_user_is_forgotten_after_what_came_before(store: Store) -> None:
    three(store)
    stone = store.forgotten.forget("bo")
    changes = ChangeFeed(store, since=0)
    assert changes.forgotten_after("bo", stone.seq - 1)
    assert not changes.forgotten_after("bo", stone.seq)
    assert not changes.forgotten_after("ana", 0)
    assert changes.of("bo") == stone.seq
    assert changes.events_of("bo") == 0
    store.events.append([Event("bo", "clue", 1)])
    changes.catch_up()
    assert changes.events_of("bo") == changes.of("bo") == stone.seq + 1


def test_a_model_knows_events_up_to_its_watermark(store: Store, tmp_path: Path) -> None:
    rows = [(user, item) for user in ("ana", "bo", "cy") for item in ("alien", "brazil", "clue") if user[0] != item[0]]
    table = Interactions.from_columns(*zip(*rows, strict=True), [5, 4, 3, 2, 1, 5, 4][: len(rows)])  # type: ignore[arg-type]
    artifacts = ArtifactRegistry(tmp_path / "artifacts")
    registry.publish_first(store, artifacts, table, TrainingSpec(cofactor.ExplicitALS(factors=1)))
    rec = artifacts.open(str(store.models.get(1).file), verify=False)
    mark = store.events.append([Event("ana", "dune", 5)])[0].seq
    for watermark, by in ((mark, "model"), (mark - 1, "fold-in")):
        added = registry.add(store, artifacts, rec, watermark=watermark)
        registry.promote(store, artifacts, added.version)
        engine = Engine(store, artifacts)
        assert engine.recommend("ana", Query()).by == by
        assert engine.knows_user("ana") == (True, by == "fold-in")


# memories of a worker


def test_the_least_recently_used_value_goes_first() -> None:
    recent: Recent[int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert (len(recent), recent.get("a"), recent.get("b")) == (2, 1, 2)
    recent.put("a", 3)  # used again, so that b is the oldest
    recent.put("c", 4)
    assert (len(recent), recent.get("a"), recent.get("b"), recent.get("c")) == (2, 3, None, 4)
    assert recent.get("a") == 3  # and so is c now
    recent.put("d", 5)
    assert (recent.get("c"), recent.get("a"), recent.get("d")) == (None, 3, 5)
    recent.clear()
    assert (len(recent), recent.get("a")) == (0, None)
    single: Recent[int] = Recent(1)
    single.put("a", 1)
    assert single.get("a") == 1
    single.put("b", 2)
    assert (single.get("a"), single.get("b")) == (None, 2)


@pytest.mark.parametrize(("rate", "at_once"), [(2.0, 4), (1.0, 2), (0.25, 1)])
def test_a_key_may_ask_again_once_its_bucket_holds_a_whole_request(rate: float, at_once: int) -> None:
    buckets = Buckets(rate)
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
    ring, text = KeyRing(store, seconds=2.0), store.keys.create("read", "the site")
    ring.look_up(text)
    for now, is_known in ((100.0, True), (nextafter(102.0, -inf), True), (102.0, False)):
        clock[0] = now
        assert (ring.cached(text) is not None) == is_known
    never = KeyRing(store, seconds=0.0)
    never.look_up(text)
    assert never.cached(text) is None


# when to train


@pytest.mark.parametrize(
    ("due", "found", "because"),
    [
        (Due(10, 60.0), {"changes": 9, "seconds": 59.9}, None),
        (Due(10, 60.0), {"changes": 10, "seconds": 0.0}, "10 changes"),
        (Due(10, 60.0), {"changes": 1, "seconds": 60.0}, "60 s"),
        (Due(10, 60.0), {"changes": 1, "seconds": nextafter(60.0, 0)}, None),
        (Due(10, 60.0), {"changes": 0, "seconds": 1e9}, None),
        (Due(None, 60.0), {"changes": 10**9, "seconds": 59.0}, None),
        (Due(10, None), {"changes": 9, "seconds": 1e9}, None),
        (Due(None, None), {"changes": 10**9, "seconds": 1e9}, None),
        (Due(None, None), {"changes": 0, "seconds": 0.0, "forgotten": 1}, "1 users were forgotten"),
        (Due(1, 60.0), {"changes": 1, "seconds": 0.0}, "1 changes"),
    ],
)
def test_a_training_is_due_from_its_limits_on(due: Due, found: dict[str, Any], because: str | None) -> None:
    told = due.because(**{"forgotten": 0, **found})
    assert (told is None) if because is None else (told is not None and because in told)


def test_limits_of_when_to_train_are_checked() -> None:
    for events, seconds in ((0, 60.0), (-1, 60.0), (10, 0.0), (10, -1.0), (10, float("nan"))):
        with pytest.raises(ParameterError):
            Due(events, seconds)
    assert Due(1, 1e-9).because(changes=1, seconds=0.0, forgotten=0) is not None


@pytest.fixture
def retraining(store: Store, tmp_path: Path) -> Callable[[Due], Retraining]:
    trainer = Trainer(store, ArtifactRegistry(tmp_path / "artifacts"), recipe=TrainingSpec(cofactor.Bias()))
    return lambda due: Retraining(trainer, due)


def test_a_worker_counts_the_changes_since_the_last_training(
    store: Store, retraining: Callable[[Due], Retraining]
) -> None:
    three(store)
    assert retraining(Due(4, None)).ask() is None
    worker = retraining(Due(3, None))
    assert worker.ask() is not None
    assert worker.ask() is None  # it waits already
    worker.work()
    assert store.models.get(1).status == "active"
    store.events.append([Event("ana", "dune", 5), Event("bo", "dune", 5)])
    assert worker.ask() is None
    store.events.append([Event("cy", "dune", 5)])
    assert worker.ask() is not None


@pytest.mark.parametrize(("seconds", "wait"), [(50.0, 50), (600.0, 600), (3_600.0, 600), (None, 600)])
@pytest.mark.parametrize("later", ["at once", "just before", "then", "with a clock set back"])
def test_a_failed_training_is_tried_again_after_a_while(
    store: Store,
    retraining: Callable[[Due], Retraining],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float | None,
    wait: int,
    later: str,
) -> None:
    three(store)
    worker = retraining(Due(1, seconds))
    store.jobs.enqueue("train", {"estimator": "no such"})
    job = worker.work()
    assert job is not None
    assert job.state == "failed"
    assert job.finished is not None
    now = job.finished + {"at once": 0, "just before": wait - 1, "then": wait, "with a clock set back": -1}[later]
    monkeypatch.setattr("cofactor.service.training.worker.time.time", lambda: now)
    assert (worker.ask() is not None) == (later in ("then", "with a clock set back"))


def test_a_job_is_taken_from_a_worker_that_was_silent_for_longer_than_its_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
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
