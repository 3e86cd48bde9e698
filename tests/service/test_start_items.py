"""Metadata of items and users at the first start: titles and filters; nothing is duplicated or overwritten."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.data.scale import Scale
from cofactor.errors import DataError
from cofactor.service.api.app import create_app
from cofactor.service.bootstrap import prepare
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Item, Store

SPEC = TrainingSpec(cofactor.ExplicitALS(factors=4), item_features=("genres",))


@pytest.fixture
def titled(ratings: Interactions) -> Interactions:
    items, users = ratings.items.all, ratings.users.all
    genres = [None if n == 1 else "War" if n % 3 == 0 else "Comedy | Drama" for n in range(len(items))]
    titles = [None if n == 1 else f"film {item}" for n, item in enumerate(items)]
    table = ratings.with_item_table({"item": items, "title": titles, "genres": genres, "year": [1990.5] * len(items)})
    ages = [20 + n if n else None for n in range(len(users))]
    return table.with_user_table({"user": users, "age": ages, "job": ["a|b" if n else None for n in range(len(users))]})


@pytest.fixture
def titled_client(settings: ServiceSettings, titled: Interactions) -> Iterator[TestClient]:
    key = prepare(settings, titled, SPEC).key
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def best(client: TestClient, **options: object) -> list[dict[str, object]]:
    response = client.post("/v1/recommendations", json={"user": "7", "n": 60, **options})
    assert response.status_code == 200
    items: list[dict[str, object]] = response.json()["items"]
    return items


def test_titles_filters_and_availability_at_once(titled_client: TestClient, titled: Interactions) -> None:
    all_items = best(titled_client)
    names = dict(zip(titled.items.all.cast(pl.String), titled.titles, strict=True))  # type: ignore[arg-type]
    assert len(all_items) > 20
    assert {entry["item"]: entry["title"] for entry in all_items} == {
        str(entry["item"]): names[entry["item"]] for entry in all_items
    }
    wars = {str(item) for n, item in enumerate(titled.items.all) if n % 3 == 0}
    assert {entry["item"] for entry in best(titled_client, where='genres = "War"')} == wars & {
        entry["item"] for entry in all_items
    }
    dramas = best(titled_client, where='genres contains "Drama" and year = 1990.5')
    assert {entry["item"] for entry in dramas} == {entry["item"] for entry in all_items} - wars - {
        str(titled.items.all[1])
    }
    assert best(titled_client, where='genres = "Western"') == []
    unavailable = dramas[0]["item"]
    titled_client.post("/v1/items/availability", json={"items": [unavailable], "available": False})
    assert unavailable not in [entry["item"] for entry in best(titled_client)]
    document = titled_client.get("/v1/items", params={"item": unavailable}).json()
    assert (document["title"], document["metadata"]["genres"]) == (names[unavailable], ["Comedy", "Drama"])


def test_a_second_start_does_not_change_newer_metadata(
    settings: ServiceSettings, store: Store, titled: Interactions
) -> None:
    prepare(settings, titled, SPEC)
    first, second = str(titled.items.all[0]), str(titled.items.all[2])
    user = str(titled.users.all[5])
    store.items.put([Item(first, "our own title", metadata={"genres": ["Ours"]})])
    store.items.set_available([second], available=False)
    store.users.put(user, {"age": 99})
    before, facts, watermark = store.items.after(), store.users.after(), store.events.watermark()
    assert len(before) == len(titled.items.all)  # the item without title and genre has a year
    assert len(facts) == len(titled.users.all) - 1  # one user has no metadata
    prepare(settings, titled, SPEC)
    assert (store.items.after(), store.users.after(), store.events.watermark()) == (before, facts, watermark)
    longer = titled.frame().select("user", "item", "value").head(50).with_columns(pl.lit("new").alias("user"))
    other = cofactor.Interactions.from_columns(longer["user"], longer["item"], longer["value"])
    assert titled.item_table is not None
    loaded = prepare(settings, other.with_item_table(titled.item_table), SPEC).import_result
    assert loaded is not None
    assert loaded.stored == 50
    assert (store.items.after(), store.users.after()) == (before, facts)


def test_titles_can_be_imported_after_ratings(settings: ServiceSettings, store: Store, titled: Interactions) -> None:
    bare = cofactor.Interactions.from_columns(*(titled.frame()[name] for name in ("user", "item", "value")))
    prepare(settings, bare, SPEC)
    item = str(titled.items.all[0])
    store.items.set_available([item], available=False)
    assert store.items.after()[0].title is None
    prepare(settings, titled, SPEC)
    stored = store.items.get(item)
    assert stored is not None
    assert (stored.title, stored.available) == (f"film {item}", False)


def test_erased_users_stay_erased(settings: ServiceSettings, store: Store, titled: Interactions) -> None:
    prepare(settings, titled, SPEC)
    user = str(titled.users.all[5])
    assert store.users.get(user) is not None
    store.erasure.erase(user)
    prepare(settings, titled, SPEC)
    assert store.users.get(user) is None
    assert store.events.of_user(user) == []


def test_an_invalid_cell_stops_the_first_start_before_rows_are_stored(
    settings: ServiceSettings, store: Store, titled: Interactions
) -> None:
    assert titled.item_table is not None
    dirty = titled.item_table.with_columns(title=pl.lit("a\x00b"))
    with pytest.raises(DataError, match=r"item 1: the title contains the control character"):
        prepare(settings, titled.with_item_table(dirty), SPEC)
    assert store.events.watermark() == 0
    assert prepare(settings, titled, SPEC).is_first_model


def test_imported_metadata_is_used_again(settings: ServiceSettings, store: Store, titled: Interactions) -> None:
    prepare(settings, titled, SPEC)
    artifacts = ArtifactRegistry(settings.artifacts)
    trained = Trainer(store, artifacts).train()
    assert trained.status == "active"
    rec = artifacts.open(str(trained.file), verify=True)
    assert rec.item_table is not None
    assert rec.item_table["genres"].dtype == pl.List(pl.String)
    assert rec.priors is not None
    assert rec.priors.items is not None
    assert rec.priors.items.encoder is not None
    assert "genres=Drama" in rec.priors.items.encoder.names


def test_an_item_file_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("user,item,rating\nana,alien,5\nana,clue,1\nbo,alien,4\ncy,clue,2\n")
    (tmp_path / "films.csv").write_text(
        "item,title,genres\nalien,Alien,Horror|War\nclue,Clue,Comedy\njaws,Jaws,Horror\n"
    )
    script = (
        "import sys, cofactor.service.supervisor as run\n"
        "run.serve = lambda settings, bound: bound.close()\n"
        "from cofactor.__main__ import main\n"
        "main()\n"
    )
    options = ["serve", "ratings.csv", "--items", "films.csv", "--data", "data", "--port", "0", "--model", "bias"]
    command = [sys.executable, "-c", script, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Store.open(f"sqlite:///{tmp_path}/data/store.db") as store:
        assert [(item.item, item.title, item.metadata) for item in store.items.after()] == [
            ("alien", "Alien", {"genres": ["Horror", "War"]}),
            ("clue", "Clue", {"genres": ["Comedy"]}),
        ]


def test_declared_levels_are_kept_by_later_trainings(settings: ServiceSettings, store: Store) -> None:
    users, items = [f"u{n % 7}" for n in range(35)], [f"i{n % 5}" for n in range(35)]
    table = cofactor.Interactions.from_columns(
        users, items, [3 + n % 3 for n in range(35)], scale=Scale.from_levels([1, 2, 3, 4, 5])
    )
    key = prepare(settings, table, TrainingSpec(cofactor.Bias())).key
    assert Trainer(store, ArtifactRegistry(settings.artifacts)).train().status == "active"
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        responses = [
            client.post("/v1/events", json={"user": "u1", "item": "i1", "value": value}) for value in (1, 5, 6)
        ]
        assert client.get("/v1/models").json()["answering"] == 2
    assert [response.status_code for response in responses] == [201, 201, 422]
    assert "scale of 1 to 5" in responses[2].text
