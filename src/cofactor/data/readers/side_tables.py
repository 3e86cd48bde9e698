"""Files of items and users: bad rows are rejected with their line, or set aside in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cofactor.data.ids import CodedIds, IdMap
from cofactor.data.load_report import LoadReport, Refusal
from cofactor.data.readers.casting import id_cells
from cofactor.data.readers.loading import source_path
from cofactor.data.readers.read import WholeFile, whole_file
from cofactor.data.readers.rejects import OnError, first_refusal, quarantine_path, write_refused
from cofactor.data.side_table import SideTable
from cofactor.errors import DataError

__all__ = ["read_side_file"]


def read_side_file(
    path: str | Path, ids: IdMap, what: str, *, id_column: str | None = None, on_error: OnError = "raise"
) -> tuple[pl.DataFrame, str, LoadReport]:
    """The good rows of a file of items or users.

    Parameters
    ----------
    path : str or Path
        A file as `read_table` takes it.
    ids : IdMap
        The ids that the table is for; of several columns that may hold ids, they decide.
    what : {"item", "user"}
        What the ids are of.
    id_column : str or None, default=None
        The column of the ids; None finds it as `side_table.join` does.
    on_error : {"raise", "quarantine"}, default="raise"
        What to do with a row that cannot be read, has no id, or has an id that an earlier row has: raise, or write such
        rows to `<path>.refused.csv` and go on without them.

    Returns
    -------
    frame : DataFrame
        The good rows, all columns.
    id_column : str
        The column of the ids.
    report : LoadReport
        How many rows there were, and which were refused.

    Raises
    ------
    DataError
        For what cannot be read, a column that is not there, a bad row with on_error="raise", and where no row is good.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "films.csv")
    ...     _ = path.write_text("movieId,title\\n7,Alien\\n9,Clue,1985\\n,Jaws\\n")
    ...     frame, column, report = read_side_file(path, IdMap.of([7, 9]), "item", on_error="quarantine")
    >>> frame["title"].to_list(), column, report.refused
    (['Alien'], 'movieId', {'3 fields instead of 2': 1, 'the item is missing': 1})
    """
    source = source_path(path)
    assert source is not None
    whole = whole_file(source, None, most=1 if on_error == "raise" else None)
    side = SideTable.of(whole.frame, what)
    key = id_column or side.id_column(ids)
    if key not in whole.frame.columns:
        raise DataError(f"{path}: there is no column {key!r}; the columns are {', '.join(whole.frame.columns)}")
    bad, refusals = _bad_ids(whole, key, ids, what)
    refusals = sorted([*whole.refused.kept, *refusals], key=lambda refusal: refusal.line)
    count = whole.refused.count + int(bad.sum())
    report = LoadReport(whole.name, len(whole.lines) + whole.refused.count, refusals=tuple(refusals))
    if not count:
        return whole.frame, key, report
    if on_error == "raise":
        raise first_refusal(whole.name, whole.counts, refusals[0], count)
    refused_to = quarantine_path(source, None)
    write_refused(refused_to, refusals)
    if count == report.rows:
        raise DataError(f"{path}: all {count:,} rows were refused; they are in {refused_to}")
    report = report.with_note(f"{count:,} refused rows of {path} were written to {refused_to}")
    return whole.frame.filter(~bad), key, report


def _bad_ids(whole: WholeFile, key: str, ids: IdMap, what: str) -> tuple[pl.Series, list[Refusal]]:
    """Which rows have no id, or one that an earlier row has: (n,) Boolean, and why."""
    try:
        cells = id_cells(whole.frame[key].alias(what))
    except DataError as problem:
        raise DataError(f"{whole.name}: {problem}") from problem
    values = cells.values.each(cells.values.distinct) if isinstance(cells.values, CodedIds) else cells.values
    good = (~cells.bad).arg_true().to_numpy()
    known = ids.rows(values.gather(good))
    good, known = good[known >= 0], known[known >= 0]
    first = np.unique(known, return_index=True)[1]
    earlier = dict(zip(known[first].tolist(), good[first].tolist(), strict=True))
    reasons = {int(row): cells.why(int(row)) for row in cells.bad.arg_true()}
    again = np.delete(np.arange(len(known)), first)
    for at in again.tolist():
        line = whole.lines[earlier[int(known[at])]]
        reasons[int(good[at])] = f"the {what} {values[int(good[at])]!r} is in {whole.counts} {line} already"
    bad = np.zeros(len(values), bool)
    bad[list(reasons)] = True
    texts = whole.texts([int(whole.lines[row]) for row in reasons]) if reasons else {}
    refusals = [
        Refusal(int(whole.lines[row]), reason, texts.get(int(whole.lines[row]), "")) for row, reason in reasons.items()
    ]
    return pl.Series(bad), refusals
