"""TODO."""

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
