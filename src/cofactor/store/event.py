"""Events: ratings, events and removals as they are submitted and as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from cofactor.data.id_columns import Id
from cofactor.errors import DataError
from cofactor.store.validation import LARGEST_VALUE, checked_id, checked_number, checked_text, checked_time

__all__ = ["EVENT", "KINDS", "RATING", "REMOVAL", "Event", "EventKind", "Receipt", "Row", "StoredEvent", "checked_rows"]

EventKind: TypeAlias = Literal["rating", "event", "removal"]
KINDS: tuple[EventKind, ...] = get_args(EventKind)
RATING, EVENT, REMOVAL = range(3)
MOST_AT_ONCE = 10_000
LONGEST_KEY = 128
SMALLEST_EVENT = 1e-30  # a normal float32


@dataclass(frozen=True, slots=True)
class Event:
    """An action of a user on an item.

    Attributes
    ----------
    user, item : str or int
        IDs; strings have at most 256 characters.
    value : float or None, default None
        The rating; for an event how often or how much (1 if None); None for a removal.
    kind : {'rating', 'event', 'removal'}, default "rating"
        "event" is a click, a play or a purchase; "removal" deletes all earlier events of the user and the item.
    time : int or None, default None
        Time of the event, in whole seconds since 1970; None for the time of storage.
    key : str or None, default None
        Idempotency key of up to 128 characters: events with the same key are stored once.

    Examples
    --------
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
    """Result of storing an event.

    Attributes
    ----------
    seq : int
        Sequence number of the event, or of the first event with the same key.
    duplicate : bool
        Whether an event with the same key was already stored.

    Examples
    --------
    >>> Receipt(seq=7, duplicate=False)
    Receipt(seq=7, duplicate=False)
    """

    seq: int
    duplicate: bool


class StoredEvent(NamedTuple):
    """An event in the store.

    Attributes
    ----------
    seq : int
        Sequence number in the order of all changes.
    kind : {'rating', 'event', 'removal'}
        Kind of the event.
    user, item : str
        IDs as text.
    value : float
        Value; 0 for a removal.
    time : int
        Submitted time, else the time of receipt, in whole seconds since 1970.
    received : int
        Time of receipt, in whole seconds since 1970.

    Examples
    --------
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
    """A validated event without a sequence number.

    Attributes
    ----------
    key : str or None
        Idempotency key.
    kind : int
        Code of the kind of event.
    user, item : str
        IDs as stored.
    value : float
        Rating or count.
    time : int or None
        Seconds since 1970.
    """

    key: str | None
    kind: int
    user: str
    item: str
    value: float
    time: int | None


def checked_rows(events: Iterable[Event], present: int) -> list[Row]:
    """Validate events.

    Parameters
    ----------
    events : iterable of Event
        The events, at most 10,000.
    present : int
        Current time, in whole seconds since 1970.

    Returns
    -------
    list of Row
        The validated events; [] for no events.

    Raises
    ------
    DataError
        If an event is invalid; the message names the first one, counted from 1.

    Examples
    --------
    >>> checked_rows([Event("ana", "alien", 5), Event("ana", "", 4)], present=0)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 2: the item is empty
    """
    batch: Sequence[Event] = events if isinstance(events, Sequence) else list(events)
    if len(batch) > MOST_AT_ONCE:
        raise DataError(f"{len(batch):,} events at once; send at most {MOST_AT_ONCE:,}")
    return [_row(event, f"event {n}", present) for n, event in enumerate(batch, start=1)]


def _row(event: Any, where: str, present: int) -> Row:
    if not isinstance(event, Event):
        raise DataError(f"{where} must be an Event, not {type(event).__name__}")
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
        raise DataError(f"{what} is empty; leave it out if there is none")
    return checked_text(key, what, LONGEST_KEY)


def _value(value: Any, kind: int, what: str) -> float:
    if kind == REMOVAL:
        if value is not None:
            raise DataError(f"{what} of a removal must be left out")
        return 0.0
    if kind == EVENT:
        return 1.0 if value is None else checked_number(value, f"{what} of an event", SMALLEST_EVENT, LARGEST_VALUE)
    if value is None:
        raise DataError(f"{what} is missing; a rating needs one")
    return checked_number(value, what, -LARGEST_VALUE, LARGEST_VALUE) + 0.0
