"""Models and jobs over HTTP: promotion, audit, metrics, and swaps under load."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.service import registry
from cofactor.service.registry import ArtifactRegistry
from cofactor.store import Store, StoredModel


@pytest.fixture
def second(store: Store, artifacts: ArtifactRegistry, ratings: Interactions, first: int) -> StoredModel:
    rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=6), ratings, seed=1).ensure_priors()
    return registry.add_candidate(store, artifacts, rec, watermark=store.events.watermark())


def model_of(client: TestClient) -> int:
    response: int = client.get("/v1/recommendations", params={"user": "7"}).json()["model"]
    return response


def test_promotion_and_roll_back(admin: TestClient, second: StoredModel) -> None:
    assert model_of(admin) == 1
    assert admin.post("/v1/models/2/promote").json()["status"] == "active"
    assert model_of(admin) == 2
    assert admin.post("/v1/models/roll-back").json()["version"] == 1
    assert model_of(admin) == 1
    page = admin.get("/v1/models").json()
    assert page["answering"] == 1
    assert [entry["status"] for entry in page["models"]] == ["active", "previous"]


def test_a_promotion_by_another_process_is_loaded(
    admin: TestClient, store: Store, artifacts: ArtifactRegistry, second: StoredModel
) -> None:
    registry.promote(store, artifacts, 2)
    end = time.monotonic() + 10
    while model_of(admin) != 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert model_of(admin) == 2


def test_a_damaged_artifact_is_not_promoted(
    admin: TestClient, artifacts: ArtifactRegistry, second: StoredModel
) -> None:
    path = artifacts.path(str(second.file))
    content = path.read_bytes()
    for damaged in (content[:-10], content[: len(content) // 2] + b"\x55" + content[len(content) // 2 + 1 :], b""):
        path.write_bytes(damaged)
        assert admin.post("/v1/models/2/promote").status_code == 409
        assert model_of(admin) == 1
    path.write_bytes(content)
    assert admin.post("/v1/models/2/promote").status_code == 200


def test_a_model_that_cannot_be_opened_keeps_the_current_one(
    admin: TestClient, store: Store, artifacts: ArtifactRegistry, second: StoredModel
) -> None:
    artifacts.path(str(second.file)).write_bytes(b"no model")
    store.models.promote(2)
    time.sleep(0.5)
    assert model_of(admin) == 1
    assert "cofactor_model_failures" in admin.get("/metrics").text


def test_no_request_is_dropped_while_models_change(admin: TestClient, second: StoredModel) -> None:
    codes: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            codes.append(admin.get("/v1/recommendations", params={"user": "7"}).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(5):
        assert admin.post("/v1/models/2/promote").status_code == 200
        assert admin.post("/v1/models/roll-back").status_code == 200
    stop.set()
    asking.join()
    assert set(codes) == {200}


def test_jobs(admin: TestClient, store: Store) -> None:
    job = admin.post("/v1/models/train", json={"estimator": {"estimator": "bias"}})
    assert job.status_code == 202
    assert admin.post("/v1/models/train").json()["id"] == job.json()["id"]
    taken = store.jobs.claim("a trainer")
    assert taken is not None
    assert taken.spec == {"estimator": {"estimator": "bias"}}
    store.jobs.heartbeat(taken, progress=0.5, message="half")
    response = admin.get(f"/v1/jobs/{taken.id}").json()
    assert (response["state"], response["progress"], response["message"]) == ("running", 0.5, "half")
    assert admin.get("/v1/jobs", params={"state": "queued"}).json()["jobs"] == []


def test_audit(admin: TestClient) -> None:
    response = admin.get("/v1/models/audit").json()
    assert response["model"] == 1
    assert 0 < response["coverage"] <= 1
    assert response["raters"]["total"] == 4_000
    assert admin.get("/v1/models/audit").json() == response


def test_metrics(admin: TestClient) -> None:
    admin.get("/v1/recommendations", params={"user": "7"})
    text = admin.get("/metrics").text
    assert 'cofactor_requests_total{method="GET",route="/v1/recommendations",status="200"}' in text
    assert 'cofactor_answers_total{by="model"}' in text


def test_artifacts_are_published_and_removed_atomically(tmp_path: Path, ratings: Interactions) -> None:
    artifacts = ArtifactRegistry(tmp_path)
    for name in ("../x", "a/b", "", ".hidden", "a\0"):
        with pytest.raises(cofactor.errors.ArtifactError):
            artifacts.path(name)
    path, checksum = artifacts.publish(cofactor.Recommender.fit(cofactor.Bias(), ratings), 7)
    artifacts.check(7, checksum)
    assert artifacts.versions() == ["7"]
    artifacts.remove(7)
    artifacts.remove(7)
    assert not path.exists()
