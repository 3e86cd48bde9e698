"""From a source to Interactions: choose the columns, read, check, refuse, and report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from cofactor import checks
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.load_report import LoadReport, Refusal
from cofactor.data.readers.columns import Role, choose_columns, roles_by_place
from cofactor.data.readers.files import TextFile, existing_file, open_text, unreadable
from cofactor.data.readers.frame_table import FrameTable, open_frame
from cofactor.data.readers.json_table import JsonTable, open_json_table
from cofactor.data.readers.parquet import open_parquet
from cofactor.data.readers.rejects import OnError, first_refusal, quarantine_path, write_refused
from cofactor.data.readers.sql import is_url, open_query
from cofactor.data.readers.tables import Rows, Table
from cofactor.data.readers.text_table import TextTable, open_text_table
from cofactor.data.readers.validation import Checked, Ids, checked
from cofactor.data.scale import Scale
from cofactor.errors import DataError, ParameterError
from cofactor.fork import require_threads

__all__ = ["Format", "Request", "load_interactions", "open_file", "source_path"]


Format: TypeAlias = Literal["csv", "tsv", "::", "parquet", "jsonl"]


_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def open_file(
    path: Path,
    format: Format | None,  # noqa: A002
    by_place: Callable[[list[str]], list[Role] | None],
) -> TextTable | JsonTable | FrameTable:
    """The table in a file; `by_place` says what the first row of a text file holds, None for a header.

    Raises DataError when there is no such file, or when it is none of the formats; ParameterError
    for a format we do not know.
    """
    if format is not None:
        checks.choice("format", format, get_args(Format))
    if format == "parquet" or (_is_parquet(existing_file(path)) and format is None):
        return open_parquet(existing_file(path))
    text = open_text(path)
    found, separator = _text_format(text, format)
    return open_json_table(text) if found == "jsonl" else open_text_table(text, separator, by_place)


def _is_parquet(path: Path) -> bool:
    with unreadable(str(path)), path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PK\x03\x04":
        raise DataError(f"{path} is a zip archive or a spreadsheet; unpack it, or save the table as CSV")
    return magic == b"PAR1"


def _text_format(text: TextFile, given: Format | None) -> tuple[Format, str]:
    """The format of a text file and its separator (empty for JSON lines)."""
    path = text.path.with_suffix("") if text.path.suffix.lower() in (".gz", ".zst") else text.path
    known = given or _ENDINGS.get(path.suffix.lower())
    line = text.head().lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    if known == "jsonl" or (known is None and line.startswith(("{", "["))):
        if line.startswith("["):
            raise DataError(f"{text.path} is one JSON array; write one object a line instead (JSON lines)")
        return "jsonl", ""
    if path.suffix.lower() == ".parquet" and given is None:
        raise DataError(f"{text.path} is no Parquet file: it does not begin with PAR1")
    if known == "::" or (known is None and "::" in line):
        return "::", "::"
    if given == "tsv":
        return "tsv", "\t"
    usual = "\t" if known == "tsv" else ","
    separator = max((usual, "\t", ",", ";", "|"), key=line.count)
    return ("tsv" if separator == "\t" else "csv"), separator


_OPINIONS = ("rat", "score", "star", "overall")  # columns named so hold ratings, not counts


@dataclass(frozen=True)
class Request:
    """What a caller asked for; see `read_ratings`. Raises ParameterError for `ids`, `on_error` and `quarantine`."""

    kind: Kind
    names: Mapping[str, str | None]
    format: Format | None
    query: str | None
    scale: Scale | None
    on_error: OnError
    quarantine: str | Path | None
    ids: Ids = "auto"

    def __post_init__(self) -> None:
        checks.choice("ids", self.ids, get_args(Ids))
        if self.on_error not in get_args(OnError):
            raise ParameterError(f'on_error must be "raise" or "quarantine", not {self.on_error!r}')
        if self.quarantine is not None and self.on_error == "raise":
            raise ParameterError('quarantine= names a file for refused rows: it needs on_error="quarantine"')


def load_interactions(source: Any, asked: Request) -> Interactions:
    """The good rows of a source. Raises DataError for bad rows, unless they are to be set aside."""
    require_threads()
    path = source_path(source)
    refused_to = quarantine_path(path, asked.quarantine) if asked.on_error == "quarantine" else None
    with _opened(source, path, asked) as table:
        needed: list[Role] = ["user", "item", "value"] if asked.kind == "ratings" else ["user", "item"]
        try:
            roles = choose_columns(
                table.columns, asked.names, needed=needed, source=table.name, by_place=table.by_place
            )
        except DataError as error:
            raise DataError(f"{error}{table.advice if isinstance(table, FrameTable) else ''}") from None
        most = 1 if asked.on_error == "raise" else None  # to raise, the first is enough
        rows = table.read(roles, most)
        good = checked(rows, kind=asked.kind, scale=asked.scale, ids=asked.ids, typed=table.typed, most=most)
        refusals = _refusals(rows, good)
    count, n = rows.refused.count + good.refused, len(rows.lines) + rows.refused.count
    notes = (*rows.notes, *good.notes, *_notes_on_columns(table, roles, asked))
    del rows
    if n == 0:
        raise DataError(f"{table.name} is empty: a header at most, and no rows")
    if count and refused_to is None:
        raise first_refusal(table.name, table.counts, refusals[0], count)
    if count and refused_to is not None:
        write_refused(refused_to, refusals)
        notes = (*notes, f"{count:,} refused rows were written to {refused_to}")
    if count == n:
        raise DataError(f"{table.name}: all {n:,} rows were refused; they are in {refused_to}")
    columns = good.columns
    return Interactions.from_columns(
        columns["user"],
        columns["item"],
        columns.get("value"),
        times=columns.get("time"),
        weights=columns.get("weight"),
        kind=asked.kind,
        scale=asked.scale,
        report=LoadReport(table.name, n, refusals=tuple(refusals), notes=notes),
    )


def source_path(source: object) -> Path | None:
    """The file a source names; None for frames and database URLs."""
    if not isinstance(source, str | os.PathLike) or is_url(source):
        return None
    return Path(os.path.expanduser(source))  # noqa: PTH111 - Path drops the "./" of "./~", which names a file


@contextmanager
def _opened(source: Any, path: Path | None, asked: Request) -> Iterator[Table]:
    if path is None and is_url(source):
        with open_query(source, asked.query) as table:
            yield table
        return
    if asked.query is not None:
        raise ParameterError("query= is for databases: the source must be a URL such as sqlite:///file.db")
    if path is None:
        yield open_frame(source)
        return
    named = [name for name in asked.names.values() if name]
    events = asked.kind == "events"
    yield open_file(path, asked.format, lambda first: roles_by_place(first, named=named, events=events))


def _refusals(rows: Rows, good: Checked) -> list[Refusal]:
    """The remembered refused rows with their text, in file order."""
    texts = rows.texts(list(good.reasons)) if good.reasons else {}
    unusable = [Refusal(line, reason, texts.get(line, "")) for line, reason in good.reasons.items()]
    return sorted(rows.refused.kept + unusable, key=lambda refusal: refusal.line)


def _notes_on_columns(table: Table, roles: Mapping[str, int], asked: Request) -> tuple[str, ...]:
    notes = []
    guessed = [role for role in roles if asked.names[role] is None]
    pairs = ", ".join(f"{role}={table.columns[roles[role]].strip()}" for role in guessed)
    if guessed and table.by_place:
        notes.append(f"the file has no header; columns by their place: {pairs}")
    elif guessed:
        notes.append(f"columns by their names: {pairs}")
    name = table.columns[roles["value"]].lower() if "value" in roles else ""
    if asked.kind == "events" and "value" in guessed and any(word in name for word in _OPINIONS):
        notes.append(
            f"{name} is taken as how much each event counts; if it holds opinions, use "
            "read_ratings(...).to_events(min_rating=...)"
        )
    return tuple(notes)
