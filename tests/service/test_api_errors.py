"""Invalid input, limits, and an unavailable store are answered as problems, never with a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cofactor.errors import StoreUnavailableError
from cofactor.service.api.app import create_app
from cofactor.service.api.dependencies import Service
from cofactor.service.settings import ServiceSettings
from cofactor.store import Role, Store

BAD_EVENTS: list[Any] = [
    {},
    [],
    {"user": "ana"},
    {"user": "", "item": "1", "value": 3},
    {"user": "ana", "item": "1", "value": 7},
    {"user": "ana", "item": "1", "value": "5"},
    {"user": "ana", "item": "1", "value": True},
    {"user": "ana", "item": "1"},
    {"user": True, "item": "1", "value": 3},
    {"user": 1.5, "item": "1", "value": 3},
    {"user": "a" * 300, "item": "1", "value": 3},
    {"user": "a\u0000b", "item": "1", "value": 3},
    {"user": "ana", "item": "1", "value": 3, "time": 1_700_000_000_000},
    {"user": "ana", "item": "1", "value": 3, "time": 1.5},
    {"user": "ana", "item": "1", "value": 3, "kind": "like"},
    {"user": "ana", "item": "1", "value": 3, "key": ""},
    {"user": "ana", "item": "1", "value": 3, "kind": "removal"},
    {"user": "ana", "item": "1", "value": 3, "stars": 3},
    {"user": 2**70, "item": "1", "value": 3},
]


@pytest.mark.parametrize("bad", BAD_EVENTS)
def test_an_invalid_event_is_rejected(admin: TestClient, store: Store, bad: Any) -> None:
    before = store.events.watermark()
    response = admin.post("/v1/events", json=bad)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json()) >= {"type", "title", "status", "detail"}
    assert store.events.watermark() == before


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"user": "\\ud800", "item": "1", "value": 1}', b"NaN", b""])
def test_a_body_that_is_not_json_is_rejected(admin: TestClient, body: bytes) -> None:
    response = admin.post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_an_error_lists_the_first_20_problems(admin: TestClient) -> None:
    history = [{"item": "1", "value": "high"} for _ in range(25)]
    response = admin.post("/v1/recommendations", json={"history": history})
    assert response.status_code == 422, response.text
    assert [error["where"] for error in response.json()["errors"]] == [
        ["body", "history", str(place), "value"] for place in range(20)
    ]


def test_bulk_lines_are_stored_or_rejected_independently(admin: TestClient, store: Store) -> None:
    lines: list[Any] = [
        {"user": "ana", "item": "1", "value": 5, "key": "a"},
        {"user": "ana", "item": "1", "value": 5, "key": "a"},
        {"user": "ana", "item": "1", "value": 4, "key": "a"},
        {"user": "ana", "item": "2", "value": 9},
        {"user": "ana", "item": "2"},
        {"user": "ana", "item": "3", "value": 2},
    ]
    body = "\n".join(map(json.dumps, lines)) + "\n\nno json\n"
    response = admin.post("/v1/events/bulk", content=body).json()
    assert (response["stored"], response["duplicates"], response["rejected"]) == (2, 1, 4)
    assert [("error" in line) for line in response["results"]] == [False, False, True, True, True, False, True]
    assert [event.item for event in store.events.of_user("ana")] == ["1", "3"]
    assert admin.post("/v1/events/bulk", content=b"").status_code == 422


def test_events_are_paginated(admin: TestClient) -> None:
    page = admin.get("/v1/events", params={"limit": 1_000}).json()
    assert len(page["events"]) == 1_000
    rest = admin.get("/v1/events", params={"after": page["next"], "limit": 10}).json()
    assert rest["events"][0]["seq"] == page["next"] + 1
    assert admin.get("/v1/events", params={"limit": 1_001}).status_code == 422


def test_an_idempotency_key_of_another_event_is_a_conflict(admin: TestClient) -> None:
    admin.post("/v1/events", json={"user": "ana", "item": "1", "value": 5, "key": "a"})
    response = admin.post("/v1/events", json={"user": "ana", "item": "1", "value": 4, "key": "a"})
    assert response.status_code == 409
    assert response.json()["places"] == [1]


def test_a_body_that_is_too_large_is_rejected(admin: TestClient) -> None:
    assert admin.post("/v1/events/bulk", content=b"x" * 100_001).status_code == 413

    def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 10_000

    assert admin.post("/v1/events/bulk", content=chunks()).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/events/bulk", 405),
        ("GET", "/v1/recommendations", 422),
        ("GET", "/v1/recommendations?user=7&n=0", 422),
        ("GET", "/v1/recommendations?user=7&n=100000", 422),
        ("GET", "/v1/recommendations?user=%20", 422),
        ("GET", "/v1/recommendations?user=a%00b", 422),
        ("POST", "/v1/models/99/promote", 404),
        ("POST", "/v1/models/roll-back", 409),
        ("GET", "/v1/jobs/99", 404),
        ("GET", "/v1/items/similar?item=none", 404),
        ("GET", "/v1/explanations?user=7&item=none", 404),
    ],
)
def test_missing_things_have_the_right_status(admin: TestClient, method: str, path: str, status: int) -> None:
    response = admin.request(method, path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_rejected(admin: TestClient, number: str) -> None:
    bodies = {
        "/v1/recommendations": f'{{"history": [{{"item": "1", "value": {number}}}]}}',
        "/v1/events": f'{{"user": "7", "item": "1", "value": {number}}}',
        "/v1/onboarding": f'{{"answers": [{{"item": "1", "value": {number}}}]}}',
    }
    for path, body in bodies.items():
        response = admin.post(path, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 422
        assert "value: " in response.json()["detail"]
        assert "must be finite" in response.json()["detail"]
    lines = admin.post("/v1/events/bulk", content=bodies["/v1/events"]).json()
    assert "must be finite" in lines["results"][0]["error"]


def test_request_ids(admin: TestClient) -> None:
    assert admin.get("/v1/models", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert admin.get("/v1/models", headers={"X-Request-ID": 'no"good'}).headers["x-request-id"] != 'no"good'
    secret = admin.headers["authorization"].removeprefix("Bearer ")
    for part in (secret, *secret.split(".")):  # it would be in the log
        assert admin.get("/v1/models", headers={"X-Request-ID": part}).headers["x-request-id"] != part


def test_a_key_above_its_rate_limit_is_rejected(
    tmp_path: Path, first: int, key: Callable[[Role], dict[str, str]]
) -> None:
    with TestClient(create_app(ServiceSettings.of({"data": str(tmp_path), "rate": 1}))) as client:
        client.headers.update(key("read"))
        response = [client.get("/v1/models") for _ in range(4)]
    assert [entry.status_code for entry in response].count(429) >= 1
    assert int(response[-1].headers["retry-after"]) >= 1


def test_a_service_without_a_model_stores_events(
    tmp_path: Path, store: Store, key: Callable[[Role], dict[str, str]]
) -> None:
    with TestClient(create_app(ServiceSettings.of({"data": str(tmp_path)}))) as client:
        client.headers.update(key("write"))
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        response = client.get("/v1/recommendations", params={"user": "7"})
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert client.post("/v1/events", json={"user": "7", "item": "1", "value": 5}).status_code == 201


def test_reads_continue_while_the_store_is_unavailable(
    admin: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = admin.get("/v1/recommendations", params={"user": "7"}).json()

    def unavailable(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("postgresql://secret/host: gone", "no")

    with monkeypatch.context() as broken:
        for part, name in (("events", "watermark"), ("events", "submit"), ("events", "of_user"), ("keys", "check")):
            broken.setattr(getattr(service.store, part), name, unavailable)
        broken.setattr(service.store, "ping", unavailable)
        response = admin.get("/v1/recommendations", params={"user": "7"}).json()
        assert response["stale"]
        assert response["items"] == best["items"]
        rejected = admin.post("/v1/events", json={"user": "7", "item": "1", "value": 5})
        assert rejected.status_code == 503
        assert rejected.headers["retry-after"]
        assert "secret" not in rejected.text
        assert admin.get("/health/ready").json()["store"] == "unavailable"
    assert not admin.get("/v1/recommendations", params={"user": "7"}).json()["stale"]
    assert admin.post("/v1/events", json={"user": "7", "item": "1", "value": 5}).status_code == 201


def test_an_internal_error_shows_no_details(
    admin: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the secret")

    monkeypatch.setattr(service.engine, "recommend", broken)
    response = admin.get("/v1/recommendations", params={"user": "7"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["content-type"] == "application/problem+json"
