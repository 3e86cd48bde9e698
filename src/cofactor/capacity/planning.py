"""Capacity plan: the resources that a fit to a table of a given size and its service need."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cofactor import checks
from cofactor.arrays import MAX_ROWS
from cofactor.capacity.memory import measure_memory
from cofactor.capacity.shape import TableShape
from cofactor.capacity.sizes import import_bytes, model_file_bytes, read_bytes, table_file_bytes
from cofactor.capacity.speed import fit_cost, list_seconds, require_planned
from cofactor.errors import ParameterError
from cofactor.estimators import ExplicitALS, ImplicitALS
from cofactor.estimators.base import Estimator
from cofactor.kernels.parallel import MAX_THREADS, thread_count
from cofactor.kernels.ridge import MAX_GATHERED
from cofactor.models.losses import padded_width
from cofactor.validation import validated

__all__ = ["CapacityPlan", "plan"]

REQUEST_SECONDS = 1.2e-3
"""CPU seconds of a request without the ranking of items, as measured by `benchmarks/serve_load.py`."""

SERVICE_PROCESS = 200_000_000
"""Memory of a process of the service without the model, in bytes, as measured by `benchmarks/serve_load.py`."""

SPARK_MODELS = ("explicit-als", "implicit-als")
"""Names of the estimators that Spark fits."""

MAX_BYTES = 10**18
"""Largest memory or disk of a described machine, in bytes."""


@dataclass(frozen=True)
class CapacityPlan:
    """Resources that a fit to a table of a given size and its service need, and the rate of the service.

    Attributes
    ----------
    model : str
        Name of the estimator.
    users, items, events, factors : int
        Size of the table, and number of factors.
    cores : int
        Number of cores of the machine.
    machine_memory, machine_disk : int
        Memory and free disk space of the machine, in bytes.
    table_bytes : int
        Size of the table file, in bytes.
    import_bytes : int
        Disk space that the import of the table needs, including the table file, in bytes.
    fit_memory : int
        Highest anonymous memory of the process that fits the model to the table file, in bytes.
    mapped_bytes : int
        Part of the table file that each pass reads, in bytes; if it does not fit into memory, it is read from the disk.
    seconds_per_pass : float
        Seconds of a pass over the table.
    fit_seconds : float
        Seconds of all passes and of the exact solution after the last pass.
    model_bytes : int
        Size of the model file, in bytes.
    serving_memory : int
        Memory of a service with one worker for each core, in bytes. The workers share the pages of the model file.
    requests_per_second : float
        Number of lists of ten items that the service returns per second.
    max_hours : float
        Longest acceptable time of a fit, in hours.

    Examples
    --------
    >>> import cofactor
    >>> small = cofactor.plan(cofactor.BPR(factors=8), users=900, items=300, events=9_000, memory=10**6, disk=10**9)
    >>> small.use_spark, small.advice.endswith("Spark fits explicit-als and implicit-als only.")
    (False, True)
    """

    model: str
    users: int
    items: int
    events: int
    factors: int
    cores: int
    machine_memory: int
    machine_disk: int
    table_bytes: int
    import_bytes: int
    fit_memory: int
    mapped_bytes: int
    seconds_per_pass: float
    fit_seconds: float
    model_bytes: int
    serving_memory: int
    requests_per_second: float
    max_hours: float

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the machine that the fit needs: of its memory, of its disk, and of `max_hours`."""
        return {
            "memory": self.fit_memory / self.machine_memory,
            "disk": self.import_bytes / self.machine_disk,
            "time": self.fit_seconds / (3600 * self.max_hours),
        }

    @property
    def use_spark(self) -> bool:
        """Whether the fit exceeds the memory, the disk or the time of the machine, and Spark fits this model."""
        return max(self.shares.values()) > 1 and self.model in SPARK_MODELS

    @property
    def max_events(self) -> int:
        """Events up to which this machine is enough, if users and items grow in proportion."""
        return int(self.events / max(self.shares.values()))

    @property
    def advice(self) -> str:
        """Whether one machine is enough, or why Spark or a larger machine is needed, as a sentence."""
        limit, share = max(self.shares.items(), key=lambda part: part[1])
        if share <= 1:
            size = f"up to about {self.max_events:,} events of this shape"
            return f"This machine is enough, {size}; the limit is its {limit}."
        reason = {
            "memory": f"the fit needs {_gigabytes(self.fit_memory)} of {_gigabytes(self.machine_memory)} memory",
            "disk": f"the import needs {_gigabytes(self.import_bytes)} of {_gigabytes(self.machine_disk)} free disk",
            "time": f"the fit takes {self.fit_seconds / 3600:,.1f} hours, longer than {self.max_hours:g}",
        }[limit]
        if self.use_spark:
            return f"Use Spark: {reason}; that is the work of at least {math.ceil(share)} such machines."
        return f"Use a larger machine: {reason}. Spark fits {' and '.join(SPARK_MODELS)} only."

    @property
    def reads_disk(self) -> bool:
        """Whether each pass reads from the disk, because the memory does not hold the mapped columns of the table."""
        return self.fit_memory + self.mapped_bytes > self.machine_memory

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-serializable values.

        Returns
        -------
        dict of {str: object}
            The attributes and properties by name.
        """
        properties = {name: getattr(self, name) for name in ("use_spark", "max_events", "reads_disk", "advice")}
        return {**asdict(self), **properties}


@validated
def plan(
    estimator: Estimator,
    *,
    users: int,
    items: int,
    events: int,
    item_skew: float | None = None,
    times: bool = False,
    cores: int | None = None,
    memory: int | None = None,
    disk: int | None = None,
    relative_speed: float = 1.0,
    max_hours: float = 24.0,
) -> CapacityPlan:
    """Compute what a fit and a service need for a table of a given size, from a few seconds of measuring.

    Parameters
    ----------
    estimator : Estimator
        An ImplicitALS, ExplicitALS, BiasedMF or BPR estimator.
    users, items : int
        Number of users and of items.
    events : int
        Number of events or ratings, at most one per user-item pair.
    item_skew : float, optional
        Mean number of events of the item of a random event, divided by that of a random item; at least 1. None for
        ``(users * items / events) ** 0.5``, which is typical. The time of BPR depends on it.
    times : bool, default False
        Whether the table has times.
    cores : int, optional
        Number of cores of the machine; None for this machine.
    memory, disk : int, optional
        Memory and free disk space of the machine in bytes; None for this machine.
    relative_speed : float, default 1.0
        Speed of a core of the machine relative to a core of this machine.
    max_hours : float, default 24.0
        Longest acceptable time of a fit, in hours.

    Returns
    -------
    CapacityPlan

    Raises
    ------
    ParameterError
        If the estimator is not supported or an argument is out of range.

    Notes
    -----
    The memory is that of `Recommender.fit` with a table file (`read_events(source, into=path)`) without validation rows
    and without priors. It is extrapolated from the allocations of two small fits. The seconds are the CPU seconds of
    the kernels on samples of the table's shape, divided by the number of cores, of which BiasedMF uses up to 8 and BPR
    up to 16.

    Examples
    --------
    >>> import cofactor
    >>> small = cofactor.plan(cofactor.BiasedMF(factors=8), users=2_000, items=500, events=50_000, cores=2)
    >>> small.table_bytes, small.model_bytes, small.use_spark
    (1027008, 529008, False)
    """
    shape = _shape(users, items, events, item_skew)
    require_planned(estimator)
    cores = thread_count() if cores is None else checks.whole_number("cores", cores, low=1, high=MAX_THREADS)
    machine_memory = _memory() if memory is None else checks.whole_number("memory", memory, low=1, high=MAX_BYTES)
    machine_disk = (
        shutil.disk_usage(Path.cwd()).free if disk is None else checks.whole_number("disk", disk, low=1, high=MAX_BYTES)
    )
    relative_speed = checks.finite_number("relative_speed", relative_speed, low=0.01, high=100)
    max_hours = checks.finite_number("max_hours", max_hours, low=0.001, high=1e6)
    factors, epochs = _whole(estimator, "factors"), _whole(estimator, "epochs")
    cost, ranking = fit_cost(estimator, shape), list_seconds(shape.items, factors)
    traced = measure_memory(estimator, shape)  # last, because compiling kernels takes memory
    speed = min(cores, cost.max_threads) * relative_speed
    buffers = cores * _als_buffer(shape, factors) if isinstance(estimator, ImplicitALS | ExplicitALS) else 0
    model_bytes = model_file_bytes(shape, factors)
    return CapacityPlan(
        model=estimator.name,
        users=shape.users,
        items=shape.items,
        events=shape.events,
        factors=factors,
        cores=cores,
        machine_memory=machine_memory,
        machine_disk=machine_disk,
        table_bytes=table_file_bytes(shape, times=times),
        import_bytes=import_bytes(shape, times=times),
        fit_memory=traced.process + max(traced.first, traced.epoch + buffers, traced.last),
        mapped_bytes=read_bytes(estimator, shape),
        seconds_per_pass=cost.epoch / speed,
        fit_seconds=(cost.epoch * epochs + cost.last) / speed,
        model_bytes=model_bytes,
        serving_memory=model_bytes + SERVICE_PROCESS + cores * (SERVICE_PROCESS + traced.loaded),
        requests_per_second=cores * relative_speed / (REQUEST_SECONDS + ranking),
        max_hours=max_hours,
    )


def _shape(users: int, items: int, events: int, item_skew: float | None) -> TableShape:
    """Return the shape of the table, after checking the arguments."""
    users, items = (
        checks.whole_number(name, value, low=1, high=MAX_ROWS) for name, value in (("users", users), ("items", items))
    )
    events = checks.whole_number("events", events, low=1)
    if events > users * items:
        raise ParameterError(f"events must be at most users * items = {users * items:,}; got {events:,}")
    skew = None if item_skew is None else checks.finite_number("item_skew", item_skew, low=1)
    return TableShape(users, items, events, skew)


def _whole(estimator: Estimator, name: str) -> int:
    return int(getattr(estimator, name))


def _als_buffer(shape: TableShape, factors: int) -> int:
    """Return the size of the vectors that a thread gathers for the longest row, in bytes."""
    return 4 * min(shape.longest_item * padded_width(factors), MAX_GATHERED)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def _memory() -> int:
    """Return the memory of this machine, or of its container if that is less, in bytes."""
    if not hasattr(os, "sysconf"):
        raise ParameterError("memory must be passed on this system, in bytes")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
