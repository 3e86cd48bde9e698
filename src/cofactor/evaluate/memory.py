"""Peak memory of a block of code, beyond what the process held before."""

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
    """Result of `peak_memory`, filled in when its `with` block ends.

    Attributes
    ----------
    bytes : int or None
        Highest resident memory during the block minus that at its start; None where it cannot be measured.
    """

    bytes: int | None = None


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure the peak memory of a `with` block.

    Yields
    ------
    PeakMemory
        Its `bytes` are set when the block ends; None on systems other than Linux, or if the mark cannot be reset.

    Notes
    -----
    The measure is Linux's high-water mark of resident memory (VmHWM), reset when the block starts. Free memory of
    earlier work is returned to the system first (`malloc_trim`), because the block would reuse it unmeasured. What
    allocators keep for themselves can still hide some, so values of a few megabytes mean little. Other threads of the
    process count too.

    Examples
    --------
    >>> with peak_memory() as memory:
    ...     block = bytearray(2**26)
    >>> memory.bytes is None or memory.bytes > 2**25
    True
    """
    memory, before = PeakMemory(), _reset()
    try:
        yield memory
    finally:
        peak = None if before is None else _field("VmHWM")
        memory.bytes = None if before is None or peak is None else max(peak - before, 0)


def _reset() -> int | None:
    """Reset the mark to the memory that is resident now, and return that in bytes; None where it cannot be reset."""
    gc.collect()
    with suppress(OSError, AttributeError):  # C libraries other than glibc lack malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text("5")
    except OSError:
        return None
    return _field("VmRSS")


def _field(name: str) -> int | None:
    """Return a field of the process status in bytes; None where it cannot be read."""
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if match is None else int(match[1]) * 1024
