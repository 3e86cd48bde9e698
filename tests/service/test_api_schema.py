"""The service conforms to its OpenAPI document: every operation, valid and invalid data, every check."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from cofactor.service.api.app import create_app, roles
from cofactor.service.api.fields import LIMIT_KEY
from cofactor.service.settings import ServiceSettings
from cofactor.store import Store


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A short run against a served process of one worker."""
    from tests.support import fuzz_api

    with fuzz_api.service(tmp_path_factory.mktemp("fuzz"), workers=1) as (url, key):
        return fuzz_api.run(url, key, examples=15)


@pytest.mark.long
def test_the_fuzzer_finds_no_violation(seen: Any) -> None:
    assert {label: response for label, response in seen.violations.items() if response} == {}
    assert seen.crashes == 0


@pytest.mark.long
def test_the_fuzzer_covers_every_operation(seen: Any) -> None:
    requests_sent = {(method, path) for method, path in roles() if path != "/openapi.json"}
    assert {tuple(label.split(" ")) for label in seen.statuses} == requests_sent
    for label, statuses in seen.statuses.items():
        assert any(200 <= status < 300 for status in statuses), label
        assert 401 in statuses or label.startswith("GET /health/"), label


@pytest.mark.long
def test_the_fuzzer_runs_every_check(seen: Any) -> None:
    from schemathesis.config._checks import _BUILTIN_CHECK_NAMES

    from tests.support.fuzz_api import NOT_ASKED

    assert set(seen.checks) == set(_BUILTIN_CHECK_NAMES) - set(NOT_ASKED)
    assert set(seen.phases) == {"examples", "coverage", "fuzzing", "stateful"}
    assert seen.cases > 1_000


def test_openapi_states_the_limits_and_the_scale(admin: TestClient) -> None:
    schemas = admin.get("/openapi.json").json()["components"]["schemas"]
    assert (schemas["Rating"]["minimum"], schemas["Rating"]["maximum"]) == (0.5, 5.0)
    assert admin.post("/v1/events", json={"user": "7", "item": "1", "value": 5.0}).status_code == 201
    assert admin.post("/v1/events", json={"user": "7", "item": "1", "value": 5.1}).status_code == 422
    small = create_app(ServiceSettings.of({"max_batch": 7, "max_n": 9})).openapi()
    assert small["components"]["schemas"]["BatchBody"]["properties"]["users"]["maxItems"] == 7
    for path in ("/v1/recommendations", "/v1/items/similar"):
        parameters = small["paths"][path]["get"]["parameters"]
        assert [entry["schema"]["maximum"] for entry in parameters if entry["name"] == "n"] == [9]
    for name in ("UserQueryBody", "HistoryQueryBody", "BatchBody"):
        assert small["components"]["schemas"][name]["properties"]["n"]["maximum"] == 9
    assert LIMIT_KEY not in str(small)


def test_lists_longer_than_max_n_are_rejected(settings: ServiceSettings, store: Store) -> None:
    headers = {"Authorization": f"Bearer {store.keys.create('read', 'a test')}"}
    with TestClient(create_app(settings.model_copy(update={"max_n": 9}))) as client:
        for path in ("/v1/recommendations?user=7", "/v1/items/similar?item=7"):
            response = client.get(f"{path}&n=10", headers=headers)
            assert response.status_code == 422
            assert response.json()["detail"] == "n: must be at most 9; got 10"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_a_method_that_is_not_allowed_lists_the_allowed_ones(admin: TestClient, method: str) -> None:
    response = admin.request(method, "/v1/users")
    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, PUT"


@pytest.mark.parametrize(
    "query",
    [
        "user=%ff",
        "user=%ED%A0%80",
        "user=7&user=8",
        "user=7&n=1&n=2",
        "user=7&n=%D9%A3",
        "user=7&n=1e1",
        "user=7&n=%0D3",
        "user=7&n=1_0",
    ],
)
def test_ambiguous_queries_are_rejected(admin: TestClient, query: str) -> None:
    response = admin.get(f"/v1/recommendations?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("version", ["1%0D", "%201", "+1", "1_0", "1e0", "0x1", "%D9%A1", "1%00"])
def test_a_version_consists_of_digits(admin: TestClient, version: str) -> None:
    assert admin.post(f"/v1/models/{version}/promote").status_code == 422


def event(value: bytes) -> bytes:
    return b'{"user": "a", "item": "1", "value": %s}' % value


ODD = {
    "not a number": event(b"NaN"),
    "infinite": event(b"-Infinity"),
    "too large for a double": event(b"1e400"),
    "5,000 digits": event(b"9" * 5_000),
    "true": event(b"true"),
    "deep": event(b"[" * 40_000),
    "deep and closed": b"[" * 40_000 + b"]" * 40_000,
    "half a surrogate": b'{"user": "\\ud800", "item": "1", "value": 3}',
    "NUL": b'{"user": "a\\u0000", "item": "1", "value": 3}',
    "no UTF-8": b'{"user": "\xff", "item": "1", "value": 3}',
    "an id of 65 bits": b'{"user": 18446744073709551616, "item": "1", "value": 3}',
    "half an id": b'{"user": 1.5, "item": "1", "value": 3}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_malformed_events_are_rejected_alone_and_in_bulk(admin: TestClient, body: bytes) -> None:
    response = admin.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"
    lines = admin.post("/v1/events/bulk", content=body + b"\n" + event(b"3")).json()
    assert (lines["stored"], lines["rejected"]) == (1, 1)


def test_equal_numbers_are_the_same_id(admin: TestClient) -> None:
    numbers = set()
    for answer in (b"4711", b"4711.0", b'"4711"'):
        body = b'{"user": %s, "item": "1", "value": 3, "key": "k"}' % answer
        response = admin.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
        numbers.add(response.json()["seq"])
    assert len(numbers) == 1  # the same event by its key


def test_deep_metadata_is_returned_unchanged(admin: TestClient) -> None:
    for depth in (300, 900, 5_000, 30_000):
        body = b'{"user": "a", "metadata": %s1%s}' % (b'{"a":' * depth, b"}" * depth)
        if len(body) > 100_000:
            continue
        put = admin.put("/v1/users", content=body, headers={"Content-Type": "application/json"})
        assert put.status_code in (200, 400, 422)
        response = admin.get("/v1/users", params={"user": "a"})
        assert response.status_code == 200
        assert put.status_code != 200 or response.text.count("{") == depth + 1
        assert admin.get("/v1/recommendations", params={"user": "a"}).status_code == 200
