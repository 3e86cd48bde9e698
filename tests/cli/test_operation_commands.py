"""Commands to operate a service: trainer, doctor, backup, restore, key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cofactor.errors import ParameterError
from cofactor.service.settings import ServiceSettings, store_url
from cofactor.service.training.promotion_gate import PromotionGate
from cofactor.service.training.worker import RetrainPolicy, Worker
from cofactor.store import Event, Job, Store
from tests.support.command_line import rejected, stdout_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    with Store.open(store_url(folder)) as store:
        store.events.append([Event(user, item, 1 + (user + item) % 5) for user in range(12) for item in range(9)])
        store.jobs.enqueue("train", {"estimator": "bias"})
    return folder


def test_a_job_a_backup_and_a_restore(data: Path, tmp_path: Path) -> None:
    assert "job 1 is done: model 1 is active" in stdout_of("trainer", "--data", data, "--once")
    assert "no jobs are queued" in stdout_of("trainer", "--data", data, "--once")
    assert "problem" not in stdout_of("doctor", "--data", data)
    assert "and models 1" in stdout_of("backup", tmp_path / "copy", "--data", data)
    assert "0 users stay erased" in stdout_of("restore", tmp_path / "copy", "--data", tmp_path / "new")
    report = json.loads(stdout_of("doctor", "--data", tmp_path / "new", "--json"))
    assert report["state"] == "ok"
    assert "not empty" in rejected("restore", tmp_path / "copy", "--data", data)


def test_problems_have_an_exit_code(tmp_path: Path, data: Path) -> None:
    report = json.loads(stdout_of("doctor", "--data", tmp_path / "nowhere", "--json", code=1))
    assert report["state"] == "problem"
    assert "does not exist" in report["checks"][0]["message"]
    with Store.open(store_url(data)) as store:
        store.jobs.enqueue("train", {"estimator": "nonsense"})
    assert "job 2 is failed: unknown model 'nonsense'" in stdout_of("trainer", "--data", data, "--once", code=1)


def test_the_trainer_and_its_gate_use_the_settings_of_the_service(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PromotionGate.of(ServiceSettings.of({})) == PromotionGate()
    (tmp_path / "serve.toml").write_text("gate_criterion = 'upper'\ngate_lift = 0.5\ngate_coverage = 0.3\n")
    monkeypatch.setenv("COFACTOR_SERVE_GATE_TOLERANCE", "0.02")
    monkeypatch.setenv("COFACTOR_SERVE_DATA", str(data))
    trainers = []

    def run_next(worker: Worker) -> Job | None:
        trainers.append(worker.trainer)
        return None

    monkeypatch.setattr(Worker, "run_next", run_next)
    stdout_of("trainer", "--once", "--config", tmp_path / "serve.toml")
    (used,) = trainers
    assert used.store.url.endswith(str(data / "store.db"))
    assert used.artifacts.folder == data / "artifacts"
    assert used.gate == PromotionGate(0.02, "upper", coverage=0.3, lift=0.5)
    assert "problem" not in stdout_of("doctor")  # of the same folder
    with pytest.raises(ParameterError, match="gate_criterion"):
        ServiceSettings.of({"gate_criterion": "low"})


def test_the_trainer_follows_the_schedule_of_the_settings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = []
    monkeypatch.setattr("os.nice", lambda _increment: 0)
    monkeypatch.setattr(Worker, "run", lambda worker: policies.append(worker.policy))
    stdout_of("trainer", "--data", data, "--after-events", 7, "--every", 20)
    assert policies == [RetrainPolicy(7, 20.0)]


def test_a_key_is_created_and_revoked(tmp_path: Path, data: Path) -> None:
    secret = stdout_of("key", "--data", data, "--role", "admin", "--label", "mine").strip()
    with Store.open(store_url(data)) as store:
        key = store.keys.check(secret)
        assert key is not None
        assert (key.role, key.label) == ("admin", "mine")
        assert stdout_of("key", "--data", data, "--revoke", key.id) == ""
        assert store.keys.check(secret) is None
        least = store.keys.check(stdout_of("key", "--data", data).strip())
        assert least is not None
        assert least.role == "read"
    assert "must be read or write or admin, not 'root'" in rejected("key", "--data", data, "--role", "root")
    assert "does not contain a service" in rejected("key", "--data", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
