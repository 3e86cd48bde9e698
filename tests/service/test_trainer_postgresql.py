"""The same training on a real PostgreSQL, which is stopped and started again under it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cofactor.errors import StoreError
from cofactor.service.backup import back_up, restore
from cofactor.service.doctor import check_service, worst_state
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import RetrainPolicy, Worker
from cofactor.store import Event, Store
from tests.support.command_line import run
from tests.support.postgresql import Server

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def url(mortal_server: Server) -> str:
    url = mortal_server.new(template="template")
    with Store.open(url) as store:
        store.events.append([Event(user, item, 1 + (user + item) % 5) for user in range(12) for item in range(9)])
    return url


def test_a_model_is_trained_checked_and_backed_up(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        worker = Worker(Trainer(store, ArtifactRegistry(tmp_path / "artifacts")), policy=RetrainPolicy(changes=50))
        scheduled = worker.schedule()
        assert scheduled is not None
        done = worker.run_next()
        assert done is not None
        assert (done.id, done.state) == (scheduled.id, "done")
        assert store.models.active() is not None
    assert worst_state(check_service(tmp_path, url)) == "ok"
    backup = back_up(tmp_path, tmp_path / "copy", url)
    assert not backup.store
    with pytest.raises(StoreError, match="pg_restore"):
        restore(tmp_path / "copy", tmp_path / "new")
    result = run("backup", tmp_path / "again", "--data", tmp_path, "--db", url)
    assert result.exit_code == 0, result.output
    assert "the store is in PostgreSQL: back it up with pg_dump --format=custom --file=store.dump" in " ".join(
        result.stderr.split()
    )


def test_a_worker_survives_a_restart_of_its_database(mortal_server: Server, url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        trainer = Trainer(store, ArtifactRegistry(tmp_path / "artifacts"))
        worker = Worker(trainer, policy=RetrainPolicy(changes=None, seconds=None), poll_interval=0.05)
        thread = threading.Thread(target=worker.run)
        thread.start()
        with mortal_server.stopped():
            time.sleep(0.3)
            assert worst_state(check_service(tmp_path, url)) == "problem"
            assert thread.is_alive()
        with Store.open(url) as other:
            job = other.jobs.enqueue("train", {"estimator": "bias"})
            end = time.monotonic() + 120
            while other.jobs.get(job.id).state != "done":
                assert time.monotonic() < end
                time.sleep(0.05)
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()
