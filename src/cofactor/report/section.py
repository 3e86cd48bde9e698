"""What a report is made of: sections of pictures, each with a sentence on how to read it, and tables of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cofactor import checks
from cofactor.arrays import plain
from cofactor.validation import require_valid_fields

__all__ = ["Picture", "Section", "Table"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A plotly figure and one sentence that says how to read it."""

    figure: Any
    reading: str

    def __post_init__(self) -> None:
        require_valid_fields(self)


@dataclass(frozen=True, eq=False)
class Table:
    """A frame that stands in the JSON whole, and on the page with these columns and its first rows.

    Attributes:

        name: its key in the JSON.
        caption: what the page calls it.
        frame: all of it.
        columns: those that the page shows, and what their heads say; none where a picture says it all.
        rows: how many the page shows.

    A table without rows is shown by its heads alone.
    """

    name: str
    caption: str
    frame: pl.DataFrame
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: int = 20

    def __post_init__(self) -> None:
        require_valid_fields(self)
        checks.whole_number("rows", self.rows, low=0)


@dataclass(frozen=True, eq=False)
class Section:
    """One part of a report.

    Attributes:

        name: its anchor on the page and its key in the JSON.
        title: its heading.
        text: what was found, a paragraph each.
        pictures, tables: in their order; pictures stand first.
        numbers: by name, single numbers for the JSON.
        missing: what is left out and why, a sentence each.

    >>> found = Section("load", "What was read", text=["3 rows."], numbers={"rows": 3, "density": float("nan")})
    >>> found.as_dict()["numbers"]
    {'rows': 3, 'density': None}
    """

    name: str
    title: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_valid_fields(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures as JSON's own types: frames as lists of records, nan and infinite as None."""
        tables = {table.name: plain(table.frame.to_dicts()) for table in self.tables}
        said = {"title": self.title, "text": list(self.text), "missing": list(self.missing)}
        return said | {"numbers": plain(dict(self.numbers)), "tables": tables}
