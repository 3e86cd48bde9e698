"""First start with a store that has data: nothing is stored twice, and all data are used in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.errors import DataError
from cofactor.estimators import PairedModels
from cofactor.recommender.recommender import Recommender
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import prepare
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec, spec_of
from cofactor.store import Event, Item, Store

PLAYS = TrainingSpec(cofactor.ItemKNN(), "events")
RATINGS = TrainingSpec(cofactor.ExplicitALS(factors=2))
PAIRS = [("ana", "alien"), ("ana", "brazil"), ("bo", "alien"), ("bo", "clue"), ("cy", "brazil"), ("cy", "clue")]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> ServiceSettings:
    if request.param == "sqlite":
        return ServiceSettings.of({"data": str(tmp_path), "key_cache_seconds": 0.0})
    url = request.getfixturevalue("server").new()
    return ServiceSettings.of({"data": str(tmp_path), "db": url, "key_cache_seconds": 0.0})


def model_of(settings: ServiceSettings) -> Recommender:
    with Store.open(settings.url) as store:
        active = store.models.active()
        assert active is not None
        return ArtifactRegistry(settings.artifacts).open(str(active.file), verify=True)


def counts(settings: ServiceSettings) -> dict[tuple[str, str], float]:
    with Store.open(settings.url) as store:
        return {(user, item): value for user, item, value, _ in store.events.snapshot("events").rows()}


def test_events_of_a_store_without_a_model_are_not_stored_again(place: ServiceSettings) -> None:
    with Store.open(place.url) as store:
        store.events.append([Event(user, item, kind="event") for user, item in PAIRS])
        store.items.put([Item("alien", "Alien", metadata={"year": 1979}), Item("clue", "Clue")])
        before = store.events.watermark()
    ready = prepare(place, None, PLAYS)
    assert (ready.import_result, ready.is_first_model) == (None, True)
    assert counts(place) == dict.fromkeys(PAIRS, 1.0)
    with Store.open(place.url) as store:
        assert store.events.watermark() == before
        assert len(store.events.after(0)) == len(PAIRS)
    rec = model_of(place)
    assert rec.histories.values.tolist() == [1.0] * 6
    assert rec.titles is not None
    assert rec.titles.to_list() == ["Alien", None, "Clue"]
    again = prepare(place, None, PLAYS)
    assert (again.version, again.is_first_model) == (ready.version, False)
    with TestClient(create_app(place)) as client:
        response = client.get(
            "/v1/recommendations", params={"user": "bo"}, headers={"Authorization": f"Bearer {ready.key}"}
        )
        assert [(entry["item"], entry["title"]) for entry in response.json()["items"]] == [("brazil", None)]


def test_ratings_of_a_store_without_a_model_are_not_stored_again(place: ServiceSettings) -> None:
    with Store.open(place.url) as store:
        store.events.append([Event(user, item, 1 + n % 5) for n, (user, item) in enumerate(PAIRS)])
        store.events.append([Event("ana", "alien", 5), Event("cy", "clue", kind="removal")])
    prepare(place, None, RATINGS)
    with Store.open(place.url) as store:
        assert len(store.events.after(0)) == len(PAIRS) + 2
    rec = model_of(place)
    assert len(rec.histories.values) == 5
    assert rec.histories.row(rec.users.row("ana")).values.tolist() == [5.0, 2.0]
    assert rec.scale == Scale.infer([2, 3, 4, 5])


def test_the_first_model_is_trained_on_the_table_and_earlier_events(place: ServiceSettings) -> None:
    """Ratings before the watermark are not folded in, so they must be in the training data."""
    with Store.open(place.url) as store:
        store.events.append([Event("ana", "dune", 4), Event("ana", "alien", 5)])
    table = Interactions.from_columns(*zip(*PAIRS, strict=True), [4, 5, 2, 3, 1, 5])  # type: ignore[arg-type]
    ready = prepare(place, table, RATINGS)
    assert ready.import_result is not None
    assert ready.import_result.stored == 6
    rec = model_of(place)
    assert len(rec.histories.values) == 7
    with TestClient(create_app(place)) as client:
        response = client.get(
            "/v1/recommendations", params={"user": "ana"}, headers={"Authorization": f"Bearer {ready.key}"}
        )
        assert [entry["item"] for entry in response.json()["items"]] == ["clue"]


def test_a_budget_chooses_the_first_model(place: ServiceSettings) -> None:
    ratings = generate(SyntheticConfig(n_users=60, n_items=40, n_ratings=900)).interactions
    messages: list[str] = []
    ready = prepare(place, ratings, RATINGS, messages.append, budget=1.0)
    with Store.open(place.url) as store:
        model = store.models.active()
        assert model is not None
        chosen = spec_of(model).estimator
    assert isinstance(chosen, PairedModels)
    assert any("choosing a model" in message for message in messages)
    with TestClient(create_app(place)) as client:
        response = client.get(
            "/v1/recommendations", params={"user": 1}, headers={"Authorization": f"Bearer {ready.key}"}
        )
        assert len(response.json()["items"]) == 10
    assert not prepare(place, ratings, RATINGS, messages.append, budget=1.0).is_first_model


def test_a_start_that_was_interrupted_after_the_import_is_resumed(place: ServiceSettings) -> None:
    table = Interactions.from_columns(*zip(*PAIRS, strict=True), [4, 5, 2, 3, 1, 5])  # type: ignore[arg-type]
    with Store.open(place.url) as store:
        store.events.load(table)
    for source in (None, table):
        prepare(place, source, RATINGS)
        with Store.open(place.url) as store:
            assert len(store.events.after(0)) == 6
    rec, refitted = model_of(place), Recommender.fit(RATINGS.estimator, table)
    assert np.array_equal(rec.model.user_factors, refitted.model.user_factors)


def test_the_first_model_does_not_contain_erased_users(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    with Store.open(settings.url) as store:
        store.erasure.erase("bo")
    table = Interactions.from_columns(*zip(*PAIRS, strict=True), [4, 5, 2, 3, 1, 5])  # type: ignore[arg-type]
    ready = prepare(settings, table, RATINGS)
    assert ready.import_result is not None
    assert ready.import_result.skipped == 2
    assert model_of(settings).users.all.to_list() == ["ana", "cy"]


def test_a_store_of_the_other_kind_names_the_option_to_use(tmp_path: Path) -> None:
    settings = ServiceSettings.of({"data": str(tmp_path)})
    with Store.open(settings.url) as store:
        with pytest.raises(DataError, match="specify a table of ratings"):
            prepare(settings, None, RATINGS)
        store.events.append([Event("ana", "alien", kind="event")])
    with pytest.raises(DataError, match="contains events but no ratings: pass --events to train on them"):
        prepare(settings, None, RATINGS)
