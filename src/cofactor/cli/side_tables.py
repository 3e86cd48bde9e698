"""Files used by the commands: read item tables, user tables and user-item pairs, and write results."""

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

__all__ = [
    "SUFFIXES",
    "check_model_output",
    "check_output",
    "join_item_table",
    "join_user_table",
    "read_pairs",
    "write_frame",
]

SUFFIXES = (".csv", ".tsv", ".parquet")
TITLES = ("title", "name", "movie_title", "item_name", "product_name")


def check_output(
    path: str | None, suffixes: tuple[str, ...] = SUFFIXES, *, inputs: Sequence[str | None] = ()
) -> None:  # fmt: skip
    """Check up front that an output file can be written.

    Parameters
    ----------
    path : str or None
        Output path; None skips the check.
    suffixes : tuple of str, default ('.csv', '.tsv', '.parquet')
        Allowed file suffixes; an empty tuple allows any.
    inputs : sequence of str or None, default ()
        Input files of the command, which must not be overwritten.

    Raises
    ------
    ParameterError
        If the path cannot be written or is an input file.
    """
    if path is None:
        return
    target = Path(path)
    if suffixes and target.suffix.lower() not in suffixes:
        raise ParameterError(
            f"{path} must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}; the suffix selects the format"
        )
    if target.is_dir():
        raise ParameterError(f"{path} is a folder; pass the path of a file in it")
    for source in inputs:
        if source is not None and target.exists() and Path(source).exists() and target.samefile(source):
            raise ParameterError(f"{path} is an input of this command and would be overwritten; choose another file")
    if target.exists() and not target.is_file():  # a device or a pipe would be replaced by a file
        raise ParameterError(f"{path} is not a regular file; choose a regular file or a new path")
    if not target.absolute().parent.is_dir():
        raise ParameterError(f"the folder {target.parent} does not exist; create it first")


def check_model_output(path: str | None, *, inputs: Sequence[str | None] = ()) -> None:
    """Check up front that a model can be saved; only existing model files may be overwritten.

    Parameters
    ----------
    path : str or None
        Output path; None skips the check.
    inputs : sequence of str or None, default ()
        Input files of the command, which must not be overwritten.

    Raises
    ------
    ParameterError
        If the path cannot be written or is an input file.
    ArtifactError
        If the path is an existing file that is not a model.
    """
    from cofactor.data.artifact import check_overwrite

    check_output(path, suffixes=(), inputs=inputs)
    if path is not None:
        check_overwrite(path)


def write_frame(frame: pl.DataFrame, path: str) -> None:
    """Write a frame to a file atomically, in the format given by the file suffix.

    Parameters
    ----------
    frame : polars.DataFrame
        Frame to write.
    path : str
        Path that ends in .csv, .tsv or .parquet.

    Raises
    ------
    DataError
        If the file cannot be written; an existing file is then unchanged.
    """
    from polars.exceptions import PolarsError

    from cofactor.files import write_atomically

    def write(temporary_path: Path) -> None:
        suffix = Path(path).suffix.lower()
        try:
            with temporary_path.open("wb") as file:  # polars rejects paths that are not UTF-8
                if suffix == ".parquet":
                    frame.write_parquet(file)
                else:
                    frame.write_csv(file, separator="\t" if suffix == ".tsv" else ",")
        except PolarsError as error:
            raise _as_os_error(error) from error
        except OSError as error:  # an OSError of polars has no errno
            raise (error if error.errno else _as_os_error(error)) from error

    try:
        write_atomically(path, write)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


def _as_os_error(error: Exception) -> OSError:
    """Convert a polars error to a system error, based on the error number in its message."""
    os_error = re.search(r"\(os error (\d+)\)", str(error))
    code = errno.EIO if os_error is None else int(os_error[1])
    return OSError(code, os.strerror(code))


def join_item_table(table: Interactions, path: str, id_column: str | None, on_error: OnError = "raise") -> Interactions:
    """Read an item table from a file and join it by item ID.

    Parameters
    ----------
    table : Interactions
        Table of ratings or events.
    path : str
        File with one row per item.
    id_column : str or None
        Column with the item IDs; None infers it.
    on_error : {'raise', 'quarantine'}, default "raise"
        How to handle invalid rows.

    Returns
    -------
    Interactions
        Table with the item table, in which a column such as "name" is renamed to "title".

    Raises
    ------
    DataError
        If the file cannot be read or joined.
    """
    items, key = _read_side_table(table.items, path, "item", id_column, on_error)
    other_columns = [name for name in items.columns if name != key]
    if "title" not in other_columns and (
        title := next((name for name in other_columns if name.lower() in TITLES), None)
    ):
        items = items.rename({title: "title"})
    return _join_side_table(path, lambda: table.with_item_table(items, id_column=key))


def join_user_table(table: Interactions, path: str, id_column: str | None, on_error: OnError = "raise") -> Interactions:
    """Read a user table from a file and join it by user ID.

    Parameters
    ----------
    table : Interactions
        Table of ratings or events.
    path : str
        File with one row per user.
    id_column : str or None
        Column with the user IDs; None infers it.
    on_error : {'raise', 'quarantine'}, default "raise"
        How to handle invalid rows.

    Returns
    -------
    Interactions
        Table with the user table.

    Raises
    ------
    DataError
        If the file cannot be read or joined.
    """
    users, key = _read_side_table(table.users, path, "user", id_column, on_error)
    return _join_side_table(path, lambda: table.with_user_table(users, id_column=key))


def _read_side_table(
    ids: IdMap, path: str, role: str, id_column: str | None, on_error: OnError
) -> tuple[pl.DataFrame, str]:  # fmt: skip
    """Return the valid rows of a file and the name of its ID column; print notes, or raise DataError."""
    from cofactor.cli.terminal import note
    from cofactor.data.readers.side_tables import read_side_file

    frame, key, report = read_side_file(path, ids, role, id_column=id_column, on_error=on_error)
    for text in report.notes:
        note(text)
    if report.rejected_rows:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.rejection_counts.items())
        note(f"{len(report.rejected_rows):,} of {report.rows:,} rows of {path} rejected: {reasons}")
    return frame, key


def _join_side_table(path: str, join: Callable[[], Interactions]) -> Interactions:
    """Join a side table, print the number of matched rows, and add the file name to errors."""
    from cofactor.cli.terminal import note

    try:
        result = join()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if result.report is not None and "; no row for " not in result.report.notes[-1]:
        note(result.report.notes[-1])
    return result


def read_pairs(
    path: str, *, user: str | None, item: str | None, time: str | None = None
) -> tuple[pl.Series, pl.Series, Int64 | None]:
    """Read user-item pairs from a file, in file order.

    Parameters
    ----------
    path : str
        Path of the file.
    user, item : str or None
        Columns with the IDs; None infers them.
    time : str or None, default None
        Column with the times; None reads no times.

    Returns
    -------
    users, items : polars.Series
        IDs as integers or strings.
    times : ndarray of shape (n_pairs,), int64, or None
        Whole seconds since the Unix epoch.

    Raises
    ------
    DataError
        If the file has no pairs, or if an ID or a time is missing or invalid.
    """
    from cofactor.data.readers.columns import choose_columns
    from cofactor.data.readers.read import read_table

    pairs = read_table(path)
    names = {"user": user, "item": item}
    positions = choose_columns(pairs.columns, names, required=["user", "item"], source=path)
    if len(pairs) == 0:
        raise DataError(f"{path} contains no user-item pairs, so there is nothing to predict")
    users, items = (_parse_ids(path, role, pairs[pairs.columns[positions[role]]]) for role in ("user", "item"))
    return users, items, None if time is None else _parse_times(path, pairs, time)


def _parse_times(path: str, pairs: pl.DataFrame, column: str) -> Int64:
    """Convert times to integer seconds since the Unix epoch; raise DataError for the first invalid time."""
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


def _parse_ids(path: str, role: str, column: pl.Series) -> pl.Series:
    """Convert IDs to integers or strings; raise DataError for the first invalid ID."""
    from cofactor.data.readers.casting import id_cells

    try:
        cells = id_cells(column.alias(role))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if cells.bad.any():
        row, n_remaining = int(cells.bad.arg_true()[0]), int(cells.bad.sum()) - 1
        raise DataError(
            f"{path}: pair {row + 1}: {cells.reason(row)}" + (f" (and {n_remaining:,} more)" if n_remaining else "")
        )
    return cells.column
