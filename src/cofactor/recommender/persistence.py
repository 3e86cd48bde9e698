"""Persistence: convert the fields of a Recommender to the arrays and manifest of an artifact, and back.

`save` and `load` work with the fields of a Recommender by name, so that this module does not need to import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from numpy.typing import NDArray

from cofactor import checks
from cofactor.data.artifact import read_artifact, write_artifact
from cofactor.data.scale import Scale
from cofactor.data.serialization import frame, frame_bytes, id_arrays, id_map, row_arrays, rows
from cofactor.errors import ArtifactError, DataError, ForkError
from cofactor.estimators.base import Estimator
from cofactor.models import MODEL_TYPES
from cofactor.models.prior import Priors
from cofactor.results import SelectionTrial

__all__ = ["load", "save"]

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
    if (content := artifact.manifest.get("content")) is not None:
        raise ArtifactError(f"{path} contains a {content}, not a model")
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
