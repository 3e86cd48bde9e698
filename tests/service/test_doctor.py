"""Checks of the doctor and their messages."""

from __future__ import annotations

import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from cofactor.service.doctor import CheckResult, check_service, worst_state
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import store_url
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Store

Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder of a service with two models."""
    with Store.open(store_url(tmp_path)) as store:
        store.events.append([Event(user, item, 1 + (user + item) % 5) for user in range(12) for item in range(9)])
        trainer = Trainer(store, ArtifactRegistry(tmp_path / "artifacts"))
        for _ in range(2):
            assert trainer.train({"estimator": "bias"}).status == "active"
    return tmp_path


def worst_result(data: Path, check: str) -> CheckResult:
    """Return the worst result of a check."""
    of_check = [result for result in check_service(data) if result.check == check]
    return next(result for result in of_check if result.state == worst_state(of_check))


def test_an_intact_service_has_no_warnings(data: Path) -> None:
    findings = check_service(data)
    assert [result for result in findings if result.state != "ok"] == []
    checks = {"folder", "disk", "database", "store", "artifacts", "model", "orphans", "clock", "jobs", "erased"}
    assert {result.check for result in findings} == checks


def test_no_file_is_created_without_a_service(tmp_path: Path) -> None:
    assert worst_state(check_service(tmp_path / "nowhere")) == "problem"
    assert worst_state(check_service(tmp_path)) == "problem"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_active_model_is_a_problem(data: Path) -> None:
    with Store.open(store_url(data)) as store:
        active, previous = store.models.active(), store.models.previous()
    assert active is not None
    assert previous is not None
    path = data / "artifacts" / str(previous.file)
    path.write_bytes(path.read_bytes()[:-1])
    assert worst_result(data, "artifacts").state == "warning"
    (data / "artifacts" / str(active.file)).unlink()
    result = worst_result(data, "artifacts")
    assert result.state == "problem"
    assert "roll back" in result.message


def test_a_damaged_database_is_a_problem(data: Path) -> None:
    (data / "store.db").write_bytes(b"nothing of the kind" * 500)
    for left in ("store.db-wal", "store.db-shm"):
        (data / left).unlink(missing_ok=True)
    result = worst_result(data, "database")
    assert result.state == "problem"
    assert "restore a backup" in result.message


def test_orphaned_files_are_reported_once_they_are_old(data: Path) -> None:
    left = data / "artifacts" / ".job-1.cofactor.ab12.tmp"
    left.write_bytes(b"half")
    assert worst_result(data, "orphans").state == "ok"
    os.utime(left, (0, 0))
    result = worst_result(data, "orphans")
    assert result.state == "warning"
    assert left.name in result.message


@pytest.mark.parametrize(("free", "state"), [(10**12, "ok"), (200_000_001, "warning"), (5, "problem")])
def test_free_disk_space_is_checked(data: Path, free: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Disk(2 * 10**12, 0, free))
    assert worst_result(data, "disk").state == state


def test_a_clock_set_back_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 7_200)
    result = worst_result(data, "clock")
    assert result.state == "warning"
    assert "set back" in result.message


@pytest.mark.parametrize(
    ("off", "message"), [(-500, "500 s behind this machine"), (500, "500 s ahead of this machine")]
)
def test_a_different_clock_of_the_database_server_is_reported(
    data: Path, off: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "clock", lambda _store: time.time() + off)
    result = worst_result(data, "clock")
    assert result.state == "warning"
    assert message in result.message
    monkeypatch.setattr(Store, "clock", lambda _store: time.time() + off / 10)
    assert worst_result(data, "clock").state == "ok"


def test_jobs_without_a_worker_are_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(store_url(data)) as store:
        store.jobs.enqueue("train")
        assert worst_result(data, "jobs").state == "ok"
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 1_000)
        assert "none is running: start a trainer" in worst_result(data, "jobs").message
        job = store.jobs.claim("somebody")
        assert job is not None
        store.jobs.fail(job, "there was nothing to learn from")
    assert "nothing to learn from" in worst_result(data, "jobs").message


def test_masked_erased_users_are_reported(data: Path) -> None:
    with Store.open(store_url(data)) as store:
        store.erasure.erase(3)
        result = worst_result(data, "erased")
        assert result.state == "warning"
        assert "erased users masked until the next training run: 1" in result.message
        assert Trainer(store, ArtifactRegistry(data / "artifacts")).train().status == "active"
    assert worst_result(data, "erased").state == "ok"
