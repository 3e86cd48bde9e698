"""Bad input, limits, and a store that does not answer: told as problems, never as a traceback."""

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
def test_a_bad_event_is_refused(admin: TestClient, store: Store, bad: Any) -> None:
    before = store.events.watermark()
    found = admin.post("/v1/events", json=bad)
    assert found.status_code == 422, found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert set(found.json()) >= {"type", "title", "status", "detail"}
    assert store.events.watermark() == before


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"user": "\\ud800", "item": "1", "value": 1}', b"NaN", b""])
def test_a_body_that_is_no_json(admin: TestClient, body: bytes) -> None:
    found = admin.post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert found.status_code in (400, 422)
    assert found.headers["content-type"] == "application/problem+json"


def test_a_refusal_tells_the_first_20_errors(admin: TestClient) -> None:
    history = [{"item": "1", "value": "high"} for _ in range(25)]
    found = admin.post("/v1/recommendations", json={"history": history})
    assert found.status_code == 422, found.text
    assert [error["where"] for error in found.json()["errors"]] == [
        ["body", "history", str(place), "value"] for place in range(20)
    ]


def test_each_line_is_kept_or_refused_for_itself(admin: TestClient, store: Store) -> None:
    lines: list[Any] = [
        {"user": "ana", "item": "1", "value": 5, "key": "a"},
        {"user": "ana", "item": "1", "value": 5, "key": "a"},
        {"user": "ana", "item": "1", "value": 4, "key": "a"},
        {"user": "ana", "item": "2", "value": 9},
        {"user": "ana", "item": "2"},
        {"user": "ana", "item": "3", "value": 2},
    ]
    body = "\n".join(map(json.dumps, lines)) + "\n\nno json\n"
    found = admin.post("/v1/events/bulk", content=body).json()
    assert (found["stored"], found["duplicates"], found["refused"]) == (2, 1, 4)
    assert [("error" in line) for line in found["results"]] == [False, False, True, True, True, False, True]
    assert [event.item for event in store.events.of_user("ana")] == ["1", "3"]
    assert admin.post("/v1/events/bulk", content=b"").status_code == 422


def test_events_come_out_by_pages(admin: TestClient) -> None:
    page = admin.get("/v1/events", params={"limit": 1_000}).json()
    assert len(page["events"]) == 1_000
    rest = admin.get("/v1/events", params={"after": page["next"], "limit": 10}).json()
    assert rest["events"][0]["seq"] == page["next"] + 1
    assert admin.get("/v1/events", params={"limit": 1_001}).status_code == 422


def test_a_key_used_for_another_event(admin: TestClient) -> None:
    admin.post("/v1/events", json={"user": "ana", "item": "1", "value": 5, "key": "a"})
    found = admin.post("/v1/events", json={"user": "ana", "item": "1", "value": 4, "key": "a"})
    assert found.status_code == 409
    assert found.json()["places"] == [1]


def test_a_body_that_is_too_large(admin: TestClient) -> None:
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
def test_what_is_not_there(admin: TestClient, method: str, path: str, status: int) -> None:
    found = admin.request(method, path)
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["x-request-id"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_called_so(admin: TestClient, number: str) -> None:
    bodies = {
        "/v1/recommendations": f'{{"history": [{{"item": "1", "value": {number}}}]}}',
        "/v1/events": f'{{"user": "7", "item": "1", "value": {number}}}',
        "/v1/onboarding": f'{{"answers": [{{"item": "1", "value": {number}}}]}}',
    }
    for path, body in bodies.items():
        found = admin.post(path, content=body, headers={"Content-Type": "application/json"})
        assert found.status_code == 422
        assert "value: " in found.json()["detail"]
        assert "the number is not finite" in found.json()["detail"]
    lines = admin.post("/v1/events/bulk", content=bodies["/v1/events"]).json()
    assert "the number is not finite" in lines["results"][0]["error"]


def test_request_ids(admin: TestClient) -> None:
    assert admin.get("/v1/models", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert admin.get("/v1/models", headers={"X-Request-ID": 'no"good'}).headers["x-request-id"] != 'no"good'
    secret = admin.headers["authorization"].removeprefix("Bearer ")
    for part in (secret, *secret.split(".")):  # it would stand in the log
        assert admin.get("/v1/models", headers={"X-Request-ID": part}).headers["x-request-id"] != part


def test_a_key_that_asks_for_too_much(tmp_path: Path, first: int, key: Callable[[Role], dict[str, str]]) -> None:
    with TestClient(create_app(ServiceSettings.of({"data": str(tmp_path), "rate": 1}))) as client:
        client.headers.update(key("read"))
        found = [client.get("/v1/models") for _ in range(4)]
    assert [one.status_code for one in found].count(429) >= 1
    assert int(found[-1].headers["retry-after"]) >= 1


def test_a_service_without_a_model(tmp_path: Path, store: Store, key: Callable[[Role], dict[str, str]]) -> None:
    with TestClient(create_app(ServiceSettings.of({"data": str(tmp_path)}))) as client:
        client.headers.update(key("write"))
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        found = client.get("/v1/recommendations", params={"user": "7"})
        assert found.status_code == 503
        assert found.headers["retry-after"]
        assert client.post("/v1/events", json={"user": "7", "item": "1", "value": 5}).status_code == 201


def test_a_store_that_does_not_answer(admin: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    best = admin.get("/v1/recommendations", params={"user": "7"}).json()

    def gone(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("postgresql://secret/host: gone", "no")

    with monkeypatch.context() as broken:
        for part, name in (("events", "watermark"), ("events", "submit"), ("events", "of_user"), ("keys", "check")):
            broken.setattr(getattr(service.store, part), name, gone)
        broken.setattr(service.store, "ping", gone)
        found = admin.get("/v1/recommendations", params={"user": "7"}).json()
        assert found["stale"]
        assert found["items"] == best["items"]
        refused = admin.post("/v1/events", json={"user": "7", "item": "1", "value": 5})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert "secret" not in refused.text
        assert admin.get("/health/ready").json()["store"] == "unavailable"
    assert not admin.get("/v1/recommendations", params={"user": "7"}).json()["stale"]
    assert admin.post("/v1/events", json={"user": "7", "item": "1", "value": 5}).status_code == 201


def test_a_mistake_of_ours_is_no_traceback(
    admin: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the secret")

    monkeypatch.setattr(service.engine, "recommend", broken)
    found = admin.get("/v1/recommendations", params={"user": "7"})
    assert found.status_code == 500
    assert "secret" not in found.text
    assert found.headers["content-type"] == "application/problem+json"
