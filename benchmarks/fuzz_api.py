"""Schemathesis against a served process: every operation, every check, valid and invalid data; into fuzz_api.md.

    python -m benchmarks.fuzz_api [cases of each operation]        20,000 and more of all by default (minutes)

Two workers on SQLite answer. The run itself is in `tests/support/fuzz_api.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import schemathesis

from tests.support.fuzz_api import NOT_ASKED, Seen, run, service


def page(seen: Seen, workers: int) -> str:
    """Return the page of a run."""
    lines = [
        f"Schemathesis {schemathesis.__version__} over the OpenAPI document of a service of {workers} workers on",
        "SQLite, every operation, every check that applies, wanted and unwanted data; users are forgotten, models",
        "promoted and rolled back, keys revoked meanwhile. Made by `python -m benchmarks.fuzz_api`.",
        "",
        f"**{seen.cases:,} cases, {seen.crashes} answers of 500, {seen.broken} violations.**",
        "",
        "| operation | cases | statuses | 500s | violations |",
        "|---|---|---|---|---|",
    ]
    for label, counts in sorted(seen.statuses.items(), key=lambda entry: entry[0].split()[::-1]):
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
        lines.append(f"| `{label}` | {counts.total():,} | {statuses} | {counts[500]} | {len(seen.violations[label])} |")
    lines += ["", "| phase | cases |", "|---|---|", *(f"| {name} | {n:,} |" for name, n in seen.phases.items())]
    lines += ["", "| check | times made |", "|---|---|", *(f"| {name} | {n:,} |" for name, n in seen.checks.items())]
    lines += ["", "Not asked:", "", *(f"- `{name}`: {why}." for name, why in NOT_ASKED.items())]
    lines += ["- `positive_data_acceptance`, where a body breaks a rule that JSON Schema has no words for: an item"]
    lines += ["  twice in a history, a time more than a day ahead, a range of ratings that does not rise, more than"]
    lines += ["  65,536 bytes of metadata."]
    lines += ["- `negative_data_rejection`, where bulk lines were to be no text: whatever is sent of them is."]
    return "\n".join(lines) + "\n"


def main() -> None:
    examples, workers = int(sys.argv[1]) if len(sys.argv) > 1 else 720, 2
    with TemporaryDirectory() as folder, service(Path(folder), workers) as (url, key):
        seen = run(url, key, examples, workers=2)
        traces = Path(folder, "log").read_text().count('"trace"')
    for label, messages in sorted(seen.violations.items()):
        for message in messages[:5]:
            print(label, message[:1_500], sep="\n")
    text = page(seen, workers)
    print(text, *seen.skipped, sep="\n")
    if len(sys.argv) == 1:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    assert seen.crashes == seen.broken == traces == 0
    assert len(sys.argv) > 1 or seen.cases >= 20_000


if __name__ == "__main__":
    main()
