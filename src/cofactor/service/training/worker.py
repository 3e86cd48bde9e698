"""The trainer as a process of its own: what `cofactor serve` spawns, and `cofactor trainer` runs."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from cofactor.errors import CofactorError, JobLostError, ParameterError, StoreUnavailableError
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.training.promotion_gate import Guard
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import SEEN, Tell, Trainer
from cofactor.store import Job, Store, StoredModel

__all__ = ["ARTIFACTS", "TRAIN", "Due", "Retraining", "store_url", "train_forever", "train_waiting"]


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
    recipe: TrainingSpec | None = None,
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
    data: str | Path,
    db: str | None = None,
    *,
    guard: Guard | None = None,
    recipe: TrainingSpec | None = None,
    keep: int = 3,
) -> list[Job]:
    """Work on the jobs that wait, and return; those jobs as they then stand. Raises as `train_forever`."""
    with Store.open(store_url(data, db)) as store:
        retraining = Retraining(_trainer(store, data, guard, recipe, keep))
        done = []
        while (job := retraining.work()) is not None:
            done.append(job)
        return done


def _trainer(store: Store, data: str | Path, guard: Guard | None, recipe: TrainingSpec | None, keep: int) -> Trainer:
    return Trainer(store, ArtifactRegistry(Path(data) / ARTIFACTS), guard or Guard(), recipe or TrainingSpec(), keep)


def _stop_on_signals(retraining: Retraining) -> None:
    """SIGTERM and SIGINT end it in good order; signals go to the main thread alone."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        retraining.stop()

    if threading.current_thread() is threading.main_thread():
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, stop)


TRAIN = "train"
"""The kind of the jobs that this process takes."""


@dataclass(frozen=True)
class Due:
    """When a training is asked for without anybody asking.

    Attributes:

        events: after so many changes in the store since the last training; None for never.
        seconds: after so long, where anything changed; None for never.

    A user who was forgotten since the last training is reason enough, whatever these say.

    >>> Due(events=1000).because(changes=1200, seconds=5.0, forgotten=0)
    '1,200 changes since the last training'
    >>> Due().because(changes=3, seconds=5.0, forgotten=0)
    """

    events: int | None = 5_000
    seconds: float | None = 3_600.0

    def __post_init__(self) -> None:
        if (self.events is not None and self.events < 1) or (self.seconds is not None and not self.seconds > 0):
            raise ParameterError(f"a training is due after 1 change and some seconds at least, not {self}")

    def because(self, *, changes: int, seconds: float, forgotten: int) -> str | None:
        """Why one is due, or None."""
        if forgotten:
            return f"{forgotten:,} users were forgotten since the last training"
        if self.events is not None and changes >= self.events:
            return f"{changes:,} changes since the last training"
        if self.seconds is not None and changes > 0 and seconds >= self.seconds:
            return f"{seconds:,.0f} s since the last training"
        return None


@dataclass(eq=False)
class Retraining:
    """Works on the jobs of a store until it is told to stop; several may do so at once, and each job has one of them.

    Attributes:

        trainer: does the work.
        due: when to ask for a training.
        beat: seconds between two signs of life; `stale`: without any for so long, a job is another's.
        poll: seconds between two looks into the queue.
    """

    trainer: Trainer
    due: Due = field(default_factory=Due)
    owner: str = field(default_factory=lambda: f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}")
    beat: float = 5.0
    stale: float = 60.0
    poll: float = 1.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _since: tuple[int, float] = (-1, 0.0)

    def run(self) -> None:
        """Until `stop`. A database that does not answer is waited for."""
        while not self._stop.is_set():
            try:
                self.ask()
                worked = self.work() is not None
            except StoreUnavailableError as gone:
                _log.warning("the trainer waits: %s", gone)
                worked = False
            if not worked:
                self._stop.wait(self.poll)

    def stop(self) -> None:
        """End as soon as may be: a fit ends at its next epoch, and its job goes back into the queue once stale."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def ask(self) -> Job | None:
        """Put a training into the queue where one is due and none waits or runs; it, or None."""
        store = self.trainer.store
        newest = max(store.models.all(), key=lambda model: model.version, default=None)
        changes, forgotten = self._changed(newest)
        why = self.due.because(changes=changes, seconds=self._waited(newest), forgotten=forgotten)
        if why is None or any(store.jobs.newest(1, state) for state in ("queued", "running")):
            return None
        if (last := store.jobs.newest(1)) and last[0].state == "failed" and self._tried(last[0]):
            return None
        _log.info("a training is due: %s", why)
        return store.jobs.enqueue_once(TRAIN)

    def work(self) -> Job | None:
        """Take a job, if one waits, and end it one way or the other; as it then stands, or None.

        What goes wrong while it learns fails the job, with the reason. Where the database is gone, or this process is
        stopped or killed, the job goes back into the queue once it is stale, and fails at the third time.
        """
        jobs = self.trainer.store.jobs
        job = jobs.claim(self.owner, [TRAIN], stale_after=self.stale)
        if job is None:
            return None
        try:
            with _beating(self, job) as tell:
                model = self.trainer.train(job.spec, tell, name=f"job-{job.id}-{job.attempts}-{secrets.token_hex(4)}")
            jobs.finish(job, _told(model))
        except (StoreUnavailableError, JobLostError) as lost:
            _log.warning("job %d: %s", job.id, lost)
            if isinstance(lost, StoreUnavailableError):
                raise
        except Exception as problem:  # noqa: BLE001  # whatever it is, the next job may go well
            foreseen = isinstance(problem, CofactorError | OSError | MemoryError)
            _log.warning("job %d failed: %s", job.id, problem, exc_info=None if foreseen else problem)
            jobs.fail(job, str(problem) if foreseen and str(problem) else f"{type(problem).__name__}: {problem}")
        return jobs.get(job.id)

    def _changed(self, newest: StoredModel | None) -> tuple[int, int]:
        """How many changes, and how many forgettings among them, since the last training began."""
        store = self.trainer.store
        metrics = newest.metrics if newest is not None and isinstance(newest.metrics, dict) else {}
        seen = int(metrics.get(SEEN, newest.watermark if newest is not None else 0))
        return max(store.events.watermark() - seen, 0), len(store.forgotten.after(seen)) if newest is not None else 0

    def _waited(self, newest: StoredModel | None) -> float:
        """Seconds since this process first saw the newest model: by a clock that nobody sets."""
        version = 0 if newest is None else newest.version
        if version != self._since[0]:
            self._since = (version, time.monotonic())
        return time.monotonic() - self._since[1]

    def _tried(self, last: Job) -> bool:
        """Whether a training that failed was tried not long ago: it is not tried again at once."""
        wait = min(self.due.seconds or 600.0, 600.0)
        return 0 <= time.time() - (last.finished or 0) < wait


@contextmanager
def _beating(retraining: Retraining, job: Job) -> Iterator[Tell]:
    """Signs of life for a job, from a thread of their own; gives what the training tells its progress to."""
    over, lost = threading.Event(), threading.Event()
    jobs = retraining.trainer.store.jobs

    def beat() -> None:
        while not over.wait(retraining.beat):
            try:
                jobs.heartbeat(job)
            except JobLostError:
                lost.set()
                return
            except StoreUnavailableError as gone:
                _log.warning("job %d: %s", job.id, gone)

    def tell(progress: float, line: str) -> None:
        if lost.is_set():
            raise JobLostError(f"job {job.id} is another's by now")
        if retraining.stopped:
            raise JobLostError(f"job {job.id} was left: this trainer is to stop")
        jobs.heartbeat(job, progress=progress, message=line)

    thread = threading.Thread(target=beat, name="cofactor-heartbeat", daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        over.set()
        thread.join()


def _told(model: StoredModel) -> str:
    return f"model {model.version} is {model.status}" + (f": {'; '.join(model.reasons)}" if model.reasons else "")
