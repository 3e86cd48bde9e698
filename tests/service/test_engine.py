"""The engine without HTTP."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.estimators.base import Estimator
from cofactor.models import item_search
from cofactor.recommender.exploration import draw_positions
from cofactor.results import Query
from cofactor.service import registry
from cofactor.service.bootstrap import import_table
from cofactor.service.change_feed import ChangeFeed
from cofactor.service.engine import Engine, NoModelError
from cofactor.service.loaded_model import LoadedModel
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Item, Store


@pytest.fixture
def engine(store: Store, artifacts: ArtifactRegistry, first: int) -> Engine:
    assert first == 1
    return Engine(store, artifacts)


@pytest.fixture
def other(settings: object, engine: Engine) -> Iterator[Engine]:
    """The engine of another worker."""
    with Store.open(engine.store.url) as store:
        yield Engine(store, engine.artifacts)


def ids(engine: Engine, user: str, n: int = 60) -> list[str]:
    return [item.item for item in engine.recommend(user, Query(n=n)).items]


def test_without_a_model_an_error_is_raised(store: Store, artifacts: ArtifactRegistry) -> None:
    with pytest.raises(NoModelError):
        Engine(store, artifacts).recommend("ana", Query())


def test_ratings_count_on_another_worker(engine: Engine, other: Engine) -> None:
    stream = random.Random(0)
    for turn in range(300):
        user = str(stream.randrange(260))
        before = ids(other, user, 5)
        if not before:
            continue
        item = stream.choice(before)
        engine.store.events.append([Event(user, item, stream.randrange(1, 6), key=str(turn))])
        after = other.recommend(user, Query(n=5))
        assert item not in [entry.item for entry in after.items]
        assert after.answered_by == "fold-in"
        assert not after.stale


def test_the_folded_in_vector_is_that_of_the_full_history(engine: Engine, ratings: Interactions) -> None:
    table = ratings.frame().filter(ratings.frame()["user"] == 7)
    history = {str(item): float(value) for item, value in zip(table["item"], table["value"], strict=True)}
    new = ids(engine, "7", 1)[0]
    engine.store.events.append([Event("7", new, 1)])
    lists, list_scores = engine.model.view([engine.model.state([*history.items(), (new, 1.0)])]).rank(60)
    rows, scores = lists[0][lists[0] >= 0], list_scores[0][lists[0] >= 0]
    items = engine.recommend("7", Query(n=60)).items
    assert [item.item for item in items] == [str(id_) for id_ in engine.model.recommender.items.ids(rows)]
    assert np.allclose([item.score for item in items], scores, atol=1e-5)


@pytest.mark.parametrize("estimator", [cofactor.BiasedMF(factors=3, epochs=3), cofactor.EASE(), cofactor.UserKNN()])
def test_models_of_every_kind_answer(
    store: Store, artifacts: ArtifactRegistry, ratings: Interactions, estimator: object
) -> None:
    kind = getattr(estimator, "kind", "ratings")
    table = ratings.to_events(min_rating=4) if kind == "events" else ratings
    spec = TrainingSpec(estimator, table.kind)  # type: ignore[arg-type]
    import_table(store, table)
    Trainer(store, artifacts, spec=spec).train()
    engine = Engine(store, artifacts)
    best = ids(engine, "7")
    event_kind = "event" if table.kind == "events" else "rating"
    store.events.append([Event("7", best[0], 1, kind=event_kind)])  # type: ignore[arg-type]
    assert set(ids(engine, "7")) == set(best[1:])
    assert len(ids(engine, "nobody")) == len(engine.model.recommender.items)


def test_the_order_of_events_in_time_counts(store: Store, artifacts: ArtifactRegistry, ratings: Interactions) -> None:
    table = ratings.to_events(min_rating=4)
    import_table(store, table)
    trainer = Trainer(store, artifacts, spec=TrainingSpec(cofactor.SequentialItemKNN(), "events"))
    trainer.train()
    engine = Engine(store, artifacts)
    rec = cofactor.Recommender.fit(cofactor.SequentialItemKNN(), table)
    first, second = rec.items.all[0], rec.items.all[7]
    sent = [Event("ana", str(first), kind="event", time=60), Event("ana", str(second), kind="event", time=90)]
    store.events.append(
        [*sent, Event("bo", str(second), kind="event", time=60), Event("bo", str(first), kind="event", time=90)]
    )
    trained, ana, bo = engine.recommend_batch(["7", "ana", "bo"], Query(n=60))
    assert trained.answered_by == "model"
    for answer, history in ((ana, [first, second]), (bo, [second, first])):
        expected = rec.for_history(history).recommend(n=60)
        assert [int(item.item) for item in answer.items] == expected["item"].to_list()
        np.testing.assert_allclose([item.score for item in answer.items], expected["score"], rtol=1e-6)
    history = [(str(first), 1.0), (str(second), 1.0)]
    assert engine.recommend_for(history, Query(n=60)).items == ana.items
    assert engine.recommend("ana", Query(n=60)).items == ana.items
    store.events.append([Event("ana", str(first), kind="event", time=95)])  # a repeated event is the latest of its item
    again = engine.recommend("ana", Query(n=60))
    expected = rec.for_history([(second, 1.0), (first, 2.0)]).recommend(n=60)
    assert [int(item.item) for item in again.items] == expected["item"].to_list()
    assert trainer.train().version == 2  # the gate compares both models with the histories as of the cutoff


def test_items_with_the_other_kind_of_event_are_excluded_too(engine: Engine) -> None:
    best = ids(engine, "7")
    engine.store.events.append([Event("7", best[0], 1, kind="event")])
    assert ids(engine, "7", 1) != best[:1]


@pytest.mark.parametrize("estimator", [cofactor.ExplicitALS(factors=2), cofactor.ImplicitALS(factors=2)])
def test_without_a_prior_new_users_get_the_items_of_python(
    store: Store, artifacts: ArtifactRegistry, ratings: Interactions, estimator: Estimator
) -> None:
    """Item biases if the model has them, else popularity."""
    table = ratings if estimator.kind == "ratings" else ratings.to_events(min_rating=4)
    rec = cofactor.Recommender.fit(estimator, table)
    registry.promote(store, artifacts, registry.add_candidate(store, artifacts, rec, watermark=0).version)
    engine = Engine(store, artifacts)
    answer = engine.recommend("nobody", Query(n=60))
    assert answer.answered_by == ("prior" if table.kind == "ratings" else "popularity")
    assert [int(item.item) for item in answer.items] == rec.for_history([]).recommend(n=60)["item"].to_list()
    support = [rec.support[rec.items.row(int(item.item))] for item in answer.items]
    assert (support == sorted(support, reverse=True)) == (table.kind == "events")
    if table.kind == "ratings":
        assert 1 <= engine.predict("nobody", answer.items[0].item).prediction <= 5


def test_a_roll_back_to_an_older_watermark_forgets_no_event(engine: Engine, ratings: Interactions) -> None:
    new = ids(engine, "7", 1)[0]
    engine.store.events.append([Event("7", new, 1)])
    for _ in range(2):  # so that the first is no longer the previous one, and is promoted by hand
        rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings).ensure_priors()
        mark = engine.store.events.watermark()
        added = registry.add_candidate(engine.store, engine.artifacts, rec, watermark=mark)
        registry.promote(engine.store, engine.artifacts, added.version)
        assert engine.refresh()
    registry.promote(engine.store, engine.artifacts, 1)
    assert engine.refresh()
    assert new not in ids(engine, "7")
    assert not engine.refresh()


def test_equal_requests_give_equal_draws(engine: Engine) -> None:
    query = Query(n=10, explore=0.5)
    first, second = (engine.recommend("7", query, np.random.default_rng(3)) for _ in range(2))
    assert [item.item for item in first.items] == [item.item for item in second.items]


def test_propensities_are_the_observed_shares() -> None:
    stream, pool = np.random.default_rng(0), np.array([7, 8])
    rows, scores = np.int32([1, 2, 3]), np.float32([0.9, 0.8, 0.7])
    first = [draw_positions(rows, scores, pool, 2, 0.4, stream)[0] for _ in range(4_000)]
    for row, wanted in ((7, 0.2), (8, 0.2), (1, 0.6)):
        assert abs(sum(place.row == row for place in first) / len(first) - wanted) < 0.03
        assert {round(place.propensity, 6) for place in first if place.row == row} == {wanted}


def test_changes_are_kept_within_bounds(engine: Engine) -> None:
    changes = ChangeFeed(engine.store, since=0)
    assert changes.last_change("7") > 0
    changes.discard_until(engine.store.events.watermark())
    assert changes.last_change("7") == 0
    changes.extend_back_to(0)
    assert changes.last_change("7") > 0


def test_similar_items_exclude_unavailable_items(engine: Engine) -> None:
    best = [item.item for item in engine.similar("3", 5).items]
    engine.store.items.put([Item(best[0], available=False)])
    assert [item.item for item in engine.similar("3", 4).items] == best[1:]


def test_a_model_of_string_ids_accepts_any_id(ratings: Interactions) -> None:
    text = Interactions.from_columns(["ana", "1", "007"], ["x", "1", "01"], [1, 2, 3])
    serving = LoadedModel(1, 0, cofactor.Recommender.fit(cofactor.Bias(), text))
    assert serving.item_rows(["1", "01", "001", "x"]).tolist() == [1, 0, -1, 2]
    numbers = LoadedModel(1, 0, cofactor.Recommender.fit(cofactor.Bias(), ratings))
    assert numbers.item_rows(["1", "01", "x", "-1"]).tolist()[1:] == [-1, -1, -1]
    assert numbers.user_row("07") == -1


def test_a_new_item_is_placed_by_the_prior(engine: Engine, ratings: Interactions) -> None:
    rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4), ratings).ensure_priors()
    mark = engine.store.events.watermark()
    registry.promote(
        engine.store,
        engine.artifacts,
        registry.add_candidate(engine.store, engine.artifacts, rec, watermark=mark).version,
    )
    engine.refresh()
    before = ids(engine, "7", 100)
    assert not engine.extend_catalog()
    engine.store.items.put([Item("1000", "Jaws"), Item("not a number"), Item("1001", available=False)])
    engine.catch_up()
    assert engine.extend_catalog()
    assert not engine.extend_catalog()
    after = engine.recommend("7", Query(n=100))
    assert {item.item for item in after.items} == {*before, "1000"}
    assert [item.item for item in after.items if item.item != "1000"] == before
    assert "Jaws" in [item.title for item in after.items]
    engine.store.events.append([Event("7", "1000", 5)])
    assert "1000" not in ids(engine, "7", 100)
    engine.store.items.put([Item("1002")])
    engine.catch_up()
    assert engine.extend_catalog()
    assert "1002" in ids(engine, "nobody", 100)


def test_answers_of_a_large_catalog_name_the_index_and_are_the_same(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, query = ["7", "8", "nobody"], Query(n=30)
    scanned = [engine.recommend(user, query) for user in users]
    assert [answer.item_index for answer in scanned] == [None] * 3
    monkeypatch.setattr(item_search, "MIN_CLUSTERED_ITEMS", 50)
    clustered = [Engine(engine.store, engine.artifacts).recommend(user, query) for user in users]
    assert [answer.item_index for answer in clustered] == ["clusters"] * 3
    assert [replace(answer, item_index=None) for answer in clustered] == scanned
    assert engine.recommend_batch(users, query)[1].item_index == "clusters"
