"""Faults of a service: it is killed while it swaps models, gets large bodies, and holds slow connections.

    python -m benchmarks.faults          about four minutes, writes benchmarks/faults.md

Every part runs against a real `cofactor serve` of two workers, over real sockets. The faults are functions of
`tests/support/faults.py` and `tests/support/faults_sockets.py`; the tests call them with smaller numbers.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import SyntheticConfig, generate
from tests.support.faults import (
    Full,
    Kills,
    fill_disk,
    kill_services,
    kill_workers,
    swap_under_load,
    write_to_full_disk,
)
from tests.support.faults_sockets import Slow, peak_memory, send_large, slow_connections
from tests.support.served import Served, create_service

PAGE = Path(__file__).with_suffix(".md")
MB = 1_000_000


def main() -> None:
    """Run everything and write the page."""
    ratings = generate(SyntheticConfig(n_users=200, n_items=60, n_ratings=4_000)).interactions
    stream, rows = random.Random(0), []
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        key = create_service(data, ratings)

        def start() -> Served:
            return Served(data, key, "--workers", "2", COFACTOR_SERVE_POLL="0.1")

        served = start()
        began = time.monotonic()
        swaps = swap_under_load(served, 1_000)
        n_requests = sum(swaps.statuses.values())
        errors = sum(count for status, count in swaps.statuses.items() if status not in (200, 201))
        rows.append(
            f"| {swaps.swaps:,} swaps of models in {time.monotonic() - began:.0f} s, eight connections beside | "
            f"{n_requests:,} requests, {errors} dropped or failed |"
        )
        print(rows[-1], flush=True)
        workers = kill_workers(served, 20, stream)
        rows.append(_killed("a worker", workers))
        full = write_to_full_disk(served, 200)
        rows.append(_full("no room for larger files (RLIMIT_FSIZE)", full))
        rows += _really_full(ratings, Path(folder, "small"))
        rows += _large(served)
        rows.append(_held(slow_connections(served, 1_000, 15), 1_000))
        print(rows[-1], flush=True)
        served.stop()
        services = kill_services(start, 20, stream)
        rows.append(_killed("the whole service", services))
    intro = (
        "Two workers on SQLite, 200 users, 60 items; all settings as they are by default but for the pace at which\n"
        "workers look for a new model (0.1 s) and the limit of requests per key. The load shared two cores with the\n"
        "service. Made by `python -m benchmarks.faults`.\n\n"
    )
    PAGE.write_text(
        intro + "\n".join(["| what was done | what was seen |", "|---|---|", *rows]) + "\n", encoding="utf-8"
    )
    assert not [errors] * bool(errors) + workers.faults + services.faults


def _killed(what: str, killed: Kills) -> str:
    row = (
        f"| {what} killed {killed.rounds} times in the midst of swaps | {killed.acknowledged:,} events acknowledged; "
        f"{len(killed.faults)} times one was lost, or the answering model was not the active one, whole |"
    )
    print(row, *killed.faults, sep="\n", flush=True)
    return row


def _really_full(ratings: Interactions, folder: Path) -> list[str]:
    """On a file system of 8 MB in memory; no row if the system does not permit one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        return []
    try:
        served = Served(folder, create_service(folder, ratings), "--workers", "2")
        try:
            return [_full("a file system of 8 MB that is full", write_to_full_disk(served, 200, fill_disk))]
        finally:
            served.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _full(what: str, full: Full) -> str:
    counts = Counter((status, retry, written) for status, retry, written, _ in full.rejected)
    row = (
        f"| {what}: {len(full.rejected)} writes refused | {_rejections(counts)}; {full.read[200, False]} of "
        f"{sum(full.read.values())} reads answered meanwhile; written again after "
        f"{full.seconds_until_written_again:.1f} s without a restart; of "
        f"{len(full.acknowledged):,} acknowledged {full.lost} lost |"
    )
    print(row, flush=True)
    return row


def _rejections(counts: Counter[Any]) -> str:
    return ", ".join(
        f"{count} with {status}, Retry-After {retry}, written: {written}"
        for (status, retry, written), count in counts.items()
    )


def _large(served: Served) -> list[str]:
    rows = []
    for has_key in (True, False):
        for is_chunked in (False, True):
            paths = ("/v1/events", "/v1/events/bulk")
            with peak_memory(served) as grown:
                sent = [send_large(served, path, 200 * MB, is_chunked=is_chunked, has_key=has_key) for path in paths]
            how = ("chunked" if is_chunked else "announced") + (", with a key" if has_key else ", without")
            statuses = "/".join(sorted({str(result.status) for result in sent}))
            rows.append(
                f"| a body of 200 MB, {how}, to both routes | {statuses} after {max(o.answered for o in sent):.2f} s, "
                f"{max(o.sent for o in sent) / MB:.1f} MB sent by then; memory at its peak +{grown():.0f} MB |"
            )
            print(rows[-1], flush=True)
    return rows


def _held(seen: Slow, n: int) -> str:
    return (
        f"| {n:,} slow connections | others' p50 {seen.p(50, seen.with_slow):.1f} ms and p99 "
        f"{seen.p(99, seen.with_slow):.1f} ms (without: {seen.p(50, seen.without):.1f} and "
        f"{seen.p(99, seen.without):.1f}); dribbled bodies ended after {max(seen.lasted):.0f} s at most |"
    )


if __name__ == "__main__":
    main()
