"""Artifact registry: store one file per model, written atomically, and promote models."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Any

from cofactor.errors import ArtifactError, StoreError
from cofactor.recommender.recommender import Recommender
from cofactor.store import Store, StoredModel

__all__ = [
    "ORPHAN_AGE",
    "SUFFIX",
    "ArtifactRegistry",
    "add_candidate",
    "file_sha256",
    "orphaned_files",
    "promote",
    "roll_back",
]

SUFFIX = ".cofactor"
BLOCK_SIZE = 1 << 20
ORPHAN_AGE = 3_600.0
"""Age in seconds after which a file that belongs to no model is orphaned; a trainer writes files before their rows."""


class ArtifactRegistry:
    """Model artifacts stored as files `VERSION.cofactor` in a folder.

    A version is a number, or a name without slashes; it may include the suffix.

    Parameters
    ----------
    folder : str or Path
        The folder; created if it does not exist.

    Examples
    --------
    >>> import cofactor
    >>> from tempfile import TemporaryDirectory
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> with TemporaryDirectory() as folder:
    ...     artifacts = ArtifactRegistry(folder)
    ...     path, checksum = artifacts.publish(rec, 1)
    ...     path.name, len(checksum), artifacts.versions(), len(artifacts.open(1, verify=True).items)
    ('1.cofactor', 64, ['1'], 2)
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, version: int | str) -> Path:
        """Return the path of the artifact of a model version, whether or not it exists.

        Parameters
        ----------
        version : int or str
            Version or name.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        ArtifactError
            If the name is invalid or refers to a path outside the folder.
        """
        name = str(version).removesuffix(SUFFIX)
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
            raise ArtifactError(f"{version!r} is not a valid artifact name")
        return self.folder / f"{name}{SUFFIX}"

    def publish(self, recommender: Recommender, version: int | str) -> tuple[Path, str]:
        """Write an artifact atomically and return its path and checksum.

        Parameters
        ----------
        recommender : Recommender
            The recommender.
        version : int or str
            Version or name; an existing artifact is replaced.

        Returns
        -------
        path : Path
            Path of the file.
        checksum : str
            SHA-256 of the file.

        Raises
        ------
        ArtifactError
            If the file cannot be written; no partial file is left behind.
        """
        path = self.path(version)
        recommender.save(path)
        self._sync_folder()
        return path, file_sha256(path)

    def open(self, version: int | str, *, verify: bool) -> Recommender:
        """Open an artifact; its arrays are memory-mapped and shared between processes.

        Parameters
        ----------
        version : int or str
            Version or name.
        verify : bool
            Whether to read the whole file and verify its checksums, as is done before a promotion.

        Returns
        -------
        Recommender
            The recommender.

        Raises
        ------
        ArtifactError
            If the file is missing, truncated, damaged or written by a newer version of cofactor.
        """
        return Recommender.load(self.path(version), verify=verify)

    def check(self, version: int | str, sha256: str) -> None:
        """Verify the checksum of an artifact.

        Parameters
        ----------
        version : int or str
            Version or name.
        sha256 : str
            Expected SHA-256.

        Raises
        ------
        ArtifactError
            If the checksum differs or the file cannot be read.
        """
        path = self.path(version)
        if file_sha256(path) != sha256:
            raise ArtifactError(f"{path} is damaged: its checksum differs from the one recorded when it was published")

    def remove(self, version: int | str) -> None:
        """Delete an artifact if it exists; processes that have it open can still read it.

        Parameters
        ----------
        version : int or str
            Version or name.

        Raises
        ------
        ArtifactError
            If the file cannot be deleted.
        """
        try:
            self.path(version).unlink(missing_ok=True)
        except OSError as error:
            raise ArtifactError(f"{self.path(version)} cannot be deleted: {error.strerror}") from error
        self._sync_folder()

    def versions(self) -> list[str]:
        """Return the versions of all stored model artifacts.

        Returns
        -------
        list of str
            Numbers in ascending order, then names.
        """
        names = [path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"*{SUFFIX}") if path.name[0] != "."]
        return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))

    def _sync_folder(self) -> None:
        """Sync the folder to disk, if the operating system supports it (not on Windows)."""
        if not hasattr(os, "O_DIRECTORY"):
            return
        entry = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ArtifactError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_SIZE):
                digest.update(block)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def add_candidate(
    store: Store, artifacts: ArtifactRegistry, recommender: Recommender, *, watermark: int, metrics: Any = None
) -> StoredModel:
    """Publish the artifact of a recommender and register the model as a candidate.

    Parameters
    ----------
    store : Store
        Store in which the model is registered.
    artifacts : ArtifactRegistry
        Registry to which the artifact is written, under a new name.
    recommender : Recommender
        The recommender.
    watermark : int
        Sequence number of the last change in its training data.
    metrics : Any, optional
        JSON-serializable metrics.

    Returns
    -------
    StoredModel
        The candidate.

    Raises
    ------
    ArtifactError, StoreError
        If the artifact or its row in the store cannot be written; no file is left behind.
    """
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
    path, checksum = artifacts.publish(recommender, name)
    spec = "{}" if recommender.estimator is None else recommender.estimator.to_json()
    try:
        return store.models.add_candidate(spec, path.name, checksum, watermark=watermark, metrics=metrics)
    except StoreError:
        artifacts.remove(name)
        raise


def promote(store: Store, artifacts: ArtifactRegistry, version: int) -> StoredModel:
    """Promote a model to active after verifying its artifact.

    Parameters
    ----------
    store : Store
        Store of the models.
    artifacts : ArtifactRegistry
        Registry of the files.
    version : int
        Version of the model.

    Returns
    -------
    StoredModel
        The active model.

    Raises
    ------
    ArtifactError
        If the artifact is damaged.
    StoreError
        If the model cannot be promoted.
    """
    _verify(artifacts, store.models.get(version))
    return store.models.promote(version)


def roll_back(store: Store, artifacts: ArtifactRegistry) -> StoredModel:
    """Roll back to the previous model after verifying its artifact.

    Parameters
    ----------
    store : Store
        Store of the models.
    artifacts : ArtifactRegistry
        Registry of the files.

    Returns
    -------
    StoredModel
        The active model.

    Raises
    ------
    ArtifactError
        If the artifact is damaged.
    StoreError
        If there is no previous model.
    """
    previous = store.models.previous()
    if previous is None:
        raise StoreError("there is no previous model to roll back to")
    _verify(artifacts, previous)
    return store.models.promote(previous.version)


def orphaned_files(store: Store, artifacts: ArtifactRegistry, age: float = ORPHAN_AGE) -> list[Path]:
    """Return the files in the artifact folder that belong to no model and have not been modified recently.

    Parameters
    ----------
    store : Store
        Store of the models.
    artifacts : ArtifactRegistry
        Registry of the files.
    age : float, default 3600.0
        Minimum number of seconds since the last write; files with a time in the future are also included.

    Returns
    -------
    list of Path
        The files, sorted by name.

    Raises
    ------
    StoreUnavailableError
        If the database is unavailable.
    """
    old_files = [path for path in artifacts.folder.iterdir() if path.is_file() and not 0 <= _file_age(path) < age]
    registered_names = {model.file for model in store.models.all()}
    return sorted(path for path in old_files if path.name not in registered_names)


def _verify(artifacts: ArtifactRegistry, model: StoredModel) -> None:
    if model.file is None:
        raise StoreError(f"model {model.version} cannot be promoted: its artifact was deleted")
    artifacts.check(model.file, model.sha256)
    artifacts.open(model.file, verify=True)


def _file_age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # renamed or deleted in the meantime
        return 0.0
