"""The data: what was read and refused, and the fullest corner of the cross-tab."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.interpret import filled_crosstab
from cofactor.plots import crosstab_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["cross_tab", "load"]

USERS = ITEMS = 10
CORNER_ROWS = 300_000
"""A model that knows how sure it is fills the cross-tab of tables up to so many rows; the report's own, larger ones."""


def load(study: Study) -> Section:
    """What was read."""
    table, report = study.table, study.table.report
    facts: dict[str, object] = {
        "kind": table.kind, "rows": len(table), "users": table.n_users, "items": table.n_items,
        "density": table.density, "mean": float(table.values.mean(dtype=np.float64)) if len(table) else None,
    }  # fmt: skip
    text = [
        (
            f"{len(table):,} {table.kind} of {table.n_users:,} users for {table.n_items:,} items: {table.density:.2%} "
            "of all cells are known, and the others are what a model is for."
        ),
    ]
    lines = [("rows read", f"{len(table) if report is None else report.rows:,}")]
    if report is not None:
        facts["load"] = report.as_dict()
        refused = [(f"refused: {reason}", f"{count:,}") for reason, count in report.refused.items()]
        lines = [("source", report.source), *lines, *(refused or [("refused", "none")])]
        lines.append(("duplicates", f"{report.duplicates:,} ({report.duplicate_rule or 'none found'})"))
        lines += [("note", note) for note in report.notes if not note.startswith("fetched from")]
    for what, counts in (("user", table.by_user.counts), ("item", table.by_item.counts)):
        least, median, most = (int(f(counts)) for f in (np.min, np.median, np.max))
        lines.append((f"{table.kind} per {what}", f"{least:,} to {most:,}, median {median:,}"))
    distinct, times = np.unique(table.values, return_counts=True)
    shares = pl.DataFrame({"given": distinct.astype(np.float64), "rows": times, "share": times / max(len(table), 1)})
    shown = {"given": "value", "rows": "rows", "share": "share"}
    return Section(
        "load", "What was read", text, numbers=facts,
        tables=(
            Table("facts", "The load", pl.DataFrame(lines, schema=["fact", "found"], orient="row"),
                  {"fact": "", "found": ""}),
            Table("values", "How often each value occurs", shares, shown),
        ),
    )  # fmt: skip


def cross_tab(study: Study) -> Section:
    """The busiest users by the most rated items, blanks filled. Raises as a fit does."""
    recommender = study.recommender
    frame = filled_crosstab(recommender, users=USERS, items=ITEMS)
    if study.table.kind == "ratings" and "low" not in frame.columns and len(study.table) <= CORNER_ROWS:
        frame = filled_crosstab(_unsure(study), users=USERS, items=ITEMS)
    known = int(frame["known"].is_not_null().sum())
    text = f"{known} of these {len(frame)} cells are known, though it is the fullest corner of the table."
    ends = " and, on touch, the interval that holds it four times in five" if "low" in frame.columns else ""
    reading = (
        "Each row is a person, each column an item: solid cells hold what was given, pale ones with a decimal what is "
        f"predicted{ends}."
    )
    return Section(
        "crosstab", "The cross-tab", [text], [Picture(crosstab_plot(frame), reading)],
        [Table("cells", "Cells", frame)],
    )  # fmt: skip


def _unsure(study: Study) -> Recommender:
    """A model that says how sure it is."""
    from cofactor.estimators import BayesianMF

    return Recommender.fit(BayesianMF(), study.table, seed=study.seed)
