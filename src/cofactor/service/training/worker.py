"""Training worker: run training jobs in a process started by `cofactor serve` or `cofactor trainer`."""

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
from types import FrameType

from cofactor.errors import CofactorError, JobLostError, ParameterError, StoreUnavailableError
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.promotion_gate import PromotionGate
from cofactor.service.training.trainer import UNTIL_KEY, ProgressCallback, Trainer
from cofactor.store import Job, Store, StoredModel

__all__ = ["TRAIN", "RetrainPolicy", "Worker", "run_queued_jobs", "run_worker"]

TRAIN = "train"
"""Kind of the jobs that training workers run."""
NICENESS = 10
"""Niceness of the training process, which gives it a lower priority than the server processes."""
RETRY_SECONDS = 600.0
"""Maximum time to wait before scheduling the next training run after a failed one, in seconds."""

_log = logging.getLogger("cofactor.trainer")


def run_worker(settings: ServiceSettings, *, stale_after: float = 60.0) -> None:
    """Train models on schedule and on request until the process receives SIGTERM or SIGINT.

    Call it in a separate process that was spawned, not forked; the priority of the process is lowered.

    Parameters
    ----------
    settings : ServiceSettings
        Settings of the service.
    stale_after : float, default 60.0
        Seconds without a heartbeat after which the job of another worker is put back into the queue.

    Raises
    ------
    StoreError, StoreUnavailableError
        If the store cannot be opened.
    """
    policy = RetrainPolicy(settings.train_after, settings.train_every)
    with Store.open(settings.url) as store:
        worker = Worker(_trainer(store, settings), policy, stale_after=stale_after)
        _stop_on_signals(worker)
        os.nice(NICENESS)
        _log.info("worker %s started", worker.owner)
        worker.run()
        _log.info("worker %s stopped", worker.owner)


def run_queued_jobs(settings: ServiceSettings) -> list[Job]:
    """Run all queued jobs and return them.

    Parameters
    ----------
    settings : ServiceSettings
        Settings of the service.

    Returns
    -------
    list of Job
        The jobs after they have finished; empty if none were queued.

    Raises
    ------
    StoreError, StoreUnavailableError
        If the store cannot be opened.
    """
    with Store.open(settings.url) as store:
        worker = Worker(_trainer(store, settings))
        return list(iter(worker.run_next, None))


def _trainer(store: Store, settings: ServiceSettings) -> Trainer:
    return Trainer(store, ArtifactRegistry(settings.artifacts), PromotionGate.of(settings))


def _stop_on_signals(worker: Worker) -> None:
    """Stop the worker on SIGTERM and SIGINT; has no effect outside the main thread, where handlers cannot be set."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        worker.stop()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)


@dataclass(frozen=True)
class RetrainPolicy:
    """Policy that decides when to train a new model automatically.

    A training is also due if users have been erased since the last one.

    Attributes
    ----------
    changes : int or None
        Number of changes in the store since the last training after which to train; None for no limit.
    seconds : float or None
        Number of seconds since the last training, if anything has changed; None for no limit.

    Examples
    --------
    >>> RetrainPolicy(changes=1000).reason(changes=1200, seconds=5.0, erased=0)
    '1,200 changes since the last training run'
    >>> RetrainPolicy().reason(changes=3, seconds=5.0, erased=0)
    """

    changes: int | None = 5_000
    seconds: float | None = 3_600.0

    def __post_init__(self) -> None:
        if self.changes is not None and self.changes < 1:
            raise ParameterError(f"changes must be at least 1 or None; got {self.changes}")
        if self.seconds is not None and not self.seconds > 0:
            raise ParameterError(f"seconds must be positive or None; got {self.seconds}")

    def reason(self, *, changes: int, seconds: float, erased: int) -> str | None:
        """Return the reason why a training run is due, or None if none is due.

        Parameters
        ----------
        changes : int
            Number of changes since the last training.
        seconds : float
            Number of seconds since the last training.
        erased : int
            Number of users erased since the last training.

        Returns
        -------
        str or None
            The reason; None if no training run is due.
        """
        if erased:
            return f"users erased since the last training run: {erased:,}"
        if self.changes is not None and changes >= self.changes:
            return f"{changes:,} changes since the last training run"
        if self.seconds is not None and changes > 0 and seconds >= self.seconds:
            return f"{seconds:,.0f} s since the last training run"
        return None


@dataclass(eq=False)
class Worker:
    """Worker that runs the training jobs of a store until stopped; several workers may share a store.

    Attributes
    ----------
    trainer : Trainer
        Trainer that runs the jobs.
    policy : RetrainPolicy
        Policy for scheduling trainings.
    owner : str
        Name under which the worker claims jobs.
    heartbeat_interval : float
        Seconds between heartbeats.
    stale_after : float
        Seconds without a heartbeat after which the job of another worker is put back into the queue.
    poll_interval : float
        Seconds between checks of the queue.
    """

    trainer: Trainer
    policy: RetrainPolicy = field(default_factory=RetrainPolicy)
    owner: str = field(default_factory=lambda: f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}")
    heartbeat_interval: float = 5.0
    stale_after: float = 60.0
    poll_interval: float = 1.0
    _stop: threading.Event = field(init=False, default_factory=threading.Event)
    _newest: tuple[int, float] = field(init=False, default=(-1, 0.0))

    def run(self) -> None:
        """Schedule and run jobs until `stop` is called; retry while the database is unavailable."""
        while not self._stop.is_set():
            try:
                self.schedule()
                job = self.run_next()
            except StoreUnavailableError as error:
                _log.warning("waiting for the database: %s", error)
                job = None
            if job is None:
                self._stop.wait(self.poll_interval)

    def stop(self) -> None:
        """Request a stop: a running fit ends after its current epoch, and its job is requeued once it is stale."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def schedule(self) -> Job | None:
        """Enqueue a training job if one is due and none is queued or running.

        Returns
        -------
        Job or None
            The new job; None if no training run is due.
        """
        store = self.trainer.store
        newest_model = max(store.models.all(), key=lambda model: model.version, default=None)
        changes, erased = self._changes_since(newest_model)
        reason = self.policy.reason(changes=changes, seconds=self._seconds_since(newest_model), erased=erased)
        if reason is None or any(store.jobs.newest(1, state) for state in ("queued", "running")):
            return None
        if (
            (last_jobs := store.jobs.newest(1))
            and last_jobs[0].state == "failed"
            and self._failed_recently(last_jobs[0])
        ):
            return None
        _log.info("a training run is due: %s", reason)
        return store.jobs.enqueue_once(TRAIN)

    def run_next(self) -> Job | None:
        """Run the next queued training job.

        Returns
        -------
        Job or None
            The job after it has finished; None if no job was queued.

        Raises
        ------
        StoreUnavailableError
            If the database is unavailable.

        Notes
        -----
        The job fails if the training raises an error. If the database is unavailable, or this process is stopped or
        killed, the job returns to the queue once it is stale, and it fails after the third attempt.
        """
        jobs = self.trainer.store.jobs
        job = jobs.claim(self.owner, [TRAIN], stale_after=self.stale_after)
        if job is None:
            return None
        try:
            with _heartbeats(self, job) as on_progress:
                name = f"job-{job.id}-{job.attempts}-{secrets.token_hex(4)}"
                model = self.trainer.train(job.spec, on_progress, name=name)
            reasons = f": {'; '.join(model.reasons)}" if model.reasons else ""
            jobs.finish(job, f"model {model.version} is {model.status}{reasons}")
        except JobLostError as error:
            _log.warning("job %d was abandoned: %s", job.id, error)
        except StoreUnavailableError as error:
            _log.warning("job %d was abandoned: %s", job.id, error)
            raise
        except Exception as error:  # noqa: BLE001  # the next job may succeed
            is_expected = isinstance(error, CofactorError | OSError | MemoryError)
            _log.warning("job %d failed: %s", job.id, error, exc_info=None if is_expected else error)
            jobs.fail(job, str(error) if is_expected and str(error) else f"{type(error).__name__}: {error}")
        return jobs.get(job.id)

    def _changes_since(self, newest_model: StoredModel | None) -> tuple[int, int]:
        """Return the number of changes and the number of erased users since the last training run started."""
        store = self.trainer.store
        if newest_model is None:
            return store.events.watermark(), 0
        metrics = newest_model.metrics if isinstance(newest_model.metrics, dict) else {}
        until = int(metrics.get(UNTIL_KEY, newest_model.watermark))
        return max(store.events.watermark() - until, 0), len(store.erasure.after(until))

    def _seconds_since(self, newest_model: StoredModel | None) -> float:
        """Return the number of seconds since this worker first saw the newest model."""
        version = 0 if newest_model is None else newest_model.version
        if version != self._newest[0]:
            self._newest = (version, time.monotonic())
        return time.monotonic() - self._newest[1]

    def _failed_recently(self, job: Job) -> bool:
        wait_seconds = min(self.policy.seconds or RETRY_SECONDS, RETRY_SECONDS)
        return 0 <= time.time() - (job.finished or 0) < wait_seconds


@contextmanager
def _heartbeats(worker: Worker, job: Job) -> Iterator[ProgressCallback]:
    """Send heartbeats from a separate thread, and yield the progress callback of the training run."""
    done_event, lost_event = threading.Event(), threading.Event()
    jobs = worker.trainer.store.jobs

    def send() -> None:
        while not done_event.wait(worker.heartbeat_interval):
            try:
                jobs.heartbeat(job)
            except JobLostError:
                lost_event.set()
                return
            except StoreUnavailableError as error:
                _log.warning("job %d: heartbeat failed: %s", job.id, error)

    def on_progress(progress: float, message: str) -> None:
        if lost_event.is_set():
            raise JobLostError(f"job {job.id} is no longer assigned to this worker")
        if worker.is_stopped:
            raise JobLostError("the worker is shutting down")
        jobs.heartbeat(job, progress=progress, message=message)

    thread = threading.Thread(target=send, name="cofactor-heartbeat", daemon=True)
    thread.start()
    try:
        yield on_progress
    finally:
        done_event.set()
        thread.join()
