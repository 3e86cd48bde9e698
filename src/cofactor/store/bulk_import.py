"""Whole tables into the log: each once, whatever breaks in between."""

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
from cofactor.store.erasure import hashed
from cofactor.store.event import EVENT, RATING, SMALLEST_EVENT
from cofactor.store.schema import imports, tombstones
from cofactor.store.sequence import head
from cofactor.store.validation import LARGEST_VALUE, LAST_TIME, checked_id
from cofactor.store.writer import Writer

__all__ = ["Loaded", "load"]

PAGE = 20_000  # rows of a transaction: a live rating waits for one at most
_INTO = ("seq", "kind", "user", "item", "value", "time", "received")


class Loaded(NamedTuple):
    """How an import went.

    rows: of the table. stored: by this call; 0 where the table was there already. skipped: rows of forgotten users.

    >>> Loaded(rows=100_000, stored=99_980, skipped=20).stored
    99980
    """

    rows: int
    stored: int
    skipped: int


@dataclass(frozen=True)
class _Table:
    """A table by rows: `page(start, end)` gives user, item (String), value (Float64), time (Int64, may be null)."""

    kind: Kind
    rows: int
    page: Callable[[int, int], pl.DataFrame]


def load(writer: Writer, salt: str, table: Interactions | pl.DataFrame, kind: Kind | None, name: str) -> Loaded:
    """See `EventLog.load`."""
    rows = _of_interactions(table, kind) if isinstance(table, Interactions) else _of_frame(table, kind)
    digest = _digest(rows, name)
    stored = skipped = 0
    done = writer.run(lambda connection: _begin(connection, digest, name, rows.rows))
    while done < rows.rows:
        step = writer.run(lambda connection: _step(connection, digest, rows, salt))
        done, stored, skipped = step[0], stored + step[1], skipped + step[2]
    return Loaded(rows.rows, stored, skipped)


def _of_interactions(table: Interactions, kind: Kind | None) -> _Table:
    if kind is not None and kind != table.kind:
        raise KindError(f"these are {table.kind}, not {kind}")
    if table.weights is not None and (table.weights != 1).any():
        raise DataError("the store keeps no weights: load the table without them")
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


def _of_frame(frame: Any, kind: Kind | None) -> _Table:
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"load takes Interactions or a polars frame, not {type(frame).__name__}")
    if kind not in ("ratings", "events"):
        raise KindError("say what a frame holds: kind='ratings' or kind='events'")
    if missing := [name for name in ("user", "item", "value") if name not in frame.columns]:
        raise DataError(f"the frame has no column {missing[0]!r}; it has {', '.join(frame.columns)}")
    if "time" not in frame.columns:
        frame = frame.with_columns(time=pl.lit(None, pl.Int64))
    wanted = {"user": pl.String, "item": pl.String, "value": pl.Float64, "time": pl.Int64}
    for name, dtype in wanted.items():
        allowed = (pl.Int64, pl.String) if dtype == pl.String else (dtype, pl.Int64, pl.Float32)
        if frame[name].dtype not in allowed or (name == "time" and frame[name].dtype != pl.Int64):
            raise DataError(f"the column {name!r} holds {frame[name].dtype}, and must hold {dtype} or {allowed[0]}")
    for name in ("user", "item", "value"):
        if frame[name].null_count():
            raise DataError(f"row {frame[name].is_null().arg_true()[0] + 1}: the {name} is missing")
    _check_ids(frame["user"], "user")
    _check_ids(frame["item"], "item")
    _check_values(frame["value"], kind)
    _check_times(frame["time"])
    columns = [pl.col(name).cast(dtype) for name, dtype in wanted.items()]
    return _Table(kind, len(frame), lambda start, end: frame[start:end].select(columns))


def _check_ids(ids: pl.Series, what: str) -> None:
    for id_ in ids.unique():
        checked_id(id_, f"the {what} {id_!r}")


def _check_values(values: pl.Series, kind: Kind) -> None:
    low = SMALLEST_EVENT if kind == "events" else -LARGEST_VALUE
    good = values.is_finite() & (values >= low) & (values <= LARGEST_VALUE)
    if not good.all():
        row = (~good).arg_true()[0]
        raise DataError(f"row {row + 1}: the value {values[row]} cannot be stored for {kind}")


def _check_times(times: pl.Series) -> None:
    """Raise DataError for a time that is not in seconds.

    A table may hold times before 1970 and after today, as readers accept them; an event never counts as later than it
    came.
    """
    wrong = ((times >= LAST_TIME) | (times <= -LAST_TIME)).fill_null(value=False)
    if wrong.any():
        row = wrong.arg_true()[0]
        raise DataError(f"row {row + 1}: the time {times[row]} is not in seconds; times are whole seconds since 1970")


def _digest(table: _Table, name: str) -> str:
    """SHA-256 of the name and all rows."""
    digest = hashlib.sha256(f"{table.kind}\n{name}\n".encode())
    for start in range(0, table.rows, 5 * PAGE):
        digest.update(table.page(start, min(start + 5 * PAGE, table.rows)).write_csv(include_header=False).encode())
    return digest.hexdigest()


def _begin(connection: Connection, digest: str, name: str, rows: int) -> int:
    """How many rows are there already."""
    lock(connection)
    done: int | None = connection.execute(select(imports.c.done).where(imports.c.digest == digest)).scalar()
    if done is None:
        new = {"digest": digest, "name": name, "rows": rows, "done": 0, "skipped": 0, "started": now()}
        connection.execute(insert(imports).values(new))
    return done or 0


def _step(connection: Connection, digest: str, table: _Table, salt: str) -> tuple[int, int, int]:
    """Store the next page, whoever stored the one before: (rows done by now, stored, skipped)."""
    lock(connection)
    start = connection.execute(select(imports.c.done).where(imports.c.digest == digest)).scalar_one()
    end = min(start + PAGE, table.rows)
    page = table.page(start, end)
    kept = _without_forgotten(connection, page, salt)
    last = head(connection)
    received = max(now(), last.received)
    numbered = kept.with_columns(
        pl.Series("seq", range(last.seq + 1, last.seq + 1 + len(kept)), dtype=pl.Int64),
        pl.lit(RATING if table.kind == "ratings" else EVENT).alias("kind"),
        pl.col("time").fill_null(received),
        pl.lit(received).alias("received"),
    ).select(_INTO)
    _insert(connection, numbered)
    skipped = len(page) - len(kept)
    this = update(imports).where(imports.c.digest == digest)
    connection.execute(this.values(done=end, skipped=imports.c.skipped + skipped))
    if end == table.rows and connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE events"))  # else it plans for the empty table of before
    return end, len(kept), skipped


def _without_forgotten(connection: Connection, page: pl.DataFrame, salt: str) -> pl.DataFrame:
    """What an old table says of a forgotten user stays forgotten."""
    forgotten = set(connection.execute(select(tombstones.c.hash)).scalars())
    if not forgotten:
        return page
    users = page["user"].unique()
    gone = [user for user in users if hashed(salt, user) in forgotten]
    return page.filter(~pl.col("user").is_in(gone)) if gone else page


def _insert(connection: Connection, rows: pl.DataFrame) -> None:
    """The fastest way in that each driver has."""
    columns = ", ".join(f'"{name}"' for name in _INTO)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(_INTO))
        if len(rows):
            connection.exec_driver_sql(f"INSERT INTO events ({columns}) VALUES ({marks})", rows.rows())
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY events ({columns}) FROM STDIN WITH (FORMAT csv)") as copy:
        copy.write(rows.write_csv(include_header=False))
