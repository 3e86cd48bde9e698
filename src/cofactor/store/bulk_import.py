"""Bulk import of tables into the event log; imports can be resumed, and each table is imported only once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, insert, select, text, update

from cofactor.data.interactions import Interactions, Kind
from cofactor.errors import DataError, KindError
from cofactor.store.connect import lock, now
from cofactor.store.erasure import salted_hash
from cofactor.store.event import EVENT, MIN_EVENT_VALUE, RATING
from cofactor.store.schema import imports, tombstones
from cofactor.store.sequence import head
from cofactor.store.validation import MAX_TIME, MAX_VALUE, checked_id
from cofactor.store.writer import Writer

__all__ = ["ImportResult", "load"]

PAGE_SIZE = 20_000  # rows per transaction; a live event waits for at most one page
_INSERT_COLUMNS = ("seq", "kind", "user", "item", "value", "time", "received")
_COLUMN_TYPES = {
    "user": (pl.String, pl.Int64),
    "item": (pl.String, pl.Int64),
    "value": (pl.Float64, pl.Float32, pl.Int64),
    "time": (pl.Int64,),
}
"""Accepted data types for the columns of a frame; values are converted to the first one."""


class ImportResult(NamedTuple):
    """Numbers of imported and skipped rows of a table.

    Attributes
    ----------
    rows : int
        Number of rows in the table.
    stored : int
        Number of rows stored by this call; 0 if the table had already been imported.
    skipped : int
        Number of rows skipped because their users were erased.

    Examples
    --------
    >>> ImportResult(rows=100_000, stored=99_980, skipped=20).stored
    99980
    """

    rows: int
    stored: int
    skipped: int


@dataclass(frozen=True)
class _Table:
    """Table to import; `page(start, end)` returns user, item (String), value (Float64) and time (Int64 or null)."""

    kind: Kind
    rows: int
    page: Callable[[int, int], pl.DataFrame]


def load(writer: Writer, salt: str, table: Interactions | pl.DataFrame, kind: Kind | None, name: str) -> ImportResult:
    """Import a table; see `EventLog.load`.

    Parameters
    ----------
    writer : Writer
        Writer of the store.
    salt : str
        Salt for the hashes of erased users.
    table : Interactions or polars.DataFrame
        The table.
    kind : {'ratings', 'events'} or None
        Kind of the table; required for a frame.
    name : str
        Name that distinguishes tables with identical content.

    Returns
    -------
    ImportResult
        Number of rows, stored rows and skipped rows.
    """
    rows = _from_interactions(table, kind) if isinstance(table, Interactions) else _from_frame(table, kind)
    digest = _digest(rows, name)
    stored = skipped = 0
    n_done = writer.run(lambda connection: _register_import(connection, digest, name, rows.rows))
    while n_done < rows.rows:
        step = writer.run(lambda connection: _store_page(connection, digest, rows, salt))
        n_done, stored, skipped = step[0], stored + step[1], skipped + step[2]
    return ImportResult(rows.rows, stored, skipped)


def _from_interactions(table: Interactions, kind: Kind | None) -> _Table:
    if kind is not None and kind != table.kind:
        raise KindError(f"`kind` must match the table, which contains {table.kind}; got {kind!r}")
    if table.weights is not None and (table.weights != 1).any():
        raise DataError("the store does not support weights; load the table without them")
    users, items = table.users.all.cast(pl.String), table.items.all.cast(pl.String)
    _check_ids(users, "user")
    _check_ids(items, "item")
    values = pl.Series("value", table.values)
    times = pl.repeat(None, len(table), dtype=pl.Int64, eager=True) if table.times is None else pl.Series(table.times)
    _check_values(values, table.kind)
    _check_times(times)

    def page(start: int, end: int) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "user": users.gather(table.u[start:end]),
                "item": items.gather(table.i[start:end]),
                "value": values[start:end].cast(pl.Float64),
                "time": times[start:end],
            }
        )

    return _Table(table.kind, len(table), page)


def _from_frame(frame: Any, kind: Kind | None) -> _Table:
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"table must be Interactions or a polars DataFrame, not {type(frame).__name__}")
    if kind not in ("ratings", "events"):
        raise KindError("`kind` is required for a DataFrame; pass kind='ratings' or kind='events'")
    if missing_columns := [name for name in ("user", "item", "value") if name not in frame.columns]:
        raise DataError(f"the frame has no column {missing_columns[0]!r}; its columns are {', '.join(frame.columns)}")
    if "time" not in frame.columns:
        frame = frame.with_columns(time=pl.lit(None, pl.Int64))
    for name, types in _COLUMN_TYPES.items():
        if frame[name].dtype not in types:
            expected_types = " or ".join(dtype.__name__ for dtype in types)
            raise DataError(f"the column {name!r} must have type {expected_types}, not {frame[name].dtype}")
    for name in ("user", "item", "value"):
        if frame[name].null_count():
            raise DataError(f"row {frame[name].is_null().arg_true()[0] + 1}: the {name} is missing")
    _check_ids(frame["user"], "user")
    _check_ids(frame["item"], "item")
    _check_values(frame["value"], kind)
    _check_times(frame["time"])
    columns = [pl.col(name).cast(types[0]) for name, types in _COLUMN_TYPES.items()]
    return _Table(kind, len(frame), lambda start, end: frame[start:end].select(columns))


def _check_ids(ids: pl.Series, role: str) -> None:
    for unique_id in ids.unique():
        checked_id(unique_id, f"the {role} {unique_id!r}")


def _check_values(values: pl.Series, kind: Kind) -> None:
    lowest_value = MIN_EVENT_VALUE if kind == "events" else -MAX_VALUE
    is_valid = values.is_finite() & (values >= lowest_value) & (values <= MAX_VALUE)
    if not is_valid.all():
        row = (~is_valid).arg_true()[0]
        raise DataError(f"row {row + 1}: the value {values[row]} is not valid for {kind}")


def _check_times(times: pl.Series) -> None:
    """Raise DataError for times that are not in seconds.

    As in the readers, times before 1970 and in the future are accepted; snapshots use the time of receipt if it is
    earlier.
    """
    is_invalid = ((times >= MAX_TIME) | (times <= -MAX_TIME)).fill_null(value=False)
    if is_invalid.any():
        row = is_invalid.arg_true()[0]
        raise DataError(f"row {row + 1}: the time {times[row]} is not in seconds since the Unix epoch")


def _digest(table: _Table, name: str) -> str:
    """Return the SHA-256 of the kind, name and rows of a table."""
    digest = hashlib.sha256(f"{table.kind}\n{name}\n".encode())
    for start in range(0, table.rows, 5 * PAGE_SIZE):
        digest.update(
            table.page(start, min(start + 5 * PAGE_SIZE, table.rows)).write_csv(include_header=False).encode()
        )
    return digest.hexdigest()


def _register_import(connection: Connection, digest: str, name: str, rows: int) -> int:
    """Register an import if it is new, and return the number of rows that have already been processed."""
    lock(connection)
    done: int | None = connection.execute(select(imports.c.done).where(imports.c.digest == digest)).scalar()
    if done is None:
        new_import = {"digest": digest, "name": name, "rows": rows, "done": 0, "skipped": 0, "started": now()}
        connection.execute(insert(imports).values(new_import))
    return done or 0


def _store_page(connection: Connection, digest: str, table: _Table, salt: str) -> tuple[int, int, int]:
    """Store the next page; return the number of rows processed so far, and stored and skipped in this page.

    Several processes may import the same table; a lock ensures that each page is stored only once.
    """
    lock(connection)
    start = connection.execute(select(imports.c.done).where(imports.c.digest == digest)).scalar_one()
    end = min(start + PAGE_SIZE, table.rows)
    page = table.page(start, end)
    rows = _without_erased(connection, page, salt)
    latest = head(connection)
    received = max(now(), latest.received)
    numbered_rows = rows.with_columns(
        pl.Series("seq", range(latest.seq + 1, latest.seq + 1 + len(rows)), dtype=pl.Int64),
        pl.lit(RATING if table.kind == "ratings" else EVENT).alias("kind"),
        pl.col("time").fill_null(received),
        pl.lit(received).alias("received"),
    ).select(_INSERT_COLUMNS)
    _insert(connection, numbered_rows)
    skipped = len(page) - len(rows)
    statement = update(imports).where(imports.c.digest == digest)
    connection.execute(statement.values(done=end, skipped=imports.c.skipped + skipped))
    if end == table.rows and connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE events"))  # otherwise, the planner assumes the table is still empty
    return end, len(rows), skipped


def _without_erased(connection: Connection, page: pl.DataFrame, salt: str) -> pl.DataFrame:
    """Drop the rows of erased users, so that importing an old table does not restore their data."""
    hashes = set(connection.execute(select(tombstones.c.hash)).scalars())
    if not hashes:
        return page
    erased_users = [user for user in page["user"].unique() if salted_hash(salt, user) in hashes]
    return page.filter(~pl.col("user").is_in(erased_users)) if erased_users else page


def _insert(connection: Connection, rows: pl.DataFrame) -> None:
    """Insert rows with the fastest method for each database: executemany in SQLite, COPY in PostgreSQL."""
    columns = ", ".join(f'"{name}"' for name in _INSERT_COLUMNS)
    if connection.dialect.name == "sqlite":
        placeholders = ", ".join("?" * len(_INSERT_COLUMNS))
        if len(rows):
            connection.exec_driver_sql(f"INSERT INTO events ({columns}) VALUES ({placeholders})", rows.rows())
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY events ({columns}) FROM STDIN WITH (FORMAT csv)") as copy:
        copy.write(rows.write_csv(include_header=False))
