"""Impression log: lists shown to users, with propensities, buffered and written about once a second."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, delete, insert, select

from cofactor.data.id_columns import Id
from cofactor.errors import DataError, StoreError
from cofactor.store.connect import Database, now
from cofactor.store.erasure import salted_hash
from cofactor.store.schema import impressions, tombstones
from cofactor.store.validation import checked_id, checked_integer, checked_number, checked_time

__all__ = ["Impression", "Impressions"]

MAX_BUFFERED = 20_000
DELETE_BATCH_SIZE = 20_000
CLOCK_SKEW = 5  # seconds by which the clocks of two machines may differ
_SCHEMA = {
    "id": pl.Int64,
    "user": pl.String,
    "item": pl.String,
    "slot": pl.Int32,
    "propensity": pl.Float64,
    "model": pl.Int64,
    "time": pl.Int64,
}
_POSITIONS_TYPE = pl.List(pl.Struct({"item": pl.String, "slot": pl.Int32, "propensity": pl.Float64}))
_LIST_SCHEMA = {"id": pl.Int64, "user": pl.String, "places": pl.String, "model": pl.Int64, "time": pl.Int64}
_COLUMNS = [impressions.c[name] for name in _LIST_SCHEMA]


@dataclass(frozen=True, slots=True)
class Impression:
    """List of items that was shown to a user.

    Attributes
    ----------
    user : str or int
        ID of the user.
    items : sequence of str or int
        IDs of the items, from top to bottom; the slot of an item is its position, starting at 1.
    propensities : sequence of float or None, default None
        Probability that each item is shown at its position, greater than 0 and at most 1; None for all ones.
    model : int, default 0
        Version of the model that ranked the items; 0 if there was none.
    time : int or None, default None
        Time in seconds since the Unix epoch; None for now.

    Examples
    --------
    >>> Impression("ana", ["alien", "clue"], [0.9, 0.1], model=3).items[1]
    'clue'
    """

    user: Id
    items: Sequence[Id]
    propensities: Sequence[float] | None = None
    model: int = 0
    time: int | None = None


class Impressions:
    """Log of the lists shown to users.

    If the process is killed, impressions from up to about the last second are lost; `close` writes all of them.

    Parameters
    ----------
    database : Database
        The database of the store.
    salt : str
        Salt for the hashes of erased users.

    Attributes
    ----------
    lost : int
        Number of lists dropped because the database was unavailable and the buffer was full (20,000 lists).

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Impression, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     store.impressions.log([Impression("ana", ["alien", "clue"], [1.0, 0.1])])
    ...     store.impressions.flush()  # else within a second
    ...     store.impressions.frame().select("user", "item", "slot", "propensity").rows()
    [('ana', 'alien', 1, 1.0), ('ana', 'clue', 2, 0.1)]
    """

    def __init__(self, database: Database, salt: str):
        self._database = database
        self._salt = salt
        self._buffer: list[dict[str, Any]] = []
        self._lock = threading.Lock()  # protects the buffer
        self._flush_lock = threading.Lock()  # serializes flushes
        self._closed = False
        self.lost = 0

    def log(self, new_impressions: Iterable[Impression]) -> None:
        """Add impressions to the buffer, which is written within about a second.

        Parameters
        ----------
        new_impressions : iterable of Impression
            The lists.

        Raises
        ------
        DataError
            If an impression is invalid.
        StoreError
            If the store is closed.
        """
        self._database.check_process()
        current_time = now()
        rows = [
            _row(impression, f"impression {n}", current_time) for n, impression in enumerate(new_impressions, start=1)
        ]
        with self._lock:
            if self._closed:
                raise StoreError("this store is closed")
            n_free = max(MAX_BUFFERED - len(self._buffer), 0)
            self._buffer += rows[:n_free]
            self.lost += len(rows[n_free:])

    def flush(self) -> None:
        """Write the buffered impressions.

        Raises
        ------
        StoreUnavailableError
            If they cannot be written; they remain in the buffer.
        """
        with self._flush_lock:
            with self._lock:
                rows, self._buffer = self._buffer, []
            if not rows:
                return
            try:
                with self._database.transaction() as connection:
                    self._write(connection, rows)
            except StoreError:
                with self._lock:
                    self._buffer = rows + self._buffer
                raise

    def close(self) -> None:
        """Write the buffered impressions and reject further ones.

        Raises
        ------
        StoreUnavailableError
            If they cannot be written.
        """
        with self._lock:
            self._closed = True
        self.flush()

    def frame(self, after: int = 0, limit: int = 10_000) -> pl.DataFrame:
        """Return up to `limit` lists after a list ID as a data frame with one row per item.

        Parameters
        ----------
        after : int, default 0
            List ID after which to start.
        limit : int, default 10000
            Maximum number of lists.

        Returns
        -------
        polars.DataFrame
            Columns id (list ID), user, item, slot, propensity, model and time.
        """
        query = select(*_COLUMNS).where(impressions.c.id > checked_integer(after, "after")).order_by(impressions.c.id)
        query = query.limit(checked_integer(limit, "limit"))
        with self._database.read_transaction() as connection:
            rows = connection.execute(query).fetchall()
        lists = pl.DataFrame([tuple(row) for row in rows], schema=_LIST_SCHEMA, orient="row")
        places = (
            lists.with_columns(pl.col("places").str.json_decode(_POSITIONS_TYPE)).explode("places").unnest("places")
        )
        return places.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())

    def prune(self, before: int) -> int:
        """Delete old impressions in batches of 20,000.

        Parameters
        ----------
        before : int
            Delete lists shown before this time, in seconds since the Unix epoch.

        Returns
        -------
        int
            Number of deleted lists.
        """
        old_ids = (
            select(impressions.c.id)
            .where(impressions.c.time < before)
            .order_by(impressions.c.id)
            .limit(DELETE_BATCH_SIZE)
        )
        total = 0
        while True:
            with self._database.transaction() as connection:
                n_deleted = connection.execute(delete(impressions).where(impressions.c.id.in_(old_ids))).rowcount
            total += n_deleted
            if n_deleted < DELETE_BATCH_SIZE:
                return total

    def _write(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        """Insert rows, except those of users who were erased after the list was shown."""
        earliest_time = min(row["time"] for row in rows) - CLOCK_SKEW
        recent_tombstones = connection.execute(
            select(tombstones.c.hash, tombstones.c.time).where(tombstones.c.time >= earliest_time)
        )
        if erased_at := dict(recent_tombstones.all()):
            hashes = {user: salted_hash(self._salt, user) for user in {row["user"] for row in rows}}
            rows = [row for row in rows if row["time"] > erased_at.get(hashes[row["user"]], -CLOCK_SKEW) + CLOCK_SKEW]
        if rows:
            connection.execute(insert(impressions), rows)


def _row(impression: Any, where: str, current_time: int) -> dict[str, Any]:
    if isinstance(impression.items, str):
        raise DataError(f"{where}: items must be a list; got {impression.items!r}")
    items = [checked_id(item, f"{where}: the item") for item in impression.items]
    propensities = [1.0] * len(items) if impression.propensities is None else impression.propensities
    if not items or len(propensities) != len(items):
        count_text = f"{len(items)} items and {len(propensities)} propensities"
        raise DataError(f"{where} must have at least one item, and one propensity per item; got {count_text}")
    propensities = [checked_number(p, f"{where}: the propensity", 1e-12, 1) for p in propensities]
    places = [
        {"item": item, "slot": slot, "propensity": propensity}
        for slot, (item, propensity) in enumerate(zip(items, propensities, strict=True), start=1)
    ]
    return {
        "user": checked_id(impression.user, f"{where}: the user"),
        "places": json.dumps(places, ensure_ascii=False, separators=(",", ":")),
        "model": int(checked_number(impression.model, f"{where}: the model", 0, 2**53)),
        "time": current_time
        if impression.time is None
        else checked_time(impression.time, f"{where}: the time", current_time),
    }
