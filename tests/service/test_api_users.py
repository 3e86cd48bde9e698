"""Users and items over HTTP: erasure, metadata, availability, query options."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from cofactor.service.settings import ServiceSettings
from cofactor.store import Store


def ids(client: TestClient, user: str, **options: object) -> list[str]:
    response = client.post("/v1/recommendations", json={"user": user, **options})
    assert response.status_code == 200, response.text
    return [entry["item"] for entry in response.json()["items"]]


def test_an_erased_user_is_unknown_at_once(admin: TestClient, store: Store, settings: ServiceSettings) -> None:
    unknown = ids(admin, "nobody", n=60)
    assert ids(admin, "7", n=60) != unknown
    response = admin.delete("/v1/users", params={"user": "7"})
    assert response.status_code == 200
    answer = admin.post("/v1/recommendations", json={"user": "7", "n": 60}).json()
    assert answer["answered_by"] == "prior"
    assert [entry["item"] for entry in answer["items"]] == unknown
    assert store.jobs.get(response.json()["job"]).kind == "train"
    assert Path(settings.tombstones).exists()
    assert admin.get("/v1/users", params={"user": "7"}).status_code == 404
    assert admin.get("/v1/explanations", params={"user": "7", "item": unknown[0]}).json()["answered_by"] == "prior"


def test_an_erasure_by_another_process_counts_at_once(admin: TestClient, store: Store) -> None:
    assert admin.get("/v1/users", params={"user": "8"}).json()["known_to_model"]
    store.erasure.erase("8")
    assert ids(admin, "8", n=60) == ids(admin, "nobody", n=60)


def test_an_erased_user_can_start_again(admin: TestClient) -> None:
    admin.delete("/v1/users", params={"user": "7"})
    best = ids(admin, "7", n=1)[0]
    admin.post("/v1/events", json={"user": "7", "item": best, "value": 5})
    assert len(ids(admin, "7", n=60)) == 59


def test_unavailable_items_are_never_recommended(admin: TestClient) -> None:
    unavailable = ids(admin, "7", n=3)
    assert admin.post("/v1/items/availability", json={"items": unavailable, "available": False}).status_code == 200
    for user in ("7", "nobody"):
        assert not set(ids(admin, user, n=60)) & set(unavailable)
        assert not set(ids(admin, user, n=60, explore=1.0)) & set(unavailable)
    other = ids(admin, "7", n=1)[0]
    alike = admin.get("/v1/items/similar", params={"item": other, "n": 60}).json()["items"]
    assert len(alike) == 56
    assert not {entry["item"] for entry in alike} & set(unavailable)
    admin.post("/v1/items/availability", json={"items": unavailable, "available": True})
    assert ids(admin, "7", n=3) == unavailable


def test_metadata_filters_and_titles(admin: TestClient) -> None:
    items = [
        {"item": 3, "title": "Alien", "metadata": {"genre": ["horror", "space"], "year": 1979}},
        {"item": 4, "title": "Clue", "metadata": {"genre": ["comedy"], "year": 1985}},
        {"item": 5, "title": "Jaws", "metadata": {"genre": ["horror"], "year": 1975}},
        {"item": "unknown to the model", "metadata": {"genre": ["horror"]}},
    ]
    assert admin.put("/v1/items", json={"items": items}).status_code == 200
    assert set(ids(admin, "nobody", where='genre = "horror"')) == {"3", "5"}
    assert set(ids(admin, "nobody", where='genre in ("horror", "comedy") and year in (1985, 1975)')) == {"4", "5"}
    assert ids(admin, "nobody", where='genre = "none"') == []
    assert ids(admin, "nobody", where="1975 < year < 1980 and title contains 'Ali'") == ["3"]
    later = {"item": 5, "metadata": {"genre": "horror | space", "year": "1979?"}}
    assert admin.put("/v1/items", json={"items": [later]}).status_code == 200
    assert set(ids(admin, "nobody", where='genre contains "space"')) == {"3", "5"}  # the change counts at once
    assert ids(admin, "nobody", where="year = 1979") == ["3"]  # a column may have values of several types
    assert ids(admin, "nobody", where='year = "1979?"') == ["5"]
    assert set(ids(admin, "nobody", where='genre = "horror"', exclude=[5, "unknown"])) == {"3"}
    assert admin.get("/v1/items", params={"item": "4"}).json()["metadata"]["year"] == 1985
    assert admin.get("/v1/items", params={"item": "none"}).status_code == 404


def test_query_options(admin: TestClient) -> None:
    plain = ids(admin, "7", n=10)
    assert ids(admin, "7", n=9, exclude=[plain[0]]) == plain[1:]
    assert ids(admin, "7", n=10, diversity=0.9) != plain
    assert admin.post("/v1/recommendations", json={"user": "7", "rank_by": "lower"}).status_code == 409
    new = {"history": [{"item": plain[0], "value": 5}, {"item": "unknown", "value": 3}], "n": 60}
    response = admin.post("/v1/recommendations", json=new).json()
    assert response["answered_by"] == "fold-in"
    assert len(response["items"]) == 59
    lists = admin.post("/v1/recommendations/batch", json={"users": ["7", "nobody"]}).json()["lists"]
    assert [(entry["user"], entry["answered_by"]) for entry in lists] == [("7", "model"), ("nobody", "prior")]
    assert [entry["item"] for entry in lists[0]["items"]] == plain


def test_impressions_are_stored(admin: TestClient, store: Store) -> None:
    admin.post("/v1/recommendations", json={"user": "7", "n": 3, "explore": 0.5})
    admin.post("/v1/recommendations", json={"user": "8", "n": 3, "log": False})
    admin.app.state.service.store.impressions.flush()  # type: ignore[attr-defined]
    rows = store.impressions.frame()
    assert rows["user"].to_list() == ["7"] * 3
    assert rows["slot"].to_list() == [1, 2, 3]
    assert (rows["propensity"] <= 1).all()
    assert rows["model"].to_list() == [1] * 3


def test_explanations_and_predictions(admin: TestClient) -> None:
    best = ids(admin, "7", n=1)[0]
    response = admin.get("/v1/predictions", params={"user": "7", "item": best}).json()
    assert 1 <= response["prediction"] <= 5
    assert response["interval"] is None
    why = admin.get("/v1/explanations", params={"user": "7", "item": best}).json()
    assert why["method"] == "removal"
    assert why["parts"] == []
    assert why["effects"]
    assert all(effect["effect"] for effect in why["effects"])
    terms = admin.get("/v1/explanations", params={"user": "7", "item": best, "method": "contribution"}).json()
    assert terms["method"] == "contribution"
    assert terms["effects"] == []
    assert abs(sum(part["term"] for part in terms["parts"]) - terms["score"]) < 1e-5
    assert terms["score"] == why["score"]
    assert admin.get("/v1/explanations", params={"user": "7", "item": best, "method": "both"}).status_code == 422
    assert admin.get("/v1/predictions", params={"user": "7", "item": "none"}).status_code == 404


def test_onboarding(admin: TestClient) -> None:
    answers: list[dict[str, object]] = []
    variances = []
    for _ in range(3):
        response = admin.post("/v1/onboarding", json={"answers": answers}).json()
        variances.append(response["expected_variance"])
        assert 0 < response["expected_answers"] < 10
        answers.append({"item": response["item"], "value": 4})
    assert variances[0] > variances[1] > variances[2]
    assert admin.post("/v1/onboarding", json={"answers": answers + answers[:1]}).status_code == 422


def test_user_metadata(admin: TestClient) -> None:
    assert admin.put("/v1/users", json={"user": "ana", "metadata": {"age": 31}}).status_code == 200
    assert admin.get("/v1/users", params={"user": "ana"}).json()["metadata"] == {"age": 31}
