"""Functions that report rejected rows: as an error that names the first row, or in a file with all of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from cofactor.data.load_report import RejectedRow
from cofactor.data.readers.text_table import NOT_UTF8
from cofactor.errors import DataError, ParameterError
from cofactor.files import write_atomically

__all__ = ["OnError", "quarantine_path", "rejection_error", "write_rejected_rows"]

OnError: TypeAlias = Literal["raise", "quarantine"]

_MAX_TEXT_LENGTH = 80  # characters of a rejected row in a message


def rejection_error(name: str, row_unit: str, first: RejectedRow, count: int) -> DataError:
    """Create the error for rejected rows: it names the first row, the reason, the number of others, and a remedy.

    Parameters
    ----------
    name : str
        Name of the source.
    row_unit : {"line", "row"}
        Unit of the row numbers.
    first : RejectedRow
        The first rejected row.
    count : int
        Number of rejected rows.

    Returns
    -------
    DataError
        The error, to be raised by the caller.
    """
    text = first.text if len(first.text) <= _MAX_TEXT_LENGTH else first.text[:_MAX_TEXT_LENGTH] + "..."
    remaining_note = f" ({count - 1:,} more bad row{'s' if count > 2 else ''})" if count > 1 else ""
    advice = "correct it"
    for optional_role in ("time", "weight"):
        if first.reason.startswith(f"the {optional_role} "):
            advice = f'correct it, leave the column out with {optional_role}=""'
    if first.reason.startswith("the time is neither"):
        advice = 'write it as in 2023-02-10 15:41:33, leave the column out with time=""'
    if first.reason.startswith(NOT_UTF8):
        advice = f"convert the file, e.g. iconv -f latin1 -t utf-8 {name} > converted-{Path(name).name}"
    return DataError(
        f"{name}, {row_unit} {first.line}: {first.reason}: {text!r}{remaining_note}; {advice}, or set such rows aside "
        'with on_error="quarantine" (on the command line --on-error quarantine)'
    )


def quarantine_path(source: Path | None, requested: str | Path | None) -> Path:
    """Return the path of the file to which rejected rows are written.

    Parameters
    ----------
    source : Path or None
        Path of the source; None for frames and databases.
    requested : str, Path or None
        Path from the caller; None means `<source>.rejected.csv` in the folder of the source.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ParameterError
        If a path is required but not given, or if the path is the source itself.
    """
    if requested is None and source is None:
        raise ParameterError('this source requires a file for rejected rows, such as quarantine="rejected.csv"')
    if requested is None:
        assert source is not None
        return source.with_name(source.name + ".rejected.csv")
    path = Path(os.path.expanduser(requested))  # noqa: PTH111 - Path raises RuntimeError for an unknown user
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise ParameterError(f"rejected rows cannot be written to {path}: it is the source itself")
    return path


def write_rejected_rows(path: Path, rejected_rows: Sequence[RejectedRow]) -> None:
    """Write the line, reason and text of each rejected row to a CSV file.

    The file is written atomically.

    Parameters
    ----------
    path : Path
        Path of the file; an existing file is replaced.
    rejected_rows : sequence of RejectedRow
        The rows; if there are none, the file has only a header.

    Raises
    ------
    DataError
        If the file cannot be written.
    """

    def write(temporary_path: Path) -> None:
        with temporary_path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["line", "reason", "text"])
            writer.writerows((row.line, row.reason, row.text) for row in rejected_rows)

    try:
        write_atomically(path, write)
    except OSError as error:
        raise DataError(f"the rejected rows cannot be written to {path}: {error.strerror}") from error
