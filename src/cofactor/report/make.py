"""The report: every section that the data allow, and for the others a sentence that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cofactor import checks
from cofactor.data.features import indicators
from cofactor.errors import CofactorError, ParameterError
from cofactor.files import write_whole
from cofactor.plots import require_plotly
from cofactor.report import accuracy, data, feedback, people, taste
from cofactor.report.page import page
from cofactor.report.section import Section
from cofactor.report.study import Study
from cofactor.validation import require_valid_fields, validated

__all__ = ["SECTIONS", "Report", "make_report"]

SECTIONS: dict[str, tuple[str, Callable[[Study], Section]]] = {
    "load": ("What was read", data.load),
    "crosstab": ("The cross-tab", data.cross_tab),
    "comparison": ("Who predicts best", accuracy.comparison),
    "calibration": ("Whether probabilities come true", accuracy.calibrated),
    "taste_map": ("The map of tastes", taste.taste_map),
    "ranking": ("What is loved, and by whom", taste.ranking),
    "exposure": ("Who rates, and what is shown", people.shown),
    "influence": ("Who decides what others are shown", people.decides),
    "cold_start": ("How soon it knows somebody new", accuracy.cold),
    "feedback_loop": ("Where the loop leads", feedback.loop),
}


@dataclass(frozen=True, eq=False)
class Report:
    """A report that can be written.

    Attributes:

        title: its heading.
        settings: how it was made: source, estimator, seed.
        sections: in their order; what could not be made is there with its reason and nothing else.

    >>> settings = {"source": "ratings.csv", "estimator": {"estimator": "bias", "damping": 5.0}, "seed": 0}
    >>> report = Report("Films", settings, (Section("load", "What was read", text=["3 rows."]),))
    >>> "<h2>What was read</h2>" in report.html(), report.as_dict()["sections"]["load"]["text"]
    (True, ['3 rows.'])
    """

    title: str
    settings: dict[str, Any]
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        require_valid_fields(self)
        if missing := [name for name in ("source", "estimator", "seed") if name not in self.settings]:
            raise ParameterError(f"settings must have source, estimator and seed, and they lack {', '.join(missing)}")

    def html(self) -> str:
        """One page that needs no network; the same report gives the same text. Raises MissingExtraError."""
        return page(self.title, self.settings, self.sections)

    def as_dict(self) -> dict[str, Any]:
        """The same numbers as JSON's own types: frames as lists of records, nan as None."""
        sections = {section.name: section.as_dict() for section in self.sections}
        return {"title": self.title, "settings": self.settings, "sections": sections}

    @validated
    def write(self, path: str | Path) -> Path:
        """Write the page, and the numbers beside it (the same name, ending .json), whose path is returned.

        Raises OSError, MissingExtraError.
        """
        html, beside = self.html(), Path(path).with_suffix(".json")
        numbers = json.dumps(self.as_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        write_whole(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))
        write_whole(beside, lambda temporary: temporary.write_text(numbers, encoding="utf-8"))
        return beside


@validated
def make_report(study: Study, *, title: str = "Report", on_section: Callable[[str], None] | None = None) -> Report:
    """Work out all sections; `on_section` is told each one's title before. Deterministic in the study's seed.

    A section that cannot be made of these data, or of this estimator, says why in its place. Raises KindError where the
    estimator learns from the other kind, DataError for a table without rows or a column of genres that is not there,
    MissingExtraError without plotly.
    """
    checks.instance("study", study, Study, "make one by Study(table, estimator)")
    checks.text("title", title)
    checks.optional_callable("on_section", on_section)
    require_plotly()
    study.estimator.require(study.table)
    if study.genres is not None:
        indicators(study.table.item_table, [study.genres], "item")
    sections = []
    for name, (heading, make) in SECTIONS.items():
        if on_section is not None:
            on_section(heading)
        try:
            sections.append(make(study))
        except CofactorError as problem:
            sections.append(Section(name, heading, missing=[f"This part is left out: {problem}."]))
    source = None if study.table.report is None else study.table.report.source
    settings = {"source": source, "estimator": json.loads(study.estimator.to_json()), "seed": study.seed}
    return Report(title, settings, tuple(sections))
