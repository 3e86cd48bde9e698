"""What happened since a model learnt: which users an answer must look up anew, and which items cannot be had.

The store numbers every change (an event, an item, a forgetting) in one sequence that becomes visible in order. One
cheap question, the last number, therefore tells whether anything is new; if so, what came is read and noted here, so
that whatever was acknowledged before a request began counts in its answer, on every worker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from cofactor.store import Store, StoredEvent

__all__ = ["ChangeFeed", "KnownItem"]

PAGE = 10_000


class KnownItem(NamedTuple):
    """What the store says of an item."""

    title: str | None
    available: bool
    metadata: dict[str, Any]


class ChangeFeed:
    """One process's knowledge of the store's changes behind a number.

    Attributes:

        seen: the number up to which all is known.
        catalog: grows whenever an item changed.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Event, Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     changes = Changes(store, since=0)
    ...     _ = store.events.append([Event("ana", "alien", 5)])
    ...     _ = store.items.set_available(["clue"], available=False)
    ...     changes.catch_up()
    ...     changes.of("ana"), changes.of("bo"), changes.unavailable
    (1, 0, frozenset({'clue'}))
    """

    def __init__(self, store: Store, since: int):
        self._store = store
        self._guard = threading.Lock()
        self._users: dict[str, int] = {}
        self._stones = {stone.hash: stone.seq for stone in store.forgotten.after(0)}
        self._facts: dict[str, int] = {}
        self._items: dict[str, KnownItem] = {}
        self.unavailable: frozenset[str] = frozenset()
        self.catalog = 0
        self.seen = 0
        self._events_seen = self._floor = since
        self.catch_up()

    def catch_up(self) -> None:
        """Know all that is acknowledged by now. Raises StoreUnavailableError, and keeps what it knows."""
        last = self._store.events.watermark()
        if last <= self.seen:
            return
        with self._guard:
            if last <= self.seen:
                return
            self._read_events()
            for stone in self._store.forgotten.after(self.seen):
                self._stones[stone.hash] = max(stone.seq, self._stones.get(stone.hash, 0))
            self._facts |= self._store.users.numbers_after(self.seen)
            self._read_items()
            self.seen = max(last, self._events_seen)

    def _read_events(self) -> None:
        for page in self._pages(self._events_seen):
            for event in page:
                self._users[event.user] = event.seq
            self._events_seen = page[-1].seq

    def _read_items(self) -> None:
        changed = self._store.items.after(self.seen)
        if not changed:
            return
        for item in changed:
            self._items[item.item] = KnownItem(item.title, item.available, item.metadata)
        self.unavailable = frozenset(name for name, item in self._items.items() if not item.available)
        self.catalog += 1

    def of(self, user: str) -> int:
        """The number of the user's last event or forgetting that is newer than any model here; 0 where there is none.

        Compare it with a model's watermark: what is above, that model does not know.
        """
        stone = self._stones.get(self._store.forgotten.hash(user), 0) if self._stones else 0
        return max(self._users.get(user, 0), stone)

    def events_of(self, user: str) -> int:
        """The number of the user's last event that is not forgotten; 0 where there is none."""
        last = self._users.get(user, 0)
        return 0 if self.forgotten_after(user, last) else last

    def facts_of(self, user: str) -> int:
        """The number of the last change of the user's facts; 0 where nothing is known."""
        return self._facts.get(user, 0)

    def forgotten_after(self, user: str, seq: int) -> bool:
        """Whether the user was forgotten behind this number: what was learnt up to it must not be used."""
        return bool(self._stones) and self._stones.get(self._store.forgotten.hash(user), 0) > seq

    def item(self, item: str) -> KnownItem | None:
        """Title, availability and metadata of an item, or None where nothing is known."""
        return self._items.get(item)

    def items(self) -> dict[str, KnownItem]:
        """All items of which something is known."""
        with self._guard:
            return dict(self._items)

    def cover(self, seq: int) -> None:
        """Know of every user's events behind this number, for a model older than the one before (a roll-back)."""
        with self._guard:
            if seq >= self._floor:
                return
            for page in self._pages(seq):
                for event in page:
                    self._users[event.user] = max(event.seq, self._users.get(event.user, 0))
            self._floor = seq

    def drop(self, seq: int) -> None:
        """Keep nothing of events up to this number: every model that may still be asked has learnt from them."""
        with self._guard:
            self._users = {user: last for user, last in self._users.items() if last > seq}
            self._floor = max(seq, self._floor)

    def _pages(self, after: int) -> Iterator[list[StoredEvent]]:
        while page := self._store.events.after(after, PAGE):
            yield page
            after = page[-1].seq
