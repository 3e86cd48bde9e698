"""Event log: append-only storage of events, which can be read by sequence number or by user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import polars as pl
from sqlalchemy import Select, bindparam, select

from cofactor.data.id_columns import Id
from cofactor.data.interactions import Interactions, Kind
from cofactor.store.bulk_import import ImportResult, load
from cofactor.store.connect import Database, now
from cofactor.store.event import KINDS, Event, Receipt, StoredEvent, checked_rows
from cofactor.store.schema import events
from cofactor.store.sequence import head
from cofactor.store.snapshot import CurrentValue, kind_code, snapshot_of, user_snapshot
from cofactor.store.validation import checked_id, checked_integer
from cofactor.store.writer import TIMEOUT, Writer, wait_for_result

__all__ = ["EventLog"]

PAGE_SIZE = 100_000
_COLUMNS = select(
    events.c.seq, events.c.kind, events.c.user, events.c.item, events.c.value, events.c.time, events.c.received
)
USERS_PER_QUERY = 500
_AFTER_QUERY = _COLUMNS.where(events.c.seq > bindparam("after")).order_by(events.c.seq).limit(bindparam("most"))
_USER_QUERY = _COLUMNS.where(events.c.user == bindparam("who"), events.c.seq > bindparam("after")).order_by(
    events.c.seq
)
_USERS_QUERY = _COLUMNS.where(events.c.user.in_(bindparam("who", expanding=True))).order_by(events.c.seq)
_PAGE_QUERY = _AFTER_QUERY.where(events.c.seq <= bindparam("until"))
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
    """Log of all events in the order in which they were stored.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.
    salt : str
        Salt for the hashes of erased users.

    Examples
    --------
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
        with database.read_transaction() as connection:
            self._latest = head(connection).received

    def submit(self, new_events: Iterable[Event]) -> Future[list[Receipt]]:
        """Queue events for storage; either all or none of them are stored.

        Parameters
        ----------
        new_events : iterable of Event
            The events, at most 10,000.

        Returns
        -------
        Future of list of Receipt
            Future that completes once the events are on disk; its result is [] if there are no events. It may raise
            ConflictError or StoreUnavailableError.

        Raises
        ------
        DataError
            If an event is invalid; the message names its position.
        StoreUnavailableError
            If too many requests are queued.
        """
        self._latest = max(self._latest, now())  # recent times remain valid if the clock is set back
        return self._writer.append(checked_rows(new_events, self._latest))

    def append(self, new_events: Iterable[Event], *, seconds: float = TIMEOUT) -> list[Receipt]:
        """Store events and wait until they are on disk; either all or none of them are stored.

        Parameters
        ----------
        new_events : iterable of Event
            The events, at most 10,000.
        seconds : float, default 60.0
            Maximum time to wait, in seconds.

        Returns
        -------
        list of Receipt
            One receipt per event; empty if there are no events.

        Raises
        ------
        DataError
            If an event is invalid; the message names its position.
        ConflictError
            If a key was already used for a different event.
        StoreUnavailableError
            If the database is unavailable or too many requests are queued.
        """
        return wait_for_result(self.submit(new_events), seconds, self._database.name)

    def watermark(self) -> int:
        """Return the sequence number of the last change to events, items or users, including erasures.

        Returns
        -------
        int
            The sequence number; no change with this or a smaller number can appear later. 0 for an empty store.
        """
        with self._database.read_transaction() as connection:
            return head(connection).seq

    def contains(self, kind: Kind) -> bool:
        """Return whether the log contains any events of a kind.

        Parameters
        ----------
        kind : {'ratings', 'events'}
            The kind.

        Returns
        -------
        bool
            Whether there are any.

        Raises
        ------
        KindError
            If the kind is unknown.
        """
        query = select(events.c.seq).where(events.c.kind == kind_code(kind)).limit(1)
        with self._database.read_transaction() as connection:
            return connection.execute(query).one_or_none() is not None

    def after(self, seq: int, limit: int = 1_000) -> list[StoredEvent]:
        """Return up to `limit` events after a sequence number.

        Parameters
        ----------
        seq : int
            Sequence number.
        limit : int, default 1000
            Maximum number of events.

        Returns
        -------
        list of StoredEvent
            The events, ordered by sequence number; empty if there are none.
        """
        return self._read(_AFTER_QUERY, {"after": checked_integer(seq, "seq"), "most": checked_integer(limit, "limit")})

    def of_user(self, user: Id, after: int = 0) -> list[StoredEvent]:
        """Return the events of one user after a sequence number.

        Parameters
        ----------
        user : str or int
            ID of the user.
        after : int, default 0
            Sequence number.

        Returns
        -------
        list of StoredEvent
            The events, ordered by sequence number; empty for an unknown user.
        """
        values = {"who": checked_id(user, "the user"), "after": checked_integer(after, "after")}
        return self._read(_USER_QUERY, values)

    def of_users(self, names: Sequence[Id]) -> dict[str, list[StoredEvent]]:
        """Return the events of several users.

        Parameters
        ----------
        names : sequence of str or int
            IDs of the users.

        Returns
        -------
        dict of str to list of StoredEvent
            Events by user ID, ordered by sequence number; users without events are omitted.
        """
        by_user: dict[str, list[StoredEvent]] = {}
        ids = [checked_id(name, "the user") for name in names]
        for start in range(0, len(ids), USERS_PER_QUERY):
            for event in self._read(_USERS_QUERY, {"who": ids[start : start + USERS_PER_QUERY]}):
                by_user.setdefault(event.user, []).append(event)
        return by_user

    def until(self, seq: int, *, after: int = 0) -> Iterator[pl.DataFrame]:
        """Iterate over the events in a range of sequence numbers.

        Parameters
        ----------
        seq : int
            Last sequence number, inclusive.
        after : int, default 0
            Sequence number after which to start.

        Yields
        ------
        polars.DataFrame
            At most 100,000 events with the columns of StoredEvent; kind is 0 for a rating, 1 for an event and 2 for a
            removal.

        Notes
        -----
        Each frame is read in a separate transaction, so that a long training does not block the database. If a user is
        erased in the meantime, earlier frames still contain their events.
        """
        after, seq = checked_integer(after, "after"), checked_integer(seq, "seq")
        while after < seq:
            with self._database.read_transaction() as connection:
                rows = connection.execute(_PAGE_QUERY, {"after": after, "until": seq, "most": PAGE_SIZE}).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            columns = dict(zip(_SCHEMA, zip(*rows, strict=True), strict=True))
            yield pl.DataFrame(columns, schema=_SCHEMA)

    def snapshot(self, kind: Kind, *, until: int | None = None) -> pl.DataFrame:
        """Return the current rating or event total of each user-item pair.

        Parameters
        ----------
        kind : {'ratings', 'events'}
            Kind of events to aggregate.
        until : int or None, default None
            Last sequence number, inclusive; None for all events.

        Returns
        -------
        polars.DataFrame
            Columns user and item (String), value and time, in no particular order.

        Notes
        -----
        Ratings: the latest rating wins, ordered by time and then by sequence number; a removal deletes it. Events: the
        sum since the last removal. Data from before the erasure of a user is not included.
        """
        last_seq = self.watermark() if until is None else until
        return snapshot_of(self.until(last_seq), kind)

    def user_snapshot(self, user: Id, kind: Kind) -> list[CurrentValue]:
        """Return one user's current rating or event total for each item.

        Parameters
        ----------
        user : str or int
            ID of the user.
        kind : {'ratings', 'events'}
            Kind of events to aggregate.

        Returns
        -------
        list of CurrentValue
            One entry per item, ordered by item ID; empty for an unknown user.
        """
        return user_snapshot(self.of_user(user), kind)

    def load(self, table: Interactions | pl.DataFrame, *, kind: Kind | None = None, name: str = "") -> ImportResult:
        """Import a table once; a repeated call, for example after a crash, resumes the import.

        Parameters
        ----------
        table : Interactions or polars.DataFrame
            Interactions without weights, or a frame with the columns user, item, value and, optionally, time; rows must
            be in chronological order.
        kind : {'ratings', 'events'} or None, default None
            Kind of the table; required for a frame.
        name : str, default ""
            Name that distinguishes tables with identical content, such as parts of a file.

        Returns
        -------
        ImportResult
            Number of rows, stored rows and skipped rows.

        Raises
        ------
        DataError
            If a row is invalid; nothing is stored in this case.
        KindError
            If the kind is missing or does not match the table.

        Notes
        -----
        Rows of erased users are skipped. The import commits 20,000 rows at a time, so that live events do not wait for
        the whole import.
        """
        return load(self._writer, self._salt, table, kind, name)

    def _read(self, query: Select[Any], values: dict[str, Any]) -> list[StoredEvent]:
        with self._database.read_transaction() as connection:
            rows = connection.execute(query, values).fetchall()
        return [StoredEvent(seq, KINDS[kind], *other_fields) for seq, kind, *other_fields in rows]
