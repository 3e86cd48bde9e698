"""A file of named arrays and a manifest, in safetensors format: no code runs when it is read.

    8 bytes   length of the header, little endian
    header    JSON: where each array lies, its type and shape; under "__metadata__" the manifest and the checksums
    data      the arrays, one after the other

Arrays are mapped from the file, not copied: many processes that serve one model share its memory. A file is
written under a temporary name and renamed when it is whole. The format is small enough to be written here, which
copies nothing and gives the same bytes each time; the library's own writer orders the header at random.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import ArtifactError
from cofactor.files import write_atomically

__all__ = ["FORMAT_VERSION", "Artifact", "check_overwrite", "read_artifact", "write_artifact"]


FORMAT_VERSION = 1


DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "|u1", "BOOL": "|b1"}


NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


LONGEST_HEADER = 100_000_000


MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Artifact:
    """What a file holds: plain JSON values, and read-only arrays that are still in the file.

    manifest is what was written as such; arrays have their names, shapes and dtypes; sha256 has the checksum that each
    array was written with, path where they lie.
    """

    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    sha256: dict[str, str]
    path: str

    def verify(self, names: Iterable[str]) -> None:
        """Compare these arrays with their checksums, which reads all of them. Raises ArtifactError."""
        for name in names:
            if _checksum(self.arrays[name]) != self.sha256[name]:
                raise ArtifactError(f"{self.path} is damaged: the checksum of {name!r} does not match")


def check_overwrite(path: str | Path) -> None:
    """Raise ArtifactError where a file is there that cofactor did not write as a model.

    An empty file may be overwritten, and so may a model that was damaged or cut short behind its header.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "notes.txt")
    ...     _ = path.write_text("to do")
    ...     check_overwrite(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: ...notes.txt is not a cofactor model and is not overwritten: delete it first, ...
    """
    file = Path(path)
    try:
        if not file.is_file() or not file.stat().st_size or _is_ours(file):
            return
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be written: {problem.strerror or problem}") from problem
    raise ArtifactError(f"{path} is not a cofactor model and is not overwritten: delete it first, or name another file")


def _is_ours(path: Path) -> bool:
    """Whether a file begins with the header of a model."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(size) if size <= LONGEST_HEADER else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return False
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return isinstance(metadata, dict) and "cofactor" in metadata


def write_artifact(path: str | Path, arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
    """Write `arrays` and `manifest` (plain JSON values) to `path`. The same content gives the same bytes.

    Arrays of any shape, of float32, float64, int32, int64, uint8 or bool; an empty one, or none at all, is kept too.
    Raises ArtifactError when the file cannot be written, as `check_overwrite` does, and for an array of another type;
    TypeError for a manifest that is not JSON.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_artifact(Path(folder, "two"), {"x": np.zeros((2, 3), np.float32)}, {"made": "by hand"})
    ...     found = read_artifact(Path(folder, "two"))
    >>> found.manifest, found.arrays["x"].shape, found.arrays["x"].flags.writeable
    ({'made': 'by hand'}, (2, 3), False)
    """
    check_overwrite(path)
    named = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in named.items():
        if array.dtype not in NAMES:
            raise ArtifactError(f"array {name!r} holds {array.dtype}, which a model file has no place for")
    whole = dict(sorted(named.items(), key=lambda pair: (-pair[1].itemsize, pair[0])))  # so that all are aligned
    content = {
        "format_version": FORMAT_VERSION,
        "manifest": dict(manifest),
        "sha256": {name: _checksum(array) for name, array in whole.items()},
    }
    text = json.dumps(content, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {"cofactor": text, "cofactor_sha256": _sha256(text)}}
    at = 0
    for name, array in whole.items():
        offsets = [at, at := at + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for array in whole.values():
                file.write(array.data)

    try:
        write_atomically(path, write)
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be written: {problem.strerror or problem}") from problem


def read_artifact(path: str | Path, *, verify: bool = True) -> Artifact:
    """Map the file at `path`. With `verify` every array is checked against its SHA-256, which reads all of it.

    Raises ArtifactError for a file that is missing, foreign, cut short, damaged or of a newer format.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "note.cofactor")
    ...     _ = path.write_text("no model")
    ...     read_artifact(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: ...note.cofactor is not a cofactor model, or it was cut short (8 bytes)
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header_size = int.from_bytes(file.read(8), "little")
            if size < 8 or header_size > min(size - 8, LONGEST_HEADER):
                raise ArtifactError(f"{path} is not a cofactor model, or it was cut short ({size} bytes)")
            layout, metadata = _parsed(path, file.read(header_size))
            content = _content(path, metadata)
            end = 8 + header_size + max((last for _, last, _, _ in layout.values()), default=0)
            if size != end:
                raise ArtifactError(
                    f"{path} was cut short or has bytes too many: {size} bytes instead of {end}; copy or save it again"
                )
            arrays = _mapped(file, layout, 8 + header_size)
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    if arrays.keys() != content["sha256"].keys():
        raise ArtifactError(f"{path} is damaged: its arrays are not those its manifest lists")
    artifact = Artifact(content["manifest"], arrays, content["sha256"], str(path))
    if verify:
        artifact.verify(arrays)
    return artifact


_Place = tuple[int, int, str, tuple[int, ...]]
"""Where an array lies in the data (first byte, last byte + 1), its type and its shape."""


def _parsed(path: str | Path, text: bytes) -> tuple[dict[str, _Place], Any]:
    """The place of every array, proved to follow each other without gaps, and the metadata."""
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None)
        layout, at = {}, 0
        for name, entry in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
            dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
            if len(shape) > MOST_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
                raise ValueError(name)
            last = at + math.prod(shape) * np.dtype(dtype).itemsize
            if entry["data_offsets"] != [at, last]:
                raise ValueError(name)
            layout[name] = (at, last, dtype, shape)
            at = last
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ArtifactError(f"{path} is not a cofactor model, or its header is damaged") from problem
    return layout, metadata


def _content(path: str | Path, metadata: Any) -> dict[str, Any]:
    """What `write_artifact` put under "cofactor", once its checksum holds and its version is known."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("cofactor"), str):
        raise ArtifactError(f"{path} is a safetensors file, but not one that cofactor wrote")
    text = metadata["cofactor"]
    if _sha256(text) != metadata.get("cofactor_sha256"):
        raise ArtifactError(f"{path} is damaged: the checksum of its manifest does not match")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ArtifactError(f"{path} is damaged: its manifest is not JSON") from problem
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path} does not say which format it has: no cofactor wrote it")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer cofactor (format {version}, this one reads up to {FORMAT_VERSION}): "
            "pip install --upgrade cofactor"
        )
    if not isinstance(content.get("manifest"), dict) or not isinstance(content.get("sha256"), dict):
        raise ArtifactError(f"{path} has no manifest or no checksums: no cofactor wrote it")
    return dict(content)


def _mapped(file: BinaryIO, layout: Mapping[str, _Place], begin: int) -> dict[str, NDArray[Any]]:
    whole = np.asarray(np.memmap(file, np.uint8, mode="r"))
    return {
        name: whole[begin + first : begin + last].view(dtype).reshape(shape)
        for name, (first, last, dtype, shape) in layout.items()
    }


def _checksum(array: NDArray[Any]) -> str:
    """Of the bytes and of what they mean: the same bytes read as another type are another array."""
    digest = hashlib.sha256(f"{NAMES[array.dtype]} {array.shape} ".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
