"""Reader for item and user files that rejects or quarantines invalid rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cofactor.data.ids import IdMap
from cofactor.data.load_report import LoadReport, RejectedRow
from cofactor.data.readers.casting import id_cells
from cofactor.data.readers.loading import source_path
from cofactor.data.readers.read import WholeFile, read_whole_file
from cofactor.data.readers.rejects import OnError, quarantine_path, rejection_error, write_rejected_rows
from cofactor.data.side_table import SideTable
from cofactor.errors import DataError

__all__ = ["read_side_file"]


def read_side_file(
    path: str | Path, ids: IdMap, entity: str, *, id_column: str | None = None, on_error: OnError = "raise"
) -> tuple[pl.DataFrame, str, LoadReport]:
    """Read the valid rows of an item or user file.

    Parameters
    ----------
    path : str or Path
        File in a format that `read_table` supports.
    ids : IdMap
        IDs that the table describes; used to choose between several candidate ID columns.
    entity : {"item", "user"}
        What the rows describe.
    id_column : str or None, default None
        Name of the ID column; None selects it as `side_table.join` does.
    on_error : {"raise", "quarantine"}, default "raise"
        What to do with rows that cannot be read, have no ID, or repeat the ID of an earlier row: "raise" raises an
        error; "quarantine" writes them to `<path>.rejected.csv` and continues without them.

    Returns
    -------
    frame : DataFrame
        The valid rows, with all columns.
    id_column : str
        Name of the ID column.
    report : LoadReport
        The load report, with the number of rows and the rejected rows.

    Raises
    ------
    DataError
        If the file cannot be read, the column is missing, a row is bad with on_error="raise", or no row is valid.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "films.csv")
    ...     _ = path.write_text("movieId,title\\n7,Alien\\n9,Clue,1985\\n,Jaws\\n")
    ...     frame, column, report = read_side_file(path, IdMap.of([7, 9]), "item", on_error="quarantine")
    >>> frame["title"].to_list(), column, report.rejection_counts
    (['Alien'], 'movieId', {'3 fields instead of 2': 1, 'the item is missing': 1})
    """
    source = source_path(path)
    assert source is not None
    file = read_whole_file(source, None, max_rejected=1 if on_error == "raise" else None)
    side_table = SideTable.of(file.frame, entity)
    id_name = id_column or side_table.id_column(ids)
    if id_name not in file.frame.columns:
        raise DataError(f"{path}: there is no column {id_name!r}; the columns are {', '.join(file.frame.columns)}")
    bad, rejected_rows = _bad_ids(file, id_name, ids, entity)
    rejected_rows = sorted([*file.rejected.stored, *rejected_rows], key=lambda row: row.line)
    n_rejected = file.rejected.count + int(bad.sum())
    report = LoadReport(file.name, len(file.lines) + file.rejected.count, rejected_rows=tuple(rejected_rows))
    if not n_rejected:
        return file.frame, id_name, report
    if on_error == "raise":
        raise rejection_error(file.name, file.row_unit, rejected_rows[0], n_rejected)
    rejects_path = quarantine_path(source, None)
    write_rejected_rows(rejects_path, rejected_rows)
    if n_rejected == report.rows:
        raise DataError(f"{path}: all {n_rejected:,} rows were rejected; they are in {rejects_path}")
    report = report.with_note(f"{n_rejected:,} rejected rows of {path} were written to {rejects_path}")
    return file.frame.filter(~bad), id_name, report


def _bad_ids(file: WholeFile, id_name: str, ids: IdMap, entity: str) -> tuple[pl.Series, list[RejectedRow]]:
    """Return a mask of the rows whose ID is invalid or repeats an earlier one, and these rows with their reasons."""
    try:
        cells = id_cells(file.frame[id_name].alias(entity))
    except DataError as problem:
        raise DataError(f"{file.name}: {problem}") from problem
    values = cells.column
    valid = (~cells.bad).arg_true().to_numpy()
    map_rows = ids.rows(values.gather(valid))
    valid, map_rows = valid[map_rows >= 0], map_rows[map_rows >= 0]
    first = np.unique(map_rows, return_index=True)[1]
    first_rows = dict(zip(map_rows[first].tolist(), valid[first].tolist(), strict=True))
    reasons = {int(row): cells.reason(int(row)) for row in cells.bad.arg_true()}
    duplicate_positions = np.delete(np.arange(len(map_rows)), first)
    for k in duplicate_positions.tolist():
        line = file.lines[first_rows[int(map_rows[k])]]
        reasons[int(valid[k])] = f"the {entity} {values[int(valid[k])]!r} is already in {file.row_unit} {line}"
    bad = np.zeros(len(values), bool)
    bad[list(reasons)] = True
    row_texts = file.row_texts([int(file.lines[row]) for row in reasons]) if reasons else {}
    rejected_rows = [
        RejectedRow(int(file.lines[row]), reason, row_texts.get(int(file.lines[row]), ""))
        for row, reason in reasons.items()
    ]
    return pl.Series(bad), rejected_rows
