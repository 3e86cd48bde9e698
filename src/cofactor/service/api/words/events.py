"""Events over the wire, in and out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cofactor.service.api.words.basics import WHOLE, Id, Line, Number, Wire, either
from cofactor.store import EventKind
from cofactor.store.door import LARGEST_VALUE, LAST_TIME
from cofactor.store.event import LONGEST_KEY, SMALLEST_EVENT

__all__ = ["Bulk", "EventBody", "EventPage", "Stored"]

RATED: dict[str, Any] = {
    "kind": {"const": "rating", "default": "rating"},
    "value": {"$ref": "#/components/schemas/Rating"},
}
HAPPENED: dict[str, Any] = {
    "kind": {"const": "event"},
    "value": {
        "anyOf": [{"type": "number", "minimum": SMALLEST_EVENT, "maximum": LARGEST_VALUE}, {"type": "null"}],
        "default": None,
        "description": "How often or how much; once unless given",
    },
}
REMOVED: dict[str, Any] = {"kind": {"const": "removal"}, "value": {"type": "null"}}


class EventBody(Wire):
    """Something a user did; `key` makes sending it again safe."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=either(
            RATED,
            HAPPENED,
            REMOVED,
            examples=[{"user": "ana", "item": "alien", "value": 5, "key": "ana-alien-1"}],
        ),
    )

    user: Id
    item: Id
    value: Number | None = Field(None, description="The rating, or how often; none for a removal")
    kind: EventKind = "rating"
    time: Annotated[int, Field(ge=0, lt=LAST_TIME), WHOLE] | None = Field(
        None,
        description="Seconds since 1970, at most a day ahead of the service's clock; now unless given",
    )
    key: Line | None = Field(None, min_length=1, max_length=LONGEST_KEY, description="Idempotency key")


class Stored(BaseModel):
    """The event's number, or that of the first with its key."""

    seq: int
    duplicate: bool


class Fared(BaseModel):
    """How one line fared: its number, or why it was refused."""

    line: int
    seq: int | None = None
    duplicate: bool | None = None
    error: str | None = None


class Bulk(BaseModel):
    """How all lines fared."""

    stored: int
    duplicates: int
    refused: int
    results: list[Fared]


class EventOut(BaseModel):
    """An event as it is kept."""

    seq: int
    kind: EventKind
    user: str
    item: str
    value: float
    time: int
    received: int


class EventPage(BaseModel):
    """A page of events; `next` is what to ask for after it."""

    events: list[EventOut]
    next: int
