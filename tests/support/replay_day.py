"""Rows of a table replayed as live traffic: each rating is predicted before it is stored.

The first ratings by time are imported into a store and trained on, as `cofactor serve ratings.csv` does. The others
come in the order of their times, one by one, each stored and acknowledged before the next. After each simulated hour
the trainer trains a candidate, evaluates it on the newest fifth of the ratings since the active model, and promotes or
holds it.

Each rating is predicted three times before it is stored: by the live service (the active model, with all ratings of the
user until then folded in), by the first model with the user folded in, and by the first model without folding in, as a
nightly batch would answer. Times within the store are those of the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cofactor.data.ids import IdMap
from cofactor.metrics.rating import RMSE, errors_by_user
from cofactor.recommender.recommender import Recommender
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.point_in_time import as_of
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Store, StoredModel

METHODS = {"live": "live service", "folded": "first model, folded in", "frozen": "first model, frozen"}
EMPTY = {"user": pl.String, "item": pl.String, "value": pl.Float64}


@dataclass
class Day:
    """Result of a replay: the true ratings, three predictions of each, and all trainings."""

    users: list[int] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)
    predicted: dict[str, list[float]] = field(default_factory=lambda: {method: [] for method in METHODS})
    trainings: list[StoredModel] = field(default_factory=list)
    is_known: list[bool] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)

    def rmse(self, method: str, which: Any = slice(None)) -> float:
        error = np.array(self.predicted[method])[which] - np.array(self.truth)[which]
        return float(np.sqrt(np.mean(error**2)))

    def gain(self, method: str, baseline: str) -> Any:
        """Return the difference of the RMSE of two methods, with its 95 % interval over users."""
        _, u = np.unique(self.users, return_inverse=True)
        n_users = int(u.max()) + 1
        errors = (errors_by_user(u, self.truth, self.predicted[name], n_users=n_users) for name in (method, baseline))
        first, second = map(RMSE.per_user, errors)
        return first.difference(second)


def prediction_of(rec: Recommender, store: Store, user: int, item: int) -> float:
    """Return the prediction of a service with this model and the stored history of the user."""
    history = store.events.user_snapshot(user, "ratings")
    rows = [(str(user), row.item, row.value) for row in history]
    now = as_of(rec, IdMap.of([str(user)]), pl.DataFrame(rows, schema=EMPTY, orient="row"))
    return float(now.predict(str(user), item))


def replay(table: pl.DataFrame, folder: Path, *, first: int, hour: int, estimator: str = "biased-mf") -> Day:
    """Replay the rows of a table (user, item, value, time; sorted by time) after the `first` as live traffic."""
    day = Day()
    with Store.open(f"sqlite:///{folder}/store.db") as store:
        store.events.load(table[:first], kind="ratings")
        trainer = Trainer(store, ArtifactRegistry(folder / "artifacts"))
        start = _model(trainer, trainer.train({"estimator": estimator}))
        active = start
        for n, (user, item, value) in enumerate(table[first:].select("user", "item", "value").rows()):
            if n and n % hour == 0:
                active = _trained(day, trainer, active)
            day.users.append(user)
            day.truth.append(value)
            day.is_known.append(user in start.users)
            day.predicted["frozen"].append(float(start.predict(user, item)))
            day.predicted["folded"].append(prediction_of(start, store, user, item))
            day.predicted["live"].append(
                day.predicted["folded"][-1] if active is start else prediction_of(active, store, user, item)
            )  # fmt: skip
            store.events.append([Event(user, item, value, key=f"{user}-{item}")])
    return day


def _model(trainer: Trainer, stored: StoredModel) -> Recommender:
    return trainer.artifacts.open(str(stored.file), verify=False)


def _trained(day: Day, trainer: Trainer, active: Recommender) -> Recommender:
    began = time.perf_counter()
    stored = trainer.train()
    day.train_seconds.append(time.perf_counter() - began)
    day.trainings.append(stored)
    return _model(trainer, stored) if stored.status == "active" else active
