"""The trainer as a process of its own: what `cofactor serve` spawns, and `cofactor trainer` runs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType

from cofactor.service.artifacts import Artifacts
from cofactor.service.guard import Guard
from cofactor.service.recipe import Recipe
from cofactor.service.retraining import Due, Retraining
from cofactor.service.trainer import Trainer
from cofactor.store import Job, Store

__all__ = ["ARTIFACTS", "store_url", "train_forever", "train_waiting"]

ARTIFACTS = "artifacts"
"""The folder of artifacts within a service's folder."""

NICE = 10

_log = logging.getLogger("cofactor.trainer")


def store_url(data: str | Path, db: str | None = None) -> str:
    """Where a service with this folder keeps its store: in `store.db` there, unless a database is named.

    >>> store_url("/srv/films")
    'sqlite:////srv/films/store.db'
    """
    return db or f"sqlite:///{Path(data).absolute() / 'store.db'}"


def train_forever(
    data: str | Path,
    db: str | None = None,
    *,
    due: Due | None = None,
    guard: Guard | None = None,
    recipe: Recipe | None = None,
    keep: int = 3,
    stale: float = 60.0,
) -> None:
    """Train whenever it is due or asked for, until the process gets SIGTERM or SIGINT.

    data: the service's folder; db: its database, where that is not in the folder. To be called in a process of its own
    that was spawned, not forked; it gives way to those that answer (`nice`). Raises StoreError,
    StoreUnavailableError where the store cannot be opened.
    """
    with Store.open(store_url(data, db)) as store:
        retraining = Retraining(_trainer(store, data, guard, recipe, keep), due or Due(), stale=stale)
        _stop_on_signals(retraining)
        os.nice(NICE)
        _log.info("the trainer %s begins", retraining.owner)
        retraining.run()
        _log.info("the trainer %s ends", retraining.owner)


def train_waiting(
    data: str | Path, db: str | None = None, *, guard: Guard | None = None, recipe: Recipe | None = None, keep: int = 3
) -> list[Job]:
    """Work on the jobs that wait, and return; those jobs as they then stand. Raises as `train_forever`."""
    with Store.open(store_url(data, db)) as store:
        retraining = Retraining(_trainer(store, data, guard, recipe, keep))
        done = []
        while (job := retraining.work()) is not None:
            done.append(job)
        return done


def _trainer(store: Store, data: str | Path, guard: Guard | None, recipe: Recipe | None, keep: int) -> Trainer:
    return Trainer(store, Artifacts(Path(data) / ARTIFACTS), guard or Guard(), recipe or Recipe(), keep)


def _stop_on_signals(retraining: Retraining) -> None:
    """SIGTERM and SIGINT end it in good order; signals go to the main thread alone."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        retraining.stop()

    if threading.current_thread() is threading.main_thread():
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, stop)
