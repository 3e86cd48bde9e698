"""API key routes: create, list and revoke keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from cofactor.errors import StoreError, StoreUnavailableError
from cofactor.service.api.auth import ADMIN
from cofactor.service.api.dependencies import CurrentService
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import PlainText, RequestBody, copy_fields
from cofactor.service.api.routing import StrictRoute
from cofactor.store import Role

__all__ = ["router"]


class KeyBody(RequestBody):
    """Request to create an API key."""

    role: Role
    label: PlainText = Field(min_length=1, max_length=200)


@dataclass(frozen=True)
class CreatedKey:
    """A new API key, which is shown only once."""

    key: str


@dataclass(frozen=True)
class KeyOut:
    """An API key without its secret."""

    id: str
    role: Role
    label: str
    created: int
    revoked: int | None


@dataclass(frozen=True)
class KeyPage:
    """All API keys, oldest first."""

    keys: list[KeyOut]


router = APIRouter(route_class=StrictRoute, prefix="/v1/keys", tags=["keys"], responses=responses(404))


@router.get("", dependencies=[ADMIN])
async def list_keys(service: CurrentService) -> KeyPage:
    """Return all API keys without their secrets, oldest first."""
    return KeyPage([copy_fields(KeyOut, key) for key in await service.run(service.store.keys.all)])


@router.post("", status_code=201, dependencies=[ADMIN])
async def create_key(service: CurrentService, body: KeyBody, response: Response) -> CreatedKey:
    """Create an API key, which is shown only in this response."""
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey(await service.run(service.store.keys.create, body.role, body.label))


@router.delete("/{key}", status_code=204, dependencies=[ADMIN])
async def revoke_key(service: CurrentService, key: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]) -> None:
    """Revoke an API key by its ID: immediately on this worker and within a few seconds on the others."""
    try:
        await service.run(service.store.keys.revoke, key)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise Problem(404, str(error)) from None
    service.keys.clear()
