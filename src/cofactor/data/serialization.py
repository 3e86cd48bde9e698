"""Serialization of ID maps, sparse rows and data frames as the arrays of an artifact."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cofactor.arrays import Bytes, read_only, require_array
from cofactor.data.ids import IdMap
from cofactor.errors import DataError
from cofactor.fork import require_threads
from cofactor.kernels.sparse import SparseRows

__all__ = ["frame", "frame_bytes", "id_arrays", "id_map", "row_arrays", "rows"]

Arrays = Mapping[str, NDArray[Any]]


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
