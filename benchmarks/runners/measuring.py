"""What the runners share: their options, the interactions, clocks, memory, and one line of JSON at the end.

A runner is a script for a peer's own environment, so this file knows numpy and scipy and nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

__all__ = ["Mark", "mark", "options", "peak_mb", "per_iteration", "report", "user_items"]


class Mark(NamedTuple):
    """A moment: `wall` seconds from any start, `cpu` seconds of all threads of this process."""

    wall: float
    cpu: float


def mark() -> Mark:
    """Now."""
    return Mark(time.perf_counter(), time.process_time())


def per_iteration(marks: Sequence[Mark]) -> dict[str, float]:
    """The median wall and CPU seconds between neighboring marks. Needs two marks or more."""
    pairs = list(pairwise(marks))
    return {
        "seconds_per_iteration": statistics.median(after.wall - before.wall for before, after in pairs),
        "cpu_seconds_per_iteration": statistics.median(after.cpu - before.cpu for before, after in pairs),
    }


def options(description: str) -> argparse.Namespace:
    """The command line that all runners have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder with u.npy, i.npy (int32), values.npy (float32), by (u, i)")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=5, help="2 or more, so that the first can be set apart")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--n", type=int, default=10, help="how many items to recommend, where the peer is asked to")
    given = parser.parse_args()
    if given.iterations < 2:
        parser.error(f"--iterations must be 2 or more, not {given.iterations}")
    return given


def user_items(folder: Path) -> csr_matrix:
    """The interactions as a (n_users, n_items) float32 matrix; both sizes end at the highest row seen.

    The rows are sorted, so the matrix is made without the copies of a conversion: a peer's peak is its own.
    """
    u = np.load(folder / "u.npy", mmap_mode="r")
    indptr = np.searchsorted(u, np.arange(int(u[-1]) + 2, dtype=u.dtype)).astype(np.int32)
    i, values = np.load(folder / "i.npy"), np.load(folder / "values.npy")
    return csr_matrix((values, i, indptr), shape=(len(indptr) - 1, int(i.max()) + 1))


def peak_mb() -> float:
    """The most memory this process has held so far, in MiB.

    From the kernel's VmHWM where there is one: a child's ru_maxrss starts at what its parent held when it was
    started, so a large parent would be counted as the peer's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2


def report(peer: str, version: str, given: argparse.Namespace, **measured: Any) -> None:
    """Print everything as one line of JSON, seconds to a tenth of a millisecond."""
    asked = {name: getattr(given, name) for name in ("factors", "iterations", "threads")}
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in measured.items()}
    print(json.dumps({"peer": peer, "version": version, **asked, **rounded}), flush=True)
