"""The folder of artifacts: one file for each model that was published, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Any

from cofactor.data.interactions import Interactions
from cofactor.errors import ArtifactError, StoreError
from cofactor.recommender.recommender import Recommender
from cofactor.service.training.data import gathered, keep_scale
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import ImportResult, Store, StoredModel

__all__ = [
    "AGE",
    "ENDING",
    "ArtifactRegistry",
    "add",
    "file_sha256",
    "import_table",
    "orphans",
    "promote",
    "publish_first",
    "publish_learned",
    "roll_back",
]


ENDING = ".cofactor"


BLOCK = 1 << 20


class ArtifactRegistry:
    """Models as files, `VERSION.cofactor`, in one folder, which is made where there is none.

    A version is a number or a name without a slash; where a file name is at hand, `name.cofactor` is understood, too.

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
        """Where this version lies or would lie. Raises ArtifactError for what would leave the folder."""
        name = str(version).removesuffix(ENDING)
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
            raise ArtifactError(f"{version!r} is no name of an artifact")
        return self.folder / f"{name}{ENDING}"

    def publish(self, recommender: Recommender, version: int | str) -> tuple[Path, str]:
        """Write it under a temporary name, bring it to the disk, rename it: the path, and the file's SHA-256.

        Raises ArtifactError where it cannot be written; nothing is left behind then. A version that is there already
        is replaced.
        """
        path = self.path(version)
        recommender.save(path)
        self._sync_folder()
        return path, file_sha256(path)

    def open(self, version: int | str, *, verify: bool) -> Recommender:
        """The model, mapped into memory: processes that open the same one share it.

        verify: read all of it first and compare the checksums, as is done before a promotion. Raises ArtifactError for
        a file that is missing, cut short, damaged or of a newer cofactor.
        """
        return Recommender.load(self.path(version), verify=verify)

    def check(self, version: int | str, sha256: str) -> None:
        """Nothing where the file has this checksum. Raises ArtifactError where it has another or cannot be read."""
        path = self.path(version)
        if file_sha256(path) != sha256:
            raise ArtifactError(f"{path} is damaged: its checksum is not the one that was kept when it was published")

    def remove(self, version: int | str) -> None:
        """Delete the file, if it is there. Processes that have it open go on reading it. Raises ArtifactError."""
        try:
            self.path(version).unlink(missing_ok=True)
        except OSError as problem:
            raise ArtifactError(f"{self.path(version)} cannot be deleted: {problem.strerror}") from problem
        self._sync_folder()

    def versions(self) -> list[str]:
        """The versions that are there, sorted; numbers by their size, before names."""
        found = [path.name.removesuffix(ENDING) for path in self.folder.glob(f"*{ENDING}") if path.name[0] != "."]
        return sorted(found, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))

    def _sync_folder(self) -> None:
        """The folder's own entries to the disk, where the system can (not on Windows)."""
        if not hasattr(os, "O_DIRECTORY"):
            return
        entry = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def file_sha256(path: Path) -> str:
    """Of all bytes of the file, as hexadecimal digits. Raises ArtifactError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    return digest.hexdigest()


def add(
    store: Store, artifacts: ArtifactRegistry, recommender: Recommender, *, watermark: int, metrics: Any = None
) -> StoredModel:
    """Publish it as a candidate. The file's name is new each time: nobody reads a file that is written again.

    Raises ArtifactError where it cannot be written, StoreError; nothing is left behind then.
    """
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
    path, checksum = artifacts.publish(recommender, name)
    spec = "{}" if recommender.estimator is None else recommender.estimator.to_json()
    try:
        return store.models.add_candidate(spec, path.name, checksum, watermark=watermark, metrics=metrics)
    except StoreError:
        artifacts.remove(name)
        raise


def promote(store: Store, artifacts: ArtifactRegistry, version: int, *, instead_of: int | None = None) -> StoredModel:
    """Check every byte of the artifact, then let the model answer. Raises ArtifactError, StoreError."""
    _check(artifacts, store.models.get(version))
    return store.models.promote(version, instead_of=instead_of)


def roll_back(store: Store, artifacts: ArtifactRegistry) -> StoredModel:
    """Let the previous model answer again, once its artifact is checked. Raises ArtifactError, StoreError."""
    previous = store.models.previous()
    if previous is None:
        raise StoreError("there is no previous model to roll back to")
    _check(artifacts, previous)
    return store.models.promote(previous.version)


def publish_first(store: Store, artifacts: ArtifactRegistry, table: Interactions, recipe: TrainingSpec) -> StoredModel:
    """Import a table, learn from all that the store then holds, publish and promote: the first model of a store.

    Raises what `EventLog.load` and `publish_learned` raise.
    """
    whole = import_table(store, table)[1]
    return publish_learned(store, artifacts, recipe, table if whole else None)


def import_table(store: Store, table: Interactions) -> tuple[ImportResult, bool]:
    """Store a table once, with the ratings that are too low for events, and the scale of the first.

    Parameters
    ----------
    store : Store
        Where its rows go; those that it holds already are not stored again.
    table : Interactions
        Ratings or events.

    Returns
    -------
    loaded : ImportResult
        How the import went.
    whole : bool
        Whether the table alone is what the store now holds.

    Raises
    ------
    DataError
        For a row that cannot be stored; nothing is stored then.
    """
    is_empty = not store.events.after(0, 1)
    parts = [store.events.load(part) for part in (table, table.seen) if part is not None]
    loaded = ImportResult(*(sum(counts) for counts in zip(*parts, strict=True)))
    keep_scale(store, table)
    return loaded, is_empty and not loaded.skipped


def publish_learned(
    store: Store, artifacts: ArtifactRegistry, recipe: TrainingSpec, table: Interactions | None = None
) -> StoredModel:
    """Learn from what the store holds, with priors for new users and items, publish and promote.

    Parameters
    ----------
    store, artifacts : Store, ArtifactRegistry
        Where rows, titles and facts come from, and where the model goes.
    recipe : TrainingSpec
        How to learn.
    table : Interactions, optional
        What the store holds, where the caller has it already: it is not read again.

    Returns
    -------
    StoredModel
        The active model.

    Raises
    ------
    DataError
        Where there is nothing to learn from.
    """
    watermark = store.events.watermark()
    rows = table if table is not None else gathered(store, recipe.kind, watermark, watermark).train
    keep_scale(store, rows)
    recommender = recipe.with_priors(Recommender.fit(recipe.estimator, rows, seed=recipe.seed))
    metrics = {"recipe": recipe.as_dict(), "rows": len(rows)}
    added = add(store, artifacts, recommender, watermark=watermark, metrics=metrics)
    return promote(store, artifacts, added.version)


def _check(artifacts: ArtifactRegistry, model: StoredModel) -> None:
    if model.file is None:
        raise StoreError(f"model {model.version} cannot be promoted: its artifact was deleted")
    artifacts.check(model.file, model.sha256)
    artifacts.open(model.file, verify=True)


AGE = 3_600.0
"""Seconds after which a file that no model names belongs to no training any more: its row follows within seconds."""


def orphans(store: Store, artifacts: ArtifactRegistry, age: float = AGE) -> list[Path]:
    """The files that are no model's and have not been written to for so many seconds, by name; none in an empty folder.

    A file of the future, by a clock that was set back since, counts as old. Raises StoreUnavailableError.
    """
    old = [path for path in artifacts.folder.iterdir() if path.is_file() and not 0 <= _age(path) < age]
    named = {model.file for model in store.models.all()}
    return sorted(path for path in old if path.name not in named)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # renamed or deleted meanwhile
        return 0.0
