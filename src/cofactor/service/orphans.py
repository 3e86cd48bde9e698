"""Files among the artifacts that belong to no model: what a training leaves behind that is killed while it writes."""

from __future__ import annotations

import time
from pathlib import Path

from cofactor.service.artifacts import Artifacts
from cofactor.store import Store

__all__ = ["AGE", "orphans"]

AGE = 3_600.0
"""Seconds after which a file that no model names belongs to no training any more: its row follows within seconds."""


def orphans(store: Store, artifacts: Artifacts, age: float = AGE) -> list[Path]:
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
