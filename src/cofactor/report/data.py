"""Report sections on the data: loading, and a cross-tabulation of the most active users and most rated items."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.interpret import filled_crosstab
from cofactor.plots import crosstab_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["crosstab_section", "load_section"]

USERS = ITEMS = 10
MAX_BAYESIAN_ROWS = 300_000
"""Up to this number of rows, `BayesianMF` fills the cross-tabulation if the report's model has no intervals."""


def load_section(study: Study) -> Section:
    """Summarize the table and how it was loaded.

    Parameters
    ----------
    study : Study
        Subject of the report.

    Returns
    -------
    Section
        The section with its figures and tables.
    """
    table, report = study.table, study.table.report
    facts: dict[str, object] = {
        "kind": table.kind, "rows": len(table), "users": table.n_users, "items": table.n_items,
        "density": table.density, "mean": float(table.values.mean(dtype=np.float64)) if len(table) else None,
    }  # fmt: skip
    text = [
        (
            f"{len(table):,} {table.kind} of {table.n_users:,} users for {table.n_items:,} items: {table.density:.2%} "
            "of all user-item pairs are observed."
        ),
    ]
    lines = [("rows read", f"{len(table) if report is None else report.rows:,}")]
    if report is not None:
        facts["load"] = report.as_dict()
        rejected = [(f"rejected: {reason}", f"{count:,}") for reason, count in report.rejection_counts.items()]
        lines = [("source", report.source), *lines, *(rejected or [("rejected", "none")])]
        lines.append(("duplicates", f"{report.duplicates:,} ({report.duplicate_rule or 'none'})"))
        lines += [("note", note) for note in report.notes if not note.startswith("fetched from")]
    for side, counts in (("user", table.by_user.counts), ("item", table.by_item.counts)):
        least, median, most = (int(f(counts)) for f in (np.min, np.median, np.max))
        lines.append((f"{table.kind} per {side}", f"{least:,} to {most:,}, median {median:,}"))
    values, counts = np.unique(table.values, return_counts=True)
    shares = pl.DataFrame({"value": values.astype(np.float64), "rows": counts, "share": counts / max(len(table), 1)})
    columns = {"value": "value", "rows": "rows", "share": "share"}
    return Section(
        "load", "Data", text, numbers=facts,
        tables=(
            Table("facts", "Loading", pl.DataFrame(lines, schema=["fact", "value"], orient="row"),
                  {"fact": "", "value": ""}),
            Table("values", "Frequency of each value", shares, columns),
        ),
    )  # fmt: skip


def crosstab_section(study: Study) -> Section:
    """Cross-tabulate the most active users and the most rated items, with predictions in the empty cells.

    Parameters
    ----------
    study : Study
        Subject of the report.

    Returns
    -------
    Section
        The section with its figures and tables.

    Raises
    ------
    DivergedError
        The fit diverged.
    """
    recommender = study.recommender
    frame = filled_crosstab(recommender, users=USERS, items=ITEMS)
    if study.table.kind == "ratings" and "low" not in frame.columns and len(study.table) <= MAX_BAYESIAN_ROWS:
        frame = filled_crosstab(_bayesian_recommender(study), users=USERS, items=ITEMS)
    observed = int(frame["known"].is_not_null().sum())
    text = f"The most active users and the most rated items: {observed} of these {len(frame)} cells are observed."
    interval = ", with their 80 % intervals on hover" if "low" in frame.columns else ""
    reading = (
        "Rows are users and columns are items: solid cells are observed values, light cells with a decimal are "
        f"predictions{interval}."
    )
    return Section(
        "crosstab", "Cross-tabulation", [text], [Picture(crosstab_plot(frame), reading)],
        [Table("cells", "Cells", frame)],
    )  # fmt: skip


def _bayesian_recommender(study: Study) -> Recommender:
    """Fit a model with predictive distributions."""
    from cofactor.estimators import BayesianMF

    return Recommender.fit(BayesianMF(), study.table, seed=study.seed)
