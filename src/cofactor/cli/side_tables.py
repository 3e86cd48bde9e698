"""Side tables and output files: item and user tables, files of pairs, and results as CSV, TSV or Parquet."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cofactor.errors import DataError, ParameterError

if TYPE_CHECKING:
    import polars as pl

    from cofactor.arrays import Int64
    from cofactor.data.ids import IdMap
    from cofactor.data.interactions import Interactions
    from cofactor.data.readers.rejects import OnError

__all__ = ["ENDINGS", "check_model_output", "check_output", "read_pairs", "with_people", "with_titles", "write_frame"]

ENDINGS = (".csv", ".tsv", ".parquet")
TITLES = ("title", "name", "movie_title", "item_name", "product_name")


def check_output(
    path: str | None, endings: tuple[str, ...] = ENDINGS, *, inputs: Sequence[str | None] = ()
) -> None:  # fmt: skip
    """Check before the work that an output file can be written.

    Parameters
    ----------
    path : str or None
        Output path; None is accepted.
    endings : tuple of str, default ('.csv', '.tsv', '.parquet')
        Allowed file extensions; () allows any.
    inputs : sequence of str or None, default ()
        Files that the command reads, which must not be overwritten.

    Raises
    ------
    ParameterError
        If the path cannot be written or is an input.
    """
    if path is None:
        return
    target = Path(path)
    if endings and target.suffix.lower() not in endings:
        raise ParameterError(f"{path} must end in {', '.join(endings[:-1])} or {endings[-1]}, which selects the format")
    if target.is_dir():
        raise ParameterError(f"{path} is a folder; name a file in it")
    for source in inputs:
        if source is not None and target.exists() and Path(source).exists() and target.samefile(source):
            raise ParameterError(f"{path} is an input of this command and would be overwritten: name another file")
    if target.exists() and not target.is_file():  # a device or a pipe would be replaced by a file
        raise ParameterError(f"{path} is not a regular file; name a new or a regular file")
    if not target.absolute().parent.is_dir():
        raise ParameterError(f"the folder {target.parent} does not exist; create it first")


def check_model_output(path: str | None, *, inputs: Sequence[str | None] = ()) -> None:
    """Check before the work that a model can be saved; only model files are overwritten.

    Parameters
    ----------
    path : str or None
        Output path; None is accepted.
    inputs : sequence of str or None, default ()
        Files that the command reads, which must not be overwritten.

    Raises
    ------
    ParameterError
        If the path cannot be written or is an input.
    ArtifactError
        If the path is a file that is not a model.
    """
    from cofactor.recommender.artifact import check_overwrite

    check_output(path, endings=(), inputs=inputs)
    if path is not None:
        check_overwrite(path)


def write_frame(frame: pl.DataFrame, path: str) -> None:
    """Write a frame atomically, in the format of the file extension.

    Parameters
    ----------
    frame : polars.DataFrame
        The frame.
    path : str
        Path that ends in .csv, .tsv or .parquet.

    Raises
    ------
    DataError
        If the file cannot be written; it is unchanged then.
    """
    from polars.exceptions import PolarsError

    from cofactor.files import write_atomically

    def write(temporary: Path) -> None:
        ending = Path(path).suffix.lower()
        try:
            with temporary.open("wb") as file:  # polars rejects paths that are not UTF-8
                if ending == ".parquet":
                    frame.write_parquet(file)
                else:
                    frame.write_csv(file, separator="\t" if ending == ".tsv" else ",")
        except PolarsError as error:
            raise _as_os_error(error) from error
        except OSError as error:  # an OSError of polars has no errno
            raise (error if error.errno else _as_os_error(error)) from error

    try:
        write_atomically(path, write)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


def _as_os_error(error: Exception) -> OSError:
    """Return the system error behind an error of polars, whose text contains the error number."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    code = errno.EIO if number is None else int(number[1])
    return OSError(code, os.strerror(code))


def with_titles(table: Interactions, path: str, id_column: str | None, on_error: OnError = "raise") -> Interactions:
    """Join an item table from a file by item ID.

    Parameters
    ----------
    table : Interactions
        The table.
    path : str
        File with one row per item.
    id_column : str or None
        Column of the item IDs; None guesses it.
    on_error : {'raise', 'quarantine'}, default "raise"
        What to do with bad rows.

    Returns
    -------
    Interactions
        The table with an item table; a column such as "name" is renamed to "title".

    Raises
    ------
    DataError
        If the file cannot be read or joined.
    """
    items, key = _read_side_table(table.items, path, "item", id_column, on_error)
    others = [name for name in items.columns if name != key]
    if "title" not in others and (title := next((name for name in others if name.lower() in TITLES), None)):
        items = items.rename({title: "title"})
    return _joined(path, lambda: table.with_item_table(items, id_column=key))


def with_people(table: Interactions, path: str, id_column: str | None, on_error: OnError = "raise") -> Interactions:
    """Join a user table from a file by user ID.

    Parameters
    ----------
    table : Interactions
        The table.
    path : str
        File with one row per user.
    id_column : str or None
        Column of the user IDs; None guesses it.
    on_error : {'raise', 'quarantine'}, default "raise"
        What to do with bad rows.

    Returns
    -------
    Interactions
        The table with a user table.

    Raises
    ------
    DataError
        If the file cannot be read or joined.
    """
    users, key = _read_side_table(table.users, path, "user", id_column, on_error)
    return _joined(path, lambda: table.with_user_table(users, id_column=key))


def _read_side_table(
    ids: IdMap, path: str, role: str, id_column: str | None, on_error: OnError
) -> tuple[pl.DataFrame, str]:  # fmt: skip
    """Return the good rows of a file and the name of its ID column, and print notes. Raises DataError."""
    from cofactor.cli.terminal import note
    from cofactor.data.readers.side_tables import read_side_file

    frame, key, report = read_side_file(path, ids, role, id_column=id_column, on_error=on_error)
    for text in report.notes:
        note(text)
    if report.rejected_rows:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.rejection_counts.items())
        note(f"{len(report.rejected_rows):,} of {report.rows:,} rows of {path} rejected: {reasons}")
    return frame, key


def _joined(path: str, join: Callable[[], Interactions]) -> Interactions:
    """Join a table and print how many rows matched; errors name the file. A partial match is logged by the join."""
    from cofactor.cli.terminal import note

    try:
        joined = join()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if joined.report is not None and "without a row" not in joined.report.notes[-1]:
        note(joined.report.notes[-1])
    return joined


def read_pairs(
    path: str, *, user: str | None, item: str | None, time: str | None = None
) -> tuple[pl.Series, pl.Series, Int64 | None]:
    """Read pairs of users and items from a file, in the order of the file.

    Parameters
    ----------
    path : str
        The file.
    user, item : str or None
        Columns of the IDs; None guesses them.
    time : str or None, default None
        Column of the times; None reads no times.

    Returns
    -------
    users, items : polars.Series
        IDs as integers or strings.
    times : ndarray of shape (n_pairs,), int64, or None
        Whole seconds since 1970.

    Raises
    ------
    DataError
        If the file has no pairs or an ID or a time is missing or invalid.
    """
    from cofactor.data.readers.columns import choose_columns
    from cofactor.data.readers.read import read_table

    pairs = read_table(path)
    names = {"user": user, "item": item}
    positions = choose_columns(pairs.columns, names, required=["user", "item"], source=path)
    if len(pairs) == 0:
        raise DataError(f"{path} has no pairs: there is nothing to predict")
    users, items = (_ids(path, role, pairs[pairs.columns[positions[role]]]) for role in ("user", "item"))
    return users, items, None if time is None else _times(path, pairs, time)


def _times(path: str, pairs: pl.DataFrame, column: str) -> Int64:
    """Return the times in whole seconds since 1970, (n,) int64. Raises DataError at the first invalid time."""
    import numpy as np
    import polars as pl

    from cofactor.data.readers.times import time_cells

    if column not in pairs.columns:
        raise DataError(f"{path} has no column {column!r}; the columns are {', '.join(pairs.columns)}")
    cells = time_cells(pairs[column].alias("time"))
    if cells.bad.any():
        row = int(cells.bad.arg_true()[0])
        raise DataError(f"{path}: pair {row + 1}: {cells.reason(row)}: {pairs[column][row]!r}")
    assert isinstance(cells.values, pl.Series)
    return cells.values.to_numpy().astype(np.int64)


def _ids(path: str, role: str, column: pl.Series) -> pl.Series:
    """Return the IDs as integers or strings. Raises DataError at the first invalid ID."""
    from cofactor.data.readers.casting import id_cells

    try:
        cells = id_cells(column.alias(role))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if cells.bad.any():
        row, more = int(cells.bad.arg_true()[0]), int(cells.bad.sum()) - 1
        raise DataError(f"{path}: pair {row + 1}: {cells.reason(row)}" + (f" (and {more:,} more)" if more else ""))
    return cells.column
