"""Keys: made, listed, revoked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Response

from cofactor.errors import StoreError, StoreUnavailableError
from cofactor.service.api.declared import StrictRoute
from cofactor.service.api.problems import Problem, responses
from cofactor.service.api.state import Asked
from cofactor.service.api.words.basics import reply
from cofactor.service.api.words.keys import KeyBody, KeyMade, KeyPage

__all__ = ["router"]

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
