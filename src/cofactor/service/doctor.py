"""Diagnostics: check the folder, store and models of a service, and suggest how to fix problems."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cofactor.errors import ArtifactError, StoreError
from cofactor.service.registry import ArtifactRegistry, orphaned_files
from cofactor.service.settings import ARTIFACTS, store_url
from cofactor.service.training.trainer import UNTIL_KEY
from cofactor.shell import as_path, command
from cofactor.store import Store
from cofactor.store.migrations import NEWEST, VERSION_TABLE

__all__ = ["CheckResult", "CheckState", "check_service", "worst_state"]

CheckState: TypeAlias = Literal["ok", "warning", "problem"]

MIN_FREE_BYTES = 200_000_000
"""Minimum free disk space in bytes, below which writing events will soon fail."""
MAX_CLOCK_SKEW = 120
"""Maximum difference between two clocks, in seconds."""
MAX_QUEUED_SECONDS = 900
"""Maximum time a job is expected to be queued, in seconds."""
MAX_RUN_SECONDS = 86_400
"""Maximum time a job is expected to run, in seconds."""


@dataclass(frozen=True)
class CheckResult:
    """Name, state and message of a diagnostic check.

    Attributes
    ----------
    check : str
        Name of the check.
    state : {'ok', 'warning', 'problem'}
        "warning" requires attention; with a "problem", the service does not work.
    message : str
        Description of the result and of the required action, if any.

    Examples
    --------
    >>> CheckResult("disk", "ok", "40 GB are free").state
    'ok'
    """

    check: str
    state: CheckState
    message: str


def worst_state(results: list[CheckResult]) -> CheckState:
    """Return the most severe state among several results.

    Parameters
    ----------
    results : list of CheckResult
        The results.

    Returns
    -------
    {'ok', 'warning', 'problem'}
        The state; "ok" if there are no results.

    Examples
    --------
    >>> worst_state([CheckResult("disk", "warning", ""), CheckResult("jobs", "ok", "")])
    'warning'
    """
    return max((result.state for result in results), key=get_args(CheckState).index, default="ok")


def check_service(data: str | Path, db: str | None = None) -> list[CheckResult]:
    """Run all checks on a service; nothing is changed, except that opening the store upgrades its schema.

    Parameters
    ----------
    data : str or Path
        Folder of the service.
    db : str, optional
        URL of the database, if it is not `store.db` in the folder.

    Returns
    -------
    list of CheckResult
        The results. Errors are returned as results, not raised.
    """
    folder = Path(data)
    results = _check_files(folder, db)
    if worst_state(results) == "problem":
        return results
    checks: list[Callable[[Store, ArtifactRegistry], Iterator[CheckResult]]] = [
        _check_store, _check_models, _check_orphans, _check_clock, _check_jobs, _check_erased,
    ]  # fmt: skip
    try:
        with Store.open(store_url(data, db)) as store:
            artifacts = ArtifactRegistry(folder / ARTIFACTS)
            return results + [result for check in checks for result in check(store, artifacts)]
    except (StoreError, OSError) as error:
        return [*results, CheckResult("store", "problem", str(error))]


def _check_files(folder: Path, db: str | None) -> list[CheckResult]:
    """Check the folder, the disk and the SQLite file before the store is opened, which would create or upgrade it."""
    if not folder.is_dir():
        return [CheckResult("folder", "problem", f"{folder} does not exist: create it with `{_serve_command(folder)}`")]
    if not os.access(folder, os.W_OK):
        return [CheckResult("folder", "problem", f"{folder} is not writable by this user")]
    results = [CheckResult("folder", "ok", str(folder.absolute())), _check_disk(folder)]
    if db is None or db.startswith("sqlite"):
        results.append(_check_sqlite(Path(store_url(folder, db).removeprefix("sqlite:///"))))
    return results


def _serve_command(folder: Path) -> str:
    return command("serve", "RATINGS", "--data", as_path(folder))


def _check_disk(folder: Path) -> CheckResult:
    free_bytes = shutil.disk_usage(folder).free
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    required = MIN_FREE_BYTES + 3 * max(sizes, default=0)
    message = f"{free_bytes / 1e9:,.1f} GB are free"
    if free_bytes < MIN_FREE_BYTES:
        return CheckResult("disk", "problem", f"{message}: events will soon be rejected; free up disk space")
    if free_bytes < required:
        required_text = f"{required / 1e9:,.1f} GB are required"
        return CheckResult("disk", "warning", f"{message}: a new model or a backup may not fit ({required_text})")
    return CheckResult("disk", "ok", message)


def _check_sqlite(file: Path) -> CheckResult:
    if not file.is_file():
        return CheckResult(
            "database", "problem", f"{file} does not exist: create it with `{_serve_command(file.parent)}`"
        )
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            journal_mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            integrity = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            revision = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return CheckResult("database", "problem", f"{file} cannot be read ({error}): restore a backup")
    if integrity != "ok":
        return CheckResult("database", "problem", f"{file} is damaged ({integrity}): restore a backup")
    if revision != (NEWEST,):
        current_revision = "none" if revision is None else revision[0]
        message = f"{file} has schema revision {current_revision}, not {NEWEST}: it will be upgraded when it is opened"
        return CheckResult("database", "warning", message)
    if journal_mode != "wal":
        message = f"{file} has journal mode {journal_mode}, not wal: it will be changed when the file is opened"
        return CheckResult("database", "warning", message)
    return CheckResult("database", "ok", f"{file} is intact (schema revision {NEWEST}, journal mode wal)")


def _check_store(store: Store, _artifacts: ArtifactRegistry) -> Iterator[CheckResult]:
    store.ping()
    yield CheckResult("store", "ok", f"{store.url} is available; last change {store.events.watermark():,}")


def _check_models(store: Store, artifacts: ArtifactRegistry) -> Iterator[CheckResult]:
    """Compare each artifact with its checksum in the store."""
    n_intact = 0
    actions = {"active": "roll back, or train a new model", "previous": "a rollback is not possible"}
    for model in store.models.all():
        if model.file is None:
            continue
        try:
            artifacts.check(model.file, model.sha256)
            n_intact += 1
        except ArtifactError as error:
            state: CheckState = "problem" if model.status == "active" else "warning"
            action = actions.get(model.status, "it can be deleted")
            yield CheckResult("artifacts", state, f"model {model.version} ({model.status}): {error}; {action}")
    active = store.models.active()
    if active is None:
        message = f"no model is active: train one with `{_serve_command(artifacts.folder.parent)}`"
        yield CheckResult("model", "warning", message)
    else:
        message = f"model {active.version} is active; it was trained on changes up to {active.watermark:,}"
        yield CheckResult("model", "ok", message)
    yield CheckResult("artifacts", "ok", f"{n_intact} artifacts match their checksums")


def _check_orphans(store: Store, artifacts: ArtifactRegistry) -> Iterator[CheckResult]:
    if files := orphaned_files(store, artifacts):
        message = (
            f"files without a model: {len(files)}, such as {files[0].name}; the next training run will delete them"
        )
        yield CheckResult("orphans", "warning", message)
    else:
        yield CheckResult("orphans", "ok", "all files belong to a model, except possibly recent ones")


def _check_clock(store: Store, _artifacts: ArtifactRegistry) -> Iterator[CheckResult]:
    """Compare the clock of this machine with the database server and with the newest events."""
    newest_events = store.events.after(max(store.events.watermark() - 1_000, 0))
    received = max((event.received for event in newest_events), default=0)
    server, now = store.clock(), time.time()
    if server is not None and abs(offset := server - now) > MAX_CLOCK_SKEW:
        direction = "ahead of" if offset > 0 else "behind"
        message = f"the clock of the database server is {abs(offset):,.0f} s {direction} this machine: synchronize them"
        yield CheckResult("clock", "warning", message)
    elif (time_ahead := received - now) > MAX_CLOCK_SKEW:
        message = f"the newest event was received {time_ahead:,.0f} s in the future: this clock was set back, or the "
        yield CheckResult("clock", "warning", f"{message}clock of another machine is ahead")
    else:
        message = time.strftime("%Y-%m-%d %H:%M:%S UTC, after the newest event", time.gmtime(now))
        yield CheckResult("clock", "ok", message)


def _check_jobs(store: Store, _artifacts: ArtifactRegistry) -> Iterator[CheckResult]:
    now, messages = time.time(), []
    queued_jobs, running_jobs = store.jobs.newest(1_000, "queued"), store.jobs.newest(1_000, "running")
    if (
        queued_jobs
        and not running_jobs
        and (delay := now - min(job.created for job in queued_jobs)) > MAX_QUEUED_SECONDS
    ):
        messages.append(
            f"jobs queued: {len(queued_jobs)}, the oldest for {delay:,.0f} s; none is running: start a trainer"
        )
    messages += [
        f"job {job.id} has been running for {seconds:,.0f} s ({job.message}): stop its trainer, {job.owner}"
        for job in running_jobs
        if (seconds := now - (job.started or now)) > MAX_RUN_SECONDS
    ]
    if (last_jobs := store.jobs.newest(1)) and last_jobs[0].state == "failed":
        messages.append(f"the last job, {last_jobs[0].id}, failed: {last_jobs[0].message}")
    for message in messages:
        yield CheckResult("jobs", "warning", message)
    if not messages:
        yield CheckResult("jobs", "ok", f"{len(queued_jobs)} queued, {len(running_jobs)} running")


def _check_erased(store: Store, _artifacts: ArtifactRegistry) -> Iterator[CheckResult]:
    """Report erased users whose data the active model was trained on; they are masked until the next training run."""
    active = store.models.active()
    metrics = active.metrics if active is not None and isinstance(active.metrics, dict) else {}
    trained_until = 0 if active is None else max(active.watermark, int(metrics.get(UNTIL_KEY, 0)))
    n_masked = len(store.erasure.after(trained_until)) if active is not None else 0
    if n_masked:
        yield CheckResult(
            "erased", "warning", f"erased users masked until the next training run: {n_masked}; request a run"
        )
    else:
        yield CheckResult("erased", "ok", f"erased users: {len(store.erasure.after())}; none is still masked")
