"""The promotion gate compares the lists that the service answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cofactor.data.ids import IdMap
from cofactor.data.interactions import Interactions
from cofactor.estimators import BiasedMF, ExplicitALS, ImplicitALS
from cofactor.estimators.base import Estimator
from cofactor.results import Query
from cofactor.service.engine import Engine
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.data import training_data
from cofactor.service.training.point_in_time import as_of
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Store


@pytest.mark.parametrize("estimator", [BiasedMF(factors=4), ExplicitALS(factors=4), ImplicitALS(factors=4)])
def test_lists_are_those_of_the_engine(
    estimator: Estimator, small_ratings: Interactions, small_events: Interactions, tmp_path: Path
) -> None:
    table = small_events if estimator.kind == "events" else small_ratings
    kind = "event" if table.kind == "events" else "rating"
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.events.load(table.frame().select("user", "item", "value"), kind=table.kind)
        for n, user in enumerate(table.users.all):
            store.users.put(user, {"age": 20 if n % 2 else 70})
        spec = TrainingSpec(estimator, table.kind, user_features=("age",))
        trainer = Trainer(store, ArtifactRegistry(tmp_path / "artifacts"), spec=spec)
        model = trainer.train()
        store.events.append([Event(user, f"item {n}", 4, kind=kind) for user in ("user 1", "zoe") for n in (7, 8)])
        store.events.append([Event("user 2", item, kind="removal") for item in _history(store, "user 2")[:2]])
        store.users.put("rae", {"age": 70})
        seen = store.events.watermark()
        data = training_data(store, table.kind, seen, seen)
        users = IdMap.of(["user 1", "user 2", "user 3", "rae", "zoe"])
        now = as_of(trainer.artifacts.open(str(model.file), verify=True), users, data.snapshot, data.user_metadata)
        assert now.priors is not None
        assert now.priors.users is not None
        assert now.priors.users.encoder is not None
        engine = Engine(store, trainer.artifacts)
        for user in users.all:
            answered = engine.recommend(user, Query(n=10))
            assert [place.item for place in answered.items] == now.recommend(user)["item"].to_list(), user


def _history(store: Store, user: str) -> list[str]:
    return [event.item for event in store.events.of_user(user)]
