"""Work to be done by another process: each job has one worker at a time, and outlives it."""

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
from cofactor.store.validation import checked_id, checked_json, checked_number, checked_whole
from cofactor.store.writer import Writer

__all__ = ["Job", "JobState", "Jobs"]

JobState: TypeAlias = Literal["queued", "running", "done", "failed"]
MOST_ATTEMPTS = 3
STALE = 60.0
LONGEST_MESSAGE = 2_000


@dataclass(frozen=True)
class Job:
    """A job as it stood when it was read.

    Attributes:

        id, kind: its number, and what is to be done, such as "train".
        state: queued, running, done or failed.
        spec: what to do, of JSON's types.
        owner: who works on it, or did last.
        attempts: how often it was begun.
        progress, message: what the worker last told: from 0 to 1, and a line.
        created, started, finished: whole seconds since 1970, or None.

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
    """The queue.

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
        """A new job at the end of the queue."""
        row = _new(kind, spec)
        return self._writer.run(lambda connection: _enqueue(connection, row))

    def enqueue_once(self, kind: str, spec: Any = None) -> Job:
        """The job of this kind that waits already, else a new one: what is asked for twice is done once.

        A job that waits with another spec is another job; without a spec any job of the kind will do.
        """
        row = _new(kind, spec)
        wanted = None if spec is None else row["spec"]
        return self._writer.run(lambda connection: _waiting(connection, kind, wanted) or _enqueue(connection, row))

    def claim(self, owner: str, kinds: Iterable[str] | None = None, *, stale_after: float = STALE) -> Job | None:
        """The oldest job that waits (of these kinds), now this owner's alone; None where none waits.

        First, running jobs without a heartbeat for `stale_after` seconds are put back into the queue, or failed after
        the third attempt. Seconds are counted by the database, and on SQLite by the machine's clock since it was
        started, which nobody sets: a clock that jumps does no harm.
        """
        name, wanted = checked_id(owner, "the owner"), None if kinds is None else list(kinds)
        if not stale_after > 0:
            raise ParameterError(f"stale_after is a number of seconds above 0, not {stale_after!r}")
        return self._writer.run(lambda connection: _claim(connection, name, wanted, stale_after))

    def heartbeat(self, job: Job, *, progress: float | None = None, message: str | None = None) -> None:
        """Say that this job is worked on, and how far it is. Raises JobLostError where it is the owner's no longer."""
        told: dict[str, Any] = {}
        if progress is not None:
            told["progress"] = checked_number(progress, "the progress", 0, 1)
        if message is not None:
            told["message"] = _line(message)
        self._change(job, told)

    def finish(self, job: Job, message: str = "") -> None:
        """The job is done. Raises JobLostError."""
        self._change(job, {"state": "done", "progress": 1.0, "message": _line(message), "finished": now()})

    def fail(self, job: Job, message: str) -> None:
        """The job failed, and is not tried again. Raises JobLostError."""
        self._change(job, {"state": "failed", "message": _line(message), "finished": now()})

    def get(self, job: int) -> Job:
        """One job by its number. Raises StoreError where there is none."""
        with self._database.reading() as connection:
            return _get(connection, checked_whole(job, "the job"))

    def newest(self, limit: int = 100, state: JobState | None = None) -> list[Job]:
        """The newest jobs first (in this state)."""
        if state is not None and state not in get_args(JobState):
            raise ParameterError(f"the state is one of {', '.join(get_args(JobState))}, not {state!r}")
        query = select(*_COLUMNS).order_by(jobs.c.id.desc()).limit(checked_whole(limit, "the limit"))
        with self._database.reading() as connection:
            found = connection.execute(query if state is None else query.where(jobs.c.state == state))
            return [_job(row) for row in found]

    def _change(self, job: Job, values: dict[str, Any]) -> None:
        self._writer.run(lambda connection: _change(connection, job, values))


_COLUMNS = [jobs.c[part.name] for part in fields(Job)]


def _job(row: Any) -> Job:
    values = row._asdict()
    return Job(**{**values, "spec": json.loads(values["spec"])})


def _get(connection: Connection, job: int) -> Job:
    row = connection.execute(select(*_COLUMNS).where(jobs.c.id == job)).one_or_none()
    if row is None:
        raise StoreError(f"there is no job {job}")
    return _job(row)


def _line(message: Any) -> str:
    """At most 2,000 characters, without those that PostgreSQL refuses."""
    if not isinstance(message, str):
        raise DataError(f"a job's message is a string, not {message!r}")
    return message.replace("\0", " ").encode("utf-8", "replace").decode()[:LONGEST_MESSAGE]


def _new(kind: str, spec: Any) -> dict[str, Any]:
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


def _waiting(connection: Connection, kind: str, spec: str | None) -> Job | None:
    lock(connection)
    query = select(*_COLUMNS).where(jobs.c.state == "queued", jobs.c.kind == kind)
    if spec is not None:
        query = query.where(jobs.c.spec == spec)
    row = connection.execute(query.order_by(jobs.c.id).limit(1)).one_or_none()
    return None if row is None else _job(row)


def _seconds(connection: Connection) -> float:
    """A clock that all processes here share: the server's, or on SQLite that of the machine since its start."""
    if connection.dialect.name == "sqlite":
        return time.monotonic()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _claim(connection: Connection, owner: str, kinds: list[str] | None, stale_after: float) -> Job | None:
    present = _seconds(connection)
    _revive(connection, present, stale_after)
    waiting = select(jobs.c.id).where(jobs.c.state == "queued").order_by(jobs.c.id).limit(1)
    if kinds is not None:
        waiting = waiting.where(jobs.c.kind.in_(kinds))
    found = connection.execute(waiting.with_for_update(skip_locked=True)).scalar()
    if found is None:
        return None
    begun = {
        "state": "running",
        "owner": owner,
        "heartbeat": present,
        "attempts": jobs.c.attempts + 1,
        "started": now(),
    }
    connection.execute(update(jobs).where(jobs.c.id == found).values(begun))
    return _get(connection, found)


def _revive(connection: Connection, present: float, stale_after: float) -> None:
    """Jobs whose worker gives no sign of life go back into the queue, or fail."""
    running = select(jobs.c.id, jobs.c.owner, jobs.c.attempts, jobs.c.heartbeat).where(jobs.c.state == "running")
    for job, owner, attempts, heartbeat in connection.execute(running.with_for_update(skip_locked=True)).all():
        this = update(jobs).where(jobs.c.id == job)
        if heartbeat > present:  # the clock was set back, or the machine was started anew: count from now on
            connection.execute(this.values(heartbeat=present))
        elif present - heartbeat > stale_after:
            silent = f"no sign of life from {owner} for {stale_after:g} s (attempt {attempts} of {MOST_ATTEMPTS})"
            if attempts < MOST_ATTEMPTS:
                connection.execute(this.values(state="queued", owner=None, message=silent, progress=0.0))
            else:
                connection.execute(this.values(state="failed", message=silent, finished=now()))


def _change(connection: Connection, job: Job, values: dict[str, Any]) -> None:
    own = (jobs.c.id == job.id, jobs.c.state == "running", jobs.c.owner == job.owner, jobs.c.attempts == job.attempts)
    changed = connection.execute(update(jobs).where(*own).values(heartbeat=_seconds(connection), **values))
    if changed.rowcount != 1:
        raise JobLostError(f"job {job.id} is no longer {job.owner}'s: it was taken for dead, or is over")
