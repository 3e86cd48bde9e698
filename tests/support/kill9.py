"""Processes that write to a store are killed at random moments, and the stored events are counted.

In each round two processes of four threads each send requests of three events, every fourth one twice, and print the
acknowledged ones; after a random time both processes are killed. The function `crash` of the caller can stop and start
the database server meanwhile. Then every request without an answer is sent again under its keys, and all rows are read:
each acknowledged event must be stored once, under its number, and each request completely or not at all.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cofactor.errors import StoreUnavailableError
from cofactor.store import Event, Store

THREADS, PROCESSES, SIZE = 4, 2, 3


def request(user: str, n: int) -> list[Event]:
    return [Event(user, f"{n}-{part}", 1 + part, key=f"{user}-{n}-{part}") for part in range(SIZE)]


def write_for_ever(url: str, name: str) -> None:
    """Send requests and print one line for each acknowledged one, until the process is killed."""
    store = Store.open(url)

    def work(thread: int) -> None:
        user, n = f"{name}-{thread}", 0
        while True:
            try:
                receipts = store.events.append(request(user, n))
                if n % 4 == 0:
                    again = store.events.append(request(user, n))
                    assert [receipt.seq for receipt in again] == [receipt.seq for receipt in receipts]
            except StoreUnavailableError:
                time.sleep(0.05)
                continue
            os.write(1, f"{user} {n} {' '.join(str(receipt.seq) for receipt in receipts)}\n".encode())
            n += 1

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()


@dataclass
class Tally:
    """Counts over all rounds."""

    rounds: int = 0
    acknowledged: int = 0
    unanswered: int = 0  # requests that were stored though the answer never came
    faults: list[str] = field(default_factory=list)


def run_round(url: str, number: int, crash: Callable[[], None] | None, tally: Tally, rng: random.Random) -> None:
    names = [f"r{number}p{process}" for process in range(PROCESSES)]
    running = [subprocess.Popen([sys.executable, __file__, url, name], stdout=subprocess.PIPE) for name in names]
    output: dict[str, list[bytes]] = {name: [] for name in names}
    readers = []
    for name, process in zip(names, running, strict=True):
        assert process.stdout is not None
        readers.append(threading.Thread(target=lambda out=process.stdout, name=name: output[name].extend(out)))
        readers[-1].start()
    deadline = time.monotonic() + 60
    while not all(output.values()) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.5))
    if crash is not None:
        crash()
        time.sleep(rng.uniform(0.2, 0.7))
    for process in running:
        os.kill(process.pid, signal.SIGKILL)
    for process, reader in zip(running, readers, strict=True):
        process.wait()
        reader.join()
    check(url, output, tally)
    tally.rounds += 1


def check(url: str, output: dict[str, list[bytes]], tally: Tally) -> None:
    """Send the requests without an answer again, and count the stored events."""
    with Store.open(url) as store:
        store.events.append([Event("nobody", "nothing", 0)])  # waits for a commit that a killed process left unfinished
        for name, lines in output.items():
            complete_lines = [line.decode().split() for line in lines if line.endswith(b"\n")]
            for thread in range(THREADS):
                user = f"{name}-{thread}"
                acknowledged = {
                    int(line[1]): [int(seq) for seq in line[2:]] for line in complete_lines if line[0] == user
                }
                before = count(store, user, acknowledged, tally)
                following = len(acknowledged)
                again = store.events.append(request(user, following))
                stored = sum(receipt.duplicate for receipt in again)
                if stored not in (0, SIZE):
                    tally.faults.append(f"{user} {following}: {stored} of {SIZE} events were stored")
                tally.unanswered += stored == SIZE
                after = count(store, user, acknowledged, tally)
                if after - before != SIZE - stored:
                    tally.faults.append(f"{user} {following}: sent again, it made {after - before} rows")
                tally.acknowledged += SIZE * len(acknowledged)


def count(store: Store, user: str, acknowledged: dict[int, list[int]], tally: Tally) -> int:
    events = store.events.of_user(user)
    by_item: dict[str, list[int]] = {}
    for event in events:
        by_item.setdefault(event.item, []).append(event.seq)
    for n, seqs in acknowledged.items():
        stored = [by_item.get(f"{n}-{part}", []) for part in range(SIZE)]
        if stored != [[seq] for seq in seqs]:
            tally.faults.append(f"{user} {n}: acknowledged as {seqs}, found as {stored}")
    parts = {n: sum(f"{n}-{part}" in by_item for part in range(SIZE)) for n in range(len(acknowledged) + 2)}
    if half := [n for n, some in parts.items() if some not in (0, SIZE)]:
        tally.faults.append(f"{user} {half}: half-written")
    return len(events)


def rounds(url: str, n: int, *, crash: Callable[[], None] | None = None, seed: int = 0) -> Tally:
    """Run n rounds on this store; in every other round `crash` stops and starts the server."""
    tally, rng = Tally(), random.Random(seed)
    for number in range(n):
        run_round(url, number, crash if number % 2 else None, tally, rng)
    return tally


if __name__ == "__main__":
    write_for_ever(*sys.argv[1:3])
