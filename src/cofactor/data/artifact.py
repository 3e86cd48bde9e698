"""Artifact: a file with named arrays and a manifest, in the safetensors format. Reading it never executes code.

    8 bytes   length of the header, little-endian
    header    JSON: offsets, dtype and shape of each array; manifest and checksums under "__metadata__"
    data      concatenated arrays

Arrays are memory-mapped from the file rather than copied, so that several processes that serve the same model share its
memory. A file is written under a temporary name and renamed when it is complete. cofactor has its own writer because
the one in the safetensors package orders the header at random; this one is deterministic and does not copy arrays.
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

__all__ = ["FORMAT_VERSION", "Artifact", "check_overwrite", "is_artifact", "read_artifact", "write_artifact"]


FORMAT_VERSION = 1
"""Version of the format; readers reject files with a newer version."""

DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "|u1", "BOOL": "|b1"}
"""NumPy dtypes by their safetensors names."""

DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

MAX_HEADER_SIZE = 100_000_000
"""Maximum size of the header in bytes."""

MAX_DIMENSIONS = 8
"""Maximum number of dimensions of an array."""


@dataclass(frozen=True)
class Artifact:
    """Content of an artifact: JSON values, and read-only arrays that are memory-mapped from the file.

    Parameters
    ----------
    manifest : dict
        JSON values that were written.
    arrays : dict of str to ndarray
        Arrays by name, with the shapes and dtypes that were written.
    sha256 : dict of str to str
        Hexadecimal SHA-256 checksum of each array at the time of writing.
    path : str
        Path of the file.
    """

    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    sha256: dict[str, str]
    path: str

    def verify(self, names: Iterable[str]) -> None:
        """Verify the checksums of arrays; this reads each array completely.

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


def check_overwrite(path: str | Path, content: str | None = None) -> None:
    """Raise an error if saving to a path would overwrite a file with other content.

    An empty file may be overwritten, and so may an artifact that is damaged or truncated after its header.

    Parameters
    ----------
    path : str or Path
        Path that will be written.
    content : str, optional
        Content that will be written, as in the manifest; None for a model.

    Raises
    ------
    ArtifactError
        If the file exists and is not an artifact with this content, or if it cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "notes.txt")
    ...     _ = path.write_text("to do")
    ...     check_overwrite(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: ...notes.txt is not a cofactor file and will not be overwritten; delete it ...
    """
    file = Path(path)
    try:
        if not file.is_file() or not file.stat().st_size:
            return
        metadata = _metadata(file)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    if metadata is None:
        raise ArtifactError(
            f"{path} is not a cofactor file and will not be overwritten; delete it first or choose another file"
        )
    if (existing := _content_name(metadata)) != content:
        raise ArtifactError(
            f"{path} contains a {existing or 'model'} and will not be overwritten by a {content or 'model'}; delete it "
            "first or choose another file"
        )


def is_artifact(path: Path) -> bool:
    """Return whether a file starts with an artifact header.

    Parameters
    ----------
    path : Path
        Path of a file.

    Returns
    -------
    bool

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return _metadata(path) is not None


def _metadata(path: Path) -> Mapping[str, Any] | None:
    """Return the metadata in the header of an artifact, or None if the file does not start with one."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(size) if size <= MAX_HEADER_SIZE else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) and "cofactor" in metadata else None


def _content_name(metadata: Mapping[str, Any]) -> Any:
    """Return "content" of the manifest in the metadata; None for a model, or if it cannot be read."""
    try:
        return json.loads(metadata["cofactor"])["manifest"].get("content")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_artifact(path: str | Path, arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
    """Write arrays and a manifest to a file atomically; the same content always produces the same bytes.

    Parameters
    ----------
    path : str or Path
        Path of the file; an existing file with the same content is replaced.
    arrays : mapping of str to ndarray
        Arrays of any shape (including empty ones) with dtype float32, float64, int32, int64, uint8 or bool.
    manifest : mapping
        JSON values.

    Raises
    ------
    ArtifactError
        If the file cannot be written, if it exists and has other content, or if an array has an unsupported dtype.
    TypeError
        If the manifest cannot be serialized as JSON.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_artifact(Path(folder, "two"), {"x": np.zeros((2, 3), np.float32)}, {"source": "example"})
    ...     artifact = read_artifact(Path(folder, "two"))
    >>> artifact.manifest, artifact.arrays["x"].shape, artifact.arrays["x"].flags.writeable
    ({'source': 'example'}, (2, 3), False)
    """
    check_overwrite(path, manifest.get("content"))
    contiguous_arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in contiguous_arrays.items():
        if array.dtype not in DTYPE_NAMES:
            raise ArtifactError(f"array {name!r} has dtype {array.dtype}, which model files do not support")
    sorted_arrays = dict(
        sorted(contiguous_arrays.items(), key=lambda pair: (-pair[1].itemsize, pair[0]))
    )  # so that all arrays are aligned
    content = {
        "format_version": FORMAT_VERSION,
        "manifest": dict(manifest),
        "sha256": {name: _checksum(array) for name, array in sorted_arrays.items()},
    }
    text = json.dumps(content, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {"cofactor": text, "cofactor_sha256": _sha256(text)}}
    end = 0
    for name, array in sorted_arrays.items():
        offsets = [end, end := end + array.nbytes]
        header[name] = {"dtype": DTYPE_NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
    header_bytes = json.dumps(header, separators=(",", ":")).encode()
    header_bytes += b" " * (-len(header_bytes) % 8)

    def write(temporary_path: Path) -> None:
        with temporary_path.open("wb") as file:
            file.write(len(header_bytes).to_bytes(8, "little") + header_bytes)
            for array in sorted_arrays.values():
                file.write(array.data)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error


def read_artifact(path: str | Path, *, verify: bool = True) -> Artifact:
    """Open an artifact; its arrays are memory-mapped from the file.

    Parameters
    ----------
    path : str or Path
        Path of the file.
    verify : bool, default True
        Whether to verify the checksum of each array, which reads the file completely.

    Returns
    -------
    Artifact
        Content of the file, with memory-mapped arrays.

    Raises
    ------
    ArtifactError
        If the file is missing, truncated, damaged, in a newer format, or not written by cofactor.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "note.cofactor")
    ...     _ = path.write_text("no model")
    ...     read_artifact(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ArtifactError: ...note.cofactor is not a cofactor file, or it is truncated (8 bytes)
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header_size = int.from_bytes(file.read(8), "little")
            if size < 8 or header_size > min(size - 8, MAX_HEADER_SIZE):
                raise ArtifactError(f"{path} is not a cofactor file, or it is truncated ({size} bytes)")
            layout, metadata = _parse_header(path, file.read(header_size))
            content = _read_content(path, metadata)
            end = 8 + header_size + max((array_end for _, array_end, _, _ in layout.values()), default=0)
            if size != end:
                raise ArtifactError(
                    f"{path} is truncated or has extra bytes: {size} bytes instead of {end}; copy or save it again"
                )
            arrays = _map_arrays(file, layout, 8 + header_size)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    if arrays.keys() != content["sha256"].keys():
        raise ArtifactError(f"{path} is damaged: its arrays do not match those listed in its manifest")
    artifact = Artifact(content["manifest"], arrays, content["sha256"], str(path))
    if verify:
        artifact.verify(arrays)
    return artifact


_Entry = tuple[int, int, str, tuple[int, ...]]
"""Location of an array in the data (first byte, last byte + 1), its dtype and its shape."""


def _parse_header(path: str | Path, text: bytes) -> tuple[dict[str, _Entry], Any]:
    """Parse a header into array entries and metadata; check that there are no gaps between the arrays."""
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
        raise ArtifactError(f"{path} is not a cofactor file, or its header is damaged") from error
    return layout, metadata


def _read_content(path: str | Path, metadata: Any) -> dict[str, Any]:
    """Return the JSON that `write_artifact` stored under "cofactor", after verifying its checksum and version."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("cofactor"), str):
        raise ArtifactError(f"{path} is a safetensors file, but it was not written by cofactor")
    text = metadata["cofactor"]
    if _sha256(text) != metadata.get("cofactor_sha256"):
        raise ArtifactError(f"{path} is damaged: the checksum of its manifest does not match")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: its manifest is not JSON") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path} has no valid format version: it was not written by cofactor")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer version of cofactor (format {version}; this version reads formats up to "
            f"{FORMAT_VERSION}): pip install --upgrade cofactor"
        )
    if not isinstance(content.get("manifest"), dict) or not isinstance(content.get("sha256"), dict):
        raise ArtifactError(f"{path} has no manifest or no checksums: it was not written by cofactor")
    return dict(content)


def _map_arrays(file: BinaryIO, layout: Mapping[str, _Entry], offset: int) -> dict[str, NDArray[Any]]:
    """Return read-only views of the arrays in a file; `offset` is the position of the first array."""
    data = np.asarray(np.memmap(file, np.uint8, mode="r"))
    return {
        name: data[offset + start : offset + end].view(dtype).reshape(shape)
        for name, (start, end, dtype, shape) in layout.items()
    }


def _checksum(array: NDArray[Any]) -> str:
    """Return the SHA-256 checksum of dtype, shape and bytes."""
    digest = hashlib.sha256(f"{DTYPE_NAMES[array.dtype]} {array.shape} ".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
