"""Public callables with bad arguments in child processes: no crash, no hang, no foreign error, a message with the name.

`tests/properties/fuzz` draws the calls; each child makes many and prints a line before and after each of them.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cofactor

CALLS = Path(__file__).parent / "fuzz" / "calls.py"
START, EACH = 600.0, 60.0
"""Seconds that a child may take until its first call, and for a call with its preparation."""


def child(*arguments: str) -> subprocess.Popen[str]:
    paths = [str(Path(cofactor.__file__).parents[1]), str(Path(__file__).parents[2])]
    return subprocess.Popen(
        [sys.executable, str(CALLS), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
    )


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a child; None if it ends, or if a call takes too long and the child is killed."""
    waiting: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    seconds = START
    while True:
        try:
            line = waiting.get(timeout=seconds)
        except queue.Empty:
            process.kill()
            line = None
        if line is None:
            process.wait()
            yield None
            return
        seconds = EACH
        yield json.loads(line)


def fuzzed(seed: int, first: int, last: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each call with its outcome; after a crash or a hang a new child continues after that call."""
    while first < last:
        process = child("fuzz", str(seed), str(first), str(last))
        call: dict[str, Any] | None = None
        for line in lines(process):
            if line is None:
                if call is not None:
                    how = {
                        "outcome": "crash or hang",
                        "type": f"exit code {process.returncode}",
                        "message": "",
                        "at": "",
                    }
                    yield call, how
                break
            if "call" in line:
                call = line
            else:
                assert call is not None
                yield call, line
                first, call = int(call["number"]) + 1, None
        if call is not None:
            first = int(call["number"]) + 1
        elif first < last:
            pytest.fail(f"the child ended with {process.returncode} before call {first}")


def findings(calls: Iterator[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[Counter[str], list[str]]:
    """Return counts of the outcomes, and a line for each call with an invalid outcome."""
    counts: Counter[str] = Counter()
    violations = []
    for call, result in calls:
        counts[result["outcome"]] += 1
        what = f"{call['number']} {call['call']} of {call['object']} with {call['bad']}"
        if result["outcome"] not in ("ours", "returned"):
            violations.append(f"{what}: {result['outcome']} {result['type']}: {result['message']} at {result['at']}")
        elif result["outcome"] == "ours" and not result["named"]:
            violations.append(f"{what}: the message does not name an argument: {result['message']}")
        elif result.get("accepted"):
            violations.append(f"{what}: accepted {', '.join(result['accepted'])}")
    return counts, violations


def test_every_public_callable_is_fuzzed_or_a_stated_exception() -> None:
    listed = next(lines(child("list")))
    assert listed is not None
    exceptions = {name: reason for name, reason in listed.items() if reason}
    assert len(listed) - len(exceptions) > 250
    assert all(len(reason) > 10 for reason in exceptions.values())
    ended = {name.rpartition(".")[2] for name in listed}
    assert {"recommend", "rank", "from_columns", "simulate", "crosstab_plot", "ndcg", "read_ratings", "tune"} <= ended


def test_every_entry_of_the_tables_is_used() -> None:
    assert next(lines(child("unused"))) == []


@pytest.mark.long
def test_valid_arguments_reach_every_callable() -> None:
    """Each fuzzed call therefore differs from a valid call only in the bad arguments."""
    process = child("valid")
    results = [line for line in lines(process) if line is not None]
    assert process.returncode == 0
    assert len(results) > 250
    wrong = [
        f"{line['call']}: {line['type']}: {line['message']}"
        for line in results
        if line["outcome"] != "returned" and not line["call"].startswith("cofactor.datasets.loading")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("n", [300, pytest.param(20_000, marks=pytest.mark.long)])
def test_bad_arguments_raise_errors_of_cofactor_that_name_them(n: int) -> None:
    counts, violations = findings(fuzzed(15, 0, n))
    assert sum(counts.values()) == n
    assert counts["ours"] > n / 2
    assert not violations, f"{len(violations)} of {counts}\n" + "\n".join(violations[:40])
