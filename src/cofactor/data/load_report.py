"""Load report: row counts, rejected rows and notes from reading one source.

Readers record every row that they drop and every conversion in this report.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from cofactor.validation import validated

__all__ = ["LoadReport", "RejectedRow"]


@dataclass(frozen=True)
class RejectedRow:
    """Row that a reader rejected, with the reason.

    Attributes
    ----------
    line : int
        Line in the file, counted from 1 including the header; for data frames, the row number.
    reason : str
        Why the row was rejected.
    text : str, default ""
        Text of the row.

    Examples
    --------
    >>> RejectedRow(3, "the value is missing", "ana,alien,").line
    3
    """

    line: int
    reason: str
    text: str = ""


@dataclass(frozen=True)
class LoadReport:
    """Row counts, rejected rows and notes from reading one source.

    Attributes
    ----------
    source : str
        Name of the source, as given by the caller.
    rows : int
        Number of data rows read, including rejected ones.
    duplicates : int, default 0
        Number of rows that were merged into, or replaced by, another row for the same user-item pair.
    duplicate_rule : str, default ""
        How duplicates were resolved: "last kept" or "summed"; "" if there were none.
    rejected_rows : tuple of RejectedRow, default ()
        Rejected rows, in file order.
    notes : tuple of str, default ()
        Further remarks, such as inferred columns or a last line without a newline.

    Examples
    --------
    >>> import cofactor, polars as pl
    >>> table = pl.DataFrame({"user": ["ana", "ana"], "item": [7, 7], "rating": [4.0, 2.0]})
    >>> report = cofactor.read_ratings(table).report
    >>> report.rows, report.duplicates, report.duplicate_rule
    (2, 1, 'last kept')
    """

    source: str
    rows: int
    duplicates: int = 0
    duplicate_rule: str = ""
    rejected_rows: tuple[RejectedRow, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def rejection_counts(self) -> dict[str, int]:
        """Number of rejected rows for each reason, most frequent first; {} if there are none.

        Returns
        -------
        dict of str to int
            Counts by reason.

        Examples
        --------
        >>> rejected = (RejectedRow(2, "the value is missing"), RejectedRow(5, "the value is missing"))
        >>> LoadReport("ratings.csv", rows=9, rejected_rows=rejected).rejection_counts
        {'the value is missing': 2}
        """
        return dict(Counter(row.reason for row in self.rejected_rows).most_common())

    @validated
    def with_note(self, note: str) -> LoadReport:
        """Return a copy of the report with an additional note.

        Parameters
        ----------
        note : str
            The note.

        Returns
        -------
        LoadReport
            The new report.

        Examples
        --------
        >>> LoadReport("ratings.csv", rows=9).with_note("shuffled").notes
        ('shuffled',)
        """
        return replace(self, notes=(*self.notes, note))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serializable values.

        Returns
        -------
        dict
            The attributes, with "rejected" (counts by reason) in place of `rejected_rows`.

        Examples
        --------
        >>> LoadReport("ratings.csv", rows=9).as_dict()["rows"]
        9
        """
        return {
            "source": self.source,
            "rows": self.rows,
            "rejected": self.rejection_counts,
            "duplicates": self.duplicates,
            "duplicate_rule": self.duplicate_rule,
            "notes": list(self.notes),
        }
