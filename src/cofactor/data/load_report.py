"""What happened while a table was read: nothing is dropped or repaired without standing here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from cofactor.validation import validated

__all__ = ["LoadReport", "Refusal"]


@dataclass(frozen=True)
class Refusal:
    """One row that was refused: its line (counted from 1, the header included; of frames the row), why, and its text.

    >>> Refusal(3, "the value is missing", "ana,alien,").line
    3
    """

    line: int
    reason: str
    text: str = ""


@dataclass(frozen=True)
class LoadReport:
    """Counts of one load.

    Attributes:

        source: what was read, as the caller named it.
        rows: data rows seen, refused ones included.
        duplicates: rows that another row of the same user and item replaced or was added to.
        duplicate_rule: what was done with them ("last kept" or "summed").
        refusals: every refused row, in file order.
        notes: anything else worth knowing (a last line without its newline, guessed columns, ...).

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
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def refused(self) -> dict[str, int]:
        """How many rows were refused for each reason, most frequent first; {} where none was.

        >>> lost = (Refusal(2, "the value is missing"), Refusal(5, "the value is missing"))
        >>> LoadReport("ratings.csv", rows=9, refusals=lost).refused
        {'the value is missing': 2}
        """
        return dict(Counter(refusal.reason for refusal in self.refusals).most_common())

    @validated
    def with_note(self, note: str) -> LoadReport:
        """The same report with one more note at the end.

        >>> LoadReport("ratings.csv", rows=9).with_note("shuffled").notes
        ('shuffled',)
        """
        return replace(self, notes=(*self.notes, note))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; refused rows as counts by reason.

        >>> LoadReport("ratings.csv", rows=9).as_dict()["rows"]
        9
        """
        return {
            "source": self.source,
            "rows": self.rows,
            "refused": self.refused,
            "duplicates": self.duplicates,
            "duplicate_rule": self.duplicate_rule,
            "notes": list(self.notes),
        }
