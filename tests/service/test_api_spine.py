"""Ask, rate, ask again."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from cofactor.data.interactions import Interactions
from cofactor.store import Event, Store


def asked(client: TestClient, user: str, **wish: Any) -> dict[str, Any]:
    found = client.post("/v1/recommendations", json={"user": user, **wish})
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def items(answer: dict[str, Any]) -> list[str]:
    return [one["item"] for one in answer["items"]]


def test_a_trained_user_gets_what_the_model_says(admin: TestClient, ratings: Interactions) -> None:
    answer = admin.get("/v1/recommendations", params={"user": "7", "n": 5}).json()
    assert (answer["answered_by"], answer["stale"], len(answer["items"])) == ("model", False, 5)
    assert not set(items(answer)) & {str(item) for item in ratings.frame().filter(user=7)["item"]}
    assert [one["rank"] for one in answer["items"]] == [1, 2, 3, 4, 5]


def test_what_was_rated_counts_in_the_next_answer(admin: TestClient) -> None:
    before = asked(admin, "7", n=5)
    first = items(before)[0]
    told = admin.post("/v1/events", json={"user": 7, "item": first, "value": 1, "key": "k"})
    assert told.status_code == 201
    assert not told.json()["duplicate"]
    after = asked(admin, "7", n=5)
    assert after["answered_by"] == "fold-in"
    assert first not in items(after)
    assert [one["score"] for one in after["items"]] != [one["score"] for one in before["items"]][1:]
    assert admin.post("/v1/events", json={"user": 7, "item": first, "value": 1, "key": "k"}).json()["duplicate"]


def test_what_another_process_stored_counts_too(admin: TestClient, store: Store) -> None:
    for _ in range(20):
        first = items(asked(admin, "somebody new", n=1))[0]
        store.events.append([Event("somebody new", first, 5)])
        assert first not in items(asked(admin, "somebody new", n=60))


def test_a_removal_gives_the_item_back(admin: TestClient) -> None:
    first = items(asked(admin, "9", n=1))[0]
    admin.post("/v1/events", json={"user": "9", "item": first, "value": 1})
    admin.post("/v1/events", json={"user": "9", "item": first, "kind": "removal"})
    assert first in items(asked(admin, "9", n=60))


def test_somebody_unknown_is_answered_by_the_prior(admin: TestClient) -> None:
    assert asked(admin, "nobody")["answered_by"] == "prior"


def test_health_needs_no_key(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
    assert client.get("/health/ready").json() == {"status": "ok", "model": 1, "store": "ok"}


def test_without_a_key_there_is_nothing(client: TestClient) -> None:
    found = client.get("/v1/recommendations", params={"user": "7"})
    assert found.status_code == 401
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["www-authenticate"] == "Bearer"
    assert found.json()["status"] == 401
