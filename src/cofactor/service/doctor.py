"""What a service's folder looks like to somebody who has to answer for it: every check says what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cofactor.errors import ArtifactError, StoreError
from cofactor.service.registry import ArtifactRegistry, orphans
from cofactor.service.training.trainer import SEEN
from cofactor.service.training.worker import ARTIFACTS, store_url
from cofactor.shell import as_path, command
from cofactor.store import Store
from cofactor.store.migrations import NEWEST, VERSION_TABLE

__all__ = ["Finding", "State", "examined", "worst"]

State = Literal["ok", "warning", "problem"]
STATES: tuple[State, ...] = ("ok", "warning", "problem")

LEAST_FREE = 200_000_000
"""Bytes without which writing events will fail soon."""
AHEAD = 120
"""Seconds that the newest event may lie ahead of this machine's clock."""
LONG_WAIT = 900
"""Seconds after which a job that nobody took shows that no trainer runs."""
LONG_WORK = 86_400


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:

        check: what was looked at.
        state: ok; a warning, which somebody should look at; a problem, with which the service does not do its work.
        says: in words, with what to do.

    >>> Finding("disk", "ok", "40 GB are free").state
    'ok'
    """

    check: str
    state: State
    says: str


def worst(findings: list[Finding]) -> State:
    """The worst state there is; of no findings "ok".

    >>> worst([Finding("disk", "warning", ""), Finding("jobs", "ok", "")])
    'warning'
    """
    return max((finding.state for finding in findings), key=STATES.index, default="ok")


def examined(data: str | Path, db: str | None = None) -> list[Finding]:
    """Every check of a service's folder, in an order that begins with what the others need. Changes nothing.

    data: the folder; db: its database, where that is not in the folder. What cannot be looked at is a finding, too:
    nothing is raised.
    """
    folder, url = Path(data), store_url(data, db)
    before = _file_checks(folder, db)
    if worst(before) == "problem":
        return before
    try:
        with Store.open(url) as store:
            checks: list[Callable[[Store, ArtifactRegistry], Iterator[Finding]]] = [
                _store, _models, _orphans, _clock, _jobs, _forgotten,
            ]  # fmt: skip
            artifacts = ArtifactRegistry(folder / ARTIFACTS)
            return before + [finding for check in checks for finding in check(store, artifacts)]
    except (StoreError, OSError) as problem:
        return [*before, Finding("store", "problem", str(problem))]


def _file_checks(folder: Path, db: str | None) -> list[Finding]:
    """What can be seen before the store is opened, which would make one, or bring it up to date."""
    if not folder.is_dir():
        return [Finding("folder", "problem", f"{folder} is not there: `{_serve(folder)}` makes it")]
    if not os.access(folder, os.W_OK):
        return [Finding("folder", "problem", f"{folder} cannot be written by this user")]
    found = [Finding("folder", "ok", str(folder.absolute())), _disk(folder)]
    if db is None or db.startswith("sqlite"):
        found.append(_sqlite(Path(store_url(folder, db).removeprefix("sqlite:///"))))
    return found


def _serve(folder: Path) -> str:
    return command("serve", "RATINGS", "--data", as_path(folder))


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    wanted = LEAST_FREE + 3 * max(sizes, default=0)
    says = f"{free / 1e9:,.1f} GB are free"
    if free < LEAST_FREE:
        return Finding("disk", "problem", f"{says}: events will soon be refused; make room")
    if free < wanted:
        return Finding("disk", "warning", f"{says}: a new model or a backup may not fit ({wanted / 1e9:,.1f} GB would)")
    return Finding("disk", "ok", says)


def _sqlite(file: Path) -> Finding:
    if not file.is_file():
        return Finding("database", "problem", f"{file} is not there: `{_serve(file.parent)}` makes it")
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            revision = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as problem:
        return Finding("database", "problem", f"{file} cannot be read ({problem}): restore a backup")
    if sound != "ok":
        return Finding("database", "problem", f"{file} is damaged ({sound}): restore a backup")
    if revision != (NEWEST,):
        told = "none" if revision is None else revision[0]
        return Finding("database", "warning", f"{file} has revision {told} and not {NEWEST}: it is updated when opened")
    if mode != "wal":
        return Finding("database", "warning", f"{file} is in journal mode {mode} and not wal: it is set when opened")
    return Finding("database", "ok", f"{file}: sound, revision {NEWEST}, write-ahead log")


def _store(store: Store, _artifacts: ArtifactRegistry) -> Iterator[Finding]:
    store.ping()
    yield Finding("store", "ok", f"{store.url} answers, at change {store.events.watermark():,}")


def _models(store: Store, artifacts: ArtifactRegistry) -> Iterator[Finding]:
    """Every artifact against the checksum that the store kept."""
    sound = 0
    for model in store.models.all():
        if model.file is None:
            continue
        try:
            artifacts.check(model.file, model.sha256)
            sound += 1
        except ArtifactError as problem:
            help_ = {"active": "roll back, or train anew", "previous": "there is nothing sound to roll back to"}
            state: State = "problem" if model.status == "active" else "warning"
            told = help_.get(model.status, "it can be deleted")
            yield Finding("artifacts", state, f"model {model.version} ({model.status}): {problem}; {told}")
    active = store.models.active()
    if active is None:
        yield Finding("model", "warning", f"no model is active: `{_serve(artifacts.folder.parent)}` fits one")
    else:
        yield Finding(
            "model", "ok", f"model {active.version} answers; it learnt from changes up to {active.watermark:,}"
        )
    yield Finding("artifacts", "ok", f"{sound} artifacts have the checksums they were published with")


def _orphans(store: Store, artifacts: ArtifactRegistry) -> Iterator[Finding]:
    if left := orphans(store, artifacts):
        says = f"{len(left)} files of no model, as {left[0].name}: left by a training that was killed; the next one "
        yield Finding("orphans", "warning", f"{says}deletes them")
    else:
        yield Finding("orphans", "ok", "every old file belongs to a model")


def _clock(store: Store, _artifacts: ArtifactRegistry) -> Iterator[Finding]:
    """This machine's clock against the database server's, and that by which the newest events were stored."""
    newest = store.events.after(max(store.events.watermark() - 1_000, 0))
    received = max((event.received for event in newest), default=0)
    server, now = store.clock(), time.time()
    if server is not None and abs(apart := server - now) > AHEAD:
        says = f"the database server's clock is {abs(apart):,.0f} s {'ahead of' if apart > 0 else 'behind'} this one: "
        yield Finding("clock", "warning", f"{says}set both by the network")
    elif (ahead := received - now) > AHEAD:
        says = f"the newest event came {ahead:,.0f} s after now: this clock was set back, or another machine's is ahead"
        yield Finding("clock", "warning", says)
    else:
        yield Finding(
            "clock", "ok", time.strftime("it is %Y-%m-%d %H:%M:%S UTC, after the newest event", time.gmtime(now))
        )


def _jobs(store: Store, _artifacts: ArtifactRegistry) -> Iterator[Finding]:
    now, found = time.time(), []
    queued, running = store.jobs.newest(1_000, "queued"), store.jobs.newest(1_000, "running")
    if queued and not running and (waits := now - min(job.created for job in queued)) > LONG_WAIT:
        found.append(f"{len(queued)} jobs wait, one for {waits:,.0f} s, and none runs: no trainer is at work")
    found += [
        f"job {job.id} has run for {now - (job.started or now):,.0f} s ({job.message}): stop its trainer, {job.owner}"
        for job in running
        if now - (job.started or now) > LONG_WORK
    ]
    if (last := store.jobs.newest(1)) and last[0].state == "failed":
        found.append(f"the last job, {last[0].id}, failed: {last[0].message}")
    for says in found:
        yield Finding("jobs", "warning", says)
    if not found:
        yield Finding("jobs", "ok", f"{len(queued)} wait, {len(running)} run")


def _forgotten(store: Store, _artifacts: ArtifactRegistry) -> Iterator[Finding]:
    """Users who were forgotten are masked at once; their traces leave the model's vectors with the next training."""
    active = store.models.active()
    metrics = active.metrics if active is not None and isinstance(active.metrics, dict) else {}
    since = 0 if active is None else max(active.watermark, int(metrics.get(SEEN, 0)))
    masked = len(store.forgotten.after(since)) if active is not None else 0
    if masked:
        yield Finding(
            "forgotten", "warning", f"{masked} forgotten users are masked until the next training; ask for it"
        )
    else:
        yield Finding("forgotten", "ok", f"{len(store.forgotten.after())} users were forgotten, and none is masked")
