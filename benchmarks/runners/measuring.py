"""Shared code of the runners: options, data, clocks, memory, quality, and one line of JSON at the end.

A runner is a script for a peer's own environment, so this file imports only numpy and scipy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

__all__ = [
    "Mark",
    "interactions",
    "mark",
    "ndcg",
    "options",
    "peak_mb",
    "per_iteration",
    "report",
    "rmse",
    "save_factors",
    "seconds",
    "test_rows",
    "two_or_more",
    "user_items",
]

COLUMNS = ("u", "i", "values")

RANKED_TEST_ROWS = 500_000
"""With as many test rows or more, `ndcg` is left out: a full ranking of a catalog for all users takes minutes."""

USERS_AT_ONCE = 500
"""Users whose scores on the whole catalog `ndcg` holds at one time."""


class Mark(NamedTuple):
    """A moment: `wall` seconds from any start, `cpu` seconds of all threads of this process. Or a span of both."""

    wall: float
    cpu: float

    def since(self, start: Mark) -> Mark:
        """The span from `start` to here."""
        return Mark(self.wall - start.wall, self.cpu - start.cpu)


def mark() -> Mark:
    """Now."""
    return Mark(time.perf_counter(), time.process_time())


def seconds(what: str, span: Mark) -> dict[str, float]:
    """A span for the report: `{what}_seconds` and `{what}_cpu_seconds`."""
    return {f"{what}_seconds": span.wall, f"{what}_cpu_seconds": span.cpu}


def per_iteration(marks: Sequence[Mark]) -> dict[str, float]:
    """The median wall and CPU seconds between neighboring marks. Needs two marks or more."""
    spans = [after.since(before) for before, after in pairwise(marks)]
    return {
        "seconds_per_iteration": statistics.median(span.wall for span in spans),
        "cpu_seconds_per_iteration": statistics.median(span.cpu for span in spans),
    }


def options(description: str) -> argparse.ArgumentParser:
    """The command line that all runners have in common; each adds its own options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder with u.npy, i.npy (int32), values.npy (float32), by (u, i)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def two_or_more(text: str) -> int:
    """An option's type: a number of iterations of which the first can be set apart."""
    if int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be 2 or more, not {text}")
    return int(text)


def interactions(folder: Path, prefix: str = "") -> list[np.ndarray]:
    """The columns u, i (int32) and values (float32), mapped from disk, not read."""
    missing = [f"{prefix}{name}.npy" for name in COLUMNS if not (folder / f"{prefix}{name}.npy").exists()]
    if missing:
        raise SystemExit(f"{folder} has no {', '.join(missing)}: save the interactions' columns there with numpy.save")
    return [np.load(folder / f"{prefix}{name}.npy", mmap_mode="r") for name in COLUMNS]


def test_rows(folder: Path) -> list[np.ndarray] | None:
    """The same columns of the held out interactions; None without such files."""
    return interactions(folder, "test_") if (folder / "test_u.npy").exists() else None


def user_items(folder: Path) -> csr_matrix:
    """The interactions as a (n_users, n_items) float32 matrix; both sizes end at the highest row, test rows too.

    The rows are sorted, so the matrix is made without the copies of a conversion: a peer's peak is its own.
    """
    u, i, values = interactions(folder)
    test_u, test_i, _ = test_rows(folder) or (u, i, values)
    n_users, n_items = (1 + max(int(rows.max()) for rows in pair) for pair in ((u, test_u), (i, test_i)))
    indptr = np.searchsorted(u, np.arange(n_users + 1, dtype=u.dtype)).astype(np.int32)
    return csr_matrix((np.array(values), np.array(i), indptr), shape=(n_users, n_items))


def rmse(values: np.ndarray, predicted: np.ndarray) -> float:
    """Root mean squared error. A prediction that is not finite ends the run, whose times would be meaningless."""
    if not np.isfinite(predicted).all():
        raise SystemExit("predictions that are not finite: the fit diverged, so its times mean nothing")
    return float(np.sqrt(np.mean(np.square(values - predicted, dtype=np.float64))))


def ndcg(
    folder: Path, history: csr_matrix, scores: Callable[[np.ndarray], np.ndarray], *, n: int = 10
) -> dict[str, float]:
    """NDCG@n over the users with test rows, all items ranked but those in the user's history.

    DCG = sum over ranks r = 1..n of [item at r is held out] / log2(r + 1); NDCG = DCG / the DCG of a perfect list
    of min(n, the user's test rows). `scores(users)` is (n_users, n_items), larger is better; equal scores rank by
    item row. {} without test rows, or where there are RANKED_TEST_ROWS or more.
    """
    held_out = test_rows(folder)
    if held_out is None or len(held_out[0]) >= RANKED_TEST_ROWS:
        return {}
    u, i, _ = held_out
    relevant = csr_matrix((np.ones(len(u), dtype=bool), (u, i)), shape=history.shape)
    discounts = 1 / np.log2(np.arange(2, n + 2))
    users, values = np.unique(u), []
    for batch in np.array_split(users, -(-len(users) // USERS_AT_ONCE)):
        masked = np.where(history[batch].toarray() != 0, -np.inf, scores(batch))
        best = np.argsort(-masked, axis=1, kind="stable")[:, :n]
        wanted = relevant[batch].toarray()
        ideal = np.cumsum(discounts)[np.minimum(wanted.sum(axis=1), n) - 1]
        values.append(np.take_along_axis(wanted, best, axis=1) @ discounts / ideal)
    return {f"ndcg@{n}": float(np.concatenate(values).mean())}


def save_factors(folder: Path, *, users: np.ndarray, items: np.ndarray) -> None:
    """Write user_factors.npy and item_factors.npy (float32) into `folder`, made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, factors in (("user_factors", users), ("item_factors", items)):
        np.save(folder / f"{name}.npy", np.asarray(factors, dtype=np.float32))


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


def report(peer: str, version: str, args: argparse.Namespace, **measured: Any) -> None:
    """Print one line of JSON: the peer, its options (without folders), and the measurements."""
    settings = {name: value for name, value in vars(args).items() if not isinstance(value, Path | None)}
    print(json.dumps(_rounded({"peer": peer, "version": version, **settings, **measured})), flush=True)


def _rounded(value: Any) -> Any:
    """Floats to five decimals, in lists and dicts too."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return value
