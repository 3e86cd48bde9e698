"""Items: what is known of them, whether they can be had, and what is like them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from cofactor.service.api.declared import StrictRoute
from cofactor.service.api.dependencies import Asked, Service
from cofactor.service.api.errors import Problem, responses
from cofactor.service.api.fields import DECIMAL, AsQuery, Changed, Id, Ids, JsonMap, Line, Wire, reply
from cofactor.service.reasons import similar
from cofactor.store import Item, StoredItem

__all__ = ["Alike", "AvailabilityBody", "ItemOut", "ItemsBody", "router"]


class Like(BaseModel):
    """An item and how alike it is."""

    item: str
    rank: int
    score: float
    title: str | None = None


class Alike(BaseModel):
    """Items liked by the same people."""

    item: str
    model: int
    items: list[Like]


class ItemBody(Wire):
    """An item, in place of what was known of it."""

    item: Id
    title: Line | None = Field(None, max_length=1_000)
    available: bool = Field(True, strict=True)
    metadata: JsonMap = Field({}, examples=[{"genre": ["horror"], "year": 1979}])


class ItemsBody(Wire):
    """Items to keep."""

    items: list[ItemBody] = Field(min_length=1, max_length=10_000)


class AvailabilityBody(Wire):
    """Items that can be had, or cannot."""

    items: Ids = Field(min_length=1)
    available: bool = Field(strict=True)


class ItemOut(BaseModel):
    """What is known of an item."""

    item: str
    title: str | None
    available: bool
    metadata: dict[str, Any]
    known_to_model: bool


router = APIRouter(route_class=StrictRoute, prefix="/v1/items", tags=["items"], responses=responses(404, 409))


@router.get("", response_model=ItemOut)
async def one(service: Asked, item: Annotated[AsQuery, Query(examples=["alien"])]) -> Response:
    """What is known of an item."""
    found, known = await service.run(_found, service, item)
    if found is None and not known:
        raise Problem(404, "nothing is known of this item")
    if found is None:
        return reply({"item": item, "title": None, "available": True, "metadata": {}, "known_to_model": known})
    about = {"title": found.title, "available": found.available, "metadata": found.metadata}
    return reply({"item": item, **about, "known_to_model": known})


def _found(service: Service, item: str) -> tuple[StoredItem | None, bool]:
    return service.store.items.get(item), service.engine.knows_item(item)


@router.put("", response_model=Changed)
async def put(service: Asked, body: ItemsBody) -> Response:
    """Keep items, each in place of what was known of it."""
    items = [Item(str(one.item), one.title, one.available, one.metadata) for one in body.items]
    return reply({"seq": await service.run(service.store.items.put, items)})


@router.post("/availability", response_model=Changed)
async def available(service: Asked, body: AvailabilityBody) -> Response:
    """Say of items whether they can be had: what cannot is not shown by any worker from now on."""

    def do() -> int:
        return service.store.items.set_available(map(str, body.items), available=body.available)

    return reply({"seq": await service.run(do)})


@router.get("/similar", response_model=Alike)
async def alike(service: Asked, item: AsQuery, n: Annotated[int, Query(ge=1, le=1_000), DECIMAL] = 10) -> Response:
    """Items liked by the same people, those that can be had."""
    return reply(await service.run(similar, service.engine, item, min(n, service.settings.max_n)))
