"""Report content: sections of texts, figures with captions, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cofactor import checks
from cofactor.arrays import plain
from cofactor.data.id_columns import json_rows
from cofactor.validation import require_valid_fields

__all__ = ["Picture", "Section", "Table"]


@dataclass(frozen=True, eq=False)
class Picture:
    """Plotly figure with a caption.

    Attributes
    ----------
    figure : plotly.graph_objects.Figure
        The figure.
    reading : str
        Caption: one sentence that explains how to read the figure.
    """

    figure: Any
    reading: str

    def __post_init__(self) -> None:
        require_valid_fields(self)


@dataclass(frozen=True, eq=False)
class Table:
    """Table of a section: complete in the JSON, with selected columns and rows on the page.

    Attributes
    ----------
    name : str
        Key in the JSON.
    caption : str
        Caption on the page.
    frame : pl.DataFrame
        All columns and rows.
    columns : mapping of str to str
        Columns that the page shows, and their headers. Without columns, the table is only in the JSON.
    rows : int, default 20
        Maximum number of rows on the page. A table without rows is shown as its header.
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
    """Section of a report.

    Attributes
    ----------
    name : str
        Anchor on the page and key in the JSON.
    title : str
        Heading.
    text : sequence of str
        Paragraphs.
    pictures : sequence of Picture
        Figures, shown before the tables.
    tables : sequence of Table
        Tables.
    numbers : mapping
        Single numbers for the JSON, by name.
    missing : sequence of str
        What is left out and why, one sentence each.

    Examples
    --------
    >>> section = Section("load", "Data", text=["3 rows."], numbers={"rows": 3, "density": float("nan")})
    >>> section.as_dict()["numbers"]
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
        """Return everything except the figures as JSON types.

        Returns
        -------
        dict
            With keys title, text, missing, numbers and tables. Frames are lists of records; nan and infinite numbers
            are None.
        """
        tables = {table.name: plain(json_rows(table.frame)) for table in self.tables}
        texts = {"title": self.title, "text": list(self.text), "missing": list(self.missing)}
        return texts | {"numbers": plain(dict(self.numbers)), "tables": tables}
