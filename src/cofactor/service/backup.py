"""Backup and restore of a service: the store, the artifacts in use and the tombstones of erased users."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cofactor.errors import ArtifactError, StoreError
from cofactor.files import write_atomically
from cofactor.service.registry import SUFFIX, ArtifactRegistry, file_sha256
from cofactor.service.settings import ARTIFACTS, store_url
from cofactor.service.training.worker import TRAIN
from cofactor.store import Store, StoredModel

__all__ = ["Backup", "RestoreResult", "back_up", "restore"]

STORE, TOMBSTONES, MANIFEST = "store.db", "tombstones.json", "backup.json"
FORMAT = 1
MAX_ATTEMPTS = 5


class Backup(NamedTuple):
    """Folder and contents of a backup.

    Attributes
    ----------
    folder : Path
        Backup folder.
    watermark : int
        Sequence number of the last change in the store.
    models : list of int
        Versions of the models whose artifacts are included.
    store : bool
        Whether the store is included; a PostgreSQL store is backed up with pg_dump.
    """

    folder: Path
    watermark: int
    models: list[int]
    store: bool


class RestoreResult(NamedTuple):
    """Sequence number, models and number of erased users in a restored backup.

    Attributes
    ----------
    watermark : int
        Sequence number of the last change in the store.
    models : list of int
        Versions of the models whose artifacts were restored.
    erased : int
        Number of tombstones.
    """

    watermark: int
    models: list[int]
    erased: int


def back_up(data: str | Path, target: str | Path, db: str | None = None) -> Backup:
    """Back up a running service to a new folder.

    The backup contains a consistent snapshot of the store, the artifacts of its active and previous models, the
    tombstones and all checksums. If it fails, no folder is left behind.

    Parameters
    ----------
    data : str or Path
        Folder of the service.
    target : str or Path
        New folder for the backup; it must not exist.
    db : str, optional
        URL of the database, if it is not `store.db` in the folder.

    Returns
    -------
    Backup
        Contents of the backup.

    Raises
    ------
    StoreError
        If `target` exists or the store cannot be read.
    ArtifactError
        If an artifact is damaged.
    OSError
        If a file cannot be written.

    Notes
    -----
    Keep the latest `tombstones.json` of the service or of a backup: users who were erased after a backup must be erased
    again when it is restored.
    """
    folder = Path(target)
    if folder.exists():
        raise StoreError(f"{folder} already exists; choose a new folder for the backup")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _new_folder(folder) as temporary_folder, Store.open(store_url(data, db)) as store:
        (temporary_folder / ARTIFACTS).mkdir(mode=0o700)
        is_sqlite = store.url.startswith("sqlite")
        models, watermark = _copy(
            store, ArtifactRegistry(Path(data) / ARTIFACTS), temporary_folder, is_sqlite=is_sqlite
        )
        store.erasure.export(temporary_folder / TOMBSTONES)
        _write_manifest(temporary_folder, watermark, models)
    return Backup(folder, watermark, [model.version for model in models], is_sqlite)


def restore(backup: str | Path, data: str | Path, tombstones: str | Path | None = None) -> RestoreResult:
    """Restore the folder of a service from a backup after verifying all checksums.

    Parameters
    ----------
    backup : str or Path
        Backup folder.
    data : str or Path
        Folder of the service; it must be empty or not exist.
    tombstones : str or Path, optional
        Latest `tombstones.json` of the lost service or of a later backup. Users who were erased after the backup are
        erased again, and a training job without them is queued.

    Returns
    -------
    RestoreResult
        Contents of the restored service.

    Raises
    ------
    StoreError
        If the backup is damaged or `data` is not empty.
    OSError
        If a file cannot be written.
    """
    source, folder = Path(backup), Path(data)
    manifest = _verified_manifest(source)
    if not (source / STORE).is_file():
        raise StoreError(
            f"{source} is not a backup of a SQLite store; for a PostgreSQL store, restore the dump with pg_restore and "
            f"copy the folder {ARTIFACTS}"
        )
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty; choose a new folder or move its contents elsewhere")
    with _new_folder(folder) as temporary_folder:
        shutil.copytree(source / ARTIFACTS, temporary_folder / ARTIFACTS)
        with Store.restore(source / STORE, store_url(temporary_folder), source / TOMBSTONES) as store:
            if tombstones is not None:
                store.erasure.reapply_file(tombstones)
            result = _update_models(store, ArtifactRegistry(temporary_folder / ARTIFACTS), manifest["watermark"])
            store.erasure.export(temporary_folder / TOMBSTONES)
        if folder.exists():
            folder.rmdir()
    return result


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` on success, or deleted on error."""
    temporary_folder = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary_folder.mkdir(parents=True, mode=0o700)
    try:
        yield temporary_folder
        temporary_folder.rename(folder)
    except BaseException:
        shutil.rmtree(temporary_folder, ignore_errors=True)
        raise


def _copy(
    store: Store, artifacts: ArtifactRegistry, temporary_folder: Path, *, is_sqlite: bool
) -> tuple[list[StoredModel], int]:
    """Copy the store and its artifacts in the same state; retry if a model is promoted in the meantime."""
    for _ in range(MAX_ATTEMPTS):
        models, watermark = _models_in_use(store), store.events.watermark()
        for model in models:
            name = str(model.file)
            artifacts.check(name, model.sha256)
            write_atomically(temporary_folder / ARTIFACTS / name, _copy_from(artifacts.path(name)))
        if is_sqlite:
            store.back_up(temporary_folder / STORE)
        if models == _models_in_use(store):
            return models, watermark
        for path in (temporary_folder / ARTIFACTS).iterdir():
            path.unlink()
    raise StoreError(f"no backup was written: a model was promoted during each of {MAX_ATTEMPTS} attempts; try again")


def _models_in_use(store: Store) -> list[StoredModel]:
    return [model for model in (store.models.active(), store.models.previous()) if model and model.file]


def _copy_from(source: Path) -> Any:
    return lambda temporary: shutil.copyfile(source, temporary)


def _write_manifest(temporary_folder: Path, watermark: int, models: list[StoredModel]) -> None:
    files = sorted(path for path in temporary_folder.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT,
        "made": int(time.time()),
        "watermark": watermark,
        "models": [model.version for model in models],
        "sha256": {path.relative_to(temporary_folder).as_posix(): file_sha256(path) for path in files},
    }
    text = json.dumps(manifest, indent=1)
    write_atomically(temporary_folder / MANIFEST, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _verified_manifest(source: Path) -> dict[str, Any]:
    """Return the manifest of a backup after verifying all checksums. Raises StoreError."""
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        checksums, version, _ = dict(manifest["sha256"]), int(manifest["format"]), int(manifest["watermark"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{source} was not created by `cofactor backup`: {error}") from error
    if version > FORMAT:
        raise StoreError(
            f"{source} was created by a newer version of cofactor (format {version}); upgrade with: pip install "
            "--upgrade cofactor"
        )
    for name, expected_checksum in checksums.items():
        path = source / name
        if source.resolve() not in path.resolve().parents:
            raise StoreError(f"the manifest of {source} refers to a file outside the folder: {name!r}")
        try:
            if file_sha256(path) != expected_checksum:
                raise StoreError(f"{path} is damaged: its checksum differs from the one in the manifest")
        except ArtifactError as error:
            raise StoreError(f"{source} is incomplete: {error}") from error
    return manifest


def _update_models(store: Store, artifacts: ArtifactRegistry, watermark: int) -> RestoreResult:
    """Mark models without artifacts as pruned, and queue a training job if users were erased after the backup."""
    artifact_files = {f"{version}{SUFFIX}" for version in artifacts.versions()}
    versions = []
    for model in store.models.all():
        if model.file in artifact_files:
            artifacts.check(str(model.file), model.sha256)
            versions.append(model.version)
        elif model.file is not None and model.status not in ("active", "previous"):
            store.models.mark_pruned(model.version)
    tombstones = store.erasure.after()
    if versions and any(tombstone.seq > watermark for tombstone in tombstones):
        store.jobs.enqueue_once(TRAIN)
    return RestoreResult(store.events.watermark(), versions, len(tombstones))
