"""Artifact: a file of named arrays and a manifest, in the safetensors format. Reading it never executes code.

    8 bytes   length of the header, little-endian
    header    JSON: offsets, dtype and shape of each array; under "__metadata__" the manifest and the checksums
    data      the arrays, concatenated

Arrays are mapped from the file, not copied, so that several processes that serve the same model share its memory. A
file is written under a temporary name and renamed when it is complete. The writer is part of cofactor because that of
the safetensors package orders the header at random; this one gives the same bytes each time and copies no array.
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
"""Version of the format; readers reject files of a newer version."""

DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "|u1", "BOOL": "|b1"}
"""Dtypes by their names in the header."""

DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

MAX_HEADER_SIZE = 100_000_000
"""Maximum size of the header in bytes."""

MAX_DIMENSIONS = 8
"""Maximum number of dimensions of an array."""


@dataclass(frozen=True)
class Artifact:
    """Content of an artifact: JSON values, and read-only arrays that are mapped from the file.

    Parameters
    ----------
    manifest : dict
        The JSON values that were written.
    arrays : dict of str to ndarray
        The arrays by name, with the shapes and dtypes that were written.
    sha256 : dict of str to str
        The SHA-256 checksum of each array when it was written, in hexadecimal.
    path : str
        Path of the file.
    """

    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    sha256: dict[str, str]
    path: str

    def verify(self, names: Iterable[str]) -> None:
        """Compare arrays with their checksums; this reads each array completely.

        Parameters
        ----------
        names : iterable of str
            Names of the arrays.

        Raises
        ------
        ArtifactError
            If a checksum does not match.
        """
        for name in names:
            if _checksum(self.arrays[name]) != self.sha256[name]:
                raise ArtifactError(f"{self.path} is damaged: the checksum of {name!r} does not match")


def check_overwrite(path: str | Path) -> None:
    """Check that no file other than a model would be overwritten.

    An empty file may be overwritten, and so may a model that is damaged or truncated after its header.

    Parameters
    ----------
    path : str or Path
        File that will be written.

    Raises
    ------
    ArtifactError
        If the file exists and is not a model, or cannot be read.

    Examples
    --------
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
        if not file.is_file() or not file.stat().st_size or _is_artifact(file):
            return
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    raise ArtifactError(f"{path} is not a cofactor model and is not overwritten: delete it first, or name another file")


def _is_artifact(path: Path) -> bool:
    """Return whether a file begins with the header of an artifact."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(size) if size <= MAX_HEADER_SIZE else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return False
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return isinstance(metadata, dict) and "cofactor" in metadata


def write_artifact(path: str | Path, arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
    """Write arrays and a manifest to one file, completely or not at all. The same content gives the same bytes.

    Parameters
    ----------
    path : str or Path
        File to write; an existing model is replaced.
    arrays : mapping of str to ndarray
        Arrays of any shape, also empty ones, of dtype float32, float64, int32, int64, uint8 or bool.
    manifest : mapping
        JSON values.

    Raises
    ------
    ArtifactError
        If the file cannot be written, another file exists that is not a model, or an array has another dtype.
    TypeError
        If the manifest cannot be written as JSON.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_artifact(Path(folder, "two"), {"x": np.zeros((2, 3), np.float32)}, {"made": "by hand"})
    ...     artifact = read_artifact(Path(folder, "two"))
    >>> artifact.manifest, artifact.arrays["x"].shape, artifact.arrays["x"].flags.writeable
    ({'made': 'by hand'}, (2, 3), False)
    """
    check_overwrite(path)
    named = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in named.items():
        if array.dtype not in DTYPE_NAMES:
            raise ArtifactError(f"array {name!r} has dtype {array.dtype}, which a model file cannot store")
    ordered = dict(sorted(named.items(), key=lambda pair: (-pair[1].itemsize, pair[0])))  # so that all are aligned
    content = {
        "format_version": FORMAT_VERSION,
        "manifest": dict(manifest),
        "sha256": {name: _checksum(array) for name, array in ordered.items()},
    }
    text = json.dumps(content, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {"cofactor": text, "cofactor_sha256": _sha256(text)}}
    end = 0
    for name, array in ordered.items():
        offsets = [end, end := end + array.nbytes]
        header[name] = {"dtype": DTYPE_NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for array in ordered.values():
                file.write(array.data)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error


def read_artifact(path: str | Path, *, verify: bool = True) -> Artifact:
    """Map an artifact into memory.

    Parameters
    ----------
    path : str or Path
        The file.
    verify : bool, default True
        Compare each array with its checksum, which reads the file completely.

    Returns
    -------
    Artifact
        The content; its arrays stay in the file.

    Raises
    ------
    ArtifactError
        If the file is missing, not written by cofactor, truncated, damaged or of a newer format.

    Examples
    --------
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
            if size < 8 or header_size > min(size - 8, MAX_HEADER_SIZE):
                raise ArtifactError(f"{path} is not a cofactor model, or it was cut short ({size} bytes)")
            layout, metadata = _parsed(path, file.read(header_size))
            content = _content(path, metadata)
            end = 8 + header_size + max((last for _, last, _, _ in layout.values()), default=0)
            if size != end:
                raise ArtifactError(
                    f"{path} was cut short or has bytes too many: {size} bytes instead of {end}; copy or save it again"
                )
            arrays = _mapped(file, layout, 8 + header_size)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    if arrays.keys() != content["sha256"].keys():
        raise ArtifactError(f"{path} is damaged: its arrays are not those its manifest lists")
    artifact = Artifact(content["manifest"], arrays, content["sha256"], str(path))
    if verify:
        artifact.verify(arrays)
    return artifact


_Entry = tuple[int, int, str, tuple[int, ...]]
"""The offsets of an array in the data (first byte, last byte + 1), its dtype and its shape."""


def _parsed(path: str | Path, text: bytes) -> tuple[dict[str, _Entry], Any]:
    """Return the entry of each array and the metadata of a header; check that the arrays have no gaps between them."""
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None)
        layout, start = {}, 0
        for name, entry in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
            dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
            if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
                raise ValueError(name)
            end = start + math.prod(shape) * np.dtype(dtype).itemsize
            if entry["data_offsets"] != [start, end]:
                raise ValueError(name)
            layout[name] = (start, end, dtype, shape)
            start = end
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path} is not a cofactor model, or its header is damaged") from error
    return layout, metadata


def _content(path: str | Path, metadata: Any) -> dict[str, Any]:
    """Return the JSON that `write_artifact` stored under "cofactor", after checking its checksum and its version."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("cofactor"), str):
        raise ArtifactError(f"{path} is a safetensors file, but not one that cofactor wrote")
    text = metadata["cofactor"]
    if _sha256(text) != metadata.get("cofactor_sha256"):
        raise ArtifactError(f"{path} is damaged: the checksum of its manifest does not match")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: its manifest is not JSON") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path} does not say which format it has: it was not written by cofactor")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer cofactor (format {version}, this one reads up to {FORMAT_VERSION}): "
            "pip install --upgrade cofactor"
        )
    if not isinstance(content.get("manifest"), dict) or not isinstance(content.get("sha256"), dict):
        raise ArtifactError(f"{path} has no manifest or no checksums: it was not written by cofactor")
    return dict(content)


def _mapped(file: BinaryIO, layout: Mapping[str, _Entry], offset: int) -> dict[str, NDArray[Any]]:
    """Return read-only views of the arrays of a file; `offset` is the position of the first one."""
    data = np.asarray(np.memmap(file, np.uint8, mode="r"))
    return {
        name: data[offset + start : offset + end].view(dtype).reshape(shape)
        for name, (start, end, dtype, shape) in layout.items()
    }


def _checksum(array: NDArray[Any]) -> str:
    """Return the SHA-256 of dtype, shape and bytes: the same bytes with another dtype have another checksum."""
    digest = hashlib.sha256(f"{DTYPE_NAMES[array.dtype]} {array.shape} ".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
