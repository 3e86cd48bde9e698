"""Lists over HTTP equal those of Python, with the same source of each item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import KindError
from cofactor.estimators import REGISTRY
from cofactor.models.base import FoldsIn
from cofactor.recommender.recommender import Recommender
from cofactor.results import RecommendedItem
from cofactor.service.api.app import create_app
from cofactor.service.registry import ArtifactRegistry, add_candidate, promote
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store
from tests.support.estimators import small

LEFT = ["alien", "brazil", "clue", "dune"]
RIGHT = ["heat", "jaws", "seven"]


def table(kind: str) -> Interactions:
    """Two groups of users who share no item, so that neighbors run out; "zardoz" was only rated low."""
    rows = [(f"l{n}", item) for n in range(8) for item in LEFT if (n + len(item)) % 3]
    rows += [(f"r{n}", item) for n in range(5) for item in RIGHT if (n + len(item)) % 4]
    users, items = zip(*rows, ("l0", "zardoz"), ("r0", "zardoz"), strict=True)
    values = [4 + n % 2 for n in range(len(rows))] + [1, 2]
    ratings = Interactions.from_columns(users, items, values)
    return ratings if kind == "ratings" else ratings.to_events(min_rating=4)


@dataclass
class Served:
    rec: Recommender
    client: TestClient

    def items(self, response: Any) -> list[tuple[str, str, float]]:
        return [(entry["item"], entry["answered_by"], entry["score"]) for entry in response.json()["items"]]


CASES = [
    (name, kind)
    for name, estimator in REGISTRY.items()
    for kind in ("ratings", "events")
    if estimator.kind in (kind, "any")
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    name, kind = request.param
    settings = ServiceSettings.of({"data": str(tmp_path_factory.mktemp("marks"))})
    rec = Recommender.fit(small(name), table(kind))
    artifacts = ArtifactRegistry(settings.artifacts)
    artifacts.folder.mkdir(parents=True, exist_ok=True)
    with Store.open(settings.url) as store:
        promote(store, artifacts, add_candidate(store, artifacts, rec, watermark=0).version)
        key = store.keys.create("read", "a test")
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            yield Served(rec, client)


def rows(frame: pl.DataFrame) -> list[tuple[str, str, float]]:
    return frame.select("item", "answered_by", "score").rows()


def close(actual: list[tuple[str, str, float]], wanted: list[tuple[str, str, float]]) -> bool:
    same = [row[:2] for row in actual] == [row[:2] for row in wanted]
    return same and all(abs(a[2] - b[2]) < 1e-5 for a, b in zip(actual, wanted, strict=True))


@pytest.mark.parametrize("user", ["l0", "l3", "r0", "r4"])
def test_a_known_user(served: Served, user: str) -> None:
    wanted = rows(served.rec.recommend(user, n=10))
    actual = served.items(served.client.get("/v1/recommendations", params={"user": user}))
    assert close(actual, wanted), (actual, wanted)
    batch = served.client.post("/v1/recommendations/batch", json={"users": [user]}).json()["lists"][0]
    assert [(entry["item"], entry["answered_by"]) for entry in batch["items"]] == [entry[:2] for entry in wanted]


@pytest.mark.parametrize("history", [{"jaws": 5}, {"alien": 4, "clue": 5}, {"zardoz": 1}])
def test_a_new_user(served: Served, history: dict[str, int]) -> None:
    body = {"history": [{"item": item, "value": value} for item, value in history.items()]}
    actual = served.items(served.client.post("/v1/recommendations", json=body))
    if not isinstance(served.rec.model, FoldsIn):
        with pytest.raises(KindError):
            served.rec.for_history(list(history.items())).recommend(n=10)
        assert {row[1:] for row in actual} == {("popularity", 0.0)}
        assert not {row[0] for row in actual} & history.keys()
        return
    wanted = rows(served.rec.for_history(list(history.items())).recommend(n=10))
    assert close(actual, wanted), (actual, wanted)


def test_an_unknown_user(served: Served) -> None:
    answer = served.client.get("/v1/recommendations", params={"user": "nobody"})
    actual = served.items(answer)
    assert len(actual) == len(served.rec.items)
    if isinstance(served.rec.model, FoldsIn):
        assert close(actual, rows(served.rec.for_history([]).recommend(n=10)))
    else:
        with pytest.raises(KindError):
            served.rec.for_history([]).recommend(n=10)
        assert {row[1:] for row in actual} == {("popularity", 0.0)}
        support = [served.rec.support[served.rec.items.row(row[0])] for row in actual]
        assert support == sorted(support, reverse=True)
    by_model = any(row[1] == "model" for row in actual)
    assert answer.json()["answered_by"] == ("prior" if by_model else "popularity")


def test_sources_change_where_the_model_has_no_evidence(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        rec = Recommender.fit(cofactor.ItemKNN(), table("events"))
        promote(store, artifacts, add_candidate(store, artifacts, rec, watermark=0).version)
        key = store.keys.create("read", "a test")
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            document = client.get("/v1/recommendations", params={"user": "l0"}).json()
            assert document["answered_by"] == "model"
            marks = [entry["answered_by"] for entry in document["items"]]
            assert marks == sorted(marks)
            assert {"model", "popularity"} == set(marks)
            popular = [entry["item"] for entry in document["items"] if entry["answered_by"] == "popularity"]
            support = [rec.support[rec.items.row(item)] for item in popular]
            assert set(popular) <= set(RIGHT)
            assert support == sorted(support, reverse=True)
            explored = client.post("/v1/recommendations", json={"user": "l0", "explore": 1.0}).json()["items"]
            for entry in explored:
                assert (entry["answered_by"] == "exploration") == entry["explored"]
                assert (entry["score"] is None) == entry["explored"]
            assert any(entry["explored"] for entry in explored)
            schema = client.get("/openapi.json").json()["components"]["schemas"]["RecommendedItem"]["properties"]
            assert schema["answered_by"]["enum"] == ["model", "popularity", "exploration"]
    assert "answered_by" in RecommendedItem.__dataclass_fields__


def test_an_unsupported_order_is_rejected_for_all_users(served: Served) -> None:
    cautious = [
        served.client.post("/v1/recommendations", json={"user": user, "rank_by": "lower"}) for user in ("l0", "nobody")
    ]
    assert cautious[0].status_code == cautious[1].status_code
    assert cautious[0].status_code in (200, 409)


def test_models_are_served_with_their_priors(tmp_path: Path) -> None:
    """Unknown users are answered by a prior, whose items have the source "model"."""
    settings = ServiceSettings.of({"data": str(tmp_path)})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        spec = TrainingSpec(cofactor.ImplicitALS(factors=2), "events")
        rec = spec.with_priors(Recommender.fit(spec.estimator, table("events")))
        promote(store, artifacts, add_candidate(store, artifacts, rec, watermark=0).version)
        key = store.keys.create("read", "a test")
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            response = client.get("/v1/recommendations", params={"user": "nobody"})
            assert close(Served(rec, client).items(response), rows(rec.for_history([]).recommend(n=10)))
            assert response.json()["answered_by"] == "prior"
