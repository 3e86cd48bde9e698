"""Persistence: convert the fields of a Recommender to the arrays and manifest of an artifact, and back.

`save` and `load` work with the fields of a Recommender by name, so that this module does not need to import it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

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
from cofactor.results import SelectionTrial

__all__ = ["frame", "frame_bytes", "id_arrays", "id_map", "load", "row_arrays", "rows", "save"]

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
MATRICES = ("histories", "seen")
TABLES = ("user_table", "item_table")
ID_MAPS = ("users", "items")


def save(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the fields of a Recommender to a file atomically.

    Parameters
    ----------
    path : Path
        Path of the file; an existing model is replaced.
    fields : mapping of str to Any
        Fields by name; other names are ignored.

    Raises
    ------
    ArtifactError
        If the file cannot be written, or if it exists and is not a model.
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
        "trials": [asdict(trial) for trial in fields["trials"]],
        "seed": fields["seed"],
    }
    write_artifact(path, arrays, manifest)


def load(path: Path, build: Callable[..., T], *, verify: bool) -> T:
    """Load a saved Recommender; its arrays are memory-mapped from the file.

    Parameters
    ----------
    path : Path
        Path of the file.
    build : callable
        Function that is called with the fields of a Recommender as keyword arguments.
    verify : bool
        Whether to verify the checksums of all arrays. If False, the floating-point arrays of the model and of the
        histories are skipped.

    Returns
    -------
    Recommender
        Return value of `build`.

    Raises
    ------
    ArtifactError
        If the file is not a complete and undamaged artifact that this version can read.
    """
    artifact = read_artifact(path, verify=verify)
    if not verify:
        artifact.verify(name for name, array in artifact.arrays.items() if not _is_large(name, array))
    try:
        return build(**_read_fields(artifact.arrays, artifact.manifest))
    except ForkError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"is not valid ({error})"
        raise ArtifactError(f"{path} {problem}: it was written by another version of cofactor") from error


def _read_fields(arrays: Arrays, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Recommender; any exception means that the artifact does not contain one."""
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
        "trials": tuple(_trial(trial) for trial in manifest["trials"]),
        "seed": checks.plain("seed", manifest["seed"], int | None),
    }


def _trial(values: Mapping[str, Any]) -> SelectionTrial:
    """Return a trial of automatic selection from its JSON values."""
    types: dict[str, Any] = {
        "estimator": str, "metric": str, "value": float | None, "seconds": float, "chosen": bool, "note": str | None,
    }  # fmt: skip
    if not isinstance(settings := values["settings"], dict):
        raise DataError(f"settings must be an object, not {checks.describe(settings)}")
    return SelectionTrial(
        settings=settings, **{name: checks.plain(name, values[name], expected) for name, expected in types.items()}
    )


def _is_large(name: str, array: NDArray[Any]) -> bool:
    """Return whether an array contains model parameters or history values."""
    return array.dtype.kind == "f" and name.startswith(("model.", "histories.", "seen."))


def id_arrays(name: str, ids: IdMap) -> dict[str, Any]:
    """Return the arrays that represent an ID map.

    Parameters
    ----------
    name : str
        Prefix of the array names.
    ids : IdMap
        ID map to convert.

    Returns
    -------
    dict of str to ndarray
        Array `name.integers`, or arrays `name.offsets` and `name.text`; see `IdMap` for their shapes.

    Examples
    --------
    >>> sorted(id_arrays("users", IdMap.of(["ana", "bo"])))
    ['users.offsets', 'users.text']
    """
    parts = {"integers": ids.integers, "offsets": ids.offsets, "text": ids.text}
    return {f"{name}.{part}": array for part, array in parts.items() if array is not None}


def id_map(name: str, arrays: Arrays) -> IdMap:
    """Create an ID map from the arrays that `id_arrays` returned.

    Parameters
    ----------
    name : str
        Prefix of the array names.
    arrays : mapping of str to ndarray
        Arrays by name; other names are ignored.

    Returns
    -------
    IdMap
        The ID map.

    Raises
    ------
    KeyError
        If an array is missing.
    DataError
        If the arrays do not represent an ID map.
    """
    if f"{name}.integers" in arrays:
        integers = arrays[f"{name}.integers"]
        require_array(f"{name}.integers", integers, np.int64)
        if (integers[1:] <= integers[:-1]).any():
            raise DataError(f"{name}.integers must be strictly increasing")
        return IdMap(integers)
    offsets, text = arrays[f"{name}.offsets"], arrays[f"{name}.text"]
    require_array(f"{name}.offsets", offsets, np.int64)
    require_array(f"{name}.text", text, np.uint8)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(text) or (offsets[1:] <= offsets[:-1]).any():
        raise DataError(f"{name}.offsets must be strictly increasing from 0 to {len(text):,}, the length of the text")
    if (text[offsets[:-1]] & 0xC0 == 0x80).any():
        raise DataError(f"{name}.offsets must fall on UTF-8 character boundaries")
    text.tobytes().decode()  # raises if it is not valid UTF-8
    return IdMap(None, offsets, text)


def row_arrays(name: str, sparse_rows: SparseRows) -> dict[str, Any]:
    """Return the arrays that represent a sparse matrix.

    Parameters
    ----------
    name : str
        Prefix of the array names.
    sparse_rows : SparseRows
        Sparse rows to convert.

    Returns
    -------
    dict of str to ndarray
        Arrays `name.start`, `name.columns`, `name.values` and, if the rows have them, `name.weights` and `name.times`.

    Examples
    --------
    >>> sorted(row_arrays("histories", SparseRows.empty(2)))
    ['histories.columns', 'histories.start', 'histories.values']
    """
    parts = {part: getattr(sparse_rows, part) for part in ("start", "columns", "values", "weights", "times")}
    return {f"{name}.{part}": array for part, array in parts.items() if array is not None}


def rows(name: str, arrays: Arrays) -> SparseRows:
    """Create a sparse matrix from the arrays that `row_arrays` returned.

    Parameters
    ----------
    name : str
        Prefix of the array names.
    arrays : mapping of str to ndarray
        Arrays by name; other names are ignored.

    Returns
    -------
    SparseRows
        The sparse rows.

    Raises
    ------
    KeyError
        If an array is missing.
    """
    start, columns, values = (arrays[f"{name}.{part}"] for part in ("start", "columns", "values"))
    return SparseRows(start, columns, values, arrays.get(f"{name}.weights"), arrays.get(f"{name}.times"))


def frame_bytes(table: pl.DataFrame) -> Bytes:
    """Serialize a data frame in the Arrow file format.

    Parameters
    ----------
    table : pl.DataFrame
        Frame to serialize.

    Returns
    -------
    ndarray of shape (n_bytes,), uint8
        Serialized frame, read-only.

    Examples
    --------
    >>> frame(frame_bytes(pl.DataFrame({"item": [7], "title": ["Alien"]}))).rows()
    [(7, 'Alien')]
    """
    require_threads()
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    return read_only(np.frombuffer(buffer.getvalue(), np.uint8))


def frame(serialized: NDArray[Any], rows: int | None = None) -> pl.DataFrame:
    """Deserialize a data frame that `frame_bytes` serialized.

    Parameters
    ----------
    serialized : ndarray of shape (n_bytes,), uint8
        Serialized frame.
    rows : int, optional
        Expected number of rows; None accepts any number.

    Returns
    -------
    pl.DataFrame
        The frame.

    Raises
    ------
    DataError
        If the number of rows differs from `rows`.
    """
    require_threads()
    table = pl.read_ipc(io.BytesIO(serialized.tobytes()))
    if rows is not None and len(table) != rows:
        raise DataError(f"the table must have {rows:,} rows; got {len(table):,}")
    return table
