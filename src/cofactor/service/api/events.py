"""What people did: in, one by one or many at once, and out."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cofactor.errors import CofactorError, ConflictError, DataError, StoreUnavailableError
from cofactor.service.api.declared import RepeatedMemberError, StrictRoute, parse_json
from cofactor.service.api.dependencies import Asked, Service
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import DECIMAL, WHOLE, Id, Line, Number, Wire, either, reply
from cofactor.store import Event, EventKind, Receipt
from cofactor.store.event import LONGEST_KEY, SMALLEST_EVENT
from cofactor.store.validation import LARGEST_VALUE, LAST_TIME

__all__ = ["Bulk", "EventBody", "EventPage", "Stored", "router"]


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


MOST_LINES = 10_000


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


router = APIRouter(route_class=StrictRoute, prefix="/v1/events", tags=["events"], responses=responses(409))


@router.post("", response_model=Stored, status_code=201)
async def one(service: Asked, body: EventBody) -> Response:
    """Keep an event: once the answer is there, it is on disk, and counts in the next answer of every worker."""
    receipt = (await service.settled(_submitted(service, body)))[0]
    return reply(receipt._asdict(), 201)


@router.post("/bulk", response_model=Bulk, openapi_extra=NDJSON)
async def many(service: Asked, request: Request) -> Response:
    """Keep many events, one JSON object a line; each line is kept or refused for itself.

    Where the store fails in the midst of it the whole answer is 503: send it again, with keys nothing is kept twice.
    """
    lines = [line for line in (await request.body()).splitlines() if line.strip()]
    if not lines or len(lines) > MOST_LINES:
        raise Problem(422, f"send from 1 to {MOST_LINES:,} lines, and not {len(lines):,}")
    begun = []
    for place in range(0, len(lines), 500):
        begun += [_begun(service, line) for line in lines[place : place + 500]]
        await asyncio.sleep(0)  # others are answered in between
    results = [await _fared(service, place, what) for place, what in enumerate(begun, start=1)]
    refused = sum("error" in result for result in results)
    duplicates = sum(result.get("duplicate", False) for result in results)
    stored = len(results) - refused - duplicates
    return reply({"stored": stored, "duplicates": duplicates, "refused": refused, "results": results})


@router.get("", response_model=EventPage)
async def after(
    service: Asked,
    after: Annotated[int, Query(ge=0, lt=2**53, description="The last number that is known"), DECIMAL] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000), DECIMAL] = 100,
) -> Response:
    """The events behind a number, in their order."""
    found = await service.run(service.store.events.after, after, min(limit, service.settings.max_n))
    return reply({"events": [event._asdict() for event in found], "next": found[-1].seq if found else after})


def _submitted(service: Service, body: EventBody) -> Future[list[Receipt]]:
    """Raises DataError for what the store or the model's scale has no place for, StoreUnavailableError."""
    if body.kind == "rating" and body.value is not None:
        service.engine.check_rating(body.value)
    event = Event(str(body.user), str(body.item), body.value, body.kind, body.time, body.key)
    return service.store.events.submit([event])


def _begun(service: Service, line: bytes) -> Future[list[Receipt]] | str:
    """What the writer will answer to this line, or why it is refused."""
    try:
        given = parse_json(line)
    except RepeatedMemberError as problem:
        return str(problem)
    except (ValueError, RecursionError):
        return "the line is not JSON"
    try:
        return _submitted(service, EventBody.model_validate(given))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    except StoreUnavailableError:
        raise
    except CofactorError as problem:
        return str(problem)


async def _fared(service: Service, place: int, what: Future[list[Receipt]] | str) -> dict[str, Any]:
    if isinstance(what, str):
        return {"line": place, "error": what}
    try:
        receipt = (await service.settled(what))[0]
    except (ConflictError, DataError) as problem:
        return {"line": place, "error": str(problem).removeprefix("event 1: ")}
    return {"line": place, **receipt._asdict()}
