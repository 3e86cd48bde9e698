"""Users: what is known of them, and forgetting them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from cofactor.errors import StoreError
from cofactor.service.api.declared import StrictRoute
from cofactor.service.api.dependencies import Asked, Service
from cofactor.service.api.errors import Problem, leads_to, responses
from cofactor.service.api.fields import AsQuery, Changed, Id, JsonMap, Wire, reply

__all__ = ["Forgotten", "UserBody", "UserOut", "router"]


class UserBody(Wire):
    """A user's facts, in place of what was known."""

    user: Id
    metadata: JsonMap


class UserOut(BaseModel):
    """What is known of a user."""

    user: str
    metadata: dict[str, Any]
    known_to_model: bool
    events_since: bool = Field(description="Whether something happened since the model learnt")


class Forgotten(BaseModel):
    """The number of the forgetting, and the job that learns without the user."""

    seq: int
    job: int


JOB = leads_to("job_v1_jobs__job__get", job="job")
"""Where the answer to a forgetting leads."""


router = APIRouter(route_class=StrictRoute, prefix="/v1/users", tags=["users"], responses=responses(404, 409))


@router.get("", response_model=UserOut)
async def one(service: Asked, user: AsQuery) -> Response:
    """What is known of a user."""
    found = await service.run(_found, service, user)
    if found is None:
        raise Problem(404, "nothing is known of this user")
    return reply(found)


def _found(service: Service, user: str) -> dict[str, Any] | None:
    service.engine.changes.catch_up()
    facts = service.store.users.get(user)
    trained, since = service.engine.knows_user(user)
    if facts is None and not trained and not since:
        return None
    metadata = {} if facts is None else facts.metadata
    return {"user": user, "metadata": metadata, "known_to_model": trained, "events_since": since}


@router.put("", response_model=Changed)
async def put(service: Asked, body: UserBody) -> Response:
    """Keep a user's facts, in place of what was known."""
    return reply({"seq": await service.run(service.store.users.put, str(body.user), body.metadata)})


@router.delete("", response_model=Forgotten, responses={200: JOB})
async def forget(service: Asked, user: AsQuery) -> Response:
    """Forget a user: all rows are deleted, the active model is not asked about them any more, and one is learnt anew.

    A salted hash is left, so that a restored backup can be made to forget again.
    """
    return reply(await service.run_slowly(_forget, service, user))


def _forget(service: Service, user: str) -> dict[str, Any]:
    stone = service.store.erasure.erase(user)
    job = service.store.jobs.enqueue_once("train", None)
    try:
        service.store.erasure.export(service.settings.tombstones)
    except (StoreError, OSError):  # the store has the tombstone; the file beside backups is written again next time
        service.note("the tombstones could not be exported")
    return {"seq": stone.seq, "job": job.id}
