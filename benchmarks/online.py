"""Users that are folded in anew per hour, by `Recommender.updated` in batches.

    python -m benchmarks.online

ImplicitALS with 64 factors is fitted to 5 million synthetic events of 36,000 users and 27,000 items. Then users with
new IDs and 20 events each arrive in batches; each batch is one call of `updated`, which returns a recommender with all
users. Results are written to benchmarks/online.md.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import cofactor
from benchmarks.results import machine
from benchmarks.spark import N_ITEMS, write_events

PAGE = Path(__file__).parent / "online.md"
EVENTS_PER_USER = 20
N_USERS = 200_000
BATCHES = (1_000, 10_000, 50_000)


def batch_of(recommender: cofactor.Recommender, first: int, n: int, rng: np.random.Generator) -> cofactor.Interactions:
    """Return events of n new users, whose IDs start at `first`."""
    items = recommender.items.all.to_numpy()
    popularity = np.cumsum(np.arange(1, N_ITEMS + 1) ** -0.7)[: len(items)]
    chosen = np.searchsorted(popularity, rng.random(n * EVENTS_PER_USER) * popularity[-1])
    users = np.repeat(np.arange(first, first + n), EVENTS_PER_USER)
    return cofactor.Interactions.from_columns(users, items[chosen], kind="events")


def main() -> None:
    lines = ["| users per batch | users | wall s | CPU s | users per hour |", "|-|-|-|-|-|"]
    with TemporaryDirectory() as folder:
        write_events(Path(folder, "events.parquet"), 5_000_000)
        fitted = cofactor.Recommender.fit(cofactor.ImplicitALS(), cofactor.read_events(f"{folder}/events.parquet"))
    for size in BATCHES:
        recommender, rng = fitted, np.random.default_rng(0)
        n = min(N_USERS, 40 * size)
        batches = [batch_of(fitted, 10_000_000 + first, size, rng) for first in range(0, n, size)]
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            recommender = recommender.updated(batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert len(recommender.users) == len(fitted.users) + n
        lines.append(f"| {size:,} | {n:,} | {wall:.1f} | {cpu:.1f} | {3600 * n / wall:,.0f} |")
        print(lines[-1], flush=True)
    head = [
        "# Users folded in per hour", "",
        f"Made by `python -m benchmarks.online` on {machine()}.", "",
        "Users with new IDs and 20 events each are added by `Recommender.updated`, one batch per call, to ImplicitALS",
        "with 64 factors and 27,000 items.", "",
    ]  # fmt: skip
    PAGE.write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
