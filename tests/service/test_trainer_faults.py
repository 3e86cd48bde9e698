"""Faults of training workers: kills, concurrent workers, a full disk, damaged files, clock changes."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cofactor.errors import ArtifactError, StoreUnavailableError
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings, store_url
from cofactor.service.training.promotion_gate import PromotionGate
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import RetrainPolicy, Worker, run_queued_jobs
from cofactor.store import Event, Store

pytestmark = pytest.mark.long

LOOSE = PromotionGate(coverage=0.99, top_share=1.0, lift=99.0)
SLOW = {"estimator": {"estimator": "explicit-als", "factors": 8, "epochs": 500}}
QUICK = {"estimator": {"estimator": "explicit-als", "factors": 2, "epochs": 3}}
RUN = """
import sys
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.worker import run_worker
settings = ServiceSettings.of({"data": sys.argv[1], "train_after": 10**9, "train_every": 1e9})
run_worker(settings, stale_after=float(sys.argv[2]))
"""
RUN_QUEUED = """
import sys, time

from cofactor.service.settings import ServiceSettings
from cofactor.service.training.worker import run_queued_jobs
while time.time() < float(sys.argv[2]):
    time.sleep(0.001)
print(len(run_queued_jobs(ServiceSettings.of({"data": sys.argv[1]}))))
"""


def table(n: int = 4000) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    user, item = rng.integers(0, 150, n), rng.integers(0, 80, n)
    value = np.clip(np.round(3.3 + np.where(user % 2 == item % 2, 1, -1) + rng.normal(0, 0.7, n)), 1, 5)
    return pl.DataFrame({"user": user, "item": item, "value": value}).unique(["user", "item"], maintain_order=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with Store.open(store_url(tmp_path)) as store:
        store.events.load(table(), kind="ratings")
    return tmp_path


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    with Store.open(store_url(data)) as opened:
        yield opened


@pytest.fixture
def trainer(store: Store, data: Path) -> Trainer:
    return Trainer(store, ArtifactRegistry(data / "artifacts"), gate=LOOSE)


def until(what: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


def begun(data: Path, stale: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(data), str(stale)], stderr=subprocess.DEVNULL)


def test_the_job_of_a_killed_worker_is_retried(data: Path, store: Store, trainer: Trainer) -> None:
    active = trainer.train(QUICK)
    job = store.jobs.enqueue("train", SLOW)
    first = begun(data, 60)
    until(lambda: store.jobs.get(job.id).message.startswith("epoch"))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert store.jobs.get(job.id).state == "running"
    assert store.models.active() == active
    second = Worker(trainer, stale_after=0.5, heartbeat_interval=0.1)
    assert second.run_next() is None  # it may still be alive
    time.sleep(0.6)
    done = second.run_next()
    assert done is not None
    assert (done.id, done.state, done.attempts) == (job.id, "done", 2)
    names = {str(model.file) for model in store.models.all() if model.file}
    assert {f"{name}.cofactor" for name in trainer.artifacts.versions()} == names


def test_a_job_fails_after_three_killed_workers(data: Path, store: Store, trainer: Trainer) -> None:
    job = store.jobs.enqueue("train", SLOW)
    for _ in range(3):
        process = begun(data, 0.4)
        attempts = store.jobs.get(job.id).attempts
        until(lambda n=attempts: store.jobs.get(job.id).attempts > n)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
    assert Worker(trainer, stale_after=0.4).run_next() is None
    failed = store.jobs.get(job.id)
    assert (failed.state, failed.attempts) == ("failed", 3)
    assert "no heartbeat" in failed.message
    store.jobs.enqueue("train", QUICK)
    done = Worker(trainer).run_next()
    assert done is not None
    assert done.state == "done"


def test_a_worker_stops_soon_after_sigterm(data: Path, store: Store) -> None:
    job = store.jobs.enqueue("train", SLOW)
    process = begun(data, 60)
    until(lambda: store.jobs.get(job.id).message.startswith("epoch"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert store.models.all() == []


def test_each_job_runs_in_one_of_two_workers(data: Path, store: Store) -> None:
    for _ in range(6):
        store.jobs.enqueue("train", QUICK)
    start = str(time.time() + 3)
    command = [sys.executable, "-c", RUN_QUEUED, str(data), start]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(process.communicate(timeout=100)[0]) for process in both]
    assert sum(counts) == 6
    jobs = store.jobs.newest()
    assert {(job.state, job.attempts) for job in jobs} == {("done", 1)}
    statuses = [model.status for model in store.models.all()]
    assert len(statuses) == 6
    assert statuses.count("active") == 1
    artifacts = ArtifactRegistry(data / "artifacts")
    active = store.models.active()
    assert active is not None
    artifacts.check(str(active.file), active.sha256)
    assert {str(m.file) for m in store.models.all() if m.file} == {f"{v}.cofactor" for v in artifacts.versions()}


def test_a_worker_that_lost_its_job_promotes_no_model(store: Store, trainer: Trainer) -> None:
    """A worker without heartbeats gets an error at its next progress report."""
    store.jobs.enqueue("train", QUICK)
    sleepy, other = Worker(trainer, heartbeat_interval=60), Worker(trainer, stale_after=0.05)
    real = trainer.artifacts.publish

    def publish(*arguments: object) -> object:
        time.sleep(0.1)
        assert store.jobs.claim(other.owner, ["train"], stale_after=0.05) is not None
        return real(*arguments)  # type: ignore[arg-type]

    trainer.artifacts.publish = publish  # type: ignore[method-assign,assignment]
    done = sleepy.run_next()
    assert done is not None
    assert (done.state, done.owner) == ("running", other.owner)
    assert store.models.active() is None


def test_a_full_disk_leaves_no_file_and_the_active_model(store: Store, trainer: Trainer) -> None:
    active = trainer.train(QUICK)
    before = sorted(path.name for path in trainer.artifacts.folder.iterdir())
    size = trainer.artifacts.path(str(active.file)).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    real = trainer.artifacts.publish

    def publish(*arguments: object) -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
        try:
            return real(*arguments)  # type: ignore[arg-type]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    trainer.artifacts.publish = publish  # type: ignore[method-assign,assignment]
    store.jobs.enqueue("train", QUICK)
    try:
        done = Worker(trainer).run_next()
    finally:
        signal.signal(signal.SIGXFSZ, heard)
    assert done is not None
    assert done.state == "failed"
    assert "cannot be written" in done.message
    assert sorted(path.name for path in trainer.artifacts.folder.iterdir()) == before
    assert store.models.active() == active
    trainer.artifacts.publish = real  # type: ignore[method-assign]
    assert trainer.train(QUICK).status == "active"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "newer", "gone"])
def test_a_damaged_candidate_is_never_promoted(store: Store, trainer: Trainer, damage: str) -> None:
    active = trainer.train(QUICK)
    real = trainer.artifacts.publish

    def publish(*arguments: object) -> object:
        path, checksum = real(*arguments)  # type: ignore[arg-type]
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "newer":
            path.write_bytes(content.replace(b'\\"format_version\\": 1', b'\\"format_version\\": 9'))
        else:
            path.write_bytes(
                content[:-9] if damage == "truncated" else content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
            )
        return path, checksum

    trainer.artifacts.publish = publish  # type: ignore[method-assign,assignment]
    with pytest.raises(ArtifactError):
        trainer.train(QUICK)
    assert store.models.all() == [active]
    assert trainer.artifacts.versions() == [str(active.file).removesuffix(".cofactor")]


def test_the_clock_can_be_set_back(store: Store, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = trainer.train(QUICK)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 7_200.0)
    store.events.append([Event(user, 7, 5) for user in range(100, 120)])
    worker = Worker(trainer, policy=RetrainPolicy(changes=20, seconds=None))
    assert worker.schedule() is not None
    done = worker.run_next()
    assert done is not None
    assert done.state == "done", done.message
    assert store.models.get(2).watermark > first.watermark
    soon = Worker(trainer, policy=RetrainPolicy(changes=None, seconds=0.01))
    store.events.append([Event(1, 8, 5)])
    soon.schedule()
    time.sleep(0.02)
    assert soon.schedule() is not None


def test_an_unavailable_database_does_not_fail_a_job(store: Store, trainer: Trainer) -> None:
    job = store.jobs.enqueue("train", QUICK)
    real = trainer.store.events.watermark

    def unavailable() -> int:
        raise StoreUnavailableError("the database does not answer", "no")

    trainer.store.events.watermark = unavailable  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        Worker(trainer).run_next()
    assert store.jobs.get(job.id).state == "running"
    trainer.store.events.watermark = real  # type: ignore[method-assign]
    time.sleep(0.1)
    done = Worker(trainer, stale_after=0.05, heartbeat_interval=0.01).run_next()
    assert done is not None
    assert (done.state, done.attempts) == ("done", 2)


def test_queued_jobs_are_run(data: Path, store: Store) -> None:
    store.jobs.enqueue("train", QUICK)
    assert [job.state for job in run_queued_jobs(ServiceSettings.of({"data": str(data)}))] == ["done"]
    assert run_queued_jobs(ServiceSettings.of({"data": str(data)})) == []
