"""Copies of a whole service: its store, the models that answer, and who was forgotten; and services made from them."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from cofactor.errors import ArtifactError, StoreError
from cofactor.files import write_atomically
from cofactor.service.registry import ENDING, ArtifactRegistry, file_sha256
from cofactor.service.training.worker import ARTIFACTS, TRAIN, store_url
from cofactor.store import Store, StoredModel

__all__ = ["Backup", "Restored", "back_up", "restore"]

STORE, TOMBSTONES, ABOUT = "store.db", "tombstones.json", "backup.json"
FORMAT = 1
TRIES = 5


class Backup(NamedTuple):
    """What a backup holds.

    folder: where it is. watermark: the store's last change in it. models: the versions of which it holds the artifact.
    store: whether the store is in it; one in PostgreSQL is copied by pg_dump.
    """

    folder: Path
    watermark: int
    models: list[int]
    store: bool


class Restored(NamedTuple):
    """What a restore made.

    watermark: the store's last change. models: versions whose artifacts are there. forgotten: tombstones there are.
    """

    watermark: int
    models: list[int]
    forgotten: int


def back_up(data: str | Path, target: str | Path, db: str | None = None) -> Backup:
    """A copy of a service in a new folder, made while it is used: whole, or not there at all.

    It holds one state of the store, the artifacts of the active and the previous model of that state, the tombstones
    and all checksums. Keep `tombstones.json` of the newest backup, or of the service: whoever was forgotten after an
    older backup must be forgotten again after it was restored. Raises StoreError, also where `target` is there
    already, ArtifactError where an artifact is damaged, OSError where there is no room.
    """
    goal = Path(target)
    if goal.exists():
        raise StoreError(f"{goal} is there already: name a new folder for the backup")
    goal.parent.mkdir(parents=True, exist_ok=True)
    draft = goal.with_name(f".{goal.name}.{secrets.token_hex(4)}.tmp")
    (draft / ARTIFACTS).mkdir(parents=True, mode=0o700)
    draft.chmod(0o700)
    try:
        with Store.open(store_url(data, db)) as store:
            sqlite = store.url.startswith("sqlite")
            models, watermark = _copied(store, ArtifactRegistry(Path(data) / ARTIFACTS), draft, sqlite=sqlite)
            store.forgotten.export(draft / TOMBSTONES)
        _describe(draft, watermark, models)
        draft.rename(goal)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Backup(goal, watermark, [model.version for model in models], sqlite)


def restore(backup: str | Path, data: str | Path, tombstones: str | Path | None = None) -> Restored:
    """A service's folder made from a backup, where there is none yet: checked first, and nothing where it is damaged.

    tombstones: the newest `tombstones.json` there is, of a later backup or of the service that was lost. Who was
    forgotten since the backup is forgotten again, before anything can answer, and a training without them is asked
    for. Raises StoreError for a damaged backup and where the folder is not empty, OSError where there is no room.
    """
    source, folder = Path(backup), Path(data)
    about = _checked(source)
    if not (source / STORE).is_file():
        raise StoreError(f"{source} holds no store: load its dump with pg_restore, and copy {ARTIFACTS} beside it")
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: name a new folder, or move what is there away")
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    draft.mkdir(parents=True, mode=0o700)
    try:
        shutil.copytree(source / ARTIFACTS, draft / ARTIFACTS)
        url = store_url(draft)
        with Store.restore(source / STORE, url, source / TOMBSTONES) as store:
            if tombstones is not None:
                store.forgotten.reapply_file(tombstones)
            found = _settled(store, ArtifactRegistry(draft / ARTIFACTS), about["watermark"])
            store.forgotten.export(draft / TOMBSTONES)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return found


def _copied(store: Store, artifacts: ArtifactRegistry, draft: Path, *, sqlite: bool) -> tuple[list[StoredModel], int]:
    """Store and artifacts of one moment: tried anew where a promotion came in between."""
    for _ in range(TRIES):
        before, watermark = _answering(store), store.events.watermark()
        for model in before:
            artifacts.check(str(model.file), model.sha256)
            write_atomically(draft / ARTIFACTS / str(model.file), _copying(artifacts.path(str(model.file))))
        if sqlite:
            store.back_up(draft / STORE)
        if before == _answering(store):
            return before, watermark
        for path in (draft / ARTIFACTS).iterdir():
            path.unlink()
    raise StoreError(f"models were promoted all the time while {draft} was written: try again")


def _answering(store: Store) -> list[StoredModel]:
    return [model for model in (store.models.active(), store.models.previous()) if model and model.file]


def _copying(source: Path) -> Any:
    return lambda temporary: shutil.copyfile(source, temporary)


def _describe(draft: Path, watermark: int, models: list[StoredModel]) -> None:
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    about = {
        "format": FORMAT,
        "made": int(time.time()),
        "watermark": watermark,
        "models": [model.version for model in models],
        "sha256": {path.relative_to(draft).as_posix(): file_sha256(path) for path in files},
    }
    written = json.dumps(about, indent=1)
    write_atomically(draft / ABOUT, lambda temporary: temporary.write_text(written, encoding="utf-8"))


def _checked(source: Path) -> dict[str, Any]:
    """What the backup says of itself, once every file has its checksum. Raises StoreError."""
    try:
        about: dict[str, Any] = json.loads((source / ABOUT).read_text(encoding="utf-8"))
        sums, version, _ = dict(about["sha256"]), int(about["format"]), int(about["watermark"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise StoreError(f"{source} is no backup that `cofactor backup` made: {problem}") from problem
    if version > FORMAT:
        raise StoreError(f"{source} was made by a newer cofactor (format {version}): pip install --upgrade cofactor")
    for name, expected in sums.items():
        path = source / name
        if source.resolve() not in path.resolve().parents:
            raise StoreError(f"{source} names a file outside itself, {name!r}")
        try:
            if file_sha256(path) != expected:
                raise StoreError(f"{path} is damaged: its checksum is not the one the backup was made with")
        except ArtifactError as gone:
            raise StoreError(f"{source} is not whole: {gone}") from gone
    return about


def _settled(store: Store, artifacts: ArtifactRegistry, watermark: int) -> Restored:
    """Models without an artifact can answer no more; a training is asked for where somebody was forgotten since."""
    there = {f"{version}{ENDING}" for version in artifacts.versions()}
    kept = []
    for model in store.models.all():
        if model.file in there:
            artifacts.check(str(model.file), model.sha256)
            kept.append(model.version)
        elif model.file is not None and model.status not in ("active", "previous"):
            store.models.pruned(model.version)
    stones = store.forgotten.after()
    if kept and any(stone.seq > watermark for stone in stones):
        store.jobs.enqueue_once(TRAIN)
    return Restored(store.events.watermark(), kept, len(stones))
