"""Items with ratings below the threshold of events, or with data of the other kind, are not recommended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.cli.input_options import Source
from cofactor.data.ids import IdMap
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.estimators.base import Estimator
from cofactor.recommender.recommender import Recommender
from cofactor.results import Query
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import import_table, prepare
from cofactor.service.engine import Engine
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.data import training_data
from cofactor.service.training.point_in_time import as_of
from cofactor.service.training.promotion_gate import PromotionGate, ranking_accuracy
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Item, Store

EVENTS = TrainingSpec(cofactor.ItemKNN(), "events")


def films(folder: Path) -> Path:
    """Six users rate a, b, c and d with 5; ana rates a and b with 5, and c with 1."""
    lines = ["user,item,rating", *(f"u{n},{item},5" for n in range(6) for item in "abcd")]
    path = folder / "films.csv"
    path.write_text("\n".join([*lines, "ana,a,5", "ana,b,5", "ana,c,1"]) + "\n")
    return path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[TestClient]:
    settings = ServiceSettings.of({"data": str(tmp_path / "data"), "key_cache_seconds": 0.0})
    table = Source(ratings=str(films(tmp_path)), min_rating=4).read()
    key = prepare(settings, table, EVENTS).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def store_of(client: TestClient) -> Store:
    store: Store = client.app.state.service.store  # type: ignore[attr-defined]
    return store


def trained(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    assert Trainer(service.store, service.artifacts).train().status == "active"
    assert service.engine.refresh()


def lists(client: TestClient, user: str) -> list[list[str]]:
    """Return the items that each route recommends to a user."""
    answers = [
        client.get("/v1/recommendations", params={"user": user}),
        client.post("/v1/recommendations", json={"user": user, "explore": 1.0}),
        client.post("/v1/recommendations/batch", json={"users": [user]}),
    ]
    documents = [answer.json() for answer in answers]
    return [sorted(place["item"] for place in entry["items"]) for entry in (*documents[:2], *documents[2]["lists"])]


def test_a_low_rating_is_not_recommended_at_any_time(served: TestClient) -> None:
    assert lists(served, "ana") == [["d"]] * 3
    trained(served)
    assert lists(served, "ana") == [["d"]] * 3
    served.post("/v1/events", json={"user": "ana", "item": "a", "kind": "event"})  # she is a known user from now on
    assert served.get("/v1/recommendations", params={"user": "ana"}).json()["answered_by"] == "fold-in"
    assert lists(served, "ana") == [["d"]] * 3
    trained(served)
    assert lists(served, "ana") == [["d"]] * 3
    served.post("/v1/events", json={"user": "ana", "item": "c", "kind": "removal"})
    assert lists(served, "ana") == [["c", "d"]] * 3
    trained(served)
    assert lists(served, "ana") == [["c", "d"]] * 3


def test_the_service_lists_what_python_lists(served: TestClient, tmp_path: Path) -> None:
    table = cofactor.read_ratings(films(tmp_path)).to_events(min_rating=4)
    rec = Recommender.fit(cofactor.ItemKNN(), table)
    for user in ("ana", "u3"):
        assert lists(served, user)[0] == sorted(rec.recommend(user)["item"].to_list())


def test_a_second_start_imports_low_ratings_once(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path / "data")})
    table = Source(ratings=str(films(tmp_path)), min_rating=4).read()
    first, again = (prepare(settings, table, EVENTS).import_result for _ in range(2))
    assert first is not None
    assert again is not None
    assert (first.rows, first.stored, again.stored) == (27, 27, 0)
    with Store.open(settings.url) as store:
        assert store.events.snapshot("ratings").select("user", "item", "value").rows() == [("ana", "c", 1.0)]
        assert len(store.events.snapshot("events")) == 26


def test_a_rating_sent_to_a_model_of_events_is_seen_after_the_next_training(served: TestClient) -> None:
    """It does not count as an event, however high it is."""
    before = store_of(served).events.snapshot("events").height
    for item, value in (("c", 1), ("d", 5)):
        answer = served.post("/v1/events", json={"user": "zoe", "item": item, "value": value})
        assert answer.status_code == 201
    served.post("/v1/events", json={"user": "zoe", "item": "a", "kind": "event"})
    assert lists(served, "zoe") == [["b"]] * 3
    trained(served)
    assert served.get("/v1/recommendations", params={"user": "zoe"}).json()["answered_by"] == "model"
    assert lists(served, "zoe") == [["b"]] * 3
    assert store_of(served).events.snapshot("events").height == before + 1


def test_an_event_sent_to_a_model_of_ratings_is_seen_after_the_next_training(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path / "data")})
    key = prepare(settings, cofactor.read_ratings(films(tmp_path)), TrainingSpec(cofactor.Bias())).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        assert lists(client, "ana") == [["d"]] * 3
        client.post("/v1/events", json={"user": "ana", "item": "d", "kind": "event"})
        client.post("/v1/events", json={"user": "ana", "item": "nowhere", "kind": "event"})
        assert lists(client, "ana") == [[]] * 3
        trained(client)
        assert lists(client, "ana") == [[]] * 3
        rec = client.app.state.service.engine.model.recommender  # type: ignore[attr-defined]
        assert rec.items.all.to_list() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("estimator", [cofactor.ImplicitALS(factors=2), cofactor.EASE(), cofactor.Popularity()])
def test_no_low_rating_is_listed_with_any_model(estimator: Estimator, tmp_path: Path) -> None:
    ratings = generate(SyntheticConfig(n_users=40, n_items=30, n_ratings=500)).interactions
    events = ratings.to_events(min_rating=4)
    assert events.seen is not None
    low = {(str(user), str(item)) for user, item in events.seen.frame().select("user", "item").rows()}
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        artifacts = ArtifactRegistry(tmp_path / "artifacts")
        import_table(store, events)
        Trainer(store, artifacts, spec=TrainingSpec(estimator, "events")).train()
        engine = Engine(store, artifacts)
        for _ in range(2):
            assert len(engine.model.recommender.items) == ratings.n_items
            listed = {
                (user, place.item)
                for user in map(str, ratings.users.all)
                for place in engine.recommend(user, Query(n=30)).items
            }
            assert listed
            assert not listed & low
            Trainer(store, artifacts, gate=PromotionGate(lift=9, coverage=1, top_share=1, tolerance=9)).train()
            assert engine.refresh()


def test_new_items_do_not_bring_low_ratings_back(tmp_path: Path) -> None:
    ratings = generate(SyntheticConfig(n_users=40, n_items=30, n_ratings=500)).interactions
    events = ratings.to_events(min_rating=4)
    assert events.seen is not None
    user = str(events.seen.frame()["user"][0])
    low = {str(item) for item in events.seen.frame().filter(pl.col("user") == int(user))["item"]}
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        artifacts = ArtifactRegistry(tmp_path / "artifacts")
        import_table(store, events)
        Trainer(store, artifacts, spec=TrainingSpec(cofactor.ImplicitALS(factors=2), "events")).train()
        engine = Engine(store, artifacts)
        store.items.put([Item("-5"), Item("1000")])  # rows of existing items move
        engine.catch_up()
        assert engine.extend_catalog()
        listed = {place.item for place in engine.recommend(user, Query(n=60)).items}
        assert listed
        assert not listed & low


def test_training_data_exclude_pairs_of_the_other_kind(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.append([Event("2", "7", kind="event"), Event("2", "7", 1), Event("10", "8", 2)])
        data = training_data(store, "events", 3, 3)
        assert data.train.users.all.to_list() == [2, 10]
        assert data.train.frame().select("user", "item").rows() == [(2, 7)]
        assert data.train.seen is not None
        assert data.train.seen.frame().select("user", "item", "value").rows() == [(10, 8, 2.0)]
        store.events.append([Event("ana", "9", 3), Event("10", "8", kind="removal")])
        data = training_data(store, "events", 5, 5)
        assert data.train.users.all.to_list() == ["2", "ana"]
        assert data.train.frame().select("user", "item").rows() == [("2", 7)]
        assert data.train.seen is not None
        assert data.train.seen.frame().select("user", "item").rows() == [("ana", 9)]


def test_the_gate_compares_lists_without_seen_items(tmp_path: Path) -> None:
    """Lists exclude items with a low rating, so that models are not compared on them."""
    table = cofactor.read_ratings(films(tmp_path)).to_events(min_rating=4)
    rec = Recommender.fit(cofactor.ItemKNN(), table)
    users = IdMap.of(["ana", "u0"])
    state = table.frame().select("user", "item", "value")
    seen = pl.DataFrame({"user": ["ana"], "item": ["c"], "value": [1.0]})
    now = as_of(rec, users, state, None, seen)
    assert now.recommend("ana")["item"].to_list() == ["d"]
    assert as_of(rec, users, state).recommend("ana")["item"].to_list() == ["c", "d"]
    held = pl.DataFrame({"user": ["ana", "ana"], "item": ["c", "d"], "value": [1.0, 1.0], "time": [0, 0]})
    accuracy = ranking_accuracy(now, now, held, 10, 0)
    assert (accuracy.events, accuracy.users, accuracy.candidate) == (1, 1, 1.0)
    assert np.isnan(ranking_accuracy(now, now, held[:1], 10, 0).candidate)


def test_an_erased_user_has_no_seen_items(served: TestClient) -> None:
    store = store_of(served)
    served.delete("/v1/users", params={"user": "ana"})
    data = training_data(store, "events", store.events.watermark(), store.events.watermark())
    assert data.excluded is not None
    assert data.excluded.is_empty()
    assert data.train.seen is None
    assert sorted(lists(served, "ana")[0]) == ["a", "b", "c", "d"]
