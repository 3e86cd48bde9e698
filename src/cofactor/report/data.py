"""Report sections on the data: loading summary, and cross-tabulation of the most active users and most rated items."""

from __future__ import annotations

import numpy as np
import polars as pl

from cofactor.data.value_counts import value_counts
from cofactor.interpret import filled_crosstab
from cofactor.plots import crosstab_plot
from cofactor.recommender.recommender import Recommender
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["crosstab_section", "load_section"]

USERS = ITEMS = 10
MAX_BAYESIAN_ROWS = 300_000
"""Maximum number of rows for filling the cross-tabulation with `BayesianMF` if the report's model has no intervals."""


def load_section(study: Study) -> Section:
    """Create the report section that summarizes the table and how it was loaded.

    Parameters
    ----------
    study : Study
        Subject and options of the report.

    Returns
    -------
    Section
        Section with figures and tables.
    """
    table, load_report = study.table, study.table.report
    facts: dict[str, object] = {
        "kind": table.kind, "rows": len(table), "users": table.n_users, "items": table.n_items,
        "density": table.density, "mean": float(table.values.mean(dtype=np.float64)) if len(table) else None,
    }  # fmt: skip
    text = [
        (
            f"{len(table):,} {table.kind} by {table.n_users:,} users for {table.n_items:,} items; {table.density:.2%} "
            "of all user-item pairs are observed."
        ),
    ]
    rows = [("rows read", f"{len(table) if load_report is None else load_report.rows:,}")]
    if load_report is not None:
        facts["load"] = load_report.as_dict()
        rejections = [(f"rejected: {reason}", f"{count:,}") for reason, count in load_report.rejection_counts.items()]
        rows = [("source", load_report.source), *rows, *(rejections or [("rejected", "none")])]
        rows.append(("duplicates", f"{load_report.duplicates:,} ({load_report.duplicate_rule or 'none'})"))
        rows += [("note", note) for note in load_report.notes if not note.startswith("fetched from")]
    for entity, counts in (("user", table.by_user.counts), ("item", table.by_item.counts)):
        smallest, median, largest = (int(f(counts)) for f in (np.min, np.median, np.max))
        rows.append((f"{table.kind} per {entity}", f"{smallest:,} to {largest:,}, median {median:,}"))
    frequencies = value_counts(table).rename({"low": "from", "high": "to", "count": "rows"})
    if frequencies["from"].equals(frequencies["to"].alias("from")):
        frequencies = frequencies.drop("to").rename({"from": "value"})
    frequencies = frequencies.with_columns(share=pl.col("rows") / len(table))
    columns = {name: name for name in frequencies.columns}
    return Section(
        "load", "Data", text, numbers=facts,
        tables=(
            Table("facts", "Loading", pl.DataFrame(rows, schema=["fact", "value"], orient="row"),
                  {"fact": "", "value": ""}),
            Table("values", "Frequency of each value", frequencies, columns),
        ),
    )  # fmt: skip


def crosstab_section(study: Study) -> Section:
    """Create the report section with the cross-tabulation, in which predictions fill the empty cells.

    Parameters
    ----------
    study : Study
        Subject and options of the report.

    Returns
    -------
    Section
        Section with figures and tables.

    Raises
    ------
    DivergedError
        The fit diverged.
    """
    recommender = study.recommender
    frame = filled_crosstab(recommender, users=USERS, items=ITEMS)
    if study.table.kind == "ratings" and "low" not in frame.columns and len(study.table) <= MAX_BAYESIAN_ROWS:
        frame = filled_crosstab(_bayesian_recommender(study), users=USERS, items=ITEMS)
    observed = int(frame["observed"].is_not_null().sum())
    text = f"The most active users and the most rated items: {observed} of these {len(frame)} cells are observed."
    interval = ", with their 80 % intervals on hover" if "low" in frame.columns else ""
    caption = (
        "Rows are users and columns are items: solid cells are observed values, light cells with a decimal are "
        f"predictions{interval}."
    )
    return Section(
        "crosstab", "Cross-tabulation", [text], [Picture(crosstab_plot(frame), caption)],
        [Table("cells", "Cells", frame)],
    )  # fmt: skip


def _bayesian_recommender(study: Study) -> Recommender:
    """Fit `BayesianMF`, whose predictions have intervals."""
    from cofactor.estimators import BayesianMF

    return Recommender.fit(BayesianMF(), study.table, seed=study.seed)
