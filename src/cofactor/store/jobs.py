"""Job queue for worker processes: each job has one worker at a time and is requeued if the worker dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, func, insert, select, update

from cofactor.errors import DataError, JobLostError, ParameterError, StoreError
from cofactor.store.connect import Database, lock, now
from cofactor.store.schema import jobs
from cofactor.store.validation import checked_id, checked_integer, checked_json, checked_number
from cofactor.store.writer import Writer

__all__ = ["Job", "JobState", "Jobs"]

JobState: TypeAlias = Literal["queued", "running", "done", "failed"]
MAX_ATTEMPTS = 3
STALE_AFTER = 60.0
MAX_MESSAGE_LENGTH = 2_000


@dataclass(frozen=True)
class Job:
    """Job in the queue, as of the time it was read.

    Attributes
    ----------
    id : int
        ID of the job.
    kind : str
        Kind of work, such as "train".
    state : {'queued', 'running', 'done', 'failed'}
        State of the job.
    spec : Any
        JSON-serializable parameters of the job.
    owner : str or None
        Current or last worker.
    attempts : int
        Number of times the job was started.
    progress : float
        Progress reported by the worker, from 0 to 1.
    message : str
        Last message from the worker.
    created : int
        Time of creation, in seconds since the Unix epoch.
    started, finished : int or None
        Times at which the job was last started and finished, in seconds since the Unix epoch.

    Examples
    --------
    >>> Job(1, "train", "queued", {"seed": 0}, None, 0, 0.0, "", 1_700_000_000, None, None).state
    'queued'
    """

    id: int
    kind: str
    state: JobState
    spec: Any
    owner: str | None
    attempts: int
    progress: float
    message: str
    created: int
    started: int | None
    finished: int | None


class Jobs:
    """Job queue of the store.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     _ = store.jobs.enqueue("train", {"estimator": "explicit-als"})
    ...     job = store.jobs.claim("trainer-1")
    ...     store.jobs.heartbeat(job, progress=0.5, message="epoch 5 of 10")
    ...     store.jobs.finish(job)
    ...     store.jobs.get(job.id).state, store.jobs.claim("trainer-2")
    ('done', None)
    """

    def __init__(self, database: Database, writer: Writer):
        self._database = database
        self._writer = writer

    def enqueue(self, kind: str, spec: Any = None) -> Job:
        """Add a job to the queue.

        Parameters
        ----------
        kind : str
            Kind of work, such as "train".
        spec : Any, default None
            JSON-serializable parameters.

        Returns
        -------
        Job
            The new job.
        """
        row = _new_row(kind, spec)
        return self._writer.run(lambda connection: _enqueue(connection, row))

    def enqueue_once(self, kind: str, spec: Any = None) -> Job:
        """Add a job to the queue unless an equivalent one is already queued.

        Parameters
        ----------
        kind : str
            Kind of work, such as "train".
        spec : Any, default None
            JSON-serializable parameters; None matches any queued job of this kind.

        Returns
        -------
        Job
            The queued job with this kind and spec if there is one, otherwise a new job.
        """
        row = _new_row(kind, spec)
        text = None if spec is None else row["spec"]
        return self._writer.run(lambda connection: _find_queued(connection, kind, text) or _enqueue(connection, row))

    def claim(self, owner: str, kinds: Iterable[str] | None = None, *, stale_after: float = STALE_AFTER) -> Job | None:
        """Assign the oldest queued job to a worker and return it.

        Parameters
        ----------
        owner : str
            Name of the worker.
        kinds : iterable of str or None, default None
            Kinds of work to accept; None for all.
        stale_after : float, default 60.0
            Seconds without a heartbeat after which a running job is considered abandoned.

        Returns
        -------
        Job or None
            The job, which is not assigned to any other worker; None if no job is queued.

        Notes
        -----
        Abandoned jobs are first put back into the queue, or marked as failed after the third attempt. To be robust
        against clock changes, heartbeats use the clock of the PostgreSQL server or, on SQLite, the monotonic clock.
        """
        name, kind_list = checked_id(owner, "the owner"), None if kinds is None else list(kinds)
        if not stale_after > 0:
            raise ParameterError(f"stale_after must be a positive number of seconds; got {stale_after!r}")
        return self._writer.run(lambda connection: _claim(connection, name, kind_list, stale_after))

    def heartbeat(self, job: Job, *, progress: float | None = None, message: str | None = None) -> None:
        """Report that a job is still running.

        Parameters
        ----------
        job : Job
            The job, as returned by `claim`.
        progress : float or None, default None
            Progress from 0 to 1; None to leave it unchanged.
        message : str or None, default None
            Message; None to leave it unchanged.

        Raises
        ------
        JobLostError
            If the job is no longer assigned to this worker.
        """
        values: dict[str, Any] = {}
        if progress is not None:
            values["progress"] = checked_number(progress, "the progress", 0, 1)
        if message is not None:
            values["message"] = _message(message)
        self._change(job, values)

    def finish(self, job: Job, message: str = "") -> None:
        """Mark a job as done.

        Parameters
        ----------
        job : Job
            The job, as returned by `claim`.
        message : str, default ""
            Final message.

        Raises
        ------
        JobLostError
            If the job is no longer assigned to this worker.
        """
        self._change(job, {"state": "done", "progress": 1.0, "message": _message(message), "finished": now()})

    def fail(self, job: Job, message: str) -> None:
        """Mark a job as failed; it is not retried.

        Parameters
        ----------
        job : Job
            The job, as returned by `claim`.
        message : str
            Reason for the failure.

        Raises
        ------
        JobLostError
            If the job is no longer assigned to this worker.
        """
        self._change(job, {"state": "failed", "message": _message(message), "finished": now()})

    def get(self, job: int) -> Job:
        """Return a job by ID.

        Parameters
        ----------
        job : int
            ID of the job.

        Returns
        -------
        Job
            The job.

        Raises
        ------
        StoreError
            If there is no job with this ID.
        """
        with self._database.read_transaction() as connection:
            return _get(connection, checked_integer(job, "the job"))

    def newest(self, limit: int = 100, state: JobState | None = None) -> list[Job]:
        """Return the most recent jobs, newest first.

        Parameters
        ----------
        limit : int, default 100
            Maximum number of jobs.
        state : {'queued', 'running', 'done', 'failed'} or None, default None
            State of the jobs to return; None for all.

        Returns
        -------
        list of Job
            The jobs, newest first; empty if there are none.
        """
        if state is not None and state not in get_args(JobState):
            raise ParameterError(f"state must be one of {', '.join(get_args(JobState))}, not {state!r}")
        query = select(*_COLUMNS).order_by(jobs.c.id.desc()).limit(checked_integer(limit, "limit"))
        with self._database.read_transaction() as connection:
            rows = connection.execute(query if state is None else query.where(jobs.c.state == state))
            return [_job(row) for row in rows]

    def _change(self, job: Job, values: dict[str, Any]) -> None:
        self._writer.run(lambda connection: _change(connection, job, values))


_COLUMNS = [jobs.c[field.name] for field in fields(Job)]


def _job(row: Any) -> Job:
    values = row._asdict()
    return Job(**{**values, "spec": json.loads(values["spec"])})


def _get(connection: Connection, job: int) -> Job:
    row = connection.execute(select(*_COLUMNS).where(jobs.c.id == job)).one_or_none()
    if row is None:
        raise StoreError(f"there is no job {job}")
    return _job(row)


def _message(message: Any) -> str:
    """Validate a message and truncate it to 2,000 characters, without characters that PostgreSQL rejects."""
    if not isinstance(message, str):
        raise DataError(f"the message of a job must be a string, not {message!r}")
    return message.replace("\0", " ").encode("utf-8", "replace").decode()[:MAX_MESSAGE_LENGTH]


def _new_row(kind: str, spec: Any) -> dict[str, Any]:
    return {
        "kind": checked_id(kind, "the job's kind"),
        "state": "queued",
        "spec": checked_json(spec, "the job's spec"),
        "attempts": 0,
        "progress": 0.0,
        "message": "",
        "created": now(),
    }


def _enqueue(connection: Connection, row: dict[str, Any]) -> Job:
    return _get(connection, connection.execute(insert(jobs).values(row).returning(jobs.c.id)).scalar_one())


def _find_queued(connection: Connection, kind: str, spec: str | None) -> Job | None:
    """Return the oldest queued job with this kind and spec; take the lock that serializes `enqueue_once`."""
    lock(connection)
    query = select(*_COLUMNS).where(jobs.c.state == "queued", jobs.c.kind == kind)
    if spec is not None:
        query = query.where(jobs.c.spec == spec)
    row = connection.execute(query.order_by(jobs.c.id).limit(1)).one_or_none()
    return None if row is None else _job(row)


def _clock_seconds(connection: Connection) -> float:
    """Return the time of a clock shared by all workers: the PostgreSQL server's clock or the monotonic clock."""
    if connection.dialect.name == "sqlite":
        return time.monotonic()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _claim(connection: Connection, owner: str, kinds: list[str] | None, stale_after: float) -> Job | None:
    current_seconds = _clock_seconds(connection)
    _requeue_stale(connection, current_seconds, stale_after)
    oldest_query = select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.id).limit(1)
    if kinds is not None:
        oldest_query = oldest_query.where(jobs.c.kind.in_(kinds))
    job = connection.execute(oldest_query.with_for_update(skip_locked=True)).scalar()
    if job is None:
        return None
    values = {
        "state": "running",
        "owner": owner,
        "heartbeat": current_seconds,
        "attempts": jobs.c.attempts + 1,
        "started": now(),
    }
    connection.execute(update(jobs).where(jobs.c.id == job).values(values))
    return _get(connection, job)


def _requeue_stale(connection: Connection, current_seconds: float, stale_after: float) -> None:
    """Requeue running jobs without a recent heartbeat, or mark them as failed after the last attempt."""
    running_query = select(jobs.c.id, jobs.c.owner, jobs.c.attempts, jobs.c.heartbeat).where(jobs.c.state == "running")
    for job, owner, attempts, heartbeat in connection.execute(running_query.with_for_update(skip_locked=True)).all():
        statement = update(jobs).where(jobs.c.id == job)
        if heartbeat > current_seconds:  # the clock was set back or the machine was restarted; count from now
            connection.execute(statement.values(heartbeat=current_seconds))
        elif current_seconds - heartbeat > stale_after:
            message = f"no heartbeat from {owner} for {stale_after:g} s (attempt {attempts} of {MAX_ATTEMPTS})"
            if attempts < MAX_ATTEMPTS:
                connection.execute(statement.values(state="queued", owner=None, message=message, progress=0.0))
            else:
                connection.execute(statement.values(state="failed", message=message, finished=now()))


def _change(connection: Connection, job: Job, values: dict[str, Any]) -> None:
    """Update a job if its worker still owns it; raise JobLostError otherwise."""
    conditions = (
        jobs.c.id == job.id,
        jobs.c.state == "running",
        jobs.c.owner == job.owner,
        jobs.c.attempts == job.attempts,
    )
    result = connection.execute(update(jobs).where(*conditions).values(heartbeat=_clock_seconds(connection), **values))
    if result.rowcount != 1:
        raise JobLostError(f"job {job.id} is no longer assigned to {job.owner}: it was requeued or has ended")
