"""The service on a PostgreSQL server that is stopped and restarted, and the memory that workers share."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import import_table
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Store
from tests.support.postgresql import Server


@pytest.mark.long
def test_a_database_that_stops_and_restarts(mortal_server: Server, tmp_path: Path, ratings: Interactions) -> None:
    settings = ServiceSettings.of(
        {"data": str(tmp_path / "data"), "db": mortal_server.new(template="template"), "key_cache_seconds": 0.0}
    )
    with Store.open(settings.url) as store:
        spec = TrainingSpec(cofactor.ExplicitALS(factors=4))
        import_table(store, ratings)
        Trainer(store, ArtifactRegistry(settings.artifacts), spec=spec).train()
        headers = {"Authorization": f"Bearer {store.keys.create('write', 'a test')}"}
    with TestClient(create_app(settings), headers=headers) as client:
        best = client.get("/v1/recommendations", params={"user": "7"}).json()["items"][0]["item"]
        assert client.post("/v1/events", json={"user": "7", "item": best, "value": 3}).status_code == 201
        before = client.get("/v1/recommendations", params={"user": "7"}).json()
        assert before["answered_by"] == "fold-in"
        with mortal_server.stopped():
            down = client.get("/v1/recommendations", params={"user": "7"}).json()
            assert down["stale"]
            assert down["items"] == before["items"]  # from memory, with the rating
            assert client.get("/v1/recommendations", params={"user": "8"}).json()["answered_by"] == "model"
            rejected = client.post("/v1/events", json={"user": "7", "item": "1", "value": 3})
            assert rejected.status_code == 503
            assert rejected.headers["retry-after"] == "1"
        end = time.monotonic() + 20
        while client.get("/v1/recommendations", params={"user": "7"}).json()["stale"]:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert client.post("/v1/events", json={"user": "7", "item": "1", "value": 3}).status_code == 201


def _resident(folder: str, own: Any) -> None:
    """Map the model, touch all of it, and return the shared and private kilobytes of its pages."""
    recommender = ArtifactRegistry(folder).open(1, verify=True)
    own.send("open")
    own.recv()
    response = {"Shared": 0, "Private": 0}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith("1.cofactor")
        elif inside and line.startswith(("Shared_", "Private_")):
            response[line.partition("_")[0]] += int(line.split()[1])
    own.send((response, len(recommender.items)))
    own.recv()


@pytest.mark.long
def test_workers_share_the_model_in_memory(tmp_path: Path, ratings: Interactions) -> None:
    ArtifactRegistry(tmp_path).publish(cofactor.Recommender.fit(cofactor.ExplicitALS(factors=64, epochs=1), ratings), 1)
    spawn, response = multiprocessing.get_context("spawn"), []
    pipes = [spawn.Pipe() for _ in range(2)]
    workers = [spawn.Process(target=_resident, args=(str(tmp_path), theirs)) for _, theirs in pipes]
    for entry in workers:
        entry.start()
    for ours, _ in pipes:
        assert ours.recv() == "open"
    for ours, _ in pipes:
        ours.send("all are open")
        response.append(ours.recv()[0])
    for (ours, _), entry in zip(pipes, workers, strict=True):
        ours.send("all have told")
        entry.join()
    size = ArtifactRegistry(tmp_path).path(1).stat().st_size / 1024
    for pages in response:
        assert pages["Private"] == 0
        assert pages["Shared"] >= 0.9 * size
