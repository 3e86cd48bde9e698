"""Change feed: track changes in the store since the models were trained, so that answers use them immediately.

All changes (events, items, user metadata, erasures) share one sequence of numbers that become visible in order. The
last number therefore shows whether anything has changed; if so, the new changes are read. In every worker process, a
request uses all changes that were acknowledged before it started.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from cofactor.store import Store, StoredEvent

__all__ = ["ChangeFeed", "ItemRecord"]

PAGE_SIZE = 10_000


class ItemRecord(NamedTuple):
    """Title, availability and metadata of an item in the store.

    Attributes
    ----------
    title : str or None
        Title.
    available : bool
        Whether the item may be recommended.
    metadata : dict of str to Any
        JSON-serializable values by name.
    """

    title: str | None
    available: bool
    metadata: dict[str, Any]


class ChangeFeed:
    """In-memory index of the changes in the store after a sequence number; one per process.

    Parameters
    ----------
    store : Store
        The store.
    since : int
        Sequence number after which events are read: the oldest watermark of the models in use.

    Attributes
    ----------
    last_seen : int
        Sequence number of the last change that was read.
    catalog_version : int
        Counter that increases whenever an item changes.
    unavailable : frozenset of str
        Items that must not be recommended.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     changes = ChangeFeed(store, since=0)
    ...     _ = store.events.append([Event("ana", "alien", 5)])
    ...     _ = store.items.set_available(["clue"], available=False)
    ...     changes.catch_up()
    ...     changes.last_change("ana"), changes.last_change("bo"), changes.unavailable
    (1, 0, frozenset({'clue'}))
    """

    def __init__(self, store: Store, since: int):
        self._store = store
        self._lock = threading.Lock()
        self._events: dict[str, int] = {}
        self._erasures = {tombstone.hash: tombstone.seq for tombstone in store.erasure.after(0)}
        self._metadata: dict[str, int] = {}
        self._items: dict[str, ItemRecord] = {}
        self.unavailable: frozenset[str] = frozenset()
        self.catalog_version = 0
        self.last_seen = 0
        self._events_seen = self._floor = since
        self.catch_up()

    def catch_up(self) -> None:
        """Read all changes that the store has acknowledged so far.

        Raises
        ------
        StoreUnavailableError
            If the database is unavailable; changes read earlier are kept.
        """
        last_seq = self._store.events.watermark()
        if last_seq <= self.last_seen:
            return
        with self._lock:
            if last_seq <= self.last_seen:
                return
            for page in self._pages(self._events_seen):
                self._events.update((event.user, event.seq) for event in page)
                self._events_seen = page[-1].seq
            for tombstone in self._store.erasure.after(self.last_seen):
                self._erasures[tombstone.hash] = max(tombstone.seq, self._erasures.get(tombstone.hash, 0))
            self._metadata |= self._store.users.seqs_after(self.last_seen)
            if changed_items := self._store.items.after(self.last_seen):
                self._items |= {
                    item.item: ItemRecord(item.title, item.available, item.metadata) for item in changed_items
                }
                self.unavailable = frozenset(name for name, item in self._items.items() if not item.available)
                self.catalog_version += 1
            self.last_seen = max(last_seq, self._events_seen)

    def last_change(self, user: str) -> int:
        """Return the sequence number of the user's last event or erasure.

        Parameters
        ----------
        user : str
            ID of the user.

        Returns
        -------
        int
            The sequence number; models with a smaller watermark were trained without this change. 0 if all models in
            use include all changes for the user.
        """
        return max(self._events.get(user, 0), self._erased_at(user))

    def last_event(self, user: str) -> int:
        """Return the sequence number of the user's last event that is not covered by an erasure.

        Parameters
        ----------
        user : str
            ID of the user.

        Returns
        -------
        int
            The sequence number; 0 if there is no such event.
        """
        last_seq = self._events.get(user, 0)
        return 0 if self.erased_after(user, last_seq) else last_seq

    def last_metadata_change(self, user: str) -> int:
        """Return the sequence number of the last change to a user's metadata.

        Parameters
        ----------
        user : str
            ID of the user.

        Returns
        -------
        int
            The sequence number; 0 for a user without metadata.
        """
        return self._metadata.get(user, 0)

    def erased_after(self, user: str, seq: int) -> bool:
        """Return whether a user was erased after a sequence number, so that their earlier data must not be used.

        Parameters
        ----------
        user : str
            ID of the user.
        seq : int
            Sequence number.

        Returns
        -------
        bool
            Whether the user was erased.
        """
        return self._erased_at(user) > seq

    def item(self, item: str) -> ItemRecord | None:
        """Return the stored record of an item.

        Parameters
        ----------
        item : str
            ID of the item.

        Returns
        -------
        ItemRecord or None
            The record; None if the item is not in the store.
        """
        return self._items.get(item)

    def items(self) -> dict[str, ItemRecord]:
        """Return the stored records of all items.

        Returns
        -------
        dict of str to ItemRecord
            Records by item ID.
        """
        with self._lock:
            return dict(self._items)

    def extend_back_to(self, seq: int) -> None:
        """Read the events since an earlier sequence number, as needed after a rollback to an older model.

        Parameters
        ----------
        seq : int
            Watermark of the older model.
        """
        with self._lock:
            if seq >= self._floor:
                return
            for page in self._pages(seq):
                for event in page:
                    self._events[event.user] = max(event.seq, self._events.get(event.user, 0))
            self._floor = seq

    def discard_until(self, seq: int) -> None:
        """Discard events up to a sequence number; all models in use must include them.

        Parameters
        ----------
        seq : int
            Oldest watermark of the models in use.
        """
        with self._lock:
            self._events = {user: last_seq for user, last_seq in self._events.items() if last_seq > seq}
            self._floor = max(seq, self._floor)

    def _erased_at(self, user: str) -> int:
        return self._erasures.get(self._store.erasure.hash(user), 0) if self._erasures else 0

    def _pages(self, after: int) -> Iterator[list[StoredEvent]]:
        while page := self._store.events.after(after, PAGE_SIZE):
            yield page
            after = page[-1].seq
