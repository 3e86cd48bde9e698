"""A file of named arrays and a manifest, in safetensors format: no code runs when it is read.

    8 bytes   length of the header, little endian
    header    JSON: where each array lies, its type and shape; under "__metadata__" the manifest and the checksums
    data      the arrays, one after the other

Arrays are mapped from the file, not copied: many processes that serve one model share its memory. A file is
written under a temporary name and renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import ArtifactError

__all__ = ["FORMAT_VERSION", "Artifact", "read_artifact", "write_artifact", "write_whole"]

FORMAT_VERSION = 1
DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "|u1", "BOOL": "|b1"}
LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Artifact:
    """What a file holds: plain JSON values, and read-only arrays that are still in the file."""

    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def write_whole(path: str | Path, write: Any) -> None:
    """Call `write(temporary_path)`, then rename: readers see the old file or the new one, never a part."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as done:
            os.fsync(done.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_artifact(path: str | Path, arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
    """Write `arrays` and `manifest` (plain JSON values) to `path`. The same content gives the same bytes.

    Raises ArtifactError when the file cannot be written.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    text = json.dumps({"format_version": FORMAT_VERSION, **manifest}, sort_keys=True)
    sums = {name: hashlib.sha256(array.data).hexdigest() for name, array in whole.items()}
    metadata = {
        "cofactor": text,
        "cofactor_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "arrays_sha256": json.dumps(sums, sort_keys=True),
    }
    try:
        write_whole(path, lambda temporary: save_file(whole, temporary, metadata=metadata))
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be written: {problem.strerror or problem}") from problem


def read_artifact(path: str | Path, *, verify: bool = True) -> Artifact:
    """Map the file at `path`. With `verify` every array is checked against its SHA-256.

    Raises ArtifactError for a file that is missing, foreign, cut short, damaged or of a newer format.
    """
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if size < 8 or header_size > min(size - 8, LONGEST_HEADER):
                raise ArtifactError(f"{path} is not a cofactor model, or it was cut short ({size} bytes)")
            header_text = file.read(header_size)
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    header = _parsed(path, header_text)
    manifest = _manifest(path, header.pop("__metadata__", None))
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != 8 + header_size + end:
        raise ArtifactError(
            f"{path} was cut short or has bytes too many: {size} bytes instead of {8 + header_size + end}; "
            "copy or save it again"
        )
    arrays = _mapped(path, header, 8 + header_size, size)
    if verify:
        for name, expected in manifest.pop("arrays_sha256").items():
            if name not in arrays or hashlib.sha256(arrays[name].data).hexdigest() != expected:
                raise ArtifactError(f"{path} is damaged: the checksum of {name!r} does not match")
    return Artifact(manifest, arrays)


def _parsed(path: str | Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                cells = int(np.prod(entry["shape"], dtype=np.int64))
                if end - begin != cells * np.dtype(DTYPES[entry["dtype"]]).itemsize or begin < 0:
                    raise ValueError(name)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ArtifactError(f"{path} is not a cofactor model, or its header is damaged") from problem
    return dict(header)


def _manifest(path: str | Path, metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, dict) or "cofactor" not in metadata:
        raise ArtifactError(f"{path} is a safetensors file, but not one that cofactor wrote")
    text = metadata["cofactor"]
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get("cofactor_sha256"):
        raise ArtifactError(f"{path} is damaged: the checksum of its manifest does not match")
    manifest: dict[str, Any] = json.loads(text)
    if manifest["format_version"] > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer cofactor (format {manifest['format_version']}, this one reads up to "
            f"{FORMAT_VERSION}): pip install --upgrade cofactor"
        )
    try:
        return {**manifest, "arrays_sha256": json.loads(metadata["arrays_sha256"])}
    except (KeyError, ValueError) as problem:
        raise ArtifactError(f"{path} is damaged: its checksums cannot be read") from problem


def _mapped(path: str | Path, header: dict[str, Any], begin: int, size: int) -> dict[str, NDArray[Any]]:
    if size == begin:
        return {name: np.zeros(e["shape"], DTYPES[e["dtype"]]) for name, e in header.items()}
    whole = np.asarray(np.memmap(path, np.uint8, mode="r", offset=0, shape=(size,)))
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        part = whole[begin + first : begin + last]
        arrays[name] = part.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays
