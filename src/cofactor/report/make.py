"""Report assembly: compute all sections of a report, and write it as HTML and JSON.

A section that cannot be computed contains the message of the error that it raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cofactor import checks
from cofactor.data.features import indicators
from cofactor.errors import CofactorError, ParameterError
from cofactor.files import write_atomically
from cofactor.plots import require_plotly
from cofactor.report import accuracy, data, feedback_loop, items, users
from cofactor.report.page import page
from cofactor.report.section import Section
from cofactor.report.study import Study
from cofactor.validation import require_valid_fields, validated

__all__ = ["SECTIONS", "Report", "make_report"]

SECTIONS: dict[str, tuple[str, Callable[[Study], Section]]] = {
    "load": ("Data", data.load_section),
    "crosstab": ("Cross-tabulation", data.crosstab_section),
    "comparison": ("Model comparison", accuracy.comparison_section),
    "calibration": ("Calibration", accuracy.calibration_section),
    "factor_map": ("Factor map", items.factor_map_section),
    "ranking": ("Item ranking", items.ranking_section),
    "exposure": ("Concentration and exposure", users.exposure_section),
    "influence": ("Group influence", users.influence_section),
    "cold_start": ("Cold start", accuracy.cold_start_section),
    "feedback_loop": ("Feedback loop", feedback_loop.feedback_loop_section),
}
"""Title and function of each section by name, in report order."""


@dataclass(frozen=True, eq=False)
class Report:
    """Report on a data set and a model.

    Attributes
    ----------
    title : str
        Title of the page.
    settings : dict
        How the report was created, with keys source, estimator and seed.
    sections : tuple of Section
        Sections in order. A section that could not be computed contains only the reason.

    Examples
    --------
    >>> settings = {"source": "ratings.csv", "estimator": {"estimator": "bias", "damping": 5.0}, "seed": 0}
    >>> report = Report("Films", settings, (Section("load", "Data", text=["3 rows."]),))
    >>> "<h2>Data</h2>" in report.html(), report.as_dict()["sections"]["load"]["text"]
    (True, ['3 rows.'])
    """

    title: str
    settings: dict[str, Any]
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        require_valid_fields(self)
        if missing_keys := [name for name in ("source", "estimator", "seed") if name not in self.settings]:
            raise ParameterError(
                f"settings must have the keys source, estimator and seed; missing: {', '.join(missing_keys)}"
            )

    def html(self) -> str:
        """Return the report as an HTML page that works offline.

        Returns
        -------
        str
            The page; it depends only on the content of the report.

        Raises
        ------
        MissingExtraError
            plotly is not installed.
        """
        return page(self.title, self.settings, self.sections)

    def as_dict(self) -> dict[str, Any]:
        """Return the text and values of the report as JSON-serializable types.

        Returns
        -------
        dict
            Dictionary with keys title, settings and sections. Frames are converted to lists of records, and nan and
            infinite values to None.
        """
        sections = {section.name: section.as_dict() for section in self.sections}
        return {"title": self.title, "settings": self.settings, "sections": sections}

    @validated
    def write(self, path: str | Path) -> Path:
        """Write the report as an HTML page, and its values to a JSON file with the same name and the suffix .json.

        Parameters
        ----------
        path : str or Path
            Path of the HTML file.

        Returns
        -------
        Path
            Path of the JSON file.

        Raises
        ------
        OSError
            A file cannot be written.
        MissingExtraError
            plotly is not installed.
        """
        html, json_path = self.html(), Path(path).with_suffix(".json")
        numbers = json.dumps(self.as_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        write_atomically(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))
        write_atomically(json_path, lambda temporary: temporary.write_text(numbers, encoding="utf-8"))
        return json_path


@validated
def make_report(study: Study, *, title: str = "Report", on_section: Callable[[str], None] | None = None) -> Report:
    """Compute all sections of a report.

    Parameters
    ----------
    study : Study
        Subject and options of the report.
    title : str, default "Report"
        Title of the report.
    on_section : callable, optional
        Called with the title of each section before it is computed.

    Returns
    -------
    Report
        The report, which is deterministic given the seed of the study. A section that cannot be computed for the data
        or the estimator contains the reason instead.

    Raises
    ------
    KindError
        The estimator does not support the kind of the table.
    DataError
        The table has no rows, or the item table has no column `study.genres`.
    MissingExtraError
        plotly is not installed.
    """
    checks.instance("study", study, Study, "create one with Study(table, estimator)")
    checks.text("title", title)
    checks.optional_callable("on_section", on_section)
    require_plotly()
    study.estimator.check_table(study.table)
    if study.genres is not None:
        indicators(study.table.item_table, [study.genres], "item")
    sections = []
    for name, (heading, make_section) in SECTIONS.items():
        if on_section is not None:
            on_section(heading)
        try:
            sections.append(make_section(study))
        except CofactorError as problem:
            sections.append(Section(name, heading, missing=[f"This section is omitted: {problem}."]))
    source = None if study.table.report is None else study.table.report.source
    settings = {"source": source, "estimator": study.estimator.to_dict(), "seed": study.seed}
    return Report(title, settings, tuple(sections))
