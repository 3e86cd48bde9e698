"""Lists over HTTP are those of Python, with the same marks of what put each item there."""

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

    def items(self, found: Any) -> list[tuple[str, str, float]]:
        return [(one["item"], one["answered_by"], one["score"]) for one in found.json()["items"]]


CASES = [(name, kind) for name, one in REGISTRY.items() for kind in ("ratings", "events") if one.kind in (kind, "any")]


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


def close(found: list[tuple[str, str, float]], wanted: list[tuple[str, str, float]]) -> bool:
    same = [one[:2] for one in found] == [one[:2] for one in wanted]
    return same and all(abs(a[2] - b[2]) < 1e-5 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("user", ["l0", "l3", "r0", "r4"])
def test_a_known_user(served: Served, user: str) -> None:
    wanted = rows(served.rec.recommend(user, n=10))
    found = served.items(served.client.get("/v1/recommendations", params={"user": user}))
    assert close(found, wanted), (found, wanted)
    batch = served.client.post("/v1/recommendations/batch", json={"users": [user]}).json()["lists"][0]
    assert [(one["item"], one["answered_by"]) for one in batch["items"]] == [one[:2] for one in wanted]


@pytest.mark.parametrize("history", [{"jaws": 5}, {"alien": 4, "clue": 5}, {"zardoz": 1}])
def test_a_new_user(served: Served, history: dict[str, int]) -> None:
    body = {"history": [{"item": item, "value": value} for item, value in history.items()]}
    found = served.items(served.client.post("/v1/recommendations", json=body))
    if not isinstance(served.rec.model, FoldsIn):
        with pytest.raises(KindError):
            served.rec.for_history(list(history.items())).recommend(n=10)
        assert {one[1:] for one in found} == {("popularity", 0.0)}
        assert not {one[0] for one in found} & history.keys()
        return
    wanted = rows(served.rec.for_history(list(history.items())).recommend(n=10))
    assert close(found, wanted), (found, wanted)


def test_a_user_of_whom_nothing_is_known(served: Served) -> None:
    answer = served.client.get("/v1/recommendations", params={"user": "nobody"})
    found = served.items(answer)
    assert len(found) == len(served.rec.items)
    if isinstance(served.rec.model, FoldsIn):
        assert close(found, rows(served.rec.for_history([]).recommend(n=10)))
    else:
        with pytest.raises(KindError):
            served.rec.for_history([]).recommend(n=10)
        assert {one[1:] for one in found} == {("popularity", 0.0)}
        support = [served.rec.support[served.rec.items.row(one[0])] for one in found]
        assert support == sorted(support, reverse=True)
    by_model = any(one[1] == "model" for one in found)
    assert answer.json()["answered_by"] == ("prior" if by_model else "popularity")


def test_marks_occur_where_evidence_runs_out(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        rec = Recommender.fit(cofactor.ItemKNN(), table("events"))
        promote(store, artifacts, add_candidate(store, artifacts, rec, watermark=0).version)
        key = store.keys.create("read", "a test")
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            found = client.get("/v1/recommendations", params={"user": "l0"}).json()
            assert found["answered_by"] == "model"
            marks = [one["answered_by"] for one in found["items"]]
            assert marks == sorted(marks)
            assert {"model", "popularity"} == set(marks)
            popular = [one["item"] for one in found["items"] if one["answered_by"] == "popularity"]
            support = [rec.support[rec.items.row(item)] for item in popular]
            assert set(popular) <= set(RIGHT)
            assert support == sorted(support, reverse=True)
            explored = client.post("/v1/recommendations", json={"user": "l0", "explore": 1.0}).json()["items"]
            for one in explored:
                assert (one["answered_by"] == "exploration") == one["explored"]
                assert (one["score"] is None) == one["explored"]
            assert any(one["explored"] for one in explored)
            schema = client.get("/openapi.json").json()["components"]["schemas"]["RecommendedItem"]["properties"]
            assert schema["answered_by"]["enum"] == ["model", "popularity", "exploration"]
    assert "answered_by" in RecommendedItem.__dataclass_fields__


def test_an_order_that_the_model_cannot_give_is_refused_for_everybody(served: Served) -> None:
    cautious = [
        served.client.post("/v1/recommendations", json={"user": user, "rank_by": "lower"}) for user in ("l0", "nobody")
    ]
    assert cautious[0].status_code == cautious[1].status_code
    assert cautious[0].status_code in (200, 409)


def test_the_recipe_of_every_model_is_served_with_its_priors(tmp_path: Path) -> None:
    """A prior answers for those of whom nothing is known, and marks its items as the model's."""
    settings = ServiceSettings.of({"data": str(tmp_path)})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        spec = TrainingSpec(cofactor.ImplicitALS(factors=2), "events")
        rec = spec.with_priors(Recommender.fit(spec.estimator, table("events")))
        promote(store, artifacts, add_candidate(store, artifacts, rec, watermark=0).version)
        key = store.keys.create("read", "a test")
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            found = client.get("/v1/recommendations", params={"user": "nobody"})
            assert close(Served(rec, client).items(found), rows(rec.for_history([]).recommend(n=10)))
            assert found.json()["answered_by"] == "prior"
