"""Persistence: the parts of a Recommender as the arrays and the manifest of an artifact, and back.

`save` and `load` take and return the fields of a Recommender by name, so that this module does not import it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cofactor import checks
from cofactor.arrays import Bytes, read_only, require_array
from cofactor.data.ids import IdMap
from cofactor.data.scale import Scale
from cofactor.errors import ArtifactError, DataError, ForkError
from cofactor.estimators.base import Estimator
from cofactor.fork import require_threads
from cofactor.kernels.sparse import SparseRows
from cofactor.models import MODEL_TYPES
from cofactor.models.prior import Priors
from cofactor.recommender.artifact import read_artifact, write_artifact

__all__ = ["frame", "frame_bytes", "id_arrays", "id_map", "load", "row_arrays", "rows", "save"]

Arrays = Mapping[str, NDArray[Any]]
MATRICES = ("histories", "seen")
TABLES = ("user_table", "item_table")
ID_MAPS = ("users", "items")


def save(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the fields of a Recommender to one file, completely or not at all.

    Raises ArtifactError as `artifact.write_artifact`.
    """
    model, estimator, priors, scale = (fields[name] for name in ("model", "estimator", "priors", "scale"))
    arrays: dict[str, Any] = {f"model.{name}": array for name, array in model.arrays().items()}
    arrays |= {f"priors.{name}": array for name, array in (priors or Priors()).arrays().items()}
    for name in ID_MAPS:
        arrays |= id_arrays(name, fields[name])
    for name in MATRICES:
        arrays |= {} if fields[name] is None else row_arrays(name, fields[name])
    arrays |= {name: frame_bytes(fields[name]) for name in TABLES if fields[name] is not None}
    arrays |= {} if fields["evidence"] is None else {"evidence": fields["evidence"]}
    manifest = {
        "kind": fields["kind"],
        "model": {"model_type": model.model_type, **model.settings()},
        "estimator": None if estimator is None else estimator.to_dict(),
        "priors": None if priors is None else priors.settings(),
        "scale": None if scale is None else asdict(scale),
    }
    write_artifact(path, arrays, manifest)


def load(path: Path, *, verify: bool) -> dict[str, Any]:
    """Return the fields of a Recommender that was saved; their arrays stay in the file.

    Raises ArtifactError for a file that is not a complete artifact of this version.
    """
    artifact = read_artifact(path, verify=verify)
    if not verify:
        artifact.verify(name for name, array in artifact.arrays.items() if not _is_large(name, array))
    try:
        return _fields(artifact.arrays, artifact.manifest)
    except ForkError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is not valid ({error})"
        raise ArtifactError(f"{path} {what}: it was written by another version of cofactor") from error


def _fields(arrays: Arrays, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields; any exception means that the parts are not those of a Recommender."""
    settings, estimator = manifest["model"], manifest["estimator"]
    model_arrays, prior_arrays = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in ("model.", "priors.")
    )
    fields: dict[str, Any] = {name: id_map(name, arrays) for name in ID_MAPS}
    fields |= {name: rows(name, arrays) if f"{name}.start" in arrays else None for name in MATRICES}
    tables = zip(TABLES, (fields["users"], fields["items"]), strict=True)
    fields |= {name: frame(arrays[name], len(ids)) if name in arrays else None for name, ids in tables}
    return fields | {
        "model": MODEL_TYPES[settings["model_type"]].from_parts(model_arrays, settings),
        "kind": manifest["kind"],
        "estimator": None if estimator is None else Estimator.from_dict(estimator),
        "priors": None if manifest["priors"] is None else Priors.from_parts(prior_arrays, manifest["priors"]),
        "scale": checks.plain("scale", manifest["scale"], Scale | None),
        "evidence": arrays.get("evidence"),
    }


def _is_large(name: str, array: NDArray[Any]) -> bool:
    """Return whether an array holds learned numbers or values of histories."""
    return array.dtype.kind == "f" and name.startswith(("model.", "histories.", "seen."))


def id_arrays(name: str, ids: IdMap) -> dict[str, Any]:
    """The map's arrays as `name.integers`, or `name.offsets` and `name.text`; see `IdMap` for their shapes.

    >>> sorted(id_arrays("users", IdMap.of(["ana", "bo"])))
    ['users.offsets', 'users.text']
    """
    parts = {"integers": ids.integers, "offsets": ids.offsets, "text": ids.text}
    return {f"{name}.{part}": array for part, array in parts.items() if array is not None}


def id_map(name: str, arrays: Arrays) -> IdMap:
    """The map that `id_arrays` took apart. Raises KeyError where an array is missing, DataError for other arrays."""
    if f"{name}.integers" in arrays:
        integers = arrays[f"{name}.integers"]
        require_array(f"{name}.integers", integers, np.int64)
        if (integers[1:] <= integers[:-1]).any():
            raise DataError(f"{name}.integers must ascend")
        return IdMap(integers)
    offsets, text = arrays[f"{name}.offsets"], arrays[f"{name}.text"]
    require_array(f"{name}.offsets", offsets, np.int64)
    require_array(f"{name}.text", text, np.uint8)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(text) or (offsets[1:] <= offsets[:-1]).any():
        raise DataError(f"{name}.offsets must ascend from 0 to {len(text):,}, the length of the text")
    if (text[offsets[:-1]] & 0xC0 == 0x80).any():
        raise DataError(f"{name}.offsets must lie between characters")
    text.tobytes().decode()  # or it is no UTF-8
    return IdMap(None, offsets, text)


def row_arrays(name: str, stored: SparseRows) -> dict[str, Any]:
    """The rows' arrays as `name.start`, `name.columns`, `name.values` and, where there are any, `name.weights`.

    >>> sorted(row_arrays("histories", SparseRows.empty(2)))
    ['histories.columns', 'histories.start', 'histories.values']
    """
    parts = {part: getattr(stored, part) for part in ("start", "columns", "values", "weights")}
    return {f"{name}.{part}": array for part, array in parts.items() if array is not None}


def rows(name: str, arrays: Arrays) -> SparseRows:
    """The rows that `row_arrays` took apart. Raises KeyError where an array is missing."""
    start, columns, values = (arrays[f"{name}.{part}"] for part in ("start", "columns", "values"))
    return SparseRows(start, columns, values, arrays.get(f"{name}.weights"))


def frame_bytes(table: pl.DataFrame) -> Bytes:
    """A frame in Arrow's file format: (bytes,) uint8.

    >>> frame(frame_bytes(pl.DataFrame({"item": [7], "title": ["Alien"]}))).rows()
    [(7, 'Alien')]
    """
    require_threads()
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    return read_only(np.frombuffer(buffer.getvalue(), np.uint8))


def frame(stored: NDArray[Any], rows: int | None = None) -> pl.DataFrame:
    """The frame that `frame_bytes` wrote. Raises DataError where it has another number of rows than `rows`."""
    require_threads()
    table = pl.read_ipc(io.BytesIO(stored.tobytes()))
    if rows is not None and len(table) != rows:
        raise DataError(f"a table must have {rows:,} rows, not {len(table):,}")
    return table
