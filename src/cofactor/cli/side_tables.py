"""Files in and out: tables of titles and of pairs, and results as CSV or Parquet by their ending."""

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
    """Whether a file can be written there, asked before the work: none of `inputs`, the files that are read.

    `endings` () takes any. Raises ParameterError.
    """
    if path is None:
        return
    target = Path(path)
    if endings and target.suffix.lower() not in endings:
        raise ParameterError(
            f"{path} must end in {', '.join(endings[:-1])} or {endings[-1]}, which says how to write it"
        )
    if target.is_dir():
        raise ParameterError(f"{path} is a folder; name a file in it")
    for given in inputs:
        if given is not None and target.exists() and Path(given).exists() and target.samefile(given):
            raise ParameterError(f"{path} is read by this command and would be overwritten: name another file")
    if target.exists() and not target.is_file():  # a device or a pipe would be replaced by a file
        raise ParameterError(f"{path} is not an ordinary file, and only such can be written whole")
    if not target.absolute().parent.is_dir():
        raise ParameterError(f"the folder {target.parent} does not exist; make it first")


def check_model_output(path: str | None, *, inputs: Sequence[str | None] = ()) -> None:
    """As `check_output`, for a model: another file is not overwritten. Raises ParameterError, ArtifactError."""
    from cofactor.recommender.artifact import check_overwrite

    check_output(path, endings=(), inputs=inputs)
    if path is not None:
        check_overwrite(path)


def write_frame(frame: pl.DataFrame, path: str) -> None:
    """Write the whole frame or nothing, in the format that the ending names. Raises DataError."""
    from polars.exceptions import PolarsError

    from cofactor.files import write_whole

    def write(temporary: Path) -> None:
        ending = Path(path).suffix.lower()
        try:
            with temporary.open("wb") as file:  # polars itself takes no path that is not UTF-8
                if ending == ".parquet":
                    frame.write_parquet(file)
                else:
                    frame.write_csv(file, separator="\t" if ending == ".tsv" else ",")
        except PolarsError as problem:  # also polars' OSError, which has no errno
            raise _as_os_error(problem) from problem
        except OSError as problem:
            raise (problem if problem.errno else _as_os_error(problem)) from problem

    try:
        write_whole(path, write)
    except OSError as problem:
        raise DataError(f"{path} cannot be written: {problem.strerror or problem}") from problem


def _as_os_error(problem: Exception) -> OSError:
    """The failure of the system in an error of polars, whose text has its number."""
    number = re.search(r"\(os error (\d+)\)", str(problem))
    code = errno.EIO if number is None else int(number[1])
    return OSError(code, os.strerror(code))


def with_titles(table: Interactions, path: str, id_column: str | None, on_error: OnError = "raise") -> Interactions:
    """The table with what a file of items says about them, joined by id. Raises DataError."""
    items, key = _described(table.items, path, "item", id_column, on_error)
    others = [name for name in items.columns if name != key]
    if "title" not in others and (called := next((name for name in others if name.lower() in TITLES), None)):
        items = items.rename({called: "title"})
    return _said(path, lambda: table.with_item_table(items, id_column=key))


def with_people(table: Interactions, path: str, id_column: str | None, on_error: OnError = "raise") -> Interactions:
    """The table with what a file of users says about them, joined by id. Raises DataError."""
    people, key = _described(table.users, path, "user", id_column, on_error)
    return _said(path, lambda: table.with_user_table(people, id_column=key))


def _described(
    known: IdMap, path: str, role: str, id_column: str | None, on_error: OnError
) -> tuple[pl.DataFrame, str]:  # fmt: skip
    """The good rows of a file and the name of the column of their ids. Raises DataError."""
    from cofactor.cli.terminal import note
    from cofactor.data.readers.side_tables import read_side_file

    frame, key, report = read_side_file(path, known, role, id_column=id_column, on_error=on_error)
    for text in report.notes:
        note(text)
    if report.refusals:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.refused.items())
        note(f"{len(report.refusals):,} of {report.rows:,} rows of {path} refused: {reasons}")
    return frame, key


def _said(path: str, join: Callable[[], Interactions]) -> Interactions:
    """A join whose result is told; the logger tells where a part matched. Errors name the file."""
    from cofactor.cli.terminal import note

    try:
        joined = join()
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from problem
    if joined.report is not None and "without a row" not in joined.report.notes[-1]:
        note(joined.report.notes[-1])
    return joined


def read_pairs(
    path: str, *, user: str | None, item: str | None, time: str | None = None
) -> tuple[pl.Series, pl.Series, Int64 | None]:
    """The user and item columns of a file, in its order and with its ids, and the times in the column named.

    Raises DataError.
    """
    from cofactor.data.readers.columns import choose_columns
    from cofactor.data.readers.read import read_table

    pairs = read_table(path)
    names = {"user": user, "item": item}
    places = choose_columns(pairs.columns, names, needed=["user", "item"], source=path)
    if len(pairs) == 0:
        raise DataError(f"{path} has no pairs: there is nothing to predict")
    users, items = (_checked(path, role, pairs[pairs.columns[places[role]]]) for role in ("user", "item"))
    return users, items, None if time is None else _times(path, pairs, time)


def _times(path: str, pairs: pl.DataFrame, column: str) -> Int64:
    """Whole seconds since 1970 of every pair: (n,) int64. DataError names the first pair without one."""
    import numpy as np
    import polars as pl

    from cofactor.data.readers.times import time_cells

    if column not in pairs.columns:
        raise DataError(f"{path}: there is no column {column!r}; the columns are {', '.join(pairs.columns)}")
    cells = time_cells(pairs[column].alias("time"))
    if cells.bad.any():
        at = int(cells.bad.arg_true()[0])
        raise DataError(f"{path}: pair {at + 1}: {cells.why(at)}: {pairs[column][at]!r}")
    assert isinstance(cells.values, pl.Series)
    return cells.values.to_numpy().astype(np.int64)


def _checked(path: str, role: str, ids: pl.Series) -> pl.Series:
    """Ids as integers or strings; DataError names the first pair without one."""
    import polars as pl

    if ids.dtype.is_float() and bool((ids.is_null() | ids.is_nan() | (ids == ids.round())).all()):
        ids = ids.fill_nan(None).cast(pl.Int64)
    if not (ids.dtype.is_integer() or ids.dtype == pl.String):
        raise DataError(f"{path}: the {role} column holds {ids.dtype}; ids are integers or strings")
    missing = ids.is_null() if ids.dtype != pl.String else ids.is_null() | (ids.str.strip_chars() == "")
    if missing.any():
        at = int(missing.arg_true()[0])
        more = f" (and {missing.sum() - 1:,} more)" if missing.sum() > 1 else ""
        raise DataError(f"{path}: pair {at + 1} has no {role}{more}; every pair needs a user and an item")
    return ids
