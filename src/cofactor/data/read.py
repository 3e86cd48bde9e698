"""The reading doors: files, frames and databases become Interactions, or say which row is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from cofactor.data.check import Checked, checked
from cofactor.data.columns import ROLES, Role, choose_columns, roles_by_place
from cofactor.data.frame_table import open_frame
from cofactor.data.interactions import Interactions, Kind
from cofactor.data.load_report import LoadReport, Refusal
from cofactor.data.open_file import Format, open_file
from cofactor.data.refuse import OnBad, first_refusal, quarantine_path, write_refused
from cofactor.data.scale import Scale
from cofactor.data.sql import is_url, open_query
from cofactor.data.tables import Rows, Table
from cofactor.errors import DataError, ParameterError

__all__ = ["read_events", "read_ratings"]

_OPINIONS = ("rat", "score", "star", "overall")  # columns named so hold ratings, not counts


def read_ratings(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    format: Format | None = None,  # noqa: A002
    query: str | None = None,
    levels: Sequence[float] | None = None,
    on_bad: OnBad = "raise",
    quarantine: str | Path | None = None,
) -> Interactions:
    """Ratings from a file, a frame or a database; of a pair that occurs twice, the last counts.

    source: a path (CSV, TSV, `user::item::rating::time`, Parquet, JSON lines; text also as gzip or
        zstd), a frame (polars, pandas, pyarrow, duckdb), or a database URL with a `query`.
    user, item, value, time, weight: column names, where the usual ones are not meant. A file without
        a header has user, item, value[, time] in this order; its columns are called "1", "2", ...
    format: "csv", "tsv", "::", "parquet" or "jsonl", where ending and content do not tell.
    levels: all values a rating can have; others are refused.
    on_bad: "raise" stops at bad rows with the line and the reason of the first; "quarantine" writes
        all of them to `quarantine` (default: `<source>.refused.csv`) and goes on without them.

    Ids of a text file are integers if every one is a canonical decimal (`7`, not `007`), else
    strings; other sources keep their types. Times become whole seconds since 1970. `.report` of the
    result says what was read, guessed and refused. Raises DataError for what cannot be read, for
    bad rows, and for a table without rows.

    >>> import polars as pl
    >>> read_ratings(pl.DataFrame({"user": ["ana", "tom"], "item": [7, 7], "rating": [4.5, 2.0]}))
    Interactions(2 ratings, 2 users x 1 items)
    """
    scale = None if levels is None else Scale.declared(levels)
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight), strict=True))
    return _read(source, _Request("ratings", names, format, query, scale, on_bad, quarantine))


def read_events(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    format: Format | None = None,  # noqa: A002
    query: str | None = None,
    on_bad: OnBad = "raise",
    quarantine: str | Path | None = None,
) -> Interactions:
    """Events (clicks, plays, purchases) from a file, a frame or a database; equal pairs are summed.

    As `read_ratings`, but the value (how often, how much) may be missing and is 1 then. It must be
    above 0; a weight may be negative and marks a dislike. Events without a header are
    user, item[, value][, time].

    >>> import polars as pl
    >>> events = read_events(pl.DataFrame({"user": ["ana", "ana"], "item": [7, 7]}))
    >>> events, events.values.tolist()
    (Interactions(1 events, 1 users x 1 items), [2.0])
    """
    names: dict[str, str | None] = dict(zip(ROLES, (user, item, value, time, weight), strict=True))
    return _read(source, _Request("events", names, format, query, None, on_bad, quarantine))


@dataclass(frozen=True)
class _Request:
    """What a caller asked for."""

    kind: Kind
    names: Mapping[str, str | None]
    format: Format | None
    query: str | None
    scale: Scale | None
    on_bad: OnBad
    quarantine: str | Path | None

    def __post_init__(self) -> None:
        if self.on_bad not in get_args(OnBad):
            raise ParameterError(f'on_bad must be "raise" or "quarantine", not {self.on_bad!r}')
        if self.quarantine is not None and self.on_bad == "raise":
            raise ParameterError('quarantine= names a file for refused rows: it needs on_bad="quarantine"')

    @property
    def most_refusals(self) -> int | None:
        """How many refused rows need to be remembered: to raise, the first."""
        return 1 if self.on_bad == "raise" else None


def _read(source: Any, asked: _Request) -> Interactions:
    path = Path(source).expanduser() if _is_path(source) else None
    refused_to = quarantine_path(path, asked.quarantine) if asked.on_bad == "quarantine" else None
    with _opened(source, path, asked) as table:
        needed: list[Role] = ["user", "item", "value"] if asked.kind == "ratings" else ["user", "item"]
        roles = choose_columns(table.columns, asked.names, needed=needed, source=table.name, by_place=table.by_place)
        rows, good = _best_pass(table, roles, asked)
        refusals = _refusals(rows, good)
    notes = (*rows.notes, *good.notes, *_notes_on_columns(table, roles, asked))
    count, n = rows.refused.count + good.refused, len(rows.lines) + rows.refused.count
    del rows
    if count and refused_to is None:
        raise first_refusal(table.name, table.counts, refusals[0], count)
    if count and refused_to is not None:
        write_refused(refused_to, refusals)
        notes = (*notes, f"{count:,} refused rows were written to {refused_to}")
    if count == n:
        raise DataError(
            f"{table.name}: all {n:,} rows were refused; they are in {refused_to}"
            if n
            else f"{table.name} is empty: a header at most, and no rows"
        )
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


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike) and not is_url(source)


@contextmanager
def _opened(source: Any, path: Path | None, asked: _Request) -> Iterator[Table]:
    if path is None and is_url(source):
        with open_query(source, asked.query) as table:
            yield table
        return
    if asked.query is not None:
        raise ParameterError("query= is for databases: the source must be a URL such as sqlite:///file.db")
    if path is None:
        yield open_frame(source)
        return
    named = [name for name in asked.names.values() if name is not None]
    events = asked.kind == "events"
    yield open_file(path, asked.format, lambda first: roles_by_place(first, named=named, events=events))


def _best_pass(table: Table, roles: Mapping[str, int], asked: _Request) -> tuple[Rows, Checked]:
    """The first pass without bad rows, else the last one, which knows the true lines."""
    passes = table.passes(roles, asked.most_refusals)
    while True:
        rows = next(passes)
        good = checked(rows, kind=asked.kind, scale=asked.scale, typed=table.typed, most=asked.most_refusals)
        if not (rows.quick and good.refused):
            return rows, good
        del rows, good


def _refusals(rows: Rows, good: Checked) -> list[Refusal]:
    """The remembered refused rows with their text, in file order."""
    texts = rows.texts(list(good.reasons)) if good.reasons else {}
    unusable = [Refusal(line, reason, texts.get(line, "")) for line, reason in good.reasons.items()]
    return sorted(rows.refused.kept + unusable, key=lambda refusal: refusal.line)


def _notes_on_columns(table: Table, roles: Mapping[str, int], asked: _Request) -> tuple[str, ...]:
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
            "read_ratings(...).to_events(positive_from=...)"
        )
    return tuple(notes)
