"""Table protocol: every reader returns columns by role, line numbers and rejected rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from cofactor.arrays import Int64
from cofactor.data.load_report import RejectedRow
from cofactor.data.readers.casting import object_columns
from cofactor.data.readers.columns import Role

__all__ = ["Batches", "RejectedRows", "Rows", "Table"]

_BATCH = 1 << 16


@dataclass
class RejectedRows:
    """Number of rejected rows in a table, and the first few of these rows with the reasons.

    Attributes
    ----------
    max_rejected : int or None, default None
        Maximum number of rows to store; None for all.
    count : int
        Number of rejected rows.
    stored : list of RejectedRow
        The stored rows.
    """

    max_rejected: int | None = None
    count: int = 0
    stored: list[RejectedRow] = field(default_factory=list)

    def add(self, line: int, reason: str, text: str) -> None:
        """Count a rejected row, and store it unless the maximum number is already stored.

        Parameters
        ----------
        line : int
            Line or row number, from 1.
        reason : str
            Why the row was rejected.
        text : str
            Text of the row.
        """
        self.count += 1
        if self.max_rejected is None or len(self.stored) < self.max_rejected:
            self.stored.append(RejectedRow(line, reason, text))


@dataclass
class Rows:
    """Chosen columns of a table, without the rows that could not be split into fields.

    Attributes
    ----------
    columns : dict of str to Series of shape (n,)
        Columns by role, with their original types. For text files, strings (null or "" if empty) or numbers.
    lines : ndarray or range of length n
        Line number at which each row begins, or row number in a frame, from 1.
    rejected : RejectedRows
        Rows that could not be split.
    notes : tuple of str
        Remarks about the file for the load report.
    row_texts : callable
        Function that maps line numbers to the text of the rows that begin there.
    """

    columns: dict[str, pl.Series]
    lines: Int64 | range
    rejected: RejectedRows
    notes: tuple[str, ...]
    row_texts: Callable[[Sequence[int]], Mapping[int, str]]


class Table(Protocol):
    """Protocol for tables whose column names are known before their rows are read."""

    @property
    def name(self) -> str:
        """Name of the source, as given by the caller."""

    @property
    def columns(self) -> list[str]:
        """Names of all columns; "1", "2", ... if there is no header."""

    @property
    def positional_roles(self) -> list[Role]:
        """Roles assigned to the columns by position if the table has no header; otherwise empty."""

    @property
    def row_unit(self) -> Literal["line", "row"]:
        """Unit of the row numbers in messages: "line" for a file, "row" for other tables."""

    @property
    def is_typed(self) -> bool:
        """Whether cells are typed; False for text files, where IDs that look like integers are parsed as integers."""

    def read(self, roles: Mapping[str, int], max_rejected: int | None) -> Rows:
        """Read the columns for the given roles.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store; None for all.

        Returns
        -------
        Rows
            The columns, line numbers and rejected rows.
        """

    def chunks(self, roles: Mapping[str, int], max_rejected: int | None) -> Iterator[Rows]:
        """Read the columns in chunks that fit into memory; tables that are in memory have one chunk.

        Parameters
        ----------
        roles : mapping of str to int
            Column position by role.
        max_rejected : int or None
            Maximum number of rejected rows to store for each chunk; None for all.

        Yields
        ------
        Rows
            The rows of one chunk, with line numbers of the whole table.
        """


class Batches:
    """Builder that converts rows to columns in batches, so that few Python objects exist at a time.

    Parameters
    ----------
    roles : sequence of str
        Roles of the cells of a row.
    convert : callable or None, default None
        Function that converts a batch of cells by role to columns; None expects strings.
    """

    def __init__(self, roles: Sequence[str], *, convert: Callable[..., dict[str, pl.Series]] | None = None):
        self._roles = list(roles)
        self._convert = convert or _text_columns
        self._cells: list[Sequence[Any]] = []
        self._lines: list[int] = []
        self._frames: list[pl.DataFrame] = []
        self._line_numbers: list[Int64] = []

    @classmethod
    def of_objects(cls, roles: Sequence[str]) -> Batches:
        """Create a builder for cells that are Python objects; see `object_columns`.

        Parameters
        ----------
        roles : sequence of str
            Roles of the cells of a row.

        Returns
        -------
        Batches
            The builder.
        """
        return cls(roles, convert=object_columns)

    def add(self, line: int, cells: Sequence[Any]) -> None:
        """Add the cells of one row to the builder.

        Parameters
        ----------
        line : int
            Line on which the row begins.
        cells : sequence
            One cell per role.
        """
        self._lines.append(line)
        self._cells.append(cells)
        if len(self._lines) == _BATCH:
            self._flush()

    def finish(self) -> tuple[dict[str, pl.Series], Int64]:
        """Convert the remaining rows and return the complete columns.

        Returns
        -------
        columns : dict of str to Series of shape (n,)
            Columns by name; empty columns if there are no rows.
        lines : ndarray of shape (n,), int64
            Line number of each row.
        """
        self._flush()
        frame = pl.concat(self._frames, rechunk=True)
        lines = np.concatenate(self._line_numbers)
        self._frames.clear()
        return {name: frame[name] for name in frame.columns}, lines

    def _flush(self) -> None:
        """Convert the collected rows to a frame."""
        cells_by_role = list(zip(*self._cells, strict=True)) or [()] * len(self._roles)
        self._frames.append(pl.DataFrame(self._convert(dict(zip(self._roles, cells_by_role, strict=True)))))
        self._line_numbers.append(np.array(self._lines, np.int64))
        self._cells.clear()
        self._lines.clear()


def _text_columns(cells: Mapping[str, Sequence[str]]) -> dict[str, pl.Series]:
    """Convert strings by role to String columns."""
    return {role: pl.Series(role, values, dtype=pl.String) for role, values in cells.items()}
