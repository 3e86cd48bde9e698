"""Model files: send an artifact to the workers of a cluster, each of which loads it once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from cofactor.errors import ClusterError
from cofactor.recommender.recommender import Recommender

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["ModelFile", "sent_model"]


@dataclass(frozen=True)
class ModelFile:
    """Copy of an artifact that all tasks of a job read; created by `sent_model`.

    Parameters
    ----------
    path : str
        Path on this machine.
    is_sent : bool
        Whether Spark sends the file to its executors; otherwise they run on this machine and read `path`.
    """

    path: str
    is_sent: bool

    def load(self) -> Recommender:
        """Load the recommender in a task; a worker keeps it, with arrays that are mapped from the file.

        Returns
        -------
        Recommender
            Recommender whose checksums are not verified again.
        """
        if not self.is_sent:
            return _load(self.path)
        from pyspark import SparkFiles

        return _load(SparkFiles.get(Path(self.path).name))


@contextmanager
def sent_model(spark: SparkSession, path: Path) -> Iterator[ModelFile]:
    """Send an artifact to the executors of a session.

    The tasks read a hard link or a copy, so that all of them read the same model if the file is replaced meanwhile.

    Parameters
    ----------
    spark : SparkSession
        The session.
    path : Path
        Path of the artifact on this machine.

    Yields
    ------
    ModelFile
        Copy of the artifact.

    Raises
    ------
    ClusterError
        If the artifact cannot be copied.
    """
    from pyspark import SparkFiles

    is_local = str(spark.sparkContext.master).startswith("local")
    folder = Path(SparkFiles.getRootDirectory(), f"model-{uuid4().hex}")
    copy = folder / f"{folder.name}.cofactor"
    try:
        folder.mkdir()
        try:
            os.link(path.resolve(), copy)
        except OSError:  # the folders of Spark are on another disk
            shutil.copyfile(path, copy)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ClusterError(f"{path} cannot be copied to the folder of Spark: {error.strerror or error}") from error
    if not is_local:
        spark.sparkContext.addFile(str(copy))
    try:
        yield ModelFile(str(copy), not is_local)
    finally:
        if is_local:  # executors that start later in this session ask for all files that were added
            shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=1)
def _load(path: str) -> Recommender:
    """Load a recommender once in each worker."""
    return Recommender.load(path, verify=False)
