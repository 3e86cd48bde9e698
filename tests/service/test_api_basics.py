"""Recommend, rate, recommend again."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from cofactor.data.interactions import Interactions
from cofactor.store import Event, Store


def recommend(client: TestClient, user: str, **options: Any) -> dict[str, Any]:
    response = client.post("/v1/recommendations", json={"user": user, **options})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def items(answer: dict[str, Any]) -> list[str]:
    return [entry["item"] for entry in answer["items"]]


def test_a_trained_user_is_answered_by_the_model(admin: TestClient, ratings: Interactions) -> None:
    answer = admin.get("/v1/recommendations", params={"user": "7", "n": 5}).json()
    assert (answer["answered_by"], answer["stale"], len(answer["items"])) == ("model", False, 5)
    assert not set(items(answer)) & {str(item) for item in ratings.frame().filter(user=7)["item"]}
    assert [entry["rank"] for entry in answer["items"]] == [1, 2, 3, 4, 5]


def test_a_rating_changes_the_next_answer(admin: TestClient) -> None:
    before = recommend(admin, "7", n=5)
    first = items(before)[0]
    answer = admin.post("/v1/events", json={"user": 7, "item": first, "value": 1, "key": "k"})
    assert answer.status_code == 201
    assert not answer.json()["duplicate"]
    after = recommend(admin, "7", n=5)
    assert after["answered_by"] == "fold-in"
    assert first not in items(after)
    assert [entry["score"] for entry in after["items"]] != [entry["score"] for entry in before["items"]][1:]
    assert admin.post("/v1/events", json={"user": 7, "item": first, "value": 1, "key": "k"}).json()["duplicate"]


def test_events_of_other_processes_change_the_next_answer(admin: TestClient, store: Store) -> None:
    for _ in range(20):
        first = items(recommend(admin, "somebody new", n=1))[0]
        store.events.append([Event("somebody new", first, 5)])
        assert first not in items(recommend(admin, "somebody new", n=60))


def test_a_removed_item_is_recommended_again(admin: TestClient) -> None:
    first = items(recommend(admin, "9", n=1))[0]
    admin.post("/v1/events", json={"user": "9", "item": first, "value": 1})
    admin.post("/v1/events", json={"user": "9", "item": first, "kind": "removal"})
    assert first in items(recommend(admin, "9", n=60))


def test_an_unknown_user_is_answered_by_the_prior(admin: TestClient) -> None:
    assert recommend(admin, "nobody")["answered_by"] == "prior"


def test_health_needs_no_key(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
    assert client.get("/health/ready").json() == {"status": "ok", "model": 1, "store": "ok"}


def test_a_request_without_a_key_is_rejected(client: TestClient) -> None:
    response = client.get("/v1/recommendations", params={"user": "7"})
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["status"] == 401
