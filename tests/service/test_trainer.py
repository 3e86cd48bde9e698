"""Training from a store: fits, promotions, held models and pruning."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import ArtifactError, DataError, JobLostError, KindError, ParameterError
from cofactor.estimators import Bias, ExplicitALS
from cofactor.models import PairedModel
from cofactor.recommender.recommender import Recommender
from cofactor.results import Query
from cofactor.service.catalog_update import with_new_items
from cofactor.service.change_feed import ItemRecord
from cofactor.service.engine import Engine
from cofactor.service.loaded_model import LoadedModel
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.data import training_data
from cofactor.service.training.promotion_gate import PromotionGate
from cofactor.service.training.spec import TrainingSpec, spec_of
from cofactor.service.training.trainer import UNTIL_KEY, Trainer
from cofactor.service.training.worker import RetrainPolicy, Worker
from cofactor.store import Event, Item, Store

LOOSE = PromotionGate(min_events=50, coverage=0.9, top_share=1.0, lift=9.0)


def by_time(table: Interactions) -> pl.DataFrame:
    return table.frame().sort("time").with_columns(pl.col("time") - 1_000_000_000)


@pytest.fixture
def store(tmp_path: Path, small_ratings: Interactions) -> Iterator[Store]:
    """2,600 ratings in the order of their times."""
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        opened.events.load(by_time(small_ratings)[:2600], kind="ratings")
        yield opened


@pytest.fixture
def rest(small_ratings: Interactions) -> pl.DataFrame:
    return by_time(small_ratings)[2600:3400]


@pytest.fixture
def trainer(store: Store, tmp_path: Path) -> Trainer:
    spec = TrainingSpec(estimator=ExplicitALS(factors=4))
    return Trainer(store, ArtifactRegistry(tmp_path / "artifacts"), gate=LOOSE, spec=spec, keep=0)


def live(store: Store, rows: pl.DataFrame) -> None:
    store.events.append([Event(user, item, value) for user, item, value in rows.select("user", "item", "value").rows()])


def test_the_first_model_is_trained_on_all_data_and_answers(trainer: Trainer, store: Store) -> None:
    model = trainer.train()
    assert model.status == "active"
    assert model.watermark == store.events.watermark() == 2600
    assert model.metrics["rows"] == 2600
    rec = trainer.artifacts.open(str(model.file), verify=True)
    trainer.artifacts.check(str(model.file), model.sha256)
    assert rec.priors is not None
    assert len(rec.recommend("user 1")) == 10
    assert spec_of(model) == trainer.spec


def test_a_better_candidate_is_promoted_by_the_newest_events(
    trainer: Trainer, store: Store, rest: pl.DataFrame
) -> None:
    trainer.train({"estimator": "bias"})
    live(store, rest)
    model = trainer.train({"estimator": {"estimator": "explicit-als", "factors": 4}})
    assert model.status == "active", model.reasons
    assert model.watermark == 3240
    assert model.metrics[UNTIL_KEY] == 3400
    accuracy = model.metrics["gate"]["accuracy"]
    assert accuracy["events"] == 160
    assert accuracy["candidate"] < accuracy["active"]
    assert store.models.previous().version == 1  # type: ignore[union-attr]


def test_a_worse_candidate_is_held_with_reasons(trainer: Trainer, store: Store, rest: pl.DataFrame) -> None:
    trainer.train()
    live(store, rest)
    model = trainer.train({"estimator": "bias"})
    assert model.status == "held"
    assert "accuracy on the newest events is worse" in model.reasons[0]
    active = store.models.active()
    assert active is not None
    assert active.version == 1


def test_the_promoted_model_is_the_compared_one(trainer: Trainer, store: Store, rest: pl.DataFrame) -> None:
    """The candidate was not trained on the held-out rows, and its file reproduces the metrics."""
    trainer.train({"estimator": "bias"})
    live(store, rest)
    model = trainer.train({"estimator": {"estimator": "explicit-als", "factors": 4}})
    rec = trainer.artifacts.open(str(model.file), verify=True)
    held = rest[-160:]
    held_pairs = zip(held["user"], held["item"], strict=True)
    histories = {
        (user, item)
        for user in held["user"].unique()
        if user in rec.users
        for item in rec.items.ids(rec.histories.row(rec.users.row(user)).columns)
    }
    assert not histories & set(held_pairs)
    predicted = rec.predict(held["user"], held["item"])["prediction"].to_numpy()
    rmse = float(np.sqrt(np.mean((predicted - held["value"].to_numpy()) ** 2)))
    assert model.metrics["gate"]["accuracy"]["candidate"] == pytest.approx(rmse, abs=0.02)


def test_the_specification_is_that_of_the_active_model(trainer: Trainer, store: Store, rest: pl.DataFrame) -> None:
    trainer.train({"estimator": {"estimator": "explicit-als", "factors": 3}, "seed": 7})
    live(store, rest)
    model = replace(trainer, spec=TrainingSpec(estimator=Bias())).train()
    assert model.estimator["factors"] == 3
    assert spec_of(model).seed == 7


def test_without_new_events_only_lists_are_compared(trainer: Trainer) -> None:
    trainer.train()
    again = trainer.train()
    assert again.status == "active"
    assert again.metrics["gate"]["accuracy"] is None
    other = trainer.train({"estimator": "bias"})
    assert other.status == "held"
    assert "it uses a different estimator" in other.reasons[0]


def test_old_artifacts_are_deleted_except_the_active_and_the_previous(trainer: Trainer, store: Store) -> None:
    for _ in range(4):
        trainer.train()
    models = [model for model in store.models.all() if model.file is not None]
    assert [model.status for model in models] == ["previous", "active"]
    assert trainer.artifacts.versions() == sorted(str(model.file).removesuffix(".cofactor") for model in models)
    assert store.models.roll_back().version == 3
    trainer.artifacts.open(str(store.models.active().file), verify=True)  # type: ignore[union-attr]


def test_orphaned_files_are_deleted(trainer: Trainer, store: Store) -> None:
    trainer.train()
    young, old = (trainer.artifacts.folder / name for name in (".job-7.cofactor.ab.tmp", "job-8.cofactor"))
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    trainer.prune()
    assert young.exists()
    assert not old.exists()
    assert trainer.artifacts.versions() == [str(store.models.active().file).removesuffix(".cofactor")]  # type: ignore[union-attr]


def test_erased_users_are_not_in_the_training_data(trainer: Trainer, store: Store) -> None:
    trainer.train()
    store.erasure.erase("user 1")
    model = trainer.train()
    assert model.status == "active"
    rec = trainer.artifacts.open(str(model.file), verify=True)
    assert "user 1" not in rec.users
    assert b"user 1\x00" not in Path(trainer.artifacts.path(str(model.file))).read_bytes()


def test_metadata_of_items_and_users_is_used_in_training(trainer: Trainer, store: Store) -> None:
    store.items.put(
        [Item(f"item {n}", f"Film {n}", metadata={"genres": ["a" if n % 2 else "b"], "odd": n}) for n in range(90)]
    )
    store.items.put([Item("item 91", metadata={"odd": "text"})])
    store.users.put("user 1", {"age": 31})
    model = trainer.train({"item_features": ["genres", "unheard of"]})
    rec = trainer.artifacts.open(str(model.file), verify=True)
    assert rec.item_table is not None
    assert set(rec.item_table.columns) == {"item", "title", "genres"}
    assert rec.user_table is not None
    assert rec.user_table.filter(pl.col("user") == "user 1")["age"].to_list() == [31.0]
    assert rec.priors is not None
    assert rec.priors.items is not None
    assert rec.priors.items.encoder is not None


def test_an_item_item_model_takes_new_items_from_the_store_by_their_features(ratings: Interactions) -> None:
    items = ratings.items.all
    genres = ["a" if n % 2 else "b" for n in range(len(items))]
    events = ratings.to_events(min_rating=3).with_item_table({"item": items, "genres": genres})
    rec = Recommender.fit(cofactor.EASE(), events)
    spec = TrainingSpec(cofactor.EASE(), kind="events", item_features=("genres",), user_features=("age",))
    fitted = spec.with_priors(rec)
    assert replace(spec, item_features=()).with_priors(rec) is rec
    new = {"100": ItemRecord("Jaws", True, {"genres": "a"}), "101": ItemRecord(None, True, {"genres": [1]})}
    assert with_new_items(LoadedModel(1, 0, rec), new) is None
    larger = with_new_items(LoadedModel(1, 0, fitted), new)
    assert larger is not None
    assert len(larger.recommender.items) == len(items) + 2
    model: Any = larger.recommender.model
    added = [larger.item_row(item) for item in new]
    user = larger.recommender.batch(np.argsort(-events.by_user.counts)[:1].astype(np.int32))
    assert model.scores(user)[0, added].all()


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"estimator": "no such"}, ParameterError),
        ({"estimator": {"estimator": "bias", "depth": 3}}, ParameterError),
        ({"kind": "events"}, DataError),
        ({"kind": "events", "estimator": "bias"}, KindError),
        ({"speed": 3}, DataError),
        ([1], DataError),
        ("bias", DataError),
        ({"seed": "7"}, ParameterError),
        ({"seed": -1}, ParameterError),
        ({"kind": ["ratings"]}, KindError),
        ({"estimator": ["bias"]}, ParameterError),
        ({"estimator": {"estimator": ["bias"]}}, ParameterError),
        ({"estimator": {"estimator": "bias", "damping": "much"}}, ParameterError),
        ({"item_features": "genres"}, DataError),
        ({"item_features": [3]}, DataError),
        ({"kind": "events", "estimator": "popularity"}, DataError),
    ],
)
def test_an_invalid_specification_is_rejected(
    trainer: Trainer, spec: object, error: type[Exception], store: Store
) -> None:
    with pytest.raises(error):
        trainer.train(spec)
    assert store.models.all() == []
    assert trainer.artifacts.versions() == []


def test_a_damaged_active_model_is_replaced(trainer: Trainer) -> None:
    path = trainer.artifacts.path(str(trainer.train().file))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError):
        trainer.artifacts.open(path.name, verify=True)
    again = trainer.train()
    assert again.status == "active"
    assert "no model to compare with" in again.metrics["gate"]["notes"][0]


def test_another_promotion_meanwhile_is_respected(trainer: Trainer, store: Store) -> None:
    trainer.train()
    trainer.train()

    def meddle(_progress: float, line: str) -> None:
        if line == "promoting or holding the model":
            store.models.roll_back()

    model = trainer.train(None, meddle)
    assert model.status == "held"
    assert "but model 1 is active now" in model.reasons[0]
    assert store.models.active().version == 1  # type: ignore[union-attr]


def test_a_job_reports_its_progress(trainer: Trainer, store: Store) -> None:
    job = store.jobs.enqueue("train", {"estimator": {"estimator": "explicit-als", "factors": 2}})
    lines: list[str] = []
    worker = Worker(trainer)
    heartbeat = store.jobs.heartbeat
    store.jobs.heartbeat = lambda job, **more: (lines.append(more.get("message", "")), heartbeat(job, **more))  # type: ignore[assignment,method-assign]
    done = worker.run_next()
    assert done is not None
    assert (done.id, done.state, done.message) == (job.id, "done", "model 1 is active")
    assert "epoch 1 of" in " ".join(lines)
    assert worker.run_next() is None


def test_a_job_that_fails_has_the_reason(trainer: Trainer, store: Store) -> None:
    store.jobs.enqueue("train", {"estimator": "nonsense"})
    done = Worker(trainer).run_next()
    assert done is not None
    assert done.state == "failed"
    assert "unknown model" in done.message


def test_a_training_is_due_after_changes_a_time_or_an_erasure(
    trainer: Trainer, store: Store, rest: pl.DataFrame
) -> None:
    worker = Worker(trainer, policy=RetrainPolicy(changes=500, seconds=None))
    assert worker.schedule() is not None
    assert worker.schedule() is None  # one waits
    worker.run_next()
    assert worker.schedule() is None
    live(store, rest[:499])
    assert worker.schedule() is None
    live(store, rest[499:500])
    assert worker.schedule() is not None
    worker.run_next()
    assert worker.schedule() is None
    store.erasure.erase("user 3")
    assert worker.schedule() is not None
    worker.run_next()
    assert worker.schedule() is None
    soon = Worker(trainer, policy=RetrainPolicy(changes=None, seconds=1e-3))
    soon.schedule()
    assert store.jobs.newest(1)[0].state == "done"  # nothing changed
    live(store, rest[500:501])
    assert soon.schedule() is not None


def test_a_failed_training_is_not_retried_at_once(trainer: Trainer, store: Store) -> None:
    worker = Worker(trainer, policy=RetrainPolicy(changes=1))
    store.jobs.enqueue("train", {"estimator": "nonsense"})
    worker.run_next()
    assert worker.schedule() is None


def test_users_erased_while_events_are_read_are_left_out(
    trainer: Trainer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were read earlier still contain them; see `EventLog.until`."""
    stale = store.events.snapshot("ratings")
    seen = store.events.watermark()
    store.erasure.erase("user 1")
    monkeypatch.setattr(store.events, "snapshot", lambda *_args, **_more: stale)
    data = training_data(store, "ratings", seen, seen)
    assert "user 1" in stale["user"]
    assert "user 1" not in data.train.users
    assert "user 2" in data.train.users


def test_users_erased_during_a_training_are_masked_and_excluded_from_the_next(trainer: Trainer, store: Store) -> None:
    def erase(_progress: float, line: str) -> None:
        if line == "writing the model":
            store.erasure.erase("user 1")

    model = trainer.train(None, erase)
    assert model.status == "active"
    at = store.erasure.erasure_seq("user 1")
    assert at is not None
    assert at > model.watermark
    worker = Worker(trainer, policy=RetrainPolicy(changes=None, seconds=None))
    assert worker.schedule() is not None
    worker.run_next()
    newest = store.models.active()
    assert newest is not None
    assert "user 1" not in trainer.artifacts.open(str(newest.file), verify=True).users
    assert worker.schedule() is None


def test_a_training_that_stops_before_the_decision_leaves_a_candidate(trainer: Trainer, store: Store) -> None:
    trainer.train()

    def end(_progress: float, line: str) -> None:
        if line == "promoting or holding the model":
            raise JobLostError("too late")

    with pytest.raises(JobLostError):
        trainer.train(None, end)
    assert [model.status for model in store.models.all()] == ["active", "candidate"]
    assert trainer.train().status == "active"
    assert [(model.status, model.file is None) for model in store.models.all()] == [
        ("previous", False),
        ("candidate", True),
        ("active", False),
    ]


def test_events_after_an_erasure_are_in_the_training_data(trainer: Trainer, store: Store) -> None:
    store.erasure.erase("user 1")
    store.events.append([Event("user 1", "item 5", 4), Event("user 1", "item 6", 2)])
    model = trainer.train()
    rec = trainer.artifacts.open(str(model.file), verify=True)
    assert rec.histories.row(rec.users.row("user 1")).values.tolist() == [4.0, 2.0]


def test_only_one_module_builds_tables_from_a_store() -> None:
    source = Path(cofactor.__file__).parent
    builders = {
        path.relative_to(source).as_posix()
        for package in ("service", "store")
        for path in (source / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "from_columns"
    }
    assert builders == {"service/training/data.py"}


def test_a_pair_of_models_is_retrained_and_answers(trainer: Trainer, store: Store, rest: pl.DataFrame) -> None:
    pair = cofactor.PairedModels(cofactor.ImplicitALS(factors=4), ExplicitALS(factors=4), min_rating=4)
    first = trainer.train({"estimator": pair.to_dict()})
    assert spec_of(first).estimator == pair
    live(store, rest)
    engine = Engine(store, trainer.artifacts)
    user = rest["user"][0]
    before = engine.recommend(user, Query(n=5))
    assert before.answered_by == "fold-in"
    assert all(item.prediction is not None and 1 <= item.prediction <= 5 for item in before.items)
    assert before.items[0].prediction == pytest.approx(engine.predict(user, before.items[0].item).prediction, abs=1e-5)
    model = trainer.train()
    assert model.status == "active", model.reasons
    gate = model.metrics["gate"]
    assert (gate["accuracy"]["metric"], gate["ranking"]["metric"]) == ("rmse", "ndcg@10")
    assert gate["ranking"]["events"] == (rest[-160:]["value"] >= 4).sum()
    assert engine.refresh()
    rec = trainer.artifacts.open(str(model.file), verify=True)
    assert isinstance(rec.model, PairedModel)
    assert [item.item for item in engine.recommend(user, Query(n=5)).items]


def test_a_pair_with_a_worse_ranker_is_held(trainer: Trainer, store: Store, rest: pl.DataFrame) -> None:
    pair = cofactor.PairedModels(cofactor.ImplicitALS(factors=4), ExplicitALS(factors=4), min_rating=4)
    trainer.train({"estimator": pair.to_dict()})
    live(store, rest)
    worse = pair.set_params(ranker=cofactor.SequentialItemKNN(neighbors=1))
    model = trainer.train({"estimator": worse.to_dict()})
    assert model.status == "held"
    assert any("accuracy on the newest events is worse: ndcg@10" in reason for reason in model.reasons)
    assert not any("rmse" in reason for reason in model.reasons)
