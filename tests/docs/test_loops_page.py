"""Claims about feedback loops and mitigations cite rows of benchmarks/heavy_raters.md, and its two files agree."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.heavy_raters import draw_config, ratio_interval, table
from cofactor.metrics.intervals import t_interval

ROOT = Path(__file__).parents[2]
ROWS = json.loads((ROOT / "benchmarks" / "heavy_raters.json").read_text(encoding="utf-8"))
LABEL = re.compile(r"\b[MSBD]\d+\b")
HEADING = "### What the table shows"


def sentences(text: str) -> list[str]:
    """Return the sentences of a text without code cells; numbers such as "1.5 stars" do not end a sentence."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"\{eval\}`[^`]+`", "NUMBER", prose)
    return [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z`*-])", prose.strip()) if re.search(r"\w", part)]


def sections(page: str) -> list[str]:
    """Return the parts of a page below the headings about the table."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [part.split("\n#")[0] for part in text.split(HEADING)[1:]]


def test_each_sentence_on_loops_and_mitigations_cites_a_row() -> None:
    parts = sections("audit.md")
    assert len(parts) == 2
    for part in parts:
        found_sentences = sentences(part.partition("\n")[2])
        assert len(found_sentences) >= 4
        assert [sentence for sentence in found_sentences if not LABEL.search(sentence)] == []


@pytest.mark.parametrize("page", ["audit.md", "from-zero.md"])
def test_cited_rows_exist(page: str) -> None:
    labels = set(LABEL.findall((ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert len(labels) >= 3
    assert labels <= set(ROWS)


def test_the_table_has_all_rows() -> None:
    """Twelve sets and three models, with a plain row and nine mitigations for each model and for all models."""
    text = (ROOT / "benchmarks" / "heavy_raters.md").read_text(encoding="utf-8")
    assert [label for label in ROWS if f"| {label} |" not in text] == []
    assert {row["set"] for label, row in ROWS.items() if label.startswith("D")} == set(range(12))
    mitigations = [row for label, row in ROWS.items() if label.startswith("M")]
    for model in ("ExplicitALS", "BiasedMF", "ImplicitALS", "all three"):
        assert len([row for row in mitigations if row["model"] == model]) == 10
    assert all(row["sets"] == 12 for row in mitigations)


def test_parts_of_the_excess_add_up() -> None:
    for label, row in ROWS.items():
        if label[0] in "SD":
            parts = [row[name][0] for name in ("round_1", "growth_without", "growth_due")]
            assert sum(parts) == pytest.approx(row["last"][0])


def test_sets_are_drawn_from_wide_ranges() -> None:
    configs = [draw_config(seed) for seed in range(200)]
    ranges = {
        "heavy_share": (0.03, 0.2),
        "heavy_multiplier": (2, 10),
        "heavy_focus": (0.5, 0.8),
        "heavy_bonus": (0, 1.5),
    }
    for field, (low, high) in ranges.items():
        values = np.array([getattr(config, field) for config in configs])
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high
    assert [config.activity_std == 0 for config in configs[:4]] == [True, False, True, False]
    assert draw_config(3) == draw_config(3)


def test_the_interval_of_a_ratio_covers_and_equals_the_t_interval_for_a_fixed_denominator() -> None:
    generator = np.random.default_rng(0)
    numerator = generator.normal(0.3, 0.2, 12)
    expected = t_interval(numerator / 0.5)
    np.testing.assert_allclose(ratio_interval(numerator, np.full(12, 0.5)), expected)
    covered = 0
    for _ in range(1_000):
        plain = generator.normal(0.3, 0.15, 12)
        _, low, high = ratio_interval(0.4 * plain + generator.normal(0, 0.05, 12), plain)
        covered += bool(low <= 0.4 <= high)
    assert 930 <= covered <= 970
    assert np.isnan(ratio_interval(numerator, numerator - numerator.mean() + 1e-6)[1:]).all()


def test_a_table_shows_missing_intervals() -> None:
    rows = {"M1": {"model": "a"}, "S1": {"model": "b"}}
    assert table(rows, "M", {"model": "model"}) == ["| row | model |", "|-|-|", "| M1 | a |"]
