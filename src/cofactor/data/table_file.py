"""Table files: interaction tables as artifacts, whose arrays are memory-mapped, in the order of users and of items.

`save` and `load` work with the fields of an `Interactions` table by name, so that this module does not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from cofactor import checks
from cofactor.data.artifact import Artifact, is_artifact, read_artifact, write_artifact
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.data.serialization import frame, frame_bytes, id_arrays, id_map, row_arrays, rows
from cofactor.errors import ArtifactError, DataError, ForkError
from cofactor.kernels.sparse import SparseRows

__all__ = ["CONTENT", "is_table_file", "load", "save"]

T = TypeVar("T")

CONTENT = "table"
"""Value of "content" in the manifest of a table file; models have none."""

ID_MAPS = ("users", "items")
COLUMNS = ("u", "i", "values", "times", "weights")
SIDE_TABLES = {"user_table": "users", "item_table": "items"}


def is_table_file(path: Path) -> bool:
    """Return whether a file is an artifact with an interaction table; False if it cannot be read.

    Parameters
    ----------
    path : Path
        Path of any file.

    Returns
    -------
    bool
    """
    try:
        return path.is_file() and is_artifact(path) and _is_table(read_artifact(path, verify=False))
    except (ArtifactError, OSError):
        return False


def save(path: Path, fields: Mapping[str, Any], by_item: SparseRows) -> None:
    """Write the fields of an interaction table to a file atomically.

    Parameters
    ----------
    path : Path
        Path of the file; an existing cofactor file is replaced.
    fields : mapping of str to Any
        Fields of `Interactions` by name; the rejected rows of the report and `seen` are not written.
    by_item : SparseRows
        The rows of the table in the order of items.

    Raises
    ------
    ArtifactError
        If the file cannot be written, or if it exists and was not written by cofactor.
    DataError
        If the table has `seen`.
    """
    if fields.get("seen") is not None:
        raise DataError("a table with excluded items (seen) cannot be saved; save the ratings, and use to_events again")
    arrays: dict[str, Any] = {name: fields[name] for name in COLUMNS if fields.get(name) is not None}
    for name in ID_MAPS:
        arrays |= id_arrays(name, fields[name])
    arrays |= row_arrays("by_item", by_item)
    arrays |= {name: frame_bytes(fields[name]) for name in SIDE_TABLES if fields.get(name) is not None}
    report, scale = fields.get("report"), fields.get("scale")
    manifest = {
        "content": CONTENT,
        "kind": fields["kind"],
        "scale": None if scale is None else asdict(scale),
        "report": None if report is None else {**_report_fields(report), "notes": list(report.notes)},
    }
    write_artifact(path, arrays, manifest)


def load(path: Path, build: Callable[..., T], *, verify: bool) -> T:
    """Load an interaction table; its arrays are memory-mapped from the file.

    Parameters
    ----------
    path : Path
        Path of the file.
    build : callable
        Function that is called with the fields of `Interactions` as keyword arguments.
    verify : bool
        Whether to verify the checksums of all arrays, which reads the file completely.

    Returns
    -------
    Interactions
        Return value of `build`, with `by_item` from the file.

    Raises
    ------
    ArtifactError
        If the file is not a complete and undamaged table that this version can read.
    """
    artifact = read_artifact(path, verify=verify)
    if not _is_table(artifact):
        raise ArtifactError(f"{path} is a model, not an interaction table; load it with Recommender.load")
    try:
        table = build(**_read_fields(artifact))
        by_item = rows("by_item", artifact.arrays)
        _require_same_rows(by_item, table)
    except ForkError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"is not valid ({error})"
        raise ArtifactError(f"{path} {problem}: it was written by another version of cofactor") from error
    table.__dict__["by_item"] = by_item
    return table


def _read_fields(artifact: Artifact) -> dict[str, Any]:
    """Return the fields of a table; any exception means that the artifact does not contain one."""
    arrays, manifest = artifact.arrays, artifact.manifest
    fields: dict[str, Any] = {name: arrays.get(name) for name in ("times", "weights")}
    fields |= {name: arrays[name] for name in ("u", "i", "values")}
    fields |= {name: id_map(name, arrays) for name in ID_MAPS}
    fields |= {
        name: frame(arrays[name], len(fields[ids])) if name in arrays else None for name, ids in SIDE_TABLES.items()
    }
    report = manifest["report"]
    return fields | {
        "kind": manifest["kind"],
        "scale": checks.plain("scale", manifest["scale"], Scale | None),
        "report": None if report is None else _report(report),
    }


def _require_same_rows(by_item: SparseRows, table: Any) -> None:
    """Check that the rows in the order of items can be used without a further check."""
    by_item.checked("by_item", table.n_users, n_rows=table.n_items)
    if len(by_item.columns) != len(table):
        raise DataError(f"by_item must have {len(table):,} entries; got {len(by_item.columns):,}")
    if (by_item.weights is None) != (table.weights is None):
        raise DataError("by_item must have weights if the table has")


def _report_fields(report: LoadReport) -> dict[str, Any]:
    return {name: getattr(report, name) for name in ("source", "rows", "duplicates", "duplicate_rule")}


def _report(values: Mapping[str, Any]) -> LoadReport:
    types: dict[str, Any] = {"source": str, "rows": int, "duplicates": int, "duplicate_rule": str}
    notes = tuple(checks.plain("notes", note, str) for note in values["notes"])
    return LoadReport(**{name: checks.plain(name, values[name], type_) for name, type_ in types.items()}, notes=notes)


def _is_table(artifact: Artifact) -> bool:
    return artifact.manifest.get("content") == CONTENT
