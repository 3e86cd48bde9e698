"""Persistence: convert the fields of a Recommender to the arrays and the manifest of an artifact, and back.

`save` and `load` take and return the fields of a Recommender by name, so that this module does not import it.
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

__all__ = ["frame", "frame_bytes", "id_arrays", "id_map", "load", "row_arrays", "rows", "save"]

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
MATRICES = ("histories", "seen")
TABLES = ("user_table", "item_table")
ID_MAPS = ("users", "items")


def save(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the fields of a Recommender to one file, completely or not at all.

    Parameters
    ----------
    path : Path
        File to write; an existing model is replaced.
    fields : mapping of str to Any
        The fields by name; other names are ignored.

    Raises
    ------
    ArtifactError
        If the file cannot be written, or another file exists that is not a model.
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


def load(path: Path, build: Callable[..., T], *, verify: bool) -> T:
    """Return a saved Recommender; its arrays stay in the file.

    Parameters
    ----------
    path : Path
        The file.
    build : callable
        Called with the fields of a Recommender, by name.
    verify : bool
        Compare all arrays with their checksums. False leaves out the floating-point arrays of the model and of the
        histories.

    Returns
    -------
    Recommender
        What `build` returns.

    Raises
    ------
    ArtifactError
        If the file is not a complete, undamaged artifact that this version can read.
    """
    artifact = read_artifact(path, verify=verify)
    if not verify:
        artifact.verify(name for name, array in artifact.arrays.items() if not _is_large(name, array))
    try:
        return build(**_fields(artifact.arrays, artifact.manifest))
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
    """Return the arrays of an ID map.

    Parameters
    ----------
    name : str
        Prefix of the names of the arrays.
    ids : IdMap
        The map.

    Returns
    -------
    dict of str to ndarray
        `name.integers`, or `name.offsets` and `name.text`; see `IdMap` for their shapes.

    Examples
    --------
    >>> sorted(id_arrays("users", IdMap.of(["ana", "bo"])))
    ['users.offsets', 'users.text']
    """
    parts = {"integers": ids.integers, "offsets": ids.offsets, "text": ids.text}
    return {f"{name}.{part}": array for part, array in parts.items() if array is not None}


def id_map(name: str, arrays: Arrays) -> IdMap:
    """Return the ID map of the arrays that `id_arrays` returned.

    Parameters
    ----------
    name : str
        Prefix of the names of the arrays.
    arrays : mapping of str to ndarray
        The arrays; other names are ignored.

    Returns
    -------
    IdMap
        The map.

    Raises
    ------
    KeyError
        If an array is missing.
    DataError
        If the arrays are not those of a map.
    """
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
    """Return the arrays of sparse rows.

    Parameters
    ----------
    name : str
        Prefix of the names of the arrays.
    stored : SparseRows
        The rows.

    Returns
    -------
    dict of str to ndarray
        `name.start`, `name.columns`, `name.values` and, if the rows have weights, `name.weights`.

    Examples
    --------
    >>> sorted(row_arrays("histories", SparseRows.empty(2)))
    ['histories.columns', 'histories.start', 'histories.values']
    """
    parts = {part: getattr(stored, part) for part in ("start", "columns", "values", "weights")}
    return {f"{name}.{part}": array for part, array in parts.items() if array is not None}


def rows(name: str, arrays: Arrays) -> SparseRows:
    """Return the sparse rows of the arrays that `row_arrays` returned.

    Parameters
    ----------
    name : str
        Prefix of the names of the arrays.
    arrays : mapping of str to ndarray
        The arrays; other names are ignored.

    Returns
    -------
    SparseRows
        The rows.

    Raises
    ------
    KeyError
        If an array is missing.
    """
    start, columns, values = (arrays[f"{name}.{part}"] for part in ("start", "columns", "values"))
    return SparseRows(start, columns, values, arrays.get(f"{name}.weights"))


def frame_bytes(table: pl.DataFrame) -> Bytes:
    """Return a frame in the Arrow file format.

    Parameters
    ----------
    table : pl.DataFrame
        The frame.

    Returns
    -------
    ndarray of shape (n_bytes,), uint8
        The bytes, read-only.

    Examples
    --------
    >>> frame(frame_bytes(pl.DataFrame({"item": [7], "title": ["Alien"]}))).rows()
    [(7, 'Alien')]
    """
    require_threads()
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    return read_only(np.frombuffer(buffer.getvalue(), np.uint8))


def frame(stored: NDArray[Any], rows: int | None = None) -> pl.DataFrame:
    """Return the frame that `frame_bytes` wrote.

    Parameters
    ----------
    stored : ndarray of shape (n_bytes,), uint8
        The bytes.
    rows : int, optional
        Expected number of rows; None accepts any.

    Returns
    -------
    pl.DataFrame
        The frame.

    Raises
    ------
    DataError
        If the frame has another number of rows.
    """
    require_threads()
    table = pl.read_ipc(io.BytesIO(stored.tobytes()))
    if rows is not None and len(table) != rows:
        raise DataError(f"a table must have {rows:,} rows, not {len(table):,}")
    return table
