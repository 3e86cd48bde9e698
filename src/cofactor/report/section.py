"""Report content: sections with text, figures with captions, and tables."""

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
    caption : str
        Text that explains how to read the figure.
    """

    figure: Any
    caption: str

    def __post_init__(self) -> None:
        require_valid_fields(self)


@dataclass(frozen=True, eq=False)
class Table:
    """Table in a section: complete in the JSON, with selected columns and rows on the page.

    Attributes
    ----------
    name : str
        Key in the JSON.
    caption : str
        Caption on the page.
    frame : pl.DataFrame
        All columns and rows.
    columns : mapping of str to str
        Columns that the page shows, and their headers. If empty, the table is only in the JSON.
    rows : int, default 20
        Maximum number of rows on the page. If there are no rows, only the header is shown.
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
        Scalar values for the JSON, by name.
    missing : sequence of str
        Sentences that explain what is omitted and why.

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
        """Return the text, values and tables as JSON-serializable types, without the figures.

        Returns
        -------
        dict
            Dictionary with keys title, text, missing, numbers and tables. Frames are converted to lists of records,
            and nan and infinite values to None.
        """
        tables = {table.name: plain(json_rows(table.frame)) for table in self.tables}
        text_fields = {"title": self.title, "text": list(self.text), "missing": list(self.missing)}
        return text_fields | {"numbers": plain(dict(self.numbers)), "tables": tables}
