"""User routes: metadata and erasure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from cofactor.errors import StoreError
from cofactor.service.api.auth import WRITE
from cofactor.service.api.dependencies import CurrentService, Service
from cofactor.service.api.errors import Problem, link_to, responses
from cofactor.service.api.fields import ChangeOut, Id, JsonMap, QueryId, RequestBody, json_response
from cofactor.service.api.routing import StrictRoute

__all__ = ["router"]


class UserBody(RequestBody):
    """User metadata; it replaces the stored metadata."""

    user: Id
    metadata: JsonMap


@dataclass(frozen=True)
class UserOut:
    """Stored metadata of a user."""

    user: str
    metadata: dict[str, Any]
    known_to_model: bool
    events_since: Annotated[bool, Field(description="Whether the user has events that the model was not trained on")]


@dataclass(frozen=True)
class ErasureOut:
    """Sequence number of an erasure, and the ID of the job that trains a model without the user."""

    seq: int
    job: int


router = APIRouter(route_class=StrictRoute, prefix="/v1/users", tags=["users"], responses=responses(404, 409))


@router.get("", response_model=UserOut, dependencies=[WRITE])
async def get_user(service: CurrentService, user: QueryId) -> Response:
    """Return the metadata of a user."""
    return json_response(await service.run(_get_stored, service, user))


def _get_stored(service: Service, user: str) -> dict[str, Any]:
    """Return the members of `UserOut`. Raises Problem (404) for an unknown user."""
    service.engine.changes.catch_up()
    stored = service.store.users.get(user)
    is_known, has_events = service.engine.knows_user(user)
    if stored is None and not is_known and not has_events:
        raise Problem(404, "this user is unknown")
    metadata = {} if stored is None else stored.metadata
    return {"user": user, "metadata": metadata, "known_to_model": is_known, "events_since": has_events}


@router.put("", dependencies=[WRITE])
async def put_user(service: CurrentService, body: UserBody) -> ChangeOut:
    """Store the metadata of a user, replacing any existing metadata."""
    return ChangeOut(await service.run(service.store.users.put, str(body.user), body.metadata))


@router.delete("", responses={200: link_to("get_job", job="job")}, dependencies=[WRITE])
async def erase_user(service: CurrentService, user: QueryId) -> ErasureOut:
    """Erase a user: delete their data, stop using it in the current model, and queue a training run without it.

    A salted hash is kept, so that the erasure can be repeated on a restored backup.
    """
    return await service.run_slow(_erase, service, user)


def _erase(service: Service, user: str) -> ErasureOut:
    tombstone = service.store.erasure.erase(user)
    job = service.store.jobs.enqueue_once("train", None)
    try:
        service.store.erasure.export(service.settings.tombstones)
    except (StoreError, OSError):  # the store has the tombstone; the next erasure writes the file again
        service.warn("could not export the tombstones")
    return ErasureOut(tombstone.seq, job.id)
