"""Event routes: store one or many events, and read them in order."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, Tag, TypeAdapter, ValidationError

from cofactor.errors import CofactorError, ConflictError, DataError, StoreUnavailableError
from cofactor.service.api.auth import ADMIN, WRITE
from cofactor.service.api.dependencies import CurrentService, Service
from cofactor.service.api.errors import Problem, location, responses
from cofactor.service.api.fields import (
    DECIMAL_NUMBER,
    FINITE_NUMBER,
    WHOLE_NUMBER,
    Id,
    PlainText,
    Rating,
    RequestBody,
    copy_fields,
    variant_by_kind,
)
from cofactor.service.api.routing import RepeatedMemberError, StrictRoute, parse_json
from cofactor.store import Event, EventKind, Receipt
from cofactor.store.event import MAX_KEY_LENGTH, MIN_EVENT_VALUE
from cofactor.store.validation import MAX_TIME, MAX_VALUE

__all__ = ["EventBody", "router"]

MAX_LINES = 10_000
CHUNK_SIZE = 500
"""Number of lines to parse before yielding to other requests."""


class EventFields(RequestBody):
    """Fields common to all events."""

    user: Id
    item: Id
    time: Annotated[int, Field(ge=0, lt=MAX_TIME), WHOLE_NUMBER] | None = Field(
        None, description="Seconds since the Unix epoch, at most one day ahead of the server clock; defaults to now"
    )
    key: PlainText | None = Field(
        None,
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="Idempotency key: events with the same key are stored once",
    )


class RatingBody(EventFields):
    """A rating event."""

    value: Rating
    kind: Literal["rating"] = "rating"


class CountBody(EventFields):
    """An event such as a click, a play or a purchase."""

    value: Annotated[float, Field(strict=True, ge=MIN_EVENT_VALUE, le=MAX_VALUE), FINITE_NUMBER] | None = Field(
        None, description="Count or amount; defaults to 1"
    )
    kind: Literal["event"]


class RemovalBody(EventFields):
    """Deletion of all earlier events for the user-item pair."""

    value: None = None
    kind: Literal["removal"]


EventBody = Annotated[
    Annotated[RatingBody, Tag("variant:rating")]
    | Annotated[CountBody, Tag("variant:event")]
    | Annotated[RemovalBody, Tag("variant:removal")],
    variant_by_kind("rating", "kind: must be rating, event or removal"),
]
"""Body of a rating, an event or a removal."""

_body = TypeAdapter[RatingBody | CountBody | RemovalBody](EventBody)


@dataclass(frozen=True)
class EventReceipt:
    """Sequence number of a stored event, or of the earlier event with the same idempotency key."""

    seq: int
    duplicate: bool


@dataclass(frozen=True)
class StoredLine:
    """An accepted line of a bulk request: stored now, or skipped because its idempotency key was stored before."""

    line: int
    seq: int
    duplicate: bool


@dataclass(frozen=True)
class RejectedLine:
    """A line of a bulk request that was not stored, with the error."""

    line: int
    error: str


@dataclass(frozen=True)
class BulkResult:
    """Results of a bulk request, one for each line."""

    stored: int
    duplicates: int
    rejected: int
    results: list[StoredLine | RejectedLine]


@dataclass(frozen=True)
class EventOut:
    """A stored event."""

    seq: int
    kind: EventKind
    user: str
    item: str
    value: float
    time: int
    received: int


@dataclass(frozen=True)
class EventPage:
    """A page of events; pass `next` as `after` to get the next page."""

    events: list[EventOut]
    next: int


NDJSON: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "pattern": r"[^ \t\n\r\f\v]"},
                "example": '{"user": "ana", "item": "alien", "value": 5, "key": "1"}\n{"user": "bo", "item": "clue", '
                '"value": 2, "key": "2"}\n',
            }
        },
    }
}

EXAMPLES = [{"user": "ana", "item": "alien", "value": 5, "key": "ana-alien-1"}]

router = APIRouter(route_class=StrictRoute, prefix="/v1/events", tags=["events"], responses=responses(409))


@router.post("", status_code=201, dependencies=[WRITE])
async def add_event(service: CurrentService, body: Annotated[EventBody, Body(examples=EXAMPLES)]) -> EventReceipt:
    """Store an event; once the response arrives, the event is on disk and all workers use it."""
    (receipt,) = await service.wait_for_write(_submit(service, body))
    return copy_fields(EventReceipt, receipt)


@router.post("/bulk", openapi_extra=NDJSON, dependencies=[WRITE])
async def add_events(service: CurrentService, request: Request) -> BulkResult:
    """Store many events, one JSON object per line; each line is stored or rejected individually.

    If the store fails, the response is 503: send all lines again. Events with keys are not stored twice.
    """
    lines = [line for line in (await request.body()).splitlines() if line.strip()]
    if not lines or len(lines) > MAX_LINES:
        raise Problem(422, f"send 1 to {MAX_LINES:,} lines; got {len(lines):,}")
    submissions: list[Future[list[Receipt]] | str] = []
    for start in range(0, len(lines), CHUNK_SIZE):
        submissions += [_submit_line(service, line) for line in lines[start : start + CHUNK_SIZE]]
        await asyncio.sleep(0)
    results = [await _result(service, number, submission) for number, submission in enumerate(submissions, start=1)]
    stored = [result for result in results if isinstance(result, StoredLine)]
    duplicates = sum(result.duplicate for result in stored)
    return BulkResult(len(stored) - duplicates, duplicates, len(results) - len(stored), results)


@router.get("", dependencies=[ADMIN])
async def list_events(
    service: CurrentService,
    after: Annotated[
        int, Query(ge=0, lt=2**53, description="Sequence number of the last event already read"), DECIMAL_NUMBER
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000), DECIMAL_NUMBER] = 100,
) -> EventPage:
    """Return the events after a sequence number, in ascending order."""
    events = await service.run(service.store.events.after, after, min(limit, service.settings.max_n))
    return EventPage([EventOut(*event) for event in events], events[-1].seq if events else after)


def _submit(service: Service, body: RatingBody | CountBody | RemovalBody) -> Future[list[Receipt]]:
    """Submit an event to the store. Raises DataError for an invalid event, and StoreUnavailableError."""
    if isinstance(body, RatingBody):
        service.engine.check_rating(body.value)
    event = Event(str(body.user), str(body.item), body.value, body.kind, body.time, body.key)
    return service.store.events.submit([event])


def _submit_line(service: Service, line: bytes) -> Future[list[Receipt]] | str:
    """Submit the event on a line to the store, or return the reason it is rejected."""
    try:
        value = parse_json(line)
    except RepeatedMemberError as error:
        return str(error)
    except (ValueError, RecursionError):
        return "the line is not valid JSON"
    try:
        return _submit(service, _body.validate_python(value))
    except ValidationError as error:
        first_error = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(location(first_error['loc']))}: {first_error['msg']}".removeprefix(": ")
    except StoreUnavailableError:
        raise
    except CofactorError as error:
        return str(error)


async def _result(service: Service, number: int, submission: Future[list[Receipt]] | str) -> StoredLine | RejectedLine:
    if isinstance(submission, str):
        return RejectedLine(number, submission)
    try:
        (receipt,) = await service.wait_for_write(submission)
    except (ConflictError, DataError) as error:
        return RejectedLine(number, str(error).removeprefix("event 1: "))
    return copy_fields(StoredLine, receipt, line=number)
