"""Memory of fits: allocations of fits to two small tables of the same shape, extrapolated to the large table.

All arrays of a fit grow in proportion to the users, items and rows, whose ratios are the same in the small tables. The
fits run in a child process, so that only their own allocations are traced. Allocations that do not grow in proportion
are added: the buffers of the ALS kernels, one for each thread, which hold the vectors of a row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cofactor.capacity.shape import TableShape, sample_table
from cofactor.errors import CofactorError
from cofactor.estimators.base import Estimator
from cofactor.recommender.recommender import Recommender

__all__ = ["TracedMemory", "main", "measure_memory"]

SAMPLE_EVENTS = 500_000
"""Approximate number of rows of the larger one of the small tables; the other has half as many."""

MAX_VECTORS = 100_000_000
"""Largest size of the vectors of the users and items of a small table, in bytes."""

EPOCHS = 2
"""Number of epochs of a traced fit: the first includes the preparation of the table."""

_CHILD = "import sys; sys.path[:] = sys.argv[2:]; from cofactor.capacity.memory import main; main(sys.argv[1])"


@dataclass(frozen=True)
class TracedMemory:
    """Memory of a fit and of a loaded model.

    Attributes
    ----------
    process : int
        Anonymous memory of the process before the fit, in bytes.
    first, epoch, last : int
        Highest memory until the end of the first epoch, during another epoch, and after the last epoch, in bytes.
    loaded : int
        Memory that a loaded model allocates for ranking, besides the mapped file, in bytes.
    """

    process: int
    first: int
    epoch: int
    last: int
    loaded: int


def measure_memory(estimator: Estimator, shape: TableShape) -> TracedMemory:
    """Measure the memory of a fit on small tables, and extrapolate it.

    Parameters
    ----------
    estimator : Estimator
        Estimator with factors and epochs.
    shape : TableShape
        Shape of the large table.

    Returns
    -------
    TracedMemory
        Memory with the buffers of one thread.
    """
    request = json.dumps({"estimator": estimator.to_dict(), "shape": asdict(shape)})
    command = [sys.executable, "-c", _CHILD, request, *sys.path]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COFACTOR_THREADS": "1"}
    )
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        raise CofactorError(f"the memory of a fit could not be measured: {reason}")
    answer = json.loads(result.stdout.splitlines()[-1])
    samples = answer["samples"]
    first, epoch, last = (_extrapolated(samples, name, "scale", 1.0) for name in ("first", "epoch", "last"))
    return TracedMemory(answer["process"], first, epoch, last, _extrapolated(samples, "loaded", "items", shape.items))


def _extrapolated(samples: list[dict[str, float]], name: str, size: str, target: float) -> int:
    """Return a memory for a size of the table, from its memory in two samples."""
    small, large = samples
    if large[size] == small[size]:  # the table is small, or has as few items as the samples
        return round(large[name] * max(target / large[size], 1.0))
    slope = max((large[name] - small[name]) / (large[size] - small[size]), 0.0)
    return round(large[name] + slope * (target - large[size]))


def main(request: str) -> None:
    """Trace fits in a child process, and print the memory as a line of JSON.

    Parameters
    ----------
    request : str
        JSON object with "estimator" and "shape".
    """
    arguments = json.loads(request)
    estimator, shape = Estimator.from_dict(arguments["estimator"]), TableShape(**arguments["shape"])
    _trace(estimator, TableShape(20, 20, 200), 200)  # loads the kernels and the modules
    process = _anonymous_memory()
    row_bytes = 4 * int(getattr(estimator, "factors", 1))
    largest = round(
        max(shape.events, shape.users, shape.items) * MAX_VECTORS / (row_bytes * (shape.users + shape.items))
    )
    largest = min(SAMPLE_EVENTS, largest)
    samples = [_trace(estimator, shape, n_events) for n_events in (largest // 2, largest)]
    print(json.dumps({"process": process, "samples": samples}))


def _trace(estimator: Estimator, shape: TableShape, n_events: int) -> dict[str, float]:
    """Return the memory of the stages of a fit to a small table, in bytes."""
    table, scale = sample_table(shape, n_events, "events" if estimator.kind == "events" else "ratings")
    assert table.by_item is not None  # read from the file if the table is mapped
    peaks: list[int] = []

    def stage(_: object) -> None:
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()

    with TemporaryDirectory() as folder:
        path = Path(folder, "model.cofactor")
        tracemalloc.start()
        try:
            recommender = Recommender.fit(estimator.set_params(epochs=EPOCHS), table, callback=stage)
            recommender.save(path)
            stage(None)
            del recommender
            before = tracemalloc.get_traced_memory()[0]
            loaded = Recommender.load(path, verify=False)
            loaded.recommend(0)
            resident = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        del loaded
    return {
        "scale": scale,
        "items": table.n_items,
        "loaded": resident,
        **dict(zip(("first", "epoch", "last"), peaks, strict=True)),
    }


def _anonymous_memory() -> int:
    """Return the anonymous memory of this process in bytes; all of its memory where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        import resource

        peak: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak) * (1 if sys.platform == "darwin" else 1024)
