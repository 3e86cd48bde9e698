"""The log of events: appended to, read by number or by user, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import polars as pl
from sqlalchemy import Select, bindparam, select

from cofactor.data.ids import Id
from cofactor.data.interactions import Interactions, Kind
from cofactor.store.bulk_import import Loaded, load
from cofactor.store.connect import Database, now
from cofactor.store.event import KINDS, Event, Receipt, StoredEvent, checked_rows
from cofactor.store.schema import events
from cofactor.store.sequence import head
from cofactor.store.snapshot import Kept, code_of, settled, state_of
from cofactor.store.validation import checked_id, checked_whole
from cofactor.store.writer import PATIENCE, Writer, answer

__all__ = ["EventLog"]

PAGE = 100_000
_COLUMNS = select(
    events.c.seq, events.c.kind, events.c.user, events.c.item, events.c.value, events.c.time, events.c.received
)
_AFTER = _COLUMNS.where(events.c.seq > bindparam("after")).order_by(events.c.seq).limit(bindparam("most"))
_OF_USER = _COLUMNS.where(events.c.user == bindparam("who"), events.c.seq > bindparam("after")).order_by(events.c.seq)
_PAGE = _AFTER.where(events.c.seq <= bindparam("until"))
_SCHEMA = {
    "seq": pl.Int64,
    "kind": pl.Int8,
    "user": pl.String,
    "item": pl.String,
    "value": pl.Float64,
    "time": pl.Int64,
    "received": pl.Int64,
}


class EventLog:
    """What people did, in the order in which it was stored.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> folder = TemporaryDirectory()
    >>> store = Store.open(f"sqlite:///{folder.name}/shop.db")
    >>> store.events.append([Event("ana", "alien", 5, key="a1"), Event("bo", "clue", 2)])
    [Receipt(seq=1, duplicate=False), Receipt(seq=2, duplicate=False)]
    >>> store.events.append([Event("ana", "alien", 5, key="a1")])  # sent again
    [Receipt(seq=1, duplicate=True)]
    >>> [(event.item, event.value) for event in store.events.of_user("ana")], store.events.watermark()
    ([('alien', 5.0)], 2)
    >>> store.close()
    >>> folder.cleanup()
    """

    def __init__(self, database: Database, writer: Writer, salt: str):
        self._database = database
        self._writer = writer
        self._salt = salt
        with database.reading() as connection:
            self._latest = head(connection).received

    def submit(self, given: Iterable[Event]) -> Future[list[Receipt]]:
        """Store these events, all of them or none; the future answers once they are on disk.

        Raises DataError at once for an event that may not be stored, naming its place; StoreUnavailableError when too
        many requests wait already. The future may raise ConflictError or StoreUnavailableError. No events give no
        receipts.
        """
        self._latest = max(self._latest, now())  # a clock set back does not turn times of today into the future
        return self._writer.append(checked_rows(given, self._latest))

    def append(self, given: Iterable[Event], *, seconds: float = PATIENCE) -> list[Receipt]:
        """As `submit`, and wait for the receipts, at most so many seconds. Raises what it and its future raise."""
        return answer(self.submit(given), seconds, self._database.name)

    def watermark(self) -> int:
        """The number of the last change of all: events, items, users' facts, forgettings. 0 in an empty store.

        No change with a number up to it can appear later.
        """
        with self._database.reading() as connection:
            return head(connection).seq

    def holds(self, kind: Kind) -> bool:
        """Return whether any event of this kind was ever stored. Raises KindError for another kind."""
        query = select(events.c.seq).where(events.c.kind == code_of(kind)).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).one_or_none() is not None

    def after(self, seq: int, limit: int = 1_000) -> list[StoredEvent]:
        """The first `limit` events behind this number."""
        return self._read(
            _AFTER, {"after": checked_whole(seq, "the number"), "most": checked_whole(limit, "the limit")}
        )

    def of_user(self, user: Id, after: int = 0) -> list[StoredEvent]:
        """One user's events behind this number, by index: none for a user nobody knows."""
        values = {"who": checked_id(user, "the user"), "after": checked_whole(after, "the number")}
        return self._read(_OF_USER, values)

    def until(self, seq: int, *, after: int = 0) -> Iterator[pl.DataFrame]:
        """All events behind `after` up to `seq`, in frames of at most 100,000, with the columns of StoredEvent.

        kind: 0 a rating, 1 an event, 2 a removal.

        Each frame is read on its own, so a long training never holds a database back: of a user who is forgotten
        meanwhile, frames that were read before still tell.
        """
        after, seq = checked_whole(after, "the number"), checked_whole(seq, "the last number")
        while after < seq:
            with self._database.reading() as connection:
                rows = connection.execute(_PAGE, {"after": after, "until": seq, "most": PAGE}).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            columns = dict(zip(_SCHEMA, zip(*rows, strict=True), strict=True))
            yield pl.DataFrame(columns, schema=_SCHEMA)

    def state(self, kind: Kind, *, until: int | None = None) -> pl.DataFrame:
        """What all events up to a number (all, unless given) say of each pair: user, item, value, time; in no order.

        Ratings: the last by time counts, else the last stored; a removal takes away. Events: summed since the last
        removal. Nothing of forgotten users but their new lives. Ids are integers where all are canonical decimals.
        """
        last = self.watermark() if until is None else until
        return state_of(self.until(last), kind)

    def interactions(self, kind: Kind, *, until: int | None = None) -> Interactions:
        """`state` as the table that estimators learn from. Raises DataError where it is empty."""
        rows = self.state(kind, until=until)
        return Interactions.from_columns(rows["user"], rows["item"], rows["value"], times=rows["time"], kind=kind)

    def state_of_user(self, user: Id, kind: Kind) -> list[Kept]:
        """As `state`, of one user, by item: what an answer must count with at once."""
        return settled(self.of_user(user), kind)

    def load(self, table: Interactions | pl.DataFrame, *, kind: Kind | None = None, name: str = "") -> Loaded:
        """Store a whole table as ratings or events, each table once: again, or after a crash, it goes on where it was.

        table: Interactions without weights, or a frame with the columns user, item, value and perhaps time, in the
        order in which things happened, of this `kind`. name: tells apart what has the same content, such as the parts
        of a file. Rows of users who were forgotten are left out. 20,000 rows are committed at a time, so that live
        events get in between. Raises DataError before anything is stored; what can fail later is tried again by calling
        it again.
        """
        return load(self._writer, self._salt, table, kind, name)

    def _read(self, query: Select[Any], values: dict[str, Any]) -> list[StoredEvent]:
        with self._database.reading() as connection:
            rows = connection.execute(query, values).fetchall()
        return [StoredEvent(seq, KINDS[kind], *rest) for seq, kind, *rest in rows]
