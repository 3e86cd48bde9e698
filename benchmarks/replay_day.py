"""A day compressed: MovieLens-100k replayed as live traffic, predicted one by one before it is told.

    python benchmarks/replay_day.py              about five minutes, writes benchmarks/replay_day.md and .png
    python benchmarks/replay_day.py --hour 1000  another length of the simulated hour

The first 80 % of the ratings by time are imported into a store and learned from, as `cofactor serve ratings.csv` does.
The other 20,000 then come in the order of their times, one by one, each stored and acknowledged before the next. A
simulated hour is 500 of them; after each the trainer learns a candidate, measures it on the newest fifth of what came
since the active model, and promotes or holds it.

Before a rating is told it is predicted three times: by the live service (the active model, the user folded in with all
that was told until then), by the first model with the user folded in but never trained again, and by the first model
frozen, as a nightly batch would answer. Times within the store are those of this run, as in life.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

import cofactor
from cofactor.data.ids import IdMap
from cofactor.metrics.rating import RMSE, errors_by_user
from cofactor.recommender.recommender import Recommender
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.point_in_time import as_of
from cofactor.service.training.trainer import Trainer
from cofactor.store import Event, Store, StoredModel

PAGE = Path(__file__).parent / "replay_day.md"
PICTURE = PAGE.with_suffix(".png")
WAYS = {"live": "live service", "folded": "first model, folded in", "frozen": "first model, frozen"}
EMPTY = {"user": pl.String, "item": pl.String, "value": pl.Float64}


@dataclass
class Day:
    """What came out: each rating's truth and the three predictions, and every training."""

    users: list[int] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)
    told: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    trainings: list[StoredModel] = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)

    def rmse(self, way: str, which: Any = slice(None)) -> float:
        error = np.array(self.told[way])[which] - np.array(self.truth)[which]
        return float(np.sqrt(np.mean(error**2)))

    def gain(self, way: str, over: str) -> Any:
        """RMSE of one less that of the other, with its 95 % interval over users."""
        _, u = np.unique(self.users, return_inverse=True)
        n_users = int(u.max()) + 1
        errors = (errors_by_user(u, self.truth, self.told[one], n_users=n_users) for one in (way, over))
        first, second = map(RMSE.per_user, errors)
        return first.difference(second)


def told_by(rec: Recommender, store: Store, user: int, item: int) -> float:
    """What a service with this model answers now."""
    history = store.events.user_snapshot(user, "ratings")
    rows = [(str(user), kept.item, kept.value) for kept in history]
    now = as_of(rec, IdMap.of([str(user)]), pl.DataFrame(rows, schema=EMPTY, orient="row"))
    return float(now.predict(str(user), item))


def replayed(table: pl.DataFrame, folder: Path, *, first: int, hour: int, estimator: str = "biased-mf") -> Day:
    """The rows of a table (user, item, value, time; by time) behind the `first` as live traffic."""
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
            day.known.append(user in start.users)
            day.told["frozen"].append(float(start.predict(user, item)))
            day.told["folded"].append(told_by(start, store, user, item))
            day.told["live"].append(
                day.told["folded"][-1] if active is start else told_by(active, store, user, item)
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


def page(day: Day, hour: int, first: int) -> str:
    promoted = sum(model.status != "held" for model in day.trainings)
    known = np.array(day.known)
    lines = [
        "# A day compressed",
        "",
        f"{first:,} ratings of MovieLens-100k imported, {len(day.truth):,} replayed as live traffic, one by one.",
        f"A simulated hour is {hour:,} ratings. Each rating is predicted before it is told.",
        f"Made by `python benchmarks/replay_day.py` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores.",
        "",
        "| who answers | RMSE | of users known at the start | of users who came | against frozen (95 % over users) |",
        "|---|---|---|---|---|",
    ]
    for way, name in WAYS.items():
        gain = "" if way == "frozen" else "{:+.4f} ({:+.4f} to {:+.4f})".format(*day.gain(way, "frozen"))
        parts = [day.rmse(way, which) for which in (slice(None), known, ~known)]
        lines.append(f"| {name} | {parts[0]:.4f} | {parts[1]:.4f} | {parts[2]:.4f} | {gain} |")
    lines += [
        "",
        f"Retraining on top of folding in: {'{:+.4f} ({:+.4f} to {:+.4f})'.format(*day.gain('live', 'folded'))} RMSE.",
        f"{known.sum():,} of the ratings are by users known at the start, {(~known).sum():,} by users who came.",
        "",
        f"{len(day.trainings)} trainings: {promoted} promoted, {len(day.trainings) - promoted} held by the gate.",
        f"{np.median(day.train_seconds):.2f} s each (median), with reading, measuring, publishing and pruning.",
        "",
        "![RMSE by simulated hour](replay_day.png)",
        "",
    ]
    if held := [model for model in day.trainings if model.reasons]:
        lines += [
            "Held, for example:",
            "",
            *(f"- model {one.version}: {'; '.join(one.reasons)}" for one in held[:5]),
            "",
        ]
    return "\n".join(lines)


def draw(day: Day, hour: int, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=110)
    ends = range(hour, len(day.truth) + 1, hour)
    colors = {"live": "#2166ac", "folded": "#67a9cf", "frozen": "#8c8c8c"}
    for way, name in WAYS.items():
        axes.plot([end / hour for end in ends], [day.rmse(way, slice(0, end)) for end in ends], color=colors[way],
                  label=f"{name}: {day.rmse(way):.4f}", linewidth=2)  # fmt: skip
    axes.set_xlabel(f"simulated hours ({hour:,} ratings each)")
    axes.set_ylabel("RMSE of all predictions until then")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hour", type=int, default=500)
    hour = options.parse_args().hour
    table = cofactor.datasets.load_movielens("100k").frame().sort("time", "user", "item")
    first = len(table) * 8 // 10
    with TemporaryDirectory() as folder:
        day = replayed(table, Path(folder), first=first, hour=hour)
    PAGE.write_text(page(day, hour, first), encoding="utf-8")
    draw(day, hour, PICTURE)
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
