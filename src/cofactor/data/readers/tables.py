"""What every door delivers: columns by role, the line of every row, and the rows refused so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from cofactor.arrays import Int64
from cofactor.data.load_report import Refusal
from cofactor.data.readers.casting import object_columns
from cofactor.data.readers.columns import Role

__all__ = ["Batches", "Refusals", "Rows", "Table"]

_BATCH = 1 << 16


@dataclass
class Refusals:
    """Refused rows: every one is counted, the first `most` (None: all) are kept."""

    most: int | None = None
    count: int = 0
    kept: list[Refusal] = field(default_factory=list)

    def add(self, line: int, reason: str, text: str) -> None:
        """Count one more, and keep it while there is room."""
        self.count += 1
        if self.most is None or len(self.kept) < self.most:
            self.kept.append(Refusal(line, reason, text))


@dataclass
class Rows:
    """The chosen columns of the rows that could be split into fields.

    Attributes:

        columns: by role, in the type they came in (text files: String, null or "" where empty; or numbers).
        lines: (n,) the line, or the row of a frame, that each row begins on, from 1.
        refused: rows that could not be split.
        notes: what the reader of a file should know.
        texts: the text of the rows that begin on these lines.
    """

    columns: dict[str, pl.Series]
    lines: Int64 | range
    refused: Refusals
    notes: tuple[str, ...]
    texts: Callable[[Sequence[int]], Mapping[int, str]]


class Table(Protocol):
    """A source whose columns are known and whose rows can be read."""

    @property
    def name(self) -> str:
        """What the caller named."""

    @property
    def columns(self) -> list[str]:
        """The names of all columns; "1", "2", ... where there is no header."""

    @property
    def by_place(self) -> list[Role]:
        """What the columns hold where there is no header; else empty."""

    @property
    def counts(self) -> Literal["line", "row"]:
        """What row numbers count: lines of a file, or rows of a table."""

    @property
    def typed(self) -> bool:
        """False where everything is text, so that ids that look like integers are integers."""

    def read(self, roles: Mapping[str, int], most: int | None) -> Rows:
        """The rows, with the columns of these roles; of the refused ones, `most` are remembered."""


class Batches:
    """Collects rows of text or objects, a batch at a time, so that few Python objects live at once."""

    def __init__(self, roles: Sequence[str], *, objects: Callable[..., dict[str, pl.Series]] | None = None):
        self._roles = list(roles)
        self._make = objects or _text_columns
        self._cells: list[Sequence[Any]] = []
        self._lines: list[int] = []
        self._frames: list[pl.DataFrame] = []
        self._numbers: list[Int64] = []

    @classmethod
    def of_objects(cls, roles: Sequence[str]) -> Batches:
        """For cells that are Python objects; see `object_columns`."""
        return cls(roles, objects=object_columns)

    def add(self, line: int, cells: Sequence[Any]) -> None:
        """One more row: the line it begins on, and a cell for each role."""
        self._lines.append(line)
        self._cells.append(cells)
        if len(self._lines) == _BATCH:
            self._flush()

    def finish(self) -> tuple[dict[str, pl.Series], Int64]:
        """The whole columns, (n,) each by name, and the line of every row, (n,); no rows give empty columns."""
        self._flush()
        frame = pl.concat(self._frames, rechunk=True)
        lines = np.concatenate(self._numbers)
        self._frames.clear()
        return {name: frame[name] for name in frame.columns}, lines

    def _flush(self) -> None:
        turned = list(zip(*self._cells, strict=True)) or [()] * len(self._roles)
        self._frames.append(pl.DataFrame(self._make(dict(zip(self._roles, turned, strict=True)))))
        self._numbers.append(np.array(self._lines, np.int64))
        self._cells.clear()
        self._lines.clear()


def _text_columns(cells: Mapping[str, Sequence[str]]) -> dict[str, pl.Series]:
    return {role: pl.Series(role, values, dtype=pl.String) for role, values in cells.items()}
