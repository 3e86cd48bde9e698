"""What people did: one event as it comes in at the door, and as it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from cofactor.data.ids import Id
from cofactor.errors import DataError
from cofactor.store.validation import LARGEST_VALUE, checked_id, checked_number, checked_text, checked_time

__all__ = ["EVENT", "KINDS", "RATING", "REMOVAL", "Event", "EventKind", "Receipt", "Row", "StoredEvent", "checked_rows"]

EventKind: TypeAlias = Literal["rating", "event", "removal"]
KINDS: tuple[EventKind, ...] = get_args(EventKind)
RATING, EVENT, REMOVAL = range(3)
MOST_AT_ONCE = 10_000
LONGEST_KEY = 128
SMALLEST_EVENT = 1e-30  # float32 knows it


@dataclass(frozen=True, slots=True)
class Event:
    """Something a user did with an item.

    Attributes:

        user, item: strings of at most 256 characters, or integers.
        value: the rating; how often or how much for an event, 1 unless given; none for a removal.
        kind: "rating"; "event" (a click, a play, a purchase); "removal" (what was told of the pair until then is gone).
        time: when, in whole seconds since 1970; when it is stored, unless given.
        key: the idempotency key, up to 128 characters: sent again under the same key, an event is stored once.

    >>> Event("ana", "alien", 5, key="ana-alien-1")
    Event(user='ana', item='alien', value=5, kind='rating', time=None, key='ana-alien-1')
    """

    user: Id
    item: Id
    value: float | None = None
    kind: EventKind = "rating"
    time: int | None = None
    key: str | None = None


class Receipt(NamedTuple):
    """What storing an event answers: its number, or that of the first one with its key, and whether it was there.

    >>> Receipt(seq=7, duplicate=False)
    Receipt(seq=7, duplicate=False)
    """

    seq: int
    duplicate: bool


class StoredEvent(NamedTuple):
    """An event as it is kept, ids as text.

    seq: its number in the order of all changes. time: as told, else when it came. received: when it came.

    >>> StoredEvent(7, "rating", "ana", "alien", 5.0, time=1_700_000_000, received=1_700_000_060).item
    'alien'
    """

    seq: int
    kind: EventKind
    user: str
    item: str
    value: float
    time: int
    received: int


class Row(NamedTuple):
    """An event past the door that has no number yet."""

    key: str | None
    kind: int
    user: str
    item: str
    value: float
    time: int | None


def checked_rows(events: Iterable[Event], present: int) -> list[Row]:
    """These events, past the door. Raises DataError naming the first that may not pass, counted from 1.

    >>> checked_rows([Event("ana", "alien", 5), Event("ana", "", 4)], present=0)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 2: the item is empty
    """
    given: Sequence[Event] = events if isinstance(events, Sequence) else list(events)
    if len(given) > MOST_AT_ONCE:
        raise DataError(f"{len(given):,} events at once; send at most {MOST_AT_ONCE:,}")
    return [_row(event, f"event {place}", present) for place, event in enumerate(given, start=1)]


def _row(event: Any, where: str, present: int) -> Row:
    if not isinstance(event, Event):
        raise DataError(f"{where} is no Event but a {type(event).__name__}")
    if event.kind not in KINDS:
        raise DataError(f"{where}: the kind must be one of {', '.join(KINDS)}")
    kind = KINDS.index(event.kind)
    return Row(
        None if event.key is None else _key(event.key, f"{where}: the key"),
        kind,
        checked_id(event.user, f"{where}: the user"),
        checked_id(event.item, f"{where}: the item"),
        _value(event.value, kind, f"{where}: the value"),
        None if event.time is None else checked_time(event.time, f"{where}: the time", present),
    )


def _key(key: Any, what: str) -> str:
    if key == "":
        raise DataError(f"{what} is empty; leave it out where there is none")
    return checked_text(key, what, LONGEST_KEY)


def _value(value: Any, kind: int, what: str) -> float:
    if kind == REMOVAL:
        if value is not None:
            raise DataError(f"{what} of a removal is given; a removal has none")
        return 0.0
    if kind == EVENT:
        return 1.0 if value is None else checked_number(value, f"{what} of an event", SMALLEST_EVENT, LARGEST_VALUE)
    if value is None:
        raise DataError(f"{what} is missing; a rating needs one")
    return checked_number(value, what, -LARGEST_VALUE, LARGEST_VALUE) + 0.0
