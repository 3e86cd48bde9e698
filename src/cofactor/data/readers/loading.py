"""Loading: open a source, choose its columns, validate its rows, and build the interaction table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.data.id_columns import CodedIds
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.load_report import LoadReport, RejectedRow
from cofactor.data.readers.columns import Role, choose_columns, roles_by_position
from cofactor.data.readers.files import TextFile, open_text, read_errors, require_file
from cofactor.data.readers.frame_table import FrameTable, open_frame
from cofactor.data.readers.importing import TableImport
from cofactor.data.readers.json_table import JsonTable, open_json_table
from cofactor.data.readers.parquet import open_parquet
from cofactor.data.readers.rejects import OnError, quarantine_path, rejection_error, write_rejected_rows
from cofactor.data.readers.sql import is_url, open_query
from cofactor.data.readers.tables import Rows, Table
from cofactor.data.readers.text_table import TextTable, open_text_table
from cofactor.data.readers.validation import Ids, ValidRows, validate_rows
from cofactor.data.scale import Scale
from cofactor.data.table_file import is_table_file
from cofactor.errors import DataError, KindError, ParameterError
from cofactor.fork import require_threads

__all__ = ["Format", "Request", "load_event_types", "load_interactions", "open_file", "source_path"]

Column: TypeAlias = pl.Series | CodedIds

Format: TypeAlias = Literal["csv", "tsv", "::", "parquet", "jsonl"]


_FORMAT_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def open_file(
    path: Path,
    format: Format | None,  # noqa: A002
    find_roles: Callable[[list[str]], list[Role] | None],
) -> TextTable | JsonTable | FrameTable:
    """Open a table file in the given format, or in the format detected from its content and name.

    Parameters
    ----------
    path : Path
        Path of the file.
    format : {"csv", "tsv", "::", "parquet", "jsonl"} or None
        The format; None detects it from the content and the file name.
    find_roles : callable
        Function that maps the fields in the first row of a text file to their roles, or to None if the row is a header.

    Returns
    -------
    TextTable, JsonTable or FrameTable
        The table.

    Raises
    ------
    DataError
        If the file does not exist or is in none of these formats.
    ParameterError
        If `format` is unknown.
    """
    if format is not None:
        checks.choice("format", format, get_args(Format))
    if format == "parquet" or (_is_parquet(require_file(path)) and format is None):
        return open_parquet(require_file(path))
    text = open_text(path)
    text_format, separator = _text_format(text, format)
    return open_json_table(text) if text_format == "jsonl" else open_text_table(text, separator, find_roles)


def _is_parquet(path: Path) -> bool:
    """Return whether a file starts with the Parquet magic bytes; raise DataError for a zip archive."""
    with read_errors(str(path)), path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PK\x03\x04":
        raise DataError(f"{path} is a zip archive or a spreadsheet; unpack it, or save the table as CSV")
    return magic == b"PAR1"


def _text_format(text: TextFile, format_: Format | None) -> tuple[Format, str]:
    """Return the format of a text file and its separator (empty for JSON Lines)."""
    path = text.path.with_suffix("") if text.path.suffix.lower() in (".gz", ".zst") else text.path
    declared_format = format_ or _FORMAT_BY_SUFFIX.get(path.suffix.lower())
    line = text.head().lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    if declared_format == "jsonl" or (declared_format is None and line.startswith(("{", "["))):
        if line.startswith("["):
            raise DataError(f"{text.path} is a JSON array; write one object per line instead (JSON Lines)")
        return "jsonl", ""
    if path.suffix.lower() == ".parquet" and format_ is None:
        raise DataError(f"{text.path} is not a Parquet file: it does not start with PAR1")
    if declared_format == "::" or (declared_format is None and "::" in line):
        return "::", "::"
    if format_ == "tsv":
        return "tsv", "\t"
    default = "\t" if declared_format == "tsv" else ","
    separator = max((default, "\t", ",", ";", "|"), key=line.count)
    return ("tsv" if separator == "\t" else "csv"), separator


_RATING_NAMES = ("rat", "score", "star", "overall")  # columns with these words in their name hold ratings
_COUNT_NAMES = ("count", "play", "listen", "quantity")  # and columns with these words hold counts


@dataclass(frozen=True)
class Request:
    """Arguments of `read_ratings` or `read_events`.

    Attributes
    ----------
    kind : {"ratings", "events"}
        Kind of the table.
    names : mapping of str to str or None
        Column names by role; None selects columns with common names.
    format : str or None
        Format of a file; None detects it.
    query : str or None
        SQL query for a database.
    scale : Scale or None
        Declared rating scale.
    on_error : {"raise", "quarantine"}
        What to do with bad rows.
    quarantine : str, Path or None
        File for rejected rows.
    ids : {"auto", "text"}, default "auto"
        How to read IDs.
    into : str, Path or None, default None
        Table file to write.

    Raises
    ------
    ParameterError
        If `ids`, `on_error` or `quarantine` is invalid.
    """

    kind: Kind
    names: Mapping[str, str | None]
    format: Format | None
    query: str | None
    scale: Scale | None
    on_error: OnError
    quarantine: str | Path | None
    ids: Ids = "auto"
    into: str | Path | None = None

    def __post_init__(self) -> None:
        checks.choice("ids", self.ids, get_args(Ids))
        if self.on_error not in get_args(OnError):
            raise ParameterError(f'on_error must be "raise" or "quarantine", not {self.on_error!r}')
        if self.quarantine is not None and self.on_error == "raise":
            raise ParameterError('quarantine, the file for rejected rows, requires on_error="quarantine"')


def load_interactions(source: Any, request: Request) -> Interactions:
    """Load the valid rows of a source as an interaction table.

    Parameters
    ----------
    source : object
        A path, a data frame or a database URL.
    request : Request
        The arguments of the reader.

    Returns
    -------
    Interactions
        The table, with a load report.

    Raises
    ------
    DataError
        If the source cannot be read or has no valid rows, or if a row is bad and `on_error` is "raise".
    ParameterError
        If `query` is given for a source that is not a database.
    MissingExtraError
        If a database library is not installed.
    """
    path = source_path(source)
    if path is not None and is_table_file(path):
        return _open_table_file(path, request)
    if request.into is not None:
        return _import(source, request, checks.path("into", request.into))
    columns, report = _load_columns(source, request)
    return _table(columns, request, report)


def _open_table_file(path: Path, request: Request) -> Interactions:
    """Open a table file, for which the other arguments of the reader have no meaning."""
    if request.into is not None:
        raise ParameterError(f"{path} is a table file already")
    arguments = [name for name, value in request.names.items() if value]
    arguments += [name for name in ("format", "query", "scale") if getattr(request, name) is not None]
    if arguments:
        name = "rating_levels" if arguments[0] == "scale" else arguments[0]
        raise ParameterError(f"{name} does not apply to {path}, which is a table file")
    table = Interactions.load(path)
    if table.kind != request.kind:
        other = "read_events (--events)" if table.kind == "events" else "read_ratings"
        raise KindError(f"{path} contains {table.kind}; read it with {other}")
    return table


def _import(source: Any, request: Request, into: Path) -> Interactions:
    """Write the valid rows of a source to a table file in chunks, and return the table."""
    require_threads()
    path = source_path(source)
    rejects_path = quarantine_path(path, request.quarantine) if request.on_error == "quarantine" else None
    max_stored = 1 if request.on_error == "raise" else None
    n, span = 0, (np.inf, -np.inf)
    notes: dict[str, None] = {}
    rejected: list[RejectedRow] = []
    with (
        _open_source(source, path, request) as table,
        TableImport(into, request.kind, request.scale, not table.is_typed and request.ids == "auto") as target,
    ):
        roles = _roles(table, request)
        for rows in table.chunks(roles, max_stored):
            valid = validate_rows(
                rows,
                kind=request.kind,
                scale=request.scale,
                ids=request.ids if table.is_typed else "text",
                is_typed=table.is_typed,
                max_rejected=max_stored,
            )
            n += len(rows.lines) + rows.rejected.count
            new_rejected = _rejected_rows(rows, valid)
            n_rejected = rows.rejected.count + valid.n_rejected
            if n_rejected and rejects_path is None:
                raise rejection_error(table.name, table.row_unit, new_rejected[0], n_rejected)
            rejected += new_rejected
            notes |= dict.fromkeys((*rows.notes, *valid.notes))
            values = valid.columns.get("value")
            if isinstance(values, pl.Series) and len(values):
                numbers = values.to_numpy()
                span = min(span[0], float(numbers.min())), max(span[1], float(numbers.max()))
            target.add(valid.columns)
        if n == 0:
            raise DataError(f"{table.name} is empty: it has no data rows")
        if rejected and rejects_path is not None:
            write_rejected_rows(rejects_path, rejected)
        if len(rejected) == n:
            raise DataError(f"{table.name}: all {n:,} rows were rejected; they are in {rejects_path}")
        weight_is_value = _may_be_count(roles, request) and target.lowest_weight > 0
        if weight_is_value:
            roles["value"] = roles.pop("weight")
            span = target.lowest_weight, target.highest_weight
        extremes = pl.Series(span) if "value" in roles else None
        notes |= dict.fromkeys((*target.id_notes(), *_column_notes(table, roles, request, extremes)))
        if rejected:
            notes[f"{len(rejected):,} rejected rows were written to {rejects_path}"] = None
        report = LoadReport(table.name, n, rejected_rows=tuple(rejected), notes=tuple(notes))
        return target.finish(report, weight_is_value=weight_is_value)


def load_event_types(source: Any, request: Request) -> dict[str, Interactions]:
    """Load the valid rows of a source as one table for each type of events.

    Parameters
    ----------
    source : object
        A path, a data frame or a database URL.
    request : Request
        The arguments of the reader, with the name of the column of types.

    Returns
    -------
    dict of str to Interactions
        Tables by type, in the order of their numbers of rows, largest first; each has the same load report.

    Raises
    ------
    CofactorError
        As `load_interactions`.
    """
    columns, report = _load_columns(source, request)
    types = columns.pop("type")
    assert isinstance(types, pl.Series)
    counts = types.value_counts().sort("count", types.name, descending=[True, False])
    return {
        name: _table({role: column.filter(types == name) for role, column in columns.items()}, request, report)
        for name in counts[types.name]
    }


def _table(columns: Mapping[str, Column], request: Request, report: LoadReport) -> Interactions:
    return Interactions.from_columns(
        columns["user"],
        columns["item"],
        columns.get("value"),
        times=columns.get("time"),
        weights=columns.get("weight"),
        kind=request.kind,
        scale=request.scale,
        report=report,
    )


def _load_columns(source: Any, request: Request) -> tuple[dict[str, Column], LoadReport]:
    """Return the columns of the valid rows of a source by role, and a load report."""
    require_threads()
    path = source_path(source)
    rejects_path = quarantine_path(path, request.quarantine) if request.on_error == "quarantine" else None
    with _open_source(source, path, request) as table:
        roles = _roles(table, request)
        max_stored = 1 if request.on_error == "raise" else None  # an error message needs only the first
        rows = table.read(roles, max_stored)
        valid = validate_rows(
            rows,
            kind=request.kind,
            scale=request.scale,
            ids=request.ids,
            is_typed=table.is_typed,
            max_rejected=max_stored,
        )
        rejected_rows = _rejected_rows(rows, valid)
    columns = valid.columns
    if _weight_is_count(columns, request):
        columns["value"], roles["value"] = columns.pop("weight"), roles.pop("weight")
    n_rejected, n = rows.rejected.count + valid.n_rejected, len(rows.lines) + rows.rejected.count
    notes = (*rows.notes, *valid.notes, *_column_notes(table, roles, request, columns.get("value")))
    del rows
    if n == 0:
        raise DataError(f"{table.name} is empty: it has no data rows")
    if n_rejected and rejects_path is None:
        raise rejection_error(table.name, table.row_unit, rejected_rows[0], n_rejected)
    if n_rejected and rejects_path is not None:
        write_rejected_rows(rejects_path, rejected_rows)
        notes = (*notes, f"{n_rejected:,} rejected rows were written to {rejects_path}")
    if n_rejected == n:
        raise DataError(f"{table.name}: all {n:,} rows were rejected; they are in {rejects_path}")
    return columns, LoadReport(table.name, n, rejected_rows=tuple(rejected_rows), notes=notes)


def _roles(table: Table, request: Request) -> dict[str, int]:
    """Return the position of the column for each role."""
    required: list[Role] = ["user", "item", "value"] if request.kind == "ratings" else ["user", "item"]
    required += ["type"] if request.names.get("type") else []
    try:
        return choose_columns(
            table.columns,
            request.names,
            required=required,
            source=table.name,
            positional_roles=table.positional_roles,
        )
    except DataError as error:
        raise DataError(f"{error}{table.advice if isinstance(table, FrameTable) else ''}") from None


def source_path(source: object) -> Path | None:
    """Return the path of a source, or None if it is a data frame or a database URL.

    Parameters
    ----------
    source : object
        A path, a data frame or a database URL.

    Returns
    -------
    Path or None
        The path, with a leading ~ expanded; None for frames and database URLs.
    """
    if not isinstance(source, str | os.PathLike) or is_url(source):
        return None
    return Path(os.path.expanduser(source))  # noqa: PTH111 - Path would turn "./~" into "~"


@contextmanager
def _open_source(source: Any, path: Path | None, request: Request) -> Iterator[Table]:
    """Open the table of a file, a data frame or a database."""
    if path is None and is_url(source):
        with open_query(source, request.query) as table:
            yield table
        return
    if request.query is not None:
        raise ParameterError("query applies only to databases: the source must be a URL such as sqlite:///file.db")
    if path is None:
        yield open_frame(source)
        return
    names = [name for name in request.names.values() if name]
    events = request.kind == "events"
    yield open_file(path, request.format, lambda first: roles_by_position(first, column_names=names, events=events))


def _rejected_rows(rows: Rows, valid: ValidRows) -> list[RejectedRow]:
    """Return the stored rejected rows with their text, in file order."""
    row_texts = rows.row_texts(list(valid.reasons)) if valid.reasons else {}
    invalid = [RejectedRow(line, reason, row_texts.get(line, "")) for line, reason in valid.reasons.items()]
    return sorted(rows.rejected.stored + invalid, key=lambda row: row.line)


def _weight_is_count(columns: Mapping[str, Any], request: Request) -> bool:
    """Return whether a column named weight holds event values: all are positive, and no other column holds values.

    Play counts are often named so. Weights that mark dislikes are negative, and a column named by the caller is kept.
    """
    return _may_be_count(columns, request) and len(columns["weight"]) > 0 and float(columns["weight"].min()) > 0


def _may_be_count(columns: Mapping[str, Any], request: Request) -> bool:
    """Return whether a column named weight is the value of events if it is positive."""
    is_inferred = request.names["value"] is None and request.names["weight"] is None
    return request.kind == "events" and is_inferred and "value" not in columns and "weight" in columns


def _column_notes(table: Table, roles: Mapping[str, int], request: Request, values: Any) -> tuple[str, ...]:
    """Return notes on inferred columns; `values` are the valid values, or None."""
    notes = []
    inferred_roles = [role for role in roles if request.names[role] is None]
    assignments = ", ".join(f"{role}={table.columns[roles[role]].strip()}" for role in inferred_roles)
    if inferred_roles and table.positional_roles:
        notes.append(f"the file has no header; columns by position: {assignments}")
    elif inferred_roles:
        notes.append(f"columns by name: {assignments}")
    if "value" not in inferred_roles or not len(values):
        return tuple(notes)
    name, span = table.columns[roles["value"]].strip().lower(), f"{values.min():,.6g} to {values.max():,.6g}"
    if request.kind == "ratings" and any(word in name for word in _COUNT_NAMES):
        notes.append(f"{name} is used as the rating, from {span}; if it contains counts, use read_events or --events")
    elif request.kind == "events" and any(word in name for word in _RATING_NAMES):
        notes.append(
            f"{name} is used as the value of each event; if it contains ratings, use "
            "read_ratings(...).to_events(min_rating=...)"
        )
    elif request.kind == "events" and values.max() > 1:
        notes.append(
            f"{name} is used as the count of each event, from {span}; models use 1 + ln of it by default: see counts "
            "(--counts)"
        )
    return tuple(notes)
