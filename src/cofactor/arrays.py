"""Array types by name, the checks that guard them, and independent random streams from one seed."""

from __future__ import annotations

import zlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bool",
    "Bytes",
    "Float32",
    "Float64",
    "Int32",
    "Int64",
    "contiguous",
    "random_stream",
    "read_only",
]

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
Bytes: TypeAlias = NDArray[np.uint8]


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory, seen through a view that cannot be written."""
    view = array.view()
    view.flags.writeable = False
    return view


def contiguous(array: Any, dtype: Any) -> NDArray[Any]:
    """`array` as a C-contiguous array of `dtype`; copied only when it is not one already."""
    return np.ascontiguousarray(array, dtype=dtype)


def random_stream(seed: int, *path: str | int) -> np.random.Generator:
    """A random generator of its own for every (seed, path): streams never depend on each other's use.

    >>> a = random_stream(0, "user factors").standard_normal(2)
    >>> b = random_stream(0, "user factors").standard_normal(2)
    >>> bool((a == b).all())
    True
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), *words])))
