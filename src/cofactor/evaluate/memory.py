"""How much memory a piece of work takes at its peak, beyond what the process already held."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PeakMemory", "peak_memory"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Filled in when the `with` block of `peak_memory` ends.

    Attributes:

        bytes: the highest resident memory during the block minus that at its beginning; None where it cannot be known.
    """

    bytes: int | None = None


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measures the block: Linux's high-water mark of resident memory (VmHWM), set back at the beginning.

    What earlier work left behind is given back to the system first (`malloc_trim`), else the block would reuse it
    unseen; what allocators keep for themselves can still hide some, so numbers of a few megabytes mean little. Other
    threads of the process count too. None on other systems, or where the mark cannot be set back.

    >>> with peak_memory() as memory:
    ...     block = bytearray(2**26)
    >>> memory.bytes is None or memory.bytes > 2**25
    True
    """
    found, before = PeakMemory(), _reset()
    try:
        yield found
    finally:
        peak = None if before is None else _field("VmHWM")
        found.bytes = None if before is None or peak is None else max(peak - before, 0)


def _reset() -> int | None:
    """Sets the mark back to what is resident now, and tells that."""
    gc.collect()
    with suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text("5")
    except OSError:
        return None
    return _field("VmRSS")


def _field(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
