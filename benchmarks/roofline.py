"""The minimal time of each kernel on this machine, compared with the measured time.

    python -m benchmarks.roofline          writes benchmarks/roofline.md (some minutes; data as in bench_peers.py)

The ceilings are measured first: multiply-adds per second where everything stays in registers, and bytes per second read
in order from the first cache to memory, and by rows of 256 bytes in random order. A kernel's floor is the
longer of its flops over the first and of its bytes over the bandwidth of where they must come from; both are counted by
hand below, for two threads. Seconds are on the wall, the best of three.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

import cofactor
from benchmarks.results import machine
from benchmarks.tables import FULL, interactions, table
from cofactor.arrays import Float32, random_stream
from cofactor.estimators.bpr import _State as Pairs
from cofactor.estimators.mf import _State as Ratings
from cofactor.kernels import prefetch
from cofactor.kernels.blocks import grid_size
from cofactor.kernels.cholesky import negative_inverse
from cofactor.kernels.gram import gram
from cofactor.kernels.parallel import one_thread_blas, parallel_for, thread_count
from cofactor.kernels.ridge import improve
from cofactor.kernels.sgd import rating_blocks
from cofactor.kernels.topk import ItemIndex, top_items
from cofactor.models.losses import EventsLoss

PAGE = Path(__file__).parent / "roofline.md"
STEPS = 3


def best(run: Callable[[], Any], times: int = 3) -> float:
    """Return the minimum wall seconds of a few calls."""
    spans = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        spans.append(time.perf_counter() - began)
    return min(spans)


# ceilings


def _fused(width: int) -> Callable[[int], float]:
    """`width` independent sums in registers, 2 flops each a round."""

    @numba.njit(fastmath=True, nogil=True)
    def run(rounds):
        x = np.full(width, np.float32(0.5))
        for _ in range(rounds):
            for d in range(width):
                x[d] = x[d] * np.float32(0.9999) + np.float32(0.5)
        return x.sum()

    return run


@numba.njit(fastmath=True, nogil=True)
def _read(x, times):
    total = np.float32(0)
    for _ in range(times):
        for t in range(len(x)):
            total += x[t]
    return total


@numba.njit(fastmath=True, nogil=True)
def _gather(x, rows):
    total = np.float32(0)
    for t in range(len(rows) - 16):
        prefetch.row(x, rows[t + 16])
        for d in range(64):
            total += x[rows[t], d]
    return total


@dataclass(frozen=True)
class Ceilings:
    """Of all threads together: multiply-adds in Gflop/s, GB/s by size of what is read, GB/s by random rows."""

    gflops: float
    matmul: float
    first_cache: float
    second_cache: float
    third_cache: float
    memory: float
    random_rows: float
    random_rows_of_a_large_table: float


@one_thread_blas()
def ceilings() -> Ceilings:
    n = thread_count()
    together = lambda task: best(lambda: parallel_for(task, range(n)))  # noqa: E731
    rounds, in_registers = 4_000_000, []
    for width in (64, 96, 128, 192):
        run = _fused(width)
        run(1)
        in_registers.append(2 * width * rounds * n / together(lambda _, run=run: run(rounds)))
    square = random_stream(0, "square").standard_normal((1536, 1536), dtype=np.float32)
    out = np.empty((n, 1536, 1536), np.float32)
    matmul = 2 * 1536**3 * n / together(lambda t: np.matmul(square, square, out=out[t]))

    def bandwidth(kilobytes: int) -> float:
        arrays = [np.ones(kilobytes * 256, np.float32) for _ in range(n)]
        times = max(1, 4_000_000 // kilobytes)
        _read(arrays[0][:16], 1)
        return 1024 * kilobytes * times * n / together(lambda t: _read(arrays[t], times))

    def by_rows(n_rows: int) -> float:
        vectors, rows = np.ones((n_rows, 64), np.float32), random_stream(0, "rows").integers(0, n_rows, 2_000_000)
        _gather(vectors, rows[:100])
        return 256 * len(rows) * n / together(lambda _: _gather(vectors, rows))

    giga = 1e-9
    return Ceilings(
        max(in_registers) * giga,
        matmul * giga,
        bandwidth(16) * giga,
        bandwidth(384) * giga,
        bandwidth(6_000) * giga,
        bandwidth(400_000) * giga,
        by_rows(138_493) * giga,
        by_rows(1_000_000) * giga,
    )


# kernels


@dataclass(frozen=True)
class Work:
    """A kernel's run: flops, {level of memory: bytes that must come from there}, seconds measured."""

    name: str
    flops: float
    bytes: dict[str, float]
    seconds: float
    note: str = ""

    def row(self, top: Ceilings) -> str:
        compute = self.flops / (max(top.gflops, top.matmul) * 1e9)
        moved = sum(amount / (getattr(top, level) * 1e9) for level, amount in self.bytes.items())
        floor = max(compute, moved)
        levels = ", ".join(f"{amount / 1e9:.2g} {level.replace('_', ' ')}" for level, amount in self.bytes.items())
        cells = [
            self.name, f"{self.flops / 1e9:,.1f}", levels, f"{compute:.3f}", f"{moved:.3f}", f"{self.seconds:.3f}",
            f"{self.seconds / floor:.1f}", f"{self.flops / 1e9 / self.seconds:.0f}", self.note,
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def half_steps(folder: Path, width: int) -> list[Work]:
    """ALS on 20 M events. The vectors of a row come from the memory of the other side; the passes of CG after the
    first find them in the second cache, or where they do not fit there (in half of it), in the third.
    """
    rows = interactions(table(folder, f"{FULL}/events"), "events")
    loss = EventsLoss(alpha0=0.1, l2=1e-3, nu=1.0, counts="raw")
    sides = []
    for n, name in ((rows.n_users, "users"), (rows.n_items, "items")):
        start = random_stream(0, name).standard_normal((n, width), dtype=np.float32) * np.float32(0.1 / width**0.5)
        sides.append(start)
    users, items = sides
    works = []
    for own, other, entries, name in ((users, items, rows.by_user, "users"), (items, users, rows.by_item, "items")):
        penalty = loss.penalty(entries.counts, len(other))
        side = loss.ridge_inputs(other, np.zeros(len(other), np.float32), 0.0)
        seconds = best(lambda own=own, e=entries, p=penalty, s=side: improve(own, e, p, s, steps=STEPS))
        counts, bytes_each = entries.counts, 4 * width
        fits = counts * bytes_each < 512 * 1024
        passes = {
            "second_cache": float(STEPS * bytes_each * counts[fits].sum()),
            "third_cache": float(STEPS * bytes_each * counts[~fits].sum()),
        }
        home = "random_rows" if other.nbytes < 50e6 else "random_rows_of_a_large_table"
        home = "third_cache" if other.nbytes < 16e6 else home
        passes[home] = passes.get(home, 0.0) + float(bytes_each * len(rows))
        flops = (STEPS + 1) * (4 * width * len(rows) + 2 * width**2 * len(own))
        works.append(Work(f"ALS half-step, {name}, {width} factors", flops, passes, seconds))
        if name == "users":
            chunked = best(lambda: gram(users))
            works.append(
                Work(f"gram matrix of the users, {width}", 2 * width**2 * len(users), {"memory": users.nbytes}, chunked)
            )
    return works


def descent(folder: Path) -> Work:
    """An SGD epoch of BiasedMF: a dot product and two updates. A tile of users stays in the first cache, the items of a
    block in the second; the ratings themselves come from memory.
    """
    rows, spec = interactions(table(folder, f"{FULL}/ratings"), "ratings"), cofactor.BiasedMF(factors=64)
    blocks = rating_blocks(
        rows.u, rows.i, rows.values, np.zeros(0, np.float32),
        n_users=rows.n_users, n_items=rows.n_items, grid=grid_size(len(rows), max_size=8), seed=0,
    )  # fmt: skip
    moving = Ratings.initialize(spec, rows, blocks, None, 0)
    seconds = best(lambda: moving.epoch(0.01, random_stream(0, "epoch")))
    n, k = len(rows), spec.factors
    moved = {"memory": 12.0 * n, "first_cache": 8.0 * k * n, "second_cache": 8.0 * k * n}
    return Work("SGD epoch, 16 M ratings, 64 factors", n * (2 * k + 6 * k), moved, seconds, "and a sigmoid each")


def pairs(folder: Path) -> Work:
    """A BPR epoch, one negative: two dot products, a norm, three updates; the items of a block in the second cache."""
    rows, spec = interactions(table(folder, f"{FULL}/events"), "events"), cofactor.BPR(factors=64, negatives_ratio=0)
    moving = Pairs.initialize(spec, rows, None, 0)
    seconds = best(lambda: moving.epoch(0.01, random_stream(0, "epoch")))
    n, k = len(rows), spec.factors
    moved = {"memory": 8.0 * n, "second_cache": 16.0 * k * n}
    return Work(
        "BPR epoch, 20 M events, 64 factors", n * 18 * k, moved, seconds, "and draws, a logarithm, an exponential"
    )


def ranking(folder: Path) -> list[Work]:
    """The ten best of all users from normal factors, where no bound prunes; and of one user among a million items."""
    rng = random_stream(0, "ranking")
    users, items = (rng.standard_normal((n, 64), dtype=np.float32) for n in (20_000, 26_744))
    none: dict[str, Any] = {"seen": np.zeros(0, np.int32), "allowed": np.zeros(0, bool)}

    def work(name: str, p: Float32, q: Float32, flops: float, moved: dict[str, float]) -> Work:
        index = ItemIndex.of(q, np.zeros(len(q), np.float32))
        start = np.zeros(len(p) + 1, np.int64)
        return Work(name, flops, moved, best(lambda: top_items(p, index, 10, seen_start=start, **none)))

    many = float(len(users) * len(items))
    million = rng.standard_normal((1_000_000, 64), dtype=np.float32)
    return [
        work(
            "top 10 of 20,000 users, 26,744 items, nothing pruned", users, items, 128 * many, {"second_cache": 4 * many}
        ),
        work("top 10 of one user, 1 M items, nothing pruned", users[:1], million, 128e6, {"memory": million.nbytes}),
    ]


def inverse(n: int = 3_706) -> Work:
    """EASE's: n^3 operations in float64, of which a register holds half as many."""
    A = random_stream(0, "inverse").standard_normal((n, n))
    A = A @ A.T / n + np.eye(n)
    seconds = best(lambda: negative_inverse(A.copy()))
    return Work(
        f"inverse, {n:,} items (EASE), float64",
        2.0 * n**3,
        {"memory": 8.0 * n * n},
        seconds,
        "flops count twice: float64",
    )


def page(folder: Path) -> str:
    top = ceilings()
    works = [
        *(work for width in (64, 128, 256) for work in half_steps(folder, width)),
        descent(folder),
        pairs(folder),
        *ranking(folder),
        inverse(),
    ]
    caches = top.first_cache, top.second_cache, top.third_cache, top.memory
    return "\n".join(
        [
            "# Roofline",
            "",
            f"Made by `make roofline` on {thread_count()} threads: {machine()}.",
            "",
            "| ceiling of all threads together | |",
            "|-|-|",
            f"| multiply-adds in registers, compiled loop | {top.gflops:.0f} Gflop/s |",
            f"| matrix product (BLAS, float32) | {top.matmul:.0f} Gflop/s |",
            f"| read in order: 16 kB, 384 kB, 6 MB, 400 MB a thread | {', '.join(f'{x:.0f}' for x in caches)} GB/s |",
            f"| rows of 256 bytes at random from 35 MB | {top.random_rows:.0f} GB/s |",
            f"| ... from 256 MB | {top.random_rows_of_a_large_table:.0f} GB/s |",
            "",
            "Floors are seconds on those threads; the gap is measured seconds over the higher floor.",
            "",
            "| kernel | Gflop | GB from | floor by flops | floor by bytes | measured s | gap | Gflop/s | |",
            "|-|-|-|-|-|-|-|-|-|",
            *(work.row(top) for work in works),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cofactor-bench")
    args = parser.parse_args()
    PAGE.write_text(page(args.folder))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
