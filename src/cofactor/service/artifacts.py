"""The folder of artifacts: one file for each model that was published, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cofactor.errors import ArtifactError
from cofactor.recommend import Recommender

__all__ = ["ENDING", "Artifacts", "file_sha256"]

ENDING = ".cofactor"
BLOCK = 1 << 20


class Artifacts:
    """Models as files, `VERSION.cofactor`, in one folder, which is made where there is none.

    A version is a number or a name without a slash; where a file name is at hand, `name.cofactor` is understood, too.

    >>> import cofactor
    >>> from tempfile import TemporaryDirectory
    >>> ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
    >>> rec = cofactor.Recommender.fit(cofactor.Bias(), ratings)
    >>> with TemporaryDirectory() as folder:
    ...     artifacts = Artifacts(folder)
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
