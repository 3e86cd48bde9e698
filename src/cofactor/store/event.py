"""Event types: ratings, events and removals, before and after they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from cofactor import checks
from cofactor.data.id_columns import Id
from cofactor.errors import DataError
from cofactor.store.validation import MAX_VALUE, checked_id, checked_number, checked_text, checked_time

__all__ = ["EVENT", "KINDS", "RATING", "REMOVAL", "Event", "EventKind", "Receipt", "Row", "StoredEvent", "checked_rows"]

EventKind: TypeAlias = Literal["rating", "event", "removal"]
KINDS: tuple[EventKind, ...] = get_args(EventKind)
RATING, EVENT, REMOVAL = range(3)
MAX_EVENTS = 10_000
MAX_KEY_LENGTH = 128
MIN_EVENT_VALUE = 1e-30  # a normal float32


@dataclass(frozen=True, slots=True)
class Event:
    """User-item interaction to be stored.

    Attributes
    ----------
    user, item : str or int
        User and item IDs; strings may have at most 256 characters.
    value : float or None, default None
        Rating, or the count or amount of an event (1 if None); must be None for a removal.
    kind : {'rating', 'event', 'removal'}, default "rating"
        "event" is a click, a play or a purchase; "removal" deletes all earlier events for the user-item pair.
    time : int or None, default None
        Time of the event, in seconds since the Unix epoch; None for the time of receipt.
    key : str or None, default None
        Idempotency key of up to 128 characters; events with the same key are stored only once.

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
    """Sequence number of a stored event, and whether an event with the same key was already stored.

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
    """Event in the store.

    Attributes
    ----------
    seq : int
        Sequence number among all changes.
    kind : {'rating', 'event', 'removal'}
        Kind of the event.
    user, item : str
        User and item IDs as strings.
    value : float
        Rating, count or amount; 0 for a removal.
    time : int
        Submitted time if there is one, otherwise the time of receipt, in seconds since the Unix epoch.
    received : int
        Time of receipt, in seconds since the Unix epoch.

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
    """Validated event, ready to be stored.

    Attributes
    ----------
    key : str or None
        Idempotency key.
    kind : int
        Integer code of the event kind.
    user, item : str
        User and item IDs as strings.
    value : float
        Rating, count or amount.
    time : int or None
        Time in seconds since the Unix epoch; None for the time of receipt.
    """

    key: str | None
    kind: int
    user: str
    item: str
    value: float
    time: int | None


def checked_rows(events: Iterable[Event], current_time: int) -> list[Row]:
    """Validate events and convert them to rows.

    Parameters
    ----------
    events : iterable of Event
        The events, at most 10,000.
    current_time : int
        Current time, in seconds since the Unix epoch.

    Returns
    -------
    list of Row
        The validated events; empty if there are no events.

    Raises
    ------
    DataError
        If an event is invalid; the message gives the position of the first invalid event, starting at 1.

    Examples
    --------
    >>> checked_rows([Event("ana", "alien", 5), Event("ana", "", 4)], current_time=0)
    Traceback (most recent call last):
    cofactor.errors.DataError: event 2: the item is empty
    """
    batch: Sequence[Event] = events if isinstance(events, Sequence) else list(events)
    if len(batch) > MAX_EVENTS:
        raise DataError(f"events must contain at most {MAX_EVENTS:,} events; got {len(batch):,}")
    return [_row(event, f"event {n}", current_time) for n, event in enumerate(batch, start=1)]


def _row(event: Any, where: str, current_time: int) -> Row:
    if not isinstance(event, Event):
        raise DataError(f"{where} must be an Event, not {type(event).__name__}")
    if event.kind not in KINDS:
        raise DataError(f"{where}: the kind must be one of {', '.join(KINDS)}; got {checks.describe(event.kind)}")
    kind = KINDS.index(event.kind)
    return Row(
        None if event.key is None else _key(event.key, f"{where}: the key"),
        kind,
        checked_id(event.user, f"{where}: the user"),
        checked_id(event.item, f"{where}: the item"),
        _value(event.value, kind, f"{where}: the value"),
        None if event.time is None else checked_time(event.time, f"{where}: the time", current_time),
    )


def _key(key: Any, label: str) -> str:
    if key == "":
        raise DataError(f"{label} must not be empty; omit it if there is none")
    return checked_text(key, label, MAX_KEY_LENGTH)


def _value(value: Any, kind: int, label: str) -> float:
    if kind == REMOVAL:
        if value is not None:
            raise DataError(f"{label} must be omitted for a removal")
        return 0.0
    if kind == EVENT:
        return 1.0 if value is None else checked_number(value, f"{label} of an event", MIN_EVENT_VALUE, MAX_VALUE)
    if value is None:
        raise DataError(f"{label} is missing; a rating requires one")
    return checked_number(value, label, -MAX_VALUE, MAX_VALUE) + 0.0
