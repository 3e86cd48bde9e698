"""Keys: made, listed, revoked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from cofactor.errors import StoreError, StoreUnavailableError
from cofactor.service.api.declared import StrictRoute
from cofactor.service.api.dependencies import Asked
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import Line, Wire, reply

__all__ = ["Alive", "KeyBody", "KeyMade", "KeyPage", "router"]


class KeyBody(Wire):
    """A key to make."""

    role: Literal["read", "write", "admin"]
    label: Line = Field(min_length=1, max_length=200)


class KeyMade(BaseModel):
    """The key itself: shown now and never again."""

    key: str


class KeyOut(BaseModel):
    """A key without its secret."""

    id: str
    role: Literal["read", "write", "admin"]
    label: str
    created: int
    revoked: int | None


class KeyPage(BaseModel):
    """Every key, oldest first."""

    keys: list[KeyOut]


class Alive(BaseModel):
    """That the process answers, and with which model."""

    status: Literal["ok"]
    model: int | None = None
    store: Literal["ok", "unavailable"] | None = None


router = APIRouter(route_class=StrictRoute, prefix="/v1/keys", tags=["keys"], responses=responses(404))


@router.get("", response_model=KeyPage)
async def every(service: Asked) -> Response:
    """Every key, oldest first; never a secret."""
    return reply({"keys": [asdict(key) for key in await service.run(service.store.keys.all)]})


@router.post("", response_model=KeyMade, status_code=201)
async def create(service: Asked, body: KeyBody) -> Response:
    """A new key, shown now and never again."""
    made = await service.run(service.store.keys.create, body.role, body.label)
    return reply({"key": made}, 201, **{"Cache-Control": "no-store"})


@router.delete("/{key}", status_code=204)
async def revoke(service: Asked, key: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]) -> Response:
    """This key, by its id, opens nothing any more: here at once, on other workers within a few seconds."""
    try:
        await service.run(service.store.keys.revoke, key)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise Problem(404, str(error)) from None
    service.keys.forget()
    return Response(status_code=204)
