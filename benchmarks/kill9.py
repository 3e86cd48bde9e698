"""Acknowledged events are not lost when processes that write are killed at random moments.

    python -m benchmarks.kill9 [rounds]        50 rounds on SQLite and 50 on PostgreSQL (five minutes), into kill9.md

The rounds are described in `tests/support/kill9.py`. On PostgreSQL, in every other round, the server is stopped without
a checkpoint and started again while the processes write.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.support.kill9 import rounds
from tests.support.postgresql import running_server


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    lines = ["| database | rounds | events acknowledged | stored without an answer | lost, doubled or half-written |"]
    lines += ["|---|---|---|---|---|"]
    faults = []
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        for name, url, crash in (
            ("SQLite", f"sqlite:///{folder}/store.db", None),
            ("PostgreSQL", server.new(template="template"), server.crash),
        ):
            tally = rounds(url, n, crash=crash)
            faults += tally.faults
            cells = (name, tally.rounds, f"{tally.acknowledged:,}", f"{tally.unanswered:,}", len(tally.faults))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], *tally.faults[:5], sep="\n", flush=True)
        with sqlite3.connect(Path(folder, "store.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    intro = (
        "Two processes of four threads write requests of three events and are killed with SIGKILL at random moments;\n"
    )
    intro += (
        "in every other round the PostgreSQL server dies too, under load. Made by `python -m benchmarks.kill9`.\n\n"
    )
    Path(__file__).with_suffix(".md").write_text(intro + "\n".join(lines) + "\n", encoding="utf-8")
    assert not faults


if __name__ == "__main__":
    main()
