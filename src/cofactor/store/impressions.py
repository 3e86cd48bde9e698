"""What was shown to whom, and with what chance: kept for a second, then written together."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, delete, insert, select

from cofactor.data.ids import Id
from cofactor.errors import DataError, StoreError
from cofactor.store.connect import Database, now
from cofactor.store.erasure import hashed
from cofactor.store.schema import impressions, tombstones
from cofactor.store.validation import checked_id, checked_number, checked_time, checked_whole

__all__ = ["Impression", "Impressions"]

MOST_KEPT = 20_000
DELETED_AT_ONCE = 20_000
SKEW = 5  # seconds that the clocks of two machines may differ
_SCHEMA = {
    "id": pl.Int64,
    "user": pl.String,
    "item": pl.String,
    "slot": pl.Int32,
    "propensity": pl.Float64,
    "model": pl.Int64,
    "time": pl.Int64,
}
_PLACES = pl.List(pl.Struct({"item": pl.String, "slot": pl.Int32, "propensity": pl.Float64}))
_LISTS = {"id": pl.Int64, "user": pl.String, "places": pl.String, "model": pl.Int64, "time": pl.Int64}
_COLUMNS = [impressions.c[name] for name in _LISTS]


@dataclass(frozen=True, slots=True)
class Impression:
    """A list that was shown to a user.

    items: from the top; an item's slot is its place, from 1. propensities: the chance with which each came to stand
    where it does, above 0, up to 1; all 1 unless given. model: the version that ranked them, 0 for none. time: whole
    seconds since 1970, now unless given.

    >>> Impression("ana", ["alien", "clue"], [0.9, 0.1], model=3).items[1]
    'clue'
    """

    user: Id
    items: Sequence[Id]
    propensities: Sequence[float] | None = None
    model: int = 0
    time: int | None = None


class Impressions:
    """What was shown, a row for each list.

    Up to about a second of it is lost where the process is killed; a close loses none.

    Attributes:

        lost: how many lists were dropped because the database did not take them for so long that 20,000 waited.

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
        self._waiting: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self._flushing = threading.Lock()
        self._closed = False
        self.lost = 0

    def log(self, shown: Iterable[Impression]) -> None:
        """Keep these, to be written within about a second. Raises DataError for one that may not be stored.

        Raises StoreError once the store is closed.
        """
        self._database.check_process()
        present = now()
        rows = [_row(one, f"impression {place}", present) for place, one in enumerate(shown, start=1)]
        with self._guard:
            if self._closed:
                raise StoreError("this store is closed")
            free = max(MOST_KEPT - len(self._waiting), 0)
            self._waiting += rows[:free]
            self.lost += len(rows[free:])

    def flush(self) -> None:
        """Write what waits. Raises StoreUnavailableError where that fails; it goes on waiting then."""
        with self._flushing:
            with self._guard:
                rows, self._waiting = self._waiting, []
            if not rows:
                return
            try:
                with self._database.transaction() as connection:
                    self._write(connection, rows)
            except StoreError:
                with self._guard:
                    self._waiting = rows + self._waiting
                raise

    def close(self) -> None:
        """Write what waits; `log` takes no more. Raises StoreUnavailableError where that fails."""
        with self._guard:
            self._closed = True
        self.flush()

    def frame(self, after: int = 0, limit: int = 10_000) -> pl.DataFrame:
        """The first `limit` lists behind this id, an item a row: id (of the list), user, item, slot, propensity, model,
        time."""
        query = select(*_COLUMNS).where(impressions.c.id > checked_whole(after, "the id")).order_by(impressions.c.id)
        query = query.limit(checked_whole(limit, "the limit"))
        with self._database.reading() as connection:
            rows = connection.execute(query).fetchall()
        lists = pl.DataFrame([tuple(row) for row in rows], schema=_LISTS, orient="row")
        places = lists.with_columns(pl.col("places").str.json_decode(_PLACES)).explode("places").unnest("places")
        return places.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())

    def prune(self, before: int) -> int:
        """Delete those shown before this time, some at a time; returns how many."""
        old = (
            select(impressions.c.id)
            .where(impressions.c.time < before)
            .order_by(impressions.c.id)
            .limit(DELETED_AT_ONCE)
        )
        gone = 0
        while True:
            with self._database.transaction() as connection:
                deleted = connection.execute(delete(impressions).where(impressions.c.id.in_(old))).rowcount
            gone += deleted
            if deleted < DELETED_AT_ONCE:
                return gone

    def _write(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        """All but those of users who were forgotten after they saw them."""
        since = min(row["time"] for row in rows) - SKEW
        stones = connection.execute(select(tombstones.c.hash, tombstones.c.time).where(tombstones.c.time >= since))
        if forgotten := dict(stones.all()):
            hashes = {user: hashed(self._salt, user) for user in {row["user"] for row in rows}}
            rows = [row for row in rows if row["time"] > forgotten.get(hashes[row["user"]], -SKEW) + SKEW]
        if rows:
            connection.execute(insert(impressions), rows)


def _row(shown: Any, where: str, present: int) -> dict[str, Any]:
    if isinstance(shown.items, str):
        raise DataError(f"{where}: items are a list, and not {shown.items!r}")
    items = [checked_id(item, f"{where}: the item") for item in shown.items]
    chances = [1.0] * len(items) if shown.propensities is None else shown.propensities
    if not items or len(chances) != len(items):
        raise DataError(f"{where} is of {len(items)} items with {len(chances)} propensities")
    chances = [checked_number(chance, f"{where}: the propensity", 1e-12, 1) for chance in chances]
    places = [
        {"item": item, "slot": slot, "propensity": chance}
        for slot, (item, chance) in enumerate(zip(items, chances, strict=True), start=1)
    ]
    return {
        "user": checked_id(shown.user, f"{where}: the user"),
        "places": json.dumps(places, ensure_ascii=False, separators=(",", ":")),
        "model": int(checked_number(shown.model, f"{where}: the model", 0, 2**53)),
        "time": present if shown.time is None else checked_time(shown.time, f"{where}: the time", present),
    }
